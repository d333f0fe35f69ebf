/* kernels/machine.h: what this machine can do at best: bytes read from memory and arithmetic, a second.
 *
 * Decode is bytes over bandwidth, prefill is arithmetic over the vector units; these are the two limits that figures of
 * `hadal bench` are held against.  Measured with loops of our own that do nothing else, on all threads of a pool.
 * One call at a time.
 */
#ifndef HD_KERNELS_MACHINE_H
#define HD_KERNELS_MACHINE_H

#include "base/base.h"

typedef struct hd_machine_rate {
    double median, best; /* a second, over the repetitions, all threads together */
} hd_machine_rate;

#define HD_MACHINE_REPS_MAX 100

/* Streams `bytes` of memory (far more than the caches hold) through all threads, `reps` times (1 to
 * HD_MACHINE_REPS_MAX); rates are bytes a second.  Errors: HD_E_MEMORY, HD_E_ARGUMENT. */
hd_status hd_machine_read(hd_pool *pool, size_t bytes, int reps, hd_machine_rate *out, hd_error *err);

/* Kinds of arithmetic, as kernels use them.  Each product counts as two operations: a multiplication and an addition.
 */
typedef enum hd_arithmetic {
    HD_ARITHMETIC_F32,      /* fused multiply-add of float32 */
    HD_ARITHMETIC_BF16,     /* dot product of bfloat16 pairs into float32 */
    HD_ARITHMETIC_INT8,     /* dot product of four 8-bit integers into 32 bits */
    HD_ARITHMETIC_AMX_BF16, /* tiles */
    HD_ARITHMETIC_AMX_INT8,
    HD_ARITHMETIC_COUNT
} hd_arithmetic;

/* "float32", "bf16", "int8", "amx bf16", "amx int8" */
const char *hd_arithmetic_name(hd_arithmetic kind);

/* The instruction that the measurement would use here, such as "vpdpbusd, 512 bits"; NULL when this processor or this
 * build has none for that kind. */
const char *hd_machine_instruction(hd_arithmetic kind);

/* Operations a second with that instruction, everything in registers.  HD_E_UNSUPPORTED where there is none. */
hd_status hd_machine_arithmetic(hd_pool *pool, hd_arithmetic kind, int reps, hd_machine_rate *out, hd_error *err);

#endif
