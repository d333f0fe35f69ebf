/* test_budget.c: quantize/budget.h and recipe_file.h: the choice is the best there is, within the bytes; recipes come
 * back as they were written. */
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

#include "formats/imatrix.h"
#include "quantize/budget.h"
#include "quantize/recipe_file.h"

#define TENSORS 6

/* Three choices each, of 10, 20 and 40 bytes. */
static void make_choices(hd_choices *c)
{
    static const double errors[TENSORS][3] = {{9, 4, 1},     {5, 4, 3},   {100, 1, 0.5},
                                              {2, 1.9, 1.8}, {50, 30, 2}, {7, 7, 7}};
    memset(c, 0, TENSORS * sizeof *c);
    for (int i = 0; i < TENSORS; i++) {
        c[i].count = 3;
        c[i].free = true;
        c[i].items[0] = (hd_choice){HD_TYPE_Q2_K, 10, errors[i][0]};
        c[i].items[1] = (hd_choice){HD_TYPE_Q4_K, 20, errors[i][1]};
        c[i].items[2] = (hd_choice){HD_TYPE_Q8_0, 40, errors[i][2]};
    }
}

static int index_of(hd_type type)
{
    return type == HD_TYPE_Q2_K ? 0 : type == HD_TYPE_Q4_K ? 1 : 2;
}

/* By trying all. */
static double least_loss(const hd_choices *c, const double *cost, uint64_t bytes)
{
    double least = INFINITY;
    for (int n = 0; n < 729; n++) { /* 3^6 */
        double loss = 0;
        uint64_t sum = 0;
        for (int i = 0, rest = n; i < TENSORS; i++, rest /= 3) {
            loss += (cost ? cost[i] : 1.0) * c[i].items[rest % 3].error;
            sum += c[i].items[rest % 3].bytes;
        }
        if (sum <= bytes && loss < least) least = loss;
    }
    return least;
}

static void test_the_best_choice(void **state)
{
    (void)state;
    static const double cost[TENSORS] = {1, 8, 0.01, 3, 1, 2};
    const double *costs[] = {NULL, cost};
    hd_choices c[TENSORS];
    hd_type types[TENSORS];
    make_choices(c);
    for (int k = 0; k < 2; k++)
        for (uint64_t bytes = 60; bytes <= 250; bytes += 5) {
            double loss = 0, best = least_loss(c, costs[k], bytes);
            uint64_t sum = 0;
            assert_true(hd_budget_choose(types, c, costs[k], TENSORS, bytes));
            for (int i = 0; i < TENSORS; i++) {
                loss += (k ? cost[i] : 1.0) * c[i].items[index_of(types[i])].error;
                sum += c[i].items[index_of(types[i])].bytes;
            }
            assert_true(sum <= bytes);
            /* prices find every point of the convex hull; between two of them, no more than one step is missed */
            if (!(loss <= 1.35 * best + 1e-9))
                fail_msg("%llu bytes: %g, best %g", (unsigned long long)bytes, loss, best);
        }
    assert_false(hd_budget_choose(types, c, NULL, TENSORS, 59));
    assert_true(hd_budget_choose(types, c, NULL, TENSORS, 10000)); /* all that helps, and nothing that does not */
    assert_int_equal(types[0], HD_TYPE_Q8_0);
    assert_int_equal(types[5], HD_TYPE_Q2_K);
}

/* At one price all of many like tensors step up or none does, so that the rest is spent one by one: the first ones get
 * it, a costly one before, and a step that no longer fits lets smaller ones through. */
static void test_what_is_left_over(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    hd_choices *c = hd_alloc_array(MANY, sizeof *c);
    hd_type *types = hd_alloc_array(MANY, sizeof *types);
    double *cost = hd_alloc_array(MANY, sizeof *cost);
    assert_true(c && types && cost);
    for (size_t i = 0; i < MANY; i++) {
        cost[i] = 1;
        c[i] = (hd_choices){.count = 2, .free = true, .items = {{HD_TYPE_Q2_K, 10, 100}, {HD_TYPE_Q8_0, 30, 1}}};
    }
    cost[MANY - 1] = 1.5;
    c[MANY - 2].items[1] = (hd_choice){HD_TYPE_Q4_0, 17, 80}; /* a small step for little gain */
    assert_true(hd_budget_choose(types, c, cost, MANY, 10 * MANY + 20 * 40000 + 7));
    for (size_t i = 0; i < MANY; i++) {
        hd_type want = i < 39999 || i == MANY - 1 ? HD_TYPE_Q8_0 : i == MANY - 2 ? HD_TYPE_Q4_0 : HD_TYPE_Q2_K;
        if (types[i] != want) fail_msg("tensor %zu has %s", i, hd_type_name(types[i]));
    }
    hd_free(c);
    hd_free(types);
    hd_free(cost);
}

