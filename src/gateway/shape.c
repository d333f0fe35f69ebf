/* gateway/shape.c: requests checked against their tables, and the schemas of these tables. */
#include "gateway/shape.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "gateway/json_out.h"

const hd_shape hd_shape_bool = {.kind = HD_SHAPE_BOOL};
const hd_shape hd_shape_int = {.kind = HD_SHAPE_INT};
const hd_shape hd_shape_count = {.kind = HD_SHAPE_INT, .min = 1, .max = 2147483647.0};
const hd_shape hd_shape_number = {.kind = HD_SHAPE_NUMBER};
const hd_shape hd_shape_string = {.kind = HD_SHAPE_STRING};
const hd_shape hd_shape_any = {.kind = HD_SHAPE_ANY};
const hd_shape hd_shape_object = {.kind = HD_SHAPE_MAP};

/* Where the check is: the path so far, cut when it grows too long. */
typedef struct place {
    char path[HD_SHAPE_PATH];
    size_t len;
} place;

static size_t enter_name(place *at, const char *name)
{
    size_t before = at->len;
    int n = snprintf(at->path + at->len, sizeof at->path - at->len, "%s%s", before ? "." : "", name);
    at->len = HD_MIN(at->len + (size_t)HD_MAX(n, 0), sizeof at->path - 1);
    return before;
}

static size_t enter_index(place *at, size_t index)
{
    size_t before = at->len;
    int n = snprintf(at->path + at->len, sizeof at->path - at->len, "[%zu]", index);
    at->len = HD_MIN(at->len + (size_t)HD_MAX(n, 0), sizeof at->path - 1);
    return before;
}

static void leave(place *at, size_t before)
{
    at->len = before;
    at->path[before] = '\0';
}

static hd_status refuse(place *at, hd_error *err, const char *text)
{
    return hd_fail(err, HD_E_ARGUMENT, "%s: %s", at->len ? at->path : "the body", text);
}

/* ---- what was expected, in words ---- */

static const char *kind_name(const hd_shape *shape)
{
    static const char *const names[] = {
        [HD_SHAPE_BOOL] = "true or false", [HD_SHAPE_INT] = "an integer", [HD_SHAPE_NUMBER] = "a number",
        [HD_SHAPE_STRING] = "a string",    [HD_SHAPE_LIST] = "a list",    [HD_SHAPE_OBJECT] = "an object",
        [HD_SHAPE_MAP] = "an object",      [HD_SHAPE_ANY] = "any value"};
    return shape->kind == HD_SHAPE_ANY_OF ? "one of several kinds" : names[shape->kind];
}

static const char *plural(const hd_shape *shape)
{
    static const char *const names[] = {
        [HD_SHAPE_BOOL] = "booleans",  [HD_SHAPE_INT] = "integers",  [HD_SHAPE_NUMBER] = "numbers",
        [HD_SHAPE_STRING] = "strings", [HD_SHAPE_LIST] = "lists",    [HD_SHAPE_OBJECT] = "objects",
        [HD_SHAPE_MAP] = "objects",    [HD_SHAPE_ANY_OF] = "values", [HD_SHAPE_ANY] = "values"};
    return names[shape->kind];
}

static void expect(const hd_shape *shape, char *out, size_t size)
{
    if (shape->kind == HD_SHAPE_ANY_OF) {
        size_t len = (size_t)snprintf(out, size, "must be ");
        for (size_t i = 0; shape->any[i] && len < size; i++) {
            const hd_shape *one = shape->any[i];
            const char *joint = i == 0 ? "" : shape->any[i + 1] ? ", " : " or ";
            if (one->choices)
                len += (size_t)snprintf(out + len, size - len, "%sone of %s", joint, one->choices);
            else if (one->kind == HD_SHAPE_LIST && one->items)
                len += (size_t)snprintf(out + len, size - len, "%sa list of %s", joint, plural(one->items));
            else
                len += (size_t)snprintf(out + len, size - len, "%s%s", joint, kind_name(one));
        }
        return;
    }
    if (shape->choices)
        snprintf(out, size, "must be one of %s", shape->choices);
    else
        snprintf(out, size, "must be %s", kind_name(shape));
}

