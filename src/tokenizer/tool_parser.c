/* tokenizer/tool_parser.c: see tool_parser.h.
 *
 * `held` has the text that is not decided; each state has one step, which looks at held text from `pos` on and takes
 * bytes, or says that it must wait for more.  Patterns are matched from their beginning each time: they are short.
 */
#include "tokenizer/tool_parser.h"

#include <string.h>

#include "tokenizer/json_scan.h"
#include "tokenizer/template_internal.h"

#define DSML "｜DSML｜"
#define PARAMETER "<" DSML "parameter name=\""
#define PARAMETER_END "</" DSML "parameter>"
#define SEPARATOR "<｜tool▁sep｜>"

static const char not_json[] = "the arguments are not JSON";
static const char not_closed[] = "the call ended before its arguments did";
static const char no_end[] = "the answer ended within the call";
static const char bad_parameter[] = "something else than a parameter or the call's end follows";

typedef struct form {
    const char *before;            /* what the form puts between text and calls */
    const char *begin[2], *end[2]; /* of all calls together, in two spellings; NULL: none */
    const char *call, *call_end;   /* of one call */
    const char *close;             /* what may stand between the arguments' object and call_end */
    const char *token[8];          /* markers that may be tokens */
} form;

static const form forms[] = {
    [HD_TOOLS_NONE] = {0},
    [HD_TOOLS_DEEPSEEK] = {.before = "",
                           .begin = {"<｜tool▁calls▁begin｜>"},
                           .end = {"<｜tool▁calls▁end｜>"},
                           .call = "<｜tool▁call▁begin｜>",
                           .call_end = "<｜tool▁call▁end｜>",
                           .close = "```",
                           .token = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
                                     "<｜tool▁call▁end｜>", SEPARATOR}},
    [HD_TOOLS_QWEN] = {.before = "\n",
                       .call = "<tool_call>",
                       .call_end = "</tool_call>",
                       .close = "}",
                       .token = {"<tool_call>", "</tool_call>"}},
    [HD_TOOLS_DSML] = {.before = "\n\n",
                       .begin = {"<" DSML "tool_calls>", "<" DSML "function_calls>"},
                       .end = {"</" DSML "tool_calls>", "</" DSML "function_calls>"},
                       .call = "<" DSML "invoke name=\"",
                       .call_end = "</" DSML "invoke>",
                       .token = {DSML}},
};

typedef enum state {
    STATE_TEXT,
    STATE_JSON,       /* the arguments as one JSON text */
    STATE_TAIL,       /* behind their object */
    STATE_PARAMETERS, /* DSML: between parameters */
    STATE_STRING,     /* DSML: in a parameter with string="true" */
    STATE_VALUE,      /* DSML: in one with string="false" */
} state;

struct hd_tool_parser {
    const form *form;
    hd_tool_form which;
    hd_tool_fn fn;
    void *arg;
    hd_buf held;
    size_t run, pos; /* of held: [run, pos) is decided and of the state's kind */
    state state;
    size_t calls;
    bool last;       /* no more text comes */
    bool after_call; /* only white space since a call */
    bool in_block;   /* calls came, their common end did not */
    bool owes_end;   /* the last call ended without its end marker */
    bool broken;     /* the arguments are no JSON */
    bool members;    /* DSML: a parameter came */
    hd_json_scan scan;
};

/* ---- which form ---- */

static bool has_token(const hd_tokenizer *tok, const char *text)
{
    return hd_tokenizer_find(tok, text, strlen(text)) >= 0;
}

hd_tool_form hd_tool_form_of(const hd_tokenizer *tok)
{
    static const hd_tool_form order[] = {HD_TOOLS_DSML, HD_TOOLS_DEEPSEEK, HD_TOOLS_QWEN};
    const char *template = hd_tokenizer_chat_template(tok);
    for (size_t i = 0; template && i < HD_ARRAY_LEN(order); i++)
        if (strstr(template, order[i] == HD_TOOLS_DSML ? DSML : forms[order[i]].call)) return order[i];
    for (size_t i = 0; i < HD_ARRAY_LEN(order); i++)
        if (has_token(tok, order[i] == HD_TOOLS_DSML ? DSML : forms[order[i]].call)) return order[i];
    return HD_TOOLS_NONE;
}

