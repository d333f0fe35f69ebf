/* tensor/encode_basic.inc.h: the types of 32 values a block. */

#define BASIC 32

/* An encoder of whole rows out of one of batches: the choice of weights is a constant where it is inlined.  `own`:
 * those of batch_own_weights are taken where none are given. */
#define ENCODER(name, size, bytes, own)                                                                                \
    static void encode_##name(const float *src, const float *weight, uint8_t *dst, int64_t blocks)                     \
    {                                                                                                                  \
        batch b;                                                                                                       \
        for (; blocks > 0; blocks -= ENCODE_LANES) {                                                                   \
            batch_load(&b, size, src, weight, blocks);                                                                 \
            if (own && !weight) batch_own_weights(&b, size);                                                           \
            if (own || weight)                                                                                         \
                name##_batch(true, &b, dst);                                                                           \
            else                                                                                                       \
                name##_batch(false, &b, dst);                                                                          \
            src += (size)*ENCODE_LANES;                                                                                \
            dst += (bytes)*ENCODE_LANES;                                                                               \
            if (weight) weight += (size)*ENCODE_LANES;                                                                 \
        }                                                                                                              \
    }

/* Codes i and 16 + i in byte i. */
static inline void put_nibbles(uint8_t *at, const uint8_t *codes)
{
    for (int i = 0; i < 16; i++)
        at[i] = (uint8_t)((codes[i] & 0xf) | codes[i + 16] << 4);
}

/* Bit 4 of code i is bit i. */
static inline void put_fifths(uint8_t *at, const uint8_t *codes)
{
    memset(at, 0, 4);
    for (int i = 0; i < BASIC; i++)
        at[i / 8] |= (uint8_t)((codes[i] >> 4 & 1) << i % 8);
}

/* Q4_0 and Q5_0: value = d * (code - 2^(bits - 1)). */
HD_INLINE void symmetric_batch(const bool weighted, const int bits, const batch *b, uint8_t *dst)
{
    const float end = (float)(1 << (bits - 1)); /* the largest magnitude comes near it */
    const levels whole = {LEVELS_WHOLE, -end, end - 1};
    const size_t bytes = bits == 4 ? 18 : 22;
    uint16_t d16[ENCODE_LANES];
    vf q[BASIC];
    vf d = half_scale(fit_scale(weighted, whole, b->x, b->w, BASIC, -end - 0.75f, 0.25f, 7), d16);
    quantize(whole, q, b->x, BASIC, d);
    for (int l = 0; l < b->blocks; l++, dst += bytes) {
        uint8_t codes[BASIC];
        lane_codes(codes, q, BASIC, l, (int)end);
        put16(dst, d16[l]);
        if (bits == 5) put_fifths(dst + 2, codes);
        put_nibbles(dst + bytes - 16, codes);
    }
}

HD_INLINE void q4_0_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    symmetric_batch(weighted, 4, b, dst);
}

HD_INLINE void q5_0_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    symmetric_batch(weighted, 5, b, dst);
}

/* Q4_1 and Q5_1: value = d * code + m. */
HD_INLINE void affine_batch(const bool weighted, const int bits, const batch *b, uint8_t *dst)
{
    const int high = (1 << bits) - 1;
    const size_t bytes = bits == 4 ? 20 : 24;
    uint16_t d16[ENCODE_LANES], m16[ENCODE_LANES];
    vf q[BASIC];
    line fit = fit_line(weighted, false, b->x, b->w, BASIC, high,
                        weighted ? (line_search){-0.9f, 0.1f, 24, 4} : (line_search){-0.25f, 0.25f, 7, 2});
    vf inverse = inverse_of(half_scale(fit.d, d16)), m = half_scale(fit.m, m16);
    for (int i = 0; i < BASIC; i++)
        q[i] = rounded(clamp((b->x[i] - m) * inverse, 0.0f, (float)high));
    for (int l = 0; l < b->blocks; l++, dst += bytes) {
        uint8_t codes[BASIC];
        lane_codes(codes, q, BASIC, l, 0);
        put16(dst, d16[l]);
        put16(dst + 2, m16[l]);
        if (bits == 5) put_fifths(dst + 4, codes);
        put_nibbles(dst + bytes - 16, codes);
    }
}

HD_INLINE void q4_1_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    affine_batch(weighted, 4, b, dst);
}

HD_INLINE void q5_1_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    affine_batch(weighted, 5, b, dst);
}

