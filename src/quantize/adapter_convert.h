/* quantize/adapter_convert.h: adapters written in the other layout: PEFT's folder as GGUF, and back.
 *
 * Values of plain types keep their bits, Q8_0 becomes F32 in a folder.  GGUF knows one alpha for all matrices: where
 * PEFT's differ (alpha_pattern, or use_rslora with several ranks), those of the others are multiplied into their B,
 * which is F32 then. */
#ifndef HD_QUANTIZE_ADAPTER_CONVERT_H
#define HD_QUANTIZE_ADAPTER_CONVERT_H

#include "models/adapter.h"

typedef struct hd_adapter_target {
    const hd_model_config *base; /* whose heads tell the order of Llama's rows */
    const char *base_name;       /* base_model_name_or_path, or general.base_model.0.name */
    const char *name;            /* general.name */
    const char *path;            /* the file, or the folder; nothing of that name may be there */
} hd_adapter_target;

/* The adapter was checked against the base (hd_adapter_check).  Errors: HD_E_IO, HD_E_MEMORY, HD_E_MODEL_LOST. */
hd_status hd_adapter_to_gguf(const hd_adapter *adapter, const hd_adapter_target *target, hd_error *err);
hd_status hd_adapter_to_peft(const hd_adapter *adapter, const hd_adapter_target *target, hd_error *err);

#endif
