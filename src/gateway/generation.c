/* gateway/generation.c: choices submitted to the engine, their tokens turned into pieces, and the end of it all.
 *
 * Who touches what: until the end only the engine's thread touches choices and wire; `lock` guards what the server's
 * thread needs when the client leaves.  The worker that ends a generation is alone with it.
 */
#include "gateway/generation.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/base.h"
#include "gateway/gateway_internal.h"
#include "gateway/trace.h"
#include "server/http_response.h"

#define ANSWER_MAX ((size_t)64 << 20) /* bytes of one answer's text */
#define WIRE_MAX ((size_t)64 << 20)   /* bytes of events of one token */

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* ---- pieces ---- */

static hd_block *new_block(hd_choice *c, hd_piece_kind kind)
{
    hd_block *grown = hd_realloc_array(c->blocks, c->block_count + 1, sizeof *grown);
    if (!grown) {
        c->failure = HD_E_MEMORY;
        return NULL;
    }
    c->blocks = grown;
    hd_block *b = &c->blocks[c->block_count];
    b->kind = kind;
    hd_buf_init(&b->text, ANSWER_MAX);
    hd_buf_init(&b->name, ANSWER_MAX);
    return b;
}

bool hd_choice_begins_block(const hd_choice *c, hd_piece_kind kind)
{
    if (kind == HD_PIECE_TOOL_BEGIN) return true;
    if (kind != HD_PIECE_TEXT && kind != HD_PIECE_REASONING) return false;
    return c->block_count == 0 || c->block_kind != kind;
}

static void collect(hd_choice *c, hd_block *b, hd_piece_kind kind, const char *data, size_t len)
{
    if (kind == HD_PIECE_TOOL_END) return;
    hd_buf *into = kind == HD_PIECE_TOOL_BEGIN ? &b->name : &b->text;
    if (hd_buf_append(into, data, len) != HD_OK) c->failure = into->status;
}

static void on_piece(void *arg, hd_piece_kind kind, const char *data, size_t len)
{
    hd_choice *c = arg;
    if (c->failure != HD_OK) return; /* it has a hole; blocks are counted only when they are there */
    bool begins = hd_choice_begins_block(c, kind);
    hd_trace_piece(c, kind, data, len);
    c->reasoning = kind == HD_PIECE_REASONING;
    if (c->generation->ask.stream) {
        c->generation->dialect->piece(c, kind, data, len);
    } else {
        hd_block *b = begins ? new_block(c, kind) : &c->blocks[c->block_count - 1];
        if (!b) return;
        collect(c, b, kind, data, len);
    }
    if (!begins) return;
    c->block_kind = kind;
    c->block_count++;
    c->tools += kind == HD_PIECE_TOOL_BEGIN;
}

/* ---- the stream ---- */

void hd_generation_event(hd_generation *g, const char *name, const hd_buf *data)
{
    hd_status status = data->status;
    if (status == HD_OK) status = hd_http_write_event(&g->wire, name, (hd_str){data->data, data->len}, NULL);
    if (status != HD_OK && g->wire.status == HD_OK) g->wire.status = status;
}

/* Hands the events over; false when the client is gone. */
static bool flush(hd_generation *g, bool *full)
{
    hd_status status = g->wire.status;
    if (status == HD_OK && g->wire.len) status = hd_exchange_write(g->call->exchange, g->wire.data, g->wire.len, full);
    hd_buf_clear(&g->wire);
    atomic_store_explicit(&g->wrote_ns, hd_clock_ns(), memory_order_relaxed);
    return status == HD_OK;
}

/* Once, by the first token or by the keeper, before there is any; the lock keeps them apart. */
static bool begin_stream(hd_generation *g)
{
    bool good = true;
    pthread_mutex_lock(&g->lock);
    if (!g->begun) {
        g->begun = true;
        good = hd_call_begin_stream(g->call) == HD_OK;
        if (good) g->dialect->begin(g);
        if (good) good = flush(g, NULL);
    }
    pthread_mutex_unlock(&g->lock);
    return good;
}

