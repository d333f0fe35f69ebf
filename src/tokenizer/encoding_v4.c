/* tokenizer/encoding_v4.c: DeepSeek-V4's chat prompt, which has no template.
 *
 * Written from the behaviour of encoding_dsv4.py of the release: for every conversation of strings, nulls and tool
 * calls that it encodes, the text here is equal.  Where it raises an exception, this gives an error that names the
 * message, or takes the obvious meaning: null content is empty, content in parts is their texts.
 *
 * Two passes: `collect` turns messages into turns (tool results become blocks of a user turn, in the order of the calls
 * that they answer), `put_turn` writes one turn.  Markers are trusted; every byte of a request is not.
 */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/template_internal.h"

#define BOS "<｜begin▁of▁sentence｜>"
#define EOS "<｜end▁of▁sentence｜>"
#define USER "<｜User｜>"
#define ASSISTANT "<｜Assistant｜>"
#define REMINDER "<｜latest_reminder｜>"
#define THINK "<think>"
#define END_THINK "</think>"
#define DSML "｜DSML｜"
#define JSON_DEPTH 512 /* nested arrays and objects of schemas and arguments */

static const char effort_max[] =
    "Reasoning Effort: Absolute maximum with no shortcuts permitted.\n"
    "You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve the root cause, "
    "rigorously stress-testing your logic against all potential paths, edge cases, and adversarial scenarios.\n"
    "Explicitly write out your entire deliberation process, documenting every intermediate step, considered "
    "alternative, "
    "and rejected hypothesis to ensure absolutely no assumption is left unchecked.\n\n";

static const char tools_head[] =
    "## Tools\n\nYou have access to a set of tools to help answer the user's question. You can invoke tools by writing "
    "a "
    "\"<" DSML "tool_calls>\" block like the following:\n\n"
    "<" DSML "tool_calls>\n"
    "<" DSML "invoke name=\"$TOOL_NAME\">\n"
    "<" DSML "parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</" DSML "parameter>\n"
    "...\n"
    "</" DSML "invoke>\n"
    "<" DSML "invoke name=\"$TOOL_NAME2\">\n"
    "...\n"
    "</" DSML "invoke>\n"
    "</" DSML "tool_calls>\n\n"
    "String parameters should be specified as is and set `string=\"true\"`. For all other types (numbers, booleans, "
    "arrays, objects), pass the value in JSON format and set `string=\"false\"`.\n\n"
    "If thinking_mode is enabled (triggered by " THINK "), you MUST output your complete reasoning inside " THINK
    "..." END_THINK " BEFORE any tool calls or final response.\n\n"
    "Otherwise, output directly after " END_THINK " with tool calls or final response.\n\n"
    "### Available Tool Schemas\n\n";

static const char tools_tail[] =
    "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n";

static const char schema_head[] = "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

typedef enum v4_role {
    ROLE_SYSTEM,
    ROLE_DEVELOPER,
    ROLE_USER,
    ROLE_ASSISTANT,
    ROLE_REMINDER,
    ROLE_TOOL,
    ROLE_COUNT
} v4_role;

static const char *const role_names[] = {"system", "developer", "user", "assistant", "latest_reminder", "tool"};

/* A part of a user turn: the content of a user message, or a tool's result. */
typedef struct v4_block {
    const json_t *content; /* NULL: empty */
    size_t message;        /* that it came from, for errors */
    bool is_result;
    size_t order; /* of a result: the position of its call in the assistant's turn */
} v4_block;

typedef struct v4_turn {
    v4_role role;
    const json_t *source; /* NULL: made of tool results, or for tools alone */
    const json_t *tools;  /* NULL: none */
    size_t message;
    v4_block *block; /* of a user turn; owned */
    size_t blocks, cap;
} v4_turn;

typedef struct v4 {
    hd_rendered *out;
    hd_error *err;
    v4_turn *turn; /* context first, then messages */
    size_t turns, cap;
    size_t context;     /* turns of the context */
    json_t *call_order; /* id of a tool call: its position among the last ones that were made; owned */
    bool thinking, drop_thinking, max_effort;
    bool open_answer;  /* the last user turn opens the assistant's */
    int64_t last_user; /* -1: none */
} v4;

