/* fuzz_checkpoint.c: any bytes through the door of the formats room, as a file of unknown kind, and on to the
 * configuration of the model in it: what fuzz_gguf and fuzz_safetensors leave out. */
#include <string.h>

#include "models/models.h"
#include "unit/formats/open_bytes.h"

static void use(const hd_checkpoint *c)
{
    hd_error err = {0};
    hd_model_config config;
    if (hd_checkpoint_check(c, &err) != HD_OK) __builtin_trap();
    for (size_t i = 0; i < hd_checkpoint_tensor_count(c); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(c, i);
        uintptr_t width = hd_type_block(t->type) == 1 ? (uintptr_t)hd_type_block_bytes(t->type) : 2;
        if (hd_checkpoint_find(c, t->name) != t || (uintptr_t)t->data % width) __builtin_trap();
        hd_checkpoint_drop(c, t->data, t->bytes);
    }
    for (size_t i = 0; i < hd_checkpoint_meta_count(c); i++)
        if (!hd_checkpoint_meta_at(c, i)->key.len) __builtin_trap();
    hd_status status = hd_model_config_read(&config, c, &err);
    if (status == HD_OK ? !hd_arch_name(config.arch) : err.status != status || !err.text[0]) __builtin_trap();
}

static void open_and_use(const uint8_t *data, size_t size)
{
    hd_error err = {0};
    hd_checkpoint *c = NULL;
    hd_status status = open_bytes(&c, data, size, &err);
    if (status == HD_OK)
        use(c);
    else if (err.status != status || !err.text[0] || c)
        __builtin_trap();
    hd_checkpoint_close(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_and_use(data, size);
    hd_alloc_fail_after(1 + size % 16);
    open_and_use(data, size);
    hd_alloc_fail_after(0);
    return 0;
}
