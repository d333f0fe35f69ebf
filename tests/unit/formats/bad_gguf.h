/* bad_gguf.h: the catalogue of bad GGUF files, in the order of the fields in the file. */
#ifndef HD_TESTS_BAD_GGUF_H
#define HD_TESTS_BAD_GGUF_H

#include "unit/formats/bad_file.h"
#include "unit/formats/build_gguf.h"

#define F32 0u /* GGUF type ids */
#define Q4_0 2u
#define F64 28u

/* ---- header ---- */

static void empty(hd_buf *b)
{
    (void)hd_buf_reserve(b, 1);
}

static void magic_cut(hd_buf *b)
{
    (void)hd_buf_append(b, "GGU", 3);
}

static void magic_wrong(hd_buf *b)
{
    put_head(b, 3, 0, 0);
    b->data[0] = 'g';
}

static void magic_of_ggjt(hd_buf *b)
{
    (void)hd_buf_append(b, "tjgg\3\0\0\0", 8);
}

static void version_cut(hd_buf *b)
{
    (void)hd_buf_append(b, "GGUF\3\0", 6);
}

static void version_0(hd_buf *b)
{
    put_head(b, 0, 0, 0);
}

static void version_1(hd_buf *b)
{
    put_head(b, 1, 0, 0);
}

static void version_4(hd_buf *b)
{
    put_head(b, 4, 0, 0);
}

static void version_big_endian(hd_buf *b)
{
    put_head(b, 0x03000000, 0, 0);
}

static void counts_missing(hd_buf *b)
{
    (void)hd_buf_append(b, "GGUF\3\0\0\0", 8);
}

static void tensor_count_huge(hd_buf *b)
{
    put_head(b, 3, UINT64_MAX, 0);
}

static void tensor_count_one_too_many(hd_buf *b)
{
    put_head(b, 3, 2, 0);
    put_vector(b, "a", 8, 0);
}

static void meta_count_huge(hd_buf *b)
{
    put_head(b, 3, 0, (uint64_t)1 << 63);
}

static void meta_count_one_too_many(hd_buf *b)
{
    put_head(b, 3, 0, 2);
    put_scalar(b, "a.b", HD_META_U32, 1, 4);
}

static void meta_count_over_limit(hd_buf *b)
{
    put_head(b, 3, 0, 65537);
    for (int i = 0; i < 65537; i++)
        put_scalar(b, "k", HD_META_U8, 0, 1);
}

static void tensor_count_over_limit(hd_buf *b)
{
    put_head(b, 3, 1048577, 0);
    for (int i = 0; i < 1048577; i++)
        put_vector(b, "t", 0, 0);
}

/* ---- metadata: keys ---- */

static void key_missing(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_u64(b, 10);
    put_u64(b, 0); /* enough for the count, too little for the key */
}

static void key_length_huge(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_u64(b, UINT64_MAX);
    put_u64(b, 0);
}

static void key_empty(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "", HD_META_U32, 1, 8);
}

static void key_with_newline(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "general.\nname", HD_META_U32, 1, 4);
}

static void key_with_nul(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_bytes(b, "a\0b", 3);
    put_u32(b, HD_META_U32);
    put_u32(b, 1);
}

static void key_not_utf8(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "general.\xc3\x28", HD_META_U32, 1, 4);
}

static void key_too_long(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_u64(b, 65536);
    for (int i = 0; i < 65536; i++)
        (void)hd_buf_putc(b, 'k');
    put_u32(b, HD_META_U8);
    put_le(b, 0, 1);
}

static void key_twice(hd_buf *b)
{
    put_head(b, 3, 0, 3);
    put_scalar(b, "a.same", HD_META_U32, 1, 4);
    put_scalar(b, "a.other", HD_META_U32, 1, 4);
    put_scalar(b, "a.same", HD_META_U8, 1, 1);
}

/* ---- metadata: values ---- */

static void value_type_cut(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_str(b, "key.of.twenty.bytes");
    put_le(b, HD_META_U32, 2);
}

static void value_type_unknown(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "a.b", 13, 0, 8);
}

static void value_u64_cut(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "a.b", HD_META_U64, 0, 7);
}

static void value_bool_of_2(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "a.b", HD_META_BOOL, 2, 1);
}

static void string_length_cut(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "a.b", HD_META_STRING, 0, 5);
}

static void string_cut(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "a.b", HD_META_STRING, 5, 8);
    (void)hd_buf_append(b, "text", 4);
}

static void string_length_huge(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "a.b", HD_META_STRING, UINT64_MAX - 7, 8);
}

