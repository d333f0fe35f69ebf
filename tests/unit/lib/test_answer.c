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
    assert_int_equal(hd_answer_push(answer, 261, &stopped, &err), HD_OK); /* a row of the model beyond its tokenizer */
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
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
