/* test_plan_machines.c: the shipped table has sources and dates; bad files name the machine and the key. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ops/plan.h"

static void test_the_table(void **state)
{
    (void)state;
    hd_plan_machines *t = NULL;
    int kinds[3] = {0};
    assert_int_equal(hd_plan_machines_open(&t, NULL), HD_OK);
    for (size_t i = 0; i < hd_plan_machines_count(t); i++) {
        const hd_plan_machine *m = hd_plan_machines_at(t, i);
        kinds[0] += strcmp(m->kind, "cpu") == 0;
        kinds[1] += strcmp(m->kind, "gpu") == 0;
        kinds[2] += strcmp(m->kind, "accelerator") == 0;
        assert_true(strlen(m->source) > 5);
        assert_int_equal(strlen(m->date), 10);
        assert_true(!isfinite(m->memory) || (m->memory >= 8e9 && m->memory <= 8e12));
        assert_true(!isfinite(m->bandwidth) || (m->bandwidth >= 5e10 && m->bandwidth <= 1e13));
        assert_true(isfinite(m->operations) == (m->numbers[0] != '\0'));
    }
    assert_true(kinds[0] >= 3 && kinds[1] >= 8 && kinds[2] >= 3);
    assert_non_null(hd_plan_machines_find(t, "Nvidia-H100-SXM"));
    assert_null(hd_plan_machines_find(t, "nvidia"));
    assert_true(isnan(hd_plan_machines_find(t, "huawei-ascend-910b")->bandwidth)); /* not published */
    for (size_t i = 0; i < hd_plan_price_count(t); i++) {
        const hd_plan_price *p = hd_plan_price_at(t, i);
        assert_true(p->cached < p->input && p->input < p->output);
        assert_int_equal(strlen(p->date), 10);
    }
    assert_true(hd_plan_price_find(t, "deepseek-flash-usd")->output == 0.6);
    hd_plan_machines_close(&t);
    hd_plan_machines_close(&t);
}

static void test_own_files(void **state)
{
    (void)state;
    static const char text[] = "{\"name\":\"ours\",\"kind\":\"cpu\",\"memory_bytes\":2e12,\"power_watts\":null}";
    hd_plan_machines *t = NULL;
    assert_int_equal(hd_plan_machines_parse(&t, "ours.json", text, strlen(text), NULL), HD_OK);
    const hd_plan_machine *m = hd_plan_machines_at(t, 0);
    assert_true(m->memory == 2e12 && isnan(m->watts) && isnan(m->price));
    assert_string_equal(m->title, "ours");
    hd_plan_machines_close(&t);
}

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "f.json"},
        {"[]", "\"machines\" must be a list"},
        {"{\"machines\":[]}", "at least one"},
        {"{\"machines\":[1]}", "machine number 1 is not an object"},
        {"{\"machines\":[{}]}", "machine number 1: \"name\" is missing"},
        {"{\"machines\":[{\"name\":3}]}", "\"name\" must be a string"},
        {"{\"machines\":[{\"name\":\"a b\"}]}", "\"name\" must be 1 to 64"},
        {"{\"name\":\"a\"}", "a: \"kind\" is missing"},
        {"{\"name\":\"a\",\"kind\":\"fpga\"}", "a: \"kind\" must be cpu, gpu or accelerator"},
        {"{\"name\":\"a\",\"kind\":\"cpu\",\"memory\":1}", "a: \"memory\" is no key"},
        {"{\"name\":\"a\",\"kind\":\"cpu\",\"memory_bytes\":\"1\"}", "a: \"memory_bytes\" must be a number"},
        {"{\"name\":\"a\",\"kind\":\"cpu\",\"memory_bytes\":0}", "a: \"memory_bytes\" must be above 0"},
        {"{\"name\":\"a\",\"kind\":\"cpu\",\"memory_bytes\":1e300}", "a: \"memory_bytes\" must be above 0"},
        {"{\"name\":\"a\",\"kind\":\"cpu\",\"price\":-1,\"currency\":\"EUR\"}", "a: \"price\" must not be negative"},
        {"{\"name\":\"a\",\"kind\":\"cpu\",\"price\":1}", "a: \"currency\" is missing"},
        {"{\"machines\":[{\"name\":\"a\",\"kind\":\"cpu\"},{\"name\":\"A\",\"kind\":\"cpu\"}]}",
         "two machines named A"},
        {"{\"machines\":[{\"name\":\"a\",\"kind\":\"cpu\"}],\"prices\":{}}", "\"prices\" must be a list"},
        {"{\"machines\":[{\"name\":\"a\",\"kind\":\"cpu\"}],\"prices\":[{\"name\":\"p\",\"currency\":\"USD\"}]}",
         "\"input\" is missing"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_plan_machines *t = NULL;
        hd_error err = {0};
        assert_int_not_equal(hd_plan_machines_parse(&t, "f.json", cases[i].text, strlen(cases[i].text), &err), HD_OK);
        assert_null(t);
        if (!strstr(err.text, cases[i].says) || strncmp(err.text, "f.json", 6) != 0)
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
    }
}

static void test_counts(void **state)
{
    (void)state;
    int count;
    assert_int_equal(hd_plan_split_count("a:8", &count), 1);
    assert_int_equal(count, 8);
    assert_int_equal(hd_plan_split_count("abc", &count), 3);
    assert_int_equal(count, 1);
    static const char *const bad[] = {"a:", "a:0", "a:x", "a:-1", "a:4097", "a:99999999999", "a:1.5", ":3"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        assert_int_equal(hd_plan_split_count(bad[i], &count), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table),
        cmocka_unit_test(test_own_files),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
