/* models/adapter_internal.h: what adapter.c has of PEFT's adapter_config.json (peft.c). */
#ifndef HD_MODELS_ADAPTER_INTERNAL_H
#define HD_MODELS_ADAPTER_INTERNAL_H

#include "models/adapter.h"

#define HD_PEFT_CONFIG "adapter_config.json"

typedef struct hd_peft_config {
    int64_t rank;
    double alpha;
    bool rslora;
    char *base;           /* base_model_name_or_path; NULL: none */
    json_t *rank_pattern; /* objects, or NULL */
    json_t *alpha_pattern;
} hd_peft_config;

/* Reads and checks it; *out is zeroed before, and freed by the caller also after a failure.  Errors: HD_E_NOT_FOUND,
 * HD_E_FORMAT, HD_E_UNSUPPORTED (a setting that plain LoRA has not), HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_peft_read(hd_peft_config *out, const char *path, hd_error *err);
void hd_peft_free(hd_peft_config *config);

/* Checks the part's rank against the configuration, and sets its scale.  HD_E_FORMAT. */
hd_status hd_peft_scale(const hd_peft_config *config, hd_adapter_part *part, const char *path, hd_error *err);

#endif
