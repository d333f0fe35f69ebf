/* test_gguf_write.c: GGUF files that are written: read back they are what was given, and a killed run goes on. */
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

#include "formats/formats.h"

#define STR(text) ((hd_str){text, sizeof(text) - 1})

static char folder[] = "/tmp/hadal-gguf-write-XXXXXX", path[96], part[96];

static const uint8_t one[8] = {1}, ints[12] = {1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 255, 255};
static const hd_str words[] = {{"a", 1}, {"", 0}, {"\xe4\xbd\xa0", 3}};
static const hd_meta metas[] = {
    {.key = STR("general.architecture"), .type = HD_META_STRING, .string = STR("llama")},
    {.key = STR("x.u8"), .type = HD_META_U8, .data = one},
    {.key = STR("x.bool"), .type = HD_META_BOOL, .data = one},
    {.key = STR("x.u64"), .type = HD_META_U64, .data = one},
    {.key = STR("x.ints"), .type = HD_META_ARRAY, .elem = HD_META_I32, .count = 3, .data = ints},
    {.key = STR("x.words"), .type = HD_META_ARRAY, .elem = HD_META_STRING, .count = 3, .strings = words},
};
#define METAS (sizeof metas / sizeof metas[0])

static float numbers[7 * 3];
static uint8_t blocks[2 * 34 * 5];
static const hd_tensor tensors[] = {
    {.name = "first", .type = HD_TYPE_F32, .dims = 2, .shape = {7, 3, 1, 1}, .data = numbers, .bytes = sizeof numbers},
    {.name = "second", .type = HD_TYPE_Q8_0, .dims = 3, .shape = {5, 1, 64, 1}, .data = blocks, .bytes = sizeof blocks},
    {.name = "third", .type = HD_TYPE_F32, .dims = 1, .shape = {3, 1, 1, 1}, .data = numbers, .bytes = 12},
};
#define TENSORS (sizeof tensors / sizeof tensors[0])

static hd_file_writer *begin(void)
{
    hd_file_writer *w;
    hd_error err;
    unlink(path); /* what another test wrote */
    if (hd_gguf_writer_open(&w, path, metas, METAS, tensors, TENSORS, false, &err) != HD_OK) fail_msg("%s", err.text);
    return w;
}

/* Writes what is missing, in pieces. */
static void write_rest(hd_file_writer *w, size_t piece)
{
    while (hd_file_writer_next(w) < TENSORS) {
        const hd_tensor *t = &tensors[hd_file_writer_next(w)];
        for (size_t at = 0; at < t->bytes; at += piece)
            assert_int_equal(
                hd_file_writer_put(w, (const char *)t->data + at, t->bytes - at < piece ? t->bytes - at : piece, NULL),
                HD_OK);
    }
}

static void write_whole(size_t piece)
{
    unlink(path);
    hd_file_writer *w = begin();
    write_rest(w, piece);
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
    uint64_t size = hd_file_writer_size(w);
    assert_int_equal(hd_file_writer_written(w), size);
    hd_file_writer_close(&w);
    assert_null(w);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_not_equal(access(part, F_OK), 0);
}

typedef struct contents {
    uint8_t data[1 << 14];
    size_t size;
} contents;

static void read_contents(contents *c)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    c->size = fread(c->data, 1, sizeof c->data, f);
    fclose(f);
}

static void check_meta(const hd_meta *given, const hd_meta *read)
{
    assert_non_null(read);
    assert_int_equal(read->type, given->type);
    assert_int_equal(read->string.len, given->string.len);
    if (given->string.len) assert_memory_equal(read->string.data, given->string.data, given->string.len);
    assert_int_equal(read->count, given->count);
    if (given->type == HD_META_ARRAY) assert_int_equal(read->elem, given->elem);
    for (uint64_t i = 0; i < given->count && given->strings; i++) {
        assert_int_equal(read->strings[i].len, given->strings[i].len);
        assert_memory_equal(read->strings[i].data, given->strings[i].data, given->strings[i].len);
    }
    if (given->data == ints) assert_memory_equal(read->data, ints, sizeof ints);
    if (given->data == one) assert_int_equal(read->data[0], 1);
}

