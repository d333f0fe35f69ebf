/* formats/checkpoint.c: the door: finds out what a path holds, maps its files, and owns what their parsers gave.
 *
 * Invariant: each tensor's data lies in one of `files` (mapped or copied) or in one of `copies`, its name in a file's
 * `names`; all live until close.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/formats_internal.h"

typedef struct model_file {
    hd_mapping *map;
    char *names;  /* of its tensors */
    void *copied; /* bytes of tensors that can't be used where they lie; NULL: none */
    size_t copied_bytes;
} model_file;

struct hd_checkpoint {
    hd_format format;
    const char *kind; /* of its files, to be shown */
    char *path;
    model_file *files;
    size_t file_count, file_cap;
    void **copies; /* of tensors that lie in their file at an odd address */
    size_t copy_count, copy_cap;
    hd_tensor *tensors;
    size_t tensor_count, tensor_cap;
    hd_names names; /* of tensors */
    hd_gguf gguf;   /* metadata of the (first) GGUF file; its set is empty */
    json_t *config, *generation_config;
};

/* ---- small helpers ---- */

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "no memory to open the model");
}

/* "folder/name"; NULL without memory. */
static char *join(const char *folder, const char *name)
{
    const char *slash = hd_text_ends_with(folder, "/") ? "" : "/";
    size_t size = strlen(folder) + strlen(slash) + strlen(name) + 1;
    char *path = hd_alloc(size);
    if (path) snprintf(path, size, "%s%s%s", folder, slash, name);
    return path;
}

/* The folder of a file's path; NULL without memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return hd_strdup(".");
    return hd_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* Makes room for `extra` more items of `size` bytes in a growing array. */
static bool grow(void *array, size_t *cap, size_t count, size_t extra, size_t size)
{
    if (extra <= *cap - count) return true;
    size_t wanted = HD_MAX(count + extra, *cap * 2);
    void *old, *bigger;
    memcpy(&old, array, sizeof old);
    bigger = hd_realloc_array(old, wanted, size);
    if (!bigger) return false;
    memcpy(array, &bigger, sizeof bigger);
    *cap = wanted;
    return true;
}

/* ---- files and tensors ---- */

/* Maps a file as the last of c->files. */
static hd_status add_file(hd_checkpoint *c, const char *path, hd_error *err)
{
    if (!grow(&c->files, &c->file_cap, c->file_count, 1, sizeof *c->files)) return no_memory(err);
    c->files[c->file_count] = (model_file){0};
    HD_TRY(hd_mapping_open(&c->files[c->file_count].map, path, err));
    c->file_count++;
    return HD_OK;
}

static void drop_files(hd_checkpoint *c)
{
    for (size_t i = 0; i < c->file_count; i++) {
        hd_mapping_close(&c->files[i].map);
        hd_free(c->files[i].names);
        hd_bulk_free(c->files[i].copied, c->files[i].copied_bytes);
    }
    for (size_t i = 0; i < c->copy_count; i++)
        hd_free_aligned(c->copies[i]);
    c->file_count = c->copy_count = c->tensor_count = 0;
}

/* Safetensors does not promise that a float32 starts at a multiple of 4; our readers may count on it.  Published files
 * are aligned, so a copy is rare. */
static hd_status align_tensor(hd_checkpoint *c, hd_tensor *t, hd_error *err)
{
    uintptr_t width = hd_type_block(t->type) == 1 ? (uintptr_t)hd_type_block_bytes(t->type) : 2;
    if ((uintptr_t)t->data % width == 0) return HD_OK;
    if (!grow(&c->copies, &c->copy_cap, c->copy_count, 1, sizeof *c->copies)) return no_memory(err);
    void *copy = hd_alloc_aligned(t->bytes);
    if (!copy) return hd_fail(err, HD_E_MEMORY, "no memory to align tensor '%s' (%zu bytes)", t->name, t->bytes);
    c->copies[c->copy_count++] = memcpy(copy, t->data, t->bytes);
    t->data = copy;
    return HD_OK;
}

