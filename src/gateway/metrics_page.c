/* gateway/metrics_page.c: GET /metrics: figures under vLLM's names, so that boards and scalers made for it read them.
 *
 * A family is a row of a table; each row is printed once with all models under it.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/adapters.h"
#include "gateway/gateway_internal.h"
#include "gateway/pair.h"

#define PAGE_MAX ((size_t)8 << 20)
#define MODELS_MAX 128 /* that one page shows, both of a pair */

/* A model of a page.  A hd_served lives as long as the gateway, and so do its counts, also when it is unloaded
 * meanwhile; what it says of itself is that of the next loading then, so it is copied while the model is held. */
typedef struct row {
    char labels[512];
    char precision[32];
    int64_t context;
    uint64_t weight_bytes;
    hd_scheduler_usage usage;
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
    if (limit <= 0) limit = (double)r->context / (double)HD_MAX(c->page_tokens, 1);
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
    return (double)r->weight_bytes;
}

typedef struct number_row {
    const char *name, *type, *help;
    number_fn value;
} number_row;

static const number_row numbers[] = {
    {"vllm:num_requests_running", "gauge", "Requests in the batch.", running},
    {"vllm:num_requests_waiting", "gauge", "Requests that wait for their turn.", waiting},
    {"vllm:num_requests_swapped", "gauge", "Requests that left the batch until their client reads on.", paused},
    {"vllm:kv_cache_usage_perc", "gauge", "Share of the cache that is in use, 0 to 1.", cache_share},
    {"hadal:kv_cache_pages", "gauge", "Pages of the cache in use.", cache_pages},
    {"hadal:kv_cache_bytes", "gauge", "Bytes of the cache in use.", cache_bytes},
    {"vllm:prefix_cache_queries_total", "counter", "Tokens of prompts looked up in the prefix cache.", prefix_queries},
    {"vllm:prefix_cache_hits_total", "counter", "Tokens of prompts found there.", prefix_hits},
    {"vllm:prompt_tokens_total", "counter", "Tokens of prompts.", prefix_queries},
    {"vllm:prompt_tokens_cached_total", "counter", "Tokens of prompts that were not evaluated again.", prefix_hits},
    {"vllm:generation_tokens_total", "counter", "Tokens of answers.", answer_tokens},
    {"vllm:num_preemptions_total", "counter", "Requests that had to leave the cache and were evaluated again.",
     preemptions},
    {"vllm:admission_rejections_total", "counter", "Requests refused because the queue was full.", rejected},
    {"hadal:engine_steps_total", "counter", "Passes through the model.", step_count},
    {"hadal:engine_busy_seconds_total", "counter", "Seconds spent in passes.", busy_seconds},
    {"hadal:model_weight_bytes", "gauge", "Bytes of the model's weights in its files.", weight_bytes},
};

/* ---- per model: histograms ---- */

typedef struct histogram_row {
    const char *name, *help;
    size_t offset;
} histogram_row;

#define ROW(member) offsetof(hd_model_metrics, member)

static const histogram_row histograms[] = {
    {"vllm:time_to_first_token_seconds", "From the request's first byte to the first token.", ROW(first_token)},
    {"vllm:inter_token_latency_seconds", "Between two tokens of an answer.", ROW(inter_token)},
    {"vllm:time_per_output_token_seconds", "The same under its older name.", ROW(inter_token)},
    {"vllm:request_time_per_output_token_seconds", "The mean of that for each request.", ROW(per_token)},
    {"vllm:e2e_request_latency_seconds", "From the request's first byte to its end.", ROW(e2e)},
    {"vllm:request_queue_time_seconds", "Waiting for a place in the batch.", ROW(queue)},
    {"vllm:request_prefill_time_seconds", "From then to the first token.", ROW(prefill)},
    {"vllm:request_decode_time_seconds", "From the first token to the last.", ROW(decode)},
    {"vllm:request_inference_time_seconds", "From the place in the batch to the last token.", ROW(inference)},
    {"vllm:iteration_tokens_total", "Tokens of a pass, of prompts and answers.", ROW(step_tokens)},
    {"vllm:request_prompt_tokens", "Tokens of a prompt.", ROW(prompt_tokens)},
    {"vllm:request_generation_tokens", "Tokens of an answer.", ROW(answer_tokens)},
    {"vllm:request_max_num_generation_tokens", "Tokens that an answer may have.", ROW(max_tokens)},
    {"vllm:request_params_max_tokens", "The same under its older name.", ROW(max_tokens)},
    {"vllm:request_params_n", "Answers that a request wants.", ROW(choices)},
    {"vllm:request_prefill_kv_computed_tokens", "Tokens of a prompt that were not cached.", ROW(computed)},
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
        *r = (row){.context = model->info.context,
                   .weight_bytes = model->info.weight_bytes,
                   .metrics = &model->metrics,
                   .asked = &model->asked,
                   .pair = cheaper ? NULL : model->pair};
        memcpy(r->labels, labels.data, labels.len + 1);
        snprintf(r->precision, sizeof r->precision, "%s", model->precision);
        hd_scheduler_get_usage(model->scheduler, &r->usage);
        f->count++;
    }
    hd_buf_free(&labels);
}

