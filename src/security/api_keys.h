/* security/api_keys.h: the keys that clients of a service present.
 *
 * A key is "hd-" and 32 random bytes as base64url.  It is shown once, when it is made; the database holds its
 * HMAC-SHA-256 under a key derived from the folder's secret, so that neither the database alone nor a guess at it opens
 * the service.  Each key is a tenant of its own.
 *
 * Threading: any number of threads may use one hd_api_keys; the store's mutex lets them take turns.
 */
#ifndef HD_SECURITY_API_KEYS_H
#define HD_SECURITY_API_KEYS_H

#include "base/buf.h"
#include "security/data_folder.h"
#include "store/store.h"

#define HD_API_KEY_CHARS 46 /* "hd-" and 43 */
#define HD_TENANT_SALT 16

typedef struct hd_api_keys hd_api_keys;

/* Folder and store are borrowed and outlive it.  HD_E_FORMAT: the database was made with another secret. */
hd_status hd_api_keys_open(hd_api_keys **out, const hd_data_folder *folder, hd_store *store, hd_error *err);
void hd_api_keys_close(hd_api_keys **keys); /* NULL-safe */

/* Makes a key.  `name` may be NULL or "" for none; else 1 to 64 bytes of UTF-8 without control characters that are
 * neither a number nor begin with "hd-" (so that name, id and key can't be mistaken for each other), and no live key's:
 * HD_E_ARGUMENT.  `text` is the caller's to show and to wipe. */
hd_status hd_api_keys_create(hd_api_keys *keys, const char *name, char text[HD_API_KEY_CHARS + 1], int64_t *id,
                             hd_error *err);

/* Takes a key that was made elsewhere, so that several services may share it: one that is here already is fine.
 * HD_E_ARGUMENT: it is no key of ours (the text is not repeated); HD_E_DENIED: it was revoked here. */
hd_status hd_api_keys_adopt(hd_api_keys *keys, const char *text, hd_error *err);

/* As hd_store_key_list and hd_store_key_count. */
hd_status hd_api_keys_list(hd_api_keys *keys, hd_key_row **rows, size_t *count, hd_error *err);
hd_status hd_api_keys_count(hd_api_keys *keys, int64_t *live, hd_error *err);

/* Revokes a live key by its name, its id or its text.  HD_E_NOT_FOUND: there is no such one.  *row (may be NULL) is
 * what it was. */
hd_status hd_api_keys_revoke(hd_api_keys *keys, const char *which, hd_key_row *row, hd_error *err);

/* Who presented a key. */
typedef struct hd_api_key {
    int64_t id;
    char name[HD_KEY_NAME + 1];
    uint8_t tenant[HD_TENANT_SALT]; /* derived from the secret and the id: keeps the caches of tenants apart */
} hd_api_key;

/* The tenant that the key with this id is. */
hd_status hd_api_keys_tenant(const hd_api_keys *keys, int64_t id, uint8_t tenant[HD_TENANT_SALT], hd_error *err);

/* HD_E_DENIED, in the same words, for what is no key of ours and for a revoked one; another status when that can't be
 * told (HD_E_BUSY, HD_E_IO, ...): then, too, nobody may be let in.  Sees at once what another process revoked.  Notes
 * the use, at most once a minute. */
hd_status hd_api_keys_check(hd_api_keys *keys, hd_str presented, hd_api_key *out, hd_error *err);

#endif
