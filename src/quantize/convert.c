/* quantize/convert.c: the folder of a release: the small files beside the weights, and the name that comes last. */
#include "quantize/convert.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_LENGTH ((size_t)1 << 16)

typedef struct folder {
    const hd_source *from;
    const hd_type *types;
    const char *path; /* PATH.part */
    hd_error *err;
} folder;

/* ---- made ---- */

/* The type that most values will have. */
static hd_type commonest_type(const folder *f)
{
    int64_t values[HD_TYPE_COUNT] = {0};
    hd_type best = HD_TYPE_BF16;
    for (size_t i = 0; i < hd_source_count(f->from); i++)
        values[f->types[i]] += hd_tensor_values(hd_source_tensor(f->from, i));
    for (int type = 0; type < HD_TYPE_COUNT; type++)
        if (values[type] > values[best]) best = (hd_type)type;
    return best;
}

/* Writes and releases `value`. */
static hd_status put_json(const folder *f, const char *name, json_t *value)
{
    hd_buf path;
    hd_buf_init(&path, PATH_LENGTH);
    hd_status status = hd_buf_printf(&path, "%s/%s", f->path, name);
    if (status == HD_OK)
        status = hd_file_write_json(path.data, value, f->err);
    else
        json_decref(value);
    hd_buf_free(&path);
    return status == HD_E_MEMORY ? hd_fail(f->err, status, "no memory to write %s", name) : status;
}

static hd_status make_configs(const folder *f)
{
    json_t *json;
    const hd_model_config *c = hd_source_config(f->from);
    HD_TRY(hd_model_config_to_json(&json, c, commonest_type(f), f->err));
    HD_TRY(put_json(f, "config.json", json));
    HD_TRY(hd_model_generation_to_json(&json, c, f->err));
    return put_json(f, "generation_config.json", json);
}

static hd_status make_tokenizer(const folder *f, const hd_tokenizer *tok)
{
    json_t *json, *config;
    if (!tok) return HD_OK;
    HD_TRY(hd_tokenizer_to_json(&json, &config, tok, hd_source_config(f->from)->context, f->err));
    hd_status status = put_json(f, "tokenizer.json", json);
    if (status == HD_OK) return put_json(f, "tokenizer_config.json", config);
    json_decref(config);
    return status;
}

/* ---- copied ---- */

/* The folder of a checkpoint's path: itself, or that of its file; the caller frees it. */
static char *folder_of(const char *path)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return hd_strdup(path);
    return slash ? hd_strndup(path, HD_MAX((size_t)(slash - path), 1)) : hd_strdup(".");
}

/* A small file of the release, if it has it. */
static hd_status copy_file(const folder *f, const char *folder_from, const char *name)
{
    hd_buf from, to;
    hd_mapping *map = NULL;
    hd_buf_init(&from, PATH_LENGTH);
    hd_buf_init(&to, PATH_LENGTH);
    hd_status status = hd_buf_printf(&from, "%s/%s", folder_from, name);
    if (status == HD_OK) status = hd_buf_printf(&to, "%s/%s", f->path, name);
    if (status != HD_OK)
        status = hd_fail(f->err, status, "no memory for a path");
    else if (access(from.data, F_OK) == 0) {
        status = hd_mapping_open(&map, from.data, f->err);
        if (status == HD_OK) status = hd_file_write(to.data, hd_mapping_data(map), hd_mapping_size(map), f->err);
        hd_mapping_close(&map);
    }
    hd_buf_free(&from);
    hd_buf_free(&to);
    return status;
}

/* config.json without the quantization that is undone. */
static hd_status copy_config(const folder *f)
{
    json_t *config = json_copy((json_t *)hd_checkpoint_config(hd_source_checkpoint(f->from)));
    if (!config) return hd_fail(f->err, HD_E_MEMORY, "no memory for config.json");
    (void)json_object_del(config, "quantization_config");
    return put_json(f, "config.json", config);
}

static hd_status copy_files(const folder *f)
{
    static const char *const names[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "chat_template.jinja",
                                        "vocab.json",
                                        "merges.txt",
                                        "LICENSE"};
    char *from = folder_of(hd_checkpoint_path(hd_source_checkpoint(f->from)));
    hd_status status = from ? copy_config(f) : hd_fail(f->err, HD_E_MEMORY, "no memory for a path");
    for (size_t i = 0; status == HD_OK && i < HD_ARRAY_LEN(names); i++)
        status = copy_file(f, from, names[i]);
    hd_free(from);
    return status;
}

/* ---- the whole ---- */

static hd_status write_folder(const folder *f, const hd_tokenizer *tok, const hd_quant_options *options)
{
    if (mkdir(f->path, 0777) != 0 && errno != EEXIST)
        return hd_fail(f->err, HD_E_IO, "%s: cannot make the folder: %s", f->path, strerror(errno));
    if (hd_checkpoint_format(hd_source_checkpoint(f->from)) == HD_FORMAT_GGUF) {
        HD_TRY(make_configs(f));
        HD_TRY(make_tokenizer(f, tok));
    } else
        HD_TRY(copy_files(f));
    return hd_quantize(f->from, f->types, NULL, f->path, options, f->err);
}

hd_status hd_convert_release(const hd_source *from, const hd_type *types, const hd_tokenizer *tok, const char *path,
                             const hd_quant_options *options, hd_error *err)
{
    hd_buf part;
    struct stat st;
    if (lstat(path, &st) == 0)
        return hd_fail(err, HD_E_IO, "%s: is there already and is not replaced; take another name", path);
    hd_buf_init(&part, PATH_LENGTH);
    hd_status status = hd_buf_printf(&part, "%s%s", path, HD_PART_SUFFIX);
    if (status != HD_OK)
        status = hd_fail(err, status, "no memory for a path");
    else {
        folder f = {.from = from, .types = types, .path = part.data, .err = err};
        status = write_folder(&f, tok, options);
    }
    if (status == HD_OK && rename(part.data, path) != 0)
        status = hd_fail(err, HD_E_IO, "%s: cannot rename it to %s: %s", part.data, path, strerror(errno));
    hd_buf_free(&part);
    return status;
}
