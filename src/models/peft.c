/* models/peft.c: PEFT's adapter_config.json: what kind of adapter it is, and how its parts are scaled.
 *
 * Settings that change what the tensors mean are refused by name rather than skipped: an adapter that is evaluated is
 * evaluated as PEFT would.  Source: PEFT's LoraConfig and its get_pattern_key. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/adapter_internal.h"

#define CONFIG_BYTES_MAX ((size_t)1 << 20) /* published ones have about a kilobyte */

static bool is_set(const json_t *v)
{
    if (!v || json_is_null(v) || json_is_false(v)) return false;
    if (json_is_array(v)) return json_array_size(v) > 0;
    if (json_is_object(v)) return json_object_size(v) > 0;
    return true;
}

static hd_status check_kind(const json_t *config, const char *path, hd_error *err)
{
    static const struct {
        const char *key, *what;
    } refused[] = {
        {"use_dora", "DoRA"},
        {"modules_to_save", "modules that were trained whole"},
        {"lora_bias", "biases of its own"},
        {"fan_in_fan_out", "transposed matrices"},
        {"layer_replication", "replicated layers"},
        {"trainable_token_indices", "trained tokens"},
        {"target_parameters", "parameters that are no modules (as PEFT has the matrices of routed experts)"},
        {"alora_invocation_tokens", "activation by tokens (aLoRA)"},
        {"use_qalora", "QALoRA"},
        {"megatron_config", "Megatron's layers"},
        {"use_bdlora", "block-diagonal halves"},
        {"arrow_config", "a router (Arrow)"},
        {"kasa_config", "KaSA"},
        {"monteclora_config", "MonteCLoRA"},
        {"velora_config", "VeLoRA"},
    };
    const char *type = json_string_value(json_object_get(config, "peft_type"));
    if (!type || strcmp(type, "LORA") != 0)
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: peft_type is \"%.40s\"; only \"LORA\" is read", path,
                       type ? type : "");
    for (size_t i = 0; i < HD_ARRAY_LEN(refused); i++)
        if (is_set(json_object_get(config, refused[i].key)))
            return hd_fail(err, HD_E_UNSUPPORTED, "%s: %s: an adapter with %s is not read, only plain LoRA", path,
                           refused[i].key, refused[i].what);
    const json_t *bias = json_object_get(config, "bias");
    if (bias && (!json_is_string(bias) || strcmp(json_string_value(bias), "none") != 0))
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: bias: trained biases are not read, only \"none\"", path);
    return HD_OK;
}

