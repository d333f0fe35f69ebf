/* normalize.c: NFC through utf8proc, on text that may hold bytes that are not UTF-8.
 *
 * ASCII never changes and nothing composes across its front, so only stretches that begin with the last ASCII character
 * before other text are normalized.  Canonical reordering is a counting sort here: utf8proc's own takes quadratic time
 * on a long run of combining marks. */
#include <string.h>
#include <utf8proc.h>

#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

void hd_normalized_free(hd_normalized *n)
{
    hd_buf_free(&n->text);
    hd_buf_free(&n->trusted);
}

/* ---- one stretch of valid UTF-8 and of one trust ---- */

typedef struct codes { /* UTF-32 */
    utf8proc_int32_t *data;
    size_t len, cap;
} codes;

/* Full canonical decomposition.  A code point gives at most 4 (Unicode standard annex 15, section 4, NFD growth). */
static hd_status decompose(const uint8_t *text, size_t len, codes *out)
{
    for (size_t at = 0; at < len;) {
        uint32_t cp = 0;
        int step = hd_utf8_step(text + at, len - at, &cp);
        if (out->cap - out->len < 8) {
            size_t cap = out->cap ? out->cap * 2 : 64;
            utf8proc_int32_t *data = hd_realloc_array(out->data, cap, sizeof *data);
            if (!data) return HD_E_MEMORY;
            out->data = data;
            out->cap = cap;
        }
        int last_boundclass = 0;
        utf8proc_ssize_t n =
            utf8proc_decompose_char((utf8proc_int32_t)cp, out->data + out->len, (utf8proc_ssize_t)(out->cap - out->len),
                                    UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &last_boundclass);
        if (step <= 0 || n < 0 || (size_t)n > out->cap - out->len) return HD_E_INTERNAL;
        out->len += (size_t)n;
        at += (size_t)step;
    }
    return HD_OK;
}

static uint8_t class_of(utf8proc_int32_t cp)
{
    return (uint8_t)utf8proc_get_property(cp)->combining_class;
}

/* Sorts marks by combining class, keeping the order within a class. */
static hd_status sort_marks(utf8proc_int32_t *marks, size_t n)
{
    if (n < 2) return HD_OK;
    size_t starts[257] = {0};
    utf8proc_int32_t *sorted = hd_alloc_array(n, sizeof *sorted);
    if (!sorted) return HD_E_MEMORY;
    for (size_t i = 0; i < n; i++)
        starts[class_of(marks[i]) + 1]++;
    for (int c = 1; c < 257; c++)
        starts[c] += starts[c - 1];
    for (size_t i = 0; i < n; i++)
        sorted[starts[class_of(marks[i])]++] = marks[i];
    memcpy(marks, sorted, n * sizeof *marks);
    hd_free(sorted);
    return HD_OK;
}

static hd_status reorder(codes *c)
{
    for (size_t at = 0; at < c->len;) {
        size_t end = at;
        while (end < c->len && class_of(c->data[end]) != 0)
            end++;
        HD_TRY(sort_marks(c->data + at, end - at));
        at = end + 1;
    }
    return HD_OK;
}

/* Trust of the characters of a stretch: the mask may be absent. */
typedef enum trust { TRUST_NO_MASK, TRUST_NO, TRUST_YES } trust;

static hd_status append(hd_normalized *out, const void *text, size_t len, trust t)
{
    HD_TRY(hd_buf_append(&out->text, text, len));
    for (size_t i = 0; i < len && t != TRUST_NO_MASK; i++)
        HD_TRY(hd_buf_putc(&out->trusted, t == TRUST_YES));
    return HD_OK;
}

static hd_status normalize_stretch(const uint8_t *text, size_t len, trust t, codes *c, hd_normalized *out)
{
    c->len = 0;
    HD_TRY(decompose(text, len, c));
    HD_TRY(reorder(c));
    utf8proc_ssize_t n =
        utf8proc_normalize_utf32(c->data, (utf8proc_ssize_t)c->len, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if (n < 0) return HD_E_INTERNAL;
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        uint8_t bytes[4];
        int length = hd_utf8_put(bytes, (uint32_t)c->data[i]);
        HD_TRY(append(out, bytes, (size_t)length, t));
    }
    return HD_OK;
}

/* ---- the text ---- */

/* A character is trusted when all its bytes are. */
static trust trust_of(const uint8_t *trusted, size_t at, size_t len)
{
    if (!trusted) return TRUST_NO_MASK;
    for (size_t i = 0; i < len; i++)
        if (!trusted[at + i]) return TRUST_NO;
    return TRUST_YES;
}

/* A character that never changes, composes or moves: a mark that the tokenizers library does not know, and U+11A7,
 * which stands before the Hangul finals and which utf8proc 2.8 takes for one and loses. */
static bool stays(uint32_t cp)
{
    return cp == 0x11A7 || hd_unicode_unordered(cp);
}

/* End of the run of bytes from `at` that stay as they are: ASCII that no mark can follow, a byte that is not UTF-8, or
 * a character that stays. */
static size_t plain_end(const uint8_t *text, size_t len, size_t at)
{
    uint32_t cp;
    if (text[at] >= 0x80) {
        int step = hd_utf8_step(text + at, len - at, &cp);
        return step <= 0 ? at + 1 : stays(cp) ? at + (size_t)step : at;
    }
    while (at < len && text[at] < 0x80 && (at + 1 == len || text[at + 1] < 0x80))
        at++;
    return at;
}

/* End of the stretch from `at` to normalize together: characters of one trust, only the first of them ASCII. */
static size_t stretch_end(const uint8_t *text, const uint8_t *trusted, size_t len, size_t at, trust *t)
{
    size_t end = at;
    uint32_t cp;
    for (int step; end < len && (end == at || text[end] >= 0x80); end += (size_t)step) {
        if ((step = hd_utf8_step(text + end, len - end, &cp)) <= 0 || stays(cp)) break;
        trust this = trust_of(trusted, end, (size_t)step);
        if (end == at) *t = this;
        if (this != *t) break;
    }
    return end;
}

static bool is_ascii(const char *text, size_t len)
{
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++)
        any |= (uint8_t)text[i];
    return any < 0x80;
}

static hd_status normalize_all(const uint8_t *text, const uint8_t *trusted, size_t len, codes *c, hd_normalized *out)
{
    for (size_t at = 0; at < len;) {
        size_t end = plain_end(text, len, at);
        if (end > at) {
            HD_TRY(hd_buf_append(&out->text, text + at, end - at));
            if (trusted) HD_TRY(hd_buf_append(&out->trusted, trusted + at, end - at));
        } else {
            trust t = TRUST_NO_MASK;
            end = stretch_end(text, trusted, len, at, &t);
            HD_TRY(normalize_stretch(text + at, end - at, t, c, out));
        }
        at = end;
    }
    return HD_OK;
}

hd_status hd_normalize_nfc(const char *text, const uint8_t *trusted, size_t len, hd_normalized *out)
{
    /* NFC of a text has at most three times its bytes (Unicode standard annex 15, section 4). */
    hd_buf_init(&out->text, 3 * len);
    hd_buf_init(&out->trusted, 3 * len);
    if (is_ascii(text, len)) {
        HD_TRY(hd_buf_append(&out->text, text, len));
        return trusted ? hd_buf_append(&out->trusted, trusted, len) : HD_OK;
    }
    codes c = {0};
    hd_status status = normalize_all((const uint8_t *)text, trusted, len, &c, out);
    hd_free(c.data);
    return status;
}
