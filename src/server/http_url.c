/* server/http_url.c: see http_url.h. */
#include "server/http_url.h"

#include <string.h>

#include "base/base.h"
#include "server/http_internal.h"

static hd_status take_back(hd_buf *out, size_t len, hd_status status)
{
    hd_buf_truncate(out, len);
    return status;
}

static hd_status decode(hd_buf *out, hd_str text, bool plus_is_blank, hd_error *err)
{
    size_t before = out->len;
    HD_TRY(hd_buf_reserve(out, 0)); /* a buffer that already failed stays so */
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = text.len - i > 1 ? hd_http_hex(text.data[i + 1]) : -1;
            int low = text.len - i > 2 ? hd_http_hex(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return take_back(out, before,
                                 hd_fail(err, HD_E_ARGUMENT, "%% without two hexadecimal digits in the URL"));
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        if (c == '\0') return take_back(out, before, hd_fail(err, HD_E_ARGUMENT, "a NUL in the URL"));
        hd_status status = hd_buf_putc(out, c);
        if (status != HD_OK) return take_back(out, before, hd_fail(err, status, "a part of the URL is too long"));
    }
    if (out->len > before && !hd_text_is_utf8(out->data + before))
        return take_back(out, before, hd_fail(err, HD_E_ARGUMENT, "the URL does not decode to UTF-8"));
    return HD_OK;
}

hd_status hd_http_decode_segment(hd_buf *out, hd_str segment, hd_error *err)
{
    return decode(out, segment, false, err);
}

hd_status hd_http_decode_query(hd_buf *out, hd_str text, hd_error *err)
{
    return decode(out, text, true, err);
}

/* Splits off what stands before the first `c`, or all. */
static hd_str split_at(hd_str *text, char c)
{
    const char *at = text->len ? memchr(text->data, c, text->len) : NULL;
    hd_str first = {text->data, at ? (size_t)(at - text->data) : text->len};
    *text = at ? (hd_str){at + 1, text->len - first.len - 1} : (hd_str){0};
    return first;
}

bool hd_http_next_segment(hd_str *path, hd_str *segment)
{
    if (path->len == 0 || path->data[0] != '/') return false;
    hd_str rest = {path->data + 1, path->len - 1};
    *segment = split_at(&rest, '/');
    size_t taken = 1 + segment->len;
    *path = (hd_str){path->data + taken, path->len - taken};
    return true;
}

/* Whether the encoded `text` means `name`. */
static hd_status means(hd_str text, const char *name, bool *equal, hd_error *err)
{
    hd_buf decoded;
    hd_buf_init(&decoded, text.len); /* decoding never lengthens */
    hd_status status = decode(&decoded, text, true, err);
    size_t len = strlen(name);
    *equal = status == HD_OK && decoded.len == len && (len == 0 || memcmp(decoded.data, name, len) == 0);
    hd_buf_free(&decoded);
    return status;
}

hd_status hd_http_query_get(hd_buf *out, hd_str query, const char *name, bool *found, hd_error *err)
{
    size_t before = out->len;
    *found = false;
    HD_TRY(hd_buf_reserve(out, 0)); /* as in decode() */
    while (query.len) {
        hd_str value = split_at(&query, '&');
        hd_str key = split_at(&value, '=');
        bool equal;
        hd_status status = means(key, name, &equal, err);
        if (status == HD_OK && equal && *found)
            status = hd_fail(err, HD_E_ARGUMENT, "the parameter '%s' comes twice in the URL", name);
        else if (status == HD_OK && equal)
            status = decode(out, value, true, err);
        if (status != HD_OK) return take_back(out, before, status);
        *found |= equal;
    }
    return HD_OK;
}
