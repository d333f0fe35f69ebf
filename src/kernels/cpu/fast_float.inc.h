/* kernels/cpu/fast_float.inc.h: plain float weights (and types without a packed form, decoded row by row) times float32
 * activations. */

/* HD_LANES weights of a row from column c on. */
HD_INLINE vf load_weights(const hd_type type, const uint8_t *row, int64_t c)
{
    if (type == HD_TYPE_F16) return vf_f16(row + 2 * c);
    if (type == HD_TYPE_BF16) return vf_bf16(row + 2 * c);
    return vf_load((const float *)(const void *)row + c);
}

static const float *x_of(const inputs *in, int64_t slot)
{
    return in->x + (in->row ? in->row[slot] : slot) * in->ldx;
}

#define FLOAT_ROWS 4
#define FLOAT_TOKENS 4

HD_INLINE void float_tile(const int R, const int T, const hd_type type, const uint8_t *w, size_t row_bytes,
                          const inputs *in, int64_t slot, float *out, int64_t ldo)
{
    vf sum[FLOAT_ROWS][FLOAT_TOKENS];
    int64_t whole = in->cols / HD_LANES * HD_LANES;
    HD_UNROLL
    for (int r = 0; r < R; r++)
        HD_UNROLL
    for (int t = 0; t < T; t++)
        sum[r][t] = (vf){0};
    const float *from[FLOAT_TOKENS];
    for (int t = 0; t < T; t++)
        from[t] = x_of(in, slot + t);
    for (int64_t c = 0; c < whole; c += HD_LANES) {
        vf x[FLOAT_TOKENS];
        HD_UNROLL
        for (int t = 0; t < T; t++)
            x[t] = vf_load(from[t] + c);
        HD_UNROLL
        for (int r = 0; r < R; r++) {
            vf weight = load_weights(type, w + (size_t)r * row_bytes, c);
            HD_UNROLL
            for (int t = 0; t < T; t++)
                sum[r][t] = vf_fma(weight, x[t], sum[r][t]);
        }
    }
    for (int r = 0; r < R; r++)
        for (int t = 0; t < T; t++) {
            float rest = 0.0f, last[HD_LANES];
            if (whole < in->cols)
                hd_decode_row(type, w + (size_t)r * row_bytes + (size_t)whole * (size_t)hd_type_block_bytes(type), last,
                              in->cols - whole);
            for (int64_t c = whole; c < in->cols; c++)
                rest += last[c - whole] * from[t][c];
            out[t * ldo + r] = vf_sum(sum[r][t]) + rest;
        }
}

HD_INLINE void float_tokens(const int R, const hd_type type, const uint8_t *w, size_t row_bytes, const inputs *in,
                            int64_t slot, int64_t n, float *out, int64_t ldo)
{
    int64_t t = 0;
    for (; t + FLOAT_TOKENS <= n; t += FLOAT_TOKENS)
        float_tile(R, FLOAT_TOKENS, type, w, row_bytes, in, slot + t, out + t * ldo, ldo);
    for (; t < n; t++)
        float_tile(R, 1, type, w, row_bytes, in, slot + t, out + t * ldo, ldo);
}

HD_INLINE void float_rows(const hd_type type, const uint8_t *w, size_t row_bytes, int64_t rows, const inputs *in,
                          int64_t slot, int64_t n, float *out, int64_t ldo)
{
    int64_t r = 0;
    for (; r + FLOAT_ROWS <= rows; r += FLOAT_ROWS)
        float_tokens(FLOAT_ROWS, type, w + (size_t)r * row_bytes, row_bytes, in, slot, n, out + r, ldo);
    for (; r < rows; r++)
        float_tokens(1, type, w + (size_t)r * row_bytes, row_bytes, in, slot, n, out + r, ldo);
}

/* `row` is room for a decoded row: types without a loader of their own go through float32. */
static void float_block(const hd_matrix *m, int64_t first, int64_t rows, const inputs *in, int64_t slot, int64_t n,
                        float *out, int64_t ldo, float *row)
{
    const uint8_t *w = m->data + (size_t)first * m->row_bytes;
    switch (m->type) {
    case HD_TYPE_F16: float_rows(HD_TYPE_F16, w, m->row_bytes, rows, in, slot, n, out, ldo); break;
    case HD_TYPE_BF16: float_rows(HD_TYPE_BF16, w, m->row_bytes, rows, in, slot, n, out, ldo); break;
    case HD_TYPE_F32: float_rows(HD_TYPE_F32, w, m->row_bytes, rows, in, slot, n, out, ldo); break;
    default:
        for (int64_t r = 0; r < rows; r++) {
            hd_matrix_decode_row(m, first + r, row);
            float_rows(HD_TYPE_F32, (const uint8_t *)row, 0, 1, in, slot, n, out + r, ldo);
        }
    }
}
