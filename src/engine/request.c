/* engine/request.c: the scheduler's door for other threads: opening and closing, requests, figures. */
#include <string.h>

#include "base/base.h"
#include "engine/scheduler_internal.h"

#define DEFAULT_BATCH 64
#define DEFAULT_QUEUE 1024

/* ---- scheduler ---- */

static hd_status choose(hd_scheduler *s, const hd_scheduler_options *o, hd_error *err)
{
    int64_t chunk = s->core->chunk;
    if (o) s->o = *o;
    if (s->o.batch < 0 || s->o.piece < 0 || s->o.queue < 0 || s->o.prefix_pages < -1 || s->o.force_preempt_every < 0)
        return hd_fail(err, HD_E_ARGUMENT,
                       "batch, piece, queue, prefix_pages and force_preempt_every are not negative");
    if (s->o.batch > chunk)
        return hd_fail(err, HD_E_ARGUMENT, "a batch of %d requests: a step of this engine takes %lld tokens",
                       s->o.batch, (long long)chunk);
    if (!s->o.batch) s->o.batch = (int)HD_MIN(DEFAULT_BATCH, chunk);
    if (!s->o.queue) s->o.queue = DEFAULT_QUEUE;
    if (!s->o.piece || s->o.piece > chunk) s->o.piece = chunk;
    s->until_forced = s->o.force_preempt_every;
    if (!s->o.prefix_pages) s->o.prefix_pages = s->core->pages.limit ? s->core->pages.limit : INT64_MAX;
    return HD_OK;
}

static hd_status open_rooms(hd_scheduler *s, hd_error *err)
{
    int threads = hd_pool_threads(s->core->pool);
    s->rooms = hd_calloc((size_t)threads, sizeof(hd_picker_room *));
    if (!s->rooms) return hd_fail(err, HD_E_MEMORY, "out of memory for a scheduler");
    s->room_count = threads;
    for (int i = 0; i < threads; i++)
        HD_TRY(hd_picker_room_open(&s->rooms[i], hd_model_get_config(s->core->model)->vocab, err));
    return HD_OK;
}

static void free_scheduler(hd_scheduler *s)
{
    for (int i = 0; i < s->room_count; i++)
        hd_picker_room_close(&s->rooms[i]);
    hd_free(s->rooms);
    hd_prefix_close(&s->prefixes);
    hd_free(s->running);
    hd_free(s->feeds);
    hd_free(s->fed);
    pthread_cond_destroy(&s->job_done);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    hd_free(s);
}

static hd_status start(hd_scheduler *s, hd_error *err)
{
    s->running = hd_alloc_array((size_t)s->o.batch, sizeof(hd_request *));
    s->feeds = hd_alloc_array((size_t)s->o.batch, sizeof(*s->feeds));
    s->fed = hd_alloc_array((size_t)s->o.batch, sizeof(hd_request *));
    if (!s->running || !s->feeds || !s->fed) return hd_fail(err, HD_E_MEMORY, "out of memory for a scheduler");
    if (s->o.prefix_pages > 0) HD_TRY(hd_prefix_open(&s->prefixes, s->core, s->o.prefix_pages, err));
    HD_TRY(open_rooms(s, err));
    int rc = pthread_create(&s->thread, NULL, hd_scheduler_main, s);
    return rc == 0 ? HD_OK : hd_fail(err, HD_E_IO, "cannot start the scheduler's thread: %s", strerror(rc));
}

hd_status hd_scheduler_open_core(hd_scheduler **out, hd_core *core, const hd_scheduler_options *options, hd_error *err)
{
    *out = NULL;
    hd_scheduler *s = hd_calloc(1, sizeof *s);
    if (!s) return hd_fail(err, HD_E_MEMORY, "out of memory for a scheduler");
    s->core = core;
    s->refs = 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->job_done, NULL);
    hd_status status = hd_core_sample_operators(core, err);
    if (status == HD_OK) status = choose(s, options, err);
    if (status == HD_OK) status = start(s, err);
    if (status != HD_OK) {
        free_scheduler(s);
        return status;
    }
    *out = s;
    return HD_OK;
}

