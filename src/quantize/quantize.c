/* quantize/quantize.c: the run: tensors are decoded, encoded and written a stretch of rows at a time. */
#include "quantize/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "tensor/encode.h"
#include "tensor/quant.h"

/* Values that go through memory together: 16 MB of float32 in all, and a thread's piece stays in its caches. */
#define STRETCH_VALUES ((int64_t)4 << 20)
#define PIECE_VALUES ((int64_t)1 << 15)

#define QUANTIZATION_VERSION 2 /* general.quantization_version: the layouts of the block types as they are today */

typedef struct run {
    const hd_checkpoint *from;
    const hd_type *types;
    const hd_quant_options *options;
    hd_gguf_writer *writer;
    uint64_t done, all; /* values */
    uint8_t *out;       /* a stretch, encoded */
    float *values;      /* [threads][piece] */
    int64_t piece;      /* values */
    const char *path;
    hd_error *err;
} run;

/* ---- metadata ---- */

typedef struct metadata {
    hd_meta *all;
    size_t count;
    uint32_t file_type, version; /* what two of them point to */
} metadata;

static bool key_is(const hd_meta *m, const char *key)
{
    return m->key.len == strlen(key) && memcmp(m->key.data, key, m->key.len) == 0;
}

/* Those of the original, but for what is no longer so. */
static hd_status make_metadata(metadata *to, const run *r, const hd_quant_mix *mix)
{
    static const char *const replaced[] = {"general.file_type", "general.quantization_version", "split.no",
                                           "split.count", "split.tensors.count"};
    size_t count = hd_checkpoint_meta_count(r->from);
    to->all = hd_alloc_array(count + 2, sizeof *to->all);
    if (!to->all) return hd_fail(r->err, HD_E_MEMORY, "no memory for %zu metadata entries", count);
    to->count = 0;
    to->file_type = mix->gguf_id;
    to->version = QUANTIZATION_VERSION;
    for (size_t i = 0; i < count; i++) {
        const hd_meta *m = hd_checkpoint_meta_at(r->from, i);
        bool keep = true;
        for (size_t k = 0; k < HD_ARRAY_LEN(replaced); k++)
            keep = keep && !key_is(m, replaced[k]);
        if (keep) to->all[to->count++] = *m;
    }
    const uint32_t *numbers[] = {&to->file_type, &to->version};
    for (size_t k = 0; k < 2; k++)
        to->all[to->count++] = (hd_meta){.key = {replaced[k], strlen(replaced[k])},
                                         .type = HD_META_U32,
                                         .count = 1,
                                         .data = (const uint8_t *)numbers[k]};
    return HD_OK;
}

/* ---- one tensor ---- */

typedef struct stretch {
    const run *r;
    const uint8_t *from;
    hd_type before, after;
    int64_t values;
    atomic_bool bad;    /* a number is not finite */
    atomic_bool beyond; /* one is larger than the type can hold */
} stretch;

