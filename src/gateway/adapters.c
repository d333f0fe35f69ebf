/* gateway/adapters.c: see adapters.h.
 *
 * One lock guards the list.  An entry's lora is bound to the engine that its base has now, and NULL while the base is
 * out of memory, or nobody has asked since. */
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
    char *name, *path;
    double scale;
    const hd_served *base;
    int64_t created;
    hd_lora *lora;
    struct entry *next;
} entry;

struct hd_adapters {
    pthread_mutex_t lock;
    entry *first;
    int count, max;
    char *folder; /* without links; NULL: requests load none */
};

hd_status hd_adapters_open(hd_adapters **out, int max, const char *folder, hd_error *err)
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
    a->max = max ? max : DEFAULT_MAX;
    *out = a;
    return HD_OK;
}

static void free_entry(entry *e)
{
    if (!e) return;
    hd_lora_close(&e->lora);
    hd_free(e->name);
    hd_free(e->path);
    hd_free(e);
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

hd_status hd_adapters_add(hd_adapters *a, hd_served *base, bool now, const char *name, const char *path, double scale,
                          hd_error *err)
{
    if (!name[0] || strlen(name) > HD_ADAPTER_NAME || !hd_text_is_utf8(name))
        return hd_fail(err, HD_E_ARGUMENT, "an adapter's name has 1 to %d bytes of UTF-8", HD_ADAPTER_NAME);
    entry *e = hd_calloc(1, sizeof *e);
    if (!e) return hd_fail(err, HD_E_MEMORY, "out of memory for an adapter");
    e->name = hd_strdup(name);
    e->path = hd_strdup(path);
    e->scale = scale;
    e->base = base;
    e->created = (int64_t)(hd_clock_unix_ms() / 1000);
    hd_status status = e->name && e->path ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for an adapter");
    if (status == HD_OK && now) { /* before a long look at a file */
        pthread_mutex_lock(&a->lock);
        status = check_room(a, e, err);
        pthread_mutex_unlock(&a->lock);
    }
    if (status == HD_OK && now) status = hd_lora_open(&e->lora, base->engine, path, scale, err);
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
    }
    pthread_mutex_unlock(&a->lock);
    if (!e) return not_found((hd_str){name, strlen(name)}, err);
    hd_log(HD_LOG_INFO, "adapter %s: unloaded", name);
    free_entry(e);
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

static hd_status bind(entry *e, hd_error *err)
{
    hd_error why;
    if (e->lora) return HD_OK;
    if (hd_lora_open(&e->lora, e->base->engine, e->path, e->scale, &why) == HD_OK) return HD_OK;
    return hd_fail(err, HD_E_MODEL_LOST, "the adapter '%s' could not be loaded: %.600s", e->name, why.text);
}

hd_status hd_adapters_take(hd_adapters *a, const hd_served *base, hd_str name, hd_lora **out, hd_error *err)
{
    hd_status status;
    *out = NULL;
    pthread_mutex_lock(&a->lock);
    entry *e = find(a, name);
    if (!e || e->base != base) /* or another took its place */
        status = not_found(name, err);
    else
        status = bind(e, err);
    if (status == HD_OK) *out = hd_lora_share(e->lora);
    pthread_mutex_unlock(&a->lock);
    return status;
}

void hd_adapters_drop(hd_adapters *a, const hd_served *base)
{
    pthread_mutex_lock(&a->lock);
    for (entry *e = a->first; e; e = e->next)
        if (e->base == base) hd_lora_close(&e->lora);
    pthread_mutex_unlock(&a->lock);
}

void hd_adapters_list(hd_adapters *a, void (*visit)(void *arg, const hd_model_view *view), void *arg)
{
    pthread_mutex_lock(&a->lock);
    for (const entry *e = a->first; e; e = e->next) {
        const hd_model_view view = {.name = e->name,
                                    .root = e->base->name,
                                    .parent = e->base->name,
                                    .state = e->lora ? HD_MODEL_READY : HD_MODEL_UNLOADED,
                                    .created = e->created,
                                    .context = e->lora ? e->base->info.context : 0};
        visit(arg, &view);
    }
    pthread_mutex_unlock(&a->lock);
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

/* What is opened of a folder, too, must not be a link that leads out. */
static hd_status check_content(const hd_adapters *a, const char *real, const char *path, hd_error *err)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"};
    char inside[PATH_MAX];
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        hd_buf file;
        hd_buf_init(&file, PATH_BYTES);
        bool fits = hd_buf_printf(&file, "%s/%s", real, names[i]) == HD_OK;
        bool out = fits && realpath(file.data, inside) && !is_within(a->folder, inside);
        hd_buf_free(&file);
        if (!fits) return hd_fail(err, HD_E_MEMORY, "out of memory for a path");
        if (out) return leads_out(path, err);
    }
    return HD_OK;
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
    HD_TRY(check_content(a, real, path, err));
    *out = hd_strdup(real);
    return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for a path");
}
