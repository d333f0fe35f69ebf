/* cli/cmd_tokenize.c: `hadal tokenize`: text to token ids and back, by line as JSON or once as text. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/terminal.h"

static const hd_manual manual = {
    .command = "tokenize",
    .synopsis = "tokenize TOKENIZER [-p TEXT]\ntokenize TOKENIZER --decode [--ids LIST]\n"
                "tokenize TOKENIZER --json [--decode]",
    .description =
        "Prints the token ids of a text, separated by commas, or with --decode the text of token ids.  TOKENIZER is a "
        "model (file, folder or name) or a tokenizer.json.  Text comes from -p or from standard input.\n\n"
        "Special strings such as <|im_end|> in the text become their tokens, unless --no-special is given; no token is "
        "added, unless --add-bos is given.\n\n"
        "With --json each line of standard input is one JSON string, and each line of the output one JSON array of "
        "ids; "
        "with --decode it is the other way round, special tokens shown.  A line that is wrong ends the program with a "
        "message that names its number; the lines before it are answered.",
    .examples = "hadal tokenize model.gguf -p 'Hello world'\nhadal tokenize tokenizer.json --pieces <poem.txt\n"
                "echo '\"Hello world\"' | hadal tokenize model.gguf --json\n"
                "echo '[9906,1917]' | hadal tokenize model.gguf --json --decode",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct tokenize {
    bool json, decode, pieces, add_bos, no_special;
    const char *prompt, *ids;
    hd_text *text;
} tokenize;

/* Ids or -1 -> HD_E_FORMAT; `line` is one JSON array. */
static hd_status ids_of_json(const json_t *array, hd_ids *out, hd_error *err)
{
    if (!json_is_array(array)) return hd_fail(err, HD_E_FORMAT, "not a JSON array of ids");
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0 || json_integer_value(item) > INT32_MAX)
            return hd_fail(err, HD_E_FORMAT, "element %zu of the array is not a token id", i);
        hd_status status = hd_ids_push(out, (int32_t)json_integer_value(item));
        if (status != HD_OK) return hd_fail(err, status, "out of memory for ids");
    }
    return HD_OK;
}

static hd_status decode_json(const tokenize *t, const json_t *value, hd_error *err)
{
    hd_ids ids = {0};
    char *text = NULL;
    size_t len = 0;
    hd_status status = ids_of_json(value, &ids, err);
    if (status == HD_OK) status = hd_text_decode(t->text, ids.data, ids.len, true, &text, &len, err);
    if (status == HD_OK) status = hd_json_print_string(stdout, text, len, err);
    hd_string_free(text);
    hd_ids_free(&ids);
    return status;
}

static void print_ids(const int32_t *ids, size_t count, const char *separator)
{
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i ? separator : "", (int)ids[i]);
}

static hd_status encode_json(const tokenize *t, const json_t *value, hd_error *err)
{
    if (!json_is_string(value)) return hd_fail(err, HD_E_FORMAT, "not a JSON string");
    int32_t *ids = NULL;
    size_t count = 0;
    HD_TRY(hd_text_encode(t->text, json_string_value(value), json_string_length(value), !t->no_special, t->add_bos,
                          &ids, &count, err));
    putchar('[');
    print_ids(ids, count, ",");
    puts("]");
    hd_ids_release(ids);
    return HD_OK;
}

static hd_status answer_line(void *arg, const json_t *value, hd_error *err)
{
    const tokenize *t = arg;
    return t->decode ? decode_json(t, value, err) : encode_json(t, value, err);
}

/* One line for each token: place, id, and its text as a JSON string. */
static hd_status print_pieces(const tokenize *t, const int32_t *ids, size_t count, hd_error *err)
{
    for (size_t i = 0; i < count; i++) {
        char *piece = NULL;
        size_t len = 0;
        HD_TRY(hd_text_decode(t->text, &ids[i], 1, true, &piece, &len, err));
        printf("%6zu %8d  ", i, (int)ids[i]);
        hd_status status = hd_json_print_string(stdout, piece, len, err);
        hd_string_free(piece);
        HD_TRY(status);
    }
    return HD_OK;
}

