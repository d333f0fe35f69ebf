/* test_machine.c: kernels/machine.h: what is measured of a machine is there, and in order; never how much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/machine.h"

static void test_reading(void **state)
{
    hd_pool *pool = *state;
    hd_machine_rate rate = {0};
    assert_int_equal(hd_machine_read(pool, (size_t)4 << 20, 3, &rate, NULL), HD_OK);
    assert_true(rate.best >= rate.median && rate.median > 0);
    hd_error err;
    assert_int_equal(hd_machine_read(pool, 4096, 3, &rate, &err), HD_E_ARGUMENT); /* no page for each of two threads */
    assert_int_equal(hd_machine_read(pool, (size_t)4 << 20, 0, &rate, &err), HD_E_ARGUMENT);
    assert_int_equal(hd_machine_read(pool, (size_t)4 << 20, HD_MACHINE_REPS_MAX + 1, &rate, &err), HD_E_ARGUMENT);
    assert_int_equal(hd_machine_read(pool, SIZE_MAX / 2, 1, &rate, &err), HD_E_MEMORY);
}

static void test_arithmetic(void **state)
{
    hd_pool *pool = *state;
    for (int kind = 0; kind < HD_ARITHMETIC_COUNT; kind++) {
        hd_machine_rate rate = {0};
        hd_error err;
        bool there = hd_machine_instruction((hd_arithmetic)kind) != NULL;
        hd_status status = hd_machine_arithmetic(pool, (hd_arithmetic)kind, 2, &rate, &err);
        assert_int_equal(status, there ? HD_OK : HD_E_UNSUPPORTED);
        if (there) assert_true(rate.best >= rate.median && rate.median > 0);
    }
    /* a tier that kernels use must be measurable */
    if (hd_cpu_has(HD_CPU_AVX2) || hd_cpu_has(HD_CPU_NEON)) assert_non_null(hd_machine_instruction(HD_ARITHMETIC_F32));
    assert_int_equal(hd_machine_instruction(HD_ARITHMETIC_AMX_INT8) != NULL, hd_cpu_has(HD_CPU_AMX));
}

static int open_pool(void **state)
{
    hd_pool *pool = NULL;
    if (hd_pool_open(&pool, 2, NULL) != HD_OK) return -1;
    *state = pool;
    return 0;
}

static int close_pool(void **state)
{
    hd_pool *pool = *state;
    hd_pool_close(&pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reading), cmocka_unit_test(test_arithmetic)};
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
