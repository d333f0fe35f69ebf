/* kernels/cpu/fast_attend.inc.h: attention over cached keys and values.
 *
 * The cached rows of a sequence are cut into ranges, at positions that are the same for all sequences.  The softmax of
 * a query over one range is computed from its start, and the results of the ranges are merged in their order.  So a
 * query's result depends neither on its chunk or its neighbours nor on whether a thread takes all ranges of a block of
 * queries, or each another one: as it is where there are too few blocks for all threads, in decoding above all.
 *
 * Queries at positions below EXACT_BELOW are computed to float32's precision or nearly so, later ones as bfloat16,
 * where the processor has instructions for it: over so many keys the roundings of single products cancel. */

#define EXACT_BELOW 512

/* What the query at a position is computed in (attend_block.parts), over rows of this type. */
static int parts_of(hd_type type, bool late)
{
#if defined(HD_BF16)
    if (type != HD_TYPE_F16 && type != HD_TYPE_BF16 && type != HD_TYPE_Q8_0) return 0;
#if defined(HD_AMX)
    return late ? 1 : 2;
#else
    return late ? 1 : 0;
#endif
#else
    (void)type;
    (void)late;
    return 0;
#endif
}

/* Consecutive queries of a span that are computed alike. */
typedef struct attend_piece {
    const hd_attend_span *span;
    int64_t query, queries; /* the first one's number in the span */
    int parts;
} attend_piece;

/* Number `late` (0 or 1) of a span's two pieces; it may be empty. */
static attend_piece piece_of(const hd_attend_span *span, bool late)
{
    int parts = parts_of(span->k.type, late);
    int64_t cut = HD_MAX(0, HD_MIN(EXACT_BELOW - span->pos0, span->queries));
    if (span->k.type != span->v.type || parts_of(span->k.type, true) == parts_of(span->k.type, false)) {
        cut = span->queries;
        parts = span->k.type == span->v.type ? parts : 0;
    }
    return (attend_piece){span, late ? cut : 0, late ? span->queries - cut : cut, parts};
}

/* Position at which range `i` starts.  Sixteen ranges have the shortest length, the next sixteen twice that, and so on:
 * a long sequence has few, whose results take little memory, and a short one enough for some threads. */
static int64_t range_start(int parts, int64_t i)
{
    int64_t shortest = parts ? 256 : 64, doubled = i / 16;
    return shortest * (16 * (((int64_t)1 << doubled) - 1) + ((i % 16) << doubled));
}

/* Ranges that `rows` rows have a part in. */
static int64_t range_count(int parts, int64_t rows)
{
    int64_t n = 0;
    while (range_start(parts, n) < rows)
        n++;
    return n;
}

/* into = the softmax over the keys of both, for one row. */
static void row_merge(softmax_state *into, const softmax_state *from, int64_t to_row, int64_t from_row)
{
    float most = HD_MAX(into->max[to_row], from->max[from_row]);
    vf old = vf_exp(vf_splat(into->max[to_row] - most)), new = vf_exp(vf_splat(from->max[from_row] - most));
    float *out = into->out + to_row * into->ldo;
    for (int64_t d = 0; d < into->ldo; d += HD_LANES)
        vf_store(out + d, vf_fma(vf_load(out + d), old, vf_load(from->out + from_row * from->ldo + d) * new));
    into->sum[to_row] = into->sum[to_row] * old[0] + from->sum[from_row] * new[0];
    into->max[to_row] = most;
}

/* ---- jobs ---- */

typedef struct attend_job {
    const hd_exec *ex;
    const hd_attend_shape *shape;
    const hd_attend_span *spans;
    int64_t *first; /* [2 * count + 1] number of the first item of each piece */
    int count;
    bool cut;       /* an item is one range of a block, not all of them */
    float *partial; /* [item][slot] results of the ranges: rows' values, largest scores, sums */
    int64_t slot;
    size_t shared; /* bytes of scratch before the threads' slices */
} attend_job;

/* Blocks hold whole queries where a group fits, else a part of one query's group. */
static int64_t queries_per_block(const hd_attend_shape *s)
{
    return HD_MAX(1, BLOCK_ROWS / (s->heads / s->kv_heads));
}

static int heads_per_block(const hd_attend_shape *s)
{
    return HD_MIN(BLOCK_ROWS, s->heads / s->kv_heads);
}

static int64_t piece_blocks(const hd_attend_shape *s, const attend_piece *p)
{
    int group = s->heads / s->kv_heads, part = heads_per_block(s);
    return (p->queries + queries_per_block(s) - 1) / queries_per_block(s) * s->kv_heads * ((group + part - 1) / part);
}

