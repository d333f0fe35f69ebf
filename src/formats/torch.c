/* formats/torch.c: a PyTorch checkpoint: a zip of NAME/data.pkl, which says what the tensors are, and NAME/data/KEY,
 * the bytes of each storage (torch.save since version 1.6; its twin for reading is torch/serialization.py).
 *
 * Invariants: a tensor lies inside its storage, and a storage inside its entry of the zip.  Tensors may share bytes, as
 * tied weights do.  One whose rows do not lie one behind the other, or at an odd address, is copied; all copies
 * together never take more bytes than the file, so memory can't be made out of a small file.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "formats/formats_internal.h"

#define PICKLE_NAME "data.pkl"
#define PREFIX_MAX 256 /* bytes of the archive's folder: the stem of a file name, which has at most 255 */

typedef struct parser {
    hd_zip zip;
    hd_pickle pickle;
    hd_str prefix; /* with its slash */
    const uint8_t *data;
    size_t copied, copies_max; /* bytes */
    hd_error *err;
} parser;

/* ---- the archive ---- */

/* Whether an entry is "FOLDER/data.pkl"; *prefix is then the folder with its slash. */
static bool is_pickle(hd_str name, hd_str *prefix)
{
    const char *slash = memchr(name.data, '/', name.len);
    if (!slash) return false;
    *prefix = (hd_str){name.data, (size_t)(slash - name.data) + 1};
    return name.len - prefix->len == strlen(PICKLE_NAME) && memcmp(slash + 1, PICKLE_NAME, strlen(PICKLE_NAME)) == 0;
}

/* The entry PREFIX FOLDER KEY, where the folder is "data/" or nothing; NULL when there is none. */
static const hd_zip_entry *find_entry(const parser *p, hd_str folder, hd_str key)
{
    char name[HD_ZIP_NAME_MAX];
    size_t len = p->prefix.len;
    if (key.len > sizeof name - PREFIX_MAX - folder.len) return NULL;
    memcpy(name, p->prefix.data, len);
    memcpy(name + len, folder.data, folder.len);
    memcpy(name + len + folder.len, key.data, key.len);
    return hd_zip_find(&p->zip, name, len + folder.len + key.len);
}

static hd_status find_pickle(parser *p, const hd_zip_entry **pickle)
{
    *pickle = NULL;
    for (size_t i = 0; i < p->zip.count; i++) {
        hd_str prefix;
        if (!is_pickle(p->zip.entries[i].name, &prefix)) continue;
        if (*pickle) return hd_fail(p->err, HD_E_FORMAT, "not a PyTorch checkpoint: the zip has two " PICKLE_NAME);
        *pickle = &p->zip.entries[i];
        p->prefix = prefix;
    }
    if (!*pickle) return hd_fail(p->err, HD_E_FORMAT, "not a PyTorch checkpoint: the zip has no NAME/" PICKLE_NAME);
    if (p->prefix.len > PREFIX_MAX)
        return hd_fail(p->err, HD_E_LIMIT, "the folder in the zip has a name of %zu bytes; at most %d are read",
                       p->prefix.len - 1, PREFIX_MAX - 1);
    return HD_OK;
}

/* Files from before torch 2.0 don't say it; they are little-endian but for those made on such a machine. */
static hd_status check_byte_order(const parser *p)
{
    const hd_zip_entry *order = find_entry(p, (hd_str){"", 0}, (hd_str){"byteorder", 9});
    if (!order || (order->bytes == 6 && memcmp(order->data, "little", 6) == 0)) return HD_OK;
    return hd_fail(p->err, HD_E_UNSUPPORTED, "the byte order is '%s'; only 'little' is read",
                   hd_show((hd_str){(const char *)order->data, order->bytes}).text);
}

/* ---- tensors ---- */

