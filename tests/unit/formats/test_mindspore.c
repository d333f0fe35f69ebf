/* MindSpore checkpoints: good ones, and the writer: what it writes is read, lies aligned, and goes on when killed. */
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

#include "formats/formats_internal.h"
#include "unit/formats/good_mindspore.h"
#include "unit/formats/open_bytes.h"

static hd_buf bytes;
static char folder[64], path[96], part[128];

static int set_up(void **state)
{
    (void)state;
    hd_buf_init(&bytes, (size_t)64 << 20);
    snprintf(folder, sizeof folder, "/tmp/hadal-mindspore-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/x.ckpt", folder);
    snprintf(part, sizeof part, "%s.part", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hd_buf_free(&bytes);
    unlink(path);
    unlink(part);
    return rmdir(folder);
}

static hd_status parse(hd_tensor_set *set, size_t size, hd_error *err)
{
    return hd_mindspore_parse(set, (const uint8_t *)bytes.data, size, err);
}

static hd_tensor_set parse_ok(void)
{
    hd_tensor_set set;
    hd_error err = {0};
    assert_int_equal(bytes.status, HD_OK);
    if (parse(&set, bytes.len, &err) != HD_OK) fail_msg("%s", err.text);
    return set;
}

static const hd_tensor *named(const hd_tensor_set *set, const char *name)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->tensors[i].name, name) == 0) return &set->tensors[i];
    fail_msg("no tensor '%s'", name);
    return NULL;
}

static void check(const hd_tensor_set *set, const char *name, hd_type type, int dims, int64_t rows, int64_t cols,
                  size_t size)
{
    const hd_tensor *t = named(set, name);
    assert_int_equal(t->type, type);
    assert_int_equal(t->dims, dims);
    assert_int_equal(t->shape[0], rows);
    assert_int_equal(t->shape[1], cols);
    assert_int_equal(t->shape[3], 1);
    assert_int_equal(t->bytes, size);
    assert_int_equal((uintptr_t)t->data % (uintptr_t)hd_type_block_bytes(type), 0);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(((const uint8_t *)t->data)[i], i);
}

/* ---- the reader ---- */

static void every_type(void **state)
{
    (void)state;
    put_every_mindspore_type(&bytes);
    hd_tensor_set set = parse_ok();
    assert_int_equal(set.count, 15);
    assert_string_equal(set.tensors[0].name, "f32");
    check(&set, "f32", HD_TYPE_F32, 2, 2, 1, 8);
    check(&set, "f16", HD_TYPE_F16, 1, 2, 1, 4);
    check(&set, "bf16", HD_TYPE_BF16, 2, 2, 3, 12);
    check(&set, "f64", HD_TYPE_F64, 1, 1, 1, 8);
    check(&set, "i64", HD_TYPE_I64, 1, 1, 1, 8);
    check(&set, "i32", HD_TYPE_I32, 2, 1, 1, 4);
    check(&set, "i16", HD_TYPE_I16, 1, 1, 1, 2);
    check(&set, "i8", HD_TYPE_I8, 1, 3, 1, 3);
    check(&set, "u8", HD_TYPE_U8, 1, 1, 1, 1);
    check(&set, "bool", HD_TYPE_U8, 1, 2, 1, 2);
    check(&set, "scalar", HD_TYPE_F32, 0, 1, 1, 4);
    check(&set, "scalar of old", HD_TYPE_F32, 0, 1, 1, 4);
    check(&set, "none", HD_TYPE_F32, 2, 0, 4, 0);
    check(&set, "none.at.end", HD_TYPE_F32, 1, 0, 1, 0);
    const hd_tensor *odd = named(&set, "odd");
    assert_int_equal(odd->dims, 2);
    assert_int_equal(odd->shape[0], 2);
    assert_int_equal(odd->shape[1], 1);
    assert_memory_equal(odd->data, "abcdefgh", 8);
    hd_tensor_set_free(&set);
}

static void slices_are_joined(void **state)
{
    (void)state;
    put_mindspore_slices(&bytes);
    hd_tensor_set set = parse_ok();
    assert_int_equal(set.count, 3);
    check(&set, "cut", HD_TYPE_F32, 2, 4, 3, 48);
    check(&set, "cuts", HD_TYPE_U8, 1, 2, 1, 2);
    assert_int_equal(set.copied_bytes, 64); /* of one tensor, a whole line */
    hd_tensor_set_free(&set);
}

