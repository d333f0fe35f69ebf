/* server/http_parser.c: the states of a request, byte by byte; see http_parser.h.  What a line means is http_head.c's.
 *
 * Invariants: a decision depends on the bytes before it, never on where they were cut; head.data never moves once it is
 * there; no count passes its limit.
 */
#include "server/http_parser.h"

#include <string.h>

#include "base/base.h"
#include "server/http_internal.h"

#define MAX_SIZE_DIGITS 16 /* of a chunk: what fills 64 bits */
#define MAX_LIMIT ((size_t)1 << 40)

typedef enum state {
    HEAD_LINE,
    HEAD_LF, /* behind a CR */
    BODY,    /* `left` bytes of a body with a length, then END */
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_LF,
    CHUNK_DATA, /* `left` bytes, then its CRLF */
    DATA_CR,
    DATA_LF,
    TRAILER_LINE,
    TRAILER_LF,
    END,
    REFUSED,
} state;

/* All that one request changes. */
typedef struct progress {
    state state;
    bool has_line;      /* the request line was read */
    bool has_head;      /* the head is complete */
    bool skipped_empty; /* an empty line before the request line was tolerated (section 2.2) */
    size_t line_start;  /* of the line in the head */
    size_t head_bytes;  /* counted against limits.head */
    size_t trailer_bytes;
    size_t extension_bytes;
    int size_digits;
    uint64_t left;      /* bytes of the body or chunk still to come */
    uint64_t chunk_sum; /* bytes of all chunks announced so far */
} progress;

struct hd_http_parser {
    hd_http_limits limits;
    progress now;
    hd_buf head;    /* the lines without their ends, one behind the other */
    hd_buf fields;  /* of hd_http_header, views into the head */
    hd_buf trailer; /* the present line of the trailers */
    hd_http_request request;
    hd_http_refusal refusal;
    hd_str piece;
};

/* ---- life ---- */

static hd_http_limits with_defaults(const hd_http_limits *given)
{
    static const hd_http_limits none;
    if (!given) given = &none;
    return (hd_http_limits){
        .request_line = given->request_line ? given->request_line : HD_HTTP_MAX_REQUEST_LINE,
        .head = given->head ? given->head : HD_HTTP_MAX_HEAD,
        .headers = given->headers ? given->headers : HD_HTTP_MAX_HEADERS,
        .body = given->body ? given->body : HD_HTTP_MAX_BODY,
        .trailers = given->trailers ? given->trailers : HD_HTTP_MAX_TRAILERS,
        .extensions = given->extensions ? given->extensions : HD_HTTP_MAX_EXTENSIONS,
    };
}

hd_status hd_http_parser_open(hd_http_parser **out, const hd_http_limits *limits, hd_error *err)
{
    *out = NULL;
    hd_http_limits set = with_defaults(limits);
    if (set.request_line > MAX_LIMIT || set.head > MAX_LIMIT || set.headers > MAX_LIMIT / sizeof(hd_http_header) ||
        set.body > MAX_LIMIT || set.trailers > MAX_LIMIT || set.extensions > MAX_LIMIT)
        return hd_fail(err, HD_E_ARGUMENT, "a limit of HTTP requests is larger than %zu bytes", MAX_LIMIT);
    hd_http_parser *p = hd_calloc(1, sizeof *p);
    if (!p) return hd_fail(err, HD_E_MEMORY, "out of memory for a connection");
    p->limits = set;
    hd_buf_init(&p->head, set.head);
    hd_buf_init(&p->fields, set.headers * sizeof(hd_http_header));
    hd_buf_init(&p->trailer, set.trailers);
    *out = p;
    return HD_OK;
}

static void release(hd_http_parser *p)
{
    hd_buf_wipe_free(&p->head);
    hd_buf_wipe_free(&p->trailer);
    hd_buf_free(&p->fields);
    p->request = (hd_http_request){0};
    p->piece = (hd_str){0};
}

void hd_http_parser_close(hd_http_parser **parser)
{
    if (!*parser) return;
    release(*parser);
    hd_free(*parser);
    *parser = NULL;
}

void hd_http_parser_next(hd_http_parser *p)
{
    bool refused = p->now.state == REFUSED;
    release(p);
    p->now = (progress){.state = refused ? REFUSED : HEAD_LINE};
}

const hd_http_request *hd_http_parser_request(const hd_http_parser *p)
{
    return p->now.has_head ? &p->request : NULL;
}

hd_str hd_http_parser_piece(const hd_http_parser *p)
{
    return p->piece;
}

const hd_http_refusal *hd_http_parser_refusal(const hd_http_parser *p)
{
    return p->now.state == REFUSED ? &p->refusal : NULL;
}

bool hd_http_parser_is_idle(const hd_http_parser *p)
{
    return p->now.state == HEAD_LINE && p->now.head_bytes == 0;
}

/* ---- lines, of the head and of the trailers ---- */

