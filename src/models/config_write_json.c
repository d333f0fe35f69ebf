/* models/config_write_json.c: the configuration as config.json and generation_config.json of the releases: what
 * config_json.c reads, and what transformers' classes want beside it. */
#include <stdio.h>
#include <stdlib.h>

#include "models/models_internal.h"

/* An object under way.  Errors are sticky: without memory for a member, `failed` is set. */
typedef struct object {
    json_t *json;
    bool failed;
} object;

static void set(object *o, const char *name, json_t *value)
{
    if (json_object_set_new(o->json, name, value) != 0) o->failed = true;
}

static void set_int(object *o, const char *name, int64_t value)
{
    set(o, name, json_integer((json_int_t)value));
}

/* A float32 as the shortest decimal that reads back the same: 1e-06, not 9.99999997e-07. */
static void set_number(object *o, const char *name, double value)
{
    char text[32];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if ((float)strtod(text, NULL) == (float)value) break;
    }
    set(o, name, json_real(strtod(text, NULL)));
}

static void set_bool(object *o, const char *name, bool value)
{
    set(o, name, json_boolean(value));
}

/* ---- rotary embedding ---- */

static json_t *rope_scaling(const hd_rope_config *r)
{
    if (r->type == HD_ROPE_PLAIN) return json_null();
    object members = {.json = json_object()}, *o = &members;
    const char *type = r->type == HD_ROPE_YARN ? "yarn" : r->type == HD_ROPE_LINEAR ? "linear" : "llama3";
    set(o, "type", json_string(type));
    set(o, "rope_type", json_string(type));
    set_number(o, "factor", r->factor);
    if (r->type != HD_ROPE_LINEAR) set_int(o, "original_max_position_embeddings", (int64_t)r->original_context);
    if (r->type == HD_ROPE_LLAMA3) {
        set_number(o, "low_freq_factor", r->low_freq);
        set_number(o, "high_freq_factor", r->high_freq);
    }
    if (r->type == HD_ROPE_YARN) {
        set_number(o, "beta_fast", r->beta_fast);
        set_number(o, "beta_slow", r->beta_slow);
        if (r->mscale > 0.0) set_number(o, "mscale", r->mscale);
        if (r->mscale_all_dim > 0.0) set_number(o, "mscale_all_dim", r->mscale_all_dim);
        if (r->attention_factor > 0.0) set_number(o, "attention_factor", r->attention_factor);
    }
    if (!o->failed) return o->json;
    json_decref(o->json);
    return NULL;
}

/* ---- architectures ---- */

typedef struct release {
    const char *model_type, *class;
} release;

static release release_of(const hd_model_config *c)
{
    switch (c->arch) {
    case HD_ARCH_QWEN2: return (release){"qwen2", "Qwen2ForCausalLM"};
    case HD_ARCH_QWEN3: return (release){"qwen3", "Qwen3ForCausalLM"};
    case HD_ARCH_DEEPSEEK2:
        return c->sigmoid ? (release){"deepseek_v3", "DeepseekV3ForCausalLM"}
                          : (release){"deepseek_v2", "DeepseekV2ForCausalLM"};
    default: return (release){"llama", "LlamaForCausalLM"};
    }
}

static void put_dense(object *o, const hd_model_config *c)
{
    set_int(o, "num_key_value_heads", c->kv_heads);
    set_int(o, "head_dim", c->head_dim);
    if (c->arch != HD_ARCH_QWEN2) set_bool(o, "attention_bias", c->qkv_bias);
    if (c->arch == HD_ARCH_LLAMA) set_bool(o, "mlp_bias", c->mlp_bias);
    if (c->arch != HD_ARCH_LLAMA) set_bool(o, "use_sliding_window", false);
}

static void put_experts(object *o, const hd_model_config *c)
{
    if (!c->experts) return;
    set_int(o, "n_routed_experts", c->experts);
    set_int(o, "num_experts_per_tok", c->experts_used);
    if (c->experts_shared) set_int(o, "n_shared_experts", c->experts_shared);
    set_int(o, "moe_intermediate_size", c->expert_ffn);
    set_int(o, "first_k_dense_replace", c->dense_lead);
    set_int(o, "moe_layer_freq", 1);
    bool groups = c->groups > 1;
    set(o, "topk_method", json_string(c->sigmoid ? "noaux_tc" : groups ? "group_limited_greedy" : "greedy"));
    set(o, "n_group", c->sigmoid || groups ? json_integer(c->groups) : json_null());
    set(o, "topk_group", c->sigmoid || groups ? json_integer(c->groups_used) : json_null());
    set(o, "scoring_func", json_string(c->sigmoid ? "sigmoid" : "softmax"));
    set_bool(o, "norm_topk_prob", c->renorm);
    set_number(o, "routed_scaling_factor", (double)c->routed_scale);
}

