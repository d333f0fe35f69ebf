/* security/api_keys.c: see api_keys.h. */
#include "security/api_keys.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "crypto/crypto.h"

#define PREFIX "hd-"
#define PREFIX_CHARS (sizeof PREFIX - 1)
#define KEY_BYTES 32
#define HINT_CHARS (PREFIX_CHARS + 4) /* 24 of a key's 256 bits */

/* What the folder's secret is derived for; to change one of these texts makes all keys that exist worthless. */
#define PURPOSE_DIGEST "hadal api key digest 1"
#define PURPOSE_TENANT "hadal tenant 1"
#define PURPOSE_CHECK "hadal secret check 1"

static_assert(HD_API_KEY_CHARS == PREFIX_CHARS + HD_BASE64URL_CHARS(KEY_BYTES), "the length of a key");
static_assert(HINT_CHARS <= HD_KEY_HINT && HD_KEY_DIGEST == HD_SHA256_BYTES, "what a row has room for");

struct hd_api_keys {
    hd_store *store;
    uint8_t digest_key[32], tenant_key[32];
};

/* ---- opening ---- */

static hd_status check_secret(const hd_data_folder *folder, hd_store *store, hd_error *err)
{
    uint8_t check[HD_STORE_CHECK];
    bool same = false;
    HD_TRY(hd_data_folder_derive(folder, PURPOSE_CHECK, NULL, 0, check, sizeof check, err));
    HD_TRY(hd_store_check_secret(store, check, &same, err));
    if (same) return HD_OK;
    return hd_fail(
        err, HD_E_FORMAT,
        "%s: secret and %s do not belong together, so that no key can be checked; restore both from the same "
        "backup, or move %s away to start anew",
        hd_data_folder_path(folder), HD_STORE_FILE, HD_STORE_FILE);
}

hd_status hd_api_keys_open(hd_api_keys **out, const hd_data_folder *folder, hd_store *store, hd_error *err)
{
    *out = NULL;
    HD_TRY(check_secret(folder, store, err));
    hd_api_keys *keys = hd_calloc(1, sizeof *keys);
    if (!keys) return hd_fail(err, HD_E_MEMORY, "out of memory for API keys");
    keys->store = store;
    hd_status status =
        hd_data_folder_derive(folder, PURPOSE_DIGEST, NULL, 0, keys->digest_key, sizeof keys->digest_key, err);
    if (status == HD_OK)
        status = hd_data_folder_derive(folder, PURPOSE_TENANT, NULL, 0, keys->tenant_key, sizeof keys->tenant_key, err);
    if (status == HD_OK)
        *out = keys;
    else
        hd_api_keys_close(&keys);
    return status;
}

void hd_api_keys_close(hd_api_keys **keys)
{
    if (!*keys) return;
    hd_wipe(*keys, sizeof **keys);
    hd_free(*keys);
    *keys = NULL;
}

/* ---- making ---- */

static bool is_number(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

static hd_status check_name(const char *name, hd_error *err)
{
    size_t len = strlen(name);
    if (len > HD_KEY_NAME)
        return hd_fail(err, HD_E_ARGUMENT, "the name of a key has at most %d bytes; this one has %zu", HD_KEY_NAME,
                       len);
    char clean[HD_KEY_NAME + 1];
    memcpy(clean, name, len + 1);
    hd_text_clean(clean);
    if (strcmp(clean, name) != 0)
        return hd_fail(err, HD_E_ARGUMENT, "the name '%s' has control characters or is not UTF-8", clean);
    if (is_number(name) || strncmp(name, PREFIX, PREFIX_CHARS) == 0)
        return hd_fail(err, HD_E_ARGUMENT, "the name '%s' looks like %s; take another name", name,
                       is_number(name) ? "the number of a key" : "a key");
    return HD_OK;
}

static hd_status digest_of(const hd_api_keys *keys, const char *text, uint8_t digest[HD_KEY_DIGEST], hd_error *err)
{
    return hd_hmac_sha256(keys->digest_key, sizeof keys->digest_key, text, HD_API_KEY_CHARS, digest, err);
}

hd_status hd_api_keys_create(hd_api_keys *keys, const char *name, char text[HD_API_KEY_CHARS + 1], int64_t *id,
                             hd_error *err)
{
    uint8_t bytes[KEY_BYTES], digest[HD_KEY_DIGEST];
    char hint[HINT_CHARS + 1];
    text[0] = '\0';
    if (!name) name = "";
    HD_TRY(check_name(name, err));
    HD_TRY(hd_random_bytes(bytes, sizeof bytes, err));
    memcpy(text, PREFIX, PREFIX_CHARS);
    hd_base64url_encode(bytes, sizeof bytes, text + PREFIX_CHARS);
    hd_wipe(bytes, sizeof bytes);
    memcpy(hint, text, HINT_CHARS);
    hint[HINT_CHARS] = '\0';
    hd_status status = digest_of(keys, text, digest, err);
    if (status == HD_OK) status = hd_store_key_add(keys->store, name, hint, digest, id, err);
    if (status != HD_OK) hd_wipe(text, HD_API_KEY_CHARS + 1);
    return status;
}

hd_status hd_api_keys_list(hd_api_keys *keys, hd_key_row **rows, size_t *count, hd_error *err)
{
    return hd_store_key_list(keys->store, rows, count, err);
}

hd_status hd_api_keys_count(hd_api_keys *keys, int64_t *live, hd_error *err)
{
    return hd_store_key_count(keys->store, live, err);
}

/* ---- checking ---- */

static bool has_form(const char *text, size_t len)
{
    return len == HD_API_KEY_CHARS && memcmp(text, PREFIX, PREFIX_CHARS) == 0;
}

/* The row of a key's text; HD_E_NOT_FOUND.  The search compares keyed digests: how long it takes tells nothing about
 * keys to somebody who can't compute them. */
static hd_status find_text(const hd_api_keys *keys, const char *text, hd_key_row *row, hd_error *err)
{
    uint8_t digest[HD_KEY_DIGEST];
    HD_TRY(digest_of(keys, text, digest, err));
    return hd_store_key_by_digest(keys->store, digest, row, err);
}

hd_status hd_api_keys_tenant(const hd_api_keys *keys, int64_t id, uint8_t tenant[HD_TENANT_SALT], hd_error *err)
{
    uint8_t bytes[8], mac[HD_SHA256_BYTES];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)id >> (8 * i));
    HD_TRY(hd_hmac_sha256(keys->tenant_key, sizeof keys->tenant_key, bytes, sizeof bytes, mac, err));
    memcpy(tenant, mac, HD_TENANT_SALT);
    return HD_OK;
}

