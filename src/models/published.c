/* models/published.c: shapes of published models, and the tensors that follow from them.
 *
 * Numbers are those of each model's config.json at the named source.  The count of parameters is stated beside them,
 * and a test holds the sum of the tensors to it. */
#include "models/published.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { NAME_BYTES = 48, LAYER_TENSORS = 20, OTHER_TENSORS = 3 };

static const hd_published models[] = {
    {.name = "deepseek-v3",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V3",
     .parameters = 671026419200,
     .config = {.arch = HD_ARCH_DEEPSEEK2,
                .layers = 61,
                .hidden = 7168,
                .vocab = 129280,
                .ffn = 18432,
                .heads = 128,
                .q_lora = 1536,
                .kv_lora = 512,
                .nope = 128,
                .rope_dim = 64,
                .v_dim = 128,
                .experts = 256,
                .experts_used = 8,
                .experts_shared = 1,
                .expert_ffn = 2048,
                .dense_lead = 3,
                .sigmoid = true}},
    {.name = "deepseek-v2",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V2",
     .parameters = 235741434880,
     .config = {.arch = HD_ARCH_DEEPSEEK2,
                .layers = 60,
                .hidden = 5120,
                .vocab = 102400,
                .ffn = 12288,
                .heads = 128,
                .q_lora = 1536,
                .kv_lora = 512,
                .nope = 128,
                .rope_dim = 64,
                .v_dim = 128,
                .experts = 160,
                .experts_used = 6,
                .experts_shared = 2,
                .expert_ffn = 1536,
                .dense_lead = 1}},
    {.name = "deepseek-v2-lite",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V2-Lite",
     .parameters = 15706484224,
     .config = {.arch = HD_ARCH_DEEPSEEK2,
                .layers = 27,
                .hidden = 2048,
                .vocab = 102400,
                .ffn = 10944,
                .heads = 16,
                .kv_lora = 512,
                .nope = 128,
                .rope_dim = 64,
                .v_dim = 128,
                .experts = 64,
                .experts_used = 6,
                .experts_shared = 2,
                .expert_ffn = 1408,
                .dense_lead = 1}},
};

const hd_published *hd_published_all(size_t *count)
{
    *count = HD_ARRAY_LEN(models);
    return models;
}

const hd_published *hd_published_find(const char *name)
{
    static const char *const others[][2] = {{"deepseek-v3.1", "deepseek-v3"},
                                            {"deepseek-r1", "deepseek-v3"},
                                            {"deepseek-v2.5", "deepseek-v2"},
                                            {"deepseek-coder-v2", "deepseek-v2"},
                                            {"deepseek-coder-v2-lite", "deepseek-v2-lite"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(others); i++)
        if (strcasecmp(name, others[i][0]) == 0) name = others[i][1];
    for (size_t i = 0; i < HD_ARRAY_LEN(models); i++)
        if (strcasecmp(name, models[i].name) == 0) return &models[i];
    return NULL;
}

/* ---- tensors ---- */

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

static void add_attention(list *l, const hd_model_config *c)
{
    int64_t queries = (int64_t)c->heads * (c->nope + c->rope_dim);
    vector(l, "attn_norm.weight", c->hidden);
    if (c->q_lora) {
        matrix(l, "attn_q_a.weight", c->q_lora, c->hidden);
        vector(l, "attn_q_a_norm.weight", c->q_lora);
        matrix(l, "attn_q_b.weight", queries, c->q_lora);
    } else
        matrix(l, "attn_q.weight", queries, c->hidden);
    matrix(l, "attn_kv_a_mqa.weight", c->kv_lora + c->rope_dim, c->hidden);
    vector(l, "attn_kv_a_norm.weight", c->kv_lora);
    matrices(l, "attn_k_b.weight", c->heads, c->kv_lora, c->nope);
    matrices(l, "attn_v_b.weight", c->heads, c->v_dim, c->kv_lora);
    matrix(l, "attn_output.weight", c->hidden, (int64_t)c->heads * c->v_dim);
    vector(l, "ffn_norm.weight", c->hidden);
}

static void add_dense(list *l, const hd_model_config *c)
{
    matrix(l, "ffn_gate.weight", c->ffn, c->hidden);
    matrix(l, "ffn_up.weight", c->ffn, c->hidden);
    matrix(l, "ffn_down.weight", c->hidden, c->ffn);
}

static void add_experts(list *l, const hd_model_config *c)
{
    int64_t shared = (int64_t)c->experts_shared * c->expert_ffn;
    add(l, "ffn_gate_inp.weight", HD_TYPE_F32, 0, c->experts, c->hidden);
    if (c->sigmoid) vector(l, "exp_probs_b.bias", c->experts);
    matrices(l, "ffn_gate_exps.weight", c->experts, c->expert_ffn, c->hidden);
    matrices(l, "ffn_up_exps.weight", c->experts, c->expert_ffn, c->hidden);
    matrices(l, "ffn_down_exps.weight", c->experts, c->hidden, c->expert_ffn);
    matrix(l, "ffn_gate_shexp.weight", shared, c->hidden);
    matrix(l, "ffn_up_shexp.weight", shared, c->hidden);
    matrix(l, "ffn_down_shexp.weight", c->hidden, shared);
}

hd_status hd_published_tensors(const hd_published *model, hd_tensor **tensors, size_t *count, hd_error *err)
{
    const hd_model_config *c = &model->config;
    size_t most = (size_t)c->layers * LAYER_TENSORS + OTHER_TENSORS;
    list l = {.tensors = hd_alloc_array(most, sizeof(hd_tensor) + NAME_BYTES), .layer = -1};
    *tensors = l.tensors;
    if (!l.tensors) return hd_fail(err, HD_E_MEMORY, "no memory for the tensors of %s", model->name);
    l.names = (char *)(l.tensors + most);
    matrix(&l, "token_embd.weight", c->vocab, c->hidden);
    vector(&l, "output_norm.weight", c->hidden);
    matrix(&l, "output.weight", c->vocab, c->hidden);
    for (l.layer = 0; l.layer < c->layers; l.layer++) {
        add_attention(&l, c);
        if (l.layer < c->dense_lead)
            add_dense(&l, c);
        else
            add_experts(&l, c);
    }
    *count = l.count;
    return HD_OK;
}
