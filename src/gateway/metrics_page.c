/* gateway/metrics_page.c: GET /metrics: figures under vLLM's names, so that boards and scalers made for it read them.
 *
 * Names, types and help are those of base/metric_families.h; a row here says where a family's value comes from, and is
 * printed once with all models under it.  What the gateway can't know, of process and machine, comes from a callback.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log_counts.h"
#include "base/metric_families.h"
#include "gateway/adapters.h"
#include "gateway/gateway_internal.h"
#include "gateway/pair.h"
#include "store/store.h"

#define PAGE_MAX ((size_t)8 << 20)
#define OPERATORS 16   /* classes that are shown */
#define MODELS_MAX 128 /* that one page shows, both of a pair */

/* A model of a page.  A hd_served lives as long as the gateway, and so do its counts, also when it is unloaded
 * meanwhile; what it says of itself is that of the next loading then, so it is copied while the model is held. */
typedef struct row {
    char labels[512];
    char precision[32];
    hd_engine_info info;
    hd_scheduler_usage usage;
    hd_operator_usage operators[OPERATORS];
    int operator_count;
    uint64_t sampled, sampled_ns;
    uint64_t passed_ns; /* hd_clock of the last token */
    const hd_model_metrics *metrics;
    const _Atomic uint64_t *asked;
    hd_pair *pair; /* of the full one of two precisions; NULL: one precision, or the cheaper one */
} row;

typedef struct figures {
    row rows[MODELS_MAX];
    int count;
} figures;

/* ---- per model: numbers ---- */

typedef double (*number_fn)(const row *r);

static double running(const row *r)
{
    return r->usage.running;
}
static double waiting(const row *r)
{
    return r->usage.waiting;
}
static double paused(const row *r)
{
    return r->usage.paused;
}
static double cache_pages(const row *r)
{
    return (double)r->usage.cache.pages;
}
static double cache_bytes(const row *r)
{
    return (double)r->usage.cache.pages * (double)r->usage.cache.page_bytes;
}

/* Without a limit of its own the cache is as full as it is beside one session of full length. */
static double cache_share(const row *r)
{
    const hd_cache_usage *c = &r->usage.cache;
    double limit = (double)c->pages_limit;
    if (limit <= 0) limit = (double)r->info.context / (double)HD_MAX(c->page_tokens, 1);
    double share = limit > 0 ? (double)c->pages / limit : 0;
    return HD_MIN(share, 1.0);
}
static double preemptions(const row *r)
{
    return (double)r->usage.preemptions;
}
static double prefix_queries(const row *r)
{
    return (double)r->usage.prompt_tokens;
}
static double prefix_hits(const row *r)
{
    return (double)r->usage.cached_tokens;
}
static double answer_tokens(const row *r)
{
    return (double)r->usage.answer_tokens;
}
static double step_count(const row *r)
{
    return (double)r->usage.steps;
}
static double busy_seconds(const row *r)
{
    return (double)r->usage.busy_ns / 1e9;
}
static double rejected(const row *r)
{
    return (double)atomic_load(&r->metrics->rejected);
}
static double weight_bytes(const row *r)
{
    return (double)r->info.weight_bytes;
}

static double get_evaluated(const row *r)
{
    return (double)atomic_load(&r->metrics->evaluated);
}
static double get_engine_requests(const row *r)
{
    return (double)r->usage.requests;
}
static double get_stalled(const row *r)
{
    return r->usage.work_since_ns ? (double)(hd_clock_ns() - r->usage.work_since_ns) / 1e9 : 0;
}
static double get_sampled_steps(const row *r)
{
    return (double)r->sampled;
}
static double get_sampled_seconds(const row *r)
{
    return (double)r->sampled_ns / 1e9;
}
static double get_cache_free(const row *r)
{
    return (double)r->usage.cache.pages_free;
}
static double get_cache_limit(const row *r)
{
    return r->usage.cache.pages_limit ? (double)r->usage.cache.pages_limit : NAN /* not shown */;
}
static double get_cache_page_bytes(const row *r)
{
    return (double)r->usage.cache.page_bytes;
}
static double get_prefix_pages(const row *r)
{
    return (double)r->usage.prefix_pages;
}
static double get_packed_bytes(const row *r)
{
    return (double)r->info.packed_bytes;
}
static double get_scratch_bytes(const row *r)
{
    return (double)r->info.scratch_bytes;
}
static double get_model_parameters(const row *r)
{
    return (double)r->info.parameters;
}
static double get_model_context(const row *r)
{
    return (double)r->info.context;
}
static double get_model_threads(const row *r)
{
    return r->info.threads;
}
static double get_model_loads(const row *r)
{
    return (double)atomic_load(&r->metrics->loads);
}
static double get_model_load_failures(const row *r)
{
    return (double)atomic_load(&r->metrics->load_failures);
}
static double get_model_load_seconds(const row *r)
{
    return atomic_load(&r->metrics->load_seconds);
}
static double get_model_idle(const row *r)
{
    return (double)(hd_clock_ns() - r->passed_ns) / 1e9;
}

