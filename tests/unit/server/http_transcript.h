/* http_transcript.h: all that the parser says about a stream of bytes, as one text, for comparing: the same bytes cut
 * in another way must give the same text.  Used by the unit tests and the fuzzer. */
#ifndef HD_TESTS_HTTP_TRANSCRIPT_H
#define HD_TESTS_HTTP_TRANSCRIPT_H

#include <string.h>

#include "base/base.h"
#include "server/http_parser.h"

/* How many of `left` bytes come next, at least 1. */
typedef size_t (*transcript_cut)(void *state, size_t left);

static inline size_t cut_nowhere(void *state, size_t left)
{
    (void)state;
    return left;
}

static inline size_t cut_everywhere(void *state, size_t left)
{
    (void)state;
    (void)left;
    return 1;
}

/* Bytes as text: NUL would end it for the tests. */
static inline void put_text(hd_buf *out, hd_str text)
{
    for (size_t i = 0; i < text.len; i++)
        (void)hd_buf_putc(out, text.data[i] ? text.data[i] : '?');
}

static inline void put_request(hd_buf *out, const hd_http_request *r, hd_str body)
{
    put_text(out, r->method);
    (void)hd_buf_putc(out, ' ');
    put_text(out, r->path);
    if (r->query.data) (void)hd_buf_puts(out, " ?");
    put_text(out, r->query);
    (void)hd_buf_puts(out, " @");
    put_text(out, r->host);
    (void)hd_buf_printf(out, " 1.%d %s", r->minor, r->keep_alive ? "keep" : "close");
    if (r->chunked) (void)hd_buf_puts(out, " chunked");
    if (r->content_length) (void)hd_buf_printf(out, " length=%zu", (size_t)r->content_length);
    (void)hd_buf_puts(out, r->expect_continue ? " expect\n" : "\n");
    for (size_t i = 0; i < r->header_count; i++) {
        put_text(out, r->headers[i].name);
        (void)hd_buf_puts(out, ": ");
        put_text(out, r->headers[i].value);
        (void)hd_buf_putc(out, '\n');
    }
    if (body.len) (void)hd_buf_putc(out, '=');
    put_text(out, body);
    if (body.len) (void)hd_buf_putc(out, '\n');
}

/* One event; false after the last.  The request is written at its end only: its head must have stayed where it was. */
static inline bool put_event(hd_buf *out, hd_http_parser *p, hd_http_event event, hd_buf *body, size_t total)
{
    const hd_http_request *r = hd_http_parser_request(p);
    hd_str piece = hd_http_parser_piece(p);
    if (event == HD_HTTP_PIECE) (void)hd_buf_append(body, piece.data, piece.len);
    if (event != HD_HTTP_END && event != HD_HTTP_REFUSED) return true;
    if (r) put_request(out, r, (hd_str){body->data, body->len});
    hd_buf_clear(body);
    if (event == HD_HTTP_REFUSED) {
        const hd_http_refusal *why = hd_http_parser_refusal(p);
        (void)hd_buf_printf(out, "refused %d after %zu: %s\n", why->status, total, why->text);
        return false;
    }
    (void)hd_buf_puts(out, "end\n");
    hd_http_parser_next(p);
    return true;
}

/* Feeds all bytes, each cut from a block of its own, so that a sanitizer sees what is read behind it or kept. */
static inline hd_status transcribe(hd_buf *out, hd_http_parser *p, const char *bytes, size_t len, transcript_cut cut,
                                   void *state)
{
    hd_buf body;
    hd_buf_init(&body, len);
    bool more = true;
    for (size_t pos = 0, total = 0; pos < len && more;) {
        size_t wish = cut(state, len - pos), at = 0, used;
        size_t size = wish < len - pos ? wish : len - pos;
        char *block = hd_alloc(size);
        if (!block) return HD_E_MEMORY;
        memcpy(block, bytes + pos, size);
        hd_http_event event = HD_HTTP_END;
        while (more && event != HD_HTTP_MORE) {
            event = hd_http_parser_feed(p, block + at, size - at, &used);
            at += used;
            total += used;
            more = put_event(out, p, event, &body, total);
        }
        hd_free(block);
        pos += size;
    }
    if (more && hd_http_parser_request(p)) put_request(out, hd_http_parser_request(p), (hd_str){body.data, body.len});
    if (more && !hd_http_parser_is_idle(p)) (void)hd_buf_puts(out, "cut\n");
    hd_status status = HD_OK;
    if (body.status != HD_OK) status = body.status;
    hd_buf_free(&body);
    return status == HD_OK ? out->status : status;
}

#endif
