/* models/deepseek2.c: DeepSeek V2, V2-Lite, V2.5, V3, V3.1 and R1: multi-head latent attention and routed experts.
 *
 * arXiv:2405.04434 (V2), arXiv:2412.19437 (V3).  Layer l caches [c | k_rope] in stream l: the normalized latent of
 * width kv_lora, and the rotated key that all heads share.  Attention runs in one of two forms that give the same
 * values: absorbed (queries are moved into the latent space) for spans of few queries, decompressed for long ones; the
 * form depends on the span's own length only, so a sequence's result does not depend on its neighbours in the batch. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/deepseek2_internal.h"
#include "models/lora_internal.h"

static bool has_experts(const hd_model_config *c, int layer_index)
{
    return c->experts > 0 && layer_index >= c->dense_lead && layer_index % c->expert_every == 0;
}

/* The key half of head `h` of a joint kv_b [heads * (nope + v)][lora], turned into the [lora][nope] that absorption
 * reads. Plain float types keep their type; others are decoded to float32. */
static hd_status transpose_k_b(const hd_model_config *c, hd_weights *w, const hd_matrix *joint, int h, hd_matrix *out,
                               hd_error *err)
{
    hd_matrix part = hd_matrix_slice(joint, (int64_t)h * (c->nope + c->v_dim), c->nope);
    bool plain = joint->type == HD_TYPE_BF16 || joint->type == HD_TYPE_F16;
    size_t size = plain ? 2 : sizeof(float);
    uint8_t *data = hd_weights_alloc(w, (size_t)c->kv_lora * (size_t)c->nope, size);
    float *row = hd_alloc_array((size_t)c->kv_lora, sizeof *row);
    if (!data || !row) {
        hd_free(row);
        return hd_fail(err, HD_E_MEMORY, "out of memory for attn_k_b");
    }
    for (int r = 0; r < c->nope; r++) {
        if (!plain) hd_matrix_decode_row(&part, r, row);
        const uint8_t *from = plain ? part.data + (size_t)r * part.row_bytes : (const uint8_t *)row;
        for (int l = 0; l < c->kv_lora; l++)
            memcpy(data + ((size_t)l * (size_t)c->nope + (size_t)r) * size, from + (size_t)l * size, size);
    }
    hd_free(row);
    *out = (hd_matrix){.type = plain ? joint->type : HD_TYPE_F32,
                       .rows = c->kv_lora,
                       .cols = c->nope,
                       .data = data,
                       .row_bytes = (size_t)c->nope * size};
    return HD_OK;
}

static hd_status load_joint_kv_b(const hd_model_config *c, hd_weights *w, hd_layer *l, int i, hd_error *err)
{
    hd_matrix joint;
    int64_t rows = (int64_t)c->heads * (c->nope + c->v_dim);
    HD_TRY(hd_weights_matrix(w, &joint, HD_NAME(kv_b), i, rows, c->kv_lora, false, err));
    l->k_b = hd_weights_alloc(w, (size_t)c->heads, sizeof *l->k_b);
    l->v_b = hd_weights_alloc(w, (size_t)c->heads, sizeof *l->v_b);
    if (!l->k_b || !l->v_b) return hd_fail(err, HD_E_MEMORY, "out of memory for %d heads", c->heads);
    for (int h = 0; h < c->heads; h++) {
        HD_TRY(transpose_k_b(c, w, &joint, h, &l->k_b[h], err));
        l->v_b[h] = hd_matrix_slice(&joint, (int64_t)h * (c->nope + c->v_dim) + c->nope, c->v_dim);
        HD_TRY(hd_weights_prepare(w, &l->k_b[h], err));
        HD_TRY(hd_weights_prepare(w, &l->v_b[h], err));
    }
    return HD_OK;
}

/* attention_bias of config.json; GGUF has no key for it: there a bias is wanted where it is present. */
static hd_status load_attention_biases(const hd_model_config *c, hd_weights *w, hd_layer *l, int i, hd_error *err)
{
    bool any = c->qkv_bias || (hd_weights_gguf(w) && hd_weights_has(w, HD_NAME(kv_a_bias), i));
    HD_TRY(hd_weights_vector_if(w, any && c->q_lora, &l->q_a_bias, HD_NAME(q_a_bias), i, c->q_lora, err));
    HD_TRY(hd_weights_vector_if(w, any, &l->kv_a_bias, HD_NAME(kv_a_bias), i, c->kv_lora + c->rope_dim, err));
    return hd_weights_vector_if(w, any, &l->o_bias, HD_NAME(o_bias), i, c->hidden, err);
}

