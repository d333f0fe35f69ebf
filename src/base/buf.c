/* base/buf.c: see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

void hd_buf_init(hd_buf *buf, size_t max)
{
    *buf = (hd_buf){.max = max, .status = HD_OK};
}

void hd_buf_free(hd_buf *buf)
{
    hd_free(buf->data);
    *buf = (hd_buf){.max = buf->max, .status = HD_OK};
}

void hd_buf_wipe_free(hd_buf *buf)
{
    hd_wipe(buf->data, buf->cap);
    hd_buf_free(buf);
}

void hd_buf_clear(hd_buf *buf)
{
    hd_buf_truncate(buf, 0);
}

void hd_buf_truncate(hd_buf *buf, size_t len)
{
    if (len < buf->len) buf->len = len;
    buf->status = HD_OK;
    if (buf->data) buf->data[buf->len] = '\0';
}

hd_status hd_buf_reserve(hd_buf *buf, size_t extra)
{
    if (buf->status != HD_OK) return buf->status;
    if (extra > buf->max - buf->len) return buf->status = HD_E_LIMIT;
    size_t need = buf->len + extra;
    if (need == SIZE_MAX) return buf->status = HD_E_LIMIT;
    if (need + 1 <= buf->cap) return HD_OK;
    size_t cap = buf->cap ? buf->cap : 64;
    while (cap < need + 1)
        cap = cap > SIZE_MAX / 2 ? need + 1 : cap * 2;
    if (cap > buf->max) cap = buf->max + 1; /* need <= max < SIZE_MAX here */
    char *data = hd_realloc_array(buf->data, cap, 1);
    if (!data) return buf->status = HD_E_MEMORY;
    buf->data = data;
    buf->cap = cap;
    buf->data[buf->len] = '\0';
    return HD_OK;
}

hd_status hd_buf_append(hd_buf *buf, const void *data, size_t len)
{
    HD_TRY(hd_buf_reserve(buf, len));
    if (len) memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return HD_OK;
}

hd_status hd_buf_puts(hd_buf *buf, const char *text)
{
    return hd_buf_append(buf, text, strlen(text));
}

hd_status hd_buf_putc(hd_buf *buf, char c)
{
    return hd_buf_append(buf, &c, 1);
}

hd_status hd_buf_printf(hd_buf *buf, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0 && buf->status == HD_OK) buf->status = HD_E_INTERNAL; /* a conversion failed */
    if (len >= 0 && hd_buf_reserve(buf, (size_t)len) == HD_OK) {
        vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    return buf->status;
}
