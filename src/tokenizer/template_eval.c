/* tokenizer/template_eval.c: walks the nodes of a template and writes the prompt.
 *
 * Every evaluation and statement passes hd_tpl_enter, which counts steps and depth.  Scopes follow jinja2: for, macro,
 * with, block set, filter and generation have one of their own, if has none; names that no scope holds are variables of
 * the request, then built-in functions.
 */
#include <math.h>
#include <string.h>

#include "tokenizer/template_internal.h"

static hd_status eval(hd_tpl_run *run, const hd_node *node, hd_tv *out);
static hd_status exec_body(hd_tpl_run *run, const hd_node *body);

/* ---- names ---- */

static hd_status bind(hd_tpl_run *run, hd_str name, hd_tv value)
{
    for (hd_tpl_binding *b = run->scope->first; b; b = b->next) {
        if (b->name.len != name.len || memcmp(b->name.data, name.data, name.len) != 0) continue;
        b->value = value;
        return HD_OK;
    }
    hd_tpl_binding *b = hd_tpl_alloc(run, sizeof *b);
    if (!b) return hd_tpl_no_memory(run);
    *b = (hd_tpl_binding){run->scope->first, name, value};
    run->scope->first = b;
    return HD_OK;
}

static hd_status push_scope(hd_tpl_run *run, hd_tpl_scope *parent)
{
    hd_tpl_scope *scope = hd_tpl_alloc(run, sizeof *scope);
    if (!scope) return hd_tpl_no_memory(run);
    *scope = (hd_tpl_scope){.parent = parent};
    run->scope = scope;
    return HD_OK;
}

static hd_status lookup(hd_tpl_run *run, hd_str name, hd_tv *out)
{
    for (const hd_tpl_scope *s = run->scope; s; s = s->parent)
        for (const hd_tpl_binding *b = s->first; b; b = b->next)
            if (b->name.len == name.len && memcmp(b->name.data, name.data, name.len) == 0) {
                *out = b->value;
                return HD_OK;
            }
    const hd_tv *var = hd_tpl_dict_find(run->vars, name);
    if (var) {
        *out = *var;
        return HD_OK;
    }
    const hd_tpl_builtin *global = hd_tpl_find_global(name);
    if (!global) return hd_tpl_new_undefined(run, name, HD_TV_ABSENT, NULL, out);
    *out = (hd_tv){.kind = HD_TV_FUNCTION, .trusted = true, .as.function = global};
    return HD_OK;
}

/* ---- attributes and items ---- */

static hd_status loop_attr(hd_tpl_run *run, hd_tv v, hd_str name, hd_tv *out)
{
    const hd_tpl_loop *loop = v.as.loop;
    int64_t index = (int64_t)loop->index, n = (int64_t)loop->items->n;
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        {"index", index + 1}, {"index0", index}, {"revindex", n - index}, {"revindex0", n - index - 1}, {"length", n},
        {"depth", 1},         {"depth0", 0}}; /* depths count recursive loops only */
    for (size_t i = 0; i < HD_ARRAY_LEN(numbers); i++)
        if (hd_str_is(name, numbers[i].name)) return *out = hd_tv_int(numbers[i].value, true), HD_OK;
    if (hd_str_is(name, "first")) return *out = hd_tv_bool(index == 0), HD_OK;
    if (hd_str_is(name, "last")) return *out = hd_tv_bool(index + 1 == n), HD_OK;
    if (hd_str_is(name, "previtem") && index > 0) return *out = loop->items->item[index - 1], HD_OK;
    if (hd_str_is(name, "nextitem") && index + 1 < n) return *out = loop->items->item[index + 1], HD_OK;
    return hd_tpl_new_undefined(run, name, HD_TV_LOOP, NULL, out);
}

static hd_status bind_method(hd_tpl_run *run, hd_tv owner, const hd_tpl_builtin *builtin, hd_tv *out)
{
    if (!builtin->fn)
        return hd_tpl_new_undefined(run, (hd_str){"", 0}, HD_TV_ABSENT,
                                    "a method that changes a list or dict can't be used; build a new value", out);
    hd_tpl_method *method = hd_tpl_alloc(run, sizeof *method);
    if (!method) return hd_tpl_no_memory(run);
    *method = (hd_tpl_method){owner, builtin};
    *out = (hd_tv){.kind = HD_TV_METHOD, .trusted = true, .as.method = method};
    return HD_OK;
}

hd_status hd_tpl_attr(hd_tpl_run *run, hd_tv owner, hd_str name, hd_tv *out)
{
    if (owner.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, owner);
    const hd_tpl_builtin *method = hd_tpl_find_method((hd_tv_kind)owner.kind, name);
    if (method) return bind_method(run, owner, method, out);
    if (owner.kind == HD_TV_DICT || owner.kind == HD_TV_NAMESPACE) {
        const hd_tv *value = hd_tpl_dict_find(owner.as.dict, name);
        HD_TRY(hd_tpl_work(run, owner.as.dict->n * 4));
        if (value) return *out = *value, HD_OK;
    }
    if (owner.kind == HD_TV_LOOP) return loop_attr(run, owner, name, out);
    if (owner.kind == HD_TV_MACRO && hd_str_is(name, "name"))
        return hd_tpl_string(run, owner.as.macro->node->name.data, owner.as.macro->node->name.len, true, out);
    return hd_tpl_new_undefined(run, name, (hd_tv_kind)owner.kind, NULL, out);
}

/* Index of an element as Python counts: negative from the end; false when outside. */
static bool real_index(int64_t index, size_t n, size_t *out)
{
    if (index < 0) index += (int64_t)n;
    *out = (size_t)index;
    return index >= 0 && (uint64_t)index < n;
}

