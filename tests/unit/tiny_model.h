/* tiny_model.h: models of a few kilobytes with random weights, made by the test itself, in a folder of their own.
 *
 *     tiny_model m;
 *     tiny_llama(&m, 1);         the seed of the weights; also tiny_deepseek
 *     ...                        change m.config, tiny_find, tiny_remove, tiny_add
 *     tiny_write(&m);            config.json and model.safetensors in m.folder
 *     tiny_free(&m);             the folder goes too
 */
#ifndef HD_TESTS_TINY_MODEL_H
#define HD_TESTS_TINY_MODEL_H

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/formats.h"

enum { TINY_TENSORS = 256, TINY_NAME = 96, TINY_PATH = 512 };

typedef struct tiny_model {
    char folder[TINY_PATH];
    json_t *config;
    hd_tensor tensors[TINY_TENSORS];
    char names[TINY_TENSORS][TINY_NAME];
    size_t count;
    uint64_t seed;
} tiny_model;

/* ---- random numbers: SplitMix64; the sum of four uniform ones is near enough to a normal one ---- */

static inline double tiny_uniform(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

static inline float tiny_normal(uint64_t *seed)
{
    double sum = -2.0;
    for (int i = 0; i < 4; i++)
        sum += tiny_uniform(seed);
    return (float)(sum * 1.7320508);
}

/* Reproducible ids below `vocab`. */
static inline void tiny_ids(int32_t *ids, int64_t n, int32_t vocab, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)(tiny_uniform(&seed) * vocab);
}

/* ---- tensors ---- */

static inline hd_tensor *tiny_find(tiny_model *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->tensors[i].name, name) == 0) return &m->tensors[i];
    fail_msg("the tiny model has no tensor %s", name);
    return NULL;
}

/* Zeroed values of any type. */
static inline hd_tensor *tiny_add_typed(tiny_model *m, const char *name, hd_type type, int dims, const int64_t *shape)
{
    assert_true(m->count < TINY_TENSORS);
    hd_tensor *t = &m->tensors[m->count];
    size_t values = 1;
    *t = (hd_tensor){.name = m->names[m->count], .type = type, .dims = dims, .shape = {1, 1, 1, 1}};
    snprintf(m->names[m->count], TINY_NAME, "%s", name);
    for (int d = 0; d < dims; d++) {
        t->shape[d] = shape[d];
        values *= (size_t)shape[d];
    }
    t->bytes = values * (size_t)hd_type_block_bytes(type);
    t->data = hd_calloc(t->bytes, 1);
    assert_non_null(t->data);
    m->count++;
    return t;
}

/* rows x cols float32, as lively as a trained model's; rows 0: a vector of norms. */
static inline void tiny_add(tiny_model *m, const char *name, int64_t rows, int64_t cols)
{
    const int64_t shape[2] = {rows ? rows : cols, cols};
    hd_tensor *t = tiny_add_typed(m, name, HD_TYPE_F32, rows ? 2 : 1, shape);
    float *values = (float *)(uintptr_t)t->data, scale = rows ? 1.3f / sqrtf((float)cols) : 0.2f;
    for (size_t i = 0; i < t->bytes / sizeof *values; i++)
        values[i] = scale * tiny_normal(&m->seed) + (rows ? 0.0f : 1.0f);
}

static inline void tiny_remove(tiny_model *m, const char *name)
{
    hd_tensor *t = tiny_find(m, name);
    hd_free((void *)(uintptr_t)t->data);
    t->bytes = 0;
    t->data = NULL;
    t->name = "";
}

/* In a layer: "model.layers.<layer>.<name>". */
static inline void tiny_add_in(tiny_model *m, int layer, const char *name, int64_t rows, int64_t cols)
{
    char full[TINY_NAME];
    snprintf(full, sizeof full, "model.layers.%d.%.60s", layer, name);
    tiny_add(m, full, rows, cols);
}

/* ---- models ---- */

enum { TINY_VOCAB = 48, TINY_HIDDEN = 32 };

