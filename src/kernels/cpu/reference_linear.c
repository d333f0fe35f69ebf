/* kernels/cpu/reference_linear.c: embed and matmul of the reference backend.
 *
 * One weight row is decoded to float32 into the thread's scratch and used for every token of the batch. */
#include "kernels/cpu/reference_internal.h"

typedef struct matmul_job {
    const hd_exec *ex;
    float *y;
    const float *x, *bias;
    const hd_matrix *w;
    int64_t ldy, ldx, n;
    int64_t y_step, x_step; /* between matrices, when several run as one */
} matmul_job;

static void matmul_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const matmul_job *job = arg;
    float *row = hd_ref_slice(job->ex, 0, thread);
    int64_t rows = job->w[0].rows;
    for (int64_t i = begin; i < end; i++) {
        int64_t j = i / rows, r = i % rows;
        const hd_matrix *w = &job->w[j];
        const float *x = job->x + j * job->x_step;
        float *y = job->y + j * job->y_step + r;
        hd_matrix_decode_row(w, r, row);
        float bias = job->bias ? job->bias[r] : 0.0f;
        for (int64_t t = 0; t < job->n; t++)
            y[t * job->ldy] = hd_ref_dot(row, x + t * job->ldx, w->cols) + bias;
    }
}

void hd_reference_matmul(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias,
                         const float *x, int64_t ldx, int64_t n)
{
    matmul_job job = {.ex = ex, .y = y, .x = x, .bias = bias, .w = w, .ldy = ldy, .ldx = ldx, .n = n};
    hd_pool_for(ex->pool, w->rows, HD_REF_ROW_GRAIN, matmul_rows, &job);
}

void hd_reference_matmul_shared(const hd_exec *ex, const hd_product *products, int count, const float *x, int64_t ldx,
                                int64_t n)
{
    for (const hd_product *p = products; p < products + count; p++)
        hd_reference_matmul(ex, p->y, p->ldy, p->w, p->bias, x, ldx, n);
}

void hd_reference_matmul_heads(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w, int count,
                               const float *x, int64_t ldx, int64_t x_step, int64_t n)
{
    matmul_job job = {
        .ex = ex, .y = y, .x = x, .w = w, .ldy = ldy, .ldx = ldx, .n = n, .y_step = y_step, .x_step = x_step};
    hd_pool_for(ex->pool, w[0].rows * count, HD_REF_ROW_GRAIN, matmul_rows, &job);
}

typedef struct embed_job {
    float *out;
    const hd_matrix *m;
    const int32_t *ids;
} embed_job;

static void embed_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const embed_job *job = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        hd_matrix_decode_row(job->m, job->ids[i], job->out + i * job->m->cols);
}

void hd_reference_embed(const hd_exec *ex, float *out, const hd_matrix *m, const int32_t *ids, int64_t n)
{
    embed_job job = {.out = out, .m = m, .ids = ids};
    hd_pool_for(ex->pool, n, 1, embed_rows, &job);
}
