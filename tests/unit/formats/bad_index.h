/* bad_index.h: the catalogue of bad model.safetensors.index.json. */
#ifndef HD_TESTS_BAD_INDEX_H
#define HD_TESTS_BAD_INDEX_H

#include "unit/formats/bad_file.h"

/* An index that puts tensor "a" into this file (JSON, with its quotes). */
static void put_map(hd_buf *b, const char *file)
{
    (void)hd_buf_printf(b, "{\"metadata\":{\"total_size\":4},\"weight_map\":{\"a\":%s}}", file);
}

static void index_empty(hd_buf *b)
{
    (void)hd_buf_reserve(b, 1);
}

static void index_cut(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"weight_map\":{\"a\":\"m.safetensors\"}");
}

static void index_is_array(hd_buf *b)
{
    (void)hd_buf_puts(b, "[{\"weight_map\":{\"a\":\"m.safetensors\"}}]");
}

static void index_without_map(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"metadata\":{\"total_size\":4}}");
}

static void index_map_is_array(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"weight_map\":[\"m.safetensors\"]}");
}

static void index_map_empty(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"weight_map\":{}}");
}

static void index_tensor_twice(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"weight_map\":{\"a\":\"m.safetensors\",\"a\":\"n.safetensors\"}}");
}

static void index_tensor_name_empty(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"weight_map\":{\"\":\"m.safetensors\"}}");
}

static void index_tensor_name_with_control(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"weight_map\":{\"a\\nb\":\"m.safetensors\"}}");
}

static void index_file_of_number(hd_buf *b)
{
    put_map(b, "1");
}

static void index_file_empty(hd_buf *b)
{
    put_map(b, "\"\"");
}

static void index_file_absolute(hd_buf *b)
{
    put_map(b, "\"/etc/passwd\"");
}

static void index_file_above(hd_buf *b)
{
    put_map(b, "\"../m.safetensors\"");
}

static void index_file_below(hd_buf *b)
{
    put_map(b, "\"sub/m.safetensors\"");
}

static void index_file_backslash(hd_buf *b)
{
    put_map(b, "\"sub\\\\m.safetensors\"");
}

static void index_file_dots(hd_buf *b)
{
    put_map(b, "\"..\"");
}

static void index_file_with_nul(hd_buf *b)
{
    put_map(b, "\"m.safetensors\\u0000.txt\"");
}

static void index_file_too_long(hd_buf *b)
{
    hd_buf name;
    hd_buf_init(&name, 1 << 16);
    (void)hd_buf_putc(&name, '"');
    for (int i = 0; i < 256; i++)
        (void)hd_buf_putc(&name, 'f');
    (void)hd_buf_putc(&name, '"');
    put_map(b, name.data);
    hd_buf_free(&name);
}

static void index_too_many_files(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"weight_map\":{");
    for (int i = 0; i < 2049; i++)
        (void)hd_buf_printf(b, "%s\"t%d\":\"f%d\"", i ? "," : "", i, i);
    (void)hd_buf_puts(b, "}}");
}

static void index_too_many_tensors(hd_buf *b)
{
    (void)hd_buf_puts(b, "{\"weight_map\":{");
    for (int i = 0; i < 1048577; i++)
        (void)hd_buf_printf(b, "%s\"%d\":\"f\"", i ? "," : "", i);
    (void)hd_buf_puts(b, "}}");
}

static const bad_file bad_index[] = {
    {"bad-empty", index_empty, HD_E_FORMAT, "not valid JSON"},
    {"bad-cut", index_cut, HD_E_FORMAT, "not valid JSON"},
    {"bad-is-array", index_is_array, HD_E_FORMAT, "\"weight_map\" is missing"},
    {"bad-without-map", index_without_map, HD_E_FORMAT, "\"weight_map\" is missing"},
    {"bad-map-is-array", index_map_is_array, HD_E_FORMAT, "\"weight_map\" is missing or not an object"},
    {"bad-map-empty", index_map_empty, HD_E_FORMAT, "\"weight_map\" names no tensor"},
    {"bad-tensor-twice", index_tensor_twice, HD_E_FORMAT, "duplicate object key"},
    {"bad-tensor-name-empty", index_tensor_name_empty, HD_E_FORMAT, "the tensor name '' is not"},
    {"bad-tensor-name-with-control", index_tensor_name_with_control, HD_E_FORMAT, "the tensor name 'a?b' is not"},
    {"bad-file-of-number", index_file_of_number, HD_E_FORMAT, "the file of tensor 'a' is not a string"},
    {"bad-file-empty", index_file_empty, HD_E_FORMAT, "lies in '', which is not a plain file name"},
    {"bad-file-absolute", index_file_absolute, HD_E_FORMAT, "lies in '/etc/passwd', which is not a plain"},
    {"bad-file-above", index_file_above, HD_E_FORMAT, "lies in '../m.safetensors', which is not a plain"},
    {"bad-file-below", index_file_below, HD_E_FORMAT, "lies in 'sub/m.safetensors', which is not a plain"},
    {"bad-file-backslash", index_file_backslash, HD_E_FORMAT, "lies in 'sub\\m.safetensors', which is not a plain"},
    {"bad-file-dots", index_file_dots, HD_E_FORMAT, "lies in '..', which is not a plain"},
    {"bad-file-with-nul", index_file_with_nul, HD_E_FORMAT, "which is not a plain file name"},
    {"bad-file-too-long", index_file_too_long, HD_E_FORMAT, "fff...', which is not a plain"},
};

static const bad_file bad_index_large[] = {
    {"bad-too-many-files", index_too_many_files, HD_E_LIMIT, "names 2049 files; at most 2048"},
    {"bad-too-many-tensors", index_too_many_tensors, HD_E_LIMIT, "names 1048577 tensors; at most 1048576"},
};

#endif
