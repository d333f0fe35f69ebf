/* quantize/errors.c: see errors.h. */
#include "quantize/errors.h"

#include <math.h>
#include <string.h>

#include "quantize/importance.h"
#include "tensor/quant.h"

#define PIECE_VALUES ((int64_t)1 << 15) /* of a thread at a time: stays in its caches */
#define STEP_PIECES 256                 /* whose sums are kept: between them progress is shown */
#define LANES 8                         /* sums side by side, which compilers make vectors of */

/* Of a piece. */
typedef struct sums {
    double squared, all, weighted_squared, weighted_all;
} sums;

typedef struct pass {
    const hd_source *from;
    const hd_error_options *options;
    int64_t piece;          /* values that there is room for */
    float *x, *y, *weights; /* [threads][piece] */
    float *scratch;         /* [threads][hd_source_scratch] */
    float *columns;         /* of the tensor under way: what errors cost, [matrices][cols]; NULL: nothing is known */
    sums step[STEP_PIECES]; /* of the pieces under way */
    uint64_t done, all;     /* values */
    /* the tensor under way */
    size_t tensor;
    const hd_tensor *before, *after;
    int64_t cols, rows, piece_rows, matrix_rows, first; /* first: piece that step[0] is of */
} pass;

static void add_plain(sums *s, const float *x, const float *y, int64_t n)
{
    double squared[LANES] = {0}, all[LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        double a = (double)x[i], d = a - (double)y[i];
        squared[i % LANES] += d * d;
        all[i % LANES] += a * a;
    }
    for (int l = 0; l < LANES; l++) {
        s->squared += squared[l];
        s->all += all[l];
    }
}

static void add_weighted(sums *s, const float *x, const float *y, const float *w, int64_t n)
{
    double squared[LANES] = {0}, all[LANES] = {0};
    for (int64_t i = 0; i < n; i++) {
        double a = (double)x[i], d = a - (double)y[i], weight = (double)w[i];
        squared[i % LANES] += weight * d * d;
        all[i % LANES] += weight * a * a;
    }
    for (int l = 0; l < LANES; l++) {
        s->weighted_squared += squared[l];
        s->weighted_all += all[l];
    }
}

/* Items are pieces of the step. */
static void add_pieces(void *arg, int64_t begin, int64_t end, int thread)
{
    pass *p = arg;
    float *x = p->x + thread * p->piece, *y = p->y + thread * p->piece;
    float *scratch = p->scratch + (size_t)thread * hd_source_scratch(p->from);
    for (int64_t i = begin; i < end; i++) {
        int64_t row = (p->first + i) * p->piece_rows, rows = HD_MIN(p->piece_rows, p->rows - row), n = rows * p->cols;
        int64_t blocks = row * p->cols / hd_type_block(p->after->type);
        const uint8_t *data = (const uint8_t *)p->after->data + blocks * hd_type_block_bytes(p->after->type);
        hd_source_rows(p->from, p->tensor, row, rows, x, scratch);
        (void)hd_decode_row(p->after->type, data, y, n);
        p->step[i] = (sums){0};
        add_plain(&p->step[i], x, y, n);
        if (!p->columns) continue;
        float *weights = p->weights + thread * p->piece;
        hd_importance_weights(weights, p->columns, p->matrix_rows, p->cols, row * p->cols, n);
        add_weighted(&p->step[i], x, y, weights, n);
    }
}

static void add_step(hd_tensor_error *e, const pass *p, int64_t pieces)
{
    for (int64_t i = 0; i < pieces; i++) {
        e->squared += p->step[i].squared;
        e->all += p->step[i].all;
        e->weighted_squared += p->step[i].weighted_squared;
        e->weighted_all += p->step[i].weighted_all;
    }
}

