/* tokenizer/tokenizer.h: the door of the tokenizer room: text to ids and back.
 *
 * Byte-level BPE with the pre-tokenizers of the DeepSeek, Qwen, Llama 3 and SmolLM families, from tokenizer.json or
 * from GGUF metadata.  A tokenizer is immutable after opening: encoding and decoding from several threads is fine.
 */
#ifndef HD_TOKENIZER_H
#define HD_TOKENIZER_H

#include "base/base.h"
#include "formats/formats.h"

typedef struct hd_tokenizer hd_tokenizer;

/* `path`: a tokenizer.json, a folder that holds one (tokenizer_config.json, generation_config.json and
 * chat_template.jinja beside it are read too), or a GGUF file.  For a folder with only a GGUF file, that.
 * Errors: HD_E_NOT_FOUND, HD_E_FORMAT, HD_E_UNSUPPORTED (names the part), HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_tokenizer_open(hd_tokenizer **out, const char *path, hd_error *err);

/* From an open GGUF checkpoint; `ckpt` may be closed afterwards. */
hd_status hd_tokenizer_open_gguf(hd_tokenizer **out, const hd_checkpoint *ckpt, hd_error *err);
void hd_tokenizer_close(hd_tokenizer **tok);

/* ---- facts ---- */
int32_t hd_tokenizer_vocab_size(const hd_tokenizer *tok); /* highest id + 1 */
int32_t hd_tokenizer_bos(const hd_tokenizer *tok);        /* -1: none */
bool hd_tokenizer_adds_bos(const hd_tokenizer *tok);      /* the model expects bos before a bare prompt */
/* End-of-text ids known to the tokenizer (eos, and end-of-turn tokens such as <|im_end|>, <|eot_id|>). */
const int32_t *hd_tokenizer_eos(const hd_tokenizer *tok, size_t *count);
/* The model's chat template (Jinja), or NULL; and the strings of bos and eos ("" if none). */
const char *hd_tokenizer_chat_template(const hd_tokenizer *tok);
const char *hd_tokenizer_bos_text(const hd_tokenizer *tok);
const char *hd_tokenizer_eos_text(const hd_tokenizer *tok);
/* True when the vocabulary has V4's markers and no template: the published V4 encoding applies. */
bool hd_tokenizer_is_v4(const hd_tokenizer *tok);
int32_t hd_tokenizer_find(const hd_tokenizer *tok, const char *text, size_t len); /* id of an added token's text; -1 */
bool hd_tokenizer_is_special(const hd_tokenizer *tok, int32_t id);

int32_t hd_tokenizer_pad(const hd_tokenizer *tok); /* -1: none */

/* ---- writing it down ---- */

/* Adds the keys tokenizer.* of a GGUF file, which point into `tok`.  Ids below `vocab` (the embedding's rows) without a
 * token get a placeholder.  Errors: HD_E_UNSUPPORTED (no name of tokenizer.ggml.pre stands for this pre-tokenizer),
 * HD_E_FORMAT (tokens beyond `vocab`), HD_E_MEMORY. */
hd_status hd_tokenizer_to_gguf(const hd_tokenizer *tok, size_t vocab, hd_meta_list *list, hd_error *err);

/* tokenizer.json and tokenizer_config.json; the caller releases them.  `context` becomes model_max_length.  Errors as
 * above. */
hd_status hd_tokenizer_to_json(json_t **tokenizer, json_t **config, const hd_tokenizer *tok, int64_t context,
                               hd_error *err);

/* ---- encoding ---- */
typedef struct hd_ids { /* growable list of ids; zero-initialize, free with hd_ids_free */
    int32_t *data;
    size_t len, cap;
} hd_ids;
void hd_ids_free(hd_ids *ids);
hd_status hd_ids_push(hd_ids *ids, int32_t id);

/* Appends the ids of text[len] (UTF-8; bytes that are not are kept through byte tokens).  Added tokens are recognised
 * only where every byte of them is trusted: `trusted` NULL and all_trusted true: everywhere; else trusted[i] != 0 says
 * so byte by byte.  Nothing is added in front or behind.  Errors: HD_E_MEMORY, HD_E_LIMIT (too long, or the match
 * limit). */
hd_status hd_tokenizer_encode(const hd_tokenizer *tok, const char *text, size_t len, bool all_trusted,
                              const uint8_t *trusted, hd_ids *out, hd_error *err);

/* ---- decoding ---- */
/* Appends the bytes of one id (raw, maybe half a character).  Special tokens give nothing unless show_special.
 * HD_E_ARGUMENT for an id outside the vocabulary. */
hd_status hd_tokenizer_piece(const hd_tokenizer *tok, int32_t id, bool show_special, hd_buf *out);

/* Decodes a whole list; invalid UTF-8 becomes U+FFFD and ids outside the vocabulary give nothing, as in the tokenizers
 * library. */
hd_status hd_tokenizer_decode(const hd_tokenizer *tok, const int32_t *ids, size_t n, bool show_special, hd_buf *out);

/* Streaming: push ids one by one; only whole characters come out, the rest waits (at most 3 bytes).  All that comes out
 * together is what hd_tokenizer_decode gives.  A decoder is one thread's. */
typedef struct hd_decoder {
    const hd_tokenizer *tok;
    bool show_special;
    uint8_t held[4];
    int held_len;
} hd_decoder;
void hd_decoder_init(hd_decoder *d, const hd_tokenizer *tok, bool show_special);
hd_status hd_decoder_push(hd_decoder *d, int32_t id, hd_buf *out);
hd_status hd_decoder_finish(hd_decoder *d, hd_buf *out); /* what is held becomes U+FFFD */

#endif
