/* test_published.c: models/published.h: tensors that follow from published shapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "models/published.h"

static int64_t sum_of(const char *name)
{
    hd_tensor *tensors;
    size_t count;
    int64_t sum = 0;
    assert_int_equal(hd_published_tensors(hd_published_find(name), &tensors, &count, NULL), HD_OK);
    for (size_t i = 0; i < count; i++) {
        sum += hd_tensor_values(&tensors[i]);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(tensors[i].name, tensors[k].name);
    }
    hd_free(tensors);
    return sum;
}

/* The counts of the model cards' files. */
static void test_every_parameter_is_counted(void **state)
{
    (void)state;
    size_t count;
    const hd_published *all = hd_published_all(&count);
    assert_true(sum_of("deepseek-v3") == 671026419200);
    assert_true(sum_of("deepseek-v2") == 235741434880);
    assert_true(sum_of("deepseek-v2-lite") == 15706484224);
    for (size_t i = 0; i < count; i++)
        assert_true(sum_of(all[i].name) == all[i].parameters);
}

static void test_names(void **state)
{
    (void)state;
    assert_null(hd_published_find("deepseek"));
    assert_ptr_equal(hd_published_find("DeepSeek-R1"), hd_published_find("deepseek-v3"));
    assert_ptr_equal(hd_published_find("deepseek-v2.5"), hd_published_find("deepseek-v2"));
}

static const hd_tensor *find(const hd_tensor *tensors, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void test_shapes(void **state)
{
    (void)state;
    hd_tensor *tensors;
    size_t count;
    assert_int_equal(hd_published_tensors(hd_published_find("deepseek-v3"), &tensors, &count, NULL), HD_OK);
    const hd_tensor *t = find(tensors, count, "blk.60.ffn_down_exps.weight");
    assert_true(t->dims == 3 && t->shape[0] == 256 && t->shape[1] == 7168 && t->shape[2] == 2048);
    assert_true(t->type == HD_TYPE_BF16 && t->bytes == (size_t)256 * 7168 * 2048 * 2);
    t = find(tensors, count, "blk.3.ffn_gate_inp.weight");
    assert_true(t->dims == 2 && t->type == HD_TYPE_F32);
    t = find(tensors, count, "blk.0.attn_k_b.weight");
    assert_true(t->dims == 3 && t->shape[0] == 128 && t->shape[1] == 512 && t->shape[2] == 128);
    find(tensors, count, "blk.2.ffn_down.weight");
    find(tensors, count, "blk.3.exp_probs_b.bias");
    hd_free(tensors);
    hd_alloc_fail_after(1);
    assert_int_equal(hd_published_tensors(hd_published_find("deepseek-v3"), &tensors, &count, NULL), HD_E_MEMORY);
    hd_alloc_fail_after(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_parameter_is_counted),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
