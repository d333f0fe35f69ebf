/* test_tool_parser.c: tool calls out of text: whatever the model writes, however it is cut, as early as it can be.
 *
 * (What the models' own templates write is parsed back in conformance/test_tools.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "unit/tokenizer/seed.h"
#include "unit/tokenizer/tool_log.h"

#define BEGIN "<｜tool▁calls▁begin｜>"
#define END "<｜tool▁calls▁end｜>"
#define CALL "<｜tool▁call▁begin｜>"
#define CALL_END "<｜tool▁call▁end｜>"
#define SEP "<｜tool▁sep｜>"
#define FENCE "\n```json\n"
#define V3_CALL(name, arguments) CALL "function" SEP name FENCE arguments "\n```" CALL_END
#define V31_CALL(name, arguments) CALL name SEP arguments CALL_END
#define QWEN_CALL(name, arguments) "<tool_call>\n{\"name\": \"" name "\", \"arguments\": " arguments "}\n</tool_call>"
#define D "｜DSML｜"
#define INVOKE(name, parameters) "<" D "invoke name=\"" name "\">\n" parameters "\n</" D "invoke>"
#define STRING(key, value) "<" D "parameter name=\"" key "\" string=\"true\">" value "</" D "parameter>"
#define VALUE(key, value) "<" D "parameter name=\"" key "\" string=\"false\">" value "</" D "parameter>"
#define DSML(invokes) "\n\n<" D "tool_calls>\n" invokes "\n</" D "tool_calls>"

/* What comes out: a call's beginning, its arguments, its end. */
#define B(index, name) "\1B" index " " name "\2"
#define A(arguments) "\1A" arguments "\2"
#define E(index, wrong) "\1E" index " " wrong "\2"
#define OUT(index, name, arguments) B(index, name) A(arguments) E(index, "")
#define NOT_JSON "the arguments are not JSON"
#define NOT_CLOSED "the call ended before its arguments did"
#define NO_END "the answer ended within the call"
#define NO_PARAMETER "something else than a parameter or the call's end follows"

static hd_tool_parser *open_parser(hd_tool_form form, tool_log *log)
{
    hd_tool_parser *p = NULL;
    tool_log_init(log);
    assert_int_equal(hd_tool_parser_open(&p, form, tool_log_add, log, NULL), HD_OK);
    return p;
}

static void push(hd_tool_parser *p, const char *data, size_t len)
{
    assert_int_equal(hd_tool_parser_push(p, data, len, NULL), HD_OK);
    assert_true(hd_tool_parser_held(p) <= HD_TOOL_HELD);
}

static void finish(hd_tool_parser **p, const tool_log *log)
{
    hd_tool_parser_finish(*p);
    assert_int_equal(hd_tool_parser_held(*p), 0);
    assert_false(log->open);
    assert_true(tool_log_ok(log));
    hd_tool_parser_close(p);
}

/* Cut at `first`, and from there on into pieces of `step` bytes. */
static void check_cut(hd_tool_form form, const char *text, size_t first, size_t step, const char *want)
{
    tool_log log;
    size_t len = strlen(text);
    hd_tool_parser *p = open_parser(form, &log);
    push(p, text, first);
    for (size_t pos = first; pos < len; pos += step)
        push(p, text + pos, HD_MIN(step, len - pos));
    finish(&p, &log);
    const char *got = log.text.len ? log.text.data : "";
    if (strcmp(got, want) != 0)
        fail_msg("%s\n(cut at %zu, then %zu)\ngave   %s\nwanted %s", text, first, step, got, want);
    tool_log_free(&log);
}

/* At every place, and into pieces of every size. */
static void check(hd_tool_form form, const char *text, const char *want)
{
    char seed[4096];
    snprintf(seed, sizeof seed, "%cz%s", '0' + (int)form, text);
    write_seed("", seed);
    for (size_t i = 0; i <= strlen(text); i++) {
        check_cut(form, text, i, strlen(text) + 1, want);
        check_cut(form, text, 0, i + 1, want);
    }
}

/* Malformed beyond being a call: all of it is text. */
static void check_text(hd_tool_form form, const char *text)
{
    check(form, text, text);
}

