/* gateway/anthropic_messages.c: POST /v1/messages and /v1/messages/count_tokens. */
#include <stdio.h>
#include <string.h>

#include "gateway/anthropic.h"
#include "gateway/gateway_internal.h"

#define EVENT_MAX ((size_t)16 << 20) /* bytes of one event */

static const char *stop_reason(const hd_choice *c)
{
    if (c->end.reason == HD_FINISH_LENGTH) return "max_tokens";
    if (c->stopped) return "stop_sequence";
    return c->tools ? "tool_use" : "end_turn";
}

static void write_stop(hd_buf *out, const hd_choice *c)
{
    const char *stops[HD_STOP_MAX];
    size_t count = hd_ask_stops(&c->generation->ask, stops);
    int which = c->stopped && c->answer ? hd_answer_stop(c->answer) : -1;
    hd_out_member_string(out, "stop_reason", stop_reason(c));
    hd_out_member_string(out, "stop_sequence", which >= 0 && (size_t)which < count ? stops[which] : NULL);
}

static void write_usage(hd_buf *out, const hd_generation *g)
{
    hd_usage u;
    hd_generation_usage(g, &u);
    hd_out_member_begin(out, "usage", '{');
    hd_out_member_int(out, "input_tokens", u.prompt - u.cached);
    hd_out_member_int(out, "cache_creation_input_tokens", 0);
    hd_out_member_int(out, "cache_read_input_tokens", u.cached);
    hd_out_member_int(out, "output_tokens", u.completion);
    hd_out_end(out, '}');
}

static void write_head(hd_buf *out, const hd_generation *g)
{
    char id[64];
    snprintf(id, sizeof id, "msg_%s", g->tag);
    hd_out_member_string(out, "id", id);
    hd_out_member_string(out, "type", "message");
    hd_out_member_string(out, "role", "assistant");
    hd_out_member_string(out, "model", hd_call_model_name(g->call));
}

static void write_tool_head(hd_buf *out, const hd_choice *c, size_t number, const char *name, size_t len)
{
    char id[64];
    snprintf(id, sizeof id, "toolu_%s%zu", c->generation->tag, number);
    hd_out_member_string(out, "type", "tool_use");
    hd_out_member_string(out, "id", id);
    hd_out_member_text(out, "name", name, len);
}

/* ---- streams: blocks that begin, grow and stop, by index ---- */

static void event(hd_generation *g, const char *name, hd_buf *out)
{
    hd_generation_event(g, name, out);
    hd_buf_free(out);
}

static void begin_event(hd_buf *out, const char *type)
{
    hd_buf_init(out, EVENT_MAX);
    hd_out_begin(out, '{');
    hd_out_member_string(out, "type", type);
}

static void stream_begin(hd_generation *g)
{
    hd_buf out;
    begin_event(&out, "message_start");
    hd_out_member_begin(&out, "message", '{');
    write_head(&out, g);
    hd_out_member_begin(&out, "content", '[');
    hd_out_end(&out, ']');
    hd_out_member_null(&out, "stop_reason");
    hd_out_member_null(&out, "stop_sequence");
    write_usage(&out, g); /* what came from the cache is known at the end */
    hd_out_end(&out, '}');
    hd_out_end(&out, '}');
    event(g, "message_start", &out);
}

static void stop_block(hd_choice *c)
{
    hd_buf out;
    if (c->block_count == 0) return;
    begin_event(&out, "content_block_stop");
    hd_out_member_int(&out, "index", (int64_t)c->block_count - 1);
    hd_out_end(&out, '}');
    event(c->generation, "content_block_stop", &out);
}

static void start_block(hd_choice *c, hd_piece_kind kind, const char *name, size_t len)
{
    hd_buf out;
    begin_event(&out, "content_block_start");
    hd_out_member_int(&out, "index", (int64_t)c->block_count);
    hd_out_member_begin(&out, "content_block", '{');
    if (kind == HD_PIECE_TOOL_BEGIN) {
        write_tool_head(&out, c, c->block_count, name, len);
        hd_out_member_begin(&out, "input", '{');
        hd_out_end(&out, '}');
    } else {
        bool thinking = kind == HD_PIECE_REASONING;
        hd_out_member_string(&out, "type", thinking ? "thinking" : "text");
        hd_out_member_string(&out, thinking ? "thinking" : "text", "");
        if (thinking) hd_out_member_string(&out, "signature", "");
    }
    hd_out_end(&out, '}');
    hd_out_end(&out, '}');
    event(c->generation, "content_block_start", &out);
}

static void grow_block(hd_choice *c, size_t index, const char *type, const char *key, const char *data, size_t len)
{
    hd_buf out;
    begin_event(&out, "content_block_delta");
    hd_out_member_int(&out, "index", (int64_t)index);
    hd_out_member_begin(&out, "delta", '{');
    hd_out_member_string(&out, "type", type);
    hd_out_member_text(&out, key, data, len);
    hd_out_end(&out, '}');
    hd_out_end(&out, '}');
    event(c->generation, "content_block_delta", &out);
}