static hd_status load_attention(const hd_model_config *c, hd_weights *w, hd_layer *l, int i, hd_error *err)
{
    int64_t q = (int64_t)c->heads * c->head_dim;
    HD_TRY(hd_weights_vector(w, &l->attn_norm, HD_NAME(attn_norm), i, c->hidden, err));
    HD_TRY(load_attention_biases(c, w, l, i, err));
    if (c->q_lora) {
        HD_TRY(hd_weights_matrix(w, &l->q_a, HD_NAME(q_a), i, c->q_lora, c->hidden, true, err));
        HD_TRY(hd_weights_vector(w, &l->q_a_norm, HD_NAME(q_a_norm), i, c->q_lora, err));
        HD_TRY(hd_weights_matrix(w, &l->q, HD_NAME(q_b), i, q, c->q_lora, true, err));
    } else
        HD_TRY(hd_weights_matrix(w, &l->q, HD_NAME(q_weight), i, q, c->hidden, true, err));
    HD_TRY(hd_weights_matrix(w, &l->kv_a, HD_NAME(kv_a), i, c->kv_lora + c->rope_dim, c->hidden, true, err));
    HD_TRY(hd_weights_vector(w, &l->kv_a_norm, HD_NAME(kv_a_norm), i, c->kv_lora, err));
    if (hd_weights_has(w, HD_NAME(k_b), i)) {
        HD_TRY(hd_weights_experts(w, &l->k_b, HD_NAME(k_b), i, c->heads, c->kv_lora, c->nope, true, err));
        HD_TRY(hd_weights_experts(w, &l->v_b, HD_NAME(v_b), i, c->heads, c->v_dim, c->kv_lora, true, err));
    } else
        HD_TRY(load_joint_kv_b(c, w, l, i, err));
    return hd_weights_matrix(w, &l->o, HD_NAME(o_weight), i, c->hidden, (int64_t)c->heads * c->v_dim, true, err);
}

/* names: the matrices gate, up, down, then their biases in that order. */
static hd_status load_gated(const hd_model_config *c, hd_weights *w, hd_gated *g, const hd_name names[6], int i,
                            int64_t width, hd_error *err)
{
    bool bias = c->mlp_bias || (hd_weights_gguf(w) && hd_weights_has(w, names[3], i));
    HD_TRY(hd_weights_matrix(w, &g->gate, names[0], i, width, c->hidden, true, err));
    HD_TRY(hd_weights_matrix(w, &g->up, names[1], i, width, c->hidden, true, err));
    HD_TRY(hd_weights_matrix(w, &g->down, names[2], i, c->hidden, width, true, err));
    HD_TRY(hd_weights_vector_if(w, bias, &g->gate_bias, names[3], i, width, err));
    HD_TRY(hd_weights_vector_if(w, bias, &g->up_bias, names[4], i, width, err));
    return hd_weights_vector_if(w, bias, &g->down_bias, names[5], i, c->hidden, err);
}

/* Some GGUF converters join gate and up into one tensor [experts][2 * ffn][hidden], gate first. */
static hd_status load_joint_gate_up(const hd_model_config *c, hd_weights *w, hd_layer *l, int i, hd_error *err)
{
    hd_matrix *joint, *gate = hd_weights_alloc(w, (size_t)c->experts, sizeof *gate);
    hd_matrix *up = hd_weights_alloc(w, (size_t)c->experts, sizeof *up);
    if (!gate || !up) return hd_fail(err, HD_E_MEMORY, "out of memory for %d experts", c->experts);
    HD_TRY(hd_weights_experts(w, &joint, HD_NAME(gate_up_exps), i, c->experts, 2 * (int64_t)c->expert_ffn, c->hidden,
                              false, err));
    for (int e = 0; e < c->experts; e++) {
        gate[e] = hd_matrix_slice(&joint[e], 0, c->expert_ffn);
        up[e] = hd_matrix_slice(&joint[e], c->expert_ffn, c->expert_ffn);
        HD_TRY(hd_weights_prepare(w, &gate[e], err));
        HD_TRY(hd_weights_prepare(w, &up[e], err));
    }
    l->experts.gate = gate;
    l->experts.up = up;
    return HD_OK;
}

