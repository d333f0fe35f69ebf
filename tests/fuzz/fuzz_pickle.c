/* fuzz_pickle.c: any bytes as the data.pkl of a PyTorch checkpoint.  What is accepted keeps the promises of
 * hd_pickle_tensor.  A second round lets an allocation fail. */
#include <string.h>

#include "formats/formats_internal.h"

static void use(const hd_pickle *p, const uint8_t *data, size_t size)
{
    if (p->count == 0) __builtin_trap();
    for (size_t i = 0; i < p->count; i++) {
        const hd_pickle_tensor *t = &p->tensors[i];
        const uint8_t *name = (const uint8_t *)t->name.data, *key = (const uint8_t *)t->storage.data;
        if (name < data || t->name.len > (size_t)(data + size - name)) __builtin_trap();
        if (key < data || t->storage.len > (size_t)(data + size - key)) __builtin_trap();
        if (!hd_name_valid(t->name, HD_TENSOR_NAME_MAX) || t->type >= HD_TYPE_COUNT) __builtin_trap();
        if (t->dims < 0 || t->dims > HD_MAX_DIMS || t->offset < 0 || t->storage_count < 0) __builtin_trap();
        for (int d = 0; d < HD_MAX_DIMS; d++) {
            if (t->shape[d] < 0 || t->stride[d] < 0) __builtin_trap();
            if (d >= t->dims && (t->shape[d] != 1 || t->stride[d] != 0)) __builtin_trap();
        }
    }
}

static void parse_and_use(const uint8_t *data, size_t size)
{
    hd_pickle p;
    hd_error err = {0};
    if (hd_pickle_parse(&p, data, size, &err) == HD_OK)
        use(&p, data, size);
    else if (err.status == HD_OK || !err.text[0] || p.tensors)
        __builtin_trap();
    hd_pickle_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_and_use(data, size);
    hd_alloc_fail_after(1 + size % 6);
    parse_and_use(data, size);
    hd_alloc_fail_after(0);
    return 0;
}
