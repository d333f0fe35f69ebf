/* kernels/cpu/fast_attend_block.inc.h: the step that both forms of attention are made of: a block of queries against a
 * tile of keys and values.
 *
 * Rows of a block are (query, head) pairs that share their keys.  Scores are kept transposed, [key][block row]: queries
 * lie along the vector, so that the running softmax (arXiv:2205.14135) needs no horizontal step and the keys no
 * transposition.  Sums run in order of position, so that a row does not depend on the other rows of its block.
 *
 * `parts` says what numbers are multiplied as: 0 float32; 1 bfloat16; 2 the sum of two bfloat16, which keeps 16 bits
 * (fast_bf16.inc.h).  Scores, the softmax and all sums are float32 in each. */

#define BLOCK_ROWS 64   /* (query, head) rows at a time; a multiple of HD_LANES on every tier */
#define FLOAT_TILE 64   /* keys at a time */
#define BF16_TILE 256   /* the conversions and the softmax of a tile cost more than its products */
#define LOWEST (-3e38f) /* the largest score before the first: no infinity, which has no difference to itself */

/* The running softmax of a block: largest score, sum of exp(score - largest), sum of exp(score - largest) * value. */
typedef struct softmax_state {
    float *max, *sum; /* [padded] */
    float *out;       /* [padded][ldo] */
    int64_t ldo;      /* width of a value, rounded up to whole vectors */
} softmax_state;

typedef struct attend_block {
    int parts;
    int64_t rows, padded; /* rows in use, and rounded up to whole vectors */
    int64_t first_pos;    /* position of the query of row 0 */
    int group;            /* rows per query */
    int64_t k_dim;        /* values of a key; with parts rounded up to PAIR_ROUND */
    void *q;              /* [k_dim][padded] float transposed queries, scaled; or bfloat16 pairs of them */
    float *score;         /* [tile][padded] */
    uint16_t *p;          /* [padded][BF16_TILE] weights; not without parts */
    softmax_state state;
} attend_block;

static int64_t tile_keys(int parts)
{
    return parts ? BF16_TILE : FLOAT_TILE;
}

static size_t value_bytes(int parts)
{
    return parts == 1 ? 2 : 4;
}

/* As one takes keys: a row of bfloat16 ends at a whole tile of them. */
static int64_t key_width(int parts, int64_t k_dim)
{
    return parts ? round_up(k_dim, 32) : k_dim;
}

static softmax_state state_take(arena *a, int64_t padded, int64_t v_dim)
{
    softmax_state s = {.ldo = round_up(v_dim, HD_LANES)};
    s.max = arena_take(a, (size_t)padded, sizeof(float));
    s.sum = arena_take(a, (size_t)padded, sizeof(float));
    s.out = arena_take(a, (size_t)(padded * s.ldo), sizeof(float));
    return s;
}

static void state_clear(softmax_state *s, int64_t padded)
{
    for (int64_t r = 0; r < padded; r++) {
        s->max[r] = LOWEST;
        s->sum[r] = 0.0f;
    }
    memset(s->out, 0, (size_t)(padded * s->ldo) * sizeof(float));
}

/* `queries` from position first_pos on, `group` heads of each. */
static void block_place(attend_block *b, int parts, int64_t first_pos, int64_t queries, int group)
{
    b->parts = parts;
    b->rows = queries * group;
    b->padded = round_up(b->rows, HD_LANES);
    b->first_pos = first_pos;
    b->group = group;
}

static void block_take(attend_block *b, arena *a, int64_t k_dim)
{
    int parts = b->parts;
    b->k_dim = key_width(parts, k_dim);
    b->q = arena_take(a, (size_t)(b->k_dim * b->padded), value_bytes(parts));
    b->score = arena_take(a, (size_t)(tile_keys(parts) * b->padded), sizeof(float));
    b->p = parts ? arena_take(a, (size_t)(b->padded * BF16_TILE), value_bytes(parts)) : NULL;
}

