/* kernels/cpu/reference.c: the reference operators without weights, and the table. */
#include "kernels/cpu/reference_internal.h"

#include <math.h>

#include "tensor/quant.h"

/* Values that a thread takes at a time in element-wise operators. */
#define ELEMENT_GRAIN 16384

hd_status hd_reference_prepare(const hd_exec *ex, hd_matrix *m)
{
    (void)ex;
    m->layout = 0; /* reads the file's own layout */
    return HD_OK;
}

void hd_reference_unprepare(hd_matrix *m)
{
    (void)m;
}

float hd_ref_silu(float x)
{
    return x / (1.0f + expf(-x));
}

/* Rows or values: out = f(out, x, weight). */
typedef struct rows_job {
    float *out;
    const float *x, *weight;
    int64_t ldo, ldx, cols;
    float eps;
} rows_job;

static void norm_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const rows_job *job = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *x = job->x + i * job->ldx;
        float *out = job->out + i * job->ldo;
        float scale = 1.0f / sqrtf(hd_ref_dot(x, x, job->cols) / (float)job->cols + job->eps);
        for (int64_t c = 0; c < job->cols; c++)
            out[c] = x[c] * scale * job->weight[c];
    }
}

void hd_reference_rms_norm(const hd_exec *ex, float *out, int64_t ldo, const float *x, int64_t ldx, const float *weight,
                           int64_t cols, float eps, int64_t n)
{
    rows_job job = {.out = out, .x = x, .weight = weight, .ldo = ldo, .ldx = ldx, .cols = cols, .eps = eps};
    hd_pool_for(ex->pool, n, HD_MAX(1, ELEMENT_GRAIN / cols), norm_rows, &job);
}

typedef struct rope_job {
    float *x;
    int64_t ldx, step;
    int count;
    const hd_rope *rope;
} rope_job;

static void rotate(float *x, const hd_rope *rope, const float *cosines)
{
    int half = rope->dim / 2;
    int gap = rope->adjacent ? 1 : half; /* from the first to the second value of a pair */
    int stride = rope->adjacent ? 2 : 1;
    for (int i = 0; i < half; i++) {
        float c = cosines[i], s = cosines[half + i];
        float a = x[i * stride], b = x[i * stride + gap];
        x[i * stride] = a * c - b * s;
        x[i * stride + gap] = a * s + b * c;
    }
}

static void rope_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const rope_job *job = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        for (int v = 0; v < job->count; v++)
            rotate(job->x + i * job->ldx + v * job->step, job->rope, job->rope->table + i * job->rope->dim);
}

void hd_reference_rope(const hd_exec *ex, float *x, int64_t ldx, int64_t step, int count, const hd_rope *rope,
                       int64_t n)
{
    rope_job job = {.x = x, .ldx = ldx, .step = step, .count = count, .rope = rope};
    hd_pool_for(ex->pool, n, HD_MAX(1, ELEMENT_GRAIN / ((int64_t)count * rope->dim)), rope_rows, &job);
}

void hd_reference_store_rows(const hd_exec *ex, const hd_rows *rows, int at, const float *x, int64_t ldx, int width,
                             int64_t pos0, int64_t n)
{
    (void)ex;
    for (int64_t i = 0; i < n; i++)
        (void)hd_encode_row(rows->type, x + i * ldx, hd_row_at(rows, pos0 + i, at), width);
}

static void swiglu_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const rows_job *job = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        job->out[i] = hd_ref_silu(job->out[i]) * job->x[i];
}

void hd_reference_swiglu(const hd_exec *ex, float *gate, const float *up, int64_t cols, int64_t n)
{
    rows_job job = {.out = gate, .x = up};
    hd_pool_for(ex->pool, cols * n, ELEMENT_GRAIN / 4, swiglu_range, &job);
}

static void add_range(void *arg, int64_t begin, int64_t end, int thread)
{
    const rows_job *job = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        job->out[i] += job->x[i];
}

void hd_reference_add_low_rank(float *y, int64_t ldy, const float *b, const float *t, int64_t rank, int64_t rows,
                               int64_t n)
{
    for (int64_t i = 0; i < n; i++, t += rank)
        for (int64_t r = 0; r < rows; r++) {
            float sum = 0.0f;
            for (int64_t j = 0; j < rank; j++)
                sum += t[j] * b[j * HD_LOW_RANK_ROWS + r];
            y[i * ldy + r] += sum;
        }
}

void hd_reference_add(const hd_exec *ex, float *x, const float *y, int64_t cols, int64_t n)
{
    rows_job job = {.out = x, .x = y};
    hd_pool_for(ex->pool, cols * n, ELEMENT_GRAIN, add_range, &job);
}

const hd_backend hd_backend_reference = {
    .name = "reference",
    .tier = HD_CPU_REFERENCE,
    .cache_type = HD_TYPE_F32,
    .scratch_bytes = hd_reference_scratch_bytes,
    .prepare = hd_reference_prepare,
    .unprepare = hd_reference_unprepare,
    .embed = hd_reference_embed,
    .matmul = hd_reference_matmul,
    .matmul_shared = hd_reference_matmul_shared,
    .matmul_heads = hd_reference_matmul_heads,
    .rms_norm = hd_reference_rms_norm,
    .rope = hd_reference_rope,
    .store_rows = hd_reference_store_rows,
    .attend = hd_reference_attend,
    .attend_mla = hd_reference_attend_mla,
    .swiglu = hd_reference_swiglu,
    .add = hd_reference_add,
    .add_low_rank = hd_reference_add_low_rank,
    .moe = hd_reference_moe,
};
