/* Cases of the operators over cached rows: attend, attend_mla, store_rows. */
#ifndef HD_TESTS_KERNELS_CASES_ATTEND_H
#define HD_TESTS_KERNELS_CASES_ATTEND_H

#include "unit/kernels/op_case.h"

/* ---- cached rows ---- */

typedef struct cache {
    uint8_t **pages; /* each a block of its own, ending where its last row does */
    int64_t count;
    hd_rows rows;
} cache;

static inline uint8_t *cached_row(const cache *c, int64_t pos)
{
    return c->pages[pos / c->rows.page_rows] + c->rows.offset + (size_t)(pos % c->rows.page_rows) * c->rows.stride;
}

static inline void put_cached(uint8_t *row, hd_type type, int64_t i, float value)
{
    assert_int_equal(hd_type_block(type), 1);
    assert_true(hd_encode_row(type, &value, row + i * hd_type_block_bytes(type), 1));
}

static inline size_t cached_bytes(hd_type type, int64_t values)
{
    size_t bytes;
    assert_true(hd_type_row_bytes(type, values, &bytes));
    return bytes;
}

/* Rows of positions 0 .. length-1, random when `r` is given, else the output pattern. */
static inline cache cache_open(hd_type type, int width, int page_rows, int64_t length, rng *r)
{
    size_t stride = cached_bytes(type, width) + 8 * sizeof(float);
    cache c = {.count = (length + page_rows - 1) / page_rows};
    c.rows = (hd_rows){.page_rows = page_rows, .offset = 64, .stride = stride, .type = type, .width = width};
    size_t bytes = c.rows.offset + c.rows.stride * (size_t)page_rows;
    c.pages = hd_alloc_array((size_t)c.count, sizeof *c.pages);
    assert_non_null(c.pages);
    for (int64_t i = 0; i < c.count; i++) {
        c.pages[i] = hd_alloc(bytes);
        assert_non_null(c.pages[i]);
        memset(c.pages[i], OUTPUT_FILL, bytes);
    }
    c.rows.pages = c.pages;
    float *row = hd_alloc_array((size_t)width, sizeof *row);
    assert_non_null(row);
    for (int64_t p = 0; r && p < length; p++) {
        for (int i = 0; i < width; i++)
            row[i] = rng_normal(r);
        assert_true(hd_encode_row(type, row, cached_row(&c, p), width));
    }
    hd_free(row);
    return c;
}

static inline void cache_close(cache *c)
{
    for (int64_t i = 0; i < c->count; i++)
        hd_free(c->pages[i]);
    hd_free(c->pages);
}

/* ---- spans of several sequences ---- */

#define EXACT_BELOW 512 /* position from which tiers may take products of bfloat16 */

#define MAX_SPANS 4

typedef struct span_shape {
    int64_t pos0, n;
} span_shape;

typedef struct attend_case {
    op_case base;
    hd_attend_shape shape;
    hd_mla_shape mla;
    hd_matrix *k_b, *v_b; /* NULL for plain attention */
    span_shape span[MAX_SPANS];
    int spans;
    cache k[MAX_SPANS], v[MAX_SPANS]; /* v[i].pages NULL: the same stream */
    float unit[MAX_SPANS];
    float *q;
    int64_t ldq;
} attend_case;

/* The parts of the spans that hold tokens [first, first + n) of the case. */
static inline int cut_spans(const attend_case *a, int64_t first, int64_t n, float *out, int64_t ldo,
                            hd_attend_span *spans)
{
    int count = 0;
    int64_t base = 0;
    for (int i = 0; i < a->spans; base += a->span[i].n, i++) {
        int64_t from = HD_MAX(first, base), to = HD_MIN(first + n, base + a->span[i].n);
        if (from >= to) continue;
        spans[count++] = (hd_attend_span){.q = a->q + from * a->ldq,
                                          .out = out + (from - first) * ldo,
                                          .ldq = a->ldq,
                                          .ldo = ldo,
                                          .queries = to - from,
                                          .pos0 = a->span[i].pos0 + from - base,
                                          .k = a->k[i].rows,
                                          .v = a->v[i].pages ? a->v[i].rows : a->k[i].rows};
    }
    return count;
}

