/* Decoding of paths and queries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "server/http_url.h"

static hd_str str(const char *text)
{
    return (hd_str){text, strlen(text)};
}

static void test_segments_are_decoded(void **state)
{
    (void)state;
    static const char *const good[][2] = {{"", ""},
                                          {"models", "models"},
                                          {"a%2Fb%2fc", "a/b/c"},
                                          {"%e4%bd%a0", "你"},
                                          {"a+b%20c", "a+b c"},
                                          {"%25%32%35", "%25"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++) {
        hd_buf out;
        hd_buf_init(&out, 100);
        assert_int_equal(hd_buf_puts(&out, "x:"), HD_OK);
        assert_int_equal(hd_http_decode_segment(&out, str(good[i][0]), NULL), HD_OK);
        assert_string_equal(out.data + 2, good[i][1]);
        hd_buf_free(&out);
    }
}

static void test_bad_escapes_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"%",   "a%4",    "%4",        "%zz",    "%4g",    "%-1",  "% 1", "%00", "a%00",
                                      "%ff", "%c0%80", "%ed%a0%80", "%e4%bd", "%u0041", "%%41", "%0x", "a%2", "%+1"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_buf out;
        hd_error err = {0};
        hd_buf_init(&out, 100);
        assert_int_equal(hd_buf_puts(&out, "kept"), HD_OK);
        assert_int_equal(hd_http_decode_segment(&out, str(bad[i]), &err), HD_E_ARGUMENT);
        assert_true(err.text[0] != '\0');
        assert_int_equal(hd_http_decode_query(&out, str(bad[i]), NULL), HD_E_ARGUMENT);
        assert_string_equal(out.data, "kept");
        assert_int_equal(out.len, 4);
        assert_int_equal(out.status, HD_OK);
        hd_buf_free(&out);
    }
    hd_buf out;
    hd_buf_init(&out, 100);
    assert_int_equal(hd_http_decode_segment(&out, (hd_str){"a\0b", 3}, NULL), HD_E_ARGUMENT);
    hd_buf_free(&out);
}

/* An escape is not read over the end of its text. */
static void test_the_end_of_a_view_is_its_end(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 100);
    assert_int_equal(hd_http_decode_segment(&out, (hd_str){"%411", 2}, NULL), HD_E_ARGUMENT);
    assert_int_equal(hd_http_decode_segment(&out, (hd_str){"%411", 3}, NULL), HD_OK);
    assert_string_equal(out.data, "A");
    hd_buf_free(&out);
}

static void test_a_full_buffer_is_an_error(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 3);
    assert_int_equal(hd_http_decode_segment(&out, str("abcd"), NULL), HD_E_LIMIT);
    assert_int_equal(out.len, 0);
    assert_int_equal(hd_http_decode_segment(&out, str("%61bc"), NULL), HD_OK);
    assert_string_equal(out.data, "abc");
    assert_int_equal(hd_buf_putc(&out, 'd'), HD_E_LIMIT);
    assert_int_equal(hd_http_decode_segment(&out, str(""), NULL), HD_E_LIMIT); /* sticky */
    bool found;
    assert_int_equal(hd_http_query_get(&out, str("b=%"), "a", &found, NULL), HD_E_LIMIT);
    assert_int_equal(out.status, HD_E_LIMIT);
    hd_buf_free(&out);
}

static void test_segments_of_a_path(void **state)
{
    (void)state;
    static const char *const paths[][2] = {{"/v1/models/a%2Fb", "[v1][models][a%2Fb]"},
                                           {"/", "[]"},
                                           {"/a/", "[a][]"},
                                           {"//a", "[][a]"},
                                           {"", ""},
                                           {"*", ""}};
    for (size_t i = 0; i < HD_ARRAY_LEN(paths); i++) {
        hd_str path = str(paths[i][0]), segment;
        char seen[100] = "";
        size_t len = 0;
        while (hd_http_next_segment(&path, &segment))
            len += (size_t)snprintf(seen + len, sizeof seen - len, "[%.*s]", (int)segment.len, segment.data);
        assert_string_equal(seen, paths[i][1]);
    }
}

static void test_parameters_of_a_query(void **state)
{
    (void)state;
    static const struct {
        const char *query, *value; /* NULL: not there */
    } cases[] = {{"a=1", "1"},       {"b=2&a=x+y%2B&c", "x y+"},
                 {"a", ""},          {"a=", ""},
                 {"%61=1", "1"},     {"a=b=c", "b=c"},
                 {"", NULL},         {"&&", NULL},
                 {"=a", NULL},       {"b=a", NULL},
                 {"aa=1&A=2", NULL}, {"a=%26", "&"},
                 {"x&a=1&", "1"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_buf out;
        bool found;
        hd_buf_init(&out, 100);
        assert_int_equal(hd_http_query_get(&out, str(cases[i].query), "a", &found, NULL), HD_OK);
        assert_int_equal(found, cases[i].value != NULL);
        assert_int_equal(out.len, cases[i].value ? strlen(cases[i].value) : 0);
        if (out.len) assert_string_equal(out.data, cases[i].value);
        hd_buf_free(&out);
    }
}

static void test_bad_queries_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"a=1&a=1", "a&%61", "a=%", "%zz=1", "a=1&%00=2"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_buf out;
        bool found;
        hd_buf_init(&out, 100);
        assert_int_equal(hd_http_query_get(&out, str(bad[i]), "a", &found, NULL), HD_E_ARGUMENT);
        assert_int_equal(out.len, 0);
        hd_buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_are_decoded),         cmocka_unit_test(test_bad_escapes_are_refused),
        cmocka_unit_test(test_the_end_of_a_view_is_its_end), cmocka_unit_test(test_a_full_buffer_is_an_error),
        cmocka_unit_test(test_segments_of_a_path),           cmocka_unit_test(test_parameters_of_a_query),
        cmocka_unit_test(test_bad_queries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
