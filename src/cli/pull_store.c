/* cli/pull_store.c: from a plan to a model in the models folder; see pull.h and models_dir.h.
 *
 * Invariants: the folder <models>/<name> appears whole, by a rename, or not at all; while a pull of <name> runs its
 * lock file is locked; a folder that no pull made is never touched.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/pull.h"

/* The places of one pull; all owned. */
typedef struct store {
    char *final;   /* <models>/<name> */
    char *pulling; /* <models>/.pulling */
    char *stage;   /* <models>/.pulling/<name> */
    char *lock;    /* <models>/.pulling/<name>.lock */
    int lock_fd;
} store;

static void store_close(store *s)
{
    if (s->lock_fd >= 0) {
        rmdir(s->stage); /* when nothing is in it */
        unlink(s->lock);
        close(s->lock_fd);
        rmdir(s->pulling); /* when this was the only one */
    }
    hd_free(s->final);
    hd_free(s->pulling);
    hd_free(s->stage);
    hd_free(s->lock);
}

/* The lock file may be removed by its last holder between our open and our lock: then look again. */
static hd_status take_lock(store *s, const char *name, hd_error *err)
{
    for (int tries = 0; tries < 100; tries++) {
        struct stat held, there;
        int fd = open(s->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0) return hd_fail(err, HD_E_IO, "%s: cannot create: %s", s->lock, strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            bool busy = errno == EWOULDBLOCK;
            close(fd);
            if (busy) return hd_fail(err, HD_E_IO, "another pull of %s is at work; wait for it, or stop it", name);
            return hd_fail(err, HD_E_IO, "%s: cannot lock: %s", s->lock, strerror(errno));
        }
        if (fstat(fd, &held) == 0 && stat(s->lock, &there) == 0 && held.st_ino == there.st_ino) {
            s->lock_fd = fd;
            return HD_OK;
        }
        close(fd);
    }
    return hd_fail(err, HD_E_IO, "%s: cannot lock", s->lock);
}

static hd_status store_open(store *s, const char *models_dir, const char *name, hd_error *err)
{
    *s = (store){.lock_fd = -1};
    if (!hd_path_is_safe(name) || strchr(name, '/') || !hd_text_is_utf8(name))
        return hd_fail(err, HD_E_ARGUMENT,
                       "%s: not a name for a model (UTF-8, no \"/\", no dot in front); --name gives another", name);
    HD_TRY(hd_path_join(&s->final, models_dir, name, err));
    HD_TRY(hd_path_join(&s->pulling, models_dir, ".pulling", err));
    HD_TRY(hd_path_join(&s->stage, s->pulling, name, err));
    HD_TRY(hd_pull_set(&s->lock, err, "%s.lock", s->stage));
    HD_TRY(hd_dirs_make(s->stage, err));
    return take_lock(s, name, err);
}

/* ---- the record ---- */

static json_t *record_files(const hd_pull_plan *plan)
{
    json_t *files = json_array();
    for (size_t i = 0; files && i < plan->count; i++) {
        const hd_pull_file *f = &plan->files[i];
        json_t *file = json_pack("{s:s, s:I, s:s, s:s*}", "path", f->path, "size", (json_int_t)f->size, "sha256",
                                 f->sha256, "etag", f->etag[0] ? f->etag : NULL);
        if (json_array_append_new(files, file) != 0) {
            json_decref(files);
            files = NULL;
        }
    }
    return files;
}

static json_t *make_record(const hd_pull_plan *plan, const hd_catalogue_entry *entry, const char *archive_sha256)
{
    char when[32] = "";
    time_t now = (time_t)(hd_clock_unix_ms() / 1000);
    struct tm utc;
    if (gmtime_r(&now, &utc)) (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *files = record_files(plan);
    if (!files) return NULL;
    return json_pack("{s:i, s:s, s:s?, s:s?, s:s?, s:s, s:O?, s:o}", "version", 1, "source", plan->source, "catalogue",
                     entry ? entry->name : NULL, "licence", plan->licence, "archive_sha256", archive_sha256, "pulled",
                     when, "sampling", entry ? entry->sampling : NULL, "files", files);
}

static hd_status write_record(const store *s, const hd_pull_plan *plan, const hd_catalogue_entry *entry,
                              const char *archive_sha256, hd_error *err)
{
    char *path = NULL;
    HD_TRY(hd_path_join(&path, s->stage, HD_RECORD_NAME, err));
    hd_status status = hd_file_write_json(path, make_record(plan, entry, archive_sha256), err);
    hd_free(path);
    return status;
}

/* ---- what is there already ---- */

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Whether every recorded file lies in the folder with its size. */
static bool files_are_there(const json_t *files, const char *folder)
{
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *file = json_array_get(files, i);
        char *path = NULL;
        struct stat st;
        bool there = hd_path_join(&path, folder, text_in(file, "path"), NULL) == HD_OK && stat(path, &st) == 0 &&
                     (json_int_t)st.st_size == json_integer_value(json_object_get(file, "size"));
        hd_free(path);
        if (!there) return false;
    }
    return json_array_size(files) > 0;
}