static hd_status refuse_kind(place *at, const hd_shape *shape, hd_error *err)
{
    char text[256];
    expect(shape, text, sizeof text);
    return refuse(at, err, text);
}

/* ---- checks ---- */

static hd_status check(const hd_shape *shape, const json_t *value, place *at, hd_error *err);

static bool has_range(const hd_shape *shape)
{
    return shape->min != 0 || shape->max != 0;
}

static hd_status check_range(const hd_shape *shape, double value, const char *what, place *at, hd_error *err)
{
    if (!has_range(shape) || (value >= shape->min && value <= shape->max)) return HD_OK;
    char text[128];
    if (shape->max >= DBL_MAX)
        snprintf(text, sizeof text, "%s must be at least %g", what, shape->min);
    else
        snprintf(text, sizeof text, "%s must be between %g and %.10g", what, shape->min, shape->max);
    return refuse(at, err, text);
}

static bool is_choice(const char *choices, const char *text, size_t len)
{
    for (const char *at = choices; *at;) {
        size_t n = strcspn(at, "|");
        if (n == len && memcmp(at, text, n) == 0) return true;
        at += n + (at[n] == '|');
    }
    return false;
}

/* 16.0 is an integer to JSON Schema, and some clients write it so. */
static bool is_integer(const json_t *value)
{
    double real = json_real_value(value);
    return json_is_integer(value) || (json_is_real(value) && real == trunc(real) && fabs(real) < 9e15);
}

static hd_status check_string(const hd_shape *shape, const json_t *value, place *at, hd_error *err)
{
    if (!json_is_string(value)) return refuse_kind(at, shape, err);
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (shape->choices && !is_choice(shape->choices, text, len)) return refuse_kind(at, shape, err);
    if (shape->no_nul && strlen(text) != len) return refuse(at, err, "must not have the character U+0000");
    return check_range(shape, (double)len, "its length", at, err);
}

static hd_status check_list(const hd_shape *shape, const json_t *value, place *at, hd_error *err)
{
    if (!json_is_array(value)) return refuse_kind(at, shape, err);
    HD_TRY(check_range(shape, (double)json_array_size(value), "its length", at, err));
    for (size_t i = 0; shape->items && i < json_array_size(value); i++) {
        size_t before = enter_index(at, i);
        HD_TRY(check(shape->items, json_array_get(value, i), at, err));
        leave(at, before);
    }
    return HD_OK;
}

static hd_status check_object(const hd_shape *shape, const json_t *value, place *at, hd_error *err)
{
    if (!json_is_object(value)) return refuse_kind(at, shape, err);
    for (const hd_field *f = shape->fields; f->name; f++) {
        const json_t *member = json_object_get(value, f->name);
        size_t before = enter_name(at, f->name);
        if (f->required && !member) return refuse(at, err, "is missing");
        if (member && (f->required || !json_is_null(member))) HD_TRY(check(f->shape, member, at, err));
        leave(at, before);
    }
    return HD_OK;
}

static hd_status check_map(const hd_shape *shape, const json_t *value, place *at, hd_error *err)
{
    if (!json_is_object(value)) return refuse_kind(at, shape, err);
    if (!shape->items) return HD_OK;
    const char *key;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        size_t before = enter_name(at, key);
        HD_TRY(check(shape->items, member, at, err));
        leave(at, before);
    }
    return HD_OK;
}

/* Of several alternatives the one of the value's own JSON type tells what is wrong with it; where none or several are,
 * all are named. */