static hd_status load_experts(const hd_model_config *c, hd_weights *w, hd_layer *l, int i, hd_error *err)
{
    hd_matrix *gate, *up, *down;
    l->experts.count = c->experts;
    HD_TRY(hd_weights_matrix(w, &l->router, HD_NAME(router), i, c->experts, c->hidden, true, err));
    HD_TRY(hd_weights_vector_if(w, c->sigmoid, &l->router_bias, HD_NAME(router_bias), i, c->experts, err));
    if (hd_weights_has(w, HD_NAME(gate_up_exps), i))
        HD_TRY(load_joint_gate_up(c, w, l, i, err));
    else {
        HD_TRY(hd_weights_experts(w, &gate, HD_NAME(gate_exps), i, c->experts, c->expert_ffn, c->hidden, true, err));
        HD_TRY(hd_weights_experts(w, &up, HD_NAME(up_exps), i, c->experts, c->expert_ffn, c->hidden, true, err));
        l->experts.gate = gate;
        l->experts.up = up;
    }
    HD_TRY(hd_weights_experts(w, &down, HD_NAME(down_exps), i, c->experts, c->hidden, c->expert_ffn, true, err));
    l->experts.down = down;
    if (!c->experts_shared) return HD_OK;
    const hd_name names[6] = {HD_NAME(gate_shexp),      HD_NAME(up_shexp),      HD_NAME(down_shexp),
                              HD_NAME(gate_shexp_bias), HD_NAME(up_shexp_bias), HD_NAME(down_shexp_bias)};
    return load_gated(c, w, &l->ffn, names, i, (int64_t)c->expert_ffn * c->experts_shared, err);
}

static hd_status load_layer(const hd_model_config *c, hd_weights *w, hd_layer *l, int i, hd_error *err)
{
    HD_TRY(load_attention(c, w, l, i, err));
    HD_TRY(hd_weights_vector(w, &l->ffn_norm, HD_NAME(ffn_norm), i, c->hidden, err));
    if (has_experts(c, i)) return load_experts(c, w, l, i, err);
    const hd_name names[6] = {HD_NAME(gate_weight), HD_NAME(up_weight), HD_NAME(down_weight),
                              HD_NAME(gate_bias),   HD_NAME(up_bias),   HD_NAME(down_bias)};
    return load_gated(c, w, &l->ffn, names, i, c->ffn, err);
}

/* Multi-token prediction layers stand behind the last layer in V3's files; they are not evaluated here. */
static void ignore_mtp(const hd_model_config *c, hd_weights *w)
{
    char prefix[64];
    for (int i = c->layers; i < c->layers + c->mtp_layers; i++) {
        snprintf(prefix, sizeof prefix, hd_weights_gguf(w) ? "blk.%d." : "model.layers.%d.", i);
        hd_weights_ignore(w, prefix);
    }
}

/* The published code gives experts to every moe_layer_freq-th layer only, the reference implementation to each: where
 * the key is not 1, a router in a layer that would be dense tells that the checkpoint is of the second kind. */
static void settle_distance(hd_model_config *c, const hd_weights *w)
{
    for (int i = c->dense_lead; i < c->layers && c->expert_every > 1; i++)
        if (!has_experts(c, i) && hd_weights_has(w, HD_NAME(router), i)) c->expert_every = 1;
}

static hd_status load(hd_model *m, hd_weights *w, hd_error *err)
{
    hd_deepseek2 *s = m->state;
    settle_distance(&m->config, w);
    s->layers = hd_weights_alloc(w, (size_t)m->config.layers, sizeof *s->layers);
    if (!s->layers) return hd_fail(err, HD_E_MEMORY, "out of memory for %d layers", m->config.layers);
    int slot = 0;
    for (int i = 0; i < m->config.layers; i++) {
        HD_TRY(load_layer(&m->config, w, &s->layers[i], i, err));
        s->layers[i].expert_slot = s->layers[i].experts.count ? slot++ : -1;
    }
    ignore_mtp(&m->config, w);
    s->softmax_scale = hd_rope_softmax_factor(&m->config.rope) / sqrtf((float)m->config.head_dim);
    return HD_OK;
}

static int stream_count(const hd_model_config *c)
{
    return c->layers;
}

static int stream_width(const hd_model_config *c, int stream)
{
    (void)stream;
    return c->kv_lora + c->rope_dim;
}

