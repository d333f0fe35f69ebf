/* cli/cmd_run.c: `hadal run`: one answer, for scripts: text or ids in, text, ids or JSON out. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/request.h"
#include "cli/terminal.h"

static const hd_manual manual = {
    .command = "run",
    .synopsis = "run MODEL -p TEXT [OPTIONS]\nrun MODEL [OPTIONS] <PROMPT\n"
                "run MODEL --ids LIST -n N --print-ids [OPTIONS]",
    .description =
        "Answers one prompt and exits.  The prompt is the text of -p, or standard input.  It becomes the user's "
        "message in "
        "the model's own chat template; for a model without one, and with --raw, the model continues the text "
        "itself.\n\n"
        "Only the answer goes to standard output.  Reasoning (what a model writes between its think markers) is kept "
        "out "
        "of the answer: it goes to standard error while that is a terminal, see --reasoning.\n\n"
        "With --ids the prompt is a list of token ids and no tokenizer is needed; generation then goes on past the ids "
        "that end a text, unless --stop-at-end is given.\n\n"
        "With --json one object is printed: text, reasoning, ids, finish_reason (stop, length, interrupted), usage, "
        "timings, seed, and logprobs where asked for.",
    .examples = "hadal run model.gguf -p 'Why is the sky blue?'\n"
                "git diff | hadal run MODEL --system 'Write a commit message for this diff.'\n"
                "hadal run MODEL --raw -p 'def fibonacci(n):' -n 64 --greedy --stop $'\\n\\n'\n"
                "hadal run MODEL --ids 5,9,12 -n 12 --greedy --print-ids",
    .environment = HD_ENVIRONMENT_MODELS "\n" HD_ENVIRONMENT_COLOR,
};

#define HD_IDS_DEFAULT_TOKENS 32 /* with --ids nothing else would end the text */

typedef struct run {
    /* options */
    const char *prompt, *ids_list, *system, *reasoning;
    bool raw, special, json, print_ids, stop_at_end;
    int64_t max_tokens, logprobs;
    hd_opt_list stop, vars;
    hd_engine_flags engine_flags;
    hd_sampling_flags sampling_flags;
    /* what they lead to */
    hd_engine *engine;
    hd_text *text; /* NULL with --ids --print-ids */
    hd_session *session;
    hd_answer *answer; /* NULL with --print-ids */
    hd_sampling sampling;
    hd_ids prompt_ids, out_ids;
    hd_buf answer_text, reasoning_text;
    FILE *reasoning_out; /* NULL: not shown */
    bool chat, in_reasoning;
    int32_t last_shown; /* kind of the last piece that was printed; -1 at first */
    json_t *logprob_list;
    double load_seconds, prefill_seconds;
} run;

/* ---- the prompt ---- */

static hd_status encode_text(run *r, const char *data, size_t len, hd_error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    r->chat = !r->raw && hd_text_has_template(r->text);
    if (!r->chat && r->system)
        return hd_fail(err, HD_E_ARGUMENT,
                       r->raw ? "--system has no place in a --raw prompt; put it into the text"
                              : "this model has no chat template, so --system has no place");
    if (!r->chat && r->vars.count)
        return hd_fail(err, HD_E_ARGUMENT, "this model has no chat template, so --var has no place");
    if (r->chat) {
        hd_buf request;
        hd_status status = hd_request_simple(r->system, data, len, &r->vars, &request, err);
        if (status == HD_OK) status = hd_chat_prompt(r->text, request.data, request.len, &ids, &count, err);
        hd_buf_free(&request);
        HD_TRY(status);
    } else {
        HD_TRY(hd_text_encode(r->text, data, len, r->special, true, &ids, &count, err));
    }
    hd_status status = HD_OK;
    for (size_t i = 0; i < count && status == HD_OK; i++)
        status = hd_ids_push(&r->prompt_ids, ids[i]);
    r->in_reasoning = r->chat && hd_text_prompt_opens_reasoning(r->text, ids, count);
    hd_ids_release(ids);
    return status == HD_OK ? HD_OK : hd_fail(err, status, "out of memory for the prompt");
}

static hd_status read_prompt(run *r, hd_buf *input, hd_error *err)
{
    if (r->ids_list) return hd_input_ids(r->ids_list, strlen(r->ids_list), &r->prompt_ids, err);
    hd_status status = HD_OK;
    if (r->prompt)
        status = hd_buf_puts(input, r->prompt);
    else
        HD_TRY(hd_input_rest(stdin, "standard input", input, err));
    if (status != HD_OK) return hd_fail(err, status, "the prompt does not fit into memory");
    /* `echo text |` brings a newline that nobody meant */
    if (!r->prompt && input->len && input->data[input->len - 1] == '\n') input->data[--input->len] = '\0';
    if (input->len == 0) return hd_fail(err, HD_E_ARGUMENT, "the prompt is empty; give one by -p or standard input");
    return HD_OK;
}