static inline void tiny_open(tiny_model *m, uint64_t seed, const char *config)
{
    memset(m, 0, sizeof *m);
    m->seed = seed;
    m->config = json_loads(config, 0, NULL);
    assert_non_null(m->config);
    const char *tmp = getenv("TMPDIR");
    snprintf(m->folder, sizeof m->folder, "%s/hadal-tiny-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(m->folder));
    tiny_add(m, "model.embed_tokens.weight", TINY_VOCAB, TINY_HIDDEN);
    tiny_add(m, "lm_head.weight", TINY_VOCAB, TINY_HIDDEN);
    tiny_add(m, "model.norm.weight", 0, TINY_HIDDEN);
}

static inline void tiny_add_mlp(tiny_model *m, int layer, const char *prefix, int width)
{
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    for (int i = 0; i < 3; i++) {
        char name[TINY_NAME];
        snprintf(name, sizeof name, "%s.%s.weight", prefix, names[i]);
        tiny_add_in(m, layer, name, i < 2 ? width : TINY_HIDDEN, i < 2 ? TINY_HIDDEN : width);
    }
}

#define TINY_COMMON                                                                                                    \
    "\"hidden_size\":32,\"vocab_size\":48,\"max_position_embeddings\":1024,\"rms_norm_eps\":1e-5,"                     \
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":false,\"hidden_act\":\"silu\",\"eos_token_id\":2,"                 \
    "\"intermediate_size\":40,"

/* Two layers, four heads of 8 over two key-value heads. */
static inline void tiny_llama(tiny_model *m, uint64_t seed)
{
    tiny_open(m, seed,
              "{\"model_type\":\"llama\"," TINY_COMMON "\"num_hidden_layers\":2,\"num_attention_heads\":4,"
              "\"num_key_value_heads\":2,\"head_dim\":8}");
    for (int l = 0; l < 2; l++) {
        tiny_add_in(m, l, "input_layernorm.weight", 0, TINY_HIDDEN);
        tiny_add_in(m, l, "post_attention_layernorm.weight", 0, TINY_HIDDEN);
        tiny_add_in(m, l, "self_attn.q_proj.weight", 32, TINY_HIDDEN);
        tiny_add_in(m, l, "self_attn.k_proj.weight", 16, TINY_HIDDEN);
        tiny_add_in(m, l, "self_attn.v_proj.weight", 16, TINY_HIDDEN);
        tiny_add_in(m, l, "self_attn.o_proj.weight", TINY_HIDDEN, 32);
        tiny_add_mlp(m, l, "mlp", 40);
    }
}

/* V3 (sigmoid, bias, groups by their two best): three layers, the first dense; 2 heads of 8 + 4, latents of 12, eight
 * experts in four groups, two of each chosen. */
static inline void tiny_deepseek(tiny_model *m, uint64_t seed)
{
    tiny_open(m, seed,
              "{\"model_type\":\"deepseek_v3\"," TINY_COMMON "\"num_hidden_layers\":3,\"num_attention_heads\":2,"
              "\"q_lora_rank\":16,\"kv_lora_rank\":12,\"qk_nope_head_dim\":8,\"qk_rope_head_dim\":4,\"v_head_dim\":6,"
              "\"n_routed_experts\":8,\"num_experts_per_tok\":2,\"n_shared_experts\":1,\"moe_intermediate_size\":16,"
              "\"first_k_dense_replace\":1,\"n_group\":4,\"topk_group\":2,\"routed_scaling_factor\":2.5}");
    for (int l = 0; l < 3; l++) {
        tiny_add_in(m, l, "input_layernorm.weight", 0, TINY_HIDDEN);
        tiny_add_in(m, l, "post_attention_layernorm.weight", 0, TINY_HIDDEN);
        tiny_add_in(m, l, "self_attn.q_a_proj.weight", 16, TINY_HIDDEN);
        tiny_add_in(m, l, "self_attn.q_a_layernorm.weight", 0, 16);
        tiny_add_in(m, l, "self_attn.q_b_proj.weight", 24, 16);
        tiny_add_in(m, l, "self_attn.kv_a_proj_with_mqa.weight", 16, TINY_HIDDEN);
        tiny_add_in(m, l, "self_attn.kv_a_layernorm.weight", 0, 12);
        tiny_add_in(m, l, "self_attn.kv_b_proj.weight", 28, 12);
        tiny_add_in(m, l, "self_attn.o_proj.weight", TINY_HIDDEN, 12);
        if (l == 0) {
            tiny_add_mlp(m, l, "mlp", 40);
            continue;
        }
        tiny_add_in(m, l, "mlp.gate.weight", 8, TINY_HIDDEN);
        tiny_add_in(m, l, "mlp.gate.e_score_correction_bias", 0, 8);
        tiny_add_mlp(m, l, "mlp.shared_experts", 16);
        for (int e = 0; e < 8; e++) {
            char prefix[32];
            snprintf(prefix, sizeof prefix, "mlp.experts.%d", e);
            tiny_add_mlp(m, l, prefix, 16);
        }
    }
}

/* ---- on disk ---- */

static inline void tiny_set(tiny_model *m, const char *key, json_t *value)
{
    assert_int_equal(json_object_set_new(m->config, key, value), 0);
}

static inline void tiny_path(const tiny_model *m, const char *name, char path[TINY_PATH + 64])
{
    snprintf(path, TINY_PATH + 64, "%s/%s", m->folder, name);
}

static inline void tiny_write(tiny_model *m)
{
    char path[TINY_PATH + 64];
    hd_tensor present[TINY_TENSORS];
    size_t n = 0;
    hd_error err = {0};
    tiny_path(m, "config.json", path);
    assert_int_equal(json_dump_file(m->config, path, 0), 0);
    for (size_t i = 0; i < m->count; i++)
        if (m->tensors[i].data) present[n++] = m->tensors[i];
    tiny_path(m, "model.safetensors", path);
    if (hd_safetensors_write(path, present, n, &err) != HD_OK) fail_msg("%s", err.text);
}

static inline void tiny_free(tiny_model *m)
{
    char path[TINY_PATH + 64];
    DIR *dir = opendir(m->folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%.60s", m->folder, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    if (dir) closedir(dir);
    rmdir(m->folder);
    for (size_t i = 0; i < m->count; i++)
        hd_free((void *)(uintptr_t)m->tensors[i].data);
    json_decref(m->config);
}

#endif
