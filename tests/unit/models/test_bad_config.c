/* Good configurations of every kind are read and every one of the catalogue of bad ones is refused with its words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/models_internal.h"
#include "unit/formats/open_bytes.h"
#include "unit/models/bad_config.h"
#include "unit/models/bad_config_gguf.h"

static hd_status read_config(hd_model_config *c, const char *config, const char *generation, hd_error *err)
{
    json_t *a = NULL, *b = NULL;
    *c = (hd_model_config){0};
    assert_int_equal(hd_json_parse(&a, config, strlen(config), err), HD_OK);
    if (generation) assert_int_equal(hd_json_parse(&b, generation, strlen(generation), err), HD_OK);
    hd_status status = hd_config_from_json(c, a, b, err);
    if (status == HD_OK) status = hd_config_check(c, err);
    json_decref(a);
    json_decref(b);
    return status;
}

static void good_ones_are_read(void **state)
{
    (void)state;
    hd_model_config c;
    hd_error err = {0};
    for (size_t i = 0; i < HD_ARRAY_LEN(good_configs); i++) {
        if (read_config(&c, good_configs[i].config, NULL, &err) != HD_OK)
            fail_msg("%s: %s", good_configs[i].name, err.text);
        assert_int_equal(c.layers, 2);
        assert_int_equal(c.eos_count, 1);
        if (read_config(&c, good_configs[i].config, good_generation, &err) != HD_OK)
            fail_msg("%s: %s", good_configs[i].name, err.text);
        assert_int_equal(c.eos_count, 2);
        assert_int_equal(c.eos[1], 3);
        assert_int_equal(c.top_k, 20);
    }
}

static void bad_ones_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad_configs); i++) {
        const bad_config *bad = &bad_configs[i];
        hd_model_config c;
        hd_error err = {0};
        hd_buf b;
        hd_buf_init(&b, 1 << 16);
        assert_true(put_bad_config(&b, bad));
        size_t first = strlen(b.data);
        hd_status status = read_config(&c, b.data, first < b.len ? b.data + first + 1 : NULL, &err);
        if (status != bad->status || !strstr(err.text, bad->words))
            fail_msg("%s, %s = %s: status %d, wanted %d; \"%s\" should contain \"%s\"", bad->base, bad->key,
                     bad->value ? bad->value : "nothing", (int)status, (int)bad->status, err.text, bad->words);
        hd_buf_free(&b);
    }
}

/* ---- the same of GGUF files ---- */

static hd_status read_gguf(hd_model_config *c, const hd_buf *b, hd_error *err)
{
    hd_checkpoint *ckpt = NULL;
    if (open_bytes(&ckpt, b->data, b->len, err) != HD_OK) fail_msg("%s", err->text);
    hd_status status = hd_model_config_read(c, ckpt, err);
    hd_checkpoint_close(&ckpt);
    return status;
}

static void good_gguf_files_are_read(void **state)
{
    (void)state;
    hd_model_config c;
    hd_error err = {0};
    hd_buf b;
    hd_buf_init(&b, 1 << 16);
    put_metas(&b, good_llama_gguf, HD_ARRAY_LEN(good_llama_gguf), NULL);
    if (read_gguf(&c, &b, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(c.arch, HD_ARCH_LLAMA);
    assert_int_equal(c.kv_heads, 2);
    hd_buf_clear(&b);
    put_metas(&b, good_deepseek2_gguf, HD_ARRAY_LEN(good_deepseek2_gguf), NULL);
    if (read_gguf(&c, &b, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(c.arch, HD_ARCH_DEEPSEEK2);
    assert_int_equal(c.layers, 2); /* without the prediction layer */
    assert_int_equal(c.nope, 16);
    hd_buf_free(&b);
}

static void bad_gguf_files_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad_metas); i++) {
        const bad_meta *bad = &bad_metas[i];
        hd_model_config c;
        hd_error err = {0};
        hd_buf b;
        hd_buf_init(&b, 1 << 16);
        put_bad_meta(&b, bad);
        hd_status status = read_gguf(&c, &b, &err);
        if (status != bad->status || !strstr(err.text, bad->words))
            fail_msg("%s (row %zu): status %d, wanted %d; \"%s\" should contain \"%s\"", bad->value.key, i, (int)status,
                     (int)bad->status, err.text, bad->words);
        hd_buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones_are_read),
        cmocka_unit_test(bad_ones_are_refused),
        cmocka_unit_test(good_gguf_files_are_read),
        cmocka_unit_test(bad_gguf_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
