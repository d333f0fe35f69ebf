/* tokenizer/template_methods.c: methods of strings, dicts, lists and loops, and the global functions of templates.
 *
 * Names and behaviour are Python's.  Methods that would change a list or dict are refused, as in jinja2's immutable
 * sandbox, which transformers uses.
 */
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

#include "tokenizer/template_internal.h"

/* ---- strings: case and padding ---- */

static hd_status str_upper(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_change_case(run, call->self, HD_CASE_UPPER, out);
}

static hd_status str_lower(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_change_case(run, call->self, HD_CASE_LOWER, out);
}

static hd_status str_title(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_change_case(run, call->self, HD_CASE_TITLE, out);
}

static hd_status str_capitalize(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_change_case(run, call->self, HD_CASE_CAPITALIZE, out);
}

static hd_status str_swapcase(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_change_case(run, call->self, HD_CASE_SWAP, out);
}

static hd_status pad(hd_tpl_run *run, const hd_tpl_call *call, char align, hd_tv *out)
{
    int64_t width;
    hd_tv fill;
    HD_TRY(hd_tpl_arg_int(run, call, 0, 0, &width));
    HD_TRY(hd_tpl_string(run, " ", 1, true, &fill));
    if (call->slot[1].kind != HD_TV_ABSENT) HD_TRY(hd_tpl_arg_string(run, call, 1, &fill));
    if (hd_utf8_count(fill.as.str->data, fill.as.str->len) != 1)
        return hd_tpl_fail(run, HD_E_FORMAT, "%s() pads with one character", call->name);
    size_t mark = hd_tpl_mark(run);
    HD_TRY(hd_tpl_put_padded(run, call->self, align, width, fill));
    return hd_tpl_take(run, mark, out);
}

static hd_status str_ljust(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return pad(run, call, '<', out);
}

static hd_status str_rjust(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return pad(run, call, '>', out);
}

static hd_status str_center(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return pad(run, call, 'c', out);
}

static hd_status str_zfill(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    int64_t width;
    hd_tv zero, rest = call->self;
    hd_str s = hd_tv_text(call->self);
    size_t sign = s.len && (s.data[0] == '-' || s.data[0] == '+');
    HD_TRY(hd_tpl_arg_int(run, call, 0, 0, &width));
    HD_TRY(hd_tpl_string(run, "0", 1, true, &zero));
    size_t mark = hd_tpl_mark(run);
    HD_TRY(hd_tpl_put_sub(run, call->self, 0, sign));
    if (sign) HD_TRY(hd_tpl_sub(run, call->self, 1, s.len - 1, &rest));
    HD_TRY(hd_tpl_put_padded(run, rest, '>', width > 0 ? width - (int64_t)sign : 0, zero));
    return hd_tpl_take(run, mark, out);
}

/* ---- strings: strip and affixes ---- */

static hd_status str_strip(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_strip(run, call->self, call->slot[0], true, true, out);
}

static hd_status str_lstrip(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_strip(run, call->self, call->slot[0], true, false, out);
}

static hd_status str_rstrip(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_strip(run, call->self, call->slot[0], false, true, out);
}

static bool has_affix(hd_str s, hd_str affix, bool at_end)
{
    if (affix.len > s.len) return false;
    return affix.len == 0 || memcmp(at_end ? s.data + s.len - affix.len : s.data, affix.data, affix.len) == 0;
}

/* startswith and endswith take one string or a tuple of them, and optional bounds. */
static hd_status affix(hd_tpl_run *run, const hd_tpl_call *call, bool at_end, hd_tv *out)
{
    hd_tv what = call->slot[0];
    hd_tpl_list one = {.item = &what, .n = 1};
    const hd_tpl_list *list = what.kind == HD_TV_TUPLE ? what.as.list : &one;
    hd_str s = hd_tv_text(call->self);
    *out = hd_tv_bool(false);
    for (size_t i = 0; i < list->n; i++) {
        if (list->item[i].kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, list->item[i]);
        if (list->item[i].kind != HD_TV_STRING)
            return hd_tpl_fail(run, HD_E_FORMAT, "%s() needs a string or a tuple of strings", call->name);
        HD_TRY(hd_tpl_work(run, list->item[i].as.str->len));
        if (has_affix(s, hd_tv_text(list->item[i]), at_end)) *out = hd_tv_bool(true);
    }
    return HD_OK;
}

