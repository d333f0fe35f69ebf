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
    uint8_t *dense;       /* [tiles][stretches of PANEL_UNITS] whether many units have, and the others zeros */
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

/* Units that are unpacked together (fast_matmul.inc.h): such a panel stays in the first-level cache beside as many
 * units of a tile. */
#define PANEL_UNITS 32

/* With more units than this of a panel that have a second plane, it is taken for all of them. */
#define MANY_RESTS (PANEL_UNITS / 4)

static int64_t stretches_of(const inputs *in)
{
    return (in->units + PANEL_UNITS - 1) / PANEL_UNITS;
}

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
    in->dense = arena_take(a, tiles * (size_t)stretches_of(in), 1);
}

#define SMALLEST 0x1p-100f /* units whose values are all below count as zeros: 127 / value would overflow */

/* Units that are rounded together, one a lane: those of neighbouring rows, or neighbours in a single row. */
typedef struct unit_batch {
    const float *x[HD_LANES]; /* 32 values each */
    int8_t q[2][HD_LANES][HD_UNIT];
    vf field[2][4]; /* of both planes: FIELD_D and so on */
    vi fine;        /* lanes with a second plane */
    bool any;
} unit_batch;

static const float zero_unit[HD_UNIT] = {0};

/* Values with an infinity or a NaN among them: d is NaN, and so is everything that they meet. */
static void spoil_lanes(unit_batch *b, const float *energy, float *d, float *inverse, int32_t *fine)
{
    for (int r = 0; r < HD_LANES; r++) {
        float bad = 0.0f;
        if (energy[r] <= FLT_MAX) continue; /* else an infinity, a NaN, or squares too large */
        for (int i = 0; i < HD_UNIT; i++)
            bad += b->x[r][i] * 0.0f;
        if (bad == 0.0f) continue;
        b->x[r] = zero_unit;
        d[r] = NAN;
        inverse[r] = 0.0f;
        fine[r] = 0;
    }
}

/* The scale of each lane, its inverse, and whether the lane has a second plane. */
static void scale_batch(unit_batch *b, bool narrow, float *inverse)
{
    vf most[HD_LANES], energy[HD_LANES];
    for (int r = 0; r < HD_LANES; r++) {
        most[r] = energy[r] = (vf){0};
        HD_UNROLL
        for (int i = 0; i < HD_UNIT; i += HD_LANES) {
            vf v = vf_load(b->x[r] + i);
            most[r] = vf_max(most[r], vf_max(v, -v));
            energy[r] = vf_fma(v, v, energy[r]);
        }
    }
    vf largest = vf_fold(false, most), all = vf_fold(true, energy);
    vi keep = largest > vf_splat(SMALLEST);
    vf d = vf_and(keep, largest / 127.0f);
    vf_store(inverse, vf_and(keep, 127.0f / largest));
    b->fine = narrow ? keep : keep & (2.0f * largest * largest > all);
    if (vi_any(~(all <= vf_splat(FLT_MAX)))) {
        float values[2][HD_LANES];
        int32_t fine[HD_LANES];
        vf_store(values[0], all);
        vf_store(values[1], d);
        memcpy(fine, &b->fine, sizeof fine);
        spoil_lanes(b, values[0], values[1], inverse, fine);
        d = vf_load(values[1]);
        b->fine = vi_load(fine);
    }
    b->field[0][FIELD_D] = d;
    b->field[1][FIELD_D] = vf_and(b->fine, d / 254.0f);
    b->any = vi_any(b->fine);
}

/* Rounds the values to bytes: of each v * inverse, the second plane rounds what whole steps left over. */
static void quantize_batch(unit_batch *b, bool narrow)
{
    const vf magic = vf_splat(12582912.0f); /* adding 1.5 * 2^23 rounds to a whole number */
    float inverse[HD_LANES];
    vi sum[2][2][HD_LANES] = {{{{0}}}}; /* of bytes: [plane][half of the unit] */
    scale_batch(b, narrow, inverse);
    int32_t fine[HD_LANES];
    memcpy(fine, &b->fine, sizeof fine);
    for (int r = 0; r < HD_LANES; r++) {
        if (b->any && !fine[r]) memset(b->q[1][r], 0, HD_UNIT);
        HD_UNROLL
        for (int i = 0; i < HD_UNIT; i += HD_LANES) {
            const int half = i / (HD_UNIT / 2);
            vf v = vf_load(b->x[r] + i) * inverse[r];
            vi whole = (vi)(v + magic) - (vi)magic;
            vf_store_i8(b->q[0][r] + i, vf_of_int(whole));
            sum[0][half][r] += whole;
            if (!fine[r]) continue;
            vi left = (vi)((v - vf_of_int(whole)) * 254.0f + magic) - (vi)magic; /* at most half a step: 127 */
            vf_store_i8(b->q[1][r] + i, vf_of_int(left));
            sum[1][half][r] += left;
        }
    }
    for (int p = 0; p < 1 + b->any; p++) {
        vi nsum0 = -vi_fold(sum[p][0]), nsum = nsum0 - vi_fold(sum[p][1]);
        vf part = -(b->field[p][FIELD_D] * vf_of_int(nsum));
        b->field[p][FIELD_NSUM0] = (vf)nsum0;
        b->field[p][FIELD_NSUM] = (vf)nsum;
        if (p == 0) b->field[0][FIELD_PART] = part;
        if (p == 1) b->field[0][FIELD_PART] += part; /* minima meet both planes at once */
        if (p == 1) b->field[1][FIELD_PART] = (vf){0};
    }
}