static inline void attend_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                              float *out, int64_t ldo)
{
    const attend_case *a = (const attend_case *)c;
    hd_attend_span spans[MAX_SPANS];
    int count = cut_spans(a, first, n, out, ldo, spans);
    if (a->k_b)
        backend->attend_mla(ex, &a->mla, spans, count);
    else
        backend->attend(ex, &a->shape, spans, count);
}

static inline void attend_unit(const op_case *c, int64_t token, const float *want, float *unit)
{
    const attend_case *a = (const attend_case *)c;
    int i = 0;
    (void)want;
    for (int64_t base = a->span[0].n; token >= base; base += a->span[i].n)
        i++;
    for (int64_t j = 0; j < c->width; j++)
        unit[j] = a->unit[i];
}

static inline void attend_close(op_case *c)
{
    attend_case *a = (attend_case *)c;
    for (int i = 0; i < a->spans; i++) {
        cache_close(&a->k[i]);
        if (a->v[i].pages) cache_close(&a->v[i]);
    }
    for (int h = 0; a->k_b && h < a->mla.heads; h++) {
        matrix_close(&a->k_b[h]);
        matrix_close(&a->v_b[h]);
    }
    hd_free(a->k_b);
    hd_free(a->v_b);
    hd_free(a->q);
    hd_free(a);
}

static inline int64_t count_tokens(const attend_case *a)
{
    int64_t n = 0;
    for (int i = 0; i < a->spans; i++)
        n += a->span[i].n;
    return n;
}

/* Cached rows that all queries together read. */
static inline double rows_seen(const attend_case *a)
{
    double rows = 0.0;
    for (int i = 0; i < a->spans; i++)
        rows += (double)a->span[i].n * ((double)a->span[i].pos0 + (double)(a->span[i].n + 1) / 2);
    return rows;
}

/* Tiers with dot products of bfloat16 take them: for late queries, and with AMX for all, as sums of two. */
static inline void attend_prepare(op_case *c, const hd_backend *backend)
{
    const attend_case *a = (const attend_case *)c;
    bool amx = backend->tier == HD_CPU_AMX, late = false;
    bool halves = a->k[0].rows.type != HD_TYPE_F32;
    for (int i = 0; i < a->spans; i++)
        late |= a->span[i].pos0 + a->span[i].n > EXACT_BELOW;
    c->bound = a->k_b ? BOUND_MLA : BOUND_ATTEND;
    if (!halves || !(amx || backend->tier == HD_CPU_AVX512BF16)) return;
    if (late)
        c->bound = a->k_b ? BOUND_MLA_BF16 : BOUND_ATTEND_BF16;
    else if (amx)
        c->bound = a->k_b ? BOUND_MLA_SPLIT : BOUND_ATTEND_SPLIT;
}

static inline attend_case *new_attend(const span_shape *spans, rng *r, int width)
{
    attend_case *a = hd_calloc(1, sizeof *a);
    assert_non_null(a);
    for (; a->spans < MAX_SPANS && spans[a->spans].n; a->spans++)
        a->span[a->spans] = spans[a->spans];
    a->base.tokens = count_tokens(a);
    a->ldq = width + 3;
    a->q = random_values(r, a->base.tokens * a->ldq, 1.0f);
    a->base.run = attend_run;
    a->base.unit = attend_unit;
    a->base.prepare = attend_prepare;
    a->base.close = attend_close;
    return a;
}

/* ---- attend ---- */

