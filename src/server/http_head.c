/* server/http_head.c: the grammar of a request's head and the decisions it leads to; see http_internal.h.
 *
 * Owns no memory.  Sections named without a number are of RFC 9112.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "server/http_internal.h"

bool hd_http_refuse(hd_http_refusal *why, int status, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    why->status = status;
    vsnprintf(why->text, sizeof why->text, fmt, args);
    va_end(args);
    return false;
}

/* ---- characters ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

int hd_http_hex(char c)
{
    if (is_digit(c)) return c - '0';
    c = to_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hd_http_is_token(hd_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_alnum(text.data[i]) && !is_one_of(text.data[i], "!#$%&'*+-.^_`|~")) return false;
    return text.len > 0;
}

bool hd_http_is_value(hd_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

/* ---- pieces of text ---- */

static hd_str str(const char *text)
{
    return (hd_str){text, strlen(text)};
}

/* text[from, to) */
static hd_str cut(hd_str text, size_t from, size_t to)
{
    return (hd_str){text.data + from, to - from};
}

/* Position of the first `c`, or the length. */
static size_t find(hd_str text, char c)
{
    const char *at = text.len ? memchr(text.data, c, text.len) : NULL;
    return at ? (size_t)(at - text.data) : text.len;
}

static hd_str trim(hd_str text)
{
    while (text.len && is_one_of(text.data[0], " \t"))
        text = cut(text, 1, text.len);
    while (text.len && is_one_of(text.data[text.len - 1], " \t"))
        text.len--;
    return text;
}

static bool same(hd_str text, const char *other)
{
    return text.len == strlen(other) && memcmp(text.data, other, text.len) == 0;
}

bool hd_http_equals(hd_str a, hd_str b)
{
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++)
        if (to_lower(a.data[i]) != to_lower(b.data[i])) return false;
    return true;
}

/* Takes the next element off a comma-separated list (RFC 9110 section 5.6.1); false at its end. */
static bool next_element(hd_str *list, hd_str *element)
{
    if (!list->data) return false;
    size_t comma = find(*list, ',');
    *element = trim(cut(*list, 0, comma));
    *list = comma < list->len ? cut(*list, comma + 1, list->len) : (hd_str){0};
    return true;
}

/* ---- host ---- */

static bool is_port(hd_str port)
{
    unsigned value = 0;
    if (port.len == 0 || port.len > 5) return false;
    for (size_t i = 0; i < port.len; i++) {
        if (!is_digit(port.data[i])) return false;
        value = value * 10 + (unsigned)(port.data[i] - '0');
    }
    return value <= UINT16_MAX;
}

static bool is_ipv6(hd_str address)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr parsed;
    if (address.len >= sizeof text) return false;
    memcpy(text, address.data, address.len);
    text[address.len] = '\0';
    return inet_pton(AF_INET6, text, &parsed) == 1;
}

/* Name or address, with or without a port.  Of what RFC 3986 allows in names, percent signs and !$&'()*+,;= are left
 * out: no host has them, and they are read in many ways. */
static bool is_host(hd_str host)
{
    size_t end;
    if (host.len == 0 || host.len > HD_HTTP_MAX_HOST) return false;
    if (host.data[0] == '[') {
        end = find(host, ']');
        if (end == host.len || !is_ipv6(cut(host, 1, end))) return false;
        end++;
    } else {
        end = find(host, ':');
        for (size_t i = 0; i < end; i++)
            if (!is_alnum(host.data[i]) && !is_one_of(host.data[i], "-._~")) return false;
        if (end == 0) return false;
    }
    return end == host.len || (host.data[end] == ':' && is_port(cut(host, end + 1, host.len)));
}

/* ---- request line (section 3) ---- */

/* Path and query of RFC 3986: unreserved, sub-delims, ':', '@', '/', '?' and whole escapes. */
static bool check_target(hd_str text, hd_http_refusal *why)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '#') return hd_http_refuse(why, 400, "the target has a fragment (#); it belongs to the client alone");
        if (c == '%') {
            if (text.len - i < 3 || hd_http_hex(text.data[i + 1]) < 0 || hd_http_hex(text.data[i + 2]) < 0)
                return hd_http_refuse(why, 400, "a percent sign in the target without two hexadecimal digits");
            i += 2;
        } else if (!is_alnum(c) && !is_one_of(c, "-._~!$&'()*+,;=:@/?")) {
            return hd_http_refuse(why, 400, "a character in the target that must be percent-encoded");
        }
    }
    return true;
}

