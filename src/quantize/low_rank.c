/* quantize/low_rank.c: the adapter file: which matrices it corrects, their errors, and the factors one by one. */
#include "quantize/low_rank.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "models/names.h"
#include "quantize/importance.h"
#include "quantize/recipe_file.h"
#include "tensor/quant.h"

typedef struct corrected {
    size_t from; /* in the source */
    const hd_tensor *base;
} corrected;

typedef struct writing {
    const hd_source *from;
    const hd_checkpoint *base;
    const hd_low_rank_options *o;
    hd_low_rank_report *report;
    const char *path;
    corrected *list;
    size_t count;
    uint64_t done, all;
    hd_arena arena; /* names */
    hd_error *err;
} writing;

static hd_status no_memory(const writing *w)
{
    return hd_fail(w->err, HD_E_MEMORY, "no memory for the adapter");
}

/* ---- which ---- */

/* Matrices of layers that the base has rounded; experts, heads and what gives the logits have no place in an adapter.
 */
static hd_status choose(writing *w)
{
    bool any = false;
    for (size_t i = 0; i < hd_source_count(w->from); i++) {
        const hd_tensor *t = hd_source_tensor(w->from, i), *b = hd_checkpoint_find(w->base, t->name);
        hd_name_id id;
        int layer;
        if (t->dims != 2 || !hd_recipe_fits(w->o->pattern, t->name) || !hd_quant_is_weight(t)) continue;
        if (!hd_name_find_gguf(t->name, &id, &layer) || !hd_name_in_layers(id)) continue;
        any = true;
        if (!b || b->dims != 2 || b->shape[0] != t->shape[0] || b->shape[1] != t->shape[1])
            return hd_fail(w->err, HD_E_ARGUMENT,
                           "%s: has no '%s' of the model's shape: it is of another model, or a pruned one",
                           hd_checkpoint_path(w->base), t->name);
        if (b->type == t->type || !hd_type_is_weight(b->type)) continue;
        if (w->o->rank > HD_MIN(t->shape[0], t->shape[1])) /* readers scale by alpha / rank: one rank for all */
            return hd_fail(w->err, HD_E_ARGUMENT, "'%s' is %lld x %lld: it has no rank of %d", t->name,
                           (long long)t->shape[0], (long long)t->shape[1], w->o->rank);
        w->list[w->count++] = (corrected){i, b};
        w->all += (uint64_t)hd_tensor_values(t);
    }
    if (w->count) return HD_OK;
    if (!any) return hd_fail(w->err, HD_E_ARGUMENT, "no matrix of a layer is called '%s'", w->o->pattern);
    return hd_fail(w->err, HD_E_ARGUMENT,
                   "%s: has all matrices like '%s' in the type of the original: nothing to correct",
                   hd_checkpoint_path(w->base), w->o->pattern);
}

/* ---- one matrix ---- */

typedef struct matrix {
    const writing *w;
    const corrected *c;
    int64_t rows, cols;
    float *e, *weight, *a, *b; /* [rows][cols]; [cols] or NULL; the factors */
    float *scratch;            /* [threads][cols + scratch of the source] */
    double *signal, *error;    /* [rows] */
    atomic_bool bad;
} matrix;

static void subtract_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    matrix *m = arg;
    const hd_source *from = m->w->from;
    float *base = m->scratch + (size_t)thread * ((size_t)m->cols + hd_source_scratch(from)), *scratch = base + m->cols;
    size_t row_bytes = 0;
    (void)hd_type_row_bytes(m->c->base->type, m->cols, &row_bytes);
    for (int64_t i = begin; i < end; i++) {
        float *e = m->e + i * m->cols;
        hd_source_rows(from, m->c->from, i, 1, e, scratch);
        (void)hd_decode_row(m->c->base->type, (const uint8_t *)m->c->base->data + (size_t)i * row_bytes, base, m->cols);
        double signal = 0, error = 0;
        for (int64_t j = 0; j < m->cols; j++) {
            double weight = m->weight ? (double)m->weight[j] : 1, w = (double)e[j];
            e[j] -= base[j];
            signal += weight * w * w;
            error += weight * (double)e[j] * (double)e[j];
        }
        m->signal[i] = signal;
        m->error[i] = error;
        if (!isfinite(signal) || !isfinite(error)) atomic_store(&m->bad, true);
    }
}

