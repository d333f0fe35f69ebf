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
        if (!all[i].unknown) assert_true(sum_of(all[i].name) == all[i].parameters);
}

static void test_totals_alone_are_no_shapes(void **state)
{
    (void)state;
    hd_tensor *tensors;
    size_t count;
    hd_error err = {0};
    const hd_published *m = hd_published_find("deepseek-v4.1-flash");
    assert_true(m->unknown);
    assert_int_equal(hd_published_tensors(m, &tensors, &count, &err), HD_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "552 billion"));
}

/* Values of shared/field: V3 70,272 bytes a token at 16 bits; V4-Flash 6,880 and 5.6 MB besides. */
static void test_caches(void **state)
{
    (void)state;
    hd_cache_values v = hd_published_cache(hd_published_find("deepseek-v3"));
    assert_true(v.per_token == 61 * 576 && v.fixed == 0);
    v = hd_published_cache(hd_published_find("deepseek-v3.2"));
    assert_true(v.per_token == 61 * (576 + 128));
    v = hd_published_cache(hd_published_find("deepseek-v4-flash"));
    assert_true(v.per_token == 3440 && v.fixed == 43 * 128 * 512);
    v = hd_published_cache(hd_published_find("deepseek-llm-7b"));
    assert_true(v.per_token == 2 * 30 * 4096);
}

static hd_status read_text(hd_published *out, const char *text, hd_error *err)
{
    json_t *json = NULL;
    assert_int_equal(hd_json_parse(&json, text, strlen(text), NULL), HD_OK);
    *err = (hd_error){0};
    hd_status status = hd_published_of_json(out, "a", json, err);
    json_decref(json);
    return status;
}

#define V4_REST                                                                                                        \
    "\"hidden_size\":256,\"num_attention_heads\":8,\"head_dim\":64,\"q_lora_rank\":96,\"qk_rope_head_dim\":16,"        \
    "\"vocab_size\":768,\"n_routed_experts\":8,\"num_experts_per_tok\":3,\"moe_intermediate_size\":128,"               \
    "\"o_lora_rank\":64"

static void test_bad_configurations(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
        hd_status status;
    } cases[] = {
        {"[]", "not an object", HD_E_FORMAT},
        {"{}", "\"model_type\" is missing", HD_E_FORMAT},
        {"{\"model_type\":\"mamba\"}", "not an architecture", HD_E_UNSUPPORTED},
        {"{\"model_type\":\"hadal_scripted\",\"vocab_size\":9}", "scripted", HD_E_UNSUPPORTED},
        {"{\"model_type\":\"deepseek_v4\"}", "\"num_hidden_layers\" is missing", HD_E_FORMAT},
        {"{\"model_type\":\"deepseek_v4\",\"num_hidden_layers\":1.5}", "not an integer", HD_E_FORMAT},
        {"{\"model_type\":\"deepseek_v4\",\"num_hidden_layers\":257}", "\"num_hidden_layers\" is out of range",
         HD_E_FORMAT},
        {"{\"model_type\":\"deepseek_v4\",\"num_hidden_layers\":2,\"o_groups\":4," V4_REST "}", "compress_ratios",
         HD_E_FORMAT},
        {"{\"model_type\":\"deepseek_v4\",\"num_hidden_layers\":1,\"o_groups\":4,\"compress_ratios\":[-1]," V4_REST "}",
         "number 0 is not", HD_E_FORMAT},
        {"{\"model_type\":\"deepseek_v4\",\"num_hidden_layers\":1,\"o_groups\":3,\"compress_ratios\":[0]," V4_REST "}",
         "o_groups", HD_E_FORMAT},
        {"{\"model_type\":\"deepseek_v32\"}", "\"index_n_heads\" is missing", HD_E_FORMAT},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":64,\"num_attention_heads\":2,"
         "\"intermediate_size\":64,\"vocab_size\":64,\"quantization_config\":{\"quant_method\":\"gptq\"}}",
         "gptq", HD_E_UNSUPPORTED},
        {"{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":64,\"num_attention_heads\":2,"
         "\"intermediate_size\":64,\"vocab_size\":64,\"quantization_config\":{\"quant_method\":\"fp8\","
         "\"weight_block_size\":[64,64]}}",
         "weight_block_size", HD_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_published p;
        hd_error err;
        assert_int_equal(read_text(&p, cases[i].text, &err), cases[i].status);
        if (!strstr(err.text, cases[i].says)) fail_msg("'%s' does not say %s", err.text, cases[i].says);
    }
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
        cmocka_unit_test(test_every_parameter_is_counted), cmocka_unit_test(test_names),
        cmocka_unit_test(test_totals_alone_are_no_shapes), cmocka_unit_test(test_caches),
        cmocka_unit_test(test_bad_configurations),         cmocka_unit_test(test_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
