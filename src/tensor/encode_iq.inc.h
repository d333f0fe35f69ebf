/* tensor/encode_iq.inc.h: the types whose values are vectors of a grid: IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S.
 *
 * A group's value is d * (2 * scale + 1) * level * sign, where the levels of 8 (IQ3: 4) values in a row are a point of
 * the grid.  For each scale that is tried every point is tried too.  That is cheaper than it sounds: half a vector has
 * few forms, so the errors of all forms of both halves are laid down first, and then a point costs one addition, a
 * comparison, and nothing that depends on the values.
 *
 * Groups find a scale of their own; d is the one to whose odd multiples these scales are nearest; with d the groups
 * choose among the neighbours of their scale anew; d is fitted to what they chose, and they choose their points once
 * more. */

#define EIGHT 8         /* values whose signs a block keeps together */
#define IQ_GROUP 32     /* values of a group at most */
#define IQ_SCALE_END 15 /* scales are 0 .. 15 */
#define IQ_TRIES 8      /* of a group's own scale, at most */

typedef struct iq_kind {
    const uint16_t *grid;
    int points; /* 256, 512 or 1,024 */
    int bits;   /* of an element of a point: 2, a point has 8; or 4, it has 4 */
    int levels; /* 3 or 8: 1, 1 + step, 1 + 2 * step, ...; the last is `top` more */
    float step, top;
    int group;               /* values that share a scale */
    bool even;               /* the signs of eight values hold an even number of minus signs */
    float largest[IQ_TRIES]; /* the levels that are tried for a group's largest value; 0: no more */
    size_t bytes;            /* of a block */
    void (*put)(uint8_t *to, const uint16_t *codes, const uint8_t *signs, const uint8_t *scales);
} iq_kind;

/* What was chosen for a group, and sums over it for value = t * level, signs aside. */
typedef struct iq_group {
    vi code[IQ_GROUP / 4], signs[IQ_GROUP / EIGHT];
    vf xq, qq, error;
} iq_group;

typedef struct iq_block {
    iq_group group[K_GROUPS];
    vf scale[K_GROUPS], d; /* d as the block holds it */
} iq_block;

/* The smaller of two whole numbers, which are at least 0 and as floats finite. */
HD_INLINE vi smaller(vi a, vi b)
{
#if defined(ENCODE_512)
    return (vi)_mm512_min_epi32((__m512i)a, (__m512i)b);
#elif defined(ENCODE_256)
    return (vi)_mm256_min_epi32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && ENCODE_LANES == 4
    return (vi)_mm_min_ps((__m128)a, (__m128)b); /* SSE2 compares whole numbers of 16 bits only */
#else
    return (vi)pick(a < b, (vf)a, (vf)b);
#endif
}

HD_INLINE float iq_level(const iq_kind *k, int number)
{
    return 1.0f + k->step * (float)number + (number == k->levels - 1 ? k->top : 0.0f);
}

/* Magnitudes and signs of eight values with scale t.  Where the number of minus signs must be even and isn't, the value
 * whose sign costs the least gets the other one, and a magnitude below 0. */
static void iq_signs(const iq_kind *k, const vf *x, const vf *w, vf t, vf *a, vi *signs)
{
    vi minus = {0}, odd = {0}, flip = {0};
    vf least = splat(INFINITY), inverse = inverse_of(t * k->step);
    for (int i = 0; i < EIGHT; i++) {
        vi below = x[i] < 0.0f;
        a[i] = magnitude(x[i]);
        minus |= below & (1 << i);
        odd ^= below;
        /* The other sign has the lowest level; this one the nearest, about. */
        vf number = rounded(clamp((a[i] - t) * inverse, 0.0f, (float)(k->levels - 1)));
        vf off = a[i] - t * (1.0f + k->step * number), other = a[i] + t;
        vf cost = w[i] * (other * other - off * off);
        vi less = cost < least;
        least = pick(less, cost, least);
        flip = (vi)pick(less, (vf)((vi){0} + i), (vf)flip);
    }
    *signs = minus;
    if (!k->even) return;
    for (int i = 0; i < EIGHT; i++) {
        vi here = odd & (flip == i);
        a[i] = (vf)((vi)a[i] ^ (here & INT32_MIN));
        *signs ^= here & (1 << i);
    }
}

