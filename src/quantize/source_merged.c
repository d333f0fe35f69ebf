/* quantize/source_merged.c: adapters added to the matrices of a source while their rows are read.
 *
 * W + scale * B A (arXiv:2106.09685) is computed in float32, row by row, where the rows come out of the checkpoint; so
 * everything behind it, renamed tensors and other types, sees the merged matrix.  Invariants: deltas are sorted by the
 * address of their matrix; several of one matrix (of several adapters) stand in the order in which they came. */
#include <stdlib.h>
#include <string.h>

#include "quantize/source_internal.h"

struct hd_source_delta {
    const uint8_t *data; /* of the matrix, in the checkpoint */
    size_t number;
    int64_t rank, cols;
    const float *a, *b; /* [rank][cols], [rows][rank] with all scales in it */
};

static int compare(const void *x, const void *y)
{
    const hd_source_delta *p = x, *q = y;
    if (p->data != q->data) return p->data < q->data ? -1 : 1;
    return p->number < q->number ? -1 : p->number > q->number;
}

/* The first delta of a matrix that lies there, or where it would stand. */
static size_t first_of(const hd_source *s, const uint8_t *data)
{
    size_t low = 0, high = s->delta_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->deltas[middle].data < data)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void hd_source_add_deltas(const hd_source *s, const hd_matrix *m, int64_t row, float *out)
{
    for (size_t i = first_of(s, m->data); i < s->delta_count && s->deltas[i].data == m->data; i++) {
        const hd_source_delta *d = &s->deltas[i];
        for (int64_t j = 0; j < d->rank; j++) {
            const float *a = d->a + j * d->cols, factor = d->b[row * d->rank + j];
            for (int64_t c = 0; c < d->cols; c++)
                out[c] += factor * a[c];
        }
    }
}

bool hd_source_is_merged(const hd_source *source)
{
    return source->delta_count > 0;
}

/* ---- making ---- */

typedef struct merging {
    hd_source *s;
    const hd_adapter *adapter;
    hd_model_config config;
    float scale;
    hd_error *err;
} merging;

static hd_status no_memory(const merging *m)
{
    return hd_fail(m->err, HD_E_MEMORY, "no memory to merge the adapter");
}

/* Tensors that lie in the checkpoint just so have no origin yet; where nothing is renamed there is no list of them. */
static hd_status need_origins(const merging *m)
{
    hd_source *s = m->s;
    if (s->origins) return HD_OK;
    s->origins = hd_calloc(HD_MAX(s->count, 1), sizeof *s->origins);
    return s->origins ? HD_OK : no_memory(m);
}

/* Has the rows of tensor `i`, whose bytes are those of `t`, put together from now on. */
static hd_status compute(const merging *m, size_t i, const hd_tensor *t)
{
    hd_source *s = m->s;
    hd_matrix *part = hd_arena_alloc(&s->arena, 1, sizeof *part);
    if (!part) return no_memory(m);
    HD_TRY(hd_source_parts(s, t, 1, false, part, m->err));
    s->origins[i] = (hd_origin){.take = HD_TAKE_ALL, .parts = part, .count = 1};
    s->tensors[i].data = NULL;
    s->tensors[i].bytes = 0;
    if (!hd_type_is_plain(t->type)) s->tensors[i].type = HD_TYPE_BF16;
    s->scratch = HD_MAX(s->scratch, (size_t)part->cols);
    return HD_OK;
}

/* The tensors of the source that are made of `t`. */
static hd_status mark(const merging *m, const hd_tensor *t)
{
    hd_source *s = m->s;
    for (size_t i = 0; i < s->count; i++)
        if (s->tensors[i].data && s->tensors[i].data == t->data) HD_TRY(compute(m, i, t));
    return HD_OK;
}

static hd_status add_part(const merging *m, const hd_adapter_part *p)
{
    hd_source *s = m->s;
    char name[HD_NAME_MAX];
    hd_format layout = hd_checkpoint_format(s->ckpt);
    hd_name_expand(name, sizeof name, layout == HD_FORMAT_GGUF ? hd_names[p->id].gguf : hd_names[p->id].safetensors,
                   p->layer, 0);
    const hd_tensor *t = hd_checkpoint_find(s->ckpt, name);
    if (!t && p->id == HD_NAME_kv_b)
        return hd_fail(m->err, HD_E_UNSUPPORTED,
                       "the adapter changes kv_b of layer %d, which this file has in two tensors: merge it into the "
                       "official release, or into a GGUF file that has '%s'",
                       p->layer, name);
    if (!t || t->dims != 2 || t->shape[0] != p->rows || t->shape[1] != p->cols)
        return hd_fail(m->err, HD_E_ARGUMENT, "the model has no tensor '%s' of %lld x %lld to merge into", name,
                       (long long)p->rows, (long long)p->cols);
    float *a = hd_arena_alloc(&s->arena, (size_t)p->rank, (size_t)p->cols * sizeof *a);
    float *b = hd_arena_alloc(&s->arena, (size_t)p->rows, (size_t)p->rank * sizeof *b);
    if (!a || !b) return no_memory(m);
    HD_TRY(hd_adapter_values(m->adapter, p, &m->config, layout, m->scale, a, b, m->err));
    s->deltas[s->delta_count] =
        (hd_source_delta){.data = t->data, .number = s->delta_count, .rank = p->rank, .cols = p->cols, .a = a, .b = b};
    s->delta_count++;
    return mark(m, t);
}

hd_status hd_source_merge(hd_source *source, const hd_adapter *adapter, float scale, hd_error *err)
{
    merging m = {.s = source, .adapter = adapter, .scale = scale, .err = err};
    hd_adapter_info info;
    hd_adapter_get_info(adapter, &info);
    HD_TRY(hd_model_config_read(&m.config, source->ckpt, err));
    HD_TRY(hd_adapter_check(adapter, &m.config, err));
    HD_TRY(need_origins(&m));
    hd_source_delta *more = hd_realloc_array(source->deltas, source->delta_count + info.count, sizeof *source->deltas);
    if (!more) return no_memory(&m);
    source->deltas = more;
    for (size_t i = 0; i < info.count; i++)
        HD_TRY(add_part(&m, &hd_adapter_parts(adapter)[i]));
    qsort(source->deltas, source->delta_count, sizeof *source->deltas, compare);
    for (size_t i = 0; i < source->delta_count; i++)
        source->deltas[i].number = i;
    return hd_adapter_check_file(adapter, err);
}
