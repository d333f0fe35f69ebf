/* quantize/source.c: what all sources share: their tensors, and the values of rows; see source.h.
 *
 * Invariant: a tensor whose `data` is NULL has an origin whose parts lie in the checkpoint, or a cut of the base's. */
#include "quantize/source.h"

#include <stdio.h>
#include <string.h>

#include "quantize/source_internal.h"
#include "tensor/quant.h"

/* ---- facts ---- */

hd_format hd_source_layout(const hd_source *source)
{
    return source->layout;
}

const hd_checkpoint *hd_source_checkpoint(const hd_source *source)
{
    return source->ckpt;
}

const hd_model_config *hd_source_config(const hd_source *source)
{
    return source->renamed ? &source->config : NULL;
}

const hd_meta_list *hd_source_meta(const hd_source *source)
{
    return &source->meta;
}

size_t hd_source_count(const hd_source *source)
{
    return source->count;
}

const hd_tensor *hd_source_tensors(const hd_source *source)
{
    return source->tensors;
}

const hd_tensor *hd_source_tensor(const hd_source *source, size_t i)
{
    return &source->tensors[i];
}

const char *hd_source_left_out(const hd_source *source)
{
    return source->left_out;
}

size_t hd_source_scratch(const hd_source *source)
{
    return source->scratch;
}

int64_t hd_tensor_cols(const hd_tensor *t)
{
    return t->dims ? t->shape[t->dims - 1] : 1;
}

int64_t hd_tensor_rows(const hd_tensor *t)
{
    int64_t rows = 1;
    for (int d = 0; d < t->dims - 1; d++)
        rows *= t->shape[d];
    return rows;
}

/* ---- values ---- */

/* A row of a part, with what adapters add to it. */
static void decode_row(const hd_source *s, const hd_matrix *m, int64_t row, float *out)
{
    hd_matrix_decode_row(m, row, out);
    if (s->delta_count) hd_source_add_deltas(s, m, row, out);
}

/* Rows of a part, as they lie there. */
static void decode_rows(const hd_source *s, const hd_matrix *m, int64_t row, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++)
        decode_row(s, m, row + i, out + i * m->cols);
}

/* out[i][j] = m[row + j][col + i] for i < n, j < width: columns as rows. */
static void decode_columns(const hd_source *s, const hd_matrix *m, int64_t row, int64_t width, int64_t col, int64_t n,
                           float *out, float *scratch)
{
    for (int64_t j = 0; j < width; j++) {
        decode_row(s, m, row + j, scratch);
        for (int64_t i = 0; i < n; i++)
            out[i * width + j] = scratch[col + i];
    }
}

/* Where row `row` of a head of `width` rows comes from. */
static int64_t rotated_row(hd_take take, int64_t row, int64_t width)
{
    int64_t head = row / width, i = row % width, half = width / 2;
    i = take == HD_TAKE_ADJACENT ? i % 2 * half + i / 2 : i % half * 2 + i / half;
    return head * width + i;
}

static void take_rotated(const hd_source *s, const hd_origin *o, int64_t row, int64_t n, float *out)
{
    const hd_matrix *m = o->parts;
    for (int64_t i = 0; i < n; i++)
        decode_row(s, m, rotated_row(o->take, row + i, m->rows / o->heads), out + i * m->cols);
}

/* Runs of rows that lie within one part. */
static void take_all(const hd_source *s, const hd_origin *o, int64_t row, int64_t n, float *out)
{
    int64_t rows = o->parts[0].rows, cols = o->parts[0].cols;
    while (n) {
        int64_t at = row % rows, run = HD_MIN(n, rows - at);
        decode_rows(s, &o->parts[row / rows], at, run, out);
        row += run;
        n -= run;
        out += run * cols;
    }
}

static void take_keys(const hd_source *s, const hd_origin *o, int64_t row, int64_t n, float *out, float *scratch)
{
    const hd_matrix *m = o->parts;
    while (n) {
        int64_t head = row / m->cols, at = row % m->cols, run = HD_MIN(n, m->cols - at);
        decode_columns(s, m, head * (o->nope + o->v), o->nope, at, run, out, scratch);
        row += run;
        n -= run;
        out += run * o->nope;
    }
}

static void take_values(const hd_source *s, const hd_origin *o, int64_t row, int64_t n, float *out)
{
    const hd_matrix *m = o->parts;
    while (n) {
        int64_t head = row / o->v, at = row % o->v, run = HD_MIN(n, o->v - at);
        decode_rows(s, m, head * (o->nope + o->v) + o->nope + at, run, out);
        row += run;
        n -= run;
        out += run * m->cols;
    }
}

static void take_joint(const hd_source *s, const hd_origin *o, int64_t row, int64_t n, float *out, float *scratch)
{
    int64_t lora = o->parts[0].rows, both = o->nope + o->v;
    while (n) {
        int64_t head = row / both, at = row % both, run = HD_MIN(n, (at < o->nope ? o->nope : both) - at);
        if (at < o->nope)
            decode_columns(s, &o->parts[head], 0, lora, at, run, out, scratch);
        else
            decode_rows(s, &o->parts[o->heads + head], at - o->nope, run, out);
        row += run;
        n -= run;
        out += run * lora;
    }
}

