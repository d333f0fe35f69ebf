/* kernels/cpu/reference_attend.c: the reference attention operators.
 *
 * Both walk the cached rows in tiles from position 0 and keep a running softmax (arXiv:2205.14135), so that scratch
 * does not grow with the sequence, and a query's result does not depend on how its prompt was cut into chunks. */
#include "kernels/cpu/reference_internal.h"

#include <math.h>
#include <string.h>

#include "tensor/quant.h"

/* Cached rows decoded at a time, and queries that share them. */
#define TILE_ROWS 64
#define TILE_QUERIES 32

void hd_ref_load_row(const hd_rows *rows, int64_t pos, int at, int width, float *out)
{
    (void)hd_decode_row(rows->type, hd_row_at(rows, pos, at), out, width);
}

/* The running softmax of one query: the largest score so far and the sum of exp(score - largest). */
typedef struct softmax_state {
    float max, sum;
} softmax_state;

/* Adds `count` rows of k and v to the state of one query; out is the weighted sum of v, not yet divided. */
static void attend_rows(const float *q, float scale, const float *k, int k_dim, const float *v, int v_dim,
                        int64_t count, softmax_state *s, float *out)
{
    float score[TILE_ROWS];
    float max = s->max;
    for (int64_t i = 0; i < count; i++) {
        score[i] = hd_ref_dot(q, k + i * k_dim, k_dim) * scale;
        max = HD_MAX(max, score[i]);
    }
    float keep = expf(s->max - max); /* 0 for the first tile: exp(-inf) */
    s->sum *= keep;
    for (int d = 0; d < v_dim; d++)
        out[d] *= keep;
    for (int64_t i = 0; i < count; i++) {
        float p = expf(score[i] - max);
        s->sum += p;
        for (int d = 0; d < v_dim; d++)
            out[d] += p * v[i * v_dim + d];
    }
    s->max = max;
}

/* Where the k and v of one tile come from: cached rows as they are, or decompressed latents. */
typedef void (*load_tile_fn)(const void *shape, const hd_attend_span *span, int head, int64_t pos, int64_t count,
                             float *k, float *v, float *scratch);

typedef struct attend_job {
    const hd_exec *ex;
    const hd_attend_span *spans;
    int span_count;
    int heads, k_dim, v_dim;
    float scale;
    load_tile_fn load;
    const void *shape;
} attend_job;

static int64_t query_blocks(const hd_attend_span *span)
{
    return (span->queries + TILE_QUERIES - 1) / TILE_QUERIES;
}

/* One head of queries [q0, q1) over all rows that they may see. */
static void attend_block(const attend_job *job, const hd_attend_span *span, int head, int64_t q0, float *scratch)
{
    float *k = scratch, *v = k + TILE_ROWS * job->k_dim, *rest = v + TILE_ROWS * job->v_dim;
    const float *q = span->q + (int64_t)head * job->k_dim;
    float *out = span->out + (int64_t)head * job->v_dim;
    int64_t q1 = HD_MIN(q0 + TILE_QUERIES, span->queries);
    softmax_state state[TILE_QUERIES];
    for (int64_t i = q0; i < q1; i++) {
        state[i - q0] = (softmax_state){.max = -INFINITY, .sum = 0.0f};
        memset(out + i * span->ldo, 0, (size_t)job->v_dim * sizeof(float));
    }
    int64_t rows = span->pos0 + q1; /* seen by the block's last query */
    for (int64_t pos = 0; pos < rows; pos += TILE_ROWS) {
        int64_t count = HD_MIN(TILE_ROWS, rows - pos);
        job->load(job->shape, span, head, pos, count, k, v, rest);
        for (int64_t i = q0; i < q1; i++) {
            int64_t seen = HD_MIN(count, span->pos0 + i + 1 - pos);
            if (seen <= 0) continue;
            attend_rows(q + i * span->ldq, job->scale, k, job->k_dim, v, job->v_dim, seen, &state[i - q0],
                        out + i * span->ldo);
        }
    }
    for (int64_t i = q0; i < q1; i++)
        for (int d = 0; d < job->v_dim; d++)
            out[i * span->ldo + d] /= state[i - q0].sum;
}

