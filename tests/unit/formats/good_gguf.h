/* good_gguf.h: GGUF files that must open; also seeds of the fuzzer. */
#ifndef HD_TESTS_GOOD_GGUF_H
#define HD_TESTS_GOOD_GGUF_H

#include "unit/formats/build_gguf.h"

/* Every metadata type as a scalar and as an array, then two tensors: what test_gguf.c reads back. */
static inline void put_every_type(hd_buf *b, uint32_t version)
{
    put_head(b, version, 2, 25);
    put_scalar(b, "s.u8", HD_META_U8, 200, 1);
    put_scalar(b, "s.i8", HD_META_I8, (uint8_t)-100, 1);
    put_scalar(b, "s.u16", HD_META_U16, 60000, 2);
    put_scalar(b, "s.i16", HD_META_I16, (uint16_t)-30000, 2);
    put_scalar(b, "s.u32", HD_META_U32, 4000000000u, 4);
    put_scalar(b, "s.i32", HD_META_I32, (uint32_t)-2000000000, 4);
    put_scalar(b, "s.f32", HD_META_F32, 0x3fc00000, 4); /* 1.5 */
    put_scalar(b, "s.bool", HD_META_BOOL, 1, 1);
    put_key(b, "s.string", HD_META_STRING);
    put_bytes(b, "a\0\xff", 3); /* values are bytes: tokens need not be UTF-8 */
    put_scalar(b, "s.u64", HD_META_U64, UINT64_MAX, 8);
    put_scalar(b, "s.i64", HD_META_I64, (uint64_t)INT64_MIN, 8);
    put_scalar(b, "s.f64", HD_META_F64, 0xc004000000000000, 8); /* -2.5 */
    put_array(b, "a.u8", HD_META_U8, 3);
    put_le(b, 0x030201, 3);
    put_array(b, "a.i8", HD_META_I8, 2);
    put_le(b, 0xff01, 2);
    put_array(b, "a.u16", HD_META_U16, 2);
    put_le(b, 0xffff0001, 4);
    put_array(b, "a.i16", HD_META_I16, 2);
    put_le(b, 0xffff0001, 4);
    put_array(b, "a.u32", HD_META_U32, 1);
    put_u32(b, 0xffffffff);
    put_array(b, "a.i32", HD_META_I32, 2);
    put_u64(b, 0xffffffff00000007);
    put_array(b, "a.f32", HD_META_F32, 2);
    put_u64(b, 0x3fc00000bfc00000); /* -1.5, 1.5 */
    put_array(b, "a.bool", HD_META_BOOL, 3);
    put_le(b, 0x010001, 3);
    put_array(b, "a.string", HD_META_STRING, 3);
    put_str(b, "one");
    put_str(b, "");
    put_str(b, "three");
    put_array(b, "a.u64", HD_META_U64, 1);
    put_u64(b, 1ull << 63);
    put_array(b, "a.i64", HD_META_I64, 1);
    put_u64(b, (uint64_t)-1);
    put_array(b, "a.f64", HD_META_F64, 1);
    put_u64(b, 0x4004000000000000); /* 2.5 */
    put_array(b, "a.empty", HD_META_STRING, 0);
    const uint64_t matrix[2] = {4, 3}; /* 3 rows of 4 */
    put_tensor(b, "matrix", 2, matrix, 1, 32);
    put_vector(b, "vector", 8, 0);
    put_data(b, 32, 32 + 24);
}

/* A part of a split model with one tensor of its own. */
static inline void put_part(hd_buf *b, unsigned no, unsigned count, const char *tensor, uint64_t tensors)
{
    put_head(b, 3, 1, no == 0 ? 4 : 2);
    if (no == 0) {
        put_key(b, "general.name", HD_META_STRING);
        put_str(b, "split");
        put_scalar(b, "split.tensors.count", HD_META_I32, tensors, 4);
    }
    put_scalar(b, "split.no", HD_META_U16, no, 2);
    put_scalar(b, "split.count", HD_META_U16, count, 2);
    put_vector(b, tensor, 8, 0);
    put_data(b, 32, 32);
}

/* Alignment 64, a scalar, a tensor without values, one of blocks, and a hole between two tensors. */
static inline void put_odd_shapes(hd_buf *b)
{
    const uint64_t none[3] = {32, 0, 5}, blocks[3] = {64, 2, 1};
    put_head(b, 3, 4, 1);
    put_scalar(b, "general.alignment", HD_META_U32, 64, 4);
    put_tensor(b, "scalar", 0, NULL, 0, 0);
    put_tensor(b, "none", 3, none, 2, 64);
    put_tensor(b, "blocks", 3, blocks, 2, 64);
    put_vector(b, "after.hole", 1, 256);
    put_data(b, 64, 260);
}

/* Nothing at all in it. */
static inline void put_nothing(hd_buf *b)
{
    put_head(b, 3, 0, 0);
}

#endif
