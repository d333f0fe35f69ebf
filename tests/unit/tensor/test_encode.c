/* test_encode.c: tensor/encode.h: what the decoders make of encoded blocks is near the values, and as near as it was.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "tensor/encode.h"
#include "tensor/encode_internal.h"
#include "tensor/quant.h"

#define COUNT (256 * 67) /* values: whole blocks of every type, and no whole number of batches */

static uint64_t seed = 1;

static float uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) * 0x1p-24f;
}

/* Close to normal, variance 1. */
static float normal(void)
{
    float sum = -6.0f;
    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum;
}

static const hd_type types[] = {HD_TYPE_Q4_0,   HD_TYPE_Q4_1,    HD_TYPE_Q5_0,   HD_TYPE_Q5_1,    HD_TYPE_Q8_0,
                                HD_TYPE_IQ4_NL, HD_TYPE_MXFP4,   HD_TYPE_Q2_K,   HD_TYPE_Q3_K,    HD_TYPE_Q4_K,
                                HD_TYPE_Q5_K,   HD_TYPE_Q6_K,    HD_TYPE_IQ4_XS, HD_TYPE_IQ2_XXS, HD_TYPE_IQ2_XS,
                                HD_TYPE_IQ2_S,  HD_TYPE_IQ3_XXS, HD_TYPE_IQ3_S};
#define TYPES ((int)(sizeof types / sizeof types[0]))

static size_t bytes_of(hd_type type, int64_t n)
{
    size_t bytes;
    assert_true(hd_type_row_bytes(type, n, &bytes));
    return bytes;
}

/* Encodes and decodes; `block` and `out` have room for COUNT values of any type. */
static void both_ways(hd_type type, const float *x, const float *w, float *out, int64_t n)
{
    static uint8_t block[COUNT * 2];
    size_t bytes = bytes_of(type, n);
    memset(block, 0xa5, sizeof block);
    assert_true(hd_encode_blocks(type, x, w, block, n));
    for (size_t i = bytes; i < bytes + 64; i++)
        assert_int_equal(block[i], 0xa5);
    assert_true(hd_decode_row(type, block, out, n));
}

/* sqrt(sum w (x - y)^2 / sum w x^2) */
static double error_of(const float *x, const float *y, const float *w, int64_t n)
{
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        double one = w ? w[i] : 1.0, d = (double)x[i] - y[i];
        off += one * d * d;
        all += one * x[i] * x[i];
    }
    return all > 0 ? sqrt(off / all) : sqrt(off);
}

static float x[COUNT], w[COUNT], y[COUNT], z[COUNT];

static void fill(void)
{
    for (int i = 0; i < COUNT; i++) {
        x[i] = normal() * (i / 4096 % 3 == 0 ? 0.06f : 0.02f);
        w[i] = expf(normal());
    }
}

/* What normally distributed values lost when this was written, and a hundredth. */
static const double normal_bound[TYPES] = {0.0825, 0.0717, 0.0411, 0.0349, 0.0054, 0.0756, 0.1135, 0.2670, 0.1460,
                                           0.0711, 0.0351, 0.0175, 0.0762, 0.3285, 0.2840, 0.2355, 0.1773, 0.1282};

static void test_normal_values(void **state)
{
    (void)state;
    fill();
    for (int t = 0; t < TYPES; t++) {
        both_ways(types[t], x, NULL, y, COUNT);
        double error = error_of(x, y, NULL, COUNT);
        if (error > normal_bound[t])
            fail_msg("%s: error %.5f, bound %.5f", hd_type_name(types[t]), error, normal_bound[t]);
    }
}

/* Weights make the weighted error smaller; weights that are all alike, however small, change nothing but the search. */
static void test_weights(void **state)
{
    (void)state;
    static float alike[COUNT];
    fill();
    for (int i = 0; i < COUNT; i++)
        alike[i] = 3e-20f;
    for (int t = 0; t < TYPES; t++) {
        both_ways(types[t], x, NULL, y, COUNT);
        both_ways(types[t], x, w, z, COUNT);
        if (types[t] != HD_TYPE_Q8_0 && error_of(x, z, w, COUNT) >= error_of(x, y, w, COUNT))
            fail_msg("%s: weights did not help", hd_type_name(types[t]));
        double plain = error_of(x, y, NULL, COUNT);
        both_ways(types[t], x, alike, z, COUNT);
        assert_true(error_of(x, z, NULL, COUNT) < 1.01 * plain);
    }
}

/* What a type can hold, it keeps: blocks that were decoded are encoded again without a loss to speak of. */
static void test_twice(void **state)
{
    (void)state;
    fill();
    for (int t = 0; t < TYPES; t++) {
        both_ways(types[t], x, NULL, y, COUNT);
        both_ways(types[t], y, NULL, z, COUNT);
        double once = error_of(x, y, NULL, COUNT), again = error_of(y, z, NULL, COUNT);
        if (again > 0.35 * once) fail_msg("%s: lost %.5f, then %.5f", hd_type_name(types[t]), once, again);
    }
}

