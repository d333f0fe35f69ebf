/* kernels/cpu/fast_matmul.inc.h: products of weights and activations.
 *
 * Packed weights (pack.h) meet activations rounded to bytes (fast_quantize.inc.h) in integer dot products; scales and
 * sums are float32.  Plain float weights meet float32 activations.  Both work in blocks of HD_LANES rows.  A single row
 * of activations takes its units straight from memory; more rows share a panel, which is a stretch of the block
 * unpacked once.  A (row, token) result sums its columns in the same order in every form, so it does not depend on the
 * batch. */

/* ---- packed weights ---- */

/* What one plane of a unit adds to a token's sums. */
HD_INLINE vf add_plane(vf acc, const int groups, const bool has_min, const bool adds_min, const bool wide, int offset,
                       const vi *code, const vf *scale, const vf *min, const quant_unit *x)
{
    const int quads = 8 / groups; /* vectors of four columns that share a scale */
    HD_UNROLL
    for (int g = 0; g < groups; g++) {
        int32_t nsum = groups == 1 ? x->nsum : g == 0 ? x->nsum0 : x->nsum - x->nsum0;
        vi sum = has_min ? (vi){0} : vi_splat(offset * nsum);
        HD_UNROLL
        for (int j = g * quads; j < (g + 1) * quads; j++) {
            int32_t four;
            memcpy(&four, x->q + j * 4, sizeof four);
            sum = wide ? vi_dot4_wide(sum, code[j], four) : vi_dot4(sum, code[j], four);
        }
        acc = vf_fma(vf_of_int(sum), scale[g] * x->d, acc);
        if (adds_min && groups == 1) acc = vf_fma(min[0], vf_splat(x->part), acc);
        if (adds_min && groups == 2) acc = vf_fma(min[g], vf_splat(-(x->d * (float)nsum)), acc);
    }
    return acc;
}

HD_INLINE vf add_unit(vf acc, const int groups, const bool has_min, const bool wide, int offset, const vi *code,
                      const vf *scale, const vf *min, const quant_unit *x)
{
    return add_plane(acc, groups, has_min, has_min, wide, offset, code, scale, min, x);
}

/* The second plane.  With one group of minima, they are in the first plane's `part` already. */
HD_INLINE vf add_rest(vf acc, const int groups, const bool has_min, const bool wide, int offset, const vi *code,
                      const vf *scale, const vf *min, const quant_unit *x)
{
    return add_plane(acc, groups, has_min, has_min && groups == 2, wide, offset, code, scale, min, x);
}

/* One block of rows times one token. */
HD_INLINE void single_product(const hd_type type, const hd_packed *p, int64_t block, const inputs *in, int64_t token,
                              float *out)
{
    const form f = form_of(type);
    const uint8_t *at = p->data + (size_t)block * p->block_bytes;
    const quant_unit *x = in->main + token * in->ldq, *rest = in->rest + token * in->ldq;
    const uint8_t *has_rest = in->has_rest + token * in->ldr;
    vf sum = {0};
    for (int64_t u = 0; u < p->units;) {
        super_head h;
        load_head(type, at, &h);
        at += p->head_bytes;
        for (int i = 0; i < f.units; i++, u++, at += HD_LANES * 4 * f.bits) {
            unit w;
            load_codes(type, at, w.code);
            load_scales(type, &h, i, &w);
            sum = add_unit(sum, f.groups, f.has_min, f.wide, f.offset, w.code, w.scale, w.min, &x[u]);
            if (has_rest[u])
                sum = add_rest(sum, f.groups, f.has_min, f.wide, f.offset, w.code, w.scale, w.min, &rest[u]);
        }
    }
    vf_store(out, sum);
}

/* Units [u0, u0 + count) of a block, unpacked: of each the vectors of codes, scales and minima. */
typedef struct panel {
    vf *data;
    int groups, offset;
    bool has_min, wide;
    int64_t count;
} panel;

#define PANEL_VECTORS 12 /* of a unit at most */

HD_INLINE void unpack_type(const hd_type type, const hd_packed *p, int64_t block, int64_t u0, panel *out)
{
    const form f = form_of(type);
    const uint8_t *at = p->data + (size_t)block * p->block_bytes + (size_t)(u0 / f.units) * p->super_bytes;
    vf *to = out->data;
    out->groups = f.groups;
    out->has_min = f.has_min;
    out->offset = f.offset;
    out->wide = f.wide;
    for (int64_t u = 0; u < out->count;) {
        super_head h;
        load_head(type, at, &h);
        at += p->head_bytes;
        for (int i = 0; i < f.units; i++, u++, at += HD_LANES * 4 * f.bits) {
            unit w;
            load_codes(type, at, w.code);
            load_scales(type, &h, i, &w);
            memcpy(to, w.code, sizeof w.code);
            to += 8;
            for (int g = 0; g < f.groups; g++)
                *to++ = w.scale[g];
            for (int g = 0; f.has_min && g < f.groups; g++)
                *to++ = w.min[g];
        }
    }
}