static hd_status str_startswith(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return affix(run, call, false, out);
}

static hd_status str_endswith(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return affix(run, call, true, out);
}

static hd_status str_removeprefix(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv what;
    HD_TRY(hd_tpl_arg_string(run, call, 0, &what));
    hd_str s = hd_tv_text(call->self);
    size_t n = has_affix(s, hd_tv_text(what), false) ? what.as.str->len : 0;
    return hd_tpl_sub(run, call->self, n, s.len - n, out);
}

static hd_status str_removesuffix(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv what;
    HD_TRY(hd_tpl_arg_string(run, call, 0, &what));
    hd_str s = hd_tv_text(call->self);
    size_t n = has_affix(s, hd_tv_text(what), true) ? what.as.str->len : 0;
    return hd_tpl_sub(run, call->self, 0, s.len - n, out);
}

/* ---- strings: search ---- */

/* First or last place of `what` in s[from, to), or NULL. */
static const char *search(hd_str s, hd_str what, bool from_end)
{
    if (what.len > s.len) return NULL;
    if (!from_end) return memmem(s.data, s.len, what.data, what.len);
    for (size_t at = s.len - what.len + 1; at-- > 0;)
        if (what.len == 0 || memcmp(s.data + at, what.data, what.len) == 0) return s.data + at;
    return NULL;
}

/* The part of the string that optional start and end bounds (in characters) leave; *base is its first character. */
static hd_status bounded(hd_tpl_run *run, const hd_tpl_call *call, hd_str *part, int64_t *base)
{
    hd_str s = hd_tv_text(call->self);
    int64_t n = (int64_t)hd_utf8_count(s.data, s.len), from, to;
    HD_TRY(hd_tpl_work(run, s.len));
    HD_TRY(hd_tpl_arg_int(run, call, 1, 0, &from));
    HD_TRY(hd_tpl_arg_int(run, call, 2, n, &to));
    if (from < 0) from = from < -n ? 0 : from + n;
    if (to < 0) to = to < -n ? 0 : to + n;
    to = HD_MIN(to, n);
    *base = from;
    if (from > to) {
        *part = (hd_str){s.data + s.len, 0};
        *base = -1;
        return HD_OK;
    }
    size_t begin = hd_utf8_offset(s.data, s.len, (size_t)from);
    *part = (hd_str){s.data + begin, hd_utf8_offset(s.data + begin, s.len - begin, (size_t)(to - from))};
    return HD_OK;
}

static hd_status find(hd_tpl_run *run, const hd_tpl_call *call, bool from_end, bool must, hd_tv *out)
{
    hd_tv what;
    hd_str part;
    int64_t base;
    HD_TRY(hd_tpl_arg_string(run, call, 0, &what));
    HD_TRY(bounded(run, call, &part, &base));
    HD_TRY(hd_tpl_work(run, part.len));
    const char *at = base < 0 ? NULL : search(part, hd_tv_text(what), from_end);
    if (!at && must) return hd_tpl_fail(run, HD_E_FORMAT, "%s(): the substring was not found", call->name);
    *out = hd_tv_int(at ? base + (int64_t)hd_utf8_count(part.data, (size_t)(at - part.data)) : -1, true);
    return HD_OK;
}

static hd_status str_find(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return find(run, call, false, false, out);
}

static hd_status str_rfind(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return find(run, call, true, false, out);
}

static hd_status str_index(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return find(run, call, false, true, out);
}

static hd_status str_rindex(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return find(run, call, true, true, out);
}

static hd_status str_count(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv what;
    hd_str part;
    int64_t base, n = 0;
    HD_TRY(hd_tpl_arg_string(run, call, 0, &what));
    HD_TRY(bounded(run, call, &part, &base));
    HD_TRY(hd_tpl_work(run, part.len));
    size_t len = what.as.str->len;
    if (base >= 0 && len == 0) n = (int64_t)hd_utf8_count(part.data, part.len) + 1;
    while (len && part.len >= len) {
        const char *at = memmem(part.data, part.len, what.as.str->data, len);
        if (!at) break;
        n++;
        part.len -= (size_t)(at - part.data) + len;
        part.data = at + len;
    }
    *out = hd_tv_int(n, true);
    return HD_OK;
}

