/* bad_config.h: the catalogue of bad config.json and generation_config.json: a good one with one key changed.
 *
 * test_bad_config.c wants the status and the words of each; tests/fuzz/seed_formats.c writes the same texts as seeds.
 */
#ifndef HD_TESTS_BAD_CONFIG_H
#define HD_TESTS_BAD_CONFIG_H

#include <string.h>

#include "base/base.h"

/* ---- good ones, one of each kind ---- */

#define SMALL                                                                                                          \
    "\"num_hidden_layers\":2,\"hidden_size\":64,\"num_attention_heads\":4,\"intermediate_size\":128,"                  \
    "\"vocab_size\":100,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"                 \
    "\"tie_word_embeddings\":false,\"hidden_act\":\"silu\",\"eos_token_id\":2,"

#define MLA                                                                                                            \
    "\"q_lora_rank\":16,\"kv_lora_rank\":16,\"qk_nope_head_dim\":16,\"qk_rope_head_dim\":8,\"v_head_dim\":16,"         \
    "\"n_routed_experts\":8,\"num_experts_per_tok\":2,\"n_shared_experts\":1,\"moe_intermediate_size\":32,"            \
    "\"first_k_dense_replace\":1,\"moe_layer_freq\":1,\"n_group\":4,\"topk_group\":2,\"routed_scaling_factor\":2.5,"

typedef struct good_config {
    const char *name;
    const char *config;
} good_config;

static const good_config good_configs[] = {
    {"llama", "{\"model_type\":\"llama\"," SMALL "\"num_key_value_heads\":2,\"head_dim\":16,\"attention_bias\":false,"
              "\"mlp_bias\":false,\"rope_scaling\":null}"},
    {"llama3", "{\"model_type\":\"llama\"," SMALL "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
               "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":256}}"},
    {"linear", "{\"model_type\":\"llama\"," SMALL "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}}"},
    {"qwen2", "{\"model_type\":\"qwen2\"," SMALL "\"use_sliding_window\":false,\"sliding_window\":64,"
              "\"max_window_layers\":1}"},
    {"qwen3", "{\"model_type\":\"qwen3\"," SMALL "\"head_dim\":32,\"rope_parameters\":{\"rope_type\":\"default\","
              "\"rope_theta\":1e6}}"},
    {"v2", "{\"model_type\":\"deepseek_v2\"," SMALL MLA "\"topk_method\":\"group_limited_greedy\","
           "\"scoring_func\":\"softmax\",\"norm_topk_prob\":false,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,"
           "\"beta_fast\":32,\"beta_slow\":1,\"mscale\":0.707,\"mscale_all_dim\":0.707,"
           "\"original_max_position_embeddings\":256}}"},
    {"v3", "{\"model_type\":\"deepseek_v3\"," SMALL MLA "\"topk_method\":\"noaux_tc\",\"scoring_func\":\"sigmoid\","
           "\"norm_topk_prob\":true,\"num_nextn_predict_layers\":1}"},
};

#undef SMALL
#undef MLA

static const char good_generation[] = "{\"eos_token_id\":[2,3],\"temperature\":0.6,\"top_p\":0.95,\"top_k\":20,"
                                      "\"repetition_penalty\":1.05,\"do_sample\":true}";

/* ---- bad ones ---- */

typedef struct bad_config {
    const char *base;  /* of good_configs; "generation" changes generation_config.json beside "llama" */
    const char *key;   /* "a.b" is b in the object a */
    const char *value; /* JSON; NULL removes the key */
    hd_status status;
    const char *words;
} bad_config;

#define FMT HD_E_FORMAT
#define UNS HD_E_UNSUPPORTED