static void put_deepseek(object *o, const hd_model_config *c)
{
    set_int(o, "num_key_value_heads", c->heads);
    set(o, "q_lora_rank", c->q_lora ? json_integer(c->q_lora) : json_null());
    set_int(o, "kv_lora_rank", c->kv_lora);
    set_int(o, "qk_nope_head_dim", c->nope);
    set_int(o, "qk_rope_head_dim", c->rope_dim);
    set_int(o, "v_head_dim", c->v_dim);
    set_bool(o, "attention_bias", c->qkv_bias);
    if (!c->sigmoid) set_bool(o, "mlp_bias", c->mlp_bias);
    if (c->sigmoid) set_int(o, "num_nextn_predict_layers", 0); /* not carried */
    put_experts(o, c);
}

static void put_ends(object *o, const hd_model_config *c)
{
    if (c->eos_count == 1) set_int(o, "eos_token_id", c->eos[0]);
    if (c->eos_count < 2) return;
    json_t *ids = json_array();
    for (int i = 0; i < c->eos_count; i++)
        if (json_array_append_new(ids, json_integer(c->eos[i])) != 0) o->failed = true;
    set(o, "eos_token_id", ids);
}

static hd_status finish(json_t **out, object *o, hd_error *err)
{
    *out = o->failed ? NULL : o->json;
    if (*out) return HD_OK;
    json_decref(o->json);
    return hd_fail(err, HD_E_MEMORY, "no memory for the model's configuration");
}

const char *hd_model_torch_type(hd_type type)
{
    return type == HD_TYPE_F16 ? "float16" : type == HD_TYPE_F32 ? "float32" : "bfloat16";
}

hd_status hd_model_config_to_json(json_t **out, const hd_model_config *c, hd_type type, hd_error *err)
{
    release name = release_of(c);
    object members = {.json = json_object()}, *o = &members;
    set(o, "architectures", json_pack("[s]", name.class));
    set(o, "model_type", json_string(name.model_type));
    set_int(o, "num_hidden_layers", c->layers);
    set_int(o, "hidden_size", c->hidden);
    set_int(o, "num_attention_heads", c->heads);
    set_int(o, "intermediate_size", c->ffn);
    set_int(o, "vocab_size", c->vocab);
    set_int(o, "max_position_embeddings", c->context);
    set_number(o, "rms_norm_eps", (double)c->rms_eps);
    set_bool(o, "tie_word_embeddings", c->tied);
    set(o, "hidden_act", json_string("silu"));
    set_number(o, "rope_theta", c->rope.theta);
    set(o, "rope_scaling", rope_scaling(&c->rope));
    set(o, "torch_dtype", json_string(hd_model_torch_type(type)));
    if (c->arch == HD_ARCH_DEEPSEEK2)
        put_deepseek(o, c);
    else
        put_dense(o, c);
    put_ends(o, c);
    return finish(out, o, err);
}

/* ---- 8 bits ---- */

/* What compressed-tensors says of one side of a product. */
static json_t *scheme(bool weights)
{
    return json_pack("{s:n, s:n, s:b, s:n, s:i, s:s?, s:{}, s:s, s:b, s:s}", "actorder", "block_structure", "dynamic",
                     !weights, "group_size", "num_bits", 8, "observer", weights ? "minmax" : NULL, "observer_kwargs",
                     "strategy", weights ? "channel" : "token", "symmetric", 1, "type", "int");
}

json_t *hd_model_quantization_to_json(const hd_model_config *c, hd_type type)
{
    if (type == HD_TYPE_F8_E4M3)
        return json_pack("{s:s, s:s, s:s, s:[i, i]}", "activation_scheme", "dynamic", "fmt", "e4m3", "quant_method",
                         "fp8", "weight_block_size", 128, 128);
    const char *router = c->experts ? "re:.*mlp\\.gate$" : NULL; /* to some implementations it is a Linear */
    return json_pack("{s:{s:{s:o, s:n, s:[s], s:o}}, s:s, s:[s, s*], s:n, s:s, s:s}", "config_groups", "group_0",
                     "input_activations", scheme(false), "output_activations", "targets", "Linear", "weights",
                     scheme(true), "format", "int-quantized", "ignore", "lm_head", router, "kv_cache_scheme",
                     "quant_method", "compressed-tensors", "quantization_status", "compressed");
}

hd_status hd_model_generation_to_json(json_t **out, const hd_model_config *c, hd_error *err)
{
    object members = {.json = json_object()}, *o = &members;
    bool sampled = c->temperature > 0.0f;
    if (sampled) set_bool(o, "do_sample", true);
    if (sampled) set_number(o, "temperature", (double)c->temperature);
    if (c->top_p >= 0.0f) set_number(o, "top_p", (double)c->top_p);
    if (c->min_p >= 0.0f) set_number(o, "min_p", (double)c->min_p);
    if (c->top_k >= 0) set_int(o, "top_k", c->top_k);
    if (c->repetition_penalty >= 0.0f) set_number(o, "repetition_penalty", (double)c->repetition_penalty);
    put_ends(o, c);
    return finish(out, o, err);
}
