/* kernels/cpu/tier_neoni8mm.c: the neoni8mm tier: the neondot tier, whose rows of activations go in pairs through
 * products of 2 x 8 by 8 x 2 bytes. */
#include "kernels/cpu/tiers.h"

#if defined(__ARM_FEATURE_MATMUL_INT8)

#include "kernels/cpu/simd_neon.h"

#define HD_TIER_TABLE hd_backend_neoni8mm
#define HD_TIER_NAME "neoni8mm"
#define HD_TIER HD_CPU_NEONI8MM
#include "kernels/cpu/fast.inc.h"

#endif
