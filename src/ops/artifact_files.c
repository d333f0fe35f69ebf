/* ops/artifact_files.c: see artifact_files.h.  Archives are libarchive's. */
#include "ops/artifact_files.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES ((size_t)4096)

/* ---- the list ---- */

void hd_artifact_files_free(hd_artifact_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        hd_free(files->items[i].path);
        hd_free(files->items[i].data);
    }
    hd_free(files->items);
    *files = (hd_artifact_files){0};
}

static hd_status add(hd_artifact_files *files, const char *path, size_t path_len, hd_artifact_file file, hd_error *err)
{
    if (files->count == files->room) {
        size_t room = files->room ? 2 * files->room : 32;
        hd_artifact_file *items = hd_realloc_array(files->items, room, sizeof *items);
        if (!items) return hd_fail(err, HD_E_MEMORY, "out of memory for a list of files");
        files->items = items;
        files->room = room;
    }
    file.path = hd_strndup(path, path_len);
    if (!file.path) return hd_fail(err, HD_E_MEMORY, "out of memory for a list of files");
    files->items[files->count++] = file;
    return HD_OK;
}

hd_status hd_artifact_add(hd_artifact_files *files, const char *path, unsigned mode, const void *data, size_t len,
                          hd_error *err)
{
    char *copy = hd_alloc(len + 1);
    if (!copy) return hd_fail(err, HD_E_MEMORY, "out of memory for %s", path);
    if (len) memcpy(copy, data, len);
    copy[len] = '\0';
    hd_status status = add(files, path, strlen(path), (hd_artifact_file){.data = copy, .len = len, .mode = mode}, err);
    if (status != HD_OK) hd_free(copy);
    return status;
}

hd_status hd_artifact_add_folder(hd_artifact_files *files, const char *path, unsigned mode, unsigned owner,
                                 hd_error *err)
{
    return add(files, path, strlen(path), (hd_artifact_file){.mode = mode, .owner = owner}, err);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const hd_artifact_file *)a)->path, ((const hd_artifact_file *)b)->path);
}

static bool has_folder(const hd_artifact_files *files, const char *path, size_t len)
{
    for (size_t i = 0; i < files->count; i++)
        if (strlen(files->items[i].path) == len && memcmp(files->items[i].path, path, len) == 0) return true;
    return false;
}

hd_status hd_artifact_sort(hd_artifact_files *files, hd_error *err)
{
    const unsigned usual = 0755;
    for (size_t i = 0; i < files->count; i++) {
        for (size_t at = 1; files->items[i].path[at]; at++) {
            const char *path = files->items[i].path; /* the list may move */
            if (path[at] == '/' && !has_folder(files, path, at))
                HD_TRY(add(files, path, at, (hd_artifact_file){.mode = usual}, err));
        }
    }
    if (files->count) qsort(files->items, files->count, sizeof *files->items, by_path);
    return HD_OK;
}

/* ---- a folder ---- */

static hd_status write_one(const hd_artifact_file *file, const char *folder, hd_buf *path, hd_error *err)
{
    hd_buf_clear(path);
    if (hd_buf_printf(path, "%s/%s", folder, file->path) != HD_OK)
        return hd_fail(err, path->status, "%s: no room for a path in it", folder);
    if (!file->data) return hd_dirs_make(path->data, err);
    HD_TRY(hd_dirs_make_above(path->data, err));
    HD_TRY(hd_file_write(path->data, file->data, file->len, err));
    if (chmod(path->data, file->mode) == 0) return HD_OK;
    return hd_fail(err, HD_E_IO, "%s: its mode can't be set: %s", path->data, strerror(errno));
}

hd_status hd_artifact_write(const hd_artifact_files *files, const char *folder, hd_error *err)
{
    hd_buf path;
    hd_buf_init(&path, PATH_BYTES);
    hd_status status = hd_dirs_make(folder, err);
    for (size_t i = 0; i < files->count && status == HD_OK; i++)
        status = write_one(&files->items[i], folder, &path, err);
    hd_buf_free(&path);
    return status;
}

/* ---- archives ---- */

static hd_status archive_failed(struct archive *a, hd_error *err)
{
    const char *why = archive_error_string(a);
    return hd_fail(err, HD_E_IO, "the archive could not be made: %s", why ? why : "out of memory");
}

