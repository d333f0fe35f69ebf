/* test_plan_fit.c: memory and speed of plans against figures worked by hand; "does 671B fit" on ten machines. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ops/plan.h"

#define GB 1e9

/* DeepSeek-V3 in FP8: 673.15 GB, a cache of 70,272 bytes a token. */
static hd_plan_model v3(void)
{
    return (hd_plan_model){.name = "v3",
                           .weights = "as released",
                           .source = "a test",
                           .parameters = 671026419200,
                           .weight_bytes = 673150611808,
                           .resident_bytes = 673150611808,
                           .cache_token_bytes = 70272,
                           .cache_type = "f16",
                           .vocab = 129280,
                           .shared_bytes = 17.23e9,
                           .expert_bytes = 2.55e9,
                           .experts = 256,
                           .experts_used = 8,
                           .products = 36e9,
                           .output_products = 0.93e9};
}

static hd_plan_machine machine(double memory)
{
    return (hd_plan_machine){.name = "m",
                             .title = "m",
                             .kind = "gpu",
                             .memory = memory,
                             .bandwidth = NAN,
                             .operations = NAN,
                             .numbers = "",
                             .watts = NAN,
                             .price = NAN,
                             .currency = "",
                             .source = "a test",
                             .date = "",
                             .note = ""};
}

static hd_plan_ask ask(const hd_plan_machine *m, int count, double reserve)
{
    return (hd_plan_ask){.machine = m,
                         .count = count,
                         .context = 4096,
                         .users = 1,
                         .prompt = 512,
                         .reserve = reserve,
                         .rates = hd_plan_assumed_rates()};
}

/* 674 GB are asked for: what eight cards of 80 GB lack, and eight of 96 GB have, with a tenth of it left free. */
static void test_does_671b_fit(void **state)
{
    (void)state;
    static const struct {
        double memory;
        int count;
        double reserve;
        bool fits;
    } cases[] = {
        {80 * GB, 8, 0.1, false}, {80 * GB, 16, 0.1, true}, {96 * GB, 8, 0.1, true},  {141 * GB, 8, 0.1, true},
        {192 * GB, 4, 0.1, true}, {192 * GB, 3, 0, false},  {32 * GB, 8, 0.1, false}, {64 * GB, 8, 0.1, false},
        {64 * GB, 16, 0.1, true}, {512 * GB, 1, 0, false},  {768 * GB, 1, 0, true},   {24 * GB, 1, 0.1, false},
        {673.5 * GB, 1, 0, true}, {673 * GB, 1, 0, false},
    };
    hd_plan_model model = v3();
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_plan_machine m = machine(cases[i].memory);
        hd_plan_ask a = ask(&m, cases[i].count, cases[i].reserve);
        hd_plan_fit f;
        hd_plan_fit_make(&f, &model, &a);
        assert_true(f.known);
        if (f.fits != cases[i].fits) fail_msg("case %zu: %g of %g bytes", i, f.needed, f.available);
        assert_true((f.machines <= cases[i].count) == f.fits);
    }
}

static void test_memory_by_hand(void **state)
{
    (void)state;
    hd_plan_machine m = machine(100 * GB);
    hd_plan_model model = {.cache_token_bytes = 1000,
                           .cache_fixed_bytes = 50,
                           .vocab = 1000,
                           .weight_bytes = 10000000,
                           .activation_bytes = 300,
                           .scratch_bytes = 200};
    hd_plan_ask a = ask(&m, 2, 0.5);
    a.context = 33; /* two pages of 32 */
    a.users = 3;
    hd_plan_fit f;
    hd_plan_fit_make(&f, &model, &a);
    assert_true(f.cache == 3 * (64 * 1000 + 50));
    assert_true(f.work == 500 + 3 * 4000);
    assert_true(f.needed == 10000000 + f.cache + f.work);
    assert_true(f.available == 100 * GB);
    assert_int_equal(f.most_users, (int64_t)((100 * GB - 10000000 - 500) / (64050 + 4000)));
    a.here = true; /* repacked weights, the program, and the peak while loading */
    model.resident_bytes = 11000000;
    model.program_bytes = 1000000;
    model.loading_bytes = 5000000;
    hd_plan_fit_make(&f, &model, &a);
    assert_true(f.loading_peak == 17000000 && f.needed == 17000000);
    m.memory = NAN;
    hd_plan_fit_make(&f, &model, &a);
    assert_false(f.known || f.fits);
}

