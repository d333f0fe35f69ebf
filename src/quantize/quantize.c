/* quantize/quantize.c: the run: tensors are decoded, encoded and written a stretch of rows at a time. */
#include "quantize/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/dirs.h"
#include "base/text.h"
#include "quantize/importance.h"
#include "quantize/output.h"
#include "tensor/encode.h"
#include "tensor/quant.h"

/* Values that go through memory together: 16 MB of float32 in all, and a thread's piece stays in its caches. */
#define STRETCH_VALUES ((int64_t)4 << 20)
#define PIECE_VALUES ((int64_t)1 << 15)

#define QUANTIZATION_VERSION 2 /* general.quantization_version: the layouts of the block types as they are today */

typedef struct run {
    const hd_source *from;
    const hd_type *types;
    const hd_quant_options *options;
    const char *path;
    hd_output *output;
    hd_file_writer *writer; /* of the file under way */
    uint64_t done, all;     /* values */
    uint8_t *out;           /* a stretch, encoded */
    float *values;          /* [threads][piece] */
    float *scratch;         /* [threads][hd_source_scratch] */
    float *weights;         /* [threads][piece] of importance, or scales that nobody wants; NULL: there are none */
    float *columns;         /* of the tensor under way: what errors cost, [matrices][cols]; NULL: all alike */
    int64_t stretch, piece; /* values that they have room for; at least a row of any tensor */
    hd_error *err;
} run;

/* ---- metadata ---- */

static bool key_is(const hd_meta *m, const char *key)
{
    return m->key.len == strlen(key) && memcmp(m->key.data, key, m->key.len) == 0;
}

hd_type hd_quant_commonest(const hd_source *from, const hd_type *types, bool plain, hd_type otherwise)
{
    int64_t values[HD_TYPE_COUNT] = {0};
    for (size_t i = 0; i < hd_source_count(from); i++) {
        bool scales = i && hd_model_has_scales(types[i - 1]) && hd_source_codes(from, i - 1) == types[i - 1];
        if (!plain || (hd_type_is_plain(types[i]) && !scales))
            values[types[i]] += hd_tensor_values(hd_source_tensor(from, i));
    }
    return hd_type_commonest(values, otherwise);
}

/* general.file_type of a recipe without a name: that of the largest mix of the commonest type. */
static uint32_t file_type_of(const run *r)
{
    size_t count;
    hd_type commonest = hd_quant_commonest(r->from, r->types, false, HD_TYPE_F32);
    const hd_quant_mix *mixes = hd_quant_mixes(&count);
    for (size_t i = 0; i < count; i++)
        if (mixes[i].type == commonest) return mixes[i].gguf_id;
    return 0;
}

/* The keys that llama.cpp writes. */
static void add_imatrix(hd_meta_list *to, const hd_quant_options *o)
{
    const hd_imatrix *m = o->imatrix;
    const char *text = m->dataset_count ? m->datasets[0] : NULL;
    if (o->imatrix_file) hd_meta_add_text(to, "quantize.imatrix.file", o->imatrix_file, strlen(o->imatrix_file));
    if (text) hd_meta_add_text(to, "quantize.imatrix.dataset", text, strlen(text));
    hd_meta_add_u32(to, "quantize.imatrix.entries_count", (uint32_t)m->count);
    if (m->chunk_count) hd_meta_add_u32(to, "quantize.imatrix.chunks_count", m->chunk_count);
}

/* Those of the source, but for what is no longer so. */
static hd_status make_metadata(hd_meta_list *to, const run *r, const hd_quant_mix *mix)
{
    static const char *const replaced[] = {"general.file_type",
                                           "general.quantization_version",
                                           "split.no",
                                           "split.count",
                                           "split.tensors.count",
                                           "quantize.imatrix.file",
                                           "quantize.imatrix.dataset",
                                           "quantize.imatrix.entries_count",
                                           "quantize.imatrix.chunks_count",
                                           HD_QUANT_REPORT_KEY};
    const hd_meta_list *from = hd_source_meta(r->from);
    for (size_t i = 0; i < from->count; i++) {
        bool keep = true;
        for (size_t k = 0; k < HD_ARRAY_LEN(replaced); k++)
            keep = keep && !key_is(&from->items[i], replaced[k]);
        if (keep) hd_meta_add(to, &from->items[i]);
    }
    hd_meta_add_u32(to, "general.file_type", mix ? mix->gguf_id : file_type_of(r));
    hd_meta_add_u32(to, "general.quantization_version", QUANTIZATION_VERSION);
    if (r->options->imatrix) add_imatrix(to, r->options);
    const char *report = r->options->report;
    if (report) hd_meta_add_text(to, HD_QUANT_REPORT_KEY, report, strlen(report));
    return to->status == HD_OK ? HD_OK : hd_fail(r->err, to->status, "no memory for the metadata");
}

