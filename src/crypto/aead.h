/* crypto/aead.h: authenticated encryption of one message: AES-256-GCM (NIST SP 800-38D), through OpenSSL.
 *
 * A nonce must never come twice under one key: the second message gives both away.  Callers count, or take a new key
 * for each file.  A hd_aead belongs to one thread.  Errors: HD_E_MEMORY, HD_E_LIMIT (a message beyond 1 GiB),
 * HD_E_INTERNAL (OpenSSL refuses).
 */
#ifndef HD_CRYPTO_AEAD_H
#define HD_CRYPTO_AEAD_H

#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"

#define HD_AEAD_KEY 32
#define HD_AEAD_NONCE 12
#define HD_AEAD_TAG 16

typedef struct hd_aead hd_aead;

/* The key is copied; close wipes it. */
hd_status hd_aead_open(hd_aead **out, const uint8_t key[HD_AEAD_KEY], hd_error *err);
void hd_aead_close(hd_aead **aead); /* NULL-safe */

/* Encrypts `len` bytes to `sealed` [len + HD_AEAD_TAG], the tag last, and authenticates `extra` with them, which is not
 * stored.  plain and sealed do not overlap, or are the same. */
hd_status hd_aead_seal(hd_aead *aead, const uint8_t nonce[HD_AEAD_NONCE], const void *extra, size_t extra_len,
                       const void *plain, size_t len, uint8_t *sealed, hd_error *err);

/* The reverse: `len` counts the tag, `plain` has len - HD_AEAD_TAG bytes.  HD_E_CHECKSUM when key, nonce, extra or a
 * byte is not what was sealed; `plain` is then wiped. */
hd_status hd_aead_unseal(hd_aead *aead, const uint8_t nonce[HD_AEAD_NONCE], const void *extra, size_t extra_len,
                         const void *sealed, size_t len, uint8_t *plain, hd_error *err);

#endif
