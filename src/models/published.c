/* models/published.c: the table of published models.
 *
 * Numbers are those of each model's config.json at the named source.  The count of parameters is stated beside them,
 * and a test holds the sum of the tensors to it. */
#include "models/published.h"

#include <string.h>
#include <strings.h>

#define NOT_EVALUATED "this version plans for it and does not evaluate it"

/* Eight layers of V4 whose compressed rows stand for 4 and 128 tokens in turn. */
#define EIGHT_RATIOS 4, 128, 4, 128, 4, 128, 4, 128

/* What V3 and V3.2 share. */
#define V3_CONFIG                                                                                                      \
    {                                                                                                                  \
        .arch = HD_ARCH_DEEPSEEK2, .layers = 61, .hidden = 7168, .vocab = 129280, .ffn = 18432, .heads = 128,          \
        .kv_heads = 128, .head_dim = 192, .q_lora = 1536, .kv_lora = 512, .nope = 128, .rope_dim = 64, .v_dim = 128,   \
        .experts = 256, .experts_used = 8, .experts_shared = 1, .expert_ffn = 2048, .dense_lead = 3,                   \
        .expert_every = 1, .sigmoid = true, .context = 163840                                                          \
    }

#define V4_CONFIG(depth, width, query_heads, rank, all_experts, expert_width)                                          \
    {                                                                                                                  \
        .arch = HD_ARCH_DEEPSEEK2, .layers = (depth), .hidden = (width), .vocab = 129280, .heads = (query_heads),      \
        .kv_heads = 1, .head_dim = 512, .q_lora = (rank), .rope_dim = 64, .v_dim = 512, .experts = (all_experts),      \
        .experts_used = 6, .experts_shared = 1, .expert_ffn = (expert_width), .expert_every = 1, .context = 1048576    \
    }

#define DENSE_CONFIG(family, depth, width, all_heads, shared_heads, network, words, longest)                           \
    .arch = HD_ARCH_##family, .layers = (depth), .hidden = (width), .heads = (all_heads), .kv_heads = (shared_heads),  \
    .head_dim = 128, .v_dim = 128, .rope_dim = 128, .ffn = (network), .vocab = (words), .context = (longest)

