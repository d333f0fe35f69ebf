/* models/published_json.c: shapes out of any config.json, of architectures that are not evaluated too.
 *
 * The file is untrusted: every number is checked for type and range, with the key in the error. */
#include <limits.h>
#include <string.h>

#include "models/models_internal.h"
#include "models/published.h"

/* Above any release, and small enough that no product of three of them overflows 64 bits. */
#define MAX_WIDTH (1 << 20)
#define MAX_EXPERTS 65536
#define MAX_VOCAB (1 << 24)

/* A whole number of [1, most] under `key`; `otherwise` where there is none, an error when that is 0. */
static hd_status whole(int *out, const json_t *json, const char *key, int most, int otherwise, hd_error *err)
{
    const json_t *v = json_object_get(json, key);
    *out = otherwise;
    if ((!v || json_is_null(v)) && otherwise) return HD_OK;
    if (!v || json_is_null(v)) return hd_fail(err, HD_E_FORMAT, "config.json: \"%s\" is missing", key);
    if (!json_is_integer(v)) return hd_fail(err, HD_E_FORMAT, "config.json: \"%s\" is not an integer", key);
    if (json_integer_value(v) < 1 || json_integer_value(v) > most)
        return hd_fail(err, HD_E_FORMAT, "config.json: \"%s\" is out of range: it must be from 1 to %d", key, most);
    *out = (int)json_integer_value(v);
    return HD_OK;
}

typedef struct wanted {
    int *out;
    const char *key;
    int most, otherwise;
} wanted;

static hd_status read_all(const wanted *list, size_t count, const json_t *json, hd_error *err)
{
    for (size_t i = 0; i < count; i++)
        HD_TRY(whole(list[i].out, json, list[i].key, list[i].most, list[i].otherwise, err));
    return HD_OK;
}

static const char *text_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text ? text : "";
}

/* ---- how matrices are stored ---- */

static hd_status read_stored(hd_published *out, const json_t *json, hd_error *err)
{
    const json_t *q = json_object_get(json, "quantization_config");
    const char *type = text_of(json, json_object_get(json, "torch_dtype") ? "torch_dtype" : "dtype");
    out->stored = strcmp(type, "float32") == 0 ? HD_STORED_32 : HD_STORED_16;
    if (!q || json_is_null(q)) return HD_OK;
    const char *method = text_of(q, "quant_method");
    if (strcmp(method, "fp8") != 0)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "config.json: \"quantization_config\": sizes of \"%.32s\" can't be told from here: plan for the "
                       "folder with its files",
                       method);
    const json_t *block = json_object_get(q, "weight_block_size");
    if (block && !json_is_null(block) &&
        (json_array_size(block) != 2 || json_integer_value(json_array_get(block, 0)) != 128 ||
         json_integer_value(json_array_get(block, 1)) != 128))
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "config.json: \"weight_block_size\": only blocks of 128 x 128 are planned for");
    out->stored = HD_STORED_FP8;
    return HD_OK;
}

/* ---- V4 ---- */

static hd_status read_ratios(hd_published *out, const json_t *json, hd_error *err)
{
    const json_t *list = json_object_get(json, "compress_ratios");
    size_t layers = (size_t)out->config.layers;
    if (!json_is_array(list) || json_array_size(list) < layers)
        return hd_fail(err, HD_E_FORMAT,
                       "config.json: \"compress_ratios\" must be a list with a number for each of %d "
                       "layers",
                       out->config.layers);
    for (size_t i = 0; i < layers; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT16_MAX)
            return hd_fail(err, HD_E_FORMAT, "config.json: \"compress_ratios\": number %zu is not from 0 to %d", i,
                           INT16_MAX);
        out->more.ratios[i] = (int16_t)json_integer_value(v);
    }
    return HD_OK;
}

