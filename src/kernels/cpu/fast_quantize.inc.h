/* kernels/cpu/fast_quantize.inc.h: activations as signed bytes, with a scale for each unit of 32.
 *
 * One byte a value is what dot-product instructions take, but channels of real models that are a hundred times their
 * neighbours would leave those with two bits.  A unit in which one value outweighs all the rest together therefore
 * gets a second plane of bytes: what the first one left over, 254 times finer.  So do all units of narrow inputs,
 * whose models are small, cheap and sensitive.  What is rounded how depends on the token's own values only. */

/* Inputs narrower than this many columns have two planes throughout. */
#define NARROW 768

/* Rows of activations stand in slots, and slots in tiles of TILE: a unit of a tile holds the bytes of all its rows,
 * then their scales and sums, so that kernels address all rows of a tile from one pointer (and AMX loads them at once).
 * A single row is a tile of its own. */
#define TILE 16

typedef struct quant_unit {
    int8_t q[HD_UNIT];
    float d;             /* value of one step */
    float part;          /* sum of the unit's values, both planes: what minima are multiplied with */
    int32_t nsum, nsum0; /* minus the sum of q; of its first half: what offsets are multiplied with */
} quant_unit;

/* Activations, as floats and, where asked for, as bytes. */
typedef struct inputs {
    const float *x;
    const int32_t *row; /* of each slot, the row of x, or -1: none; NULL: slot i is row i */
    int64_t ldx, cols, units, slots;
    int tile;             /* rows of a tile: 1 or TILE */
    uint8_t *main, *rest; /* the two planes, [tiles][units][tile * sizeof(quant_unit)] */
    uint8_t *has_rest;    /* [tiles][units] whether any row of a tile has the second one in a unit */
} inputs;

/* A unit of a tile of M rows, from one of its rows on: their bytes, and their fields.  Two pointers, so that all else
 * in an address is constant. */
typedef struct unit_view {
    const uint8_t *q, *fields;
} unit_view;

HD_INLINE unit_view unit_from(const int M, const uint8_t *unit, int row)
{
    return (unit_view){unit + row * HD_UNIT, unit + M * HD_UNIT + row * 4};
}

HD_INLINE unit_view unit_moved(unit_view v, ptrdiff_t bytes)
{
    return (unit_view){v.q + bytes, v.fields + bytes};
}

/* Four bytes of row t; one of its fields. */
HD_INLINE int32_t unit_four(unit_view v, int t, int i)
{
    int32_t four;
    memcpy(&four, v.q + t * HD_UNIT + i * 4, sizeof four);
    return four;
}

HD_INLINE float unit_float(const int M, unit_view v, int t, const int field)
{
    return ((const float *)(const void *)(v.fields + M * 4 * field))[t];
}

HD_INLINE int32_t unit_int(const int M, unit_view v, int t, const int field)
{
    return ((const int32_t *)(const void *)(v.fields + M * 4 * field))[t];
}

enum { FIELD_D, FIELD_PART, FIELD_NSUM, FIELD_NSUM0 };

static int64_t tiles_of(const inputs *in)
{
    return (in->slots + in->tile - 1) / in->tile;
}

/* A cache line more: tiles a multiple of 4 KB apart would share a few sets of the first-level cache. */
static size_t tile_bytes_of(const inputs *in)
{
    return (size_t)(in->units * in->tile) * sizeof(quant_unit) + HD_CACHE_LINE;
}

static void inputs_take(inputs *in, arena *a, int64_t slots, int tile, int64_t cols)
{
    in->cols = cols;
    in->units = cols / HD_UNIT;
    in->slots = slots;
    in->tile = tile;
    size_t tiles = (size_t)tiles_of(in), bytes = tiles * tile_bytes_of(in);
    in->main = arena_take(a, 2 * bytes, 1);
    in->rest = in->main ? in->main + bytes : NULL;
    in->has_rest = arena_take(a, tiles * (size_t)in->units, 1);
}

#define SMALLEST 0x1p-100f /* units whose values are all below count as zeros: 127 / value would overflow */

