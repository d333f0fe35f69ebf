/* cli/cmd_prompt.c: `hadal prompt`: what the model's chat template makes of messages. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/request.h"
#include "cli/terminal.h"

static const hd_manual manual = {
    .command = "prompt",
    .synopsis = "prompt TOKENIZER [--system TEXT] --user TEXT\nprompt TOKENIZER <REQUEST.json\nprompt TOKENIZER --json",
    .description =
        "Prints the prompt that the model's own chat template makes of messages, exactly as the model would see it, "
        "with "
        "nothing added.  TOKENIZER is a model (file, folder or name) or a tokenizer.json.\n\n"
        "Without --user, one JSON object is read from standard input: 'messages' (a list of objects with 'role' and "
        "'content'), optionally 'tools', 'add_generation_prompt' (default true) and any other variable of the "
        "template.\n\n"
        "With --json each line of standard input is one such object and each line of the output one JSON string.  A "
        "line "
        "that is wrong ends the program with a message that names its number; the lines before it are answered.",
    .examples = "hadal prompt model.gguf --user 'Why is the sky blue?'\n"
                "echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}' | hadal prompt model.gguf --json",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct prompt {
    bool json, ids;
    const char *system, *user;
    hd_opt_list vars;
    hd_text *text;
} prompt;

static hd_status answer_line(void *arg, const json_t *value, hd_error *err)
{
    const prompt *p = arg;
    if (!json_is_object(value)) return hd_fail(err, HD_E_FORMAT, "not a JSON object with 'messages'");
    hd_buf request;
    char *out = NULL;
    size_t len = 0;
    hd_status status = hd_json_dump(value, &request, err);
    if (status == HD_OK) status = hd_chat_render(p->text, request.data, request.len, &out, &len, err);
    if (status == HD_OK) status = hd_json_print_string(stdout, out, len, err);
    hd_string_free(out);
    hd_buf_free(&request);
    return status;
}

static hd_status print_prompt(const prompt *p, const char *request, size_t request_len, hd_error *err)
{
    if (p->ids) {
        int32_t *ids = NULL;
        size_t count = 0;
        HD_TRY(hd_chat_prompt(p->text, request, request_len, &ids, &count, err));
        for (size_t i = 0; i < count; i++)
            printf("%s%d", i ? "," : "", (int)ids[i]);
        putchar('\n');
        hd_ids_release(ids);
        return HD_OK;
    }
    char *out = NULL;
    size_t len = 0;
    HD_TRY(hd_chat_render(p->text, request, request_len, &out, &len, err));
    hd_terminal_write(stdout, out, len);
    hd_string_free(out);
    return HD_OK;
}

static hd_status run_once(const prompt *p, hd_error *err)
{
    hd_buf request;
    hd_status status;
    if (p->user) {
        status = hd_request_simple(p->system, p->user, strlen(p->user), &p->vars, &request, err);
    } else {
        hd_buf_init(&request, HD_INPUT_MAX);
        status = hd_input_rest(stdin, "standard input", &request, err);
    }
    if (status == HD_OK) status = print_prompt(p, request.data ? request.data : "", request.len, err);
    hd_buf_free(&request);
    return status;
}

int hd_cmd_prompt(int argc, char **argv)
{
    prompt p = {0};
    hd_opt opts[] = {
        {.name = "json",
         .type = HD_OPT_FLAG,
         .value = &p.json,
         .help = "Reads one JSON object a line and prints one JSON string a line."},
        {.name = "user",
         .letter = 'u',
         .type = HD_OPT_STRING,
         .value = &p.user,
         .metavar = "TEXT",
         .help = "The user's message."},
        {.name = "system",
         .letter = 's',
         .type = HD_OPT_STRING,
         .value = &p.system,
         .metavar = "TEXT",
         .help = "A system message before it."},
        HD_VAR_OPTION(&p.vars),
        {.name = "ids", .type = HD_OPT_FLAG, .value = &p.ids, .help = "Prints the token ids of the prompt instead."},
    };
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {.manual = &manual,
                    .groups = &group,
                    .group_count = 1,
                    .min_operands = 1,
                    .max_operands = 1,
                    .operand_names = (const char *const[]){"TOKENIZER"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    if (p.json && (p.user || p.system || p.ids || p.vars.count))
        return hd_cli_usage(argv[0], "--json takes everything from standard input; leave out the other options");
    if (!p.user && (p.system || p.vars.count)) return hd_cli_usage(argv[0], "--system and --var go with --user");
    hd_error err = {0};
    hd_status status = hd_cli_open_text(&p.text, args.operands[0], &err);
    if (status == HD_OK) status = p.json ? hd_json_lines(answer_line, &p, &err) : run_once(&p, &err);
    hd_text_close(&p.text);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
