/* kernels/cpu/fast_elementwise.inc.h: operators without weights: norm, rotation, storing rows, activation. */

/* Values that a thread takes at a time. */
#define ELEMENT_GRAIN 16384

typedef struct rows_job {
    float *out;
    const float *x, *weight;
    int64_t ldo, ldx, cols;
    float eps;
} rows_job;

static void norm_row(const float *x, const float *weight, float *out, int64_t cols, float eps)
{
    vf squares = {0};
    int64_t c = 0;
    float rest = 0.0f;
    for (; c + HD_LANES <= cols; c += HD_LANES)
        squares = vf_fma(vf_load(x + c), vf_load(x + c), squares);
    for (int64_t i = c; i < cols; i++)
        rest += x[i] * x[i];
    float scale = 1.0f / sqrtf((vf_sum(squares) + rest) / (float)cols + eps);
    for (c = 0; c + HD_LANES <= cols; c += HD_LANES)
        vf_store(out + c, vf_load(x + c) * scale * vf_load(weight + c));
    for (; c < cols; c++)
        out[c] = x[c] * scale * weight[c];
}

static void norm_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const rows_job *job = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        norm_row(job->x + i * job->ldx, job->weight, job->out + i * job->ldo, job->cols, job->eps);
}

static void fast_rms_norm(const hd_exec *ex, float *out, int64_t ldo, const float *x, int64_t ldx, const float *weight,
                          int64_t cols, float eps, int64_t n)
{
    rows_job job = {.out = out, .x = x, .weight = weight, .ldo = ldo, .ldx = ldx, .cols = cols, .eps = eps};
    hd_pool_for(ex->pool, n, HD_MAX(1, ELEMENT_GRAIN / cols), norm_rows, &job);
}

typedef struct rope_job {
    float *x;
    int64_t ldx, step;
    int count;
    const hd_rope *rope;
} rope_job;

static void rotate_halves(float *restrict x, int half, const float *restrict c, const float *restrict s)
{
    for (int i = 0; i < half; i++) {
        float a = x[i], b = x[half + i];
        x[i] = a * c[i] - b * s[i];
        x[half + i] = a * s[i] + b * c[i];
    }
}

static void rotate_adjacent(float *restrict x, int half, const float *restrict c, const float *restrict s)
{
    for (int i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c[i] - b * s[i];
        x[2 * i + 1] = a * s[i] + b * c[i];
    }
}

static void rope_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const rope_job *job = arg;
    int dim = job->rope->dim, half = dim / 2;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *c = job->rope->table + i * dim;
        for (int v = 0; v < job->count; v++) {
            float *x = job->x + i * job->ldx + v * job->step;
            if (job->rope->adjacent)
                rotate_adjacent(x, half, c, c + half);
            else
                rotate_halves(x, half, c, c + half);
        }
    }
}

static void fast_rope(const hd_exec *ex, float *x, int64_t ldx, int64_t step, int count, const hd_rope *rope, int64_t n)
{
    rope_job job = {.x = x, .ldx = ldx, .step = step, .count = count, .rope = rope};
    hd_pool_for(ex->pool, n, HD_MAX(1, ELEMENT_GRAIN / ((int64_t)count * rope->dim)), rope_rows, &job);
}

typedef struct store_job {
    const hd_rows *rows;
    const float *x;
    int64_t ldx, pos0;
    int at, width;
} store_job;

static void store_f16(uint16_t *to, const float *x, int width)
{
    int c = 0;
    for (; c + HD_LANES <= width; c += HD_LANES)
        vf_store_f16(to + c, vf_load(x + c));
    for (; c < width; c++)
        to[c] = hd_f32_to_f16(x[c]);
}

/* As hd_encode_row does, to the bit (but that blocks of numbers below 2^-126 alone are zeros with the scale 0). */
static void store_q8_0(uint8_t *to, const float *x, int width)
{
    for (int c = 0; c < width; c += Q8_BLOCK, to += 2 + Q8_BLOCK) {
        vf most = {0};
        vi odd = {0};
        for (int i = 0; i < Q8_BLOCK; i += HD_LANES) {
            vf v = vf_load(x + c + i);
            most = vf_max(most, (vf)((vi)v & 0x7fffffff));
            odd |= ((vi)v & 0x7f800000) == 0x7f800000; /* infinities and NaN */
        }
        float largest = 0.0f;
        for (int i = 0; i < HD_LANES; i++)
            largest = HD_MAX(largest, most[i]);
        float inverse;
        uint16_t scale = hd_q8_0_scale(vi_any(odd) ? NAN : largest, &inverse);
        memcpy(to, &scale, sizeof scale);
        for (int i = 0; i < Q8_BLOCK; i += HD_LANES)
            vf_store_i8((int8_t *)to + 2 + i, inverse == 0.0f ? (vf){0} : vf_load(x + c + i) * inverse);
    }
}