/* Whether an index wants this tensor from its file `file_no`; it is then marked as found.  Without an index: yes. */
static bool wanted(hd_index *index, size_t file_no, const hd_tensor *t)
{
    if (!index) return true;
    const hd_name_entry *name = hd_names_find(&index->names, t->name, strlen(t->name));
    if (!name || index->entries[name->item].file != file_no) return false;
    index->entries[name->item].found = true;
    return true;
}

/* The memory of values that a parser copied, which the checkpoint owns from here; room for all of them is there. */
static void take_copies(hd_checkpoint *c, hd_tensor_set *set)
{
    if (set->copy_count) memcpy(c->copies + c->copy_count, set->copies, set->copy_count * sizeof *set->copies);
    c->copy_count += set->copy_count;
    set->copy_count = 0;
}

/* Takes the tensors of a set (with an index, those that it wants from file `file_no`) and the memory of their names and
 * of copied bytes, which `file` owns from here, and that of copies.  The set is empty after it, also on failure. */
static hd_status take_tensors(hd_checkpoint *c, model_file *file, hd_tensor_set *set, hd_index *index, size_t file_no,
                              hd_error *err)
{
    hd_status status = HD_OK;
    file->names = set->names;
    file->copied = set->copied;
    file->copied_bytes = set->copied_bytes;
    set->names = NULL;
    set->copied = NULL;
    if (!grow(&c->tensors, &c->tensor_cap, c->tensor_count, set->count, sizeof *c->tensors) ||
        !grow(&c->copies, &c->copy_cap, c->copy_count, set->copy_count, sizeof *c->copies))
        status = no_memory(err);
    else
        take_copies(c, set);
    for (size_t i = 0; i < set->count && status == HD_OK; i++) {
        hd_tensor *t = &set->tensors[i];
        if (!wanted(index, file_no, t)) continue;
        status = align_tensor(c, t, err);
        c->tensors[c->tensor_count++] = *t;
    }
    hd_tensor_set_free(set);
    return status;
}

/* ---- files of a release: safetensors, and the checkpoints of PyTorch and MindSpore ---- */

/* A checkpoint of PyTorch: a zip, or what has a name of one and is no safetensors file inside. */
static bool is_torch(const char *path, const uint8_t *data, size_t size)
{
    if (hd_text_ends_with(path, ".safetensors")) return false;
    if (size >= 4 && memcmp(data, "PK\3\4", 4) == 0) return true;
    if (size >= 9 && data[8] == '{') return false;
    return hd_text_ends_with(path, ".bin") || hd_text_ends_with(path, ".pt") || hd_text_ends_with(path, ".pth");
}

/* A file of tensors: PyTorch's; MindSpore's by its name or, `mindspore`, by its first bytes; else safetensors. */
static hd_status load_tensors(hd_checkpoint *c, const char *path, bool mindspore, hd_index *index, size_t file_no,
                              hd_error *err)
{
    hd_tensor_set set;
    HD_TRY(add_file(c, path, err));
    model_file *file = &c->files[c->file_count - 1];
    const uint8_t *data = hd_mapping_data(file->map);
    size_t size = hd_mapping_size(file->map);
    bool torch = is_torch(path, data, size);
    mindspore = !torch && (mindspore || hd_text_ends_with(path, ".ckpt"));
    c->kind = torch ? "PyTorch" : mindspore ? "MindSpore" : "safetensors";
    hd_status status = torch       ? hd_torch_parse(&set, data, size, err)
                       : mindspore ? hd_mindspore_parse(&set, data, size, err)
                                   : hd_safetensors_parse_header(&set, data, size, err);
    if (status != HD_OK) return hd_fail_in(err, status, "%s", path);
    if (set.copied) hd_mapping_drop(file->map, data, size);
    return take_tensors(c, file, &set, index, file_no, err);
}

