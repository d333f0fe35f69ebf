/* fuzz_index.c: any bytes as a model.safetensors.index.json.  No file name that comes through may lead out of its
 * folder. A second round lets an allocation fail. */
#include <string.h>

#include "formats/formats_internal.h"

static void use(const hd_index *index)
{
    for (size_t i = 0; i < index->count; i++) {
        const hd_index_entry *e = &index->entries[i];
        const hd_name_entry *name = hd_names_find(&index->names, e->name, strlen(e->name));
        if (!name || name->item != i || e->file >= index->file_count) __builtin_trap();
    }
    for (size_t i = 0; i < index->file_count; i++) {
        if (index->files[i][0] == '.' || strpbrk(index->files[i], "/\\")) __builtin_trap();
        if (i && strcmp(index->files[i - 1], index->files[i]) >= 0) __builtin_trap();
    }
}

static void parse_and_use(const uint8_t *data, size_t size)
{
    hd_index index;
    hd_error err = {0};
    if (hd_index_parse(&index, (const char *)data, size, &err) == HD_OK)
        use(&index);
    else if (err.status == HD_OK || !err.text[0] || index.json)
        __builtin_trap();
    hd_index_free(&index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_and_use(data, size);
    hd_alloc_fail_after(1 + size % 4);
    parse_and_use(data, size);
    hd_alloc_fail_after(0);
    return 0;
}
