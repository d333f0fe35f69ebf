/* formats/gguf.c: the GGUF parser, versions 2 and 3, little-endian.
 *
 * Written from the GGUF specification (ggml/docs/gguf.md): header, metadata, tensor infos, padding, tensor data.
 * Metadata stay where they are in the file (strings and arrays are views); tensor names are copied, for their NUL.
 * Every count is checked against the bytes that are left before anything is allocated for it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/formats_internal.h"

/* The fewest bytes that an entry can take: a bound for counts. */
#define META_BYTES_MIN (8 + 1 + 4 + 1)       /* key length, key, type, value */
#define TENSOR_BYTES_MIN (8 + 1 + 4 + 4 + 8) /* name length, name, dims, type, offset */

typedef struct parser {
    hd_reader r;
    hd_gguf *out;
    uint64_t tensor_count, meta_count;
    hd_error *err;
} parser;

static hd_str read_string(hd_reader *r)
{
    uint64_t len = hd_read_u64(r);
    const uint8_t *bytes = hd_read_bytes(r, len);
    return bytes ? (hd_str){(const char *)bytes, (size_t)len} : (hd_str){"", 0};
}

/* ---- header ---- */

static hd_status check_magic(parser *p)
{
    const uint8_t *magic = hd_read_bytes(&p->r, 4);
    if (!magic) return hd_fail(p->err, HD_E_FORMAT, "not a GGUF file: it has fewer than 4 bytes");
    if (memcmp(magic, HD_GGUF_MAGIC, 4) == 0) return HD_OK;
    static const char *const old[] = {"lmgg", "fmgg", "tjgg", "algg"}; /* ggml, ggmf, ggjt, ggla, little-endian */
    for (size_t i = 0; i < HD_ARRAY_LEN(old); i++) {
        if (memcmp(magic, old[i], 4) == 0)
            return hd_fail(p->err, HD_E_UNSUPPORTED, "a GGML file from before GGUF; convert it again to GGUF");
    }
    return hd_fail(p->err, HD_E_FORMAT, "not a GGUF file: it starts with '%s'",
                   hd_show((hd_str){(const char *)magic, 4}).text);
}

static hd_status check_version(parser *p)
{
    uint32_t version = hd_read_u32(&p->r);
    if (p->r.failed) return hd_fail(p->err, HD_E_FORMAT, "the file ends inside the header");
    if (version != 0 && (version & 0xffff) == 0)
        return hd_fail(p->err, HD_E_UNSUPPORTED, "a big-endian GGUF file; only little-endian ones are read");
    if (version == 1)
        return hd_fail(p->err, HD_E_UNSUPPORTED, "GGUF version 1 is not read; convert the model to version 3");
    if (version != 2 && version != 3)
        return hd_fail(p->err, HD_E_UNSUPPORTED, "GGUF version %" PRIu32 " is not known; 2 and 3 are read", version);
    p->out->version = version;
    return HD_OK;
}

static hd_status check_count(parser *p, const char *what, uint64_t count, uint64_t max, uint64_t bytes_each)
{
    if (count > hd_reader_left(&p->r) / bytes_each)
        return hd_fail(p->err, HD_E_FORMAT, "the header promises %" PRIu64 " %s, more than the file has room for",
                       count, what);
    if (count > max)
        return hd_fail(p->err, HD_E_LIMIT, "%" PRIu64 " %s; at most %" PRIu64 " are read", count, what, max);
    return HD_OK;
}

static hd_status parse_header(parser *p)
{
    HD_TRY(check_magic(p));
    HD_TRY(check_version(p));
    p->tensor_count = hd_read_u64(&p->r);
    p->meta_count = hd_read_u64(&p->r);
    if (p->r.failed) return hd_fail(p->err, HD_E_FORMAT, "the file ends inside the header");
    HD_TRY(check_count(p, "metadata entries", p->meta_count, HD_GGUF_META_MAX, META_BYTES_MIN));
    return check_count(p, "tensors", p->tensor_count, HD_TENSORS_MAX, TENSOR_BYTES_MIN);
}

/* ---- metadata ---- */

size_t hd_meta_scalar_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {
        [HD_META_U8] = 1,  [HD_META_I8] = 1,  [HD_META_U16] = 2, [HD_META_I16] = 2,
        [HD_META_U32] = 4, [HD_META_I32] = 4, [HD_META_F32] = 4, [HD_META_BOOL] = 1,
        [HD_META_U64] = 8, [HD_META_I64] = 8, [HD_META_F64] = 8,
    };
    return type < HD_ARRAY_LEN(bytes) ? bytes[type] : 0;
}

