/* crypto/tls.c: contexts and connections of TLS 1.3; see tls.h.
 *
 * OpenSSL keeps a queue of errors for each thread, which tells failures apart only when it was empty before: every call
 * clears it first.
 */
#include "crypto/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/base.h"

struct hd_tls_context {
    SSL_CTX *ctx;
    int64_t expires;
};

struct hd_tls {
    SSL *ssl;
};

/* ---- contexts ---- */

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "out of memory for TLS");
}

/* What OpenSSL said first, in its words. */
static hd_status refused(hd_error *err, const char *path, const char *what)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    hd_status status = ERR_SYSTEM_ERROR(code) ? HD_E_IO : HD_E_FORMAT;
    if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE) return no_memory(err);
    if (ERR_SYSTEM_ERROR(code)) reason = strerror(ERR_GET_REASON(code));
    return hd_fail(err, status, "%s: %s: %s", path, what, reason ? reason : "OpenSSL gives no reason");
}

/* Nobody is asked for a passphrase: a server starts alone. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* RFC 7301: a client that names its protocols must name ours; one that names none is fine. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *offered,
                           unsigned offered_len, void *arg)
{
    (void)ssl;
    (void)arg;
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, len, ours, sizeof ours - 1, offered, offered_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static hd_status want_client_certificates(SSL_CTX *ctx, const char *path, hd_error *err)
{
    static const unsigned char session_id[] = "hadal";
    if (SSL_CTX_load_verify_file(ctx, path) != 1)
        return refused(err, path, "the certificates that clients must be signed by can't be read");
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(path);
    if (!names) return refused(err, path, "the names of the certificates can't be read");
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    /* Without it OpenSSL refuses to resume sessions of clients that showed a certificate. */
    return SSL_CTX_set_session_id_context(ctx, session_id, sizeof session_id - 1) == 1 ? HD_OK : no_memory(err);
}

static hd_status load_pair(SSL_CTX *ctx, const char *certificate, const char *key, hd_error *err)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        return refused(err, certificate, "the certificate can't be read");
    ERR_clear_error();
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
        if (ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH ||
            ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_TYPE_MISMATCH)
            return hd_fail(err, HD_E_FORMAT, "%s: this key does not fit the certificate %s", key, certificate);
        return refused(err, key, "the key can't be read (it must be PEM, without a passphrase)");
    }
    if (SSL_CTX_check_private_key(ctx) != 1)
        return hd_fail(err, HD_E_FORMAT, "%s: this key does not fit the certificate %s", key, certificate);
    return HD_OK;
}

static int64_t expiry(SSL_CTX *ctx)
{
    struct tm end;
    const X509 *own = SSL_CTX_get0_certificate(ctx);
    if (!own || ASN1_TIME_to_tm(X509_get0_notAfter(own), &end) != 1) return 0;
    return (int64_t)timegm(&end);
}

static hd_status fill(hd_tls_context *context, const char *certificate, const char *key, const char *client_ca,
                      hd_error *err)
{
    SSL_CTX *ctx = context->ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) return no_memory(err);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)
        return hd_fail(err, HD_E_INTERNAL, "OpenSSL refuses to speak TLS 1.3 alone; is its configuration in order?");
    /* A FIN without close_notify ends the client's direction like one with it: HTTP has its own ends of messages. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    HD_TRY(load_pair(ctx, certificate, key, err));
    if (client_ca) HD_TRY(want_client_certificates(ctx, client_ca, err));
    context->expires = expiry(ctx);
    return HD_OK;
}

hd_status hd_tls_context_open(hd_tls_context **out, const char *certificate, const char *key, const char *client_ca,
                              hd_error *err)
{
    *out = NULL;
    hd_tls_context *context = hd_calloc(1, sizeof *context);
    if (!context) return no_memory(err);
    ERR_clear_error();
    hd_status status = fill(context, certificate, key, client_ca, err);
    ERR_clear_error();
    if (status != HD_OK) {
        hd_tls_context_close(&context);
        return status;
    }
    *out = context;
    return HD_OK;
}

void hd_tls_context_close(hd_tls_context **context)
{
    if (!*context) return;
    SSL_CTX_free((*context)->ctx); /* counted: connections hold it, too */
    hd_free(*context);
    *context = NULL;
}

int64_t hd_tls_context_expires(const hd_tls_context *context)
{
    return context->expires;
}

/* ---- connections ---- */

hd_status hd_tls_accept(hd_tls **out, hd_tls_context *context, int fd)
{
    *out = NULL;
    hd_tls *tls = hd_calloc(1, sizeof *tls);
    if (!tls) return HD_E_MEMORY;
    ERR_clear_error();
    tls->ssl = SSL_new(context->ctx);
    if (!tls->ssl || SSL_set_fd(tls->ssl, fd) != 1) {
        hd_tls_close(&tls);
        return HD_E_MEMORY;
    }
    SSL_set_accept_state(tls->ssl);
    *out = tls;
    return HD_OK;
}

void hd_tls_close(hd_tls **tls)
{
    if (!*tls) return;
    SSL_free((*tls)->ssl);
    hd_free(*tls);
    *tls = NULL;
}

static hd_tls_result result_of(const hd_tls *tls, int returned)
{
    if (returned == 1) return HD_TLS_DONE;
    switch (SSL_get_error(tls->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return HD_TLS_AGAIN;
    case SSL_ERROR_ZERO_RETURN: return HD_TLS_END;
    default: return HD_TLS_FAILED;
    }
}

hd_tls_result hd_tls_handshake(hd_tls *tls)
{
    ERR_clear_error();
    hd_tls_result result = result_of(tls, SSL_do_handshake(tls->ssl));
    return result == HD_TLS_END ? HD_TLS_FAILED : result;
}

hd_tls_result hd_tls_read(hd_tls *tls, void *data, size_t len, size_t *moved)
{
    *moved = 0;
    ERR_clear_error();
    return result_of(tls, SSL_read_ex(tls->ssl, data, len, moved));
}

hd_tls_result hd_tls_write(hd_tls *tls, const void *data, size_t len, size_t *moved)
{
    *moved = 0;
    ERR_clear_error();
    hd_tls_result result = result_of(tls, SSL_write_ex(tls->ssl, data, len, moved));
    return result == HD_TLS_END ? HD_TLS_FAILED : result;
}

void hd_tls_finish(hd_tls *tls)
{
    ERR_clear_error();
    if (SSL_is_init_finished(tls->ssl)) (void)SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

hd_status hd_tls_subject(const hd_tls *tls, hd_buf *out)
{
    const X509 *peer = SSL_get0_peer_certificate(tls->ssl);
    if (!peer) return HD_OK;
    BIO *text = BIO_new(BIO_s_mem());
    if (!text) return HD_E_MEMORY;
    char *data = NULL;
    hd_status status = HD_E_MEMORY;
    if (X509_NAME_print_ex(text, X509_get_subject_name(peer), 0, XN_FLAG_RFC2253) >= 0) {
        long len = BIO_get_mem_data(text, &data);
        status = hd_buf_append(out, data, len > 0 ? (size_t)len : 0);
    }
    BIO_free(text);
    return status;
}
