/* fuzz_torch.c: any bytes as a zip and as a PyTorch checkpoint in it.  Entries must lie one behind the other, tensors
 * inside the file or in copies that are no larger.  A second round lets an allocation fail. */
#include <string.h>

#include "formats/formats_internal.h"

static volatile uint64_t sink; /* so that reads are not optimized away */

static bool inside(const void *at, size_t bytes, const uint8_t *data, size_t size)
{
    const uint8_t *p = at;
    return p >= data && p <= data + size && bytes <= (size_t)(data + size - p);
}

static void use_zip(const hd_zip *zip, const uint8_t *data, size_t size)
{
    const uint8_t *end = data;
    for (size_t i = 0; i < zip->count; i++) {
        const hd_zip_entry *e = &zip->entries[i];
        if (hd_zip_find(zip, e->name.data, e->name.len) != e || !hd_name_valid(e->name, HD_ZIP_NAME_MAX))
            __builtin_trap();
        if (e->header < end || e->data <= e->header || !inside(e->data, e->bytes, data, size)) __builtin_trap();
        end = e->data + e->bytes;
        if (e->bytes) sink += e->data[0] + end[-1];
    }
}

static void use_tensors(const hd_tensor_set *set, const uint8_t *data, size_t size)
{
    size_t copied = 0, copies = 0;
    for (size_t i = 0; i < set->count; i++) {
        const hd_tensor *t = &set->tensors[i];
        size_t bytes;
        const char *why;
        if (!hd_tensor_measure(t, &bytes, &why) || bytes != t->bytes || !t->name[0]) __builtin_trap();
        if (t->bytes) sink += ((const uint8_t *)t->data)[0] + ((const uint8_t *)t->data)[t->bytes - 1];
        if (inside(t->data, t->bytes, data, size)) continue;
        copied += t->bytes;
        if (copies == set->copy_count || set->copies[copies++] != t->data || copied > size) __builtin_trap();
    }
    if (copies != set->copy_count) __builtin_trap();
}

static void parse_and_use(const uint8_t *data, size_t size)
{
    hd_zip zip;
    hd_tensor_set set;
    hd_error err = {0};
    if (hd_zip_parse(&zip, data, size, &err) == HD_OK)
        use_zip(&zip, data, size);
    else if (err.status == HD_OK || !err.text[0] || zip.entries)
        __builtin_trap();
    hd_zip_free(&zip);
    err = (hd_error){0};
    if (hd_torch_parse(&set, data, size, &err) == HD_OK)
        use_tensors(&set, data, size);
    else if (err.status == HD_OK || !err.text[0] || set.tensors)
        __builtin_trap();
    hd_tensor_set_free(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_and_use(data, size);
    hd_alloc_fail_after(1 + size % 14);
    parse_and_use(data, size);
    hd_alloc_fail_after(0);
    return 0;
}