static hd_status char_at(hd_tpl_run *run, hd_tv s, int64_t index, hd_tv *out, bool *found)
{
    hd_str text = hd_tv_text(s);
    size_t at;
    HD_TRY(hd_tpl_work(run, text.len));
    *found = real_index(index, hd_utf8_count(text.data, text.len), &at);
    if (!*found) return HD_OK;
    at = hd_utf8_offset(text.data, text.len, at);
    return hd_tpl_sub(run, s, at, hd_utf8_size((unsigned char)text.data[at]), out);
}

static hd_status key_name(hd_tpl_run *run, hd_tv key, hd_str *out)
{
    hd_tv text;
    HD_TRY(hd_tpl_to_string(run, key, &text));
    *out = hd_tv_text(text);
    return HD_OK;
}

hd_status hd_tpl_item(hd_tpl_run *run, hd_tv owner, hd_tv key, hd_tv *out)
{
    bool is_index = key.kind == HD_TV_INT || key.kind == HD_TV_BOOL;
    if (owner.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, owner);
    if (owner.kind == HD_TV_DICT && hd_tv_is_hashable(key)) {
        const hd_tv *value;
        HD_TRY(hd_tpl_dict_get(run, owner.as.dict, key, &value));
        if (value) return *out = *value, HD_OK;
    } else if ((owner.kind == HD_TV_LIST || owner.kind == HD_TV_TUPLE) && is_index) {
        size_t at;
        if (real_index(hd_tv_integer(key), owner.as.list->n, &at)) return *out = owner.as.list->item[at], HD_OK;
    } else if (owner.kind == HD_TV_STRING && is_index) {
        bool found;
        HD_TRY(char_at(run, owner, hd_tv_integer(key), out, &found));
        if (found) return HD_OK;
    }
    if (key.kind == HD_TV_STRING) {
        hd_str name = hd_tv_text(key);
        if (owner.kind != HD_TV_DICT) return hd_tpl_attr(run, owner, name, out);
        const hd_tpl_builtin *method = hd_tpl_find_method(HD_TV_DICT, name);
        if (method) return bind_method(run, owner, method, out);
    }
    hd_str name;
    HD_TRY(key_name(run, key, &name));
    return hd_tpl_new_undefined(run, name, (hd_tv_kind)owner.kind, NULL, out);
}

/* ---- slices ---- */

static hd_status slice_part(hd_tpl_run *run, const hd_node *node, int64_t absent, int64_t *out)
{
    hd_tv v = hd_tv_none();
    *out = absent;
    if (node) HD_TRY(eval(run, node, &v));
    if (v.kind == HD_TV_NONE) return HD_OK;
    if (v.kind != HD_TV_INT && v.kind != HD_TV_BOOL)
        return hd_tpl_fail(run, HD_E_FORMAT, "the bounds of a slice must be integers, not %s", hd_tv_type_name(v));
    *out = hd_tv_integer(v);
    return HD_OK;
}

/* Brings a bound of a slice into [low, high], as Python does. */
static int64_t clamp(int64_t bound, int64_t n, int64_t low, int64_t high)
{
    if (bound < 0) bound = bound < -n ? low : bound + n;
    return HD_MIN(HD_MAX(bound, low), high);
}

static hd_status slice_string(hd_tpl_run *run, hd_tv s, int64_t from, int64_t to, int64_t step, hd_tv *out)
{
    hd_str text = hd_tv_text(s);
    if (step == 1) {
        size_t begin = hd_utf8_offset(text.data, text.len, (size_t)from);
        size_t len = from < to ? hd_utf8_offset(text.data + begin, text.len - begin, (size_t)(to - from)) : 0;
        return hd_tpl_sub(run, s, begin, len, out);
    }
    hd_tv chars;
    size_t mark = hd_tpl_mark(run);
    HD_TRY(hd_tpl_chars(run, s, &chars));
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step)
        HD_TRY(hd_tpl_put_str(run, chars.as.list->item[i]));
    return hd_tpl_take(run, mark, out);
}

static hd_status eval_slice(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    hd_tv owner;
    int64_t step, from, to;
    HD_TRY(eval(run, node->a, &owner));
    if (owner.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, owner);
    HD_TRY(slice_part(run, node->other, 1, &step));
    if (step == 0) return hd_tpl_fail(run, HD_E_FORMAT, "the step of a slice can't be zero");
    HD_TRY(slice_part(run, node->b, step > 0 ? 0 : INT64_MAX, &from));
    HD_TRY(slice_part(run, node->c, step > 0 ? INT64_MAX : INT64_MIN, &to));
    bool string = owner.kind == HD_TV_STRING;
    if (!string && owner.kind != HD_TV_LIST && owner.kind != HD_TV_TUPLE)
        return hd_tpl_fail(run, HD_E_FORMAT, "a %s can't be sliced", hd_tv_type_name(owner));
    HD_TRY(hd_tpl_work(run, string ? owner.as.str->len : 0));
    int64_t n = (int64_t)(string ? hd_utf8_count(owner.as.str->data, owner.as.str->len) : owner.as.list->n);
    from = step > 0 ? clamp(from, n, 0, n) : clamp(from, n, -1, n - 1);
    to = step > 0 ? clamp(to, n, 0, n) : clamp(to, n, -1, n - 1);
    if (step > n) step = n + 1; /* so that i += step can't overflow */
    if (step < -n) step = -n - 1;
    if (string) return slice_string(run, owner, from, to, step, out);
    HD_TRY(hd_tpl_list_new(run, (hd_tv_kind)owner.kind, 0, owner.trusted, out));
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        HD_TRY(hd_tpl_work(run, 0));
        HD_TRY(hd_tpl_list_push(run, *out, owner.as.list->item[i]));
    }
    return HD_OK;
}

/* ---- operators ---- */

static hd_status overflow(hd_tpl_run *run)
{
    return hd_tpl_fail(run, HD_E_LIMIT, "an integer does not fit in 64 bits");
}

