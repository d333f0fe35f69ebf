/* ops/machine_watch.c: the thread that samples, the text of the last sample, and disk space; see machine_watch.h.
 *
 * Invariants: reader, folders and `next` belong to whoever samples; `text` is guarded by `lock`.  A statvfs that never
 * returns holds up the thread and its closing, and nobody else.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "ops/machine_internal.h"

#define TEXT_MAX ((size_t)1 << 20)

struct hd_machine_watch {
    hd_machine_reader reader;
    char *root;
    struct {
        char *name, *path;
    } folders[HD_WATCHED_FOLDERS];
    hd_buf next; /* being written */
    uint64_t last_ns;
    double took; /* seconds, of the last sample */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing; /* lock */
    hd_buf text;  /* lock */
};

/* ---- disk space ---- */

/* A folder that is yet to be made will lie on the file system of the first one above it that is there. */
static bool space_of(const char *given, struct statvfs *out)
{
    char *path = hd_strdup(given);
    bool found = false;
    for (;;) {
        if (!path) return false;
        found = statvfs(path[0] ? path : "/", out) == 0;
        char *slash = strrchr(path, '/');
        if (found || !slash || !path[0] || (errno != ENOENT && errno != ENOTDIR)) break;
        *slash = '\0';
    }
    hd_free(path);
    return found;
}

static void write_folders(hd_machine_watch *w, hd_metrics_page *page)
{
    struct statvfs space[HD_WATCHED_FOLDERS];
    bool known[HD_WATCHED_FOLDERS] = {false};
    static const hd_metric metrics[] = {HD_M_DISK_SIZE, HD_M_DISK_FREE, HD_M_DISK_FREE_RATIO, HD_M_DISK_FILES};
    for (int i = 0; i < HD_WATCHED_FOLDERS && w->folders[i].path; i++)
        known[i] = space_of(w->folders[i].path, &space[i]);
    for (size_t k = 0; k < HD_ARRAY_LEN(metrics); k++)
        for (int i = 0; i < HD_WATCHED_FOLDERS; i++) {
            if (!known[i]) continue;
            double unit = (double)space[i].f_frsize, blocks = (double)space[i].f_blocks;
            double free = (double)space[i].f_bavail;
            const double values[] = {blocks * unit, free * unit, blocks > 0 ? HD_MIN(free / blocks, 1) : NAN,
                                     space[i].f_files ? (double)space[i].f_favail / (double)space[i].f_files : NAN};
            hd_metrics_put_by(page, metrics[k], "folder", w->folders[i].name, values[k]);
        }
}

/* ---- one sample ---- */

static void sample(hd_machine_watch *w)
{
    hd_cgroup_figures group;
    hd_metrics_page page = hd_metrics_page_begin(&w->next);
    uint64_t start = hd_clock_ns();
    w->reader.seconds = w->last_ns ? (double)(start - w->last_ns) / 1e9 : 0;
    w->last_ns = start;
    hd_buf_clear(&w->next);
    hd_machine_process(&w->reader, &page);
    hd_machine_cgroup(&w->reader, &page, &group);
    hd_machine_system(&w->reader, &page, &group);
    hd_machine_sensors(&w->reader, &page);
    write_folders(w, &page);
    w->took = (double)(hd_clock_ns() - start) / 1e9;
    hd_metrics_put(&page, HD_M_SAMPLE_SECONDS, NULL, w->took);
    pthread_mutex_lock(&w->lock);
    if (w->next.status == HD_OK) { /* else the former sample stays */
        hd_buf former = w->text;
        w->text = w->next;
        w->next = former;
    }
    pthread_mutex_unlock(&w->lock);
}

void hd_machine_watch_sample(hd_machine_watch *watch)
{
    if (!watch->running) sample(watch);
}

void hd_machine_watch_write(void *arg, hd_buf *out)
{
    hd_machine_watch *w = arg;
    pthread_mutex_lock(&w->lock);
    if (w->text.len) (void)hd_buf_append(out, w->text.data, w->text.len);
    pthread_mutex_unlock(&w->lock);
}

/* ---- the thread ---- */

static void *watch_machine(void *arg)
{
    hd_machine_watch *w = arg;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    pthread_mutex_lock(&w->lock);
    while (!w->closing) {
        until.tv_sec++;
        while (!w->closing && pthread_cond_timedwait(&w->wake, &w->lock, &until) != ETIMEDOUT)
            ;
        if (w->closing) break;
        pthread_mutex_unlock(&w->lock);
        sample(w);
        clock_gettime(CLOCK_MONOTONIC, &until); /* a second after its end: a slow one is not followed by a burst */
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static hd_status start(hd_machine_watch *w, hd_error *err)
{
    int rc = pthread_create(&w->thread, NULL, watch_machine, w);
    w->running = rc == 0;
    return rc == 0 ? HD_OK
                   : hd_fail(err, HD_E_IO, "cannot start the thread that watches the machine: %s", strerror(rc));
}

/* ---- open and close ---- */

static void init(hd_machine_watch *w)
{
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, &clock);
    pthread_condattr_destroy(&clock);
    hd_buf_init(&w->text, TEXT_MAX);
    hd_buf_init(&w->next, TEXT_MAX);
}

static bool copy_options(hd_machine_watch *w, const hd_machine_watch_options *o)
{
    w->root = hd_strdup(o->root ? o->root : "");
    w->reader.root = w->root;
    w->reader.text = hd_alloc(HD_MACHINE_FILE + 1);
    bool good = w->root && w->reader.text;
    for (int i = 0; i < HD_WATCHED_FOLDERS && good && o->folders[i].name && o->folders[i].path; i++) {
        w->folders[i].name = hd_strdup(o->folders[i].name);
        w->folders[i].path = hd_strdup(o->folders[i].path);
        good = w->folders[i].name && w->folders[i].path;
    }
    return good;
}

hd_status hd_machine_watch_open(hd_machine_watch **out, const hd_machine_watch_options *options, hd_error *err)
{
    *out = NULL;
    hd_machine_watch *w = hd_calloc(1, sizeof *w);
    if (!w) return hd_fail(err, HD_E_MEMORY, "out of memory for the machine's figures");
    init(w);
    hd_status status = HD_OK;
    if (!copy_options(w, options)) status = hd_fail(err, HD_E_MEMORY, "out of memory for the machine's figures");
    if (status == HD_OK && !options->by_hand) {
        sample(w);
        status = start(w, err);
    }
    if (status != HD_OK) {
        hd_machine_watch_close(&w);
        return status;
    }
    *out = w;
    return HD_OK;
}

void hd_machine_watch_close(hd_machine_watch **watch)
{
    hd_machine_watch *w = *watch;
    if (!w) return;
    *watch = NULL;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->running) pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    for (int i = 0; i < HD_WATCHED_FOLDERS; i++) {
        hd_free(w->folders[i].name);
        hd_free(w->folders[i].path);
    }
    hd_buf_free(&w->text);
    hd_buf_free(&w->next);
    hd_free(w->reader.text);
    hd_free(w->root);
    hd_free(w);
}