static int64_t ranges_of(const attend_piece *p)
{
    return range_count(p->parts, p->span->pos0 + p->query + p->queries);
}

/* A block of queries, and where its keys are. */
typedef struct attend_item {
    attend_block b;
    const attend_piece *piece;
    int64_t query; /* of the span */
    int head, kv_head;
    int64_t rows; /* cached rows that its last query sees */
    void *k, *v;
} attend_item;

/* Which queries block number `block` of a piece holds. */
static void item_place(attend_item *it, const attend_job *job, const attend_piece *p, int64_t block)
{
    const hd_attend_shape *s = job->shape;
    int group = s->heads / s->kv_heads, part = heads_per_block(s), parts = (group + part - 1) / part;
    int from = (int)(block % parts) * part;
    int64_t step = queries_per_block(s), query = block / parts / s->kv_heads * step;
    int64_t queries = HD_MIN(step, p->queries - query);
    it->piece = p;
    it->kv_head = (int)(block / parts % s->kv_heads);
    it->head = it->kv_head * group + from;
    it->query = p->query + query;
    it->rows = p->span->pos0 + it->query + queries;
    block_place(&it->b, p->parts, p->span->pos0 + it->query, queries, HD_MIN(part, group - from));
}

/* Keys that are converted and scored, and paired as values, while they are in the first-level cache; of a tile without
 * parts all.  Tiles of AMX want 32 at a time, but wide ones leave no room for that. */
static int64_t keys_at_once(int parts, int64_t k_dim)
{
    if (!parts) return FLOAT_TILE;
    return k_dim > 256 ? 16 : 64;
}

/* Values of room for them.  It must not shrink as keys grow wider: scratch is sized for the widest (attend_scratch). */
static int64_t key_room(int parts, int64_t k_dim)
{
    return HD_MAX(keys_at_once(parts, k_dim) * k_dim, keys_at_once(parts, 1) * HD_MIN(k_dim, 256));
}

static void item_take(attend_item *it, arena *a, const hd_attend_shape *s)
{
    int64_t tile = tile_keys(it->b.parts);
    block_take(&it->b, a, s->k_dim);
    it->b.state = state_take(a, it->b.padded, s->v_dim);
    it->k = arena_take(a, (size_t)key_room(it->b.parts, it->b.k_dim), value_bytes(it->b.parts));
    it->v = arena_take(a, (size_t)(tile * it->b.state.ldo), value_bytes(it->b.parts));
}

static void item_open(attend_item *it, const attend_job *job, const attend_piece *p, int64_t block, arena *a)
{
    const hd_attend_shape *s = job->shape;
    item_place(it, job, p, block);
    item_take(it, a, s);
    block_start(&it->b, p->span, it->query, it->head, s->k_dim, s->scale);
}

#if defined(HD_BF16)

static void item_tile_bf16(attend_item *it, const hd_attend_shape *s, int64_t pos, int64_t count)
{
    attend_block *b = &it->b;
    const hd_rows *k = &it->piece->span->k, *v = &it->piece->span->v;
    const int64_t ldo = b->state.ldo, step = keys_at_once(b->parts, b->k_dim);
    const int64_t k_part = step * b->k_dim, v_part = BF16_TILE * ldo;
    int k_at = it->kv_head * s->k_dim, v_at = it->kv_head * s->v_dim;
    bool same = k->pages == v->pages && k->offset == v->offset && k_at == v_at && s->v_dim <= s->k_dim;
    for (int64_t i = 0; i < count; i += step) {
        int64_t n = HD_MIN(step, count - i), padded = i + n == count ? round_up(count, PAIR_ROUND) - i : n;
        uint16_t *keys = it->k, *values = (uint16_t *)it->v + i * ldo;
        load_rows_bf16(k, pos + i, k_at, s->k_dim, n, keys, b->k_dim, k_part, b->parts);
        block_scores_bf16(b, keys, b->k_dim, k_part, i, n);
        for (int p = 0; same && p < b->parts; p++)
            pair_rows_bf16(keys + p * k_part, b->k_dim, n, padded, values + p * v_part, ldo);
        if (!same) load_pairs_bf16(v, pos + i, v_at, s->v_dim, n, padded, values, ldo, v_part, b->parts);
    }
    block_values_bf16(b, it->v, v_part, pos, count);
}

#endif

