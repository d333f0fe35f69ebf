/* formats/mindspore_write.c: the writer of MindSpore's checkpoints; their layout stands in mindspore.c.
 *
 * What lies between the bytes of tensors is made first, so that the file is written front to back (file_write.c).  A
 * tensor of more than a slice becomes several values, as MindSpore does it.  In front of a content stands a field that
 * checkpoint.proto doesn't know, which readers of protobuf pass over: filled with as many zeros as bring the content to
 * a multiple of 64 bytes, so that the file can be mapped and its tensors used where they lie.
 */
#include <string.h>

#include "formats/formats_internal.h"

#define KEY_VALUE 0x0a   /* Checkpoint.value: field 1, bytes */
#define KEY_TAG 0x0a     /* Value.tag: field 1, bytes */
#define KEY_TENSOR 0x12  /* Value.tensor: field 2, bytes */
#define KEY_DIMS 0x08    /* TensorProto.dims: field 1, a number */
#define KEY_TYPE 0x12    /* TensorProto.tensor_type: field 2, bytes */
#define KEY_CONTENT 0x1a /* TensorProto.tensor_content: field 3, bytes */
#define KEY_FILLER 0x7a  /* field 15, bytes: in no message of checkpoint.proto */
#define FILLER_MAX 127   /* zeros: their length is one byte then */

/* A value's fields but its content, of which it knows the length. */
typedef struct heading {
    const hd_tensor *tensor;
    const char *type;
    uint64_t content;
    int filler; /* bytes of that field: 0 (none), or 2 and more */
} heading;

static size_t varint_bytes(uint64_t value)
{
    size_t n = 1;
    for (; value >= 0x80; value >>= 7)
        n++;
    return n;
}

static void put_varint(hd_buf *b, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        (void)hd_buf_putc(b, (char)(value | 0x80));
    (void)hd_buf_putc(b, (char)value);
}

static void put_bytes(hd_buf *b, char key, const char *text)
{
    (void)hd_buf_putc(b, key);
    put_varint(b, strlen(text));
    (void)hd_buf_puts(b, text);
}

/* Bytes of a field of bytes with `len` of them. */
static uint64_t field_bytes(uint64_t len)
{
    return 1 + varint_bytes(len) + len;
}

static uint64_t tensor_bytes(const heading *h)
{
    uint64_t bytes = (uint64_t)h->filler + field_bytes(strlen(h->type)) + field_bytes(h->content);
    for (int d = 0; d < h->tensor->dims; d++)
        bytes += 1 + varint_bytes((uint64_t)h->tensor->shape[d]);
    return bytes;
}

static uint64_t value_bytes(const heading *h)
{
    return field_bytes(strlen(h->tensor->name)) + field_bytes(tensor_bytes(h));
}

static uint64_t heading_bytes(const heading *h)
{
    return field_bytes(value_bytes(h)) - h->content;
}

static void put_heading(hd_buf *b, const heading *h)
{
    (void)hd_buf_putc(b, KEY_VALUE);
    put_varint(b, value_bytes(h));
    put_bytes(b, KEY_TAG, h->tensor->name);
    (void)hd_buf_putc(b, KEY_TENSOR);
    put_varint(b, tensor_bytes(h));
    for (int d = 0; d < h->tensor->dims; d++) {
        (void)hd_buf_putc(b, KEY_DIMS);
        put_varint(b, (uint64_t)h->tensor->shape[d]);
    }
    put_bytes(b, KEY_TYPE, h->type);
    if (h->filler) {
        (void)hd_buf_putc(b, KEY_FILLER);
        (void)hd_buf_putc(b, (char)(h->filler - 2));
    }
    for (int i = 2; i < h->filler; i++)
        (void)hd_buf_putc(b, '\0');
    (void)hd_buf_putc(b, KEY_CONTENT);
    put_varint(b, h->content);
}

/* The least filler that brings the content to the begin of a line.  A length that grows by a byte passes one place
 * over; the tries go round twice, so another comes. */
