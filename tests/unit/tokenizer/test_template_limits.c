/* test_template_limits.c: no template and no request makes rendering long, large, deep or quadratic; memory may run
 * out. */
#include "base/clock.h"
#include "unit/tokenizer/render.h"

/* `piece` n times between `head` and `tail`; released by the caller with hd_buf_free. */
static hd_buf repeated(const char *head, const char *piece, size_t n, const char *tail)
{
    hd_buf b;
    hd_buf_init(&b, 64u << 20);
    assert_int_equal(hd_buf_puts(&b, head), HD_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(hd_buf_puts(&b, piece), HD_OK);
    assert_int_equal(hd_buf_puts(&b, tail), HD_OK);
    return b;
}

static void check_repeated(const char *head, const char *piece, size_t n, const char *tail, hd_status status,
                           const char *part)
{
    hd_buf b = repeated(head, piece, n, tail);
    check_error(b.data, status, part);
    hd_buf_free(&b);
}

static void test_source(void **state)
{
    (void)state;
    check_repeated("", "0123456789abcdef", (1 << 16) + 1, "", HD_E_LIMIT, "at most 1048576 are read");
    check_repeated("{{ ", "(", 200, "", HD_E_LIMIT, "brackets inside each other");
    check_repeated("{{ ", "not ", 200, "1 }}", HD_E_LIMIT, "nest deeper");
    check_repeated("{{ ", "-", 200, "1 }}", HD_E_LIMIT, "nest deeper");
    check_repeated("", "{% if 1 %}", 200, "", HD_E_LIMIT, "nest deeper");
    check_repeated("{{ ", "1 if 1 else ", 200, "1 }}", HD_E_LIMIT, "nest deeper");
    check_repeated("{{ 0", " + 1", 5000, " }}", HD_E_LIMIT, "nest deeper than 600");
    check_repeated("{{ ''", "|trim", 5000, " }}", HD_E_LIMIT, "nest deeper than 600");
    check_repeated("{{ 1.", "0", 500, " }}", HD_E_FORMAT, "a number is too long");
}

static void test_steps(void **state)
{
    (void)state;
    static const char loops[] =
        "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}x{% endfor %}"
        "{% endfor %}{% endfor %}";
    check_error(loops, HD_E_LIMIT, "rendering needs more than");
    check_repeated("{% for a in range(100000) %}{% if ", "not ", 60, "a %}x{% endif %}{% endfor %}", HD_E_LIMIT,
                   "more than 4000000 steps");
    check_error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", HD_E_LIMIT, "nest deeper than 600");
    check_error("{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}", HD_E_LIMIT, "nest deeper");
    check_error("{{ range(1000000) }}", HD_E_LIMIT, "range() is longer than 100000");
    check_error("{{ range(0, 9223372036854775807, 1) }}", HD_E_LIMIT, "range() is longer");
    check_error("{% for i in range(100000) %}{{ range(100000)|length }}{% endfor %}", HD_E_LIMIT, "");
    check_error(
        "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        HD_E_LIMIT, "nest deeper");
    check_error("{% set ns = namespace(x=[1]) %}{% set ns.y = ns %}{{ ns }}", HD_E_LIMIT, "nest deeper");
    check_error(
        "{% set n = namespace(x=[]) %}{% for i in range(999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x|tojson }}",
        HD_E_LIMIT, "nest deeper");
    check_error("{% set n = namespace(x=[], y=[]) %}{% for i in range(999) %}{% set n.x = [n.x] %}{% set n.y = [n.y] "
                "%}{% endfor "
                "%}{{ n.x == n.y }}",
                HD_E_LIMIT, "nest deeper");
}

static void test_bytes(void **state)
{
    (void)state;
    check_error("{{ 'abcdefgh' * 100000000 }}", HD_E_LIMIT, "needs more than 67108864 bytes");
    check_error("{{ 'ab' * 9223372036854775807 }}", HD_E_LIMIT, "bytes");
    check_error("{% set x = 'a' * 1000000 %}{{ x.replace('a', x) }}", HD_E_LIMIT, "bytes");
    check_error("{% set x = 'a' * 1000000 %}{{ x|list|join(x) }}", HD_E_LIMIT, "");
    check_error("{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
                HD_E_LIMIT, "bytes");
    check_error("{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
                HD_E_LIMIT, "bytes");
    check_error("{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
                HD_E_LIMIT, "");
    check_error("{{ [0] * 100000000 }}", HD_E_LIMIT, "");
    check_error("{{ '%099999999d' % 5 }}{{ '%099999999d' % 5 }}{{ 'a'.ljust(99999999) }}", HD_E_LIMIT, "");
    check_error("{{ 'a'|center(9223372036854775807) }}", HD_E_LIMIT, "bytes");
    check_error("{{ [1]|tojson(indent=999999999) }}", HD_E_LIMIT, "bytes");
    check_error("{{ 'a\nb'|indent(999999999) }}", HD_E_LIMIT, "bytes");
}

static void test_integers(void **state)
{
    (void)state;
    check_error("{{ 9223372036854775807 + 1 }}", HD_E_LIMIT, "does not fit in 64 bits");
    check_error("{{ -9223372036854775807 - 2 }}", HD_E_LIMIT, "does not fit in 64 bits");
    check_error("{{ 9223372036854775807 * 2 }}", HD_E_LIMIT, "does not fit in 64 bits");
    check_error("{{ 10 ** 19 }}", HD_E_LIMIT, "does not fit in 64 bits");
    check_error("{{ 10 ** 9999999999 }}", HD_E_LIMIT, "does not fit in 64 bits");
    check_error("{{ (-9223372036854775807 - 1) // -1 }}", HD_E_LIMIT, "does not fit in 64 bits");
    check_error("{{ -(-9223372036854775807 - 1) }}", HD_E_LIMIT, "does not fit in 64 bits");
    check_error("{{ (-9223372036854775807 - 1)|abs }}", HD_E_LIMIT, "does not fit in 64 bits");
    check_error("{{ [9223372036854775807, 1]|sum }}", HD_E_LIMIT, "does not fit in 64 bits");
    check("{{ (-9223372036854775807 - 1) % -1 }}", "0");
    check("{{ 1 ** 9223372036854775807 }}{{ 0 ** 0 }}", "11");
}

/* Collecting text in a loop, as many templates do, stays linear. */
static void test_long_chats(void **state)
{
    (void)state;
    hd_buf vars =
        repeated("{\"messages\":[{\"role\":\"user\",\"content\":\"0\"}",
                 ",{\"role\":\"user\",\"content\":\"0123456789012345678901234567890123456789\"}", 20000, "]}");
    hd_rendered r = {0};
    hd_error err = {0};
    static const char collect[] =
        "{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s + m.role + ': ' + "
        "m.content + '\n' %}{% endfor %}{{ ns.s }}";
    if (render_status(collect, vars.data, &r, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(r.text.len, 20000 * 47 + 8);
    hd_rendered_free(&r);
    hd_buf_free(&vars);
}

static void test_deep_json(void **state)
{
    (void)state;
    hd_buf deep = repeated("{\"x\":", "[", 1500, "");
    for (size_t i = 0; i < 1500; i++)
        assert_int_equal(hd_buf_putc(&deep, ']'), HD_OK);
    assert_int_equal(hd_buf_putc(&deep, '}'), HD_OK);
    check_error_with("{{ x }}", deep.data, HD_E_LIMIT, "nest deeper");
    hd_buf_free(&deep);
}

/* Every allocation fails once: an error, nothing leaked (the sanitizers look), nothing half-made. */
static void test_no_memory(void **state)
{
    (void)state;
    static const char source[] =
        "{% set ns = namespace(a=1, s='') %}{% macro m(x, y=2) %}{{ x }}{{ caller() if caller }}{% endmacro %}"
        "{% for m in messages if m.role %}{% set ns.s = ns.s + m.content + '|' %}{{ loop.index }}{{ m|tojson }}{% "
        "endfor %}"
        "{{ m(1) }}{% call m(2) %}c{% endcall %}{{ [3, 1]|sort|map('string')|join(',') }}{{ {'a': [1]} }}{{ "
        "'a-b'.split('-') }}"
        "{{ ns.s|upper|replace('H', 'J') }}{{ ns.s[::-1] }}{% with a = 1 %}{{ a }}{% endwith %}{{ d|dictsort }}";
    static const char vars[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"d\":{\"a\":1}}";
    json_t *json = NULL;
    assert_int_equal(hd_json_parse(&json, vars, strlen(vars), NULL), HD_OK);
    size_t failures = 0;
    for (uint64_t n = 1; n < 100; n++) {
        hd_rendered r = {0};
        hd_template *t = NULL;
        hd_error err = {0};
        hd_alloc_fail_after(n);
        hd_status status = hd_template_parse(&t, source, strlen(source), &err);
        if (status == HD_OK) status = hd_template_render(t, json, &r, &err);
        hd_alloc_fail_after(0);
        if (status != HD_OK) {
            assert_int_equal(status, HD_E_MEMORY);
            assert_non_null(strstr(err.text, "memory"));
            failures++;
        }
        hd_rendered_free(&r);
        hd_template_free(&t);
    }
    assert_in_range(failures, 4, 50);
    json_decref(json);
}

static uint64_t fixed_time(void)
{
    return 1700000000000u; /* 2023-11-14, somewhere between 14 and 15 November local time */
}

static void test_clock(void **state)
{
    (void)state;
    hd_clock_set(NULL, fixed_time);
    check("{{ strftime_now('%Y-%m %b') }}", "2023-11 Nov");
    hd_clock_set(NULL, NULL);
    check_repeated("{{ strftime_now('", "%Y", 100, "') }}", HD_E_LIMIT, "too long a format");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source),    cmocka_unit_test(test_steps),      cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_integers),  cmocka_unit_test(test_long_chats), cmocka_unit_test(test_deep_json),
        cmocka_unit_test(test_no_memory), cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
