/* kernels/cpu/fast_float.inc.h: plain float weights (and types without a packed form, decoded row by row) times float32
 * activations.  E4M3 weights get their block scales on the way. */

/* HD_LANES weights of a row from column c on; E4M3 divided by 256. */
HD_INLINE vf load_weights(const hd_type type, const uint8_t *row, int64_t c)
{
    if (type == HD_TYPE_F8_E4M3) {
        vf v = vf_e4m3(row + c), size = (vf)((vi)v & 0x7fffffff);
        return (vf)((vi)v | (size > 448.0f / 256.0f)); /* more than the largest number is NaN; so is all ones */
    }
    return vf_plain(type, row, c);
}

/* The scale of a row from column c on, where a block begins. */
HD_INLINE float block_scale(const hd_matrix *m, int64_t row, int64_t c)
{
    return hd_matrix_row_scales(m, row)[c / m->scale_cols];
}

static const float *x_of(const inputs *in, int64_t slot)
{
    return in->x + (in->row ? in->row[slot] : slot) * in->ldx;
}

#define FLOAT_ROWS 4
#define FLOAT_TOKENS 4

typedef struct float_sums {
    vf of[FLOAT_ROWS][FLOAT_TOKENS];
} float_sums;

/* Adds columns [c, end), whole vectors, of R rows from `row` on; with block scales they have one scale a row. */
HD_INLINE void float_columns(const int R, const int T, const hd_type type, const hd_matrix *m, int64_t row,
                             const float *const *from, int64_t c, int64_t end, float_sums *sum)
{
    vf scale[FLOAT_ROWS];
    HD_UNROLL
    for (int r = 0; r < R; r++)
        scale[r] = type == HD_TYPE_F8_E4M3 ? vf_splat(256.0f * block_scale(m, row + r, c)) : (vf){0};
    for (; c < end; c += HD_LANES) {
        vf x[FLOAT_TOKENS];
        HD_UNROLL
        for (int t = 0; t < T; t++)
            x[t] = vf_load(from[t] + c);
        HD_UNROLL
        for (int r = 0; r < R; r++) {
            vf weight = load_weights(type, m->data + (size_t)(row + r) * m->row_bytes, c);
            if (type == HD_TYPE_F8_E4M3) weight *= scale[r];
            HD_UNROLL
            for (int t = 0; t < T; t++)
                sum->of[r][t] = vf_fma(weight, x[t], sum->of[r][t]);
        }
    }
}

/* Columns from `whole` on, less than a vector of them, of one row. */
static float float_rest(const hd_matrix *m, int64_t row, const float *x, int64_t whole)
{
    float rest = 0.0f, last[HD_LANES];
    size_t size = (size_t)hd_type_block_bytes(m->type);
    hd_decode_row(m->type, m->data + (size_t)row * m->row_bytes + (size_t)whole * size, last, m->cols - whole);
    for (int64_t c = whole; c < m->cols; c++)
        rest += last[c - whole] * x[c];
    if (m->type == HD_TYPE_F8_E4M3) rest *= block_scale(m, row, whole);
    return rest;
}

/* Rows [row, row + R) of m times the T rows from slot on. */
HD_INLINE void float_tile(const int R, const int T, const hd_type type, const hd_matrix *m, int64_t row,
                          const inputs *in, int64_t slot, float *out, int64_t ldo)
{
    int64_t whole = m->cols / HD_LANES * HD_LANES;
    int64_t step = type == HD_TYPE_F8_E4M3 ? m->scale_cols : whole;
    const float *from[FLOAT_TOKENS];
    float_sums sum;
    HD_UNROLL
    for (int r = 0; r < R; r++)
        HD_UNROLL
    for (int t = 0; t < T; t++)
        sum.of[r][t] = (vf){0};
    HD_UNROLL
    for (int t = 0; t < T; t++)
        from[t] = x_of(in, slot + t);
    for (int64_t c = 0; c < whole; c += step)
        float_columns(R, T, type, m, row, from, c, HD_MIN(whole, c + step), &sum);
    HD_UNROLL
    for (int r = 0; r < R; r++)
        HD_UNROLL
    for (int t = 0; t < T; t++) {
        float y = vf_sum(sum.of[r][t]);
        out[t * ldo + r] = whole < m->cols ? y + float_rest(m, row + r, from[t], whole) : y;
    }
}

HD_INLINE void float_tokens(const int R, const hd_type type, const hd_matrix *m, int64_t row, const inputs *in,
                            int64_t slot, int64_t n, float *out, int64_t ldo)
{
    int64_t t = 0;
    for (; t + FLOAT_TOKENS <= n; t += FLOAT_TOKENS)
        float_tile(R, FLOAT_TOKENS, type, m, row, in, slot + t, out + t * ldo, ldo);
    for (; t < n; t++)
        float_tile(R, 1, type, m, row, in, slot + t, out + t * ldo, ldo);
}

/* Rows [first, first + rows) of m. */
HD_INLINE void float_rows(const hd_type type, const hd_matrix *m, int64_t first, int64_t rows, const inputs *in,
                          int64_t slot, int64_t n, float *out, int64_t ldo)
{
    int64_t r = 0;
    for (; r + FLOAT_ROWS <= rows; r += FLOAT_ROWS)
        float_tokens(FLOAT_ROWS, type, m, first + r, in, slot, n, out + r, ldo);
    for (; r < rows; r++)
        float_tokens(1, type, m, first + r, in, slot, n, out + r, ldo);
}

/* Any type: `row` is room for a decoded row. */
static void decoded_rows(const hd_matrix *m, int64_t first, int64_t rows, const inputs *in, int64_t slot, int64_t n,
                         float *out, int64_t ldo, float *row)
{
    const hd_matrix decoded = {.type = HD_TYPE_F32, .rows = 1, .cols = m->cols, .data = (const uint8_t *)row};
    for (int64_t r = 0; r < rows; r++) {
        hd_matrix_decode_row(m, first + r, row);
        float_rows(HD_TYPE_F32, &decoded, 0, 1, in, slot, n, out + r, ldo);
    }
}

static void float_block(const hd_matrix *m, int64_t first, int64_t rows, const inputs *in, int64_t slot, int64_t n,
                        float *out, int64_t ldo, float *row)
{
    hd_type type = m->type;
    if (type == HD_TYPE_F16)
        float_rows(HD_TYPE_F16, m, first, rows, in, slot, n, out, ldo);
    else if (type == HD_TYPE_BF16)
        float_rows(HD_TYPE_BF16, m, first, rows, in, slot, n, out, ldo);
    else if (type == HD_TYPE_F32)
        float_rows(HD_TYPE_F32, m, first, rows, in, slot, n, out, ldo);
    else if (type == HD_TYPE_F8_E4M3 && m->scale && m->scale_cols % HD_LANES == 0)
        float_rows(HD_TYPE_F8_E4M3, m, first, rows, in, slot, n, out, ldo);
    else
        decoded_rows(m, first, rows, in, slot, n, out, ldo, row);
}
