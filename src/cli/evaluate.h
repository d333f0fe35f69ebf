/* cli/evaluate.h: what one model says about given tokens, or two side by side: losses and divergences, for `hadal eval`
 * and the reports of `hadal quantize`.
 *
 * The tokens are cut into windows of at most the context; each window starts from an empty cache and is evaluated in
 * pieces, so that the logits in memory stay below HD_EVAL_PIECE_BYTES for each model however long the text is.
 */
#ifndef HD_CLI_EVALUATE_H
#define HD_CLI_EVALUATE_H

#include "cli/engine.h"

#define HD_EVAL_PIECE_BYTES ((int64_t)128 << 20)

typedef struct hd_eval_side {
    hd_engine *engine; /* NULL: not open */
    hd_session *session;
    float *logits; /* [piece][vocab] */
    double loss;   /* natural, summed over the predicted tokens */
} hd_eval_side;

typedef struct hd_evaluation {
    /* set by the caller, as are the engines of `own` and, where it compares, `other` */
    const int32_t *ids; /* [count], at least 1 */
    int64_t count;
    int64_t last;  /* positions of a window that are counted, from its end; 0: all */
    int64_t chunk; /* tokens evaluated together; 0: the engine's own */
    int64_t most;  /* tokens of a window; 0: the context */
    bool compares; /* with `other`, of which `own` is said to diverge */
    hd_eval_side own, other;
    float *kept; /* [last][vocab]: own's logits of the only window go there; NULL: nowhere */
    /* filled by _prepare */
    int32_t vocab;
    int64_t context, window, piece; /* window: tokens in the longest one */
    float *kl;                      /* one for each compared position */
    /* filled by _run */
    size_t predicted, compared, agreed, windows;
    double difference; /* of a logit, the largest */
} hd_evaluation;

/* Loads a model (a path or a name), with a progress line. */
hd_status hd_eval_side_open(hd_eval_side *side, const char *model, const hd_engine_flags *flags, hd_error *err);
void hd_eval_side_close(hd_eval_side *side); /* also one that is not open */

/* Sessions and buffers, and checks that need the models.  Errors: HD_E_ARGUMENT (two vocabularies; an id outside),
 * HD_E_MEMORY. */
hd_status hd_evaluation_prepare(hd_evaluation *e, hd_error *err);

/* All windows, with a progress line.  HD_E_CANCELLED after Ctrl-C. */
hd_status hd_evaluation_run(hd_evaluation *e, hd_error *err);

/* Closes both sides, frees what _prepare made. */
void hd_evaluation_close(hd_evaluation *e);

/* Stops whichever computes at the moment: for hd_interrupt_catch. */
void hd_evaluation_cancel(void *evaluation);

/* Mean loss of a predicted token, and exp of it; with e->predicted > 0. */
double hd_evaluation_loss(const hd_evaluation *e, const hd_eval_side *side);
double hd_evaluation_perplexity(const hd_evaluation *e, const hd_eval_side *side);

/* Divergences in nats of the compared positions, at least one; sorts e->kl.  top1: how often both agree on the most
 * likely token, 0 to 1. */
typedef struct hd_divergence {
    double mean, median, p99, max, top1;
} hd_divergence;
hd_divergence hd_evaluation_divergence(hd_evaluation *e);

#endif