/* The storage's bytes, which must be as many as the pickle says. */
static hd_status find_storage(const parser *p, const hd_pickle_tensor *from, const hd_tensor *t,
                              const hd_zip_entry **storage)
{
    const hd_shown key = hd_show(from->storage);
    *storage = find_entry(p, (hd_str){"data/", 5}, from->storage);
    if (!*storage)
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': its storage 'data/%s' is not in the zip", t->name, key.text);
    int64_t bytes;
    if (__builtin_mul_overflow(from->storage_count, (int64_t)hd_type_block_bytes(from->storage_type), &bytes) ||
        (uint64_t)bytes != (*storage)->bytes)
        return hd_fail(p->err, HD_E_FORMAT,
                       "tensor '%s': its storage 'data/%s' has %zu bytes, not %" PRId64 " of type %s", t->name,
                       key.text, (*storage)->bytes, from->storage_count, hd_type_name(from->storage_type));
    return HD_OK;
}

static bool is_empty(const hd_tensor *t)
{
    for (int d = 0; d < t->dims; d++)
        if (t->shape[d] == 0) return true;
    return false;
}

/* Whether the last value lies in the storage, too; the first one then does. */
static bool lies_inside(const hd_pickle_tensor *from, const hd_zip_entry *storage)
{
    int64_t last = from->offset, reach, end;
    for (int d = 0; d < from->dims; d++)
        if (__builtin_mul_overflow(from->shape[d] - 1, from->stride[d], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return false;
    return !__builtin_add_overflow(last, 1, &end) &&
           !__builtin_mul_overflow(end, (int64_t)hd_type_block_bytes(from->type), &end) &&
           (uint64_t)end <= storage->bytes;
}

/* Row by row, the last dimension together.  The stride of a dimension of one value says nothing. */
static bool is_contiguous(const hd_pickle_tensor *from)
{
    int64_t stride = 1; /* never overflows: the shape was measured */
    for (int d = from->dims - 1; d >= 0; stride *= from->shape[d--])
        if (from->shape[d] != 1 && from->stride[d] != stride) return false;
    return true;
}

/* Whether two values can be one: from the smallest stride on, each must step over all that the smaller ones reach. */
static bool overlaps_itself(const hd_pickle_tensor *from)
{
    int order[HD_MAX_DIMS] = {0}; /* dimensions, sorted by stride */
    for (int d = 0; d < from->dims; d++) {
        int at = d;
        for (; at > 0 && from->stride[order[at - 1]] > from->stride[d]; at--)
            order[at] = order[at - 1];
        order[at] = d;
    }
    int64_t reach = 0; /* inside the storage: nothing overflows */
    for (int i = 0; i < from->dims; i++) {
        int d = order[i];
        if (from->shape[d] == 1) continue;
        if (from->stride[d] <= reach) return true;
        reach += (from->shape[d] - 1) * from->stride[d];
    }
    return false;
}

/* Puts the values one behind the other, those of the last dimension first. */
static void gather(uint8_t *to, const uint8_t *from, const hd_pickle_tensor *t, size_t width)
{
    const int64_t *n = t->shape, *s = t->stride;
    static_assert(HD_MAX_DIMS == 4, "one loop a dimension");
    for (int64_t a = 0; a < n[0]; a++)
        for (int64_t b = 0; b < n[1]; b++)
            for (int64_t c = 0; c < n[2]; c++)
                for (int64_t d = 0; d < n[3]; d++, to += width)
                    memcpy(to, from + (size_t)(a * s[0] + b * s[1] + c * s[2] + d * s[3]) * width, width);
}

/* A copy whose rows lie one behind the other, at an aligned address. */
static hd_status copy_values(parser *p, hd_tensor_set *set, hd_tensor *t, const hd_pickle_tensor *from)
{
    if (overlaps_itself(from))
        return hd_fail(p->err, HD_E_UNSUPPORTED, "tensor '%s': its strides make values overlap", t->name);
    if (t->bytes > p->copies_max - p->copied)
        return hd_fail(p->err, HD_E_LIMIT,
                       "tensor '%s': the tensors that are not stored row by row have more bytes than the file",
                       t->name);
    uint8_t *copy = hd_alloc_aligned(t->bytes);
    if (!copy)
        return hd_fail(p->err, HD_E_MEMORY, "no memory for a copy of tensor '%s' (%zu bytes)", t->name, t->bytes);
    p->copied += t->bytes;
    set->copies[set->copy_count++] = copy;
    if (is_contiguous(from))
        memcpy(copy, t->data, t->bytes);
    else
        gather(copy, t->data, from, (size_t)hd_type_block_bytes(t->type));
    t->data = copy;
    return HD_OK;
}

static hd_status read_tensor(parser *p, hd_tensor_set *set, hd_tensor *t, const hd_pickle_tensor *from)
{
    const hd_zip_entry *storage = NULL;
    const char *why;
    size_t width = (size_t)hd_type_block_bytes(from->type);
    t->type = from->type;
    t->dims = from->dims;
    memcpy(t->shape, from->shape, sizeof t->shape);
    if (!hd_tensor_measure(t, &t->bytes, &why)) return hd_fail(p->err, HD_E_FORMAT, "tensor '%s': %s", t->name, why);
    HD_TRY(find_storage(p, from, t, &storage));
    t->data = p->data; /* of a tensor without values: any place in the file that is aligned */
    if (is_empty(t)) return HD_OK;
    if (!lies_inside(from, storage))
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s' leads out of its storage 'data/%s'", t->name,
                       hd_show(from->storage).text);
    t->data = storage->data + (size_t)from->offset * width;
    if (is_contiguous(from) && (uintptr_t)t->data % width == 0) return HD_OK;
    return copy_values(p, set, t, from);
}

static hd_status read_tensors(parser *p, hd_tensor_set *set)
{
    const hd_pickle *pickle = &p->pickle;
    size_t bytes = 0;
    for (size_t i = 0; i < pickle->count; i++)
        bytes += pickle->tensors[i].name.len + 1; /* all lie in the pickle */
    set->tensors = hd_calloc(pickle->count, sizeof *set->tensors);
    set->names = hd_alloc(bytes);
    set->copies = hd_calloc(pickle->count, sizeof *set->copies);
    if (!set->tensors || !set->names || !set->copies)
        return hd_fail(p->err, HD_E_MEMORY, "no memory for %zu tensors", pickle->count);
    char *room = set->names;
    for (; set->count < pickle->count; set->count++) {
        const hd_pickle_tensor *from = &pickle->tensors[set->count];
        hd_tensor *t = &set->tensors[set->count];
        t->name = memcpy(room, from->name.data, from->name.len);
        room += from->name.len;
        *room++ = '\0';
        HD_TRY(read_tensor(p, set, t, from));
    }
    return HD_OK;
}

/* ---- the door ---- */

static hd_status parse(parser *p, hd_tensor_set *set, size_t size)
{
    /* What torch.save wrote before 1.6 is a row of pickles; the first one is this number. */
    static const uint8_t old[] = {0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    if (size >= sizeof old && memcmp(p->data, old, sizeof old) == 0)
        return hd_fail(p->err, HD_E_UNSUPPORTED,
                       "written by torch.save from before version 1.6, or in its form; torch.save(torch.load(FILE), "
                       "OTHER) makes a zip of it");
    const hd_zip_entry *pickle = NULL;
    HD_TRY(hd_zip_parse(&p->zip, p->data, size, p->err));
    HD_TRY(find_pickle(p, &pickle));
    HD_TRY(check_byte_order(p));
    HD_TRY(hd_pickle_parse(&p->pickle, pickle->data, pickle->bytes, p->err));
    return read_tensors(p, set);
}

hd_status hd_torch_parse(hd_tensor_set *out, const uint8_t *data, size_t size, hd_error *err)
{
    *out = (hd_tensor_set){0};
    parser p = {.data = data, .copies_max = size, .err = err};
    hd_status status = parse(&p, out, size);
    hd_zip_free(&p.zip);
    hd_pickle_free(&p.pickle);
    if (status != HD_OK) hd_tensor_set_free(out);
    return status;
}
