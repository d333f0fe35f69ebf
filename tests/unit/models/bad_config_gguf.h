/* bad_config_gguf.h: the catalogue of bad model metadata in GGUF files: a good file with one key changed. */
#ifndef HD_TESTS_BAD_CONFIG_GGUF_H
#define HD_TESTS_BAD_CONFIG_GGUF_H

#include <string.h>

#include "unit/formats/build_gguf.h"

/* A key with its value: `text` for strings, `number` for the others.  HD_META_ARRAY is an array of one uint32. */
typedef struct meta_value {
    const char *key;
    hd_meta_type type;
    double number;
    const char *text;
} meta_value;

static const meta_value good_llama_gguf[] = {
    {"general.architecture", HD_META_STRING, 0, "llama"},
    {"llama.block_count", HD_META_U32, 2, NULL},
    {"llama.embedding_length", HD_META_U32, 64, NULL},
    {"llama.attention.head_count", HD_META_U32, 4, NULL},
    {"llama.attention.head_count_kv", HD_META_U32, 2, NULL},
    {"llama.feed_forward_length", HD_META_U32, 128, NULL},
    {"llama.context_length", HD_META_U32, 512, NULL},
    {"llama.vocab_size", HD_META_U32, 100, NULL},
    {"llama.rope.dimension_count", HD_META_U32, 16, NULL},
    {"llama.rope.freq_base", HD_META_F32, 10000, NULL},
    {"llama.rope.scaling.type", HD_META_STRING, 0, "linear"},
    {"llama.rope.scaling.factor", HD_META_F32, 4, NULL},
    {"llama.attention.layer_norm_rms_epsilon", HD_META_F32, 1e-5, NULL},
    {"tokenizer.ggml.eos_token_id", HD_META_U32, 2, NULL},
};

static const meta_value good_deepseek2_gguf[] = {
    {"general.architecture", HD_META_STRING, 0, "deepseek2"},
    {"deepseek2.block_count", HD_META_U32, 3, NULL},
    {"deepseek2.nextn_predict_layers", HD_META_U32, 1, NULL},
    {"deepseek2.embedding_length", HD_META_U32, 64, NULL},
    {"deepseek2.attention.head_count", HD_META_U32, 4, NULL},
    {"deepseek2.attention.head_count_kv", HD_META_U32, 1, NULL},
    {"deepseek2.feed_forward_length", HD_META_U32, 128, NULL},
    {"deepseek2.context_length", HD_META_U32, 512, NULL},
    {"deepseek2.vocab_size", HD_META_U32, 100, NULL},
    {"deepseek2.attention.layer_norm_rms_epsilon", HD_META_F32, 1e-6, NULL},
    {"deepseek2.attention.q_lora_rank", HD_META_U32, 16, NULL},
    {"deepseek2.attention.kv_lora_rank", HD_META_U32, 16, NULL},
    {"deepseek2.attention.key_length", HD_META_U32, 24, NULL},
    {"deepseek2.attention.value_length", HD_META_U32, 16, NULL},
    {"deepseek2.attention.key_length_mla", HD_META_U32, 24, NULL},
    {"deepseek2.attention.value_length_mla", HD_META_U32, 16, NULL},
    {"deepseek2.rope.dimension_count", HD_META_U32, 8, NULL},
    {"deepseek2.rope.scaling.type", HD_META_STRING, 0, "yarn"},
    {"deepseek2.rope.scaling.factor", HD_META_F32, 40, NULL},
    {"deepseek2.rope.scaling.original_context_length", HD_META_U32, 256, NULL},
    {"deepseek2.rope.scaling.yarn_log_multiplier", HD_META_F32, 0.1, NULL},
    {"deepseek2.expert_count", HD_META_U32, 8, NULL},
    {"deepseek2.expert_used_count", HD_META_U32, 2, NULL},
    {"deepseek2.expert_shared_count", HD_META_U32, 1, NULL},
    {"deepseek2.expert_feed_forward_length", HD_META_U32, 32, NULL},
    {"deepseek2.expert_gating_func", HD_META_U32, 2, NULL},
    {"deepseek2.expert_group_count", HD_META_U32, 4, NULL},
    {"deepseek2.expert_group_used_count", HD_META_U32, 2, NULL},
    {"deepseek2.expert_weights_norm", HD_META_BOOL, 1, NULL},
    {"deepseek2.expert_weights_scale", HD_META_F32, 2.5, NULL},
    {"deepseek2.leading_dense_block_count", HD_META_U32, 1, NULL},
};

/* The changed key; a type of HD_META_STRING without text removes it.  A key that the good file lacks is added. */
typedef struct bad_meta {
    meta_value value;
    hd_status status;
    const char *words;
} bad_meta;

