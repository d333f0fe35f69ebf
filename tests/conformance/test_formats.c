/* Every reference model opens, as a folder and as each of its files, and both layouts of a model hold the same
 * vocabulary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "data.h"
#include "formats/formats.h"

static hd_checkpoint *open_ok(const char *path)
{
    hd_error err = {0};
    hd_checkpoint *ckpt = NULL;
    if (hd_checkpoint_open(&ckpt, path, &err) != HD_OK) fail_msg("%s", err.text);
    return ckpt;
}

/* Reads the first and last byte of every tensor: a sanitizer would object to one outside its file. */
static void touch_all(const hd_checkpoint *ckpt)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < hd_checkpoint_tensor_count(ckpt); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(ckpt, i);
        const uint8_t *data = t->data;
        assert_ptr_equal(hd_checkpoint_find(ckpt, t->name), t);
        if (t->bytes) sum = (uint8_t)(sum + data[0] + data[t->bytes - 1]);
    }
    assert_int_equal(hd_checkpoint_check(ckpt, NULL), HD_OK);
}

static const char *const models[] = {"deepseek-v2",  "deepseek-v2-lite",
                                     "deepseek-v3",  "deepseek-v3-fp8",
                                     "deepseek-v32", "deepseek-v4",
                                     "llama",        "llama3-rope",
                                     "qwen2",        "qwen3"};

static void folders_open(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(models); i++) {
        char name[128], path[HD_TEST_PATH];
        snprintf(name, sizeof name, "models/%s", models[i]);
        if (!hd_test_golden(path, name)) continue;
        hd_checkpoint *ckpt = open_ok(path);
        assert_int_equal(hd_checkpoint_format(ckpt), HD_FORMAT_SAFETENSORS);
        assert_non_null(hd_checkpoint_config(ckpt));
        const hd_tensor *embed = hd_checkpoint_find(ckpt, "model.embed_tokens.weight");
        if (!embed) embed = hd_checkpoint_find(ckpt, "embed.weight"); /* DeepSeek-V4's own names */
        assert_non_null(embed);
        assert_int_equal(embed->dims, 2);
        touch_all(ckpt);
        hd_checkpoint_close(&ckpt);
    }
}

/* GGUF lists dimensions in the other order: after reading both have the shape [vocab, hidden]. */
static void gguf_has_the_same_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(models); i++) {
        char name[128], path[HD_TEST_PATH], folder[HD_TEST_PATH];
        snprintf(name, sizeof name, "models/%s", models[i]);
        if (!hd_test_golden(folder, name)) continue;
        snprintf(name, sizeof name, "models/%s/model.gguf", models[i]);
        if (!hd_test_golden(path, name)) continue;
        hd_checkpoint *gguf = open_ok(path), *st = open_ok(folder);
        assert_int_equal(hd_checkpoint_format(gguf), HD_FORMAT_GGUF);
        const hd_tensor *a = hd_checkpoint_find(gguf, "token_embd.weight");
        const hd_tensor *b = hd_checkpoint_find(st, "model.embed_tokens.weight");
        assert_non_null(a);
        assert_non_null(b);
        assert_memory_equal(a->shape, b->shape, sizeof a->shape);
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
        assert_non_null(hd_checkpoint_meta(gguf, "general.architecture"));
        touch_all(gguf);
        hd_checkpoint_close(&gguf);
        hd_checkpoint_close(&st);
    }
}

static void data_files_open(void **state)
{
    (void)state;
    char path[HD_TEST_PATH];
    if (hd_test_golden(path, "quants.safetensors")) {
        hd_checkpoint *ckpt = open_ok(path);
        const hd_tensor *raw = hd_checkpoint_find(ckpt, "Q4_K.raw"), *f32 = hd_checkpoint_find(ckpt, "Q4_K.f32");
        assert_int_equal(raw->type, HD_TYPE_U8);
        assert_int_equal(f32->type, HD_TYPE_F32);
        touch_all(ckpt);
        hd_checkpoint_close(&ckpt);
    }
    if (hd_test_golden(path, "real/smollm2-135m-q4_1.safetensors")) {
        hd_checkpoint *ckpt = open_ok(path);
        touch_all(ckpt);
        hd_checkpoint_close(&ckpt);
    }
}

/* $HD_MODELS may hold real models to try: paths between colons. */
static void real_models_open(void **state)
{
    (void)state;
    const char *list = getenv("HD_MODELS");
    while (list && *list) {
        size_t len = strcspn(list, ":");
        char path[HD_TEST_PATH];
        snprintf(path, sizeof path, "%.*s", (int)len, list);
        hd_checkpoint *ckpt = open_ok(path);
        assert_true(hd_checkpoint_tensor_count(ckpt) > 0);
        touch_all(ckpt);
        hd_checkpoint_close(&ckpt);
        list += len + (list[len] == ':');
    }
}

int main(void)
{
    char path[HD_TEST_PATH];
    if (!hd_test_golden(path, "models")) return hd_test_skip("no reference models");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_open),
        cmocka_unit_test(gguf_has_the_same_shapes),
        cmocka_unit_test(data_files_open),
        cmocka_unit_test(real_models_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