static void test_deepseek(void **state)
{
    (void)state;
    const hd_tool_form f = HD_TOOLS_DEEPSEEK;
    check(f, BEGIN V3_CALL("f", "{\"a\": 1}") END, OUT("0", "f", "{\"a\": 1}"));
    check(f, "Hi. " BEGIN V3_CALL("f", "{}") "\n" V3_CALL("g", "{\"b\": [\"\xC3\xA9\"]}") END " bye",
          "Hi. " OUT("0", "f", "{}") OUT("1", "g", "{\"b\": [\"\xC3\xA9\"]}") " bye");
    check(f, BEGIN V31_CALL("f", "{\"a\": {\"b\": \"}\"}}") V31_CALL("f", "{}") END "x",
          OUT("0", "f", "{\"a\": {\"b\": \"}\"}}") OUT("1", "f", "{}") "x");
    check(f, V3_CALL("f", "{}"), OUT("0", "f", "{}")); /* without the beginning of all */
    check(f, BEGIN "\n" V3_CALL("f", "{}") "\n" END "\n", OUT("0", "f", "{}") "\n");
    check(f, BEGIN CALL "f" SEP "\n{}\n" CALL_END END, OUT("0", "f", "{}"));
    check(f, BEGIN V3_CALL("f", "{}") END BEGIN V3_CALL("g", "{}") END, OUT("0", "f", "{}") OUT("1", "g", "{}"));
    /* Markers in a string of the arguments are the string's. */
    check(f, BEGIN V31_CALL("f", "{\"a\": \"\\\"" CALL_END V31_CALL("g", "{}") "\"}") END,
          OUT("0", "f", "{\"a\": \"\\\"" CALL_END V31_CALL("g", "{}") "\"}"));
    check(f, V3_CALL("f", "{\"a\": \"```" CALL_END "\"}"), OUT("0", "f", "{\"a\": \"```" CALL_END "\"}"));
}

static void test_deepseek_malformed(void **state)
{
    (void)state;
    const hd_tool_form f = HD_TOOLS_DEEPSEEK;
    check_text(f, "a < b, <｜tool▁cal, " SEP CALL_END END);
    check_text(f, BEGIN END);
    check_text(f, BEGIN "x");
    check_text(f, BEGIN CALL "function" SEP FENCE "{}\n```" CALL_END); /* no name */
    check_text(f, BEGIN CALL "function" SEP "f" FENCE "[1]\n```" CALL_END END);
    check_text(f, CALL "f" SEP "f\n```python\n{}");
    check_text(f, CALL "f<" SEP "{}" CALL_END);
    check_text(f, BEGIN CALL "function" SEP "f" FENCE); /* breaks off within the head */
    check_text(f, QWEN_CALL("f", "{}"));
    check(f, V3_CALL("f", "{\"a\": oops}"), B("0", "f") A("{\"a\": oops}") E("0", NOT_JSON));
    check(f, V31_CALL("f", "{\"a\": 1") END "x", B("0", "f") A("{\"a\": 1") E("0", NOT_CLOSED) "x");
    check(f, V3_CALL("f", "{\"a\": \"b") END, B("0", "f") A("{\"a\": \"b") E("0", NOT_CLOSED)); /* an open string */
    check(f, V3_CALL("f", "{\"a\": \"b\nc\"}"), B("0", "f") A("{\"a\": \"b\nc\"}") E("0", NOT_JSON));
    check(f, CALL "f" SEP "{\"a\": " V31_CALL("g", "{}") END "x",
          B("0", "f") A("{\"a\": ") E("0", NOT_CLOSED) OUT("1", "g", "{}") "x"); /* nested: both are calls */
    check(f, CALL "f" SEP "{\"a\": 1", B("0", "f") A("{\"a\": 1") E("0", NO_END));
    check(f, CALL "f" SEP "{\"a\": <｜tool", B("0", "f") A("{\"a\": <｜tool") E("0", NOT_JSON));
    check(f, V31_CALL("f", "{}}") END, OUT("0", "f", "{}") "}"); /* too much of it is text, the markers go */
    check(f, CALL "f" SEP "{}", OUT("0", "f", "{}"));
    check(f, CALL "f" SEP "{}\n``", OUT("0", "f", "{}") "\n``");
    check(f, CALL "f" SEP "{}" CALL "g" SEP "{}" END "y", OUT("0", "f", "{}") OUT("1", "g", "{}") "y");
    check(f, V31_CALL("f", "{}") " and " V31_CALL("g", "{}") END, OUT("0", "f", "{}") " and " OUT("1", "g", "{}"));
    check(f, V31_CALL("f", "{}") "                    " END, OUT("0", "f", "{}") "                    "); /* too many */
}

