/* Cases of the operators without weights or cache: rms_norm, rope, swiglu, add. */
#ifndef HD_TESTS_KERNELS_CASES_ELEMENTWISE_H
#define HD_TESTS_KERNELS_CASES_ELEMENTWISE_H

#include "unit/kernels/op_case.h"

typedef struct rows_case {
    op_case base;
    float *x, *y; /* x [tokens][ldx]; y: weights of the norm, the table of the rotation, the second operand */
    int64_t ldx, cols;
    bool in_place;
    hd_rope rope;
    int count, step;
} rows_case;

static inline void rows_close(op_case *c)
{
    rows_case *r = (rows_case *)c;
    hd_free(r->x);
    hd_free(r->y);
    hd_free(r);
}

static inline rows_case *new_rows(int64_t cols, int64_t pad, float scale, rng *r)
{
    rows_case *c = hd_calloc(1, sizeof *c);
    assert_non_null(c);
    c->cols = cols;
    c->ldx = cols + pad;
    c->base.tokens = 64;
    c->base.width = cols;
    c->base.limits.cols = cols;
    c->base.close = rows_close;
    c->x = random_values(r, c->base.tokens * c->ldx, scale);
    return c;
}

static inline void copy_rows(float *out, int64_t ldo, const float *x, int64_t ldx, int64_t cols, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        memcpy(out + i * ldo, x + i * ldx, (size_t)cols * sizeof *out);
}

static inline void unit_of_values(const op_case *c, int64_t token, const float *want, float *unit)
{
    (void)token;
    for (int64_t i = 0; i < c->width; i++)
        unit[i] = fabsf(want[i]);
}

/* ---- rms_norm ---- */

static inline void norm_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                            float *out, int64_t ldo)
{
    const rows_case *r = (const rows_case *)c;
    const float *x = r->x + first * r->ldx;
    int64_t ldx = r->ldx;
    if (r->in_place) {
        copy_rows(out, ldo, x, ldx, r->cols, n);
        x = out;
        ldx = ldo;
    }
    backend->rms_norm(ex, out, ldo, x, ldx, r->y, r->cols, 1e-6f, n);
}

static inline op_case *make_rms_norm(int index)
{
    static const int cols[] = {1, 15, 33, 64, 128, 576, 2049, 7168};
    if (index >= 2 * (int)HD_ARRAY_LEN(cols)) return NULL;
    rng g = {100u + (unsigned)index};
    rows_case *r = new_rows(cols[index / 2], 5, index % 3 ? 1.0f : 1e-3f, &g);
    r->y = random_values(&g, r->cols, 1.0f);
    r->in_place = index % 2;
    r->base.bound = BOUND_NORM;
    r->base.run = norm_run;
    r->base.unit = unit_of_values;
    r->base.large = r->cols == 7168;
    r->base.token_ops = 4.0 * (double)r->cols;
    r->base.token_bytes = 4.0 * (double)r->cols;
    snprintf(r->base.name, sizeof r->base.name, "%d%s", (int)r->cols, r->in_place ? " in place" : "");
    return &r->base;
}

/* ---- rope ---- */

static inline void rope_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                            float *out, int64_t ldo)
{
    const rows_case *r = (const rows_case *)c;
    hd_rope rope = r->rope;
    rope.table += first * rope.dim;
    copy_rows(out, ldo, r->x + first * r->ldx, r->ldx, r->cols, n);
    backend->rope(ex, out, ldo, r->step, r->count, &rope, n);
}

/* The length of the pair of each value; what lies between the vectors must stay. */
static inline void rope_unit(const op_case *c, int64_t token, const float *want, float *unit)
{
    const rows_case *r = (const rows_case *)c;
    int half = r->rope.dim / 2;
    (void)token;
    memset(unit, 0, (size_t)c->width * sizeof *unit);
    for (int v = 0; v < r->count; v++)
        for (int i = 0; i < half; i++) {
            int a = v * r->step + (r->rope.adjacent ? 2 * i : i), b = r->rope.adjacent ? a + 1 : a + half;
            unit[a] = unit[b] = hypotf(want[a], want[b]);
        }
}

