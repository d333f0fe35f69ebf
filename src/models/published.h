/* models/published.h: models whose shapes are published, for plans that are made without their files. */
#ifndef HD_PUBLISHED_H
#define HD_PUBLISHED_H

#include "models/models.h"

typedef struct hd_published {
    const char *name;       /* "deepseek-v3" */
    const char *source;     /* where config.json is */
    int64_t parameters;     /* that its tensors have, multi-token prediction layers left out */
    hd_model_config config; /* shapes only */
} hd_published;

/* All of them, the largest first; static. */
const hd_published *hd_published_all(size_t *count);

/* By name or another name of a model with the same shapes ("deepseek-r1"), any case; NULL: none. */
const hd_published *hd_published_find(const char *name);

/* The tensors that a GGUF file of the model has, in its order, with names and shapes; no data.  Matrices are BF16;
 * norms, routers and their biases F32, as converters leave them.  Freed, names included, with hd_free(*tensors).
 * Errors: HD_E_MEMORY. */
hd_status hd_published_tensors(const hd_published *model, hd_tensor **tensors, size_t *count, hd_error *err);

#endif
