/* good_mindspore.h: MindSpore checkpoints that must open; also seeds of the fuzzers. */
#ifndef HD_TESTS_GOOD_MINDSPORE_H
#define HD_TESTS_GOOD_MINDSPORE_H

#include "unit/formats/build_mindspore.h"

/* Every type that is read, scalars of both spellings, tensors without values, a text, fields that nobody knows. */
static inline void put_every_mindspore_type(hd_buf *b)
{
    hd_buf t, v;
    put_mindspore(b, "f32", 2, 1, "Float32", 8);
    put_mindspore(b, "f16", 2, -1, "Float16", 4);
    put_mindspore(b, "bf16", 2, 3, "BFloat16", 12);
    put_mindspore(b, "f64", 1, -1, "Float64", 8);
    put_mindspore(b, "i64", 1, -1, "Int64", 8);
    put_mindspore(b, "i32", 1, 1, "Int32", 4);
    put_mindspore(b, "i16", 1, -1, "Int16", 2);
    put_mindspore(b, "i8", 3, -1, "Int8", 3);
    put_mindspore(b, "u8", 1, -1, "UInt8", 1);
    put_mindspore(b, "bool", 2, -1, "Bool", 2);
    put_mindspore(b, "scalar", -1, -1, "Float32", 4);
    put_mindspore(b, "scalar of old", 0, -1, "Float32", 4);
    put_mindspore(b, "text", 0, -1, "str", 20); /* no tensor */
    put_mindspore(b, "none", 0, 4, "Float32", 0);
    put_field_text(b, 9, "unknown");
    hd_buf_init(&t, 1 << 10);
    hd_buf_init(&v, 1 << 10);
    put_field_text(&t, 7, "unknown"); /* in another order, with dims in one field, and kinds that are passed over */
    put_field(&t, 3, "abcdefgh", 8);
    put_field(&t, 1, "\2\1", 2);
    (void)hd_buf_append(&t, "\x65zzzz\x69zzzzzzzz", 14);
    put_field_text(&t, 2, "Float32");
    put_field(&v, 2, t.data, t.len);
    put_field_number(&v, 5, UINT64_MAX);
    put_field_text(&v, 1, "odd");
    put_field(b, 1, v.data, v.len);
    hd_buf_free(&t);
    hd_buf_free(&v);
    put_mindspore(b, "none.at.end", 0, -1, "Float32", 0);
}

/* Tensors in slices, as MindSpore cuts large ones, and what stands behind a file with a checksum. */
static inline void put_mindspore_slices(hd_buf *b)
{
    put_mindspore(b, "before", 1, -1, "UInt8", 1);
    put_slice(b, "cut", 4, 3, "Float32", 0, 12);
    put_slice(b, "cut", 4, 3, "Float32", 12, 31); /* not at a row's end, and not at an element's */
    put_slice(b, "cut", 4, 3, "Float32", 43, 5);
    put_slice(b, "cuts", 2, -1, "UInt8", 0, 2);
    (void)hd_buf_append(b, "crc_num\0\0\0\0\0\0\1\2\3\4", 17);
}

#endif