/* errors[f] of each form f of half a vector, a byte of a point, with scale t. */
static void iq_half(const iq_kind *k, const vf *a, const vf *w, vf t, vf *errors)
{
    vf one[4][8];
    const int elements = 8 / k->bits;
    for (int n = 0; n < k->levels; n++) {
        vf level = t * iq_level(k, n);
        for (int i = 0; i < elements; i++) {
            vf off = a[i] - level;
            one[i][n] = w[i] * (off * off);
        }
    }
    if (elements == 2) {
        for (int h = 0; h < 8; h++)
            for (int l = 0; l < 8; l++)
                errors[l | h << 4] = one[0][l] + one[1][h];
        return;
    }
    static const uint8_t form[9] = {0, 1, 2, 4, 5, 6, 8, 9, 10}; /* of two elements */
    vf low[9], high[9];
    for (int n = 0; n < 9; n++) {
        low[n] = one[0][form[n] & 3] + one[1][form[n] >> 2];
        high[n] = one[2][form[n] & 3] + one[3][form[n] >> 2];
    }
    for (int h = 0; h < 9; h++)
        for (int l = 0; l < 9; l++)
            errors[form[l] | form[h] << 4] = low[l] + high[h];
}

/* The number of the point with the least error, of those that are alike but for a part in points / 2^23.  Errors are at
 * least 0, so as whole numbers they are in the same order, and their lowest bits can hold the point's number. */
static vi iq_best(const iq_kind *k, const vf *low, const vf *high)
{
    const uint16_t *grid = k->grid;
    const int points = k->points, mask = points - 1;
    vi best = (vi)splat(FLT_MAX), number = {0};
    for (int p = 0; p < points;) { /* in the order of their high halves */
        const unsigned half = grid[p] >> 8;
        const vf more = high[half];
        do {
            vi sum = (vi)(low[grid[p] & 0xff] + more);
            best = smaller((sum & ~mask) | number, best);
            number += 1;
        } while (++p < points && grid[p] >> 8 == half);
    }
    return best & mask;
}

/* Adds the values that have a point's levels to the sums. */
static void iq_sum(const iq_kind *k, const vf *a, const vf *w, vf t, vi code, iq_group *to)
{
    vi point = {0};
    for (int l = 0; l < ENCODE_LANES; l++)
        point[l] = k->grid[code[l]];
    for (int i = 0; i < 16 / k->bits; i++) {
        vi number = point >> k->bits * i & ((1 << k->bits) - 1);
        vf level = 1.0f + k->step * __builtin_convertvector(number, vf);
        level += (vf)((number == k->levels - 1) & (vi)splat(k->top));
        vf wq = w[i] * level, off = a[i] - t * level;
        to->xq += wq * a[i];
        to->qq += wq * level;
        to->error += w[i] * (off * off);
    }
}

/* The best signs and points of a group with scale t. */
static void iq_choose(const iq_kind *k, const vf *x, const vf *w, vf t, iq_group *to)
{
    vf low[256], high[256], a[EIGHT];
    const int values = 16 / k->bits, half = values / 2; /* of a point */
    to->xq = to->qq = to->error = splat(0.0f);
    for (int i = 0; i < k->group; i += EIGHT) {
        iq_signs(k, x + i, w + i, t, a, &to->signs[i / EIGHT]);
        for (int j = 0; j < EIGHT; j += values) {
            iq_half(k, a + j, w + i + j, t, low);
            iq_half(k, a + j + half, w + i + j + half, t, high);
            vi code = iq_best(k, low, high);
            iq_sum(k, a + j, w + i + j, t, code, to);
            to->code[(i + j) / values] = code;
        }
    }
}

