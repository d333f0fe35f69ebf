/* Requests, good and bad, however they are cut; limits; memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http_cases.h"
#include "http_transcript.h"

#define ROOM ((size_t)1 << 20)

/* The first piece has `at` bytes, the second the rest. */
static size_t cut_once(void *state, size_t left)
{
    size_t *at = state, first = *at;
    *at = 0;
    return first ? first : left;
}

static void read_all(hd_buf *out, const hd_http_limits *limits, const char *bytes, size_t len, transcript_cut cut,
                     void *state)
{
    hd_http_parser *p;
    hd_buf_init(out, ROOM);
    assert_int_equal(hd_http_parser_open(&p, limits, NULL), HD_OK);
    assert_int_equal(transcribe(out, p, bytes, len, cut, state), HD_OK);
    hd_http_parser_close(&p);
    assert_null(p);
    assert_int_equal(hd_buf_putc(out, '\0'), HD_OK); /* text, also when empty */
}

/* Wants `expected` in one piece, byte by byte, and in two pieces cut at every place. */
static void expect_transcript(const char *name, const hd_http_limits *limits, const char *bytes, size_t len,
                              const char *expected)
{
    hd_buf out;
    for (size_t at = 0; at <= len + 1; at++) {
        size_t state = at;
        read_all(&out, limits, bytes, len, at == len + 1 ? cut_everywhere : cut_once, &state);
        if (strcmp(out.data, expected) != 0)
            fail_msg("%s, cut at %zu:\n%s\ninstead of:\n%s", name, at, out.data, expected);
        hd_buf_free(&out);
    }
}

static void test_good_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(good_requests); i++) {
        const http_good *c = &good_requests[i];
        expect_transcript(c->name, NULL, c->bytes, c->len, c->transcript);
    }
}

static void test_bad_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad_requests); i++) {
        const http_bad *c = &bad_requests[i];
        hd_buf out;
        read_all(&out, NULL, c->bytes, c->len, cut_nowhere, NULL);
        const char *refused = strstr(out.data, "refused ");
        char wanted[16];
        snprintf(wanted, sizeof wanted, "refused %d ", c->status);
        if (!refused || strncmp(refused, wanted, strlen(wanted)) != 0 || !strstr(refused, c->words) ||
            strstr(out.data, "end\n"))
            fail_msg("%s: not refused with %d and \"%s\":\n%s", c->name, c->status, c->words, out.data);
        expect_transcript(c->name, NULL, c->bytes, c->len, out.data);
        hd_buf_free(&out);
    }
}

/* ---- limits: exactly at the limit is fine, one more is not ---- */

static const hd_http_limits small = {
    .request_line = 40, .head = 80, .headers = 3, .body = 10, .trailers = 12, .extensions = 5};

static void expect_limit(const char *name, const char *fits, const char *exceeds, int status)
{
    hd_buf out;
    char wanted[32];
    read_all(&out, &small, fits, strlen(fits), cut_nowhere, NULL);
    if (!strstr(out.data, "end\n") || strstr(out.data, "refused")) fail_msg("%s, at the limit: %s", name, out.data);
    expect_transcript(name, &small, fits, strlen(fits), out.data);
    hd_buf_free(&out);
    read_all(&out, &small, exceeds, strlen(exceeds), cut_nowhere, NULL);
    snprintf(wanted, sizeof wanted, "refused %d ", status);
    if (!strstr(out.data, wanted) || strstr(out.data, "end\n")) fail_msg("%s, beyond: %s", name, out.data);
    expect_transcript(name, &small, exceeds, strlen(exceeds), out.data);
    hd_buf_free(&out);
}

#define OLD "POST / HTTP/1.0\r\n"
#define NEW "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" /* 56 bytes */

static void test_limits(void **state)
{
    (void)state;
    expect_limit("request line", "GET /3456789012345678901234567 HTTP/1.0\r\n\r\n",
                 "GET /345678901234567890123456789 HTTP/1.0\r\n\r\n", 414);
    expect_limit("method", "GETTTTTTTTTTTTTTTTTTTTTTTTTTT / HTTP/1.0\r\n\r\n",
                 "GETTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT", 501);
    expect_limit("headers", OLD "a:\r\nb:\r\nc:\r\n\r\n", OLD "a:\r\nb:\r\nc:\r\nd:\r\n\r\n", 431);
    /* 17 + 61 + 2 bytes */
    expect_limit("head", OLD "a: 45678901234567890123456789012345678901234567890123456789\r\n\r\n",
                 OLD "a: 456789012345678901234567890123456789012345678901234567890\r\n\r\n", 431);
    expect_limit("length", OLD "Content-Length: 10\r\n\r\n0123456789", OLD "Content-Length: 11\r\n\r\n01234567890",
                 413);
    expect_limit("chunks", NEW "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", NEW "5\r\n01234\r\n6\r\n567890\r\n0\r\n\r\n",
                 413);
    expect_limit("trailers", NEW "0\r\na:b\r\nc:d\r\n\r\n", NEW "0\r\na:b\r\nc:de\r\n\r\n", 431);
    expect_limit("extensions", NEW "1;ab\r\nx\r\n0;cde\r\n\r\n", NEW "1;ab\r\nx\r\n0;cdef\r\n\r\n", 400);
}

