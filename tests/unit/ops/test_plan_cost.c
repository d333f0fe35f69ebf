/* test_plan_cost.c: worked examples of what owning and renting cost, and of the ways to run a model. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ops/plan.h"

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

static void test_use(void **state)
{
    (void)state;
    assert_true(near(hd_plan_cost_of_use(0.03, 120000000), 3600000));
    assert_true(near(hd_plan_saving(3600000, 800000), 7.0 / 9));
    assert_true(near(hd_plan_saving(100, 58), 0.42));
    assert_true(hd_plan_saving(100, 130) < 0);
    assert_true(isnan(hd_plan_saving(0, 1)));
}

/* 200,000 and 10 kW; half of the hours, 0.10 a kWh and 1.4 for the house: 10 x 0.5 x 8760 x 1.4 x 0.1 = 6,132 a year.
 */
static hd_plan_cost_ask usual(void)
{
    return (hd_plan_cost_ask){.machine_price = 200000,
                              .watts = 10000,
                              .use = 0.5,
                              .overhead = 1.4,
                              .electricity = 0.1,
                              .staff = 50000,
                              .upkeep = 0.05,
                              .tokens_a_day = 1e9,
                              .input_share = 0.75,
                              .cached_share = 0.5,
                              .input = 0.15,
                              .cached = 0.003,
                              .output = 0.6,
                              .capacity = NAN,
                              .currency = "USD"};
}

static void test_years(void **state)
{
    (void)state;
    hd_plan_cost_ask a = usual();
    hd_plan_cost c;
    hd_plan_cost_make(&c, &a);
    assert_true(near(c.power_year, 6132));
    assert_true(near(c.upkeep_year, 10000));
    assert_true(near(c.own[0], 200000));
    assert_true(near(c.own[3], 200000 + 3 * 66132.0));
    assert_true(near(c.own[5], 200000 + 5 * 66132.0));
    /* 0.75 (0.5 x 0.15 + 0.5 x 0.003) + 0.25 x 0.6 = 0.207375 a million */
    assert_true(near(c.api_token, 0.207375e-6));
    assert_true(near(c.api[3], 3 * 365 * 207.375));
    assert_true(near(c.break_even[3], c.own[3] / (3 * 365 * 0.207375e-6)));
    assert_true(near(c.break_even_days, 200000 / (207.375 - 66132 / 365.0)));
    assert_true(near(c.own_million, c.own[3] / (3 * 365 * 1e9) * 1e6));
    a.tokens_a_day = c.break_even[3]; /* at the break-even both cost the same */
    hd_plan_cost_make(&c, &a);
    assert_true(near(c.own[3], c.api[3]));
}

static void test_never(void **state)
{
    (void)state;
    hd_plan_cost_ask a = usual();
    hd_plan_cost c;
    a.tokens_a_day = 1000; /* running costs more than the interface */
    hd_plan_cost_make(&c, &a);
    assert_true(isnan(c.break_even_days));
    a.input = a.cached = a.output = 0; /* for nothing */
    hd_plan_cost_make(&c, &a);
    assert_true(isnan(c.break_even[3]));
}

static void test_sensitivities(void **state)
{
    (void)state;
    hd_plan_cost_ask a = usual();
    hd_plan_cost c;
    hd_plan_sensitivity s[HD_PLAN_SENSITIVITIES];
    hd_plan_cost_make(&c, &a);
    hd_plan_sensitivities(s, &a);
    double now = c.own[3] - c.api[3];
    assert_true(near(s[0].high - now, 0.2 * 200000 * (1 + 3 * 0.05)));
    assert_true(near(now - s[1].high, 0.2 * c.api[3]));
    assert_true(near(s[1].low, s[2].low) && near(s[1].high, s[2].high)); /* price x use */
    assert_true(near(s[3].high - now, 0.2 * 3 * 6132));
    assert_true(near(s[4].high - s[4].low, 0.4 * 3 * 50000));
}

static void test_modes(void **state)
{
    (void)state;
    hd_plan_modes m;
    hd_error err = {0};
    hd_plan_modes_default(&m);
    for (int i = 1; i < HD_PLAN_MODES; i++)
        assert_true(m.total[m.order[i - 1]] >= m.total[m.order[i]]);
    for (int i = 0; i < HD_PLAN_MODES; i++)
        for (int c = 0; c < HD_PLAN_CRITERIA; c++) {
            const char *reason;
            assert_in_range(hd_plan_score(i, c, &reason), 1, 5);
            assert_true(strlen(reason) > 10);
        }
    assert_string_not_equal(hd_plan_mode_name(m.order[0]), "rented");
    /* who only wants to begin at once and to carry nothing rents */
    const char *const words[] = {"control=0", "offline=0", "cost=0", "speed=0", "START=100", "growth=0", "effort=100"};
    for (size_t i = 0; i < HD_ARRAY_LEN(words); i++)
        assert_int_equal(hd_plan_modes_weigh(&m, words[i], &err), HD_OK);
    hd_plan_modes_rank(&m);
    assert_string_equal(hd_plan_mode_name(m.order[0]), "rented");
    assert_true(near(m.total[m.order[0]], 5));
    static const char *const bad[] = {"",         "cost",    "cost=", "cost=x",  "cost=-1",
                                      "cost=101", "costs=1", "=1",    "cost=nan"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        assert_int_equal(hd_plan_modes_weigh(&m, bad[i], &err), HD_E_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_use),           cmocka_unit_test(test_years), cmocka_unit_test(test_never),
        cmocka_unit_test(test_sensitivities), cmocka_unit_test(test_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
