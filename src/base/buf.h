/* base/buf.h: growable byte buffers with a cap.
 *
 * Errors are sticky: after the first append that would pass the cap or finds no memory, the buffer keeps its bytes,
 * refuses more, and hd_buf.status says why; so a writer checks once at its end.  Not thread-safe.
 */
#ifndef HD_BASE_BUF_H
#define HD_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"

/* A slice of somebody else's bytes; not NUL-terminated. */
typedef struct hd_str {
    const char *data;
    size_t len;
} hd_str;

typedef struct hd_buf {
    char *data; /* NUL-terminated when not NULL; owned */
    size_t len;
    size_t cap; /* bytes allocated */
    size_t max; /* len never passes this */
    hd_status status;
} hd_buf;

void hd_buf_init(hd_buf *buf, size_t max);
void hd_buf_free(hd_buf *buf);      /* safe on a zeroed or freed buffer */
void hd_buf_wipe_free(hd_buf *buf); /* the same, and the bytes are wiped first */
void hd_buf_clear(hd_buf *buf);     /* length 0, status HD_OK, memory kept */

/* Back to the first `len` bytes, at most those that are there, and to status HD_OK: undoes what a writer appended to a
 * buffer that was fine before. */
void hd_buf_truncate(hd_buf *buf, size_t len);

/* All return buf->status.  `data` and arguments must not point into the buffer: growing moves its bytes.  A buffer of
 * secrets reserves its whole size first, since growing leaves a copy behind that hd_buf_wipe_free can't reach. */
hd_status hd_buf_append(hd_buf *buf, const void *data, size_t len);
hd_status hd_buf_puts(hd_buf *buf, const char *text);
hd_status hd_buf_putc(hd_buf *buf, char c);
hd_status hd_buf_printf(hd_buf *buf, const char *fmt, ...) HD_PRINTF(2, 3);

/* Makes room for `extra` more bytes without changing the length. */
hd_status hd_buf_reserve(hd_buf *buf, size_t extra);

#endif