/* ---- JSON as Python sees it ---- */

static bool is_true(const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT: return json_object_size(v) > 0;
    case JSON_ARRAY: return json_array_size(v) > 0;
    case JSON_STRING: return json_string_length(v) > 0;
    case JSON_INTEGER: return json_integer_value(v) != 0;
    case JSON_REAL: return json_real_value(v) != 0;
    default: return json_is_true(v);
    }
}

static const json_t *member(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_null(v) ? NULL : v;
}

static bool is_text(const json_t *v, const char *text)
{
    return json_is_string(v) && strcmp(json_string_value(v), text) == 0;
}

static hd_status bad(v4 *e, size_t message, const char *what)
{
    return hd_fail(e->err, HD_E_ARGUMENT, "message %zu of the conversation: %s", message, what);
}

/* ---- output ---- */

static hd_status put(v4 *e, const char *data, size_t len, bool trusted)
{
    hd_buf *text = &e->out->text, *map = &e->out->trusted;
    if (hd_buf_append(text, data, len) == HD_OK && hd_buf_reserve(map, len) == HD_OK) {
        if (len) memset(map->data + map->len, trusted, len);
        map->len += len;
        return HD_OK;
    }
    hd_status status = text->status != HD_OK ? text->status : map->status;
    return hd_fail(e->err, status,
                   status == HD_E_LIMIT ? "the prompt is longer than %u bytes"
                                        : "out of memory for the prompt (at most %u bytes)",
                   HD_TEMPLATE_BYTES);
}

static hd_status puts_trusted(v4 *e, const char *text)
{
    return put(e, text, strlen(text), true);
}

static hd_status put_json_string(v4 *e, const char *data, size_t len)
{
    size_t plain = 0;
    HD_TRY(put(e, "\"", 1, false));
    for (size_t pos = 0, size; pos < len; pos += size) {
        char escape[16];
        size_t n = hd_python_json_escape(hd_utf8_read(data + pos, len - pos, &size), false, escape);
        if (n == 0) continue;
        HD_TRY(put(e, data + plain, pos - plain, false));
        HD_TRY(put(e, escape, n, false));
        plain = pos + size;
    }
    HD_TRY(put(e, data + plain, len - plain, false));
    return put(e, "\"", 1, false);
}

static hd_status put_json(v4 *e, const json_t *v, int depth);

static hd_status put_json_object(v4 *e, const json_t *v, int depth)
{
    json_t *object = (json_t *)(uintptr_t)v; /* jansson's iterators do not change it */
    bool first = true;
    HD_TRY(put(e, "{", 1, false));
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        const char *key = json_object_iter_key(it);
        if (!first) HD_TRY(put(e, ", ", 2, false));
        first = false;
        HD_TRY(put_json_string(e, key, strlen(key)));
        HD_TRY(put(e, ": ", 2, false));
        HD_TRY(put_json(e, json_object_iter_value(it), depth + 1));
    }
    return put(e, "}", 1, false);
}

static hd_status put_json_array(v4 *e, const json_t *v, int depth)
{
    HD_TRY(put(e, "[", 1, false));
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i) HD_TRY(put(e, ", ", 2, false));
        HD_TRY(put_json(e, json_array_get(v, i), depth + 1));
    }
    return put(e, "]", 1, false);
}

/* json.dumps(v, ensure_ascii=False) */
static hd_status put_json(v4 *e, const json_t *v, int depth)
{
    char number[HD_PYTHON_FLOAT];
    if (depth > JSON_DEPTH)
        return hd_fail(e->err, HD_E_LIMIT, "a schema or tool call nests deeper than %d", JSON_DEPTH);
    switch (json_typeof(v)) {
    case JSON_OBJECT: return put_json_object(e, v, depth);
    case JSON_ARRAY: return put_json_array(e, v, depth);
    case JSON_STRING: return put_json_string(e, json_string_value(v), json_string_length(v));
    case JSON_INTEGER: snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
    case JSON_REAL: hd_python_float(json_real_value(v), number); break;
    case JSON_TRUE: return put(e, "true", 4, false);
    case JSON_FALSE: return put(e, "false", 5, false);
    case JSON_NULL: return put(e, "null", 4, false);
    }
    return put(e, number, strlen(number), false);
}

