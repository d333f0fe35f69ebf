/* crypto/sha256.c: SHA-256, HMAC and hexadecimal; see crypto.h.  A hd_sha256 is always ready for more input. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/alloc.h"
#include "crypto/crypto.h"

struct hd_sha256 {
    EVP_MD_CTX *ctx;
};

static hd_status refused(hd_error *err, const char *what)
{
    return hd_fail(err, HD_E_INTERNAL, "OpenSSL refused %s; is its configuration in order?", what);
}

hd_status hd_sha256_reset(hd_sha256 *hash, hd_error *err)
{
    return EVP_DigestInit_ex(hash->ctx, EVP_sha256(), NULL) == 1 ? HD_OK : refused(err, "SHA-256");
}

hd_status hd_sha256_open(hd_sha256 **out, hd_error *err)
{
    *out = NULL;
    hd_sha256 *hash = hd_calloc(1, sizeof *hash);
    if (hash) hash->ctx = EVP_MD_CTX_new();
    if (!hash || !hash->ctx) {
        hd_free(hash);
        return hd_fail(err, HD_E_MEMORY, "out of memory for SHA-256");
    }
    hd_status status = hd_sha256_reset(hash, err);
    if (status != HD_OK) {
        hd_sha256_close(&hash);
        return status;
    }
    *out = hash;
    return HD_OK;
}

void hd_sha256_close(hd_sha256 **hash)
{
    if (!*hash) return;
    EVP_MD_CTX_free((*hash)->ctx);
    hd_free(*hash);
    *hash = NULL;
}

hd_status hd_sha256_update(hd_sha256 *hash, const void *data, size_t len, hd_error *err)
{
    if (len == 0) return HD_OK;
    return EVP_DigestUpdate(hash->ctx, data, len) == 1 ? HD_OK : refused(err, "SHA-256");
}

hd_status hd_sha256_finish(hd_sha256 *hash, uint8_t digest[HD_SHA256_BYTES], hd_error *err)
{
    if (EVP_DigestFinal_ex(hash->ctx, digest, NULL) != 1) return refused(err, "SHA-256");
    return hd_sha256_reset(hash, err);
}

hd_status hd_sha256_of(const void *data, size_t len, uint8_t digest[HD_SHA256_BYTES], hd_error *err)
{
    return EVP_Digest(len ? data : "", len, digest, NULL, EVP_sha256(), NULL) == 1 ? HD_OK : refused(err, "SHA-256");
}

hd_status hd_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t mac[HD_SHA256_BYTES],
                         hd_error *err)
{
    unsigned mac_len = 0;
    if (key_len > INT32_MAX) return hd_fail(err, HD_E_LIMIT, "a key of %zu bytes is too long", key_len);
    /* OpenSSL reads a NULL key as "the key of last time". */
    if (!HMAC(EVP_sha256(), key_len ? key : "", (int)key_len, len ? data : (const void *)"", len, mac, &mac_len))
        return refused(err, "HMAC-SHA-256");
    return HD_OK;
}

void hd_hex_encode(const uint8_t *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * len] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool hd_hex_decode(const char *text, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(text[2 * i]);
        int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);
        if (low < 0) return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * len] == '\0';
}

bool hd_secret_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