static hd_status truncated_value(parser *p, const hd_meta *m)
{
    return hd_fail(p->err, HD_E_FORMAT, "the file ends inside the value of metadata key '%s'", hd_show(m->key).text);
}

static hd_status array_too_long(parser *p, const hd_meta *m)
{
    return hd_fail(p->err, HD_E_FORMAT, "metadata key '%s' is an array of %" PRIu64 " elements, more than the file has",
                   hd_show(m->key).text, m->count);
}

static hd_status check_bools(parser *p, const hd_meta *m, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (m->data[i] > 1)
            return hd_fail(p->err, HD_E_FORMAT, "metadata key '%s' holds a bool of value %u; only 0 and 1 are valid",
                           hd_show(m->key).text, m->data[i]);
    }
    return HD_OK;
}

static hd_status parse_scalars(parser *p, hd_meta *m, uint32_t type, uint64_t count)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(count, hd_meta_scalar_bytes(type), &bytes) || !(m->data = hd_read_bytes(&p->r, bytes)))
        return m->type == HD_META_ARRAY ? array_too_long(p, m) : truncated_value(p, m);
    return type == HD_META_BOOL ? check_bools(p, m, count) : HD_OK;
}

static hd_status parse_strings(parser *p, hd_meta *m)
{
    if (m->count > hd_reader_left(&p->r) / 8) return array_too_long(p, m); /* each has a length of 8 bytes */
    hd_str *strings = hd_alloc_array((size_t)m->count, sizeof *strings);
    if (!strings)
        return hd_fail(p->err, HD_E_MEMORY, "no memory for the %" PRIu64 " strings of metadata key '%s'", m->count,
                       hd_show(m->key).text);
    m->strings = strings;
    for (uint64_t i = 0; i < m->count; i++)
        strings[i] = read_string(&p->r);
    return p->r.failed ? truncated_value(p, m) : HD_OK;
}

static hd_status parse_array(parser *p, hd_meta *m)
{
    uint32_t elem = hd_read_u32(&p->r);
    m->count = hd_read_u64(&p->r);
    if (p->r.failed) return truncated_value(p, m);
    if (elem == HD_META_ARRAY)
        return hd_fail(p->err, HD_E_UNSUPPORTED, "metadata key '%s' is an array of arrays, which is not read",
                       hd_show(m->key).text);
    if (elem != HD_META_STRING && !hd_meta_scalar_bytes(elem))
        return hd_fail(p->err, HD_E_FORMAT, "metadata key '%s' is an array of unknown type %" PRIu32,
                       hd_show(m->key).text, elem);
    m->elem = (hd_meta_type)elem;
    return elem == HD_META_STRING ? parse_strings(p, m) : parse_scalars(p, m, elem, m->count);
}

static hd_status parse_value(parser *p, hd_meta *m)
{
    uint32_t type = hd_read_u32(&p->r);
    if (p->r.failed) return truncated_value(p, m);
    if (type > HD_META_F64)
        return hd_fail(p->err, HD_E_FORMAT, "metadata key '%s' has unknown type %" PRIu32, hd_show(m->key).text, type);
    m->type = (hd_meta_type)type;
    if (type == HD_META_ARRAY) return parse_array(p, m);
    if (type != HD_META_STRING) return parse_scalars(p, m, type, 1);
    m->string = read_string(&p->r);
    return p->r.failed ? truncated_value(p, m) : HD_OK;
}

static hd_status parse_metadata(parser *p)
{
    hd_gguf *g = p->out;
    g->meta = hd_calloc((size_t)p->meta_count, sizeof *g->meta);
    if (!g->meta || !hd_names_alloc(&g->keys, (size_t)p->meta_count))
        return hd_fail(p->err, HD_E_MEMORY, "no memory for %" PRIu64 " metadata entries", p->meta_count);
    for (uint64_t i = 0; i < p->meta_count; i++) {
        hd_meta *m = &g->meta[g->meta_count++];
        m->key = read_string(&p->r);
        if (p->r.failed) return hd_fail(p->err, HD_E_FORMAT, "the file ends inside metadata key %" PRIu64, i);
        if (!hd_name_valid(m->key, HD_GGUF_KEY_MAX))
            return hd_fail(p->err, HD_E_FORMAT,
                           "metadata key %" PRIu64 " ('%s') is not 1 to %d bytes of UTF-8 without control characters",
                           i, hd_show(m->key).text, HD_GGUF_KEY_MAX);
        HD_TRY(parse_value(p, m));
        g->keys.sorted[i] = (hd_name_entry){m->key, (size_t)i};
    }
    const hd_name_entry *twice = hd_names_sort(&g->keys);
    if (twice) return hd_fail(p->err, HD_E_FORMAT, "metadata key '%s' occurs twice", hd_show(twice->text).text);
    return HD_OK;
}

