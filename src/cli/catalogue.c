/* cli/catalogue.c: see catalogue.h.  The JSON tree stays alive and owns the strings; only joined languages are ours. */
#include "cli/catalogue.h"

#include <string.h>
#include <strings.h>

#include "catalogue_json.h"
#include "cli/files.h"
#include "cli/options.h"

#define MAX_CATALOGUE_BYTES (4u << 20)
#define MAX_ENTRIES 10000

struct hd_catalogue {
    json_t *root;
    hd_catalogue_entry *entries;
    size_t count;
};

/* ---- one entry ---- */

static hd_status text_of(const char **out, const json_t *object, const char *key, bool needed, const char *where,
                         hd_error *err)
{
    const json_t *value = json_object_get(object, key);
    *out = json_string_value(value);
    if (*out && strlen(*out) == json_string_length(value)) return HD_OK;
    if (!value && !needed) {
        *out = "";
        return HD_OK;
    }
    return hd_fail(err, HD_E_FORMAT, "%s: \"%s\" must be a string", where, key);
}

static hd_status number_of(uint64_t *out, const json_t *object, const char *key, const char *where, hd_error *err)
{
    const json_t *value = json_object_get(object, key);
    *out = 0;
    if (!value) return HD_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return hd_fail(err, HD_E_FORMAT, "%s: \"%s\" must be a whole number, not negative", where, key);
    *out = (uint64_t)json_integer_value(value);
    return HD_OK;
}

static hd_status flag_of(bool *out, const json_t *object, const char *key, bool absent, const char *where,
                         hd_error *err)
{
    const json_t *value = json_object_get(object, key);
    *out = value ? json_is_true(value) : absent;
    if (!value || json_is_boolean(value)) return HD_OK;
    return hd_fail(err, HD_E_FORMAT, "%s: \"%s\" must be true or false", where, key);
}

static hd_status read_source(hd_catalogue_source *source, const json_t *object, const char *where, hd_error *err)
{
    if (!json_is_object(object)) return hd_fail(err, HD_E_FORMAT, "%s: each of \"sources\" must be an object", where);
    HD_TRY(text_of(&source->source, object, "source", true, where, err));
    HD_TRY(text_of(&source->format, object, "format", true, where, err));
    HD_TRY(text_of(&source->sha256, object, "sha256", false, where, err));
    HD_TRY(number_of(&source->bytes, object, "bytes", where, err));
    HD_TRY(number_of(&source->memory, object, "memory", where, err));
    HD_TRY(flag_of(&source->tried, object, "tried", false, where, err));
    if (!*source->sha256) source->sha256 = NULL;
    if (source->sha256 && strlen(source->sha256) != 64)
        return hd_fail(err, HD_E_FORMAT, "%s: \"sha256\" must be 64 hexadecimal digits", where);
    return HD_OK;
}

static hd_status read_sources(hd_catalogue_entry *entry, const json_t *object, const char *where, hd_error *err)
{
    const json_t *list = json_object_get(object, "sources");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return hd_fail(err, HD_E_FORMAT, "%s: \"sources\" must be a list with at least one source", where);
    entry->sources = hd_calloc(json_array_size(list), sizeof *entry->sources);
    if (!entry->sources) return hd_fail(err, HD_E_MEMORY, "out of memory for the catalogue");
    entry->source_count = json_array_size(list);
    for (size_t i = 0; i < entry->source_count; i++)
        HD_TRY(read_source(&entry->sources[i], json_array_get(list, i), where, err));
    return HD_OK;
}

static hd_status read_aliases(hd_catalogue_entry *entry, const json_t *object, const char *where, hd_error *err)
{
    const json_t *list = json_object_get(object, "aliases");
    if (!list) return HD_OK;
    if (!json_is_array(list)) return hd_fail(err, HD_E_FORMAT, "%s: \"aliases\" must be a list of strings", where);
    entry->aliases = hd_calloc(json_array_size(list), sizeof *entry->aliases);
    if (!entry->aliases) return hd_fail(err, HD_E_MEMORY, "out of memory for the catalogue");
    entry->alias_count = json_array_size(list);
    for (size_t i = 0; i < entry->alias_count; i++) {
        entry->aliases[i] = json_string_value(json_array_get(list, i));
        if (!entry->aliases[i]) return hd_fail(err, HD_E_FORMAT, "%s: \"aliases\" must be a list of strings", where);
    }
    return HD_OK;
}

