/* formats/imatrix.c: importance matrices in memory and out of files; see imatrix.h.
 *
 * GGUF: general.type = "imatrix"; for each tensor NAME of weights a float32 tensor NAME.in_sum2 with the sums and one
 * NAME.counts with a count for each expert; imatrix.datasets, imatrix.chunk_count and imatrix.chunk_size.  Before it
 * (.dat): int32 entries, each int32 length, name, int32 windows, int32 values, float32 means times windows; then,
 * optional, int32 windows of all, int32 length, the text's name.  Both are facts of llama.cpp's files.
 */
#include "formats/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/formats_internal.h"

/* ---- in memory ---- */

hd_status hd_imatrix_open(hd_imatrix **out, hd_error *err)
{
    *out = hd_calloc(1, sizeof **out);
    return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for an importance matrix");
}

static void free_entry(hd_imatrix_entry *e)
{
    if (!e) return;
    hd_free(e->name);
    hd_free(e->sums);
    hd_free(e->counts);
    hd_free(e);
}

void hd_imatrix_close(hd_imatrix **matrix)
{
    hd_imatrix *m = *matrix;
    if (!m) return;
    *matrix = NULL;
    for (size_t i = 0; i < m->count; i++)
        free_entry(m->entries[i]);
    for (size_t i = 0; i < m->dataset_count; i++)
        hd_free(m->datasets[i]);
    hd_free(m->entries);
    hd_free(m->datasets);
    hd_free(m);
}

static bool make_room(hd_imatrix *m)
{
    if (m->count < m->cap) return true;
    size_t cap = HD_MAX(m->cap * 2, 64);
    hd_imatrix_entry **bigger = hd_realloc_array(m->entries, cap, sizeof(hd_imatrix_entry *));
    if (!bigger) return false;
    m->entries = bigger;
    m->cap = cap;
    return true;
}

hd_status hd_imatrix_add(hd_imatrix *m, const char *name, size_t rows, size_t cols, hd_imatrix_entry **entry,
                         hd_error *err)
{
    size_t values;
    *entry = NULL;
    if (__builtin_mul_overflow(rows, cols, &values) || values > HD_IMATRIX_VALUES_MAX - m->values)
        return hd_fail(err, HD_E_LIMIT, "'%s': the importance matrix would have more than %zu values", name,
                       HD_IMATRIX_VALUES_MAX);
    if (m->count == HD_IMATRIX_ENTRIES_MAX)
        return hd_fail(err, HD_E_LIMIT, "the importance matrix would have more than %d entries",
                       HD_IMATRIX_ENTRIES_MAX);
    hd_imatrix_entry *e = hd_calloc(1, sizeof *e);
    if (e) {
        e->name = hd_strdup(name);
        e->sums = hd_calloc(values, sizeof *e->sums);
        e->counts = hd_calloc(rows, sizeof *e->counts);
    }
    if (!e || !e->name || !e->sums || !e->counts || !make_room(m)) {
        free_entry(e);
        return hd_fail(err, HD_E_MEMORY, "no memory for the importance of '%s' (%zu values)", name, values);
    }
    e->rows = rows;
    e->cols = cols;
    m->values += values;
    m->entries[m->count++] = *entry = e;
    return HD_OK;
}

hd_status hd_imatrix_add_dataset(hd_imatrix *m, const char *name, hd_error *err)
{
    if (m->dataset_count == HD_IMATRIX_DATASETS_MAX)
        return hd_fail(err, HD_E_LIMIT, "the importance matrix names more than %d texts", HD_IMATRIX_DATASETS_MAX);
    char **bigger = hd_realloc_array(m->datasets, m->dataset_count + 1, sizeof(char *));
    if (bigger) m->datasets = bigger;
    char *copy = bigger ? hd_strdup(name) : NULL;
    if (!copy) return hd_fail(err, HD_E_MEMORY, "no memory for the name of a text");
    m->datasets[m->dataset_count++] = copy;
    return HD_OK;
}

