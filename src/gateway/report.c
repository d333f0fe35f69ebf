/* gateway/report.c: what is told of a call when it is over: one line in the log.
 *
 * A line names the route's pattern, never what a client wrote: paths, queries, bodies and keys stay out of it.  The key
 * is shown by its name, or by its number.
 */
#include <stdio.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "gateway/trace.h"

void hd_call_count_tokens(hd_call *call, int64_t input, int64_t output)
{
    call->counted = true;
    call->input_tokens = input;
    call->output_tokens = output;
}

const char *hd_call_method(const hd_call *call)
{
    static const char *const known[] = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"};
    hd_str method = hd_exchange_request(call->exchange)->method;
    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++)
        if (method.len == strlen(known[i]) && memcmp(method.data, known[i], method.len) == 0) return known[i];
    return "_OTHER"; /* as in OpenTelemetry's conventions for HTTP */
}

static const char *key_name(const hd_api_key *key, char number[24])
{
    if (key->name[0]) return key->name;
    if (!key->id) return NULL;
    snprintf(number, 24, "%lld", (long long)key->id);
    return number;
}

void hd_call_report(const hd_call *call)
{
    bool often = call->route && call->route->flags & HD_ROUTE_NOW;
    hd_log_level level = often ? HD_LOG_DEBUG : HD_LOG_INFO;
    char number[24], trace[2 * HD_TRACE_ID + 1];
    if (!hd_log_shows(level)) return;
    double seconds = (double)(hd_clock_ns() - hd_exchange_received_ns(call->exchange)) / 1e9;
    hd_trace_name(call, trace);
    const hd_log_field fields[] = {
        HD_LOG_FIELD_TEXT("method", hd_call_method(call)),
        HD_LOG_FIELD_TEXT("route", call->route ? call->route->path : "-"),
        HD_LOG_FIELD_INT("status", call->status ? call->status : -1),
        HD_LOG_FIELD_TEXT("error", call->failure == HD_OK ? NULL : hd_status_message(call->failure)),
        HD_LOG_FIELD_SECONDS("seconds", seconds),
        HD_LOG_FIELD_TEXT("model", call->model ? hd_call_model_name(call) : NULL),
        HD_LOG_FIELD_INT("input_tokens", call->counted ? call->input_tokens : -1),
        HD_LOG_FIELD_INT("output_tokens", call->counted ? call->output_tokens : -1),
        HD_LOG_FIELD_TEXT("key", key_name(&call->key, number)),
        HD_LOG_FIELD_TEXT("request_id", call->id),
        HD_LOG_FIELD_TEXT("trace_id", trace),
    };
    hd_log_with(level, fields, HD_ARRAY_LEN(fields), "request");
}
