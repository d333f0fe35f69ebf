/* test_answer.c: include/hadal/chat.h: one answer, token by token. */
#include "unit/lib/tiny_text.h"

#define OUT_MAX 1024

typedef struct collected {
    char text[OUT_MAX], kind[OUT_MAX];
    size_t len;
} collected;

static void collect(void *arg, hd_piece_kind kind, const char *data, size_t len)
{
    collected *c = arg;
    assert_true(len > 0 && c->len + len < OUT_MAX);
    uint32_t cp;
    for (size_t i = 0; i < len; i += (size_t)hd_utf8_step((const uint8_t *)data + i, len - i, &cp))
        assert_true(hd_utf8_step((const uint8_t *)data + i, len - i, &cp) > 0); /* whole characters */
    memcpy(c->text + c->len, data, len);
    memset(c->kind + c->len, kind == HD_PIECE_REASONING ? 'r' : 't', len);
    c->len += len;
}

static void check(const hd_text *text, const hd_answer_options *options, const int32_t *ids, size_t count,
                  const char *want, const char *kinds, bool stops)
{
    collected out = {{0}, {0}, 0};
    hd_answer *answer = NULL;
    hd_error err = {0};
    bool stopped = false;
    if (hd_answer_open(&answer, text, options, collect, &out, &err) != HD_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < count; i++)
        if (hd_answer_push(answer, ids[i], &stopped, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(stopped, stops);
    assert_int_equal(hd_answer_finish(answer, &err), HD_OK);
    assert_string_equal(out.text, want);
    assert_string_equal(out.kind, kinds);
    hd_answer_close(&answer);
    assert_null(answer);
}

static void test_tokens(void **state)
{
    (void)state;
    hd_text *text = tiny_text(NULL, true);
    hd_answer_options o = {.split_reasoning = true};
    static const int32_t thinks[] = {TINY_THINK, 'a', TINY_END_THINK, 'b', TINY_EOS};
    check(text, &o, thinks, 5, "ab", "rt", false);
    static const int32_t spelled[] = {'<', 't', 'h', 'i', 'n', 'k', '>', 'a', '<',
                                      '/', 't', 'h', 'i', 'n', 'k', '>', 'b'};
    check(text, &o, spelled, 17, "ab", "rt", false);
    static const int32_t late[] = {'x', TINY_THINK, 'a', TINY_END_THINK, 'b'};
    check(text, &o, late, 5, "xab", "trt", false);
    o.in_reasoning = true;
    check(text, &o, thinks + 1, 3, "ab", "rt", false);
    o.show_special = true;
    check(text, &o, thinks + 1, 4, "ab</s>", "rttttt", false);
    o = (hd_answer_options){.show_special = true};
    check(text, &o, thinks, 4, "<think>a</think>b", "ttttttttttttttttt", false);
    o.show_special = false;
    check(text, &o, thinks, 4, "ab", "tt", false);
    hd_text_close(&text);
}

static void test_characters(void **state)
{
    (void)state;
    hd_text *text = tiny_text(NULL, true);
    hd_answer_options o = {.split_reasoning = true};
    static const int32_t whole[] = {0xE4, 0xBD, 0xA0, 0xC3, 0xA9}, half[] = {'a', 0xE4, 0xBD},
                         cut[] = {0xE4, TINY_THINK, 'b'};
    check(text, &o, whole, 5, "\xE4\xBD\xA0\xC3\xA9", "ttttt", false);
    check(text, &o, half, 3, "a\xEF\xBF\xBD", "tttt", false);
    check(text, &o, cut, 3,
          "\xEF\xBF\xBD"
          "b",
          "tttr", false);
    check(text, &o, NULL, 0, "", "", false);
    hd_text_close(&text);
}

static void test_stops(void **state)
{
    (void)state;
    hd_text *text = tiny_text(NULL, true);
    static const char *const stop[] = {"\xE4\xBD\xA0!", "</think>b", "cd"};
    hd_answer_options o = {.stop = stop, .stop_count = 3, .split_reasoning = true, .in_reasoning = true};
    static const int32_t a[] = {'a', 0xE4, 0xBD, 0xA0, '!', 'x'}, b[] = {'a', TINY_END_THINK, 'b'},
                         c[] = {'a', TINY_END_THINK, 'c'};
    check(text, &o, a, 6, "a", "r", true);
    check(text, &o, b, 3, "a", "r", true);
    check(text, &o, c, 3, "ac", "rt", false);
    hd_text_close(&text);
}

/* ---- tool calls ---- */

/* Pieces by kind, calls as "[name{...}]", and why where the arguments are not whole: "[name{...!why]". */
static void collect_calls(void *arg, hd_piece_kind kind, const char *data, size_t len)
{
    static const char *const before[] = {[HD_PIECE_TEXT] = "",
                                         [HD_PIECE_REASONING] = "~",
                                         [HD_PIECE_TOOL_BEGIN] = "[",
                                         [HD_PIECE_TOOL_ARGUMENTS] = "",
                                         [HD_PIECE_TOOL_END] = "!"};
    collected *c = arg;
    const char *mark = kind == HD_PIECE_REASONING && c->kind[0] == 'r' ? "" : before[kind];
    if (kind == HD_PIECE_TOOL_END && len == 0) mark = "";
    c->kind[0] = kind == HD_PIECE_REASONING ? 'r' : 't'; /* of the last piece */
    int n = snprintf(c->text + c->len, OUT_MAX - c->len, "%s%.*s", mark, (int)len, data);
    assert_true(n >= 0 && c->len + (size_t)n + 2 < OUT_MAX);
    c->len += (size_t)n;
    if (kind == HD_PIECE_TOOL_END) c->text[c->len++] = ']';
    c->text[c->len] = '\0';
}

/* Letters of `answer` as tokens, with `{C` and `C}` as those of a call and `{T`, `T}` as those of thinking. */
static void check_calls(const hd_text *text, const hd_answer_options *options, const char *answer, const char *want)
{
    static const struct {
        char text[3];
        int32_t id;
    } marks[] = {{"{C", TINY_CALL}, {"C}", TINY_END_CALL}, {"{T", TINY_THINK}, {"T}", TINY_END_THINK}};
    collected out = {{0}, {0}, 0};
    hd_answer *a = NULL;
    hd_error err = {0};
    bool stopped;
    assert_int_equal(hd_answer_open(&a, text, options, collect_calls, &out, &err), HD_OK);
    while (*answer) {
        int32_t id = (unsigned char)*answer;
        size_t used = 1;
        for (size_t i = 0; i < HD_ARRAY_LEN(marks); i++)
            if (strncmp(answer, marks[i].text, 2) == 0) {
                id = marks[i].id;
                used = 2;
            }
        assert_int_equal(hd_answer_push(a, id, &stopped, &err), HD_OK);
        answer += used;
    }
    assert_int_equal(hd_answer_finish(a, &err), HD_OK);
    assert_string_equal(out.text, want);
    hd_answer_close(&a);
}

static void test_tools(void **state)
{
    (void)state;
    hd_text *text = tiny_text(NULL, true);
    static const char *const stop[] = {"STOP"};
    hd_answer_options o = {.split_reasoning = true, .parse_tools = true, .stop = stop, .stop_count = 1};
    static const char f[] = "{C{\"name\": \"f\", \"arguments\": {\"a\": 1}}C}";
    assert_true(hd_text_knows_tools(text));
    check_calls(text, &o, f, "[f{\"a\": 1}]"); /* its markers are special, and yet they are seen */
    check_calls(
        text, &o,
        "{Thm<tool_call>T}Hi {C{\"name\": \"f\", \"arguments\": {}}C}\n{C{\"name\": \"g\", \"arguments\": {}}C}.",
        "~hm<tool_call>Hi [f{}][g{}].");
    check_calls(text, &o, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>", "[f{}]");
    check_calls(text, &o, "{C{\"name\": \"f\", \"arguments\": {\"a\": STOP1}}C}",
                "[f{\"a\": !the answer ended within the call]");
    check_calls(text, &o, "a\n{Tb{Cc{T", "a\n~b<tool_call>c");
    check_calls(text, &o, "{C{\"name\": \"f\", \"arguments\": {{Tb", "[f{!the answer ended within the call]~b");
    o.parse_tools = false;
    check_calls(text, &o, f,
                "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"); /* as ever: special tokens are not shown */
    hd_text_close(&text);
    text = tiny_text(NULL, false);
    assert_false(hd_text_knows_tools(text));
    o.parse_tools = true;
    check_calls(text, &o, "<tool_call>x", "<tool_call>x");
    hd_text_close(&text);
}

/* A template like Qwen's, and back. */
static void test_qwen_template(void **state)
{
    (void)state;
    hd_text *text = tiny_text("{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}"
                              "{{ '\n<tool_call>\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}"
                              "{{ c.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}{% endfor %}",
                              true);
    static const char request[] =
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"Hi\",\"tool_calls\":[{\"function\":{\"name\":\"f\","
        "\"arguments\":{\"a\":\"}\\n</tool_call>\"}}},{\"function\":{\"name\":\"g\",\"arguments\":{}}}]}]}";
    char *answer = NULL;
    size_t len = 0;
    hd_error err = {0};
    if (hd_chat_render(text, request, strlen(request), &answer, &len, &err) != HD_OK) fail_msg("%s", err.text);
    hd_answer_options o = {.parse_tools = true};
    check_calls(text, &o, answer, "Hi[f{\"a\": \"}\\n</tool_call>\"}][g{}]");
    hd_string_free(answer);
    hd_text_close(&text);
}

static void test_tools_no_memory(void **state)
{
    (void)state;
    hd_text *text = tiny_text(NULL, true);
    hd_answer_options o = {.parse_tools = true};
    hd_error err = {0};
    int failures = 0;
    for (uint64_t n = 1; n < 12; n++) {
        collected out = {{0}, {0}, 0};
        hd_answer *a = NULL;
        bool stopped;
        hd_alloc_fail_after(n);
        hd_status status = hd_answer_open(&a, text, &o, collect_calls, &out, &err);
        if (status == HD_OK) status = hd_answer_push(a, 'x', &stopped, &err);
        hd_alloc_fail_after(0);
        assert_true(status == HD_OK || status == HD_E_MEMORY);
        assert_string_equal(out.text, status == HD_OK ? "x" : "");
        failures += status != HD_OK;
        hd_answer_close(&a);
    }
    assert_true(failures >= 5); /* among them the push into the parser of calls */
    hd_text_close(&text);
}

static void test_errors(void **state)
{
    (void)state;
    hd_text *text = tiny_text(NULL, true);
    static const char *const empty[] = {""};
    hd_answer_options o = {.stop = empty, .stop_count = 1};
    hd_answer *answer = NULL;
    hd_error err = {0};
    bool stopped;
    collected out = {{0}, {0}, 0};
    assert_int_equal(hd_answer_open(&answer, text, &o, collect, &out, &err), HD_E_ARGUMENT);
    assert_null(answer);
    o.stop_count = 0;
    assert_int_equal(hd_answer_open(&answer, text, &o, collect, &out, &err), HD_OK);
    assert_int_equal(hd_answer_push(answer, TINY_COUNT, &stopped, &err),
                     HD_OK); /* a row of the model beyond its tokenizer */
    assert_string_equal(out.text, "");
    assert_int_equal(hd_answer_push(answer, -1, &stopped, &err), HD_E_ARGUMENT);
    assert_false(stopped);
    hd_alloc_fail_after(1);
    assert_int_equal(hd_answer_push(answer, 'a', &stopped, &err), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    hd_answer_close(&answer);
    hd_answer_close(&answer);
    for (uint64_t n = 1; n < 4; n++) {
        hd_alloc_fail_after(n);
        hd_status status = hd_answer_open(&answer, text, &o, collect, &out, &err);
        hd_alloc_fail_after(0);
        assert_int_equal(status, HD_E_MEMORY);
        assert_null(answer);
    }
    hd_text_close(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens), cmocka_unit_test(test_characters),    cmocka_unit_test(test_stops),
        cmocka_unit_test(test_tools),  cmocka_unit_test(test_qwen_template), cmocka_unit_test(test_tools_no_memory),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