static hd_status str_replace(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv old, with;
    int64_t count;
    HD_TRY(hd_tpl_arg_string(run, call, 0, &old));
    HD_TRY(hd_tpl_arg_string(run, call, 1, &with));
    HD_TRY(hd_tpl_arg_int(run, call, 2, -1, &count));
    return hd_tpl_replace(run, call->self, old, with, count, out);
}

/* ---- strings: split and join ---- */

static hd_status push_part(hd_tpl_run *run, hd_tv list, hd_tv s, size_t from, size_t to)
{
    hd_tv part;
    HD_TRY(hd_tpl_work(run, 0));
    HD_TRY(hd_tpl_sub(run, s, from, to - from, &part));
    return hd_tpl_list_push(run, list, part);
}

/* Words between white space; after `most` splits the rest is one word. */
static hd_status split_words(hd_tpl_run *run, hd_tv s, int64_t most, hd_tv *out)
{
    hd_str text = hd_tv_text(s);
    size_t pos = 0, size;
    for (;;) {
        while (pos < text.len && hd_python_is_space(hd_utf8_read(text.data + pos, text.len - pos, &size)))
            pos += size;
        if (pos >= text.len) return HD_OK;
        size_t end = pos;
        while (end < text.len && !hd_python_is_space(hd_utf8_read(text.data + end, text.len - end, &size)))
            end += size;
        if (most-- == 0) end = text.len;
        HD_TRY(push_part(run, *out, s, pos, end));
        pos = end;
    }
}

static void reverse_list(hd_tpl_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        hd_tv swap = list->item[i];
        list->item[i] = list->item[list->n - 1 - i];
        list->item[list->n - 1 - i] = swap;
    }
}

/* The same from the end: the last word first. */
static hd_status rsplit_words(hd_tpl_run *run, hd_tv s, int64_t most, hd_tv *out)
{
    hd_tv words, rest;
    hd_str text = hd_tv_text(s);
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, 0, true, &words));
    HD_TRY(split_words(run, s, -1, &words));
    size_t n = words.as.list->n, keep = most < 0 || (uint64_t)most >= n ? n : (size_t)most;
    for (size_t i = 0; i < keep; i++)
        HD_TRY(hd_tpl_list_push(run, *out, words.as.list->item[n - 1 - i]));
    if (keep == n) return HD_OK;
    size_t end = keep ? (size_t)(words.as.list->item[n - keep].as.str->data - text.data) : text.len;
    HD_TRY(hd_tpl_sub(run, s, 0, end, &rest));
    HD_TRY(hd_tpl_strip(run, rest, (hd_tv){.kind = HD_TV_ABSENT}, false, true, &rest));
    return hd_tpl_list_push(run, *out, rest);
}

static hd_status split(hd_tpl_run *run, const hd_tpl_call *call, bool from_end, hd_tv *out)
{
    hd_tv s = call->self, separator = call->slot[0];
    hd_str text = hd_tv_text(s);
    int64_t most;
    HD_TRY(hd_tpl_arg_int(run, call, 1, -1, &most));
    HD_TRY(hd_tpl_work(run, text.len));
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, 0, s.trusted, out));
    if (separator.kind == HD_TV_ABSENT || separator.kind == HD_TV_NONE) {
        HD_TRY(from_end ? rsplit_words(run, s, most, out) : split_words(run, s, most, out));
        if (from_end) reverse_list(out->as.list);
        return HD_OK;
    }
    HD_TRY(hd_tpl_arg_string(run, call, 0, &separator));
    hd_str by = hd_tv_text(separator), left = text;
    if (by.len == 0) return hd_tpl_fail(run, HD_E_FORMAT, "%s() got an empty separator", call->name);
    for (const char *at; most != 0 && (at = search(left, by, from_end)) != NULL; most -= most > 0) {
        size_t from = (size_t)(left.data - text.data), found = (size_t)(at - text.data);
        if (from_end) {
            HD_TRY(push_part(run, *out, s, found + by.len, from + left.len));
            left.len = found;
        } else {
            HD_TRY(push_part(run, *out, s, from, found));
            left = (hd_str){at + by.len, text.len - found - by.len};
        }
    }
    size_t from = (size_t)(left.data - text.data);
    HD_TRY(push_part(run, *out, s, from, from + left.len));
    if (from_end) reverse_list(out->as.list);
    return HD_OK;
}

static hd_status str_split(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return split(run, call, false, out);
}

static hd_status str_rsplit(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return split(run, call, true, out);
}

