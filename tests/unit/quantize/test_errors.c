/* test_errors.c: quantize/errors.h: sums of squared errors, plain and weighted, are those of a loop over all values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "quantize/errors.h"
#include "quantize/importance.h"
#include "tensor/encode.h"
#include "tensor/quant.h"

#define EXPERTS 3
#define ROWS 20
#define COLS 64
#define WIDE_COLS 32768 /* a row is a piece: more pieces than are under way together */
#define WIDE_ROWS 260

static char folder[] = "/tmp/hadal-errors-XXXXXX", before[96], after[96];
static float experts[EXPERTS * ROWS * COLS], vector[COLS];
static uint8_t encoded[EXPERTS * ROWS * COLS / 32 * 18];
static int32_t table[8] = {1, 2, 3, 4, 5, 6, 7, 8};
static uint16_t wide[WIDE_ROWS * WIDE_COLS], wide_after[WIDE_ROWS * WIDE_COLS];

enum { EXPERT, VECTOR, TABLE, WIDE, ALONE, RESHAPED, COUNT };

static const hd_tensor original[COUNT] = {
    {.name = "blk.0.ffn_up_exps.weight",
     .type = HD_TYPE_F32,
     .dims = 3,
     .shape = {EXPERTS, ROWS, COLS, 1},
     .data = experts,
     .bytes = sizeof experts},
    {.name = "blk.0.attn_norm.weight",
     .type = HD_TYPE_F32,
     .dims = 1,
     .shape = {COLS, 1, 1, 1},
     .data = vector,
     .bytes = sizeof vector},
    {.name = "table", .type = HD_TYPE_I32, .dims = 1, .shape = {8, 1, 1, 1}, .data = table, .bytes = sizeof table},
    {.name = "wide.weight",
     .type = HD_TYPE_BF16,
     .dims = 2,
     .shape = {WIDE_ROWS, WIDE_COLS, 1, 1},
     .data = wide,
     .bytes = sizeof wide},
    {.name = "alone", .type = HD_TYPE_F32, .dims = 1, .shape = {COLS, 1, 1, 1}, .data = vector, .bytes = sizeof vector},
    {.name = "reshaped",
     .type = HD_TYPE_F32,
     .dims = 1,
     .shape = {COLS, 1, 1, 1},
     .data = vector,
     .bytes = sizeof vector},
};

static void write_file(const char *path, const hd_tensor *tensors, size_t count)
{
    static const hd_meta meta = {.key = {"general.architecture", 20}, .type = HD_META_STRING, .string = {"llama", 5}};
    hd_file_writer *w;
    hd_error err;
    if (hd_gguf_writer_open(&w, path, &meta, 1, tensors, count, false, &err) != HD_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(hd_file_writer_put(w, tensors[i].data, tensors[i].bytes, NULL), HD_OK);
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
    hd_file_writer_close(&w);
}

static void make_values(void)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(experts); i++) {
        size_t block = i / 32;
        experts[i] = 0.02f * sinf((float)i * 1.7f) * (1.0f + cosf((float)block));
    }
    for (size_t i = 0; i < COLS; i++)
        vector[i] = 1.0f + 0.01f * (float)i;
    for (size_t i = 0; i < HD_ARRAY_LEN(wide); i++) {
        uint32_t noise = (uint32_t)i * 2654435761u;
        wide[i] = hd_f32_to_bf16((float)(noise >> 16) / 65536.0f - 0.5f);
        wide_after[i] = noise % 5 ? wide[i] : hd_f32_to_bf16(hd_bf16_to_f32(wide[i]) + 0.125f);
    }
    assert_true(hd_encode_blocks(HD_TYPE_Q4_0, experts, NULL, encoded, HD_ARRAY_LEN(experts)));
}

static int make_files(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(before, sizeof before, "%s/before.gguf", folder);
    snprintf(after, sizeof after, "%s/after.gguf", folder);
    make_values();
    write_file(before, original, COUNT);
    hd_tensor written[COUNT];
    size_t count = 0;
    for (int i = COUNT - 1; i >= 0; i--) { /* in another order, and without one */
        if (i == ALONE) continue;
        hd_tensor *t = &written[count++];
        *t = original[i];
        if (i == EXPERT) t->type = HD_TYPE_Q4_0, t->data = encoded, t->bytes = sizeof encoded;
        if (i == WIDE) t->data = wide_after;
        if (i == RESHAPED) t->dims = 2, t->shape[0] = 8, t->shape[1] = 8;
    }
    write_file(after, written, count);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(before);
    unlink(after);
    return rmdir(folder);
}

/* Three experts, columns of unlike weight. */
static hd_imatrix *make_matrix(void)
{
    hd_imatrix *m;
    hd_imatrix_entry *e;
    assert_int_equal(hd_imatrix_open(&m, NULL), HD_OK);
    assert_int_equal(hd_imatrix_add(m, original[EXPERT].name, EXPERTS, COLS, &e, NULL), HD_OK);
    for (int x = 0; x < EXPERTS; x++) {
        e->counts[x] = (float)(100 * (x + 1));
        for (int c = 0; c < COLS; c++)
            e->sums[x * COLS + c] = e->counts[x] * (float)(1 + (c * 7 + x) % 11);
    }
    assert_int_equal(hd_imatrix_add(m, original[WIDE].name, 1, 8, &e, NULL), HD_OK); /* of another shape: not used */
    assert_int_equal(hd_imatrix_sort(m, NULL), HD_OK);
    return m;
}

