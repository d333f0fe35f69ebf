/* models/lora.h: adapters bound to an open model, to be named by the spans of a batch.
 *
 * A bound adapter counts references and uses, and is else immutable: binding, sharing and closing may happen on any
 * thread while the model evaluates.  It must be closed before the model's backend goes.
 */
#ifndef HD_MODELS_LORA_H
#define HD_MODELS_LORA_H

#include "models/adapter.h"

typedef struct hd_lora hd_lora;

typedef struct hd_lora_info {
    int64_t rank;    /* the largest */
    size_t matrices; /* adapted */
    size_t bytes;    /* in memory */
} hd_lora_info;

/* Copies the adapter's values, times `scale`, for this model; both the file and *adapter may go after.  Errors:
 * HD_E_ARGUMENT (another base; a model opened without lora_rank), HD_E_LIMIT (its rank; a scale that takes its
 * values beyond float32), HD_E_UNSUPPORTED (kv_b), HD_E_MEMORY, HD_E_MODEL_LOST. */
hd_status hd_lora_bind(hd_lora **out, const hd_model *model, const hd_adapter *adapter, float scale, hd_error *err);

/* Requests that name it, counted by their scheduler as they move between its lists; NULL is fine. */
void hd_lora_count(hd_lora *lora, int running, int waiting);
void hd_lora_get_counts(const hd_lora *lora, int *running, int *waiting);

hd_lora *hd_lora_ref(hd_lora *lora); /* one reference more; NULL is fine */
void hd_lora_unref(hd_lora **lora);  /* gives one back; the last one frees.  NULL-safe */
void hd_lora_get_info(const hd_lora *lora, hd_lora_info *out);

/* Of the values: the same adapter at the same scale has the same in every process; 0 of NULL. */
uint64_t hd_lora_hash(const hd_lora *lora);

/* Different for each one bound in this process, from 1 on; 0 of NULL. */
uint64_t hd_lora_number(const hd_lora *lora);

bool hd_lora_is_of(const hd_lora *lora, const hd_model *model);

#endif
