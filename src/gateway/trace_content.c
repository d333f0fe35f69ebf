/* gateway/trace_content.c: see trace_content.h.  The shape of messages is that of the conventions' JSON schemas. */
#include "gateway/trace_content.h"

#include <string.h>

#include "gateway/json_out.h"

#define TEXT_MAX ((size_t)256 << 10) /* bytes of all messages of one direction */

typedef struct traced_answer {
    hd_buf reasoning, text, tools; /* tools: parts, each with its comma */
    hd_buf name, arguments;        /* of the call under way */
    const char *reason;            /* NULL: it has not ended */
} traced_answer;

struct hd_trace_content {
    hd_buf system, input, output;
    int count;
    traced_answer answers[];
};

/* ---- the request ---- */

static void write_text_part(hd_buf *out, const char *type, const char *data, size_t len)
{
    hd_out_begin(out, '{');
    hd_out_member_string(out, "type", type);
    hd_out_member_text(out, "content", data, len);
    hd_out_end(out, '}');
}

/* Of a message's content: a text, or a list of parts, of which those that are no texts stay as they came. */
static void write_parts(hd_buf *out, const json_t *content)
{
    size_t i;
    const json_t *part;
    if (json_is_string(content)) write_text_part(out, "text", json_string_value(content), json_string_length(content));
    json_array_foreach(content, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        if (json_is_string(text))
            write_text_part(out, "text", json_string_value(text), json_string_length(text));
        else
            hd_out_json(out, part);
    }
}

static void write_calls(hd_buf *out, const json_t *calls)
{
    size_t i;
    const json_t *call;
    json_array_foreach(calls, i, call)
    {
        const json_t *function = json_object_get(call, "function");
        hd_out_begin(out, '{');
        hd_out_member_string(out, "type", "tool_call");
        hd_out_member_string(out, "id", json_string_value(json_object_get(call, "id")));
        hd_out_member_string(out, "name", json_string_value(json_object_get(function, "name")));
        hd_out_member_string(out, "arguments", json_string_value(json_object_get(function, "arguments")));
        hd_out_end(out, '}');
    }
}

static void write_message(hd_buf *out, const json_t *message)
{
    const json_t *id = json_object_get(message, "tool_call_id"), *content = json_object_get(message, "content");
    const json_t *reasoning = json_object_get(message, "reasoning_content");
    hd_out_begin(out, '{');
    hd_out_member_string(out, "role", json_string_value(json_object_get(message, "role")));
    hd_out_member_begin(out, "parts", '[');
    if (json_is_string(reasoning))
        write_text_part(out, "reasoning", json_string_value(reasoning), json_string_length(reasoning));
    if (json_is_string(id)) {
        hd_out_begin(out, '{');
        hd_out_member_string(out, "type", "tool_call_response");
        hd_out_member_string(out, "id", json_string_value(id));
        hd_out_key(out, "response");
        hd_out_json(out, content);
        hd_out_end(out, '}');
    } else {
        write_parts(out, content);
    }
    write_calls(out, json_object_get(message, "tool_calls"));
    hd_out_end(out, ']');
    hd_out_end(out, '}');
}

static void write_prompt(hd_buf *out, const json_t *prompt)
{
    if (!json_is_string(prompt)) return; /* ids: no text */
    hd_out_begin(out, '{');
    hd_out_member_string(out, "role", "user");
    hd_out_member_begin(out, "parts", '[');
    write_parts(out, prompt);
    hd_out_end(out, ']');
    hd_out_end(out, '}');
}

static void read_request(hd_trace_content *c, const json_t *body)
{
    size_t i;
    const json_t *item, *messages = json_object_get(body, "messages");
    const json_t *prompt = json_object_get(body, "prompt"), *system = json_object_get(body, "system");
    hd_out_begin(&c->input, '[');
    json_array_foreach(messages, i, item)
    {
        write_message(&c->input, item);
    }
    json_array_foreach(prompt, i, item)
    {
        write_prompt(&c->input, item);
    }
    write_prompt(&c->input, prompt);
    hd_out_end(&c->input, ']');
    if (!system) return;
    hd_out_begin(&c->system, '[');
    write_parts(&c->system, system);
    hd_out_end(&c->system, ']');
}

