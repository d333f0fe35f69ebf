/* fuzz_mindspore.c: any bytes as a MindSpore checkpoint.  A second round lets an allocation fail. */
#include <string.h>

#include "formats/formats_internal.h"

static volatile uint64_t sink; /* so that reads are not optimized away */

/* Whether `n` bytes at `p` lie within a block. */
static bool within(const void *p, size_t n, const void *block, size_t size)
{
    uintptr_t at = (uintptr_t)p, begin = (uintptr_t)block;
    return at >= begin && n <= size && at - begin <= size - n;
}

static void use(const hd_tensor_set *set, const uint8_t *data, size_t size)
{
    if (!set->count || set->copied_bytes > size + set->count * (HD_CACHE_LINE - 1)) __builtin_trap();
    for (size_t i = 0; i < set->count; i++) {
        const hd_tensor *t = &set->tensors[i];
        size_t bytes;
        const char *why;
        if (!hd_tensor_measure(t, &bytes, &why) || bytes != t->bytes) __builtin_trap();
        if (!hd_mindspore_type_name(t->type)) __builtin_trap();
        sink += strlen(t->name);
        if (!t->bytes) continue;
        if (!within(t->data, t->bytes, data, size) && !within(t->data, t->bytes, set->copied, set->copied_bytes))
            __builtin_trap();
        if ((uintptr_t)t->data % (uintptr_t)hd_type_block_bytes(t->type)) __builtin_trap();
        sink += ((const uint8_t *)t->data)[t->bytes - 1] + *(const uint8_t *)t->data;
    }
}

static void parse_and_use(const uint8_t *data, size_t size)
{
    hd_tensor_set set;
    hd_error err = {0};
    sink += hd_mindspore_begins(data, size);
    if (hd_mindspore_parse(&set, data, size, &err) == HD_OK)
        use(&set, data, size);
    else if (err.status == HD_OK || !err.text[0] || set.tensors || set.copied)
        __builtin_trap();
    hd_tensor_set_free(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_and_use(data, size);
    hd_alloc_fail_after(1 + size % 8);
    parse_and_use(data, size);
    hd_alloc_fail_after(0);
    return 0;
}
