/* test_template_errors.c: bad templates and bad uses, one for each error: its status, and that it names line and cause.
 */
#include "unit/tokenizer/render.h"

typedef struct bad {
    const char *source;
    hd_status status;
    const char *part; /* of the error's text */
} bad;

static const char vars[] = "{\"s\":\"abc\",\"l\":[1,2],\"d\":{\"a\":1},\"n\":null,\"i\":3}";

static void check_bad(const bad *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_error_with(cases[i].source, vars, cases[i].status, cases[i].part);
}

static void test_tokens(void **state)
{
    (void)state;
    static const bad cases[] = {
        {"a\n{{ x", HD_E_FORMAT, "line 2: a tag is never closed; expected '}}'"},
        {"{% if x", HD_E_FORMAT, "expected '%}'"},
        {"{# x", HD_E_FORMAT, "a comment is never closed"},
        {"{% raw %} x {% endraw", HD_E_FORMAT, "raw %} is never closed"},
        {"{% raw %} x", HD_E_FORMAT, "raw %} is never closed"},
        {"{{ 'x }}", HD_E_FORMAT, "a string is never closed; expected '"},
        {"{{ \"x\\\" }}", HD_E_FORMAT, "a string is never closed; expected \""},
        {"{{ '\\xZZ' }}", HD_E_FORMAT, "malformed escape \\x"},
        {"{{ '\\u12' }}", HD_E_FORMAT, "malformed escape \\u"},
        {"{{ '\\ud800' }}", HD_E_FORMAT, "malformed escape \\u"},
        {"{{ '\\U00110000' }}", HD_E_FORMAT, "malformed escape \\U"},
        {"{{ '\\N{DASH}' }}", HD_E_UNSUPPORTED, "\\N{...}"},
        {"{{ 9223372036854775808 }}", HD_E_FORMAT, "does not fit in 64 bits"},
        {"{{ 0xFFFFFFFFFFFFFFFFF }}", HD_E_FORMAT, "does not fit in 64 bits"},
        {"{{ ) }}", HD_E_FORMAT, "unexpected ')'"},
        {"{{ (] }}", HD_E_FORMAT, "unexpected ']'"},
        {"{{ $ }}", HD_E_FORMAT, "unexpected character '$'"},
        {"{{ \xE2\x82\xAC }}", HD_E_FORMAT, "unexpected character '\xE2\x82\xAC'"},
        {"a\xFFz", HD_E_FORMAT, "not UTF-8 (byte 1)"},
        {"a\xC3", HD_E_FORMAT, "not UTF-8 (byte 1)"},
    };
    check_bad(cases, HD_ARRAY_LEN(cases));
}

