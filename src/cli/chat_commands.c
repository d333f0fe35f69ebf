/* cli/chat_commands.c: the /commands of a chat. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/chat.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/request.h"
#include "cli/terminal.h"

#define HD_CHAT_FILE_MAX ((size_t)64 << 20)
#define HD_CHAT_FORMAT "hadal-chat"

typedef hd_status (*command_fn)(hd_chat *chat, const char *argument, hd_error *err);

/* ---- leaving, forgetting, going back ---- */

static hd_status cmd_exit(hd_chat *chat, const char *argument, hd_error *err)
{
    (void)argument, (void)err;
    chat->leaving = true;
    return HD_OK;
}

static hd_status cmd_clear(hd_chat *chat, const char *argument, hd_error *err)
{
    (void)argument;
    json_t *first = json_incref(json_array_get(chat->messages, 0));
    const char *role = json_string_value(json_object_get(first, "role"));
    json_array_clear(chat->messages);
    if (role && strcmp(role, "system") == 0) json_array_append(chat->messages, first);
    json_decref(first);
    hd_chat_note("[a new conversation%s]", json_array_size(chat->messages) ? "; the system message stays" : "");
    return hd_session_truncate(chat->session, 0, err);
}

static hd_status cmd_undo(hd_chat *chat, const char *argument, hd_error *err)
{
    (void)argument;
    if (!hd_chat_undo(chat)) return hd_fail(err, HD_E_ARGUMENT, "there is nothing to take back");
    hd_chat_note("[your last message and its answer are taken back]");
    return HD_OK;
}

static hd_status cmd_retry(hd_chat *chat, const char *argument, hd_error *err)
{
    (void)argument;
    return hd_chat_retry(chat, err);
}

static hd_status cmd_multi(hd_chat *chat, const char *argument, hd_error *err)
{
    (void)argument, (void)err;
    chat->next_block = true;
    hd_chat_note("[type as many lines as you like; a line that ends with \"\"\" sends them]");
    return HD_OK;
}

static hd_status cmd_system(hd_chat *chat, const char *argument, hd_error *err)
{
    if (!argument[0]) {
        const json_t *first = json_array_get(chat->messages, 0), *content = json_object_get(first, "content");
        const char *role = json_string_value(json_object_get(first, "role"));
        if (!role || strcmp(role, "system") != 0) content = NULL;
        hd_chat_note("[%s]", content ? json_string_value(content) : "no system message; /system TEXT sets one");
        return HD_OK;
    }
    if (strcmp(argument, "\"\"") == 0) argument = "";
    HD_TRY(hd_chat_set_system(chat, argument, err));
    hd_chat_note(argument[0] ? "[the system message is set, from the next answer on]"
                             : "[the system message is removed]");
    return HD_OK;
}

/* ---- files ---- */

static hd_status remember_file(hd_chat *chat, const char *path, hd_error *err)
{
    char *copy = hd_strdup(path);
    if (!copy) return hd_fail(err, HD_E_MEMORY, "out of memory for the name of the file");
    hd_free(chat->saved_as);
    chat->saved_as = copy;
    return HD_OK;
}

static hd_status cmd_save(hd_chat *chat, const char *argument, hd_error *err)
{
    const char *path = argument[0] ? argument : chat->saved_as;
    if (!path) return hd_fail(err, HD_E_ARGUMENT, "/save FILE: the name of the file is missing");
    bool ours = chat->saved_as && strcmp(path, chat->saved_as) == 0;
    if (!ours && access(path, F_OK) == 0)
        return hd_fail(err, HD_E_ARGUMENT, "%s is there already; take another name or remove it first", path);
    hd_buf bytes;
    json_t *o = json_pack("{s:s, s:i, s:o, s:O}", "format", HD_CHAT_FORMAT, "version", 1, "model",
                          hd_json_text(chat->path, strlen(chat->path)), "messages", chat->messages);
    if (!o) return hd_fail(err, HD_E_MEMORY, "out of memory for the conversation");
    hd_status status = hd_json_dump(o, &bytes, err);
    if (status == HD_OK) status = hd_buf_putc(&bytes, '\n');
    if (status == HD_OK) status = hd_file_write_private(path, bytes.data, bytes.len, err);
    hd_buf_free(&bytes);
    json_decref(o);
    HD_TRY(status);
    hd_chat_note("[%zu messages are in %s]", json_array_size(chat->messages), path);
    return ours ? HD_OK : remember_file(chat, path, err);
}

/* One message of a file, with only the members that we know. */
static hd_status take_message(json_t *list, const json_t *message, size_t index, hd_error *err)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    const json_t *content = json_object_get(message, "content"),
                 *reasoning = json_object_get(message, "reasoning_content");
    bool known = role && (strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0 ||
                          (strcmp(role, "system") == 0 && index == 0));
    if (!known || !json_is_string(content))
        return hd_fail(err, HD_E_FORMAT, "message %zu needs a role (user, assistant; system first) and a content",
                       index);
    HD_TRY(hd_request_add(list, role, json_string_value(content), json_string_length(content), err));
    if (json_is_string(reasoning))
        json_object_set(json_array_get(list, index), "reasoning_content", (json_t *)reasoning);
    return HD_OK;
}

