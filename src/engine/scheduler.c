/* engine/scheduler.c: the thread that steps a core for many requests (include/hadal/scheduler.h).
 *
 * Invariants: all but the lists of incoming requests belongs to this thread.  A request's sequence holds a prefix of
 * its tokens; the rest is to be evaluated: one token when it decodes, more when its prompt (or all that it had before
 * it was pre-empted) is being read.  A request leaves by finish() and nowhere else. */
#include <string.h>

#include "base/base.h"
#include "engine/scheduler_internal.h"

/* ---- lists ---- */

/* Whether a goes before b. */
static bool before(const hd_request *a, const hd_request *b)
{
    if (a->o.priority != b->o.priority) return a->o.priority > b->o.priority;
    return a->order < b->order;
}

static void wait_in_line(hd_scheduler *s, hd_request *r)
{
    hd_request **at = &s->waiting;
    while (*at && before(*at, r))
        at = &(*at)->next;
    r->next = *at;
    *at = r;
    r->state = HD_WAITING;
    hd_lora_count(r->o.lora, 0, 1);
}

/* The batch is in order, too: who would have to leave first stands last. */
static void join_batch(hd_scheduler *s, hd_request *r)
{
    int at = s->running_count++;
    for (; at > 0 && before(r, s->running[at - 1]); at--)
        s->running[at] = s->running[at - 1];
    s->running[at] = r;
    r->answer_joined = r->answer;
    r->state = HD_RUNNING;
    hd_lora_count(r->o.lora, 1, 0);
}

static void unlink_from(hd_request **list, hd_request *r)
{
    while (*list != r)
        list = &(*list)->next;
    *list = r->next;
    r->next = NULL;
}

static void leave_batch(hd_scheduler *s, hd_request *r)
{
    int at = 0;
    while (s->running[at] != r)
        at++;
    s->running_count--;
    memmove(&s->running[at], &s->running[at + 1], (size_t)(s->running_count - at) * sizeof(hd_request *));
}

static void count_queue(hd_scheduler *s, int change)
{
    pthread_mutex_lock(&s->lock);
    s->queued += change;
    pthread_mutex_unlock(&s->lock);
}

static void leave_list(hd_scheduler *s, hd_request *r)
{
    switch (r->state) {
    case HD_WAITING:
        unlink_from(&s->waiting, r);
        count_queue(s, -1);
        hd_lora_count(r->o.lora, 0, -1);
        break;
    case HD_RUNNING:
        leave_batch(s, r);
        hd_lora_count(r->o.lora, -1, 0);
        break;
    case HD_PAUSED: unlink_from(&s->paused, r); break;
    case HD_FINISHED: break;
    }
}

/* ---- the end of a request ---- */

static hd_finish_event event_of(const hd_request *r, hd_finish reason)
{
    uint64_t now = hd_clock_ns(), began = r->began_ns ? r->began_ns : now, first = r->first_ns ? r->first_ns : now;
    return (hd_finish_event){.reason = reason,
                             .error = reason == HD_FINISH_ERROR ? &r->error : NULL,
                             .prompt_tokens = r->o.prompt_count,
                             .cached_tokens = r->cached,
                             .answer_tokens = r->answer,
                             .preemptions = r->preemptions,
                             .queued_ns = began - r->came_ns,
                             .prefill_ns = first - began,
                             .decode_ns = now - first,
                             .came_ns = r->came_ns};
}

static void finish(hd_scheduler *s, hd_request *r, hd_finish reason)
{
    hd_finish_event event = event_of(r, reason);
    leave_list(s, r);
    r->state = HD_FINISHED;
    bool keep =
        r->seq && s->prefixes && reason != HD_FINISH_ERROR && !r->o.embed; /* embedded texts rarely come again */
    if (keep) hd_prefix_keep(s->prefixes, r->o.salt, r->seq);
    hd_seq_close(&r->seq);
    hd_picker_close(&r->picker);
    hd_lora_unref(&r->o.lora); /* the engine may go before the handle */
    r->o.finish(r->o.arg, &event);
    hd_request_release(r);
}

