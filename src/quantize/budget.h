/* quantize/budget.h: the types that lose least within a number of bytes.
 *
 * What a matrix loses as a type is taken for proportional to the squared error of its outputs: the squared error of
 * each weight times the mean square of its input (importance.h), summed over the matrix, times what such an error costs
 * the model (sensitivity.h).  Experts that are counted one by one weigh by how often they were hit.  Losses of matrices
 * add up; that is true of small ones, as the divergence between two distributions is quadratic in what parts them. Then
 * the best choice for a price of a byte is each matrix's own, and the price is found at which all fit (Everett's method
 * of Lagrange multipliers, Operations Research 11, 1963).
 */
#ifndef HD_QUANTIZE_BUDGET_H
#define HD_QUANTIZE_BUDGET_H

#include "quantize/quantize.h"

/* A type that a matrix could get. */
typedef struct hd_choice {
    hd_type type;
    uint64_t bytes;
    double error; /* summed over the matrix; see above */
} hd_choice;

#define HD_CHOICES_MAX 20

/* What one tensor could get: the choices, the smallest first; a tensor that keeps its type has one. */
typedef struct hd_choices {
    hd_choice items[HD_CHOICES_MAX];
    int count;
    bool free; /* false: it keeps its type */
} hd_choices;

typedef struct hd_budget_options {
    hd_pool *pool;             /* NULL: one thread */
    const hd_imatrix *imatrix; /* NULL: all inputs count alike */
    hd_quant_progress progress;
    void *arg;
} hd_budget_options;

/* The smallest type of each tensor, and the bytes that they have together: no choice is smaller.  Nothing is read. */
uint64_t hd_budget_least(hd_type *types, const hd_source *from);

/* Encodes a sample of every matrix (evenly spread rows, a quarter of a million values) as each type that fits its rows,
 * and measures the errors: choices[hd_source_count].  Tensors that recipes leave as they are have one choice.  Errors:
 * HD_E_CANCELLED, HD_E_FORMAT (a number that is not finite), HD_E_MODEL_LOST, HD_E_MEMORY. */
hd_status hd_budget_measure(hd_choices *choices, const hd_source *from, const hd_budget_options *options,
                            hd_error *err);

/* The error of a choice of this type; 0 when there is none. */
double hd_choices_error(const hd_choices *c, hd_type type);

/* Gives each tensor the choice that makes the sum of cost[i] * error least, with all bytes together at most `bytes`;
 * cost NULL: 1.  False: even the smallest choices have more. */
bool hd_budget_choose(hd_type *types, const hd_choices *choices, const double *cost, size_t count, uint64_t bytes);

#endif
