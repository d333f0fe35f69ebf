/* bad_mindspore.h: the catalogue of bad MindSpore checkpoints; see bad_file.h. */
#ifndef HD_TESTS_BAD_MINDSPORE_H
#define HD_TESTS_BAD_MINDSPORE_H

#include "unit/formats/bad_file.h"
#include "unit/formats/build_mindspore.h"

#define BYTES(b, text) (void)hd_buf_append(b, text, sizeof(text) - 1)

static inline void ms_empty(hd_buf *b)
{
    (void)b;
}

static inline void ms_only_text(hd_buf *b)
{
    put_mindspore(b, "text", 0, -1, "str", 8);
}

static inline void ms_encrypted(hd_buf *b)
{
    BYTES(b, "\xd8\x5e\x3a\x7f\x70\x8c\xe5\x46");
}

static inline void ms_zip(hd_buf *b)
{
    BYTES(b, "PK\3\4 and so on"); /* a checkpoint of PyTorch: a number, then field 0 */
}

static inline void ms_field_zero(hd_buf *b)
{
    BYTES(b, "\2\1a");
}

static inline void ms_group(hd_buf *b)
{
    BYTES(b, "\x0b\x0c");
}

static inline void ms_value_a_number(hd_buf *b)
{
    put_field_number(b, 1, 7);
}

