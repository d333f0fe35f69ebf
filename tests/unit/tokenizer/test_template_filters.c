/* test_template_filters.c: every filter of templates, against what jinja2 3.1 gives. */
#include "unit/tokenizer/render.h"

static const char vars[] =
    "{\"s\":\"hello World\",\"u\":\"gr\xC3\xBC\xC3\x9F "
    "\xE4\xBD\xA0\",\"l\":[3,1,2],\"w\":[\"b\",\"A\",\"c\",\"a\"],\"e\":[],"
    "\"d\":{\"b\":1,\"A\":3,\"c\":2},\"n\":null,\"i\":-7,\"f\":2.675,\"ml\":\"a\\n\\nb\\nc\","
    "\"r\":[{\"k\":\"x\",\"v\":1,\"p\":{\"q\":[9]}},{\"k\":\"Y\",\"v\":2},{\"k\":\"x\",\"v\":3,\"p\":{\"q\":[8]}}]}";

static void test_text(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ s|upper }} {{ s|lower }} {{ s|capitalize }} {{ s|title }} {{ u|upper }} {{ '\u00dfA'|capitalize }}",
         "HELLO WORLD hello world Hello world Hello World GR\xC3\x9CSS \xE4\xBD\xA0 Ssa"},
        {"{{ 'foo-bar (baz) [a{b<c'|title }} {{ \"they're\"|title }}", "Foo-Bar (Baz) [A{B<C They're"},
        {"{{ '  x '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ 'xyax'|trim('yx') }}|{{ '\\u3000a\\u00a0'|trim }}|{{ 5|trim }}",
         "x|a|a|a|5"},
        {"{{ s|replace('l', 'L') }} {{ s|replace('l', 'L', 1) }} {{ s|replace('', '-', 2) }} {{ 'ab'|replace('', '.') "
         "}}",
         "heLLo WorLd heLlo World -h-ello World .a.b."},
        {"{{ s|replace('x', 'y') }} {{ 123|replace(2, 'z') }} {{ s|replace('l', '', 0) }} {{ 'aaa'|replace('aa', 'b') "
         "}}",
         "hello World 1z3 hello World ba"},
        {"{{ s|length }} {{ u|length }} {{ l|count }} {{ d|length }} {{ e|length }} {{ d.items()|length }}",
         "11 6 3 3 0 3"},
        {"{{ '<a href=\"x\">&\\'</a>'|escape }} {{ '<'|e }} {{ '<'|safe }} {{ '>'|forceescape }}",
         "&lt;a href=&#34;x&#34;&gt;&amp;&#39;&lt;/a&gt; &lt; < &gt;"},
        {"{{ ml|indent }}\n{{ ml|indent(2, true) }}\n{{ ml|indent(2, blank=true) }}\n{{ ml|indent('> ', first=true) }}",
         "a\n\n    b\n    c\n  a\n\n  b\n  c\na\n  \n  b\n  c\n> a\n\n> b\n> c"},
        {"[{{ 'ab'|center(7) }}][{{ 'ab'|center(6) }}][{{ 'abc'|center(6) }}][{{ 'abcd'|center(2) }}]",
         "[   ab  ][  ab  ][ abc  ][abcd]"},
        {"{{ 'foo bar baz qux'|truncate(9) }}|{{ 'foo bar baz qux'|truncate(9, true) }}|{{ 'foo bar baz "
         "qux'|truncate(11) }}",
         "foo...|foo ba...|foo bar baz qux"},
        {"{{ 'foo bar baz qux'|truncate(11, false, '..', 0) }}|{{ 'nospaces'|truncate(4, end='', leeway=0) }}",
         "foo bar..|nosp"},
        {"{{ s|wordcount }} {{ ' a, b-c \xE4\xBD\xA0'|wordcount }} {{ ''|wordcount }}", "2 4 0"},
        {"{{ 'a b/c?d=\xC3\xA9&~'|urlencode }} {{ 5|urlencode }}", "a%20b/c%3Fd%3D%C3%A9%26~ 5"},
        {"{{ 5|string }}{{ none|string }}{{ [1]|string|length }}", "5None3"},
        {"{{ s|reverse }} {{ l|reverse|list }} {{ u|reverse }} {{ ''|reverse }}",
         "dlroW olleh [2, 1, 3] \xE4\xBD\xA0 \xC3\x9F\xC3\xBCrg "},
        {"{{ '\xC3\x89t\xC3\xA9'|lower }}{{ '\xC3\xA9\xD1\x84'|upper }}{{ '\xC7\x86x'|capitalize }}",
         "\xC3\xA9t\xC3\xA9\xC3\x89\xD0\xA4\xC7\x85x"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_format(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ '%s-%s'|format(1, 'a') }} {{ '%(x)s'|format(x=5) }} {{ '%r %r'|format('a', 1) }} {{ '100%%'|format }}",
         "1-a 5 'a' 1 100%"},
        {"[{{ '%5d|%-5d|%05d|%+d|% d'|format(42, 42, 42, 42, 42) }}]", "[   42|42   |00042|+42| 42]"},
        {"[{{ '%5s|%-5s|%.2s|%5.1s'|format('abc', 'abc', 'abc', 'abc') }}]", "[  abc|abc  |ab|    a]"},
        {"[{{ '%.2f|%8.3f|%-8.1f|%e|%g|%G'|format(2.5, 2.5, 2.5, 12345.678, 0.0001, 1e10) }}]",
         "[2.50|   2.500|2.5     |1.234568e+04|0.0001|1E+10]"},
        {"[{{ '%x|%X|%o|%i|%d|%u'|format(255, 255, 8, 3.9, -3.9, 7) }}]", "[ff|FF|10|3|-3|7]"},
        {"{{ '%05.1f|%05d|%+.1f'|format(-2.5, -42, 1) }} {{ '%c'|format('x') }}", "-02.5|-0042|+1.0 x"},
        {"{{ '{} {}'.format(1, 'a') }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}{{}}'.format(x=1) }} {{ "
         "'{!r}{!s}'.format('a', 'b') }}",
         "1 a ba 1{} 'a'b"},
        {"[{{ '{:5}|{:>5}|{:<5}|{:^5}|{:*^7}'.format('ab', 'ab', 'ab', 'ab', 'ab') }}]",
         "[ab   |   ab|ab   | ab  |**ab***]"},
        {"[{{ '{:5}|{:<5}|{:05}|{:+}|{: }|{:,}'.format(42, 42, 42, 42, 42, 1234567) }}]",
         "[   42|42   |00042|+42| 42|1,234,567]"},
        {"[{{ '{:.2f}|{:10.3f}|{:e}|{:.1%}|{:,.2f}|{}'.format(2.5, 2.5, 1234.5, 0.256, 12345.678, 1.5) }}]",
         "[2.50|     2.500|1.234500e+03|25.6%|12,345.68|1.5]"},
        {"[{{ '{:x}|{:X}|{:o}|{:b}|{:d}|{:.3}|{:=+6}|{:.2}'.format(255, 255, 8, 5, 7, 'abcdef', 42, 3.14159) }}]",
         "[ff|FF|10|101|7|abc|+   42|3.1]"},
        {"[{{ '{:}|{:6.2}|{:\xE4\xBD\xA0>4}'.format(none, 'abc', 'x') }}]",
         "[None|ab    |\xE4\xBD\xA0\xE4\xBD\xA0\xE4\xBD\xA0x]"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_sequences(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ l|first }}{{ l|last }}{{ s|first }}{{ s|last }}{{ d|first }}{{ e|first is defined }}{{ e|last is defined "
         "}}",
         "32hdbFalseFalse"},
        {"{{ l|join }} {{ l|join(', ') }} {{ r|join('-', attribute='k') }} {{ 'abc'|join('.') }} {{ d|join }} {{ "
         "e|join('x') }} {{ [none, undef]|join('|') }}",
         "312 3, 1, 2 x-Y-x a.b.c bAc  None|"},
        {"{{ l|sort }} {{ w|sort }} {{ w|sort(case_sensitive=true) }} {{ l|sort(reverse=true) }} {{ 'cab'|sort|join }}",
         "[1, 2, 3] ['A', 'a', 'b', 'c'] ['A', 'a', 'b', 'c'] [3, 2, 1] abc"},
        {"{{ r|sort(attribute='v', reverse=true)|map(attribute='v')|list }} {{ "
         "r|sort(attribute='k,v')|map(attribute='v')|list }}",
         "[3, 2, 1] [1, 3, 2]"},
        {"{{ r|sort(attribute='k')|map(attribute='v')|list }}", "[1, 3, 2]"},
        {"{{ d|dictsort }} {{ d|dictsort(true) }} {{ d|dictsort(false, 'value') }} {{ d|dictsort(reverse=true)|first "
         "}}",
         "[('A', 3), ('b', 1), ('c', 2)] [('A', 3), ('b', 1), ('c', 2)] [('b', 1), ('c', 2), ('A', 3)] ('c', 2)"},
        {"{{ l|min }}{{ l|max }}{{ w|min }}{{ w|max }}{{ r|max(attribute='v') }}{{ e|min is defined }}{{ w|min(true) "
         "}}",
         "13Ac{'k': 'x', 'v': 3, 'p': {'q': [8]}}FalseA"},
        {"{{ l|sum }} {{ r|sum(attribute='v') }} {{ l|sum(start=10) }} {{ [1.5, 2]|sum }} {{ e|sum }}", "6 6 16 3.5 0"},
        {"{{ ['a', 'A', 'b', 'a']|unique|list }} {{ ['a', 'A']|unique(true)|list }} {{ "
         "r|unique(attribute='k')|map(attribute='v')|list }}",
         "['a', 'b'] ['a', 'A'] [1, 2]"},
        {"{{ r|groupby('k') }}", "[('x', [{'k': 'x', 'v': 1, 'p': {'q': [9]}}, {'k': 'x', 'v': 3, 'p': {'q': [8]}}]), "
                                 "('Y', [{'k': 'Y', 'v': 2}])]"},
        {"{% for k, g in r|groupby('v', default=5) %}{{ k }}{{ g|length }}{% endfor %}", "112131"},
        {"{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3]|batch(2, 0)|list }} {{ e|batch(3)|list }}",
         "[[1, 2], [3, 4], [5]] [[1, 2], [3, 0]] []"},
        {"{{ [1, 2, 3, 4, 5]|slice(3)|list }} {{ [1, 2, 3, 4]|slice(3, 'x')|list }}",
         "[[1, 2], [3, 4], [5]] [[1, 2], [3, 'x'], [4, 'x']]"},
        {"{{ 'ab'|list }} {{ d|list }} {{ (1, 2)|list }} {{ l|list }}", "['a', 'b'] ['b', 'A', 'c'] [1, 2] [3, 1, 2]"},
        {"{{ d|items|list }} {% for k, v in d|items %}{{ k }}{{ v }}{% endfor %}{{ undef|items|list }}",
         "[('b', 1), ('A', 3), ('c', 2)] b1A3c2[]"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_map_and_select(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ r|map(attribute='k')|list }} {{ r|map(attribute='p', default={})|map(attribute='q', default='-')|list }}",
         "['x', 'Y', 'x'] [[9], '-', [8]]"},
        {"{{ [r[0]]|map(attribute='p.q.0')|list }} {{ [[1, 2]]|map(attribute=1)|list }} {{ r|map(attribute='none', "
         "default=0)|list }}",
         "[9] [2] [0, 0, 0]"},
        {"{{ w|map('upper')|join }} {{ l|map('string')|list }} {{ w|map('replace', 'a', 'z')|list }} {{ [' x "
         "']|map('trim')|list }}",
         "BACA ['3', '1', '2'] ['b', 'A', 'c', 'z'] ['x']"},
        {"{{ [[3, 1], [2]]|map('sort', reverse=true)|list }} {{ n|map('upper')|list }}", "[[3, 1], [2]] []"},
        {"{{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ [0, 1, '', 'a']|select|list }} {{ [0, "
         "1]|reject|list }}",
         "[3, 1] [2] [1, 'a'] [0]"},
        {"{{ l|select('>', 1)|list }} {{ l|select('==', 1)|list }} {{ l|select('<=', 2)|list }} {{ l|select('in', [1, "
         "2])|list }}",
         "[3, 2] [1] [1, 2] [1, 2]"},
        {"{{ l|select('!=', 1)|list }}{{ l|select('<', 2)|list }}{{ l|select('>=', 3)|list }}", "[3, 2][1][3]"},
        {"{{ r|selectattr('k', 'eq', 'x')|map(attribute='v')|list }} {{ r|rejectattr('k', 'equalto', "
         "'x')|map(attribute='v')|list }}",
         "[1, 3] [2]"},
        {"{{ r|selectattr('p')|list|length }} {{ r|rejectattr('p')|list|length }} {{ r|selectattr('p', "
         "'undefined')|list|length }}",
         "2 1 1"},
        {"{{ [r[0]]|selectattr('p.q', 'defined')|list|length }}", "1"},
        {"{% if e|select %}yes{% endif %}{% set x = l|map('string') %}{{ x|join }}{{ x|join }}{{ x|first is defined }}",
         "yes312False"},
        {"{% set x = l|map('string') %}{{ x|first }}{{ x|first }}{{ x|list }}{{ '1' in l|map('string') }}",
         "31['2']True"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_numbers(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ i|abs }} {{ 2.5|abs }} {{ (-2.5)|abs }} {{ true|abs }}", "7 2.5 2.5 1"},
        {"{{ '42'|int }} {{ ' -7 '|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ 'ff'|int(base=16) }} {{ '0x1F'|int(0, 16) "
         "}} {{ '0b11'|int(0, 2) }}",
         "42 -7 0 5 255 31 3"},
        {"{{ 3.9|int }} {{ '3.9'|int }} {{ '1e2'|int }} {{ true|int }} {{ none|int }} {{ [1]|int(9) }} {{ '1_0'|int }} "
         "{{ '0o7'|int(0, 8) }}",
         "3 3 100 1 0 9 10 7"},
        {"{{ '-9223372036854775808'|int }} {{ '+5'|int }} {{ '1__0'|int }} {{ ''|int }} {{ 'zz'|int(base=36) }}",
         "-9223372036854775808 5 0 0 1295"},
        {"{{ '2.5'|float }} {{ 2|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ ' 1e3 '|float }} {{ none|float }}",
         "2.5 2.0 0.0 1.5 1000.0 0.0"},
        {"{{ f|round(2) }} {{ 2.5|round }} {{ 3.5|round }} {{ 42.55|round(1, 'floor') }} {{ 42.51|round(1, 'ceil') }} "
         "{{ (-2.5)|round }}",
         "2.67 2.0 4.0 42.5 42.6 -2.0"},
        {"{{ 7|round }} {{ 7|round(2) }} {{ 1234.5|round(-2) }} {{ 7|round(0, 'floor') }} {{ 1.5|round(400) }}",
         "7 7 1200.0 7.0 1.5"},
        {"{{ 1250|round(-2) }} {{ 5.0|round(-400) }}", "1200 0.0"},
        {"{{ undef|default('x') }} {{ n|default('x') }} {{ n|default('x', true) }} {{ ''|d('y', boolean=true) }} {{ "
         "undef|d }}",
         "x None x y "},
        {"{{ 'ab'|attr('upper')() }} {{ d|attr('A') is defined }} {{ d|attr('items') is callable }}", "AB False True"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_json(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ d|tojson }} {{ l|tojson }} {{ (1, 'a')|tojson }} {{ e|tojson }} {{ {}|tojson }}",
         "{\"b\": 1, \"A\": 3, \"c\": 2} [3, 1, 2] [1, \"a\"] [] {}"},
        {"{{ n|tojson }}{{ true|tojson }}{{ false|tojson }}{{ 1.0|tojson }}{{ 1e20|tojson }}{{ 'a'|tojson }}",
         "nulltruefalse1.01e+20\"a\""},
        {"{{ '<>&\\'\"\\\\/\\n\\r\\t\\f\\b\\x00\\x1f\\x7f\xC3\xA9\xF0\x9F\x98\x80'|tojson }}",
         "\"<>&'\\\"\\\\/\\n\\r\\t\\f\\b\\u0000\\u001f\x7f\xC3\xA9\xF0\x9F\x98\x80\""},
        {"{{ '\xC3\xA9\xF0\x9F\x98\x80\\x7f'|tojson(ensure_ascii=true) }}", "\"\\u00e9\\ud83d\\ude00\\u007f\""},
        {"{{ {'a': [1, {'b': []}], 'c': {}}|tojson(indent=2) }}",
         "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}"},
        {"{{ [1, [2]]|tojson(indent='\\t') }}{{ [1]|tojson(indent=0) }}", "[\n\t1,\n\t[\n\t\t2\n\t]\n][\n1\n]"},
        {"{{ {'b': 1, 'a': [1, 2]}|tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }}",
         "{\"b\":1,\"a\":[1,2]} {\"a\": 2, \"b\": 1}"},
        {"{{ {1: 'a', true: 'b', none: 'c', 1.5: 'd'}|tojson }}", "{\"1\": \"b\", \"null\": \"c\", \"1.5\": \"d\"}"},
        {"{{ [1e308 * 10, -1e308 * 10]|tojson }}{{ [(1e308 * 10 - 1e308 * 10)]|tojson }}",
         "[Infinity, -Infinity][NaN]"},
        {"{{ r[0]|tojson|safe }}", "{\"k\": \"x\", \"v\": 1, \"p\": {\"q\": [9]}}"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),           cmocka_unit_test(test_format),  cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_map_and_select), cmocka_unit_test(test_numbers), cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
