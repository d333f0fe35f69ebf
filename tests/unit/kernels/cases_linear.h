/* Cases of the operators with weights: matmul, matmul_heads, embed, moe. */
#ifndef HD_TESTS_KERNELS_CASES_LINEAR_H
#define HD_TESTS_KERNELS_CASES_LINEAR_H

#include "unit/kernels/op_case.h"

/* The fast tiers round activations in groups of this many columns (docs/kernels.md). */
#define GROUP 32

/* Inputs narrower than this are rounded twice as finely: two bytes a value. */
#define NARROW 768

/* Tokens as models have them, and some that they should not have: all zeros, one value alone, outliers, tiny, large. */
static inline void spoil_token(float *x, int64_t cols, int64_t token)
{
    for (int64_t c = 0; c < cols; c++) {
        if (token == 3) x[c] = 0.0f;
        if (token == 5 && c % 64 == 9) x[c] *= 100.0f;
        if (token == 7) x[c] *= 1e-6f;
        if (token == 8) x[c] *= 1e5f;
        if (token == 9 && c != cols / 2) x[c] = 0.0f;
    }
}

/* [tokens][ldx] */
static inline float *make_inputs(rng *r, int64_t tokens, int64_t cols, int64_t ldx)
{
    float *x = random_values(r, tokens * ldx, 1.0f);
    for (int64_t t = 0; t < tokens; t++)
        spoil_token(x + t * ldx, cols, t);
    return x;
}

/* Activations that bytes hold exactly: whole numbers, the largest of each group being 127. */
static inline float *make_whole_inputs(rng *r, int64_t tokens, int64_t cols, int64_t ldx)
{
    float *x = random_values(r, tokens * ldx, 1.0f);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < cols; c++) {
            x[t * ldx + c] = (float)(rng_below(r, 255) - 127);
            if (c % GROUP == (t + c / GROUP) % GROUP) x[t * ldx + c] = t % 2 ? 127.0f : -127.0f;
        }
    return x;
}

/* sqrt(sum (w m)^2): m is x itself, or the largest |x| of the group. */
static inline double root_of_squares(const float *w, const float *x, int64_t cols, bool grouped)
{
    double sum = 0.0;
    for (int64_t g = 0; g < cols; g += GROUP) {
        int64_t end = HD_MIN(g + GROUP, cols);
        float part = 0.0f, most = 0.0f;
        for (int64_t c = g; c < end; c++)
            most = fmaxf(most, fabsf(x[c]));
        for (int64_t c = g; c < end; c++) {
            float product = w[c] * (grouped ? most : x[c]);
            part += product * product;
        }
        sum += (double)part;
    }
    return sqrt(sum);
}

/* ---- matmul and matmul_heads ---- */

typedef struct matmul_case {
    op_case base;
    int count;          /* heads; 0: plain matmul */
    hd_matrix plain[4]; /* as the twin reads them */
    hd_matrix own[4];   /* as the tier reads them */
    float *values[4];   /* the weights: what errors are relative to */
    const hd_backend *prepared;
    bool whole; /* activations are whole numbers */
    float *x, *bias;
    int64_t ldx;
} matmul_case;

static inline int matrices_of(const matmul_case *m)
{
    return HD_MAX(m->count, 1);
}

static inline void matmul_prepare(op_case *c, const hd_backend *backend)
{
    matmul_case *m = (matmul_case *)c;
    for (int j = 0; j < matrices_of(m); j++)
        m->own[j] = matrix_prepare(&m->plain[j], backend);
    m->prepared = backend;
    if (!m->own[0].packed)
        c->bound = backend->tier == HD_CPU_REFERENCE ? BOUND_EXACT : BOUND_MATMUL_FLOAT;
    else if (m->whole)
        c->bound = BOUND_MATMUL_WHOLE;
    else
        c->bound = m->plain[0].cols < NARROW ? BOUND_MATMUL_PACKED : BOUND_MATMUL_BYTES;
}

