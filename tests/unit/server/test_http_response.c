/* Heads of replies, chunks and server-sent events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "server/http_response.h"

#define STR(text)                                                                                                      \
    {                                                                                                                  \
        text, sizeof(text) - 1                                                                                         \
    }

static void expect_head(const hd_http_response *r, const char *wanted)
{
    hd_buf out;
    hd_buf_init(&out, 1000);
    assert_int_equal(hd_http_write_head(&out, r, NULL), HD_OK);
    assert_string_equal(out.data, wanted);
    hd_buf_free(&out);
}

static void test_heads(void **state)
{
    (void)state;
    const hd_http_header headers[] = {{STR("Content-Type"), STR("text/html")}, {STR("x"), STR("")}};
    expect_head(&(hd_http_response){.status = 200,
                                    .framing = HD_HTTP_LENGTH,
                                    .content_length = UINT64_MAX,
                                    .keep_alive = true,
                                    .headers = headers,
                                    .header_count = 2},
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nx: \r\ncontent-length: 18446744073709551615\r\n"
                "connection: keep-alive\r\n\r\n");
    expect_head(&(hd_http_response){.status = 429, .framing = HD_HTTP_LENGTH},
                "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    expect_head(&(hd_http_response){.status = 200, .framing = HD_HTTP_CHUNKED, .keep_alive = true},
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n");
    expect_head(&(hd_http_response){.status = 599, .framing = HD_HTTP_UNTIL_CLOSE},
                "HTTP/1.1 599 Unknown\r\nconnection: close\r\n\r\n");
    expect_head(&(hd_http_response){.status = 200, .framing = HD_HTTP_LENGTH, .date = 784111777},
                "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n"
                "connection: close\r\n\r\n");
    expect_head(&(hd_http_response){.status = 100}, "HTTP/1.1 100 Continue\r\n\r\n");
    expect_head(&(hd_http_response){.status = 204, .keep_alive = true},
                "HTTP/1.1 204 No Content\r\nconnection: keep-alive\r\n\r\n");
}

static void refuse_head(const hd_http_response *r)
{
    hd_buf out;
    hd_error err = {0};
    hd_buf_init(&out, 1000);
    assert_int_equal(hd_buf_puts(&out, "kept"), HD_OK);
    assert_int_equal(hd_http_write_head(&out, r, &err), HD_E_ARGUMENT);
    assert_true(err.text[0] != '\0');
    assert_string_equal(out.data, "kept");
    hd_buf_free(&out);
}

static void test_bad_headers_are_refused(void **state)
{
    (void)state;
    const hd_http_header bad[] = {
        {STR("x"), STR("y\r\nSet-Cookie: z")},
        {STR("x"), STR("y\n")},
        {STR("x"), STR("\r")},
        {STR("x"), STR("\0")},
        {STR("x"), STR("\x7f")},
        {STR("x\r\ny"), STR("z")},
        {STR("x y"), STR("z")},
        {STR("x:"), STR("z")},
        {STR(""), STR("z")},
        {STR("Content-Length"), STR("5")},
        {STR("connection"), STR("close")},
        {STR("TRANSFER-ENCODING"), STR("chunked")},
        {STR("Date"), STR("Sun, 06 Nov 1994 08:49:37 GMT")},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        const hd_http_header headers[] = {{STR("a"), STR("b")}, bad[i]};
        refuse_head(
            &(hd_http_response){.status = 200, .framing = HD_HTTP_LENGTH, .headers = headers, .header_count = 2});
    }
}

static void test_framing_must_fit(void **state)
{
    (void)state;
    refuse_head(&(hd_http_response){.status = 99});
    refuse_head(&(hd_http_response){.status = 600, .framing = HD_HTTP_LENGTH});
    refuse_head(&(hd_http_response){.status = 204, .framing = HD_HTTP_LENGTH});
    refuse_head(&(hd_http_response){.status = 304, .framing = HD_HTTP_CHUNKED});
    refuse_head(&(hd_http_response){.status = 200, .framing = HD_HTTP_NO_BODY});
    refuse_head(&(hd_http_response){.status = 200, .framing = HD_HTTP_UNTIL_CLOSE, .keep_alive = true});
}

static void test_chunks(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 100);
    assert_int_equal(hd_http_write_chunk(&out, "0123456789abcdef\n", 17), HD_OK);
    assert_int_equal(hd_http_write_chunk(&out, "", 0), HD_OK);
    assert_int_equal(hd_http_write_last_chunk(&out), HD_OK);
    assert_string_equal(out.data, "11\r\n0123456789abcdef\n\r\n0\r\n\r\n");
    hd_buf_free(&out);
}

/* All or nothing, at every cap; a buffer that failed before stays as it is. */
static void test_a_full_buffer_stays_as_it_was(void **state)
{
    (void)state;
    const hd_http_response r = {.status = 200, .framing = HD_HTTP_LENGTH};
    static const char chunk[] = "3\r\nabc\r\n", event[] = "event: e\ndata: abc\n\n", last[] = "0\r\n\r\n";
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const size_t sizes[] = {sizeof chunk - 1, sizeof event - 1, sizeof last - 1, sizeof head - 1};
    for (int kind = 0; kind < 4; kind++)
        for (size_t room = 0; room <= sizes[kind]; room++) {
            hd_buf out;
            hd_buf_init(&out, 1 + room);
            assert_int_equal(hd_buf_putc(&out, 'x'), HD_OK);
            hd_status status = kind == 0   ? hd_http_write_chunk(&out, "abc", 3)
                               : kind == 1 ? hd_http_write_event(&out, "e", (hd_str){"abc", 3}, NULL)
                               : kind == 2 ? hd_http_write_last_chunk(&out)
                                           : hd_http_write_head(&out, &r, NULL);
            assert_int_equal(status, room == sizes[kind] ? HD_OK : HD_E_LIMIT);
            assert_int_equal(out.len, 1 + (status == HD_OK ? room : 0));
            assert_int_equal(out.status, HD_OK);
            assert_int_equal(hd_buf_append(&out, head, sizeof head), HD_E_LIMIT);
            assert_int_equal(hd_http_write_head(&out, &r, NULL), HD_E_LIMIT);
            assert_int_equal(hd_http_write_chunk(&out, "", 0), HD_E_LIMIT);
            assert_int_equal(hd_http_write_last_chunk(&out), HD_E_LIMIT);
            assert_int_equal(hd_http_write_event(&out, NULL, (hd_str){0}, NULL), HD_E_LIMIT);
            hd_buf_free(&out);
        }
}