/* The best scale of a group alone; *qq is what an error of the scale costs. */
static vf iq_own_scale(const iq_kind *k, const vf *x, const vf *w, vf *qq)
{
    iq_group at;
    vf most = {0}, best = {0}, gain = {0};
    *qq = splat(0.0f);
    for (int i = 0; i < k->group; i++)
        most = pick(magnitude(x[i]) > most, magnitude(x[i]), most);
    for (int n = 0; n < IQ_TRIES && k->largest[n] > 0.0f; n++) {
        iq_choose(k, x, w, most / k->largest[n], &at);
        vf t = at.xq * inverse_of(at.qq), takes = t * at.xq;
        vi better = (takes > gain) & (t > 0.0f);
        best = pick(better, t, best);
        gain = pick(better, takes, gain);
        *qq = pick(better, at.qq, *qq);
    }
    return best;
}

/* What is nearest to a group's own scale, with d. */
HD_INLINE vf iq_nearest_scale(vf own, vf inverse_d)
{
    return rounded(clamp(0.5f * (own * inverse_d - 1.0f), 0.0f, (float)IQ_SCALE_END));
}

/* The d whose odd multiples are the nearest to the groups' own scales. */
static vf iq_first_d(const vf *own, const vf *qq, int groups)
{
    vf most = {0}, best = {0}, least = splat(INFINITY);
    for (int g = 0; g < groups; g++)
        most = pick(own[g] > most, own[g], most);
    for (int n = 0; n < 24; n++) {
        vf d = most / (34.0f - 0.5f * (float)n), inverse = inverse_of(d), cost = {0};
        for (int g = 0; g < groups; g++) {
            vf off = own[g] - d * (2.0f * iq_nearest_scale(own[g], inverse) + 1.0f);
            cost += qq[g] * (off * off);
        }
        vi less = cost < least;
        best = pick(less, d, best);
        least = pick(less, cost, least);
    }
    return best;
}

/* As a block's binary16 has it; infinite where it can't hold it. */
HD_INLINE vf iq_half_d(vf d)
{
    return half_scale(clamp(d, 0.0f, INFINITY), NULL);
}

static void iq_pick_group(const iq_kind *k, vi where, const iq_group *from, iq_group *to)
{
    for (int i = 0; i < k->group * k->bits / 16; i++)
        to->code[i] = (vi)pick(where, (vf)from->code[i], (vf)to->code[i]);
    for (int i = 0; i < k->group / EIGHT; i++)
        to->signs[i] = (vi)pick(where, (vf)from->signs[i], (vf)to->signs[i]);
    to->xq = pick(where, from->xq, to->xq);
    to->qq = pick(where, from->qq, to->qq);
    to->error = pick(where, from->error, to->error);
}

/* Chooses the scales, at most `reach` away from those that are there, and the points of a block whose d is known. */
static void iq_settle(const iq_kind *k, const batch *b, const vf *ones, int reach, iq_block *to)
{
    iq_group at;
    for (int g = 0; g < HD_SUPER_BLOCK / k->group; g++) {
        const vf *x = b->x + g * k->group, *w = ones ? ones : b->w + g * k->group;
        vf middle = to->scale[g];
        for (int n = -reach; n <= reach; n++) {
            vf s = clamp(middle + (float)n, 0.0f, (float)IQ_SCALE_END);
            iq_choose(k, x, w, to->d * (2.0f * s + 1.0f), &at);
            vi less = at.error < to->group[g].error;
            if (n == -reach) less = (vi){0} - 1;
            iq_pick_group(k, less, &at, &to->group[g]);
            to->scale[g] = pick(less, s, to->scale[g]);
        }
    }
}

