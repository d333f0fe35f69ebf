/* gateway/openai_chat.c: POST /v1/chat/completions. */
#include <stdio.h>
#include <string.h>

#include "gateway/conversation.h"
#include "gateway/gateway_internal.h"
#include "gateway/openai.h"

/* ---- the request ---- */

typedef struct chat_request {
    hd_ask ask;
    hd_str model, effort;
    const json_t *messages, *tools, *tool_choice, *format, *variables, *thinking;
    int64_t max_completion_tokens;
} chat_request;

static const hd_shape top_logprobs = {.kind = HD_SHAPE_INT, .min = 0, .max = HD_TOP_LOGPROBS};
static const hd_shape choice_word = {.kind = HD_SHAPE_STRING, .choices = "none|auto|required"};
static const hd_shape *const choice_any[] = {&choice_word, &hd_shape_object, NULL};
static const hd_shape tool_choice = {.kind = HD_SHAPE_ANY_OF, .any = choice_any};
static const hd_shape format_type = {.kind = HD_SHAPE_STRING, .choices = "text|json_object|json_schema"};
static const hd_field format_fields[] = {{.name = "type", .shape = &format_type, .required = true}, {.name = NULL}};
static const hd_shape format = {.kind = HD_SHAPE_OBJECT, .fields = format_fields};
static const hd_shape thinking_type = {.kind = HD_SHAPE_STRING, .choices = "enabled|disabled"};
static const hd_field thinking_fields[] = {{.name = "type", .shape = &thinking_type, .required = true}, {.name = NULL}};
static const hd_shape thinking = {.kind = HD_SHAPE_OBJECT, .fields = thinking_fields};

static const hd_field fields[] = {
    {.name = "model", .shape = &hd_shape_string, HD_BIND(chat_request, model), .doc = "Without it: the first model."},
    {.name = "messages", .shape = &hd_shape_messages, HD_BIND(chat_request, messages), .required = true},
    {.name = "tools", .shape = &hd_shape_tools, HD_BIND(chat_request, tools)},
    {.name = "tool_choice",
     .shape = &tool_choice,
     HD_BIND(chat_request, tool_choice),
     .doc = "auto or none; the model can't be forced yet"},
    {.name = "max_completion_tokens",
     .shape = &hd_shape_count,
     HD_BIND(chat_request, max_completion_tokens),
     .doc = "Tokens that an answer may have, its reasoning included."},
    {.name = "logprobs", .shape = &hd_shape_bool, HD_BIND(chat_request, ask.logprobs)},
    {.name = "top_logprobs", .shape = &top_logprobs, HD_BIND(chat_request, ask.top_logprobs)},
    {.name = "response_format", .shape = &format, HD_BIND(chat_request, format), .doc = "text only"},
    {.name = "reasoning_effort", .shape = &hd_shape_string, HD_BIND(chat_request, effort)},
    {.name = "thinking", .shape = &thinking, HD_BIND(chat_request, thinking)},
    {.name = "chat_template_kwargs",
     .shape = &hd_shape_object,
     HD_BIND(chat_request, variables),
     .doc = "Further variables of the model's template."},
    HD_ASK_OPENAI_FIELDS(chat_request, ask),
    {.name = NULL},
};
const hd_shape hd_chat_shape = {.kind = HD_SHAPE_OBJECT, .fields = fields, .name = "ChatCompletionRequest"};

static hd_status check_request(hd_call *call, const chat_request *r, hd_error *err)
{
    const char *choice = json_string_value(r->tool_choice),
               *type = json_string_value(json_object_get(r->format, "type"));
    if (r->tool_choice && (!choice || strcmp(choice, "required") == 0))
        return hd_call_refuse(call, err, "tool_choice", "a model can't be forced to call a tool yet: use auto or none");
    if (type && strcmp(type, "text") != 0)
        return hd_call_refuse(call, err, "response_format.type", "answers can't be constrained yet: only text");
    if (r->ask.top_logprobs > 0 && !r->ask.logprobs)
        return hd_call_refuse(call, err, "top_logprobs", "needs logprobs: true");
    return HD_OK;
}

/* What the template may ask for beside the messages. */
static json_t *template_variables(const chat_request *r)
{
    json_t *v = r->variables ? json_deep_copy(r->variables) : json_object();
    const char *mode = json_string_value(json_object_get(r->thinking, "type"));
    if (mode) { /* DeepSeek's templates say thinking, Qwen's enable_thinking */
        json_object_set_new(v, "thinking", json_boolean(strcmp(mode, "enabled") == 0));
        json_object_set_new(v, "enable_thinking", json_boolean(strcmp(mode, "enabled") == 0));
    }
    if (r->effort.len) json_object_set_new(v, "reasoning_effort", json_stringn(r->effort.data, r->effort.len));
    return v;
}