#define GONE HD_META_STRING, 0, NULL
#define FMT HD_E_FORMAT
#define UNS HD_E_UNSUPPORTED

static const bad_meta bad_metas[] = {
    {{"general.architecture", GONE}, FMT, "general.architecture is missing"},
    {{"general.architecture", HD_META_U32, 1, NULL}, FMT, "general.architecture is missing or not a string"},
    {{"general.architecture", HD_META_STRING, 0, "gpt2"}, UNS, "architecture \"gpt2\" is not one"},
    {{"general.architecture", HD_META_STRING, 0, "qwen3"}, FMT, "qwen3.block_count is missing"},
    {{"llama.block_count", GONE}, FMT, "llama.block_count is missing"},
    {{"llama.block_count", HD_META_F32, 2, NULL}, FMT, "llama.block_count is not a whole number"},
    {{"llama.block_count", HD_META_STRING, 0, "2"}, FMT, "llama.block_count is not a whole number"},
    {{"llama.block_count", HD_META_I32, -2, NULL}, FMT, "llama.block_count is not a whole number"},
    {{"llama.block_count", HD_META_U32, 0, NULL}, FMT, "llama.block_count is out of range"},
    {{"llama.block_count", HD_META_U64, 4294967298.0, NULL}, FMT, "llama.block_count is out of range"},
    {{"llama.block_count", HD_META_U32, 2000000000, NULL}, FMT, "layers is 2000000000"},
    {{"llama.embedding_length", GONE}, FMT, "llama.embedding_length is missing"},
    {{"llama.embedding_length", HD_META_U32, 0, NULL}, FMT, "llama.embedding_length is out of range"},
    {{"llama.attention.head_count", GONE}, FMT, "llama.attention.head_count is missing"},
    {{"llama.attention.head_count", HD_META_ARRAY, 4, NULL}, UNS, "llama.attention.head_count is a list"},
    {{"llama.attention.head_count", HD_META_U32, 0, NULL}, FMT, "llama.attention.head_count is out of range"},
    {{"llama.attention.head_count_kv", HD_META_ARRAY, 2, NULL}, UNS, "llama.attention.head_count_kv is a list"},
    {{"llama.attention.head_count_kv", HD_META_U32, 3, NULL}, FMT, "4 heads don't divide into 3"},
    {{"llama.attention.key_length", HD_META_U32, 1, NULL}, FMT, "llama.attention.key_length is out of range"},
    {{"llama.attention.value_length", HD_META_U32, 32, NULL}, UNS, "attention.value_length other than key_length"},
    {{"llama.feed_forward_length", GONE}, FMT, "llama.feed_forward_length is missing"},
    {{"llama.feed_forward_length", HD_META_ARRAY, 128, NULL}, UNS, "llama.feed_forward_length is a list"},
    {{"llama.context_length", GONE}, FMT, "llama.context_length is missing"},
    {{"llama.context_length", HD_META_U32, 4294967295.0, NULL}, FMT, "llama.context_length is out of range"},
    {{"llama.vocab_size", GONE}, FMT, "llama.vocab_size is missing"},
    {{"llama.vocab_size", HD_META_U32, 100000000, NULL}, FMT, "vocabulary is 100000000"},
    {{"llama.rope.dimension_count", HD_META_U32, 8, NULL}, UNS, "rope.dimension_count other than the head"},
    {{"llama.rope.freq_base", HD_META_F32, 0, NULL}, FMT, "rope theta is 0, must be"},
    {{"llama.rope.freq_base", HD_META_STRING, 0, "10000"}, FMT, "llama.rope.freq_base is not a number"},
    {{"llama.rope.freq_base", HD_META_ARRAY, 10000, NULL}, FMT, "llama.rope.freq_base is not a number"},
    {{"llama.rope.scaling.type", HD_META_STRING, 0, "longrope"}, UNS, "rope.scaling.type is not none, linear or yarn"},
    {{"llama.rope.scaling.type", HD_META_U32, 1, NULL}, UNS, "rope.scaling.type is not none, linear or yarn"},
    {{"llama.rope.scaling.factor", HD_META_F32, -4, NULL}, FMT, "rope scaling factor is -4, must be"},
    {{"llama.rope.scaling.factor", HD_META_STRING, 0, "4"}, FMT, "llama.rope.scaling.factor is not a number"},
    {{"llama.attention.layer_norm_rms_epsilon", HD_META_F32, -1, NULL}, FMT, "rms norm epsilon is -1, must be"},
    {{"llama.attention.layer_norm_rms_epsilon", HD_META_BOOL, 1, NULL}, FMT, "rms_epsilon is not a number"},
    {{"llama.attention.layer_norm_rms_epsilon", GONE}, FMT, "rms_epsilon is missing"},
    {{"llama.expert_count", HD_META_U32, 8, NULL}, UNS, "llama.expert_count above 0"},
    {{"tokenizer.ggml.eos_token_id", HD_META_U32, 4000000000, NULL},
     FMT,
     "eos_token_id: 4000000000 is outside the vocabulary of 100"},
    {{"deepseek2.rope.scaling.attn_factor", HD_META_F32, 2, NULL}, UNS, "rope.scaling.attn_factor other than 1"},
    {{"tokenizer.ggml.eos_token_id", HD_META_STRING, 0, "</s>"}, FMT, "eos_token_id is not a token id"},
    {{"tokenizer.ggml.eot_token_id", HD_META_ARRAY, 2, NULL}, FMT, "eot_token_id is not a token id"},
    {{"tokenizer.ggml.eom_token_id", HD_META_I32, -2, NULL}, FMT, "eom_token_id: -2 is outside the vocabulary"},
    {{"deepseek2.nextn_predict_layers", HD_META_U32, 3, NULL}, FMT, "nextn_predict_layers is not below block_count"},
    {{"deepseek2.attention.kv_lora_rank", GONE}, FMT, "attention.kv_lora_rank is missing"},
    {{"deepseek2.attention.kv_lora_rank", HD_META_U32, 2147483647, NULL}, FMT, "kv_lora_rank is 2147483647"},
    {{"deepseek2.attention.q_lora_rank", HD_META_U32, 2147483647, NULL}, FMT, "q_lora_rank is 2147483647"},
    {{"deepseek2.attention.key_length", GONE}, FMT, "attention.key_length is missing"},
    {{"deepseek2.attention.value_length", GONE}, FMT, "attention.value_length is missing"},
    {{"deepseek2.attention.key_length_mla", HD_META_U32, 8, NULL}, FMT, "is not below the width of a head"},
    {{"deepseek2.attention.key_length_mla", HD_META_U32, 100000, NULL}, FMT, "head width is 100000"},
    {{"deepseek2.attention.value_length_mla", HD_META_U32, 100000, NULL}, FMT, "value width is 100000"},
    {{"deepseek2.rope.dimension_count", GONE}, FMT, "rope.dimension_count is missing"},
    {{"deepseek2.rope.dimension_count", HD_META_U32, 7, NULL}, FMT, "rotated width 7 is odd"},
    {{"deepseek2.rope.dimension_count", HD_META_U32, 2147483647, NULL}, FMT, "is not below the width of a head"},
    {{"deepseek2.rope.scaling.yarn_beta_fast", HD_META_F32, 0, NULL}, FMT, "yarn's beta_fast is 0, must be"},
    {{"deepseek2.rope.scaling.original_context_length", HD_META_U32, 0, NULL},
     FMT,
     "original context of the rope scaling is 0"},
    {{"deepseek2.expert_used_count", GONE}, FMT, "expert_used_count is missing"},
    {{"deepseek2.expert_used_count", HD_META_U32, 9, NULL}, FMT, "experts used is 9"},
    {{"deepseek2.expert_count", HD_META_U32, 1000000, NULL}, FMT, "experts is 1000000"},
    {{"deepseek2.expert_count", HD_META_U32, 9, NULL}, FMT, "9 experts don't divide into 4"},
    {{"deepseek2.expert_shared_count", HD_META_U32, 5000, NULL}, FMT, "shared experts is 5000"},
    {{"deepseek2.expert_feed_forward_length", GONE}, FMT, "expert_feed_forward_length is missing"},
    {{"deepseek2.expert_feed_forward_length", HD_META_U32, 2147483647, NULL}, FMT, "expert width is 2147483647"},
    {{"deepseek2.expert_gating_func", HD_META_U32, 3, NULL}, UNS, "expert_gating_func is neither softmax"},
    {{"deepseek2.expert_group_used_count", HD_META_U32, 5, NULL}, FMT, "expert groups used is 5"},
    {{"deepseek2.expert_weights_norm", HD_META_U32, 1, NULL}, FMT, "expert_weights_norm is neither true nor false"},
    {{"deepseek2.expert_weights_scale", HD_META_F32, -1, NULL}, FMT, "factor of the routed experts is -1, must be"},
    {{"deepseek2.expert_weights_scale", HD_META_STRING, 0, "2.5"}, FMT, "expert_weights_scale is not a number"},
    {{"deepseek2.leading_dense_block_count", HD_META_I32, -1, NULL}, FMT, "leading_dense_block_count is not a whole"},
    {{"llama.embedding_length", HD_META_STRING, 0, "64"}, FMT, "llama.embedding_length is not a whole number"},
    {{"deepseek2.embedding_length", HD_META_U32, 2147483647, NULL}, FMT, "hidden size is 2147483647"},
    {{"llama.attention.head_count", HD_META_F32, 4, NULL}, FMT, "llama.attention.head_count is not a whole number"},
    {{"deepseek2.attention.head_count", HD_META_U32, 100000, NULL}, FMT, "heads is 100000"},
    {{"llama.attention.head_count_kv", HD_META_U32, 0, NULL}, FMT, "llama.attention.head_count_kv is out of range"},
    {{"llama.attention.head_count_kv", HD_META_I32, -2, NULL},
     FMT,
     "llama.attention.head_count_kv is not a whole number"},
    {{"llama.attention.head_count_kv", HD_META_U32, 8, NULL}, FMT, "key-value heads is 8"},
    {{"llama.attention.key_length", HD_META_STRING, 0, "16"}, FMT, "llama.attention.key_length is not a whole number"},
    {{"llama.attention.value_length", HD_META_F32, 16, NULL},
     FMT,
     "llama.attention.value_length is not a whole number"},
    {{"llama.feed_forward_length", HD_META_U32, 0, NULL}, FMT, "llama.feed_forward_length is out of range"},
    {{"llama.feed_forward_length", HD_META_U32, 2147483647, NULL}, FMT, "feed-forward width is 2147483647"},
    {{"llama.context_length", HD_META_I32, -512, NULL}, FMT, "llama.context_length is not a whole number"},
    {{"llama.context_length", HD_META_U32, 0, NULL}, FMT, "llama.context_length is out of range"},
    {{"llama.vocab_size", HD_META_STRING, 0, "100"}, FMT, "llama.vocab_size is not a whole number"},
    {{"llama.vocab_size", HD_META_U32, 0, NULL}, FMT, "llama.vocab_size is out of range"},
    {{"llama.rope.dimension_count", HD_META_F32, 16, NULL}, FMT, "llama.rope.dimension_count is not a whole number"},
    {{"llama.rope.freq_base", HD_META_F32, 1e20, NULL}, FMT, "rope theta is 1e+20, must be"},
    {{"llama.rope.scaling.factor", HD_META_F32, 1e9, NULL}, FMT, "rope scaling factor is 1e+09, must be"},
    {{"llama.rope.scale_linear", HD_META_STRING, 0, "4"}, FMT, "llama.rope.scale_linear is not a number"},
    {{"llama.attention.layer_norm_rms_epsilon", HD_META_F32, 1, NULL}, FMT, "rms norm epsilon is 1, must be"},
    {{"llama.expert_count", HD_META_STRING, 0, "8"}, FMT, "llama.expert_count is not a whole number"},
    {{"deepseek2.block_count", HD_META_ARRAY, 3, NULL}, UNS, "deepseek2.block_count is a list"},
    {{"deepseek2.nextn_predict_layers", HD_META_F32, 1, NULL}, FMT, "nextn_predict_layers is not a whole number"},
    {{"deepseek2.nextn_predict_layers", HD_META_U32, 4294967295, NULL}, FMT, "nextn_predict_layers is out of range"},
    {{"deepseek2.attention.kv_lora_rank", HD_META_U32, 0, NULL}, FMT, "attention.kv_lora_rank is out of range"},
    {{"deepseek2.attention.kv_lora_rank", HD_META_STRING, 0, "16"},
     FMT,
     "attention.kv_lora_rank is not a whole number"},
    {{"deepseek2.attention.q_lora_rank", HD_META_I32, -1, NULL}, FMT, "attention.q_lora_rank is not a whole number"},
    {{"deepseek2.attention.key_length", HD_META_F32, 24, NULL}, FMT, "attention.key_length is not a whole number"},
    {{"deepseek2.attention.value_length", HD_META_U32, 0, NULL}, FMT, "attention.value_length is out of range"},
    {{"deepseek2.attention.key_length_mla", HD_META_ARRAY, 24, NULL}, UNS, "attention.key_length_mla is a list"},
    {{"deepseek2.attention.value_length_mla", HD_META_U32, 0, NULL}, FMT, "attention.value_length_mla is out of range"},
    {{"deepseek2.rope.dimension_count", HD_META_U32, 0, NULL}, FMT, "rope.dimension_count is out of range"},
    {{"deepseek2.rope.scaling.yarn_beta_fast", HD_META_STRING, 0, "32"}, FMT, "yarn_beta_fast is not a number"},
    {{"deepseek2.rope.scaling.yarn_beta_slow", HD_META_F32, -1, NULL}, FMT, "beta_slow is -1, must be"},
    {{"deepseek2.rope.scaling.yarn_attn_factor", HD_META_F32, -1, NULL}, FMT, "attention factor is -1, must be"},
    {{"deepseek2.rope.scaling.yarn_attn_factor", HD_META_BOOL, 1, NULL}, FMT, "yarn_attn_factor is not a number"},
    {{"deepseek2.rope.scaling.yarn_log_multiplier", HD_META_F32, -1, NULL}, FMT, "mscale_all_dim is -10, must be"},
    {{"deepseek2.rope.scaling.yarn_log_multiplier", HD_META_STRING, 0, "0.1"},
     FMT,
     "yarn_log_multiplier is not a number"},
    {{"deepseek2.rope.scaling.original_context_length", HD_META_STRING, 0, "256"},
     FMT,
     "original_context_length is not a number"},
    {{"deepseek2.expert_used_count", HD_META_U32, 0, NULL}, FMT, "expert_used_count is out of range"},
    {{"deepseek2.expert_used_count", HD_META_U32, 5, NULL}, FMT, "2 groups of 2 experts can't give 5"},
    {{"deepseek2.expert_count", HD_META_I32, -8, NULL}, FMT, "expert_count is not a whole number"},
    {{"deepseek2.expert_shared_count", HD_META_F32, 1, NULL}, FMT, "expert_shared_count is not a whole number"},
    {{"deepseek2.expert_feed_forward_length", HD_META_U32, 0, NULL}, FMT, "expert_feed_forward_length is out of range"},
    {{"deepseek2.expert_gating_func", HD_META_STRING, 0, "sigmoid"}, FMT, "expert_gating_func is not a whole number"},
    {{"deepseek2.expert_group_count", HD_META_U32, 3, NULL}, FMT, "8 experts don't divide into 3 groups"},
    {{"deepseek2.expert_group_count", HD_META_I32, -4, NULL}, FMT, "expert_group_count is not a whole number"},
    {{"deepseek2.expert_group_used_count", HD_META_U32, 0, NULL}, FMT, "expert groups used is 0"},
    {{"deepseek2.expert_group_used_count", HD_META_STRING, 0, "2"},
     FMT,
     "expert_group_used_count is not a whole number"},
    {{"deepseek2.leading_dense_block_count", HD_META_F32, 1, NULL},
     FMT,
     "leading_dense_block_count is not a whole number"},
};

