/* gateway/gateway_internal.h: what a gateway consists of; for its own files only. */
#ifndef HD_GATEWAY_INTERNAL_H
#define HD_GATEWAY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/call.h"
#include "gateway/models.h"
#include "gateway/traffic.h"

struct hd_gateway {
    hd_gateway_options options; /* with the defaults filled in; strings are owned */
    hd_workers *workers;
    hd_models *models;
    const hd_server *_Atomic server;
    hd_buf openapi; /* the page, made once */
    uint64_t started_ns;
    pthread_mutex_t streams_lock;
    struct hd_generation *streams; /* generations that stream, under streams_lock */
    _Atomic bool draining;
    _Atomic bool opened;         /* the models that are loaded at the start have been */
    _Atomic uint64_t replies[6]; /* by the first digit of the status */
    hd_traffic traffic;
    /* The keeper: a thread that looks after models once a second. */
    pthread_t keeper;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool closing, keeping;
};

/* The document of /openapi.json. */
hd_status hd_openapi_write(hd_buf *out, const char *version, hd_error *err);

/* The page of /metrics; *out is given with its limit.  HD_E_MEMORY, HD_E_LIMIT. */
hd_status hd_metrics_write(hd_buf *out, hd_gateway *gateway, hd_error *err);

/* The pages (health.c, metrics_page.c, models_api.c) and dialects; rows of hd_routes. */
hd_status hd_page_livez(hd_call *call, bool *taken, hd_error *err);
hd_status hd_page_readyz(hd_call *call, bool *taken, hd_error *err);
hd_status hd_page_metrics(hd_call *call, bool *taken, hd_error *err);
hd_status hd_page_openapi(hd_call *call, bool *taken, hd_error *err);
hd_status hd_page_version(hd_call *call, bool *taken, hd_error *err);
hd_status hd_models_page(hd_call *call, bool *taken, hd_error *err);
hd_status hd_model_page(hd_call *call, bool *taken, hd_error *err);
hd_status hd_model_load_page(hd_call *call, bool *taken, hd_error *err);
hd_status hd_model_unload_page(hd_call *call, bool *taken, hd_error *err);
hd_status hd_lora_load_page(hd_call *call, bool *taken, hd_error *err);
hd_status hd_lora_unload_page(hd_call *call, bool *taken, hd_error *err);

/* Answers on a thread of its own (models_api.c): what `apply` fails with is the reply. */
hd_status hd_call_on_thread(hd_call *call, hd_status (*apply)(hd_call *call, hd_error *err), bool *taken,
                            hd_error *err);
hd_status hd_chat_completions(hd_call *call, bool *taken, hd_error *err);
hd_status hd_completions(hd_call *call, bool *taken, hd_error *err);
hd_status hd_embeddings(hd_call *call, bool *taken, hd_error *err);
hd_status hd_tokenize(hd_call *call, bool *taken, hd_error *err);
hd_status hd_detokenize(hd_call *call, bool *taken, hd_error *err);
hd_status hd_messages(hd_call *call, bool *taken, hd_error *err);
hd_status hd_count_tokens(hd_call *call, bool *taken, hd_error *err);

extern const hd_shape hd_chat_shape, hd_completion_shape, hd_embedding_shape, hd_tokenize_shape, hd_detokenize_shape,
    hd_messages_shape, hd_count_tokens_shape, hd_model_name_shape, hd_lora_load_shape, hd_lora_unload_shape;

#endif
