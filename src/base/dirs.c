/* base/dirs.c: see dirs.h. */
#include "base/dirs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"

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
