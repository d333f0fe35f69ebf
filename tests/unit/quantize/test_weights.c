/* test_weights.c: quantize/importance.h and quantize.h: what errors cost by an importance matrix, and that it reaches
 * the encoder at its place. */
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

#include "quantize/importance.h"
#include "quantize/quantize.h"
#include "tensor/encode.h"

static char folder[] = "/tmp/hadal-weights-XXXXXX", original[96], output[96], part[128];

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-5 * fabs(want) + 1e-9)) fail_msg("%.9g, wanted %.9g", got, want);
}

/* Experts that are counted one by one weigh by their tokens; a few tokens more or less say little. */
static void test_hits(void **state)
{
    (void)state;
    enum { P = HD_IMPORTANCE_PRIOR };
    float sums[6] = {0}, counts[] = {60, 30, 0};
    hd_imatrix_entry e = {.rows = 3, .cols = 2, .sums = sums, .counts = counts};
    for (int m = 0; m < 3; m++)
        near(hd_importance_hits(&e, 3, m), ((double)counts[m] + P) / (30 + P));
    assert_true(hd_importance_hits(&e, 1, 0) == 1); /* of another shape */
    e.rows = 1;
    e.cols = 6;
    assert_true(hd_importance_hits(&e, 3, 2) == 1); /* together */
    assert_true(hd_importance_hits(&e, 1, 0) == 1);
    e.rows = 3;
    e.cols = 2;
    counts[1] = INFINITY; /* a file may hold anything */
    assert_true(hd_importance_hits(&e, 3, 0) == 1 && hd_importance_hits(&e, 3, 1) == 1);
}

static void test_columns(void **state)
{
    (void)state;
    enum { P = HD_IMPORTANCE_PRIOR };
    float out[6], sums[] = {100, 300, 2, 2, 0, 0}, counts[] = {50, 2, 0};
    hd_imatrix_entry e = {.rows = 3, .cols = 2, .sums = sums, .counts = counts};
    assert_true(hd_importance_columns(out, &e, 3, 2));
    /* the layer: (102, 302) of 52 inputs; expert 0 has 4 in the mean of its columns, expert 1 has 1 */
    double m0 = 102.0 / 52, m1 = 302.0 / 52, all = (m0 + m1) / 2;
    near((double)out[0], (100 + P * 4 / all * m0) / (50 + P));
    near((double)out[1], (300 + P * 4 / all * m1) / (50 + P));
    near((double)out[2], (2 + P * 1 / all * m0) / (2 + P));
    near((double)out[3], (2 + P * 1 / all * m1) / (2 + P));
    near((double)out[4], m0); /* it saw nothing */
    near((double)out[5], m1);
    /* one matrix is taken as it is */
    e = (hd_imatrix_entry){.rows = 1, .cols = 2, .sums = sums, .counts = counts};
    assert_true(hd_importance_columns(out, &e, 1, 2));
    near((double)out[0], 2);
    near((double)out[1], 6);
    /* and so are several with one count */
    e.cols = 6;
    assert_true(hd_importance_columns(out, &e, 3, 2));
    near((double)out[1], 6);
    near((double)out[2], 2.0 / 50);
    near((double)out[4], 102.0 / 150);
    /* nothing was counted: all alike */
    counts[0] = 0;
    assert_true(hd_importance_columns(out, &e, 3, 2));
    for (int i = 0; i < 6; i++)
        assert_true(out[i] == 1);
    /* other shapes */
    assert_false(hd_importance_columns(out, &e, 2, 2));
    assert_false(hd_importance_columns(out, &e, 3, 3));
    e = (hd_imatrix_entry){.rows = 2, .cols = 3, .sums = sums, .counts = counts};
    assert_false(hd_importance_columns(out, &e, 3, 2));
}

/* Two matrices of three rows of five columns; a piece that begins and ends within rows. */
static void test_pieces(void **state)
{
    (void)state;
    static const float columns[10] = {1, 2, 3, 4, 5, 10, 20, 30, 40, 50};
    float whole[30], piece[30];
    hd_importance_weights(whole, columns, 3, 5, 0, 30);
    for (int i = 0; i < 30; i++)
        assert_true(whole[i] == columns[i / 15 * 5 + i % 5]);
    for (int at = 0; at < 30; at += 7) {
        int n = HD_MIN(11, 30 - at);
        hd_importance_weights(piece, columns, 3, 5, at, n);
        assert_memory_equal(piece, whole + at, (size_t)n * sizeof *piece);
    }
}