static hd_status measure(hd_tensor_error *errors, const hd_imatrix *m, int threads, hd_quant_progress progress)
{
    hd_checkpoint *a, *b;
    hd_source *source;
    hd_error err = {0};
    hd_error_options o = {.imatrix = m, .progress = progress};
    assert_int_equal(hd_pool_open(&o.pool, threads, NULL), HD_OK);
    assert_int_equal(hd_checkpoint_open(&a, before, &err), HD_OK);
    assert_int_equal(hd_checkpoint_open(&b, after, &err), HD_OK);
    assert_int_equal(hd_source_open_gguf(&source, a, NULL, "", NULL), HD_OK);
    assert_int_equal(hd_source_count(source), COUNT);
    hd_status status = hd_quant_errors(errors, source, b, &o, &err);
    for (int i = 0; i < COUNT && status == HD_OK; i++)
        assert_true(!errors[i].written == (i == ALONE || i == RESHAPED));
    hd_source_close(&source);
    hd_checkpoint_close(&a);
    hd_checkpoint_close(&b);
    hd_pool_close(&o.pool);
    return status;
}

static void near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * fabs(b))) fail_msg("%.17g is not %.17g", a, b);
}

static void test_sums_are_those_of_a_loop(void **state)
{
    (void)state;
    static float decoded[HD_ARRAY_LEN(experts)];
    hd_tensor_error e[COUNT];
    hd_imatrix *m = make_matrix();
    float columns[EXPERTS * COLS];
    double squared = 0, all = 0, weighted = 0, weighted_all = 0;
    assert_int_equal(measure(e, m, 3, NULL), HD_OK);
    assert_true(hd_decode_row(HD_TYPE_Q4_0, encoded, decoded, HD_ARRAY_LEN(experts)));
    assert_true(hd_importance_columns(columns, hd_imatrix_find(m, original[EXPERT].name), EXPERTS, COLS));
    for (size_t i = 0; i < HD_ARRAY_LEN(experts); i++) {
        double x = (double)experts[i], d = x - (double)decoded[i];
        double w = (double)columns[i / (ROWS * COLS) * COLS + i % COLS];
        squared += d * d, all += x * x, weighted += w * d * d, weighted_all += w * x * x;
    }
    near(e[EXPERT].squared, squared);
    near(e[EXPERT].all, all);
    assert_true(e[EXPERT].weighted);
    near(e[EXPERT].weighted_squared, weighted);
    near(e[EXPERT].weighted_all, weighted_all);
    assert_true(fabs(weighted / weighted_all - squared / all) > 1e-9); /* the weights do something */
    assert_true(e[VECTOR].squared == 0 && e[VECTOR].all > COLS);
    assert_true(e[TABLE].squared == 0 && e[TABLE].all == 0);
    squared = all = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(wide); i++) {
        double x = (double)hd_bf16_to_f32(wide[i]), d = x - (double)hd_bf16_to_f32(wide_after[i]);
        squared += d * d, all += x * x;
    }
    assert_false(e[WIDE].weighted);
    near(e[WIDE].squared, squared);
    near(e[WIDE].all, all);
    hd_imatrix_close(&m);
}

static void test_threads_make_no_difference(void **state)
{
    (void)state;
    hd_tensor_error one[COUNT], four[COUNT];
    hd_imatrix *m = make_matrix();
    assert_int_equal(measure(one, m, 1, NULL), HD_OK);
    assert_int_equal(measure(four, m, 4, NULL), HD_OK);
    for (int i = 0; i < COUNT; i++) {
        assert_true(one[i].squared == four[i].squared && one[i].all == four[i].all);
        assert_true(one[i].weighted_squared == four[i].weighted_squared);
    }
    assert_int_equal(measure(four, NULL, 2, NULL), HD_OK);
    assert_false(four[EXPERT].weighted);
    assert_true(four[EXPERT].squared == one[EXPERT].squared && four[EXPERT].weighted_all == 0);
    hd_imatrix_close(&m);
}

static bool never(void *arg, uint64_t done, uint64_t all)
{
    (void)arg;
    assert_true(done < all);
    return false;
}

static void test_it_can_be_cancelled(void **state)
{
    (void)state;
    hd_tensor_error e[COUNT];
    assert_int_equal(measure(e, NULL, 2, never), HD_E_CANCELLED);
}

static void test_relative(void **state)
{
    (void)state;
    assert_true(hd_relative_error(0, 0) == 0 && hd_relative_error(0, 4) == 0);
    assert_true(hd_relative_error(1, 4) == 0.5);
    assert_true(isnan(hd_relative_error(1, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_are_those_of_a_loop),
        cmocka_unit_test(test_threads_make_no_difference),
        cmocka_unit_test(test_it_can_be_cancelled),
        cmocka_unit_test(test_relative),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