#undef GONE
#undef FMT
#undef UNS

/* ---- their bytes ---- */

static inline void put_meta_value(hd_buf *b, const meta_value *v)
{
    float f = (float)v->number;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    put_key(b, v->key, v->type);
    switch (v->type) {
    case HD_META_STRING: put_str(b, v->text); break;
    case HD_META_F32: put_u32(b, bits); break;
    case HD_META_BOOL: put_le(b, (uint64_t)v->number, 1); break;
    case HD_META_U64: put_u64(b, (uint64_t)v->number); break;
    case HD_META_ARRAY:
        put_u32(b, HD_META_U32);
        put_u64(b, 1);
        put_u32(b, (uint32_t)v->number);
        break;
    default: put_u32(b, (uint32_t)(int64_t)v->number); break;
    }
}

/* A file of these values and no tensors, one of them changed, removed or added; `changed` may be NULL. */
static inline void put_metas(hd_buf *b, const meta_value *values, size_t count, const meta_value *changed)
{
    hd_buf body;
    uint64_t entries = 0;
    bool replaced = !changed;
    hd_buf_init(&body, 1 << 16);
    for (size_t i = 0; i <= count; i++) {
        const meta_value *v = i < count ? &values[i] : changed;
        if (i < count && changed && strcmp(v->key, changed->key) == 0) {
            v = changed;
            replaced = true;
        } else if (i == count && replaced)
            continue;
        if (v->type == HD_META_STRING && !v->text) continue;
        put_meta_value(&body, v);
        entries++;
    }
    put_head(b, 3, 0, entries);
    (void)hd_buf_append(b, body.data, body.len);
    hd_buf_free(&body);
}

static inline void put_bad_meta(hd_buf *b, const bad_meta *bad)
{
    if (strncmp(bad->value.key, "deepseek2.", 10) == 0)
        put_metas(b, good_deepseek2_gguf, HD_ARRAY_LEN(good_deepseek2_gguf), &bad->value);
    else
        put_metas(b, good_llama_gguf, HD_ARRAY_LEN(good_llama_gguf), &bad->value);
}

#endif
