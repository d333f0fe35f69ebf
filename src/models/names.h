/* models/names.h: what the tensors of a model are called in GGUF and in the official releases.
 *
 * The one table: models load by it, and conversions rename by it.  %d stands for the layer; a second one, in names of
 * the releases, for the expert, whose matrices GGUF has in one tensor.  Sources: the GGUF specification and llama.cpp's
 * tensor names; the model cards' own files.
 */
#ifndef HD_MODELS_NAMES_H
#define HD_MODELS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* X(id, name in GGUF, name in the releases); NULL: that layout has no such tensor.  In the order of a GGUF file: what
 * all layers share, then layer by layer. */
#define HD_NAME_LIST(X)                                                                                                \
    X(embed, "token_embd.weight", "model.embed_tokens.weight")                                                         \
    X(output_norm, "output_norm.weight", "model.norm.weight")                                                          \
    X(output, "output.weight", "lm_head.weight")                                                                       \
    X(rope_factors, "rope_freqs.weight", NULL)                                                                         \
    X(attn_norm, "blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight")                                  \
    X(ffn_norm, "blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight")                           \
    X(q_norm, "blk.%d.attn_q_norm.weight", "model.layers.%d.self_attn.q_norm.weight")                                  \
    X(k_norm, "blk.%d.attn_k_norm.weight", "model.layers.%d.self_attn.k_norm.weight")                                  \
    X(q_weight, "blk.%d.attn_q.weight", "model.layers.%d.self_attn.q_proj.weight")                                     \
    X(k_weight, "blk.%d.attn_k.weight", "model.layers.%d.self_attn.k_proj.weight")                                     \
    X(v_weight, "blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight")                                     \
    X(o_weight, "blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight")                                \
    X(q_bias, "blk.%d.attn_q.bias", "model.layers.%d.self_attn.q_proj.bias")                                           \
    X(k_bias, "blk.%d.attn_k.bias", "model.layers.%d.self_attn.k_proj.bias")                                           \
    X(v_bias, "blk.%d.attn_v.bias", "model.layers.%d.self_attn.v_proj.bias")                                           \
    X(o_bias, "blk.%d.attn_output.bias", "model.layers.%d.self_attn.o_proj.bias")                                      \
    X(gate_weight, "blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight")                                   \
    X(up_weight, "blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight")                                         \
    X(down_weight, "blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight")                                   \
    X(gate_bias, "blk.%d.ffn_gate.bias", "model.layers.%d.mlp.gate_proj.bias")                                         \
    X(up_bias, "blk.%d.ffn_up.bias", "model.layers.%d.mlp.up_proj.bias")                                               \
    X(down_bias, "blk.%d.ffn_down.bias", "model.layers.%d.mlp.down_proj.bias")                                         \
    X(q_a, "blk.%d.attn_q_a.weight", "model.layers.%d.self_attn.q_a_proj.weight")                                      \
    X(q_a_norm, "blk.%d.attn_q_a_norm.weight", "model.layers.%d.self_attn.q_a_layernorm.weight")                       \
    X(q_b, "blk.%d.attn_q_b.weight", "model.layers.%d.self_attn.q_b_proj.weight")                                      \
    X(kv_a, "blk.%d.attn_kv_a_mqa.weight", "model.layers.%d.self_attn.kv_a_proj_with_mqa.weight")                      \
    X(kv_a_norm, "blk.%d.attn_kv_a_norm.weight", "model.layers.%d.self_attn.kv_a_layernorm.weight")                    \
    X(kv_b, "blk.%d.attn_kv_b.weight", "model.layers.%d.self_attn.kv_b_proj.weight")                                   \
    X(k_b, "blk.%d.attn_k_b.weight", NULL)                                                                             \
    X(v_b, "blk.%d.attn_v_b.weight", NULL)                                                                             \
    X(q_a_bias, "blk.%d.attn_q_a.bias", "model.layers.%d.self_attn.q_a_proj.bias")                                     \
    X(kv_a_bias, "blk.%d.attn_kv_a_mqa.bias", "model.layers.%d.self_attn.kv_a_proj_with_mqa.bias")                     \
    X(router, "blk.%d.ffn_gate_inp.weight", "model.layers.%d.mlp.gate.weight")                                         \
    X(router_bias, "blk.%d.exp_probs_b.bias", "model.layers.%d.mlp.gate.e_score_correction_bias")                      \
    X(gate_exps, "blk.%d.ffn_gate_exps.weight", "model.layers.%d.mlp.experts.%d.gate_proj.weight")                     \
    X(up_exps, "blk.%d.ffn_up_exps.weight", "model.layers.%d.mlp.experts.%d.up_proj.weight")                           \
    X(gate_up_exps, "blk.%d.ffn_gate_up_exps.weight", NULL)                                                            \
    X(down_exps, "blk.%d.ffn_down_exps.weight", "model.layers.%d.mlp.experts.%d.down_proj.weight")                     \
    X(gate_shexp, "blk.%d.ffn_gate_shexp.weight", "model.layers.%d.mlp.shared_experts.gate_proj.weight")               \
    X(up_shexp, "blk.%d.ffn_up_shexp.weight", "model.layers.%d.mlp.shared_experts.up_proj.weight")                     \
    X(down_shexp, "blk.%d.ffn_down_shexp.weight", "model.layers.%d.mlp.shared_experts.down_proj.weight")               \
    X(gate_shexp_bias, "blk.%d.ffn_gate_shexp.bias", "model.layers.%d.mlp.shared_experts.gate_proj.bias")              \
    X(up_shexp_bias, "blk.%d.ffn_up_shexp.bias", "model.layers.%d.mlp.shared_experts.up_proj.bias")                    \
    X(down_shexp_bias, "blk.%d.ffn_down_shexp.bias", "model.layers.%d.mlp.shared_experts.down_proj.bias")

#define HD_NAME_ENUM(id, gguf, safetensors) HD_NAME_##id,
typedef enum hd_name_id { HD_NAME_LIST(HD_NAME_ENUM) HD_NAME_COUNT } hd_name_id;
#undef HD_NAME_ENUM

/* A tensor's two names. */
typedef struct hd_name {
    const char *gguf, *safetensors;
} hd_name;

extern const hd_name hd_names[HD_NAME_COUNT];
#define HD_NAME(id) hd_names[HD_NAME_##id]

/* Bytes that hold any name of the table with its numbers. */
#define HD_NAME_MAX 160

/* Puts `layer` and `expert` in the places of the first and second "%d" of a pattern; the result is cut to `size`. */
void hd_name_expand(char *out, size_t size, const char *pattern, int layer, int expert);

/* Whether there is a tensor of this kind in each layer. */
bool hd_name_in_layers(hd_name_id id);

/* Whether it is one matrix for each expert in the releases. */
bool hd_name_of_experts(hd_name_id id);

/* The row of the table that a name of a GGUF file belongs to, and its layer (0 where there is none); false: none. */
bool hd_name_find_gguf(const char *name, hd_name_id *id, int *layer);

/* The same for a name of the releases; of an expert's matrix the expert is not told. */
bool hd_name_find_release(const char *name, hd_name_id *id, int *layer);

/* Whether it names a buffer that old exporters wrote beside the weights: computed from the configuration, never read.
 */
bool hd_name_is_derived(const char *name);

#endif
