/* tokenizer/template_filters.c: the filters of jinja2 that make sense in a prompt, and sorting.
 *
 * Filters that give generators in jinja2 give HD_TV_ITERATOR here.  `safe` and `escape` give plain strings: without
 * autoescaping jinja2 prints the same text.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tokenizer/template_internal.h"

/* ---- arguments ---- */

hd_status hd_tpl_arg_int(hd_tpl_run *run, const hd_tpl_call *call, int slot, int64_t absent, int64_t *out)
{
    hd_tv v = call->slot[slot];
    *out = absent;
    if (v.kind == HD_TV_ABSENT || v.kind == HD_TV_NONE) return HD_OK;
    if (v.kind != HD_TV_INT && v.kind != HD_TV_BOOL)
        return hd_tpl_fail(run, HD_E_FORMAT, "%s() needs an integer, not %s", call->name, hd_tv_type_name(v));
    *out = hd_tv_integer(v);
    return HD_OK;
}

hd_status hd_tpl_arg_string(hd_tpl_run *run, const hd_tpl_call *call, int slot, hd_tv *out)
{
    *out = call->slot[slot];
    if (out->kind == HD_TV_STRING) return HD_OK;
    if (out->kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, *out);
    return hd_tpl_fail(run, HD_E_FORMAT, "%s() needs a string, not %s", call->name, hd_tv_type_name(*out));
}

bool hd_tpl_arg_bool(const hd_tpl_call *call, int slot)
{
    return hd_tv_true(call->slot[slot]);
}

static bool given(const hd_tpl_call *call, int slot)
{
    return call->slot[slot].kind != HD_TV_ABSENT && call->slot[slot].kind != HD_TV_NONE;
}

static hd_status new_iterator(hd_tpl_run *run, size_t cap, hd_tv *out)
{
    return hd_tpl_list_new(run, HD_TV_ITERATOR, cap, true, out);
}

/* ---- attribute paths: "a.b.0" ---- */

static bool all_digits(hd_str s, int64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' || *out > INT64_MAX / 20) return false;
        *out = *out * 10 + (s.data[i] - '0');
    }
    return s.len > 0;
}

/* What `path` names in `v`; without a path, `v`.  An undefined result is replaced by `otherwise` if that is given. */
static hd_status get_path(hd_tpl_run *run, hd_tv v, hd_tv path, hd_tv otherwise, hd_tv *out)
{
    *out = v;
    if (path.kind == HD_TV_ABSENT || path.kind == HD_TV_NONE) return HD_OK;
    if (path.kind == HD_TV_INT) return hd_tpl_item(run, v, path, out);
    if (path.kind != HD_TV_STRING)
        return hd_tpl_fail(run, HD_E_FORMAT, "an attribute must be a string, not %s", hd_tv_type_name(path));
    hd_str rest = hd_tv_text(path);
    for (;;) {
        const char *dot = rest.len ? memchr(rest.data, '.', rest.len) : NULL;
        hd_str name = {rest.data, dot ? (size_t)(dot - rest.data) : rest.len};
        int64_t index;
        hd_tv key = hd_tv_int(0, true);
        if (all_digits(name, &index))
            key.as.integer = index;
        else
            HD_TRY(hd_tpl_string(run, name.data, name.len, true, &key));
        HD_TRY(hd_tpl_item(run, *out, key, out));
        if (out->kind == HD_TV_UNDEFINED && otherwise.kind != HD_TV_ABSENT) *out = otherwise;
        if (!dot) return HD_OK;
        rest = (hd_str){dot + 1, rest.len - name.len - 1};
    }
}

/* ---- sorting ---- */

typedef struct sort_entry {
    hd_tv item, key;
} sort_entry;

/* Whether `later` must go before `earlier`.  Values that are undefined both are equal. */
static hd_status goes_first(hd_tpl_run *run, hd_tv later, hd_tv earlier, bool reverse, bool *out)
{
    int order = 0;
    if (later.kind != HD_TV_UNDEFINED || earlier.kind != HD_TV_UNDEFINED)
        HD_TRY(reverse ? hd_tpl_order(run, earlier, later, &order) : hd_tpl_order(run, later, earlier, &order));
    *out = order < 0;
    return HD_OK;
}

/* Merges two neighbouring sorted runs of `from` into `to`; stable in both directions. */
static hd_status merge(hd_tpl_run *run, const sort_entry *from, sort_entry *to, size_t low, size_t mid, size_t high,
                       bool reverse)
{
    size_t left = low, right = mid;
    for (size_t i = low; i < high; i++) {
        bool take_right = left == mid;
        if (left < mid && right < high) HD_TRY(goes_first(run, from[right].key, from[left].key, reverse, &take_right));
        to[i] = take_right ? from[right++] : from[left++];
    }
    return HD_OK;
}

hd_status hd_tpl_sorted(hd_tpl_run *run, hd_tpl_list *items, const hd_tv *keys, bool reverse)
{
    size_t n = items->n;
    sort_entry *a = hd_tpl_alloc(run, n * sizeof *a), *b = a ? hd_tpl_alloc(run, n * sizeof *b) : NULL;
    if (!b) return hd_tpl_no_memory(run);
    for (size_t i = 0; i < n; i++)
        a[i] = (sort_entry){items->item[i], keys[i]};
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t low = 0; low < n; low += 2 * width)
            HD_TRY(merge(run, a, b, low, HD_MIN(low + width, n), HD_MIN(low + 2 * width, n), reverse));
        sort_entry *swap = a;
        a = b;
        b = swap;
    }
    for (size_t i = 0; i < n; i++)
        items->item[i] = a[i].item;
    return HD_OK;
}

