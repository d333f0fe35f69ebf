/* kernels/cpu/fast_matmul.inc.h: products of weights and activations.
 *
 * Packed weights (pack.h) meet activations rounded to bytes (fast_quantize.inc.h) in integer dot products; scales and
 * sums are float32.  Plain float weights meet float32 activations.  Both work in blocks of HD_LANES rows.  A few rows
 * of activations take their units straight from memory; more rows share a panel, a stretch of the block unpacked once.
 * A (row, token) result sums its columns in the same order in every form, so it does not depend on the batch. */

/* ---- packed weights ---- */

/* How the units of a product are added up; constant wherever it is inlined. */
typedef struct summing {
    int groups;
    bool has_min, wide;
} summing;

/* Minus the sum of the bytes of row t in group g. */
HD_INLINE int32_t group_nsum(const summing f, const int g, const int M, unit_view x, const int t)
{
    if (f.groups == 1) return unit_int(M, x, t, FIELD_NSUM);
    return g == 0 ? unit_int(M, x, t, FIELD_NSUM0) : unit_int(M, x, t, FIELD_NSUM) - unit_int(M, x, t, FIELD_NSUM0);
}

/* One group of a unit: scales a sum of products of row t and adds it. */
HD_INLINE vf add_group(vf acc, const summing f, const bool adds_min, const int g, vi sum, const vf *scale,
                       const vf *min, const int M, unit_view x, const int t)
{
    float d = unit_float(M, x, t, FIELD_D);
    acc = vf_fma(vf_of_int(sum), scale[g] * d, acc);
    if (adds_min && f.groups == 1) acc = vf_fma(min[0], vf_splat(unit_float(M, x, t, FIELD_PART)), acc);
    if (adds_min && f.groups == 2) acc = vf_fma(min[g], vf_splat(-(d * (float)group_nsum(f, g, M, x, t))), acc);
    return acc;
}

/* sum[t] += code[first .. end) times row t.  Rows go side by side: one row's dot products alone would wait for each
 * other. */
HD_INLINE void dot_quads(const int T, const bool wide, vi *sum, const vi *code, int first, int end, unit_view x)
{
#if defined(HD_DOT_PAIRS)
    HD_UNROLL
    for (int t = 0; t + 2 <= T; t += 2) {
        const uint8_t *x0 = x.q + t * HD_UNIT, *x1 = x0 + HD_UNIT;
        vi acc[2] = {{0}};
        HD_UNROLL
        for (int j = first; j < end; j += 2)
            vi_dot_pair(acc, code[j], code[j + 1], x0 + 4 * j, x1 + 4 * j);
        vi_pair_sums(acc, &sum[t], &sum[t + 1]);
    }
    const int t0 = T / 2 * 2;
#else
    const int t0 = 0;
#endif
    HD_UNROLL
    for (int j = first; j < end; j++)
        HD_UNROLL
    for (int t = t0; t < T; t++)
        sum[t] =
            wide ? vi_dot4_wide(sum[t], code[j], unit_four(x, t, j)) : vi_dot4(sum[t], code[j], unit_four(x, t, j));
}

/* What one plane of a unit adds to T rows of a tile of M. */
HD_INLINE void add_plane(const int T, vf *acc, const summing f, const bool adds_min, int offset, const vi *code,
                         const vf *scale, const vf *min, const int M, unit_view x)
{
    const int quads = 8 / f.groups; /* vectors of four columns that share a scale */
    HD_UNROLL
    for (int g = 0; g < f.groups; g++) {
        vi sum[TILE];
        HD_UNROLL
        for (int t = 0; t < T; t++)
            sum[t] = f.has_min ? (vi){0} : vi_splat(offset * group_nsum(f, g, M, x, t));
        dot_quads(T, f.wide, sum, code, g * quads, (g + 1) * quads, x);
        HD_UNROLL
        for (int t = 0; t < T; t++)
            acc[t] = add_group(acc[t], f, adds_min, g, sum[t], scale, min, M, x, t);
    }
}

HD_INLINE void add_unit(const int T, vf *acc, const summing f, int offset, const vi *code, const vf *scale,
                        const vf *min, const int M, unit_view x)
{
    add_plane(T, acc, f, f.has_min, offset, code, scale, min, M, x);
}

