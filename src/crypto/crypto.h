/* crypto/crypto.h: the door of the crypto room: hashes, message authentication, key derivation, authenticated
 * encryption (aead.h) and random bytes, through OpenSSL.  No policy lives here.  Secrets are wiped with hd_wipe
 * (base/alloc.h).
 *
 * SHA-256 is FIPS 180-4; HMAC is RFC 2104 (FIPS 198-1); HKDF is RFC 5869.  Functions are thread-safe; a hd_sha256
 * belongs to one thread. Errors: HD_E_MEMORY, and HD_E_INTERNAL when OpenSSL refuses (for example a FIPS module that is
 * broken).
 */
#ifndef HD_CRYPTO_H
#define HD_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/aead.h"
#include "hadal/status.h"

#define HD_SHA256_BYTES 32
#define HD_SHA256_HEX (2 * HD_SHA256_BYTES + 1) /* lower-case digits and a NUL */

/* ---- SHA-256 of a stream ---- */

typedef struct hd_sha256 hd_sha256;

hd_status hd_sha256_open(hd_sha256 **out, hd_error *err);
void hd_sha256_close(hd_sha256 **hash); /* NULL-safe */
hd_status hd_sha256_update(hd_sha256 *hash, const void *data, size_t len, hd_error *err);

/* The digest of all that was given since the start; the stream then starts anew.  hd_sha256_reset only starts anew. */
hd_status hd_sha256_finish(hd_sha256 *hash, uint8_t digest[HD_SHA256_BYTES], hd_error *err);
hd_status hd_sha256_reset(hd_sha256 *hash, hd_error *err);

/* ---- in one call ---- */

hd_status hd_sha256_of(const void *data, size_t len, uint8_t digest[HD_SHA256_BYTES], hd_error *err);
hd_status hd_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t mac[HD_SHA256_BYTES],
                         hd_error *err);

/* HKDF-SHA-256: `out_len` (1 to 8160) bytes out of a secret.  The salt may be empty (then 32 zero bytes stand for it);
 * `info` says what the bytes are for, so that one secret serves many purposes.  HD_E_LIMIT: out_len is out of range. */
hd_status hd_hkdf_sha256(const void *secret, size_t secret_len, const void *salt, size_t salt_len, const void *info,
                         size_t info_len, void *out, size_t out_len, hd_error *err);

/* Random bytes fit for keys, from OpenSSL's generator, which the kernel seeds. */
hd_status hd_random_bytes(void *out, size_t len, hd_error *err);

/* ---- hexadecimal and base64url ---- */

/* Writes 2*len lower-case digits and a NUL. */
void hd_hex_encode(const uint8_t *data, size_t len, char *out);

/* `text` must be exactly 2*len hexadecimal digits of either case; false otherwise. */
bool hd_hex_decode(const char *text, uint8_t *out, size_t len);

/* Base64url (RFC 4648, section 5) without padding, and a NUL. */
#define HD_BASE64URL_CHARS(len) (((len)*4 + 2) / 3)
void hd_base64url_encode(const uint8_t *data, size_t len, char *out);

/* Compares in a time that does not depend on where the bytes differ. */
bool hd_secret_equal(const void *a, const void *b, size_t len);

#endif