static void test_speed_by_hand(void **state)
{
    (void)state;
    hd_plan_machine m = machine(100 * GB);
    m.bandwidth = 100 * GB;
    m.operations = 1e12;
    hd_plan_model model = {.shared_bytes = 3 * GB, .products = 1e9, .output_products = 0, .row_products = 0};
    hd_plan_ask a = ask(&m, 2, 0);
    a.rates =
        (hd_plan_rates){.bandwidth = NAN, .operations = NAN, .decode = 0.5, .prefill = 0.5, .cache = 1, .attention = 1};
    hd_plan_fit f;
    hd_plan_fit_make(&f, &model, &a);
    assert_true(fabs(f.decode - 1 / (3.0 / 100)) < 1e-9); /* 3 GB / (200 GB/s x 0.5) */
    assert_true(fabs(f.prefill - 500) < 1e-6);            /* 2e9 / (2e12 x 0.5) */
    model.cache_token_bytes = 1e6;                        /* 4096 MB more, at all of 200 GB/s */
    hd_plan_fit_make(&f, &model, &a);
    assert_true(fabs(1 / f.decode - (0.03 + 4.096 / 200)) < 1e-9);
    m.bandwidth = NAN;
    hd_plan_fit_make(&f, &model, &a);
    assert_false(isfinite(f.decode));
}

static void test_experts_of_a_step(void **state)
{
    (void)state;
    hd_plan_model m = {.shared_bytes = 100, .expert_bytes = 10, .experts = 4, .experts_used = 2};
    assert_true(fabs(hd_plan_step_bytes(&m, 1) - 120) < 1e-9);
    assert_true(fabs(hd_plan_step_bytes(&m, 2) - 130) < 1e-9); /* 4 (1 - 1/4) = 3 experts */
    assert_true(hd_plan_step_bytes(&m, 100) <= 140);
    m.experts = 0;
    assert_true(hd_plan_step_bytes(&m, 7) == 100);
}

static void test_users_at_a_rate(void **state)
{
    (void)state;
    hd_plan_machine m = machine(100 * GB);
    m.bandwidth = 100 * GB;
    m.operations = 1e15;
    hd_plan_model model = {.shared_bytes = 1 * GB, .products = 1, .cache_token_bytes = 1e4, .vocab = 1};
    hd_plan_ask a = ask(&m, 1, 0);
    a.rates =
        (hd_plan_rates){.bandwidth = NAN, .operations = NAN, .decode = 1, .prefill = 1, .cache = 1, .attention = 1};
    a.rate = 20;
    hd_plan_fit f;
    hd_plan_fit_make(&f, &model, &a);
    /* 0.01 s + N x 0.0004096 s <= 0.05 s */
    assert_int_equal(f.rate_users, 97);
    a.rate = 1000;
    hd_plan_fit_make(&f, &model, &a);
    assert_int_equal(f.rate_users, 0);
    a.rate = 0;
    hd_plan_fit_make(&f, &model, &a);
    assert_int_equal(f.rate_users, -1);
}

static void test_numbers(void **state)
{
    (void)state;
    char t[HD_PLAN_TEXT];
    assert_string_equal(hd_plan_number(t, 3600000), "3,600,000");
    assert_string_equal(hd_plan_number(t, -1234567), "-1,234,567");
    assert_string_equal(hd_plan_number(t, 999), "999");
    assert_string_equal(hd_plan_number(t, 1.25), "1.25");
    assert_string_equal(hd_plan_number(t, 0.03), "0.0300");
    assert_string_equal(hd_plan_number(t, NAN), "not known");
    assert_string_equal(hd_plan_bytes(t, 673150611808.0), "673.2 GB");
    assert_string_equal(hd_plan_bytes(t, 12), "12 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_does_671b_fit),   cmocka_unit_test(test_memory_by_hand),
        cmocka_unit_test(test_speed_by_hand),   cmocka_unit_test(test_experts_of_a_step),
        cmocka_unit_test(test_users_at_a_rate), cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
