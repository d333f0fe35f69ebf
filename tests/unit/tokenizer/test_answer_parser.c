/* test_answer_parser.c: however an answer is cut into pieces, the same comes out, as early as it can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tokenizer/answer_parser.h"

#define OUT_MAX 4096

/* What came out: text, and beside it what kind each byte was ('t' or 'r'). */
typedef struct collected {
    char text[OUT_MAX], kind[OUT_MAX];
    size_t len;
} collected;

static void collect(void *arg, hd_answer_kind kind, const char *data, size_t len)
{
    collected *c = arg;
    assert_true(len > 0 && c->len + len < OUT_MAX);
    memcpy(c->text + c->len, data, len);
    memset(c->kind + c->len, kind == HD_ANSWER_REASONING ? 'r' : 't', len);
    c->len += len;
    c->text[c->len] = c->kind[c->len] = '\0';
}

static hd_answer_parser *open_with(const hd_answer_parser_options *options, collected *out)
{
    hd_answer_parser *p = NULL;
    hd_error err = {0};
    memset(out, 0, sizeof *out);
    if (hd_answer_parser_open(&p, options, collect, out, &err) != HD_OK) fail_msg("%s", err.text);
    return p;
}

static void push(hd_answer_parser *p, const char *text, size_t len)
{
    assert_int_equal(hd_answer_parser_push(p, text, len, NULL), HD_OK);
}

/* `text` in pieces of `step` bytes must give `want`, whose kinds are `kinds`. */
static void check_steps(const hd_answer_parser_options *options, const char *text, size_t step, const char *want,
                        const char *kinds)
{
    collected out;
    hd_answer_parser *p = open_with(options, &out);
    for (size_t i = 0; i < strlen(text); i += step)
        push(p, text + i, HD_MIN(step, strlen(text) - i));
    assert_int_equal(hd_answer_parser_finish(p, NULL), HD_OK);
    assert_string_equal(out.text, want);
    assert_string_equal(out.kind, kinds);
    hd_answer_parser_close(&p);
    assert_null(p);
}

static void check(const hd_answer_parser_options *options, const char *text, const char *want, const char *kinds)
{
    for (size_t step = 1; step <= strlen(text) + 1; step++)
        check_steps(options, text, step, want, kinds);
}

static void test_reasoning(void **state)
{
    (void)state;
    hd_answer_parser_options o = {.split_reasoning = true};
    check(&o, "<think>ab</think>cd", "abcd", "rrtt");
    check(&o, "\n <think>ab</think>", "\n ab", "ttrr");
    check(&o, "ab<think>cd</think>e", "ab<think>cd</think>e", "tttttttttttttttttttt");
    check(&o, "<think></think>x", "x", "t");
    check(&o, "<think>ab", "ab", "rr");
    check(&o, "<think>a<think>b</thin", "a<think>b</thin", "rrrrrrrrrrrrrrr");
    check(&o, "<thin", "<thin", "ttttt");
    check(&o, "<think>a</think>b<think>c</think>d", "ab<think>c</think>d", "rtttttttttttttttttt");
    check(&o, "</think>a", "</think>a", "ttttttttt");
    check(&o, "<<think>a", "<<think>a", "ttttttttt");
    check(&o, "<think>a</</think>b", "a</b", "rrrt");
    o.in_reasoning = true;
    check(&o, "ab</think>cd", "abcd", "rrtt");
    check(&o, "<think>ab</think>", "<think>ab", "rrrrrrrrr");
    check(&o, "", "", "");
    o.split_reasoning = false;
    check(&o, "<think>a</think>", "<think>a</think>", "tttttttttttttttt");
}

static void test_stops(void **state)
{
    (void)state;
    static const char *const stop[] = {"END", "\n\n"};
    hd_answer_parser_options o = {.stop = stop, .stop_count = 2, .split_reasoning = true};
    check(&o, "abENDcd", "ab", "tt");
    check(&o, "abENcd", "abENcd", "tttttt");
    check(&o, "abEN", "abEN", "tttt");
    check(&o, "EENDx", "E", "t");
    check(&o, "a\n\nEND", "a", "t");
    check(&o, "<think>aEND</think>b", "a", "r");
    check(&o, "END", "", "");
    static const char *const overlapping[] = {"abcd", "bc", "c", "xabc"};
    o.stop = overlapping;
    o.stop_count = 4;
    check(&o, "zabcd", "za", "tt"); /* "bc" and "c" are complete first; the longer one counts */
    check(&o, "zxabcd", "z", "t");
    static const char *const markers[] = {"</think>\n", "ink>a"};
    o.stop = markers;
    o.stop_count = 2;
    check(&o, "<think>b</think>\nx", "b", "r");
    check(&o, "<think>b</think>x", "bx", "rt");
    check(&o, "<think>ab", "<th", "ttt"); /* a stop string inside of a marker leaves its beginning as text */
    static const char *const unicode[] = {"\xE4\xBD\xA0\xE5\xA5\xBD"};
    o.stop = unicode;
    o.stop_count = 1;
    check(&o, "a\xE4\xBD\xA0\xE5\xA5\xBD!", "a", "t");
    check(&o, "a\xE4\xBD\xA0\xE5\xA5\xBC!", "a\xE4\xBD\xA0\xE5\xA5\xBC!", "tttttttt");
}

