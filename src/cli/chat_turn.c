/* cli/chat_turn.c: one turn of a conversation: the prompt of all messages, what of it is new, the answer. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/chat.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/request.h"
#include "cli/terminal.h"

#define HD_ANSWER_ROOM 256 /* tokens of the context that are kept free for an answer, at most a quarter of it */

void hd_chat_note(const char *fmt, ...)
{
    char line[HD_ERROR_TEXT + 64];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    fflush(stdout);
    hd_terminal_dim(stderr, true);
    hd_terminal_write(stderr, line, strlen(line)); /* it may quote a message of a file */
    hd_terminal_dim(stderr, false);
    fputc('\n', stderr);
}

/* ---- messages ---- */

static bool has_role(const json_t *messages, size_t index, const char *role)
{
    const char *own = json_string_value(json_object_get(json_array_get(messages, index), "role"));
    return own && strcmp(own, role) == 0;
}

bool hd_chat_undo(hd_chat *chat)
{
    size_t count = json_array_size(chat->messages), at = count;
    while (at > 0 && !has_role(chat->messages, at - 1, "user"))
        at--;
    if (at == 0) return false;
    while (count >= at)
        json_array_remove(chat->messages, --count);
    return true;
}

hd_status hd_chat_set_system(hd_chat *chat, const char *text, hd_error *err)
{
    if (has_role(chat->messages, 0, "system")) json_array_remove(chat->messages, 0);
    if (!text[0]) return HD_OK;
    json_t *message = json_pack("{s:s, s:o}", "role", "system", "content", hd_json_text(text, strlen(text)));
    if (!message || json_array_insert_new(chat->messages, 0, message) != 0)
        return hd_fail(err, HD_E_MEMORY, "out of memory for the system message");
    return HD_OK;
}

/* Removes the oldest message of the user and its answer; false when only the last one is left. */
static bool drop_oldest(hd_chat *chat)
{
    size_t count = json_array_size(chat->messages), first = has_role(chat->messages, 0, "system"), next = first + 1;
    while (next < count && !has_role(chat->messages, next, "user"))
        next++;
    if (next >= count) return false;
    for (size_t i = first; i < next; i++)
        json_array_remove(chat->messages, first);
    return true;
}

/* ---- the prompt ---- */

/* The templates of the supported families each have their own name for it; the others ignore these. */
static int set_thinking(json_t *request, bool on)
{
    int failed = json_object_set_new(request, "enable_thinking", json_boolean(on));
    failed |= json_object_set_new(request, "thinking", json_boolean(on));
    return failed | json_object_set_new(request, "thinking_mode", json_string(on ? "thinking" : "chat"));
}

static hd_status render(const hd_chat *chat, int32_t **ids, size_t *count, hd_error *err)
{
    hd_buf bytes;
    json_t *request = json_object();
    int failed = json_object_set(request, "messages", chat->messages);
    if (chat->think == HD_THINK_ON || chat->think == HD_THINK_OFF)
        failed |= set_thinking(request, chat->think == HD_THINK_ON);
    hd_status status = failed ? hd_fail(err, HD_E_MEMORY, "out of memory for the request") : HD_OK;
    if (status == HD_OK) status = hd_request_set_vars(request, &chat->vars, err);
    if (status == HD_OK) {
        status = hd_json_dump(request, &bytes, err);
        if (status == HD_OK) status = hd_chat_prompt(chat->text, bytes.data, bytes.len, ids, count, err);
        hd_buf_free(&bytes);
    }
    json_decref(request);
    return status;
}

/* Renders; while there is no room for an answer, drops the oldest turns. */
static hd_status render_fitting(hd_chat *chat, int32_t **ids, size_t *count, hd_error *err)
{
    int64_t context = chat->info.context, room = HD_MIN(HD_ANSWER_ROOM, context / 4);
    int dropped = 0;
    HD_TRY(render(chat, ids, count, err));
    while ((int64_t)*count > context - room && drop_oldest(chat)) {
        dropped++;
        hd_ids_release(*ids);
        *ids = NULL;
        HD_TRY(render(chat, ids, count, err));
    }
    if (dropped)
        hd_chat_note("[the context of %lld tokens is full: the oldest %d turn%s left out; /clear starts over]",
                     (long long)context, dropped, dropped == 1 ? " is" : "s are");
    if ((int64_t)*count < context) return HD_OK;
    return hd_fail(err, HD_E_CONTEXT, "the message has %zu tokens, the context holds %lld; shorten it%s", *count,
                   (long long)context, context < chat->info.model_context ? " or start with a larger --context" : "");
}

