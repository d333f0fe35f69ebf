/* gateway/model_metrics.c: the buckets, which are vLLM's own, so that its boards and alarms read ours. */
#include "gateway/model_metrics.h"

#include "base/base.h"

static const double first_token[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                     1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
static const double per_token[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                   0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
static const double request_time[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                      30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
static const double lengths[] = {1,    2,    5,    10,    20,    50,    100,    200,    500,
                                 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000};
static const double steps[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
static const double step_time[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                   0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
static const double batches[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
static const double choices[] = {1, 2, 5, 10, 20};

#define INIT(h, bounds) hd_histogram_init(&(h), (bounds), (int)HD_ARRAY_LEN(bounds))

void hd_model_metrics_init(hd_model_metrics *m)
{
    INIT(m->first_token, first_token);
    INIT(m->inter_token, per_token);
    INIT(m->per_token, per_token);
    INIT(m->e2e, request_time);
    INIT(m->queue, request_time);
    INIT(m->prefill, request_time);
    INIT(m->decode, request_time);
    INIT(m->inference, request_time);
    INIT(m->step_tokens, steps);
    INIT(m->prompt_tokens, lengths);
    INIT(m->answer_tokens, lengths);
    INIT(m->max_tokens, lengths);
    INIT(m->computed, lengths);
    INIT(m->choices, choices);
    for (size_t i = 0; i < HD_ARRAY_LEN(m->step_seconds); i++)
        INIT(m->step_seconds[i], step_time);
    INIT(m->step_requests, batches);
}
