/* formats/safetensors_write.c: writes safetensors: a small file whole or not at all, by a temporary beside it and a
 * rename; and the header of a large one, whose tensors come later (file_write.c). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/formats_internal.h"

/* Tensor data start at a multiple of this, so that a mapped float64 is aligned. */
#define DATA_ALIGNMENT 8

typedef struct writer {
    const hd_tensor *tensors;
    size_t count;
    size_t *order; /* wide elements first: every tensor is then aligned to its element */
    bool whole;    /* the tensors' bytes are there already */
    hd_error *err;
} writer;

static const char *dtype_name(hd_type type)
{
    switch (type) {
    case HD_TYPE_F64:
    case HD_TYPE_F32:
    case HD_TYPE_F16:
    case HD_TYPE_BF16:
    case HD_TYPE_F8_E4M3:
    case HD_TYPE_F8_E5M2:
    case HD_TYPE_F8_E8M0:
    case HD_TYPE_I64:
    case HD_TYPE_I32:
    case HD_TYPE_I16:
    case HD_TYPE_I8:
    case HD_TYPE_U8: return hd_type_name(type); /* safetensors has the same names */
    default: return NULL;
    }
}

static hd_status check_tensor(const writer *w, const hd_tensor *t)
{
    size_t bytes;
    const char *why;
    if (!dtype_name(t->type))
        return hd_fail(w->err, HD_E_UNSUPPORTED, "tensor '%s': safetensors has no type %s", t->name,
                       hd_type_name(t->type));
    if (!hd_name_valid((hd_str){t->name, strlen(t->name)}, HD_TENSOR_NAME_MAX) || strcmp(t->name, "__metadata__") == 0)
        return hd_fail(w->err, HD_E_ARGUMENT, "'%s' can't be the name of a tensor", t->name);
    if (!hd_tensor_measure(t, &bytes, &why)) return hd_fail(w->err, HD_E_ARGUMENT, "tensor '%s': %s", t->name, why);
    if (w->whole && bytes != t->bytes)
        return hd_fail(w->err, HD_E_ARGUMENT, "tensor '%s' has %zu bytes, but its shape needs %zu", t->name, t->bytes,
                       bytes);
    return HD_OK;
}

static hd_status plan_order(writer *w)
{
    size_t n = 0;
    w->order = hd_alloc_array(w->count, sizeof *w->order);
    if (!w->order) return hd_fail(w->err, HD_E_MEMORY, "no memory for %zu tensors", w->count);
    for (int width = 8; width > 0; width /= 2) {
        for (size_t i = 0; i < w->count; i++)
            if (hd_type_block_bytes(w->tensors[i].type) == width) w->order[n++] = i;
    }
    return HD_OK;
}

