/* Options of commands: values, ranges, defaults in the manual, and messages that say what was meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "cli/cli.h"
#include "cli/options.h"

typedef struct values {
    bool json;
    int64_t threads;
    double top_p;
    const char *prompt, *cpu;
    hd_opt_list stop;
} values;

typedef struct fixture {
    values v;
    hd_opt opts[6];
    hd_opt_group group;
    hd_args args;
} fixture;

static const hd_manual manual = {.command = "help",
                                 .synopsis = "help MODEL [OPTIONS]",
                                 .description = "Words that are wrapped.\n verbatim   line",
                                 .examples = "hadal help x",
                                 .files = "a file"};
static const char *const operand_names[] = {"MODEL", "OUT"};

static void set_up(fixture *f)
{
    *f = (fixture){.v = {.threads = 4, .top_p = 0.5, .cpu = "auto"}};
    hd_opt opts[] = {
        {.name = "json", .type = HD_OPT_FLAG, .value = &f->v.json, .help = "Prints JSON."},
        {.name = "threads",
         .letter = 't',
         .type = HD_OPT_INT,
         .value = &f->v.threads,
         .metavar = "N",
         .help = "Threads.",
         .min = 1,
         .max = 64},
        {.name = "top-p", .type = HD_OPT_FLOAT, .value = &f->v.top_p, .metavar = "P", .help = "Nucleus.", .max = 1},
        {.name = "prompt",
         .letter = 'p',
         .type = HD_OPT_STRING,
         .value = &f->v.prompt,
         .metavar = "TEXT",
         .help = "The prompt."},
        {.name = "cpu",
         .type = HD_OPT_CHOICE,
         .value = &f->v.cpu,
         .choices = "auto|reference|avx2",
         .help = "The tier."},
        {.name = "stop", .type = HD_OPT_LIST, .value = &f->v.stop, .metavar = "TEXT", .help = "Stops."},
    };
    memcpy(f->opts, opts, sizeof opts);
    f->group = (hd_opt_group){"OPTIONS", f->opts, HD_ARRAY_LEN(f->opts)};
    f->args = (hd_args){.manual = &manual,
                        .groups = &f->group,
                        .group_count = 1,
                        .min_operands = 1,
                        .max_operands = 2,
                        .operand_names = operand_names};
}

/* Parses the words after the command's name; what went to `stream` is in `said`. */
static char said[8192];

static int parse_saying(fixture *f, FILE *stream, char **words)
{
    int argc = 0;
    while (words[argc])
        argc++;
    fflush(stream);
    FILE *capture = tmpfile();
    assert_non_null(capture);
    int fd = fileno(stream), keep = dup(fd);
    assert_true(keep >= 0 && dup2(fileno(capture), fd) >= 0);
    int rc = hd_args_parse(&f->args, argc, words);
    fflush(stream);
    assert_true(dup2(keep, fd) >= 0);
    close(keep);
    rewind(capture);
    said[fread(said, 1, sizeof said - 1, capture)] = '\0';
    fclose(capture);
    return rc;
}

#define PARSE(f, ...) (set_up(f), parse_saying(f, stderr, (char *[]){"help", __VA_ARGS__, NULL}))

static void test_all_kinds_of_values(void **state)
{
    (void)state;
    fixture f;
    assert_int_equal(PARSE(&f, "m.gguf", "--json", "--threads", "7", "--top-p=0.25", "-p", "-x y", "--cpu", "avx2",
                           "--stop", "a", "--stop=b=c", "--stop", "", "out"),
                     HD_ARGS_OK);
    assert_true(f.v.json);
    assert_int_equal(f.v.threads, 7);
    assert_true(f.v.top_p == 0.25);
    assert_string_equal(f.v.prompt, "-x y");
    assert_string_equal(f.v.cpu, "avx2");
    assert_int_equal(f.v.stop.count, 3);
    assert_string_equal(f.v.stop.items[1], "b=c");
    assert_string_equal(f.v.stop.items[2], "");
    assert_int_equal(f.args.operand_count, 2);
    assert_string_equal(f.args.operands[0], "m.gguf");
    assert_string_equal(f.args.operands[1], "out");
}