/* Ways to begin that change the base: the adapter belongs to a base that is not the published one. */
static hd_status check_beginning(const json_t *config, const char *path, hd_error *err)
{
    static const char *const changing[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *init = json_string_value(json_object_get(config, "init_lora_weights"));
    for (size_t i = 0; init && i < HD_ARRAY_LEN(changing); i++)
        if (strncmp(init, changing[i], strlen(changing[i])) == 0)
            return hd_fail(err, HD_E_UNSUPPORTED,
                           "%s: init_lora_weights is \"%.40s\", which changes the base, too; save the adapter with "
                           "PEFT's path_initial_model_for_weight_conversion",
                           path, init);
    return HD_OK;
}

/* PEFT takes the keys for regular expressions; those in use are ends of names, which is all that is read. */
static bool is_plain_key(const char *key)
{
    if (*key == '^') key++;
    if (!*key) return false;
    for (; *key; key++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.", *key)) return false;
    return true;
}

static hd_status read_pattern(json_t **out, json_t *config, const char *name, const char *path, hd_error *err)
{
    json_t *pattern = json_object_get(config, name), *value;
    const char *key;
    if (!pattern || json_is_null(pattern)) return HD_OK;
    if (!json_is_object(pattern)) return hd_fail(err, HD_E_FORMAT, "%s: %s is not an object", path, name);
    json_object_foreach(pattern, key, value)
    {
        if (!is_plain_key(key))
            return hd_fail(err, HD_E_UNSUPPORTED, "%s: %s: '%.60s': only whole ends of names are read, no patterns",
                           path, name, key);
        if (!json_is_number(value) || !isfinite((float)json_number_value(value)) || json_number_value(value) == 0)
            return hd_fail(err, HD_E_FORMAT, "%s: %s: '%.60s' is not a number other than 0", path, name, key);
    }
    *out = json_incref(pattern);
    return HD_OK;
}

static hd_status read_numbers(hd_peft_config *c, const json_t *config, const char *path, hd_error *err)
{
    const json_t *r = json_object_get(config, "r"), *alpha = json_object_get(config, "lora_alpha");
    const json_t *rslora = json_object_get(config, "use_rslora");
    c->rank = json_integer_value(r);
    if (!json_is_integer(r) || c->rank < 1 || c->rank > HD_ADAPTER_RANK_MAX)
        return hd_fail(err, HD_E_FORMAT, "%s: r is not a whole number from 1 to %d", path, HD_ADAPTER_RANK_MAX);
    c->alpha = json_number_value(alpha);
    if (!json_is_number(alpha) || !isfinite((float)c->alpha) || c->alpha == 0)
        return hd_fail(err, HD_E_FORMAT, "%s: lora_alpha is not a number other than 0", path);
    if (rslora && !json_is_boolean(rslora) && !json_is_null(rslora))
        return hd_fail(err, HD_E_FORMAT, "%s: use_rslora is neither true nor false", path);
    c->rslora = json_is_true(rslora);
    return HD_OK;
}

static hd_status read_config(hd_peft_config *c, json_t *config, const char *path, hd_error *err)
{
    if (!json_is_object(config)) return hd_fail(err, HD_E_FORMAT, "%s: is not an object", path);
    HD_TRY(check_kind(config, path, err));
    HD_TRY(check_beginning(config, path, err));
    HD_TRY(read_numbers(c, config, path, err));
    HD_TRY(read_pattern(&c->rank_pattern, config, "rank_pattern", path, err));
    HD_TRY(read_pattern(&c->alpha_pattern, config, "alpha_pattern", path, err));
    const char *base = json_string_value(json_object_get(config, "base_model_name_or_path"));
    if (base && *base && !(c->base = hd_strdup(base))) return hd_fail(err, HD_E_MEMORY, "no memory for an adapter");
    return HD_OK;
}

hd_status hd_peft_read(hd_peft_config *out, const char *path, hd_error *err)
{
    json_t *config = NULL;
    HD_TRY(hd_json_parse_file(&config, path, CONFIG_BYTES_MAX, err));
    hd_status status = read_config(out, config, path, err);
    json_decref(config);
    return status;
}

void hd_peft_free(hd_peft_config *config)
{
    json_decref(config->rank_pattern);
    json_decref(config->alpha_pattern);
    hd_free(config->base);
    *config = (hd_peft_config){0};
}

/* The first key that the module's name ends with, at a dot; "^": that it is. */
static double matched(const json_t *pattern, const char *module, double otherwise)
{
    const char *key;
    json_t *value;
    size_t len = strlen(module);
    if (!pattern) return otherwise;
    json_object_foreach((json_t *)(uintptr_t)pattern, key, value)
    {
        bool whole = *key == '^';
        const char *text = key + whole;
        size_t n = strlen(text);
        if (n > len || strcmp(module + len - n, text) != 0) continue;
        if (n == len || (!whole && module[len - n - 1] == '.')) return json_number_value(value);
    }
    return otherwise;
}

hd_status hd_peft_scale(const hd_peft_config *config, hd_adapter_part *part, const char *path, hd_error *err)
{
    char module[HD_NAME_MAX];
    hd_name_expand(module, sizeof module, hd_names[part->id].safetensors, part->layer, 0);
    module[strlen(module) - strlen(".weight")] = '\0';
    double rank = matched(config->rank_pattern, module, (double)config->rank);
    double alpha = matched(config->alpha_pattern, module, config->alpha);
    if (rank != (double)part->rank)
        return hd_fail(err, HD_E_FORMAT, "%s: tensor '%.100s' has a rank of %lld, " HD_PEFT_CONFIG " says %g", path,
                       part->a->name, (long long)part->rank, rank);
    part->alpha = config->rslora ? alpha * sqrt(rank) : alpha;
    part->scale = (float)(part->alpha / rank);
    return HD_OK;
}
