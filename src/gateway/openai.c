/* gateway/openai.c: what OpenAI's two ways of completing have in common. */
#include "gateway/openai.h"

#include <stdio.h>
#include <string.h>

static void write_usage(hd_buf *out, const hd_generation *g)
{
    hd_usage u;
    hd_generation_usage(g, &u);
    hd_out_member_begin(out, "usage", '{');
    hd_out_member_int(out, "prompt_tokens", u.prompt);
    hd_out_member_int(out, "completion_tokens", u.completion);
    hd_out_member_int(out, "total_tokens", u.prompt + u.completion);
    hd_out_member_begin(out, "prompt_tokens_details", '{');
    hd_out_member_int(out, "cached_tokens", u.cached);
    hd_out_end(out, '}');
    hd_out_member_begin(out, "completion_tokens_details", '{');
    hd_out_member_int(out, "reasoning_tokens", u.reasoning);
    hd_out_end(out, '}');
    hd_out_end(out, '}');
}

const char *hd_openai_finish(const hd_choice *c)
{
    if (c->end.reason == HD_FINISH_LENGTH) return "length";
    return c->tools ? "tool_calls" : "stop";
}

/* The members that every reply and event begins with. */
static void write_head(hd_buf *out, const hd_generation *g, const char *kind, const char *object)
{
    char id[64];
    snprintf(id, sizeof id, "%s-%s", kind, g->tag);
    hd_out_member_string(out, "id", id);
    hd_out_member_string(out, "object", object);
    hd_out_member_int(out, "created", g->created);
    hd_out_member_string(out, "model", hd_call_model_name(g->call));
    hd_out_member_string(out, "system_fingerprint", g->model->precision);
}

static void begin_reply(hd_buf *out, const hd_generation *g, const char *kind, const char *object)
{
    hd_out_begin(out, '{');
    write_head(out, g, kind, object);
    hd_out_member_begin(out, "choices", '[');
}

void hd_openai_whole(hd_generation *g, hd_buf *out, const char *kind, const char *object,
                     void (*write)(hd_buf *out, hd_choice *choice))
{
    begin_reply(out, g, kind, object);
    for (int i = 0; i < g->choice_count; i++)
        write(out, &g->choices[i]);
    hd_out_end(out, ']');
    write_usage(out, g);
    hd_out_end(out, '}');
}

void hd_openai_begin_chunk(hd_buf *out, const hd_generation *g, const char *kind, const char *object)
{
    hd_buf_init(out, HD_EVENT_MAX);
    begin_reply(out, g, kind, object);
}

void hd_openai_end_chunk(hd_buf *out, hd_generation *g)
{
    hd_out_end(out, ']');
    if (g->usage) hd_out_member_null(out, "usage");
    hd_out_end(out, '}');
    hd_generation_event(g, NULL, out);
    hd_buf_free(out);
}

const hd_logprob *hd_choice_record(const hd_choice *c, size_t index)
{
    return c->records + index * (1 + (size_t)c->generation->top_count);
}

void hd_openai_token_ids(hd_buf *out, const hd_choice *c, size_t from, size_t to)
{
    if (!c->generation->ask.return_token_ids) return;
    hd_out_member_begin(out, "token_ids", '[');
    for (size_t i = from; i < to; i++)
        hd_out_int(out, hd_choice_record(c, i)->id);
    hd_out_end(out, ']');
}

static void write_usage_event(hd_generation *g, const char *kind, const char *object)
{
    hd_buf out;
    hd_openai_begin_chunk(&out, g, kind, object);
    hd_out_end(&out, ']');
    write_usage(&out, g);
    hd_out_end(&out, '}');
    hd_generation_event(g, NULL, &out);
    hd_buf_free(&out);
}

void hd_openai_end(hd_generation *g, const char *kind, const char *object)
{
    hd_buf done;
    if (g->usage) write_usage_event(g, kind, object);
    hd_buf_init(&done, 16);
    (void)hd_buf_puts(&done, "[DONE]"); /* a failure sticks to the buffer */
    hd_generation_event(g, NULL, &done);
    hd_buf_free(&done);
}

void hd_openai_error(hd_generation *g, const hd_error *err)
{
    hd_buf out;
    hd_buf_init(&out, HD_EVENT_MAX);
    hd_call_write_error(&out, g->call, err);
    hd_generation_event(g, NULL, &out);
    hd_buf_free(&out);
}

double hd_openai_logprob(double logprob)
{
    const double lowest = -9999.0;
    return logprob > lowest ? logprob : lowest; /* not a number gives the lowest, too */
}

void hd_openai_token(const hd_choice *c, int32_t id, char **text, size_t *len)
{
    *text = NULL;
    *len = 0;
    if (c->generation->model->text) (void)hd_text_token(c->generation->model->text, id, text, len, NULL);
}