static inline void matmul_finish(op_case *c, const hd_backend *backend)
{
    matmul_case *m = (matmul_case *)c;
    for (int j = 0; j < matrices_of(m); j++)
        backend->unprepare(&m->own[j]);
    m->prepared = NULL;
}

static inline void matmul_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                              float *out, int64_t ldo)
{
    const matmul_case *m = (const matmul_case *)c;
    const hd_matrix *w = backend == m->prepared ? m->own : m->plain;
    const float *x = m->x + first * m->ldx;
    if (m->count)
        backend->matmul_heads(ex, out, ldo, w->rows + 2, w, m->count, x, m->ldx, w->cols + 1, n);
    else
        backend->matmul(ex, out, ldo, w, m->bias, x, m->ldx, n);
}

static inline void matmul_unit(const op_case *c, int64_t token, const float *want, float *unit)
{
    const matmul_case *m = (const matmul_case *)c;
    bool grouped = c->bound == BOUND_MATMUL_PACKED || c->bound == BOUND_MATMUL_BYTES;
    int64_t rows = m->plain[0].rows, cols = m->plain[0].cols;
    (void)want;
    for (int64_t i = 0; i < c->width; i++)
        unit[i] = 0.0f; /* gaps */
    for (int j = 0; j < matrices_of(m); j++)
        for (int64_t r = 0; r < rows; r++) {
            const float *x = m->x + token * m->ldx + j * (cols + 1);
            float bias = m->bias ? fabsf(m->bias[r]) : 0.0f; /* its sum has a rounding, too */
            unit[j * (rows + 2) + r] = (float)root_of_squares(m->values[j] + r * cols, x, cols, grouped) + bias;
        }
}

static inline void matmul_close(op_case *c)
{
    matmul_case *m = (matmul_case *)c;
    for (int j = 0; j < matrices_of(m); j++) {
        matrix_close(&m->plain[j]);
        hd_free(m->values[j]);
    }
    hd_free(m->x);
    hd_free(m->bias);
    hd_free(m);
}

static inline matmul_case *new_matmul(hd_type type, int64_t rows, int64_t cols, int count, bool whole, uint64_t seed)
{
    matmul_case *m = hd_calloc(1, sizeof *m);
    assert_non_null(m);
    rng r = {seed};
    int64_t tokens = 64;
    m->count = count;
    m->whole = whole;
    m->ldx = matrices_of(m) * (cols + 1) + 4;
    m->x = (whole ? make_whole_inputs : make_inputs)(&r, tokens, m->ldx, m->ldx);
    if (whole && count) fail_msg("whole activations lie in groups of one matrix only");
    for (int j = 0; j < matrices_of(m); j++) {
        m->plain[j] = matrix_open(type, rows, cols, &r);
        m->values[j] = decoded(&m->plain[j]);
    }
    if (!count && rows % 2) m->bias = random_values(&r, rows, 0.1f);
    m->base = (op_case){.tokens = tokens,
                        .width = count ? count * (rows + 2) : rows,
                        .limits = {.cols = cols, .heads = 1},
                        .token_ops = 2.0 * (double)(rows * cols * matrices_of(m)),
                        .bytes = (double)((size_t)(rows * matrices_of(m)) * m->plain[0].row_bytes),
                        .prepare = matmul_prepare,
                        .finish = matmul_finish,
                        .run = matmul_run,
                        .unit = matmul_unit,
                        .close = matmul_close};
    if (count) {
        m->base.limits.heads = count;
        m->base.limits.mla_lora = cols; /* scratch of heads side by side is asked for through the shape of MLA */
    }
    snprintf(m->base.name, sizeof m->base.name, "%s%s %dx%d", whole ? "whole " : "", hd_type_name(type), (int)rows,
             (int)cols);
    return m;
}

