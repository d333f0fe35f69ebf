/* models/lora_internal.h: what adapters add, as the architectures call for it. */
#ifndef HD_MODELS_LORA_INTERNAL_H
#define HD_MODELS_LORA_INTERNAL_H

#include "models/lora.h"
#include "models/models_internal.h"

/* The adapted matrices of a layer; an expert layer's feed-forward ones are its shared experts'. */
typedef enum hd_lora_slot {
    HD_LORA_Q, /* of latent attention q_b, where the query has a latent */
    HD_LORA_K,
    HD_LORA_V,
    HD_LORA_O,
    HD_LORA_GATE,
    HD_LORA_UP,
    HD_LORA_DOWN,
    HD_LORA_Q_A,
    HD_LORA_KV_A,
    HD_LORA_SLOTS
} hd_lora_slot;

/* A product that is there: y[tokens][rows], row stride ldy. */
typedef struct hd_lora_product {
    hd_lora_slot slot;
    float *y;
    int64_t ldy;
} hd_lora_product;

/* Adds to products of the same input x, at most HD_PRODUCTS_MAX of them, what the adapters of the batch's spans have
 * for them in that layer.  Nothing where no span has one.  Never allocates. */
void hd_lora_add(hd_model *m, const hd_batch *batch, int layer, const hd_lora_product *products, int count,
                 const float *x, int64_t ldx);

#endif
