/* base/arena.c: see arena.h.  A chunk is a header and the bytes behind it; a large piece gets a chunk of its own. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

#define CHUNK ((size_t)1 << 16) /* far above most pieces, far below what would be missed */

typedef struct hd_arena_chunk {
    struct hd_arena_chunk *next;
    size_t used, size;
    alignas(max_align_t) unsigned char data[];
} chunk;

static chunk *add_chunk(hd_arena *a, size_t bytes)
{
    size_t size = bytes > CHUNK / 4 ? bytes : CHUNK;
    if (a->max && (size > a->max || a->bytes > a->max - size)) return NULL;
    chunk *c = size <= SIZE_MAX - sizeof *c ? hd_calloc(1, sizeof *c + size) : NULL;
    if (!c) return NULL;
    *c = (chunk){.size = size};
    a->bytes += size;
    if (size != CHUNK && a->chunks) { /* full at once: the one that has room stays in front */
        c->next = a->chunks->next;
        a->chunks->next = c;
    } else {
        c->next = a->chunks;
        a->chunks = c;
    }
    return c;
}

void *hd_arena_alloc(hd_arena *a, size_t count, size_t size)
{
    const size_t align = alignof(max_align_t);
    size_t bytes;
    if (a->failed || __builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - align) {
        a->failed = true;
        return NULL;
    }
    bytes = (bytes + align - 1) / align * align;
    chunk *c = a->chunks;
    if (!c || c->size - c->used < bytes) c = add_chunk(a, bytes);
    if (!c) {
        a->failed = true;
        return NULL;
    }
    void *piece = c->data + c->used;
    c->used += bytes;
    return piece;
}

char *hd_arena_text(hd_arena *a, const char *text, size_t len)
{
    char *copy = len < SIZE_MAX ? hd_arena_alloc(a, len + 1, 1) : NULL;
    if (copy && len) memcpy(copy, text, len);
    return copy;
}

void hd_arena_free(hd_arena *a)
{
    for (chunk *c = a->chunks; c;) {
        chunk *next = c->next;
        hd_free(c);
        c = next;
    }
    *a = (hd_arena){.max = a->max};
}
