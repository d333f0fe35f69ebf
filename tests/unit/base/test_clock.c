/* Unit tests of base/clock.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

static uint64_t fake_ns(void)
{
    return 123456789;
}

static uint64_t fake_ms(void)
{
    return 1700000000000;
}

static void test_monotonic_moves_in_nanoseconds(void **state)
{
    (void)state;
    uint64_t start = hd_clock_ns();
    usleep(20000);
    uint64_t passed = hd_clock_ns() - start;
    assert_true(passed >= 20000000);
    assert_true(passed < 20000000000); /* a unit that is off by a thousand would show */
}

static void test_wall_clock_agrees_with_time(void **state)
{
    (void)state;
    uint64_t before = (uint64_t)time(NULL), ms = hd_clock_unix_ms(), after = (uint64_t)time(NULL);
    assert_true(ms / 1000 + 1 >= before); /* time() may lag by a tick */
    assert_true(ms / 1000 <= after + 1);
}

static void test_hooks_replace_and_restore(void **state)
{
    (void)state;
    hd_clock_set(fake_ns, fake_ms);
    uint64_t ns = hd_clock_ns(), ms = hd_clock_unix_ms();
    hd_clock_set(fake_ns, NULL);
    uint64_t real_ms = hd_clock_unix_ms();
    hd_clock_set(NULL, NULL);
    assert_true(ns == 123456789);
    assert_true(ms == 1700000000000);
    assert_true(real_ms != 1700000000000);
    assert_true(hd_clock_ns() != 123456789);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotonic_moves_in_nanoseconds),
        cmocka_unit_test(test_wall_clock_agrees_with_time),
        cmocka_unit_test(test_hooks_replace_and_restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
