/* The rule that chooses between two precisions: its thresholds, its patience, and no flapping.  Time is a number here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/precision.h"

#define SECOND ((uint64_t)1000000000)
#define BEGIN ((uint64_t)12345 * SECOND) /* a clock begins anywhere */

static hd_precision rule(int above, int below, uint64_t seconds)
{
    return (hd_precision){.rule = {above, below, seconds * SECOND}};
}

/* Looks at the load at so many seconds after the beginning. */
static bool look(hd_precision *p, int load, double seconds)
{
    return hd_precision_look(p, load, BEGIN + (uint64_t)(seconds * 1e9));
}

static void test_thresholds(void **state)
{
    (void)state;
    hd_precision p = rule(8, 4, 5);
    for (int load = 0; load < 8; load++)
        assert_false(look(&p, load, load));
    assert_true(look(&p, 8, 10));
    assert_int_equal(p.switches, 1);
    for (int load = 8; load > 4; load--)
        assert_true(look(&p, load, 1000 + load)); /* between both thresholds nothing changes, however long */
    assert_int_equal(p.switches, 1);
}

static void test_the_way_back_takes_the_whole_time(void **state)
{
    (void)state;
    hd_precision p = rule(8, 4, 5);
    assert_true(look(&p, 20, 0));
    assert_true(look(&p, 4, 100)); /* the time begins when calm is first seen, not at the last request */
    assert_true(look(&p, 0, 104.9));
    assert_false(look(&p, 0, 105));
    assert_false(look(&p, 7, 105));
    assert_int_equal(p.switches, 2);
}

static void test_a_rise_begins_the_time_anew(void **state)
{
    (void)state;
    hd_precision p = rule(8, 4, 5);
    assert_true(look(&p, 8, 0));
    assert_true(look(&p, 2, 1));
    assert_true(look(&p, 5, 5.9)); /* above the lower threshold, though below the upper one */
    assert_true(look(&p, 2, 6));
    assert_true(look(&p, 2, 10.9));
    assert_false(look(&p, 2, 11));
    assert_true(look(&p, 9, 11.1)); /* and the way there takes none */
    assert_true(look(&p, 2, 20));   /* calm of the last time does not count */
    assert_true(look(&p, 2, 24.9));
    assert_false(look(&p, 2, 25));
    assert_int_equal(p.switches, 4);
}

static void test_no_flapping(void **state)
{
    (void)state;
    hd_precision p = rule(8, 4, 5);
    for (int i = 0; i < 1000; i++) /* a load that swings over both thresholds twice a second */
        (void)look(&p, i % 2 ? 0 : 9, i * 0.5);
    assert_true(p.cheaper);
    assert_int_equal(p.switches, 1);
}

static void test_smallest_rule(void **state)
{
    (void)state;
    hd_precision p = rule(1, 0, 0);
    assert_false(look(&p, 0, 0));
    assert_true(look(&p, 1, 0));
    assert_true(look(&p, 1, 100));
    assert_false(look(&p, 0, 100)); /* no time to wait */
    assert_true(look(&p, 1, 100));
    assert_int_equal(p.switches, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_the_way_back_takes_the_whole_time),
        cmocka_unit_test(test_a_rise_begins_the_time_anew),
        cmocka_unit_test(test_no_flapping),
        cmocka_unit_test(test_smallest_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
