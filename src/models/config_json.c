/* models/config_json.c: config.json and generation_config.json of the official releases.
 *
 * The file is untrusted: every number is checked for type and range, with the key in the error. */
#include <limits.h>
#include <string.h>

#include "models/models_internal.h"

typedef struct reader {
    const json_t *json;
    const char *file;
    hd_error *err;
    hd_status status; /* sticky: the first failure */
} reader;

static const json_t *member(const reader *r, const char *key)
{
    const json_t *v = json_object_get(r->json, key);
    return json_is_null(v) ? NULL : v;
}

static void fail(reader *r, hd_status status, const char *key, const char *what)
{
    if (r->status == HD_OK) r->status = hd_fail(r->err, status, "%s: \"%s\" %s", r->file, key, what);
}

/* An integer in [min, INT_MAX]; `otherwise` when absent or null, an error when that is INT_MIN. */
static int read_int(reader *r, const char *key, int min, int otherwise)
{
    const json_t *v = member(r, key);
    if (!v && otherwise != INT_MIN) return otherwise;
    if (!v)
        fail(r, HD_E_FORMAT, key, "is missing");
    else if (!json_is_integer(v))
        fail(r, HD_E_FORMAT, key, "is not an integer");
    else if (json_integer_value(v) < min || json_integer_value(v) > INT_MAX)
        fail(r, HD_E_FORMAT, key, "is out of range");
    else
        return (int)json_integer_value(v);
    return min;
}

static double read_number(reader *r, const char *key, double otherwise)
{
    const json_t *v = member(r, key);
    if (!v) return otherwise;
    if (!json_is_number(v)) fail(r, HD_E_FORMAT, key, "is not a number");
    return json_number_value(v);
}

/* A number in [min, max], or `otherwise` when absent. */
static double read_in(reader *r, const char *key, double min, double max, double otherwise)
{
    double v = read_number(r, key, otherwise);
    if (member(r, key) && !(v >= min && v <= max)) fail(r, HD_E_FORMAT, key, "is out of range");
    return v;
}

static bool read_bool(reader *r, const char *key, bool otherwise)
{
    const json_t *v = member(r, key);
    if (!v) return otherwise;
    if (!json_is_boolean(v)) fail(r, HD_E_FORMAT, key, "is neither true nor false");
    return json_is_true(v);
}

static const char *read_string(reader *r, const char *key, const char *otherwise)
{
    const json_t *v = member(r, key);
    if (!v) return otherwise;
    if (!json_is_string(v)) fail(r, HD_E_FORMAT, key, "is not a string");
    return json_is_string(v) ? json_string_value(v) : otherwise;
}

static void refuse_unless(reader *r, const char *key, const char *value, const char *supported)
{
    if (strcmp(value, supported) == 0 || r->status != HD_OK) return;
    r->status = hd_fail(r->err, HD_E_UNSUPPORTED, "%s: \"%s\": \"%s\" is not supported, only \"%s\" is", r->file, key,
                        value, supported);
}

static void read_architecture(reader *r, hd_model_config *c)
{
    static const struct {
        const char *type;
        hd_arch arch;
    } known[] = {{"llama", HD_ARCH_LLAMA},           {"qwen2", HD_ARCH_QWEN2},
                 {"qwen3", HD_ARCH_QWEN3},           {"deepseek_v2", HD_ARCH_DEEPSEEK2},
                 {"deepseek_v3", HD_ARCH_DEEPSEEK2}, {"hadal_scripted", HD_ARCH_SCRIPTED}};
    const char *type = read_string(r, "model_type", NULL);
    if (!type) {
        fail(r, HD_E_FORMAT, "model_type", "is missing");
        return;
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++) {
        if (strcmp(type, known[i].type) != 0) continue;
        c->arch = known[i].arch;
        return;
    }
    if (r->status == HD_OK)
        r->status =
            hd_fail(r->err, HD_E_UNSUPPORTED,
                    "%s: model_type \"%.64s\" is not an architecture that this version evaluates (llama, qwen2, "
                    "qwen3, deepseek_v2, deepseek_v3)",
                    r->file, type);
}

