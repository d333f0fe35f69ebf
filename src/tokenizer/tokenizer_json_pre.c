/* tokenizer_json_pre.c: reads the members of tokenizer.json that say how text becomes words and ids become text:
 * `normalizer`, `pre_tokenizer` and `decoder`.  What is not known is refused by name. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

/* Every part is an object with a type. */
static hd_status get_type(const json_t *node, const char *member, hd_str *type, hd_error *err)
{
    if (!json_is_object(node)) return hd_fail(err, HD_E_FORMAT, "\"%s\" must be an object", member);
    HD_TRY(hd_json_get_string(node, "type", type, err));
    return type->data ? HD_OK : hd_fail(err, HD_E_FORMAT, "\"%s\" has no \"type\"", member);
}

static bool is_type(hd_str type, const char *name)
{
    return type.len == strlen(name) && memcmp(type.data, name, type.len) == 0;
}

static hd_status unknown_type(const char *member, hd_str type, hd_error *err)
{
    return hd_fail(err, HD_E_UNSUPPORTED, "%s \"%.*s\" is not supported", member, (int)HD_MIN(type.len, 80u),
                   type.data);
}

/* The list of a Sequence; its members may not be sequences again. */
static hd_status get_list(const json_t *node, const char *key, const json_t **list, hd_error *err)
{
    *list = json_object_get(node, key);
    return json_is_array(*list) ? HD_OK : hd_fail(err, HD_E_FORMAT, "\"%s\" must be an array", key);
}

/* ---- normalizer ---- */

static hd_status read_one_normalizer(hd_tokenizer *tok, const json_t *node, hd_error *err)
{
    hd_str type;
    HD_TRY(get_type(node, "normalizer", &type, err));
    if (!is_type(type, "NFC")) return unknown_type("normalizer", type, err);
    tok->nfc = true;
    return HD_OK;
}

hd_status hd_tokenizer_read_normalizer(hd_tokenizer *tok, const json_t *node, hd_error *err)
{
    hd_str type;
    const json_t *list;
    if (!node || json_is_null(node)) return HD_OK;
    HD_TRY(get_type(node, "normalizer", &type, err));
    if (!is_type(type, "Sequence")) return read_one_normalizer(tok, node, err);
    HD_TRY(get_list(node, "normalizers", &list, err));
    for (size_t i = 0; i < json_array_size(list); i++)
        HD_TRY(read_one_normalizer(tok, json_array_get(list, i), err));
    return HD_OK;
}

/* ---- pre_tokenizer ---- */

static hd_status get_behavior(const json_t *node, hd_split_behavior *behavior, hd_error *err)
{
    static const struct {
        const char *name;
        hd_split_behavior behavior;
    } known[] = {{"Removed", HD_SPLIT_REMOVED},
                 {"Isolated", HD_SPLIT_ISOLATED},
                 {"MergedWithPrevious", HD_SPLIT_MERGED_WITH_PREVIOUS},
                 {"MergedWithNext", HD_SPLIT_MERGED_WITH_NEXT},
                 {"Contiguous", HD_SPLIT_CONTIGUOUS}};
    hd_str name;
    HD_TRY(hd_json_get_string(node, "behavior", &name, err));
    if (!name.data) return hd_fail(err, HD_E_FORMAT, "\"behavior\" is missing");
    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++) {
        if (!is_type(name, known[i].name)) continue;
        *behavior = known[i].behavior;
        return HD_OK;
    }
    return unknown_type("behavior", name, err);
}

static hd_status read_split(hd_tokenizer *tok, const json_t *node, hd_error *err)
{
    hd_split_behavior behavior = HD_SPLIT_ISOLATED;
    bool invert;
    hd_str regex, text;
    const json_t *pattern = json_object_get(node, "pattern");
    HD_TRY(get_behavior(node, &behavior, err));
    HD_TRY(hd_json_get_bool(node, "invert", false, &invert, err));
    HD_TRY(hd_json_get_string(pattern, "Regex", &regex, err));
    HD_TRY(hd_json_get_string(pattern, "String", &text, err));
    if (!regex.data == !text.data)
        return hd_fail(err, HD_E_FORMAT, "\"pattern\" must be {\"Regex\": ...} or {\"String\": ...}");
    hd_str p = regex.data ? regex : text;
    return hd_pretokenizer_add(&tok->pre, p.data, p.len, !regex.data, behavior, invert, err);
}