static hd_status power(hd_tpl_run *run, int64_t base, int64_t exponent, int64_t *out)
{
    *out = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(*out, base, out)) return overflow(run);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) return overflow(run);
    }
    return HD_OK;
}

static hd_status integer_op(hd_tpl_run *run, hd_op op, int64_t a, int64_t b, int64_t *out)
{
    bool too_large = false;
    switch (op) {
    case HD_OP_ADD: too_large = __builtin_add_overflow(a, b, out); break;
    case HD_OP_SUB: too_large = __builtin_sub_overflow(a, b, out); break;
    case HD_OP_MUL: too_large = __builtin_mul_overflow(a, b, out); break;
    case HD_OP_POW: return power(run, a, b, out);
    default: /* FLOORDIV, MOD: towards minus infinity */
        if (b == 0) return hd_tpl_fail(run, HD_E_FORMAT, "division by zero");
        if (a == INT64_MIN && b == -1) {
            too_large = op == HD_OP_FLOORDIV;
            *out = 0;
        } else {
            bool down = a % b != 0 && (a % b < 0) != (b < 0);
            *out = op == HD_OP_FLOORDIV ? a / b - down : a % b + (down ? b : 0);
        }
    }
    return too_large ? overflow(run) : HD_OK;
}

static hd_status real_op(hd_tpl_run *run, hd_op op, double a, double b, double *out)
{
    if (b == 0 && (op == HD_OP_DIV || op == HD_OP_FLOORDIV || op == HD_OP_MOD))
        return hd_tpl_fail(run, HD_E_FORMAT, "division by zero");
    switch (op) {
    case HD_OP_ADD: *out = a + b; break;
    case HD_OP_SUB: *out = a - b; break;
    case HD_OP_MUL: *out = a * b; break;
    case HD_OP_DIV: *out = a / b; break;
    case HD_OP_POW: *out = pow(a, b); break;
    default: { /* FLOORDIV, MOD: the remainder has the sign of the divisor */
        double rest = fmod(a, b);
        if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
        *out = op == HD_OP_MOD ? rest : floor((a - rest) / b + 0.5);
    }
    }
    return HD_OK;
}

static hd_status repeat(hd_tpl_run *run, hd_tv v, int64_t times, hd_tv *out)
{
    size_t n = times > 0 ? (size_t)times : 0;
    if (v.kind == HD_TV_STRING) {
        size_t mark = hd_tpl_mark(run);
        HD_TRY(hd_tpl_put_fill(run, v, n));
        return hd_tpl_take(run, mark, out);
    }
    HD_TRY(hd_tpl_list_new(run, (hd_tv_kind)v.kind, 0, v.trusted, out));
    for (size_t i = 0; v.as.list->n && i < n; i++)
        for (size_t k = 0; k < v.as.list->n; k++) {
            HD_TRY(hd_tpl_work(run, 0));
            HD_TRY(hd_tpl_list_push(run, *out, v.as.list->item[k]));
        }
    return HD_OK;
}

static hd_status add_lists(hd_tpl_run *run, hd_tv a, hd_tv b, hd_tv *out)
{
    size_t n = a.as.list->n + b.as.list->n;
    HD_TRY(hd_tpl_work(run, n * 16));
    HD_TRY(hd_tpl_list_new(run, (hd_tv_kind)a.kind, n, a.trusted && b.trusted, out));
    hd_tpl_list *list = out->as.list;
    if (a.as.list->n) memcpy(list->item, a.as.list->item, a.as.list->n * sizeof *list->item);
    if (b.as.list->n) memcpy(list->item + a.as.list->n, b.as.list->item, b.as.list->n * sizeof *list->item);
    list->n = n;
    return HD_OK;
}

static bool is_repeatable(hd_tv v)
{
    return v.kind == HD_TV_STRING || v.kind == HD_TV_LIST || v.kind == HD_TV_TUPLE;
}

/* The operators between values that are not two numbers. */
static hd_status sequence_op(hd_tpl_run *run, hd_op op, hd_tv a, hd_tv b, hd_tv *out)
{
    static const char *const signs[] = {"?", "+", "-", "*", "/", "//", "%", "**", "~"};
    if (op == HD_OP_ADD && a.kind == HD_TV_STRING && b.kind == HD_TV_STRING) return hd_tpl_concat(run, a, b, out);
    if (op == HD_OP_ADD && a.kind == b.kind && (a.kind == HD_TV_LIST || a.kind == HD_TV_TUPLE))
        return add_lists(run, a, b, out);
    if (op == HD_OP_MOD && a.kind == HD_TV_STRING) return hd_tpl_percent(run, a, b, out);
    if (op == HD_OP_MUL && is_repeatable(a) && (b.kind == HD_TV_INT || b.kind == HD_TV_BOOL))
        return repeat(run, a, hd_tv_integer(b), out);
    if (op == HD_OP_MUL && is_repeatable(b) && (a.kind == HD_TV_INT || a.kind == HD_TV_BOOL))
        return repeat(run, b, hd_tv_integer(a), out);
    if (a.kind == HD_TV_UNDEFINED || b.kind == HD_TV_UNDEFINED)
        return hd_tpl_undefined(run, a.kind == HD_TV_UNDEFINED ? a : b);
    return hd_tpl_fail(run, HD_E_FORMAT, "'%s' %s '%s' has no meaning", hd_tv_type_name(a), signs[op],
                       hd_tv_type_name(b));
}