/* ---- content ---- */

static hd_status put_part(v4 *e, const json_t *part, size_t message)
{
    const json_t *text = member(part, "text"), *type = member(part, "type");
    if (json_is_string(part)) return put(e, json_string_value(part), json_string_length(part), false);
    if (!json_is_object(part)) return bad(e, message, "a part of content must be an object with a type");
    if (!is_text(type, "text")) {
        HD_TRY(put(e, "[Unsupported ", 13, false));
        if (json_is_string(type)) HD_TRY(put(e, json_string_value(type), json_string_length(type), false));
        return put(e, "]", 1, false);
    }
    if (text && !json_is_string(text)) return bad(e, message, "the text of a part must be a string");
    return text ? put(e, json_string_value(text), json_string_length(text), false) : HD_OK;
}

static hd_status put_content(v4 *e, const json_t *content, size_t message)
{
    if (!content || json_is_null(content)) return HD_OK;
    if (json_is_string(content)) return put(e, json_string_value(content), json_string_length(content), false);
    if (!json_is_array(content)) return bad(e, message, "content must be a string, or a list of parts");
    for (size_t i = 0; i < json_array_size(content); i++) {
        if (i) HD_TRY(puts_trusted(e, "\n\n"));
        HD_TRY(put_part(e, json_array_get(content, i), message));
    }
    return HD_OK;
}

/* ---- first pass: messages into turns ---- */

static hd_status grow(v4 *e, void **items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) return HD_OK;
    size_t more = *cap ? *cap * 2 : 8;
    void *grown = hd_realloc_array(*items, more, size);
    if (!grown) return hd_fail(e->err, HD_E_MEMORY, "out of memory for a conversation");
    *items = grown;
    *cap = more;
    return HD_OK;
}

static hd_status add_turn(v4 *e, v4_turn turn, v4_turn **out)
{
    HD_TRY(grow(e, (void **)&e->turn, e->turns, &e->cap, sizeof *e->turn));
    *out = &e->turn[e->turns++];
    **out = turn;
    return HD_OK;
}

static hd_status add_block(v4 *e, v4_turn *turn, v4_block block)
{
    HD_TRY(grow(e, (void **)&turn->block, turn->blocks, &turn->cap, sizeof *turn->block));
    turn->block[turn->blocks++] = block;
    return HD_OK;
}

static hd_status read_role(v4 *e, const json_t *message, size_t index, v4_role *out)
{
    const json_t *role = member(message, "role");
    if (!json_is_object(message)) return bad(e, index, "it must be an object with a role");
    for (int i = 0; i < ROLE_COUNT; i++)
        if (is_text(role, role_names[i])) return *out = (v4_role)i, HD_OK;
    return bad(e, index, "its role must be system, developer, user, assistant, tool or latest_reminder");
}

/* Remembers the ids of an assistant's tool calls with their positions; of equal ids the last counts. */
static hd_status remember_calls(v4 *e, const json_t *message)
{
    const json_t *calls = member(message, "tool_calls");
    if (!is_true(calls)) return HD_OK;
    json_decref(e->call_order);
    e->call_order = json_object();
    bool stored = e->call_order != NULL;
    for (size_t i = 0; stored && i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i), *id = member(call, "id");
        if (!is_true(id)) id = member(member(call, "function"), "id");
        if (json_is_string(id))
            stored = json_object_setn_new(e->call_order, json_string_value(id), json_string_length(id),
                                          json_integer((json_int_t)i)) == 0;
    }
    return stored ? HD_OK : hd_fail(e->err, HD_E_MEMORY, "out of memory for a conversation");
}

