/* kernels/cpu/tier_avx512.c: the avx512 tier: the bodies of fast.inc.h with the vectors of simd_avx512.h. */
#include "kernels/cpu/tiers.h"

#if defined(__AVX512VNNI__)

#include "kernels/cpu/simd_avx512.h"

#define HD_TIER_TABLE hd_backend_avx512
#define HD_TIER_NAME "avx512"
#define HD_TIER HD_CPU_AVX512
#include "kernels/cpu/fast.inc.h"

#endif
