/* kernels/cpu/fast_attend.inc.h: attention over cached rows, in float32 arithmetic.
 *
 * Rows of a block are (query, head) pairs that share their cached rows.  Scores are kept transposed, [cached row][block
 * row]: queries lie along the vector, so that the running softmax (arXiv:2205.14135) needs no horizontal step and the
 * cached rows no transposition.  Tiles start at position 0 and sums run in order of position, so that a query's result
 * does not depend on its chunk or its neighbours. */

#define TILE_ROWS 64  /* cached rows at a time */
#define BLOCK_ROWS 64 /* (query, head) rows at a time; a multiple of HD_LANES on every tier */

/* The state of one block. */
typedef struct attend_block {
    int64_t rows, padded; /* rows in use, and rounded up to whole vectors */
    float *q;             /* [k_dim][padded] transposed queries, scaled */
    float *out;           /* [padded][ldo] weighted sums, not yet divided */
    int64_t ldo;          /* v_dim rounded up to whole vectors */
    float *max, *sum;     /* [padded] */
    int64_t first_pos;    /* position of the query of row 0 */
    int group;            /* rows per query */
} attend_block;

static void block_take(attend_block *b, arena *a, int64_t rows, int64_t k_dim, int64_t v_dim)
{
    b->rows = rows;
    b->padded = round_up(rows, HD_LANES);
    b->ldo = round_up(v_dim, HD_LANES);
    b->q = arena_take(a, (size_t)(k_dim * b->padded), sizeof(float));
    b->out = arena_take(a, (size_t)(b->padded * b->ldo), sizeof(float));
    b->max = arena_take(a, (size_t)b->padded, sizeof(float));
    b->sum = arena_take(a, (size_t)b->padded, sizeof(float));
}

/* Fills q from query rows: row r of the block is head `head + r % group` of query `query + r / group`. */
static void block_start(attend_block *b, const hd_attend_span *span, int64_t query, int group, int head, int k_dim,
                        float scale)
{
    b->group = group;
    b->first_pos = span->pos0 + query;
    for (int64_t r = 0; r < b->padded; r++) {
        bool used = r < b->rows;
        const float *from =
            used ? span->q + (query + r / group) * span->ldq + (int64_t)(head + r % group) * k_dim : NULL;
        for (int d = 0; d < k_dim; d++)
            b->q[d * b->padded + r] = used ? from[d] * scale : 0.0f;
        b->max[r] = -INFINITY;
        b->sum[r] = 0.0f;
    }
    memset(b->out, 0, (size_t)(b->padded * b->ldo) * sizeof(float));
}

static void block_finish(const attend_block *b, const hd_attend_span *span, int64_t query, int head, int v_dim)
{
    for (int64_t r = 0; r < b->rows; r++) {
        float *to = span->out + (query + r / b->group) * span->ldo + (int64_t)(head + r % b->group) * v_dim;
        float inverse = 1.0f / b->sum[r];
        for (int d = 0; d < v_dim; d++)
            to[d] = b->out[r * b->ldo + d] * inverse;
    }
}

/* Rows of the block that see tile row j are those from this one on. */
static int64_t first_row_seeing(const attend_block *b, int64_t pos)
{
    return HD_MIN(b->padded, HD_MAX(0, pos - b->first_pos) * b->group);
}

/* Turns scores [count][padded] into probabilities relative to the new maxima; rescales sums and outputs. */
static void block_softmax(attend_block *b, float *score, int64_t pos, int64_t count)
{
    for (int64_t j = 0; j < count; j++)
        for (int64_t r = 0; r < first_row_seeing(b, pos + j); r++)
            score[j * b->padded + r] = -INFINITY;
    for (int64_t r = 0; r < b->padded; r += HD_LANES) {
        vf old = vf_load(b->max + r), most = old;
        for (int64_t j = 0; j < count; j++)
            most = vf_max(most, vf_load(score + j * b->padded + r));
        vf keep = vf_exp(old - most), sum = vf_load(b->sum + r) * keep;
        for (int64_t j = 0; j < count; j++) {
            vf p = vf_exp(vf_load(score + j * b->padded + r) - most);
            vf_store(score + j * b->padded + r, p);
            sum += p;
        }
        vf_store(b->max + r, most);
        vf_store(b->sum + r, sum);
        float factor[HD_LANES];
        memcpy(factor, &keep, sizeof keep);
        for (int64_t i = r; i < HD_MIN(r + HD_LANES, b->rows); i++)
            for (int64_t d = 0; factor[i - r] != 1.0f && d < b->ldo; d += HD_LANES)
                vf_store(b->out + i * b->ldo + d, vf_load(b->out + i * b->ldo + d) * factor[i - r]);
    }
}