/* The position of the call that a tool message answers; 0 when it names none. */
static size_t call_order(const v4 *e, const json_t *message)
{
    const json_t *id = member(message, "tool_call_id");
    if (!json_is_string(id)) return 0;
    return (size_t)json_integer_value(json_object_getn(e->call_order, json_string_value(id), json_string_length(id)));
}

/* Whether a user message or tool result joins the turn before it, within the messages that begin at turn `begin`. */
static bool joins_last(const v4 *e, size_t begin, v4_role role)
{
    const v4_turn *last = e->turns > begin ? &e->turn[e->turns - 1] : NULL;
    if (!last || last->role != ROLE_USER) return false;
    return role == ROLE_TOOL || !member(last->source, "task");
}

static hd_status collect_message(v4 *e, const json_t *message, size_t index, size_t begin)
{
    v4_role role = ROLE_USER;
    HD_TRY(read_role(e, message, index, &role));
    v4_turn turn = {.role = role, .source = message, .message = index, .tools = member(message, "tools")};
    v4_turn *into = NULL;
    if (role != ROLE_USER && role != ROLE_TOOL) {
        if (!is_true(turn.tools)) turn.tools = NULL;
        if (role == ROLE_ASSISTANT) HD_TRY(remember_calls(e, message));
        return add_turn(e, turn, &into);
    }
    v4_block block = {.content = member(message, "content"), .message = index, .is_result = role == ROLE_TOOL};
    if (block.is_result) block.order = call_order(e, message);
    if (joins_last(e, begin, role)) return add_block(e, &e->turn[e->turns - 1], block);
    turn.role = ROLE_USER;
    turn.tools = NULL;
    if (block.is_result) turn.source = NULL;
    HD_TRY(add_turn(e, turn, &into));
    return add_block(e, into, block);
}

static int compare_results(const void *a, const void *b)
{
    const v4_block *x = a, *y = b;
    if (x->order != y->order) return x->order < y->order ? -1 : 1;
    return (x->message > y->message) - (x->message < y->message);
}

/* Sorts the results of a turn by their calls; other blocks stay where they are. */
static hd_status sort_results(v4 *e, v4_turn *turn)
{
    size_t n = 0, next = 0;
    v4_block *result = hd_alloc_array(turn->blocks, sizeof *result);
    if (!result) return hd_fail(e->err, HD_E_MEMORY, "out of memory for a conversation");
    for (size_t i = 0; i < turn->blocks; i++)
        if (turn->block[i].is_result) result[n++] = turn->block[i];
    qsort(result, n, sizeof *result, compare_results);
    for (size_t i = 0; i < turn->blocks; i++)
        if (turn->block[i].is_result) turn->block[i] = result[next++];
    hd_free(result);
    return HD_OK;
}

static hd_status collect(v4 *e, const json_t *messages, const char *what)
{
    size_t begin = e->turns;
    if (!messages) return HD_OK;
    if (!json_is_array(messages)) return hd_fail(e->err, HD_E_ARGUMENT, "%s must be a list", what);
    for (size_t i = 0; i < json_array_size(messages); i++)
        HD_TRY(collect_message(e, json_array_get(messages, i), i, begin));
    for (size_t i = begin; i < e->turns; i++)
        if (e->turn[i].role == ROLE_USER) HD_TRY(sort_results(e, &e->turn[i]));
    return HD_OK;
}

/* Tools that the request names beside its messages go to the first system turn; without one, to a new one in front. */
static hd_status attach_tools(v4 *e, const json_t *tools)
{
    v4_turn *added = NULL;
    if (!is_true(tools)) return HD_OK;
    for (size_t i = 0; i < e->turns; i++)
        if (e->turn[i].tools) return HD_OK;
    for (size_t i = 0; i < e->turns; i++)
        if (e->turn[i].role == ROLE_SYSTEM) return e->turn[i].tools = tools, HD_OK;
    HD_TRY(add_turn(e, (v4_turn){.role = ROLE_SYSTEM, .tools = tools}, &added));
    v4_turn last = *added;
    memmove(e->turn + 1, e->turn, (e->turns - 1) * sizeof *e->turn);
    e->turn[0] = last;
    if (e->context) e->context++;
    return HD_OK;
}

