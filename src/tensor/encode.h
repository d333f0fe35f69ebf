/* tensor/encode.h: float32 to block types, with the least weighted error that a short search finds.
 *
 * A block's scale (and minimum) is chosen by least squares: for each of some scales near the obvious one the codes are
 * rounded, the scale that suits these codes best is the solution of a linear equation, and the pair with the least sum
 * of weight * (value - decoded)^2 stays.  Scales of the K types, themselves small integers, are fitted again after they
 * were rounded.  For the types with a grid every point of it is tried.  A block depends on its own values and weights
 * only, and is the same on every processor.
 */
#ifndef HD_TENSOR_ENCODE_H
#define HD_TENSOR_ENCODE_H

#include "tensor/tensor.h"

/* Whether hd_encode_blocks knows the type. */
bool hd_encode_supported(hd_type type);

/* Encodes `n` values, whole blocks, to n / hd_type_block(type) blocks at `dst`, which may lie anywhere.  `weight` is
 * NULL (all alike) or n numbers of at least 0, which say how much an error of each value costs.  Values that are not
 * finite, or beyond what the block's binary16 scale can hold, give blocks of any value.  Thread-safe; nothing is
 * allocated. Returns false for types that aren't supported. */
bool hd_encode_blocks(hd_type type, const float *src, const float *weight, void *dst, int64_t n);

/* DeepSeek-V3's 8-bit weights: a matrix as F8_E4M3, with a float32 scale for each HD_F8_BLOCK x HD_F8_BLOCK block
 * (those at the right and the lower edge are smaller), its largest magnitude / 448: value = code * scale,
 * `weight_scale_inv`.
 *
 * Encodes rows x cols values, row-major and without gaps, to as many bytes at `dst`.  Row 0 begins a row of blocks;
 * block (i, j) has scale[i * scale_stride + j], where scale_stride is at least the blocks of a row.  No value is off by
 * more than 1/28 of its block's largest.  A block of zeros has scale 1.  One with a number that is not finite decodes
 * to NaN.  Thread-safe; nothing is allocated. */
#define HD_F8_BLOCK 128
void hd_encode_f8_blocks(const float *src, int64_t rows, int64_t cols, uint8_t *dst, float *scale,
                         int64_t scale_stride);

/* The scales alone, of one row of blocks: at most HD_F8_BLOCK rows, a scale for each HD_F8_BLOCK columns. */
void hd_f8_scales(const float *src, int64_t rows, int64_t cols, float *scale);

/* 8-bit integers with a scale for each row ("W8A8", symmetric, per channel): value = code * scale[row], the row's
 * largest magnitude / 127 rounded up to a bfloat16 (compressed-tensors keeps scales in the type of the weights), codes
 * -127 .. 127.  Encodes rows x cols values, row-major and without gaps.  No value is off by more than half a scale (a
 * whole one in rows that reach to the last hundredth of float32's range, whose scale is rounded down).  A row of zeros
 * has scale 1; one with a number that is not finite decodes to NaN.  Thread-safe; nothing is allocated. */
void hd_i8_scales(const float *src, int64_t rows, int64_t cols, float *scale);
void hd_encode_i8_rows(const float *src, int64_t rows, int64_t cols, int8_t *dst, float *scale);

#endif
