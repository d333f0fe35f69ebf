/* models/config.c: what holds for a configuration from either source. */
#include "models/models_internal.h"

const char *hd_arch_name(hd_arch arch)
{
    static const char *const names[] = {"llama", "qwen2", "qwen3", "deepseek2"};
    return names[arch];
}

/* Bounds far above any release (V3: 61 layers of 7,168, 256 experts, 129,280 tokens): products of any three stay below
 * 2^63, so that sizes can be computed without overflow. */
#define MAX_LAYERS 4096
#define MAX_WIDTH (1 << 20)
#define MAX_VOCAB (1 << 24)
#define MAX_EXPERTS 65536

typedef struct bound {
    const char *what;
    int64_t value, min, max;
} bound;

static hd_status check_bounds(const bound *bounds, size_t n, hd_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (bounds[i].value < bounds[i].min || bounds[i].value > bounds[i].max)
            return hd_fail(err, HD_E_FORMAT, "configuration: %s is %lld, must be in %lld..%lld", bounds[i].what,
                           (long long)bounds[i].value, (long long)bounds[i].min, (long long)bounds[i].max);
    return HD_OK;
}

static hd_status check_rope(const hd_rope_config *r, hd_error *err)
{
    if (!(r->theta > 1.0 && r->theta < 1e12))
        return hd_fail(err, HD_E_FORMAT, "configuration: rope theta %g", r->theta);
    if (r->type == HD_ROPE_PLAIN) return HD_OK;
    if (!(r->factor > 0.0 && r->factor < 1e9))
        return hd_fail(err, HD_E_FORMAT, "configuration: rope scaling factor %g must be above 0", r->factor);
    if (r->type == HD_ROPE_LINEAR) return HD_OK;
    if (!(r->original_context >= 1.0))
        return hd_fail(err, HD_E_FORMAT, "configuration: original context %g of the rope scaling", r->original_context);
    if (r->type == HD_ROPE_LLAMA3 && !(r->low_freq > 0.0 && r->high_freq > r->low_freq))
        return hd_fail(err, HD_E_FORMAT, "configuration: llama3 rope needs 0 < low_freq_factor < high_freq_factor");
    if (r->type == HD_ROPE_YARN && !(r->beta_fast > 0.0 && r->beta_slow > 0.0))
        return hd_fail(err, HD_E_FORMAT, "configuration: yarn needs beta_fast and beta_slow above 0");
    return HD_OK;
}

static hd_status check_experts(const hd_model_config *c, hd_error *err)
{
    const bound bounds[] = {
        {"experts", c->experts, 1, MAX_EXPERTS},
        {"experts used", c->experts_used, 1, c->experts},
        {"shared experts", c->experts_shared, 0, 1024},
        {"expert width", c->expert_ffn, 1, MAX_WIDTH},
        {"expert groups", c->groups, 1, c->experts},
        {"expert groups used", c->groups_used, 1, c->groups},
        {"distance of layers with experts", c->expert_every, 1, MAX_LAYERS},
    };
    HD_TRY(check_bounds(bounds, HD_ARRAY_LEN(bounds), err));
    if (c->experts % c->groups != 0)
        return hd_fail(err, HD_E_FORMAT, "configuration: %d experts don't divide into %d groups", c->experts,
                       c->groups);
    if ((int64_t)c->experts / c->groups * c->groups_used < c->experts_used)
        return hd_fail(err, HD_E_FORMAT, "configuration: %d groups of %d experts can't give %d experts", c->groups_used,
                       c->experts / c->groups, c->experts_used);
    return HD_OK;
}

hd_status hd_config_check(const hd_model_config *c, hd_error *err)
{
    const bound bounds[] = {
        {"layers", c->layers, 1, MAX_LAYERS},
        {"hidden size", c->hidden, 1, MAX_WIDTH},
        {"heads", c->heads, 1, 65536},
        {"key-value heads", c->kv_heads, 1, c->heads},
        {"head width", c->head_dim, 2, 65536},
        {"value width", c->v_dim, 1, 65536},
        {"rotated width", c->rope_dim, 2, c->head_dim},
        {"feed-forward width", c->ffn, 1, MAX_WIDTH},
        {"vocabulary", c->vocab, 1, MAX_VOCAB},
        {"context", c->context, 1, (int64_t)1 << 31},
    };
    HD_TRY(check_bounds(bounds, HD_ARRAY_LEN(bounds), err));
    if (c->heads % c->kv_heads != 0)
        return hd_fail(err, HD_E_FORMAT, "configuration: %d heads don't divide into %d key-value heads", c->heads,
                       c->kv_heads);
    if (c->rope_dim % 2 != 0) return hd_fail(err, HD_E_FORMAT, "configuration: rotated width %d is odd", c->rope_dim);
    if (!(c->rms_eps >= 0.0f && c->rms_eps < 1.0f)) return hd_fail(err, HD_E_FORMAT, "configuration: rms norm epsilon");
    if (c->arch == HD_ARCH_DEEPSEEK2) {
        const bound mla[] = {{"q_lora_rank", c->q_lora, 0, MAX_WIDTH}, {"kv_lora_rank", c->kv_lora, 1, MAX_WIDTH}};
        HD_TRY(check_bounds(mla, HD_ARRAY_LEN(mla), err));
    }
    for (int i = 0; i < c->eos_count; i++)
        if (c->eos[i] >= c->vocab)
            return hd_fail(err, HD_E_FORMAT, "configuration: end-of-text id %d is outside the vocabulary of %d",
                           c->eos[i], c->vocab);
    if (c->experts) HD_TRY(check_experts(c, err));
    return check_rope(&c->rope, err);
}

hd_status hd_model_config_read(hd_model_config *out, const hd_checkpoint *ckpt, hd_error *err)
{
    *out = (hd_model_config){
        .temperature = -1.0f, .top_p = -1.0f, .top_k = -1, .repetition_penalty = -1.0f, .routed_scale = 1.0f};
    if (hd_checkpoint_format(ckpt) == HD_FORMAT_GGUF)
        HD_TRY(hd_config_from_gguf(out, ckpt, err));
    else {
        const json_t *config = hd_checkpoint_config(ckpt);
        if (!config)
            return hd_fail(err, HD_E_NOT_FOUND, "%s: no config.json beside the safetensors files",
                           hd_checkpoint_path(ckpt));
        HD_TRY(hd_config_from_json(out, config, hd_checkpoint_generation_config(ckpt), err));
    }
    return hd_config_check(out, err);
}
