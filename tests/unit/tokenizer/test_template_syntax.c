/* test_template_syntax.c: tags, white space, statements and scopes of templates; expectations are jinja2's. */
#include "unit/tokenizer/render.h"

static void test_white_space(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"", ""},
        {"plain\n", "plain"},
        {"a\r\nb\rc\n\n", "a\nb\nc\n"},
        {"a {{- 1 -}} b", "a1b"},
        {"a\n  {{- 1 }}\n b", "a1\n b"},
        {"a {{+ 1 }} b", "a 1 b"},
        {"  {% if true %}\nx\n  {% endif %}\ny", "x\ny"},
        {"  {%+ if true %}\nx\n  {%+ endif %}\ny", "  x\n  y"},
        {"  {%- if true -%}\n x \n {%- endif -%}\n y", "xy"},
        {"a  {% if true +%}\nx{% endif +%}\n", "a  \nx"},
        {"a\n\t {# c #}\nb", "a\nb"},
        {"a {#- c -#} b", "ab"},
        {"a\n {#+ c +#}\nb", "a\n \nb"},
        {"{#-#}x{#+#}\ny", "xy"},
        {"x {{ 1 }}\n{{ 2 }}\n", "x 1\n2"},
        {"{% if true %}  {% endif %}", "  "},
        {"\xC2\xA0{{- 1 }}", "1"},
        {"{% raw %}{{ x }}{% if %}{% endraw %}", "{{ x }}{% if %}"},
        {"  {% raw -%}\n a \n  {%- endraw %}\nb", "ab"},
        {"{%- raw %} {# {% endraw +%}\nb", " {# \nb"},
        {"{ { } % # {", "{ { } % # {"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), "{}");
}

static void test_strings_and_numbers(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ 'a\\n\\t\\\\\\'\\\"' }}", "a\n\t\\'\""},
        {"{{ \"\\x41\\u00e9\\U0001F600\\101\\0\"|length }}", "5"},
        {"{{ '\\x41\\u00e9\\U0001F600\\101' }}", "A\xC3\xA9\xF0\x9F\x98\x80"
                                                 "A"},
        {"{{ '\\a\\b\\f\\v\\r'|length }}", "5"},
        {"{{ '\\q\\|' }}", "\\q\\|"},
        {"{{ 'a\\\nb' }}", "ab"},
        {"{{ 'a' 'b' \"c\" }}", "abc"},
        {"{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 0xf_f }}", "1000 31 5 15 255"},
        {"{{ 1.5 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 2.0 }} {{ 1_0.2_5 }}", "1.5 1000.0 1.5e-07 2.0 10.25"},
        {"{{ 1e16 }} {{ 123456789012345680.0 }} {{ 0.0001 }} {{ 0.00001 }}",
         "1e+16 1.2345678901234568e+17 0.0001 1e-05"},
        {"{{ 0.1 + 0.2 }} {{ 1e22 }} {{ 5e-324 }} {{ 1e308 * 10 }} {{ -1e308 * 10 }}",
         "0.30000000000000004 1e+22 5e-324 inf -inf"},
        {"{{ 9223372036854775807 }}", "9223372036854775807"},
        {"{{ true }}{{ True }}{{ false }}{{ False }}{{ none }}{{ None }}", "TrueTrueFalseFalseNoneNone"},
        {"{{ [1, 'a', none, 1.0, [], {}, (), (1,), (1, 2),] }}", "[1, 'a', None, 1.0, [], {}, (), (1,), (1, 2)]"},
        {"{{ {'a': 1, 2: 'b', none: [true], 'a': 3,} }}", "{'a': 3, 2: 'b', None: [True]}"},
        {"{{ 1, 2 }}{{ (1) }}", "(1, 2)1"},
        {"{{ \"it's\" }}{{ [\"it's\", 'q\"', 'both\\'\"', '\\n\\t\\\\', '\\x01\\xe9\\u200b\\U000E0001'] }}",
         "it's[\"it's\", 'q\"', 'both\\'\"', '\\n\\t\\\\', '\\x01\xC3\xA9\\u200b\\U000e0001']"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), "{}");
}

static void test_if(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{% if x %}1{% elif y %}2{% elif z %}3{% else %}4{% endif %}", "3"},
        {"{% if x %}1{% endif %}", ""},
        {"{% if not x and z %}1{% endif %}", "1"},
        {"{% if true %}{% set q = 5 %}{% endif %}{{ q }}", "5"},
        {"{{ 'a' if z }}{{ 'a' if x }}{{ 'a' if x else 'b' }}{{ 1 if x else 2 if y else 3 }}", "ab3"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), "{\"x\":0,\"y\":\"\",\"z\":[0]}");
}

