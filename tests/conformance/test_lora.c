/* Adapters that PEFT saved (tests/data/golden-lora) give PEFT's logits: named by a session in either layout, and merged
 * into the base in either layout; and they come back from GGUF as they were. */
#include <string.h>

#include "conformance/reference.h"
#include "quantize/adapter_convert.h"
#include "quantize/convert.h"

static char scratch[] = "/tmp/hadal-lora-XXXXXX";

typedef struct example {
    const char *name, *base; /* below tests/data */
    bool base_to_gguf;       /* GGUF has keys for all that the base's configuration says */
    bool merge_only;         /* kv_b, which is taken apart when a model is loaded */
    bool one_scale;          /* of all matrices: what GGUF can say, so that every bit comes back */
} example;

typedef struct files {
    char golden[HD_TEST_PATH], base[HD_TEST_PATH], gguf[128], back[128], merged[128], merged_gguf[128], base_gguf[128];
} files;

static void remove_scratch_files(void)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s/*", scratch);
    if (system(command) != 0) fail_msg("%s", command); /* hd-lint: allow: a test's own folder */
}

static bool find_files(files *f, const example *x)
{
    char relative[256];
    snprintf(relative, sizeof relative, "tests/data/golden-lora/%s", x->name);
    if (!hd_test_file(f->golden, relative)) return false;
    snprintf(relative, sizeof relative, "tests/data/%s", x->base);
    snprintf(f->gguf, sizeof f->gguf, "%s/adapter.gguf", scratch);
    snprintf(f->back, sizeof f->back, "%s/back", scratch);
    snprintf(f->merged, sizeof f->merged, "%s/merged", scratch);
    snprintf(f->merged_gguf, sizeof f->merged_gguf, "%s/merged.gguf", scratch);
    snprintf(f->base_gguf, sizeof f->base_gguf, "%s/base.gguf", scratch);
    return hd_test_file(f->base, relative);
}

/* To GGUF, and back to a folder. */
static void convert_adapter(const files *f)
{
    hd_error err = {0};
    hd_checkpoint *ckpt;
    hd_model_config config;
    hd_adapter *a;
    must(hd_checkpoint_open(&ckpt, f->base, &err), &err);
    must(hd_model_config_read(&config, ckpt, &err), &err);
    hd_adapter_target to = {.base = &config, .base_name = "base", .name = "name", .path = f->gguf};
    must(hd_adapter_open(&a, f->golden, &err), &err);
    must(hd_adapter_check(a, &config, &err), &err);
    must(hd_adapter_to_gguf(a, &to, &err), &err);
    hd_adapter_close(&a);
    to.path = f->back;
    must(hd_adapter_open(&a, f->gguf, &err), &err);
    must(hd_adapter_check(a, &config, &err), &err);
    must(hd_adapter_to_peft(a, &to, &err), &err);
    hd_adapter_close(&a);
    hd_checkpoint_close(&ckpt);
}

static void check_same_tensors(const files *f)
{
    char one[HD_TEST_PATH + 32], other[160];
    hd_checkpoint *a, *b;
    hd_error err = {0};
    snprintf(one, sizeof one, "%s/adapter_model.safetensors", f->golden);
    snprintf(other, sizeof other, "%s/adapter_model.safetensors", f->back);
    must(hd_checkpoint_open(&a, one, &err), &err);
    must(hd_checkpoint_open(&b, other, &err), &err);
    assert_int_equal(hd_checkpoint_tensor_count(a), hd_checkpoint_tensor_count(b));
    for (size_t i = 0; i < hd_checkpoint_tensor_count(a); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(a, i), *u = hd_checkpoint_find(b, t->name);
        if (!u || t->type != u->type || t->bytes != u->bytes || memcmp(t->data, u->data, t->bytes) != 0)
            fail_msg("%s: %s is not what it was", other, t->name);
    }
    hd_checkpoint_close(&a);
    hd_checkpoint_close(&b);
}

/* The base in float32, with the adapter merged into it; `adapter` NULL: without. */
static void write_base(const files *f, const char *adapter, hd_format layout, const char *to)
{
    hd_error err = {0};
    hd_checkpoint *ckpt;
    hd_tokenizer *tok = NULL;
    hd_source *source;
    hd_adapter *a = NULL;
    const hd_quant_options options = {0};
    must(hd_checkpoint_open(&ckpt, f->base, &err), &err);
    (void)hd_tokenizer_open(&tok, f->base, NULL); /* tiny models may have none */
    if (layout == HD_FORMAT_GGUF)
        must(hd_source_open_gguf(&source, ckpt, tok, "test", &err), &err);
    else
        must(hd_source_open_release(&source, ckpt, &err), &err);
    if (adapter) {
        must(hd_adapter_open(&a, adapter, &err), &err);
        must(hd_source_merge(source, a, 1.0f, &err), &err);
    }
    hd_type *types = hd_alloc_array(hd_source_count(source), sizeof *types);
    for (size_t i = 0; i < hd_source_count(source); i++)
        types[i] = HD_TYPE_F32;
    if (layout == HD_FORMAT_GGUF)
        must(hd_quantize(source, types, NULL, to, &options, &err), &err);
    else
        must(hd_convert_release(source, types, tok, to, &options, &err), &err);
    hd_free(types);
    hd_adapter_close(&a);
    hd_source_close(&source);
    hd_tokenizer_close(&tok);
    hd_checkpoint_close(&ckpt);
}