static void test_qwen(void **state)
{
    (void)state;
    const hd_tool_form f = HD_TOOLS_QWEN;
    check(f, QWEN_CALL("f", "{\"a\": \"}\"}"), OUT("0", "f", "{\"a\": \"}\"}"));
    check(f, "Hi\n" QWEN_CALL("f", "{}") "\n" QWEN_CALL("g", "{ }") "!",
          "Hi" OUT("0", "f", "{}") OUT("1", "g", "{ }") "!");
    check(f, "<tool_call>{\n  \"name\":\"f\",\n  \"parameters\" : {}\n}</tool_call>", OUT("0", "f", "{}"));
    check(f, "<tool_call>{\"name\": \"f\", \"arguments\": {}\n</tool_call>x",
          OUT("0", "f", "{}") "x"); /* a brace short */
    check(f, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1\n}\n</tool_call>x",
          OUT("0", "f", "{\"a\": 1\n}") "x");
    check(f, QWEN_CALL("f", "{\"a\": \"</tool_call>\"}"), OUT("0", "f", "{\"a\": \"</tool_call>\"}"));
    check_text(f, "</tool_call>\n<tool_cal");
    check_text(f, "<tool_call>\nnonsense\n</tool_call>");
    check_text(f, "<tool_call>{\"arguments\": {}, \"name\": \"f\"}</tool_call>");
    check_text(f, "<tool_call>{\"name\": \"f\", \"arguments\": \"{}\"}</tool_call>");
    check_text(f, "<tool_call>{\"name\": \"f\", \"values\": {}}</tool_call>");
    check_text(f, "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>");
    check_text(f, "a\n\nb\n<c");
    check(f, QWEN_CALL("f", "{\"a\": \"b"), B("0", "f") A("{\"a\": \"b}") E("0", NOT_CLOSED));
    check(f, QWEN_CALL("f", "{nope}"), B("0", "f") A("{nope}}") E("0", NOT_JSON));
    check(f, "<tool_call>{\"name\": \"f\", \"arguments\": {}, \"id\": 1}\n</tool_call>\nx",
          OUT("0", "f", "{}") ", \"id\": 1}\n\nx");
}

static void test_dsml(void **state)
{
    (void)state;
    const hd_tool_form f = HD_TOOLS_DSML;
    check(f, DSML(INVOKE("f", "")), OUT("0", "f", "{}"));
    check(
        f,
        "Hi" DSML(INVOKE("f", STRING("a", "x\"\\\n\t\1<b>\xC3\xA9") "\n" VALUE("b", " [1, \"</" D "parameter>\"]\n"))),
        "Hi" OUT("0", "f", "{\"a\": \"x\\\"\\\\\\n\\t\\u0001<b>\xC3\xA9\", \"b\":  [1, \"</" D "parameter>\"]\n}"));
    check(f, DSML(INVOKE("f", STRING("a", "")) "\n" INVOKE("g", VALUE("n", "-1.5"))) "x",
          OUT("0", "f", "{\"a\": \"\"}") OUT("1", "g", "{\"n\": -1.5}") "x");
    check(f, "<" D "function_calls>\n" INVOKE("f", VALUE("a", "null")) "\n</" D "function_calls>",
          OUT("0", "f", "{\"a\": null}")); /* V3.2 */
    check(f, INVOKE("f", "") "x", OUT("0", "f", "{}") "x");
    check(f, INVOKE("f", VALUE("a", "[true, false, 0, 0.5e1, -7E-2, \"\\u00e9\", {\"a\": 1, \"b\": {}}]")),
          OUT("0", "f", "{\"a\": [true, false, 0, 0.5e1, -7E-2, \"\\u00e9\", {\"a\": 1, \"b\": {}}]}"));
    check(f, INVOKE("f", VALUE("a", "0")), OUT("0", "f", "{\"a\": 0}"));
}

static void test_dsml_malformed(void **state)
{
    (void)state;
    const hd_tool_form f = HD_TOOLS_DSML;
    check_text(f, "\n\n<" D "tool_calls>\n\n</" D "tool_calls>");
    check_text(f, "\n\n\n<" D " tool_calls>" D);
    check_text(f, "<" D "invoke name=\"\">");
    check_text(f, "<" D "invoke name=\"f\"");
    check(f, DSML(INVOKE("f", "oops")) "x", B("0", "f") A("{") E("0", NO_PARAMETER) "\noops\n\nx");
    check(f, INVOKE("f", "<" D "parameter name=\"a\">b"),
          B("0", "f") A("{") E("0", NO_PARAMETER) "\n<" D "parameter name=\"a\">b\n");
    check(f, INVOKE("f", VALUE("a", "1, \"admin\": true")) "x",
          B("0", "f") A("{\"a\": 1") E("0", NOT_JSON) ", \"admin\": true\nx"); /* a value can't add members */
    check(f, INVOKE("f", VALUE("a", "1}")), B("0", "f") A("{\"a\": 1") E("0", NOT_JSON) "}\n");
    check(f, INVOKE("f", VALUE("a", "")), B("0", "f") A("{\"a\": ") E("0", NOT_JSON));
    check(f, INVOKE("f", VALUE("a", "word")), B("0", "f") A("{\"a\": ") E("0", NOT_JSON) "word\n");
    check(f, "<" D "invoke name=\"f\">\n" VALUE("a", "[1"), B("0", "f") A("{\"a\": [1") E("0", NOT_JSON));
    check(f, "<" D "invoke name=\"f\">\n<" D "parameter name=\"a\" string=\"true\">b</" D,
          B("0", "f") A("{\"a\": \"b</" D) E("0", NO_END));
    check(f, "<" D "invoke name=\"f\">\n" STRING("a", "b") "\n", B("0", "f") A("{\"a\": \"b\"") E("0", NO_END) "\n");
}

