/* kernels/kernels.h: the door of the kernels room: the operator tables that this build has. */
#ifndef HD_KERNELS_H
#define HD_KERNELS_H

#include "tensor/backend.h"

/* The operator table of a CPU tier; HD_CPU_AUTO gives the best one.  Static storage; thread-safe.
 * Errors: HD_E_UNSUPPORTED when this processor lacks what the tier needs (the text names the tiers that it has). */
hd_status hd_kernels_cpu(const hd_backend **out, hd_cpu_tier tier, hd_error *err);

/* Bytes of the layout of its own that the backend's prepare gives a matrix of this type; 0: it reads the file's.  For
 * plans, without data: `m` has a type, rows and columns, and is not of a release with scales for blocks. */
size_t hd_kernels_packed_bytes(const hd_backend *backend, const hd_matrix *m);

#endif
