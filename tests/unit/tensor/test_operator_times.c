/* One pass of HD_SAMPLED_PASSES is timed, by the class of its operators, and the others go by the plain table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "tensor/operator_times.h"

static uint64_t now_ns = 1;
static int adds;

static uint64_t fake_clock(void)
{
    return now_ns;
}

static void add(const hd_exec *ex, float *x, const float *y, int64_t cols, int64_t n)
{
    (void)ex, (void)y, (void)cols, (void)n;
    x[0] += 1;
    adds++;
    now_ns += 100;
}

static uint64_t calls_of(const hd_operator_times *t, const char *name, uint64_t *ns)
{
    const char *found;
    uint64_t calls;
    for (int i = 0; hd_operator_times_class(t, i, &found, &calls, ns); i++)
        if (strcmp(found, name) == 0) return calls;
    return UINT64_MAX;
}

static void test_sampling(void **state)
{
    (void)state;
    const hd_backend plain = {.name = "plain", .add = add};
    hd_operator_times *t;
    hd_error err;
    float x[1] = {0};
    uint64_t ns, passes;
    hd_clock_set(fake_clock, NULL);
    assert_int_equal(hd_operator_times_open(&t, &plain, &err), HD_OK);
    for (int i = 0; i < 2 * HD_SAMPLED_PASSES; i++) {
        hd_exec ex = {.backend = hd_operator_times_begin(t)};
        assert_int_equal(ex.backend != &plain, i % HD_SAMPLED_PASSES == 0);
        ex.backend->add(&ex, x, x, 1, 1);
        ex.backend->add(&ex, x, x, 1, 1);
        now_ns += 7; /* between operators */
        hd_operator_times_end(t);
    }
    assert_int_equal(adds, 4 * HD_SAMPLED_PASSES);
    assert_int_equal(calls_of(t, "add", &ns), 4);
    assert_int_equal(ns, 400);
    assert_int_equal(calls_of(t, "matmul", &ns), 0);
    hd_operator_times_passes(t, &passes, &ns);
    assert_int_equal(passes, 2);
    assert_int_equal(ns, 414);
    hd_operator_times_close(&t);
    hd_clock_set(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sampling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
