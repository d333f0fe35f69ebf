/* gateway/trace.c: see trace.h.
 *
 * Everything is kept as plain values until the call ends, since a span can only be told when it is over; what the
 * attributes point to lives in the trace and the call.
 */
#include "gateway/trace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gateway/gateway_internal.h"
#include "gateway/trace_content.h"

#define CHOICES_SHOWN 8 /* answers of one request with spans of their own */
#define ATTRIBUTES 32
#define NAME_SHOWN 128 /* bytes of a name that a client wrote */

typedef struct traced_choice {
    hd_finish_event end;
    const char *reason;
} traced_choice;

struct hd_call_trace {
    const hd_span_sink *sink;
    uint8_t trace_id[HD_TRACE_ID], server_id[HD_SPAN_ID], parent_id[HD_SPAN_ID];
    bool has_parent;
    char state[HD_TRACE_STATE + 1];
    /* of a generation */
    bool asked, answered;
    uint64_t asked_ns;
    char model[NAME_SHOWN + 1]; /* as the client asked for it */
    char response_id[64];
    hd_ask ask; /* its views into the request are not used */
    hd_usage usage;
    int choice_count;
    traced_choice choices[CHOICES_SHOWN];
    hd_trace_content *content; /* NULL: not wanted */
};

/* ---- attributes ---- */

typedef struct attributes {
    hd_attribute list[ATTRIBUTES];
    size_t count;
} attributes;

static hd_attribute *add(attributes *a, const char *key)
{
    hd_attribute *out = &a->list[HD_MIN(a->count, (size_t)ATTRIBUTES - 1)];
    if (a->count < ATTRIBUTES) a->count++;
    *out = (hd_attribute){.key = key};
    return out;
}

static void add_text(attributes *a, const char *key, hd_str text)
{
    hd_attribute *out = text.len ? add(a, key) : NULL;
    if (!out) return;
    out->kind = HD_ATTRIBUTE_TEXT;
    out->text = text;
}

static void add_string(attributes *a, const char *key, const char *text)
{
    if (text) add_text(a, key, (hd_str){text, strlen(text)});
}

static void add_int(attributes *a, const char *key, int64_t value)
{
    hd_attribute *out = add(a, key);
    out->kind = HD_ATTRIBUTE_INT;
    out->number = value;
}

static void add_real(attributes *a, const char *key, double value)
{
    if (isnan(value)) return; /* not given */
    hd_attribute *out = add(a, key);
    out->kind = HD_ATTRIBUTE_REAL;
    out->real = value;
}

static void add_bool(attributes *a, const char *key, bool value)
{
    hd_attribute *out = add(a, key);
    out->kind = HD_ATTRIBUTE_BOOL;
    out->truth = value;
}

/* ---- the beginning ---- */

/* The parent that the request brings; of several headers none counts (W3C Trace Context, section 3.2). */
static bool find_parent(const hd_http_request *request, hd_trace_parent *out)
{
    int seen = 0;
    bool good = false;
    for (size_t i = 0; i < request->header_count; i++) {
        const hd_http_header *h = &request->headers[i];
        if (h->name.len != strlen("traceparent") || memcmp(h->name.data, "traceparent", h->name.len) != 0) continue;
        good = hd_trace_parent_read(out, h->value);
        seen++;
    }
    return good && seen == 1;
}

/* Passed on as it came, if it is short and harmless. */
static void keep_state(hd_call_trace *t, const hd_http_request *request)
{
    hd_str value;
    if (!hd_http_find(request, "tracestate", &value) || value.len > HD_TRACE_STATE) return;
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] < 0x20 || value.data[i] > 0x7e) return;
    memcpy(t->state, value.data, value.len);
}

void hd_trace_begin(hd_call *call)
{
    const hd_span_sink *sink = call->gateway->options.spans;
    if (!sink || !call->route || call->route->flags & HD_ROUTE_NOW) return;
    uint8_t ids[HD_TRACE_ID + HD_SPAN_ID];
    hd_trace_parent parent;
    const hd_http_request *request = hd_exchange_request(call->exchange);
    bool has_parent = find_parent(request, &parent);
    hd_trace_random(ids, sizeof ids);
    if (has_parent) memcpy(ids, parent.trace_id, HD_TRACE_ID);
    if (!hd_sampler_takes(&sink->sampler, has_parent ? &parent : NULL, ids)) return;
    hd_call_trace *t = call->trace = hd_calloc(1, sizeof *t);
    if (!t) return;
    t->sink = sink;
    t->has_parent = has_parent;
    memcpy(t->trace_id, ids, HD_TRACE_ID);
    memcpy(t->server_id, ids + HD_TRACE_ID, HD_SPAN_ID);
    t->server_id[0] |= 1; /* never all zero */
    if (!has_parent) return;
    memcpy(t->parent_id, parent.span_id, HD_SPAN_ID);
    keep_state(t, request);
}

