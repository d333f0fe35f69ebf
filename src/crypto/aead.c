/* crypto/aead.c: see aead.h.  One cipher context a direction keeps the key's schedule between messages. */
#include "crypto/aead.h"

#include <openssl/evp.h>
#include <string.h>

#include "base/base.h"

#define MESSAGE_MAX ((size_t)1 << 30) /* OpenSSL counts in int; ours are chunks of files */

struct hd_aead {
    EVP_CIPHER_CTX *seal, *unseal;
};

static hd_status refused(hd_error *err)
{
    return hd_fail(err, HD_E_INTERNAL, "OpenSSL refused AES-256-GCM; is its configuration in order?");
}

hd_status hd_aead_open(hd_aead **out, const uint8_t key[HD_AEAD_KEY], hd_error *err)
{
    *out = NULL;
    hd_aead *aead = hd_calloc(1, sizeof *aead);
    if (!aead) return hd_fail(err, HD_E_MEMORY, "out of memory for a cipher");
    aead->seal = EVP_CIPHER_CTX_new();
    aead->unseal = EVP_CIPHER_CTX_new();
    hd_status status = HD_OK;
    if (!aead->seal || !aead->unseal)
        status = hd_fail(err, HD_E_MEMORY, "out of memory for a cipher");
    else if (EVP_EncryptInit_ex(aead->seal, EVP_aes_256_gcm(), NULL, key, NULL) != 1 ||
             EVP_DecryptInit_ex(aead->unseal, EVP_aes_256_gcm(), NULL, key, NULL) != 1)
        status = refused(err);
    *out = aead;
    if (status != HD_OK) hd_aead_close(out);
    return status;
}

void hd_aead_close(hd_aead **aead)
{
    if (!*aead) return;
    EVP_CIPHER_CTX_free((*aead)->seal); /* wipes the key */
    EVP_CIPHER_CTX_free((*aead)->unseal);
    hd_free(*aead);
    *aead = NULL;
}

static hd_status check_sizes(size_t extra_len, size_t len, hd_error *err)
{
    if (extra_len <= MESSAGE_MAX && len <= MESSAGE_MAX) return HD_OK;
    return hd_fail(err, HD_E_LIMIT, "a message of %zu bytes, with %zu beside it, is too long to encrypt at once", len,
                   extra_len);
}

hd_status hd_aead_seal(hd_aead *aead, const uint8_t nonce[HD_AEAD_NONCE], const void *extra, size_t extra_len,
                       const void *plain, size_t len, uint8_t *sealed, hd_error *err)
{
    EVP_CIPHER_CTX *ctx = aead->seal;
    int n = 0;
    HD_TRY(check_sizes(extra_len, len, err));
    bool good = EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, nonce) == 1;
    if (good && extra_len) good = EVP_EncryptUpdate(ctx, NULL, &n, extra, (int)extra_len) == 1;
    if (good && len) good = EVP_EncryptUpdate(ctx, sealed, &n, plain, (int)len) == 1;
    good = good && EVP_EncryptFinal_ex(ctx, sealed + len, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, HD_AEAD_TAG, sealed + len) == 1;
    return good ? HD_OK : refused(err);
}

hd_status hd_aead_unseal(hd_aead *aead, const uint8_t nonce[HD_AEAD_NONCE], const void *extra, size_t extra_len,
                         const void *sealed, size_t len, uint8_t *plain, hd_error *err)
{
    EVP_CIPHER_CTX *ctx = aead->unseal;
    uint8_t tag[HD_AEAD_TAG], none[HD_AEAD_TAG]; /* `none`: where no byte comes out */
    int n = 0;
    HD_TRY(check_sizes(extra_len, len, err));
    if (len < HD_AEAD_TAG) return hd_fail(err, HD_E_CHECKSUM, "%zu bytes are too few to be an encrypted message", len);
    len -= HD_AEAD_TAG;
    memcpy(tag, (const uint8_t *)sealed + len, sizeof tag);
    bool good = EVP_DecryptInit_ex(ctx, NULL, NULL, NULL, nonce) == 1 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, HD_AEAD_TAG, tag) == 1;
    if (good && extra_len) good = EVP_DecryptUpdate(ctx, NULL, &n, extra, (int)extra_len) == 1;
    if (good && len) good = EVP_DecryptUpdate(ctx, plain, &n, sealed, (int)len) == 1;
    if (good && EVP_DecryptFinal_ex(ctx, none, &n) == 1) return HD_OK;
    if (len) hd_wipe(plain, len);
    return good ? hd_fail(err, HD_E_CHECKSUM, "an encrypted message is not what was sealed under this key")
                : refused(err);
}
