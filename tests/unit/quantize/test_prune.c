/* test_prune.c: quantize/prune.h: what stays is what plain sums over the weights say, and every tensor shows just that;
 * dense and shared networks, experts apart and joined, groups; importance is cut alike; what can't be is refused. */
#include "quantize/prune.h"

#include <math.h>

#include "quantize/importance.h"
#include "unit/quantize/tiny_gguf.h"

enum { HIDDEN = 64, FFN = 128, EXPERTS = 8, WIDTH = 32, LAYER = 1 };

static char paths[2][TINY_PATH]; /* gate and up of the experts apart, joint */

static size_t find(const hd_source *s, const char *name)
{
    for (size_t i = 0; i < hd_source_count(s); i++)
        if (strcmp(hd_source_tensor(s, i)->name, name) == 0) return i;
    fail_msg("there is no %s", name);
    return 0;
}

static void add_entry(hd_imatrix *m, const char *name, size_t rows, size_t cols, uint64_t seed)
{
    hd_imatrix_entry *e;
    assert_int_equal(hd_imatrix_add(m, name, rows, cols, &e, NULL), HD_OK);
    for (size_t i = 0; i < rows * cols; i++)
        e->sums[i] = (float)(100 * tiny_uniform(&seed));
    for (size_t r = 0; r < rows; r++)
        e->counts[r] = (float)(10 + 90 * (r % 3));
}

/* Random importance of all that pruning asks for, and of some that it doesn't. */
static hd_imatrix *make_importance(bool apart)
{
    hd_imatrix *m;
    assert_int_equal(hd_imatrix_open(&m, NULL), HD_OK);
    add_entry(m, "blk.0.ffn_down.weight", 1, FFN, 1);
    add_entry(m, "blk.0.ffn_up.weight", 1, HIDDEN, 2);
    add_entry(m, "blk.1.ffn_down_shexp.weight", 1, WIDTH, 3);
    if (apart)
        add_entry(m, "blk.1.ffn_down_exps.weight", EXPERTS, WIDTH, 4);
    else
        add_entry(m, "blk.1.ffn_down_exps.weight", 1, EXPERTS * WIDTH, 4);
    add_entry(m, "blk.1.ffn_up_exps.weight", EXPERTS, HIDDEN, 5);
    assert_int_equal(hd_imatrix_sort(m, NULL), HD_OK);
    return m;
}

/* Values of a tensor as float32, [rows][cols]. */
static float *values_of(const hd_source *s, const char *name)
{
    size_t i = find(s, name);
    const hd_tensor *t = hd_source_tensor(s, i);
    float *out = hd_alloc_array((size_t)hd_tensor_values(t), sizeof *out);
    float *scratch = hd_alloc_array(hd_source_scratch(s) + 1, sizeof *scratch);
    assert_true(out && scratch);
    int64_t rows = hd_tensor_rows(t), half = rows / 2; /* in two pieces */
    hd_source_rows(s, i, 0, half, out, scratch);
    hd_source_rows(s, i, half, rows - half, out + half * hd_tensor_cols(t), scratch);
    hd_free(scratch);
    return out;
}

/* Whether `n` is among the `left` largest of scores[count]: fewer are larger. */
static bool stays(const double *scores, int count, int left, int n)
{
    int larger = 0;
    for (int i = 0; i < count; i++)
        larger += scores[i] > scores[n];
    return larger < left;
}

/* scores[matrices][cols] by the plainest sums; sums alone for experts, which count tokens, too. */
static void score(double *scores, const hd_source *s, const hd_imatrix *m, const char *name, int matrices, int cols,
                  bool sums)
{
    float *w = values_of(s, name), cost[EXPERTS * FFN];
    const hd_imatrix_entry *e = hd_imatrix_find(m, name);
    assert_true(hd_importance_columns(cost, e, matrices, cols));
    for (int i = 0; i < matrices * cols; i++) {
        scores[i] = 0;
        for (int r = 0; r < HIDDEN; r++) {
            double x = (double)w[(i / cols * HIDDEN + r) * cols + i % cols];
            scores[i] += x * x * (double)(sums ? e->sums[i] : cost[i]);
        }
    }
    hd_free(w);
}

