/* quantize/recipe_file.c: see recipe_file.h. */
#include "quantize/recipe_file.h"

#include <string.h>

#define RECIPE_BYTES ((size_t)64 << 20) /* a hundred thousand tensors have 8 MB */

/* ---- writing ---- */

hd_status hd_recipe_save(const char *path, const hd_source *from, const hd_type *types, const char *note, hd_error *err)
{
    json_t *map = json_object();
    bool made = map != NULL;
    for (size_t i = 0; made && i < hd_source_count(from); i++) {
        const hd_tensor *t = hd_source_tensor(from, i);
        if (types[i] != t->type) made = json_object_set_new(map, t->name, json_string(hd_type_name(types[i]))) == 0;
    }
    json_t *o = made ? json_pack("{s:s, s:O}", "note", note, "types", map) : NULL;
    json_decref(map);
    return hd_file_write_json(path, o, err); /* NULL: no memory */
}

/* ---- reading ---- */

/* Time is at most the product of the lengths: after a * only the last one is ever tried again. */
bool hd_recipe_fits(const char *pattern, const char *name)
{
    const char *star = NULL, *retry = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            retry = name;
        } else if (*pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++retry;
        } else
            return false;
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static hd_status take_entry(hd_type *types, const hd_source *from, const char *key, const json_t *value, hd_error *err)
{
    const char *name = json_string_value(value);
    hd_type type;
    bool any = false;
    if (!name || !hd_type_from_name(name, strlen(name), &type))
        return hd_fail(err, HD_E_FORMAT, "\"types\": \"%.100s\" has '%.32s', which is no type", key, name ? name : "");
    if (!hd_quant_can_write(type))
        return hd_fail(err, HD_E_UNSUPPORTED, "\"types\": %s can't be written yet", hd_type_name(type));
    for (size_t i = 0; i < hd_source_count(from); i++) {
        const hd_tensor *t = hd_source_tensor(from, i);
        if (!hd_recipe_fits(key, t->name)) continue;
        any = true;
        if (hd_tensor_cols(t) % hd_type_block(type) != 0)
            return hd_fail(err, HD_E_FORMAT, "\"types\": rows of '%.100s' have %lld values, no whole blocks of %s",
                           t->name, (long long)hd_tensor_cols(t), hd_type_name(type));
        types[i] = type;
    }
    return any ? HD_OK : hd_fail(err, HD_E_FORMAT, "\"types\": no tensor of the model is '%.100s'", key);
}

static hd_status take_all(hd_type *types, const hd_source *from, json_t *root, hd_error *err)
{
    json_t *map = json_object_get(root, "types");
    if (!json_is_object(map)) return hd_fail(err, HD_E_FORMAT, "has no object \"types\": it is no recipe");
    for (size_t i = 0; i < hd_source_count(from); i++)
        types[i] = hd_source_tensor(from, i)->type;
    for (void *it = json_object_iter(map); it; it = json_object_iter_next(map, it))
        HD_TRY(take_entry(types, from, json_object_iter_key(it), json_object_iter_value(it), err));
    return HD_OK;
}

hd_status hd_recipe_load(hd_type *types, const hd_source *from, const char *path, hd_error *err)
{
    json_t *root;
    HD_TRY(hd_json_parse_file(&root, path, RECIPE_BYTES, err));
    hd_status status = take_all(types, from, root, err);
    json_decref(root);
    return status == HD_OK ? HD_OK : hd_fail_in(err, status, "%s", path);
}
