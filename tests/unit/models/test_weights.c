/* Tensors against the configuration: whatever is missing, unknown, misshapen or of a wrong type is named. */
#include "base/base.h"
#include "unit/engine_fixture.h"

static hd_status try_open(tiny_model *m, hd_error *err)
{
    hd_engine *e;
    const hd_engine_options o = {.cpu = "reference", .threads = 1};
    tiny_write(m);
    hd_status status = hd_engine_open(&e, m->folder, &o, err);
    hd_engine_close(&e);
    return status;
}

/* Opens the changed model, wants this refusal, and forgets the model. */
static void must_refuse(tiny_model *m, hd_status want, const char *words)
{
    hd_error err = {0};
    must_fail(try_open(m, &err), want, &err, words);
    tiny_free(m);
}

static void must_open(tiny_model *m)
{
    hd_error err = {0};
    must(try_open(m, &err), &err);
    tiny_free(m);
}

/* Another tensor of the same name: same type, other shape; or other type. */
static void replace(tiny_model *m, const char *name, hd_type type, int dims, int64_t a, int64_t b)
{
    const int64_t shape[3] = {a, b, 1};
    tiny_remove(m, name);
    tiny_add_typed(m, name, type, dims, shape);
}

/* ---- every tensor in turn ---- */

static void each_missing_tensor_is_named(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        size_t count = 1;
        for (size_t i = 0; i < count; i++) {
            tiny_model m;
            char name[TINY_NAME], words[TINY_NAME + 64];
            if (kind)
                tiny_deepseek(&m, 41);
            else
                tiny_llama(&m, 41);
            count = m.count;
            snprintf(name, sizeof name, "%s", m.tensors[i].name);
            tiny_remove(&m, name);
            snprintf(words, sizeof words, "tensor %s is missing from", name);
            must_refuse(&m, HD_E_FORMAT, words);
        }
    }
}

static void each_wrong_shape_is_named(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        size_t count = 1;
        for (size_t i = 0; i < count; i++) {
            tiny_model m;
            char name[TINY_NAME], words[TINY_NAME + 64];
            if (kind)
                tiny_deepseek(&m, 42);
            else
                tiny_llama(&m, 42);
            count = m.count;
            hd_tensor t = m.tensors[i];
            snprintf(name, sizeof name, "%s", t.name);
            replace(&m, name, HD_TYPE_F32, t.dims, t.shape[0] + 1, t.shape[1]);
            snprintf(words, sizeof words, "tensor %s has shape [%lld", name, (long long)t.shape[0] + 1);
            must_refuse(&m, HD_E_FORMAT, words);
        }
    }
}

static void each_type_that_is_no_weight_is_named(void **state)
{
    (void)state;
    static const hd_type types[] = {HD_TYPE_I8, HD_TYPE_I16, HD_TYPE_I32, HD_TYPE_I64, HD_TYPE_U8, HD_TYPE_F8_E8M0};
    static const char *const names[] = {"model.embed_tokens.weight",
                                        "model.norm.weight",
                                        "lm_head.weight",
                                        "model.layers.1.mlp.experts.3.up_proj.weight",
                                        "model.layers.2.mlp.gate.e_score_correction_bias",
                                        "model.layers.1.self_attn.kv_b_proj.weight"};
    for (size_t i = 0; i < HD_ARRAY_LEN(types) * HD_ARRAY_LEN(names); i++) {
        tiny_model m;
        char words[TINY_NAME + 64];
        const char *name = names[i / HD_ARRAY_LEN(types)];
        hd_type type = types[i % HD_ARRAY_LEN(types)];
        tiny_deepseek(&m, 43);
        hd_tensor t = *tiny_find(&m, name);
        replace(&m, name, type, t.dims, t.shape[0], t.shape[1]);
        snprintf(words, sizeof words, "tensor %s has type %s, which is not one of weights", name, hd_type_name(type));
        hd_error err = {0};
        hd_status status = try_open(&m, &err);
        must_fail(status, t.dims == 1 ? HD_E_FORMAT : HD_E_UNSUPPORTED, &err, words);
        tiny_free(&m);
    }
}