/* ---- second pass: turns into text ---- */

static hd_status put_tools(v4 *e, const v4_turn *turn)
{
    if (!turn->tools) return HD_OK;
    if (!json_is_array(turn->tools)) return bad(e, turn->message, "tools must be a list");
    HD_TRY(puts_trusted(e, "\n\n"));
    HD_TRY(puts_trusted(e, tools_head));
    for (size_t i = 0; i < json_array_size(turn->tools); i++) {
        const json_t *tool = json_array_get(turn->tools, i), *function = json_object_get(tool, "function");
        if (i) HD_TRY(puts_trusted(e, "\n"));
        HD_TRY(put_json(e, function ? function : tool, 0));
    }
    return puts_trusted(e, tools_tail);
}

static hd_status put_response_format(v4 *e, const v4_turn *turn)
{
    const json_t *format = member(turn->source, "response_format");
    if (!is_true(format)) return HD_OK;
    HD_TRY(puts_trusted(e, "\n\n"));
    HD_TRY(puts_trusted(e, schema_head));
    return put_json(e, format, 0);
}

static hd_status put_instructions(v4 *e, const v4_turn *turn)
{
    const json_t *content = member(turn->source, "content");
    if (turn->role == ROLE_DEVELOPER) {
        if (!is_true(content)) return bad(e, turn->message, "a developer's message needs content");
        HD_TRY(puts_trusted(e, USER));
    }
    HD_TRY(put_content(e, content, turn->message));
    HD_TRY(put_tools(e, turn));
    return put_response_format(e, turn);
}

static hd_status put_user(v4 *e, const v4_turn *turn)
{
    HD_TRY(puts_trusted(e, USER));
    for (size_t i = 0; i < turn->blocks; i++) {
        const v4_block *block = &turn->block[i];
        if (i) HD_TRY(puts_trusted(e, "\n\n"));
        if (block->is_result) HD_TRY(puts_trusted(e, "<tool_result>"));
        HD_TRY(put_content(e, block->content, block->message));
        if (block->is_result) HD_TRY(puts_trusted(e, "</tool_result>"));
    }
    return HD_OK;
}

static hd_status put_parameter(v4 *e, const char *key, const json_t *value)
{
    HD_TRY(puts_trusted(e, "<" DSML "parameter name=\""));
    HD_TRY(put(e, key, strlen(key), false));
    HD_TRY(puts_trusted(e, json_is_string(value) ? "\" string=\"true\">" : "\" string=\"false\">"));
    HD_TRY(json_is_string(value) ? put(e, json_string_value(value), json_string_length(value), false)
                                 : put_json(e, value, 0));
    return puts_trusted(e, "</" DSML "parameter>");
}

/* Arguments are a JSON object in a string; what is none is passed on as one parameter named arguments. */
static hd_status put_arguments(v4 *e, const json_t *arguments)
{
    json_t *object = NULL;
    hd_status status = HD_OK;
    bool first = true;
    if (json_is_string(arguments))
        object = json_loadb(json_string_value(arguments), json_string_length(arguments),
                            JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!json_is_object(object)) {
        json_decref(object);
        return put_parameter(e, "arguments", arguments);
    }
    for (void *it = json_object_iter(object); it && status == HD_OK; it = json_object_iter_next(object, it)) {
        if (!first) status = puts_trusted(e, "\n");
        first = false;
        if (status == HD_OK) status = put_parameter(e, json_object_iter_key(it), json_object_iter_value(it));
    }
    json_decref(object);
    return status;
}

