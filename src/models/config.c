/* models/config.c: what holds for a configuration from either source. */
#include "models/models_internal.h"

const char *hd_arch_name(hd_arch arch)
{
    static const char *const names[] = {"llama", "qwen2", "qwen3", "deepseek2", "hadal_scripted"};
    return names[arch];
}

/* Bounds far above any release (V3: 61 layers of 7,168, 128 heads, 8 of 256 experts, 129,280 tokens) under which no
 * size overflows: every row of activations has at most 2^30 values (MAX_SHARED * MAX_WIDTH), HD_BATCH_MAX rows of them
 * 2^52 bytes; a token's heads and a cached row fit an int; (token, expert) pairs of a batch fit an int32. */
#define MAX_LAYERS 4096
#define MAX_WIDTH (1 << 20)
#define MAX_HEADS 65536
#define MAX_ALL_HEADS (1 << 24)   /* heads * width of a head */
#define MAX_ALL_LATENTS (1 << 28) /* heads * (kv_lora + rope) */
#define MAX_VOCAB (1 << 24)
#define MAX_EXPERTS 65536
#define MAX_EXPERTS_USED 1024
#define MAX_SHARED 1024
#define MAX_FACTOR 1e6 /* of every factor that scales activations or angles */

_Static_assert((int64_t)HD_BATCH_MAX *MAX_EXPERTS_USED <= INT32_MAX, "pairs of a batch are counted in int32");

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

typedef struct range {
    const char *what;
    double value, min, max;
} range;

/* False for NaN too. */
static hd_status check_ranges(const range *ranges, size_t n, hd_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max))
            return hd_fail(err, HD_E_FORMAT, "configuration: %s is %g, must be from %g to %g", ranges[i].what,
                           ranges[i].value, ranges[i].min, ranges[i].max);
    return HD_OK;
}

static hd_status check_yarn(const hd_rope_config *r, hd_error *err)
{
    const range ranges[] = {
        {"yarn's beta_fast", r->beta_fast, 1e-6, MAX_FACTOR},
        {"yarn's beta_slow", r->beta_slow, 1e-6, MAX_FACTOR},
        {"yarn's mscale", r->mscale, 0, MAX_FACTOR},
        {"yarn's attention factor", r->attention_factor, 0, MAX_FACTOR},
    };
    return check_ranges(ranges, HD_ARRAY_LEN(ranges), err);
}

static hd_status check_llama3(const hd_rope_config *r, hd_error *err)
{
    const range ranges[] = {
        {"llama3 rope's low_freq_factor", r->low_freq, 1e-6, MAX_FACTOR},
        {"llama3 rope's high_freq_factor", r->high_freq, 1e-6, MAX_FACTOR},
    };
    HD_TRY(check_ranges(ranges, HD_ARRAY_LEN(ranges), err));
    if (r->high_freq <= r->low_freq)
        return hd_fail(err, HD_E_FORMAT, "configuration: llama3 rope's low_freq_factor %g must be below its %s %g",
                       r->low_freq, "high_freq_factor", r->high_freq);
    return HD_OK;
}

static hd_status check_rope(const hd_rope_config *r, hd_error *err)
{
    const range all[] = {{"rope theta", r->theta, 1.001, 1e12}};
    const range scaled[] = {{"rope scaling factor", r->factor, 1e-3, MAX_FACTOR},
                            {"rope scaling's mscale_all_dim", r->mscale_all_dim, 0, MAX_FACTOR}};
    const range original[] = {{"original context of the rope scaling", r->original_context, 1, INT32_MAX}};
    HD_TRY(check_ranges(all, 1, err));
    if (r->type == HD_ROPE_PLAIN) return HD_OK;
    HD_TRY(check_ranges(scaled, HD_ARRAY_LEN(scaled), err));
    if (r->type == HD_ROPE_LINEAR) return HD_OK;
    HD_TRY(check_ranges(original, 1, err));
    return r->type == HD_ROPE_YARN ? check_yarn(r, err) : check_llama3(r, err);
}