void hd_source_rows(const hd_source *source, size_t i, int64_t row, int64_t n, float *out, float *scratch)
{
    const hd_tensor *t = &source->tensors[i];
    if (t->data) {
        int64_t cols = hd_tensor_cols(t), at = row * cols;
        const uint8_t *from = t->data;
        (void)hd_decode_row(t->type, from + at / hd_type_block(t->type) * hd_type_block_bytes(t->type), out, n * cols);
        return;
    }
    if (source->base) {
        hd_source_cut_rows(source, i, row, n, out, scratch);
        return;
    }
    const hd_origin *o = &source->origins[i];
    if (o->count && t->dims == 1 &&
        o->parts[0].cols == 1) { /* a vector whose values are reordered: each is a row of its part */
        row *= t->shape[0];
        n *= t->shape[0];
    }
    switch (o->take) {
    case HD_TAKE_ALL: take_all(source, o, row, n, out); break;
    case HD_TAKE_ADJACENT:
    case HD_TAKE_APART: take_rotated(source, o, row, n, out); break;
    case HD_TAKE_KEYS: take_keys(source, o, row, n, out, scratch); break;
    case HD_TAKE_VALUES: take_values(source, o, row, n, out); break;
    case HD_TAKE_JOINT: take_joint(source, o, row, n, out, scratch); break;
    case HD_TAKE_SCALES: hd_source_take_scales(source, o, row, n, out, scratch); break;
    }
}

/* The tensor itself, or what scales are made of. */
static size_t base_of(const hd_source *source, size_t i)
{
    bool scales = source->origins && source->origins[i].take == HD_TAKE_SCALES;
    return scales ? source->origins[i].of : i;
}

int64_t hd_source_work(const hd_source *source, size_t i)
{
    return hd_tensor_values(&source->tensors[base_of(source, i)]);
}

void hd_source_drop(const hd_source *source, size_t i)
{
    i = base_of(source, i);
    const hd_tensor *t = &source->tensors[i];
    if (source->base) {
        hd_source_drop(source->base, i);
        return;
    }
    if (t->data) hd_checkpoint_drop(source->ckpt, t->data, t->bytes);
    for (size_t k = 0; !t->data && k < source->origins[i].count; k++) {
        const hd_matrix *m = &source->origins[i].parts[k];
        hd_checkpoint_drop(source->ckpt, m->data, (size_t)m->rows * m->row_bytes);
    }
}

/* ---- making one ---- */

hd_status hd_source_new(hd_source **out, const hd_checkpoint *ckpt, hd_format layout, hd_error *err)
{
    hd_source *s = *out = hd_calloc(1, sizeof *s);
    if (!s) return hd_fail(err, HD_E_MEMORY, "no memory to convert the model");
    s->ckpt = ckpt;
    s->layout = layout;
    s->taken = hd_calloc(HD_MAX(hd_checkpoint_tensor_count(ckpt), 1), sizeof *s->taken);
    if (s->taken) return HD_OK;
    hd_source_close(out);
    return hd_fail(err, HD_E_MEMORY, "no memory for the list of tensors");
}

void hd_source_close(hd_source **source)
{
    hd_source *s = *source;
    if (!s) return;
    *source = NULL;
    hd_meta_list_free(&s->meta);
    hd_arena_free(&s->arena);
    hd_free(s->tensors);
    hd_free(s->origins);
    hd_free(s->deltas);
    hd_free(s->taken);
    hd_free(s->cuts);
    hd_source_close(&s->base);
    hd_free(s);
}

static bool grow(hd_source *s)
{
    size_t cap = HD_MAX(2 * s->cap, 256);
    hd_tensor *tensors = hd_realloc_array(s->tensors, cap, sizeof *tensors);
    if (!tensors) return false;
    s->tensors = tensors;
    hd_origin *origins = hd_realloc_array(s->origins, cap, sizeof *origins);
    if (!origins) return false;
    s->origins = origins;
    s->cap = cap;
    return true;
}

hd_status hd_source_add(hd_source *s, const hd_tensor *t, const hd_origin *origin, hd_error *err)
{
    hd_tensor copy = *t;
    copy.name = hd_arena_text(&s->arena, t->name, strlen(t->name));
    if (!copy.name || (s->count == s->cap && !grow(s)))
        return hd_fail(err, HD_E_MEMORY, "no memory for the list of tensors");
    for (size_t k = 0; k < origin->count; k++)
        s->scratch = HD_MAX(s->scratch, (size_t)origin->parts[k].cols);
    s->tensors[s->count] = copy;
    s->origins[s->count++] = *origin;
    return HD_OK;
}

const hd_tensor *hd_source_take(hd_source *s, const char *name)
{
    const hd_tensor *t = hd_checkpoint_find(s->ckpt, name);
    if (t) s->taken[t - hd_checkpoint_tensor(s->ckpt, 0)] = true;
    return t;
}

