/* tensor/encode_k.inc.h: the types of 256 values a block, whose groups have scales of their own.
 *
 * Each group is fitted alone; its scale is rounded to a small integer times the block's scale d (and dmin); then d, and
 * dmin, are fitted again to the codes that this gave, and the better of both stays. */

#define K_GROUPS 16 /* of a block at most */

/* ---- value = d * scale * level: Q3_K, Q6_K, IQ4_XS ---- */

typedef struct signed_k {
    levels of;
    int groups;
    float scale_end; /* scales are -scale_end .. scale_end - 1 */
    float first, step;
    int tries;
    int scale_offset; /* of a scale as the block holds it */
    size_t bytes;     /* of a block */
    void (*put)(uint8_t *to, const uint8_t *codes, const uint8_t *scales, uint16_t d);
} signed_k;

typedef struct signed_block {
    vf q[HD_SUPER_BLOCK], scale[K_GROUPS], d;
} signed_block;

HD_INLINE void signed_quantize(const signed_k k, const batch *b, signed_block *to)
{
    const int size = HD_SUPER_BLOCK / k.groups;
    for (int g = 0; g < k.groups; g++)
        quantize(k.of, to->q + g * size, b->x + g * size, size, to->d * to->scale[g]);
}

/* The error of the codes with scale d, and the scale that would be the best for them. */
HD_INLINE vf signed_error(const bool weighted, const signed_k k, const batch *b, const signed_block *at, vf *best)
{
    const int size = HD_SUPER_BLOCK / k.groups;
    vf error = {0}, xq = {0}, qq = {0};
    for (int g = 0; g < k.groups; g++)
        for (int i = g * size; i < (g + 1) * size; i++) {
            vf q = at->q[i] * at->scale[g], off = b->x[i] - at->d * q;
            vf wq = weighted ? b->w[i] * q : q;
            error += weighted ? b->w[i] * off * off : off * off;
            xq += wq * b->x[i];
            qq += wq * q;
        }
    *best = xq * inverse_of(qq);
    return error;
}

/* Tries the neighbours of each group's rounded scale. */
HD_INLINE void signed_neighbours(const bool weighted, const signed_k k, const batch *b, signed_block *to)
{
    const int size = HD_SUPER_BLOCK / k.groups;
    for (int g = 0; g < k.groups; g++) {
        vf scale = to->scale[g], error = splat(INFINITY);
        for (int n = -1; n <= 1; n++) {
            vf s = clamp(scale + (float)n, -k.scale_end, k.scale_end - 1), d = to->d * s, inverse = inverse_of(d);
            vf e = {0};
            for (int i = g * size; i < (g + 1) * size; i++) {
                vf off = b->x[i] - d * nearest(k.of, b->x[i] * inverse);
                e += weighted ? b->w[i] * off * off : off * off;
            }
            vi better = e < error;
            error = pick(better, e, error);
            to->scale[g] = pick(better, s, to->scale[g]);
        }
    }
}

HD_INLINE void signed_fit(const bool weighted, const signed_k k, const batch *b, signed_block *to)
{
    const int size = HD_SUPER_BLOCK / k.groups;
    const levels scales = {LEVELS_WHOLE, -k.scale_end, k.scale_end - 1};
    vf own[K_GROUPS], most = {0}, extreme = {0};
    for (int g = 0; g < k.groups; g++) {
        own[g] = fit_scale(weighted, k.of, b->x + g * size, b->w + g * size, size, k.first, k.step, k.tries);
        vi more = magnitude(own[g]) > most;
        most = pick(more, magnitude(own[g]), most);
        extreme = pick(more, own[g], extreme);
    }
    to->d = half_scale(extreme / -k.scale_end, NULL);
    quantize(scales, to->scale, own, k.groups, to->d);
    signed_neighbours(weighted, k, b, to);
    signed_quantize(k, b, to);
    vf first = to->d, better_d, none;
    vf error = signed_error(weighted, k, b, to, &better_d);
    to->d = half_scale(better_d, NULL);
    signed_quantize(k, b, to);
    vf second = signed_error(weighted, k, b, to, &none);
    to->d = pick(second < error, to->d, first);
    signed_quantize(k, b, to);
}