/* ---- one tensor ---- */

/* Rows of a tensor that go through memory together. */
typedef struct stretch {
    const run *r;
    size_t tensor;
    hd_type after;
    int64_t row, rows, cols;
    int64_t matrix_rows; /* of one expert or head */
    int64_t step;        /* rows of a thread's piece */
    atomic_bool bad;     /* a number is not finite */
    atomic_bool beyond;  /* one is larger than the type can hold */
} stretch;

static size_t bytes_of(hd_type type, int64_t values)
{
    return (size_t)(values / hd_type_block(type)) * (size_t)hd_type_block_bytes(type);
}

/* Rows of a tensor for which about so many values are looked at: whole rows of blocks in FP8. */
static int64_t rows_for(const run *r, size_t i, int64_t values)
{
    int64_t rows = HD_MAX(hd_tensor_rows(hd_source_tensor(r->from, i)), 1);
    int64_t n = HD_MAX(values / HD_MAX(hd_source_work(r->from, i) / rows, 1), 1);
    return r->types[i] == HD_TYPE_F8_E4M3 ? HD_MAX(n / HD_F8_BLOCK, 1) * HD_F8_BLOCK : n;
}

static bool all_finite(const float *x, int64_t n)
{
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * 0.0f; /* 0, or NaN for good */
    return sum == 0.0f;
}

/* Items are pieces of the stretch. */
static void encode_pieces(void *arg, int64_t begin, int64_t end, int thread)
{
    stretch *s = arg;
    const run *r = s->r;
    float *x = r->values + thread * r->piece;
    float *scratch = r->scratch + (size_t)thread * hd_source_scratch(r->from);
    for (int64_t i = begin; i < end; i++) {
        int64_t at = i * s->step, rows = HD_MIN(s->step, s->rows - at), n = rows * s->cols;
        uint8_t *to = r->out + bytes_of(s->after, at * s->cols);
        hd_source_rows(r->from, s->tensor, s->row + at, rows, x, scratch);
        bool finite = all_finite(x, n);
        if (!finite) atomic_store(&s->bad, true);
        float *weights = r->columns || hd_model_has_scales(s->after) ? r->weights + thread * r->piece : NULL;
        if (r->columns) hd_importance_weights(weights, r->columns, s->matrix_rows, s->cols, (s->row + at) * s->cols, n);
        if (s->after == HD_TYPE_F8_E4M3)
            hd_encode_f8_blocks(x, rows, s->cols, to, weights, (s->cols + HD_F8_BLOCK - 1) / HD_F8_BLOCK);
        else if (s->after == HD_TYPE_I8)
            hd_encode_i8_rows(x, rows, s->cols, (int8_t *)to, weights);
        else if (hd_encode_supported(s->after))
            (void)hd_encode_blocks(s->after, x, weights, to, n);
        else
            (void)hd_encode_row(s->after, x, to, n);
        (void)hd_decode_row(s->after, to, x, n);
        if (finite && !all_finite(x, n)) atomic_store(&s->beyond, true);
    }
}

/* Reads a byte of every page of a mapped stretch: a file that shrank shows then, and not within a system call. */
static void touch(const uint8_t *data, size_t bytes)
{
    volatile uint8_t sink = 0;
    for (size_t at = 0; at < bytes; at += 4096)
        sink = data[at];
    (void)sink;
}

