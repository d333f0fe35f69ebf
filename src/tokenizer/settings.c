/* settings.c: begin and end of text and the chat template: from tokenizer_config.json, generation_config.json and
 * chat_template.jinja beside a tokenizer.json, else by the names that well-known tokens have. */
#include <string.h>

#include "tokenizer/template.h"
#include "tokenizer/tokenizer_internal.h"

/* ---- files beside tokenizer.json ---- */

/* Parses folder/name; *out is NULL when there is none. */
static hd_status read_optional(const char *folder, const char *name, json_t **out, hd_error *err)
{
    hd_buf path;
    *out = NULL;
    hd_buf_init(&path, 1 << 16);
    hd_status status = hd_buf_printf(&path, "%s/%s", folder, name);
    if (status == HD_OK) {
        status = hd_json_parse_file(out, path.data, HD_TOKENIZER_SETTINGS, err);
        if (status == HD_OK && !json_is_object(*out))
            status = hd_fail(err, HD_E_FORMAT, "%s: must be a JSON object", path.data);
        if (status == HD_E_NOT_FOUND) status = HD_OK;
    } else {
        status = hd_fail(err, status, "out of memory for a path");
    }
    hd_buf_free(&path);
    if (status == HD_OK) return HD_OK;
    json_decref(*out);
    *out = NULL;
    return status;
}

/* Puts a copy of `text` in *field, which may hold an older one. */
static hd_status set_text(char **field, hd_str text, hd_error *err)
{
    if (text.len && memchr(text.data, 0, text.len))
        return hd_fail(err, HD_E_FORMAT, "a setting's text holds a NUL character");
    char *copy = hd_strndup(text.data, text.len);
    if (!copy) return hd_fail(err, HD_E_MEMORY, "out of memory for a setting");
    hd_free(*field);
    *field = copy;
    return HD_OK;
}

/* ---- tokenizer_config.json ---- */

/* A token is a string or an object with `content`. */
static hd_status get_token(const json_t *config, const char *key, hd_str *out, hd_error *err)
{
    const json_t *node = json_object_get(config, key);
    if (json_is_object(node)) return hd_json_get_string(node, "content", out, err);
    return hd_json_get_string(config, key, out, err);
}

static int32_t id_of(const hd_tokenizer *tok, hd_str text)
{
    int32_t id = hd_added_tokens_find(&tok->added, text.data, text.len);
    return id >= 0 ? id : hd_vocab_find(&tok->vocab, text.data, text.len);
}

/* A string, or a list of named templates of which "default" counts. */
static hd_status read_template(hd_tokenizer *tok, const json_t *config, hd_error *err)
{
    const json_t *node = json_object_get(config, "chat_template");
    for (size_t i = 0; i < json_array_size(node); i++) {
        const json_t *item = json_array_get(node, i);
        hd_str name, text;
        HD_TRY(hd_json_get_string(item, "name", &name, err));
        HD_TRY(hd_json_get_string(item, "template", &text, err));
        if (name.len == 7 && memcmp(name.data, "default", 7) == 0 && text.data)
            return set_text(&tok->chat_template, text, err);
    }
    hd_str text;
    if (json_is_array(node)) return HD_OK;
    HD_TRY(hd_json_get_string(config, "chat_template", &text, err));
    return text.data ? set_text(&tok->chat_template, text, err) : HD_OK;
}

static bool is_class(hd_str name, const char *wanted)
{
    return name.len == strlen(wanted) && memcmp(name.data, wanted, name.len) == 0;
}

static hd_status read_config(hd_tokenizer *tok, const json_t *config, bool post_adds_bos, hd_error *err)
{
    hd_str bos, eos, pad, class;
    HD_TRY(get_token(config, "bos_token", &bos, err));
    HD_TRY(get_token(config, "eos_token", &eos, err));
    HD_TRY(get_token(config, "pad_token", &pad, err));
    HD_TRY(hd_json_get_string(config, "tokenizer_class", &class, err));
    HD_TRY(set_text(&tok->bos_text, bos.data ? bos : (hd_str){"", 0}, err));
    HD_TRY(set_text(&tok->eos_text, eos.data ? eos : (hd_str){"", 0}, err));
    if (bos.len) tok->bos = id_of(tok, bos);
    if (eos.len) hd_tokenizer_add_eos(tok, id_of(tok, eos));
    if (pad.len) tok->pad = id_of(tok, pad);
    /* The Llama classes of transformers add it unless told otherwise. */
    bool fallback = post_adds_bos || is_class(class, "LlamaTokenizerFast") || is_class(class, "LlamaTokenizer");
    HD_TRY(hd_json_get_bool(config, "add_bos_token", fallback, &tok->adds_bos, err));
    return read_template(tok, config, err);
}