/* One tile of keys and values into the block. */
static void item_tile(attend_item *it, const hd_attend_shape *s, int64_t pos, int64_t count)
{
    attend_block *b = &it->b;
    const hd_attend_span *span = it->piece->span;
#if defined(HD_BF16)
    if (b->parts) {
        item_tile_bf16(it, s, pos, count);
        return;
    }
#endif
    load_floats(&span->k, pos, it->kv_head * s->k_dim, s->k_dim, count, it->k, s->k_dim);
    load_floats(&span->v, pos, it->kv_head * s->v_dim, s->v_dim, count, it->v, b->state.ldo);
    block_tile(b, it->k, b->k_dim, 0, it->v, 0, pos, count);
}

/* it->b.state = the block over range number `range`, as far as the block sees it. */
static void item_range(attend_item *it, const hd_attend_shape *s, int64_t range)
{
    attend_block *b = &it->b;
    int64_t end = HD_MIN(range_start(b->parts, range + 1), it->rows), tile = tile_keys(b->parts);
    state_clear(&b->state, b->padded);
    for (int64_t pos = range_start(b->parts, range); pos < end; pos += tile)
        item_tile(it, s, pos, HD_MIN(tile, end - pos));
}

/* All ranges of one block. */
static void item_whole(attend_item *it, const hd_attend_shape *s, arena *a)
{
    attend_block *b = &it->b;
    softmax_state total = state_take(a, b->padded, s->v_dim);
    state_clear(&total, b->padded);
    int64_t start = 0;
    for (int64_t i = 0; start < it->rows; start = range_start(b->parts, ++i)) {
        item_range(it, s, i);
        for (int64_t r = first_row_seeing(b, start); r < b->rows; r++)
            row_merge(&total, &b->state, r, r);
    }
    block_finish(b, &total, it->piece->span, it->query, it->head, s->v_dim);
}

/* A batch may hold hundreds of spans, and each has few items. */
static int piece_of_item(const attend_job *job, int64_t item)
{
    return run_of_item(job->first, 2 * job->count, item);
}

/* ---- a thread takes whole blocks ---- */

static void attend_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
    const attend_job *job = arg;
    tiles_begin();
    for (int64_t item = begin; item < end; item++) {
        int number = piece_of_item(job, item);
        attend_piece p = piece_of(&job->spans[number / 2], number % 2);
        arena a = arena_of_thread(job->ex, job->shared, thread);
        attend_item it;
        item_open(&it, job, &p, item - job->first[number], &a);
        item_whole(&it, job->shape, &a);
    }
    tiles_end();
}

/* ---- a thread takes ranges of a block ---- */

/* Item (block, range) of the job; `ranges` is how many its piece has. */
static attend_piece find_range(const attend_job *job, int64_t item, int64_t *block, int64_t *range, int64_t *ranges)
{
    int number = piece_of_item(job, item);
    attend_piece p = piece_of(&job->spans[number / 2], number % 2);
    *ranges = ranges_of(&p);
    *block = (item - job->first[number]) / *ranges;
    *range = (item - job->first[number]) % *ranges;
    return p;
}

static softmax_state partial_of(const attend_job *job, int64_t item, int64_t rows, int64_t ldo)
{
    float *at = job->partial + item * job->slot;
    return (softmax_state){.out = at, .max = at + rows * ldo, .sum = at + rows * ldo + rows, .ldo = ldo};
}

static void attend_ranges(void *arg, int64_t begin, int64_t end, int thread)
{
    const attend_job *job = arg;
    int64_t block, range, ranges;
    attend_item it = {.piece = NULL};
    tiles_begin();
    for (int64_t item = begin; item < end; item++) {
        attend_piece p = find_range(job, item, &block, &range, &ranges);
        arena a = arena_of_thread(job->ex, job->shared, thread);
        if (item == begin || range == 0) item_open(&it, job, &p, block, &a); /* else the same block as before */
        it.piece = &p;
        if (range_start(p.parts, range) >= it.rows) continue;
        item_range(&it, job->shape, range);
        const softmax_state *s = &it.b.state;
        softmax_state keep = partial_of(job, item, it.b.rows, s->ldo);
        memcpy(keep.out, s->out, (size_t)(it.b.rows * s->ldo) * sizeof(float));
        memcpy(keep.max, s->max, (size_t)it.b.rows * sizeof(float));
        memcpy(keep.sum, s->sum, (size_t)it.b.rows * sizeof(float));
    }
    tiles_end();
}

