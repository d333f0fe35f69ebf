/* kernels/cpu/tier_avx2.c: the avx2 tier: the bodies of fast.inc.h with the vectors of simd_avx2.h. */
#include "kernels/cpu/tiers.h"

#if defined(__AVX2__)

#include "kernels/cpu/simd_avx2.h"

#define HD_TIER_TABLE hd_backend_avx2
#define HD_TIER_NAME "avx2"
#define HD_TIER HD_CPU_AVX2
#include "kernels/cpu/fast.inc.h"

#endif