static json_t *describe(const hd_tensor *t, size_t begin, size_t bytes)
{
    json_t *shape = json_array();
    json_int_t first = (json_int_t)begin, last = first + (json_int_t)bytes;
    for (int d = 0; shape && d < t->dims; d++)
        json_array_append_new(shape, json_integer(t->shape[d]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(t->type), "shape", shape, "data_offsets", first, last);
}

/* The header's text, padded with spaces to DATA_ALIGNMENT; end[i] is where the i-th tensor's bytes end (NULL: nobody
 * asks). */
static hd_status make_header(const writer *w, hd_buf *text, uint64_t *end)
{
    json_t *header = json_object();
    size_t at = 0, bytes;
    const char *why;
    hd_status status = header ? HD_OK : HD_E_MEMORY;
    for (size_t i = 0; i < w->count && status == HD_OK; i++) {
        const hd_tensor *t = &w->tensors[w->order[i]];
        (void)hd_tensor_measure(t, &bytes, &why); /* as check_tensor did */
        if (json_object_get(header, t->name))
            status = hd_fail(w->err, HD_E_ARGUMENT, "two tensors have the name '%s'", t->name);
        else if (json_object_set_new(header, t->name, describe(t, at, bytes)) != 0)
            status = HD_E_MEMORY;
        at += bytes;
        if (end) end[i] = at;
    }
    char *dumped = status == HD_OK ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (status == HD_OK) status = dumped ? hd_buf_puts(text, dumped) : HD_E_MEMORY;
    while (status == HD_OK && text->len % DATA_ALIGNMENT)
        status = hd_buf_putc(text, ' ');
    free(dumped); /* hd-lint: allow raw-memory: jansson allocated it */
    if (status == HD_E_MEMORY) return hd_fail(w->err, status, "no memory for the header");
    if (status == HD_E_LIMIT) return hd_fail(w->err, status, "too many tensors: the header is too long");
    return status;
}

static bool write_content(const writer *w, int fd, const hd_buf *header)
{
    uint8_t len[8];
    for (int i = 0; i < 8; i++)
        len[i] = (uint8_t)((uint64_t)header->len >> (8 * i));
    if (!hd_write_all(fd, len, sizeof len) || !hd_write_all(fd, header->data, header->len)) return false;
    for (size_t i = 0; i < w->count; i++) {
        const hd_tensor *t = &w->tensors[w->order[i]];
        if (!hd_write_all(fd, t->data, t->bytes)) return false;
    }
    return fsync(fd) == 0;
}

/* Content, then name.  Leaves errno of the first thing that failed. */
static bool write_and_rename(const writer *w, int fd, const char *temporary, const char *path, const hd_buf *header)
{
    bool written = write_content(w, fd, header);
    int why = errno;
    if (close(fd) != 0 && written) {
        written = false;
        why = errno;
    }
    if (written && rename(temporary, path) == 0) return true;
    if (written) why = errno;
    unlink(temporary);
    errno = why;
    return false;
}

static hd_status write_file(const writer *w, const char *path, const hd_buf *header)
{
    hd_buf temporary;
    hd_status status = HD_OK;
    if (!hd_may_replace(path))
        return hd_fail(w->err, HD_E_IO, "%s: not a regular file; it is not replaced, take another name", path);
    hd_buf_init(&temporary, 1 << 16);
    int fd = hd_temporary_open(path, 0666, &temporary);
    if (fd < 0)
        status = hd_fail(w->err, errno == ENOMEM ? HD_E_MEMORY : HD_E_IO, "%s: cannot create a file beside it: %s",
                         path, strerror(errno));
    else if (!write_and_rename(w, fd, temporary.data, path, header))
        status = hd_fail(w->err, HD_E_IO, "%s: cannot write: %s", path, strerror(errno));
    else
        hd_sync_folder_of(path);
    hd_buf_free(&temporary);
    return status;
}

hd_status hd_safetensors_write(const char *path, const hd_tensor *tensors, size_t count, hd_error *err)
{
    writer w = {.tensors = tensors, .count = count, .whole = true, .err = err};
    for (size_t i = 0; i < count; i++)
        HD_TRY(check_tensor(&w, &tensors[i]));
    HD_TRY(plan_order(&w));
    hd_buf header;
    hd_buf_init(&header, HD_SAFETENSORS_HEADER_MAX);
    hd_status status = make_header(&w, &header, NULL);
    if (status == HD_OK) status = write_file(&w, path, &header);
    hd_buf_free(&header);
    hd_free(w.order);
    return status;
}

hd_status hd_safetensors_writer_open(hd_file_writer **out, const char *path, const hd_tensor *tensors, size_t count,
                                     bool keep_finished, hd_error *err)
{
    writer w = {.tensors = tensors, .count = count, .err = err};
    hd_file_layout layout;
    hd_buf text;
    uint8_t len[8];
    *out = NULL;
    for (size_t i = 0; i < count; i++)
        HD_TRY(check_tensor(&w, &tensors[i]));
    hd_buf_init(&text, HD_SAFETENSORS_HEADER_MAX);
    hd_status status = hd_file_layout_init(&layout, count, err);
    w.order = hd_alloc_array(HD_MAX(count, 1), sizeof *w.order);
    if (status == HD_OK && !w.order) status = hd_fail(err, HD_E_MEMORY, "no memory for %zu tensors", count);
    for (size_t i = 0; status == HD_OK && i < count; i++)
        w.order[i] = i;
    if (status == HD_OK) status = make_header(&w, &text, layout.end);
    for (int i = 0; i < 8; i++)
        len[i] = (uint8_t)((uint64_t)text.len >> (8 * i));
    if (status == HD_OK && (hd_buf_append(&layout.header, len, sizeof len) != HD_OK ||
                            hd_buf_append(&layout.header, text.data, text.len) != HD_OK))
        status = hd_fail(err, HD_E_MEMORY, "no memory for the header");
    if (status == HD_OK) status = hd_file_writer_new(out, &layout, path, keep_finished, err);
    hd_file_layout_free(&layout);
    hd_buf_free(&text);
    hd_free(w.order);
    return status;
}