static hd_status read_v4(hd_published *out, const json_t *json, hd_error *err)
{
    hd_model_config *c = &out->config;
    hd_more_shapes *s = &out->more;
    int context, heads;
    const wanted all[] = {
        {&c->layers, "num_hidden_layers", HD_RATIOS_MAX, 0},
        {&c->hidden, "hidden_size", MAX_WIDTH, 0},
        {&heads, "num_attention_heads", 4096, 0},
        {&c->head_dim, "head_dim", 65536, 512},
        {&c->q_lora, "q_lora_rank", MAX_WIDTH, 0},
        {&c->rope_dim, "qk_rope_head_dim", 65536, 64},
        {&c->vocab, "vocab_size", MAX_VOCAB, 0},
        {&c->experts, "n_routed_experts", MAX_EXPERTS, 0},
        {&c->experts_used, "num_experts_per_tok", 1024, 0},
        {&c->experts_shared, "n_shared_experts", 1024, 1},
        {&c->expert_ffn, "moe_intermediate_size", MAX_WIDTH, 0},
        {&s->o_groups, "o_groups", 4096, 0},
        {&s->o_lora, "o_lora_rank", MAX_WIDTH, 0},
        {&s->window, "sliding_window", MAX_WIDTH, 128},
        {&s->hash_layers, "num_hash_layers", HD_RATIOS_MAX, 3},
        {&s->hyper, "hc_mult", 64, 4},
        {&s->index_heads, "index_n_heads", 4096, 64},
        {&s->index_dim, "index_head_dim", 65536, 128},
        {&context, "max_position_embeddings", INT_MAX, 1 << 20},
    };
    out->family = HD_FAMILY_V4;
    HD_TRY(read_all(all, HD_ARRAY_LEN(all), json, err));
    c->arch = HD_ARCH_DEEPSEEK2;
    c->heads = heads;
    c->kv_heads = 1;
    c->v_dim = c->head_dim;
    c->context = context;
    c->expert_every = 1;
    s->fp4_experts = strcmp(text_of(json, "expert_dtype"), "fp4") == 0;
    if (c->heads * (int64_t)c->head_dim % s->o_groups != 0)
        return hd_fail(err, HD_E_FORMAT, "config.json: %d heads of %d don't divide into %d \"o_groups\"", c->heads,
                       c->head_dim, s->o_groups);
    if (c->experts_used > c->experts)
        return hd_fail(err, HD_E_FORMAT, "config.json: \"num_experts_per_tok\" is %d of %d experts", c->experts_used,
                       c->experts);
    return read_ratios(out, json, err);
}

/* ---- V3.2 ---- */

/* V3 but for its indexer: read as such. */
static hd_status read_v32(hd_published *out, const json_t *json, hd_error *err)
{
    const wanted more[] = {{&out->more.index_heads, "index_n_heads", 4096, 0},
                           {&out->more.index_dim, "index_head_dim", 65536, 0}};
    out->family = HD_FAMILY_V32;
    HD_TRY(read_all(more, HD_ARRAY_LEN(more), json, err));
    json_t *v3 = json_copy((json_t *)json);
    hd_status status = HD_E_MEMORY;
    if (v3 && json_object_set_new(v3, "model_type", json_string("deepseek_v3")) == 0)
        status = hd_config_from_json(&out->config, v3, NULL, err);
    else
        (void)hd_fail(err, status, "no memory for config.json");
    json_decref(v3);
    if (status == HD_OK) status = hd_config_check(&out->config, err);
    if (status == HD_OK && !out->config.q_lora)
        return hd_fail(err, HD_E_FORMAT, "config.json: \"q_lora_rank\" is missing: the indexer reads from it");
    return status;
}

hd_status hd_published_of_json(hd_published *out, const char *name, const json_t *config, hd_error *err)
{
    *out = (hd_published){.name = name, .source = name};
    if (!json_is_object(config)) return hd_fail(err, HD_E_FORMAT, "config.json: not an object");
    const char *type = text_of(config, "model_type");
    if (strcmp(type, "deepseek_v4") == 0 || strcmp(type, "deepseek_v32") == 0) {
        out->note = "this version plans for it and does not evaluate it";
        HD_TRY(type[10] == '4' ? read_v4(out, config, err) : read_v32(out, config, err));
    } else {
        HD_TRY(hd_config_from_json(&out->config, config, NULL, err));
        HD_TRY(hd_config_check(&out->config, err));
        if (out->config.arch == HD_ARCH_SCRIPTED)
            return hd_fail(err, HD_E_UNSUPPORTED, "config.json: a scripted model has no weights to plan for");
    }
    return read_stored(out, config, err);
}
