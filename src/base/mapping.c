/* base/mapping.c: see mapping.h.
 *
 * Invariant: table[i] is NULL or an open mapping whose address, size and flag may be read by the signal handler at any
 * time; a mapping leaves the table before it is unmapped. */
#include "base/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

struct hd_mapping {
    uint8_t *data;
    size_t size;
    size_t mapped; /* size rounded up to pages; 0 when nothing is mapped */
    atomic_bool failed;
    int slot;
    char *path;
};

static _Atomic(hd_mapping *) table[HD_MAPPING_MAX];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static struct sigaction old_action;
static uintptr_t page_size;

static hd_mapping *mapping_at(uintptr_t address)
{
    for (int i = 0; i < HD_MAPPING_MAX; i++) {
        hd_mapping *m = atomic_load(&table[i]);
        if (m && address >= (uintptr_t)m->data && address - (uintptr_t)m->data < m->mapped) return m;
    }
    return NULL;
}

/* Only async-signal-safe calls: atomic loads and the mmap system call. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    hd_mapping *m = mapping_at((uintptr_t)info->si_addr);
    if (m) {
        void *page = (void *)((uintptr_t)info->si_addr & ~(page_size - 1));
        atomic_store(&m->failed, true);
        if (mmap(page, page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page) return;
    }
    if (old_action.sa_flags & SA_SIGINFO && old_action.sa_sigaction) {
        old_action.sa_sigaction(sig, info, context);
        return;
    }
    signal(SIGBUS, SIG_DFL); /* not ours: the fault repeats and ends the process as it would have */
}

static void install_handler(void)
{
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &old_action);
}

static hd_status enter_table(hd_mapping *m)
{
    hd_status status = HD_E_LIMIT;
    pthread_mutex_lock(&table_lock);
    for (int i = 0; i < HD_MAPPING_MAX && status != HD_OK; i++) {
        if (atomic_load(&table[i])) continue;
        m->slot = i;
        atomic_store(&table[i], m);
        status = HD_OK;
    }
    pthread_mutex_unlock(&table_lock);
    return status;
}

static hd_status map_file(hd_mapping *m, const char *path, hd_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hd_fail(err, errno == ENOENT ? HD_E_NOT_FOUND : HD_E_IO, "%s: cannot open: %s", path, strerror(errno));
    struct stat st;
    hd_status status = HD_OK;
    if (fstat(fd, &st) != 0)
        status = hd_fail(err, HD_E_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = hd_fail(err, HD_E_ARGUMENT, "%s: not a regular file", path);
    else if (st.st_size > 0) {
        m->size = (size_t)st.st_size;
        m->mapped = (m->size + page_size - 1) / page_size * page_size;
        void *data = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            m->mapped = 0;
            status = hd_fail(err, HD_E_IO, "%s: cannot map: %s", path, strerror(errno));
        } else
            m->data = data;
    } else
        m->data = (uint8_t *)m->path; /* any valid address: nothing may be read */
    close(fd);
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
    m->slot = -1;
    hd_status status = map_file(m, path, err);
    if (status == HD_OK && (status = enter_table(m)) != HD_OK)
        status = hd_fail(err, status, "%s: more than %d files are open", path, HD_MAPPING_MAX);
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
    if (m->slot >= 0) atomic_store(&table[m->slot], NULL);
    if (m->mapped) munmap(m->data, m->size);
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

bool hd_mapping_failed(const hd_mapping *map)
{
    return atomic_load(&map->failed);
}

void hd_mapping_drop(const hd_mapping *map, const void *data, size_t len)
{
    uintptr_t base = (uintptr_t)map->data, start = (uintptr_t)data, end = start + len;
    if (!map->mapped || start < base || end > base + map->size) return;
    start = (start + page_size - 1) & ~(page_size - 1); /* whole pages inside the range only: neighbours stay */
    end &= ~(page_size - 1);
    if (end > start) madvise((void *)start, end - start, MADV_DONTNEED);
}
