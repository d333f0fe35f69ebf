/* test_gguf_size.c: hd_gguf_file_bytes: what a GGUF file with given tensors has, worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/formats.h"

static const hd_tensor tensors[] = {
    {.name = "first", .type = HD_TYPE_F32, .dims = 2, .shape = {7, 3, 1, 1}},
    {.name = "second", .type = HD_TYPE_Q8_0, .dims = 3, .shape = {5, 1, 64, 1}},
    {.name = "third", .type = HD_TYPE_F32, .dims = 1, .shape = {3, 1, 1, 1}},
};

static void test_sizes(void **state)
{
    (void)state;
    /* magic and version 8, two counts 16; of a tensor: its name behind 8 bytes, dimensions 4 and 8 each, type 4, place
     * 8 */
    enum { FIRST = 8 + 5 + 4 + 16 + 4 + 8, SECOND = 8 + 6 + 4 + 24 + 4 + 8, THIRD = 8 + 5 + 4 + 8 + 4 + 8 };
    assert_int_equal(hd_gguf_file_bytes(tensors, 0, 100), 24 + 100);
    assert_int_equal(24 + FIRST, 69); /* then 27 of padding, 84 of numbers, 12 of padding */
    assert_int_equal(hd_gguf_file_bytes(tensors, 1, 0), 96 + 96);
    assert_int_equal(hd_gguf_file_bytes(tensors, 1, 27), 96 + 96);
    assert_int_equal(hd_gguf_file_bytes(tensors, 1, 28), 128 + 96);
    assert_int_equal(24 + FIRST + SECOND + THIRD, 160);
    assert_int_equal(hd_gguf_file_bytes(tensors, 3, 0), 160 + 96 + 352 + 32); /* 2 x 34 x 5 = 340 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
