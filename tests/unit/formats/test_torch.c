/* PyTorch checkpoints: what state dicts are written as, views of storages, cut files, memory that runs out, and large
 * files.  What must be refused stands in bad_torch.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "formats/formats_internal.h"
#include "unit/formats/good_torch.h"

static hd_buf bytes;

static int set_up(void **state)
{
    (void)state;
    hd_buf_init(&bytes, (size_t)64 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hd_buf_free(&bytes);
    return 0;
}

/* ---- pickles ---- */

static hd_pickle read_ok(const char *pickle, size_t len)
{
    hd_pickle out;
    hd_error err = {0};
    if (hd_pickle_parse(&out, (const uint8_t *)pickle, len, &err) != HD_OK) fail_msg("%s", err.text);
    return out;
}

static void good_ones_open(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(good_pickles); i++) {
        hd_pickle p = read_ok(good_pickles[i].bytes, good_pickles[i].len);
        if (p.count != good_pickles[i].tensors) fail_msg("%s: %zu tensors", good_pickles[i].name, p.count);
        hd_pickle_free(&p);
    }
}

static void check_pickle_tensor(const hd_pickle_tensor *t, const char *name, const char *storage, int64_t rows,
                                int64_t cols)
{
    assert_int_equal(t->name.len, strlen(name));
    assert_memory_equal(t->name.data, name, strlen(name));
    assert_int_equal(t->storage.len, strlen(storage));
    assert_memory_equal(t->storage.data, storage, strlen(storage));
    assert_int_equal(t->dims, cols ? 2 : 1);
    assert_int_equal(t->shape[0], rows);
    assert_int_equal(t->shape[1], cols ? cols : 1);
    assert_int_equal(t->stride[0], cols ? cols : 1);
    assert_int_equal(t->stride[1], cols ? 1 : 0);
    assert_int_equal(t->shape[2], 1);
    assert_int_equal(t->shape[3], 1);
}

static void a_module_is_read(void **state)
{
    (void)state;
    hd_pickle p = read_ok(PK_BYTES(PK_MODULE));
    assert_int_equal(p.count, 2);
    check_pickle_tensor(&p.tensors[0], "weight", "0", 2, 3);
    check_pickle_tensor(&p.tensors[1], "bias", "1", 2, 0);
    assert_int_equal(p.tensors[0].type, HD_TYPE_F32);
    assert_int_equal(p.tensors[0].storage_count, 6);
    hd_pickle_free(&p);
}

static void a_type_of_its_own(void **state)
{
    (void)state;
    hd_pickle p = read_ok(
        PK_BYTES(PK_STATE(PK_V3 "(" PK_UNTYPED("0", "K\30") "K\2K\3\x85K\1\x85\x89" PK_DICT "ctorch\nbfloat16\n}tR")));
    assert_int_equal(p.tensors[0].storage_type, HD_TYPE_U8);
    assert_int_equal(p.tensors[0].storage_count, 24);
    assert_int_equal(p.tensors[0].type, HD_TYPE_BF16);
    assert_int_equal(p.tensors[0].offset, 2);
    hd_pickle_free(&p);
}

static void numbers_of_every_width(void **state)
{
    (void)state;
    static const struct {
        const char *opcode;
        size_t len;
        int64_t value;
    } cases[] = {
        {PK_BYTES("K\xff"), 255},
        {PK_BYTES("M\xff\xff"), 65535},
        {PK_BYTES("J\xff\xff\xff\x7f"), INT32_MAX},
        {PK_BYTES("\x8a\0"), 0},
        {PK_BYTES("\x8a\2\xff\0"), 255},
        {PK_BYTES("\x8a\5\0\0\0\0\1"), (int64_t)1 << 32},
        {PK_BYTES("\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f"), INT64_MAX},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_buf_clear(&bytes);
        (void)hd_buf_append(&bytes, PK_BYTES(PK2 "}" PK_TEXT1("w") PK_V2 "(" PK_FLOATS));
        (void)hd_buf_append(&bytes, cases[i].opcode, cases[i].len);
        (void)hd_buf_append(&bytes, PK_BYTES("K\1\x85K\1\x85\x88NtRs."));
        hd_pickle p = read_ok(bytes.data, bytes.len);
        assert_int_equal(p.tensors[0].offset, cases[i].value);
        hd_pickle_free(&p);
    }
}