static size_t bytes_of(hd_type type, int64_t values)
{
    return (size_t)(values / hd_type_block(type)) * (size_t)hd_type_block_bytes(type);
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
    for (int64_t i = begin; i < end; i++) {
        int64_t at = i * r->piece, n = HD_MIN(r->piece, s->values - at);
        uint8_t *to = r->out + bytes_of(s->after, at);
        (void)hd_decode_row(s->before, s->from + bytes_of(s->before, at), x, n);
        bool finite = all_finite(x, n);
        if (!finite) atomic_store(&s->bad, true);
        if (hd_encode_supported(s->after))
            (void)hd_encode_blocks(s->after, x, NULL, to, n);
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

/* What the file will have of `values` of the tensor from value `at` on; *out is good until the next call. */
static hd_status make_stretch(run *r, const hd_tensor *t, hd_type type, int64_t at, int64_t values, const uint8_t **out)
{
    stretch s = {.r = r,
                 .from = (const uint8_t *)t->data + bytes_of(t->type, at),
                 .before = t->type,
                 .after = type,
                 .values = values};
    bool copied = type == t->type;
    if (copied)
        touch(s.from, bytes_of(type, values));
    else
        hd_pool_for(r->options->pool, (values + r->piece - 1) / r->piece, 1, encode_pieces, &s);
    HD_TRY(hd_checkpoint_check(r->from, r->err));
    if (atomic_load(&s.bad))
        return hd_fail(r->err, HD_E_FORMAT, "tensor '%s' holds a number that is not finite; the model is damaged",
                       t->name);
    if (atomic_load(&s.beyond))
        return hd_fail(r->err, HD_E_UNSUPPORTED,
                       "tensor '%s' holds a number beyond what %s can hold; take BF16 or a larger type", t->name,
                       hd_type_name(type));
    *out = copied ? s.from : r->out;
    return HD_OK;
}

static hd_status write_tensor(run *r, size_t i)
{
    const hd_tensor *t = hd_checkpoint_tensor(r->from, i);
    int64_t values = hd_tensor_values(t), step = r->options->stretch ? r->options->stretch : STRETCH_VALUES;
    const uint8_t *bytes;
    if (values == 0) return hd_gguf_writer_put(r->writer, "", 0, r->err);
    for (int64_t at = 0; at < values; at += step) {
        int64_t n = HD_MIN(step, values - at);
        if (r->options->progress && !r->options->progress(r->options->arg, r->done, r->all))
            return hd_fail(r->err, HD_E_CANCELLED, "interrupted; what is written stays, run it again to go on");
        HD_TRY(make_stretch(r, t, r->types[i], at, n, &bytes));
        HD_TRY(hd_gguf_writer_put(r->writer, bytes, bytes_of(r->types[i], n), r->err));
        r->done += (uint64_t)n;
    }
    hd_checkpoint_drop(r->from, t->data, t->bytes);
    return HD_OK;
}

/* ---- the whole ---- */

static hd_status check_types(const run *r)
{
    for (size_t i = 0; i < hd_checkpoint_tensor_count(r->from); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(r->from, i);
        hd_type type = r->types[i];
        bool plain = type == HD_TYPE_F32 || type == HD_TYPE_F16 || type == HD_TYPE_BF16;
        if (type != t->type && !plain && !hd_encode_supported(type))
            return hd_fail(r->err, HD_E_UNSUPPORTED, "tensor '%s': %s can't be written yet", t->name,
                           hd_type_name(type));
    }
    return HD_OK;
}

static hd_status open_writer(run *r, const hd_quant_mix *mix, const char *path)
{
    metadata meta = {0};
    size_t count = hd_checkpoint_tensor_count(r->from);
    hd_tensor *tensors = hd_alloc_array(HD_MAX(count, 1), sizeof *tensors);
    hd_status status =
        tensors ? make_metadata(&meta, r, mix) : hd_fail(r->err, HD_E_MEMORY, "no memory for the tensors");
    for (size_t i = 0; status == HD_OK && i < count; i++) {
        tensors[i] = *hd_checkpoint_tensor(r->from, i);
        tensors[i].type = r->types[i];
    }
    if (status == HD_OK) status = hd_gguf_writer_open(&r->writer, path, meta.all, meta.count, tensors, count, r->err);
    hd_free(meta.all);
    hd_free(tensors);
    return status;
}

static hd_status take_memory(run *r)
{
    size_t threads = (size_t)hd_pool_threads(r->options->pool);
    r->piece = PIECE_VALUES; /* a whole number of blocks of any type, as a stretch is of pieces */
    r->out = hd_alloc_array((size_t)STRETCH_VALUES, sizeof(float));
    r->values = hd_alloc_array(threads * (size_t)r->piece, sizeof *r->values);
    return r->out && r->values ? HD_OK : hd_fail(r->err, HD_E_MEMORY, "no memory to quantize in");
}

/* Whether a tensor of the part that was found is of this model: its first piece must be what we would write. */
static hd_status check_written(run *r, size_t i)
{
    const hd_tensor *t = hd_checkpoint_tensor(r->from, i);
    int64_t n = HD_MIN(r->piece, hd_tensor_values(t));
    const uint8_t *bytes;
    HD_TRY(make_stretch(r, t, r->types[i], 0, n, &bytes));
    if (hd_gguf_writer_has(r->writer, i, bytes, bytes_of(r->types[i], n))) return HD_OK;
    return hd_fail(r->err, HD_E_IO, "%s.part: was begun from another model; remove it to start anew", r->path);
}

static hd_status run_all(run *r)
{
    size_t count = hd_checkpoint_tensor_count(r->from), first = hd_gguf_writer_next(r->writer);
    for (size_t i = 0; i < count; i++)
        r->all += (uint64_t)hd_tensor_values(hd_checkpoint_tensor(r->from, i));
    for (size_t i = 0; i < first; i++) {
        HD_TRY(check_written(r, i));
        r->done += (uint64_t)hd_tensor_values(hd_checkpoint_tensor(r->from, i));
    }
    for (size_t i = first; i < count; i++)
        HD_TRY(write_tensor(r, i));
    return hd_gguf_writer_finish(r->writer, r->err);
}

hd_status hd_quantize(const hd_checkpoint *from, const hd_type *types, const hd_quant_mix *mix, const char *path,
                      const hd_quant_options *options, hd_error *err)
{
    run r = {.from = from, .types = types, .options = options, .path = path, .err = err};
    HD_TRY(check_types(&r));
    hd_status status = take_memory(&r);
    if (status == HD_OK) status = open_writer(&r, mix, path);
    if (status == HD_OK) status = run_all(&r);
    hd_gguf_writer_close(&r.writer);
    hd_free(r.out);
    hd_free(r.values);
    return status;
}