/* Goes on in `next` when `fine`, else ends in the refusal that was written. */
static hd_http_event go(hd_http_parser *p, bool fine, state next)
{
    p->now.state = fine ? next : REFUSED;
    return fine ? HD_HTTP_MORE : HD_HTTP_REFUSED;
}

static hd_http_event refuse(hd_http_parser *p, int status, const char *text)
{
    return go(p, hd_http_refuse(&p->refusal, status, "%s", text), REFUSED);
}

static hd_http_event take_line(hd_http_parser *p, hd_buf *buf, char c)
{
    if (c == '\n') return refuse(p, 400, "a line ends in LF alone; it must end in CR and LF");
    if (c == '\r') return go(p, true, p->now.state == HEAD_LINE ? HEAD_LF : TRAILER_LF);
    if (!hd_http_is_value((hd_str){&c, 1})) return refuse(p, 400, "a control character in a line");
    /* Whole at once, so that no secret stays behind where the buffer lay before it grew. */
    if ((!buf->data && hd_buf_reserve(buf, buf->max) != HD_OK) || hd_buf_putc(buf, c) != HD_OK)
        return refuse(p, 503, "out of memory; try again later");
    return HD_HTTP_MORE;
}

static hd_http_event expect_lf(hd_http_parser *p, char c, state next)
{
    if (c != '\n') return refuse(p, 400, "CR without LF");
    return go(p, true, next);
}

/* ---- head ---- */

static hd_http_event finish_head(hd_http_parser *p)
{
    p->request.headers = (const hd_http_header *)(const void *)p->fields.data;
    p->request.header_count = p->fields.len / sizeof(hd_http_header);
    if (!hd_http_settle(&p->request, p->limits.body, &p->refusal)) return go(p, false, REFUSED);
    p->now.has_head = true;
    p->now.left = p->request.content_length;
    p->now.state = p->request.chunked ? CHUNK_SIZE : p->now.left ? BODY : END;
    return HD_HTTP_HEAD;
}

static bool is_repeated(const hd_http_parser *p, hd_str name)
{
    const hd_http_request so_far = {.headers = (const hd_http_header *)(const void *)p->fields.data,
                                    .header_count = p->fields.len / sizeof(hd_http_header)};
    for (size_t i = 0; i < so_far.header_count; i++)
        if (hd_http_equals(so_far.headers[i].name, name)) return true;
    return false;
}

static hd_http_event add_field(hd_http_parser *p, char *line, size_t len)
{
    hd_http_header field;
    if (!hd_http_read_field(&field, line, len, &p->refusal)) return go(p, false, REFUSED);
    if (hd_http_is_single(field.name) && is_repeated(p, field.name))
        return refuse(p, 400, "a header that must be alone comes twice");
    hd_status status = hd_buf_append(&p->fields, &field, sizeof field);
    if (status == HD_E_LIMIT)
        return go(p, hd_http_refuse(&p->refusal, 431, "more than %zu headers", p->limits.headers), REFUSED);
    if (status != HD_OK) return refuse(p, 503, "out of memory; try again later");
    return HD_HTTP_MORE;
}

static hd_http_event end_head_line(hd_http_parser *p)
{
    size_t start = p->now.line_start, len = p->head.len - start;
    p->now.line_start = p->head.len;
    if (p->now.has_line) return len ? add_field(p, p->head.data + start, len) : finish_head(p);
    if (len == 0) {
        if (p->now.skipped_empty) return refuse(p, 400, "more than one empty line before a request");
        p->now.skipped_empty = true;
        p->now.head_bytes = 0;
        return HD_HTTP_MORE;
    }
    p->now.has_line = true;
    return go(p, hd_http_read_request_line(&p->request, (hd_str){p->head.data, len}, &p->refusal), HEAD_LINE);
}

/* The line may be too long for its method already (section 3: 501), else for its target (414). */
static hd_http_event refuse_long_line(hd_http_parser *p)
{
    if (p->head.len > HD_HTTP_MAX_METHOD && !memchr(p->head.data, ' ', HD_HTTP_MAX_METHOD + 1))
        return go(p, hd_http_refuse(&p->refusal, 501, "the method is longer than %d bytes", HD_HTTP_MAX_METHOD),
                  REFUSED);
    return go(p, hd_http_refuse(&p->refusal, 414, "the request line is longer than %zu bytes", p->limits.request_line),
              REFUSED);
}

static hd_http_event take_head(hd_http_parser *p, char c)
{
    if (p->now.head_bytes == p->limits.head)
        return go(p, hd_http_refuse(&p->refusal, 431, "the head has more than %zu bytes", p->limits.head), REFUSED);
    p->now.head_bytes++;
    if (p->now.state == HEAD_LF) {
        hd_http_event event = expect_lf(p, c, HEAD_LINE);
        return event == HD_HTTP_MORE ? end_head_line(p) : event;
    }
    if (!p->now.has_line && p->head.len == p->limits.request_line && c != '\r' && c != '\n') return refuse_long_line(p);
    return take_line(p, &p->head, c);
}

/* ---- chunked body (section 7.1) ---- */