/* Whether the post-processor's template for a single text begins with a special token. */
static bool post_processor_adds_bos(const json_t *node)
{
    const json_t *list = json_object_get(node, "processors");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_object_get(json_array_get(json_object_get(json_array_get(list, i), "single"), 0), "SpecialToken"))
            return true;
    return json_object_get(json_array_get(json_object_get(node, "single"), 0), "SpecialToken") != NULL;
}

/* ---- chat_template.jinja and generation_config.json ---- */

static hd_status read_jinja(hd_tokenizer *tok, const char *folder, hd_error *err)
{
    hd_buf path;
    hd_mapping *map = NULL;
    hd_buf_init(&path, 1 << 16);
    hd_status status = hd_buf_printf(&path, "%s/chat_template.jinja", folder);
    if (status != HD_OK)
        status = hd_fail(err, status, "out of memory for a path");
    else
        status = hd_mapping_open(&map, path.data, err);
    if (status == HD_OK && hd_mapping_size(map) > HD_TEMPLATE_SOURCE)
        status = hd_fail(err, HD_E_LIMIT, "%s: %zu bytes, at most %u are read", path.data, hd_mapping_size(map),
                         HD_TEMPLATE_SOURCE);
    if (status == HD_OK)
        status = set_text(&tok->chat_template, (hd_str){(const char *)hd_mapping_data(map), hd_mapping_size(map)}, err);
    if (status == HD_OK && hd_mapping_failed(map))
        status = hd_fail(err, HD_E_IO, "%s: could not be read to its end", path.data);
    hd_mapping_close(&map);
    hd_buf_free(&path);
    return status == HD_E_NOT_FOUND ? HD_OK : status;
}

/* eos_token_id is one id or a list. */
static void read_generation_config(hd_tokenizer *tok, const json_t *config)
{
    const json_t *eos = json_object_get(config, "eos_token_id");
    if (json_is_integer(eos)) hd_tokenizer_add_eos(tok, json_integer_value(eos));
    for (size_t i = 0; i < json_array_size(eos); i++)
        if (json_is_integer(json_array_get(eos, i)))
            hd_tokenizer_add_eos(tok, json_integer_value(json_array_get(eos, i)));
}

hd_status hd_tokenizer_read_settings(hd_tokenizer *tok, const json_t *root, const char *folder, hd_error *err)
{
    json_t *config = NULL, *generation = NULL;
    bool post_adds_bos = post_processor_adds_bos(json_object_get(root, "post_processor"));
    tok->adds_bos = post_adds_bos;
    if (!folder) return HD_OK;
    hd_status status = read_optional(folder, "tokenizer_config.json", &config, err);
    if (status == HD_OK && config) {
        status = read_config(tok, config, post_adds_bos, err);
        if (status != HD_OK) status = hd_fail_in(err, status, "%s/tokenizer_config.json", folder);
    }
    if (status == HD_OK) status = read_optional(folder, "generation_config.json", &generation, err);
    if (status == HD_OK) read_generation_config(tok, generation);
    json_decref(config);
    json_decref(generation);
    return status == HD_OK ? read_jinja(tok, folder, err) : status;
}

/* ---- what no file said ---- */

void hd_tokenizer_add_eos(hd_tokenizer *tok, int64_t id)
{
    if (id < 0 || id >= (int64_t)tok->vocab.size || tok->eos_count == HD_TOKENIZER_EOS) return;
    for (size_t i = 0; i < tok->eos_count; i++)
        if (tok->eos[i] == id) return;
    tok->eos[tok->eos_count++] = (int32_t)id;
}

static int32_t find_first(const hd_tokenizer *tok, const char *const *names, size_t count)
{
    int32_t id = -1;
    for (size_t i = 0; i < count && id < 0; i++)
        id = hd_tokenizer_find(tok, names[i], strlen(names[i]));
    return id;
}

hd_status hd_tokenizer_finish(hd_tokenizer *tok, hd_error *err)
{
    static const char *const begins[] = {"<｜begin▁of▁sentence｜>", "<|begin_of_text|>"};
    static const char *const ends[] = {"<｜end▁of▁sentence｜>",
                                       "<|end_of_text|>",
                                       "<|endoftext|>",
                                       "<|im_end|>",
                                       "<|eot_id|>",
                                       "<|eom_id|>",
                                       "<|EOT|>"};
    if (!tok->bos_text) {
        if (tok->bos < 0) tok->bos = find_first(tok, begins, HD_ARRAY_LEN(begins));
        hd_str text = hd_vocab_text(&tok->vocab, tok->bos);
        HD_TRY(set_text(&tok->bos_text, text.data ? text : (hd_str){"", 0}, err));
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(ends); i++)
        hd_tokenizer_add_eos(tok, hd_tokenizer_find(tok, ends[i], strlen(ends[i])));
    if (!tok->eos_text) {
        hd_str text = hd_vocab_text(&tok->vocab, tok->eos_count ? tok->eos[0] : -1);
        HD_TRY(set_text(&tok->eos_text, text.data ? text : (hd_str){"", 0}, err));
    }
    return HD_OK;
}