static void test_grammar(void **state)
{
    (void)state;
    static const bad cases[] = {
        {"{{ }}", HD_E_FORMAT, "expected an expression, found '}}'"},
        {"{{ 1 + }}", HD_E_FORMAT, "expected an expression"},
        {"{{ 1 2 }}", HD_E_FORMAT, "expected '}}', found a number"},
        {"{{ a b }}", HD_E_FORMAT, "expected '}}', found 'b'"},
        {"{{ a = 1 }}", HD_E_FORMAT, "expected '}}', found an operator"},
        {"{{ (1 }}", HD_E_FORMAT, "expected"},
        {"{{ (1 2) }}", HD_E_FORMAT, "expected ')'"},
        {"{{ [1 2] }}", HD_E_FORMAT, "expected ',' or ']'"},
        {"{{ {1} }}", HD_E_FORMAT, "expected ':' after the key of a dict"},
        {"{{ {1: 2 3: 4} }}", HD_E_FORMAT, "expected ',' or '}'"},
        {"{{ f(1 2) }}", HD_E_FORMAT, "expected ',' or ')'"},
        {"{{ a. }}", HD_E_FORMAT, "a name or number after '.'"},
        {"{{ a[] }}", HD_E_FORMAT, "expected an index"},
        {"{{ a[1:2:3:4] }}", HD_E_FORMAT, "expected ']'"},
        {"{{ a| }}", HD_E_FORMAT, "the name of a filter"},
        {"{{ a is }}", HD_E_FORMAT, "the name of a test after 'is'"},
        {"{{ a is not 5 }}", HD_E_FORMAT, "the name of a test after 'is'"},
        {"{% %}", HD_E_FORMAT, "the name of a tag"},
        {"x\n{% frob %}", HD_E_FORMAT, "line 2: unexpected tag 'frob'"},
        {"{% endif %}", HD_E_FORMAT, "unexpected tag 'endif'"},
        {"{% if %}{% endif %}", HD_E_FORMAT, "expected an expression, found '%}'"},
        {"{% if 1 %}", HD_E_FORMAT, "expected {% elif %} before the end"},
        {"{% if 1 %}{% else %}{% elif 2 %}{% endif %}", HD_E_FORMAT, "unexpected tag 'elif'"},
        {"{% if 1 x %}{% endif %}", HD_E_FORMAT, "expected '%}', found 'x'"},
        {"{% if 1 %}{% endif x %}", HD_E_FORMAT, "expected '%}'"},
        {"{% for %}{% endfor %}", HD_E_FORMAT, "the name of a variable"},
        {"{% for 5 in l %}{% endfor %}", HD_E_FORMAT, "the name of a variable"},
        {"{% for x of l %}{% endfor %}", HD_E_FORMAT, "expected 'in', found 'of'"},
        {"{% for (x in l %}{% endfor %}", HD_E_FORMAT, "expected"},
        {"{% for (x y) in l %}{% endfor %}", HD_E_FORMAT, "expected ')'"},
        {"{% for x in l %}", HD_E_FORMAT, "expected {% else %} before the end"},
        {"{% for x in l %}{% else %}", HD_E_FORMAT, "expected {% endfor %} before the end"},
        {"{% for x in l recursive %}{% endfor %}", HD_E_UNSUPPORTED, "recursive loops are not supported"},
        {"{% break %}", HD_E_FORMAT, "outside of a loop"},
        {"{% for x in l %}{% macro m() %}{% continue %}{% endmacro %}{% endfor %}", HD_E_FORMAT, "outside of a loop"},
        {"{% set %}", HD_E_FORMAT, "the name of a variable"},
        {"{% set x = %}", HD_E_FORMAT, "expected an expression"},
        {"{% set x.0 = 1 %}", HD_E_FORMAT, "the name of an attribute"},
        {"{% set x %}", HD_E_FORMAT, "expected {% endset %} before the end"},
        {"{% set x| %}{% endset %}", HD_E_FORMAT, "the name of a filter"},
        {"{% macro %}{% endmacro %}", HD_E_FORMAT, "the name of a macro"},
        {"{% macro m %}{% endmacro %}", HD_E_FORMAT, "expected '('"},
        {"{% macro m(1) %}{% endmacro %}", HD_E_FORMAT, "the name of a parameter"},
        {"{% macro m(a b) %}{% endmacro %}", HD_E_FORMAT, "expected ',' or ')'"},
        {"{% macro m() %}", HD_E_FORMAT, "expected {% endmacro %} before the end"},
        {"{% call x %}{% endcall %}", HD_E_FORMAT, "a call in {% call %}"},
        {"{% call m() %}", HD_E_FORMAT, "expected {% endcall %} before the end"},
        {"{% filter %}{% endfilter %}", HD_E_FORMAT, "the name of a filter"},
        {"{% filter upper %}", HD_E_FORMAT, "expected {% endfilter %} before the end"},
        {"{% with a %}{% endwith %}", HD_E_FORMAT, "expected '='"},
        {"{% with a = 1 b = 2 %}{% endwith %}", HD_E_FORMAT, "expected ',' or '%}'"},
        {"{% with a = 1 %}", HD_E_FORMAT, "expected {% endwith %} before the end"},
        {"{% generation %}", HD_E_FORMAT, "expected {% endgeneration %} before the end"},
        {"{% include 'x' %}", HD_E_UNSUPPORTED, "{% include %} is not supported"},
        {"{% extends 'x' %}", HD_E_UNSUPPORTED, "{% extends %} is not supported"},
        {"{% import 'x' as y %}", HD_E_UNSUPPORTED, "{% import %} is not supported"},
        {"{% block b %}{% endblock %}", HD_E_UNSUPPORTED, "{% block %} is not supported"},
    };
    check_bad(cases, HD_ARRAY_LEN(cases));
}

