/* build_gguf.h: writes GGUF bytes field by field, right or wrong, for the tests and the seeds of the fuzzer. */
#ifndef HD_TESTS_BUILD_GGUF_H
#define HD_TESTS_BUILD_GGUF_H

#include <string.h>

#include "formats/formats.h"

/* `bytes` low bytes of v, little-endian. */
static inline void put_le(hd_buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        (void)hd_buf_putc(b, (char)(v >> (8 * i)));
}

static inline void put_u32(hd_buf *b, uint32_t v)
{
    put_le(b, v, 4);
}

static inline void put_u64(hd_buf *b, uint64_t v)
{
    put_le(b, v, 8);
}

static inline void put_bytes(hd_buf *b, const void *data, size_t len)
{
    put_u64(b, len);
    (void)hd_buf_append(b, data, len);
}

static inline void put_str(hd_buf *b, const char *text)
{
    put_bytes(b, text, strlen(text));
}

static inline void put_head(hd_buf *b, uint32_t version, uint64_t tensors, uint64_t metas)
{
    (void)hd_buf_append(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, metas);
}

/* A key and the type of its value; the value follows. */
static inline void put_key(hd_buf *b, const char *key, uint32_t type)
{
    put_str(b, key);
    put_u32(b, type);
}

/* A scalar of `bytes` bytes. */
static inline void put_scalar(hd_buf *b, const char *key, uint32_t type, uint64_t value, int bytes)
{
    put_key(b, key, type);
    put_le(b, value, bytes);
}

static inline void put_array(hd_buf *b, const char *key, uint32_t elem, uint64_t count)
{
    put_key(b, key, HD_META_ARRAY);
    put_u32(b, elem);
    put_u64(b, count);
}

/* Everything of a tensor but its data; dims are in the file's order, fastest first. */
static inline void put_tensor(hd_buf *b, const char *name, uint32_t dims, const uint64_t *shape, uint32_t type,
                              uint64_t offset)
{
    put_str(b, name);
    put_u32(b, dims);
    for (uint32_t i = 0; i < dims; i++)
        put_u64(b, shape[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

/* A float32 vector. */
static inline void put_vector(hd_buf *b, const char *name, uint64_t n, uint64_t offset)
{
    put_tensor(b, name, 1, &n, 0, offset);
}

static inline void put_padding(hd_buf *b, size_t alignment)
{
    while (b->len % alignment)
        (void)hd_buf_putc(b, 0);
}

/* Padding, then `n` bytes 0, 1, 2, ... as the data. */
static inline void put_data(hd_buf *b, size_t alignment, size_t n)
{
    put_padding(b, alignment);
    for (size_t i = 0; i < n; i++)
        (void)hd_buf_putc(b, (char)i);
}

#endif
