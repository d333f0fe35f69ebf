/* test_low_rank.c: quantize/low_rank.h: factors give back what has that rank, and by weights lose least; the adapter's
 * file has what its report says and brings the quantized model nearer.  Skipped where LAPACK is not installed. */
#include "quantize/low_rank.h"

#include <math.h>

#include "tensor/quant.h"
#include "unit/quantize/tiny_gguf.h"

static char original[TINY_PATH], quantized[TINY_PATH + 8], adapter[TINY_PATH + 8], part[TINY_PATH + 16];

static void need_lapack(void)
{
    if (hd_low_rank_check(NULL) != HD_OK) skip();
}

static float *random_values(int64_t n, uint64_t seed)
{
    float *x = hd_alloc_array((size_t)n, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = tiny_normal(&seed);
    return x;
}

/* The weighted squares of e - b a. */
static double rest(const float *e, const float *a, const float *b, const float *weight, int64_t rows, int64_t cols,
                   int rank)
{
    double sum = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            double x = (double)e[i * cols + j];
            for (int k = 0; k < rank; k++)
                x -= (double)b[i * rank + k] * (double)a[k * cols + j];
            sum += (weight ? (double)weight[j] : 1) * x * x;
        }
    return sum;
}

static void check_factors(int64_t rows, int64_t cols)
{
    enum { RANK = 3 };
    float *b = random_values(rows * RANK, 1), *a = random_values(RANK * cols, 2), *weight = random_values(cols, 3);
    float *e = hd_calloc((size_t)(rows * cols), sizeof *e), *noise = random_values(rows * cols, 4);
    double left, left_plain, squares = 0;
    hd_error err = {0};
    for (int64_t j = 0; j < cols; j++)
        weight[j] = j % 7 == 3 ? 0 : weight[j] * weight[j] * 10; /* a column that nothing ever entered */
    for (int64_t i = 0; i < rows * cols; i++) {
        for (int k = 0; k < RANK; k++)
            e[i] += b[i / cols * RANK + k] * a[k * cols + i % cols];
        squares += (double)(e[i] * e[i]);
    }
    assert_int_equal(hd_low_rank_factor(a, b, &left, e, NULL, rows, cols, RANK, NULL, &err), HD_OK);
    assert_true(rest(e, a, b, NULL, rows, cols, RANK) < 1e-9 * squares);
    assert_true(left < 1e-6 * squares);
    for (int64_t i = 0; i < rows * cols; i++)
        e[i] += noise[i];
    assert_int_equal(hd_low_rank_factor(a, b, &left_plain, e, NULL, rows, cols, RANK, NULL, &err), HD_OK);
    double plain = rest(e, a, b, NULL, rows, cols, RANK), plain_weighted = rest(e, a, b, weight, rows, cols, RANK);
    assert_true(fabs(plain - left_plain) < 1e-4 * plain);
    assert_int_equal(hd_low_rank_factor(a, b, &left, e, weight, rows, cols, RANK, NULL, &err), HD_OK);
    double weighted = rest(e, a, b, weight, rows, cols, RANK);
    assert_true(fabs(weighted - left) < 1e-4 * weighted);
    assert_true(weighted < 0.99 * plain_weighted);
    assert_true(rest(e, a, b, NULL, rows, cols, RANK) > plain); /* each is best in its own measure */
    hd_free(a);
    hd_free(b);
    hd_free(e);
    hd_free(noise);
    hd_free(weight);
}

static void test_factors(void **state)
{
    (void)state;
    need_lapack();
    check_factors(20, 50);
    check_factors(50, 20);
    check_factors(16, 16);
}

/* Nothing to give back: zeros, and no number that isn't finite. */
static void test_no_error(void **state)
{
    (void)state;
    need_lapack();
    float e[12 * 5] = {0}, a[2 * 5], b[12 * 2];
    double left = 1;
    assert_int_equal(hd_low_rank_factor(a, b, &left, e, NULL, 12, 5, 2, NULL, NULL), HD_OK);
    assert_true(left == 0 && rest(e, a, b, NULL, 12, 5, 2) == 0);
}

static float *decode(const hd_checkpoint *ckpt, const char *name)
{
    const hd_tensor *t = hd_checkpoint_find(ckpt, name);
    if (!t) fail_msg("there is no %s", name);
    float *x = hd_alloc_array((size_t)hd_tensor_values(t), sizeof *x);
    assert_true(x && hd_decode_row(t->type, t->data, x, hd_tensor_values(t)));
    return x;
}

/* The error of a matrix with and without its factors, as they lie in the files. */
static void measure(const hd_checkpoint *from, const hd_checkpoint *base, const hd_checkpoint *factors,
                    const char *name, int rank, double *before, double *after)
{
    char a_name[TINY_NAME], b_name[TINY_NAME];
    snprintf(a_name, sizeof a_name, "%.60s.lora_a", name);
    snprintf(b_name, sizeof b_name, "%.60s.lora_b", name);
    const hd_tensor *t = hd_checkpoint_find(from, name), *a = hd_checkpoint_find(factors, a_name);
    const hd_tensor *b = hd_checkpoint_find(factors, b_name);
    int64_t rows = t->shape[0], cols = t->shape[1];
    assert_true(a && b && a->type == HD_TYPE_F16 && b->type == HD_TYPE_F16);
    assert_true(a->shape[0] == rank && a->shape[1] == cols && b->shape[0] == rows && b->shape[1] == rank);
    float *w = decode(from, name), *q = decode(base, name), *av = decode(factors, a_name),
          *bv = decode(factors, b_name);
    float *zero = hd_calloc((size_t)(rows * rank), sizeof *zero);
    for (int64_t i = 0; i < rows * cols; i++)
        w[i] -= q[i];
    *before += rest(w, av, zero, NULL, rows, cols, rank);
    *after += rest(w, av, bv, NULL, rows, cols, rank);
    hd_free(w);
    hd_free(q);
    hd_free(av);
    hd_free(bv);
    hd_free(zero);
}