/* Fills q from query rows: row r of the block is head `head + r % group` of query `query + r / group`. */
static void block_start(attend_block *b, const hd_attend_span *span, int64_t query, int head, int k_dim, float scale)
{
    int group = b->group;
    for (int64_t r = 0; r < b->padded; r += HD_LANES) {
        const float *from[HD_LANES];
        for (int64_t i = r; i < r + HD_LANES; i++)
            from[i - r] =
                i < b->rows ? span->q + (query + i / group) * span->ldq + (int64_t)(head + i % group) * k_dim : NULL;
#if defined(HD_BF16)
        if (b->parts) {
            bf16_put_columns((uint16_t *)b->q + 2 * r, b->padded, b->k_dim * b->padded, b->parts, from, scale, k_dim,
                             b->k_dim);
            continue;
        }
#endif
        float *to = (float *)b->q + r;
        for (int d = 0; d < k_dim; d++)
            for (int i = 0; i < HD_LANES; i++)
                to[d * b->padded + i] = from[i] ? from[i][d] * scale : 0.0f;
    }
}

/* Row r of the block, whose sums are row `from` of s, to where it belongs in the span's output. */
static void row_finish(const attend_block *b, int64_t r, const softmax_state *s, int64_t from,
                       const hd_attend_span *span, int64_t query, int head, int v_dim)
{
    float *to = span->out + (query + r / b->group) * span->ldo + (int64_t)(head + r % b->group) * v_dim;
    float inverse = 1.0f / s->sum[from];
    for (int d = 0; d < v_dim; d++)
        to[d] = s->out[from * s->ldo + d] * inverse;
}

static void block_finish(const attend_block *b, const softmax_state *s, const hd_attend_span *span, int64_t query,
                         int head, int v_dim)
{
    for (int64_t r = 0; r < b->rows; r++)
        row_finish(b, r, s, r, span, query, head, v_dim);
}

/* Rows of the block that see position `pos` are those from this one on. */
static int64_t first_row_seeing(const attend_block *b, int64_t pos)
{
    return HD_MIN(b->padded, HD_MAX(0, pos - b->first_pos) * b->group);
}

/* Turns scores [count][padded] into probabilities relative to the new maxima; rescales sums and outputs. */
static void block_softmax(attend_block *b, int64_t pos, int64_t count)
{
    softmax_state *s = &b->state;
    for (int64_t j = 0; j < count; j++)
        for (int64_t r = 0; r < first_row_seeing(b, pos + j); r++)
            b->score[j * b->padded + r] = -INFINITY;
    for (int64_t r = 0; r < b->padded; r += HD_LANES) {
        float *score = b->score + r;
        vf old = vf_load(s->max + r), most = old;
        for (int64_t j = 0; j < count; j++)
            most = vf_max(most, vf_load(score + j * b->padded));
        vf keep = vf_exp(old - most), sum = vf_load(s->sum + r) * keep;
        for (int64_t j = 0; j < count; j++) {
            vf p = vf_exp(vf_load(score + j * b->padded) - most);
            vf_store(score + j * b->padded, p);
            sum += p;
        }
        vf_store(s->max + r, most);
        vf_store(s->sum + r, sum);
        float factor[HD_LANES];
        memcpy(factor, &keep, sizeof keep);
        for (int64_t i = r; i < HD_MIN(r + HD_LANES, b->rows); i++)
            for (int64_t d = 0; factor[i - r] != 1.0f && d < s->ldo; d += HD_LANES)
                vf_store(s->out + i * s->ldo + d, vf_load(s->out + i * s->ldo + d) * factor[i - r]);
    }
}

#if defined(HD_BF16)

