/* base/save.c: see save.h. */
#include "base/save.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/temporary.h"

#define PRIVATE_MODE 0600

static hd_status write_all(int fd, const char *path, const char *data, size_t len, hd_error *err)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hd_fail(err, HD_E_IO, "%s: cannot write: %s", path, strerror(errno));
        data += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0 ? HD_OK : hd_fail(err, HD_E_IO, "%s: cannot write: %s", path, strerror(errno));
}

static hd_status file_write(const char *path, const void *data, size_t len, mode_t mode, hd_error *err)
{
    hd_buf temporary;
    hd_buf_init(&temporary, 8192);
    int fd = hd_temporary_open(path, mode, &temporary);
    hd_status status;
    if (fd < 0)
        status = hd_fail(err, errno == ENOMEM ? HD_E_MEMORY : HD_E_IO, "%s: cannot create: %s", path, strerror(errno));
    else {
        status = write_all(fd, path, data, len, err);
        if (close(fd) != 0 && status == HD_OK)
            status = hd_fail(err, HD_E_IO, "%s: cannot write: %s", path, strerror(errno));
        if (status == HD_OK && rename(temporary.data, path) != 0)
            status = hd_fail(err, HD_E_IO, "%s: cannot rename: %s", path, strerror(errno));
        if (status != HD_OK) unlink(temporary.data);
    }
    hd_buf_free(&temporary);
    return status;
}

hd_status hd_file_write(const char *path, const void *data, size_t len, hd_error *err)
{
    return file_write(path, data, len, 0666, err);
}

hd_status hd_file_write_private(const char *path, const void *data, size_t len, hd_error *err)
{
    return file_write(path, data, len, PRIVATE_MODE, err);
}

static int append_json(const char *data, size_t len, void *arg)
{
    return hd_buf_append(arg, data, len) == HD_OK ? 0 : -1;
}

hd_status hd_json_append(hd_buf *out, json_t *value)
{
    hd_status status = HD_E_MEMORY;
    if (value && json_dump_callback(value, append_json, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0)
        status = hd_buf_putc(out, '\n');
    json_decref(value);
    return status;
}

hd_status hd_file_write_json(const char *path, json_t *value, hd_error *err)
{
    hd_buf text;
    hd_buf_init(&text, 64u << 20);
    hd_status status = hd_json_append(&text, value);
    status = status == HD_OK ? hd_file_write(path, text.data, text.len, err)
                             : hd_fail(err, status, "%s: out of memory", path);
    hd_buf_free(&text);
    return status;
}
