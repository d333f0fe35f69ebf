/* Adapters out of files: what is read is what PEFT wrote, and whatever else comes is refused by name. */
#include <math.h>
#include <sys/stat.h>

#include "base/base.h"
#include "models/adapter.h"
#include "unit/engine_fixture.h"
#include "unit/tiny_adapter.h"

static hd_model_config llama_config(void)
{
    return (hd_model_config){.arch = HD_ARCH_LLAMA,
                             .layers = 2,
                             .hidden = 32,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 8,
                             .ffn = 40,
                             .vocab = TINY_VOCAB};
}

static hd_adapter *opened(const char *path)
{
    hd_adapter *a;
    hd_error err = {0};
    must(hd_adapter_open(&a, path, &err), &err);
    return a;
}

static void a_folder_is_read(void **state)
{
    (void)state;
    tiny_model m;
    char path[TINY_PATH + 64];
    hd_adapter_info info;
    hd_error err = {0};
    hd_model_config c = llama_config();
    tiny_adapter(&m, 1);
    tiny_adapt_llama(&m, 4);
    tiny_set(&m, "base_model_name_or_path", json_string("somewhere/base"));
    tiny_adapter_write(&m);
    tiny_path(&m, "adapter_model.safetensors", path);
    for (int i = 0; i < 2; i++) {
        hd_adapter *a = opened(i ? path : m.folder);
        hd_adapter_get_info(a, &info);
        assert_int_equal(info.count, 14);
        assert_int_equal(info.rank, 4);
        assert_string_equal(info.base, "somewhere/base");
        assert_null(info.architecture);
        assert_int_equal(info.layout, HD_FORMAT_SAFETENSORS);
        assert_true(info.alpha == 8.0);
        const hd_adapter_part *p = hd_adapter_parts(a);
        for (size_t k = 0; k < info.count; k++)
            assert_true(p[k].scale == 2.0f);
        assert_int_equal(p[0].id, HD_NAME_q_weight);
        assert_int_equal(p[7].layer, 1);
        must(hd_adapter_check(a, &c, &err), &err);
        hd_adapter_close(&a);
        assert_null(a);
    }
    tiny_free(&m);
}

static void patterns_and_rslora_scale(void **state)
{
    (void)state;
    tiny_model m;
    tiny_adapter(&m, 2);
    tiny_adapt(&m, 0, "self_attn.q_proj", 32, 32, 4);
    tiny_adapt(&m, 0, "self_attn.v_proj", 16, 32, 9);
    tiny_adapt(&m, 1, "self_attn.v_proj", 16, 32, 4);
    tiny_set(&m, "use_rslora", json_true());
    tiny_set(&m, "rank_pattern", json_pack("{s:i}", "layers.0.self_attn.v_proj", 9));
    tiny_set(&m, "alpha_pattern", json_pack("{s:i, s:i}", "^model.layers.0.self_attn.v_proj", 12, "v_proj", 6));
    tiny_adapter_write(&m);
    hd_adapter *a = opened(m.folder);
    const hd_adapter_part *p = hd_adapter_parts(a);
    assert_true(p[0].scale == 4.0f); /* 8 / sqrt(4) */
    assert_true(p[1].scale == 4.0f); /* 12 / sqrt(9) */
    assert_true(p[2].scale == 3.0f); /* 6 / sqrt(4) */
    hd_adapter_close(&a);
    tiny_free(&m);
}

