/* store/store.h: the door of the store room: a service's database.
 *
 * One SQLite file, FOLDER/hadal.db, with its journal beside it.  Several processes may have it open at once; each sees
 * what another has committed with its next call.  No SQL is written outside this room: callers use the functions below.
 *
 * Threading: a store may be used from several threads (a mutex inside lets them take turns).  A call waits up to 5 s
 * for another process that writes. Durability: what a call has written is on disk when it returns. Errors: HD_E_IO (the
 * file can't be read or written, or is damaged: the text says which and what to do), HD_E_BUSY (the wait was in vain),
 * HD_E_MEMORY, and those named at a function.
 */
#ifndef HD_STORE_H
#define HD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"

#define HD_STORE_FILE "hadal.db"

typedef struct hd_store hd_store;

/* Opens the database in `folder`, making both when absent: the folder with mode 0700, the file with 0600.  A database
 * of an older program is brought to this one's form.  HD_E_UNSUPPORTED: it is of a newer program; HD_E_FORMAT: it is no
 * database, or another program's. */
hd_status hd_store_open(hd_store **out, const char *folder, hd_error *err);
void hd_store_close(hd_store **store); /* NULL-safe */

/* ---- the folder's secret (secret.c) ---- */

#define HD_STORE_CHECK 16

/* Whether `check`, which is derived from the secret that the database's digests were made with, is the one that the
 * database knows.  The first one ever given is kept. */
hd_status hd_store_check_secret(hd_store *store, const uint8_t check[HD_STORE_CHECK], bool *same, hd_error *err);

/* ---- API keys (api_keys.c) ---- */

#define HD_KEY_DIGEST 32
#define HD_KEY_NAME 64 /* most bytes of a name */
#define HD_KEY_HINT 15 /* most bytes of a hint */

typedef struct hd_key_row {
    int64_t id;                 /* from 1; never used again */
    char name[HD_KEY_NAME + 1]; /* UTF-8; "": it has none */
    char hint[HD_KEY_HINT + 1]; /* the first characters of the key, to tell keys apart in a list */
    int64_t created_ms;         /* these three: since 1970-01-01 UTC; 0: not yet */
    int64_t revoked_ms;
    int64_t last_used_ms;
} hd_key_row;

/* Adds a key that lives from now on.  HD_E_ARGUMENT: a live key has that name, or name or hint is too long. */
hd_status hd_store_key_add(hd_store *store, const char *name, const char *hint, const uint8_t digest[HD_KEY_DIGEST],
                           int64_t *id, hd_error *err);

/* All keys, revoked ones too, by id.  *rows is the caller's (hd_free); NULL when there is none. */
hd_status hd_store_key_list(hd_store *store, hd_key_row **rows, size_t *count, hd_error *err);

/* Keys that are not revoked. */
hd_status hd_store_key_count(hd_store *store, int64_t *live, hd_error *err);

/* HD_E_NOT_FOUND when there is none.  By digest and by id revoked keys are found, too (row->revoked_ms); by name only a
 * live one.  By digest is made for each request: one search in an index, less than 10 microseconds. */
hd_status hd_store_key_by_digest(hd_store *store, const uint8_t digest[HD_KEY_DIGEST], hd_key_row *row, hd_error *err);
hd_status hd_store_key_by_id(hd_store *store, int64_t id, hd_key_row *row, hd_error *err);
hd_status hd_store_key_by_name(hd_store *store, const char *name, hd_key_row *row, hd_error *err);

/* Revokes a key for good; every process sees it from its next search on.  HD_E_NOT_FOUND: no live key has that id. */
hd_status hd_store_key_revoke(hd_store *store, int64_t id, hd_error *err);

/* Notes that the key of `row`, which was just read, is used now; nothing when it was noted less than a minute ago.
 * Never waits: while another process writes, the note is left out. */
hd_status hd_store_key_touch(hd_store *store, const hd_key_row *row, hd_error *err);

/* ---- figures ---- */

/* Of all databases of this process, since its start. */
typedef struct hd_store_usage {
    uint64_t queries, errors;
    double seconds; /* spent in queries, waiting for other processes included */
} hd_store_usage;

void hd_store_get_usage(hd_store_usage *out); /* any thread */

#endif
