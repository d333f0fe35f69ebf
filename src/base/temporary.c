/* base/temporary.c: see temporary.h. */
#include "base/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define TRIES 100 /* names that are taken before we give up */

int hd_temporary_open(const char *path, unsigned mode, hd_buf *name)
{
    int fd = -1;
    errno = EEXIST;
    for (int i = 0; i < TRIES && fd < 0 && errno == EEXIST; i++) {
        hd_buf_clear(name);
        if (hd_buf_printf(name, "%s.%ld-%d.tmp", path, (long)getpid(), i) != HD_OK) {
            errno = ENOMEM;
            return -1;
        }
        fd = open(name->data, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    }
    return fd;
}
