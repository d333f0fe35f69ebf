/* formats/imatrix_write.c: importance matrices as GGUF files. */
#include <string.h>

#include "formats/formats_internal.h"
#include "formats/imatrix.h"

/* Two tensors of each entry, with their names. */
static hd_status make_tensors(const hd_imatrix *m, hd_tensor *tensors, hd_buf *names, hd_error *err)
{
    for (size_t i = 0; i < m->count; i++) /* first all names, for the buffer may move */
        if (hd_buf_printf(names, "%s" HD_IMATRIX_SUMS "%c%s" HD_IMATRIX_COUNTS "%c", m->entries[i]->name, 0,
                          m->entries[i]->name, 0) != HD_OK)
            return hd_fail(err, names->status, "no memory for the names of %zu entries", m->count);
    const char *name = names->data;
    for (size_t i = 0; i < 2 * m->count; i++, name += strlen(name) + 1) {
        const hd_imatrix_entry *e = m->entries[i / 2];
        bool sums = i % 2 == 0;
        int64_t cols = sums ? (int64_t)e->cols : 1;
        tensors[i] = (hd_tensor){.name = name,
                                 .type = HD_TYPE_F32,
                                 .dims = 2,
                                 .shape = {(int64_t)e->rows, cols, 1, 1},
                                 .data = sums ? e->sums : e->counts,
                                 .bytes = e->rows * (size_t)cols * sizeof(float)};
    }
    return HD_OK;
}

#define STR(text) ((hd_str){text, sizeof(text) - 1})

/* A part that was found is of another text, unless it has our bytes: it would not be seen by its header alone. */
static hd_status put_tensors(hd_file_writer *w, const hd_tensor *tensors, size_t count, hd_error *err)
{
    for (size_t i = 0; i < count; i++)
        HD_TRY(
            hd_file_writer_put_whole(w, i, tensors[i].data, tensors[i].bytes, "is of another importance matrix", err));
    return hd_file_writer_finish(w, err);
}

static hd_status write_tensors(const hd_imatrix *m, const hd_tensor *tensors, const hd_str *datasets, const char *path,
                               hd_error *err)
{
    const hd_meta meta[] = {
        {.key = STR("general.type"), .type = HD_META_STRING, .string = STR("imatrix")},
        {.key = STR("imatrix.datasets"),
         .type = HD_META_ARRAY,
         .elem = HD_META_STRING,
         .count = m->dataset_count,
         .strings = datasets},
        {.key = STR("imatrix.chunk_count"), .type = HD_META_U32, .data = (const uint8_t *)&m->chunk_count},
        {.key = STR("imatrix.chunk_size"), .type = HD_META_U32, .data = (const uint8_t *)&m->chunk_size},
    };
    hd_file_writer *w;
    HD_TRY(hd_gguf_writer_open(&w, path, meta, HD_ARRAY_LEN(meta), tensors, 2 * m->count, false, err));
    hd_status status = put_tensors(w, tensors, 2 * m->count, err);
    hd_file_writer_close(&w);
    return status;
}

hd_status hd_imatrix_write(const hd_imatrix *m, const char *path, hd_error *err)
{
    hd_buf names;
    hd_tensor *tensors = hd_alloc_array(HD_MAX(2 * m->count, 1), sizeof *tensors);
    hd_str *datasets = hd_alloc_array(HD_MAX(m->dataset_count, 1), sizeof *datasets);
    hd_status status = tensors && datasets ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory to write %s", path);
    hd_buf_init(&names, (size_t)64 << 20);
    for (size_t i = 0; datasets && i < m->dataset_count; i++)
        datasets[i] = (hd_str){m->datasets[i], strlen(m->datasets[i])};
    if (status == HD_OK) status = make_tensors(m, tensors, &names, err);
    if (status == HD_OK) status = write_tensors(m, tensors, datasets, path, err);
    hd_buf_free(&names);
    hd_free(tensors);
    hd_free(datasets);
    return status;
}