const char *hd_tool_form_token(hd_tool_form which, size_t i)
{
    return i < HD_ARRAY_LEN(forms[which].token) ? forms[which].token[i] : NULL;
}

/* ---- opening ---- */

hd_status hd_tool_parser_open(hd_tool_parser **out, hd_tool_form which, hd_tool_fn fn, void *arg, hd_error *err)
{
    *out = NULL;
    hd_tool_parser *p = hd_calloc(1, sizeof *p);
    if (!p) return hd_fail(err, HD_E_MEMORY, "out of memory for tool calls");
    p->which = which;
    p->form = &forms[which];
    p->fn = fn;
    p->arg = arg;
    hd_buf_init(&p->held, HD_TOOL_PUSH + HD_TOOL_HELD);
    *out = p;
    return HD_OK;
}

void hd_tool_parser_close(hd_tool_parser **parser)
{
    if (!*parser) return;
    hd_buf_free(&(*parser)->held);
    hd_free(*parser);
    *parser = NULL;
}

/* ---- patterns ---- */

typedef enum found { FOUND_NOTHING, FOUND_BEGINNING, FOUND_ALL } found;

typedef struct cursor {
    const char *at, *end;
} cursor;

#define TRY_FOUND(call)                                                                                                \
    do {                                                                                                               \
        found f_ = (call);                                                                                             \
        if (f_ != FOUND_ALL) return f_;                                                                                \
    } while (0)

