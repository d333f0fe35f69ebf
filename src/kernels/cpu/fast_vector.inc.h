/* kernels/cpu/fast_vector.inc.h: what the fast kernels share: vector helpers, exp, a float32 matrix product.
 *
 * Included by each tier's file after its simd_*.h: the body is one, its instructions differ.  All is static. */

#define HD_INLINE static inline __attribute__((always_inline))

/* Loops over a tile must unroll whole: its sums live in registers then, and in memory otherwise (six times slower). */
#if defined(HD_INSTRUMENTED) /* sanitizers and coverage: minutes to compile, and nobody times them */
#define HD_UNROLL
#else
#define HD_UNROLL _Pragma("GCC unroll 16")
#endif

/* A thread's tile registers, where there are any, for products of bfloat16 matrices. */
static void tiles_begin(void)
{
#if defined(HD_AMX)
    hd_tiles_open(&hd_whole_tiles);
#endif
}

static void tiles_end(void)
{
#if defined(HD_AMX)
    hd_tiles_close();
#endif
}

typedef uint32_t vu __attribute__((vector_size(4 * HD_LANES)));

HD_INLINE vf vf_splat(float x)
{
    return x - (vf){0}; /* 0 + x would be an addition: it turns -0 into 0 */
}

HD_INLINE vi vi_splat(int32_t x)
{
    return (vi){0} + x;
}

HD_INLINE vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

HD_INLINE void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

