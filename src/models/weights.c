/* models/weights.c: tensors by name, with their shapes checked and their use accounted for.
 *
 * Invariants: taken[i] is true once tensor i of the checkpoint was asked for or ignored; every block of `blocks` and
 * every packed matrix of `packed` belongs to the model and is released in hd_weights_close. */
#include <stdio.h>
#include <string.h>

#include "models/models_internal.h"
#include "tensor/quant.h"

struct hd_weights {
    const hd_checkpoint *ckpt;
    const hd_model_options *options; /* valid while loading only */
    const hd_exec *ex;
    const hd_backend *backend;
    bool gguf;
    bool *taken;
    size_t taken_count;
    void **blocks;
    size_t block_count, block_cap;
    hd_matrix **packed;
    size_t packed_count, packed_cap;
    hd_model_sizes sizes;
};

hd_status hd_weights_open(hd_weights **out, const hd_checkpoint *ckpt, const hd_model_options *options,
                          const hd_exec *ex, hd_error *err)
{
    *out = NULL;
    hd_weights *w = hd_calloc(1, sizeof *w);
    if (!w) return hd_fail(err, HD_E_MEMORY, "out of memory for the model's weights");
    w->ckpt = ckpt;
    w->options = options;
    w->ex = ex;
    w->backend = options->backend;
    w->gguf = hd_checkpoint_format(ckpt) == HD_FORMAT_GGUF;
    w->taken = hd_calloc(hd_checkpoint_tensor_count(ckpt), sizeof *w->taken);
    if (!w->taken) {
        hd_free(w);
        return hd_fail(err, HD_E_MEMORY, "out of memory for %zu tensors", hd_checkpoint_tensor_count(ckpt));
    }
    *out = w;
    return HD_OK;
}

void hd_weights_close(hd_weights **ref)
{
    hd_weights *w = *ref;
    if (!w) return;
    *ref = NULL;
    for (size_t i = 0; i < w->packed_count; i++)
        w->backend->unprepare(w->packed[i]);
    for (size_t i = 0; i < w->block_count; i++)
        hd_free(w->blocks[i]);
    hd_free(w->packed);
    hd_free(w->blocks);
    hd_free(w->taken);
    hd_free(w);
}

bool hd_weights_gguf(const hd_weights *w)
{
    return w->gguf;
}

/* Room for one more entry in a growing array. */
static bool grow(void **array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) return true;
    size_t more = *cap ? *cap * 2 : 64;
    void *bigger = hd_realloc_array(*array, more, size);
    if (!bigger) return false;
    *array = bigger;
    *cap = more;
    return true;
}

void *hd_weights_alloc(hd_weights *w, size_t count, size_t size)
{
    if (!grow((void **)&w->blocks, w->block_count, &w->block_cap, sizeof *w->blocks)) return NULL;
    void *block = hd_calloc(count, size);
    if (block) w->blocks[w->block_count++] = block;
    return block;
}

static void tensor_name(const hd_weights *w, char *out, hd_name name, int layer, int expert)
{
    hd_name_expand(out, HD_NAME_MAX, w->gguf ? name.gguf : name.safetensors, layer, expert);
}

/* The checkpoint hands out tensors of one array: the index is the distance from the first. */
static void mark(hd_weights *w, const hd_tensor *t)
{
    size_t i = (size_t)(t - hd_checkpoint_tensor(w->ckpt, 0));
    if (w->taken[i]) return;
    w->taken[i] = true;
    w->taken_count++;
    w->sizes.weight_bytes += t->bytes;
    w->sizes.parameters += hd_tensor_values(t);
    w->sizes.type_values[t->type] += hd_tensor_values(t);
    if (w->options && w->options->progress && w->taken_count % 8 == 0)
        w->options->progress(w->options->progress_arg,
                             (double)w->taken_count / (double)hd_checkpoint_tensor_count(w->ckpt));
}

bool hd_weights_has(const hd_weights *w, hd_name name, int layer)
{
    char full[HD_NAME_MAX];
    if (!(w->gguf ? name.gguf : name.safetensors)) return false;
    tensor_name(w, full, name, layer, 0);
    return hd_checkpoint_find(w->ckpt, full) != NULL;
}

