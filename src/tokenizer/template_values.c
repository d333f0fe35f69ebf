/* tokenizer/template_values.c: the values of a rendering: strings with trust, lists, dicts, comparison, text.
 *
 * Invariants: strings are valid UTF-8; values other than namespaces and rooms never change once they are visible to the
 * template (appending to a room only adds bytes behind every string that lies in it).
 */
#include "tokenizer/template_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tokenizer/utf8.h"

/* ---- arena ---- */

#define CHUNK_BYTES 16384 /* small renderings need one or two; larger objects get a chunk of their own */

struct hd_tpl_chunk {
    hd_tpl_chunk *next;
    size_t used, cap;
    _Alignas(16) char data[];
};

void *hd_tpl_arena_alloc(hd_tpl_arena *arena, size_t bytes)
{
    size_t rounded = bytes <= SIZE_MAX - 15 ? (bytes + 15) / 16 * 16 : SIZE_MAX;
    if (rounded > arena->max - arena->used) {
        arena->status = HD_E_LIMIT;
        return NULL;
    }
    hd_tpl_chunk *chunk = arena->first;
    if (!chunk || rounded > chunk->cap - chunk->used) {
        size_t cap = HD_MAX(rounded, CHUNK_BYTES);
        chunk = hd_alloc(sizeof *chunk + cap);
        if (!chunk) {
            arena->status = HD_E_MEMORY;
            return NULL;
        }
        *chunk = (hd_tpl_chunk){.next = arena->first, .cap = cap};
        arena->first = chunk;
    }
    void *block = chunk->data + chunk->used;
    chunk->used += rounded;
    arena->used += rounded;
    return block;
}

void hd_tpl_arena_free(hd_tpl_arena *arena)
{
    while (arena->first) {
        hd_tpl_chunk *next = arena->first->next;
        hd_free(arena->first);
        arena->first = next;
    }
    arena->used = 0;
}

/* ---- errors and caps ---- */

hd_status hd_tpl_fail(hd_tpl_run *run, hd_status status, const char *fmt, ...)
{
    char text[HD_ERROR_TEXT];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return hd_fail(run->err, status, "chat template, line %u: %s", run->line, text);
}

hd_status hd_tpl_no_memory(hd_tpl_run *run)
{
    if (run->arena.status == HD_E_LIMIT)
        return hd_tpl_fail(run, HD_E_LIMIT, "rendering needs more than %u bytes; shorten the conversation",
                           HD_TEMPLATE_BYTES);
    return hd_tpl_fail(run, HD_E_MEMORY, "out of memory");
}

static const char *owner_name(hd_tv_kind owner)
{
    const char *name = hd_tv_type_name((hd_tv){.kind = (uint8_t)owner});
    return owner == HD_TV_NONE ? "None" : name;
}

hd_status hd_tpl_undefined(hd_tpl_run *run, hd_tv v)
{
    const hd_tpl_undef *u = v.as.undef;
    if (u->hint) return hd_tpl_fail(run, HD_E_FORMAT, "%s", u->hint);
    int len = u->name.len > 200 ? 200 : (int)u->name.len;
    if (u->owner == HD_TV_ABSENT) return hd_tpl_fail(run, HD_E_FORMAT, "'%.*s' is undefined", len, u->name.data);
    return hd_tpl_fail(run, HD_E_FORMAT, "'%s' has no attribute '%.*s'", owner_name(u->owner), len, u->name.data);
}

hd_status hd_tpl_work(hd_tpl_run *run, size_t bytes)
{
    run->steps += 1 + bytes / 64;
    if (run->steps <= HD_TEMPLATE_STEPS) return HD_OK;
    return hd_tpl_fail(run, HD_E_LIMIT, "rendering takes more than %u steps", HD_TEMPLATE_STEPS);
}

hd_status hd_tpl_enter(hd_tpl_run *run)
{
    HD_TRY(hd_tpl_work(run, 0));
    if (run->depth >= HD_TPL_DEPTH)
        return hd_tpl_fail(run, HD_E_LIMIT, "expressions, macros or values nest deeper than %d", HD_TPL_DEPTH);
    run->depth++;
    return HD_OK;
}

void hd_tpl_leave(hd_tpl_run *run)
{
    run->depth--;
}

