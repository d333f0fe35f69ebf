/* kernels/cpu/tier_neondot.c: the neondot tier: the bodies of fast.inc.h with the vectors of simd_neon.h, and its dot
 * products of bytes. */
#include "kernels/cpu/tiers.h"

#if defined(__ARM_FEATURE_DOTPROD)

#include "kernels/cpu/simd_neon.h"

#define HD_TIER_TABLE hd_backend_neondot
#define HD_TIER_NAME "neondot"
#define HD_TIER HD_CPU_NEONDOT
#include "kernels/cpu/fast.inc.h"

#endif
