/* lib/answer.c: one answer, token by token (include/hadal/chat.h): tokens to characters, characters to pieces.
 *
 * Characters go through the parser of reasoning and stop strings; what it gives as text goes on to that of tool calls.
 */
#include <string.h>

#include "lib/text_internal.h"

struct hd_answer {
    const hd_text *text;
    hd_decoder decoder;
    hd_answer_parser *parser;
    hd_tool_parser *tools;  /* NULL: calls are text */
    hd_status tools_status; /* of the first push that failed */
    hd_buf chars;           /* of the token being pushed */
    hd_piece_fn piece;
    void *arg;
    bool split, show_special;
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

/* ---- pieces ---- */

static void give_event(void *arg, const hd_tool_event *event)
{
    static const hd_piece_kind kinds[] = {[HD_TOOL_TEXT] = HD_PIECE_TEXT,
                                          [HD_TOOL_BEGIN] = HD_PIECE_TOOL_BEGIN,
                                          [HD_TOOL_ARGUMENTS] = HD_PIECE_TOOL_ARGUMENTS,
                                          [HD_TOOL_END] = HD_PIECE_TOOL_END};
    const hd_answer *answer = arg;
    answer->piece(answer->arg, kinds[event->kind], event->data, event->len);
}

static void give(void *arg, hd_answer_kind kind, const char *data, size_t len)
{
    hd_answer *answer = arg;
    bool reasoning = kind == HD_ANSWER_REASONING;
    if (answer->tools && !reasoning) {
        hd_status status = hd_tool_parser_push(answer->tools, data, len, NULL);
        if (answer->tools_status == HD_OK) answer->tools_status = status;
        return;
    }
    if (answer->tools) hd_tool_parser_finish(answer->tools);
    answer->piece(answer->arg, reasoning ? HD_PIECE_REASONING : HD_PIECE_TEXT, data, len);
}

/* ---- opening ---- */

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
    a->show_special = options->show_special;
    hd_decoder_init(&a->decoder, text->tok, options->show_special);
    hd_buf_init(&a->chars, HD_ANSWER_PUSH);
    hd_answer_parser_options o = {.stop = options->stop,
                                  .stop_count = options->stop_count,
                                  .split_reasoning = options->split_reasoning,
                                  .in_reasoning = options->in_reasoning};
    hd_status status = hd_answer_parser_open(&a->parser, &o, give, a, err);
    if (status == HD_OK && options->parse_tools && text->tools != HD_TOOLS_NONE)
        status = hd_tool_parser_open(&a->tools, text->tools, give_event, a, err);
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
    hd_tool_parser_close(&(*answer)->tools);
    hd_buf_free(&(*answer)->chars);
    hd_free(*answer);
    *answer = NULL;
}

/* ---- tokens ---- */

static hd_status tools_good(const hd_answer *a, hd_error *err)
{
    if (a->tools_status == HD_OK) return HD_OK;
    return hd_fail(err, a->tools_status, "no memory for the text of an answer");
}

static hd_status push_chars(hd_answer *a, hd_status status, hd_error *err)
{
    if (status != HD_OK) return hd_fail(err, status, "no memory for the text of a token");
    status = hd_answer_parser_push(a->parser, a->chars.data, a->chars.len, err);
    hd_buf_clear(&a->chars);
    return status == HD_OK ? tools_good(a, err) : status;
}

/* A marker ends the character that was under way. */
static hd_status push_marker(hd_answer *a, hd_answer_marker marker, hd_error *err)
{
    HD_TRY(push_chars(a, hd_decoder_finish(&a->decoder, &a->chars), err));
    HD_TRY(hd_answer_parser_mark(a->parser, marker, err));
    return tools_good(a, err);
}

/* The markers of tool calls are text for their parser, even where the tokenizer has them as special. */
static bool is_tool_marker(const hd_answer *a, int32_t id)
{
    const char *marker;
    if (!a->tools || !hd_tokenizer_is_special(a->text->tok, id)) return false;
    for (size_t i = 0; (marker = hd_tool_form_token(a->text->tools, i)); i++)
        if (hd_tokenizer_find(a->text->tok, marker, strlen(marker)) == id) return true;
    return false;
}

static hd_status push_token(hd_answer *a, int32_t id, hd_error *err)
{
    a->decoder.show_special = a->show_special || is_tool_marker(a, id);
    return push_chars(a, hd_decoder_push(&a->decoder, id, &a->chars), err);
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
        status = push_token(answer, id, err);
    *stopped = hd_answer_parser_stopped(answer->parser);
    return status;
}

int hd_answer_stop(const hd_answer *answer)
{
    return hd_answer_parser_stop(answer->parser);
}

hd_status hd_answer_finish(hd_answer *answer, hd_error *err)
{
    HD_TRY(push_chars(answer, hd_decoder_finish(&answer->decoder, &answer->chars), err));
    HD_TRY(hd_answer_parser_finish(answer->parser, err));
    if (answer->tools) hd_tool_parser_finish(answer->tools);
    return tools_good(answer, err);
}
