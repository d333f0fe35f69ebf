/* formats/mindspore.c: the reader of MindSpore's checkpoints, FOO.ckpt.
 *
 * The file is one protobuf message (checkpoint.proto of MindSpore):
 *     Checkpoint     { repeated Value value = 1; }
 *     Value          { string tag = 1; oneof { TensorProto tensor = 2; MapTensorProto maptensor = 3; } }
 *     TensorProto    { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3; }
 * A large tensor is cut: several Values one behind the other have its tag, its type and its whole shape, and a slice of
 * its bytes each.  Behind the message there may be "crc_num" and ten bytes of a CRC-32, which is not checked: that
 * would read the whole file.
 *
 * Nothing aligns contents in such a file.  A tensor of several slices, or one at an odd address, is copied; all copies
 * of a file lie in one block, which the set of tensors owns.  What our own writer made needs none (mindspore_write.c).
 */
#include <inttypes.h>
#include <string.h>

#include "formats/formats_internal.h"

#define CRC_MARK "crc_num" /* and 10 bytes, big-endian */
#define CRC_BYTES 17
#define CIPHER_FIRST 0x7f3a5ed8u /* how encrypted files begin: AES-GCM, AES-CBC, SM4-CBC */
#define CIPHER_LAST 0x7f3a5edau

typedef enum wire { WIRE_VARINT = 0, WIRE_8 = 1, WIRE_BYTES = 2, WIRE_4 = 5 } wire;

/* One field of a message. */
typedef struct field {
    uint64_t number;
    wire wire;
    uint64_t value; /* of a WIRE_VARINT */
    hd_str bytes;   /* of WIRE_BYTES */
} field;

/* One Value: pointers into the file. */
typedef struct value {
    size_t at; /* of its first byte */
    hd_str tag, type, content;
    bool has_tag, has_tensor, has_type, has_content;
    int dims;
    int64_t shape[HD_MAX_DIMS];
} value;

/* Where a tensor's name begins in `names`, and which of `slices` is its first. */
typedef struct place {
    size_t name, slice;
} place;

typedef struct parser {
    const uint8_t *data;
    hd_tensor_set *set;
    place *places;  /* [set->count] */
    hd_buf names;   /* with a NUL behind each */
    hd_str *slices; /* of all tensors, one behind the other */
    size_t slice_count, slice_cap, tensor_cap, place_cap;
    hd_str last_type; /* as the last tensor's slices spell it */
    hd_error *err;
} parser;

/* ---- types ---- */

static const struct {
    const char *name; /* str(dtype) of MindSpore 2.10 */
    hd_type type;
} types[] = {
    {"Float32", HD_TYPE_F32}, {"Float16", HD_TYPE_F16}, {"BFloat16", HD_TYPE_BF16}, {"Float64", HD_TYPE_F64},
    {"Int64", HD_TYPE_I64},   {"Int32", HD_TYPE_I32},   {"Int16", HD_TYPE_I16},     {"Int8", HD_TYPE_I8},
    {"UInt8", HD_TYPE_U8},    {"Bool", HD_TYPE_U8},
};

const char *hd_mindspore_type_name(hd_type type)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(types); i++)
        if (types[i].type == type) return types[i].name;
    return NULL;
}

static bool same(hd_str a, hd_str b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool find_type(hd_str name, hd_type *out)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(types); i++) {
        if (!same(name, (hd_str){types[i].name, strlen(types[i].name)})) continue;
        *out = types[i].type;
        return true;
    }
    return false;
}

/* ---- protobuf ---- */

/* Seven bits a byte, the lowest first; at most 64 bits.  Sets r->failed otherwise. */
static uint64_t read_varint(hd_reader *r)
{
    uint64_t sum = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t byte = hd_read_u8(r);
        if (shift == 63 && byte > 1) break; /* bits beyond 64 */
        sum |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return sum;
    }
    r->failed = true;
    return 0;
}

static size_t offset_of(const parser *p, const hd_reader *r)
{
    return (size_t)(r->data - p->data) + r->pos;
}