static hd_status put_tool_calls(v4 *e, const v4_turn *turn)
{
    const json_t *calls = member(turn->source, "tool_calls");
    if (!is_true(calls)) return HD_OK;
    if (!json_is_array(calls)) return bad(e, turn->message, "tool_calls must be a list");
    HD_TRY(puts_trusted(e, "\n\n<" DSML "tool_calls>\n"));
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *function = member(json_array_get(calls, i), "function");
        const json_t *name = member(function, "name"), *arguments = json_object_get(function, "arguments");
        if (!json_is_string(name) || !arguments)
            return bad(e, turn->message, "each of its tool_calls needs a function with a name and arguments");
        if (i) HD_TRY(puts_trusted(e, "\n"));
        HD_TRY(puts_trusted(e, "<" DSML "invoke name=\""));
        HD_TRY(put(e, json_string_value(name), json_string_length(name), false));
        HD_TRY(puts_trusted(e, "\">\n"));
        HD_TRY(put_arguments(e, arguments));
        HD_TRY(puts_trusted(e, "\n</" DSML "invoke>"));
    }
    return puts_trusted(e, "\n</" DSML "tool_calls>");
}

static hd_status put_assistant(v4 *e, const v4_turn *turn, size_t index)
{
    bool answers_task = index > 0 && member(e->turn[index - 1].source, "task");
    if (e->thinking && !answers_task && (!e->drop_thinking || (int64_t)index > e->last_user)) {
        HD_TRY(put_content(e, member(turn->source, "reasoning_content"), turn->message));
        HD_TRY(puts_trusted(e, END_THINK));
    }
    HD_TRY(put_content(e, member(turn->source, "content"), turn->message));
    HD_TRY(put_tool_calls(e, turn));
    return is_true(member(turn->source, "wo_eos")) ? HD_OK : puts_trusted(e, EOS);
}

static hd_status put_task(v4 *e, const v4_turn *turn, const json_t *task)
{
    static const char *const names[] = {"action", "query", "authority", "domain", "title", "read_url"};
    static const char *const markers[] = {"<｜action｜>", "<｜query｜>", "<｜authority｜>",
                                          "<｜domain｜>", "<｜title｜>", "<｜read_url｜>"};
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        if (!is_text(task, names[i])) continue;
        if (i == 0) HD_TRY(puts_trusted(e, e->thinking ? ASSISTANT THINK : ASSISTANT END_THINK));
        return puts_trusted(e, markers[i]);
    }
    return bad(e, turn->message, "its task must be action, query, authority, domain, title or read_url");
}

/* What opens the answer to a turn that the assistant, or a reminder and then the assistant, follows. */
static hd_status put_transition(v4 *e, const v4_turn *turn, size_t index)
{
    if (index + 1 < e->turns && e->turn[index + 1].role != ROLE_ASSISTANT && e->turn[index + 1].role != ROLE_REMINDER)
        return HD_OK;
    const json_t *task = member(turn->source, "task");
    if (task) return put_task(e, turn, task);
    if (turn->role != ROLE_USER && turn->role != ROLE_DEVELOPER) return HD_OK;
    if (index + 1 == e->turns && !e->open_answer) return HD_OK;
    bool thinks = e->thinking && (!e->drop_thinking || (int64_t)index >= e->last_user);
    return puts_trusted(e, thinks ? ASSISTANT THINK : ASSISTANT END_THINK);
}

static hd_status put_turn(v4 *e, size_t index)
{
    const v4_turn *turn = &e->turn[index];
    if (index == 0 && e->thinking && e->max_effort) HD_TRY(puts_trusted(e, effort_max));
    switch (turn->role) {
    case ROLE_SYSTEM:
    case ROLE_DEVELOPER: HD_TRY(put_instructions(e, turn)); break;
    case ROLE_ASSISTANT: HD_TRY(put_assistant(e, turn, index)); break;
    case ROLE_REMINDER:
        HD_TRY(puts_trusted(e, REMINDER));
        HD_TRY(put_content(e, member(turn->source, "content"), turn->message));
        break;
    default: HD_TRY(put_user(e, turn)); break;
    }
    return put_transition(e, turn, index);
}

/* ---- options ---- */

static hd_status read_flag(v4 *e, const json_t *vars, const char *name, bool absent, bool *out)
{
    const json_t *v = member(vars, name);
    *out = v ? json_is_true(v) : absent;
    if (!v || json_is_boolean(v)) return HD_OK;
    return hd_fail(e->err, HD_E_ARGUMENT, "%s must be true or false", name);
}

