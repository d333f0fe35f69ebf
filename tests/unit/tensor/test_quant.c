/* Unit tests of tensor/quant.c: the small float formats against their definitions, and decode_row's own work.
 * The block types are held to reference data in tests/conformance/test_quants.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "tensor/quant.h"

static uint32_t bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void assert_same(float got, float want)
{
    if (isnan(want)) {
        assert_true(isnan(got));
        return;
    }
    assert_int_equal(bits_of(got), bits_of(want));
}

/* The value of a float format by its definition: (-1)^s * 2^(e - bias) * 1.f, or 2^(1 - bias) * 0.f when e is 0. */
static double by_formula(unsigned code, int exp_bits, int frac_bits, int bias)
{
    unsigned frac = code & ((1u << frac_bits) - 1), exp = code >> frac_bits & ((1u << exp_bits) - 1);
    double sign = code >> (exp_bits + frac_bits) & 1 ? -1.0 : 1.0, one = ldexp(1.0, frac_bits);
    if (exp == 0) return sign * ldexp(frac / one, 1 - bias);
    return sign * ldexp(1.0 + frac / one, (int)exp - bias);
}

static void test_e4m3(void **state)
{
    (void)state;
    for (unsigned v = 0; v < 256; v++) {
        double want = (v & 0x7f) == 0x7f ? (double)NAN : by_formula(v, 4, 3, 7);
        assert_same(hd_e4m3_to_f32((uint8_t)v), (float)want);
    }
    assert_same(hd_e4m3_to_f32(0x7e), 448.0f); /* the largest: OFP8 1.0, table 1 */
    assert_same(hd_e4m3_to_f32(0x01), 0x1p-9f);
}

/* Between each two neighbours, as check_rounding; and what no code stands for. */
static void test_e4m3_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned v = 0; v < 0x7e; v++) {
        float middle = (hd_e4m3_to_f32((uint8_t)v) + hd_e4m3_to_f32((uint8_t)(v + 1))) / 2;
        unsigned even = v & 1 ? v + 1 : v;
        assert_int_equal(hd_f32_to_e4m3(hd_e4m3_to_f32((uint8_t)v)), v);
        assert_int_equal(hd_f32_to_e4m3(middle), even);
        assert_int_equal(hd_f32_to_e4m3(-middle), even | 0x80);
        assert_int_equal(hd_f32_to_e4m3(nextafterf(middle, 0.0f)), v);
        assert_int_equal(hd_f32_to_e4m3(nextafterf(middle, INFINITY)), v + 1);
    }
    static const float beyond[] = {448.0f, 463.0f, 464.0f, 480.0f, 1e30f, INFINITY};
    for (size_t i = 0; i < HD_ARRAY_LEN(beyond); i++) {
        assert_int_equal(hd_f32_to_e4m3(beyond[i]), 0x7e);
        assert_int_equal(hd_f32_to_e4m3(-beyond[i]), 0xfe);
    }
    assert_int_equal(hd_f32_to_e4m3(NAN) & 0x7f, 0x7f);
    assert_int_equal(hd_f32_to_e4m3(0x1p-149f), 0);
    assert_int_equal(hd_f32_to_e4m3(-0.0f), 0x80);
}

static void test_e5m2(void **state)
{
    (void)state;
    for (unsigned v = 0; v < 256; v++) {
        double want = by_formula(v, 5, 2, 15);
        if ((v & 0x7f) == 0x7c) want = v & 0x80 ? -INFINITY : INFINITY;
        if ((v & 0x7f) > 0x7c) want = NAN;
        assert_same(hd_e5m2_to_f32((uint8_t)v), (float)want);
    }
    assert_same(hd_e5m2_to_f32(0x7b), 57344.0f);
    assert_same(hd_e5m2_to_f32(0x01), 0x1p-16f);
}

static void test_e8m0(void **state)
{
    (void)state;
    for (int v = 0; v < 255; v++)
        assert_same(hd_e8m0_to_f32((uint8_t)v), (float)ldexp(1.0, v - 127));
    assert_true(isnan(hd_e8m0_to_f32(255)));
}

static void test_f16_decodes_by_definition(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        double want = by_formula(h, 5, 10, 15);
        if ((h & 0x7fff) == 0x7c00) want = h & 0x8000 ? -INFINITY : INFINITY;
        if ((h & 0x7fff) > 0x7c00) want = NAN;
        assert_same(hd_f16_to_f32((uint16_t)h), (float)want);
    }
}

static void test_f16_round_trip(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        uint16_t back = hd_f32_to_f16(hd_f16_to_f32((uint16_t)h));
        if ((h & 0x7fff) > 0x7c00)
            assert_int_equal(back, h | 0x200); /* NaN keeps sign and payload and becomes quiet */
        else
            assert_int_equal(back, h);
    }
}

