/* quantize/budget.c: see budget.h. */
#include "quantize/budget.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "quantize/importance.h"
#include "tensor/encode.h"
#include "tensor/quant.h"

/* Values of a matrix that are looked at: the mean error over so many has settled to a percent or two. */
#define SAMPLE_VALUES ((int64_t)1 << 18)

/* All that can be chosen, largest to smallest; not Q4_0, which IQ4_NL beats at the same size. */
static const hd_type candidates[] = {HD_TYPE_Q8_0,   HD_TYPE_Q6_K,   HD_TYPE_Q5_1,    HD_TYPE_Q5_K,  HD_TYPE_Q5_0,
                                     HD_TYPE_Q4_1,   HD_TYPE_Q4_K,   HD_TYPE_IQ4_NL,  HD_TYPE_MXFP4, HD_TYPE_IQ4_XS,
                                     HD_TYPE_Q3_K,   HD_TYPE_IQ3_S,  HD_TYPE_IQ3_XXS, HD_TYPE_Q2_K,  HD_TYPE_IQ2_S,
                                     HD_TYPE_IQ2_XS, HD_TYPE_IQ2_XXS};

_Static_assert(HD_ARRAY_LEN(candidates) < HD_CHOICES_MAX, "all candidates fit");

/* ---- measuring ---- */

typedef struct sampler {
    const hd_source *from;
    const hd_budget_options *options;
    size_t tensor;
    int64_t cols, rows, step; /* rows: that are looked at, every step-th */
    int64_t matrix_rows;      /* of one expert or head */
    const float *columns;     /* what errors cost in each column, [matrices][cols]; NULL: alike */
    hd_choices *choices;
    float *memory; /* [threads][4][cols], and scratch */
    size_t per_thread;
    double *errors; /* [rows][HD_CHOICES_MAX] */
    atomic_bool bad;
} sampler;

/* One sampled row as every type. */
static void measure_row(sampler *s, int64_t item, float *memory)
{
    float *x = memory, *y = x + s->cols, *weight = y + s->cols, *scratch = weight + s->cols;
    uint8_t *encoded = (uint8_t *)(scratch + hd_source_scratch(s->from));
    int64_t row = item * s->step;
    const float *cost = s->columns ? s->columns + row / s->matrix_rows * s->cols : NULL;
    double *errors = s->errors + item * HD_CHOICES_MAX;
    hd_source_rows(s->from, s->tensor, row, 1, x, scratch);
    if (cost) hd_importance_weights(weight, s->columns, s->matrix_rows, s->cols, row * s->cols, s->cols);
    for (int k = 0; k < s->choices->count; k++) {
        hd_type type = s->choices->items[k].type;
        double sum = 0;
        (void)hd_encode_blocks(type, x, cost && hd_quant_weighs(type) ? weight : NULL, encoded, s->cols);
        (void)hd_decode_row(type, encoded, y, s->cols);
        for (int64_t c = 0; c < s->cols; c++) {
            double off = (double)x[c] - (double)y[c];
            sum += off * off * (cost ? (double)cost[c] : 1.0);
        }
        if (!isfinite(sum)) atomic_store(&s->bad, true);
        errors[k] = sum;
    }
}

static void measure_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    sampler *s = arg;
    for (int64_t i = begin; i < end; i++)
        measure_row(s, i, s->memory + (size_t)thread * s->per_thread);
}

/* Which types fit the rows, the smallest first. */
static void list_choices(hd_choices *c, const hd_tensor *t)
{
    c->count = 0;
    for (size_t k = HD_ARRAY_LEN(candidates); k-- > 0;) {
        hd_type type = candidates[k];
        if (hd_tensor_cols(t) % hd_type_block(type) != 0 || !hd_encode_supported(type)) continue;
        c->items[c->count++] = (hd_choice){.type = type, .bytes = hd_quant_bytes(t, type)};
    }
    c->free = c->count > 1;
    if (c->free) return;
    c->items[0] = (hd_choice){.type = t->type, .bytes = hd_quant_bytes(t, t->type)};
    c->count = 1;
}

/* Bytes go up and errors down from one to the next: what another one beats in both is no choice. */
static void sort_out(hd_choices *c)
{
    for (int i = 1; i < c->count; i++)
        for (int k = i; k > 0 && c->items[k].bytes < c->items[k - 1].bytes; k--) {
            hd_choice swap = c->items[k];
            c->items[k] = c->items[k - 1];
            c->items[k - 1] = swap;
        }
    int kept = 0;
    for (int i = 0; i < c->count; i++) {
        while (kept > 0 && c->items[kept - 1].bytes == c->items[i].bytes &&
               c->items[kept - 1].error > c->items[i].error)
            kept--;
        if (kept == 0 || c->items[i].error < c->items[kept - 1].error) c->items[kept++] = c->items[i];
    }
    c->count = kept;
}

