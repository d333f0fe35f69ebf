/* prefix_bytes.h: exported prefixes in memory, and a way back. */
#ifndef HD_TESTS_PREFIX_BYTES_H
#define HD_TESTS_PREFIX_BYTES_H

#include <string.h>

#include "base/base.h"
#include "hadal/scheduler.h"

typedef struct bytes {
    uint8_t *data;
    size_t len, cap, pos;
    size_t piece; /* given by one read at most; 0: all */
} bytes;

static inline hd_status bytes_write(void *arg, const void *data, size_t size, hd_error *err)
{
    bytes *b = arg;
    if (b->len + size > b->cap) {
        size_t cap = HD_MAX(b->cap * 2, b->len + size);
        uint8_t *bigger = hd_realloc_array(b->data, cap, 1);
        if (!bigger) return hd_fail(err, HD_E_MEMORY, "out of memory");
        b->data = bigger;
        b->cap = cap;
    }
    memcpy(b->data + b->len, data, size);
    b->len += size;
    return HD_OK;
}

static inline hd_status bytes_read(void *arg, void *data, size_t size, size_t *got, hd_error *err)
{
    bytes *b = arg;
    (void)err;
    *got = HD_MIN(size, b->len - b->pos);
    if (b->piece) *got = HD_MIN(*got, b->piece);
    if (*got) memcpy(data, b->data + b->pos, *got);
    b->pos += *got;
    return HD_OK;
}

/* Makes the checksum of the record that starts at `at` right again (docs/engine.md). */
static inline void bytes_sign(bytes *b, size_t at, size_t record)
{
    uint64_t h = 0xcbf29ce484222325u, word;
    for (size_t i = at; i < at + record - 8; i += 8) {
        memcpy(&word, b->data + i, 8);
        h = (h ^ word) * 0x100000001b3u;
        h ^= h >> 29;
    }
    memcpy(b->data + at + record - 8, &h, 8);
}

#endif
