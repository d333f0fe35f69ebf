/* One case of one operator: inputs, how to run any part of its tokens, what its errors are measured in.
 *
 * The twin of every tier is the reference backend.  A case is checked so: all tokens on the tier against all tokens on
 * the twin, within the bound; then the same tokens with other numbers of threads, alone, and in batches of many sizes
 * and positions, bit for bit as in the whole.  Outputs are filled with a pattern first: what an operator must leave
 * alone (gaps between rows) has to keep it, as it does on the twin.
 */
#ifndef HD_TESTS_KERNELS_OP_CASE_H
#define HD_TESTS_KERNELS_OP_CASE_H

#include "unit/kernels/bounds.h"
#include "unit/kernels/harness.h"

typedef struct op_case op_case;
struct op_case {
    char name[80];
    int bound;                            /* BOUND_... */
    int64_t tokens;                       /* rows of the largest batch */
    int64_t width;                        /* values that one token gives, gaps counted */
    bool contiguous;                      /* the operator wants rows without padding */
    bool large;                           /* checked in fewer batches; the cases that --time times */
    hd_shape_limits limits;               /* but tokens and threads */
    double token_ops, bytes, token_bytes; /* for --time: operations a token; bytes read a call, and a token */
    /* May be NULL.  Puts weights into the backend's layout and chooses the bound; finish undoes it. */
    void (*prepare)(op_case *c, const hd_backend *backend);
    void (*finish)(op_case *c, const hd_backend *backend);
    /* Tokens [first, first + n) into out, rows ldo values apart. */
    void (*run)(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n, float *out,
                int64_t ldo);
    /* What the errors of one token are measured in, `width` values; `want` is what the twin gave. */
    void (*unit)(const op_case *c, int64_t token, const float *want, float *unit);
    void (*close)(op_case *c); /* releases what the case holds, and c */
};

/* An operator: makes its case number `index`; NULL behind the last one. */
typedef op_case *(*op_maker)(int index);

#define OUTPUT_FILL 0xa5
#define OUTPUT_PADDING 3 /* values between rows: the next row starts at no multiple of a vector */

static inline int64_t output_stride(const op_case *c)
{
    return c->contiguous ? c->width : c->width + OUTPUT_PADDING;
}

/* As the engine does: threads of a fast tier take numbers below float32's normal range for zero. */
static inline void set_flush(void *arg, int thread, int threads)
{
    (void)thread;
    (void)threads;
    (void)hd_cpu_flush_denormals(*(const bool *)arg);
}

static inline void run_case(const op_case *c, const hd_backend *backend, const hd_exec *ex, int64_t first, int64_t n,
                            float *out)
{
    bool flush = backend->flush_denormals, off = false;
    hd_pool_run(ex->pool, set_flush, &flush);
    c->run(c, backend, ex, first, n, out, output_stride(c));
    hd_pool_run(ex->pool, set_flush, &off);
}

/* Runs a part of a case in memory of its own; the caller closes the result. */
static inline guarded run_part(const op_case *c, const hd_backend *backend, int threads, int64_t first, int64_t n)
{
    static const int garbage[] = {0xff, 0x00, 0x5a}; /* NaN, zero, large numbers */
    static unsigned runs;
    int64_t ldo = output_stride(c);
    hd_shape_limits limits = c->limits;
    limits.tokens = n;
    limits.threads = threads;
    guarded scratch = guarded_open(backend->scratch_bytes(&limits), 0, garbage[runs++ % HD_ARRAY_LEN(garbage)]);
    guarded out = guarded_open((size_t)(n * ldo) * sizeof(float), 4, OUTPUT_FILL);
    hd_exec ex = {.pool = pool_of(threads), .scratch = scratch.data, .scratch_bytes = scratch.bytes};
    run_case(c, backend, &ex, first, n, (float *)(void *)out.data);
    if (!guarded_close(&scratch)) fail_msg("%s: %s wrote outside its scratch", c->name, backend->name);
    return out;
}

/* The same bits; a NaN equals every NaN, since processors take its payload from either operand. */
static inline bool same_values(const guarded *a, const uint8_t *b, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += sizeof(float)) {
        float x, y;
        memcpy(&x, a->data + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        if (memcmp(&x, &y, sizeof x) != 0 && !(isnan(x) && isnan(y))) return false;
    }
    return true;
}

