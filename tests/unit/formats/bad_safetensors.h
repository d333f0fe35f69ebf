/* bad_safetensors.h: the catalogue of bad safetensors files, in the order of the fields in the file. */
#ifndef HD_TESTS_BAD_SAFETENSORS_H
#define HD_TESTS_BAD_SAFETENSORS_H

#include "unit/formats/bad_file.h"
#include "unit/formats/build_safetensors.h"

/* ---- length and header ---- */

static void st_empty(hd_buf *b)
{
    (void)hd_buf_reserve(b, 1);
}

static void st_length_cut(hd_buf *b)
{
    (void)hd_buf_append(b, "\2\0\0\0\0\0\0", 7);
}

static void st_length_past_end(hd_buf *b)
{
    (void)hd_buf_append(b, "\3\0\0\0\0\0\0\0{}", 10);
}

static void st_length_huge(hd_buf *b)
{
    (void)hd_buf_append(b, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
}

static void st_length_0(hd_buf *b)
{
    put_safetensors(b, "", 8);
}

static void st_length_over_limit(hd_buf *b)
{
    size_t n = ((size_t)32 << 20) + 1;
    put_safetensors(b, "", n);
    if (b->status != HD_OK) return;
    b->data[0] = 1; /* 0x02000001 bytes of header, all of them there */
    b->data[3] = 2;
}

static void st_header_starts_with_space(hd_buf *b)
{
    put_safetensors(b, " {}", 0);
}

static void st_header_is_array(hd_buf *b)
{
    put_safetensors(b, "[]", 0);
}

static void st_header_not_closed(hd_buf *b)
{
    put_safetensors(b, "{\"a\":{\"dtype\":\"F32\"", 0);
}

static void st_header_with_rest(hd_buf *b)
{
    put_safetensors(b, "{} {}", 0);
}

static void st_header_with_nul(hd_buf *b)
{
    put_safetensors_bytes(b, "{}\0\0", 4, 0);
}

static void st_header_not_utf8(hd_buf *b)
{
    put_safetensors(b, "{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0);
}

static void st_header_too_deep(hd_buf *b)
{
    (void)hd_buf_puts(b, "\xa5\x0f"); /* 4005 */
    (void)hd_buf_append(b, "\0\0\0\0\0\0{\"a\":", 11);
    for (int i = 0; i < 4000; i++)
        (void)hd_buf_putc(b, '[');
}

static void st_metadata_is_string(hd_buf *b)
{
    put_safetensors(b, "{\"__metadata__\":\"pt\"}", 0);
}

static void st_metadata_of_number(hd_buf *b)
{
    put_safetensors(b, "{\"__metadata__\":{\"format\":\"pt\",\"step\":7}}", 0);
}

/* More entries than are read: counted before any is looked at. */
static void st_too_many_tensors(hd_buf *b)
{
    hd_buf header;
    hd_buf_init(&header, (size_t)32 << 20);
    for (int i = 0; i < 1048577; i++)
        (void)hd_buf_printf(&header, "%s\"%d\":0", i ? "," : "{", i);
    (void)hd_buf_putc(&header, '}');
    put_safetensors_bytes(b, header.data, header.len, 0);
    hd_buf_free(&header);
}

/* ---- tensors ---- */

/* One tensor "a" of this description, with `n` bytes of data. */
static void put_one(hd_buf *b, const char *description, size_t n)
{
    hd_buf header;
    hd_buf_init(&header, 1 << 16);
    (void)hd_buf_printf(&header, "{\"a\":%s}", description);
    put_safetensors(b, header.data, n);
    hd_buf_free(&header);
}

static void st_name_empty(hd_buf *b)
{
    put_safetensors(b, "{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
}

static void st_name_with_control(hd_buf *b)
{
    put_safetensors(b, "{\"a\\u001bb\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
}

static void st_name_with_nul(hd_buf *b)
{
    put_safetensors(b, "{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
}

static void st_name_too_long(hd_buf *b)
{
    hd_buf header;
    hd_buf_init(&header, 1 << 16);
    (void)hd_buf_puts(&header, "{\"");
    for (int i = 0; i < 513; i++)
        (void)hd_buf_putc(&header, 'n');
    (void)hd_buf_puts(&header, "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}");
    put_safetensors(b, header.data, 1);
    hd_buf_free(&header);
}

static void st_name_twice(hd_buf *b)
{
    put_safetensors(b,
                    "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                    "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                    2);
}

static void st_tensor_is_array(hd_buf *b)
{
    put_one(b, "[\"F32\",[1],[0,4]]", 4);
}

static void st_field_unknown(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"scale\":2}", 1);
}

static void st_field_twice(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[2],\"data_offsets\":[0,1]}", 1);
}

static void st_dtype_missing(hd_buf *b)
{
    put_one(b, "{\"shape\":[1],\"data_offsets\":[0,4]}", 4);
}

static void st_dtype_of_number(hd_buf *b)
{
    put_one(b, "{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}", 4);
}

static void st_dtype_unknown(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}", 4);
}

static void st_dtype_f4(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}", 1);
}

static void st_dtype_u64(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[0,8]}", 8);
}

