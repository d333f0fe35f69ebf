/* gateway/openai_completions.c: POST /v1/completions. */
#include <string.h>

#include "gateway/gateway_internal.h"
#include "gateway/openai.h"
#include "gateway/prompts.h"

/* ---- the request ---- */

typedef struct completion_request {
    hd_ask ask;
    hd_str model, suffix;
    const json_t *prompt;
    int64_t logprobs, best_of;
} completion_request;

static const hd_shape logprobs = {.kind = HD_SHAPE_INT, .min = 0, .max = HD_TOP_LOGPROBS};

static const hd_field fields[] = {
    {.name = "model",
     .shape = &hd_shape_string,
     HD_BIND(completion_request, model),
     .doc = "Without it: the first model."},
    {.name = "prompt",
     .shape = &hd_shape_prompt,
     HD_BIND(completion_request, prompt),
     .required = true,
     .doc = "A text, ids of tokens, or a list of either."},
    {.name = "suffix",
     .shape = &hd_shape_string,
     HD_BIND(completion_request, suffix),
     .doc = "What follows: the answer stands between prompt and suffix."},
    {.name = "echo",
     .shape = &hd_shape_bool,
     HD_BIND(completion_request, ask.echo),
     .doc = "Give the prompt before the answer."},
    {.name = "logprobs",
     .shape = &logprobs,
     HD_BIND(completion_request, logprobs),
     .doc = "Log-probabilities of so many of the likeliest tokens, and of the chosen ones."},
    {.name = "best_of",
     .shape = &hd_shape_choices,
     HD_BIND(completion_request, best_of),
     .doc = "Equal to n, if given."},
    HD_ASK_OPENAI_FIELDS(completion_request, ask),
    {.name = NULL},
};
const hd_shape hd_completion_shape = {.kind = HD_SHAPE_OBJECT, .fields = fields, .name = "CompletionRequest"};

static hd_status check_request(hd_call *call, const completion_request *r, hd_error *err)
{
    if (r->best_of >= 0 && r->best_of != r->ask.n)
        return hd_call_refuse(call, err, "best_of", "must be n: all answers are given");
    if (r->ask.echo && r->logprobs >= 0)
        return hd_call_refuse(call, err, "echo",
                              "log-probabilities of the prompt are not given: leave one of both out");
    if (r->suffix.data && (!json_is_string(r->prompt) || r->ask.echo))
        return hd_call_refuse(call, err, "suffix", "goes with a prompt that is one text, and without echo");
    return HD_OK;
}

/* ---- log-probabilities: four lists side by side ---- */

typedef void (*each_record)(hd_buf *out, const hd_choice *c, const hd_logprob *record);

static void write_text(hd_buf *out, const hd_choice *c, int32_t id)
{
    char *text;
    size_t len;
    hd_openai_token(c, id, &text, &len);
    hd_out_text(out, text ? text : "", len);
    hd_string_free(text);
}

static void write_token(hd_buf *out, const hd_choice *c, const hd_logprob *record)
{
    write_text(out, c, record->id);
}

static void write_logprob(hd_buf *out, const hd_choice *c, const hd_logprob *record)
{
    (void)c;
    hd_out_real(out, hd_openai_logprob((double)record->logprob));
}

/* Two tokens may have the same text; an object has each key once, so the likelier one stays. */
static bool text_seen(const hd_choice *c, const hd_logprob *record, int at)
{
    bool seen = false;
    char *a, *b;
    size_t a_len, b_len;
    hd_openai_token(c, record[at].id, &a, &a_len);
    for (int i = 1; i < at && !seen; i++) {
        hd_openai_token(c, record[i].id, &b, &b_len);
        seen = a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
        hd_string_free(b);
    }
    hd_string_free(a);
    return seen;
}

static void write_top(hd_buf *out, const hd_choice *c, const hd_logprob *record)
{
    hd_out_begin(out, '{');
    for (int i = 1; i <= c->generation->top_count; i++) {
        if (text_seen(c, record, i)) continue;
        write_text(out, c, record[i].id);
        (void)hd_buf_putc(out, ':');
        write_logprob(out, c, &record[i]);
    }
    hd_out_end(out, '}');
}

static void write_list(hd_buf *out, const char *key, const hd_choice *c, size_t from, each_record write)
{
    hd_out_member_begin(out, key, '[');
    for (size_t i = from; i < c->record_count; i++)
        write(out, c, hd_choice_record(c, i));
    hd_out_end(out, ']');
}

/* Where each token's text begins, in characters of the answer. */
static void write_offsets(hd_buf *out, hd_choice *c, size_t from)
{
    hd_out_member_begin(out, "text_offset", '[');
    for (size_t i = from; i < c->record_count; i++) {
        char *text;
        size_t len;
        hd_out_int(out, (int64_t)c->text_chars);
        hd_openai_token(c, hd_choice_record(c, i)->id, &text, &len);
        for (size_t k = 0; k < len; k++)
            c->text_chars += ((unsigned char)text[k] & 0xc0) != 0x80;
        hd_string_free(text);
    }
    hd_out_end(out, ']');
}