static hd_status check_all_found(const hd_index *index, const char *path, hd_error *err)
{
    for (size_t i = 0; i < index->count; i++) {
        const hd_index_entry *e = &index->entries[i];
        if (!e->found)
            return hd_fail(err, HD_E_FORMAT, "%s: tensor '%s' should be in '%s', but that file does not hold it", path,
                           e->name, index->files[e->file]);
    }
    return HD_OK;
}

static hd_status load_index_files(hd_checkpoint *c, const char *path, hd_index *index, hd_error *err)
{
    char *folder = folder_of(path);
    hd_status status = folder ? HD_OK : no_memory(err);
    for (size_t i = 0; i < index->file_count && status == HD_OK; i++) {
        char *file = join(folder, index->files[i]);
        status = file ? load_tensors(c, file, false, index, i, err) : no_memory(err);
        if (status == HD_E_NOT_FOUND)
            status = hd_fail(err, status, "%s: names '%s', which is missing", path, index->files[i]);
        hd_free(file);
    }
    hd_free(folder);
    return status == HD_OK ? check_all_found(index, path, err) : status;
}

static hd_status load_index(hd_checkpoint *c, const char *path, hd_error *err)
{
    hd_mapping *map = NULL;
    hd_index index;
    HD_TRY(hd_mapping_open(&map, path, err));
    hd_status status;
    if (hd_mapping_size(map) > HD_INDEX_BYTES_MAX)
        status = hd_fail(err, HD_E_LIMIT, "%zu bytes; at most %zu are read", hd_mapping_size(map), HD_INDEX_BYTES_MAX);
    else
        status = hd_index_parse(&index, (const char *)hd_mapping_data(map), hd_mapping_size(map), err);
    hd_mapping_close(&map);
    if (status != HD_OK) return hd_fail_in(err, status, "%s", path);
    status = load_index_files(c, path, &index, err);
    hd_index_free(&index);
    return status;
}

/* config.json or generation_config.json; *out stays NULL when there is none. */
static hd_status load_config(json_t **out, const char *folder, const char *name, hd_error *err)
{
    struct stat st;
    char *path = join(folder, name);
    if (!path) return no_memory(err);
    hd_status status = HD_OK;
    if (stat(path, &st) == 0) {
        status = hd_json_parse_file(out, path, HD_CONFIG_BYTES_MAX, err);
        if (status == HD_OK && !json_is_object(*out)) status = hd_fail(err, HD_E_FORMAT, "%s: not a JSON object", path);
    }
    hd_free(path);
    return status;
}

static hd_status load_configs(hd_checkpoint *c, const char *folder, hd_error *err)
{
    HD_TRY(load_config(&c->config, folder, "config.json", err));
    return load_config(&c->generation_config, folder, "generation_config.json", err);
}

/* ---- GGUF ---- */

/* Maps and parses one file; its tensors go into the checkpoint, its metadata stay in *gguf. */
static hd_status load_gguf_file(hd_checkpoint *c, const char *path, hd_gguf *gguf, hd_error *err)
{
    *gguf = (hd_gguf){0};
    HD_TRY(add_file(c, path, err));
    model_file *file = &c->files[c->file_count - 1];
    hd_status status = hd_gguf_parse(gguf, hd_mapping_data(file->map), hd_mapping_size(file->map), err);
    if (status != HD_OK) return hd_fail_in(err, status, "%s", path);
    status = take_tensors(c, file, &gguf->set, NULL, 0, err);
    if (status != HD_OK) hd_gguf_free(gguf);
    return status;
}

static hd_status load_part(hd_checkpoint *c, const char *path, unsigned part, unsigned count, hd_error *err)
{
    hd_gguf gguf;
    hd_status status = load_gguf_file(c, path, &gguf, err);
    if (status == HD_E_NOT_FOUND) return hd_fail(err, status, "%s: part %u of %u is missing", path, part, count);
    if (status != HD_OK) return status;
    status = hd_split_check(&gguf, part, count, err);
    if (status != HD_OK) {
        hd_gguf_free(&gguf);
        return hd_fail_in(err, status, "%s", path);
    }
    if (part == 1)
        c->gguf = gguf;
    else
        hd_gguf_free(&gguf);
    return HD_OK;
}

