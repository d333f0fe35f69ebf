/* test_tokenizers.c: eleven real tokenizers against what the tokenizers library gave (golden/tokenizers), and the
 * tokenizers of models against their own siblings in GGUF. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data.h"
#include "tokenizer/tokenizer.h"
#include "unzip.h"

#define NAMES_MAX 64

static char scratch[] = "/tmp/hadal-tokenizers-XXXXXX";

/* ---- help ---- */

static json_t *load(const char *path)
{
    json_t *root;
    hd_error err = {0};
    if (hd_json_parse_file(&root, path, 64 << 20, &err) != HD_OK) fail_msg("%s", err.text);
    return root;
}

static hd_tokenizer *open_at(const char *path)
{
    hd_tokenizer *tok = NULL;
    hd_error err = {0};
    if (hd_tokenizer_open(&tok, path, &err) != HD_OK) fail_msg("%s", err.text);
    return tok;
}

static bool golden(char path[HD_TEST_PATH], const char *fmt, const char *name)
{
    char relative[512];
    snprintf(relative, sizeof relative, fmt, name);
    return hd_test_golden(path, relative);
}

/* Unpacks golden/tokenizers/<name>/tokenizer.json.zip and opens it with the settings beside it. */
static hd_tokenizer *open_golden(const char *name)
{
    char zip[HD_TEST_PATH], config[HD_TEST_PATH], json[sizeof scratch + 32], link[sizeof scratch + 32];
    assert_true(golden(zip, "tokenizers/%s/tokenizer.json.zip", name));
    assert_true(golden(config, "tokenizers/%s/tokenizer_config.json", name));
    if (!hd_test_unzip(zip, scratch)) fail_msg("%s can't be unpacked", zip);
    char *target = realpath(config, NULL);
    snprintf(link, sizeof link, "%s/tokenizer_config.json", scratch);
    snprintf(json, sizeof json, "%s/tokenizer.json", scratch);
    assert_non_null(target);
    assert_int_equal(symlink(target, link), 0);
    free(target); /* hd-lint: allow raw-memory: realpath allocated it */
    hd_tokenizer *tok = open_at(scratch);
    unlink(link);
    unlink(json);
    return tok;
}

/* ---- encode and decode ---- */

static void check_text(const hd_tokenizer *tok, size_t index, const json_t *item)
{
    const json_t *text = json_object_get(item, "text"), *want = json_object_get(item, "ids");
    const json_t *shown = json_object_get(item, "decoded");
    hd_ids ids = {0};
    hd_buf decoded;
    hd_error err = {0};
    hd_buf_init(&decoded, 1 << 24);
    if (hd_tokenizer_encode(tok, json_string_value(text), json_string_length(text), true, NULL, &ids, &err) != HD_OK)
        fail_msg("text %zu: %s", index, err.text);
    for (size_t i = 0; i < json_array_size(want) && i < ids.len; i++)
        if (json_integer_value(json_array_get(want, i)) != ids.data[i])
            fail_msg("text %zu (%s): id %zu is %d, wanted %lld", index, json_string_value(text), i, ids.data[i],
                     (long long)json_integer_value(json_array_get(want, i)));
    if (ids.len != json_array_size(want))
        fail_msg("text %zu (%s): %zu ids, wanted %zu", index, json_string_value(text), ids.len, json_array_size(want));
    assert_int_equal(hd_tokenizer_decode(tok, ids.data, ids.len, true, &decoded), HD_OK);
    assert_int_equal(decoded.len, json_string_length(shown));
    if (decoded.len) assert_memory_equal(decoded.data, json_string_value(shown), decoded.len);
    hd_ids_free(&ids);
    hd_buf_free(&decoded);
}

static void check_texts(const hd_tokenizer *tok, const json_t *texts)
{
    for (size_t i = 0; i < json_array_size(texts); i++)
        check_text(tok, i, json_array_get(texts, i));
}