static int compare_entries(const void *a, const void *b)
{
    const hd_imatrix_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

hd_status hd_imatrix_sort(hd_imatrix *m, hd_error *err)
{
    if (m->count) qsort(m->entries, m->count, sizeof(hd_imatrix_entry *), compare_entries);
    for (size_t i = 1; i < m->count; i++)
        if (strcmp(m->entries[i - 1]->name, m->entries[i]->name) == 0)
            return hd_fail(err, HD_E_FORMAT, "two entries have the name '%s'", m->entries[i]->name);
    return HD_OK;
}

static int compare_name(const void *key, const void *item)
{
    const hd_imatrix_entry *const *e = item;
    return strcmp(key, (*e)->name);
}

const hd_imatrix_entry *hd_imatrix_find(const hd_imatrix *m, const char *name)
{
    if (!m->count) return NULL;
    hd_imatrix_entry *const *found = bsearch(name, m->entries, m->count, sizeof(hd_imatrix_entry *), compare_name);
    return found ? *found : NULL;
}

/* ---- reading: both layouts ---- */

/* Whether all are finite and at least 0. */
static bool all_fine(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(x[i] >= 0.0f) || isinf(x[i])) return false;
    return true;
}

static hd_status check_numbers(const hd_imatrix_entry *e, hd_error *err)
{
    if (!all_fine(e->sums, e->rows * e->cols))
        return hd_fail(err, HD_E_FORMAT, "'%s' holds a sum of squares that is negative or not finite", e->name);
    if (!all_fine(e->counts, e->rows))
        return hd_fail(err, HD_E_FORMAT, "'%s' holds a count that is negative or not finite", e->name);
    return HD_OK;
}

/* Names of texts are for people: one that is no text is left out. */
static hd_status take_dataset(hd_imatrix *m, hd_str name, hd_error *err)
{
    char text[HD_IMATRIX_DATASET_BYTES + 1];
    if (!hd_name_valid(name, HD_IMATRIX_DATASET_BYTES)) return HD_OK;
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    return hd_imatrix_add_dataset(m, text, err);
}

/* ---- GGUF ---- */

/* The name in front of `suffix`; false where the tensor's name does not end so. */
static bool cut_suffix(char stem[HD_GGUF_NAME_MAX + 1], const char *name, const char *suffix)
{
    size_t len = strlen(name), n = strlen(suffix);
    if (len <= n || len > HD_GGUF_NAME_MAX || strcmp(name + len - n, suffix) != 0) return false;
    memcpy(stem, name, len - n);
    stem[len - n] = '\0';
    return true;
}

static const hd_tensor *find_tensor(const hd_gguf *g, const hd_names *names, const char *stem, const char *suffix)
{
    char full[HD_GGUF_NAME_MAX + sizeof HD_IMATRIX_SUMS];
    int len = snprintf(full, sizeof full, "%s%s", stem, suffix);
    const hd_name_entry *found = hd_names_find(names, full, (size_t)len);
    return found ? &g->set.tensors[found->item] : NULL;
}

static hd_status take_entry(hd_imatrix *m, const char *stem, const hd_tensor *sums, const hd_tensor *counts,
                            hd_error *err)
{
    hd_imatrix_entry *e;
    if (sums->type != HD_TYPE_F32 || counts->type != HD_TYPE_F32)
        return hd_fail(err, HD_E_FORMAT, "'%s' has %s sums and %s counts; both must be F32", stem,
                       hd_type_name(sums->type), hd_type_name(counts->type));
    size_t values = (size_t)hd_tensor_values(sums), rows = (size_t)hd_tensor_values(counts);
    if (!values || !rows || values % rows)
        return hd_fail(err, HD_E_FORMAT, "'%s' has %zu sums and %zu counts, which do not belong together", stem, values,
                       rows);
    HD_TRY(hd_imatrix_add(m, stem, rows, values / rows, &e, err));
    memcpy(e->sums, sums->data, values * sizeof *e->sums);
    memcpy(e->counts, counts->data, rows * sizeof *e->counts);
    return check_numbers(e, err);
}