static hd_status find_alignment(parser *p)
{
    const hd_meta *m = hd_gguf_find(p->out, "general.alignment");
    uint64_t alignment = HD_GGUF_ALIGNMENT;
    if (m && (m->type != HD_META_U32 || !hd_meta_u64(m, 0, &alignment)))
        return hd_fail(p->err, HD_E_FORMAT, "general.alignment is not of type uint32");
    if (alignment < 8 || (alignment & (alignment - 1)) != 0)
        return hd_fail(p->err, HD_E_FORMAT, "general.alignment is %" PRIu64 ", not a power of two of at least 8",
                       alignment);
    p->out->alignment = alignment;
    return HD_OK;
}

/* ---- tensors ---- */

/* One tensor info; its offset is left in *offset, from the start of the data. */
static hd_status parse_tensor(parser *p, uint64_t i, hd_tensor *t, char *name, uint64_t *offset)
{
    hd_str text = read_string(&p->r);
    if (p->r.failed) return hd_fail(p->err, HD_E_FORMAT, "the file ends inside the name of tensor %" PRIu64, i);
    if (!hd_name_valid(text, HD_GGUF_NAME_MAX))
        return hd_fail(p->err, HD_E_FORMAT,
                       "the name of tensor %" PRIu64 " ('%s') is not 1 to %d bytes of UTF-8 without control characters",
                       i, hd_show(text).text, HD_GGUF_NAME_MAX);
    memcpy(name, text.data, text.len);
    name[text.len] = '\0';
    t->name = name;

    uint32_t dims = hd_read_u32(&p->r);
    if (dims > HD_MAX_DIMS)
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s' has %" PRIu32 " dimensions; at most %d are allowed", name,
                       dims, HD_MAX_DIMS);
    t->dims = (int)dims;
    for (uint32_t d = 0; d < HD_MAX_DIMS; d++)
        t->shape[d] = 1;
    for (uint32_t d = 0; d < dims; d++) { /* the file lists the fastest dimension first */
        uint64_t size = hd_read_u64(&p->r);
        if (size > INT64_MAX)
            return hd_fail(p->err, HD_E_FORMAT, "dimension %" PRIu32 " of tensor '%s' is %" PRIu64 ", beyond any file",
                           d, name, size);
        t->shape[dims - 1 - d] = (int64_t)size;
    }
    uint32_t type = hd_read_u32(&p->r);
    *offset = hd_read_u64(&p->r);
    if (p->r.failed) return hd_fail(p->err, HD_E_FORMAT, "the file ends inside the entry of tensor '%s'", name);
    if (!hd_type_from_gguf(type, &t->type))
        return hd_fail(p->err, HD_E_UNSUPPORTED, "tensor '%s' has type %" PRIu32 ", which is not known", name, type);
    const char *why;
    if (!hd_tensor_measure(t, &t->bytes, &why)) return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': %s", name, why);
    return HD_OK;
}

/* Turns the offset into a pointer once the data's bounds are known. */
static hd_status place_tensor(parser *p, hd_tensor *t, uint64_t offset, size_t data_start)
{
    size_t room = p->r.len - data_start;
    if (offset % p->out->alignment != 0)
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s' starts at offset %" PRIu64 ", not a multiple of %" PRIu64,
                       t->name, offset, p->out->alignment);
    if (offset > room || t->bytes > room - offset)
        return hd_fail(p->err, HD_E_FORMAT,
                       "tensor '%s' (%zu bytes at offset %" PRIu64
                       ") lies past the end of the file, whose data have %zu "
                       "bytes: the file is cut short or damaged",
                       t->name, t->bytes, offset, room);
    t->data = p->r.data + data_start + offset;
    return HD_OK;
}

