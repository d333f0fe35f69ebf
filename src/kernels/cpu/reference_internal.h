/* kernels/cpu/reference_internal.h: pieces that the files of the reference backend share. */
#ifndef HD_KERNELS_REFERENCE_INTERNAL_H
#define HD_KERNELS_REFERENCE_INTERNAL_H

#include "kernels/cpu/reference.h"

/* Weight rows that a thread takes at a time: few enough to share small matrices, enough to keep the counter quiet. */
#define HD_REF_ROW_GRAIN 16

/* Each thread's slice of ex->scratch, from byte `from` on, starts at a cache line. */
static inline float *hd_ref_slice(const hd_exec *ex, size_t from, int thread)
{
    size_t each = (ex->scratch_bytes - from) / (size_t)hd_pool_threads(ex->pool) / HD_CACHE_LINE * HD_CACHE_LINE;
    return (float *)(void *)(ex->scratch + from + (size_t)thread * each);
}

/* Sum of a[i]*b[i].  Sixteen running sums: vectorizable, and the error of a long sum stays small. */
static inline float hd_ref_dot(const float *a, const float *b, int64_t n)
{
    float acc[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++)
            acc[j] += a[i + j] * b[i + j];
    for (int64_t j = 0; i + j < n; j++)
        acc[j] += a[i + j] * b[i + j];
    for (int w = 8; w; w /= 2)
        for (int j = 0; j < w; j++)
            acc[j] += acc[j + w];
    return acc[0];
}

/* x * sigmoid(x) (arXiv:1606.08415). */
float hd_ref_silu(float x);

/* Decodes `width` values of the cached row of position `pos`, from value `at` of the row on. */
void hd_ref_load_row(const hd_rows *rows, int64_t pos, int at, int width, float *out);

/* Bytes that hd_reference_moe needs for the shapes in `l`, all threads together; 0 without experts. */
size_t hd_ref_moe_bytes(const hd_shape_limits *l);

#endif