static hd_status check_experts(const hd_model_config *c, hd_error *err)
{
    const bound bounds[] = {
        {"experts", c->experts, 1, MAX_EXPERTS},
        {"experts used", c->experts_used, 1, HD_MIN(c->experts, MAX_EXPERTS_USED)},
        {"shared experts", c->experts_shared, 0, MAX_SHARED},
        {"expert width", c->expert_ffn, 1, MAX_WIDTH},
        {"expert groups", c->groups, 1, c->experts},
        {"expert groups used", c->groups_used, 1, c->groups},
        {"distance of layers with experts", c->expert_every, 1, MAX_LAYERS},
    };
    const range scale[] = {{"factor of the routed experts", c->routed_scale, 1e-6, MAX_FACTOR}};
    HD_TRY(check_bounds(bounds, HD_ARRAY_LEN(bounds), err));
    HD_TRY(check_ranges(scale, 1, err));
    if (c->experts % c->groups != 0)
        return hd_fail(err, HD_E_FORMAT, "configuration: %d experts don't divide into %d groups", c->experts,
                       c->groups);
    if ((int64_t)c->experts / c->groups * c->groups_used < c->experts_used)
        return hd_fail(err, HD_E_FORMAT, "configuration: %d groups of %d experts can't give %d experts", c->groups_used,
                       c->experts / c->groups, c->experts_used);
    return HD_OK;
}

static hd_status check_mla(const hd_model_config *c, hd_error *err)
{
    const bound bounds[] = {
        {"q_lora_rank", c->q_lora, 0, MAX_WIDTH},
        {"kv_lora_rank", c->kv_lora, 1, MAX_WIDTH},
        {"unrotated width", c->nope, 1, c->head_dim - c->rope_dim},
        {"latent width of all heads", c->heads * ((int64_t)c->kv_lora + c->rope_dim), 1, MAX_ALL_LATENTS},
        {"multi-token prediction layers", c->mtp_layers, 0, MAX_LAYERS},
    };
    return check_bounds(bounds, HD_ARRAY_LEN(bounds), err);
}

/* Ids beyond the vocabulary are never generated: models cut down from a release still list the release's. */
static void drop_impossible_eos(hd_model_config *c)
{
    int kept = 0;
    for (int i = 0; i < c->eos_count; i++) {
        if (c->eos[i] >= 0 && c->eos[i] < c->vocab)
            c->eos[kept++] = c->eos[i];
        else
            hd_log(HD_LOG_INFO, "end-of-text id %d is outside the vocabulary of %d: ignored", c->eos[i], c->vocab);
    }
    c->eos_count = kept;
}

hd_status hd_config_check(hd_model_config *c, hd_error *err)
{
    const range eps[] = {{"rms norm epsilon", c->rms_eps, 0, 0.1}};
    const bound bounds[] = {
        {"layers", c->layers, 1, MAX_LAYERS},
        {"hidden size", c->hidden, 1, MAX_WIDTH},
        {"heads", c->heads, 1, MAX_HEADS},
        {"key-value heads", c->kv_heads, 1, c->heads},
        {"head width", c->head_dim, 2, 65536},
        {"value width", c->v_dim, 1, 65536},
        {"rotated width", c->rope_dim, 2, c->head_dim},
        {"width of all heads", (int64_t)c->heads * HD_MAX(c->head_dim, c->v_dim), 1, MAX_ALL_HEADS},
        {"feed-forward width", c->ffn, 1, MAX_WIDTH},
        {"vocabulary", c->vocab, 1, MAX_VOCAB},
        {"context", c->context, 1, INT32_MAX},
    };
    HD_TRY(check_bounds(bounds, HD_ARRAY_LEN(bounds), err));
    if (c->heads % c->kv_heads != 0)
        return hd_fail(err, HD_E_FORMAT, "configuration: %d heads don't divide into %d key-value heads", c->heads,
                       c->kv_heads);
    if (c->rope_dim % 2 != 0) return hd_fail(err, HD_E_FORMAT, "configuration: rotated width %d is odd", c->rope_dim);
    HD_TRY(check_ranges(eps, 1, err));
    if (c->arch == HD_ARCH_DEEPSEEK2) HD_TRY(check_mla(c, err));
    drop_impossible_eos(c);
    if (c->experts) HD_TRY(check_experts(c, err));
    return check_rope(&c->rope, err);
}

hd_status hd_model_config_read(hd_model_config *out, const hd_checkpoint *ckpt, hd_error *err)
{
    *out = (hd_model_config){.temperature = -1.0f,
                             .top_p = -1.0f,
                             .min_p = -1.0f,
                             .top_k = -1,
                             .repetition_penalty = -1.0f,
                             .routed_scale = 1.0f};
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