typedef struct number_row {
    hd_metric metric;
    number_fn value;
} number_row;

static const number_row numbers[] = {
    {HD_M_RUNNING, running},
    {HD_M_WAITING, waiting},
    {HD_M_SWAPPED, paused},
    {HD_M_CACHE_SHARE, cache_share},
    {HD_M_CACHE_PAGES, cache_pages},
    {HD_M_CACHE_BYTES, cache_bytes},
    {HD_M_PREFIX_QUERIES, prefix_queries},
    {HD_M_PREFIX_HITS, prefix_hits},
    {HD_M_PROMPT_TOKENS, prefix_queries},
    {HD_M_CACHED_TOKENS, prefix_hits},
    {HD_M_ANSWER_TOKENS, answer_tokens},
    {HD_M_PREEMPTIONS, preemptions},
    {HD_M_REJECTED, rejected},
    {HD_M_STEPS, step_count},
    {HD_M_BUSY, busy_seconds},
    {HD_M_WEIGHT_BYTES, weight_bytes},
    {HD_M_EVALUATED, get_evaluated},
    {HD_M_ENGINE_REQUESTS, get_engine_requests},
    {HD_M_STALLED, get_stalled},
    {HD_M_SAMPLED_STEPS, get_sampled_steps},
    {HD_M_SAMPLED_SECONDS, get_sampled_seconds},
    {HD_M_CACHE_FREE, get_cache_free},
    {HD_M_CACHE_LIMIT, get_cache_limit},
    {HD_M_CACHE_PAGE_BYTES, get_cache_page_bytes},
    {HD_M_PREFIX_PAGES, get_prefix_pages},
    {HD_M_PACKED_BYTES, get_packed_bytes},
    {HD_M_SCRATCH_BYTES, get_scratch_bytes},
    {HD_M_MODEL_PARAMETERS, get_model_parameters},
    {HD_M_MODEL_CONTEXT, get_model_context},
    {HD_M_MODEL_THREADS, get_model_threads},
    {HD_M_MODEL_LOADS, get_model_loads},
    {HD_M_MODEL_LOAD_FAILURES, get_model_load_failures},
    {HD_M_MODEL_LOAD_SECONDS, get_model_load_seconds},
    {HD_M_MODEL_IDLE, get_model_idle},
};

/* ---- per model: histograms ---- */

typedef struct histogram_row {
    hd_metric metric;
    size_t offset;
} histogram_row;

#define ROW(member) offsetof(hd_model_metrics, member)

static const histogram_row histograms[] = {
    {HD_M_FIRST_TOKEN, ROW(first_token)},
    {HD_M_INTER_TOKEN, ROW(inter_token)},
    {HD_M_PER_TOKEN_OLD, ROW(inter_token)},
    {HD_M_PER_TOKEN, ROW(per_token)},
    {HD_M_E2E, ROW(e2e)},
    {HD_M_QUEUE_TIME, ROW(queue)},
    {HD_M_PREFILL_TIME, ROW(prefill)},
    {HD_M_DECODE_TIME, ROW(decode)},
    {HD_M_INFERENCE_TIME, ROW(inference)},
    {HD_M_STEP_TOKENS, ROW(step_tokens)},
    {HD_M_PROMPT_LENGTH, ROW(prompt_tokens)},
    {HD_M_ANSWER_LENGTH, ROW(answer_tokens)},
    {HD_M_MAX_TOKENS, ROW(max_tokens)},
    {HD_M_MAX_TOKENS_OLD, ROW(max_tokens)},
    {HD_M_STEP_REQUESTS, ROW(step_requests)},
    {HD_M_CHOICES, ROW(choices)},
    {HD_M_COMPUTED, ROW(computed)},
};

