/* Unit tests of base/json.c: what is refused, and how the error says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

static void test_values_of_all_kinds(void **state)
{
    (void)state;
    json_t *v;
    hd_error err;
    const char text[] = "{\"a\": [1, -2.5, true, null, \"x\"], \"b\": 9007199254740993}";
    assert_int_equal(hd_json_parse(&v, text, sizeof text - 1, &err), HD_OK);
    assert_int_equal(json_array_size(json_object_get(v, "a")), 5);
    assert_true(json_integer_value(json_object_get(v, "b")) == 9007199254740993); /* no detour through a double */
    json_decref(v);
    assert_int_equal(hd_json_parse(&v, "3", 1, &err), HD_OK); /* a bare value is a text too */
    assert_int_equal(json_integer_value(v), 3);
    json_decref(v);
}

static void test_nul_in_strings_is_kept(void **state)
{
    (void)state;
    json_t *v;
    const char text[] = "\"a\\u0000b\"";
    assert_int_equal(hd_json_parse(&v, text, sizeof text - 1, NULL), HD_OK);
    assert_int_equal(json_string_length(v), 3);
    assert_memory_equal(json_string_value(v), "a\0b", 3);
    json_decref(v);
}

static void test_bad_texts(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\":1} x",
        "{\"a\":1,\"a\":2}",
        "1e999",
        "01",
        "NaN",
        "'a'",
        "\"\xff\"",
        "\"\n\"",
        "\"\\ud800\"",
        "nul",
        "[1 2]",
        "// c",
        "99999999999999999999999999999",
        "\xef\xbb\xbf{}",
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        json_t *v = (json_t *)&v;
        hd_error err = {0};
        assert_int_equal(hd_json_parse(&v, bad[i], strlen(bad[i]), &err), HD_E_FORMAT);
        assert_null(v);
        assert_non_null(strstr(err.text, "line"));
    }
}

static void test_error_names_the_place(void **state)
{
    (void)state;
    json_t *v;
    hd_error err;
    const char text[] = "{\n  \"a\": 1,\n  b\n}";
    assert_int_equal(hd_json_parse(&v, text, sizeof text - 1, &err), HD_E_FORMAT);
    assert_non_null(strstr(err.text, "line 3"));
}

static void test_nesting_is_capped(void **state)
{
    (void)state;
    static char text[200000];
    json_t *v;
    hd_error err;
    memset(text, '[', sizeof text);
    assert_int_equal(hd_json_parse(&v, text, sizeof text, &err), HD_E_FORMAT);
    memset(text + 100000, ']', 100000); /* well formed, but too deep */
    assert_int_equal(hd_json_parse(&v, text, sizeof text, &err), HD_E_FORMAT);
}

/* ---- files ---- */
static char path[] = "/tmp/hadal-test-json-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0) return -1;
    return close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void test_file(void **state)
{
    (void)state;
    json_t *v;
    hd_error err;
    write_file("{\"a\": 1}");
    assert_int_equal(hd_json_parse_file(&v, path, 8, &err), HD_OK);
    assert_int_equal(json_integer_value(json_object_get(v, "a")), 1);
    json_decref(v);
    assert_int_equal(hd_json_parse_file(&v, path, 7, &err), HD_E_LIMIT);
    assert_null(v);
    assert_non_null(strstr(err.text, path));
}

static void test_bad_files_are_named(void **state)
{
    (void)state;
    json_t *v;
    hd_error err;
    write_file("[1");
    assert_int_equal(hd_json_parse_file(&v, path, 100, &err), HD_E_FORMAT);
    assert_non_null(strstr(err.text, path));
    write_file("");
    assert_int_equal(hd_json_parse_file(&v, path, 100, &err), HD_E_FORMAT);
    assert_int_equal(hd_json_parse_file(&v, "/nonexistent/x.json", 100, &err), HD_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/x.json"));
    assert_int_equal(hd_json_parse_file(&v, "/tmp", 100, &err), HD_E_ARGUMENT);
    assert_null(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_of_all_kinds), cmocka_unit_test(test_nul_in_strings_is_kept),
        cmocka_unit_test(test_bad_texts),           cmocka_unit_test(test_error_names_the_place),
        cmocka_unit_test(test_nesting_is_capped),   cmocka_unit_test(test_file),
        cmocka_unit_test(test_bad_files_are_named),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
