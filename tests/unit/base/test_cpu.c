/* Unit tests of base/cpu.c.  What the machine has is held to what the kernel says of it in /proc/cpuinfo. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

static const hd_cpu_tier tiers[] = {HD_CPU_AUTO,       HD_CPU_REFERENCE, HD_CPU_AVX2, HD_CPU_AVX512,
                                    HD_CPU_AVX512BF16, HD_CPU_AMX,       HD_CPU_NEON};

static void test_names_go_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(tiers); i++) {
        hd_cpu_tier back = HD_CPU_NEON;
        assert_true(hd_cpu_parse(hd_cpu_name(tiers[i]), &back));
        assert_int_equal(back, tiers[i]);
    }
    hd_cpu_tier untouched = HD_CPU_AVX2;
    assert_false(hd_cpu_parse("avx", &untouched));
    assert_false(hd_cpu_parse("", &untouched));
    assert_false(hd_cpu_parse("AVX2", &untouched));
    assert_int_equal(untouched, HD_CPU_AVX2);
    assert_string_equal(hd_cpu_name((hd_cpu_tier)99), "unknown");
}

static void test_best_is_there(void **state)
{
    (void)state;
    assert_true(hd_cpu_has(HD_CPU_AUTO));
    assert_true(hd_cpu_has(HD_CPU_REFERENCE));
    assert_true(hd_cpu_has(hd_cpu_best()));
    assert_int_not_equal(hd_cpu_best(), HD_CPU_AUTO);
    if (hd_cpu_has(HD_CPU_AMX)) assert_true(hd_cpu_has(HD_CPU_AVX512BF16));
    if (hd_cpu_has(HD_CPU_AVX512BF16)) assert_true(hd_cpu_has(HD_CPU_AVX512));
    assert_true(hd_cpu_prefers(hd_cpu_best()));
    if (hd_cpu_has(HD_CPU_AVX512)) assert_true(hd_cpu_has(HD_CPU_AVX2));
    assert_false(hd_cpu_has(HD_CPU_NEON) && hd_cpu_has(HD_CPU_AVX2));
    assert_false(hd_cpu_has((hd_cpu_tier)99));
}

/* Whether the kernel lists all of `flags` ("avx2 fma"); false also where it lists none. */
static bool kernel_lists(const char *flags)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f) return false;
    static char line[16384];
    bool all = false;
    while (!all && fgets(line, sizeof line, f)) {
        if (strncmp(line, "flags", 5) != 0) continue;
        line[strcspn(line, "\n")] = ' ';
        all = true;
        char list[128], *save = NULL;
        snprintf(list, sizeof list, "%s", flags);
        for (char *flag = strtok_r(list, " ", &save); flag; flag = strtok_r(NULL, " ", &save)) {
            char word[64];
            snprintf(word, sizeof word, " %s ", flag);
            if (!strstr(line, word)) all = false;
        }
        break;
    }
    fclose(f);
    return all;
}

/* A tier that is said to be there must have every instruction set that its files are compiled for (CMakeLists.txt). */
static void test_tiers_have_their_instructions(void **state)
{
    (void)state;
    if (hd_cpu_has(HD_CPU_AVX2)) assert_true(kernel_lists("avx2 fma f16c bmi2"));
    if (hd_cpu_has(HD_CPU_AVX512)) assert_true(kernel_lists("avx512f avx512bw avx512dq avx512vl avx512_vnni"));
    if (hd_cpu_has(HD_CPU_AVX512BF16)) assert_true(kernel_lists("avx512_bf16"));
    if (hd_cpu_has(HD_CPU_AMX)) assert_true(kernel_lists("amx_tile amx_int8 amx_bf16 avx512_bf16"));
#if defined(__x86_64__)
    assert_int_equal(hd_cpu_has(HD_CPU_AVX2), kernel_lists("avx2 fma f16c bmi2"));
#endif
}

static void *threads_on_one_processor(void *arg)
{
    cpu_set_t all, one;
    if (sched_getaffinity(0, sizeof all, &all) != 0) return NULL;
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    if (sched_setaffinity(0, sizeof one, &one) == 0) *(int *)arg = hd_cpu_threads();
    return NULL;
}

static void test_threads_follow_the_affinity(void **state)
{
    (void)state;
    assert_in_range(hd_cpu_threads(), 1, sysconf(_SC_NPROCESSORS_CONF));
    int threads = -1;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, threads_on_one_processor, &threads), 0); /* its mask only */
    pthread_join(thread, NULL);
    if (threads == -1) skip(); /* the sandbox forbids it */
    assert_int_equal(threads, 1);
}

static void test_model_is_one_clean_line(void **state)
{
    (void)state;
    const char *model = hd_cpu_model();
    assert_true(strlen(model) > 0);
    assert_null(strpbrk(model, "\n\t"));
    assert_int_not_equal(model[0], ' ');
    assert_ptr_equal(model, hd_cpu_model());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_go_both_ways),
        cmocka_unit_test(test_best_is_there),
        cmocka_unit_test(test_tiers_have_their_instructions),
        cmocka_unit_test(test_threads_follow_the_affinity),
        cmocka_unit_test(test_model_is_one_clean_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
