/* fuzz_http.c: any bytes as requests to a server.  Cut at other places they must mean the same; what was accepted keeps
 * to the limits and, written down again by the parser's own reading, is accepted again with the same meaning (so that
 * nobody behind us can read it in another way); paths and queries decode or are refused. */
#include "unit/server/http_transcript.h"

#include "server/http_response.h"
#include "server/http_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM ((size_t)8 << 20)

static const hd_http_limits tight = {
    .request_line = 40, .head = 120, .headers = 4, .body = 30, .trailers = 20, .extensions = 8};

static void must(bool holds)
{
    if (!holds) __builtin_trap();
}

/* Pieces of 1 to 16 bytes, from a generator that the input seeds (xorshift32 of Marsaglia). */
static size_t cut_anywhere(void *state, size_t left)
{
    uint32_t *x = state;
    (void)left;
    *x ^= *x << 13;
    *x ^= *x >> 17;
    *x ^= *x << 5;
    return 1 + *x % 16;
}

static void read_cut(hd_buf *out, const hd_http_limits *limits, hd_str in, transcript_cut cut, uint32_t seed)
{
    hd_http_parser *p;
    hd_buf_init(out, ROOM);
    if (hd_http_parser_open(&p, limits, NULL) != HD_OK) return;
    (void)transcribe(out, p, in.data, in.len, cut, &seed);
    hd_http_parser_close(&p);
}

static void check_cuts(const hd_http_limits *limits, hd_str in)
{
    hd_buf whole, other;
    uint32_t seed = 1;
    for (size_t i = 0; i < in.len; i++)
        seed = seed * 31 + (uint8_t)in.data[i];
    seed |= 1; /* zero would stay zero */
    read_cut(&whole, limits, in, cut_nowhere, seed);
    for (int i = 0; i < 2; i++) {
        read_cut(&other, limits, in, i ? cut_anywhere : cut_everywhere, seed);
        must(whole.status == HD_OK && other.status == HD_OK && whole.len == other.len);
        must(!whole.len || memcmp(whole.data, other.data, whole.len) == 0);
        hd_buf_free(&other);
    }
    hd_buf_free(&whole);
}

/* ---- what was accepted ---- */

static void check_url(const hd_http_request *r)
{
    hd_buf out;
    hd_str path = r->path, segment;
    bool found;
    hd_buf_init(&out, r->target.len);
    while (hd_http_next_segment(&path, &segment))
        if (hd_http_decode_segment(&out, segment, NULL) == HD_OK) must(!out.len || !memchr(out.data, 0, out.len));
    must(path.len == 0 || path.data[0] == '*');
    hd_buf_clear(&out);
    if (hd_http_decode_query(&out, r->query, NULL) == HD_OK) must(out.len <= r->query.len);
    hd_buf_clear(&out);
    (void)hd_http_query_get(&out, r->query, "a", &found, NULL);
    must(out.len <= r->query.len);
    hd_buf_free(&out);
}

/* The headers of a request, but for those that a reply owns, are headers that a reply may have. */
static void check_reply(const hd_http_request *r)
{
    hd_buf out;
    hd_buf_init(&out, ROOM);
    for (size_t i = 0; i < r->header_count; i++) {
        hd_http_response reply = {
            .status = 200, .framing = HD_HTTP_LENGTH, .headers = r->headers + i, .header_count = 1};
        size_t lines = 0;
        hd_buf_clear(&out);
        bool written = hd_http_write_head(&out, &reply, NULL) == HD_OK;
        for (size_t k = 0; k < out.len; k++)
            lines += out.data[k] == '\n';
        must(lines == (written ? 5U : 0U));
    }
    hd_buf_free(&out);
}

