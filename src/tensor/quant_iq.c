/* tensor/quant_iq.c: decoders of the IQ types; see quant_internal.h.
 *
 * A block is 256 values (IQ4_NL: 32).  In IQ1, IQ2 and IQ3 a code picks a vector of 8 or 4 magnitudes from a grid;
 * signs come as 8 bits, or as 7 with the eighth making their number even.  The order of products is that of the
 * format's reference decoder: (scale * magnitude) * sign. */
#include "tensor/quant_internal.h"

static const float iq2_magnitudes[4] = {8, 25, 43, 0}; /* index 3 does not occur */
static const float iq3_xxs_magnitudes[8] = {4, 12, 20, 28, 36, 44, 52, 62};
static const float iq3_s_magnitudes[8] = {1, 3, 5, 7, 9, 11, 13, 15};
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* IQ1 values are -1, 0 or 1, moved by this much up or down. */
#define IQ1_DELTA 0.125f

static unsigned nibble(const uint8_t *p, int i)
{
    return p[i / 2] >> i % 2 * 4 & 0xf;
}

/* The eighth sign makes the number of negative values even. */
static unsigned even_signs(unsigned seven_bits)
{
    return seven_bits | (unsigned)__builtin_parity(seven_bits) << 7;
}

static float with_sign(float value, unsigned signs, int i)
{
    return value * (signs >> i & 1 ? -1.0f : 1.0f);
}

/* Eight values of an IQ2 type. */
static void put_iq2(float *dst, float scale, uint16_t vector, unsigned signs)
{
    for (int i = 0; i < 8; i++)
        dst[i] = with_sign(scale * iq2_magnitudes[vector >> 2 * i & 3], signs, i);
}

/* Eight values of an IQ3 type, out of two vectors of four. */
static void put_iq3(float *dst, float scale, const float *magnitudes, uint16_t first, uint16_t second, unsigned signs)
{
    uint32_t both = first | (uint32_t)second << 16;
    for (int i = 0; i < 8; i++)
        dst[i] = with_sign(scale * magnitudes[both >> 4 * i & 7], signs, i);
}

/* Eight values of an IQ1 type. */
static void put_iq1(float *dst, float scale, uint16_t vector, float delta)
{
    for (int i = 0; i < 8; i++)
        dst[i] = scale * ((float)((int)(vector >> 2 * i & 3) - 1) + delta);
}

/* d, then per 32 values: four codes of 8 bits; four signs of 7 bits and a scale of 4. */
void hd_decode_iq2_xxs(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    const uint8_t *p = block + 2;
    for (int g = 0; g < 8; g++, p += 8) {
        uint32_t tail = hd_le32(p + 4);
        float scale = d * (0.5f + (float)(tail >> 28)) * 0.25f;
        for (int k = 0; k < 4; k++, dst += 8)
            put_iq2(dst, scale, hd_grid_iq2_xxs[p[k]], even_signs(tail >> 7 * k & 0x7f));
    }
}

/* d | 32 words of a 9-bit code and 7 signs | scales[8], a nibble per 16 values. */
void hd_decode_iq2_xs(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    const uint8_t *qs = block + 2, *scales = block + 66;
    for (int k = 0; k < 32; k++, dst += 8) {
        float scale = d * (0.5f + (float)nibble(scales, k / 2)) * 0.25f;
        unsigned word = hd_le16(qs + 2 * k);
        put_iq2(dst, scale, hd_grid_iq2_xs[word & 511], even_signs(word >> 9));
    }
}

/* d | qs[32] | signs[32] | qh[8], the top 2 of a code's 10 bits | scales[8], a nibble per 16 values. */
void hd_decode_iq2_s(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    const uint8_t *qs = block + 2, *signs = block + 34, *qh = block + 66, *scales = block + 74;
    for (int k = 0; k < 32; k++, dst += 8) {
        float scale = d * (0.5f + (float)nibble(scales, k / 2)) * 0.25f;
        unsigned code = qs[k] | (qh[k / 4] >> k % 4 * 2 & 3u) << 8;
        put_iq2(dst, scale, hd_grid_iq2_s[code], signs[k]);
    }
}

