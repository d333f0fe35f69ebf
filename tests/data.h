/* tests/data.h: where tests find their data.
 *
 * Reference data ("golden") was computed by other implementations than ours.  It is looked for in $HD_GOLDEN if that is
 * set, else in $HD_SOURCE/../shared/golden if that exists, else in $HD_SOURCE/tests/data/golden, a compact subset; a
 * test whose file is in none of them skips itself: `return hd_test_skip("what is missing");` from main.
 */
#ifndef HD_TESTS_DATA_H
#define HD_TESTS_DATA_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HD_TEST_PATH 4096
#define HD_TEST_SKIPPED 77 /* CTest shows the test as skipped */

/* The root of the repository: $HD_SOURCE, which CTest sets, or the current folder. */
static inline const char *hd_test_source(void)
{
    const char *source = getenv("HD_SOURCE");
    return source ? source : ".";
}

/* `name` below the root of the repository.  True when it exists. */
static inline bool hd_test_file(char path[HD_TEST_PATH], const char *name)
{
    int n = snprintf(path, HD_TEST_PATH, "%s/%s", hd_test_source(), name);
    return n > 0 && n < HD_TEST_PATH && access(path, R_OK) == 0;
}

/* `name` ("quants.safetensors", "models/llama") below the folder of reference data.  True when it exists. */
static inline bool hd_test_golden(char path[HD_TEST_PATH], const char *name)
{
    const char *set = getenv("HD_GOLDEN");
    int n;
    if (set)
        n = snprintf(path, HD_TEST_PATH, "%s/%s", set, name);
    else if (hd_test_file(path, "../shared/golden"))
        n = snprintf(path, HD_TEST_PATH, "%s/../shared/golden/%s", hd_test_source(), name);
    else
        n = snprintf(path, HD_TEST_PATH, "%s/tests/data/golden/%s", hd_test_source(), name);
    return n > 0 && n < HD_TEST_PATH && access(path, R_OK) == 0;
}

/* Says loudly what is missing; the value is for main to return. */
static inline int hd_test_skip(const char *missing)
{
    fprintf(stderr, "\n*** SKIPPED: %s ***\n\n", missing);
    return HD_TEST_SKIPPED;
}

#endif
