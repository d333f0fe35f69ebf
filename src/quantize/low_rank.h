/* quantize/low_rank.h: what quantization took from a model's matrices, given back as a product of two thin ones: an
 * adapter file beside the quantized model.
 *
 * With the error E = W - Q(W) of a matrix [rows][cols] and the mean squares d[j] of its inputs (importance.h), the
 * product B A of rank r is taken that makes sum of d[j] * (E - B A)[i][j]^2 least: the expected squared error of the
 * outputs.  With F = E diag(sqrt(d)) and U the first r left singular vectors of F that is B = U, A = U' E, by the
 * theorem of Eckart and Young (for F), as F's best approximation is U U' F.  U comes from the eigenvectors of the Gram
 * matrix of F's smaller side, by LAPACK.  (LQER, Zhang and others 2024, and EoRA, Liu and others 2024, correct errors
 * so.)
 *
 * No architecture's file has a place for two factors where a matrix is, so they go where peers look for such things: a
 * LoRA adapter in GGUF (general.type "adapter"; NAME.lora_a [r][cols] and NAME.lora_b [rows][r], F16; alpha is the
 * rank, so that the scale is 1), which our --lora and llama.cpp's take.
 */
#ifndef HD_QUANTIZE_LOW_RANK_H
#define HD_QUANTIZE_LOW_RANK_H

#include "quantize/quantize.h"

typedef struct hd_low_rank_options {
    int rank;                  /* >= 1, at most the rows and columns of each matrix */
    const char *pattern;       /* of names of matrices, with *; of these, those that the base has as another type */
    const hd_imatrix *imatrix; /* NULL: all inputs count alike */
    hd_pool *pool;             /* NULL: one thread */
    hd_quant_progress progress;
    void *arg;
} hd_low_rank_options;

typedef struct hd_low_rank_report {
    size_t matrices;
    uint64_t bytes;            /* of the adapter's tensors */
    double signal;             /* sums over the matrices, weighted by d: of W^2, */
    double error, error_after; /* of E^2, of (E - B A)^2 before B and A are rounded to F16 */
} hd_low_rank_report;

/* Whether LAPACK is here (loaded when it is first asked for: programs that don't need it don't pay for it).
 * HD_E_UNSUPPORTED says what to install. */
hd_status hd_low_rank_check(hd_error *err);

/* The r best directions of e[rows][cols] in the sense above: b[rows][r], a[r][cols]; weight[cols] or NULL.  *left is
 * the weighted squared error without what they give back.  Both get entries of like size, which F16 holds best.
 * Errors: HD_E_UNSUPPORTED, HD_E_MEMORY, HD_E_INTERNAL (LAPACK gave up). */
hd_status hd_low_rank_factor(float *a, float *b, double *left, const float *e, const float *weight, int64_t rows,
                             int64_t cols, int rank, hd_pool *pool, hd_error *err);

/* Writes PATH, the adapter that brings `base`, a quantized GGUF file of the same model, nearer to `from`, whose layout
 * is GGUF's.  A run that was killed goes on; nothing is replaced.  Errors: HD_E_ARGUMENT (nothing to correct, another
 * model's file or importance matrix), HD_E_UNSUPPORTED, HD_E_FORMAT (a number that isn't finite), HD_E_CANCELLED,
 * HD_E_MODEL_LOST, HD_E_IO (also: a part that was made of other files), HD_E_MEMORY. */
hd_status hd_low_rank_write(const hd_source *from, const hd_checkpoint *base, const char *path,
                            const hd_low_rank_options *options, hd_low_rank_report *report, hd_error *err);

#endif
