/* base/text.c: see text.h. */
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "base/base.h"

static bool is_control(utf8proc_int32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

size_t hd_text_character(const char *text, size_t len)
{
    utf8proc_int32_t c;
    if ((unsigned char)text[0] < 0x80) return 1;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &c);
    return n > 0 ? (size_t)n : 0;
}

bool hd_text_is_utf8(const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        size_t len = hd_text_character(text, left);
        if (len == 0) return false;
        text += len;
        left -= len;
    }
    return true;
}

bool hd_text_ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), n = strlen(end);
    return len >= n && strcmp(text + len - n, end) == 0;
}

bool hd_text_ends_like(const char *text, const char *suffix)
{
    size_t len = strlen(text), n = strlen(suffix);
    return len > n && strcasecmp(text + len - n, suffix) == 0;
}

void hd_text_clean(char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        utf8proc_int32_t c = -1;
        utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)left, &c);
        bool valid = len > 0;
        size_t step = valid ? (size_t)len : 1;
        if (!valid || is_control(c)) memset(text, '?', step);
        text += step;
        left -= step;
    }
}

const char *hd_size_text(char text[HD_SIZE_TEXT], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 999.95 && unit + 1 < HD_ARRAY_LEN(units); unit++)
        value /= 1000;
    snprintf(text, HD_SIZE_TEXT, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}
