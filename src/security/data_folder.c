/* security/data_folder.c: opens the folder, its secret and its lock; see data_folder.h.
 *
 * The secret is made before the database, so a folder with a database and no secret has lost it; a new one would
 * silently make all keys of the database worthless.
 */
#include "security/data_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "crypto/crypto.h"
#include "store/store.h"

#define SECRET_FILE "secret"
#define LOCK_FILE "lock"
#define SECRET_BYTES 32

struct hd_data_folder {
    char *path;
    int folder_fd; /* -1: not open */
    int lock_fd;
    uint8_t secret[SECRET_BYTES];
};

static hd_status io_failed(hd_error *err, const char *folder, const char *name, const char *what)
{
    int why = errno;
    return hd_fail(err, HD_E_IO, "%s/%s: cannot %s: %s", folder, name, what, strerror(why));
}

/* ---- the folder ---- */

static hd_status check_owner(const hd_data_folder *f, hd_error *err)
{
    struct stat st;
    if (fstat(f->folder_fd, &st) != 0) return hd_fail(err, HD_E_IO, "%s: %s", f->path, strerror(errno));
    if (st.st_uid != geteuid())
        return hd_fail(
            err, HD_E_DENIED,
            "%s belongs to the user with the number %ld; run this as that user (sudo -u '#%ld' ...), so that "
            "the service can read what is written",
            f->path, (long)st.st_uid, (long)st.st_uid);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return hd_fail(err, HD_E_DENIED, "%s: others can write to this folder; run: chmod 700 '%s'", f->path, f->path);
    return HD_OK;
}

static hd_status open_folder(hd_data_folder *f, unsigned flags, hd_error *err)
{
    if (flags & HD_DATA_CREATE) HD_TRY(hd_dirs_make_private(f->path, err));
    f->folder_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->folder_fd >= 0) return check_owner(f, err);
    if (errno == ENOENT)
        return hd_fail(err, HD_E_NOT_FOUND, "%s: there is no such folder; hadal key create makes it", f->path);
    if (errno == ENOTDIR) return hd_fail(err, HD_E_FORMAT, "%s is not a folder; take another one", f->path);
    return hd_fail(err, HD_E_IO, "%s: cannot open this folder: %s", f->path, strerror(errno));
}

/* ---- the secret ---- */

static hd_status check_secret_file(const hd_data_folder *f, int fd, hd_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return io_failed(err, f->path, SECRET_FILE, "read");
    if (!S_ISREG(st.st_mode) || st.st_size != SECRET_BYTES)
        return hd_fail(err, HD_E_FORMAT,
                       "%s/%s is damaged: it must be a file of %d bytes; restore it from a backup (without it the keys "
                       "and files of this folder are lost)",
                       f->path, SECRET_FILE, SECRET_BYTES);
    if (st.st_uid != geteuid())
        return hd_fail(err, HD_E_DENIED,
                       "%s/%s belongs to the user with the number %ld; run: chown --reference='%s' '%s/%s'", f->path,
                       SECRET_FILE, (long)st.st_uid, f->path, f->path, SECRET_FILE);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return hd_fail(err, HD_E_DENIED,
                       "%s/%s: others may have read it; run: chmod 600 '%s/%s' (and if strangers have users on this "
                       "machine, make new keys in a new folder)",
                       f->path, SECRET_FILE, f->path, SECRET_FILE);
    return HD_OK;
}