/* Rows of q and k of a GGUF base of the architecture llama. */
static void rows_of_rotated_heads_are_reordered(void **state)
{
    (void)state;
    tiny_model m;
    hd_model_config c = llama_config();
    float a_values[4 * 32], b_values[32 * 4];
    hd_error err = {0};
    tiny_adapter(&m, 3);
    tiny_adapt(&m, 0, "self_attn.q_proj", 32, 32, 4);
    tiny_adapter_write(&m);
    hd_adapter *a = opened(m.folder);
    const hd_adapter_part *p = hd_adapter_parts(a);
    const int64_t gguf[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* of a head of eight rows */
    for (int64_t r = 0; r < 32; r++) {
        assert_int_equal(hd_adapter_row(a, p, &c, HD_FORMAT_SAFETENSORS, r), r);
        assert_int_equal(hd_adapter_row(a, p, &c, HD_FORMAT_GGUF, r), r / 8 * 8 + gguf[r % 8]);
    }
    must(hd_adapter_values(a, p, &c, HD_FORMAT_GGUF, 0.5f, a_values, b_values, &err), &err);
    const float *from = p->b->data;
    assert_memory_equal(a_values, p->a->data, sizeof a_values);
    for (int j = 0; j < 4; j++)
        assert_true(b_values[4 + j] == from[16 + j]); /* 2.0 of the file times 0.5 */
    c.arch = HD_ARCH_QWEN2;
    assert_int_equal(hd_adapter_row(a, p, &c, HD_FORMAT_GGUF, 1), 1);
    hd_adapter_close(&a);
    tiny_free(&m);
}

/* ---- refusals ---- */

static void must_refuse(tiny_model *m, hd_status want, const char *words)
{
    hd_adapter *a;
    hd_error err = {0};
    tiny_adapter_write(m);
    must_fail(hd_adapter_open(&a, m->folder, &err), want, &err, words);
    assert_null(a);
    tiny_free(m);
}

static void begin(tiny_model *m)
{
    tiny_adapter(m, 4);
    tiny_adapt(m, 0, "self_attn.q_proj", 32, 32, 4);
}

static void each_bad_setting_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *key, *json;
        hd_status want;
        const char *words;
    } bad[] = {
        {"peft_type", "\"IA3\"", HD_E_UNSUPPORTED, "peft_type is \"IA3\""},
        {"peft_type", "7", HD_E_UNSUPPORTED, "peft_type"},
        {"use_dora", "true", HD_E_UNSUPPORTED, "use_dora"},
        {"bias", "\"all\"", HD_E_UNSUPPORTED, "bias"},
        {"bias", "3", HD_E_UNSUPPORTED, "bias"},
        {"lora_bias", "true", HD_E_UNSUPPORTED, "lora_bias"},
        {"modules_to_save", "[\"lm_head\"]", HD_E_UNSUPPORTED, "modules_to_save"},
        {"fan_in_fan_out", "true", HD_E_UNSUPPORTED, "fan_in_fan_out"},
        {"layer_replication", "[[0,1]]", HD_E_UNSUPPORTED, "layer_replication"},
        {"target_parameters", "[\"x\"]", HD_E_UNSUPPORTED, "target_parameters"},
        {"alora_invocation_tokens", "[1]", HD_E_UNSUPPORTED, "alora_invocation_tokens"},
        {"init_lora_weights", "\"pissa_niter_4\"", HD_E_UNSUPPORTED, "init_lora_weights"},
        {"r", "0", HD_E_FORMAT, "r is not a whole number"},
        {"r", "1.5", HD_E_FORMAT, "r is not a whole number"},
        {"r", "1000000", HD_E_FORMAT, "r is not a whole number"},
        {"r", "8", HD_E_FORMAT, "has a rank of 4, adapter_config.json says 8"},
        {"lora_alpha", "\"16\"", HD_E_FORMAT, "lora_alpha"},
        {"lora_alpha", "1e300", HD_E_FORMAT, "lora_alpha"},
        {"use_rslora", "1", HD_E_FORMAT, "use_rslora"},
        {"rank_pattern", "[]", HD_E_FORMAT, "rank_pattern is not an object"},
        {"rank_pattern", "{\"q_.*\": 4}", HD_E_UNSUPPORTED, "rank_pattern: 'q_.*'"},
        {"rank_pattern", "{\"\": 4}", HD_E_UNSUPPORTED, "rank_pattern"},
        {"alpha_pattern", "{\"q_proj\": null}", HD_E_FORMAT, "alpha_pattern: 'q_proj'"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        tiny_model m;
        begin(&m);
        tiny_set(&m, bad[i].key, json_loads(bad[i].json, JSON_DECODE_ANY, NULL));
        must_refuse(&m, bad[i].want, bad[i].words);
    }
}