/* Whether the second plane meets minima: with one group of them, they are in the first plane's `part` already. */
HD_INLINE bool rest_adds_min(const summing f)
{
    return f.has_min && f.groups == 2;
}

/* The second plane. */
HD_INLINE void add_rest(const int T, vf *acc, const summing f, int offset, const vi *code, const vf *scale,
                        const vf *min, const int M, unit_view x)
{
    add_plane(T, acc, f, rest_adds_min(f), offset, code, scale, min, M, x);
}

/* So many rows don't repay a panel; nor do any in tiles of one: a single token, where a forced choice of experts that
 * names one more than once gives that one several slots. */
#define FEW_ROWS 4

/* One block of rows times the n <= T first rows of a tile of M, units straight from memory. */
HD_INLINE void few_product(const hd_type type, const int T, const int M, const hd_packed *p, int64_t block,
                           const inputs *in, int64_t slot, int64_t n, float *out, int64_t ldo, hd_ahead *ahead)
{
    const form f = form_of(type);
    const summing how = {f.groups, f.has_min, f.wide};
    const uint8_t *at = p->data + (size_t)block * p->block_bytes;
    const uint8_t *main = in->main + (size_t)(slot / M) * tile_bytes_of(in);
    const uint8_t *has_rest = in->has_rest + slot / M * in->units;
    const ptrdiff_t to_rest = in->rest - in->main;
    unit_view x = unit_from(M, main, 0);
    vf sum[FEW_ROWS] = {{0}};
    const size_t unit_bytes = HD_LANES * 4 * (size_t)f.bits; /* whole lines; heads need not be */
    /* Zen 4 reads best when left to itself: small supers always, codes of one plane too (ahead.h). */
    const bool asks = ahead->streams > 1 || (f.units > 1 && f.bits % 4 != 0);
    hd_ask ask = hd_ahead_ask(ahead);
    size_t head = 0;
    for (int64_t u = 0; u < p->units;) {
        super_head h;
        head = head % HD_CACHE_LINE + p->head_bytes;
        if (asks) hd_ask_lines(&ask, head);
        load_head(type, at, &h);
        at += p->head_bytes;
        for (int i = 0; i < f.units; i++, u++, at += HD_LANES * 4 * f.bits) {
            unit w;
            if (asks) hd_ask_lines(&ask, unit_bytes);
            load_codes(type, at, w.code);
            load_scales(type, &h, i, &w);
            add_unit(T, sum, how, f.offset, w.code, w.scale, w.min, M, x);
            if (has_rest[u]) add_rest(T, sum, how, f.offset, w.code, w.scale, w.min, M, unit_moved(x, to_rest));
            x = unit_moved(x, M * (ptrdiff_t)sizeof(quant_unit));
        }
    }
    HD_UNROLL
    for (int t = 0; t < T; t++)
        if (t < n) vf_store(out + t * ldo, sum[t]);
}

/* Units [u0, u0 + count) of a block, unpacked: of each the vectors of codes, scales and minima. */
typedef struct panel {
    vf *data;
    summing how;
    int offset;
    int64_t count;
} panel;

#define PANEL_VECTORS 12 /* of a unit at most */

HD_INLINE int panel_width(const summing f)
{
    return 8 + f.groups * (f.has_min ? 2 : 1);
}

#if defined(HD_AMX)
#include "kernels/cpu/fast_amx.inc.h"
#endif

/* Four columns of each row as a panel has them: AMX multiplies signed codes. */
HD_INLINE vi panel_code(vi code, const form f)
{
#if defined(HD_AMX)
    return vi_sub_bytes(code, f.offset);
#else
    (void)f;
    return code;
#endif
}