static hd_status run_sample(sampler *s, hd_error *err)
{
    const hd_tensor *t = hd_source_tensor(s->from, s->tensor);
    int64_t all = hd_tensor_rows(t), wanted = HD_MAX(SAMPLE_VALUES / s->cols, 1);
    size_t threads = (size_t)hd_pool_threads(s->options->pool);
    s->step = HD_MAX(all / wanted, 1);
    s->rows = (all + s->step - 1) / s->step;
    s->per_thread = 4 * (size_t)s->cols + hd_source_scratch(s->from); /* the encoded row has at most a float a value */
    s->memory = hd_alloc_array(threads * s->per_thread, sizeof *s->memory);
    s->errors = hd_alloc_array((size_t)s->rows, HD_CHOICES_MAX * sizeof *s->errors);
    if (!s->memory || !s->errors) return hd_fail(err, HD_E_MEMORY, "no memory to measure '%s'", t->name);
    hd_pool_for(s->options->pool, s->rows, 1, measure_rows, s);
    HD_TRY(hd_checkpoint_check(hd_source_checkpoint(s->from), err));
    if (atomic_load(&s->bad))
        return hd_fail(err, HD_E_FORMAT, "tensor '%s' holds a number that is not finite; the model is damaged",
                       t->name);
    for (int k = 0; k < s->choices->count; k++) {
        double sum = 0;
        for (int64_t i = 0; i < s->rows; i++)
            sum += s->errors[i * HD_CHOICES_MAX + k];
        s->choices->items[k].error = sum * (double)all / (double)s->rows;
    }
    sort_out(s->choices);
    return HD_OK;
}

/* What an expert gets wrong happens to the tokens that are routed to it. */
static void count_hits(float *columns, const hd_imatrix *imatrix, const hd_tensor *t, int64_t matrices, int64_t cols)
{
    const hd_imatrix_entry *e = hd_imatrix_find(imatrix, t->name);
    for (int64_t m = 0; e && m < matrices; m++) {
        float hits = (float)hd_importance_hits(e, matrices, m);
        for (int64_t c = 0; c < cols; c++)
            columns[m * cols + c] *= hits; /* blocks look at ratios only, so it leaves the encoders as they are */
    }
}

static hd_status measure_tensor(hd_choices *c, const hd_source *from, size_t i, const hd_budget_options *options,
                                hd_error *err)
{
    sampler s = {.from = from, .options = options, .tensor = i, .choices = c};
    float *columns;
    const hd_tensor *t = hd_source_tensor(from, i);
    s.cols = hd_tensor_cols(t);
    s.matrix_rows = t->dims > 1 ? t->shape[t->dims - 2] : 1;
    HD_TRY(hd_importance_of(&columns, options->imatrix, t, err));
    if (columns) count_hits(columns, options->imatrix, t, hd_tensor_rows(t) / s.matrix_rows, s.cols);
    s.columns = columns;
    hd_status status = run_sample(&s, err);
    hd_free(columns);
    hd_free(s.memory);
    hd_free(s.errors);
    return status;
}

hd_status hd_budget_measure(hd_choices *choices, const hd_source *from, const hd_budget_options *options, hd_error *err)
{
    size_t count = hd_source_count(from);
    uint64_t done = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        const hd_tensor *t = hd_source_tensor(from, i);
        choices[i] = (hd_choices){.count = 1, .items = {{.type = t->type, .bytes = hd_quant_bytes(t, t->type)}}};
        if (hd_quant_is_weight(t)) list_choices(&choices[i], t);
        all += choices[i].free;
    }
    for (size_t i = 0; i < count; i++) {
        if (!choices[i].free) continue;
        if (options->progress && !options->progress(options->arg, done++, all))
            return hd_fail(err, HD_E_CANCELLED, "interrupted");
        HD_TRY(measure_tensor(&choices[i], from, i, options, err));
    }
    return HD_OK;
}