static hd_status read_languages(hd_catalogue_entry *entry, const json_t *object, const char *where, hd_error *err)
{
    const json_t *list = json_object_get(object, "languages");
    hd_buf text;
    hd_buf_init(&text, 1024);
    hd_status status = hd_buf_puts(&text, "");
    if (list && !json_is_array(list)) status = HD_E_FORMAT;
    for (size_t i = 0; status == HD_OK && i < json_array_size(list); i++) {
        const char *language = json_string_value(json_array_get(list, i));
        status = language ? hd_buf_printf(&text, "%s%s", i ? ", " : "", language) : HD_E_FORMAT;
    }
    if (status != HD_OK) {
        hd_buf_free(&text);
        return hd_fail(err, status, "%s: \"languages\" must be a short list of strings", where);
    }
    entry->languages = text.data; /* ours from here on */
    return HD_OK;
}

static hd_status read_sampling(hd_catalogue_entry *entry, const json_t *object, const char *where, hd_error *err)
{
    const char *key;
    json_t *value;
    entry->sampling = json_object_get(object, "sampling");
    if (!entry->sampling) return HD_OK;
    if (!json_is_object(entry->sampling)) return hd_fail(err, HD_E_FORMAT, "%s: \"sampling\" must be an object", where);
    json_object_foreach((json_t *)entry->sampling, key, value)
    {
        if (json_is_number(value)) continue;
        return hd_fail(err, HD_E_FORMAT, "%s: \"sampling\" must hold numbers", where);
    }
    return HD_OK;
}

/* Names become folders. */
static hd_status read_entry(hd_catalogue_entry *entry, const char *name, const json_t *object, hd_error *err)
{
    char where[160];
    snprintf(where, sizeof where, "catalogue entry \"%.100s\"", name);
    if (!json_is_object(object)) return hd_fail(err, HD_E_FORMAT, "%s: must be an object", where);
    if (!hd_path_is_safe(name) || strchr(name, '/') || strchr(name, ':'))
        return hd_fail(err, HD_E_FORMAT, "%s: a name has no \"/\", no \":\" and no dot in front", where);
    entry->name = name;
    HD_TRY(text_of(&entry->title, object, "title", true, where, err));
    HD_TRY(text_of(&entry->about, object, "about", false, where, err));
    HD_TRY(text_of(&entry->parameters, object, "parameters", false, where, err));
    HD_TRY(text_of(&entry->licence, object, "licence", false, where, err));
    HD_TRY(number_of(&entry->context, object, "context", where, err));
    HD_TRY(flag_of(&entry->runs, object, "runs", true, where, err));
    HD_TRY(read_sampling(entry, object, where, err));
    HD_TRY(read_languages(entry, object, where, err));
    HD_TRY(read_aliases(entry, object, where, err));
    return read_sources(entry, object, where, err);
}

/* ---- the whole ---- */

static hd_status find_models(json_t **models, const json_t *root, const char *which, hd_error *err)
{
    *models = json_object_get(root, "models");
    if (json_is_object(*models)) return HD_OK;
    return hd_fail(err, HD_E_FORMAT, "%s: there is no object \"models\"", which);
}

static hd_status read_entries(hd_catalogue *c, json_t *models, hd_error *err)
{
    size_t count = json_object_size(models);
    if (count > MAX_ENTRIES) return hd_fail(err, HD_E_LIMIT, "the catalogue has more than %d entries", MAX_ENTRIES);
    c->entries = hd_calloc(count, sizeof *c->entries);
    if (!c->entries) return hd_fail(err, HD_E_MEMORY, "out of memory for the catalogue");
    const char *name;
    json_t *object;
    json_object_foreach(models, name, object)
    {
        c->count++;
        HD_TRY(read_entry(&c->entries[c->count - 1], name, object, err));
    }
    return HD_OK;
}