static inline op_case *make_rope(int index)
{
    static const struct {
        int dim, count, step;
    } forms[] = {{2, 1, 2}, {10, 3, 13}, {64, 9, 64}, {48, 4, 50}, {64, 16, 192}, {128, 32, 128}};
    if (index >= 2 * (int)HD_ARRAY_LEN(forms)) return NULL;
    int dim = forms[index / 2].dim, count = forms[index / 2].count, step = forms[index / 2].step;
    rng g = {200u + (unsigned)index};
    rows_case *r = new_rows((int64_t)(count - 1) * step + dim, 3, 1.0f, &g);
    r->count = count;
    r->step = step;
    r->y = random_values(&g, r->base.tokens * dim, 1.0f);
    for (int64_t t = 0; t < r->base.tokens; t++)
        for (int i = 0; i < dim / 2; i++) {
            float angle = r->y[t * dim + i] * 3.0f;
            r->y[t * dim + i] = cosf(angle);
            r->y[t * dim + dim / 2 + i] = sinf(angle);
        }
    r->rope = (hd_rope){.table = r->y, .dim = dim, .adjacent = index % 2};
    r->base.bound = BOUND_ROPE;
    r->base.run = rope_run;
    r->base.unit = rope_unit;
    r->base.large = count == 32;
    r->base.token_ops = 3.0 * count * dim;
    r->base.token_bytes = 4.0 * count * dim;
    snprintf(r->base.name, sizeof r->base.name, "%d vectors of %d, %s", count, dim,
             r->rope.adjacent ? "adjacent pairs" : "halves");
    return &r->base;
}

/* ---- swiglu and add ---- */

static inline void swiglu_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                              float *out, int64_t ldo)
{
    const rows_case *r = (const rows_case *)c;
    copy_rows(out, ldo, r->x + first * r->ldx, r->ldx, r->cols, n);
    backend->swiglu(ex, out, r->y + first * r->cols, r->cols, n);
}

static inline void add_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                           float *out, int64_t ldo)
{
    const rows_case *r = (const rows_case *)c;
    copy_rows(out, ldo, r->x + first * r->ldx, r->ldx, r->cols, n);
    backend->add(ex, out, r->y + first * r->cols, r->cols, n);
}

static inline void swiglu_unit(const op_case *c, int64_t token, const float *want, float *unit)
{
    const rows_case *r = (const rows_case *)c;
    for (int64_t i = 0; i < c->width; i++)
        unit[i] = fabsf(want[i]) + 1e-30f * fabsf(r->x[token * r->ldx + i] * r->y[token * r->cols + i]) + 1e-31f;
}

static inline rows_case *new_pair(int index)
{
    static const int cols[] = {1, 7, 31, 32, 576, 1537, 11008};
    if (index >= (int)HD_ARRAY_LEN(cols)) return NULL;
    rng g = {300u + (unsigned)index};
    rows_case *r = new_rows(cols[index], 0, index % 2 ? 30.0f : 3.0f, &g);
    r->y = random_values(&g, r->base.tokens * r->cols, 1.0f);
    static const float edges[] = {0.0f,     -0.0f, -86.9f, -87.1f,  -88.5f, -100.0f,
                                  -1000.0f, 86.9f, 87.1f,  1000.0f, 1e-38f};
    for (size_t i = 0; i < HD_ARRAY_LEN(edges) && (int64_t)i < r->base.tokens * r->cols; i++)
        r->x[i] = edges[i];
    r->base.contiguous = true;
    r->base.large = r->cols == 11008;
    r->base.token_bytes = 8.0 * (double)r->cols;
    r->base.token_ops = (double)r->cols;
    snprintf(r->base.name, sizeof r->base.name, "%d", (int)r->cols);
    return r;
}

static inline op_case *make_swiglu(int index)
{
    rows_case *r = new_pair(index);
    if (!r) return NULL;
    r->base.bound = BOUND_SWIGLU;
    r->base.run = swiglu_run;
    r->base.unit = swiglu_unit;
    return &r->base;
}

static inline op_case *make_add(int index)
{
    rows_case *r = new_pair(index);
    if (!r) return NULL;
    r->base.bound = BOUND_EXACT;
    r->base.run = add_run;
    return &r->base;
}

#endif