static void hold(void *arg, hd_served *model)
{
    figures *f = arg;
    if (f->count == MODELS_MAX) return;
    row *r = &f->rows[f->count];
    bool cheaper = model->pair && model == model->pair->cheaper;
    hd_buf labels;
    hd_buf_init(&labels, sizeof r->labels - 1);
    hd_metrics_label(&labels, "model_name", model->name);
    /* two engines behind one model are numbered, as those of vLLM are */
    hd_metrics_label(&labels, "engine", cheaper ? "1" : "0");
    if (labels.status == HD_OK) {
        *r = (row){.info = model->info,
                   .passed_ns = atomic_load(&model->passed_ns),
                   .metrics = &model->metrics,
                   .asked = &model->asked,
                   .pair = cheaper ? NULL : model->pair};
        memcpy(r->labels, labels.data, labels.len + 1);
        snprintf(r->precision, sizeof r->precision, "%s", model->precision);
        hd_scheduler_get_usage(model->scheduler, &r->usage);
        hd_scheduler_get_sampled(model->scheduler, &r->sampled, &r->sampled_ns);
        while (r->operator_count < OPERATORS &&
               hd_scheduler_get_operator(model->scheduler, r->operator_count, &r->operators[r->operator_count]))
            r->operator_count++;
        f->count++;
    }
    hd_buf_free(&labels);
}

static void write_finished(hd_metrics_page *page, const figures *f)
{
    static const char *const reasons[] = {"stop", "length", "abort", "error"};
    for (int i = 0; i < f->count; i++) {
        const hd_model_metrics *m = f->rows[i].metrics;
        const _Atomic uint64_t *counts[] = {&m->stopped, &m->lengthy, &m->aborted, &m->failed};
        for (size_t k = 0; k < HD_ARRAY_LEN(reasons); k++) {
            char labels[600];
            snprintf(labels, sizeof labels, "%s,finished_reason=\"%s\"", f->rows[i].labels, reasons[k]);
            hd_metrics_put(page, HD_M_SUCCESS, labels, (double)atomic_load(counts[k]));
        }
    }
}

static void write_cache_info(hd_metrics_page *page, const figures *f)
{
    for (int i = 0; i < f->count; i++) {
        const hd_cache_usage *c = &f->rows[i].usage.cache;
        char labels[700];
        snprintf(labels, sizeof labels, "%s,block_size=\"%lld\",num_gpu_blocks=\"%lld\"", f->rows[i].labels,
                 (long long)c->page_tokens, (long long)c->pages_limit);
        hd_metrics_put(page, HD_M_CACHE_CONFIG, labels, 1);
    }
}

typedef double (*pair_fn)(const hd_pair_figures *figures);

static double pair_cheaper(const hd_pair_figures *p)
{
    return p->cheaper;
}
static double pair_load(const hd_pair_figures *p)
{
    return p->load;
}
static double pair_switches(const hd_pair_figures *p)
{
    return (double)p->switches;
}

static const struct {
    hd_metric metric;
    pair_fn value;
} pair_rows[] = {
    {HD_M_PRECISION_CHEAPER, pair_cheaper},
    {HD_M_PRECISION_LOAD, pair_load},
    {HD_M_PRECISION_SWITCHES, pair_switches},
};

/* Of each model what it was asked in which precision; of pairs where new requests go. */
static void write_precisions(hd_metrics_page *page, const figures *f)
{
    for (int i = 0; i < f->count; i++) {
        const row *r = &f->rows[i];
        char labels[600];
        snprintf(labels, sizeof labels, "%s,precision=\"%s\"", r->labels, r->precision);
        hd_metrics_put(page, HD_M_PRECISION_ASKED, labels, (double)atomic_load(r->asked));
    }
    for (size_t k = 0; k < HD_ARRAY_LEN(pair_rows); k++) {
        for (int i = 0; i < f->count; i++) {
            hd_pair_figures now;
            if (!f->rows[i].pair) continue;
            hd_pair_get_figures(f->rows[i].pair, &now);
            hd_metrics_put(page, pair_rows[k].metric, f->rows[i].labels, pair_rows[k].value(&now));
        }
    }
}