static hd_status arithmetic(hd_tpl_run *run, hd_op op, hd_tv a, hd_tv b, hd_tv *out)
{
    if (!hd_tv_is_number(a) || !hd_tv_is_number(b)) return sequence_op(run, op, a, b, out);
    bool trusted = a.trusted && b.trusted;
    bool real =
        a.kind == HD_TV_FLOAT || b.kind == HD_TV_FLOAT || op == HD_OP_DIV || (op == HD_OP_POW && hd_tv_integer(b) < 0);
    if (real) {
        double result = 0;
        HD_TRY(real_op(run, op, hd_tv_real(a), hd_tv_real(b), &result));
        *out = hd_tv_float(result, trusted);
    } else {
        int64_t result = 0;
        HD_TRY(integer_op(run, op, hd_tv_integer(a), hd_tv_integer(b), &result));
        *out = hd_tv_int(result, trusted);
    }
    return HD_OK;
}

static hd_status eval_binary(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    hd_tv a, b;
    HD_TRY(eval(run, node->a, &a));
    if (node->op == HD_OP_AND || node->op == HD_OP_OR) {
        *out = a;
        return hd_tv_true(a) == (node->op == HD_OP_AND) ? eval(run, node->b, out) : HD_OK;
    }
    HD_TRY(eval(run, node->b, &b));
    if (node->op != HD_OP_TILDE) return arithmetic(run, (hd_op)node->op, a, b, out);
    HD_TRY(hd_tpl_to_string(run, a, &a));
    HD_TRY(hd_tpl_to_string(run, b, &b));
    return hd_tpl_concat(run, a, b, out);
}

static hd_status eval_unary(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    hd_tv v;
    HD_TRY(eval(run, node->a, &v));
    if (node->op == HD_OP_NOT) return *out = hd_tv_bool(!hd_tv_true(v)), HD_OK;
    if (v.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, v);
    if (!hd_tv_is_number(v)) return hd_tpl_fail(run, HD_E_FORMAT, "a sign can't stand before a %s", hd_tv_type_name(v));
    if (v.kind == HD_TV_FLOAT)
        return *out = hd_tv_float(node->op == HD_OP_NEG ? -v.as.real : v.as.real, v.trusted), HD_OK;
    int64_t i = hd_tv_integer(v);
    if (node->op == HD_OP_NEG && __builtin_sub_overflow((int64_t)0, i, &i)) return overflow(run);
    *out = hd_tv_int(i, v.trusted);
    return HD_OK;
}

static hd_status compare(hd_tpl_run *run, hd_op op, hd_tv a, hd_tv b, bool *out)
{
    int order;
    if (op == HD_OP_EQ || op == HD_OP_NE) {
        HD_TRY(hd_tpl_equal(run, a, b, out));
        if (op == HD_OP_NE) *out = !*out;
        return HD_OK;
    }
    if (op == HD_OP_IN || op == HD_OP_NOT_IN) {
        HD_TRY(hd_tpl_contains(run, a, b, out));
        if (op == HD_OP_NOT_IN) *out = !*out;
        return HD_OK;
    }
    HD_TRY(hd_tpl_order(run, a, b, &order));
    *out = order != 2 && (op == HD_OP_LT   ? order < 0
                          : op == HD_OP_LE ? order <= 0
                          : op == HD_OP_GT ? order > 0
                                           : order >= 0);
    return HD_OK;
}

/* a < b < c holds when each neighbouring pair does. */
static hd_status eval_compare(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    hd_tv left, right;
    bool holds = true;
    HD_TRY(eval(run, node->a, &left));
    for (const hd_node *n = node->list; n && holds; n = n->next) {
        HD_TRY(eval(run, n->a, &right));
        HD_TRY(compare(run, (hd_op)n->op, left, right, &holds));
        left = right;
    }
    *out = hd_tv_bool(holds);
    return HD_OK;
}

static hd_status eval_cond(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    hd_tv condition;
    HD_TRY(eval(run, node->b, &condition));
    if (hd_tv_true(condition)) return eval(run, node->a, out);
    if (node->c) return eval(run, node->c, out);
    return hd_tpl_new_undefined(run, (hd_str){"", 0}, HD_TV_ABSENT,
                                "the inline if evaluated to false and no else was given", out);
}

/* ---- calls ---- */

typedef struct arguments {
    hd_tv pos, kw; /* a list; a dict with string keys */
} arguments;

static hd_status spread_list(hd_tpl_run *run, arguments *args, hd_tv v)
{
    hd_tpl_list items;
    HD_TRY(hd_tpl_iterate(run, v, &items));
    for (size_t i = 0; i < items.n; i++)
        HD_TRY(hd_tpl_list_push(run, args->pos, items.item[i]));
    return HD_OK;
}

static hd_status spread_dict(hd_tpl_run *run, arguments *args, hd_tv v)
{
    if (v.kind != HD_TV_DICT) return hd_tpl_fail(run, HD_E_FORMAT, "** needs a dict, not %s", hd_tv_type_name(v));
    for (size_t i = 0; i < v.as.dict->n; i++) {
        if (v.as.dict->pair[i].key.kind != HD_TV_STRING)
            return hd_tpl_fail(run, HD_E_FORMAT, "keywords of a call must be strings");
        HD_TRY(hd_tpl_dict_set(run, args->kw.as.dict, v.as.dict->pair[i].key, v.as.dict->pair[i].value));
    }
    return HD_OK;
}

static hd_status eval_args(hd_tpl_run *run, const hd_node *list, arguments *args)
{
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, list ? 4 : 0, true, &args->pos));
    HD_TRY(hd_tpl_dict_new(run, HD_TV_DICT, 0, true, &args->kw));
    for (const hd_node *n = list; n; n = n->next) {
        hd_tv v, key;
        HD_TRY(eval(run, n->a, &v));
        if (n->op == HD_OP_MUL) {
            HD_TRY(spread_list(run, args, v));
        } else if (n->op == HD_OP_POW) {
            HD_TRY(spread_dict(run, args, v));
        } else if (n->op == HD_OP_ASSIGN) {
            HD_TRY(hd_tpl_string(run, n->name.data, n->name.len, true, &key));
            HD_TRY(hd_tpl_dict_set(run, args->kw.as.dict, key, v));
        } else {
            HD_TRY(hd_tpl_list_push(run, args->pos, v));
        }
    }
    return HD_OK;
}