HD_INLINE void unpack_type(const hd_type type, const hd_packed *p, int64_t block, int64_t u0, panel *out)
{
    const form f = form_of(type);
    const uint8_t *at = p->data + (size_t)block * p->block_bytes + (size_t)(u0 / f.units) * p->super_bytes;
    vf *to = out->data;
    out->how = (summing){f.groups, f.has_min, f.wide};
    out->offset = f.offset;
    size_t bytes = (size_t)(out->count / f.units) * p->super_bytes; /* the next panel has as many, as a rule */
    hd_ask ask = hd_ask_for((hd_segment){at + bytes, bytes}, hd_cpu_streams());
    for (int64_t u = 0; u < out->count;) {
        super_head h;
        hd_ask_lines(&ask, p->super_bytes);
        load_head(type, at, &h);
        at += p->head_bytes;
        for (int i = 0; i < f.units; i++, u++, at += HD_LANES * 4 * f.bits) {
            unit w;
            load_codes(type, at, w.code);
            load_scales(type, &h, i, &w);
            for (int j = 0; j < 8; j++)
                *to++ = (vf)panel_code(w.code[j], f);
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
        FOR_TYPE(I8, call)                                                                                             \
    default: break;                                                                                                    \
    }

static void unpack_panel(const hd_packed *p, int64_t block, int64_t u0, panel *out)
{
    WITH_TYPE(p->type, unpack_type(type, p, block, u0, out))
}

static void few_block(const hd_packed *p, int64_t block, const inputs *in, int64_t slot, int64_t n, float *out,
                      int64_t ldo, hd_ahead *ahead)
{
    if (in->tile == 1)
        for (int64_t i = 0; i < n; i++)
            WITH_TYPE(p->type, few_product(type, 1, 1, p, block, in, slot + i, 1, out + i * ldo, ldo, ahead))
    else if (n <= 2)
        WITH_TYPE(p->type, few_product(type, 2, TILE, p, block, in, slot, n, out, ldo, ahead))
    else
        WITH_TYPE(p->type, few_product(type, FEW_ROWS, TILE, p, block, in, slot, n, out, ldo, ahead))
}

#if !defined(HD_AMX)

/* A panel times rows [t, t + T) of a tile; adds to `out` unless the panel is the first one of its block. */
HD_INLINE void panel_tile(const int T, const summing f, const panel *p, int64_t u0, const inputs *in, int64_t tile,
                          int t, float *out, int64_t ldo)
{
    const ptrdiff_t step = TILE * (ptrdiff_t)sizeof(quant_unit);
    unit_view x = unit_from(TILE, in->main + (size_t)tile * tile_bytes_of(in) + u0 * step, t);
    const uint8_t *any = in->has_rest + tile * in->units + u0;
    const ptrdiff_t to_rest = in->rest - in->main;
    const vf *at = p->data;
    vf sum[TILE];
    HD_UNROLL
    for (int i = 0; i < T; i++)
        sum[i] = u0 ? vf_load(out + i * ldo) : (vf){0};
    for (int64_t u = 0; u < p->count; u++, at += panel_width(f)) {
        const vi *code = (const vi *)at;
        const vf *scale = at + 8, *min = at + 8 + f.groups;
        add_unit(T, sum, f, p->offset, code, scale, min, TILE, x);
        if (any[u]) add_rest(T, sum, f, p->offset, code, scale, min, TILE, unit_moved(x, to_rest));
        x = unit_moved(x, step);
    }
    HD_UNROLL
    for (int i = 0; i < T; i++)
        vf_store(out + i * ldo, sum[i]);
}

/* The same for n rows of a tile. */
HD_INLINE void panel_rows(const summing f, const panel *p, int64_t u0, const inputs *in, int64_t tile, int n,
                          float *out, int64_t ldo)
{
    int t = 0;
    for (; t + HD_TILE_TOKENS <= n; t += HD_TILE_TOKENS)
        panel_tile(HD_TILE_TOKENS, f, p, u0, in, tile, t, out + t * ldo, ldo);
    for (; HD_TILE_TOKENS > 4 && t + 4 <= n; t += 4)
        panel_tile(4, f, p, u0, in, tile, t, out + t * ldo, ldo);
    for (; t < n; t++)
        panel_tile(1, f, p, u0, in, tile, t, out + t * ldo, ldo);
}

#endif

/* A panel times the rows in slots [slot, slot + n); slot is the first of a tile. */
HD_INLINE void panel_form(const summing f, const panel *p, int64_t u0, const inputs *in, int64_t slot, int64_t n,
                          float *out, int64_t ldo)
{
#if defined(HD_AMX)
    amx_form(f, p, u0, in, slot, n, out, ldo);
#else
    for (int64_t t = 0; t < n; t += TILE)
        panel_rows(f, p, u0, in, (slot + t) / TILE, (int)HD_MIN(TILE, n - t), out + t * ldo, ldo);
#endif
}

static void panel_product(const panel *p, int64_t u0, const inputs *in, int64_t slot, int64_t n, float *out,
                          int64_t ldo)
{
    if (p->how.wide && HD_WIDE_BIAS == 0)
        panel_form((summing){1, false, true}, p, u0, in, slot, n, out, ldo);
    else if (p->how.has_min && p->how.groups == 1)
        panel_form((summing){1, true, false}, p, u0, in, slot, n, out, ldo);
    else if (p->how.has_min)
        panel_form((summing){2, true, false}, p, u0, in, slot, n, out, ldo);
    else if (p->how.groups == 1)
        panel_form((summing){1, false, false}, p, u0, in, slot, n, out, ldo);
    else
        panel_form((summing){2, false, false}, p, u0, in, slot, n, out, ldo);
}

/* What a thread works with. */
typedef struct desk {
    float *room;     /* [room_floats] for a panel, or a row of weights decoded to float32 */
    hd_ahead *ahead; /* through the weights */
} desk;

static void packed_block(const hd_packed *p, int64_t block, const inputs *in, int64_t slot, int64_t n, float *out,
                         int64_t ldo, const desk *at)
{
    if (n <= FEW_ROWS || in->tile == 1) {
        few_block(p, block, in, slot, n, out, ldo, at->ahead);
        return;
    }
    for (int64_t u0 = 0; u0 < p->units; u0 += PANEL_UNITS) {
        panel part = {.data = (vf *)(void *)at->room, .count = HD_MIN(PANEL_UNITS, p->units - u0)};
        unpack_panel(p, block, u0, &part);
        panel_product(&part, u0, in, slot, n, out, ldo);
    }
}

/* ---- any weights ---- */

static int64_t blocks_of(const hd_matrix *m)
{
    return (m->rows + HD_LANES - 1) / HD_LANES;
}

static size_t room_floats(int64_t cols)
{
    return HD_MAX((size_t)cols, (size_t)PANEL_UNITS * PANEL_VECTORS * HD_LANES);
}

/* The scales of rows of a matrix of I8 (HD_LANES rows from `first` on, less at its end), last of all. */
static void scale_rows_by(const hd_matrix *m, int64_t first, int64_t rows, int64_t n, float *out, int64_t ldo)
{
    const float *scale = hd_matrix_row_scales(m, first);
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < rows; r++)
            out[i * ldo + r] *= scale[r * m->scale_stride];
}

/* out[i][0..rows of the block) = block of m times the row in slot + i, i < n; slot is the first of a tile.  The last
 * block of a matrix may be short; a packed block goes through `edge` then. */
static void block_product(const hd_matrix *m, int64_t block, const inputs *in, int64_t slot, int64_t n, float *out,
                          int64_t ldo, const desk *at)
{
    int64_t first = block * HD_LANES, rows = HD_MIN(HD_LANES, m->rows - first);
    if (!m->packed) {
        float_block(m, first, rows, in, slot, n, out, ldo, at->room);
        return;
    }
    if (rows == HD_LANES) {
        packed_block(m->packed, block, in, slot, n, out, ldo, at);
        if (m->scale) scale_rows_by(m, first, rows, n, out, ldo);
        return;
    }
    float edge[TILE * HD_LANES];
    for (int64_t t = 0; t < n; t += TILE) {
        int64_t count = HD_MIN(TILE, n - t);
        packed_block(m->packed, block, in, slot + t, count, edge, HD_LANES, at);
        for (int64_t i = 0; i < count; i++)
            memcpy(out + (t + i) * ldo, edge + i * HD_LANES, (size_t)rows * sizeof(float));
    }
    if (m->scale) scale_rows_by(m, first, rows, n, out, ldo);
}

/* The weights of a block; nothing of those that aren't packed, whose rows are read side by side. */
static hd_segment segment_of(const hd_matrix *m, int64_t block)
{
    const hd_packed *p = m->packed;
    if (!p) return (hd_segment){0};
    return (hd_segment){p->data + (size_t)block * p->block_bytes, p->block_bytes};
}

/* Before a loop: no thread has read anything of it. */
static void forget_ahead(hd_ahead *ahead, const hd_exec *ex)
{
    int streams = hd_cpu_streams();
    for (int t = 0; t < hd_pool_threads(ex->pool); t++)
        hd_ahead_forget(&ahead[t], streams);
}

/* ---- operators ---- */

/* One of the matrices that a run multiplies. */
typedef struct matmul_part {
    hd_product to;
    const inputs *in;
} matmul_part;

/* A thread's own copy of a single row of activations as bytes. */
typedef struct own_inputs {
    _Alignas(HD_CACHE_LINE) inputs in;
    const inputs *of; /* what it is a copy of; NULL: nothing yet */
} own_inputs;

typedef struct matmul_job {
    const hd_exec *ex;
    matmul_part *parts;
    int64_t *first; /* [count] number of each part's first block among those of all */
    int count;
    int64_t blocks; /* of all parts */
    int64_t n;
    int64_t chunk; /* tokens that meet all weights before the next ones: their bytes stay in the second-level cache */
    int64_t items, grain; /* of the loop */
    hd_ahead *ahead;      /* [threads] */
    own_inputs *own;      /* [threads], or NULL: activations were rounded before the loop */
    size_t shared;        /* bytes of scratch before the threads' slices */
} matmul_job;

static void add_bias(float *y, int64_t ldy, const float *bias, int64_t rows, int64_t n)
{
    for (int64_t t = 0; t < n; t++)
        for (int64_t r = 0; r < rows; r++)
            y[t * ldy + r] += bias[r];
}

/* What item i reads. */
static hd_segment matmul_segment(const void *arg, int64_t i)
{
    const matmul_job *job = arg;
    int part = run_of_item(job->first, job->count, i % job->blocks);
    return segment_of(job->parts[part].to.w, i % job->blocks - job->first[part]);
}

/* A single row of so many columns at most is rounded by each thread for itself: a microsecond or two, in which its
 * first weights are on their way.  Rounded by one thread for all, it would have to travel from cache to cache, and to
 * be waited for. */
#define OWN_COLS 8192

static bool rounds_own(int64_t n, int64_t cols)
{
    return n == 1 && cols <= OWN_COLS;
}

/* A thread's copy of the first slot of `in`, in its slice of scratch from `a` on. */
static const inputs *own_inputs_of(own_inputs *own, const inputs *in, arena a)
{
    if (own->of == in) return &own->in;
    own->of = in;
    own->in = *in;
    inputs_take(&own->in, &a, 1, 1, in->cols);
    quantize_row(&own->in, 0, 0, own->in.units);
    return &own->in;
}

/* Items are (chunk of tokens, block of rows). */
static void matmul_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
    const matmul_job *job = arg;
    arena a = arena_of_thread(job->ex, job->shared, thread);
    desk at = {arena_take(&a, room_floats(job->parts[0].to.w->cols), sizeof(float)), &job->ahead[thread]};
    int64_t last = hd_pool_for_end(job->ex->pool, job->items, job->grain, begin, thread);
    for (int64_t i = begin; i < end; i++) {
        int part = run_of_item(job->first, job->count, i % job->blocks);
        const hd_product *to = &job->parts[part].to;
        int64_t t = i / job->blocks * job->chunk, block = i % job->blocks - job->first[part], first = block * HD_LANES;
        int64_t n = HD_MIN(job->chunk, job->n - t);
        float *y = to->y + t * to->ldy + first;
        const inputs *in = job->parts[part].in;
        hd_ahead_begin(at.ahead, matmul_segment, job, i, last);
        if (job->own && to->w->packed) in = own_inputs_of(&job->own[thread], in, a);
        block_product(to->w, block, in, t, n, y, to->ldy, &at);
        if (to->bias) add_bias(y, to->ldy, to->bias + first, HD_MIN(HD_LANES, to->w->rows - first), n);
    }
}

