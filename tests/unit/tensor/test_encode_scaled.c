/* Unit tests of tensor/encode_scaled.c: 8-bit codes with scales that lie apart. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/encode.h"
#include "tensor/quant.h"

enum { ROWS = 300, COLS = 200, SCALE_ROWS = 3, STRIDE = 5 /* more than the two blocks of a row */ };

static float x[ROWS * COLS];
static uint8_t f8[ROWS * COLS];
static int8_t i8[ROWS * COLS];
static float scale[SCALE_ROWS * STRIDE], row_scale[ROWS];

/* In blocks and rows of very different size. */
static void fill(void)
{
    uint64_t seed = 7;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            float one = (float)(seed >> 40) * 0x1p-23f - 1.0f;
            x[r * COLS + c] = one * one * one * (r / 128 == 1 ? 1e-3f : 2.0f) * (c < 128 ? 1.0f : 50.0f);
        }
}

static float largest(int row, int rows, int col, int cols)
{
    float most = 0.0f;
    for (int r = row; r < row + rows; r++)
        for (int c = col; c < col + cols; c++)
            most = fmaxf(most, fabsf(x[r * COLS + c]));
    return most;
}

static void encode_f8(void)
{
    for (int i = 0; i < SCALE_ROWS * STRIDE; i++)
        scale[i] = -7.0f;
    hd_encode_f8_blocks(x, ROWS, COLS, f8, scale, STRIDE);
}

static void test_f8_blocks(void **state)
{
    (void)state;
    fill();
    encode_f8();
    for (int i = 0; i < SCALE_ROWS; i++) {
        int rows = i < 2 ? 128 : ROWS - 256;
        assert_true(scale[i * STRIDE] == largest(i * 128, rows, 0, 128) / 448.0f);
        assert_true(scale[i * STRIDE + 1] == largest(i * 128, rows, 128, COLS - 128) / 448.0f);
        assert_true(scale[i * STRIDE + 2] == -7.0f);
    }
    hd_matrix m = {.type = HD_TYPE_F8_E4M3,
                   .rows = ROWS,
                   .cols = COLS,
                   .data = f8,
                   .row_bytes = COLS,
                   .scale = scale,
                   .scale_stride = STRIDE,
                   .scale_rows = HD_F8_BLOCK,
                   .scale_cols = HD_F8_BLOCK};
    for (int r = 0; r < ROWS; r++) {
        float out[COLS];
        hd_matrix_decode_row(&m, r, out);
        for (int c = 0; c < COLS; c++) {
            float s = scale[r / 128 * STRIDE + c / 128], v = x[r * COLS + c];
            /* Half a step: 1/16 of it at most, or half of 2^-9 where steps don't shrink further. */
            assert_true(fabsf(out[c] - v) <= fmaxf(fabsf(v) / 16.0f, s * 0x1p-10f) * 1.0001f);
        }
    }
}

/* Rows of blocks do not depend on one another. */
static void test_f8_rows_of_blocks_alone(void **state)
{
    (void)state;
    static uint8_t alone[128 * COLS];
    float of[2];
    fill();
    encode_f8();
    hd_encode_f8_blocks(x + 128 * COLS, 128, COLS, alone, of, 2);
    assert_memory_equal(alone, f8 + 128 * COLS, sizeof alone);
    assert_memory_equal(of, scale + STRIDE, sizeof of);
}

/* The scales alone are those that the codes got. */
static void test_scales_alone(void **state)
{
    (void)state;
    float alone[2], rows[ROWS];
    fill();
    encode_f8();
    hd_encode_i8_rows(x, ROWS, COLS, i8, row_scale);
    hd_f8_scales(x + 256 * COLS, ROWS - 256, COLS, alone);
    hd_i8_scales(x, ROWS, COLS, rows);
    assert_memory_equal(alone, scale + 2 * STRIDE, sizeof alone);
    assert_memory_equal(rows, row_scale, sizeof rows);
}

static void test_i8_rows(void **state)
{
    (void)state;
    fill();
    hd_encode_i8_rows(x, ROWS, COLS, i8, row_scale);
    for (int r = 0; r < ROWS; r++) {
        int most = 0;
        uint32_t bits;
        float exact = largest(r, 1, 0, COLS) / 127.0f;
        memcpy(&bits, &row_scale[r], sizeof bits);
        assert_true(row_scale[r] >= exact && row_scale[r] <= exact * (1.0f + 0x1p-7f) && (bits & 0xffff) == 0);
        for (int c = 0; c < COLS; c++) {
            int code = i8[r * COLS + c];
            most = abs(code) > most ? abs(code) : most;
            assert_true(fabsf(x[r * COLS + c] - row_scale[r] * (float)code) <= 0.5001f * row_scale[r]);
        }
        assert_true(most >= 126);
    }
}

/* Zeros; the ends of float32's range; one value among zeros. */
static void test_odd_values(void **state)
{
    (void)state;
    static const float all[] = {0.0f, -0.0f, FLT_MAX, -FLT_MAX, FLT_MIN, 0x1p-149f, -3e-43f, 1.0f, -5.0f};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; k++)
        for (int every = 1; every < 9; every += 7) {
            for (int i = 0; i < ROWS * COLS; i++)
                x[i] = i % every == 0 ? all[k] : 0.0f;
            encode_f8();
            hd_encode_i8_rows(x, ROWS, COLS, i8, row_scale);
            for (int r = 0; r < ROWS; r++)
                for (int c = 0; c < COLS; c++) {
                    float v = x[r * COLS + c], s8 = scale[r / 128 * STRIDE + c / 128];
                    /* Scales below 2^-126 are rounded; codes of values that these can't hold are 0. */
                    float bound = fabsf(v) * 1e-6f + (fabsf(v) < 1e-35f ? 4e-43f : 0.0f);
                    float step = row_scale[r] * (fabsf(v) > 3e38f ? 1.0f : 0.5001f);
                    assert_true(s8 > 0.0f && row_scale[r] > 0.0f);
                    assert_true(fabsf(hd_e4m3_to_f32(f8[r * COLS + c]) * s8 - v) <= bound);
                    assert_true(fabsf((float)i8[r * COLS + c] * row_scale[r] - v) <= (v == 0.0f ? 0.0f : step));
                }
        }
}

static void test_what_is_not_finite(void **state)
{
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY};
    for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++) {
        fill();
        x[130 * COLS + 5] = odd[k];
        encode_f8();
        hd_encode_i8_rows(x, ROWS, COLS, i8, row_scale);
        assert_true(isnan(scale[STRIDE]) && !isnan(scale[0]) && !isnan(scale[STRIDE + 1]));
        assert_true(isnan(row_scale[130]) && !isnan(row_scale[129]) && !isnan(row_scale[131]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f8_blocks),  cmocka_unit_test(test_f8_rows_of_blocks_alone),
        cmocka_unit_test(test_i8_rows),    cmocka_unit_test(test_scales_alone),
        cmocka_unit_test(test_odd_values), cmocka_unit_test(test_what_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
