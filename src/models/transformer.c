/* models/transformer.c: Llama, Qwen2 and Qwen3: grouped-query attention and a gated feed-forward network.
 *
 * Llama (arXiv:2302.13971) is also DeepSeek-LLM and DeepSeek-Coder; Qwen2 (arXiv:2407.10671) adds biases to q, k and v;
 * Qwen3 (arXiv:2505.09388) normalizes each head of q and k.  Layer l caches k in stream 2l and v in stream 2l + 1. */
#include <math.h>

#include "models/lora_internal.h"

typedef struct layer {
    const float *attn_norm, *ffn_norm;
    const float *q_norm, *k_norm; /* Qwen3; NULL elsewhere */
    hd_matrix q, k, v, o, gate, up, down;
    const float *q_bias, *k_bias, *v_bias, *o_bias, *gate_bias, *up_bias, *down_bias; /* NULL: none */
} layer;

typedef struct state {
    layer *layers;
    float *q, *k, *v,
        *att;         /* [tokens][heads * head_dim], [tokens][kv_heads * head_dim] twice, [tokens][heads * head_dim] */
    float *gate, *up; /* [tokens][ffn] */
} state;

static hd_status load_attention(const hd_model_config *c, hd_weights *w, layer *l, int i, hd_error *err)
{
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    /* GGUF has no key that tells of biases: there they are wanted where they are present. */
    bool qkv = c->qkv_bias || (hd_weights_gguf(w) && hd_weights_has(w, HD_NAME(q_bias), i));
    bool o = c->o_bias || (hd_weights_gguf(w) && hd_weights_has(w, HD_NAME(o_bias), i));
    HD_TRY(hd_weights_vector(w, &l->attn_norm, HD_NAME(attn_norm), i, c->hidden, err));
    HD_TRY(hd_weights_matrix(w, &l->q, HD_NAME(q_weight), i, q, c->hidden, true, err));
    HD_TRY(hd_weights_matrix(w, &l->k, HD_NAME(k_weight), i, kv, c->hidden, true, err));
    HD_TRY(hd_weights_matrix(w, &l->v, HD_NAME(v_weight), i, kv, c->hidden, true, err));
    HD_TRY(hd_weights_matrix(w, &l->o, HD_NAME(o_weight), i, c->hidden, q, true, err));
    HD_TRY(hd_weights_vector_if(w, qkv, &l->q_bias, HD_NAME(q_bias), i, q, err));
    HD_TRY(hd_weights_vector_if(w, qkv, &l->k_bias, HD_NAME(k_bias), i, kv, err));
    HD_TRY(hd_weights_vector_if(w, qkv, &l->v_bias, HD_NAME(v_bias), i, kv, err));
    HD_TRY(hd_weights_vector_if(w, o, &l->o_bias, HD_NAME(o_bias), i, c->hidden, err));
    bool head_norms = c->arch == HD_ARCH_QWEN3;
    HD_TRY(hd_weights_vector_if(w, head_norms, &l->q_norm, HD_NAME(q_norm), i, c->head_dim, err));
    return hd_weights_vector_if(w, head_norms, &l->k_norm, HD_NAME(k_norm), i, c->head_dim, err);
}

static hd_status load_ffn(const hd_model_config *c, hd_weights *w, layer *l, int i, hd_error *err)
{
    bool bias = c->mlp_bias || (hd_weights_gguf(w) && hd_weights_has(w, HD_NAME(gate_bias), i));
    HD_TRY(hd_weights_vector(w, &l->ffn_norm, HD_NAME(ffn_norm), i, c->hidden, err));
    HD_TRY(hd_weights_matrix(w, &l->gate, HD_NAME(gate_weight), i, c->ffn, c->hidden, true, err));
    HD_TRY(hd_weights_matrix(w, &l->up, HD_NAME(up_weight), i, c->ffn, c->hidden, true, err));
    HD_TRY(hd_weights_matrix(w, &l->down, HD_NAME(down_weight), i, c->hidden, c->ffn, true, err));
    HD_TRY(hd_weights_vector_if(w, bias, &l->gate_bias, HD_NAME(gate_bias), i, c->ffn, err));
    HD_TRY(hd_weights_vector_if(w, bias, &l->up_bias, HD_NAME(up_bias), i, c->ffn, err));
    return hd_weights_vector_if(w, bias, &l->down_bias, HD_NAME(down_bias), i, c->hidden, err);
}

static hd_status load(hd_model *m, hd_weights *w, hd_error *err)
{
    state *s = m->state;
    s->layers = hd_weights_alloc(w, (size_t)m->config.layers, sizeof *s->layers);
    if (!s->layers) return hd_fail(err, HD_E_MEMORY, "out of memory for %d layers", m->config.layers);
    for (int i = 0; i < m->config.layers; i++) {
        HD_TRY(load_attention(&m->config, w, &s->layers[i], i, err));
        HD_TRY(load_ffn(&m->config, w, &s->layers[i], i, err));
    }
    return HD_OK;
}

static int stream_count(const hd_model_config *c)
{
    return 2 * c->layers;
}

static int stream_width(const hd_model_config *c, int stream)
{
    (void)stream;
    return c->kv_heads * c->head_dim;
}

static int stream_piece(const hd_model_config *c)
{
    return c->head_dim;
}

static void lay_out(hd_model *m, hd_activations *a)
{
    const hd_model_config *c = &m->config;
    state *s = m->state;
    int64_t n = m->max_tokens, q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    s->q = hd_activations_take(a, n, q);
    s->k = hd_activations_take(a, n, kv);
    s->v = hd_activations_take(a, n, kv);
    s->att = hd_activations_take(a, n, q);
    s->gate = hd_activations_take(a, n, c->ffn);
    s->up = hd_activations_take(a, n, c->ffn);
}