HD_INLINE vi vi_load(const void *p)
{
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* HD_LANES values of a row of F16, BF16 or F32 from value c on. */
HD_INLINE vf vf_plain(const hd_type type, const uint8_t *row, int64_t c)
{
    if (type == HD_TYPE_F16) return vf_f16(row + 2 * c);
    if (type == HD_TYPE_BF16) return vf_bf16(row + 2 * c);
    return vf_load((const float *)(const void *)row + c);
}

/* Whether any lane is not 0. */
HD_INLINE bool vi_any(vi v)
{
    int32_t lane[HD_LANES], all = 0;
    memcpy(lane, &v, sizeof v);
    for (int i = 0; i < HD_LANES; i++)
        all |= lane[i];
    return all != 0;
}

/* Every second lane of a, then of b. */
#if HD_LANES == 16
#define EVENS(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODDS(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#elif HD_LANES == 8
#define EVENS(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODDS(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#else
#define EVENS(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODDS(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#endif

/* Lane r: the sum, or the largest value, of v[r].  Uses v up. */
HD_INLINE vf vf_fold(const bool sum, vf v[HD_LANES])
{
    HD_UNROLL
    for (int n = HD_LANES; n > 1; n /= 2)
        HD_UNROLL
    for (int i = 0; i < n / 2; i++) {
        vf evens = EVENS(v[2 * i], v[2 * i + 1]), odds = ODDS(v[2 * i], v[2 * i + 1]);
        v[i] = sum ? evens + odds : vf_max(evens, odds);
    }
    return v[0];
}

HD_INLINE vi vi_fold(vi v[HD_LANES])
{
    HD_UNROLL
    for (int n = HD_LANES; n > 1; n /= 2)
        HD_UNROLL
    for (int i = 0; i < n / 2; i++)
        v[i] = EVENS(v[2 * i], v[2 * i + 1]) + ODDS(v[2 * i], v[2 * i + 1]);
    return v[0];
}

/* a where mask is all ones, 0 where it is 0. */
HD_INLINE vf vf_and(vi mask, vf a)
{
    return (vf)(mask & (vi)a);
}

/* e^x to about 2 units in the last place: 2^n * e^r with |r| <= ln(2)/2 and the Taylor polynomial of degree 7; 0 below
 * -87, where float32 leaves its normal range; NaN stays NaN. */
HD_INLINE vf vf_exp(vf x)
{
    const float magic = 12582912.0f;                   /* 1.5 * 2^23: adding it rounds to a whole number */
    vf low = vf_splat(-87.0f), high = vf_splat(88.0f); /* e^88 is the last power below the largest float */
    vi keep = x > low, nan = ~(keep | (x <= low));
    x = -vf_max(-x, -high);
    vf n = vf_fma(x, vf_splat(1.44269504f), vf_splat(magic));
    vi shift = ((vi)n - (vi)vf_splat(magic)) << 23;
    n -= magic;
    vf r = vf_fma(n, vf_splat(-0.693359375f), x); /* ln(2) in two parts, so that r is exact */
    r = vf_fma(n, vf_splat(2.12194440e-4f), r);
    vf p = vf_fma(r, vf_splat(1.0f / 5040), vf_splat(1.0f / 720));
    p = vf_fma(p, r, vf_splat(1.0f / 120));
    p = vf_fma(p, r, vf_splat(1.0f / 24));
    p = vf_fma(p, r, vf_splat(1.0f / 6));
    p = vf_fma(p, r, vf_splat(0.5f));
    p = vf_fma(p, r, vf_splat(1.0f));
    p = vf_fma(p, r, vf_splat(1.0f));
    return (vf)((keep & ((vi)p + shift)) | nan); /* all ones is a NaN, too */
}

HD_INLINE vf vf_silu(vf x)
{
    return x / (1.0f + vf_exp(-x));
}

/* C [R][V vectors] (+)= A [R][k] B [k][V vectors].  Element (r, i) of A is a[r * a_row + i * a_col]. */
HD_INLINE void gemm_tile(const int R, const int V, float *c, int64_t ldc, const float *a, int64_t a_row, int64_t a_col,
                         const float *b, int64_t ldb, int64_t k, bool add)
{
    vf sum[HD_GEMM_ROWS][HD_GEMM_VECTORS];
    HD_UNROLL
    for (int r = 0; r < R; r++)
        HD_UNROLL
    for (int v = 0; v < V; v++)
        sum[r][v] = add ? vf_load(c + r * ldc + v * HD_LANES) : (vf){0};
    for (int64_t i = 0; i < k; i++) {
        vf bv[HD_GEMM_VECTORS];
        HD_UNROLL
        for (int v = 0; v < V; v++)
            bv[v] = vf_load(b + i * ldb + v * HD_LANES);
        HD_UNROLL
        for (int r = 0; r < R; r++) {
            vf av = vf_splat(a[r * a_row + i * a_col]);
            HD_UNROLL
            for (int v = 0; v < V; v++)
                sum[r][v] = vf_fma(av, bv[v], sum[r][v]);
        }
    }
    HD_UNROLL
    for (int r = 0; r < R; r++)
        HD_UNROLL
    for (int v = 0; v < V; v++)
        vf_store(c + r * ldc + v * HD_LANES, sum[r][v]);
}

/* All rows of C for V vectors of columns. */
HD_INLINE void gemm_columns(const int V, float *c, int64_t ldc, const float *a, int64_t a_row, int64_t a_col,
                            const float *b, int64_t ldb, int64_t rows, int64_t k, bool add)
{
    int64_t r = 0;
    for (; r + HD_GEMM_ROWS <= rows; r += HD_GEMM_ROWS)
        gemm_tile(HD_GEMM_ROWS, V, c + r * ldc, ldc, a + r * a_row, a_row, a_col, b, ldb, k, add);
    for (; r + 2 <= rows; r += 2)
        gemm_tile(2, V, c + r * ldc, ldc, a + r * a_row, a_row, a_col, b, ldb, k, add);
    for (; r < rows; r++)
        gemm_tile(1, V, c + r * ldc, ldc, a + r * a_row, a_row, a_col, b, ldb, k, add);
}

/* C [rows][cols] (+)= A [rows][k] B [k][cols]; cols is a multiple of HD_LANES.  Every element sums over k in order, so
 * the result does not depend on the shape of the tiles. */
static void gemm(float *c, int64_t ldc, const float *a, int64_t a_row, int64_t a_col, const float *b, int64_t ldb,
                 int64_t rows, int64_t cols, int64_t k, bool add)
{
    int64_t v = 0;
    for (; v + HD_GEMM_VECTORS * HD_LANES <= cols; v += HD_GEMM_VECTORS * HD_LANES)
        gemm_columns(HD_GEMM_VECTORS, c + v, ldc, a, a_row, a_col, b + v, ldb, rows, k, add);
    for (; v < cols; v += HD_LANES)
        gemm_columns(1, c + v, ldc, a, a_row, a_col, b + v, ldb, rows, k, add);
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* Scratch is handed out front to back; with base NULL it only counts. */
typedef struct arena {
    uint8_t *base;
    size_t used;
} arena;

static void *arena_take(arena *a, size_t count, size_t size)
{
    void *at = a->base ? a->base + a->used : NULL;
    a->used += (size_t)round_up((int64_t)(count * size), HD_CACHE_LINE);
    return at;
}

/* The slice of thread `thread` behind the first `shared` bytes of scratch. */
static arena arena_of_thread(const hd_exec *ex, size_t shared, int thread)
{
    size_t each = (ex->scratch_bytes - shared) / (size_t)hd_pool_threads(ex->pool) / HD_CACHE_LINE * HD_CACHE_LINE;
    return (arena){.base = ex->scratch + shared + (size_t)thread * each};
}

/* Which of `count` runs of items holds an item, by bisection; first[i] is the number of run i's first item. */
static int run_of_item(const int64_t *first, int count, int64_t item)
{
    int low = 0, high = count - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (first[middle] <= item)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Eight pieces a thread: small enough that all are through at the same time, and each still a stretch of weights. */
static int64_t grain_of(const hd_exec *ex, int64_t items)
{
    return HD_MAX(1, items / (hd_pool_threads(ex->pool) * 8));
}