static hd_status take_tensors(hd_imatrix *m, const hd_gguf *g, const hd_names *names, hd_error *err)
{
    char stem[HD_GGUF_NAME_MAX + 1];
    for (size_t i = 0; i < g->set.count; i++) {
        const hd_tensor *t = &g->set.tensors[i], *other;
        bool sums = cut_suffix(stem, t->name, HD_IMATRIX_SUMS);
        if (!sums && !cut_suffix(stem, t->name, HD_IMATRIX_COUNTS)) continue; /* what later versions may add */
        other = find_tensor(g, names, stem, sums ? HD_IMATRIX_COUNTS : HD_IMATRIX_SUMS);
        if (!other) return hd_fail(err, HD_E_FORMAT, "'%s' has no %s", stem, sums ? "counts" : "sums");
        if (sums) HD_TRY(take_entry(m, stem, t, other, err));
    }
    return HD_OK;
}

static hd_status take_number(const hd_gguf *g, const char *key, uint32_t *out, hd_error *err)
{
    const hd_meta *meta = hd_gguf_find(g, key);
    uint64_t value = 0;
    if (meta && (!hd_meta_u64(meta, 0, &value) || value > UINT32_MAX))
        return hd_fail(err, HD_E_FORMAT, "%s is no number of 32 bits", key);
    *out = (uint32_t)value;
    return HD_OK;
}

static hd_status take_metadata(hd_imatrix *m, const hd_gguf *g, hd_error *err)
{
    static const char kind[] = "imatrix";
    const hd_meta *type = hd_gguf_find(g, "general.type"), *texts = hd_gguf_find(g, "imatrix.datasets");
    if (!type || type->type != HD_META_STRING || type->string.len != strlen(kind) ||
        memcmp(type->string.data, kind, strlen(kind)) != 0)
        return hd_fail(err, HD_E_FORMAT, "no importance matrix: general.type is not 'imatrix'");
    HD_TRY(take_number(g, "imatrix.chunk_count", &m->chunk_count, err));
    HD_TRY(take_number(g, "imatrix.chunk_size", &m->chunk_size, err));
    if (texts && (texts->type != HD_META_ARRAY || texts->elem != HD_META_STRING))
        return hd_fail(err, HD_E_FORMAT, "imatrix.datasets is no array of strings");
    for (uint64_t i = 0; texts && i < texts->count; i++)
        HD_TRY(take_dataset(m, texts->strings[i], err));
    return HD_OK;
}

static hd_status take_gguf(hd_imatrix *m, const hd_gguf *g, hd_error *err)
{
    hd_names names;
    HD_TRY(take_metadata(m, g, err));
    if (!hd_names_alloc(&names, g->set.count))
        return hd_fail(err, HD_E_MEMORY, "no memory for %zu tensors", g->set.count);
    for (size_t i = 0; i < g->set.count; i++)
        names.sorted[i] = (hd_name_entry){{g->set.tensors[i].name, strlen(g->set.tensors[i].name)}, i};
    (void)hd_names_sort(&names); /* the parser saw that none occurs twice */
    hd_status status = take_tensors(m, g, &names, err);
    hd_names_free(&names);
    return status;
}

static hd_status parse_gguf(hd_imatrix *m, const uint8_t *data, size_t size, hd_error *err)
{
    hd_gguf g;
    HD_TRY(hd_gguf_parse(&g, data, size, err));
    hd_status status = take_gguf(m, &g, err);
    hd_gguf_free(&g);
    return status;
}

/* ---- the older layout ---- */