/* The key by which a value is compared: its attribute, in lower case unless case matters. */
static hd_status compare_key(hd_tpl_run *run, hd_tv v, hd_tv path, bool case_sensitive, hd_tv *out)
{
    HD_TRY(get_path(run, v, path, (hd_tv){.kind = HD_TV_ABSENT}, out));
    if (case_sensitive || out->kind != HD_TV_STRING) return HD_OK;
    return hd_tpl_change_case(run, *out, HD_CASE_LOWER, out);
}

static hd_status copy_items(hd_tpl_run *run, hd_tv v, hd_tv_kind kind, hd_tv *out)
{
    hd_tpl_list items;
    HD_TRY(hd_tpl_iterate(run, v, &items));
    HD_TRY(hd_tpl_list_new(run, kind, items.n, v.trusted, out));
    for (size_t i = 0; i < items.n; i++)
        HD_TRY(hd_tpl_list_push(run, *out, items.item[i]));
    return HD_OK;
}

/* The key of an item for sort(attribute="a,b"): a list of the keys of each. */
static hd_status sort_key(hd_tpl_run *run, hd_tv item, hd_tv path, bool case_sensitive, hd_tv *out)
{
    hd_str rest = path.kind == HD_TV_STRING ? hd_tv_text(path) : (hd_str){"", 0};
    if (!rest.len || !memchr(rest.data, ',', rest.len)) return compare_key(run, item, path, case_sensitive, out);
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, 2, true, out));
    for (size_t from = 0, len; from <= rest.len; from += len + 1) {
        const char *comma = from < rest.len ? memchr(rest.data + from, ',', rest.len - from) : NULL;
        hd_tv part, key;
        len = comma ? (size_t)(comma - rest.data) - from : rest.len - from;
        HD_TRY(hd_tpl_sub(run, path, from, len, &part));
        HD_TRY(compare_key(run, item, part, case_sensitive, &key));
        HD_TRY(hd_tpl_list_push(run, *out, key));
    }
    return HD_OK;
}

static hd_status sort_by(hd_tpl_run *run, hd_tpl_list *list, hd_tv path, bool case_sensitive, bool reverse)
{
    hd_tv *keys = hd_tpl_alloc(run, list->n * sizeof *keys);
    if (!keys) return hd_tpl_no_memory(run);
    for (size_t i = 0; i < list->n; i++)
        HD_TRY(sort_key(run, list->item[i], path, case_sensitive, &keys[i]));
    return hd_tpl_sorted(run, list, keys, reverse);
}

static hd_status filter_sort(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    HD_TRY(copy_items(run, call->self, HD_TV_LIST, out));
    return sort_by(run, out->as.list, call->slot[2], hd_tpl_arg_bool(call, 1), hd_tpl_arg_bool(call, 0));
}

static hd_status dict_pairs(hd_tpl_run *run, hd_tv dict, hd_tv_kind kind, hd_tv *out)
{
    HD_TRY(hd_tpl_list_new(run, kind, dict.as.dict->n, dict.trusted, out));
    for (size_t i = 0; i < dict.as.dict->n; i++) {
        hd_tv pair;
        HD_TRY(hd_tpl_list_new(run, HD_TV_TUPLE, 2, dict.trusted, &pair));
        HD_TRY(hd_tpl_list_push(run, pair, dict.as.dict->pair[i].key));
        HD_TRY(hd_tpl_list_push(run, pair, dict.as.dict->pair[i].value));
        HD_TRY(hd_tpl_list_push(run, *out, pair));
    }
    return HD_OK;
}

static hd_status need_dict(hd_tpl_run *run, const hd_tpl_call *call)
{
    if (call->self.kind == HD_TV_DICT) return HD_OK;
    if (call->self.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, call->self);
    return hd_tpl_fail(run, HD_E_FORMAT, "%s() needs a dict, not %s", call->name, hd_tv_type_name(call->self));
}

static hd_status filter_dictsort(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    bool by_value = false;
    HD_TRY(need_dict(run, call));
    if (given(call, 1)) {
        hd_tv by;
        HD_TRY(hd_tpl_arg_string(run, call, 1, &by));
        by_value = hd_str_is(hd_tv_text(by), "value");
        if (!by_value && !hd_str_is(hd_tv_text(by), "key"))
            return hd_tpl_fail(run, HD_E_FORMAT, "dictsort() sorts by 'key' or 'value'");
    }
    HD_TRY(dict_pairs(run, call->self, HD_TV_LIST, out));
    return sort_by(run, out->as.list, hd_tv_int(by_value, true), hd_tpl_arg_bool(call, 0), hd_tpl_arg_bool(call, 2));
}

static hd_status extreme(hd_tpl_run *run, const hd_tpl_call *call, int sign, hd_tv *out)
{
    hd_tpl_list items;
    hd_tv best_key, key;
    HD_TRY(hd_tpl_iterate(run, call->self, &items));
    if (items.n == 0)
        return hd_tpl_new_undefined(run, (hd_str){"", 0}, HD_TV_ABSENT, "no aggregated item, the sequence was empty",
                                    out);
    for (size_t i = 0; i < items.n; i++) {
        int order = sign;
        HD_TRY(compare_key(run, items.item[i], call->slot[1], hd_tpl_arg_bool(call, 0), &key));
        if (i) HD_TRY(hd_tpl_order(run, key, best_key, &order));
        if (order != sign) continue;
        *out = items.item[i];
        best_key = key;
    }
    return HD_OK;
}

static hd_status filter_min(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return extreme(run, call, -1, out);
}

static hd_status filter_max(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return extreme(run, call, 1, out);
}

