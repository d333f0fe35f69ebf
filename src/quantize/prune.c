/* quantize/prune.c: how many channels and experts stay, and which; the scores stand in prune.h.
 *
 * Invariant: sums are made piece by piece in an order that doesn't depend on threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/names.h"
#include "quantize/importance.h"
#include "quantize/prune_internal.h"

#define PIECES 16 /* of a lone matrix, for as many threads */

typedef struct chooser {
    const hd_source *base;
    const hd_prune_options *o;
    hd_arena *arena;
    hd_pruned *facts;
    uint64_t done, all; /* values */
    hd_error *err;
} chooser;

static hd_status no_memory(const chooser *c)
{
    return hd_fail(c->err, HD_E_MEMORY, "no memory to choose what is pruned");
}

/* ---- how many ---- */

static hd_status check_experts(const chooser *c)
{
    const hd_model_config *m = &c->facts->before;
    int n = c->o->experts;
    if (!n) return HD_OK;
    if (!m->experts) return hd_fail(c->err, HD_E_ARGUMENT, "the model has no experts to prune");
    if (n >= m->experts)
        return hd_fail(c->err, HD_E_ARGUMENT, "of %d experts a layer %d can't stay: none would go", m->experts, n);
    if (n % m->groups != 0)
        return hd_fail(c->err, HD_E_ARGUMENT,
                       "%d experts don't divide into the model's %d groups, of which each keeps as many; take %d or %d",
                       n, m->groups, n / m->groups * m->groups, (n / m->groups + 1) * m->groups);
    int least = (m->experts_used + m->groups_used - 1) / m->groups_used; /* of a group */
    if (m->sigmoid && m->groups > 1) least = HD_MAX(least, 2);           /* a group's score is that of its best two */
    if (n / m->groups >= least) return HD_OK;
    return hd_fail(c->err, HD_E_ARGUMENT,
                   "%d experts are too few: each token gets %d of them, from %d of %d groups, so that at least %d must "
                   "stay",
                   n, m->experts_used, m->groups_used, m->groups, least * m->groups);
}

/* The multiple that is nearest to what should stay: at least one, at most all. */
static int left_of(const chooser *c, int width)
{
    int64_t multiple = c->o->multiple,
            left = (int64_t)floor((1 - c->o->ffn) * width / (double)multiple + 0.5) * multiple;
    return left >= width ? width : (int)HD_MIN(HD_MAX(left, multiple), width);
}

static hd_status count(const chooser *c)
{
    hd_pruned *f = c->facts;
    if (hd_source_config(c->base))
        f->before = *hd_source_config(c->base);
    else
        HD_TRY(hd_model_config_read(&f->before, hd_source_checkpoint(c->base), c->err));
    HD_TRY(check_experts(c));
    f->after = f->before;
    f->after.ffn = left_of(c, f->before.ffn);
    if (f->before.experts) f->after.expert_ffn = left_of(c, f->before.expert_ffn);
    if (c->o->experts) f->after.experts = c->o->experts;
    bool fewer = f->after.ffn < f->before.ffn || f->after.expert_ffn < f->before.expert_ffn;
    if (c->o->ffn > 0 && !fewer)
        return hd_fail(c->err, HD_E_ARGUMENT,
                       "of %d channels %.3g %% are nearer to none than to the %lld that go together; prune more, or in "
                       "smaller multiples",
                       f->before.ffn, 100 * c->o->ffn, (long long)c->o->multiple);
    return HD_OK;
}

/* ---- scores ---- */

/* Squares of the columns of matrices, in pieces of rows. */
typedef struct columns {
    const hd_source *base;
    size_t tensor;
    int64_t rows, cols, pieces; /* of a matrix */
    double *sums;               /* [matrices * pieces][cols] */
    float *row;                 /* [threads][cols + scratch] */
} columns;