/* One tile of `count` cached rows, k [count][ldk] and v [count][b->ldo], into the block. */
static void block_tile(attend_block *b, const float *k, int64_t ldk, int k_dim, const float *v, int64_t pos,
                       int64_t count, float *score)
{
    gemm(score, b->padded, k, ldk, 1, b->q, b->padded, count, b->padded, k_dim, false);
    block_softmax(b, score, pos, count);
    gemm(b->out, b->ldo, score, 1, b->padded, v, b->ldo, b->rows, b->ldo, count, true);
}

/* `width` values of `count` cached rows from position pos on, as floats with row stride ld (padding zeroed). */
static void load_tile(const hd_rows *rows, int64_t pos, int at, int width, int64_t count, float *out, int64_t ld)
{
    size_t size = (size_t)hd_type_block_bytes(rows->type);
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *page = rows->pages[(pos + i) / rows->page_rows];
        const uint8_t *row =
            page + rows->offset + (size_t)((pos + i) % rows->page_rows) * rows->stride + (size_t)at * size;
        int c = 0;
        if (rows->type == HD_TYPE_F16)
            for (; c + HD_LANES <= width; c += HD_LANES)
                vf_store(out + i * ld + c, vf_f16(row + 2 * c));
        if (c < width) hd_decode_row(rows->type, row + (size_t)c * size, out + i * ld + c, width - c);
        for (int64_t p = width; p < ld; p++)
            out[i * ld + p] = 0.0f;
    }
}

/* ---- heads over cached keys and values ---- */

