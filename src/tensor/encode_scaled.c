/* tensor/encode_scaled.c: 8-bit codes whose float32 scales lie apart from them; see encode.h. */
#include <math.h>
#include <string.h>

#include "tensor/encode.h"
#include "tensor/quant.h"

#define F8_LARGEST 448.0f
#define I8_LARGEST 127.0f

/* The largest magnitude, or NaN where a number is not finite. */
static float largest_of(const float *x, int64_t n, float largest)
{
    float none = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        largest = a > largest ? a : largest;
        none += x[i] * 0.0f; /* 0, or NaN for good */
    }
    return none == 0.0f ? largest : NAN;
}

/* What `largest` is `code` of.  Where that is so small that it is 0, all codes are 0 too, and any scale will do; where
 * it was rounded up so that code * scale is no longer finite, the next one below. */
static float scale_of(float largest, float code)
{
    float scale = largest / code;
    if (scale == 0.0f) return 1.0f;
    return isinf(scale * code) && isfinite(scale) ? nextafterf(scale, 0.0f) : scale;
}

/* Of one block; its rows are `cols` apart. */
static float f8_scale(const float *src, int64_t cols, int64_t high, int64_t wide)
{
    float largest = 0.0f;
    for (int64_t r = 0; r < high; r++)
        largest = largest_of(src + r * cols, wide, largest);
    return scale_of(largest, F8_LARGEST);
}

void hd_f8_scales(const float *src, int64_t rows, int64_t cols, float *scale)
{
    for (int64_t c = 0; c < cols; c += HD_F8_BLOCK)
        scale[c / HD_F8_BLOCK] = f8_scale(src + c, cols, rows, HD_MIN(cols - c, HD_F8_BLOCK));
}

static void encode_f8_block(const float *src, int64_t cols, int64_t high, int64_t wide, uint8_t *dst, float *scale)
{
    *scale = f8_scale(src, cols, high, wide);
    for (int64_t r = 0; r < high; r++)
        for (int64_t c = 0; c < wide; c++)
            dst[r * cols + c] = hd_f32_to_e4m3(src[r * cols + c] / *scale);
}

void hd_encode_f8_blocks(const float *src, int64_t rows, int64_t cols, uint8_t *dst, float *scale, int64_t scale_stride)
{
    for (int64_t r = 0; r < rows; r += HD_F8_BLOCK, scale += scale_stride)
        for (int64_t c = 0; c < cols; c += HD_F8_BLOCK)
            encode_f8_block(src + r * cols + c, cols, HD_MIN(rows - r, HD_F8_BLOCK), HD_MIN(cols - c, HD_F8_BLOCK),
                            dst + r * cols + c, scale + c / HD_F8_BLOCK);
}

/* The next bfloat16 above, unless 127 of them are no longer finite: then the one below. */
static float i8_scale(const float *src, int64_t cols)
{
    float scale = scale_of(largest_of(src, cols, 0.0f), I8_LARGEST), up;
    uint32_t bits;
    memcpy(&bits, &scale, sizeof bits);
    bits = (bits + 0xffff) & 0xffff0000;
    memcpy(&up, &bits, sizeof up);
    if (!isinf(up * I8_LARGEST)) return up;
    bits -= 0x10000;
    memcpy(&up, &bits, sizeof up);
    return up;
}

void hd_i8_scales(const float *src, int64_t rows, int64_t cols, float *scale)
{
    for (int64_t r = 0; r < rows; r++)
        scale[r] = i8_scale(src + r * cols, cols);
}

void hd_encode_i8_rows(const float *src, int64_t rows, int64_t cols, int8_t *dst, float *scale)
{
    hd_i8_scales(src, rows, cols, scale);
    for (int64_t r = 0; r < rows; r++, src += cols, dst += cols) {
        float s = scale[r];
        for (int64_t c = 0; c < cols; c++) {
            /* Where the scale was rounded down codes could be too large; NaN becomes a number. */
            float code = fminf(fmaxf(src[c] / s, -I8_LARGEST), I8_LARGEST);
            dst[c] = (int8_t)rintf(code);
        }
    }
}
