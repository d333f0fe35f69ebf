/* decode.c: ids to text, whole or one by one.  Ids outside the vocabulary give nothing, as in the tokenizers library.
 *
 * The streaming decoder holds back the beginning of a character until its end comes; the whole-list decoder is the same
 * decoder, fed at once, so both give the same text. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/utf8.h"

/* Text of a token that is to be shown; NULL data for a gap of the vocabulary or a special token that is not. */
static hd_str shown_text(const hd_tokenizer *tok, int32_t id, bool show_special)
{
    if (!show_special && hd_tokenizer_is_special(tok, id)) return (hd_str){NULL, 0};
    return hd_vocab_text(&tok->vocab, id);
}

hd_status hd_tokenizer_piece(const hd_tokenizer *tok, int32_t id, bool show_special, hd_buf *out)
{
    if (id < 0 || id >= hd_tokenizer_vocab_size(tok)) return HD_E_ARGUMENT;
    hd_str text = shown_text(tok, id, show_special);
    bool bytes = hd_bytelevel_all(text);
    for (size_t at = 0; at < text.len;)
        HD_TRY(hd_buf_putc(out, (char)(bytes ? hd_bytelevel_next(text, &at) : (uint8_t)text.data[at++])));
    return HD_OK;
}

void hd_decoder_init(hd_decoder *d, const hd_tokenizer *tok, bool show_special)
{
    *d = (hd_decoder){.tok = tok, .show_special = show_special};
}

/* Takes one more byte: hands out what is now whole or certainly ill-formed. */
static hd_status take_byte(hd_decoder *d, uint8_t byte, hd_buf *out)
{
    d->held[d->held_len++] = byte;
    while (d->held_len > 0) {
        uint32_t cp;
        int step = hd_utf8_step(d->held, (size_t)d->held_len, &cp), n = step > 0 ? step : -step;
        if (step == 0) break;
        HD_TRY(step > 0 ? hd_buf_append(out, d->held, (size_t)n) : hd_buf_puts(out, HD_UTF8_REPLACEMENT));
        d->held_len -= n;
        memmove(d->held, d->held + n, (size_t)d->held_len);
    }
    return HD_OK;
}

hd_status hd_decoder_push(hd_decoder *d, int32_t id, hd_buf *out)
{
    hd_str text = shown_text(d->tok, id, d->show_special);
    bool bytes = hd_bytelevel_all(text);
    for (size_t at = 0; at < text.len;)
        HD_TRY(take_byte(d, bytes ? hd_bytelevel_next(text, &at) : (uint8_t)text.data[at++], out));
    return HD_OK;
}

hd_status hd_decoder_finish(hd_decoder *d, hd_buf *out)
{
    bool held = d->held_len > 0;
    d->held_len = 0;
    return held ? hd_buf_puts(out, HD_UTF8_REPLACEMENT) : HD_OK;
}

hd_status hd_tokenizer_decode(const hd_tokenizer *tok, const int32_t *ids, size_t n, bool show_special, hd_buf *out)
{
    hd_decoder d;
    hd_decoder_init(&d, tok, show_special);
    for (size_t i = 0; i < n; i++)
        HD_TRY(hd_decoder_push(&d, ids[i], out));
    return hd_decoder_finish(&d, out);
}