/* ---- streams that have nothing to say yet ---- */

/* What stands between a client and us ends connections that are silent for a minute, and a long prompt may take longer.
 */
#define SILENCE_NS 15000000000u

static void list_stream(hd_generation *g)
{
    hd_gateway *gateway = g->call->gateway;
    if (!g->ask.stream) return;
    pthread_mutex_lock(&gateway->streams_lock);
    g->next_stream = gateway->streams;
    g->prev_stream = &gateway->streams;
    if (g->next_stream) g->next_stream->prev_stream = &g->next_stream;
    gateway->streams = g;
    atomic_fetch_add_explicit(&gateway->traffic.streams_open, 1, memory_order_relaxed);
    pthread_mutex_unlock(&gateway->streams_lock);
}

static void unlist_stream(hd_generation *g)
{
    if (!g->ask.stream) return;
    pthread_mutex_lock(&g->call->gateway->streams_lock);
    if (g->prev_stream) { /* its neighbours change it: NULL or not, only with the lock */
        *g->prev_stream = g->next_stream;
        if (g->next_stream) g->next_stream->prev_stream = g->prev_stream;
        atomic_fetch_sub_explicit(&g->call->gateway->traffic.streams_open, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&g->call->gateway->streams_lock);
}

void hd_generations_keep_alive(hd_gateway *gateway)
{
    static const char comment[] = ":\n\n";
    pthread_mutex_lock(&gateway->streams_lock);
    for (hd_generation *g = gateway->streams; g; g = g->next_stream) {
        uint64_t now = hd_clock_ns(), wrote = atomic_load_explicit(&g->wrote_ns, memory_order_relaxed);
        if (now < wrote || now - wrote < SILENCE_NS) continue;
        atomic_store_explicit(&g->wrote_ns, now, memory_order_relaxed);
        if (begin_stream(g)) (void)hd_exchange_write(g->call->exchange, comment, sizeof comment - 1, NULL);
    } /* a client that has left is noticed by its exchange */
    pthread_mutex_unlock(&gateway->streams_lock);
}

/* ---- tokens ---- */

static hd_status keep_record(hd_choice *c, const hd_token_event *e)
{
    hd_generation *g = c->generation;
    size_t stride = 1 + (size_t)g->top_count;
    if (!g->ask.logprobs && !g->ask.return_token_ids) return HD_OK;
    if (c->record_count == c->records_room) {
        size_t room = c->records_room ? 2 * c->records_room : 32;
        hd_logprob *grown = hd_realloc_array(c->records, room * stride, sizeof *grown);
        if (!grown) return HD_E_MEMORY;
        c->records = grown;
        c->records_room = room;
    }
    hd_logprob *r = c->records + c->record_count++ * stride;
    r[0] = e->chosen;
    if (e->top_count) memcpy(r + 1, e->top, (size_t)e->top_count * sizeof *r);
    return HD_OK;
}

static void measure_token(hd_choice *c, const hd_token_event *e)
{
    hd_model_metrics *m = &c->generation->model->metrics;
    uint64_t now = hd_clock_ns();
    if (e->index == 0)
        hd_histogram_add(&m->first_token, seconds(now - hd_exchange_received_ns(c->generation->call->exchange)));
    else
        hd_histogram_add(&m->inter_token, seconds(now - c->last_ns));
    c->last_ns = now;
    atomic_store_explicit(&c->generation->model->passed_ns, now, memory_order_relaxed);
}

static hd_go_on on_token(void *arg, const hd_token_event *e)
{
    hd_choice *c = arg;
    hd_generation *g = c->generation;
    bool full = false;
    measure_token(c, e);
    if (g->ask.stream && !begin_stream(g)) return HD_GO_STOP;
    c->reasoning_tokens += c->reasoning;
    if (c->failure == HD_OK) c->failure = keep_record(c, e);
    if (c->answer && c->failure == HD_OK) c->failure = hd_answer_push(c->answer, e->chosen.id, &c->stopped, NULL);
    if (c->failure != HD_OK || (g->ask.stream && !flush(g, &full)) || c->stopped) return HD_GO_STOP;
    return full ? HD_GO_PAUSE : HD_GO_ON;
}

/* ---- ends ---- */

/* `left`: the client did, whichever of its end and the next token was seen first. */
static void measure_end(const hd_choice *c, bool left)
{
    hd_model_metrics *m = &c->generation->model->metrics;
    const hd_finish_event *e = &c->end;
    uint64_t received = hd_exchange_received_ns(c->generation->call->exchange);
    hd_histogram_add(&m->e2e, seconds(hd_clock_ns() - received));
    hd_histogram_add(&m->queue, seconds(e->queued_ns));
    hd_histogram_add(&m->prefill, seconds(e->prefill_ns));
    hd_histogram_add(&m->decode, seconds(e->decode_ns));
    hd_histogram_add(&m->inference, seconds(e->prefill_ns + e->decode_ns));
    hd_histogram_add(&m->prompt_tokens, (double)e->prompt_tokens);
    hd_histogram_add(&m->computed, (double)(e->prompt_tokens - e->cached_tokens));
    hd_histogram_add(&m->answer_tokens, (double)e->answer_tokens);
    if (e->answer_tokens > 1) hd_histogram_add(&m->per_token, seconds(e->decode_ns) / (double)(e->answer_tokens - 1));
    hd_traffic_choice(c->generation, e, c->reasoning_tokens, c->tools, left);
    switch (left ? HD_FINISH_CANCELLED : e->reason) {
    case HD_FINISH_STOP: atomic_fetch_add(&m->stopped, 1); break;
    case HD_FINISH_LENGTH: atomic_fetch_add(&m->lengthy, 1); break;
    case HD_FINISH_CANCELLED: atomic_fetch_add(&m->aborted, 1); break;
    case HD_FINISH_ERROR: atomic_fetch_add(&m->failed, 1); break;
    }
}

/* One of those that `open` counts has ended; the last one leaves the rest to a worker. */
static void one_less(hd_generation *g)
{
    pthread_mutex_lock(&g->lock);
    bool last = --g->open == 0;
    pthread_mutex_unlock(&g->lock);
    if (last) hd_workers_push(g->call->gateway->workers, &g->job);
}

/* The first error counts.  With the lock held. */
static void fail_generation(hd_generation *g, hd_status status, const char *text)
{
    if (g->error.status == HD_OK) (void)hd_fail(&g->error, status, "%s", text);
}

/* The same for the engine's thread. */
static void fail_choice(hd_choice *c, hd_status status, const char *text)
{
    pthread_mutex_lock(&c->generation->lock);
    fail_generation(c->generation, status, text);
    pthread_mutex_unlock(&c->generation->lock);
}

/* What is left to say of a choice that ended well; false when it could not be said. */
static bool finish_choice(hd_choice *c)
{
    hd_generation *g = c->generation;
    bool written = !g->ask.stream || begin_stream(g);
    if (c->answer && c->failure == HD_OK) c->failure = hd_answer_finish(c->answer, NULL);
    if (g->ask.stream && c->failure == HD_OK) g->dialect->choice_end(c);
    if (g->ask.stream && written) written = flush(g, NULL);
    return written;
}

static void on_finish(void *arg, const hd_finish_event *e)
{
    hd_choice *c = arg;
    bool left = false;
    pthread_mutex_lock(&c->generation->lock); /* a stream that the keeper begins just now tells the usage */
    c->end = *e;
    c->end.error = NULL;
    pthread_mutex_unlock(&c->generation->lock);
    if (e->reason == HD_FINISH_ERROR && e->error->status == HD_E_MODEL_LOST)
        atomic_store(&c->generation->model->lost, true);
    if (e->reason == HD_FINISH_ERROR)
        fail_choice(c, e->error->status, e->error->text);
    else if (e->reason == HD_FINISH_CANCELLED)
        fail_choice(c, HD_E_BUSY, "the service is shutting down: ask again");
    else if ((left = !finish_choice(c)))
        fail_choice(c, HD_E_CANCELLED, "the client has left");
    else if (c->failure != HD_OK)
        fail_choice(c, c->failure, "the answer could not be kept or written");
    measure_end(c, left);
    one_less(c->generation);
}

/* With the lock held. */
static void cancel(hd_generation *g)
{
    for (int i = 0; i < g->choice_count; i++)
        if (g->choices[i].request) hd_request_cancel(g->choices[i].request);
}

static void gone(void *arg)
{
    hd_generation *g = arg;
    pthread_mutex_lock(&g->lock);
    g->gone = true;
    cancel(g);
    pthread_mutex_unlock(&g->lock);
}

static void drained(void *arg)
{
    hd_generation *g = arg;
    pthread_mutex_lock(&g->lock);
    for (int i = 0; i < g->choice_count; i++)
        if (g->choices[i].request) hd_request_resume(g->choices[i].request);
    pthread_mutex_unlock(&g->lock);
}

/* ---- memory ---- */

void hd_prompts_free(hd_prompt *prompts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hd_ids_release(prompts[i].ids);
    hd_free(prompts);
}

static void free_choice(const hd_generation *g, hd_choice *c)
{
    hd_answer_close(&c->answer);
    for (size_t i = 0; !g->ask.stream && i < c->block_count; i++) {
        hd_buf_free(&c->blocks[i].text);
        hd_buf_free(&c->blocks[i].name);
    }
    hd_free(c->blocks);
    hd_free(c->records);
}

static void free_generation(hd_generation *g)
{
    for (int i = 0; g->choices && i < g->choice_count; i++)
        free_choice(g, &g->choices[i]);
    hd_free(g->choices);
    hd_prompts_free(g->prompts, g->prompt_count);
    json_decref((json_t *)(uintptr_t)g->ask.stop);
    hd_buf_free(&g->wire);
    pthread_mutex_destroy(&g->lock);
    hd_free(g);
}

/* ---- the end, on a worker ---- */

static void end_stream(hd_generation *g)
{
    if (g->error.status != HD_OK)
        g->dialect->error(g, &g->error);
    else
        g->dialect->end(g);
    if (flush(g, NULL)) (void)hd_exchange_end(g->call->exchange); /* else the client has left */
}

/* What the engine took, so that clients see the rest (W3C Server Timing): of the choice that took longest. */
static void write_timing(const hd_generation *g)
{
    const hd_finish_event *longest = &g->choices[0].end;
    for (int i = 1; i < g->choice_count; i++) {
        const hd_finish_event *e = &g->choices[i].end;
        if (e->prefill_ns + e->decode_ns > longest->prefill_ns + longest->decode_ns) longest = e;
    }
    snprintf(g->call->timing, sizeof g->call->timing, "queue;dur=%.3f, prefill;dur=%.3f, decode;dur=%.3f",
             (double)longest->queued_ns / 1e6, (double)longest->prefill_ns / 1e6, (double)longest->decode_ns / 1e6);
}

static void end_whole(hd_generation *g)
{
    hd_buf out;
    hd_buf_init(&out, WIRE_MAX);
    write_timing(g);
    g->dialect->whole(g, &out);
    hd_call_reply_json(g->call, 200, &out);
}

/* What the log and the trace tell of it. */
static void note_end(hd_generation *g)
{
    hd_usage usage;
    hd_generation_usage(g, &usage);
    hd_call_count_tokens(g->call, usage.prompt, usage.completion);
    g->call->failure = g->error.status;
    hd_trace_answer(g);
}

static void finish(hd_job *job)
{
    hd_generation *g = (hd_generation *)((char *)job - offsetof(hd_generation, job));
    hd_call *call = g->call;
    unlist_stream(g);
    hd_exchange_watch(call->exchange, NULL, NULL, NULL);
    for (int i = 0; i < g->choice_count; i++)
        hd_request_close(&g->choices[i].request);
    note_end(g);
    if (g->begun)
        end_stream(g);
    else if (g->error.status != HD_OK)
        hd_call_fail(call, &g->error);
    else
        end_whole(g);
    free_generation(g);
    hd_call_close(call);
}

void hd_generation_usage(const hd_generation *g, hd_usage *out)
{
    *out = (hd_usage){0};
    int per_prompt = g->choice_count / (int)g->prompt_count;
    for (int i = 0; i < g->choice_count; i++) {
        const hd_choice *c = &g->choices[i];
        out->completion += c->end.answer_tokens;
        out->reasoning += c->reasoning_tokens;
        if (i % per_prompt) continue; /* a prompt counts once, whatever number of answers it gets */
        out->prompt += (int64_t)c->prompt->count;
        out->cached += c->end.cached_tokens;
    }
}

/* ---- the beginning ---- */

static hd_status open_answer(hd_choice *c, hd_error *err)
{
    const hd_generation *g = c->generation;
    const char *stops[HD_STOP_MAX];
    hd_answer_options o = {.stop = stops,
                           .stop_count = hd_ask_stops(&g->ask, stops),
                           .in_reasoning = c->prompt->in_reasoning,
                           .split_reasoning = g->ask.split_reasoning,
                           .parse_tools = g->ask.parse_tools};
    c->reasoning = g->ask.split_reasoning && c->prompt->in_reasoning;
    if (!g->model->text) return HD_OK;
    return hd_answer_open(&c->answer, g->model->text, &o, on_piece, c, err);
}

/* Letters and digits that no other generation has, with near certainty. */
static void make_tag(char out[25])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    uint8_t bytes[24] = {0};
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) { /* early at boot: the clock will do, it is only a name */
        uint64_t now = hd_clock_ns();
        memcpy(bytes, &now, sizeof now);
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        out[i] = letters[bytes[i] % (sizeof letters - 1)];
    out[24] = '\0';
}