static void write_finished(hd_buf *out, const figures *f)
{
    static const char *const reasons[] = {"stop", "length", "abort", "error"};
    hd_metrics_family(out, "vllm:request_success_total", "counter", "Requests that have ended, by the reason.");
    for (int i = 0; i < f->count; i++) {
        const hd_model_metrics *m = f->rows[i].metrics;
        const _Atomic uint64_t *counts[] = {&m->stopped, &m->lengthy, &m->aborted, &m->failed};
        for (size_t k = 0; k < HD_ARRAY_LEN(reasons); k++) {
            char labels[600];
            snprintf(labels, sizeof labels, "%s,finished_reason=\"%s\"", f->rows[i].labels, reasons[k]);
            hd_metrics_sample(out, "vllm:request_success_total", labels, (double)atomic_load(counts[k]));
        }
    }
}

static void write_cache_info(hd_buf *out, const figures *f)
{
    hd_metrics_family(out, "vllm:cache_config_info", "gauge", "How the cache is made.");
    for (int i = 0; i < f->count; i++) {
        const hd_cache_usage *c = &f->rows[i].usage.cache;
        char labels[700];
        snprintf(labels, sizeof labels, "%s,block_size=\"%lld\",num_gpu_blocks=\"%lld\"", f->rows[i].labels,
                 (long long)c->page_tokens, (long long)c->pages_limit);
        hd_metrics_sample(out, "vllm:cache_config_info", labels, 1);
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
    const char *name, *type, *help;
    pair_fn value;
} pair_rows[] = {
    {"hadal:precision_cheaper", "gauge", "1: new requests go to the cheaper precision.", pair_cheaper},
    {"hadal:precision_load", "gauge", "Requests that count, of both precisions.", pair_load},
    {"hadal:precision_switches_total", "counter", "Changes of where new requests go, both ways.", pair_switches},
};

static bool any_pair(const figures *f)
{
    for (int i = 0; i < f->count; i++)
        if (f->rows[i].pair) return true;
    return false;
}

/* Of each model what it was asked in which precision; of pairs where new requests go. */
static void write_precisions(hd_buf *out, const figures *f)
{
    hd_metrics_family(out, "hadal:requests_precision_total", "counter",
                      "Requests given to the model, by the precision of its weights.");
    for (int i = 0; i < f->count; i++) {
        const row *r = &f->rows[i];
        char labels[600];
        snprintf(labels, sizeof labels, "%s,precision=\"%s\"", r->labels, r->precision);
        hd_metrics_sample(out, "hadal:requests_precision_total", labels, (double)atomic_load(r->asked));
    }
    for (size_t k = 0; k < HD_ARRAY_LEN(pair_rows) && any_pair(f); k++) {
        hd_metrics_family(out, pair_rows[k].name, pair_rows[k].type, pair_rows[k].help);
        for (int i = 0; i < f->count; i++) {
            hd_pair_figures now;
            if (!f->rows[i].pair) continue;
            hd_pair_get_figures(f->rows[i].pair, &now);
            hd_metrics_sample(out, pair_rows[k].name, f->rows[i].labels, pair_rows[k].value(&now));
        }
    }
}

static void write_models(hd_buf *out, const figures *f)
{
    for (size_t k = 0; k < HD_ARRAY_LEN(numbers); k++) {
        hd_metrics_family(out, numbers[k].name, numbers[k].type, numbers[k].help);
        for (int i = 0; i < f->count; i++)
            hd_metrics_sample(out, numbers[k].name, f->rows[i].labels, numbers[k].value(&f->rows[i]));
    }
    for (size_t k = 0; k < HD_ARRAY_LEN(histograms); k++) {
        hd_metrics_family(out, histograms[k].name, "histogram", histograms[k].help);
        for (int i = 0; i < f->count; i++) {
            const void *base = f->rows[i].metrics;
            hd_metrics_histogram(out, histograms[k].name, f->rows[i].labels,
                                 (const hd_histogram *)((const char *)base + histograms[k].offset));
        }
    }
    write_finished(out, f);
    write_cache_info(out, f);
    write_precisions(out, f);
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
static void write_use(hd_buf *out, const adapter_figures *f, int max)
{
    hd_buf labels;
    char number[16];
    snprintf(number, sizeof number, "%d", max);
    hd_buf_init(&labels, 8 * NAMES_MAX); /* escaped */
    hd_metrics_label(&labels, "max_lora", number);
    hd_metrics_label(&labels, "waiting_lora_adapters", f->waiting.data ? f->waiting.data : "");
    hd_metrics_label(&labels, "running_lora_adapters", f->running.data ? f->running.data : "");
    hd_metrics_family(out, "vllm:lora_requests_info", "gauge", "Adapters with requests, and when that was so.");
    if (labels.status == HD_OK)
        hd_metrics_sample(out, "vllm:lora_requests_info", labels.data, (double)hd_clock_unix_ms() / 1e3);
    hd_buf_free(&labels);
}

static void write_adapters(hd_buf *out, const hd_gateway *g)
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
    hd_metrics_family(out, "hadal:lora_adapters", "gauge", "Adapters that are known, by what they are.");
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        char labels[32];
        if (!names[i]) continue;
        snprintf(labels, sizeof labels, "status=\"%s\"", names[i]);
        hd_metrics_sample(out, "hadal:lora_adapters", labels, f.by_state[i]);
    }
    write_use(out, &f, hd_adapters_max(hd_models_adapters(g->models)));
    hd_buf_free(&f.running);
    hd_buf_free(&f.waiting);
}