static hd_status load_parts(hd_checkpoint *c, const char *path, const hd_split_name *name, hd_error *err)
{
    for (unsigned part = 1; part <= name->count; part++) {
        char *part_path = hd_split_name_make(path, name, part);
        hd_status status = part_path ? load_part(c, part_path, part, name->count, err) : no_memory(err);
        hd_free(part_path);
        HD_TRY(status);
    }
    const hd_meta *m = hd_gguf_find(&c->gguf, "split.tensors.count");
    uint64_t tensors;
    if (m && (!hd_meta_u64(m, 0, &tensors) || tensors != c->tensor_count))
        return hd_fail(err, HD_E_FORMAT, "%s: split.tensors.count disagrees with the %zu tensors of the %u parts", path,
                       c->tensor_count, name->count);
    return HD_OK;
}

/* `path` is an ordinary file or any part of a split model. */
static hd_status load_gguf(hd_checkpoint *c, const char *path, hd_error *err)
{
    hd_split_name name = {.count = 1};
    bool named = hd_split_name_parse(path, &name);
    unsigned count;
    HD_TRY(load_gguf_file(c, path, &c->gguf, err));
    hd_status status = hd_split_count(&c->gguf, &count, err);
    if (status != HD_OK) return hd_fail_in(err, status, "%s", path);
    if (count == 1 && name.count == 1) return HD_OK;
    if (!named)
        return hd_fail(err, HD_E_FORMAT,
                       "%s: one of %u parts of a model, but its name does not end in '-00001-of-%05u.gguf'; give the "
                       "parts their names back",
                       path, count, count);
    if (name.count != count)
        return hd_fail(err, HD_E_FORMAT, "%s: the name says %u parts, split.count says %u", path, name.count, count);
    hd_gguf_free(&c->gguf); /* begin again with part 1, whichever part was given */
    drop_files(c);
    return load_parts(c, path, &name, err);
}

/* ---- what a path holds ---- */

typedef enum file_kind { KIND_UNKNOWN, KIND_GGUF, KIND_WEIGHTS, KIND_INDEX, KIND_MINDSPORE } file_kind;

/* By name where that says it, else by the first bytes. */
static hd_status find_kind(const char *path, file_kind *kind, hd_error *err)
{
    *kind = KIND_UNKNOWN;
    if (hd_text_ends_with(path, ".index.json")) *kind = KIND_INDEX;
    if (hd_text_ends_with(path, ".gguf")) *kind = KIND_GGUF;
    if (hd_text_ends_with(path, ".safetensors")) *kind = KIND_WEIGHTS;
    if (*kind != KIND_UNKNOWN) return HD_OK;
    hd_mapping *map = NULL;
    HD_TRY(hd_mapping_open(&map, path, err));
    const uint8_t *data = hd_mapping_data(map);
    size_t size = hd_mapping_size(map);
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0)
        *kind = KIND_GGUF;
    else if ((size >= 9 && data[8] == '{') || is_torch(path, data, size))
        *kind = KIND_WEIGHTS;
    else if (hd_mindspore_begins(data, size) || hd_text_ends_with(path, ".ckpt"))
        *kind = KIND_MINDSPORE;
    hd_mapping_close(&map);
    return HD_OK;
}

static hd_status open_file(hd_checkpoint *c, const char *path, hd_error *err)
{
    file_kind kind;
    HD_TRY(find_kind(path, &kind, err));
    if (kind == KIND_UNKNOWN)
        return hd_fail(err, HD_E_FORMAT,
                       "%s: neither a GGUF nor a safetensors file, nor a checkpoint of PyTorch or MindSpore, by its "
                       "name and first "
                       "bytes",
                       path);
    if (kind == KIND_GGUF) {
        c->format = HD_FORMAT_GGUF;
        return load_gguf(c, path, err);
    }
    c->format = HD_FORMAT_SAFETENSORS;
    char *folder = folder_of(path);
    hd_status status = folder ? load_configs(c, folder, err) : no_memory(err);
    hd_free(folder);
    HD_TRY(status);
    return kind == KIND_INDEX ? load_index(c, path, err) : load_tensors(c, path, kind == KIND_MINDSPORE, NULL, 0, err);
}