static hd_http_event take_size(hd_http_parser *p, char c)
{
    int digit = hd_http_hex(c);
    if (digit >= 0) {
        if (p->now.size_digits == MAX_SIZE_DIGITS) return refuse(p, 400, "a chunk's size has more than 16 digits");
        p->now.size_digits++;
        p->now.left = p->now.left << 4 | (uint64_t)digit;
        return HD_HTTP_MORE;
    }
    if (p->now.size_digits == 0) return refuse(p, 400, "a chunk must begin with its size in hexadecimal digits");
    if (c == '\r') return go(p, true, CHUNK_LF);
    if (c == ';') return go(p, true, CHUNK_EXTENSION);
    return refuse(p, 400, "a chunk's size must be followed by CR and LF");
}

/* Skipped, but counted: bytes that cost the sender no body would never end else. */
static hd_http_event take_extension(hd_http_parser *p, char c)
{
    if (c == '\r') return go(p, true, CHUNK_LF);
    if (!hd_http_is_value((hd_str){&c, 1})) return refuse(p, 400, "a control character in a chunk's extension");
    if (p->now.extension_bytes++ < p->limits.extensions) return HD_HTTP_MORE;
    return refuse(p, 400, "the extensions of chunks are too long");
}

static hd_http_event begin_chunk(hd_http_parser *p, char c)
{
    hd_http_event event = expect_lf(p, c, p->now.left ? CHUNK_DATA : TRAILER_LINE);
    if (event != HD_HTTP_MORE) return event;
    p->now.size_digits = 0;
    if (__builtin_add_overflow(p->now.chunk_sum, p->now.left, &p->now.chunk_sum) || p->now.chunk_sum > p->limits.body)
        return go(p, hd_http_refuse(&p->refusal, 413, "the body has more than %zu bytes", p->limits.body), REFUSED);
    return HD_HTTP_MORE;
}

static hd_http_event take_data_end(hd_http_parser *p, char c)
{
    if (p->now.state == DATA_LF) return expect_lf(p, c, CHUNK_SIZE);
    if (c != '\r') return refuse(p, 400, "a chunk's data are not followed by CR and LF");
    return go(p, true, DATA_LF);
}

/* Trailers are checked like headers, and dropped. */
static hd_http_event end_trailer(hd_http_parser *p)
{
    hd_http_header field;
    if (p->trailer.len == 0) return go(p, true, END);
    if (!hd_http_read_field(&field, p->trailer.data, p->trailer.len, &p->refusal)) return go(p, false, REFUSED);
    if (hd_http_is_single(field.name)) return refuse(p, 400, "a trailer that must be a header");
    hd_buf_clear(&p->trailer);
    return HD_HTTP_MORE;
}

static hd_http_event take_trailer(hd_http_parser *p, char c)
{
    if (p->now.trailer_bytes == p->limits.trailers)
        return go(p, hd_http_refuse(&p->refusal, 431, "the trailers have more than %zu bytes", p->limits.trailers),
                  REFUSED);
    p->now.trailer_bytes++;
    if (p->now.state == TRAILER_LINE) return take_line(p, &p->trailer, c);
    hd_http_event event = expect_lf(p, c, TRAILER_LINE);
    return event == HD_HTTP_MORE ? end_trailer(p) : event;
}

/* ---- all ---- */

static hd_http_event take_byte(hd_http_parser *p, char c)
{
    switch (p->now.state) {
    case HEAD_LINE:
    case HEAD_LF: return take_head(p, c);
    case CHUNK_SIZE: return take_size(p, c);
    case CHUNK_EXTENSION: return take_extension(p, c);
    case CHUNK_LF: return begin_chunk(p, c);
    case DATA_CR:
    case DATA_LF: return take_data_end(p, c);
    case TRAILER_LINE:
    case TRAILER_LF: return take_trailer(p, c);
    default: return refuse(p, 500, "internal error: a byte in a state that takes none");
    }
}

static hd_http_event take_piece(hd_http_parser *p, const char *data, size_t len, size_t *used)
{
    size_t take = p->now.left < len ? (size_t)p->now.left : len;
    p->piece = (hd_str){data, take};
    p->now.left -= take;
    *used += take;
    if (p->now.left == 0) p->now.state = p->now.state == BODY ? END : DATA_CR;
    return HD_HTTP_PIECE;
}

hd_http_event hd_http_parser_feed(hd_http_parser *p, const void *bytes, size_t len, size_t *used)
{
    const char *data = bytes;
    *used = 0;
    p->piece = (hd_str){0};
    for (;;) {
        if (p->now.state == END) return HD_HTTP_END;
        if (p->now.state == REFUSED) return HD_HTTP_REFUSED;
        if (*used == len) return HD_HTTP_MORE;
        if (p->now.state == BODY || p->now.state == CHUNK_DATA) return take_piece(p, data + *used, len - *used, used);
        if (take_byte(p, data[(*used)++]) == HD_HTTP_HEAD) return HD_HTTP_HEAD;
    }
}
