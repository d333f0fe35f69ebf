/* tensor/quant.c: see quant.h.  The small float formats, and the choice of the decoder for a row.
 *
 * Block types are decoded by the functions of quant_basic.c, quant_k.c and quant_iq.c. */
#include "tensor/quant.h"

#include <string.h>

#include "tensor/quant_internal.h"

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* binary32 has 8 exponent bits with bias 127 and 23 of fraction, binary16 5 with bias 15 and 10. */
float hd_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13; /* exponent and fraction, in binary32's places */
    if (magnitude >= 0x0f800000) return from_bits(sign | 0x7f800000 | (magnitude & 0x007fffff)); /* infinity, NaN */
    if (magnitude >= 0x00800000) return from_bits(sign | (magnitude + (112u << 23)));
    /* Subnormal: the fraction on top of 2^-14, minus 2^-14.  Exact, and no binary32 subnormal takes part. */
    float f = from_bits(magnitude + (113u << 23)) - 0x1p-14f;
    return from_bits(sign | to_bits(f));
}

uint16_t hd_f32_to_f16(float f)
{
    uint32_t bits = to_bits(f);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff)); /* NaN, made quiet */
    if (bits >= 0x47800000) return sign | 0x7c00;                                   /* 65,536 and more: infinity */
    if (bits < 0x38800000) {
        /* Below 2^-14: adding 1/2 leaves multiples of 2^-24, the step of subnormals, rounded to nearest even. */
        float shifted = from_bits(bits) + 0.5f;
        return (uint16_t)(sign | (to_bits(shifted) - to_bits(0.5f)));
    }
    bits += 0xfff + (bits >> 13 & 1); /* nearest, ties to even; a carry runs into the exponent, up to infinity */
    return (uint16_t)(sign | (bits - (112u << 23)) >> 13);
}

float hd_bf16_to_f32(uint16_t h)
{
    return from_bits((uint32_t)h << 16);
}

uint16_t hd_f32_to_bf16(float f)
{
    uint32_t bits = to_bits(f);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40); /* NaN, made quiet */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* E4M3 is binary16 without the top exponent bit and the last 7 of fraction, and with a bias smaller by 8. */
float hd_e4m3_to_f32(uint8_t v)
{
    if ((v & 0x7f) == 0x7f) return from_bits((uint32_t)(v & 0x80) << 24 | 0x7fc00000);
    return hd_f16_to_f32((uint16_t)((v & 0x80) << 8 | (v & 0x7f) << 7)) * 256.0f;
}

uint8_t hd_f32_to_e4m3(float f)
{
    uint32_t bits = to_bits(f);
    uint8_t sign = (uint8_t)(bits >> 24 & 0x80);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return sign | 0x7f;
    if (bits < 0x3c800000) {
        /* Below 2^-6: adding 2^14 leaves multiples of 2^-9, the step of subnormals, rounded to nearest even. */
        float shifted = from_bits(bits) + 0x1p14f;
        return (uint8_t)(sign | (to_bits(shifted) - to_bits(0x1p14f)));
    }
    bits += 0x7ffff + (bits >> 20 & 1);
    uint32_t code = (bits >> 20) - (120u << 3);
    return (uint8_t)(sign | HD_MIN(code, 0x7eu));
}

/* E5M2 is the upper half of binary16. */
float hd_e5m2_to_f32(uint8_t v)
{
    return hd_f16_to_f32((uint16_t)(v << 8));
}

float hd_e8m0_to_f32(uint8_t v)
{
    if (v == 255) return from_bits(0x7fc00000);
    return from_bits(v == 0 ? 0x00400000 : (uint32_t)v << 23); /* 2^-127 is a binary32 subnormal */
}

