/* ops/description.h: what a deployment looks like: the one description that every artifact is generated from.
 *
 * A flat list of named values with defaults, from a YAML file, from flags, or both.  Each value is checked by its kind
 * as it comes in: the letters that pass cannot leave a quoted or unquoted word of YAML, of a shell, of systemd, nginx
 * or nftables, so that templates may put them anywhere.  Plain data without pointers; one thread at a time.
 */
#ifndef HD_OPS_DESCRIPTION_H
#define HD_OPS_DESCRIPTION_H

#include "base/base.h"

#define HD_DESCRIPTION_KEYS 56   /* room for keys, the derived ones among them */
#define HD_DESCRIPTION_VALUE 255 /* bytes of a value */

typedef struct hd_description {
    char values[HD_DESCRIPTION_KEYS][HD_DESCRIPTION_VALUE + 1]; /* in the order of the table of keys */
} hd_description;

typedef struct hd_description_key {
    const char *name;    /* as in the file: "memoryLimit" */
    const char *initial; /* its value where nobody gives one */
    const char *help;    /* one line */
    bool derived;        /* computed by hd_description_settle; nobody gives it */
} hd_description_key;

/* Key `i` of the table, from 0; NULL behind the last one. */
const hd_description_key *hd_description_key_at(size_t i);

/* The defaults; `version` (of the program) names the image and the packages. */
void hd_description_init(hd_description *d, const char *version);

/* Sets one value.  HD_E_ARGUMENT: no such key (with the nearest), or a value that its kind does not allow. */
hd_status hd_description_set(hd_description *d, const char *key, const char *value, hd_error *err);

/* Reads a YAML file of at most 64 KiB: one mapping from keys to plain values.  Errors name file and line:
 * HD_E_NOT_FOUND, HD_E_IO, HD_E_LIMIT, HD_E_FORMAT, HD_E_ARGUMENT, HD_E_MEMORY. */
hd_status hd_description_read(hd_description *d, const char *path, hd_error *err);

/* The same from memory; `name` is what errors call it. */
hd_status hd_description_parse(hd_description *d, const char *text, size_t len, const char *name, hd_error *err);

/* Computes the derived values and checks what no value shows alone; last, before the values are used. */
hd_status hd_description_settle(hd_description *d, hd_error *err);

/* The value of a key; NULL when there is none of that name.  Belongs to the description. */
const char *hd_description_get(const hd_description *d, const char *key);

/* The same of a number; 0 when there is none of that name. */
int hd_description_number(const hd_description *d, const char *key);

/* Appends the description as YAML with a comment for each key: what hd_description_read takes. */
hd_status hd_description_write(const hd_description *d, hd_buf *out);

#endif
