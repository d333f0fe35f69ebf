/* Good safetensors headers and indexes, and the writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/formats_internal.h"
#include "unit/formats/good_safetensors.h"

static hd_buf bytes;
static char folder[64];

static int set_up(void **state)
{
    (void)state;
    hd_buf_init(&bytes, (size_t)64 << 20);
    snprintf(folder, sizeof folder, "/tmp/hadal-safetensors-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    hd_buf_free(&bytes);
    return rmdir(folder); /* fails when a test, or the writer, left something */
}

static hd_tensor_set parse_ok(void)
{
    hd_tensor_set set;
    hd_error err = {0};
    assert_int_equal(bytes.status, HD_OK);
    if (hd_safetensors_parse_header(&set, (const uint8_t *)bytes.data, bytes.len, &err) != HD_OK)
        fail_msg("%s", err.text);
    return set;
}

static void every_dtype(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        hd_type type;
        int dims;
        int64_t shape[4];
        size_t at, bytes;
    } wanted[] = {
        {"z.f64", HD_TYPE_F64, 1, {1, 1, 1, 1}, 0, 8},     {"i64", HD_TYPE_I64, 1, {1, 1, 1, 1}, 8, 8},
        {"f32", HD_TYPE_F32, 2, {2, 1, 1, 1}, 16, 8},      {"none", HD_TYPE_F32, 3, {0, 4, 4, 1}, 24, 0},
        {"i32", HD_TYPE_I32, 1, {1, 1, 1, 1}, 24, 4},      {"f16", HD_TYPE_F16, 1, {2, 1, 1, 1}, 28, 4},
        {"bf16", HD_TYPE_BF16, 2, {2, 3, 1, 1}, 32, 12},   {"i16", HD_TYPE_I16, 1, {1, 1, 1, 1}, 44, 2},
        {"e4m3", HD_TYPE_F8_E4M3, 1, {3, 1, 1, 1}, 46, 3}, {"e5m2", HD_TYPE_F8_E5M2, 1, {1, 1, 1, 1}, 49, 1},
        {"e8m0", HD_TYPE_F8_E8M0, 1, {1, 1, 1, 1}, 50, 1}, {"i8", HD_TYPE_I8, 1, {1, 1, 1, 1}, 51, 1},
        {"u8", HD_TYPE_U8, 1, {2, 1, 1, 1}, 52, 2},        {"bool", HD_TYPE_U8, 3, {1, 1, 2, 1}, 54, 2},
        {"scalar", HD_TYPE_U8, 0, {1, 1, 1, 1}, 56, 1},    {"none.at.end", HD_TYPE_F32, 1, {0, 1, 1, 1}, 57, 0},
    };
    put_every_dtype(&bytes);
    hd_tensor_set set = parse_ok();
    assert_int_equal(set.count, HD_ARRAY_LEN(wanted));
    for (size_t i = 0; i < set.count; i++) { /* in the order of their bytes, not of the header */
        const hd_tensor *t = &set.tensors[i];
        assert_string_equal(t->name, wanted[i].name);
        assert_int_equal(t->type, wanted[i].type);
        assert_int_equal(t->dims, wanted[i].dims);
        assert_memory_equal(t->shape, wanted[i].shape, sizeof t->shape);
        assert_int_equal(t->bytes, wanted[i].bytes);
        assert_ptr_equal(t->data, bytes.data + bytes.len - 57 + wanted[i].at);
    }
    hd_tensor_set_free(&set);
}

