/* formats/gguf_write.c: the header of a GGUF file that is written; file_write.c does the rest. */
#include <string.h>

#include "formats/formats_internal.h"

#define ALIGNMENT_MAX 65536 /* larger than any page that is mapped; more would only be zeros */

static void put_u32(hd_buf *b, uint32_t v)
{
    (void)hd_buf_append(b, &v, sizeof v); /* every supported machine is little-endian, as the file is */
}

static void put_u64(hd_buf *b, uint64_t v)
{
    (void)hd_buf_append(b, &v, sizeof v);
}

static void put_string(hd_buf *b, hd_str s)
{
    put_u64(b, s.len);
    (void)hd_buf_append(b, s.data, s.len);
}

static void put_meta(hd_buf *b, const hd_meta *m)
{
    hd_meta_type type = m->type;
    uint64_t count = 1;
    put_string(b, m->key);
    put_u32(b, (uint32_t)m->type);
    if (type == HD_META_ARRAY) {
        type = m->elem;
        count = m->count;
        put_u32(b, (uint32_t)m->elem);
        put_u64(b, count);
    }
    if (type != HD_META_STRING)
        (void)hd_buf_append(b, m->data, (size_t)count * hd_meta_scalar_bytes((uint32_t)type));
    else if (m->type == HD_META_STRING)
        put_string(b, m->string);
    else
        for (uint64_t i = 0; i < count; i++)
            put_string(b, m->strings[i]);
}

static int gguf_number(hd_type type)
{
    for (uint32_t id = 0; id < 64; id++) {
        hd_type found;
        if (hd_type_from_gguf(id, &found) && found == type) return (int)id;
    }
    return -1;
}

/* One tensor's entry; *end is where its bytes end, from the start of the data. */
static hd_status put_tensor(hd_buf *b, const hd_tensor *t, uint64_t alignment, uint64_t *end, hd_error *err)
{
    size_t bytes;
    const char *why;
    int number = gguf_number(t->type);
    if (number < 0)
        return hd_fail(err, HD_E_UNSUPPORTED, "tensor '%s': GGUF has no type %s", t->name, hd_type_name(t->type));
    if (!hd_name_valid((hd_str){t->name, strlen(t->name)}, HD_GGUF_NAME_MAX))
        return hd_fail(err, HD_E_ARGUMENT, "'%s' can't be the name of a tensor in GGUF: 1 to %d bytes of UTF-8",
                       t->name, HD_GGUF_NAME_MAX);
    if (!hd_tensor_measure(t, &bytes, &why)) return hd_fail(err, HD_E_ARGUMENT, "tensor '%s': %s", t->name, why);
    uint64_t begin = hd_align_up(*end, alignment);
    if (__builtin_add_overflow(begin, bytes, end) || *end > INT64_MAX / 2)
        return hd_fail(err, HD_E_LIMIT, "tensor '%s' would lie beyond any file's end", t->name);
    put_string(b, (hd_str){t->name, strlen(t->name)});
    put_u32(b, (uint32_t)t->dims);
    for (int d = t->dims - 1; d >= 0; d--) /* the fastest dimension first */
        put_u64(b, (uint64_t)t->shape[d]);
    put_u32(b, (uint32_t)number);
    put_u64(b, begin);
    return HD_OK;
}

static hd_status find_alignment(hd_file_layout *w, const hd_meta *meta, size_t count, hd_error *err)
{
    w->alignment = HD_GGUF_ALIGNMENT;
    for (size_t i = 0; i < count; i++) {
        static const char key[] = "general.alignment";
        if (meta[i].key.len != strlen(key) || memcmp(meta[i].key.data, key, strlen(key)) != 0) continue;
        if (meta[i].type != HD_META_U32 || !hd_meta_u64(&meta[i], 0, &w->alignment) || w->alignment < 8 ||
            w->alignment > ALIGNMENT_MAX || (w->alignment & (w->alignment - 1)))
            return hd_fail(err, HD_E_ARGUMENT, "general.alignment must be a uint32, a power of two from 8 to %d",
                           ALIGNMENT_MAX);
    }
    return HD_OK;
}

static hd_status make_header(hd_file_layout *w, const hd_meta *meta, size_t meta_count, const hd_tensor *tensors,
                             hd_error *err)
{
    uint64_t end = 0;
    hd_buf *b = &w->header;
    HD_TRY(find_alignment(w, meta, meta_count, err));
    (void)hd_buf_append(b, HD_GGUF_MAGIC, 4);
    put_u32(b, HD_GGUF_VERSION);
    put_u64(b, w->count);
    put_u64(b, meta_count);
    for (size_t i = 0; i < meta_count; i++)
        put_meta(b, &meta[i]);
    for (size_t i = 0; i < w->count; i++) {
        HD_TRY(put_tensor(b, &tensors[i], w->alignment, &end, err));
        w->end[i] = end;
    }
    while (w->count && b->status == HD_OK && b->len % w->alignment)
        (void)hd_buf_putc(b, '\0');
    if (b->status == HD_E_LIMIT) return hd_fail(err, HD_E_LIMIT, "the metadata have more than %zu bytes", b->max);
    if (b->status != HD_OK) return hd_fail(err, b->status, "no memory for the file's header");
    return HD_OK;
}

hd_status hd_gguf_writer_open(hd_file_writer **out, const char *path, const hd_meta *meta, size_t meta_count,
                              const hd_tensor *tensors, size_t count, bool keep_finished, hd_error *err)
{
    hd_file_layout layout;
    *out = NULL;
    hd_status status = hd_file_layout_init(&layout, count, err);
    if (status == HD_OK) status = make_header(&layout, meta, meta_count, tensors, err);
    if (status == HD_OK) status = hd_file_writer_new(out, &layout, path, keep_finished, err);
    hd_file_layout_free(&layout);
    return status;
}