/* ---- the answer ---- */

static void show_piece(run *r, hd_piece_kind kind, const char *data, size_t len)
{
    FILE *out = kind == HD_PIECE_REASONING ? r->reasoning_out : stdout;
    if (r->json || r->print_ids || !out || len == 0) return;
    if (kind == HD_PIECE_REASONING && r->last_shown != HD_PIECE_REASONING) hd_terminal_dim(out, true);
    if (kind != HD_PIECE_REASONING && r->last_shown == HD_PIECE_REASONING) {
        hd_terminal_dim(r->reasoning_out, false);
        fputs("\n", r->reasoning_out);
        fflush(r->reasoning_out);
    }
    r->last_shown = (int32_t)kind;
    hd_terminal_write(out, data, len);
    fflush(out);
}

static void on_piece(void *arg, hd_piece_kind kind, const char *data, size_t len)
{
    run *r = arg;
    hd_buf *into = kind == HD_PIECE_REASONING ? &r->reasoning_text : &r->answer_text;
    (void)hd_buf_append(into, data, len); /* sticky; checked at the end */
    show_piece(r, kind, data, len);
}

/* A token that a model rules out has the log-probability -infinity, which JSON can't write: null. */
static json_t *logprob_json(const hd_logprob *l)
{
    return json_pack("{s:i, s:o}", "id", (int)l->id, "logprob",
                     isfinite(l->logprob) ? json_real((double)l->logprob) : json_null());
}

static hd_status add_logprobs(run *r, const hd_logprob *chosen, const hd_logprob *top, hd_error *err)
{
    json_t *others = json_array(), *one = logprob_json(chosen);
    for (int64_t i = 0; i < r->logprobs; i++)
        json_array_append_new(others, logprob_json(&top[i]));
    int failed = json_object_set_new(one, "top", others);
    if (failed || json_array_append_new(r->logprob_list, one) != 0)
        return hd_fail(err, HD_E_MEMORY, "out of memory for log-probabilities");
    return HD_OK;
}

static hd_status on_token(void *arg, const hd_logprob *chosen, const hd_logprob *top, bool end, bool *stop,
                          hd_error *err)
{
    run *r = arg;
    if (hd_ids_push(&r->out_ids, chosen->id) != HD_OK) return hd_fail(err, HD_E_MEMORY, "out of memory for ids");
    if (r->logprob_list) HD_TRY(add_logprobs(r, chosen, top, err));
    if (r->print_ids && !r->json) {
        printf("%s%d", r->out_ids.len > 1 ? "," : "", (int)chosen->id);
        fflush(stdout);
    }
    hd_status status = r->answer && !end ? hd_answer_push(r->answer, chosen->id, stop, err) : HD_OK;
    if (ferror(stdout)) *stop = true; /* nobody reads on; hd_cli_finish reports it */
    return status;
}

static hd_status generate(run *r, hd_generation *g, hd_error *err)
{
    int32_t *ends = NULL;
    *g = (hd_generation){.engine = r->engine,
                         .session = r->session,
                         .sampling = &r->sampling,
                         .max_tokens = r->max_tokens,
                         .top_count = (size_t)r->logprobs,
                         .token = on_token,
                         .arg = r};
    if (!r->ids_list || r->stop_at_end) {
        HD_TRY(hd_cli_ends(r->engine, r->text, &ends, &g->end_count, err));
        g->ends = ends;
    }
    hd_status status = hd_generate(g, err);
    hd_free(ends);
    if (status == HD_OK && r->answer) status = hd_answer_finish(r->answer, err);
    if (r->last_shown == HD_PIECE_REASONING) {
        hd_terminal_dim(r->reasoning_out, false);
        fputc('\n', r->reasoning_out);
    }
    if (status == HD_OK && (r->answer_text.status != HD_OK || r->reasoning_text.status != HD_OK))
        status = hd_fail(err, HD_E_LIMIT, "the answer is longer than can be kept");
    return status;
}

/* ---- the result ---- */

static json_t *ids_json(const hd_ids *ids)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ids->len; i++)
        json_array_append_new(list, json_integer(ids->data[i]));
    return list;
}