/* Reads c->root with `user` (may be NULL) laid over it. */
static hd_status build(hd_catalogue *c, const json_t *user, hd_error *err)
{
    json_t *models = NULL, *user_models = NULL;
    HD_TRY(find_models(&models, c->root, "the catalogue", err));
    if (user) {
        HD_TRY(find_models(&user_models, user, "your catalogue", err));
        if (json_object_update(models, user_models) != 0)
            return hd_fail(err, HD_E_MEMORY, "out of memory for the catalogue");
    }
    return read_entries(c, models, err);
}

/* Takes `user`; its strings live on in c->root, where they were laid. */
static hd_status open_with(hd_catalogue **out, const char *embedded, size_t len, json_t *user, hd_error *err)
{
    hd_catalogue *c = hd_calloc(1, sizeof *c);
    hd_status status = c ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for the catalogue");
    if (status == HD_OK) status = hd_json_parse(&c->root, embedded, len, err);
    if (status == HD_OK) status = build(c, user, err);
    if (status != HD_OK) hd_catalogue_close(&c);
    json_decref(user);
    *out = c;
    return status;
}

hd_status hd_catalogue_parse(hd_catalogue **out, const char *embedded, size_t embedded_len, const char *user,
                             size_t user_len, hd_error *err)
{
    json_t *over = NULL;
    *out = NULL;
    if (user) HD_TRY(hd_json_parse(&over, user, user_len, err));
    return open_with(out, embedded, embedded_len, over, err);
}

hd_status hd_catalogue_open(hd_catalogue **out, hd_error *err)
{
    *out = NULL;
    char *path = NULL;
    json_t *user = NULL;
    if (hd_xdg_path(&path, "XDG_CONFIG_HOME", ".config", "hadal/catalogue.json", NULL) == HD_OK) {
        hd_status read = hd_json_parse_file(&user, path, MAX_CATALOGUE_BYTES, err);
        hd_free(path);
        if (read != HD_OK && read != HD_E_NOT_FOUND) return read; /* most have none */
    }
    return open_with(out, (const char *)catalogue_json, catalogue_json_size, user, err);
}

void hd_catalogue_close(hd_catalogue **catalogue)
{
    hd_catalogue *c = *catalogue;
    if (!c) return;
    for (size_t i = 0; i < c->count; i++) {
        hd_free(c->entries[i].sources);
        hd_free(c->entries[i].aliases);
        hd_free((char *)c->entries[i].languages);
    }
    hd_free(c->entries);
    json_decref(c->root);
    hd_free(c);
    *catalogue = NULL;
}

size_t hd_catalogue_count(const hd_catalogue *catalogue)
{
    return catalogue->count;
}

const hd_catalogue_entry *hd_catalogue_at(const hd_catalogue *catalogue, size_t index)
{
    return &catalogue->entries[index];
}

const hd_catalogue_entry *hd_catalogue_find(const hd_catalogue *catalogue, const char *name)
{
    for (size_t i = 0; i < catalogue->count; i++) {
        const hd_catalogue_entry *entry = &catalogue->entries[i];
        if (strcasecmp(entry->name, name) == 0) return entry;
        for (size_t a = 0; a < entry->alias_count; a++)
            if (strcasecmp(entry->aliases[a], name) == 0) return entry;
    }
    return NULL;
}

const hd_catalogue_entry *hd_catalogue_find_source(const hd_catalogue *catalogue, const char *source)
{
    for (size_t i = 0; i < catalogue->count; i++)
        for (size_t s = 0; s < catalogue->entries[i].source_count; s++)
            if (strcmp(catalogue->entries[i].sources[s].source, source) == 0) return &catalogue->entries[i];
    return NULL;
}

const char *hd_catalogue_suggest(const hd_catalogue *catalogue, const char *name)
{
    const char **names = hd_alloc_array(catalogue->count, sizeof *names);
    if (!names) return NULL;
    for (size_t i = 0; i < catalogue->count; i++)
        names[i] = catalogue->entries[i].name;
    const char *near = hd_suggest(name, names, catalogue->count);
    hd_free(names);
    return near;
}