static const hd_published models[] = {
    {.name = "deepseek-v4-pro",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V4-Pro",
     .note = NOT_EVALUATED "; its shapes were read in a copy of its config.json, and the types of its smaller tensors "
                           "are those of the tiny reference model: its bytes may be off by a thousandth",
     .parameters = 1572999528803,
     .family = HD_FAMILY_V4,
     .stored = HD_STORED_FP8,
     .config = V4_CONFIG(61, 7168, 128, 1536, 384, 3072),
     .more = {.index_heads = 64,
              .index_dim = 128,
              .o_groups = 16,
              .o_lora = 1024,
              .window = 128,
              .hash_layers = 3,
              .hyper = 4,
              .fp4_experts = true,
              .ratios = {128, 128, EIGHT_RATIOS, EIGHT_RATIOS, EIGHT_RATIOS, EIGHT_RATIOS, EIGHT_RATIOS, EIGHT_RATIOS,
                         EIGHT_RATIOS, 4, 128, 4}}},
    {.name = "deepseek-v4.1-flash",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V4.1-Flash",
     .note = "of its shapes only totals are settled: 40 layers of 5120, 552 billion weights, 197 billion more in the "
             "tables of its n-grams, about 16 billion of them for a token",
     .parameters = 749000000000,
     .unknown = true,
     .config = {.arch = HD_ARCH_DEEPSEEK2, .layers = 40, .hidden = 5120}},
    {.name = "deepseek-v3.2",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V3.2-Exp",
     .note = NOT_EVALUATED,
     .parameters = 671877944064,
     .family = HD_FAMILY_V32,
     .stored = HD_STORED_FP8,
     .bias_32 = true,
     .config = V3_CONFIG,
     .more = {.index_heads = 64, .index_dim = 128}},
    {.name = "deepseek-v3",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V3",
     .parameters = 671026419200,
     .stored = HD_STORED_FP8,
     .bias_32 = true,
     .config = V3_CONFIG},
    {.name = "deepseek-v4-flash",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V4-Flash",
     .note = NOT_EVALUATED "; the types of its smaller tensors are those of the tiny reference model: its bytes may be "
                           "off by a thousandth",
     .parameters = 284334567511,
     .family = HD_FAMILY_V4,
     .stored = HD_STORED_FP8,
     .config = V4_CONFIG(43, 4096, 64, 1024, 256, 2048),
     .more = {.index_heads = 64,
              .index_dim = 128,
              .o_groups = 8,
              .o_lora = 1024,
              .window = 128,
              .hash_layers = 3,
              .hyper = 4,
              .fp4_experts = true,
              .ratios = {0, 0, EIGHT_RATIOS, EIGHT_RATIOS, EIGHT_RATIOS, EIGHT_RATIOS, EIGHT_RATIOS, 4}}},
    {.name = "deepseek-v2",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V2",
     .parameters = 235741434880,
     .config = {.arch = HD_ARCH_DEEPSEEK2,
                .layers = 60,
                .hidden = 5120,
                .vocab = 102400,
                .ffn = 12288,
                .heads = 128,
                .kv_heads = 128,
                .head_dim = 192,
                .q_lora = 1536,
                .kv_lora = 512,
                .nope = 128,
                .rope_dim = 64,
                .v_dim = 128,
                .experts = 160,
                .experts_used = 6,
                .experts_shared = 2,
                .expert_ffn = 1536,
                .dense_lead = 1,
                .expert_every = 1,
                .context = 163840}},
    {.name = "deepseek-r1-distill-llama-70b",
     .source = "huggingface.co/deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
     .parameters = 70553706560,
     .config = {DENSE_CONFIG(LLAMA, 80, 8192, 64, 8, 28672, 128256, 131072), .rope = {.type = HD_ROPE_LLAMA3}}},
    {.name = "deepseek-llm-67b",
     .source = "huggingface.co/deepseek-ai/deepseek-llm-67b-chat",
     .parameters = 67425001472,
     .config = {DENSE_CONFIG(LLAMA, 95, 8192, 64, 8, 22016, 102400, 4096)}},
    {.name = "deepseek-r1-distill-qwen-32b",
     .source = "huggingface.co/deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
     .parameters = 32763876352,
     .config = {DENSE_CONFIG(QWEN2, 64, 5120, 40, 8, 27648, 152064, 131072), .qkv_bias = true}},
    {.name = "deepseek-v2-lite",
     .source = "huggingface.co/deepseek-ai/DeepSeek-V2-Lite",
     .parameters = 15706484224,
     .config = {.arch = HD_ARCH_DEEPSEEK2,
                .layers = 27,
                .hidden = 2048,
                .vocab = 102400,
                .ffn = 10944,
                .heads = 16,
                .kv_heads = 16,
                .head_dim = 192,
                .kv_lora = 512,
                .nope = 128,
                .rope_dim = 64,
                .v_dim = 128,
                .experts = 64,
                .experts_used = 6,
                .experts_shared = 2,
                .expert_ffn = 1408,
                .dense_lead = 1,
                .expert_every = 1,
                .context = 163840}},
    {.name = "deepseek-r1-distill-qwen-14b",
     .source = "huggingface.co/deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
     .parameters = 14770033664,
     .config = {DENSE_CONFIG(QWEN2, 48, 5120, 40, 8, 13824, 152064, 131072), .qkv_bias = true}},
    {.name = "deepseek-r1-0528-qwen3-8b",
     .source = "huggingface.co/deepseek-ai/DeepSeek-R1-0528-Qwen3-8B",
     .parameters = 8190735360,
     .config = {DENSE_CONFIG(QWEN3, 36, 4096, 32, 8, 12288, 151936, 131072)}},
    {.name = "deepseek-r1-distill-llama-8b",
     .source = "huggingface.co/deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
     .parameters = 8030261312,
     .config = {DENSE_CONFIG(LLAMA, 32, 4096, 32, 8, 14336, 128256, 131072), .rope = {.type = HD_ROPE_LLAMA3}}},
    {.name = "deepseek-r1-distill-qwen-7b",
     .source = "huggingface.co/deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
     .parameters = 7615616512,
     .config = {DENSE_CONFIG(QWEN2, 28, 3584, 28, 4, 18944, 152064, 131072), .qkv_bias = true}},
    {.name = "deepseek-llm-7b",
     .source = "huggingface.co/deepseek-ai/deepseek-llm-7b-chat",
     .parameters = 6910365696,
     .config = {DENSE_CONFIG(LLAMA, 30, 4096, 32, 32, 11008, 102400, 4096)}},
    {.name = "deepseek-r1-distill-qwen-1.5b",
     .source = "huggingface.co/deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
     .parameters = 1777088000,
     .config = {DENSE_CONFIG(QWEN2, 28, 1536, 12, 2, 8960, 151936, 131072), .qkv_bias = true}},
};

const hd_published *hd_published_all(size_t *count)
{
    *count = HD_ARRAY_LEN(models);
    return models;
}

const hd_published *hd_published_find(const char *name)
{
    static const char *const others[][2] = {{"deepseek-v3.1", "deepseek-v3"},
                                            {"deepseek-r1", "deepseek-v3"},
                                            {"deepseek-v3.2-exp", "deepseek-v3.2"},
                                            {"deepseek-v2.5", "deepseek-v2"},
                                            {"deepseek-coder-v2", "deepseek-v2"},
                                            {"deepseek-coder-v2-lite", "deepseek-v2-lite"},
                                            {"r1-distill-qwen-1.5b", "deepseek-r1-distill-qwen-1.5b"},
                                            {"r1-distill-qwen-7b", "deepseek-r1-distill-qwen-7b"},
                                            {"r1-distill-qwen-14b", "deepseek-r1-distill-qwen-14b"},
                                            {"r1-distill-qwen-32b", "deepseek-r1-distill-qwen-32b"},
                                            {"r1-distill-llama-8b", "deepseek-r1-distill-llama-8b"},
                                            {"r1-distill-llama-70b", "deepseek-r1-distill-llama-70b"},
                                            {"r1-0528-qwen3-8b", "deepseek-r1-0528-qwen3-8b"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(others); i++)
        if (strcasecmp(name, others[i][0]) == 0) name = others[i][1];
    for (size_t i = 0; i < HD_ARRAY_LEN(models); i++)
        if (strcasecmp(name, models[i].name) == 0) return &models[i];
    return NULL;
}
