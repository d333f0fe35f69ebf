/* kernels/cpu/tier_neon.c: the neon tier: the bodies of fast.inc.h with the vectors of simd_neon.h. */
#include "kernels/cpu/tiers.h"

#if defined(__aarch64__)

#include "kernels/cpu/simd_neon.h"

#define HD_TIER_TABLE hd_backend_neon
#define HD_TIER_NAME "neon"
#define HD_TIER HD_CPU_NEON
#include "kernels/cpu/fast.inc.h"

#endif
