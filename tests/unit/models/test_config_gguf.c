/* What GGUF metadata mean where converters differ or leave out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "models/models_internal.h"
#include "unit/formats/open_bytes.h"
#include "unit/models/bad_config_gguf.h"

#define ABSENT HD_META_STRING, 0, NULL

static hd_model_config read_bytes(const hd_buf *b)
{
    hd_model_config c;
    hd_error err = {0};
    hd_checkpoint *ckpt = NULL;
    if (open_bytes(&ckpt, b->data, b->len, &err) != HD_OK) fail_msg("%s", err.text);
    if (hd_model_config_read(&c, ckpt, &err) != HD_OK) fail_msg("%s", err.text);
    hd_checkpoint_close(&ckpt);
    return c;
}

static hd_model_config read_changed(const meta_value *good, size_t count, meta_value changed)
{
    hd_buf b;
    hd_buf_init(&b, 1 << 16);
    put_metas(&b, good, count, &changed);
    hd_model_config c = read_bytes(&b);
    hd_buf_free(&b);
    return c;
}

static hd_model_config read_llama(meta_value changed)
{
    return read_changed(good_llama_gguf, HD_ARRAY_LEN(good_llama_gguf), changed);
}

static hd_model_config read_deepseek2(meta_value changed)
{
    return read_changed(good_deepseek2_gguf, HD_ARRAY_LEN(good_deepseek2_gguf), changed);
}

static void absent_gate_is_softmax_without_a_selection_bias(void **state)
{
    (void)state;
    assert_true(read_deepseek2((meta_value){"deepseek2.expert_gating_func", HD_META_U32, 2, NULL}).sigmoid);
    assert_false(read_deepseek2((meta_value){"deepseek2.expert_gating_func", ABSENT}).sigmoid);
}

/* The same file with one tensor: the selection bias of the first layer with experts. */
static void absent_gate_is_sigmoid_with_a_selection_bias(void **state)
{
    (void)state;
    const meta_value absent = {"deepseek2.expert_gating_func", ABSENT};
    hd_buf b;
    hd_buf_init(&b, 1 << 16);
    put_metas(&b, good_deepseek2_gguf, HD_ARRAY_LEN(good_deepseek2_gguf), &absent);
    b.data[8] = 1; /* the number of tensors */
    put_vector(&b, "blk.1.exp_probs_b.bias", 8, 0);
    put_data(&b, 32, 32);
    assert_true(read_bytes(&b).sigmoid);
    hd_buf_free(&b);
}

/* Files of V2's and V3's first year have no groups; gate is 1 (softmax) or 2 (sigmoid). */
static hd_model_config read_ungrouped(double experts, double gate)
{
    meta_value m[HD_ARRAY_LEN(good_deepseek2_gguf)];
    memcpy(m, good_deepseek2_gguf, sizeof m);
    for (size_t i = 0; i < HD_ARRAY_LEN(m); i++) {
        if (strcmp(m[i].key, "deepseek2.expert_count") == 0) m[i].number = experts;
        if (strcmp(m[i].key, "deepseek2.expert_gating_func") == 0) m[i].number = gate;
        if (strcmp(m[i].key, "deepseek2.expert_group_used_count") == 0) m[i] = (meta_value){m[i].key, ABSENT};
    }
    return read_changed(m, HD_ARRAY_LEN(m), (meta_value){"deepseek2.expert_group_count", ABSENT});
}

static void absent_groups_are_those_of_the_release(void **state)
{
    (void)state;
    hd_model_config v3 = read_ungrouped(256, 2), v2 = read_ungrouped(160, 1), lite = read_ungrouped(64, 1);
    assert_int_equal(v3.groups, 8);
    assert_int_equal(v3.groups_used, 4);
    assert_int_equal(v2.groups, 8);
    assert_int_equal(v2.groups_used, 3);
    assert_int_equal(lite.groups, 1);
    assert_int_equal(lite.groups_used, 1);
}

static void yarn_keeps_the_factor_that_the_file_gives(void **state)
{
    (void)state;
    hd_model_config c =
        read_deepseek2((meta_value){"deepseek2.rope.scaling.yarn_attn_factor", HD_META_F32, 1.25, NULL});
    assert_float_equal(c.rope.attention_factor, 1.25, 0);
    c = read_deepseek2((meta_value){"deepseek2.rope.scaling.attn_factor", HD_META_F32, 1, NULL});
    assert_float_equal(c.rope.attention_factor, 0, 0); /* computed */
}

static void softmax_is_scaled_with_any_scaling_of_positions(void **state)
{
    (void)state;
    hd_model_config c = read_deepseek2((meta_value){"general.name", HD_META_STRING, 0, "x"});
    float yarn = hd_rope_softmax_factor(&c.rope);
    c = read_deepseek2((meta_value){"deepseek2.rope.scaling.type", HD_META_STRING, 0, "linear"});
    assert_float_equal(yarn, 1.8738, 1e-4); /* (0.1 ln 40 + 1)^2 */
    assert_float_equal(hd_rope_softmax_factor(&c.rope), yarn, 0);
    c = read_deepseek2((meta_value){"deepseek2.rope.scaling.type", HD_META_STRING, 0, "none"});
    assert_float_equal(hd_rope_softmax_factor(&c.rope), 1.0, 0);
}

static void impossible_ends_of_text_are_dropped(void **state)
{
    (void)state;
    assert_int_equal(read_llama((meta_value){"tokenizer.ggml.eos_token_id", HD_META_U32, 99, NULL}).eos_count, 1);
    assert_int_equal(read_llama((meta_value){"tokenizer.ggml.eos_token_id", HD_META_U32, 100, NULL}).eos_count, 0);
    assert_int_equal(read_llama((meta_value){"tokenizer.ggml.eot_token_id", HD_META_U32, 128009, NULL}).eos_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_gate_is_softmax_without_a_selection_bias),
        cmocka_unit_test(absent_gate_is_sigmoid_with_a_selection_bias),
        cmocka_unit_test(absent_groups_are_those_of_the_release),
        cmocka_unit_test(yarn_keeps_the_factor_that_the_file_gives),
        cmocka_unit_test(softmax_is_scaled_with_any_scaling_of_positions),
        cmocka_unit_test(impossible_ends_of_text_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