/* ---- a run ---- */

enum { MATRICES = 3, ROWS = 200, COLS = 96, VALUES = MATRICES * ROWS * COLS }; /* pieces begin within rows */

static float values[VALUES];
static hd_imatrix *matrix;

static const hd_meta meta = {.key = {"quantize.imatrix.file", 21}, .type = HD_META_STRING, .string = {"old", 3}};
static const hd_tensor tensors[] = {
    {.name = "blk.0.ffn_up_exps.weight",
     .type = HD_TYPE_F32,
     .dims = 3,
     .shape = {MATRICES, ROWS, COLS, 1},
     .data = values,
     .bytes = sizeof values},
    {.name = "blk.0.attn_q.weight",
     .type = HD_TYPE_F32,
     .dims = 2,
     .shape = {ROWS, COLS, 1, 1},
     .data = values,
     .bytes = sizeof values / MATRICES},
};

static bool cancel_after(void *arg, uint64_t done, uint64_t all)
{
    return all > 0 && done < *(const uint64_t *)arg;
}

static hd_status run(const hd_imatrix *m, const char *file, uint64_t until, hd_error *err)
{
    hd_type types[2];
    hd_checkpoint *c;
    const hd_quant_options o = {
        .progress = cancel_after, .arg = &until, .stretch = 1 << 15, .imatrix = m, .imatrix_file = file};
    assert_int_equal(hd_checkpoint_open(&c, original, NULL), HD_OK);
    hd_source *source;
    assert_int_equal(hd_source_open_gguf(&source, c, NULL, "", NULL), HD_OK);
    for (size_t i = 0; i < 2; i++)
        types[i] = HD_TYPE_Q4_1;
    hd_status status = hd_quantize(source, types, hd_quant_mix_find("Q4_1"), output, &o, err);
    hd_source_close(&source);
    hd_checkpoint_close(&c);
    return status;
}

static bool meta_is(const hd_checkpoint *c, const char *key, const char *text)
{
    const hd_meta *m = hd_checkpoint_meta(c, key);
    return m && m->type == HD_META_STRING && m->string.len == strlen(text) &&
           memcmp(m->string.data, text, m->string.len) == 0;
}

