/* What the tests of kernels share: random data, weights of every type, guarded memory, thread pools, comparison.
 *
 * Memory that a kernel writes lies between guards: under the address sanitizer they are poisoned, otherwise they are
 * compared afterwards.  Scratch is exactly as large as the backend asked for, and filled with garbage before each run.
 */
#ifndef HD_TESTS_KERNELS_HARNESS_H
#define HD_TESTS_KERNELS_HARNESS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/reference.h"
#include "kernels/kernels.h"
#include "tensor/quant.h"

#if defined(__SANITIZE_ADDRESS__)
#define HARNESS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HARNESS_ASAN 1
#endif
#endif
#ifdef HARNESS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

/* ---- random data: the same in every run ---- */

typedef struct rng {
    uint64_t state;
} rng;

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t rng_next(rng *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in [0, 1). */
static inline float rng_unit(rng *r)
{
    return (float)(rng_next(r) >> 40) * 0x1p-24f;
}

static inline int rng_below(rng *r, int n)
{
    return (int)(rng_next(r) % (uint64_t)n);
}

/* Mean 0, variance 1, close to normal: the sum of twelve uniform values. */
static inline float rng_normal(rng *r)
{
    float sum = -6.0f;
    for (int i = 0; i < 12; i++)
        sum += rng_unit(r);
    return sum;
}

/* ---- guarded memory ---- */

#define GUARD_BYTES 256
#define GUARD_FILL 0xa5

typedef struct guarded {
    uint8_t *block, *data;
    size_t bytes;
} guarded;

/* `bytes` of memory filled with `fill`, starting `shift` bytes behind a cache line. */
static inline guarded guarded_open(size_t bytes, size_t shift, int fill)
{
    guarded g = {.block = hd_alloc_aligned(bytes + shift + 2 * GUARD_BYTES), .bytes = bytes};
    assert_non_null(g.block);
    g.data = g.block + GUARD_BYTES + shift;
    memset(g.block, GUARD_FILL, bytes + shift + 2 * GUARD_BYTES);
    memset(g.data, fill, bytes);
    ASAN_POISON_MEMORY_REGION(g.block, GUARD_BYTES + shift);
    ASAN_POISON_MEMORY_REGION(g.data + bytes, GUARD_BYTES);
    return g;
}

/* Releases g; false when something wrote outside it. */
static inline bool guarded_close(guarded *g)
{
    bool kept = true;
    size_t before = (size_t)(g->data - g->block);
    ASAN_UNPOISON_MEMORY_REGION(g->block, before);
    ASAN_UNPOISON_MEMORY_REGION(g->data + g->bytes, GUARD_BYTES);
    for (size_t i = 0; i < before; i++)
        kept &= g->block[i] == GUARD_FILL;
    for (size_t i = 0; i < GUARD_BYTES; i++)
        kept &= g->data[g->bytes + i] == GUARD_FILL;
    hd_free_aligned(g->block);
    *g = (guarded){0};
    return kept;
}

/* ---- threads ---- */

#define MAX_POOLS 3

/* A pool of `threads` threads, 1 .. MAX_POOLS, kept until the program ends. */
static inline hd_pool *pool_of(int threads)
{
    static hd_pool *pools[MAX_POOLS + 1];
    hd_error err;
    if (!pools[threads] && hd_pool_open(&pools[threads], threads, &err) != HD_OK) fail_msg("%s", err.text);
    return pools[threads];
}

/* ---- weights ---- */

/* The types with blocks: where each block keeps its float16 scale and minimum (-1: none), and how large a minimum is
 * that centres the random codes, in steps of the scale. */
typedef struct block_form {
    hd_type type;
    int scale_at, min_at;
    float centre;
} block_form;

static const block_form block_forms[] = {
    {HD_TYPE_Q4_0, 0, -1, 0},    {HD_TYPE_Q4_1, 0, 2, -7.5f},  {HD_TYPE_Q5_0, 0, -1, 0},   {HD_TYPE_Q5_1, 0, 2, -15.5f},
    {HD_TYPE_Q8_0, 0, -1, 0},    {HD_TYPE_Q2_K, 80, 82, 1.5f}, {HD_TYPE_Q3_K, 108, -1, 0}, {HD_TYPE_Q4_K, 0, 2, 7.5f},
    {HD_TYPE_Q5_K, 0, 2, 15.5f}, {HD_TYPE_Q6_K, 208, -1, 0},   {HD_TYPE_IQ1_S, 0, -1, 0},  {HD_TYPE_IQ1_M, -1, -1, 0},
    {HD_TYPE_IQ2_XXS, 0, -1, 0}, {HD_TYPE_IQ2_XS, 0, -1, 0},   {HD_TYPE_IQ2_S, 0, -1, 0},  {HD_TYPE_IQ3_XXS, 0, -1, 0},
    {HD_TYPE_IQ3_S, 0, -1, 0},   {HD_TYPE_IQ4_NL, 0, -1, 0},   {HD_TYPE_IQ4_XS, 0, -1, 0}, {HD_TYPE_TQ1_0, 52, -1, 0},
    {HD_TYPE_TQ2_0, 64, -1, 0},  {HD_TYPE_MXFP4, -1, -1, 0},
};

/* Every type of weights that a model may have; the float types first. */
static const hd_type weight_types[] = {
    HD_TYPE_F32,    HD_TYPE_F16,    HD_TYPE_BF16,    HD_TYPE_F8_E4M3, HD_TYPE_Q4_0,  HD_TYPE_Q4_1,    HD_TYPE_Q5_0,
    HD_TYPE_Q5_1,   HD_TYPE_Q8_0,   HD_TYPE_Q2_K,    HD_TYPE_Q3_K,    HD_TYPE_Q4_K,  HD_TYPE_Q5_K,    HD_TYPE_Q6_K,
    HD_TYPE_IQ1_S,  HD_TYPE_IQ1_M,  HD_TYPE_IQ2_XXS, HD_TYPE_IQ2_XS,  HD_TYPE_IQ2_S, HD_TYPE_IQ3_XXS, HD_TYPE_IQ3_S,
    HD_TYPE_IQ4_NL, HD_TYPE_IQ4_XS, HD_TYPE_TQ1_0,   HD_TYPE_TQ2_0,   HD_TYPE_MXFP4, HD_TYPE_F64,     HD_TYPE_I8,
};

static inline const block_form *block_form_of(hd_type type)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(block_forms); i++)
        if (block_forms[i].type == type) return &block_forms[i];
    return NULL;
}

