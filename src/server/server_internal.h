/* server/server_internal.h: what the listener (http_server.c), a connection (connection.c) and an exchange (exchange.c)
 * know of each other.
 *
 * All but exchanges belongs to the server's thread.  An exchange is a part of its connection and lives as long; it is
 * the only thing that other threads touch.  Locks, in the order in which they may be taken: exchange.calling,
 * exchange.lock; server.work_lock and server.tls_lock alone.  No callback is called with exchange.lock or
 * server.work_lock held.
 */
#ifndef HD_SERVER_INTERNAL_H
#define HD_SERVER_INTERNAL_H

#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "base/base.h"
#include "crypto/tls.h"
#include "server/http_response.h"
#include "server/http_server.h"

#define HD_HTTP_READ ((size_t)64 << 10)        /* bytes taken from a socket at once, and ahead of a running exchange */
#define HD_HTTP_OUTPUT ((size_t)1 << 30)       /* bytes of replies that may wait; more is HD_E_MEMORY */
#define HD_HTTP_KEPT_OUTPUT ((size_t)16 << 10) /* bytes of an empty output buffer that are kept for the next reply */

typedef struct hd_connection hd_connection;

/* ---- addresses.c: connections per client ---- */

typedef struct hd_address hd_address;
#define HD_ADDRESS_BUCKETS 1024

typedef struct hd_addresses {
    hd_address *buckets[HD_ADDRESS_BUCKETS];
    int limit;
} hd_addresses;

/* Counts one more connection from `peer` (of IPv6 the first 64 bits, which one host can have all to itself).  NULL when
 * it has as many as it may, or there is no memory. */
hd_address *hd_addresses_enter(hd_addresses *addresses, const struct sockaddr_storage *peer);
void hd_addresses_leave(hd_addresses *addresses, hd_address *address);

/* Numeric, without port; of IPv4 in IPv6 the IPv4 address. */
void hd_address_text(const struct sockaddr_storage *peer, char *out, size_t size);

/* ---- exchange.c ---- */

struct hd_exchange {
    hd_server *server;
    hd_connection *connection;
    const hd_http_request *request; /* fixed while the exchange is with its owner, as are body, peer, subject */
    hd_str body;
    const char *peer, *subject;
    uint64_t received_ns;

    pthread_mutex_t lock; /* guards what follows */
    hd_buf out;           /* framed bytes that the server has not taken yet */
    size_t in_flight;     /* bytes that it took and the client has not */
    hd_status failed;     /* HD_E_MEMORY: the reply has a hole, nothing more may follow */
    bool begun, ended;    /* the reply */
    bool keep_alive;      /* after it */
    bool bodiless;        /* HEAD, 204, 304 */
    bool chunked;
    bool events;   /* text/event-stream */
    int line_ends; /* with which what was written last ended: behind two a comment may follow */
    bool early;    /* HD_HTTP_OPENING went out before the reply began */
    bool full;     /* the owner was told so, and not yet that it drained */
    bool lost;     /* the client left before the reply was complete */
    bool told;     /* and `gone` was called */
    void (*gone)(void *arg);
    void (*drained)(void *arg);
    void *arg;

    pthread_mutex_t calling; /* held while gone or drained runs */

    bool queued, closed; /* guarded by server.work_lock, as is `next` */
    hd_exchange *next;
};

/* What every reply begins with, whatever its status. */
#define HD_HTTP_OPENING "HTTP/1.1 "

typedef struct hd_reply_state {
    bool ended; /* the owner has given the whole reply */
    bool empty; /* and all of it was taken by hd_exchange_take */
    bool keep_alive;
} hd_reply_state;

bool hd_exchange_init(hd_exchange *exchange, hd_server *server, hd_connection *connection);
void hd_exchange_destroy(hd_exchange *exchange);
void hd_exchange_reset(hd_exchange *exchange); /* before the next request */

/* On the server's thread.  Takes the waiting bytes into `out`, which must be empty: the two buffers change places. */
void hd_exchange_take(hd_exchange *exchange, hd_buf *out);
/* `left` bytes of what was taken still wait; tells the owner when the stream has drained or the client has left. */
void hd_exchange_settle(hd_exchange *exchange, size_t left);
hd_reply_state hd_exchange_state(hd_exchange *exchange);
/* The client may have left: writes something that does no harm if it has not.  False: there is nothing such now. */
bool hd_exchange_probe(hd_exchange *exchange);
/* The connection is gone.  True when the reply was not complete; hd_exchange_settle tells the owner then. */
bool hd_exchange_lose(hd_exchange *exchange, size_t left);

/* ---- connection.c ---- */

/* Takes over `fd` and `address`.  NULL when there is no memory: they stay the caller's. */
hd_connection *hd_connection_open(hd_server *server, int fd, const struct sockaddr_storage *peer, hd_address *address);
/* Goes on wherever it can; may free the connection.  `closed`: its exchange came back. */
void hd_connection_go(hd_connection *connection, bool closed);
void hd_connection_cut(hd_connection *connection);                  /* at once; may free the connection */
hd_connection *hd_connection_next(const hd_connection *connection); /* of all those of the server */

/* ---- http_server.c ---- */

typedef struct hd_server_counters {
    atomic_int_fast64_t connections, accepted, refused, requests, bad, gone, handshakes, handshakes_failed;
    atomic_int_fast64_t refused_address, by_status[HD_REFUSAL_STATUS_COUNT], slow[HD_SLOW_COUNT];
    atomic_uint_fast64_t received, sent;
} hd_server_counters;

struct hd_server {
    hd_server_options options; /* with its defaults; without host and tls */
    char host[NI_MAXHOST];     /* numeric */
    int port;
    int listener; /* -1: closed */
    struct event_base *base;
    uint64_t accept_warned; /* when it was last said that none can be accepted */
    struct event *accept_event, *accept_again, *wake_event, *grace_timer, *tick_timer;
    int wake_fd;
    pthread_t thread; /* that runs */
    hd_addresses addresses;
    hd_connection *first; /* all connections, also those that wait for their exchange only */
    hd_server_counters count;
    size_t bodies; /* bytes of memory that bodies take */
    char *scratch; /* HD_HTTP_READ bytes, wiped after each use */

    bool secure;                         /* speaks TLS; fixed */
    char *certificate, *key, *client_ca; /* names of files; fixed */
    pthread_mutex_t tls_lock;            /* guards what follows */
    hd_tls_context *tls;

    atomic_bool leaving; /* nothing is accepted any more, and connections end with their next reply */
    atomic_bool stopping;
    atomic_uint_fast64_t stop_at; /* hd_clock_ns at which all is cut; UINT64_MAX: nobody stops */

    pthread_mutex_t work_lock;
    hd_exchange *work, **work_end; /* exchanges with something to do */
    bool woken;                    /* wake_fd was written and not yet read */
};

/* Any thread: something is to be done for `exchange`.  `closed`: its owner does not touch it any more. */
void hd_server_push(hd_server *server, hd_exchange *exchange, bool closed);

/* Whether connections end behind the reply in hand.  Any thread. */
static inline bool hd_server_is_ending(const hd_server *server)
{
    return atomic_load_explicit(&server->stopping, memory_order_relaxed) ||
           atomic_load_explicit(&server->leaving, memory_order_relaxed);
}

/* The server's side of TLS on `fd`, with the certificates of now.  HD_E_MEMORY. */
hd_status hd_server_accept_tls(hd_server *server, hd_tls **out, int fd);

/* At the end of every callback of libevent: does what exchanges want, and leaves when all is done. */
void hd_server_settle(hd_server *server);

#endif