static void write_steps(hd_metrics_page *page, const figures *f)
{
    static const char *const kinds[] = {"prefill", "decode"};
    for (int i = 0; i < f->count; i++)
        for (size_t k = 0; k < HD_ARRAY_LEN(kinds); k++) {
            char labels[600];
            snprintf(labels, sizeof labels, "%s,kind=\"%s\"", f->rows[i].labels, kinds[k]);
            hd_metrics_put_histogram(page, HD_M_STEP_SECONDS, labels, &f->rows[i].metrics->step_seconds[k]);
        }
}

/* Classes that this model has. */
static void write_operators(hd_metrics_page *page, const figures *f, hd_metric metric)
{
    for (int i = 0; i < f->count; i++)
        for (int k = 0; k < f->rows[i].operator_count; k++) {
            const hd_operator_usage *u = &f->rows[i].operators[k];
            char labels[600];
            if (!u->calls) continue;
            snprintf(labels, sizeof labels, "%s,operator=\"%s\"", f->rows[i].labels, u->name);
            hd_metrics_put(page, metric, labels,
                           metric == HD_M_OPERATOR_CALLS ? (double)u->calls : (double)u->ns / 1e9);
        }
}

static void write_infos(hd_metrics_page *page, const figures *f)
{
    for (int i = 0; i < f->count; i++) {
        const row *r = &f->rows[i];
        char labels[800];
        snprintf(labels, sizeof labels, "%s,architecture=\"%s\",cpu=\"%s\",precision=\"%s\",cache_type=\"%s\"",
                 r->labels, r->info.architecture, r->info.cpu, r->precision, r->info.cache_type);
        hd_metrics_put(page, HD_M_MODEL_INFO, labels, 1);
    }
}

static void write_models(hd_metrics_page *page, const figures *f)
{
    for (size_t k = 0; k < HD_ARRAY_LEN(numbers); k++) {
        for (int i = 0; i < f->count; i++)
            hd_metrics_put(page, numbers[k].metric, f->rows[i].labels, numbers[k].value(&f->rows[i]));
    }
    for (size_t k = 0; k < HD_ARRAY_LEN(histograms); k++) {
        for (int i = 0; i < f->count; i++) {
            const void *base = f->rows[i].metrics;
            hd_metrics_put_histogram(page, histograms[k].metric, f->rows[i].labels,
                                     (const hd_histogram *)((const char *)base + histograms[k].offset));
        }
    }
    write_finished(page, f);
    write_cache_info(page, f);
    write_precisions(page, f);
    write_steps(page, f);
    write_operators(page, f, HD_M_OPERATOR_SECONDS);
    write_operators(page, f, HD_M_OPERATOR_CALLS);
    write_infos(page, f);
}

/* ---- adapters ---- */

#define NAMES_MAX ((size_t)4096) /* bytes of names in one label: labels stay bounded, whoever loads how many */

typedef struct adapter_figures {
    int by_state[HD_MODEL_FAILED + 1];
    hd_buf running, waiting; /* names, with commas between them */
} adapter_figures;

/* Names that don't fit, or that have a comma themselves, are left out. */
static void add_name(hd_buf *names, const char *name)
{
    if (strchr(name, ',') || names->len + strlen(name) + 1 > NAMES_MAX) return;
    (void)hd_buf_printf(names, "%s%s", names->len ? "," : "", name);
}

static void count_adapter(void *arg, const hd_model_view *view)
{
    adapter_figures *f = arg;
    f->by_state[view->state]++;
    if (view->running > 0) add_name(&f->running, view->name);
    if (view->waiting > 0) add_name(&f->waiting, view->name);
}

/* vLLM's gauge, by which a gateway in front finds the replica that has an adapter at hand: its value is the time. */
static void write_use(hd_metrics_page *page, const adapter_figures *f, int max)
{
    hd_buf labels;
    char number[16];
    snprintf(number, sizeof number, "%d", max);
    hd_buf_init(&labels, 8 * NAMES_MAX); /* escaped */
    hd_metrics_label(&labels, "max_lora", number);
    hd_metrics_label(&labels, "waiting_lora_adapters", f->waiting.data ? f->waiting.data : "");
    hd_metrics_label(&labels, "running_lora_adapters", f->running.data ? f->running.data : "");
    if (labels.status == HD_OK) hd_metrics_put(page, HD_M_LORA_INFO, labels.data, (double)hd_clock_unix_ms() / 1e3);
    hd_buf_free(&labels);
}

