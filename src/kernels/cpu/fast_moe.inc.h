/* kernels/cpu/fast_moe.inc.h: the routed experts of one layer.
 *
 * A pair is one (token, choice); pairs are sorted by expert before any expert is read.  Each expert's pairs stand in
 * slots of their own, from a whole tile on.  First pass: blocks of rows of gate and up of every expert in use give act,
 * slot by slot.  Second pass: each thread owns blocks of output rows and adds the experts' contributions in the order
 * of the experts, so that a token's sum does not depend on its batch. */

typedef struct moe_job {
    const hd_exec *ex;
    const hd_experts *experts;
    float *out;
    const float *weight;
    int64_t n;
    int used;
    inputs in, act;  /* of slots */
    int32_t *pair;   /* [slots] the slot's pair, or -1 */
    int32_t *token;  /* [slots] the slot's token, or -1 */
    int32_t *place;  /* [slots] the slot itself, or -1 */
    int32_t *first;  /* [experts] first slot of each expert */
    int32_t *count;  /* [experts] its pairs */
    int32_t *active; /* [experts] those with pairs */
    int64_t actives;
    float *act_values;    /* [slots][ffn] */
    int64_t items, grain; /* of the pass under way */
    hd_ahead *ahead;      /* [threads] */
    own_inputs *own;      /* [threads], or NULL: `in` was rounded before the first pass */
    bool rounds_act;      /* the first pass rounds what it makes */
    size_t shared;
} moe_job;

/* Blocks of rows of gate and up that make a unit of act. */
#define UNIT_BLOCKS (HD_UNIT / HD_LANES)

/* Tokens that go through a block together: their outputs stay in the first-level cache. */
#define MOE_TOKENS 128

/* Every expert in use may leave part of its last tile empty. */
static int64_t moe_slots(int64_t pairs, int64_t experts, int tile)
{
    return tile == 1 ? pairs : round_up(pairs, TILE) + HD_MIN(experts, pairs) * (TILE - 1);
}

static void moe_lay_out(moe_job *job, arena *a, int tile, int64_t experts, int64_t hidden, int64_t ffn)
{
    int64_t slots =
        moe_slots(job->n * job->used, experts, tile); /* at most; the inputs know of how many after sorting */
    job->pair = arena_take(a, (size_t)slots, sizeof(int32_t));
    job->token = arena_take(a, (size_t)slots, sizeof(int32_t));
    job->place = arena_take(a, (size_t)slots, sizeof(int32_t));
    job->first = arena_take(a, (size_t)experts, sizeof(int32_t));
    job->count = arena_take(a, (size_t)experts, sizeof(int32_t));
    job->active = arena_take(a, (size_t)experts, sizeof(int32_t));
    job->act_values = arena_take(a, (size_t)(slots * ffn), sizeof(float));
    inputs_take(&job->in, a, slots, tile, round_up(hidden, HD_UNIT));
    inputs_take(&job->act, a, slots, tile, round_up(ffn, HD_UNIT));
}

/* What a thread works with: before the desk's own room, the products of a block. */
typedef struct moe_desk {
    float *part; /* [MOE_TOKENS][HD_LANES] */
    desk desk;
    arena rest;       /* of the thread's scratch */
    const inputs *in; /* its own copy of the token, or NULL */
} moe_desk;

static moe_desk moe_desk_of(const moe_job *job, int thread)
{
    arena a = arena_of_thread(job->ex, job->shared, thread);
    int64_t cols = HD_MAX(job->in.cols, job->act.cols);
    moe_desk at = {.part = arena_take(&a, MOE_TOKENS * HD_LANES, sizeof(float))};
    at.desk = (desk){arena_take(&a, room_floats(cols), sizeof(float)), &job->ahead[thread]};
    at.rest = a;
    return at;
}