static const struct attend_form {
    int heads, kv_heads, k_dim, v_dim;
    hd_type type;
    int page_rows;
    float sharpness; /* of the softmax: 1 is what models have at the start of training */
    bool same;       /* v is the head of the same rows: absorbed MLA */
    span_shape spans[MAX_SPANS];
} attend_forms[] = {
    {1, 1, 8, 8, HD_TYPE_F16, 32, 1, false, {{0, 1}}},
    {4, 4, 64, 64, HD_TYPE_F16, 32, 1, false, {{0, 64}}},
    {8, 2, 48, 48, HD_TYPE_F16, 32, 1, false, {{0, 5}, {37, 17}, {100, 1}, {63, 2}}},
    {9, 3, 64, 64, HD_TYPE_F16, 32, 1, false, {{31, 33}, {0, 1}}},
    {14, 2, 64, 64, HD_TYPE_F16, 32, 1, false, {{200, 40}, {5, 3}}},
    {6, 1, 80, 80, HD_TYPE_F16, 7, 1, false, {{65, 20}}}, /* pages that no tile fits */
    {32, 8, 128, 128, HD_TYPE_F16, 32, 1, false, {{127, 70}}},
    {5, 5, 5, 3, HD_TYPE_F16, 3, 1, false, {{10, 66}}}, /* no whole vectors */
    {4, 2, 64, 64, HD_TYPE_F32, 32, 1, false, {{90, 9}, {0, 13}}},
    {4, 2, 48, 80, HD_TYPE_BF16, 32, 1, false, {{90, 9}, {0, 13}}},
    {4, 2, 64, 64, HD_TYPE_F16, 32, 30, false, {{500, 13}}}, /* one row takes nearly all */
    {2, 1, 32, 32, HD_TYPE_F16, 32, 1, false, {{40000, 3}}},
    {128, 1, 576, 512, HD_TYPE_F16, 32, 1, true, {{70, 3}, {0, 5}}},
    {100, 1, 96, 64, HD_TYPE_F16, 32, 1, true, {{70, 11}, {64, 1}, {0, 2}}},
    {16, 1, 40, 24, HD_TYPE_F32, 32, 1, true, {{33, 11}}},
    {6, 2, 64, 96, HD_TYPE_Q8_0, 7, 1, false, {{90, 9}, {0, 13}}},
    {20, 1, 96, 64, HD_TYPE_Q8_0, 32, 1, true, {{70, 3}, {505, 12}, {900, 1}}},
    {14, 2, 64, 64, HD_TYPE_Q8_0, 32, 1, false, {{490, 40}, {700, 1}, {1500, 2}}},
    {14, 2, 64, 64, HD_TYPE_F16, 32, 1, false, {{490, 40}, {700, 1}, {4500, 2}}}, /* about where forms and ranges change
                                                                                   */
    {8, 2, 40, 56, HD_TYPE_BF16, 7, 1, false, {{600, 9}, {2047, 2}}},             /* no whole vectors */
    {20, 1, 96, 64, HD_TYPE_F16, 32, 1, true, {{512, 7}, {4090, 9}, {9000, 1}}},
    {16, 4, 64, 64, HD_TYPE_F16, 32, 1, false, {{448, 64}}},
    {16, 1, 576, 512, HD_TYPE_F16, 32, 1, true, {{1000, 4}}},
};