static hd_status partition(hd_tpl_run *run, const hd_tpl_call *call, bool from_end, hd_tv *out)
{
    hd_tv by, empty, s = call->self;
    hd_str text = hd_tv_text(s);
    HD_TRY(hd_tpl_arg_string(run, call, 0, &by));
    if (by.as.str->len == 0) return hd_tpl_fail(run, HD_E_FORMAT, "%s() got an empty separator", call->name);
    HD_TRY(hd_tpl_work(run, text.len));
    HD_TRY(hd_tpl_string(run, "", 0, true, &empty));
    HD_TRY(hd_tpl_list_new(run, HD_TV_TUPLE, 3, s.trusted, out));
    const char *at = search(text, hd_tv_text(by), from_end);
    if (!at) {
        HD_TRY(hd_tpl_list_push(run, *out, from_end ? empty : s));
        HD_TRY(hd_tpl_list_push(run, *out, empty));
        return hd_tpl_list_push(run, *out, from_end ? s : empty);
    }
    size_t begin = (size_t)(at - text.data), end = begin + by.as.str->len;
    HD_TRY(push_part(run, *out, s, 0, begin));
    HD_TRY(push_part(run, *out, s, begin, end));
    return push_part(run, *out, s, end, text.len);
}

static hd_status str_partition(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return partition(run, call, false, out);
}

static hd_status str_rpartition(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return partition(run, call, true, out);
}

static bool is_line_end(int32_t c)
{
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static hd_status str_splitlines(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_str text = hd_tv_text(call->self);
    bool keep = hd_tpl_arg_bool(call, 0);
    size_t begin = 0;
    HD_TRY(hd_tpl_work(run, text.len));
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, 0, call->self.trusted, out));
    for (size_t pos = 0, size; pos < text.len; pos += size) {
        int32_t c = hd_utf8_read(text.data + pos, text.len - pos, &size);
        if (!is_line_end(c)) continue;
        if (c == '\r' && pos + 1 < text.len && text.data[pos + 1] == '\n') size = 2;
        HD_TRY(push_part(run, *out, call->self, begin, keep ? pos + size : pos));
        begin = pos + size;
    }
    return begin < text.len ? push_part(run, *out, call->self, begin, text.len) : HD_OK;
}

static hd_status str_join(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    HD_TRY(hd_tpl_iterate(run, call->slot[0], &items));
    return hd_tpl_join(run, call->self, &items, true, out);
}

static hd_status str_format(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_format(run, call, out);
}

/* ---- strings: kinds of characters ---- */

typedef bool char_fn(int32_t c);

static hd_status all_chars(hd_tpl_run *run, const hd_tpl_call *call, char_fn *is, bool empty, hd_tv *out)
{
    hd_str s = hd_tv_text(call->self);
    bool all = s.len > 0 || empty;
    HD_TRY(hd_tpl_work(run, s.len));
    for (size_t pos = 0, size; all && pos < s.len; pos += size)
        all = is(hd_utf8_read(s.data + pos, s.len - pos, &size));
    *out = hd_tv_bool(all);
    return HD_OK;
}

