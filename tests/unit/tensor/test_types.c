/* The table of element types, against sizes and numbers written down anew from the GGUF specification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tensor/tensor.h"

static void every_type_agrees_with_itself(void **state)
{
    (void)state;
    for (int i = 0; i < HD_TYPE_COUNT; i++) {
        hd_type type = (hd_type)i, found = HD_TYPE_COUNT;
        const char *name = hd_type_name(type);
        assert_true(hd_type_from_name(name, strlen(name), &found));
        assert_int_equal(found, type);
        assert_true(hd_type_block(type) > 0 && hd_type_block_bytes(type) > 0);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(name, hd_type_name((hd_type)j));
    }
}

static void known_types(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t id;
        int block, bytes;
    } wanted[] = {{"F32", 0, 1, 4},         {"F16", 1, 1, 2},         {"BF16", 30, 1, 2},      {"F64", 28, 1, 8},
                  {"I64", 27, 1, 8},        {"Q4_0", 2, 32, 18},      {"Q8_0", 8, 32, 34},     {"Q4_K", 12, 256, 144},
                  {"Q6_K", 14, 256, 210},   {"IQ4_NL", 20, 32, 18},   {"IQ1_M", 29, 256, 56},  {"TQ1_0", 34, 256, 54},
                  {"MXFP4", 39, 32, 17},    {"IQ2_XXS", 16, 256, 66}, {"Q2_K", 10, 256, 84},   {"Q3_K", 11, 256, 110},
                  {"IQ3_XXS", 18, 256, 98}, {"IQ1_S", 19, 256, 50},   {"IQ4_XS", 23, 256, 136}};
    for (size_t i = 0; i < HD_ARRAY_LEN(wanted); i++) {
        hd_type by_id, by_name;
        assert_true(hd_type_from_gguf(wanted[i].id, &by_id));
        assert_true(hd_type_from_name(wanted[i].name, strlen(wanted[i].name), &by_name));
        assert_int_equal(by_id, by_name);
        assert_string_equal(hd_type_name(by_id), wanted[i].name);
        assert_int_equal(hd_type_block(by_id), wanted[i].block);
        assert_int_equal(hd_type_block_bytes(by_id), wanted[i].bytes);
    }
}

static void unknown_types(void **state)
{
    (void)state;
    static const uint32_t ids[] = {4, 5, 9, 15, 31, 32, 33, 36, 37, 38, 40, 1000, UINT32_MAX};
    hd_type type = HD_TYPE_F32;
    for (size_t i = 0; i < HD_ARRAY_LEN(ids); i++)
        assert_false(hd_type_from_gguf(ids[i], &type));
    assert_false(hd_type_from_name("Q4_", 3, &type));
    assert_false(hd_type_from_name("Q4_00", 5, &type));
    assert_false(hd_type_from_name("f32", 3, &type));
    assert_false(hd_type_from_name("", 0, &type));
    assert_true(hd_type_from_name("F32 and more", 3, &type)); /* len counts, not the NUL */
}

static void row_bytes(void **state)
{
    (void)state;
    size_t n = 1;
    assert_true(hd_type_row_bytes(HD_TYPE_Q4_K, 512, &n));
    assert_int_equal(n, 288);
    assert_true(hd_type_row_bytes(HD_TYPE_Q4_K, 0, &n));
    assert_int_equal(n, 0);
    assert_false(hd_type_row_bytes(HD_TYPE_Q4_K, 128, &n));
    assert_false(hd_type_row_bytes(HD_TYPE_F32, -1, &n));
    assert_false(hd_type_row_bytes(HD_TYPE_Q4_K, -256, &n));
    assert_true(hd_type_row_bytes(HD_TYPE_I8, INT64_MAX, &n));
    assert_true(n == INT64_MAX);
    assert_false(hd_type_row_bytes(HD_TYPE_F32, INT64_MAX, &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_agrees_with_itself),
        cmocka_unit_test(known_types),
        cmocka_unit_test(unknown_types),
        cmocka_unit_test(row_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