static inline op_case *make_attend(int index)
{
    if (index >= (int)HD_ARRAY_LEN(attend_forms)) return NULL;
    const struct attend_form *f = &attend_forms[index];
    rng r = {6000u + (unsigned)index};
    attend_case *a = new_attend(f->spans, &r, f->heads * f->k_dim);
    a->shape = (hd_attend_shape){.heads = f->heads,
                                 .kv_heads = f->kv_heads,
                                 .k_dim = f->k_dim,
                                 .v_dim = f->v_dim,
                                 .scale = f->sharpness / sqrtf((float)f->k_dim)};
    for (int i = 0; i < a->spans; i++) {
        int64_t length = a->span[i].pos0 + a->span[i].n;
        a->k[i] = cache_open(f->type, f->kv_heads * f->k_dim, f->page_rows, length, &r);
        if (!f->same) a->v[i] = cache_open(f->type, f->kv_heads * f->v_dim, f->page_rows, length, &r);
        a->unit[i] = 1.0f + f->sharpness; /* values have the variance 1, scores the deviation `sharpness` */
    }
    a->base.width = (int64_t)f->heads * f->v_dim;
    a->base.large = index >= (int)HD_ARRAY_LEN(attend_forms) - 2;
    a->base.limits = (hd_shape_limits){.heads = f->heads, .k_dim = f->k_dim, .v_dim = f->v_dim, .context = 1 << 16};
    double rows = rows_seen(a) / (double)a->base.tokens;
    a->base.token_ops = 2.0 * rows * f->heads * (f->k_dim + f->v_dim);
    size_t row_bytes = cached_bytes(f->type, f->k_dim) + (f->same ? 0 : cached_bytes(f->type, f->v_dim));
    a->base.token_bytes = rows * f->kv_heads * (double)row_bytes;
    snprintf(a->base.name, sizeof a->base.name, "%s %d/%d heads of %d/%d, %d spans from %d", hd_type_name(f->type),
             f->heads, f->kv_heads, f->k_dim, f->v_dim, a->spans, (int)a->span[0].pos0);
    return &a->base;
}

/* ---- attend_mla ---- */

static const struct mla_form {
    int heads, nope, rope, lora, v_dim;
    hd_type weights, type;
    span_shape spans[MAX_SPANS];
} mla_forms[] = {
    {2, 32, 16, 64, 32, HD_TYPE_BF16, HD_TYPE_F16, {{0, 64}}},
    {3, 24, 8, 40, 20, HD_TYPE_F32, HD_TYPE_F16, {{0, 1}, {37, 17}, {100, 13}}}, /* no whole vectors */
    {4, 32, 16, 64, 48, HD_TYPE_Q4_0, HD_TYPE_F16, {{31, 40}, {0, 12}}},
    {2, 5, 2, 7, 3, HD_TYPE_F16, HD_TYPE_F16, {{3, 66}}},
    {3, 32, 16, 64, 32, HD_TYPE_Q8_0, HD_TYPE_F32, {{90, 20}}},
    {2, 32, 16, 96, 64, HD_TYPE_F8_E4M3, HD_TYPE_BF16, {{64, 64}}},
    {2, 24, 8, 40, 20, HD_TYPE_F16, HD_TYPE_F16, {{500, 20}, {700, 3}, {2040, 17}}}, /* forms and segments change */
    {2, 32, 16, 64, 32, HD_TYPE_BF16, HD_TYPE_BF16, {{600, 12}}},
    {3, 32, 32, 64, 32, HD_TYPE_BF16, HD_TYPE_Q8_0, {{40, 20}}},
    {3, 32, 32, 64, 32, HD_TYPE_BF16, HD_TYPE_Q8_0, {{500, 40}}},
    {9, 32, 16, 64, 32, HD_TYPE_Q4_0, HD_TYPE_F16, {{4200, 70}}},
    {2, 128, 64, 512, 128, HD_TYPE_BF16, HD_TYPE_F16, {{192, 64}}},
    {4, 128, 64, 512, 128, HD_TYPE_BF16, HD_TYPE_F16, {{1000, 64}}},
};

static inline hd_matrix *open_heads(hd_type type, int heads, int64_t rows, int64_t cols, rng *r)
{
    hd_matrix *m = hd_calloc((size_t)heads, sizeof *m);
    assert_non_null(m);
    for (int h = 0; h < heads; h++)
        m[h] = matrix_open(type, rows, cols, r);
    return m;
}