static void dimensions_count(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 44);
    replace(&m, "model.norm.weight", HD_TYPE_F32, 2, TINY_HIDDEN, 1);
    must_refuse(&m, HD_E_FORMAT, "tensor model.norm.weight has shape [32, 1], the configuration asks for [32]");
    tiny_llama(&m, 44);
    replace(&m, "lm_head.weight", HD_TYPE_F32, 1, TINY_VOCAB, 1);
    must_refuse(&m, HD_E_FORMAT, "tensor lm_head.weight has shape [48], the configuration asks for [48, 32]");
    tiny_llama(&m, 44);
    replace(&m, "lm_head.weight", HD_TYPE_F32, 2, TINY_HIDDEN, TINY_VOCAB); /* transposed */
    must_refuse(&m, HD_E_FORMAT, "tensor lm_head.weight has shape [32, 48], the configuration asks for [48, 32]");
}

/* ---- unknown tensors ---- */

static void unknown_tensors_are_named(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 45);
    tiny_add(&m, "model.layers.0.self_attn.q_proj.bias", 0, 32);
    must_refuse(&m, HD_E_FORMAT,
                "1 tensors are not part of this architecture as configured: "
                "model.layers.0.self_attn.q_proj.bias");
    tiny_llama(&m, 45);
    tiny_add(&m, "model.layers.2.input_layernorm.weight", 0, TINY_HIDDEN); /* a third layer of two */
    must_refuse(&m, HD_E_FORMAT, "model.layers.2.input_layernorm.weight");
    tiny_llama(&m, 45);
    for (int i = 0; i < 9; i++) {
        char name[TINY_NAME];
        snprintf(name, sizeof name, "x.%d", i);
        tiny_add(&m, name, 0, 4);
    }
    must_refuse(&m, HD_E_FORMAT, "9 tensors are not part of this architecture as configured: x.0, x.1, x.2, x.3, ...");
    tiny_deepseek(&m, 45);
    tiny_add(&m, "model.layers.1.mlp.experts.8.up_proj.weight", 16, TINY_HIDDEN); /* a ninth expert */
    must_refuse(&m, HD_E_FORMAT, "model.layers.1.mlp.experts.8.up_proj.weight");
}

static void what_is_known_to_be_unused_is_ignored(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 46);
    tiny_add(&m, "model.layers.0.self_attn.rotary_emb.inv_freq", 0, 4); /* of old exporters */
    must_open(&m);
    tiny_llama(&m, 46);
    tiny_set(&m, "tie_word_embeddings", json_true()); /* and the tied matrix is written all the same */
    must_open(&m);
    tiny_llama(&m, 46);
    tiny_set(&m, "tie_word_embeddings", json_true());
    tiny_remove(&m, "lm_head.weight");
    must_open(&m);
    tiny_deepseek(&m, 46);
    tiny_set(&m, "num_nextn_predict_layers", json_integer(1));
    tiny_add(&m, "model.layers.3.eh_proj.weight", TINY_HIDDEN, 2 * TINY_HIDDEN);
    tiny_add(&m, "model.layers.3.embed_tokens.weight", TINY_VOCAB, TINY_HIDDEN);
    must_open(&m);
    tiny_deepseek(&m, 46);
    tiny_set(&m, "num_nextn_predict_layers", json_integer(1));
    tiny_add(&m, "model.layers.4.eh_proj.weight", TINY_HIDDEN, 2 * TINY_HIDDEN); /* one layer too far */
    must_refuse(&m, HD_E_FORMAT, "model.layers.4.eh_proj.weight");
}

