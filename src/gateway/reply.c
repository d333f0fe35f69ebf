/* gateway/reply.c: replies of calls: their headers, and errors in the envelope of the route's API. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "gateway/models.h"

#define RETRY_SECONDS "2" /* a queue of short answers has moved on by then */
#define MAX_HEADERS 12

typedef struct headers {
    hd_http_header list[MAX_HEADERS];
    size_t count;
} headers;

static void add(headers *h, const char *name, const char *value)
{
    if (h->count < MAX_HEADERS) h->list[h->count++] = (hd_http_header){{name, strlen(name)}, {value, strlen(value)}};
}

static void add_common(headers *h, const hd_call *call, const char *type)
{
    const char *origin = call->gateway->options.cors_origin;
    add(h, "content-type", type);
    add(h, "x-request-id", call->id);
    if (call->route && call->route->flags & HD_ROUTE_ANTHROPIC) add(h, "request-id", call->id); /* its clients' name */
    if (call->timing[0]) add(h, "server-timing", call->timing);
    if (call->model && call->route->flags & HD_ROUTE_WEIGHTS) add(h, "x-hadal-precision", call->model->precision);
    if (!origin) return;
    add(h, "access-control-allow-origin", origin);
    add(h, "access-control-expose-headers", "x-request-id, retry-after, server-timing, x-hadal-precision");
    if (strcmp(origin, "*") != 0) add(h, "vary", "origin");
}

static void add_error(headers *h, const hd_call *call, int status)
{
    if (status == 405) add(h, "allow", strcmp(call->route->method, "GET") == 0 ? "GET, HEAD" : call->route->method);
    if (status == 401) add(h, "www-authenticate", "Bearer");
    if (status == 429 || status == 503) add(h, "retry-after", RETRY_SECONDS);
}

static void count(hd_call *call, int status)
{
    call->status = status;
    atomic_fetch_add_explicit(&call->gateway->replies[status / 100 % 6], 1, memory_order_relaxed);
    hd_traffic_reply(call, status);
}

/* A client that has left needs no reply, and no other error is left to tell it. */
static void send(hd_call *call, int status, const headers *h, const void *data, size_t len)
{
    count(call, status);
    if (hd_exchange_reply(call->exchange, status, h->list, h->count, data, len) != HD_OK)
        call->failure = HD_E_CANCELLED;
}

void hd_call_reply_text(hd_call *call, int status, const char *type, const hd_buf *out)
{
    headers h = {.count = 0};
    add_common(&h, call, type);
    add_error(&h, call, status);
    send(call, status, &h, out->data, out->len);
}

void hd_call_reply_json(hd_call *call, int status, hd_buf *out)
{
    if (out->status == HD_OK) {
        hd_call_reply_text(call, status, "application/json", out);
    } else {
        hd_error err;
        (void)hd_fail(&err, out->status, "the reply is too large to be written");
        hd_call_fail(call, &err);
    }
    hd_buf_free(out);
}

void hd_call_preflight(hd_call *call)
{
    headers h = {.count = 0};
    add_common(&h, call, "text/plain");
    add(&h, "access-control-allow-methods", "GET, POST, OPTIONS");
    /* The official clients bring a dozen of their own (x-stainless-os, ...): * is for all but authorization (Fetch). */
    add(&h, "access-control-allow-headers", "authorization, content-type, x-api-key, *");
    add(&h, "access-control-max-age", "600");
    send(call, 200, &h, "", 0);
}

hd_status hd_call_begin_stream(hd_call *call)
{
    headers h = {.count = 0};
    add_common(&h, call, "text/event-stream; charset=utf-8");
    add(&h, "cache-control", "no-cache");
    add(&h, "x-accel-buffering", "no"); /* nginx would collect the events */
    count(call, 200);
    return hd_exchange_begin(call->exchange, 200, h.list, h.count);
}

/* ---- errors ---- */

/* The code that clients of OpenAI's API look at. */
static const char *error_code(hd_status status, int http)
{
    switch ((int)status) {
    case HD_E_DENIED: return http == 401 ? "invalid_api_key" : "forbidden";
    case HD_E_CONTEXT: return "context_length_exceeded";
    case HD_E_BUSY: return "rate_limit_exceeded";
    case HD_E_NOT_FOUND: return "not_found";
    case HD_E_UNSUPPORTED: return "unsupported";
    default: return NULL;
    }
}

static const char *anthropic_type(int http)
{
    switch (http) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return http >= 500 ? "api_error" : "invalid_request_error";
    }
}

static void write_error(hd_buf *out, const hd_call *call, const hd_error *err, int http)
{
    bool anthropic = call->route && call->route->flags & HD_ROUTE_ANTHROPIC;
    hd_out_begin(out, '{');
    if (anthropic) hd_out_member_string(out, "type", "error");
    hd_out_member_begin(out, "error", '{');
    hd_out_member_string(out, "type", anthropic ? anthropic_type(http) : hd_status_api_type(err->status));
    hd_out_member_string(out, "message", err->text);
    if (!anthropic) {
        hd_out_member_string(out, "param", call->param[0] ? call->param : NULL);
        hd_out_member_string(out, "code", error_code(err->status, http));
    }
    hd_out_end(out, '}');
    if (anthropic) hd_out_member_string(out, "request_id", call->id);
    hd_out_end(out, '}');
}

void hd_call_write_error(hd_buf *out, const hd_call *call, const hd_error *err)
{
    write_error(out, call, err, hd_status_http(err->status));
}

/* What is malformed in an API's request is 400 to its clients, in whatever layer it was found. */
static int http_status(const hd_call *call, hd_status status)
{
    int http = hd_status_http(status);
    return call->http ? call->http : http == 422 ? 400 : http;
}

void hd_call_fail(hd_call *call, const hd_error *err)
{
    int http = http_status(call, err->status);
    hd_buf out;
    hd_buf_init(&out, 16384); /* the text is short */
    write_error(&out, call, err, http);
    call->failure = err->status;
    const hd_log_field id = HD_LOG_FIELD_TEXT("request_id", call->id);
    if (http >= 500) hd_log_with(HD_LOG_WARN, &id, 1, "request: %d: %s", http, err->text);
    hd_call_reply_text(call, http, "application/json", &out);
    hd_buf_free(&out);
}

hd_status hd_call_refuse(hd_call *call, hd_error *err, const char *param, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(call->param, sizeof call->param, "%s", param);
    return hd_fail(err, HD_E_ARGUMENT, "%s: %s", param, text);
}