/* Runs tokens [first, first + n) and compares them, padding included, with the same rows of `whole`. */
static inline void check_part(const op_case *c, const hd_backend *backend, int threads, const guarded *whole,
                              int64_t first, int64_t n)
{
    guarded part = run_part(c, backend, threads, first, n);
    size_t row = (size_t)output_stride(c) * sizeof(float);
    if (!same_values(&part, whole->data + (size_t)first * row, (size_t)n * row))
        fail_msg("%s: %s gives other bits for tokens %d..%d of %d on %d threads", c->name, backend->name, (int)first,
                 (int)(first + n - 1), (int)c->tokens, threads);
    if (!guarded_close(&part)) fail_msg("%s: %s wrote outside its output", c->name, backend->name);
}

/* Where a processor is emulated, or instrumented: a tenth of the time, by fewer batches. */
static inline bool quick_checks(void)
{
    return getenv("HD_TEST_QUICK") != NULL;
}

static const hd_cpu_tier tiers[] = {HD_CPU_REFERENCE, HD_CPU_AVX2, HD_CPU_AVX512,  HD_CPU_AVX512BF16,
                                    HD_CPU_AMX,       HD_CPU_NEON, HD_CPU_NEONDOT, HD_CPU_NEONI8MM};

/* The kernels of a tier; NULL where this machine can't run them, and for the reference in quick checks: every other
 * tier runs beside it.  No tier has all bodies of another: AMX's tiles replace loops that only the others have. */
static inline const hd_backend *checked_tier(hd_cpu_tier tier)
{
    const hd_backend *backend;
    if (quick_checks() && tier == HD_CPU_REFERENCE) return NULL;
    return hd_kernels_cpu(&backend, tier, NULL) == HD_OK ? backend : NULL;
}

static inline void check_batches(const op_case *c, const hd_backend *backend, const guarded *whole)
{
    const bool few = c->large || quick_checks();
    static const int64_t counts[] = {1, 2, 3, 4, 5, 11, 12, 13, 16, 17, 40, 48, 64};
    for (int threads = 2; threads <= (few ? 2 : MAX_POOLS); threads++)
        check_part(c, backend, threads, whole, 0, c->tokens);
    for (int64_t token = 0; token < c->tokens; token += few ? 21 : 7)
        check_part(c, backend, 1, whole, token, 1);
    for (size_t i = few ? 10 : 0; i < HD_ARRAY_LEN(counts); i++)
        if (counts[i] < c->tokens)
            check_part(c, backend, 1, whole, (int64_t)i * 5 % (c->tokens - counts[i] + 1), counts[i]);
}

static inline void compare_with_twin(const op_case *c, const hd_backend *backend, const guarded *got, errors *all)
{
    guarded twin = run_part(c, &hd_backend_reference, 1, 0, c->tokens);
    float *unit = hd_alloc_array((size_t)c->width, sizeof *unit);
    assert_non_null(unit);
    errors here = {0};
    for (int64_t t = 0; t < c->tokens; t += c->large ? 9 : 1) { /* the units of a large case take long */
        const float *want = (const float *)(void *)twin.data + t * output_stride(c);
        const float *have = (const float *)(void *)got->data + t * output_stride(c);
        if (c->unit) c->unit(c, t, want, unit);
        for (int64_t i = 0; i < c->width; i++)
            errors_add(&here, have[i], want[i], c->unit ? (double)unit[i] : 0.0);
    }
    const bound *limit = &bounds[c->bound];
    if (!(here.worst <= limit->worst))
        fail_msg("%s: %s: error %.3g, at most %.3g (%s)", c->name, backend->name, here.worst, limit->worst,
                 limit->name);
    if (here.count >= 1000 && !(errors_rms(&here) <= limit->rms))
        fail_msg("%s: %s: mean error %.3g, at most %.3g (%s)", c->name, backend->name, errors_rms(&here), limit->rms,
                 limit->name);
    errors *sum = &all[c->bound];
    sum->worst = fmax(sum->worst, here.worst);
    sum->squares += here.squares;
    sum->count += here.count;
    hd_free(unit);
    guarded_close(&twin);
}

/* Checks one case on one tier; adds its errors to all[BOUND_COUNT]. */
static inline void check_case(op_case *c, const hd_backend *backend, errors *all)
{
    if (c->prepare) c->prepare(c, backend);
    guarded whole = run_part(c, backend, 1, 0, c->tokens);
    compare_with_twin(c, backend, &whole, all);
    check_batches(c, backend, &whole);
    if (!guarded_close(&whole)) fail_msg("%s: %s wrote outside its output", c->name, backend->name);
    if (c->finish) c->finish(c, backend);
}

#endif