static void test_short_forms_and_end_of_options(void **state)
{
    (void)state;
    fixture f;
    assert_int_equal(PARSE(&f, "-t12", "--", "--json", "-"), HD_ARGS_OK);
    assert_int_equal(f.v.threads, 12);
    assert_false(f.v.json);
    assert_string_equal(f.args.operands[0], "--json");
    assert_string_equal(f.args.operands[1], "-");
    assert_true(hd_args_given(&f.args, "threads"));
    assert_false(hd_args_given(&f.args, "cpu"));
    assert_false(hd_args_given(&f.args, "no-such"));
}

static void test_usage_errors_say_what_is_wrong(void **state)
{
    (void)state;
    fixture f;
    const struct {
        char *words[5];
        const char *text;
    } cases[] = {
        {{"help", "m", "--thread", "2"}, "did you mean --threads?"},
        {{"help", "m", "--tpo-p=1"}, "did you mean --top-p?"},
        {{"help", "m", "--zzzzzz"}, "unknown option --zzzzzz\n"},
        {{"help", "m", "-q"}, "unknown option -q"},
        {{"help", "m", "--threads", "0"}, "--threads: 0 is out of range; it may be 1 to 64"},
        {{"help", "m", "--threads", "2x"}, "'2x' is not a whole number"},
        {{"help", "m", "--threads", "99999999999999999999"}, "--threads: 99999999999999999999 is too large\n"},
        {{"help", "m", "--threads", "-99999999999999999999"}, "is too small\n"},
        {{"help", "m", "--threads", "99999999999999999999x"}, "is not a whole number"},
        {{"help", "m", "--threads", "-"}, "is not a whole number"},
        {{"help", "m", "--threads", ""}, "'' is not a whole number"},
        {{"help", "m", "--top-p", "nan"}, "'nan' is not a number"},
        {{"help", "m", "--top-p", "1e999"}, "is not a number"},
        {{"help", "m", "--top-p", "1.5"}, "out of range"},
        {{"help", "m", "--cpu", "avx"}, "'avx' is not one of auto|reference|avx2"},
        {{"help", "m", "--cpu", "auto|reference"}, "is not one of"},
        {{"help", "m", "--json=1"}, "--json takes no value"},
        {{"help", "m", "--prompt"}, "--prompt needs a value (TEXT)"},
        {{"help", "--json"}, "MODEL is missing"},
        {{"help", "a", "b", "c"}, "unexpected argument 'c' after OUT"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        set_up(&f);
        assert_int_equal(parse_saying(&f, stderr, (char **)cases[i].words), HD_EXIT_USAGE);
        if (!strstr(said, cases[i].text)) fail_msg("case %zu: '%s' lacks '%s'", i, said, cases[i].text);
        assert_non_null(strstr(said, "hadal: help: "));
        assert_non_null(strstr(said, "Try 'hadal help --help'."));
    }
}

static void test_too_many_repetitions(void **state)
{
    (void)state;
    fixture f;
    static char *words[HD_OPT_LIST_MAX + 4];
    words[0] = "help", words[1] = "m";
    for (int i = 0; i < HD_OPT_LIST_MAX + 1; i++)
        words[2 + i] = "--stop=x";
    set_up(&f);
    assert_int_equal(parse_saying(&f, stderr, words), HD_EXIT_USAGE);
    words[2 + HD_OPT_LIST_MAX] = NULL;
    set_up(&f);
    assert_int_equal(parse_saying(&f, stderr, words), HD_ARGS_OK);
    assert_int_equal(f.v.stop.count, HD_OPT_LIST_MAX);
}

static void test_manual_page(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    /* --help wins over errors elsewhere on the line, and needs no operands */
    assert_int_equal(parse_saying(&f, stdout, (char *[]){"help", "--nonsense", "--help", NULL}), HD_EXIT_OK);
    const char *parts[] = {"NAME\n    hadal help - ",
                           "SYNOPSIS\n    hadal help MODEL [OPTIONS]\n",
                           "    -t, --threads N\n        Threads. (default: 4)\n",
                           "    --top-p P\n        Nucleus. (default: 0.5)\n",
                           "    --cpu auto|reference|avx2\n        The tier. (default: auto)\n",
                           "    -p, --prompt TEXT\n        The prompt.\n",
                           "        Stops. May be repeated.\n",
                           "     verbatim   line\n",
                           "EXAMPLES\n    hadal help x\n",
                           "EXIT CODES\n    0 ",
                           "130  interrupted",
                           "FILES\n    a file\n"};
    for (size_t i = 0; i < HD_ARRAY_LEN(parts); i++)
        if (!strstr(said, parts[i])) fail_msg("the manual lacks '%s':\n%s", parts[i], said);
    assert_null(strstr(said, "ENVIRONMENT"));
}

static void test_help_as_a_value(void **state)
{
    (void)state;
    fixture f;
    assert_int_equal(PARSE(&f, "m", "-p", "-h"), HD_ARGS_OK);
    assert_string_equal(f.v.prompt, "-h");
    assert_int_equal(PARSE(&f, "m", "--prompt", "--help", "--stop", "-h"), HD_ARGS_OK);
    assert_string_equal(f.v.prompt, "--help");
    assert_string_equal(f.v.stop.items[0], "-h");
    set_up(&f);
    assert_int_equal(parse_saying(&f, stdout, (char *[]){"help", "--prompt=x", "--json", "-h", NULL}), HD_EXIT_OK);
    set_up(&f);
    assert_int_equal(parse_saying(&f, stdout, (char *[]){"help", "-px", "-h", NULL}), HD_EXIT_OK);
}

static void test_suggestions(void **state)
{
    (void)state;
    const char *names[] = {"run", "tokenize", "bench", "temperature"};
    assert_string_equal(hd_suggest("tokenise", names, 4), "tokenize");
    assert_string_equal(hd_suggest("rnu", names, 4), "run");
    assert_string_equal(hd_suggest("temprature", names, 4), "temperature");
    assert_string_equal(hd_suggest("temp", names, 4), "temperature");
    assert_null(hd_suggest("x", names, 4));
    assert_null(hd_suggest("", names, 4));
    assert_null(hd_suggest("a-word-that-is-much-too-long-to-be-an-option-of-ours", names, 4));
}

static void shares_are_fractions_or_percentages(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
        double value;
    } cases[] = {{"70%", NULL, 0.7},
                 {"0.7", NULL, 0.7},
                 {"100%", NULL, 1},
                 {"1", NULL, 1},
                 {"1%", NULL, 0.01},
                 {"2.5%", NULL, 0.025},
                 {"0.5%", "out of range; it may be 1% to 100%, or 0.01 to 1", 0},
                 {"70", "out of range", 0},
                 {"-10%", "out of range", 0},
                 {"%", "'%' is not a share, such as 70% or 0.7", 0},
                 {"", "is not a share", 0},
                 {"7 %", "is not a share", 0},
                 {"nan%", "is not a share", 0},
                 {"0.70000000000000000000000000000000000", "is not a share", 0}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        double value = -1;
        char why[256] = "";
        hd_opt opt = {.name = "keep", .type = HD_OPT_SHARE, .value = &value, .min = 0.01, .max = 1};
        assert_int_equal(hd_opt_set(&opt, cases[i].text, why, sizeof why), !cases[i].why);
        if (cases[i].why)
            assert_non_null(strstr(why, cases[i].why));
        else
            assert_true(value > cases[i].value - 1e-12 && value < cases[i].value + 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_fractions_or_percentages),
        cmocka_unit_test(test_all_kinds_of_values),
        cmocka_unit_test(test_short_forms_and_end_of_options),
        cmocka_unit_test(test_usage_errors_say_what_is_wrong),
        cmocka_unit_test(test_too_many_repetitions),
        cmocka_unit_test(test_manual_page),
        cmocka_unit_test(test_help_as_a_value),
        cmocka_unit_test(test_suggestions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