static hd_status prepare(hd_generation *g, hd_error *err)
{
    int64_t count = (int64_t)g->prompt_count * g->ask.n;
    if (count > HD_CHOICES_MAX)
        return hd_call_refuse(g->call, err, "n", "%lld answers in one request; at most %d", (long long)count,
                              HD_CHOICES_MAX);
    g->choices = hd_calloc((size_t)count, sizeof *g->choices);
    if (!g->choices) return hd_fail(err, HD_E_MEMORY, "out of memory for the answers");
    g->choice_count = (int)count;
    for (int i = 0; i < g->choice_count; i++) {
        hd_choice *c = &g->choices[i];
        c->generation = g;
        c->index = i;
        c->prompt = &g->prompts[i / (int)g->ask.n];
        HD_TRY(open_answer(c, err));
    }
    return HD_OK;
}

static hd_status submit_choice(hd_generation *g, hd_choice *c, hd_request_options *o, uint64_t seed, hd_error *err)
{
    int64_t configured = g->call->gateway->options.default_tokens;
    HD_TRY(hd_ask_limit(&g->ask, g->call, c->prompt->count, configured, &o->max_tokens, err));
    hd_histogram_add(&g->model->metrics.max_tokens, (double)o->max_tokens);
    o->prompt = c->prompt->ids;
    o->prompt_count = (int64_t)c->prompt->count;
    o->sampling.seed = seed + (uint64_t)(c->index % (int)g->ask.n); /* answers to one prompt differ */
    o->arg = c;
    hd_status status = g->gone ? hd_fail(err, HD_E_CANCELLED, "the client has left") : HD_OK;
    if (status == HD_OK) status = hd_request_open(&c->request, g->model->scheduler, o, err);
    if (status == HD_OK) g->open++;
    if (status == HD_E_BUSY) atomic_fetch_add(&g->model->metrics.rejected, 1);
    return status;
}