static void test_evaluation(void **state)
{
    (void)state;
    static const bad cases[] = {
        {"a\nb\n{{ nope.x }}", HD_E_FORMAT, "line 3: 'nope' is undefined"},
        {"{{ d.nope.x }}", HD_E_FORMAT, "'dict' has no attribute 'nope'"},
        {"{{ n.x.y }}", HD_E_FORMAT, "'None' has no attribute 'x'"},
        {"{{ l[9].y }}", HD_E_FORMAT, "'list' has no attribute '9'"},
        {"{{ nope + 'a' }}{{ 'a' }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ 'a' + nope }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ nope() }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ nope[0] }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ nope[1:] }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ -nope }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ nope < 1 }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ (1 if false).x }}", HD_E_FORMAT, "no else was given"},
        {"{{ 'a' + 1 }}", HD_E_FORMAT, "'str' + 'int' has no meaning"},
        {"{{ 'a' + n }}", HD_E_FORMAT, "'str' + 'NoneType' has no meaning"},
        {"{{ [1] + (1,) }}", HD_E_FORMAT, "'list' + 'tuple' has no meaning"},
        {"{{ {} - 1 }}", HD_E_FORMAT, "'dict' - 'int' has no meaning"},
        {"{{ -s }}", HD_E_FORMAT, "a sign can't stand before a str"},
        {"{{ 1 / 0 }}", HD_E_FORMAT, "division by zero"},
        {"{{ 1 // 0 }}", HD_E_FORMAT, "division by zero"},
        {"{{ 1.5 % 0 }}", HD_E_FORMAT, "division by zero"},
        {"{{ 1 < 'a' }}", HD_E_FORMAT, "'int' and 'str' have no order"},
        {"{{ 1 in 'abc' }}", HD_E_FORMAT, "'in <string>' needs a string"},
        {"{{ 1 in 5 }}", HD_E_FORMAT, "'int' object is not iterable"},
        {"{% for x in 5 %}{% endfor %}", HD_E_FORMAT, "'int' object is not iterable"},
        {"{% for x in n %}{% endfor %}", HD_E_FORMAT, "'NoneType' object is not iterable"},
        {"{% for a, b in l %}{% endfor %}", HD_E_FORMAT, "'int' object is not iterable"},
        {"{% set a, b = [1] %}", HD_E_FORMAT, "not enough values to unpack: 1"},
        {"{% set a, b = [1, 2, 3] %}", HD_E_FORMAT, "too many values to unpack: 3, expected 2"},
        {"{% set d.x = 1 %}", HD_E_FORMAT, "on a namespace only, not on a dict"},
        {"{{ s() }}", HD_E_FORMAT, "'str' object is not callable"},
        {"{% for x in l %}{{ loop(x) }}{% endfor %}", HD_E_UNSUPPORTED, "recursive loops are not supported"},
        {"{{ {[]: 1} }}", HD_E_FORMAT, "a list can't be the key of a dict"},
        {"{{ d.get([]) }}", HD_E_FORMAT, "a list can't be the key of a dict"},
        {"{{ l[::0] }}", HD_E_FORMAT, "the step of a slice can't be zero"},
        {"{{ l['a':] }}", HD_E_FORMAT, "the bounds of a slice must be integers, not str"},
        {"{{ d[1:] }}", HD_E_FORMAT, "a dict can't be sliced"},
        {"{{ s.nope() }}", HD_E_FORMAT, "'str' has no attribute 'nope'"},
        {"{{ l.append(3) }}", HD_E_FORMAT, "a method that changes a list or dict can't be used"},
        {"{{ range(*5) }}", HD_E_FORMAT, "'int' object is not iterable"},
        {"{{ dict(**5) }}", HD_E_FORMAT, "** needs a dict, not int"},
        {"{{ dict(**{1: 2}) }}", HD_E_FORMAT, "keywords of a call must be strings"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", HD_E_FORMAT, "macro 'm' takes at most 1 arguments, not 2"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}", HD_E_FORMAT, "macro 'm' got two values for 'a'"},
        {"{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", HD_E_FORMAT, "macro 'm' got a keyword that is not one of"},
        {"{% macro m() %}{% endmacro %}{% call m() %}x{% endcall %}", HD_E_FORMAT, "got a keyword"},
        {"{{ raise_exception('no ' ~ i) }}", HD_E_ARGUMENT, "refuses the messages: no 3"},
        {"{{ raise_exception() }}", HD_E_ARGUMENT, "refuses the messages: "},
        {"{{ range(1, 2, 0) }}", HD_E_FORMAT, "a step other than zero"},
        {"{{ range() }}", HD_E_FORMAT, "range() needs the argument 'start'"},
        {"{{ range(1.5) }}", HD_E_FORMAT, "range() needs an integer, not float"},
        {"{{ dict(1, 2) }}", HD_E_FORMAT, "dict() takes one position at most"},
        {"{{ dict([(1, 2, 3)]) }}", HD_E_FORMAT, "dict() needs pairs"},
        {"{{ strftime_now(5) }}", HD_E_FORMAT, "strftime_now() needs a string, not int"},
        {"{{ loop.cycle() }}{% for x in l %}{% endfor %}", HD_E_FORMAT, "'loop' is undefined"},
        {"{% for x in l %}{{ loop.cycle() }}{% endfor %}", HD_E_FORMAT, "needs something to cycle through"},
    };
    check_bad(cases, HD_ARRAY_LEN(cases));
}