/* Fewer tokens would not repay unpacking a panel, even of rows so long that these leave the second-level cache. */
#define CHUNK_MIN 48

/* A quarter to half of a second-level cache; whole tiles. */
static int64_t chunk_of(const inputs *in, bool packed)
{
    int64_t bytes = packed ? in->units * (int64_t)sizeof(quant_unit) : in->cols * (int64_t)sizeof(float);
    return round_up(HD_MAX(CHUNK_MIN, HD_CHUNK_BYTES / bytes), TILE);
}

/* One more part, behind those before it. */
static void add_part(matmul_job *job, hd_product to, const inputs *in)
{
    job->first[job->count] = job->blocks;
    job->parts[job->count++] = (matmul_part){.to = to, .in = in};
    job->blocks += blocks_of(to.w);
}

static own_inputs *take_own(arena *a, int threads)
{
    own_inputs *own = arena_take(a, (size_t)threads, sizeof *own);
    for (int t = 0; own && t < threads; t++)
        own[t].of = NULL;
    return own;
}

/* What the threads have in a loop over all parts. */
static void take_threads(matmul_job *job, arena *a, bool own)
{
    int threads = hd_pool_threads(job->ex->pool);
    job->ahead = arena_take(a, (size_t)threads, sizeof(hd_ahead));
    if (own) job->own = take_own(a, threads);
    job->shared = a->used;
}

