/* crypto/tls.h: TLS 1.3 for a server, over sockets that do not block; through OpenSSL.
 *
 * A context holds the certificates and may be shared by threads; each connection belongs to one thread at a time and
 * keeps what it needs of its context.  Nothing older than TLS 1.3 is spoken.  The caller sees to it that SIGPIPE is
 * blocked or ignored.
 */
#ifndef HD_CRYPTO_TLS_H
#define HD_CRYPTO_TLS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

typedef struct hd_tls_context hd_tls_context;

/* Reads PEM files: the chain of certificates, the server's own first; its key, without a passphrase; and, if not NULL,
 * those that must have signed every client's certificate.  Errors name the file: HD_E_IO, HD_E_FORMAT (no PEM, the key
 * does not fit the certificate, ...), HD_E_MEMORY. */
hd_status hd_tls_context_open(hd_tls_context **out, const char *certificate, const char *key, const char *client_ca,
                              hd_error *err);
void hd_tls_context_close(hd_tls_context **context); /* NULL-safe; connections go on */

/* When the server's certificate ends, seconds since 1970. */
int64_t hd_tls_context_expires(const hd_tls_context *context);

typedef struct hd_tls hd_tls;

typedef enum hd_tls_result {
    HD_TLS_DONE,
    HD_TLS_AGAIN,  /* when the socket can be read or written again */
    HD_TLS_END,    /* reading: the peer sends nothing more (close_notify, or FIN); it may still read */
    HD_TLS_FAILED, /* the connection is of no use any more */
} hd_tls_result;

/* The server's side of a new connection; `fd` stays the caller's.  HD_E_MEMORY. */
hd_status hd_tls_accept(hd_tls **out, hd_tls_context *context, int fd);
void hd_tls_close(hd_tls **tls); /* NULL-safe */

hd_tls_result hd_tls_handshake(hd_tls *tls); /* until HD_TLS_DONE, before all else */
/* Up to `len` bytes (at least one); `*moved` says how many. */
hd_tls_result hd_tls_read(hd_tls *tls, void *data, size_t len, size_t *moved);
hd_tls_result hd_tls_write(hd_tls *tls, const void *data, size_t len, size_t *moved);
void hd_tls_finish(hd_tls *tls); /* tells the peer that nothing more comes (close_notify), if the socket takes it */

/* Appends the subject of the peer's certificate (RFC 2253); nothing when it showed none. */
hd_status hd_tls_subject(const hd_tls *tls, hd_buf *out);

/* A new P-256 key and a certificate that it signs itself, for `host` (a name or an address; NULL: none), localhost,
 * 127.0.0.1 and ::1, valid from an hour ago for `days`.  Files that are there are replaced, each in one step; that of
 * the key gets mode 0600.  HD_E_ARGUMENT (the host), HD_E_IO, HD_E_MEMORY, HD_E_INTERNAL (OpenSSL refuses). */
hd_status hd_tls_make_self_signed(const char *certificate, const char *key, const char *host, int days, hd_error *err);

#endif