static hd_status measure_tensor(pass *p, hd_tensor_error *e, const hd_checkpoint *written, hd_error *err)
{
    const hd_tensor *t = p->before;
    p->cols = hd_tensor_cols(t);
    p->rows = hd_tensor_rows(t);
    p->matrix_rows = t->dims > 1 ? t->shape[t->dims - 2] : 1;
    if (p->cols * p->rows == 0 || !hd_type_is_weight(t->type) || !hd_type_is_weight(p->after->type)) return HD_OK;
    p->piece_rows = HD_MAX(PIECE_VALUES / p->cols, 1);
    hd_free(p->columns);
    HD_TRY(hd_importance_of(&p->columns, p->options->imatrix, t, err));
    e->weighted = p->columns != NULL;
    int64_t pieces = (p->rows + p->piece_rows - 1) / p->piece_rows;
    for (p->first = 0; p->first < pieces; p->first += STEP_PIECES) {
        int64_t n = HD_MIN(pieces - p->first, STEP_PIECES);
        uint64_t done = p->done + (uint64_t)(p->first * p->piece_rows * p->cols);
        if (p->options->progress && !p->options->progress(p->options->arg, done, p->all))
            return hd_fail(err, HD_E_CANCELLED, "interrupted");
        hd_pool_for(p->options->pool, n, 1, add_pieces, p);
        add_step(e, p, n);
    }
    HD_TRY(hd_checkpoint_check(hd_source_checkpoint(p->from), err));
    HD_TRY(hd_checkpoint_check(written, err));
    hd_source_drop(p->from, p->tensor);
    hd_checkpoint_drop(written, p->after->data, p->after->bytes);
    return HD_OK;
}

static bool take_memory(pass *p)
{
    size_t threads = (size_t)hd_pool_threads(p->options->pool);
    p->piece = PIECE_VALUES;
    for (size_t i = 0; i < hd_source_count(p->from); i++)
        p->piece = HD_MAX(p->piece, hd_tensor_cols(hd_source_tensor(p->from, i)));
    size_t values = threads * (size_t)p->piece;
    p->x = hd_alloc_array(values, sizeof *p->x);
    p->y = hd_alloc_array(values, sizeof *p->y);
    p->weights = hd_alloc_array(p->options->imatrix ? values : 1, sizeof *p->weights);
    p->scratch = hd_alloc_array(threads * HD_MAX(hd_source_scratch(p->from), 1), sizeof *p->scratch);
    return p->x && p->y && p->weights && p->scratch;
}

static bool same_shape(const hd_tensor *a, const hd_tensor *b)
{
    bool same = a->dims == b->dims;
    for (int d = 0; same && d < a->dims; d++)
        same = a->shape[d] == b->shape[d];
    return same;
}

static hd_status measure(pass *p, hd_tensor_error *errors, const hd_checkpoint *written, hd_error *err)
{
    size_t count = hd_source_count(p->from);
    for (size_t i = 0; i < count; i++)
        p->all += (uint64_t)hd_tensor_values(hd_source_tensor(p->from, i));
    for (size_t i = 0; i < count; i++) {
        p->tensor = i;
        p->before = hd_source_tensor(p->from, i);
        p->after = hd_checkpoint_find(written, p->before->name);
        errors[i] = (hd_tensor_error){0};
        if (p->after && same_shape(p->before, p->after)) {
            errors[i].written = p->after;
            HD_TRY(measure_tensor(p, &errors[i], written, err));
        }
        p->done += (uint64_t)hd_tensor_values(p->before);
    }
    return HD_OK;
}

hd_status hd_quant_errors(hd_tensor_error *errors, const hd_source *from, const hd_checkpoint *written,
                          const hd_error_options *options, hd_error *err)
{
    pass p = {.from = from, .options = options};
    hd_status status =
        take_memory(&p) ? measure(&p, errors, written, err) : hd_fail(err, HD_E_MEMORY, "no memory to look for errors");
    hd_free(p.x);
    hd_free(p.y);
    hd_free(p.weights);
    hd_free(p.scratch);
    hd_free(p.columns);
    return status;
}

double hd_relative_error(double squared, double all)
{
    if (squared == 0) return 0;
    return all > 0 ? sqrt(squared / all) : (double)NAN;
}