static void run_matmul(matmul_job *job, bool packed)
{
    job->chunk = chunk_of(job->parts[0].in, packed);
    job->items = job->blocks * ((job->n + job->chunk - 1) / job->chunk);
    job->grain = grain_of(job->ex, job->items);
    forget_ahead(job->ahead, job->ex);
    hd_pool_for(job->ex->pool, job->items, job->grain, matmul_blocks, job);
}

static void fast_matmul_shared(const hd_exec *ex, const hd_product *products, int count, const float *x, int64_t ldx,
                               int64_t n)
{
    arena a = {.base = ex->scratch};
    matmul_part parts[HD_PRODUCTS_MAX];
    int64_t first[HD_PRODUCTS_MAX];
    matmul_job job = {.ex = ex, .parts = parts, .first = first, .n = n};
    inputs in = {.x = x, .ldx = ldx};
    bool packed = false;
    inputs_take(&in, &a, n, tile_for(n), products[0].w->cols);
    for (int i = 0; i < count; i++) {
        add_part(&job, products[i], &in);
        packed |= products[i].w->packed != NULL;
    }
    bool own = packed && rounds_own(n, in.cols);
    if (packed && !own) quantize(ex, &in);
    take_threads(&job, &a, own);
    run_matmul(&job, packed);
}

