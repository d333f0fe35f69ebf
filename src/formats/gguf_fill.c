/* formats/gguf_fill.c: a text of a finished GGUF file's metadata, written in place. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "formats/formats_internal.h"

#define FILL_MAX ((size_t)1 << 20) /* far more than any text that is filled in */

/* Where the value of `key` lies. */
static hd_status find_text(const char *path, const char *key, uint64_t *at, size_t *room, hd_error *err)
{
    hd_mapping *map = NULL;
    hd_gguf gguf = {0};
    HD_TRY(hd_mapping_open(&map, path, err));
    hd_status status = hd_gguf_parse(&gguf, hd_mapping_data(map), hd_mapping_size(map), err);
    const hd_meta *m = status == HD_OK ? hd_gguf_find(&gguf, key) : NULL;
    if (m && m->type == HD_META_STRING) {
        *at = (uint64_t)((const uint8_t *)m->string.data - hd_mapping_data(map));
        *room = m->string.len;
    } else if (status == HD_OK)
        status = hd_fail(err, HD_E_NOT_FOUND, "%s: its metadata have no text '%s'", path, key);
    if (status == HD_OK && hd_mapping_failed(map)) status = hd_fail(err, HD_E_MODEL_LOST, "%s: it changed", path);
    hd_gguf_free(&gguf);
    hd_mapping_close(&map);
    return status;
}

static bool write_at(int fd, const char *data, size_t len, uint64_t at)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    return true;
}

hd_status hd_gguf_fill_text(const char *path, const char *key, const char *text, size_t len, hd_error *err)
{
    uint64_t at = 0;
    size_t room = 0;
    HD_TRY(find_text(path, key, &at, &room, err));
    if (len > room || room > FILL_MAX)
        return hd_fail(err, HD_E_LIMIT, "%s: '%s' has room for %zu bytes, not for %zu", path, key, room, len);
    char *value = hd_alloc(HD_MAX(room, 1));
    if (!value) return hd_fail(err, HD_E_MEMORY, "no memory for %zu bytes", room);
    memset(value, ' ', room);
    memcpy(value, text, len);
    int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    bool written = fd >= 0 && write_at(fd, value, room, at) && fsync(fd) == 0;
    hd_status status = written ? HD_OK : hd_fail(err, HD_E_IO, "%s: cannot write: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    hd_free(value);
    return status;
}