static void array_head_cut(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "a.b", HD_META_ARRAY);
    put_u32(b, HD_META_U8);
    put_u32(b, 0); /* half a count */
}

static void array_type_unknown(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "a.b", 99, 0);
}

static void array_of_arrays(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "a.b", HD_META_ARRAY, 1);
    put_u32(b, HD_META_U8);
    put_u64(b, 0);
}

static void array_count_past_end(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "a.b", HD_META_U16, 5);
    put_u64(b, 0);
}

static void array_count_overflows(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "a.b", HD_META_U64, ((uint64_t)1 << 61) + 1); /* 8 bytes modulo 2^64, which are there */
    put_u64(b, 0);
}

static void array_bool_of_7(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "a.b", HD_META_BOOL, 3);
    put_le(b, 0x070100, 3);
}

static void array_strings_past_end(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "tokenizer.ggml.tokens", HD_META_STRING, (uint64_t)1 << 60);
    put_str(b, "a");
}

static void array_string_cut(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "tokenizer.ggml.tokens", HD_META_STRING, 2);
    put_str(b, "first");
    put_u64(b, 6);
    (void)hd_buf_append(b, "secon", 5);
}

/* ---- metadata that the format itself reads ---- */

static void alignment_of_u64(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "general.alignment", HD_META_U64, 32, 8);
}

static void alignment_of_array(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "general.alignment", HD_META_U32, 1);
    put_u32(b, 32);
}

static void alignment_0(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "general.alignment", HD_META_U32, 0, 4);
}

static void alignment_4(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "general.alignment", HD_META_U32, 4, 4);
}

static void alignment_48(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "general.alignment", HD_META_U32, 48, 4);
}

static void split_count_of_string(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "split.count", HD_META_STRING);
    put_str(b, "2");
}

static void split_count_of_array(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_array(b, "split.count", HD_META_U16, 1);
    put_le(b, 2, 2);
}

static void split_count_negative(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "split.count", HD_META_I32, (uint32_t)-2, 4);
}

static void split_count_over_limit(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "split.count", HD_META_U16, 60000, 2);
}

static void split_no_missing(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "split.count", HD_META_U16, 2, 2);
}

static void split_no_of_bool_array(hd_buf *b)
{
    put_head(b, 3, 0, 2);
    put_scalar(b, "split.count", HD_META_U16, 2, 2);
    put_array(b, "split.no", HD_META_BOOL, 1);
    put_le(b, 0, 1);
}

static void split_no_of_other_part(hd_buf *b)
{
    put_head(b, 3, 0, 2);
    put_scalar(b, "split.count", HD_META_U16, 2, 2);
    put_scalar(b, "split.no", HD_META_U16, 1, 2);
}

/* ---- tensors ---- */

static void tensor_name_cut(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_u64(b, 100);
    put_padding(b, 64);
}

static void tensor_name_length_huge(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_u64(b, UINT64_MAX);
    put_padding(b, 64);
}

static void tensor_name_empty(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "", 8, 0);
    put_data(b, 32, 32);
}

static void tensor_name_too_long(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "a.name.of.sixty.five.bytes.which.is.one.more.than.the.format.takes", 8, 0);
    put_data(b, 32, 32);
}

static void tensor_name_with_escape(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "\x1b[31mred", 8, 0);
    put_data(b, 32, 32);
}

static void tensor_name_not_utf8(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "a\xff", 8, 0);
    put_data(b, 32, 32);
}

static void tensor_name_twice(hd_buf *b)
{
    put_head(b, 3, 3, 0);
    put_vector(b, "same", 8, 0);
    put_vector(b, "other", 8, 32);
    put_vector(b, "same", 8, 64);
    put_data(b, 32, 96);
}

static void tensor_dims_5(hd_buf *b)
{
    const uint64_t shape[5] = {1, 1, 1, 1, 1};
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 5, shape, F32, 0);
    put_data(b, 32, 32);
}

static void tensor_dims_huge(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_str(b, "a");
    put_u32(b, UINT32_MAX);
    put_padding(b, 64);
}

static void tensor_shape_cut(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_str(b, "a.name.that.is.long.enough");
    put_u32(b, 4);
    put_u64(b, 8);
}

static void tensor_dim_negative(hd_buf *b)
{
    const uint64_t shape[2] = {8, (uint64_t)-1};
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 2, shape, F32, 0);
    put_data(b, 32, 32);
}

static void tensor_values_overflow(hd_buf *b)
{
    const uint64_t shape[3] = {(uint64_t)1 << 32, (uint64_t)1 << 32, 1};
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 3, shape, F32, 0);
    put_data(b, 32, 32);
}