void *hd_tpl_alloc(hd_tpl_run *run, size_t bytes)
{
    size_t text = run->out->text.len + run->out->trusted.len;
    run->arena.max = HD_TEMPLATE_BYTES - HD_MIN(text, HD_TEMPLATE_BYTES);
    run->arena.max = HD_MAX(run->arena.max, run->arena.used);
    return hd_tpl_arena_alloc(&run->arena, bytes);
}

/* ---- kinds ---- */

const char *hd_tv_type_name(hd_tv v)
{
    static const char *const names[] = {"nothing",   "Undefined", "NoneType",    "bool",      "int",   "float",
                                        "str",       "list",      "tuple",       "generator", "view",  "dict",
                                        "Namespace", "Macro",     "LoopContext", "function",  "method"};
    return names[v.kind];
}

bool hd_tv_true(hd_tv v)
{
    switch ((hd_tv_kind)v.kind) {
    case HD_TV_ABSENT:
    case HD_TV_UNDEFINED:
    case HD_TV_NONE: return false;
    case HD_TV_BOOL: return v.as.boolean;
    case HD_TV_INT: return v.as.integer != 0;
    case HD_TV_FLOAT: return v.as.real != 0;
    case HD_TV_STRING: return v.as.str->len != 0;
    case HD_TV_LIST:
    case HD_TV_TUPLE:
    case HD_TV_VIEW: return v.as.list->n != 0;
    case HD_TV_DICT: return v.as.dict->n != 0;
    default: return true;
    }
}

bool hd_tv_is_hashable(hd_tv v)
{
    return v.kind != HD_TV_LIST && v.kind != HD_TV_DICT && v.kind != HD_TV_VIEW;
}

bool hd_tv_all_trusted(hd_tv v)
{
    if (v.kind != HD_TV_STRING || !v.as.str->trust) return v.trusted;
    return memchr(v.as.str->trust, 0, v.as.str->len) == NULL;
}

/* ---- UTF-8 ---- */

size_t hd_utf8_size(unsigned char lead)
{
    return lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

int32_t hd_utf8_read(const char *data, size_t len, size_t *size)
{
    uint32_t c;
    int step = hd_utf8_step((const uint8_t *)data, len, &c);
    *size = step > 0 ? (size_t)step : 1;
    return step > 0 ? (int32_t)c : -1;
}

size_t hd_utf8_count(const char *data, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)data[i] & 0xc0) != 0x80;
    return n;
}

size_t hd_utf8_offset(const char *data, size_t len, size_t chars)
{
    size_t pos = 0;
    for (; pos < len && chars > 0; chars--)
        pos += hd_utf8_size((unsigned char)data[pos]);
    return HD_MIN(pos, len);
}

/* ---- strings ---- */

static hd_status new_string(hd_tpl_run *run, hd_tpl_str str, bool trusted, hd_tv *out)
{
    hd_tpl_str *s = hd_tpl_alloc(run, sizeof *s);
    if (!s) return hd_tpl_no_memory(run);
    *s = str;
    *out = (hd_tv){.kind = HD_TV_STRING, .trusted = trusted, .as.str = s};
    return HD_OK;
}

hd_status hd_tpl_string(hd_tpl_run *run, const char *data, size_t len, bool trusted, hd_tv *out)
{
    return new_string(run, (hd_tpl_str){.data = data, .len = len}, trusted, out);
}

hd_status hd_tpl_string_copy(hd_tpl_run *run, const char *data, size_t len, bool trusted, hd_tv *out)
{
    char *copy = hd_tpl_alloc(run, len);
    if (!copy) return hd_tpl_no_memory(run);
    if (len) memcpy(copy, data, len);
    return hd_tpl_string(run, copy, len, trusted, out);
}

hd_status hd_tpl_sub(hd_tpl_run *run, hd_tv s, size_t from, size_t len, hd_tv *out)
{
    const hd_tpl_str *whole = s.as.str;
    if (len == whole->len) {
        *out = s;
        return HD_OK;
    }
    hd_tpl_str part = {.data = whole->data + from, .len = len};
    if (whole->trust) part.trust = whole->trust + from;
    if (from + len == whole->len) part.room = whole->room;
    return new_string(run, part, s.trusted, out);
}

/* Copies the trust of `s` to `trust`. */
static void spread_trust(uint8_t *trust, hd_tv s)
{
    if (s.as.str->len == 0) return;
    if (s.as.str->trust)
        memcpy(trust, s.as.str->trust, s.as.str->len);
    else
        memset(trust, s.trusted, s.as.str->len);
}

