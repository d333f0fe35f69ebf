/* kernels/cpu/tier_amx.c: the amx tier: the avx512 tier's bodies, with products of many rows in AMX's tiles. */
#include "kernels/cpu/tiers.h"

#if defined(__AMX_INT8__) || defined(__AMXINT8__) /* gcc, clang */

#define HD_AMX
#include "kernels/cpu/simd_amx.h"
#include "kernels/cpu/simd_avx512.h"

#define HD_TIER_TABLE hd_backend_amx
#define HD_TIER_NAME "amx"
#define HD_TIER HD_CPU_AMX
#include "kernels/cpu/fast.inc.h"

#endif
