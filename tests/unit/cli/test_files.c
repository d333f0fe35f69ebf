/* Paths that may and may not be written, folders, sizes, and how a name becomes a model's path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/models_dir.h"

static char root[64]; /* a folder of this test's own */

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hadal-files-XXXXXX");
    return mkdtemp(root) && chdir(root) == 0 ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return chdir("/") == 0 && hd_tree_remove(root, NULL) == HD_OK ? 0 : -1;
}

static void write_text(const char *path, const char *text)
{
    assert_int_equal(hd_dirs_make_above(path, NULL), HD_OK);
    assert_int_equal(hd_file_write(path, text, strlen(text), NULL), HD_OK);
}

static void test_safe_paths(void **state)
{
    (void)state;
    static const char *const good[] = {"a",   "a/b",      "a.b",      "a..b",
                                       "a b", "\xc3\xa9", "\xc2\xa0", "x-00001-of-00002.gguf"};
    static const char *const bad[] = {"",     "/a",     "a/",    "a//b",  ".",         "..",
                                      "../a", "a/../b", "a/./b", ".a",    "a/.b",      "a\\b",
                                      "a\nb", "a\x7f",  "\x01",  "..\\a", "\xc2\x9bm", "a/\xc2\x80"};
    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++)
        assert_true(hd_path_is_safe(good[i]));
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        assert_false(hd_path_is_safe(bad[i]));
    char lengthy[600];
    memset(lengthy, 'a', sizeof lengthy);
    lengthy[513] = '\0';
    assert_false(hd_path_is_safe(lengthy));
    lengthy[512] = '\0';
    assert_true(hd_path_is_safe(lengthy));
}

static void test_join_and_base(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *joined;
    } cases[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"a///", "b/c", "a/b/c"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char *joined = NULL;
        assert_int_equal(hd_path_join(&joined, cases[i].a, cases[i].b, NULL), HD_OK);
        assert_string_equal(joined, cases[i].joined);
        hd_free(joined);
    }
    assert_string_equal(hd_path_base("a/b"), "b");
    assert_string_equal(hd_path_base("b"), "b");
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0 bytes"},     {999, "999 bytes"},         {1000, "1.0 kB"},       {92871040, "92.9 MB"},
                 {999999, "1.0 MB"}, {688600000000, "688.6 GB"}, {UINT64_MAX, "18.4 EB"}};
    char text[HD_SIZE_TEXT];
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++)
        assert_string_equal(hd_size_text(text, cases[i].bytes), cases[i].text);
}

static void test_tree(void **state)
{
    (void)state;
    struct stat st;
    write_text("t/a/b/c", "text");
    write_text("outside/kept", "text");
    assert_int_equal(symlink("../outside", "t/link"), 0);
    assert_int_equal(hd_tree_remove("t", NULL), HD_OK);
    assert_int_not_equal(lstat("t", &st), 0);
    assert_int_equal(stat("outside/kept", &st), 0); /* links are not followed */
    assert_int_equal(hd_tree_remove("t", NULL), HD_OK);
    hd_error err = {0};
    assert_int_equal(hd_dirs_make("outside/kept/below", &err), HD_E_IO);
    assert_true(err.text[0]);
    assert_int_equal(hd_file_write("none/x", "", 0, &err), HD_E_IO);
}

static void assert_content(const char *path, const char *text)
{
    char content[64] = "";
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    content[fread(content, 1, sizeof content - 1, in)] = '\0';
    fclose(in);
    assert_string_equal(content, text);
}