/* What the file will have of rows [row, row + rows) of the tensor; *out is good until the next call. */
static hd_status make_stretch(run *r, size_t tensor, int64_t row, int64_t rows, const uint8_t **out)
{
    const hd_tensor *t = hd_source_tensor(r->from, tensor);
    stretch s = {
        .r = r, .tensor = tensor, .after = r->types[tensor], .row = row, .rows = rows, .cols = hd_tensor_cols(t)};
    bool copied = s.after == t->type && t->data;
    const uint8_t *from = t->data;
    s.step = rows_for(r, tensor, r->piece);
    s.matrix_rows = t->dims > 1 ? t->shape[t->dims - 2] : 1;
    if (copied) {
        from += bytes_of(t->type, row * s.cols);
        touch(from, bytes_of(t->type, rows * s.cols));
    } else
        hd_pool_for(r->options->pool, (rows + s.step - 1) / s.step, 1, encode_pieces, &s);
    HD_TRY(hd_checkpoint_check(hd_source_checkpoint(r->from), r->err));
    if (atomic_load(&s.bad))
        return hd_fail(r->err, HD_E_FORMAT, "tensor '%s' holds a number that is not finite; %s", t->name,
                       hd_source_is_merged(r->from) ? "the model is damaged, or the scale of the adapter is too large"
                                                    : "the model is damaged");
    if (atomic_load(&s.beyond))
        return hd_fail(r->err, HD_E_UNSUPPORTED,
                       "tensor '%s' holds a number beyond what %s can hold; take BF16 or a larger type", t->name,
                       hd_type_name(s.after));
    *out = copied ? from : r->out;
    return HD_OK;
}

bool hd_quant_weighs(hd_type type)
{
    return hd_encode_supported(type) && type != HD_TYPE_Q8_0;
}

/* What the matrix has for tensor i, and how many matrices of how many columns that is; NULL: its values count alike. */
static const hd_imatrix_entry *entry_of(const run *r, size_t i, int64_t *matrices, int64_t *cols)
{
    const hd_tensor *t = hd_source_tensor(r->from, i);
    const hd_imatrix *m = r->options->imatrix;
    if (!m || !hd_quant_weighs(r->types[i]) || r->types[i] == t->type || t->dims < 2) return NULL;
    *cols = hd_tensor_cols(t);
    *matrices = hd_tensor_rows(t) / HD_MAX(t->shape[t->dims - 2], 1);
    return hd_imatrix_find(m, t->name);
}

/* Before anything is written: that the matrix is of this model. */
static hd_status check_imatrix(const run *r)
{
    int64_t matrices, cols;
    for (size_t i = 0; i < hd_source_count(r->from); i++) {
        const hd_imatrix_entry *e = entry_of(r, i, &matrices, &cols);
        if (e && !hd_importance_fits(e, matrices, cols))
            return hd_fail(r->err, HD_E_ARGUMENT,
                           "the importance matrix has %zu x %zu values for '%s', which has %lld x %lld columns; it is "
                           "of another model",
                           e->rows, e->cols, e->name, (long long)matrices, (long long)cols);
    }
    return HD_OK;
}

/* r->columns of tensor i, for make_stretch. */
static hd_status find_columns(run *r, size_t i)
{
    int64_t matrices, cols;
    hd_free(r->columns);
    r->columns = NULL;
    if (!entry_of(r, i, &matrices, &cols)) return HD_OK; /* it fits: check_imatrix */
    return hd_importance_of(&r->columns, r->options->imatrix, hd_source_tensor(r->from, i), r->err);
}

static hd_status write_tensor(run *r, size_t i)
{
    const hd_tensor *t = hd_source_tensor(r->from, i);
    HD_TRY(find_columns(r, i));
    int64_t cols = hd_tensor_cols(t), rows = hd_tensor_rows(t);
    const uint8_t *bytes;
    if (cols * rows == 0) return hd_file_writer_put(r->writer, "", 0, r->err);
    int64_t step = rows_for(r, i, r->stretch), row_work = hd_source_work(r->from, i) / rows;
    for (int64_t at = 0; at < rows; at += step) {
        int64_t n = HD_MIN(step, rows - at);
        if (r->options->progress && !r->options->progress(r->options->arg, r->done, r->all))
            return hd_fail(r->err, HD_E_CANCELLED, "interrupted; what is written stays, run it again to go on");
        HD_TRY(make_stretch(r, i, at, n, &bytes));
        HD_TRY(hd_file_writer_put(r->writer, bytes, bytes_of(r->types[i], n * cols), r->err));
        r->done += (uint64_t)(n * row_work);
    }
    hd_source_drop(r->from, i);
    return HD_OK;
}

/* ---- the whole ---- */