static void no_tensors(void **state)
{
    (void)state;
    put_no_tensors(&bytes);
    hd_tensor_set set = parse_ok();
    assert_int_equal(set.count, 0);
    hd_tensor_set_free(&set);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    put_every_dtype(&bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        hd_tensor_set set;
        uint8_t *part = hd_alloc(len);
        memcpy(part, bytes.data, len);
        assert_int_equal(hd_safetensors_parse_header(&set, part, len, NULL), HD_E_FORMAT);
        hd_free(part);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    put_every_dtype(&bytes);
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    for (n = 1; status != HD_OK && n < 100; n++) {
        hd_tensor_set set;
        hd_alloc_fail_after(n);
        status = hd_safetensors_parse_header(&set, (const uint8_t *)bytes.data, bytes.len, NULL);
        hd_alloc_fail_after(0);
        if (status == HD_OK)
            hd_tensor_set_free(&set);
        else
            assert_int_equal(status, HD_E_MEMORY);
    }
    assert_true(n > 2 && n < 100);
}

/* ---- index ---- */

static void good_index(void **state)
{
    (void)state;
    hd_index index;
    hd_error err = {0};
    put_good_index(&bytes);
    if (hd_index_parse(&index, bytes.data, bytes.len, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(index.count, 3);
    assert_int_equal(index.file_count, 2);
    for (size_t i = 0; i < 3; i++) {
        static const char *const file[3] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                            "model-00002-of-00002.safetensors"};
        static const char *const name[3] = {"a", "b", "c"};
        const hd_name_entry *found = hd_names_find(&index.names, name[i], 1);
        assert_non_null(found);
        assert_string_equal(index.entries[found->item].name, name[i]);
        assert_string_equal(index.files[index.entries[found->item].file], file[i]);
    }
    assert_null(hd_names_find(&index.names, "d", 1));
    hd_index_free(&index);
}

static void every_allocation_of_an_index_may_fail(void **state)
{
    (void)state;
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    put_good_index(&bytes);
    for (n = 1; status != HD_OK && n < 100; n++) {
        hd_index index;
        hd_alloc_fail_after(n);
        status = hd_index_parse(&index, bytes.data, bytes.len, NULL);
        hd_alloc_fail_after(0);
        if (status == HD_OK)
            hd_index_free(&index);
        else
            assert_int_equal(status, HD_E_MEMORY);
    }
    assert_true(n > 3 && n < 100);
}

/* DeepSeek-V3's: 92,000 tensors in 163 files. */
static void a_large_index_is_quick(void **state)
{
    (void)state;
    (void)hd_buf_puts(&bytes, "{\"metadata\":{},\"weight_map\":{");
    for (int i = 0; i < 92000; i++)
        (void)hd_buf_printf(
            &bytes,
            "%s\"model.layers.%d.mlp.experts.%d.down_proj.weight_scale_inv\":\"model-%05d-of-00163.safetensors\"",
            i ? "," : "", i % 61, i / 61, 1 + i * 163 / 92000);
    (void)hd_buf_puts(&bytes, "}}");
    hd_index index;
    hd_error err = {0};
    clock_t start = clock(); /* of this process, so that a busy machine does not count */
    if (hd_index_parse(&index, bytes.data, bytes.len, &err) != HD_OK) fail_msg("%s", err.text);
    uint64_t ms = (uint64_t)(clock() - start) * 1000 / CLOCKS_PER_SEC;
    print_message("%zu bytes parsed in %llu ms\n", bytes.len, (unsigned long long)ms);
    assert_true(ms < 10000);
    assert_int_equal(index.count, 92000);
    assert_int_equal(index.file_count, 163);
    hd_index_free(&index);
}

/* ---- writer ---- */

static const float f32[6] = {1, 2, 3, 4, 5, 6};
static const int32_t i32[2] = {-1, 7};
static const uint8_t u8[3] = {9, 8, 7};
static const double f64[1] = {0.5};

static const hd_tensor written[] = {
    {.name = "bytes", .type = HD_TYPE_U8, .dims = 1, .shape = {3, 1, 1, 1}, .data = u8, .bytes = 3},
    {.name = "logits", .type = HD_TYPE_F32, .dims = 2, .shape = {2, 3, 1, 1}, .data = f32, .bytes = 24},
    {.name = "quote\"and\\slash", .type = HD_TYPE_I32, .dims = 1, .shape = {2, 1, 1, 1}, .data = i32, .bytes = 8},
    {.name = "double", .type = HD_TYPE_F64, .dims = 0, .shape = {1, 1, 1, 1}, .data = f64, .bytes = 8},
    {.name = "nothing", .type = HD_TYPE_BF16, .dims = 2, .shape = {0, 7, 1, 1}, .data = NULL, .bytes = 0},
};

static void in_folder(char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", folder, name);
}

static size_t files_in_folder(void)
{
    size_t n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    char path[128];
    in_folder(path, "out.safetensors");
    hd_error err = {0};
    for (int again = 0; again < 2; again++) { /* the second time over the first */
        if (hd_safetensors_write(path, written, HD_ARRAY_LEN(written), &err) != HD_OK) fail_msg("%s", err.text);
        assert_int_equal(files_in_folder(), 1);
    }
    hd_checkpoint *ckpt = NULL;
    if (hd_checkpoint_open(&ckpt, path, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(hd_checkpoint_tensor_count(ckpt), HD_ARRAY_LEN(written));
    for (size_t i = 0; i < HD_ARRAY_LEN(written); i++) {
        const hd_tensor *w = &written[i], *t = hd_checkpoint_find(ckpt, w->name);
        assert_non_null(t);
        assert_int_equal(t->type, w->type);
        assert_int_equal(t->dims, w->dims);
        assert_memory_equal(t->shape, w->shape, sizeof t->shape);
        assert_int_equal(t->bytes, w->bytes);
        if (w->bytes) assert_memory_equal(t->data, w->data, w->bytes);
        assert_int_equal((uintptr_t)t->data % (uintptr_t)hd_type_block_bytes(t->type), 0);
    }
    hd_checkpoint_close(&ckpt);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
    unlink(path);
}

static void refuse(const hd_tensor *tensors, size_t count, hd_status status, const char *words)
{
    char path[128];
    hd_error err = {0};
    in_folder(path, "bad.safetensors");
    assert_int_equal(hd_safetensors_write(path, tensors, count, &err), status);
    if (!strstr(err.text, words)) fail_msg("\"%s\" should contain \"%s\"", err.text, words);
    assert_int_equal(files_in_folder(), 0);
}

static void bad_tensors_are_not_written(void **state)
{
    (void)state;
    hd_tensor t = written[1];
    t.type = HD_TYPE_Q4_0;
    refuse(&t, 1, HD_E_UNSUPPORTED, "safetensors has no type Q4_0");
    t = written[1];
    t.bytes--;
    refuse(&t, 1, HD_E_ARGUMENT, "has 23 bytes, but its shape needs 24");
    t = written[1];
    t.shape[0] = t.shape[1] = (int64_t)1 << 40;
    refuse(&t, 1, HD_E_ARGUMENT, "overflows");
    t = written[1];
    t.name = "__metadata__";
    refuse(&t, 1, HD_E_ARGUMENT, "'__metadata__' can't be the name");
    t.name = "";
    refuse(&t, 1, HD_E_ARGUMENT, "can't be the name");
    const hd_tensor twice[2] = {written[1], written[1]};
    refuse(twice, 2, HD_E_ARGUMENT, "two tensors have the name 'logits'");
}

/* A disk that fills up: the old file stays as it was, and no temporary is left. */
static void a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    char path[128];
    hd_error err = {0};
    in_folder(path, "out.safetensors");
    assert_int_equal(hd_safetensors_write(path, written, 1, NULL), HD_OK);
    struct stat before, after;
    assert_int_equal(stat(path, &before), 0);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 100, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    hd_status status = hd_safetensors_write(path, written, HD_ARRAY_LEN(written), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, HD_E_IO);
    assert_non_null(strstr(err.text, "cannot write"));
    assert_int_equal(stat(path, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_size == after.st_size);
    assert_int_equal(files_in_folder(), 1);
    unlink(path);
}

static void no_folder_to_write_to(void **state)
{
    (void)state;
    char path[128];
    hd_error err = {0};
    in_folder(path, "absent/out.safetensors");
    assert_int_equal(hd_safetensors_write(path, written, 1, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "cannot create"));
    assert_int_equal(hd_safetensors_write(folder, written, 1, &err), HD_E_IO); /* a folder in the way */
    char temp[128];
    snprintf(temp, sizeof temp, "%s.%ld-0.tmp", folder, (long)getpid());
    assert_int_not_equal(access(temp, F_OK), 0);
}

static void what_is_no_regular_file_stays(void **state)
{
    (void)state;
    char path[128];
    struct stat st;
    hd_error err = {0};
    in_folder(path, "link");
    assert_int_equal(symlink("target", path), 0);
    assert_int_equal(hd_safetensors_write(path, written, 1, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(hd_safetensors_write(path, written, 1, &err), HD_E_IO);
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    unlink(path);
    assert_int_equal(files_in_folder(), 0);
}

static void a_stale_temporary_is_stepped_around(void **state)
{
    (void)state;
    char path[128], temp[160];
    in_folder(path, "out.safetensors");
    snprintf(temp, sizeof temp, "%s.%ld-0.tmp", path, (long)getpid());
    FILE *f = fopen(temp, "wb");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(hd_safetensors_write(path, written, 1, NULL), HD_OK);
    assert_int_equal(files_in_folder(), 2);
    unlink(temp);
    unlink(path);
}

static void every_allocation_of_the_writer_may_fail(void **state)
{
    (void)state;
    char path[128];
    in_folder(path, "out.safetensors");
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    for (n = 1; status != HD_OK && n < 100; n++) {
        hd_alloc_fail_after(n);
        status = hd_safetensors_write(path, written, HD_ARRAY_LEN(written), NULL);
        hd_alloc_fail_after(0);
        if (status != HD_OK) assert_int_equal(status, HD_E_MEMORY);
        assert_int_equal(files_in_folder(), status == HD_OK);
    }
    assert_true(n > 2 && n < 100);
    unlink(path);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_dtype),
        TEST(no_tensors),
        TEST(every_cut_is_refused),
        TEST(every_allocation_may_fail),
        TEST(good_index),
        TEST(every_allocation_of_an_index_may_fail),
        TEST(a_large_index_is_quick),
        TEST(what_is_written_reads_back),
        TEST(bad_tensors_are_not_written),
        TEST(a_failed_write_leaves_the_old_file),
        TEST(no_folder_to_write_to),
        TEST(what_is_no_regular_file_stays),
        TEST(a_stale_temporary_is_stepped_around),
        TEST(every_allocation_of_the_writer_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
