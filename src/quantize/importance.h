/* quantize/importance.h: gathers an importance matrix with our own engine, and makes of one what errors cost.
 *
 * While a text goes through the model, a table of operators that wraps the real one sees the input of every matrix and
 * adds up its squares, column by column (formats/imatrix.h).  The error that a rounded weight makes in an output is
 * that weight's error times its input, so the expected square of it is the weight's squared error times the mean square
 * of its column: the weight with which the encoders search for scales (tensor/encode.h).
 */
#ifndef HD_IMPORTANCE_H
#define HD_IMPORTANCE_H

#include "formats/formats.h"
#include "formats/imatrix.h"
#include "tensor/backend.h"

/* Called after every step with the tokens that were read; false cancels. */
typedef bool (*hd_importance_progress)(void *arg, int64_t done, int64_t all);

typedef struct hd_importance_options {
    const hd_backend *backend; /* whose operators compute */
    int threads;               /* >= 1 */
    int64_t window;            /* tokens that are read together, from an empty cache; >= 1 */
    int32_t first;             /* id that takes the place of each window's first token; negative: none does */
    void (*loading)(void *arg, double fraction); /* may be NULL, as the next */
    hd_importance_progress progress;
    void *arg; /* of both */
} hd_importance_options;

/* Evaluates the text `ids` with the model at `path` and counts: whole windows only, unless there is but one.  The
 * matrix that gives the logits (the embedding, where both are one) sees every token, though only the last one's logits
 * of each step are computed; an embedding that is only looked up has no inputs.
 * The names are those of the checkpoint's tensors.  Experts are counted one by one; so are the heads of attn_k_b and
 * attn_v_b (MLA), whose inputs are those of the absorbed form: a head's query without its rotated part, and the latents
 * weighted by its attention.  A joint attn_kv_b gets the squares of the latents.  Memory: 4 bytes for each column of
 * each expert, beside the
 * model, and room for the logits of a step, of which one row is touched.  The sums don't depend on the number of
 * threads. Errors: those of opening a model; HD_E_ARGUMENT (an id outside the vocabulary, no ids), HD_E_CANCELLED,
 * HD_E_LIMIT, HD_E_MEMORY, HD_E_INTERNAL (inputs that are not finite). */
hd_status hd_importance_gather(hd_imatrix **out, const char *path, const int32_t *ids, int64_t count,
                               const hd_importance_options *options, hd_error *err);

/* Whether files may well have nothing of a tensor of that name: the embedding, which may be only looked up, and the
 * matrix that gives the logits, whose inputs other tools do not count. */
bool hd_importance_optional(const char *name);

/* Counts below this many inputs are thin: a mean of the layer stands in for as many. */
#define HD_IMPORTANCE_PRIOR 32

/* What an error costs in each column, columns[matrices][cols], of a tensor of so many matrices (experts or heads; 1 for
 * most): of matrix m and column j, with s the sums and n the counts,
 *     (s[m][j] + PRIOR * scale[m] * mean[j]) / (n[m] + PRIOR),  mean[j] = sum of s[.][j] / sum of n,
 * where scale[m] is the ratio of m's own mean of all columns to that of the layer (1 where n[m] is 0).  An expert that
 * saw few tokens has sums that are mostly noise: its columns' shape is drawn towards that of all experts together, as
 * much as PRIOR tokens would, and one that saw none has that shape.  A file that counts a tensor's experts together
 * says nothing about which are thin; their rows are taken as they are.
 * False: the entry has other shapes (see below). */
bool hd_importance_columns(float *columns, const hd_imatrix_entry *entry, int64_t matrices, int64_t cols);

/* The same of tensor t as the matrix has it, by name: *out is the caller's (hd_free), [matrices][cols]; NULL where
 * nothing is known: no matrix, a vector, no entry, or one of other shapes.  HD_E_MEMORY. */
hd_status hd_importance_of(float **out, const hd_imatrix *matrix, const hd_tensor *t, hd_error *err);

/* How often errors of matrix m happen, of so many matrices, beside the mean of all: of experts that are counted one by
 * one, with n the counts, (n[m] + PRIOR) / (mean of n + PRIOR); 1 where there is one count for all. */
double hd_importance_hits(const hd_imatrix_entry *entry, int64_t matrices, int64_t m);

/* Whether an entry is of a tensor of that shape; else it is one of another model. */
bool hd_importance_fits(const hd_imatrix_entry *entry, int64_t matrices, int64_t cols);

/* The weights of `n` values of a tensor from value `at` on, for hd_encode_blocks: its column's cost is each value's,
 * whatever the value.  (llama.cpp multiplies by sqrt(mean of the row's squares + value^2), which favours large values;
 * measured, that leaves a model farther from its original: docs/quantize.md.)  columns is [matrices][cols], of matrices
 * with `rows` rows; a piece may begin and end within a row. */
void hd_importance_weights(float *weight, const float *columns, int64_t rows, int64_t cols, int64_t at, int64_t n);

#endif