static hd_status print_json(const run *r, const hd_generation *g, hd_error *err)
{
    json_t *o = json_object();
    size_t prompt = r->prompt_ids.len, answer = r->out_ids.len;
    if (r->answer) json_object_set_new(o, "text", hd_json_text(r->answer_text.data, r->answer_text.len));
    if (r->reasoning_text.len)
        json_object_set_new(o, "reasoning", hd_json_text(r->reasoning_text.data, r->reasoning_text.len));
    json_object_set_new(o, "ids", ids_json(&r->out_ids));
    json_object_set_new(o, "finish_reason", json_string(hd_ending_name(g->finish)));
    json_object_set_new(o, "usage",
                        json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)prompt, "completion_tokens",
                                  (json_int_t)answer, "total_tokens", (json_int_t)prompt + (json_int_t)answer));
    json_object_set_new(o, "timings",
                        json_pack("{s:f, s:f, s:f, s:f, s:f}", "load_seconds", r->load_seconds, "prefill_seconds",
                                  r->prefill_seconds, "prefill_tokens_per_second",
                                  hd_rate((int64_t)prompt, r->prefill_seconds), "decode_seconds", g->seconds,
                                  "decode_tokens_per_second", hd_rate(g->tokens, g->seconds)));
    if (r->sampling.temperature > 0) json_object_set_new(o, "seed", json_integer((json_int_t)r->sampling.seed));
    if (r->logprob_list) json_object_set(o, "logprobs", r->logprob_list);
    return hd_json_print(stdout, o, false, err);
}

static hd_status report(const run *r, const hd_generation *g, hd_error *err)
{
    if (r->json) return print_json(r, g, err);
    bool ends_line = r->answer_text.len && r->answer_text.data[r->answer_text.len - 1] == '\n';
    if (r->print_ids || !ends_line) putchar('\n');
    fflush(stdout); /* what follows comes behind the answer where both go to one place */
    if (g->finish == HD_ENDING_CONTEXT)
        fputs(
            "hadal: run: the context is full, so the answer is cut; --context may be raised up to the model's limit\n",
            stderr);
    if (r->answer && r->answer_text.len == 0 && r->reasoning_text.len)
        fputs("hadal: run: the text ended within the reasoning; raise -n, or see it with --reasoning stdout\n", stderr);
    return HD_OK;
}

/* ---- in order ---- */

static hd_status open_answer(run *r, hd_error *err)
{
    if (r->print_ids && !r->json && r->stop.count == 0) return HD_OK;
    if (!r->text) return HD_OK;
    hd_answer_options options = {.stop = r->stop.items,
                                 .stop_count = r->stop.count,
                                 .in_reasoning = r->in_reasoning,
                                 .split_reasoning = r->chat,
                                 .show_special = r->ids_list != NULL};
    return hd_answer_open(&r->answer, r->text, &options, on_piece, r, err);
}

static hd_status run_all(run *r, const char *model, hd_buf *input, hd_error *err)
{
    HD_TRY(read_prompt(r, input, err));
    bool needs_text = !r->ids_list || !r->print_ids || r->stop.count;
    if (needs_text) HD_TRY(hd_cli_open_text(&r->text, model, err));
    if (!r->ids_list) HD_TRY(encode_text(r, input->data, input->len, err));
    char *path = NULL;
    HD_TRY(hd_cli_load(&r->engine, model, &r->engine_flags, &path, &r->load_seconds, err));
    hd_sampling_flags_advise(&r->sampling_flags, path);
    hd_free(path);
    hd_interrupt_catch(hd_cli_cancel, r->engine);
    HD_TRY(hd_sampling_flags_apply(&r->sampling_flags, r->engine, &r->sampling, err));
    HD_TRY(hd_session_open(&r->session, r->engine, err));
    HD_TRY(open_answer(r, err));
    uint64_t start = hd_clock_ns();
    HD_TRY(
        hd_cli_feed(r->session, r->engine, r->prompt_ids.data, (int64_t)r->prompt_ids.len, r->engine_flags.chunk, err));
    r->prefill_seconds = hd_seconds_since(start);
    hd_generation g;
    HD_TRY(generate(r, &g, err));
    HD_TRY(report(r, &g, err));
    return g.finish == HD_ENDING_INTERRUPTED ? hd_fail(err, HD_E_CANCELLED, "interrupted") : HD_OK;
}

static void release(run *r)
{
    hd_interrupt_release();
    hd_answer_close(&r->answer);
    hd_session_close(&r->session);
    hd_engine_close(&r->engine);
    hd_text_close(&r->text);
    hd_ids_free(&r->prompt_ids);
    hd_ids_free(&r->out_ids);
    hd_buf_free(&r->answer_text);
    hd_buf_free(&r->reasoning_text);
    json_decref(r->logprob_list);
}