static void test_none(void **state)
{
    (void)state;
    check_text(HD_TOOLS_NONE, BEGIN V3_CALL("f", "{}") QWEN_CALL("f", "{}") DSML(INVOKE("f", "")));
}

/* Something else came between: the call ends there; the next one counts on. */
static void test_between(void **state)
{
    (void)state;
    tool_log log;
    hd_tool_parser *p = open_parser(HD_TOOLS_DEEPSEEK, &log);
    static const char first[] = CALL "f" SEP "{\"a\"", second[] = END V31_CALL("g", "{}") "<｜tool";
    hd_tool_parser_finish(p);
    push(p, first, strlen(first));
    hd_tool_parser_finish(p);
    push(p, second, strlen(second));
    finish(&p, &log);
    assert_string_equal(log.text.data, B("0", "f") A("{\"a\"") E("0", NO_END) END OUT("1", "g", "{}") "<｜tool");
    tool_log_free(&log);
}

/* ---- how long bytes wait ---- */

/* The bytes that wait at the end of `text`. */
static size_t held_after(hd_tool_form form, const char *text)
{
    tool_log log;
    hd_tool_parser *p = open_parser(form, &log);
    push(p, text, strlen(text));
    size_t held = hd_tool_parser_held(p);
    finish(&p, &log);
    tool_log_free(&log);
    return held;
}

static void test_held(void **state)
{
    (void)state;
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, "plain text.\n\n"), 0);
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, "1 < 2"), 0);
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, "x <"), 1);
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, "x <｜tool"), strlen("<｜tool"));
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, "x <｜toolx"), 0);
    assert_int_equal(held_after(HD_TOOLS_QWEN, "x\n"), 1);
    assert_int_equal(held_after(HD_TOOLS_QWEN, "x\n\n"), 1);
    assert_int_equal(held_after(HD_TOOLS_DSML, "x\n\n\n"), 2);
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, CALL "f" SEP "{\"a\": 1, \"b"), 0);
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, CALL "f" SEP "{\"a\": \"<｜tool"), 0);
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, CALL "f" SEP "{\"a\": \n"), 1);
    assert_int_equal(held_after(HD_TOOLS_DSML, "<" D "invoke name=\"f\">" VALUE("a", "1")), 0);
    assert_int_equal(
        held_after(HD_TOOLS_DSML, "<" D "invoke name=\"f\"><" D "parameter name=\"a\" string=\"true\">x</" D),
        strlen("</" D));
}

/* The longest that each state can hold. */
static void test_held_most(void **state)
{
    (void)state;
    static char longest[2048]; /* zeroed, so one more byte may be put behind */
    char name[HD_TOOL_NAME + 1] = "", space[HD_TOOL_SPACE + 1] = "";
    memset(name, 'n', HD_TOOL_NAME);
    memset(space, '\n', HD_TOOL_SPACE);
    int n = snprintf(longest, sizeof longest, "%s%s" BEGIN "%s" CALL "%s" SEP "%s%s```json%s", V31_CALL("f", "{}"),
                     space, space, name, name, space, space);
    assert_true(n > 0 && n < (int)sizeof longest);
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, longest), HD_TOOL_HELD);
    longest[n] = '\n';
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, longest), 0);
    char end[] = CALL "f" SEP "{\"a\":\n```" CALL_END;
    end[strlen(end) - 1] = '\0';
    assert_int_equal(held_after(HD_TOOLS_DEEPSEEK, end), HD_TOOL_HELD_VALUE);
}

/* ---- random answers ---- */

