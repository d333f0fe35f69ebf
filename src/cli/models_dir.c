/* cli/models_dir.c: see models_dir.h; also hd_model_resolve of cli.h. */
#include "cli/models_dir.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/catalogue.h"
#include "cli/cli.h"
#include "cli/files.h"

#define MAX_RECORD_BYTES (16u << 20)

hd_status hd_models_dir(char **out, const char *flag, hd_error *err)
{
    *out = NULL;
    const char *set = flag && *flag ? flag : hd_environment("HADAL_MODELS");
    if (set) {
        *out = hd_strdup(set);
        return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for a path");
    }
    hd_status status = hd_xdg_path(out, "XDG_DATA_HOME", ".local/share", "hadal/models", err);
    return status == HD_OK
               ? HD_OK
               : hd_fail_in(err, status, "the models folder is not known (the variable HADAL_MODELS sets it)");
}

hd_status hd_record_read(json_t **out, const char *folder, hd_error *err)
{
    char *path = NULL;
    *out = NULL;
    HD_TRY(hd_path_join(&path, folder, HD_RECORD_NAME, err));
    hd_status status = hd_json_parse_file(out, path, MAX_RECORD_BYTES, err);
    if (status == HD_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        status = hd_fail(err, HD_E_FORMAT, "%s: not a record of a pull", path);
    }
    hd_free(path);
    return status;
}

static void take_number(double *out, const json_t *object, const char *key, double most)
{
    const json_t *value = json_object_get(object, key);
    double number = json_number_value(value);
    if (json_is_number(value) && number >= 0 && number <= most) *out = number;
}

void hd_model_advice(const char *path, double *temperature, double *top_p)
{
    struct stat st;
    json_t *record = NULL;
    const char *slash = strrchr(path, '/');
    bool is_folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    char *folder = is_folder ? hd_strdup(path) : slash ? hd_strndup(path, (size_t)(slash - path)) : hd_strdup(".");
    if (folder && hd_record_read(&record, folder, NULL) == HD_OK) {
        const json_t *sampling = json_object_get(record, "sampling");
        take_number(temperature, sampling, "temperature", 100.0); /* the ranges of hd_sampler_open */
        take_number(top_p, sampling, "top_p", 1.0);
        json_decref(record);
    }
    hd_free(folder);
}

static bool exists(const char *path, bool *is_folder)
{
    struct stat st;
    if (stat(path, &st) != 0) return false;
    *is_folder = S_ISDIR(st.st_mode);
    return true;
}

bool hd_name_has_suffix(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n > m && strcmp(text + n - m, suffix) == 0;
}

static bool five_digits(const char *text, int *value)
{
    *value = 0;
    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *value = *value * 10 + (text[i] - '0');
    }
    return true;
}

size_t hd_gguf_split_name(const char *name, int *part, int *parts)
{
    static const size_t ending = sizeof "-00001-of-00001.gguf" - 1;
    size_t len = strlen(name);
    *part = *parts = 1;
    if (!hd_name_has_suffix(name, ".gguf")) return len;
    size_t stem = len - strlen(".gguf");
    const char *at = name + len - ending;
    int i, n;
    if (len <= ending || at[0] != '-' || !five_digits(at + 1, &i) || strncmp(at + 6, "-of-", 4) != 0 ||
        !five_digits(at + 10, &n) || i < 1 || i > n)
        return stem;
    *part = i;
    *parts = n;
    return len - ending;
}

bool hd_model_may_be(const char *path, const char *name)
{
    bool is_folder;
    int part, parts;
    if (name[0] == '.' || !exists(path, &is_folder)) return false;
    if (is_folder) return true;
    (void)hd_gguf_split_name(name, &part, &parts);
    return (hd_name_has_suffix(name, ".gguf") && part == 1) || hd_name_has_suffix(name, ".safetensors") ||
           hd_name_has_suffix(name, ".ckpt");
}

hd_status hd_model_only(char **name, hd_error *err)
{
    char *folder = NULL;
    *name = NULL;
    HD_TRY(hd_models_dir(&folder, NULL, err));
    DIR *dir = opendir(folder);
    hd_status status = HD_OK;
    size_t count = 0;
    for (struct dirent *entry; dir && status == HD_OK && (entry = readdir(dir));) {
        char *path = NULL;
        status = hd_path_join(&path, folder, entry->d_name, err);
        if (status == HD_OK && hd_model_may_be(path, entry->d_name) && ++count == 1 &&
            !(*name = hd_strdup(entry->d_name)))
            status = hd_fail(err, HD_E_MEMORY, "out of memory for the name of a model");
        hd_free(path);
    }
    if (dir) closedir(dir);
    if (status == HD_OK && count == 0)
        status = hd_fail(err, HD_E_NOT_FOUND, "there is no model in %s yet; hadal pull NAME fetches one", folder);
    if (status == HD_OK && count > 1)
        status = hd_fail(err, HD_E_ARGUMENT, "which of the %zu models in %s? (hadal models lists them)", count, folder);
    if (status != HD_OK) {
        hd_free(*name);
        *name = NULL;
    }
    hd_free(folder);
    return status;
}

