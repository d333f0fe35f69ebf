/* Which channels a token keeps, against a brute-force reading, and what the dials refuse. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "models/models_internal.h"

enum { TOKENS = 5, WIDEST = 1600 };

static uint64_t seed = 1;

static uint32_t random_bits(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

/* [TOKENS][width] of these values, kept as `keep` says. */
static void keep(float *value, int64_t width, double share)
{
    static uint32_t room[TOKENS * WIDEST];
    hd_model m = {.dials = {.ffn_keep = share}, .keep_room = room};
    hd_error err = {0};
    assert_int_equal(hd_pool_open(&m.exec.pool, 2, &err), HD_OK);
    hd_dials_keep(&m, value, width, TOKENS);
    hd_pool_close(&m.exec.pool);
}

/* A value stays when fewer than `kept` others come before it: larger ones, and equal ones of a lower index. */
static void check(const float *before, const float *after, int64_t width, int64_t kept)
{
    for (int64_t i = 0; i < width; i++) {
        int64_t ahead = 0;
        for (int64_t j = 0; j < width; j++)
            ahead += fabsf(before[j]) > fabsf(before[i]) || (fabsf(before[j]) == fabsf(before[i]) && j < i);
        float want = ahead < kept ? before[i] : 0.0f;
        if (after[i] != want || signbit(after[i]) != signbit(want))
            fail_msg("value %d of %d is %g, wanted %g", (int)i, (int)width, (double)after[i], (double)want);
    }
}

static void check_keep(int64_t width, double share, int64_t kept, uint32_t levels)
{
    static float before[TOKENS * WIDEST], after[TOKENS * WIDEST];
    for (int64_t i = 0; i < TOKENS * width; i++)
        before[i] = ((float)(random_bits() % levels) - (float)(int32_t)(levels >> 1)) / 64.0f;
    memcpy(after, before, sizeof after);
    keep(after, width, share);
    for (int64_t t = 0; t < TOKENS; t++)
        check(before + t * width, after + t * width, width, kept);
}

static void the_largest_are_kept(void **state)
{
    (void)state;
    check_keep(1536, 0.7, 1075, 1u << 24);
    check_keep(1536, 0.01, 15, 1u << 24);
    check_keep(1537, 0.5, 769, 1u << 24);
    check_keep(40, 0.25, 10, 1u << 24);
    check_keep(7, 0.01, 1, 1u << 24); /* never none */
    check_keep(1, 0.01, 1, 1u << 24);
}

static void of_equal_ones_the_first(void **state)
{
    (void)state;
    check_keep(1536, 0.7, 1075, 3);
    check_keep(1536, 0.3, 461, 40);
    check_keep(40, 0.5, 20, 1); /* all alike */
}

static void all_may_be_kept(void **state)
{
    (void)state;
    check_keep(40, 1, 40, 1000);
    check_keep(40, 0.999, 40, 1000);
    check_keep(40, 0, 40, 1000);
}

static void what_is_no_number_stays(void **state)
{
    (void)state;
    float value[TOKENS * 8] = {0};
    for (int t = 0; t < TOKENS; t++) {
        for (int i = 0; i < 8; i++)
            value[8 * t + i] = (float)(i + 1);
        value[8 * t + t] = NAN;
        value[8 * t + t + 1] = -INFINITY;
    }
    keep(value, 8, 0.25);
    for (int t = 0; t < TOKENS; t++)
        for (int i = 0; i < 8; i++) {
            float v = value[8 * t + i];
            assert_true(i == t ? isnan(v) : i == t + 1 ? v == -INFINITY : v == 0.0f);
        }
}

static void refused(hd_dials d, const hd_model_config *c, const char *words)
{
    hd_error err = {0};
    assert_int_equal(hd_dials_check(&d, c, &err), HD_E_ARGUMENT);
    if (!strstr(err.text, words)) fail_msg("\"%s\" should contain \"%s\"", err.text, words);
}

static void what_a_model_has_no_use_for_is_refused(void **state)
{
    (void)state;
    const hd_model_config dense = {.arch = HD_ARCH_QWEN3}, scripted = {.arch = HD_ARCH_SCRIPTED};
    const hd_model_config moe = {.arch = HD_ARCH_DEEPSEEK2, .experts = 64, .experts_used = 6};
    refused((hd_dials){.experts = 1}, &dense, "this model (qwen3) has no experts");
    refused((hd_dials){.experts = 7}, &moe, "--experts 7: this model sends a token to 6 of 64 experts");
    refused((hd_dials){.experts = -1}, &moe, "must not be negative");
    refused((hd_dials){.ffn_keep = 1.5}, &dense, "0 (off) to 1");
    refused((hd_dials){.ffn_keep = NAN}, &dense, "0 (off) to 1");
    refused((hd_dials){.ffn_keep = 0.5}, &scripted, "no feed-forward networks");
    for (int n = 0; n <= 6; n++)
        assert_int_equal(hd_dials_check(&(hd_dials){.experts = n, .ffn_keep = 0.5}, &moe, NULL), HD_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_are_kept),
        cmocka_unit_test(of_equal_ones_the_first),
        cmocka_unit_test(all_may_be_kept),
        cmocka_unit_test(what_is_no_number_stays),
        cmocka_unit_test(what_a_model_has_no_use_for_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
