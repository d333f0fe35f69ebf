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

#endif