static inline void ms_long_key(hd_buf *b)
{
    BYTES(b, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1");
}

static inline void ms_length_of_65_bits(hd_buf *b)
{
    BYTES(b, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\2");
}

static inline void ms_length_cut(hd_buf *b)
{
    BYTES(b, "\x0a\x80");
}

static inline void ms_length_beyond(hd_buf *b)
{
    BYTES(b, "\x0a\x7f\x0a\1a");
}

static inline void ms_length_huge(hd_buf *b)
{
    BYTES(b, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\1");
}

static inline void ms_tag_beyond(hd_buf *b)
{
    BYTES(b, "\x0a\4\x0a\x7f"
             "ab");
}

static inline void ms_no_tag(hd_buf *b)
{
    put_mindspore(b, NULL, 1, -1, "Int8", 1);
}

static inline void ms_no_tensor(hd_buf *b)
{
    BYTES(b, "\x0a\3\x0a\1a");
}

static inline void ms_map(hd_buf *b)
{
    BYTES(b, "\x0a\5\x0a\1a\x1a\0");
}

static inline void ms_tag_number(hd_buf *b)
{
    BYTES(b, "\x0a\2\x08\1");
}

static inline void ms_two_tags(hd_buf *b)
{
    BYTES(b, "\x0a\6\x0a\1a\x0a\1b");
}

static inline void ms_two_tensors(hd_buf *b)
{
    BYTES(b, "\x0a\4\x12\0\x12\0");
}

static inline void ms_empty_tag(hd_buf *b)
{
    put_mindspore(b, "", 1, -1, "Int8", 1);
}

static inline void ms_control_in_tag(hd_buf *b)
{
    put_mindspore(b, "a\nb", 1, -1, "Int8", 1);
}

static inline void ms_tag_no_utf8(hd_buf *b)
{
    put_mindspore(b, "a\xff", 1, -1, "Int8", 1);
}

static inline void ms_long_tag(hd_buf *b)
{
    char tag[600];
    memset(tag, 'a', sizeof tag);
    tag[sizeof tag - 1] = '\0';
    put_mindspore(b, tag, 1, -1, "Int8", 1);
}

/* A value "t" with these bytes as its TensorProto. */
static inline void ms_tensor(hd_buf *b, const char *bytes, size_t len)
{
    hd_buf t;
    hd_buf_init(&t, 1 << 16);
    (void)hd_buf_append(&t, bytes, len);
    put_value_of(b, "t", &t);
    hd_buf_free(&t);
}
#define MS_TENSOR(b, text) ms_tensor(b, text, sizeof(text) - 1)

static inline void ms_no_type(hd_buf *b)
{
    MS_TENSOR(b, "\x08\1\x1a\1a");
}

static inline void ms_no_content(hd_buf *b)
{
    MS_TENSOR(b, "\x08\1\x12\4Int8");
}

static inline void ms_two_types(hd_buf *b)
{
    MS_TENSOR(b, "\x12\4Int8\x12\4Int8");
}

static inline void ms_two_contents(hd_buf *b)
{
    MS_TENSOR(b, "\x1a\1a\x1a\1a");
}

static inline void ms_content_number(hd_buf *b)
{
    MS_TENSOR(b, "\x18\1");
}

static inline void ms_dims_four_bytes(hd_buf *b)
{
    MS_TENSOR(b, "\x0d\1\0\0\0");
}

static inline void ms_dims_cut(hd_buf *b)
{
    MS_TENSOR(b, "\x0a\2\1\x80");
}

static inline void ms_dim_number_cut(hd_buf *b)
{
    MS_TENSOR(b, "\x08\x80");
}

static inline void ms_negative_dim(hd_buf *b)
{
    MS_TENSOR(b, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\x12\4Int8\x1a\1a");
}

static inline void ms_five_dims(hd_buf *b)
{
    MS_TENSOR(b, "\x0a\5\1\1\1\1\1\x12\4Int8\x1a\1a");
}

static inline void ms_unknown_type(hd_buf *b)
{
    put_mindspore(b, "t", 1, -1, "Complex64", 8);
}

static inline void ms_empty_type(hd_buf *b)
{
    put_mindspore(b, "t", 1, -1, "", 8);
}

static inline void ms_type_of_other_case(hd_buf *b)
{
    put_mindspore(b, "t", 1, -1, "float32", 4);
}

static inline void ms_too_few_bytes(hd_buf *b)
{
    put_mindspore(b, "t", 2, 2, "Float32", 12);
}

static inline void ms_too_many_bytes(hd_buf *b)
{
    put_mindspore(b, "t", 2, 2, "Float32", 17);
}

static inline void ms_values_overflow(hd_buf *b)
{
    put_mindspore(b, "t", INT64_MAX, 3, "Int8", 1);
}

static inline void ms_values_overflow_but_none(hd_buf *b)
{
    MS_TENSOR(b, "\x08\x80\x80\x80\x80\x80\x80\x40\x08\x80\x80\x80\x80\x80\x80\x40\x08\0\x12\4Int8\x1a\0");
}

static inline void ms_bytes_overflow(hd_buf *b)
{
    put_mindspore(b, "t", INT64_MAX / 2, -1, "Float64", 8);
}

static inline void ms_missing_slice(hd_buf *b)
{
    put_slice(b, "t", 4, -1, "Float32", 0, 8);
    put_slice(b, "u", 1, -1, "Int8", 0, 1);
}

static inline void ms_slice_too_many(hd_buf *b)
{
    put_slice(b, "t", 4, -1, "Float32", 0, 8);
    put_slice(b, "t", 4, -1, "Float32", 8, 8);
    put_slice(b, "t", 4, -1, "Float32", 16, 8);
}

static inline void ms_slices_of_two_shapes(hd_buf *b)
{
    put_slice(b, "t", 4, -1, "Float32", 0, 8);
    put_slice(b, "t", 2, -1, "Float32", 8, 8);
}

static inline void ms_slices_of_two_ranks(hd_buf *b)
{
    put_slice(b, "t", 4, -1, "Float32", 0, 8);
    put_slice(b, "t", 4, 1, "Float32", 8, 8);
}

static inline void ms_slices_of_two_types(hd_buf *b)
{
    put_slice(b, "t", 4, -1, "Float32", 0, 8);
    put_slice(b, "t", 4, -1, "Int32", 8, 8);
}

static inline void ms_twice(hd_buf *b)
{
    put_mindspore(b, "t", 1, -1, "Int8", 1);
    put_mindspore(b, "u", 1, -1, "Int8", 1);
    put_mindspore(b, "t", 1, -1, "Int8", 1);
}

static inline void ms_checksum_alone(hd_buf *b)
{
    BYTES(b, "crc_num\0\0\0\0\0\0\1\2\3\4");
}

static inline void ms_checksum_cut(hd_buf *b)
{
    put_mindspore(b, "t", 1, -1, "Int8", 1);
    BYTES(b, "crc_num\0\0\0");
}

static const bad_file bad_mindspore[] = {
    {"bad-empty", ms_empty, HD_E_FORMAT, "without any tensor"},
    {"bad-only-text", ms_only_text, HD_E_FORMAT, "without any tensor"},
    {"bad-encrypted", ms_encrypted, HD_E_UNSUPPORTED, "is encrypted by MindSpore"},
    {"bad-zip", ms_zip, HD_E_FORMAT, "byte 2: not a field"},
    {"bad-field-zero", ms_field_zero, HD_E_FORMAT, "byte 0: not a field"},
    {"bad-group", ms_group, HD_E_FORMAT, "a field of kind 3"},
    {"bad-value-a-number", ms_value_a_number, HD_E_FORMAT, "byte 0: not a field"},
    {"bad-long-key", ms_long_key, HD_E_FORMAT, "byte 0: not a field"},
    {"bad-length-of-65-bits", ms_length_of_65_bits, HD_E_FORMAT, "byte 0: a number is damaged"},
    {"bad-length-cut", ms_length_cut, HD_E_FORMAT, "byte 0: a number is damaged"},
    {"bad-length-beyond", ms_length_beyond, HD_E_FORMAT, "byte 0: a field of 127 bytes, but only 3 follow"},
    {"bad-length-huge", ms_length_huge, HD_E_FORMAT, "bytes, but only 0 follow"},
    {"bad-tag-beyond", ms_tag_beyond, HD_E_FORMAT, "byte 2: a field of 127 bytes, but only 2 follow"},
    {"bad-no-tag", ms_no_tag, HD_E_FORMAT, "byte 0: a value has no tag"},
    {"bad-no-tensor", ms_no_tensor, HD_E_FORMAT, "the value 'a' has no tensor"},
    {"bad-map", ms_map, HD_E_UNSUPPORTED, "MapParameter"},
    {"bad-tag-number", ms_tag_number, HD_E_FORMAT, "the tag of a value is not bytes"},
    {"bad-two-tags", ms_two_tags, HD_E_FORMAT, "has its tag twice"},
    {"bad-two-tensors", ms_two_tensors, HD_E_FORMAT, "has its tensor twice"},
    {"bad-empty-tag", ms_empty_tag, HD_E_FORMAT, "the tag '' is not"},
    {"bad-control-in-tag", ms_control_in_tag, HD_E_FORMAT, "the tag 'a?b' is not"},
    {"bad-tag-no-utf8", ms_tag_no_utf8, HD_E_FORMAT, "the tag 'a?' is not"},
    {"bad-long-tag", ms_long_tag, HD_E_FORMAT, "is not 1 to 512 bytes"},
    {"bad-no-type", ms_no_type, HD_E_FORMAT, "tensor 't': byte 0: a tensor has no tensor_type"},
    {"bad-no-content", ms_no_content, HD_E_FORMAT, "has no tensor_content"},
    {"bad-two-types", ms_two_types, HD_E_FORMAT, "has its tensor_type twice"},
    {"bad-two-contents", ms_two_contents, HD_E_FORMAT, "has its tensor_content twice"},
    {"bad-content-number", ms_content_number, HD_E_FORMAT, "the tensor_content of a value is not bytes"},
    {"bad-dims-four-bytes", ms_dims_four_bytes, HD_E_FORMAT, "are no numbers"},
    {"bad-dims-cut", ms_dims_cut, HD_E_FORMAT, "the dims of a value are damaged"},
    {"bad-dim-number-cut", ms_dim_number_cut, HD_E_FORMAT, "byte 7: a number is damaged"},
    {"bad-negative-dim", ms_negative_dim, HD_E_FORMAT, "a dimension is -1"},
    {"bad-five-dims", ms_five_dims, HD_E_UNSUPPORTED, "more than 4 dimensions"},
    {"bad-unknown-type", ms_unknown_type, HD_E_UNSUPPORTED, "tensor 't' has tensor_type 'Complex64'"},
    {"bad-empty-type", ms_empty_type, HD_E_UNSUPPORTED, "tensor 't' has tensor_type ''"},
    {"bad-type-of-other-case", ms_type_of_other_case, HD_E_UNSUPPORTED, "tensor_type 'float32'"},
    {"bad-too-few-bytes", ms_too_few_bytes, HD_E_FORMAT, "needs 16 bytes by its type and shape, but has 12"},
    {"bad-too-many-bytes", ms_too_many_bytes, HD_E_FORMAT, "needs 16 bytes by its type and shape, but has 17"},
    {"bad-values-overflow", ms_values_overflow, HD_E_FORMAT, "the number of its values overflows"},
    {"bad-values-overflow-but-none", ms_values_overflow_but_none, HD_E_FORMAT, "the number of its values overflows"},
    {"bad-bytes-overflow", ms_bytes_overflow, HD_E_FORMAT, "the number of its bytes overflows"},
    {"bad-missing-slice", ms_missing_slice, HD_E_FORMAT, "tensor 't' needs 16 bytes by its type and shape, but has 8"},
    {"bad-slice-too-many", ms_slice_too_many, HD_E_FORMAT, "needs 16 bytes by its type and shape, but has 24"},
    {"bad-slices-of-two-shapes", ms_slices_of_two_shapes, HD_E_FORMAT, "slices of tensor 't' differ"},
    {"bad-slices-of-two-ranks", ms_slices_of_two_ranks, HD_E_FORMAT, "slices of tensor 't' differ"},
    {"bad-slices-of-two-types", ms_slices_of_two_types, HD_E_FORMAT, "slices of tensor 't' differ"},
    {"bad-twice", ms_twice, HD_E_FORMAT, "tensor 't' occurs twice"},
    {"bad-checksum-alone", ms_checksum_alone, HD_E_FORMAT, "without any tensor"},
    {"bad-checksum-cut", ms_checksum_cut, HD_E_FORMAT, "a field of kind 3"},
};

/* One value more than is read, each of one byte; with `same` slices of one tensor. */
static inline void ms_many(hd_buf *b, bool same)
{
    char value[] = "\x0a\x15\x0a\x06tttttt\x12\x0b\x08\x01\x12\x04Int8\x1a\x01";
    for (size_t i = 0; i <= (size_t)1 << 20; i++) {
        for (int c = 0; c < 6 && !same; c++)
            value[4 + c] = (char)('a' + (i >> (4 * c) & 15));
        (void)hd_buf_append(b, value, sizeof value); /* its content is the NUL */
    }
}

static inline void ms_many_tensors(hd_buf *b)
{
    ms_many(b, false);
}

static inline void ms_many_slices(hd_buf *b)
{
    ms_many(b, true);
}

static const bad_file bad_mindspore_large[] = {
    {"bad-many-tensors", ms_many_tensors, HD_E_LIMIT, "more than 1048576 tensors"},
    {"bad-many-slices", ms_many_slices, HD_E_LIMIT, "more than 1048576 slices"},
};

#undef BYTES
#undef MS_TENSOR

#endif