/* Lanes as rows [row, row + HD_LANES) of a unit of a tile. */
static void put_rows(const unit_batch *b, int plane, uint8_t *unit, int row)
{
    memcpy(unit + row * HD_UNIT, b->q[plane], sizeof b->q[plane]);
    for (int f = 0; f < 4; f++)
        memcpy(unit + TILE * (HD_UNIT + 4 * f) + 4 * row, &b->field[plane][f], sizeof(vf));
}

/* Unit u of a tile; rows that a tile lacks are zeros.  Returns whether any row has a second plane. */
static bool quantize_tile_unit(const inputs *in, int64_t tile, int64_t u)
{
    const size_t at = (size_t)tile * tile_bytes_of(in) + (size_t)u * TILE * sizeof(quant_unit);
    unit_batch b[TILE / HD_LANES];
    bool any = false;
    for (int i = 0; i < TILE / HD_LANES; i++) {
        for (int r = 0; r < HD_LANES; r++) {
            int64_t slot = tile * TILE + i * HD_LANES + r;
            int64_t row = slot >= in->slots ? -1 : in->row ? in->row[slot] : slot;
            b[i].x[r] = row < 0 ? zero_unit : in->x + row * in->ldx + u * HD_UNIT;
        }
        quantize_batch(&b[i], in->cols < NARROW);
        put_rows(&b[i], 0, in->main + at, i * HD_LANES);
        any |= b[i].any;
    }
    if (!any) return false;
    for (int i = 0; i < TILE / HD_LANES; i++) {
        if (!b[i].any) memset(b[i].q[1], 0, sizeof b[i].q[1]);
        if (!b[i].any) memset(b[i].field[1], 0, sizeof b[i].field[1]);
        put_rows(&b[i], 1, in->rest + at, i * HD_LANES);
    }
    return true;
}

/* Units [first, end) of a tile. */
static void quantize_tile(const inputs *in, int64_t tile, int64_t first, int64_t end)
{
    uint8_t *any = in->has_rest + tile * in->units;
    int64_t count = 0;
    for (int64_t u = first; u < end; u++)
        count += any[u] = quantize_tile_unit(in, tile, u);
    bool dense = count > MANY_RESTS;
    in->dense[tile * stretches_of(in) + first / PANEL_UNITS] = dense;
    for (int64_t u = first; dense && u < end; u++)
        if (!any[u])
            memset(in->rest + (size_t)tile * tile_bytes_of(in) + (size_t)u * TILE * sizeof(quant_unit), 0,
                   TILE * sizeof(quant_unit));
}

/* Units [first, end) of a single row. */
static void quantize_row(const inputs *in, int64_t slot, int64_t first, int64_t end)
{
    int64_t row = in->row ? in->row[slot] : slot;
    uint8_t *planes[2] = {in->main + (size_t)slot * tile_bytes_of(in), in->rest + (size_t)slot * tile_bytes_of(in)};
    for (int64_t u0 = first; u0 < end; u0 += HD_LANES) {
        int64_t n = HD_MIN(HD_LANES, end - u0);
        unit_batch b;
        for (int r = 0; r < HD_LANES; r++)
            b.x[r] = r < n ? in->x + row * in->ldx + (u0 + r) * HD_UNIT : zero_unit;
        quantize_batch(&b, in->cols < NARROW);
        for (int p = 0; p < 1 + b.any; p++)
            for (int r = 0; r < n; r++) {
                quant_unit unit;
                memcpy(unit.q, b.q[p][r], sizeof unit.q);
                unit.d = b.field[p][FIELD_D][r];
                unit.part = b.field[p][FIELD_PART][r];
                unit.nsum = ((vi)b.field[p][FIELD_NSUM])[r];
                unit.nsum0 = ((vi)b.field[p][FIELD_NSUM0])[r];
                memcpy(planes[p] + (size_t)(u0 + r) * sizeof unit, &unit, sizeof unit);
            }
        for (int r = 0; r < n; r++)
            in->has_rest[slot * in->units + u0 + r] = b.fine[r] != 0;
    }
}

/* Items are (tile, stretch of units). */
static void quantize_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const inputs *in = arg;
    int64_t stretches = stretches_of(in);
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t tile = i / stretches, first = i % stretches * PANEL_UNITS;
        int64_t last = HD_MIN(first + PANEL_UNITS, in->units);
        if (in->tile == 1)
            quantize_row(in, tile, first, last);
        else
            quantize_tile(in, tile, first, last);
    }
}

static void quantize(const hd_exec *ex, inputs *in)
{
    int64_t items = tiles_of(in) * stretches_of(in);
    hd_pool_for(ex->pool, items, in->tile == 1 ? 16 : 2, quantize_range, in);
}

/* A single row needs no tiles. */
static int tile_for(int64_t rows)
{
    return rows == 1 ? 1 : TILE;
}