static hd_status check_types(const run *r)
{
    for (size_t i = 0; i < hd_source_count(r->from); i++) {
        const hd_tensor *t = hd_source_tensor(r->from, i);
        hd_type type = r->types[i];
        if (type != t->type && !hd_type_is_weight(t->type))
            return hd_fail(r->err, HD_E_UNSUPPORTED,
                           "tensor '%s' has type %s, which is not one of weights; it must stay", t->name,
                           hd_type_name(t->type));
        bool codes = hd_model_has_scales(type) && hd_source_codes(r->from, i) == type;
        if ((type != t->type || !t->data) && !codes && !hd_quant_can_write(type))
            return hd_fail(r->err, HD_E_UNSUPPORTED, "tensor '%s': %s can't be written yet", t->name,
                           hd_type_name(type));
    }
    return HD_OK;
}

/* Whole rows go through memory, however wide. */
static hd_status take_memory(run *r)
{
    size_t threads = (size_t)hd_pool_threads(r->options->pool);
    bool apart = r->options->imatrix != NULL; /* importance, or scales */
    r->piece = PIECE_VALUES;
    r->stretch = r->options->stretch ? r->options->stretch : STRETCH_VALUES;
    for (size_t i = 0; i < hd_source_count(r->from); i++) {
        int64_t row = hd_tensor_cols(hd_source_tensor(r->from, i));
        if (r->types[i] == HD_TYPE_F8_E4M3) row *= HD_F8_BLOCK;
        r->piece = HD_MAX(r->piece, row);
        r->stretch = HD_MAX(r->stretch, row);
        apart = apart || hd_model_has_scales(r->types[i]);
    }
    r->out = hd_alloc_array((size_t)r->stretch, sizeof(float));
    r->values = hd_alloc_array(threads * (size_t)r->piece, sizeof *r->values);
    r->scratch = hd_alloc_array(threads * HD_MAX(hd_source_scratch(r->from), 1), sizeof *r->scratch);
    if (apart) r->weights = hd_alloc_array(threads * (size_t)r->piece, sizeof *r->weights);
    bool weights = r->weights || !apart;
    return r->out && r->values && r->scratch && weights ? HD_OK
                                                        : hd_fail(r->err, HD_E_MEMORY, "no memory to quantize in");
}

/* Whether a tensor of the part that was found is of this model: its first rows must be what we would write. */
static hd_status check_written(run *r, size_t i, size_t position)
{
    const hd_tensor *t = hd_source_tensor(r->from, i);
    int64_t cols = hd_tensor_cols(t), rows = hd_tensor_rows(t);
    const uint8_t *bytes;
    r->done += (uint64_t)hd_source_work(r->from, i);
    if (rows * cols == 0) return HD_OK;
    rows = HD_MIN(rows, rows_for(r, i, HD_MIN(PIECE_VALUES, r->stretch)));
    HD_TRY(find_columns(r, i));
    HD_TRY(make_stretch(r, i, 0, rows, &bytes));
    if (hd_file_writer_has(r->writer, position, bytes, bytes_of(r->types[i], rows * cols))) return HD_OK;
    return hd_fail(
        r->err, HD_E_IO,
        "%s%s: was begun from another model or importance matrix, adapter or pruning; remove it to start anew", r->path,
        HD_PART_SUFFIX);
}

static hd_status write_file(run *r, size_t file)
{
    HD_TRY(hd_output_begin(r->output, file, &r->writer, r->err));
    size_t first = hd_file_writer_next(r->writer);
    if (hd_file_writer_older(r->writer, hd_checkpoint_written_ns(hd_source_checkpoint(r->from))))
        return hd_fail(r->err, HD_E_IO,
                       "%s: what an interrupted run left of it is older than the model; remove it to "
                       "start anew",
                       r->path);
    for (size_t k = 0; k < hd_output_tensors(r->output, file); k++) {
        size_t i = hd_output_tensor(r->output, file, k);
        HD_TRY(k < first ? check_written(r, i, k) : write_tensor(r, i));
    }
    return hd_output_end(r->output, r->err);
}

/* Whether the disk has room for what is not there yet. */
static hd_status check_room(const run *r, const hd_output_plan *plan)
{
    char needed[HD_SIZE_TEXT], left[HD_SIZE_TEXT];
    uint64_t bytes = 0, there = hd_output_there(r->output);
    for (size_t i = 0; i < plan->count; i++)
        bytes += hd_quant_bytes(&plan->tensors[i], plan->tensors[i].type);
    char *place = hd_folder_of(r->path);
    uint64_t room = place ? hd_disk_free(place) : UINT64_MAX;
    hd_free(place);
    if (room >= bytes || room >= bytes - HD_MIN(bytes, there)) return HD_OK;
    return hd_fail(r->err, HD_E_IO, "%s: needs %s more, but only %s are left on that disk", r->path,
                   hd_size_text(needed, bytes - HD_MIN(bytes, there)), hd_size_text(left, room));
}