/* p = the scores' transpose, keys beyond `count` zero. */
static void block_weights(attend_block *b, int64_t count)
{
    int64_t part = b->padded * BF16_TILE;
    for (int64_t r = 0; r < b->padded; r += HD_LANES)
        for (int64_t j = 0; j < count; j += PAIR_ROUND) {
            vi high[HD_LANES], low[HD_LANES];
            for (int i = 0; i < HD_LANES; i++) {
                int64_t at = j + 2 * i;
                uint16_t put[2][2 * HD_LANES];
                vf even = at < count ? vf_load(b->score + at * b->padded + r) : (vf){0};
                vf odd = at + 1 < count ? vf_load(b->score + (at + 1) * b->padded + r) : (vf){0};
                bf16_put_pairs(put[0], 2 * HD_LANES, b->parts, even, odd);
                high[i] = vi_load(put[0]);
                if (b->parts > 1) low[i] = vi_load(put[1]);
            }
            vi_transpose(high);
            if (b->parts > 1) vi_transpose(low);
            for (int i = 0; i < HD_LANES; i++) {
                memcpy(b->p + (r + i) * BF16_TILE + j, &high[i], sizeof high[i]);
                if (b->parts > 1) memcpy(b->p + part + (r + i) * BF16_TILE + j, &low[i], sizeof low[i]);
            }
        }
}

/* Scores of `count` keys, from number `first` of a tile on. */
static void block_scores_bf16(attend_block *b, const uint16_t *k, int64_t ldk, int64_t k_part, int64_t first,
                              int64_t count)
{
    bf16_gemm(b->parts, b->score + first * b->padded, b->padded, k, ldk, k_part, b->q, b->padded, b->k_dim * b->padded,
              count, b->padded, b->k_dim, false);
}

/* The softmax of a tile's scores, and its values. */
static void block_values_bf16(attend_block *b, const uint16_t *v, int64_t v_part, int64_t pos, int64_t count)
{
    softmax_state *s = &b->state;
    block_softmax(b, pos, count);
    block_weights(b, count);
    bf16_gemm(b->parts, s->out, s->ldo, b->p, BF16_TILE, b->padded * BF16_TILE, v, s->ldo, v_part, b->rows, s->ldo,
              round_up(count, PAIR_ROUND), true);
}

#endif

/* One tile of `count` keys, rows ldk apart, and their values [count][ldo] (or pairs of them: then keys beyond count are
 * zero up to PAIR_ROUND), into the block.  Second parts are k_part and v_part numbers away. */
static void block_tile(attend_block *b, const void *k, int64_t ldk, int64_t k_part, const void *v, int64_t v_part,
                       int64_t pos, int64_t count)
{
    softmax_state *s = &b->state;
#if defined(HD_BF16)
    if (b->parts) {
        block_scores_bf16(b, k, ldk, k_part, 0, count);
        block_values_bf16(b, v, v_part, pos, count);
        return;
    }
#endif
    (void)k_part;
    (void)v_part;
    gemm(b->score, b->padded, k, ldk, 1, b->q, b->padded, count, b->padded, b->k_dim, false);
    block_softmax(b, pos, count);
    gemm(s->out, s->ldo, b->score, 1, b->padded, v, s->ldo, b->rows, s->ldo, count, true);
}

/* ---- cached rows ---- */

#define Q8_BLOCK 32

/* HD_LANES values of a row of Q8_0 from value c on.  A block: its scale in float16 and 32 bytes. */
HD_INLINE vf vf_q8_0(const uint8_t *row, int c)
{
    const uint8_t *block = row + c / Q8_BLOCK * (2 + Q8_BLOCK);
    float scale = vf_f16(block)[0]; /* the lanes behind it are not used, but lie in the block, too */
    return vf_of_int(vi_i8(block + 2 + c % Q8_BLOCK)) * scale;
}

/* `width` values of `count` cached rows from position pos on, as floats with row stride ld (padding zeroed). */
static void load_floats(const hd_rows *rows, int64_t pos, int at, int width, int64_t count, float *out, int64_t ld)
{
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *row = hd_row_at(rows, pos + i, at);
        float *to = out + i * ld;
        int c = 0;
        for (; c + HD_LANES <= width; c += HD_LANES)
            vf_store(to + c, rows->type == HD_TYPE_Q8_0 ? vf_q8_0(row, c) : vf_plain(rows->type, row, c));
        if (c < width) (void)hd_decode_row(rows->type, hd_row_at(rows, pos + i, at + c), to + c, width - c);
        for (int64_t p = width; p < ld; p++)
            to[p] = 0.0f;
    }
}

#if defined(HD_BF16)

