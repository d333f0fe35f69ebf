/* tokenizer_gguf.c: reads the tokenizer that a GGUF file carries (keys tokenizer.*; the GGUF specification). */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

static bool equals(hd_str s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* A string; an absent one has NULL data. */
static hd_status get_string(const hd_checkpoint *ckpt, const char *key, hd_str *out, hd_error *err)
{
    const hd_meta *meta = hd_checkpoint_meta(ckpt, key);
    *out = (hd_str){NULL, 0};
    if (!meta) return HD_OK;
    if (meta->type != HD_META_STRING) return hd_fail(err, HD_E_FORMAT, "%s must be a string", key);
    *out = meta->string;
    return HD_OK;
}

static hd_status get_strings(const hd_checkpoint *ckpt, const char *key, const hd_meta **out, hd_error *err)
{
    *out = hd_checkpoint_meta(ckpt, key);
    if (!*out) return hd_fail(err, HD_E_FORMAT, "%s is missing", key);
    if ((*out)->type != HD_META_ARRAY || (*out)->elem != HD_META_STRING)
        return hd_fail(err, HD_E_FORMAT, "%s must be an array of strings", key);
    return HD_OK;
}

/* ---- tokens ---- */

static hd_status read_tokens(hd_tokenizer *tok, const hd_meta *tokens, hd_error *err)
{
    if (tokens->count == 0) return hd_fail(err, HD_E_FORMAT, "tokenizer.ggml.tokens is empty");
    for (uint64_t i = 0; i < tokens->count; i++)
        HD_TRY(hd_vocab_add(&tok->vocab, (int64_t)i, tokens->strings[i].data, tokens->strings[i].len, 0, err));
    return HD_OK;
}

/* Control and user-defined tokens are those that a tokenizer.json calls added tokens. */
static hd_status read_token_types(hd_tokenizer *tok, const hd_checkpoint *ckpt, const hd_meta *tokens, hd_error *err)
{
    const hd_meta *types = hd_checkpoint_meta(ckpt, "tokenizer.ggml.token_type");
    if (!types) return HD_OK;
    if (types->type != HD_META_ARRAY || types->count != tokens->count)
        return hd_fail(err, HD_E_FORMAT, "tokenizer.ggml.token_type must be an array as long as tokenizer.ggml.tokens");
    for (uint64_t i = 0; i < types->count; i++) {
        int64_t type;
        if (!hd_meta_i64(types, i, &type))
            return hd_fail(err, HD_E_FORMAT, "tokenizer.ggml.token_type must hold integers");
        if (type != HD_GGUF_TOKEN_CONTROL && type != HD_GGUF_TOKEN_USER_DEFINED && type != HD_GGUF_TOKEN_UNKNOWN)
            continue;
        hd_added token = {.id = (int32_t)i, .special = type != HD_GGUF_TOKEN_USER_DEFINED};
        HD_TRY(hd_tokenizer_add_token(tok, token, tokens->strings[i], err));
    }
    return HD_OK;
}

static hd_status read_merges(hd_tokenizer *tok, const hd_meta *merges, hd_error *err)
{
    if (merges->count > UINT32_MAX) return hd_fail(err, HD_E_LIMIT, "tokenizer.ggml.merges is too long");
    HD_TRY(hd_bpe_init(&tok->bpe, (size_t)merges->count, err));
    for (uint64_t i = 0; i < merges->count; i++) {
        hd_str m = merges->strings[i];
        /* Parts hold no space; a part may not be empty, so the search starts behind the first byte. */
        const char *space = m.len > 2 ? memchr(m.data + 1, ' ', m.len - 2) : NULL;
        if (!space)
            return hd_fail(err, HD_E_FORMAT, "tokenizer.ggml.merges: item %llu must be \"left right\"",
                           (unsigned long long)i);
        hd_str left = {m.data, (size_t)(space - m.data)};
        hd_str right = {space + 1, m.len - left.len - 1};
        hd_status status = hd_bpe_add_merge(&tok->bpe, &tok->vocab, (uint32_t)i, left, right, err);
        if (status != HD_OK) return hd_fail_in(err, status, "tokenizer.ggml.merges");
    }
    return HD_OK;
}

/* ---- the rest ---- */

/* An id, or -1 when the key is absent or out of the vocabulary. */
static int32_t get_id(const hd_tokenizer *tok, const hd_checkpoint *ckpt, const char *key)
{
    uint64_t id;
    const hd_meta *meta = hd_checkpoint_meta(ckpt, key);
    return meta && hd_meta_u64(meta, 0, &id) && id < tok->vocab.size ? (int32_t)id : -1;
}

static hd_status read_ends(hd_tokenizer *tok, const hd_checkpoint *ckpt, hd_error *err)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const hd_meta *adds = hd_checkpoint_meta(ckpt, "tokenizer.ggml.add_bos_token");
    tok->bos = get_id(tok, ckpt, "tokenizer.ggml.bos_token_id");
    tok->pad = get_id(tok, ckpt, "tokenizer.ggml.padding_token_id");
    for (size_t i = 0; i < HD_ARRAY_LEN(ends); i++)
        hd_tokenizer_add_eos(tok, get_id(tok, ckpt, ends[i]));
    if (adds && !hd_meta_bool(adds, &tok->adds_bos))
        return hd_fail(err, HD_E_FORMAT, "tokenizer.ggml.add_bos_token must be true or false");
    return HD_OK;
}

