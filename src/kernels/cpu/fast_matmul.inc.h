/* kernels/cpu/fast_matmul.inc.h: products of weights and activations.
 *
 * Packed weights (pack.h) meet activations rounded to 16 bits, with one scale per 32 values: each value is 256 * high +
 * low, two signed bytes, so that byte dot products serve; sums are float32.  (One byte a value is twice as fast in
 * prefill, but moves log-probabilities of a real 135M model by 0.3 to 0.5: single channels are a hundred times the
 * rest.)  Plain float weights meet float32 activations.  Both work in blocks of HD_LANES rows.  A (row, token) result
 * sums its columns in the same order in every form, so it does not depend on the batch. */

/* Activations of n rows, as floats and, where asked for, as bytes. */
typedef struct inputs {
    const float *x;
    int64_t ldx, cols, units;
    int8_t *q; /* [n][ldq]: of each unit, 32 high bytes and 32 low ones */
    int64_t ldq;
    float *d;     /* [n][units] value of one step */
    int32_t *sum; /* [n][units][2] sum of the values of each half unit, in steps */
    float *part;  /* the same times d: what minima are multiplied with */
} inputs;

static void inputs_take(inputs *in, arena *a, int64_t n, int64_t cols)
{
    in->cols = cols;
    in->units = cols / HD_UNIT;
    /* One cache line more: rows a multiple of 4 KB apart would share the same few sets of the first-level cache. */
    in->ldq = in->units * 2 * HD_UNIT + HD_CACHE_LINE;
    in->q = arena_take(a, (size_t)n, (size_t)in->ldq);
    in->d = arena_take(a, (size_t)(n * in->units), sizeof(float));
    in->sum = arena_take(a, (size_t)(n * in->units), 2 * sizeof(int32_t));
    in->part = arena_take(a, (size_t)(n * in->units), 2 * sizeof(float));
}

#define STEPS 32512 /* 127 * 256: the high byte stays within -127..127 */

#define SMALLEST 0x1p-100f /* units whose values are all below count as zeros: STEPS / value would overflow */

/* Rounds 32 values to 16 bits: d = largest magnitude / STEPS.  With a NaN or an infinity among them d is NaN, and so is
 * everything that they meet. */
static void quantize_unit(const float *x, int8_t *q, float *d, int32_t *sum)
{
    const vf magic = vf_splat(12582912.0f); /* adding 1.5 * 2^23 rounds to a whole number */
    vf most = {0}, bad = {0};               /* bad: 0, or NaN */
    for (int i = 0; i < HD_UNIT; i += HD_LANES) {
        vf v = vf_load(x + i);
        most = vf_max(most, vf_max(v, -v));
        bad += v * 0.0f;
    }
    float largest = vf_largest(most);
    float inverse = largest > SMALLEST ? STEPS / largest : 0.0f;
    vi total[2] = {{0}, {0}};
    *d = largest / STEPS + vf_sum(bad);
    if (isnan(*d)) {
        memset(q, 0, 2 * HD_UNIT);
        sum[0] = sum[1] = 0;
        return;
    }
    for (int i = 0; i < HD_UNIT; i += HD_LANES) {
        vi v = (vi)(vf_load(x + i) * inverse + magic) - (vi)magic;
        vi high = (v + 128) >> 8, low = v - (high << 8);
        low -= low < -127; /* -128 has no counterpart in a signed byte (AVX2's dot product changes signs) */
        vf_store_i8(q + i, vf_of_int(high));
        vf_store_i8(q + HD_UNIT + i, vf_of_int(low));
        total[i / (HD_UNIT / 2)] += (high << 8) + low;
    }
    sum[0] = vi_sum(total[0]);
    sum[1] = vi_sum(total[1]);
}

static void quantize_row(const inputs *in, int64_t row, const float *x)
{
    for (int64_t u = 0; u < in->units; u++) {
        int64_t at = row * in->units + u;
        quantize_unit(x + u * HD_UNIT, in->q + row * in->ldq + u * 2 * HD_UNIT, in->d + at, in->sum + at * 2);
        for (int h = 0; h < 2; h++)
            in->part[at * 2 + h] = in->d[at] * (float)in->sum[at * 2 + h];
    }
}

