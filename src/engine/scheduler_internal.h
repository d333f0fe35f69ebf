/* engine/scheduler_internal.h: a request's whole state, shared by scheduler.c (the thread and its steps) and request.c
 * (the door for other threads).
 *
 * Who may touch what: fields under "lock" are guarded by the scheduler's mutex; atomics are free; all else belongs to
 * the scheduler's thread once the request has been queued. */
#ifndef HD_ENGINE_SCHEDULER_INTERNAL_H
#define HD_ENGINE_SCHEDULER_INTERNAL_H

#include <pthread.h>

#include "engine/engine_internal.h"
#include "engine/prefix.h"
#include "engine/scheduler.h"

#define HD_TOP_MAX 20 /* what the OpenAI API allows */

typedef enum hd_request_state { HD_WAITING, HD_RUNNING, HD_PAUSED, HD_FINISHED } hd_request_state;

struct hd_request {
    hd_scheduler *scheduler;
    hd_request *next; /* of the list that it stands in */
    int refs;         /* lock: its owner, and the scheduler until it has finished */
    atomic_bool cancelled, resumed;
    hd_request_state state;
    uint64_t order;       /* when it came: older ones go first */
    hd_request_options o; /* its arrays are this request's own */
    int32_t *tokens;      /* [prompt_count + max_tokens] prompt and answer */
    int64_t count;        /* of tokens; those from the sequence's length on are to be evaluated */
    int64_t answer, cached, preemptions;
    int64_t answer_joined; /* of the answer, when it last joined the batch */
    hd_seq *seq;           /* NULL while it waits */
    hd_picker *picker;     /* from the first admission on: it remembers what it chose */
    hd_logprob chosen, top[HD_TOP_MAX];
    hd_status picked; /* of the choice; error has the text */
    hd_error error;
    uint64_t came_ns, began_ns, first_ns;
};

/* Something that another thread wants done by the scheduler's, which waits for it. */
typedef struct hd_job {
    void (*run)(hd_scheduler *s, void *arg);
    void *arg;
    enum { HD_JOB_NONE, HD_JOB_WANTED, HD_JOB_DONE, HD_JOB_REFUSED } state;
} hd_job;

struct hd_scheduler {
    hd_core *core;
    hd_scheduler_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_cond_t job_done;
    hd_job job;                           /* lock */
    bool transferring;                    /* lock: prefixes go out or come in */
    bool closing;                         /* lock */
    hd_request *incoming, *incoming_last; /* lock: in the order in which they came */
    uint64_t next_order;                  /* lock */
    hd_scheduler_usage usage;             /* lock */
    int queued;                           /* lock: incoming and waiting */
    int refs;                             /* lock: the owner, the thread, and every request */
    hd_request *waiting, *paused;         /* waiting: best first */
    hd_request **running;                 /* [batch], in the order in which they go */
    int running_count;
    int64_t until_forced;   /* steps until the next forced pre-emption */
    hd_seq_feed *feeds;     /* [batch] */
    hd_request **fed;       /* [batch] whose feed it is */
    hd_picker_room **rooms; /* [room_count] one for each thread of the pool */
    int room_count;
    hd_prefix_cache *prefixes; /* NULL: none are kept */
};

/* The thread (scheduler.c). */
void *hd_scheduler_main(void *scheduler);

/* Runs a function on the scheduler's thread, between two steps, and waits for it.  False: the scheduler is closing. */
bool hd_scheduler_call(hd_scheduler *s, void (*run)(hd_scheduler *s, void *arg), void *arg);

/* Keeps the scheduler's memory, and all other transfers away, until hd_scheduler_end_transfer. */
hd_status hd_scheduler_begin_transfer(hd_scheduler *s, hd_error *err);
void hd_scheduler_end_transfer(hd_scheduler *s);

/* Gives one reference back; the last one frees. */
void hd_request_release(hd_request *request);

#endif
