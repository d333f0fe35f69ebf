/* kernels/cpu/fast_bf16.inc.h: products of bfloat16 matrices, for attention.
 *
 * A product C = A B takes A in rows, [row][k], and B in pairs, [k / 2][column][2]: one dot-product instruction takes
 * two neighbours along k for each column.  A number is one bfloat16 (8 bits, an error of 2^-9) or, `parts` being 2, the
 * sum of two (16 bits, an error of 2^-17; a float16 exactly): the second part of a matrix follows the first, and a
 * product leaves out that of the two second parts.  Sums are float32, over k in order, so that an element does not
 * depend on the shape of the matrices; AMX tiles sum in the same order. */

#if defined(HD_BF16)

#define PAIR_ROUND 32 /* k is a multiple of it: what one AMX tile holds; the rest is zero on both sides */

/* 32 values of a row; `part` is the distance of the second part. */
HD_INLINE void bf16_put(uint16_t *to, int64_t part, int parts, vf first, vf second)
{
    vi high = vi_bf16(first, second);
    memcpy(to, &high, sizeof high);
    if (parts == 1) return;
    vi low = vi_bf16(first - vf_bf16(to), second - vf_bf16(to + HD_LANES));
    memcpy(to + part, &low, sizeof low);
}

/* HD_LANES columns of two neighbours along k. */
HD_INLINE void bf16_put_pairs(uint16_t *to, int64_t part, int parts, vf a, vf b)
{
    vi high = vi_bf16_pairs(a, b);
    memcpy(to, &high, sizeof high);
    if (parts == 1) return;
    vi low = vi_bf16_pairs(a - (vf)(high << 16), b - (vf)(high & (vi_splat(-1) << 16)));
    memcpy(to + part, &low, sizeof low);
}

/* A row of n values, followed by zeros up to `padded` (a multiple of PAIR_ROUND). */
static void bf16_put_row(uint16_t *to, int64_t part, int parts, const float *x, int64_t n, int64_t padded)
{
    int64_t c = 0;
    for (; c + 2 * HD_LANES <= n; c += 2 * HD_LANES)
        bf16_put(to + c, part, parts, vf_load(x + c), vf_load(x + c + HD_LANES));
    for (; c < padded; c += 2 * HD_LANES) {
        float rest[2 * HD_LANES] = {0};
        if (c < n) memcpy(rest, x + c, (size_t)(n - c) * sizeof(float));
        bf16_put(to + c, part, parts, vf_load(rest), vf_load(rest + HD_LANES));
    }
}

#if defined(HD_AMX)

/* 16 or, `high`, 32 rows of C by 16 or, `wide`, 32 columns.  Tile registers: 0 to 3 sums, 4 and 5 rows of A, 6 and 7
 * columns of B. */
HD_INLINE void bf16_tiles(const bool high, const bool wide, float *c, int64_t ldc, const uint16_t *a, int64_t lda,
                          const uint16_t *b, int64_t ldb, int64_t k, bool add)
{
    float *low = c + 16 * ldc;
    if (add) {
        _tile_loadd(0, c, (size_t)ldc * 4);
        if (wide) _tile_loadd(1, c + 16, (size_t)ldc * 4);
        if (high) _tile_loadd(2, low, (size_t)ldc * 4);
        if (high && wide) _tile_loadd(3, low + 16, (size_t)ldc * 4);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t i = 0; i < k; i += 32) {
        _tile_loadd(4, a + i, (size_t)lda * 2);
        _tile_loadd(6, b + i * ldb, (size_t)ldb * 4);
        _tile_dpbf16ps(0, 4, 6);
        if (wide) _tile_loadd(7, b + i * ldb + 32, (size_t)ldb * 4);
        if (wide) _tile_dpbf16ps(1, 4, 7);
        if (high) _tile_loadd(5, a + 16 * lda + i, (size_t)lda * 2);
        if (high) _tile_dpbf16ps(2, 5, 6);
        if (high && wide) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, (size_t)ldc * 4);
    if (wide) _tile_stored(1, c + 16, (size_t)ldc * 4);
    if (high) _tile_stored(2, low, (size_t)ldc * 4);
    if (high && wide) _tile_stored(3, low + 16, (size_t)ldc * 4);
}

static void bf16_gemm_part(float *c, int64_t ldc, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                           int64_t rows, int64_t cols, int64_t k, bool add)
{
    for (int64_t r = 0; r < rows; r += 32) {
        bool high = rows - r > 16;
        for (int64_t v = 0; v < cols; v += 32) {
            bool wide = cols - v > 16;
            float *to = c + r * ldc + v;
            if (high && wide)
                bf16_tiles(true, true, to, ldc, a + r * lda, lda, b + 2 * v, ldb, k, add);
            else if (wide)
                bf16_tiles(false, true, to, ldc, a + r * lda, lda, b + 2 * v, ldb, k, add);
            else if (high)
                bf16_tiles(true, false, to, ldc, a + r * lda, lda, b + 2 * v, ldb, k, add);
            else
                bf16_tiles(false, false, to, ldc, a + r * lda, lda, b + 2 * v, ldb, k, add);
        }
    }
}

#else

#define BF16_ROWS 16 /* 16 x 1 or 6 x 4 sums: a decoding step of 16 heads has scores of 16 keys by 16 heads */