static void test_each_block_alone(void **state)
{
    (void)state;
    static uint8_t all[COUNT * 2], one[512];
    fill();
    for (int t = 0; t < TYPES; t++)
        for (int weighted = 0; weighted < 2; weighted++) {
            int size = hd_type_block(types[t]), bytes = hd_type_block_bytes(types[t]);
            assert_true(hd_encode_blocks(types[t], x, weighted ? w : NULL, all, COUNT));
            for (int b = 0; b < COUNT / size; b += 13) {
                assert_true(hd_encode_blocks(types[t], x + b * size, weighted ? w + b * size : NULL, one, size));
                assert_memory_equal(one, all + b * bytes, (size_t)bytes);
            }
        }
}

static void check_same(const hd_blocks_encoder *with, const hd_blocks_encoder *without)
{
    static uint8_t a[COUNT * 2], b[COUNT * 2];
    fill();
    for (int t = 0; t < TYPES; t++)
        for (int weighted = 0; weighted < 2; weighted++) {
            int64_t blocks = COUNT / hd_type_block(types[t]);
            with[types[t]](x, weighted ? w : NULL, a, blocks);
            without[types[t]](x, weighted ? w : NULL, b, blocks);
            assert_memory_equal(a, b, bytes_of(types[t], COUNT));
        }
}

static void test_same_bits_on_every_processor(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (hd_cpu_has(HD_CPU_AVX2)) check_same(hd_encoders_avx2, hd_encoders_portable);
    if (hd_cpu_has(HD_CPU_AVX512)) check_same(hd_encoders_avx512, hd_encoders_portable);
#else
    check_same(hd_encoders_portable, hd_encoders_portable);
#endif
}

static void expect_error(const char *what, hd_type type, double bound)
{
    both_ways(type, x, NULL, y, COUNT);
    double error = error_of(x, y, NULL, COUNT);
    if (!(error <= bound)) fail_msg("%s, %s: error %.5f", hd_type_name(type), what, error);
}

/* Types whose levels are all positive, so that a block that isn't all zeros has none. */
static bool lacks_zero(hd_type type)
{
    return type == HD_TYPE_IQ2_XXS || type == HD_TYPE_IQ2_XS || type == HD_TYPE_IQ2_S || type == HD_TYPE_IQ3_XXS ||
           type == HD_TYPE_IQ3_S;
}

static void test_odd_values(void **state)
{
    (void)state;
    for (int t = 0; t < TYPES; t++) {
        hd_type type = types[t];
        memset(x, 0, sizeof x);
        expect_error("zeros", type, 0.0);
        for (int i = 0; i < COUNT; i++)
            x[i] = 0.75f;
        expect_error("one value", type, 0.04);
        for (int i = 0; i < COUNT; i++)
            x[i] = -0.75f;
        expect_error("one negative value", type, 0.04);
        for (int i = 0; i < COUNT; i++)
            x[i] = i % 256 == 77 ? 9.0f : 0.0f;
        expect_error("one spike a block", type, lacks_zero(type) ? 0.75 : 0.13);
        for (int i = 0; i < COUNT; i++)
            x[i] = fabsf(normal());
        expect_error("positive values", type, 1.05 * normal_bound[t]);
        for (int i = 0; i < COUNT; i++)
            x[i] = -1e4f * fabsf(normal());
        expect_error("large negative values", type, 1.05 * normal_bound[t]);
        for (int i = 0; i < COUNT; i++)
            x[i] = 1e-35f * normal();
        both_ways(type, x, NULL, y, COUNT);
        for (int i = 0; i < COUNT; i++)
            assert_true(fabsf(y[i]) < 1e-30f);
    }
}

/* Nothing is said of such blocks, but that nothing breaks. */
static void test_what_is_no_number(void **state)
{
    (void)state;
    static uint8_t block[COUNT * 2];
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f};
    for (size_t o = 0; o < sizeof odd / sizeof odd[0]; o++)
        for (int t = 0; t < TYPES; t++) {
            fill();
            for (int i = 5; i < COUNT; i += 97)
                x[i] = odd[o];
            assert_true(hd_encode_blocks(types[t], x, w, block, COUNT));
            for (int i = 5; i < COUNT; i += 97)
                w[i] = fabsf(odd[o]);
            assert_true(hd_encode_blocks(types[t], x, w, block, COUNT));
        }
}

static void test_other_types(void **state)
{
    (void)state;
    uint8_t byte = 7;
    assert_false(hd_encode_supported(HD_TYPE_I32));
    assert_false(hd_encode_supported(HD_TYPE_COUNT));
    assert_false(hd_encode_blocks(HD_TYPE_I32, x, NULL, &byte, 0));
    for (int t = 0; t < TYPES; t++)
        assert_true(hd_encode_supported(types[t]) && hd_encode_blocks(types[t], x, NULL, &byte, 0));
    assert_int_equal(byte, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal_values),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_each_block_alone),
        cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_same_bits_on_every_processor),
        cmocka_unit_test(test_what_is_no_number),
        cmocka_unit_test(test_other_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
