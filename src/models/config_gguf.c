/* models/config_gguf.c: the configuration from GGUF metadata.
 *
 * Keys carry the architecture as prefix ("llama.block_count").  Converters differ in age: what old files lack has the
 * default that those files meant (docs/models.md lists them). */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/models_internal.h"

typedef struct reader {
    const hd_checkpoint *ckpt;
    char arch[32];
    hd_error *err;
    hd_status status; /* sticky: the first failure */
} reader;

static const hd_meta *key(reader *r, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", r->arch, name);
    return hd_checkpoint_meta(r->ckpt, full);
}

static void fail(reader *r, hd_status status, const char *name, const char *what)
{
    if (r->status == HD_OK) r->status = hd_fail(r->err, status, "GGUF metadata: %s.%s %s", r->arch, name, what);
}

/* An integer in [min, INT_MAX]; `otherwise` when absent, an error when that is INT_MIN. */
static int read_int(reader *r, const char *name, int min, int otherwise)
{
    const hd_meta *m = key(r, name);
    uint64_t v = 0;
    if (!m && otherwise != INT_MIN) return otherwise;
    if (!m)
        fail(r, HD_E_FORMAT, name, "is missing");
    else if (m->type == HD_META_ARRAY)
        fail(r, HD_E_UNSUPPORTED, name, "is a list (a value per layer): not supported");
    else if (!hd_meta_u64(m, 0, &v))
        fail(r, HD_E_FORMAT, name, "is not a whole number");
    else if (v > INT_MAX || (int)v < min)
        fail(r, HD_E_FORMAT, name, "is out of range");
    else
        return (int)v;
    return min;
}

/* A number; `otherwise` when absent, an error when that is NaN. */
static double read_number(reader *r, const char *name, double otherwise)
{
    const hd_meta *m = key(r, name);
    double v = otherwise;
    if (!m && isnan(otherwise)) fail(r, HD_E_FORMAT, name, "is missing");
    if (m && (m->type == HD_META_ARRAY || !hd_meta_f64(m, 0, &v))) fail(r, HD_E_FORMAT, name, "is not a number");
    return v;
}

static bool read_bool(reader *r, const char *name, bool otherwise)
{
    const hd_meta *m = key(r, name);
    bool v = otherwise;
    if (m && !hd_meta_bool(m, &v)) fail(r, HD_E_FORMAT, name, "is neither true nor false");
    return v;
}

static hd_status read_architecture(reader *r, hd_model_config *c)
{
    static const hd_arch known[] = {HD_ARCH_LLAMA, HD_ARCH_QWEN2, HD_ARCH_QWEN3, HD_ARCH_DEEPSEEK2};
    const hd_meta *m = hd_checkpoint_meta(r->ckpt, "general.architecture");
    if (!m || m->type != HD_META_STRING)
        return hd_fail(r->err, HD_E_FORMAT, "GGUF metadata: general.architecture is missing or not a string");
    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++) {
        const char *name = hd_arch_name(known[i]);
        if (m->string.len != strlen(name) || memcmp(m->string.data, name, m->string.len) != 0) continue;
        c->arch = known[i];
        snprintf(r->arch, sizeof r->arch, "%s", name);
        return HD_OK;
    }
    return hd_fail(r->err, HD_E_UNSUPPORTED,
                   "GGUF metadata: architecture \"%.*s\" is not one that this version evaluates (llama, qwen2, qwen3, "
                   "deepseek2)",
                   (int)HD_MIN(m->string.len, 64), m->string.data);
}

static bool string_is(const hd_meta *m, const char *text)
{
    return m->type == HD_META_STRING && m->string.len == strlen(text) &&
           memcmp(m->string.data, text, m->string.len) == 0;
}

static void read_rope(reader *r, hd_model_config *c)
{
    hd_rope_config *rope = &c->rope;
    *rope = (hd_rope_config){.type = HD_ROPE_PLAIN, .factor = 1.0, .truncate = true};
    rope->theta = read_number(r, "rope.freq_base", 10000.0);
    double linear = read_number(r, "rope.scale_linear", 1.0); /* the key of files from 2023 */
    rope->factor = read_number(r, "rope.scaling.factor", linear);
    if (rope->factor == 0.0) rope->factor = 1.0; /* 0 means "not set" in files of some converters */
    rope->original_context = read_number(r, "rope.scaling.original_context_length", (double)c->context);
    const hd_meta *type = key(r, "rope.scaling.type");
    if (!type && rope->factor != 1.0) {
        rope->type = HD_ROPE_LINEAR; /* the only kind there was before the type had a key */
    } else if (!type || string_is(type, "none")) {
        rope->type = HD_ROPE_PLAIN;
    } else if (string_is(type, "linear")) {
        rope->type = HD_ROPE_LINEAR;
    } else if (string_is(type, "yarn")) {
        rope->type = HD_ROPE_YARN;
        rope->beta_fast = read_number(r, "rope.scaling.yarn_beta_fast", 32.0);
        rope->beta_slow = read_number(r, "rope.scaling.yarn_beta_slow", 1.0);
        rope->attention_factor = read_number(r, "rope.scaling.yarn_attn_factor", 0.0);
        if (read_number(r, "rope.scaling.attn_factor", 1.0) != 1.0)
            fail(r, HD_E_UNSUPPORTED, "rope.scaling.attn_factor", "other than 1 is not supported");
    } else
        fail(r, HD_E_UNSUPPORTED, "rope.scaling.type", "is not none, linear or yarn");
}