/* As hd_encode_q8_0: its error is so small that a search would not repay. */
HD_INLINE void q8_0_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    vf most = {0}, inverse = {0}, q[BASIC];
    uint16_t d16[ENCODE_LANES];
    (void)weighted;
    for (int i = 0; i < BASIC; i++)
        most = pick(magnitude(b->x[i]) > most, magnitude(b->x[i]), most);
    for (int l = 0; l < ENCODE_LANES; l++) {
        float one;
        d16[l] = hd_q8_0_scale(most[l], &one);
        inverse[l] = one;
    }
    for (int i = 0; i < BASIC; i++)
        q[i] = rounded(clamp(b->x[i] * inverse, -127.0f, 127.0f));
    for (int l = 0; l < b->blocks; l++, dst += 34) {
        put16(dst, d16[l]);
        lane_codes(dst + 2, q, BASIC, l, 0);
    }
}

HD_INLINE void iq4_nl_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    const levels table = {LEVELS_IQ4, 0, 0};
    uint16_t d16[ENCODE_LANES];
    vf q[BASIC];
    vf d = half_scale(fit_scale(weighted, table, b->x, b->w, BASIC, IQ4_SEARCH(weighted)), d16);
    quantize(table, q, b->x, BASIC, d);
    iq4_numbers(q, BASIC);
    for (int l = 0; l < b->blocks; l++, dst += 18) {
        uint8_t codes[BASIC];
        lane_codes(codes, q, BASIC, l, 0);
        put16(dst, d16[l]);
        put_nibbles(dst + 2, codes);
    }
}

/* ---- MXFP4: OCP Microscaling Formats 1.0 ---- */

/* Twice the nearest E2M1 magnitude: 0, 1, 2, 3, 4, 6, 8 or 12. */
HD_INLINE vf nearest_e2m1(vf twice)
{
    twice = clamp(twice, 0.0f, 12.0f);
    vf top = 4.0f * rounded(0.25f * twice);
    return pick(twice < 4.0f, rounded(twice), pick(twice < 8.0f, 2.0f * rounded(0.5f * twice), top));
}

/* 2^-e of an E8M0 exponent's half scale, times x: twice what the code should stand for. */
HD_INLINE vf mxfp4_inverse(vi e)
{
    return (vf)((255 - e) << 23); /* 2^(128 - e); e is 2 .. 254 */
}

HD_INLINE void mxfp4_batch(const bool weighted, const batch *b, uint8_t *dst)
{
    vf most = {0}, error = splat(INFINITY);
    vi best = {0};
    for (int i = 0; i < BASIC; i++)
        most = pick(magnitude(b->x[i]) > most, magnitude(b->x[i]), most);
    vi base = ((vi)most >> 23) - 2; /* the largest becomes 4 to 8 */
    for (int k = 0; k < 2; k++) {
        vi e = base + k;
        e = (vi)pick(e < 2, (vf)((vi){0} + 2), (vf)e); /* what is below 2^-125 becomes zeros */
        vf inverse = mxfp4_inverse(e), d = (vf)((e - 1) << 23), sum = {0};
        for (int i = 0; i < BASIC; i++) {
            vf a = magnitude(b->x[i]), off = a - d * nearest_e2m1(a * inverse);
            sum += weighted ? b->w[i] * (off * off) : off * off;
        }
        vi better = sum < error;
        error = pick(better, sum, error);
        best = (vi)pick(better, (vf)e, (vf)best);
    }
    vf inverse = mxfp4_inverse(best), q[BASIC];
    for (int i = 0; i < BASIC; i++) {
        vf v = nearest_e2m1(magnitude(b->x[i]) * inverse);
        vf code = pick(v > 4.0f, pick(v > 6.0f, pick(v > 8.0f, splat(7.0f), splat(6.0f)), splat(5.0f)), v);
        q[i] = pick((b->x[i] < 0.0f) & (v > 0.0f), code + 8.0f, code);
    }
    for (int l = 0; l < b->blocks; l++, dst += 17) {
        uint8_t codes[BASIC];
        lane_codes(codes, q, BASIC, l, 0);
        dst[0] = (uint8_t)best[l];
        put_nibbles(dst + 1, codes);
    }
}

ENCODER(q4_0, BASIC, 18, true)
ENCODER(q4_1, BASIC, 20, true)
ENCODER(q5_0, BASIC, 22, false)
ENCODER(q5_1, BASIC, 24, false)
ENCODER(q8_0, BASIC, 34, false)
ENCODER(iq4_nl, BASIC, 18, false)
ENCODER(mxfp4, BASIC, 17, false)