/* Markers that came as tokens count anywhere, and stop strings see their text. */
static void test_marks(void **state)
{
    (void)state;
    collected out;
    hd_answer_parser_options o = {.split_reasoning = true};
    hd_answer_parser *p = open_with(&o, &out);
    push(p, "a", 1);
    assert_int_equal(hd_answer_parser_mark(p, HD_MARKER_THINK, NULL), HD_OK);
    assert_int_equal(hd_answer_parser_mark(p, HD_MARKER_THINK, NULL), HD_OK);
    push(p, "b</thi", 6);
    assert_int_equal(hd_answer_parser_mark(p, HD_MARKER_END_THINK, NULL), HD_OK);
    assert_int_equal(hd_answer_parser_mark(p, HD_MARKER_END_THINK, NULL), HD_OK);
    push(p, "c", 1);
    assert_string_equal(out.text, "ab</thic");
    assert_string_equal(out.kind, "trrrrrrt");
    hd_answer_parser_close(&p);

    static const char *const stop[] = {"x</think>y"};
    o = (hd_answer_parser_options){.stop = stop, .stop_count = 1, .split_reasoning = true, .in_reasoning = true};
    for (int last = 0; last < 2; last++) {
        p = open_with(&o, &out);
        push(p, "ax", 2);
        assert_int_equal(hd_answer_parser_mark(p, HD_MARKER_END_THINK, NULL), HD_OK);
        assert_string_equal(out.text, "a");
        push(p, last ? "y" : "z", 1);
        assert_int_equal(hd_answer_parser_stopped(p), last);
        assert_string_equal(out.text, last ? "a" : "axz");
        assert_string_equal(out.kind, last ? "r" : "rrt");
        push(p, "more", 4);
        assert_int_equal(hd_answer_parser_mark(p, HD_MARKER_THINK, NULL), HD_OK);
        assert_int_equal(hd_answer_parser_finish(p, NULL), HD_OK);
        assert_string_equal(out.text, last ? "a" : "axzmore");
        hd_answer_parser_close(&p);
    }

    static const char *const inside[] = {"thi"};
    o.stop = inside;
    p = open_with(&o, &out);
    push(p, "a", 1);
    assert_int_equal(hd_answer_parser_mark(p, HD_MARKER_END_THINK, NULL), HD_OK);
    assert_true(hd_answer_parser_stopped(p));
    assert_string_equal(out.text, "a");
    hd_answer_parser_close(&p);
}

/* ---- random answers, against a plain reading of the rules ---- */

static const char *const fragments[] = {
    "<think>", "</think>", "<th", "ink>",     "</",           "think",           ">", "<", "a", "b", "ab",
    "aab",     " ",        "\n",  "\xC3\xA9", "\xE4\xBD\xA0", "\xF0\x9F\x98\x80"};
static const char *const stops[] = {"aab", "ab\n", "</a", "b<th", "\xC3\xA9\xC3\xA9", "k> a", "</think>b", "a</think>"};

static uint32_t seed = 12345;

static uint32_t random_below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u; /* Numerical Recipes' generator */
    return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

static bool starts(const char *text, size_t len, const char *what)
{
    return len >= strlen(what) && memcmp(text, what, strlen(what)) == 0;
}

/* The answer as a whole: cut at the stop string that ends first (the longest of those), then split. */
static void plain_reading(const char *text, const hd_answer_parser_options *o, collected *out)
{
    size_t len = strlen(text);
    for (size_t end = 1; end <= len && len == strlen(text); end++)
        for (size_t i = 0; i < o->stop_count; i++) {
            size_t n = strlen(o->stop[i]);
            if (n <= end && memcmp(text + end - n, o->stop[i], n) == 0) len = HD_MIN(len, end - n);
        }
    memset(out, 0, sizeof *out);
    char mode = !o->split_reasoning ? 't' : o->in_reasoning ? 'r' : 's';
    for (size_t i = 0; i < len;) {
        if (mode == 's' && starts(text + i, len - i, "<think>")) {
            mode = 'r';
            i += 7;
        } else if (mode == 'r' && starts(text + i, len - i, "</think>")) {
            mode = 't';
            i += 8;
        } else {
            collect(out, mode == 'r' ? HD_ANSWER_REASONING : HD_ANSWER_TEXT, text + i, 1);
            if (mode == 's' && text[i] != ' ' && text[i] != '\n') mode = 't';
            i++;
        }
    }
}

/* Whether the end of `text` can still become part of a stop string or marker from byte `from` on. */
static bool must_wait(const char *text, size_t from, const hd_answer_parser_options *o)
{
    size_t left = strlen(text) - from;
    for (size_t i = 0; i < o->stop_count; i++)
        if (left < strlen(o->stop[i]) && memcmp(text + from, o->stop[i], left) == 0) return true;
    static const char *const markers[] = {"<think>", "</think>"};
    for (size_t i = 0; i < 2; i++)
        if (left < strlen(markers[i]) && memcmp(text + from, markers[i], left) == 0) return true;
    return false;
}

