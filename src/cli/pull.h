/* cli/pull.h: what the files of `hadal pull` share.
 *
 * A pull has three steps: a source is asked what there is and makes a plan (pull_hub.c, pull_pypi.c, pull_s3.c,
 * pull_direct.c); the plan's files are fetched into a staging folder, each resumed and verified (pull_fetch.c); the
 * staging folder takes its name in the models folder (pull_store.c).
 */
#ifndef HD_CLI_PULL_H
#define HD_CLI_PULL_H

#include "base/base.h"
#include "cli/catalogue.h"
#include "net/net.h"

/* ---- settings: flags and environment, read once ---- */

typedef struct hd_pull_settings {
    const char *models_dir;
    const char *hf; /* base addresses, without a "/" at the end */
    const char *ms;
    const char *pypi;                       /* index: <pypi>/<package>/ */
    bool hf_mirror, ms_mirror, pypi_mirror; /* not the default: its redirects may go anywhere */
    const char *hf_token, *ms_token;
    const char *s3_endpoint; /* NULL: AWS */
    hd_s3_keys s3;
    const char *ca_file, *ca_path;
    bool plain_http;
    bool quiet;
    char *owned[8]; /* strings made here */
    size_t owned_count;
} hd_pull_settings;

/* Command-line values; NULL or false where not given. */
typedef struct hd_pull_flags {
    const char *models_dir, *mirror;
    bool plain_http, quiet;
} hd_pull_flags;

hd_status hd_pull_settings_read(hd_pull_settings *settings, const hd_pull_flags *flags, hd_error *err);
void hd_pull_settings_free(hd_pull_settings *settings);

/* ---- plans ---- */

#define HD_PULL_MAX_FILES 4096
#define HD_PULL_MAX_FILE_BYTES ((uint64_t)1 << 42) /* 4 TiB: ten times the largest release */

typedef struct hd_pull_file {
    char *path; /* below the model's folder; safe (hd_path_is_safe) */
    char *url;  /* or, with `local`, a path */
    uint64_t size;
    bool size_known;
    char sha256[65];        /* "": the source does not say */
    char etag[HD_ETAG_MAX]; /* of the bytes that came without a hash, or that the server has (hd_pull_ask) */
    bool verified;          /* the hash was announced, and agreed */
} hd_pull_file;

typedef struct hd_pull_plan {
    char *source;  /* as asked, with the version that was found: "pypi:x==1.2", "hf:owner/repo@commit:Q4_K_M" */
    char *name;    /* the model's name, unless the user or the catalogue has another */
    char *licence; /* NULL: not known */
    hd_pull_file *files;
    size_t count;
    bool archive;         /* the one file is a wheel or source package, from which model files are taken */
    bool local;           /* file: */
    const char *hosts[8]; /* what may be reached, ends with NULL; literals, or in `host` */
    char host[256];
    const char *bearer;   /* of the settings; NULL: none */
    const hd_s3_keys *s3; /* of the settings; NULL: not S3 */
} hd_pull_plan;

void hd_pull_plan_free(hd_pull_plan *plan);

/* Adds a file; `sha256` may be NULL.  HD_E_FORMAT when `path` is not safe or not UTF-8, HD_E_LIMIT. */
hd_status hd_pull_plan_add(hd_pull_plan *plan, const char *path, const char *url, const uint64_t *size,
                           const char *sha256, hd_error *err);
uint64_t hd_pull_plan_bytes(const hd_pull_plan *plan); /* of the files whose size is known */

/* Sets *text (freed before) to the formatted text. */
hd_status hd_pull_set(char **text, hd_error *err, const char *fmt, ...) HD_PRINTF(3, 4);

/* `url` as messages and records show it (hd_url_show); in place of the query, which may hold a secret, stands the
 * beginning of its SHA-256, since it may also be what tells one file from another. */
#define HD_PULL_ADDRESS (HD_URL_SHOWN + 32)
hd_status hd_pull_address(char out[HD_PULL_ADDRESS], const char *url, hd_error *err);

/* The rules under which a plan's addresses are fetched. */
hd_net_rules hd_pull_rules(const hd_pull_settings *settings, const char *const *hosts);

/* Fetches a JSON document of at most `max` bytes. */
hd_status hd_pull_get_json(json_t **out, const hd_pull_settings *settings, const hd_pull_plan *plan, const char *url,
                           hd_error *err);

/* ---- sources: each fills a zeroed plan from `spec`, the text behind the colon ---- */

hd_status hd_pull_plan_hf(hd_pull_plan *plan, const hd_pull_settings *settings, const char *spec, bool list_all,
                          hd_error *err);