static hd_status take_messages(hd_chat *chat, const json_t *file, hd_error *err)
{
    const json_t *messages = json_object_get(file, "messages");
    if (!json_is_array(messages)) return hd_fail(err, HD_E_FORMAT, "not a saved chat: it has no list 'messages'");
    json_t *list = json_array();
    hd_status status = list ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for the messages");
    for (size_t i = 0; i < json_array_size(messages) && status == HD_OK; i++)
        status = take_message(list, json_array_get(messages, i), i, err);
    if (status != HD_OK) {
        json_decref(list);
        return status;
    }
    json_decref(chat->messages);
    chat->messages = list;
    return HD_OK;
}

static hd_status cmd_load(hd_chat *chat, const char *argument, hd_error *err)
{
    json_t *file = NULL;
    if (!argument[0]) return hd_fail(err, HD_E_ARGUMENT, "/load FILE: the name of the file is missing");
    HD_TRY(hd_json_parse_file(&file, argument, HD_CHAT_FILE_MAX, err));
    hd_status status = take_messages(chat, file, err);
    if (status != HD_OK) status = hd_fail_in(err, status, "%s", argument);
    json_decref(file);
    HD_TRY(status);
    hd_chat_note("[%zu messages from %s; /retry answers the last one anew]", json_array_size(chat->messages), argument);
    return remember_file(chat, argument, err);
}

/* ---- settings ---- */

static hd_status show_settings(hd_chat *chat, hd_error *err)
{
    hd_sampling s;
    HD_TRY(hd_sampling_flags_apply(&chat->sampling_flags, chat->engine, &s, err));
    hd_chat_note("temperature=%g top-k=%d top-p=%g min-p=%g repetition-penalty=%g presence-penalty=%g "
                 "frequency-penalty=%g max-tokens=%lld",
                 (double)s.temperature, s.top_k, (double)s.top_p, (double)s.min_p, (double)s.repetition_penalty,
                 (double)s.presence_penalty, (double)s.frequency_penalty, (long long)chat->max_tokens);
    return HD_OK;
}

static hd_status set_option(hd_chat *chat, const char *name, const char *value, hd_error *err)
{
    hd_opt limit = {.name = "max-tokens", .type = HD_OPT_INT, .value = &chat->max_tokens, .min = -1, .max = 1 << 30};
    hd_opt *found = strcmp(name, limit.name) == 0 ? &limit : NULL;
    hd_sampling_flags *flags = &chat->sampling_flags;
    const char *names[HD_ARRAY_LEN(flags->opts) + 1] = {"max-tokens"};
    size_t count = 1;
    for (size_t i = 0; i < HD_ARRAY_LEN(flags->opts); i++) {
        hd_opt *opt = &flags->opts[i];
        if (opt->type != HD_OPT_INT && opt->type != HD_OPT_FLOAT) continue;
        names[count++] = opt->name;
        if (strcmp(opt->name, name) == 0) found = opt;
    }
    char why[HD_ERROR_TEXT];
    const char *near = found ? NULL : hd_suggest(name, names, count);
    if (!found)
        return hd_fail(err, HD_E_ARGUMENT, "/set knows no '%s'%s%s", name, near ? "; did you mean " : "",
                       near ? near : "");
    if (!hd_opt_set(found, value, why, sizeof why)) return hd_fail(err, HD_E_ARGUMENT, "%s", why + strlen("--"));
    if (strcmp(name, "temperature") == 0) flags->greedy = false; /* the later word counts */
    return HD_OK;
}

static hd_status cmd_set(hd_chat *chat, const char *argument, hd_error *err)
{
    char name[64] = "";
    const char *equals = strchr(argument, '=');
    if (!argument[0]) return show_settings(chat, err);
    if (!equals || (size_t)(equals - argument) >= sizeof name)
        return hd_fail(err, HD_E_ARGUMENT, "/set NAME=VALUE, such as /set temperature=0.7; /set alone shows them");
    for (const char *c = argument; c < equals; c++)
        name[c - argument] = *c == '_' ? '-' : *c;
    HD_TRY(set_option(chat, name, equals + 1, err));
    return show_settings(chat, err);
}

bool hd_chat_set_think(hd_chat *chat, const char *mode)
{
    static const char *const modes[] = {"auto", "on", "off", "hide"};
    for (size_t i = 0; i < HD_ARRAY_LEN(modes); i++) {
        if (strcmp(mode, modes[i]) != 0) continue;
        chat->think = (hd_think)i;
        return true;
    }
    return false;
}