HD_INLINE void bf16_tile(const int R, const int V, float *c, int64_t ldc, const uint16_t *a, int64_t lda,
                         const uint16_t *b, int64_t ldb, int64_t k, bool add)
{
    vf sum[BF16_ROWS][HD_GEMM_VECTORS];
    HD_UNROLL
    for (int r = 0; r < R; r++)
        HD_UNROLL
    for (int v = 0; v < V; v++)
        sum[r][v] = add ? vf_load(c + r * ldc + v * HD_LANES) : (vf){0};
    for (int64_t i = 0; i < k; i += 2) {
        vi bv[HD_GEMM_VECTORS];
        HD_UNROLL
        for (int v = 0; v < V; v++)
            bv[v] = vi_load(b + i * ldb + v * 2 * HD_LANES);
        HD_UNROLL
        for (int r = 0; r < R; r++) {
            int32_t pair;
            memcpy(&pair, a + r * lda + i, sizeof pair);
            vi av = vi_splat(pair);
            HD_UNROLL
            for (int v = 0; v < V; v++)
                sum[r][v] = vf_dot_bf16(sum[r][v], av, bv[v]);
        }
    }
    HD_UNROLL
    for (int r = 0; r < R; r++)
        HD_UNROLL
    for (int v = 0; v < V; v++)
        vf_store(c + r * ldc + v * HD_LANES, sum[r][v]);
}

HD_INLINE void bf16_columns(const int R, const int V, float *c, int64_t ldc, const uint16_t *a, int64_t lda,
                            const uint16_t *b, int64_t ldb, int64_t rows, int64_t k, bool add)
{
    int64_t r = 0;
    for (; r + R <= rows; r += R)
        bf16_tile(R, V, c + r * ldc, ldc, a + r * lda, lda, b, ldb, k, add);
    for (; R > 8 && r + 8 <= rows; r += 8)
        bf16_tile(8, V, c + r * ldc, ldc, a + r * lda, lda, b, ldb, k, add);
    for (; r + 4 <= rows; r += 4) /* fewer sums than 6, the latency of a dot product, wait for each other */
        bf16_tile(4, V, c + r * ldc, ldc, a + r * lda, lda, b, ldb, k, add);
    for (; r + 2 <= rows; r += 2)
        bf16_tile(2, V, c + r * ldc, ldc, a + r * lda, lda, b, ldb, k, add);
    for (; r < rows; r++)
        bf16_tile(1, V, c + r * ldc, ldc, a + r * lda, lda, b, ldb, k, add);
}

static void bf16_gemm_part(float *c, int64_t ldc, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                           int64_t rows, int64_t cols, int64_t k, bool add)
{
    int64_t v = 0;
    for (; v + 4 * HD_LANES <= cols; v += 4 * HD_LANES)
        bf16_columns(6, 4, c + v, ldc, a, lda, b + 2 * v, ldb, rows, k, add);
    for (; v < cols; v += HD_LANES)
        bf16_columns(BF16_ROWS, 1, c + v, ldc, a, lda, b + 2 * v, ldb, rows, k, add);
}

#endif

/* C [rows][cols] (+)= A B.  cols is a multiple of HD_LANES, k of PAIR_ROUND; C and A have as many rows as a multiple of
 * 16 that is `rows` at least: their contents there don't matter.  Parts of A and B are a_part and b_part apart. */
static void bf16_gemm(int parts, float *c, int64_t ldc, const uint16_t *a, int64_t lda, int64_t a_part,
                      const uint16_t *b, int64_t ldb, int64_t b_part, int64_t rows, int64_t cols, int64_t k, bool add)
{
    bf16_gemm_part(c, ldc, a, lda, b, ldb, rows, cols, k, add);
    if (parts == 1) return;
    bf16_gemm_part(c, ldc, a + a_part, lda, b, ldb, rows, cols, k, true);
    bf16_gemm_part(c, ldc, a, lda, b + b_part, ldb, rows, cols, k, true);
}

/* Sixteen rows of values, `from` (NULL: a row of zeros), as columns of pairs: to[i * ldb + 2 * row], 0 <= i < k. */
static void bf16_put_columns(uint16_t *to, int64_t ldb, int64_t part, int parts, const float *const *from, float scale,
                             int64_t n, int64_t k)
{
    for (int64_t c = 0; c < k; c += 2 * HD_LANES) {
        vi high[HD_LANES], low[HD_LANES];
        for (int r = 0; r < HD_LANES; r++) {
            float x[2 * HD_LANES] = {0};
            uint16_t put[2][2 * HD_LANES];
            int64_t count = HD_MIN(2 * HD_LANES, n - c);
            if (from[r] && count > 0) memcpy(x, from[r] + c, (size_t)count * sizeof(float));
            bf16_put(put[0], 2 * HD_LANES, parts, vf_load(x) * scale, vf_load(x + HD_LANES) * scale);
            high[r] = vi_load(put[0]);
            if (parts > 1) low[r] = vi_load(put[1]);
        }
        vi_transpose(high);
        if (parts > 1) vi_transpose(low);
        for (int i = 0; i < HD_LANES; i++) {
            memcpy(to + (c + 2 * i) * ldb, &high[i], sizeof high[i]);
            if (parts > 1) memcpy(to + part + (c + 2 * i) * ldb, &low[i], sizeof low[i]);
        }
    }
}

#endif