static hd_status visit_parts(const char *path, const hd_split_name *name,
                             hd_status (*visit)(void *arg, const char *file, hd_error *err), void *arg, hd_error *err)
{
    if (name->count > HD_GGUF_SPLIT_MAX)
        return hd_fail(err, HD_E_LIMIT, "%s: %u parts; at most %d are read", path, name->count, HD_GGUF_SPLIT_MAX);
    for (unsigned part = 1; part <= name->count; part++) {
        char *file = hd_split_name_make(path, name, part);
        hd_status status = file ? visit(arg, file, err) : no_memory(err);
        hd_free(file);
        HD_TRY(status);
    }
    return HD_OK;
}

hd_status hd_checkpoint_visit_files(const char *path, hd_status (*visit)(void *arg, const char *file, hd_error *err),
                                    void *arg, hd_error *err)
{
    static const char *const beside[] = {"config.json", "generation_config.json"};
    hd_split_name name;
    HD_TRY(visit(arg, path, err));
    if (hd_text_ends_with(path, ".index.json"))
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: an index of other files is not read here", path);
    if (hd_split_name_parse(path, &name)) HD_TRY(visit_parts(path, &name, visit, arg, err));
    if (hd_text_ends_with(path, ".gguf")) return HD_OK;
    char *folder = folder_of(path);
    hd_status status = folder ? HD_OK : no_memory(err);
    for (size_t i = 0; status == HD_OK && i < HD_ARRAY_LEN(beside); i++) {
        char *file = join(folder, beside[i]);
        status = file ? visit(arg, file, err) : no_memory(err);
        hd_free(file);
    }
    hd_free(folder);
    return status;
}

/* True when two file names are parts of one split model. */
static bool same_split(const char *a, const char *b)
{
    hd_split_name x, y;
    return hd_split_name_parse(a, &x) && hd_split_name_parse(b, &y) && x.count == y.count && x.stem_len == y.stem_len &&
           memcmp(a, b, x.stem_len) == 0;
}

/* The name of the one file in a folder that ends so (any part of a split GGUF model); *name is NULL when there is none.
 */
static hd_status find_only(const char *folder, const char *suffix, char **name, hd_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir) return hd_fail(err, HD_E_IO, "%s: cannot read the folder: %s", folder, strerror(errno));
    hd_status status = HD_OK;
    *name = NULL;
    for (struct dirent *e; status == HD_OK && (e = readdir(dir));) {
        if (e->d_name[0] == '.' || !hd_text_ends_with(e->d_name, suffix)) continue;
        if (*name && !same_split(*name, e->d_name))
            status = hd_fail(err, HD_E_ARGUMENT, "%s: holds several models ('%s' and '%s'); name the file", folder,
                             *name, e->d_name);
        else if (!*name && !(*name = hd_strdup(e->d_name)))
            status = no_memory(err);
    }
    closedir(dir);
    if (status != HD_OK) {
        hd_free(*name);
        *name = NULL;
    }
    return status;
}

static bool exists(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0;
}

/* A folder without safetensors: one GGUF model or, beside config.json, one of MindSpore. */
static hd_status open_other_folder(hd_checkpoint *c, const char *folder, bool config, hd_error *err)
{
    char *name = NULL;
    HD_TRY(find_only(folder, ".gguf", &name, err));
    if (!name && config) HD_TRY(find_only(folder, ".ckpt.index.json", &name, err));
    if (!name && config) HD_TRY(find_only(folder, ".ckpt", &name, err));
    if (!name)
        return hd_fail(err, HD_E_NOT_FOUND,
                       "%s: holds no model: neither config.json with model.safetensors or pytorch_model.bin (or the "
                       "index of one) or "
                       "a .ckpt file, nor a .gguf file",
                       folder);
    char *path = join(folder, name);
    hd_free(name);
    hd_status status = path ? open_file(c, path, err) : no_memory(err);
    hd_free(path);
    return status;
}

