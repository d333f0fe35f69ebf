/* tensor/quant_internal.h: what the files of the decoders share: one function per block type, and the code books.
 *
 * Each decoder turns one block of its type (hd_type_block_bytes bytes, little-endian, no alignment needed) into
 * hd_type_block values.  Layouts: docs/tensor.md.  All are thread-safe and cannot fail: every bit pattern has a value.
 */
#ifndef HD_TENSOR_QUANT_INTERNAL_H
#define HD_TENSOR_QUANT_INTERNAL_H

#include <stdint.h>

#include "tensor/quant.h"

#define HD_SUPER_BLOCK 256 /* values per block of the K, IQ and TQ types */

typedef void (*hd_block_decoder)(const uint8_t *block, float *dst);

/* quant_basic.c: 32 values around one scale; and the ternary types. */
void hd_decode_q4_0(const uint8_t *block, float *dst);
void hd_decode_q4_1(const uint8_t *block, float *dst);
void hd_decode_q5_0(const uint8_t *block, float *dst);
void hd_decode_q5_1(const uint8_t *block, float *dst);
void hd_decode_q8_0(const uint8_t *block, float *dst);
void hd_encode_q8_0(const float *src, uint8_t *block);
void hd_decode_mxfp4(const uint8_t *block, float *dst);
void hd_decode_tq1_0(const uint8_t *block, float *dst);
void hd_decode_tq2_0(const uint8_t *block, float *dst);

/* quant_k.c: 256 values, with scales of their own for each 16 or 32. */
void hd_decode_q2_k(const uint8_t *block, float *dst);
void hd_decode_q3_k(const uint8_t *block, float *dst);
void hd_decode_q4_k(const uint8_t *block, float *dst);
void hd_decode_q5_k(const uint8_t *block, float *dst);
void hd_decode_q6_k(const uint8_t *block, float *dst);

/* quant_iq.c: vectors of 4 or 8 values out of a code book, and the non-linear 4-bit types. */
void hd_decode_iq1_s(const uint8_t *block, float *dst);
void hd_decode_iq1_m(const uint8_t *block, float *dst);
void hd_decode_iq2_xxs(const uint8_t *block, float *dst);
void hd_decode_iq2_xs(const uint8_t *block, float *dst);
void hd_decode_iq2_s(const uint8_t *block, float *dst);
void hd_decode_iq3_xxs(const uint8_t *block, float *dst);
void hd_decode_iq3_s(const uint8_t *block, float *dst);
void hd_decode_iq4_nl(const uint8_t *block, float *dst);
void hd_decode_iq4_xs(const uint8_t *block, float *dst);

/* quant_grids.c: one vector per code; element i of a 2-bit grid is bits 2i, 2i+1, of a 4-bit grid bits 4i .. 4i+3. */
extern const uint16_t hd_grid_iq1[2048];    /* 2-bit */
extern const uint16_t hd_grid_iq2_xxs[256]; /* 2-bit */
extern const uint16_t hd_grid_iq2_xs[512];  /* 2-bit */
extern const uint16_t hd_grid_iq2_s[1024];  /* 2-bit */
extern const uint16_t hd_grid_iq3_xxs[256]; /* 4-bit */
extern const uint16_t hd_grid_iq3_s[512];   /* 4-bit */

static inline uint16_t hd_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t hd_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The binary16 scale at `p`. */
static inline float hd_le_f16(const uint8_t *p)
{
    return hd_f16_to_f32(hd_le16(p));
}

#endif
