/* quantize/sensitivity.h: what rounding costs a model, measured: class by class, the matrices of one class alone are
 * rounded, a text is read, and the divergence from the model as it is shows what that class's errors cost.
 *
 * A class is the matrices of one role (queries, what leads into the feed-forward network, ...) in one part of the
 * layers: the first eighth, the rest of the first half, the second half up to the last eighth, the last eighth.
 */
#ifndef HD_QUANTIZE_SENSITIVITY_H
#define HD_QUANTIZE_SENSITIVITY_H

#include "quantize/budget.h"

#define HD_CLASS_NAME 64
#define HD_CLASSES_MAX 64

typedef struct hd_sensitivity_class {
    char name[HD_CLASS_NAME]; /* "attention's queries, first eighth" */
    size_t tensors;
    int64_t values;
    double divergence; /* mean, in nats, with this class alone as the probe's types; negative: not measured */
    double error;      /* sum of the errors of its matrices then */
} hd_sensitivity_class;

typedef struct hd_sensitivity {
    hd_sensitivity_class classes[HD_CLASSES_MAX];
    size_t count;
    size_t tokens; /* that were compared */
} hd_sensitivity;

typedef struct hd_sensitivity_options {
    const hd_backend *backend; /* whose operators compute */
    int threads;
    const int32_t *ids; /* the text */
    int64_t id_count;
    int64_t window;            /* tokens that are read together at most, from an empty cache */
    int32_t first;             /* takes the place of each window's first id; negative: none does */
    const hd_imatrix *imatrix; /* NULL: all inputs count alike */
    hd_quant_progress progress;
    void *arg;
} hd_sensitivity_options;

/* The class of each tensor of a GGUF model: classes[hd_source_count], -1 for those that keep their type; names and
 * sizes into *out. */
void hd_sensitivity_classes(int *classes, hd_sensitivity *out, const hd_source *from);

/* Measures all classes of `from`, whose checkpoint is GGUF, as hd_sensitivity_classes gave them, with probe[i] as the
 * type of tensor i when its turn comes, and gives each tensor the cost of a unit of its error (budget.h) in
 * cost[hd_source_count].  Opens the model once more than there are classes; beside it 256 MB of logits and the matrices
 * of one class are held.  Errors: those of opening a model, HD_E_UNSUPPORTED (a matrix that is put together, as of a
 * pruned or merged source), HD_E_CANCELLED, HD_E_ARGUMENT (a text too short), HD_E_MEMORY. */
hd_status hd_sensitivity_measure(double *cost, hd_sensitivity *out, const int *classes, const hd_source *from,
                                 const hd_choices *choices, const hd_type *probe, const hd_sensitivity_options *options,
                                 hd_error *err);

#endif
