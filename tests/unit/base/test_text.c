/* Text of strangers: what is UTF-8, and what is left of it on a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/text.h"

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"", "a", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x90\x8b", "a\nb", "\xc2\x9b"};
    static const char *const bad[] = {"\xff",         "b\xff.gguf",       "\xc3",    "\xc0\x80",
                                      "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\x9b[1m"};
    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++)
        assert_true(hd_text_is_utf8(good[i]));
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        assert_false(hd_text_is_utf8(bad[i]));
}

static void test_clean(void **state)
{
    (void)state;
    static const struct {
        const char *text, *clean;
    } cases[] = {{"caf\xc3\xa9", "caf\xc3\xa9"},
                 {"a\033[2Jb", "a?[2Jb"},
                 {"a\nb\tc", "a?b?c"},
                 {"\xc2\x9b"
                  "1m",
                  "??1m"},
                 {"b\xff.gguf", "b?.gguf"},
                 {"\xe4\xb8", "??"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char text[32];
        snprintf(text, sizeof text, "%s", cases[i].text);
        hd_text_clean(text);
        assert_string_equal(text, cases[i].clean);
        assert_true(hd_text_is_utf8(text));
    }
}

static void test_ends(void **state)
{
    (void)state;
    assert_true(hd_text_ends_with("a.gguf", ".gguf"));
    assert_true(hd_text_ends_with(".gguf", ".gguf"));
    assert_false(hd_text_ends_with("a.GGUF", ".gguf"));
    assert_true(hd_text_ends_like("a.gguf", ".gguf"));
    assert_true(hd_text_ends_like("a.GgUf", ".gguf"));
    assert_false(hd_text_ends_like(".gguf", ".gguf"));
    assert_false(hd_text_ends_like("gguf", ".gguf"));
    assert_false(hd_text_ends_like("a.gguf.part", ".gguf"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_utf8), cmocka_unit_test(test_clean),
                                       cmocka_unit_test(test_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
