/* security/data_folder.h: the folder that holds all state of a service.
 *
 *     DIR/            its owner's alone to write; made with mode 0700
 *     DIR/secret      32 random bytes (0600), made once and never overwritten: all keys of the folder derive from it
 *     DIR/hadal.db    the database (store/store.h)
 *     DIR/lock        held by the one process that serves (flock)
 *
 * Whoever loses the secret loses all API keys and sealed files; whoever copies it can forge them.  It never leaves this
 * file: others get keys derived from it.  A hd_data_folder is immutable: any number of threads may use one.
 */
#ifndef HD_SECURITY_DATA_FOLDER_H
#define HD_SECURITY_DATA_FOLDER_H

#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"

typedef struct hd_data_folder hd_data_folder;

enum {
    HD_DATA_CREATE = 1, /* make what is absent; else it is HD_E_NOT_FOUND */
    HD_DATA_LOCK = 2    /* nobody else may have it locked: HD_E_BUSY */
};

/* `flags`: of HD_DATA_.  Errors, besides those: HD_E_DENIED (the folder is another user's, or others can write to it,
 * or read the secret), HD_E_FORMAT (the secret is damaged, or is gone while the database is there), HD_E_IO,
 * HD_E_MEMORY. The text says how to mend it. */
hd_status hd_data_folder_open(hd_data_folder **out, const char *path, unsigned flags, hd_error *err);
void hd_data_folder_close(hd_data_folder **folder); /* NULL-safe; wipes the secret, frees the lock */

/* Takes the lock alone, and makes the folder if it is absent, for a process that watches over those that serve: it
 * never sees the secret.  Who inherits the descriptor *lock (the caller's to close) holds it, too.  Errors as above. */
hd_status hd_data_folder_hold(const char *path, int *lock, hd_error *err);

const char *hd_data_folder_path(const hd_data_folder *folder);

/* A key for one purpose: HKDF-SHA-256 (RFC 5869) of the secret, with `purpose` as info and an optional salt. */
hd_status hd_data_folder_derive(const hd_data_folder *folder, const char *purpose, const void *salt, size_t salt_len,
                                void *out, size_t out_len, hd_error *err);

#endif
