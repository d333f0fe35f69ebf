/* gateway/anthropic.c: requests of Anthropic's Messages API: their tables, and their conversations in OpenAI's form. */
#include "gateway/anthropic.h"

#include <stdio.h>
#include <string.h>

#include "gateway/conversation.h"
#include "gateway/gateway_internal.h"

/* ---- shapes ---- */

static const hd_shape part_type = {.kind = HD_SHAPE_STRING, .min = 1, .max = 64};
static const hd_field part_fields[] = {
    {.name = "type", .shape = &part_type, .required = true},
    {.name = "text", .shape = &hd_shape_string},
    {.name = NULL},
};
static const hd_shape text_part = {.kind = HD_SHAPE_OBJECT, .fields = part_fields, .name = "TextPart"};
static const hd_shape text_parts = {.kind = HD_SHAPE_LIST, .items = &text_part};
static const hd_shape *const text_any[] = {&hd_shape_string, &text_parts, NULL};
static const hd_shape text_or_parts = {.kind = HD_SHAPE_ANY_OF, .any = text_any};

static const hd_field block_fields[] = {
    {.name = "type",
     .shape = &part_type,
     .required = true,
     .doc = "text, thinking, redacted_thinking, tool_use or tool_result"},
    {.name = "text", .shape = &hd_shape_string},
    {.name = "thinking", .shape = &hd_shape_string},
    {.name = "id", .shape = &hd_shape_string},
    {.name = "name", .shape = &hd_shape_string},
    {.name = "input", .shape = &hd_shape_object},
    {.name = "tool_use_id", .shape = &hd_shape_string},
    {.name = "content", .shape = &text_or_parts},
    {.name = "is_error", .shape = &hd_shape_bool},
    {.name = NULL},
};
static const hd_shape block = {.kind = HD_SHAPE_OBJECT, .fields = block_fields, .name = "ContentBlock"};
static const hd_shape blocks = {.kind = HD_SHAPE_LIST, .items = &block};
static const hd_shape *const content_any[] = {&hd_shape_string, &blocks, NULL};
static const hd_shape content = {.kind = HD_SHAPE_ANY_OF, .any = content_any};
static const hd_shape role = {.kind = HD_SHAPE_STRING, .choices = "user|assistant|system"};
static const hd_field message_fields[] = {
    {.name = "role", .shape = &role, .required = true},
    {.name = "content", .shape = &content, .required = true},
    {.name = NULL},
};
static const hd_shape message = {.kind = HD_SHAPE_OBJECT, .fields = message_fields, .name = "InputMessage"};
static const hd_shape messages = {.kind = HD_SHAPE_LIST, .min = 1, .max = 100000, .items = &message};

static const hd_field tool_fields[] = {
    {.name = "name", .shape = &hd_shape_string, .required = true},
    {.name = "description", .shape = &hd_shape_string},
    {.name = "input_schema", .shape = &hd_shape_object, .doc = "A JSON schema."},
    {.name = NULL},
};
static const hd_shape tool = {.kind = HD_SHAPE_OBJECT, .fields = tool_fields, .name = "ToolParam"};
static const hd_shape tools = {.kind = HD_SHAPE_LIST, .max = 1024, .items = &tool};
static const hd_shape choice_type = {.kind = HD_SHAPE_STRING, .choices = "auto|any|tool|none"};
static const hd_field choice_fields[] = {{.name = "type", .shape = &choice_type, .required = true}, {.name = NULL}};
static const hd_shape tool_choice = {.kind = HD_SHAPE_OBJECT, .fields = choice_fields};
static const hd_shape thinking_type = {.kind = HD_SHAPE_STRING, .choices = "enabled|disabled|adaptive"};
static const hd_field thinking_fields[] = {{.name = "type", .shape = &thinking_type, .required = true},
                                           {.name = "budget_tokens", .shape = &hd_shape_int},
                                           {.name = NULL}};
static const hd_shape thinking = {.kind = HD_SHAPE_OBJECT, .fields = thinking_fields};

#define CONVERSATION_FIELDS                                                                                            \
    {.name = "model",                                                                                                  \
     .shape = &hd_shape_string,                                                                                        \
     HD_BIND(hd_messages_request, model),                                                                              \
     .doc = "Without it: the first model."},                                                                           \
        {.name = "messages", .shape = &messages, HD_BIND(hd_messages_request, messages), .required = true},            \
        {.name = "system", .shape = &text_or_parts, HD_BIND(hd_messages_request, system)},                             \
        {.name = "tools", .shape = &tools, HD_BIND(hd_messages_request, tools)},                                       \
        {.name = "tool_choice",                                                                                        \
         .shape = &tool_choice,                                                                                        \
         HD_BIND(hd_messages_request, tool_choice),                                                                    \
         .doc = "auto or none; the model can't be forced yet"},                                                        \
    {                                                                                                                  \
        .name = "thinking", .shape = &thinking, HD_BIND(hd_messages_request, thinking)                                 \
    }