static hd_status wrong_shape(const hd_tensor *t, int dims, const int64_t *want, hd_error *err)
{
    char have_text[96] = "", want_text[96] = "";
    size_t h = 0, n = 0;
    for (int d = 0; d < t->dims; d++)
        h += (size_t)snprintf(have_text + h, sizeof have_text - h, "%s%lld", d ? ", " : "", (long long)t->shape[d]);
    for (int d = 0; d < dims; d++)
        n += (size_t)snprintf(want_text + n, sizeof want_text - n, "%s%lld", d ? ", " : "", (long long)want[d]);
    return hd_fail(err, HD_E_FORMAT, "tensor %.100s has shape [%s], the configuration asks for [%s]", t->name,
                   have_text, want_text);
}

/* Takes the tensor `full` if its shape is want[dims]. */
static hd_status take(hd_weights *w, const hd_tensor **out, const char *full, int dims, const int64_t *want,
                      hd_error *err)
{
    const hd_tensor *t = hd_checkpoint_find(w->ckpt, full);
    if (!t) return hd_fail(err, HD_E_FORMAT, "tensor %s is missing from %s", full, hd_checkpoint_path(w->ckpt));
    bool same = t->dims == dims;
    for (int d = 0; same && d < dims; d++)
        same = t->shape[d] == want[d];
    if (!same) return wrong_shape(t, dims, want, err);
    mark(w, t);
    *out = t;
    return HD_OK;
}

static hd_status decode_all(hd_weights *w, const hd_tensor *t, int64_t n, float **out, hd_error *err)
{
    float *values = hd_weights_alloc(w, (size_t)n, sizeof *values);
    if (!values) return hd_fail(err, HD_E_MEMORY, "out of memory for tensor %s", t->name);
    if (!hd_type_is_weight(t->type) || !hd_decode_row(t->type, t->data, values, n))
        return hd_fail(err, HD_E_FORMAT, "tensor %s has type %s, which is not one of weights", t->name,
                       hd_type_name(t->type));
    *out = values;
    return HD_OK;
}

static hd_status take_scales(hd_weights *w, hd_matrix *m, const char *name, hd_error *err)
{
    hd_scale_layout layout = {0};
    const hd_tensor *t;
    float *scale;
    HD_TRY(hd_model_scales_find(&layout, w->ckpt, name, m->type, m->rows, m->cols, err));
    HD_TRY(take(w, &t, layout.name, 2, layout.shape, err));
    HD_TRY(decode_all(w, t, layout.shape[0] * layout.shape[1], &scale, err)); /* float32, whatever the file has */
    m->scale = scale;
    m->scale_stride = layout.shape[1];
    m->scale_rows = layout.rows;
    m->scale_cols = layout.cols;
    return hd_model_scales_check(m, layout.name, err);
}

static hd_status fill_matrix(hd_weights *w, hd_matrix *m, const hd_tensor *t, int64_t rows, int64_t cols, hd_error *err)
{
    *m = (hd_matrix){.type = t->type, .rows = rows, .cols = cols, .data = t->data};
    bool scaled = hd_model_has_scales(t->type) && !w->gguf;
    if (!scaled && !hd_type_is_weight(t->type))
        return hd_fail(err, HD_E_UNSUPPORTED, "tensor %s has type %s, which is not one of weights", t->name,
                       hd_type_name(t->type));
    if (!hd_type_row_bytes(t->type, cols, &m->row_bytes))
        return hd_fail(err, HD_E_FORMAT, "tensor %s: rows of %lld values are no whole blocks of %s", t->name,
                       (long long)cols, hd_type_name(t->type));
    return scaled ? take_scales(w, m, t->name, err) : HD_OK;
}

hd_status hd_weights_prepare(hd_weights *w, hd_matrix *m, hd_error *err)
{
    if (!grow((void **)&w->packed, w->packed_count, &w->packed_cap, sizeof(hd_matrix *)))
        return hd_fail(err, HD_E_MEMORY, "out of memory for the model's weights");
    if (w->backend->prepare(w->ex, m) != HD_OK)
        return hd_fail(err, HD_E_MEMORY, "out of memory for repacked weights (%lld x %lld)", (long long)m->rows,
                       (long long)m->cols);
    if (!m->packed) return HD_OK;
    w->packed[w->packed_count++] = m;
    w->sizes.packed_bytes += m->packed_bytes;
    hd_checkpoint_drop(w->ckpt, m->data, (size_t)m->rows * m->row_bytes);
    return HD_OK;
}

