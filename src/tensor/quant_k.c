/* tensor/quant_k.c: decoders of the K types; see quant_internal.h.
 *
 * A block is 256 values.  Groups of 16 or 32 consecutive values share a scale (and, in Q2_K, Q4_K and Q5_K, a minimum),
 * itself a small integer times the block's binary16 scale.  The integers of 2-bit parts lie in halves of 128 values:
 * bits 2k, 2k+1 of byte i (i < 32) of a half are value 32k + i of that half. */
#include "tensor/quant_internal.h"

/* scales[16] | qs[64] | d | dmin; value = d*scale*q - dmin*min, a nibble of `scales` each per 16 values. */
void hd_decode_q2_k(const uint8_t *block, float *dst)
{
    const uint8_t *scales = block, *qs = block + 16;
    float d = hd_le_f16(block + 80), dmin = hd_le_f16(block + 82);
    for (int g = 0; g < 16; g++, dst += 16) {
        float scale = d * (float)(scales[g] & 0xf), min = dmin * (float)(scales[g] >> 4);
        const uint8_t *q = qs + g / 8 * 32 + g % 2 * 16;
        int shift = g / 2 % 4 * 2;
        for (int i = 0; i < 16; i++)
            dst[i] = scale * (float)(q[i] >> shift & 3) - min;
    }
}

/* The 6-bit scale of group g (16 of them) of Q3_K, minus 32: 16 low nibbles in 8 bytes, then 16 high pairs in 4. */
static int q3_scale(const uint8_t *scales, int g)
{
    int low = scales[g % 8] >> g / 8 * 4 & 0xf;
    int high = scales[8 + g % 4] >> g / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

/* hmask[32] | qs[64] | scales[12] | d.  Bit k of hmask[i] belongs to value 32k + i; where it is clear, 4 is taken off.
 */
void hd_decode_q3_k(const uint8_t *block, float *dst)
{
    const uint8_t *hmask = block, *qs = block + 32, *scales = block + 96;
    float d = hd_le_f16(block + 108);
    for (int g = 0; g < 16; g++, dst += 16) {
        float scale = d * (float)q3_scale(scales, g);
        const uint8_t *q = qs + g / 8 * 32 + g % 2 * 16, *h = hmask + g % 2 * 16;
        int shift = g / 2 % 4 * 2, bit = g / 2;
        for (int i = 0; i < 16; i++)
            dst[i] = scale * (float)((q[i] >> shift & 3) - ((h[i] >> bit & 1) ? 0 : 4));
    }
}

/* The 6-bit scale and minimum of group g (8 of them) of Q4_K and Q5_K in 12 bytes: those of the first four groups are
 * the low 6 bits of bytes g and g + 4; the others have their low nibbles in byte 8 + g % 4 and their top pairs above
 * those. */
static void k4_scale_min(const uint8_t *s, int g, int *scale, int *min)
{
    if (g < 4) {
        *scale = s[g] & 0x3f;
        *min = s[g + 4] & 0x3f;
    } else {
        *scale = (s[g + 4] & 0xf) | (s[g - 4] >> 6) << 4;
        *min = (s[g + 4] >> 4) | (s[g] >> 6) << 4;
    }
}

/* d | dmin | scales[12] | qs[128]; value = d*scale*q - dmin*min.  Groups 2j and 2j+1 are the low and the high nibbles
 * of the j-th 32 bytes. */
void hd_decode_q4_k(const uint8_t *block, float *dst)
{
    const uint8_t *scales = block + 4, *qs = block + 16;
    float d = hd_le_f16(block), dmin = hd_le_f16(block + 2);
    for (int g = 0; g < 8; g++, dst += 32) {
        int s, m, shift = g % 2 * 4;
        k4_scale_min(scales, g, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        const uint8_t *q = qs + g / 2 * 32;
        for (int i = 0; i < 32; i++)
            dst[i] = scale * (float)(q[i] >> shift & 0xf) - min;
    }
}

/* d | dmin | scales[12] | qh[32] | qs[128]: as Q4_K, and bit g of qh[i] is the fifth bit of value i of group g. */
void hd_decode_q5_k(const uint8_t *block, float *dst)
{
    const uint8_t *scales = block + 4, *qh = block + 16, *qs = block + 48;
    float d = hd_le_f16(block), dmin = hd_le_f16(block + 2);
    for (int g = 0; g < 8; g++, dst += 32) {
        int s, m, shift = g % 2 * 4;
        k4_scale_min(scales, g, &s, &m);
        float scale = d * (float)s, min = dmin * (float)m;
        const uint8_t *q = qs + g / 2 * 32;
        for (int i = 0; i < 32; i++)
            dst[i] = scale * (float)((q[i] >> shift & 0xf) | (qh[i] >> g & 1) << 4) - min;
    }
}

/* ql[128] | qh[64] | scales[16] | d; value = d * scale * (q - 32), signed 8-bit scales per 16 values.  In each half of
 * 128 values the low nibbles of 64 bytes come first and the high nibbles second. */
void hd_decode_q6_k(const uint8_t *block, float *dst)
{
    const uint8_t *scales = block + 192;
    float d = hd_le_f16(block + 208);
    for (int g = 0; g < 16; g++, dst += 16) {
        int half = g / 8, at = g % 8 * 16; /* at: position inside the half */
        float scale = d * (float)(int8_t)scales[g];
        const uint8_t *ql = block + half * 64 + at % 64, *qh = block + 128 + half * 32 + at % 32;
        int low_shift = at / 64 * 4, high_shift = at / 32 * 2;
        for (int i = 0; i < 16; i++)
            dst[i] = scale * (float)(((ql[i] >> low_shift & 0xf) | (qh[i] >> high_shift & 3) << 4) - 32);
    }
}
