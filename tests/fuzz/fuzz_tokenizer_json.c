/* fuzz_tokenizer_json.c: any bytes as a tokenizer.json.  What opens must encode the same bytes, trusted and not, into
 * ids of its vocabulary, and streaming must decode them as the whole list does. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void want(bool holds)
{
    if (!holds) __builtin_trap();
}

static void check_decoding(const hd_tokenizer *tok, const hd_ids *ids, bool show)
{
    hd_buf whole, streamed;
    hd_decoder d;
    hd_buf_init(&whole, 1 << 26);
    hd_buf_init(&streamed, 1 << 26);
    hd_decoder_init(&d, tok, show);
    want(hd_tokenizer_decode(tok, ids->data, ids->len, show, &whole) == HD_OK);
    for (size_t i = 0; i < ids->len; i++)
        want(hd_decoder_push(&d, ids->data[i], &streamed) == HD_OK && d.held_len <= 3);
    want(hd_decoder_finish(&d, &streamed) == HD_OK);
    want(whole.len == streamed.len && (!whole.len || memcmp(whole.data, streamed.data, whole.len) == 0));
    hd_buf_free(&whole);
    hd_buf_free(&streamed);
}

/* The mask, where there is one, is made of the text itself. */
static void check_text(const hd_tokenizer *tok, const uint8_t *text, size_t len, bool all, bool mask)
{
    hd_ids ids = {0};
    hd_error err = {0};
    uint8_t trusted[512];
    for (size_t i = 0; i < len; i++)
        trusted[i] = text[i] & 1;
    hd_status status = hd_tokenizer_encode(tok, (const char *)text, len, all, mask ? trusted : NULL, &ids, &err);
    want(status == HD_OK || (status == HD_E_LIMIT && err.text[0])); /* a pattern may run away */
    for (size_t i = 0; i < ids.len; i++)
        want(ids.data[i] >= 0 && ids.data[i] < hd_tokenizer_vocab_size(tok));
    check_decoding(tok, &ids, true);
    check_decoding(tok, &ids, false);
    hd_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char sample[] =
        "  Hello, world's\n\n\t12345 x\xC2\xB2 e\xCC\x81 \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80 \xFF\xC3 ";
    hd_tokenizer *tok = NULL;
    hd_error err = {0};
    hd_status status = hd_tokenizer_open_json(&tok, (const char *)data, size, &err);
    want((status == HD_OK) == (tok != NULL));
    if (status != HD_OK) {
        want(err.status == status && err.text[0]);
        return 0;
    }
    check_text(tok, (const uint8_t *)sample, strlen(sample), true, false);
    size_t len = HD_MIN(size, 512u);
    const uint8_t *end = data + size - len; /* vocabulary and merges; added tokens and patterns are in front */
    check_text(tok, data, len, true, false);
    check_text(tok, end, len, true, false);
    check_text(tok, end, len, false, false);
    check_text(tok, end, len, false, true);
    hd_tokenizer_close(&tok);
    return 0;
}