/* Counting sort of the pairs by expert; stable. */
static void moe_sort(moe_job *job, const int32_t *ids)
{
    int64_t pairs = job->n * job->used, slots = 0;
    int experts = job->experts->count;
    memset(job->count, 0, (size_t)experts * sizeof *job->count);
    for (int64_t p = 0; p < pairs; p++)
        if (ids[p] >= 0) job->count[ids[p]]++;
    for (int e = 0; e < experts; e++) {
        job->first[e] = (int32_t)slots;
        if (!job->count[e]) continue;
        job->active[job->actives++] = e;
        slots += round_up(job->count[e], job->in.tile);
        job->count[e] = 0;
    }
    job->in.slots = job->act.slots = slots;
    memset(job->pair, 0xff, (size_t)slots * sizeof *job->pair);
    memset(job->token, 0xff, (size_t)slots * sizeof *job->token);
    memset(job->place, 0xff, (size_t)slots * sizeof *job->place);
    for (int64_t p = 0; p < pairs; p++) {
        if (ids[p] < 0) continue;
        int32_t at = job->first[ids[p]] + job->count[ids[p]]++;
        job->pair[at] = (int32_t)p;
        job->token[at] = (int32_t)(p / job->used);
        job->place[at] = at;
    }
}

/* A stretch of blocks of one expert, and some of its slots. */
typedef struct moe_stretch {
    int expert;
    int64_t block, blocks; /* [block, block + blocks) */
    int64_t slot, slots;   /* [slot, slot + slots), MOE_TOKENS at most */
    int64_t item;          /* of the first block */
} moe_stretch;

/* A block's place in act. */
static float *act_of(const moe_job *job, const moe_stretch *s, int64_t block)
{
    return job->act_values + s->slot * job->experts->gate[0].rows + block * HD_LANES;
}

/* act = silu(act) * up, where act has the products of a block with gate and `up` those with up, [slots][HD_LANES]. */
static void put_act(const moe_job *job, const moe_stretch *s, int64_t block, const float *up)
{
    int64_t ffn = job->experts->gate[0].rows, rows = HD_MIN(HD_LANES, ffn - block * HD_LANES);
    float *act = act_of(job, s, block);
    for (int64_t i = 0; i < s->slots; i++, act += ffn, up += HD_LANES) {
        if (rows == HD_LANES) {
            vf_store(act, vf_silu(vf_load(act)) * vf_load(up));
            continue;
        }
        float gate[HD_LANES] = {0};
        memcpy(gate, act, (size_t)rows * sizeof(float));
        vf_store(gate, vf_silu(vf_load(gate)) * vf_load(up));
        memcpy(act, gate, (size_t)rows * sizeof(float));
    }
}

/* Of [begin, end), a piece of the items, each expert has a stretch of blocks, read from gate first and then from up:
 * long ways through either are what processors read fastest (two blocks in turn took a tenth longer). */
static hd_segment gate_up_segment(const void *arg, int64_t n)
{
    const moe_job *job = arg;
    int64_t blocks = blocks_of(&job->experts->gate[0]), i = n / 2;
    int64_t begin = HD_MAX(i / job->grain * job->grain, i / blocks * blocks);
    int64_t end = HD_MIN(HD_MIN(job->items, (i / job->grain + 1) * job->grain), (i / blocks + 1) * blocks);
    int64_t in_stretch = n - 2 * begin, block = begin % blocks + in_stretch % (end - begin);
    int e = job->active[i / blocks];
    return segment_of(in_stretch < end - begin ? &job->experts->gate[e] : &job->experts->up[e], block);
}

