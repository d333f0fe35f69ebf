/* Pages: counted by reference, reused, limited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine_internal.h"

static void pages_are_aligned_and_zeroed(void **state)
{
    (void)state;
    hd_pages p;
    hd_pages_init(&p, 1000, 0);
    uint8_t *pages[5];
    for (int i = 0; i < 5; i++) {
        pages[i] = hd_page_take(&p);
        assert_non_null(pages[i]);
        assert_int_equal((uintptr_t)pages[i] % HD_CACHE_LINE, 0);
        for (int j = 0; j < 1000; j++)
            assert_int_equal(pages[i][j], 0);
        memset(pages[i], i + 1, 1000); /* a neighbour that it reached would show below */
    }
    assert_int_equal(p.in_use, 5);
    for (int i = 0; i < 5; i++) {
        assert_true(pages[i][0] == i + 1 && pages[i][999] == i + 1);
        hd_page_release(&p, pages[i]);
    }
    assert_int_equal(p.in_use, 0);
    hd_pages_free(&p);
    assert_null(p.free);
}

static void the_last_release_gives_a_page_back(void **state)
{
    (void)state;
    hd_pages p;
    hd_pages_init(&p, 64, 0);
    uint8_t *page = hd_page_take(&p);
    assert_non_null(page);
    assert_false(hd_page_is_shared(page));
    hd_page_share(page);
    hd_page_share(page);
    assert_true(hd_page_is_shared(page));
    assert_int_equal(p.in_use, 1); /* shared, it counts once */
    hd_page_release(&p, page);
    assert_true(hd_page_is_shared(page));
    hd_page_release(&p, page);
    assert_false(hd_page_is_shared(page));
    assert_int_equal(p.in_use, 1);
    hd_page_release(&p, page);
    assert_int_equal(p.in_use, 0);
    uint8_t *again = hd_page_take(&p);
    assert_ptr_equal(again, page); /* reused, with one holder */
    assert_false(hd_page_is_shared(again));
    hd_page_release(&p, again);
    hd_pages_free(&p);
}

static void the_limit_counts_pages_in_use(void **state)
{
    (void)state;
    hd_pages p;
    hd_pages_init(&p, 64, 2);
    uint8_t *a = hd_page_take(&p), *b = hd_page_take(&p);
    assert_true(a && b);
    assert_null(hd_page_take(&p));
    assert_int_equal(p.in_use, 2);
    hd_page_release(&p, a);
    a = hd_page_take(&p);
    assert_non_null(a);
    assert_null(hd_page_take(&p));
    hd_page_release(&p, a);
    hd_page_release(&p, b);
    hd_pages_free(&p);
}

static void no_memory_is_no_page(void **state)
{
    (void)state;
    hd_pages p;
    hd_pages_init(&p, 64, 0);
    hd_alloc_fail_after(1);
    uint8_t *page = hd_page_take(&p);
    hd_alloc_fail_after(0);
    assert_null(page);
    assert_int_equal(p.in_use, 0);
    hd_pages_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_aligned_and_zeroed),
        cmocka_unit_test(the_last_release_gives_a_page_back),
        cmocka_unit_test(the_limit_counts_pages_in_use),
        cmocka_unit_test(no_memory_is_no_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