static const bad_config bad_configs[] = {
    {"llama", "model_type", NULL, FMT, "\"model_type\" is missing"},
    {"llama", "model_type", "null", FMT, "\"model_type\" is missing"},
    {"llama", "model_type", "7", FMT, "\"model_type\" is not a string"},
    {"llama", "model_type", "\"gpt2\"", UNS, "model_type \"gpt2\" is not an architecture"},
    {"llama", "model_type", "\"deepseek_v32\"", UNS, "model_type \"deepseek_v32\" is not an architecture"},
    {"llama", "num_hidden_layers", NULL, FMT, "\"num_hidden_layers\" is missing"},
    {"llama", "num_hidden_layers", "\"2\"", FMT, "\"num_hidden_layers\" is not an integer"},
    {"llama", "num_hidden_layers", "2.0", FMT, "\"num_hidden_layers\" is not an integer"},
    {"llama", "num_hidden_layers", "0", FMT, "\"num_hidden_layers\" is out of range"},
    {"llama", "num_hidden_layers", "-1", FMT, "\"num_hidden_layers\" is out of range"},
    {"llama", "num_hidden_layers", "4294967298", FMT, "\"num_hidden_layers\" is out of range"},
    {"llama", "num_hidden_layers", "2000000000", FMT, "layers is 2000000000"},
    {"llama", "hidden_size", NULL, FMT, "\"hidden_size\" is missing"},
    {"llama", "hidden_size", "[64]", FMT, "\"hidden_size\" is not an integer"},
    {"llama", "hidden_size", "2147483647", FMT, "hidden size is 2147483647"},
    {"llama", "num_attention_heads", NULL, FMT, "\"num_attention_heads\" is missing"},
    {"llama", "num_attention_heads", "true", FMT, "\"num_attention_heads\" is not an integer"},
    {"llama", "num_attention_heads", "0", FMT, "\"num_attention_heads\" is out of range"},
    {"llama", "num_attention_heads", "100000", FMT, "heads is 100000"},
    {"llama", "intermediate_size", NULL, FMT, "\"intermediate_size\" is missing"},
    {"llama", "intermediate_size", "{}", FMT, "\"intermediate_size\" is not an integer"},
    {"llama", "intermediate_size", "2147483647", FMT, "feed-forward width is 2147483647"},
    {"llama", "vocab_size", NULL, FMT, "\"vocab_size\" is missing"},
    {"llama", "vocab_size", "0", FMT, "\"vocab_size\" is out of range"},
    {"llama", "vocab_size", "2147483647", FMT, "vocabulary is 2147483647"},
    {"llama", "max_position_embeddings", "\"long\"", FMT, "\"max_position_embeddings\" is not an integer"},
    {"llama", "max_position_embeddings", "-512", FMT, "\"max_position_embeddings\" is out of range"},
    {"llama", "rms_norm_eps", "\"1e-5\"", FMT, "\"rms_norm_eps\" is not a number"},
    {"llama", "rms_norm_eps", "-1.0", FMT, "rms norm epsilon is -1, must be"},
    {"llama", "rms_norm_eps", "1e300", FMT, "rms norm epsilon is inf, must be"},
    {"llama", "tie_word_embeddings", "1", FMT, "\"tie_word_embeddings\" is neither true nor false"},
    {"llama", "hidden_act", "\"gelu\"", UNS, "\"hidden_act\": \"gelu\" is not supported"},
    {"llama", "hidden_act", "[]", FMT, "\"hidden_act\" is not a string"},
    {"llama", "rope_theta", "\"10000\"", FMT, "\"rope_theta\" is not a number"},
    {"llama", "rope_theta", "0", FMT, "rope theta is 0, must be"},
    {"llama", "rope_theta", "1e300", FMT, "rope theta is 1e+300, must be"},
    {"llama", "num_key_value_heads", "3", FMT, "4 heads don't divide into 3"},
    {"llama", "num_key_value_heads", "8", FMT, "key-value heads is 8"},
    {"llama", "num_key_value_heads", "0", FMT, "\"num_key_value_heads\" is out of range"},
    {"llama", "head_dim", "15", FMT, "rotated width 15 is odd"},
    {"llama", "head_dim", "1", FMT, "\"head_dim\" is out of range"},
    {"llama", "head_dim", "100000000", FMT, "head width is 100000000"},
    {"llama", "attention_bias", "\"no\"", FMT, "\"attention_bias\" is neither true nor false"},
    {"llama", "mlp_bias", "0", FMT, "\"mlp_bias\" is neither true nor false"},
    {"llama", "partial_rotary_factor", "0.5", UNS, "\"partial_rotary_factor\" other than 1"},
    {"llama", "eos_token_id", "\"</s>\"", FMT, "\"eos_token_id\" is not a token id"},
    {"llama", "eos_token_id", "-1", FMT, "\"eos_token_id\" is not a token id"},
    {"llama", "eos_token_id", "[2, 4294967296]", FMT, "\"eos_token_id\" is not a token id"},
    {"llama", "eos_token_id", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", HD_E_LIMIT, "lists more than 16 ids"},
    {"qwen2", "use_sliding_window", "true", UNS, "\"use_sliding_window\" true is not supported"},
    {"qwen3", "rope_parameters.partial_rotary_factor", "0.5", UNS, "\"partial_rotary_factor\" other than 1"},
    {"llama", "rope_scaling", "\"yarn\"", FMT, "\"rope_scaling\" is not an object"},
    {"llama3", "rope_scaling.rope_type", "\"longrope\"", UNS, "rope scaling \"longrope\" is not supported"},
    {"llama3", "rope_scaling.rope_type", "3", FMT, "\"rope_type\" is not a string"},
    {"llama3", "rope_scaling.factor", "\"8\"", FMT, "\"factor\" is not a number"},
    {"llama3", "rope_scaling.factor", "0", FMT, "rope scaling factor is 0, must be"},
    {"llama3", "rope_scaling.low_freq_factor", "0", FMT, "low_freq_factor is 0, must be"},
    {"llama3", "rope_scaling.high_freq_factor", "1.0", FMT, "low_freq_factor 1 must be below"},
    {"llama3", "rope_scaling.original_max_position_embeddings", "0", FMT, "original context of the rope scaling is 0"},
    {"linear", "rope_scaling.factor", "-2", FMT, "rope scaling factor is -2, must be"},
    {"v2", "rope_scaling.beta_fast", "0", FMT, "beta_fast is 0, must be"},
    {"v2", "rope_scaling.beta_slow", "[1]", FMT, "\"beta_slow\" is not a number"},
    {"v2", "rope_scaling.mscale", "\"1\"", FMT, "\"mscale\" is not a number"},
    {"v2", "rope_scaling.truncate", "1", FMT, "\"truncate\" is neither true nor false"},
    {"v2", "q_lora_rank", "0", FMT, "\"q_lora_rank\" is out of range"},
    {"v2", "kv_lora_rank", NULL, FMT, "\"kv_lora_rank\" is missing"},
    {"v2", "kv_lora_rank", "2147483647", FMT, "kv_lora_rank is 2147483647"},
    {"v2", "qk_nope_head_dim", NULL, FMT, "\"qk_nope_head_dim\" is missing"},
    {"v2", "qk_nope_head_dim", "2147483647", FMT, "head width is 0"},
    {"v2", "qk_rope_head_dim", "7", FMT, "rotated width 7 is odd"},
    {"v2", "qk_rope_head_dim", "0", FMT, "\"qk_rope_head_dim\" is out of range"},
    {"v2", "v_head_dim", "100000", FMT, "value width is 100000"},
    {"v2", "num_experts_per_tok", NULL, FMT, "\"num_experts_per_tok\" is missing"},
    {"v2", "num_experts_per_tok", "9", FMT, "experts used is 9"},
    {"v2", "num_experts_per_tok", "5", FMT, "2 groups of 2 experts can't give 5"},
    {"v2", "n_routed_experts", "-8", FMT, "\"n_routed_experts\" is out of range"},
    {"v2", "n_routed_experts", "9", FMT, "9 experts don't divide into 4 groups"},
    {"v2", "n_routed_experts", "1000000", FMT, "experts is 1000000"},
    {"v2", "n_shared_experts", "5000", FMT, "shared experts is 5000"},
    {"v2", "moe_intermediate_size", NULL, FMT, "\"moe_intermediate_size\" is missing"},
    {"v2", "moe_intermediate_size", "2147483647", FMT, "expert width is 2147483647"},
    {"v2", "first_k_dense_replace", "-1", FMT, "\"first_k_dense_replace\" is out of range"},
    {"v2", "moe_layer_freq", "0", FMT, "\"moe_layer_freq\" is out of range"},
    {"v2", "n_group", "0", FMT, "\"n_group\" is out of range"},
    {"v2", "topk_group", "5", FMT, "expert groups used is 5"},
    {"v2", "topk_method", "\"noaux_tc\"", UNS, "\"topk_method\": \"noaux_tc\" is not supported"},
    {"v2", "scoring_func", "\"sigmoid\"", UNS, "\"scoring_func\": \"sigmoid\" is not supported"},
    {"v2", "norm_topk_prob", "\"yes\"", FMT, "\"norm_topk_prob\" is neither true nor false"},
    {"v3", "topk_method", "\"greedily\"", UNS, "\"topk_method\": \"greedily\" is not supported"},
    {"v3", "scoring_func", "\"softmax\"", UNS, "\"scoring_func\": \"softmax\" is not supported"},
    {"v3", "routed_scaling_factor", "true", FMT, "\"routed_scaling_factor\" is not a number"},
    {"v3", "num_nextn_predict_layers", "-1", FMT, "\"num_nextn_predict_layers\" is out of range"},
    {"v3", "rope_interleave", "\"no\"", FMT, "\"rope_interleave\" is neither true nor false"},
    {"v3", "attention_bias", "0", FMT, "\"attention_bias\" is neither true nor false"},
    {"generation", "eos_token_id", "[2, null]", FMT, "generation_config.json: \"eos_token_id\" is not a token id"},
    {"generation", "temperature", "\"hot\"", FMT, "generation_config.json: \"temperature\" is not a number"},
    {"generation", "top_p", "[]", FMT, "generation_config.json: \"top_p\" is not a number"},
    {"generation", "top_k", "-5", FMT, "generation_config.json: \"top_k\" is out of range"},
    {"generation", "top_k", "20.5", FMT, "generation_config.json: \"top_k\" is not an integer"},
    {"generation", "repetition_penalty", "{}", FMT, "generation_config.json: \"repetition_penalty\" is not a number"},
    {"generation", "do_sample", "0", FMT, "generation_config.json: \"do_sample\" is neither true nor false"},
    {"generation", "temperature", "-0.5", FMT, "generation_config.json: \"temperature\" is out of range"},
    {"generation", "temperature", "1e300", FMT, "generation_config.json: \"temperature\" is out of range"},
    {"generation", "top_p", "1.5", FMT, "generation_config.json: \"top_p\" is out of range"},
    {"generation", "min_p", "-0.1", FMT, "generation_config.json: \"min_p\" is out of range"},
    {"generation", "min_p", "false", FMT, "generation_config.json: \"min_p\" is not a number"},
    {"generation", "repetition_penalty", "0", FMT, "generation_config.json: \"repetition_penalty\" is out of range"},
    {"llama", "hidden_size", "-64", FMT, "\"hidden_size\" is out of range"},
    {"llama", "hidden_size", "64.5", FMT, "\"hidden_size\" is not an integer"},
    {"llama", "intermediate_size", "-1", FMT, "\"intermediate_size\" is out of range"},
    {"llama", "vocab_size", "\"100\"", FMT, "\"vocab_size\" is not an integer"},
    {"llama", "vocab_size", "-100", FMT, "\"vocab_size\" is out of range"},
    {"llama", "max_position_embeddings", "1099511627776", FMT, "\"max_position_embeddings\" is out of range"},
    {"llama", "num_attention_heads", "-4", FMT, "\"num_attention_heads\" is out of range"},
    {"llama", "num_key_value_heads", "2.0", FMT, "\"num_key_value_heads\" is not an integer"},
    {"llama", "head_dim", "\"16\"", FMT, "\"head_dim\" is not an integer"},
    {"llama", "rms_norm_eps", "0.5", FMT, "rms norm epsilon is 0.5, must be"},
    {"llama", "rope_theta", "1", FMT, "rope theta is 1, must be"},
    {"llama", "partial_rotary_factor", "\"1\"", FMT, "\"partial_rotary_factor\" is not a number"},
    {"llama", "quantization_config", "[]", FMT, "\"quantization_config\" is not an object"},
    {"llama", "quantization_config", "{\"quant_method\":\"gptq\"}", UNS, "\"quant_method\": \"gptq\" is not"},
    {"llama", "quantization_config", "{\"quant_method\":\"compressed-tensors\"}", UNS, "\"format\": \"\" is not"},
    {"llama", "quantization_config", "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"}", UNS,
     "\"format\": \"pack-quantized\" is not supported, only \"int-quantized\" is"},
    {"llama", "quantization_config", "{\"quant_method\":8}", FMT, "\"quant_method\" is not a string"},
    {"qwen2", "use_sliding_window", "\"no\"", FMT, "\"use_sliding_window\" is neither true nor false"},
    {"qwen3", "rope_parameters", "7", FMT, "\"rope_parameters\" is not an object"},
    {"qwen3", "rope_parameters.rope_theta", "\"1e6\"", FMT, "\"rope_theta\" is not a number"},
    {"qwen3", "rope_parameters.rope_theta", "-1", FMT, "rope theta is -1, must be"},
    {"llama3", "rope_scaling.factor", NULL, FMT, "\"factor\" is missing"},
    {"linear", "rope_scaling.factor", NULL, FMT, "\"factor\" is missing"},
    {"linear", "rope_scaling.factor", "1e9", FMT, "rope scaling factor is 1e+09, must be"},
    {"linear", "rope_scaling.type", "[]", FMT, "\"type\" is not a string"},
    {"llama3", "rope_scaling.low_freq_factor", "\"1\"", FMT, "\"low_freq_factor\" is not a number"},
    {"llama3", "rope_scaling.high_freq_factor", "{}", FMT, "\"high_freq_factor\" is not a number"},
    {"llama3", "rope_scaling.high_freq_factor", "1e300", FMT, "high_freq_factor is 1e+300, must be"},
    {"llama3", "rope_scaling.original_max_position_embeddings", "[]", FMT, "embeddings\" is not a number"},
    {"llama3", "rope_scaling.original_max_position_embeddings", "1e300", FMT, "original context of the rope scaling"},
    {"v2", "rope_scaling.factor", NULL, FMT, "\"factor\" is missing"},
    {"v2", "rope_scaling.beta_fast", "true", FMT, "\"beta_fast\" is not a number"},
    {"v2", "rope_scaling.beta_slow", "-1", FMT, "beta_slow is -1, must be"},
    {"v2", "rope_scaling.mscale", "-0.7", FMT, "mscale is -0.7, must be"},
    {"v2", "rope_scaling.mscale_all_dim", "\"1\"", FMT, "\"mscale_all_dim\" is not a number"},
    {"v2", "rope_scaling.mscale_all_dim", "1e300", FMT, "mscale_all_dim is 1e+300, must be"},
    {"v2", "rope_scaling.attention_factor", "-1", FMT, "attention factor is -1, must be"},
    {"v2", "rope_scaling.attention_factor", "[]", FMT, "\"attention_factor\" is not a number"},
    {"v2", "q_lora_rank", "16.0", FMT, "\"q_lora_rank\" is not an integer"},
    {"v2", "q_lora_rank", "2147483647", FMT, "q_lora_rank is 2147483647"},
    {"v2", "kv_lora_rank", "\"16\"", FMT, "\"kv_lora_rank\" is not an integer"},
    {"v2", "kv_lora_rank", "-16", FMT, "\"kv_lora_rank\" is out of range"},
    {"v2", "qk_nope_head_dim", "0", FMT, "\"qk_nope_head_dim\" is out of range"},
    {"v2", "qk_nope_head_dim", "[16]", FMT, "\"qk_nope_head_dim\" is not an integer"},
    {"v2", "qk_rope_head_dim", NULL, FMT, "\"qk_rope_head_dim\" is missing"},
    {"v2", "qk_rope_head_dim", "\"8\"", FMT, "\"qk_rope_head_dim\" is not an integer"},
    {"v2", "v_head_dim", NULL, FMT, "\"v_head_dim\" is missing"},
    {"v2", "v_head_dim", "true", FMT, "\"v_head_dim\" is not an integer"},
    {"v2", "v_head_dim", "0", FMT, "\"v_head_dim\" is out of range"},
    {"v2", "num_experts_per_tok", "\"2\"", FMT, "\"num_experts_per_tok\" is not an integer"},
    {"v2", "num_experts_per_tok", "0", FMT, "\"num_experts_per_tok\" is out of range"},
    {"v2", "n_routed_experts", "8.0", FMT, "\"n_routed_experts\" is not an integer"},
    {"v2", "n_shared_experts", "-1", FMT, "\"n_shared_experts\" is out of range"},
    {"v2", "n_shared_experts", "1.5", FMT, "\"n_shared_experts\" is not an integer"},
    {"v2", "moe_intermediate_size", "0", FMT, "\"moe_intermediate_size\" is out of range"},
    {"v2", "moe_intermediate_size", "[]", FMT, "\"moe_intermediate_size\" is not an integer"},
    {"v2", "first_k_dense_replace", "\"1\"", FMT, "\"first_k_dense_replace\" is not an integer"},
    {"v2", "moe_layer_freq", "5000", FMT, "distance of layers with experts is 5000"},
    {"v2", "moe_layer_freq", "{}", FMT, "\"moe_layer_freq\" is not an integer"},
    {"v2", "n_group", "9", FMT, "expert groups is 9"},
    {"v2", "n_group", "\"4\"", FMT, "\"n_group\" is not an integer"},
    {"v2", "n_group", "3", FMT, "8 experts don't divide into 3 groups"},
    {"v2", "topk_group", "0", FMT, "\"topk_group\" is out of range"},
    {"v2", "topk_group", "2.0", FMT, "\"topk_group\" is not an integer"},
    {"v2", "topk_method", "4", FMT, "\"topk_method\" is not a string"},
    {"v2", "scoring_func", "[]", FMT, "\"scoring_func\" is not a string"},
    {"v2", "routed_scaling_factor", "0", FMT, "factor of the routed experts is 0, must be"},
    {"v2", "routed_scaling_factor", "1e300", FMT, "factor of the routed experts is inf, must be"},
    {"v3", "norm_topk_prob", "1", FMT, "\"norm_topk_prob\" is neither true nor false"},
    {"v3", "rope_interleave", "0", FMT, "\"rope_interleave\" is neither true nor false"},
    {"v3", "num_nextn_predict_layers", "2000000000", FMT, "multi-token prediction layers is 2000000000"},
    {"v3", "num_nextn_predict_layers", "1.0", FMT, "\"num_nextn_predict_layers\" is not an integer"},
    {"linear", "rope_scaling.mscale_all_dim", "1e300", FMT, "mscale_all_dim is 1e+300, must be"},
    {"linear", "rope_scaling.mscale_all_dim", "-1", FMT, "mscale_all_dim is -1, must be"},
    {"v2", "original_max_position_embeddings", "[]", FMT, "embeddings\" is not a number"},
    {"v2", "original_max_position_embeddings", "0", FMT, "original context of the rope scaling is 0"},
    {"v2", "mlp_bias", "1", FMT, "\"mlp_bias\" is neither true nor false"},
};