static hd_status filter_unique(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    hd_tv seen, key;
    HD_TRY(hd_tpl_iterate(run, call->self, &items));
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, items.n, true, &seen));
    HD_TRY(new_iterator(run, items.n, out));
    for (size_t i = 0; i < items.n; i++) {
        bool known = false;
        HD_TRY(compare_key(run, items.item[i], call->slot[1], hd_tpl_arg_bool(call, 0), &key));
        HD_TRY(hd_tpl_contains(run, key, seen, &known));
        if (known) continue;
        HD_TRY(hd_tpl_list_push(run, seen, key));
        HD_TRY(hd_tpl_list_push(run, *out, items.item[i]));
    }
    return HD_OK;
}

/* Groups of (grouper, list), sorted by the grouper. */
static hd_status filter_groupby(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv sorted, key, last = {.kind = HD_TV_ABSENT}, group = {.kind = HD_TV_ABSENT};
    bool case_sensitive = hd_tpl_arg_bool(call, 2);
    HD_TRY(copy_items(run, call->self, HD_TV_LIST, &sorted));
    HD_TRY(sort_by(run, sorted.as.list, call->slot[0], case_sensitive, false));
    HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, 0, true, out));
    for (size_t i = 0; i < sorted.as.list->n; i++) {
        hd_tv item = sorted.as.list->item[i], pair, grouper;
        bool same = false;
        HD_TRY(compare_key(run, item, call->slot[0], case_sensitive, &key));
        if (last.kind != HD_TV_ABSENT) HD_TRY(hd_tpl_equal(run, key, last, &same));
        if (!same) {
            HD_TRY(get_path(run, item, call->slot[0], call->slot[1], &grouper));
            HD_TRY(hd_tpl_list_new(run, HD_TV_TUPLE, 2, true, &pair));
            HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, 0, true, &group));
            HD_TRY(hd_tpl_list_push(run, pair, grouper));
            HD_TRY(hd_tpl_list_push(run, pair, group));
            HD_TRY(hd_tpl_list_push(run, *out, pair));
            last = key;
        }
        HD_TRY(hd_tpl_list_push(run, group, item));
    }
    return HD_OK;
}

/* ---- map, select and their kin: the first argument names a filter or test, the rest is for that ---- */

static hd_status apply(hd_tpl_run *run, const hd_tpl_builtin *builtin, hd_tv self, const hd_tpl_call *call, size_t skip,
                       hd_tv *out)
{
    hd_tpl_call inner = {.self = self, .kw = call->kw, .n_kw = call->n_kw};
    inner.pos = call->pos + skip;
    inner.n_pos = call->n_pos - skip;
    HD_TRY(hd_tpl_enter(run)); /* map can name map: the nesting is bounded by the arguments, and so is the stack */
    hd_status status = hd_tpl_invoke(run, builtin, &inner, out);
    hd_tpl_leave(run);
    return status;
}

/* These filters give nothing for anything false, be it none or a number. */
static hd_status items_or_none(hd_tpl_run *run, hd_tv v, hd_tpl_list *out)
{
    *out = (hd_tpl_list){.n = 0};
    return hd_tv_true(v) ? hd_tpl_iterate(run, v, out) : HD_OK;
}

static const hd_tv *find_kw(const hd_tpl_call *call, const char *name)
{
    for (size_t i = 0; i < call->n_kw; i++)
        if (hd_str_is(call->kw[i].name, name)) return &call->kw[i].value;
    return NULL;
}

static hd_status filter_map(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    const hd_tv *path = find_kw(call, "attribute"), *otherwise = find_kw(call, "default");
    const hd_tpl_builtin *filter = NULL;
    hd_tpl_list items;
    if (call->n_pos == 0 && !path) return hd_tpl_fail(run, HD_E_FORMAT, "map() needs a filter or attribute=");
    if (call->n_pos) {
        hd_tv name = call->pos[0];
        filter = name.kind == HD_TV_STRING ? hd_tpl_find_filter(hd_tv_text(name)) : NULL;
        if (!filter) return hd_tpl_fail(run, HD_E_UNSUPPORTED, "map() needs the name of a filter");
    }
    HD_TRY(items_or_none(run, call->self, &items));
    HD_TRY(new_iterator(run, items.n, out));
    for (size_t i = 0; i < items.n; i++) {
        hd_tv v, absent = {.kind = HD_TV_ABSENT};
        if (filter)
            HD_TRY(apply(run, filter, items.item[i], call, 1, &v));
        else
            HD_TRY(get_path(run, items.item[i], *path, otherwise ? *otherwise : absent, &v));
        HD_TRY(hd_tpl_list_push(run, *out, v));
    }
    return HD_OK;
}

/* Keeps the items whose value (or attribute, when by_attribute) passes a test, or does not. */
static hd_status choose(hd_tpl_run *run, const hd_tpl_call *call, bool by_attribute, bool wanted, hd_tv *out)
{
    size_t skip = by_attribute;
    const hd_tpl_builtin *test = NULL;
    hd_tpl_list items;
    if (by_attribute && call->n_pos == 0) return hd_tpl_fail(run, HD_E_FORMAT, "%s() needs an attribute", call->name);
    if (call->n_pos > skip) {
        hd_tv name = call->pos[skip++];
        test = name.kind == HD_TV_STRING ? hd_tpl_find_test(hd_tv_text(name)) : NULL;
        if (!test) return hd_tpl_fail(run, HD_E_UNSUPPORTED, "%s() needs the name of a test", call->name);
    }
    HD_TRY(items_or_none(run, call->self, &items));
    HD_TRY(new_iterator(run, 0, out));
    for (size_t i = 0; i < items.n; i++) {
        hd_tv v = items.item[i], passes, absent = {.kind = HD_TV_ABSENT};
        if (by_attribute) HD_TRY(get_path(run, v, call->pos[0], absent, &v));
        passes = hd_tv_bool(hd_tv_true(v));
        if (test) HD_TRY(apply(run, test, v, call, skip, &passes));
        if (passes.as.boolean == wanted) HD_TRY(hd_tpl_list_push(run, *out, items.item[i]));
    }
    return HD_OK;
}