static hd_status read_digits(hd_tokenizer *tok, const json_t *node, hd_error *err)
{
    bool individual;
    HD_TRY(hd_json_get_bool(node, "individual_digits", false, &individual, err));
    const char *pattern = individual ? HD_PATTERN_DIGIT : HD_PATTERN_DIGIT "+";
    return hd_pretokenizer_add(&tok->pre, pattern, strlen(pattern), false, HD_SPLIT_ISOLATED, false, err);
}

static hd_status read_byte_level(hd_tokenizer *tok, const json_t *node, hd_error *err)
{
    bool prefix_space, regex;
    HD_TRY(hd_json_get_bool(node, "add_prefix_space", true, &prefix_space, err));
    HD_TRY(hd_json_get_bool(node, "use_regex", true, &regex, err));
    if (prefix_space) HD_TRY(hd_pretokenizer_add_prefix_space(&tok->pre, err));
    return regex ? hd_pretokenizer_add_gpt2(&tok->pre, err) : HD_OK;
}

static hd_status read_one_pre_tokenizer(hd_tokenizer *tok, const json_t *node, bool *byte_level, hd_error *err)
{
    hd_str type;
    HD_TRY(get_type(node, "pre_tokenizer", &type, err));
    if (*byte_level) return hd_fail(err, HD_E_UNSUPPORTED, "a pre_tokenizer behind ByteLevel is not supported");
    if (is_type(type, "Split")) return read_split(tok, node, err);
    if (is_type(type, "Digits")) return read_digits(tok, node, err);
    if (!is_type(type, "ByteLevel")) return unknown_type("pre_tokenizer", type, err);
    *byte_level = true;
    return read_byte_level(tok, node, err);
}

hd_status hd_tokenizer_read_pre_tokenizer(hd_tokenizer *tok, const json_t *node, hd_error *err)
{
    hd_str type;
    const json_t *list;
    bool byte_level = false;
    if (!node || json_is_null(node))
        return hd_fail(err, HD_E_UNSUPPORTED, "there is no pre_tokenizer: only byte-level BPE is supported");
    HD_TRY(get_type(node, "pre_tokenizer", &type, err));
    if (!is_type(type, "Sequence")) {
        HD_TRY(read_one_pre_tokenizer(tok, node, &byte_level, err));
    } else {
        HD_TRY(get_list(node, "pretokenizers", &list, err));
        for (size_t i = 0; i < json_array_size(list); i++) {
            hd_status status = read_one_pre_tokenizer(tok, json_array_get(list, i), &byte_level, err);
            if (status != HD_OK) return hd_fail_in(err, status, "pre_tokenizer %zu", i);
        }
    }
    if (!byte_level)
        return hd_fail(err, HD_E_UNSUPPORTED, "the pre_tokenizer has no ByteLevel: only byte-level BPE is supported");
    return HD_OK;
}

/* ---- decoder ---- */

static hd_status read_one_decoder(const json_t *node, hd_error *err)
{
    hd_str type;
    HD_TRY(get_type(node, "decoder", &type, err));
    return is_type(type, "ByteLevel") ? HD_OK : unknown_type("decoder", type, err);
}

hd_status hd_tokenizer_read_decoder(const json_t *node, hd_error *err)
{
    hd_str type;
    const json_t *list;
    if (!node || json_is_null(node)) return HD_OK; /* tokens are bytes all the same */
    HD_TRY(get_type(node, "decoder", &type, err));
    if (!is_type(type, "Sequence")) return read_one_decoder(node, err);
    HD_TRY(get_list(node, "decoders", &list, err));
    for (size_t i = 0; i < json_array_size(list); i++)
        HD_TRY(read_one_decoder(json_array_get(list, i), err));
    return HD_OK;
}
