/* formats/safetensors.c: the safetensors header: 8 bytes of length, JSON, then the tensors' bytes.
 *
 * Rules from the safetensors specification (github.com/huggingface/safetensors): the header starts with '{', names
 * occur once, offsets count from the end of the header, and the tensors cover the data without holes or overlaps.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/formats_internal.h"

typedef struct parser {
    const uint8_t *data; /* the bytes behind the header */
    size_t size;
    hd_error *err;
} parser;

static bool find_type(const char *name, hd_type *out)
{
    static const struct {
        const char *name;
        hd_type type;
    } types[] = {
        {"F64", HD_TYPE_F64},         {"F32", HD_TYPE_F32},         {"F16", HD_TYPE_F16},
        {"BF16", HD_TYPE_BF16},       {"F8_E4M3", HD_TYPE_F8_E4M3}, {"F8_E5M2", HD_TYPE_F8_E5M2},
        {"F8_E8M0", HD_TYPE_F8_E8M0}, {"I64", HD_TYPE_I64},         {"I32", HD_TYPE_I32},
        {"I16", HD_TYPE_I16},         {"I8", HD_TYPE_I8},           {"U8", HD_TYPE_U8},
        {"BOOL", HD_TYPE_U8},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(types); i++) {
        if (strcmp(types[i].name, name) != 0) continue;
        *out = types[i].type;
        return true;
    }
    return false;
}

static hd_str json_str(const json_t *string)
{
    return (hd_str){json_string_value(string), json_string_length(string)};
}

static hd_status parse_type(const parser *p, hd_tensor *t, const json_t *dtype)
{
    if (!json_is_string(dtype))
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': \"dtype\" is missing or not a string", t->name);
    if (!find_type(json_string_value(dtype), &t->type))
        return hd_fail(p->err, HD_E_UNSUPPORTED, "tensor '%s' has dtype '%s', which is not read", t->name,
                       hd_show(json_str(dtype)).text);
    return HD_OK;
}

static hd_status parse_shape(const parser *p, hd_tensor *t, const json_t *shape)
{
    if (!json_is_array(shape))
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': \"shape\" is missing or not an array", t->name);
    size_t dims = json_array_size(shape);
    if (dims > HD_MAX_DIMS)
        return hd_fail(p->err, HD_E_UNSUPPORTED, "tensor '%s' has %zu dimensions; at most %d are read", t->name, dims,
                       HD_MAX_DIMS);
    t->dims = (int)dims;
    for (size_t d = 0; d < HD_MAX_DIMS; d++) {
        const json_t *size = json_array_get(shape, d);
        if (d < dims && (!json_is_integer(size) || json_integer_value(size) < 0))
            return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': entry %zu of \"shape\" is not an integer of at least 0",
                           t->name, d);
        t->shape[d] = d < dims ? json_integer_value(size) : 1;
    }
    return HD_OK;
}

static hd_status parse_offsets(const parser *p, hd_tensor *t, const json_t *offsets)
{
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': \"data_offsets\" is missing or not an array of two integers",
                       t->name);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin)
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': \"data_offsets\" [%" PRId64 ", %" PRId64 "] is no range",
                       t->name, (int64_t)begin, (int64_t)end);
    if ((uint64_t)end > p->size)
        return hd_fail(p->err, HD_E_FORMAT,
                       "tensor '%s' ends at byte %" PRId64
                       " of the data, past the end of the file (%zu bytes of data): "
                       "the file is cut short or damaged",
                       t->name, (int64_t)end, p->size);
    t->data = p->data + begin;
    t->bytes = (size_t)(end - begin);
    return HD_OK;
}

static hd_status check_fields(const parser *p, const hd_tensor *t, json_t *info)
{
    const char *field;
    json_t *value;
    if (!json_is_object(info))
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s' is not described by an object", t->name);
    json_object_foreach(info, field, value)
    {
        if (strcmp(field, "dtype") != 0 && strcmp(field, "shape") != 0 && strcmp(field, "data_offsets") != 0)
            return hd_fail(p->err, HD_E_UNSUPPORTED, "tensor '%s' has a field '%s', which is not known", t->name,
                           hd_show((hd_str){field, strlen(field)}).text);
    }
    return HD_OK;
}

static hd_status parse_tensor(const parser *p, hd_tensor *t, json_t *info)
{
    HD_TRY(check_fields(p, t, info));
    HD_TRY(parse_type(p, t, json_object_get(info, "dtype")));
    HD_TRY(parse_shape(p, t, json_object_get(info, "shape")));
    HD_TRY(parse_offsets(p, t, json_object_get(info, "data_offsets")));
    size_t bytes;
    const char *why;
    if (!hd_tensor_measure(t, &bytes, &why)) return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': %s", t->name, why);
    if (bytes != t->bytes)
        return hd_fail(p->err, HD_E_FORMAT,
                       "tensor '%s' needs %zu bytes by its dtype and shape, but its data_offsets give %zu", t->name,
                       bytes, t->bytes);
    return HD_OK;
}