static void st_shape_missing(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"data_offsets\":[0,4]}", 4);
}

static void st_shape_of_number(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}", 4);
}

static void st_shape_negative(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[-1,-1],\"data_offsets\":[0,4]}", 4);
}

static void st_shape_of_float(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}", 4);
}

static void st_shape_of_5(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}", 4);
}

static void st_shape_beyond_int64(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"U8\",\"shape\":[18446744073709551617],\"data_offsets\":[0,1]}", 1);
}

static void st_shape_overflows(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}", 0);
}

static void st_shape_overflows_bytes(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F64\",\"shape\":[2,1152921504606846976],\"data_offsets\":[0,0]}", 0);
}

static void st_offsets_missing(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1]}", 4);
}

static void st_offsets_of_object(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{\"0\":0,\"1\":4}}", 4);
}

static void st_offsets_of_1(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4]}", 4);
}

static void st_offsets_of_3(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}", 4);
}

static void st_offsets_of_string(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}", 4);
}

static void st_offsets_negative(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}", 4);
}

static void st_offsets_reversed(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}", 4);
}

static void st_offsets_past_end(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 3);
}

static void st_offsets_huge(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775803,9223372036854775807]}", 4);
}

static void st_size_too_small(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,12]}", 12);
}

static void st_size_too_large(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[0,2],\"data_offsets\":[0,4]}", 4);
}

static void st_overlap(hd_buf *b)
{
    put_safetensors(b,
                    "{\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[1,4]},"
                    "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
                    4);
}

static void st_same_place(hd_buf *b)
{
    put_safetensors(b,
                    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
                    4);
}

static void st_hole(hd_buf *b)
{
    put_safetensors(b,
                    "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                    "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]}}",
                    4);
}

static void st_rest(hd_buf *b)
{
    put_one(b, "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}", 9);
}

