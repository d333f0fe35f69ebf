/* models/published_tensors.c: the tensors that follow from shapes, and the bytes and caches that follow from them.
 *
 * Names are those of GGUF files.  V3.2's and V4's (blk.N.indexer.*, attn_compressor_*, hc_*) are llama.cpp's. */
#include <stdio.h>
#include <string.h>

#include "models/published.h"

enum { NAME_BYTES = 64, PART_BYTES = 40, LAYER_TENSORS = 48, OTHER_TENSORS = 8 };

/* Far above any model, and so few that their bytes, of whatever type, are counted in 64 bits. */
#define MOST_VALUES 1e17

typedef struct list {
    hd_tensor *tensors;
    char *names; /* NAME_BYTES for each */
    size_t count;
    int layer; /* that the next ones belong to; -1: none */
} list;

/* `planes` and `rows` of 0: fewer dimensions. */
static void add(list *l, const char *name, hd_type type, int64_t planes, int64_t rows, int64_t cols)
{
    hd_tensor *t = &l->tensors[l->count];
    char *text = l->names + l->count++ * NAME_BYTES;
    if (l->layer < 0)
        snprintf(text, NAME_BYTES, "%s", name);
    else
        snprintf(text, NAME_BYTES, "blk.%d.%s", l->layer, name);
    *t = (hd_tensor){.name = text, .type = type, .shape = {1, 1, 1, 1}};
    if (planes) t->shape[t->dims++] = planes;
    if (rows) t->shape[t->dims++] = rows;
    t->shape[t->dims++] = cols;
    (void)hd_type_row_bytes(type, hd_tensor_values(t), &t->bytes);
}

static void vector(list *l, const char *name, int64_t values)
{
    add(l, name, HD_TYPE_F32, 0, 0, values);
}

static void matrix(list *l, const char *name, int64_t rows, int64_t cols)
{
    add(l, name, HD_TYPE_BF16, 0, rows, cols);
}

static void matrices(list *l, const char *name, int64_t planes, int64_t rows, int64_t cols)
{
    add(l, name, HD_TYPE_BF16, planes, rows, cols);
}

/* ---- attention ---- */

static void add_latent_attention(list *l, const hd_model_config *c)
{
    int64_t queries = (int64_t)c->heads * (c->nope + c->rope_dim);
    if (c->q_lora) {
        matrix(l, "attn_q_a.weight", c->q_lora, c->hidden);
        if (c->qkv_bias) vector(l, "attn_q_a.bias", c->q_lora);
        vector(l, "attn_q_a_norm.weight", c->q_lora);
        matrix(l, "attn_q_b.weight", queries, c->q_lora);
    } else
        matrix(l, "attn_q.weight", queries, c->hidden);
    matrix(l, "attn_kv_a_mqa.weight", c->kv_lora + c->rope_dim, c->hidden);
    if (c->qkv_bias) vector(l, "attn_kv_a_mqa.bias", c->kv_lora + c->rope_dim);
    vector(l, "attn_kv_a_norm.weight", c->kv_lora);
    matrices(l, "attn_k_b.weight", c->heads, c->kv_lora, c->nope);
    matrices(l, "attn_v_b.weight", c->heads, c->v_dim, c->kv_lora);
    matrix(l, "attn_output.weight", c->hidden, (int64_t)c->heads * c->v_dim);
    if (c->o_bias) vector(l, "attn_output.bias", c->hidden);
}

static void add_indexer(list *l, const hd_published *m)
{
    const hd_model_config *c = &m->config;
    matrix(l, "indexer.attn_q_b.weight", (int64_t)m->more.index_heads * m->more.index_dim, c->q_lora);
    matrix(l, "indexer.attn_k.weight", m->more.index_dim, c->hidden);
    vector(l, "indexer.k_norm.weight", m->more.index_dim);
    vector(l, "indexer.k_norm.bias", m->more.index_dim);
    matrix(l, "indexer.proj.weight", m->more.index_heads, c->hidden);
}