static inline void put_half(uint8_t *at, float value)
{
    uint16_t h = hd_f32_to_f16(value);
    memcpy(at, &h, sizeof h);
}

/* Gives a block of random bytes scales of about 1/500: values as weights have them. */
static inline void tame_block(uint8_t *block, const block_form *form, rng *r)
{
    float scale = (0.2f + 0.8f * rng_unit(r)) * 2e-3f;
    if (form->type == HD_TYPE_MXFP4) block[0] = (uint8_t)(117 + rng_below(r, 4));
    if (form->type == HD_TYPE_IQ1_M) { /* the scale's four hex digits stand in the top digits of four 16-bit words */
        uint16_t h = hd_f32_to_f16(scale);
        for (int i = 0; i < 4; i++)
            block[48 + 2 * i + 1] = (uint8_t)((block[48 + 2 * i + 1] & 15) | (h >> (4 * i) & 15) << 4);
    }
    if (form->scale_at >= 0) put_half(block + form->scale_at, scale);
    if (form->min_at >= 0) put_half(block + form->min_at, scale * form->centre * (0.9f + 0.2f * rng_unit(r)));
}

static inline void fill_float_weight(uint8_t *at, hd_type type, rng *r)
{
    float value = rng_normal(r) * 0.05f;
    double wide = (double)value;
    uint16_t half = type == HD_TYPE_F16 ? hd_f32_to_f16(value) : hd_f32_to_bf16(value);
    uint8_t byte = (uint8_t)rng_next(r);
    if ((byte & 0x7f) == 0x7f) byte = 0x38; /* 1 for NaN */
    if (type == HD_TYPE_F32) memcpy(at, &value, sizeof value);
    if (type == HD_TYPE_F64) memcpy(at, &wide, sizeof wide);
    if (type == HD_TYPE_F16 || type == HD_TYPE_BF16) memcpy(at, &half, sizeof half);
    if (type == HD_TYPE_F8_E4M3) *at = byte;
    if (type == HD_TYPE_I8) *at = (uint8_t)rng_next(r);
}

