/* kernels/cpu/fast_mla.inc.h: decompressed MLA: keys and values of a head are made from the cached latents.
 *
 * That costs as much as the attention of some 170 queries, so they are made once for all queries of a span.  Some heads
 * at a time, and a segment of the cached rows at a time, to bound the memory: all threads make keys and values, then
 * all take blocks of queries, whose softmax goes on from segment to segment. */

#define MLA_HEADS 8      /* at a time, or as many as there are threads: items for all of them in each step */
#define MLA_SEGMENT 2048 /* cached rows at a time: 1 MB of keys and values a head, which stay in a shared cache */
#define MLA_ROWS 64      /* cached rows that a thread decompresses at a time */
#define MLA_SLICE 32     /* rows of a weight matrix that a thread decodes at a time */

typedef struct mla_job {
    const hd_exec *ex;
    const hd_mla_shape *shape;
    attend_piece piece;
    int parts;
    int head0, heads;                              /* those under way */
    int64_t pos, count;                            /* the segment's rows */
    int64_t k_dim, ldk, ldv, lora;                 /* of a query and key; of stored keys, values and latents */
    size_t k_b_bytes, v_b_bytes, k_bytes, v_bytes; /* of a head */
    uint8_t *k_b;                                  /* [head][lora][ldk]: floats, or pairs of bfloat16 */
    uint8_t *v_b;                                  /* [head][lora][ldv] transposed */
    uint8_t *k;                                    /* [head][MLA_SEGMENT][ldk] */
    uint8_t *v;                                    /* [head][MLA_SEGMENT][ldv], or pairs */
    softmax_state *state;                          /* [head][block] */
    size_t shared;
} mla_job;

static int mla_heads(int64_t heads, int threads)
{
    return (int)HD_MIN(heads, HD_MAX(MLA_HEADS, threads));
}

static int64_t mla_blocks(int64_t queries)
{
    return (queries + BLOCK_ROWS - 1) / BLOCK_ROWS;
}

static void mla_take(mla_job *j, arena *a, int64_t nope, int64_t rope, int64_t lora, int64_t v_dim, int64_t queries,
                     int heads)
{
    size_t size = value_bytes(j->parts);
    j->k_dim = nope + rope;
    j->ldk = round_up(round_up(nope, HD_LANES) + rope, 32); /* products write whole vectors before the rotated part */
    j->ldv = round_up(v_dim, HD_LANES);
    j->lora = round_up(lora, 32);
    j->k_b_bytes = (size_t)(j->lora * round_up(nope, HD_LANES)) * size;
    j->v_b_bytes = (size_t)(j->lora * j->ldv) * size;
    j->k_bytes = (size_t)(MLA_SEGMENT * j->ldk) * size;
    j->v_bytes = (size_t)(MLA_SEGMENT * j->ldv) * size;
    j->k_b = arena_take(a, (size_t)heads, j->k_b_bytes);
    j->v_b = arena_take(a, (size_t)heads, j->v_b_bytes);
    j->k = arena_take(a, (size_t)heads, j->k_bytes);
    j->v = arena_take(a, (size_t)heads, j->v_bytes);
    j->state = arena_take(a, (size_t)(heads * mla_blocks(queries)), sizeof *j->state);
    for (int64_t i = 0; i < heads * mla_blocks(queries); i++) {
        softmax_state s = state_take(a, BLOCK_ROWS, v_dim);
        if (j->state) j->state[i] = s;
    }
    j->shared = a->used;
}

/* ---- weights ---- */

/* Where number `at` of an array of floats, or of bfloat16, stands. */
static void *number_at(const mla_job *j, uint8_t *base, int64_t at)
{
    return base + at * (j->parts ? 2 : 4);
}

