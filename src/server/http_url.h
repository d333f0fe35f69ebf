/* server/http_url.h: what a request's path and query say, decoded (RFC 3986 section 2.1).
 *
 * Strict: an escape that is not two hexadecimal digits, %00, and what decodes to no UTF-8 are refused with
 * HD_E_ARGUMENT.  Split first and decode then: an encoded '/' or '&' is part of a name.  Thread-safe; own no memory but
 * what they append to `out`, whose cap bounds it (HD_E_LIMIT).
 */
#ifndef HD_SERVER_HTTP_URL_H
#define HD_SERVER_HTTP_URL_H

#include <stdbool.h>

#include "base/buf.h"

/* Appends the decoded segment of a path.  After an error `out` is as before. */
hd_status hd_http_decode_segment(hd_buf *out, hd_str segment, hd_error *err);
/* The same for a query's name or value, where '+' is a blank. */
hd_status hd_http_decode_query(hd_buf *out, hd_str text, hd_error *err);

/* Takes the next segment off `path`, which stands on a '/' ("/v1/models/x" gives v1, models, x; "/a/" gives a and an
 * empty one); false at the end. */
bool hd_http_next_segment(hd_str *path, hd_str *segment);

/* Appends the decoded value of the parameter `name` of "a=1&b=2"; `found` says whether it is there.  A name that comes
 * twice is refused (HD_E_ARGUMENT): two readers could choose differently. */
hd_status hd_http_query_get(hd_buf *out, hd_str query, const char *name, bool *found, hd_error *err);

#endif
