/* lib/answer.c: one answer, token by token (include/hadal/chat.h): tokens to characters, characters to pieces. */
#include <string.h>

#include "lib/text_internal.h"

struct hd_answer {
    const hd_text *text;
    hd_decoder decoder;
    hd_answer_parser *parser;
    hd_buf chars; /* of the token being pushed */
    hd_piece_fn piece;
    void *arg;
    bool split;
};

/* Without tokens for the markers their text must end the prompt: elsewhere it may be a user's. */
static bool ends_with_marker(const hd_text *text, const int32_t *ids, size_t count)
{
    const size_t tail = 32; /* tokens: more than a marker and white space behind it take */
    const char *marker = hd_answer_marker_text(HD_MARKER_THINK);
    hd_buf buf;
    hd_buf_init(&buf, 1 << 20);
    size_t n = HD_MIN(count, tail), len = 0;
    if (hd_tokenizer_decode(text->tok, ids + (count - n), n, true, &buf) == HD_OK) len = buf.len;
    while (len > 0 && strchr(" \n\r\t", buf.data[len - 1]))
        len--;
    bool opens = len >= strlen(marker) && memcmp(buf.data + len - strlen(marker), marker, strlen(marker)) == 0;
    hd_buf_free(&buf);
    return opens;
}

bool hd_text_prompt_opens_reasoning(const hd_text *text, const int32_t *ids, size_t count)
{
    if (text->think < 0) return ends_with_marker(text, ids, count);
    for (size_t i = count; i-- > 0;) {
        if (ids[i] == text->think) return true;
        if (ids[i] == text->end_think) return false;
    }
    return false;
}

static void give(void *arg, hd_answer_kind kind, const char *data, size_t len)
{
    const hd_answer *answer = arg;
    answer->piece(answer->arg, kind == HD_ANSWER_REASONING ? HD_PIECE_REASONING : HD_PIECE_TEXT, data, len);
}

hd_status hd_answer_open(hd_answer **out, const hd_text *text, const hd_answer_options *options, hd_piece_fn piece,
                         void *arg, hd_error *err)
{
    *out = NULL;
    hd_answer *a = hd_calloc(1, sizeof *a);
    if (!a) return hd_fail(err, HD_E_MEMORY, "out of memory for an answer");
    a->text = text;
    a->piece = piece;
    a->arg = arg;
    a->split = options->split_reasoning;
    hd_decoder_init(&a->decoder, text->tok, options->show_special);
    hd_buf_init(&a->chars, HD_ANSWER_PUSH);
    hd_answer_parser_options o = {.stop = options->stop,
                                  .stop_count = options->stop_count,
                                  .split_reasoning = options->split_reasoning,
                                  .in_reasoning = options->in_reasoning};
    hd_status status = hd_answer_parser_open(&a->parser, &o, give, a, err);
    if (status != HD_OK) {
        hd_answer_close(&a);
        return status;
    }
    *out = a;
    return HD_OK;
}

void hd_answer_close(hd_answer **answer)
{
    if (!*answer) return;
    hd_answer_parser_close(&(*answer)->parser);
    hd_buf_free(&(*answer)->chars);
    hd_free(*answer);
    *answer = NULL;
}

static hd_status push_chars(hd_answer *a, hd_status status, hd_error *err)
{
    if (status != HD_OK) return hd_fail(err, status, "no memory for the text of a token");
    status = hd_answer_parser_push(a->parser, a->chars.data, a->chars.len, err);
    hd_buf_clear(&a->chars);
    return status;
}

/* A marker ends the character that was under way. */
static hd_status push_marker(hd_answer *a, hd_answer_marker marker, hd_error *err)
{
    HD_TRY(push_chars(a, hd_decoder_finish(&a->decoder, &a->chars), err));
    return hd_answer_parser_mark(a->parser, marker, err);
}

hd_status hd_answer_push(hd_answer *answer, int32_t id, bool *stopped, hd_error *err)
{
    hd_status status;
    *stopped = hd_answer_parser_stopped(answer->parser);
    if (id < 0) return hd_fail(err, HD_E_ARGUMENT, "id %d is no token", id);
    if (id >= hd_text_vocab(answer->text)) return HD_OK; /* models have rows beyond their tokenizer: no text */
    if (answer->split && id == answer->text->think)
        status = push_marker(answer, HD_MARKER_THINK, err);
    else if (answer->split && id == answer->text->end_think)
        status = push_marker(answer, HD_MARKER_END_THINK, err);
    else
        status = push_chars(answer, hd_decoder_push(&answer->decoder, id, &answer->chars), err);
    *stopped = hd_answer_parser_stopped(answer->parser);
    return status;
}

hd_status hd_answer_finish(hd_answer *answer, hd_error *err)
{
    HD_TRY(push_chars(answer, hd_decoder_finish(&answer->decoder, &answer->chars), err));
    return hd_answer_parser_finish(answer->parser, err);
}
