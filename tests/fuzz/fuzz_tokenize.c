/* fuzz_tokenize.c: any bytes as text for a byte-level tokenizer with the pre-tokenizer that the first byte picks.
 *
 * Whatever comes, the ids' pieces joined are the text again, byte for byte (there is a token for each byte, and no NFC
 * here), and text that is not trusted gives no added token. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const families[] = {"deepseek-llm", "deepseek-coder", "deepseek-v3", "qwen2",
                                       "llama-bpe",    "smollm",         "gpt-2",       "default"};
static const char *const added[] = {"<bos>", "<\xEF\xBD\x9CUser\xEF\xBD\x9C>", "a b"};
static hd_tokenizer *tokenizers[HD_ARRAY_LEN(families)];

static void want(bool holds)
{
    if (!holds) __builtin_trap();
}

/* 256 bytes, some pairs of letters and the added tokens. */
static hd_tokenizer *build(const char *family)
{
    hd_tokenizer *tok;
    bool nfc, whole, adds;
    int32_t id = 0;
    want(hd_tokenizer_new(&tok, NULL) == HD_OK);
    for (int b = 0; b < 256; b++) {
        uint8_t text[4];
        int len = hd_utf8_put(text, hd_bytelevel_char((uint8_t)b));
        want(hd_vocab_add(&tok->vocab, id++, (const char *)text, (size_t)len, 0, NULL) == HD_OK);
    }
    want(hd_bpe_init(&tok->bpe, 25, NULL) == HD_OK);
    for (char c = 'a'; c < 'z'; c++) {
        char pair[2] = {c, (char)(c + 1)};
        want(hd_vocab_add(&tok->vocab, id++, pair, 2, 0, NULL) == HD_OK);
        want(hd_bpe_add_merge(&tok->bpe, &tok->vocab, (uint32_t)c, (hd_str){pair, 1}, (hd_str){pair + 1, 1}, NULL) ==
             HD_OK);
    }
    hd_bpe_set_bytes(&tok->bpe, &tok->vocab);
    hd_str name = {family, strlen(family)};
    want(hd_pretokenizer_by_name(&tok->pre, name, &nfc, &whole, &adds, NULL) == HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(added); i++) {
        hd_added token = {.id = id++, .special = true, .single_word = i == 2};
        want(hd_tokenizer_add_token(tok, token, (hd_str){added[i], strlen(added[i])}, NULL) == HD_OK);
    }
    want(hd_tokenizer_finish(tok, NULL) == HD_OK);
    return tok;
}

static void check(const hd_tokenizer *tok, const char *text, size_t len, bool all, const uint8_t *trusted)
{
    hd_ids ids = {0};
    hd_buf joined;
    hd_buf_init(&joined, 1 << 24);
    want(hd_tokenizer_encode(tok, text, len, all, trusted, &ids, NULL) == HD_OK);
    for (size_t i = 0; i < ids.len; i++) {
        want(hd_tokenizer_piece(tok, ids.data[i], true, &joined) == HD_OK);
        want(all || trusted || !hd_tokenizer_is_special(tok, ids.data[i]));
    }
    want(joined.len == len && (len == 0 || memcmp(joined.data, text, len) == 0));
    hd_ids_free(&ids);
    hd_buf_free(&joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 4096) return 0;
    size_t pick = data[0] % HD_ARRAY_LEN(families);
    if (!tokenizers[pick]) tokenizers[pick] = build(families[pick]);
    const char *text = (const char *)data + 1;
    check(tokenizers[pick], text, size - 1, true, NULL);
    check(tokenizers[pick], text, size - 1, false, NULL);
    /* half of the bytes as text, half as their mask */
    check(tokenizers[pick], text, (size - 1) / 2, false, data + 1 + (size - 1) / 2);
    return 0;
}
