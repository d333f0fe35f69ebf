/* test_template_methods.c: methods of strings, dicts and lists, against what Python gives. */
#include "unit/tokenizer/render.h"

static const char vars[] =
    "{\"s\":\"Hello World\",\"u\":\"gr\xC3\xBC\xC3\x9F \xE4\xBD\xA0!\",\"sp\":\"  a b  c \",\"e\":\"\","
    "\"l\":[1,2,1],\"d\":{\"a\":1,\"b\":[2]},\"ml\":\"a\\nb\\r\\nc\\rd\\n\"}";

static void test_case(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ s.upper() }} {{ s.lower() }} {{ s.swapcase() }} {{ 'heLLo wORLD'.capitalize() }} {{ u.upper() }}",
         "HELLO WORLD hello world hELLO wORLD Hello world GR\xC3\x9CSS \xE4\xBD\xA0!"},
        {"{{ \"they're bill's 2nd\".title() }} {{ 'ABC'.casefold() }}", "They'Re Bill'S 2Nd abc"},
        {"[{{ 'ab'.ljust(5) }}|{{ 'ab'.rjust(5, '*') }}|{{ 'ab'.center(5) }}|{{ 'ab'.center(6, '\xC2\xB7') }}|{{ "
         "'abc'.ljust(2) }}]",
         "[ab   |***ab|  ab |\xC2\xB7\xC2\xB7"
         "ab\xC2\xB7\xC2\xB7|abc]"},
        {"{{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ '+x'.zfill(4) }} {{ 'abc'.zfill(2) }} {{ ''.zfill(2) }} {{ "
         "'-'.zfill(-1) }}",
         "00042 -0042 +00x abc 00 -"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_strip(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"[{{ sp.strip() }}|{{ sp.lstrip() }}|{{ sp.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcab'.lstrip('ba') }}]",
         "[a b  c|a b  c |  a b  c|a|cab]"},
        {"[{{ '\\u2003\xC3\xA9\xC3\xA9x\xC3\xA9'.strip().strip('\xC3\xA9') }}|{{ 'x'.strip('') }}|{{ 'x'.strip(none) "
         "}}|{{ '  '.strip() }}]",
         "[x|x|x|]"},
        {"{{ s.startswith('Hell') }}{{ s.startswith('x') }}{{ s.endswith('rld') }}{{ s.endswith('') }}{{ "
         "s.startswith(('x', 'H')) }}{{ e.endswith('a') }}",
         "TrueFalseTrueTrueTrueFalse"},
        {"{{ s.removeprefix('Hello ') }} {{ s.removesuffix('World') }}| {{ s.removeprefix('x') }} {{ "
         "s.removesuffix('x') }}",
         "World Hello | Hello World Hello World"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_search(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('x') }} {{ s.rfind('x') }} {{ s.index('W') }} {{ "
         "s.rindex('l') }}",
         "4 7 -1 -1 6 9"},
        {"{{ s.find('o', 5) }} {{ s.find('o', 5, 7) }} {{ s.find('o', -4) }} {{ s.rfind('o', 0, 5) }} {{ s.find('', 3) "
         "}} {{ s.find('', 99) }}",
         "7 -1 7 4 3 -1"},
        {"{{ u.find('\xE4\xBD\xA0') }} {{ u.rfind('') }} {{ u.find('!', 5, -1) }} {{ s.find('l', 9, 2) }} {{ "
         "s.find('H', -99, 99) }}",
         "5 7 -1 -1 0"},
        {"{{ s.count('l') }} {{ s.count('ll') }} {{ s.count('') }} {{ s.count('l', 4) }} {{ s.count('o', 0, -4) }} {{ "
         "'aaa'.count('aa') }} {{ s.count('x', 99) }}",
         "3 1 12 1 1 1 0"},
        {"{{ s.replace('o', '0') }} {{ s.replace('o', '0', 1) }} {{ 'ab'.replace('', '-') }} {{ s.replace('o', 'oo', "
         "-1) }}",
         "Hell0 W0rld Hell0 World -a-b- Helloo Woorld"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_split(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ sp.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'abc'.split('x') }} {{ e.split() "
         "}} {{ e.split(',') }}",
         "['a', 'b', 'c'] ['a', 'b', '', 'c'] ['a', 'b,c'] ['abc'] [] ['']"},
        {"{{ sp.split(none, 1) }} {{ sp.split(maxsplit=0) }} {{ ' a '.split(maxsplit=1) }} {{ 'a--b--c'.split('--', "
         "maxsplit=1) }}",
         "['a', 'b  c '] ['a b  c '] ['a'] ['a', 'b--c']"},
        {"{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a,b'.rsplit(',') }} {{ sp.rsplit() }} {{ sp.rsplit(none, 1) }} {{ "
         "sp.rsplit(maxsplit=0) }} {{ ''.rsplit() }}",
         "['a,b', 'c'] ['a', 'b'] ['a', 'b', 'c'] ['  a b', 'c'] ['  a b  c'] []"},
        {"{{ ml.splitlines() }} {{ ml.splitlines(true) }} {{ ''.splitlines() }} {{ "
         "'a\\x0bb\\x1cc\\u2028d'.splitlines() }}",
         "['a', 'b', 'c', 'd'] ['a\\n', 'b\\r\\n', 'c\\r', 'd\\n'] [] ['a', 'b', 'c', 'd']"},
        {"{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ "
         "'abc'.rpartition('-') }}",
         "('a', '-', 'b-c') ('a-b', '-', 'c') ('abc', '', '') ('', '', 'abc')"},
        {"{{ '-'.join(['a', 'b']) }} {{ ''.join('ab') }} {{ ','.join({'x': 1, 'y': 2}) }} {{ '-'.join([]) }}|",
         "a-b ab x,y |"},
        {"{{ 'a</think>b</think>c'.split('</think>')[-1] }} {{ 'x'.split('</think>')[0] }} {{ 'aXbXc'.rsplit('X', 0) "
         "}}",
         "c x ['aXbXc']"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_kinds(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ 'ab\xC3\xA9'.isalpha() }}{{ 'a1'.isalpha() }}{{ 'a1'.isalnum() }}{{ '12'.isdigit() }}{{ '1.2'.isdigit() "
         "}}{{ ''.isdigit() }}",
         "TrueFalseTrueTrueFalseFalse"},
        {"{{ '12'.isdecimal() }}{{ '\xC2\xBD'.isnumeric() }}{{ ' \\n'.isspace() }}{{ ''.isspace() }}{{ 'a'.isascii() "
         "}}{{ '\xC3\xA9'.isascii() }}{{ ''.isascii() }}",
         "TrueTrueTrueFalseTrueFalseTrue"},
        {"{{ 'ab1'.islower() }}{{ 'aB'.islower() }}{{ 'AB'.isupper() }}{{ '1'.isupper() }}", "TrueFalseTrueFalse"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_containers(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ d.get('a') }} {{ d.get('x') }} {{ d.get('x', 5) }} {{ d.get('b', 1) }} {{ d.get(1) }}",
         "1 None 5 [2] None"},
        {"{{ d.items()|list }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.copy() }} {{ d.items()|length }}",
         "[('a', 1), ('b', [2])] ['a', 'b'] [1, [2]] {'a': 1, 'b': [2]} 2"},
        {"{{ l.index(2) }} {{ l.count(1) }} {{ l.copy() }} {{ (1, 2).index(2) }} {{ (1, 1).count(1) }}",
         "1 2 [1, 2, 1] 1 2"},
        {"{{ l.append is defined }} {{ (1,).append is defined }} {{ 'a' in d.keys() }} {{ 2 in d.values() }}",
         "False False True False"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_case),  cmocka_unit_test(test_strip), cmocka_unit_test(test_search),
        cmocka_unit_test(test_split), cmocka_unit_test(test_kinds), cmocka_unit_test(test_containers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