hd_status hd_pull_plan_ms(hd_pull_plan *plan, const hd_pull_settings *settings, const char *spec, bool list_all,
                          hd_error *err);
hd_status hd_pull_plan_pypi(hd_pull_plan *plan, const hd_pull_settings *settings, const char *spec, bool list_all,
                            hd_error *err);
hd_status hd_pull_plan_s3(hd_pull_plan *plan, const hd_pull_settings *settings, const char *spec, bool list_all,
                          hd_error *err);
hd_status hd_pull_plan_url(hd_pull_plan *plan, const hd_pull_settings *settings, const char *url, hd_error *err);
hd_status hd_pull_plan_local(hd_pull_plan *plan, const char *path, bool list_all, hd_error *err);

/* By the scheme of `source`; `list_all` keeps everything that the source has, for --list.  HD_E_ARGUMENT for a scheme
 * that is none. */
hd_status hd_pull_plan_make(hd_pull_plan *plan, const hd_pull_settings *settings, const char *source, bool list_all,
                            hd_error *err);

/* Whether `text` begins with one of the schemes. */
bool hd_pull_is_source(const char *text);

/* Keeps of the plan's files those that make one model: `wanted` is a file's path, a quantization ("Q4_K_M") or NULL,
 * for the official layout (safetensors and what belongs to it) or else the one GGUF.  Sets the plan's name after them.
 * HD_E_NOT_FOUND and HD_E_ARGUMENT name the choices there are. */
hd_status hd_pull_select(hd_pull_plan *plan, const char *wanted, hd_error *err);

/* Whether a file of this name is part of a model: weights, configuration, tokenizer, template. */
bool hd_pull_is_model_file(const char *name);

/* ---- progress (pull_progress.c) ---- */

typedef struct hd_pull_progress hd_pull_progress;

/* `total` bytes of the whole pull; 0: not known.  Says nothing when `quiet`. */
hd_status hd_pull_progress_open(hd_pull_progress **out, uint64_t total, bool quiet, hd_error *err);
void hd_pull_progress_close(hd_pull_progress **progress);
void hd_pull_progress_file(hd_pull_progress *progress, const char *name, size_t index, size_t count);
void hd_pull_progress_at(hd_pull_progress *progress, uint64_t done, uint64_t total); /* of this file */
void hd_pull_progress_file_done(hd_pull_progress *progress, uint64_t bytes);
void hd_pull_progress_say(hd_pull_progress *progress, const char *fmt, ...) HD_PRINTF(2, 3); /* a line of its own */

/* ---- fetching ---- */

/* Fetches every file of the plan into the folder `stage`, which may hold an earlier, unfinished try; fills in sizes and
 * hashes that were not known.  HD_E_CANCELLED after Ctrl-C: what came is kept. */
hd_status hd_pull_fetch(hd_pull_plan *plan, const hd_pull_settings *settings, const char *stage,
                        hd_pull_progress *progress, hd_error *err);

/* Asks the server for the ETag of the plan's one file and, where it says it, the SHA-256, and takes none of its bytes.
 */
hd_status hd_pull_ask(hd_pull_plan *plan, const hd_pull_settings *settings, hd_error *err);

/* Takes the model files out of the archive `archive_path` into `stage` and fills the plan with them (size and hash);
 * the archive is removed. */
hd_status hd_pull_unpack(hd_pull_plan *plan, const char *archive_path, const char *stage, hd_pull_progress *progress,
                         hd_error *err);

/* Pulls `plan` into the models folder under plan->name; *path is what the engine opens (the caller's).  Says on stderr
 * what happens.  `entry` is the catalogue's for this model, or NULL; its name, licence and advice go into the record.
 */
hd_status hd_pull_store(hd_pull_plan *plan, const hd_pull_settings *settings, const hd_catalogue_entry *entry,
                        char **path, hd_error *err);

/* Pulls an entry of the catalogue from the first of its sources that can be reached.  `format` NULL: that of its first
 * source; `scheme` ("hf:") NULL: any (cmd_pull.c). */
hd_status hd_pull_entry(const hd_catalogue_entry *entry, const hd_pull_settings *settings, const char *format,
                        const char *scheme, char **path, hd_error *err);

/* The model of a first start: a good small one where a hub answers and memory and disk allow it, else a tiny one; says
 * in one line on stderr which and why (pull_start.c). */
hd_status hd_pull_for_start(const hd_pull_settings *settings, const hd_catalogue *catalogue, char **path,
                            hd_error *err);

#endif