/* What was written down reads the same: as tokenizer.json and as a GGUF file. */
static void check_written(const hd_tokenizer *tok, const json_t *texts)
{
    char path[sizeof scratch + 32], config_path[sizeof scratch + 32];
    json_t *json, *config;
    hd_meta_list list = {0};
    hd_file_writer *w;
    hd_error err = {0};
    snprintf(path, sizeof path, "%s/tokenizer.json", scratch);
    snprintf(config_path, sizeof config_path, "%s/tokenizer_config.json", scratch);
    if (hd_tokenizer_to_json(&json, &config, tok, 4096, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(hd_file_write_json(path, json, NULL), HD_OK);
    assert_int_equal(hd_file_write_json(config_path, config, NULL), HD_OK);
    hd_tokenizer *again = open_at(scratch);
    check_texts(again, texts);
    assert_string_equal(hd_tokenizer_bos_text(again), hd_tokenizer_bos_text(tok));
    assert_string_equal(hd_tokenizer_eos_text(again), hd_tokenizer_eos_text(tok));
    assert_int_equal(hd_tokenizer_adds_bos(again), hd_tokenizer_adds_bos(tok));
    hd_tokenizer_close(&again);
    unlink(path);
    unlink(config_path);

    snprintf(path, sizeof path, "%s/tokenizer.gguf", scratch);
    hd_meta_add_text(&list, "general.architecture", "llama", 5);
    if (hd_tokenizer_to_gguf(tok, (size_t)hd_tokenizer_vocab_size(tok) + 3, &list, &err) != HD_OK)
        fail_msg("%s", err.text);
    assert_int_equal(hd_gguf_writer_open(&w, path, list.items, list.count, NULL, 0, false, NULL), HD_OK);
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
    hd_file_writer_close(&w);
    hd_meta_list_free(&list);
    again = open_at(path);
    check_texts(again, texts);
    assert_int_equal(hd_tokenizer_bos(again), hd_tokenizer_bos(tok));
    assert_int_equal(hd_tokenizer_pad(again), hd_tokenizer_pad(tok));
    assert_int_equal(hd_tokenizer_adds_bos(again), hd_tokenizer_adds_bos(tok));
    hd_tokenizer_close(&again);
    unlink(path);
}

static void test_golden(void **state)
{
    const char *name = *state;
    char path[HD_TEST_PATH];
    assert_true(golden(path, "tokenizers/%s/expected.json", name));
    json_t *expected = load(path);
    const json_t *texts = json_object_get(expected, "encode");
    hd_tokenizer *tok = open_golden(name);
    assert_true(json_array_size(texts) > 0);
    check_texts(tok, texts);
    check_written(tok, texts);
    assert_string_equal(hd_tokenizer_bos_text(tok), "<｜begin▁of▁sentence｜>");
    assert_true(hd_tokenizer_bos(tok) >= 0);
    assert_int_equal(hd_tokenizer_is_v4(tok), strcmp(name, "deepseek-v4") == 0);
    hd_tokenizer_close(&tok);
    json_decref(expected);
}

/* ---- GGUF beside tokenizer.json ---- */

static const char *const samples[] = {
    "",
    "Hello, world! It's 2024 and they've paid $1,234.56.",
    "  two spaces\n\n\ttab and newlines \r\n end  ",
    "<｜User｜>你好，世界<｜Assistant｜><think>\n嗯</think>答案是 42。<｜end▁of▁sentence｜>",
    "naïve café Ångström e\xCC\x81 한국어 日本語カタカナ العربية",
    "हिन्दी ไทย 👩‍👩‍👧 ½²³",
    "int main(void) { return x->y[3] != 0x1F; } // ~~~ ### ```",
};

static void check_same(const hd_tokenizer *a, const hd_tokenizer *b, const char *text, size_t len)
{
    hd_ids x = {0}, y = {0};
    assert_int_equal(hd_tokenizer_encode(a, text, len, true, NULL, &x, NULL), HD_OK);
    assert_int_equal(hd_tokenizer_encode(b, text, len, true, NULL, &y, NULL), HD_OK);
    assert_int_equal(x.len, y.len);
    if (x.len) assert_memory_equal(x.data, y.data, x.len * sizeof *x.data);
    hd_ids_free(&x);
    hd_ids_free(&y);
}

static void test_model(void **state)
{
    const char *name = *state;
    char folder[HD_TEST_PATH], gguf[HD_TEST_PATH];
    assert_true(golden(folder, "models/%s", name));
    hd_tokenizer *json = open_at(folder), *meta;
    size_t count, meta_count;
    assert_int_equal(hd_tokenizer_vocab_size(json), 768);
    if (golden(gguf, "models/%s/model.gguf", name)) {
        meta = open_at(gguf);
        for (size_t i = 0; i < HD_ARRAY_LEN(samples); i++)
            check_same(json, meta, samples[i], strlen(samples[i]));
        assert_int_equal(hd_tokenizer_bos(json), hd_tokenizer_bos(meta));
        assert_int_equal(hd_tokenizer_adds_bos(json), hd_tokenizer_adds_bos(meta));
        assert_int_equal(hd_tokenizer_vocab_size(json), hd_tokenizer_vocab_size(meta));
        assert_string_equal(hd_tokenizer_chat_template(json), hd_tokenizer_chat_template(meta));
        assert_int_equal(hd_tokenizer_eos(json, &count)[0], hd_tokenizer_eos(meta, &meta_count)[0]);
        assert_int_equal(count, meta_count);
        hd_tokenizer_close(&meta);
    }
    hd_tokenizer_close(&json);
}

/* ---- the real SmolLM2 file: golden/real has the ids of its prompts ---- */

static bool find_smollm2(char path[HD_TEST_PATH])
{
    const char *set = getenv("HD_SMOLLM2");
    if (set) return snprintf(path, HD_TEST_PATH, "%s", set) > 0 && access(path, R_OK) == 0;
    return hd_test_file(path, "models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

static void test_smollm2(void **state)
{
    char path[HD_TEST_PATH], name[32];
    hd_checkpoint *expected;
    (void)state;
    if (!find_smollm2(path)) skip();
    hd_tokenizer *tok = open_at(path);
    assert_true(hd_test_golden(path, "real/smollm2-135m-q4_1.json"));
    json_t *texts = load(path);
    assert_true(hd_test_golden(path, "real/smollm2-135m-q4_1.safetensors"));
    assert_int_equal(hd_checkpoint_open(&expected, path, NULL), HD_OK);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        snprintf(name, sizeof name, "prompt.%zu", i);
        const hd_tensor *want = hd_checkpoint_find(expected, name);
        const json_t *text = json_object_get(json_array_get(texts, i), "text");
        hd_ids ids = {0};
        assert_non_null(want);
        assert_int_equal(
            hd_tokenizer_encode(tok, json_string_value(text), json_string_length(text), true, NULL, &ids, NULL), HD_OK);
        assert_int_equal(ids.len, want->shape[0]);
        assert_memory_equal(ids.data, want->data, ids.len * sizeof *ids.data);
        hd_ids_free(&ids);
    }
    assert_int_equal(json_array_size(texts), 4);
    hd_checkpoint_close(&expected);
    json_decref(texts);
    hd_tokenizer_close(&tok);
}

/* ---- the list of tests is what lies there ---- */

static size_t list_folder(const char *name, struct CMUnitTest *tests, size_t count, CMUnitTestFunction fn)
{
    char path[HD_TEST_PATH];
    DIR *dir = hd_test_golden(path, name) ? opendir(path) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir)) && count < NAMES_MAX;)
        if (e->d_name[0] != '.') {
            char *copy = hd_strdup(e->d_name);
            if (!copy) break;
            tests[count++] = (struct CMUnitTest){.name = copy, .test_func = fn, .initial_state = copy};
        }
    if (dir) closedir(dir);
    return count;
}

int main(void)
{
    struct CMUnitTest tests[NAMES_MAX + 1];
    size_t count = list_folder("tokenizers", tests, 0, test_golden);
    count = list_folder("models", tests, count, test_model);
    char real[HD_TEST_PATH];
    if (hd_test_golden(real, "real/smollm2-135m-q4_1.json"))
        tests[count++] = (struct CMUnitTest){.name = "SmolLM2", .test_func = test_smollm2};
    if (count == 0) return hd_test_skip("no golden/tokenizers and no golden/models");
    if (!mkdtemp(scratch)) return 1;
    int failed = _cmocka_run_group_tests("tokenizers", tests, count, NULL, NULL);
    for (size_t i = 0; i < count; i++)
        hd_free(tests[i].initial_state);
    rmdir(scratch);
    return failed;
}