/* Writing X leaves the files beside it alone, and follows no link. */
static void test_write(void **state)
{
    (void)state;
    struct stat st;
    write_text("w/x.new", "the user's");
    write_text("w/target", "old");
    assert_int_equal(symlink("target", "w/link"), 0);
    assert_int_equal(hd_file_write_private("w/x", "text", 4, NULL), HD_OK);
    assert_content("w/x", "text");
    assert_content("w/x.new", "the user's");
    assert_int_equal(stat("w/x", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(symlink("target", "w/y.new"), 0);
    assert_int_equal(hd_file_write("w/y", "text", 4, NULL), HD_OK);
    assert_int_equal(hd_file_write("w/link", "text", 4, NULL), HD_OK);
    assert_content("w/target", "old");
    assert_int_equal(lstat("w/link", &st), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void test_split_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t stem;
        int part, parts;
    } cases[] = {{"x.gguf", 1, 1, 1},
                 {"x-00002-of-00005.gguf", 1, 2, 5},
                 {"dir/x-00001-of-00002.gguf", 5, 1, 2},
                 {"-00001-of-00002.gguf", 15, 1, 1},
                 {"x-00006-of-00005.gguf", 16, 1, 1},
                 {"x-00000-of-00005.gguf", 16, 1, 1},
                 {"x-0000a-of-00005.gguf", 16, 1, 1},
                 {"x-00001-of-00002.safetensors", 28, 1, 1},
                 {"short", 5, 1, 1}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        int part, parts;
        assert_int_equal(hd_gguf_split_name(cases[i].name, &part, &parts), cases[i].stem);
        assert_int_equal(part, cases[i].part);
        assert_int_equal(parts, cases[i].parts);
    }
}

static void assert_resolves(const char *name, const char *expected)
{
    char *path = NULL;
    hd_error err = {0};
    hd_status status = hd_model_resolve_in("models", name, &path, &err);
    if (expected) {
        assert_int_equal(status, HD_OK);
        assert_string_equal(path, expected);
    } else {
        assert_int_equal(status, HD_E_NOT_FOUND);
        assert_null(path);
        assert_true(err.text[0]);
    }
    hd_free(path);
}

static void test_resolve(void **state)
{
    (void)state;
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    write_text("models/one/m-Q4.gguf", "");
    write_text("models/one/pulled.json", "{}");
    write_text("models/split/m-00001-of-00002.gguf", "");
    write_text("models/split/m-00002-of-00002.gguf", "");
    write_text("models/layout/config.json", "{}");
    write_text("models/layout/model.safetensors", "");
    write_text("models/several/a.gguf", "");
    write_text("models/several/b.gguf", "");
    write_text("models/flat.gguf", "");
    write_text("models/r1/x.gguf", "");
    write_text("here/x.gguf", "");
    assert_resolves("one", "models/one/m-Q4.gguf");
    assert_resolves("split", "models/split/m-00001-of-00002.gguf");
    assert_resolves("layout", "models/layout");
    assert_resolves("several", "models/several");
    assert_resolves("flat", "models/flat.gguf");
    assert_resolves("flat.gguf", "models/flat.gguf");
    assert_resolves("DeepSeek-R1", "models/r1/x.gguf"); /* another name of the catalogue's */
    assert_resolves("here/x.gguf", "here/x.gguf");
    assert_resolves("here", "here");
    assert_resolves("../here", NULL);
    assert_resolves("none", NULL);
}

static void test_not_found_says_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *name, *says;
    } cases[] = {{"v3", "run: hadal pull v3"},
                 {"deepseek-v3", "run: hadal pull v3"},
                 {"r1-distil-qwen-7b", "did you mean r1-distill-qwen-7b?"},
                 {"nothing like it at all", "hadal models"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char *path = NULL;
        hd_error err = {0};
        assert_int_equal(hd_model_resolve_in("models", cases[i].name, &path, &err), HD_E_NOT_FOUND);
        assert_non_null(strstr(err.text, cases[i].says));
    }
    char *path = NULL;
    assert_int_equal(hd_model_resolve("", &path, NULL), HD_E_ARGUMENT);
}

static void assert_models_dir(const char *flag, const char *expected)
{
    char *dir = NULL;
    assert_int_equal(hd_models_dir(&dir, flag, NULL), HD_OK);
    assert_string_equal(dir, expected);
    hd_free(dir);
}

static void test_models_dir(void **state)
{
    (void)state;
    setenv("HOME", "/home/x", 1);
    setenv("XDG_DATA_HOME", "relative", 1); /* the specification wants it ignored */
    unsetenv("HADAL_MODELS");
    assert_models_dir(NULL, "/home/x/.local/share/hadal/models");
    setenv("XDG_DATA_HOME", "/data", 1);
    assert_models_dir(NULL, "/data/hadal/models");
    setenv("HADAL_MODELS", "/models", 1);
    assert_models_dir(NULL, "/models");
    assert_models_dir("given", "given");
    unsetenv("HADAL_MODELS");
    unsetenv("XDG_DATA_HOME");
    unsetenv("HOME");
    char *dir = NULL;
    hd_error err = {0};
    assert_int_equal(hd_models_dir(&dir, NULL, &err), HD_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "HADAL_MODELS"));
    assert_null(strstr(err.text, "--models-dir")); /* most commands lack it */
    assert_null(dir);
}

static void assert_advice(const char *path, double temperature, double top_p)
{
    double t = -1, p = -1;
    hd_model_advice(path, &t, &p);
    assert_true(t == temperature && p == top_p);
}

static void test_advice(void **state)
{
    (void)state;
    write_text("advised/x.gguf", "");
    write_text("advised/pulled.json", "{\"sampling\": {\"temperature\": 0.25, \"top_p\": 1}}");
    assert_advice("advised/x.gguf", 0.25, 1);
    assert_advice("advised", 0.25, 1);
    write_text("advised/pulled.json", "{\"sampling\": {\"temperature\": -1, \"top_p\": 1.5}}");
    assert_advice("advised", -1, -1);
    write_text("advised/pulled.json", "{\"sampling\": {\"temperature\": \"hot\", \"top_p\": 0.5}}");
    assert_advice("advised", -1, 0.5);
    write_text("advised/pulled.json", "{\"sampling\": 3");
    assert_advice("advised", -1, -1);
    assert_advice("none/x.gguf", -1, -1);
    assert_advice("x.gguf", -1, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safe_paths), cmocka_unit_test(test_join_and_base),
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_tree),
        cmocka_unit_test(test_write),      cmocka_unit_test(test_split_names),
        cmocka_unit_test(test_resolve),    cmocka_unit_test(test_not_found_says_what_to_do),
        cmocka_unit_test(test_models_dir), cmocka_unit_test(test_advice),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
