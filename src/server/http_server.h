/* server/http_server.h: a listening socket, its connections, and the exchanges on them: a request and its reply each.
 *
 * One thread, that which calls hd_server_run, does all input and output; no other thread ever waits for a socket.  A
 * request is handed on when its body is complete.  Its reply may come from any thread, whole or as a stream; bytes wait
 * in the exchange until the client takes them, and a stream learns when it is ahead of its client.
 *
 * An exchange is owned by whom `handle` gave it to, until hd_exchange_close.  The calls on one exchange must not
 * overlap each other, but for those of hd_exchange_write; they may overlap the server's callbacks.  Callbacks run on
 * the server's thread, one at a time, must not block, and must not call into the same exchange.
 */
#ifndef HD_SERVER_HTTP_SERVER_H
#define HD_SERVER_HTTP_SERVER_H

#include "server/http_parser.h"

typedef struct hd_server hd_server;
typedef struct hd_exchange hd_exchange;

/* Files in PEM.  They are read again by hd_server_reload; what can't be used then leaves the old ones in use. */
typedef struct hd_server_tls {
    const char *certificate; /* the chain, the server's own first */
    const char *key;
    const char *client_ca; /* clients must show a certificate that these signed; NULL: none is asked for */
} hd_server_tls;

typedef struct hd_server_options {
    const char *host;         /* address or name to listen on; an IPv6 address without brackets */
    int port;                 /* 0: any that is free */
    int listener;             /* a listening socket to take over instead (socket activation); -1: none */
    const hd_server_tls *tls; /* TLS 1.3 only; NULL: plain HTTP */
    hd_http_limits limits;
    int connections;             /* all together; 0: 4096.  Beyond it a new one is closed at once */
    int connections_per_address; /* 0: 512 */
    int head_seconds;            /* from a request's first byte to the end of its head (the TLS handshake too); 0: 10 */
    int body_seconds;   /* between two pieces of a body; 0: 30.  Whole bodies: at least 1 KiB a second after it */
    int idle_seconds;   /* between two requests; 0: 75 */
    int write_seconds;  /* in which a client must take something of a reply; 0: 60 */
    size_t write_ahead; /* bytes of a stream that may wait for its client; 0: 64 KiB */
    size_t bodies;      /* memory of all bodies together; 0: 1 GiB.  Beyond it: 503, to be tried again */
    void (*handle)(void *arg, hd_exchange *exchange);
    void *arg;
    void (*tick)(void *arg); /* called once a second by the thread that runs, while it runs; NULL: nobody asks */
    void *tick_arg;
} hd_server_options;

/* A listening socket (SOCK_CLOEXEC, not blocking), for hd_server_options.listener of this or of another process; *fd is
 * the caller's.  Errors: HD_E_ARGUMENT, HD_E_IO; the text says which and why. */
hd_status hd_server_listen(int *fd, const char *host, int port, hd_error *err);

/* Listens.  `options` and what it points to are copied.  Errors: HD_E_ARGUMENT, HD_E_IO (the address is taken, ...; the
 * text says which and why), HD_E_FORMAT (certificates), HD_E_MEMORY. */
hd_status hd_server_open(hd_server **out, const hd_server_options *options, hd_error *err);
void hd_server_close(hd_server **server); /* after run has returned; every exchange must be closed before.  NULL-safe */

int hd_server_port(const hd_server *server);
/* Whether only this machine can reach it. */
bool hd_server_is_local(const hd_server *server);

/* "http://127.0.0.1:8080"; brackets around an IPv6 address. */
void hd_server_url(const hd_server *server, char *out, size_t size);

/* Serves on the calling thread until hd_server_stop has done its work.  HD_E_IO, HD_E_MEMORY. */
hd_status hd_server_run(hd_server *server, hd_error *err);

/* Stops accepting, closes idle connections, lets exchanges end for `grace_ms`, then cuts them off (their `gone` is
 * called) and lets run return once all are closed.  Again with a shorter grace: hurries.  Any thread; safe in signal
 * handlers. */
void hd_server_stop(hd_server *server, uint64_t grace_ms);

/* Stops accepting and goes on with the connections that are open: each is closed behind its next reply, which says so.
 * For a server whose socket another process accepts from, too.  Any thread; hd_server_stop ends it. */