hd_status hd_api_keys_check(hd_api_keys *keys, hd_str presented, hd_api_key *out, hd_error *err)
{
    static const char denied[] = "this API key is not valid here: it may be mistyped or revoked";
    hd_key_row row;
    *out = (hd_api_key){.id = 0};
    if (!has_form(presented.data, presented.len)) return hd_fail(err, HD_E_DENIED, "%s", denied);
    hd_status status = find_text(keys, presented.data, &row, err);
    if (status == HD_E_NOT_FOUND || (status == HD_OK && row.revoked_ms)) return hd_fail(err, HD_E_DENIED, "%s", denied);
    HD_TRY(status);
    HD_TRY(hd_api_keys_tenant(keys, row.id, out->tenant, err));
    hd_error ignored;
    if (hd_store_key_touch(keys->store, &row, &ignored) != HD_OK) /* who may come in does not depend on a note */
        hd_log(HD_LOG_WARN, "the use of API key %lld could not be noted: %s", (long long)row.id, ignored.text);
    out->id = row.id;
    memcpy(out->name, row.name, sizeof out->name);
    return HD_OK;
}

/* ---- taking ---- */

/* As we make them: the alphabet of base64url behind the prefix. */
static bool is_key(const char *text)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return has_form(text, strlen(text)) && text[strspn(text, alphabet)] == '\0';
}

hd_status hd_api_keys_adopt(hd_api_keys *keys, const char *text, hd_error *err)
{
    uint8_t digest[HD_KEY_DIGEST];
    char hint[HINT_CHARS + 1];
    hd_key_row row;
    int64_t id;
    if (!is_key(text))
        return hd_fail(err, HD_E_ARGUMENT,
                       "this is no API key as `hadal key create` makes them (hd- and 43 characters)");
    hd_status status = find_text(keys, text, &row, err);
    if (status == HD_OK && row.revoked_ms)
        return hd_fail(err, HD_E_DENIED, "key %lld was revoked here and is not taken again", (long long)row.id);
    if (status != HD_E_NOT_FOUND) return status;
    HD_TRY(digest_of(keys, text, digest, err));
    memcpy(hint, text, HINT_CHARS);
    hint[HINT_CHARS] = '\0';
    return hd_store_key_add(keys->store, "", hint, digest, &id, err);
}

/* ---- revoking ---- */

static hd_status find(const hd_api_keys *keys, const char *which, hd_key_row *row, hd_error *err)
{
    if (has_form(which, strlen(which))) return find_text(keys, which, row, err);
    if (!is_number(which)) return *which ? hd_store_key_by_name(keys->store, which, row, err) : HD_E_NOT_FOUND;
    errno = 0;
    long long id = strtoll(which, NULL, 10);
    return errno ? HD_E_NOT_FOUND : hd_store_key_by_id(keys->store, id, row, err);
}

hd_status hd_api_keys_revoke(hd_api_keys *keys, const char *which, hd_key_row *row, hd_error *err)
{
    hd_key_row found;
    bool is_key = strncmp(which, PREFIX, PREFIX_CHARS) == 0; /* never repeated, not even mistyped */
    hd_status status = find(keys, which, &found, err);
    if (status == HD_E_NOT_FOUND)
        return hd_fail(err, status, "no live key has the %s%s; hadal key list shows them",
                       is_key             ? "text that was given"
                       : is_number(which) ? "number "
                                          : "name ",
                       is_key ? "" : which);
    HD_TRY(status);
    if (found.revoked_ms) return hd_fail(err, HD_E_NOT_FOUND, "key %lld is revoked already", (long long)found.id);
    HD_TRY(hd_store_key_revoke(keys->store, found.id, err));
    if (row) *row = found;
    return HD_OK;
}