/* Only V3's routing has a selection bias. */
static bool has_router_bias(const reader *r, const hd_model_config *c)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.exp_probs_b.bias", c->dense_lead);
    return hd_checkpoint_find(r->ckpt, name) != NULL;
}

/* Converters of V2's and V3's first year left the groups out.  A file without them gets those of the release that has
 * its number of experts (config.json of DeepSeek-V2 and DeepSeek-V3): a router over one group picks other experts. */
static void read_groups(reader *r, hd_model_config *c)
{
    int groups = 1, used = 1;
    if (c->sigmoid && c->experts == 256) groups = 8, used = 4;
    if (!c->sigmoid && c->experts == 160) groups = 8, used = 3;
    c->groups = read_int(r, "expert_group_count", 0, groups);
    c->groups_used = read_int(r, "expert_group_used_count", 0, c->groups == groups ? used : 1);
    if (c->groups == 0) c->groups = c->groups_used = 1;
}

static void read_experts(reader *r, hd_model_config *c)
{
    enum { GATE_ABSENT = 0, GATE_SOFTMAX = 1, GATE_SIGMOID = 2 };
    c->experts = read_int(r, "expert_count", 0, 0);
    if (!c->experts) return;
    c->experts_used = read_int(r, "expert_used_count", 1, INT_MIN);
    c->experts_shared = read_int(r, "expert_shared_count", 0, 0);
    c->expert_ffn = read_int(r, "expert_feed_forward_length", 1, INT_MIN);
    c->dense_lead = read_int(r, "leading_dense_block_count", 0, 0);
    c->expert_every = 1;
    /* absent in V2's first files, and where config.json had no scoring_func */
    int gate = read_int(r, "expert_gating_func", 0, GATE_ABSENT);
    if (gate == GATE_ABSENT && has_router_bias(r, c)) gate = GATE_SIGMOID;
    if (gate > GATE_SIGMOID) fail(r, HD_E_UNSUPPORTED, "expert_gating_func", "is neither softmax (1) nor sigmoid (2)");
    c->sigmoid = gate == GATE_SIGMOID;
    read_groups(r, c);
    c->renorm = read_bool(r, "expert_weights_norm", false);
    c->routed_scale = (float)read_number(r, "expert_weights_scale", 1.0);
    if (c->routed_scale == 0.0f) c->routed_scale = 1.0f; /* 0 means "not set" in files of some converters */
}

/* MLA files of the new form say key_length = lora + rope (one shared key); those of the old one, with a single
 * attn_kv_b, say the width of a head. */
static void read_deepseek(reader *r, hd_model_config *c)
{
    c->q_lora = read_int(r, "attention.q_lora_rank", 0, 0);
    c->kv_lora = read_int(r, "attention.kv_lora_rank", 1, INT_MIN);
    c->rope_dim = read_int(r, "rope.dimension_count", 2, INT_MIN);
    int key_length = read_int(r, "attention.key_length", 1, INT_MIN);
    int value_length = read_int(r, "attention.value_length", 1, INT_MIN);
    c->head_dim = read_int(r, "attention.key_length_mla", 1, key_length);
    c->v_dim = read_int(r, "attention.value_length_mla", 1, value_length);
    c->nope = c->head_dim - c->rope_dim;
    c->kv_heads = c->heads;
    if (c->nope < 1) fail(r, HD_E_FORMAT, "rope.dimension_count", "is not below the width of a head");
    c->mtp_layers = read_int(r, "nextn_predict_layers", 0, 0);
    if (c->mtp_layers >= c->layers)
        fail(r, HD_E_FORMAT, "nextn_predict_layers", "is not below block_count");
    else
        c->layers -= c->mtp_layers;
    read_experts(r, c);
    c->rope.adjacent = true;
    /* the converter stores 0.1 * mscale_all_dim and drops mscale: in all releases the two are equal */
    c->rope.mscale_all_dim = read_number(r, "rope.scaling.yarn_log_multiplier", 0.0) / 0.1;
    c->rope.mscale = c->rope.mscale_all_dim;
}

