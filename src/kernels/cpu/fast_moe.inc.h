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
    float *act_values; /* [slots][ffn] */
    size_t shared;
} moe_job;

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

static size_t moe_thread_floats(int64_t hidden, int64_t ffn)
{
    return room_floats(HD_MAX(hidden, ffn)) + 2 * MOE_TOKENS * HD_LANES;
}

/* Counting sort of the pairs by expert; stable. */
static void moe_sort(moe_job *job, const int32_t *ids)
{
    int64_t pairs = job->n * job->used, slots = 0;
    int experts = job->experts->count;
    memset(job->count, 0, (size_t)experts * sizeof *job->count);
    for (int64_t p = 0; p < pairs; p++)
        job->count[ids[p]]++;
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
        int32_t at = job->first[ids[p]] + job->count[ids[p]]++;
        job->pair[at] = (int32_t)p;
        job->token[at] = (int32_t)(p / job->used);
        job->place[at] = at;
    }
}

/* act = silu(gate x) * up x, one block of rows for the slots [p, p + n). */
static void gate_up_block(const moe_job *job, int e, int64_t block, int64_t p, int64_t n, float *scratch)
{
    const hd_matrix *gate = &job->experts->gate[e], *up = &job->experts->up[e];
    float *g = scratch, *u = g + MOE_TOKENS * HD_LANES, *room = u + MOE_TOKENS * HD_LANES;
    int64_t first = block * HD_LANES, rows = HD_MIN(HD_LANES, gate->rows - first);
    block_product(gate, block, &job->in, p, n, g, HD_LANES, room);
    block_product(up, block, &job->in, p, n, u, HD_LANES, room);
    for (int64_t i = 0; i < n; i++) {
        vf act = vf_silu(vf_load(g + i * HD_LANES)) * vf_load(u + i * HD_LANES);
        float *to = job->act_values + (p + i) * gate->rows + first;
        if (rows == HD_LANES)
            vf_store(to, act);
        else
            memcpy(to, &act, (size_t)rows * sizeof(float));
    }
}

/* Items are (active expert, block of gate and up). */
static void moe_gate_up(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *job = arg;
    int64_t blocks = blocks_of(&job->experts->gate[0]);
    arena a = arena_of_thread(job->ex, job->shared, thread);
    for (int64_t i = begin; i < end; i++) {
        int e = job->active[i / blocks];
        for (int64_t p = 0; p < job->count[e]; p += MOE_TOKENS)
            gate_up_block(job, e, i % blocks, job->first[e] + p, HD_MIN(MOE_TOKENS, job->count[e] - p),
                          (float *)(void *)a.base);
    }
}

/* Adds what expert e gives to one block of output rows. */
static void down_block(const moe_job *job, int e, int64_t block, float *scratch)
{
    const hd_matrix *down = &job->experts->down[e];
    float *part = scratch, *room = part + 2 * MOE_TOKENS * HD_LANES;
    int64_t first = block * HD_LANES, rows = HD_MIN(HD_LANES, down->rows - first), end = job->first[e] + job->count[e];
    for (int64_t p = job->first[e]; p < end; p += MOE_TOKENS) {
        int64_t n = HD_MIN(MOE_TOKENS, end - p);
        block_product(down, block, &job->act, p, n, part, HD_LANES, room);
        for (int64_t i = 0; i < n; i++) {
            float weight = job->weight[job->pair[p + i]];
            float *out = job->out + job->token[p + i] * down->rows + first;
            for (int64_t r = 0; r < rows; r++)
                out[r] += weight * part[i * HD_LANES + r];
        }
    }
}

/* Items are blocks of output rows. */
static void moe_down(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *job = arg;
    int64_t hidden = job->experts->down[0].rows;
    arena a = arena_of_thread(job->ex, job->shared, thread);
    for (int64_t block = begin; block < end; block++) {
        int64_t first = block * HD_LANES, rows = HD_MIN(HD_LANES, hidden - first);
        for (int64_t t = 0; t < job->n; t++)
            memset(job->out + t * hidden + first, 0, (size_t)rows * sizeof(float));
        for (int64_t k = 0; k < job->actives; k++)
            down_block(job, job->active[k], block, (float *)(void *)a.base);
    }
}

static bool any_packed(const hd_matrix *m, int count)
{
    for (int e = 0; e < count; e++)
        if (m[e].packed) return true;
    return false;
}

static void fast_moe(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                     const float *weight, int used, int64_t n)
{
    arena a = {.base = ex->scratch};
    int64_t hidden = experts->gate[0].cols, ffn = experts->gate[0].rows;
    moe_job job = {.ex = ex, .experts = experts, .out = out, .weight = weight, .n = n, .used = used};
    moe_lay_out(&job, &a, tile_for(n), experts->count, hidden, ffn);
    job.shared = a.used;
    job.in.x = x;
    job.in.ldx = job.in.cols = hidden;
    job.in.row = job.token;
    job.act.x = job.act_values;
    job.act.ldx = job.act.cols = ffn;
    job.act.row = job.place;
    moe_sort(&job, ids);
    if (any_packed(experts->gate, experts->count) || any_packed(experts->up, experts->count)) quantize(ex, &job.in);
    int64_t items = job.actives * blocks_of(&experts->gate[0]);
    hd_pool_for(ex->pool, items, grain_of(ex, items), moe_gate_up, &job);
    if (any_packed(experts->down, experts->count)) quantize(ex, &job.act);
    items = blocks_of(&experts->down[0]);
    hd_pool_for(ex->pool, items, grain_of(ex, items), moe_down, &job);
}

static size_t moe_scratch(const hd_shape_limits *l)
{
    if (!l->experts) return 0;
    arena a = {0};
    moe_job job = {.n = l->tokens, .used = (int)l->experts_used};
    moe_lay_out(&job, &a, TILE, l->experts, l->hidden, l->expert_ffn);
    for (int t = 0; t < l->threads; t++)
        arena_take(&a, moe_thread_floats(l->hidden, l->expert_ffn), sizeof(float));
    return a.used + (size_t)l->threads * HD_CACHE_LINE;
}