static hd_status write_files(run *r, const hd_output_plan *plan)
{
    HD_TRY(hd_output_open(&r->output, plan, r->err));
    HD_TRY(check_room(r, plan));
    for (size_t i = 0; i < hd_source_count(r->from); i++)
        r->all += (uint64_t)hd_source_work(r->from, i);
    for (size_t f = 0; f < hd_output_files(r->output); f++)
        HD_TRY(write_file(r, f));
    return hd_output_finish(r->output, r->err);
}

/* The source's with their new types; NULL: no memory. */
static hd_tensor *retyped(const hd_source *from, const hd_type *types, hd_error *err)
{
    size_t count = hd_source_count(from);
    hd_tensor *tensors = hd_alloc_array(HD_MAX(count, 1), sizeof *tensors);
    if (!tensors) (void)hd_fail(err, HD_E_MEMORY, "no memory for the tensors");
    for (size_t i = 0; tensors && i < count; i++) {
        tensors[i] = *hd_source_tensor(from, i);
        tensors[i].type = types[i];
    }
    return tensors;
}

/* The output that a run will have, without metadata; *tensors is the caller's (hd_free) and must outlive it. */
static hd_status open_output(hd_output **out, hd_output_plan *plan, hd_tensor **tensors, const run *r)
{
    *out = NULL;
    *tensors = retyped(r->from, r->types, r->err);
    *plan = (hd_output_plan){.format = hd_source_layout(r->from),
                             .path = r->path,
                             .split = r->options->split,
                             .files = r->options->files,
                             .tensors = *tensors,
                             .count = hd_source_count(r->from)};
    return *tensors ? hd_output_open(out, plan, r->err) : HD_E_MEMORY;
}

hd_status hd_quant_files(size_t *count, char **first, const hd_source *from, const hd_type *types, const char *path,
                         const hd_quant_options *options, hd_error *err)
{
    run r = {.from = from, .types = types, .options = options, .path = path, .err = err};
    hd_output_plan plan;
    hd_tensor *tensors;
    if (first) *first = NULL;
    hd_status status = open_output(&r.output, &plan, &tensors, &r);
    if (status == HD_OK && count) *count = hd_output_files(r.output);
    if (status == HD_OK && first) status = hd_output_path(first, r.output, 0, err);
    hd_output_close(&r.output);
    hd_free(tensors);
    return status;
}

hd_status hd_quant_check_room(const hd_source *from, const hd_type *types, const char *path,
                              const hd_quant_options *options, hd_error *err)
{
    run r = {.from = from, .types = types, .options = options, .path = path, .err = err};
    hd_output_plan plan;
    hd_tensor *tensors;
    hd_status status = open_output(&r.output, &plan, &tensors, &r);
    if (status == HD_OK) status = check_room(&r, &plan);
    hd_output_close(&r.output);
    hd_free(tensors);
    return status;
}

static hd_status run_all(run *r, const hd_quant_mix *mix)
{
    size_t count = hd_source_count(r->from);
    hd_meta_list meta = {0};
    hd_tensor *tensors = retyped(r->from, r->types, r->err);
    hd_status status = tensors ? HD_OK : HD_E_MEMORY;
    if (status == HD_OK) status = make_metadata(&meta, r, mix);
    hd_output_plan plan = {.format = hd_source_layout(r->from),
                           .path = r->path,
                           .split = r->options->split,
                           .files = r->options->files,
                           .meta = meta.items,
                           .meta_count = meta.count,
                           .tensors = tensors,
                           .count = count};
    if (status == HD_OK) status = write_files(r, &plan);
    hd_output_close(&r->output);
    hd_meta_list_free(&meta);
    hd_free(tensors);
    return status;
}

hd_status hd_quantize(const hd_source *from, const hd_type *types, const hd_quant_mix *mix, const char *path,
                      const hd_quant_options *options, hd_error *err)
{
    run r = {.from = from, .types = types, .options = options, .path = path, .err = err};
    HD_TRY(check_types(&r));
    HD_TRY(check_imatrix(&r));
    hd_status status = take_memory(&r);
    if (status == HD_OK) status = run_all(&r, mix);
    hd_free(r.out);
    hd_free(r.values);
    hd_free(r.scratch);
    hd_free(r.weights);
    hd_free(r.columns);
    return status;
}
