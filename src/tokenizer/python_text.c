/* tokenizer/python_text.c: how Python writes and reads numbers and characters.
 *
 * Chat templates were written for jinja2 and json.dumps, so prompts must show values exactly as Python does.
 * Pure functions; thread-safe.
 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer/template_internal.h"

/* Decimal digits and exponent of |value| (finite, not 0), the shortest that read back.  Fifteen digits are always exact
 * for normal numbers; subnormal ones have fewer.  Only digits are taken from snprintf's text, because the decimal point
 * depends on the locale. */
static int shortest_digits(double value, char digits[24], int *exponent)
{
    char text[64];
    int precision = fabs(value) < 2.3e-308 ? 1 : 15;
    for (; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, fabs(value));
        if (strtod(text, NULL) == fabs(value)) break;
    }
    int n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9' && n < 20) digits[n++] = *p;
    *exponent = *p == 'e' ? (int)strtol(p + 1, NULL, 10) : 0;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return n;
}

size_t hd_python_float(double value, char out[HD_PYTHON_FLOAT])
{
    if (isnan(value)) return (size_t)snprintf(out, HD_PYTHON_FLOAT, "nan");
    if (isinf(value)) return (size_t)snprintf(out, HD_PYTHON_FLOAT, value < 0 ? "-inf" : "inf");
    const char *sign = signbit(value) ? "-" : "";
    if (value == 0) return (size_t)snprintf(out, HD_PYTHON_FLOAT, "%s0.0", sign);
    char digits[24];
    int exponent;
    int n = shortest_digits(value, digits, &exponent);
    if (exponent < -4 || exponent >= 16)
        return (size_t)snprintf(out, HD_PYTHON_FLOAT, "%s%c%s%.*se%+03d", sign, digits[0], n > 1 ? "." : "", n - 1,
                                digits + 1, exponent);
    if (exponent < 0)
        return (size_t)snprintf(out, HD_PYTHON_FLOAT, "%s0.%.*s%.*s", sign, -exponent - 1, "0000", n, digits);
    int whole = exponent + 1 < n ? exponent + 1 : n;
    return (size_t)snprintf(out, HD_PYTHON_FLOAT, "%s%.*s%.*s.%.*s", sign, whole, digits, exponent + 1 - whole,
                            "0000000000000000", n > whole ? n - whole : 1, n > whole ? digits + whole : "0");
}

bool hd_python_parse_float(const char *data, size_t len, double *out)
{
    char text[400];
    if (len == 0 || len >= sizeof text) return false;
    for (size_t i = 0; i < len; i++)
        if (!strchr("0123456789+-.eE", data[i]) || data[i] == '\0') return false;
    memcpy(text, data, len);
    text[len] = '\0';
    /* glibc gives its built-in "C" locale here, without allocating. */
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return false;
    char *end;
    *out = strtod_l(text, &end, c);
    freelocale(c);
    return end == text + len;
}

bool hd_python_is_space(int32_t c)
{
    if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0x2028 || c == 0x2029 || utf8proc_category(c) == UTF8PROC_CATEGORY_ZS;
}

bool hd_python_is_word(int32_t c)
{
    if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}

bool hd_python_is_printable(int32_t c)
{
    if (c < 0x80) return c >= 0x20 && c < 0x7f;
    utf8proc_category_t category = utf8proc_category(c);
    return category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS;
}

size_t hd_python_json_escape(int32_t c, bool ascii, char out[16])
{
    static const char plain[] = "\"\\\n\r\t\f\b", letter[] = "\"\\nrtfb";
    const char *at = c > 0 && c < 0x80 ? strchr(plain, c) : NULL;
    if (at) return (size_t)snprintf(out, 16, "\\%c", letter[at - plain]);
    if (c >= 0x20 && (c < 0x7f || !ascii)) return 0;
    if (c < 0x10000) return (size_t)snprintf(out, 16, "\\u%04x", (unsigned)c);
    unsigned rest = (unsigned)c - 0x10000;
    return (size_t)snprintf(out, 16, "\\u%04x\\u%04x", 0xd800 + (rest >> 10), 0xdc00 + (rest & 0x3ff));
}
