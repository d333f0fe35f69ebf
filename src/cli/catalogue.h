/* cli/catalogue.h: short names of models, and where each can be fetched.
 *
 * The catalogue is embedded in the program (catalogue.json); a user's own file, $XDG_CONFIG_HOME/hadal/catalogue.json,
 * is laid over it: its entries replace those of the same name and add new ones.  A catalogue is immutable once loaded.
 */
#ifndef HD_CLI_CATALOGUE_H
#define HD_CLI_CATALOGUE_H

#include "base/base.h"

typedef struct hd_catalogue_source {
    const char *source; /* "hf:owner/repo:Q4_K_M": what `hadal pull` takes */
    const char *format; /* "gguf" or "safetensors" */
    uint64_t bytes;     /* on disk */
    uint64_t memory;    /* needed to run; 0: not stated */
    const char *sha256; /* of the single file; NULL: by the source's own word */
    bool tried;         /* this address was fetched by us */
} hd_catalogue_source;

typedef struct hd_catalogue_entry {
    const char *name;
    const char *title;
    const char *about;      /* may be "" */
    const char *parameters; /* "15.7B, 2.4B active" */
    const char *licence;
    const char *languages;        /* "zh, en" */
    uint64_t context;             /* tokens; 0: not stated */
    bool runs;                    /* this version can run it */
    const json_t *sampling;       /* object: what the authors advise, such as "temperature"; NULL: nothing */
    hd_catalogue_source *sources; /* in the order in which they are tried */
    size_t source_count;
    const char **aliases;
    size_t alias_count;
} hd_catalogue_entry;

typedef struct hd_catalogue hd_catalogue;

/* The embedded catalogue with the user's file over it.  Errors name the file and what is wrong in it. */
hd_status hd_catalogue_open(hd_catalogue **out, hd_error *err);
void hd_catalogue_close(hd_catalogue **catalogue);

/* From texts; `user` may be NULL.  For tests. */
hd_status hd_catalogue_parse(hd_catalogue **out, const char *embedded, size_t embedded_len, const char *user,
                             size_t user_len, hd_error *err);

size_t hd_catalogue_count(const hd_catalogue *catalogue);
const hd_catalogue_entry *hd_catalogue_at(const hd_catalogue *catalogue, size_t index);

/* By name or alias, letter case ignored; NULL: none. */
const hd_catalogue_entry *hd_catalogue_find(const hd_catalogue *catalogue, const char *name);

/* The entry that lists `source`; NULL: none. */
const hd_catalogue_entry *hd_catalogue_find_source(const hd_catalogue *catalogue, const char *source);

/* The nearest name for a mistyped one; NULL: none is near. */
const char *hd_catalogue_suggest(const hd_catalogue *catalogue, const char *name);

#endif