static hd_status make_call(hd_tpl_run *run, const arguments *args, hd_tpl_call *call)
{
    const hd_tpl_dict *dict = args->kw.as.dict;
    hd_tpl_kw *kw = hd_tpl_alloc(run, dict->n * sizeof *kw);
    if (!kw) return hd_tpl_no_memory(run);
    for (size_t i = 0; i < dict->n; i++)
        kw[i] = (hd_tpl_kw){hd_tv_text(dict->pair[i].key), dict->pair[i].value};
    *call = (hd_tpl_call){
        .name = "call", .pos = args->pos.as.list->item, .n_pos = args->pos.as.list->n, .kw = kw, .n_kw = dict->n};
    return HD_OK;
}

static const hd_tv *keyword(const hd_tpl_call *call, hd_str name)
{
    for (size_t i = 0; i < call->n_kw; i++)
        if (call->kw[i].name.len == name.len && memcmp(call->kw[i].name.data, name.data, name.len) == 0)
            return &call->kw[i].value;
    return NULL;
}

/* Puts the arguments of a built-in into the slots of its parameters. */
hd_status hd_tpl_invoke(hd_tpl_run *run, const hd_tpl_builtin *builtin, hd_tpl_call *call, hd_tv *out)
{
    size_t slot = 0, used_kw = 0;
    call->name = builtin->name;
    for (int i = 0; i < HD_TPL_SLOTS; i++)
        call->slot[i] = (hd_tv){.kind = HD_TV_ABSENT};
    if (hd_str_is((hd_str){builtin->params, strlen(builtin->params)}, "*")) return builtin->fn(run, call, out);
    for (const char *p = builtin->params; *p;) {
        bool needed = *p == '!';
        const char *begin = p + needed;
        size_t len = strcspn(begin, " ");
        const hd_tv *kw = keyword(call, (hd_str){begin, len});
        if (slot < call->n_pos)
            call->slot[slot] = call->pos[slot];
        else if (kw)
            call->slot[slot] = *kw;
        else if (needed)
            return hd_tpl_fail(run, HD_E_FORMAT, "%s() needs the argument '%.*s'", call->name, (int)len, begin);
        used_kw += kw != NULL;
        slot++;
        p = begin + len + (begin[len] == ' ');
    }
    if (call->n_pos > slot)
        return hd_tpl_fail(run, HD_E_FORMAT, "%s() takes at most %zu arguments, not %zu", call->name, slot,
                           call->n_pos);
    if (used_kw < call->n_kw)
        return hd_tpl_fail(run, HD_E_FORMAT, "%s() has an argument that is not supported; it takes: %s", call->name,
                           builtin->params);
    return builtin->fn(run, call, out);
}

/* Arguments that no parameter takes, as the variables varargs and kwargs. */
static hd_status bind_rest(hd_tpl_run *run, const hd_node *macro, const hd_tpl_call *call, size_t params,
                           size_t taken_kw)
{
    hd_tv rest;
    if (macro->uses & HD_USES_VARARGS) {
        HD_TRY(hd_tpl_list_new(run, HD_TV_TUPLE, 0, true, &rest));
        for (size_t i = params; i < call->n_pos; i++)
            HD_TRY(hd_tpl_list_push(run, rest, call->pos[i]));
        HD_TRY(bind(run, (hd_str){"varargs", 7}, rest));
    } else if (call->n_pos > params) {
        return hd_tpl_fail(run, HD_E_FORMAT, "macro '%.*s' takes at most %zu arguments, not %zu", (int)macro->name.len,
                           macro->name.data, params, call->n_pos);
    }
    if (!(macro->uses & HD_USES_KWARGS)) {
        if (taken_kw == call->n_kw) return HD_OK;
        return hd_tpl_fail(run, HD_E_FORMAT, "macro '%.*s' got a keyword that is not one of its parameters",
                           (int)macro->name.len, macro->name.data);
    }
    HD_TRY(hd_tpl_dict_new(run, HD_TV_DICT, call->n_kw, true, &rest));
    for (size_t i = 0; i < call->n_kw; i++) {
        hd_tv key;
        bool taken = hd_str_is(call->kw[i].name, "caller");
        for (const hd_node *p = macro->list; p && !taken; p = p->next)
            taken =
                p->name.len == call->kw[i].name.len && memcmp(p->name.data, call->kw[i].name.data, p->name.len) == 0;
        if (taken) continue;
        HD_TRY(hd_tpl_string(run, call->kw[i].name.data, call->kw[i].name.len, true, &key));
        HD_TRY(hd_tpl_dict_set(run, rest.as.dict, key, call->kw[i].value));
    }
    return bind(run, (hd_str){"kwargs", 6}, rest);
}

static hd_status bind_params(hd_tpl_run *run, const hd_node *macro, const hd_tpl_call *call)
{
    size_t index = 0, taken_kw = 0;
    for (const hd_node *p = macro->list; p; p = p->next, index++) {
        const hd_tv *kw = keyword(call, p->name);
        hd_tv value;
        if (index < call->n_pos) {
            value = call->pos[index];
            if (kw)
                return hd_tpl_fail(run, HD_E_FORMAT, "macro '%.*s' got two values for '%.*s'", (int)macro->name.len,
                                   macro->name.data, (int)p->name.len, p->name.data);
        } else if (kw) {
            value = *kw;
            taken_kw++;
        } else if (p->a) {
            HD_TRY(eval(run, p->a, &value));
        } else {
            HD_TRY(hd_tpl_new_undefined(run, p->name, HD_TV_ABSENT, NULL, &value));
        }
        HD_TRY(bind(run, p->name, value));
    }
    const hd_tv *caller = keyword(call, (hd_str){"caller", 6});
    if (caller && (macro->uses & HD_USES_CALLER)) {
        taken_kw++;
        HD_TRY(bind(run, (hd_str){"caller", 6}, *caller));
    }
    return bind_rest(run, macro, call, index, taken_kw);
}

