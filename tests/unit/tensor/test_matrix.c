/* Unit tests of tensor/matrix.c: block scales and slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/quant.h"
#include "tensor/tensor.h"

/* 10 x 7 E4M3 codes under scale blocks of 4 x 4: a 3 x 2 grid with ragged ends, its rows 3 values apart. */
enum { ROWS = 10, COLS = 7, BLOCK = 4, STRIDE = 3 };

typedef struct fixture {
    uint8_t codes[ROWS * COLS];
    float scale[3 * STRIDE];
} fixture;

static hd_matrix make(fixture *f)
{
    for (int i = 0; i < ROWS * COLS; i++)
        f->codes[i] = (uint8_t)(i * 5 % 0x7e);
    for (int i = 0; i < 3 * STRIDE; i++)
        f->scale[i] = 0.1f * (float)(i + 1);
    return (hd_matrix){.type = HD_TYPE_F8_E4M3,
                       .rows = ROWS,
                       .cols = COLS,
                       .data = f->codes,
                       .row_bytes = COLS,
                       .scale = f->scale,
                       .scale_stride = STRIDE,
                       .scale_rows = BLOCK,
                       .scale_cols = BLOCK};
}

static float expected(const fixture *f, int row, int col)
{
    return hd_e4m3_to_f32(f->codes[row * COLS + col]) * f->scale[row / BLOCK * STRIDE + col / BLOCK];
}

static void assert_rows(const fixture *f, const hd_matrix *m, int first)
{
    float out[COLS + 1];
    for (int r = 0; r < m->rows; r++) {
        out[COLS] = -7.0f;
        hd_matrix_decode_row(m, r, out);
        for (int c = 0; c < COLS; c++)
            assert_true(out[c] == expected(f, first + r, c));
        assert_true(out[COLS] == -7.0f);
    }
}

static void test_scales_by_block(void **state)
{
    (void)state;
    fixture f;
    hd_matrix m = make(&f);
    assert_rows(&f, &m, 0);
}

static void test_without_scales(void **state)
{
    (void)state;
    fixture f;
    float out[COLS];
    hd_matrix m = make(&f);
    m.scale = NULL;
    hd_matrix_decode_row(&m, 9, out);
    for (int c = 0; c < COLS; c++)
        assert_true(out[c] == hd_e4m3_to_f32(f.codes[9 * COLS + c]));
}

/* A slice that starts inside a block of scales must go on in the parent's grid, and so must a slice of it. */
static void test_slices_keep_the_scale_grid(void **state)
{
    (void)state;
    fixture f;
    hd_matrix m = make(&f);
    for (int start = 0; start < ROWS; start++)
        for (int rows = 1; start + rows <= ROWS; rows++) {
            hd_matrix slice = hd_matrix_slice(&m, start, rows);
            assert_int_equal(slice.rows, rows);
            assert_int_equal(slice.cols, COLS);
            assert_rows(&f, &slice, start);
        }
    hd_matrix outer = hd_matrix_slice(&m, 3, 6), inner = hd_matrix_slice(&outer, 2, 3);
    assert_int_equal(inner.row0, 5);
    assert_rows(&f, &inner, 5);
}

static void test_slice_of_block_type(void **state)
{
    (void)state;
    enum { BYTES = 34, BLOCKS = 2, WIDTH = 64 };
    uint8_t data[3 * BLOCKS * BYTES];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 13 % 60); /* no scale becomes infinite */
    hd_matrix m = {.type = HD_TYPE_Q8_0, .rows = 3, .cols = WIDTH, .data = data, .row_bytes = BLOCKS * BYTES};
    hd_matrix slice = hd_matrix_slice(&m, 2, 1);
    float got[WIDTH], want[WIDTH];
    hd_matrix_decode_row(&slice, 0, got);
    assert_true(hd_decode_row(HD_TYPE_Q8_0, data + (size_t)2 * BLOCKS * BYTES, want, WIDTH));
    assert_memory_equal(got, want, sizeof want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scales_by_block),
        cmocka_unit_test(test_without_scales),
        cmocka_unit_test(test_slices_keep_the_scale_grid),
        cmocka_unit_test(test_slice_of_block_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
