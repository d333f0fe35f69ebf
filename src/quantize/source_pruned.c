/* quantize/source_pruned.c: a source that shows a part of another: fewer rows, columns or matrices of some tensors, the
 * rest as it was; see prune.h.
 *
 * Invariant: tensor i of this source is what is left of tensor i of the base; one that lost something has `data` NULL
 * and a cut. */
#include <stdio.h>
#include <string.h>

#include "quantize/importance.h"
#include "quantize/prune_internal.h"
#include "quantize/source_internal.h"

/* ---- values ---- */

static bool is_cut(const hd_cut *cut)
{
    return cut->matrices || cut->rows || cut->cols;
}

/* Rows of one matrix of a tensor. */
static int64_t matrix_rows(const hd_tensor *t)
{
    return t->dims > 1 ? t->shape[t->dims - 2] : 1;
}

void hd_source_cut_rows(const hd_source *s, size_t i, int64_t row, int64_t n, float *out, float *scratch)
{
    const hd_cut *cut = &s->cuts[i];
    const hd_tensor *base = &s->base->tensors[i];
    int64_t left = matrix_rows(&s->tensors[i]), cols = hd_tensor_cols(&s->tensors[i]), all = hd_tensor_cols(base);
    for (int64_t k = row; k < row + n; k++, out += cols) {
        int64_t matrix = k / left, from = k % left;
        if (cut->rows) from = cut->rows[matrix * cut->rows_next + from];
        from += (cut->matrices ? cut->matrices[matrix] : matrix) * matrix_rows(base);
        if (!cut->cols) {
            hd_source_rows(s->base, i, from, 1, out, scratch);
            continue;
        }
        const int32_t *list = cut->cols + matrix * cut->cols_next;
        hd_source_rows(s->base, i, from, 1, scratch, scratch + all);
        for (int64_t j = 0; j < cols; j++)
            out[j] = scratch[list[j]];
    }
}

/* ---- making one ---- */

typedef struct pruner {
    hd_source *s;
    const hd_kept *kept; /* [layers] */
    const hd_model_config *before, *after;
    hd_error *err;
} pruner;

static hd_status no_memory(const pruner *p)
{
    return hd_fail(p->err, HD_E_MEMORY, "no memory for the pruned model");
}

/* Gate and up of the experts in one matrix, gate first: the same channels in both halves. */
static hd_status join_rows(const pruner *p, const hd_kept *k, hd_cut *cut)
{
    size_t width = (size_t)p->after->expert_ffn;
    if (!k->routed) return HD_OK;
    int32_t *rows = hd_arena_alloc(&p->s->arena, 2 * (size_t)p->after->experts * width, sizeof *rows);
    if (!rows) return no_memory(p);
    for (size_t x = 0; x < (size_t)p->after->experts; x++)
        for (size_t j = 0; j < width; j++) {
            int32_t channel = k->routed[x * width + j];
            rows[2 * x * width + j] = channel;
            rows[(2 * x + 1) * width + j] = channel + p->before->expert_ffn;
        }
    cut->rows = rows;
    cut->rows_next = 2 * (int64_t)width;
    return HD_OK;
}