static void test_for(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{% for x in l %}{{ x }}{% endfor %}", "312"},
        {"{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.length }} {% "
         "endfor %}",
         "10323 21213 32103 "},
        {"{% for x in l %}{{ loop.first }}{{ loop.last }}{{ loop.depth }}{{ loop.depth0 }},{% endfor %}",
         "TrueFalse10,FalseFalse10,FalseTrue10,"},
        {"{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}", "<3>1 3<1>2 1<2> "},
        {"{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }}{% endfor %}", "aTruebTrueaTrue"},
        {"{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "TrueFalseTrue"},
        {"{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{% endfor %}", "1322"},
        {"{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}", "none"},
        {"{% for x in [] %}{% else %}{% set q = 1 %}none{% endfor %}{{ q }}", "none"},
        {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=two;"},
        {"{% for k in d %}{{ k }}{% endfor %}{% for c in 'h\xC3\xA9' %}[{{ c }}]{% endfor %}", "ab[h][\xC3\xA9]"},
        {"{% for a, (b, c) in [] %}{% endfor %}{% for (a, b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}", "12"},
        {"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "32"},
        {"{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "3"},
        {"{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
         "33 13 23 "},
        {"{% set q = 1 %}{% for x in l %}{{ q }}{% set q = q + x %}{{ q }} {% endfor %}{{ q }}", "14 12 13 1"},
        {"{% for x in l %}{% if loop.first %}{% set q = 1 %}{% endif %}{{ q is defined }}{% endfor %}",
         "TrueFalseFalse"},
        {"{% for x in undef %}{{ x }}{% else %}else{% endfor %}", "else"},
        {"{% for x in range(3) %}{{ x }}{% endfor %}{{ loop is defined }}", "012False"},
        {"{% for x in 1, 2 %}{{ x }}{% endfor %}", "12"},
        {"{% for x in l %}{{ x }}{% endfor %}{{ x is defined }}", "312False"},
        {"{% for m in l %}{{ loop['index'] }}{% endfor %}", "123"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), "{\"l\":[3,1,2],\"d\":{\"a\":1,\"b\":\"two\"}}");
}

static void test_set(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}", "12"},
        {"{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d) = [3, 4] %}{{ c }}{{ d }}", "1234"},
        {"{% set x = 1, 2 %}{{ x }}", "(1, 2)"},
        {"{% set x %}a{{ 1 }}{% set y = 2 %}{% endset %}{{ x }}{{ y is defined }}", "a1False"},
        {"{% set x | upper | replace('A', 'b') %}abc{% endset %}{{ x }}", "bBC"},
        {"{% set ns = namespace(a=1) %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% set ns.n = i %}{% endfor %}{{ "
         "ns.a }}{{ ns.n }}",
         "42"},
        {"{% set ns = namespace({'k': 1}, j=2) %}{{ ns.k }}{{ ns['j'] }}{{ ns.none is defined }}{{ ns }}",
         "12False<Namespace {'k': 1, 'j': 2}>"},
        {"{% set ns = namespace() %}{% set ns.x %}blk{% endset %}{{ ns.x }}", "blk"},
        {"{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}", "12"},
        {"{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ a is defined }}{{ c is defined }}",
         "12FalseFalse"},
        {"{% set a = 9 %}{% with a = 1, b = a %}{{ b }}{% endwith %}{% with %}{{ a }}{% endwith %}", "99"},
        {"{% filter upper | trim %} a{{ 'b' }} {% endfilter %}", "AB"},
        {"{% generation %}x{% set y = 1 %}{% endgeneration %}{{ y is defined }}", "xFalse"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), "{}");
}

static void test_macro(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{% macro m(a, b=2, c=b) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }}",
         "122 133 455"},
        {"{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m() }}{{ m('x')|upper }}", "[][X]"},
        {"{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}{{ m() }}", "(1, 2){'k': 3}(){}"},
        {"{% macro m(a) %}{{ a }}{{ kwargs }}{% endmacro %}{{ m(b=1, a=2) }}", "2{'b': 1}"},
        {"{% macro m(a) %}{{ caller(a) }}{% endmacro %}{% call(x) m(5) %}<{{ x }}>{% endcall %}", "<5>"},
        {"{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call m() %}c{% endcall %}", "cc"},
        {"{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210"},
        {"{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}", "5"},
        {"{% for i in [1] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "1"},
        {"{% macro m(a) %}{% set a = 2 %}{{ a }}{% endmacro %}{% set a = 1 %}{{ m(5) }}{{ a }}", "21"},
        {"{% macro m() %}x{% endmacro %}{{ m.name }}{{ m }}", "m<Macro 'm'>"},
        {"{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(1, *[2]) }}",
         "123412"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), "{}");
}

static void test_variables(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ messages[0].role }}{{ messages[0]['content'] }}{{ messages[-1].content }}", "userhiyo"},
        {"{{ messages[0].none is defined }}{{ messages[5] is defined }}{{ nil.x is defined }}{{ num.x is defined }}",
         "FalseFalseFalseFalse"},
        {"{{ undef }}{{ undef|length }}{{ undef == nope }}{{ undef is defined }}{{ not undef }}", "0TrueFalseTrue"},
        {"{{ d['items'] }}{{ d.items() }}", "7dict_items([('items', 7), ('a', 1)])"},
        {"{{ d.keys() }}{{ d.values()|list }}{{ d['keys']() }}",
         "dict_keys(['items', 'a'])[7, 1]dict_keys(['items', 'a'])"},
        {"{{ l.0 }}{{ l.1.k }}{{ l.0.1 is defined }}", "5vFalse"},
        {"{{ num }}{{ real }}{{ yes }}{{ nil }}{{ l }}{{ d }}", "421.5TrueNone[5, {'k': 'v'}]{'items': 7, 'a': 1}"},
        {"{% set range = 3 %}{{ range }}", "3"},
        {"{{ u.x }}", ""},
        {"{{ \xC3\xA9t\xC3\xA9 }}", "s"},
    };
    check_all(cases, HD_ARRAY_LEN(cases),
              "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"yo\"}],"
              "\"nil\":null,"
              "\"num\":42,\"real\":1.5,\"yes\":true,\"l\":[5,{\"k\":\"v\"}],\"d\":{\"items\":7,\"a\":1},\"u\":{},"
              "\"\xC3\xA9t\xC3\xA9\":\"s\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_white_space), cmocka_unit_test(test_strings_and_numbers),
        cmocka_unit_test(test_if),          cmocka_unit_test(test_for),
        cmocka_unit_test(test_set),         cmocka_unit_test(test_macro),
        cmocka_unit_test(test_variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