/* Whether all bytes of the string have one trust, and that is `trusted`. */
static bool is_uniform(hd_tv s, bool trusted)
{
    return s.as.str->len == 0 || (!s.as.str->trust && s.trusted == trusted);
}

static hd_status room_append(hd_tpl_run *run, hd_tpl_room *room, hd_tv s)
{
    if (!room->trust && !is_uniform(s, room->trusted)) {
        room->trust = hd_tpl_alloc(run, room->cap);
        if (!room->trust) return hd_tpl_no_memory(run);
        memset(room->trust, room->trusted, room->len);
    }
    if (s.as.str->len) memcpy(room->data + room->len, s.as.str->data, s.as.str->len);
    if (room->trust) spread_trust(room->trust + room->len, s);
    room->len += s.as.str->len;
    return HD_OK;
}

/* A room that holds `a`, with space for `b`: twice as much when `a` was itself made by appending, so that a template
 * that collects text in a loop stays linear. */
static hd_status new_room(hd_tpl_run *run, hd_tv a, hd_tv b, hd_tpl_room **out)
{
    size_t len = a.as.str->len + b.as.str->len;
    size_t cap = len + (a.as.str->room ? len : 64);
    hd_tpl_room *room = hd_tpl_alloc(run, sizeof *room);
    char *data = room ? hd_tpl_alloc(run, cap) : NULL;
    if (!data) return hd_tpl_no_memory(run);
    *room = (hd_tpl_room){.data = data, .cap = cap, .trusted = a.as.str->len ? a.trusted : b.trusted};
    HD_TRY(room_append(run, room, a));
    *out = room;
    return HD_OK;
}

hd_status hd_tpl_concat(hd_tpl_run *run, hd_tv a, hd_tv b, hd_tv *out)
{
    const hd_tpl_str *left = a.as.str;
    hd_tpl_room *room = left->room;
    if (b.as.str->len == 0 || left->len == 0) {
        *out = b.as.str->len == 0 ? a : b;
        return HD_OK;
    }
    bool fits = room && left->data + left->len == room->data + room->len && b.as.str->len <= room->cap - room->len;
    if (!fits) {
        HD_TRY(hd_tpl_work(run, left->len));
        HD_TRY(new_room(run, a, b, &room));
    }
    HD_TRY(hd_tpl_work(run, b.as.str->len));
    size_t from = room->len - left->len;
    HD_TRY(room_append(run, room, b));
    hd_tpl_str both = {.data = room->data + from, .len = room->len - from, .room = room};
    if (room->trust) both.trust = room->trust + from;
    return new_string(run, both, room->trusted, out);
}

hd_status hd_tpl_chars(hd_tpl_run *run, hd_tv s, hd_tv *out)
{
    hd_str text = hd_tv_text(s);
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, hd_utf8_count(text.data, text.len), s.trusted, out));
    for (size_t pos = 0; pos < text.len;) {
        size_t size = hd_utf8_size((unsigned char)text.data[pos]);
        hd_tv c;
        HD_TRY(hd_tpl_work(run, 0));
        HD_TRY(hd_tpl_sub(run, s, pos, size, &c));
        HD_TRY(hd_tpl_list_push(run, *out, c));
        pos += size;
    }
    return HD_OK;
}

/* ---- lists and dicts ---- */

hd_status hd_tpl_list_new(hd_tpl_run *run, hd_tv_kind kind, size_t cap, bool trusted, hd_tv *out)
{
    hd_tpl_list *list = hd_tpl_alloc(run, sizeof *list);
    hd_tv *item = list ? hd_tpl_alloc(run, cap * sizeof *item) : NULL;
    if (!item) return hd_tpl_no_memory(run);
    *list = (hd_tpl_list){.item = item, .cap = cap};
    *out = (hd_tv){.kind = (uint8_t)kind, .trusted = trusted, .as.list = list};
    return HD_OK;
}

hd_status hd_tpl_list_push(hd_tpl_run *run, hd_tv value, hd_tv item)
{
    hd_tpl_list *list = value.as.list;
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        hd_tv *grown = hd_tpl_alloc(run, cap * sizeof *grown);
        if (!grown) return hd_tpl_no_memory(run);
        if (list->n) memcpy(grown, list->item, list->n * sizeof *grown);
        list->item = grown;
        list->cap = cap;
    }
    list->item[list->n++] = item;
    return HD_OK;
}