/* What is left of a tensor of that kind, and the shape that it must have had. */
static hd_status cut_of(const pruner *p, hd_name_id id, const hd_kept *k, hd_cut *cut, int64_t before[3])
{
    const hd_model_config *b = p->before;
    int64_t shared = (int64_t)b->expert_ffn * b->experts_shared;
    switch (id) {
    case HD_NAME_gate_weight:
    case HD_NAME_up_weight: cut->rows = k->channels, before[1] = b->ffn, before[2] = b->hidden; break;
    case HD_NAME_gate_bias:
    case HD_NAME_up_bias: cut->cols = k->channels, before[2] = b->ffn; break;
    case HD_NAME_down_weight: cut->cols = k->channels, before[1] = b->hidden, before[2] = b->ffn; break;
    case HD_NAME_gate_shexp:
    case HD_NAME_up_shexp: cut->rows = k->shared, before[1] = shared, before[2] = b->hidden; break;
    case HD_NAME_gate_shexp_bias:
    case HD_NAME_up_shexp_bias: cut->cols = k->shared, before[2] = shared; break;
    case HD_NAME_down_shexp: cut->cols = k->shared, before[1] = b->hidden, before[2] = shared; break;
    case HD_NAME_router: cut->rows = k->experts, before[1] = b->experts, before[2] = b->hidden; break;
    case HD_NAME_router_bias: cut->cols = k->experts, before[2] = b->experts; break;
    case HD_NAME_gate_exps:
    case HD_NAME_up_exps:
    case HD_NAME_gate_up_exps:
        cut->matrices = k->experts;
        before[0] = b->experts, before[1] = b->expert_ffn, before[2] = b->hidden;
        if (id == HD_NAME_gate_up_exps) {
            before[1] *= 2;
            return join_rows(p, k, cut);
        }
        cut->rows = k->routed;
        cut->rows_next = p->after->expert_ffn;
        break;
    case HD_NAME_down_exps:
        cut->matrices = k->experts;
        before[0] = b->experts, before[1] = b->hidden, before[2] = b->expert_ffn;
        cut->cols = k->routed;
        cut->cols_next = p->after->expert_ffn;
        break;
    default: break;
    }
    return HD_OK;
}

/* How many of `all` rows or columns of a tensor of that kind are left. */
static int64_t left_of(const pruner *p, hd_name_id id, const int32_t *list, const hd_kept *k, int64_t all)
{
    const hd_model_config *a = p->after;
    if (!list) return all;
    if (list == k->channels) return a->ffn;
    if (list == k->shared) return (int64_t)a->expert_ffn * a->experts_shared;
    if (list == k->experts) return a->experts;
    return id == HD_NAME_gate_up_exps ? 2 * (int64_t)a->expert_ffn : a->expert_ffn;
}

static hd_status add_tensor(const pruner *p, size_t i)
{
    hd_source *s = p->s;
    hd_tensor *t = &s->tensors[i];
    hd_cut *cut = &s->cuts[i];
    hd_name_id id;
    int layer;
    int64_t before[3] = {0};
    *t = s->base->tensors[i];
    if (!hd_name_find_gguf(t->name, &id, &layer) || !hd_name_in_layers(id) || layer >= p->before->layers) return HD_OK;
    const hd_kept *k = &p->kept[layer];
    HD_TRY(cut_of(p, id, k, cut, before));
    if (!is_cut(cut)) return HD_OK;
    if (!hd_prune_shaped(t, before[0], before[1], before[2]))
        return hd_fail(p->err, HD_E_FORMAT, "tensor '%s' has a shape that the configuration does not ask for", t->name);
    int64_t all = hd_tensor_cols(t);
    if (cut->cols) s->scratch = HD_MAX(s->scratch, (size_t)all + s->base->scratch);
    t->shape[t->dims - 1] = left_of(p, id, cut->cols, k, all);
    if (t->dims > 1) t->shape[t->dims - 2] = left_of(p, id, cut->rows, k, t->shape[t->dims - 2]);
    if (cut->matrices) t->shape[0] = p->after->experts;
    if (t->shape[t->dims - 1] % hd_type_block(t->type) != 0) t->type = HD_TYPE_BF16; /* until a recipe says another */
    t->data = NULL;
    t->bytes = hd_quant_bytes(t, t->type);
    return HD_OK;
}

/* ---- metadata ---- */

static bool ends_with(const hd_str *key, const char *end)
{
    size_t n = strlen(end);
    return key->len > n && key->data[key->len - n - 1] == '.' && memcmp(key->data + key->len - n, end, n) == 0;
}

static bool has_key(const hd_meta_list *list, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].key.len == n && memcmp(list->items[i].key.data, key, n) == 0) return true;
    return false;
}

static const hd_meta *architecture(const hd_meta_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (ends_with(&list->items[i].key, "architecture") && list->items[i].type == HD_META_STRING)
            return &list->items[i];
    return NULL;
}