static void each_bad_tensor_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        hd_status want;
        const char *words;
    } bad[] = {
        {"model.layers.0.self_attn.k_proj.lora_A.weight", HD_E_FORMAT, "neither half"},
        {"base_model.model.model.layers.0.self_attn.k_proj.weight", HD_E_FORMAT, "neither half"},
        {"base_model.model.model.layers.0.self_attn.k_proj.lora_magnitude_vector", HD_E_UNSUPPORTED, "DoRA"},
        {"base_model.model.model.embed_tokens.lora_embedding_A", HD_E_UNSUPPORTED, "embedding"},
        {"base_model.model.lm_head.lora_A.weight", HD_E_UNSUPPORTED, "only matrices of attention"},
        {"base_model.model.model.layers.0.mlp.experts.3.up_proj.lora_A.weight", HD_E_UNSUPPORTED, "routed experts"},
        {"base_model.model.model.layers.0.self_attn.z_proj.lora_A.weight", HD_E_UNSUPPORTED, "no architecture"},
        {"base_model.model.model.layers.x.self_attn.k_proj.lora_A.weight", HD_E_UNSUPPORTED, "no architecture"},
        {"base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight", HD_E_FORMAT, "no other half"},
        {"base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight", HD_E_FORMAT, "no other half"},
        {"base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight", HD_E_FORMAT, "no other half"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        tiny_model m;
        begin(&m);
        tiny_add(&m, bad[i].name, 4, 32);
        must_refuse(&m, bad[i].want, bad[i].words);
    }
}

static void bad_shapes_and_values_are_named(void **state)
{
    (void)state;
    const char *a = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    const char *b = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
    const float strange[] = {NAN, INFINITY};
    tiny_model m;
    begin(&m);
    tiny_remove(&m, a);
    tiny_add(&m, a, 5, 32);
    must_refuse(&m, HD_E_FORMAT, "don't meet");
    begin(&m);
    tiny_remove(&m, b);
    tiny_add(&m, b, 0, 32);
    must_refuse(&m, HD_E_FORMAT, "is no matrix");
    begin(&m);
    tiny_remove(&m, a);
    tiny_add_typed(&m, a, HD_TYPE_I32, 2, (int64_t[]){4, 32});
    must_refuse(&m, HD_E_FORMAT, "is no matrix");
    for (size_t i = 0; i < HD_ARRAY_LEN(strange); i++) {
        begin(&m);
        ((float *)(uintptr_t)tiny_find(&m, b)->data)[101] = strange[i];
        must_refuse(&m, HD_E_FORMAT, "value 101 is not a finite number");
    }
    tiny_adapter(&m, 4);
    tiny_adapt(&m, 0, "self_attn.q_proj", 32, 32, HD_ADAPTER_RANK_MAX + 1);
    must_refuse(&m, HD_E_LIMIT, "has a rank of 1025");
}

static void a_wrong_base_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int layer;
        int64_t rows, cols;
        const char *words;
    } wrong[] = {
        {"self_attn.q_proj", 2, 32, 32, "has only 2 layers"},
        {"self_attn.q_proj", 0, 48, 32, "is for a matrix of 48 x 32, the model's is 32 x 32"},
        {"mlp.down_proj", 0, 40, 32, "is for a matrix of 40 x 32, the model's is 32 x 40"},
        {"self_attn.q_a_proj", 0, 16, 32, "has no such matrix"},
        {"mlp.shared_experts.up_proj", 0, 16, 32, "has no such matrix"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(wrong); i++) {
        tiny_model m;
        hd_error err = {0};
        hd_model_config c = llama_config();
        tiny_adapter(&m, 5);
        tiny_adapt(&m, wrong[i].layer, wrong[i].name, wrong[i].rows, wrong[i].cols, 4);
        tiny_adapter_write(&m);
        hd_adapter *a = opened(m.folder);
        must_fail(hd_adapter_check(a, &c, &err), HD_E_ARGUMENT, &err, wrong[i].words);
        hd_adapter_close(&a);
        tiny_free(&m);
    }
}

/* ---- GGUF ---- */

