/* gateway/kept_prefixes.c: cached prompts in sealed files.
 *
 * A file is DIR/prefixes/HEX, where HEX comes from the folder's secret and the model's title: listing the folder does
 * not tell which models are served.  Content and key are bound to the name; the bytes themselves say of which weights
 * they are.
 */
#include "gateway/kept_prefixes.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "security/sealed_file.h"

#define PURPOSE "hadal prefixes 1"

static hd_status make_path(const hd_served *s, const hd_data_folder *folder, hd_buf *path, hd_error *err)
{
    uint8_t name[16];
    hd_buf_init(path, 8192); /* twice what Linux takes as a path */
    HD_TRY(hd_data_folder_derive(folder, PURPOSE " name", s->title, strlen(s->title), name, sizeof name, err));
    (void)hd_buf_printf(path, "%s/prefixes", hd_data_folder_path(folder)); /* failures stick */
    if (path->status == HD_OK) HD_TRY(hd_dirs_make_private(path->data, err));
    (void)hd_buf_putc(path, '/');
    for (size_t i = 0; i < sizeof name; i++)
        (void)hd_buf_printf(path, "%02x", name[i]);
    return path->status == HD_OK ? HD_OK : hd_fail(err, path->status, "the path of the kept prefixes is too long");
}

static hd_str context_of(const hd_served *s)
{
    return (hd_str){s->title, strlen(s->title)};
}

static hd_status write_sealed(void *arg, const void *data, size_t size, hd_error *err)
{
    return hd_sealed_writer_write(arg, data, size, err);
}

static hd_status read_sealed(void *arg, void *data, size_t size, size_t *got, hd_error *err)
{
    return hd_sealed_reader_read(arg, data, size, got, err);
}

static hd_status save_to(const hd_served *s, const hd_data_folder *folder, const char *path, hd_error *err)
{
    hd_sealed_writer *writer = NULL;
    HD_TRY(hd_sealed_writer_open(&writer, folder, PURPOSE, context_of(s), path, err));
    hd_status status = hd_scheduler_export_prefixes(s->scheduler, write_sealed, writer, err);
    if (status == HD_OK) status = hd_sealed_writer_commit(writer, err);
    hd_sealed_writer_close(&writer);
    return status;
}

hd_status hd_prefixes_save(const hd_served *s, const hd_data_folder *folder, hd_error *err)
{
    hd_buf path;
    hd_status status = make_path(s, folder, &path, err);
    if (status == HD_OK) status = save_to(s, folder, path.data, err);
    hd_buf_free(&path);
    return status;
}

static hd_status load_from(hd_served *s, const hd_data_folder *folder, const char *path, int64_t *pages, hd_error *err)
{
    hd_sealed_reader *reader = NULL;
    hd_status status = hd_sealed_reader_open(&reader, folder, PURPOSE, context_of(s), path, err);
    if (status == HD_E_NOT_FOUND) return HD_OK;
    if (status == HD_OK) status = hd_scheduler_import_prefixes(s->scheduler, read_sealed, reader, pages, err);
    hd_sealed_reader_close(&reader);
    return status == HD_E_FORMAT || status == HD_E_UNSUPPORTED ? HD_OK : status;
}

hd_status hd_prefixes_load(hd_served *s, const hd_data_folder *folder, int64_t *pages, hd_error *err)
{
    hd_buf path;
    *pages = 0;
    hd_status status = make_path(s, folder, &path, err);
    if (status == HD_OK) status = load_from(s, folder, path.data, pages, err);
    hd_buf_free(&path);
    return status;
}