hd_status hd_tpl_dict_new(hd_tpl_run *run, hd_tv_kind kind, size_t cap, bool trusted, hd_tv *out)
{
    hd_tpl_dict *dict = hd_tpl_alloc(run, sizeof *dict);
    hd_tpl_pair *pair = dict ? hd_tpl_alloc(run, cap * sizeof *pair) : NULL;
    if (!pair) return hd_tpl_no_memory(run);
    *dict = (hd_tpl_dict){.pair = pair, .cap = cap};
    *out = (hd_tv){.kind = (uint8_t)kind, .trusted = trusted, .as.dict = dict};
    return HD_OK;
}

static hd_status dict_add(hd_tpl_run *run, hd_tpl_dict *dict, hd_tv key, hd_tv value)
{
    if (dict->n == dict->cap) {
        size_t cap = dict->cap ? dict->cap * 2 : 4;
        hd_tpl_pair *grown = hd_tpl_alloc(run, cap * sizeof *grown);
        if (!grown) return hd_tpl_no_memory(run);
        if (dict->n) memcpy(grown, dict->pair, dict->n * sizeof *grown);
        dict->pair = grown;
        dict->cap = cap;
    }
    dict->pair[dict->n++] = (hd_tpl_pair){key, value};
    return HD_OK;
}

hd_status hd_tpl_dict_get(hd_tpl_run *run, const hd_tpl_dict *dict, hd_tv key, const hd_tv **out)
{
    *out = NULL;
    if (key.kind == HD_TV_STRING) {
        *out = hd_tpl_dict_find(dict, hd_tv_text(key));
        return hd_tpl_work(run, dict->n * 4);
    }
    for (size_t i = 0; i < dict->n; i++) {
        bool same;
        HD_TRY(hd_tpl_equal(run, dict->pair[i].key, key, &same));
        if (!same) continue;
        *out = &dict->pair[i].value;
        break;
    }
    return HD_OK;
}

const hd_tv *hd_tpl_dict_find(const hd_tpl_dict *dict, hd_str key)
{
    for (size_t i = 0; i < dict->n; i++) {
        const hd_tv *have = &dict->pair[i].key;
        if (have->kind == HD_TV_STRING && have->as.str->len == key.len &&
            (key.len == 0 || memcmp(have->as.str->data, key.data, key.len) == 0))
            return &dict->pair[i].value;
    }
    return NULL;
}

hd_status hd_tpl_dict_set(hd_tpl_run *run, hd_tpl_dict *dict, hd_tv key, hd_tv value)
{
    const hd_tv *have;
    if (!hd_tv_is_hashable(key))
        return hd_tpl_fail(run, HD_E_FORMAT, "a %s can't be the key of a dict", hd_tv_type_name(key));
    HD_TRY(hd_tpl_dict_get(run, dict, key, &have));
    if (!have) return dict_add(run, dict, key, value);
    dict->pair[(const hd_tpl_pair *)((const char *)have - offsetof(hd_tpl_pair, value)) - dict->pair].value = value;
    return HD_OK;
}

hd_status hd_tpl_new_undefined(hd_tpl_run *run, hd_str name, hd_tv_kind owner, const char *hint, hd_tv *out)
{
    hd_tpl_undef *u = hd_tpl_alloc(run, sizeof *u);
    if (!u) return hd_tpl_no_memory(run);
    *u = (hd_tpl_undef){name, owner, hint};
    *out = (hd_tv){.kind = HD_TV_UNDEFINED, .trusted = true, .as.undef = u};
    return HD_OK;
}

/* ---- from JSON ---- */

static hd_status list_from_json(hd_tpl_run *run, const json_t *json, hd_tv *out)
{
    size_t n = json_array_size(json);
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, n, false, out));
    for (size_t i = 0; i < n; i++) {
        hd_tv item;
        HD_TRY(hd_tpl_from_json(run, json_array_get(json, i), &item));
        HD_TRY(hd_tpl_list_push(run, *out, item));
    }
    return HD_OK;
}

static hd_status dict_from_json(hd_tpl_run *run, const json_t *json, hd_tv *out)
{
    HD_TRY(hd_tpl_dict_new(run, HD_TV_DICT, json_object_size(json), false, out));
    /* jansson's iterators take a pointer to non-const and do not change the object. */
    json_t *object = (json_t *)(uintptr_t)json;
    for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
        hd_tv key, value;
        const char *name = json_object_iter_key(it);
        HD_TRY(hd_tpl_string(run, name, strlen(name), false, &key));
        HD_TRY(hd_tpl_from_json(run, json_object_iter_value(it), &value));
        HD_TRY(dict_add(run, out->as.dict, key, value));
    }
    return HD_OK;
}

