/* tensor/matrix.c: rows and slices of weight matrices; see tensor.h. */
#include "tensor/quant.h"
#include "tensor/tensor.h"

/* Multiplies a decoded row by the scales of its row of blocks. */
static void apply_scales(const hd_matrix *m, int64_t row, float *out)
{
    const float *scale = hd_matrix_row_scales(m, row);
    for (int64_t c0 = 0; c0 < m->cols; c0 += m->scale_cols) {
        float s = scale[c0 / m->scale_cols];
        int64_t end = HD_MIN(c0 + m->scale_cols, m->cols);
        for (int64_t c = c0; c < end; c++)
            out[c] *= s;
    }
}

void hd_matrix_decode_row(const hd_matrix *m, int64_t row, float *out)
{
    hd_decode_row(m->type, m->data + (size_t)row * m->row_bytes, out, m->cols);
    if (m->scale) apply_scales(m, row, out);
}

hd_matrix hd_matrix_slice(const hd_matrix *m, int64_t row, int64_t rows)
{
    hd_matrix slice = *m;
    slice.data += (size_t)row * m->row_bytes;
    slice.rows = rows;
    slice.row0 += row;
    return slice;
}
