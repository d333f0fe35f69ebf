/* base/dirs.c: see dirs.h. */
#include "base/dirs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/base.h"

static hd_status make_dir(const char *path, mode_t mode, hd_error *err)
{
    if (mkdir(path, mode) == 0 || errno == EEXIST) return HD_OK;
    return hd_fail(err, HD_E_IO, "%s: cannot make this folder: %s", path, strerror(errno));
}

hd_status hd_dirs_make_above(const char *path, hd_error *err)
{
    char *copy = hd_strdup(path);
    if (!copy) return hd_fail(err, HD_E_MEMORY, "out of memory for a path");
    hd_status status = HD_OK;
    for (char *c = copy + 1; status == HD_OK && *copy && *c; c++) {
        if (*c != '/') continue;
        *c = '\0';
        status = make_dir(copy, 0777, err);
        *c = '/';
    }
    hd_free(copy);
    return status;
}

hd_status hd_dirs_make(const char *path, hd_error *err)
{
    HD_TRY(hd_dirs_make_above(path, err));
    return make_dir(path, 0777, err);
}

hd_status hd_dirs_make_private(const char *path, hd_error *err)
{
    HD_TRY(hd_dirs_make_above(path, err));
    return make_dir(path, 0700, err);
}

char *hd_folder_of(const char *path)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return hd_strdup(path);
    return slash ? hd_strndup(path, HD_MAX((size_t)(slash - path), 1)) : hd_strdup(".");
}

uint64_t hd_disk_free(const char *path)
{
    struct statvfs fs;
    if (statvfs(path, &fs) != 0) return UINT64_MAX;
    uint64_t bytes;
    return __builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, &bytes) ? UINT64_MAX : bytes;
}