static int32_t read_i32(hd_reader *r)
{
    uint32_t bits = hd_read_u32(r);
    int32_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Sums there are means times windows, whatever number of experts: the windows are the count. */
static hd_status parse_old_entry(hd_imatrix *m, hd_reader *r, int32_t i, hd_error *err)
{
    char name[HD_GGUF_NAME_MAX + 1];
    hd_imatrix_entry *e;
    int32_t len = read_i32(r);
    const uint8_t *text = len > 0 ? hd_read_bytes(r, (uint64_t)len) : NULL;
    if (!text || !hd_name_valid((hd_str){(const char *)text, (size_t)len}, HD_GGUF_NAME_MAX))
        return hd_fail(err, HD_E_FORMAT, "no importance matrix, or damaged: entry %d has no name of 1 to %d bytes",
                       (int)i, HD_GGUF_NAME_MAX);
    memcpy(name, text, (size_t)len);
    name[len] = '\0';
    int32_t windows = read_i32(r), values = read_i32(r);
    if (r->failed) return hd_fail(err, HD_E_FORMAT, "the file ends inside entry '%s'", name);
    if (windows < 0 || values < 1)
        return hd_fail(err, HD_E_FORMAT, "entry '%s' has %d values of %d windows", name, (int)values, (int)windows);
    const uint8_t *sums = hd_read_bytes(r, (uint64_t)values * sizeof(float));
    if (!sums) return hd_fail(err, HD_E_FORMAT, "the file ends inside entry '%s'", name);
    HD_TRY(hd_imatrix_add(m, name, 1, (size_t)values, &e, err));
    memcpy(e->sums, sums, (size_t)values * sizeof *e->sums);
    e->counts[0] = windows ? (float)windows : 1.0f; /* 0 was written where sums are means */
    return check_numbers(e, err);
}

static hd_status parse_old(hd_imatrix *m, const uint8_t *data, size_t size, hd_error *err)
{
    hd_reader r;
    hd_reader_init(&r, data, size);
    int32_t entries = read_i32(&r);
    if (r.failed || entries < 1 || entries > HD_IMATRIX_ENTRIES_MAX)
        return hd_fail(err, HD_E_FORMAT, "no importance matrix: neither GGUF nor a number of entries from 1 to %d",
                       HD_IMATRIX_ENTRIES_MAX);
    for (int32_t i = 0; i < entries; i++)
        HD_TRY(parse_old_entry(m, &r, i, err));
    if (hd_reader_left(&r) == 0) return HD_OK;
    int32_t windows = read_i32(&r), len = read_i32(&r);
    const uint8_t *text = len >= 0 ? hd_read_bytes(&r, (uint64_t)len) : NULL;
    if (!text || windows < 0)
        return hd_fail(err, HD_E_FORMAT, "what follows the last entry is not a number of windows and a text's name");
    m->chunk_count = (uint32_t)windows;
    return take_dataset(m, (hd_str){(const char *)text, (size_t)len}, err);
}

hd_status hd_imatrix_parse(hd_imatrix **out, const uint8_t *data, size_t size, hd_error *err)
{
    HD_TRY(hd_imatrix_open(out, err));
    bool gguf = size >= strlen(HD_GGUF_MAGIC) && memcmp(data, HD_GGUF_MAGIC, strlen(HD_GGUF_MAGIC)) == 0;
    hd_status status = gguf ? parse_gguf(*out, data, size, err) : parse_old(*out, data, size, err);
    if (status == HD_OK) status = hd_imatrix_sort(*out, err);
    if (status == HD_OK && (*out)->count == 0)
        status = hd_fail(err, HD_E_FORMAT, "the importance matrix has no entries");
    if (status != HD_OK) hd_imatrix_close(out);
    return status;
}

hd_status hd_imatrix_read(hd_imatrix **out, const char *path, hd_error *err)
{
    hd_mapping *map = NULL;
    *out = NULL;
    HD_TRY(hd_mapping_open(&map, path, err));
    hd_status status = hd_imatrix_parse(out, hd_mapping_data(map), hd_mapping_size(map), err);
    if (status != HD_OK)
        status = hd_fail_in(err, status, "%s", path);
    else if (hd_mapping_failed(map))
        status = hd_fail(err, HD_E_IO, "%s: the file changed while it was read", path);
    if (status != HD_OK) hd_imatrix_close(out);
    hd_mapping_close(&map);
    return status;
}