static void add_dense_attention(list *l, const hd_model_config *c)
{
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    matrix(l, "attn_q.weight", q, c->hidden);
    matrix(l, "attn_k.weight", kv, c->hidden);
    matrix(l, "attn_v.weight", kv, c->hidden);
    if (c->qkv_bias) {
        vector(l, "attn_q.bias", q);
        vector(l, "attn_k.bias", kv);
        vector(l, "attn_v.bias", kv);
    }
    if (c->arch == HD_ARCH_QWEN3) {
        vector(l, "attn_q_norm.weight", c->head_dim);
        vector(l, "attn_k_norm.weight", c->head_dim);
    }
    matrix(l, "attn_output.weight", c->hidden, q);
    if (c->o_bias) vector(l, "attn_output.bias", c->hidden);
}

/* What makes rows of `width` values of r tokens; at a ratio of 4 blocks overlap, so that there are two of each. */
static void add_compressor(list *l, const hd_model_config *c, const char *what, int width, int ratio)
{
    static const char *const parts[] = {"ape", "norm", "gate", "kv"};
    int64_t made = (int64_t)width * (ratio == 4 ? 2 : 1);
    for (size_t i = 0; i < HD_ARRAY_LEN(parts); i++) {
        char name[PART_BYTES];
        snprintf(name, sizeof name, "%s_%s.weight", what, parts[i]);
        if (i == 0)
            add(l, name, HD_TYPE_F32, 0, ratio, made);
        else if (i == 1)
            vector(l, name, width);
        else
            matrix(l, name, made, c->hidden);
    }
}

static void add_v4_attention(list *l, const hd_published *m)
{
    const hd_model_config *c = &m->config;
    const hd_more_shapes *s = &m->more;
    int64_t heads = (int64_t)c->heads * c->head_dim, grouped = (int64_t)s->o_groups * s->o_lora;
    int ratio = s->ratios[l->layer];
    vector(l, "attn_sinks.weight", c->heads);
    matrix(l, "attn_q_a.weight", c->q_lora, c->hidden);
    vector(l, "attn_q_a_norm.weight", c->q_lora);
    matrix(l, "attn_q_b.weight", heads, c->q_lora);
    matrix(l, "attn_kv.weight", c->head_dim, c->hidden);
    vector(l, "attn_kv_a_norm.weight", c->head_dim);
    matrix(l, "attn_output_a.weight", grouped, heads / s->o_groups);
    matrix(l, "attn_output_b.weight", c->hidden, grouped);
    if (ratio) add_compressor(l, c, "attn_compressor", c->head_dim, ratio);
    if (ratio != 4) return;
    add_compressor(l, c, "indexer_compressor", s->index_dim, ratio);
    matrix(l, "indexer.proj.weight", s->index_heads, c->hidden);
    matrix(l, "indexer.attn_q_b.weight", (int64_t)s->index_heads * s->index_dim, c->q_lora);
}

/* V4's streams are mixed before and after each sublayer: `hyper` weights in, as many out, and a square of them. */
static void add_mixes(list *l, const hd_published *m)
{
    static const char *const names[2][3] = {{"hc_attn_base.weight", "hc_attn_fn.weight", "hc_attn_scale.weight"},
                                            {"hc_ffn_base.weight", "hc_ffn_fn.weight", "hc_ffn_scale.weight"}};
    int64_t hyper = m->more.hyper, mix = hyper * (2 + hyper);
    for (int i = 0; i < 2; i++) {
        vector(l, names[i][0], mix);
        add(l, names[i][1], HD_TYPE_F32, 0, mix, hyper * m->config.hidden);
        vector(l, names[i][2], 3);
    }
}

/* ---- networks ---- */

static void add_dense(list *l, const hd_model_config *c)
{
    matrix(l, "ffn_gate.weight", c->ffn, c->hidden);
    matrix(l, "ffn_up.weight", c->ffn, c->hidden);
    matrix(l, "ffn_down.weight", c->hidden, c->ffn);
    if (!c->mlp_bias) return;
    vector(l, "ffn_gate.bias", c->ffn);
    vector(l, "ffn_up.bias", c->ffn);
    vector(l, "ffn_down.bias", c->hidden);
}