hd_trace_content *hd_trace_content_open(const json_t *body, int choices)
{
    hd_trace_content *c = hd_calloc(1, sizeof *c + (size_t)choices * sizeof c->answers[0]);
    if (!c) return NULL;
    c->count = choices;
    hd_buf_init(&c->system, TEXT_MAX);
    hd_buf_init(&c->input, TEXT_MAX);
    hd_buf_init(&c->output, TEXT_MAX);
    for (int i = 0; i < choices; i++) {
        traced_answer *a = &c->answers[i];
        hd_buf *const all[] = {&a->reasoning, &a->text, &a->tools, &a->name, &a->arguments};
        for (size_t b = 0; b < HD_ARRAY_LEN(all); b++)
            hd_buf_init(all[b], TEXT_MAX);
    }
    read_request(c, body);
    return c;
}

void hd_trace_content_close(hd_trace_content **ref)
{
    hd_trace_content *c = *ref;
    if (!c) return;
    *ref = NULL;
    hd_buf_free(&c->system);
    hd_buf_free(&c->input);
    hd_buf_free(&c->output);
    for (int i = 0; i < c->count; i++) {
        traced_answer *a = &c->answers[i];
        hd_buf *const all[] = {&a->reasoning, &a->text, &a->tools, &a->name, &a->arguments};
        for (size_t b = 0; b < HD_ARRAY_LEN(all); b++)
            hd_buf_free(all[b]);
    }
    hd_free(c);
}

/* ---- the answers ---- */

static void end_call(traced_answer *a)
{
    hd_out_begin(&a->tools, '{');
    hd_out_member_string(&a->tools, "type", "tool_call");
    hd_out_member_text(&a->tools, "name", a->name.data ? a->name.data : "", a->name.len);
    hd_out_member_text(&a->tools, "arguments", a->arguments.data ? a->arguments.data : "", a->arguments.len);
    hd_out_end(&a->tools, '}');
    hd_buf_clear(&a->name);
    hd_buf_clear(&a->arguments);
}

void hd_trace_content_piece(hd_trace_content *c, int choice, hd_piece_kind kind, const char *data, size_t len)
{
    traced_answer *a = &c->answers[choice];
    switch (kind) {
    case HD_PIECE_TEXT: (void)hd_buf_append(&a->text, data, len); break;
    case HD_PIECE_REASONING: (void)hd_buf_append(&a->reasoning, data, len); break;
    case HD_PIECE_TOOL_BEGIN: (void)hd_buf_append(&a->name, data, len); break;
    case HD_PIECE_TOOL_ARGUMENTS: (void)hd_buf_append(&a->arguments, data, len); break;
    case HD_PIECE_TOOL_END: end_call(a); break;
    }
}

void hd_trace_content_end(hd_trace_content *c, int choice, const char *reason)
{
    c->answers[choice].reason = reason;
}

static void write_answer(hd_buf *out, const traced_answer *a)
{
    hd_out_begin(out, '{');
    hd_out_member_string(out, "role", "assistant");
    hd_out_member_begin(out, "parts", '[');
    if (a->reasoning.len) write_text_part(out, "reasoning", a->reasoning.data, a->reasoning.len);
    if (a->text.len) write_text_part(out, "text", a->text.data, a->text.len);
    if (a->tools.len) {
        if (a->reasoning.len || a->text.len) (void)hd_buf_putc(out, ',');
        (void)hd_buf_append(out, a->tools.data, a->tools.len);
    }
    hd_out_end(out, ']');
    hd_out_member_string(out, "finish_reason", a->reason);
    hd_out_end(out, '}');
}

/* One that was cut at its bound would be no JSON any more. */
static hd_str view(const hd_buf *buf)
{
    return buf->status == HD_OK && buf->len ? (hd_str){buf->data, buf->len} : (hd_str){"", 0};
}

void hd_trace_content_get(hd_trace_content *c, hd_trace_texts *out)
{
    hd_buf_clear(&c->output);
    hd_out_begin(&c->output, '[');
    for (int i = 0; i < c->count; i++)
        write_answer(&c->output, &c->answers[i]);
    hd_out_end(&c->output, ']');
    *out = (hd_trace_texts){view(&c->system), view(&c->input), view(&c->output)};
}
