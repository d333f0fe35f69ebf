/* tokenizer/template_tests.c: what can stand behind `is` in a template. */
#include <math.h>
#include <string.h>
#include <utf8proc.h>

#include "tokenizer/template_internal.h"

static hd_status answer(bool yes, hd_tv *out)
{
    *out = hd_tv_bool(yes);
    return HD_OK;
}

static hd_status test_defined(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind != HD_TV_UNDEFINED, out);
}

static hd_status test_undefined(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_UNDEFINED, out);
}

static hd_status test_none(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_NONE, out);
}

static hd_status test_boolean(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_BOOL, out);
}

static hd_status test_true(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_BOOL && call->self.as.boolean, out);
}

static hd_status test_false(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_BOOL && !call->self.as.boolean, out);
}

static hd_status test_integer(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_INT, out);
}

static hd_status test_float(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_FLOAT, out);
}

static hd_status test_number(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(hd_tv_is_number(call->self), out);
}

static hd_status test_string(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_STRING, out);
}

static hd_status test_mapping(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_DICT, out);
}

static hd_status test_iterable(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    hd_tv v = call->self;
    return answer(hd_tv_is_list(v) || v.kind == HD_TV_STRING || v.kind == HD_TV_DICT || v.kind == HD_TV_UNDEFINED ||
                      v.kind == HD_TV_LOOP,
                  out);
}

/* Has a length and items, which in jinja2 is said of undefined values too. */
static hd_status test_sequence(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    hd_tv_kind kind = (hd_tv_kind)call->self.kind;
    return answer(kind == HD_TV_STRING || kind == HD_TV_LIST || kind == HD_TV_TUPLE || kind == HD_TV_DICT ||
                      kind == HD_TV_UNDEFINED,
                  out);
}

static hd_status test_callable(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    hd_tv_kind kind = (hd_tv_kind)call->self.kind;
    return answer(kind == HD_TV_MACRO || kind == HD_TV_FUNCTION || kind == HD_TV_METHOD || kind == HD_TV_UNDEFINED ||
                      kind == HD_TV_LOOP,
                  out);
}

static hd_status test_escaped(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    (void)call;
    return answer(false, out);
}

/* ---- numbers ---- */

/* Whether the value is a multiple of `divisor`. */
static hd_status is_multiple(hd_tpl_run *run, const hd_tpl_call *call, hd_tv divisor, bool *out)
{
    hd_tv v = call->self;
    *out = false;
    if (v.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, v);
    if (!hd_tv_is_number(v) || !hd_tv_is_number(divisor))
        return hd_tpl_fail(run, HD_E_FORMAT, "'is %s' needs numbers, not %s", call->name, hd_tv_type_name(v));
    if (hd_tv_real(divisor) == 0) return hd_tpl_fail(run, HD_E_FORMAT, "division by zero");
    if (v.kind == HD_TV_FLOAT || divisor.kind == HD_TV_FLOAT)
        *out = fmod(hd_tv_real(v), hd_tv_real(divisor)) == 0;
    else
        *out = hd_tv_integer(divisor) == -1 || hd_tv_integer(v) % hd_tv_integer(divisor) == 0;
    return HD_OK;
}

static hd_status test_even(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    bool even;
    HD_TRY(is_multiple(run, call, hd_tv_int(2, true), &even));
    return answer(even, out);
}

static hd_status test_odd(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    bool even;
    HD_TRY(is_multiple(run, call, hd_tv_int(2, true), &even));
    bool whole = call->self.kind != HD_TV_FLOAT || fmod(call->self.as.real, 1) == 0;
    return answer(!even && whole, out);
}

static hd_status test_divisibleby(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    bool multiple;
    HD_TRY(is_multiple(run, call, call->slot[0], &multiple));
    return answer(multiple, out);
}

/* ---- comparison ---- */

static hd_status test_eq(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    bool same;
    HD_TRY(hd_tpl_equal(run, call->self, call->slot[0], &same));
    return answer(same, out);
}

static hd_status test_ne(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    bool same;
    HD_TRY(hd_tpl_equal(run, call->self, call->slot[0], &same));
    return answer(!same, out);
}

static hd_status test_lt(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    int order;
    HD_TRY(hd_tpl_order(run, call->self, call->slot[0], &order));
    return answer(order < 0, out);
}