static la_ssize_t take(struct archive *a, void *arg, const void *data, size_t len)
{
    if (hd_buf_append(arg, data, len) == HD_OK) return (la_ssize_t)len;
    archive_set_error(a, ENOMEM, "it has no room");
    return -1;
}

static int put_entry(struct archive *a, struct archive_entry *entry, const hd_artifact_file *file, const char *prefix)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s%s", prefix, file->path);
    if (n < 0 || (size_t)n >= sizeof path) {
        archive_set_error(a, ENAMETOOLONG, "a path is too long");
        return ARCHIVE_FATAL;
    }
    archive_entry_clear(entry);
    archive_entry_set_pathname(entry, path);
    archive_entry_set_filetype(entry, file->data ? AE_IFREG : AE_IFDIR);
    archive_entry_set_perm(entry, (mode_t)file->mode);
    archive_entry_set_uid(entry, file->owner);
    archive_entry_set_gid(entry, file->owner);
    archive_entry_set_nlink(entry, file->data ? 1 : 2);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_size(entry, (la_int64_t)file->len);
    int rc = archive_write_header(a, entry);
    if (rc == ARCHIVE_OK && file->len && archive_write_data(a, file->data, file->len) != (la_ssize_t)file->len)
        rc = ARCHIVE_FATAL;
    return rc;
}

/* Writes `count` files through `a`, whose format is set; ends it. */
static hd_status write_archive(struct archive *a, const hd_artifact_file *files, size_t count, const char *prefix,
                               hd_buf *out, hd_error *err)
{
    struct archive_entry *entry = archive_entry_new();
    int rc = entry ? archive_write_open(a, out, NULL, take, NULL) : ARCHIVE_FATAL;
    for (size_t i = 0; i < count && rc == ARCHIVE_OK; i++)
        rc = put_entry(a, entry, &files[i], prefix);
    if (rc == ARCHIVE_OK) rc = archive_write_close(a);
    hd_status status = rc == ARCHIVE_OK ? HD_OK : archive_failed(a, err);
    archive_entry_free(entry);
    return status;
}

typedef int (*set_format)(struct archive *);

static hd_status make_archive(set_format format, const hd_artifact_file *files, size_t count, const char *prefix,
                              hd_buf *out, hd_error *err)
{
    struct archive *a = archive_write_new();
    if (!a) return hd_fail(err, HD_E_MEMORY, "out of memory for an archive");
    hd_status status = HD_OK;
    /* No padding to whole tapes. */
    if (format(a) != ARCHIVE_OK || archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK)
        status = archive_failed(a, err);
    if (status == HD_OK) status = write_archive(a, files, count, prefix, out, err);
    (void)archive_write_free(a);
    return status;
}

hd_status hd_artifact_tar(const hd_artifact_files *files, const char *prefix, hd_buf *out, hd_error *err)
{
    return make_archive(archive_write_set_format_pax_restricted, files->items, files->count, prefix, out, err);
}

hd_status hd_artifact_ar(const hd_artifact_files *files, hd_buf *out, hd_error *err)
{
    return make_archive(archive_write_set_format_ar_bsd, files->items, files->count, "", out, err);
}

hd_status hd_artifact_cpio(const hd_artifact_files *files, const char *prefix, hd_buf *out, hd_error *err)
{
    return make_archive(archive_write_set_format_cpio_newc, files->items, files->count, prefix, out, err);
}

static int raw_gzip(struct archive *a)
{
    int rc = archive_write_set_format_raw(a);
    if (rc == ARCHIVE_OK) rc = archive_write_add_filter_gzip(a);
    /* 9 takes three times as long for a hundredth of the size. */
    if (rc == ARCHIVE_OK) rc = archive_write_set_filter_option(a, "gzip", "compression-level", "6");
    if (rc == ARCHIVE_OK) rc = archive_write_set_filter_option(a, "gzip", "timestamp", NULL);
    return rc;
}

hd_status hd_artifact_gzip(const void *data, size_t len, hd_buf *out, hd_error *err)
{
    hd_artifact_file file = {
        .path = (char *)(uintptr_t) "data", .data = (char *)(uintptr_t)data, .len = len, .mode = 0644};
    return make_archive(raw_gzip, &file, 1, "", out, err);
}