/* Whether a file is a release's weights, which a folder stands for before any GGUF file in it. */
static bool is_weights(const char *name)
{
    static const char torch[] = "pytorch_model";
    return hd_name_has_suffix(name, ".safetensors") ||
           (strncmp(name, torch, strlen(torch)) == 0 && hd_name_has_suffix(name, ".bin"));
}

/* The one GGUF model in `folder`, by name; NULL when there is none, or several, or a release's weights beside it. */
static char *single_gguf(const char *folder)
{
    DIR *dir = opendir(folder);
    char *found = NULL;
    size_t count = 0;
    int part, parts;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (is_weights(entry->d_name)) count = 2;
        if (entry->d_name[0] == '.' || !hd_name_has_suffix(entry->d_name, ".gguf")) continue;
        (void)hd_gguf_split_name(entry->d_name, &part, &parts);
        if (part > 1) continue;
        count++;
        if (!found) found = hd_strdup(entry->d_name);
    }
    if (dir) closedir(dir);
    if (count != 1) {
        hd_free(found);
        found = NULL;
    }
    return found;
}

hd_status hd_model_folder_entry(char **out, const char *folder, hd_error *err)
{
    char *gguf = single_gguf(folder);
    if (gguf) {
        hd_status status = hd_path_join(out, folder, gguf, err);
        hd_free(gguf);
        return status;
    }
    *out = hd_strdup(folder);
    return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for a path");
}

/* `name` with each of the endings a model may have, in the models folder.  *path stays NULL when none is there. */
static hd_status look_in(const char *dir, const char *name, char **path, hd_error *err)
{
    static const char *const endings[] = {"", ".gguf", ".safetensors", ".ckpt"};
    if (!hd_path_is_safe(name)) return HD_OK;
    for (size_t i = 0; i < HD_ARRAY_LEN(endings); i++) {
        bool is_folder;
        char file[600], *full = NULL;
        snprintf(file, sizeof file, "%s%s", name, endings[i]);
        HD_TRY(hd_path_join(&full, dir, file, err));
        if (!exists(full, &is_folder)) {
            hd_free(full);
            continue;
        }
        if (!is_folder) {
            *path = full;
            return HD_OK;
        }
        hd_status status = hd_model_folder_entry(path, full, err);
        hd_free(full);
        return status;
    }
    return HD_OK;
}

static hd_status not_found(const hd_catalogue *catalogue, const char *dir, const char *name, hd_error *err)
{
    const hd_catalogue_entry *entry = catalogue ? hd_catalogue_find(catalogue, name) : NULL;
    if (entry) return hd_fail(err, HD_E_NOT_FOUND, "%s is not here yet; run: hadal pull %s", name, entry->name);
    const char *near = catalogue ? hd_catalogue_suggest(catalogue, name) : NULL;
    if (near)
        return hd_fail(err, HD_E_NOT_FOUND,
                       "%s: neither a file nor a model in %s; did you mean %s? (hadal models lists all)", name, dir,
                       near);
    return hd_fail(err, HD_E_NOT_FOUND, "%s: neither a file nor a model in %s (hadal models lists what is there)", name,
                   dir);
}

/* *path stays NULL when nothing of that name exists. */
static hd_status take_existing(const char *name, char **path, hd_error *err)
{
    bool is_folder;
    *path = NULL;
    if (!*name) return hd_fail(err, HD_E_ARGUMENT, "the model's name is empty");
    if (!exists(name, &is_folder)) return HD_OK;
    *path = hd_strdup(name);
    return *path ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for a path");
}

hd_status hd_model_resolve_in(const char *dir, const char *name, char **path, hd_error *err)
{
    HD_TRY(take_existing(name, path, err));
    if (!*path) HD_TRY(look_in(dir, name, path, err));
    if (*path) return HD_OK;

    hd_catalogue *catalogue = NULL;
    hd_error ignored;
    hd_status status = hd_catalogue_open(&catalogue, &ignored); /* a user's broken catalogue must not hide the answer */
    const hd_catalogue_entry *entry = status == HD_OK ? hd_catalogue_find(catalogue, name) : NULL;
    status = entry ? look_in(dir, entry->name, path, err) : HD_OK; /* by one of its other names */
    if (status == HD_OK && !*path) status = not_found(catalogue, dir, name, err);
    hd_catalogue_close(&catalogue);
    return status;
}

hd_status hd_model_resolve(const char *name, char **path, hd_error *err)
{
    HD_TRY(take_existing(name, path, err)); /* a path needs no models folder, and so no home */
    if (*path) return HD_OK;
    char *dir = NULL;
    HD_TRY(hd_models_dir(&dir, NULL, err));
    hd_status status = hd_model_resolve_in(dir, name, path, err);
    hd_free(dir);
    return status;
}