/* The root of the mean square of v = v_b c, over the first head and the first rows. */
static inline float rms_of_values(const attend_case *a, const cache *rows)
{
    const hd_mla_shape *s = &a->mla;
    float *w = decoded(&a->v_b[0]), *latent = hd_alloc_array((size_t)s->lora, sizeof *latent);
    double squares = 0.0;
    int64_t count = HD_MIN(rows->count * rows->rows.page_rows, 8);
    assert_non_null(latent);
    for (int64_t p = 0; p < HD_MIN(count, a->base.tokens); p++) {
        hd_decode_row(rows->rows.type, cached_row(rows, p), latent, s->lora);
        for (int d = 0; d < s->v_dim; d++) {
            double v = 0.0;
            for (int l = 0; l < s->lora; l++)
                v += (double)w[d * s->lora + l] * (double)latent[l];
            squares += v * v;
        }
    }
    count = HD_MIN(count, a->base.tokens);
    hd_free(w);
    hd_free(latent);
    return (float)sqrt(squares / (double)(count * s->v_dim));
}

static inline op_case *make_attend_mla(int index)
{
    if (index >= (int)HD_ARRAY_LEN(mla_forms)) return NULL;
    const struct mla_form *f = &mla_forms[index];
    rng r = {7000u + (unsigned)index};
    int k_dim = f->nope + f->rope;
    attend_case *a = new_attend(f->spans, &r, f->heads * k_dim);
    a->k_b = open_heads(f->weights, f->heads, f->lora, f->nope, &r);
    a->v_b = open_heads(f->weights, f->heads, f->v_dim, f->lora, &r);
    a->mla = (hd_mla_shape){.heads = f->heads,
                            .nope = f->nope,
                            .rope = f->rope,
                            .lora = f->lora,
                            .v_dim = f->v_dim,
                            .scale = 2.0f / sqrtf((float)k_dim),
                            .k_b = a->k_b,
                            .v_b = a->v_b};
    for (int i = 0; i < a->spans; i++) {
        a->k[i] = cache_open(f->type, f->lora + f->rope, 32, a->span[i].pos0 + a->span[i].n, &r);
        a->unit[i] = rms_of_values(a, &a->k[i]) * 2.0f; /* scores deviate by about 1 */
    }
    a->base.width = (int64_t)f->heads * f->v_dim;
    a->base.large = f->lora == 512;
    a->base.limits = (hd_shape_limits){.heads = f->heads,
                                       .k_dim = k_dim,
                                       .v_dim = f->v_dim,
                                       .mla_lora = f->lora,
                                       .mla_nope = f->nope,
                                       .mla_rope = f->rope,
                                       .context = 1 << 16};
    double tokens = (double)a->base.tokens, rows = rows_seen(a) / tokens;
    a->base.token_ops = 2.0 * f->heads * rows * (k_dim + f->v_dim);
    for (int i = 0; i < a->spans; i++) /* each row decompressed once */
        a->base.token_ops +=
            2.0 * f->heads * (double)(a->span[i].pos0 + a->span[i].n) * f->lora * (f->nope + f->v_dim) / tokens;
    snprintf(a->base.name, sizeof a->base.name, "%s %d heads of %d+%d/%d, latent %d, %d spans from %d",
             hd_type_name(f->weights), f->heads, f->nope, f->rope, f->v_dim, f->lora, a->spans, (int)a->span[0].pos0);
    return &a->base;
}

/* ---- store_rows ---- */

typedef struct store_case {
    op_case base;
    hd_type type;
    int at, values, page_rows;
    int64_t pos0, ldx;
    float *x;
} store_case;

