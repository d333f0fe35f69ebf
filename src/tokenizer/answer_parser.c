/* tokenizer/answer_parser.c: see answer_parser.h.
 *
 * `held` has the text that has not come out.  Stop strings are followed over every byte of the answer, markers
 * included, by the automaton of Knuth, Morris and Pratt (SIAM J. Comput. 6, 1977): its state is how many bytes at the
 * end of the text begin the stop string.  The stop string that is complete first counts; of several, the longest.
 */
#include "tokenizer/answer_parser.h"

#include <string.h>

#include "tokenizer/utf8.h"

typedef struct stop_string {
    char *text;
    size_t len;
    size_t *fallback; /* [len]: the longest border of text[0, i] */
    size_t state;     /* bytes of it at the end of the answer so far */
} stop_string;

/* MODE_START: nothing but white space came. */
typedef enum mode { MODE_START, MODE_REASONING, MODE_TEXT } mode;

typedef struct transition {
    hd_answer_marker marker;
    mode from, to;
    bool as_text; /* its text counts; else only its token does */
} transition;

static const transition transitions[] = {
    {HD_MARKER_THINK, MODE_START, MODE_REASONING, true},      {HD_MARKER_THINK, MODE_TEXT, MODE_REASONING, false},
    {HD_MARKER_THINK, MODE_REASONING, MODE_REASONING, false}, {HD_MARKER_END_THINK, MODE_REASONING, MODE_TEXT, true},
    {HD_MARKER_END_THINK, MODE_START, MODE_TEXT, false},      {HD_MARKER_END_THINK, MODE_TEXT, MODE_TEXT, false},
};

/* What a byte of `held` is: text, the first byte of a marker that came as a token (plus which one), or a later one. */
enum { BYTE_TEXT, BYTE_INSIDE, BYTE_MARKER };

struct hd_answer_parser {
    hd_answer_fn fn;
    void *arg;
    stop_string *stop;
    size_t stops;
    hd_buf held, what; /* bytes, and what each is */
    size_t scanned;    /* bytes of held that the stop strings have seen */
    mode mode;
    bool split, stopped;
    int stop_index; /* of the stop string that was seen; -1 */
};

const char *hd_answer_marker_text(hd_answer_marker marker)
{
    return marker == HD_MARKER_THINK ? "<think>" : "</think>";
}

/* ---- opening ---- */

static bool is_utf8(const char *text, size_t len)
{
    for (size_t pos = 0; pos < len;) {
        uint32_t cp;
        int step = hd_utf8_step((const uint8_t *)text + pos, len - pos, &cp);
        if (step <= 0) return false;
        pos += (size_t)step;
    }
    return true;
}

static hd_status open_stop(stop_string *s, const char *text, hd_error *err)
{
    s->len = strlen(text);
    if (s->len == 0) return hd_fail(err, HD_E_ARGUMENT, "a stop string is empty");
    if (s->len > HD_ANSWER_STOP_BYTES)
        return hd_fail(err, HD_E_LIMIT, "a stop string has %zu bytes, at most %d are allowed", s->len,
                       HD_ANSWER_STOP_BYTES);
    if (!is_utf8(text, s->len)) return hd_fail(err, HD_E_ARGUMENT, "a stop string is not UTF-8");
    s->text = hd_strndup(text, s->len);
    s->fallback = hd_alloc_array(s->len, sizeof *s->fallback);
    if (!s->text || !s->fallback) return hd_fail(err, HD_E_MEMORY, "out of memory for stop strings");
    s->fallback[0] = 0;
    for (size_t i = 1, border = 0; i < s->len; i++) {
        while (border > 0 && text[i] != text[border])
            border = s->fallback[border - 1];
        border += text[i] == text[border];
        s->fallback[i] = border;
    }
    return HD_OK;
}

static hd_status open_stops(hd_answer_parser *p, const hd_answer_parser_options *o, hd_error *err)
{
    if (o->stop_count > HD_ANSWER_STOPS)
        return hd_fail(err, HD_E_LIMIT, "%zu stop strings, at most %d are allowed", o->stop_count, HD_ANSWER_STOPS);
    p->stop = hd_calloc(o->stop_count, sizeof *p->stop);
    if (!p->stop) return hd_fail(err, HD_E_MEMORY, "out of memory for stop strings");
    p->stops = o->stop_count;
    for (size_t i = 0; i < p->stops; i++)
        HD_TRY(open_stop(&p->stop[i], o->stop[i], err));
    return HD_OK;
}

hd_status hd_answer_parser_open(hd_answer_parser **out, const hd_answer_parser_options *options, hd_answer_fn fn,
                                void *arg, hd_error *err)
{
    *out = NULL;
    hd_answer_parser *p = hd_calloc(1, sizeof *p);
    if (!p) return hd_fail(err, HD_E_MEMORY, "out of memory for an answer");
    p->fn = fn;
    p->arg = arg;
    p->split = options->split_reasoning;
    p->mode = !p->split ? MODE_TEXT : options->in_reasoning ? MODE_REASONING : MODE_START;
    hd_buf_init(&p->held, HD_ANSWER_PUSH);
    hd_buf_init(&p->what, HD_ANSWER_PUSH);
    p->stop_index = -1;
    hd_status status = open_stops(p, options, err);
    if (status != HD_OK) {
        hd_answer_parser_close(&p);
        return status;
    }
    *out = p;
    return HD_OK;
}

void hd_answer_parser_close(hd_answer_parser **parser)
{
    hd_answer_parser *p = *parser;
    if (!p) return;
    for (size_t i = 0; i < p->stops; i++) {
        hd_free(p->stop[i].text);
        hd_free(p->stop[i].fallback);
    }
    hd_free(p->stop);
    hd_buf_free(&p->held);
    hd_buf_free(&p->what);
    hd_free(p);
    *parser = NULL;
}

