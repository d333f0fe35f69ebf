/* quantize/errors.h: how far each tensor of a written model is from its original: a pass over both, behind the run.
 *
 * What is in the file counts, so it makes no difference whether a run was cut and gone on with, or when the model was
 * written.  Both sides are decoded some pieces at a time; the sums don't depend on the number of threads.
 */
#ifndef HD_QUANTIZE_ERRORS_H
#define HD_QUANTIZE_ERRORS_H

#include "quantize/quantize.h"

typedef struct hd_tensor_error {
    const hd_tensor *written; /* in the checkpoint; NULL: it has none of that name and shape, nothing else is known */
    double squared, all;      /* sums over the values x of the original, y decoded: of (x - y)^2, of x^2 */
    bool weighted;            /* the importance matrix has the tensor */
    double weighted_squared, weighted_all; /* each value times its weight (importance.h) */
} hd_tensor_error;

typedef struct hd_error_options {
    hd_pool *pool;              /* NULL: one thread */
    const hd_imatrix *imatrix;  /* NULL: none.  Entries of other shapes than their tensors' are not used */
    hd_quant_progress progress; /* may be NULL */
    void *arg;
} hd_error_options;

/* Fills errors[hd_source_count(from)], of the source's tensors in its order.  Tensors that hold no weights (integers)
 * have sums of 0.  Memory: three times 128 KB for each thread, more where rows are wider.  Errors: HD_E_CANCELLED,
 * HD_E_MODEL_LOST, HD_E_MEMORY. */
hd_status hd_quant_errors(hd_tensor_error *errors, const hd_source *from, const hd_checkpoint *written,
                          const hd_error_options *options, hd_error *err);

/* Root of squared / all, the relative root mean square error; 0 where nothing differs, NaN where all is 0 and differs
 * or where it is not known. */
double hd_relative_error(double squared, double all);

#endif