static void test_events(void **state)
{
    (void)state;
    static const struct {
        const char *event, *data, *wanted;
    } cases[] = {
        {NULL, "{\"a\":1}", "data: {\"a\":1}\n\n"},
        {"message_stop", "x", "event: message_stop\ndata: x\n\n"},
        {NULL, "", "data: \n\n"},
        {NULL, "a\nb", "data: a\ndata: b\n\n"},
        {NULL, "a\r\nb\rc", "data: a\ndata: b\ndata: c\n\n"},
        {NULL, "a\n\nevent: b\n", "data: a\ndata: \ndata: event: b\ndata: \n\n"},
        {NULL, "\n", "data: \ndata: \n\n"},
        {NULL, "\r\n", "data: \ndata: \n\n"},
        {NULL, "\n\r", "data: \ndata: \ndata: \n\n"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_buf out;
        hd_buf_init(&out, 1000);
        const hd_str data = {cases[i].data, strlen(cases[i].data)};
        assert_int_equal(hd_http_write_event(&out, cases[i].event, data, NULL), HD_OK);
        assert_string_equal(out.data, cases[i].wanted);
        hd_buf_free(&out);
    }
    hd_buf out;
    hd_buf_init(&out, 1000);
    assert_int_equal(hd_http_write_event(&out, "a\ndata: b", (hd_str){0}, NULL), HD_E_ARGUMENT);
    assert_int_equal(out.len, 0);
    hd_buf_free(&out);
}

static void test_dates(void **state)
{
    (void)state;
    static const struct {
        time_t seconds;
        const char *wanted;
    } cases[] = {{784111777, "Sun, 06 Nov 1994 08:49:37 GMT"}, /* the example of RFC 9110 section 5.6.7 */
                 {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
                 {1709164800, "Thu, 29 Feb 2024 00:00:00 GMT"},
                 {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
                 {253402300800, "Thu, 01 Jan 1970 00:00:00 GMT"},
                 {INT64_MAX, "Thu, 01 Jan 1970 00:00:00 GMT"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char date[HD_HTTP_DATE];
        hd_http_date(cases[i].seconds, date);
        assert_string_equal(date, cases[i].wanted);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_bad_headers_are_refused),
        cmocka_unit_test(test_framing_must_fit),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_a_full_buffer_stays_as_it_was),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
