/* Two precisions of a model: who answers, by load, by wish and when one is lost; counts from many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "gateway/pair.h"

#define THREADS 4
#define ROUNDS 2000

static char name[] = "m", path[] = "full.gguf";
static const hd_precision_rule usual = {.above = 3, .below = 1, .hold_ns = UINT64_MAX}; /* it never goes back */

static hd_served full_model(void)
{
    return (hd_served){.name = name, .title = name, .path = path};
}

static void open_pair(hd_served *full, const hd_precision_rule *rule)
{
    hd_error err;
    if (hd_pair_open(full, "cheaper.gguf", rule, &err) != HD_OK) fail_msg("%s", err.text);
}

static void test_what_it_is_made_of(void **state)
{
    (void)state;
    hd_served full = full_model();
    hd_error err;
    open_pair(&full, &usual);
    hd_served *cheaper = full.pair->cheaper;
    assert_ptr_equal(cheaper->pair, full.pair);
    assert_string_equal(cheaper->name, "m"); /* clients know one name, files and logs two */
    assert_string_equal(cheaper->title, "m (cheaper)");
    assert_string_equal(cheaper->path, "cheaper.gguf");
    assert_int_equal(hd_pair_open(&full, "third.gguf", &usual, &err), HD_E_ARGUMENT);
    assert_non_null(strstr(err.text, "cheaper.gguf"));
    hd_pair_close(&full.pair);
    assert_null(full.pair);
    hd_pair_close(&full.pair);
}

static void test_rules_that_are_none(void **state)
{
    (void)state;
    const hd_precision_rule bad[] = {{0, 0, 0}, {4, 4, 0}, {4, 5, 0}, {4, -1, 0}};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_served full = full_model();
        hd_error err;
        assert_int_equal(hd_pair_open(&full, "cheaper.gguf", &bad[i], &err), HD_E_ARGUMENT);
        assert_null(full.pair);
    }
}

static void test_load_and_wishes(void **state)
{
    (void)state;
    hd_served full = full_model();
    hd_pair_figures figures;
    open_pair(&full, &usual);
    hd_pair *pair = full.pair;
    assert_ptr_equal(hd_pair_join(pair, HD_WISH_AUTO), pair->full);
    assert_ptr_equal(hd_pair_join(pair, HD_WISH_CHEAPER), pair->cheaper);
    assert_ptr_equal(hd_pair_join(pair, HD_WISH_FULL), pair->full); /* and it makes the load 3 */
    assert_ptr_equal(hd_pair_join(pair, HD_WISH_AUTO), pair->cheaper);
    assert_ptr_equal(hd_pair_join(pair, HD_WISH_FULL), pair->full);
    hd_pair_get_figures(pair, &figures);
    assert_int_equal(figures.load, 5);
    assert_int_equal(figures.switches, 1);
    assert_true(figures.cheaper);
    for (int i = 0; i < 5; i++)
        hd_pair_leave(pair);
    hd_pair_get_figures(pair, &figures);
    assert_int_equal(figures.load, 0);
    hd_pair_close(&full.pair);
}

static void test_the_way_back_needs_no_request(void **state)
{
    (void)state;
    hd_served full = full_model();
    hd_pair_figures figures;
    open_pair(&full, &(hd_precision_rule){.above = 1, .below = 0, .hold_ns = 0});
    assert_ptr_equal(hd_pair_join(full.pair, HD_WISH_AUTO), full.pair->cheaper);
    hd_pair_look(full.pair);
    hd_pair_get_figures(full.pair, &figures);
    assert_true(figures.cheaper);
    hd_pair_leave(full.pair);
    hd_pair_look(full.pair);
    hd_pair_get_figures(full.pair, &figures);
    assert_false(figures.cheaper);
    assert_int_equal(figures.switches, 2);
    hd_pair_close(&full.pair);
}

static void test_a_lost_one_is_asked_for_only_by_name(void **state)
{
    (void)state;
    hd_served full = full_model();
    open_pair(&full, &usual);
    hd_pair *pair = full.pair;
    atomic_store(&pair->full->lost, true);
    assert_ptr_equal(hd_pair_join(pair, HD_WISH_AUTO), pair->cheaper);
    assert_ptr_equal(hd_pair_join(pair, HD_WISH_FULL), pair->full);
    atomic_store(&pair->cheaper->lost, true);
    atomic_store(&pair->full->lost, false);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(hd_pair_join(pair, HD_WISH_AUTO), pair->full); /* whatever the load */
    atomic_store(&pair->full->lost, true);
    assert_ptr_equal(hd_pair_join(pair, HD_WISH_AUTO), pair->cheaper); /* both: by the load again */
    hd_pair_close(&full.pair);
}

static void *come_and_go(void *arg)
{
    hd_pair *pair = arg;
    for (int i = 0; i < ROUNDS; i++) {
        hd_served *one = hd_pair_join(pair, HD_WISH_AUTO);
        hd_pair_look(pair);
        hd_pair_leave(one->pair); /* as calls do: through the precision that they were given */
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    hd_served full = full_model();
    hd_pair_figures figures;
    open_pair(&full, &(hd_precision_rule){.above = 1000, .below = 1, .hold_ns = 0});
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, full.pair), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    hd_pair_get_figures(full.pair, &figures);
    assert_int_equal(figures.load, 0);
    assert_int_equal(figures.switches, 0);
    hd_pair_close(&full.pair);
}

static void test_words(void **state)
{
    (void)state;
    assert_int_equal(hd_wish_parse(NULL), HD_WISH_AUTO);
    assert_int_equal(hd_wish_parse("auto"), HD_WISH_AUTO);
    assert_int_equal(hd_wish_parse("full"), HD_WISH_FULL);
    assert_int_equal(hd_wish_parse("cheaper"), HD_WISH_CHEAPER);
}

int main(void)
{
    hd_log_set_level(HD_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_is_made_of),
        cmocka_unit_test(test_rules_that_are_none),
        cmocka_unit_test(test_load_and_wishes),
        cmocka_unit_test(test_the_way_back_needs_no_request),
        cmocka_unit_test(test_a_lost_one_is_asked_for_only_by_name),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
