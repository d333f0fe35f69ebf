/* kernels/cpu/fast_quantize.inc.h: activations as signed bytes, with a scale for each unit of 32.
 *
 * One byte a value is what dot-product instructions take, but channels of real models that are a hundred times their
 * neighbours would leave those with two bits.  A unit in which one value outweighs all the rest together therefore
 * gets a second plane of bytes: what the first one left over, 256 times finer.  So do all units of narrow inputs,
 * whose models are small, cheap and sensitive.  What is rounded how depends on the token's own values only. */

/* Inputs narrower than this many columns have two planes throughout. */
#define NARROW 768

typedef struct quant_unit {
    int8_t q[HD_UNIT];
    float d;             /* value of one step */
    float part;          /* sum of the unit's values, both planes: what minima are multiplied with */
    int32_t nsum, nsum0; /* minus the sum of q; of its first half: what offsets are multiplied with */
} quant_unit;

/* Activations of n rows, as floats and, where asked for, as bytes. */
typedef struct inputs {
    const float *x;
    int64_t ldx, cols, units;
    quant_unit *main, *rest; /* [n][ldq] the two planes */
    uint8_t *has_rest;       /* [n][ldr] whether a unit has the second one */
    int64_t ldq, ldr;
} inputs;

/* Flags are looked at in lines of this many units. */
#define PANEL_UNITS 64

static void inputs_take(inputs *in, arena *a, int64_t n, int64_t cols)
{
    in->cols = cols;
    in->units = cols / HD_UNIT;
    in->ldq = in->units | 1; /* rows a multiple of 4 KB apart would share a few sets of the first-level cache */
    in->ldr = round_up(in->units, PANEL_UNITS);
    in->main = arena_take(a, 2 * (size_t)(n * in->ldq), sizeof *in->main);
    in->rest = in->main ? in->main + n * in->ldq : NULL;
    in->has_rest = arena_take(a, (size_t)(n * in->ldr), 1);
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

static void quantize_row(const inputs *in, int64_t row, const float *x)
{
    uint8_t *flag = in->has_rest + row * in->ldr;
    for (int64_t u = 0; u < in->units; u++) {
        int64_t at = row * in->ldq + u;
        flag[u] = quantize_unit(x + u * HD_UNIT, in->cols < NARROW, &in->main[at], &in->rest[at]);
        if (!flag[u]) in->rest[at] = (quant_unit){.d = 0.0f}; /* a tile that has one with a second plane reads it */
    }
    memset(flag + in->units, 0, (size_t)(in->ldr - in->units));
}

static void quantize_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const inputs *in = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        quantize_row(in, i, in->x + i * in->ldx);
}

static void quantize_rows(const hd_exec *ex, inputs *in, int64_t n)
{
    hd_pool_for(ex->pool, n, 1, quantize_range, in);
}
