/* tests/unit/ops/test_description.c: what a description of a deployment takes, refuses and computes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ops/description.h"

static hd_status parse(hd_description *d, const char *text, hd_error *err)
{
    hd_description_init(d, "1.2.3");
    return hd_description_parse(d, text, strlen(text), "test.yaml", err);
}

static void defaults_are_whole(void **state)
{
    hd_description d;
    hd_error err;
    const hd_description_key *k;
    (void)state;
    hd_description_init(&d, "1.2.3");
    assert_int_equal(hd_description_settle(&d, &err), HD_OK);
    assert_string_equal(hd_description_get(&d, "image"), "hadal:1.2.3");
    assert_string_equal(hd_description_get(&d, "terminationSeconds"), "60");
    assert_string_equal(hd_description_get(&d, "startTries"), "180");
    assert_int_equal(hd_description_number(&d, "port"), 8080);
    assert_null(hd_description_get(&d, "nothing"));
    for (size_t i = 0; (k = hd_description_key_at(i)); i++)
        if (!k->derived && *k->initial) assert_int_equal(hd_description_set(&d, k->name, k->initial, &err), HD_OK);
}

static void yaml_is_read(void **state)
{
    hd_description d;
    hd_error err;
    (void)state;
    assert_int_equal(parse(&d, "# ours\nport: 9000\nmodel: \"r1.gguf\"\ntls: true\nmemoryLimit: 64Gi\n", &err), HD_OK);
    assert_int_equal(hd_description_number(&d, "port"), 9000);
    assert_string_equal(hd_description_get(&d, "model"), "r1.gguf");
    assert_string_equal(hd_description_get(&d, "tls"), "true");
    assert_int_equal(parse(&d, "{\"port\": 9001}", &err), HD_OK); /* JSON is YAML */
    assert_int_equal(hd_description_number(&d, "port"), 9001);
}

static void what_is_written_is_read(void **state)
{
    hd_description d, again;
    hd_error err;
    const hd_description_key *k;
    hd_buf text;
    (void)state;
    hd_description_init(&d, "1.2.3");
    assert_int_equal(hd_description_set(&d, "storageClass", "fast", &err), HD_OK);
    hd_buf_init(&text, 1 << 16);
    assert_int_equal(hd_description_write(&d, &text), HD_OK);
    assert_int_equal(parse(&again, text.data, &err), HD_OK);
    for (size_t i = 0; (k = hd_description_key_at(i)); i++)
        assert_string_equal(hd_description_get(&d, k->name), hd_description_get(&again, k->name));
    hd_buf_free(&text);
}

static void bad_files_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
        hd_status status;
    } cases[] = {
        {"port: [1, 2]\n", "line 1", HD_E_FORMAT},
        {"- port\n", "mapping", HD_E_FORMAT},
        {"port: 9000\nport: 9001\n", "line 2: port is given twice", HD_E_FORMAT},
        {"port: 9000\n\nprot: 1\n", "line 3: a description has no key 'prot'", HD_E_ARGUMENT},
        {"port: \"9000\n", "not YAML", HD_E_FORMAT},
        {"port: 9000\n---\nport: 1\n", "mapping", HD_E_FORMAT},
        {"? [a]\n: b\n", "a key was expected", HD_E_FORMAT},
        {"model: &a x\nimage: *a\n", "plain values", HD_E_FORMAT},
        {"model: \"a\\0b\"\n", "model is", HD_E_ARGUMENT},
        {"", "mapping", HD_E_FORMAT},
        {"terminationSeconds: 3\n", "computed", HD_E_ARGUMENT},
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_description d;
        hd_error err = {0};
        assert_int_equal(parse(&d, cases[i].text, &err), cases[i].status);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_non_null(strstr(err.text, "test.yaml"));
    }
}

/* Nothing that could leave its word in YAML, a shell, nginx or nftables. */
static void values_can_not_break_out(void **state)
{
    static const struct {
        const char *key, *value;
    } cases[] = {
        {"name", "Hadal"},
        {"name", "a b"},
        {"name", "-a"},
        {"name", ""},
        {"model", "../secret"},
        {"model", "-x"},
        {"model", "a\nb"},
        {"model", "a$(b)"},
        {"model", "a/b"},
        {"modelsFolder", "rel"},
        {"modelsFolder", "/"},
        {"modelsFolder", "/a/../b"},
        {"modelsFolder", "/a b"},
        {"image", "a b"},
        {"image", "\"x"},
        {"image", "a;b"},
        {"serverName", "a;b"},
        {"serverName", "a{b"},
        {"prometheus", "ftp://x"},
        {"prometheus", "http://"},
        {"clientNetwork", "10.0"},
        {"clientNetwork", "10.0.0.0/8 x"},
        {"memoryLimit", "16 Gi"},
        {"memoryLimit", "0Gi"},
        {"memoryLimit", "1e9"},
        {"memoryLimit", "16gb"},
        {"port", "80"},
        {"port", "65536"},
        {"port", "08080"},
        {"port", "8080;"},
        {"tls", "yes"},
        {"replicas", "0"},
        {"replicas", "1000000"},
        {"userId", "0"},
    };
    hd_description d;
    hd_error err;
    (void)state;
    hd_description_init(&d, "1");
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++)
        if (hd_description_set(&d, cases[i].key, cases[i].value, &err) != HD_E_ARGUMENT)
            fail_msg("%s took '%s'", cases[i].key, cases[i].value);
}

static void contradictions_are_found(void **state)
{
    hd_description d;
    hd_error err;
    (void)state;
    hd_description_init(&d, "1");
    assert_int_equal(hd_description_set(&d, "keda", "true", &err), HD_OK);
    assert_int_equal(hd_description_settle(&d, &err), HD_E_ARGUMENT); /* hpa is, too */
    hd_description_init(&d, "1");
    assert_int_equal(hd_description_set(&d, "replicas", "9", &err), HD_OK);
    assert_int_equal(hd_description_settle(&d, &err), HD_E_ARGUMENT); /* above maxReplicas */
    hd_description_init(&d, "1");
    assert_int_equal(hd_description_set(&d, "precision", "fp4", &err), HD_OK);
    assert_int_equal(hd_description_settle(&d, &err), HD_E_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_whole),       cmocka_unit_test(yaml_is_read),
        cmocka_unit_test(what_is_written_is_read),  cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(values_can_not_break_out), cmocka_unit_test(contradictions_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
