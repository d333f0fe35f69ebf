/* cli/plan.h: what the files of `hadal plan` share.
 *
 * cmd_plan.c is the command line, plan_quantize.c `plan quantize`, plan_model.c turns a name, a file or a config.json
 * into plain numbers, and plan_probe.c measures what this machine's kernels do with such shapes.  The arithmetic is
 * ops/plan.h.
 */
#ifndef HD_CLI_PLAN_H
#define HD_CLI_PLAN_H

#include "models/published.h"
#include "ops/plan.h"
#include "tensor/backend.h"

/* Metadata of a file that isn't there: the tokenizer's words, merges and types, some 6 MB of a vocabulary of 130,000,
 * and a chat template. */
#define HD_PLAN_METADATA_BYTES ((uint64_t)16 << 20)

int hd_plan_quantize_command(const char *command, const char *model, bool json);

/* ---- the model (plan_model.c) ---- */

typedef struct hd_plan_shapes {
    hd_published shapes;
    hd_tensor *tensors; /* [count] with names as GGUF has them, and the types that are planned for */
    size_t count;
    bool own_tensors;    /* else the checkpoint's */
    hd_checkpoint *ckpt; /* NULL: there is no file */
    char *path;          /* of the file; NULL: none */
    uint64_t weight_bytes;
    char weights[64]; /* as what */
} hd_plan_shapes;

/* `model`: a published name, a file or folder, a config.json, or a name of the models folder.  `type` is a recipe of
 * `hadal quantize`; NULL: as they are.  Errors say what could be meant. */
hd_status hd_plan_shapes_open(hd_plan_shapes *out, const char *model, const char *type, hd_error *err);
void hd_plan_shapes_close(hd_plan_shapes *s);

/* How it would be opened here. */
typedef struct hd_plan_setup {
    const hd_backend *backend;
    hd_pool *pool;
    int64_t context, step; /* tokens of a sequence; read together */
    const char *cache_type;
} hd_plan_setup;

/* Fills everything but the recipes. */
hd_status hd_plan_model_of(hd_plan_model *out, const hd_plan_shapes *s, const hd_plan_setup *setup, bool here,
                           hd_error *err);

/* Sizes by every recipe; *list is freed with hd_free.  Empty where there are no shapes of tensors to give types to. */
hd_status hd_plan_recipes_of(hd_plan_recipe **list, size_t *count, const hd_plan_shapes *s, hd_error *err);

/* ---- this machine (plan_probe.c) ---- */

/* Measures bandwidth and arithmetic, and what the kernels do with matrices of the model's own types and shapes: some
 * seconds.  `model` is what hd_plan_model_of made.  HD_E_CANCELLED after Ctrl-C, HD_E_MEMORY. */
hd_status hd_plan_probe(hd_plan_rates *out, const hd_plan_shapes *s, const hd_plan_model *model,
                        const hd_plan_setup *setup, hd_error *err);

#endif