/* Whether a configuration is that of the model of tests, which has no weights (docs/models.md).  Beside a GGUF file the
 * configuration is not read otherwise: a damaged one does no harm. */
static bool is_scripted(const char *config_path)
{
    json_t *config = NULL;
    if (!exists(config_path) || hd_json_parse_file(&config, config_path, HD_CONFIG_BYTES_MAX, NULL) != HD_OK)
        return false;
    const char *type = json_string_value(json_object_get(config, "model_type"));
    bool scripted = type && strcmp(type, "hadal_scripted") == 0;
    json_decref(config);
    return scripted;
}

static hd_status open_folder_without_weights(hd_checkpoint *c, const char *folder, const char *config, hd_error *err)
{
    if (!is_scripted(config)) return open_other_folder(c, folder, exists(config), err);
    c->format = HD_FORMAT_SAFETENSORS;
    return load_configs(c, folder, err);
}

/* Opens the first of these files that is there; *found says whether one is. */
static hd_status open_first(hd_checkpoint *c, const char *folder, const char *const *names, size_t count, bool *found,
                            hd_error *err)
{
    *found = false;
    hd_status status = HD_OK;
    for (size_t i = 0; i < count && status == HD_OK && !*found; i++) {
        char *path = join(folder, names[i]);
        if (!path) return no_memory(err);
        *found = exists(path);
        if (*found) status = open_file(c, path, err);
        hd_free(path);
    }
    return status;
}

static hd_status open_folder(hd_checkpoint *c, const char *folder, hd_error *err)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                        "pytorch_model.bin.index.json"};
    char *config = join(folder, "config.json");
    bool found = false;
    hd_status status = HD_OK;
    if (!config)
        status = no_memory(err);
    else if (exists(config))
        status = open_first(c, folder, names, HD_ARRAY_LEN(names), &found, err);
    if (status == HD_OK && !found) status = open_folder_without_weights(c, folder, config, err);
    hd_free(config);
    return status;
}

/* ---- the door ---- */

static hd_status index_names(hd_checkpoint *c, hd_error *err)
{
    if (c->tensor_count > HD_TENSORS_MAX)
        return hd_fail(err, HD_E_LIMIT, "%s: %zu tensors; at most %zu are read", c->path, c->tensor_count,
                       HD_TENSORS_MAX);
    if (!hd_names_alloc(&c->names, c->tensor_count)) return no_memory(err);
    for (size_t i = 0; i < c->tensor_count; i++)
        c->names.sorted[i] = (hd_name_entry){{c->tensors[i].name, strlen(c->tensors[i].name)}, i};
    const hd_name_entry *twice = hd_names_sort(&c->names);
    if (twice) return hd_fail(err, HD_E_FORMAT, "%s: two files hold a tensor '%s'", c->path, twice->text.data);
    return HD_OK;
}

static hd_status open_path(hd_checkpoint *c, const char *path, hd_error *err)
{
    struct stat st;
    if (!(c->path = hd_strdup(path))) return no_memory(err);
    if (stat(path, &st) != 0) {
        hd_status status = errno == ENOENT || errno == ENOTDIR ? HD_E_NOT_FOUND : HD_E_IO;
        return hd_fail(err, status, "%s: cannot open: %s", path, strerror(errno));
    }
    HD_TRY(S_ISDIR(st.st_mode) ? open_folder(c, path, err) : open_file(c, path, err));
    HD_TRY(index_names(c, err));
    return hd_checkpoint_check(c, err); /* zeros may have been read for what a file lost meanwhile */
}

hd_status hd_checkpoint_open(hd_checkpoint **out, const char *path, hd_error *err)
{
    *out = NULL;
    hd_checkpoint *c = hd_calloc(1, sizeof *c);
    if (!c) return no_memory(err);
    hd_status status = open_path(c, path, err);
    if (status != HD_OK) {
        hd_checkpoint_close(&c);
        return status;
    }
    *out = c;
    return HD_OK;
}

