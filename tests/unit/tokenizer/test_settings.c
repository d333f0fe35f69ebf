/* test_settings.c: what the files beside tokenizer.json say, what a path may name, and what well-known tokens mean. */
#include "unit/tokenizer/help.h"

static char folder[] = "/tmp/hadal-settings-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[HD_TEST_PATH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put_bytes_in(const char *name, const void *data, size_t len)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void put(const char *name, const char *text)
{
    put_bytes_in(name, text, strlen(text));
}

static void put_seed(const char *name, const char *seed)
{
    char path[HD_TEST_PATH];
    hd_mapping *map;
    seed_path(path, seed);
    assert_int_equal(hd_mapping_open(&map, path, NULL), HD_OK);
    put_bytes_in(name, hd_mapping_data(map), hd_mapping_size(map));
    hd_mapping_close(&map);
}

static int remove_all(void **state)
{
    static const char *const names[] = {"tokenizer.json",      "tokenizer_config.json",
                                        "chat_template.jinja", "generation_config.json",
                                        "other.json",          "model.safetensors"};
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        unlink(in_folder(names[i]));
    return 0;
}

static hd_tokenizer *open_at(const char *path)
{
    hd_tokenizer *tok = NULL;
    hd_error err = {0};
    if (hd_tokenizer_open(&tok, path, &err) != HD_OK) fail_msg("%s", err.text);
    return tok;
}

static hd_tokenizer *open_with(const char *config, const char *generation, const char *jinja)
{
    remove_all(NULL);
    put_seed("tokenizer.json", "good_deepseek_v3");
    if (config) put("tokenizer_config.json", config);
    if (generation) put("generation_config.json", generation);
    if (jinja) put("chat_template.jinja", jinja);
    return open_at(folder);
}

static int32_t find(const hd_tokenizer *tok, const char *text)
{
    return hd_tokenizer_find(tok, text, strlen(text));
}

/* ---- tokenizer_config.json ---- */

static void test_config(void **state)
{
    (void)state;
    size_t count;
    hd_tokenizer *tok = open_with("{\"bos_token\":{\"__type\":\"AddedToken\",\"content\":\"<bos>\"},"
                                  "\"eos_token\":\"<eos>\",\"add_bos_token\":true,\"chat_template\":\"T\"}",
                                  NULL, NULL);
    assert_int_equal(hd_tokenizer_bos(tok), find(tok, "<bos>"));
    assert_true(hd_tokenizer_adds_bos(tok));
    assert_int_equal(hd_tokenizer_eos(tok, &count)[0], find(tok, "<eos>"));
    assert_int_equal(count, 1);
    assert_string_equal(hd_tokenizer_bos_text(tok), "<bos>");
    assert_string_equal(hd_tokenizer_eos_text(tok), "<eos>");
    assert_string_equal(hd_tokenizer_chat_template(tok), "T");
    hd_tokenizer_close(&tok);
}

static void test_no_bos(void **state)
{
    (void)state;
    size_t count;
    hd_tokenizer *tok = open_with("{\"bos_token\":null,\"add_bos_token\":true}", NULL, NULL);
    assert_int_equal(hd_tokenizer_bos(tok), -1);
    assert_false(hd_tokenizer_adds_bos(tok)); /* there is none to add */
    assert_string_equal(hd_tokenizer_bos_text(tok), "");
    (void)hd_tokenizer_eos(tok, &count);
    assert_int_equal(count, 0);
    hd_tokenizer_close(&tok);
}

static void test_who_adds_bos(void **state)
{
    static const struct {
        const char *config;
        bool adds;
    } cases[] = {
        {"{\"bos_token\":\"<bos>\"}", false},
        {"{\"bos_token\":\"<bos>\",\"add_bos_token\":true}", true},
        {"{\"bos_token\":\"<bos>\",\"tokenizer_class\":\"LlamaTokenizerFast\"}", true},
        {"{\"bos_token\":\"<bos>\",\"tokenizer_class\":\"LlamaTokenizerFast\",\"add_bos_token\":false}", false},
        {"{\"bos_token\":\"<bos>\",\"tokenizer_class\":\"Qwen2Tokenizer\"}", false},
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_tokenizer *tok = open_with(cases[i].config, NULL, NULL);
        assert_int_equal(hd_tokenizer_adds_bos(tok), cases[i].adds);
        hd_tokenizer_close(&tok);
    }
    /* the post-processor's template says so, too */
    remove_all(NULL);
    put_seed("tokenizer.json", "good_llama3");
    put("tokenizer_config.json", "{\"bos_token\":\"<bos>\"}");
    hd_tokenizer *tok = open_at(folder);
    assert_true(hd_tokenizer_adds_bos(tok));
    hd_tokenizer_close(&tok);
}

static void test_templates(void **state)
{
    (void)state;
    hd_tokenizer *tok = open_with("{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"A\"},"
                                  "{\"name\":\"default\",\"template\":\"B\"}]}",
                                  NULL, NULL);
    assert_string_equal(hd_tokenizer_chat_template(tok), "B");
    hd_tokenizer_close(&tok);
    tok = open_with("{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"A\"}]}", NULL, NULL);
    assert_null(hd_tokenizer_chat_template(tok));
    hd_tokenizer_close(&tok);
    tok = open_with("{\"chat_template\":\"A\"}", NULL, "from the file");
    assert_string_equal(hd_tokenizer_chat_template(tok), "from the file");
    hd_tokenizer_close(&tok);
    tok = open_with(NULL, NULL, "");
    assert_string_equal(hd_tokenizer_chat_template(tok), "");
    hd_tokenizer_close(&tok);
}

/* ---- generation_config.json ---- */