/* A file cut where a value ends is a whole file of fewer tensors; anywhere else it is refused. */
static void every_cut_is_noticed(void **state)
{
    (void)state;
    size_t whole = 0;
    put_every_mindspore_type(&bytes);
    put_mindspore_slices(&bytes);
    size_t len = bytes.len;
    for (size_t n = 0; n < len; n++) {
        hd_tensor_set set;
        hd_error err = {0};
        uint8_t *cut = hd_alloc(n); /* of just that size: sanitizers watch its end */
        if (n) memcpy(cut, bytes.data, n);
        hd_status status = hd_mindspore_parse(&set, cut, n, &err);
        if (status == HD_OK) {
            whole++;
            for (size_t i = 0; i < set.count; i++)
                assert_true(set.tensors[i].bytes == 0 || set.tensors[i].data);
            hd_tensor_set_free(&set);
        } else {
            assert_int_equal(status, HD_E_FORMAT);
            assert_null(set.tensors);
        }
        hd_free(cut);
    }
    assert_int_equal(whole, 17 + 3); /* behind each field of the first file; not within the tensor of three slices */
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    put_mindspore_slices(&bytes);
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    for (n = 1; status != HD_OK && n < 100; n++) {
        hd_tensor_set set;
        hd_alloc_fail_after(n);
        status = parse(&set, bytes.len, NULL);
        hd_alloc_fail_after(0);
        if (status == HD_OK)
            hd_tensor_set_free(&set);
        else
            assert_int_equal(status, HD_E_MEMORY);
    }
    assert_true(n > 4 && n < 100);
}

/* Without a name that tells, by what it begins with. */
static void a_file_is_known_by_its_first_bytes(void **state)
{
    (void)state;
    hd_checkpoint *c;
    hd_error err = {0};
    put_every_mindspore_type(&bytes);
    if (open_bytes(&c, bytes.data, bytes.len, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(hd_checkpoint_format(c), HD_FORMAT_SAFETENSORS);
    assert_string_equal(hd_checkpoint_files(c), "MindSpore");
    assert_int_equal(hd_checkpoint_tensor_count(c), 15);
    assert_non_null(hd_checkpoint_find(c, "none.at.end"));
    hd_checkpoint_close(&c);
    static const char text[] = "\n\nA text that begins with an empty line";
    assert_int_equal(open_bytes(&c, text, sizeof text, &err), HD_E_FORMAT);
    assert_non_null(strstr(err.text, "nor a checkpoint of PyTorch or MindSpore"));
}

/* ---- the writer ---- */

static uint8_t numbers[4096];
static const hd_tensor tensors[] = {
    {.name = "model.embed_tokens.weight", .type = HD_TYPE_BF16, .dims = 2, .shape = {33, 7, 1, 1}, .bytes = 462},
    {.name = "scalar", .type = HD_TYPE_F64, .dims = 0, .shape = {1, 1, 1, 1}, .bytes = 8},
    {.name = "none", .type = HD_TYPE_F32, .dims = 2, .shape = {0, 3, 1, 1}, .bytes = 0},
    {.name = "none either", .type = HD_TYPE_I8, .dims = 1, .shape = {0, 1, 1, 1}, .bytes = 0},
    {.name = "a", .type = HD_TYPE_U8, .dims = 1, .shape = {1, 1, 1, 1}, .bytes = 1},
    {.name = "four", .type = HD_TYPE_F32, .dims = 4, .shape = {2, 3, 5, 7}, .bytes = 840},
    {.name = "lines", .type = HD_TYPE_I32, .dims = 1, .shape = {32, 1, 1, 1}, .bytes = 128},
    {.name = "last", .type = HD_TYPE_F16, .dims = 1, .shape = {3, 1, 1, 1}, .bytes = 6},
};
#define TENSORS (sizeof tensors / sizeof tensors[0])

/* The bytes of tensor i. */
static const uint8_t *content(size_t i)
{
    return numbers + 7 * i;
}

static hd_file_writer *begin(uint64_t slice)
{
    hd_file_layout layout;
    hd_file_writer *w = NULL;
    hd_error err = {0};
    for (size_t i = 0; i < sizeof numbers; i++)
        numbers[i] = (uint8_t)(i * 31 + i / 256);
    unlink(path);
    assert_int_equal(hd_file_layout_init(&layout, TENSORS, &err), HD_OK);
    hd_status status = hd_mindspore_layout(&layout, tensors, TENSORS, slice, &err);
    if (status == HD_OK) status = hd_file_writer_new(&w, &layout, path, false, &err);
    if (status != HD_OK) fail_msg("%s", err.text);
    hd_file_layout_free(&layout);
    return w;
}

static void write_rest(hd_file_writer *w, size_t piece)
{
    while (hd_file_writer_next(w) < TENSORS) {
        size_t i = hd_file_writer_next(w), at = 0;
        do {
            size_t n = tensors[i].bytes - at < piece ? tensors[i].bytes - at : piece;
            assert_int_equal(hd_file_writer_put(w, content(i) + at, n, NULL), HD_OK);
            at += n;
        } while (at < tensors[i].bytes);
    }
}

static void read_file(void)
{
    FILE *f = fopen(path, "rb");
    char piece[4096];
    assert_non_null(f);
    hd_buf_clear(&bytes);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        (void)hd_buf_append(&bytes, piece, n);
    fclose(f);
}

static void write_whole(uint64_t slice, size_t piece)
{
    hd_file_writer *w = begin(slice);
    write_rest(w, piece);
    for (size_t i = 0; i < TENSORS; i++) {
        assert_true(hd_file_writer_has(w, i, content(i), tensors[i].bytes));
        if (tensors[i].bytes) assert_false(hd_file_writer_has(w, i, content(i) + 1, tensors[i].bytes));
        assert_false(hd_file_writer_has(w, i, content(i), tensors[i].bytes + 1));
    }
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
    uint64_t size = hd_file_writer_size(w);
    assert_int_equal(hd_file_writer_written(w), size);
    hd_file_writer_close(&w);
    read_file();
    assert_int_equal(bytes.len, size);
}

static void check_contents(const hd_tensor_set *set)
{
    assert_int_equal(set->count, TENSORS);
    for (size_t i = 0; i < TENSORS; i++) {
        const hd_tensor *t = &set->tensors[i];
        assert_string_equal(t->name, tensors[i].name);
        assert_int_equal(t->type, tensors[i].type);
        assert_int_equal(t->dims, tensors[i].dims);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof t->shape);
        assert_int_equal(t->bytes, tensors[i].bytes);
        if (t->bytes) assert_memory_equal(t->data, content(i), t->bytes);
    }
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    write_whole(HD_MINDSPORE_SLICE, 13);
    hd_tensor_set set = parse_ok();
    check_contents(&set);
    for (size_t i = 0; i < TENSORS; i++) /* all at multiples of 64, so that a mapped file is used as it is */
        if (set.tensors[i].bytes)
            assert_int_equal(((const char *)set.tensors[i].data - bytes.data) % HD_CACHE_LINE, 0);
    hd_tensor_set_free(&set);
    write_whole(HD_MINDSPORE_SLICE, 4096);
}

static void large_tensors_are_cut(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 1000; piece = piece * 3 + 1) {
        write_whole(64, piece);
        hd_tensor_set set = parse_ok();
        check_contents(&set);
        assert_int_equal(set.copied_bytes, 512 + 896 + 128); /* of the three that need more than a slice */
        hd_tensor_set_free(&set);
    }
}

