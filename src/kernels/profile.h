/* kernels/profile.h: where an engine's time goes: an operator table that calls another one's operators and keeps count.
 *
 * The wrapped table is given to an engine in place of the real one (hd_engine_options.profile); an engine without a
 * profile never meets this code.  Not thread-safe: one engine to a profile, whose operators, prepare among them, are
 * called by one thread at a time, as backend.h has it; read and reset between its steps.
 */
#ifndef HD_KERNELS_PROFILE_H
#define HD_KERNELS_PROFILE_H

#include "tensor/backend.h"

#define HD_PROFILE_ROWS_MAX 64

/* All calls of one operator on one shape of weights.  Sums, since opening or the last reset. */
typedef struct hd_profile_row {
    const char *op;     /* "repack" (weights, while loading), "matmul", "moe", "attend", ...; static storage */
    hd_type type;       /* of the weights or cached rows; meaningful when bytes > 0 */
    int64_t rows, cols; /* shape of the weights, of one expert's gate for "moe"; 0: none */
    int64_t calls;
    double seconds;
    double bytes;      /* that must come from memory: weights as in the file, cached rows, each once a call */
    double read_bytes; /* the same, weights as they lie in memory once repacked */
    double operations; /* multiplications and additions of products; 0 for operators without products */
} hd_profile_row;

typedef struct hd_profile hd_profile;

hd_status hd_profile_open(hd_profile **out, hd_error *err);
void hd_profile_close(hd_profile **profile); /* NULL-safe; after the engine that uses it */

/* From now on the profile counts for `inner`, whose table must outlive it.  Returns the table to give to a model, which
 * belongs to the profile.  Its operators find the profile through hd_exec.backend. */
const hd_backend *hd_profile_wrap(hd_profile *profile, const hd_backend *inner);

/* The rows so far, in the order of their first call; valid until the next one. */
const hd_profile_row *hd_profile_rows(const hd_profile *profile, size_t *count);
void hd_profile_reset(hd_profile *profile);

#endif