/* With the lock held, so that a client that leaves meanwhile is not missed. */
static hd_status submit(hd_generation *g, hd_error *err)
{
    hd_request_options o = {.top_count = g->top_count,
                            .logprobs = g->ask.logprobs,
                            .priority = (int)g->ask.priority,
                            .lora = g->call->lora,
                            .token = on_token,
                            .finish = on_finish,
                            .end = g->model->ends,
                            .end_count = g->ask.ignore_eos ? 0 : g->model->end_count};
    hd_logit_bias *bias;
    memcpy(o.salt, g->call->key.tenant, sizeof o.salt);
    hd_status status = hd_ask_sampling(&g->ask, g->call, &o.sampling, &bias, err);
    uint64_t seed = o.sampling.seed;
    for (int i = 0; status == HD_OK && i < g->choice_count; i++)
        status = submit_choice(g, &g->choices[i], &o, seed, err);
    hd_free(bias);
    return status;
}

/* Some choices are under way although a later one was refused: they end, and the error is the reply. */
static void give_up(hd_generation *g, const hd_error *err)
{
    fail_generation(g, err->status, err->text);
    cancel(g);
}

/* A request's JSON may take many times its own size in memory, and an answer may take long: only what is asked for at
 * its end stays, the stop strings. */
static void drop_body(hd_generation *g)
{
    json_decref(g->call->body);
    g->call->body = NULL;
    g->ask.logit_bias = g->ask.stream_options = NULL;
}

