/* cli/serve_keys.c: keys of a service that were made elsewhere: a file that an orchestrator mounts into each copy. */
#include <string.h>

#include "base/base.h"
#include "cli/serve.h"

#define FILE_MAX ((size_t)1 << 20) /* 20,000 keys */

/* Where the line ends; `end` where it is the last one. */
static const char *line_end(const char *at, const char *end)
{
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return newline ? newline : end;
}

static hd_status take_line(hd_api_keys *keys, const char *at, const char *end, hd_error *err)
{
    char text[HD_API_KEY_CHARS + 2];
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
        end--;
    if (at == end || *at == '#') return HD_OK;
    size_t len = HD_MIN((size_t)(end - at), sizeof text - 1); /* a longer one is no key, cut or not */
    memcpy(text, at, len);
    text[len] = '\0';
    hd_status status = hd_api_keys_adopt(keys, text, err);
    hd_wipe(text, sizeof text);
    return status;
}

hd_status hd_serve_take_keys(hd_api_keys *keys, const char *path, hd_error *err)
{
    hd_mapping *map = NULL;
    int line = 1;
    HD_TRY(hd_mapping_open(&map, path, err));
    const char *at = (const char *)hd_mapping_data(map), *end = at + hd_mapping_size(map);
    hd_status status = HD_OK;
    if (hd_mapping_size(map) > FILE_MAX) status = hd_fail(err, HD_E_LIMIT, "%s: this is no file of keys", path);
    for (; at < end && status == HD_OK; line++) {
        const char *stop = line_end(at, end);
        status = take_line(keys, at, stop, err);
        if (status != HD_OK) (void)hd_fail_in(err, status, "%s, line %d", path, line);
        at = stop + (stop < end);
    }
    hd_mapping_close(&map);
    return status;
}
