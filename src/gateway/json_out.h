/* gateway/json_out.h: JSON text written straight into a buffer, for replies and events.
 *
 * Commas come by themselves: a value or key is preceded by one unless it is the first of its object or list.  Errors
 * stick to the buffer (base/buf.h).  Text is UTF-8; bytes that are not become U+FFFD.  Thread-safe on different
 * buffers.
 */
#ifndef HD_GATEWAY_JSON_OUT_H
#define HD_GATEWAY_JSON_OUT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"

void hd_out_begin(hd_buf *out, char bracket); /* '{' or '[' */
void hd_out_end(hd_buf *out, char bracket);   /* '}' or ']' */
void hd_out_key(hd_buf *out, const char *key);

void hd_out_text(hd_buf *out, const char *data, size_t len);
void hd_out_string(hd_buf *out, const char *text); /* NULL: null */
void hd_out_int(hd_buf *out, int64_t value);
void hd_out_real(hd_buf *out, double value); /* null when it is infinite or no number */
void hd_out_bool(hd_buf *out, bool value);
void hd_out_null(hd_buf *out);
void hd_out_json(hd_buf *out, const json_t *value);
void hd_out_ids(hd_buf *out, const int32_t *ids, size_t count);

/* Members of an object. */
void hd_out_member_text(hd_buf *out, const char *key, const char *data, size_t len);
void hd_out_member_string(hd_buf *out, const char *key, const char *text);
void hd_out_member_int(hd_buf *out, const char *key, int64_t value);
void hd_out_member_bool(hd_buf *out, const char *key, bool value);
void hd_out_member_null(hd_buf *out, const char *key);
void hd_out_member_begin(hd_buf *out, const char *key, char bracket);

#endif