static hd_status call_macro(hd_tpl_run *run, const hd_tpl_macro *macro, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_scope *outer = run->scope;
    size_t mark = hd_tpl_mark(run);
    HD_TRY(push_scope(run, macro->scope));
    HD_TRY(bind_params(run, macro->node, call));
    HD_TRY(exec_body(run, macro->node->body));
    run->scope = outer;
    return hd_tpl_take(run, mark, out);
}

hd_status hd_tpl_call_value(hd_tpl_run *run, hd_tv callee, hd_tpl_call *call, hd_tv *out)
{
    switch ((hd_tv_kind)callee.kind) {
    case HD_TV_FUNCTION: return hd_tpl_invoke(run, callee.as.function, call, out);
    case HD_TV_METHOD:
        call->self = callee.as.method->self;
        return hd_tpl_invoke(run, callee.as.method->builtin, call, out);
    case HD_TV_MACRO: return call_macro(run, callee.as.macro, call, out);
    case HD_TV_UNDEFINED: return hd_tpl_undefined(run, callee);
    case HD_TV_LOOP: return hd_tpl_fail(run, HD_E_UNSUPPORTED, "recursive loops are not supported; use a macro");
    default: return hd_tpl_fail(run, HD_E_FORMAT, "'%s' object is not callable", hd_tv_type_name(callee));
    }
}

/* `block` is the {% call %} that the call belongs to, or NULL. */
static hd_status eval_call(hd_tpl_run *run, const hd_node *node, const hd_node *block, hd_tv *out)
{
    hd_tv callee, key, caller;
    arguments args;
    hd_tpl_call call;
    HD_TRY(eval(run, node->a, &callee));
    HD_TRY(eval_args(run, node->list, &args));
    if (block) {
        hd_tpl_macro *macro = hd_tpl_alloc(run, sizeof *macro);
        if (!macro) return hd_tpl_no_memory(run);
        *macro = (hd_tpl_macro){block, run->scope};
        caller = (hd_tv){.kind = HD_TV_MACRO, .trusted = true, .as.macro = macro};
        HD_TRY(hd_tpl_string(run, "caller", 6, true, &key));
        HD_TRY(hd_tpl_dict_set(run, args.kw.as.dict, key, caller));
    }
    HD_TRY(make_call(run, &args, &call));
    run->line = node->line;
    return hd_tpl_call_value(run, callee, &call, out);
}

/* A filter (of node->a) or a test. */
static hd_status eval_builtin(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    arguments args;
    hd_tpl_call call;
    hd_tv self;
    HD_TRY(eval(run, node->a, &self));
    run->line = node->line;
    if (!node->builtin)
        return hd_tpl_fail(run, HD_E_UNSUPPORTED, "no %s is named '%.*s'",
                           node->type == HD_N_FILTER ? "filter" : "test", (int)HD_MIN(node->name.len, 100),
                           node->name.data);
    if (node->list) {
        HD_TRY(eval_args(run, node->list, &args));
        HD_TRY(make_call(run, &args, &call));
    } else {
        call = (hd_tpl_call){.name = node->builtin->name};
    }
    call.self = self;
    HD_TRY(hd_tpl_invoke(run, node->builtin, &call, out));
    if (node->type == HD_N_TEST && node->negated) out->as.boolean = !out->as.boolean;
    return HD_OK;
}

/* ---- expressions ---- */

static hd_status eval_list(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    HD_TRY(hd_tpl_list_new(run, node->type == HD_N_LIST ? HD_TV_LIST : HD_TV_TUPLE, node->list ? 4 : 0, true, out));
    for (const hd_node *n = node->list; n; n = n->next) {
        hd_tv item;
        HD_TRY(eval(run, n, &item));
        HD_TRY(hd_tpl_list_push(run, *out, item));
    }
    return HD_OK;
}

static hd_status eval_dict(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    HD_TRY(hd_tpl_dict_new(run, HD_TV_DICT, node->list ? 4 : 0, true, out));
    for (const hd_node *n = node->list; n; n = n->next->next) {
        hd_tv key, value;
        HD_TRY(eval(run, n, &key));
        HD_TRY(eval(run, n->next, &value));
        HD_TRY(hd_tpl_dict_set(run, out->as.dict, key, value));
    }
    return HD_OK;
}

static hd_status eval_attr(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    hd_tv owner;
    HD_TRY(eval(run, node->a, &owner));
    run->line = node->line;
    return hd_tpl_attr(run, owner, node->name, out);
}

static hd_status eval_item(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    hd_tv owner, key;
    HD_TRY(eval(run, node->a, &owner));
    HD_TRY(eval(run, node->b, &key));
    run->line = node->line;
    return hd_tpl_item(run, owner, key, out);
}

static hd_status eval_inside(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    switch ((hd_node_type)node->type) {
    case HD_N_CONST: *out = node->value; return HD_OK;
    case HD_N_NAME: return lookup(run, node->name, out);
    case HD_N_HOLE: *out = run->hole; return HD_OK;
    case HD_N_LIST:
    case HD_N_TUPLE: return eval_list(run, node, out);
    case HD_N_DICT: return eval_dict(run, node, out);
    case HD_N_ATTR: return eval_attr(run, node, out);
    case HD_N_ITEM: return eval_item(run, node, out);
    case HD_N_SLICE: return eval_slice(run, node, out);
    case HD_N_CALL: return eval_call(run, node, NULL, out);
    case HD_N_FILTER:
    case HD_N_TEST: return eval_builtin(run, node, out);
    case HD_N_UNARY: return eval_unary(run, node, out);
    case HD_N_BINARY: return eval_binary(run, node, out);
    case HD_N_COMPARE: return eval_compare(run, node, out);
    case HD_N_COND: return eval_cond(run, node, out);
    default: return hd_tpl_fail(run, HD_E_INTERNAL, "a statement where an expression belongs");
    }
}