static int check_usage(run *r, const char *command)
{
    if (r->ids_list && (r->prompt || r->system || r->raw || r->vars.count))
        return hd_cli_usage(command, "--ids is the whole prompt; -p, --system, --raw and --var do not go with it");
    if (r->special && !r->raw) return hd_cli_usage(command, "--special goes with --raw");
    if (r->raw && r->vars.count) return hd_cli_usage(command, "--var sets the chat template, which --raw leaves out");
    if (r->stop_at_end && !r->ids_list)
        return hd_cli_usage(command, "--stop-at-end goes with --ids; an answer to a text always stops there");
    if (!r->ids_list && !r->prompt && hd_terminal_is(stdin))
        return hd_cli_usage(command, "there is no prompt: give one by -p TEXT or on standard input");
    if (r->logprobs && !r->json) return hd_cli_usage(command, "--logprobs goes with --json");
    for (size_t i = 0; i < r->stop.count; i++)
        if (!r->stop.items[i][0]) return hd_cli_usage(command, "--stop: the string is empty");
    if (r->ids_list && !r->stop_at_end && r->max_tokens < 0) r->max_tokens = HD_IDS_DEFAULT_TOKENS;
    if (strcmp(r->reasoning, "stdout") == 0) r->reasoning_out = stdout;
    if (strcmp(r->reasoning, "stderr") == 0) r->reasoning_out = stderr;
    if (strcmp(r->reasoning, "auto") == 0 && hd_terminal_is(stderr)) r->reasoning_out = stderr;
    return HD_ARGS_OK;
}

int hd_cmd_run(int argc, char **argv)
{
    run r = {.reasoning = "auto", .max_tokens = -1, .last_shown = -1};
    hd_buf_init(&r.answer_text, HD_INPUT_MAX);
    hd_buf_init(&r.reasoning_text, HD_INPUT_MAX);
    hd_opt opts[] = {
        {.name = "prompt",
         .letter = 'p',
         .type = HD_OPT_STRING,
         .value = &r.prompt,
         .metavar = "TEXT",
         .help = "The prompt; without it, standard input."},
        {.name = "system",
         .letter = 's',
         .type = HD_OPT_STRING,
         .value = &r.system,
         .metavar = "TEXT",
         .help = "A system message before it."},
        {.name = "raw", .type = HD_OPT_FLAG, .value = &r.raw, .help = "Continues the text; no chat template."},
        {.name = "special",
         .type = HD_OPT_FLAG,
         .value = &r.special,
         .help = "With --raw: special strings in the prompt become their tokens."},
        HD_VAR_OPTION(&r.vars),
        {.name = "ids",
         .type = HD_OPT_STRING,
         .value = &r.ids_list,
         .metavar = "LIST",
         .help = "The prompt as token ids, such as 5,9,12."},
        {.name = "max-tokens",
         .letter = 'n',
         .type = HD_OPT_INT,
         .value = &r.max_tokens,
         .metavar = "N",
         .min = -1,
         .max = 1 << 30,
         .help = "Tokens to generate at most; -1: until the text ends or the context is full.",
         .initial = "-1; 32 with --ids"},
        {.name = "stop",
         .type = HD_OPT_LIST,
         .value = &r.stop,
         .metavar = "TEXT",
         .help = "Ends the answer where this text comes; it is not printed."},
        {.name = "print-ids",
         .type = HD_OPT_FLAG,
         .value = &r.print_ids,
         .help = "Prints the generated token ids, separated by commas, instead of text."},
        {.name = "stop-at-end",
         .type = HD_OPT_FLAG,
         .value = &r.stop_at_end,
         .help = "With --ids: stops at the ids that end a text."},
        {.name = "reasoning",
         .type = HD_OPT_CHOICE,
         .value = &r.reasoning,
         .choices = "auto|stdout|stderr|hide",
         .help = "Where reasoning goes; auto is stderr when that is a terminal, else nowhere."},
        {.name = "logprobs",
         .type = HD_OPT_INT,
         .value = &r.logprobs,
         .metavar = "N",
         .max = HD_LOGPROBS_MAX,
         .help = "With --json: log-probabilities of each token and of the N most likely ones.",
         .initial = "off"},
        {.name = "json", .type = HD_OPT_FLAG, .value = &r.json, .help = "Prints one JSON object."},
        HD_LORA_OPTION(&r.engine_flags),
    };
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)},
                             hd_sampling_flags_group(&r.sampling_flags),
                             hd_engine_flags_group(&r.engine_flags)};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .min_operands = 1,
                    .max_operands = 1,
                    .operand_names = (const char *const[]){"MODEL"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc == HD_ARGS_OK) rc = check_usage(&r, argv[0]);
    if (rc != HD_ARGS_OK) return rc;
    if (r.json && hd_args_given(&args, "logprobs")) r.logprob_list = json_array();
    hd_error err = {0};
    hd_buf input;
    hd_buf_init(&input, HD_INPUT_MAX);
    hd_status status = run_all(&r, args.operands[0], &input, &err);
    hd_buf_free(&input);
    release(&r);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
