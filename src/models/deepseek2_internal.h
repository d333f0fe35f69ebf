/* models/deepseek2_internal.h: what deepseek2.c shares with its router (route.c). */
#ifndef HD_MODELS_DEEPSEEK2_INTERNAL_H
#define HD_MODELS_DEEPSEEK2_INTERNAL_H

#include "models/models_internal.h"

/* Spans of at least so many queries use decompressed attention.  Per query and cached row a head costs 2 * (2 * lora +
 * rope) operations absorbed and 2 * (nope + rope + v) decompressed, which adds 2 * lora * (nope + v) per row once: with
 * V2/V3's 512/128/64/128 they meet at about 170 queries; decompression is the plainer matrix product. */
#define HD_MLA_DECOMPRESS_FROM 128

/* Epsilon of the norms of the latents.  The published code builds them without the configuration's rms_norm_eps, which
 * is for the norms of the residual stream. */
#define HD_MLA_NORM_EPS 1e-6f

/* A gated network: down(silu(gate x) * up x). */
typedef struct hd_gated {
    hd_matrix gate, up, down;
    const float *gate_bias, *up_bias, *down_bias; /* NULL: none */
} hd_gated;

typedef struct hd_layer {
    const float *attn_norm, *ffn_norm, *q_a_norm, *kv_a_norm;
    const float *q_a_bias, *kv_a_bias, *o_bias; /* NULL: none */
    hd_matrix q_a, q;                           /* q_a is empty without q_lora */
    hd_matrix kv_a, o;
    hd_matrix *k_b, *v_b; /* [heads], as hd_mla_shape wants them */
    hd_gated ffn;         /* the dense network, or the shared experts */
    hd_experts experts;   /* count 0: none */
    hd_matrix router;
    const float *router_bias; /* NULL without a selection bias */
    int expert_slot;          /* row in an hd_expert_trace; -1: none */
} hd_layer;

typedef struct hd_deepseek2 {
    hd_layer *layers;
    float softmax_scale;
    /* activations, [tokens][...] */
    float *q_a, *q, *kv, *q_latent, *att_latent, *att, *gate, *up, *routed, *scores, *choice, *weight;
    int32_t *ids;
} hd_deepseek2;

/* Chooses experts: s->scores [n][experts] hold the router's outputs; fills s->ids and s->weight [n][experts_used]. */
void hd_route(hd_model *m, const hd_layer *l, int64_t n);

#endif