static void test_defaults(void **state)
{
    (void)state;
    static const struct {
        size_t fill;
        const char *wanted;
    } lines[] = {{HD_HTTP_MAX_REQUEST_LINE - 14, "end\n"}, {HD_HTTP_MAX_REQUEST_LINE - 13, "refused 414 "}};
    for (size_t i = 0; i < HD_ARRAY_LEN(lines); i++) {
        hd_buf in, out;
        hd_buf_init(&in, ROOM);
        assert_int_equal(hd_buf_puts(&in, "GET /"), HD_OK);
        for (size_t k = 0; k < lines[i].fill; k++)
            assert_int_equal(hd_buf_putc(&in, 'x'), HD_OK);
        assert_int_equal(hd_buf_puts(&in, " HTTP/1.0\r\n\r\n"), HD_OK);
        read_all(&out, NULL, in.data, in.len, cut_nowhere, NULL);
        assert_non_null(strstr(out.data, lines[i].wanted));
        hd_buf_free(&in);
        hd_buf_free(&out);
    }
    for (size_t count = HD_HTTP_MAX_HEADERS; count <= HD_HTTP_MAX_HEADERS + 1; count++) {
        hd_buf in, out;
        hd_buf_init(&in, ROOM);
        assert_int_equal(hd_buf_puts(&in, "GET / HTTP/1.0\r\n"), HD_OK);
        for (size_t k = 0; k < count; k++)
            assert_int_equal(hd_buf_puts(&in, "x: y\r\n"), HD_OK);
        assert_int_equal(hd_buf_puts(&in, "\r\n"), HD_OK);
        read_all(&out, NULL, in.data, in.len, cut_nowhere, NULL);
        assert_non_null(strstr(out.data, count == HD_HTTP_MAX_HEADERS ? "end\n" : "refused 431 "));
        hd_buf_free(&in);
        hd_buf_free(&out);
    }
}

static void test_long_hosts(void **state)
{
    (void)state;
    for (int len = HD_HTTP_MAX_HOST; len <= HD_HTTP_MAX_HOST + 1; len++) {
        char in[400], name[HD_HTTP_MAX_HOST + 2];
        hd_buf out;
        memset(name, 'a', sizeof name);
        int size = snprintf(in, sizeof in, "GET / HTTP/1.1\r\nHost: %.*s\r\n\r\n", len, name);
        read_all(&out, NULL, in, (size_t)size, cut_nowhere, NULL);
        assert_non_null(strstr(out.data, len == HD_HTTP_MAX_HOST ? "end\n" : "the Host header is malformed"));
        hd_buf_free(&out);
    }
}

static void test_limits_that_make_no_sense(void **state)
{
    (void)state;
    hd_http_parser *p;
    const hd_http_limits bad[] = {{.request_line = SIZE_MAX}, {.head = SIZE_MAX},     {.headers = SIZE_MAX / 16},
                                  {.body = SIZE_MAX},         {.trailers = SIZE_MAX}, {.extensions = SIZE_MAX}};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        assert_int_equal(hd_http_parser_open(&p, &bad[i], NULL), HD_E_ARGUMENT);
        assert_null(p);
    }
}

/* ---- the life of a parser ---- */

#define SECRET "s3cret"
static int wiped; /* blocks that held the secret */

/* Stands before the C library's, which hd_wipe calls. */
void explicit_bzero(void *block, size_t len)
{
    const void *volatile seen = block; /* gcc holds a wipe for one that only writes */
    wiped += memmem(seen, len, SECRET, sizeof SECRET - 1) != NULL;
    memset(block, 0, len);
}

static void test_secrets_are_wiped(void **state)
{
    (void)state;
    static const char bytes[] = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " SECRET "\r\n\r\n";
    size_t used;
    hd_http_parser *p;
    assert_int_equal(hd_http_parser_open(&p, NULL, NULL), HD_OK);
    assert_int_equal(hd_http_parser_feed(p, bytes, sizeof bytes - 1, &used), HD_HTTP_HEAD);
    assert_int_equal(wiped, 0);
    hd_http_parser_next(p);
    assert_int_equal(wiped, 1);
    assert_int_equal(hd_http_parser_feed(p, bytes, sizeof bytes - 5, &used), HD_HTTP_MORE);
    hd_http_parser_close(&p);
    assert_int_equal(wiped, 2);
}

