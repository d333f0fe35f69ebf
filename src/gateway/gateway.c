/* gateway/gateway.c: the gateway opened and closed, and its keeper: a thread that looks after the models. */
#include <string.h>
#include <time.h>

#include "gateway/gateway_internal.h"
#include "gateway/generation.h"
#include "gateway/pair.h"
#include "gateway/served.h"

#define DEFAULT_TOKENS 4096
#define DEFAULT_WORKERS 2
#define DEFAULT_STALL 60
#define DEFAULT_PROBE 60

/* ---- the keeper ---- */

/* A model that has been quiet for half the time that /readyz allows gives a token, so that it stays ready only as long
 * as it works. */
static void keep_model(void *arg, hd_served *model)
{
    const hd_gateway *g = arg;
    hd_error err;
    if (model->pair && model == model->pair->full) hd_pair_look(model->pair);
    double age = (double)(hd_clock_ns() - atomic_load(&model->passed_ns)) / 1e9;
    hd_scheduler_usage usage;
    hd_scheduler_get_usage(model->scheduler, &usage);
    if (age < g->options.probe_seconds / 2 || usage.running || usage.waiting) return;
    if (hd_served_probe(model, &err) != HD_OK)
        hd_log(HD_LOG_ERROR, "model %s: no token from a test request: %s", model->title, err.text);
}

static void *keep(void *arg)
{
    hd_gateway *g = arg;
    struct timespec until;
    pthread_mutex_lock(&g->lock);
    while (!g->closing) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&g->wake, &g->lock, &until);
        if (g->closing) break;
        pthread_mutex_unlock(&g->lock);
        hd_generations_keep_alive(g);
        hd_models_each(g->models, keep_model, g);
        if (g->options.idle_seconds > 0) hd_models_unload_idle(g->models, g->options.idle_seconds);
        pthread_mutex_lock(&g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static void stop_keeper(hd_gateway *g)
{
    if (!g->keeping) return;
    pthread_mutex_lock(&g->lock);
    g->closing = true;
    pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->lock);
    pthread_join(g->keeper, NULL);
}

/* ---- open and close ---- */

static hd_status fill_options(hd_gateway *g, const hd_gateway_options *o, hd_error *err)
{
    g->options = *o;
    g->options.version = hd_strdup(o->version ? o->version : "");
    g->options.cors_origin = o->cors_origin ? hd_strdup(o->cors_origin) : NULL;
    if (!g->options.version || (o->cors_origin && !g->options.cors_origin))
        return hd_fail(err, HD_E_MEMORY, "out of memory for a gateway");
    if (!g->options.default_tokens) g->options.default_tokens = DEFAULT_TOKENS;
    if (!g->options.workers) g->options.workers = DEFAULT_WORKERS;
    if (!(g->options.stall_seconds > 0)) g->options.stall_seconds = DEFAULT_STALL;
    if (!(g->options.probe_seconds > 0)) g->options.probe_seconds = DEFAULT_PROBE;
    g->options.engine.share_threads = true;
    return HD_OK;
}

static hd_status open_parts(hd_gateway *g, hd_error *err)
{
    HD_TRY(hd_openapi_write(&g->openapi, g->options.version, err));
    HD_TRY(hd_workers_open(&g->workers, g->options.workers, err));
    HD_TRY(hd_models_open(&g->models, &g->options, g->workers, err));
    int rc = pthread_create(&g->keeper, NULL, keep, g);
    g->keeping = rc == 0;
    return rc == 0 ? HD_OK : hd_fail(err, HD_E_IO, "cannot start the keeper's thread: %s", strerror(rc));
}

hd_status hd_gateway_open(hd_gateway **out, const hd_gateway_options *options, hd_error *err)
{
    *out = NULL;
    hd_gateway *g = hd_calloc(1, sizeof *g);
    if (!g) return hd_fail(err, HD_E_MEMORY, "out of memory for a gateway");
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->wake, NULL);
    pthread_mutex_init(&g->streams_lock, NULL);
    g->started_ns = hd_clock_ns();
    hd_traffic_init(&g->traffic);
    hd_status status = fill_options(g, options, err);
    if (status == HD_OK) status = open_parts(g, err);
    if (status != HD_OK) {
        hd_gateway_close(&g);
        return status;
    }
    *out = g;
    return HD_OK;
}

void hd_gateway_close(hd_gateway **ref)
{
    hd_gateway *g = *ref;
    if (!g) return;
    *ref = NULL;
    stop_keeper(g);
    hd_workers_close(&g->workers); /* generations that have ended are freed by them */
    hd_models_close(&g->models);
    hd_buf_free(&g->openapi);
    hd_free((void *)(uintptr_t)g->options.version);
    hd_free((void *)(uintptr_t)g->options.cors_origin);
    pthread_cond_destroy(&g->wake);
    pthread_mutex_destroy(&g->streams_lock);
    pthread_mutex_destroy(&g->lock);
    hd_free(g);
}

/* ---- what the program does with it ---- */

hd_status hd_gateway_add(hd_gateway *g, const char *name, const char *path, hd_error *err)
{
    return hd_models_add(g->models, name, path, err);
}

hd_status hd_gateway_add_cheaper(hd_gateway *g, const char *name, const char *path, const hd_precision_rule *rule,
                                 hd_error *err)
{
    return hd_models_add_cheaper(g->models, name, path, rule, err);
}

hd_status hd_gateway_alias(hd_gateway *g, const char *alias, const char *name, hd_error *err)
{
    return hd_models_alias(g->models, alias, name, err);
}

hd_status hd_gateway_add_lora(hd_gateway *g, const char *name, const char *path, double scale, bool load, hd_error *err)
{
    const hd_adapter_wish wish = {.name = name, .path = path, .scale = scale};
    return hd_models_add_lora(g->models, "", &wish, load, err);
}

hd_status hd_gateway_load(hd_gateway *g, const char *name, hd_error *err)
{
    return hd_models_load(g->models, name, err);
}

void hd_gateway_set_server(hd_gateway *g, const hd_server *server)
{
    atomic_store(&g->server, server);
}

void hd_gateway_drain(hd_gateway *g)
{
    atomic_store(&g->draining, true);
}

void hd_gateway_opened(hd_gateway *g)
{
    atomic_store(&g->opened, true);
}

typedef struct info_search {
    const char *name;
    hd_engine_info *out;
    bool found;
} info_search;

static void take_info(void *arg, hd_served *model)
{
    info_search *s = arg;
    if (s->found || strcmp(model->name, s->name) != 0) return; /* of a pair the full one comes first */
    *s->out = model->info;
    s->found = true;
}

bool hd_gateway_get_info(hd_gateway *g, const char *name, hd_engine_info *out)
{
    info_search s = {name, out, false};
    hd_models_each(g->models, take_info, &s);
    return s.found;
}