void hd_server_leave(hd_server *server);

/* Reads the certificates again; new connections use them.  Any thread.  Errors leave the old ones in use. */
hd_status hd_server_reload(hd_server *server, hd_error *err);

/* Whether a numeric address, as of hd_exchange_peer, is one of this machine alone: 127.0.0.0/8 (RFC 1122 section
 * 3.2.1.3), ::1, or the former within IPv6. */
bool hd_address_is_loopback(const char *address);

/* What a client was too slow with; its connection was closed, or its request refused with 408. */
typedef enum hd_slow {
    HD_SLOW_HANDSHAKE,
    HD_SLOW_HEAD,
    HD_SLOW_BODY,
    HD_SLOW_READER,
    HD_SLOW_IDLE,
    HD_SLOW_COUNT
} hd_slow;

/* Statuses with which the parser and limits refuse; the last place is for others. */
#define HD_REFUSAL_STATUSES                                                                                            \
    {                                                                                                                  \
        400, 408, 411, 413, 414, 417, 431, 501, 503, 505, 0                                                            \
    }
#define HD_REFUSAL_STATUS_COUNT 11

typedef struct hd_server_usage {
    int64_t connections;       /* open now */
    int64_t accepted, refused; /* since the start; refused by a limit on connections */
    int64_t requests, bad;     /* handed on; refused by the parser or by a time limit */
    int64_t refused_address;   /* of `refused`, those that one address had too many of */
    int64_t connections_max;
    int64_t by_status[HD_REFUSAL_STATUS_COUNT]; /* of `bad`, as in HD_REFUSAL_STATUSES */
    int64_t slow[HD_SLOW_COUNT];
    int64_t gone;            /* clients that left before their reply was complete */
    uint64_t received, sent; /* bytes of HTTP, without TLS's own */
    int64_t handshakes, handshakes_failed;
    int64_t certificate_expires; /* seconds since 1970; 0: plain */
} hd_server_usage;

void hd_server_get_usage(const hd_server *server, hd_server_usage *out); /* any thread */

/* ---- an exchange: what was asked ---- */

/* Views are valid until hd_exchange_close. */
const hd_http_request *hd_exchange_request(const hd_exchange *exchange);
hd_str hd_exchange_body(const hd_exchange *exchange);
const char *hd_exchange_peer(const hd_exchange *exchange);     /* numeric address, without port */
const char *hd_exchange_subject(const hd_exchange *exchange);  /* of the client's certificate (RFC 2253); NULL: none */
uint64_t hd_exchange_received_ns(const hd_exchange *exchange); /* hd_clock of the first byte of the request */

/* ---- and the reply, once ---- */

/* A whole reply.  `headers` as in hd_http_response; they and `body` are copied.  HD_E_CANCELLED: the client has left.
 */
hd_status hd_exchange_reply(hd_exchange *exchange, int status, const hd_http_header *headers, size_t count,
                            const void *body, size_t len);

/* A reply in pieces: the head now, then the pieces, then the end.  hd_exchange_write sets *full (may be NULL) once more
 * than write_ahead bytes wait: the piece was taken all the same, and `drained` is called when half of them are gone.
 * Errors: HD_E_CANCELLED (the client has left, or took nothing for write_seconds), HD_E_MEMORY; then nothing more can
 * be written. */
hd_status hd_exchange_begin(hd_exchange *exchange, int status, const hd_http_header *headers, size_t count);
hd_status hd_exchange_write(hd_exchange *exchange, const void *data, size_t len, bool *full);
hd_status hd_exchange_end(hd_exchange *exchange);

/* `gone`: the client has left before its reply was complete (called once, at once when it is so already); `drained`:
 * see above.  Either may be NULL.  Once this or hd_exchange_close has returned, those watching before are not called
 * any more; the caller must hold no lock that they take. */
void hd_exchange_watch(hd_exchange *exchange, void (*gone)(void *arg), void (*drained)(void *arg), void *arg);

/* Gives the exchange back: the views die.  Without a complete reply the connection is cut, so that a client never takes
 * half an answer for a whole one.  NULL-safe. */
void hd_exchange_close(hd_exchange **exchange);

#endif