static void tensor_values_overflow_beside_0(hd_buf *b)
{
    const uint64_t shape[3] = {(uint64_t)1 << 40, (uint64_t)1 << 40, 0};
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 3, shape, F32, 0);
    put_data(b, 32, 32);
}

static void tensor_bytes_overflow(hd_buf *b)
{
    const uint64_t shape[2] = {2, (uint64_t)1 << 60};
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 2, shape, F64, 0);
    put_data(b, 32, 32);
}

static void tensor_row_bytes_overflow(hd_buf *b)
{
    const uint64_t shape[1] = {(uint64_t)1 << 62};
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 1, shape, F64, 0);
    put_data(b, 32, 32);
}

static void tensor_half_a_block(hd_buf *b)
{
    const uint64_t shape[2] = {48, 2};
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 2, shape, Q4_0, 0);
    put_data(b, 32, 64);
}

static void tensor_type_unknown(hd_buf *b)
{
    const uint64_t n = 8;
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 1, &n, 999, 0);
    put_data(b, 32, 32);
}

static void tensor_type_removed(hd_buf *b)
{
    const uint64_t n = 32;
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 1, &n, 4, 0); /* Q4_2, gone since 2023 */
    put_data(b, 32, 32);
}

static void tensor_type_of_activations(hd_buf *b)
{
    const uint64_t n = 32;
    put_head(b, 3, 1, 0);
    put_tensor(b, "a", 1, &n, 9, 0); /* Q8_1, which never lies in files */
    put_data(b, 32, 64);
}

static void tensor_offset_cut(hd_buf *b)
{
    const uint64_t n = 8;
    put_head(b, 3, 1, 0);
    put_tensor(b, "abcd", 1, &n, F32, 0);
    b->len -= 3;
}

static void tensor_offset_not_aligned(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "a", 8, 8);
    put_data(b, 32, 64);
}

static void tensor_offset_not_aligned_to_64(hd_buf *b)
{
    put_head(b, 3, 1, 1);
    put_scalar(b, "general.alignment", HD_META_U32, 64, 4);
    put_vector(b, "a", 8, 32);
    put_data(b, 64, 64);
}

static void tensor_offset_past_end(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "a", 8, 320);
    put_data(b, 32, 32);
}

static void tensor_offset_huge(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "a", 8, (uint64_t)-32); /* wraps back into the file */
    put_data(b, 32, 32);
}

static void tensor_cut_by_one_byte(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "a", 8, 0);
    put_data(b, 32, 31);
}

static void data_missing(hd_buf *b)
{
    put_head(b, 3, 1, 0);
    put_vector(b, "a", 0, 0); /* the file ends before the padding does */
}

static void tensors_overlap(hd_buf *b)
{
    put_head(b, 3, 3, 0);
    put_vector(b, "last", 8, 64);
    put_vector(b, "first", 9, 0);
    put_vector(b, "second", 8, 32);
    put_data(b, 32, 96);
}

static void tensors_in_one_place(hd_buf *b)
{
    put_head(b, 3, 2, 0);
    put_vector(b, "a", 8, 0);
    put_vector(b, "b", 8, 0);
    put_data(b, 32, 32);
}

#undef F32
#undef Q4_0
#undef F64

