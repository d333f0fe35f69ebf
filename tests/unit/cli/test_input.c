/* Lists of ids and lines: what is accepted, and that a mistake is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cli/input.h"

static void test_lists_of_ids(void **state)
{
    (void)state;
    const char *lists[] = {"5,9,12", "5 9 12", "[5, 9,12]", " 5\n9\t,12 \n", "[5,9,12]\n", "05,009,12"};
    for (size_t i = 0; i < HD_ARRAY_LEN(lists); i++) {
        hd_ids ids = {0};
        hd_error err = {0};
        hd_status status = hd_input_ids(lists[i], strlen(lists[i]), &ids, &err);
        if (status != HD_OK || ids.len != 3) fail_msg("'%s': %s", lists[i], err.text);
        assert_int_equal(ids.data[0], 5);
        assert_int_equal(ids.data[1], 9);
        assert_int_equal(ids.data[2], 12);
        hd_ids_free(&ids);
    }
}

static void test_the_largest_id(void **state)
{
    (void)state;
    hd_ids ids = {0};
    assert_int_equal(hd_input_ids("2147483647", 10, &ids, NULL), HD_OK);
    assert_int_equal(ids.data[0], INT32_MAX);
    hd_ids_free(&ids);
    assert_int_equal(hd_input_ids("2147483648", 10, &ids, NULL), HD_E_ARGUMENT);
    hd_ids_free(&ids);
}

static void test_wrong_lists_are_named(void **state)
{
    (void)state;
    const struct {
        const char *list, *text;
    } cases[] = {
        {"", "empty"},
        {" \n", "empty"},
        {"[]", "empty"},
        {"1,", "ends with a comma"},
        {",1", "',' is not a token id"},
        {"1,,2", "is not a token id"},
        {"1,-2", "'-2' is not a token id"},
        {"1;2", "'1;2' is not a token id"},
        {"1,x3,4", "'x3' is not a token id"},
        {"1.5", "'1.5' is not a token id"},
        {"99999999999999999999", "is not a token id"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_ids ids = {0};
        hd_error err = {0};
        assert_int_equal(hd_input_ids(cases[i].list, strlen(cases[i].list), &ids, &err), HD_E_ARGUMENT);
        if (!strstr(err.text, cases[i].text)) fail_msg("'%s': '%s' lacks '%s'", cases[i].list, err.text, cases[i].text);
        hd_ids_free(&ids);
    }
}

static void test_a_list_is_not_read_beyond_its_length(void **state)
{
    (void)state;
    hd_ids ids = {0};
    assert_int_equal(hd_input_ids("5,9x", 3, &ids, NULL), HD_OK);
    assert_int_equal(ids.len, 2);
    hd_ids_free(&ids);
}

static void test_lines(void **state)
{
    (void)state;
    FILE *in = tmpfile();
    hd_buf line;
    bool more;
    assert_non_null(in);
    fputs("one\n\nthree without an end", in);
    rewind(in);
    hd_buf_init(&line, 100);
    const char *want[] = {"one", "", "three without an end"};
    for (size_t i = 0; i < HD_ARRAY_LEN(want); i++) {
        assert_int_equal(hd_input_line(in, &line, &more, NULL), HD_OK);
        assert_true(more);
        assert_int_equal(line.len, strlen(want[i]));
        if (line.len) assert_string_equal(line.data, want[i]);
    }
    assert_int_equal(hd_input_line(in, &line, &more, NULL), HD_OK);
    assert_false(more);
    rewind(in);
    hd_buf_free(&line);
    hd_buf_init(&line, 2);
    hd_error err = {0};
    assert_int_equal(hd_input_line(in, &line, &more, &err), HD_E_LIMIT);
    hd_buf_free(&line);
    fclose(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_of_ids),
        cmocka_unit_test(test_the_largest_id),
        cmocka_unit_test(test_wrong_lists_are_named),
        cmocka_unit_test(test_a_list_is_not_read_beyond_its_length),
        cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