static void quantize_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const inputs *in = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        quantize_row(in, i, in->x + i * in->ldx);
}

static void quantize_rows(const hd_exec *ex, inputs *in, int64_t n)
{
    hd_pool_for(ex->pool, n, 4, quantize_range, in);
}

/* ---- packed weights ---- */

/* What the tile of one token reads. */
typedef struct token_input {
    const int8_t *q;
    const float *d, *part;
    const int32_t *sum;
} token_input;

/* Adds one unit of one token: `code` holds eight steps of four columns, `groups` scales and minima. */
HD_INLINE vf add_unit(vf acc, const int groups, const bool has_min, const vi *code, const vf *scale, const vf *min,
                      int32_t offset, const token_input *in, int64_t u)
{
    const int quads = 8 / groups; /* steps of four columns that share a scale */
    const int8_t *q = in->q + u * 2 * HD_UNIT;
    HD_UNROLL
    for (int g = 0; g < groups; g++) {
        vi high = {0}, low = {0};
        if (!has_min)
            low = vi_splat(-offset * (groups == 2 ? in->sum[2 * u + g] : in->sum[2 * u] + in->sum[2 * u + 1]));
        HD_UNROLL
        for (int j = g * quads; j < (g + 1) * quads; j++) {
            int32_t four;
            memcpy(&four, q + j * 4, sizeof four);
            high = vi_dot4(high, code[j], four);
            memcpy(&four, q + HD_UNIT + j * 4, sizeof four);
            low = vi_dot4(low, code[j], four);
        }
        acc = vf_fma(vf_of_int((high << 8) + low), scale[g] * in->d[u], acc);
        if (has_min) {
            float part = groups == 2 ? in->part[2 * u + g] : in->part[2 * u] + in->part[2 * u + 1];
            acc = vf_fma(min[g], vf_splat(part), acc);
        }
    }
    return acc;
}

/* One block of rows times T rows of activations; the form of a unit is constant in each instance. */
HD_INLINE void packed_tile(const int T, const int bits, const int groups, const bool has_min, const hd_packed *p,
                           int64_t block, const inputs *in, const int32_t *token, float *out, int64_t ldo)
{
    const uint8_t *at = p->data + (size_t)block * p->block_bytes;
    vf sum[HD_TILE_TOKENS];
    token_input x[HD_TILE_TOKENS];
    HD_UNROLL
    for (int t = 0; t < T; t++) {
        int64_t units = token[t] * in->units;
        sum[t] = (vf){0};
        x[t] = (token_input){in->q + token[t] * in->ldq, in->d + units, in->part + units * 2, in->sum + units * 2};
    }
    for (int64_t u = 0; u < p->units; u++) {
        vf scale[2], min[2] = {{0}, {0}};
        vi code[8];
        for (int g = 0; g < groups; g++, at += HD_LANES * 2)
            scale[g] = vf_f16(at);
        for (int g = 0; has_min && g < groups; g++, at += HD_LANES * 2)
            min[g] = vf_f16(at);
        HD_UNROLL
        for (int j = 0; j < bits; j++, at += HD_LANES * 4) {
            vi codes = vi_load(at);
            code[j] = bits == 4 ? codes & 0x0f0f0f0f : codes;
            if (bits == 4) code[j + 4] = (codes >> 4) & 0x0f0f0f0f;
        }
        HD_UNROLL
        for (int t = 0; t < T; t++)
            sum[t] = add_unit(sum[t], groups, has_min, code, scale, min, p->offset, &x[t], u);
    }
    vf row_scale = vf_load(p->row_scale + block * HD_LANES);
    HD_UNROLL
    for (int t = 0; t < T; t++)
        vf_store(out + t * ldo, sum[t] * row_scale);
}