void hd_trace_name(const hd_call *call, char *out)
{
    out[0] = '\0';
    if (call->trace) hd_trace_hex(out, call->trace->trace_id, HD_TRACE_ID);
}

/* ---- on the way ---- */

static void keep_model(hd_call_trace *t, const hd_call *call)
{
    const char *model = json_string_value(json_object_get(call->body, "model"));
    snprintf(t->model, sizeof t->model, "%s", model ? model : "");
}

static const char *id_prefix(const hd_route *route)
{
    if (route->run == hd_messages) return "msg_";
    return route->run == hd_completions ? "cmpl-" : "chatcmpl-";
}

void hd_trace_ask(hd_generation *g)
{
    hd_call_trace *t = g->call->trace;
    if (!t) return;
    t->asked = true;
    t->asked_ns = hd_clock_ns();
    t->ask = g->ask;
    keep_model(t, g->call);
    snprintf(t->response_id, sizeof t->response_id, "%s%s", id_prefix(g->call->route), g->tag);
    if (t->sink->content) t->content = hd_trace_content_open(g->call->body, HD_MIN(g->choice_count, CHOICES_SHOWN));
}

void hd_trace_piece(hd_choice *c, hd_piece_kind kind, const char *data, size_t len)
{
    const hd_call_trace *t = c->generation->call->trace;
    if (t && t->content && c->index < CHOICES_SHOWN) hd_trace_content_piece(t->content, c->index, kind, data, len);
}

static const char *reason_of(const hd_choice *c)
{
    switch (c->end.reason) {
    case HD_FINISH_STOP: return c->tools ? "tool_calls" : "stop";
    case HD_FINISH_LENGTH: return "length";
    case HD_FINISH_CANCELLED: return "cancelled";
    case HD_FINISH_ERROR: break;
    }
    return "error";
}

void hd_trace_answer(const hd_generation *g)
{
    hd_call_trace *t = g->call->trace;
    if (!t) return;
    t->answered = true;
    hd_generation_usage(g, &t->usage);
    t->choice_count = HD_MIN(g->choice_count, CHOICES_SHOWN);
    for (int i = 0; i < t->choice_count; i++) {
        t->choices[i] = (traced_choice){.end = g->choices[i].end, .reason = reason_of(&g->choices[i])};
        if (t->content) hd_trace_content_end(t->content, i, t->choices[i].reason);
    }
}

/* ---- the end ---- */

/* What turns hd_clock into the time of day, to the nanosecond: spans of other services stand beside ours. */
static uint64_t clock_offset(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - hd_clock_ns();
}

typedef struct teller {
    const hd_span_sink *sink;
    const uint8_t *trace_id;
    const char *state;
    uint64_t offset;
} teller;

/* Tells of a span and gives it an id, if it has none yet. */
static void tell(const teller *t, hd_span *span, uint8_t id[HD_SPAN_ID], uint64_t start_ns, uint64_t end_ns)
{
    if (!span->span_id) hd_trace_random(id, HD_SPAN_ID);
    span->trace_id = t->trace_id;
    span->span_id = id;
    span->state = t->state;
    if (!span->kind) span->kind = HD_SPAN_INTERNAL;
    span->start_unix_ns = t->offset + start_ns;
    span->end_unix_ns = t->offset + HD_MAX(start_ns, end_ns);
    t->sink->take(t->sink->arg, span);
}

static void tell_phase(const teller *t, const char *name, const uint8_t *parent, uint64_t start_ns, uint64_t ns,
                       const attributes *a)
{
    uint8_t id[HD_SPAN_ID];
    hd_span span = {.name = name, .parent_id = parent, .attributes = a->list, .attribute_count = a->count};
    tell(t, &span, id, start_ns, start_ns + ns);
}

/* A choice that was never submitted, or that ended while it waited, has only what it went through. */
static void tell_choice(const teller *t, const uint8_t *parent, const hd_finish_event *e, int index, int count)
{
    attributes queue = {.count = 0}, prefill, decode;
    if (!e->came_ns) return;
    uint64_t prefill_at = e->came_ns + e->queued_ns, decode_at = prefill_at + e->prefill_ns;
    if (count > 1) add_int(&queue, "hadal.choice.index", index);
    prefill = decode = queue;
    tell_phase(t, "queue", parent, e->came_ns, e->queued_ns, &queue);
    if (!e->prefill_ns) return;
    add_int(&prefill, "hadal.prompt_tokens", e->prompt_tokens);
    add_int(&prefill, "hadal.cached_tokens", e->cached_tokens);
    tell_phase(t, "prefill", parent, prefill_at, e->prefill_ns, &prefill);
    if (!e->answer_tokens) return;
    add_int(&decode, "hadal.answer_tokens", e->answer_tokens);
    if (e->preemptions) add_int(&decode, "hadal.preemptions", e->preemptions);
    tell_phase(t, "decode", parent, decode_at, e->decode_ns, &decode);
}