static hd_status read_template(hd_tokenizer *tok, const hd_checkpoint *ckpt, hd_error *err)
{
    hd_str text;
    HD_TRY(get_string(ckpt, "tokenizer.chat_template", &text, err));
    if (!text.data) return HD_OK;
    if (memchr(text.data, 0, text.len))
        return hd_fail(err, HD_E_FORMAT, "tokenizer.chat_template holds a NUL character");
    tok->chat_template = hd_strndup(text.data, text.len);
    return tok->chat_template ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for a chat template");
}

static hd_status check_model(const hd_checkpoint *ckpt, hd_error *err)
{
    hd_str model;
    HD_TRY(get_string(ckpt, "tokenizer.ggml.model", &model, err));
    if (!model.data || equals(model, "none"))
        return hd_fail(err, HD_E_UNSUPPORTED, "there is no tokenizer in this file: give one, or work with ids");
    if (equals(model, "gpt2")) return HD_OK;
    return hd_fail(err, HD_E_UNSUPPORTED, "tokenizer.ggml.model \"%.*s\" is not supported, only gpt2 (byte-level BPE)",
                   (int)HD_MIN(model.len, 80u), model.data);
}

hd_status hd_tokenizer_read_gguf(hd_tokenizer *tok, const hd_checkpoint *ckpt, hd_error *err)
{
    const hd_meta *tokens, *merges;
    hd_str pre;
    bool whole_words;
    HD_TRY(check_model(ckpt, err));
    HD_TRY(get_string(ckpt, "tokenizer.ggml.pre", &pre, err));
    if (!pre.data) pre = (hd_str){"default", 7};
    HD_TRY(hd_pretokenizer_by_name(&tok->pre, pre, &tok->nfc, &whole_words, &tok->adds_bos, err));
    HD_TRY(get_strings(ckpt, "tokenizer.ggml.tokens", &tokens, err));
    HD_TRY(get_strings(ckpt, "tokenizer.ggml.merges", &merges, err));
    HD_TRY(read_tokens(tok, tokens, err));
    HD_TRY(read_merges(tok, merges, err));
    tok->bpe.whole_words = whole_words;
    HD_TRY(read_token_types(tok, ckpt, tokens, err));
    hd_bpe_set_bytes(&tok->bpe, &tok->vocab);
    HD_TRY(read_ends(tok, ckpt, err));
    return read_template(tok, ckpt, err);
}