static hd_status test_le(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    int order;
    HD_TRY(hd_tpl_order(run, call->self, call->slot[0], &order));
    return answer(order <= 0, out);
}

static hd_status test_gt(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    int order;
    HD_TRY(hd_tpl_order(run, call->self, call->slot[0], &order));
    return answer(order == 1, out);
}

static hd_status test_ge(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    int order;
    HD_TRY(hd_tpl_order(run, call->self, call->slot[0], &order));
    return answer(order == 0 || order == 1, out);
}

static hd_status test_in(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    bool found;
    HD_TRY(hd_tpl_contains(run, call->self, call->slot[0], &found));
    return answer(found, out);
}

/* The same object: numbers, strings and none have no identity of their own here, so equal ones of a kind are the same.
 */
static hd_status test_sameas(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv a = call->self, b = call->slot[0];
    bool same = a.kind == b.kind;
    if (same && (hd_tv_is_list(a) || a.kind == HD_TV_DICT))
        same = a.as.list == b.as.list;
    else if (same)
        HD_TRY(hd_tpl_equal(run, a, b, &same));
    return answer(same, out);
}

/* ---- text and names ---- */

/* Some letter, and none of the other case. */
static hd_status all_cased(hd_tpl_run *run, hd_tv v, utf8proc_category_t wanted, utf8proc_category_t other, hd_tv *out)
{
    hd_tv text;
    bool any = false, all = true;
    HD_TRY(hd_tpl_to_string(run, v, &text));
    hd_str s = hd_tv_text(text);
    HD_TRY(hd_tpl_work(run, s.len));
    for (size_t pos = 0, size; pos < s.len; pos += size) {
        utf8proc_category_t category = utf8proc_category(hd_utf8_read(s.data + pos, s.len - pos, &size));
        any |= category == wanted;
        all &= category != other && category != UTF8PROC_CATEGORY_LT;
    }
    return answer(any && all, out);
}

static hd_status test_lower(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return all_cased(run, call->self, UTF8PROC_CATEGORY_LL, UTF8PROC_CATEGORY_LU, out);
}

static hd_status test_upper(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return all_cased(run, call->self, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LL, out);
}

static hd_status test_filter(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_STRING && hd_tpl_find_filter(hd_tv_text(call->self)), out);
}

static hd_status test_test(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    (void)run;
    return answer(call->self.kind == HD_TV_STRING && hd_tpl_find_test(hd_tv_text(call->self)), out);
}

static const hd_tpl_builtin tests[] = {
    {"boolean", "", test_boolean},
    {"callable", "", test_callable},
    {"defined", "", test_defined},
    {"divisibleby", "!num", test_divisibleby},
    {"eq", "!other", test_eq},
    {"equalto", "!other", test_eq},
    {"escaped", "", test_escaped},
    {"even", "", test_even},
    {"false", "", test_false},
    {"filter", "", test_filter},
    {"float", "", test_float},
    {"ge", "!other", test_ge},
    {"greaterthan", "!other", test_gt},
    {"gt", "!other", test_gt},
    {"in", "!seq", test_in},
    {"integer", "", test_integer},
    {"iterable", "", test_iterable},
    {"le", "!other", test_le},
    {"lessthan", "!other", test_lt},
    {"lower", "", test_lower},
    {"lt", "!other", test_lt},
    {"mapping", "", test_mapping},
    {"ne", "!other", test_ne},
    {"none", "", test_none},
    {"number", "", test_number},
    {"odd", "", test_odd},
    {"sameas", "!other", test_sameas},
    {"sequence", "", test_sequence},
    {"string", "", test_string},
    {"test", "", test_test},
    {"true", "", test_true},
    {"undefined", "", test_undefined},
    {"upper", "", test_upper},
};

const hd_tpl_builtin *hd_tpl_find_test(hd_str name)
{
    /* jinja2 lets the operators be named too, for select('==', 3). */
    static const struct {
        const char *sign, *name;
    } signs[] = {{"==", "eq"}, {"!=", "ne"}, {"<", "lt"}, {"<=", "le"}, {">", "gt"}, {">=", "ge"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(signs); i++)
        if (hd_str_is(name, signs[i].sign)) name = (hd_str){signs[i].name, 2};
    return hd_tpl_find_in(tests, HD_ARRAY_LEN(tests), name);
}