/* The factor of yarn may be null: then the contexts tell, as in the reference implementation. */
static void read_yarn(reader *s, hd_rope_config *rope, double context)
{
    if (!json_object_get(s->json, "factor")) fail(s, HD_E_FORMAT, "factor", "is missing");
    rope->type = HD_ROPE_YARN;
    rope->factor = read_number(s, "factor", context / rope->original_context);
    rope->beta_fast = read_number(s, "beta_fast", 32.0);
    rope->beta_slow = read_number(s, "beta_slow", 1.0);
    rope->mscale = read_number(s, "mscale", 0.0);
    rope->attention_factor = read_number(s, "attention_factor", 0.0);
    rope->truncate = read_bool(s, "truncate", true);
}

static void read_rope_scaling(reader *r, hd_rope_config *rope, const json_t *scaling, double context)
{
    reader s = {.json = scaling, .file = r->file, .err = r->err, .status = r->status};
    const char *type = read_string(&s, "rope_type", NULL);
    if (!type) type = read_string(&s, "type", "default");
    bool linear = strcmp(type, "linear") == 0, llama3 = strcmp(type, "llama3") == 0;
    rope->theta = read_number(&s, "rope_theta", rope->theta);
    rope->factor = read_number(&s, "factor", 1.0);
    if ((linear || llama3) && !member(&s, "factor")) fail(&s, HD_E_FORMAT, "factor", "is missing");
    /* a key of that name beside the object wins over the one in it */
    rope->original_context = read_number(&s, "original_max_position_embeddings", context);
    rope->original_context = read_number(r, "original_max_position_embeddings", rope->original_context);
    if (r->status != HD_OK) s.status = r->status; /* its text stands in err: nothing may follow it */
    rope->mscale_all_dim = read_number(&s, "mscale_all_dim", 0.0);
    if (read_number(&s, "partial_rotary_factor", 1.0) != 1.0)
        fail(&s, HD_E_UNSUPPORTED, "partial_rotary_factor", "other than 1 is not supported");
    if (strcmp(type, "default") == 0 || strcmp(type, "dynamic") == 0)
        rope->type = HD_ROPE_PLAIN; /* dynamic scaling begins beyond the context, where sessions end */
    else if (linear)
        rope->type = HD_ROPE_LINEAR;
    else if (llama3) {
        rope->type = HD_ROPE_LLAMA3;
        rope->low_freq = read_number(&s, "low_freq_factor", 1.0);
        rope->high_freq = read_number(&s, "high_freq_factor", 4.0);
    } else if (strcmp(type, "yarn") == 0)
        read_yarn(&s, rope, context);
    else if (s.status == HD_OK)
        s.status = hd_fail(r->err, HD_E_UNSUPPORTED, "%s: rope scaling \"%.64s\" is not supported", r->file, type);
    if (r->status == HD_OK) r->status = s.status;
}

/* Official releases write rope_theta and rope_scaling; newer tools write both into rope_parameters. */
static void read_rope(reader *r, hd_model_config *c)
{
    c->rope = (hd_rope_config){.type = HD_ROPE_PLAIN, .factor = 1.0, .truncate = true};
    c->rope.theta = read_number(r, "rope_theta", 10000.0);
    const json_t *scaling = member(r, "rope_scaling");
    const json_t *parameters = member(r, "rope_parameters");
    if (!scaling && parameters) scaling = parameters;
    if (!scaling) return;
    if (!json_is_object(scaling)) {
        fail(r, HD_E_FORMAT, scaling == parameters ? "rope_parameters" : "rope_scaling", "is not an object");
        return;
    }
    read_rope_scaling(r, &c->rope, scaling, (double)c->context);
}

/* An absent number of groups is V3's own, as in the published configuration class; null means no groups. */
static int read_groups(reader *r, const char *key, bool v3, int published)
{
    return read_int(r, key, 1, v3 && !json_object_get(r->json, key) ? published : 1);
}