static hd_status encode_once(const tokenize *t, const char *data, size_t len, hd_error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    HD_TRY(hd_text_encode(t->text, data, len, !t->no_special, t->add_bos, &ids, &count, err));
    hd_status status = HD_OK;
    if (t->pieces) {
        status = print_pieces(t, ids, count, err);
    } else {
        print_ids(ids, count, ",");
        putchar('\n');
    }
    hd_ids_release(ids);
    return status;
}

static hd_status decode_once(const tokenize *t, const char *list, size_t list_len, hd_error *err)
{
    hd_ids ids = {0};
    char *text = NULL;
    size_t len = 0;
    hd_status status = hd_input_ids(list, list_len, &ids, err);
    if (status == HD_OK && t->pieces) {
        status = print_pieces(t, ids.data, ids.len, err);
    } else if (status == HD_OK) {
        status = hd_text_decode(t->text, ids.data, ids.len, true, &text, &len, err);
        if (status == HD_OK) hd_terminal_write(stdout, text, len);
    }
    hd_string_free(text);
    hd_ids_free(&ids);
    return status;
}

static hd_status run_once(const tokenize *t, hd_error *err)
{
    const char *given = t->decode ? t->ids : t->prompt;
    hd_buf input;
    hd_buf_init(&input, HD_INPUT_MAX);
    hd_status status = given ? HD_OK : hd_input_rest(stdin, "standard input", &input, err);
    const char *data = given ? given : input.data ? input.data : "";
    size_t len = given ? strlen(given) : input.len;
    if (status == HD_OK) status = t->decode ? decode_once(t, data, len, err) : encode_once(t, data, len, err);
    hd_buf_free(&input);
    return status;
}

int hd_cmd_tokenize(int argc, char **argv)
{
    tokenize t = {0};
    hd_opt opts[] = {
        {.name = "json", .type = HD_OPT_FLAG, .value = &t.json, .help = "Reads and prints one JSON value a line."},
        {.name = "decode", .letter = 'd', .type = HD_OPT_FLAG, .value = &t.decode, .help = "Ids to text."},
        {.name = "prompt",
         .letter = 'p',
         .type = HD_OPT_STRING,
         .value = &t.prompt,
         .metavar = "TEXT",
         .help = "The text; without it, standard input."},
        {.name = "ids",
         .type = HD_OPT_STRING,
         .value = &t.ids,
         .metavar = "LIST",
         .help = "The ids for --decode, such as 5,9,12; without it, standard input."},
        {.name = "pieces", .type = HD_OPT_FLAG, .value = &t.pieces, .help = "A table of tokens: place, id, text."},
        {.name = "add-bos",
         .type = HD_OPT_FLAG,
         .value = &t.add_bos,
         .help = "Puts the model's first token in front, where the model wants one."},
        {.name = "no-special",
         .type = HD_OPT_FLAG,
         .value = &t.no_special,
         .help = "Special strings in the text stay text."},
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
    if (t.json && (t.prompt || t.ids || t.pieces))
        return hd_cli_usage(argv[0], "--json reads standard input; it goes with --decode, --add-bos and --no-special");
    if (t.decode ? t.prompt || t.add_bos || t.no_special : t.ids != NULL)
        return hd_cli_usage(argv[0], t.decode ? "--decode takes ids (--ids or standard input), not text"
                                              : "--ids goes with --decode");
    hd_error err = {0};
    hd_status status = hd_cli_open_text(&t.text, args.operands[0], &err);
    if (status == HD_OK) status = t.json ? hd_json_lines(answer_line, &t, &err) : run_once(&t, &err);
    hd_text_close(&t.text);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