/* Unlocks; frees with the last reference. */
static void unlock_and_drop(hd_scheduler *s)
{
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (last) free_scheduler(s);
}

void hd_scheduler_close(hd_scheduler **ref)
{
    hd_scheduler *s = *ref;
    if (!s) return;
    *ref = NULL;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    hd_prefix_close(&s->prefixes); /* the engine may be closed next, whoever still holds a request */
    pthread_mutex_lock(&s->lock);
    unlock_and_drop(s);
}

void hd_scheduler_get_usage(hd_scheduler *s, hd_scheduler_usage *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->usage;
    out->waiting = s->queued;
    pthread_mutex_unlock(&s->lock);
}

bool hd_scheduler_get_operator(const hd_scheduler *s, int number, hd_operator_usage *out)
{
    return s->core->times && hd_operator_times_class(s->core->times, number, &out->name, &out->calls, &out->ns);
}

void hd_scheduler_get_sampled(const hd_scheduler *s, uint64_t *passes, uint64_t *ns)
{
    *passes = *ns = 0;
    if (s->core->times) hd_operator_times_passes(s->core->times, passes, ns);
}

/* ---- what others want done on the thread ---- */

bool hd_scheduler_call(hd_scheduler *s, void (*run)(hd_scheduler *s, void *arg), void *arg)
{
    pthread_mutex_lock(&s->lock);
    s->job = (hd_job){.run = run, .arg = arg, .state = s->closing ? HD_JOB_REFUSED : HD_JOB_WANTED};
    pthread_cond_signal(&s->wake);
    while (s->job.state == HD_JOB_WANTED)
        pthread_cond_wait(&s->job_done, &s->lock);
    bool done = s->job.state == HD_JOB_DONE;
    s->job.state = HD_JOB_NONE;
    pthread_mutex_unlock(&s->lock);
    return done;
}