static hd_status read_field(const parser *p, hd_reader *r, field *f)
{
    size_t at = offset_of(p, r);
    uint64_t key = read_varint(r);
    *f = (field){.number = key >> 3, .wire = (wire)(key & 7)};
    if (r->failed || f->number == 0)
        return hd_fail(p->err, HD_E_FORMAT, "byte %zu: not a field of a MindSpore checkpoint: damaged or cut short",
                       at);
    switch (f->wire) {
    case WIRE_VARINT: f->value = read_varint(r); break;
    case WIRE_8: (void)hd_read_u64(r); break;
    case WIRE_4: (void)hd_read_u32(r); break;
    case WIRE_BYTES:
        f->bytes.len = (size_t)read_varint(r);
        if (!r->failed && f->bytes.len > hd_reader_left(r))
            return hd_fail(p->err, HD_E_FORMAT,
                           "byte %zu: a field of %zu bytes, but only %zu follow: damaged or cut short", at,
                           f->bytes.len, hd_reader_left(r));
        f->bytes.data = (const char *)hd_read_bytes(r, f->bytes.len);
        break;
    default:
        return hd_fail(p->err, HD_E_FORMAT, "byte %zu: a field of kind %d, which no MindSpore checkpoint has", at,
                       (int)f->wire);
    }
    if (r->failed) return hd_fail(p->err, HD_E_FORMAT, "byte %zu: a number is damaged or cut short", at);
    return HD_OK;
}

/* Takes a field of bytes that a message has once. */
static hd_status take_bytes(const parser *p, const value *v, const char *name, const field *f, hd_str *out, bool *has)
{
    if (f->wire != WIRE_BYTES)
        return hd_fail(p->err, HD_E_FORMAT, "byte %zu: the %s of a value is not bytes", v->at, name);
    if (*has) return hd_fail(p->err, HD_E_FORMAT, "byte %zu: a value has its %s twice", v->at, name);
    *out = f->bytes;
    *has = true;
    return HD_OK;
}

/* ---- one value ---- */

static hd_status take_dim(const parser *p, value *v, uint64_t size)
{
    if (size > INT64_MAX)
        return hd_fail(p->err, HD_E_FORMAT, "byte %zu: a dimension is %" PRId64, v->at, (int64_t)size);
    if (v->dims == HD_MAX_DIMS)
        return hd_fail(p->err, HD_E_UNSUPPORTED, "byte %zu: a tensor has more than %d dimensions", v->at, HD_MAX_DIMS);
    v->shape[v->dims++] = (int64_t)size;
    return HD_OK;
}

/* One number a field, or all of them in one: readers of protobuf must take both. */
static hd_status take_dims(const parser *p, value *v, const field *f)
{
    hd_reader r;
    if (f->wire == WIRE_VARINT) return take_dim(p, v, f->value);
    if (f->wire != WIRE_BYTES)
        return hd_fail(p->err, HD_E_FORMAT, "byte %zu: the dims of a value are no numbers", v->at);
    hd_reader_init(&r, f->bytes.data, f->bytes.len);
    while (hd_reader_left(&r)) {
        uint64_t size = read_varint(&r);
        if (r.failed) return hd_fail(p->err, HD_E_FORMAT, "byte %zu: the dims of a value are damaged", v->at);
        HD_TRY(take_dim(p, v, size));
    }
    return HD_OK;
}

static hd_status read_tensor(const parser *p, value *v, hd_str message)
{
    hd_reader r;
    field f;
    hd_reader_init(&r, message.data, message.len);
    while (hd_reader_left(&r)) {
        HD_TRY(read_field(p, &r, &f));
        if (f.number == 1) HD_TRY(take_dims(p, v, &f));
        if (f.number == 2) HD_TRY(take_bytes(p, v, "tensor_type", &f, &v->type, &v->has_type));
        if (f.number == 3) HD_TRY(take_bytes(p, v, "tensor_content", &f, &v->content, &v->has_content));
    }
    if (!v->has_type) return hd_fail(p->err, HD_E_FORMAT, "byte %zu: a tensor has no tensor_type", v->at);
    if (!v->has_content) return hd_fail(p->err, HD_E_FORMAT, "byte %zu: a tensor has no tensor_content", v->at);
    return HD_OK;
}