/* The latent, and the rotated key behind it. */
static int stream_piece(const hd_model_config *c)
{
    int a = c->kv_lora, b = c->rope_dim;
    while (b) { /* Euclid's greatest common divisor */
        int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int64_t widest_ffn(const hd_model_config *c)
{
    return HD_MAX((int64_t)c->ffn, (int64_t)c->expert_ffn * c->experts_shared);
}

static void lay_out(hd_model *m, hd_activations *a)
{
    const hd_model_config *c = &m->config;
    hd_deepseek2 *s = m->state;
    int64_t n = m->max_tokens;
    s->q_a = hd_activations_take(a, n, c->q_lora);
    s->q = hd_activations_take(a, n, (int64_t)c->heads * c->head_dim);
    s->kv = hd_activations_take(a, n, c->kv_lora + c->rope_dim);
    s->q_latent = hd_activations_take(a, n, (int64_t)c->heads * (c->kv_lora + c->rope_dim));
    s->att_latent = hd_activations_take(a, n, (int64_t)c->heads * c->kv_lora);
    s->att = hd_activations_take(a, n, (int64_t)c->heads * c->v_dim);
    s->gate = hd_activations_take(a, n, widest_ffn(c));
    s->up = hd_activations_take(a, n, widest_ffn(c));
    s->routed = hd_activations_take(a, n, c->hidden);
    s->scores = hd_activations_take(a, n, c->experts);
    s->choice = hd_activations_take(a, n, c->experts);
    s->weight = hd_activations_take(a, n, c->experts_used);
    s->ids = (int32_t *)(void *)hd_activations_take(a, n, c->experts_used);
}

static void limits(const hd_model_config *c, hd_shape_limits *l)
{
    l->cols = HD_MAX(HD_MAX(l->cols, widest_ffn(c)), (int64_t)c->heads * HD_MAX(c->v_dim, c->head_dim));
    l->cols = HD_MAX(l->cols, HD_MAX(c->q_lora, c->kv_lora));
    l->k_dim = HD_MAX(c->head_dim, c->kv_lora + c->rope_dim);
    l->v_dim = HD_MAX(c->v_dim, c->kv_lora);
    l->mla_lora = c->kv_lora;
    l->mla_nope = c->nope;
    l->mla_rope = c->rope_dim;
    l->experts = c->experts;
    l->experts_used = c->experts_used;
    l->expert_ffn = c->expert_ffn;
}

static int expert_layers(const hd_model_config *c)
{
    int n = 0;
    for (int i = 0; i < c->layers; i++)
        n += has_experts(c, i);
    return n;
}

/* s->q and s->kv of all tokens, rotated, and the cached rows written. */
static void project(hd_model *m, const hd_layer *l, const hd_batch *batch, int i, int64_t n)
{
    const hd_model_config *c = &m->config;
    const hd_backend *b = m->backend;
    const hd_exec *ex = &m->exec;
    const hd_deepseek2 *s = m->state;
    int64_t q = (int64_t)c->heads * c->head_dim, width = c->kv_lora + c->rope_dim, at = 0;
    b->rms_norm(ex, m->h, c->hidden, m->x, c->hidden, l->attn_norm, c->hidden, c->rms_eps, n);
    const hd_product from_h[] = {c->q_lora ? (hd_product){s->q_a, c->q_lora, &l->q_a, l->q_a_bias}
                                           : (hd_product){s->q, q, &l->q, NULL},
                                 {s->kv, width, &l->kv_a, l->kv_a_bias}};
    b->matmul_shared(ex, from_h, 2, m->h, c->hidden, n);
    const hd_lora_product adapted[] = {{c->q_lora ? HD_LORA_Q_A : HD_LORA_Q, from_h[0].y, from_h[0].ldy},
                                       {HD_LORA_KV_A, s->kv, width}};
    hd_lora_add(m, batch, i, adapted, 2, m->h, c->hidden);
    if (c->q_lora) {
        b->rms_norm(ex, s->q_a, c->q_lora, s->q_a, c->q_lora, l->q_a_norm, c->q_lora, HD_MLA_NORM_EPS, n);
        b->matmul(ex, s->q, q, &l->q, NULL, s->q_a, c->q_lora, n);
        hd_lora_add(m, batch, i, &(hd_lora_product){HD_LORA_Q, s->q, q}, 1, s->q_a, c->q_lora);
    }
    b->rms_norm(ex, s->kv, width, s->kv, width, l->kv_a_norm, c->kv_lora, HD_MLA_NORM_EPS, n);
    b->rope(ex, s->q + c->nope, q, c->head_dim, c->heads, &m->rope, n);
    b->rope(ex, s->kv + c->kv_lora, width, 0, 1, &m->rope, n);
    for (int j = 0; j < batch->count; j++) {
        const hd_span *span = &batch->spans[j];
        hd_rows rows = hd_model_rows(m, span, i);
        b->store_rows(ex, &rows, 0, s->kv + at * width, width, (int)width, span->pos0, span->n);
        at += span->n;
    }
}

typedef struct rotated_job {
    const hd_model *m;
    int64_t t0;
} rotated_job;

/* The rotated part of every head's query to behind its latent part, tokens from t0 on. */
static void copy_rotated(void *arg, int64_t begin, int64_t end, int thread)
{
    const rotated_job *job = arg;
    const hd_model_config *c = &job->m->config;
    const hd_deepseek2 *s = job->m->state;
    int64_t width = c->kv_lora + c->rope_dim;
    (void)thread;
    for (int64_t i = (job->t0 + begin) * c->heads; i < (job->t0 + end) * c->heads;
         i++) /* heads of all tokens in a row */
        memcpy(s->q_latent + i * width + c->kv_lora, s->q + i * c->head_dim + c->nope,
               (size_t)c->rope_dim * sizeof(float));
}

/* Absorbed form, tokens [t0, t0 + n) in m->spans[0 .. count): q' = [k_b q_nope | q_rope] scores against the cached rows
 * themselves; the weighted sum of latents goes through v_b. */
static void attend_absorbed(hd_model *m, const hd_layer *l, int64_t t0, int64_t n, int count)
{
    const hd_model_config *c = &m->config;
    const hd_deepseek2 *s = m->state;
    int64_t q = (int64_t)c->heads * c->head_dim, width = c->kv_lora + c->rope_dim;
    int64_t ql = c->heads * width, al = (int64_t)c->heads * c->kv_lora, out = (int64_t)c->heads * c->v_dim;
    m->backend->matmul_heads(&m->exec, s->q_latent + t0 * ql, ql, width, l->k_b, c->heads, s->q + t0 * q, q,
                             c->head_dim, n);
    rotated_job job = {.m = m, .t0 = t0};
    hd_pool_for(m->exec.pool, n, 8, copy_rotated, &job);
    hd_attend_shape shape = {
        .heads = c->heads, .kv_heads = 1, .k_dim = (int)width, .v_dim = c->kv_lora, .scale = s->softmax_scale};
    m->backend->attend(&m->exec, &shape, m->spans, count);
    m->backend->matmul_heads(&m->exec, s->att + t0 * out, out, c->v_dim, l->v_b, c->heads, s->att_latent + t0 * al, al,
                             c->kv_lora, n);
}

static void attend_decompressed(hd_model *m, const hd_layer *l, int count)
{
    const hd_model_config *c = &m->config;
    const hd_deepseek2 *s = m->state;
    hd_mla_shape shape = {.heads = c->heads,
                          .nope = c->nope,
                          .rope = c->rope_dim,
                          .lora = c->kv_lora,
                          .v_dim = c->v_dim,
                          .scale = s->softmax_scale,
                          .k_b = l->k_b,
                          .v_b = l->v_b};
    m->backend->attend_mla(&m->exec, &shape, m->spans, count);
}

/* Runs of neighbouring spans that take the same form go through it together. */
static void attend(hd_model *m, const hd_layer *l, const hd_batch *batch, int i)
{
    const hd_model_config *c = &m->config;
    const hd_deepseek2 *s = m->state;
    int64_t width = c->kv_lora + c->rope_dim, first = 0;
    for (int j = 0; j < batch->count;) {
        bool absorbed = batch->spans[j].n < HD_MLA_DECOMPRESS_FROM;
        int count = 0;
        int64_t n = 0;
        for (; j < batch->count && (batch->spans[j].n < HD_MLA_DECOMPRESS_FROM) == absorbed; j++) {
            const hd_span *span = &batch->spans[j];
            hd_rows rows = hd_model_rows(m, span, i);
            int64_t ldq = absorbed ? c->heads * width : (int64_t)c->heads * c->head_dim;
            int64_t ldo = (int64_t)c->heads * (absorbed ? c->kv_lora : c->v_dim);
            m->spans[count++] = (hd_attend_span){.q = (absorbed ? s->q_latent : s->q) + (first + n) * ldq,
                                                 .out = (absorbed ? s->att_latent : s->att) + (first + n) * ldo,
                                                 .ldq = ldq,
                                                 .ldo = ldo,
                                                 .queries = span->n,
                                                 .pos0 = span->pos0,
                                                 .k = rows,
                                                 .v = rows};
            n += span->n;
        }
        if (absorbed)
            attend_absorbed(m, l, first, n, count);
        else
            attend_decompressed(m, l, count);
        first += n;
    }
}

/* What meets the normed input at once: gate and up of the dense or shared FFN, and the scores of the experts. */
static void project_ffn(hd_model *m, const hd_layer *l, int64_t n)
{
    const hd_model_config *c = &m->config;
    const hd_deepseek2 *s = m->state;
    const hd_gated *g = &l->ffn;
    hd_product from_h[3];
    int count = 0;
    if (g->gate.rows && !hd_dials_sparse(m)) {
        from_h[count++] = (hd_product){s->gate, g->gate.rows, &g->gate, g->gate_bias};
        from_h[count++] = (hd_product){s->up, g->gate.rows, &g->up, g->up_bias};
    }
    if (l->experts.count) from_h[count++] = (hd_product){s->scores, c->experts, &l->router, NULL};
    if (count) m->backend->matmul_shared(&m->exec, from_h, count, m->h, c->hidden, n);
}

static void feed_forward(hd_model *m, const hd_layer *l, const hd_batch *batch, int i, int64_t n)
{
    const hd_model_config *c = &m->config;
    const hd_backend *b = m->backend;
    const hd_exec *ex = &m->exec;
    const hd_deepseek2 *s = m->state;
    const hd_gated *g = &l->ffn;
    b->rms_norm(ex, m->h, c->hidden, m->x, c->hidden, l->ffn_norm, c->hidden, c->rms_eps, n);
    project_ffn(m, l, n);
    const hd_lora_product adapted[] = {{HD_LORA_GATE, s->gate, g->gate.rows}, {HD_LORA_UP, s->up, g->gate.rows}};
    hd_lora_add(m, batch, i, adapted, 2, m->h, c->hidden);
    if (l->experts.count) {
        hd_route(m, l, n);
        b->moe(ex, s->routed, &l->experts, m->h, s->ids, s->weight, c->experts_used, n);
        b->add(ex, m->x, s->routed, c->hidden, n);
    }
    if (!g->gate.rows) return; /* experts without a shared one */
    const hd_product gate = {s->gate, g->gate.rows, &g->gate, g->gate_bias};
    const hd_product up = {s->up, g->gate.rows, &g->up, g->up_bias};
    if (hd_dials_sparse(m))
        hd_dials_activate(m, &gate, &up, n);
    else
        b->swiglu(ex, s->gate, s->up, g->gate.rows, n);
    b->matmul(ex, s->routed, c->hidden, &g->down, g->down_bias, s->gate, g->gate.rows, n);
    hd_lora_add(m, batch, i, &(hd_lora_product){HD_LORA_DOWN, s->routed, c->hidden}, 1, s->gate, g->gate.rows);
    b->add(ex, m->x, s->routed, c->hidden, n);
}

static void layers(hd_model *m, const hd_batch *batch, int64_t n)
{
    const hd_model_config *c = &m->config;
    const hd_deepseek2 *s = m->state;
    for (int i = 0; i < c->layers; i++) {
        const hd_layer *l = &s->layers[i];
        project(m, l, batch, i, n);
        attend(m, l, batch, i);
        int64_t att = (int64_t)c->heads * c->v_dim;
        m->backend->matmul(&m->exec, m->h, c->hidden, &l->o, l->o_bias, s->att, att, n);
        hd_lora_add(m, batch, i, &(hd_lora_product){HD_LORA_O, m->h, c->hidden}, 1, s->att, att);
        m->backend->add(&m->exec, m->x, m->h, c->hidden, n);
        feed_forward(m, l, batch, i, n);
    }
}

const hd_arch_ops hd_arch_deepseek2 = {
    .state_bytes = sizeof(hd_deepseek2),
    .load = load,
    .stream_count = stream_count,
    .stream_width = stream_width,
    .stream_piece = stream_piece,
    .lay_out = lay_out,
    .limits = limits,
    .expert_layers = expert_layers,
    .layers = layers,
};