static void limits(const hd_model_config *c, hd_shape_limits *l)
{
    l->cols = HD_MAX(l->cols, (int64_t)c->heads * c->head_dim);
    l->k_dim = l->v_dim = c->head_dim;
}

static int expert_layers(const hd_model_config *c)
{
    (void)c;
    return 0;
}

/* Writes k and v to the cache, then attends; the result is in s->att. */
static void attend(hd_model *m, const hd_batch *batch, int i)
{
    const hd_model_config *c = &m->config;
    const state *s = m->state;
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim, at = 0;
    for (int j = 0; j < batch->count; j++) {
        const hd_span *span = &batch->spans[j];
        hd_rows k = hd_model_rows(m, span, 2 * i), v = hd_model_rows(m, span, 2 * i + 1);
        m->backend->store_rows(&m->exec, &k, 0, s->k + at * kv, kv, (int)kv, span->pos0, span->n);
        m->backend->store_rows(&m->exec, &v, 0, s->v + at * kv, kv, (int)kv, span->pos0, span->n);
        m->spans[j] = (hd_attend_span){.q = s->q + at * q,
                                       .out = s->att + at * q,
                                       .ldq = q,
                                       .ldo = q,
                                       .queries = span->n,
                                       .pos0 = span->pos0,
                                       .k = k,
                                       .v = v};
        at += span->n;
    }
    hd_attend_shape shape = {.heads = c->heads,
                             .kv_heads = c->kv_heads,
                             .k_dim = c->head_dim,
                             .v_dim = c->head_dim,
                             .scale = 1.0f / sqrtf((float)c->head_dim)};
    m->backend->attend(&m->exec, &shape, m->spans, batch->count);
}

static void attention(hd_model *m, const layer *l, const hd_batch *batch, int i, int64_t n)
{
    const hd_model_config *c = &m->config;
    const hd_backend *b = m->backend;
    const hd_exec *ex = &m->exec;
    const state *s = m->state;
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    b->rms_norm(ex, m->h, c->hidden, m->x, c->hidden, l->attn_norm, c->hidden, c->rms_eps, n);
    const hd_product qkv[] = {{s->q, q, &l->q, l->q_bias}, {s->k, kv, &l->k, l->k_bias}, {s->v, kv, &l->v, l->v_bias}};
    b->matmul_shared(ex, qkv, 3, m->h, c->hidden, n);
    const hd_lora_product adapted[] = {{HD_LORA_Q, s->q, q}, {HD_LORA_K, s->k, kv}, {HD_LORA_V, s->v, kv}};
    hd_lora_add(m, batch, i, adapted, 3, m->h, c->hidden);
    if (l->q_norm) {
        b->rms_norm(ex, s->q, c->head_dim, s->q, c->head_dim, l->q_norm, c->head_dim, c->rms_eps, n * c->heads);
        b->rms_norm(ex, s->k, c->head_dim, s->k, c->head_dim, l->k_norm, c->head_dim, c->rms_eps, n * c->kv_heads);
    }
    b->rope(ex, s->q, q, c->head_dim, c->heads, &m->rope, n);
    b->rope(ex, s->k, kv, c->head_dim, c->kv_heads, &m->rope, n);
    attend(m, batch, i);
    b->matmul(ex, m->h, c->hidden, &l->o, l->o_bias, s->att, q, n);
    hd_lora_add(m, batch, i, &(hd_lora_product){HD_LORA_O, m->h, c->hidden}, 1, s->att, q);
    b->add(ex, m->x, m->h, c->hidden, n);
}

static void feed_forward(hd_model *m, const layer *l, const hd_batch *batch, int i, int64_t n)
{
    const hd_model_config *c = &m->config;
    const hd_backend *b = m->backend;
    const hd_exec *ex = &m->exec;
    const state *s = m->state;
    b->rms_norm(ex, m->h, c->hidden, m->x, c->hidden, l->ffn_norm, c->hidden, c->rms_eps, n);
    const hd_product gate_up[] = {{s->gate, c->ffn, &l->gate, l->gate_bias}, {s->up, c->ffn, &l->up, l->up_bias}};
    if (hd_dials_sparse(m))
        hd_dials_activate(m, &gate_up[0], &gate_up[1], n);
    else {
        b->matmul_shared(ex, gate_up, 2, m->h, c->hidden, n);
        const hd_lora_product adapted[] = {{HD_LORA_GATE, s->gate, c->ffn}, {HD_LORA_UP, s->up, c->ffn}};
        hd_lora_add(m, batch, i, adapted, 2, m->h, c->hidden);
        b->swiglu(ex, s->gate, s->up, c->ffn, n);
    }
    b->matmul(ex, m->h, c->hidden, &l->down, l->down_bias, s->gate, c->ffn, n);
    hd_lora_add(m, batch, i, &(hd_lora_product){HD_LORA_DOWN, m->h, c->hidden}, 1, s->gate, c->ffn);
    b->add(ex, m->x, m->h, c->hidden, n);
}

static void layers(hd_model *m, const hd_batch *batch, int64_t n)
{
    const state *s = m->state;
    for (int i = 0; i < m->config.layers; i++) {
        attention(m, &s->layers[i], batch, i, n);
        feed_forward(m, &s->layers[i], batch, i, n);
    }
}

const hd_arch_ops hd_arch_transformer = {
    .state_bytes = sizeof(state),
    .load = load,
    .stream_count = stream_count,
    .stream_width = stream_width,
    .stream_piece = stream_piece,
    .lay_out = lay_out,
    .limits = limits,
    .expert_layers = expert_layers,
    .layers = layers,
};