typedef struct attend_job {
    const hd_exec *ex;
    const hd_attend_shape *shape;
    const hd_attend_span *spans;
    int64_t *first; /* [count + 1] number of each span's first item */
    int count;
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

/* A span of few queries is cut finer, so that all threads have work: a decode step of MLA has one key head only. */
static int heads_of_item(const hd_attend_shape *s, const hd_attend_span *span)
{
    return span->queries < 4 ? HD_MIN(heads_per_block(s), HD_LANES) : heads_per_block(s);
}

static int64_t items_of(const hd_attend_shape *s, const hd_attend_span *span)
{
    int group = s->heads / s->kv_heads, part = heads_of_item(s, span);
    int64_t blocks = (span->queries + queries_per_block(s) - 1) / queries_per_block(s);
    return blocks * s->kv_heads * ((group + part - 1) / part);
}

static void attend_item(const attend_job *job, const hd_attend_span *span, int64_t item, arena a)
{
    const hd_attend_shape *s = job->shape;
    int group = s->heads / s->kv_heads, part = heads_of_item(s, span), parts = (group + part - 1) / part;
    int kv_head = (int)(item / parts % s->kv_heads), from = (int)(item % parts) * part;
    int64_t query = item / parts / s->kv_heads * queries_per_block(s);
    int64_t queries = HD_MIN(queries_per_block(s), span->queries - query);
    int heads = HD_MIN(part, group - from), head = kv_head * group + from;
    attend_block b;
    block_take(&b, &a, queries * heads, s->k_dim, s->v_dim);
    float *k = arena_take(&a, (size_t)(TILE_ROWS * s->k_dim), sizeof(float));
    float *v = arena_take(&a, (size_t)(TILE_ROWS * b.ldo), sizeof(float));
    float *score = arena_take(&a, (size_t)(TILE_ROWS * b.padded), sizeof(float));
    block_start(&b, span, query, heads, head, s->k_dim, s->scale);
    int64_t rows = span->pos0 + query + queries; /* seen by the block's last query */
    for (int64_t pos = 0; pos < rows; pos += TILE_ROWS) {
        int64_t count = HD_MIN(TILE_ROWS, rows - pos);
        load_tile(&span->k, pos, kv_head * s->k_dim, s->k_dim, count, k, s->k_dim);
        load_tile(&span->v, pos, kv_head * s->v_dim, s->v_dim, count, v, b.ldo);
        block_tile(&b, k, s->k_dim, s->k_dim, v, pos, count, score);
    }
    block_finish(&b, span, query, head, s->v_dim);
}

/* Bisection: a batch may hold hundreds of spans, and each has few items. */
static int span_of_item(const attend_job *job, int64_t item)
{
    int low = 0, high = job->count - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (job->first[middle] <= item)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void attend_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const attend_job *job = arg;
    for (int64_t item = begin; item < end; item++) {
        int span = span_of_item(job, item);
        attend_item(job, &job->spans[span], item - job->first[span], arena_of_thread(job->ex, job->shared, thread));
    }
}

static void fast_attend(const hd_exec *ex, const hd_attend_shape *shape, const hd_attend_span *spans, int n)
{
    arena a = {.base = ex->scratch};
    attend_job job = {.ex = ex, .shape = shape, .spans = spans, .count = n};
    job.first = arena_take(&a, (size_t)n + 1, sizeof *job.first);
    job.shared = a.used;
    job.first[0] = 0;
    for (int i = 0; i < n; i++)
        job.first[i + 1] = job.first[i] + items_of(shape, &spans[i]);
    hd_pool_for(ex->pool, job.first[n], 1, attend_items, &job);
}

/* Each span has one token at least. */
static size_t attend_shared_bytes(const hd_shape_limits *l)
{
    arena a = {0};
    arena_take(&a, (size_t)l->tokens + 1, sizeof(int64_t));
    return a.used;
}

static size_t attend_thread_bytes(const hd_shape_limits *l)
{
    arena a = {0};
    attend_block b;
    block_take(&b, &a, BLOCK_ROWS, l->k_dim, l->v_dim);
    arena_take(&a, (size_t)(TILE_ROWS * l->k_dim), sizeof(float));
    arena_take(&a, (size_t)(TILE_ROWS * b.ldo), sizeof(float));
    arena_take(&a, (size_t)(TILE_ROWS * b.padded), sizeof(float));
    return a.used + HD_CACHE_LINE;
}

/* ---- decompressed MLA ---- */

typedef struct mla_job {
    const hd_exec *ex;
    const hd_mla_shape *shape;
    const hd_attend_span *spans;
} mla_job;

/* What one head needs: its weights as floats, the tile, and the state of every block of queries: keys and values are
 * decompressed once per tile for all of them. */
typedef struct mla_head {
    float *k_b;    /* [lora][nope padded] */
    float *v_b;    /* [lora][v padded] transposed */
    float *latent; /* [TILE_ROWS][lora + rope] */
    float *k;      /* [TILE_ROWS][ldk] */
    float *v;      /* [TILE_ROWS][ldv] */
    float *score, *row;
    attend_block *blocks;
    int64_t block_count, ldk, ldv, ld_kb;
} mla_head;

static void mla_take(mla_head *h, arena *a, int64_t lora, int64_t nope, int64_t rope, int64_t v_dim, int64_t queries)
{
    h->ld_kb = round_up(nope, HD_LANES);
    h->ldk = h->ld_kb + rope; /* the product writes whole vectors; the rotated part follows where nope ends */
    h->ldv = round_up(v_dim, HD_LANES);
    h->k_b = arena_take(a, (size_t)(lora * h->ld_kb), sizeof(float));
    h->v_b = arena_take(a, (size_t)(lora * h->ldv), sizeof(float));
    h->latent = arena_take(a, (size_t)(TILE_ROWS * (lora + rope)), sizeof(float));
    h->k = arena_take(a, (size_t)(TILE_ROWS * h->ldk), sizeof(float));
    h->v = arena_take(a, (size_t)(TILE_ROWS * h->ldv), sizeof(float));
    h->score = arena_take(a, TILE_ROWS * BLOCK_ROWS, sizeof(float));
    h->row = arena_take(a, (size_t)HD_MAX(lora, nope), sizeof(float));
    h->block_count = (queries + BLOCK_ROWS - 1) / BLOCK_ROWS;
    h->blocks = arena_take(a, (size_t)h->block_count, sizeof *h->blocks);
    for (int64_t i = 0; i < h->block_count; i++) {
        attend_block b;
        block_take(&b, a, HD_MIN(BLOCK_ROWS, queries - i * BLOCK_ROWS), nope + rope, v_dim);
        if (h->blocks) h->blocks[i] = b;
    }
}

static void mla_load_weights(const hd_mla_shape *s, int head, mla_head *h)
{
    for (int l = 0; l < s->lora; l++) {
        float *to = h->k_b + l * h->ld_kb;
        hd_matrix_decode_row(&s->k_b[head], l, to);
        for (int64_t d = s->nope; d < h->ld_kb; d++)
            to[d] = 0.0f;
    }
    memset(h->v_b, 0, (size_t)(s->lora * h->ldv) * sizeof(float));
    for (int d = 0; d < s->v_dim; d++) {
        hd_matrix_decode_row(&s->v_b[head], d, h->row);
        for (int l = 0; l < s->lora; l++)
            h->v_b[l * h->ldv + d] = h->row[l];
    }
}

/* k = [k_b^T c | rope part], v = v_b c for the tile's rows. */
static void mla_decompress(const hd_mla_shape *s, const hd_attend_span *span, mla_head *h, int64_t pos, int64_t count)
{
    int64_t width = s->lora + s->rope;
    load_tile(&span->k, pos, 0, (int)width, count, h->latent, width);
    gemm(h->k, h->ldk, h->latent, width, 1, h->k_b, h->ld_kb, count, h->ld_kb, s->lora, false);
    gemm(h->v, h->ldv, h->latent, width, 1, h->v_b, h->ldv, count, h->ldv, s->lora, false);
    for (int64_t i = 0; i < count; i++)
        memcpy(h->k + i * h->ldk + s->nope, h->latent + i * width + s->lora, (size_t)s->rope * sizeof(float));
}

static void mla_item(const mla_job *job, const hd_attend_span *span, int head, arena a)
{
    const hd_mla_shape *s = job->shape;
    int k_dim = s->nope + s->rope;
    mla_head h;
    mla_take(&h, &a, s->lora, s->nope, s->rope, s->v_dim, span->queries);
    mla_load_weights(s, head, &h);
    for (int64_t i = 0; i < h.block_count; i++)
        block_start(&h.blocks[i], span, i * BLOCK_ROWS, 1, head, k_dim, s->scale);
    int64_t rows = span->pos0 + span->queries;
    for (int64_t pos = 0; pos < rows; pos += TILE_ROWS) {
        int64_t count = HD_MIN(TILE_ROWS, rows - pos);
        mla_decompress(s, span, &h, pos, count);
        for (int64_t i = 0; i < h.block_count; i++) {
            int64_t last = h.blocks[i].first_pos + h.blocks[i].rows; /* rows that the block sees */
            if (pos < last) block_tile(&h.blocks[i], h.k, h.ldk, k_dim, h.v, pos, HD_MIN(count, last - pos), h.score);
        }
    }
    for (int64_t i = 0; i < h.block_count; i++)
        block_finish(&h.blocks[i], span, i * BLOCK_ROWS, head, s->v_dim);
}

/* Items are (span, head). */
static void mla_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const mla_job *job = arg;
    for (int64_t i = begin; i < end; i++)
        mla_item(job, &job->spans[i / job->shape->heads], (int)(i % job->shape->heads),
                 arena_of_thread(job->ex, 0, thread));
}

static void fast_attend_mla(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n)
{
    mla_job job = {.ex = ex, .shape = shape, .spans = spans};
    hd_pool_for(ex->pool, (int64_t)n * shape->heads, 1, mla_items, &job);
}

static size_t mla_thread_bytes(const hd_shape_limits *l)
{
    if (!l->mla_lora) return 0;
    arena a = {0};
    mla_head h;
    mla_take(&h, &a, l->mla_lora, l->mla_nope, l->mla_rope, l->v_dim, l->tokens);
    return a.used + HD_CACHE_LINE;
}