HD_INLINE void packed_form(const int bits, const int groups, const bool has_min, const hd_packed *p, int64_t block,
                           const inputs *in, const int32_t *token, int64_t n, float *out, int64_t ldo)
{
    int64_t t = 0;
    for (; t + HD_TILE_TOKENS <= n; t += HD_TILE_TOKENS)
        packed_tile(HD_TILE_TOKENS, bits, groups, has_min, p, block, in, token + t, out + t * ldo, ldo);
    for (; HD_TILE_TOKENS > 4 && t + 4 <= n; t += 4)
        packed_tile(4, bits, groups, has_min, p, block, in, token + t, out + t * ldo, ldo);
    for (; t < n; t++)
        packed_tile(1, bits, groups, has_min, p, block, in, token + t, out + t * ldo, ldo);
}

static void packed_block(const hd_packed *p, int64_t block, const inputs *in, const int32_t *token, int64_t n,
                         float *out, int64_t ldo)
{
    if (p->bits == 4 && p->has_min)
        packed_form(4, 1, true, p, block, in, token, n, out, ldo);
    else if (p->bits == 4)
        packed_form(4, 1, false, p, block, in, token, n, out, ldo);
    else if (p->group == 32 && p->has_min)
        packed_form(8, 1, true, p, block, in, token, n, out, ldo);
    else if (p->group == 32)
        packed_form(8, 1, false, p, block, in, token, n, out, ldo);
    else if (p->has_min)
        packed_form(8, 2, true, p, block, in, token, n, out, ldo);
    else
        packed_form(8, 2, false, p, block, in, token, n, out, ldo);
}

/* ---- plain float weights ---- */

/* HD_LANES weights of a row from column c on. */
HD_INLINE vf load_weights(const hd_type type, const uint8_t *row, int64_t c)
{
    if (type == HD_TYPE_F16) return vf_f16(row + 2 * c);
    if (type == HD_TYPE_BF16) return vf_bf16(row + 2 * c);
    return vf_load((const float *)(const void *)row + c);
}

#define FLOAT_ROWS 4
#define FLOAT_TOKENS 4

