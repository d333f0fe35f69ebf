/* Angular frequencies against the formulas of the papers, written out again in another way, and against constants of
 * published models. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/models_internal.h"

enum { MAX_DIM = 256 };

static void assert_near(double got, double want, const char *what, int i)
{
    if (!(fabs(got - want) <= 1e-6 * fabs(want))) fail_msg("%s %d: %.9g, not %.9g", what, i, got, want);
}

/* theta^(-2i/dim) as a product: theta^(-2/dim) is the ratio of neighbours. */
static double plain_frequency(double theta, int dim, int i)
{
    double f = 1.0, ratio = exp(-2.0 * log(theta) / dim);
    for (int j = 0; j < i; j++)
        f *= ratio;
    return f;
}

static void plain_and_linear(void **state)
{
    (void)state;
    static const double thetas[] = {10000.0, 500000.0, 1e6};
    static const int dims[] = {2, 8, 64, 128};
    for (int t = 0; t < 3; t++)
        for (int d = 0; d < 4; d++) {
            hd_rope_config c = {.type = HD_ROPE_PLAIN, .theta = thetas[t], .factor = 4.0};
            float freq[MAX_DIM / 2], gain;
            hd_rope_frequencies(&c, dims[d], freq, &gain);
            assert_true(gain == 1.0f && freq[0] == 1.0f);
            for (int i = 0; i < dims[d] / 2; i++)
                assert_near(freq[i], plain_frequency(thetas[t], dims[d], i), "plain", i);
            c.type = HD_ROPE_LINEAR;
            hd_rope_frequencies(&c, dims[d], freq, &gain);
            assert_true(gain == 1.0f);
            for (int i = 0; i < dims[d] / 2; i++)
                assert_near(freq[i], plain_frequency(thetas[t], dims[d], i) / 4.0, "linear", i);
            assert_true(hd_rope_softmax_factor(&c) == 1.0f);
        }
}

/* Llama 3.1 8B: theta 500,000, width 128, factor 8, low 1, high 4, 8,192 positions.  How many times a wave turns within
 * the original context decides: up to `low` times it is stretched whole, from `high` times on not at all. */
static void llama3(void **state)
{
    (void)state;
    hd_rope_config c = {.type = HD_ROPE_LLAMA3,
                        .theta = 500000.0,
                        .factor = 8.0,
                        .low_freq = 1.0,
                        .high_freq = 4.0,
                        .original_context = 8192.0};
    float freq[64], gain;
    int kept = 0, blended = 0, stretched = 0;
    hd_rope_frequencies(&c, 128, freq, &gain);
    assert_true(gain == 1.0f);
    for (int i = 0; i < 64; i++) {
        double f = plain_frequency(500000.0, 128, i), turns = 8192.0 * f / 6.283185307179586;
        double share = fmin(fmax((turns - 1.0) / 3.0, 0.0), 1.0); /* of the unstretched wave */
        kept += share == 1.0;
        stretched += share == 0.0;
        blended += share > 0.0 && share < 1.0;
        assert_near(freq[i], share * f + (1.0 - share) * f / 8.0, "llama3", i);
    }
    assert_true(kept == 29 && blended == 6 && stretched == 29);
}

/* arXiv:2309.00071, equations 17 to 19, with the whole-numbered range of the reference implementation. */
static double yarn_by_formula(const hd_rope_config *c, int dim, int i)
{
    double f = plain_frequency(c->theta, dim, i), range[2];
    const double turns[2] = {c->beta_fast, c->beta_slow};
    for (int j = 0; j < 2; j++) /* where theta^(-2x/dim) * context = 2 pi turns */
        range[j] = dim / 2.0 * (log(c->original_context) - log(6.283185307179586 * turns[j])) / log(c->theta);
    double low = c->truncate ? floor(range[0]) : range[0], high = c->truncate ? ceil(range[1]) : range[1];
    low = low < 0.0 ? 0.0 : low;
    high = high > dim - 1 ? dim - 1 : high;
    double ramp = i <= low ? 0.0 : i >= high ? 1.0 : (i - low) / (high - low);
    return f * (1.0 - ramp) + f / c->factor * ramp;
}