static const bad_file bad_safetensors[] = {
    {"bad-empty", st_empty, HD_E_FORMAT, "fewer than 8 bytes"},
    {"bad-length-cut", st_length_cut, HD_E_FORMAT, "fewer than 8 bytes"},
    {"bad-length-past-end", st_length_past_end, HD_E_FORMAT, "promise a header of 3 bytes, but only 2 follow"},
    {"bad-length-huge", st_length_huge, HD_E_FORMAT, "promise a header of 18446744073709551615 bytes"},
    {"bad-length-0", st_length_0, HD_E_FORMAT, "does not start with '{'"},
    {"bad-header-starts-with-space", st_header_starts_with_space, HD_E_FORMAT, "does not start with '{'"},
    {"bad-header-is-array", st_header_is_array, HD_E_FORMAT, "does not start with '{'"},
    {"bad-header-not-closed", st_header_not_closed, HD_E_FORMAT, "the header: not valid JSON"},
    {"bad-header-with-rest", st_header_with_rest, HD_E_FORMAT, "the header: not valid JSON"},
    {"bad-header-with-nul", st_header_with_nul, HD_E_FORMAT, "the header: not valid JSON"},
    {"bad-header-not-utf8", st_header_not_utf8, HD_E_FORMAT, "unable to decode byte 0xff"},
    {"bad-header-too-deep", st_header_too_deep, HD_E_FORMAT, "maximum parsing depth"},
    {"bad-metadata-is-string", st_metadata_is_string, HD_E_FORMAT, "__metadata__ is not an object"},
    {"bad-metadata-of-number", st_metadata_of_number, HD_E_FORMAT, "__metadata__: the value of 'step' is not a string"},
    {"bad-name-empty", st_name_empty, HD_E_FORMAT, "the tensor name '' is not"},
    {"bad-name-with-control", st_name_with_control, HD_E_FORMAT, "the tensor name 'a?b' is not"},
    {"bad-name-with-nul", st_name_with_nul, HD_E_FORMAT, "NUL byte in object key"},
    {"bad-name-too-long", st_name_too_long, HD_E_FORMAT, "nnn...' is not 1 to 512 bytes"},
    {"bad-name-twice", st_name_twice, HD_E_FORMAT, "duplicate object key"},
    {"bad-tensor-is-array", st_tensor_is_array, HD_E_FORMAT, "tensor 'a' is not described by an object"},
    {"bad-field-unknown", st_field_unknown, HD_E_UNSUPPORTED, "tensor 'a' has a field 'scale'"},
    {"bad-field-twice", st_field_twice, HD_E_FORMAT, "duplicate object key"},
    {"bad-dtype-missing", st_dtype_missing, HD_E_FORMAT, "tensor 'a': \"dtype\" is missing"},
    {"bad-dtype-of-number", st_dtype_of_number, HD_E_FORMAT, "tensor 'a': \"dtype\" is missing or not a string"},
    {"bad-dtype-unknown", st_dtype_unknown, HD_E_UNSUPPORTED, "tensor 'a' has dtype 'f32'"},
    {"bad-dtype-f4", st_dtype_f4, HD_E_UNSUPPORTED, "tensor 'a' has dtype 'F4'"},
    {"bad-dtype-u64", st_dtype_u64, HD_E_UNSUPPORTED, "tensor 'a' has dtype 'U64'"},
    {"bad-shape-missing", st_shape_missing, HD_E_FORMAT, "tensor 'a': \"shape\" is missing"},
    {"bad-shape-of-number", st_shape_of_number, HD_E_FORMAT, "tensor 'a': \"shape\" is missing or not an array"},
    {"bad-shape-negative", st_shape_negative, HD_E_FORMAT, "entry 0 of \"shape\" is not an integer"},
    {"bad-shape-of-float", st_shape_of_float, HD_E_FORMAT, "entry 0 of \"shape\" is not an integer"},
    {"bad-shape-of-5", st_shape_of_5, HD_E_UNSUPPORTED, "tensor 'a' has 5 dimensions"},
    {"bad-shape-beyond-int64", st_shape_beyond_int64, HD_E_FORMAT, "too big integer"},
    {"bad-shape-overflows", st_shape_overflows, HD_E_FORMAT, "the number of its values overflows"},
    {"bad-shape-overflows-bytes", st_shape_overflows_bytes, HD_E_FORMAT, "the number of its bytes overflows"},
    {"bad-offsets-missing", st_offsets_missing, HD_E_FORMAT, "\"data_offsets\" is missing"},
    {"bad-offsets-of-object", st_offsets_of_object, HD_E_FORMAT, "\"data_offsets\" is missing or not an array of two"},
    {"bad-offsets-of-1", st_offsets_of_1, HD_E_FORMAT, "\"data_offsets\" is missing or not an array of two"},
    {"bad-offsets-of-3", st_offsets_of_3, HD_E_FORMAT, "\"data_offsets\" is missing or not an array of two"},
    {"bad-offsets-of-string", st_offsets_of_string, HD_E_FORMAT, "\"data_offsets\" is missing or not an array of two"},
    {"bad-offsets-negative", st_offsets_negative, HD_E_FORMAT, "\"data_offsets\" [-4, 0] is no range"},
    {"bad-offsets-reversed", st_offsets_reversed, HD_E_FORMAT, "\"data_offsets\" [4, 0] is no range"},
    {"bad-offsets-past-end", st_offsets_past_end, HD_E_FORMAT, "ends at byte 4 of the data, past the end"},
    {"bad-offsets-huge", st_offsets_huge, HD_E_FORMAT, "ends at byte 9223372036854775807 of the data"},
    {"bad-size-too-small", st_size_too_small, HD_E_FORMAT, "needs 16 bytes by its dtype and shape, but"},
    {"bad-size-too-large", st_size_too_large, HD_E_FORMAT, "needs 0 bytes by its dtype and shape, but"},
    {"bad-overlap", st_overlap, HD_E_FORMAT, "the data of tensors 'a' and 'b' overlap"},
    {"bad-same-place", st_same_place, HD_E_FORMAT, "overlap"},
    {"bad-hole", st_hole, HD_E_FORMAT, "2 bytes before tensor 'b' belong to no tensor"},
    {"bad-rest", st_rest, HD_E_FORMAT, "5 bytes at the end of the file belong to no tensor"},
};

static const bad_file bad_safetensors_large[] = {
    {"bad-length-over-limit", st_length_over_limit, HD_E_LIMIT, "the header has 33554433 bytes; at most 33554432"},
    {"bad-too-many-tensors", st_too_many_tensors, HD_E_LIMIT, "1048577 tensors; at most 1048576"},
};

#endif