static void moe_stretch_act(const moe_job *job, const moe_stretch *s, bool first, int64_t last, const moe_desk *at)
{
    const hd_matrix *gate = &job->experts->gate[s->expert], *up = &job->experts->up[s->expert];
    const inputs *in = at->in ? at->in : &job->in;
    const int64_t slot = at->in ? 0 : s->slot;
    for (int64_t k = 0; k < s->blocks; k++) {
        int64_t block = s->block + k;
        if (first) hd_ahead_begin(at->desk.ahead, gate_up_segment, job, 2 * s->item + k, last);
        block_product(gate, block, in, slot, s->slots, act_of(job, s, block), gate->rows, &at->desk);
    }
    for (int64_t k = 0; k < s->blocks; k++) {
        int64_t block = s->block + k;
        if (first) hd_ahead_begin(at->desk.ahead, gate_up_segment, job, 2 * s->item + s->blocks + k, last);
        block_product(up, block, in, slot, s->slots, at->part, HD_LANES, &at->desk);
        put_act(job, s, block, at->part);
    }
    for (int64_t k = 0; job->rounds_act && k < s->slots; k++)
        quantize_row(&job->act, s->slot + k, s->block / UNIT_BLOCKS, (s->block + s->blocks) / UNIT_BLOCKS);
}

/* Items are (active expert, block of gate and up). */
static void moe_gate_up(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *job = arg;
    int64_t blocks = blocks_of(&job->experts->gate[0]);
    int64_t last = 2 * hd_pool_for_end(job->ex->pool, job->items, job->grain, begin, thread);
    moe_desk at = moe_desk_of(job, thread);
    hd_ahead_begin(at.desk.ahead, gate_up_segment, job, 2 * begin, last);
    if (job->own) at.in = own_inputs_of(&job->own[thread], &job->in, at.rest);
    for (int64_t i = begin; i < end;) {
        int e = job->active[i / blocks];
        moe_stretch s = {.expert = e, .block = i % blocks, .slot = job->first[e], .item = i};
        s.blocks = HD_MIN(end - i, blocks - s.block);
        for (int64_t left = job->count[e]; left > 0; left -= s.slots, s.slot += s.slots) {
            s.slots = HD_MIN(MOE_TOKENS, left);
            moe_stretch_act(job, &s, s.slot == job->first[e], last, &at);
        }
        i += s.blocks;
    }
}

/* Adds what expert e gives to one block of output rows. */
static void down_block(const moe_job *job, int e, int64_t block, const moe_desk *at)
{
    const hd_matrix *down = &job->experts->down[e];
    float *part = at->part;
    int64_t first = block * HD_LANES, rows = HD_MIN(HD_LANES, down->rows - first), end = job->first[e] + job->count[e];
    for (int64_t p = job->first[e]; p < end; p += MOE_TOKENS) {
        int64_t n = HD_MIN(MOE_TOKENS, end - p);
        block_product(down, block, &job->act, p, n, part, HD_LANES, &at->desk);
        for (int64_t i = 0; i < n; i++) {
            float weight = job->weight[job->pair[p + i]];
            float *out = job->out + job->token[p + i] * down->rows + first;
            for (int64_t r = 0; r < rows; r++)
                out[r] += weight * part[i * HD_LANES + r];
        }
    }
}

/* Of [begin, end), a piece of the blocks of output rows, each expert in use has a segment a block, one after the other.
 */
static hd_segment down_segment(const void *arg, int64_t n)
{
    const moe_job *job = arg;
    int64_t begin = n / (job->grain * job->actives) * job->grain, blocks = HD_MIN(job->grain, job->items - begin);
    int64_t in_piece = n - begin * job->actives;
    return segment_of(&job->experts->down[job->active[in_piece / blocks]], begin + in_piece % blocks);
}

/* Items are blocks of output rows.  Experts go one after the other through all blocks of a piece: their weights are one
 * stream, and their activations stay in the second-level cache. */
static void moe_down(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *job = arg;
    int64_t hidden = job->experts->down[0].rows, first = begin * HD_LANES,
            rows = HD_MIN(hidden, end * HD_LANES) - first;
    int64_t last = hd_pool_for_end(job->ex->pool, job->items, job->grain, begin, thread);
    moe_desk at = moe_desk_of(job, thread);
    for (int64_t t = 0; t < job->n; t++)
        memset(job->out + t * hidden + first, 0, (size_t)rows * sizeof(float));
    for (int64_t k = 0; k < job->actives; k++)
        for (int64_t block = begin; block < end; block++) {
            int64_t n = begin * job->actives + k * (end - begin) + block - begin;
            hd_ahead_begin(at.desk.ahead, down_segment, job, n, last * job->actives);
            down_block(job, job->active[k], block, &at);
        }
}

