/* gateway/served.c: a model opened for service: engine, tokenizer, scheduler, and what its vocabulary and template
 * tell. */
#include "gateway/served.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

/* ---- what the vocabulary tells ---- */

/* The id of a marker that is one token; -1: it is none. */
static int32_t marker_id(const hd_text *text, const char *marker)
{
    int32_t *ids = NULL, id = -1;
    size_t count = 0;
    if (hd_text_encode(text, marker, strlen(marker), true, false, &ids, &count, NULL) == HD_OK) {
        if (count == 1) id = ids[0];
        hd_ids_release(ids);
    }
    return id;
}

/* The markers of DeepSeek (V2.5's, V3's and Coder's tokenizers), Qwen and StarCoder, whose form SmolLM took over. */
static hd_fim find_fim(const hd_text *text)
{
    static const char *const forms[][3] = {
        {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},
        {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
        {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(forms); i++) {
        hd_fim fim = {marker_id(text, forms[i][0]), marker_id(text, forms[i][1]), marker_id(text, forms[i][2])};
        if (fim.prefix >= 0 && fim.suffix >= 0 && fim.middle >= 0) return fim;
    }
    return (hd_fim){-1, -1, -1};
}

/* A call as clients send it back, with its arguments as JSON text, rendered.  NULL: the template can't, or says nothing
 * of calls of a message with this content. */
static char *render_call(const hd_text *text, const char *content)
{
    char request[512], *out = NULL;
    size_t len = 0;
    int n = snprintf(request, sizeof request,
                     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":%s,"
                     "\"tool_calls\":[{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"c\","
                     "\"arguments\":\"{\\\"probe\\\": 7}\"}}]},"
                     "{\"role\":\"tool\",\"tool_call_id\":\"b\",\"content\":\"d\"}]}",
                     content);
    if (hd_chat_render(text, request, (size_t)n, &out, &len, NULL) != HD_OK) return NULL;
    if (strstr(out, "probe")) return out;
    hd_string_free(out);
    return NULL;
}

/* The API has arguments of calls as JSON text.  Some templates print that text as it is, others print a JSON value:
 * given text, they would quote it.  And some print calls only beside a content of null (DeepSeek's), others only beside
 * a text.  Rendering a call tells both. */
static void find_call_form(hd_served *s)
{
    static const char *const contents[] = {"null", "\"\""};
    s->parsed_arguments = true;
    s->null_content = true;
    for (size_t i = 0; hd_text_has_template(s->text) && i < HD_ARRAY_LEN(contents); i++) {
        char *out = render_call(s->text, contents[i]);
        if (!out) continue;
        s->parsed_arguments = strstr(out, "\"{\\\"probe") != NULL;
        s->null_content = i == 0;
        hd_string_free(out);
        return;
    }
}

static hd_status find_ends(hd_served *s, hd_error *err)
{
    size_t count = 0;
    const int32_t *more = s->text ? hd_text_eos(s->text, &count) : NULL;
    int32_t *ends = hd_alloc_array(s->info.eos_count + count + 1, sizeof *ends);
    if (!ends) return hd_fail(err, HD_E_MEMORY, "out of memory for the ids that end a text");
    if (s->info.eos_count) memcpy(ends, s->info.eos, s->info.eos_count * sizeof *ends);
    if (count) memcpy(ends + s->info.eos_count, more, count * sizeof *ends);
    s->ends = ends;
    s->end_count = s->info.eos_count + count; /* doubles do no harm */
    return HD_OK;
}

static hd_status read_text(hd_served *s, hd_error *err)
{
    hd_error why;
    s->fim = (hd_fim){-1, -1, -1};
    hd_status status = hd_text_open(&s->text, s->path, &why);
    if (status == HD_OK) {
        s->fim = find_fim(s->text);
        find_call_form(s);
    } else if (status == HD_E_NOT_FOUND || status == HD_E_UNSUPPORTED) {
        hd_log(HD_LOG_WARN, "model %s: no tokenizer, so prompts must be ids: %s", s->title, why.text);
    } else {
        return hd_fail(err, status, "%s", why.text);
    }
    return find_ends(s, err);
}

/* ---- one token, to see that it works ---- */

typedef struct probe {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    hd_error error;
} probe;

static hd_go_on on_token(void *arg, const hd_token_event *event)
{
    (void)arg, (void)event;
    return HD_GO_ON;
}

static void on_finish(void *arg, const hd_finish_event *event)
{
    probe *p = arg;
    pthread_mutex_lock(&p->lock);
    p->done = true;
    if (event->error)
        p->error = *event->error;
    else if (event->reason == HD_FINISH_CANCELLED)
        (void)hd_fail(&p->error, HD_E_CANCELLED, "the model is being shut");
    pthread_cond_signal(&p->over);
    pthread_mutex_unlock(&p->lock);
}

hd_status hd_served_evaluate(hd_served *s, const int32_t *ids, size_t count, const uint8_t salt[HD_SCHEDULER_SALT],
                             hd_error *err)
{
    probe p = {.lock = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER, .error.status = HD_OK};
    hd_request_options o = {.prompt = ids,
                            .prompt_count = (int64_t)count,
                            .max_tokens = 1,
                            .token = on_token,
                            .finish = on_finish,
                            .arg = &p};
    memcpy(o.salt, salt, sizeof o.salt);
    hd_sampling_defaults(s->engine, &o.sampling);
    o.sampling.temperature = 0;
    hd_request *request = NULL;
    HD_TRY(hd_request_open(&request, s->scheduler, &o, err));
    pthread_mutex_lock(&p.lock);
    while (!p.done)
        pthread_cond_wait(&p.over, &p.lock);
    pthread_mutex_unlock(&p.lock);
    hd_request_close(&request);
    if (p.error.status == HD_E_MODEL_LOST) atomic_store(&s->lost, true);
    if (p.error.status != HD_OK) return hd_fail(err, p.error.status, "%s", p.error.text);
    atomic_store(&s->passed_ns, hd_clock_ns());
    return HD_OK;
}

hd_status hd_served_probe(hd_served *s, hd_error *err)
{
    static const uint8_t nobody[HD_SCHEDULER_SALT] = "probe";
    int32_t first = s->end_count ? s->ends[0] : 0;
    return hd_served_evaluate(s, &first, 1, nobody, err);
}

/* ---- open and shut ---- */

static void on_step(void *arg, const hd_step_event *event)
{
    hd_served *s = arg;
    hd_model_metrics *m = &s->metrics;
    hd_histogram_add(&m->step_tokens, (double)(event->prompt_tokens + event->answer_tokens));
    hd_histogram_add(&m->step_seconds[event->prompt_tokens == 0], (double)event->duration_ns / 1e9);
    hd_histogram_add(&m->step_requests, event->batch);
    atomic_fetch_add_explicit(&m->evaluated, (uint64_t)event->prompt_tokens, memory_order_relaxed);
}

/* Limits that nobody set.  A quarter of the memory is for all else; weights are packed in memory, or read from a mapped
 * file that had better stay in memory.  Past prompts get a small part only: they are many, and few come again. */
static void limit_cache(hd_served *s, const hd_gateway_options *o, int models, hd_scheduler_options *scheduler)
{
    const hd_engine_info *info = &s->info;
    hd_cache_usage cache;
    hd_engine_get_cache(s->engine, &cache);
    uint64_t share = o->memory / (uint64_t)HD_MAX(models, 1);
    uint64_t weights = HD_MAX(info->weight_bytes, info->packed_bytes) + info->scratch_bytes;
    uint64_t room = share / 4 * 3 > weights ? share / 4 * 3 - weights : 0;
    room = HD_MAX(room, share / 8);
    if (!o->memory || !cache.page_bytes || !info->cache_bytes_per_token) return;
    if (!o->engine.cache_tokens) hd_engine_limit_cache(s->engine, (int64_t)(room / info->cache_bytes_per_token) + 1);
    if (!o->scheduler.prefix_pages) scheduler->prefix_pages = (int64_t)(share / 32 / cache.page_bytes) + 1;
}

static hd_status open_parts(hd_served *s, const hd_gateway_options *o, hd_error *err)
{
    hd_cache_usage cache;
    atomic_store(&s->lost, false);
    HD_TRY(hd_engine_open(&s->engine, s->path, &o->engine, err));
    hd_engine_get_info(s->engine, &s->info);
    snprintf(s->precision, sizeof s->precision, "%s", s->info.weight_type);
    hd_scheduler_options scheduler = o->scheduler;
    limit_cache(s, o, hd_models_count(s->owner), &scheduler);
    hd_engine_get_cache(s->engine, &cache);
    s->room = s->info.context;
    if (cache.pages_limit) s->room = HD_MIN(s->room, cache.pages_limit * cache.page_tokens);
    HD_TRY(read_text(s, err));
    scheduler.step = on_step;
    scheduler.step_arg = s;
    HD_TRY(hd_scheduler_open(&s->scheduler, s->engine, &scheduler, err));
    return hd_served_probe(s, err);
}

hd_status hd_served_open(hd_served *s, const hd_gateway_options *options, hd_error *err)
{
    uint64_t start = hd_clock_ns();
    hd_status status = open_parts(s, options, err);
    atomic_fetch_add(status == HD_OK ? &s->metrics.loads : &s->metrics.load_failures, 1);
    atomic_store(&s->metrics.load_seconds, (double)(hd_clock_ns() - start) / 1e9);
    if (status != HD_OK) hd_served_shut(s);
    return status;
}

void hd_served_shut(hd_served *s)
{
    hd_scheduler_close(&s->scheduler);
    hd_engine_close(&s->engine);
    hd_text_close(&s->text);
    hd_free((void *)(uintptr_t)s->ends);
    s->ends = NULL;
    s->end_count = 0;
}
