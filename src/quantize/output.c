/* quantize/output.c: see output.h.  Tensors keep their order but where safetensors wants wide elements first in a
 * file. */
#include "quantize/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "quantize/quantize.h"

#define FILES_MAX 1024 /* of one model: what readers take (formats_internal.h) */
#define CKPT ".ckpt"
#define PATH_LENGTH ((size_t)1 << 16)

struct hd_output {
    const hd_output_plan *plan;
    hd_arena arena;
    size_t *order; /* [count] indices into the plan's tensors */
    size_t *first; /* [files + 1] where each file's begin in `order` */
    size_t files;
    hd_file_writer *writer;
};

/* ---- which tensor goes where ---- */

/* In turn, a new file where the next tensor would not fit. */
static void cut(hd_output *o)
{
    const hd_output_plan *p = o->plan;
    uint64_t filled = 0;
    o->files = 1;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t bytes = hd_quant_bytes(&p->tensors[i], p->tensors[i].type);
        if (p->split && filled && filled + bytes > p->split) {
            if (o->files < FILES_MAX) o->first[o->files] = i;
            o->files++;
            filled = 0;
        }
        filled += bytes;
        o->order[i] = i;
    }
    o->first[HD_MIN(o->files, FILES_MAX)] = p->count;
}

/* Wide elements first, else in turn. */
static void sort_by_width(hd_output *o, size_t *sorted, size_t begin, size_t end)
{
    size_t n = begin;
    for (int width = 8; width > 0; width /= 2)
        for (size_t i = begin; i < end; i++)
            if (hd_type_block_bytes(o->plan->tensors[o->order[i]].type) == width) sorted[n++] = o->order[i];
    memcpy(o->order + begin, sorted + begin, (n - begin) * sizeof *sorted);
}

static hd_status arrange(hd_output *o, hd_error *err)
{
    size_t count = o->plan->count;
    o->order = hd_arena_alloc(&o->arena, count, sizeof *o->order);
    o->first = hd_arena_alloc(&o->arena, FILES_MAX + 1, sizeof *o->first);
    size_t *sorted = hd_arena_alloc(&o->arena, count, sizeof *sorted);
    if (o->arena.failed) return hd_fail(err, HD_E_MEMORY, "no memory for the list of tensors");
    cut(o);
    if (o->files > FILES_MAX)
        return hd_fail(err, HD_E_LIMIT, "%s: would be %zu files, at most %d can be read; take larger ones",
                       o->plan->path, o->files, FILES_MAX);
    bool aligned = o->plan->format == HD_FORMAT_GGUF || o->plan->files == HD_FILES_MINDSPORE; /* by its writer */
    for (size_t f = 0; !aligned && f < o->files; f++)
        sort_by_width(o, sorted, o->first[f], o->first[f + 1]);
    return HD_OK;
}

hd_status hd_output_open(hd_output **out, const hd_output_plan *plan, hd_error *err)
{
    hd_output *o = *out = hd_calloc(1, sizeof *o);
    if (!o) return hd_fail(err, HD_E_MEMORY, "no memory to write a model");
    o->plan = plan;
    hd_status status = arrange(o, err);
    if (status != HD_OK) hd_output_close(out);
    return status;
}

void hd_output_close(hd_output **out)
{
    hd_output *o = *out;
    if (!o) return;
    *out = NULL;
    hd_file_writer_close(&o->writer);
    hd_arena_free(&o->arena);
    hd_free(o);
}

size_t hd_output_files(const hd_output *o)
{
    return o->files;
}

size_t hd_output_tensors(const hd_output *o, size_t file)
{
    return o->first[file + 1] - o->first[file];
}

size_t hd_output_tensor(const hd_output *o, size_t file, size_t position)
{
    return o->order[o->first[file] + position];
}

/* ---- files ---- */

bool hd_output_is_file(hd_release_files files, const char *path)
{
    size_t len = strlen(path), end = sizeof CKPT - 1;
    return files == HD_FILES_MINDSPORE && len > end && strcmp(path + len - end, CKPT) == 0;
}

static const char *shard_suffix(hd_release_files files)
{
    return files == HD_FILES_MINDSPORE ? CKPT : ".safetensors";
}

void hd_output_shard_name(hd_release_files files, size_t file, size_t count, char name[64])
{
    if (count == 1)
        snprintf(name, 64, "model%s", shard_suffix(files));
    else
        snprintf(name, 64, "model-%05zu-of-%05zu%s", file + 1, count, shard_suffix(files));
}

static void shard_name(const hd_output *o, size_t file, char name[64])
{
    hd_output_shard_name(o->plan->files, file, o->files, name);
}

static hd_status file_path(const hd_output *o, size_t file, hd_buf *path)
{
    static const char suffix[] = ".gguf";
    const char *name = o->plan->path;
    size_t len = strlen(name), end = sizeof suffix - 1;
    char shard[64];
    if (o->plan->format == HD_FORMAT_SAFETENSORS && !hd_output_is_file(o->plan->files, name)) {
        shard_name(o, file, shard);
        return hd_buf_printf(path, "%s/%s", name, shard);
    }
    if (o->files == 1) return hd_buf_puts(path, name);
    if (len > end && strcmp(name + len - end, suffix) == 0) len -= end;
    return hd_buf_printf(path, "%.*s-%05zu-of-%05zu%s", (int)len, name, file + 1, o->files, suffix);
}