static const hd_block_decoder block_decoders[HD_TYPE_COUNT] = {
    [HD_TYPE_Q4_0] = hd_decode_q4_0,       [HD_TYPE_Q4_1] = hd_decode_q4_1,     [HD_TYPE_Q5_0] = hd_decode_q5_0,
    [HD_TYPE_Q5_1] = hd_decode_q5_1,       [HD_TYPE_Q8_0] = hd_decode_q8_0,     [HD_TYPE_Q2_K] = hd_decode_q2_k,
    [HD_TYPE_Q3_K] = hd_decode_q3_k,       [HD_TYPE_Q4_K] = hd_decode_q4_k,     [HD_TYPE_Q5_K] = hd_decode_q5_k,
    [HD_TYPE_Q6_K] = hd_decode_q6_k,       [HD_TYPE_IQ1_S] = hd_decode_iq1_s,   [HD_TYPE_IQ1_M] = hd_decode_iq1_m,
    [HD_TYPE_IQ2_XXS] = hd_decode_iq2_xxs, [HD_TYPE_IQ2_XS] = hd_decode_iq2_xs, [HD_TYPE_IQ2_S] = hd_decode_iq2_s,
    [HD_TYPE_IQ3_XXS] = hd_decode_iq3_xxs, [HD_TYPE_IQ3_S] = hd_decode_iq3_s,   [HD_TYPE_IQ4_NL] = hd_decode_iq4_nl,
    [HD_TYPE_IQ4_XS] = hd_decode_iq4_xs,   [HD_TYPE_TQ1_0] = hd_decode_tq1_0,   [HD_TYPE_TQ2_0] = hd_decode_tq2_0,
    [HD_TYPE_MXFP4] = hd_decode_mxfp4,
};

static uint64_t le64(const uint8_t *p)
{
    return hd_le32(p) | (uint64_t)hd_le32(p + 4) << 32;
}

static float f64_to_f32(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return (float)d;
}

#define DECODE_EACH(value)                                                                                             \
    for (int64_t i = 0; i < n; i++)                                                                                    \
        dst[i] = (value);                                                                                              \
    return true

/* Types of one value per block.  Numbers that float32 can't hold are rounded to the nearest. */
static bool decode_plain(hd_type type, const uint8_t *p, float *dst, int64_t n)
{
    switch (type) {
    case HD_TYPE_F32: DECODE_EACH(from_bits(hd_le32(p + 4 * i)));
    case HD_TYPE_F16: DECODE_EACH(hd_le_f16(p + 2 * i));
    case HD_TYPE_BF16: DECODE_EACH(hd_bf16_to_f32(hd_le16(p + 2 * i)));
    case HD_TYPE_F64: DECODE_EACH(f64_to_f32(le64(p + 8 * i)));
    case HD_TYPE_I8: DECODE_EACH((float)(int8_t)p[i]);
    case HD_TYPE_I16: DECODE_EACH((float)(int16_t)hd_le16(p + 2 * i));
    case HD_TYPE_I32: DECODE_EACH((float)(int32_t)hd_le32(p + 4 * i));
    case HD_TYPE_I64: DECODE_EACH((float)(int64_t)le64(p + 8 * i));
    case HD_TYPE_U8: DECODE_EACH((float)p[i]);
    case HD_TYPE_F8_E4M3: DECODE_EACH(hd_e4m3_to_f32(p[i]));
    case HD_TYPE_F8_E5M2: DECODE_EACH(hd_e5m2_to_f32(p[i]));
    case HD_TYPE_F8_E8M0: DECODE_EACH(hd_e8m0_to_f32(p[i]));
    default: return false;
    }
}

bool hd_encode_row(hd_type type, const float *src, void *dst, int64_t n)
{
    uint8_t *to = dst;
    uint16_t half;
    switch (type) {
    case HD_TYPE_F32: memcpy(to, src, (size_t)n * sizeof *src); return true;
    case HD_TYPE_F16:
    case HD_TYPE_BF16:
        for (int64_t i = 0; i < n; i++, to += sizeof half) {
            half = type == HD_TYPE_F16 ? hd_f32_to_f16(src[i]) : hd_f32_to_bf16(src[i]);
            memcpy(to, &half, sizeof half);
        }
        return true;
    case HD_TYPE_Q8_0:
        for (int64_t i = 0; i + 32 <= n; i += 32, to += 34)
            hd_encode_q8_0(src + i, to);
        return true;
    default: return false;
    }
}

bool hd_decode_row(hd_type type, const void *src, float *dst, int64_t n)
{
    if ((unsigned)type >= HD_TYPE_COUNT) return false;
    hd_block_decoder decode = block_decoders[type];
    if (!decode) return decode_plain(type, src, dst, n);
    const uint8_t *block = src;
    int values = hd_type_block(type), bytes = hd_type_block_bytes(type);
    for (int64_t done = 0; done + values <= n; done += values, block += bytes)
        decode(block, dst + done);
    return true;
}