/* The file has just what the encoder gives for these weights, matrix by matrix. */
static void test_the_weights_reach_the_encoder(void **state)
{
    (void)state;
    static float columns[MATRICES * COLS], weights[VALUES];
    static uint8_t want[VALUES / 32 * 20], plain[VALUES / 32 * 20];
    hd_error err;
    hd_checkpoint *c;
    uint64_t number;
    unlink(output);
    if (run(matrix, "a.gguf", UINT64_MAX, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(hd_checkpoint_open(&c, output, NULL), HD_OK);
    const hd_tensor *experts = hd_checkpoint_tensor(c, 0), *dense = hd_checkpoint_tensor(c, 1);
    assert_int_equal(experts->type, HD_TYPE_Q4_1);
    assert_true(hd_importance_columns(columns, hd_imatrix_find(matrix, experts->name), MATRICES, COLS));
    for (int i = 0; i < VALUES; i++)
        weights[i] = columns[i / (ROWS * COLS) * COLS + i % COLS];
    assert_true(hd_encode_blocks(HD_TYPE_Q4_1, values, weights, want, VALUES));
    assert_true(hd_encode_blocks(HD_TYPE_Q4_1, values, NULL, plain, VALUES));
    assert_memory_equal(experts->data, want, experts->bytes);
    assert_memory_equal(dense->data, plain, dense->bytes); /* the matrix lacks it */
    assert_true(memcmp(want, plain, sizeof want) != 0);
    assert_true(meta_is(c, "quantize.imatrix.file", "a.gguf"));
    assert_true(meta_is(c, "quantize.imatrix.dataset", "text.txt"));
    assert_true(hd_meta_u64(hd_checkpoint_meta(c, "quantize.imatrix.entries_count"), 0, &number) && number == 1);
    assert_true(hd_meta_u64(hd_checkpoint_meta(c, "quantize.imatrix.chunks_count"), 0, &number) && number == 9);
    hd_checkpoint_close(&c);
    unlink(output);
    assert_int_equal(run(NULL, NULL, UINT64_MAX, &err), HD_OK);
    assert_int_equal(hd_checkpoint_open(&c, output, NULL), HD_OK);
    assert_memory_equal(hd_checkpoint_tensor(c, 0)->data, plain, sizeof plain);
    assert_null(hd_checkpoint_meta(c, "quantize.imatrix.file")); /* the original's is no longer so */
    hd_checkpoint_close(&c);
}

/* Another matrix is another file: of other names, or of other numbers only. */
static void test_a_changed_matrix_is_noticed(void **state)
{
    (void)state;
    hd_error err;
    unlink(output);
    assert_int_equal(run(matrix, "a.gguf", VALUES, &err), HD_E_CANCELLED);
    assert_int_equal(run(NULL, NULL, UINT64_MAX, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "other settings"));
    assert_int_equal(run(matrix, "b.gguf", UINT64_MAX, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "other settings"));
    float *sums = matrix->entries[0]->sums, before[COLS];
    memcpy(before, sums, sizeof before);
    for (int i = 0; i < COLS; i++)
        sums[i] = before[COLS - 1 - i];
    assert_int_equal(run(matrix, "a.gguf", UINT64_MAX, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "another model or importance matrix"));
    memcpy(sums, before, sizeof before);
    assert_int_equal(run(matrix, "a.gguf", UINT64_MAX, &err), HD_OK);
}

static void test_of_another_model(void **state)
{
    (void)state;
    hd_error err;
    hd_imatrix *m;
    hd_imatrix_entry *e;
    unlink(output);
    assert_int_equal(hd_imatrix_open(&m, NULL), HD_OK);
    assert_int_equal(hd_imatrix_add(m, tensors[0].name, MATRICES, COLS + 32, &e, NULL), HD_OK);
    assert_int_equal(run(m, NULL, UINT64_MAX, &err), HD_E_ARGUMENT);
    assert_non_null(strstr(err.text, "of another model"));
    hd_imatrix_close(&m);
    unlink(part);
}

static int prepare(void **state)
{
    (void)state;
    hd_file_writer *w;
    hd_imatrix_entry *e;
    if (!mkdtemp(folder)) return -1;
    snprintf(original, sizeof original, "%s/original.gguf", folder);
    snprintf(output, sizeof output, "%s/output.gguf", folder);
    snprintf(part, sizeof part, "%s.part", output);
    for (int i = 0; i < VALUES; i++) {
        int block = i / 32;
        values[i] = 0.02f * sinf((float)i * 1.7f) * (1.0f + cosf((float)block));
    }
    assert_int_equal(hd_gguf_writer_open(&w, original, &meta, 1, tensors, 2, false, NULL), HD_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(hd_file_writer_put(w, tensors[i].data, tensors[i].bytes, NULL), HD_OK);
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
    hd_file_writer_close(&w);
    assert_int_equal(hd_imatrix_open(&matrix, NULL), HD_OK);
    assert_int_equal(hd_imatrix_add(matrix, tensors[0].name, MATRICES, COLS, &e, NULL), HD_OK);
    assert_int_equal(hd_imatrix_add_dataset(matrix, "text.txt", NULL), HD_OK);
    matrix->chunk_count = 9;
    for (int i = 0; i < MATRICES * COLS; i++)
        e->sums[i] = expf(sinf((float)i * 0.7f) * 3.0f);
    for (int i = 0; i < MATRICES; i++)
        e->counts[i] = (float)(1 + 40 * i);
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    hd_imatrix_close(&matrix);
    unlink(original);
    unlink(output);
    unlink(part);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_hits),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_the_weights_reach_the_encoder),
        cmocka_unit_test(test_a_changed_matrix_is_noticed),
        cmocka_unit_test(test_of_another_model),
    };
    return cmocka_run_group_tests(tests, prepare, remove_all);
}