static char folder[] = "/tmp/hadal-budget-XXXXXX", path[96], recipe[96];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    snprintf(recipe, sizeof recipe, "%s/recipe.json", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    unlink(recipe);
    return rmdir(folder);
}

static void write_recipe(const char *text)
{
    assert_int_equal(hd_file_write(recipe, text, strlen(text), NULL), HD_OK);
}

static const hd_tensor tensors[] = {
    {.name = "token_embd.weight", .type = HD_TYPE_F32, .dims = 2, .shape = {8, 64, 1, 1}},
    {.name = "blk.0.ffn_down.weight", .type = HD_TYPE_F32, .dims = 2, .shape = {8, 256, 1, 1}},
    {.name = "blk.1.ffn_down.weight", .type = HD_TYPE_F32, .dims = 2, .shape = {8, 256, 1, 1}},
    {.name = "blk.0.ffn_norm.weight", .type = HD_TYPE_F32, .dims = 1, .shape = {64, 1, 1, 1}},
};

static hd_source *open_model(hd_checkpoint **ckpt)
{
    static float values[8 * 256];
    hd_file_writer *w;
    hd_source *source;
    for (size_t i = 0; i < HD_ARRAY_LEN(values); i++)
        values[i] = sinf((float)i * 1.3f);
    unlink(path);
    assert_int_equal(hd_gguf_writer_open(&w, path, NULL, 0, tensors, HD_ARRAY_LEN(tensors), false, NULL), HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(tensors); i++)
        assert_int_equal(hd_file_writer_put(w, values, (size_t)hd_tensor_values(&tensors[i]) * 4, NULL), HD_OK);
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
    hd_file_writer_close(&w);
    assert_int_equal(hd_checkpoint_open(ckpt, path, NULL), HD_OK);
    assert_int_equal(hd_source_open_gguf(&source, *ckpt, NULL, "", NULL), HD_OK);
    return source;
}

static void test_errors_fall_as_bytes_rise(void **state)
{
    (void)state;
    hd_checkpoint *ckpt;
    hd_source *source = open_model(&ckpt);
    hd_choices c[HD_ARRAY_LEN(tensors)];
    const hd_budget_options o = {0};
    assert_int_equal(hd_budget_measure(c, source, &o, NULL), HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(tensors); i++) {
        assert_true(c[i].free == (tensors[i].dims == 2));
        for (int k = 1; k < c[i].count; k++) {
            assert_true(c[i].items[k].bytes > c[i].items[k - 1].bytes);
            assert_true(c[i].items[k].error < c[i].items[k - 1].error);
        }
        for (int k = 0; k < c[i].count; k++)
            assert_int_equal(tensors[i].shape[tensors[i].dims - 1] % hd_type_block(c[i].items[k].type), 0);
    }
    assert_true(c[0].count >= 4 && c[1].count >= 6);
    assert_int_equal(c[3].items[0].type, HD_TYPE_F32);
    hd_source_close(&source);
    hd_checkpoint_close(&ckpt);
}