static const struct shape {
    int rows, cols;
} matmul_shapes[] = {{1, 32}, {15, 33}, {16, 47}, {17, 100}, {33, 256}, {5, 520}, {33, 2048}, {9, 8192}, {512, 2048}};

static inline op_case *make_matmul(int index)
{
    int shapes = HD_ARRAY_LEN(matmul_shapes), type = index / shapes;
    if (type >= (int)HD_ARRAY_LEN(weight_types)) return NULL;
    struct shape s = matmul_shapes[index % shapes];
    int64_t cols = whole_blocks(weight_types[type], s.cols);
    matmul_case *m = new_matmul(weight_types[type], s.rows, cols, 0, false, 1000u + (unsigned)index);
    m->base.large = s.rows > 64;
    return &m->base;
}

static inline op_case *make_matmul_whole(int index)
{
    if (index >= 2 * (int)HD_ARRAY_LEN(weight_types)) return NULL;
    hd_type type = weight_types[index / 2];
    int64_t cols = whole_blocks(type, index % 2 ? 1024 : 32);
    return &new_matmul(type, index % 2 ? 37 : 9, cols, 0, true, 2000u + (unsigned)index)->base;
}

static inline op_case *make_matmul_heads(int index)
{
    if (index >= 3 * (int)HD_ARRAY_LEN(weight_types)) return NULL;
    hd_type type = weight_types[index / 3];
    struct shape s = ((const struct shape[]){{7, 40}, {48, 96}, {128, 512}})[index % 3];
    int64_t cols = whole_blocks(type, s.cols);
    matmul_case *m = new_matmul(type, s.rows, cols, index % 3 + 2, false, 3000u + (unsigned)index);
    m->base.large = s.cols == 512;
    return &m->base;
}

/* ---- embed ---- */

typedef struct embed_case {
    op_case base;
    hd_matrix m;
    int32_t ids[64];
} embed_case;

static inline void embed_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                             float *out, int64_t ldo)
{
    const embed_case *e = (const embed_case *)c;
    (void)ldo;
    backend->embed(ex, out, &e->m, e->ids + first, n);
}

static inline void embed_close(op_case *c)
{
    matrix_close(&((embed_case *)c)->m);
    hd_free(c);
}

static inline op_case *make_embed(int index)
{
    if (index >= (int)HD_ARRAY_LEN(weight_types)) return NULL;
    embed_case *e = hd_calloc(1, sizeof *e);
    assert_non_null(e);
    rng r = {4000u + (unsigned)index};
    int64_t cols = whole_blocks(weight_types[index], 77);
    e->m = matrix_open(weight_types[index], 50, cols, &r);
    for (int i = 0; i < 64; i++)
        e->ids[i] = rng_below(&r, 50);
    e->base = (op_case){.bound = BOUND_EXACT,
                        .tokens = 64,
                        .width = cols,
                        .contiguous = true,
                        .limits = {.cols = cols},
                        .run = embed_run,
                        .close = embed_close};
    snprintf(e->base.name, sizeof e->base.name, "%s 50x%d", hd_type_name(weight_types[index]), (int)cols);
    return &e->base;
}

/* ---- moe ---- */

#define MAX_EXPERTS 24

typedef struct moe_case {
    op_case base;
    int experts, used;
    int64_t hidden, ffn;
    hd_matrix plain[3][MAX_EXPERTS], own[3][MAX_EXPERTS]; /* gate, up, down */
    const hd_backend *prepared;
    float *x, *weight;
    int32_t *ids;
} moe_case;

static inline void moe_prepare(op_case *c, const hd_backend *backend)
{
    moe_case *m = (moe_case *)c;
    c->bound = backend->tier == HD_CPU_REFERENCE ? BOUND_EXACT : BOUND_MOE_FLOAT;
    for (int k = 0; k < 3; k++)
        for (int e = 0; e < m->experts; e++) {
            m->own[k][e] = matrix_prepare(&m->plain[k][e], backend);
            if (!m->own[k][e].packed) continue;
            c->bound = HD_MAX(m->hidden, m->ffn) < NARROW ? BOUND_MOE_PACKED : BOUND_MOE_BYTES;
        }
    m->prepared = backend;
}