/* The scales of a matrix of 8 bits, as float32. */
static hd_status take_scales(hd_source *s, const hd_tensor *t, hd_matrix *m, hd_error *err)
{
    hd_scale_layout layout = {0};
    HD_TRY(hd_model_scales_find(&layout, s->ckpt, t->name, t->type, m->rows, m->cols, err));
    int64_t rows = layout.shape[0], cols = layout.shape[1];
    const hd_tensor *scales = hd_source_take(s, layout.name);
    if (!scales)
        return hd_fail(err, HD_E_FORMAT, "tensor '%s' is %s, but '%s' is missing", t->name, hd_type_name(t->type),
                       layout.name);
    if (scales->dims != 2 || scales->shape[0] != rows || scales->shape[1] != cols)
        return hd_fail(err, HD_E_FORMAT, "tensor '%s' is not one scale for each block of %lld x %lld: [%lld, %lld]",
                       layout.name, (long long)layout.rows, (long long)layout.cols, (long long)rows, (long long)cols);
    float *values = hd_arena_alloc(&s->arena, (size_t)(rows * cols), sizeof *values);
    if (!values) return hd_fail(err, HD_E_MEMORY, "no memory for the scales of '%s'", t->name);
    if (!hd_type_is_weight(scales->type) || !hd_decode_row(scales->type, scales->data, values, rows * cols))
        return hd_fail(err, HD_E_FORMAT, "tensor '%s' has type %s, not one of scales", layout.name,
                       hd_type_name(scales->type));
    m->scale = values;
    m->scale_stride = cols;
    m->scale_rows = layout.rows;
    m->scale_cols = layout.cols;
    return hd_model_scales_check(m, layout.name, err);
}

hd_status hd_source_parts(hd_source *s, const hd_tensor *t, size_t count, bool column, hd_matrix *parts, hd_error *err)
{
    int64_t cols = column ? 1 : hd_tensor_cols(t), values = hd_tensor_values(t);
    hd_matrix m = {.type = t->type, .cols = cols, .data = t->data};
    if (cols < 1 || values % (cols * (int64_t)count) != 0)
        return hd_fail(err, HD_E_FORMAT, "tensor '%s' has an unexpected shape", t->name);
    m.rows = values / cols / (int64_t)count;
    bool scaled = t->dims == 2 && hd_model_has_scales(t->type) && hd_checkpoint_format(s->ckpt) != HD_FORMAT_GGUF;
    if (!hd_type_row_bytes(t->type, cols, &m.row_bytes) || (!scaled && !hd_type_is_weight(t->type)))
        return hd_fail(err, HD_E_UNSUPPORTED, "tensor '%s' has type %s, which is not one of weights", t->name,
                       hd_type_name(t->type));
    if (scaled) HD_TRY(take_scales(s, t, &m, err));
    for (size_t k = 0; k < count; k++) {
        parts[k] = m;
        parts[k].data += k * (size_t)m.rows * m.row_bytes;
    }
    return HD_OK;
}

/* The heads whose rows Llama rotates in pairs; 0: it is no such tensor. */
static int rotated_heads(const hd_model_config *c, hd_name_id id)
{
    if (c->arch != HD_ARCH_LLAMA) return 0;
    if (id == HD_NAME_q_weight || id == HD_NAME_q_bias) return c->heads;
    return id == HD_NAME_k_weight || id == HD_NAME_k_bias ? c->kv_heads : 0;
}

hd_status hd_source_add_renamed(hd_source *s, hd_name_id id, const hd_tensor *t, const char *name, hd_type type,
                                hd_take rotate, hd_error *err)
{
    hd_tensor to = *t;
    hd_origin origin = {.take = HD_TAKE_ALL, .heads = rotated_heads(&s->config, id)};
    to.name = name;
    to.type = type;
    if (type == t->type && !origin.heads) return hd_source_add(s, &to, &origin, err);
    hd_matrix *part = hd_arena_alloc(&s->arena, 1, sizeof *part);
    if (!part) return hd_fail(err, HD_E_MEMORY, "no memory to convert the model");
    HD_TRY(hd_source_parts(s, t, 1, origin.heads && t->dims == 1, part, err));
    to.data = NULL;
    origin.parts = part;
    origin.count = 1;
    if (origin.heads) origin.take = rotate;
    if (origin.heads && part->rows != origin.heads * s->config.head_dim)
        return hd_fail(err, HD_E_FORMAT, "tensor '%s' has a shape that the configuration does not ask for", t->name);
    return hd_source_add(s, &to, &origin, err);
}

hd_status hd_source_check_taken(hd_source *s, hd_error *err)
{
    for (size_t i = 0; i < hd_checkpoint_tensor_count(s->ckpt); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(s->ckpt, i);
        if (!s->taken[i] && !hd_name_is_derived(t->name) && t->bytes)
            return hd_fail(err, HD_E_FORMAT, "%s: tensor '%.100s' is not part of this architecture as configured",
                           hd_checkpoint_path(s->ckpt), t->name);
    }
    return HD_OK;
}
