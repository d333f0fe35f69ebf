/* What config.json means where releases, the published code and the reference implementation differ or leave out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/models_internal.h"
#include "unit/models/bad_config.h"

/* A good configuration with one key changed (NULL: removed), or as it is when key is NULL. */
static hd_model_config read_changed(const char *base, const char *key, const char *value)
{
    hd_model_config c = {0};
    hd_error err = {0};
    json_t *json = load_config(base);
    if (key) {
        hd_buf b;
        hd_buf_init(&b, 1 << 16);
        assert_true(put_changed(&b, base, key, value));
        json_decref(json);
        assert_int_equal(hd_json_parse(&json, b.data, b.len, &err), HD_OK);
        hd_buf_free(&b);
    }
    hd_status status = hd_config_from_json(&c, json, NULL, &err);
    if (status == HD_OK) status = hd_config_check(&c, &err);
    json_decref(json);
    if (status != HD_OK) fail_msg("%s: %s", base, err.text);
    return c;
}

static void absent_groups_are_those_of_v3(void **state)
{
    (void)state;
    assert_int_equal(read_changed("v3", "n_group", NULL).groups, 8);
    assert_int_equal(read_changed("v3", "n_group", "null").groups, 1); /* no groups, as V2-Lite writes it */
    assert_int_equal(read_changed("v3", "topk_group", NULL).groups_used, 4);
    assert_int_equal(read_changed("v2", "n_group", NULL).groups, 1);
}

static void absent_scaling_is_that_of_the_line(void **state)
{
    (void)state;
    assert_float_equal(read_changed("v3", "routed_scaling_factor", NULL).routed_scale, 2.5, 0);
    assert_float_equal(read_changed("v2", "routed_scaling_factor", NULL).routed_scale, 1.0, 0);
}

static void weights_are_divided_by_their_sum_in_v3_only(void **state)
{
    (void)state;
    assert_true(read_changed("v3", "norm_topk_prob", NULL).renorm);
    assert_false(read_changed("v3", "norm_topk_prob", "false").renorm);
    assert_false(read_changed("v2", "norm_topk_prob", "true").renorm);
}

static void v3_may_rotate_halves(void **state)
{
    (void)state;
    assert_true(read_changed("v3", NULL, NULL).rope.adjacent);
    assert_false(read_changed("v3", "rope_interleave", "false").rope.adjacent);
    assert_true(read_changed("v2", "rope_interleave", "false").rope.adjacent);
}

static void latent_attention_may_have_biases(void **state)
{
    (void)state;
    assert_false(read_changed("v3", NULL, NULL).qkv_bias);
    assert_true(read_changed("v3", "attention_bias", "true").qkv_bias);
    assert_true(read_changed("v3", "attention_bias", "true").o_bias);
    assert_true(read_changed("v2", "mlp_bias", "true").mlp_bias);
}

static void yarn_without_a_factor_takes_the_ratio_of_contexts(void **state)
{
    (void)state;
    assert_float_equal(read_changed("v2", NULL, NULL).rope.factor, 40.0, 0);
    assert_float_equal(read_changed("v2", "rope_scaling.factor", "null").rope.factor, 512.0 / 256.0, 0);
    assert_float_equal(read_changed("v2", "original_max_position_embeddings", "128").rope.original_context, 128, 0);
}

static void dynamic_scaling_does_nothing_within_the_context(void **state)
{
    (void)state;
    assert_int_equal(read_changed("linear", "rope_scaling.type", "\"dynamic\"").rope.type, HD_ROPE_PLAIN);
}

static void windows_that_never_slide_are_full_attention(void **state)
{
    (void)state;
    static const char all_full[] = "{\"model_type\":\"qwen2\",\"num_hidden_layers\":2,\"hidden_size\":64,"
                                   "\"num_attention_heads\":4,\"intermediate_size\":128,\"vocab_size\":100,"
                                   "\"max_position_embeddings\":512,\"use_sliding_window\":true,\"sliding_window\":%d,"
                                   "\"max_window_layers\":%d%s}";
    static const struct {
        int window, first;
        const char *types;
        hd_status status;
    } cases[] = {
        {64, 2, "", HD_OK},
        {512, 0, "", HD_OK},
        {511, 1, "", HD_E_UNSUPPORTED},
        {64, 0, ",\"layer_types\":[\"full_attention\",\"full_attention\"]", HD_OK},
        {64, 2, ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]", HD_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char text[1024];
        hd_model_config c = {0};
        hd_error err = {0};
        json_t *json = NULL;
        snprintf(text, sizeof text, all_full, cases[i].window, cases[i].first, cases[i].types);
        assert_int_equal(hd_json_parse(&json, text, strlen(text), &err), HD_OK);
        assert_int_equal(hd_config_from_json(&c, json, NULL, &err), cases[i].status);
        json_decref(json);
    }
}

static void absent_head_width_is_128_in_qwen3(void **state)
{
    (void)state;
    assert_int_equal(read_changed("qwen3", "head_dim", NULL).head_dim, 128);
    assert_int_equal(read_changed("llama", "head_dim", NULL).head_dim, 16);
}

static void impossible_ends_of_text_are_dropped(void **state)
{
    (void)state;
    hd_model_config c = read_changed("llama", "eos_token_id", "[100, 7, 128009, 99]");
    assert_int_equal(c.eos_count, 2);
    assert_int_equal(c.eos[0], 7);
    assert_int_equal(c.eos[1], 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_groups_are_those_of_v3),
        cmocka_unit_test(absent_scaling_is_that_of_the_line),
        cmocka_unit_test(weights_are_divided_by_their_sum_in_v3_only),
        cmocka_unit_test(v3_may_rotate_halves),
        cmocka_unit_test(latent_attention_may_have_biases),
        cmocka_unit_test(yarn_without_a_factor_takes_the_ratio_of_contexts),
        cmocka_unit_test(dynamic_scaling_does_nothing_within_the_context),
        cmocka_unit_test(windows_that_never_slide_are_full_attention),
        cmocka_unit_test(absent_head_width_is_128_in_qwen3),
        cmocka_unit_test(impossible_ends_of_text_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