static const hd_field fields[] = {
    CONVERSATION_FIELDS,
    {.name = "max_tokens",
     .shape = &hd_shape_count,
     HD_BIND(hd_messages_request, ask.max_tokens),
     .required = true,
     .doc = "Tokens that the answer may have, its reasoning included."},
    {.name = "stop_sequences",
     .shape = &hd_shape_stop,
     HD_BIND(hd_messages_request, ask.stop),
     .doc = "Texts that end the answer and are not part of it."},
    HD_ASK_FIELDS(hd_messages_request, ask),
    {.name = NULL},
};
const hd_shape hd_messages_shape = {.kind = HD_SHAPE_OBJECT, .fields = fields, .name = "MessageRequest"};

static const hd_field count_fields[] = {CONVERSATION_FIELDS, {.name = NULL}};
const hd_shape hd_count_tokens_shape = {.kind = HD_SHAPE_OBJECT, .fields = count_fields, .name = "CountTokensRequest"};

/* ---- to OpenAI's form ---- */

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "out of memory for the conversation");
}

static bool is_type(const json_t *one, const char *type)
{
    return strcmp(json_string_value(json_object_get(one, "type")), type) == 0;
}

/* A list of text parts in OpenAI's form, which conversation.c joins; a string as it is.  NULL: no memory. */
static json_t *text_of(const json_t *value)
{
    return json_is_array(value) ? json_deep_copy(value) : json_incref((json_t *)(uintptr_t)value);
}

static hd_status append(json_t *list, json_t *one, hd_error *err)
{
    return json_array_append_new(list, one) == 0 ? HD_OK : no_memory(err);
}

static hd_status add_result(json_t *out, const json_t *one, hd_error *err)
{
    const json_t *text = json_object_get(one, "content"), *id = json_object_get(one, "tool_use_id");
    json_t *body = text && !json_is_null(text) ? text_of(text) : json_string("");
    return append(out,
                  json_pack("{s:s, s:o, s:s}", "role", "tool", "content", body, "tool_call_id",
                            json_is_string(id) ? json_string_value(id) : ""),
                  err);
}

static hd_status add_call(json_t *calls, const json_t *one, hd_error *err)
{
    const json_t *input = json_object_get(one, "input");
    const char *id = json_string_value(json_object_get(one, "id"));
    const char *name = json_string_value(json_object_get(one, "name"));
    hd_buf text;
    hd_buf_init(&text, 2 * HD_HTTP_MAX_BODY); /* escapes of a body that had none may double it */
    if (input)
        hd_out_json(&text, input);
    else
        (void)hd_buf_puts(&text, "{}");
    json_t *call = text.status != HD_OK ? NULL
                                        : json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", id ? id : "", "type", "function",
                                                    "function", "name", name ? name : "", "arguments", text.data);
    hd_buf_free(&text);
    return append(calls, call, err);
}

/* What the blocks of one message become. */
typedef struct sorted {
    json_t *texts, *calls, *out; /* out: the messages so far, */
    size_t before;               /* of which so many were there before this one */
    hd_buf thoughts;
} sorted;

static hd_status sort_block(hd_call *call, sorted *s, const json_t *one, const char *path, hd_error *err)
{
    const json_t *thought = json_object_get(one, "thinking"), *text = json_object_get(one, "text");
    if (is_type(one, "text") && json_is_string(text)) return append(s->texts, json_deep_copy(one), err);
    if (is_type(one, "tool_result")) return add_result(s->out, one, err);
    if (is_type(one, "tool_use")) return add_call(s->calls, one, err);
    if (is_type(one, "redacted_thinking")) return HD_OK;
    if (is_type(one, "thinking") && json_is_string(thought)) {
        hd_status status = hd_buf_append(&s->thoughts, json_string_value(thought), json_string_length(thought));
        return status == HD_OK ? HD_OK : no_memory(err);
    }
    return hd_call_refuse(call, err, path, "this model reads blocks of text, thinking, tool_use and tool_result only");
}