/* Makes the session hold exactly `ids`, evaluating only what it does not hold yet. */
static hd_status bring_session_to(hd_chat *chat, const int32_t *ids, size_t count, hd_error *err)
{
    const int32_t *held = hd_session_tokens(chat->session);
    size_t length = (size_t)hd_session_length(chat->session), same = 0;
    while (same < length && same < count && held[same] == ids[same])
        same++;
    if (same == count && same > 0) same--; /* the last token has to be fed for its logits */
    HD_TRY(hd_session_truncate(chat->session, (int64_t)same, err));
    chat->last.prompt_tokens = (int64_t)count;
    chat->last.reused_tokens = (int64_t)same;
    uint64_t start = hd_clock_ns();
    HD_TRY(
        hd_cli_feed(chat->session, chat->engine, ids + same, (int64_t)(count - same), chat->engine_flags.chunk, err));
    chat->last.prefill_seconds = hd_seconds_since(start);
    return HD_OK;
}

/* ---- the answer ---- */

typedef struct turn {
    hd_chat *chat;
    hd_answer *answer;
    hd_buf text, reasoning;
    int shown;  /* kind of the last piece that was printed, -1 at first */
    bool fresh; /* newlines at the start of a part are not printed */
} turn;

static bool shows_reasoning(const hd_chat *chat)
{
    return chat->think == HD_THINK_ON || (chat->think == HD_THINK_DEFAULT && chat->interactive);
}

/* Reasoning is dim where that can be seen, else in brackets. */
static void change_part(turn *t, int kind)
{
    bool styled = hd_terminal_styled(stdout);
    if (t->shown == HD_PIECE_REASONING) {
        hd_terminal_dim(stdout, false);
        fputs(styled ? "\n\n" : "\n[end of reasoning]\n", stdout);
    }
    if (kind == HD_PIECE_REASONING) {
        hd_terminal_dim(stdout, true);
        if (!styled) fputs("[reasoning]\n", stdout);
    }
    t->shown = kind;
    t->fresh = true;
}

static void on_piece(void *arg, hd_piece_kind kind, const char *data, size_t len)
{
    turn *t = arg;
    (void)hd_buf_append(kind == HD_PIECE_REASONING ? &t->reasoning : &t->text, data,
                        len); /* sticky; checked at the end */
    if (kind == HD_PIECE_REASONING && !shows_reasoning(t->chat)) {
        if (t->chat->interactive && t->reasoning.len == len)
            hd_chat_note("[reasoning, not shown]"); /* the first piece */
        return;
    }
    if (t->shown != (int)kind) {
        size_t blank = 0;
        while (blank < len && (data[blank] == '\n' || data[blank] == ' '))
            blank++;
        if (blank == len) return; /* an empty think block opens nothing */
        change_part(t, (int)kind);
    }
    while (t->fresh && len && data[0] == '\n')
        data++, len--;
    if (len) t->fresh = false;
    hd_terminal_write(stdout, data, len);
    fflush(stdout);
}

static hd_status on_token(void *arg, const hd_logprob *chosen, const hd_logprob *top, bool end, bool *stop,
                          hd_error *err)
{
    (void)top;
    turn *t = arg;
    hd_status status = end ? HD_OK : hd_answer_push(t->answer, chosen->id, stop, err);
    if (ferror(stdout)) *stop = true; /* nobody reads on; the chat ends */
    return status;
}

static hd_status generate(turn *t, hd_generation *g, hd_error *err)
{
    hd_chat *chat = t->chat;
    hd_sampling sampling;
    HD_TRY(hd_sampling_flags_apply(&chat->sampling_flags, chat->engine, &sampling, err));
    *g = (hd_generation){.engine = chat->engine,
                         .session = chat->session,
                         .sampling = &sampling,
                         .ends = chat->ends,
                         .end_count = chat->end_count,
                         .max_tokens = chat->max_tokens,
                         .token = on_token,
                         .arg = t};
    HD_TRY(hd_generate(g, err));
    g->sampling = NULL; /* it ends here */
    HD_TRY(hd_answer_finish(t->answer, err));
    if (t->text.status != HD_OK || t->reasoning.status != HD_OK)
        return hd_fail(err, HD_E_LIMIT, "the answer is longer than can be kept");
    return HD_OK;
}

static hd_status keep_answer(const turn *t, hd_error *err)
{
    const char *text = t->text.data ? t->text.data : "";
    HD_TRY(hd_request_add(t->chat->messages, "assistant", text, t->text.len, err));
    if (!t->reasoning.len) return HD_OK;
    json_t *message = json_array_get(t->chat->messages, json_array_size(t->chat->messages) - 1);
    if (json_object_set_new(message, "reasoning_content", hd_json_text(t->reasoning.data, t->reasoning.len)) == 0)
        return HD_OK;
    return hd_fail(err, HD_E_MEMORY, "out of memory for the answer");
}