static found take(cursor *c, const char *text)
{
    size_t len = strlen(text), have = HD_MIN(len, (size_t)(c->end - c->at));
    if (memcmp(c->at, text, have) != 0) return FOUND_NOTHING;
    c->at += have;
    return have == len ? FOUND_ALL : FOUND_BEGINNING;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void take_space(cursor *c)
{
    for (int n = 0; n < HD_TOOL_SPACE && c->at < c->end && is_space(*c->at); n++)
        c->at++;
}

/* Text that may be there; at the end of what came it must be waited for. */
static found take_if(cursor *c, const char *text)
{
    cursor try = *c;
    found f = take(&try, text);
    if (f == FOUND_ALL) *c = try;
    return f == FOUND_BEGINNING ? f : FOUND_ALL;
}

static bool in_name(char c)
{
    return (unsigned char)c >= 0x20 && c != 0x7f && !strchr("<>\"\\", c);
}

static found take_name(cursor *c, hd_str *out)
{
    const char *begin = c->at;
    while (c->at < c->end && in_name(*c->at))
        if (++c->at - begin > HD_TOOL_NAME) return FOUND_NOTHING;
    *out = (hd_str){begin, (size_t)(c->at - begin)};
    if (c->at == c->end) return FOUND_BEGINNING;
    return out->len ? FOUND_ALL : FOUND_NOTHING;
}

/* The arguments' object begins here; its brace stays. */
static found see_object(cursor *c)
{
    take_space(c);
    cursor ahead = *c;
    return take(&ahead, "{");
}

/* NAME, separator, {   or   type, separator, NAME, ```json, { */
static found take_deepseek(cursor *c, hd_str *name)
{
    TRY_FOUND(take_name(c, name));
    TRY_FOUND(take(c, SEPARATOR));
    cursor bare = *c;
    found f = see_object(&bare);
    if (f == FOUND_ALL) *c = bare;
    if (f != FOUND_NOTHING) return f;
    TRY_FOUND(take_name(c, name));
    take_space(c);
    TRY_FOUND(take(c, "```json"));
    return see_object(c);
}

static found take_spaced(cursor *c, const char *text)
{
    take_space(c);
    return take(c, text);
}

/* {"name": "NAME", "arguments": {   ("parameters" in the dialect of Llama's descendants) */
static found take_qwen(cursor *c, hd_str *name)
{
    TRY_FOUND(take_spaced(c, "{"));
    TRY_FOUND(take_spaced(c, "\"name\""));
    TRY_FOUND(take_spaced(c, ":"));
    TRY_FOUND(take_spaced(c, "\""));
    TRY_FOUND(take_name(c, name));
    TRY_FOUND(take(c, "\""));
    TRY_FOUND(take_spaced(c, ","));
    TRY_FOUND(take_spaced(c, "\""));
    cursor other = *c;
    found f = take(c, "arguments\"");
    if (f == FOUND_NOTHING) {
        *c = other;
        f = take(c, "parameters\"");
    }
    TRY_FOUND(f);
    TRY_FOUND(take_spaced(c, ":"));
    return see_object(c);
}

static found take_head(const hd_tool_parser *p, cursor *c, const char *before, const char *begin, hd_str *name)
{
    TRY_FOUND(take(c, before));
    if (begin) {
        TRY_FOUND(take(c, begin));
        take_space(c);
    }
    TRY_FOUND(take(c, p->form->call));
    if (p->which == HD_TOOLS_DEEPSEEK) return take_deepseek(c, name);
    if (p->which == HD_TOOLS_QWEN) return take_qwen(c, name);
    TRY_FOUND(take_name(c, name));
    return take(c, "\">");
}

/* The head of a call, with or without what begins all calls and what stands before it. */
static found find_head(const hd_tool_parser *p, cursor from, cursor *after, hd_str *name)
{
    const char *before[] = {p->form->before, ""};
    const char *begin[] = {NULL, p->form->begin[0], p->form->begin[1]};
    found best = FOUND_NOTHING;
    for (size_t b = 0; b < HD_ARRAY_LEN(before); b++)
        for (size_t i = 0; i < HD_ARRAY_LEN(begin); i++) {
            if (i > 0 && !begin[i]) continue;
            *after = from;
            found f = take_head(p, after, before[b], begin[i], name);
            if (f == FOUND_ALL) return f;
            best = HD_MAX(best, f);
        }
    return best;
}

static found find_any(cursor from, const char *const *texts, size_t n, cursor *after, size_t *which)
{
    found best = FOUND_NOTHING;
    for (size_t i = 0; i < n; i++) {
        if (!texts[i]) continue;
        *after = from;
        found f = take(after, texts[i]);
        *which = i;
        if (f == FOUND_ALL) return f;
        best = HD_MAX(best, f);
    }
    return best;
}

/* ---- events ---- */

static void tell(hd_tool_parser *p, hd_tool_event_kind kind, const char *data, size_t len)
{
    size_t index = kind == HD_TOOL_TEXT ? p->calls : p->calls - 1;
    p->fn(p->arg, &(hd_tool_event){.kind = kind, .index = index, .data = data, .len = len});
}

/* Gives out what is decided. */
static void give(hd_tool_parser *p)
{
    if (p->pos > p->run)
        tell(p, p->state == STATE_TEXT ? HD_TOOL_TEXT : HD_TOOL_ARGUMENTS, p->held.data + p->run, p->pos - p->run);
    p->run = p->pos;
}

static void give_arguments(hd_tool_parser *p, const char *text)
{
    tell(p, HD_TOOL_ARGUMENTS, text, strlen(text));
}

/* Gives out what is decided and goes on behind `after` in `next`. */
static void move(hd_tool_parser *p, const char *after, state next)
{
    give(p);
    p->run = p->pos = (size_t)(after - p->held.data);
    p->state = next;
}

static void begin_call(hd_tool_parser *p, const char *after, hd_str name)
{
    move(p, after, p->which == HD_TOOLS_DSML ? STATE_PARAMETERS : STATE_JSON);
    p->calls++;
    p->after_call = p->owes_end = p->broken = p->members = false;
    p->in_block = true;
    hd_json_scan_begin(&p->scan);
    tell(p, HD_TOOL_BEGIN, name.data, name.len);
    if (p->which == HD_TOOLS_DSML) give_arguments(p, "{");
}

/* `wrong` NULL: the arguments are whole. */
static void end_call(hd_tool_parser *p, const char *after, const char *wrong, bool owes_end)
{
    move(p, after, STATE_TEXT);
    p->after_call = true;
    p->owes_end = owes_end;
    tell(p, HD_TOOL_END, wrong ? wrong : "", wrong ? strlen(wrong) : 0);
}

/* ---- steps: each takes bytes of held text, of which there are some, or returns false to wait for more ---- */

static bool waits(const hd_tool_parser *p, found f)
{
    return f == FOUND_BEGINNING && !p->last;
}

static cursor here(const hd_tool_parser *p)
{
    return (cursor){p->held.data + p->pos, p->held.data + p->held.len};
}

/* Ends that belong to calls behind them: of the block, and what a malformed call left over. */
static found find_left_over(const hd_tool_parser *p, cursor from, cursor *after, size_t *which)
{
    const char *ends[] = {p->in_block ? p->form->end[0] : NULL, p->in_block ? p->form->end[1] : NULL,
                          p->owes_end ? p->form->call_end : NULL,
                          p->owes_end && p->which == HD_TOOLS_DSML ? PARAMETER_END : NULL};
    return find_any(from, ends, HD_ARRAY_LEN(ends), after, which);
}

static bool step_text(hd_tool_parser *p)
{
    cursor from = here(p), after, head;
    hd_str name = {0};
    size_t which = 0;
    char c = *from.at;
    if (c != '<' && !is_space(c)) {
        p->after_call = false;
        p->pos++;
        return true;
    }
    if (p->after_call) take_space(&from);
    found end = find_left_over(p, from, &after, &which);
    if (end == FOUND_ALL) {
        move(p, after.at, STATE_TEXT);
        if (which < 2) p->in_block = p->owes_end = false;
        if (which == 2) p->owes_end = false;
        return true;
    }
    found f = find_head(p, from, &head, &name);
    if (f == FOUND_ALL) {
        begin_call(p, head.at, name);
        return true;
    }
    if (waits(p, HD_MAX(f, end))) return false;
    p->after_call = false;
    p->pos++;
    return true;
}

/* What ends arguments before their object is closed.  Outside of strings any marker of the form; a line break and the
 * call's end also inside, since no string of JSON has a line break. */
static found find_break(const hd_tool_parser *p, cursor *after, bool *is_end)
{
    const char *markers[] = {p->form->call_end, p->form->call, p->form->begin[0], p->form->end[0]};
    cursor from = here(p);
    size_t which = 0;
    *after = from;
    *is_end = true;
    if (*from.at == '\n') {
        TRY_FOUND(take(after, "\n"));
        if (p->which == HD_TOOLS_DEEPSEEK) TRY_FOUND(take_if(after, p->form->close));
        return take(after, p->form->call_end);
    }
    if (hd_json_scan_in_string(&p->scan)) return FOUND_NOTHING;
    found f = find_any(from, markers, HD_ARRAY_LEN(markers), after, &which);
    *is_end = which == 0;
    return f;
}

static bool step_json(hd_tool_parser *p)
{
    cursor from = here(p), after;
    bool is_end;
    if (*from.at == '<' || *from.at == '\n') {
        found f = find_break(p, &after, &is_end);
        if (waits(p, f)) return false;
        if (f == FOUND_ALL) {
            end_call(p, is_end ? after.at : from.at, p->broken ? not_json : not_closed, !is_end);
            return true;
        }
    }
    p->pos++;
    if (!p->broken && !hd_json_scan_push(&p->scan, *from.at)) p->broken = true;
    if (!p->broken && hd_json_scan_whole(&p->scan)) move(p, p->held.data + p->pos, STATE_TAIL);
    return true;
}

static found find_tail(const hd_tool_parser *p, cursor *c)
{
    take_space(c);
    TRY_FOUND(take_if(c, p->form->close));
    take_space(c);
    return take(c, p->form->call_end);
}

static bool step_tail(hd_tool_parser *p)
{
    cursor after = here(p);
    found f = find_tail(p, &after);
    if (waits(p, f)) return false;
    if (f == FOUND_ALL)
        end_call(p, after.at, NULL, false);
    else
        end_call(p, here(p).at, NULL, true);
    return true;
}

/* ---- DSML ---- */

/* Bytes as the inside of a JSON string. */
static void give_escaped(hd_tool_parser *p, const char *data, size_t len)
{
    size_t plain = 0;
    for (size_t i = 0; i < len; i++) {
        char escape[16];
        unsigned char c = (unsigned char)data[i];
        size_t n = c < 0x80 ? hd_python_json_escape(c, false, escape) : 0;
        if (n == 0) continue;
        if (i > plain) tell(p, HD_TOOL_ARGUMENTS, data + plain, i - plain);
        tell(p, HD_TOOL_ARGUMENTS, escape, n);
        plain = i + 1;
    }
    if (len > plain) tell(p, HD_TOOL_ARGUMENTS, data + plain, len - plain);
}

static found find_parameter(cursor *c, hd_str *name, bool *string)
{
    TRY_FOUND(take(c, PARAMETER));
    TRY_FOUND(take_name(c, name));
    TRY_FOUND(take(c, "\" string=\""));
    cursor other = *c;
    *string = true;
    found f = take(c, "true\">");
    if (f != FOUND_NOTHING) return f;
    *c = other;
    *string = false;
    return take(c, "false\">");
}

static bool step_parameters(hd_tool_parser *p)
{
    cursor from = here(p);
    take_space(&from);
    cursor after = from, end = from;
    hd_str name = {0};
    bool string = false;
    found f = find_parameter(&after, &name, &string), ends = take(&end, p->form->call_end);
    if (waits(p, HD_MAX(f, ends))) return false;
    if (ends == FOUND_ALL) {
        give_arguments(p, "}");
        end_call(p, end.at, NULL, false);
    } else if (f == FOUND_ALL) {
        give_arguments(p, p->members ? ", \"" : "\"");
        give_escaped(p, name.data, name.len);
        give_arguments(p, string ? "\": \"" : "\": ");
        p->members = true;
        hd_json_scan_begin(&p->scan);
        move(p, after.at, string ? STATE_STRING : STATE_VALUE);
    } else {
        end_call(p, here(p).at, p->last ? no_end : bad_parameter, true);
    }
    return true;
}

static bool step_string(hd_tool_parser *p)
{
    cursor from = here(p), after = from;
    found f = take(&after, PARAMETER_END);
    if (waits(p, f)) return false;
    if (f == FOUND_ALL) {
        give_arguments(p, "\"");
        move(p, after.at, STATE_PARAMETERS);
        return true;
    }
    const char *next = memchr(from.at + 1, '<', (size_t)(from.end - from.at - 1));
    if (!next) next = from.end;
    give_escaped(p, from.at, (size_t)(next - from.at));
    p->run = p->pos = (size_t)(next - p->held.data);
    return true;
}

/* A value that is no JSON ends the call where that shows, so that it can't add members to the object. */
static bool step_value(hd_tool_parser *p)
{
    cursor from = here(p), after = from;
    found f = hd_json_scan_in_string(&p->scan) ? FOUND_NOTHING : take(&after, PARAMETER_END);
    if (waits(p, f)) return false;
    if (f == FOUND_ALL && hd_json_scan_whole(&p->scan))
        move(p, after.at, STATE_PARAMETERS);
    else if (f == FOUND_ALL || !hd_json_scan_push(&p->scan, *from.at))
        end_call(p, from.at, not_json, true);
    else
        p->pos++;
    return true;
}

/* ---- pushing ---- */

static bool step(hd_tool_parser *p)
{
    switch (p->state) {
    case STATE_JSON: return step_json(p);
    case STATE_TAIL: return step_tail(p);
    case STATE_PARAMETERS: return step_parameters(p);
    case STATE_STRING: return step_string(p);
    case STATE_VALUE: return step_value(p);
    default: return step_text(p);
    }
}

static void process(hd_tool_parser *p)
{
    while (p->pos < p->held.len && step(p))
        ;
    give(p);
    size_t rest = p->held.len - p->pos;
    if (rest) memmove(p->held.data, p->held.data + p->pos, rest);
    p->held.len = rest;
    p->run = p->pos = 0;
}

hd_status hd_tool_parser_push(hd_tool_parser *parser, const char *data, size_t len, hd_error *err)
{
    hd_tool_parser *p = parser;
    if (len == 0) return HD_OK;
    if (p->which == HD_TOOLS_NONE) {
        tell(p, HD_TOOL_TEXT, data, len);
        return HD_OK;
    }
    hd_status status = hd_buf_append(&p->held, data, len);
    if (status != HD_OK) return hd_fail(err, status, "no room for %zu bytes of an answer", len);
    process(p);
    return HD_OK;
}

void hd_tool_parser_finish(hd_tool_parser *parser)
{
    hd_tool_parser *p = parser;
    p->last = true;
    process(p);
    if (p->state != STATE_TEXT)
        end_call(p, p->held.data, p->state == STATE_TAIL ? NULL : p->broken ? not_json : no_end, false);
    p->last = p->after_call = p->in_block = p->owes_end = false;
}

size_t hd_tool_parser_held(const hd_tool_parser *parser)
{
    return parser->held.len;
}