static hd_status launch(hd_generation *g, bool *taken, hd_error *err)
{
    hd_error why;
    g->open = 1;
    hd_histogram_add(&g->model->metrics.choices, (double)g->ask.n);
    hd_exchange_watch(g->call->exchange, gone, drained, g);
    pthread_mutex_lock(&g->lock);
    hd_status status = submit(g, &why);
    bool none = g->open == 1;
    if (status != HD_OK && !none) give_up(g, &why);
    pthread_mutex_unlock(&g->lock);
    if (status != HD_OK && none) {
        hd_exchange_watch(g->call->exchange, NULL, NULL, NULL);
        return hd_fail(err, why.status, "%s", why.text);
    }
    hd_traffic_ask(g);
    drop_body(g);
    *taken = true;
    list_stream(g);
    one_less(g);
    return HD_OK;
}

hd_status hd_generation_start(hd_call *call, const hd_ask *ask, const hd_dialect *dialect, hd_prompt *prompts,
                              size_t prompt_count, bool *taken, hd_error *err)
{
    hd_generation *g = hd_calloc(1, sizeof *g);
    if (!g) {
        hd_prompts_free(prompts, prompt_count);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a request");
    }
    *g = (hd_generation){.job.run = finish,
                         .call = call,
                         .model = call->model,
                         .dialect = dialect,
                         .ask = *ask,
                         .prompts = prompts,
                         .prompt_count = prompt_count,
                         .top_count = ask->logprobs ? (int)ask->top_logprobs : 0,
                         .created = (int64_t)(hd_clock_unix_ms() / 1000)};
    json_incref((json_t *)(uintptr_t)g->ask.stop);
    const json_t *usage = json_object_get(ask->stream_options, "include_usage");
    g->usage = json_is_true(usage);
    pthread_mutex_init(&g->lock, NULL);
    hd_buf_init(&g->wire, WIRE_MAX);
    make_tag(g->tag);
    atomic_store(&g->wrote_ns, hd_clock_ns());
    hd_status status = prepare(g, err);
    if (status == HD_OK) hd_trace_ask(g);
    if (status == HD_OK) status = launch(g, taken, err);
    if (status != HD_OK) free_generation(g);
    return status;
}