/* A random matrix whose bytes end where its block of memory does, so that a sanitizer sees every read behind them.
 * F8_E4M3 has scales in blocks of 128, and its rows begin inside a block; I8 has scales of rows, and begins behind
 * some.
 */
static inline hd_matrix matrix_open(hd_type type, int64_t rows, int64_t cols, rng *r)
{
    hd_matrix m = {.type = type, .rows = rows, .cols = cols};
    const block_form *form = block_form_of(type);
    size_t size = (size_t)hd_type_block_bytes(type);
    if (!hd_type_row_bytes(type, cols, &m.row_bytes)) fail_msg("%s: no rows of %d", hd_type_name(type), (int)cols);
    uint8_t *data = hd_alloc_array((size_t)rows, m.row_bytes);
    assert_non_null(data);
    for (size_t at = 0; at < (size_t)rows * m.row_bytes; at += size) {
        for (size_t i = 0; form && i < size; i++)
            data[at + i] = (uint8_t)rng_next(r);
        if (form)
            tame_block(data + at, form, r);
        else
            fill_float_weight(data + at, type, r);
    }
    m.data = data;
    if (type != HD_TYPE_F8_E4M3 && type != HD_TYPE_I8) return m;
    m.scale_rows = type == HD_TYPE_I8 ? 1 : 128;
    m.scale_cols = type == HD_TYPE_I8 ? cols : 128;
    m.row0 = 120;
    m.scale_stride = (cols + m.scale_cols - 1) / m.scale_cols;
    size_t scales = (size_t)((m.row0 + rows + m.scale_rows - 1) / m.scale_rows * m.scale_stride);
    float *scale = hd_alloc_array(scales, sizeof *scale);
    assert_non_null(scale);
    for (size_t i = 0; i < scales; i++)
        scale[i] = (0.5f + rng_unit(r)) * 5e-4f;
    m.scale = scale;
    return m;
}

static inline void matrix_close(hd_matrix *m)
{
    hd_free((void *)(uintptr_t)m->data);
    hd_free((void *)(uintptr_t)m->scale);
    *m = (hd_matrix){0};
}

/* `m` as the backend's own: release with backend->unprepare, before m. */
static inline hd_matrix matrix_prepare(const hd_matrix *m, const hd_backend *backend)
{
    hd_exec ex = {.pool = pool_of(1)};
    hd_matrix copy = *m;
    if (backend->prepare(&ex, &copy) != HD_OK) fail_msg("%s: prepare failed", backend->name);
    return copy;
}

/* The columns that a type may have, nearest to `cols` from above. */
static inline int64_t whole_blocks(hd_type type, int64_t cols)
{
    int64_t block = hd_type_block(type);
    return (cols + block - 1) / block * block;
}

/* [rows][cols] of weights as float32. */
static inline float *decoded(const hd_matrix *m)
{
    float *out = hd_alloc_array((size_t)(m->rows * m->cols), sizeof *out);
    assert_non_null(out);
    for (int64_t r = 0; r < m->rows; r++)
        hd_matrix_decode_row(m, r, out + r * m->cols);
    return out;
}

/* ---- comparison ---- */

/* Differences of one operator on one tier, in units that its bound names. */
typedef struct errors {
    double worst, squares;
    int64_t count;
} errors;

static inline void errors_add(errors *e, float got, float want, double unit)
{
    double difference = fabs((double)got - (double)want);
    double relative = difference > 0 || isnan(difference) ? difference / unit : 0.0;
    if (!(relative <= e->worst)) e->worst = relative; /* NaN sticks */
    e->squares += relative * relative;
    e->count++;
}

static inline double errors_rms(const errors *e)
{
    return e->count ? sqrt(e->squares / (double)e->count) : 0.0;
}

static inline float *random_values(rng *r, int64_t n, float scale)
{
    float *x = hd_alloc_array((size_t)n, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = rng_normal(r) * scale;
    return x;
}

#endif