static void test_builtins(void **state)
{
    (void)state;
    static const bad cases[] = {
        {"{{ s|nope }}", HD_E_UNSUPPORTED, "no filter is named 'nope'"},
        {"{{ s is nope }}", HD_E_UNSUPPORTED, "no test is named 'nope'"},
        {"{{ s|trim(1, 2) }}", HD_E_FORMAT, "trim() takes at most 1 arguments, not 2"},
        {"{{ s|trim(x=1) }}", HD_E_FORMAT, "trim() has an argument that is not supported; it takes: chars"},
        {"{{ s|trim(5) }}", HD_E_FORMAT, "the characters to strip must be a string, not int"},
        {"{{ s|replace('a') }}", HD_E_FORMAT, "replace() needs the argument 'new'"},
        {"{{ s.replace('a', 5) }}", HD_E_FORMAT, "replace() needs a string, not int"},
        {"{{ s.replace(nope, '') }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ 5|length }}", HD_E_FORMAT, "a int has no length"},
        {"{{ 5|list }}", HD_E_FORMAT, "'int' object is not iterable"},
        {"{{ [1, 'a']|sort }}", HD_E_FORMAT, "'str' and 'int' have no order"},
        {"{{ l|sort(attribute=[]) }}", HD_E_FORMAT, "an attribute must be a string, not list"},
        {"{{ l|dictsort }}", HD_E_FORMAT, "dictsort() needs a dict, not list"},
        {"{{ nope|dictsort }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ d|dictsort(by='x') }}", HD_E_FORMAT, "dictsort() sorts by 'key' or 'value'"},
        {"{{ l|items }}", HD_E_FORMAT, "items() needs a dict, not list"},
        {"{{ l|map }}", HD_E_FORMAT, "map() needs a filter or attribute="},
        {"{{ l|map('nope') }}", HD_E_UNSUPPORTED, "map() needs the name of a filter"},
        {"{{ l|select('nope') }}", HD_E_UNSUPPORTED, "select() needs the name of a test"},
        {"{{ l|selectattr }}", HD_E_FORMAT, "selectattr() needs an attribute"},
        {"{{ l|batch(0) }}", HD_E_FORMAT, "batch() needs a positive count"},
        {"{{ l|slice(-1) }}", HD_E_FORMAT, "slice() needs a positive count"},
        {"{{ ['a']|sum }}", HD_E_FORMAT, "sum() needs numbers, not str"},
        {"{{ 5|truncate }}", HD_E_FORMAT, "truncate() needs a string, not int"},
        {"{{ s|truncate(1) }}", HD_E_FORMAT, "truncate() got too short a length"},
        {"{{ l|urlencode }}", HD_E_UNSUPPORTED, "urlencode() of a list"},
        {"{{ s|format(1) }}", HD_E_FORMAT, "not all arguments were used"},
        {"{{ '%s %s'|format(1) }}", HD_E_FORMAT, "not enough arguments for a format string"},
        {"{{ '%(x)s'|format(y=1) }}", HD_E_FORMAT, "no value for %(x)"},
        {"{{ '%(x'|format(y=1) }}", HD_E_FORMAT, "without ')'"},
        {"{{ '%z'|format(1) }}", HD_E_FORMAT, "unknown conversion"},
        {"{{ '%'|format(1) }}", HD_E_FORMAT, "unknown conversion"},
        {"{{ '%d'|format('a') }}", HD_E_FORMAT, "the format 'd' needs a number, not str"},
        {"{{ '%d'|format(nope) }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ '%s'|format(1, x=2) }}", HD_E_FORMAT, "positions or keywords, not both"},
        {"{{ '%d'|format(1e300) }}", HD_E_LIMIT, "too large for the format 'd'"},
        {"{{ '{} {}'.format(1) }}", HD_E_FORMAT, "format() has no argument 1"},
        {"{{ '{x}'.format(1) }}", HD_E_FORMAT, "format() has no argument 'x'"},
        {"{{ '{'.format(1) }}", HD_E_FORMAT, "format() got a single '{'"},
        {"{{ '}'.format(1) }}", HD_E_FORMAT, "format() got a single '}'"},
        {"{{ '{0.x}'.format(1) }}", HD_E_UNSUPPORTED, "fields with '.'"},
        {"{{ '{:z}'.format(1) }}", HD_E_UNSUPPORTED, "the format 'z' is not supported"},
        {"{{ s|tojson(separators=1) }}", HD_E_FORMAT, "tojson() needs two strings as separators"},
        {"{{ nope|tojson }}", HD_E_FORMAT, "a Undefined can't be written as JSON"},
        {"{{ {(1, 2): 3}|tojson }}", HD_E_FORMAT, "a tuple can't be written as JSON"},
        {"{{ s|attr(5) }}", HD_E_FORMAT, "attr() needs a string, not int"},
        {"{{ s|abs }}", HD_E_FORMAT, "abs() needs a number, not str"},
        {"{{ nope|abs }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ nope|int }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ nope|float }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ nope|round }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ s|int(0, 99) }}", HD_E_FORMAT, "a base between 2 and 36"},
        {"{{ s|round }}", HD_E_FORMAT, "round() needs a number, not str"},
        {"{{ 1|round(0, 'x') }}", HD_E_FORMAT, "common, ceil and floor"},
        {"{{ s is odd }}", HD_E_FORMAT, "'is odd' needs numbers, not str"},
        {"{{ nope is odd }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ 1 is divisibleby 0 }}", HD_E_FORMAT, "division by zero"},
        {"{{ 1 is divisibleby }}", HD_E_FORMAT, "divisibleby() needs the argument 'num'"},
        {"{{ s.ljust(5, 'ab') }}", HD_E_FORMAT, "ljust() pads with one character"},
        {"{{ s.startswith(5) }}", HD_E_FORMAT, "startswith() needs a string or a tuple"},
        {"{{ s.startswith(nope) }}", HD_E_FORMAT, "'nope' is undefined"},
        {"{{ s.index('x') }}", HD_E_FORMAT, "index(): the substring was not found"},
        {"{{ s.split('') }}", HD_E_FORMAT, "split() got an empty separator"},
        {"{{ s.partition('') }}", HD_E_FORMAT, "partition() got an empty separator"},
        {"{{ s.join([1]) }}", HD_E_FORMAT, "join() expected strings, item 0 is int"},
        {"{{ l.index(9) }}", HD_E_FORMAT, "the value is not in the list"},
    };
    check_bad(cases, HD_ARRAY_LEN(cases));
}

/* A filter that does not exist hurts only where it is used. */
static void test_unused(void **state)
{
    (void)state;
    check_with("{% if false %}{{ s|nope }}{{ s is nope }}{% endif %}ok", vars, "ok");
}

static void test_variables(void **state)
{
    (void)state;
    check_error_with("x", "[1]", HD_E_ARGUMENT, "must be an object");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),   cmocka_unit_test(test_grammar), cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_builtins), cmocka_unit_test(test_unused),  cmocka_unit_test(test_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