static void choose_filler(heading *h, uint64_t at)
{
    for (h->filler = 0; h->filler <= FILLER_MAX + 2; h->filler += h->filler ? 1 : 2)
        if ((at + heading_bytes(h)) % HD_CACHE_LINE == 0) return;
}

static hd_status check_tensor(const hd_tensor *t, size_t *bytes, hd_error *err)
{
    const char *why;
    if (!hd_mindspore_type_name(t->type))
        return hd_fail(err, HD_E_UNSUPPORTED, "tensor '%s': MindSpore's checkpoints have no type %s", t->name,
                       hd_type_name(t->type));
    if (!hd_name_valid((hd_str){t->name, strlen(t->name)}, HD_TENSOR_NAME_MAX))
        return hd_fail(err, HD_E_ARGUMENT, "'%s' can't be the name of a tensor", t->name);
    if (!hd_tensor_measure(t, bytes, &why)) return hd_fail(err, HD_E_ARGUMENT, "tensor '%s': %s", t->name, why);
    return HD_OK;
}

static hd_status check_names(const hd_tensor *tensors, size_t count, hd_error *err)
{
    hd_names names;
    hd_status status = HD_OK;
    if (!hd_names_alloc(&names, count)) return hd_fail(err, HD_E_MEMORY, "no memory for %zu names", count);
    for (size_t i = 0; i < count; i++)
        names.sorted[i] = (hd_name_entry){{tensors[i].name, strlen(tensors[i].name)}, i};
    const hd_name_entry *twice = hd_names_sort(&names);
    if (twice) status = hd_fail(err, HD_E_ARGUMENT, "two tensors have the name '%s'", twice->text.data);
    hd_names_free(&names);
    return status;
}

/* The values of one tensor, from `at` of the file on, which moves behind them. */
static hd_status put_tensor(hd_file_layout *layout, const hd_tensor *t, uint64_t bytes, uint64_t slice, uint64_t *at,
                            hd_error *err)
{
    heading h = {.tensor = t, .type = hd_mindspore_type_name(t->type)};
    uint64_t left = bytes;
    hd_status status = HD_OK;
    hd_buf text;
    hd_buf_init(&text, 2 * HD_TENSOR_NAME_MAX);
    do {
        h.content = HD_MIN(left, slice);
        choose_filler(&h, *at);
        hd_buf_clear(&text);
        put_heading(&text, &h);
        status = text.status;
        if (status == HD_OK && *at == 0)
            status = hd_buf_append(&layout->header, text.data, text.len);
        else if (status == HD_OK)
            status = hd_file_layout_insert(layout, *at - layout->header.len, text.data, text.len);
        *at += text.len + h.content;
        left -= h.content;
    } while (status == HD_OK && left);
    hd_buf_free(&text);
    return status == HD_OK ? status : hd_fail(err, status, "no memory to lay out tensor '%s'", t->name);
}

hd_status hd_mindspore_layout(hd_file_layout *layout, const hd_tensor *tensors, size_t count, uint64_t slice,
                              hd_error *err)
{
    uint64_t at = 0;
    size_t bytes;
    if (!count) return hd_fail(err, HD_E_ARGUMENT, "a MindSpore checkpoint has at least one tensor");
    HD_TRY(check_names(tensors, count, err));
    for (size_t i = 0; i < count; i++) {
        HD_TRY(check_tensor(&tensors[i], &bytes, err));
        HD_TRY(put_tensor(layout, &tensors[i], bytes, slice, &at, err));
        layout->end[i] = at - layout->header.len;
    }
    return HD_OK;
}

hd_status hd_mindspore_writer_open(hd_file_writer **out, const char *path, const hd_tensor *tensors, size_t count,
                                   bool keep_finished, hd_error *err)
{
    hd_file_layout layout;
    *out = NULL;
    hd_status status = hd_file_layout_init(&layout, count, err);
    if (status == HD_OK) status = hd_mindspore_layout(&layout, tensors, count, HD_MINDSPORE_SLICE, err);
    if (status == HD_OK) status = hd_file_writer_new(out, &layout, path, keep_finished, err);
    hd_file_layout_free(&layout);
    return status;
}