static inline void moe_finish(op_case *c, const hd_backend *backend)
{
    moe_case *m = (moe_case *)c;
    for (int k = 0; k < 3; k++)
        for (int e = 0; e < m->experts; e++)
            backend->unprepare(&m->own[k][e]);
    m->prepared = NULL;
}

static inline void moe_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                           float *out, int64_t ldo)
{
    const moe_case *m = (const moe_case *)c;
    const hd_matrix(*w)[MAX_EXPERTS] = backend == m->prepared ? m->own : m->plain;
    hd_experts experts = {.count = m->experts, .gate = w[0], .up = w[1], .down = w[2]};
    (void)ldo;
    backend->moe(ex, out, &experts, m->x + first * m->hidden, m->ids + first * m->used, m->weight + first * m->used,
                 m->used, n);
}

static inline void moe_unit(const op_case *c, int64_t token, const float *want, float *unit)
{
    double sum = 0.0;
    (void)token;
    for (int64_t i = 0; i < c->width; i++)
        sum += (double)want[i] * (double)want[i];
    for (int64_t i = 0; i < c->width; i++)
        unit[i] = (float)sqrt(sum / (double)c->width);
}

static inline void moe_close(op_case *c)
{
    moe_case *m = (moe_case *)c;
    for (int k = 0; k < 3; k++)
        for (int e = 0; e < m->experts; e++)
            matrix_close(&m->plain[k][e]);
    hd_free(m->x);
    hd_free(m->weight);
    hd_free(m->ids);
    hd_free(m);
}

/* Expert 0 is never chosen, expert 1 by every token, the others by chance. */
static inline void choose_experts(moe_case *m, rng *r, int64_t tokens)
{
    for (int64_t t = 0; t < tokens; t++) {
        int32_t *ids = m->ids + t * m->used;
        for (int j = 0; j < m->used; j++) {
            bool again = true;
            for (ids[j] = 1; j > 0 && again;) {
                ids[j] = 2 + rng_below(r, m->experts - 2);
                again = false;
                for (int k = 0; k < j; k++)
                    again |= ids[k] == ids[j];
            }
            m->weight[t * m->used + j] = 0.1f + rng_unit(r);
        }
        switch (rng_below(r, 5)) { /* forced choices may name an expert twice, or always the same one; some none */
        case 0: ids[m->used - 1] = ids[0]; break;
        case 1:
            for (int j = 1; j < m->used; j++)
                ids[j] = ids[0];
            break;
        case 2:
            if (m->used > 1) ids[m->used - 1] = -1;
            break;
        default: break;
        }
        int32_t first = ids[0]; /* expert 1 in any place */
        int other = rng_below(r, m->used);
        ids[0] = ids[other];
        ids[other] = first;
    }
}