static hd_status cmd_think(hd_chat *chat, const char *argument, hd_error *err)
{
    static const char *const said[] = {"as the model does, and shown", "asked for, and shown",
                                       "the model is asked not to reason; what it reasons all the same is not shown",
                                       "as the model does, not shown"};
    if (argument[0] && !hd_chat_set_think(chat, argument))
        return hd_fail(err, HD_E_ARGUMENT, "/think on|off|hide|auto");
    hd_chat_note("[reasoning: %s]", said[chat->think]);
    return HD_OK;
}

static hd_status cmd_stats(hd_chat *chat, const char *argument, hd_error *err)
{
    (void)argument, (void)err;
    const hd_chat_stats *l = &chat->last, *t = &chat->total;
    hd_chat_note("model    %s: %s, %s, %d threads", chat->path, chat->info.architecture, chat->info.cpu,
                 chat->info.threads);
    hd_chat_note("memory   weights %.1f MiB + %.1f MiB repacked, cache %.1f MiB, workspace %.1f MiB",
                 (double)chat->info.weight_bytes / (1 << 20), (double)chat->info.packed_bytes / (1 << 20),
                 (double)hd_session_cache_bytes(chat->session) / (1 << 20),
                 (double)chat->info.scratch_bytes / (1 << 20));
    hd_chat_note("context  %lld of %lld tokens, %zu messages", (long long)hd_session_length(chat->session),
                 (long long)chat->info.context, json_array_size(chat->messages));
    hd_chat_note("last     read %lld of %lld tokens at %.1f/s, wrote %lld at %.1f/s",
                 (long long)(l->prompt_tokens - l->reused_tokens), (long long)l->prompt_tokens,
                 hd_rate(l->prompt_tokens - l->reused_tokens, l->prefill_seconds), (long long)l->answer_tokens,
                 hd_rate(l->answer_tokens, l->answer_seconds));
    hd_chat_note("total    %lld answers, %lld tokens at %.1f/s", (long long)chat->turns, (long long)t->answer_tokens,
                 hd_rate(t->answer_tokens, t->answer_seconds));
    return HD_OK;
}

/* ---- the table ---- */

static hd_status cmd_help(hd_chat *chat, const char *argument, hd_error *err);

static const struct {
    const char *name, *argument, *help;
    command_fn run;
} table[] = {
    {"help", "", "this list", cmd_help},
    {"exit", "", "leaves; so does Ctrl-D", cmd_exit},
    {"clear", "", "starts a new conversation; the system message stays", cmd_clear},
    {"system", "[TEXT]", "shows or sets the system message; \"\" removes it", cmd_system},
    {"save", "[FILE]", "writes the conversation to a file", cmd_save},
    {"load", "FILE", "goes on with a conversation from a file", cmd_load},
    {"set", "[NAME=VALUE]", "shows or sets sampling, such as temperature=0.7, top-p, seed, max-tokens", cmd_set},
    {"think", "[on|off|hide|auto]", "whether the model reasons, and whether that is shown", cmd_think},
    {"retry", "", "answers your last message anew", cmd_retry},
    {"undo", "", "takes back your last message and its answer", cmd_undo},
    {"multi", "", "the next message may have many lines; a line that ends with \"\"\" sends it", cmd_multi},
    {"stats", "", "tokens, speed, memory", cmd_stats},
    {"quit", "", "the same as /exit", cmd_exit},
};

static hd_status cmd_help(hd_chat *chat, const char *argument, hd_error *err)
{
    (void)chat, (void)argument, (void)err;
    for (size_t i = 0; i < HD_ARRAY_LEN(table); i++) {
        char left[64];
        snprintf(left, sizeof left, "/%s %s", table[i].name, table[i].argument);
        hd_chat_note("  %-26s %s", left, table[i].help);
    }
    hd_chat_note(
        "A line that ends in \\ goes on in the next one; a block from \"\"\" to \"\"\" is one message; // starts a\n"
        "message with a slash.  Ctrl-C stops an answer, Ctrl-D leaves.");
    return HD_OK;
}

hd_status hd_chat_command(hd_chat *chat, const char *line, hd_error *err)
{
    const char *names[HD_ARRAY_LEN(table)];
    char name[32] = "";
    size_t len = strcspn(line + 1, " \t");
    const char *argument = line + 1 + len + strspn(line + 1 + len, " \t");
    memcpy(name, line + 1, HD_MIN(len, sizeof name - 1));
    for (size_t i = 0; i < HD_ARRAY_LEN(table); i++) {
        names[i] = table[i].name;
        if (strcmp(table[i].name, name) == 0) return table[i].run(chat, argument, err);
    }
    const char *near = hd_suggest(name, names, HD_ARRAY_LEN(table));
    return hd_fail(err, HD_E_ARGUMENT, "there is no /%s%s%s; /help lists what there is", name,
                   near ? "; did you mean /" : "", near ? near : "");
}