/* Two vectors of a row of Q8_0, float16 or bfloat16 from value c on; zero from value `width` on. */
HD_INLINE void load_two(hd_type type, const uint8_t *row, int c, int width, vf x[2])
{
    if (type == HD_TYPE_Q8_0) {
        x[0] = c < width ? vf_q8_0(row, c) : (vf){0};
        x[1] = c < width ? vf_q8_0(row, c + HD_LANES) : (vf){0};
        return;
    }
    uint16_t rest[2 * HD_LANES] = {0};
    const uint8_t *from = row + 2 * c;
    if (c + 2 * HD_LANES > width) {
        memcpy(rest, from, (size_t)HD_MAX(0, width - c) * 2);
        from = (const uint8_t *)rest;
    }
    x[0] = vf_plain(type, from, 0);
    x[1] = vf_plain(type, from, HD_LANES);
}

/* Cached rows as rows of bfloat16, `padded` wide. */
static void load_rows_bf16(const hd_rows *rows, int64_t pos, int at, int width, int64_t count, uint16_t *out,
                           int64_t padded, int64_t part, int parts)
{
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *row = hd_row_at(rows, pos + i, at);
        for (int c = 0; c < padded; c += 2 * HD_LANES) {
            vf x[2];
            load_two(rows->type, row, c, width, x);
            bf16_put(out + i * padded + c, part, parts, x[0], x[1]);
        }
    }
}

/* Cached rows as pairs: [padded / 2][ld][2], zero from row `count` on. */
static void load_pairs_bf16(const hd_rows *rows, int64_t pos, int at, int width, int64_t count, int64_t padded,
                            uint16_t *out, int64_t ld, int64_t part, int parts)
{
    for (int64_t i = 0; i < padded; i += 2) {
        const uint8_t *even = i < count ? hd_row_at(rows, pos + i, at) : NULL;
        const uint8_t *odd = i + 1 < count ? hd_row_at(rows, pos + i + 1, at) : NULL;
        for (int c = 0; c < ld; c += 2 * HD_LANES) {
            vf a[2] = {{0}}, b[2] = {{0}};
            if (even) load_two(rows->type, even, c, width, a);
            if (odd) load_two(rows->type, odd, c, width, b);
            bf16_put_pairs(out + i * ld + 2 * c, part, parts, a[0], b[0]);
            if (c + HD_LANES < ld) bf16_put_pairs(out + i * ld + 2 * (c + HD_LANES), part, parts, a[1], b[1]);
        }
    }
}

/* Rows of floats [count][ld] as pairs, zero from row `count` to a multiple of PAIR_ROUND. */
static void pair_floats(uint16_t *out, int64_t ld, int64_t part, int parts, const float *x, int64_t ldx, int64_t count)
{
    for (int64_t i = 0; i < round_up(count, PAIR_ROUND); i += 2)
        for (int64_t c = 0; c < ld; c += HD_LANES) {
            vf even = i < count ? vf_load(x + i * ldx + c) : (vf){0};
            vf odd = i + 1 < count ? vf_load(x + (i + 1) * ldx + c) : (vf){0};
            bf16_put_pairs(out + i * ld + 2 * c, part, parts, even, odd);
        }
}

/* Pairs of rows [count][width] that are bfloat16 already: the first ld of each, zero from row `count` to `padded`. */
static void pair_rows_bf16(const uint16_t *rows, int64_t width, int64_t count, int64_t padded, uint16_t *out,
                           int64_t ld)
{
    for (int64_t i = 0; i < padded; i += 2)
        for (int64_t c = 0; c < ld; c += 2 * HD_LANES) {
            vi a = i < count ? vi_load(rows + i * width + c) : (vi){0}, first, second;
            vi b = i + 1 < count ? vi_load(rows + (i + 1) * width + c) : (vi){0};
            vi_zip(a, b, &first, &second);
            memcpy(out + i * ld + 2 * c, &first, sizeof first);
            if (c + HD_LANES < ld) memcpy(out + i * ld + 2 * (c + HD_LANES), &second, sizeof second);
        }
}

#endif
