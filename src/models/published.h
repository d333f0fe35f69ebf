/* models/published.h: models as shapes alone, for plans that are made without their files.
 *
 * Shapes come from the table of published models, or from any config.json.  V3.2 and V4 are here too, which this
 * version does not evaluate: their sizes can be planned for.
 */
#ifndef HD_PUBLISHED_H
#define HD_PUBLISHED_H

#include "models/models.h"

typedef enum hd_family {
    HD_FAMILY_OWN, /* what hd_model_config describes */
    HD_FAMILY_V32, /* DeepSeek-V3.2: latent attention and an indexer beside it */
    HD_FAMILY_V4   /* DeepSeek-V4: one shared head, compressed rows, several residual streams */
} hd_family;

/* How a release stores its matrices. */
typedef enum hd_stored {
    HD_STORED_16,  /* BF16 or F16 */
    HD_STORED_32,  /* F32 */
    HD_STORED_FP8, /* F8_E4M3 with a scale for each block of 128 x 128 but for embedding, output and router; V4: the
                    * scale is a byte */
} hd_stored;

#define HD_RATIOS_MAX 256

/* What V3.2 and V4 have beside hd_model_config; zeros elsewhere. */
typedef struct hd_more_shapes {
    int index_heads, index_dim;                       /* of the indexer */
    int o_groups, o_lora, window, hash_layers, hyper; /* V4 */
    bool fp4_experts;                                 /* V4: a release has them as MXFP4 */
    int16_t ratios[HD_RATIOS_MAX];                    /* V4: tokens of a compressed row by layer; 0: none */
} hd_more_shapes;

typedef struct hd_published {
    const char *name;       /* "deepseek-v3" */
    const char *source;     /* where config.json is */
    const char *note;       /* what is not settled, or not evaluated here; NULL: nothing */
    int64_t parameters;     /* that its tensors have, multi-token prediction layers left out */
    hd_family family;       /* V3.2 and V4: config.arch is HD_ARCH_DEEPSEEK2 and means nothing */
    hd_stored stored;       /* by the release */
    bool bias_32;           /* the release stores the router's selection bias as F32 */
    bool unknown;           /* only totals are known: it has no tensors to plan with */
    hd_model_config config; /* shapes only */
    hd_more_shapes more;
} hd_published;

/* All of them, the largest first; static. */
const hd_published *hd_published_all(size_t *count);

/* By name or another name of a model with the same shapes ("deepseek-r1"), any case; NULL: none. */
const hd_published *hd_published_find(const char *name);

/* The shapes of a checked configuration; `name` is kept. */
void hd_published_of_config(hd_published *out, const char *name, const hd_model_config *config);

/* The shapes that a config.json describes, of V3.2 and V4 too; `name` is kept.  Errors name the key: HD_E_FORMAT,
 * HD_E_UNSUPPORTED. */
hd_status hd_published_of_json(hd_published *out, const char *name, const json_t *config, hd_error *err);

/* The tensors that a GGUF file of the model has, in its order, with names and shapes; no data.  Matrices are BF16;
 * norms, routers and their biases F32, as converters leave them.  Freed, names included, with hd_free(*tensors).
 * Errors: HD_E_MEMORY, HD_E_UNSUPPORTED (only totals are known), HD_E_LIMIT (more than 10^17 weights). */
hd_status hd_published_tensors(const hd_published *model, hd_tensor **tensors, size_t *count, hd_error *err);

/* Bytes that `tensors`, those of hd_published_tensors, take in a release's own files: scales included; what lies
 * between them, and the layers of multi-token prediction, are not. */
uint64_t hd_published_release_bytes(const hd_published *model, const hd_tensor *tensors, size_t count);

/* Values that a token leaves in the caches of all layers, as a mean over a long text (V4 stores a row for several
 * tokens), and those that a sequence takes however long it is. */
typedef struct hd_cache_values {
    double per_token, fixed;
} hd_cache_values;
hd_cache_values hd_published_cache(const hd_published *model);

/* Whether a layer of the model has experts. */
bool hd_published_has_experts(const hd_published *model, int layer);

#endif