static hd_status check_any_of(const hd_shape *shape, const json_t *value, place *at, hd_error *err)
{
    static const json_type types[] = {[HD_SHAPE_STRING] = JSON_STRING,
                                      [HD_SHAPE_LIST] = JSON_ARRAY,
                                      [HD_SHAPE_OBJECT] = JSON_OBJECT,
                                      [HD_SHAPE_MAP] = JSON_OBJECT};
    place deepest = *at;
    hd_error first;
    bool alone = false, seen = false;
    for (size_t i = 0; shape->any[i]; i++) {
        const hd_shape *one = shape->any[i];
        place inside = *at;
        hd_error why;
        if (check(one, value, &inside, &why) == HD_OK) return HD_OK;
        bool same = one->kind >= HD_SHAPE_STRING && one->kind <= HD_SHAPE_MAP && json_typeof(value) == types[one->kind];
        if (!same || inside.len < deepest.len) continue;
        alone = inside.len > deepest.len || !seen;
        seen = true;
        deepest = inside;
        first = why;
    }
    if (!alone) return refuse_kind(at, shape, err);
    *at = deepest;
    return hd_fail(err, HD_E_ARGUMENT, "%s", first.text);
}

static hd_status check(const hd_shape *shape, const json_t *value, place *at, hd_error *err)
{
    switch (shape->kind) {
    case HD_SHAPE_BOOL: return json_is_boolean(value) ? HD_OK : refuse_kind(at, shape, err);
    case HD_SHAPE_INT:
        if (!is_integer(value)) return refuse_kind(at, shape, err);
        return check_range(shape, json_number_value(value), "it", at, err);
    case HD_SHAPE_NUMBER:
        if (!json_is_number(value)) return refuse_kind(at, shape, err);
        return check_range(shape, json_number_value(value), "it", at, err);
    case HD_SHAPE_STRING: return check_string(shape, value, at, err);
    case HD_SHAPE_LIST: return check_list(shape, value, at, err);
    case HD_SHAPE_OBJECT: return check_object(shape, value, at, err);
    case HD_SHAPE_MAP: return check_map(shape, value, at, err);
    case HD_SHAPE_ANY_OF: return check_any_of(shape, value, at, err);
    case HD_SHAPE_ANY: break;
    }
    return HD_OK;
}

hd_status hd_shape_check(const hd_shape *shape, const json_t *value, char *path, hd_error *err)
{
    place at = {.len = 0};
    hd_status status = check(shape, value, &at, err);
    if (path) memcpy(path, at.path, sizeof at.path);
    if (err && status != HD_OK) hd_text_clean(err->text); /* keys of a map are the caller's */
    if (path && status != HD_OK) hd_text_clean(path);
    return status;
}

/* ---- binding ---- */

static void bind(const hd_field *f, const json_t *value, void *target)
{
    switch (f->shape->kind) {
    case HD_SHAPE_BOOL: *(bool *)target = json_is_true(value); break;
    case HD_SHAPE_INT:
        *(int64_t *)target =
            json_is_integer(value) ? (int64_t)json_integer_value(value) : (int64_t)json_real_value(value);
        break;
    case HD_SHAPE_NUMBER: *(double *)target = json_number_value(value); break;
    case HD_SHAPE_STRING: *(hd_str *)target = (hd_str){json_string_value(value), json_string_length(value)}; break;
    case HD_SHAPE_LIST:
    case HD_SHAPE_OBJECT:
    case HD_SHAPE_MAP:
    case HD_SHAPE_ANY_OF:
    case HD_SHAPE_ANY: *(const json_t **)target = value; break;
    }
}

void hd_shape_bind(const hd_shape *shape, const json_t *object, void *into)
{
    for (const hd_field *f = shape->fields; f->name; f++) {
        const json_t *value = json_object_get(object, f->name);
        if (f->bound && value && !json_is_null(value)) bind(f, value, (char *)into + f->offset);
    }
}

/* ---- schemas ---- */

static const char *const type_names[] = {
    [HD_SHAPE_BOOL] = "boolean",  [HD_SHAPE_INT] = "integer", [HD_SHAPE_NUMBER] = "number",
    [HD_SHAPE_STRING] = "string", [HD_SHAPE_LIST] = "array",  [HD_SHAPE_OBJECT] = "object",
    [HD_SHAPE_MAP] = "object"};

static void write_choices(hd_buf *out, const char *choices)
{
    hd_out_member_begin(out, "enum", '[');
    for (const char *at = choices; *at;) {
        size_t n = strcspn(at, "|");
        hd_out_text(out, at, n);
        at += n + (at[n] == '|');
    }
    hd_out_end(out, ']');
}

