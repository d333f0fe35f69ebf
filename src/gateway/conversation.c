/* gateway/conversation.c: OpenAI's messages brought into the form that chat templates expect. */
#include "gateway/conversation.h"

#include <stdio.h>
#include <string.h>

/* ---- shapes ---- */

static const hd_field part_fields[] = {
    {.name = "type", .shape = &hd_shape_string, .required = true, .doc = "text; other kinds are refused"},
    {.name = "text", .shape = &hd_shape_string},
    {.name = NULL},
};
static const hd_shape part = {.kind = HD_SHAPE_OBJECT, .fields = part_fields, .name = "ContentPart"};
static const hd_shape parts = {.kind = HD_SHAPE_LIST, .items = &part};
static const hd_shape *const content_any[] = {&hd_shape_string, &parts, NULL};
static const hd_shape content = {.kind = HD_SHAPE_ANY_OF, .any = content_any};

static const hd_field called_fields[] = {
    {.name = "name", .shape = &hd_shape_string, .required = true},
    {.name = "arguments", .shape = &hd_shape_string, .doc = "The text of a JSON object."},
    {.name = NULL},
};
static const hd_shape called = {.kind = HD_SHAPE_OBJECT, .fields = called_fields};
static const hd_field tool_call_fields[] = {
    {.name = "id", .shape = &hd_shape_string},
    {.name = "type", .shape = &hd_shape_string},
    {.name = "function", .shape = &called, .required = true},
    {.name = NULL},
};
static const hd_shape tool_call = {.kind = HD_SHAPE_OBJECT, .fields = tool_call_fields, .name = "ToolCallParam"};
static const hd_shape tool_calls = {.kind = HD_SHAPE_LIST, .items = &tool_call};

static const hd_shape role = {.kind = HD_SHAPE_STRING, .choices = "system|developer|user|assistant|tool|function"};
static const hd_field message_fields[] = {
    {.name = "role", .shape = &role, .required = true},
    {.name = "content", .shape = &content},
    {.name = "name", .shape = &hd_shape_string},
    {.name = "reasoning_content", .shape = &hd_shape_string, .doc = "What the assistant thought."},
    {.name = "tool_calls", .shape = &tool_calls},
    {.name = "tool_call_id", .shape = &hd_shape_string},
    {.name = NULL},
};
static const hd_shape message = {.kind = HD_SHAPE_OBJECT, .fields = message_fields, .name = "MessageParam"};
const hd_shape hd_shape_messages = {.kind = HD_SHAPE_LIST, .min = 1, .max = 100000, .items = &message};

static const hd_field function_fields[] = {
    {.name = "name", .shape = &hd_shape_string, .required = true},
    {.name = "description", .shape = &hd_shape_string},
    {.name = "parameters", .shape = &hd_shape_object, .doc = "A JSON schema."},
    {.name = NULL},
};
static const hd_shape function = {.kind = HD_SHAPE_OBJECT, .fields = function_fields};
static const hd_shape tool_type = {.kind = HD_SHAPE_STRING, .choices = "function"};
static const hd_field tool_fields[] = {
    {.name = "type", .shape = &tool_type, .required = true},
    {.name = "function", .shape = &function, .required = true},
    {.name = NULL},
};
static const hd_shape tool = {.kind = HD_SHAPE_OBJECT, .fields = tool_fields, .name = "Tool"};
const hd_shape hd_shape_tools = {.kind = HD_SHAPE_LIST, .max = 1024, .items = &tool};

/* ---- to the template's form ---- */

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "out of memory for the conversation");
}

/* The texts of the parts, one after the other. */
static hd_status join_parts(hd_call *call, const json_t *list, size_t at, hd_buf *out, hd_error *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i), *text = json_object_get(one, "text");
        const char *type = json_string_value(json_object_get(one, "type"));
        char path[64];
        snprintf(path, sizeof path, "messages[%zu].content[%zu]", at, i);
        bool is_text = strcmp(type, "text") == 0 || strcmp(type, "input_text") == 0;
        if (!is_text || !json_is_string(text))
            return hd_call_refuse(call, err, path, "this model reads text only: {\"type\": \"text\", \"text\": ...}");
        if (hd_buf_append(out, json_string_value(text), json_string_length(text)) != HD_OK) return no_memory(err);
    }
    return HD_OK;
}