static bool is_alpha(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

static bool is_decimal(int32_t c)
{
    return utf8proc_category(c) == UTF8PROC_CATEGORY_ND;
}

static bool is_numeric(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

static bool is_alnum(int32_t c)
{
    return is_alpha(c) || is_numeric(c);
}

static bool is_ascii(int32_t c)
{
    return c < 0x80;
}

static hd_status str_isalpha(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return all_chars(run, call, is_alpha, false, out);
}

static hd_status str_isalnum(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return all_chars(run, call, is_alnum, false, out);
}

static hd_status str_isdigit(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return all_chars(run, call, is_decimal, false, out);
}

static hd_status str_isnumeric(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return all_chars(run, call, is_numeric, false, out);
}

static hd_status str_isspace(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return all_chars(run, call, hd_python_is_space, false, out);
}

static hd_status str_isascii(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return all_chars(run, call, is_ascii, true, out);
}

/* islower and isupper are the tests of the same meaning. */
static hd_status run_test(hd_tpl_run *run, const hd_tpl_call *call, const char *name, hd_tv *out)
{
    return hd_tpl_find_test((hd_str){name, strlen(name)})->fn(run, call, out);
}

static hd_status str_islower(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return run_test(run, call, "lower", out);
}

static hd_status str_isupper(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return run_test(run, call, "upper", out);
}

static const hd_tpl_builtin string_methods[] = {
    {"capitalize", "", str_capitalize},
    {"casefold", "", str_lower},
    {"center", "!width fillchar", str_center},
    {"count", "!sub start end", str_count},
    {"endswith", "!suffix", str_endswith},
    {"find", "!sub start end", str_find},
    {"format", "*", str_format},
    {"index", "!sub start end", str_index},
    {"isalnum", "", str_isalnum},
    {"isalpha", "", str_isalpha},
    {"isascii", "", str_isascii},
    {"isdecimal", "", str_isdigit},
    {"isdigit", "", str_isdigit},
    {"islower", "", str_islower},
    {"isnumeric", "", str_isnumeric},
    {"isspace", "", str_isspace},
    {"isupper", "", str_isupper},
    {"join", "!iterable", str_join},
    {"ljust", "!width fillchar", str_ljust},
    {"lower", "", str_lower},
    {"lstrip", "chars", str_lstrip},
    {"partition", "!sep", str_partition},
    {"removeprefix", "!prefix", str_removeprefix},
    {"removesuffix", "!suffix", str_removesuffix},
    {"replace", "!old !new count", str_replace},
    {"rfind", "!sub start end", str_rfind},
    {"rindex", "!sub start end", str_rindex},
    {"rjust", "!width fillchar", str_rjust},
    {"rpartition", "!sep", str_rpartition},
    {"rsplit", "sep maxsplit", str_rsplit},
    {"rstrip", "chars", str_rstrip},
    {"split", "sep maxsplit", str_split},
    {"splitlines", "keepends", str_splitlines},
    {"startswith", "!prefix", str_startswith},
    {"strip", "chars", str_strip},
    {"swapcase", "", str_swapcase},
    {"title", "", str_title},
    {"upper", "", str_upper},
    {"zfill", "!width", str_zfill},
};

/* ---- dicts and lists: methods without a function would change their owner, and are refused ---- */

static hd_status new_view(hd_tpl_run *run, const hd_tpl_call *call, const char *name, hd_tv *out)
{
    HD_TRY(hd_tpl_list_new(run, HD_TV_VIEW, call->self.as.dict->n, call->self.trusted, out));
    out->as.list->name = name;
    return HD_OK;
}

static hd_status dict_items(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    const hd_tpl_dict *dict = call->self.as.dict;
    HD_TRY(new_view(run, call, "dict_items", out));
    for (size_t i = 0; i < dict->n; i++) {
        hd_tv pair;
        HD_TRY(hd_tpl_list_new(run, HD_TV_TUPLE, 2, call->self.trusted, &pair));
        HD_TRY(hd_tpl_list_push(run, pair, dict->pair[i].key));
        HD_TRY(hd_tpl_list_push(run, pair, dict->pair[i].value));
        HD_TRY(hd_tpl_list_push(run, *out, pair));
    }
    return HD_OK;
}

static hd_status dict_keys(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    HD_TRY(new_view(run, call, "dict_keys", out));
    for (size_t i = 0; i < call->self.as.dict->n; i++)
        HD_TRY(hd_tpl_list_push(run, *out, call->self.as.dict->pair[i].key));
    return HD_OK;
}

static hd_status dict_values(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    HD_TRY(new_view(run, call, "dict_values", out));
    for (size_t i = 0; i < call->self.as.dict->n; i++)
        HD_TRY(hd_tpl_list_push(run, *out, call->self.as.dict->pair[i].value));
    return HD_OK;
}

static hd_status dict_get(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    const hd_tv *value;
    if (!hd_tv_is_hashable(call->slot[0]))
        return hd_tpl_fail(run, HD_E_FORMAT, "a %s can't be the key of a dict", hd_tv_type_name(call->slot[0]));
    HD_TRY(hd_tpl_dict_get(run, call->self.as.dict, call->slot[0], &value));
    *out = value ? *value : call->slot[1].kind == HD_TV_ABSENT ? hd_tv_none() : call->slot[1];
    return HD_OK;
}

static hd_status copy_self(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    *out = call->self; /* nothing can change it */
    return HD_OK;
}

static const hd_tpl_builtin dict_methods[] = {
    {"clear", "*", NULL},        {"copy", "", copy_self},   {"get", "!key default", dict_get},
    {"items", "", dict_items},   {"keys", "", dict_keys},   {"pop", "*", NULL},
    {"popitem", "*", NULL},      {"setdefault", "*", NULL}, {"update", "*", NULL},
    {"values", "", dict_values},
};

static hd_status list_index(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    const hd_tpl_list *list = call->self.as.list;
    for (size_t i = 0; i < list->n; i++) {
        bool same;
        HD_TRY(hd_tpl_equal(run, list->item[i], call->slot[0], &same));
        if (same) return *out = hd_tv_int((int64_t)i, true), HD_OK;
    }
    return hd_tpl_fail(run, HD_E_FORMAT, "index(): the value is not in the list");
}

static hd_status list_count(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    int64_t n = 0;
    for (size_t i = 0; i < call->self.as.list->n; i++) {
        bool same;
        HD_TRY(hd_tpl_equal(run, call->self.as.list->item[i], call->slot[0], &same));
        n += same;
    }
    *out = hd_tv_int(n, true);
    return HD_OK;
}

static const hd_tpl_builtin list_methods[] = {
    {"append", "*", NULL},           {"clear", "*", NULL},  {"copy", "", copy_self},
    {"count", "!value", list_count}, {"extend", "*", NULL}, {"index", "!value", list_index},
    {"insert", "*", NULL},           {"pop", "*", NULL},    {"remove", "*", NULL},
    {"reverse", "*", NULL},          {"sort", "*", NULL},
};

/* ---- loops ---- */

static hd_status loop_cycle(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    if (call->n_pos == 0) return hd_tpl_fail(run, HD_E_FORMAT, "loop.cycle() needs something to cycle through");
    *out = call->pos[call->self.as.loop->index % call->n_pos];
    return HD_OK;
}

static hd_status loop_changed(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_loop *loop = call->self.as.loop;
    hd_tv now;
    bool same = false;
    HD_TRY(hd_tpl_list_new(run, HD_TV_TUPLE, call->n_pos, true, &now));
    for (size_t i = 0; i < call->n_pos; i++)
        HD_TRY(hd_tpl_list_push(run, now, call->pos[i]));
    if (loop->changed.kind != HD_TV_ABSENT) HD_TRY(hd_tpl_equal(run, now, loop->changed, &same));
    loop->changed = now;
    *out = hd_tv_bool(!same);
    return HD_OK;
}

static const hd_tpl_builtin loop_methods[] = {{"changed", "*", loop_changed}, {"cycle", "*", loop_cycle}};

const hd_tpl_builtin *hd_tpl_find_method(hd_tv_kind owner, hd_str name)
{
    switch (owner) {
    case HD_TV_STRING: return hd_tpl_find_in(string_methods, HD_ARRAY_LEN(string_methods), name);
    case HD_TV_DICT: return hd_tpl_find_in(dict_methods, HD_ARRAY_LEN(dict_methods), name);
    case HD_TV_LIST: return hd_tpl_find_in(list_methods, HD_ARRAY_LEN(list_methods), name);
    case HD_TV_TUPLE:
        if (hd_str_is(name, "index") || hd_str_is(name, "count"))
            return hd_tpl_find_in(list_methods, HD_ARRAY_LEN(list_methods), name);
        return NULL;
    case HD_TV_LOOP: return hd_tpl_find_in(loop_methods, HD_ARRAY_LEN(loop_methods), name);
    default: return NULL;
    }
}

/* ---- global functions ---- */

static hd_status global_raise(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text;
    (void)out;
    HD_TRY(hd_tpl_to_string(run, call->slot[0], &text));
    return hd_fail(run->err, HD_E_ARGUMENT, "the model's chat template refuses the messages: %.*s",
                   (int)HD_MIN(text.as.str->len, 600), text.as.str->data);
}

/* What range() looks like when it is printed. */
static hd_status range_name(hd_tpl_run *run, int64_t from, int64_t to, int64_t step, const char **out)
{
    const size_t size = 80;
    char *name = hd_tpl_alloc(run, size);
    if (!name) return hd_tpl_no_memory(run);
    int n = snprintf(name, size, "range(%lld, %lld", (long long)from, (long long)to);
    snprintf(name + n, size - (size_t)n, step == 1 ? ")" : ", %lld)", (long long)step);
    *out = name;
    return HD_OK;
}

static hd_status global_range(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    int64_t from = 0, to, step;
    bool one = call->slot[1].kind == HD_TV_ABSENT;
    HD_TRY(hd_tpl_arg_int(run, call, one ? 0 : 1, 0, &to));
    if (!one) HD_TRY(hd_tpl_arg_int(run, call, 0, 0, &from));
    HD_TRY(hd_tpl_arg_int(run, call, 2, 1, &step));
    if (step == 0) return hd_tpl_fail(run, HD_E_FORMAT, "range() needs a step other than zero");
    uint64_t span = step > 0    ? (from < to ? (uint64_t)to - (uint64_t)from : 0)
                    : from > to ? (uint64_t)from - (uint64_t)to
                                : 0;
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t n = span / stride + (span % stride != 0);
    if (n > HD_TPL_RANGE_MAX) return hd_tpl_fail(run, HD_E_LIMIT, "range() is longer than %d", HD_TPL_RANGE_MAX);
    HD_TRY(hd_tpl_work(run, n * 16));
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, n, true, out));
    HD_TRY(range_name(run, from, to, step, &out->as.list->name));
    for (uint64_t i = 0; i < n; i++)
        HD_TRY(hd_tpl_list_push(run, *out, hd_tv_int((int64_t)((uint64_t)from + i * (uint64_t)step), true)));
    return HD_OK;
}

