/* gateway/models.h: the models of a service by name: known, loaded, in use.
 *
 * A model is loaded by a thread of its own, in the background; what asked for it waits as a parked job.  It is unloaded
 * when nobody uses it any more.  One that fails to load fails those who asked for it, and nobody else; after
 * HD_MODEL_RETRY_SECONDS the next request tries again.  All functions are thread-safe.
 */
#ifndef HD_GATEWAY_MODELS_H
#define HD_GATEWAY_MODELS_H

#include "gateway/gateway.h"
#include "gateway/model_metrics.h"
#include "gateway/precision.h"
#include "gateway/workers.h"

#define HD_MODEL_RETRY_SECONDS 10

typedef enum hd_model_state {
    HD_MODEL_UNLOADED,
    HD_MODEL_LOADING,
    HD_MODEL_READY,
    HD_MODEL_UNLOADING, /* as soon as the last user has gone */
    HD_MODEL_FAILED
} hd_model_state;

/* Fill-in-the-middle: the ids that stand before the prefix, the suffix and the answer; -1: the model has none. */
typedef struct hd_fim {
    int32_t prefix, suffix, middle;
} hd_fim;

typedef struct hd_models hd_models;
typedef struct hd_pair hd_pair;
struct hd_adapters;

typedef struct hd_served {
    char *name, *path;
    char *title;     /* in logs and names of files: the name, unless the model is the cheaper one of a pair */
    int64_t created; /* seconds since 1970: when it became known */
    hd_pair *pair;   /* both precisions of the model (pair.h); NULL: it has one */
    /* What a user of the model sees: constant while it is in use. */
    hd_engine *engine;
    hd_engine_info info;
    char precision[32]; /* what answers say of its weights: info.weight_type, unless both of a pair have the same */
    int64_t room;       /* tokens that a prompt and its answer may have: those of context and cache */
    hd_text *text;      /* NULL: the model has no tokenizer */
    hd_scheduler *scheduler;
    hd_fim fim;
    bool parsed_arguments; /* the template wants arguments of tool calls as objects, not as text */
    bool null_content;     /* and beside calls null where there is no text, not an empty one */
    const int32_t *ends;   /* [end_count]; owned */
    size_t end_count;
    hd_model_metrics metrics;
    _Atomic uint64_t passed_ns; /* hd_clock of the last token that the model gave */
    _Atomic uint64_t asked;     /* requests that it was chosen to answer */
    _Atomic bool lost;          /* its files are: every evaluation fails until it is loaded again */
    /* The rest belongs to models.c, under its lock. */
    hd_models *owner;
    hd_model_state state;
    hd_error failure;
    uint64_t failed_ns, used_ns;
    int users;
    hd_job *parked, **parked_end; /* in the order in which they came */
    struct hd_served *next;
} hd_served;

hd_status hd_models_open(hd_models **out, const hd_gateway_options *options, hd_workers *workers, hd_error *err);
void hd_models_close(hd_models **models); /* all users must have gone; NULL-safe */

hd_status hd_models_add(hd_models *models, const char *name, const char *path, hd_error *err);

/* Hangs a cheaper precision behind the model `name`, before it is loaded; both are loaded and unloaded together.
 * HD_E_NOT_FOUND, HD_E_ARGUMENT (it has one), HD_E_MEMORY. */
hd_status hd_models_add_cheaper(hd_models *models, const char *name, const char *path, const hd_precision_rule *rule,
                                hd_error *err);

hd_status hd_models_alias(hd_models *models, const char *alias, const char *name, hd_error *err);

/* The model `name` (an empty one: the first), loaded; the caller gives it back with hd_models_release.  When it is not
 * loaded yet, `job` is parked, *out is NULL, and the job is pushed to the workers when there is news.
 * HD_E_NOT_FOUND; HD_E_MEMORY and others: why it could not be loaded. */
hd_status hd_models_use(hd_models *models, hd_str name, hd_job *job, hd_served **out, hd_error *err);
void hd_models_release(hd_served *model);

/* Waits until it is loaded, or unloaded.  Unloading lets those who use it finish; who unloads a model that is being
 * loaded waits for that, and the other way round. */
hd_status hd_models_load(hd_models *models, const char *name, hd_error *err);
hd_status hd_models_unload(hd_models *models, const char *name, hd_error *err);

/* One user more of a model that the caller uses; given back with hd_models_release. */
void hd_models_share(hd_served *model);

/* The adapters on these models (adapters.h). */
struct hd_adapters *hd_models_adapters(hd_models *models);

/* An adapter to be made known. */
typedef struct hd_adapter_wish {
    const char *name, *path;
    double scale;  /* times as strong as it says */
    bool confined; /* the path is a request's: what is opened must lie in options.lora_folder */
} hd_adapter_wish;

/* Makes an adapter known on the model `base` (an empty name: the first); `load`: the base is loaded if need be, and the
 * adapter with it, whatever unloads the base meanwhile.  Errors: those of hd_adapters_add, HD_E_ARGUMENT (a model has
 * that name), HD_E_NOT_FOUND, why the base could not be loaded. */
hd_status hd_models_add_lora(hd_models *models, const char *base, const hd_adapter_wish *wish, bool load,
                             hd_error *err);

/* What the lists and pages show. */
typedef struct hd_model_view {
    const char *name, *root; /* root: the model that an alias stands for, or an adapter adapts */
    const char *parent;      /* of an adapter: that model; NULL else */
    hd_model_state state;
    int64_t created;
    int64_t context;           /* 0: not loaded */
    const char *precisions[2]; /* of its weights, the full one first; NULL: not loaded, or no second one */
    bool cheaper;              /* new requests go to the second */
    bool alias;
    int running, waiting; /* of an adapter: its requests in the batch, and those that wait for a place there */
} hd_model_view;

/* Calls `visit` for each name and alias, under the models' lock, then for each adapter, under that of the adapters
 * alone: it must be quick, and must not call back.  One that is added or removed meanwhile is shown or not. */
void hd_models_list(hd_models *models, void (*visit)(void *arg, const hd_model_view *view), void *arg);

int hd_models_count(hd_models *models); /* both of a pair; aliases are none */

/* Calls `visit` for each loaded model, which stays loaded meanwhile, and for both of a pair, the full one first; not
 * under the lock. */
void hd_models_each(hd_models *models, void (*visit)(void *arg, hd_served *model), void *arg);

/* Unloads what nobody has asked for since `idle_seconds`. */
void hd_models_unload_idle(hd_models *models, double idle_seconds);

#endif
