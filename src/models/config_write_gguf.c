/* models/config_write_gguf.c: the configuration as GGUF metadata: what config_gguf.c reads, under the keys that
 * llama.cpp reads, too. */
#include <stdio.h>
#include <string.h>

#include "models/models_internal.h"

typedef struct writer {
    hd_meta_list *list;
    const char *arch;
} writer;

typedef struct full_key {
    char text[128];
} full_key;

static full_key key(const writer *w, const char *name)
{
    full_key full;
    snprintf(full.text, sizeof full.text, "%s.%s", w->arch, name);
    return full;
}

static void put_int(const writer *w, const char *name, int value)
{
    hd_meta_add_u32(w->list, key(w, name).text, (uint32_t)value);
}

static void put_number(const writer *w, const char *name, double value)
{
    hd_meta_add_f32(w->list, key(w, name).text, (float)value);
}

static void put_text(const writer *w, const char *name, const char *value)
{
    hd_meta_add_text(w->list, key(w, name).text, value, strlen(value));
}

/* Llama 3's scaling is a tensor in GGUF (hd_model_rope_factors). */
static void put_rope(const writer *w, const hd_model_config *c)
{
    const hd_rope_config *r = &c->rope;
    put_int(w, "rope.dimension_count", c->rope_dim);
    put_number(w, "rope.freq_base", r->theta);
    if (r->type != HD_ROPE_LINEAR && r->type != HD_ROPE_YARN) return;
    put_text(w, "rope.scaling.type", r->type == HD_ROPE_YARN ? "yarn" : "linear");
    put_number(w, "rope.scaling.factor", r->factor);
    put_int(w, "rope.scaling.original_context_length", (int)r->original_context);
    if (r->type != HD_ROPE_YARN) return;
    put_number(w, "rope.scaling.yarn_beta_fast", r->beta_fast);
    put_number(w, "rope.scaling.yarn_beta_slow", r->beta_slow);
    if (r->attention_factor > 0.0) put_number(w, "rope.scaling.yarn_attn_factor", r->attention_factor);
    if (r->mscale_all_dim > 0.0) put_number(w, "rope.scaling.yarn_log_multiplier", 0.1 * r->mscale_all_dim);
}

static void put_experts(const writer *w, const hd_model_config *c)
{
    enum { GATE_SOFTMAX = 1, GATE_SIGMOID = 2 };
    if (!c->experts) return;
    put_int(w, "expert_count", c->experts);
    put_int(w, "expert_used_count", c->experts_used);
    put_int(w, "expert_shared_count", c->experts_shared);
    put_int(w, "expert_feed_forward_length", c->expert_ffn);
    put_int(w, "leading_dense_block_count", c->dense_lead);
    put_int(w, "expert_gating_func", c->sigmoid ? GATE_SIGMOID : GATE_SOFTMAX);
    put_int(w, "expert_group_count", c->groups);
    put_int(w, "expert_group_used_count", c->groups_used);
    hd_meta_add_bool(w->list, key(w, "expert_weights_norm").text, c->renorm);
    put_number(w, "expert_weights_scale", (double)c->routed_scale);
}

/* The new form of MLA files: one shared key of lora + rope, and the width of a head beside it. */
static void put_deepseek(const writer *w, const hd_model_config *c)
{
    put_int(w, "attention.head_count_kv", 1);
    if (c->q_lora) put_int(w, "attention.q_lora_rank", c->q_lora);
    put_int(w, "attention.kv_lora_rank", c->kv_lora);
    put_int(w, "attention.key_length", c->kv_lora + c->rope_dim);
    put_int(w, "attention.value_length", c->kv_lora);
    put_int(w, "attention.key_length_mla", c->head_dim);
    put_int(w, "attention.value_length_mla", c->v_dim);
    put_experts(w, c);
}

static void put_dense(const writer *w, const hd_model_config *c)
{
    put_int(w, "attention.head_count_kv", c->kv_heads);
    put_int(w, "attention.key_length", c->head_dim);
    put_int(w, "attention.value_length", c->v_dim);
}

static void put_sampling(const writer *w, const hd_model_config *c)
{
    if (c->temperature >= 0.0f) hd_meta_add_f32(w->list, "general.sampling.temp", c->temperature);
    if (c->top_p >= 0.0f) hd_meta_add_f32(w->list, "general.sampling.top_p", c->top_p);
    if (c->min_p >= 0.0f) hd_meta_add_f32(w->list, "general.sampling.min_p", c->min_p);
    if (c->top_k >= 0) hd_meta_add_i32(w->list, "general.sampling.top_k", c->top_k);
    if (c->repetition_penalty >= 0.0f)
        hd_meta_add_f32(w->list, "general.sampling.penalty_repeat", c->repetition_penalty);
}

static hd_status check(const hd_model_config *c, hd_error *err)
{
    const hd_rope_config *r = &c->rope;
    bool mla = c->arch == HD_ARCH_DEEPSEEK2;
    if (c->arch == HD_ARCH_SCRIPTED)
        return hd_fail(err, HD_E_UNSUPPORTED, "a model without weights can't be written as GGUF");
    if (c->expert_every > 1)
        return hd_fail(err, HD_E_UNSUPPORTED, "config.json: \"moe_layer_freq\" %d has no place in GGUF",
                       c->expert_every);
    if (r->type == HD_ROPE_YARN && mla && r->mscale != r->mscale_all_dim) /* GGUF has one key for both */
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "config.json: \"mscale\" %g other than \"mscale_all_dim\" %g has no place in GGUF", r->mscale,
                       r->mscale_all_dim);
    if (r->type == HD_ROPE_YARN && !r->truncate)
        return hd_fail(err, HD_E_UNSUPPORTED, "config.json: yarn's \"truncate\" has no place in GGUF");
    if (mla && !r->adjacent)
        return hd_fail(err, HD_E_UNSUPPORTED, "config.json: \"rope_interleave\" false has no place in GGUF");
    return HD_OK;
}

hd_status hd_model_config_to_gguf(const hd_model_config *c, hd_meta_list *list, hd_error *err)
{
    writer w = {.list = list, .arch = hd_arch_name(c->arch)};
    HD_TRY(check(c, err));
    hd_meta_add_text(list, "general.architecture", w.arch, strlen(w.arch));
    put_int(&w, "block_count", c->layers);
    put_int(&w, "context_length", (int)c->context);
    put_int(&w, "embedding_length", c->hidden);
    put_int(&w, "feed_forward_length", c->ffn);
    put_int(&w, "attention.head_count", c->heads);
    put_number(&w, "attention.layer_norm_rms_epsilon", (double)c->rms_eps);
    put_int(&w, "vocab_size", c->vocab);
    put_rope(&w, c);
    if (c->arch == HD_ARCH_DEEPSEEK2)
        put_deepseek(&w, c);
    else
        put_dense(&w, c);
    put_sampling(&w, c);
    return list->status == HD_OK ? HD_OK : hd_fail(err, list->status, "no memory for the metadata");
}
