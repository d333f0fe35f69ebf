/* tensor/encode_fit.inc.h: vectors, batches, and the search for scales. */

#define HD_INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * ENCODE_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * ENCODE_LANES)));

HD_INLINE vf splat(float x)
{
    return x - (vf){0};
}

/* The widths that have instructions of their own for what the compiler would need several for. */
#if defined(__AVX512F__) && ENCODE_LANES == 16
#define ENCODE_512
#elif defined(__AVX2__) && ENCODE_LANES == 8
#define ENCODE_256
#endif

/* `where` has all bits of a lane or none. */
HD_INLINE vf pick(vi where, vf a, vf b)
{
#if defined(ENCODE_256)
    return (vf)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)where);
#else
    return (vf)((where & (vi)a) | (~where & (vi)b));
#endif
}

HD_INLINE vf magnitude(vf v)
{
    return (vf)((vi)v & 0x7fffffff);
}

/* What is no number becomes `low`. */
HD_INLINE vf clamp(vf v, float low, float high)
{
#if defined(ENCODE_512)
    return (vf)_mm512_min_ps(_mm512_max_ps((__m512)v, (__m512)splat(low)), (__m512)splat(high));
#elif defined(ENCODE_256)
    return (vf)_mm256_min_ps(_mm256_max_ps((__m256)v, (__m256)splat(low)), (__m256)splat(high));
#else
    v = pick(v > low, v, splat(low));
    return pick(v > high, splat(high), v);
#endif
}

/* To the nearest whole number, of magnitudes below 2^22: adding 1.5 * 2^23 leaves no room for a fraction. */
HD_INLINE vf rounded(vf v)
{
    const float magic = 12582912.0f;
    return (v + magic) - magic;
}

/* 1 / v, and 0 where that would not be a number. */
HD_INLINE vf inverse_of(vf v)
{
    vi there = magnitude(v) > 1e-30f;
    return pick(there, 1.0f / pick(there, v, splat(1.0f)), splat(0.0f));
}

/* ---- batches ---- */

typedef struct batch {
    vf x[HD_SUPER_BLOCK], w[HD_SUPER_BLOCK]; /* w is not filled in, nor read, where all weights are alike */
    int blocks;                              /* of the lanes; the others are zeros */
} batch;

/* Weights count within a block only: the largest becomes 1.  None is so small that a block would hang on one value. */
#define WEIGHT_MIN 1e-4f

HD_INLINE void level_weights(vf *w, int size)
{
    vf most = {0};
    for (int i = 0; i < size; i++)
        most = pick(w[i] > most, w[i], most);
    vf inverse = inverse_of(most);
    for (int i = 0; i < size; i++)
        w[i] = clamp(w[i] * inverse, WEIGHT_MIN, 1.0f);
}

/* The first min(blocks, ENCODE_LANES) blocks of `size` values. */
HD_INLINE void batch_load(batch *b, int size, const float *src, const float *weight, int64_t blocks)
{
    b->blocks = (int)HD_MIN(blocks, ENCODE_LANES);
    if (b->blocks < ENCODE_LANES) memset(b, 0, offsetof(batch, blocks));
    for (int l = 0; l < b->blocks; l++)
        for (int i = 0; i < size; i++)
            b->x[i][l] = src[l * size + i];
    if (!weight) return;
    for (int l = 0; l < b->blocks; l++)
        for (int i = 0; i < size; i++)
            b->w[i][l] = weight[l * size + i];
    level_weights(b->w, size);
}

/* Weights where none are known: the root of the mean square of a group of 32 plus the value's magnitude, so that the
 * large ones, which move outputs most, are off by less.  docs/tensor.md says what it gains, and for which types. */
HD_INLINE void batch_own_weights(batch *b, int size)
{
    const int group = 32;
    for (int g = 0; g < size; g += group) {
        vf sum = {0}, root = {0};
        for (int i = g; i < g + group; i++)
            sum += b->x[i] * b->x[i];
        for (int l = 0; l < ENCODE_LANES; l++)
            root[l] = sqrtf(sum[l] / (float)group);
        for (int i = g; i < g + group; i++)
            b->w[i] = root + magnitude(b->x[i]);
    }
    level_weights(b->w, size);
}