/* Results of tools stand before the text of the same message, as messages of their own. */
static hd_status add_sorted(sorted *s, const json_t *from, hd_error *err)
{
    bool called = json_array_size(s->calls) > 0;
    if (!json_array_size(s->texts) && !called && !s->thoughts.len) {
        bool results = json_array_size(s->out) > s->before; /* a message of results only: nothing is left to say */
        return results
                   ? HD_OK
                   : append(s->out, json_pack("{s:O, s:s}", "role", json_object_get(from, "role"), "content", ""), err);
    }
    json_t *one = json_pack("{s:O, s:O}", "role", json_object_get(from, "role"), "content", s->texts);
    if (one && called && json_object_set(one, "tool_calls", s->calls) != 0) return no_memory(err);
    if (one && s->thoughts.len &&
        json_object_set_new(one, "reasoning_content", json_stringn(s->thoughts.data, s->thoughts.len)) != 0)
        return no_memory(err);
    return append(s->out, one, err);
}

static hd_status add_blocks(hd_call *call, json_t *out, const json_t *from, size_t at, hd_error *err)
{
    const json_t *list = json_object_get(from, "content");
    sorted s = {.texts = json_array(), .calls = json_array(), .out = out, .before = json_array_size(out)};
    hd_status status = s.texts && s.calls ? HD_OK : no_memory(err);
    hd_buf_init(&s.thoughts, HD_HTTP_MAX_BODY);
    for (size_t i = 0; i < json_array_size(list) && status == HD_OK; i++) {
        char path[64];
        snprintf(path, sizeof path, "messages[%zu].content[%zu]", at, i);
        status = sort_block(call, &s, json_array_get(list, i), path, err);
    }
    if (status == HD_OK) status = add_sorted(&s, from, err);
    hd_buf_free(&s.thoughts);
    json_decref(s.texts);
    json_decref(s.calls);
    return status;
}

static hd_status add_message(hd_call *call, json_t *out, const json_t *from, size_t at, hd_error *err)
{
    if (json_is_array(json_object_get(from, "content"))) return add_blocks(call, out, from, at, err);
    return append(out, json_deep_copy(from), err);
}

static hd_status build_messages(hd_call *call, const hd_messages_request *r, json_t **out, hd_error *err)
{
    *out = json_array();
    if (!*out) return no_memory(err);
    if (r->system) HD_TRY(append(*out, json_pack("{s:s, s:o}", "role", "system", "content", text_of(r->system)), err));
    for (size_t i = 0; i < json_array_size(r->messages); i++)
        HD_TRY(add_message(call, *out, json_array_get(r->messages, i), i, err));
    return HD_OK;
}

static json_t *build_tool(const json_t *from)
{
    json_t *function = json_pack("{s:O}", "name", json_object_get(from, "name"));
    json_t *about = json_object_get(from, "description"), *schema = json_object_get(from, "input_schema");
    if (about && !json_is_null(about)) json_object_set(function, "description", about);
    if (schema && !json_is_null(schema)) json_object_set(function, "parameters", schema);
    return json_pack("{s:s, s:o}", "type", "function", "function", function);
}

static hd_status build_tools(const hd_messages_request *r, json_t **out, hd_error *err)
{
    *out = json_array();
    if (!*out) return no_memory(err);
    for (size_t i = 0; hd_anthropic_has_tools(r) && i < json_array_size(r->tools); i++)
        HD_TRY(append(*out, build_tool(json_array_get(r->tools, i)), err));
    return HD_OK;
}

bool hd_anthropic_has_tools(const hd_messages_request *r)
{
    return json_array_size(r->tools) > 0 && !(r->tool_choice && is_type(r->tool_choice, "none"));
}

static hd_status build_variables(const hd_messages_request *r, json_t **out, hd_error *err)
{
    *out = json_object();
    if (!*out) return no_memory(err);
    if (!r->thinking) return HD_OK;
    bool on = !is_type(r->thinking, "disabled");
    int failed = json_object_set_new(*out, "thinking", json_boolean(on)) |
                 json_object_set_new(*out, "enable_thinking", json_boolean(on));
    return failed ? no_memory(err) : HD_OK;
}

hd_status hd_anthropic_prompt(hd_call *call, const hd_messages_request *r, hd_prompt *out, hd_error *err)
{
    json_t *list = NULL, *functions = NULL, *variables = NULL;
    if (r->tool_choice && (is_type(r->tool_choice, "any") || is_type(r->tool_choice, "tool")))
        return hd_call_refuse(call, err, "tool_choice.type",
                              "a model can't be forced to call a tool yet: use auto or none");
    hd_status status = build_messages(call, r, &list, err);
    if (status == HD_OK) status = build_tools(r, &functions, err);
    if (status == HD_OK) status = build_variables(r, &variables, err);
    if (status == HD_OK) status = hd_conversation_prompt(call, list, functions, variables, out, err);
    json_decref(list);
    json_decref(functions);
    json_decref(variables);
    return status;
}