/* Merges the ranges of a block: as many items as made them, each a share of its rows. */
static void attend_merge(void *arg, int64_t begin, int64_t end, int thread)
{
    const attend_job *job = arg;
    const hd_attend_shape *s = job->shape;
    for (int64_t item = begin; item < end; item++) {
        int64_t block, share, ranges;
        attend_piece p = find_range(job, item, &block, &share, &ranges);
        arena a = arena_of_thread(job->ex, job->shared, thread);
        attend_item it;
        item_place(&it, job, &p, block);
        softmax_state total = state_take(&a, 1, s->v_dim);
        for (int64_t r = it.b.rows * share / ranges; r < it.b.rows * (share + 1) / ranges; r++) {
            state_clear(&total, 1);
            for (int64_t i = 0; i < ranges && first_row_seeing(&it.b, range_start(p.parts, i)) <= r; i++) {
                softmax_state part = partial_of(job, item - share + i, it.b.rows, total.ldo);
                row_merge(&total, &part, 0, r);
            }
            row_finish(&it.b, r, &total, 0, p.span, it.query, it.head, s->v_dim);
        }
    }
}

/* ---- the operator ---- */

/* Items of a piece: its blocks, or the ranges of each. */
static int64_t items_of(const attend_job *job, const attend_piece *p)
{
    return p->queries ? piece_blocks(job->shape, p) * (job->cut ? ranges_of(p) : 1) : 0;
}

static void number_items(attend_job *job)
{
    job->first[0] = 0;
    for (int i = 0; i < 2 * job->count; i++) {
        attend_piece p = piece_of(&job->spans[i / 2], i % 2);
        job->first[i + 1] = job->first[i] + items_of(job, &p);
    }
}

/* The largest of what one thread needs for the job's blocks. */
static size_t attend_thread_bytes(const hd_attend_shape *s)
{
    size_t most = 0;
    for (int parts = 0; parts <= 2; parts++) {
        arena a = {0};
        attend_item it;
        block_place(&it.b, parts, 0, queries_per_block(s), heads_per_block(s));
        item_take(&it, &a, s);
        state_take(&a, it.b.padded, s->v_dim);
        most = HD_MAX(most, a.used);
    }
    return most + HD_CACHE_LINE;
}

/* Cuts the blocks into ranges where there are too few for all threads, and memory for the results of the ranges. */
static void cut_blocks(attend_job *job)
{
    const hd_attend_shape *s = job->shape;
    int threads = hd_pool_threads(job->ex->pool);
    if (threads == 1 || job->first[2 * job->count] >= 4 * threads) return;
    job->cut = true;
    number_items(job);
    int64_t items = job->first[2 * job->count];
    job->slot = queries_per_block(s) * heads_per_block(s) * (round_up(s->v_dim, HD_LANES) + 2);
    arena a = {.used = job->shared};
    arena_take(&a, (size_t)(items * job->slot), sizeof(float));
    if (a.used + (size_t)threads * attend_thread_bytes(s) <= job->ex->scratch_bytes) {
        job->partial = (float *)(void *)(job->ex->scratch + job->shared);
        job->shared = a.used;
        return;
    }
    job->cut = false;
    number_items(job);
}

static void fast_attend(const hd_exec *ex, const hd_attend_shape *shape, const hd_attend_span *spans, int n)
{
    arena a = {.base = ex->scratch};
    attend_job job = {.ex = ex, .shape = shape, .spans = spans, .count = n};
    job.first = arena_take(&a, 2 * (size_t)n + 1, sizeof *job.first);
    job.shared = a.used;
    number_items(&job);
    cut_blocks(&job);
    int64_t items = job.first[2 * n];
    if (job.cut) {
        int64_t grain = HD_MAX(1, items / (4 * hd_pool_threads(ex->pool)));
        hd_pool_for(ex->pool, items, grain, attend_ranges, &job);
        hd_pool_for(ex->pool, items, grain, attend_merge, &job);
    } else
        hd_pool_for(ex->pool, items, 1, attend_blocks, &job);
}

/* Each span has one token at least.  Results of ranges: for 64 rows or the heads of one query, over all the context. */
static size_t attend_shared_bytes(const hd_shape_limits *l)
{
    arena a = {0};
    int64_t rows = HD_MIN(HD_MAX(l->heads, BLOCK_ROWS), l->heads * l->tokens);
    arena_take(&a, 2 * (size_t)l->tokens + 1, sizeof(int64_t));
    if (l->threads > 1)
        arena_take(&a, (size_t)(range_count(0, l->context) * rows * (round_up(l->v_dim, HD_LANES) + 2)), sizeof(float));
    return a.used;
}

static size_t attend_scratch(const hd_shape_limits *l)
{
    hd_attend_shape largest = {.heads = BLOCK_ROWS, .kv_heads = 1, .k_dim = (int)l->k_dim, .v_dim = (int)l->v_dim};
    return attend_shared_bytes(l) + (size_t)l->threads * attend_thread_bytes(&largest);
}