static void write_limits(hd_buf *out, const hd_shape *shape)
{
    static const char *const least[] = {[HD_SHAPE_INT] = "minimum",
                                        [HD_SHAPE_NUMBER] = "minimum",
                                        [HD_SHAPE_STRING] = "minLength",
                                        [HD_SHAPE_LIST] = "minItems"};
    static const char *const most[] = {[HD_SHAPE_INT] = "maximum",
                                       [HD_SHAPE_NUMBER] = "maximum",
                                       [HD_SHAPE_STRING] = "maxLength",
                                       [HD_SHAPE_LIST] = "maxItems"};
    if (!has_range(shape) || shape->kind > HD_SHAPE_LIST) return;
    hd_out_key(out, least[shape->kind]);
    hd_out_real(out, shape->min);
    if (shape->max >= DBL_MAX) return;
    hd_out_key(out, most[shape->kind]);
    if (shape->kind == HD_SHAPE_NUMBER)
        hd_out_real(out, shape->max);
    else
        hd_out_int(out, (int64_t)shape->max);
}

/* A field that may be null: its schema beside that of null. */
static void write_field(hd_buf *out, const hd_field *f)
{
    hd_out_member_begin(out, f->name, '{');
    if (f->doc) hd_out_member_string(out, "description", f->doc);
    hd_out_member_begin(out, "anyOf", '[');
    hd_shape_schema(out, f->shape, false);
    if (!f->required) {
        hd_out_begin(out, '{');
        hd_out_member_string(out, "type", "null");
        hd_out_end(out, '}');
    }
    hd_out_end(out, ']');
    hd_out_end(out, '}');
}

static void write_fields(hd_buf *out, const hd_shape *shape)
{
    bool any = false;
    hd_out_member_begin(out, "properties", '{');
    for (const hd_field *f = shape->fields; f->name; f++) {
        write_field(out, f);
        any |= f->required;
    }
    hd_out_end(out, '}');
    if (!any) return;
    hd_out_member_begin(out, "required", '[');
    for (const hd_field *f = shape->fields; f->name; f++)
        if (f->required) hd_out_string(out, f->name);
    hd_out_end(out, ']');
}

static void write_reference(hd_buf *out, const char *name)
{
    char text[128];
    snprintf(text, sizeof text, "#/components/schemas/%s", name);
    hd_out_begin(out, '{');
    hd_out_member_string(out, "$ref", text);
    hd_out_end(out, '}');
}

void hd_shape_schema(hd_buf *out, const hd_shape *shape, bool whole)
{
    if (shape->name && !whole) {
        write_reference(out, shape->name);
        return;
    }
    hd_out_begin(out, '{');
    if (shape->kind < HD_SHAPE_ANY_OF) hd_out_member_string(out, "type", type_names[shape->kind]);
    if (shape->choices) write_choices(out, shape->choices);
    write_limits(out, shape);
    if (shape->no_nul) hd_out_member_string(out, "pattern", "^[^\\u0000]*$");
    if (shape->kind == HD_SHAPE_OBJECT) write_fields(out, shape);
    if (shape->items) {
        hd_out_key(out, shape->kind == HD_SHAPE_MAP ? "additionalProperties" : "items");
        hd_shape_schema(out, shape->items, false);
    }
    if (shape->kind == HD_SHAPE_ANY_OF) {
        hd_out_member_begin(out, "anyOf", '[');
        for (size_t i = 0; shape->any[i]; i++)
            hd_shape_schema(out, shape->any[i], false);
        hd_out_end(out, ']');
    }
    hd_out_end(out, '}');
}

void hd_shape_walk(const hd_shape *shape, void (*visit)(void *arg, const hd_shape *named), void *arg)
{
    if (shape->name) visit(arg, shape);
    if (shape->items) hd_shape_walk(shape->items, visit, arg);
    for (const hd_field *f = shape->fields; f && f->name; f++)
        hd_shape_walk(f->shape, visit, arg);
    for (size_t i = 0; shape->any && shape->any[i]; i++)
        hd_shape_walk(shape->any[i], visit, arg);
}