static hd_status eval(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    HD_TRY(hd_tpl_enter(run));
    run->line = node->line;
    hd_status status = eval_inside(run, node, out);
    hd_tpl_leave(run);
    return status;
}

/* ---- statements ---- */

static hd_status assign_tuple(hd_tpl_run *run, const hd_node *target, hd_tv value);

static hd_status assign(hd_tpl_run *run, const hd_node *target, hd_tv value)
{
    if (target->type == HD_N_TUPLE) return assign_tuple(run, target, value);
    if (target->type == HD_N_NAME) return bind(run, target->name, value);
    hd_tv owner, key;
    HD_TRY(eval(run, target->a, &owner));
    if (owner.kind != HD_TV_NAMESPACE)
        return hd_tpl_fail(run, HD_E_FORMAT, "attributes can be set on a namespace only, not on a %s",
                           hd_tv_type_name(owner));
    HD_TRY(hd_tpl_string(run, target->name.data, target->name.len, true, &key));
    return hd_tpl_dict_set(run, owner.as.dict, key, value);
}

static hd_status assign_tuple(hd_tpl_run *run, const hd_node *target, hd_tv value)
{
    hd_tpl_list items;
    size_t i = 0;
    HD_TRY(hd_tpl_iterate(run, value, &items));
    for (const hd_node *n = target->list; n; n = n->next, i++) {
        if (i >= items.n) return hd_tpl_fail(run, HD_E_FORMAT, "not enough values to unpack: %zu", items.n);
        HD_TRY(assign(run, n, items.item[i]));
    }
    if (i < items.n) return hd_tpl_fail(run, HD_E_FORMAT, "too many values to unpack: %zu, expected %zu", items.n, i);
    return HD_OK;
}

static hd_status exec_if(hd_tpl_run *run, const hd_node *node)
{
    for (const hd_node *branch = node->list; branch; branch = branch->next) {
        hd_tv condition = hd_tv_bool(true);
        if (branch->a) HD_TRY(eval(run, branch->a, &condition));
        if (hd_tv_true(condition)) return exec_body(run, branch->body);
    }
    return HD_OK;
}

/* The items of a loop for which its condition holds. */
static hd_status filter_items(hd_tpl_run *run, const hd_node *node, hd_tpl_list *items)
{
    hd_tpl_scope *outer = run->scope;
    hd_tv kept, holds;
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, items->n, true, &kept));
    for (size_t i = 0; i < items->n; i++) {
        HD_TRY(push_scope(run, outer));
        HD_TRY(assign(run, node->a, items->item[i]));
        HD_TRY(eval(run, node->c, &holds));
        if (hd_tv_true(holds)) HD_TRY(hd_tpl_list_push(run, kept, items->item[i]));
    }
    run->scope = outer;
    *items = *kept.as.list;
    return HD_OK;
}

static hd_status exec_for(hd_tpl_run *run, const hd_node *node)
{
    hd_tpl_scope *outer = run->scope;
    hd_tv iterable;
    hd_tpl_list *items = hd_tpl_alloc(run, sizeof *items);
    hd_tpl_loop *loop = hd_tpl_alloc(run, sizeof *loop);
    if (!items || !loop) return hd_tpl_no_memory(run);
    HD_TRY(eval(run, node->b, &iterable));
    HD_TRY(hd_tpl_iterate(run, iterable, items));
    if (node->c) HD_TRY(filter_items(run, node, items));
    *loop = (hd_tpl_loop){.items = items, .changed = {.kind = HD_TV_ABSENT}};
    for (; loop->index < items->n; loop->index++) {
        HD_TRY(push_scope(run, outer));
        HD_TRY(bind(run, (hd_str){"loop", 4}, (hd_tv){.kind = HD_TV_LOOP, .trusted = true, .as.loop = loop}));
        HD_TRY(assign(run, node->a, items->item[loop->index]));
        HD_TRY(exec_body(run, node->body));
        bool stop = run->flow == HD_FLOW_BREAK;
        run->flow = HD_FLOW_ON;
        if (stop) break;
    }
    run->scope = outer;
    if (items->n > 0 || !node->other) return HD_OK;
    HD_TRY(push_scope(run, outer));
    HD_TRY(exec_body(run, node->other));
    run->scope = outer;
    return HD_OK;
}

/* The text of a body in a scope of its own. */
static hd_status capture(hd_tpl_run *run, const hd_node *body, hd_tv *out)
{
    hd_tpl_scope *outer = run->scope;
    size_t mark = hd_tpl_mark(run);
    HD_TRY(push_scope(run, outer));
    HD_TRY(exec_body(run, body));
    run->scope = outer;
    return hd_tpl_take(run, mark, out);
}

/* The text of a block through its filters. */
static hd_status filter_block(hd_tpl_run *run, const hd_node *node, hd_tv *out)
{
    HD_TRY(capture(run, node->body, out));
    if (!node->b) return HD_OK;
    hd_tv outer = run->hole;
    run->hole = *out;
    HD_TRY(eval(run, node->b, out));
    run->hole = outer;
    return HD_OK;
}