uint64_t hd_budget_least(hd_type *types, const hd_source *from)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < hd_source_count(from); i++) {
        const hd_tensor *t = hd_source_tensor(from, i);
        hd_choices c = {.count = 1, .items = {{.type = t->type, .bytes = hd_quant_bytes(t, t->type)}}};
        if (hd_quant_is_weight(t)) list_choices(&c, t);
        const hd_choice *least = &c.items[0];
        for (int k = 1; k < c.count; k++)
            if (c.items[k].bytes < least->bytes) least = &c.items[k];
        types[i] = least->type;
        sum += least->bytes;
    }
    return sum;
}

/* ---- choosing ---- */

double hd_choices_error(const hd_choices *c, hd_type type)
{
    for (int k = 0; k < c->count; k++)
        if (c->items[k].type == type) return c->items[k].error;
    return 0;
}

static int best_at(const hd_choices *c, double cost, double price)
{
    int best = 0;
    double least = INFINITY;
    for (int k = 0; k < c->count; k++) {
        double sum = cost * c->items[k].error + price * (double)c->items[k].bytes;
        if (sum < least) {
            least = sum;
            best = k;
        }
    }
    return best;
}

static uint64_t bytes_at(int *picked, const hd_choices *choices, const double *cost, size_t count, double price)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        picked[i] = best_at(&choices[i], cost ? cost[i] : 1.0, price);
        sum += choices[i].items[picked[i]].bytes;
    }
    return sum;
}

/* A tensor's best step up. */
typedef struct step {
    double gain; /* for a byte */
    size_t at;
    int to;
} step;

static bool before(const step *a, const step *b)
{
    return a->gain != b->gain ? a->gain > b->gain : a->at < b->at;
}

/* False: none fits that gains anything. */
static bool best_step(step *s, const hd_choices *c, int from, double cost, uint64_t left)
{
    s->gain = 0;
    for (int k = from + 1; k < c->count; k++) {
        const hd_choice *a = &c->items[from], *b = &c->items[k];
        uint64_t more = b->bytes - a->bytes;
        double gain = cost * (a->error - b->error) / (double)HD_MAX(more, 1);
        if (more > left || !(gain > s->gain)) continue;
        s->gain = gain;
        s->to = k;
    }
    return s->gain > 0;
}

static void sift_down(step *heap, size_t count, size_t i)
{
    for (;;) {
        size_t best = i, child = 2 * i + 1;
        for (size_t c = child; c < count && c < child + 2; c++)
            if (before(&heap[c], &heap[best])) best = c;
        if (best == i) return;
        step swap = heap[i];
        heap[i] = heap[best];
        heap[best] = swap;
        i = best;
    }
}

/* With what is left over, the step up that gains most for a byte, as long as one fits.  Gains in the heap were right
 * when more was left, so none is too small: the first that is still as good is the best. */
static void spend_rest(step *heap, int *picked, const hd_choices *choices, const double *cost, size_t count,
                       uint64_t left)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        heap[n].at = i;
        n += best_step(&heap[n], &choices[i], picked[i], cost ? cost[i] : 1.0, left);
    }
    for (size_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i);
    while (n) {
        size_t at = heap[0].at;
        step now = {.at = at};
        bool any = best_step(&now, &choices[at], picked[at], cost ? cost[at] : 1.0, left);
        if (any && now.gain == heap[0].gain) {
            left -= choices[at].items[now.to].bytes - choices[at].items[picked[at]].bytes;
            picked[at] = now.to;
            any = best_step(&now, &choices[at], picked[at], cost ? cost[at] : 1.0, left);
        }
        heap[0] = any ? now : heap[--n];
        sift_down(heap, n, 0);
    }
}

bool hd_budget_choose(hd_type *types, const hd_choices *choices, const double *cost, size_t count, uint64_t bytes)
{
    enum { STEPS = 200 }; /* of the bisection, over all prices that doubles have */
    double low = 1e-300, high = 1e300;
    bool fits = false;
    int *picked = hd_alloc_array(HD_MAX(count, 1), sizeof *picked);
    step *heap = hd_alloc_array(HD_MAX(count, 1), sizeof *heap);
    if (!picked || !heap) {
        hd_free(picked);
        hd_free(heap);
        return false;
    }
    for (int i = 0; i < STEPS; i++) {
        double price = exp((log(low) + log(high)) / 2);
        if (bytes_at(picked, choices, cost, count, price) <= bytes)
            high = price;
        else
            low = price;
    }
    uint64_t used = bytes_at(picked, choices, cost, count, high);
    fits = used <= bytes;
    if (fits) spend_rest(heap, picked, choices, cost, count, bytes - used);
    for (size_t i = 0; fits && i < count; i++)
        types[i] = choices[i].items[picked[i]].type;
    hd_free(picked);
    hd_free(heap);
    return fits;
}