/* ---- log-probabilities ---- */

static void write_token(hd_buf *out, const hd_choice *c, const hd_logprob *l)
{
    char *text;
    size_t len;
    hd_openai_token(c, l->id, &text, &len);
    hd_out_member_text(out, "token", text ? text : "", len);
    hd_out_key(out, "logprob");
    hd_out_real(out, hd_openai_logprob((double)l->logprob));
    hd_out_member_begin(out, "bytes", '[');
    for (size_t i = 0; i < len; i++)
        hd_out_int(out, (unsigned char)text[i]);
    hd_out_end(out, ']');
    hd_string_free(text);
}

static void write_logprobs(hd_buf *out, const hd_choice *c, size_t from, size_t to)
{
    hd_out_key(out, "logprobs");
    if (!c->generation->ask.logprobs) {
        hd_out_null(out);
        return;
    }
    hd_out_begin(out, '{');
    hd_out_member_begin(out, "content", '[');
    for (size_t i = from; i < to; i++) {
        const hd_logprob *record = hd_choice_record(c, i);
        hd_out_begin(out, '{');
        write_token(out, c, record);
        hd_out_member_begin(out, "top_logprobs", '[');
        for (int k = 1; k <= c->generation->top_count; k++) {
            hd_out_begin(out, '{');
            write_token(out, c, &record[k]);
            hd_out_end(out, '}');
        }
        hd_out_end(out, ']');
        hd_out_end(out, '}');
    }
    hd_out_end(out, ']');
    hd_out_end(out, '}');
}

static void write_call_id(hd_buf *out, const hd_choice *c, int64_t number)
{
    char id[64];
    snprintf(id, sizeof id, "call_%s%d%lld", c->generation->tag, c->index, (long long)number);
    hd_out_member_string(out, "id", id);
}

/* ---- streams ---- */

/* A chunk up to its delta, and from there on. */
static void begin_chunk(hd_buf *out, const hd_choice *c)
{
    hd_openai_begin_chunk(out, c->generation, "chatcmpl", "chat.completion.chunk");
    hd_out_begin(out, '{');
    hd_out_member_int(out, "index", c->index);
    hd_out_member_begin(out, "delta", '{');
}

static void end_chunk(hd_buf *out, hd_choice *c, const char *finish)
{
    hd_out_end(out, '}');
    write_logprobs(out, c, c->records_given, c->record_count);
    hd_openai_token_ids(out, c, c->records_given, c->record_count);
    c->records_given = c->record_count;
    hd_out_member_string(out, "finish_reason", finish);
    hd_out_end(out, '}');
    hd_openai_end_chunk(out, c->generation);
}

static void stream_begin(hd_generation *g)
{
    for (int i = 0; i < g->choice_count; i++) {
        hd_buf out;
        begin_chunk(&out, &g->choices[i]);
        hd_out_member_string(&out, "role", "assistant");
        hd_out_member_string(&out, "content", "");
        end_chunk(&out, &g->choices[i], NULL);
    }
}

static void write_tool_delta(hd_buf *out, const hd_choice *c, bool begins, const char *data, size_t len)
{
    int64_t number = c->tools - !begins; /* calls are counted behind the event of their beginning */
    hd_out_member_begin(out, "tool_calls", '[');
    hd_out_begin(out, '{');
    hd_out_member_int(out, "index", number);
    if (begins) {
        write_call_id(out, c, number);
        hd_out_member_string(out, "type", "function");
    }
    hd_out_member_begin(out, "function", '{');
    if (begins) hd_out_member_text(out, "name", data, len);
    hd_out_member_text(out, "arguments", begins ? "" : data, begins ? 0 : len);
    hd_out_end(out, '}');
    hd_out_end(out, '}');
    hd_out_end(out, ']');
}

static void stream_piece(hd_choice *c, hd_piece_kind kind, const char *data, size_t len)
{
    hd_buf out;
    if (kind == HD_PIECE_TOOL_END) return;
    begin_chunk(&out, c);
    if (kind == HD_PIECE_TEXT) hd_out_member_text(&out, "content", data, len);
    if (kind == HD_PIECE_REASONING) hd_out_member_text(&out, "reasoning_content", data, len);
    if (kind == HD_PIECE_TOOL_BEGIN) write_tool_delta(&out, c, true, data, len);
    if (kind == HD_PIECE_TOOL_ARGUMENTS) write_tool_delta(&out, c, false, data, len);
    end_chunk(&out, c, NULL);
}