static hd_status read_value(const parser *p, value *v, hd_str message)
{
    hd_reader r;
    field f;
    hd_str tensor = {0};
    hd_reader_init(&r, message.data, message.len);
    while (hd_reader_left(&r)) {
        HD_TRY(read_field(p, &r, &f));
        if (f.number == 1) HD_TRY(take_bytes(p, v, "tag", &f, &v->tag, &v->has_tag));
        if (f.number == 2) HD_TRY(take_bytes(p, v, "tensor", &f, &tensor, &v->has_tensor));
        if (f.number == 3)
            return hd_fail(p->err, HD_E_UNSUPPORTED, "byte %zu: a map of tensors (MapParameter), which is not read",
                           v->at);
    }
    if (!v->has_tag) return hd_fail(p->err, HD_E_FORMAT, "byte %zu: a value has no tag", v->at);
    if (!v->has_tensor)
        return hd_fail(p->err, HD_E_FORMAT, "byte %zu: the value '%s' has no tensor", v->at, hd_show(v->tag).text);
    hd_status status = read_tensor(p, v, tensor);
    return status == HD_OK ? status : hd_fail_in(p->err, status, "tensor '%s'", hd_show(v->tag).text);
}

/* ---- tensors ---- */

/* Makes room for one more item in a growing array. */
static bool grow(void *array, size_t *cap, size_t count, size_t size)
{
    void *old, *bigger;
    if (count < *cap) return true;
    size_t wanted = HD_MAX(*cap * 2, 64);
    memcpy(&old, array, sizeof old);
    bigger = hd_realloc_array(old, wanted, size);
    if (!bigger) return false;
    memcpy(array, &bigger, sizeof bigger);
    *cap = wanted;
    return true;
}

static hd_status no_memory(const parser *p)
{
    return hd_fail(p->err, HD_E_MEMORY, "no memory for %zu tensors", p->set->count + 1);
}

/* Good until another is added: only when all are there tensors get their names. */
static const char *name_of(const parser *p, size_t tensor)
{
    return p->names.data + p->places[tensor].name;
}

static hd_status add_tensor(parser *p, const value *v)
{
    hd_tensor_set *set = p->set;
    if (set->count == HD_TENSORS_MAX)
        return hd_fail(p->err, HD_E_LIMIT, "more than %zu tensors are not read", HD_TENSORS_MAX);
    if (!grow(&set->tensors, &p->tensor_cap, set->count, sizeof *set->tensors) ||
        !grow(&p->places, &p->place_cap, set->count, sizeof *p->places))
        return no_memory(p);
    hd_tensor t = {.dims = v->dims};
    if (!find_type(v->type, &t.type))
        return hd_fail(p->err, HD_E_UNSUPPORTED, "tensor '%s' has tensor_type '%s', which is not read",
                       hd_show(v->tag).text, hd_show(v->type).text);
    for (int d = 0; d < HD_MAX_DIMS; d++)
        t.shape[d] = d < v->dims ? v->shape[d] : 1;
    size_t at = p->names.len; /* the copy is what must be valid: the file might change */
    (void)hd_buf_append(&p->names, v->tag.data, v->tag.len);
    if (hd_buf_putc(&p->names, '\0') != HD_OK) return no_memory(p);
    if (!hd_name_valid((hd_str){p->names.data + at, v->tag.len}, HD_TENSOR_NAME_MAX))
        return hd_fail(p->err, HD_E_FORMAT,
                       "byte %zu: the tag '%s' is not 1 to %d bytes of UTF-8 without control characters", v->at,
                       hd_show(v->tag).text, HD_TENSOR_NAME_MAX);
    p->places[set->count] = (place){at, p->slice_count};
    set->tensors[set->count++] = t;
    p->last_type = v->type;
    return HD_OK;
}