hd_status hd_tpl_from_json(hd_tpl_run *run, const json_t *json, hd_tv *out)
{
    hd_status status = HD_OK;
    HD_TRY(hd_tpl_enter(run));
    switch (json_typeof(json)) {
    case JSON_OBJECT: status = dict_from_json(run, json, out); break;
    case JSON_ARRAY: status = list_from_json(run, json, out); break;
    case JSON_STRING: status = hd_tpl_string(run, json_string_value(json), json_string_length(json), false, out); break;
    case JSON_INTEGER: *out = hd_tv_int(json_integer_value(json), false); break;
    case JSON_REAL: *out = hd_tv_float(json_real_value(json), false); break;
    case JSON_TRUE:
    case JSON_FALSE: *out = (hd_tv){.kind = HD_TV_BOOL, .as.boolean = json_is_true(json)}; break;
    case JSON_NULL: *out = (hd_tv){.kind = HD_TV_NONE}; break;
    }
    hd_tpl_leave(run);
    return status;
}

/* ---- iteration ---- */

hd_status hd_tpl_iterate(hd_tpl_run *run, hd_tv v, hd_tpl_list *out)
{
    hd_tv list = v;
    *out = (hd_tpl_list){.n = 0};
    switch ((hd_tv_kind)v.kind) {
    case HD_TV_UNDEFINED: return HD_OK;
    case HD_TV_STRING: HD_TRY(hd_tpl_chars(run, v, &list)); break;
    case HD_TV_DICT:
        HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, v.as.dict->n, v.trusted, &list));
        for (size_t i = 0; i < v.as.dict->n; i++)
            HD_TRY(hd_tpl_list_push(run, list, v.as.dict->pair[i].key));
        break;
    case HD_TV_ITERATOR:
        *out = (hd_tpl_list){.item = v.as.list->item + v.as.list->next, .n = v.as.list->n - v.as.list->next};
        v.as.list->next = v.as.list->n;
        return hd_tpl_work(run, out->n);
    default: break;
    }
    if (!hd_tv_is_list(list)) return hd_tpl_fail(run, HD_E_FORMAT, "'%s' object is not iterable", hd_tv_type_name(v));
    *out = (hd_tpl_list){.item = list.as.list->item, .n = list.as.list->n};
    return hd_tpl_work(run, out->n);
}

/* ---- comparison ---- */

static hd_status lists_equal(hd_tpl_run *run, const hd_tpl_list *a, const hd_tpl_list *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++)
        HD_TRY(hd_tpl_equal(run, a->item[i], b->item[i], out));
    return HD_OK;
}

static hd_status dicts_equal(hd_tpl_run *run, const hd_tpl_dict *a, const hd_tpl_dict *b, bool *out)
{
    *out = a->n == b->n;
    for (size_t i = 0; *out && i < a->n; i++) {
        const hd_tv *other;
        HD_TRY(hd_tpl_dict_get(run, b, a->pair[i].key, &other));
        *out = other != NULL;
        if (other) HD_TRY(hd_tpl_equal(run, a->pair[i].value, *other, out));
    }
    return HD_OK;
}

/* long double holds every int64_t and every double exactly. */
static long double exact(hd_tv v)
{
    return v.kind == HD_TV_FLOAT ? (long double)v.as.real : (long double)hd_tv_integer(v);
}

static hd_status equal_inside(hd_tpl_run *run, hd_tv a, hd_tv b, bool *out)
{
    *out = false;
    if (hd_tv_is_number(a) && hd_tv_is_number(b)) {
        *out = exact(a) == exact(b);
        return HD_OK;
    }
    if (a.kind != b.kind) return HD_OK;
    switch ((hd_tv_kind)a.kind) {
    case HD_TV_UNDEFINED:
    case HD_TV_NONE: *out = true; return HD_OK;
    case HD_TV_STRING:
        *out = a.as.str->len == b.as.str->len && memcmp(a.as.str->data, b.as.str->data, a.as.str->len) == 0;
        return hd_tpl_work(run, *out ? a.as.str->len : 0);
    case HD_TV_LIST:
    case HD_TV_TUPLE:
    case HD_TV_VIEW: return lists_equal(run, a.as.list, b.as.list, out);
    case HD_TV_DICT: return dicts_equal(run, a.as.dict, b.as.dict, out);
    default: *out = a.as.list == b.as.list; return HD_OK; /* the same object */
    }
}