static void test_what_is_written_is_read(void **state)
{
    (void)state;
    write_whole(13);
    hd_checkpoint *c;
    hd_error err;
    if (hd_checkpoint_open(&c, path, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(hd_checkpoint_meta_count(c), METAS);
    for (size_t i = 0; i < METAS; i++)
        check_meta(&metas[i], hd_checkpoint_meta_at(c, i));
    assert_int_equal(hd_checkpoint_tensor_count(c), TENSORS);
    for (size_t i = 0; i < TENSORS; i++) {
        const hd_tensor *t = hd_checkpoint_tensor(c, i);
        assert_string_equal(t->name, tensors[i].name);
        assert_int_equal(t->type, tensors[i].type);
        assert_int_equal(t->dims, tensors[i].dims);
        assert_memory_equal(t->shape, tensors[i].shape, sizeof t->shape);
        assert_int_equal(t->bytes, tensors[i].bytes);
        assert_memory_equal(t->data, tensors[i].data, t->bytes);
        assert_int_equal((uintptr_t)t->data % 32, 0);
    }
    hd_checkpoint_close(&c);
}

/* Of all tensors, with the zeros between and behind them. */
static size_t data_bytes(void)
{
    size_t bytes = 0;
    for (size_t i = 0; i < TENSORS; i++)
        bytes += (tensors[i].bytes + 31) / 32 * 32;
    return bytes;
}

/* Killed after any number of bytes, a run goes on to the same file. */
static void test_a_killed_run_goes_on(void **state)
{
    (void)state;
    static contents whole, resumed;
    write_whole(64);
    read_contents(&whole);
    size_t size = whole.size;
    for (size_t cut = 0; cut <= size; cut += cut + 7 > size && cut < size ? size - cut : 7) {
        FILE *f = fopen(part, "wb");
        assert_int_equal(fwrite(whole.data, 1, cut, f), cut);
        fclose(f);
        hd_file_writer *w = begin();
        size_t kept = 0, end = size - data_bytes();
        for (; kept < TENSORS; kept++) { /* whole tensors of what is there are not written again */
            end = (end + 31) / 32 * 32 + tensors[kept].bytes;
            if (end > cut) break;
        }
        assert_int_equal(hd_file_writer_next(w), kept);
        write_rest(w, 1000);
        unlink(path);
        assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
        hd_file_writer_close(&w);
        read_contents(&resumed);
        assert_int_equal(resumed.size, size);
        assert_memory_equal(resumed.data, whole.data, size);
    }
}

static void test_what_is_in_the_way_stays(void **state)
{
    (void)state;
    hd_file_writer *w = NULL;
    hd_error err;
    unlink(path);
    FILE *f = fopen(part, "wb");
    fputs("somebody's notes", f);
    fclose(f);
    assert_int_equal(hd_gguf_writer_open(&w, path, metas, METAS, tensors, TENSORS, false, &err), HD_E_IO);
    assert_null(w);
    assert_non_null(strstr(err.text, "in the way"));
    struct stat st;
    assert_int_equal(stat(part, &st), 0);
    assert_int_equal(st.st_size, 16);
    unlink(part);

    unlink(path);
    w = begin();
    write_rest(w, 4096);
    f = fopen(path, "wb"); /* comes while the file is written */
    fputs("notes", f);
    fclose(f);
    assert_int_equal(hd_file_writer_finish(w, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "is there already"));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
    hd_file_writer_close(&w);
    assert_int_equal(access(part, F_OK), 0);
    unlink(part);
    unlink(path);

    assert_int_equal(symlink("elsewhere", path), 0);
    assert_int_equal(hd_gguf_writer_open(&w, path, metas, METAS, tensors, TENSORS, false, &err), HD_E_IO);
    assert_int_not_equal(access(part, F_OK), 0);
    unlink(path);
}

static void test_one_writer_at_a_time(void **state)
{
    (void)state;
    hd_file_writer *w = begin(), *second;
    hd_error err;
    assert_int_equal(hd_gguf_writer_open(&second, path, metas, METAS, tensors, TENSORS, false, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "another process"));
    hd_file_writer_close(&w);
    assert_int_equal(access(part, F_OK), 0); /* to be gone on with */
    unlink(part);
}

static void test_wrong_use(void **state)
{
    (void)state;
    hd_file_writer *w = begin();
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_E_ARGUMENT);
    assert_int_equal(hd_file_writer_put(w, blocks, sizeof numbers + 1, NULL), HD_E_ARGUMENT);
    write_rest(w, 4096);
    assert_int_equal(hd_file_writer_put(w, blocks, 1, NULL), HD_E_ARGUMENT);
    hd_file_writer_close(&w);
    unlink(part);
    unlink(path);

    hd_tensor bad = tensors[0];
    bad.type = HD_TYPE_U8;
    assert_int_equal(hd_gguf_writer_open(&w, path, NULL, 0, &bad, 1, false, NULL), HD_E_UNSUPPORTED);
    bad = tensors[1];
    bad.shape[2] = 63; /* no whole blocks */
    assert_int_equal(hd_gguf_writer_open(&w, path, NULL, 0, &bad, 1, false, NULL), HD_E_ARGUMENT);
    bad = tensors[0];
    bad.name = "a name of more than sixty-four bytes, which is all that a GGUF file may hold";
    assert_int_equal(hd_gguf_writer_open(&w, path, NULL, 0, &bad, 1, false, NULL), HD_E_ARGUMENT);
    const hd_meta odd = {.key = STR("general.alignment"), .type = HD_META_U32, .data = ints + 8};
    assert_int_equal(hd_gguf_writer_open(&w, path, &odd, 1, tensors, TENSORS, false, NULL), HD_E_ARGUMENT);
    assert_int_not_equal(access(part, F_OK), 0);
    assert_int_equal(hd_gguf_writer_open(&w, "/no/such/folder/x.gguf", metas, METAS, tensors, TENSORS, false, NULL),
                     HD_E_IO);
}

static int make_folder(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        numbers[i] = (float)i;
    for (size_t i = 0; i < sizeof blocks; i++)
        blocks[i] = (uint8_t)(i * 31);
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    snprintf(part, sizeof part, "%s/model.gguf.part", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(part);
    return rmdir(folder);
}

static void test_a_text_is_filled_in(void **state)
{
    (void)state;
    static contents before, after;
    hd_error err;
    write_whole(64);
    read_contents(&before);
    assert_int_equal(hd_gguf_fill_text(path, "general.architecture", "abc", 3, NULL), HD_OK);
    read_contents(&after);
    assert_int_equal(after.size, before.size);
    size_t changed = 0, first = 0;
    for (size_t i = 0; i < before.size; i++)
        if (before.data[i] != after.data[i] && changed++ == 0) first = i;
    assert_int_equal(changed, 5);
    assert_memory_equal(before.data + first, "llama", 5);
    assert_memory_equal(after.data + first, "abc  ", 5);
    assert_int_equal(hd_gguf_fill_text(path, "general.architecture", "llama", 5, NULL), HD_OK);
    assert_int_equal(hd_gguf_fill_text(path, "general.architecture", "longer", 6, &err), HD_E_LIMIT);
    assert_int_equal(hd_gguf_fill_text(path, "x.u8", "", 0, &err), HD_E_NOT_FOUND);
    assert_int_equal(hd_gguf_fill_text(path, "x.none", "", 0, &err), HD_E_NOT_FOUND);
    assert_int_equal(hd_gguf_fill_text(part, "x.none", "", 0, &err), HD_E_NOT_FOUND);
    assert_int_equal(symlink(path, part), 0);
    assert_int_equal(hd_gguf_fill_text(part, "general.architecture", "abc", 3, &err), HD_E_IO);
    unlink(part);
    read_contents(&after);
    assert_memory_equal(before.data, after.data, before.size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_a_killed_run_goes_on),
        cmocka_unit_test(test_what_is_in_the_way_stays),
        cmocka_unit_test(test_one_writer_at_a_time),
        cmocka_unit_test(test_wrong_use),
        cmocka_unit_test(test_a_text_is_filled_in),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