static const char *operation(const hd_route *route)
{
    if (route->run == hd_embeddings) return "embeddings";
    if (route->run == hd_completions) return "text_completion";
    return route->run == hd_chat_completions || route->run == hd_messages ? "chat" : NULL;
}

static void add_asked(attributes *a, const hd_ask *ask)
{
    if (ask->n > 1) add_int(a, "gen_ai.request.choice.count", ask->n);
    if (ask->max_tokens >= 0) add_int(a, "gen_ai.request.max_tokens", ask->max_tokens);
    if (ask->seed >= 0) add_int(a, "gen_ai.request.seed", ask->seed);
    if (ask->top_k >= 0) add_real(a, "gen_ai.request.top_k", (double)ask->top_k);
    add_real(a, "gen_ai.request.temperature", ask->temperature);
    add_real(a, "gen_ai.request.top_p", ask->top_p);
    add_real(a, "gen_ai.request.frequency_penalty", ask->frequency_penalty);
    add_real(a, "gen_ai.request.presence_penalty", ask->presence_penalty);
    add_bool(a, "gen_ai.request.stream", ask->stream);
}

/* When the first token of any answer was there; 0: never. */
static uint64_t first_token(const hd_call_trace *t)
{
    uint64_t first = 0;
    for (int i = 0; i < t->choice_count; i++) {
        const hd_finish_event *e = &t->choices[i].end;
        uint64_t at = e->came_ns + e->queued_ns + e->prefill_ns;
        if (e->answer_tokens && (!first || at < first)) first = at;
    }
    return first;
}

static void add_answered(attributes *a, const hd_call_trace *t, const hd_call *call, const char **reasons)
{
    uint64_t first = first_token(t), received = hd_exchange_received_ns(call->exchange);
    for (int i = 0; i < t->choice_count; i++)
        reasons[i] = t->choices[i].reason;
    hd_attribute *list = add(a, "gen_ai.response.finish_reasons");
    list->kind = HD_ATTRIBUTE_TEXTS;
    list->texts = reasons;
    list->text_count = (size_t)t->choice_count;
    add_string(a, "gen_ai.response.id", t->response_id);
    add_int(a, "gen_ai.usage.cache_read.input_tokens", t->usage.cached);
    if (t->usage.reasoning) add_int(a, "gen_ai.usage.reasoning.output_tokens", t->usage.reasoning);
    if (!first) return;
    double seconds = (double)(first - received) / 1e9;
    add_real(a, "gen_ai.server.time_to_first_token", seconds);
    if (t->ask.stream) add_real(a, "gen_ai.response.time_to_first_chunk", seconds);
}

static void add_content(attributes *a, const hd_call_trace *t)
{
    hd_trace_texts texts;
    if (!t->content) return;
    hd_trace_content_get(t->content, &texts);
    add_text(a, "gen_ai.system_instructions", texts.system);
    add_text(a, "gen_ai.input.messages", texts.input);
    add_text(a, "gen_ai.output.messages", texts.output);
}

/* The span of what a model did, and below it those of the engine. */
static void tell_inference(const teller *out, const hd_call_trace *t, const hd_call *call, uint64_t now)
{
    attributes a = {.count = 0};
    const char *kind = operation(call->route), *reasons[CHOICES_SHOWN];
    uint8_t id[HD_SPAN_ID];
    char name[NAME_SHOWN + 32];
    if (!kind || !call->model) return;
    snprintf(name, sizeof name, "%s%s%s", kind, t->model[0] ? " " : "", t->model);
    add_string(&a, "gen_ai.operation.name", kind);
    add_string(&a, "gen_ai.provider.name", "hadal");
    add_string(&a, "gen_ai.system", "hadal"); /* its name before version 1.37 of the conventions */
    add_string(&a, "gen_ai.request.model", t->model);
    add_string(&a, "gen_ai.response.model", hd_call_model_name(call));
    add_string(&a, "hadal.precision", call->model->precision);
    if (t->asked) add_asked(&a, &t->ask);
    if (call->counted) add_int(&a, "gen_ai.usage.input_tokens", call->input_tokens);
    if (call->counted && strcmp(kind, "embeddings") != 0)
        add_int(&a, "gen_ai.usage.output_tokens", call->output_tokens);
    if (t->answered) add_answered(&a, t, call, reasons);
    add_content(&a, t);
    if (call->failure != HD_OK) add_string(&a, "error.type", hd_status_message(call->failure));
    const hd_span_event event = {"first_token", out->offset + first_token(t)};
    hd_span span = {.name = name,
                    .parent_id = t->server_id,
                    .attributes = a.list,
                    .attribute_count = a.count,
                    .events = &event,
                    .event_count = first_token(t) != 0,
                    .failed = call->failure != HD_OK};
    tell(out, &span, id, t->asked ? t->asked_ns : hd_exchange_received_ns(call->exchange), now);
    for (int i = 0; i < t->choice_count; i++)
        tell_choice(out, id, &t->choices[i].end, i, t->choice_count);
}