hd_status hd_tpl_equal(hd_tpl_run *run, hd_tv a, hd_tv b, bool *out)
{
    HD_TRY(hd_tpl_enter(run));
    hd_status status = equal_inside(run, a, b, out);
    hd_tpl_leave(run);
    return status;
}

static hd_status order_inside(hd_tpl_run *run, hd_tv a, hd_tv b, int *out)
{
    if (hd_tv_is_number(a) && hd_tv_is_number(b)) {
        long double x = exact(a), y = exact(b);
        *out = x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
        return HD_OK;
    }
    if (a.kind == HD_TV_STRING && b.kind == HD_TV_STRING) { /* UTF-8 sorts as its code points do */
        size_t n = HD_MIN(a.as.str->len, b.as.str->len);
        int order = n ? memcmp(a.as.str->data, b.as.str->data, n) : 0;
        *out = order ? order : (a.as.str->len > b.as.str->len) - (a.as.str->len < b.as.str->len);
        *out = (*out > 0) - (*out < 0);
        return hd_tpl_work(run, n);
    }
    if (a.kind == b.kind && (a.kind == HD_TV_LIST || a.kind == HD_TV_TUPLE)) {
        const hd_tpl_list *x = a.as.list, *y = b.as.list;
        *out = 0;
        for (size_t i = 0; i < x->n && i < y->n; i++) {
            bool same;
            HD_TRY(hd_tpl_equal(run, x->item[i], y->item[i], &same));
            if (!same) return hd_tpl_order(run, x->item[i], y->item[i], out);
        }
        *out = (x->n > y->n) - (x->n < y->n);
        return HD_OK;
    }
    if (a.kind == HD_TV_UNDEFINED || b.kind == HD_TV_UNDEFINED)
        return hd_tpl_undefined(run, a.kind == HD_TV_UNDEFINED ? a : b);
    return hd_tpl_fail(run, HD_E_FORMAT, "'%s' and '%s' have no order", hd_tv_type_name(a), hd_tv_type_name(b));
}

hd_status hd_tpl_order(hd_tpl_run *run, hd_tv a, hd_tv b, int *out)
{
    HD_TRY(hd_tpl_enter(run));
    hd_status status = order_inside(run, a, b, out);
    hd_tpl_leave(run);
    return status;
}

hd_status hd_tpl_contains(hd_tpl_run *run, hd_tv needle, hd_tv in, bool *out)
{
    *out = false;
    if (in.kind == HD_TV_STRING) {
        if (needle.kind != HD_TV_STRING)
            return hd_tpl_fail(run, HD_E_FORMAT, "'in <string>' needs a string on its left, not %s",
                               hd_tv_type_name(needle));
        *out = memmem(in.as.str->data, in.as.str->len, needle.as.str->data, needle.as.str->len) != NULL;
        return hd_tpl_work(run, in.as.str->len);
    }
    if (in.kind == HD_TV_DICT) {
        const hd_tv *have;
        HD_TRY(hd_tpl_dict_get(run, in.as.dict, needle, &have));
        *out = have != NULL;
        return HD_OK;
    }
    hd_tpl_list items;
    HD_TRY(hd_tpl_iterate(run, in, &items));
    for (size_t i = 0; !*out && i < items.n; i++)
        HD_TRY(hd_tpl_equal(run, items.item[i], needle, out));
    return HD_OK;
}

/* ---- text ---- */

/* Room for `len` more bytes of output and of its trust map. */
static hd_status put_reserve(hd_tpl_run *run, size_t len)
{
    hd_buf *text = &run->out->text, *trust = &run->out->trusted;
    HD_TRY(hd_tpl_work(run, len));
    if (len > HD_TEMPLATE_BYTES || run->arena.used + text->len + trust->len + 2 * len > HD_TEMPLATE_BYTES) {
        run->arena.status = HD_E_LIMIT;
        return hd_tpl_no_memory(run);
    }
    if (hd_buf_reserve(text, len) == HD_OK && hd_buf_reserve(trust, len) == HD_OK) return HD_OK;
    run->arena.status = HD_E_MEMORY;
    return hd_tpl_no_memory(run);
}

