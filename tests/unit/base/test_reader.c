/* Unit tests of base/reader.c: values, bounds, the sticky error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"

static const uint8_t bytes[15] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff};

static void test_little_endian(void **state)
{
    (void)state;
    hd_reader r;
    hd_reader_init(&r, bytes, sizeof bytes);
    assert_int_equal(hd_read_u8(&r), 1);
    assert_int_equal(hd_read_u16(&r), 0x0302);
    assert_int_equal(hd_read_u32(&r), 0x07060504);
    assert_true(hd_read_u64(&r) == 0xff0e0d0c0b0a0908u); /* unaligned, and the top bit is kept */
    assert_int_equal(hd_reader_left(&r), 0);
    assert_false(r.failed);
}

/* Each width at each distance from the end: exactly the reads that fit succeed, and nothing is read after a failure. */
static void test_bounds(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 8; len++)
        for (unsigned width = 1; width <= 8; width *= 2) {
            hd_reader r;
            hd_reader_init(&r, bytes, len);
            uint64_t v = width == 1   ? hd_read_u8(&r)
                         : width == 2 ? hd_read_u16(&r)
                         : width == 4 ? hd_read_u32(&r)
                                      : hd_read_u64(&r);
            bool fits = width <= len;
            assert_int_equal(r.failed, !fits);
            assert_int_equal(v != 0, fits);
            assert_int_equal(r.pos, fits ? width : 0);
        }
}

static void test_error_is_sticky(void **state)
{
    (void)state;
    hd_reader r;
    hd_reader_init(&r, bytes, 3);
    assert_int_equal(hd_read_u32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(hd_read_u8(&r), 0); /* would fit */
    assert_null(hd_read_bytes(&r, 1));
    assert_null(hd_read_bytes(&r, 0));
    assert_int_equal(r.pos, 0);
}

static void test_huge_length(void **state)
{
    (void)state;
    hd_reader r;
    hd_reader_init(&r, bytes, sizeof bytes);
    assert_int_equal(hd_read_u8(&r), 1);
    assert_null(hd_read_bytes(&r, UINT64_MAX)); /* pos + len would wrap */
    assert_true(r.failed);
    assert_int_equal(r.pos, 1);
}

static void test_bytes_in_place(void **state)
{
    (void)state;
    hd_reader r;
    hd_reader_init(&r, bytes, sizeof bytes);
    assert_ptr_equal(hd_read_bytes(&r, 5), bytes);
    assert_ptr_equal(hd_read_bytes(&r, 10), bytes + 5);
    assert_ptr_equal(hd_read_bytes(&r, 0), bytes + 15); /* nothing, at the very end */
    assert_false(r.failed);
}

static void test_null_is_empty(void **state)
{
    (void)state;
    hd_reader r;
    hd_reader_init(&r, NULL, 0);
    assert_non_null(hd_read_bytes(&r, 0));
    assert_false(r.failed);
    assert_int_equal(hd_read_u8(&r), 0);
    assert_true(r.failed);
    hd_reader_init(&r, NULL, 7); /* a caller's mistake must not become a read through NULL */
    assert_null(hd_read_bytes(&r, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_little_endian),   cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_error_is_sticky), cmocka_unit_test(test_huge_length),
        cmocka_unit_test(test_bytes_in_place),  cmocka_unit_test(test_null_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
