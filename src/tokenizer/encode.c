/* encode.c: text to ids: added tokens out, normalize, the normalized added tokens out, words, merges. */
#include "tokenizer/tokenizer_internal.h"

void hd_ids_free(hd_ids *ids)
{
    hd_free(ids->data);
    *ids = (hd_ids){0};
}

hd_status hd_ids_push(hd_ids *ids, int32_t id)
{
    if (ids->len == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 64;
        int32_t *data = hd_realloc_array(ids->data, cap, sizeof *data);
        if (!data) return HD_E_MEMORY;
        ids->data = data;
        ids->cap = cap;
    }
    ids->data[ids->len++] = id;
    return HD_OK;
}

typedef struct encoder {
    const hd_tokenizer *tok;
    hd_ids *out;
    hd_error *err;
    hd_matcher *matcher;
    hd_bpe_work work;
    bool find_added;
} encoder;

static hd_status no_memory(const encoder *e, hd_status status)
{
    return status == HD_OK ? HD_OK : hd_fail(e->err, status, "out of memory while text was encoded");
}

static hd_status encode_word(void *arg, const char *word, size_t len)
{
    encoder *e = arg;
    return no_memory(e, hd_bpe_encode(&e->tok->bpe, &e->tok->vocab, &e->work, (const uint8_t *)word, len, e->out));
}

/* A stretch of normalized text. */
static hd_status encode_normalized(void *arg, int32_t id, const char *text, const uint8_t *trusted, size_t len)
{
    encoder *e = arg;
    (void)trusted;
    if (id >= 0) return no_memory(e, hd_ids_push(e->out, id));
    return hd_pretokenize(&e->tok->pre, e->matcher, text, len, encode_word, e, e->err);
}

static hd_status cut_normalized(encoder *e, const char *text, const uint8_t *trusted, size_t len)
{
    if (!e->find_added) return encode_normalized(e, -1, text, trusted, len);
    return hd_added_tokens_cut(&e->tok->added, &e->tok->added.normalized, text, trusted, len, encode_normalized, e);
}

/* A stretch of the text as it came. */
static hd_status encode_raw(void *arg, int32_t id, const char *text, const uint8_t *trusted, size_t len)
{
    encoder *e = arg;
    if (id >= 0) return no_memory(e, hd_ids_push(e->out, id));
    if (!e->tok->nfc) return cut_normalized(e, text, trusted, len);
    hd_normalized nfc = {0};
    hd_status status = no_memory(e, hd_normalize_nfc(text, trusted, len, &nfc));
    if (status == HD_OK)
        status = cut_normalized(e, nfc.text.data, trusted ? (const uint8_t *)nfc.trusted.data : NULL, nfc.text.len);
    hd_normalized_free(&nfc);
    return status;
}

hd_status hd_tokenizer_encode(const hd_tokenizer *tok, const char *text, size_t len, bool all_trusted,
                              const uint8_t *trusted, hd_ids *out, hd_error *err)
{
    if (len > HD_TOKENIZER_TEXT)
        return hd_fail(err, HD_E_LIMIT, "a text of %zu bytes; at most %u are encoded at once", len, HD_TOKENIZER_TEXT);
    encoder e = {.tok = tok, .out = out, .err = err, .find_added = trusted || all_trusted};
    size_t before = out->len;
    HD_TRY(hd_matcher_open(&e.matcher, err));
    hd_status status;
    if (len == 0)
        status = HD_OK;
    else if (e.find_added)
        status = hd_added_tokens_cut(&tok->added, &tok->added.raw, text, trusted, len, encode_raw, &e);
    else
        status = encode_raw(&e, -1, text, NULL, len);
    if (status != HD_OK) out->len = before;
    hd_matcher_close(&e.matcher);
    hd_bpe_work_free(&e.work);
    return status;
}
