/* test_json_scan.c: what begins and ends a JSON value, against jansson. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "base/base.h"
#include "tokenizer/json_scan.h"

/* True: all of `text` is one value. */
static bool scan(const char *text, size_t len)
{
    hd_json_scan s;
    hd_json_scan_begin(&s);
    for (size_t i = 0; i < len; i++)
        if (!hd_json_scan_push(&s, text[i])) {
            assert_false(hd_json_scan_push(&s, ' ')); /* once bad, always bad */
            return false;
        }
    return hd_json_scan_whole(&s);
}

static bool jansson_reads(const char *text, size_t len)
{
    json_t *value = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_decref(value);
    return value != NULL;
}

static void test_good(void **state)
{
    (void)state;
    static const char *const good[] = {"{}",
                                       " [ ] ",
                                       "0",
                                       "-0.5e+10",
                                       "1E3 ",
                                       "10\n",
                                       "true",
                                       "false",
                                       "null",
                                       "\"\"",
                                       "\"\\u00e9\\n\\\"\"",
                                       "{\"a\":[1,2,{\"b\":null}], \"c\" : \"d\"}",
                                       "[[],{},\"x\",-1,1.5]",
                                       "[1 ,2\t]",
                                       "{\"a\":0}",
                                       "[1e5]"};
    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++)
        if (!scan(good[i], strlen(good[i]))) fail_msg("%s", good[i]);
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[1,]",
                                      "{\"a\":1,}",
                                      "{a:1}",
                                      "{\"a\" 1}",
                                      "{\"a\":}",
                                      "{,}",
                                      "[,]",
                                      "01",
                                      "-",
                                      "+1",
                                      "1.",
                                      ".5",
                                      "1e",
                                      "1e+",
                                      "tru",
                                      "trux",
                                      "True",
                                      "\"",
                                      "\"\n\"",
                                      "\"\\x\"",
                                      "\"\\u12g4\"",
                                      "{} {}",
                                      "1 2",
                                      "[1}",
                                      "{]",
                                      "[1 2]",
                                      "]",
                                      "}",
                                      "1,",
                                      "-a",
                                      "1.x",
                                      "1e+-",
                                      "'a'",
                                      "[1\v]",
                                      "{\"a\":1 \"b\":2}",
                                      "0x1",
                                      "--1",
                                      "1.2.3"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        if (scan(bad[i], strlen(bad[i]))) fail_msg("%s", bad[i]);
}

static void test_depth(void **state)
{
    (void)state;
    static char text[2 * HD_JSON_SCAN_DEPTH + 2];
    for (size_t depth = HD_JSON_SCAN_DEPTH; depth <= HD_JSON_SCAN_DEPTH + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(scan(text, 2 * depth), depth == HD_JSON_SCAN_DEPTH);
    }
}

static void test_strings(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":\"\\u0041\\\\\",\"b\":1}", inside[] = "011001111111110011000";
    hd_json_scan s;
    hd_json_scan_begin(&s);
    for (size_t i = 0; i < strlen(inside); i++) {
        assert_true(hd_json_scan_push(&s, text[i]));
        assert_int_equal(hd_json_scan_in_string(&s), inside[i] == '1');
    }
}

/* Random texts of the pieces of JSON: both must say the same. */
static void test_random(void **state)
{
    (void)state;
    static const char *const part[] = {
        "{", "}", "[", "]",  ",",  ":",  "\"a\"",   "\"",  "\\", "\\u0041",      " ", "\n", "true", "null",
        "1", "0", "-", ".5", "e1", "E+", "\"b\":1", "[1]", "{}", "\"\xC3\xA9\"", "x"};
    uint32_t seed = 7;
    int good = 0;
    for (int round = 0; round < 200000; round++) {
        char text[128];
        size_t len = 0;
        int count = (int)(seed >> 8) % 10;
        for (int i = 0; i < count; i++) {
            seed = seed * 1664525u + 1013904223u; /* Numerical Recipes' generator */
            const char *p = part[(seed >> 8) % HD_ARRAY_LEN(part)];
            memcpy(text + len, p, strlen(p));
            len += strlen(p);
        }
        seed = seed * 1664525u + 1013904223u;
        bool want = jansson_reads(text, len);
        if (scan(text, len) != want) fail_msg("%.*s: jansson says %d", (int)len, text, want);
        good += want;
    }
    assert_true(good > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),    cmocka_unit_test(test_bad),    cmocka_unit_test(test_depth),
        cmocka_unit_test(test_strings), cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
