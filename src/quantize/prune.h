/* quantize/prune.h: a model with fewer channels in its feed-forward networks, or fewer experts, as a source.
 *
 * A feed-forward network is a sum over its channels: y = sum of a[j] * down[:][j], where a[j] is what gate and up make
 * of the input.  Without channel j its output lacks a[j] * down[:][j], whose expected square is
 *     score[j] = mean of a[j]^2 * sum over rows of down[i][j]^2,
 * and an importance matrix has just these means (importance.h): they are the inputs of ffn_down.  That is the metric of
 * Wanda (Sun and others, "A Simple and Effective Pruning Approach for Large Language Models", 2023: |weight| times the
 * norm of its input), summed over what goes together, without the correlations between channels.  An expert's score is
 * the same sum over all its channels, times the tokens that were routed to it: the squares that it added to the layer's
 * outputs, the router's weights left out, which files of importance don't tell.
 *
 * A layer's channels are ranked among themselves, as GGUF has one width for all layers; so are experts.  With experts
 * in groups (V3) each group keeps as many.  Ties go to the lower number, sums don't depend on threads: the same inputs
 * choose the same, so that a run that was killed goes on.
 */
#ifndef HD_QUANTIZE_PRUNE_H
#define HD_QUANTIZE_PRUNE_H

#include "quantize/quantize.h"

typedef struct hd_prune_options {
    double ffn;                /* share of the channels that go, in [0, 1); 0: none */
    int64_t multiple;          /* what stays is a multiple of it; >= 1 */
    int experts;               /* of each layer that stay; 0: all */
    const hd_imatrix *imatrix; /* NULL: the first of each stay, for sizes alone */
    hd_pool *pool;             /* NULL: one thread */
    hd_quant_progress progress;
    void *arg;
} hd_prune_options;

/* Multiply-adds of a token in matrices, of what is looked at for it: the used share of the experts.  Attention over
 * the cache is not counted. */
typedef struct hd_prune_arithmetic {
    uint64_t layers, output; /* the matrices of all layers; the one that gives the logits */
} hd_prune_arithmetic;

typedef struct hd_pruned {
    hd_model_config before, after; /* ffn, expert_ffn, experts tell */
    hd_prune_arithmetic arithmetic_before, arithmetic_after;
    uint64_t values_before; /* of all tensors */
} hd_pruned;

/* The GGUF source `base` without what scores least, with the same tensors in the same order; tensors that lose nothing
 * are as they were.  On success it owns `base`.  Reads the matrices that lead back once, to score them.  Errors:
 * HD_E_ARGUMENT (nothing would go; more experts than there are, or fewer than the router needs; the importance matrix
 * lacks a tensor, is of another model or doesn't tell experts apart), HD_E_UNSUPPORTED (not GGUF's layout), HD_E_FORMAT
 * (a shape that the configuration doesn't ask for, a number that isn't finite), HD_E_CANCELLED, HD_E_MODEL_LOST,
 * HD_E_MEMORY. */
hd_status hd_source_open_pruned(hd_source **out, hd_source *base, const hd_prune_options *options, hd_pruned *facts,
                                hd_error *err);

/* An importance matrix of `base`'s tensors as one of the pruned source's: what is left of each entry; entries of other
 * names are copied.  An entry of another shape than its tensor had is HD_E_ARGUMENT; HD_E_MEMORY. */
hd_status hd_prune_imatrix(hd_imatrix **out, const hd_source *pruned, const hd_imatrix *whole, hd_error *err);

#endif