typedef struct place {
    const uint8_t *data;
    size_t bytes;
    const char *name;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static hd_status check_overlaps(parser *p)
{
    size_t n = p->out->set.count;
    place *places = hd_alloc_array(n, sizeof *places);
    if (!places) return hd_fail(p->err, HD_E_MEMORY, "no memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++) {
        const hd_tensor *t = &p->out->set.tensors[i];
        places[i] = (place){t->data, t->bytes, t->name};
    }
    qsort(places, n, sizeof *places, compare_places);
    hd_status status = HD_OK;
    for (size_t i = 1; i < n && status == HD_OK; i++) {
        if (places[i - 1].data + places[i - 1].bytes > places[i].data)
            status = hd_fail(p->err, HD_E_FORMAT, "the data of tensors '%s' and '%s' overlap", places[i - 1].name,
                             places[i].name);
    }
    hd_free(places);
    return status;
}

static hd_status check_names(parser *p)
{
    hd_tensor_set *set = &p->out->set;
    hd_names names;
    if (!hd_names_alloc(&names, set->count))
        return hd_fail(p->err, HD_E_MEMORY, "no memory for %zu tensor names", set->count);
    for (size_t i = 0; i < set->count; i++)
        names.sorted[i] = (hd_name_entry){{set->tensors[i].name, strlen(set->tensors[i].name)}, i};
    const hd_name_entry *twice = hd_names_sort(&names);
    hd_status status = HD_OK;
    if (twice) status = hd_fail(p->err, HD_E_FORMAT, "two tensors have the name '%s'", twice->text.data);
    hd_names_free(&names);
    return status;
}

static hd_status parse_tensor_infos(parser *p, uint64_t *offsets)
{
    hd_tensor_set *set = &p->out->set;
    for (uint64_t i = 0; i < p->tensor_count; i++) {
        HD_TRY(parse_tensor(p, i, &set->tensors[i], set->names + i * (HD_GGUF_NAME_MAX + 1), &offsets[i]));
        set->count++;
    }
    if (set->count == 0) return HD_OK;
    size_t start = p->r.pos + (size_t)(-p->r.pos & (p->out->alignment - 1));
    if (start > p->r.len || start < p->r.pos)
        return hd_fail(p->err, HD_E_FORMAT, "the file ends before the tensor data: it is cut short");
    for (size_t i = 0; i < set->count; i++)
        HD_TRY(place_tensor(p, &set->tensors[i], offsets[i], start));
    HD_TRY(check_names(p));
    return check_overlaps(p);
}

static hd_status parse_tensors(parser *p)
{
    hd_tensor_set *set = &p->out->set;
    size_t n = (size_t)p->tensor_count;
    set->tensors = hd_calloc(n, sizeof *set->tensors);
    set->names = hd_alloc_array(n, HD_GGUF_NAME_MAX + 1);
    uint64_t *offsets = hd_alloc_array(n, sizeof *offsets);
    hd_status status;
    if (!set->tensors || !set->names || !offsets)
        status = hd_fail(p->err, HD_E_MEMORY, "no memory for %zu tensors", n);
    else
        status = parse_tensor_infos(p, offsets);
    hd_free(offsets);
    return status;
}

/* ---- the whole ---- */

static hd_status parse_all(parser *p)
{
    HD_TRY(parse_header(p));
    HD_TRY(parse_metadata(p));
    HD_TRY(find_alignment(p));
    return parse_tensors(p);
}

hd_status hd_gguf_parse(hd_gguf *out, const uint8_t *data, size_t size, hd_error *err)
{
    *out = (hd_gguf){0};
    parser p = {.out = out, .err = err};
    hd_reader_init(&p.r, data, size);
    hd_status status = parse_all(&p);
    if (status != HD_OK) hd_gguf_free(out);
    return status;
}

void hd_gguf_free(hd_gguf *gguf)
{
    for (size_t i = 0; i < gguf->meta_count; i++)
        hd_free((void *)gguf->meta[i].strings);
    hd_free(gguf->meta);
    hd_names_free(&gguf->keys);
    hd_tensor_set_free(&gguf->set);
    *gguf = (hd_gguf){0};
}

const hd_meta *hd_gguf_find(const hd_gguf *gguf, const char *key)
{
    const hd_name_entry *name = hd_names_find(&gguf->keys, key, strlen(key));
    return name ? &gguf->meta[name->item] : NULL;
}