static void fail(hd_scheduler *s, hd_request *r, const hd_error *error)
{
    r->error = *error;
    finish(s, r, HD_FINISH_ERROR);
}

/* ---- memory ---- */

/* The youngest request of the lowest priority, the last to have come; NULL: nothing is running. */
static hd_request *victim(const hd_scheduler *s)
{
    return s->running_count ? s->running[s->running_count - 1] : NULL;
}

/* Back into the line, at the place that it had; its tokens stay and are evaluated again.  It stands in no list. */
static void requeue(hd_scheduler *s, hd_request *r)
{
    hd_seq_close(&r->seq);
    wait_in_line(s, r);
    count_queue(s, 1);
}

static void count_preemption(hd_scheduler *s, hd_request *r)
{
    r->preemptions++;
    pthread_mutex_lock(&s->lock);
    s->usage.preemptions++;
    pthread_mutex_unlock(&s->lock);
}

static void preempt(hd_scheduler *s, hd_request *r)
{
    leave_list(s, r);
    requeue(s, r);
    count_preemption(s, r);
}

/* Paused requests keep their place as long as nobody needs it. */
static bool preempt_paused(hd_scheduler *s)
{
    for (hd_request *r = s->paused; r; r = r->next)
        if (r->seq) {
            hd_seq_close(&r->seq);
            count_preemption(s, r);
            return true;
        }
    return false;
}

/* Pages for `r`: from cached prefixes, from who is paused, from who comes after r.  False: r itself has to wait. */
static bool make_room(hd_scheduler *s, const hd_request *r)
{
    if (s->prefixes && hd_prefix_evict(s->prefixes, 1) > 0) return true;
    if (preempt_paused(s)) return true;
    hd_request *last = victim(s);
    if (!last || last == r || !before(r, last)) return false;
    preempt(s, last);
    return true;
}

static bool wants_room(hd_status status)
{
    return status == HD_E_BUSY || status == HD_E_MEMORY;
}

/* ---- admission ---- */

/* The sequence with what is cached of its tokens, and pages for the others; a page more for each that runs, so that the
 * newcomer is not what makes them run short at once. */
static hd_status give_sequence(hd_scheduler *s, hd_request *r, hd_error *err)
{
    const hd_pages *p = &s->core->pages;
    HD_TRY(hd_seq_open(&r->seq, s->core, err));
    HD_TRY(hd_seq_set_lora(r->seq, r->o.lora, err));
    int64_t cached = s->prefixes ? hd_prefix_attach(s->prefixes, r->o.salt, r->seq, r->tokens, r->count) : 0;
    hd_status status = r->o.embed ? hd_seq_keep_hidden(r->seq, err) : HD_OK;
    if (status == HD_OK) status = hd_seq_reserve(r->seq, r->count - hd_seq_length(r->seq), err);
    if (status == HD_OK && p->limit && s->running_count && p->in_use + s->running_count > p->limit)
        status = hd_fail(err, HD_E_BUSY, "the cache is nearly full");
    if (status == HD_OK) {
        if (!r->answer) r->cached = cached;
        return HD_OK;
    }
    hd_seq_close(&r->seq);
    return status;
}

/* A request that can't have room although nothing else is there to give any will never have it. */
static hd_status admit(hd_scheduler *s, hd_request *r, hd_error *err)
{
    hd_status status;
    if (!r->picker && !r->o.embed)
        HD_TRY(hd_picker_open(&r->picker, hd_model_get_config(s->core->model)->vocab, &r->o.sampling, err));
    while (wants_room(status = give_sequence(s, r, err)) && make_room(s, r))
        ;
    if (status != HD_OK) return wants_room(status) && s->running_count ? HD_E_BUSY : status;
    leave_list(s, r);
    join_batch(s, r);
    if (r->began_ns) return HD_OK;
    r->began_ns = hd_clock_ns();
    pthread_mutex_lock(&s->lock);
    s->usage.cached_tokens += r->cached;
    pthread_mutex_unlock(&s->lock);
    return HD_OK;
}