static void moe_pass(moe_job *job, int64_t items, int64_t grain, hd_pool_range_fn fn)
{
    job->items = items;
    job->grain = grain;
    forget_ahead(job->ahead, job->ex);
    hd_pool_for(job->ex->pool, items, job->grain, fn, job);
}

static bool any_packed(const hd_matrix *m, int count)
{
    for (int e = 0; e < count; e++)
        if (m[e].packed) return true;
    return false;
}

/* Rounds the tokens that gate and up read, or has the threads do it: a single one, unless some expert was chosen twice.
 */
static void moe_round_in(moe_job *job, arena *a)
{
    const hd_experts *e = job->experts;
    if (!any_packed(e->gate, e->count) && !any_packed(e->up, e->count)) return;
    if (rounds_own(job->n, job->in.cols) && job->actives == job->in.slots)
        job->own = take_own(a, hd_pool_threads(job->ex->pool));
    else
        quantize(job->ex, &job->in);
}

/* So many pieces a thread has long ways through each expert, and balances less well. */
#define DOWN_PIECES 4

static void moe_run(moe_job *job)
{
    const hd_experts *e = job->experts;
    const int64_t blocks = blocks_of(&e->gate[0]), items = job->actives * blocks, outs = blocks_of(&e->down[0]);
    const bool rounds = any_packed(e->down, e->count);
    job->rounds_act = rounds && job->act.tile == 1 && blocks % UNIT_BLOCKS == 0;
    moe_pass(job, items, round_up(grain_of(job->ex, items), UNIT_BLOCKS), moe_gate_up);
    if (rounds && !job->rounds_act) quantize(job->ex, &job->act);
    moe_pass(job, outs, HD_MAX(1, outs / (hd_pool_threads(job->ex->pool) * DOWN_PIECES)), moe_down);
}

static void fast_moe(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                     const float *weight, int used, int64_t n)
{
    arena a = {.base = ex->scratch};
    int64_t hidden = experts->gate[0].cols, ffn = experts->gate[0].rows;
    moe_job job = {.ex = ex, .experts = experts, .out = out, .weight = weight, .n = n, .used = used};
    moe_lay_out(&job, &a, tile_for(n), experts->count, hidden, ffn);
    job.ahead = arena_take(&a, (size_t)hd_pool_threads(ex->pool), sizeof(hd_ahead));
    job.in.x = x;
    job.in.ldx = job.in.cols = hidden;
    job.in.row = job.token;
    job.act.x = job.act_values;
    job.act.ldx = job.act.cols = ffn;
    job.act.row = job.place;
    moe_sort(&job, ids);
    moe_round_in(&job, &a);
    job.shared = a.used;
    moe_run(&job);
}

static size_t moe_scratch(const hd_shape_limits *l)
{
    if (!l->experts) return 0;
    arena a = {0};
    moe_job job = {.n = l->tokens, .used = (int)l->experts_used};
    moe_lay_out(&job, &a, TILE, l->experts, l->hidden, l->expert_ffn);
    arena_take(&a, (size_t)l->threads, sizeof(hd_ahead));
    take_own(&a, l->threads);
    for (int t = 0; t < l->threads; t++) {
        arena_take(&a, MOE_TOKENS * HD_LANES, sizeof(float));
        arena_take(&a, room_floats(HD_MAX(l->hidden, l->expert_ffn)), sizeof(float));
        if (rounds_own(1, l->hidden)) inputs_take(&job.in, &a, 1, 1, round_up(l->hidden, HD_UNIT));
    }
    return a.used + (size_t)l->threads * HD_CACHE_LINE;
}