#undef FMT
#undef UNS

/* ---- their texts ---- */

static inline json_t *load_config(const char *name)
{
    if (strcmp(name, "generation") == 0) return json_loads(good_generation, 0, NULL);
    for (size_t i = 0; i < HD_ARRAY_LEN(good_configs); i++)
        if (strcmp(name, good_configs[i].name) == 0) return json_loads(good_configs[i].config, 0, NULL);
    return NULL;
}

static inline int append_text(const char *text, size_t len, void *buf)
{
    return hd_buf_append(buf, text, len) == HD_OK ? 0 : -1;
}

/* Changes one key and appends the text; false when the row itself is wrong. */
static inline bool put_changed(hd_buf *b, const char *base, const char *key, const char *value)
{
    json_t *root = load_config(base), *object = root, *v = NULL;
    const char *dot = strchr(key, '.');
    if (dot) object = json_object_getn(root, key, (size_t)(dot - key));
    const char *name = dot ? dot + 1 : key;
    bool done = value ? (v = json_loads(value, JSON_DECODE_ANY, NULL)) && json_object_set_new(object, name, v) == 0
                      : json_object_del(object, name) == 0;
    done = done && json_dump_callback(root, append_text, b, JSON_COMPACT) == 0;
    json_decref(root);
    return done;
}

/* config.json, then, when there is one, a NUL and generation_config.json. */
static inline bool put_bad_config(hd_buf *b, const bad_config *bad)
{
    if (strcmp(bad->base, "generation") != 0) return put_changed(b, bad->base, bad->key, bad->value);
    (void)hd_buf_puts(b, good_configs[0].config);
    (void)hd_buf_putc(b, 0);
    return put_changed(b, bad->base, bad->key, bad->value);
}

#endif