static void admit_all(hd_scheduler *s)
{
    while (s->waiting) {
        hd_request *r = s->waiting;
        if (s->running_count == s->o.batch) {
            hd_request *last = victim(s);
            if (last->o.priority >= r->o.priority) return;
            preempt(s, last);
        }
        hd_error error = {0};
        hd_status status = admit(s, r, &error);
        if (status == HD_E_BUSY) return; /* those behind it wait, too: else a large one would wait for ever */
        if (status != HD_OK) fail(s, r, &error);
    }
}

/* ---- one step ---- */

static int64_t pending(const hd_request *r)
{
    return r->count - hd_seq_length(r->seq);
}

static void add_feed(hd_scheduler *s, int *count, hd_request *r, int64_t n)
{
    s->feeds[*count] = (hd_seq_feed){.seq = r->seq, .ids = r->tokens + hd_seq_length(r->seq), .n = n};
    s->fed[(*count)++] = r;
}

/* Brings feeds of the same adapter together, the rest in order: what adapters add is computed by runs of them. */
static void group_by_adapter(hd_scheduler *s, int count)
{
    for (int i = 1; i < count; i++) {
        hd_seq_feed feed = s->feeds[i];
        hd_request *r = s->fed[i];
        uint64_t number = hd_lora_number(r->o.lora);
        int at = i;
        for (; at > 0 && hd_lora_number(s->fed[at - 1]->o.lora) > number; at--) {
            s->feeds[at] = s->feeds[at - 1];
            s->fed[at] = s->fed[at - 1];
        }
        s->feeds[at] = feed;
        s->fed[at] = r;
    }
}

/* Those that decode take a token each; the rest of the step goes to prompts, the most urgent first. */
static int plan(hd_scheduler *s)
{
    int count = 0;
    for (int i = 0; i < s->running_count; i++)
        if (pending(s->running[i]) == 1) add_feed(s, &count, s->running[i], 1);
    int64_t left = HD_MIN(s->o.piece, s->core->chunk - count);
    for (int i = 0; i < s->running_count && left > 0; i++) {
        int64_t n = HD_MIN(left, pending(s->running[i]));
        if (pending(s->running[i]) == 1) continue;
        add_feed(s, &count, s->running[i], n);
        left -= n;
    }
    group_by_adapter(s, count);
    return count;
}

static void choose_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const hd_scheduler *s = arg;
    for (int64_t i = begin; i < end; i++) {
        hd_request *r = s->fed[i];
        if (r->o.embed) continue;
        const hd_pick pick = {.logits = hd_seq_logits(r->seq),
                              .tokens = r->tokens,
                              .count = r->count,
                              .logprobs = r->o.logprobs,
                              .top = r->top,
                              .top_count = (size_t)r->o.top_count,
                              .adapted = r->o.lora != NULL};
        r->picked = hd_picker_next(r->picker, s->rooms[thread], &pick, &r->chosen, &r->error);
    }
}

static bool ends(const hd_request *r)
{
    for (size_t i = 0; i < r->o.end_count; i++)
        if (r->o.end[i] == r->chosen.id) return true;
    return false;
}

static void pause(hd_scheduler *s, hd_request *r)
{
    leave_list(s, r);
    r->state = HD_PAUSED;
    r->next = s->paused;
    s->paused = r;
}

