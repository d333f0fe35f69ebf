/* cli/pull_fetch.c: brings the files of a plan into a staging folder; see pull.h.
 *
 *     FILE.part       what has come so far
 *     FILE.part.json  of what: address, ETag, size, SHA-256 (the sidecar)
 *     FILE            whole and verified; its sidecar is then FILE.done.json
 *
 * Invariant: FILE.part holds the first bytes of what its sidecar describes; a part without a sidecar that agrees with
 * the plan is begun anew.  A file gets its name only after size and hash are right and its bytes are on the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/pull.h"
#include "crypto/crypto.h"

#define COPY_BYTES ((size_t)1 << 20)
#define MAX_SIDECAR 65536

/* One file on its way. */
typedef struct transfer {
    hd_pull_file *file;
    hd_pull_progress *progress;
    const char *path;            /* FILE */
    char *part, *sidecar, *done; /* FILE.part, FILE.part.json, FILE.done.json */
    int fd;
    hd_sha256 *hash; /* of the first `have` bytes */
    uint64_t have;
    uint64_t resumed; /* bytes that an earlier run had brought */
    char etag[HD_ETAG_MAX];
    char address[HD_PULL_ADDRESS]; /* where it comes from, without secrets */
} transfer;

/* ---- the sidecar ---- */

static hd_status sidecar_write(const transfer *t, hd_error *err)
{
    return hd_file_write_json(t->sidecar,
                              json_pack("{s:s, s:s, s:s, s:I}", "url", t->address, "etag", t->etag, "sha256",
                                        t->file->sha256, "size", (json_int_t)t->file->size),
                              err);
}

static const char *text_in(const json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(root, key));
    return text ? text : "";
}

/* Whether the sidecar `path` is of this plan's file: by hash where the source tells it, else by address and size. */
static bool sidecar_agrees(json_t **root, const char *path, const hd_pull_file *file, const char *address)
{
    if (hd_json_parse_file(root, path, MAX_SIDECAR, NULL) != HD_OK) return false;
    if (file->sha256[0]) return strcmp(text_in(*root, "sha256"), file->sha256) == 0;
    json_int_t size = json_integer_value(json_object_get(*root, "size"));
    bool same_size = !file->size_known || size == 0 || (uint64_t)size == file->size;
    return same_size && strcmp(text_in(*root, "url"), address) == 0;
}

/* ---- the part ---- */

static hd_status start_anew(transfer *t, hd_error *err)
{
    if (ftruncate(t->fd, 0) != 0 || lseek(t->fd, 0, SEEK_SET) != 0)
        return hd_fail(err, HD_E_IO, "%s: cannot write: %s", t->part, strerror(errno));
    t->have = 0;
    t->etag[0] = '\0';
    return hd_sha256_reset(t->hash, err);
}

/* Reads what is there into the hash. */
static hd_status hash_part(transfer *t, hd_error *err)
{
    char *block = hd_alloc(COPY_BYTES);
    if (!block) return hd_fail(err, HD_E_MEMORY, "out of memory");
    hd_status status = HD_OK;
    for (ssize_t n = 1; status == HD_OK && n > 0;) {
        n = read(t->fd, block, COPY_BYTES);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            status = hd_fail(err, HD_E_IO, "%s: cannot read: %s", t->part, strerror(errno));
        else {
            status = hd_sha256_update(t->hash, block, (size_t)n, err);
            t->have += (uint64_t)n;
        }
        if (status == HD_OK && hd_interrupted()) status = hd_fail(err, HD_E_CANCELLED, "stopped");
    }
    hd_free(block);
    return status;
}