/* Calls an inlined function with the type as a constant. */
#define FOR_TYPE(name, call)                                                                                           \
    case HD_TYPE_##name: {                                                                                             \
        const hd_type type = HD_TYPE_##name;                                                                           \
        call;                                                                                                          \
        break;                                                                                                         \
    }
#define WITH_TYPE(which, call)                                                                                         \
    switch (which) {                                                                                                   \
        FOR_TYPE(Q4_0, call)                                                                                           \
        FOR_TYPE(Q4_1, call)                                                                                           \
        FOR_TYPE(Q5_0, call)                                                                                           \
        FOR_TYPE(Q5_1, call)                                                                                           \
        FOR_TYPE(Q8_0, call)                                                                                           \
        FOR_TYPE(IQ4_NL, call)                                                                                         \
        FOR_TYPE(MXFP4, call)                                                                                          \
        FOR_TYPE(Q2_K, call)                                                                                           \
        FOR_TYPE(Q3_K, call)                                                                                           \
        FOR_TYPE(Q4_K, call)                                                                                           \
        FOR_TYPE(Q5_K, call)                                                                                           \
        FOR_TYPE(Q6_K, call)                                                                                           \
        FOR_TYPE(IQ4_XS, call)                                                                                         \
        FOR_TYPE(IQ3_XXS, call)                                                                                        \
        FOR_TYPE(IQ3_S, call)                                                                                          \
        FOR_TYPE(IQ2_XXS, call)                                                                                        \
        FOR_TYPE(IQ2_XS, call)                                                                                         \
        FOR_TYPE(IQ2_S, call)                                                                                          \
        FOR_TYPE(IQ1_S, call)                                                                                          \
        FOR_TYPE(IQ1_M, call)                                                                                          \
        FOR_TYPE(TQ1_0, call)                                                                                          \
        FOR_TYPE(TQ2_0, call)                                                                                          \
    default: break;                                                                                                    \
    }

static void unpack_panel(const hd_packed *p, int64_t block, int64_t u0, panel *out)
{
    WITH_TYPE(p->type, unpack_type(type, p, block, u0, out))
}

static void single_block(const hd_packed *p, int64_t block, const inputs *in, int64_t token,
                         float *out){WITH_TYPE(p->type, single_product(type, p, block, in, token, out))}

/* Which of the panel's units any of T tokens has a second plane of. */
HD_INLINE void collect_rests(const int T, const inputs *in, const int32_t *token, int64_t u0, uint8_t *any)
{
    uint64_t line[PANEL_UNITS / 8] = {0}, one[PANEL_UNITS / 8];
    HD_UNROLL
    for (int t = 0; t < T; t++) {
        memcpy(one, in->has_rest + token[t] * in->ldr + u0, sizeof one);
        for (int i = 0; i < PANEL_UNITS / 8; i++)
            line[i] |= one[i];
    }
    memcpy(any, line, sizeof line);
}

/* A panel times T tokens; adds to `out` unless the panel is the first one of its block. */
HD_INLINE void panel_tile(const int T, const int groups, const bool has_min, const bool wide, const panel *p,
                          int64_t u0, const inputs *in, const int32_t *token, float *out, int64_t ldo)
{
    const vf *at = p->data;
    vf sum[HD_TILE_TOKENS];
    const quant_unit *x[HD_TILE_TOKENS];
    uint8_t any[PANEL_UNITS];
    int64_t to_rest = in->rest - in->main;
    collect_rests(T, in, token, u0, any);
    HD_UNROLL
    for (int t = 0; t < T; t++) {
        sum[t] = u0 ? vf_load(out + t * ldo) : (vf){0};
        x[t] = in->main + token[t] * in->ldq + u0;
    }
    for (int64_t u = 0; u < p->count; u++, at += 8 + groups * (has_min ? 2 : 1)) {
        vi code[8];
        memcpy(code, at, sizeof code);
        HD_UNROLL
        for (int t = 0; t < T; t++)
            sum[t] = add_unit(sum[t], groups, has_min, wide, p->offset, code, at + 8, at + 8 + groups, x[t] + u);
        if (!any[u]) continue;
        HD_UNROLL
        for (int t = 0; t < T; t++)
            sum[t] =
                add_rest(sum[t], groups, has_min, wide, p->offset, code, at + 8, at + 8 + groups, x[t] + to_rest + u);
    }
    HD_UNROLL
    for (int t = 0; t < T; t++)
        vf_store(out + t * ldo, sum[t]);
}