static void attend_items(void *arg, int64_t begin, int64_t end, int thread)
{
    const attend_job *job = arg;
    float *scratch = hd_ref_slice(job->ex, 0, thread);
    int64_t base = 0;
    for (int s = 0; s < job->span_count; s++) {
        int64_t items = query_blocks(&job->spans[s]) * job->heads;
        for (int64_t i = HD_MAX(begin, base); i < HD_MIN(end, base + items); i++) {
            int64_t block = (i - base) / job->heads, head = (i - base) % job->heads;
            attend_block(job, &job->spans[s], (int)head, block * TILE_QUERIES, scratch);
        }
        base += items;
    }
}

static void run_attend(attend_job *job)
{
    int64_t items = 0;
    for (int s = 0; s < job->span_count; s++)
        items += query_blocks(&job->spans[s]) * job->heads;
    hd_pool_for(job->ex->pool, items, 1, attend_items, job);
}

static void load_cached(const void *shape_, const hd_attend_span *span, int head, int64_t pos, int64_t count, float *k,
                        float *v, float *scratch)
{
    const hd_attend_shape *shape = shape_;
    (void)scratch;
    int kv_head = head / (shape->heads / shape->kv_heads);
    for (int64_t i = 0; i < count; i++) {
        hd_ref_load_row(&span->k, pos + i, kv_head * shape->k_dim, shape->k_dim, k + i * shape->k_dim);
        hd_ref_load_row(&span->v, pos + i, kv_head * shape->v_dim, shape->v_dim, v + i * shape->v_dim);
    }
}

void hd_reference_attend(const hd_exec *ex, const hd_attend_shape *shape, const hd_attend_span *spans, int n)
{
    attend_job job = {.ex = ex,
                      .spans = spans,
                      .span_count = n,
                      .heads = shape->heads,
                      .k_dim = shape->k_dim,
                      .v_dim = shape->v_dim,
                      .scale = shape->scale,
                      .load = load_cached,
                      .shape = shape};
    run_attend(&job);
}

/* k = [k_b^T c | rope part], v = v_b c.  scratch holds the tile's latent rows and one decoded weight row. */
static void load_decompressed(const void *shape_, const hd_attend_span *span, int head, int64_t pos, int64_t count,
                              float *k, float *v, float *scratch)
{
    const hd_mla_shape *shape = shape_;
    int k_dim = shape->nope + shape->rope, width = shape->lora + shape->rope;
    float *latent = scratch, *row = scratch + TILE_ROWS * width;
    for (int64_t i = 0; i < count; i++) {
        hd_ref_load_row(&span->k, pos + i, 0, width, latent + i * width);
        memset(k + i * k_dim, 0, (size_t)shape->nope * sizeof(float));
        memcpy(k + i * k_dim + shape->nope, latent + i * width + shape->lora, (size_t)shape->rope * sizeof(float));
    }
    for (int l = 0; l < shape->lora; l++) {
        hd_matrix_decode_row(&shape->k_b[head], l, row);
        for (int64_t i = 0; i < count; i++)
            for (int d = 0; d < shape->nope; d++)
                k[i * k_dim + d] += latent[i * width + l] * row[d];
    }
    for (int d = 0; d < shape->v_dim; d++) {
        hd_matrix_decode_row(&shape->v_b[head], d, row);
        for (int64_t i = 0; i < count; i++)
            v[i * shape->v_dim + d] = hd_ref_dot(row, latent + i * width, shape->lora);
    }
}

void hd_reference_attend_mla(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n)
{
    attend_job job = {.ex = ex,
                      .spans = spans,
                      .span_count = n,
                      .heads = shape->heads,
                      .k_dim = shape->nope + shape->rope,
                      .v_dim = shape->v_dim,
                      .scale = shape->scale,
                      .load = load_decompressed,
                      .shape = shape};
    run_attend(&job);
}

/* Floats of one thread's slice: the larger of what matmul and the two attentions need. */
static size_t slice_floats(const hd_shape_limits *l)
{
    size_t linear = (size_t)l->cols;
    size_t attend = TILE_ROWS * (size_t)(l->k_dim + l->v_dim);
    size_t latents = TILE_ROWS * (size_t)(l->mla_lora + l->mla_rope);
    size_t mla = TILE_ROWS * (size_t)(l->mla_nope + l->mla_rope + l->v_dim) + latents;
    size_t row = (size_t)HD_MAX(l->mla_nope, l->mla_lora);
    return HD_MAX(linear, HD_MAX(attend, mla + row)) + HD_CACHE_LINE; /* the slice is rounded down to a cache line */
}

size_t hd_reference_scratch_bytes(const hd_shape_limits *limits)
{
    return HD_MAX((size_t)limits->threads * slice_floats(limits) * sizeof(float), hd_ref_moe_bytes(limits));
}
