/* base/alloc.c: see alloc.h.  The one file that calls malloc and its kin. */
#include "base/alloc.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Thread_local uint64_t fail_after; /* 0 = never fail; else the countdown, which stays at 1 once reached */

static bool must_fail(void)
{
    if (fail_after == 0) return false;
    if (fail_after == 1) return true;
    fail_after--;
    return false;
}

void hd_alloc_fail_after(uint64_t n)
{
    fail_after = n;
}

/* No object may be larger (pointer differences would overflow); sanitizers abort on such sizes instead of failing. */
#define MAX_BYTES ((size_t)PTRDIFF_MAX - HD_CACHE_LINE)

void *hd_alloc(size_t bytes)
{
    if (must_fail() || bytes > MAX_BYTES) return NULL;
    return malloc(bytes ? bytes : 1);
}

void *hd_alloc_array(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    return hd_alloc(bytes);
}

void *hd_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || must_fail() || bytes > MAX_BYTES) return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *hd_realloc_array(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || must_fail() || bytes > MAX_BYTES) return NULL;
    return realloc(block, bytes ? bytes : 1);
}

static size_t to_multiple(size_t bytes, size_t of)
{
    return (bytes + of - 1) / of * of;
}

void *hd_alloc_aligned(size_t bytes)
{
    if (must_fail() || bytes > MAX_BYTES) return NULL;
    size_t rounded = to_multiple(bytes ? bytes : 1, HD_CACHE_LINE); /* aligned_alloc wants a multiple */
    void *block = aligned_alloc(HD_CACHE_LINE, rounded);
    if (block) memset(block, 0, rounded);
    return block;
}

void hd_free_aligned(void *block)
{
    free(block);
}

void hd_free(void *block)
{
    free(block);
}

/* ---- large blocks ---- */

#if defined(HD_INSTRUMENTED) /* sanitizers watch the borders of the heap's blocks only */

void *hd_bulk_alloc(size_t bytes)
{
    return hd_alloc_aligned(bytes);
}

void hd_bulk_free(void *block, size_t bytes)
{
    (void)bytes;
    hd_free_aligned(block);
}

#else

#define LARGE_PAGE ((size_t)2 << 20)
#define REGION_BYTES ((size_t)64 << 20) /* at least; more for a block that is larger */

/* Address space that blocks are taken from, one after the other; unmapped with its last block. */
typedef struct region {
    struct region *next;
    void *mapping;
    uint8_t *data; /* the first large page in it */
    size_t mapped, bytes, used, blocks;
} region;

static pthread_mutex_t regions_lock = PTHREAD_MUTEX_INITIALIZER;
static region *regions; /* the newest first: blocks come from that one */

static region *region_open(size_t bytes)
{
    region *r = malloc(sizeof *r);
    if (!r) return NULL;
    *r = (region){.next = regions, .bytes = to_multiple(bytes > REGION_BYTES ? bytes : REGION_BYTES, LARGE_PAGE)};
    r->mapped = r->bytes + LARGE_PAGE;
    r->mapping = mmap(NULL, r->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->mapping == MAP_FAILED) {
        free(r);
        return NULL;
    }
    r->data = (uint8_t *)to_multiple((uintptr_t)r->mapping, LARGE_PAGE);
    (void)madvise(r->data, r->bytes, MADV_HUGEPAGE); /* a wish */
    regions = r;
    return r;
}

void *hd_bulk_alloc(size_t bytes)
{
    if (must_fail() || bytes > MAX_BYTES - 2 * LARGE_PAGE) return NULL;
    bytes = to_multiple(bytes ? bytes : 1, HD_CACHE_LINE);
    void *block = NULL;
    pthread_mutex_lock(&regions_lock);
    region *r = regions;
    if (!r || r->bytes - r->used < bytes) r = region_open(bytes);
    if (r) {
        block = r->data + r->used;
        r->used += bytes;
        r->blocks++;
    }
    pthread_mutex_unlock(&regions_lock);
    return block;
}

/* Gives whole pages of a block back. */
static void release_pages(uint8_t *block, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = to_multiple((uintptr_t)block, page), end = ((uintptr_t)block + bytes) / page * page;
    if (begin < end) (void)madvise(block + (begin - (uintptr_t)block), end - begin, MADV_DONTNEED);
}

void hd_bulk_free(void *block, size_t bytes)
{
    if (!block) return;
    pthread_mutex_lock(&regions_lock);
    region **at = &regions;
    while (*at && ((uint8_t *)block < (*at)->data || (uint8_t *)block >= (*at)->data + (*at)->bytes))
        at = &(*at)->next;
    region *r = *at;
    if (r && --r->blocks == 0) {
        *at = r->next;
        (void)munmap(r->mapping, r->mapped);
        free(r);
    } else if (r)
        release_pages(block, bytes);
    pthread_mutex_unlock(&regions_lock);
}

#endif

char *hd_strndup(const char *text, size_t len)
{
    if (len == SIZE_MAX) return NULL;
    char *copy = hd_alloc(len + 1);
    if (!copy) return NULL;
    if (len) memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *hd_strdup(const char *text)
{
    return hd_strndup(text, strlen(text));
}

void hd_wipe(void *secret, size_t len)
{
    if (len) explicit_bzero(secret, len);
}