/* The output is the bytes of the rows, each as one value; everything else in the pages must keep its pattern. */
static inline void store_run(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                             float *out, int64_t ldo)
{
    const store_case *s = (const store_case *)c;
    int64_t pos0 = s->pos0 + first, length = pos0 + n + 5;
    cache pages = cache_open(s->type, s->at + s->values + 3 * hd_type_block(s->type), s->page_rows, length, NULL);
    uint8_t *copy = hd_alloc((size_t)s->base.width);
    assert_non_null(copy);
    backend->store_rows(ex, &pages.rows, s->at, s->x + first * s->ldx, s->ldx, s->values, pos0, n);
    for (int64_t i = 0; i < n; i++) {
        uint8_t *row = cached_row(&pages, pos0 + i) + cached_bytes(s->type, s->at);
        for (int64_t b = 0; b < s->base.width; b++)
            out[i * ldo + b] = row[b];
        memset(row, OUTPUT_FILL, (size_t)s->base.width);
    }
    size_t bytes = pages.rows.offset + pages.rows.stride * (size_t)s->page_rows;
    for (int64_t p = 0; p < pages.count; p++)
        for (size_t b = 0; b < bytes; b++)
            if (pages.pages[p][b] != OUTPUT_FILL) fail_msg("%s: %s wrote beside its rows", c->name, backend->name);
    hd_free(copy);
    cache_close(&pages);
}

static inline void store_close(op_case *c)
{
    hd_free(((store_case *)c)->x);
    hd_free(c);
}

static const struct store_form {
    hd_type type;
    int width, at, page_rows;
    int64_t pos0;
} store_forms[] = {
    {HD_TYPE_F16, 64, 0, 32, 0},   {HD_TYPE_F16, 37, 5, 32, 30}, {HD_TYPE_F16, 576, 0, 32, 95},
    {HD_TYPE_F16, 3, 1, 7, 6},     {HD_TYPE_F32, 37, 5, 32, 30}, {HD_TYPE_BF16, 37, 5, 32, 30},
    {HD_TYPE_Q8_0, 64, 0, 32, 30}, {HD_TYPE_Q8_0, 96, 32, 7, 6}, {HD_TYPE_F16, 1024, 0, 32, 16},
};

/* First blocks of some rows: not finite, beyond the largest scale, of zeros, of numbers whose scale is subnormal. */
static inline void odd_blocks(store_case *s)
{
    const float odd[] = {NAN, INFINITY, -INFINITY, 1e30f};
    for (int i = 0; i < 4; i++)
        s->x[(i + 1) * s->ldx + 7 * i] = odd[i];
    for (int c = 0; c < 32; c++) {
        s->x[6 * s->ldx + c] = 0.0f;
        s->x[7 * s->ldx + c] = 1e-7f * (float)(c - 9);
        s->x[8 * s->ldx + c] = 1e-5f * (float)(c - 9);
    }
}

static inline op_case *make_store_rows(int index)
{
    if (index >= (int)HD_ARRAY_LEN(store_forms)) return NULL;
    const struct store_form *f = &store_forms[index];
    store_case *s = hd_calloc(1, sizeof *s);
    assert_non_null(s);
    rng r = {8000u + (unsigned)index};
    s->type = f->type;
    s->at = f->at;
    s->values = f->width;
    s->page_rows = f->page_rows;
    s->pos0 = f->pos0;
    s->ldx = f->width + 3;
    s->base = (op_case){.bound = BOUND_EXACT,
                        .tokens = 64,
                        .width = (int64_t)cached_bytes(f->type, f->width),
                        .large = f->width == 1024,
                        .limits = {.cols = f->width},
                        .token_bytes = 4.0 * f->width,
                        .run = store_run,
                        .close = store_close};
    s->x = random_values(&r, s->base.tokens * s->ldx, 1.0f);
    for (int64_t i = 0; i < s->base.tokens * s->ldx; i += 3) /* all magnitudes: subnormal, rounded to infinity, ties */
        s->x[i] *= ldexpf(1.0f, (int)(i % 61) - 30);
    for (int64_t i = 1; i < s->base.tokens * s->ldx; i += 50)
        s->x[i] = 1.0f + 0x1p-11f * (float)(i % 7); /* halfway between two values of float16 */
    if (f->type == HD_TYPE_Q8_0) odd_blocks(s);
    snprintf(s->base.name, sizeof s->base.name, "%s %d values at %d, pages of %d from %d", hd_type_name(f->type),
             f->width, f->at, f->page_rows, (int)f->pos0);
    return &s->base;
}

#endif