static hd_status filter_select(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return choose(run, call, false, true, out);
}

static hd_status filter_reject(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return choose(run, call, false, false, out);
}

static hd_status filter_selectattr(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return choose(run, call, true, true, out);
}

static hd_status filter_rejectattr(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return choose(run, call, true, false, out);
}

/* ---- sequences ---- */

static hd_status filter_length(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv v = call->self;
    size_t n;
    switch ((hd_tv_kind)v.kind) {
    case HD_TV_UNDEFINED: n = 0; break;
    case HD_TV_STRING:
        HD_TRY(hd_tpl_work(run, v.as.str->len));
        n = hd_utf8_count(v.as.str->data, v.as.str->len);
        break;
    case HD_TV_LIST:
    case HD_TV_TUPLE:
    case HD_TV_VIEW: n = v.as.list->n; break;
    case HD_TV_DICT: n = v.as.dict->n; break;
    default: return hd_tpl_fail(run, HD_E_FORMAT, "a %s has no length", hd_tv_type_name(v));
    }
    *out = hd_tv_int((int64_t)n, true);
    return HD_OK;
}

static hd_status filter_first(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    hd_tv v = call->self;
    if (v.kind == HD_TV_ITERATOR && v.as.list->next < v.as.list->n) {
        *out = v.as.list->item[v.as.list->next++];
        return HD_OK;
    }
    HD_TRY(hd_tpl_iterate(run, v, &items));
    if (items.n) return *out = items.item[0], HD_OK;
    return hd_tpl_new_undefined(run, (hd_str){"", 0}, HD_TV_ABSENT, "no first item, the sequence was empty", out);
}

static hd_status filter_last(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    HD_TRY(hd_tpl_iterate(run, call->self, &items));
    if (items.n) return *out = items.item[items.n - 1], HD_OK;
    return hd_tpl_new_undefined(run, (hd_str){"", 0}, HD_TV_ABSENT, "no last item, the sequence was empty", out);
}

static hd_status filter_list(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return copy_items(run, call->self, HD_TV_LIST, out);
}

static hd_status filter_items(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    if (call->self.kind == HD_TV_UNDEFINED) return new_iterator(run, 0, out);
    HD_TRY(need_dict(run, call));
    return dict_pairs(run, call->self, HD_TV_ITERATOR, out);
}

static hd_status filter_reverse(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    size_t mark = hd_tpl_mark(run);
    HD_TRY(hd_tpl_iterate(run, call->self, &items));
    if (call->self.kind == HD_TV_STRING) {
        for (size_t i = items.n; i-- > 0;)
            HD_TRY(hd_tpl_put_str(run, items.item[i]));
        return hd_tpl_take(run, mark, out);
    }
    HD_TRY(new_iterator(run, items.n, out));
    for (size_t i = items.n; i-- > 0;)
        HD_TRY(hd_tpl_list_push(run, *out, items.item[i]));
    return HD_OK;
}

static hd_status filter_join(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    hd_tv separator, absent = {.kind = HD_TV_ABSENT};
    HD_TRY(hd_tpl_iterate(run, call->self, &items));
    if (given(call, 0))
        HD_TRY(hd_tpl_to_string(run, call->slot[0], &separator));
    else
        HD_TRY(hd_tpl_string(run, "", 0, true, &separator));
    if (given(call, 1)) {
        hd_tv *found = hd_tpl_alloc(run, items.n * sizeof *found);
        if (!found) return hd_tpl_no_memory(run);
        for (size_t i = 0; i < items.n; i++)
            HD_TRY(get_path(run, items.item[i], call->slot[1], absent, &found[i]));
        items.item = found;
    }
    return hd_tpl_join(run, separator, &items, false, out);
}

static hd_status batch_size(hd_tpl_run *run, const hd_tpl_call *call, size_t *out)
{
    int64_t n;
    HD_TRY(hd_tpl_arg_int(run, call, 0, 0, &n));
    if (n <= 0 || n > HD_TPL_RANGE_MAX) return hd_tpl_fail(run, HD_E_FORMAT, "%s() needs a positive count", call->name);
    *out = (size_t)n;
    return HD_OK;
}

static hd_status filter_batch(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    size_t size = 1;
    hd_tv row = {.kind = HD_TV_ABSENT};
    HD_TRY(batch_size(run, call, &size));
    HD_TRY(hd_tpl_iterate(run, call->self, &items));
    HD_TRY(new_iterator(run, 0, out));
    for (size_t i = 0; i < items.n; i++) {
        if (i % size == 0) {
            HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, 0, true, &row));
            HD_TRY(hd_tpl_list_push(run, *out, row));
        }
        HD_TRY(hd_tpl_list_push(run, row, items.item[i]));
    }
    for (size_t i = items.n; given(call, 1) && i % size != 0; i++)
        HD_TRY(hd_tpl_list_push(run, row, call->slot[1]));
    return HD_OK;
}

