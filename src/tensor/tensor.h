/* tensor/tensor.h: the door of the tensor room: element types, tensors in files, weight matrices.
 *
 * Shapes are row-major with the last dimension contiguous (a GGUF file lists the reverse order; its parser turns it).
 * Block types keep a whole number of blocks in each row.
 */
#ifndef HD_TENSOR_H
#define HD_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

#define HD_MAX_DIMS 4

/* X(name, values per block, bytes per block, GGUF type id or -1): the block sizes of the ggml file formats. */
#define HD_TYPE_LIST(X)                                                                                                \
    X(F32, 1, 4, 0)                                                                                                    \
    X(F16, 1, 2, 1)                                                                                                    \
    X(BF16, 1, 2, 30)                                                                                                  \
    X(F64, 1, 8, 28)                                                                                                   \
    X(I8, 1, 1, 24)                                                                                                    \
    X(I16, 1, 2, 25)                                                                                                   \
    X(I32, 1, 4, 26)                                                                                                   \
    X(I64, 1, 8, 27)                                                                                                   \
    X(U8, 1, 1, -1)                                                                                                    \
    X(F8_E4M3, 1, 1, -1)                                                                                               \
    X(F8_E5M2, 1, 1, -1)                                                                                               \
    X(F8_E8M0, 1, 1, -1)                                                                                               \
    X(Q4_0, 32, 18, 2)                                                                                                 \
    X(Q4_1, 32, 20, 3)                                                                                                 \
    X(Q5_0, 32, 22, 6)                                                                                                 \
    X(Q5_1, 32, 24, 7)                                                                                                 \
    X(Q8_0, 32, 34, 8)                                                                                                 \
    X(Q2_K, 256, 84, 10)                                                                                               \
    X(Q3_K, 256, 110, 11)                                                                                              \
    X(Q4_K, 256, 144, 12)                                                                                              \
    X(Q5_K, 256, 176, 13)                                                                                              \
    X(Q6_K, 256, 210, 14)                                                                                              \
    X(IQ1_S, 256, 50, 19)                                                                                              \
    X(IQ1_M, 256, 56, 29)                                                                                              \
    X(IQ2_XXS, 256, 66, 16)                                                                                            \
    X(IQ2_XS, 256, 74, 17)                                                                                             \
    X(IQ2_S, 256, 82, 22)                                                                                              \
    X(IQ3_XXS, 256, 98, 18)                                                                                            \
    X(IQ3_S, 256, 110, 21)                                                                                             \
    X(IQ4_NL, 32, 18, 20)                                                                                              \
    X(IQ4_XS, 256, 136, 23)                                                                                            \
    X(TQ1_0, 256, 54, 34)                                                                                              \
    X(TQ2_0, 256, 66, 35)                                                                                              \
    X(MXFP4, 32, 17, 39)

#define HD_TYPE_ENUM(name, block, bytes, id) HD_TYPE_##name,
typedef enum hd_type { HD_TYPE_LIST(HD_TYPE_ENUM) HD_TYPE_COUNT } hd_type;
#undef HD_TYPE_ENUM

/* Names are upper case ("Q4_K").  Never fail for a valid type. */
const char *hd_type_name(hd_type type);

/* The type of most values, of values[HD_TYPE_COUNT]; `otherwise` where no type has more than that one. */
hd_type hd_type_commonest(const int64_t *values, hd_type otherwise);
int hd_type_block(hd_type type);       /* values per block */
int hd_type_block_bytes(hd_type type); /* bytes per block */
bool hd_type_from_gguf(uint32_t id, hd_type *out);
bool hd_type_from_name(const char *name, size_t len, hd_type *out);

/* Whether tensors of this type hold weights: numbers in themselves, not counts, codes or scales. */
bool hd_type_is_weight(hd_type type);

/* F32, F16 and BF16: the numbers themselves, without scales, as every format has them. */
bool hd_type_is_plain(hd_type type);

/* Bytes of a row of `cols` values; false when cols is not a whole number of blocks or the size overflows. */
bool hd_type_row_bytes(hd_type type, int64_t cols, size_t *out);

/* A tensor as it lies in a file.  The bytes belong to the checkpoint that gave it. */
typedef struct hd_tensor {
    const char *name; /* NUL-terminated, owned by the checkpoint */
    hd_type type;
    int dims;                   /* 0 .. HD_MAX_DIMS; 0 is a scalar */
    int64_t shape[HD_MAX_DIMS]; /* row-major; unused entries are 1 */
    const void *data;
    size_t bytes;
} hd_tensor;

/* The product of its shape, which the formats room saw to fit; 1 of a scalar. */
static inline int64_t hd_tensor_values(const hd_tensor *t)
{
    int64_t values = 1;
    for (int d = 0; d < t->dims; d++)
        values *= t->shape[d];
    return values;
}

/* A weight matrix W of `rows` outputs and `cols` inputs: y = W x.
 *
 * `data` is the matrix as it lies in the file (row i at data + i * row_bytes).  F8_E4M3 and I8 carry scales that lie
 * apart: element (r, c) is multiplied by scale[(row0 + r) / scale_rows * scale_stride + c / scale_cols].  Of F8_E4M3
 * they are blocks' (DeepSeek-V3's weight_scale_inv, 128 x 128), of I8 rows' (scale_rows 1, scale_cols = cols: the
 * weight_scale of compressed-tensors, "channel").  A backend that prepared the matrix has put its own layout into
 * `packed`, whose form `layout` tells; 0 means that there is none. */
typedef struct hd_matrix {
    hd_type type;
    int64_t rows, cols;
    const uint8_t *data;
    size_t row_bytes;
    const float *scale; /* NULL: none */
    int64_t scale_stride;
    int64_t scale_rows, scale_cols; /* that a scale stands for; at least 1 */
    int64_t row0;                   /* row of the scale grid's origin that this matrix starts at */
    int layout;                     /* backend's own number */
    void *packed;                   /* owned by whoever prepared it: hd_backend.unprepare releases it */
    size_t packed_bytes;
} hd_matrix;

/* The scales of a row's blocks, one for each scale_cols columns; `m` has scales. */
static inline const float *hd_matrix_row_scales(const hd_matrix *m, int64_t row)
{
    return m->scale + (m->row0 + row) / m->scale_rows * m->scale_stride;
}

/* Decodes row `row` of `m` to cols float32 values, block scales applied.  Thread-safe. */
void hd_matrix_decode_row(const hd_matrix *m, int64_t row, float *out);

/* The rows [row, row + rows) of `m` as a matrix of their own, sharing its bytes.  `m` must not be packed. */
hd_matrix hd_matrix_slice(const hd_matrix *m, int64_t row, int64_t rows);

#endif