static void test_events_in_order(void **state)
{
    (void)state;
    static const char bytes[] = "POST / HTTP/1.1\r\nHost: a\r\nX-Key: v\r\nContent-Length: 2\r\n\r\nabGET";
    size_t used, head = sizeof bytes - 1 - 5;
    hd_str value;
    hd_http_parser *p;
    assert_int_equal(hd_http_parser_open(&p, NULL, NULL), HD_OK);
    assert_true(hd_http_parser_is_idle(p));
    assert_null(hd_http_parser_request(p));
    assert_null(hd_http_parser_refusal(p));
    assert_int_equal(hd_http_parser_feed(p, NULL, 0, &used), HD_HTTP_MORE);
    assert_int_equal(hd_http_parser_feed(p, bytes, sizeof bytes - 1, &used), HD_HTTP_HEAD);
    assert_int_equal(used, head);
    assert_false(hd_http_parser_is_idle(p));
    const hd_http_request *r = hd_http_parser_request(p);
    assert_true(hd_http_find(r, "x-key", &value));
    assert_int_equal(value.len, 1);
    assert_false(hd_http_find(r, "x-kez", &value));
    assert_int_equal(value.len, 0);
    assert_int_equal(hd_http_parser_feed(p, bytes + head, 1, &used), HD_HTTP_PIECE);
    assert_ptr_equal(hd_http_parser_piece(p).data, bytes + head);
    assert_int_equal(hd_http_parser_feed(p, bytes + head + 1, 4, &used), HD_HTTP_PIECE);
    assert_int_equal(used, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hd_http_parser_feed(p, bytes + head + 2, 3, &used), HD_HTTP_END);
        assert_int_equal(used, 0);
    }
    assert_string_equal(r->headers[1].name.data, "x-key: v"
                                                 "content-length: 2"); /* the head stays until the next request */
    hd_http_parser_next(p);
    assert_true(hd_http_parser_is_idle(p));
    assert_null(hd_http_parser_request(p));
    assert_int_equal(hd_http_parser_feed(p, bytes + head + 2, 3, &used), HD_HTTP_MORE);
    assert_int_equal(used, 3);
    assert_false(hd_http_parser_is_idle(p));
    hd_http_parser_close(&p);
    hd_http_parser_close(&p);
}

static void test_a_refusal_is_for_ever(void **state)
{
    (void)state;
    size_t used;
    hd_http_parser *p;
    assert_int_equal(hd_http_parser_open(&p, NULL, NULL), HD_OK);
    assert_int_equal(hd_http_parser_feed(p, "\nGET", 4, &used), HD_HTTP_REFUSED);
    assert_int_equal(used, 1);
    hd_http_parser_next(p);
    assert_int_equal(hd_http_parser_feed(p, HIDDEN, sizeof HIDDEN - 1, &used), HD_HTTP_REFUSED);
    assert_int_equal(used, 0);
    assert_int_equal(hd_http_parser_refusal(p)->status, 400);
    assert_false(hd_http_parser_is_idle(p));
    hd_http_parser_close(&p);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    static const char bytes[] = NEW "1\r\nx\r\n0\r\na: b\r\n\r\n";
    int refused = 0;
    for (uint64_t n = 1;; n++) {
        hd_http_parser *p;
        size_t at = 0, used;
        hd_http_event event = HD_HTTP_MORE;
        hd_error err = {0};
        hd_alloc_fail_after(n);
        hd_status status = hd_http_parser_open(&p, NULL, &err);
        while (status == HD_OK && event != HD_HTTP_END && event != HD_HTTP_REFUSED) {
            event = hd_http_parser_feed(p, bytes + at, sizeof bytes - 1 - at, &used);
            at += used;
        }
        hd_alloc_fail_after(0);
        if (status != HD_OK) {
            assert_int_equal(status, HD_E_MEMORY);
            assert_null(p);
        } else if (event == HD_HTTP_REFUSED) {
            assert_int_equal(hd_http_parser_refusal(p)->status, 503);
            refused++;
        }
        if (status == HD_OK) hd_http_parser_close(&p);
        if (event == HD_HTTP_END) break;
    }
    assert_int_equal(refused, 4); /* head, table of headers and its growth, trailers */
}

/* What the parser takes does not grow with what comes: the body, and a connection that is idle, cost nothing. */
static void test_a_large_body_needs_no_memory(void **state)
{
    (void)state;
    static const char head[] = OLD "Content-Length: 33554432\r\n\r\n", block[1 << 16];
    size_t used, total = 0;
    hd_http_parser *p;
    assert_int_equal(hd_http_parser_open(&p, NULL, NULL), HD_OK);
    assert_int_equal(hd_http_parser_feed(p, head, sizeof head - 1, &used), HD_HTTP_HEAD);
    hd_alloc_fail_after(1);
    while (hd_http_parser_feed(p, block, sizeof block, &used) == HD_HTTP_PIECE)
        total += hd_http_parser_piece(p).len;
    hd_alloc_fail_after(0);
    assert_int_equal(total, HD_HTTP_MAX_BODY);
    hd_http_parser_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_requests),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_long_hosts),
        cmocka_unit_test(test_limits_that_make_no_sense),
        cmocka_unit_test(test_secrets_are_wiped),
        cmocka_unit_test(test_events_in_order),
        cmocka_unit_test(test_a_refusal_is_for_ever),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_a_large_body_needs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