/* Rows [l0, l0 + MLA_SLICE) of k_b [lora][nope]. */
static void mla_load_k_b(const mla_job *j, int head, int64_t l0, arena a)
{
    const hd_mla_shape *s = j->shape;
    int64_t ld = round_up(s->nope, HD_LANES);
    float *rows = arena_take(&a, (size_t)(MLA_SLICE * ld), sizeof(float));
    uint8_t *to = number_at(j, j->k_b + (size_t)(head - j->head0) * j->k_b_bytes, l0 * ld);
    memset(rows, 0, (size_t)(MLA_SLICE * ld) * sizeof(float));
    for (int64_t l = l0; l < HD_MIN(l0 + MLA_SLICE, s->lora); l++)
        hd_matrix_decode_row(&s->k_b[head], l, rows + (l - l0) * ld);
#if defined(HD_BF16)
    if (j->parts) {
        pair_floats((uint16_t *)(void *)to, ld, j->lora * ld, j->parts, rows, ld, MLA_SLICE);
        return;
    }
#endif
    memcpy(to, rows, (size_t)(MLA_SLICE * ld) * sizeof(float));
}

/* Rows [d0, d0 + HD_LANES) of v_b [v_dim][lora], as columns. */
static void mla_load_v_b(const mla_job *j, int head, int64_t d0, arena a)
{
    const hd_mla_shape *s = j->shape;
    float *rows = arena_take(&a, (size_t)(HD_LANES * s->lora), sizeof(float));
    const float *from[HD_LANES] = {NULL};
    uint8_t *to = j->v_b + (size_t)(head - j->head0) * j->v_b_bytes;
    for (int64_t d = d0; d < HD_MIN(d0 + HD_LANES, s->v_dim); d++) {
        from[d - d0] = rows + (d - d0) * s->lora;
        hd_matrix_decode_row(&s->v_b[head], d, rows + (d - d0) * s->lora);
    }
#if defined(HD_BF16)
    if (j->parts) {
        bf16_put_columns((uint16_t *)(void *)to + 2 * d0, j->ldv, j->lora * j->ldv, j->parts, from, 1.0f, s->lora,
                         j->lora);
        return;
    }
#endif
    for (int64_t l = 0; l < s->lora; l++)
        for (int64_t i = 0; i < HD_LANES; i++)
            ((float *)(void *)to)[l * j->ldv + d0 + i] = from[i] ? from[i][l] : 0.0f;
}

/* Items are slices of k_b and of v_b of every head. */
static void mla_weights(void *arg, int64_t begin, int64_t end, int thread)
{
    const mla_job *j = arg;
    int64_t k_slices = j->lora / MLA_SLICE, slices = k_slices + j->ldv / HD_LANES;
    for (int64_t i = begin; i < end; i++) {
        int head = j->head0 + (int)(i / slices);
        int64_t slice = i % slices;
        arena a = arena_of_thread(j->ex, j->shared, thread);
        if (slice < k_slices)
            mla_load_k_b(j, head, slice * MLA_SLICE, a);
        else
            mla_load_v_b(j, head, (slice - k_slices) * HD_LANES, a);
    }
}

/* ---- keys and values ---- */

/* Latents of MLA_ROWS cached rows, and what a head's products are written to. */
typedef struct mla_chunk {
    int64_t row, count; /* in the segment */
    void *latent;       /* [MLA_ROWS][lora] */
    float *rotated;     /* [MLA_ROWS][rope] */
    float *k, *v;       /* [MLA_ROWS][ldk], [MLA_ROWS][ldv] */
} mla_chunk;

static void chunk_take(const mla_job *j, mla_chunk *c, arena *a, int64_t rope)
{
    c->latent = arena_take(a, (size_t)(MLA_ROWS * j->lora), value_bytes(j->parts));
    c->rotated = arena_take(a, (size_t)(MLA_ROWS * rope), sizeof(float));
    c->k = arena_take(a, (size_t)(MLA_ROWS * j->ldk), sizeof(float));
    c->v = arena_take(a, (size_t)(MLA_ROWS * j->ldv), sizeof(float));
}

static void chunk_rotated(const mla_job *j, const mla_chunk *c, float *k)
{
    const hd_mla_shape *s = j->shape;
    for (int64_t i = 0; i < c->count; i++)
        memcpy(k + i * j->ldk + s->nope, c->rotated + i * s->rope, (size_t)s->rope * sizeof(float));
}