/* Copies to reserved room. */
static void put_bytes(hd_tpl_run *run, const char *data, size_t len, const uint8_t *trust, bool trusted)
{
    hd_buf *text = &run->out->text, *map = &run->out->trusted;
    if (len == 0) return;
    memcpy(text->data + text->len, data, len);
    if (trust)
        memcpy(map->data + map->len, trust, len);
    else
        memset(map->data + map->len, trusted, len);
    text->len += len;
    map->len += len;
    text->data[text->len] = map->data[map->len] = '\0';
}

hd_status hd_tpl_put(hd_tpl_run *run, const char *data, size_t len, bool trusted)
{
    HD_TRY(put_reserve(run, len));
    put_bytes(run, data, len, NULL, trusted);
    return HD_OK;
}

hd_status hd_tpl_puts(hd_tpl_run *run, const char *text, bool trusted)
{
    return hd_tpl_put(run, text, strlen(text), trusted);
}

hd_status hd_tpl_put_sub(hd_tpl_run *run, hd_tv s, size_t from, size_t len)
{
    const hd_tpl_str *str = s.as.str;
    HD_TRY(put_reserve(run, len));
    put_bytes(run, str->data + from, len, str->trust ? str->trust + from : NULL, s.trusted);
    return HD_OK;
}

hd_status hd_tpl_put_fill(hd_tpl_run *run, hd_tv s, size_t times)
{
    size_t bytes;
    if (__builtin_mul_overflow(s.as.str->len, times, &bytes)) bytes = SIZE_MAX;
    if (bytes > HD_TEMPLATE_BYTES) {
        run->arena.status = HD_E_LIMIT;
        return hd_tpl_no_memory(run);
    }
    if (bytes == 0) return HD_OK;
    hd_buf *text = &run->out->text, *map = &run->out->trusted;
    size_t start = text->len, done = s.as.str->len;
    HD_TRY(put_reserve(run, bytes));
    put_bytes(run, s.as.str->data, done, s.as.str->trust, s.trusted);
    for (size_t n; done < bytes; done += n) { /* what is there already, again */
        n = HD_MIN(done, bytes - done);
        put_bytes(run, text->data + start, n, (const uint8_t *)map->data + start, false);
    }
    return HD_OK;
}

size_t hd_tpl_mark(const hd_tpl_run *run)
{
    return run->out->text.len;
}

hd_status hd_tpl_take(hd_tpl_run *run, size_t mark, hd_tv *out)
{
    hd_buf *text = &run->out->text, *map = &run->out->trusted;
    size_t len = text->len - mark;
    if (len == 0) return hd_tpl_string(run, "", 0, true, out);
    const uint8_t *trust = (const uint8_t *)map->data + mark;
    bool trusted = trust[0];
    bool mixed = memchr(trust, trusted ? 0 : 1, len) != NULL;
    char *copy = hd_tpl_alloc(run, len);
    uint8_t *copied_trust = copy && mixed ? hd_tpl_alloc(run, len) : NULL;
    if (!copy || (mixed && !copied_trust)) return hd_tpl_no_memory(run);
    memcpy(copy, text->data + mark, len);
    if (mixed) memcpy(copied_trust, trust, len);
    text->len = map->len = mark;
    return new_string(run, (hd_tpl_str){.data = copy, .len = len, .trust = copied_trust}, trusted, out);
}

hd_status hd_tpl_to_string(hd_tpl_run *run, hd_tv v, hd_tv *out)
{
    if (v.kind == HD_TV_STRING) {
        *out = v;
        return HD_OK;
    }
    size_t mark = hd_tpl_mark(run);
    HD_TRY(hd_tpl_put_str(run, v));
    return hd_tpl_take(run, mark, out);
}