/* The base's keys, with the numbers that changed; and what they were at first, for whoever wonders. */
static hd_status make_metadata(const pruner *p)
{
    const struct {
        const char *key, *was;
        int before, after;
    } numbers[] = {{"feed_forward_length", "feed_forward_length_before", p->before->ffn, p->after->ffn},
                   {"expert_feed_forward_length", "expert_feed_forward_length_before", p->before->expert_ffn,
                    p->after->expert_ffn},
                   {"expert_count", "expert_count_before", p->before->experts, p->after->experts},
                   {"expert_group_count", NULL, 0, p->before->groups}, /* else they follow from the number of experts */
                   {"expert_group_used_count", NULL, 0, p->before->groups_used}};
    enum { KEY = 160 };
    char key[KEY];
    const hd_meta_list *from = &p->s->base->meta;
    hd_meta_list *to = &p->s->meta;
    const hd_meta *arch = architecture(from);
    bool replace[HD_ARRAY_LEN(numbers)];
    for (size_t k = 0; k < HD_ARRAY_LEN(numbers); k++)
        replace[k] = numbers[k].was ? numbers[k].after != numbers[k].before
                                    : p->after->experts < p->before->experts && p->before->groups > 1;
    for (size_t i = 0; i < from->count; i++) {
        bool keep = true;
        for (size_t k = 0; k < HD_ARRAY_LEN(numbers); k++)
            keep = keep && !(replace[k] && ends_with(&from->items[i].key, numbers[k].key));
        if (keep) hd_meta_add(to, &from->items[i]);
    }
    for (size_t k = 0; arch && k < HD_ARRAY_LEN(numbers); k++) {
        if (!replace[k]) continue;
        snprintf(key, sizeof key, "%.*s.%s", (int)HD_MIN(arch->string.len, (size_t)KEY / 2), arch->string.data,
                 numbers[k].key);
        hd_meta_add_u32(to, key, (uint32_t)numbers[k].after);
        snprintf(key, sizeof key, "hadal.prune.%s", numbers[k].was ? numbers[k].was : "");
        if (numbers[k].was && !has_key(from, key)) hd_meta_add_u32(to, key, (uint32_t)numbers[k].before);
    }
    if (!arch) return hd_fail(p->err, HD_E_FORMAT, "general.architecture is missing");
    return to->status == HD_OK ? HD_OK : no_memory(p);
}

/* ---- the whole ---- */

static hd_prune_arithmetic arithmetic_of(const hd_source *s, const hd_model_config *c)
{
    hd_prune_arithmetic sum = {0};
    uint64_t embedding = 0;
    for (size_t i = 0; i < s->count; i++) {
        const hd_tensor *t = &s->tensors[i];
        hd_name_id id;
        int layer;
        uint64_t values = (uint64_t)hd_tensor_values(t);
        if (t->dims < 2 || !hd_name_find_gguf(t->name, &id, &layer)) continue;
        if (id == HD_NAME_embed)
            embedding = values;
        else if (id == HD_NAME_output)
            sum.output = values;
        else if (hd_name_in_layers(id) && layer < c->layers)
            sum.layers += hd_name_of_experts(id) || id == HD_NAME_gate_up_exps
                              ? values / (uint64_t)c->experts * (uint64_t)c->experts_used
                              : values;
    }
    if (!sum.output) sum.output = embedding; /* tied */
    return sum;
}

static hd_status fill(pruner *p, const hd_prune_options *options, hd_pruned *facts)
{
    hd_source *s = p->s, *base = s->base;
    hd_kept *kept;
    HD_TRY(hd_prune_choose(&kept, &s->arena, base, options, facts, p->err));
    p->kept = kept;
    s->scratch = base->scratch;
    s->left_out = base->left_out;
    s->renamed = base->renamed;
    s->config = facts->after;
    s->tensors = hd_alloc_array(HD_MAX(base->count, 1), sizeof *s->tensors);
    s->cuts = hd_calloc(HD_MAX(base->count, 1), sizeof *s->cuts);
    if (!s->tensors || !s->cuts) return no_memory(p);
    for (s->count = 0; s->count < base->count; s->count++)
        HD_TRY(add_tensor(p, s->count));
    for (size_t i = 0; i < base->count; i++)
        facts->values_before += (uint64_t)hd_tensor_values(&base->tensors[i]);
    facts->arithmetic_before = arithmetic_of(base, &facts->before);
    facts->arithmetic_after = arithmetic_of(s, &facts->after);
    return make_metadata(p);
}