/* The network of one matrix: the rows of gate and up and the columns of down that stay, in their order. */
static void check_dense(const hd_source *base, const hd_source *pruned, const hd_imatrix *m, const char *kind,
                        int width, int left)
{
    char name[3][TINY_NAME];
    double scores[FFN];
    float *was[3], *is[3];
    static const char *const parts[] = {"gate", "up", "down"};
    for (int k = 0; k < 3; k++) {
        snprintf(name[k], TINY_NAME, "blk.%d.ffn_%s%s.weight", kind[0] ? 1 : 0, parts[k], kind);
        was[k] = values_of(base, name[k]);
        is[k] = values_of(pruned, name[k]);
    }
    score(scores, base, m, name[2], 1, width, false);
    int at = 0;
    for (int j = 0; j < width; j++) {
        if (!stays(scores, width, left, j)) continue;
        for (int k = 0; k < 2; k++)
            assert_memory_equal(is[k] + at * HIDDEN, was[k] + j * HIDDEN, HIDDEN * sizeof(float));
        for (int r = 0; r < HIDDEN; r++)
            assert_true(is[2][r * left + at] == was[2][r * width + j]);
        at++;
    }
    assert_int_equal(at, left);
    const hd_tensor *t = hd_source_tensor(pruned, find(pruned, name[2]));
    assert_true(t->shape[0] == HIDDEN && t->shape[1] == left && t->bytes == (size_t)HIDDEN * (size_t)left * 4);
    for (int k = 0; k < 3; k++) {
        hd_free(was[k]);
        hd_free(is[k]);
    }
}

/* Which experts stay by the plainest sums, in groups. */
static int kept_experts(int kept[EXPERTS], const hd_source *base, const hd_imatrix *m, int groups, int left)
{
    double scores[EXPERTS * WIDTH], whole[EXPERTS] = {0};
    int at = 0;
    score(scores, base, m, "blk.1.ffn_down_exps.weight", EXPERTS, WIDTH, true);
    for (int i = 0; i < EXPERTS * WIDTH; i++)
        whole[i / WIDTH] += scores[i];
    for (int x = 0; x < EXPERTS; x++) {
        int size = EXPERTS / groups, group = x / size;
        if (left == EXPERTS || stays(whole + group * size, size, left / groups, x % size)) kept[at++] = x;
    }
    assert_int_equal(at, left);
    return at;
}

static void check_experts(const hd_source *base, const hd_source *pruned, const hd_imatrix *m, const int *kept,
                          int left, int width, bool joint)
{
    double scores[EXPERTS * WIDTH];
    const char *in = joint ? "blk.1.ffn_gate_up_exps.weight" : "blk.1.ffn_up_exps.weight";
    int rows = joint ? 2 : 1;
    float *up = values_of(base, in), *up_left = values_of(pruned, in);
    float *down = values_of(base, "blk.1.ffn_down_exps.weight");
    float *down_left = values_of(pruned, "blk.1.ffn_down_exps.weight");
    score(scores, base, m, "blk.1.ffn_down_exps.weight", EXPERTS, WIDTH, false);
    for (int i = 0; i < left; i++) {
        int x = kept[i], at = 0;
        for (int j = 0; j < WIDTH; j++) {
            if (!stays(scores + x * WIDTH, WIDTH, width, j)) continue;
            for (int half = 0; half < rows; half++) {
                const float *to = up_left + ((i * rows + half) * width + at) * HIDDEN;
                assert_memory_equal(to, up + ((x * rows + half) * WIDTH + j) * HIDDEN, HIDDEN * sizeof(float));
            }
            for (int r = 0; r < HIDDEN; r++)
                assert_true(down_left[(i * HIDDEN + r) * width + at] == down[(x * HIDDEN + r) * WIDTH + j]);
            at++;
        }
        assert_int_equal(at, width);
    }
    hd_free(up);
    hd_free(up_left);
    hd_free(down);
    hd_free(down_left);
}

static void check_router(const hd_source *base, const hd_source *pruned, const int *kept, int left)
{
    float *was = values_of(base, "blk.1.ffn_gate_inp.weight"), *is = values_of(pruned, "blk.1.ffn_gate_inp.weight");
    float *bias = values_of(base, "blk.1.exp_probs_b.bias"), *bias_left = values_of(pruned, "blk.1.exp_probs_b.bias");
    for (int i = 0; i < left; i++) {
        assert_memory_equal(is + i * HIDDEN, was + kept[i] * HIDDEN, HIDDEN * sizeof(float));
        assert_true(bias_left[i] == bias[kept[i]]);
    }
    hd_free(was);
    hd_free(is);
    hd_free(bias);
    hd_free(bias_left);
}

