/* tensor/encode.inc.h: the encoders for one width of vectors: define ENCODE_LANES and ENCODE_TABLE before it.
 *
 * A batch is ENCODE_LANES blocks, value i of all of them in vector i. */
#include <float.h>
#include <math.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "tensor/encode_internal.h"
#include "tensor/quant_internal.h"

#include "tensor/encode_fit.inc.h"

#include "tensor/encode_basic.inc.h"
#include "tensor/encode_k.inc.h"

#include "tensor/encode_iq.inc.h"

const hd_blocks_encoder ENCODE_TABLE[HD_TYPE_COUNT] = {
    [HD_TYPE_Q4_0] = encode_q4_0,     [HD_TYPE_Q4_1] = encode_q4_1,       [HD_TYPE_Q5_0] = encode_q5_0,
    [HD_TYPE_Q5_1] = encode_q5_1,     [HD_TYPE_Q8_0] = encode_q8_0,       [HD_TYPE_MXFP4] = encode_mxfp4,
    [HD_TYPE_IQ4_NL] = encode_iq4_nl, [HD_TYPE_Q2_K] = encode_q2_k,       [HD_TYPE_Q3_K] = encode_q3_k,
    [HD_TYPE_Q4_K] = encode_q4_k,     [HD_TYPE_Q5_K] = encode_q5_k,       [HD_TYPE_Q6_K] = encode_q6_k,
    [HD_TYPE_IQ4_XS] = encode_iq4_xs, [HD_TYPE_IQ2_XXS] = encode_iq2_xxs, [HD_TYPE_IQ2_XS] = encode_iq2_xs,
    [HD_TYPE_IQ2_S] = encode_iq2_s,   [HD_TYPE_IQ3_XXS] = encode_iq3_xxs, [HD_TYPE_IQ3_S] = encode_iq3_s,
};