/* The error of a block, and the d that suits its points and scales. */
static vf iq_error(const iq_kind *k, const iq_block *at, vf *d)
{
    vf error = {0}, xq = {0}, qq = {0};
    for (int g = 0; g < HD_SUPER_BLOCK / k->group; g++) {
        vf times = 2.0f * at->scale[g] + 1.0f;
        error += at->group[g].error;
        xq += times * at->group[g].xq;
        qq += times * times * at->group[g].qq;
    }
    *d = xq * inverse_of(qq);
    return error;
}

/* The first choice and the one with the fitted d; returns which of them each lane should take. */
static vi iq_fit(const iq_kind *k, const batch *b, const vf *ones, iq_block to[2])
{
    const int groups = HD_SUPER_BLOCK / k->group;
    vf own[K_GROUPS], qq[K_GROUPS], d, none;
    for (int g = 0; g < groups; g++)
        own[g] = iq_own_scale(k, b->x + g * k->group, ones ? ones : b->w + g * k->group, &qq[g]);
    to[0].d = iq_half_d(iq_first_d(own, qq, groups));
    vf inverse = inverse_of(to[0].d);
    for (int g = 0; g < groups; g++)
        to[0].scale[g] = iq_nearest_scale(own[g], inverse);
    iq_settle(k, b, ones, 1, &to[0]);
    vf error = iq_error(k, &to[0], &d);
    to[1].d = iq_half_d(d);
    memcpy(to[1].scale, to[0].scale, sizeof to[1].scale);
    iq_settle(k, b, ones, 0, &to[1]);
    return iq_error(k, &to[1], &none) < error;
}

static void iq_batch(const iq_kind *k, const batch *b, bool weighted, uint8_t *dst)
{
    vf ones[IQ_GROUP];
    iq_block fits[2];
    uint16_t d16[2][ENCODE_LANES], codes[HD_SUPER_BLOCK / 4];
    uint8_t signs[HD_SUPER_BLOCK / EIGHT], scales[K_GROUPS];
    for (int i = 0; i < IQ_GROUP; i++)
        ones[i] = splat(1.0f);
    vi second = iq_fit(k, b, weighted ? NULL : ones, fits);
    half_scale(fits[0].d, d16[0]);
    half_scale(fits[1].d, d16[1]);
    for (int l = 0; l < b->blocks; l++, dst += k->bytes) {
        const int which = second[l] ? 1 : 0, in_group = k->group * k->bits / 16, eights = k->group / EIGHT;
        const iq_block *from = &fits[which];
        for (int g = 0; g < HD_SUPER_BLOCK / k->group; g++) {
            for (int i = 0; i < in_group; i++)
                codes[g * in_group + i] = (uint16_t)from->group[g].code[i][l];
            for (int i = 0; i < eights; i++)
                signs[g * eights + i] = (uint8_t)from->group[g].signs[i][l];
            scales[g] = (uint8_t)from->scale[g][l];
        }
        put16(dst, d16[which][l]);
        k->put(dst + 2, codes, signs, scales);
    }
}

/* ---- blocks, behind d, as quant_iq.c reads them ---- */

static inline void put_nibble(uint8_t *at, int i, unsigned nibble)
{
    at[i / 2] = (uint8_t)(i % 2 ? at[i / 2] | nibble << 4 : nibble);
}

/* Four signs of 7 bits, and a scale. */
static void put_tail(uint8_t *to, const uint8_t *signs, unsigned scale)
{
    uint32_t tail = (uint32_t)scale << 28;
    for (int i = 0; i < 4; i++)
        tail |= (uint32_t)(signs[i] & 0x7f) << 7 * i;
    put16(to, (uint16_t)tail);
    put16(to + 2, (uint16_t)(tail >> 16));
}

static void put_iq2_xxs(uint8_t *to, const uint16_t *codes, const uint8_t *signs, const uint8_t *scales)
{
    for (int g = 0; g < 8; g++) {
        for (int i = 0; i < 4; i++)
            to[8 * g + i] = (uint8_t)codes[4 * g + i];
        put_tail(to + 8 * g + 4, signs + 4 * g, scales[g]);
    }
}

