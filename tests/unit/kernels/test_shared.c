/* Products that share an input: on every tier the bits of each are those of a product of its own, whatever the types
 * beside it, and nothing is written outside of its rows. */
#include "unit/kernels/cases_linear.h"

enum { COLS = 512, TOKENS = 70, PARTS = 3, LD = 80 };

static const struct trio {
    hd_type type[PARTS];
    int64_t rows[PARTS];
} trios[] = {
    {{HD_TYPE_Q4_K, HD_TYPE_Q4_K, HD_TYPE_Q6_K}, {64, 16, 16}},
    {{HD_TYPE_Q4_K, HD_TYPE_Q6_K, HD_TYPE_F32}, {33, 1, 17}},   /* the last blocks are short */
    {{HD_TYPE_F32, HD_TYPE_Q8_0, HD_TYPE_BF16}, {5, 80, 31}},   /* plain before packed */
    {{HD_TYPE_F16, HD_TYPE_F8_E4M3, HD_TYPE_F32}, {16, 47, 2}}, /* none packed */
};

static float x[TOKENS * COLS], bias[LD], alone[PARTS][TOKENS * LD], together[PARTS][TOKENS * LD];

static void check(const hd_backend *backend, hd_matrix *w, int64_t n, int threads)
{
    hd_shape_limits limits = {.tokens = n, .threads = threads, .cols = COLS};
    guarded scratch = guarded_open(backend->scratch_bytes(&limits), 0, 0);
    hd_exec ex = {.pool = pool_of(threads), .scratch = scratch.data, .scratch_bytes = scratch.bytes};
    hd_product products[PARTS];
    memset(alone, 0x55, sizeof alone);
    memset(together, 0x55, sizeof together);
    for (int i = 0; i < PARTS; i++) {
        products[i] = (hd_product){.y = together[i], .ldy = LD, .w = &w[i], .bias = i == 1 ? bias : NULL};
        backend->matmul(&ex, alone[i], LD, &w[i], products[i].bias, x, COLS, n);
    }
    for (int count = 1; count <= PARTS; count++) {
        backend->matmul_shared(&ex, products, count, x, COLS, n);
        assert_memory_equal(together, alone, (size_t)count * sizeof alone[0]);
    }
    assert_true(guarded_close(&scratch));
}

static void test_shared_gives_what_each_gives_alone(void **state)
{
    (void)state;
    static const int64_t counts[] = {1, 2, 5, 16, TOKENS};
    rng r = {7};
    for (int i = 0; i < TOKENS * COLS; i++)
        x[i] = rng_normal(&r);
    for (int i = 0; i < LD; i++)
        bias[i] = rng_normal(&r);
    for (size_t t = 0; t < HD_ARRAY_LEN(tiers); t++) {
        const hd_backend *backend = checked_tier(tiers[t]);
        for (size_t i = 0; backend && i < HD_ARRAY_LEN(trios); i++) {
            hd_matrix plain[PARTS], own[PARTS];
            for (int k = 0; k < PARTS; k++) {
                plain[k] = matrix_open(trios[i].type[k], trios[i].rows[k], COLS, &r);
                own[k] = matrix_prepare(&plain[k], backend);
            }
            for (size_t c = 0; c < HD_ARRAY_LEN(counts); c++)
                for (int threads = 1; threads <= MAX_POOLS; threads++)
                    check(backend, own, counts[c], threads);
            for (int k = 0; k < PARTS; k++) {
                backend->unprepare(&own[k]);
                matrix_close(&plain[k]);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared_gives_what_each_gives_alone)};
    return cmocka_run_group_tests_name("products that share an input", tests, NULL, NULL);
}
