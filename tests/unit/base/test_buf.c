/* Unit tests of base/buf.c: growth, the cap, sticky errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

static void test_appends(void **state)
{
    (void)state;
    hd_buf buf;
    hd_buf_init(&buf, 1000);
    assert_int_equal(hd_buf_puts(&buf, "ab"), HD_OK);
    assert_int_equal(hd_buf_putc(&buf, 'c'), HD_OK);
    assert_int_equal(hd_buf_append(&buf, "d\0e", 3), HD_OK);
    assert_int_equal(hd_buf_printf(&buf, "-%d-%s", 42, "x"), HD_OK);
    assert_int_equal(buf.len, 11);
    assert_memory_equal(buf.data, "abcd\0e-42-x", 12);
    hd_buf_free(&buf);
    assert_null(buf.data);
    hd_buf_free(&buf);
}

static void test_empty_append_gives_a_string(void **state)
{
    (void)state;
    hd_buf buf;
    hd_buf_init(&buf, 0);
    assert_int_equal(hd_buf_append(&buf, NULL, 0), HD_OK);
    assert_string_equal(buf.data, "");
    assert_int_equal(hd_buf_putc(&buf, 'x'), HD_E_LIMIT);
    hd_buf_free(&buf);
}

/* Every length around the cap and around the steps of growth. */
static void test_cap_is_exact(void **state)
{
    (void)state;
    for (size_t max = 0; max < 300; max++) {
        hd_buf buf;
        hd_buf_init(&buf, max);
        for (size_t i = 0; i < max; i++)
            assert_int_equal(hd_buf_putc(&buf, (char)('a' + i % 26)), HD_OK);
        assert_int_equal(hd_buf_putc(&buf, '!'), HD_E_LIMIT);
        assert_int_equal(buf.len, max);
        assert_true(buf.cap <= max + 1); /* memory is capped as well */
        for (size_t i = 0; i < max; i++)
            assert_int_equal(buf.data[i], 'a' + i % 26);
        assert_true(max == 0 || buf.data[max] == '\0');
        hd_buf_free(&buf);
    }
}

static void test_errors_are_sticky(void **state)
{
    (void)state;
    hd_buf buf;
    hd_buf_init(&buf, 4);
    assert_int_equal(hd_buf_puts(&buf, "abc"), HD_OK);
    assert_int_equal(hd_buf_puts(&buf, "de"), HD_E_LIMIT);
    assert_int_equal(hd_buf_putc(&buf, 'd'), HD_E_LIMIT); /* would fit, but a writer checks only at its end */
    assert_int_equal(hd_buf_printf(&buf, "d"), HD_E_LIMIT);
    assert_int_equal(hd_buf_reserve(&buf, 0), HD_E_LIMIT);
    assert_string_equal(buf.data, "abc");
    assert_int_equal(buf.status, HD_E_LIMIT);
    hd_buf_clear(&buf);
    assert_int_equal(buf.len, 0);
    assert_string_equal(buf.data, "");
    assert_int_equal(hd_buf_puts(&buf, "abcd"), HD_OK);
    hd_buf_free(&buf);
}

static void test_overflowing_lengths_are_limits(void **state)
{
    (void)state;
    hd_buf buf;
    hd_buf_init(&buf, SIZE_MAX);
    assert_int_equal(hd_buf_puts(&buf, "abc"), HD_OK);
    assert_int_equal(hd_buf_reserve(&buf, SIZE_MAX - 3), HD_E_LIMIT); /* no room for the NUL */
    hd_buf_clear(&buf);
    buf.len = 3;
    assert_int_equal(hd_buf_reserve(&buf, SIZE_MAX), HD_E_LIMIT);
    hd_buf_free(&buf);
}

static void test_memory_failure_keeps_the_bytes(void **state)
{
    (void)state;
    hd_buf buf;
    hd_buf_init(&buf, 1 << 20);
    assert_int_equal(hd_buf_puts(&buf, "abc"), HD_OK);
    hd_alloc_fail_after(1);
    hd_status status = hd_buf_reserve(&buf, 4096);
    hd_alloc_fail_after(0);
    assert_int_equal(status, HD_E_MEMORY);
    assert_int_equal(buf.status, HD_E_MEMORY);
    assert_string_equal(buf.data, "abc");
    hd_buf_free(&buf);
}

static void test_printf_grows_and_stops_at_the_cap(void **state)
{
    (void)state;
    hd_buf buf;
    hd_buf_init(&buf, 500);
    assert_int_equal(hd_buf_printf(&buf, "%0400d", 7), HD_OK);
    assert_int_equal(buf.len, 400);
    assert_int_equal(buf.data[399], '7');
    assert_int_equal(hd_buf_printf(&buf, "%0101d", 7), HD_E_LIMIT);
    assert_int_equal(buf.len, 400); /* all or nothing */
    hd_buf_free(&buf);
}

static void test_truncate_undoes_a_writer(void **state)
{
    (void)state;
    hd_buf buf;
    hd_buf_init(&buf, 4);
    hd_buf_truncate(&buf, 0); /* nothing there yet */
    assert_null(buf.data);
    assert_int_equal(hd_buf_puts(&buf, "abc"), HD_OK);
    assert_int_equal(hd_buf_puts(&buf, "de"), HD_E_LIMIT);
    hd_buf_truncate(&buf, 100); /* never grows */
    assert_int_equal(buf.len, 3);
    assert_int_equal(buf.status, HD_OK);
    hd_buf_truncate(&buf, 1);
    assert_string_equal(buf.data, "a");
    assert_int_equal(hd_buf_puts(&buf, "xyz"), HD_OK);
    assert_string_equal(buf.data, "axyz");
    hd_buf_free(&buf);
}

static void test_zeroed_buffer(void **state)
{
    (void)state;
    hd_buf buf = {0};
    hd_buf_clear(&buf);
    hd_buf_wipe_free(&buf);
    assert_int_equal(hd_buf_putc(&buf, 'x'), HD_E_LIMIT); /* its cap is 0 */
}

static void test_reserve_keeps_the_place(void **state)
{
    (void)state;
    hd_buf buf;
    hd_buf_init(&buf, 10000);
    assert_int_equal(hd_buf_reserve(&buf, 5000), HD_OK);
    const char *before = buf.data;
    for (int i = 0; i < 5000; i++)
        assert_int_equal(hd_buf_putc(&buf, 'x'), HD_OK);
    assert_ptr_equal(buf.data, before);
    hd_buf_wipe_free(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.max, 10000); /* usable again */
    assert_int_equal(hd_buf_puts(&buf, "again"), HD_OK);
    hd_buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_empty_append_gives_a_string),
        cmocka_unit_test(test_cap_is_exact),
        cmocka_unit_test(test_errors_are_sticky),
        cmocka_unit_test(test_overflowing_lengths_are_limits),
        cmocka_unit_test(test_memory_failure_keeps_the_bytes),
        cmocka_unit_test(test_printf_grows_and_stops_at_the_cap),
        cmocka_unit_test(test_truncate_undoes_a_writer),
        cmocka_unit_test(test_zeroed_buffer),
        cmocka_unit_test(test_reserve_keeps_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
