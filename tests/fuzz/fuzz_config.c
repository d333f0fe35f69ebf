/* fuzz_config.c: any bytes as config.json and, behind a NUL, generation_config.json.  What is accepted must lie within
 * the bounds that the models compute sizes with. */
#include <string.h>

#include "models/models_internal.h"

static void check(const hd_model_config *c)
{
    int64_t product;
    if (c->layers < 1 || c->heads < 1 || c->head_dim < 2 || c->vocab < 1 || c->eos_count > HD_MAX_EOS) __builtin_trap();
    if (__builtin_mul_overflow((int64_t)c->hidden * c->heads, c->head_dim, &product)) __builtin_trap();
    if (__builtin_mul_overflow((int64_t)c->experts * c->expert_ffn, c->hidden, &product)) __builtin_trap();
    for (int i = 0; i < c->eos_count; i++)
        if (c->eos[i] < 0 || c->eos[i] >= c->vocab) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t first = nul ? (size_t)(nul - data) : size;
    json_t *config = NULL, *generation = NULL;
    hd_error err = {0};
    hd_model_config c = {0};
    hd_status status = hd_json_parse(&config, (const char *)data, first, &err);
    if (status == HD_OK && nul) status = hd_json_parse(&generation, (const char *)nul + 1, size - first - 1, &err);
    if (status == HD_OK) status = hd_config_from_json(&c, config, generation, &err);
    if (status == HD_OK) status = hd_config_check(&c, &err);
    if (status == HD_OK)
        check(&c);
    else if (err.status != status || !err.text[0])
        __builtin_trap();
    json_decref(config);
    json_decref(generation);
    return 0;
}