static void read_dense(reader *r, hd_model_config *c)
{
    c->kv_heads = read_int(r, "attention.head_count_kv", 1, c->heads);
    c->head_dim = read_int(r, "attention.key_length", 2, c->heads > 0 ? c->hidden / c->heads : 0);
    c->v_dim = read_int(r, "attention.value_length", 2, c->head_dim);
    c->rope_dim = read_int(r, "rope.dimension_count", 2, c->head_dim);
    c->qkv_bias = c->arch == HD_ARCH_QWEN2;
    /* The converter permutes q and k of llama so that rotated pairs are adjacent. */
    c->rope.adjacent = c->arch == HD_ARCH_LLAMA;
    if (c->v_dim != c->head_dim)
        fail(r, HD_E_UNSUPPORTED, "attention.value_length", "other than key_length is not supported");
    if (c->rope_dim != c->head_dim)
        fail(r, HD_E_UNSUPPORTED, "rope.dimension_count", "other than the head is not supported");
    if (read_int(r, "expert_count", 0, 0) > 0)
        fail(r, HD_E_UNSUPPORTED, "expert_count", "above 0 is not supported here");
}

/* Converters write the largest number, or -1, for "there is none". */
static void add_eos(reader *r, hd_model_config *c, const char *name)
{
    const hd_meta *m = hd_checkpoint_meta(r->ckpt, name);
    int64_t id = 0;
    if (!m) return;
    if (m->type == HD_META_ARRAY || m->type == HD_META_BOOL || !hd_meta_i64(m, 0, &id)) {
        if (r->status == HD_OK) r->status = hd_fail(r->err, HD_E_FORMAT, "GGUF metadata: %s is not a token id", name);
        return;
    }
    if (id == -1 || id == UINT32_MAX) return;
    if (id < 0 || id > INT32_MAX) { /* those beyond the vocabulary are dropped by hd_config_check */
        if (r->status == HD_OK)
            r->status = hd_fail(r->err, HD_E_FORMAT, "GGUF metadata: %s: %lld is outside the vocabulary of %d", name,
                                (long long)id, c->vocab);
        return;
    }
    for (int i = 0; i < c->eos_count; i++)
        if (c->eos[i] == (int32_t)id) return;
    c->eos[c->eos_count++] = (int32_t)id; /* three keys at most: fewer than HD_MAX_EOS */
}

/* Sampling defaults, where the converter wrote them; what is out of range is as if it were absent. */
static void read_sampling(reader *r, hd_model_config *c)
{
    const struct {
        const char *key;
        float *value;
        double min, max;
    } known[] = {{"general.sampling.temp", &c->temperature, 0.0, 100.0}, /* ranges: those of hd_sampler_open */
                 {"general.sampling.top_p", &c->top_p, 0.0, 1.0},
                 {"general.sampling.min_p", &c->min_p, 0.0, 1.0},
                 {"general.sampling.penalty_repeat", &c->repetition_penalty, 0.01, 100.0}};
    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++) {
        const hd_meta *m = hd_checkpoint_meta(r->ckpt, known[i].key);
        double v;
        if (m && m->type != HD_META_ARRAY && hd_meta_f64(m, 0, &v) && v >= known[i].min && v <= known[i].max)
            *known[i].value = (float)v;
    }
    const hd_meta *top_k = hd_checkpoint_meta(r->ckpt, "general.sampling.top_k");
    int64_t k;
    if (top_k && top_k->type != HD_META_ARRAY && hd_meta_i64(top_k, 0, &k) && k >= 0 && k <= INT_MAX) c->top_k = (int)k;
}

/* vocab_size is not in every file: the embedding's rows tell. */
static int vocab_of(reader *r)
{
    const hd_tensor *t = hd_checkpoint_find(r->ckpt, "token_embd.weight");
    if (t && t->dims == 2 && t->shape[0] <= INT_MAX) return (int)t->shape[0];
    return read_int(r, "vocab_size", 1, INT_MIN);
}

hd_status hd_config_from_gguf(hd_model_config *c, const hd_checkpoint *ckpt, hd_error *err)
{
    reader r = {.ckpt = ckpt, .err = err};
    HD_TRY(read_architecture(&r, c));
    c->layers = read_int(&r, "block_count", 1, INT_MIN);
    c->hidden = read_int(&r, "embedding_length", 1, INT_MIN);
    c->heads = read_int(&r, "attention.head_count", 1, INT_MIN);
    c->ffn = read_int(&r, "feed_forward_length", 1, INT_MIN);
    c->context = read_int(&r, "context_length", 1, INT_MIN);
    c->rms_eps = (float)read_number(&r, "attention.layer_norm_rms_epsilon", NAN);
    c->vocab = vocab_of(&r);
    c->tied = !hd_checkpoint_find(ckpt, "output.weight");
    if (r.status != HD_OK) return r.status;
    read_rope(&r, c);
    if (c->arch == HD_ARCH_DEEPSEEK2)
        read_deepseek(&r, c);
    else
        read_dense(&r, c);
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < HD_ARRAY_LEN(ends); i++)
        add_eos(&r, c, ends[i]);
    read_sampling(&r, c);
    return r.status;
}