static void add_experts(list *l, const hd_published *m)
{
    const hd_model_config *c = &m->config;
    int64_t shared = (int64_t)c->experts_shared * c->expert_ffn;
    bool hash = m->family == HD_FAMILY_V4 && l->layer < m->more.hash_layers;
    bool bias = m->family == HD_FAMILY_V4 ? !hash : c->sigmoid;
    add(l, "ffn_gate_inp.weight", HD_TYPE_F32, 0, c->experts, c->hidden);
    if (hash) add(l, "ffn_gate_tid2eid.weight", HD_TYPE_I32, 0, c->vocab, c->experts_used);
    if (bias) vector(l, "exp_probs_b.bias", c->experts);
    matrices(l, "ffn_gate_exps.weight", c->experts, c->expert_ffn, c->hidden);
    matrices(l, "ffn_up_exps.weight", c->experts, c->expert_ffn, c->hidden);
    matrices(l, "ffn_down_exps.weight", c->experts, c->hidden, c->expert_ffn);
    if (!shared) return;
    matrix(l, "ffn_gate_shexp.weight", shared, c->hidden);
    matrix(l, "ffn_up_shexp.weight", shared, c->hidden);
    matrix(l, "ffn_down_shexp.weight", c->hidden, shared);
    if (!c->mlp_bias) return;
    vector(l, "ffn_gate_shexp.bias", shared);
    vector(l, "ffn_up_shexp.bias", shared);
    vector(l, "ffn_down_shexp.bias", c->hidden);
}

bool hd_published_has_experts(const hd_published *m, int layer)
{
    const hd_model_config *c = &m->config;
    return c->experts > 0 && layer >= c->dense_lead && layer % HD_MAX(c->expert_every, 1) == 0;
}

static void add_layer(list *l, const hd_published *m)
{
    const hd_model_config *c = &m->config;
    vector(l, "attn_norm.weight", c->hidden);
    if (m->family == HD_FAMILY_V4)
        add_v4_attention(l, m);
    else if (c->arch == HD_ARCH_DEEPSEEK2)
        add_latent_attention(l, c);
    else
        add_dense_attention(l, c);
    if (m->family == HD_FAMILY_V32) add_indexer(l, m);
    vector(l, "ffn_norm.weight", c->hidden);
    if (m->family == HD_FAMILY_V4) add_mixes(l, m);
    if (hd_published_has_experts(m, l->layer))
        add_experts(l, m);
    else
        add_dense(l, c);
}

hd_status hd_published_tensors(const hd_published *model, hd_tensor **tensors, size_t *count, hd_error *err)
{
    const hd_model_config *c = &model->config;
    size_t most = (size_t)c->layers * LAYER_TENSORS + OTHER_TENSORS;
    *tensors = NULL;
    if (model->unknown) return hd_fail(err, HD_E_UNSUPPORTED, "%s: %s", model->name, model->note);
    list l = {.tensors = hd_alloc_array(most, sizeof(hd_tensor) + NAME_BYTES), .layer = -1};
    *tensors = l.tensors;
    if (!l.tensors) return hd_fail(err, HD_E_MEMORY, "no memory for the tensors of %s", model->name);
    l.names = (char *)(l.tensors + most);
    matrix(&l, "token_embd.weight", c->vocab, c->hidden);
    vector(&l, "output_norm.weight", c->hidden);
    if (!c->tied) matrix(&l, "output.weight", c->vocab, c->hidden);
    if (c->rope.type == HD_ROPE_LLAMA3) vector(&l, "rope_freqs.weight", c->rope_dim / 2);
    if (model->family == HD_FAMILY_V4) {
        vector(&l, "output_hc_base.weight", model->more.hyper);
        add(&l, "output_hc_fn.weight", HD_TYPE_F32, 0, model->more.hyper, (int64_t)model->more.hyper * c->hidden);
        vector(&l, "output_hc_scale.weight", 1);
    }
    for (l.layer = 0; l.layer < c->layers; l.layer++)
        add_layer(&l, model);
    *count = l.count;
    double values = 0;
    for (size_t i = 0; i < l.count; i++)
        values += (double)hd_tensor_values(&l.tensors[i]);
    if (values <= MOST_VALUES) return HD_OK;
    hd_free(*tensors);
    *tensors = NULL;
    return hd_fail(err, HD_E_LIMIT, "%s: more than %g weights", model->name, MOST_VALUES);
}