static const char *const fragments[][16] = {
    [HD_TOOLS_DEEPSEEK] = {BEGIN, END, CALL, CALL_END, SEP, "function", FENCE, "\n```", "{\"a\": ", "}", "\"", "{}",
                           V3_CALL("f", "{}"), V31_CALL("g", "{\"a\": 1}"), "\n", "<｜tool▁"},
    [HD_TOOLS_QWEN] = {"<tool_call>", "</tool_call>", "\n", "{\"name\": ", "\"f\"", ", \"arguments\": ", "{", "}", "\"",
                       "{}", QWEN_CALL("f", "{}"), QWEN_CALL("g", "{\"a\": 1}"), "<tool", " ", "x", "\\"},
    [HD_TOOLS_DSML] = {"<" D "tool_calls>", "</" D "tool_calls>", "\n\n", "\n", "<" D "invoke name=\"f\">",
                       "</" D "invoke>", STRING("a", "b"), VALUE("c", "1"),
                       "<" D "parameter name=\"d\" string=\"false\">", "</" D "parameter>", "[", "]", "\"", "x", "</" D,
                       DSML(INVOKE("f", ""))}};

static uint32_t seed = 99;

static size_t random_below(size_t n)
{
    seed = seed * 1664525u + 1013904223u; /* Numerical Recipes' generator */
    return (seed >> 8) % n;
}

/* What waits must begin something: it is white space and a prefix of a marker, or a head that is under way. */
static void check_needed(const char *held, size_t len)
{
    size_t space = strspn(held, " \n");
    assert_true(len <= HD_TOOL_HELD);
    if (len > 0 && space < len && held[space] != '<' && held[space] != '`' && held[space] != '}')
        fail_msg("waits without need: %.*s", (int)len, held);
}

static void test_random(void **state)
{
    (void)state;
    for (int round = 0; round < 60000; round++) {
        char text[2048];
        size_t len = 0;
        hd_tool_form form = (hd_tool_form)(1 + random_below(3));
        for (size_t n = random_below(14); n > 0; n--) {
            const char *fragment = fragments[form][random_below(16)];
            memcpy(text + len, fragment, strlen(fragment)); /* 14 times at most 120 bytes */
            len += strlen(fragment);
        }
        tool_log whole, pieces;
        hd_tool_parser *p = open_parser(form, &whole);
        text[len] = '\0';
        push(p, text, len);
        finish(&p, &whole);
        p = open_parser(form, &pieces);
        for (size_t pos = 0, n; pos < len; pos += n) {
            n = 1 + random_below(20);
            n = HD_MIN(n, len - pos);
            push(p, text + pos, n);
            size_t held = hd_tool_parser_held(p);
            check_needed(text + pos + n - held, held);
        }
        finish(&p, &pieces);
        if (whole.text.len != pieces.text.len ||
            (len && memcmp(whole.text.data, pieces.text.data, whole.text.len) != 0))
            fail_msg("%s\nwhole  %s\npieces %s", text, whole.text.data, pieces.text.data);
        tool_log_free(&whole);
        tool_log_free(&pieces);
    }
}

static void test_tokens(void **state)
{
    (void)state;
    assert_string_equal(hd_tool_form_token(HD_TOOLS_DEEPSEEK, 4), SEP);
    assert_null(hd_tool_form_token(HD_TOOLS_DEEPSEEK, 5));
    assert_null(hd_tool_form_token(HD_TOOLS_DEEPSEEK, 99));
    assert_null(hd_tool_form_token(HD_TOOLS_NONE, 0));
    assert_string_equal(hd_tool_form_token(HD_TOOLS_DSML, 0), D);
}

static void test_no_memory(void **state)
{
    (void)state;
    tool_log log;
    hd_tool_parser *p = NULL;
    hd_error err = {0};
    hd_alloc_fail_after(1);
    assert_int_equal(hd_tool_parser_open(&p, HD_TOOLS_QWEN, tool_log_add, &log, &err), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    assert_null(p);
    p = open_parser(HD_TOOLS_QWEN, &log);
    hd_alloc_fail_after(1);
    assert_int_equal(hd_tool_parser_push(p, "x", 1, &err), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    finish(&p, &log);
    hd_tool_parser_close(&p);
    tool_log_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deepseek),       cmocka_unit_test(test_deepseek_malformed),
        cmocka_unit_test(test_qwen),           cmocka_unit_test(test_dsml),
        cmocka_unit_test(test_dsml_malformed), cmocka_unit_test(test_none),
        cmocka_unit_test(test_between),        cmocka_unit_test(test_held),
        cmocka_unit_test(test_held_most),      cmocka_unit_test(test_random),
        cmocka_unit_test(test_tokens),         cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
