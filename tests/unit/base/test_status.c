/* Unit tests of base/status.c and base/text.c: the table of statuses, and error texts fit to show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

static void test_table(void **state)
{
    (void)state;
    for (int s = 0; s < HD_STATUS_COUNT; s++) {
        assert_true(strlen(hd_status_message((hd_status)s)) > 0);
        assert_in_range(hd_status_http((hd_status)s), 200, 599);
        assert_true(s == HD_OK || strlen(hd_status_api_type((hd_status)s)) > 0);
    }
    assert_int_equal(hd_status_http(HD_OK), 200);
    assert_int_equal(hd_status_http(HD_E_CONTEXT), 400);
    assert_string_equal(hd_status_api_type(HD_E_NOT_FOUND), "not_found_error");
    assert_true(hd_status_retryable(HD_E_MEMORY));
    assert_false(hd_status_retryable(HD_E_FORMAT));
}

static void test_unknown_status_is_internal(void **state)
{
    (void)state;
    assert_string_equal(hd_status_message((hd_status)999), hd_status_message(HD_E_INTERNAL));
    assert_int_equal(hd_status_http((hd_status)-1), 500);
}

static void test_fail_fills_and_returns(void **state)
{
    (void)state;
    hd_error err = {0};
    assert_int_equal(hd_fail(&err, HD_E_FORMAT, "%s: line %d", "a.json", 3), HD_E_FORMAT);
    assert_int_equal(err.status, HD_E_FORMAT);
    assert_string_equal(err.text, "a.json: line 3");
    assert_int_equal(hd_fail(NULL, HD_E_IO, "nobody listens"), HD_E_IO);
}

static void test_own_text_may_be_an_argument(void **state)
{
    (void)state;
    hd_error err = {0};
    (void)!hd_fail(&err, HD_E_IO, "disk full");
    (void)!hd_fail(&err, HD_E_IO, "weights: %s", err.text);
    assert_string_equal(err.text, "weights: disk full");
    (void)!hd_fail_in(&err, HD_E_IO, "again %s", err.text);
    assert_string_equal(err.text, "again weights: disk full: weights: disk full");
}

static void test_prefix(void **state)
{
    (void)state;
    hd_error err = {0};
    (void)!hd_fail(&err, HD_E_LIMIT, "too long");
    assert_int_equal(hd_fail_in(&err, HD_E_FORMAT, "%s[%d]", "field", 2), HD_E_LIMIT); /* the inner status stays */
    assert_string_equal(err.text, "field[2]: too long");
    assert_int_equal(hd_fail_in(NULL, HD_E_FORMAT, "x"), HD_E_FORMAT);
}

static void test_long_texts_are_cut(void **state)
{
    (void)state;
    char big[3 * HD_ERROR_TEXT];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    hd_error err;
    (void)!hd_fail(&err, HD_E_IO, "%s", big);
    assert_int_equal(strlen(err.text), HD_ERROR_TEXT - 1);
    (void)!hd_fail_in(&err, HD_E_IO, "prefix");
    assert_int_equal(strlen(err.text), HD_ERROR_TEXT - 1);
    assert_memory_equal(err.text, "prefix: xxx", 11);
    (void)!hd_fail(&err, HD_E_IO, "inner");
    (void)!hd_fail_in(&err, HD_E_IO, "%s", big); /* no room is left for what was there */
    assert_int_equal(strlen(err.text), HD_ERROR_TEXT - 1);
}

/* A text that is cut within a character must still be UTF-8: JSON carries it. */
static void test_cut_text_stays_utf8(void **state)
{
    (void)state;
    char big[2 * HD_ERROR_TEXT + 1];
    for (size_t shift = 0; shift < 3; shift++) {
        size_t at = shift;
        memset(big, 'x', shift);
        for (; at + 3 < sizeof big; at += 3)
            memcpy(big + at, "\xe6\xb7\xb1", 3); /* U+6DF1 */
        big[at] = '\0';
        hd_error err;
        (void)!hd_fail(&err, HD_E_IO, "%s", big);
        json_t *string = json_string(err.text); /* jansson refuses what is no UTF-8 */
        assert_non_null(string);
        json_decref(string);
    }
}

static void test_text_clean(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"plain \xc3\xa9 \xe6\xb7\xb1 \xf0\x9f\x98\x80", "plain \xc3\xa9 \xe6\xb7\xb1 \xf0\x9f\x98\x80"},
        {"a\x1b[2Jb\nc\td\x7f", "a?[2Jb?c?d?"},
        {"\xc2\x9b", "??"},           /* U+009B: a terminal's CSI */
        {"\xff\xfe", "??"},           /* never in UTF-8 */
        {"\xc0\x80", "??"},           /* overlong */
        {"\xed\xa0\x80", "???"},      /* a surrogate */
        {"\xe6\xb7", "??"},           /* cut short */
        {"\xe6\xb7x", "??x"},         /* what follows stays */
        {"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", cases[i].in);
        hd_text_clean(text);
        assert_string_equal(text, cases[i].out);
    }
}

static hd_status tries(hd_status inner, bool *went_on)
{
    HD_TRY(inner);
    *went_on = true;
    return HD_OK;
}

static void test_try(void **state)
{
    (void)state;
    bool went_on = false;
    assert_int_equal(tries(HD_E_LIMIT, &went_on), HD_E_LIMIT);
    assert_false(went_on);
    assert_int_equal(tries(HD_OK, &went_on), HD_OK);
    assert_true(went_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_unknown_status_is_internal),
        cmocka_unit_test(test_fail_fills_and_returns),
        cmocka_unit_test(test_own_text_may_be_an_argument),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_long_texts_are_cut),
        cmocka_unit_test(test_cut_text_stays_utf8),
        cmocka_unit_test(test_text_clean),
        cmocka_unit_test(test_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