HD_INLINE void signed_batch(const bool weighted, const signed_k k, const batch *b, uint8_t *dst)
{
    signed_block s;
    uint16_t d16[ENCODE_LANES];
    signed_fit(weighted, k, b, &s);
    half_scale(s.d, d16);
    if (k.of.kind == LEVELS_IQ4) iq4_numbers(s.q, HD_SUPER_BLOCK);
    for (int l = 0; l < b->blocks; l++, dst += k.bytes) {
        uint8_t codes[HD_SUPER_BLOCK], scales[K_GROUPS];
        lane_codes(codes, s.q, HD_SUPER_BLOCK, l, (int)-k.of.low);
        lane_codes(scales, s.scale, k.groups, l, k.scale_offset);
        k.put(dst, codes, scales, d16[l]);
    }
}

/* hmask[32] | qs[64] | scales[12] | d: as hd_decode_q3_k reads it. */
static void put_q3_k(uint8_t *to, const uint8_t *codes, const uint8_t *scales, uint16_t d)
{
    memset(to, 0, 110);
    for (int i = 0; i < HD_SUPER_BLOCK; i++) {
        int half = i / 128, in_half = i % 128;
        to[32 + half * 32 + in_half % 32] |= (uint8_t)((codes[i] & 3) << in_half / 32 * 2);
        to[i % 32] |= (uint8_t)((codes[i] >> 2) << i / 32);
    }
    for (int g = 0; g < 16; g++) {
        to[96 + g % 8] |= (uint8_t)((scales[g] & 0xf) << g / 8 * 4);
        to[104 + g % 4] |= (uint8_t)((scales[g] >> 4) << g / 4 * 2);
    }
    put16(to + 108, d);
}

HD_INLINE void q3_k_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    const signed_k k = {{LEVELS_WHOLE, -4, 3}, 16, 32, -5.0f, 0.25f, 8, 32, 110, put_q3_k};
    signed_batch(weighted, k, b, dst);
}

/* ql[128] | qh[64] | scales[16] | d: as hd_decode_q6_k reads it. */
static void put_q6_k(uint8_t *to, const uint8_t *codes, const uint8_t *scales, uint16_t d)
{
    memset(to, 0, 192);
    for (int i = 0; i < HD_SUPER_BLOCK; i++) {
        int half = i / 128, at = i % 128;
        to[half * 64 + at % 64] |= (uint8_t)((codes[i] & 0xf) << at / 64 * 4);
        to[128 + half * 32 + at % 32] |= (uint8_t)((codes[i] >> 4) << at / 32 * 2);
    }
    memcpy(to + 192, scales, 16);
    put16(to + 208, d);
}

HD_INLINE void q6_k_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    const signed_k k = {{LEVELS_WHOLE, -32, 31}, 16, 128, -33.0f, 0.5f, 5, 0, 210, put_q6_k};
    signed_batch(weighted, k, b, dst);
}

/* d | 16 top pairs of scales | 4 bytes of low nibbles | qs[128]: as hd_decode_iq4_xs reads it. */
static void put_iq4_xs(uint8_t *to, const uint8_t *codes, const uint8_t *scales, uint16_t d)
{
    uint16_t high = 0;
    put16(to, d);
    memset(to + 4, 0, 4);
    for (int g = 0; g < 8; g++) {
        high = (uint16_t)(high | (scales[g] >> 4) << 2 * g);
        to[4 + g / 2] |= (uint8_t)((scales[g] & 0xf) << g % 2 * 4);
        put_nibbles(to + 8 + 16 * g, codes + 32 * g);
    }
    put16(to + 2, high);
}

HD_INLINE void iq4_xs_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    const signed_k k = {{LEVELS_IQ4, 0, 0}, 8, 32, IQ4_SEARCH(weighted), 32, 136, put_iq4_xs};
    signed_batch(weighted, k, b, dst);
}

/* ---- value = d * scale * code - dmin * min: Q2_K, Q4_K, Q5_K ---- */

typedef struct affine_k {
    int groups, high; /* codes are 0 .. high */
    float scale_high; /* scales and minima are 0 .. scale_high */
    line_search search;
} affine_k;

typedef struct affine_block {
    vf q[HD_SUPER_BLOCK], scale[K_GROUPS], min[K_GROUPS], d, dmin;
} affine_block;

HD_INLINE void affine_quantize(const affine_k k, const batch *b, affine_block *to)
{
    const int size = HD_SUPER_BLOCK / k.groups;
    for (int g = 0; g < k.groups; g++) {
        vf inverse = inverse_of(to->d * to->scale[g]), min = to->dmin * to->min[g];
        for (int i = g * size; i < (g + 1) * size; i++)
            to->q[i] = rounded(clamp((b->x[i] + min) * inverse, 0.0f, (float)k.high));
    }
}

