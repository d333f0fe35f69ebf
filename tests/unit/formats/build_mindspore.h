/* build_mindspore.h: writes MindSpore checkpoints field by field, for the tests and the seeds of the fuzzer. */
#ifndef HD_TESTS_BUILD_MINDSPORE_H
#define HD_TESTS_BUILD_MINDSPORE_H

#include <string.h>

#include "base/base.h"

static inline void put_number(hd_buf *b, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        (void)hd_buf_putc(b, (char)(value | 0x80));
    (void)hd_buf_putc(b, (char)value);
}

/* A field of bytes; numbers below 16. */
static inline void put_field(hd_buf *b, int number, const void *data, size_t len)
{
    (void)hd_buf_putc(b, (char)(number << 3 | 2));
    put_number(b, len);
    (void)hd_buf_append(b, data, len);
}

static inline void put_field_text(hd_buf *b, int number, const char *text)
{
    put_field(b, number, text, strlen(text));
}

static inline void put_field_number(hd_buf *b, int number, uint64_t value)
{
    (void)hd_buf_putc(b, (char)(number << 3));
    put_number(b, value);
}

/* The fields of a TensorProto: up to two dims (-1: none), a type, `n` bytes 0, 1, 2 ... from `first` on. */
static inline void put_tensor_fields(hd_buf *b, int64_t rows, int64_t cols, const char *type, int first, size_t n)
{
    char content[256];
    for (size_t i = 0; i < n && i < sizeof content; i++)
        content[i] = (char)(first + (int)i);
    if (rows >= 0) put_field_number(b, 1, (uint64_t)rows);
    if (cols >= 0) put_field_number(b, 1, (uint64_t)cols);
    put_field_text(b, 2, type);
    put_field(b, 3, content, n);
}

/* A Value of the file: its tag (NULL: none) and the bytes of its TensorProto. */
static inline void put_value_of(hd_buf *b, const char *tag, const hd_buf *tensor)
{
    hd_buf value;
    hd_buf_init(&value, 1 << 20);
    if (tag) put_field_text(&value, 1, tag);
    put_field(&value, 2, tensor->data, tensor->len);
    put_field(b, 1, value.data, value.len);
    hd_buf_free(&value);
}

static inline void put_slice(hd_buf *b, const char *tag, int64_t rows, int64_t cols, const char *type, int first,
                             size_t n)
{
    hd_buf tensor;
    hd_buf_init(&tensor, 1 << 20);
    put_tensor_fields(&tensor, rows, cols, type, first, n);
    put_value_of(b, tag, &tensor);
    hd_buf_free(&tensor);
}

static inline void put_mindspore(hd_buf *b, const char *tag, int64_t rows, int64_t cols, const char *type, size_t n)
{
    put_slice(b, tag, rows, cols, type, 0, n);
}

#endif