static void put_iq2_xs(uint8_t *to, const uint16_t *codes, const uint8_t *signs, const uint8_t *scales)
{
    for (int i = 0; i < 32; i++)
        put16(to + 2 * i, (uint16_t)(codes[i] | (signs[i] & 0x7f) << 9));
    for (int g = 0; g < 16; g++)
        put_nibble(to + 64, g, scales[g]);
}

static void put_iq2_s(uint8_t *to, const uint16_t *codes, const uint8_t *signs, const uint8_t *scales)
{
    memset(to + 64, 0, 8);
    for (int i = 0; i < 32; i++) {
        to[i] = (uint8_t)codes[i];
        to[32 + i] = signs[i];
        to[64 + i / 4] |= (uint8_t)(codes[i] >> 8 << i % 4 * 2);
    }
    for (int g = 0; g < 16; g++)
        put_nibble(to + 72, g, scales[g]);
}

static void put_iq3_xxs(uint8_t *to, const uint16_t *codes, const uint8_t *signs, const uint8_t *scales)
{
    for (int i = 0; i < 64; i++)
        to[i] = (uint8_t)codes[i];
    for (int g = 0; g < 8; g++)
        put_tail(to + 64 + 4 * g, signs + 4 * g, scales[g]);
}

static void put_iq3_s(uint8_t *to, const uint16_t *codes, const uint8_t *signs, const uint8_t *scales)
{
    memset(to + 64, 0, 8);
    for (int i = 0; i < 64; i++) {
        to[i] = (uint8_t)codes[i];
        to[64 + i / 8] |= (uint8_t)(codes[i] >> 8 << i % 8);
    }
    memcpy(to + 72, signs, 32);
    for (int g = 0; g < 8; g++)
        put_nibble(to + 104, g, scales[g]);
}

#define IQ_TYPE(name, ...)                                                                                             \
    HD_INLINE void name##_batch(const bool weighted, const batch *b, uint8_t *dst)                                     \
    {                                                                                                                  \
        static const iq_kind kind = {__VA_ARGS__, .put = put_##name};                                                  \
        iq_batch(&kind, b, weighted, dst);                                                                             \
    }

/* Levels 8, 25 and 43, eighths; 4, 12, ..., 52, 62, quarters; 1, 3, ..., 15.  Of the scales that are tried the first is
 * for groups of one magnitude. */
#define IQ2 .bits = 2, .levels = 3, .step = 2.125f, .top = 0.125f, .largest = {1, 2, 3, 4, 5, 6, 7, 8}
#define IQ3 .bits = 4, .levels = 8, .step = 2.0f, .group = 32, .largest = {1, 10, 12, 14, 16, 18}

IQ_TYPE(iq2_xxs, hd_grid_iq2_xxs, 256, IQ2, .group = 32, .even = true, .bytes = 66)
IQ_TYPE(iq2_xs, hd_grid_iq2_xs, 512, IQ2, .group = 16, .even = true, .bytes = 74)
IQ_TYPE(iq2_s, hd_grid_iq2_s, 1024, IQ2, .group = 16, .bytes = 82)
IQ_TYPE(iq3_xxs, hd_grid_iq3_xxs, 256, IQ3, .top = 0.5f, .even = true, .bytes = 98)
IQ_TYPE(iq3_s, hd_grid_iq3_s, 512, IQ3, .bytes = 110)

ENCODER(iq2_xxs, HD_SUPER_BLOCK, 66, false)
ENCODER(iq2_xs, HD_SUPER_BLOCK, 74, false)
ENCODER(iq2_s, HD_SUPER_BLOCK, 82, false)
ENCODER(iq3_xxs, HD_SUPER_BLOCK, 98, false)
ENCODER(iq3_s, HD_SUPER_BLOCK, 110, false)