static bool only_begin(void *arg, uint64_t done, uint64_t all)
{
    (void)arg;
    return done * 2 < all;
}

static hd_status stop_at_once(hd_source *from, hd_checkpoint *base, hd_low_rank_options o)
{
    hd_low_rank_report r;
    o.progress = only_begin;
    return hd_low_rank_write(from, base, adapter, &o, &r, NULL);
}

static void test_file(void **state)
{
    (void)state;
    need_lapack();
    enum { RANK = 8 };
    static const char *const names[] = {"blk.0.ffn_gate.weight",       "blk.0.ffn_up.weight",
                                        "blk.0.ffn_down.weight",       "blk.1.ffn_up_shexp.weight",
                                        "blk.1.ffn_gate_shexp.weight", "blk.1.ffn_down_shexp.weight"};
    hd_checkpoint *from_ckpt, *base, *factors;
    hd_error err = {0};
    hd_low_rank_report r;
    hd_source *from = tiny_open_source(original, &from_ckpt);
    assert_int_equal(hd_checkpoint_open(&base, quantized, &err), HD_OK);
    hd_low_rank_options o = {.rank = RANK, .pattern = "blk.*.ffn_*"};
    assert_int_equal(stop_at_once(from, base, o), HD_E_CANCELLED); /* and gone on with */
    assert_int_equal(access(part, F_OK), 0);
    if (hd_low_rank_write(from, base, adapter, &o, &r, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(hd_checkpoint_open(&factors, adapter, &err), HD_OK);
    assert_int_equal(r.matrices, HD_ARRAY_LEN(names)); /* no experts, no router */
    assert_int_equal(hd_checkpoint_tensor_count(factors), 2 * r.matrices);
    double before = 0, after = 0, alpha = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        measure(from_ckpt, base, factors, names[i], RANK, &before, &after);
    for (size_t i = 0; i < hd_checkpoint_tensor_count(factors); i++)
        bytes += hd_checkpoint_tensor(factors, i)->bytes;
    assert_int_equal(bytes, r.bytes);
    assert_true(fabs(before - r.error) < 1e-4 * before);
    assert_true(fabs(after - r.error_after) < 0.01 * after);
    assert_true(after < 0.8 * before && r.signal > before);
    assert_true(hd_meta_f64(hd_checkpoint_meta(factors, "adapter.lora.alpha"), 0, &alpha) && alpha == RANK);
    const hd_meta *type = hd_checkpoint_meta(factors, "general.type");
    assert_true(type && type->string.len == 7 && memcmp(type->string.data, "adapter", 7) == 0);
    hd_checkpoint_close(&factors);
    hd_source_close(&from);
    hd_checkpoint_close(&from_ckpt);
    hd_checkpoint_close(&base);
    unlink(adapter);
}

static void refused(const char *base_path, const char *pattern, int rank, const char *why)
{
    hd_checkpoint *from_ckpt, *base;
    hd_error err = {0};
    hd_low_rank_report r;
    hd_source *from = tiny_open_source(original, &from_ckpt);
    hd_low_rank_options o = {.rank = rank, .pattern = pattern};
    assert_int_equal(hd_checkpoint_open(&base, base_path, &err), HD_OK);
    assert_int_equal(hd_low_rank_write(from, base, adapter, &o, &r, &err), HD_E_ARGUMENT);
    if (!strstr(err.text, why)) fail_msg("'%s' lacks '%s'", err.text, why);
    hd_source_close(&from);
    hd_checkpoint_close(&from_ckpt);
    hd_checkpoint_close(&base);
    assert_int_not_equal(access(adapter, F_OK), 0);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    need_lapack();
    refused(original, "blk.*", 4, "nothing to correct");
    refused(quantized, "no.*", 4, "is called 'no.*'");
    refused(quantized, "blk.*.ffn_*", 64, "it has no rank of 64");
}

static int make_files(void **state)
{
    (void)state;
    hd_checkpoint *ckpt;
    hd_type types[256];
    hd_error err = {0};
    const hd_quant_options o = {0};
    tiny_gguf(original, false);
    snprintf(quantized, sizeof quantized, "%s.q", original);
    snprintf(adapter, sizeof adapter, "%s.lora", original);
    snprintf(part, sizeof part, "%s.part", adapter);
    hd_source *from = tiny_open_source(original, &ckpt);
    const hd_quant_mix *mix = hd_quant_mix_find("Q4_0");
    hd_quant_types(types, hd_source_tensors(from), hd_source_count(from), mix, false);
    hd_status status = hd_quantize(from, types, mix, quantized, &o, &err);
    hd_source_close(&from);
    hd_checkpoint_close(&ckpt);
    return status == HD_OK ? 0 : -1;
}

static int remove_files(void **state)
{
    (void)state;
    tiny_gguf_remove(original);
    unlink(quantized);
    unlink(adapter);
    unlink(part);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_factors),
        cmocka_unit_test(test_no_error),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