static const struct {
    const char *name;
    hd_type type;
} storages[] = {
    {"DoubleStorage", HD_TYPE_F64},    {"FloatStorage", HD_TYPE_F32}, {"HalfStorage", HD_TYPE_F16},
    {"BFloat16Storage", HD_TYPE_BF16}, {"LongStorage", HD_TYPE_I64},  {"IntStorage", HD_TYPE_I32},
    {"ShortStorage", HD_TYPE_I16},     {"CharStorage", HD_TYPE_I8},   {"ByteStorage", HD_TYPE_U8},
    {"BoolStorage", HD_TYPE_U8},
};

static void storages_of_every_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(storages); i++) {
        hd_buf_clear(&bytes);
        (void)hd_buf_append(&bytes, PK_BYTES(PK2 "}" PK_TEXT1("w") PK_V2 "((X\7\0\0\0storagectorch\n"));
        (void)hd_buf_puts(&bytes, storages[i].name);
        (void)hd_buf_append(&bytes, PK_BYTES("\n" PK_TEXT1("0") "X\6\0\0\0cuda:0K\6tQK\0K\6\x85K\1\x85\x89NtRs."));
        hd_pickle p = read_ok(bytes.data, bytes.len);
        assert_int_equal(p.tensors[0].type, storages[i].type);
        hd_pickle_free(&p);
    }
}

/* No beginning of a pickle is one; all are refused without reading past their end. */
static void every_cut_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(good_pickles); i++) {
        for (size_t len = 0; len < good_pickles[i].len; len++) {
            hd_pickle p;
            hd_error err = {0};
            uint8_t *cut = hd_alloc(len);
            assert_non_null(cut);
            memcpy(cut, good_pickles[i].bytes, len);
            if (hd_pickle_parse(&p, cut, len, &err) == HD_OK) fail_msg("%s: %zu bytes", good_pickles[i].name, len);
            assert_null(p.tensors);
            if (len > 2 && !strstr(err.text, "opcode")) fail_msg("%s at %zu: %s", good_pickles[i].name, len, err.text);
            hd_free(cut);
        }
    }
}

/* ---- files ---- */

static hd_tensor_set parse_ok(void)
{
    hd_tensor_set set;
    hd_error err = {0};
    assert_int_equal(bytes.status, HD_OK);
    if (hd_torch_parse(&set, (const uint8_t *)bytes.data, bytes.len, &err) != HD_OK) fail_msg("%s", err.text);
    return set;
}

static void check_floats(const hd_tensor *t, const char *name, const float *values, size_t count)
{
    assert_string_equal(t->name, name);
    assert_int_equal(t->type, HD_TYPE_F32);
    assert_int_equal(t->bytes, count * sizeof(float));
    assert_int_equal((uintptr_t)t->data % sizeof(float), 0);
    assert_memory_equal(t->data, values, t->bytes);
}

static const float in_order[6] = {0, 1, 2, 3, 4, 5};

static bool in_file(const hd_tensor *t)
{
    const char *data = t->data;
    return data >= bytes.data && data < bytes.data + bytes.len;
}

static void small_and_wide_zips(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        hd_buf_clear(&bytes);
        (wide ? put_torch_wide : put_torch_matrix)(&bytes);
        hd_tensor_set set = parse_ok();
        assert_int_equal(set.count, 1);
        check_floats(&set.tensors[0], "w", in_order, 6);
        assert_int_equal(set.tensors[0].shape[0], 2);
        assert_int_equal(set.tensors[0].shape[1], 3);
        assert_true(in_file(&set.tensors[0]));
        assert_int_equal(set.copy_count, 0);
        hd_tensor_set_free(&set);
    }
}

