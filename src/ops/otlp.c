/* ops/otlp.c: the queue of spans and the thread that sends them; see otlp.h.
 *
 * Invariants: the queue holds encoded spans only, at most `settings.queue` and QUEUE_BYTES; each span that was given is
 * counted once, as exported or as dropped, when its fate is known.  The lock is never held over memory or network.
 */
#include "ops/otlp.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "net/send.h"
#include "ops/otlp_encode.h"

#define SPAN_USUAL 800 /* bytes of one with all attributes and no content: so that it does not grow step by step */
#define SPAN_MAX ((size_t)1 << 20)     /* bytes of one span, which content may make long */
#define QUEUE_BYTES ((size_t)64 << 20) /* bytes that wait: with content, 2,048 spans might be large */
#define BATCH_BYTES ((size_t)3 << 20)  /* of a request: collectors commonly take 4 MiB */
#define ATTEMPTS 5
#define FIRST_BACKOFF_MS 1000u
#define LAST_BACKOFF_MS 30000u
#define MAX_AFTER_MS 60000u /* a longer Retry-After would only fill the queue */

typedef struct waiting {
    char *data; /* owned */
    size_t len;
} waiting;

struct hd_otlp {
    const hd_otlp_settings *settings;
    hd_span_sink sink;
    hd_otlp_sender sender;
    hd_attribute resource[HD_OTLP_PAIRS + 4];
    char instance[2 * HD_TRACE_ID + 1];
    char host[256];
    const char *hosts[2]; /* the only host that may be reached */
    hd_net_rules rules;
    hd_http_pair headers[HD_OTLP_PAIRS];
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    waiting *ring; /* [settings->queue] */
    size_t first, count, bytes;
    bool closing;
    uint64_t close_by_ns; /* hd_clock; with closing */
    /* of the thread alone */
    bool failing; /* the last attempt did, and it was said */
    _Atomic uint64_t exported, dropped;
};

/* ---- what is given ---- */

static void take(void *arg, const hd_span *span)
{
    hd_otlp *o = arg;
    hd_buf buf;
    bool taken = false;
    hd_buf_init(&buf, SPAN_MAX);
    (void)hd_buf_reserve(&buf, SPAN_USUAL);
    hd_otlp_write_span(&buf, span);
    if (buf.status == HD_OK) {
        pthread_mutex_lock(&o->lock);
        taken = !o->closing && o->count < o->settings->queue && o->bytes + buf.len <= QUEUE_BYTES;
        if (taken) {
            o->ring[(o->first + o->count++) % o->settings->queue] = (waiting){buf.data, buf.len};
            o->bytes += buf.len;
            if (o->count == o->settings->batch) pthread_cond_signal(&o->wake);
        }
        pthread_mutex_unlock(&o->lock);
    }
    if (taken) return;
    hd_buf_free(&buf);
    atomic_fetch_add_explicit(&o->dropped, 1, memory_order_relaxed);
}

static void count(void *arg, hd_span_counts *out)
{
    const hd_otlp *o = arg;
    out->exported = atomic_load_explicit(&o->exported, memory_order_relaxed);
    out->dropped = atomic_load_explicit(&o->dropped, memory_order_relaxed);
}

/* ---- waiting ---- */

/* With the lock held: until `ms` are over, the service ends, or (`for_batch`) a batch is there. */
static void wait_ms(hd_otlp *o, uint64_t ms, bool for_batch)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    while (!o->closing && !(for_batch && o->count >= o->settings->batch))
        if (pthread_cond_timedwait(&o->wake, &o->lock, &until) == ETIMEDOUT) break;
}

/* While the service goes on, and until its end's limit is over. */
static bool go_on(void *arg)
{
    hd_otlp *o = arg;
    pthread_mutex_lock(&o->lock);
    bool good = !o->closing || hd_clock_ns() < o->close_by_ns;
    pthread_mutex_unlock(&o->lock);
    return good;
}

/* ---- a batch ---- */

typedef enum outcome { SENT, AGAIN, USELESS } outcome;

