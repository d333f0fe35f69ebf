/* server/http_parser.h: requests of HTTP/1.1 out of bytes that a stranger sends, without a socket.
 *
 * RFC 9112 and 9110, read strictly: whatever two programs on the way of a request might read in two ways is refused, so
 * that no request can be smuggled in another (docs/server.md lists what that means).  The result does not depend on how
 * the bytes are cut.  Memory is capped: one buffer of `head` bytes, which never moves, a table of headers, and one
 * buffer for trailers; they are taken with the first byte of a request, wiped (keys travel in headers) and freed by
 * hd_http_parser_next and hd_http_parser_close.  Bodies are not kept: they are handed on in pieces.
 *
 * A parser belongs to one thread at a time.
 */
#ifndef HD_SERVER_HTTP_PARSER_H
#define HD_SERVER_HTTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* What a request may take at most; 0 stands for the default. */
typedef struct hd_http_limits {
    size_t request_line; /* bytes, without CRLF: 8 KiB, as RFC 9112 section 3 recommends as the least; else 414 */
    size_t head;         /* bytes of request line and headers, with line ends: 32 KiB; else 431 */
    size_t headers;      /* header fields: 100; else 431 */
    size_t body;         /* bytes of content: 32 MiB; else 413 */
    size_t trailers;     /* bytes behind the last chunk, with line ends: 4 KiB; else 431 */
    size_t extensions;   /* bytes of chunk extensions, all chunks together: 4 KiB; else 400 */
} hd_http_limits;

#define HD_HTTP_MAX_REQUEST_LINE ((size_t)8 << 10)
#define HD_HTTP_MAX_HEAD ((size_t)32 << 10)
#define HD_HTTP_MAX_HEADERS ((size_t)100)
#define HD_HTTP_MAX_BODY ((size_t)32 << 20)
#define HD_HTTP_MAX_TRAILERS ((size_t)4 << 10)
#define HD_HTTP_MAX_EXTENSIONS ((size_t)4 << 10)
#define HD_HTTP_MAX_METHOD 32 /* bytes of a method; the longest registered one has 17 (UPDATEREDIRECTREF); else 501 */
#define HD_HTTP_MAX_HOST 255  /* bytes of a host's name (RFC 1035 section 2.3.4); else 400 */

typedef struct hd_http_header {
    hd_str name;  /* lower case in requests */
    hd_str value; /* without blanks around it; no control characters but HTAB; bytes above 0x7f as they came */
} hd_http_header;

/* The head of a request.  Its views are valid until hd_http_parser_next or hd_http_parser_close. */
typedef struct hd_http_request {
    hd_str method; /* any token; the router knows which it serves */
    hd_str target; /* as it came */
    hd_str path;   /* begins with '/', or is "*" for OPTIONS; still encoded, see http_url.h */
    hd_str query;  /* behind the first '?', still encoded; data is NULL without one */
    hd_str host;   /* with port; empty only in HTTP/1.0 */
    int minor;     /* 1 for HTTP/1.1, 0 for HTTP/1.0 */
    bool keep_alive;
    bool chunked;
    bool expect_continue;    /* the client waits for "100 Continue" before it sends the body */
    uint64_t content_length; /* bytes; 0 when chunked */
    const hd_http_header *headers;
    size_t header_count;
} hd_http_request;

typedef enum hd_http_event {
    HD_HTTP_MORE,    /* all bytes are used; feed more */
    HD_HTTP_HEAD,    /* the head is complete */
    HD_HTTP_PIECE,   /* a piece of the body, never empty */
    HD_HTTP_END,     /* the request is complete; nothing more is used until hd_http_parser_next */
    HD_HTTP_REFUSED, /* answer with the refusal's status and close the connection; nothing more is used, for ever */
} hd_http_event;

/* Why a request was refused.  The text is one line of ASCII, and holds no byte of the request. */
typedef struct hd_http_refusal {
    int status; /* 400, 413, 414, 417, 431, 501, 505; 503 when memory ran out */
    char text[160];
} hd_http_refusal;

typedef struct hd_http_parser hd_http_parser;

/* `limits` may be NULL.  HD_E_MEMORY, and HD_E_ARGUMENT for limits that make no sense. */
hd_status hd_http_parser_open(hd_http_parser **out, const hd_http_limits *limits, hd_error *err);
void hd_http_parser_close(hd_http_parser **parser); /* NULL-safe */

/* Takes bytes up to the next event and says in `used` how many (the byte that led to a refusal included).  Call it
 * again with the rest, also with none, until it returns HD_HTTP_MORE or something that ends the request. */
hd_http_event hd_http_parser_feed(hd_http_parser *parser, const void *bytes, size_t len, size_t *used);

/* After HD_HTTP_HEAD; NULL before. */
const hd_http_request *hd_http_parser_request(const hd_http_parser *parser);
/* After HD_HTTP_PIECE: a view into the bytes that were fed. */
hd_str hd_http_parser_piece(const hd_http_parser *parser);
/* After HD_HTTP_REFUSED; NULL before. */
const hd_http_refusal *hd_http_parser_refusal(const hd_http_parser *parser);

/* Frees what the request took and waits for the next one; a request that is not complete is forgotten.  A parser that
 * refused stays so. */
void hd_http_parser_next(hd_http_parser *parser);

/* Whether no byte of a request has come since open or next: the moment when a connection may be closed without loss. */
bool hd_http_parser_is_idle(const hd_http_parser *parser);

/* The value of the header `name` (lower case); false, and an empty value, when there is none.  Of several the first:
 * those that must be alone (Authorization, Content-Type, Host, X-API-Key, ...) were refused if they were not. */
bool hd_http_find(const hd_http_request *request, const char *name, hd_str *value);

#endif
