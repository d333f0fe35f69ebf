/* tensor/encode_internal.h: what the files of the encoders share.
 *
 * Encoders work on as many blocks at a time as a vector has lanes, one block a lane, so that a sum never crosses lanes
 * and every width of vectors gives the same bits.  encode.inc.h is compiled once for each width. */
#ifndef HD_TENSOR_ENCODE_INTERNAL_H
#define HD_TENSOR_ENCODE_INTERNAL_H

#include "tensor/encode.h"

/* Encodes `blocks` blocks; `weight` may be NULL. */
typedef void (*hd_blocks_encoder)(const float *src, const float *weight, uint8_t *dst, int64_t blocks);

/* [HD_TYPE_COUNT]; NULL for types that can't be encoded. */
extern const hd_blocks_encoder hd_encoders_portable[HD_TYPE_COUNT];
#if defined(__x86_64__)
extern const hd_blocks_encoder hd_encoders_avx2[HD_TYPE_COUNT], hd_encoders_avx512[HD_TYPE_COUNT];
#endif

#endif
