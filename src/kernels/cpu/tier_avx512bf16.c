/* kernels/cpu/tier_avx512bf16.c: the avx512bf16 tier: the bodies of fast.inc.h with the vectors of simd_avx512.h,
 * and dot products of bfloat16 in attention. */
#include "kernels/cpu/tiers.h"

#if defined(__AVX512BF16__)

#include "kernels/cpu/simd_avx512.h"

#define HD_TIER_TABLE hd_backend_avx512bf16
#define HD_TIER_NAME "avx512bf16"
#define HD_TIER HD_CPU_AVX512BF16
#include "kernels/cpu/fast.inc.h"

#endif