static void write_adapters(hd_metrics_page *page, const hd_gateway *g)
{
    static const char *const names[] = {[HD_MODEL_UNLOADED] = "unloaded",
                                        [HD_MODEL_LOADING] = "loading",
                                        [HD_MODEL_READY] = "ready",
                                        [HD_MODEL_FAILED] = "failed"};
    adapter_figures f = {.by_state = {0}};
    if (!g->options.engine.lora_rank) return; /* there are none, and can't be */
    hd_buf_init(&f.running, NAMES_MAX);
    hd_buf_init(&f.waiting, NAMES_MAX);
    hd_adapters_list(hd_models_adapters(g->models), count_adapter, &f);
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        if (names[i]) hd_metrics_put_by(page, HD_M_LORAS, "status", names[i], f.by_state[i]);
    }
    write_use(page, &f, hd_adapters_max(hd_models_adapters(g->models)));
    hd_buf_free(&f.running);
    hd_buf_free(&f.waiting);
}

/* ---- the door ---- */

static void write_bad(hd_metrics_page *page, const hd_server_usage *u)
{
    static const int statuses[HD_REFUSAL_STATUS_COUNT] = HD_REFUSAL_STATUSES;
    static const char *const stages[HD_SLOW_COUNT] = {[HD_SLOW_HANDSHAKE] = "handshake",
                                                      [HD_SLOW_HEAD] = "head",
                                                      [HD_SLOW_BODY] = "body",
                                                      [HD_SLOW_READER] = "reply",
                                                      [HD_SLOW_IDLE] = "idle"};
    for (int i = 0; i < HD_REFUSAL_STATUS_COUNT; i++) {
        char status[16] = "other";
        if (statuses[i]) snprintf(status, sizeof status, "%d", statuses[i]);
        hd_metrics_put_by(page, HD_M_BAD_STATUS, "status", status, (double)u->by_status[i]);
    }
    for (int i = 0; i < HD_SLOW_COUNT; i++)
        hd_metrics_put_by(page, HD_M_SLOW, "stage", stages[i], (double)u->slow[i]);
}

static void write_server(hd_metrics_page *page, const hd_gateway *g)
{
    hd_server_usage u = {0};
    const hd_server *server = atomic_load(&((hd_gateway *)(uintptr_t)g)->server);
    if (server) hd_server_get_usage(server, &u);
    hd_metrics_put(page, HD_M_CONNECTIONS, NULL, (double)u.connections);
    hd_metrics_put(page, HD_M_ACCEPTED, NULL, (double)u.accepted);
    hd_metrics_put(page, HD_M_REFUSED, NULL, (double)u.refused);
    hd_metrics_put_by(page, HD_M_REFUSED_BY_LIMIT, "limit", "connections", (double)(u.refused - u.refused_address));
    hd_metrics_put_by(page, HD_M_REFUSED_BY_LIMIT, "limit", "address", (double)u.refused_address);
    if (server) hd_metrics_put(page, HD_M_CONNECTIONS_MAX, NULL, (double)u.connections_max);
    hd_metrics_put(page, HD_M_HANDED_ON, NULL, (double)u.requests);
    write_bad(page, &u);
    hd_metrics_put(page, HD_M_BAD, NULL, (double)u.bad);
    hd_metrics_put(page, HD_M_GONE, NULL, (double)u.gone);
    hd_metrics_put(page, HD_M_RECEIVED, NULL, (double)u.received);
    hd_metrics_put(page, HD_M_SENT, NULL, (double)u.sent);
    hd_metrics_put(page, HD_M_HANDSHAKES, NULL, (double)u.handshakes);
    hd_metrics_put(page, HD_M_HANDSHAKES_FAILED, NULL, (double)u.handshakes_failed);
    if (u.certificate_expires) hd_metrics_put(page, HD_M_CERTIFICATE, NULL, (double)u.certificate_expires);
}

/* Under two names: that which scalers of Kubernetes ask for, and ours. */
static void write_replies(hd_metrics_page *page, hd_gateway *g)
{
    static const char *const classes[] = {NULL, "1xx", "2xx", "3xx", "4xx", "5xx"};
    for (size_t i = 1; i < HD_ARRAY_LEN(classes); i++)
        hd_metrics_put_by(page, HD_M_REPLIES, "status", classes[i], (double)atomic_load(&g->replies[i]));
    for (size_t i = 1; i < HD_ARRAY_LEN(classes); i++)
        hd_metrics_put_by(page, HD_M_RESPONSES, "class", classes[i], (double)atomic_load(&g->replies[i]));
}