static hd_status check_metadata(const parser *p, json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) return hd_fail(p->err, HD_E_FORMAT, "__metadata__ is not an object");
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return hd_fail(p->err, HD_E_FORMAT, "__metadata__: the value of '%s' is not a string",
                           hd_show((hd_str){key, strlen(key)}).text);
    }
    return HD_OK;
}

static int compare_places(const void *a, const void *b)
{
    const hd_tensor *x = a, *y = b;
    if (x->data != y->data) return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Puts the tensors into the order of their bytes and checks that they cover the data exactly. */
static hd_status check_cover(const parser *p, hd_tensor_set *set)
{
    qsort(set->tensors, set->count, sizeof *set->tensors, compare_places);
    const uint8_t *at = p->data;
    for (size_t i = 0; i < set->count; i++) {
        const hd_tensor *t = &set->tensors[i];
        const uint8_t *begin = t->data;
        if (begin < at)
            return hd_fail(p->err, HD_E_FORMAT, "the data of tensors '%s' and '%s' overlap", t[-1].name, t->name);
        if (begin > at)
            return hd_fail(p->err, HD_E_FORMAT, "%zu bytes before tensor '%s' belong to no tensor",
                           (size_t)(begin - at), t->name);
        at = begin + t->bytes;
    }
    size_t rest = p->size - (size_t)(at - p->data);
    if (rest) return hd_fail(p->err, HD_E_FORMAT, "%zu bytes at the end of the file belong to no tensor", rest);
    return HD_OK;
}

/* Room for the tensors and for a copy of every name. */
static hd_status alloc_set(const parser *p, hd_tensor_set *set, json_t *header)
{
    size_t count = json_object_size(header), bytes = 0;
    const char *name;
    json_t *info;
    if (count > HD_TENSORS_MAX)
        return hd_fail(p->err, HD_E_LIMIT, "%zu tensors; at most %zu are read", count, HD_TENSORS_MAX);
    json_object_foreach(header, name, info) bytes += strlen(name) + 1; /* no sum overflows: all lie in the header */
    set->tensors = hd_calloc(count, sizeof *set->tensors);
    set->names = hd_alloc(bytes);
    if (!set->tensors || !set->names) return hd_fail(p->err, HD_E_MEMORY, "no memory for %zu tensors", count);
    return HD_OK;
}

static hd_status parse_tensors(const parser *p, hd_tensor_set *set, json_t *header)
{
    HD_TRY(alloc_set(p, set, header));
    char *room = set->names;
    const char *name;
    json_t *info;
    json_object_foreach(header, name, info)
    {
        if (strcmp(name, "__metadata__") == 0) {
            HD_TRY(check_metadata(p, info));
            continue;
        }
        size_t len = strlen(name);
        if (!hd_name_valid((hd_str){name, len}, HD_TENSOR_NAME_MAX))
            return hd_fail(p->err, HD_E_FORMAT,
                           "the tensor name '%s' is not 1 to %d bytes of UTF-8 without control characters",
                           hd_show((hd_str){name, len}).text, HD_TENSOR_NAME_MAX);
        hd_tensor *t = &set->tensors[set->count++];
        t->name = memcpy(room, name, len + 1);
        room += len + 1;
        HD_TRY(parse_tensor(p, t, info));
    }
    return check_cover(p, set);
}

/* The header's bytes as JSON, and p's view of what follows them. */
static hd_status read_header(parser *p, json_t **header, const uint8_t *file, size_t size)
{
    hd_reader r;
    hd_reader_init(&r, file, size);
    uint64_t len = hd_read_u64(&r);
    if (r.failed) return hd_fail(p->err, HD_E_FORMAT, "not a safetensors file: it has fewer than 8 bytes");
    const uint8_t *text = hd_read_bytes(&r, len);
    if (!text)
        return hd_fail(p->err, HD_E_FORMAT,
                       "not a safetensors file, or cut short: its first 8 bytes promise a header of %" PRIu64
                       " bytes, but only %zu follow",
                       len, size - 8);
    if (len > HD_SAFETENSORS_HEADER_MAX)
        return hd_fail(p->err, HD_E_LIMIT, "the header has %" PRIu64 " bytes; at most %u are read", len,
                       HD_SAFETENSORS_HEADER_MAX);
    if (len < 2 || text[0] != '{') return hd_fail(p->err, HD_E_FORMAT, "the header does not start with '{'");
    hd_status status = hd_json_parse(header, (const char *)text, (size_t)len, p->err);
    if (status != HD_OK) return hd_fail_in(p->err, status, "the header");
    p->data = text + len;
    p->size = hd_reader_left(&r);
    return HD_OK;
}

hd_status hd_safetensors_parse_header(hd_tensor_set *out, const uint8_t *data, size_t size, hd_error *err)
{
    *out = (hd_tensor_set){0};
    parser p = {.err = err};
    json_t *header = NULL;
    HD_TRY(read_header(&p, &header, data, size));
    hd_status status = parse_tensors(&p, out, header);
    json_decref(header);
    if (status != HD_OK) hd_tensor_set_free(out);
    return status;
}