static void add_pieces(void *arg, int64_t begin, int64_t end, int thread)
{
    columns *s = arg;
    float *x = s->row + (size_t)thread * ((size_t)s->cols + hd_source_scratch(s->base)), *scratch = x + s->cols;
    for (int64_t i = begin; i < end; i++) {
        int64_t matrix = i / s->pieces, piece = i % s->pieces;
        double *sum = s->sums + i * s->cols;
        for (int64_t r = piece * s->rows / s->pieces; r < (piece + 1) * s->rows / s->pieces; r++) {
            hd_source_rows(s->base, s->tensor, matrix * s->rows + r, 1, x, scratch);
            for (int64_t j = 0; j < s->cols; j++)
                sum[j] += (double)x[j] * (double)x[j];
        }
    }
}

/* Adds up the pieces: the sums of the matrices follow each other at the front. */
static bool join_pieces(columns *s, int64_t matrices)
{
    bool finite = true;
    for (int64_t m = 0; m < matrices; m++)
        for (int64_t j = 0; j < s->cols; j++) {
            double sum = 0;
            for (int64_t p = 0; p < s->pieces; p++)
                sum += s->sums[(m * s->pieces + p) * s->cols + j];
            s->sums[m * s->cols + j] = sum;
            finite = finite && isfinite(sum);
        }
    return finite;
}

/* The sum of squares of each column: *out is [matrices][cols], for the caller to free. */
static hd_status column_squares(chooser *c, size_t tensor, double **out)
{
    const hd_tensor *t = hd_source_tensor(c->base, tensor);
    int64_t matrices = t->dims > 2 ? t->shape[0] : 1;
    columns s = {.base = c->base, .tensor = tensor, .cols = hd_tensor_cols(t)};
    s.rows = hd_tensor_rows(t) / matrices;
    s.pieces = matrices > 1 ? 1 : PIECES;
    size_t threads = (size_t)hd_pool_threads(c->o->pool);
    s.sums = hd_calloc((size_t)(matrices * s.pieces * s.cols), sizeof *s.sums);
    s.row = hd_alloc_array(threads * ((size_t)s.cols + hd_source_scratch(c->base)), sizeof *s.row);
    hd_status status = s.sums && s.row ? HD_OK : no_memory(c);
    if (status == HD_OK && c->o->progress && !c->o->progress(c->o->arg, c->done, c->all))
        status = hd_fail(c->err, HD_E_CANCELLED, "interrupted");
    if (status == HD_OK) {
        hd_pool_for(c->o->pool, matrices * s.pieces, 1, add_pieces, &s);
        status = hd_checkpoint_check(hd_source_checkpoint(c->base), c->err);
    }
    if (status == HD_OK && !join_pieces(&s, matrices))
        status = hd_fail(c->err, HD_E_FORMAT, "tensor '%s' holds a number that is not finite; the model is damaged",
                         t->name);
    c->done += (uint64_t)hd_tensor_values(t);
    hd_source_drop(c->base, tensor);
    hd_free(s.row);
    *out = s.sums;
    if (status == HD_OK) return HD_OK;
    hd_free(s.sums);
    *out = NULL;
    return status;
}

static hd_status find_entry(const chooser *c, const hd_tensor *t, bool apart, const hd_imatrix_entry **out)
{
    int64_t matrices = t->dims > 2 ? t->shape[0] : 1, cols = hd_tensor_cols(t);
    const hd_imatrix_entry *e = *out = hd_imatrix_find(c->o->imatrix, t->name);
    if (!e)
        return hd_fail(
            c->err, HD_E_ARGUMENT,
            "the importance matrix lacks '%s', which tells what is least important; gather one of this model", t->name);
    if (!hd_importance_fits(e, matrices, cols))
        return hd_fail(c->err, HD_E_ARGUMENT,
                       "the importance matrix has %zu x %zu values for '%s', which has %lld x %lld columns; it is of "
                       "another model",
                       e->rows, e->cols, e->name, (long long)matrices, (long long)cols);
    if (apart && (int64_t)e->rows != matrices)
        return hd_fail(c->err, HD_E_ARGUMENT,
                       "the importance matrix doesn't tell the experts of '%s' apart; gather one with --calibrate",
                       e->name);
    return HD_OK;
}