/* The error of the codes with d and dmin, and the pair that would be the best for them. */
HD_INLINE vf affine_error(const bool weighted, const affine_k k, const batch *b, const affine_block *at, vf *d,
                          vf *dmin)
{
    const int size = HD_SUPER_BLOCK / k.groups;
    vf error = {0}, aa = {0}, ab = {0}, bb = {0}, xa = {0}, xb = {0};
    for (int g = 0; g < k.groups; g++)
        for (int i = g * size; i < (g + 1) * size; i++) {
            vf one = weighted ? b->w[i] : splat(1.0f), low = at->min[g];
            vf q = at->q[i] * at->scale[g], off = b->x[i] - (at->d * q - at->dmin * low);
            error += one * off * off;
            aa += one * q * q;
            ab -= one * q * low;
            bb += one * low * low;
            xa += one * b->x[i] * q;
            xb -= one * b->x[i] * low;
        }
    vf inverse = inverse_of(aa * bb - ab * ab);
    vi alone = inverse == 0.0f; /* no minima */
    *d = pick(alone, xa * inverse_of(aa), (xa * bb - xb * ab) * inverse);
    *dmin = pick(alone, at->dmin, (xb * aa - xa * ab) * inverse);
    return error;
}

/* The error of a group whose scale and minimum are d and min. */
HD_INLINE vf group_error(const bool weighted, const vf *x, const vf *w, int n, int high, vf d, vf min)
{
    vf inverse = inverse_of(d), error = {0};
    for (int i = 0; i < n; i++) {
        vf q = rounded(clamp((x[i] + min) * inverse, 0.0f, (float)high)), off = x[i] - (d * q - min);
        error += weighted ? w[i] * off * off : off * off;
    }
    return error;
}

/* Rounding a group's scale and minimum apart is not the best of both: tries their neighbours. */
HD_INLINE void affine_neighbours(const bool weighted, const affine_k k, const batch *b, affine_block *to)
{
    const int size = HD_SUPER_BLOCK / k.groups;
    for (int g = 0; g < k.groups; g++) {
        const vf *x = b->x + g * size, *w = b->w + g * size;
        vf scale = to->scale[g], min = to->min[g], error = splat(INFINITY);
        for (int n = 0; n < 9; n++) {
            const int scale_by = n % 3 - 1, min_by = n / 3 - 1;
            vf s = clamp(scale + (float)scale_by, 0.0f, k.scale_high);
            vf m = clamp(min + (float)min_by, 0.0f, k.scale_high);
            vf e = group_error(weighted, x, w, size, k.high, to->d * s, to->dmin * m);
            vi better = e < error;
            error = pick(better, e, error);
            to->scale[g] = pick(better, s, to->scale[g]);
            to->min[g] = pick(better, m, to->min[g]);
        }
    }
}

HD_INLINE void affine_fit(const bool weighted, const affine_k k, const batch *b, affine_block *to)
{
    const int size = HD_SUPER_BLOCK / k.groups;
    const levels scales = {LEVELS_WHOLE, 0, k.scale_high};
    vf own[K_GROUPS], own_min[K_GROUPS], most = {0}, most_min = {0};
    for (int g = 0; g < k.groups; g++) {
        line fit = fit_line(weighted, true, b->x + g * size, b->w + g * size, size, k.high, k.search);
        own[g] = fit.d;
        own_min[g] = -fit.m;
        most = pick(own[g] > most, own[g], most);
        most_min = pick(own_min[g] > most_min, own_min[g], most_min);
    }
    to->d = half_scale(most / k.scale_high, NULL);
    to->dmin = half_scale(most_min / k.scale_high, NULL);
    quantize(scales, to->scale, own, k.groups, to->d);
    quantize(scales, to->min, own_min, k.groups, to->dmin);
    affine_neighbours(weighted, k, b, to);
    affine_quantize(k, b, to);
    vf d = to->d, dmin = to->dmin, better_d, better_dmin, none;
    vf error = affine_error(weighted, k, b, to, &better_d, &better_dmin);
    to->d = half_scale(better_d, NULL);
    to->dmin = half_scale(better_dmin, NULL);
    affine_quantize(k, b, to);
    vi better = affine_error(weighted, k, b, to, &none, &none) < error;
    to->d = pick(better, to->d, d);
    to->dmin = pick(better, to->dmin, dmin);
    affine_quantize(k, b, to);
}

