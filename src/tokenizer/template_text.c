/* tokenizer/template_text.c: operations on text that filters, methods and operators of templates share.
 *
 * Every byte that is copied keeps its trust; what an operation adds of its own (an escape, a bracket) has the trust of
 * the value that it belongs to.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer/template_internal.h"
#include "tokenizer/utf8.h"

/* ---- letters ---- */

static bool is_cased(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

/* Writes the changed letter to `out`.  Mappings are simple, of one character to one, but for the German sharp s. */
static size_t change_letter(int32_t c, hd_letter_case how, bool word_begins, uint8_t out[4])
{
    const int32_t sharp_s = 0xdf;
    bool lower = how == HD_CASE_LOWER || (how == HD_CASE_SWAP && utf8proc_category(c) == UTF8PROC_CATEGORY_LU);
    bool title = how == HD_CASE_TITLE || how == HD_CASE_CAPITALIZE;
    if (lower || (title && !word_begins)) return (size_t)hd_utf8_put(out, (uint32_t)utf8proc_tolower(c));
    if (c == sharp_s) {
        out[0] = 'S';
        out[1] = title ? 's' : 'S';
        return 2;
    }
    return (size_t)hd_utf8_put(out, (uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)));
}

hd_status hd_tpl_change_case(hd_tpl_run *run, hd_tv s, hd_letter_case how, hd_tv *out)
{
    hd_str text = hd_tv_text(s);
    size_t mark = hd_tpl_mark(run);
    bool begins = true;
    for (size_t pos = 0, size; pos < text.len; pos += size) {
        int32_t c = hd_utf8_read(text.data + pos, text.len - pos, &size);
        uint8_t changed[4];
        size_t n = change_letter(c, how, begins, changed);
        bool trusted = s.as.str->trust ? s.as.str->trust[pos] : s.trusted;
        HD_TRY(hd_tpl_put(run, (const char *)changed, n, trusted));
        begins = how == HD_CASE_TITLE && !is_cased(c);
    }
    return hd_tpl_take(run, mark, out);
}

static bool in_set(hd_tv set, const char *data, size_t size)
{
    hd_str chars = hd_tv_text(set);
    for (size_t pos = 0; pos < chars.len; pos += hd_utf8_size((unsigned char)chars.data[pos]))
        if (size <= chars.len - pos && memcmp(chars.data + pos, data, size) == 0) return true;
    return false;
}

static bool is_stripped(hd_tv chars, const char *data, size_t size)
{
    size_t got;
    return chars.kind == HD_TV_STRING ? in_set(chars, data, size) : hd_python_is_space(hd_utf8_read(data, size, &got));
}

hd_status hd_tpl_strip(hd_tpl_run *run, hd_tv s, hd_tv chars, bool left, bool right, hd_tv *out)
{
    const char *data = s.as.str->data;
    size_t from = 0, to = s.as.str->len;
    if (chars.kind != HD_TV_STRING && chars.kind != HD_TV_ABSENT && chars.kind != HD_TV_NONE)
        return hd_tpl_fail(run, HD_E_FORMAT, "the characters to strip must be a string, not %s",
                           hd_tv_type_name(chars));
    size_t each = chars.kind == HD_TV_STRING ? chars.as.str->len : 1;
    while (left && from < to) {
        size_t size = hd_utf8_size((unsigned char)data[from]);
        HD_TRY(hd_tpl_work(run, each));
        if (!is_stripped(chars, data + from, size)) break;
        from += size;
    }
    while (right && to > from) {
        size_t start = to - 1;
        while (start > from && ((unsigned char)data[start] & 0xc0) == 0x80)
            start--;
        HD_TRY(hd_tpl_work(run, each));
        if (!is_stripped(chars, data + start, to - start)) break;
        to = start;
    }
    return hd_tpl_sub(run, s, from, to - from, out);
}

/* ---- replace, join ---- */

