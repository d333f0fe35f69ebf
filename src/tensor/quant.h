/* tensor/quant.h: reference decoders of every tensor type, and the encoder of those that caches are kept in.
 *
 * Decoders give bit for bit the values that the gguf package 0.19 computes (golden/quants.safetensors): each product
 * and sum is rounded to float32 in the order given there, so this file is compiled with -ffp-contract=off.  All
 * functions are thread-safe.
 */
#ifndef HD_TENSOR_QUANT_H
#define HD_TENSOR_QUANT_H

#include <stdint.h>

#include "tensor/tensor.h"

/* IEEE 754 binary16 and bfloat16, to and from float32 (round to nearest even), and the OCP 8-bit formats (OFP8 1.0). */
float hd_f16_to_f32(uint16_t h);
uint16_t hd_f32_to_f16(float f);
float hd_bf16_to_f32(uint16_t h);
uint16_t hd_f32_to_bf16(float f);
float hd_e4m3_to_f32(uint8_t v); /* S.1111.111 is NaN, no infinities */
uint8_t hd_f32_to_e4m3(float f); /* to nearest even; beyond 448, and infinity, to 448 ("saturating") */
float hd_e5m2_to_f32(uint8_t v);
float hd_e8m0_to_f32(uint8_t v); /* 2^(v-127); 255 is NaN */

/* Decodes `n` values (a whole number of blocks) from `src` (no alignment needed) to `dst`.  F8_E4M3 is decoded without
 * its block scales.  Returns false for a type that has no float values here (never for the types of HD_TYPE_LIST). */
bool hd_decode_row(hd_type type, const void *src, float *dst, int64_t n);

/* Encodes `n` values (a whole number of blocks) as F32, F16, BF16 or Q8_0, rounded to nearest; `dst` may lie anywhere.
 * A Q8_0 block's scale is its largest magnitude / 127 as float16, and no value is off by more than half of it; a block
 * with a number that is not finite, or beyond 127 * 65,504, decodes to NaN.  (The gguf package divides by the scale
 * before it is rounded.)  Returns false for other types. */
bool hd_encode_row(hd_type type, const float *src, void *dst, int64_t n);

/* The scale, as float16, of a Q8_0 block whose largest magnitude is `largest` (NaN: a number is not finite).  *inverse
 * is what its values are multiplied by before they are rounded; 0 where the scale is 0 or not finite: all bytes are 0.
 */
uint16_t hd_q8_0_scale(float largest, float *inverse);

#endif