/* Whether the folder has this file: by its hash; where the same source tells none, by its size, and where it tells
 * neither, by the server's ETag.  A name alone says nothing. */
static bool is_recorded(const hd_pull_file *wanted, const json_t *files, bool same_source)
{
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *file = json_array_get(files, i);
        if (strcmp(wanted->path, text_in(file, "path")) != 0) continue;
        if (wanted->size_known && (json_int_t)wanted->size != json_integer_value(json_object_get(file, "size")))
            return false;
        if (wanted->sha256[0]) return strcmp(wanted->sha256, text_in(file, "sha256")) == 0;
        if (!same_source) return false;
        return wanted->size_known || (wanted->etag[0] && strcmp(wanted->etag, text_in(file, "etag")) == 0);
    }
    return false;
}

/* Whether the folder holds what the plan would bring.  A local source is copied anew: only reading it tells if it
 * changed. */
static bool same_files(const hd_pull_plan *plan, const json_t *record, const char *folder, bool same_source)
{
    const json_t *files = json_object_get(record, "files");
    if (!files_are_there(files, folder)) return false;
    if (plan->archive)
        return plan->files[0].sha256[0] && strcmp(plan->files[0].sha256, text_in(record, "archive_sha256")) == 0;
    bool same = !plan->local && json_array_size(files) == plan->count;
    for (size_t i = 0; same && i < plan->count; i++)
        same = is_recorded(&plan->files[i], files, same_source);
    return same;
}

/* "hf:owner/repo@commit:Q4_K_M" without "@commit", "pypi:x==1" without "==1": what stays when there is something newer.
 * It is the first `len` bytes and `tail`. */
typedef struct family {
    size_t len;
    const char *tail;
} family;

static family family_of(const char *source)
{
    if (strncmp(source, "pypi:", 5) == 0) {
        const char *version = strstr(source, "==");
        return (family){version ? (size_t)(version - source) : strlen(source), ""};
    }
    if (strncmp(source, "hf:", 3) == 0 || strncmp(source, "ms:", 3) == 0) {
        size_t at = strcspn(source, "@");
        return (family){at, source + at + strcspn(source + at, ":")};
    }
    size_t len = strlen(source);
    while (len > 0 && source[len - 1] == '/') /* s3://bucket/folder/ */
        len--;
    return (family){len, ""};
}

static bool same_family(const char *a, const char *b)
{
    family of_a = family_of(a), of_b = family_of(b);
    return of_a.len == of_b.len && memcmp(a, b, of_a.len) == 0 && strcmp(of_a.tail, of_b.tail) == 0;
}

/* An address by itself tells neither size nor hash: then its server must be asked if it has something else now. */
static bool says_nothing(const hd_pull_plan *plan)
{
    return plan->count == 1 && !plan->local && !plan->files[0].sha256[0] && !plan->files[0].size_known;
}

/* *present: the model is there and is what the plan would bring. */
static hd_status look_at_final(const store *s, hd_pull_plan *plan, const hd_pull_settings *settings, bool *present,
                               hd_error *err)
{
    struct stat st;
    json_t *record = NULL;
    *present = false;
    if (lstat(s->final, &st) != 0) return HD_OK;
    if (!S_ISDIR(st.st_mode) || hd_record_read(&record, s->final, NULL) != HD_OK)
        return hd_fail(err, HD_E_ARGUMENT, "%s is there and was not made by pull; choose another name with --name",
                       s->final);
    const char *source = text_in(record, "source");
    bool same_source = same_family(plan->source, source);
    hd_status status = same_source && says_nothing(plan) ? hd_pull_ask(plan, settings, err) : HD_OK;
    *present = status == HD_OK && same_files(plan, record, s->final, same_source);
    if (status == HD_OK && !*present && !same_source)
        status = hd_fail(err, HD_E_ARGUMENT,
                         "%s is there already, from %s; choose another name with --name, or remove %s first",
                         plan->name, source, s->final);
    json_decref(record);
    return status;
}

/* ---- the end ---- */

static bool in_plan(const hd_pull_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->count; i++)
        if (strcmp(plan->files[i].path, name) == 0) return true;
    return strcmp(name, HD_RECORD_NAME) == 0;
}

/* Sidecars, and files of another version left by an earlier try, must not come along.  A plan's files lie side by side.
 */