static hd_status part_open(transfer *t, hd_error *err)
{
    HD_TRY(hd_dirs_make_above(t->part, err));
    t->fd = open(t->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (t->fd < 0) return hd_fail(err, HD_E_IO, "%s: cannot create: %s", t->part, strerror(errno));
    HD_TRY(hd_sha256_open(&t->hash, err));
    json_t *root = NULL;
    bool agrees = sidecar_agrees(&root, t->sidecar, t->file, t->address);
    if (agrees) snprintf(t->etag, sizeof t->etag, "%s", text_in(root, "etag"));
    json_decref(root);
    if (!agrees) return start_anew(t, err);
    HD_TRY(hash_part(t, err));
    if (t->file->size_known && t->have > t->file->size) return start_anew(t, err);
    t->resumed = t->have;
    return HD_OK;
}

static hd_status part_write(transfer *t, const char *data, size_t len, hd_error *err)
{
    HD_TRY(hd_sha256_update(t->hash, data, len, err));
    while (len > 0) {
        ssize_t n = write(t->fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return hd_fail(err, HD_E_IO, "%s: cannot write: %s; what came is kept, the same command goes on", t->part,
                           strerror(errno));
        data += n;
        len -= (size_t)n;
        t->have += (uint64_t)n;
    }
    return HD_OK;
}

static void part_forget(transfer *t)
{
    unlink(t->part);
    unlink(t->sidecar);
}

/* Size and hash are of what came; the file must hold just that, and nothing that another wrote into it. */
static hd_status check_length(transfer *t, hd_error *err)
{
    struct stat st;
    if (fstat(t->fd, &st) != 0) return hd_fail(err, HD_E_IO, "%s: %s", t->part, strerror(errno));
    if ((uint64_t)st.st_size == t->have) return HD_OK;
    part_forget(t);
    return hd_fail(err, HD_E_CHECKSUM,
                   "%s: %llu bytes came, but the file has %lld: something else wrote into it; thrown away",
                   t->file->path, (unsigned long long)t->have, (long long)st.st_size);
}

/* Size and hash are checked, the bytes put on the disk, and only then does the file get its name. */
static hd_status part_finish(transfer *t, hd_error *err)
{
    hd_pull_file *file = t->file;
    uint8_t digest[HD_SHA256_BYTES];
    char hex[HD_SHA256_HEX];
    if (file->size_known && t->have != file->size) {
        part_forget(t);
        return hd_fail(err, HD_E_CHECKSUM, "%s: %llu bytes came, %llu were announced; thrown away", file->path,
                       (unsigned long long)t->have, (unsigned long long)file->size);
    }
    HD_TRY(check_length(t, err));
    HD_TRY(hd_sha256_finish(t->hash, digest, err));
    hd_hex_encode(digest, sizeof digest, hex);
    if (file->sha256[0] && strcmp(hex, file->sha256) != 0) {
        part_forget(t);
        return hd_fail(err, HD_E_CHECKSUM, "%s: its SHA-256 is %s, but %s was announced; thrown away", file->path, hex,
                       file->sha256);
    }
    file->verified = file->sha256[0] != '\0';
    snprintf(file->sha256, sizeof file->sha256, "%s", hex);
    if (!file->verified) snprintf(file->etag, sizeof file->etag, "%s", t->etag);
    file->size = t->have;
    file->size_known = true;
    HD_TRY(sidecar_write(t, err));
    if (fsync(t->fd) != 0 || rename(t->part, t->path) != 0 || rename(t->sidecar, t->done) != 0)
        return hd_fail(err, HD_E_IO, "%s: cannot write: %s", t->path, strerror(errno));
    return HD_OK;
}

static void transfer_close(transfer *t)
{
    if (t->fd >= 0) close(t->fd);
    hd_sha256_close(&t->hash);
    hd_free(t->part);
    hd_free(t->sidecar);
    hd_free(t->done);
}

static hd_status transfer_open(transfer *t, hd_pull_file *file, hd_pull_progress *progress, const char *path,
                               hd_error *err)
{
    *t = (transfer){.file = file, .progress = progress, .path = path, .fd = -1};
    HD_TRY(hd_pull_address(t->address, file->url, err));
    HD_TRY(hd_pull_set(&t->part, err, "%s.part", path));
    HD_TRY(hd_pull_set(&t->sidecar, err, "%s.part.json", path));
    HD_TRY(hd_pull_set(&t->done, err, "%s.done.json", path));
    return part_open(t, err);
}

/* ---- over the network ---- */

static hd_status sink_begin(void *arg, uint64_t total, const char *etag, hd_error *err)
{
    transfer *t = arg;
    if (t->file->size_known && total && total != t->file->size)
        return hd_fail(err, HD_E_NETWORK, "%s: the server has %llu bytes, but %llu were announced", t->file->path,
                       (unsigned long long)total, (unsigned long long)t->file->size);
    uint64_t missing = total > t->have ? total - t->have : 0, room = hd_disk_free(t->part);
    char need[HD_SIZE_TEXT], free_text[HD_SIZE_TEXT];
    if (missing > room)
        return hd_fail(err, HD_E_IO, "%s: %s more are needed, but only %s are free on this disk", t->file->path,
                       hd_size_text(need, missing), hd_size_text(free_text, room));
    snprintf(t->etag, sizeof t->etag, "%s", hd_text_is_utf8(etag) ? etag : ""); /* the sidecar is JSON */
    return sidecar_write(t, err);
}

static hd_status sink_write(void *arg, const void *data, size_t len, hd_error *err)
{
    return part_write(arg, data, len, err);
}

static hd_status sink_rewind(void *arg, hd_error *err)
{
    return start_anew(arg, err);
}

static bool sink_progress(void *arg, uint64_t done, uint64_t total)
{
    transfer *t = arg;
    hd_pull_progress_at(t->progress, done, total ? total : t->file->size);
    return !hd_interrupted();
}

static void sink_notice(void *arg, const char *text)
{
    hd_pull_progress_say(((transfer *)arg)->progress, "%s", text);
}

static hd_status download(transfer *t, const hd_pull_plan *plan, const hd_pull_settings *settings, hd_error *err)
{
    hd_http_sink sink = {sink_write, sink_rewind, sink_progress, sink_notice, sink_begin, t};
    hd_net_rules rules = hd_pull_rules(settings, plan->hosts);
    hd_http_request request = {.url = t->file->url,
                               .rules = &rules,
                               .bearer = plan->bearer,
                               .s3 = plan->s3,
                               .max_bytes = t->file->size_known ? t->file->size : HD_PULL_MAX_FILE_BYTES,
                               .offset = t->have,
                               .etag = t->etag,
                               .verified = t->file->sha256[0] != '\0'};
    hd_http_response response;
    if (t->resumed) {
        char text[HD_SIZE_TEXT];
        hd_pull_progress_say(t->progress, "%s: going on after %s", t->file->path, hd_size_text(text, t->resumed));
    }
    if (t->file->size_known && t->have == t->file->size && t->file->sha256[0])
        return HD_OK; /* only the check was left */
    HD_TRY(hd_http_get(&request, &sink, &response, err));
    if (!t->file->sha256[0] && response.sha256[0])
        snprintf(t->file->sha256, sizeof t->file->sha256, "%s", response.sha256);
    return HD_OK;
}

/* ---- only asking ---- */

#define ASK_ATTEMPTS 2 /* a person waits, and what is here stays as it is */

/* The answer's head is enough: no byte of the file is wanted. */
static hd_status ask_begin(void *arg, uint64_t total, const char *etag, hd_error *err)
{
    (void)total, (void)etag;
    *(bool *)arg = true;
    return hd_fail(err, HD_E_CANCELLED, "asked");
}

static hd_status ask_write(void *arg, const void *data, size_t len, hd_error *err)
{
    (void)data, (void)len;
    return ask_begin(arg, 0, "", err);
}

static bool ask_progress(void *arg, uint64_t done, uint64_t total)
{
    (void)arg, (void)done, (void)total;
    return !hd_interrupted();
}

hd_status hd_pull_ask(hd_pull_plan *plan, const hd_pull_settings *settings, hd_error *err)
{
    bool answered = false;
    hd_pull_file *file = &plan->files[0];
    hd_http_sink sink = {.write = ask_write, .progress = ask_progress, .begin = ask_begin, .arg = &answered};
    hd_net_rules rules = hd_pull_rules(settings, plan->hosts);
    hd_http_request request = {.url = file->url,
                               .rules = &rules,
                               .bearer = plan->bearer,
                               .s3 = plan->s3,
                               .max_bytes = HD_PULL_MAX_FILE_BYTES,
                               .attempts = ASK_ATTEMPTS};
    hd_http_response response;
    hd_status status = hd_http_get(&request, &sink, &response, err);
    if (status != HD_OK && !answered) return status;
    if (err) *err = (hd_error){.status = HD_OK};
    snprintf(file->etag, sizeof file->etag, "%s", hd_text_is_utf8(response.etag) ? response.etag : "");
    if (!file->sha256[0]) snprintf(file->sha256, sizeof file->sha256, "%s", response.sha256);
    return HD_OK;
}

/* ---- from this machine ---- */

static hd_status copy(transfer *t, hd_error *err)
{
    int from = open(t->file->url, O_RDONLY | O_CLOEXEC);
    if (from < 0) return hd_fail(err, HD_E_IO, "%s: %s", t->file->url, strerror(errno));
    char *block = hd_alloc(COPY_BYTES);
    hd_status status = block ? start_anew(t, err) : hd_fail(err, HD_E_MEMORY, "out of memory");
    for (ssize_t n = 1; status == HD_OK && n > 0;) {
        n = read(from, block, COPY_BYTES);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            status = hd_fail(err, HD_E_IO, "%s: cannot read: %s", t->file->url, strerror(errno));
        else
            status = part_write(t, block, (size_t)n, err);
        if (status == HD_OK && !sink_progress(t, t->have, t->file->size))
            status = hd_fail(err, HD_E_CANCELLED, "stopped");
    }
    hd_free(block);
    close(from);
    return status;
}

/* ---- all files ---- */

static hd_status fetch_once(const hd_pull_plan *plan, const hd_pull_settings *settings, hd_pull_file *file,
                            const char *path, hd_pull_progress *progress, bool *resumed, hd_error *err)
{
    transfer t;
    hd_status status = transfer_open(&t, file, progress, path, err);
    if (status == HD_OK) status = plan->local ? copy(&t, err) : download(&t, plan, settings, err);
    if (status == HD_OK) status = part_finish(&t, err);
    *resumed = t.resumed > 0;
    transfer_close(&t);
    return status;
}

/* A part that was continued may have been damaged before: then once more from the start. */
static hd_status fetch_file(const hd_pull_plan *plan, const hd_pull_settings *settings, hd_pull_file *file,
                            const char *path, hd_pull_progress *progress, hd_error *err)
{
    bool resumed = false;
    hd_status status = fetch_once(plan, settings, file, path, progress, &resumed, err);
    if (status != HD_E_CHECKSUM || !resumed) return status;
    hd_pull_progress_say(progress, "%s: the part of an earlier try was damaged; from the start", file->path);
    return fetch_once(plan, settings, file, path, progress, &resumed, err);
}

/* A file that an earlier run finished: takes its size and hash from its sidecar. */
static bool is_whole(hd_pull_file *file, const char *path)
{
    struct stat st;
    char *done = NULL, address[HD_PULL_ADDRESS];
    json_t *root = NULL;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || hd_pull_address(address, file->url, NULL) != HD_OK ||
        hd_pull_set(&done, NULL, "%s.done.json", path) != HD_OK)
        return false;
    bool whole = sidecar_agrees(&root, done, file, address) &&
                 json_integer_value(json_object_get(root, "size")) == (json_int_t)st.st_size;
    if (whole) {
        if (!file->sha256[0]) snprintf(file->etag, sizeof file->etag, "%s", text_in(root, "etag"));
        snprintf(file->sha256, sizeof file->sha256, "%s", text_in(root, "sha256"));
        file->size = (uint64_t)st.st_size;
        file->size_known = file->verified = true; /* or the user was told then */
    }
    json_decref(root);
    hd_free(done);
    return whole;
}

/* Bytes in the staging folder at `stage`/`path`, or in its part. */
static uint64_t bytes_there(const char *stage, const char *path)
{
    static const char *const endings[] = {"", ".part"};
    uint64_t bytes = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(endings); i++) {
        char *full = NULL;
        struct stat st;
        if (hd_pull_set(&full, NULL, "%s/%s%s", stage, path, endings[i]) == HD_OK && stat(full, &st) == 0)
            bytes += (uint64_t)st.st_size;
        hd_free(full);
    }
    return bytes;
}

