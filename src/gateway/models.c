/* gateway/models.c: the models of a service by name.
 *
 * One lock guards names, states and counts of users; loading and unloading happen outside of it, on a thread for each
 * load.  A model in state LOADING or UNLOADING belongs to the thread that does it.
 */
#include "gateway/models.h"
#include "gateway/trace.h"

#include <pthread.h>
#include <string.h>

#include "base/base.h"
#include "gateway/adapters.h"
#include "gateway/kept_prefixes.h"
#include "gateway/pair.h"
#include "gateway/served.h"
#include "gateway/warm_up.h"

typedef struct nickname {
    char *name;
    hd_served *model;
    struct nickname *next;
} nickname;

struct hd_models {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a state, a number of users, the number of loads */
    hd_gateway_options options;
    hd_workers *workers;
    hd_served *first, **last;
    nickname *aliases;
    int loads; /* threads under way */
    hd_adapters *adapters;
    json_t *warm_up; /* NULL: none */
};

static bool is_name(const char *name, hd_str asked)
{
    return strlen(name) == asked.len && memcmp(name, asked.data, asked.len) == 0;
}

/* With the lock held, as for all that follow here. */
static hd_served *find(hd_models *m, hd_str name)
{
    if (name.len == 0) return m->first;
    for (hd_served *s = m->first; s; s = s->next)
        if (is_name(s->name, name)) return s;
    for (nickname *a = m->aliases; a; a = a->next)
        if (is_name(a->name, name)) return a->model;
    for (hd_served *s = m->first; s; s = s->next)
        if (is_name(s->path, name)) return s; /* clients of a server of files know it by its path */
    return NULL;
}

static hd_str str_of(const char *text)
{
    return (hd_str){text, strlen(text)};
}

static hd_status not_found(hd_str name, hd_error *err)
{
    (void)hd_fail(err, HD_E_NOT_FOUND, "there is no model '%.*s' here; GET /v1/models lists those that are",
                  (int)HD_MIN(name.len, 200), name.data);
    if (err) hd_text_clean(err->text);
    return HD_E_NOT_FOUND;
}

static void wake_parked(hd_models *m, hd_served *s)
{
    while (s->parked) {
        hd_job *job = s->parked;
        s->parked = job->next; /* which the worker may change at once */
        hd_workers_push(m->workers, job);
    }
    s->parked_end = &s->parked;
}

/* ---- loading ---- */