static void split_query(hd_http_request *request, hd_str text)
{
    size_t mark = find(text, '?');
    request->path = mark ? cut(text, 0, mark) : str("/");
    if (mark < text.len) request->query = cut(text, mark + 1, text.len);
}

/* "http://host/path?query", as proxies get it (section 3.2.2). */
static bool read_absolute(hd_http_request *request, size_t scheme, hd_http_refusal *why)
{
    hd_str rest = cut(request->target, scheme, request->target.len);
    size_t end = 0;
    while (end < rest.len && !is_one_of(rest.data[end], "/?#"))
        end++;
    request->host = cut(rest, 0, end);
    if (!is_host(request->host)) return hd_http_refuse(why, 400, "the target's host is malformed");
    rest = cut(rest, end, rest.len);
    if (!check_target(rest, why)) return false;
    split_query(request, rest);
    return true;
}

static bool read_target(hd_http_request *request, hd_http_refusal *why)
{
    static const char *const schemes[] = {"http://", "https://"};
    hd_str target = request->target;
    if (target.len && target.data[0] == '/') {
        if (!check_target(target, why)) return false;
        split_query(request, target);
        return true;
    }
    if (same(target, "*") && same(request->method, "OPTIONS")) {
        request->path = target;
        return true;
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(schemes); i++) {
        hd_str scheme = str(schemes[i]);
        if (target.len > scheme.len && hd_http_equals(cut(target, 0, scheme.len), scheme))
            return read_absolute(request, scheme.len, why);
    }
    return hd_http_refuse(why, 400, "the target is neither a path that begins with / nor an http address");
}

static bool read_method(hd_http_request *request, hd_str method, hd_http_refusal *why)
{
    if (method.len > HD_HTTP_MAX_METHOD)
        return hd_http_refuse(why, 501, "the method is longer than %d bytes", HD_HTTP_MAX_METHOD);
    if (!hd_http_is_token(method)) return hd_http_refuse(why, 400, "the request does not begin with a method");
    if (same(method, "CONNECT")) return hd_http_refuse(why, 501, "CONNECT is for proxies; this is none");
    request->method = method;
    return true;
}

