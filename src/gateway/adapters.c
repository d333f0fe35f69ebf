/* gateway/adapters.c: see adapters.h.
 *
 * One lock guards the list and what the entries say of themselves; files are read and adapters bound outside of it.  An
 * entry's lora is bound to the engine that its base has now, and NULL while the base is out of memory, or nobody has
 * asked since.  An entry that is loading belongs to its thread, too, which uses the base meanwhile; removed then, it is
 * that thread's to free.  The models' lock may be taken with this one held, never the other way round. */
#include "gateway/adapters.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

#define DEFAULT_MAX 16
#define PATH_BYTES ((size_t)1 << 16)

typedef struct entry {
    hd_adapters *owner;
    char *name, *path;
    double scale;
    bool confined;
    hd_served *base;
    int64_t created;
    hd_lora *lora;
    bool loading, removed;
    hd_error failure; /* of the last time, where failed_ns is not 0 */
    uint64_t failed_ns;
    hd_job *parked, **parked_end; /* in the order in which they came */
    struct entry *next;
} entry;

struct hd_adapters {
    pthread_mutex_t lock;
    pthread_cond_t settled; /* `loads` is 0 */
    hd_workers *workers;
    hd_lora_loader loader;
    entry *first;
    int count, max;
    int loads;    /* threads under way */
    char *folder; /* without links; NULL: requests load none */
};

hd_status hd_adapters_open(hd_adapters **out, int max, const char *folder, hd_workers *workers, hd_error *err)
{
    *out = NULL;
    char real[PATH_MAX];
    if (folder && !realpath(folder, real))
        return hd_fail(err, HD_E_ARGUMENT, "--allow-lora-loading %s: %s", folder, strerror(errno));
    hd_adapters *a = hd_calloc(1, sizeof *a);
    if (!a || (folder && !(a->folder = hd_strdup(real)))) {
        hd_free(a);
        return hd_fail(err, HD_E_MEMORY, "out of memory for the list of adapters");
    }
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->settled, NULL);
    a->workers = workers;
    a->loader = hd_lora_open_within;
    a->max = max ? max : DEFAULT_MAX;
    *out = a;
    return HD_OK;
}

void hd_adapters_set_loader(hd_adapters *a, hd_lora_loader loader)
{
    a->loader = loader;
}

static void free_entry(entry *e)
{
    if (!e) return;
    hd_lora_close(&e->lora);
    hd_free(e->name);
    hd_free(e->path);
    hd_free(e);
}