static void views_of_a_storage(void **state)
{
    (void)state;
    put_torch_views(&bytes);
    hd_tensor_set set = parse_ok();
    assert_int_equal(set.count, 7);
    check_floats(&set.tensors[0], "a", in_order, 6);
    check_floats(&set.tensors[1], "b", (const float[]){0, 3, 1, 4, 2, 5}, 6);
    check_floats(&set.tensors[2], "c", (const float[]){1, 2, 4, 5}, 4);
    check_floats(&set.tensors[3], "d", (const float[]){1, 3, 5}, 3);
    check_floats(&set.tensors[4], "e", in_order, 0);
    check_floats(&set.tensors[5], "f", (const float[]){5}, 1);
    check_floats(&set.tensors[6], "g", (const float[]){3, 4, 5}, 3);
    assert_int_equal(set.tensors[5].dims, 0);
    assert_int_equal(set.copy_count, 3);
    for (size_t i = 0; i < set.count; i++)
        assert_int_equal(in_file(&set.tensors[i]), i == 0 || i >= 4);
    hd_tensor_set_free(&set);
}

static void four_dimensions(void **state)
{
    (void)state;
    (void)put_torch(&bytes, PK_BYTES(PK_STATE(PK_TENSOR(PK_FLOATS, "K\0", "(K\1K\3K\1K\2t", "(K\0K\1K\7K\3t"))), false);
    hd_tensor_set set = parse_ok();
    check_floats(&set.tensors[0], "w", (const float[]){0, 3, 1, 4, 2, 5}, 6);
    hd_tensor_set_free(&set);
}

static void odd_addresses_are_mended(void **state)
{
    (void)state;
    put_torch_misaligned(&bytes);
    hd_tensor_set set = parse_ok();
    assert_int_equal(set.copy_count, 1);
    assert_int_equal((uintptr_t)set.tensors[0].data % 4, 0);
    assert_memory_equal((const uint8_t *)set.tensors[0].data + 1, in_order, 23);
    hd_tensor_set_free(&set);
}

static void every_cut_of_a_file_is_refused(void **state)
{
    (void)state;
    put_torch_wide(&bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        hd_tensor_set set;
        uint8_t *cut = hd_alloc(len);
        assert_non_null(cut);
        memcpy(cut, bytes.data, len);
        assert_int_not_equal(hd_torch_parse(&set, cut, len, NULL), HD_OK);
        assert_null(set.tensors);
        hd_free(cut);
    }
}

/* With a copy among the tensors. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    put_torch_views(&bytes);
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    for (n = 1; status != HD_OK && n < 1000; n++) {
        hd_tensor_set set;
        hd_error err = {0};
        hd_alloc_fail_after(n);
        status = hd_torch_parse(&set, (const uint8_t *)bytes.data, bytes.len, &err);
        hd_alloc_fail_after(0);
        if (status != HD_OK && status != HD_E_MEMORY) fail_msg("allocation %d: %s", (int)n, err.text);
        hd_tensor_set_free(&set);
    }
    assert_true(n > 10 && n < 1000);
}

/* As many tensors as DeepSeek-V3 has, all of one storage. */
static void a_large_state_dict_is_quick(void **state)
{
    (void)state;
    hd_buf pickle;
    hd_buf_init(&pickle, (size_t)64 << 20);
    (void)hd_buf_append(&pickle, PK_BYTES(PK2 "}(" PK_TEXT1("w") PK_MATRIX));
    for (int i = 0; i < 100000; i++) {
        char name[64];
        int len = snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.down_proj.weight", i / 1000, i % 1000);
        (void)hd_buf_putc(&pickle, 'X');
        put_zip_le(&pickle, (uint64_t)len, 4);
        (void)hd_buf_puts(&pickle, name);
        (void)hd_buf_append(&pickle, PK_BYTES(PK_MATRIX));
    }
    (void)hd_buf_append(&pickle, PK_BYTES("u."));
    assert_int_equal(pickle.status, HD_OK);
    (void)put_torch(&bytes, pickle.data, pickle.len, false);
    hd_buf_free(&pickle);
    clock_t begin = clock();
    hd_tensor_set set = parse_ok();
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 5); /* 0.1 s, but for sanitizers */
    assert_int_equal(set.count, 100001);
    hd_tensor_set_free(&set);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(good_ones_open),
        TEST(a_module_is_read),
        TEST(a_type_of_its_own),
        TEST(numbers_of_every_width),
        TEST(storages_of_every_type),
        TEST(every_cut_is_refused),
        TEST(small_and_wide_zips),
        TEST(views_of_a_storage),
        TEST(four_dimensions),
        TEST(odd_addresses_are_mended),
        TEST(every_cut_of_a_file_is_refused),
        TEST(every_allocation_may_fail),
        TEST(a_large_state_dict_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
