/* gateway/adapters.h: the adapters (LoRA) of a service by name, each on one of its models.
 *
 * A request that names an adapter uses its base, and takes a reference to the adapter: one that is removed meanwhile
 * goes on until its last request is over.  A base that was unloaded takes its adapters out of memory; they are bound
 * again when one is next asked for, in the background, by a thread of its own: those who asked for it wait as parked
 * jobs, and nobody else does.  One that fails to load fails those who asked for it; after HD_MODEL_RETRY_SECONDS the
 * next request tries again.  All functions are thread-safe.
 */
#ifndef HD_GATEWAY_ADAPTERS_H
#define HD_GATEWAY_ADAPTERS_H

#include "gateway/models.h"

typedef struct hd_adapters hd_adapters;

#define HD_ADAPTER_NAME 200 /* bytes of a name at most */

/* At most `max` at once (0: 16).  `folder` is where requests may load from; NULL: they may not.  Jobs that were parked
 * go to `workers`. */
hd_status hd_adapters_open(hd_adapters **out, int max, const char *folder, hd_workers *workers, hd_error *err);

/* Waits until nothing is being loaded; nobody may ask for an adapter any more.  NULL-safe. */
void hd_adapters_settle(hd_adapters *adapters);
void hd_adapters_close(hd_adapters **adapters); /* NULL-safe; settled, and every base was dropped */

/* How files are loaded, for tests; hd_lora_open_within. */
typedef hd_status (*hd_lora_loader)(hd_lora **out, hd_engine *engine, const char *path, double scale,
                                    const char *folder, hd_error *err);
void hd_adapters_set_loader(hd_adapters *adapters, hd_lora_loader loader); /* before any is added */

/* Makes an adapter known on the model `base`; with `base` in use by the caller and `now` it is loaded at once, else
 * when it is first asked for.  Errors: HD_E_ARGUMENT (the name, too many), those of hd_lora_open_within; nothing is
 * known then. */
hd_status hd_adapters_add(hd_adapters *adapters, hd_served *base, bool now, const hd_adapter_wish *wish, hd_error *err);

/* HD_E_NOT_FOUND. */
hd_status hd_adapters_remove(hd_adapters *adapters, const char *name, hd_error *err);

/* The name of the base of an adapter of that name, until the gateway closes; NULL: there is none. */
const char *hd_adapters_base(hd_adapters *adapters, hd_str name);

/* A reference to the adapter on `base`, which the caller uses.  When it is not in memory it is loaded in the
 * background, `job` is parked, *out is NULL, and the job is pushed to the workers when there is news: from then on it
 * belongs to them.  Errors: HD_E_NOT_FOUND (removed meanwhile), HD_E_MODEL_LOST (it could not be loaded; the text says
 * why), HD_E_IO (no thread). */
hd_status hd_adapters_take(hd_adapters *adapters, hd_served *base, hd_str name, hd_job *job, hd_lora **out,
                           hd_error *err);

/* The base goes out of memory: nobody uses it. */
void hd_adapters_drop(hd_adapters *adapters, const hd_served *base);

/* Calls `visit` for each adapter, under the adapters' lock: it must be quick, and must not call back. */
void hd_adapters_list(hd_adapters *adapters, void (*visit)(void *arg, const hd_model_view *view), void *arg);

int hd_adapters_max(const hd_adapters *adapters); /* at once */

/* HD_E_DENIED: requests may not load and unload. */
hd_status hd_adapters_check_allowed(const hd_adapters *adapters, hd_error *err);

/* Where `path`, as a request gave it, leads within the folder; *out is the caller's (hd_free).  HD_E_DENIED: loading by
 * request is off, or it leads out of the folder, also by a link; HD_E_NOT_FOUND.  What else the adapter has of files is
 * seen to when it is loaded. */
hd_status hd_adapters_confine(const hd_adapters *adapters, const char *path, char **out, hd_error *err);

#endif