/* Columns of as equal length as possible, the longer ones first. */
static hd_status filter_slice(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    size_t columns = 1, next = 0;
    HD_TRY(batch_size(run, call, &columns));
    HD_TRY(hd_tpl_iterate(run, call->self, &items));
    HD_TRY(new_iterator(run, columns, out));
    size_t each = items.n / columns, longer = items.n % columns;
    for (size_t i = 0; i < columns; i++) {
        hd_tv column;
        HD_TRY(hd_tpl_work(run, 0));
        HD_TRY(hd_tpl_list_new(run, HD_TV_LIST, each + 1, true, &column));
        for (size_t k = 0; k < each + (i < longer); k++)
            HD_TRY(hd_tpl_list_push(run, column, items.item[next++]));
        if (given(call, 1) && i >= longer && longer) HD_TRY(hd_tpl_list_push(run, column, call->slot[1]));
        HD_TRY(hd_tpl_list_push(run, *out, column));
    }
    return HD_OK;
}

static hd_status add(hd_tpl_run *run, hd_tv a, hd_tv b, hd_tv *out)
{
    int64_t sum;
    if (!hd_tv_is_number(a) || !hd_tv_is_number(b))
        return hd_tpl_fail(run, HD_E_FORMAT, "sum() needs numbers, not %s",
                           hd_tv_type_name(hd_tv_is_number(a) ? b : a));
    bool trusted = a.trusted && b.trusted;
    if (a.kind == HD_TV_FLOAT || b.kind == HD_TV_FLOAT) {
        *out = hd_tv_float(hd_tv_real(a) + hd_tv_real(b), trusted);
        return HD_OK;
    }
    if (__builtin_add_overflow(hd_tv_integer(a), hd_tv_integer(b), &sum))
        return hd_tpl_fail(run, HD_E_LIMIT, "an integer does not fit in 64 bits");
    *out = hd_tv_int(sum, trusted);
    return HD_OK;
}

static hd_status filter_sum(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_list items;
    hd_tv v, absent = {.kind = HD_TV_ABSENT};
    HD_TRY(hd_tpl_iterate(run, call->self, &items));
    *out = given(call, 1) ? call->slot[1] : hd_tv_int(0, true);
    for (size_t i = 0; i < items.n; i++) {
        HD_TRY(get_path(run, items.item[i], call->slot[0], absent, &v));
        HD_TRY(add(run, *out, v, out));
    }
    return HD_OK;
}

/* ---- text ---- */

static hd_status self_text(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return hd_tpl_to_string(run, call->self, out);
}

static hd_status change_case(hd_tpl_run *run, const hd_tpl_call *call, hd_letter_case how, hd_tv *out)
{
    hd_tv text;
    HD_TRY(self_text(run, call, &text));
    return hd_tpl_change_case(run, text, how, out);
}

static hd_status filter_upper(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return change_case(run, call, HD_CASE_UPPER, out);
}

static hd_status filter_lower(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return change_case(run, call, HD_CASE_LOWER, out);
}

static hd_status filter_capitalize(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return change_case(run, call, HD_CASE_CAPITALIZE, out);
}

/* jinja2's words begin after white space, '-', '(', '{', '[' or '<' only. */
static hd_status filter_title(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text, word;
    HD_TRY(self_text(run, call, &text));
    hd_str s = hd_tv_text(text);
    size_t mark = hd_tpl_mark(run);
    for (size_t pos = 0; pos < s.len;) {
        size_t end = pos, size = 0;
        for (; end < s.len; end += size) {
            int32_t c = hd_utf8_read(s.data + end, s.len - end, &size);
            if (hd_python_is_space(c) || (c < 0x80 && c && strchr("-({[<", c))) break;
        }
        HD_TRY(hd_tpl_sub(run, text, pos, end - pos, &word));
        HD_TRY(hd_tpl_change_case(run, word, HD_CASE_CAPITALIZE, &word));
        HD_TRY(hd_tpl_put_str(run, word));
        if (end < s.len) HD_TRY(hd_tpl_put_sub(run, text, end, size));
        pos = end < s.len ? end + size : end;
    }
    return hd_tpl_take(run, mark, out);
}

static hd_status filter_trim(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text;
    HD_TRY(self_text(run, call, &text));
    return hd_tpl_strip(run, text, call->slot[0], true, true, out);
}

static hd_status filter_replace(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text, old, with;
    int64_t count;
    HD_TRY(self_text(run, call, &text));
    HD_TRY(hd_tpl_to_string(run, call->slot[0], &old));
    HD_TRY(hd_tpl_to_string(run, call->slot[1], &with));
    HD_TRY(hd_tpl_arg_int(run, call, 2, -1, &count));
    return hd_tpl_replace(run, text, old, with, count, out);
}

static hd_status filter_string(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    return self_text(run, call, out);
}

static hd_status filter_escape(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    static const char chars[] = "&<>'\"", *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    hd_tv text;
    HD_TRY(self_text(run, call, &text));
    hd_str s = hd_tv_text(text);
    size_t mark = hd_tpl_mark(run);
    for (size_t i = 0; i < s.len; i++) {
        const char *at = s.data[i] ? strchr(chars, s.data[i]) : NULL;
        bool trusted = text.as.str->trust ? text.as.str->trust[i] : text.trusted;
        HD_TRY(at ? hd_tpl_puts(run, names[at - chars], trusted) : hd_tpl_put_sub(run, text, i, 1));
    }
    return hd_tpl_take(run, mark, out);
}

