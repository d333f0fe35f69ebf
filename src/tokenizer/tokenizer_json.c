/* tokenizer_json.c: reads the tokenizer.json of the tokenizers library: the model and its added tokens.
 *
 * Only byte-level BPE is read; whatever would change ids and is not known is refused by name.  Members that don't
 * matter here (truncation, padding, offsets) are skipped. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

/* ---- small readers ---- */

hd_status hd_json_get_bool(const json_t *object, const char *key, bool fallback, bool *out, hd_error *err)
{
    const json_t *value = json_object_get(object, key);
    *out = value && !json_is_null(value) ? json_is_true(value) : fallback;
    if (!value || json_is_null(value) || json_is_boolean(value)) return HD_OK;
    return hd_fail(err, HD_E_FORMAT, "\"%s\" must be true or false", key);
}

hd_status hd_json_get_string(const json_t *object, const char *key, hd_str *out, hd_error *err)
{
    const json_t *value = json_object_get(object, key);
    *out = (hd_str){NULL, 0};
    if (!value || json_is_null(value)) return HD_OK;
    if (!json_is_string(value)) return hd_fail(err, HD_E_FORMAT, "\"%s\" must be a string", key);
    *out = (hd_str){json_string_value(value), json_string_length(value)};
    return HD_OK;
}

static bool equals(hd_str s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || memcmp(s.data, text, s.len) == 0);
}

/* ---- model ---- */