static hd_status find_weight(matrix *m)
{
    const writing *w = m->w;
    const char *name = m->c->base->name;
    HD_TRY(hd_importance_of(&m->weight, w->o->imatrix, hd_source_tensor(w->from, m->c->from), w->err));
    if (m->weight || !w->o->imatrix || !hd_imatrix_find(w->o->imatrix, name)) return HD_OK;
    return hd_fail(w->err, HD_E_ARGUMENT, "the importance matrix has another shape for '%s'; it is of another model",
                   name);
}

static hd_status fill(matrix *m)
{
    const writing *w = m->w;
    hd_low_rank_report *r = w->report;
    size_t rank = (size_t)m->w->o->rank, rows = (size_t)m->rows, cols = (size_t)m->cols;
    HD_TRY(find_weight(m));
    m->e = hd_alloc_array(rows * cols, sizeof *m->e);
    m->a = hd_alloc_array(rank * cols, sizeof *m->a);
    m->b = hd_alloc_array(rank * rows, sizeof *m->b);
    m->scratch =
        hd_alloc_array((size_t)hd_pool_threads(w->o->pool) * (cols + hd_source_scratch(w->from)), sizeof *m->scratch);
    m->signal = hd_alloc_array(rows, sizeof *m->signal);
    m->error = hd_alloc_array(rows, sizeof *m->error);
    if (!m->e || !m->a || !m->b || !m->scratch || !m->signal || !m->error) return no_memory(w);
    hd_pool_for(w->o->pool, m->rows, 1, subtract_rows, m);
    HD_TRY(hd_checkpoint_check(hd_source_checkpoint(w->from), w->err));
    HD_TRY(hd_checkpoint_check(w->base, w->err));
    if (atomic_load(&m->bad))
        return hd_fail(w->err, HD_E_FORMAT, "tensor '%s' holds a number that is not finite; a model is damaged",
                       m->c->base->name);
    double left;
    HD_TRY(hd_low_rank_factor(m->a, m->b, &left, m->e, m->weight, m->rows, m->cols, m->w->o->rank, w->o->pool, w->err));
    for (int64_t i = 0; i < m->rows; i++) {
        r->signal += m->signal[i];
        r->error += m->error[i];
    }
    r->error_after += left;
    return HD_OK;
}

/* Tensor `i` of the adapter; what an interrupted run wrote must be the same: the header alone doesn't tell of which
 * files it was made. */
static hd_status put(const writing *w, hd_file_writer *file, size_t i, const float *x, size_t n)
{
    void *half = hd_alloc_array(n, 2);
    if (!half) return no_memory(w);
    (void)hd_encode_row(HD_TYPE_F16, x, half, (int64_t)n);
    hd_status status = hd_file_writer_put_whole(file, i, half, 2 * n, "was begun from other files", w->err);
    hd_free(half);
    return status;
}

/* Matrix k, whose factors are tensors 2k and 2k + 1. */
static hd_status write_matrix(writing *w, hd_file_writer *file, size_t k)
{
    const hd_tensor *t = w->list[k].base;
    matrix m = {.w = w, .c = &w->list[k], .rows = t->shape[0], .cols = t->shape[1]};
    if (w->o->progress && !w->o->progress(w->o->arg, w->done, w->all))
        return hd_fail(w->err, HD_E_CANCELLED, "interrupted; what is written stays, run it again to go on");
    hd_status status = fill(&m);
    if (status == HD_OK) status = put(w, file, 2 * k, m.a, (size_t)w->o->rank * (size_t)m.cols);
    if (status == HD_OK) status = put(w, file, 2 * k + 1, m.b, (size_t)w->o->rank * (size_t)m.rows);
    hd_source_drop(w->from, m.c->from);
    hd_checkpoint_drop(w->base, t->data, t->bytes);
    w->done += (uint64_t)(m.rows * m.cols);
    hd_free(m.weight);
    hd_free(m.e);
    hd_free(m.a);
    hd_free(m.b);
    hd_free(m.scratch);
    hd_free(m.signal);
    hd_free(m.error);
    return status;
}