/* Hands out the token that was chosen, and sees whether it was the last. */
static void deliver(hd_scheduler *s, hd_request *r)
{
    if (r->picked != HD_OK) {
        finish(s, r, HD_FINISH_ERROR);
        return;
    }
    if (r->o.embed) {
        r->first_ns = hd_clock_ns();
        r->o.embedding(r->o.arg, hd_seq_hidden(r->seq), hd_model_get_config(s->core->model)->hidden);
        finish(s, r, HD_FINISH_STOP);
        return;
    }
    if (!r->first_ns) {
        r->first_ns = hd_clock_ns();
        if (s->prefixes) hd_prefix_keep(s->prefixes, r->o.salt, r->seq); /* for those that come while it answers */
    }
    if (ends(r)) {
        finish(s, r, HD_FINISH_STOP);
        return;
    }
    r->tokens[r->count++] = r->chosen.id;
    hd_token_event event = {.chosen = r->chosen, .top = r->top, .top_count = r->o.top_count, .index = r->answer++};
    hd_go_on go = r->o.token(r->o.arg, &event);
    if (go == HD_GO_STOP)
        finish(s, r, HD_FINISH_STOP);
    else if (r->answer == r->o.max_tokens)
        finish(s, r, HD_FINISH_LENGTH);
    else if (go == HD_GO_PAUSE)
        pause(s, r);
}

/* Adds to the figures, and says how the step went to whoever wants to know. */
static void count_step(hd_scheduler *s, hd_step_event *event, uint64_t start)
{
    uint64_t now = hd_clock_ns();
    event->running = s->running_count;
    event->duration_ns = now - start;
    pthread_mutex_lock(&s->lock);
    event->waiting = s->queued;
    s->usage.steps++;
    s->usage.prompt_tokens += event->prompt_tokens;
    s->usage.answer_tokens += event->answer_tokens;
    s->usage.busy_ns += event->duration_ns;
    s->usage.last_step_ns = s->usage.work_since_ns = now;
    pthread_mutex_unlock(&s->lock);
    if (s->o.step) s->o.step(s->o.step_arg, event);
}

/* After a step that went well: choose for all whose tokens have been evaluated, end the turn, then tell them. */
static void harvest(hd_scheduler *s, int count, uint64_t start)
{
    int chosen = 0;
    hd_step_event event = {.batch = count};
    for (int i = 0; i < count; i++) {
        hd_request *r = s->fed[i];
        if (!r->answer || s->feeds[i].n > 1) event.prompt_tokens += s->feeds[i].n;
        if (pending(r) != 0) continue;
        s->fed[chosen++] = r;
        event.answer_tokens += !r->o.embed;
    }
    hd_pool_for(s->core->pool, chosen, 1, choose_range, s);
    hd_core_end(s->core);         /* others may compute while the answers are told */
    count_step(s, &event, start); /* first: who is told of an answer may look at the figures */
    for (int i = 0; i < chosen; i++)
        deliver(s, s->fed[i]);
}

/* What can't be evaluated: room is made, or the request that stands in the way fails, or all do. */
static void recover(hd_scheduler *s, int count, int refused, const hd_error *error)
{
    if (refused < 0) {
        while (s->running_count)
            fail(s, s->running[0], error);
        return;
    }
    hd_request *r = s->fed[refused];
    if (!wants_room(error->status))
        fail(s, r, error);
    else if (!make_room(s, r)) {
        if (count == 1 && s->running_count == 1)
            fail(s, r, error); /* alone, and still without room */
        else
            preempt(s, r);
    }
}

/* For tests: whoever would have to go first goes, if it got a token; so everything still comes to its end. */
static void force_preemption(hd_scheduler *s)
{
    if (!s->o.force_preempt_every || --s->until_forced > 0) return;
    s->until_forced = s->o.force_preempt_every;
    hd_request *last = victim(s);
    if (last && last->answer > last->answer_joined) preempt(s, last);
}

static void step(hd_scheduler *s)
{
    hd_error error = {0};
    int refused, count = plan(s);
    if (!count) return;
    hd_core_begin(s->core);
    uint64_t start = hd_clock_ns();
    if (hd_core_step(s->core, s->feeds, count, &refused, &error) == HD_OK)
        harvest(s, count, start);
    else {
        hd_core_end(s->core);
        recover(s, count, refused, &error);
    }
    force_preemption(s);
}

/* ---- the thread ---- */

/* With the lock held. */
static hd_request *take_incoming(hd_scheduler *s)
{
    hd_request *list = s->incoming;
    s->incoming = s->incoming_last = NULL;
    return list;
}