/* Members of dict() and namespace(): those of a dict or pairs given first, then the keywords. */
static hd_status fill_dict(hd_tpl_run *run, const hd_tpl_call *call, hd_tv dict)
{
    if (call->n_pos > 1) return hd_tpl_fail(run, HD_E_FORMAT, "%s() takes one position at most", call->name);
    if (call->n_pos && call->pos[0].kind == HD_TV_DICT) {
        const hd_tpl_dict *from = call->pos[0].as.dict;
        for (size_t i = 0; i < from->n; i++)
            HD_TRY(hd_tpl_dict_set(run, dict.as.dict, from->pair[i].key, from->pair[i].value));
    } else if (call->n_pos) {
        hd_tpl_list pairs, pair;
        HD_TRY(hd_tpl_iterate(run, call->pos[0], &pairs));
        for (size_t i = 0; i < pairs.n; i++) {
            HD_TRY(hd_tpl_iterate(run, pairs.item[i], &pair));
            if (pair.n != 2) return hd_tpl_fail(run, HD_E_FORMAT, "%s() needs pairs of key and value", call->name);
            HD_TRY(hd_tpl_dict_set(run, dict.as.dict, pair.item[0], pair.item[1]));
        }
    }
    for (size_t i = 0; i < call->n_kw; i++) {
        hd_tv key;
        HD_TRY(hd_tpl_string(run, call->kw[i].name.data, call->kw[i].name.len, true, &key));
        HD_TRY(hd_tpl_dict_set(run, dict.as.dict, key, call->kw[i].value));
    }
    return HD_OK;
}

