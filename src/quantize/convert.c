/* quantize/convert.c: the folder of a release: the small files beside the weights, and the name that comes last; or a
 * single file of weights, and the small files beside it where they are missing. */
#include "quantize/convert.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dirs.h"
#include "quantize/output.h"
#include "quantize/part_folder.h"

#define PATH_LENGTH ((size_t)1 << 16)
#define SMALL_FILE_MAX ((size_t)64 << 20) /* tokenizer.json of 130,000 words with merges has 10 MB */

typedef struct folder {
    const hd_source *from;
    const hd_type *types;
    const char *path; /* PATH.part; with `shared` the folder that the file of weights comes to */
    bool shared;      /* somebody's folder: what is there stays, and must say the same */
    bool dry;         /* only that is checked */
    size_t shards;    /* files of weights */
    hd_release_files files;
    hd_error *err;
} folder;

/* ---- small files ---- */

/* Keys of config.json for the type of the weights: each tensor says its own. */
static const char *const type_keys[] = {"torch_dtype", "dtype"};

/* Whether two texts of JSON say the same of a model. */
static bool same_json(const void *a, size_t a_len, const void *b, size_t b_len)
{
    json_t *x = NULL, *y = NULL;
    bool same = hd_json_parse(&x, a, a_len, NULL) == HD_OK && hd_json_parse(&y, b, b_len, NULL) == HD_OK;
    for (size_t i = 0; same && i < HD_ARRAY_LEN(type_keys); i++) {
        (void)json_object_del(x, type_keys[i]);
        (void)json_object_del(y, type_keys[i]);
    }
    same = same && json_equal(x, y) == 1;
    json_decref(x);
    json_decref(y);
    return same;
}

/* LICENSE, LICENSE-MODEL, LICENSE.txt, NOTICE. */
static bool is_licence(const char *name)
{
    return strncmp(name, "LICENSE", 7) == 0 || strncmp(name, "NOTICE", 6) == 0;
}

/* A file that is there may stay when it says what ours would; a licence may say anything. */
static hd_status check_there(const folder *f, const char *path, const char *name, const void *data, size_t len)
{
    hd_mapping *map = NULL;
    HD_TRY(hd_mapping_open(&map, path, f->err));
    const uint8_t *there = hd_mapping_data(map);
    size_t size = hd_mapping_size(map), end = strlen(name);
    bool json = end > 5 && strcmp(name + end - 5, ".json") == 0;
    bool same = (size == len && (!len || memcmp(there, data, len) == 0)) || is_licence(name) ||
                (json && same_json(there, size, data, len));
    hd_mapping_close(&map);
    if (same) return HD_OK;
    return hd_fail(f->err, HD_E_IO, "%s: is there already and belongs to another model; take a folder of its own",
                   path);
}

static hd_status put_file(const folder *f, const char *name, const void *data, size_t len)
{
    hd_buf path;
    struct stat st;
    hd_buf_init(&path, PATH_LENGTH);
    hd_status status = hd_buf_printf(&path, "%s/%s", f->path, name);
    if (status != HD_OK)
        status = hd_fail(f->err, status, "no memory to write %s", name);
    else if (f->shared && lstat(path.data, &st) == 0)
        status = check_there(f, path.data, name, data, len);
    else if (!f->dry)
        status = hd_file_write(path.data, data, len, f->err);
    hd_buf_free(&path);
    return status;
}

/* Writes and releases `value`. */
static hd_status put_json(const folder *f, const char *name, json_t *value)
{
    hd_buf text;
    hd_buf_init(&text, SMALL_FILE_MAX);
    hd_status status = hd_json_append(&text, value);
    status = status == HD_OK ? put_file(f, name, text.data, text.len)
                             : hd_fail(f->err, status, "no memory to write %s", name);
    hd_buf_free(&text);
    return status;
}

/* ---- made ---- */

