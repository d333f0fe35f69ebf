/* recorder.h: a table of operators that notes the squares of every matrix's inputs in the plainest way, in double, for
 * comparison with what quantize/importance.c gathers.  One table at a time; the model's cache must be float32. */
#ifndef HD_TESTS_RECORDER_H
#define HD_TESTS_RECORDER_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "unit/engine_fixture.h"

enum { RECORDS = 1024, RECORD_COLS = 160 };

typedef struct record {
    const uint8_t *data; /* the matrix */
    double sums[RECORD_COLS], count;
} record;

static record records[RECORDS];
static size_t record_count;
static const hd_backend *recorded;        /* the real table */
static const uint8_t *latent_of[RECORDS]; /* joint attn_kv_b of each layer, where the test says so */
static size_t latent_layers, latent_call;

static inline record *record_of(const uint8_t *data)
{
    for (size_t i = 0; i < record_count; i++)
        if (records[i].data == data) return &records[i];
    assert_true(record_count < RECORDS);
    records[record_count] = (record){.data = data};
    return &records[record_count++];
}

static inline void note(const uint8_t *data, const float *x, int64_t cols)
{
    record *r = record_of(data);
    assert_true(cols <= RECORD_COLS);
    for (int64_t c = 0; c < cols; c++)
        r->sums[c] += (double)x[c] * (double)x[c];
    r->count++;
}

static inline void rec_matmul(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias,
                              const float *x, int64_t ldx, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        note(w->data, x + i * ldx, w->cols);
    recorded->matmul(ex, y, ldy, w, bias, x, ldx, n);
}

static inline void rec_matmul_shared(const hd_exec *ex, const hd_product *products, int count, const float *x,
                                     int64_t ldx, int64_t n)
{
    for (int p = 0; p < count; p++)
        for (int64_t i = 0; i < n; i++)
            note(products[p].w->data, x + i * ldx, products[p].w->cols);
    recorded->matmul_shared(ex, products, count, x, ldx, n);
}

static inline void rec_matmul_heads(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w,
                                    int count, const float *x, int64_t ldx, int64_t x_step, int64_t n)
{
    for (int h = 0; h < count; h++)
        for (int64_t i = 0; i < n; i++)
            note(w[h].data, x + i * ldx + h * x_step, w[h].cols);
    recorded->matmul_heads(ex, y, ldy, y_step, w, count, x, ldx, x_step, n);
}

/* Layers store their latents in turn, of tiny_deepseek's 12 values. */
static inline void rec_store_rows(const hd_exec *ex, const hd_rows *rows, int at, const float *x, int64_t ldx,
                                  int width, int64_t pos0, int64_t n)
{
    for (int64_t i = 0; latent_layers && i < n; i++)
        note(latent_of[latent_call % latent_layers], x + i * ldx, 12);
    latent_call++;
    recorded->store_rows(ex, rows, at, x, ldx, width, pos0, n);
}

static inline double product_of(const hd_matrix *w, int64_t row, const float *x)
{
    static float values[RECORD_COLS];
    double sum = 0;
    hd_matrix_decode_row(w, row, values);
    for (int64_t c = 0; c < w->cols; c++)
        sum += (double)values[c] * (double)x[c];
    return sum;
}

static inline void rec_moe(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                           const float *weight, int used, int64_t n)
{
    float act[RECORD_COLS];
    for (int64_t p = 0; p < n * used; p++) {
        const hd_matrix *gate = &experts->gate[ids[p]], *up = &experts->up[ids[p]];
        const float *in = x + p / used * gate->cols;
        note(gate->data, in, gate->cols);
        note(up->data, in, up->cols);
        for (int64_t r = 0; r < gate->rows; r++) {
            double g = product_of(gate, r, in);
            act[r] = (float)(g / (1 + exp(-g)) * product_of(up, r, in));
        }
        note(experts->down[ids[p]].data, act, gate->rows);
    }
    recorded->moe(ex, out, experts, x, ids, weight, used, n);
}

/* One query of one head: what k_b and v_b read in the absorbed form, the latter from the definition of attention. */
static inline void rec_query(const hd_mla_shape *s, const hd_attend_span *span, int h, int64_t i)
{
    static double scores[1024], keys[RECORD_COLS];
    static float row[RECORD_COLS];
    const float *q = span->q + i * span->ldq + (int64_t)h * (s->nope + s->rope);
    float latent[RECORD_COLS] = {0};
    double all = 0, most = -INFINITY;
    memset(keys, 0, sizeof keys);
    note(s->k_b[h].data, q, s->nope);
    for (int l = 0; l < s->lora; l++) /* the query in the space of latents */
        keys[l] = product_of(&s->k_b[h], l, q);
    for (int64_t p = 0; p <= span->pos0 + i; p++) {
        memcpy(row, hd_row_at(&span->k, p, 0), (size_t)(s->lora + s->rope) * sizeof(float));
        scores[p] = 0;
        for (int l = 0; l < s->lora; l++)
            scores[p] += keys[l] * (double)row[l];
        for (int r = 0; r < s->rope; r++)
            scores[p] += (double)q[s->nope + r] * (double)row[s->lora + r];
        scores[p] *= (double)s->scale;
        most = HD_MAX(most, scores[p]);
    }
    for (int64_t p = 0; p <= span->pos0 + i; p++)
        all += exp(scores[p] - most);
    for (int64_t p = 0; p <= span->pos0 + i; p++) {
        memcpy(row, hd_row_at(&span->k, p, 0), (size_t)s->lora * sizeof(float));
        for (int l = 0; l < s->lora; l++)
            latent[l] += (float)(exp(scores[p] - most) / all) * row[l];
    }
    note(s->v_b[h].data, latent, s->lora);
}

static inline void rec_attend_mla(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n)
{
    for (int j = 0; j < n; j++)
        for (int64_t i = 0; i < spans[j].queries; i++)
            for (int h = 0; h < shape->heads; h++)
                rec_query(shape, &spans[j], h, i);
    recorded->attend_mla(ex, shape, spans, n);
}

/* The reference tier's table, recorded from now on. */
static inline const hd_backend *recorder(void)
{
    static hd_backend table;
    hd_error err;
    must(hd_kernels_cpu(&recorded, HD_CPU_REFERENCE, &err), &err);
    memset(records, 0, sizeof records);
    record_count = latent_layers = latent_call = 0;
    table = *recorded;
    table.matmul = rec_matmul;
    table.matmul_shared = rec_matmul_shared;
    table.matmul_heads = rec_matmul_heads;
    table.store_rows = rec_store_rows;
    table.attend_mla = rec_attend_mla;
    table.moe = rec_moe;
    return &table;
}

#endif