/* ---- which ---- */

typedef struct scored {
    double score;
    int32_t number;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->number < y->number ? -1 : 1;
}

static int by_number(const void *a, const void *b)
{
    const int32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* The `left` best of scores[n], as rising numbers from `first` on. */
static hd_status best(const chooser *c, const double *scores, int n, int left, int first, int32_t *out)
{
    scored *list = hd_alloc_array((size_t)n, sizeof *list);
    if (!list) return no_memory(c);
    for (int i = 0; i < n; i++)
        list[i] = (scored){scores ? scores[i] : 0, first + i};
    qsort(list, (size_t)n, sizeof *list, by_score);
    for (int i = 0; i < left; i++)
        out[i] = list[i].number;
    qsort(out, (size_t)left, sizeof *out, by_number);
    hd_free(list);
    return HD_OK;
}

/* squares[matrices][cols] of tensor t times the mean squares of the inputs. */
static hd_status weigh(const chooser *c, double *squares, const hd_tensor *t)
{
    float *mean;
    size_t n = (size_t)(t->dims > 2 ? t->shape[0] : 1) * (size_t)hd_tensor_cols(t);
    HD_TRY(hd_importance_of(&mean, c->o->imatrix, t, c->err));
    for (size_t i = 0; mean && i < n; i++) /* there is one that fits: find_entry */
        squares[i] *= (double)mean[i];
    hd_free(mean);
    return HD_OK;
}

/* Channels of a network that is a single matrix: a dense one, or the shared experts'. */
static hd_status choose_channels(chooser *c, size_t tensor, int left, int32_t **out)
{
    const hd_tensor *t = hd_source_tensor(c->base, tensor);
    const hd_imatrix_entry *e;
    int width = (int)hd_tensor_cols(t);
    double *scores = NULL;
    *out = hd_arena_alloc(c->arena, (size_t)left, sizeof **out);
    if (!*out) return no_memory(c);
    if (!c->o->imatrix) return best(c, NULL, width, left, 0, *out);
    HD_TRY(find_entry(c, t, false, &e));
    HD_TRY(column_squares(c, tensor, &scores));
    hd_status status = weigh(c, scores, t);
    if (status == HD_OK) status = best(c, scores, width, left, 0, *out);
    hd_free(scores);
    return status;
}

/* The best experts of each group by the squares that they added to the outputs. */
static hd_status choose_experts(const chooser *c, const double *squares, const hd_imatrix_entry *e, int32_t *out)
{
    const hd_model_config *b = &c->facts->before;
    int size = b->experts / b->groups, left = c->facts->after.experts / b->groups;
    double *scores = hd_calloc((size_t)b->experts, sizeof *scores);
    hd_status status = scores ? HD_OK : no_memory(c);
    for (int x = 0; status == HD_OK && squares && x < b->experts; x++)
        for (size_t j = 0; j < (size_t)b->expert_ffn; j++) {
            size_t i = (size_t)x * (size_t)b->expert_ffn + j;
            scores[x] += squares[i] * (double)e->sums[i];
        }
    for (int g = 0; status == HD_OK && g < b->groups; g++)
        status = best(c, scores + g * size, size, left, g * size, out + g * left);
    hd_free(scores);
    return status;
}

/* Of the experts that stay, the best channels of each. */
static hd_status choose_routed(const chooser *c, double *squares, const hd_tensor *t, const hd_kept *k)
{
    const hd_model_config *b = &c->facts->before, *a = &c->facts->after;
    if (squares) HD_TRY(weigh(c, squares, t));
    for (int i = 0; i < a->experts; i++) {
        int x = k->experts ? k->experts[i] : i;
        const double *scores = squares ? squares + (size_t)x * (size_t)b->expert_ffn : NULL;
        HD_TRY(best(c, scores, b->expert_ffn, a->expert_ffn, 0, k->routed + (size_t)i * (size_t)a->expert_ffn));
    }
    return HD_OK;
}

static hd_status choose_in_experts(chooser *c, size_t tensor, hd_kept *k)
{
    const hd_model_config *b = &c->facts->before, *a = &c->facts->after;
    bool fewer = a->experts < b->experts, thinner = a->expert_ffn < b->expert_ffn;
    const hd_imatrix_entry *e = NULL;
    double *squares = NULL;
    if (fewer) k->experts = hd_arena_alloc(c->arena, (size_t)a->experts, sizeof *k->experts);
    if (thinner) k->routed = hd_arena_alloc(c->arena, (size_t)a->experts * (size_t)a->expert_ffn, sizeof *k->routed);
    if ((fewer && !k->experts) || (thinner && !k->routed)) return no_memory(c);
    if (c->o->imatrix) {
        HD_TRY(find_entry(c, hd_source_tensor(c->base, tensor), fewer, &e));
        HD_TRY(column_squares(c, tensor, &squares));
    }
    hd_status status = fewer ? choose_experts(c, squares, e, k->experts) : HD_OK;
    if (status == HD_OK && thinner) status = choose_routed(c, squares, hd_source_tensor(c->base, tensor), k);
    hd_free(squares);
    return status;
}

bool hd_prune_shaped(const hd_tensor *t, int64_t a, int64_t b, int64_t c)
{
    int64_t want[] = {a, b, c};
    int dims = a ? 3 : b ? 2 : 1;
    return t->dims == dims && memcmp(t->shape, want + 3 - dims, (size_t)dims * sizeof *want) == 0;
}

/* What a matrix that leads back decides; other tensors decide nothing. */
static hd_status choose_by(chooser *c, size_t tensor, hd_kept *kept)
{
    const hd_tensor *t = hd_source_tensor(c->base, tensor);
    const hd_model_config *b = &c->facts->before, *a = &c->facts->after;
    hd_name_id id;
    int layer;
    if (!hd_name_find_gguf(t->name, &id, &layer) || layer >= b->layers) return HD_OK;
    bool dense = id == HD_NAME_down_weight, shared = id == HD_NAME_down_shexp, experts = id == HD_NAME_down_exps;
    if (!dense && !shared && !experts) return HD_OK;
    int64_t width = dense ? b->ffn : shared ? (int64_t)b->expert_ffn * b->experts_shared : b->expert_ffn;
    if (!hd_prune_shaped(t, experts ? b->experts : 0, b->hidden, width))
        return hd_fail(c->err, HD_E_FORMAT, "tensor '%s' has a shape that the configuration does not ask for", t->name);
    if (dense && a->ffn < b->ffn) return choose_channels(c, tensor, a->ffn, &kept[layer].channels);
    if (shared && a->expert_ffn < b->expert_ffn)
        return choose_channels(c, tensor, a->expert_ffn * b->experts_shared, &kept[layer].shared);
    if (experts && (a->experts < b->experts || a->expert_ffn < b->expert_ffn))
        return choose_in_experts(c, tensor, &kept[layer]);
    return HD_OK;
}

hd_status hd_prune_choose(hd_kept **kept, hd_arena *arena, const hd_source *base, const hd_prune_options *options,
                          hd_pruned *facts, hd_error *err)
{
    chooser c = {.base = base, .o = options, .arena = arena, .facts = facts, .err = err};
    HD_TRY(count(&c));
    *kept = hd_arena_alloc(arena, (size_t)facts->before.layers, sizeof **kept);
    if (!*kept) return no_memory(&c);
    memset(*kept, 0, (size_t)facts->before.layers * sizeof **kept);
    for (size_t i = 0; i < hd_source_count(base); i++)
        if (strstr(hd_source_tensor(base, i)->name, "ffn_down"))
            c.all += (uint64_t)hd_tensor_values(hd_source_tensor(base, i));
    for (size_t i = 0; i < hd_source_count(base); i++)
        HD_TRY(choose_by(&c, i, *kept));
    return HD_OK;
}