static void chunk_head_float(const mla_job *j, const mla_chunk *c, int head)
{
    const hd_mla_shape *s = j->shape;
    int64_t ld = round_up(s->nope, HD_LANES);
    float *k = number_at(j, j->k + (size_t)head * j->k_bytes, c->row * j->ldk);
    float *v = number_at(j, j->v + (size_t)head * j->v_bytes, c->row * j->ldv);
    const float *k_b = (const void *)(j->k_b + (size_t)head * j->k_b_bytes);
    const float *v_b = (const void *)(j->v_b + (size_t)head * j->v_b_bytes);
    gemm(k, j->ldk, c->latent, j->lora, 1, k_b, ld, c->count, ld, s->lora, false);
    gemm(v, j->ldv, c->latent, j->lora, 1, v_b, j->ldv, c->count, j->ldv, s->lora, false);
    chunk_rotated(j, c, k);
}

#if defined(HD_BF16)
static void chunk_head_bf16(const mla_job *j, const mla_chunk *c, int head)
{
    const hd_mla_shape *s = j->shape;
    int64_t ld = round_up(s->nope, HD_LANES);
    uint16_t *k = number_at(j, j->k + (size_t)head * j->k_bytes, c->row * j->ldk);
    uint16_t *v = number_at(j, j->v + (size_t)head * j->v_bytes, c->row * j->ldv);
    const uint16_t *k_b = (const void *)(j->k_b + (size_t)head * j->k_b_bytes);
    const uint16_t *v_b = (const void *)(j->v_b + (size_t)head * j->v_b_bytes);
    int64_t part = MLA_ROWS * j->lora;
    bf16_gemm(j->parts, c->k, j->ldk, c->latent, j->lora, part, k_b, ld, j->lora * ld, c->count, ld, j->lora, false);
    bf16_gemm(j->parts, c->v, j->ldv, c->latent, j->lora, part, v_b, j->ldv, j->lora * j->ldv, c->count, j->ldv,
              j->lora, false);
    chunk_rotated(j, c, c->k);
    for (int64_t i = 0; i < c->count; i++)
        bf16_put_row(k + i * j->ldk, MLA_SEGMENT * j->ldk, j->parts, c->k + i * j->ldk, j->k_dim, j->ldk);
    pair_floats(v, j->ldv, MLA_SEGMENT * j->ldv, j->parts, c->v, j->ldv, c->count);
}
#endif

/* Items are chunks of the segment, for all heads: their latents are loaded once. */
static void mla_decompress(void *arg, int64_t begin, int64_t end, int thread)
{
    const mla_job *j = arg;
    const hd_mla_shape *s = j->shape;
    const hd_rows *rows = &j->piece.span->k;
    tiles_begin();
    for (int64_t i = begin; i < end; i++) {
        arena a = arena_of_thread(j->ex, j->shared, thread);
        mla_chunk c = {.row = i * MLA_ROWS, .count = HD_MIN(MLA_ROWS, j->count - i * MLA_ROWS)};
        int64_t pos = j->pos + c.row;
        chunk_take(j, &c, &a, s->rope);
        load_floats(rows, pos, s->lora, s->rope, c.count, c.rotated, s->rope);
#if defined(HD_BF16)
        if (j->parts) {
            load_rows_bf16(rows, pos, 0, s->lora, c.count, c.latent, j->lora, MLA_ROWS * j->lora, j->parts);
            for (int h = 0; h < j->heads; h++)
                chunk_head_bf16(j, &c, h);
            continue;
        }
#endif
        load_floats(rows, pos, 0, s->lora, c.count, c.latent, j->lora);
        for (int h = 0; h < j->heads; h++)
            chunk_head_float(j, &c, h);
    }
    tiles_end();
}

/* ---- attention ---- */