static void rewrite(hd_buf *out, const hd_http_request *r, hd_str body)
{
    (void)hd_buf_printf(out, "%.*s %.*s HTTP/1.%d\r\n", (int)r->method.len, r->method.data, (int)r->target.len,
                        r->target.data, r->minor);
    for (size_t i = 0; i < r->header_count; i++)
        (void)hd_buf_printf(out, "%.*s:%.*s\r\n", (int)r->headers[i].name.len, r->headers[i].name.data,
                            (int)r->headers[i].value.len, r->headers[i].value.data);
    (void)hd_buf_puts(out, "\r\n");
    if (!r->chunked) (void)hd_buf_append(out, body.data, body.len);
    if (r->chunked) (void)hd_http_write_chunk(out, body.data, body.len);
    if (r->chunked) (void)hd_http_write_last_chunk(out);
}

/* Written again, it says the same. */
static void check_again(const hd_http_request *r, hd_str body)
{
    hd_buf first, again, bytes;
    hd_buf_init(&first, ROOM);
    hd_buf_init(&bytes, ROOM);
    rewrite(&bytes, r, body);
    put_request(&first, r, body);
    (void)hd_buf_puts(&first, "end\n");
    read_cut(&again, NULL, (hd_str){bytes.data, bytes.len}, cut_nowhere, 1);
    must(first.len == again.len && memcmp(first.data, again.data, first.len) == 0);
    hd_buf_free(&first);
    hd_buf_free(&again);
    hd_buf_free(&bytes);
}

static void check_request(const hd_http_request *r, hd_str body, const hd_http_limits *limits)
{
    size_t head = r->method.len + r->target.len;
    must(r->method.len <= HD_HTTP_MAX_METHOD && r->method.len + r->target.len + 10 <= limits->request_line);
    must(r->header_count <= limits->headers && body.len <= limits->body && r->content_length <= limits->body);
    must(!(r->chunked && r->content_length) && (r->minor == 0 || r->host.len));
    must(r->chunked || r->content_length == body.len);
    for (size_t i = 0; i < r->header_count; i++)
        head += r->headers[i].name.len + r->headers[i].value.len + 3;
    must(head <= limits->head);
    check_url(r);
    check_reply(r);
    check_again(r, body);
}

static void check_accepted(const hd_http_limits *limits, hd_str in)
{
    hd_http_parser *p;
    hd_buf body;
    if (hd_http_parser_open(&p, limits, NULL) != HD_OK) return;
    hd_buf_init(&body, in.len);
    hd_http_event event = HD_HTTP_END;
    for (size_t at = 0, used; event != HD_HTTP_MORE && event != HD_HTTP_REFUSED; at += used) {
        event = hd_http_parser_feed(p, in.data + at, in.len - at, &used);
        hd_str piece = hd_http_parser_piece(p);
        if (event == HD_HTTP_PIECE) (void)hd_buf_append(&body, piece.data, piece.len);
        if (event != HD_HTTP_END) continue;
        check_request(hd_http_parser_request(p), (hd_str){body.data, body.len}, limits);
        hd_buf_clear(&body);
        hd_http_parser_next(p);
    }
    hd_buf_free(&body);
    hd_http_parser_close(&p);
}

static void check_event_stream(hd_str in)
{
    hd_buf out;
    hd_buf_init(&out, ROOM);
    must(hd_http_write_event(&out, NULL, in, NULL) == HD_OK);
    must(out.len >= 8 && memcmp(out.data + out.len - 2, "\n\n", 2) == 0 && !memchr(out.data, '\r', out.len));
    for (size_t i = 0; i + 1 < out.len; i++) /* each line is data, so that no field can be smuggled in */
        must((i && out.data[i - 1] != '\n') || memcmp(out.data + i, "data: ", 6) == 0);
    hd_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const hd_http_limits roomy = {HD_HTTP_MAX_REQUEST_LINE, HD_HTTP_MAX_HEAD,     HD_HTTP_MAX_HEADERS,
                                         HD_HTTP_MAX_BODY,         HD_HTTP_MAX_TRAILERS, HD_HTTP_MAX_EXTENSIONS};
    const hd_str in = {(const char *)data, size};
    const hd_http_limits *limits[] = {&roomy, &tight};
    if (size > ROOM / 64) return 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(limits); i++) {
        check_cuts(limits[i], in);
        check_accepted(limits[i], in);
    }
    check_event_stream(in);
    return 0;
}