/* With an empty `old`, `with` goes before every character and behind the last. */
static hd_status replace_between(hd_tpl_run *run, hd_tv s, hd_tv with, int64_t count)
{
    hd_str text = hd_tv_text(s);
    for (size_t pos = 0, size; pos < text.len; pos += size, count--) {
        size = hd_utf8_size((unsigned char)text.data[pos]);
        if (count != 0) HD_TRY(hd_tpl_put_str(run, with));
        HD_TRY(hd_tpl_put_sub(run, s, pos, size));
        if (count == 0) count = 1; /* stays at none left */
    }
    return count != 0 ? hd_tpl_put_str(run, with) : HD_OK;
}

hd_status hd_tpl_replace(hd_tpl_run *run, hd_tv s, hd_tv old, hd_tv with, int64_t count, hd_tv *out)
{
    hd_str text = hd_tv_text(s), what = hd_tv_text(old);
    size_t mark = hd_tpl_mark(run), pos = 0;
    if (what.len == 0) {
        HD_TRY(replace_between(run, s, with, count));
        return hd_tpl_take(run, mark, out);
    }
    while (count != 0) {
        const char *found = memmem(text.data + pos, text.len - pos, what.data, what.len);
        if (!found) break;
        size_t at = (size_t)(found - text.data);
        HD_TRY(hd_tpl_put_sub(run, s, pos, at - pos));
        HD_TRY(hd_tpl_put_str(run, with));
        pos = at + what.len;
        count -= count > 0;
    }
    HD_TRY(hd_tpl_put_sub(run, s, pos, text.len - pos));
    return hd_tpl_take(run, mark, out);
}

/* `strict`: items must be strings, as for str.join; else they are made into text, as by the filter. */
hd_status hd_tpl_join(hd_tpl_run *run, hd_tv separator, const hd_tpl_list *items, bool strict, hd_tv *out)
{
    size_t mark = hd_tpl_mark(run);
    for (size_t i = 0; i < items->n; i++) {
        if (strict && items->item[i].kind != HD_TV_STRING)
            return hd_tpl_fail(run, HD_E_FORMAT, "join() expected strings, item %zu is %s", i,
                               hd_tv_type_name(items->item[i]));
        if (i) HD_TRY(hd_tpl_put_str(run, separator));
        HD_TRY(hd_tpl_put_str(run, items->item[i]));
    }
    return hd_tpl_take(run, mark, out);
}

/* ---- padding and formats ---- */

/* Pads to `width` characters with `fill`, one character.  '^' puts the odd one behind, as {:^} does; 'c' where
 * str.center puts it: in front when the width is odd. */
hd_status hd_tpl_put_padded(hd_tpl_run *run, hd_tv s, char align, int64_t width, hd_tv fill)
{
    int64_t have = (int64_t)hd_utf8_count(s.as.str->data, s.as.str->len);
    size_t pad = width > have ? (size_t)(width - have) : 0;
    size_t left = align == '>' ? pad : align == '<' ? 0 : pad / 2;
    if (align == 'c') left += pad & (size_t)width & 1;
    HD_TRY(hd_tpl_put_fill(run, fill, left));
    HD_TRY(hd_tpl_put_str(run, s));
    return hd_tpl_put_fill(run, fill, pad - left);
}

/* What stands between '%' and the conversion's letter, or behind ':' in {}. */
typedef struct spec {
    char fill[4]; /* one character */
    size_t fill_size;
    char align; /* < > ^ = or 0 */
    bool plus, space, comma, alternate;
    int64_t width;
    int precision; /* -1: none */
    char type;     /* 0: none */
} spec;

#define SPEC_MAX 1000000 /* widths and precisions above make no sense in a prompt */

static size_t read_count(const char *p, size_t len, int64_t *out)
{
    size_t n = 0;
    *out = 0;
    for (; n < len && p[n] >= '0' && p[n] <= '9'; n++)
        if (*out < SPEC_MAX) *out = *out * 10 + (p[n] - '0');
    return n;
}