static bool read_version(hd_http_request *request, hd_str version, hd_http_refusal *why)
{
    if (version.len != 8 || memcmp(version.data, "HTTP/", 5) != 0 || !is_digit(version.data[5]) ||
        version.data[6] != '.' || !is_digit(version.data[7]))
        return hd_http_refuse(why, 400, "the request line must end in HTTP/1.1");
    if (version.data[5] != '1' || version.data[7] > '1')
        return hd_http_refuse(why, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    request->minor = version.data[7] - '0';
    return true;
}

bool hd_http_read_request_line(hd_http_request *request, hd_str line, hd_http_refusal *why)
{
    size_t first = find(line, ' ');
    if (!read_method(request, cut(line, 0, first), why)) return false;
    hd_str rest = cut(line, HD_MIN(first + 1, line.len), line.len);
    size_t second = find(rest, ' ');
    if (second == rest.len)
        return hd_http_refuse(why, 400, "the request line is not: method, space, target, space, HTTP/1.1");
    request->target = cut(rest, 0, second);
    /* The version first: the preface of HTTP/2 (RFC 9113 section 3.4) has a target that HTTP/1.1 has not. */
    return read_version(request, cut(rest, second + 1, rest.len), why) && read_target(request, why);
}

/* ---- headers (section 5) ---- */

bool hd_http_read_field(hd_http_header *field, char *line, size_t len, hd_http_refusal *why)
{
    hd_str text = {line, len};
    if (len && is_one_of(line[0], " \t"))
        return hd_http_refuse(why, 400, "a header line begins with a blank: folded lines are not accepted");
    size_t colon = find(text, ':');
    if (colon == len) return hd_http_refuse(why, 400, "a header line has no colon");
    if (colon && is_one_of(line[colon - 1], " \t")) return hd_http_refuse(why, 400, "a blank before a header's colon");
    field->name = cut(text, 0, colon);
    if (!hd_http_is_token(field->name)) return hd_http_refuse(why, 400, "a header's name is empty or malformed");
    field->value = trim(cut(text, colon + 1, len));
    if (!hd_http_is_value(field->value)) return hd_http_refuse(why, 400, "a control character in a header");
    for (size_t i = 0; i < colon; i++)
        line[i] = to_lower(line[i]);
    return true;
}

bool hd_http_is_single(hd_str name)
{
    static const char *const names[] = {"authorization", "content-length", "content-type",     "expect",
                                        "host",          "x-api-key",      "transfer-encoding"};
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (same(name, names[i])) return true;
    return false;
}

bool hd_http_find(const hd_http_request *request, const char *name, hd_str *value)
{
    *value = (hd_str){0};
    for (size_t i = 0; i < request->header_count; i++) {
        if (!same(request->headers[i].name, name)) continue;
        *value = request->headers[i].value;
        return true;
    }
    return false;
}

/* ---- what the headers say together ---- */

static bool settle_host(hd_http_request *request, hd_http_refusal *why)
{
    hd_str host;
    if (!hd_http_find(request, "host", &host)) {
        if (request->minor == 0) return true;
        return hd_http_refuse(why, 400, "HTTP/1.1 requires a Host header");
    }
    if (!is_host(host)) return hd_http_refuse(why, 400, "the Host header is malformed");
    if (request->host.len && !hd_http_equals(request->host, host))
        return hd_http_refuse(why, 400, "the target's host is not that of the Host header");
    request->host = host;
    return true;
}

/* Section 6.2; RFC 9110 section 8.6.  A list of equal lengths may be accepted, says the RFC; here it is not. */
static bool read_length(hd_http_request *request, hd_str value, size_t max, hd_http_refusal *why)
{
    uint64_t length = 0;
    if (value.len == 0 || (value.len > 1 && value.data[0] == '0'))
        return hd_http_refuse(why, 400, "Content-Length must be a decimal number without leading zeros");
    for (size_t i = 0; i < value.len; i++) {
        if (!is_digit(value.data[i]))
            return hd_http_refuse(why, 400, "Content-Length must consist of decimal digits alone");
        if (__builtin_mul_overflow(length, (uint64_t)10, &length) ||
            __builtin_add_overflow(length, (uint64_t)(value.data[i] - '0'), &length))
            return hd_http_refuse(why, 400, "Content-Length is no number of 64 bits");
    }
    if (length > max) return hd_http_refuse(why, 413, "the body has more than %zu bytes", max);
    request->content_length = length;
    return true;
}

/* Section 6.1: exactly `chunked`.  A known end behind an unknown coding is 501, an unknown end 400 (section 6.3). */
static bool read_coding(hd_http_request *request, hd_str value, hd_http_refusal *why)
{
    hd_str element, last = {0};
    int chunked = 0, others = 0;
    if (request->minor == 0) return hd_http_refuse(why, 400, "Transfer-Encoding does not exist in HTTP/1.0");
    request->chunked = same(value, "chunked");
    if (request->chunked) return true;
    while (next_element(&value, &element)) {
        last = element;
        bool is_chunked = hd_http_equals(element, str("chunked"));
        chunked += is_chunked;
        others += !is_chunked && element.len;
    }
    bool unknown_within = chunked == 1 && others && hd_http_equals(last, str("chunked"));
    return hd_http_refuse(why, unknown_within ? 501 : 400, "the only Transfer-Encoding accepted is: chunked");
}

static bool settle_body(hd_http_request *request, size_t max, hd_http_refusal *why)
{
    hd_str length, coding;
    bool has_length = hd_http_find(request, "content-length", &length);
    bool has_coding = hd_http_find(request, "transfer-encoding", &coding);
    if (has_length && has_coding)
        return hd_http_refuse(why, 400, "Content-Length and Transfer-Encoding exclude each other");
    if (has_coding) return read_coding(request, coding, why);
    return !has_length || read_length(request, length, max, why);
}

/* Section 9.3: close wins; HTTP/1.0 has to ask for more. */
static void settle_connection(hd_http_request *request)
{
    bool close = false, keep = false;
    for (size_t i = 0; i < request->header_count; i++) {
        hd_str list = request->headers[i].value, element;
        if (!same(request->headers[i].name, "connection")) continue;
        while (next_element(&list, &element)) {
            close |= hd_http_equals(element, str("close"));
            keep |= hd_http_equals(element, str("keep-alive"));
        }
    }
    request->keep_alive = !close && (request->minor == 1 || keep);
}

/* RFC 9110 section 10.1.1 */
static bool settle_expect(hd_http_request *request, hd_http_refusal *why)
{
    hd_str value;
    if (!hd_http_find(request, "expect", &value)) return true;
    if (!hd_http_equals(value, str("100-continue")))
        return hd_http_refuse(why, 417, "the only expectation that can be met is 100-continue");
    request->expect_continue = request->minor == 1 && (request->chunked || request->content_length);
    return true;
}

bool hd_http_settle(hd_http_request *request, size_t body_max, hd_http_refusal *why)
{
    settle_connection(request);
    return settle_host(request, why) && settle_body(request, body_max, why) && settle_expect(request, why);
}
