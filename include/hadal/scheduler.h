/* hadal/scheduler.h: many requests on one engine, in one batch.
 *
 * A scheduler owns the one thread that steps its engine.  Every step takes a token of each request that is decoding
 * and, within the step's budget, pieces of the prompts that wait: a long prompt stalls the others by one piece at most.
 * Requests wait by priority, then in the order in which they came.  When the cache is full, cached prefixes go first,
 * then the youngest request of the lowest priority leaves and is computed again later, without loss.
 *
 * Threading: every function may be called from any thread.  The callbacks of a request run on the scheduler's thread,
 * one at a time; they must not block and must not call hd_scheduler_close or hd_request_close.  While a scheduler is
 * open, nothing else may use its engine.
 */
#ifndef HADAL_SCHEDULER_H
#define HADAL_SCHEDULER_H

#include "hadal/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_scheduler hd_scheduler;
typedef struct hd_request hd_request;

/* One step that went well, for metrics. */
typedef struct hd_step_event {
    int64_t prompt_tokens; /* evaluated of prompts, and of answers that are evaluated again after a pre-emption */
    int64_t answer_tokens; /* chosen */
    int batch;             /* requests evaluated in it */
    int running, waiting;  /* requests now */
    uint64_t duration_ns;
} hd_step_event;

typedef struct hd_scheduler_options {
    int batch;            /* requests evaluated together; 0: 64 */
    int64_t piece;        /* tokens of prompts in one step, all together; 0: the engine's step */
    int queue;            /* requests that may wait; 0: 1024 */
    int64_t prefix_pages; /* cached prefixes kept; 0: as many as fit; -1: none */
    void (*step)(void *arg, const hd_step_event *event); /* after each step, on the scheduler's thread; may be NULL */
    void *step_arg;
    int force_preempt_every; /* for tests: every so many steps the request that would have to go first goes; 0: never */
} hd_scheduler_options;

/* `options` may be NULL.  Errors: HD_E_ARGUMENT, HD_E_MEMORY, HD_E_IO (no thread). */
hd_status hd_scheduler_open(hd_scheduler **out, hd_engine *engine, const hd_scheduler_options *options, hd_error *err);

/* Ends all requests (HD_FINISH_CANCELLED), then the thread.  NULL-safe.  The handles of requests stay valid. */
void hd_scheduler_close(hd_scheduler **scheduler);

/* ---- requests ---- */

typedef enum hd_finish {
    HD_FINISH_STOP,      /* an end id, or the callback asked for it */
    HD_FINISH_LENGTH,    /* max_tokens */
    HD_FINISH_CANCELLED, /* hd_request_cancel, or the scheduler was closed */
    HD_FINISH_ERROR
} hd_finish;

/* What a callback says after a token. */
typedef enum hd_go_on {
    HD_GO_ON,
    HD_GO_STOP, /* the answer ends here */
    HD_GO_PAUSE /* leave the batch, keep the place in the cache, until hd_request_resume */
} hd_go_on;

typedef struct hd_token_event {
    hd_logprob chosen;
    const hd_logprob *top; /* [top_count], best first; until the callback returns */
    int top_count;
    int64_t index; /* 0 for the first token of the answer */
} hd_token_event;

typedef struct hd_finish_event {
    hd_finish reason;
    const hd_error *error;                     /* of HD_FINISH_ERROR, else NULL */
    int64_t prompt_tokens;                     /* of the prompt, cached ones included */
    int64_t cached_tokens;                     /* of these, how many came from cached prefixes */
    int64_t answer_tokens;                     /* given to the callback, the end id not counted */
    int64_t preemptions;                       /* how often it had to leave and was evaluated again */
    uint64_t queued_ns, prefill_ns, decode_ns; /* waiting; until the first token; from then on: together all its time */
    uint64_t came_ns;                          /* hd_clock of hd_request_open */
} hd_finish_event;

#define HD_SCHEDULER_SALT 16