static void store_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const store_job *job = arg;
    const hd_rows *rows = job->rows;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *x = job->x + i * job->ldx;
        uint8_t *to = hd_row_at(rows, job->pos0 + i, job->at);
        if (rows->type == HD_TYPE_F16)
            store_f16((uint16_t *)(void *)to, x, job->width);
        else if (rows->type == HD_TYPE_Q8_0)
            store_q8_0(to, x, job->width);
        else
            (void)hd_encode_row(rows->type, x, to, job->width);
    }
}

static void fast_store_rows(const hd_exec *ex, const hd_rows *rows, int at, const float *x, int64_t ldx, int width,
                            int64_t pos0, int64_t n)
{
    store_job job = {.rows = rows, .x = x, .ldx = ldx, .pos0 = pos0, .at = at, .width = width};
    hd_pool_for(ex->pool, n, HD_MAX(1, ELEMENT_GRAIN / width), store_range, &job);
}

static void swiglu_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const rows_job *job = arg;
    int64_t i = begin;
    (void)thread;
    for (; i + HD_LANES <= end; i += HD_LANES)
        vf_store(job->out + i, vf_silu(vf_load(job->out + i)) * vf_load(job->x + i));
    if (i == end) return;
    float gate[HD_LANES] = {0}, up[HD_LANES] = {0}; /* the same arithmetic for the rest, wherever a batch puts it */
    memcpy(gate, job->out + i, (size_t)(end - i) * sizeof(float));
    memcpy(up, job->x + i, (size_t)(end - i) * sizeof(float));
    vf_store(gate, vf_silu(vf_load(gate)) * vf_load(up));
    memcpy(job->out + i, gate, (size_t)(end - i) * sizeof(float));
}

static void fast_swiglu(const hd_exec *ex, float *gate, const float *up, int64_t cols, int64_t n)
{
    rows_job job = {.out = gate, .x = up};
    hd_pool_for(ex->pool, cols * n, ELEMENT_GRAIN, swiglu_range, &job);
}

static void add_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const rows_job *job = arg;
    int64_t i = begin;
    (void)thread;
    for (; i + HD_LANES <= end; i += HD_LANES)
        vf_store(job->out + i, vf_load(job->out + i) + vf_load(job->x + i));
    for (; i < end; i++)
        job->out[i] += job->x[i];
}

static void fast_add(const hd_exec *ex, float *x, const float *y, int64_t cols, int64_t n)
{
    rows_job job = {.out = x, .x = y};
    hd_pool_for(ex->pool, cols * n, ELEMENT_GRAIN, add_range, &job);
}

#define LOW_RANK_VECTORS 4 /* of y that are summed side by side */

/* V vectors of a row of y. */
HD_INLINE void low_rank_vectors(const int V, float *y, const float *b, const float *t, int64_t rank)
{
    vf sum[LOW_RANK_VECTORS];
    HD_UNROLL
    for (int v = 0; v < V; v++)
        sum[v] = (vf){0};
    for (int64_t j = 0; j < rank; j++, b += HD_LOW_RANK_ROWS) {
        vf factor = vf_splat(t[j]);
        HD_UNROLL
        for (int v = 0; v < V; v++)
            sum[v] = vf_fma(factor, vf_load(b + v * HD_LANES), sum[v]);
    }
    HD_UNROLL
    for (int v = 0; v < V; v++)
        vf_store(y + v * HD_LANES, vf_load(y + v * HD_LANES) + sum[v]);
}

static void fast_add_low_rank(float *y, int64_t ldy, const float *b, const float *t, int64_t rank, int64_t rows,
                              int64_t n)
{
    for (int64_t i = 0; i < n; i++, y += ldy, t += rank) {
        int64_t r = 0;
        for (; r + LOW_RANK_VECTORS * HD_LANES <= rows; r += LOW_RANK_VECTORS * HD_LANES)
            low_rank_vectors(LOW_RANK_VECTORS, y + r, b + r, t, rank);
        for (; r + HD_LANES <= rows; r += HD_LANES)
            low_rank_vectors(1, y + r, b + r, t, rank);
        if (r < rows) hd_reference_add_low_rank(y + r, ldy, b + r, t, rank, rows - r, 1);
    }
}