/* Between each two neighbours: below the middle, the middle itself (to even) and above it. */
static void check_rounding(uint16_t (*encode)(float), float (*decode)(uint16_t), unsigned last)
{
    for (unsigned h = 0; h < last; h++) {
        float low = decode((uint16_t)h), high = decode((uint16_t)(h + 1));
        float middle = (float)(((double)low + (double)high) / 2);
        unsigned even = h & 1 ? h + 1 : h;
        assert_int_equal(encode(middle), even);
        assert_int_equal(encode(-middle), even | 0x8000);
        assert_int_equal(encode(nextafterf(middle, 0.0f)), h);
        assert_int_equal(encode(nextafterf(middle, INFINITY)), h + 1);
    }
}

static void test_f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    check_rounding(hd_f32_to_f16, hd_f16_to_f32, 0x7bff);
    assert_int_equal(hd_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(hd_f32_to_f16(65520.0f), 0x7c00); /* half a step above the largest: infinity */
    assert_int_equal(hd_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(hd_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(hd_f32_to_f16(0x1p-149f), 0);
    assert_int_equal(hd_f32_to_f16(-0.0f), 0x8000);
}

static void test_bf16(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        assert_int_equal(bits_of(hd_bf16_to_f32((uint16_t)h)), h << 16);
        bool nan = (h & 0x7fff) > 0x7f80;
        assert_int_equal(hd_f32_to_bf16(float_of(h << 16)), nan ? h | 0x40 : h);
    }
    check_rounding(hd_f32_to_bf16, hd_bf16_to_f32, 0x7f7f);
    assert_int_equal(hd_f32_to_bf16(float_of(0x7f7fffff)), 0x7f80); /* FLT_MAX rounds up to infinity */
    assert_int_equal(hd_f32_to_bf16(float_of(0x7f800001)), 0x7fc0); /* a NaN whose upper half alone is infinity */
}

static void test_integers_and_doubles(void **state)
{
    (void)state;
    uint8_t raw[1 + 16]; /* one byte off any alignment */
    float out[16];
    const int8_t i8[2] = {-128, 127};
    const int16_t i16[2] = {-32768, 258};
    const int32_t i32[2] = {-2147483647 - 1, 16777217};
    const int64_t i64[2] = {INT64_MIN, 3};
    const double f64[2] = {1.0 / 3.0, -1e300};
    const uint8_t u8[2] = {0, 255};
    const struct {
        hd_type type;
        const void *src;
        size_t bytes;
        float want[2];
    } cases[] = {
        {HD_TYPE_I8, i8, sizeof i8, {-128, 127}},
        {HD_TYPE_I16, i16, sizeof i16, {-32768, 258}},
        {HD_TYPE_I32, i32, sizeof i32, {-2147483648.0f, 16777216.0f}},
        {HD_TYPE_I64, i64, sizeof i64, {-9223372036854775808.0f, 3}},
        {HD_TYPE_F64, f64, sizeof f64, {1.0f / 3.0f, -INFINITY}},
        {HD_TYPE_U8, u8, sizeof u8, {0, 255}},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        memcpy(raw + 1, cases[i].src, cases[i].bytes);
        assert_true(hd_decode_row(cases[i].type, raw + 1, out, 2));
        assert_same(out[0], cases[i].want[0]);
        assert_same(out[1], cases[i].want[1]);
    }
}

static void test_float_rows_are_copied_exactly(void **state)
{
    (void)state;
    const uint32_t bits[4] = {0x80000000, 0x00000001, 0x7f7fffff, 0xff800000};
    uint8_t raw[1 + sizeof bits];
    float out[4];
    memcpy(raw + 1, bits, sizeof bits);
    assert_true(hd_decode_row(HD_TYPE_F32, raw + 1, out, 4));
    assert_memory_equal(out, bits, sizeof bits);
}

/* Every type: consumes exactly the bytes of its blocks, writes exactly n values, and needs no alignment. */
static void test_every_type_stays_in_its_bounds(void **state)
{
    (void)state;
    enum { BLOCKS = 3, GUARD = 0x5a5a5a5a };
    for (int t = 0; t < HD_TYPE_COUNT; t++) {
        size_t values = (size_t)hd_type_block((hd_type)t) * BLOCKS;
        size_t bytes = (size_t)hd_type_block_bytes((hd_type)t) * BLOCKS;
        uint8_t *raw = hd_alloc(bytes + 1); /* exact size, so that the address sanitizer sees a read past the end */
        uint32_t *out = hd_alloc_array(values + 1, sizeof *out);
        assert_non_null(raw);
        assert_non_null(out);
        for (size_t i = 0; i < bytes + 1; i++)
            raw[i] = (uint8_t)(i * 37 + 11);
        for (size_t i = 0; i < values + 1; i++)
            out[i] = GUARD;
        assert_true(hd_decode_row((hd_type)t, raw + 1, (float *)(void *)out, (int64_t)values));
        assert_int_equal(out[values], GUARD);
        assert_int_not_equal(out[values - 1], GUARD);
        hd_free(out);
        hd_free(raw);
    }
}

static void test_unknown_type_is_refused(void **state)
{
    (void)state;
    uint8_t raw[4] = {0};
    float out[1] = {7};
    assert_false(hd_decode_row(HD_TYPE_COUNT, raw, out, 1));
    assert_false(hd_decode_row((hd_type)-1, raw, out, 1));
    assert_true(out[0] == 7.0f);
}

/* One block by hand, so that a reader sees the layout at work: scale 0.5, codes 0..15 low, 15..0 high. */
static void test_q4_0_by_hand(void **state)
{
    (void)state;
    uint8_t block[18] = {0x00, 0x38}; /* 0.5 in binary16 */
    float out[32];
    for (int i = 0; i < 16; i++)
        block[2 + i] = (uint8_t)(i | (15 - i) << 4);
    assert_true(hd_decode_row(HD_TYPE_Q4_0, block, out, 32));
    for (int i = 0; i < 16; i++) {
        assert_same(out[i], 0.5f * (float)(i - 8));
        assert_same(out[16 + i], 0.5f * (float)(7 - i));
    }
}

/* ---- encoding ---- */

static void test_float_rows_are_encoded_as_single_values_are(void **state)
{
    (void)state;
    const float x[] = {0.0f, -0.0f, 1.0f, -1.0f / 3, 65504.0f, 1e-7f, 1e30f, INFINITY, NAN};
    enum { N = sizeof x / sizeof *x };
    float same[N];
    uint16_t half[2][N];
    assert_true(hd_encode_row(HD_TYPE_F32, x, same, N));
    assert_true(hd_encode_row(HD_TYPE_F16, x, half[0], N));
    assert_true(hd_encode_row(HD_TYPE_BF16, x, half[1], N));
    assert_memory_equal(same, x, sizeof x);
    for (int i = 0; i < N; i++) {
        assert_int_equal(half[0][i], hd_f32_to_f16(x[i]));
        assert_int_equal(half[1][i], hd_f32_to_bf16(x[i]));
    }
    assert_false(hd_encode_row(HD_TYPE_Q4_K, x, same, N));
}

/* No value is off by more than half a step, whatever the block's magnitude. */
static void test_q8_0_rounds_to_nearest(void **state)
{
    (void)state;
    enum { N = 3 * 32 };
    float x[N], back[N];
    uint8_t blocks[3 * 34];
    for (int magnitude = -12; magnitude <= 20; magnitude++) {
        for (int i = 0; i < N; i++)
            x[i] = ldexpf(sinf((float)(i * i + magnitude)), magnitude);
        assert_true(hd_encode_row(HD_TYPE_Q8_0, x, blocks, N));
        assert_true(hd_decode_row(HD_TYPE_Q8_0, blocks, back, N));
        for (int i = 0; i < N; i++) {
            uint16_t scale;
            memcpy(&scale, blocks + i / 32 * 34, sizeof scale);
            assert_true(fabsf(back[i] - x[i]) <= 0.5001f * hd_f16_to_f32(scale));
        }
    }
}

static void test_q8_0_of_zeros_and_of_what_is_not_finite(void **state)
{
    (void)state;
    float x[32] = {0}, back[32];
    uint8_t block[34];
    assert_true(hd_encode_row(HD_TYPE_Q8_0, x, block, 32));
    assert_true(hd_decode_row(HD_TYPE_Q8_0, block, back, 32));
    assert_memory_equal(back, x, sizeof x);
    const float bad[] = {INFINITY, -INFINITY, NAN, 1e30f}; /* the last has no scale in float16 */
    for (int i = 0; i < 4; i++) {
        x[7] = bad[i];
        x[9] = 1.0f;
        assert_true(hd_encode_row(HD_TYPE_Q8_0, x, block, 32));
        assert_true(hd_decode_row(HD_TYPE_Q8_0, block, back, 32));
        for (int j = 0; j < 32; j++)
            assert_true(isnan(back[j]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e4m3),
        cmocka_unit_test(test_e4m3_rounds_to_nearest_even),
        cmocka_unit_test(test_e5m2),
        cmocka_unit_test(test_e8m0),
        cmocka_unit_test(test_f16_decodes_by_definition),
        cmocka_unit_test(test_f16_round_trip),
        cmocka_unit_test(test_f16_rounds_to_nearest_even),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_integers_and_doubles),
        cmocka_unit_test(test_float_rows_are_copied_exactly),
        cmocka_unit_test(test_every_type_stays_in_its_bounds),
        cmocka_unit_test(test_unknown_type_is_refused),
        cmocka_unit_test(test_q4_0_by_hand),
        cmocka_unit_test(test_float_rows_are_encoded_as_single_values_are),
        cmocka_unit_test(test_q8_0_rounds_to_nearest),
        cmocka_unit_test(test_q8_0_of_zeros_and_of_what_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