static void yarn(void **state)
{
    (void)state;
    for (int truncate = 0; truncate < 2; truncate++)
        for (int small = 0; small < 2; small++) {
            hd_rope_config c = {.type = HD_ROPE_YARN,
                                .theta = 10000.0,
                                .factor = 40.0,
                                .beta_fast = 32.0,
                                .beta_slow = 1.0,
                                .mscale = 1.0,
                                .mscale_all_dim = 1.0,
                                .truncate = truncate,
                                .original_context = small ? 32.0 : 4096.0};
            float freq[32], gain;
            hd_rope_frequencies(&c, 64, freq, &gain);
            assert_true(gain == 1.0f);
            for (int i = 0; i < 32; i++)
                assert_near(freq[i], yarn_by_formula(&c, 64, i), "yarn", i);
            if (!small && truncate) { /* DeepSeek-V3: its range is 10 to 23 */
                assert_near(freq[10], plain_frequency(10000.0, 64, 10), "kept", 10);
                assert_near(freq[23], plain_frequency(10000.0, 64, 23) / 40.0, "stretched", 23);
                assert_true(freq[11] < plain_frequency(10000.0, 64, 11) * 0.999);
                assert_true(freq[22] > plain_frequency(10000.0, 64, 22) / 40.0 * 1.001);
            }
        }
}

/* 0.1 ln(40) + 1 = 1.36888794541; with 0.707 for 1: 1.26080377741. */
static void yarn_gains(void **state)
{
    (void)state;
    hd_rope_config c = {.type = HD_ROPE_YARN,
                        .theta = 10000.0,
                        .factor = 40.0,
                        .beta_fast = 32.0,
                        .beta_slow = 1.0,
                        .original_context = 4096.0,
                        .truncate = true};
    float freq[32], gain;
    hd_rope_frequencies(&c, 64, freq, &gain);
    assert_near(gain, 1.36888794541, "no mscale", 0);
    assert_true(hd_rope_softmax_factor(&c) == 1.0f);
    c.mscale = 1.0;
    c.mscale_all_dim = 1.0;
    hd_rope_frequencies(&c, 64, freq, &gain);
    assert_near(gain, 1.0, "both", 0);
    assert_near(hd_rope_softmax_factor(&c), 1.36888794541 * 1.36888794541, "V3", 0);
    c.mscale = 1.0;
    c.mscale_all_dim = 0.707;
    hd_rope_frequencies(&c, 64, freq, &gain);
    assert_near(gain, 1.36888794541 / 1.26080377741, "unequal", 0);
    assert_near(hd_rope_softmax_factor(&c), 1.26080377741 * 1.26080377741, "V2", 0);
    c.attention_factor = 0.75;
    hd_rope_frequencies(&c, 64, freq, &gain);
    assert_near(gain, 0.75, "given", 0);
    c.attention_factor = 0.0;
    c.mscale = c.mscale_all_dim = 0.0;
    c.factor = 0.5; /* shorter than the original context: no temperature */
    hd_rope_frequencies(&c, 64, freq, &gain);
    assert_near(gain, 1.0, "short", 0);
}

/* Ranges that meet or lie outside the dimensions still give finite, falling frequencies. */
static void odd_ranges_stay_finite(void **state)
{
    (void)state;
    static const double contexts[] = {1.0, 7.0, 1e5, 2147483647.0}, betas[] = {1e-6, 1.0, 32.0, 1e6};
    for (int i = 0; i < 4 * 4 * 4; i++) {
        hd_rope_config c = {.type = HD_ROPE_YARN,
                            .theta = 10000.0,
                            .factor = 16.0,
                            .beta_fast = betas[i / 4 % 4],
                            .beta_slow = betas[i / 16],
                            .original_context = contexts[i % 4],
                            .truncate = i % 2};
        float freq[8], gain;
        hd_rope_frequencies(&c, 16, freq, &gain);
        for (int j = 0; j < 8; j++) {
            double f = plain_frequency(10000.0, 16, j);
            assert_true(isfinite(freq[j]) && freq[j] >= f / 16.0 * 0.9999 && freq[j] <= f * 1.0001);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_linear),
        cmocka_unit_test(llama3),
        cmocka_unit_test(yarn),
        cmocka_unit_test(yarn_gains),
        cmocka_unit_test(odd_ranges_stay_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