/* Names and shapes of any length: the filler always finds the begin of a line. */
static void every_content_is_aligned(void **state)
{
    (void)state;
    char name[HD_TENSOR_NAME_MAX + 1];
    memset(name, 'n', sizeof name);
    for (int64_t size = 1; size < (int64_t)1 << 36; size = size * 5 + 3) {
        for (size_t len = 1; len <= HD_TENSOR_NAME_MAX; len += len < 140 ? 1 : 31) {
            name[len] = '\0';
            hd_tensor t = {.name = name, .type = HD_TYPE_I8, .dims = 1, .shape = {size, 1, 1, 1}};
            hd_file_layout layout;
            assert_int_equal(hd_file_layout_init(&layout, 1, NULL), HD_OK);
            assert_int_equal(hd_mindspore_layout(&layout, &t, 1, HD_MINDSPORE_SLICE, NULL), HD_OK);
            assert_int_equal(layout.header.len % HD_CACHE_LINE, 0);
            for (size_t i = 0; i < layout.insert_count; i++)
                assert_int_equal((layout.header.len + layout.inserts[i].at + layout.inserts[i].len) % HD_CACHE_LINE, 0);
            hd_file_layout_free(&layout);
            name[len] = 'n';
        }
    }
}

/* Killed after any number of bytes, a run goes on to the same file. */
static void a_killed_run_goes_on(void **state)
{
    (void)state;
    hd_buf whole;
    write_whole(128, 4096);
    hd_buf_init(&whole, 1 << 20);
    assert_int_equal(hd_buf_append(&whole, bytes.data, bytes.len), HD_OK);
    for (size_t cut = 0; cut <= whole.len; cut++) {
        FILE *f = fopen(part, "wb");
        assert_int_equal(fwrite(whole.data, 1, cut, f), cut);
        fclose(f);
        hd_file_writer *w = begin(128);
        write_rest(w, 100);
        assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
        hd_file_writer_close(&w);
        read_file();
        assert_int_equal(bytes.len, whole.len);
        assert_memory_equal(bytes.data, whole.data, whole.len);
    }
    hd_buf_free(&whole);
}

