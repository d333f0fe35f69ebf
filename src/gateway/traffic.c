/* gateway/traffic.c: see traffic.h. */
#include "gateway/traffic.h"

#include <stdio.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "gateway/generation.h"

static const char *const methods[HD_TRAFFIC_METHODS] = {"GET", "POST", "HEAD", "OPTIONS", "other"};
static const char *const dialects[HD_TRAFFIC_DIALECTS] = {"openai_chat", "openai_completions", "anthropic"};

void hd_traffic_init(hd_traffic *t)
{
    static const double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                    1,     2.5,    5,     10,   30,    60,   120, 300};
    for (size_t i = 0; i < HD_TRAFFIC_ROUTES; i++)
        hd_histogram_init(&t->seconds[i], bounds, (int)HD_ARRAY_LEN(bounds));
}

/* ---- counting ---- */

static hd_traffic *of(const hd_call *call)
{
    return &call->gateway->traffic;
}

static size_t route_of(const hd_call *call)
{
    size_t at = call->route ? (size_t)(call->route - hd_routes) : HD_TRAFFIC_ROUTES;
    return HD_MIN(at, HD_TRAFFIC_ROUTES - 1);
}

static size_t method_of(const hd_call *call)
{
    hd_str given = hd_exchange_request(call->exchange)->method;
    size_t i = 0;
    for (; i < HD_TRAFFIC_METHODS - 1; i++)
        if (strlen(methods[i]) == given.len && memcmp(methods[i], given.data, given.len) == 0) break;
    return i;
}

void hd_traffic_begin(const hd_call *call)
{
    atomic_fetch_add_explicit(&of(call)->open, 1, memory_order_relaxed);
    hd_tally_add(&of(call)->body_bytes, hd_exchange_body(call->exchange).len);
}

void hd_traffic_reply(const hd_call *call, int status)
{
    size_t class = (size_t)status / 100 % HD_TRAFFIC_CLASSES;
    hd_tally_add(&of(call)->replies[route_of(call)][method_of(call)][class], 1);
}

void hd_traffic_refuse(const hd_call *call, hd_refusal why)
{
    hd_tally_add(&of(call)->refused[why], 1);
}

void hd_traffic_end(const hd_call *call)
{
    uint64_t now = hd_clock_ns(), came = hd_exchange_received_ns(call->exchange);
    atomic_fetch_sub_explicit(&of(call)->open, 1, memory_order_relaxed);
    hd_histogram_add(&of(call)->seconds[route_of(call)], now > came ? (double)(now - came) / 1e9 : 0);
}

static size_t dialect_of(const hd_generation *g)
{
    const hd_route *route = g->call->route;
    if (route->flags & HD_ROUTE_ANTHROPIC) return 2;
    return strcmp(route->path, "/v1/completions") == 0;
}

void hd_traffic_ask(const hd_generation *g)
{
    hd_traffic *t = of(g->call);
    size_t d = dialect_of(g);
    hd_tally_add(&t->asked[d], 1);
    hd_tally_add(&t->streams[d], g->ask.stream);
    hd_tally_add(&t->with_tools[d], g->ask.parse_tools);
}

void hd_traffic_choice(const hd_generation *g, const hd_finish_event *end, int64_t reasoning_tokens, int64_t tool_calls,
                       bool left)
{
    hd_traffic *t = of(g->call);
    size_t d = dialect_of(g);
    size_t finish = left ? HD_FINISH_CANCELLED : (size_t)end->reason;
    hd_tally_add(&t->tokens[d][0], (uint64_t)HD_MAX(end->prompt_tokens, 0));
    hd_tally_add(&t->tokens[d][1], (uint64_t)HD_MAX(end->cached_tokens, 0));
    hd_tally_add(&t->tokens[d][2], (uint64_t)HD_MAX(end->answer_tokens, 0));
    hd_tally_add(&t->tokens[d][3], (uint64_t)HD_MAX(reasoning_tokens, 0));
    if (finish < HD_TRAFFIC_FINISHES) hd_tally_add(&t->finished[d][finish], 1);
    hd_tally_add(&t->tool_calls[d], (uint64_t)HD_MAX(tool_calls, 0));
}

/* ---- the page ---- */

static double value_of(const hd_tally *tally)
{
    return (double)atomic_load_explicit(tally, memory_order_relaxed);
}

/* Of the rows that there are, and the one for all else; a {model} in a path stays as it is. */
static const char *name_of_route(size_t i, size_t rows)
{
    if (i == HD_TRAFFIC_ROUTES - 1) return "other";
    return i < rows ? hd_routes[i].path : NULL;
}