static hd_status read_options(v4 *e, const json_t *vars)
{
    const json_t *mode = member(vars, "thinking_mode"), *effort = member(vars, "reasoning_effort");
    bool thinking, enable_thinking;
    HD_TRY(read_flag(e, vars, "thinking", false, &thinking));
    HD_TRY(read_flag(e, vars, "enable_thinking", thinking, &enable_thinking));
    e->thinking = mode ? is_text(mode, "thinking") : enable_thinking;
    if (mode && !e->thinking && !is_text(mode, "chat"))
        return hd_fail(e->err, HD_E_ARGUMENT, "thinking_mode must be \"chat\" or \"thinking\"");
    e->max_effort = is_text(effort, "max");
    if (effort && !e->max_effort && !is_text(effort, "high"))
        return hd_fail(e->err, HD_E_ARGUMENT, "reasoning_effort must be \"high\" or \"max\"");
    HD_TRY(read_flag(e, vars, "add_generation_prompt", true, &e->open_answer));
    return read_flag(e, vars, "drop_thinking", true, &e->drop_thinking);
}

static int64_t find_last_user(const v4_turn *turn, size_t n)
{
    for (size_t i = n; i-- > 0;)
        if (turn[i].role == ROLE_USER || turn[i].role == ROLE_DEVELOPER) return (int64_t)i;
    return -1;
}

/* Developers before the last question are forgotten with the thoughts of that time. */
static bool is_forgotten(const v4_turn *turn, size_t index, int64_t last_user)
{
    return turn[index].role == ROLE_DEVELOPER && (int64_t)index < last_user;
}

/* Removes forgotten turns.  The context counts as the published encoding counts it: by its own last question. */
static void forget(v4 *e)
{
    int64_t last = find_last_user(e->turn, e->turns), last_of_context = find_last_user(e->turn, e->context);
    size_t kept = 0, context = 0;
    for (size_t i = 0; i < e->context; i++)
        context += !is_forgotten(e->turn, i, last_of_context);
    for (size_t i = 0; i < e->turns; i++) {
        if (is_forgotten(e->turn, i, last))
            hd_free(e->turn[i].block);
        else
            e->turn[kept++] = e->turn[i];
    }
    e->turns = kept;
    e->context = context;
}

static hd_status render(v4 *e, const json_t *vars)
{
    bool bos;
    if (!json_is_object(vars)) return hd_fail(e->err, HD_E_ARGUMENT, "the variables of a prompt must be an object");
    HD_TRY(read_options(e, vars));
    HD_TRY(read_flag(e, vars, "add_default_bos_token", true, &bos));
    HD_TRY(collect(e, member(vars, "context"), "context"));
    e->context = e->turns;
    if (!member(vars, "messages")) return hd_fail(e->err, HD_E_ARGUMENT, "a chat prompt needs messages");
    HD_TRY(collect(e, member(vars, "messages"), "messages"));
    HD_TRY(attach_tools(e, member(vars, "tools")));
    if (bos && e->context == 0) HD_TRY(puts_trusted(e, BOS));
    for (size_t i = 0; i < e->turns; i++)
        if (e->turn[i].tools) e->drop_thinking = false; /* a tool's user needs the thoughts behind its calls */
    if (e->thinking && e->drop_thinking) forget(e);
    e->last_user = find_last_user(e->turn, e->turns);
    for (size_t i = e->context; i < e->turns; i++)
        HD_TRY(put_turn(e, i));
    return HD_OK;
}

hd_status hd_v4_render(const json_t *vars, hd_rendered *out, hd_error *err)
{
    v4 e = {.out = out, .err = err};
    hd_buf_init(&out->text, HD_TEMPLATE_BYTES / 2); /* the map of trust is as long */
    hd_buf_init(&out->trusted, HD_TEMPLATE_BYTES / 2);
    hd_status status = render(&e, vars);
    for (size_t i = 0; i < e.turns; i++)
        hd_free(e.turn[i].block);
    hd_free(e.turn);
    json_decref(e.call_order);
    if (status != HD_OK) hd_rendered_free(out);
    return status;
}