/* ---- stop strings ---- */

/* Shows one byte to a stop string; true when that completes it. */
static bool follow(stop_string *s, char c)
{
    while (s->state > 0 && s->text[s->state] != c)
        s->state = s->fallback[s->state - 1];
    s->state += s->text[s->state] == c;
    return s->state == s->len;
}

/* Follows the new bytes; a complete stop string cuts them off.  Returns the bytes that no stop string can claim. */
static size_t scan_stops(hd_answer_parser *p)
{
    size_t pending = 0;
    for (; p->scanned < p->held.len && !p->stopped; p->scanned++) {
        size_t longest = 0;
        for (size_t i = 0; i < p->stops; i++)
            if (follow(&p->stop[i], p->held.data[p->scanned]) && p->stop[i].len > longest) {
                longest = p->stop[i].len;
                p->stop_index = (int)i;
            }
        if (longest == 0) continue;
        p->stopped = true;
        p->held.len = p->scanned + 1 - longest;
    }
    if (p->stopped) return p->held.len;
    for (size_t i = 0; i < p->stops; i++)
        pending = HD_MAX(pending, p->stop[i].state);
    return p->held.len - pending;
}

/* ---- markers ---- */

typedef enum found { FOUND_NOTHING, FOUND_BEGINNING, FOUND_MARKER } found;

/* Whether held text at `pos` is the marker of `t`, or may become it. */
static found match(const hd_answer_parser *p, const transition *t, size_t pos)
{
    const char *text = hd_answer_marker_text(t->marker);
    size_t len = strlen(text), have = HD_MIN(len, p->held.len - pos);
    if (t->from != p->mode) return FOUND_NOTHING;
    if (p->what.data[pos] == BYTE_MARKER + (int)t->marker) return FOUND_MARKER;
    if (!t->as_text || p->what.data[pos] != BYTE_TEXT) return FOUND_NOTHING;
    if (memcmp(p->held.data + pos, text, have) != 0) return FOUND_NOTHING;
    for (size_t i = 0; i < have; i++)
        if (p->what.data[pos + i] != BYTE_TEXT) return FOUND_NOTHING;
    return have == len ? FOUND_MARKER : FOUND_BEGINNING;
}

static found find_marker(const hd_answer_parser *p, size_t pos, const transition **out)
{
    for (size_t i = 0; p->split && i < HD_ARRAY_LEN(transitions); i++) {
        *out = &transitions[i];
        found f = match(p, *out, pos);
        if (f != FOUND_NOTHING) return f;
    }
    return FOUND_NOTHING;
}

static void give(hd_answer_parser *p, size_t from, size_t to)
{
    if (to > from)
        p->fn(p->arg, p->mode == MODE_REASONING ? HD_ANSWER_REASONING : HD_ANSWER_TEXT, p->held.data + from, to - from);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Gives out all that is certain; with `last`, everything. */
static void process(hd_answer_parser *p, bool last)
{
    size_t safe = scan_stops(p), run = 0, pos = 0;
    last |= p->stopped;
    if (last) safe = p->held.len;
    while (pos < safe) {
        const transition *t = NULL;
        found f = find_marker(p, pos, &t);
        if (f == FOUND_BEGINNING && !last) break;
        if (f == FOUND_MARKER) {
            size_t end = pos + strlen(hd_answer_marker_text(t->marker));
            if (end > safe) break;
            give(p, run, pos);
            p->mode = t->to;
            run = pos = end;
            continue;
        }
        if (p->mode == MODE_START && !is_space(p->held.data[pos])) p->mode = MODE_TEXT;
        pos++;
    }
    give(p, run, pos);
    size_t rest = p->held.len - pos;
    memmove(p->held.data, p->held.data + pos, rest);
    memmove(p->what.data, p->what.data + pos, rest);
    p->held.len = p->what.len = rest;
    p->scanned = p->scanned > pos ? HD_MIN(p->scanned - pos, rest) : 0;
}

/* ---- pushing ---- */

static hd_status hold(hd_answer_parser *p, const char *data, size_t len, int first, int later, hd_error *err)
{
    if (hd_buf_append(&p->held, data, len) != HD_OK || hd_buf_reserve(&p->what, len) != HD_OK)
        return hd_fail(err, p->held.status != HD_OK ? p->held.status : p->what.status,
                       "no room for %zu bytes of an answer", len);
    memset(p->what.data + p->what.len, later, len);
    p->what.data[p->what.len] = (char)first;
    p->what.len += len;
    return HD_OK;
}

hd_status hd_answer_parser_push(hd_answer_parser *parser, const char *data, size_t len, hd_error *err)
{
    if (parser->stopped || len == 0) return HD_OK;
    HD_TRY(hold(parser, data, len, BYTE_TEXT, BYTE_TEXT, err));
    process(parser, false);
    return HD_OK;
}

hd_status hd_answer_parser_mark(hd_answer_parser *parser, hd_answer_marker marker, hd_error *err)
{
    const char *text = hd_answer_marker_text(marker);
    if (parser->stopped) return HD_OK;
    HD_TRY(hold(parser, text, strlen(text), BYTE_MARKER + (int)marker, BYTE_INSIDE, err));
    process(parser, false);
    return HD_OK;
}

hd_status hd_answer_parser_finish(hd_answer_parser *parser, hd_error *err)
{
    (void)err;
    if (!parser->stopped && parser->held.len) process(parser, true);
    return HD_OK;
}

bool hd_answer_parser_stopped(const hd_answer_parser *parser)
{
    return parser->stopped;
}

int hd_answer_parser_stop(const hd_answer_parser *parser)
{
    return parser->stop_index;
}
