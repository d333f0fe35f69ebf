/* fuzz_config.c: any bytes as config.json and, behind a NUL, generation_config.json.  What is accepted must lie within
 * the bounds that the models compute sizes with, and give finite rotary frequencies. */
#include <math.h>
#include <string.h>

#include "models/models_internal.h"

static void want(bool holds)
{
    if (!holds) __builtin_trap();
}

/* The largest sizes that models and kernels compute, for the largest batch: all must fit. */
static void check_sizes(const hd_model_config *c)
{
    int64_t bytes = (int64_t)HD_BATCH_MAX * (int64_t)sizeof(float), product;
    int64_t latent = (int64_t)c->kv_lora + c->rope_dim;
    want(!__builtin_mul_overflow(bytes * c->heads, HD_MAX(c->head_dim, c->v_dim), &product));
    want(!__builtin_mul_overflow(bytes * c->heads, latent, &product));
    want(!__builtin_mul_overflow(bytes * c->experts_used, c->expert_ffn, &product));
    want(!__builtin_mul_overflow(bytes * c->experts_shared, c->expert_ffn, &product));
    want(!__builtin_mul_overflow(bytes * c->hidden, 8, &product));
    want(!__builtin_mul_overflow((int64_t)c->experts * c->expert_ffn * 2, c->hidden, &product));
    want((int64_t)HD_BATCH_MAX * c->experts_used <= INT32_MAX);
    want((int64_t)c->heads * HD_MAX(c->head_dim, c->v_dim) <= INT32_MAX && latent <= INT32_MAX);
    want((int64_t)c->layers + c->mtp_layers <= INT32_MAX);
}

static void check_rope(const hd_model_config *c)
{
    float freq[128], gain;
    int dim = HD_MIN(c->rope_dim, 256);
    hd_rope_frequencies(&c->rope, dim, freq, &gain);
    want(isfinite(gain) && gain > 0.0f && isfinite(hd_rope_softmax_factor(&c->rope)));
    for (int i = 0; i < dim / 2; i++)
        want(isfinite(freq[i]) && freq[i] >= 0.0f);
}

static void check(const hd_model_config *c)
{
    want(c->layers >= 1 && c->heads >= 1 && c->kv_heads >= 1 && c->heads % c->kv_heads == 0);
    want(c->head_dim >= 2 && c->rope_dim <= c->head_dim && c->rope_dim % 2 == 0 && c->vocab >= 1);
    want(!c->experts || (c->experts % c->groups == 0 && isfinite(c->routed_scale)));
    check_sizes(c);
    check_rope(c);
    want(c->eos_count <= HD_MAX_EOS);
    for (int i = 0; i < c->eos_count; i++)
        want(c->eos[i] >= 0 && c->eos[i] < c->vocab);
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