hd_status hd_weights_matrix(hd_weights *w, hd_matrix *out, hd_name name, int layer, int64_t rows, int64_t cols,
                            bool prepare, hd_error *err)
{
    char full[HD_NAME_MAX];
    const hd_tensor *t;
    const int64_t shape[2] = {rows, cols};
    tensor_name(w, full, name, layer, 0);
    HD_TRY(take(w, &t, full, 2, shape, err));
    HD_TRY(fill_matrix(w, out, t, rows, cols, err));
    return prepare ? hd_weights_prepare(w, out, err) : HD_OK;
}

/* The matrices of a 3-D tensor. */
static hd_status take_stacked(hd_weights *w, hd_matrix *m, const char *full, int count, int64_t rows, int64_t cols,
                              hd_error *err)
{
    const hd_tensor *t;
    const int64_t shape[3] = {count, rows, cols};
    HD_TRY(take(w, &t, full, 3, shape, err));
    for (int e = 0; e < count; e++) {
        HD_TRY(fill_matrix(w, &m[e], t, rows, cols, err));
        m[e].data += (size_t)e * (size_t)rows * m[e].row_bytes;
    }
    return HD_OK;
}

hd_status hd_weights_experts(hd_weights *w, hd_matrix **out, hd_name name, int layer, int count, int64_t rows,
                             int64_t cols, bool prepare, hd_error *err)
{
    char full[HD_NAME_MAX];
    hd_matrix *m = hd_weights_alloc(w, (size_t)count, sizeof *m);
    if (!m) return hd_fail(err, HD_E_MEMORY, "out of memory for %d experts", count);
    *out = m;
    if (w->gguf) {
        tensor_name(w, full, name, layer, 0);
        HD_TRY(take_stacked(w, m, full, count, rows, cols, err));
    }
    for (int e = 0; e < count && !w->gguf; e++) {
        const hd_tensor *t;
        const int64_t shape[2] = {rows, cols};
        tensor_name(w, full, name, layer, e);
        HD_TRY(take(w, &t, full, 2, shape, err));
        HD_TRY(fill_matrix(w, &m[e], t, rows, cols, err));
    }
    for (int e = 0; prepare && e < count; e++)
        HD_TRY(hd_weights_prepare(w, &m[e], err));
    return HD_OK;
}

hd_status hd_weights_vector(hd_weights *w, const float **out, hd_name name, int layer, int64_t n, hd_error *err)
{
    char full[HD_NAME_MAX];
    const hd_tensor *t;
    float *values;
    tensor_name(w, full, name, layer, 0);
    HD_TRY(take(w, &t, full, 1, &n, err));
    HD_TRY(decode_all(w, t, n, &values, err));
    *out = values;
    return HD_OK;
}

hd_status hd_weights_vector_if(hd_weights *w, bool wanted, const float **out, hd_name name, int layer, int64_t n,
                               hd_error *err)
{
    *out = NULL;
    return wanted ? hd_weights_vector(w, out, name, layer, n, err) : HD_OK;
}

void hd_weights_ignore(hd_weights *w, const char *prefix)
{
    size_t len = strlen(prefix);
    for (size_t i = 0; i < hd_checkpoint_tensor_count(w->ckpt); i++)
        if (strncmp(hd_checkpoint_tensor(w->ckpt, i)->name, prefix, len) == 0) w->taken[i] = true;
}

hd_status hd_weights_finish(hd_weights *w, hd_error *err)
{
    enum { SHOWN = 4 };
    char names[512] = "";
    size_t unknown = 0, len = 0;
    for (size_t i = 0; i < hd_checkpoint_tensor_count(w->ckpt); i++) {
        const char *name = hd_checkpoint_tensor(w->ckpt, i)->name;
        if (w->taken[i] || hd_name_is_derived(name) || hd_checkpoint_tensor(w->ckpt, i)->bytes == 0) continue;
        if (unknown++ < SHOWN && len < sizeof names)
            len += (size_t)snprintf(names + len, sizeof names - len, "%s%.100s", len ? ", " : "", name);
    }
    w->options = NULL; /* loading is over */
    if (!unknown) return HD_OK;
    return hd_fail(err, HD_E_FORMAT, "%s: %zu tensors are not part of this architecture as configured: %s%s",
                   hd_checkpoint_path(w->ckpt), unknown, names, unknown > SHOWN ? ", ..." : "");
}

void hd_weights_sizes(const hd_weights *w, hd_model_sizes *out)
{
    *out = w->sizes;
}