/* V2's norm_topk_prob is read but has no effect, as in the reference implementation; no release sets it. */
static void read_experts(reader *r, hd_model_config *c, bool v3)
{
    c->experts = read_int(r, "n_routed_experts", 0, 0);
    if (!c->experts) return;
    c->experts_used = read_int(r, "num_experts_per_tok", 1, INT_MIN);
    c->experts_shared = read_int(r, "n_shared_experts", 0, 0);
    c->expert_ffn = read_int(r, "moe_intermediate_size", 1, INT_MIN);
    c->dense_lead = read_int(r, "first_k_dense_replace", 0, 0);
    c->expert_every = read_int(r, "moe_layer_freq", 1, 1);
    const char *method = read_string(r, "topk_method", v3 ? "noaux_tc" : "greedy");
    bool grouped = strcmp(method, "greedy") != 0;
    if (grouped) refuse_unless(r, "topk_method", method, v3 ? "noaux_tc" : "group_limited_greedy");
    c->groups = grouped ? read_groups(r, "n_group", v3, 8) : 1;
    c->groups_used = c->groups > 1 ? read_groups(r, "topk_group", v3, 4) : 1;
    refuse_unless(r, "scoring_func", read_string(r, "scoring_func", v3 ? "sigmoid" : "softmax"),
                  v3 ? "sigmoid" : "softmax");
    c->sigmoid = v3;
    c->renorm = read_bool(r, "norm_topk_prob", v3) && v3;
    c->routed_scale = (float)read_number(r, "routed_scaling_factor", v3 ? 2.5 : 1.0);
    c->mtp_layers = read_int(r, "num_nextn_predict_layers", 0, 0);
}

static void read_deepseek(reader *r, hd_model_config *c)
{
    bool v3 = strcmp(read_string(r, "model_type", ""), "deepseek_v3") == 0;
    c->q_lora = read_int(r, "q_lora_rank", 1, 0);
    c->kv_lora = read_int(r, "kv_lora_rank", 1, INT_MIN);
    c->nope = read_int(r, "qk_nope_head_dim", 1, INT_MIN);
    c->rope_dim = read_int(r, "qk_rope_head_dim", 2, INT_MIN);
    c->v_dim = read_int(r, "v_head_dim", 1, INT_MIN);
    c->head_dim = r->status == HD_OK && c->nope < INT_MAX - c->rope_dim ? c->nope + c->rope_dim : 0;
    c->kv_heads = c->heads;
    c->rope.adjacent = read_bool(r, "rope_interleave", true) || !v3;
    c->qkv_bias = c->o_bias = read_bool(r, "attention_bias", false);
    c->mlp_bias = !v3 && read_bool(r, "mlp_bias", false);
    read_experts(r, c, v3);
}

/* Whether a layer of Qwen attends through a sliding window that is narrower than the context. */
static bool window_slides(reader *r, const hd_model_config *c)
{
    if (!read_bool(r, "use_sliding_window", false)) return false;
    if (read_int(r, "sliding_window", 1, 4096) >= c->context) return false;
    const json_t *types = member(r, "layer_types");
    if (types && !json_is_array(types)) fail(r, HD_E_FORMAT, "layer_types", "is not a list");
    if (!types) return read_int(r, "max_window_layers", 0, 28) < c->layers;
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (!type || strcmp(type, "full_attention") != 0) return true;
    }
    return false;
}

static void read_dense(reader *r, hd_model_config *c)
{
    /* Qwen3's published class says 128 where the others divide */
    int head_dim = c->arch == HD_ARCH_QWEN3 ? 128 : c->heads > 0 ? c->hidden / c->heads : 0;
    c->kv_heads = read_int(r, "num_key_value_heads", 1, c->heads);
    c->head_dim = read_int(r, "head_dim", 2, head_dim);
    c->v_dim = c->head_dim;
    c->rope_dim = c->head_dim;
    c->qkv_bias = c->arch == HD_ARCH_QWEN2 || read_bool(r, "attention_bias", false);
    c->o_bias = c->arch != HD_ARCH_QWEN2 && c->qkv_bias;
    c->mlp_bias = c->arch == HD_ARCH_LLAMA && read_bool(r, "mlp_bias", false);
    if (window_slides(r, c))
        fail(r, HD_E_UNSUPPORTED, "use_sliding_window", "true is not supported: only full attention is");
    if (read_number(r, "partial_rotary_factor", 1.0) != 1.0)
        fail(r, HD_E_UNSUPPORTED, "partial_rotary_factor", "other than 1 is not supported");
}

/* FP8 with block scales is read, and what compressed-tensors keeps as one code a byte (scales.c looks at its groups);
 * other schemes name and store their tensors in ways of their own. */