static void biases_follow_the_configuration(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 47);
    tiny_set(&m, "attention_bias", json_true());
    must_refuse(&m, HD_E_FORMAT, "tensor model.layers.0.self_attn.q_proj.bias is missing");
    tiny_llama(&m, 47);
    tiny_set(&m, "mlp_bias", json_true());
    must_refuse(&m, HD_E_FORMAT, "tensor model.layers.0.mlp.gate_proj.bias is missing");
    tiny_llama(&m, 47);
    tiny_set(&m, "model_type", json_string("qwen2"));
    must_refuse(&m, HD_E_FORMAT, "tensor model.layers.0.self_attn.q_proj.bias is missing");
    tiny_llama(&m, 47);
    tiny_set(&m, "model_type", json_string("qwen3"));
    must_refuse(&m, HD_E_FORMAT, "tensor model.layers.0.self_attn.q_norm.weight is missing");
    tiny_llama(&m, 47);
    tiny_set(&m, "attention_bias", json_true());
    tiny_set(&m, "mlp_bias", json_true());
    for (int l = 0; l < 2; l++) {
        tiny_add_in(&m, l, "self_attn.q_proj.bias", 0, 32);
        tiny_add_in(&m, l, "self_attn.k_proj.bias", 0, 16);
        tiny_add_in(&m, l, "self_attn.v_proj.bias", 0, 16);
        tiny_add_in(&m, l, "self_attn.o_proj.bias", 0, TINY_HIDDEN);
        tiny_add_in(&m, l, "mlp.gate_proj.bias", 0, 40);
        tiny_add_in(&m, l, "mlp.up_proj.bias", 0, 40);
        tiny_add_in(&m, l, "mlp.down_proj.bias", 0, TINY_HIDDEN);
    }
    must_open(&m);
}

/* ---- FP8 with block scales ---- */

static const char fp8[] = "model.layers.0.mlp.gate_proj.weight";
static const char fp8_scale[] = "model.layers.0.mlp.gate_proj.weight_scale_inv";

/* The matrix as codes of value `code`, in blocks of `block` with scales of value 2^-i for block i. */
static void make_fp8(tiny_model *m, int64_t block)
{
    hd_tensor t = *tiny_find(m, fp8);
    replace(m, fp8, HD_TYPE_F8_E4M3, 2, t.shape[0], t.shape[1]);
    const int64_t grid[2] = {(t.shape[0] + block - 1) / block, (t.shape[1] + block - 1) / block};
    hd_tensor *scale = tiny_add_typed(m, fp8_scale, HD_TYPE_F32, 2, grid);
    for (int64_t i = 0; i < grid[0] * grid[1]; i++)
        ((float *)(uintptr_t)scale->data)[i] = ldexpf(1.0f, -(int)i);
}

static void set_block(tiny_model *m, json_t *size)
{
    tiny_set(m, "quantization_config", json_pack("{s:s,s:o}", "quant_method", "fp8", "weight_block_size", size));
}

static void fp8_needs_scales_of_the_right_shape(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 48);
    make_fp8(&m, 128);
    must_open(&m); /* 128 x 128 when nothing is said */
    tiny_llama(&m, 48);
    make_fp8(&m, 128);
    tiny_remove(&m, fp8_scale);
    must_refuse(&m, HD_E_FORMAT, "tensor model.layers.0.mlp.gate_proj.weight_scale_inv is missing");
    tiny_llama(&m, 48);
    make_fp8(&m, 16);
    must_refuse(&m, HD_E_FORMAT, "weight_scale_inv has shape [3, 2], the configuration asks for [1, 1]");
    tiny_llama(&m, 48);
    make_fp8(&m, 16);
    set_block(&m, json_pack("[i,i]", 16, 16));
    must_open(&m);
    tiny_llama(&m, 48);
    make_fp8(&m, 128);
    replace(&m, fp8_scale, HD_TYPE_I32, 2, 1, 1);
    must_refuse(&m, HD_E_FORMAT, "weight_scale_inv has type I32, which is not one of weights");
    tiny_llama(&m, 48);
    tiny_add_typed(&m, fp8_scale, HD_TYPE_F32, 2, (const int64_t[]){1, 1}); /* scales of a matrix that needs none */
    must_refuse(&m, HD_E_FORMAT, "not part of this architecture as configured: model.layers.0.mlp.gate_proj.weight_sc");
    tiny_llama(&m, 48);
    replace(&m, "model.norm.weight", HD_TYPE_F8_E5M2, 1, TINY_HIDDEN, 1); /* plain, without scales: fine */
    must_open(&m);
}

/* ---- scales of rows, as compressed-tensors has them ---- */

static const char row_scale[] = "model.layers.0.mlp.gate_proj.weight_scale";