/* The tensors of experts: the first has zeros only, which no type gets wrong. */
static void test_rare_experts_cost_less(void **state)
{
    (void)state;
    static const hd_tensor experts = {
        .name = "blk.0.ffn_down_exps.weight", .type = HD_TYPE_F32, .dims = 3, .shape = {2, 4, 64, 1}};
    static float values[2 * 4 * 64];
    double error[2];
    hd_file_writer *w;
    hd_checkpoint *ckpt;
    hd_source *source;
    for (size_t i = HD_ARRAY_LEN(values) / 2; i < HD_ARRAY_LEN(values); i++)
        values[i] = sinf((float)i * 1.3f);
    unlink(path);
    assert_int_equal(hd_gguf_writer_open(&w, path, NULL, 0, &experts, 1, false, NULL), HD_OK);
    assert_int_equal(hd_file_writer_put(w, values, sizeof values, NULL), HD_OK);
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
    hd_file_writer_close(&w);
    assert_int_equal(hd_checkpoint_open(&ckpt, path, NULL), HD_OK);
    assert_int_equal(hd_source_open_gguf(&source, ckpt, NULL, "", NULL), HD_OK);
    for (int k = 0; k < 2; k++) { /* both see the same inputs, but one 9 times as many */
        hd_imatrix *m;
        hd_imatrix_entry *e;
        hd_choices c;
        assert_int_equal(hd_imatrix_open(&m, NULL), HD_OK);
        assert_int_equal(hd_imatrix_add(m, experts.name, 2, 64, &e, NULL), HD_OK);
        for (int x = 0; x < 2; x++) {
            e->counts[x] = x == k ? 900 : 100;
            for (int i = 0; i < 64; i++)
                e->sums[x * 64 + i] = e->counts[x];
        }
        assert_int_equal(hd_imatrix_sort(m, NULL), HD_OK);
        const hd_budget_options o = {.imatrix = m};
        assert_int_equal(hd_budget_measure(&c, source, &o, NULL), HD_OK);
        error[k] = hd_choices_error(&c, HD_TYPE_Q8_0);
        hd_imatrix_close(&m);
    }
    assert_true(error[0] > 0);
    double ratio = (900.0 + 32) / (100 + 32);
    assert_true(fabs(error[1] / error[0] - ratio) < 1e-3 * ratio);
    hd_source_close(&source);
    hd_checkpoint_close(&ckpt);
}

static void test_recipes_come_back(void **state)
{
    (void)state;
    hd_checkpoint *ckpt;
    hd_source *source = open_model(&ckpt);
    const hd_type types[] = {HD_TYPE_Q5_0, HD_TYPE_Q3_K, HD_TYPE_Q6_K, HD_TYPE_F32};
    hd_type back[HD_ARRAY_LEN(tensors)];
    hd_error err;
    assert_int_equal(hd_recipe_save(recipe, source, types, "a note", NULL), HD_OK);
    assert_int_equal(hd_recipe_load(back, source, recipe, NULL), HD_OK);
    assert_memory_equal(back, types, sizeof types);
    /* patterns; the last that fits counts */
    write_recipe("{\"types\": {\"blk.*\": \"F16\", \"blk.*.ffn_down.weight\": \"Q4_K\", \"*.1.*down*\": \"Q8_0\"}}");
    assert_int_equal(hd_recipe_load(back, source, recipe, NULL), HD_OK);
    const hd_type wanted[] = {HD_TYPE_F32, HD_TYPE_Q4_K, HD_TYPE_Q8_0, HD_TYPE_F16};
    assert_memory_equal(back, wanted, sizeof wanted);
    static const struct {
        const char *text, *says;
        hd_status status;
    } bad[] = {
        {"{\"types\": {\"blk.7.ffn_down.weight\": \"Q4_K\"}}", "no tensor of the model", HD_E_FORMAT},
        {"{\"types\": {\"token_embd.weight\": \"Q4_K\"}}", "no whole blocks of Q4_K", HD_E_FORMAT},
        {"{\"types\": {\"token_embd.weight\": \"Q9\"}}", "'Q9', which is no type", HD_E_FORMAT},
        {"{\"types\": {\"token_embd.weight\": 4}}", "which is no type", HD_E_FORMAT},
        {"{\"types\": {\"blk.0.ffn_down.weight\": \"TQ1_0\"}}", "can't be written", HD_E_UNSUPPORTED},
        {"[]", "no recipe", HD_E_FORMAT},
        {"{", "recipe.json", HD_E_FORMAT},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        write_recipe(bad[i].text);
        assert_int_equal(hd_recipe_load(back, source, recipe, &err), bad[i].status);
        if (!strstr(err.text, bad[i].says)) fail_msg("%s: %s", bad[i].text, err.text);
    }
    unlink(recipe);
    assert_int_equal(hd_recipe_load(back, source, recipe, &err), HD_E_NOT_FOUND);
    hd_source_close(&source);
    hd_checkpoint_close(&ckpt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_best_choice),           cmocka_unit_test(test_what_is_left_over),
        cmocka_unit_test(test_errors_fall_as_bytes_rise), cmocka_unit_test(test_rare_experts_cost_less),
        cmocka_unit_test(test_recipes_come_back),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
