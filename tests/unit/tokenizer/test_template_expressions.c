/* test_template_expressions.c: operators, comparison, slices, tests (`is ...`) and the text of values; as jinja2. */
#include "unit/tokenizer/render.h"

static const char vars[] =
    "{\"s\":\"Hello\",\"u\":\"gr\xC3\xBC\xC3\x9F\xE4\xBD\xA0\",\"l\":[1,2,3,4],\"e\":[],\"d\":{\"a\":1},\"n\":null,"
    "\"i\":7,\"f\":2.5,\"t\":true}";

static void test_arithmetic(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ 7 + 2 }} {{ 7 - 9 }} {{ 7 * 2 }} {{ 7 / 2 }} {{ 8 / 2 }} {{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 10 }}",
         "9 -2 14 3.5 4.0 3 1 1024"},
        {"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 // -2 }} {{ 7 % -3 }} {{ -7 % -3 }} {{ -8 // 2 }}", "-4 2 -4 -2 -1 -4"},
        {"{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 7.0 % 2 }}", "3.0 -4.0 0.5 -0.5 1.0"},
        {"{{ 2 ** -1 }} {{ 2 ** 0 }} {{ 2.0 ** 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}", "0.5 1 8.0 64 4"},
        {"{{ 1 + 2 * 3 - 4 / 2 }} {{ (1 + 2) * 3 }} {{ 10 - 2 - 3 }} {{ +5 }} {{ --5 }}", "5.0 9 5 5 5"},
        {"{{ true + 1 }} {{ true * 3 }} {{ 1.5 + 1 }} {{ -t }} {{ -f }}", "2 3 2.5 -1 -2.5"},
        {"{{ 'a' + 'b' }} {{ 'ab' * 2 }} {{ 2 * 'ab' }} {{ 'a' * -1 }} {{ 'a' * true }}", "ab abab abab  a"},
        {"{{ [1] + [2] }} {{ [1] * 2 }} {{ (1,) + (2,) }} {{ 2 * (1,) }} {{ [] * 5 }}",
         "[1, 2] [1, 1] (1, 2) (1, 1) []"},
        {"{{ 1 ~ 'a' ~ none ~ 1.0 ~ undef ~ [1] }}", "1aNone1.0[1]"},
        {"{{ 9223372036854775807 + 0 }} {{ -9223372036854775807 - 1 }}", "9223372036854775807 -9223372036854775808"},
        {"{{ '%s is %d%%' % ('a', 5) }} {{ '%(a)s' % d }} {{ 'x' % d }} {{ '%s' % 5 }}", "a is 5% 1 x 5"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_logic(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 2 }} {{ 1 or 2 }} {{ not 1 }} {{ not not 1 }}", "2 0 2 1 False True"},
        {"{{ 1 or undef.x }} {{ 0 and undef.x }} {{ true and not false or false }}", "1 0 True"},
        {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 != 1 }} {{ 1 == 1.0 == true }}", "True False True True"},
        {"{{ 'a' < 'b' }} {{ 'a' < 'B' }} {{ 'a' < 'ab' }} {{ [1, 2] < [1, 3] }} {{ (1,) <= (1, 2) }}",
         "True False True True True"},
        {"{{ 1 == '1' }} {{ none == none }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': 1.0} }} {{ [1] != [1, 2] }}",
         "False True False True True"},
        {"{{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ {'a': 1} == {'b': 1} }} {{ d == d }}", "True False True"},
        {"{{ 'ell' in s }} {{ 'x' not in s }} {{ 2 in l }} {{ 9 in l }} {{ 'a' in d }} {{ 1 in d }} {{ '' in s }}",
         "True True True False True False True"},
        {"{{ 1 in undef }} {{ 1.0 in l }} {{ none in [none] }} {{ not 1 in l }} {{ [1] in [[1]] }}",
         "False True True False True"},
        {"{{ 9007199254740993 == 9007199254740992.0 }} {{ 9007199254740993 > 9007199254740992.0 }}", "False True"},
        {"{{ (1e308 * 10 - 1e308 * 10) < 1 }} {{ 1 >= (1e308 * 10 - 1e308 * 10) }}", "False False"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_slices(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ s[0] }}{{ s[-1] }}{{ s[9] is defined }} {{ u[2] }}{{ u[-1] }}", "HoFalse \xC3\xBC\xE4\xBD\xA0"},
        {"{{ s[1:3] }} {{ s[:2] }} {{ s[3:] }} {{ s[:] }} {{ s[-3:-1] }} {{ s[4:1] }}", "el He lo Hello ll "},
        {"{{ u[2:4] }} {{ u[::-1] }} {{ s[::2] }} {{ s[4:1:-1] }} {{ s[::-2] }}",
         "\xC3\xBC\xC3\x9F \xE4\xBD\xA0\xC3\x9F\xC3\xBCrg Hlo oll olH"},
        {"{{ l[1:3] }} {{ l[::-1] }} {{ l[::3] }} {{ l[-2:] }} {{ l[:-5] }} {{ l[9:] }} {{ l[none:2] }}",
         "[2, 3] [4, 3, 2, 1] [1, 4] [3, 4] [] [] [1, 2]"},
        {"{{ l[::9] }} {{ l[::-9] }} {{ l[-9:9] }} {{ l[9:-9:-1] }} {{ (1, 2, 3)[1:] }} {{ l[true:] }}",
         "[1] [4] [1, 2, 3, 4] [4, 3, 2, 1] (2, 3) [2, 3, 4]"},
        {"{{ l[9223372036854775807:] }} {{ l[:-9223372036854775807] }} {{ l[::9223372036854775807] }}", "[] [] [1]"},
        {"{{ l[::-9223372036854775807] }} {{ s[-9223372036854775807:2] }}", "[4] He"},
        {"{{ e[::-1] }}{{ ''[::-1] }}{{ l[0:0] }}", "[][]"},
        {"{{ l[1] }}{{ l[-1] }}{{ l[true] }}{{ l['x'] is defined }}{{ l[1.5] is defined }}", "242FalseFalse"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_tests(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ s is defined }}{{ undef is defined }}{{ undef is undefined }}{{ n is none }}{{ s is not none }}",
         "TrueFalseTrueTrueTrue"},
        {"{{ s is string }}{{ l is string }}{{ d is mapping }}{{ l is mapping }}{{ t is boolean }}{{ 1 is boolean }}",
         "TrueFalseTrueFalseTrueFalse"},
        {"{{ l is iterable }}{{ s is iterable }}{{ d is iterable }}{{ i is iterable }}{{ undef is iterable }}",
         "TrueTrueTrueFalseTrue"},
        {"{{ l is sequence }}{{ s is sequence }}{{ d is sequence }}{{ i is sequence }}{{ d.items() is sequence }}",
         "TrueTrueTrueFalseFalse"},
        {"{{ i is number }}{{ f is number }}{{ t is number }}{{ s is number }}", "TrueTrueTrueFalse"},
        {"{{ i is integer }}{{ t is integer }}{{ f is float }}{{ i is float }}{{ t is true }}{{ 1 is true }}{{ false "
         "is false }}",
         "TrueFalseTrueFalseTrueFalseTrue"},
        {"{{ 7 is odd }}{{ 7 is even }}{{ -3 is odd }}{{ 6 is divisibleby 3 }}{{ 7 is divisibleby(3) }}{{ 1.5 is "
         "divisibleby 0.5 }}",
         "TrueFalseTrueTrueFalseTrue"},
        {"{{ 2.0 is even }}{{ 2.5 is odd }}{{ 3.0 is odd }}{{ 6 is divisibleby(-1) }}", "TrueFalseTrueTrue"},
        {"{{ 1 is eq 1 }}{{ 1 is equalto(2) }}{{ 1 is ne 2 }}{{ 1 is lt 2 }}{{ 1 is le 1 }}{{ 1 is gt 2 }}{{ 1 is ge 1 "
         "}}",
         "TrueFalseTrueTrueTrueFalseTrue"},
        {"{{ 1 is lessthan 2 }}{{ 1 is greaterthan 2 }}{{ 1 is in [1] }}{{ 1 is in([2]) }}{{ 'a' is not in 'abc' }}",
         "TrueFalseTrueFalseFalse"},
        {"{{ n is sameas none }}{{ l is sameas l }}{{ l is sameas [1, 2, 3, 4] }}{{ 1 is sameas true }}{{ d is sameas "
         "d }}",
         "TrueTrueFalseFalseTrue"},
        {"{{ 'ab' is lower }}{{ 'aB' is lower }}{{ 'AB' is upper }}{{ '1' is upper }}{{ 5 is lower }}",
         "TrueFalseTrueFalseFalse"},
        {"{{ range is callable }}{{ s is callable }}{{ s.upper is callable }}{{ s is escaped }}", "TrueFalseTrueFalse"},
        {"{{ 'upper' is filter }}{{ 'nope' is filter }}{{ 'odd' is test }}{{ 'nope' is test }}{{ 1 is filter }}",
         "TrueFalseTrueFalseFalse"},
        {"{{ 1 if s is defined else 2 }}{{ s is string and l is iterable or x }}{{ not s is string }}", "1TrueFalse"},
        {"{{ 4 is divisibleby 2 and true }}{{ 'x' is eq 'x' if true }}{{ 3 is in l[1:] }}", "TrueTrueTrue"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

static void test_calls(void **state)
{
    (void)state;
    static const render_case cases[] = {
        {"{{ range(3) }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(0) }} {{ range(3, 1)|list }} {{ "
         "range(1, 2, 5) }}",
         "range(0, 3) [1, 2, 3] [5, 3, 1] range(0, 0) [] range(1, 2, 5)"},
        {"{{ dict(a=1, b=[2]) }} {{ dict({'x': 1}, y=2) }} {{ dict([('k', 'v'), ('w', 1)]) }} {{ dict() }}",
         "{'a': 1, 'b': [2]} {'x': 1, 'y': 2} {'k': 'v', 'w': 1} {}"},
        {"{{ s.upper() }} {{ s['upper']() }} {{ (s|upper).lower() }} {{ s.upper().lower() }} {{ ' x '.strip()|upper }}",
         "HELLO HELLO hello hello X"},
        {"{{ l|length == 4 }} {{ 5 - 2|abs }} {{ s|upper ~ 'x'|upper }}", "True 3 HELLOX"},
        {"{{ strftime_now('%Y')|length }} {{ strftime_now('x') }}", "4 x"},
    };
    check_all(cases, HD_ARRAY_LEN(cases), vars);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_logic), cmocka_unit_test(test_slices),
        cmocka_unit_test(test_tests),      cmocka_unit_test(test_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
