/* base/alloc.c: see alloc.h.  The one file that calls malloc and its kin. */
#include "base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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

void *hd_alloc_aligned(size_t bytes)
{
    if (must_fail() || bytes > MAX_BYTES) return NULL;
    size_t lines = bytes ? (bytes + HD_CACHE_LINE - 1) / HD_CACHE_LINE : 1;
    size_t rounded = lines * HD_CACHE_LINE; /* aligned_alloc wants a multiple */
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