static hd_status exec_macro(hd_tpl_run *run, const hd_node *node)
{
    hd_tpl_macro *macro = hd_tpl_alloc(run, sizeof *macro);
    if (!macro) return hd_tpl_no_memory(run);
    *macro = (hd_tpl_macro){node, run->scope};
    return bind(run, node->name, (hd_tv){.kind = HD_TV_MACRO, .trusted = true, .as.macro = macro});
}

static hd_status exec_with(hd_tpl_run *run, const hd_node *node)
{
    hd_tpl_scope *outer = run->scope, *inner;
    HD_TRY(push_scope(run, outer));
    inner = run->scope;
    for (const hd_node *set = node->list; set; set = set->next) {
        hd_tv value;
        run->scope = outer; /* values see the names outside */
        HD_TRY(eval(run, set->b, &value));
        run->scope = inner;
        HD_TRY(assign(run, set->a, value));
    }
    run->scope = inner;
    HD_TRY(exec_body(run, node->body));
    run->scope = outer;
    return HD_OK;
}

static hd_status exec_scope(hd_tpl_run *run, const hd_node *node)
{
    hd_tpl_scope *outer = run->scope;
    HD_TRY(push_scope(run, outer));
    HD_TRY(exec_body(run, node->body));
    run->scope = outer;
    return HD_OK;
}

static hd_status exec_inside(hd_tpl_run *run, const hd_node *node)
{
    hd_tv v;
    switch ((hd_node_type)node->type) {
    case HD_N_TEXT: return hd_tpl_put(run, node->name.data, node->name.len, true);
    case HD_N_OUTPUT: HD_TRY(eval(run, node->a, &v)); return hd_tpl_put_str(run, v);
    case HD_N_IF: return exec_if(run, node);
    case HD_N_FOR: return exec_for(run, node);
    case HD_N_SET: HD_TRY(eval(run, node->b, &v)); return assign(run, node->a, v);
    case HD_N_SET_BLOCK: HD_TRY(filter_block(run, node, &v)); return assign(run, node->a, v);
    case HD_N_MACRO: return exec_macro(run, node);
    case HD_N_CALL_BLOCK: HD_TRY(eval_call(run, node->b, node, &v)); return hd_tpl_put_str(run, v);
    case HD_N_FILTER_BLOCK: HD_TRY(filter_block(run, node, &v)); return hd_tpl_put_str(run, v);
    case HD_N_WITH: return exec_with(run, node);
    case HD_N_SCOPE: return exec_scope(run, node);
    case HD_N_BREAK: run->flow = HD_FLOW_BREAK; return HD_OK;
    case HD_N_CONTINUE: run->flow = HD_FLOW_CONTINUE; return HD_OK;
    default: return hd_tpl_fail(run, HD_E_INTERNAL, "an expression where a statement belongs");
    }
}

static hd_status exec_body(hd_tpl_run *run, const hd_node *body)
{
    HD_TRY(hd_tpl_enter(run));
    for (const hd_node *node = body; node && run->flow == HD_FLOW_ON; node = node->next) {
        run->line = node->line;
        HD_TRY(hd_tpl_work(run, 0));
        HD_TRY(exec_inside(run, node));
    }
    hd_tpl_leave(run);
    return HD_OK;
}

/* ---- rendering ---- */

/* Roles are a closed set of words: where a message's role is one of them, the template gets our own, trusted copy, so
 * that "<|" + role + "|>" can make a marker.  No other text of a request is ever trusted. */
static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function", "observation"};

static void trust_roles(hd_tpl_dict *message)
{
    for (size_t i = 0; i < message->n; i++) {
        hd_tv *value = &message->pair[i].value;
        if (!hd_str_is(hd_tv_text(message->pair[i].key), "role") || value->kind != HD_TV_STRING) continue;
        for (size_t k = 0; k < HD_ARRAY_LEN(roles); k++)
            value->trusted = value->trusted || hd_str_is(hd_tv_text(*value), roles[k]);
    }
}

static void trust_vars(hd_tpl_dict *vars)
{
    for (size_t i = 0; i < vars->n; i++) {
        hd_str name = hd_tv_text(vars->pair[i].key);
        hd_tv *value = &vars->pair[i].value;
        if (hd_str_is(name, "bos_token") || hd_str_is(name, "eos_token")) value->trusted = true;
        if (!hd_str_is(name, "messages") || value->kind != HD_TV_LIST) continue;
        for (size_t k = 0; k < value->as.list->n; k++)
            if (value->as.list->item[k].kind == HD_TV_DICT) trust_roles(value->as.list->item[k].as.dict);
    }
}

static hd_status render(hd_tpl_run *run, const hd_template *t, const json_t *vars)
{
    hd_tv value;
    if (!json_is_object(vars))
        return hd_fail(run->err, HD_E_ARGUMENT, "the variables of a chat template must be an object");
    HD_TRY(hd_tpl_from_json(run, vars, &value));
    trust_vars(value.as.dict);
    run->vars = value.as.dict;
    HD_TRY(push_scope(run, NULL));
    return exec_body(run, t->body);
}

hd_status hd_template_render(const hd_template *t, const json_t *vars, hd_rendered *out, hd_error *err)
{
    hd_buf_init(&out->text, HD_TEMPLATE_BYTES);
    hd_buf_init(&out->trusted, HD_TEMPLATE_BYTES);
    hd_tpl_run run = {.arena.max = HD_TEMPLATE_BYTES, .out = out, .err = err, .line = 1};
    hd_status status = render(&run, t, vars);
    hd_tpl_arena_free(&run.arena);
    if (status != HD_OK) hd_rendered_free(out);
    return status;
}

void hd_template_free(hd_template **t)
{
    if (!*t) return;
    hd_tpl_arena_free(&(*t)->arena);
    hd_free(*t);
    *t = NULL;
}

void hd_rendered_free(hd_rendered *r)
{
    hd_buf_free(&r->text);
    hd_buf_free(&r->trusted);
}
