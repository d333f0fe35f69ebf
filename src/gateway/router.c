/* gateway/router.c: a request's way: the route, and the stages that it passes, in one visible array. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "gateway/adapters.h"
#include "gateway/gateway_internal.h"
#include "gateway/pair.h"
#include "gateway/trace.h"
#include "server/http_url.h"

/* Of a body: its bytes alone don't bound the memory that it takes once parsed, up to 80 times as much for {},{},{}. */
#define MAX_DEPTH 128      /* brackets inside each other: tools' schemas are the deepest, with some twenty */
#define MAX_LISTS 200000   /* lists and objects, some 250 bytes each */
#define MAX_VALUES 1000000 /* all values, some 100 bytes each: ids of six prompts as long as any context */

/* ---- the route ---- */

static bool equals(hd_str a, const char *b)
{
    return a.len == strlen(b) && memcmp(a.data, b, a.len) == 0;
}

/* Whether `path` is the route's; a {model} goes to call->name. */
static bool match(hd_call *call, const hd_route *route, hd_str path)
{
    const char *open = strchr(route->path, '{');
    if (!open) return equals(path, route->path);
    size_t fixed = (size_t)(open - route->path);
    if (path.len <= fixed || memcmp(path.data, route->path, fixed) != 0) return false;
    hd_buf name; /* names may have slashes, encoded or not */
    hd_buf_init(&name, sizeof call->name - 1);
    bool fits = hd_http_decode_segment(&name, (hd_str){path.data + fixed, path.len - fixed}, NULL) == HD_OK;
    if (fits) snprintf(call->name, sizeof call->name, "%s", name.data);
    hd_buf_free(&name);
    return fits;
}

/* 0, or the HTTP status that says why there is none; with 405 the route is the one that has the path. */
static int find_route(hd_call *call, const hd_http_request *request)
{
    int status = 404;
    bool head = equals(request->method, "HEAD"); /* the server leaves the body out */
    for (const hd_route *r = hd_routes; r->method; r++) {
        if (!match(call, r, request->path)) continue;
        call->route = r;
        if (equals(request->method, r->method) || (head && strcmp(r->method, "GET") == 0)) return 0;
        status = 405;
    }
    return status;
}

static void refuse_route(hd_call *call, int http, const hd_http_request *request)
{
    hd_error err;
    (void)hd_fail(&err, http == 404 ? HD_E_NOT_FOUND : HD_E_ARGUMENT,
                  "%s %.*s %.*s; GET /openapi.json lists what there is",
                  http == 404 ? "there is nothing at" : "not that way:", (int)HD_MIN(request->method.len, 32),
                  request->method.data, (int)HD_MIN(request->path.len, 200), request->path.data);
    hd_text_clean(err.text);
    call->http = http;
    hd_traffic_refuse(call, http == 404 ? HD_REFUSED_PATH : HD_REFUSED_METHOD);
    hd_call_fail(call, &err);
}

/* ---- who it is ---- */