/* d | qs[64], a code per 4 values | 8 words, each four signs of 7 bits and a scale of 4 for 32 values. */
void hd_decode_iq3_xxs(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    const uint8_t *qs = block + 2;
    for (int g = 0; g < 8; g++) {
        uint32_t tail = hd_le32(block + 66 + 4 * g);
        float scale = d * (0.5f + (float)(tail >> 28)) * 0.5f;
        for (int k = 0; k < 4; k++, dst += 8, qs += 2)
            put_iq3(dst, scale, iq3_xxs_magnitudes, hd_grid_iq3_xxs[qs[0]], hd_grid_iq3_xxs[qs[1]],
                    even_signs(tail >> 7 * k & 0x7f));
    }
}

/* d | qs[64] | qh[8], the top bit of each code | signs[32] | scales[4], a nibble per 32 values. */
void hd_decode_iq3_s(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    const uint8_t *qs = block + 2, *qh = block + 66, *signs = block + 74, *scales = block + 106;
    for (int k = 0; k < 32; k++, dst += 8, qs += 2) {
        float scale = d * (float)(1 + 2 * nibble(scales, k / 4));
        unsigned top = qh[k / 4] >> k % 4 * 2; /* bits of the codes 2k and 2k + 1 */
        put_iq3(dst, scale, iq3_s_magnitudes, hd_grid_iq3_s[qs[0] | (top & 1) << 8],
                hd_grid_iq3_s[qs[1] | (top >> 1 & 1) << 8], signs[k]);
    }
}

/* d | qs[32] | 8 words for 32 values each: the top 3 bits of four codes, a scale of 3 bits, the sign of delta. */
void hd_decode_iq1_s(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    const uint8_t *qs = block + 2;
    for (int g = 0; g < 8; g++) {
        unsigned word = hd_le16(block + 34 + 2 * g);
        float scale = d * (float)(2 * (word >> 12 & 7) + 1);
        float delta = word & 0x8000 ? -IQ1_DELTA : IQ1_DELTA;
        for (int k = 0; k < 4; k++, dst += 8)
            put_iq1(dst, scale, hd_grid_iq1[*qs++ | (word >> 3 * k & 7) << 8], delta);
    }
}

/* qs[32] | qh[16], a nibble per code: its top 3 bits and the sign of delta | 4 words: the binary16 scale of the block
 * in their top nibbles (first word: lowest), and below them four 3-bit scales for 16 values each. */
void hd_decode_iq1_m(const uint8_t *block, float *dst)
{
    const uint8_t *qs = block, *qh = block + 32;
    unsigned words[4], d_bits = 0;
    for (int w = 0; w < 4; w++) {
        words[w] = hd_le16(block + 48 + 2 * w);
        d_bits |= (words[w] >> 12) << 4 * w;
    }
    float d = hd_f16_to_f32((uint16_t)d_bits);
    for (int k = 0; k < 32; k++, dst += 8) {
        int g = k / 2;
        float scale = d * (float)(2 * (words[g / 4] >> g % 4 * 3 & 7) + 1);
        unsigned high = nibble(qh, k);
        put_iq1(dst, scale, hd_grid_iq1[qs[k] | (high & 7) << 8], high & 8 ? -IQ1_DELTA : IQ1_DELTA);
    }
}

static void put_iq4(float *dst, float scale, const uint8_t *qs)
{
    for (int i = 0; i < 16; i++) {
        dst[i] = scale * (float)iq4_values[qs[i] & 0xf];
        dst[i + 16] = scale * (float)iq4_values[qs[i] >> 4];
    }
}

void hd_decode_iq4_nl(const uint8_t *block, float *dst)
{
    put_iq4(dst, hd_le_f16(block), block + 2);
}

/* d | top 2 bits of eight scales | their low nibbles [4] | qs[128]; 6-bit scales minus 32, each for 32 values. */
void hd_decode_iq4_xs(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    unsigned high = hd_le16(block + 2);
    for (int g = 0; g < 8; g++) {
        int scale = (int)(nibble(block + 4, g) | (high >> 2 * g & 3) << 4) - 32;
        put_iq4(dst + 32 * g, d * (float)scale, block + 8 + 16 * g);
    }
}