hd_status hd_scheduler_begin_transfer(hd_scheduler *s, hd_error *err)
{
    hd_status status = HD_OK;
    pthread_mutex_lock(&s->lock);
    if (s->closing)
        status = hd_fail(err, HD_E_CANCELLED, "the scheduler is closing");
    else if (s->transferring)
        status = hd_fail(err, HD_E_BUSY, "prefixes are being written or read already");
    else {
        s->transferring = true;
        s->refs++;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

void hd_scheduler_end_transfer(hd_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->transferring = false;
    unlock_and_drop(s);
}

/* ---- requests ---- */

static hd_status check_size(const hd_core *core, const hd_request_options *o, hd_error *err)
{
    if (o->prompt_count < 1) return hd_fail(err, HD_E_ARGUMENT, "the prompt is empty");
    if (o->max_tokens < (o->embed ? 0 : 1))
        return hd_fail(err, HD_E_ARGUMENT, "max_tokens is %lld", (long long)o->max_tokens);
    if (o->prompt_count > core->context || o->max_tokens > core->context - o->prompt_count)
        return hd_fail(err, HD_E_CONTEXT,
                       "the prompt has %lld tokens and the answer may have %lld: more than the context of %lld",
                       (long long)o->prompt_count, (long long)o->max_tokens, (long long)core->context);
    int64_t pages = (o->prompt_count + o->max_tokens + HD_PAGE_ROWS - 1) / HD_PAGE_ROWS;
    if (core->pages.limit && pages > core->pages.limit)
        return hd_fail(err, HD_E_LIMIT, "the prompt has %lld tokens and the answer may have %lld: the cache holds %lld",
                       (long long)o->prompt_count, (long long)o->max_tokens,
                       (long long)core->pages.limit * HD_PAGE_ROWS);
    return HD_OK;
}

static hd_status check(const hd_core *core, const hd_request_options *o, hd_error *err)
{
    int32_t vocab = hd_model_get_config(core->model)->vocab;
    HD_TRY(check_size(core, o, err));
    HD_TRY(hd_core_check_ids(core, o->prompt, o->prompt_count, err));
    if (!o->finish || (o->embed ? !o->embedding : !o->token))
        return hd_fail(err, HD_E_ARGUMENT, "a request needs both callbacks");
    if (o->embed) return HD_OK;
    if (o->top_count < 0 || o->top_count > HD_TOP_MAX || o->top_count > vocab)
        return hd_fail(err, HD_E_ARGUMENT, "%d log-probabilities a token; at most %d", o->top_count, HD_TOP_MAX);
    return hd_sampling_check(&o->sampling, vocab, err);
}

static void *copy_of(const void *from, size_t count, size_t size)
{
    void *to = hd_alloc_array(HD_MAX(count, 1u), size);
    if (to && count) memcpy(to, from, count * size);
    return to;
}

static void free_request(hd_request *r)
{
    hd_picker_close(&r->picker);
    hd_lora_unref(&r->o.lora);
    hd_free((void *)(uintptr_t)r->o.end);
    hd_free((void *)(uintptr_t)r->o.sampling.bias);
    hd_free(r->tokens);
    hd_free(r);
}

static hd_request *new_request(const hd_request_options *o)
{
    hd_request *r = hd_calloc(1, sizeof *r);
    if (!r) return NULL;
    r->o = *o;
    r->o.prompt = NULL;
    r->o.lora = hd_lora_ref(o->lora);
    r->o.end = copy_of(o->end, o->end_count, sizeof *o->end);
    r->o.sampling.bias = copy_of(o->sampling.bias, o->sampling.bias_count, sizeof *o->sampling.bias);
    r->tokens = hd_alloc_array((size_t)(o->prompt_count + o->max_tokens), sizeof *r->tokens);
    if (!r->o.end || !r->o.sampling.bias || !r->tokens) {
        free_request(r);
        return NULL;
    }
    memcpy(r->tokens, o->prompt, (size_t)o->prompt_count * sizeof *r->tokens);
    r->count = o->prompt_count;
    r->refs = 2;
    r->came_ns = hd_clock_ns();
    return r;
}

/* With the lock held. */
static hd_status enqueue(hd_scheduler *s, hd_request *r, hd_error *err)
{
    if (s->closing) return hd_fail(err, HD_E_CANCELLED, "the scheduler is closing");
    if (s->queued >= s->o.queue)
        return hd_fail(err, HD_E_BUSY, "%d requests are waiting already, the most that may: try again later",
                       s->queued);
    r->scheduler = s;
    r->order = s->next_order++;
    s->refs++;
    s->queued++;
    s->usage.requests++;
    if (!s->usage.work_since_ns) s->usage.work_since_ns = r->came_ns;
    if (s->incoming_last)
        s->incoming_last->next = r;
    else
        s->incoming = r;
    s->incoming_last = r;
    pthread_cond_signal(&s->wake);
    return HD_OK;
}

hd_status hd_request_open(hd_request **out, hd_scheduler *scheduler, const hd_request_options *options, hd_error *err)
{
    *out = NULL;
    HD_TRY(check(scheduler->core, options, err));
    hd_request *r = new_request(options);
    if (!r) return hd_fail(err, HD_E_MEMORY, "out of memory for a request");
    *out = r; /* before the first callback may come */
    pthread_mutex_lock(&scheduler->lock);
    hd_status status = enqueue(scheduler, r, err);
    pthread_mutex_unlock(&scheduler->lock);
    if (status != HD_OK) {
        *out = NULL;
        free_request(r);
    }
    return status;
}

static void tell(hd_request *r, atomic_bool *flag)
{
    hd_scheduler *s = r->scheduler;
    pthread_mutex_lock(&s->lock);
    atomic_store(flag, true);
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void hd_request_cancel(hd_request *request)
{
    tell(request, &request->cancelled);
}

void hd_request_resume(hd_request *request)
{
    tell(request, &request->resumed);
}

void hd_request_release(hd_request *r)
{
    hd_scheduler *s = r->scheduler;
    pthread_mutex_lock(&s->lock);
    if (--r->refs > 0) {
        pthread_mutex_unlock(&s->lock);
        return;
    }
    free_request(r);
    unlock_and_drop(s);
}

void hd_request_close(hd_request **request)
{
    hd_request *r = *request;
    if (!r) return;
    *request = NULL;
    hd_request_cancel(r);
    hd_request_release(r);
}