/* A part of the same begin and other headings behind it was not begun by this run. */
static void another_runs_part_stays(void **state)
{
    (void)state;
    hd_file_writer *w;
    hd_error err = {0};
    hd_tensor others[TENSORS];
    memcpy(others, tensors, sizeof others);
    others[6].name = "other";
    w = begin(HD_MINDSPORE_SLICE);
    write_rest(w, 4096);
    hd_file_writer_close(&w);
    assert_int_equal(hd_mindspore_writer_open(&w, path, others, TENSORS, false, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "is in the way"));
    assert_int_equal(hd_mindspore_writer_open(&w, path, tensors + 1, TENSORS - 1, false, &err), HD_E_IO);
    assert_int_equal(hd_mindspore_writer_open(&w, path, tensors, TENSORS, false, &err), HD_OK);
    assert_int_equal(hd_file_writer_finish(w, &err), HD_OK);
    hd_file_writer_close(&w);
    assert_int_equal(hd_mindspore_writer_open(&w, path, others, TENSORS, true, &err), HD_E_IO);
    assert_int_equal(hd_mindspore_writer_open(&w, path, tensors, TENSORS, true, &err), HD_OK);
    assert_int_equal(hd_file_writer_next(w), TENSORS);
    hd_file_writer_close(&w);
}

static void refuse(const hd_tensor *list, size_t count, hd_status status, const char *words)
{
    hd_file_writer *w;
    hd_error err = {0};
    assert_int_equal(hd_mindspore_writer_open(&w, path, list, count, false, &err), status);
    assert_null(w);
    if (!strstr(err.text, words)) fail_msg("\"%s\" should contain \"%s\"", err.text, words);
    assert_int_not_equal(access(part, F_OK), 0);
}

static void what_cannot_be_written(void **state)
{
    (void)state;
    hd_tensor list[2] = {tensors[0], tensors[0]};
    refuse(list, 0, HD_E_ARGUMENT, "at least one tensor");
    refuse(list, 2, HD_E_ARGUMENT, "two tensors have the name 'model.embed_tokens.weight'");
    list[1].name = "";
    refuse(list, 2, HD_E_ARGUMENT, "can't be the name of a tensor");
    list[1] = tensors[6];
    list[1].type = HD_TYPE_F8_E4M3;
    refuse(list, 2, HD_E_UNSUPPORTED, "tensor 'lines': MindSpore's checkpoints have no type F8_E4M3");
    list[1].type = HD_TYPE_Q4_0;
    refuse(list, 2, HD_E_UNSUPPORTED, "no type Q4_0");
    list[1].type = HD_TYPE_F32;
    list[1].shape[0] = INT64_MAX;
    refuse(list, 2, HD_E_ARGUMENT, "overflows");
    hd_file_writer *w = begin(64);
    assert_int_equal(hd_file_writer_put(w, numbers, 463, NULL), HD_E_ARGUMENT); /* more than the tensor has */
    assert_int_equal(hd_file_writer_put(w, content(0), 462, NULL), HD_OK);
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_E_ARGUMENT);
    hd_file_writer_close(&w);
}

static void every_allocation_of_the_writer_may_fail(void **state)
{
    (void)state;
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    for (n = 1; status != HD_OK && n < 100; n++) {
        hd_file_writer *w = NULL;
        hd_alloc_fail_after(n);
        status = hd_mindspore_writer_open(&w, path, tensors, TENSORS, false, NULL);
        hd_alloc_fail_after(0);
        if (status != HD_OK) assert_int_equal(status, HD_E_MEMORY);
        hd_file_writer_close(&w);
    }
    assert_true(n > 6 && n < 100);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_type),
        TEST(slices_are_joined),
        TEST(every_cut_is_noticed),
        TEST(every_allocation_may_fail),
        TEST(a_file_is_known_by_its_first_bytes),
        TEST(what_is_written_is_read),
        TEST(large_tensors_are_cut),
        TEST(every_content_is_aligned),
        TEST(a_killed_run_goes_on),
        TEST(another_runs_part_stays),
        TEST(what_cannot_be_written),
        TEST(every_allocation_of_the_writer_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