/* scales[16] | qs[64] | d | dmin: as hd_decode_q2_k reads it. */
static void put_q2_k(uint8_t *to, const uint8_t *codes, const uint8_t *scales, const uint8_t *mins, uint16_t d,
                     uint16_t dmin)
{
    memset(to + 16, 0, 64);
    for (int g = 0; g < 16; g++)
        to[g] = (uint8_t)(scales[g] | mins[g] << 4);
    for (int i = 0; i < HD_SUPER_BLOCK; i++)
        to[16 + i / 128 * 32 + i % 32] |= (uint8_t)(codes[i] << i % 128 / 32 * 2);
    put16(to + 80, d);
    put16(to + 82, dmin);
}

HD_INLINE void q2_k_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    const affine_k k = {16, 3, 15, {-0.5f, 0.0625f, 32, 4}};
    affine_block s;
    affine_fit(weighted, k, b, &s);
    uint16_t d16[ENCODE_LANES], dmin16[ENCODE_LANES];
    half_scale(s.d, d16);
    half_scale(s.dmin, dmin16);
    for (int l = 0; l < b->blocks; l++, dst += 84) {
        uint8_t codes[HD_SUPER_BLOCK], scales[16], mins[16];
        lane_codes(codes, s.q, HD_SUPER_BLOCK, l, 0);
        lane_codes(scales, s.scale, 16, l, 0);
        lane_codes(mins, s.min, 16, l, 0);
        put_q2_k(dst, codes, scales, mins, d16[l], dmin16[l]);
    }
}

/* The 6-bit scales and minima of eight groups in 12 bytes, as Q4_K and Q5_K have them (k4_scale_min of quant_k.c). */
static void put_six_bits(uint8_t *to, const uint8_t *scales, const uint8_t *mins)
{
    for (int g = 0; g < 4; g++) {
        to[g] = (uint8_t)(scales[g] | (scales[g + 4] >> 4) << 6);
        to[g + 4] = (uint8_t)(mins[g] | (mins[g + 4] >> 4) << 6);
        to[g + 8] = (uint8_t)((scales[g + 4] & 0xf) | (mins[g + 4] & 0xf) << 4);
    }
}

/* d | dmin | scales[12] | (Q5_K: qh[32]) | qs[128] */
static void put_q45_k(const int bits, uint8_t *to, const uint8_t *codes, uint16_t d, uint16_t dmin)
{
    uint8_t *high = to + 16, *low = bits == 5 ? to + 48 : to + 16;
    put16(to, d);
    put16(to + 2, dmin);
    if (bits == 5) memset(high, 0, 32);
    memset(low, 0, 128);
    for (int i = 0; i < HD_SUPER_BLOCK; i++) {
        int g = i / 32;
        low[g / 2 * 32 + i % 32] |= (uint8_t)((codes[i] & 0xf) << g % 2 * 4);
        if (bits == 5) high[i % 32] |= (uint8_t)((codes[i] >> 4) << g);
    }
}

HD_INLINE void q45_k_batch(const bool weighted, const int bits, const batch *b, uint8_t *dst)
{
    const affine_k k = {8, (1 << bits) - 1, 63, {-0.9f, 0.1f, 24, 4}};
    affine_block s;
    affine_fit(weighted, k, b, &s);
    uint16_t d16[ENCODE_LANES], dmin16[ENCODE_LANES];
    half_scale(s.d, d16);
    half_scale(s.dmin, dmin16);
    for (int l = 0; l < b->blocks; l++, dst += bits == 4 ? 144 : 176) {
        uint8_t codes[HD_SUPER_BLOCK], scales[8], mins[8];
        lane_codes(codes, s.q, HD_SUPER_BLOCK, l, 0);
        lane_codes(scales, s.scale, 8, l, 0);
        lane_codes(mins, s.min, 8, l, 0);
        put_six_bits(dst + 4, scales, mins);
        put_q45_k(bits, dst, codes, d16[l], dmin16[l]);
    }
}

HD_INLINE void q4_k_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    q45_k_batch(weighted, 4, b, dst);
}

HD_INLINE void q5_k_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    q45_k_batch(weighted, 5, b, dst);
}

ENCODER(q2_k, HD_SUPER_BLOCK, 84, false)
ENCODER(q3_k, HD_SUPER_BLOCK, 110, false)
ENCODER(q4_k, HD_SUPER_BLOCK, 144, true)
ENCODER(q5_k, HD_SUPER_BLOCK, 176, true)
ENCODER(q6_k, HD_SUPER_BLOCK, 210, true)
ENCODER(iq4_xs, HD_SUPER_BLOCK, 136, false)