/* Members of the model that would change ids: refused unless they are off. */
static hd_status refuse_variants(const json_t *model, hd_error *err)
{
    hd_str type, prefix, suffix;
    bool byte_fallback;
    HD_TRY(hd_json_get_string(model, "type", &type, err));
    if (type.data && !equals(type, "BPE"))
        return hd_fail(err, HD_E_UNSUPPORTED, "model type \"%.*s\": only byte-level BPE is supported",
                       (int)HD_MIN(type.len, 80u), type.data);
    HD_TRY(hd_json_get_string(model, "continuing_subword_prefix", &prefix, err));
    HD_TRY(hd_json_get_string(model, "end_of_word_suffix", &suffix, err));
    if (prefix.len || suffix.len)
        return hd_fail(err, HD_E_UNSUPPORTED, "\"%s\" is not supported",
                       prefix.len ? "continuing_subword_prefix" : "end_of_word_suffix");
    HD_TRY(hd_json_get_bool(model, "byte_fallback", false, &byte_fallback, err));
    if (byte_fallback)
        return hd_fail(err, HD_E_UNSUPPORTED, "\"byte_fallback\" is not supported (a SentencePiece vocabulary?)");
    const json_t *dropout = json_object_get(model, "dropout");
    if (dropout && !json_is_null(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return hd_fail(err, HD_E_UNSUPPORTED, "\"dropout\" is not supported");
    return HD_OK;
}

static hd_status read_vocab(hd_tokenizer *tok, json_t *vocab, hd_error *err)
{
    if (!json_is_object(vocab)) return hd_fail(err, HD_E_FORMAT, "\"vocab\" must be an object of texts and ids");
    for (void *it = json_object_iter(vocab); it; it = json_object_iter_next(vocab, it)) {
        const char *text = json_object_iter_key(it);
        size_t len = json_object_iter_key_len(it);
        const json_t *id = json_object_iter_value(it);
        if (!json_is_integer(id))
            return hd_fail(err, HD_E_FORMAT, "\"vocab\": the id of \"%.*s\" must be an integer", (int)HD_MIN(len, 80u),
                           text);
        HD_TRY(hd_vocab_add(&tok->vocab, json_integer_value(id), text, len, 0, err));
    }
    return tok->vocab.size ? HD_OK : hd_fail(err, HD_E_FORMAT, "\"vocab\" is empty");
}

/* A merge is "left right" or ["left", "right"]. */
static bool merge_parts(const json_t *merge, hd_str *left, hd_str *right)
{
    if (json_is_string(merge)) {
        const char *text = json_string_value(merge);
        size_t len = json_string_length(merge);
        const char *space = memchr(text, ' ', len);
        if (!space || memchr(space + 1, ' ', len - (size_t)(space + 1 - text))) return false;
        *left = (hd_str){text, (size_t)(space - text)};
        *right = (hd_str){space + 1, len - left->len - 1};
        return true;
    }
    const json_t *l = json_array_get(merge, 0), *r = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(l) || !json_is_string(r)) return false;
    *left = (hd_str){json_string_value(l), json_string_length(l)};
    *right = (hd_str){json_string_value(r), json_string_length(r)};
    return true;
}

static hd_status read_merges(hd_tokenizer *tok, const json_t *merges, hd_error *err)
{
    if (!json_is_array(merges)) return hd_fail(err, HD_E_FORMAT, "\"merges\" must be an array");
    size_t count = json_array_size(merges);
    HD_TRY(hd_bpe_init(&tok->bpe, count, err));
    for (size_t i = 0; i < count; i++) {
        hd_str left, right;
        if (!merge_parts(json_array_get(merges, i), &left, &right))
            return hd_fail(err, HD_E_FORMAT, "merge %zu must be \"left right\" or [\"left\", \"right\"]", i);
        HD_TRY(hd_bpe_add_merge(&tok->bpe, &tok->vocab, (uint32_t)i, left, right, err));
    }
    return HD_OK;
}

static hd_status read_unknown(hd_tokenizer *tok, const json_t *model, hd_error *err)
{
    hd_str unknown;
    HD_TRY(hd_json_get_string(model, "unk_token", &unknown, err));
    HD_TRY(hd_json_get_bool(model, "fuse_unk", false, &tok->bpe.fuse_unknown, err));
    if (!unknown.data) return HD_OK;
    tok->bpe.unknown = hd_vocab_find(&tok->vocab, unknown.data, unknown.len);
    if (tok->bpe.unknown >= 0) return HD_OK;
    return hd_fail(err, HD_E_FORMAT, "\"unk_token\": \"%.*s\" is not in the vocabulary", (int)HD_MIN(unknown.len, 80u),
                   unknown.data);
}

static hd_status read_model(hd_tokenizer *tok, const json_t *model, hd_error *err)
{
    if (!json_is_object(model)) return hd_fail(err, HD_E_FORMAT, "must be an object (is this a tokenizer.json?)");
    HD_TRY(refuse_variants(model, err));
    HD_TRY(read_vocab(tok, json_object_get(model, "vocab"), err));
    HD_TRY(read_merges(tok, json_object_get(model, "merges"), err));
    HD_TRY(read_unknown(tok, model, err));
    hd_bpe_set_bytes(&tok->bpe, &tok->vocab);
    return hd_json_get_bool(model, "ignore_merges", false, &tok->bpe.whole_words, err);
}

/* ---- added tokens ---- */

/* `normal` is the text normalized where the token is: for the finder, and for decoding a token that is new here. */
static hd_status add_token(hd_tokenizer *tok, hd_added token, hd_str text, hd_str normal, hd_error *err)
{
    hd_str known = hd_vocab_text(&tok->vocab, token.id);
    int32_t other = known.data ? -1 : hd_vocab_find(&tok->vocab, text.data, text.len);
    if (other >= 0)
        return hd_fail(err, HD_E_FORMAT, "\"%.*s\" has id %d here and %d before", (int)HD_MIN(text.len, 80u), text.data,
                       token.id, other);
    if (known.data && (known.len != text.len || memcmp(known.data, text.data, text.len) != 0))
        return hd_fail(err, HD_E_FORMAT, "id %d is \"%.*s\" here and \"%.*s\" before", token.id,
                       (int)HD_MIN(text.len, 80u), text.data, (int)HD_MIN(known.len, 80u), known.data);
    if (!known.data) HD_TRY(hd_vocab_add(&tok->vocab, token.id, normal.data, normal.len, 0, err));
    tok->vocab.tokens[token.id].flags |= (uint8_t)(HD_TOKEN_ADDED | (token.special ? HD_TOKEN_SPECIAL : 0));
    return hd_added_tokens_add(&tok->added, token, normal, err);
}

hd_status hd_tokenizer_add_token(hd_tokenizer *tok, hd_added token, hd_str text, hd_error *err)
{
    if (!token.normalized || !tok->nfc) return add_token(tok, token, text, text, err);
    hd_normalized nfc = {0};
    hd_status status = hd_normalize_nfc(text.data, NULL, text.len, &nfc);
    if (status != HD_OK)
        status = hd_fail(err, status, "out of memory for added tokens");
    else
        status = add_token(tok, token, text, (hd_str){nfc.text.data, nfc.text.len}, err);
    hd_normalized_free(&nfc);
    return status;
}

static hd_status read_added_token(hd_tokenizer *tok, const json_t *node, hd_error *err)
{
    const json_t *id = json_object_get(node, "id");
    hd_added token = {0};
    hd_str content;
    if (!json_is_object(node)) return hd_fail(err, HD_E_FORMAT, "must be an object");
    HD_TRY(hd_json_get_string(node, "content", &content, err));
    if (!content.data) return hd_fail(err, HD_E_FORMAT, "\"content\" is missing");
    if (!json_is_integer(id)) return hd_fail(err, HD_E_FORMAT, "\"id\" must be an integer");
    if (json_integer_value(id) < 0 || json_integer_value(id) >= HD_TOKENIZER_IDS)
        return hd_fail(err, HD_E_LIMIT, "\"id\" must be in 0..%d", HD_TOKENIZER_IDS - 1);
    token.id = (int32_t)json_integer_value(id);
    HD_TRY(hd_json_get_bool(node, "special", false, &token.special, err));
    HD_TRY(hd_json_get_bool(node, "normalized", !token.special, &token.normalized, err));
    HD_TRY(hd_json_get_bool(node, "single_word", false, &token.single_word, err));
    HD_TRY(hd_json_get_bool(node, "lstrip", false, &token.lstrip, err));
    HD_TRY(hd_json_get_bool(node, "rstrip", false, &token.rstrip, err));
    return hd_tokenizer_add_token(tok, token, content, err);
}

static hd_status read_added_tokens(hd_tokenizer *tok, const json_t *list, hd_error *err)
{
    if (!list || json_is_null(list)) return HD_OK;
    if (!json_is_array(list)) return hd_fail(err, HD_E_FORMAT, "\"added_tokens\" must be an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        hd_status status = read_added_token(tok, json_array_get(list, i), err);
        if (status != HD_OK) return hd_fail_in(err, status, "added token %zu", i);
    }
    hd_bpe_set_bytes(&tok->bpe, &tok->vocab);
    return HD_OK;
}

/* ---- the whole ---- */

hd_status hd_tokenizer_read_json(hd_tokenizer *tok, const json_t *root, hd_error *err)
{
    hd_str version;
    if (!json_is_object(root)) return hd_fail(err, HD_E_FORMAT, "a tokenizer.json is a JSON object");
    HD_TRY(hd_json_get_string(root, "version", &version, err));
    if (version.data && !equals(version, "1.0"))
        return hd_fail(err, HD_E_UNSUPPORTED, "\"version\" %.*s is not supported, only 1.0",
                       (int)HD_MIN(version.len, 20u), version.data);
    hd_status status = read_model(tok, json_object_get(root, "model"), err);
    if (status != HD_OK) return hd_fail_in(err, status, "\"model\"");
    HD_TRY(hd_tokenizer_read_normalizer(tok, json_object_get(root, "normalizer"), err));
    HD_TRY(hd_tokenizer_read_pre_tokenizer(tok, json_object_get(root, "pre_tokenizer"), err));
    HD_TRY(hd_tokenizer_read_decoder(json_object_get(root, "decoder"), err));
    return read_added_tokens(tok, json_object_get(root, "added_tokens"), err);
}
