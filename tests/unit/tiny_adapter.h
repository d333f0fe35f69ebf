/* tiny_adapter.h: adapters in PEFT's layout for the tiny models, made by the test itself, in a folder of their own.
 *
 *     tiny_model a;
 *     tiny_adapter(&a, 7);                       r 4, lora_alpha 8, no matrices yet
 *     tiny_adapt(&a, 0, "self_attn.q_proj", 32, 32, 4);
 *     tiny_adapter_write(&a);                    adapter_config.json and adapter_model.safetensors in a.folder
 *     tiny_free(&a);
 */
#ifndef HD_TESTS_TINY_ADAPTER_H
#define HD_TESTS_TINY_ADAPTER_H

#include "unit/tiny_model.h"

static inline void tiny_adapter(tiny_model *a, uint64_t seed)
{
    memset(a, 0, sizeof *a);
    a->seed = seed;
    a->config = json_pack("{s:s, s:i, s:f, s:s, s:[s]}", "peft_type", "LORA", "r", 4, "lora_alpha", 8.0, "bias", "none",
                          "target_modules", "q_proj");
    assert_non_null(a->config);
    const char *tmp = getenv("TMPDIR");
    snprintf(a->folder, sizeof a->folder, "%s/hadal-tiny-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(a->folder));
}

/* Both halves for the matrix "model.layers.<layer>.<name>" [rows][cols]. */
static inline void tiny_adapt(tiny_model *a, int layer, const char *name, int64_t rows, int64_t cols, int64_t rank)
{
    char full[TINY_NAME];
    snprintf(full, sizeof full, "base_model.model.model.layers.%d.%.30s.lora_A.weight", layer, name);
    tiny_add(a, full, rank, cols);
    snprintf(full, sizeof full, "base_model.model.model.layers.%d.%.30s.lora_B.weight", layer, name);
    tiny_add(a, full, rows, rank);
}

/* All matrices of tiny_llama's layers. */
static inline void tiny_adapt_llama(tiny_model *a, int64_t rank)
{
    for (int l = 0; l < 2; l++) {
        tiny_adapt(a, l, "self_attn.q_proj", 32, 32, rank);
        tiny_adapt(a, l, "self_attn.k_proj", 16, 32, rank);
        tiny_adapt(a, l, "self_attn.v_proj", 16, 32, rank);
        tiny_adapt(a, l, "self_attn.o_proj", 32, 32, rank);
        tiny_adapt(a, l, "mlp.gate_proj", 40, 32, rank);
        tiny_adapt(a, l, "mlp.up_proj", 40, 32, rank);
        tiny_adapt(a, l, "mlp.down_proj", 32, 40, rank);
    }
}

/* Of tiny_deepseek's what can be adapted, kv_b aside. */
static inline void tiny_adapt_deepseek(tiny_model *a, int64_t rank)
{
    for (int l = 0; l < 3; l++) {
        const char *ffn = l ? "mlp.shared_experts" : "mlp";
        int64_t width = l ? 16 : 40;
        char name[TINY_NAME];
        tiny_adapt(a, l, "self_attn.q_a_proj", 16, 32, rank);
        tiny_adapt(a, l, "self_attn.q_b_proj", 24, 16, rank);
        tiny_adapt(a, l, "self_attn.kv_a_proj_with_mqa", 16, 32, rank);
        tiny_adapt(a, l, "self_attn.o_proj", 32, 12, rank);
        snprintf(name, sizeof name, "%s.gate_proj", ffn);
        tiny_adapt(a, l, name, width, 32, rank);
        snprintf(name, sizeof name, "%s.up_proj", ffn);
        tiny_adapt(a, l, name, width, 32, rank);
        snprintf(name, sizeof name, "%s.down_proj", ffn);
        tiny_adapt(a, l, name, 32, width, rank);
    }
}

static inline void tiny_adapter_write(tiny_model *a)
{
    char path[TINY_PATH + 64];
    hd_tensor present[TINY_TENSORS];
    size_t n = 0;
    hd_error err = {0};
    tiny_path(a, "adapter_config.json", path);
    assert_int_equal(json_dump_file(a->config, path, 0), 0);
    for (size_t i = 0; i < a->count; i++)
        if (a->tensors[i].data) present[n++] = a->tensors[i];
    tiny_path(a, "adapter_model.safetensors", path);
    if (hd_safetensors_write(path, present, n, &err) != HD_OK) fail_msg("%s", err.text);
}

#endif
