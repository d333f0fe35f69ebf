/* server/http_internal.h: the grammar of a request's head, line by line; pure functions for http_parser.c.
 *
 * Each returns false and fills `why` when it refuses.
 */
#ifndef HD_SERVER_HTTP_INTERNAL_H
#define HD_SERVER_HTTP_INTERNAL_H

#include "server/http_parser.h"

/* Fills `why`; always false. */
bool hd_http_refuse(hd_http_refusal *why, int status, const char *fmt, ...) HD_PRINTF(3, 4);

/* RFC 9110 section 5.6.2: one character at least, none but letters, digits and !#$%&'*+-.^_`|~ */
bool hd_http_is_token(hd_str text);

/* No control characters but HTAB; what a header's value may hold. */
bool hd_http_is_value(hd_str text);

/* Value of a hexadecimal digit, -1 for anything else. */
int hd_http_hex(char c);

bool hd_http_equals(hd_str a, hd_str b); /* ignoring the case of ASCII letters */

/* "METHOD target HTTP/1.x" without its CRLF: method, target, path, query, minor, and host for the absolute form. */
bool hd_http_read_request_line(hd_http_request *request, hd_str line, hd_http_refusal *why);

/* "name: value" without its CRLF; writes the name in lower case in its place. */
bool hd_http_read_field(hd_http_header *field, char *line, size_t len, hd_http_refusal *why);

/* A header that may come once only, and never in trailers: it decides about framing, routing or rights. */
bool hd_http_is_single(hd_str name);

/* What the headers together say: host, length of the body, keep-alive, Expect. */
bool hd_http_settle(hd_http_request *request, size_t body_max, hd_http_refusal *why);

#endif
