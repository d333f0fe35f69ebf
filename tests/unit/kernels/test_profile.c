/* test_profile.c: kernels/profile.h: a wrapped table computes what the real one does, and counts what it read. */
#include "unit/kernels/harness.h"

#include "kernels/profile.h"

#define ROWS 5
#define COLS 8
#define TOKENS 3

static float weights[4][ROWS * COLS], x[TOKENS * COLS], y[TOKENS * COLS], want[TOKENS * COLS];

static hd_matrix matrix(int which, int64_t rows, int64_t cols)
{
    for (int i = 0; i < ROWS * COLS; i++)
        weights[which][i] = (float)(i * 7 % 11) - (float)which;
    return (hd_matrix){.type = HD_TYPE_F32,
                       .rows = rows,
                       .cols = cols,
                       .data = (const uint8_t *)weights[which],
                       .row_bytes = (size_t)cols * sizeof(float)};
}

static hd_profile *profile;
static uint8_t scratch[1 << 16]; /* far more than these shapes need */

static const hd_backend *wrapped(hd_exec *ex)
{
    const hd_backend *table = hd_profile_wrap(profile, &hd_backend_reference);
    *ex = (hd_exec){.backend = table, .scratch = scratch, .scratch_bytes = sizeof scratch};
    hd_profile_reset(profile);
    return table;
}

static const hd_profile_row *only_row(void)
{
    size_t count = 0;
    const hd_profile_row *rows = hd_profile_rows(profile, &count);
    assert_int_equal(count, 1);
    return rows;
}

static void test_matmul(void **state)
{
    (void)state;
    hd_exec ex;
    const hd_backend *table = wrapped(&ex);
    hd_matrix w = matrix(0, ROWS, COLS);
    for (int i = 0; i < TOKENS * COLS; i++)
        x[i] = (float)i;
    hd_backend_reference.matmul(&ex, want, ROWS, &w, NULL, x, COLS, TOKENS);
    for (int call = 1; call <= 2; call++) {
        table->matmul(&ex, y, ROWS, &w, NULL, x, COLS, TOKENS);
        assert_memory_equal(y, want, TOKENS * ROWS * sizeof(float));
        const hd_profile_row *row = only_row();
        assert_string_equal(row->op, "matmul");
        assert_int_equal(row->calls, call);
        assert_true(row->rows == ROWS && row->cols == COLS && row->type == HD_TYPE_F32);
        assert_true(row->bytes == call * ROWS * COLS * 4.0 && row->read_bytes == row->bytes);
        assert_true(row->operations == call * 2.0 * ROWS * COLS * TOKENS);
        assert_true(row->seconds > 0);
    }
}

/* Products that share an input are one call, with the rows and the bytes of all. */
static void test_matmul_shared(void **state)
{
    (void)state;
    hd_exec ex;
    const hd_backend *table = wrapped(&ex);
    hd_matrix w = matrix(0, ROWS, COLS), less = matrix(0, ROWS - 1, COLS);
    const hd_product both[] = {{.y = y, .ldy = ROWS, .w = &w}, {.y = want, .ldy = ROWS, .w = &less}};
    table->matmul_shared(&ex, both, 2, x, COLS, TOKENS);
    const hd_profile_row *row = only_row();
    assert_string_equal(row->op, "matmul");
    assert_true(row->calls == 1 && row->rows == 2 * ROWS - 1 && row->cols == COLS);
    assert_true(row->bytes == (2 * ROWS - 1) * COLS * 4.0);
}

