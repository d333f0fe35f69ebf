/* crypto/derive.c: random bytes, HKDF and base64url; see crypto.h. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "base/base.h"
#include "crypto/crypto.h"

#define HKDF_MAX (255 * (size_t)HD_SHA256_BYTES) /* RFC 5869, section 2.3 */

hd_status hd_random_bytes(void *out, size_t len, hd_error *err)
{
    if (len > INT32_MAX) return hd_fail(err, HD_E_LIMIT, "%zu random bytes at once are too many", len);
    if (RAND_priv_bytes(out, (int)len) == 1) return HD_OK;
    return hd_fail(err, HD_E_INTERNAL, "OpenSSL has no random bytes; is its configuration in order?");
}

hd_status hd_hkdf_sha256(const void *secret, size_t secret_len, const void *salt, size_t salt_len, const void *info,
                         size_t info_len, void *out, size_t out_len, hd_error *err)
{
    if (out_len == 0 || out_len > HKDF_MAX)
        return hd_fail(err, HD_E_LIMIT, "HKDF-SHA-256 gives 1 to %zu bytes, not %zu", HKDF_MAX, out_len);
    char digest[] = "SHA256";
    /* OpenSSL takes them as not const, but only reads them. */
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_len),
        OSSL_PARAM_construct_end(),
    };
    if (salt_len == 0) params[3] = OSSL_PARAM_construct_end();
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    bool good = ctx && EVP_KDF_derive(ctx, out, out_len, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return good ? HD_OK : hd_fail(err, HD_E_INTERNAL, "OpenSSL refused HKDF-SHA-256; is its configuration in order?");
}

void hd_base64url_encode(const uint8_t *data, size_t len, char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    int held = 0; /* bits that wait in `bits` */
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | data[i];
        for (held += 8; held >= 6; held -= 6)
            *out++ = letters[bits >> (held - 6) & 63];
    }
    if (held) *out++ = letters[bits << (6 - held) & 63];
    *out = '\0';
}
