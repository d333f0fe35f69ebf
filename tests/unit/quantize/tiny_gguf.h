/* tiny_gguf.h: a DeepSeek V2 of two layers as a GGUF file: experts and heads in one tensor each, as converters write
 * them.  Four heads of 16 + 8, latents of 16, eight experts of which each token gets two. */
#ifndef HD_TESTS_TINY_GGUF_H
#define HD_TESTS_TINY_GGUF_H

#include "quantize/source.h"
#include "unit/models/bad_config_gguf.h"
#include "unit/tiny_model.h"

typedef struct tiny_shape {
    const char *name;
    int64_t a, b, c; /* [a][b][c]; 0: absent */
} tiny_shape;

static const tiny_shape tiny_attention[] = {
    {"attn_norm.weight", 0, 0, 64}, {"attn_q_a.weight", 0, 16, 64},      {"attn_q_a_norm.weight", 0, 0, 16},
    {"attn_q_b.weight", 0, 96, 16}, {"attn_kv_a_mqa.weight", 0, 24, 64}, {"attn_kv_a_norm.weight", 0, 0, 16},
    {"attn_k_b.weight", 4, 16, 16}, {"attn_v_b.weight", 4, 16, 16},      {"attn_output.weight", 0, 64, 64},
    {"ffn_norm.weight", 0, 0, 64},
};
static const tiny_shape tiny_dense[] = {
    {"ffn_gate.weight", 0, 128, 64}, {"ffn_up.weight", 0, 128, 64}, {"ffn_down.weight", 0, 64, 128}};
static const tiny_shape tiny_experts[] = {
    {"ffn_gate_inp.weight", 0, 8, 64},  {"exp_probs_b.bias", 0, 0, 8},        {"ffn_gate_exps.weight", 8, 32, 64},
    {"ffn_up_exps.weight", 8, 32, 64},  {"ffn_down_exps.weight", 8, 64, 32},  {"ffn_gate_shexp.weight", 0, 32, 64},
    {"ffn_up_shexp.weight", 0, 32, 64}, {"ffn_down_shexp.weight", 0, 64, 32},
};

static inline void tiny_put(tiny_model *m, int layer, const tiny_shape *s)
{
    char name[TINY_NAME];
    int64_t shape[3] = {s->a, s->b, s->c};
    int dims = s->a ? 3 : s->b ? 2 : 1;
    if (layer < 0)
        snprintf(name, sizeof name, "%.60s", s->name);
    else
        snprintf(name, sizeof name, "blk.%d.%.60s", layer, s->name);
    hd_tensor *t = tiny_add_typed(m, name, HD_TYPE_F32, dims, shape + 3 - dims);
    float *values = (float *)(uintptr_t)t->data, scale = dims > 1 ? 1.3f / sqrtf((float)s->c) : 0.2f;
    for (size_t i = 0; i < t->bytes / sizeof *values; i++)
        values[i] = scale * tiny_normal(&m->seed) + (dims > 1 ? 0.0f : 1.0f);
}

static inline void tiny_put_all(tiny_model *m, int layer, const tiny_shape *list, size_t count, bool joint)
{
    for (size_t i = 0; i < count; i++) {
        tiny_shape s = list[i];
        if (joint && strstr(s.name, "up_exps")) continue;
        if (joint && strstr(s.name, "gate_exps")) s = (tiny_shape){"ffn_gate_up_exps.weight", 8, 64, 64};
        tiny_put(m, layer, &s);
    }
}

/* The metadata of bad_config_gguf.h's good one. */
static inline size_t tiny_metas(hd_meta *metas, void *numbers)
{
    size_t count = HD_ARRAY_LEN(good_deepseek2_gguf);
    for (size_t i = 0; i < count; i++) {
        const meta_value *v = &good_deepseek2_gguf[i];
        uint8_t *at = (uint8_t *)numbers + 8 * i;
        uint32_t whole = (uint32_t)v->number;
        float real = (float)v->number;
        memcpy(at, v->type == HD_META_F32 ? (const void *)&real : (const void *)&whole, 4);
        metas[i] = (hd_meta){.key = {v->key, strlen(v->key)}, .type = v->type, .count = 1, .data = at};
        if (v->type == HD_META_STRING) metas[i].string = (hd_str){v->text, strlen(v->text)};
    }
    return count;
}

/* Writes it; `joint`: gate and up of the experts are one tensor. */
static inline void tiny_gguf(char path[TINY_PATH], bool joint)
{
    static const tiny_shape ends[] = {
        {"token_embd.weight", 0, 100, 64}, {"output.weight", 0, 100, 64}, {"output_norm.weight", 0, 0, 64}};
    static tiny_model m;
    hd_meta metas[64];
    uint64_t numbers[64];
    hd_file_writer *w;
    hd_error err = {0};
    memset(&m, 0, sizeof m);
    m.seed = 21;
    tiny_put_all(&m, -1, ends, HD_ARRAY_LEN(ends), false);
    for (int l = 0; l < 2; l++) {
        tiny_put_all(&m, l, tiny_attention, HD_ARRAY_LEN(tiny_attention), false);
        if (l == 0)
            tiny_put_all(&m, l, tiny_dense, HD_ARRAY_LEN(tiny_dense), false);
        else
            tiny_put_all(&m, l, tiny_experts, HD_ARRAY_LEN(tiny_experts), joint);
    }
    const char *tmp = getenv("TMPDIR");
    snprintf(path, TINY_PATH, "%s/hadal-tiny-%d.gguf", tmp ? tmp : "/tmp", (int)getpid());
    size_t count = tiny_metas(metas, numbers);
    if (hd_gguf_writer_open(&w, path, metas, count, m.tensors, m.count, false, &err) != HD_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < m.count; i++) {
        assert_int_equal(hd_file_writer_put(w, m.tensors[i].data, m.tensors[i].bytes, &err), HD_OK);
        hd_free((void *)(uintptr_t)m.tensors[i].data);
    }
    assert_int_equal(hd_file_writer_finish(w, &err), HD_OK);
    hd_file_writer_close(&w);
}

static inline void tiny_gguf_remove(const char *path)
{
    unlink(path);
}

/* The file as a source of GGUF; fails the test where it is none. */
static inline hd_source *tiny_open_source(const char *path, hd_checkpoint **ckpt)
{
    hd_source *s = NULL;
    hd_error err = {0};
    if (hd_checkpoint_open(ckpt, path, &err) != HD_OK || hd_source_open_gguf(&s, *ckpt, NULL, "tiny", &err) != HD_OK)
        fail_msg("%s", err.text);
    return s;
}

#endif