static void fast_matmul(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias, const float *x,
                        int64_t ldx, int64_t n)
{
    const hd_product one = {.y = y, .ldy = ldy, .w = w, .bias = bias};
    fast_matmul_shared(ex, &one, 1, x, ldx, n);
}

static void fast_matmul_heads(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w, int count,
                              const float *x, int64_t ldx, int64_t x_step, int64_t n)
{
    arena a = {.base = ex->scratch};
    matmul_job job = {.ex = ex, .n = n};
    job.parts = arena_take(&a, (size_t)count, sizeof *job.parts);
    job.first = arena_take(&a, (size_t)count, sizeof *job.first);
    inputs *in = arena_take(&a, (size_t)count, sizeof *in);
    for (int j = 0; j < count; j++) {
        in[j] = (inputs){.x = x + j * x_step, .ldx = ldx};
        inputs_take(&in[j], &a, n, tile_for(n), w[j].cols);
        if (w[j].packed && !rounds_own(n, w[j].cols)) quantize(ex, &in[j]);
        add_part(&job, (hd_product){.y = y + j * y_step, .ldy = ldy, .w = &w[j]}, &in[j]);
    }
    take_threads(&job, &a, rounds_own(n, w[0].cols));
    run_matmul(&job, w[0].packed != NULL);
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
    inputs in = {0};
    arena_take(&a, (size_t)count, sizeof(matmul_part));
    arena_take(&a, (size_t)count, sizeof(int64_t));
    arena_take(&a, (size_t)count, sizeof in);
    for (int64_t j = 0; j < count; j++)
        inputs_take(&in, &a, n, TILE, round_up(cols, HD_UNIT));
    arena_take(&a, (size_t)threads, sizeof(hd_ahead));
    take_own(&a, threads);
    for (int t = 0; t < threads; t++) {
        arena_take(&a, room_floats(cols), sizeof(float));
        if (rounds_own(1, cols)) inputs_take(&in, &a, 1, 1, round_up(cols, HD_UNIT));
    }
    return a.used + (size_t)threads * HD_CACHE_LINE;
}
