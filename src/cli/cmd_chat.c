/* cli/cmd_chat.c: `hadal chat`: a conversation in the terminal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/chat.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/input.h"
#include "cli/models_dir.h"
#include "cli/request.h"
#include "cli/terminal.h"

#define HD_LAST_MODEL "last-model" /* file in the state folder */
#define HD_LAST_MODEL_MAX 8192     /* its bytes */

static const hd_manual manual = {
    .command = "chat",
    .synopsis = "chat [MODEL] [OPTIONS]\nchat MODEL <TURNS",
    .description =
        "Talks with a model in the terminal.  Without MODEL, the model that chat used last is taken, else the only one "
        "in the models folder.\n\n"
        "A line is a message.  A line that ends in \\ goes on in the next one, and a block from \"\"\" to \"\"\" is "
        "one "
        "message.  Ctrl-C stops an answer, not the program; Ctrl-D or /exit leaves, as do SIGTERM (exit code 143) "
        "and a terminal that closes (129); /help lists the other commands: "
        "new "
        "conversation, system message, saving and loading, sampling, reasoning, retry and undo.\n\n"
        "Reasoning (what a model writes between its think markers) is shown dim, apart from the answer; /think hides "
        "it "
        "or asks the model to go without.  The whole conversation is kept until it no longer fits the context; then "
        "the "
        "oldest turns are left out, and a line says so.\n\n"
        "When standard input is not a terminal, each line of it is a turn, and only the answers go to standard output; "
        "the first failure ends the program.",
    .examples = "hadal chat\nhadal chat ./DeepSeek-R1-Distill-Qwen-1.5B --system 'Answer in one sentence.'\n"
                "printf 'My name is Ada.\\nWhat is my name?\\n' | hadal chat model.gguf",
    .environment =
        HD_ENVIRONMENT_MODELS "\n" HD_ENVIRONMENT_COLOR "\n"
                              "XDG_STATE_HOME  folder of the history and of the model used last (~/.local/state)\n"
                              "TERM            dumb or unset: plain lines, no editing",
    .files = "~/.local/state/hadal/chat_history  lines typed in former chats, readable only by you\n"
             "~/.local/state/hadal/last-model    the model used last\n"
             "~/.editrc                          key bindings of the line editor",
};

/* ---- the model used last ---- */

static void remember_model(const char *path)
{
    char *state = NULL;
    if (hd_state_path(HD_LAST_MODEL, &state, NULL) != HD_OK) return; /* a convenience only */
    hd_buf line;
    hd_buf_init(&line, HD_LAST_MODEL_MAX);
    char *whole = realpath(path, NULL); /* the next chat may start in another folder */
    if (whole && hd_buf_printf(&line, "%s\n", whole) == HD_OK)
        (void)hd_file_write_private(state, line.data, line.len, NULL);
    free(whole); /* hd-lint: allow raw-memory: the C library allocated it */
    hd_buf_free(&line);
    hd_free(state);
}

/* The model used last if it is still there, else the only one in the models folder.  *model is the caller's. */
static hd_status default_model(char **model, hd_error *err)
{
    char *state = NULL;
    bool more = false;
    hd_buf path;
    hd_buf_init(&path, HD_LAST_MODEL_MAX);
    FILE *in = hd_state_path(HD_LAST_MODEL, &state, NULL) == HD_OK ? fopen(state, "rbe") : NULL;
    bool known = in && hd_input_line(in, &path, &more, NULL) == HD_OK && path.len && access(path.data, R_OK) == 0;
    if (in) fclose(in);
    hd_free(state);
    *model = known ? hd_strdup(path.data) : NULL;
    hd_buf_free(&path);
    if (*model) return HD_OK;
    hd_status status = hd_model_only(model, err);
    return status == HD_OK ? HD_OK : hd_fail_in(err, status, "MODEL is missing");
}

/* ---- the loop ---- */

static int run_turn(hd_chat *chat, const hd_buf *message)
{
    hd_error err = {0};
    hd_status status;
    if (message->data[0] == '/' && message->data[1] != '/' && !memchr(message->data, '\n', message->len))
        status = hd_chat_command(chat, message->data, &err);
    else {
        size_t skip = message->data[0] == '/' && message->data[1] == '/'; /* //text is a message */
        status = hd_chat_say(chat, message->data + skip, message->len - skip, &err);
    }
    if (status == HD_OK) return HD_EXIT_OK;
    if (status == HD_E_CANCELLED && chat->interactive && !hd_interrupt_ending()) {
        hd_chat_note("[stopped; your message is taken back]");
        return HD_EXIT_OK;
    }
    if (hd_interrupt_ending()) return hd_interrupt_ending();
    int rc = hd_cli_fail("chat", &err);
    bool lost = status == HD_E_MODEL_LOST;
    return chat->interactive && !lost ? HD_EXIT_OK : rc;
}

static bool is_blank(const hd_buf *text)
{
    return text->len == 0 || strspn(text->data, " \t\r\n") == text->len;
}