/* Combinations that have not come are left out: there are a thousand, and two dozen of them make sense. */
static void write_routes(const hd_traffic *t, hd_metrics_page *page, size_t rows)
{
    for (size_t i = 0; i < HD_TRAFFIC_ROUTES; i++)
        for (size_t m = 0; m < HD_TRAFFIC_METHODS; m++)
            for (size_t c = 0; c < HD_TRAFFIC_CLASSES; c++) {
                char labels[160];
                double count = value_of(&t->replies[i][m][c]);
                if (count <= 0 || !name_of_route(i, rows)) continue;
                snprintf(labels, sizeof labels, "route=\"%s\",method=\"%s\",class=\"%zuxx\"", name_of_route(i, rows),
                         methods[m], c);
                hd_metrics_put(page, HD_M_ROUTES, labels, count);
            }
    for (size_t i = 0; i < HD_TRAFFIC_ROUTES; i++) {
        char labels[96];
        uint64_t seen = 0;
        for (int b = 0; b <= t->seconds[i].count; b++)
            seen += atomic_load_explicit(&t->seconds[i].buckets[b], memory_order_relaxed);
        if (!seen || !name_of_route(i, rows)) continue;
        snprintf(labels, sizeof labels, "route=\"%s\"", name_of_route(i, rows));
        hd_metrics_put_histogram(page, HD_M_ROUTE_SECONDS, labels, &t->seconds[i]);
    }
}

static void write_pairs(hd_metrics_page *page, hd_metric metric, const char *label, const char *const *names,
                        const hd_tally *tallies, size_t count)
{
    for (size_t d = 0; d < HD_TRAFFIC_DIALECTS; d++)
        for (size_t i = 0; i < count; i++) {
            char labels[96];
            snprintf(labels, sizeof labels, "dialect=\"%s\",%s=\"%s\"", dialects[d], label, names[i]);
            hd_metrics_put(page, metric, labels, value_of(&tallies[d * count + i]));
        }
}

static void write_dialects(const hd_traffic *t, hd_metrics_page *page)
{
    static const char *const kinds[] = {"prompt", "cached", "answer", "reasoning"};
    static const char *const finishes[] = {"stop", "length", "abort", "error"};
    const struct {
        hd_metric metric;
        const hd_tally *tallies;
    } rows[] = {{HD_M_DIALECT_REQUESTS, t->asked},
                {HD_M_DIALECT_STREAMS, t->streams},
                {HD_M_DIALECT_WITH_TOOLS, t->with_tools},
                {HD_M_DIALECT_TOOL_CALLS, t->tool_calls}};
    for (size_t i = 0; i < HD_ARRAY_LEN(rows); i++)
        for (size_t d = 0; d < HD_TRAFFIC_DIALECTS; d++)
            hd_metrics_put_by(page, rows[i].metric, "dialect", dialects[d], value_of(&rows[i].tallies[d]));
    write_pairs(page, HD_M_DIALECT_TOKENS, "kind", kinds, &t->tokens[0][0], HD_TRAFFIC_KINDS);
    write_pairs(page, HD_M_DIALECT_FINISHED, "finished_reason", finishes, &t->finished[0][0], HD_TRAFFIC_FINISHES);
}

void hd_traffic_write(const hd_traffic *t, hd_metrics_page *page)
{
    static const char *const causes[HD_REFUSAL_COUNT] = {
        [HD_REFUSED_PATH] = "unknown_path",      [HD_REFUSED_METHOD] = "wrong_method",
        [HD_REFUSED_BROWSER] = "other_site",     [HD_REFUSED_NO_KEY] = "no_key",
        [HD_REFUSED_WRONG_KEY] = "wrong_key",    [HD_REFUSED_DRAINING] = "draining",
        [HD_REFUSED_BODY] = "bad_body",          [HD_REFUSED_MODEL] = "no_model",
        [HD_REFUSED_PRECISION] = "no_precision", [HD_REFUSED_REQUEST] = "request"};
    size_t rows = 0;
    while (hd_routes[rows].method)
        rows++;
    write_routes(t, page, rows);
    hd_metrics_put(page, HD_M_OPEN_REQUESTS, NULL, (double)atomic_load(&t->open));
    hd_metrics_put(page, HD_M_BODY_BYTES, NULL, value_of(&t->body_bytes));
    hd_metrics_put(page, HD_M_KEYS_CHECKED, NULL, value_of(&t->keys_checked));
    for (size_t i = 0; i < HD_REFUSAL_COUNT; i++)
        hd_metrics_put_by(page, HD_M_REFUSALS, "cause", causes[i], value_of(&t->refused[i]));
    hd_metrics_put(page, HD_M_STREAMS_OPEN, NULL, (double)atomic_load(&t->streams_open));
    write_dialects(t, page);
    hd_metrics_put(page, HD_M_PAGES, NULL, value_of(&t->pages));
    hd_metrics_put(page, HD_M_PAGE_SECONDS, NULL, atomic_load(&t->page_seconds));
    hd_metrics_put(page, HD_M_PAGE_BYTES, NULL, value_of(&t->page_bytes));
}