static bool is_worth_a_retry(int status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

/* Once per failure, not per attempt: a collector that is away for a night must not fill the log. */
static void tell(hd_otlp *o, bool good, const char *why)
{
    if (good && o->failing) hd_log(HD_LOG_INFO, "traces: the collector takes spans again");
    if (!good && !o->failing) hd_log(HD_LOG_WARN, "traces: spans can't be sent: %s", why);
    o->failing = !good;
}

static outcome try_once(hd_otlp *o, const hd_buf *body, uint64_t *spans, uint64_t *after_ms)
{
    const hd_http_send_request request = {.url = o->settings->url,
                                          .rules = &o->rules,
                                          .content_type = "application/x-protobuf",
                                          .body = body->data,
                                          .len = body->len,
                                          .headers = o->headers,
                                          .header_count = o->settings->headers.count,
                                          .timeout_ms = o->settings->timeout_ms,
                                          .go_on = go_on,
                                          .arg = o};
    hd_http_sent answer;
    hd_error err;
    char why[HD_URL_SHOWN + 64], shown[HD_URL_SHOWN];
    *after_ms = 0;
    hd_status status = hd_http_send(&request, &answer, &err);
    if (status != HD_OK) {
        if (status != HD_E_CANCELLED) tell(o, false, err.text);
        return status == HD_E_NETWORK ? AGAIN : USELESS;
    }
    bool good = answer.status >= 200 && answer.status < 300;
    hd_url_show(o->settings->url, shown, sizeof shown);
    snprintf(why, sizeof why, "%s answered HTTP %d", shown, answer.status);
    tell(o, good, why);
    *after_ms = HD_MIN((uint64_t)answer.after_seconds * 1000, MAX_AFTER_MS);
    if (!good) return is_worth_a_retry(answer.status) ? AGAIN : USELESS;
    *spans = hd_otlp_read_rejected((hd_str){answer.body, answer.len});
    return SENT;
}

/* Sends one request until it is taken or given up; *rejected of its spans the collector did not want. */
static bool deliver(hd_otlp *o, const hd_buf *body, uint64_t *rejected)
{
    uint64_t backoff = FIRST_BACKOFF_MS, after;
    for (int i = 0; i < ATTEMPTS; i++) {
        outcome result = try_once(o, body, rejected, &after);
        if (result != AGAIN) return result == SENT;
        if (i + 1 == ATTEMPTS) break;
        uint64_t wait = after ? after : backoff + hd_clock_ns() / 1000 % (backoff / 4); /* not all services at once */
        backoff = HD_MIN(2 * backoff, LAST_BACKOFF_MS);
        pthread_mutex_lock(&o->lock);
        bool closing = o->closing;
        if (!closing) wait_ms(o, wait, false);
        pthread_mutex_unlock(&o->lock);
        if (closing) break; /* at the end there is no time to wait for a collector that is not there */
    }
    return false;
}

/* Moves the oldest spans into `spans`; how many.  With the lock held. */
static size_t take_batch(hd_otlp *o, waiting *batch)
{
    size_t n = 0, bytes = 0;
    while (n < o->settings->batch && o->count && (n == 0 || bytes + o->ring[o->first].len <= BATCH_BYTES)) {
        batch[n] = o->ring[o->first];
        bytes += batch[n++].len;
        o->first = (o->first + 1) % o->settings->queue;
        o->count--;
    }
    o->bytes -= bytes;
    return n;
}

static void send_batch(hd_otlp *o, waiting *batch, size_t n)
{
    hd_buf spans, body;
    uint64_t rejected = 0;
    hd_buf_init(&spans, BATCH_BYTES + SPAN_MAX);
    hd_buf_init(&body, BATCH_BYTES + 2 * SPAN_MAX);
    for (size_t i = 0; i < n; i++) {
        (void)hd_buf_append(&spans, batch[i].data, batch[i].len);
        hd_free(batch[i].data);
    }
    if (spans.status == HD_OK) hd_otlp_write_request(&body, &o->sender, (hd_str){spans.data, spans.len});
    hd_buf_free(&spans);
    bool good = spans.status == HD_OK && body.status == HD_OK && deliver(o, &body, &rejected);
    hd_buf_free(&body);
    rejected = good ? HD_MIN(rejected, n) : n;
    atomic_fetch_add_explicit(&o->dropped, rejected, memory_order_relaxed);
    atomic_fetch_add_explicit(&o->exported, n - rejected, memory_order_relaxed);
}

static void *work(void *arg)
{
    hd_otlp *o = arg;
    waiting *batch = hd_alloc_array(o->settings->batch, sizeof *batch);
    for (bool closing = !batch; !closing;) {
        size_t n;
        pthread_mutex_lock(&o->lock);
        wait_ms(o, o->settings->delay_ms, true);
        closing = o->closing;
        pthread_mutex_unlock(&o->lock);
        do {
            pthread_mutex_lock(&o->lock);
            n = take_batch(o, batch);
            pthread_mutex_unlock(&o->lock);
            if (n) send_batch(o, batch, n);
        } while (n && go_on(o));
    }
    hd_free(batch);
    return NULL;
}

/* ---- open and close ---- */

static hd_attribute text_attribute(const char *key, const char *value)
{
    return (hd_attribute){.key = key, .kind = HD_ATTRIBUTE_TEXT, .text = {value, strlen(value)}};
}

/* service.instance.id tells two copies of a service apart, and a copy from the one before its restart. */
static void describe(hd_otlp *o, const char *version)
{
    const hd_otlp_settings *s = o->settings;
    uint8_t id[HD_TRACE_ID];
    size_t n = 0;
    hd_trace_random(id, sizeof id);
    hd_trace_hex(o->instance, id, sizeof id);
    o->resource[n++] = text_attribute("service.name", s->service);
    o->resource[n++] = text_attribute("service.version", version);
    o->resource[n++] = text_attribute("service.instance.id", o->instance);
    for (size_t i = 0; i < s->resource.count; i++)
        if (strcmp(s->resource.names[i], "service.name") != 0) /* it went into s->service */
            o->resource[n++] = text_attribute(s->resource.names[i], s->resource.values[i]);
    o->sender = (hd_otlp_sender){.resource = o->resource, .resource_count = n, .scope = "hadal", .version = version};
    for (size_t i = 0; i < s->headers.count; i++)
        o->headers[i] = (hd_http_pair){s->headers.names[i], s->headers.values[i]};
    o->hosts[0] = o->host;
    /* http beyond this machine is what the operator wrote; who starts the service was warned */
    o->rules = (hd_net_rules){.hosts = o->hosts, .plain_http = true, .ca_file = s->ca_file};
}

static hd_status start(hd_otlp *o, hd_error *err)
{
    o->ring = hd_calloc(o->settings->queue, sizeof *o->ring);
    if (!o->ring) return hd_fail(err, HD_E_MEMORY, "out of memory for %zu spans", o->settings->queue);
    HD_TRY(hd_url_host(o->settings->url, o->host, sizeof o->host, err));
    HD_TRY(hd_net_check_url(&o->rules, o->settings->url, err));
    int rc = pthread_create(&o->thread, NULL, work, o);
    o->running = rc == 0;
    return rc == 0 ? HD_OK : hd_fail(err, HD_E_IO, "cannot start the thread of traces: %s", strerror(rc));
}

hd_status hd_otlp_open(hd_otlp **out, const hd_otlp_settings *settings, const char *version, hd_error *err)
{
    pthread_condattr_t attributes;
    *out = NULL;
    hd_otlp *o = hd_calloc(1, sizeof *o);
    if (!o) return hd_fail(err, HD_E_MEMORY, "out of memory for traces");
    o->settings = settings;
    o->sink = (hd_span_sink){
        .take = take, .count = count, .arg = o, .sampler = settings->sampler, .content = settings->content};
    pthread_mutex_init(&o->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&o->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    describe(o, version);
    hd_status status = start(o, err);
    if (status != HD_OK) {
        hd_otlp_close(&o, 0);
        return status;
    }
    *out = o;
    return HD_OK;
}

void hd_otlp_close(hd_otlp **ref, uint32_t flush_ms)
{
    hd_otlp *o = *ref;
    if (!o) return;
    *ref = NULL;
    pthread_mutex_lock(&o->lock);
    o->closing = true;
    o->close_by_ns = hd_clock_ns() + (uint64_t)flush_ms * 1000000u;
    pthread_cond_signal(&o->wake);
    pthread_mutex_unlock(&o->lock);
    if (o->running) pthread_join(o->thread, NULL);
    if (o->count) hd_log(HD_LOG_WARN, "traces: %zu spans were not sent", o->count);
    for (; o->count; o->count--, o->first = (o->first + 1) % o->settings->queue)
        hd_free(o->ring[o->first].data);
    hd_free(o->ring);
    pthread_cond_destroy(&o->wake);
    pthread_mutex_destroy(&o->lock);
    hd_free(o);
}

const hd_span_sink *hd_otlp_sink(const hd_otlp *o)
{
    return &o->sink;
}
