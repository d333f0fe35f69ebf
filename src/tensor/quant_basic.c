/* tensor/quant_basic.c: decoders of the types with one scale per block; see quant_internal.h.
 *
 * In the 32-value types the low nibbles of the 16 bytes are values 0..15 and the high nibbles values 16..31. */
#include <math.h>
#include <string.h>

#include "tensor/quant_internal.h"

/* value = d * (q - 8) */
void hd_decode_q4_0(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    const uint8_t *qs = block + 2;
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)((qs[i] & 0xf) - 8);
        dst[i + 16] = d * (float)((qs[i] >> 4) - 8);
    }
}

/* value = d * q + m */
void hd_decode_q4_1(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block), m = hd_le_f16(block + 2);
    const uint8_t *qs = block + 4;
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)(qs[i] & 0xf) + m;
        dst[i + 16] = d * (float)(qs[i] >> 4) + m;
    }
}

/* The fifth bit of value i is bit i of `high`; value = d * (q - 16) */
void hd_decode_q5_0(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    uint32_t high = hd_le32(block + 2);
    const uint8_t *qs = block + 6;
    for (int i = 0; i < 16; i++) {
        int lo = (qs[i] & 0xf) | (int)(high >> i & 1) << 4;
        int hi = (qs[i] >> 4) | (int)(high >> (i + 16) & 1) << 4;
        dst[i] = d * (float)(lo - 16);
        dst[i + 16] = d * (float)(hi - 16);
    }
}

/* value = d * q + m */
void hd_decode_q5_1(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block), m = hd_le_f16(block + 2);
    uint32_t high = hd_le32(block + 4);
    const uint8_t *qs = block + 8;
    for (int i = 0; i < 16; i++) {
        int lo = (qs[i] & 0xf) | (int)(high >> i & 1) << 4;
        int hi = (qs[i] >> 4) | (int)(high >> (i + 16) & 1) << 4;
        dst[i] = d * (float)lo + m;
        dst[i + 16] = d * (float)hi + m;
    }
}

void hd_decode_q8_0(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block);
    for (int i = 0; i < 32; i++)
        dst[i] = (float)(int8_t)block[2 + i] * d;
}

uint16_t hd_q8_0_scale(float largest, float *inverse)
{
    uint16_t scale = hd_f32_to_f16(largest / 127.0f);
    if (largest > 127.49f * hd_f16_to_f32(scale)) scale++; /* among subnormal ones the nearest may be far too small */
    float d = hd_f16_to_f32(scale);
    *inverse = d > 0.0f && isfinite(d) ? 1.0f / d : 0.0f;
    return scale;
}

void hd_encode_q8_0(const float *src, uint8_t *block)
{
    float largest = 0.0f, inverse;
    for (int i = 0; i < 32 && !isnan(largest); i++)
        largest = isfinite(src[i]) ? HD_MAX(largest, fabsf(src[i])) : NAN;
    uint16_t scale = hd_q8_0_scale(largest, &inverse);
    memcpy(block, &scale, sizeof scale); /* every supported machine is little-endian */
    for (int i = 0; i < 32; i++)
        block[2 + i] = inverse == 0.0f ? 0 : (uint8_t)(int8_t)lrintf(src[i] * inverse);
}

/* The scale of an MXFP4 block, halved (so that twice the E2M1 values are integers): 2^(e-128).  As in GGUF, e = 255 is
 * no NaN here. */
static float half_e8m0(uint8_t e)
{
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* OCP Microscaling Formats 1.0: 32 E2M1 values (0, 0.5, 1, 1.5, 2, 3, 4, 6 and a sign bit) under one E8M0 scale.  Code
 * 8 decodes to plain zero. */
void hd_decode_mxfp4(const uint8_t *block, float *dst)
{
    static const int8_t twice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    float d = half_e8m0(block[0]);
    const uint8_t *qs = block + 1;
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)twice[qs[i] & 0xf];
        dst[i + 16] = d * (float)twice[qs[i] >> 4];
    }
}

/* Digit k of `bytes` bytes: each byte is a fraction b/256 whose base-3 digits are five ternary values (first digit
 * first): multiplying by 3^k modulo 256 moves digit k to the front. */
static float *decode_ternary(const uint8_t *src, int bytes, int digits, float d, float *dst)
{
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    for (int k = 0; k < digits; k++)
        for (int i = 0; i < bytes; i++) {
            uint8_t rest = (uint8_t)(src[i] * pow3[k]);
            *dst++ = d * (float)((rest * 3 >> 8) - 1);
        }
    return dst;
}

/* 32 bytes of five digits, 16 of five, 4 of four; the scale comes last. */
void hd_decode_tq1_0(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block + 52);
    dst = decode_ternary(block, 32, 5, d, dst);
    dst = decode_ternary(block + 32, 16, 5, d, dst);
    decode_ternary(block + 48, 4, 4, d, dst);
}

/* Two halves of 32 bytes; bits 2k, 2k+1 of byte i are value 32k + i of the half, plus one. */
void hd_decode_tq2_0(const uint8_t *block, float *dst)
{
    float d = hd_le_f16(block + 64);
    for (int g = 0; g < 8; g++, dst += 32) {
        const uint8_t *qs = block + g / 4 * 32;
        int shift = g % 4 * 2;
        for (int i = 0; i < 32; i++)
            dst[i] = d * (float)((qs[i] >> shift & 3) - 1);
    }
}