/* Codes are whole numbers; those of block l, plus an offset, as bytes. */
HD_INLINE void lane_codes(uint8_t *codes, const vf *q, int n, int l, int offset)
{
    for (int i = 0; i < n; i++)
        codes[i] = (uint8_t)((int)q[i][l] + offset);
}

/* As a file holds it, in binary16; bits[ENCODE_LANES] or NULL. */
HD_INLINE vf half_scale(vf v, uint16_t *bits)
{
    vf out = {0};
    for (int l = 0; l < ENCODE_LANES; l++) {
        uint16_t h = hd_f32_to_f16(v[l]);
        if (bits) bits[l] = h;
        out[l] = hd_f16_to_f32(h);
    }
    return out;
}

static inline void put16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

/* ---- levels: what codes stand for, before the scale ---- */

typedef struct levels {
    enum { LEVELS_WHOLE, LEVELS_IQ4 } kind;
    float low, high;
} levels;

/* Where the largest magnitude of a group is tried among these levels: near the outer one of the longer side; with
 * weights all over, on either side and well within, for then a few values may count a hundred times the others, and
 * small ones must meet a level.  (Steps of 1 and ends of 180 take 2 % more off the divergence for nine times the
 * tries.) */
#define IQ4_SEARCH(weighted) (weighted) ? -150.0f : -139.0f, (weighted) ? 8.0f : 4.0f, (weighted) ? 39 : 8
static const float iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

#if defined(ENCODE_512) || defined(ENCODE_256)
/* table[at] for at = 0 .. 15. */
HD_INLINE vf of_sixteen(const float *table, vi at)
{
#if defined(ENCODE_512)
    return (vf)_mm512_permutexvar_ps((__m512i)at, _mm512_loadu_ps(table));
#else
    vf low = (vf)_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)at); /* by the lowest three bits */
    vf high = (vf)_mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), (__m256i)at);
    return pick(at > 7, high, low);
#endif
}

/* The number of the nearest level of IQ4.  Of 16 parts of 13.375, the first from -118, all but the third hold one
 * middle between two levels, none nearer to an end than 2.25: a part leaves a single comparison. */
HD_INLINE vi iq4_number(vf v)
{
    static const float middle[16] = {-115.5f, -93.5f, INFINITY, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f,
                                     -4.5f,   7.0f,   19.0f,    31.5f,  45.5f,  61.0f,  79.0f,  101.0f};
    vi part = __builtin_convertvector(clamp((v + 118.0f) * (1.0f / 13.375f), 0.0f, 15.0f), vi);
    return part + (part > 2) - (v > of_sixteen(middle, part)); /* comparisons are -1 where they hold */
}

HD_INLINE vf iq4_nearest(vf v)
{
    return of_sixteen(iq4, iq4_number(v));
}
#else
HD_INLINE vi iq4_number(vf v)
{
    vi number = {0};
    for (int k = 0; k < 15; k++)
        number -= v > (iq4[k] + iq4[k + 1]) / 2;
    return number;
}

HD_INLINE vf iq4_nearest(vf v)
{
    vf level = splat(iq4[0]);
    for (int k = 0; k < 15; k++)
        level = pick(v > (iq4[k] + iq4[k + 1]) / 2, splat(iq4[k + 1]), level);
    return level;
}
#endif

/* The nearest level. */
HD_INLINE vf nearest(const levels of, vf v)
{
    return of.kind == LEVELS_WHOLE ? rounded(clamp(v, of.low, of.high)) : iq4_nearest(v);
}

/* The number of each IQ4 level. */
HD_INLINE void iq4_numbers(vf *q, int n)
{
    for (int i = 0; i < n; i++)
        q[i] = __builtin_convertvector(iq4_number(q[i]), vf);
}

HD_INLINE void quantize(const levels of, vf *q, const vf *x, int n, vf d)
{
    vf inverse = inverse_of(d);
    for (int i = 0; i < n; i++)
        q[i] = nearest(of, x[i] * inverse);
}

/* ---- scales: value = d * level ---- */

/* Of sum w (x - d q)^2 with the best d: that d, and what it takes off sum w x^2. */
typedef struct scale_sums {
    vf xq, qq;
} scale_sums;

