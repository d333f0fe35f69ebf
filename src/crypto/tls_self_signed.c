/* crypto/tls_self_signed.c: a certificate for a first start without an authority; see tls.h. */
#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "crypto/tls.h"

#define SERIAL_BYTES 16 /* random; CA/Browser Forum baseline requirements 7.1 want 64 bits at least */
#define MAX_HOST 253    /* bytes of a name of DNS */

/* ---- the certificate ---- */

/* `host` goes into a list with commas and colons: no other byte than those of names and addresses may come in. */
static bool is_host(const char *host)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:*";
    size_t len = strlen(host);
    return len > 0 && len <= MAX_HOST && strspn(host, allowed) == len;
}

static bool is_address(const char *host)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
    ASN1_OCTET_STRING_free(address);
    ERR_clear_error();
    return address != NULL;
}

static bool extend(X509 *cert, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    bool fine = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return fine;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[SERIAL_BYTES];
    if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
    bytes[0] &= 0x7f; /* positive */
    bytes[0] |= 0x40; /* of a fixed length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool fine = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    return fine;
}

static bool set_names(X509 *cert, const char *host)
{
    char names[MAX_HOST + 64];
    const char *own = host ? host : "localhost";
    X509_NAME *subject = X509_get_subject_name(cert);
    snprintf(names, sizeof names, "%s%s%sDNS:localhost,IP:127.0.0.1,IP:::1",
             host ? is_address(host) ? "IP:" : "DNS:" : "", host ? host : "", host ? "," : "");
    /* A common name has 64 characters at most (RFC 5280, ub-common-name); nobody reads it beside the names. */
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)own,
                                      (int)HD_MIN(strlen(own), 64), -1, 0) == 1 &&
           X509_set_issuer_name(cert, subject) == 1 && extend(cert, NID_subject_alt_name, names);
}

/* Version 3, for servers, its own authority: clients that trust the file trust it. */
static bool fill(X509 *cert, EVP_PKEY *key, const char *host, int days)
{
    return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -3600) && /* clocks differ */
           X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL) && X509_set_pubkey(cert, key) == 1 &&
           set_names(cert, host) && extend(cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           extend(cert, NID_key_usage, "critical,digitalSignature,keyCertSign") &&
           extend(cert, NID_ext_key_usage, "serverAuth") && extend(cert, NID_subject_key_identifier, "hash") &&
           X509_sign(cert, key, EVP_sha256()) > 0;
}

/* ---- files ---- */

static bool write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static hd_status replace(const char *path, unsigned mode, BIO *pem, hd_error *err)
{
    char *data;
    long len = BIO_get_mem_data(pem, &data);
    hd_buf name;
    hd_buf_init(&name, 4096);
    int fd = hd_temporary_open(path, mode, &name);
    bool fine = fd >= 0 && write_all(fd, data, (size_t)len) && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && fine) {
        fine = false;
        why = errno;
    }
    if (fine && rename(name.data, path) != 0) {
        fine = false;
        why = errno;
    }
    if (fd >= 0 && !fine) unlink(name.data);
    hd_buf_free(&name);
    return fine ? HD_OK : hd_fail(err, HD_E_IO, "%s: can't be written: %s", path, strerror(why));
}

static hd_status save(X509 *cert, EVP_PKEY *key, const char *cert_path, const char *key_path, hd_error *err)
{
    BIO *cert_pem = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_secmem());
    hd_status status = HD_OK;
    if (!cert_pem || !key_pem || PEM_write_bio_X509(cert_pem, cert) != 1 ||
        PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL) != 1)
        status = hd_fail(err, HD_E_MEMORY, "out of memory for a certificate");
    if (status == HD_OK) status = replace(key_path, 0600, key_pem, err);
    if (status == HD_OK) status = replace(cert_path, 0644, cert_pem, err);
    BIO_free(cert_pem);
    BIO_free(key_pem);
    return status;
}

hd_status hd_tls_make_self_signed(const char *certificate, const char *key, const char *host, int days, hd_error *err)
{
    if (host && !is_host(host))
        return hd_fail(err, HD_E_ARGUMENT, "a certificate can't be made for this host: it is no name and no address");
    if (days < 1 || days > 36500)
        return hd_fail(err, HD_E_ARGUMENT, "a certificate can't be made for %d days: 1 to 36500", days);
    ERR_clear_error();
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    hd_status status = pair && cert && fill(cert, pair, host, days)
                           ? save(cert, pair, certificate, key, err)
                           : hd_fail(err, HD_E_INTERNAL, "OpenSSL refuses to make a certificate");
    X509_free(cert);
    EVP_PKEY_free(pair);
    ERR_clear_error();
    return status;
}
