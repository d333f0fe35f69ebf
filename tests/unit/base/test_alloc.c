/* Unit tests of base/alloc.c: overflow, alignment, forced failures. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

/* volatile, so that the compiler does not warn about sizes that are meant to be absurd */
static volatile size_t huge = SIZE_MAX;

static void test_zero_sizes_give_blocks(void **state)
{
    (void)state;
    void *blocks[] = {hd_alloc(0), hd_alloc_array(0, 8), hd_calloc(0, 8), hd_calloc(8, 0),
                      hd_realloc_array(NULL, 0, 4)};
    for (size_t i = 0; i < HD_ARRAY_LEN(blocks); i++) {
        assert_non_null(blocks[i]);
        hd_free(blocks[i]);
    }
    void *aligned = hd_alloc_aligned(0);
    assert_non_null(aligned);
    hd_free_aligned(aligned);
    hd_free(NULL);
    hd_free_aligned(NULL);
}

static void test_overflow_is_a_failure(void **state)
{
    (void)state;
    assert_null(hd_alloc_array(huge / 2 + 1, 2)); /* wraps to 0 */
    assert_null(hd_alloc_array(huge / 4 + 2, 4)); /* wraps to 4 */
    assert_null(hd_calloc(huge / 2 + 1, 2));
    assert_null(hd_alloc(huge));
    assert_null(hd_alloc_aligned(huge));
    assert_null(hd_alloc_aligned(huge - HD_CACHE_LINE + 1));
    char *block = hd_strdup("kept");
    assert_non_null(block);
    assert_null(hd_realloc_array(block, huge / 2 + 1, 2));
    assert_string_equal(block, "kept");
    assert_null(hd_strndup(block, huge));
    hd_free(block);
}

static void test_zeroed_and_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 63, 64, 65, 4096, 100001};
    for (size_t i = 0; i < HD_ARRAY_LEN(sizes); i++) {
        unsigned char *a = hd_alloc_aligned(sizes[i]), *b = hd_calloc(sizes[i], 1);
        assert_non_null(a);
        assert_non_null(b);
        assert_int_equal((uintptr_t)a % HD_CACHE_LINE, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(a[k] | b[k], 0);
        memset(a, 0xff, sizes[i]); /* so that the next block is zeroed, not new */
        memset(b, 0xff, sizes[i]);
        hd_free_aligned(a);
        hd_free(b);
    }
}

static bool all_are(const unsigned char *data, size_t bytes, unsigned char value)
{
    for (size_t i = 0; i < bytes; i++)
        if (data[i] != value) return false;
    return true;
}

static size_t bulk_bytes(size_t i)
{
    static const size_t sizes[] = {0, 1, 65, 3 << 20, 1600001};
    return i % 20 ? sizes[i % HD_ARRAY_LEN(sizes)] : 70 << 20;
}

/* Blocks from several regions of address space, one larger than a region; freed in another order than they came. */
static void test_bulk_blocks_are_their_own(void **state)
{
    (void)state;
    enum { BLOCKS = 60 };
    unsigned char *block[BLOCKS] = {NULL};
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t bytes = bulk_bytes(i + round);
            if (block[i]) {
                assert_true(all_are(block[i], bulk_bytes(i), (unsigned char)(i + 1)));
                hd_bulk_free(block[i], bulk_bytes(i));
            }
            assert_non_null(block[i] = hd_bulk_alloc(bytes));
            assert_int_equal((uintptr_t)block[i] % HD_CACHE_LINE, 0);
            assert_true(all_are(block[i], bytes, 0));
            memset(block[i], (int)i + 1, bytes);
        }
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t bytes = bulk_bytes(i + 1);
        assert_true(all_are(block[i], bytes, (unsigned char)(i + 1)));
        hd_bulk_free(block[i], bytes);
    }
    hd_bulk_free(NULL, 5);
    assert_null(hd_bulk_alloc(SIZE_MAX));
    assert_null(hd_bulk_alloc((size_t)PTRDIFF_MAX));
    hd_alloc_fail_after(1);
    void *failed = hd_bulk_alloc(1);
    hd_alloc_fail_after(0);
    assert_null(failed);
}

static void test_strndup_takes_any_bytes(void **state)
{
    (void)state;
    char *copy = hd_strndup("a\0b", 3);
    assert_non_null(copy);
    assert_memory_equal(copy, "a\0b\0", 4);
    hd_free(copy);
    copy = hd_strndup(NULL, 0);
    assert_non_null(copy);
    assert_string_equal(copy, "");
    hd_free(copy);
}

static void *alloc_on_thread(void *arg)
{
    (void)arg;
    return hd_alloc(1);
}

static void test_forced_failure(void **state)
{
    (void)state;
    hd_alloc_fail_after(3);
    void *first = hd_alloc(1), *second = hd_calloc(1, 1), *third = hd_alloc(1), *fourth = hd_alloc_aligned(1);
    char *fifth = hd_strdup("x");
    void *sixth = hd_realloc_array(first, 9, 1);
    pthread_t thread;
    void *elsewhere = NULL;
    int started = pthread_create(&thread, NULL, alloc_on_thread, NULL);
    if (started == 0) pthread_join(thread, &elsewhere);
    hd_alloc_fail_after(0); /* before any assertion, which may allocate */
    void *after = hd_alloc(1);
    assert_non_null(first);
    assert_non_null(second);
    assert_null(third);
    assert_null(fourth);
    assert_null(fifth);
    assert_null(sixth);
    assert_non_null(after);
    assert_int_equal(started, 0);
    assert_non_null(elsewhere); /* only the thread that asked fails */
    hd_free(first);
    hd_free(second);
    hd_free(after);
    hd_free(elsewhere);
}

static void test_wipe(void **state)
{
    (void)state;
    char secret[16] = "correct horse";
    hd_wipe(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++)
        assert_int_equal(secret[i], 0);
    hd_wipe(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_sizes_give_blocks),
        cmocka_unit_test(test_overflow_is_a_failure),
        cmocka_unit_test(test_zeroed_and_aligned),
        cmocka_unit_test(test_bulk_blocks_are_their_own),
        cmocka_unit_test(test_strndup_takes_any_bytes),
        cmocka_unit_test(test_forced_failure),
        cmocka_unit_test(test_wipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