/* Spaces, or the given text, before every line but the first (unless asked) and empty ones (unless asked). */
static hd_status filter_indent(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text, space, width = call->slot[0];
    int64_t count = 1;
    HD_TRY(self_text(run, call, &text));
    HD_TRY(hd_tpl_string(run, " ", 1, true, &space));
    if (width.kind == HD_TV_STRING)
        space = width;
    else
        HD_TRY(hd_tpl_arg_int(run, call, 0, 4, &count));
    hd_str s = hd_tv_text(text);
    size_t mark = hd_tpl_mark(run), pos = 0;
    bool first = true;
    for (;;) {
        const char *newline = pos < s.len ? memchr(s.data + pos, '\n', s.len - pos) : NULL;
        size_t end = newline ? (size_t)(newline - s.data) : s.len;
        bool filled = end > pos || hd_tpl_arg_bool(call, 2);
        if (first ? hd_tpl_arg_bool(call, 1) : filled)
            HD_TRY(hd_tpl_put_fill(run, space, count > 0 ? (size_t)count : 0));
        HD_TRY(hd_tpl_put_sub(run, text, pos, end - pos));
        if (!newline) break;
        HD_TRY(hd_tpl_put_sub(run, text, end, 1));
        pos = end + 1;
        first = false;
    }
    return hd_tpl_take(run, mark, out);
}

static hd_status filter_center(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text, space;
    int64_t width;
    HD_TRY(self_text(run, call, &text));
    HD_TRY(hd_tpl_arg_int(run, call, 0, 80, &width));
    HD_TRY(hd_tpl_string(run, " ", 1, true, &space));
    size_t mark = hd_tpl_mark(run);
    HD_TRY(hd_tpl_put_padded(run, text, 'c', width, space));
    return hd_tpl_take(run, mark, out);
}

/* Cuts at `length` characters, before the last word unless killwords; up to `leeway` more are left whole. */
static hd_status filter_truncate(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text = call->self, end, cut;
    int64_t length, leeway;
    if (text.kind != HD_TV_STRING)
        return hd_tpl_fail(run, HD_E_FORMAT, "truncate() needs a string, not %s", hd_tv_type_name(text));
    HD_TRY(hd_tpl_arg_int(run, call, 0, 255, &length));
    HD_TRY(hd_tpl_arg_int(run, call, 3, 5, &leeway));
    if (given(call, 2))
        HD_TRY(hd_tpl_arg_string(run, call, 2, &end));
    else
        HD_TRY(hd_tpl_string(run, "...", 3, true, &end));
    hd_str s = hd_tv_text(text);
    int64_t end_chars = (int64_t)hd_utf8_count(end.as.str->data, end.as.str->len);
    if (length < end_chars || leeway < 0) return hd_tpl_fail(run, HD_E_FORMAT, "truncate() got too short a length");
    *out = text;
    if ((int64_t)hd_utf8_count(s.data, s.len) <= (leeway > INT64_MAX - length ? INT64_MAX : length + leeway))
        return HD_OK;
    size_t keep = hd_utf8_offset(s.data, s.len, (size_t)(length - end_chars));
    const char *space = !hd_tpl_arg_bool(call, 1) && keep ? memrchr(s.data, ' ', keep) : NULL;
    if (space) keep = (size_t)(space - s.data);
    HD_TRY(hd_tpl_sub(run, text, 0, keep, &cut));
    return hd_tpl_concat(run, cut, end, out);
}

static hd_status filter_wordcount(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text;
    int64_t words = 0;
    bool inside = false;
    HD_TRY(self_text(run, call, &text));
    hd_str s = hd_tv_text(text);
    HD_TRY(hd_tpl_work(run, s.len));
    for (size_t pos = 0, size; pos < s.len; pos += size) {
        int32_t c = hd_utf8_read(s.data + pos, s.len - pos, &size);
        bool word = hd_python_is_word(c);
        words += word && !inside;
        inside = word;
    }
    *out = hd_tv_int(words, true);
    return HD_OK;
}

static hd_status filter_urlencode(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/";
    hd_tv text;
    if (call->self.kind == HD_TV_DICT || hd_tv_is_list(call->self))
        return hd_tpl_fail(run, HD_E_UNSUPPORTED, "urlencode() of a %s", hd_tv_type_name(call->self));
    HD_TRY(self_text(run, call, &text));
    hd_str s = hd_tv_text(text);
    size_t mark = hd_tpl_mark(run);
    for (size_t i = 0; i < s.len; i++) {
        char escape[4];
        bool trusted = text.as.str->trust ? text.as.str->trust[i] : text.trusted;
        snprintf(escape, sizeof escape, "%%%02X", (unsigned char)s.data[i]);
        HD_TRY(s.data[i] && strchr(plain, s.data[i]) ? hd_tpl_put_sub(run, text, i, 1)
                                                     : hd_tpl_put(run, escape, 3, trusted));
    }
    return hd_tpl_take(run, mark, out);
}

static hd_status filter_format(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv text, args;
    HD_TRY(self_text(run, call, &text));
    if (call->n_kw) {
        if (call->n_pos) return hd_tpl_fail(run, HD_E_FORMAT, "format takes positions or keywords, not both");
        HD_TRY(hd_tpl_dict_new(run, HD_TV_DICT, call->n_kw, true, &args));
        for (size_t i = 0; i < call->n_kw; i++) {
            hd_tv key;
            HD_TRY(hd_tpl_string(run, call->kw[i].name.data, call->kw[i].name.len, true, &key));
            HD_TRY(hd_tpl_dict_set(run, args.as.dict, key, call->kw[i].value));
        }
        return hd_tpl_percent(run, text, args, out);
    }
    HD_TRY(hd_tpl_list_new(run, HD_TV_TUPLE, call->n_pos, true, &args));
    for (size_t i = 0; i < call->n_pos; i++)
        HD_TRY(hd_tpl_list_push(run, args, call->pos[i]));
    return hd_tpl_percent(run, text, args, out);
}