static hd_status gguf_with(const char *type, const char *kind, hd_meta_type alpha_type, const char *tensor,
                           hd_error *err)
{
    const char *tmp = getenv("TMPDIR");
    char path[256];
    snprintf(path, sizeof path, "%s/hadal-adapter-%d.gguf", tmp ? tmp : "/tmp", (int)getpid());
    hd_meta_list metas = {0};
    hd_meta_add_text(&metas, "general.type", type, strlen(type));
    hd_meta_add_text(&metas, "adapter.type", kind, strlen(kind));
    hd_meta_add_text(&metas, "general.architecture", "llama", 5);
    if (alpha_type == HD_META_F32)
        hd_meta_add_f32(&metas, "adapter.lora.alpha", 8.0f);
    else
        hd_meta_add_text(&metas, "adapter.lora.alpha", "8", 1);
    static const float zeros[128];
    char other[HD_NAME_MAX];
    snprintf(other, sizeof other, "blk.0.attn_q.weight.lora_a");
    hd_tensor t[2] = {{.name = other, .type = HD_TYPE_F32, .dims = 2, .shape = {4, 32, 1, 1}},
                      {.name = tensor, .type = HD_TYPE_F32, .dims = 2, .shape = {32, 4, 1, 1}}};
    hd_file_writer *w;
    must(hd_gguf_writer_open(&w, path, metas.items, metas.count, t, 2, false, err), err);
    must(hd_file_writer_put(w, zeros, sizeof zeros, err), err);
    must(hd_file_writer_put(w, zeros, sizeof zeros, err), err);
    must(hd_file_writer_finish(w, err), err);
    hd_file_writer_close(&w);
    hd_meta_list_free(&metas);
    hd_adapter *a;
    hd_status status = hd_adapter_open(&a, path, err);
    assert_true(hd_adapter_is_one(path) == (strcmp(type, "adapter") == 0));
    if (status == HD_OK) assert_true(hd_adapter_parts(a)->scale == 2.0f);
    hd_adapter_close(&a);
    unlink(path);
    return status;
}

static void gguf_adapters_are_read_and_refused(void **state)
{
    (void)state;
    hd_error err = {0};
    const char *b = "blk.0.attn_q.weight.lora_b";
    must(gguf_with("adapter", "lora", HD_META_F32, b, &err), &err);
    must_fail(gguf_with("model", "lora", HD_META_F32, b, &err), HD_E_FORMAT, &err, "is no adapter");
    must_fail(gguf_with("adapter", "control", HD_META_F32, b, &err), HD_E_UNSUPPORTED, &err, "adapter.type");
    must_fail(gguf_with("adapter", "lora", HD_META_STRING, b, &err), HD_E_FORMAT, &err, "adapter.lora.alpha");
    must_fail(gguf_with("adapter", "lora", HD_META_F32, "blk.0.attn_q.weight", &err), HD_E_FORMAT, &err,
              "neither half");
}

static void missing_files_are_named(void **state)
{
    (void)state;
    tiny_model m;
    hd_adapter *a;
    hd_error err = {0};
    char path[TINY_PATH + 64];
    must_fail(hd_adapter_open(&a, "/nowhere/at/all", &err), HD_E_NOT_FOUND, &err, "/nowhere/at/all");
    begin(&m);
    must_fail(hd_adapter_open(&a, m.folder, &err), HD_E_NOT_FOUND, &err, "adapter_config.json");
    tiny_adapter_write(&m);
    assert_true(hd_adapter_is_one(m.folder));
    tiny_path(&m, "adapter_model.safetensors", path);
    unlink(path);
    must_fail(hd_adapter_open(&a, m.folder, &err), HD_E_NOT_FOUND, &err, "adapter_model");
    tiny_free(&m);
}

/* ---- files that must lie in a folder ---- */

/* A link `name` in the folder of `in` to what has that name in the folder of `out`. */
static void link_out(const tiny_model *in, const tiny_model *out, const char *name)
{
    char from[TINY_PATH + 64], to[TINY_PATH + 64];
    tiny_path(in, name, from);
    tiny_path(out, name, to);
    (void)unlink(from);
    assert_int_equal(symlink(to, from), 0);
}

