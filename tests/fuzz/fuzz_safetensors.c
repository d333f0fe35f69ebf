/* fuzz_safetensors.c: any bytes as a safetensors file.  A second round lets an allocation fail. */
#include <string.h>

#include "formats/formats_internal.h"

static volatile uint64_t sink; /* so that reads are not optimized away */

/* The tensors must lie one after another in the file and reach its end. */
static void use(const hd_tensor_set *set, const uint8_t *data, size_t size)
{
    const uint8_t *end = set->count ? set->tensors[0].data : data + size;
    for (size_t i = 0; i < set->count; i++) {
        const hd_tensor *t = &set->tensors[i];
        size_t bytes;
        const char *why;
        if (!hd_tensor_measure(t, &bytes, &why) || bytes != t->bytes) __builtin_trap();
        if ((const uint8_t *)t->data != end || end < data) __builtin_trap();
        end += t->bytes;
        if (t->bytes) sink += end[-1] + *(const uint8_t *)t->data;
        sink += strlen(t->name);
    }
    if (end != data + size) __builtin_trap();
}

static void parse_and_use(const uint8_t *data, size_t size)
{
    hd_tensor_set set;
    hd_error err = {0};
    if (hd_safetensors_parse_header(&set, data, size, &err) == HD_OK)
        use(&set, data, size);
    else if (err.status == HD_OK || !err.text[0] || set.tensors)
        __builtin_trap();
    hd_tensor_set_free(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_and_use(data, size);
    hd_alloc_fail_after(1 + size % 2);
    parse_and_use(data, size);
    hd_alloc_fail_after(0);
    return 0;
}