/* The client's own id when it is harmless in headers and logs, else a new one. */
static void identify(hd_call *call, const hd_http_request *request)
{
    hd_str given;
    bool fine = hd_http_find(request, "x-request-id", &given) && given.len > 0 && given.len <= HD_REQUEST_ID;
    for (size_t i = 0; fine && i < given.len; i++)
        fine = isalnum((unsigned char)given.data[i]) || strchr("-_.:", given.data[i]);
    if (fine) {
        memcpy(call->id, given.data, given.len);
        return;
    }
    uint64_t random[2] = {hd_clock_ns(), 0};
    (void)!getrandom(random, sizeof random, 0); /* it is only a name: without randomness the clock will do */
    snprintf(call->id, sizeof call->id, "req_%016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
}

/* Whether a Host header names this machine by a name that no name server can give to another. */
static bool is_local_name(hd_str host)
{
    char name[64];
    if (host.len == 0) return true; /* HTTP/1.0, which no browser speaks */
    const char *colon = memrchr(host.data, ':', host.len);
    size_t len = colon && host.data[host.len - 1] != ']' ? (size_t)(colon - host.data) : host.len;
    if (len >= sizeof name) return false;
    memcpy(name, host.data, len);
    name[len] = '\0';
    if (strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0) return true;
    return hd_address_is_loopback(name);
}

/* "http://127.0.0.1:8080" is the origin of pages from the host 127.0.0.1:8080. */
static bool is_same_site(hd_str origin, hd_str host)
{
    const char *mark = memmem(origin.data, origin.len, "://", 3);
    if (!mark) return false;
    size_t skip = (size_t)(mark - origin.data) + 3;
    return origin.len - skip == host.len && memcmp(origin.data + skip, host.data, host.len) == 0;
}

static hd_status forbid(hd_call *call, hd_error *err, const char *text)
{
    call->http = 403;
    return hd_fail(err, HD_E_DENIED, "%s", text);
}

/* A page of another site must not use a service through its reader's browser: neither by asking from there (Origin),
 * nor, where no key is needed, by a name that suddenly means this machine (DNS rebinding). */
static hd_status check_browser(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    const hd_http_request *request = hd_exchange_request(call->exchange);
    const char *allowed = call->gateway->options.cors_origin;
    hd_str origin;
    if (hd_http_find(request, "origin", &origin) && !is_same_site(origin, request->host) &&
        !(allowed && (strcmp(allowed, "*") == 0 || equals(origin, allowed))))
        return forbid(call, err, "pages of other origins may not ask here; see --cors-origin");
    if (call->gateway->options.keys || call->route->flags & HD_ROUTE_OPEN) return HD_OK;
    if (is_local_name(request->host)) return HD_OK;
    return forbid(call, err, "without keys this service is known as localhost only, whatever the Host header says");
}

static hd_str presented_key(const hd_http_request *request)
{
    static const char scheme[] = "bearer ";
    hd_str value = {"", 0};
    if (hd_http_find(request, "authorization", &value)) {
        size_t len = sizeof scheme - 1;
        if (value.len < len || strncasecmp(value.data, scheme, len) != 0) return (hd_str){"", 0};
        while (len < value.len && value.data[len] == ' ')
            len++;
        return (hd_str){value.data + len, value.len - len};
    }
    (void)hd_http_find(request, "x-api-key", &value);
    return value;
}

static hd_status authenticate(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    hd_api_keys *keys = call->gateway->options.keys;
    unsigned flags = call->route->flags;
    if (!keys || flags & HD_ROUTE_OPEN) return HD_OK;
    const hd_http_request *request = hd_exchange_request(call->exchange);
    hd_str key = presented_key(request);
    bool local = flags & HD_ROUTE_LOCAL && hd_address_is_loopback(hd_exchange_peer(call->exchange)) &&
                 is_local_name(request->host);
    if (key.len == 0 && local) return HD_OK;
    if (key.len == 0) {
        call->keyless = true;
        return hd_fail(err, HD_E_DENIED,
                       "no key came with the request: send it as Authorization: Bearer KEY or x-api-key");
    }
    hd_tally_add(&call->gateway->traffic.keys_checked, 1);
    return hd_api_keys_check(keys, key, &call->key, err);
}

/* ---- what it wants ---- */

/* What stands outside of strings; jansson would go on to 2,048 levels, on the stack, and to any number of values. */
static hd_status check_structure(hd_str body, hd_error *err)
{
    int depth = 0;
    size_t lists = 0, commas = 0;
    bool quoted = false;
    for (size_t i = 0; i < body.len; i++) {
        char c = body.data[i];
        if (quoted) {
            if (c == '\\') i++;
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MAX_DEPTH)
                return hd_fail(err, HD_E_ARGUMENT, "the body has more than %d brackets inside each other", MAX_DEPTH);
            if (++lists > MAX_LISTS)
                return hd_fail(err, HD_E_LIMIT, "the body has more than %d lists and objects", MAX_LISTS);
        } else if (c == ',') {
            if (++commas >= MAX_VALUES)
                return hd_fail(err, HD_E_LIMIT, "the body has more than %d values: send less at once", MAX_VALUES);
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return HD_OK;
}

static hd_status read_body(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    if (call->body || !call->route->request) return HD_OK;
    hd_str body = hd_exchange_body(call->exchange);
    if (body.len == 0) return hd_fail(err, HD_E_ARGUMENT, "the request has no body; it must be a JSON object");
    HD_TRY(check_structure(body, err));
    HD_TRY(hd_json_parse(&call->body, body.data, body.len, err));
    return hd_shape_check(call->route->request, call->body, call->param, err);
}

static hd_status check_draining(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    if (!atomic_load(&call->gateway->draining) || !(call->route->flags & HD_ROUTE_MODEL)) return HD_OK;
    call->http = 503;
    return hd_fail(err, HD_E_BUSY, "the service is shutting down and takes no new work");
}

/* A reference to the adapter of that name, on a model in use.  One that is not in memory parks the call, as a model
 * does: then the use is given back, for the call comes to it anew. */
static hd_status choose_adapter(hd_call *call, hd_served *model, hd_str name, bool *taken, hd_error *err)
{
    hd_lora *lora;
    snprintf(call->adapter, sizeof call->adapter, "%.*s", (int)name.len, name.data);
    hd_status status = hd_adapters_take(hd_models_adapters(call->gateway->models), model, name, &call->job, &lora, err);
    *taken = status == HD_OK && !lora;
    if (*taken)
        hd_models_release(model);
    else
        call->lora = lora;
    return status;
}

/* A model or an adapter that is not in memory parks the call: from then on it belongs to whoever takes it up again. */
static hd_status choose_model(hd_call *call, bool *taken, hd_error *err)
{
    if (!(call->route->flags & HD_ROUTE_MODEL)) return HD_OK;
    const json_t *name = json_object_get(call->body, "model");
    hd_str asked = {json_string_value(name), json_string_length(name)};
    hd_served *model = NULL;
    const char *base = hd_adapters_base(hd_models_adapters(call->gateway->models), asked);
    hd_str wanted = base ? (hd_str){base, strlen(base)} : asked;
    hd_status status = hd_models_use(call->gateway->models, wanted, &call->job, &model, err);
    *taken = status == HD_OK && !model;
    if (*taken) return HD_OK;
    if (status == HD_OK && base) status = choose_adapter(call, model, asked, taken, err);
    if (*taken) return HD_OK;
    call->model = model;
    if (status == HD_E_NOT_FOUND) snprintf(call->param, sizeof call->param, "model");
    return status;
}

/* From here on the call counts as load, whichever precision it is given. */
static hd_status choose_precision(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    if (!(call->route->flags & HD_ROUTE_WEIGHTS)) return HD_OK;
    hd_wish wish = hd_wish_parse(json_string_value(json_object_get(call->body, "precision")));
    if (wish == HD_WISH_CHEAPER && !call->model->pair)
        return hd_call_refuse(call, err, "precision", "the model '%s' has one precision only", call->model->name);
    if (wish == HD_WISH_CHEAPER && call->lora)
        return hd_call_refuse(call, err, "precision", "the adapter '%s' is on the full precision only", call->adapter);
    if (wish == HD_WISH_AUTO && (call->lora || !(call->route->flags & HD_ROUTE_ELASTIC))) wish = HD_WISH_FULL;
    if (call->model->pair) {
        call->model = hd_pair_join(call->model->pair, wish);
        call->joined = true;
        const hd_log_field fields[] = {HD_LOG_FIELD_TEXT("request_id", call->id),
                                       HD_LOG_FIELD_TEXT("model", call->model->name)};
        hd_log_with(HD_LOG_DEBUG, fields, HD_ARRAY_LEN(fields), "answered in %s", call->model->precision);
    }
    atomic_fetch_add_explicit(&call->model->asked, 1, memory_order_relaxed);
    return HD_OK;
}

static hd_status answer(hd_call *call, bool *taken, hd_error *err)
{
    return call->route->run(call, taken, err);
}

/* ---- the stages ---- */

/* A call that was parked passes all of them again. */
typedef hd_status (*stage)(hd_call *call, bool *taken, hd_error *err);

static const struct {
    stage run;
    hd_refusal refusal; /* what its failure is counted as */
} stages[] = {{check_browser, HD_REFUSED_BROWSER},   {authenticate, HD_REFUSED_WRONG_KEY},
              {check_draining, HD_REFUSED_DRAINING}, {read_body, HD_REFUSED_BODY},
              {choose_model, HD_REFUSED_MODEL},      {choose_precision, HD_REFUSED_PRECISION},
              {answer, HD_REFUSED_REQUEST}};

static void pass(hd_call *call)
{
    hd_error err;
    hd_status status = HD_OK;
    bool taken = false;
    for (size_t i = 0; i < HD_ARRAY_LEN(stages) && status == HD_OK; i++) {
        status = stages[i].run(call, &taken, &err);
        if (taken) return;
        if (status != HD_OK) hd_traffic_refuse(call, call->keyless ? HD_REFUSED_NO_KEY : stages[i].refusal);
    }
    if (status != HD_OK) hd_call_fail(call, &err);
    hd_call_close(call);
}

static void run_job(hd_job *job)
{
    pass((hd_call *)((char *)job - offsetof(hd_call, job)));
}

/* ---- the door ---- */

#define LONG_BODY ((size_t)128 << 10) /* bytes; a text of that size is tokenized in some 20 ms */

static hd_call *new_call(hd_gateway *gateway, hd_exchange *exchange)
{
    hd_call *call = hd_calloc(1, sizeof *call);
    if (!call) return NULL;
    call->job.run = run_job;
    call->job.is_long = hd_exchange_body(exchange).len > LONG_BODY;
    call->gateway = gateway;
    call->exchange = exchange;
    identify(call, hd_exchange_request(exchange));
    hd_traffic_begin(call);
    return call;
}

void hd_gateway_handle(void *arg, hd_exchange *exchange)
{
    hd_gateway *gateway = arg;
    hd_call *call = new_call(gateway, exchange);
    if (!call) {
        (void)hd_exchange_reply(exchange, 503, NULL, 0, "", 0);
        hd_exchange_close(&exchange);
        return;
    }
    const hd_http_request *request = hd_exchange_request(exchange);
    int refusal = find_route(call, request);
    hd_trace_begin(call);
    if (gateway->options.cors_origin && equals(request->method, "OPTIONS") && refusal == 405)
        hd_call_preflight(call);
    else if (refusal)
        refuse_route(call, refusal, request);
    else if (call->route->flags & HD_ROUTE_NOW)
        pass(call), call = NULL;
    else
        hd_workers_push(gateway->workers, &call->job), call = NULL;
    if (call) hd_call_close(call);
}

const char *hd_call_model_name(const hd_call *call)
{
    return call->lora ? call->adapter : call->model->name;
}

void hd_call_close(hd_call *call)
{
    hd_call_report(call);
    hd_trace_finish(call);
    hd_traffic_end(call);
    if (call->joined) hd_pair_leave(call->model->pair);
    hd_lora_close(&call->lora); /* before its base may go */
    if (call->model) hd_models_release(call->model);
    json_decref(call->body);
    hd_exchange_close(&call->exchange);
    hd_wipe(call->key.tenant, sizeof call->key.tenant);
    hd_free(call);
}