static void stream_piece(hd_choice *c, hd_piece_kind kind, const char *data, size_t len)
{
    bool begins = hd_choice_begins_block(c, kind);
    size_t index = begins ? c->block_count : c->block_count - 1; /* it is counted behind this event */
    if (kind == HD_PIECE_TOOL_END) return;
    if (begins) {
        stop_block(c);
        start_block(c, kind, data, len);
    }
    if (kind == HD_PIECE_TEXT) grow_block(c, index, "text_delta", "text", data, len);
    if (kind == HD_PIECE_REASONING) grow_block(c, index, "thinking_delta", "thinking", data, len);
    if (kind == HD_PIECE_TOOL_ARGUMENTS) grow_block(c, index, "input_json_delta", "partial_json", data, len);
}

static void stream_choice_end(hd_choice *c)
{
    hd_buf out;
    stop_block(c);
    begin_event(&out, "message_delta");
    hd_out_member_begin(&out, "delta", '{');
    write_stop(&out, c);
    hd_out_end(&out, '}');
    write_usage(&out, c->generation);
    hd_out_end(&out, '}');
    event(c->generation, "message_delta", &out);
}

static void stream_end(hd_generation *g)
{
    hd_buf out;
    begin_event(&out, "message_stop");
    hd_out_end(&out, '}');
    event(g, "message_stop", &out);
}

static void stream_error(hd_generation *g, const hd_error *err)
{
    hd_buf out;
    hd_buf_init(&out, EVENT_MAX);
    hd_call_write_error(&out, g->call, err);
    event(g, "error", &out);
}

/* ---- the whole reply ---- */

/* Arguments are JSON text; what the model did not finish is kept as text, since the field must be an object. */
static void write_input(hd_buf *out, const hd_buf *text)
{
    json_t *value = NULL;
    hd_out_key(out, "input");
    if (text->len && hd_json_parse(&value, text->data, text->len, NULL) == HD_OK && json_is_object(value)) {
        hd_out_json(out, value);
    } else {
        hd_out_begin(out, '{');
        if (text->len) hd_out_member_text(out, "unfinished", text->data, text->len);
        hd_out_end(out, '}');
    }
    json_decref(value);
}

static void write_block(hd_buf *out, const hd_choice *c, size_t index)
{
    const hd_block *b = &c->blocks[index];
    const char *text = b->text.data ? b->text.data : "";
    hd_out_begin(out, '{');
    switch (b->kind) {
    case HD_PIECE_TOOL_BEGIN:
        write_tool_head(out, c, index, b->name.data ? b->name.data : "", b->name.len);
        write_input(out, &b->text);
        break;
    case HD_PIECE_REASONING:
        hd_out_member_string(out, "type", "thinking");
        hd_out_member_text(out, "thinking", text, b->text.len);
        hd_out_member_string(out, "signature", "");
        break;
    default: hd_out_member_string(out, "type", "text"); hd_out_member_text(out, "text", text, b->text.len);
    }
    hd_out_end(out, '}');
}

static void whole(hd_generation *g, hd_buf *out)
{
    const hd_choice *c = &g->choices[0];
    hd_out_begin(out, '{');
    write_head(out, g);
    hd_out_member_begin(out, "content", '[');
    for (size_t i = 0; i < c->block_count; i++)
        write_block(out, c, i);
    hd_out_end(out, ']');
    write_stop(out, c);
    write_usage(out, g);
    hd_out_end(out, '}');
}

static const hd_dialect dialect = {.begin = stream_begin,
                                   .piece = stream_piece,
                                   .choice_end = stream_choice_end,
                                   .end = stream_end,
                                   .error = stream_error,
                                   .whole = whole};

hd_status hd_messages(hd_call *call, bool *taken, hd_error *err)
{
    hd_messages_request r = {.messages = NULL};
    hd_ask_init(&r.ask);
    hd_shape_bind(&hd_messages_shape, call->body, &r);
    r.ask.split_reasoning = true;
    r.ask.parse_tools = hd_anthropic_has_tools(&r);
    hd_prompt *prompt = hd_calloc(1, sizeof *prompt);
    if (!prompt) return hd_fail(err, HD_E_MEMORY, "out of memory for a prompt");
    hd_status status = hd_anthropic_prompt(call, &r, prompt, err);
    if (status == HD_OK) return hd_generation_start(call, &r.ask, &dialect, prompt, 1, taken, err);
    hd_prompts_free(prompt, 1);
    return status;
}

hd_status hd_count_tokens(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    hd_messages_request r = {.messages = NULL};
    hd_prompt prompt = {NULL, 0, false};
    hd_buf out;
    hd_ask_init(&r.ask);
    hd_shape_bind(&hd_count_tokens_shape, call->body, &r);
    HD_TRY(hd_anthropic_prompt(call, &r, &prompt, err));
    hd_buf_init(&out, 256); /* a number */
    hd_out_begin(&out, '{');
    hd_out_member_int(&out, "input_tokens", (int64_t)prompt.count);
    hd_out_end(&out, '}');
    hd_ids_release(prompt.ids);
    hd_call_reply_json(call, 200, &out);
    return HD_OK;
}