/* An indentation is given as a count of spaces or as the text itself. */
static hd_status json_indent(hd_tpl_run *run, const hd_tpl_call *call, hd_tpl_json *how)
{
    int64_t count;
    hd_tv space;
    if (!given(call, 1)) return HD_OK;
    if (call->slot[1].kind == HD_TV_STRING) {
        how->indent = call->slot[1];
        return HD_OK;
    }
    HD_TRY(hd_tpl_arg_int(run, call, 1, 0, &count));
    HD_TRY(hd_tpl_string(run, " ", 1, true, &space));
    size_t mark = hd_tpl_mark(run);
    HD_TRY(hd_tpl_put_fill(run, space, count > 0 ? (size_t)count : 0));
    return hd_tpl_take(run, mark, &how->indent);
}

/* transformers' tojson: json.dumps, without jinja2's escapes for HTML and with keys in their order. */
static hd_status filter_tojson(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tpl_json how = {.ascii = hd_tpl_arg_bool(call, 0), .sort_keys = hd_tpl_arg_bool(call, 3)};
    HD_TRY(json_indent(run, call, &how));
    if (given(call, 2)) {
        hd_tv pair = call->slot[2];
        bool good = (pair.kind == HD_TV_TUPLE || pair.kind == HD_TV_LIST) && pair.as.list->n == 2;
        for (size_t i = 0; good && i < 2; i++)
            good = pair.as.list->item[i].kind == HD_TV_STRING;
        if (!good) return hd_tpl_fail(run, HD_E_FORMAT, "tojson() needs two strings as separators");
        how.item_separator = pair.as.list->item[0];
        how.key_separator = pair.as.list->item[1];
    }
    size_t mark = hd_tpl_mark(run);
    HD_TRY(hd_tpl_put_json(run, call->self, &how, 0));
    return hd_tpl_take(run, mark, out);
}

/* ---- values ---- */

static hd_status filter_default(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    bool use = call->self.kind == HD_TV_UNDEFINED || (hd_tpl_arg_bool(call, 1) && !hd_tv_true(call->self));
    *out = use ? call->slot[0] : call->self;
    return use && out->kind == HD_TV_ABSENT ? hd_tpl_string(run, "", 0, true, out) : HD_OK;
}

static hd_status filter_attr(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv name;
    HD_TRY(hd_tpl_arg_string(run, call, 0, &name));
    if (call->self.kind != HD_TV_DICT) return hd_tpl_attr(run, call->self, hd_tv_text(name), out);
    hd_tv empty; /* of a dict only its methods, never its keys */
    HD_TRY(hd_tpl_dict_new(run, HD_TV_DICT, 0, true, &empty));
    if (hd_tpl_find_method(HD_TV_DICT, hd_tv_text(name))) empty = call->self;
    return hd_tpl_attr(run, empty, hd_tv_text(name), out);
}

static hd_status filter_abs(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv v = call->self;
    if (v.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, v);
    if (!hd_tv_is_number(v)) return hd_tpl_fail(run, HD_E_FORMAT, "abs() needs a number, not %s", hd_tv_type_name(v));
    if (v.kind == HD_TV_FLOAT) return *out = hd_tv_float(fabs(v.as.real), v.trusted), HD_OK;
    int64_t i = hd_tv_integer(v);
    if (i == INT64_MIN) return hd_tpl_fail(run, HD_E_LIMIT, "an integer does not fit in 64 bits");
    *out = hd_tv_int(i < 0 ? -i : i, v.trusted);
    return HD_OK;
}

/* Digits of `base` with a sign and white space around, as int() takes them; false when they are none. */
static bool parse_integer(hd_str s, int64_t base, int64_t *out)
{
    size_t i = 0, end = s.len;
    bool negative = false, any = false;
    while (i < end && hd_python_is_space((unsigned char)s.data[i]))
        i++;
    while (end > i && hd_python_is_space((unsigned char)s.data[end - 1]))
        end--;
    if (i < end && (s.data[i] == '-' || s.data[i] == '+')) negative = s.data[i++] == '-';
    char letter = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
    if (letter && i + 1 < end && s.data[i] == '0' && (s.data[i + 1] | 0x20) == letter) i += 2;
    *out = 0;
    for (; i < end; i++) {
        char c = s.data[i];
        int64_t digit = c >= '0' && c <= '9'                     ? c - '0'
                        : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10
                                                                 : 99;
        if (c == '_' && any && i + 1 < end && s.data[i + 1] != '_') continue;
        if (digit >= base || __builtin_mul_overflow(*out, base, out) ||
            __builtin_sub_overflow(*out, digit, out)) /* negative, so that the smallest integer fits */
            return false;
        any = true;
    }
    return any && (negative || !__builtin_sub_overflow((int64_t)0, *out, out));
}

static bool parse_real(hd_str s, double *out)
{
    while (s.len && hd_python_is_space((unsigned char)s.data[0]))
        s.data++, s.len--;
    while (s.len && hd_python_is_space((unsigned char)s.data[s.len - 1]))
        s.len--;
    return hd_python_parse_float(s.data, s.len, out);
}

static hd_status filter_int(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv v = call->self;
    int64_t base, parsed;
    double real;
    HD_TRY(hd_tpl_arg_int(run, call, 1, 10, &base));
    if (base < 2 || base > 36) return hd_tpl_fail(run, HD_E_FORMAT, "int() needs a base between 2 and 36");
    *out = call->slot[0].kind == HD_TV_ABSENT ? hd_tv_int(0, true) : call->slot[0];
    if (v.kind == HD_TV_INT || v.kind == HD_TV_BOOL) {
        *out = hd_tv_int(hd_tv_integer(v), v.trusted);
    } else if (v.kind == HD_TV_STRING && parse_integer(hd_tv_text(v), base, &parsed)) {
        *out = hd_tv_int(parsed, hd_tv_all_trusted(v));
    } else if (v.kind == HD_TV_FLOAT || (v.kind == HD_TV_STRING && parse_real(hd_tv_text(v), &real))) {
        if (v.kind == HD_TV_FLOAT) real = v.as.real;
        if (fabs(real) < 9.2e18) *out = hd_tv_int((int64_t)real, hd_tv_all_trusted(v));
    } else if (v.kind == HD_TV_UNDEFINED) {
        return hd_tpl_undefined(run, v);
    }
    return HD_OK;
}