/* HD_E_NOT_FOUND without a text when there is none. */
static hd_status read_secret(hd_data_folder *f, hd_error *err)
{
    int fd = openat(f->folder_fd, SECRET_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? HD_E_NOT_FOUND : io_failed(err, f->path, SECRET_FILE, "open");
    hd_status status = check_secret_file(f, fd, err);
    if (status == HD_OK && pread(fd, f->secret, SECRET_BYTES, 0) != SECRET_BYTES)
        status = io_failed(err, f->path, SECRET_FILE, "read");
    close(fd);
    return status;
}

/* Writes the temporary file and gives it the secret's name, unless that name is taken: another process was faster, and
 * its secret is the one to use. */
static hd_status publish_secret(const hd_data_folder *f, int fd, const char *temporary, const char *path, hd_error *err)
{
    uint8_t secret[SECRET_BYTES];
    HD_TRY(hd_random_bytes(secret, sizeof secret, err));
    bool written = write(fd, secret, sizeof secret) == (ssize_t)sizeof secret && fsync(fd) == 0;
    hd_wipe(secret, sizeof secret);
    if (!written) return io_failed(err, f->path, SECRET_FILE, "write");
    if (link(temporary, path) != 0 && errno != EEXIST) return io_failed(err, f->path, SECRET_FILE, "make");
    if (fsync(f->folder_fd) != 0) return io_failed(err, f->path, SECRET_FILE, "write");
    return HD_OK;
}

static hd_status make_secret(const hd_data_folder *f, hd_error *err)
{
    hd_buf path, temporary;
    hd_buf_init(&path, 1 << 16);
    hd_buf_init(&temporary, 1 << 16);
    hd_status status = hd_buf_printf(&path, "%s/%s", f->path, SECRET_FILE);
    if (status != HD_OK) {
        status = hd_fail(err, status, "%s: no room for a path in it", f->path);
    } else {
        int fd = hd_temporary_open(path.data, 0600, &temporary);
        status = fd < 0 ? io_failed(err, f->path, SECRET_FILE, "make")
                        : publish_secret(f, fd, temporary.data, path.data, err);
        if (fd >= 0) {
            close(fd);
            unlink(temporary.data);
        }
    }
    hd_buf_free(&temporary);
    hd_buf_free(&path);
    return status;
}

static hd_status open_secret(hd_data_folder *f, unsigned flags, hd_error *err)
{
    hd_status status = read_secret(f, err);
    if (status != HD_E_NOT_FOUND) return status;
    bool has_database = faccessat(f->folder_fd, HD_STORE_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    status = read_secret(f, err); /* another process may have made both between our two looks */
    if (status != HD_E_NOT_FOUND) return status;
    if (has_database)
        return hd_fail(
            err, HD_E_FORMAT,
            "%s: %s is here but %s is gone, and without it no key can be checked; restore it from a backup, or "
            "move %s away to start anew",
            f->path, HD_STORE_FILE, SECRET_FILE, HD_STORE_FILE);
    if (!(flags & HD_DATA_CREATE))
        return hd_fail(err, HD_E_NOT_FOUND, "%s is no data folder of hadal: it has no %s; hadal key create makes one",
                       f->path, SECRET_FILE);
    HD_TRY(make_secret(f, err));
    status = read_secret(f, err);
    return status == HD_E_NOT_FOUND ? hd_fail(err, HD_E_IO, "%s/%s vanished", f->path, SECRET_FILE) : status;
}

/* ---- the lock ---- */

/* The number that the holder wrote, for the message only. */
static long lock_holder(int fd)
{
    char text[24] = "";
    long number = 0;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    for (ssize_t i = 0; i < n && text[i] >= '0' && text[i] <= '9' && number < 100000000; i++)
        number = number * 10 + (text[i] - '0');
    return number;
}

static hd_status take_lock(hd_data_folder *f, hd_error *err)
{
    f->lock_fd = openat(f->folder_fd, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f->lock_fd < 0) return io_failed(err, f->path, LOCK_FILE, "open");
    if (flock(f->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return io_failed(err, f->path, LOCK_FILE, "lock");
        return hd_fail(err, HD_E_BUSY, "%s is in use by another hadal (process %ld); stop it, or take another folder",
                       f->path, lock_holder(f->lock_fd));
    }
    /* Who holds it is a courtesy: the lock counts, not the text. */
    if (ftruncate(f->lock_fd, 0) != 0 || dprintf(f->lock_fd, "%ld\n", (long)getpid()) < 0)
        hd_log(HD_LOG_WARN, "%s/%s: the process number could not be written", f->path, LOCK_FILE);
    return HD_OK;
}

/* ---- the door ---- */

hd_status hd_data_folder_hold(const char *path, int *lock, hd_error *err)
{
    hd_data_folder f = {.folder_fd = -1, .lock_fd = -1};
    if (!*path) return hd_fail(err, HD_E_ARGUMENT, "the data folder's path is empty");
    if (!(f.path = hd_strdup(path))) return hd_fail(err, HD_E_MEMORY, "out of memory for a data folder");
    hd_status status = open_folder(&f, HD_DATA_CREATE, err);
    if (status == HD_OK) status = take_lock(&f, err);
    if (status == HD_OK)
        *lock = f.lock_fd;
    else if (f.lock_fd >= 0)
        close(f.lock_fd);
    if (f.folder_fd >= 0) close(f.folder_fd);
    hd_free(f.path);
    return status;
}

hd_status hd_data_folder_open(hd_data_folder **out, const char *path, unsigned flags, hd_error *err)
{
    *out = NULL;
    if (!*path) return hd_fail(err, HD_E_ARGUMENT, "the data folder's path is empty");
    hd_data_folder *f = hd_calloc(1, sizeof *f);
    if (f) f->folder_fd = f->lock_fd = -1;
    if (!f || !(f->path = hd_strdup(path))) {
        hd_free(f);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a data folder");
    }
    hd_status status = open_folder(f, flags, err);
    if (status == HD_OK) status = open_secret(f, flags, err);
    if (status == HD_OK && flags & HD_DATA_LOCK) status = take_lock(f, err);
    if (status == HD_OK)
        *out = f;
    else
        hd_data_folder_close(&f);
    return status;
}

void hd_data_folder_close(hd_data_folder **folder)
{
    hd_data_folder *f = *folder;
    if (!f) return;
    if (f->lock_fd >= 0) close(f->lock_fd);
    if (f->folder_fd >= 0) close(f->folder_fd);
    hd_wipe(f->secret, sizeof f->secret);
    hd_free(f->path);
    hd_free(f);
    *folder = NULL;
}

const char *hd_data_folder_path(const hd_data_folder *folder)
{
    return folder->path;
}

hd_status hd_data_folder_derive(const hd_data_folder *folder, const char *purpose, const void *salt, size_t salt_len,
                                void *out, size_t out_len, hd_error *err)
{
    return hd_hkdf_sha256(folder->secret, sizeof folder->secret, salt, salt_len, purpose, strlen(purpose), out, out_len,
                          err);
}