/* ---- the door and the process ---- */

static void write_one(hd_buf *out, const char *name, const char *type, const char *help, double value)
{
    hd_metrics_family(out, name, type, help);
    hd_metrics_sample(out, name, NULL, value);
}

static void write_server(hd_buf *out, const hd_gateway *g)
{
    hd_server_usage u = {0};
    const hd_server *server = atomic_load(&((hd_gateway *)(uintptr_t)g)->server);
    if (server) hd_server_get_usage(server, &u);
    write_one(out, "hadal:http_connections", "gauge", "Connections that are open.", (double)u.connections);
    write_one(out, "hadal:http_connections_total", "counter", "Connections accepted.", (double)u.accepted);
    write_one(out, "hadal:http_connections_refused_total", "counter", "Connections beyond a limit.", (double)u.refused);
    write_one(out, "hadal:http_bad_requests_total", "counter", "Requests refused by the parser or for being late.",
              (double)u.bad);
    write_one(out, "hadal:http_clients_gone_total", "counter", "Clients that left before their reply was complete.",
              (double)u.gone);
    write_one(out, "hadal:http_received_bytes_total", "counter", "Bytes of HTTP received.", (double)u.received);
    write_one(out, "hadal:http_sent_bytes_total", "counter", "Bytes of HTTP sent.", (double)u.sent);
    write_one(out, "hadal:tls_handshakes_total", "counter", "TLS handshakes completed.", (double)u.handshakes);
    write_one(out, "hadal:tls_handshakes_failed_total", "counter", "TLS handshakes that failed.",
              (double)u.handshakes_failed);
    hd_metrics_family(out, "http_requests_total", "counter", "Replies by the class of their status.");
    for (int i = 1; i < 6; i++) {
        char labels[32];
        snprintf(labels, sizeof labels, "status=\"%dxx\"", i);
        hd_metrics_sample(out, "http_requests_total", labels,
                          (double)atomic_load(&((hd_gateway *)(uintptr_t)g)->replies[i]));
    }
}

static double resident_bytes(void)
{
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%*d %lld", &pages) != 1) pages = 0;
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* Open files: connections are files, too. */
static double open_files(void)
{
    double count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        count++;
    if (dir) closedir(dir);
    return HD_MAX(count - 3, 0); /* ".", "..", and the folder itself */
}

static void write_process(hd_buf *out, const hd_gateway *g)
{
    struct rusage r;
    double cpu = 0, up = (double)(hd_clock_ns() - g->started_ns) / 1e9;
    if (getrusage(RUSAGE_SELF, &r) == 0)
        cpu = (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
    write_one(out, "process_cpu_seconds_total", "counter", "Seconds of processor time.", cpu);
    write_one(out, "process_resident_memory_bytes", "gauge", "Bytes of memory in use.", resident_bytes());
    write_one(out, "process_open_fds", "gauge", "Open files, connections among them.", open_files());
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        write_one(out, "process_max_fds", "gauge", "How many there may be.", (double)files.rlim_cur);
    write_one(out, "process_start_time_seconds", "gauge", "When the service started, seconds since 1970.",
              (double)hd_clock_unix_ms() / 1e3 - up);
}

/* Spans that were sent to the collector or lost, with --otlp-endpoint. */
static void write_traces(hd_buf *out, const hd_gateway *g)
{
    hd_span_counts spans;
    if (!g->options.spans) return;
    g->options.spans->count(g->options.spans->arg, &spans);
    write_one(out, "hadal:trace_spans_exported_total", "counter", "Spans that the collector took.",
              (double)spans.exported);
    write_one(out, "hadal:trace_spans_dropped_total", "counter",
              "Spans lost, for the queue was full or the collector did not take them.", (double)spans.dropped);
}

hd_status hd_metrics_write(hd_buf *out, hd_gateway *g, hd_error *err)
{
    figures *f = hd_calloc(1, sizeof *f);
    if (!f) return hd_fail(err, HD_E_MEMORY, "out of memory for the metrics page");
    hd_models_each(g->models, hold, f);
    write_models(out, f);
    write_adapters(out, g);
    write_server(out, g);
    write_traces(out, g);
    write_process(out, g);
    hd_free(f);
    return out->status == HD_OK ? HD_OK : hd_fail(err, out->status, "the metrics page is too large");
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