static void stream_choice_end(hd_choice *c)
{
    hd_buf out;
    begin_chunk(&out, c);
    end_chunk(&out, c, hd_openai_finish(c));
}

static void stream_end(hd_generation *g)
{
    hd_openai_end(g, "chatcmpl", "chat.completion.chunk");
}

/* ---- the whole reply ---- */

/* All blocks of one kind, one after the other; null when there is none. */
static void write_blocks(hd_buf *out, const hd_choice *c, hd_piece_kind kind, const char *key, bool or_null)
{
    hd_buf all;
    size_t found = 0;
    hd_buf_init(&all, (size_t)64 << 20);
    for (size_t i = 0; i < c->block_count; i++) {
        if (c->blocks[i].kind != kind) continue;
        found++;
        if (c->blocks[i].text.len) (void)hd_buf_append(&all, c->blocks[i].text.data, c->blocks[i].text.len);
    }
    if (all.status != HD_OK) out->status = all.status;
    if (found)
        hd_out_member_text(out, key, all.data ? all.data : "", all.len);
    else if (or_null)
        hd_out_member_string(out, key, c->tools ? NULL : "");
    hd_buf_free(&all);
}

static void write_calls(hd_buf *out, const hd_choice *c)
{
    int64_t number = 0;
    if (!c->tools) return;
    hd_out_member_begin(out, "tool_calls", '[');
    for (size_t i = 0; i < c->block_count; i++) {
        const hd_block *b = &c->blocks[i];
        if (b->kind != HD_PIECE_TOOL_BEGIN) continue;
        hd_out_begin(out, '{');
        write_call_id(out, c, number++);
        hd_out_member_string(out, "type", "function");
        hd_out_member_begin(out, "function", '{');
        hd_out_member_text(out, "name", b->name.data ? b->name.data : "", b->name.len);
        hd_out_member_text(out, "arguments", b->text.data ? b->text.data : "", b->text.len);
        hd_out_end(out, '}');
        hd_out_end(out, '}');
    }
    hd_out_end(out, ']');
}

static void write_choice(hd_buf *out, hd_choice *c)
{
    hd_out_begin(out, '{');
    hd_out_member_int(out, "index", c->index);
    hd_out_member_begin(out, "message", '{');
    hd_out_member_string(out, "role", "assistant");
    write_blocks(out, c, HD_PIECE_TEXT, "content", true);
    write_blocks(out, c, HD_PIECE_REASONING, "reasoning_content", false);
    write_calls(out, c);
    hd_out_end(out, '}');
    write_logprobs(out, c, 0, c->record_count);
    hd_openai_token_ids(out, c, 0, c->record_count);
    hd_out_member_string(out, "finish_reason", hd_openai_finish(c));
    hd_out_end(out, '}');
}

static void whole(hd_generation *g, hd_buf *out)
{
    hd_openai_whole(g, out, "chatcmpl", "chat.completion", write_choice);
}

static const hd_dialect dialect = {.begin = stream_begin,
                                   .piece = stream_piece,
                                   .choice_end = stream_choice_end,
                                   .end = stream_end,
                                   .error = hd_openai_error,
                                   .whole = whole};

hd_status hd_chat_completions(hd_call *call, bool *taken, hd_error *err)
{
    chat_request r = {.max_completion_tokens = -1};
    hd_ask_init(&r.ask);
    hd_shape_bind(&hd_chat_shape, call->body, &r);
    HD_TRY(check_request(call, &r, err));
    if (r.max_completion_tokens >= 0) r.ask.max_tokens = r.max_completion_tokens;
    const char *choice = json_string_value(r.tool_choice);
    const json_t *tools = choice && strcmp(choice, "none") == 0 ? NULL : r.tools;
    r.ask.split_reasoning = true;
    r.ask.parse_tools = json_array_size(tools) > 0;
    hd_prompt *prompt = hd_calloc(1, sizeof *prompt);
    if (!prompt) return hd_fail(err, HD_E_MEMORY, "out of memory for a prompt");
    json_t *variables = template_variables(&r);
    hd_status status = hd_conversation_prompt(call, r.messages, tools, variables, prompt, err);
    json_decref(variables);
    if (status == HD_OK) return hd_generation_start(call, &r.ask, &dialect, prompt, 1, taken, err);
    hd_prompts_free(prompt, 1);
    return status;
}