HD_INLINE void panel_form(const int groups, const bool has_min, const bool wide, const panel *p, int64_t u0,
                          const inputs *in, const int32_t *token, int64_t n, float *out, int64_t ldo)
{
    int64_t t = 0;
    for (; t + HD_TILE_TOKENS <= n; t += HD_TILE_TOKENS)
        panel_tile(HD_TILE_TOKENS, groups, has_min, wide, p, u0, in, token + t, out + t * ldo, ldo);
    for (; HD_TILE_TOKENS > 4 && t + 4 <= n; t += 4)
        panel_tile(4, groups, has_min, wide, p, u0, in, token + t, out + t * ldo, ldo);
    for (; t < n; t++)
        panel_tile(1, groups, has_min, wide, p, u0, in, token + t, out + t * ldo, ldo);
}

static void panel_product(const panel *p, int64_t u0, const inputs *in, const int32_t *token, int64_t n, float *out,
                          int64_t ldo)
{
    if (p->wide && HD_WIDE_BIAS == 0)
        panel_form(1, false, true, p, u0, in, token, n, out, ldo);
    else if (p->has_min && p->groups == 1)
        panel_form(1, true, false, p, u0, in, token, n, out, ldo);
    else if (p->has_min)
        panel_form(2, true, false, p, u0, in, token, n, out, ldo);
    else if (p->groups == 1)
        panel_form(1, false, false, p, u0, in, token, n, out, ldo);
    else
        panel_form(2, false, false, p, u0, in, token, n, out, ldo);
}

/* `room` holds a panel. */
static void packed_block(const hd_packed *p, int64_t block, const inputs *in, const int32_t *token, int64_t n,
                         float *out, int64_t ldo, float *room)
{
    if (n == 1) {
        single_block(p, block, in, token[0], out);
        return;
    }
    for (int64_t u0 = 0; u0 < p->units; u0 += PANEL_UNITS) {
        panel part = {.data = (vf *)(void *)room, .count = HD_MIN(PANEL_UNITS, p->units - u0)};
        unpack_panel(p, block, u0, &part);
        panel_product(&part, u0, in, token, n, out, ldo);
    }
}

/* ---- any weights ---- */

static int64_t blocks_of(const hd_matrix *m)
{
    return (m->rows + HD_LANES - 1) / HD_LANES;
}

/* out[i][0..rows of the block) = block of m times input row token[i], i < n.  The last block of a matrix may be short;
 * a packed block goes through `edge` [EDGE_TOKENS][HD_LANES] then.  `room` has room_floats(cols). */
#define EDGE_TOKENS 32

/* A panel, or a row of weights decoded to float32. */
static size_t room_floats(int64_t cols)
{
    return HD_MAX((size_t)cols, (size_t)PANEL_UNITS * PANEL_VECTORS * HD_LANES);
}

static void block_product(const hd_matrix *m, int64_t block, const inputs *in, const int32_t *token, int64_t n,
                          float *out, int64_t ldo, float *room)
{
    int64_t first = block * HD_LANES, rows = HD_MIN(HD_LANES, m->rows - first);
    if (!m->packed) {
        float_block(m, first, rows, in, token, n, out, ldo, room);
        return;
    }
    if (rows == HD_LANES) {
        packed_block(m->packed, block, in, token, n, out, ldo, room);
        return;
    }
    float edge[EDGE_TOKENS * HD_LANES];
    for (int64_t t = 0; t < n; t += EDGE_TOKENS) {
        int64_t count = HD_MIN(EDGE_TOKENS, n - t);
        packed_block(m->packed, block, in, token + t, count, edge, HD_LANES, room);
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
    float *room = arena_take(&a, room_floats(job->w[0].cols), sizeof(float));
    int64_t blocks = blocks_of(&job->w[0]);
    for (int64_t i = begin; i < end; i++) {
        int64_t t = i / (blocks * job->count) * job->chunk, j = i / blocks % job->count, block = i % blocks;
        int64_t n = HD_MIN(job->chunk, job->n - t), first = block * HD_LANES;
        float *y = job->y + t * job->ldy + j * job->y_step + first;
        block_product(&job->w[j], block, &job->in[j], job->token + t, n, y, job->ldy, room);
        if (job->bias) add_bias(y, job->ldy, job->bias + first, HD_MIN(HD_LANES, job->w[j].rows - first), n);
    }
}

/* A quarter of a small second-level cache; whole tiles. */
#define CHUNK_BYTES (256 * 1024)

static void run_matmul(matmul_job *job)
{
    int64_t bytes =
        job->w[0].packed ? job->in[0].ldq * (int64_t)sizeof(quant_unit) : job->in[0].cols * (int64_t)sizeof(float);
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
    return hd_pack(ex->pool, m, HD_LANES, HD_WIDE_BIAS);
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
        arena_take(&a, room_floats(cols), sizeof(float));
    return a.used + (size_t)threads * HD_CACHE_LINE;
}