/* Says in config.json what type matrices of 8 bits have, if there are any. */
static hd_status add_quantization(const folder *f, json_t *config)
{
    for (size_t i = 0; i < hd_source_count(f->from); i++) {
        if (!hd_model_has_scales(f->types[i])) continue;
        json_t *said = hd_model_quantization_to_json(hd_source_config(f->from), f->types[i]);
        if (json_object_set_new(config, "quantization_config", said) == 0) return HD_OK;
        return hd_fail(f->err, HD_E_MEMORY, "no memory for config.json");
    }
    return HD_OK;
}

/* Writes and releases it. */
static hd_status put_config(const folder *f, json_t *config)
{
    hd_status status = add_quantization(f, config);
    if (status == HD_OK) return put_json(f, "config.json", config);
    json_decref(config);
    return status;
}

/* That most values will have that are no codes of 8 bits. */
static hd_type plain_type(const folder *f)
{
    return hd_quant_commonest(f->from, f->types, true, HD_TYPE_BF16);
}

static hd_status make_configs(const folder *f)
{
    json_t *json;
    const hd_model_config *c = hd_source_config(f->from);
    HD_TRY(hd_model_config_to_json(&json, c, plain_type(f), f->err));
    HD_TRY(put_config(f, json));
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

/* A small file of the release; links are followed, as those of hub caches. */
static hd_status copy_file(const folder *f, const char *folder_from, const char *name)
{
    hd_buf from;
    struct stat st;
    hd_mapping *map = NULL;
    hd_buf_init(&from, PATH_LENGTH);
    hd_status status = hd_buf_printf(&from, "%s/%s", folder_from, name);
    if (status != HD_OK)
        status = hd_fail(f->err, status, "no memory for a path");
    else if (stat(from.data, &st) == 0 && S_ISREG(st.st_mode)) {
        status = hd_mapping_open(&map, from.data, f->err);
        if (status == HD_OK) status = put_file(f, name, hd_mapping_data(map), hd_mapping_size(map));
        hd_mapping_close(&map);
    }
    hd_buf_free(&from);
    return status;
}

/* config.json with the quantization and the type of weights that there will be. */
static hd_status copy_config(const folder *f)
{
    json_t *config = json_copy((json_t *)hd_checkpoint_config(hd_source_checkpoint(f->from)));
    bool made = config != NULL;
    for (size_t i = 0; made && i < HD_ARRAY_LEN(type_keys); i++)
        if (json_is_string(json_object_get(config, type_keys[i])))
            made = json_object_set_new(config, type_keys[i], json_string(hd_model_torch_type(plain_type(f)))) == 0;
    if (!made) {
        json_decref(config);
        return hd_fail(f->err, HD_E_MEMORY, "no memory for config.json");
    }
    (void)json_object_del(config, "quantization_config");
    return put_config(f, config);
}

/* What stands beside the weights of a release and goes along: the tokenizer in all its forms, licences, and the code
 * that "auto_map" in config.json names.  Not what people put there besides. */
static bool is_copied(const char *name)
{
    static const char *const names[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "chat_template.json",
                                        "chat_template.jinja",
                                        "vocab.json",
                                        "vocab.txt",
                                        "merges.txt",
                                        "tokenizer.model",
                                        "spiece.model"};
    static const char *const code[] = {"configuration_", "modeling_", "tokenization_", "generation_"};
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    for (size_t i = 0; i < HD_ARRAY_LEN(code); i++)
        if (strncmp(name, code[i], strlen(code[i])) == 0 && hd_text_ends_with(name, ".py")) return true;
    return is_licence(name);
}

static hd_status copy_folder(const folder *f, const char *from)
{
    hd_status status = HD_OK;
    DIR *dir = opendir(from);
    if (!dir) return hd_fail(f->err, HD_E_IO, "%s: cannot read the folder: %s", from, strerror(errno));
    for (struct dirent *e; status == HD_OK && (e = readdir(dir));)
        if (is_copied(e->d_name)) status = copy_file(f, from, e->d_name);
    closedir(dir);
    return status;
}

static hd_status copy_files(const folder *f)
{
    char *from = hd_folder_of(hd_checkpoint_path(hd_source_checkpoint(f->from)));
    hd_status status = from ? copy_config(f) : hd_fail(f->err, HD_E_MEMORY, "no memory for a path");
    if (status == HD_OK) status = copy_folder(f, from);
    hd_free(from);
    return status;
}

/* ---- the whole ---- */

static hd_status put_small_files(const folder *f, const hd_tokenizer *tok)
{
    if (hd_checkpoint_format(hd_source_checkpoint(f->from)) != HD_FORMAT_GGUF) return copy_files(f);
    HD_TRY(make_configs(f));
    return make_tokenizer(f, tok);
}

/* Whether a file of that name is one of the small ones. */
static bool is_small_name(const char *name)
{
    return strcmp(name, "config.json") == 0 || is_copied(name); /* what is made is among what is copied */
}

/* Whether it is one of our weights, or what there is of it. */
static bool is_shard(const folder *f, const char *name)
{
    char shard[64];
    for (size_t i = 0; i < f->shards; i++) {
        hd_output_shard_name(f->files, i, f->shards, shard);
        size_t len = strlen(shard);
        if (strncmp(name, shard, len) == 0 && (!name[len] || strcmp(name + len, HD_PART_SUFFIX) == 0)) return true;
    }
    return false;
}

static const char *stranger(const void *arg, const char *name)
{
    const folder *f = arg;
    bool index = strncmp(name, "model.", 6) == 0 && hd_text_ends_with(name, ".index.json");
    if (is_small_name(name) || is_shard(f, name) || (index && f->shards > 1)) return NULL;
    return strncmp(name, "model", 5) == 0 ? "is of a run with another --split-size or layout"
                                          : "is none of this command's files";
}

/* The small files come last: weights that an earlier run began are held against the model first. */
static hd_status write_folder(const folder *f, const hd_tokenizer *tok, const hd_quant_options *options)
{
    HD_TRY(hd_part_folder_open(f->path, stranger, f, f->err));
    HD_TRY(hd_quantize(f->from, f->types, NULL, f->path, options, f->err));
    return put_small_files(f, tok);
}

/* A folder that grows as PATH.part. */
static hd_status convert_folder(folder *f, const hd_tokenizer *tok, const char *path, const hd_quant_options *options)
{
    hd_buf part;
    hd_buf_init(&part, PATH_LENGTH);
    hd_status status = hd_buf_printf(&part, "%s%s", path, HD_PART_SUFFIX);
    f->path = part.data;
    f->files = options->files;
    if (status != HD_OK)
        status = hd_fail(f->err, status, "no memory for a path");
    else if ((status = hd_quant_files(&f->shards, NULL, f->from, f->types, path, options, f->err)) == HD_OK)
        status = write_folder(f, tok, options);
    if (status == HD_OK && rename(part.data, path) != 0)
        status = hd_fail(f->err, HD_E_IO, "%s: cannot rename it to %s: %s", part.data, path, strerror(errno));
    hd_buf_free(&part);
    return status;
}

/* One file of weights; the small files come first, so that a whole one is never without. */
static hd_status convert_file(folder *f, const hd_tokenizer *tok, const char *path, const hd_quant_options *options)
{
    if (options->split)
        return hd_fail(f->err, HD_E_ARGUMENT, "%s: is one file; to split it take the name of a folder, without .ckpt",
                       path);
    char *parent = hd_folder_of(path);
    hd_status status = parent ? HD_OK : hd_fail(f->err, HD_E_MEMORY, "no memory for a path");
    f->path = parent;
    f->shared = f->dry = true;
    if (status == HD_OK) status = put_small_files(f, tok);
    f->dry = false;
    if (status == HD_OK) status = put_small_files(f, tok);
    if (status == HD_OK) status = hd_quantize(f->from, f->types, NULL, path, options, f->err);
    hd_free(parent);
    return status;
}

hd_status hd_convert_release(const hd_source *from, const hd_type *types, const hd_tokenizer *tok, const char *path,
                             const hd_quant_options *options, hd_error *err)
{
    struct stat st;
    folder f = {.from = from, .types = types, .err = err};
    if (lstat(path, &st) == 0)
        return hd_fail(err, HD_E_IO, "%s: is there already and is not replaced; take another name", path);
    return hd_output_is_file(options->files, path) ? convert_file(&f, tok, path, options)
                                                   : convert_folder(&f, tok, path, options);
}