static void check_refused(const files *f, const char *text)
{
    hd_error err = {0};
    hd_engine *e;
    hd_lora *lora;
    const hd_engine_options options = {.cpu = "reference", .lora_rank = 64};
    must(hd_engine_open(&e, f->base, &options, &err), &err);
    assert_int_equal(hd_lora_open(&lora, e, f->golden, 1.0, &err), HD_E_UNSUPPORTED);
    if (!strstr(err.text, text)) fail_msg("%s", err.text);
    hd_engine_close(&e);
}

static void test_adapter(void **state)
{
    const example *x = *state;
    files f;
    assert_true(find_files(&f, x));
    convert_adapter(&f);
    if (x->one_scale) check_same_tensors(&f);
    if (x->merge_only) check_refused(&f, "kv_b");
    if (!x->merge_only) check_adapted(f.golden, f.base, f.golden, "PEFT's");
    if (!x->merge_only) check_adapted(f.golden, f.base, f.gguf, "as GGUF");
    if (!x->merge_only) check_adapted(f.golden, f.base, f.back, "back from GGUF");
    write_base(&f, f.golden, HD_FORMAT_SAFETENSORS, f.merged);
    check_adapted(f.golden, f.merged, NULL, "merged");
    if (x->base_to_gguf) {
        write_base(&f, f.gguf, HD_FORMAT_GGUF, f.merged_gguf);
        check_adapted(f.golden, f.merged_gguf, NULL, "merged, as GGUF");
        write_base(&f, NULL, HD_FORMAT_GGUF, f.base_gguf);
        if (!x->merge_only) check_adapted(f.golden, f.base_gguf, f.golden, "PEFT's on GGUF");
    }
    remove_scratch_files();
}

/* What PEFT can do and we can't: each says what it is. */
static void test_refused(void **state)
{
    static const char *const refused[][2] = {{"dora", "DoRA"},
                                             {"embedding", "adapts an embedding"},
                                             {"output", "lm_head"},
                                             {"experts", "routed experts"},
                                             {"router", "target_parameters"},
                                             {"bias", "trained biases"},
                                             {"whole-module", "modules_to_save"},
                                             {"pissa", "\"pissa\", which changes the base"}};
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(refused); i++) {
        char relative[128], path[HD_TEST_PATH];
        hd_error err = {0};
        hd_adapter *a;
        snprintf(relative, sizeof relative, "tests/data/golden-lora/refused/%s", refused[i][0]);
        assert_true(hd_test_file(path, relative));
        assert_int_equal(hd_adapter_open(&a, path, &err), HD_E_UNSUPPORTED);
        if (!strstr(err.text, refused[i][1])) fail_msg("%s: %s", refused[i][0], err.text);
    }
}

static int make_scratch(void **state)
{
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state)
{
    (void)state;
    remove_scratch_files();
    return rmdir(scratch);
}

int main(void)
{
    static const example all = {"llama-all", "golden-extra/llama-odd", .base_to_gguf = true, .one_scale = true},
                         patterns = {"llama-patterns", "golden-extra/llama-odd", .base_to_gguf = true},
                         qwen3 = {"qwen3-attention", "golden-extra/qwen3-shards", .one_scale = true},
                         qwen2 = {"qwen2-rslora", "golden/models/qwen2", .base_to_gguf = true, .one_scale = true},
                         latent = {"deepseek-v3-latent", "golden/models/deepseek-v3-fp8", .base_to_gguf = true},
                         kv_b = {"deepseek-v3-kv_b", "golden/models/deepseek-v3-fp8", .base_to_gguf = true,
                                 .merge_only = true, .one_scale = true};
#define ADAPTER(x)                                                                                                     \
    {                                                                                                                  \
        "adapter " #x, test_adapter, NULL, NULL, (void *)(uintptr_t)&x                                                 \
    }
    const struct CMUnitTest tests[] = {
        ADAPTER(all),
        ADAPTER(patterns),
        ADAPTER(qwen3),
        ADAPTER(qwen2),
        ADAPTER(latent),
        ADAPTER(kv_b),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("lora", tests, make_scratch, remove_scratch);
}