static void put_file(const tiny_model *m, const char *name, const char *text)
{
    char path[TINY_PATH + 64];
    tiny_path(m, name, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Opens the folder of `in`, or that file of it, with nothing but that folder allowed. */
static void within(const tiny_model *in, const char *file, hd_status want, const char *words)
{
    char path[TINY_PATH + 64];
    hd_adapter *a;
    hd_error err = {0};
    tiny_path(in, file, path);
    hd_status status = hd_adapter_open_within(&a, *file ? path : in->folder, in->folder, &err);
    if (want == HD_OK)
        must(status, &err);
    else
        must_fail(status, want, &err, words);
    hd_adapter_close(&a);
}

static void no_file_is_read_outside_of_the_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors", "config.json",
                                        "generation_config.json"};
    tiny_model in, out;
    begin(&out);
    tiny_adapter_write(&out);
    put_file(&out, "config.json", "{}");
    put_file(&out, "generation_config.json", "{}");
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        begin(&in);
        tiny_adapter_write(&in);
        within(&in, "", HD_OK, "");
        within(&in, "adapter_model.safetensors", HD_OK, "");
        link_out(&in, &out, names[i]);
        within(&in, "", HD_E_DENIED, names[i]);
        within(&in, "adapter_model.safetensors", HD_E_DENIED, "leads out of the folder");
        tiny_free(&in);
    }
    begin(&in); /* a link within the folder is fine */
    tiny_adapter_write(&in);
    put_file(&in, "other", "{}");
    char from[TINY_PATH + 64];
    tiny_path(&in, "config.json", from);
    assert_int_equal(symlink("other", from), 0);
    within(&in, "", HD_OK, "");
    unlink(from); /* and one that leads nowhere is as good as none */
    assert_int_equal(symlink("nowhere", from), 0);
    within(&in, "", HD_OK, "");
    tiny_free(&in);
    tiny_free(&out);
}

static void parts_and_indices_are_seen_to_as_well(void **state)
{
    (void)state;
    tiny_model in, out;
    char path[TINY_PATH + 64];
    begin(&in);
    begin(&out);
    put_file(&out, "a-00002-of-00003.gguf", "GGUF");
    put_file(&in, "a-00001-of-00003.gguf", "GGUF");
    put_file(&in, "a-00003-of-00003.gguf", "GGUF");
    within(&in, "a-00001-of-00003.gguf", HD_E_FORMAT, "a-00001-of-00003.gguf"); /* it was read */
    link_out(&in, &out, "a-00002-of-00003.gguf");
    within(&in, "a-00001-of-00003.gguf", HD_E_DENIED, "a-00002-of-00003.gguf: leads out");
    within(&in, "a-00003-of-00003.gguf", HD_E_DENIED, "a-00002-of-00003.gguf: leads out");
    put_file(&in, "a-00001-of-99999.gguf", "GGUF");
    within(&in, "a-00001-of-99999.gguf", HD_E_LIMIT, "99999 parts");
    put_file(&in, "adapter_model.safetensors.index.json", "{}");
    within(&in, "adapter_model.safetensors.index.json", HD_E_UNSUPPORTED, "an index of other files");
    tiny_adapter_write(&in);
    tiny_path(&in, "adapter_model.safetensors", path);
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0); /* a folder could hold an index, or links */
    within(&in, "", HD_E_FORMAT, "is a folder");
    assert_int_equal(rmdir(path), 0);
    tiny_free(&in);
    tiny_free(&out);
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    tiny_model m;
    begin(&m);
    tiny_adapter_write(&m);
    for (uint64_t n = 1; n < 200; n++) {
        hd_adapter *a;
        hd_error err = {0};
        hd_alloc_fail_after(n);
        hd_status status = hd_adapter_open_within(&a, m.folder, m.folder, &err);
        hd_alloc_fail_after(0);
        hd_adapter_close(&a);
        if (status == HD_OK) break;
    }
    tiny_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_is_read),
        cmocka_unit_test(patterns_and_rslora_scale),
        cmocka_unit_test(rows_of_rotated_heads_are_reordered),
        cmocka_unit_test(each_bad_setting_is_named),
        cmocka_unit_test(each_bad_tensor_is_named),
        cmocka_unit_test(bad_shapes_and_values_are_named),
        cmocka_unit_test(a_wrong_base_is_refused),
        cmocka_unit_test(gguf_adapters_are_read_and_refused),
        cmocka_unit_test(missing_files_are_named),
        cmocka_unit_test(no_file_is_read_outside_of_the_folder),
        cmocka_unit_test(parts_and_indices_are_seen_to_as_well),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