HD_INLINE scale_sums sums_at(const bool weighted, const levels of, const vf *x, const vf *w, int n, vf inverse)
{
    scale_sums s = {{0}, {0}};
    for (int i = 0; i < n; i++) {
        vf q = nearest(of, x[i] * inverse), wq = weighted ? w[i] * q : q;
        s.xq += wq * x[i];
        s.qq += wq * q;
    }
    return s;
}

/* The best of the scales that put the largest magnitude on first, first + step, ... and fit the rest by least squares.
 */
HD_INLINE vf fit_scale(const bool weighted, const levels of, const vf *x, const vf *w, int n, float first, float step,
                       int tries)
{
    vf most = {0}, extreme = {0}, best = {0}, gain = {0};
    for (int i = 0; i < n; i++) {
        vi more = magnitude(x[i]) > most;
        most = pick(more, magnitude(x[i]), most);
        extreme = pick(more, x[i], extreme);
    }
    vf inverse = inverse_of(extreme);
    for (int k = 0; k < tries; k++) {
        scale_sums s = sums_at(weighted, of, x, w, n, inverse * (first + step * (float)k));
        vf d = s.xq * inverse_of(s.qq), takes = d * s.xq;
        vi better = takes > gain;
        best = pick(better, d, best);
        gain = pick(better, takes, gain);
    }
    return best;
}

/* ---- scales and minima: value = d * code + m ---- */

typedef struct line {
    vf d, m;
} line;

/* What least squares of x over codes need. */
typedef struct line_sums {
    vf one, q, qq, x, xq;
} line_sums;

/* The best line, where m <= 0 if `below`; and its error, less sum w x^2. */
HD_INLINE vf solve_line(const line_sums *s, const bool below, line *out)
{
    vf det = s->one * s->qq - s->q * s->q, inverse = inverse_of(det);
    vf d = (s->one * s->xq - s->x * s->q) * inverse, m = (s->qq * s->x - s->q * s->xq) * inverse;
    if (below) {
        vi above = (m > 0.0f) | (inverse == 0.0f);
        d = pick(above, s->xq * inverse_of(s->qq), d);
        m = pick(above, splat(0.0f), m);
    }
    *out = (line){d, m};
    return d * d * s->qq + m * m * s->one + 2.0f * (d * m * s->q - d * s->xq - m * s->x);
}

/* Sums for the codes that x - least has with steps of 1 / inverse. */
HD_INLINE line_sums line_sums_at(const bool weighted, const vf *x, const vf *w, int n, int high, vf least, vf inverse)
{
    line_sums s = {{0}, {0}, {0}, {0}, {0}};
    for (int i = 0; i < n; i++) {
        vf q = rounded(clamp((x[i] - least) * inverse, 0.0f, (float)high)), one = weighted ? w[i] : splat(1.0f);
        vf wq = weighted ? one * q : q;
        s.one += one;
        s.q += wq;
        s.qq += wq * q;
        s.x += weighted ? one * x[i] : x[i];
        s.xq += wq * x[i];
    }
    return s;
}

/* How lines are searched: steps of the span over high + first, + first + step, ..., and then so many times the line
 * that is best for the codes of the last one. */
typedef struct line_search {
    float first, step;
    int tries, again;
} line_search;

/* The best of lines with codes 0 .. high. */
HD_INLINE line fit_line(const bool weighted, const bool below, const vf *x, const vf *w, int n, int high,
                        const line_search how)
{
    vf least = below ? splat(0.0f) : x[0], most = x[0];
    for (int i = 0; i < n; i++) {
        least = pick(x[i] < least, x[i], least);
        most = pick(x[i] > most, x[i], most);
    }
    vf span = inverse_of(most - least), error = splat(INFINITY);
    line best = {{0}, least};
    for (int k = 0; k < how.tries + how.again; k++) {
        bool refine = k >= how.tries;
        vf inverse = refine ? inverse_of(best.d) : span * ((float)high + how.first + how.step * (float)k);
        line_sums s = line_sums_at(weighted, x, w, n, high, refine ? best.m : least, inverse);
        line l;
        vf e = solve_line(&s, below, &l);
        vi better = (e < error) & (l.d > 0.0f);
        best.d = pick(better, l.d, best.d);
        best.m = pick(better, l.m, best.m);
        error = pick(better, e, error);
    }
    return best;
}