static hd_status remove_strangers(const store *s, const hd_pull_plan *plan, hd_error *err)
{
    DIR *dir = opendir(s->stage);
    if (!dir) return hd_fail(err, HD_E_IO, "%s: cannot read this folder: %s", s->stage, strerror(errno));
    hd_status status = HD_OK;
    for (struct dirent *entry; status == HD_OK && (entry = readdir(dir));) {
        char *path = NULL;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || in_plan(plan, entry->d_name))
            continue;
        status = hd_path_join(&path, s->stage, entry->d_name, err);
        if (status == HD_OK) status = hd_tree_remove(path, err);
        hd_free(path);
    }
    closedir(dir);
    return status;
}

static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

/* An older version under the name changes places with the new one, and goes. */
static hd_status give_name(const store *s, const char *models_dir, hd_error *err)
{
    sync_folder(s->stage);
    struct stat st;
    bool older = lstat(s->final, &st) == 0;
    if (renameat2(AT_FDCWD, s->stage, AT_FDCWD, s->final, older ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0) {
        if (errno != EINVAL && errno != ENOSYS)
            return hd_fail(err, HD_E_IO, "%s: cannot rename to %s: %s", s->stage, s->final, strerror(errno));
        /* a file system without these flags: a moment without the model is the price */
        if (older) HD_TRY(hd_tree_remove(s->final, err));
        if (rename(s->stage, s->final) != 0)
            return hd_fail(err, HD_E_IO, "%s: cannot rename to %s: %s", s->stage, s->final, strerror(errno));
    } else if (older)
        HD_TRY(hd_tree_remove(s->stage, err));
    sync_folder(models_dir);
    return HD_OK;
}

static bool is_weights(const char *path)
{
    size_t len = strlen(path);
    return (len > 5 && strcmp(path + len - 5, ".gguf") == 0) ||
           (len > 12 && strcmp(path + len - 12, ".safetensors") == 0);
}

static void say_unverified(const hd_pull_plan *plan, hd_pull_progress *progress)
{
    for (size_t i = 0; i < plan->count; i++)
        if (is_weights(plan->files[i].path) && !plan->files[i].verified && !plan->local)
            hd_pull_progress_say(progress, "%s: the source gives no SHA-256 to check; it is %s", plan->files[i].path,
                                 plan->files[i].sha256);
}

static void say_start(const hd_pull_plan *plan, hd_pull_progress *progress)
{
    char size[HD_SIZE_TEXT];
    uint64_t bytes = hd_pull_plan_bytes(plan);
    hd_pull_progress_say(progress, "fetching %s%s%s%s from %s", plan->name, bytes ? " (" : "",
                         bytes ? hd_size_text(size, bytes) : "", bytes ? ")" : "", plan->source);
}

static hd_status bring(store *s, hd_pull_plan *plan, const hd_pull_settings *settings, const hd_catalogue_entry *entry,
                       hd_error *err)
{
    hd_pull_progress *progress = NULL;
    char archive_sha256[65] = "";
    hd_status status = hd_pull_progress_open(&progress, hd_pull_plan_bytes(plan), settings->quiet, err);
    if (status == HD_OK) say_start(plan, progress);
    if (status == HD_OK) status = hd_pull_fetch(plan, settings, s->stage, progress, err);
    if (status == HD_OK) say_unverified(plan, progress);
    if (status == HD_OK && plan->archive) {
        char *path = NULL;
        snprintf(archive_sha256, sizeof archive_sha256, "%s", plan->files[0].sha256);
        status = hd_path_join(&path, s->stage, plan->files[0].path, err);
        if (status == HD_OK) status = hd_pull_unpack(plan, path, s->stage, progress, err);
        hd_free(path);
        if (status == HD_E_FORMAT || status == HD_E_NOT_FOUND)
            (void)hd_tree_remove(s->stage, NULL); /* trying again can't help */
    }
    if (status == HD_OK) status = write_record(s, plan, entry, archive_sha256[0] ? archive_sha256 : NULL, err);
    hd_pull_progress_close(&progress);
    return status;
}

hd_status hd_pull_store(hd_pull_plan *plan, const hd_pull_settings *settings, const hd_catalogue_entry *entry,
                        char **path, hd_error *err)
{
    store s;
    bool present = false;
    *path = NULL;
    hd_status status = store_open(&s, settings->models_dir, plan->name, err);
    if (status == HD_OK) status = look_at_final(&s, plan, settings, &present, err);
    if (status == HD_OK && present) {
        if (!settings->quiet) fprintf(stderr, "%s is here and up to date\n", plan->name);
        status = hd_tree_remove(s.stage, err);
    } else if (status == HD_OK) {
        status = bring(&s, plan, settings, entry, err);
        if (status == HD_OK) status = remove_strangers(&s, plan, err);
        if (status == HD_OK) status = give_name(&s, settings->models_dir, err);
    }
    if (status == HD_OK) status = hd_model_folder_entry(path, s.final, err);
    store_close(&s);
    return status;
}