static void test_ends(void **state)
{
    (void)state;
    size_t count;
    char json[200];
    hd_tokenizer *tok = open_with("{\"eos_token\":\"<eos>\"}", "{\"eos_token_id\":5}", NULL);
    const int32_t *eos = hd_tokenizer_eos(tok, &count);
    assert_int_equal(count, 2);
    assert_int_equal(eos[0], find(tok, "<eos>"));
    assert_int_equal(eos[1], 5);
    snprintf(json, sizeof json, "{\"eos_token_id\":[%d,7,7,-1,99999999,\"x\",8]}", eos[0]);
    hd_tokenizer_close(&tok);
    tok = open_with("{\"eos_token\":\"<eos>\"}", json, NULL);
    eos = hd_tokenizer_eos(tok, &count);
    assert_int_equal(count, 3); /* once each, and only ids that exist */
    assert_int_equal(eos[1], 7);
    assert_int_equal(eos[2], 8);
    hd_tokenizer_close(&tok);
}

/* ---- what a path names ---- */

static void test_paths(void **state)
{
    (void)state;
    hd_tokenizer *tok = open_with("{\"bos_token\":\"<bos>\",\"chat_template\":\"T\"}", NULL, NULL);
    hd_tokenizer_close(&tok);
    tok = open_at(in_folder("tokenizer.json"));
    assert_string_equal(hd_tokenizer_chat_template(tok), "T");
    hd_tokenizer_close(&tok);
    put("model.safetensors", "");
    tok = open_at(in_folder("model.safetensors"));
    assert_string_equal(hd_tokenizer_bos_text(tok), "<bos>");
    hd_tokenizer_close(&tok);
}

static void expect_error(const char *path, hd_status wanted, const char *says)
{
    hd_tokenizer *tok = NULL;
    hd_error err = {0};
    hd_status status = hd_tokenizer_open(&tok, path, &err);
    if (status != wanted || !strstr(err.text, says))
        fail_msg("status %d, \"%s\"; wanted \"%s\"", status, err.text, says);
    assert_null(tok);
}

static void test_missing(void **state)
{
    (void)state;
    remove_all(NULL);
    expect_error(in_folder("none.json"), HD_E_NOT_FOUND, "none.json: there is no such file or folder");
    put("other.json", "{}");
    expect_error(in_folder("other.json"), HD_E_FORMAT, "other.json: \"model\": must be an object");
    expect_error(folder, HD_E_NOT_FOUND, folder);
}

static void test_bad_settings(void **state)
{
    static const struct {
        const char *file, *text, *says;
    } cases[] = {
        {"tokenizer_config.json", "[]", "tokenizer_config.json: must be a JSON object"},
        {"tokenizer_config.json", "{", "tokenizer_config.json: not valid JSON"},
        {"tokenizer_config.json", "{\"bos_token\":3}", "tokenizer_config.json: \"bos_token\" must be a string"},
        {"tokenizer_config.json", "{\"bos_token\":{\"content\":3}}", "\"content\" must be a string"},
        {"tokenizer_config.json", "{\"eos_token\":[]}", "\"eos_token\" must be a string"},
        {"tokenizer_config.json", "{\"tokenizer_class\":1}", "\"tokenizer_class\" must be a string"},
        {"tokenizer_config.json", "{\"add_bos_token\":1}", "\"add_bos_token\" must be true or false"},
        {"tokenizer_config.json", "{\"chat_template\":1}", "\"chat_template\" must be a string"},
        {"tokenizer_config.json", "{\"chat_template\":[{\"name\":1}]}", "\"name\" must be a string"},
        {"tokenizer_config.json", "{\"chat_template\":\"a\\u0000b\"}", "holds a NUL character"},
        {"generation_config.json", "7", "generation_config.json: must be a JSON object"},
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        remove_all(NULL);
        put_seed("tokenizer.json", "good_plain");
        put(cases[i].file, cases[i].text);
        expect_error(folder, HD_E_FORMAT, cases[i].says);
    }
    remove_all(NULL);
    put_seed("tokenizer.json", "good_plain");
    put_bytes_in("chat_template.jinja", "a\0b", 3);
    expect_error(folder, HD_E_FORMAT, "holds a NUL character");
    assert_int_equal(truncate(in_folder("chat_template.jinja"), (1 << 20) + 1), 0);
    expect_error(folder, HD_E_LIMIT, "chat_template.jinja: 1048577 bytes");
}

static void test_allocation_failures(void **state)
{
    (void)state;
    hd_tokenizer *tok = open_with("{\"bos_token\":\"<bos>\",\"eos_token\":\"<eos>\",\"chat_template\":\"A\"}",
                                  "{\"eos_token_id\":5}", "B");
    hd_tokenizer_close(&tok);
    hd_status status = HD_E_MEMORY;
    for (uint64_t n = 1; status != HD_OK; n++) {
        hd_alloc_fail_after(n);
        status = hd_tokenizer_open(&tok, folder, NULL);
        hd_alloc_fail_after(0);
        if (status != HD_OK) assert_int_equal(status, HD_E_MEMORY);
    }
    assert_string_equal(hd_tokenizer_chat_template(tok), "B");
    hd_tokenizer_close(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_config, remove_all),
        cmocka_unit_test_teardown(test_no_bos, remove_all),
        cmocka_unit_test_teardown(test_who_adds_bos, remove_all),
        cmocka_unit_test_teardown(test_templates, remove_all),
        cmocka_unit_test_teardown(test_ends, remove_all),
        cmocka_unit_test_teardown(test_paths, remove_all),
        cmocka_unit_test_teardown(test_missing, remove_all),
        cmocka_unit_test_teardown(test_bad_settings, remove_all),
        cmocka_unit_test_teardown(test_allocation_failures, remove_all),
    };
    if (!mkdtemp(folder)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
