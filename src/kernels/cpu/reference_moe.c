/* kernels/cpu/reference_moe.c: the experts of one layer, in float32.
 *
 * A pair is one (token, choice).  Pairs are sorted by expert first, so that each weight row is decoded once for all
 * tokens that need it.  Each token sums its experts in the order of its choices, whatever else is in the batch. */
#include "kernels/cpu/reference_internal.h"

typedef struct moe_job {
    const hd_exec *ex;
    const hd_experts *experts;
    float *out;
    const float *x, *weight;
    const int32_t *ids;
    int64_t n;
    int used;
    /* in ex->scratch: */
    int32_t *order; /* [pairs] pair indices, grouped by expert */
    int32_t *first; /* [experts + 1] start of each group in order */
    float *act;     /* [pairs][ffn] silu(gate x) * up x */
    size_t taken;   /* bytes of scratch that these take; the threads' slices follow */
} moe_job;

static size_t round_up(size_t bytes)
{
    return (bytes + HD_CACHE_LINE - 1) / HD_CACHE_LINE * HD_CACHE_LINE;
}

static void lay_out(moe_job *job, uint8_t *base)
{
    size_t pairs = (size_t)job->n * (size_t)job->used, at = 0;
    job->order = (int32_t *)(void *)(base + at);
    at += round_up(pairs * sizeof(int32_t));
    job->first = (int32_t *)(void *)(base + at);
    at += round_up(((size_t)job->experts->count + 1) * sizeof(int32_t));
    job->act = (float *)(void *)(base + at);
    at += round_up(pairs * (size_t)job->experts->gate[0].rows * sizeof(float));
    job->taken = at;
}

size_t hd_ref_moe_bytes(const hd_shape_limits *l)
{
    if (!l->experts) return 0;
    size_t pairs = (size_t)l->tokens * (size_t)l->experts_used;
    size_t shared = round_up(pairs * sizeof(int32_t)) + round_up(((size_t)l->experts + 1) * sizeof(int32_t)) +
                    round_up(pairs * (size_t)l->expert_ffn * sizeof(float));
    size_t slice = round_up(((size_t)HD_MAX(l->hidden, l->expert_ffn) * 2 + pairs) * sizeof(float));
    return shared + (size_t)l->threads * (slice + HD_CACHE_LINE);
}

/* Counting sort of the pairs by expert; stable, so tokens stay in order within a group. */
static void group_pairs(moe_job *job)
{
    const int32_t *ids = job->ids;
    int64_t pairs = job->n * job->used;
    int experts = job->experts->count;
    for (int e = 0; e <= experts; e++)
        job->first[e] = 0;
    for (int64_t p = 0; p < pairs; p++)
        if (ids[p] >= 0) job->first[ids[p] + 1]++;
    for (int e = 0; e < experts; e++)
        job->first[e + 1] += job->first[e];
    for (int64_t p = 0; p < pairs; p++)
        if (ids[p] >= 0) job->order[job->first[ids[p]]++] = (int32_t)p;
    for (int e = experts; e > 0; e--) /* each start was moved to its end: shift back */
        job->first[e] = job->first[e - 1];
    job->first[0] = 0;
}

/* Items are (expert, row of gate and up). */
static void gate_up_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *job = arg;
    const hd_experts *experts = job->experts;
    int64_t ffn = experts->gate[0].rows, hidden = experts->gate[0].cols;
    float *gate = hd_ref_slice(job->ex, job->taken, thread), *up = gate + hidden;
    for (int64_t i = begin; i < end; i++) {
        int64_t e = i / ffn, r = i % ffn;
        if (job->first[e] == job->first[e + 1]) continue;
        hd_matrix_decode_row(&experts->gate[e], r, gate);
        hd_matrix_decode_row(&experts->up[e], r, up);
        for (int32_t k = job->first[e]; k < job->first[e + 1]; k++) {
            int32_t pair = job->order[k];
            const float *x = job->x + (int64_t)(pair / job->used) * hidden;
            job->act[(int64_t)pair * ffn + r] = hd_ref_silu(hd_ref_dot(gate, x, hidden)) * hd_ref_dot(up, x, hidden);
        }
    }
}

/* Items are rows of the output. */
static void down_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const moe_job *job = arg;
    const hd_experts *experts = job->experts;
    int64_t ffn = experts->down[0].cols, hidden = experts->down[0].rows;
    float *row = hd_ref_slice(job->ex, job->taken, thread), *part = row + ffn;
    for (int64_t r = begin; r < end; r++) {
        for (int e = 0; e < experts->count; e++) {
            if (job->first[e] == job->first[e + 1]) continue;
            hd_matrix_decode_row(&experts->down[e], r, row);
            for (int32_t k = job->first[e]; k < job->first[e + 1]; k++)
                part[job->order[k]] = hd_ref_dot(row, job->act + (int64_t)job->order[k] * ffn, ffn);
        }
        for (int64_t t = 0; t < job->n; t++) {
            float sum = 0.0f;
            for (int64_t p = t * job->used; p < (t + 1) * job->used; p++)
                if (job->ids[p] >= 0) sum += job->weight[p] * part[p];
            job->out[t * hidden + r] = sum;
        }
    }
}

void hd_reference_moe(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                      const float *weight, int used, int64_t n)
{
    moe_job job = {
        .ex = ex, .experts = experts, .out = out, .x = x, .weight = weight, .ids = ids, .n = n, .used = used};
    lay_out(&job, ex->scratch);
    group_pairs(&job);
    hd_pool_for(ex->pool, experts->gate[0].rows * experts->count, HD_REF_ROW_GRAIN, gate_up_rows, &job);
    hd_pool_for(ex->pool, experts->down[0].rows, HD_REF_ROW_GRAIN, down_rows, &job);
}
