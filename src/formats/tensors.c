/* formats/tensors.c: the tensors of one file, and how many bytes one needs, or all. */
#include <string.h>

#include "formats/formats_internal.h"

void hd_tensor_set_free(hd_tensor_set *set)
{
    for (size_t i = 0; i < set->copy_count; i++)
        hd_free_aligned(set->copies[i]);
    hd_free(set->copies);
    hd_free(set->tensors);
    hd_free(set->names);
    hd_bulk_free(set->copied, set->copied_bytes);
    *set = (hd_tensor_set){0};
}

/* The product of the sizes that are not zero must fit, too: whoever multiplies a shape in another order than we do, as
 * [2^40, 2^40, 0], must not overflow. */
static bool values_fit(const hd_tensor *t)
{
    int64_t values = 1;
    for (int i = 0; i < t->dims; i++) {
        if (t->shape[i] != 0 && __builtin_mul_overflow(values, t->shape[i], &values)) return false;
    }
    return true;
}

bool hd_tensor_measure(const hd_tensor *t, size_t *bytes, const char **why)
{
    *why = "the number of its values overflows";
    if (!values_fit(t)) return false;
    int64_t cols = t->dims ? t->shape[t->dims - 1] : 1;
    *why = "its rows are not a whole number of blocks of its type";
    if (cols % hd_type_block(t->type) != 0) return false;
    *why = "the number of its bytes overflows";
    if (!hd_type_row_bytes(t->type, cols, bytes)) return false;
    for (int i = 0; i + 1 < t->dims; i++) {
        if (__builtin_mul_overflow(*bytes, (size_t)t->shape[i], bytes)) return false;
    }
    return true;
}

uint64_t hd_gguf_file_bytes(const hd_tensor *tensors, size_t count, uint64_t metadata)
{
    uint64_t header = 4 + 4 + 8 + 8 + metadata, data = 0; /* magic, version, counts of tensors and of entries */
    for (size_t i = 0; i < count; i++) {
        const hd_tensor *t = &tensors[i];
        size_t bytes = 0;
        header += 8 + strlen(t->name) + 4 + 8 * (uint64_t)t->dims + 4 + 8; /* name, shape, type, place */
        (void)hd_type_row_bytes(t->type, hd_tensor_values(t), &bytes);
        data = hd_align_up(data, HD_GGUF_ALIGNMENT) + bytes;
    }
    return count ? hd_align_up(header, HD_GGUF_ALIGNMENT) + hd_align_up(data, HD_GGUF_ALIGNMENT) : header;
}