/* "host:port" of the Host header in two; false without a port. */
static bool split_host(hd_str host, hd_str *name, int64_t *port)
{
    const char *colon = memrchr(host.data, ':', host.len);
    *name = host;
    if (!colon || host.data[host.len - 1] == ']') return false;
    *port = 0;
    for (const char *c = colon + 1; c < host.data + host.len; c++)
        *port = *port * 10 + (*c - '0'); /* the parser has let digits through only, of a port at most */
    name->len = (size_t)(colon - host.data);
    return colon + 1 < host.data + host.len;
}

static void add_http(attributes *a, const hd_call *call)
{
    const hd_http_request *request = hd_exchange_request(call->exchange);
    hd_str host;
    int64_t port = 0;
    add_string(a, "http.request.method", hd_call_method(call));
    add_string(a, "http.route", call->route->path);
    add_text(a, "url.path", (hd_str){request->path.data, HD_MIN(request->path.len, (size_t)NAME_SHOWN)});
    add_string(a, "url.scheme", call->gateway->options.tls ? "https" : "http");
    add_string(a, "network.protocol.version", request->minor ? "1.1" : "1.0");
    if (call->status) add_int(a, "http.response.status_code", call->status);
    bool has_port = request->host.len && split_host(request->host, &host, &port);
    if (request->host.len) add_text(a, "server.address", host);
    if (has_port) add_int(a, "server.port", port);
    add_string(a, "client.address", hd_exchange_peer(call->exchange));
    add_string(a, "hadal.request.id", call->id);
    if (call->key.id) add_int(a, "hadal.key.id", call->key.id);
    add_string(a, "hadal.key.name", call->key.name);
}

/* Of a server's span only its own failures are errors (HTTP's conventions): 5xx, and an answer that was cut. */
static void tell_server(const teller *out, hd_call_trace *t, const hd_call *call, uint64_t now)
{
    attributes a = {.count = 0};
    char name[96], number[12];
    const char *method = hd_call_method(call);
    bool cut = call->status && call->status < 400 && call->failure != HD_OK;
    add_http(&a, call);
    snprintf(number, sizeof number, "%d", call->status);
    if (cut)
        add_string(&a, "error.type", hd_status_message(call->failure));
    else if (call->status >= 500)
        add_string(&a, "error.type", number);
    snprintf(name, sizeof name, "%s %s", strcmp(method, "_OTHER") == 0 ? "HTTP" : method, call->route->path);
    hd_span span = {.name = name,
                    .kind = HD_SPAN_SERVER,
                    .span_id = t->server_id,
                    .parent_id = t->has_parent ? t->parent_id : NULL,
                    .remote_parent = t->has_parent,
                    .attributes = a.list,
                    .attribute_count = a.count,
                    .failed = cut || call->status >= 500};
    tell(out, &span, t->server_id, hd_exchange_received_ns(call->exchange), now);
}

void hd_trace_finish(hd_call *call)
{
    hd_call_trace *t = call->trace;
    if (!t) return;
    if (!t->asked) keep_model(t, call);
    uint64_t now = hd_clock_ns();
    const teller out = {t->sink, t->trace_id, t->state, clock_offset()};
    tell_inference(&out, t, call, now);
    tell_server(&out, t, call, now);
    hd_trace_content_close(&t->content);
    hd_free(t);
    call->trace = NULL;
}

/* ---- models ---- */

void hd_trace_load(const hd_span_sink *sink, const char *model, uint64_t start_ns, uint64_t loaded_ns, uint64_t end_ns,
                   hd_status status)
{
    uint8_t trace_id[HD_TRACE_ID], id[HD_SPAN_ID];
    attributes a = {.count = 0};
    if (!sink) return;
    hd_trace_random(trace_id, sizeof trace_id);
    if (!hd_sampler_takes(&sink->sampler, NULL, trace_id)) return;
    const teller out = {sink, trace_id, NULL, clock_offset()};
    add_string(&a, "hadal.model.name", model);
    if (status != HD_OK) add_string(&a, "error.type", hd_status_message(status));
    hd_span span = {.name = "load model", .attributes = a.list, .attribute_count = a.count, .failed = status != HD_OK};
    tell(&out, &span, id, start_ns, end_ns);
    if (status == HD_OK) tell_phase(&out, "warm up", id, loaded_ns, end_ns - loaded_ns, &a);
}