static hd_status put_string_repr(hd_tpl_run *run, hd_tv v)
{
    hd_str s = hd_tv_text(v);
    bool trusted = hd_tv_all_trusted(v);
    char quote = s.len && memchr(s.data, '\'', s.len) && !memchr(s.data, '"', s.len) ? '"' : '\'';
    HD_TRY(hd_tpl_put(run, &quote, 1, trusted));
    for (size_t pos = 0, size; pos < s.len; pos += size) {
        char escape[16] = "";
        int32_t c = hd_utf8_read(s.data + pos, s.len - pos, &size);
        if (c == quote || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (!hd_python_is_printable(c))
            snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
        if (escape[0])
            HD_TRY(hd_tpl_puts(run, escape, trusted));
        else
            HD_TRY(hd_tpl_put_sub(run, v, pos, size));
    }
    return hd_tpl_put(run, &quote, 1, trusted);
}

static hd_status put_list_repr(hd_tpl_run *run, hd_tv v)
{
    const hd_tpl_list *list = v.as.list;
    bool tuple = v.kind == HD_TV_TUPLE;
    if (v.kind == HD_TV_LIST && list->name) return hd_tpl_puts(run, list->name, v.trusted);
    if (v.kind == HD_TV_VIEW) HD_TRY(hd_tpl_puts(run, list->name, v.trusted));
    if (v.kind == HD_TV_VIEW) HD_TRY(hd_tpl_puts(run, "(", v.trusted));
    HD_TRY(hd_tpl_puts(run, tuple ? "(" : "[", v.trusted));
    for (size_t i = 0; i < list->n; i++) {
        if (i) HD_TRY(hd_tpl_puts(run, ", ", v.trusted));
        HD_TRY(hd_tpl_put_repr(run, list->item[i]));
    }
    HD_TRY(hd_tpl_puts(run, !tuple ? "]" : list->n == 1 ? ",)" : ")", v.trusted));
    return v.kind == HD_TV_VIEW ? hd_tpl_puts(run, ")", v.trusted) : HD_OK;
}

static hd_status put_dict_repr(hd_tpl_run *run, hd_tv v)
{
    const hd_tpl_dict *dict = v.as.dict;
    HD_TRY(hd_tpl_puts(run, v.kind == HD_TV_NAMESPACE ? "<Namespace {" : "{", v.trusted));
    for (size_t i = 0; i < dict->n; i++) {
        if (i) HD_TRY(hd_tpl_puts(run, ", ", v.trusted));
        HD_TRY(hd_tpl_put_repr(run, dict->pair[i].key));
        HD_TRY(hd_tpl_puts(run, ": ", v.trusted));
        HD_TRY(hd_tpl_put_repr(run, dict->pair[i].value));
    }
    return hd_tpl_puts(run, v.kind == HD_TV_NAMESPACE ? "}>" : "}", v.trusted);
}

static hd_status put_repr_inside(hd_tpl_run *run, hd_tv v)
{
    char number[HD_PYTHON_FLOAT];
    switch ((hd_tv_kind)v.kind) {
    case HD_TV_NONE: return hd_tpl_puts(run, "None", v.trusted);
    case HD_TV_BOOL: return hd_tpl_puts(run, v.as.boolean ? "True" : "False", v.trusted);
    case HD_TV_INT:
        snprintf(number, sizeof number, "%lld", (long long)v.as.integer);
        return hd_tpl_puts(run, number, v.trusted);
    case HD_TV_FLOAT: return hd_tpl_put(run, number, hd_python_float(v.as.real, number), v.trusted);
    case HD_TV_STRING: return put_string_repr(run, v);
    case HD_TV_LIST:
    case HD_TV_TUPLE:
    case HD_TV_VIEW: return put_list_repr(run, v);
    case HD_TV_DICT:
    case HD_TV_NAMESPACE: return put_dict_repr(run, v);
    case HD_TV_MACRO:
        HD_TRY(hd_tpl_puts(run, "<Macro '", true));
        HD_TRY(hd_tpl_put(run, v.as.macro->node->name.data, v.as.macro->node->name.len, true));
        return hd_tpl_puts(run, "'>", true);
    case HD_TV_UNDEFINED: return hd_tpl_puts(run, "Undefined", true);
    default: HD_TRY(hd_tpl_puts(run, "<", true)); break;
    }
    HD_TRY(hd_tpl_puts(run, hd_tv_type_name(v), true));
    return hd_tpl_puts(run, ">", true);
}

hd_status hd_tpl_put_repr(hd_tpl_run *run, hd_tv v)
{
    HD_TRY(hd_tpl_enter(run));
    hd_status status = put_repr_inside(run, v);
    hd_tpl_leave(run);
    return status;
}

hd_status hd_tpl_put_str(hd_tpl_run *run, hd_tv v)
{
    if (v.kind == HD_TV_STRING) return hd_tpl_put_sub(run, v, 0, v.as.str->len);
    if (v.kind == HD_TV_UNDEFINED) return HD_OK;
    return hd_tpl_put_repr(run, v);
}