static hd_status global_dict(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    HD_TRY(hd_tpl_dict_new(run, HD_TV_DICT, 0, true, out));
    return fill_dict(run, call, *out);
}

static hd_status global_namespace(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    HD_TRY(hd_tpl_dict_new(run, HD_TV_NAMESPACE, 0, true, out));
    return fill_dict(run, call, *out);
}

/* The local time, as transformers' strftime_now; month and day names are English in every locale. */
static hd_status global_strftime_now(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    char format[128], text[512];
    hd_tv given;
    struct tm now;
    HD_TRY(hd_tpl_arg_string(run, call, 0, &given));
    hd_str s = hd_tv_text(given);
    if (s.len >= sizeof format) return hd_tpl_fail(run, HD_E_LIMIT, "strftime_now() got too long a format");
    memcpy(format, s.data, s.len);
    format[s.len] = '\0';
    time_t seconds = (time_t)(hd_clock_unix_ms() / 1000);
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c || !localtime_r(&seconds, &now)) return hd_tpl_fail(run, HD_E_INTERNAL, "the local time can't be told");
    size_t n = strftime_l(text, sizeof text, format, &now, c);
    freelocale(c);
    return hd_tpl_string_copy(run, text, n, hd_tv_all_trusted(given), out);
}

static const hd_tpl_builtin globals[] = {
    {"dict", "*", global_dict},
    {"namespace", "*", global_namespace},
    {"raise_exception", "message", global_raise},
    {"range", "!start stop step", global_range},
    {"strftime_now", "!format", global_strftime_now},
};

const hd_tpl_builtin *hd_tpl_find_global(hd_str name)
{
    return hd_tpl_find_in(globals, HD_ARRAY_LEN(globals), name);
}
