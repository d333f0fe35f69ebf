/* open_bytes.h: opens bytes as a checkpoint through a file that exists in memory only. */
#ifndef HD_TESTS_OPEN_BYTES_H
#define HD_TESTS_OPEN_BYTES_H

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formats/formats.h"

/* HD_E_IO when the file can't be made; else what hd_checkpoint_open says.  The kind is found by the first bytes. */
static inline hd_status open_bytes(hd_checkpoint **out, const void *data, size_t size, hd_error *err)
{
    char path[64];
    *out = NULL;
    int fd = memfd_create("model", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        if (fd >= 0) close(fd);
        return hd_fail(err, HD_E_IO, "no file in memory");
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    hd_status status = hd_checkpoint_open(out, path, err);
    close(fd); /* the mapping keeps the bytes */
    return status;
}

#endif