/* ---- the file ---- */

static hd_status make_metadata(const writing *w, hd_meta_list *to)
{
    static const char *const kept[] = {"general.architecture", "general.name"};
    const hd_meta_list *from = hd_source_meta(w->from);
    for (size_t k = 0; k < HD_ARRAY_LEN(kept); k++)
        for (size_t i = 0; i < from->count; i++)
            if (from->items[i].key.len == strlen(kept[k]) &&
                memcmp(from->items[i].key.data, kept[k], strlen(kept[k])) == 0)
                hd_meta_add(to, &from->items[i]);
    hd_meta_add_text(to, "general.type", "adapter", 7);
    hd_meta_add_text(to, "adapter.type", "lora", 4);
    hd_meta_add_f32(to, "adapter.lora.alpha", (float)w->o->rank);
    return to->status == HD_OK ? HD_OK : no_memory(w);
}

static hd_status list_tensors(writing *w, hd_tensor *tensors)
{
    enum { SUFFIX = 16 };
    char name[HD_NAME_MAX + SUFFIX];
    for (size_t k = 0; k < 2 * w->count; k++) {
        const corrected *c = &w->list[k / 2];
        hd_tensor *t = &tensors[k];
        *t = (hd_tensor){.type = HD_TYPE_F16, .dims = 2, .shape = {w->o->rank, c->base->shape[1], 1, 1}};
        if (k % 2) t->shape[0] = c->base->shape[0], t->shape[1] = w->o->rank;
        snprintf(name, sizeof name, "%.*s.lora_%c", HD_NAME_MAX, c->base->name, k % 2 ? 'b' : 'a');
        t->name = hd_arena_text(&w->arena, name, strlen(name));
        if (!t->name) return no_memory(w);
        w->report->bytes += hd_quant_bytes(t, t->type);
    }
    return HD_OK;
}

static hd_status write_all(writing *w, hd_file_writer **file, hd_meta_list *meta, hd_tensor *tensors)
{
    HD_TRY(choose(w));
    HD_TRY(list_tensors(w, tensors));
    HD_TRY(make_metadata(w, meta));
    HD_TRY(hd_gguf_writer_open(file, w->path, meta->items, meta->count, tensors, 2 * w->count, false, w->err));
    for (size_t k = 0; k < w->count; k++) /* those that are there, too: for the figures */
        HD_TRY(write_matrix(w, *file, k));
    w->report->matrices = w->count;
    return hd_file_writer_finish(*file, w->err);
}

hd_status hd_low_rank_write(const hd_source *from, const hd_checkpoint *base, const char *path,
                            const hd_low_rank_options *options, hd_low_rank_report *report, hd_error *err)
{
    *report = (hd_low_rank_report){0};
    HD_TRY(hd_low_rank_check(err));
    if (hd_checkpoint_format(base) != HD_FORMAT_GGUF)
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: is no GGUF file", hd_checkpoint_path(base));
    writing w = {.from = from, .base = base, .o = options, .report = report, .path = path, .err = err};
    size_t count = HD_MAX(hd_source_count(from), 1);
    hd_meta_list meta = {0};
    hd_file_writer *file = NULL;
    hd_tensor *tensors = hd_alloc_array(2 * count, sizeof *tensors);
    w.list = hd_alloc_array(count, sizeof *w.list);
    hd_status status = tensors && w.list ? write_all(&w, &file, &meta, tensors) : no_memory(&w);
    hd_file_writer_close(&file);
    hd_meta_list_free(&meta);
    hd_arena_free(&w.arena);
    hd_free(tensors);
    hd_free(w.list);
    return status;
}