/* Each expert counts once a call however many tokens chose it; its operations once a token. */
static void test_moe(void **state)
{
    (void)state;
    enum { COUNT = 3, FFN = 5, USED = 2 };
    static const int32_t ids[TOKENS * USED] = {0, 2, 2, 0, 0, 2};
    static const float share[TOKENS * USED] = {1, 1, 1, 1, 1, 1};
    hd_matrix gate[COUNT], up[COUNT], down[COUNT];
    for (int e = 0; e < COUNT; e++) {
        gate[e] = matrix(1, FFN, COLS);
        up[e] = matrix(2, FFN, COLS);
        down[e] = matrix(3, COLS, FFN);
    }
    hd_experts experts = {.count = COUNT, .gate = gate, .up = up, .down = down};
    hd_exec ex;
    const hd_backend *table = wrapped(&ex);
    table->moe(&ex, y, &experts, x, ids, share, USED, TOKENS);
    hd_backend_reference.moe(&ex, want, &experts, x, ids, share, USED, TOKENS);
    assert_memory_equal(y, want, sizeof want);
    const hd_profile_row *row = only_row();
    assert_true(row->bytes == 2.0 * 3 * FFN * COLS * 4);
    assert_true(row->operations == (double)TOKENS * USED * 3 * 2 * FFN * COLS);
}

static void test_attend(void **state)
{
    (void)state;
    static float keys[4 * COLS], values[4 * COLS];
    uint8_t *const key_pages[] = {(uint8_t *)keys}, *const value_pages[] = {(uint8_t *)values};
    hd_rows k = {.pages = key_pages, .page_rows = 4, .stride = COLS * 4, .type = HD_TYPE_F32, .width = COLS};
    hd_rows v = k;
    v.pages = value_pages;
    hd_attend_span span = {.q = x, .out = y, .ldq = COLS, .ldo = COLS, .queries = 2, .pos0 = 1, .k = k, .v = v};
    hd_attend_shape shape = {.heads = 1, .kv_heads = 1, .k_dim = COLS, .v_dim = COLS, .scale = 1};
    hd_exec ex;
    const hd_backend *table = wrapped(&ex);
    table->attend(&ex, &shape, &span, 1);
    const hd_profile_row *row = only_row();
    assert_true(row->bytes == 2.0 * 3 * COLS * 4);                 /* three keys and three values */
    assert_true(row->operations == 2.0 * (COLS + COLS) * (2 + 3)); /* the first query sees two, the second three */
    hd_profile_reset(profile);
    span.v = k; /* one stream is read once */
    table->attend(&ex, &shape, &span, 1);
    assert_true(only_row()->bytes == 3.0 * COLS * 4);
}

/* More shapes than there are rows: the last row takes the rest, nothing is lost. */
static void test_many_shapes(void **state)
{
    (void)state;
    hd_exec ex;
    const hd_backend *table = wrapped(&ex);
    hd_matrix w = matrix(0, 1, 1);
    static float out[HD_PROFILE_ROWS_MAX * 2];
    static float zeros[HD_PROFILE_ROWS_MAX * 2];
    w.data = (const uint8_t *)zeros;
    for (int64_t rows = 1; rows < HD_PROFILE_ROWS_MAX * 2; rows++) {
        w.rows = rows;
        table->matmul(&ex, out, rows, &w, NULL, x, 1, 1);
    }
    size_t count;
    const hd_profile_row *list = hd_profile_rows(profile, &count);
    int64_t calls = 0;
    assert_int_equal(count, HD_PROFILE_ROWS_MAX);
    for (size_t i = 0; i < count; i++)
        calls += list[i].calls;
    assert_int_equal(calls, HD_PROFILE_ROWS_MAX * 2 - 1);
    assert_string_equal(list[count - 1].op, "others");
    hd_profile_reset(profile);
    (void)hd_profile_rows(profile, &count);
    assert_int_equal(count, 0);
}

static int open_profile(void **state)
{
    (void)state;
    return hd_profile_open(&profile, NULL) == HD_OK ? 0 : -1;
}

static int close_profile(void **state)
{
    (void)state;
    hd_profile_close(&profile);
    return profile ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matmul), cmocka_unit_test(test_matmul_shared),
                                       cmocka_unit_test(test_moe), cmocka_unit_test(test_attend),
                                       cmocka_unit_test(test_many_shapes)};
    return cmocka_run_group_tests(tests, open_profile, close_profile);
}
