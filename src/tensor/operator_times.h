/* tensor/operator_times.h: what the classes of operators take, from a sample of an engine's passes.
 *
 * The table wraps another one's operators and adds what each takes to its class.  An engine uses it for one pass in
 * HD_SAMPLED_PASSES and the plain one for the others, so that this may always be on: two looks at the clock for each
 * operator of a sampled pass.  Written by the engine's thread alone, one pass at a time; read by any.
 */
#ifndef HD_TENSOR_OPERATOR_TIMES_H
#define HD_TENSOR_OPERATOR_TIMES_H

#include <stdatomic.h>

#include "tensor/backend.h"

/* A prime, so that no rhythm of prompts and answers is met at one beat only. */
#define HD_SAMPLED_PASSES 31

typedef struct hd_operator_times hd_operator_times;

/* For operators of `inner`, whose table must outlive it.  HD_E_MEMORY. */
hd_status hd_operator_times_open(hd_operator_times **out, const hd_backend *inner, hd_error *err);
void hd_operator_times_close(hd_operator_times **times); /* NULL-safe; after the engine */

/* The table of the next pass, of which it begins the count.  hd_operator_times_end tells that it is over. */
const hd_backend *hd_operator_times_begin(hd_operator_times *times);
void hd_operator_times_end(hd_operator_times *times);

/* Sums since the opening, in nanoseconds; any thread.  A class by its number, from 0; false behind the last one.  *name
 * has static storage. */
bool hd_operator_times_class(const hd_operator_times *times, int number, const char **name, uint64_t *calls,
                             uint64_t *ns);
void hd_operator_times_passes(const hd_operator_times *times, uint64_t *passes, uint64_t *ns);

#endif