HD_INLINE void float_tile(const int R, const int T, const hd_type type, const uint8_t *w, size_t row_bytes,
                          const inputs *in, const int32_t *token, float *out, int64_t ldo)
{
    vf sum[FLOAT_ROWS][FLOAT_TOKENS];
    int64_t whole = in->cols / HD_LANES * HD_LANES;
    HD_UNROLL
    for (int r = 0; r < R; r++)
        HD_UNROLL
    for (int t = 0; t < T; t++)
        sum[r][t] = (vf){0};
    for (int64_t c = 0; c < whole; c += HD_LANES) {
        vf x[FLOAT_TOKENS];
        HD_UNROLL
        for (int t = 0; t < T; t++)
            x[t] = vf_load(in->x + token[t] * in->ldx + c);
        HD_UNROLL
        for (int r = 0; r < R; r++) {
            vf weight = load_weights(type, w + (size_t)r * row_bytes, c);
            HD_UNROLL
            for (int t = 0; t < T; t++)
                sum[r][t] = vf_fma(weight, x[t], sum[r][t]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int t = 0; t < T; t++) {
            float rest = 0.0f, last[HD_LANES];
            if (whole < in->cols)
                hd_decode_row(type, w + (size_t)r * row_bytes + (size_t)whole * (size_t)hd_type_block_bytes(type), last,
                              in->cols - whole);
            for (int64_t c = whole; c < in->cols; c++)
                rest += last[c - whole] * in->x[token[t] * in->ldx + c];
            out[t * ldo + r] = vf_sum(sum[r][t]) + rest;
        }
}

HD_INLINE void float_tokens(const int R, const hd_type type, const uint8_t *w, size_t row_bytes, const inputs *in,
                            const int32_t *token, int64_t n, float *out, int64_t ldo)
{
    int64_t t = 0;
    for (; t + FLOAT_TOKENS <= n; t += FLOAT_TOKENS)
        float_tile(R, FLOAT_TOKENS, type, w, row_bytes, in, token + t, out + t * ldo, ldo);
    for (; t < n; t++)
        float_tile(R, 1, type, w, row_bytes, in, token + t, out + t * ldo, ldo);
}

HD_INLINE void float_rows(const hd_type type, const uint8_t *w, size_t row_bytes, int64_t rows, const inputs *in,
                          const int32_t *token, int64_t n, float *out, int64_t ldo)
{
    int64_t r = 0;
    for (; r + FLOAT_ROWS <= rows; r += FLOAT_ROWS)
        float_tokens(FLOAT_ROWS, type, w + (size_t)r * row_bytes, row_bytes, in, token, n, out + r, ldo);
    for (; r < rows; r++)
        float_tokens(1, type, w + (size_t)r * row_bytes, row_bytes, in, token, n, out + r, ldo);
}

/* `row` is room for a decoded row: types without a loader of their own go through float32. */
static void float_block(const hd_matrix *m, int64_t first, int64_t rows, const inputs *in, const int32_t *token,
                        int64_t n, float *out, int64_t ldo, float *row)
{
    const uint8_t *w = m->data + (size_t)first * m->row_bytes;
    switch (m->type) {
    case HD_TYPE_F16: float_rows(HD_TYPE_F16, w, m->row_bytes, rows, in, token, n, out, ldo); break;
    case HD_TYPE_BF16: float_rows(HD_TYPE_BF16, w, m->row_bytes, rows, in, token, n, out, ldo); break;
    case HD_TYPE_F32: float_rows(HD_TYPE_F32, w, m->row_bytes, rows, in, token, n, out, ldo); break;
    default:
        for (int64_t r = 0; r < rows; r++) {
            hd_matrix_decode_row(m, first + r, row);
            float_rows(HD_TYPE_F32, (const uint8_t *)row, 0, 1, in, token, n, out + r, ldo);
        }
    }
}

/* ---- any weights ---- */

static int64_t blocks_of(const hd_matrix *m)
{
    return (m->rows + HD_LANES - 1) / HD_LANES;
}

/* out[i][0..rows of the block) = block of m times input row token[i], i < n.  The last block of a matrix may be short;
 * a packed block goes through `edge` [EDGE_TOKENS][HD_LANES] then. */
#define EDGE_TOKENS 32
static void block_product(const hd_matrix *m, int64_t block, const inputs *in, const int32_t *token, int64_t n,
                          float *out, int64_t ldo, float *row)
{
    int64_t first = block * HD_LANES, rows = HD_MIN(HD_LANES, m->rows - first);
    if (!m->packed) {
        float_block(m, first, rows, in, token, n, out, ldo, row);
        return;
    }
    if (rows == HD_LANES) {
        packed_block(m->packed, block, in, token, n, out, ldo);
        return;
    }
    float edge[EDGE_TOKENS * HD_LANES];
    for (int64_t t = 0; t < n; t += EDGE_TOKENS) {
        int64_t count = HD_MIN(EDGE_TOKENS, n - t);
        packed_block(m->packed, block, in, token + t, count, edge, HD_LANES);
        for (int64_t i = 0; i < count; i++)
            memcpy(out + (t + i) * ldo, edge + i * HD_LANES, (size_t)rows * sizeof(float));
    }
}

/* ---- operators ---- */

typedef struct matmul_job {
    const hd_exec *ex;
    const hd_matrix *w;
    int count;        /* matrices that run as one; each has its own inputs */
    const inputs *in; /* [count] */
    float *y;
    int64_t ldy, y_step, n;
    const float *bias;
    const int32_t *token; /* 0, 1, 2 ... n-1 */
    int64_t chunk; /* tokens that meet all weights before the next ones: their bytes stay in the second-level cache */
    size_t shared; /* bytes of scratch before the threads' slices */
} matmul_job;

static void add_bias(float *y, int64_t ldy, const float *bias, int64_t rows, int64_t n)
{
    for (int64_t t = 0; t < n; t++)
        for (int64_t r = 0; r < rows; r++)
            y[t * ldy + r] += bias[r];
}

/* Items are (chunk of tokens, matrix, block of rows). */
static void matmul_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
    const matmul_job *job = arg;
    arena a = arena_of_thread(job->ex, job->shared, thread);
    float *row = arena_take(&a, (size_t)job->w[0].cols, sizeof(float));
    int64_t blocks = blocks_of(&job->w[0]);
    for (int64_t i = begin; i < end; i++) {
        int64_t t = i / (blocks * job->count) * job->chunk, j = i / blocks % job->count, block = i % blocks;
        int64_t n = HD_MIN(job->chunk, job->n - t), first = block * HD_LANES;
        float *y = job->y + t * job->ldy + j * job->y_step + first;
        block_product(&job->w[j], block, &job->in[j], job->token + t, n, y, job->ldy, row);
        if (job->bias) add_bias(y, job->ldy, job->bias + first, HD_MIN(HD_LANES, job->w[j].rows - first), n);
    }
}

/* A quarter of a small second-level cache; whole tiles. */
#define CHUNK_BYTES (256 * 1024)

static void run_matmul(matmul_job *job)
{
    int64_t bytes = job->w[0].packed ? job->in[0].ldq : job->in[0].cols * (int64_t)sizeof(float);
    job->chunk = round_up(HD_MAX(1, CHUNK_BYTES / bytes), HD_TILE_TOKENS);
    int64_t items = blocks_of(&job->w[0]) * job->count * ((job->n + job->chunk - 1) / job->chunk);
    hd_pool_for(job->ex->pool, items, grain_of(job->ex, items), matmul_blocks, job);
}

static int32_t *count_tokens(arena *a, int64_t n)
{
    int32_t *token = arena_take(a, (size_t)n, sizeof *token);
    for (int64_t i = 0; token && i < n; i++)
        token[i] = (int32_t)i;
    return token;
}

static void fast_matmul(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias, const float *x,
                        int64_t ldx, int64_t n)
{
    arena a = {.base = ex->scratch};
    inputs in = {.x = x, .ldx = ldx, .cols = w->cols};
    matmul_job job = {.ex = ex, .w = w, .count = 1, .in = &in, .y = y, .ldy = ldy, .n = n, .bias = bias};
    job.token = count_tokens(&a, n);
    if (w->packed) {
        inputs_take(&in, &a, n, w->cols);
        quantize_rows(ex, &in, n);
    }
    job.shared = a.used;
    run_matmul(&job);
}

static void fast_matmul_heads(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w, int count,
                              const float *x, int64_t ldx, int64_t x_step, int64_t n)
{
    arena a = {.base = ex->scratch};
    inputs *in = arena_take(&a, (size_t)count, sizeof *in);
    matmul_job job = {.ex = ex, .w = w, .count = count, .in = in, .y = y, .ldy = ldy, .y_step = y_step, .n = n};
    job.token = count_tokens(&a, n);
    for (int j = 0; j < count; j++) {
        in[j] = (inputs){.x = x + j * x_step, .ldx = ldx, .cols = w[j].cols};
        if (!w[j].packed) continue;
        inputs_take(&in[j], &a, n, w[j].cols);
        quantize_rows(ex, &in[j], n);
    }
    job.shared = a.used;
    run_matmul(&job);
}

static hd_status fast_prepare(const hd_exec *ex, hd_matrix *m)
{
    if (!hd_pack_supported(m)) {
        m->layout = 0; /* the float kernels read the file's own layout */
        return HD_OK;
    }
    return hd_pack(ex->pool, m, HD_LANES, HD_UNSIGNED_CODES);
}

/* Scratch of the products above for n rows of at most `cols` values in each of `count` heads. */
static size_t matmul_scratch(int64_t n, int64_t cols, int64_t count, int threads)
{
    arena a = {0};
    inputs in;
    arena_take(&a, (size_t)count, sizeof in);
    count_tokens(&a, n);
    for (int64_t j = 0; j < count; j++)
        inputs_take(&in, &a, n, round_up(cols, HD_UNIT));
    for (int t = 0; t < threads; t++)
        arena_take(&a, (size_t)cols, sizeof(float));
    return a.used + (size_t)threads * HD_CACHE_LINE;
}
