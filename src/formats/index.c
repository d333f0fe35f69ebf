/* formats/index.c: model.safetensors.index.json, which says in which file each tensor lies.
 *
 * {"metadata": {...}, "weight_map": {"tensor": "file.safetensors", ...}}: the layout that the official releases use.
 * File names must be plain: an index must not lead out of its folder.
 */
#include <string.h>

#include "formats/formats_internal.h"

static hd_str c_str(const char *text)
{
    return (hd_str){text, strlen(text)};
}

static bool plain_file_name(const json_t *value)
{
    hd_str name = {json_string_value(value), json_string_length(value)};
    return hd_name_valid(name, 255) && strlen(name.data) == name.len && !strchr(name.data, '/') &&
           !strchr(name.data, '\\') && name.data[0] != '.';
}

/* The distinct files, sorted by name; `files` has an entry per tensor.  Two files in a row of equal name are one. */
static hd_status collect_files(hd_index *index, const hd_names *files, hd_error *err)
{
    index->files = hd_calloc(files->count, sizeof *index->files);
    if (!index->files) return hd_fail(err, HD_E_MEMORY, "no memory for %zu file names", files->count);
    for (size_t i = 0; i < files->count; i++) {
        const hd_name_entry *file = &files->sorted[i];
        if (index->file_count == 0 || strcmp(index->files[index->file_count - 1], file->text.data) != 0)
            index->files[index->file_count++] = file->text.data;
        index->entries[file->item].file = index->file_count - 1;
    }
    if (index->file_count > HD_INDEX_FILES_MAX)
        return hd_fail(err, HD_E_LIMIT, "\"weight_map\" names %zu files; at most %d are read", index->file_count,
                       HD_INDEX_FILES_MAX);
    return HD_OK;
}

static hd_status read_entries(hd_index *index, hd_names *files, json_t *map, hd_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value)
    {
        size_t i = index->count;
        if (!hd_name_valid(c_str(name), HD_TENSOR_NAME_MAX))
            return hd_fail(
                err, HD_E_FORMAT,
                "\"weight_map\": the tensor name '%s' is not 1 to %d bytes of UTF-8 without control characters",
                hd_show(c_str(name)).text, HD_TENSOR_NAME_MAX);
        if (!json_is_string(value))
            return hd_fail(err, HD_E_FORMAT, "\"weight_map\": the file of tensor '%s' is not a string", name);
        if (!plain_file_name(value))
            return hd_fail(err, HD_E_FORMAT, "\"weight_map\": tensor '%s' lies in '%s', which is not a plain file name",
                           name, hd_show(c_str(json_string_value(value))).text);
        index->entries[i].name = name;
        index->names.sorted[i] = (hd_name_entry){c_str(name), i};
        files->sorted[i] = (hd_name_entry){c_str(json_string_value(value)), i};
        index->count++;
    }
    return HD_OK;
}

static hd_status read_map(hd_index *index, json_t *map, hd_error *err)
{
    if (!json_is_object(map)) return hd_fail(err, HD_E_FORMAT, "\"weight_map\" is missing or not an object");
    size_t count = json_object_size(map);
    if (count == 0) return hd_fail(err, HD_E_FORMAT, "\"weight_map\" names no tensor");
    if (count > HD_TENSORS_MAX)
        return hd_fail(err, HD_E_LIMIT, "\"weight_map\" names %zu tensors; at most %zu are read", count,
                       HD_TENSORS_MAX);
    hd_names files = {0};
    index->entries = hd_calloc(count, sizeof *index->entries);
    hd_status status = HD_E_MEMORY;
    if (index->entries && hd_names_alloc(&index->names, count) && hd_names_alloc(&files, count))
        status = read_entries(index, &files, map, err);
    else
        status = hd_fail(err, status, "no memory for %zu tensors", count);
    if (status == HD_OK) {
        (void)hd_names_sort(&index->names); /* no name occurs twice: it was a JSON object */
        (void)hd_names_sort(&files);
        status = collect_files(index, &files, err);
    }
    hd_names_free(&files);
    return status;
}

hd_status hd_index_parse(hd_index *out, const char *text, size_t len, hd_error *err)
{
    *out = (hd_index){0};
    HD_TRY(hd_json_parse(&out->json, text, len, err));
    hd_status status = read_map(out, json_object_get(out->json, "weight_map"), err);
    if (status != HD_OK) hd_index_free(out);
    return status;
}

void hd_index_free(hd_index *index)
{
    hd_free(index->entries);
    hd_names_free(&index->names);
    hd_free(index->files);
    json_decref(index->json);
    *index = (hd_index){0};
}