/* Digits of an integer in the base of `type`, with a comma after every third when asked. */
static size_t integer_digits(uint64_t value, const spec *s, char out[96])
{
    unsigned base = s->type == 'x' || s->type == 'X' ? 16 : s->type == 'o' ? 8 : s->type == 'b' ? 2 : 10;
    const char *digits = s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char reversed[96];
    size_t n = 0, count = 0;
    do {
        if (s->comma && count && count % 3 == 0) reversed[n++] = ',';
        reversed[n++] = digits[value % base];
        value /= base;
        count++;
    } while (value);
    for (size_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    return n;
}

/* Copies `text` with commas between the thousands of its whole part. */
static size_t group_thousands(const char *text, bool commas, char *out)
{
    size_t whole = strspn(text, "0123456789"), n = 0;
    for (size_t i = 0; i < whole; i++) {
        if (commas && i && (whole - i) % 3 == 0) out[n++] = ',';
        out[n++] = text[i];
    }
    size_t rest = strlen(text + whole);
    memcpy(out + n, text + whole, rest);
    return n + rest;
}

#define REAL_TEXT 1024 /* 309 digits, commas, and a precision of at most 400 */

/* |value| by printf's rules; the decimal point is '.' in every locale. */
static size_t real_digits(double value, const spec *s, char out[REAL_TEXT])
{
    char text[REAL_TEXT], fmt[] = {'%', '.', '*', s->type, '\0'};
    int precision = s->precision < 0 ? 6 : HD_MIN(s->precision, 400);
    if (s->type == '%') fmt[3] = 'f';
    snprintf(text, REAL_TEXT - 400, fmt, precision, fabs(s->type == '%' ? value * 100 : value));
    for (char *p = text; *p; p++)
        if (strchr("0123456789+-infae", *p | 0x20) == NULL && *p != '.') *p = '.';
    size_t n = group_thousands(text, s->comma, out);
    if (s->type == '%') out[n++] = '%';
    return n;
}

static hd_status put_number(hd_tpl_run *run, const spec *s, hd_tv v, const char *digits, size_t n, bool negative)
{
    const char *sign = negative ? "-" : s->plus ? "+" : s->space ? " " : "";
    hd_tv text, fill;
    HD_TRY(hd_tpl_string(run, s->fill, s->fill_size, true, &fill));
    size_t mark = hd_tpl_mark(run);
    if (s->align == '=') { /* padding between sign and digits */
        HD_TRY(hd_tpl_puts(run, sign, v.trusted));
        int64_t pad = s->width - (int64_t)n - (int64_t)strlen(sign);
        HD_TRY(hd_tpl_put_fill(run, fill, pad > 0 ? (size_t)pad : 0));
        return hd_tpl_put(run, digits, n, v.trusted);
    }
    HD_TRY(hd_tpl_puts(run, sign, v.trusted));
    HD_TRY(hd_tpl_put(run, digits, n, v.trusted));
    HD_TRY(hd_tpl_take(run, mark, &text));
    return hd_tpl_put_padded(run, text, s->align ? s->align : '>', s->width, fill);
}

static hd_status put_text(hd_tpl_run *run, const spec *s, hd_tv v)
{
    hd_tv text, fill;
    HD_TRY(hd_tpl_to_string(run, v, &text));
    HD_TRY(hd_tpl_string(run, s->fill, s->fill_size, true, &fill));
    if (s->precision >= 0) {
        size_t len = hd_utf8_offset(text.as.str->data, text.as.str->len, (size_t)s->precision);
        HD_TRY(hd_tpl_sub(run, text, 0, len, &text));
    }
    return hd_tpl_put_padded(run, text, s->align ? s->align : '<', s->width, fill);
}

static hd_status put_spec(hd_tpl_run *run, const spec *s, hd_tv v)
{
    char digits[REAL_TEXT];
    if (v.kind == HD_TV_UNDEFINED && s->type && s->type != 's') return hd_tpl_undefined(run, v);
    if (s->type == '\0' ? !hd_tv_is_number(v) || v.kind == HD_TV_BOOL : s->type == 's' || s->type == 'r')
        return put_text(run, s, v);
    if (!hd_tv_is_number(v))
        return hd_tpl_fail(run, HD_E_FORMAT, "the format '%c' needs a number, not %s", s->type, hd_tv_type_name(v));
    if (s->type == '\0' && v.kind == HD_TV_FLOAT && s->precision < 0) {
        size_t n = hd_python_float(fabs(v.as.real), digits);
        return put_number(run, s, v, digits, n, signbit(v.as.real));
    }
    if (s->type == '\0' ? v.kind == HD_TV_INT : strchr("dxXob", s->type) != NULL) {
        if (v.kind == HD_TV_FLOAT && !(fabs(v.as.real) < 9e18))
            return hd_tpl_fail(run, HD_E_LIMIT, "a number is too large for the format '%c'", s->type);
        int64_t i = v.kind == HD_TV_FLOAT ? (int64_t)v.as.real : hd_tv_integer(v);
        uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        return put_number(run, s, v, digits, integer_digits(magnitude, s, digits), i < 0);
    }
    spec real = *s;
    if (real.type == '\0') real.type = 'g';
    return put_number(run, &real, v, digits, real_digits(hd_tv_real(v), &real, digits), signbit(hd_tv_real(v)));
}

/* Reads "%..." behind the '%': flags, width, precision, letter.  Returns bytes read. */
static size_t read_percent(const char *p, size_t len, spec *out)
{
    size_t n = 0;
    bool left = false, zero = false;
    *out = (spec){.fill = " ", .fill_size = 1, .precision = -1};
    for (; n < len && strchr("-+ 0#", p[n]) && p[n]; n++) {
        left |= p[n] == '-';
        out->plus |= p[n] == '+';
        out->space |= p[n] == ' ';
        zero |= p[n] == '0';
    }
    n += read_count(p + n, len - n, &out->width);
    if (n < len && p[n] == '.') {
        int64_t precision;
        n += 1 + read_count(p + n + 1, len - n - 1, &precision);
        out->precision = (int)precision;
    }
    out->align = left ? '<' : zero ? '=' : '>';
    if (zero && !left) out->fill[0] = '0';
    out->type = n < len ? p[n] : '\0';
    if (out->type == 'i' || out->type == 'u') out->type = 'd';
    return n + 1;
}

/* The value for one conversion: the next of a tuple, or a member of a dict named in parentheses. */
static hd_status percent_value(hd_tpl_run *run, hd_tv args, hd_str key, size_t *next, hd_tv *out)
{
    if (key.data) {
        const hd_tv *member = args.kind == HD_TV_DICT ? hd_tpl_dict_find(args.as.dict, key) : NULL;
        if (!member) return hd_tpl_fail(run, HD_E_FORMAT, "no value for %%(%.*s)", (int)HD_MIN(key.len, 100), key.data);
        return *out = *member, HD_OK;
    }
    size_t have = args.kind == HD_TV_TUPLE ? args.as.list->n : 1;
    if (*next >= have) return hd_tpl_fail(run, HD_E_FORMAT, "not enough arguments for a format string");
    *out = args.kind == HD_TV_TUPLE ? args.as.list->item[*next] : args;
    ++*next;
    return HD_OK;
}

static hd_status put_conversion(hd_tpl_run *run, hd_tv args, const char *p, size_t len, size_t *used, size_t *next)
{
    hd_str key = {NULL, 0};
    spec s;
    hd_tv v;
    *used = 0;
    if (len && p[0] == '(') {
        const char *close = memchr(p, ')', len);
        if (!close) return hd_tpl_fail(run, HD_E_FORMAT, "a format string has '%%(' without ')'");
        key = (hd_str){p + 1, (size_t)(close - p) - 1};
        *used = key.len + 2;
    }
    *used += read_percent(p + *used, len - *used, &s);
    if (*used > len || !s.type || !strchr("sdrxXofFeEgGc%", s.type))
        return hd_tpl_fail(run, HD_E_FORMAT, "a format string has an unknown conversion");
    if (s.type == '%') return hd_tpl_puts(run, "%", true);
    HD_TRY(percent_value(run, args, key, next, &v));
    if (s.type == 'r') {
        size_t mark = hd_tpl_mark(run);
        HD_TRY(hd_tpl_put_repr(run, v));
        HD_TRY(hd_tpl_take(run, mark, &v));
    }
    if (s.type == 's' || s.type == 'r' || s.type == 'c') {
        s.type = 's';
        memcpy(s.fill, " ", 2);
        if (s.align == '=') s.align = '>';
    }
    return put_spec(run, &s, v);
}

hd_status hd_tpl_percent(hd_tpl_run *run, hd_tv format, hd_tv args, hd_tv *out)
{
    hd_str text = hd_tv_text(format);
    size_t mark = hd_tpl_mark(run), pos = 0, next = 0;
    while (pos < text.len) {
        const char *sign = memchr(text.data + pos, '%', text.len - pos);
        size_t at = sign ? (size_t)(sign - text.data) : text.len, used = 0;
        HD_TRY(hd_tpl_put_sub(run, format, pos, at - pos));
        if (!sign) break;
        HD_TRY(put_conversion(run, args, sign + 1, text.len - at - 1, &used, &next));
        pos = at + 1 + used;
    }
    /* As in Python, a value that has items may go unused. */
    bool has_items = args.kind == HD_TV_DICT || args.kind == HD_TV_LIST || args.kind == HD_TV_UNDEFINED;
    if (args.kind == HD_TV_TUPLE ? next < args.as.list->n : next == 0 && !has_items)
        return hd_tpl_fail(run, HD_E_FORMAT, "not all arguments were used by a format string");
    return hd_tpl_take(run, mark, out);
}

/* Reads what stands behind ':' in {}. */
static hd_status read_spec(hd_tpl_run *run, hd_str text, spec *out)
{
    const char *p = text.data;
    size_t n = 0, lead = text.len ? hd_utf8_size((unsigned char)p[0]) : 0;
    *out = (spec){.fill = " ", .fill_size = 1, .precision = -1};
    if (text.len > lead && strchr("<>^=", p[lead]) && p[lead]) {
        memcpy(out->fill, p, lead);
        out->fill_size = lead;
        n = lead;
    }
    if (n < text.len && p[n] && strchr("<>^=", p[n])) out->align = p[n++];
    if (n < text.len && p[n] && strchr("+- ", p[n])) {
        out->plus = p[n] == '+';
        out->space = p[n++] == ' ';
    }
    if (n < text.len && p[n] == '0' && !out->align) {
        out->align = '=';
        out->fill[0] = '0';
        n++;
    }
    n += read_count(p + n, text.len - n, &out->width);
    if (n < text.len && p[n] == ',') out->comma = ++n;
    if (n < text.len && p[n] == '.') {
        int64_t precision;
        n += 1 + read_count(p + n + 1, text.len - n - 1, &precision);
        out->precision = (int)precision;
    }
    if (n < text.len && p[n] && strchr("sdxXobfFeEgG%", p[n])) out->type = p[n++];
    if (n == text.len) return HD_OK;
    return hd_tpl_fail(run, HD_E_UNSUPPORTED, "the format '%.*s' is not supported", (int)HD_MIN(text.len, 100), p);
}

/* The value that a field of str.format names: its number, its name or the next one; then .attributes and [items]. */
static hd_status field_value(hd_tpl_run *run, const hd_tpl_call *call, hd_str field, size_t *next, hd_tv *out)
{
    size_t head = 0;
    int64_t number;
    while (head < field.len && field.data[head] != '.' && field.data[head] != '[')
        head++;
    hd_str name = {field.data, head};
    bool numbered = head > 0 && read_count(name.data, head, &number) == head;
    size_t index = numbered ? (size_t)number : *next;
    if (head == 0 || numbered) {
        if (head == 0) ++*next;
        if (index >= call->n_pos) return hd_tpl_fail(run, HD_E_FORMAT, "format() has no argument %zu", index);
        *out = call->pos[index];
    } else {
        size_t i = 0;
        while (i < call->n_kw && !(call->kw[i].name.len == head && memcmp(call->kw[i].name.data, name.data, head) == 0))
            i++;
        if (i == call->n_kw)
            return hd_tpl_fail(run, HD_E_FORMAT, "format() has no argument '%.*s'", (int)HD_MIN(head, 100), name.data);
        *out = call->kw[i].value;
    }
    if (head == field.len) return HD_OK;
    return hd_tpl_fail(run, HD_E_UNSUPPORTED, "format() fields with '.' or '[' are not supported");
}

/* One {field!conversion:spec}, without its braces. */
static hd_status put_field(hd_tpl_run *run, const hd_tpl_call *call, hd_str field, size_t *next)
{
    const char *colon = field.len ? memchr(field.data, ':', field.len) : NULL;
    hd_str rest = {"", 0}, name = field;
    spec s;
    hd_tv v;
    if (colon) {
        name.len = (size_t)(colon - field.data);
        rest = (hd_str){colon + 1, field.len - name.len - 1};
    }
    char conversion = '\0';
    if (name.len >= 2 && name.data[name.len - 2] == '!') {
        conversion = name.data[name.len - 1];
        name.len -= 2;
    }
    HD_TRY(read_spec(run, rest, &s));
    HD_TRY(field_value(run, call, name, next, &v));
    if (conversion == 'r' || conversion == 's') {
        size_t mark = hd_tpl_mark(run);
        HD_TRY(conversion == 'r' ? hd_tpl_put_repr(run, v) : hd_tpl_put_str(run, v));
        HD_TRY(hd_tpl_take(run, mark, &v));
    }
    return put_spec(run, &s, v);
}

/* str.format(): {}, {0}, {name}, with !r, !s and the plain format specifications. */
hd_status hd_tpl_format(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_str text = hd_tv_text(call->self);
    size_t mark = hd_tpl_mark(run), next = 0;
    for (size_t pos = 0; pos < text.len;) {
        size_t end = pos;
        while (end < text.len && text.data[end] != '{' && text.data[end] != '}')
            end++;
        HD_TRY(hd_tpl_put_sub(run, call->self, pos, end - pos));
        if (end == text.len) break;
        if (end + 1 < text.len && text.data[end + 1] == text.data[end]) { /* {{ or }} */
            HD_TRY(hd_tpl_put_sub(run, call->self, end, 1));
            pos = end + 2;
            continue;
        }
        const char *close = text.data[end] == '{' ? memchr(text.data + end, '}', text.len - end) : NULL;
        if (!close) return hd_tpl_fail(run, HD_E_FORMAT, "format() got a single '%c'", text.data[end]);
        hd_str field = {text.data + end + 1, (size_t)(close - text.data) - end - 1};
        HD_TRY(put_field(run, call, field, &next));
        pos = (size_t)(close - text.data) + 1;
    }
    return hd_tpl_take(run, mark, out);
}

/* ---- JSON, as json.dumps ---- */

static hd_status put_json_string(hd_tpl_run *run, hd_tv v, const hd_tpl_json *how)
{
    hd_str s = hd_tv_text(v);
    bool whole = hd_tv_all_trusted(v);
    size_t plain = 0;
    HD_TRY(hd_tpl_puts(run, "\"", whole));
    for (size_t pos = 0, size; pos < s.len; pos += size) {
        char escape[16];
        size_t n = hd_python_json_escape(hd_utf8_read(s.data + pos, s.len - pos, &size), how->ascii, escape);
        if (n == 0) continue;
        HD_TRY(hd_tpl_put_sub(run, v, plain, pos - plain));
        HD_TRY(hd_tpl_put(run, escape, n, v.as.str->trust ? v.as.str->trust[pos] : v.trusted));
        plain = pos + size;
    }
    HD_TRY(hd_tpl_put_sub(run, v, plain, s.len - plain));
    return hd_tpl_puts(run, "\"", whole);
}

static hd_status put_json_scalar(hd_tpl_run *run, hd_tv v)
{
    char text[HD_PYTHON_FLOAT];
    switch ((hd_tv_kind)v.kind) {
    case HD_TV_NONE: return hd_tpl_puts(run, "null", v.trusted);
    case HD_TV_BOOL: return hd_tpl_puts(run, v.as.boolean ? "true" : "false", v.trusted);
    case HD_TV_FLOAT:
        if (isnan(v.as.real)) return hd_tpl_puts(run, "NaN", v.trusted);
        if (isinf(v.as.real)) return hd_tpl_puts(run, v.as.real < 0 ? "-Infinity" : "Infinity", v.trusted);
        return hd_tpl_put(run, text, hd_python_float(v.as.real, text), v.trusted);
    case HD_TV_INT: return hd_tpl_put_str(run, v);
    default: return hd_tpl_fail(run, HD_E_FORMAT, "a %s can't be written as JSON", hd_tv_type_name(v));
    }
}

/* Keys are strings in JSON: numbers, booleans and null become their text. */
static hd_status put_json_key(hd_tpl_run *run, hd_tv key, const hd_tpl_json *how)
{
    if (key.kind == HD_TV_STRING) return put_json_string(run, key, how);
    HD_TRY(hd_tpl_puts(run, "\"", key.trusted));
    HD_TRY(put_json_scalar(run, key));
    return hd_tpl_puts(run, "\"", key.trusted);
}

static hd_status put_separator(hd_tpl_run *run, hd_tv given, const char *otherwise, bool trusted)
{
    return given.kind == HD_TV_STRING ? hd_tpl_put_str(run, given) : hd_tpl_puts(run, otherwise, trusted);
}

static hd_status put_json_break(hd_tpl_run *run, const hd_tpl_json *how, int level, bool trusted)
{
    if (how->indent.kind == HD_TV_ABSENT) return HD_OK;
    HD_TRY(hd_tpl_puts(run, "\n", trusted));
    return hd_tpl_put_fill(run, how->indent, (size_t)level);
}

static hd_status put_json_pairs(hd_tpl_run *run, hd_tv v, const hd_tpl_json *how, int level)
{
    const hd_tpl_dict *dict = v.as.dict;
    hd_tpl_list order = {.n = dict->n};
    order.item = hd_tpl_alloc(run, dict->n * sizeof *order.item);
    hd_tv *keys = hd_tpl_alloc(run, dict->n * sizeof *keys);
    if (!order.item || !keys) return hd_tpl_no_memory(run);
    for (size_t i = 0; i < dict->n; i++) {
        order.item[i] = hd_tv_int((int64_t)i, true);
        keys[i] = dict->pair[i].key;
    }
    if (how->sort_keys) HD_TRY(hd_tpl_sorted(run, &order, keys, false));
    for (size_t i = 0; i < dict->n; i++) {
        const hd_tpl_pair *pair = &dict->pair[order.item[i].as.integer];
        if (i)
            HD_TRY(put_separator(run, how->item_separator, how->indent.kind == HD_TV_ABSENT ? ", " : ",", v.trusted));
        HD_TRY(put_json_break(run, how, level + 1, v.trusted));
        HD_TRY(put_json_key(run, pair->key, how));
        HD_TRY(put_separator(run, how->key_separator, ": ", v.trusted));
        HD_TRY(hd_tpl_put_json(run, pair->value, how, level + 1));
    }
    return HD_OK;
}

static hd_status put_json_items(hd_tpl_run *run, hd_tv v, const hd_tpl_json *how, int level)
{
    for (size_t i = 0; i < v.as.list->n; i++) {
        if (i)
            HD_TRY(put_separator(run, how->item_separator, how->indent.kind == HD_TV_ABSENT ? ", " : ",", v.trusted));
        HD_TRY(put_json_break(run, how, level + 1, v.trusted));
        HD_TRY(hd_tpl_put_json(run, v.as.list->item[i], how, level + 1));
    }
    return HD_OK;
}

static hd_status put_json_inside(hd_tpl_run *run, hd_tv v, const hd_tpl_json *how, int level)
{
    if (v.kind == HD_TV_STRING) return put_json_string(run, v, how);
    bool dict = v.kind == HD_TV_DICT;
    if (!dict && v.kind != HD_TV_LIST && v.kind != HD_TV_TUPLE) return put_json_scalar(run, v);
    size_t n = dict ? v.as.dict->n : v.as.list->n;
    HD_TRY(hd_tpl_puts(run, dict ? "{" : "[", v.trusted));
    HD_TRY(dict ? put_json_pairs(run, v, how, level) : put_json_items(run, v, how, level));
    if (n) HD_TRY(put_json_break(run, how, level, v.trusted));
    return hd_tpl_puts(run, dict ? "}" : "]", v.trusted);
}

hd_status hd_tpl_put_json(hd_tpl_run *run, hd_tv v, const hd_tpl_json *how, int level)
{
    HD_TRY(hd_tpl_enter(run));
    hd_status status = put_json_inside(run, v, how, level);
    hd_tpl_leave(run);
    return status;
}
