/* gateway/json_out.c: JSON text written straight into a buffer. */
#include "gateway/json_out.h"

#include <math.h>
#include <string.h>

#include "base/base.h"

/* Whether what stands last is the beginning of an object or list, or a key: then no comma is due. */
static bool is_first(const hd_buf *out)
{
    return out->len == 0 || strchr("{[: \n", out->data[out->len - 1]);
}

static void comma(hd_buf *out)
{
    if (!is_first(out)) (void)hd_buf_putc(out, ',');
}

static void raw(hd_buf *out, const char *text)
{
    comma(out);
    (void)hd_buf_puts(out, text);
}

void hd_out_begin(hd_buf *out, char bracket)
{
    comma(out);
    (void)hd_buf_putc(out, bracket);
}

void hd_out_end(hd_buf *out, char bracket)
{
    (void)hd_buf_putc(out, bracket);
}

void hd_out_key(hd_buf *out, const char *key)
{
    hd_out_text(out, key, strlen(key));
    (void)hd_buf_putc(out, ':');
}

static void escape(hd_buf *out, unsigned char c)
{
    switch (c) {
    case '"': (void)hd_buf_puts(out, "\\\""); break;
    case '\\': (void)hd_buf_puts(out, "\\\\"); break;
    case '\n': (void)hd_buf_puts(out, "\\n"); break;
    case '\r': (void)hd_buf_puts(out, "\\r"); break;
    case '\t': (void)hd_buf_puts(out, "\\t"); break;
    default: (void)hd_buf_printf(out, "\\u%04x", c);
    }
}

void hd_out_text(hd_buf *out, const char *data, size_t len)
{
    comma(out);
    (void)hd_buf_putc(out, '"');
    size_t plain = 0; /* begin of the run that is copied as it is */
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)data[i];
        size_t n = hd_text_character(data + i, len - i);
        bool as_is = n > 1 || (n == 1 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f);
        if (!as_is) {
            (void)hd_buf_append(out, data + plain, i - plain);
            if (n == 0)
                (void)hd_buf_puts(out, "\xef\xbf\xbd");
            else
                escape(out, c);
            plain = i + 1;
        }
        i += n ? n : 1;
    }
    if (len > plain) (void)hd_buf_append(out, data + plain, len - plain);
    (void)hd_buf_putc(out, '"');
}

void hd_out_string(hd_buf *out, const char *text)
{
    if (text)
        hd_out_text(out, text, strlen(text));
    else
        hd_out_null(out);
}

void hd_out_int(hd_buf *out, int64_t value)
{
    comma(out);
    (void)hd_buf_printf(out, "%lld", (long long)value);
}

void hd_out_real(hd_buf *out, double value)
{
    if (!isfinite(value)) {
        hd_out_null(out);
        return;
    }
    comma(out);
    (void)hd_buf_printf(out, "%.9g", value); /* gives every float32 back */
}

void hd_out_bool(hd_buf *out, bool value)
{
    raw(out, value ? "true" : "false");
}

void hd_out_null(hd_buf *out)
{
    raw(out, "null");
}

static int append(const char *data, size_t len, void *out)
{
    return hd_buf_append(out, data, len) == HD_OK ? 0 : -1;
}

void hd_out_json(hd_buf *out, const json_t *value)
{
    comma(out);
    if (json_dump_callback(value, append, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0 && out->status == HD_OK)
        out->status = HD_E_MEMORY; /* jansson's own */
}

void hd_out_ids(hd_buf *out, const int32_t *ids, size_t count)
{
    hd_out_begin(out, '[');
    for (size_t i = 0; i < count; i++)
        hd_out_int(out, ids[i]);
    hd_out_end(out, ']');
}

void hd_out_member_text(hd_buf *out, const char *key, const char *data, size_t len)
{
    hd_out_key(out, key);
    hd_out_text(out, data, len);
}

void hd_out_member_string(hd_buf *out, const char *key, const char *text)
{
    hd_out_key(out, key);
    hd_out_string(out, text);
}

void hd_out_member_int(hd_buf *out, const char *key, int64_t value)
{
    hd_out_key(out, key);
    hd_out_int(out, value);
}

void hd_out_member_bool(hd_buf *out, const char *key, bool value)
{
    hd_out_key(out, key);
    hd_out_bool(out, value);
}

void hd_out_member_null(hd_buf *out, const char *key)
{
    hd_out_key(out, key);
    hd_out_null(out);
}

void hd_out_member_begin(hd_buf *out, const char *key, char bracket)
{
    hd_out_key(out, key);
    hd_out_begin(out, bracket);
}
