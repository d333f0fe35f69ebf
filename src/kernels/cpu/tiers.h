/* kernels/cpu/tiers.h: the operator tables of the fast tiers; which of them exist depends on the architecture built
 * for. */
#ifndef HD_KERNELS_TIERS_H
#define HD_KERNELS_TIERS_H

#include "tensor/backend.h"

extern const hd_backend hd_backend_avx2, hd_backend_avx512, hd_backend_avx512bf16, hd_backend_amx;
extern const hd_backend hd_backend_neon, hd_backend_neondot, hd_backend_neoni8mm;

#endif