static void close_display(const turn *t)
{
    if (t->shown == HD_PIECE_REASONING) hd_terminal_dim(stdout, false);
    putchar('\n');
    fflush(stdout);
}

static void report(const turn *t, const hd_generation *g)
{
    hd_chat *chat = t->chat;
    if (g->finish == HD_ENDING_INTERRUPTED) hd_chat_note("[stopped]");
    if (g->finish == HD_ENDING_CONTEXT)
        hd_chat_note(
            "[the context of %lld tokens is full, so the answer is cut; the oldest turns are left out next time, "
            "/clear starts over]",
            (long long)chat->info.context);
    if (!chat->interactive) return;
    hd_chat_note("[%lld tokens, %.1f tokens/s; read %lld of %lld in %.1f s]", (long long)g->tokens,
                 hd_rate(g->tokens, g->seconds), (long long)(chat->last.prompt_tokens - chat->last.reused_tokens),
                 (long long)chat->last.prompt_tokens, chat->last.prefill_seconds);
}

static void add_stats(hd_chat *chat, const hd_generation *g)
{
    chat->last.answer_tokens = g->tokens;
    chat->last.answer_seconds = g->seconds;
    chat->total.prompt_tokens += chat->last.prompt_tokens;
    chat->total.reused_tokens += chat->last.reused_tokens;
    chat->total.answer_tokens += g->tokens;
    chat->total.prefill_seconds += chat->last.prefill_seconds;
    chat->total.answer_seconds += g->seconds;
    chat->turns++;
}

static hd_status answer_prompt(turn *t, const int32_t *ids, size_t count, hd_error *err)
{
    hd_answer_options options = {.in_reasoning = hd_text_prompt_opens_reasoning(t->chat->text, ids, count),
                                 .split_reasoning = true};
    hd_generation g;
    HD_TRY(bring_session_to(t->chat, ids, count, err));
    HD_TRY(hd_answer_open(&t->answer, t->chat->text, &options, on_piece, t, err));
    hd_status status = generate(t, &g, err);
    close_display(t);
    HD_TRY(status);
    HD_TRY(keep_answer(t, err));
    add_stats(t->chat, &g);
    report(t, &g);
    return HD_OK;
}

/* Answers the last message, which is the user's. */
static hd_status answer_last(hd_chat *chat, hd_error *err)
{
    turn t = {.chat = chat, .shown = -1};
    int32_t *ids = NULL;
    size_t count = 0;
    hd_buf_init(&t.text, SIZE_MAX / 2);
    hd_buf_init(&t.reasoning, SIZE_MAX / 2);
    chat->last = (hd_chat_stats){0};
    hd_engine_resume(chat->engine); /* Ctrl-C may have ended the last answer between two tokens: nothing has met it */
    hd_interrupt_catch(hd_cli_cancel, chat->engine);
    hd_status status = render_fitting(chat, &ids, &count, err);
    if (status == HD_OK) status = answer_prompt(&t, ids, count, err);
    hd_interrupt_catch(NULL, NULL);
    hd_answer_close(&t.answer);
    hd_ids_release(ids);
    hd_buf_free(&t.text);
    hd_buf_free(&t.reasoning);
    return status;
}

/* Cuts the conversation to `count` messages, adds `text` as the user's (NULL: the last one is it) and answers; after an
 * error the conversation is as it was. */
static hd_status answer_from(hd_chat *chat, size_t count, const char *text, size_t len, hd_error *err)
{
    json_t *before = json_copy(chat->messages);
    if (!before) return hd_fail(err, HD_E_MEMORY, "out of memory for the messages");
    while (json_array_size(chat->messages) > count)
        json_array_remove(chat->messages, count);
    hd_status status = text ? hd_request_add(chat->messages, "user", text, len, err) : HD_OK;
    if (status == HD_OK) status = answer_last(chat, err);
    json_decref(status == HD_OK ? before : chat->messages);
    if (status != HD_OK) chat->messages = before;
    return status;
}

hd_status hd_chat_say(hd_chat *chat, const char *text, size_t len, hd_error *err)
{
    return answer_from(chat, json_array_size(chat->messages), text, len, err);
}

hd_status hd_chat_retry(hd_chat *chat, hd_error *err)
{
    size_t count = json_array_size(chat->messages);
    while (count > 0 && !has_role(chat->messages, count - 1, "user"))
        count--;
    if (count == 0) return hd_fail(err, HD_E_ARGUMENT, "there is no message to answer yet");
    return answer_from(chat, count, NULL, 0, err);
}
