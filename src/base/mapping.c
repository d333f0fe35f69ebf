/* base/mapping.c: see mapping.h.
 *
 * Invariant: a slot of the table tells the signal handler one open mapping.  Slots are static, so that the handler may
 * read one at any time, also while another thread closes its mapping; a slot is emptied before its bytes are unmapped.
 */
#include "base/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"

typedef struct slot {
    atomic_bool taken;
    atomic_uintptr_t start;
    atomic_size_t bytes; /* whole pages; 0 while there is nothing to find */
    atomic_bool failed;
} slot;

struct hd_mapping {
    uint8_t *data;
    size_t size;
    size_t mapped;           /* size rounded up to pages; 0 when nothing is mapped */
    struct timespec written; /* when the file was last written */
    int fd;
    slot *slot; /* NULL until the mapping is in the table */
    char *path;
};

static slot table[HD_MAPPING_MAX];
static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static struct sigaction old_action;
static uintptr_t page_size;

static slot *slot_at(uintptr_t address)
{
    for (int i = 0; i < HD_MAPPING_MAX; i++) {
        size_t bytes = atomic_load(&table[i].bytes);
        if (bytes && address - atomic_load(&table[i].start) < bytes) return &table[i]; /* wraps below the start */
    }
    return NULL;
}

/* Zeros go under the whole rest of the mapping, not one page: the model is lost anyway, and a page at a time could
 * reach the kernel's limit of areas.  Only async-signal-safe calls: atomic loads and stores and the bare system call,
 * not the C library's mmap, which a sanitizer replaces. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    slot *s = slot_at((uintptr_t)info->si_addr);
    if (s) {
        uintptr_t page = (uintptr_t)info->si_addr & ~(page_size - 1);
        size_t rest = atomic_load(&s->start) + atomic_load(&s->bytes) - page;
        atomic_store(&s->failed, true);
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        if (syscall(SYS_mmap, page, rest, PROT_READ, flags, -1, 0L) == (long)page) return;
    }
    if (old_action.sa_flags & SA_SIGINFO)
        old_action.sa_sigaction(sig, info, context);
    else if (old_action.sa_handler != SIG_DFL && old_action.sa_handler != SIG_IGN)
        old_action.sa_handler(sig);
    else
        signal(SIGBUS, SIG_DFL); /* not ours: the fault repeats and ends the process as it would have */
}

static void install_handler(void)
{
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &old_action);
}

static bool enter_table(hd_mapping *m)
{
    for (int i = 0; i < HD_MAPPING_MAX; i++) {
        if (atomic_exchange(&table[i].taken, true)) continue;
        m->slot = &table[i];
        atomic_store(&m->slot->failed, false);
        atomic_store(&m->slot->start, (uintptr_t)m->data);
        atomic_store(&m->slot->bytes, m->mapped);
        return true;
    }
    return false;
}

static void leave_table(hd_mapping *m)
{
    if (!m->slot) return;
    atomic_store(&m->slot->bytes, 0);
    atomic_store(&m->slot->taken, false);
    m->slot = NULL;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* O_NONBLOCK has no effect on a file, but opening a pipe would wait for its writer without it. */
static hd_status map_file(hd_mapping *m, const char *path, hd_error *err)
{
    m->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (m->fd < 0)
        return hd_fail(err, errno == ENOENT ? HD_E_NOT_FOUND : HD_E_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat st = {0};
    hd_status status = HD_OK;
    if (fstat(m->fd, &st) != 0)
        status = hd_fail(err, HD_E_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = hd_fail(err, HD_E_ARGUMENT, "%s: not a regular file", path);
    else if (st.st_size > 0) {
        m->size = (size_t)st.st_size;
        m->mapped = (m->size + page_size - 1) / page_size * page_size;
        void *data = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, m->fd, 0);
        if (data == MAP_FAILED) {
            m->mapped = 0;
            status = hd_fail(err, HD_E_IO, "%s: cannot map: %s", path, strerror(errno));
        } else
            m->data = data;
    } else
        m->data = (uint8_t *)m->path; /* any valid address: nothing may be read */
    m->written = st.st_mtim;
    return status;
}

hd_status hd_mapping_open(hd_mapping **out, const char *path, hd_error *err)
{
    *out = NULL;
    pthread_once(&handler_once, install_handler);
    hd_mapping *m = hd_calloc(1, sizeof *m);
    if (!m || !(m->path = hd_strdup(path))) {
        hd_free(m);
        return hd_fail(err, HD_E_MEMORY, "%s: out of memory", path);
    }
    m->fd = -1;
    hd_status status = map_file(m, path, err);
    if (status == HD_OK && !enter_table(m))
        status = hd_fail(err, HD_E_LIMIT, "%s: more than %d files are mapped", path, HD_MAPPING_MAX);
    if (status != HD_OK) {
        hd_mapping_close(&m);
        return status;
    }
    *out = m;
    return HD_OK;
}

void hd_mapping_close(hd_mapping **map)
{
    hd_mapping *m = *map;
    if (!m) return;
    *map = NULL;
    leave_table(m);
    if (m->mapped) munmap(m->data, m->size);
    if (m->fd >= 0) close(m->fd);
    hd_free(m->path);
    hd_free(m);
}

const uint8_t *hd_mapping_data(const hd_mapping *map)
{
    return map->data;
}

size_t hd_mapping_size(const hd_mapping *map)
{
    return map->size;
}

const char *hd_mapping_path(const hd_mapping *map)
{
    return map->path;
}

/* A fault tells only of whole pages that are gone: what a file lost of its last page reads as zeros, and what was
 * written over it reads as weights.  The time of change of the inode is no sign: links and modes change it, too. */
int64_t hd_mapping_written_ns(const hd_mapping *map)
{
    return (int64_t)map->written.tv_sec * 1000000000 + map->written.tv_nsec;
}

bool hd_mapping_failed(const hd_mapping *map)
{
    struct stat st;
    if (atomic_load(&map->slot->failed)) return true;
    if (fstat(map->fd, &st) == 0 && (uint64_t)st.st_size == map->size && same_time(st.st_mtim, map->written))
        return false;
    atomic_store(&map->slot->failed, true); /* for good, even if the file gets its size back */
    return true;
}

void hd_mapping_drop(const hd_mapping *map, const void *data, size_t len)
{
    uintptr_t base = (uintptr_t)map->data, start = (uintptr_t)data, end = start + len;
    if (!map->mapped || start < base || end > base + map->size) return;
    start = (start + page_size - 1) & ~(page_size - 1); /* whole pages inside the range only: neighbours stay */
    end &= ~(page_size - 1);
    if (end > start) madvise((void *)start, end - start, MADV_DONTNEED);
}