static void random_answer(char *text, hd_answer_parser_options *o, const char **stop)
{
    size_t len = 0;
    for (uint32_t n = random_below(12); n > 0; n--) {
        const char *fragment = fragments[random_below(HD_ARRAY_LEN(fragments))];
        memcpy(text + len, fragment, strlen(fragment)); /* 12 times at most 8 bytes */
        len += strlen(fragment);
    }
    text[len] = '\0';
    *o = (hd_answer_parser_options){
        .stop = stop, .split_reasoning = random_below(4) > 0, .in_reasoning = random_below(2)};
    o->stop_count = random_below(4);
    for (size_t i = 0; i < o->stop_count; i++)
        stop[i] = stops[random_below(HD_ARRAY_LEN(stops))];
}

static size_t char_size(const char *p)
{
    unsigned char c = (unsigned char)*p;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static bool is_utf8_boundary(const char *text, size_t len)
{
    return ((unsigned char)text[len] & 0xc0) != 0x80;
}

static void test_random(void **state)
{
    (void)state;
    for (int round = 0; round < 30000; round++) {
        char text[256], so_far[256] = "";
        const char *stop[4];
        hd_answer_parser_options o;
        collected want, got;
        random_answer(text, &o, stop);
        plain_reading(text, &o, &want);
        hd_answer_parser *p = open_with(&o, &got);
        for (size_t pos = 0; pos < strlen(text);) {
            size_t n = 0;
            do
                n += char_size(text + pos + n);
            while (pos + n < strlen(text) && random_below(3) == 0);
            push(p, text + pos, n);
            pos += n;
            memcpy(so_far, text, pos);
            so_far[pos] = '\0';
            assert_true(is_utf8_boundary(want.text, got.len));
            if (hd_answer_parser_stopped(p)) break;
            /* What is held back must be needed: the first byte not given out begins something. */
            size_t held = 0;
            for (size_t from = pos; from-- > 0;)
                if (must_wait(so_far, from, &o)) held = pos - from;
            collected all;
            hd_answer_parser_options none = o;
            none.stop_count = 0;
            plain_reading(so_far, &none, &all);
            if (got.len + held < all.len)
                fail_msg("%s\nheld back %zu bytes, %zu would do", so_far, all.len - got.len, held);
        }
        assert_int_equal(hd_answer_parser_finish(p, NULL), HD_OK);
        if (strcmp(got.text, want.text) != 0 || strcmp(got.kind, want.kind) != 0)
            fail_msg("%s\ngave   %s\n       %s\nwanted %s\n       %s", text, got.text, got.kind, want.text, want.kind);
        hd_answer_parser_close(&p);
    }
}

/* ---- errors ---- */

static void check_bad_stop(const char *stop, size_t count, hd_status status, const char *part)
{
    const char *list[HD_ANSWER_STOPS + 1];
    hd_answer_parser *p;
    hd_error err = {0};
    for (size_t i = 0; i < count; i++)
        list[i] = stop;
    hd_answer_parser_options o = {.stop = list, .stop_count = count};
    assert_int_equal(hd_answer_parser_open(&p, &o, collect, NULL, &err), status);
    assert_null(p);
    assert_non_null(strstr(err.text, part));
}

static void test_errors(void **state)
{
    (void)state;
    static char long_stop[HD_ANSWER_STOP_BYTES + 2];
    memset(long_stop, 'a', sizeof long_stop - 1);
    check_bad_stop("", 1, HD_E_ARGUMENT, "empty");
    check_bad_stop("\xFF", 1, HD_E_ARGUMENT, "not UTF-8");
    check_bad_stop("\xE4\xBD", 1, HD_E_ARGUMENT, "not UTF-8");
    check_bad_stop(long_stop, 1, HD_E_LIMIT, "4097 bytes, at most 4096");
    check_bad_stop("a", HD_ANSWER_STOPS + 1, HD_E_LIMIT, "257 stop strings, at most 256");
}

static void test_no_memory(void **state)
{
    (void)state;
    static const char *const stop[] = {"ab", "cd"};
    hd_answer_parser_options o = {.stop = stop, .stop_count = 2, .split_reasoning = true};
    for (uint64_t n = 1; n <= 6; n++) {
        hd_answer_parser *p;
        hd_alloc_fail_after(n);
        assert_int_equal(hd_answer_parser_open(&p, &o, collect, NULL, NULL), HD_E_MEMORY);
        hd_alloc_fail_after(0);
        assert_null(p);
    }
    collected out;
    hd_answer_parser *p = open_with(&o, &out);
    hd_alloc_fail_after(1);
    assert_int_equal(hd_answer_parser_push(p, "x", 1, NULL), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    hd_answer_parser_close(&p);
    hd_answer_parser_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reasoning), cmocka_unit_test(test_stops),  cmocka_unit_test(test_marks),
        cmocka_unit_test(test_random),    cmocka_unit_test(test_errors), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
