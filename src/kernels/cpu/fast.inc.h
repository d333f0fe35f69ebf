/* kernels/cpu/fast.inc.h: a whole fast tier: include a simd_*.h before it and define HD_TIER_TABLE, HD_TIER_NAME and
 * HD_TIER.  Every tier has the same bodies with its own vectors and compiler flags. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/ahead.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/reference.h"
#include "tensor/quant.h"

#include "kernels/cpu/fast_vector.inc.h"

#include "kernels/cpu/fast_quantize.inc.h"
#include "kernels/cpu/fast_unpack.inc.h"

#include "kernels/cpu/fast_float.inc.h"
#include "kernels/cpu/fast_matmul.inc.h"

#include "kernels/cpu/fast_bf16.inc.h"

#include "kernels/cpu/fast_attend_block.inc.h"

#include "kernels/cpu/fast_attend.inc.h"
#include "kernels/cpu/fast_elementwise.inc.h"
#include "kernels/cpu/fast_mla.inc.h"
#include "kernels/cpu/fast_moe.inc.h"

static size_t fast_scratch_bytes(const hd_shape_limits *l)
{
    size_t attend = HD_MAX(attend_scratch(l), mla_scratch(l));
    size_t matmul = matmul_scratch(l->tokens, l->cols, 1, l->threads);
    size_t heads = l->mla_lora ? matmul_scratch(l->tokens, HD_MAX(l->mla_lora, l->mla_nope), l->heads, l->threads) : 0;
    return HD_MAX(HD_MAX(attend, heads), HD_MAX(matmul, moe_scratch(l)));
}

const hd_backend HD_TIER_TABLE = {
    .name = HD_TIER_NAME,
    .tier = HD_TIER,
    .cache_type = HD_TYPE_F16,
    .flush_denormals = true,
    .scratch_bytes = fast_scratch_bytes,
    .prepare = fast_prepare,
    .unprepare = hd_unpack_free,
    .embed = hd_reference_embed,
    .matmul = fast_matmul,
    .matmul_shared = fast_matmul_shared,
    .matmul_heads = fast_matmul_heads,
    .rms_norm = fast_rms_norm,
    .rope = fast_rope,
    .store_rows = fast_store_rows,
    .attend = fast_attend,
    .attend_mla = fast_attend_mla,
    .swiglu = fast_swiglu,
    .add = fast_add,
    .add_low_rank = fast_add_low_rank,
    .moe = fast_moe,
};