static void settle(hd_models *m, hd_served *s, hd_status status, const hd_error *why)
{
    pthread_mutex_lock(&m->lock);
    s->state = status == HD_OK ? HD_MODEL_READY : HD_MODEL_FAILED;
    s->used_ns = s->failed_ns = hd_clock_ns();
    if (status != HD_OK) s->failure = *why;
    wake_parked(m, s);
    m->loads--;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

/* What makes the first requests quick; a model serves without it, too. */
static void warm(hd_models *m, hd_served *s)
{
    hd_error err;
    int64_t pages = 0;
    if (m->options.kept_prefixes) {
        if (hd_prefixes_load(s, m->options.kept_prefixes, &pages, &err) != HD_OK)
            hd_log(HD_LOG_WARN, "model %s: cached prompts of the last run: %s", s->title, err.text);
        else
            hd_log(HD_LOG_INFO, "model %s: %lld pages of cached prompts of the last run", s->title, (long long)pages);
    }
    if (m->warm_up) hd_warm_up(s, m->options.keys, m->warm_up);
}

/* With its cheaper precision, if it has one: both, or none. */
static hd_status open_model(hd_served *s, const hd_gateway_options *options, hd_error *err)
{
    HD_TRY(hd_served_open(s, options, err));
    hd_status status = s->pair ? hd_pair_load(s->pair, options, err) : HD_OK;
    if (status != HD_OK) hd_served_shut(s);
    return status;
}

static void *load(void *arg)
{
    hd_served *s = arg;
    hd_models *m = s->owner;
    hd_error why;
    uint64_t start = hd_clock_ns();
    hd_log(HD_LOG_INFO, "model %s: loading", s->name);
    hd_status status = open_model(s, &m->options, &why);
    double seconds = (double)(hd_clock_ns() - start) / 1e9;
    const hd_log_field fields[] = {HD_LOG_FIELD_TEXT("model", s->name), HD_LOG_FIELD_SECONDS("seconds", seconds)};
    if (status == HD_OK)
        hd_log_with(HD_LOG_INFO, fields, HD_ARRAY_LEN(fields), "model %s: loaded in %.1f s", s->name, seconds);
    else
        hd_log_with(HD_LOG_ERROR, fields, HD_ARRAY_LEN(fields), "model %s: %s", s->name, why.text);
    uint64_t loaded = hd_clock_ns();
    if (status == HD_OK) warm(m, s);
    if (status == HD_OK && s->pair) warm(m, s->pair->cheaper);
    hd_trace_load(m->options.spans, s->name, start, loaded, hd_clock_ns(), status);
    settle(m, s, status, &why);
    return NULL;
}

/* The states are such that nothing else touches the model until `load` settles it. */
static hd_status begin_load(hd_models *m, hd_served *s, hd_error *err)
{
    pthread_t thread;
    s->state = HD_MODEL_LOADING;
    m->loads++;
    int rc = pthread_create(&thread, NULL, load, s);
    if (rc == 0) {
        pthread_detach(thread);
        return HD_OK;
    }
    m->loads--;
    s->state = HD_MODEL_UNLOADED;
    return hd_fail(err, HD_E_IO, "cannot start a thread to load the model '%s': %s", s->name, strerror(rc));
}

static bool failed_lately(const hd_served *s)
{
    return s->state == HD_MODEL_FAILED && hd_clock_ns() - s->failed_ns < (uint64_t)HD_MODEL_RETRY_SECONDS * 1000000000u;
}

static hd_status tell_failure(const hd_served *s, hd_error *err)
{
    return hd_fail(err, s->failure.status == HD_E_MEMORY ? HD_E_MEMORY : HD_E_MODEL_LOST,
                   "the model '%s' could not be loaded: %s", s->name, s->failure.text);
}

hd_status hd_models_use(hd_models *m, hd_str name, hd_job *job, hd_served **out, hd_error *err)
{
    *out = NULL;
    hd_status status = HD_OK;
    pthread_mutex_lock(&m->lock);
    hd_served *s = find(m, name);
    if (!s) {
        status = not_found(name, err);
    } else if (s->state == HD_MODEL_READY) {
        s->users++;
        s->used_ns = hd_clock_ns();
        *out = s;
    } else if (failed_lately(s)) {
        status = tell_failure(s, err);
    } else {
        if (s->state != HD_MODEL_LOADING && s->state != HD_MODEL_UNLOADING) status = begin_load(m, s, err);
        if (status == HD_OK) {
            job->next = NULL;
            *s->parked_end = job;
            s->parked_end = &job->next;
        }
    }
    pthread_mutex_unlock(&m->lock);
    return status;
}

void hd_models_share(hd_served *s)
{
    hd_models *m = s->owner;
    if (s->pair) s = s->pair->full;
    pthread_mutex_lock(&m->lock);
    s->users++;
    pthread_mutex_unlock(&m->lock);
}

void hd_models_release(hd_served *s)
{
    hd_models *m = s->owner;
    if (s->pair) s = s->pair->full; /* users of both are counted there */
    pthread_mutex_lock(&m->lock);
    s->users--;
    s->used_ns = hd_clock_ns();
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

/* With the lock held, which is let go meanwhile: until the model is there, also when it goes again before we wake up.
 * One failure of a load that we began or waited for is enough. */
static hd_status bring(hd_models *m, hd_served *s, hd_error *err)
{
    bool tried = false;
    while (s->state != HD_MODEL_READY) {
        if (s->state == HD_MODEL_FAILED && tried) return tell_failure(s, err);
        if (s->state == HD_MODEL_FAILED || s->state == HD_MODEL_UNLOADED) HD_TRY(begin_load(m, s, err));
        tried |= s->state == HD_MODEL_LOADING;
        pthread_cond_wait(&m->changed, &m->lock);
    }
    return HD_OK;
}

hd_status hd_models_load(hd_models *m, const char *name, hd_error *err)
{
    pthread_mutex_lock(&m->lock);
    hd_served *s = find(m, str_of(name));
    hd_status status = s ? bring(m, s, err) : not_found(str_of(name), err);
    pthread_mutex_unlock(&m->lock);
    return status;
}

/* ---- unloading ---- */

/* Alone with the model; what is cached is kept if that is wanted. */
static void shut(const hd_models *m, hd_served *s)
{
    hd_error err;
    if (s->scheduler && m->options.kept_prefixes && hd_prefixes_save(s, m->options.kept_prefixes, &err) != HD_OK)
        hd_log(HD_LOG_WARN, "model %s: its cached prompts could not be kept: %s", s->title, err.text);
    if (m->adapters) hd_adapters_drop(m->adapters, s);
    hd_served_shut(s);
    if (s->pair && s == s->pair->full) shut(m, s->pair->cheaper);
}

/* With the lock held, which is let go meanwhile. */
static void unload(hd_models *m, hd_served *s)
{
    s->state = HD_MODEL_UNLOADING; /* no new users */
    while (s->users > 0)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    hd_log(HD_LOG_INFO, "model %s: unloading", s->name);
    shut(m, s);
    pthread_mutex_lock(&m->lock);
    s->state = HD_MODEL_UNLOADED;
    wake_parked(m, s); /* they will ask again, which loads it again */
    pthread_cond_broadcast(&m->changed);
}

hd_status hd_models_unload(hd_models *m, const char *name, hd_error *err)
{
    hd_status status = HD_OK;
    pthread_mutex_lock(&m->lock);
    hd_served *s = find(m, str_of(name));
    while (s && (s->state == HD_MODEL_LOADING || s->state == HD_MODEL_UNLOADING))
        pthread_cond_wait(&m->changed, &m->lock);
    if (!s)
        status = not_found(str_of(name), err);
    else if (s->state == HD_MODEL_READY)
        unload(m, s);
    pthread_mutex_unlock(&m->lock);
    return status;
}

void hd_models_unload_idle(hd_models *m, double idle_seconds)
{
    pthread_mutex_lock(&m->lock);
    for (hd_served *s = m->first; s; s = s->next)
        if (s->state == HD_MODEL_READY && s->users == 0 && (double)(hd_clock_ns() - s->used_ns) / 1e9 > idle_seconds)
            unload(m, s);
    pthread_mutex_unlock(&m->lock);
}

/* ---- names ---- */

static hd_status check_name(hd_models *m, const char *name, hd_error *err)
{
    if (!name[0] || strlen(name) > 200 || !hd_text_is_utf8(name))
        return hd_fail(err, HD_E_ARGUMENT, "a model's name has 1 to 200 bytes of UTF-8");
    if (find(m, str_of(name)))
        return hd_fail(err, HD_E_ARGUMENT, "two models are called '%s'; name one of them: NAME=MODEL", name);
    return HD_OK;
}

hd_status hd_models_add(hd_models *m, const char *name, const char *path, hd_error *err)
{
    hd_served *s = hd_calloc(1, sizeof *s);
    if (!s) return hd_fail(err, HD_E_MEMORY, "out of memory for a model");
    s->name = hd_strdup(name);
    s->path = hd_strdup(path);
    s->title = s->name;
    s->owner = m;
    s->parked_end = &s->parked;
    s->created = (int64_t)(hd_clock_unix_ms() / 1000);
    hd_model_metrics_init(&s->metrics);
    pthread_mutex_lock(&m->lock);
    hd_status status = s->name && s->path ? check_name(m, name, err) : hd_fail(err, HD_E_MEMORY, "out of memory");
    if (status == HD_OK) {
        *m->last = s;
        m->last = &s->next;
    }
    pthread_mutex_unlock(&m->lock);
    if (status != HD_OK) {
        hd_free(s->name);
        hd_free(s->path);
        hd_free(s);
    }
    return status;
}

hd_status hd_models_add_cheaper(hd_models *m, const char *name, const char *path, const hd_precision_rule *rule,
                                hd_error *err)
{
    pthread_mutex_lock(&m->lock);
    hd_served *s = find(m, str_of(name));
    hd_status status = s ? hd_pair_open(s, path, rule, err) : not_found(str_of(name), err);
    pthread_mutex_unlock(&m->lock);
    return status;
}

hd_status hd_models_alias(hd_models *m, const char *alias, const char *name, hd_error *err)
{
    nickname *a = hd_calloc(1, sizeof *a);
    char *copy = hd_strdup(alias);
    hd_status status = a && copy ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for an alias");
    pthread_mutex_lock(&m->lock);
    if (status == HD_OK) status = check_name(m, alias, err);
    if (status == HD_OK && !(a->model = find(m, str_of(name)))) status = not_found(str_of(name), err);
    if (status == HD_OK) {
        a->name = copy;
        a->next = m->aliases;
        m->aliases = a;
    }
    pthread_mutex_unlock(&m->lock);
    if (status != HD_OK) {
        hd_free(copy);
        hd_free(a);
    }
    return status;
}

/* ---- adapters ---- */

hd_adapters *hd_models_adapters(hd_models *m)
{
    return m->adapters;
}

/* The model of that name; with `load` it is loaded, and in use by the caller.  The adapter's name is nobody else's. */
static hd_status hold_base(hd_models *m, const char *base, const char *name, bool load_now, hd_served **out,
                           hd_error *err)
{
    hd_status status = HD_OK;
    pthread_mutex_lock(&m->lock);
    hd_served *s = *out = find(m, str_of(base));
    if (name[0] && find(m, str_of(name)))
        status = hd_fail(err, HD_E_ARGUMENT, "a model is called '%s'; give the adapter another name", name);
    else if (!s)
        status = not_found(str_of(base), err);
    else if (load_now && (status = bring(m, s, err)) == HD_OK)
        s->users++; /* in one breath with the look: nobody unloads it in between */
    pthread_mutex_unlock(&m->lock);
    return status;
}

hd_status hd_models_add_lora(hd_models *m, const char *base, const hd_adapter_wish *wish, bool load_now, hd_error *err)
{
    hd_served *s;
    HD_TRY(hold_base(m, base, wish->name, load_now, &s, err));
    hd_status status = hd_adapters_add(m->adapters, s, load_now, wish, err);
    if (load_now) hd_models_release(s);
    return status;
}

/* ---- lists ---- */

static hd_model_view view_of(const hd_served *s, const char *name)
{
    bool known = s->state == HD_MODEL_READY;
    hd_pair_figures figures = {.cheaper = false};
    if (s->pair) hd_pair_get_figures(s->pair, &figures);
    return (hd_model_view){
        .name = name,
        .root = s->name,
        .state = s->state,
        .created = s->created,
        .context = known ? s->info.context : 0,
        .precisions = {known ? s->precision : NULL, known && s->pair ? s->pair->cheaper->precision : NULL},
        .cheaper = figures.cheaper,
        .alias = name != s->name};
}

void hd_models_list(hd_models *m, void (*visit)(void *arg, const hd_model_view *view), void *arg)
{
    pthread_mutex_lock(&m->lock);
    for (hd_served *s = m->first; s; s = s->next) {
        hd_model_view view = view_of(s, s->name);
        visit(arg, &view);
    }
    for (nickname *a = m->aliases; a; a = a->next) {
        hd_model_view view = view_of(a->model, a->name);
        visit(arg, &view);
    }
    pthread_mutex_unlock(&m->lock);
    hd_adapters_list(m->adapters, visit, arg);
}

int hd_models_count(hd_models *m)
{
    int count = 0;
    pthread_mutex_lock(&m->lock);
    for (const hd_served *s = m->first; s; s = s->next)
        count += s->pair ? 2 : 1;
    pthread_mutex_unlock(&m->lock);
    return count;
}

void hd_models_each(hd_models *m, void (*visit)(void *arg, hd_served *model), void *arg)
{
    pthread_mutex_lock(&m->lock);
    for (hd_served *s = m->first; s; s = s->next) {
        if (s->state != HD_MODEL_READY) continue;
        s->users++;
        pthread_mutex_unlock(&m->lock);
        visit(arg, s);
        if (s->pair) visit(arg, s->pair->cheaper);
        pthread_mutex_lock(&m->lock);
        s->users--; /* `used_ns` stays: looking is not asking */
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
}

/* ---- all of them ---- */

hd_status hd_models_open(hd_models **out, const hd_gateway_options *options, hd_workers *workers, hd_error *err)
{
    *out = NULL;
    hd_models *m = hd_calloc(1, sizeof *m);
    if (!m) return hd_fail(err, HD_E_MEMORY, "out of memory for the list of models");
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    m->options = *options;
    m->workers = workers;
    m->last = &m->first;
    hd_status status = hd_adapters_open(&m->adapters, options->max_loras, options->lora_folder, workers, err);
    if (status == HD_OK && options->warm_up) status = hd_warm_up_read(&m->warm_up, options->warm_up, err);
    if (status == HD_OK)
        *out = m;
    else
        hd_models_close(&m);
    return status;
}

static void close_model(const hd_models *m, hd_served *s)
{
    shut(m, s);
    hd_pair_close(&s->pair);
    hd_free(s->name);
    hd_free(s->path);
    hd_free(s);
}

void hd_models_close(hd_models **ref)
{
    hd_models *m = *ref;
    if (!m) return;
    *ref = NULL;
    pthread_mutex_lock(&m->lock);
    while (m->loads > 0)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    hd_adapters_settle(m->adapters);
    for (hd_served *s = m->first, *next; s; s = next) {
        next = s->next;
        close_model(m, s);
    }
    for (nickname *a = m->aliases, *next; a; a = next) {
        next = a->next;
        hd_free(a->name);
        hd_free(a);
    }
    json_decref(m->warm_up);
    hd_adapters_close(&m->adapters);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    hd_free(m);
}