/* Rounds 32 values to bytes: of each v * inverse, `fine` rounds what whole steps left over, too. */
HD_INLINE void round_unit(const float *x, float inverse, const bool fine, quant_unit *main, quant_unit *rest)
{
    const vf magic = vf_splat(12582912.0f); /* adding 1.5 * 2^23 rounds to a whole number */
    vi sum[2] = {{0}, {0}}, fine_sum[2] = {{0}, {0}};
    HD_UNROLL
    for (int i = 0; i < HD_UNIT; i += HD_LANES) {
        vf v = vf_load(x + i) * inverse;
        vi whole = (vi)(v + magic) - (vi)magic;
        vf_store_i8(main->q + i, vf_of_int(whole));
        sum[i / (HD_UNIT / 2)] += whole;
        if (!fine) continue;
        vi left = (vi)((v - vf_of_int(whole)) * 254.0f + magic) - (vi)magic; /* at most half a step: 127 */
        vf_store_i8(rest->q + i, vf_of_int(left));
        fine_sum[i / (HD_UNIT / 2)] += left;
    }
    main->nsum0 = -vi_sum(sum[0]);
    main->nsum = main->nsum0 - vi_sum(sum[1]);
    main->part = -(main->d * (float)main->nsum);
    if (!fine) return;
    rest->nsum0 = -vi_sum(fine_sum[0]);
    rest->nsum = rest->nsum0 - vi_sum(fine_sum[1]);
    rest->d = main->d / 254.0f;
    rest->part = 0.0f;
    main->part -= rest->d * (float)rest->nsum;
}

/* Returns whether the unit has a second plane.  With a NaN or an infinity among the values, d is NaN, and so is
 * everything that they meet. */
static bool quantize_unit(const float *x, bool narrow, quant_unit *main, quant_unit *rest)
{
    vf most = {0}, energy = {0}, bad = {0}; /* bad: 0, or NaN */
    for (int i = 0; i < HD_UNIT; i += HD_LANES) {
        vf v = vf_load(x + i);
        most = vf_max(most, vf_max(v, -v));
        energy = vf_fma(v, v, energy);
        bad += v * 0.0f;
    }
    float largest = vf_largest(most);
    main->d = largest / 127.0f + vf_sum(bad);
    if (isnan(main->d) || !(largest > SMALLEST)) {
        float d = isnan(main->d) ? main->d : 0.0f;
        *main = (quant_unit){.d = d, .part = d};
        return false;
    }
    bool fine = narrow || 2.0f * largest * largest > vf_sum(energy);
    if (fine)
        round_unit(x, 127.0f / largest, true, main, rest);
    else
        round_unit(x, 127.0f / largest, false, main, rest);
    return fine;
}

static void put_unit(const inputs *in, uint8_t *tile, int64_t u, int t, const quant_unit *from)
{
    uint8_t *to = tile + (size_t)(u * in->tile) * sizeof *from;
    memcpy(to + t * HD_UNIT, from->q, sizeof from->q);
    to += in->tile * HD_UNIT + 4 * t;
    memcpy(to, &from->d, sizeof from->d);
    memcpy(to + 4 * in->tile, &from->part, sizeof from->part);
    memcpy(to + 8 * in->tile, &from->nsum, sizeof from->nsum);
    memcpy(to + 12 * in->tile, &from->nsum0, sizeof from->nsum0);
}

/* Unit u of a tile; rows that a tile lacks are zeros. */
static void quantize_tile_unit(const inputs *in, int64_t tile, int64_t u)
{
    uint8_t *main_tile = in->main + (size_t)tile * tile_bytes_of(in);
    uint8_t *rest_tile = in->rest + (size_t)tile * tile_bytes_of(in);
    quant_unit rest[TILE];
    bool any = false;
    for (int t = 0; t < in->tile; t++) {
        int64_t slot = tile * in->tile + t;
        int64_t row = slot >= in->slots ? -1 : in->row ? in->row[slot] : slot;
        quant_unit one = {.d = 0.0f};
        bool fine = row >= 0 && quantize_unit(in->x + row * in->ldx + u * HD_UNIT, in->cols < NARROW, &one, &rest[t]);
        if (!fine) rest[t] = (quant_unit){.d = 0.0f};
        any |= fine;
        put_unit(in, main_tile, u, t, &one);
    }
    in->has_rest[tile * in->units + u] = any;
    for (int t = 0; any && t < in->tile; t++)
        put_unit(in, rest_tile, u, t, &rest[t]);
}

#define QUANT_UNITS 8 /* units at a time: a row of a few thousand columns makes work for all threads */

/* Items are (tile, stretch of units). */
static void quantize_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const inputs *in = arg;
    int64_t parts = (in->units + QUANT_UNITS - 1) / QUANT_UNITS;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t tile = i / parts, first = i % parts * QUANT_UNITS;
        for (int64_t u = first; u < HD_MIN(first + QUANT_UNITS, in->units); u++)
            quantize_tile_unit(in, tile, u);
    }
}

static void quantize(const hd_exec *ex, inputs *in)
{
    int64_t items = tiles_of(in) * ((in->units + QUANT_UNITS - 1) / QUANT_UNITS);
    hd_pool_for(ex->pool, items, in->tile == 1 ? 64 : 8, quantize_range, in);
}

/* A single row needs no tiles. */
static int tile_for(int64_t rows)
{
    return rows == 1 ? 1 : TILE;
}
