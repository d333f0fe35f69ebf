/* server/http_response.c: see http_response.h. */
#include "server/http_response.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "server/http_internal.h"

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *hd_http_phrase(int status)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(phrases); i++)
        if (phrases[i].status == status) return phrases[i].phrase;
    return "Unknown";
}

/* ---- head ---- */

static bool has_no_body(int status)
{
    return status < 200 || status == 204 || status == 304;
}

static hd_status check(const hd_http_response *r, hd_error *err)
{
    static const char *const owned[] = {"content-length", "transfer-encoding", "connection", "date"};
    if (r->status < 100 || r->status > 599) return hd_fail(err, HD_E_ARGUMENT, "%d is no HTTP status", r->status);
    if (has_no_body(r->status) != (r->framing == HD_HTTP_NO_BODY))
        return hd_fail(err, HD_E_ARGUMENT, "a reply of status %d and its framing contradict each other", r->status);
    if (r->framing == HD_HTTP_UNTIL_CLOSE && r->keep_alive)
        return hd_fail(err, HD_E_ARGUMENT, "a body that ends with the connection can't keep it");
    for (size_t i = 0; i < r->header_count; i++) {
        const hd_http_header *h = &r->headers[i];
        if (!hd_http_is_token(h->name) || !hd_http_is_value(h->value))
            return hd_fail(err, HD_E_ARGUMENT, "header %zu of a reply has a malformed name or a control character", i);
        for (size_t k = 0; k < HD_ARRAY_LEN(owned); k++)
            if (hd_http_equals(h->name, (hd_str){owned[k], strlen(owned[k])}))
                return hd_fail(err, HD_E_ARGUMENT, "%s of a reply is written by the server itself", owned[k]);
    }
    return HD_OK;
}

/* Ends a writer: all or nothing stays in `out`, which held `before` bytes and was fine. */
static hd_status finish(hd_buf *out, size_t before, hd_error *err)
{
    hd_status status = out->status;
    if (status == HD_OK) return HD_OK;
    hd_buf_truncate(out, before);
    return hd_fail(err, status, "no room for a reply of HTTP");
}

/* The buffer's errors are sticky: the single steps need no check. */
static void put_date(hd_buf *out, time_t seconds)
{
    char text[HD_HTTP_DATE];
    hd_http_date(seconds, text);
    (void)hd_buf_printf(out, "date: %s\r\n", text);
}

static void put(hd_buf *out, hd_str text)
{
    (void)hd_buf_append(out, text.data, text.len);
}

hd_status hd_http_write_head(hd_buf *out, const hd_http_response *r, hd_error *err)
{
    size_t before = out->len;
    HD_TRY(check(r, err));
    HD_TRY(hd_buf_reserve(out, 0)); /* a buffer that already failed stays so */
    (void)hd_buf_printf(out, "HTTP/1.1 %d %s\r\n", r->status, hd_http_phrase(r->status));
    if (r->date) put_date(out, r->date);
    for (size_t i = 0; i < r->header_count; i++) {
        put(out, r->headers[i].name);
        (void)hd_buf_puts(out, ": ");
        put(out, r->headers[i].value);
        (void)hd_buf_puts(out, "\r\n");
    }
    if (r->framing == HD_HTTP_LENGTH) (void)hd_buf_printf(out, "content-length: %" PRIu64 "\r\n", r->content_length);
    if (r->framing == HD_HTTP_CHUNKED) (void)hd_buf_puts(out, "transfer-encoding: chunked\r\n");
    if (r->status >= 200)
        (void)hd_buf_puts(out, r->keep_alive ? "connection: keep-alive\r\n" : "connection: close\r\n");
    (void)hd_buf_puts(out, "\r\n");
    return finish(out, before, err);
}

/* ---- body ---- */

hd_status hd_http_write_chunk(hd_buf *out, const void *data, size_t len)
{
    size_t before = out->len;
    HD_TRY(hd_buf_reserve(out, 0));
    if (len == 0) return HD_OK;
    (void)hd_buf_printf(out, "%zx\r\n", len);
    (void)hd_buf_append(out, data, len);
    (void)hd_buf_puts(out, "\r\n");
    return finish(out, before, NULL);
}

hd_status hd_http_write_last_chunk(hd_buf *out)
{
    size_t before = out->len;
    HD_TRY(hd_buf_reserve(out, 0));
    (void)hd_buf_puts(out, "0\r\n\r\n");
    return finish(out, before, NULL);
}

/* Takes the next line off `text`, whatever ends it. */
static hd_str next_line(hd_str *text)
{
    size_t len = 0;
    while (len < text->len && text->data[len] != '\r' && text->data[len] != '\n')
        len++;
    hd_str line = {text->data, len};
    size_t end = len < text->len ? len + 1 : len;
    if (end < text->len && text->data[len] == '\r' && text->data[end] == '\n') end++;
    *text = (hd_str){text->len > end ? text->data + end : NULL, text->len - end};
    return line;
}

static bool ends_in_line_end(hd_str text)
{
    return text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r');
}

hd_status hd_http_write_event(hd_buf *out, const char *event, hd_str data, hd_error *err)
{
    size_t before = out->len;
    HD_TRY(hd_buf_reserve(out, 0));
    if (event && !hd_http_is_value((hd_str){event, strlen(event)}))
        return hd_fail(err, HD_E_ARGUMENT, "an event's name has a control character");
    if (event) (void)hd_buf_printf(out, "event: %s\n", event);
    bool one_more = ends_in_line_end(data) || data.len == 0; /* an empty last line is a line, too */
    while (data.len) {
        (void)hd_buf_puts(out, "data: ");
        put(out, next_line(&data));
        (void)hd_buf_putc(out, '\n');
    }
    if (one_more) (void)hd_buf_puts(out, "data: \n");
    (void)hd_buf_putc(out, '\n');
    return finish(out, before, err);
}

/* ---- date ---- */

void hd_http_date(time_t seconds, char out[HD_HTTP_DATE])
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm t;
    if (!gmtime_r(&seconds, &t) || t.tm_year < -1900 || t.tm_year > 9999 - 1900) {
        seconds = 0;
        gmtime_r(&seconds, &t);
    }
    /* The masks change nothing; they tell the compiler how long the numbers can get. */
    snprintf(out, HD_HTTP_DATE, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[t.tm_wday], (unsigned)t.tm_mday % 100,
             months[t.tm_mon], (unsigned)(t.tm_year + 1900) % 10000, (unsigned)t.tm_hour % 100,
             (unsigned)t.tm_min % 100, (unsigned)t.tm_sec % 100);
}