static const struct moe_shape {
    hd_type gate, up, down;
    int experts, used, hidden, ffn;
} moe_shapes[] = {
    {HD_TYPE_F32, HD_TYPE_F32, HD_TYPE_F32, 4, 2, 33, 17},
    {HD_TYPE_BF16, HD_TYPE_BF16, HD_TYPE_BF16, 9, 4, 64, 48},
    {HD_TYPE_F16, HD_TYPE_F16, HD_TYPE_F16, 6, 3, 40, 100},
    {HD_TYPE_F8_E4M3, HD_TYPE_F8_E4M3, HD_TYPE_F8_E4M3, 6, 3, 160, 130},
    {HD_TYPE_IQ2_XXS, HD_TYPE_IQ2_XXS, HD_TYPE_IQ3_S, 6, 3, 256, 256},
    {HD_TYPE_Q4_0, HD_TYPE_Q4_0, HD_TYPE_Q4_0, 8, 3, 64, 32},
    {HD_TYPE_Q8_0, HD_TYPE_Q8_0, HD_TYPE_Q8_0, 8, 3, 96, 96},
    {HD_TYPE_Q4_K, HD_TYPE_Q4_K, HD_TYPE_Q6_K, 8, 3, 256, 256},
    {HD_TYPE_Q4_K, HD_TYPE_Q5_K, HD_TYPE_Q5_0, 8, 3, 256, 352}, /* mixed, and ffn no whole blocks of Q4_K */
    {HD_TYPE_Q4_0, HD_TYPE_F32, HD_TYPE_BF16, 5, 2, 64, 40},    /* packed beside plain */
    {HD_TYPE_BF16, HD_TYPE_BF16, HD_TYPE_Q5_1, 5, 2, 47, 64},   /* only down is packed */
    {HD_TYPE_MXFP4, HD_TYPE_MXFP4, HD_TYPE_MXFP4, 5, 1, 64, 64},
    {HD_TYPE_Q4_K, HD_TYPE_Q4_K, HD_TYPE_Q6_K, 16, 4, 512, 256},
    {HD_TYPE_BF16, HD_TYPE_BF16, HD_TYPE_BF16, 16, 4, 512, 256},
    {HD_TYPE_Q4_K, HD_TYPE_Q4_K, HD_TYPE_Q6_K, 9, 6, 1024, 1024}, /* one plane; some experts have over 128 pairs */
};

static inline void open_experts(moe_case *m, const struct moe_shape *s, rng *r)
{
    for (int e = 0; e < s->experts; e++) {
        m->plain[0][e] = matrix_open(s->gate, s->ffn, s->hidden, r);
        m->plain[1][e] = matrix_open(s->up, s->ffn, s->hidden, r);
        m->plain[2][e] = matrix_open(s->down, s->hidden, s->ffn, r);
    }
}

static inline op_case *make_moe(int index)
{
    if (index >= (int)HD_ARRAY_LEN(moe_shapes)) return NULL;
    const struct moe_shape *s = &moe_shapes[index];
    moe_case *m = hd_calloc(1, sizeof *m);
    assert_non_null(m);
    rng r = {5000u + (unsigned)index};
    int64_t tokens = 64; /* more than one expert's tile */
    *m = (moe_case){.experts = s->experts, .used = s->used, .hidden = s->hidden, .ffn = s->ffn};
    m->x = random_values(&r, tokens * s->hidden, 3.0f);
    m->weight = hd_alloc_array((size_t)(tokens * s->used), sizeof *m->weight);
    m->ids = hd_alloc_array((size_t)(tokens * s->used), sizeof *m->ids);
    assert_true(m->weight && m->ids);
    choose_experts(m, &r, tokens);
    open_experts(m, s, &r);
    double pair = 6.0 * (double)(s->hidden * s->ffn);
    m->base = (op_case){.tokens = tokens,
                        .width = s->hidden,
                        .contiguous = true,
                        .large = s->hidden >= 512,
                        .limits = {.experts = s->experts,
                                   .experts_used = s->used,
                                   .expert_ffn = s->ffn,
                                   .hidden = s->hidden,
                                   .cols = HD_MAX(s->hidden, s->ffn)},
                        .token_ops = pair * s->used,
                        .bytes = (double)((size_t)(s->experts - 1) *
                                          ((size_t)s->ffn * (m->plain[0][0].row_bytes + m->plain[1][0].row_bytes) +
                                           (size_t)s->hidden * m->plain[2][0].row_bytes)),
                        .prepare = moe_prepare,
                        .finish = moe_finish,
                        .run = moe_run,
                        .unit = moe_unit,
                        .close = moe_close};
    snprintf(m->base.name, sizeof m->base.name, "%s/%s/%s %d of %d, %dx%d", hd_type_name(s->gate), hd_type_name(s->up),
             hd_type_name(s->down), s->used, s->experts, s->hidden, s->ffn);
    return &m->base;
}

#endif