void hd_checkpoint_close(hd_checkpoint **ckpt)
{
    hd_checkpoint *c = *ckpt;
    if (!c) return;
    *ckpt = NULL;
    hd_gguf_free(&c->gguf);
    drop_files(c);
    hd_free(c->files);
    hd_free(c->copies);
    hd_free(c->tensors);
    hd_names_free(&c->names);
    json_decref(c->config);
    json_decref(c->generation_config);
    hd_free(c->path);
    hd_free(c);
}

hd_format hd_checkpoint_format(const hd_checkpoint *ckpt)
{
    return ckpt->format;
}

const char *hd_checkpoint_files(const hd_checkpoint *ckpt)
{
    if (ckpt->format == HD_FORMAT_GGUF) return "GGUF";
    return ckpt->kind ? ckpt->kind : "safetensors"; /* the model of tests has no file */
}

const char *hd_checkpoint_path(const hd_checkpoint *ckpt)
{
    return ckpt->path;
}

size_t hd_checkpoint_tensor_count(const hd_checkpoint *ckpt)
{
    return ckpt->tensor_count;
}

const hd_tensor *hd_checkpoint_tensor(const hd_checkpoint *ckpt, size_t index)
{
    return index < ckpt->tensor_count ? &ckpt->tensors[index] : NULL;
}

const hd_tensor *hd_checkpoint_find(const hd_checkpoint *ckpt, const char *name)
{
    const hd_name_entry *found = hd_names_find(&ckpt->names, name, strlen(name));
    return found ? &ckpt->tensors[found->item] : NULL;
}

hd_status hd_checkpoint_check(const hd_checkpoint *ckpt, hd_error *err)
{
    for (size_t i = 0; i < ckpt->file_count; i++) {
        if (hd_mapping_failed(ckpt->files[i].map))
            return hd_fail(err, HD_E_MODEL_LOST, "%s: the file shrank or could not be read while it was in use",
                           hd_mapping_path(ckpt->files[i].map));
    }
    return HD_OK;
}

int64_t hd_checkpoint_written_ns(const hd_checkpoint *ckpt)
{
    int64_t last = 0;
    for (size_t i = 0; i < ckpt->file_count; i++)
        last = HD_MAX(last, hd_mapping_written_ns(ckpt->files[i].map));
    return last;
}

void hd_checkpoint_drop(const hd_checkpoint *ckpt, const void *data, size_t bytes)
{
    for (size_t i = 0; i < ckpt->file_count; i++) {
        const hd_mapping *map = ckpt->files[i].map;
        uintptr_t base = (uintptr_t)hd_mapping_data(map);
        if ((uintptr_t)data < base || (uintptr_t)data - base >= hd_mapping_size(map)) continue;
        hd_mapping_drop(map, data, bytes);
        return;
    }
}

void hd_checkpoint_drop_all(const hd_checkpoint *ckpt)
{
    for (size_t i = 0; i < ckpt->file_count; i++) {
        const hd_mapping *map = ckpt->files[i].map;
        hd_mapping_drop(map, hd_mapping_data(map), hd_mapping_size(map));
    }
}

const json_t *hd_checkpoint_config(const hd_checkpoint *ckpt)
{
    return ckpt->config;
}

const json_t *hd_checkpoint_generation_config(const hd_checkpoint *ckpt)
{
    return ckpt->generation_config;
}

size_t hd_checkpoint_meta_count(const hd_checkpoint *ckpt)
{
    return ckpt->gguf.meta_count;
}

const hd_meta *hd_checkpoint_meta_at(const hd_checkpoint *ckpt, size_t index)
{
    return index < ckpt->gguf.meta_count ? &ckpt->gguf.meta[index] : NULL;
}

const hd_meta *hd_checkpoint_meta(const hd_checkpoint *ckpt, const char *key)
{
    return hd_gguf_find(&ckpt->gguf, key);
}