/* The matrix as codes of `type`, with a scale for each row. */
static void make_rows(tiny_model *m, hd_type type)
{
    hd_tensor t = *tiny_find(m, fp8);
    replace(m, fp8, type, 2, t.shape[0], t.shape[1]);
    hd_tensor *scale = tiny_add_typed(m, row_scale, HD_TYPE_F32, 2, (const int64_t[]){t.shape[0], 1});
    for (int64_t i = 0; i < t.shape[0]; i++)
        ((float *)(uintptr_t)scale->data)[i] = ldexpf(1.0f, -(int)(i % 8));
}

static void rows_need_scales_of_the_right_shape(void **state)
{
    (void)state;
    static const hd_type types[] = {HD_TYPE_I8, HD_TYPE_F8_E4M3};
    tiny_model m;
    for (size_t i = 0; i < HD_ARRAY_LEN(types); i++) {
        tiny_llama(&m, 51);
        make_rows(&m, types[i]);
        must_open(&m);
        tiny_llama(&m, 51);
        make_rows(&m, types[i]);
        replace(&m, row_scale, HD_TYPE_F32, 2, 39, 1);
        must_refuse(&m, HD_E_FORMAT, "weight_scale has shape [39, 1], the configuration asks for [40, 1]");
        tiny_llama(&m, 51);
        make_rows(&m, types[i]);
        replace(&m, row_scale, HD_TYPE_F32, 1, 40, 1);
        must_refuse(&m, HD_E_FORMAT, "weight_scale has shape [40], the configuration asks for [40, 1]");
        tiny_llama(&m, 51);
        make_rows(&m, types[i]);
        replace(&m, row_scale, HD_TYPE_I32, 2, 40, 1);
        must_refuse(&m, HD_E_FORMAT, "weight_scale has type I32, which is not one of weights");
    }
    tiny_llama(&m, 51);
    make_rows(&m, HD_TYPE_I8);
    tiny_remove(&m, row_scale);
    must_refuse(&m, HD_E_UNSUPPORTED, "is not one of weights without the scales of its rows");
    tiny_llama(&m, 51); /* scales of a matrix that needs none */
    tiny_add_typed(&m, row_scale, HD_TYPE_F32, 2, (const int64_t[]){40, 1});
    must_refuse(&m, HD_E_FORMAT, "not part of this architecture as configured: model.layers.0.mlp.gate_proj.weight_sc");
}

static void set_scale(tiny_model *m, const char *name, int64_t i, float value)
{
    ((float *)(uintptr_t)tiny_find(m, name)->data)[i] = value;
}

static void scales_are_finite_and_above_0(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, -0.5f};
    tiny_model m;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        tiny_llama(&m, 52);
        make_fp8(&m, 16);
        set_block(&m, json_pack("[i,i]", 16, 16));
        set_scale(&m, fp8_scale, 3, bad[i]);
        must_refuse(&m, HD_E_FORMAT, "gate_proj.weight_scale_inv: the scale in row 1, column 1 is ");
        tiny_llama(&m, 52);
        make_rows(&m, HD_TYPE_I8);
        set_scale(&m, row_scale, 39, bad[i]);
        must_refuse(&m, HD_E_FORMAT, "gate_proj.weight_scale: the scale in row 39, column 0 is ");
    }
    for (int code = 0; code < 2; code++) { /* a block of zeros may have a scale of 0, even of negative ones */
        tiny_llama(&m, 52);
        make_fp8(&m, 16);
        set_block(&m, json_pack("[i,i]", 16, 16));
        set_scale(&m, fp8_scale, 5, 0.0f);
        uint8_t *codes = (uint8_t *)(uintptr_t)tiny_find(&m, fp8)->data;
        codes[32 * TINY_HIDDEN + 31] = 0x80;
        codes[32 * TINY_HIDDEN + 15] = 0x38; /* its neighbour's */
        if (code) codes[39 * TINY_HIDDEN + 16] = 0x01;
        if (code)
            must_refuse(&m, HD_E_FORMAT, "the scale in row 2, column 1 is 0,");
        else
            must_open(&m);
    }
}