static uint64_t meta_number(const hd_source *s, const char *key)
{
    const hd_meta_list *list = hd_source_meta(s);
    uint64_t value = 0;
    size_t found = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].key.len == strlen(key) && memcmp(list->items[i].key.data, key, strlen(key)) == 0)
            found += hd_meta_u64(&list->items[i], 0, &value);
    assert_true(found <= 1);
    return value;
}

static void check_importance(const hd_source *pruned, const hd_imatrix *whole, const int *kept, int left, int width)
{
    hd_imatrix *m;
    hd_error err = {0};
    if (hd_prune_imatrix(&m, pruned, whole, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(m->count, whole->count);
    const hd_imatrix_entry *e = hd_imatrix_find(m, "blk.1.ffn_up_exps.weight");
    const hd_imatrix_entry *from = hd_imatrix_find(whole, "blk.1.ffn_up_exps.weight");
    assert_true((int)e->rows == left && e->cols == HIDDEN);
    for (int i = 0; i < left; i++) {
        assert_memory_equal(e->sums + i * HIDDEN, from->sums + kept[i] * HIDDEN, HIDDEN * sizeof(float));
        assert_true(e->counts[i] == from->counts[kept[i]]);
    }
    for (size_t i = 0; i < m->count; i++) { /* each fits what is left */
        const hd_tensor *t = hd_source_tensor(pruned, find(pruned, m->entries[i]->name));
        int64_t matrices = t->dims > 2 ? t->shape[0] : 1;
        assert_true(hd_importance_fits(m->entries[i], matrices, hd_tensor_cols(t)));
    }
    e = hd_imatrix_find(m, "blk.1.ffn_down_exps.weight");
    assert_true((int)(e->rows * e->cols) == left * width);
    hd_imatrix_close(&m);
}

static void prune_and_check(bool joint, double ffn, int multiple, int experts, int groups)
{
    hd_checkpoint *ckpt, *second;
    hd_error err = {0};
    hd_pruned facts;
    hd_source *base = tiny_open_source(paths[joint], &ckpt), *from = tiny_open_source(paths[joint], &second), *pruned;
    hd_imatrix *m = make_importance(true);
    hd_prune_options o = {.ffn = ffn, .multiple = multiple, .experts = experts, .imatrix = m};
    if (hd_source_open_pruned(&pruned, from, &o, &facts, &err) != HD_OK) fail_msg("%s", err.text);
    int kept[EXPERTS], left = experts ? experts : EXPERTS, width = facts.after.expert_ffn;
    assert_int_equal(hd_source_count(pruned), hd_source_count(base));
    kept_experts(kept, base, m, groups, left);
    check_dense(base, pruned, m, "", FFN, facts.after.ffn);
    if (!joint) check_dense(base, pruned, m, "_shexp", WIDTH, width);
    check_experts(base, pruned, m, kept, left, width, joint);
    check_router(base, pruned, kept, left);
    if (!joint) check_importance(pruned, m, kept, left, width);
    assert_int_equal(meta_number(pruned, "deepseek2.feed_forward_length"), facts.after.ffn);
    assert_int_equal(meta_number(pruned, "deepseek2.expert_feed_forward_length"), width);
    assert_int_equal(meta_number(pruned, "deepseek2.expert_count"), left);
    assert_int_equal(meta_number(pruned, "hadal.prune.expert_count_before"), experts ? EXPERTS : 0);
    assert_true(facts.arithmetic_after.output == 100 * HIDDEN);
    uint64_t gone = (uint64_t)(3 * HIDDEN) * (uint64_t)((FFN - facts.after.ffn) + 3 * (WIDTH - width)) +
                    (uint64_t)((EXPERTS - left) * HIDDEN); /* two of the experts, the shared one; the router */
    assert_int_equal(facts.arithmetic_before.layers - facts.arithmetic_after.layers, gone);
    hd_source_close(&pruned);
    hd_source_close(&base);
    hd_imatrix_close(&m);
    hd_checkpoint_close(&ckpt);
    hd_checkpoint_close(&second);
}

static void test_what_stays(void **state)
{
    (void)state;
    prune_and_check(false, 0.25, 32, 0, 2);
    prune_and_check(false, 0.4, 1, 0, 2);
    prune_and_check(false, 0, 32, 6, 2);
    prune_and_check(false, 0.3, 8, 4, 2);
    prune_and_check(true, 0.3, 8, 4, 2);
    prune_and_check(true, 0, 1, 6, 2);
}

/* The width is the nearest multiple: at least one, at most all. */
static void test_widths(void **state)
{
    (void)state;
    static const struct {
        double share;
        int multiple, ffn, expert_ffn;
    } cases[] = {{0.2, 32, 96, 32}, {0.5, 32, 64, 32}, {0.99, 32, 32, 32}, {0.1, 8, 112, 32}, {0.1, 1, 115, 29}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_checkpoint *ckpt;
        hd_pruned facts;
        hd_source *from = tiny_open_source(paths[0], &ckpt), *pruned;
        hd_prune_options o = {.ffn = cases[i].share, .multiple = cases[i].multiple};
        assert_int_equal(hd_source_open_pruned(&pruned, from, &o, &facts, NULL), HD_OK);
        assert_int_equal(facts.after.ffn, cases[i].ffn);
        assert_int_equal(facts.after.expert_ffn, cases[i].expert_ffn);
        hd_source_close(&pruned);
        hd_checkpoint_close(&ckpt);
    }
}

static void refused(double ffn, int multiple, int experts, const hd_imatrix *m, const char *why)
{
    hd_checkpoint *ckpt;
    hd_pruned facts;
    hd_error err = {0};
    hd_source *from = tiny_open_source(paths[0], &ckpt), *pruned;
    hd_prune_options o = {.ffn = ffn, .multiple = multiple, .experts = experts, .imatrix = m};
    assert_int_equal(hd_source_open_pruned(&pruned, from, &o, &facts, &err), HD_E_ARGUMENT);
    if (!strstr(err.text, why)) fail_msg("'%s' lacks '%s'", err.text, why);
    assert_null(pruned);
    hd_source_close(&from); /* still the caller's */
    hd_checkpoint_close(&ckpt);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    hd_imatrix *none, *joint = make_importance(false), *other;
    assert_int_equal(hd_imatrix_open(&none, NULL), HD_OK);
    assert_int_equal(hd_imatrix_open(&other, NULL), HD_OK);
    add_entry(other, "blk.0.ffn_down.weight", 1, FFN / 2, 1);
    refused(0.01, 32, 0, NULL, "nearer to none");
    refused(0, 1, 8, NULL, "none would go");
    refused(0, 1, 9, NULL, "none would go");
    refused(0, 1, 5, NULL, "don't divide into the model's 2 groups");
    refused(0, 1, 2, NULL, "at least 4 must stay");
    refused(0.5, 1, 0, none, "lacks 'blk.0.ffn_down.weight'");
    refused(0.5, 1, 0, other, "of another model");
    refused(0, 1, 4, joint, "doesn't tell the experts");
    hd_imatrix_close(&none);
    hd_imatrix_close(&other);
    hd_imatrix_close(&joint);
}

/* Two groups of four instead of four of two, of which none could go. */
static void make_two_groups(const char *path)
{
    static const char key[] = "deepseek2.expert_group_count";
    static char bytes[1 << 20];
    const uint32_t groups = 2;
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    size_t n = fread(bytes, 1, sizeof bytes, file), at = 0;
    while (at + sizeof key < n && memcmp(bytes + at, key, sizeof key - 1) != 0)
        at++;
    assert_true(at + sizeof key < n);
    assert_int_equal(fseek(file, (long)(at + sizeof key - 1 + 4), SEEK_SET), 0); /* behind the key and the type */
    assert_int_equal(fwrite(&groups, sizeof groups, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

static int make_models(void **state)
{
    (void)state;
    char joint[TINY_PATH + 8];
    tiny_gguf(paths[0], true);
    snprintf(joint, sizeof joint, "%s.joint", paths[0]);
    if (rename(paths[0], joint) != 0) return -1;
    snprintf(paths[1], TINY_PATH, "%.*s", TINY_PATH - 1, joint);
    tiny_gguf(paths[0], false);
    make_two_groups(paths[0]);
    make_two_groups(paths[1]);
    return 0;
}

static int remove_models(void **state)
{
    (void)state;
    tiny_gguf_remove(paths[0]);
    tiny_gguf_remove(paths[1]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