/* Items are (head, block of queries); the segment's keys and values into the block's softmax. */
static void mla_attend(void *arg, int64_t begin, int64_t end, int thread)
{
    const mla_job *j = arg;
    const hd_mla_shape *s = j->shape;
    const attend_piece *p = &j->piece;
    int64_t blocks = mla_blocks(p->queries), tile = tile_keys(j->parts);
    tiles_begin();
    for (int64_t i = begin; i < end; i++) {
        int64_t head = i / blocks, query = i % blocks * BLOCK_ROWS;
        arena a = arena_of_thread(j->ex, j->shared, thread);
        attend_block b;
        block_place(&b, j->parts, p->span->pos0 + p->query + query, HD_MIN(BLOCK_ROWS, p->queries - query), 1);
        block_take(&b, &a, j->k_dim);
        b.state = j->state[i];
        if (j->pos == 0) state_clear(&b.state, b.padded);
        block_start(&b, p->span, p->query + query, j->head0 + (int)head, (int)j->k_dim, s->scale);
        int64_t rows = b.first_pos + b.rows, end_pos = HD_MIN(j->pos + j->count, rows); /* that the block sees */
        for (int64_t pos = j->pos; pos < end_pos; pos += tile) {
            int64_t row = pos - j->pos;
            block_tile(&b, number_at(j, j->k + (size_t)head * j->k_bytes, row * j->ldk), j->ldk, MLA_SEGMENT * j->ldk,
                       number_at(j, j->v + (size_t)head * j->v_bytes, row * j->ldv), MLA_SEGMENT * j->ldv, pos,
                       HD_MIN(tile, end_pos - pos));
        }
        if (j->pos < rows && rows <= j->pos + j->count)
            block_finish(&b, &b.state, p->span, p->query + query, j->head0 + (int)head, s->v_dim);
    }
    tiles_end();
}

/* ---- the operator ---- */

static void mla_piece(mla_job *j)
{
    const hd_mla_shape *s = j->shape;
    hd_pool *pool = j->ex->pool;
    arena a = {.base = j->ex->scratch};
    int step = mla_heads(s->heads, hd_pool_threads(pool));
    int64_t rows = j->piece.span->pos0 + j->piece.query + j->piece.queries;
    j->parts = j->piece.parts;
    mla_take(j, &a, s->nope, s->rope, s->lora, s->v_dim, j->piece.queries, step);
    for (j->head0 = 0; j->head0 < s->heads; j->head0 += step) {
        j->heads = HD_MIN(step, s->heads - j->head0);
        hd_pool_for(pool, j->heads * (j->lora / MLA_SLICE + j->ldv / HD_LANES), 1, mla_weights, j);
        for (j->pos = 0; j->pos < rows; j->pos += MLA_SEGMENT) {
            j->count = HD_MIN(MLA_SEGMENT, rows - j->pos);
            hd_pool_for(pool, (j->count + MLA_ROWS - 1) / MLA_ROWS, 1, mla_decompress, j);
            hd_pool_for(pool, j->heads * mla_blocks(j->piece.queries), 1, mla_attend, j);
        }
    }
}

static void fast_attend_mla(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n)
{
    for (int i = 0; i < 2 * n; i++) {
        mla_job j = {.ex = ex, .shape = shape, .piece = piece_of(&spans[i / 2], i % 2)};
        if (j.piece.queries) mla_piece(&j);
    }
}

/* What one thread needs: the largest of the three steps. */
static size_t mla_thread_bytes(const mla_job *j, const hd_shape_limits *l)
{
    arena weights = {0}, chunk = {0}, block = {0};
    mla_chunk c;
    attend_block b;
    arena_take(&weights, (size_t)HD_MAX(HD_LANES * j->lora, MLA_SLICE * round_up(l->mla_nope, HD_LANES)),
               sizeof(float));
    chunk_take(j, &c, &chunk, l->mla_rope);
    block_place(&b, j->parts, 0, BLOCK_ROWS, 1);
    block_take(&b, &block, j->k_dim);
    return HD_MAX(weights.used, HD_MAX(chunk.used, block.used)) + HD_CACHE_LINE;
}

static size_t mla_scratch(const hd_shape_limits *l)
{
    size_t most = 0;
    for (int parts = 0; l->mla_lora && parts <= 2; parts++) {
        arena a = {0};
        mla_job j = {.parts = parts};
        mla_take(&j, &a, l->mla_nope, l->mla_rope, l->mla_lora, l->v_dim, l->tokens, mla_heads(l->heads, l->threads));
        most = HD_MAX(most, a.used + (size_t)l->threads * mla_thread_bytes(&j, l));
    }
    return most;
}
