/* Unit tests of base/arena.c: pieces keep what is in them, the cap holds, errors are sticky. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

static void test_pieces(void **state)
{
    (void)state;
    enum { PIECES = 3000 };
    static unsigned char *pieces[PIECES];
    hd_arena arena = {0};
    for (size_t i = 0; i < PIECES; i++) {
        size_t size = i % 100 == 99 ? 100000 : i % 70 + 1; /* some get a chunk of their own */
        pieces[i] = hd_arena_alloc(&arena, size, 1);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < size; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], (int)(i % 251), size);
    }
    for (size_t i = 0; i < PIECES; i++) {
        size_t size = i % 100 == 99 ? 100000 : i % 70 + 1;
        assert_int_equal(pieces[i][0], i % 251);
        assert_int_equal(pieces[i][size - 1], i % 251);
    }
    assert_string_equal(hd_arena_text(&arena, "abcdef", 3), "abc");
    assert_string_equal(hd_arena_text(&arena, NULL, 0), "");
    hd_arena_free(&arena);
    assert_null(arena.chunks);
    hd_arena_free(&arena);
}

static void test_failures(void **state)
{
    (void)state;
    hd_arena capped = {.max = 200000}, arena = {0};
    assert_non_null(hd_arena_alloc(&capped, 1, 100000));
    assert_null(hd_arena_alloc(&capped, 2, 100000));
    assert_true(capped.failed);
    assert_null(hd_arena_alloc(&capped, 1, 1)); /* sticky */
    hd_arena_free(&capped);
    assert_non_null(hd_arena_alloc(&capped, 1, 1)); /* as new */
    hd_arena_free(&capped);
    assert_null(hd_arena_alloc(&arena, SIZE_MAX / 2, 3));
    assert_true(arena.failed);
    hd_arena_free(&arena);
    assert_null(hd_arena_alloc(&arena, SIZE_MAX - 8, 1));
    hd_arena_free(&arena);
    hd_alloc_fail_after(1);
    assert_null(hd_arena_alloc(&arena, 1, 8));
    hd_alloc_fail_after(0);
    assert_null(hd_arena_text(&arena, "x", 1));
    hd_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