static hd_status filter_float(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv v = call->self;
    double real;
    *out = call->slot[0].kind == HD_TV_ABSENT ? hd_tv_float(0, true) : call->slot[0];
    if (v.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, v);
    if (hd_tv_is_number(v))
        *out = hd_tv_float(hd_tv_real(v), v.trusted);
    else if (v.kind == HD_TV_STRING && parse_real(hd_tv_text(v), &real))
        *out = hd_tv_float(real, hd_tv_all_trusted(v));
    return HD_OK;
}

/* Python's round(): halves go to the even digit, decided on the exact binary value, as printf does. */
static double round_common(double value, int64_t precision)
{
    char text[400];
    double rounded;
    if (!isfinite(value) || precision > 300) return value;
    if (precision < 0) {
        double scale = pow(10, (double)-precision);
        return precision < -308 ? 0 * value : nearbyint(value / scale) * scale;
    }
    size_t n = (size_t)snprintf(text, sizeof text, "%.*f", (int)precision, value);
    if (n >= sizeof text) return value;
    for (size_t i = 0; i < n; i++)
        if (!strchr("-0123456789", text[i])) text[i] = '.';
    return hd_python_parse_float(text, n, &rounded) ? rounded : value;
}

static hd_status filter_round(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out)
{
    hd_tv v = call->self, method = call->slot[1];
    int64_t precision;
    HD_TRY(hd_tpl_arg_int(run, call, 0, 0, &precision));
    if (v.kind == HD_TV_UNDEFINED) return hd_tpl_undefined(run, v);
    if (!hd_tv_is_number(v)) return hd_tpl_fail(run, HD_E_FORMAT, "round() needs a number, not %s", hd_tv_type_name(v));
    bool common = method.kind != HD_TV_STRING || hd_str_is(hd_tv_text(method), "common");
    if (common) {
        if (v.kind != HD_TV_FLOAT && precision >= 0) return *out = hd_tv_int(hd_tv_integer(v), v.trusted), HD_OK;
        double rounded = round_common(hd_tv_real(v), precision);
        *out = v.kind == HD_TV_FLOAT ? hd_tv_float(rounded, v.trusted) : hd_tv_int((int64_t)rounded, v.trusted);
        return HD_OK;
    }
    bool up = hd_str_is(hd_tv_text(method), "ceil");
    if (!up && !hd_str_is(hd_tv_text(method), "floor"))
        return hd_tpl_fail(run, HD_E_FORMAT, "round() knows the methods common, ceil and floor");
    double scale = pow(10, (double)precision), scaled = hd_tv_real(v) * scale;
    *out = hd_tv_float((up ? ceil(scaled) : floor(scaled)) / scale, v.trusted);
    return HD_OK;
}

static const hd_tpl_builtin filters[] = {
    {"abs", "", filter_abs},
    {"attr", "!name", filter_attr},
    {"batch", "!linecount fill_with", filter_batch},
    {"capitalize", "", filter_capitalize},
    {"center", "width", filter_center},
    {"count", "", filter_length},
    {"d", "default_value boolean", filter_default},
    {"default", "default_value boolean", filter_default},
    {"dictsort", "case_sensitive by reverse", filter_dictsort},
    {"e", "", filter_escape},
    {"escape", "", filter_escape},
    {"first", "", filter_first},
    {"float", "default", filter_float},
    {"forceescape", "", filter_escape},
    {"format", "*", filter_format},
    {"groupby", "!attribute default case_sensitive", filter_groupby},
    {"indent", "width first blank", filter_indent},
    {"int", "default base", filter_int},
    {"items", "", filter_items},
    {"join", "d attribute", filter_join},
    {"last", "", filter_last},
    {"length", "", filter_length},
    {"list", "", filter_list},
    {"lower", "", filter_lower},
    {"map", "*", filter_map},
    {"max", "case_sensitive attribute", filter_max},
    {"min", "case_sensitive attribute", filter_min},
    {"reject", "*", filter_reject},
    {"rejectattr", "*", filter_rejectattr},
    {"replace", "!old !new count", filter_replace},
    {"reverse", "", filter_reverse},
    {"round", "precision method", filter_round},
    {"safe", "", filter_string},
    {"select", "*", filter_select},
    {"selectattr", "*", filter_selectattr},
    {"slice", "!slices fill_with", filter_slice},
    {"sort", "reverse case_sensitive attribute", filter_sort},
    {"string", "", filter_string},
    {"sum", "attribute start", filter_sum},
    {"title", "", filter_title},
    {"tojson", "ensure_ascii indent separators sort_keys", filter_tojson},
    {"trim", "chars", filter_trim},
    {"truncate", "length killwords end leeway", filter_truncate},
    {"unique", "case_sensitive attribute", filter_unique},
    {"upper", "", filter_upper},
    {"urlencode", "", filter_urlencode},
    {"wordcount", "", filter_wordcount},
};

const hd_tpl_builtin *hd_tpl_find_in(const hd_tpl_builtin *table, size_t n, hd_str name)
{
    for (size_t i = 0; i < n; i++)
        if (hd_str_is(name, table[i].name)) return &table[i];
    return NULL;
}

const hd_tpl_builtin *hd_tpl_find_filter(hd_str name)
{
    return hd_tpl_find_in(filters, HD_ARRAY_LEN(filters), name);
}
