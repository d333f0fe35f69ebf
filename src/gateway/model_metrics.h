/* gateway/model_metrics.h: what is counted for each model, under vLLM's names (docs/gateway.md). */
#ifndef HD_GATEWAY_MODEL_METRICS_H
#define HD_GATEWAY_MODEL_METRICS_H

#include "base/metrics.h"
#include "hadal/scheduler.h"

typedef struct hd_model_metrics {
    hd_histogram first_token, inter_token, per_token, e2e, queue, prefill, decode, inference; /* seconds */
    hd_histogram step_tokens, prompt_tokens, answer_tokens, max_tokens, choices, computed;    /* numbers */
    hd_histogram step_seconds[2], step_requests; /* of passes with tokens of prompts, and without; requests in one */
    _Atomic uint64_t evaluated;                  /* tokens of prompts, and of answers evaluated again */
    _Atomic uint64_t loads, load_failures;
    _Atomic double load_seconds;                                  /* of the last loading */
    _Atomic uint64_t stopped, lengthy, aborted, failed, rejected; /* requests */
} hd_model_metrics;

void hd_model_metrics_init(hd_model_metrics *metrics);

#endif