typedef struct hd_request_options {
    const int32_t *prompt; /* [prompt_count], copied */
    int64_t prompt_count;
    int64_t max_tokens;   /* >= 1; 0 with embed */
    hd_sampling sampling; /* its bias is copied */
    const int32_t *end;   /* [end_count] ids that end the answer, copied; they are not given to the callback */
    size_t end_count;
    bool logprobs;                   /* chosen.logprob is wanted: costs a pass over the vocabulary; else it is NaN */
    int top_count;                   /* log-probabilities of the most likely tokens with each token, at most 20; more
                                        than 0 means logprobs, too */
    int priority;                    /* higher goes first; 0 is usual */
    uint8_t salt[HD_SCHEDULER_SALT]; /* whose prefixes it shares: the tenant's, never what a caller says */
    hd_lora *lora; /* the adapter that it is evaluated with; the request keeps a reference.  NULL: none */
    bool embed; /* no answer: the prompt's hidden state (hd_session_hidden) goes to `embedding`, then HD_FINISH_STOP */
    hd_go_on (*token)(void *arg, const hd_token_event *event);        /* NULL with embed */
    void (*embedding)(void *arg, const float *values, int64_t width); /* with embed; not normalized */
    void (*finish)(void *arg, const hd_finish_event *event);          /* the last callback, always called once */
    void *arg;
} hd_request_options;

/* Puts a request into the queue.  Errors: HD_E_ARGUMENT, HD_E_CONTEXT (prompt and answer pass the limit; the text says
 * both), HD_E_LIMIT (they can never fit into the cache), HD_E_BUSY (the queue is full: later), HD_E_MEMORY.  After an
 * error no callback comes. */
hd_status hd_request_open(hd_request **out, hd_scheduler *scheduler, const hd_request_options *options, hd_error *err);

void hd_request_cancel(hd_request *request); /* its finish comes within a step */
void hd_request_resume(hd_request *request); /* after HD_GO_PAUSE */

/* Gives the handle back; a request that is under way is cancelled, and its callbacks may still come.  NULL-safe. */
void hd_request_close(hd_request **request);

/* ---- figures ---- */

typedef struct hd_scheduler_usage {
    int running, waiting, paused;
    int64_t requests, preemptions;
    int64_t prompt_tokens, cached_tokens, answer_tokens; /* since the start */
    int64_t steps;
    uint64_t busy_ns;       /* spent in steps */
    uint64_t last_step_ns;  /* hd_clock of the last step's end; 0: none yet */
    uint64_t work_since_ns; /* hd_clock since when there is work and no step has ended; 0: nothing to do */
    int64_t prefix_pages;
    hd_cache_usage cache;
} hd_scheduler_usage;

void hd_scheduler_get_usage(hd_scheduler *scheduler, hd_scheduler_usage *out);

/* What the classes of operators took, from a sample of one pass in some thirty.  *out: class `number`, from 0; its name
 * ("matmul", "attend") has static storage.  False behind the last one, and where nothing is sampled. */
typedef struct hd_operator_usage {
    const char *name;
    uint64_t calls, ns;
} hd_operator_usage;

bool hd_scheduler_get_operator(const hd_scheduler *scheduler, int number, hd_operator_usage *out);

/* The passes that were sampled, and their time, of which operators are the greater part. */
void hd_scheduler_get_sampled(const hd_scheduler *scheduler, uint64_t *passes, uint64_t *ns);

/* ---- cached prefixes, kept beyond the process ----
 *
 * The bytes hold salts, tokens and cache pages: whoever stores them encrypts and authenticates them.  Both functions
 * may be called while requests run, from any thread but the scheduler's, and not twice at once for one scheduler
 * (HD_E_BUSY).  The functions given run on the caller's thread; the scheduler only copies pages, a few megabytes
 * between two steps.  HD_E_CANCELLED when the scheduler is closing. */

/* Takes all `size` bytes, or says why not: the export ends with that. */
typedef hd_status (*hd_write_fn)(void *arg, const void *data, size_t size, hd_error *err);

/* Gives up to `size` bytes; *got is how many, 0 only at the end. */
typedef hd_status (*hd_read_fn)(void *arg, void *data, size_t size, size_t *got, hd_error *err);

/* Writes the prefixes cached now, those used last first.  Errors: those of `write`, HD_E_MEMORY. */
hd_status hd_scheduler_export_prefixes(hd_scheduler *scheduler, hd_write_fn write, void *arg, hd_error *err);

/* Adds prefixes to those cached, as used before all of these; ends quietly when no more fit.  *pages (may be NULL) is
 * how many were added.  HD_E_FORMAT when the bytes are damaged, or came from another model, tier or format version;
 * what was read before stays.  Errors: those of `read`, HD_E_MEMORY. */
hd_status hd_scheduler_import_prefixes(hd_scheduler *scheduler, hd_read_fn read, void *arg, int64_t *pages,
                                       hd_error *err);

#ifdef __cplusplus
}
#endif
#endif