static const bad_file bad_gguf[] = {
    {"bad-empty", empty, HD_E_FORMAT, "fewer than 4 bytes"},
    {"bad-magic-cut", magic_cut, HD_E_FORMAT, "fewer than 4 bytes"},
    {"bad-magic-wrong", magic_wrong, HD_E_FORMAT, "not a GGUF file: it starts with 'gGUF'"},
    {"bad-magic-of-ggjt", magic_of_ggjt, HD_E_UNSUPPORTED, "from before GGUF"},
    {"bad-version-cut", version_cut, HD_E_FORMAT, "ends inside the header"},
    {"bad-version-0", version_0, HD_E_UNSUPPORTED, "version 0 is not known"},
    {"bad-version-1", version_1, HD_E_UNSUPPORTED, "version 1 is not read"},
    {"bad-version-4", version_4, HD_E_UNSUPPORTED, "version 4 is not known"},
    {"bad-version-big-endian", version_big_endian, HD_E_UNSUPPORTED, "big-endian"},
    {"bad-counts-missing", counts_missing, HD_E_FORMAT, "ends inside the header"},
    {"bad-tensor-count-huge", tensor_count_huge, HD_E_FORMAT, "promises 18446744073709551615 tensors"},
    {"bad-tensor-count-one-too-many", tensor_count_one_too_many, HD_E_FORMAT, "promises 2 tensors"},
    {"bad-meta-count-huge", meta_count_huge, HD_E_FORMAT, "promises 9223372036854775808 metadata entries"},
    {"bad-meta-count-one-too-many", meta_count_one_too_many, HD_E_FORMAT, "promises 2 metadata entries"},
    {"bad-key-missing", key_missing, HD_E_FORMAT, "ends inside metadata key 0"},
    {"bad-key-length-huge", key_length_huge, HD_E_FORMAT, "ends inside metadata key 0"},
    {"bad-key-empty", key_empty, HD_E_FORMAT, "metadata key 0 ('') is not 1 to"},
    {"bad-key-with-newline", key_with_newline, HD_E_FORMAT, "metadata key 0 ('general.?name') is not 1 to"},
    {"bad-key-with-nul", key_with_nul, HD_E_FORMAT, "metadata key 0 ('a?b') is not 1 to"},
    {"bad-key-not-utf8", key_not_utf8, HD_E_FORMAT, "metadata key 0 ('general.?(') is not 1 to"},
    {"bad-key-twice", key_twice, HD_E_FORMAT, "metadata key 'a.same' occurs twice"},
    {"bad-value-type-cut", value_type_cut, HD_E_FORMAT, "value of metadata key 'key.of.twenty.bytes'"},
    {"bad-value-type-unknown", value_type_unknown, HD_E_FORMAT, "metadata key 'a.b' has unknown type 13"},
    {"bad-value-u64-cut", value_u64_cut, HD_E_FORMAT, "ends inside the value of metadata key 'a.b'"},
    {"bad-value-bool-of-2", value_bool_of_2, HD_E_FORMAT, "a bool of value 2"},
    {"bad-string-length-cut", string_length_cut, HD_E_FORMAT, "ends inside the value of metadata key 'a.b'"},
    {"bad-string-cut", string_cut, HD_E_FORMAT, "ends inside the value of metadata key 'a.b'"},
    {"bad-string-length-huge", string_length_huge, HD_E_FORMAT, "ends inside the value of metadata key 'a.b'"},
    {"bad-array-head-cut", array_head_cut, HD_E_FORMAT, "ends inside the value of metadata key 'a.b'"},
    {"bad-array-type-unknown", array_type_unknown, HD_E_FORMAT, "'a.b' is an array of unknown type 99"},
    {"bad-array-of-arrays", array_of_arrays, HD_E_UNSUPPORTED, "'a.b' is an array of arrays"},
    {"bad-array-count-past-end", array_count_past_end, HD_E_FORMAT, "'a.b' is an array of 5 elements"},
    {"bad-array-count-overflows", array_count_overflows, HD_E_FORMAT,
     "'a.b' is an array of 2305843009213693953 elements"},
    {"bad-array-bool-of-7", array_bool_of_7, HD_E_FORMAT, "a bool of value 7"},
    {"bad-array-strings-past-end", array_strings_past_end, HD_E_FORMAT,
     "'tokenizer.ggml.tokens' is an array of 1152921504606846976 elements"},
    {"bad-array-string-cut", array_string_cut, HD_E_FORMAT, "value of metadata key 'tokenizer.ggml.tokens'"},
    {"bad-alignment-of-u64", alignment_of_u64, HD_E_FORMAT, "general.alignment is not of type uint32"},
    {"bad-alignment-of-array", alignment_of_array, HD_E_FORMAT, "general.alignment is not of type uint32"},
    {"bad-alignment-0", alignment_0, HD_E_FORMAT, "general.alignment is 0, not a power of two"},
    {"bad-alignment-4", alignment_4, HD_E_FORMAT, "general.alignment is 4, not a power of two"},
    {"bad-alignment-48", alignment_48, HD_E_FORMAT, "general.alignment is 48, not a power of two"},
    {"bad-split-count-of-string", split_count_of_string, HD_E_FORMAT, "split.count is not a whole number"},
    {"bad-split-count-of-array", split_count_of_array, HD_E_FORMAT, "split.count is not a whole number"},
    {"bad-split-count-negative", split_count_negative, HD_E_FORMAT, "split.count is not a whole number"},
    {"bad-split-count-over-limit", split_count_over_limit, HD_E_LIMIT, "split.count is 60000; at most"},
    {"bad-split-no-missing", split_no_missing, HD_E_FORMAT, "split.no is missing"},
    {"bad-split-no-of-bool-array", split_no_of_bool_array, HD_E_FORMAT, "split.no is missing or not a whole number"},
    {"bad-split-no-of-other-part", split_no_of_other_part, HD_E_FORMAT, "split.no is 1, but"},
    {"bad-tensor-name-cut", tensor_name_cut, HD_E_FORMAT, "ends inside the name of tensor 0"},
    {"bad-tensor-name-length-huge", tensor_name_length_huge, HD_E_FORMAT, "ends inside the name of tensor 0"},
    {"bad-tensor-name-empty", tensor_name_empty, HD_E_FORMAT, "the name of tensor 0 ('') is not 1 to 64 bytes"},
    {"bad-tensor-name-too-long", tensor_name_too_long, HD_E_FORMAT, "is not 1 to 64 bytes"},
    {"bad-tensor-name-with-escape", tensor_name_with_escape, HD_E_FORMAT, "the name of tensor 0 ('?[31mred')"},
    {"bad-tensor-name-not-utf8", tensor_name_not_utf8, HD_E_FORMAT, "the name of tensor 0 ('a?')"},
    {"bad-tensor-name-twice", tensor_name_twice, HD_E_FORMAT, "two tensors have the name 'same'"},
    {"bad-tensor-dims-5", tensor_dims_5, HD_E_FORMAT, "tensor 'a' has 5 dimensions"},
    {"bad-tensor-dims-huge", tensor_dims_huge, HD_E_FORMAT, "tensor 'a' has 4294967295 dimensions"},
    {"bad-tensor-shape-cut", tensor_shape_cut, HD_E_FORMAT, "ends inside the entry of tensor"},
    {"bad-tensor-dim-negative", tensor_dim_negative, HD_E_FORMAT, "dimension 1 of tensor 'a' is 18446744073709551615"},
    {"bad-tensor-values-overflow", tensor_values_overflow, HD_E_FORMAT, "the number of its values overflows"},
    {"bad-tensor-values-overflow-beside-0", tensor_values_overflow_beside_0, HD_E_FORMAT,
     "the number of its values overflows"},
    {"bad-tensor-bytes-overflow", tensor_bytes_overflow, HD_E_FORMAT, "the number of its bytes overflows"},
    {"bad-tensor-row-bytes-overflow", tensor_row_bytes_overflow, HD_E_FORMAT, "the number of its bytes overflows"},
    {"bad-tensor-half-a-block", tensor_half_a_block, HD_E_FORMAT, "not a whole number of blocks"},
    {"bad-tensor-type-unknown", tensor_type_unknown, HD_E_UNSUPPORTED, "tensor 'a' has type 999"},
    {"bad-tensor-type-removed", tensor_type_removed, HD_E_UNSUPPORTED, "tensor 'a' has type 4"},
    {"bad-tensor-type-of-activations", tensor_type_of_activations, HD_E_UNSUPPORTED, "tensor 'a' has type 9"},
    {"bad-tensor-offset-cut", tensor_offset_cut, HD_E_FORMAT, "ends inside the entry of tensor 'abcd'"},
    {"bad-tensor-offset-not-aligned", tensor_offset_not_aligned, HD_E_FORMAT, "offset 8, not a multiple of 32"},
    {"bad-tensor-offset-not-aligned-to-64", tensor_offset_not_aligned_to_64, HD_E_FORMAT,
     "offset 32, not a multiple of 64"},
    {"bad-tensor-offset-past-end", tensor_offset_past_end, HD_E_FORMAT, "(32 bytes at offset 320) lies past the end"},
    {"bad-tensor-offset-huge", tensor_offset_huge, HD_E_FORMAT, "offset 18446744073709551584) lies past the end"},
    {"bad-tensor-cut-by-one-byte", tensor_cut_by_one_byte, HD_E_FORMAT, "(32 bytes at offset 0) lies past the end"},
    {"bad-data-missing", data_missing, HD_E_FORMAT, "ends before the tensor data"},
    {"bad-tensors-overlap", tensors_overlap, HD_E_FORMAT, "tensors 'first' and 'second' overlap"},
    {"bad-tensors-in-one-place", tensors_in_one_place, HD_E_FORMAT, "overlap"},
};

static const bad_file bad_gguf_large[] = {
    {"bad-meta-count-over-limit", meta_count_over_limit, HD_E_LIMIT, "65537 metadata entries; at most 65536"},
    {"bad-tensor-count-over-limit", tensor_count_over_limit, HD_E_LIMIT, "1048577 tensors; at most 1048576"},
    {"bad-key-too-long", key_too_long, HD_E_FORMAT, "kkk...') is not 1 to 65535 bytes"},
};

#endif
