/* Which files a command may replace, and that it says before the work what it can't write. */
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

#include "cli/files.h"
#include "cli/output.h"

static char root[64];

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hadal-output-XXXXXX");
    return mkdtemp(root) && chdir(root) == 0 ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return chdir("/") == 0 && hd_tree_remove(root, NULL) == HD_OK ? 0 : -1;
}

/* A safetensors file with this header and a few bytes behind it. */
static void write_tensors(const char *path, const char *header)
{
    uint8_t bytes[512] = {0};
    size_t len = strlen(header);
    assert_true(len < 256);
    bytes[0] = (uint8_t)len;
    memcpy(bytes + 8, header, len);
    assert_int_equal(hd_file_write(path, bytes, 8 + len + 4, NULL), HD_OK);
}

#define TENSOR(name) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"

static void assert_check(const char *path, const char *input, hd_status wanted, const char *says)
{
    hd_error err = {0};
    const char *inputs[] = {NULL, input};
    hd_status status = hd_output_check("--logits", path, inputs, 2, &err);
    if (status != wanted) fail_msg("%s: %d %s", path, (int)status, err.text);
    if (says && !strstr(err.text, says)) fail_msg("'%s' lacks '%s'", err.text, says);
    if (says && !strstr(err.text, path)) fail_msg("'%s' lacks '%s'", err.text, path);
}

static void what_an_earlier_run_wrote_is_replaced(void **state)
{
    (void)state;
    assert_check("new", NULL, HD_OK, NULL);
    assert_int_not_equal(access("new", F_OK), 0); /* nothing stays */
    write_tensors("logits", "{" TENSOR("logits") "}  ");
    write_tensors("experts", "{" TENSOR("experts") "}");
    assert_int_equal(hd_file_write("empty", "", 0, NULL), HD_OK);
    assert_check("logits", "experts", HD_OK, NULL);
    assert_check("experts", NULL, HD_OK, NULL);
    assert_check("empty", NULL, HD_OK, NULL);
    assert_check("logits", "logits", HD_E_ARGUMENT, "is read by this very command");
    assert_check("./logits", "logits", HD_E_ARGUMENT, "is read by this very command");
}

static void what_others_made_is_not(void **state)
{
    (void)state;
    static const char *const headers[] = {"{" TENSOR("model.norm.weight") "}",
                                          "{" TENSOR("logits") "," TENSOR("other") "}",
                                          "{}",
                                          "[]",
                                          "{\"logits\":1}",
                                          "{",
                                          ""};
    for (size_t i = 0; i < HD_ARRAY_LEN(headers); i++) {
        write_tensors("theirs", headers[i]);
        assert_check("theirs", NULL, HD_E_ARGUMENT, "remove it first");
    }
    static const char *const texts[] = {"a", "GGUF\3\0\0\0", "\xff\xff\xff\xff\xff\xff\xff\xff{}", "a longer text"};
    for (size_t i = 0; i < HD_ARRAY_LEN(texts); i++) {
        assert_int_equal(hd_file_write("theirs", texts[i], strlen(texts[i]), NULL), HD_OK);
        assert_check("theirs", NULL, HD_E_ARGUMENT, "remove it first");
    }
}

static void what_is_no_file_is_not_replaced(void **state)
{
    (void)state;
    assert_int_equal(symlink("logits", "link"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(mkdir("folder", 0700), 0);
    assert_check("link", NULL, HD_E_ARGUMENT, "symbolic link");
    assert_check("dangling", NULL, HD_E_ARGUMENT, "symbolic link");
    assert_check("fifo", NULL, HD_E_ARGUMENT, "not a regular file");
    assert_check("folder", NULL, HD_E_ARGUMENT, "a folder");
    assert_check("none/x", NULL, HD_E_IO, "No such file");
    assert_check("empty/x", NULL, HD_E_IO, "Not a directory");
}

static void the_same_place(void **state)
{
    (void)state;
    assert_true(hd_output_same("a", "a"));
    assert_true(hd_output_same("a", "./a"));
    assert_true(hd_output_same("folder/a", "folder/../folder/a"));
    assert_false(hd_output_same("a", "b"));
    assert_false(hd_output_same("a", "folder/a"));
    assert_false(hd_output_same("none/a", "./a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_earlier_run_wrote_is_replaced),
        cmocka_unit_test(what_others_made_is_not),
        cmocka_unit_test(what_is_no_file_is_not_replaced),
        cmocka_unit_test(the_same_place),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