/* Whether a value goes on with the last tensor; HD_E_FORMAT when it should and doesn't fit. */
static hd_status goes_on(const parser *p, const value *v, bool *on)
{
    *on = false;
    if (!p->set->count) return HD_OK;
    const hd_tensor *last = &p->set->tensors[p->set->count - 1];
    const char *name = name_of(p, p->set->count - 1);
    if (!same(v->tag, (hd_str){name, strlen(name)})) return HD_OK;
    bool alike = v->dims == last->dims && same(v->type, p->last_type);
    for (int d = 0; alike && d < v->dims; d++)
        alike = v->shape[d] == last->shape[d];
    if (!alike)
        return hd_fail(p->err, HD_E_FORMAT, "byte %zu: the slices of tensor '%s' differ in type or shape", v->at, name);
    *on = true;
    return HD_OK;
}

static hd_status take_value(parser *p, const value *v)
{
    bool on;
    if (same(v->type, (hd_str){"str", 3})) return HD_OK; /* a text of append_dict is no tensor */
    HD_TRY(goes_on(p, v, &on));
    if (!on) HD_TRY(add_tensor(p, v));
    if (p->slice_count == HD_TENSORS_MAX)
        return hd_fail(p->err, HD_E_LIMIT, "more than %zu slices of tensors are not read", HD_TENSORS_MAX);
    if (!grow(&p->slices, &p->slice_cap, p->slice_count, sizeof *p->slices)) return no_memory(p);
    p->slices[p->slice_count++] = v->content;
    p->set->tensors[p->set->count - 1].bytes += v->content.len; /* no sum overflows: all lie in the file */
    return HD_OK;
}

/* ---- the whole ---- */

static bool is_encrypted(const uint8_t *data, size_t size)
{
    hd_reader r;
    hd_reader_init(&r, data, size);
    uint32_t mark = hd_read_u32(&r);
    return mark >= CIPHER_FIRST && mark <= CIPHER_LAST;
}

static hd_status read_values(parser *p, size_t size)
{
    hd_reader r;
    field f;
    hd_reader_init(&r, p->data, size);
    if (is_encrypted(p->data, size))
        return hd_fail(p->err, HD_E_UNSUPPORTED,
                       "is encrypted by MindSpore; load it there with its dec_key and save it without enc_key");
    while (hd_reader_left(&r)) {
        value v = {.at = r.pos};
        if (hd_reader_left(&r) == CRC_BYTES && memcmp(p->data + r.pos, CRC_MARK, strlen(CRC_MARK)) == 0) break;
        HD_TRY(read_field(p, &r, &f));
        if (f.number != 1) continue;
        if (f.wire != WIRE_BYTES)
            return hd_fail(p->err, HD_E_FORMAT, "byte %zu: not a field of a MindSpore checkpoint: damaged or cut short",
                           v.at);
        HD_TRY(read_value(p, &v, f.bytes));
        HD_TRY(take_value(p, &v));
    }
    return p->set->count ? HD_OK : hd_fail(p->err, HD_E_FORMAT, "a MindSpore checkpoint without any tensor");
}

/* Names become pointers; none may occur twice with others between. */
static hd_status settle_names(parser *p)
{
    hd_tensor_set *set = p->set;
    hd_names names;
    for (size_t i = 0; i < set->count; i++)
        set->tensors[i].name = name_of(p, i);
    if (!hd_names_alloc(&names, set->count)) return no_memory(p);
    for (size_t i = 0; i < set->count; i++)
        names.sorted[i] = (hd_name_entry){{set->tensors[i].name, strlen(set->tensors[i].name)}, i};
    const hd_name_entry *twice = hd_names_sort(&names);
    hd_status status = HD_OK;
    if (twice) status = hd_fail(p->err, HD_E_FORMAT, "tensor '%s' occurs twice, with others between", twice->text.data);
    hd_names_free(&names);
    return status;
}

static hd_status check_size(const parser *p, hd_tensor *t)
{
    size_t bytes;
    const char *why;
    if (t->dims == 1 && t->shape[0] == 0 && t->bytes) { /* how MindSpore writes a scalar, sometimes */
        t->dims = 0;
        t->shape[0] = 1;
    }
    if (!hd_tensor_measure(t, &bytes, &why)) return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': %s", t->name, why);
    if (bytes != t->bytes)
        return hd_fail(p->err, HD_E_FORMAT,
                       "tensor '%s' needs %zu bytes by its type and shape, but has %zu: damaged or cut short", t->name,
                       bytes, t->bytes);
    return HD_OK;
}