hd_status hd_source_open_pruned(hd_source **out, hd_source *base, const hd_prune_options *options, hd_pruned *facts,
                                hd_error *err)
{
    *out = NULL;
    *facts = (hd_pruned){0};
    if (base->layout != HD_FORMAT_GGUF)
        return hd_fail(err, HD_E_UNSUPPORTED, "only models in the layout of GGUF are pruned");
    hd_source *s = NULL;
    HD_TRY(hd_source_new(&s, base->ckpt, base->layout, err));
    s->base = base;
    pruner p = {.s = s, .before = &facts->before, .after = &facts->after, .err = err};
    hd_status status = fill(&p, options, facts);
    if (status == HD_OK) {
        *out = s;
        return HD_OK;
    }
    s->base = NULL; /* it stays the caller's */
    hd_source_close(&s);
    return status;
}

/* ---- importance ---- */

/* What an entry has of matrices and columns that are left. */
static void gather(hd_imatrix_entry *to, const hd_imatrix_entry *from, const hd_cut *cut, size_t matrices, size_t all,
                   size_t cols)
{
    bool apart = from->rows > 1 || matrices == 1;
    for (size_t m = 0; m < matrices; m++) {
        size_t was = cut->matrices ? (size_t)cut->matrices[m] : m;
        const int32_t *list = cut->cols ? cut->cols + (size_t)cut->cols_next * m : NULL;
        for (size_t j = 0; j < cols; j++)
            to->sums[m * cols + j] = from->sums[was * all + (list ? (size_t)list[j] : j)];
        if (apart) to->counts[m] = from->counts[was];
    }
    if (!apart) to->counts[0] = from->counts[0];
}

static hd_status add_entry(hd_imatrix *to, const hd_source *s, const hd_imatrix_entry *e, hd_error *err)
{
    hd_imatrix_entry *entry;
    const hd_cut none = {0}, *cut = &none;
    size_t matrices = e->rows, cols = e->cols;
    size_t rows = matrices, all = cols;
    for (size_t i = 0; i < s->count; i++) {
        const hd_tensor *t = &s->tensors[i], *was = &s->base->tensors[i];
        if (t->dims < 2 || !is_cut(&s->cuts[i]) || strcmp(t->name, e->name) != 0) continue;
        all = (size_t)hd_tensor_cols(was);
        if (!hd_importance_fits(e, hd_tensor_rows(was) / HD_MAX(matrix_rows(was), 1), (int64_t)all))
            return hd_fail(err, HD_E_ARGUMENT,
                           "the importance matrix has another shape for '%s'; it is of another model", e->name);
        cut = &s->cuts[i];
        cols = (size_t)hd_tensor_cols(t);
        matrices = (size_t)(t->dims > 2 ? t->shape[0] : 1);
        rows = e->rows == 1 ? 1 : matrices;
    }
    HD_TRY(hd_imatrix_add(to, e->name, rows, matrices * cols / rows, &entry, err));
    gather(entry, e, cut, matrices, all, cols);
    return HD_OK;
}

hd_status hd_prune_imatrix(hd_imatrix **out, const hd_source *pruned, const hd_imatrix *whole, hd_error *err)
{
    HD_TRY(hd_imatrix_open(out, err));
    hd_imatrix *m = *out;
    hd_status status = HD_OK;
    m->chunk_count = whole->chunk_count;
    m->chunk_size = whole->chunk_size;
    for (size_t i = 0; status == HD_OK && i < whole->dataset_count; i++)
        status = hd_imatrix_add_dataset(m, whole->datasets[i], err);
    for (size_t i = 0; status == HD_OK && i < whole->count; i++)
        status = add_entry(m, pruned, whole->entries[i], err);
    if (status == HD_OK) status = hd_imatrix_sort(m, err);
    if (status != HD_OK) hd_imatrix_close(out);
    return status;
}