static void line_up(hd_scheduler *s, hd_request *list)
{
    for (hd_request *next; list; list = next) {
        next = list->next;
        wait_in_line(s, list);
    }
}

static void sweep_list(hd_scheduler *s, hd_request *list, bool all)
{
    for (hd_request *next; list; list = next) {
        next = list->next;
        if (all || atomic_load(&list->cancelled)) finish(s, list, HD_FINISH_CANCELLED);
    }
}

/* Requests that were cancelled leave, all of them when the scheduler closes. */
static void sweep(hd_scheduler *s, bool all)
{
    sweep_list(s, s->waiting, all);
    sweep_list(s, s->paused, all);
    for (int i = s->running_count - 1; i >= 0; i--)
        if (all || atomic_load(&s->running[i]->cancelled)) finish(s, s->running[i], HD_FINISH_CANCELLED);
}

/* Back into the batch when the sequence is still there and so is room, else into the line. */
static void resume_paused(hd_scheduler *s)
{
    hd_request *next;
    for (hd_request *r = s->paused; r; r = next) {
        next = r->next;
        if (!atomic_exchange(&r->resumed, false)) continue;
        leave_list(s, r);
        if (r->seq && s->running_count < s->o.batch)
            join_batch(s, r);
        else
            requeue(s, r);
    }
}

static int length_of(const hd_request *list)
{
    int n = 0;
    for (; list; list = list->next)
        n++;
    return n;
}

/* With the lock held: figures that only this thread knows. */
static void publish(hd_scheduler *s)
{
    s->usage.running = s->running_count;
    s->usage.paused = length_of(s->paused);
    s->usage.prefix_pages = s->prefixes ? hd_prefix_pages(s->prefixes) : 0;
    hd_core_get_cache(s->core, &s->usage.cache);
}

static void show(hd_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    publish(s);
    pthread_mutex_unlock(&s->lock);
}

static bool any_resumed(const hd_scheduler *s)
{
    for (const hd_request *r = s->paused; r; r = r->next)
        if (atomic_load(&r->resumed) || atomic_load(&r->cancelled)) return true;
    return false;
}

/* With the lock held. */
static bool is_idle(const hd_scheduler *s)
{
    return !s->closing && !s->incoming && s->job.state != HD_JOB_WANTED && !s->waiting && !s->running_count &&
           !any_resumed(s);
}

/* Sleeps until there is work; returns what has come.  *closing: no more will. */
static hd_request *wait_for_work(hd_scheduler *s, bool *closing)
{
    pthread_mutex_lock(&s->lock);
    publish(s);
    while (is_idle(s)) {
        s->usage.work_since_ns = 0;
        pthread_cond_wait(&s->wake, &s->lock);
    }
    if (!s->usage.work_since_ns) s->usage.work_since_ns = hd_clock_ns();
    hd_request *list = take_incoming(s);
    *closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return list;
}

/* The job that waits, if any: done, or refused when no more steps come. */
static void do_job(hd_scheduler *s, bool refuse)
{
    pthread_mutex_lock(&s->lock);
    hd_job job = s->job; /* there is one at most: hd_scheduler_begin_transfer sees to it */
    pthread_mutex_unlock(&s->lock);
    if (job.state != HD_JOB_WANTED) return;
    if (!refuse) job.run(s, job.arg);
    pthread_mutex_lock(&s->lock);
    s->job.state = refuse ? HD_JOB_REFUSED : HD_JOB_DONE;
    pthread_cond_broadcast(&s->job_done);
    pthread_mutex_unlock(&s->lock);
}

void *hd_scheduler_main(void *arg)
{
    hd_scheduler *s = arg;
    for (bool closing = false; !closing;) {
        line_up(s, wait_for_work(s, &closing));
        sweep(s, closing);
        do_job(s, closing);
        if (closing) break;
        resume_paused(s);
        admit_all(s);
        show(s); /* also for those who look while the step goes on */
        step(s);
    }
    return NULL;
}