static int converse(hd_chat *chat, hd_chat_input *in, hd_error *err)
{
    hd_buf message;
    hd_chat_event event;
    int rc = HD_EXIT_OK;
    hd_buf_init(&message, HD_INPUT_MAX);
    while (rc == HD_EXIT_OK && !chat->leaving && !hd_interrupt_ending() && !ferror(stdout)) {
        bool block = chat->next_block;
        chat->next_block = false;
        hd_interrupt_reset();
        hd_status status = hd_chat_input_read(in, block, &message, &event, err);
        if (status != HD_OK) rc = hd_cli_fail("chat", err);
        if (status != HD_OK || event == HD_CHAT_END) break;
        if (event == HD_CHAT_INTERRUPTED && !chat->interactive) rc = HD_EXIT_INTERRUPTED;
        if (event == HD_CHAT_INTERRUPTED && chat->interactive && !hd_interrupt_ending())
            hd_chat_note("[Ctrl-D or /exit leaves]");
        if (event != HD_CHAT_TEXT || is_blank(&message)) continue;
        hd_interrupt_reset();
        rc = run_turn(chat, &message);
        if (hd_interrupted() && !chat->interactive) rc = HD_EXIT_INTERRUPTED;
    }
    hd_buf_free(&message);
    return hd_interrupt_ending() ? hd_interrupt_ending() : rc;
}

/* ---- in order ---- */

static hd_status open_chat(hd_chat *chat, const char *model, hd_error *err)
{
    char *name = NULL;
    if (!model) HD_TRY(default_model(&name, err));
    hd_status status = hd_cli_load(&chat->engine, model ? model : name, &chat->engine_flags, &chat->path, NULL, err);
    hd_free(name);
    HD_TRY(status);
    hd_sampling_flags_advise(&chat->sampling_flags, chat->path);
    hd_engine_get_info(chat->engine, &chat->info);
    HD_TRY(hd_text_open(&chat->text, chat->path, err));
    if (!hd_text_has_template(chat->text))
        return hd_fail(err, HD_E_UNSUPPORTED, "%s has no chat template: it continues texts, see 'hadal run --raw'",
                       chat->path);
    HD_TRY(hd_cli_ends(chat->engine, chat->text, &chat->ends, &chat->end_count, err));
    HD_TRY(hd_session_open(&chat->session, chat->engine, err));
    chat->messages = json_array();
    if (!chat->messages) return hd_fail(err, HD_E_MEMORY, "out of memory for the messages");
    if (chat->system) HD_TRY(hd_chat_set_system(chat, chat->system, err));
    remember_model(chat->path);
    return HD_OK;
}

static void close_chat(hd_chat *chat)
{
    hd_interrupt_release();
    json_decref(chat->messages);
    hd_free(chat->saved_as);
    hd_free(chat->ends);
    hd_session_close(&chat->session);
    hd_text_close(&chat->text);
    hd_engine_close(&chat->engine);
    hd_free(chat->path);
}

static int run_all(hd_chat *chat, const char *model)
{
    hd_error err = {0};
    hd_chat_input *in = NULL;
    if (open_chat(chat, model, &err) != HD_OK) return hd_cli_fail("chat", &err);
    if (hd_chat_input_open(&in, chat->interactive, &err) != HD_OK) return hd_cli_fail("chat", &err);
    if (chat->interactive)
        hd_chat_note("%s, %lld tokens of context, %s, %d threads.  /help lists commands, Ctrl-D leaves.", chat->path,
                     (long long)chat->info.context, chat->info.cpu, chat->info.threads);
    hd_interrupt_catch(NULL, NULL);
    int rc = converse(chat, in, &err);
    hd_chat_input_close(&in);
    return rc;
}

int hd_cmd_chat(int argc, char **argv)
{
    hd_chat chat = {.max_tokens = -1};
    const char *think = "auto";
    hd_opt opts[] = {
        {.name = "system",
         .letter = 's',
         .type = HD_OPT_STRING,
         .value = &chat.system,
         .metavar = "TEXT",
         .help = "The system message."},
        {.name = "think",
         .type = HD_OPT_CHOICE,
         .value = &think,
         .choices = "auto|on|off|hide",
         .help = "Reasoning: as the model does (shown on a terminal), asked for, asked not to, or not shown."},
        {.name = "max-tokens",
         .letter = 'n',
         .type = HD_OPT_INT,
         .value = &chat.max_tokens,
         .metavar = "N",
         .min = -1,
         .max = 1 << 30,
         .help = "Tokens of an answer at most; -1: until it ends."},
        HD_VAR_OPTION(&chat.vars),
        HD_LORA_OPTION(&chat.engine_flags),
    };
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)},
                             hd_sampling_flags_group(&chat.sampling_flags),
                             hd_engine_flags_group(&chat.engine_flags)};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .max_operands = 1,
                    .operand_names = (const char *const[]){"MODEL"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    hd_chat_set_think(&chat, think);
    chat.interactive = hd_terminal_is(stdin);
    rc = run_all(&chat, args.operands[0]);
    close_chat(&chat);
    return rc;
}
