/* scheduler_fixture.h: requests to a scheduler on a tiny model, their answers gathered by callbacks. */
#ifndef HD_TESTS_SCHEDULER_FIXTURE_H
#define HD_TESTS_SCHEDULER_FIXTURE_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hadal/scheduler.h"
#include "unit/engine_fixture.h"

#define LENGTH 400
#define MAX_ANSWER 64

static int32_t ids[LENGTH];

/* Fills ids; every test program calls it first. */
static inline void fill_ids(void)
{
    for (int i = 0; i < LENGTH; i++)
        ids[i] = (i * 31 + i * i * 7 % 23) % TINY_VOCAB;
}

/* ---- one answer, gathered by the callbacks ---- */

typedef struct answer {
    int32_t got[MAX_ANSWER];
    int count;
    int stop_at, pause_at; /* after so many tokens; 0: never */
    bool done;
    hd_finish_event end;
    hd_error error;
    hd_request *request;
    uint64_t finished; /* which one it was to finish */
} answer;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static uint64_t finishes;

static inline hd_go_on on_token(void *arg, const hd_token_event *event)
{
    answer *a = arg;
    pthread_mutex_lock(&lock);
    if (event->index != a->count || a->count == MAX_ANSWER) abort();
    a->got[a->count++] = event->chosen.id;
    hd_go_on go = a->count == a->stop_at ? HD_GO_STOP : a->count == a->pause_at ? HD_GO_PAUSE : HD_GO_ON;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return go;
}

static inline void on_finish(void *arg, const hd_finish_event *event)
{
    answer *a = arg;
    pthread_mutex_lock(&lock);
    if (a->done) abort();
    a->done = true;
    a->end = *event;
    if (event->error) a->error = *event->error;
    a->finished = finishes++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static inline void wait_for(const answer *a)
{
    pthread_mutex_lock(&lock);
    while (!a->done)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static inline void wait_for_tokens(const answer *a, int count)
{
    pthread_mutex_lock(&lock);
    while (a->count < count && !a->done)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static inline hd_request_options greedy(answer *a, int64_t from, int64_t n, int64_t max)
{
    return (hd_request_options){.prompt = ids + from,
                                .prompt_count = n,
                                .max_tokens = max,
                                .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
                                .token = on_token,
                                .finish = on_finish,
                                .arg = a};
}

static inline void ask(hd_scheduler *s, answer *a, const hd_request_options *o)
{
    hd_error err = {0};
    must(hd_request_open(&a->request, s, o, &err), &err);
}

static inline hd_scheduler *scheduler_of(hd_engine *e, int batch, int64_t piece, int64_t prefixes)
{
    hd_scheduler *s;
    hd_error err = {0};
    hd_scheduler_options o = {.batch = batch, .piece = piece, .prefix_pages = prefixes};
    must(hd_scheduler_open(&s, e, &o, &err), &err);
    return s;
}

/* What a session alone answers. */
static inline void alone(hd_engine *e, int64_t from, int64_t n, int count, int32_t *out)
{
    hd_session *s = session_of(e);
    hd_sampler *sampler;
    hd_error err = {0};
    hd_logprob chosen;
    const hd_sampling plain = {.top_p = 1.0f, .repetition_penalty = 1.0f};
    must(hd_sampler_open(&sampler, e, &plain, &err), &err);
    feed(s, ids + from, n);
    for (int i = 0; i < count; i++) {
        must(hd_sampler_next(sampler, s, &chosen, NULL, 0, &err), &err);
        out[i] = chosen.id;
        feed(s, &chosen.id, 1);
    }
    hd_sampler_close(&sampler);
    hd_session_close(&s);
}

#endif
