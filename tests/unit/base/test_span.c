/* Where a request comes from (W3C Trace Context), and which are traced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/span.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static bool reads(const char *text, hd_trace_parent *out)
{
    char *exact = hd_strndup(text, strlen(text)); /* so that reading behind it is seen */
    bool good = hd_trace_parent_read(out, (hd_str){exact, strlen(text)});
    hd_free(exact);
    return good;
}

static void test_good_parents(void **state)
{
    (void)state;
    static const char *const good[] = {"00-" TRACE "-" PARENT "-01", "00-" TRACE "-" PARENT "-00",
                                       "00-" TRACE "-" PARENT "-ff", "01-" TRACE "-" PARENT "-01",
                                       "cc-" TRACE "-" PARENT "-01-what-the-future-will-be-like"};
    static const unsigned flags[] = {1, 0, 255, 1, 1};
    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++) {
        hd_trace_parent p;
        char hex[33];
        assert_true(reads(good[i], &p));
        hd_trace_hex(hex, p.trace_id, HD_TRACE_ID);
        assert_string_equal(hex, TRACE);
        hd_trace_hex(hex, p.span_id, HD_SPAN_ID);
        assert_string_equal(hex, PARENT);
        assert_int_equal(p.flags, flags[i]);
    }
}

static void test_bad_parents(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "00",
                                      "00-" TRACE "-" PARENT,
                                      "00-" TRACE "-" PARENT "-",
                                      "00-" TRACE "-" PARENT "-0",
                                      "00-" TRACE "-" PARENT "-01-",
                                      "00-" TRACE "-" PARENT "-01-more",
                                      "00-" TRACE "-" PARENT "-0x",
                                      "cc-" TRACE "-" PARENT "-01.more",
                                      "ff-" TRACE "-" PARENT "-01",
                                      "0F-" TRACE "-" PARENT "-01",
                                      "00_" TRACE "-" PARENT "-01",
                                      "00-" TRACE "_" PARENT "-01",
                                      "00-" TRACE "-" PARENT "_01",
                                      "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01",
                                      "00-00000000000000000000000000000000-" PARENT "-01",
                                      "00-" TRACE "-0000000000000000-01",
                                      "00-" TRACE "-00f067aa0ba902bg-01",
                                      " 00-" TRACE "-" PARENT "-01"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_trace_parent p;
        if (reads(bad[i], &p)) fail_msg("taken: '%s'", bad[i]);
    }
    hd_trace_parent p;
    assert_false(hd_trace_parent_read(&p, (hd_str){NULL, 0}));
}

static double share(const hd_sampler *sampler, const hd_trace_parent *parent)
{
    uint8_t id[HD_TRACE_ID] = {0};
    int taken = 0, count = 4096;
    for (int i = 0; i < count; i++) { /* evenly over what the ratio looks at */
        id[8] = (uint8_t)(i >> 4);
        id[9] = (uint8_t)(i << 4);
        taken += hd_sampler_takes(sampler, parent, id);
    }
    return (double)taken / count;
}

static void test_sampler(void **state)
{
    (void)state;
    static const double ratios[] = {0, 0.25, 0.5, 0.9375, 1};
    const hd_trace_parent sampled = {.flags = 1}, not_sampled = {.flags = 2};
    for (size_t i = 0; i < HD_ARRAY_LEN(ratios); i++) {
        const hd_sampler alone = {false, ratios[i]}, following = {true, ratios[i]};
        assert_true(share(&alone, NULL) == ratios[i]);
        assert_true(share(&alone, &sampled) == ratios[i]);
        assert_true(share(&following, NULL) == ratios[i]);
        assert_true(share(&following, &sampled) == 1);
        assert_true(share(&following, &not_sampled) == 0);
    }
}

static void test_random_ids_differ(void **state)
{
    (void)state;
    uint8_t a[HD_TRACE_ID], b[HD_TRACE_ID];
    hd_trace_random(a, sizeof a);
    hd_trace_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good_parents), cmocka_unit_test(test_bad_parents),
                                       cmocka_unit_test(test_sampler), cmocka_unit_test(test_random_ids_differ)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