static void weight_block_size_is_checked(void **state)
{
    (void)state;
    for (int i = 0; i < 7; i++) {
        json_t *const bad[] = {json_integer(128),           json_pack("[i]", 128),    json_pack("[i,i,i]", 8, 8, 8),
                               json_pack("[i,i]", 64, 32),  json_pack("[i,i]", 0, 0), json_pack("[i,i]", -8, -8),
                               json_pack("[s,s]", "8", "8")};
        tiny_model m;
        tiny_llama(&m, 49);
        make_fp8(&m, 128);
        for (int j = 0; j < 7; j++)
            if (j != i) json_decref(bad[j]);
        set_block(&m, bad[i]);
        must_refuse(&m, HD_E_UNSUPPORTED, "\"weight_block_size\" is not a pair of equal sizes");
    }
}

/* ---- configurations that pass their own check, but not that of the weights ---- */

/* Widths at the bounds would need petabytes of activations: the first tensor says no before any is allocated. */
static void absurd_widths_fail_on_the_first_tensor(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int value;
        const char *words;
    } cases[] = {
        {"intermediate_size", 1 << 20, "tensor model.layers.0.mlp.gate_proj.weight has shape [40, 32]"},
        {"hidden_size", 1 << 20, "has shape [32], the configuration asks for [1048576]"},
        {"moe_intermediate_size", 1 << 20, "experts.0.gate_proj.weight has shape [16, 32]"},
        {"kv_lora_rank", 1 << 20, "kv_a_proj_with_mqa.weight has shape [16, 32]"},
        {"q_lora_rank", 1 << 20, "q_a_proj.weight has shape [16, 32]"},
        {"vocab_size", 1 << 24, "embed_tokens.weight has shape [48, 32]"},
        {"n_routed_experts", 65536, "mlp.gate.weight has shape [8, 32]"},
        {"num_hidden_layers", 4096, "tensor model.layers.3.input_layernorm.weight is missing"},
        {"v_head_dim", 65536, "kv_b_proj.weight has shape [28, 12]"},
        {"max_position_embeddings", INT32_MAX, NULL}, /* costs nothing until tokens come */
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        tiny_model m;
        tiny_deepseek(&m, 50);
        tiny_set(&m, cases[i].key, json_integer(cases[i].value));
        if (cases[i].words)
            must_refuse(&m, HD_E_FORMAT, cases[i].words);
        else
            must_open(&m);
    }
}

/* Each bound alone is kept, their product is not. */
static void products_have_bounds_too(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 51);
    tiny_set(&m, "num_attention_heads", json_integer(65536));
    tiny_set(&m, "num_key_value_heads", json_integer(65536));
    tiny_set(&m, "head_dim", json_integer(65536));
    must_refuse(&m, HD_E_FORMAT, "width of all heads is 4294967296, must be in 1..16777216");
    tiny_deepseek(&m, 51);
    tiny_set(&m, "num_attention_heads", json_integer(1024));
    tiny_set(&m, "kv_lora_rank", json_integer(1 << 20));
    must_refuse(&m, HD_E_FORMAT, "latent width of all heads is 1073745920");
    tiny_deepseek(&m, 51);
    tiny_set(&m, "num_attention_heads", json_integer(65536));
    tiny_set(&m, "v_head_dim", json_integer(65536));
    must_refuse(&m, HD_E_FORMAT, "width of all heads is 4294967296");
    tiny_deepseek(&m, 51);
    tiny_set(&m, "n_routed_experts", json_integer(65536));
    tiny_set(&m, "num_experts_per_tok", json_integer(32768));
    must_refuse(&m, HD_E_FORMAT, "experts used is 32768, must be in 1..1024");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_missing_tensor_is_named),
        cmocka_unit_test(each_wrong_shape_is_named),
        cmocka_unit_test(each_type_that_is_no_weight_is_named),
        cmocka_unit_test(dimensions_count),
        cmocka_unit_test(unknown_tensors_are_named),
        cmocka_unit_test(what_is_known_to_be_unused_is_ignored),
        cmocka_unit_test(biases_follow_the_configuration),
        cmocka_unit_test(fp8_needs_scales_of_the_right_shape),
        cmocka_unit_test(rows_need_scales_of_the_right_shape),
        cmocka_unit_test(scales_are_finite_and_above_0),
        cmocka_unit_test(weight_block_size_is_checked),
        cmocka_unit_test(absurd_widths_fail_on_the_first_tensor),
        cmocka_unit_test(products_have_bounds_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
