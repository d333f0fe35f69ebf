/* quantize/part_folder.c: see part_folder.h. */
#include "quantize/part_folder.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static hd_status check_folder(const char *path, hd_part_stranger *stranger, const void *arg, hd_error *err)
{
    struct stat st;
    hd_status status = HD_OK;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return hd_fail(err, HD_E_IO, "%s: is in the way: no folder; remove it to start anew", path);
    DIR *dir = opendir(path);
    if (!dir) return hd_fail(err, HD_E_IO, "%s: cannot read the folder: %s", path, strerror(errno));
    for (struct dirent *e; status == HD_OK && (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        const char *why = stranger(arg, e->d_name);
        if (why)
            status = hd_fail(err, HD_E_IO, "%s: is in the way: '%s' in it %s; remove the folder to start anew", path,
                             e->d_name, why);
    }
    closedir(dir);
    return status;
}

hd_status hd_part_folder_open(const char *path, hd_part_stranger *stranger, const void *arg, hd_error *err)
{
    if (mkdir(path, 0777) == 0) return HD_OK;
    if (errno != EEXIST) return hd_fail(err, HD_E_IO, "%s: cannot make the folder: %s", path, strerror(errno));
    return check_folder(path, stranger, arg, err);
}