static void read_quantization(reader *r)
{
    const json_t *q = member(r, "quantization_config");
    if (!q) return;
    if (!json_is_object(q)) {
        fail(r, HD_E_FORMAT, "quantization_config", "is not an object");
        return;
    }
    reader s = {.json = q, .file = r->file, .err = r->err, .status = r->status};
    const char *method = read_string(&s, "quant_method", "fp8"), *format = read_string(&s, "format", "");
    bool compressed = strcmp(method, "compressed-tensors") == 0, fp8 = strcmp(method, "fp8") == 0;
    bool by_byte = strcmp(format, "float-quantized") == 0 || strcmp(format, "naive-quantized") == 0;
    if (!compressed && !fp8)
        refuse_unless(&s, "quant_method", method, "fp8\" or \"compressed-tensors");
    else if (compressed && !by_byte)
        refuse_unless(&s, "format", format, "int-quantized");
    r->status = s.status;
}

/* One id or a list of them. */
static void read_eos(reader *r, hd_model_config *c)
{
    const json_t *v = member(r, "eos_token_id");
    if (!v) return;
    c->eos_count = 0;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > HD_MAX_EOS) fail(r, HD_E_LIMIT, "eos_token_id", "lists more than 16 ids");
    for (size_t i = 0; i < n && r->status == HD_OK; i++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            fail(r, HD_E_FORMAT, "eos_token_id", "is not a token id");
        else
            c->eos[c->eos_count++] = (int32_t)json_integer_value(id);
    }
}

static hd_status read_generation(hd_model_config *c, const json_t *json, hd_error *err)
{
    reader r = {.json = json, .file = "generation_config.json", .err = err};
    if (!json_is_object(json)) return hd_fail(err, HD_E_FORMAT, "generation_config.json: not an object");
    read_eos(&r, c);
    c->temperature = (float)read_in(&r, "temperature", 0.0, 100.0, -1.0); /* ranges: those of hd_sampler_open */
    c->top_p = (float)read_in(&r, "top_p", 0.0, 1.0, -1.0);
    c->min_p = (float)read_in(&r, "min_p", 0.0, 1.0, -1.0);
    c->top_k = read_int(&r, "top_k", -1, -1); /* some tools write -1 for "off" */
    c->repetition_penalty = (float)read_in(&r, "repetition_penalty", 0.01, 100.0, -1.0);
    if (!read_bool(&r, "do_sample", true)) c->temperature = 0.0f;
    return r.status;
}

/* The model of tests (scripted.c) has a vocabulary and a context; its widths are its own. */
static void read_scripted(reader *r, hd_model_config *c)
{
    c->vocab = read_int(r, "vocab_size", 1, INT_MIN);
    c->context = read_int(r, "max_position_embeddings", 1, 2048);
    c->layers = c->heads = c->kv_heads = c->ffn = 1;
    c->hidden = c->head_dim = c->v_dim = HD_SCRIPTED_WIDTH;
    c->rope_dim = 2;
    c->rope = (hd_rope_config){.type = HD_ROPE_PLAIN, .theta = 10000.0, .factor = 1.0};
}

static void read_transformer(reader *r, hd_model_config *c)
{
    c->layers = read_int(r, "num_hidden_layers", 1, INT_MIN);
    c->hidden = read_int(r, "hidden_size", 1, INT_MIN);
    c->heads = read_int(r, "num_attention_heads", 1, INT_MIN);
    c->ffn = read_int(r, "intermediate_size", 1, INT_MIN);
    c->vocab = read_int(r, "vocab_size", 1, INT_MIN);
    c->context = read_int(r, "max_position_embeddings", 1, 2048);
    c->rms_eps = (float)read_number(r, "rms_norm_eps", 1e-6);
    c->tied = read_bool(r, "tie_word_embeddings", false);
    refuse_unless(r, "hidden_act", read_string(r, "hidden_act", "silu"), "silu");
    if (r->status != HD_OK) return;
    read_rope(r, c);
    if (c->arch == HD_ARCH_DEEPSEEK2)
        read_deepseek(r, c);
    else
        read_dense(r, c);
}

hd_status hd_config_from_json(hd_model_config *c, const json_t *config, const json_t *generation, hd_error *err)
{
    reader r = {.json = config, .file = "config.json", .err = err};
    if (!json_is_object(config)) return hd_fail(err, HD_E_FORMAT, "config.json: not an object");
    read_architecture(&r, c);
    if (r.status == HD_OK && c->arch == HD_ARCH_SCRIPTED)
        read_scripted(&r, c);
    else
        read_transformer(&r, c);
    if (r.status == HD_OK) read_eos(&r, c);
    read_quantization(&r);
    if (r.status != HD_OK) return r.status;
    return generation ? read_generation(c, generation, err) : HD_OK;
}