static size_t slices_of(const parser *p, size_t tensor)
{
    size_t end = tensor + 1 < p->set->count ? p->places[tensor + 1].slice : p->slice_count;
    return end - p->places[tensor].slice;
}

static bool needs_copy(const parser *p, size_t tensor)
{
    const hd_tensor *t = &p->set->tensors[tensor];
    uintptr_t at = (uintptr_t)p->slices[p->places[tensor].slice].data;
    return t->bytes && (slices_of(p, tensor) > 1 || at % (uintptr_t)hd_type_block_bytes(t->type) != 0);
}

static size_t whole_lines(size_t bytes)
{
    return (bytes + HD_CACHE_LINE - 1) / HD_CACHE_LINE * HD_CACHE_LINE;
}

/* Joins the slices of tensor i at `to`. */
static void copy_tensor(const parser *p, size_t i, uint8_t *to)
{
    p->set->tensors[i].data = to;
    for (size_t s = 0; s < slices_of(p, i); s++) {
        hd_str slice = p->slices[p->places[i].slice + s];
        memcpy(to, slice.data, slice.len);
        to += slice.len;
    }
}

static hd_status place_tensors(const parser *p)
{
    static const uint64_t nothing; /* where the values of a tensor that has none lie: aligned like all others */
    hd_tensor_set *set = p->set;
    size_t bytes = 0;
    for (size_t i = 0; i < set->count; i++) {
        HD_TRY(check_size(p, &set->tensors[i]));
        set->tensors[i].data = set->tensors[i].bytes ? (const void *)p->slices[p->places[i].slice].data : &nothing;
        if (needs_copy(p, i)) bytes += whole_lines(set->tensors[i].bytes);
    }
    if (bytes > HD_COPIED_MAX)
        return hd_fail(p->err, HD_E_LIMIT,
                       "%zu bytes of tensors lie askew or in slices and would be copied to memory; at most %zu are",
                       bytes, HD_COPIED_MAX);
    if (!bytes) return HD_OK;
    set->copied = hd_bulk_alloc(bytes);
    if (!set->copied) return hd_fail(p->err, HD_E_MEMORY, "no memory to copy %zu bytes of tensors", bytes);
    set->copied_bytes = bytes;
    uint8_t *to = set->copied;
    for (size_t i = 0; i < set->count; i++) {
        if (!needs_copy(p, i)) continue;
        copy_tensor(p, i, to);
        to += whole_lines(set->tensors[i].bytes);
    }
    return HD_OK;
}

hd_status hd_mindspore_parse(hd_tensor_set *out, const uint8_t *data, size_t size, hd_error *err)
{
    *out = (hd_tensor_set){0};
    parser p = {.data = data, .set = out, .err = err};
    hd_buf_init(&p.names, HD_TENSORS_MAX * (HD_TENSOR_NAME_MAX + 1));
    hd_status status = read_values(&p, size);
    if (status == HD_OK) status = settle_names(&p);
    out->names = p.names.data; /* ours from here, also where it failed */
    if (status == HD_OK) status = place_tensors(&p);
    hd_free(p.slices);
    hd_free(p.places);
    if (status != HD_OK) hd_tensor_set_free(out);
    return status;
}

bool hd_mindspore_begins(const uint8_t *data, size_t size)
{
    hd_reader r;
    hd_reader_init(&r, data, size);
    if (is_encrypted(data, size)) return true;
    if (hd_read_u8(&r) != 0x0a) return false; /* Checkpoint.value */
    uint64_t len = read_varint(&r);
    if (r.failed || len > hd_reader_left(&r) || hd_read_u8(&r) != 0x0a) return false; /* its tag */
    uint64_t tag = read_varint(&r);
    return !r.failed && tag < len && hd_read_bytes(&r, tag) && hd_read_u8(&r) == 0x12; /* its tensor */
}