static hd_status flatten_content(hd_call *call, json_t *one, size_t at, hd_error *err)
{
    const json_t *list = json_object_get(one, "content");
    if (!json_is_array(list)) return HD_OK;
    hd_buf text;
    hd_buf_init(&text, HD_HTTP_MAX_BODY);
    hd_status status = hd_buf_puts(&text, "");
    if (status == HD_OK) status = join_parts(call, list, at, &text, err);
    if (status == HD_OK && json_object_set_new(one, "content", json_stringn(text.data, text.len)) != 0)
        status = no_memory(err);
    hd_buf_free(&text);
    return status;
}

/* Arguments of earlier calls as the JSON value that they are the text of.  What is no JSON stays text. */
static hd_status parse_arguments(json_t *one, hd_error *err)
{
    const json_t *calls = json_object_get(one, "tool_calls");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_t *fn = json_object_get(json_array_get(calls, i), "function"), *value = NULL;
        const json_t *text = json_object_get(fn, "arguments");
        if (!json_is_string(text)) continue;
        if (hd_json_parse(&value, json_string_value(text), json_string_length(text), NULL) != HD_OK) continue;
        if (json_object_set_new(fn, "arguments", value) != 0) return no_memory(err);
    }
    return HD_OK;
}

/* Templates know the role as system. */
static hd_status rename_role(json_t *one, hd_error *err)
{
    const char *name = json_string_value(json_object_get(one, "role"));
    if (strcmp(name, "developer") != 0) return HD_OK;
    return json_object_set_new(one, "role", json_string("system")) == 0 ? HD_OK : no_memory(err);
}

static bool has_calls(const json_t *one)
{
    return strcmp(json_string_value(json_object_get(one, "role")), "assistant") == 0 &&
           json_array_size(json_object_get(one, "tool_calls")) > 0;
}

/* Clients write null, nothing or an empty text beside calls; a template may print the calls only beside one of them. */
static hd_status empty_content(const hd_call *call, json_t *one, hd_error *err)
{
    json_t *empty = call->model->null_content ? json_null() : json_string("");
    return json_object_set_new(one, "content", empty) == 0 ? HD_OK : no_memory(err);
}

static hd_status convert(hd_call *call, json_t *one, size_t at, hd_error *err)
{
    char path[48];
    snprintf(path, sizeof path, "messages[%zu].content", at);
    HD_TRY(flatten_content(call, one, at, err));
    const json_t *text = json_object_get(one, "content");
    if (has_calls(one) && json_string_length(text) == 0)
        HD_TRY(empty_content(call, one, err));
    else if (!json_is_string(text))
        return hd_call_refuse(call, err, path, "is missing");
    HD_TRY(rename_role(one, err));
    return call->model->parsed_arguments ? parse_arguments(one, err) : HD_OK;
}

static hd_status build(hd_call *call, const json_t *messages, const json_t *tools, const json_t *variables,
                       json_t **out, hd_error *err)
{
    json_t *request = variables ? json_deep_copy(variables) : json_object(), *copy = json_deep_copy(messages);
    *out = request;
    if (!request || !copy || json_object_set_new(request, "messages", copy) != 0) return no_memory(err);
    json_object_del(request, "tools");
    if (json_array_size(tools) && json_object_set(request, "tools", (json_t *)(uintptr_t)tools) != 0)
        return no_memory(err);
    for (size_t i = 0; i < json_array_size(copy); i++)
        HD_TRY(convert(call, json_array_get(copy, i), i, err));
    return HD_OK;
}

/* ---- the prompt ---- */

static hd_status encode(hd_call *call, const json_t *request, hd_prompt *out, hd_error *err)
{
    const hd_text *text = call->model->text;
    hd_buf dump;
    hd_buf_init(&dump, 2 * HD_HTTP_MAX_BODY); /* escapes of a body that had none may double it */
    hd_out_json(&dump, request);
    hd_status status = dump.status == HD_OK ? HD_OK : no_memory(err);
    if (status == HD_OK) status = hd_chat_prompt(text, dump.data, dump.len, &out->ids, &out->count, err);
    hd_buf_free(&dump);
    if (status == HD_OK) out->in_reasoning = hd_text_prompt_opens_reasoning(text, out->ids, out->count);
    return status;
}

hd_status hd_conversation_prompt(hd_call *call, const json_t *messages, const json_t *tools, const json_t *variables,
                                 hd_prompt *out, hd_error *err)
{
    json_t *request = NULL;
    if (!call->model->text || !hd_text_has_template(call->model->text))
        return hd_fail(err, HD_E_UNSUPPORTED, "the model '%s' has no chat template; use /v1/completions",
                       call->model->name);
    hd_status status = build(call, messages, tools, variables, &request, err);
    if (status == HD_OK) status = encode(call, request, out, err);
    json_decref(request);
    return status;
}
