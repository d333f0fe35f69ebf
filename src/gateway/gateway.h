/* gateway/gateway.h: the door of the gateway room: the API's dialects over the models that a service has.
 *
 * A gateway owns its models and the workers that read requests and render prompts; a server (server/http_server.h)
 * hands it exchanges.  Options and names are copied.
 */
#ifndef HD_GATEWAY_H
#define HD_GATEWAY_H

#include "base/span.h"
#include "gateway/precision.h"
#include "hadal/chat.h"
#include "hadal/scheduler.h"
#include "security/api_keys.h"
#include "security/data_folder.h"
#include "server/http_server.h"

typedef struct hd_gateway hd_gateway;

typedef struct hd_gateway_options {
    hd_api_keys *keys;       /* who may ask; NULL: everybody, as one tenant.  Must outlive the gateway */
    const char *version;     /* of the program */
    const char *cors_origin; /* whose pages may ask from a browser: an origin, or "*"; NULL: none */
    int64_t default_tokens;  /* cap of an answer whose client gives none; 0: 4096 */
    int workers;             /* threads that read requests; 0: 2 */
    double stall_seconds;    /* /livez fails when work waits and no step ends for so long; 0: 60 */
    double probe_seconds;    /* how old the last pass through the model may be for /readyz; 0: 60 */
    double idle_seconds;     /* a model that nobody asked for so long is unloaded; 0: never */
    const hd_data_folder
        *kept_prefixes;        /* where cached prompts survive a restart; NULL: they don't.  Must outlive it */
    const char *warm_up;       /* file of prompts to evaluate when a model is loaded (warm_up.h); NULL: none */
    uint64_t memory;           /* bytes that the process may use: what the caches of models may take follows from it
                                  where engine and scheduler set no limit; 0: none does */
    const hd_span_sink *spans; /* where traces go; NULL: nowhere.  Must outlive it */
    bool early;                /* requests come in while models are loaded: /readyz says no until hd_gateway_opened */
    bool tls;                  /* clients come by https: traces say so */
    const char *lora_folder;   /* where requests may load adapters from; NULL: they may not */
    int max_loras;             /* adapters at once; 0: 16.  engine.lora_rank makes room for them */
    void (*more_metrics)(void *arg, hd_buf *out); /* appends families of process and machine to the metrics page, from
                                                     any thread and without blocking; NULL: none */
    void *more_metrics_arg;
    hd_engine_options engine; /* for every model */
    hd_scheduler_options scheduler;
} hd_gateway_options;

hd_status hd_gateway_open(hd_gateway **out, const hd_gateway_options *options, hd_error *err);

/* Every exchange must be over.  NULL-safe. */
void hd_gateway_close(hd_gateway **gateway);

/* Makes the model at `path` known under `name`; it is loaded by hd_gateway_load, or when it is first asked for.
 * HD_E_ARGUMENT: the name is taken. */
hd_status hd_gateway_add(hd_gateway *gateway, const char *name, const char *path, hd_error *err);

/* Makes the model at `path` the cheaper precision of `name`, which is not loaded yet: both are loaded together, and new
 * requests go to it under load (precision.h).  HD_E_NOT_FOUND; HD_E_ARGUMENT: the name has one already. */
hd_status hd_gateway_add_cheaper(hd_gateway *gateway, const char *name, const char *path, const hd_precision_rule *rule,
                                 hd_error *err);
hd_status hd_gateway_alias(hd_gateway *gateway, const char *alias, const char *name, hd_error *err);

/* An adapter under a name of its own, on the first model: `scale` times as strong as it says, loaded at once or when it
 * is first asked for.  Errors: HD_E_ARGUMENT (the name is taken, too many, another base), those of its file. */
hd_status hd_gateway_add_lora(hd_gateway *gateway, const char *name, const char *path, double scale, bool load,
                              hd_error *err);

/* Loads a model and waits until it has answered its first token. */
hd_status hd_gateway_load(hd_gateway *gateway, const char *name, hd_error *err);

/* What is known of a loaded model; false when it is not loaded.  Strings live as long as it is. */
bool hd_gateway_get_info(hd_gateway *gateway, const char *name, hd_engine_info *out);

/* All models that were to be loaded at the start are: from now on /readyz may say yes without one in memory. */
void hd_gateway_opened(hd_gateway *gateway);

/* What the server hands an exchange to; on its thread.  `gateway` is a hd_gateway. */
void hd_gateway_handle(void *gateway, hd_exchange *exchange);

/* The server whose figures /metrics shows; NULL takes it away. */
void hd_gateway_set_server(hd_gateway *gateway, const hd_server *server);

/* Appends the page of /metrics, for who reads it inside the program; *out is given with its limit.  Any thread, but not
 * while the server that was set is being closed.  HD_E_MEMORY, HD_E_LIMIT. */
hd_status hd_gateway_write_metrics(hd_gateway *gateway, hd_buf *out, hd_error *err);

/* What /livez says: false when work waits and no pass has ended for stall_seconds. */
bool hd_gateway_is_alive(hd_gateway *gateway);

/* What a watchdog looks at, of all loaded models together. */
typedef struct hd_gateway_pulse {
    int64_t requests; /* under way */
    uint64_t steps;   /* ended */
    bool working;     /* some wait for a step to end */
} hd_gateway_pulse;

void hd_gateway_take_pulse(hd_gateway *gateway, hd_gateway_pulse *out); /* any thread */

/* From now on /readyz says no and new work is refused with 503. */
void hd_gateway_drain(hd_gateway *gateway);

#endif