uint64_t hd_output_there(const hd_output *o)
{
    uint64_t bytes = 0;
    for (size_t f = 0; f < o->files; f++) {
        hd_buf path;
        struct stat st;
        hd_buf_init(&path, PATH_LENGTH);
        bool named = file_path(o, f, &path) == HD_OK;
        if (named && lstat(path.data, &st) == 0)
            bytes += (uint64_t)st.st_size;
        else if (named && hd_buf_puts(&path, HD_PART_SUFFIX) == HD_OK && lstat(path.data, &st) == 0)
            bytes += (uint64_t)st.st_size;
        hd_buf_free(&path);
    }
    return bytes;
}

hd_status hd_output_path(char **out, const hd_output *o, size_t file, hd_error *err)
{
    hd_buf path;
    hd_buf_init(&path, PATH_LENGTH);
    *out = file_path(o, file, &path) == HD_OK ? hd_strdup(path.data) : NULL;
    hd_buf_free(&path);
    return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for a path");
}

/* All metadata in the first part; in each, what part it is. */
static hd_status part_meta(const hd_output *o, size_t file, hd_meta_list *list, hd_error *err)
{
    const hd_output_plan *p = o->plan;
    for (size_t i = 0; file == 0 && i < p->meta_count; i++)
        hd_meta_add(list, &p->meta[i]);
    if (o->files > 1) {
        hd_meta_add_u16(list, "split.no", (uint16_t)file);
        hd_meta_add_u16(list, "split.count", (uint16_t)o->files);
        hd_meta_add_i32(list, "split.tensors.count", (int32_t)p->count);
    }
    return list->status == HD_OK ? HD_OK : hd_fail(err, list->status, "no memory for the metadata");
}

static hd_status open_writer(hd_output *o, size_t file, const char *path, hd_error *err)
{
    const hd_output_plan *p = o->plan;
    size_t count = hd_output_tensors(o, file);
    hd_meta_list meta = {0};
    hd_tensor *tensors = hd_alloc_array(HD_MAX(count, 1), sizeof *tensors);
    if (!tensors) return hd_fail(err, HD_E_MEMORY, "no memory for the tensors");
    for (size_t i = 0; i < count; i++)
        tensors[i] = p->tensors[hd_output_tensor(o, file, i)];
    bool several = o->files > 1;
    hd_status status = HD_OK;
    if (p->format == HD_FORMAT_SAFETENSORS && p->files == HD_FILES_MINDSPORE)
        status = hd_mindspore_writer_open(&o->writer, path, tensors, count, !hd_output_is_file(p->files, p->path), err);
    else if (p->format == HD_FORMAT_SAFETENSORS)
        status = hd_safetensors_writer_open(&o->writer, path, tensors, count, true, err);
    else if ((status = part_meta(o, file, &meta, err)) == HD_OK)
        status = hd_gguf_writer_open(&o->writer, path, meta.items, meta.count, tensors, count, several, err);
    hd_meta_list_free(&meta);
    hd_free(tensors);
    return status;
}

hd_status hd_output_begin(hd_output *o, size_t file, hd_file_writer **writer, hd_error *err)
{
    hd_buf path;
    hd_buf_init(&path, PATH_LENGTH);
    hd_status status = file_path(o, file, &path);
    if (status != HD_OK)
        status = hd_fail(err, status, "no memory for a path");
    else
        status = open_writer(o, file, path.data, err);
    hd_buf_free(&path);
    *writer = o->writer;
    return status;
}

hd_status hd_output_end(hd_output *o, hd_error *err)
{
    hd_status status = hd_file_writer_finish(o->writer, err);
    hd_file_writer_close(&o->writer);
    return status;
}

/* ---- the index ---- */

static json_t *make_index(const hd_output *o)
{
    char name[64];
    uint64_t bytes = 0;
    bool made = true;
    json_t *map = json_object();
    for (size_t f = 0; map && f < o->files; f++) {
        shard_name(o, f, name);
        for (size_t i = 0; i < hd_output_tensors(o, f); i++) {
            const hd_tensor *t = &o->plan->tensors[hd_output_tensor(o, f, i)];
            bytes += hd_quant_bytes(t, t->type);
            made = made && json_object_set_new(map, t->name, json_string(name)) == 0;
        }
    }
    json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)bytes, "weight_map", map);
    if (index && made) return index;
    json_decref(index);
    return NULL;
}

hd_status hd_output_finish(hd_output *o, hd_error *err)
{
    if (o->plan->format != HD_FORMAT_SAFETENSORS || o->files == 1) return HD_OK;
    hd_buf path;
    hd_buf_init(&path, PATH_LENGTH);
    hd_status status = hd_buf_printf(&path, "%s/model%s.index.json", o->plan->path, shard_suffix(o->plan->files));
    status = status == HD_OK ? hd_file_write_json(path.data, make_index(o), err)
                             : hd_fail(err, status, "no memory for a path");
    hd_buf_free(&path);
    return status;
}
