/* cli/serve.h: the parts of `hadal serve`: its options, and which models they mean. */
#ifndef HD_CLI_SERVE_H
#define HD_CLI_SERVE_H

#include "cli/engine.h"
#include "cli/serve_watch.h"
#include "gateway/gateway.h"
#include "gateway/precision.h"
#include "ops/machine_watch.h"
#include "security/api_keys.h"

#define HD_SERVE_MODELS 64

typedef struct hd_serve_flags {
    const char *models[HD_SERVE_MODELS]; /* MODEL or NAME=MODEL */
    size_t model_count;
    hd_opt_list model_paths, aliases;
    const char *precision, *data;
    const char *key_file; /* of --api-key-file */
    const char *options;  /* of --options, which is read before the others are parsed */
    bool no_auth, lazy;
    double idle;
    const char *host, *certificate, *key, *client_ca, *cors_origin;
    bool self_signed;
    int64_t port, max_body, connections, per_address;
    double drain;
    int64_t max_tokens, batch, piece, queue, cache_tokens, prefix_pages;
    double stall;
    bool keep_prefixes;
    const char *warm_up;
    hd_opt_list cheaper; /* [NAME=]MODEL */
    int64_t cheaper_above, cheaper_below;
    double cheaper_hold;     /* seconds */
    hd_opt_list loras;       /* NAME=ADAPTER[:SCALE] */
    const char *lora_folder; /* of --allow-lora-loading */
    int64_t max_loras, max_lora_rank;
    bool supervise;
    double watchdog, handover; /* seconds */
    hd_engine_flags engine;
    hd_serve_watch watch;
    hd_opt general[9], second[4], door[11], batching[13], supervision[3];
} hd_serve_flags;

/* ---- a second precision (serve_cheaper.c) ---- */

/* Fills its table; `f` must stay where it is while the group is used. */
hd_opt_group hd_serve_cheaper_group(hd_serve_flags *f);

/* "NAME=MODEL" cut in two: `name` [size] receives the name, empty where there is none; the model is returned. */
const char *hd_serve_split_name(const char *given, char *name, size_t size);

/* HD_E_ARGUMENT: options that make no sense together. */
hd_status hd_serve_check_cheaper(const hd_serve_flags *f, hd_error *err);
hd_precision_rule hd_serve_cheaper_rule(const hd_serve_flags *f);

/* ---- a file of options (serve_options.c) ---- */

/* The command line with the words of --options FILE before its own; views are valid until it is closed. */
typedef struct hd_serve_words {
    int argc;
    char **argv;
    char *text;
} hd_serve_words;

/* HD_E_ARGUMENT, HD_E_FORMAT and HD_E_LIMIT name the file and the line; HD_E_NOT_FOUND, HD_E_IO, HD_E_MEMORY. */
hd_status hd_serve_words_open(hd_serve_words *words, int argc, char **argv, hd_error *err);
void hd_serve_words_close(hd_serve_words *words);

/* ---- a second process that watches (serve_supervise.c) ---- */

hd_opt_group hd_serve_supervise_group(hd_serve_flags *f);
void hd_serve_supervise_defaults(hd_serve_flags *f);
hd_status hd_serve_supervise_check(const hd_serve_flags *f, hd_error *err);

/* Watches over workers until the end; returns the exit code. */
int hd_serve_supervise(const hd_serve_flags *f);

/* ---- models (serve_models.c) ---- */

typedef char hd_serve_names[HD_SERVE_MODELS][256]; /* under which the models are served */

/* Makes the models, their cheaper precisions and aliases known; `names` receives their names. */
hd_status hd_serve_add_models(hd_gateway *gateway, const hd_serve_flags *flags, hd_serve_names names, hd_error *err);

/* Loads them unless --lazy, and adds the adapters. */
hd_status hd_serve_load_models(hd_gateway *gateway, const hd_serve_flags *flags, hd_serve_names names, hd_error *err);

/* ---- figures of process and machine (serve_metrics.c) ---- */

/* Begins to watch the machine, the disk of the data folder, and that of the first model. */
hd_status hd_serve_watch_machine(hd_machine_watch **out, const hd_serve_flags *flags, const char *data, hd_error *err);

/* ---- keys that were made elsewhere (serve_keys.c) ---- */

/* Takes the keys of a file, one a line; empty lines and those that begin with # are passed over.  Errors name the file
 * and the line, never a key. */
hd_status hd_serve_take_keys(hd_api_keys *keys, const char *path, hd_error *err);

/* Where --tls-self-signed keeps its files, in a folder that is made.  Both are the caller's (hd_free). */
hd_status hd_serve_tls_files(const char *folder, char **certificate, char **key, hd_error *err);

#endif