void hd_published_of_config(hd_published *out, const char *name, const hd_model_config *config)
{
    *out = (hd_published){.name = name, .source = name, .config = *config};
}

/* ---- bytes of a release ---- */

#define FP8_BLOCK 128

static int64_t blocks_of(int64_t values)
{
    return (values + FP8_BLOCK - 1) / FP8_BLOCK;
}

static bool name_has(const hd_tensor *t, const char *part)
{
    return strstr(t->name, part) != NULL;
}

/* What a release leaves in 16 bits though its matrices are FP8: embedding, output, router, V4's compressors and the
 * weights of the indexer's heads. */
static bool stays_16(const hd_tensor *t)
{
    static const char *const parts[] = {"token_embd.", "output.weight", "ffn_gate_inp.", "_compressor_",
                                        "indexer.proj."};
    if (name_has(t, "attn_output.")) return false;
    for (size_t i = 0; i < HD_ARRAY_LEN(parts); i++)
        if (name_has(t, parts[i])) return true;
    return false;
}

/* `planes` matrices of rows x cols with their scales. */
static uint64_t fp8_bytes(int64_t planes, int64_t rows, int64_t cols, uint64_t scale)
{
    return (uint64_t)planes * ((uint64_t)rows * (uint64_t)cols + (uint64_t)(blocks_of(rows) * blocks_of(cols)) * scale);
}

/* What GGUF has as F32 and V4 has so, too. */
static bool v4_keeps_32(const hd_tensor *t)
{
    return name_has(t, "hc_") || name_has(t, "_ape.") || name_has(t, "sinks") || name_has(t, "exp_probs_b");
}

static uint64_t release_bytes_of(const hd_published *m, const hd_tensor *t)
{
    const hd_model_config *c = &m->config;
    uint64_t values = (uint64_t)hd_tensor_values(t), plain = m->stored == HD_STORED_32 ? 4 : 2;
    bool v4 = m->family == HD_FAMILY_V4, exps = name_has(t, "_exps.");
    const int64_t *s = t->shape;
    if (name_has(t, "rope_freqs.")) return 0; /* computed from config.json there */
    if (t->type == HD_TYPE_I32) return values * 8;
    if (v4 && t->type == HD_TYPE_F32 && v4_keeps_32(t)) return values * 4;
    if (name_has(t, "exp_probs_b")) return values * (m->bias_32 ? 4 : plain);
    if (exps && m->more.fp4_experts) return values / 32 * 17; /* 16 bytes of codes and one of scale */
    if (m->stored != HD_STORED_FP8 || t->type != HD_TYPE_BF16 || stays_16(t)) return values * plain;
    if (name_has(t, "attn_k_b.")) /* one matrix there, attn_v_b in it */
        return fp8_bytes(1, (int64_t)c->heads * (c->nope + c->v_dim), c->kv_lora, 4);
    if (name_has(t, "attn_v_b.")) return 0;
    if (name_has(t, "_shexp.") || t->dims == 2) return fp8_bytes(1, s[0], s[1], v4 ? 1 : 4);
    return fp8_bytes(s[0], s[1], s[2], v4 ? 1 : 4);
}

uint64_t hd_published_release_bytes(const hd_published *model, const hd_tensor *tensors, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += release_bytes_of(model, &tensors[i]);
    return sum;
}

/* ---- caches ---- */

hd_cache_values hd_published_cache(const hd_published *m)
{
    const hd_model_config *c = &m->config;
    hd_cache_values v = {0};
    for (int i = 0; i < c->layers; i++) {
        int ratio = m->family == HD_FAMILY_V4 ? m->more.ratios[i] : 0;
        if (m->family == HD_FAMILY_V4) {
            v.fixed += (double)m->more.window * c->head_dim;
            if (ratio) v.per_token += (c->head_dim + (ratio == 4 ? m->more.index_dim : 0)) / (double)ratio;
        } else if (c->arch == HD_ARCH_DEEPSEEK2)
            v.per_token += c->kv_lora + c->rope_dim + m->more.index_dim;
        else
            v.per_token += 2.0 * c->kv_heads * c->head_dim;
    }
    return v;
}
