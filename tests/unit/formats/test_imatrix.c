/* test_imatrix.c: formats/imatrix.h: both layouts are read, and what is written is read back.  Bad files are in
 * test_bad_files.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/imatrix.h"
#include "unit/formats/good_imatrix.h"

static char folder[] = "/tmp/hadal-imatrix-XXXXXX", path[96], part[128];

static hd_imatrix *parse(void (*build)(hd_buf *b))
{
    hd_buf b;
    hd_imatrix *m;
    hd_error err;
    hd_buf_init(&b, 1 << 16);
    build(&b);
    if (hd_imatrix_parse(&m, (const uint8_t *)b.data, b.len, &err) != HD_OK) fail_msg("%s", err.text);
    hd_buf_free(&b);
    return m;
}

static const hd_imatrix_entry *entry(const hd_imatrix *m, const char *name, size_t rows, size_t cols)
{
    const hd_imatrix_entry *e = hd_imatrix_find(m, name);
    assert_non_null(e);
    assert_true(e->rows == rows && e->cols == cols);
    return e;
}

static void check_good(const hd_imatrix *m)
{
    assert_int_equal(m->count, 2);
    assert_int_equal(m->dataset_count, 2);
    assert_string_equal(m->datasets[0], "first.txt");
    assert_string_equal(m->datasets[1], "second.txt");
    assert_int_equal(m->chunk_count, 7);
    assert_int_equal(m->chunk_size, 512);
    const hd_imatrix_entry *e = entry(m, "blk.1.ffn_up_exps.weight", 2, 3);
    assert_true(e->sums[2] == 3 && e->sums[3] == 0 && e->counts[0] == 4 && e->counts[1] == 0);
    e = entry(m, "blk.0.attn_q.weight", 1, 4);
    assert_true(e->sums[0] == 5 && e->sums[3] == 8 && e->counts[0] == 2);
    assert_null(hd_imatrix_find(m, "something.else"));
}

static void test_gguf(void **state)
{
    (void)state;
    hd_imatrix *m = parse(put_good_imatrix);
    check_good(m);
    hd_imatrix_close(&m);
    assert_null(m);
    hd_imatrix_close(&m);
}

static void test_the_older_layout(void **state)
{
    (void)state;
    hd_imatrix *m = parse(put_old_imatrix);
    assert_int_equal(m->chunk_count, 3);
    assert_int_equal(m->dataset_count, 1);
    assert_string_equal(m->datasets[0], "text.txt");
    const hd_imatrix_entry *e = entry(m, "blk.0.attn_q.weight", 1, 4);
    assert_true(e->sums[1] == 6 && e->counts[0] == 3);
    e = entry(m, "blk.0.ffn_up.weight", 1, 6);
    assert_true(e->sums[5] == 10 && e->counts[0] == 1); /* no windows: the values are means */
    hd_imatrix_close(&m);
    m = parse(put_old_imatrix_short);
    assert_true(m->count == 1 && m->chunk_count == 0 && m->dataset_count == 0);
    hd_imatrix_close(&m);
}

static void test_written_and_read_back(void **state)
{
    (void)state;
    hd_error err;
    hd_imatrix *m = parse(put_good_imatrix), *back;
    if (hd_imatrix_write(m, path, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_not_equal(access(part, F_OK), 0);
    if (hd_imatrix_read(&back, path, &err) != HD_OK) fail_msg("%s", err.text);
    check_good(back);
    hd_imatrix_close(&back);
    /* what is there is not replaced */
    assert_int_equal(hd_imatrix_write(m, path, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "is there already"));
    /* nor does a part of other numbers, of the same names and sizes, come into the new file */
    assert_int_equal(rename(path, part), 0);
    m->entries[0]->sums[0] = 17;
    assert_int_equal(hd_imatrix_write(m, path, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "of another importance matrix"));
    unlink(part);
    assert_int_equal(hd_imatrix_write(m, path, &err), HD_OK);
    unlink(path);
    assert_int_equal(hd_imatrix_read(&back, path, &err), HD_E_NOT_FOUND);
    assert_null(back);
    hd_imatrix_close(&m);
}

static void test_limits(void **state)
{
    (void)state;
    hd_error err;
    hd_imatrix *m;
    hd_imatrix_entry *e;
    assert_int_equal(hd_imatrix_open(&m, NULL), HD_OK);
    assert_int_equal(hd_imatrix_add(m, "a", SIZE_MAX / 2, 3, &e, &err), HD_E_LIMIT);
    assert_int_equal(hd_imatrix_add(m, "a", 1, HD_IMATRIX_VALUES_MAX + 1, &e, &err), HD_E_LIMIT);
    assert_null(e);
    hd_alloc_fail_after(1);
    assert_int_equal(hd_imatrix_add(m, "a", 1, 3, &e, &err), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    assert_int_equal(hd_imatrix_add(m, "b", 1, 3, &e, &err), HD_OK);
    assert_int_equal(hd_imatrix_add(m, "a", 1, 3, &e, &err), HD_OK);
    assert_int_equal(hd_imatrix_sort(m, &err), HD_OK);
    assert_ptr_equal(hd_imatrix_find(m, "a"), e); /* entries stay where they are */
    assert_int_equal(hd_imatrix_add(m, "b", 1, 3, &e, &err), HD_OK);
    assert_int_equal(hd_imatrix_sort(m, &err), HD_E_FORMAT);
    hd_imatrix_close(&m);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/x.gguf", folder);
    snprintf(part, sizeof part, "%s.part", path);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(part);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_the_older_layout),
        cmocka_unit_test(test_written_and_read_back),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
