/* What adapters add, on every tier: within the rounding of a sum of `rank` products, nothing beyond the rows asked for,
 * and the same bit for bit for one token as for several. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"

enum { TOKENS = 3, STRIDE = 80, RANK = 19 };

static float value(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (float)((double)(*seed >> 40) / (1 << 23) - 1.0);
}

static void check(const hd_backend *b, int64_t rows)
{
    float y[TOKENS * STRIDE], before[TOKENS * STRIDE], one[STRIDE], m[RANK * HD_LOW_RANK_ROWS], t[TOKENS * RANK];
    uint64_t seed = (uint64_t)rows;
    for (int i = 0; i < TOKENS * STRIDE; i++)
        y[i] = before[i] = value(&seed);
    for (int i = 0; i < RANK * HD_LOW_RANK_ROWS; i++)
        m[i] = value(&seed);
    for (int i = 0; i < TOKENS * RANK; i++)
        t[i] = value(&seed);
    b->add_low_rank(y, STRIDE, m, t, RANK, rows, TOKENS);
    for (int i = 0; i < TOKENS; i++) {
        for (int r = 0; r < STRIDE; r++) {
            double want = before[i * STRIDE + r];
            for (int j = 0; r < rows && j < RANK; j++)
                want += (double)t[i * RANK + j] * (double)m[j * HD_LOW_RANK_ROWS + r];
            assert_true(fabs(want - (double)y[i * STRIDE + r]) <= (r < rows ? 4e-6 : 0.0));
        }
        memcpy(one, before + (size_t)i * STRIDE, sizeof one);
        b->add_low_rank(one, STRIDE, m, t + (size_t)i * RANK, RANK, rows, 1);
        assert_memory_equal(one, y + (size_t)i * STRIDE, sizeof one);
    }
}

static void every_tier_adds(void **state)
{
    (void)state;
    for (hd_cpu_tier tier = HD_CPU_AUTO; tier <= HD_CPU_NEONI8MM; tier++) {
        const hd_backend *b;
        hd_error err;
        if (hd_kernels_cpu(&b, tier, &err) != HD_OK) continue;
        for (int64_t rows = 1; rows <= HD_LOW_RANK_ROWS; rows++)
            check(b, rows);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_tier_adds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
