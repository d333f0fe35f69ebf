/* The arithmetic of `hadal eval`, against values worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/compare.h"

static void assert_near(double a, double b)
{
    if (fabs(a - b) > 1e-9) fail_msg("%.15g is not %.15g", a, b);
}

static double loss(const float *logits, int32_t vocab, int32_t id)
{
    return hd_compare_norm(logits, vocab) - (double)logits[id];
}

static double divergence(const float *p, const float *q, int32_t vocab)
{
    return hd_compare_kl(p, hd_compare_norm(p, vocab), q, hd_compare_norm(q, vocab), vocab);
}

static void test_loss(void **state)
{
    (void)state;
    const float even[] = {3, 3, 3, 3}, far[] = {1000, 0, -1000, 999}; /* exp(1000) must not overflow */
    assert_near(loss(even, 4, 2), log(4));
    assert_near(loss(far, 4, 0), log1p(exp(-1)));
    assert_near(loss(far, 4, 1), 1000 + log1p(exp(-1)));
}

static void test_divergence(void **state)
{
    (void)state;
    const float p[] = {(float)log(0.5), (float)log(0.25), (float)log(0.25)};
    const float q[] = {(float)(log(0.25) + 7), (float)(log(0.25) + 7), (float)(log(0.5) + 7)}; /* 7 cancels */
    double want = 0.5 * log(2) + 0.25 * log(1) + 0.25 * log(0.5);
    assert_true(fabs(divergence(p, q, 3) - want) < 1e-6);
    assert_true(divergence(p, p, 3) == 0);
    const float never[] = {0, -INFINITY};
    const float even[] = {0, 0};
    assert_near(divergence(never, even, 2), log(2)); /* 0 log 0 is 0 */
    assert_true(isinf(divergence(even, never, 2)));
}

static void test_top_and_difference(void **state)
{
    (void)state;
    const float a[] = {1, 5, 5, -9}, b[] = {1, 4.5f, 5, -6};
    assert_int_equal(hd_compare_top(a, 4), 1); /* the lowest of equals */
    assert_int_equal(hd_compare_top(b, 4), 2);
    assert_near(hd_compare_difference(a, b, 4), 3);
}

static void test_quantiles(void **state)
{
    (void)state;
    float values[] = {5, 1, 4, 2, 3};
    assert_near(hd_compare_quantile(values, 5, 0.5), 3);
    assert_near(hd_compare_quantile(values, 5, 0.99), 5);
    assert_near(hd_compare_quantile(values, 5, 1), 5);
    assert_near(hd_compare_quantile(values, 5, 0), 1);
    double odd[] = {9, 1, 5}, even[] = {9, 1, 5, 6};
    assert_near(hd_compare_median(odd, 3), 5);
    assert_near(hd_compare_median(even, 4), 5.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_top_and_difference),
        cmocka_unit_test(test_quantiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