/* Spans that were sent to the collector or lost, with --otlp-endpoint. */
static void write_traces(hd_metrics_page *page, const hd_gateway *g)
{
    hd_span_counts spans;
    if (!g->options.spans) return;
    g->options.spans->count(g->options.spans->arg, &spans);
    hd_metrics_put(page, HD_M_SPANS_EXPORTED, NULL, (double)spans.exported);
    hd_metrics_put(page, HD_M_SPANS_DROPPED, NULL, (double)spans.dropped);
}

/* ---- what else the program tells of itself ---- */

typedef struct model_states {
    int by_state[HD_MODEL_FAILED + 1];
} model_states;

static void count_model(void *arg, const hd_model_view *view)
{
    model_states *s = arg;
    if (!view->alias && !view->parent) s->by_state[view->state]++; /* adapters have a family of their own */
}

static void write_states(hd_metrics_page *page, hd_gateway *g)
{
    static const char *const names[] = {[HD_MODEL_UNLOADED] = "unloaded",
                                        [HD_MODEL_LOADING] = "loading",
                                        [HD_MODEL_READY] = "ready",
                                        [HD_MODEL_UNLOADING] = "unloading",
                                        [HD_MODEL_FAILED] = "failed"};
    model_states s = {{0}};
    hd_models_list(g->models, count_model, &s);
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        hd_metrics_put_by(page, HD_M_MODELS, "status", names[i], s.by_state[i]);
}

static void write_program(hd_metrics_page *page, const hd_gateway *g)
{
    static const char *const levels[HD_LOG_LEVELS] = {"error", "warning", "info", "debug"};
    uint64_t lines[HD_LOG_LEVELS];
    hd_store_usage store;
    hd_log_get_counts(lines);
    hd_store_get_usage(&store);
    hd_metrics_put(page, HD_M_DRAINING, NULL, atomic_load(&((hd_gateway *)(uintptr_t)g)->draining));
    if (g->options.version) hd_metrics_put_by(page, HD_M_BUILD_INFO, "version", g->options.version, 1);
    hd_metrics_put(page, HD_M_STORE_QUERIES, NULL, (double)store.queries);
    hd_metrics_put(page, HD_M_STORE_ERRORS, NULL, (double)store.errors);
    hd_metrics_put(page, HD_M_STORE_SECONDS, NULL, store.seconds);
    for (int i = 0; i < HD_LOG_LEVELS; i++)
        hd_metrics_put_by(page, HD_M_LOG_LINES, "level", levels[i], (double)lines[i]);
}

hd_status hd_metrics_write(hd_buf *out, hd_gateway *g, hd_error *err)
{
    uint64_t start = hd_clock_ns();
    figures *f = hd_calloc(1, sizeof *f);
    if (!f) return hd_fail(err, HD_E_MEMORY, "out of memory for the metrics page");
    hd_metrics_page page = hd_metrics_page_begin(out);
    hd_models_each(g->models, hold, f);
    write_models(&page, f);
    write_adapters(&page, g);
    write_server(&page, g);
    write_replies(&page, g);
    write_traces(&page, g);
    write_states(&page, g);
    hd_traffic_write(&g->traffic, &page);
    write_program(&page, g);
    if (g->options.more_metrics) g->options.more_metrics(g->options.more_metrics_arg, out);
    hd_free(f);
    hd_tally_add(&g->traffic.pages, 1);
    atomic_store(&g->traffic.page_seconds, (double)(hd_clock_ns() - start) / 1e9);
    atomic_store(&g->traffic.page_bytes, out->len);
    return out->status == HD_OK ? HD_OK : hd_fail(err, out->status, "the metrics page is too large");
}

hd_status hd_gateway_write_metrics(hd_gateway *gateway, hd_buf *out, hd_error *err)
{
    return hd_metrics_write(out, gateway, err);
}

hd_status hd_page_metrics(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    hd_buf out;
    hd_buf_init(&out, PAGE_MAX);
    hd_status status = hd_metrics_write(&out, call->gateway, err);
    if (status == HD_OK) hd_call_reply_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
    hd_buf_free(&out);
    return status;
}
