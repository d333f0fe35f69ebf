/* The options of a second precision: names cut off, what makes no sense together, and the rule that they mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/serve.h"

static hd_serve_flags flags(void)
{
    return (hd_serve_flags){.model_count = 1, .cheaper_above = 8, .cheaper_below = 4, .cheaper_hold = 5};
}

/* Parses words as `hadal serve` does; the exit code, or HD_ARGS_OK. */
static int parse(hd_serve_flags *f, char **words, int count)
{
    static const hd_manual manual = {.command = "serve", .synopsis = "serve"};
    hd_opt_group group = hd_serve_cheaper_group(f);
    hd_args args = {.manual = &manual, .groups = &group, .group_count = 1};
    return hd_args_parse(&args, count, words);
}

static void must_refuse(const hd_serve_flags *f, const char *text)
{
    hd_error err;
    assert_int_equal(hd_serve_check_cheaper(f, &err), HD_E_ARGUMENT);
    if (!strstr(err.text, text)) fail_msg("\"%s\" is not in: %s", text, err.text);
}

static void test_defaults(void **state)
{
    (void)state;
    hd_serve_flags f = flags();
    hd_error err;
    char *words[] = {"serve"};
    assert_int_equal(parse(&f, words, 1), HD_ARGS_OK);
    assert_int_equal(hd_serve_check_cheaper(&f, &err), HD_OK); /* none at all */
}

static void test_the_rule(void **state)
{
    (void)state;
    hd_serve_flags f = flags();
    hd_error err;
    char *words[] = {"serve", "--cheaper",       "a=x", "--cheaper=b=y",  "--cheaper-above",
                     "12",    "--cheaper-below", "3",   "--cheaper-hold", "0.25"};
    assert_int_equal(parse(&f, words, (int)HD_ARRAY_LEN(words)), HD_ARGS_OK);
    f.model_count = 2;
    assert_int_equal(hd_serve_check_cheaper(&f, &err), HD_OK);
    hd_precision_rule rule = hd_serve_cheaper_rule(&f);
    assert_int_equal(f.cheaper.count, 2);
    assert_int_equal(rule.above, 12);
    assert_int_equal(rule.below, 3);
    assert_int_equal(rule.hold_ns, 250000000);
}

static void test_what_makes_no_sense(void **state)
{
    (void)state;
    hd_serve_flags f = flags();
    char *alone[] = {"serve", "--cheaper-hold", "1"};
    assert_int_equal(parse(&f, alone, 3), HD_ARGS_OK);
    must_refuse(&f, "--cheaper-hold says when");
    static const char *const bad[] = {"", "a=", "=x"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        f = flags();
        f.cheaper = (hd_opt_list){.items = {bad[i]}, .count = 1};
        must_refuse(&f, "NAME=MODEL");
    }
    f = flags();
    f.cheaper = (hd_opt_list){.items = {"x"}, .count = 1};
    f.cheaper_below = 8;
    must_refuse(&f, "--cheaper-below is 8 and --cheaper-above 8");
    f.cheaper_below = 4;
    f.model_count = 2;
    must_refuse(&f, "which of the 2 models");
}

static void test_names(void **state)
{
    (void)state;
    char name[8];
    assert_string_equal(hd_serve_split_name("a=b=c", name, sizeof name), "b=c");
    assert_string_equal(name, "a");
    assert_string_equal(hd_serve_split_name("model.gguf", name, sizeof name), "model.gguf");
    assert_string_equal(name, "");
    assert_string_equal(hd_serve_split_name("a-name-that-is-long=b", name, sizeof name), "b"); /* cut, not overrun */
    assert_string_equal(name, "a-name-");
    char folder[] = "/tmp/hadal=test-XXXXXX"; /* what exists is a path */
    assert_non_null(mkdtemp(folder));
    assert_string_equal(hd_serve_split_name(folder, name, sizeof name), folder);
    assert_string_equal(name, "");
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_the_rule),
        cmocka_unit_test(test_what_makes_no_sense),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