static hd_status check_space(const hd_pull_plan *plan, const char *stage, hd_error *err)
{
    uint64_t there = 0, room = hd_disk_free(stage), bytes = hd_pull_plan_bytes(plan);
    for (size_t i = 0; i < plan->count; i++)
        there += bytes_there(stage, plan->files[i].path);
    uint64_t missing = bytes > there ? bytes - there : 0;
    if (plan->archive) missing += bytes + bytes / 4; /* what is taken out of it lies beside it for a while */
    if (missing <= room) return HD_OK;
    char need[HD_SIZE_TEXT], free_text[HD_SIZE_TEXT];
    return hd_fail(
        err, HD_E_IO,
        "%s are needed, but only %s are free where %s is (--models-dir or HADAL_MODELS choose another place)",
        hd_size_text(need, missing), hd_size_text(free_text, room), stage);
}

hd_status hd_pull_fetch(hd_pull_plan *plan, const hd_pull_settings *settings, const char *stage,
                        hd_pull_progress *progress, hd_error *err)
{
    HD_TRY(check_space(plan, stage, err));
    for (size_t i = 0; i < plan->count; i++) {
        hd_pull_file *file = &plan->files[i];
        char *path = NULL;
        HD_TRY(hd_path_join(&path, stage, file->path, err));
        hd_status status = HD_OK;
        hd_pull_progress_file(progress, file->path, i, plan->count);
        if (!is_whole(file, path)) status = fetch_file(plan, settings, file, path, progress, err);
        hd_free(path);
        HD_TRY(status);
        hd_pull_progress_file_done(progress, file->size);
    }
    return HD_OK;
}
