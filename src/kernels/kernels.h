/* kernels/kernels.h: the door of the kernels room: the operator tables that this build has. */
#ifndef HD_KERNELS_H
#define HD_KERNELS_H

#include "tensor/backend.h"

/* The operator table of a CPU tier; HD_CPU_AUTO gives the best one.  Static storage; thread-safe.
 * Errors: HD_E_UNSUPPORTED when this processor lacks what the tier needs (the text names the tiers that it has). */
hd_status hd_kernels_cpu(const hd_backend **out, hd_cpu_tier tier, hd_error *err);

#endif
