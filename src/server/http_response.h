/* server/http_response.h: replies of HTTP/1.1 as bytes: the head, chunks, server-sent events.
 *
 * Nothing that a caller passes can end a line early or begin one: what holds CR, LF or another control character is
 * refused (HD_E_ARGUMENT).  After an error `out` is as before.  Thread-safe; own no memory but what they append to
 * `out`.
 */
#ifndef HD_SERVER_HTTP_RESPONSE_H
#define HD_SERVER_HTTP_RESPONSE_H

#include <time.h>

#include "server/http_parser.h"

typedef enum hd_http_framing {
    HD_HTTP_NO_BODY,     /* 1xx, 204, 304 */
    HD_HTTP_LENGTH,      /* content_length bytes */
    HD_HTTP_CHUNKED,     /* for clients of HTTP/1.1 only */
    HD_HTTP_UNTIL_CLOSE, /* streams to clients of HTTP/1.0; keep_alive must be false */
} hd_http_framing;

typedef struct hd_http_response {
    int status; /* 100 to 599 */
    hd_http_framing framing;
    uint64_t content_length;
    bool keep_alive;
    time_t date; /* of the reply, seconds since 1970 (RFC 9110 section 6.6.1); 0: no Date header */
    /* Without Content-Length, Transfer-Encoding, Connection and Date, which follow from above. */
    const hd_http_header *headers;
    size_t header_count;
} hd_http_response;

/* Status line, headers and the empty line. */
hd_status hd_http_write_head(hd_buf *out, const hd_http_response *response, hd_error *err);

/* One chunk; an empty one is not written, since it would end the body.  Then the end. */
hd_status hd_http_write_chunk(hd_buf *out, const void *data, size_t len);
hd_status hd_http_write_last_chunk(hd_buf *out);

/* One server-sent event (HTML standard, section 9.2): "event: NAME" unless `event` is NULL, "data: " before each line
 * of `data` (CR, LF and CRLF end lines there), and the empty line. */
hd_status hd_http_write_event(hd_buf *out, const char *event, hd_str data, hd_error *err);

/* The phrase of a status ("Not Found"), "Unknown" for others. */
const char *hd_http_phrase(int status);

#define HD_HTTP_DATE 30 /* bytes of a date and its NUL */
/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7) of seconds since 1970, years 0 to 9999; else the date of 0.
 */
void hd_http_date(time_t seconds, char out[HD_HTTP_DATE]);

#endif