void hd_adapters_settle(hd_adapters *a)
{
    if (!a) return;
    pthread_mutex_lock(&a->lock);
    while (a->loads > 0)
        pthread_cond_wait(&a->settled, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

void hd_adapters_close(hd_adapters **ref)
{
    hd_adapters *a = *ref;
    if (!a) return;
    *ref = NULL;
    for (entry *e = a->first, *next; e; e = next) {
        next = e->next;
        free_entry(e);
    }
    pthread_cond_destroy(&a->settled);
    pthread_mutex_destroy(&a->lock);
    hd_free(a->folder);
    hd_free(a);
}

/* With the lock held, as for what follows. */
static entry *find(hd_adapters *a, hd_str name)
{
    for (entry *e = a->first; e; e = e->next)
        if (strlen(e->name) == name.len && memcmp(e->name, name.data, name.len) == 0) return e;
    return NULL;
}

static hd_status check_room(hd_adapters *a, const entry *e, hd_error *err)
{
    if (find(a, (hd_str){e->name, strlen(e->name)}))
        return hd_fail(err, HD_E_ARGUMENT, "there is an adapter '%s' already; unload it first", e->name);
    if (a->count >= a->max)
        return hd_fail(err, HD_E_ARGUMENT, "%d adapters are loaded, the most that may be (--max-loras); unload one",
                       a->count);
    return HD_OK;
}

static void wake_parked(entry *e)
{
    while (e->parked) {
        hd_job *job = e->parked;
        e->parked = job->next; /* which the worker may change at once */
        hd_workers_push(e->owner->workers, job);
    }
    e->parked_end = &e->parked;
}

/* ---- adding and removing ---- */

static hd_status enter(hd_adapters *a, entry *e, hd_error *err)
{
    pthread_mutex_lock(&a->lock);
    hd_status status = check_room(a, e, err);
    if (status == HD_OK) {
        entry **last = &a->first;
        while (*last)
            last = &(*last)->next;
        *last = e;
        a->count++;
    }
    pthread_mutex_unlock(&a->lock);
    return status;
}

static entry *new_entry(hd_adapters *a, hd_served *base, const hd_adapter_wish *wish)
{
    entry *e = hd_calloc(1, sizeof *e);
    if (!e) return NULL;
    e->owner = a;
    e->name = hd_strdup(wish->name);
    e->path = hd_strdup(wish->path);
    e->scale = wish->scale;
    e->confined = wish->confined;
    e->base = base;
    e->parked_end = &e->parked;
    e->created = (int64_t)(hd_clock_unix_ms() / 1000);
    if (e->name && e->path) return e;
    free_entry(e);
    return NULL;
}

/* Without the lock: files are read. */
static hd_status open_lora(const entry *e, hd_lora **out, hd_error *err)
{
    const hd_adapters *a = e->owner;
    return a->loader(out, e->base->engine, e->path, e->scale, e->confined ? a->folder : NULL, err);
}

hd_status hd_adapters_add(hd_adapters *a, hd_served *base, bool now, const hd_adapter_wish *wish, hd_error *err)
{
    const char *name = wish->name;
    hd_status status = HD_OK;
    if (!name[0] || strlen(name) > HD_ADAPTER_NAME || !hd_text_is_utf8(name))
        return hd_fail(err, HD_E_ARGUMENT, "an adapter's name has 1 to %d bytes of UTF-8", HD_ADAPTER_NAME);
    entry *e = new_entry(a, base, wish);
    if (!e) return hd_fail(err, HD_E_MEMORY, "out of memory for an adapter");
    if (now) { /* before a long look at a file */
        pthread_mutex_lock(&a->lock);
        status = check_room(a, e, err);
        pthread_mutex_unlock(&a->lock);
    }
    if (status == HD_OK && now) status = open_lora(e, &e->lora, err);
    if (status == HD_OK) status = enter(a, e, err);
    if (status == HD_OK)
        hd_log(HD_LOG_INFO, "adapter %s on model %s: %s", name, base->name, now ? "loaded" : "known");
    else
        free_entry(e);
    return status;
}

static hd_status not_found(hd_str name, hd_error *err)
{
    (void)hd_fail(err, HD_E_NOT_FOUND, "there is no adapter '%.*s' here; GET /v1/models lists those that are",
                  (int)HD_MIN(name.len, (size_t)HD_ADAPTER_NAME), name.data);
    if (err) hd_text_clean(err->text);
    return HD_E_NOT_FOUND;
}

hd_status hd_adapters_remove(hd_adapters *a, const char *name, hd_error *err)
{
    pthread_mutex_lock(&a->lock);
    entry **at = &a->first, *e;
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    if ((e = *at)) {
        *at = e->next;
        a->count--;
        e->removed = true;
        wake_parked(e); /* to learn that there is none */
    }
    bool loading = e && e->loading;
    pthread_mutex_unlock(&a->lock);
    if (!e) return not_found((hd_str){name, strlen(name)}, err);
    hd_log(HD_LOG_INFO, "adapter %s: unloaded", name);
    if (!loading) free_entry(e);
    return HD_OK;
}

const char *hd_adapters_base(hd_adapters *a, hd_str name)
{
    pthread_mutex_lock(&a->lock);
    const entry *e = name.len ? find(a, name) : NULL;
    const char *base = e ? e->base->name : NULL; /* models stay known */
    pthread_mutex_unlock(&a->lock);
    return base;
}

/* ---- coming back ---- */

/* What `load` ends with: the entry is free for others again, or freed. */
static void settle(entry *e, hd_lora *lora, const hd_error *why)
{
    hd_adapters *a = e->owner;
    hd_served *base = e->base;
    pthread_mutex_lock(&a->lock);
    bool removed = e->removed;
    e->loading = false;
    e->lora = lora;
    e->failed_ns = lora ? 0 : hd_clock_ns();
    if (!lora) e->failure = *why;
    wake_parked(e);
    pthread_mutex_unlock(&a->lock);
    if (removed) free_entry(e); /* nobody else knows it; its lora goes before the base may */
    hd_models_release(base);
    pthread_mutex_lock(&a->lock);
    if (--a->loads == 0) pthread_cond_broadcast(&a->settled);
    pthread_mutex_unlock(&a->lock);
}

static void *load(void *arg)
{
    entry *e = arg;
    hd_lora *lora = NULL;
    hd_error why;
    if (open_lora(e, &lora, &why) == HD_OK)
        hd_log(HD_LOG_INFO, "adapter %s on model %s: loaded", e->name, e->base->name);
    else
        hd_log(HD_LOG_ERROR, "adapter %s: %s", e->name, why.text);
    settle(e, lora, &why);
    return NULL;
}

/* With the lock held; the caller uses the base, which the thread will, too. */
static hd_status begin_load(entry *e, hd_error *err)
{
    pthread_t thread;
    hd_models_share(e->base);
    e->loading = true;
    e->owner->loads++;
    int rc = pthread_create(&thread, NULL, load, e);
    if (rc == 0) {
        pthread_detach(thread);
        return HD_OK;
    }
    e->loading = false;
    e->owner->loads--;
    hd_models_release(e->base);
    return hd_fail(err, HD_E_IO, "cannot start a thread to load the adapter '%s': %s", e->name, strerror(rc));
}

static bool failed_lately(const entry *e)
{
    return e->failed_ns && hd_clock_ns() - e->failed_ns < (uint64_t)HD_MODEL_RETRY_SECONDS * 1000000000u;
}

/* With the lock held. */
static hd_status take(entry *e, hd_job *job, hd_lora **out, hd_error *err)
{
    if (e->lora) {
        *out = hd_lora_share(e->lora);
        return HD_OK;
    }
    if (failed_lately(e))
        return hd_fail(err, HD_E_MODEL_LOST, "the adapter '%s' could not be loaded: %.600s", e->name, e->failure.text);
    if (!e->loading) HD_TRY(begin_load(e, err));
    job->next = NULL;
    *e->parked_end = job;
    e->parked_end = &job->next;
    return HD_OK;
}

hd_status hd_adapters_take(hd_adapters *a, hd_served *base, hd_str name, hd_job *job, hd_lora **out, hd_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&a->lock);
    entry *e = find(a, name);
    bool there = e && e->base == base; /* else another took its place */
    hd_status status = there ? take(e, job, out, err) : not_found(name, err);
    pthread_mutex_unlock(&a->lock);
    return status;
}

void hd_adapters_drop(hd_adapters *a, const hd_served *base)
{
    pthread_mutex_lock(&a->lock);
    for (entry *e = a->first; e; e = e->next) {
        if (e->base != base) continue;
        hd_lora_close(&e->lora);
        e->failed_ns = 0; /* who loads the base again wants to see */
    }
    pthread_mutex_unlock(&a->lock);
}

/* ---- lists ---- */

static hd_model_state state_of(const entry *e)
{
    if (e->lora) return HD_MODEL_READY;
    if (e->loading) return HD_MODEL_LOADING;
    return failed_lately(e) ? HD_MODEL_FAILED : HD_MODEL_UNLOADED;
}

void hd_adapters_list(hd_adapters *a, void (*visit)(void *arg, const hd_model_view *view), void *arg)
{
    pthread_mutex_lock(&a->lock);
    for (const entry *e = a->first; e; e = e->next) {
        hd_model_view view = {.name = e->name,
                              .root = e->base->name,
                              .parent = e->base->name,
                              .state = state_of(e),
                              .created = e->created,
                              .context = e->lora ? e->base->info.context : 0};
        if (e->lora) hd_lora_get_use(e->lora, &view.running, &view.waiting);
        visit(arg, &view);
    }
    pthread_mutex_unlock(&a->lock);
}

int hd_adapters_max(const hd_adapters *a)
{
    return a->max;
}

/* ---- paths of requests ---- */

static bool is_within(const char *folder, const char *real)
{
    size_t len = strlen(folder);
    return strncmp(real, folder, len) == 0 && (real[len] == '/' || (len == 1 && real[0] == '/'));
}

static hd_status leads_out(const char *path, hd_error *err)
{
    (void)hd_fail(err, HD_E_DENIED, "lora_path '%.300s' leads out of the folder of --allow-lora-loading", path);
    if (err) hd_text_clean(err->text);
    return HD_E_DENIED;
}

hd_status hd_adapters_check_allowed(const hd_adapters *a, hd_error *err)
{
    if (a->folder) return HD_OK;
    return hd_fail(err, HD_E_DENIED, "adapters are not loaded by request here; see --allow-lora-loading");
}

hd_status hd_adapters_confine(const hd_adapters *a, const char *path, char **out, hd_error *err)
{
    char real[PATH_MAX];
    hd_buf joined;
    *out = NULL;
    HD_TRY(hd_adapters_check_allowed(a, err));
    hd_buf_init(&joined, PATH_BYTES);
    hd_status status = path[0] == '/' ? hd_buf_puts(&joined, path) : hd_buf_printf(&joined, "%s/%s", a->folder, path);
    bool there = status == HD_OK && realpath(joined.data, real);
    hd_buf_free(&joined);
    if (status != HD_OK) return hd_fail(err, HD_E_ARGUMENT, "lora_path is too long");
    if (!there || !is_within(a->folder, real)) {
        if (there || path[0] == '/' || strstr(path, "..")) return leads_out(path, err); /* tells nothing of elsewhere */
        (void)hd_fail(err, HD_E_NOT_FOUND, "lora_path '%.300s': there is no such adapter", path);
        if (err) hd_text_clean(err->text);
        return HD_E_NOT_FOUND;
    }
    *out = hd_strdup(real);
    return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for a path");
}
