/* kernels/cpu/reference.h: the complete reference backend: portable C, float32 throughout.
 *
 * It is the twin that every faster kernel is checked against, and the fallback for what a tier does not override: its
 * operators read cached rows of any type.  Contracts: tensor/backend.h.
 */
#ifndef HD_KERNELS_REFERENCE_H
#define HD_KERNELS_REFERENCE_H

#include "tensor/backend.h"

extern const hd_backend hd_backend_reference;

size_t hd_reference_scratch_bytes(const hd_shape_limits *limits);
hd_status hd_reference_prepare(const hd_exec *ex, hd_matrix *m);
void hd_reference_unprepare(hd_matrix *m);
void hd_reference_embed(const hd_exec *ex, float *out, const hd_matrix *m, const int32_t *ids, int64_t n);
void hd_reference_matmul(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias,
                         const float *x, int64_t ldx, int64_t n);
void hd_reference_matmul_shared(const hd_exec *ex, const hd_product *products, int count, const float *x, int64_t ldx,
                                int64_t n);
void hd_reference_matmul_heads(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w, int count,
                               const float *x, int64_t ldx, int64_t x_step, int64_t n);
void hd_reference_rms_norm(const hd_exec *ex, float *out, int64_t ldo, const float *x, int64_t ldx, const float *weight,
                           int64_t cols, float eps, int64_t n);
void hd_reference_rope(const hd_exec *ex, float *x, int64_t ldx, int64_t step, int count, const hd_rope *rope,
                       int64_t n);
void hd_reference_store_rows(const hd_exec *ex, const hd_rows *rows, int at, const float *x, int64_t ldx, int width,
                             int64_t pos0, int64_t n);
void hd_reference_attend(const hd_exec *ex, const hd_attend_shape *shape, const hd_attend_span *spans, int n);
void hd_reference_attend_mla(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n);
void hd_reference_swiglu(const hd_exec *ex, float *gate, const float *up, int64_t cols, int64_t n);
void hd_reference_add_low_rank(float *y, int64_t ldy, const float *b, const float *t, int64_t rank, int64_t rows,
                               int64_t n);
void hd_reference_add(const hd_exec *ex, float *x, const float *y, int64_t cols, int64_t n);
void hd_reference_moe(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                      const float *weight, int used, int64_t n);

#endif