static void write_logprobs(hd_buf *out, hd_choice *c, size_t from)
{
    hd_out_key(out, "logprobs");
    if (!c->generation->ask.logprobs) {
        hd_out_null(out);
        return;
    }
    hd_out_begin(out, '{');
    write_list(out, "tokens", c, from, write_token);
    write_list(out, "token_logprobs", c, from, write_logprob);
    write_list(out, "top_logprobs", c, from, write_top);
    write_offsets(out, c, from);
    hd_out_end(out, '}');
}

/* ---- replies ---- */

static void write_choice(hd_buf *out, hd_choice *c, hd_str text, const char *finish)
{
    hd_out_begin(out, '{');
    hd_out_member_int(out, "index", c->index);
    hd_out_member_text(out, "text", text.data, text.len);
    write_logprobs(out, c, c->records_given);
    hd_openai_token_ids(out, c, c->records_given, c->record_count);
    c->records_given = c->record_count;
    hd_out_member_string(out, "finish_reason", finish);
    hd_out_end(out, '}');
}

static void write_chunk(hd_choice *c, hd_str text, const char *finish)
{
    hd_buf out;
    hd_openai_begin_chunk(&out, c->generation, "cmpl", "text_completion");
    write_choice(&out, c, text, finish);
    hd_openai_end_chunk(&out, c->generation);
}

/* The prompt's text, for echo. */
static void prompt_text(const hd_choice *c, char **text, size_t *len)
{
    const hd_text *tokenizer = c->generation->model->text;
    *text = NULL;
    *len = 0;
    if (c->generation->ask.echo && tokenizer)
        (void)hd_text_decode(tokenizer, c->prompt->ids, c->prompt->count, false, text, len, NULL);
}

static void stream_begin(hd_generation *g)
{
    for (int i = 0; g->ask.echo && i < g->choice_count; i++) {
        char *text;
        size_t len;
        prompt_text(&g->choices[i], &text, &len);
        if (len) write_chunk(&g->choices[i], (hd_str){text, len}, NULL);
        hd_string_free(text);
    }
}

static void stream_piece(hd_choice *c, hd_piece_kind kind, const char *data, size_t len)
{
    (void)kind; /* neither reasoning nor calls are looked for */
    write_chunk(c, (hd_str){data, len}, NULL);
}

static void stream_choice_end(hd_choice *c)
{
    write_chunk(c, (hd_str){"", 0}, hd_openai_finish(c));
}

static void stream_end(hd_generation *g)
{
    hd_openai_end(g, "cmpl", "text_completion");
}

static void write_whole_choice(hd_buf *out, hd_choice *c)
{
    char *echo;
    size_t len;
    hd_buf text;
    prompt_text(c, &echo, &len);
    hd_buf_init(&text, HD_EVENT_MAX * 8);
    (void)hd_buf_append(&text, echo ? echo : "", len);
    for (size_t i = 0; i < c->block_count; i++)
        if (c->blocks[i].text.len) (void)hd_buf_append(&text, c->blocks[i].text.data, c->blocks[i].text.len);
    if (text.status != HD_OK) out->status = text.status;
    write_choice(out, c, (hd_str){text.data ? text.data : "", text.len}, hd_openai_finish(c));
    hd_buf_free(&text);
    hd_string_free(echo);
}

static void whole(hd_generation *g, hd_buf *out)
{
    hd_openai_whole(g, out, "cmpl", "text_completion", write_whole_choice);
}

static const hd_dialect dialect = {.begin = stream_begin,
                                   .piece = stream_piece,
                                   .choice_end = stream_choice_end,
                                   .end = stream_end,
                                   .error = hd_openai_error,
                                   .whole = whole};

static hd_status read_fim(hd_call *call, const completion_request *r, hd_prompt **out, size_t *count, hd_error *err)
{
    hd_str prefix = {json_string_value(r->prompt), json_string_length(r->prompt)};
    *count = 1;
    *out = hd_calloc(1, sizeof **out);
    if (!*out) return hd_fail(err, HD_E_MEMORY, "out of memory for a prompt");
    hd_status status = hd_prompt_fim(call, prefix, r->suffix, *out, err);
    if (status != HD_OK) hd_prompts_free(*out, 1);
    return status;
}

hd_status hd_completions(hd_call *call, bool *taken, hd_error *err)
{
    completion_request r = {.logprobs = -1, .best_of = -1};
    hd_prompt *prompts;
    size_t count;
    hd_ask_init(&r.ask);
    hd_shape_bind(&hd_completion_shape, call->body, &r);
    HD_TRY(check_request(call, &r, err));
    r.ask.logprobs = r.logprobs >= 0;
    r.ask.top_logprobs = HD_MAX(r.logprobs, 0);
    if (r.suffix.len)
        HD_TRY(read_fim(call, &r, &prompts, &count, err));
    else
        HD_TRY(hd_prompts_read(call, r.prompt, "prompt", &prompts, &count, err));
    return hd_generation_start(call, &r.ask, &dialect, prompts, count, taken, err);
}
