/* models/adapter.h: low-rank adapters (LoRA, arXiv:2106.09685) as they lie in files: PEFT's folders and GGUF.
 *
 * An adapter adds scale * B (A x) to W x at some matrices W [rows][cols] of a base model: A is [rank][cols], B is
 * [rows][rank].  An open adapter was checked by itself: names, shapes, settings, and that every value is finite.
 * hd_adapter_check holds it against the base.  Immutable; reading it from several threads is fine.
 *
 * Sources: PEFT's LoraConfig and its save format (adapter_config.json beside adapter_model.safetensors); llama.cpp's
 * llama-adapter.cpp and convert_lora_to_gguf.py (general.type "adapter", adapter.lora.alpha, NAME.lora_a, NAME.lora_b).
 */
#ifndef HD_MODELS_ADAPTER_H
#define HD_MODELS_ADAPTER_H

#include "models/models.h"
#include "models/names.h"

#define HD_ADAPTER_RANK_MAX 1024 /* published adapters stay below 512 */

typedef struct hd_adapter hd_adapter;

/* What it does to one matrix of the base. */
typedef struct hd_adapter_part {
    hd_name_id id;
    int layer;
    int64_t rank, rows, cols;
    const hd_tensor *a, *b; /* of the file: [rank][cols] and [rows][rank] */
    double alpha;           /* as if without use_rslora, which is alpha / sqrt(rank): times that root */
    float scale;            /* alpha / rank */
} hd_adapter_part;

typedef struct hd_adapter_info {
    hd_format layout;         /* GGUF, or PEFT's names */
    const char *architecture; /* of GGUF; NULL: the file does not say */
    const char *base;         /* what PEFT's configuration calls the base; NULL: it does not say */
    int64_t rank;             /* the largest */
    double alpha;             /* lora_alpha, or adapter.lora.alpha */
    bool rslora;
    size_t count; /* parts */
    int64_t parameters;
} hd_adapter_info;

/* Opens a PEFT folder, the .safetensors or .bin in one, or a GGUF file.  Errors name file, key or tensor:
 * HD_E_NOT_FOUND, HD_E_FORMAT, HD_E_UNSUPPORTED (DoRA, trained biases or whole modules, matrices that are not
 * adapted here), HD_E_LIMIT, HD_E_MEMORY, HD_E_IO. */
hd_status hd_adapter_open(hd_adapter **out, const char *path, hd_error *err);
void hd_adapter_close(hd_adapter **adapter);

/* The same for paths of strangers: no file is opened that does not lie in `folder`, links followed: HD_E_DENIED.  Files
 * of which an index tells are not read (HD_E_UNSUPPORTED).  Links that are changed between the look and the opening are
 * followed wherever they lead. */
hd_status hd_adapter_open_within(hd_adapter **out, const char *path, const char *folder, hd_error *err);

/* Whether there is a PEFT folder or a GGUF adapter at `path`; a look at names and metadata only. */
bool hd_adapter_is_one(const char *path);

/* For callers that wanted a model at `path` and failed with `status`: the same, but where there is an adapter
 * HD_E_ARGUMENT, which says so and what to do. */
hd_status hd_adapter_explain(hd_status status, const char *path, hd_error *err);

/* Texts live as long as the adapter. */
void hd_adapter_get_info(const hd_adapter *adapter, hd_adapter_info *out);

/* In the order of layers, and of names.h within one. */
const hd_adapter_part *hd_adapter_parts(const hd_adapter *adapter);

/* Whether it fits a base of this configuration: architecture, layers, shapes.  HD_E_ARGUMENT says what does not. */
hd_status hd_adapter_check(const hd_adapter *adapter, const hd_model_config *base, hd_error *err);

/* Row of B in the adapter's file that is row `row` of the base's matrix where its file has `layout`: GGUF has the rows
 * of Llama's q and k in another order. */
int64_t hd_adapter_row(const hd_adapter *adapter, const hd_adapter_part *part, const hd_model_config *base,
                       hd_format layout, int64_t row);

/* Values of a part for a base in `layout`: a[rank][cols] as it is, b[rows][rank] times part->scale times `scale`.
 * HD_E_LIMIT: these change a weight by up to more than 1e9, with which float32 can't compute on; the text names tensor
 * and scales. */
hd_status hd_adapter_values(const hd_adapter *adapter, const hd_adapter_part *part, const hd_model_config *base,
                            hd_format layout, float scale, float *a, float *b, hd_error *err);

/* HD_E_MODEL_LOST once its file shrank or failed to read. */
hd_status hd_adapter_check_file(const hd_adapter *adapter, hd_error *err);

#endif
