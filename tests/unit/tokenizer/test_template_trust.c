/* test_template_trust.c: every operation on text keeps, byte by byte, what came from the template and what did not. */
#include "unit/tokenizer/render.h"

static const char vars[] = "{\"u\":\"Ab c\",\"n\":42,\"f\":1.5,\"yes\":true,\"nil\":null,\"list\":[\"x\",\"y\"],"
                           "\"dict\":{\"k\":\"v\"},\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"pad_token\":\"<p>\"}";

static void test_sources(void **state)
{
    (void)state;
    check_trust("T{{ u }}T", vars, "TAb cT", "t....t");
    check_trust("{{ 'lit' }}{{ 5 }}{{ true }}{{ none }}", vars, "lit5TrueNone", "tttttttttttt");
    check_trust("{{ n }}{{ f }}{{ yes }}{{ nil }}", vars, "421.5TrueNone", ".............");
    check_trust("{{ bos_token }}{{ eos_token }}{{ pad_token }}", vars, "<s></s><p>", "ttttttt...");
    check_trust("{{ u|length }}{{ list|length }}", vars, "42", "tt");
    check_trust("{{ n + 1 }}{{ 1 + 1 }}", vars, "432", "..t");
    check_trust("{{ u == 'Ab c' }}", vars, "True", "tttt");
}

static void test_joined(void **state)
{
    (void)state;
    check_trust("{{ '<' + u + '>' }}", vars, "<Ab c>", "t....t");
    check_trust("{{ '<' ~ u ~ n ~ '>' }}", vars, "<Ab c42>", "t......t");
    check_trust("{{ list|join('-') }}", vars, "x-y", ".t.");
    check_trust("{{ '-'.join(list) }}", vars, "x-y", ".t.");
    check_trust("{{ 'a%sb'|format(u) }}", vars, "aAb cb", "t....t");
    check_trust("{{ 'a{}b'.format(u) }}", vars, "aAb cb", "t....t");
    check_trust("{{ u * 2 }}", vars, "Ab cAb c", "........");
    check_trust("{% set x %}<{{ u }}>{% endset %}{{ x }}", vars, "<Ab c>", "t....t");
    check_trust("{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(u) }}", vars, "<Ab c>", "t....t");
    check_trust(
        "{% set ns = namespace(s='') %}{% for c in list %}{% set ns.s = ns.s + c + '|' %}{% endfor %}{{ ns.s }}", vars,
        "x|y|", ".t.t");
    check_trust("{% filter upper %}<{{ u }}>{% endfilter %}", vars, "<AB C>", "t....t");
}

static void test_cut(void **state)
{
    (void)state;
    check_trust("{% set x = '<' + u + '>' %}{{ x[1:] }}", vars, "Ab c>", "....t");
    check_trust("{% set x = '<' + u + '>' %}{{ x[:2] }}{{ x[0] }}{{ x[1] }}", vars, "<A<A", "t.t.");
    check_trust("{% set x = '<' + u + '>' %}{{ x[::-1] }}", vars, ">c bA<", "t....t");
    check_trust("{% set x = ' ' + u + ' ' %}{{ x|trim }}{{ x.lstrip() }}", vars, "Ab cAb c ", "........t");
    check_trust("{% set x = 'a,' + u %}{{ x.split(',')[0] }}{{ x.split(',')[-1] }}", vars, "aAb c", "t....");
    check_trust("{% set x = '<' + u + '>' %}{{ x.replace('b', 'BB') }}", vars, "<ABB c>", "t.tt..t");
    check_trust("{% set x = '<' + u + '>' %}{{ x|upper }}{{ x|title }}", vars, "<AB C><Ab C>", "t....tt....t");
    check_trust("{% set x = '<' + u + '>' %}{{ x|list|join }}", vars, "<Ab c>", "t....t");
    check_trust("{% set x = u + '\\nz' %}{{ x|indent(2) }}", vars, "Ab c\n  z", "....tttt");
}

static void test_structure(void **state)
{
    (void)state;
    check_trust("{{ dict|tojson }}", vars, "{\"k\": \"v\"}", "..........");
    check_trust("{{ {'k': u}|tojson }}", vars, "{\"k\": \"Ab c\"}", "tttttt......t");
    check_trust("{{ ['a', u] }}", vars, "['a', 'Ab c']", "tttttt......t");
    check_trust("{% for k, v in dict.items() %}{{ k }}={{ v }}{% endfor %}", vars, "k=v", ".t.");
}

/* Of a request only the well-known roles may become part of a marker. */
static void test_roles(void **state)
{
    (void)state;
    check_trust("{% for m in messages %}<|{{ m.role }}|>{% endfor %}",
                "{\"messages\":[{\"role\":\"user\"},{\"role\":\"evil\"}]}", "<|user|><|evil|>", "tttttttttt....tt");
    check_trust("{{ other[0].role }}", "{\"other\":[{\"role\":\"user\"}]}", "user", "....");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources),   cmocka_unit_test(test_joined), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_structure), cmocka_unit_test(test_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
