/* tensor/quant.h: reference decoders of every tensor type.
 *
 * Bit for bit the values that the gguf package 0.19 computes (golden/quants.safetensors): each product and sum is
 * rounded to float32 in the order given there, so this file is compiled with -ffp-contract=off.  All functions are
 * thread-safe.
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
float hd_e5m2_to_f32(uint8_t v);
float hd_e8m0_to_f32(uint8_t v); /* 2^(v-127); 255 is NaN */

/* Decodes `n` values (a whole number of blocks) from `src` (no alignment needed) to `dst`.  F8_E4M3 is decoded without
 * its block scales.  Returns false for a type that has no float values here (never for the types of HD_TYPE_LIST). */
bool hd_decode_row(hd_type type, const void *src, float *dst, int64_t n);

#endif
