/* server/connection.c: one connection: bytes in, requests to the handler, replies out, and every time limit.
 *
 * All on the server's thread.  Sockets are watched edge-triggered for both directions at once: an event only says that
 * it is worth trying again, and hd_connection_go then does whatever can be done.  So a client that left is noticed
 * without being written to, also after it had closed its own direction: the kernel tells of its RST by one more event.
 *
 * Invariants: the exchange is with its owner (`held`) only in phase EXCHANGE or DEAD; a DEAD connection has no socket
 * and is freed when its exchange is back; the parser holds the exchange's request until then.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "server/server_internal.h"

#define NEVER UINT64_MAX
#define SECOND UINT64_C(1000000000)
#define LINGER (2 * SECOND) /* in which a client may take the last reply before its connection is closed */
#define ROUNDS 16           /* of work for one connection before others get their turn */
#define BODY_RATE 1024      /* bytes a second that a body must bring after its first body_seconds */

typedef enum phase {
    HANDSHAKE,
    READING,  /* a request, or waiting for one */
    EXCHANGE, /* a request is with its handler, or its reply on the way */
    CLOSING,  /* the last bytes are on the way */
    LINGERING,
    DEAD,
} phase;

struct hd_connection {
    hd_server *server;
    hd_connection *previous, *next;
    int fd;
    hd_tls *tls; /* NULL: plain */
    struct event *io, *timer;
    phase phase;
    bool readable, writable; /* as far as is known */
    bool eof;                /* all that the client will ever send was read */
    bool fin;                /* the client's direction is closed, perhaps behind bytes that were not read yet */
    bool probed;             /* after which something was written that a client which left refuses */
    bool held;
    hd_http_parser *parser;
    hd_buf ahead; /* bytes behind the present request, from `ahead_used` on */
    size_t ahead_used;
    hd_buf out; /* from `out_used` on */
    size_t out_used;
    hd_buf body;
    uint64_t since; /* of the phase; of a request's first byte */
    uint64_t body_since, piece_since, output_since;
    uint64_t timer_at; /* NEVER: it is not set */
    hd_address *address;
    char peer[INET6_ADDRSTRLEN];
    hd_buf subject;
    hd_exchange exchange;
};

static void count(atomic_int_fast64_t *counter, int64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void count_bytes(atomic_uint_fast64_t *counter, size_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static size_t waiting(const hd_connection *c)
{
    return c->out.len - c->out_used;
}

static bool is_stopping(const hd_connection *c)
{
    return atomic_load_explicit(&c->server->stopping, memory_order_relaxed);
}

/* ---- the end ---- */

/* Nothing is left but what the exchange's owner may look at.  `reset`: so that the client can't take a cut reply for a
 * whole one, which FIN could mean. */
static void die(hd_connection *c, bool reset)
{
    if (c->phase == DEAD) return;
    bool replying = c->phase == EXCHANGE;
    if (c->phase == HANDSHAKE) count(&c->server->count.handshakes_failed, 1);
    c->phase = DEAD;
    event_free(c->io);
    event_free(c->timer);
    if (c->tls && !reset) hd_tls_finish(c->tls);
    hd_tls_close(&c->tls);
    if (reset) (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(c->fd);
    c->fd = -1;
    hd_addresses_leave(&c->server->addresses, c->address);
    count(&c->server->count.connections, -1);
    if (!replying || !hd_exchange_lose(&c->exchange, waiting(c))) return;
    count(&c->server->count.gone, 1);
    hd_exchange_settle(&c->exchange, 0);
}

static void drop_body(hd_connection *c)
{
    c->server->bodies -= c->body.cap;
    hd_buf_wipe_free(&c->body);
}

static void release(hd_connection *c)
{
    if (c->previous)
        c->previous->next = c->next;
    else
        c->server->first = c->next;
    if (c->next) c->next->previous = c->previous;
    hd_exchange_destroy(&c->exchange);
    hd_http_parser_close(&c->parser);
    hd_buf_wipe_free(&c->ahead);
    drop_body(c);
    hd_buf_free(&c->out);
    hd_buf_free(&c->subject);
    hd_free(c);
}

/* The reply is out: closes our direction and waits a little for the client's.  Closing at once would make the kernel
 * answer bytes that are still on the way with RST, and that destroys a reply which the client has not read yet. */
static void linger(hd_connection *c)
{
    if (c->eof) {
        die(c, false);
        return;
    }
    if (c->tls) hd_tls_finish(c->tls);
    shutdown(c->fd, SHUT_WR);
    c->phase = LINGERING;
    c->since = hd_clock_ns();
}

static bool discard(hd_connection *c)
{
    ssize_t n = recv(c->fd, c->server->scratch, HD_HTTP_READ, 0);
    if (n > 0) hd_wipe(c->server->scratch, (size_t)n);
    if (n > 0 || (n < 0 && errno == EINTR)) return true;
    c->readable = false;
    if (n == 0 || errno != EAGAIN) die(c, false);
    return false;
}

/* ---- output ---- */

typedef enum io_result { MOVED, AGAIN, END, LOST } io_result;

static io_result from_tls(hd_tls_result result)
{
    return result == HD_TLS_DONE ? MOVED : result == HD_TLS_AGAIN ? AGAIN : result == HD_TLS_END ? END : LOST;
}

static io_result transmit(hd_connection *c, const char *data, size_t len, size_t *moved)
{
    *moved = 0;
    if (c->tls) return from_tls(hd_tls_write(c->tls, data, len, moved));
    ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR ? AGAIN : LOST;
    *moved = (size_t)n;
    return MOVED;
}

/* Sends what waits here and in the exchange; true when something moved. */
static bool flush(hd_connection *c)
{
    bool moved = false;
    for (;;) {
        if (waiting(c) == 0) {
            hd_buf_clear(&c->out);
            c->out_used = 0;
            if (c->phase == EXCHANGE) hd_exchange_take(&c->exchange, &c->out);
            if (waiting(c) == 0) break;
            c->output_since = hd_clock_ns();
        }
        if (!c->writable) break;
        size_t n = 0;
        io_result result = transmit(c, c->out.data + c->out_used, waiting(c), &n);
        if (result != MOVED) {
            c->writable = false;
            if (result == LOST) die(c, true);
            break;
        }
        c->out_used += n;
        c->output_since = hd_clock_ns();
        count_bytes(&c->server->count.sent, n);
        moved = true;
    }
    if (c->phase == EXCHANGE) hd_exchange_settle(&c->exchange, waiting(c));
    return moved;
}

/* ---- refusals ---- */

static hd_status write_refusal(hd_buf *out, int status, const char *text, bool is_head)
{
    static const hd_http_header headers[] = {{{"content-type", 12}, {"application/json", 16}},
                                             {{"retry-after", 11}, {"1", 1}}};
    const char *type = status < 500 ? "invalid_request_error" : "api_error";
    hd_buf body;
    hd_buf_init(&body, 1024);
    hd_status result = hd_buf_printf(
        &body, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":null}}\n", text, type);
    const hd_http_response head = {.status = status,
                                   .framing = HD_HTTP_LENGTH,
                                   .content_length = body.len,
                                   .date = (time_t)(hd_clock_unix_ms() / 1000),
                                   .headers = headers,
                                   .header_count = status == 503 ? 2 : 1};
    if (result == HD_OK) result = hd_http_write_head(out, &head, NULL);
    if (result == HD_OK && !is_head) result = hd_buf_append(out, body.data, body.len);
    hd_buf_free(&body);
    return result;
}

/* When there is no memory even for a refusal: whole, or the connection is cut. */
static void refuse_without_memory(hd_connection *c)
{
    static const char reply[] = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n"
                                "connection: close\r\n\r\n";
    size_t moved;
    if (waiting(c) || transmit(c, reply, sizeof reply - 1, &moved) != MOVED || moved != sizeof reply - 1) die(c, true);
}

static void count_refusal(hd_server_counters *counters, int status)
{
    static const int statuses[HD_REFUSAL_STATUS_COUNT] = HD_REFUSAL_STATUSES;
    int i = 0;
    while (i < HD_REFUSAL_STATUS_COUNT - 1 && statuses[i] != status)
        i++;
    count(&counters->bad, 1);
    count(&counters->by_status[i], 1);
}

/* Answers what can't be served, and closes.  `text` is ASCII. */
static void refuse(hd_connection *c, int status, const char *text)
{
    char clean[160];
    size_t len = HD_MIN(strlen(text), sizeof clean - 1);
    for (size_t i = 0; i < len; i++)
        clean[i] = text[i] == '"' || text[i] == '\\' ? '\'' : text[i]; /* it stands in JSON */
    clean[len] = '\0';
    const hd_http_request *request = hd_http_parser_request(c->parser);
    bool is_head = request && request->method.len == 4 && memcmp(request->method.data, "HEAD", 4) == 0;
    count_refusal(&c->server->count, status);
    drop_body(c);
    hd_buf_wipe_free(&c->ahead);
    c->ahead_used = 0;
    c->phase = CLOSING;
    if (waiting(c) == 0) c->output_since = hd_clock_ns();
    if (write_refusal(&c->out, status, clean, is_head) != HD_OK) refuse_without_memory(c);
}

/* ---- input ---- */

static io_result receive(hd_connection *c, size_t max, size_t *got)
{
    char *data = c->server->scratch;
    io_result result = MOVED;
    *got = 0;
    if (c->tls) {
        result = from_tls(hd_tls_read(c->tls, data, max, got));
    } else {
        ssize_t n = recv(c->fd, data, max, 0);
        if (n < 0) result = errno == EINTR || errno == EAGAIN ? AGAIN : LOST;
        if (n == 0) result = END;
        if (n > 0) *got = (size_t)n;
    }
    if (result != MOVED) c->readable = false;
    if (result == END) c->eof = c->fin = true;
    if (*got) count_bytes(&c->server->count.received, *got);
    return result;
}

/* Grows by itself, so that the smaller buffer is wiped: bodies are secrets, and only their announced length is known.
 * HD_E_BUSY when all bodies together would take too much. */
static hd_status append_body(hd_connection *c, hd_str piece)
{
    hd_buf larger, *body = &c->body;
    size_t *all = &c->server->bodies, max = c->server->options.limits.body;
    if (body->cap > body->len + piece.len) return hd_buf_append(body, piece.data, piece.len);
    hd_buf_init(&larger, max);
    size_t size = HD_MIN(HD_MAX(body->len + piece.len, 2 * body->cap), max);
    if (*all - body->cap + size > c->server->options.bodies) return HD_E_BUSY;
    HD_TRY(hd_buf_reserve(&larger, size));
    (void)hd_buf_append(&larger, body->data, body->len); /* there is room for both */
    (void)hd_buf_append(&larger, piece.data, piece.len);
    *all += larger.cap - body->cap;
    hd_buf_wipe_free(body);
    *body = larger;
    return HD_OK;
}

static void take_piece(hd_connection *c)
{
    c->piece_since = hd_clock_ns();
    hd_status status = append_body(c, hd_http_parser_piece(c->parser));
    if (status != HD_OK)
        refuse(c, 503,
               status == HD_E_BUSY ? "too many requests at once; try again later" : "out of memory; try again later");
}

static void start_body(hd_connection *c, bool has_more)
{
    static const char proceed[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const hd_http_request *request = hd_http_parser_request(c->parser);
    c->body_since = c->piece_since = hd_clock_ns();
    if (!request->expect_continue || has_more) return;
    if (waiting(c) == 0) c->output_since = c->body_since;
    if (hd_buf_puts(&c->out, proceed) != HD_OK) die(c, true);
}

/* Gives bytes to the parser; returns how many were used.  Ends in phase EXCHANGE behind a complete request. */
static size_t feed(hd_connection *c, const char *bytes, size_t len)
{
    size_t at = 0;
    if (len && hd_http_parser_is_idle(c->parser)) c->since = hd_clock_ns();
    while (c->phase == READING) {
        size_t used = 0;
        hd_http_event event = hd_http_parser_feed(c->parser, bytes + at, len - at, &used);
        at += used;
        switch (event) {
        case HD_HTTP_MORE: return at;
        case HD_HTTP_HEAD: start_body(c, at < len); break;
        case HD_HTTP_PIECE: take_piece(c); break;
        case HD_HTTP_END: c->phase = EXCHANGE; break;
        case HD_HTTP_REFUSED: {
            const hd_http_refusal *why = hd_http_parser_refusal(c->parser);
            refuse(c, why->status, why->text);
            break;
        }
        }
    }
    return at;
}

/* Keeps bytes behind the present request.  The buffer is taken whole: growing would leave secrets behind. */
static bool keep_ahead(hd_connection *c, const char *bytes, size_t len)
{
    if (len == 0) return true;
    if (hd_buf_reserve(&c->ahead, HD_HTTP_READ - c->ahead.len) == HD_OK &&
        hd_buf_append(&c->ahead, bytes, len) == HD_OK)
        return true;
    die(c, true);
    return false;
}

static void hand_over(hd_connection *c)
{
    hd_exchange *x = &c->exchange;
    x->request = hd_http_parser_request(c->parser);
    x->body = (hd_str){c->body.data, c->body.len};
    x->peer = c->peer;
    x->subject = c->subject.len ? c->subject.data : NULL;
    x->received_ns = c->since;
    c->held = true;
    c->probed = false;
    count(&c->server->count.requests, 1);
    c->server->options.handle(c->server->options.arg, x);
}

/* Phase READING: takes what was read ahead, then what the socket has.  True: there may be more to do. */
static bool take_input(hd_connection *c)
{
    if (c->ahead.len) {
        c->ahead_used += feed(c, c->ahead.data + c->ahead_used, c->ahead.len - c->ahead_used);
        if (c->phase == DEAD || c->ahead_used >= c->ahead.len) {
            hd_buf_wipe_free(&c->ahead);
            c->ahead_used = 0;
        }
    } else if (c->eof) {
        die(c, false); /* between requests, or in one that will never be complete */
    } else {
        if (!c->readable) return false;
        size_t got, used = 0;
        io_result result = receive(c, HD_HTTP_READ, &got);
        if (result == LOST) die(c, true);
        if (got) used = feed(c, c->server->scratch, got);
        if (c->phase == EXCHANGE) keep_ahead(c, c->server->scratch + used, got - used);
        hd_wipe(c->server->scratch, got);
        if (result == AGAIN) return false;
    }
    if (c->phase == EXCHANGE) hand_over(c);
    return true;
}

/* Phase EXCHANGE: reads on, to learn of the client's end. */
static void read_ahead(hd_connection *c)
{
    if (c->ahead_used) { /* makes room where the present request lay */
        size_t rest = c->ahead.len - c->ahead_used;
        memmove(c->ahead.data, c->ahead.data + c->ahead_used, rest);
        hd_wipe(c->ahead.data + rest, c->ahead_used);
        hd_buf_truncate(&c->ahead, rest);
        c->ahead_used = 0;
    }
    while (c->phase == EXCHANGE && c->readable && !c->eof && c->ahead.len < HD_HTTP_READ) {
        size_t got;
        io_result result = receive(c, HD_HTTP_READ - c->ahead.len, &got);
        if (result == LOST) die(c, true);
        if (result == MOVED) keep_ahead(c, c->server->scratch, got);
        hd_wipe(c->server->scratch, got);
    }
}

/* ---- exchanges ---- */

/* What reading can't tell: the client's RST behind its FIN, or its FIN behind bytes that are not read yet. */
static void look_at_client(hd_connection *c)
{
    if (!c->eof && c->ahead.len < HD_HTTP_READ) return;
    struct pollfd look = {.fd = c->fd, .events = POLLRDHUP};
    if (poll(&look, 1, 0) <= 0) return;
    if (look.revents & (POLLERR | POLLHUP)) die(c, true);
    if (look.revents & POLLRDHUP) c->fin = true;
}

/* The reply is complete and sent, and the exchange is back. */
static void finish_exchange(hd_connection *c, bool keep_alive)
{
    drop_body(c);
    hd_exchange_reset(&c->exchange);
    hd_http_parser_next(c->parser);
    if (c->out.cap > HD_HTTP_KEPT_OUTPUT) hd_buf_free(&c->out);
    c->since = hd_clock_ns();
    c->phase = keep_alive && !hd_server_is_ending(c->server) ? READING : CLOSING;
}

/* Phase EXCHANGE; true when it ended. */
static bool go_on(hd_connection *c)
{
    read_ahead(c);
    if (c->phase == EXCHANGE) look_at_client(c);
    if (c->phase != EXCHANGE) return true;
    hd_reply_state reply = hd_exchange_state(&c->exchange);
    if (!c->held && !reply.ended) {
        die(c, true);
        return true;
    }
    if (!c->held && reply.empty && waiting(c) == 0) {
        finish_exchange(c, reply.keep_alive);
        return true;
    }
    if (c->fin && !c->probed) {
        c->probed = hd_exchange_probe(&c->exchange);
        return c->probed;
    }
    return false;
}

/* ---- time limits ---- */

static uint64_t after(uint64_t since, int seconds)
{
    return since + (uint64_t)seconds * SECOND;
}

static uint64_t body_deadline(const hd_connection *c)
{
    int seconds = c->server->options.body_seconds;
    return HD_MIN(after(c->piece_since, seconds), after(c->body_since, seconds) + c->body.len * (SECOND / BODY_RATE));
}

static uint64_t deadline(const hd_connection *c)
{
    const hd_server_options *o = &c->server->options;
    if (c->phase == HANDSHAKE) return after(c->since, o->head_seconds);
    if (c->phase == LINGERING) return c->since + LINGER;
    uint64_t at = NEVER;
    if (c->phase == READING && hd_http_parser_is_idle(c->parser))
        at = after(c->since, o->idle_seconds);
    else if (c->phase == READING)
        at = hd_http_parser_request(c->parser) ? body_deadline(c) : after(c->since, o->head_seconds);
    return waiting(c) ? HD_MIN(at, after(c->output_since, o->write_seconds)) : at;
}

static void time_out(hd_connection *c)
{
    bool stuck = waiting(c) && hd_clock_ns() >= after(c->output_since, c->server->options.write_seconds);
    hd_slow slow = stuck                               ? HD_SLOW_READER
                   : c->phase == HANDSHAKE             ? HD_SLOW_HANDSHAKE
                   : c->phase != READING               ? HD_SLOW_COUNT
                   : hd_http_parser_is_idle(c->parser) ? HD_SLOW_IDLE
                   : hd_http_parser_request(c->parser) ? HD_SLOW_BODY
                                                       : HD_SLOW_HEAD;
    if (slow != HD_SLOW_COUNT) count(&c->server->count.slow[slow], 1);
    if (stuck)
        die(c, true);
    else if (c->phase != READING || hd_http_parser_is_idle(c->parser))
        die(c, false);
    else
        refuse(c, 408, "the request did not arrive in time");
}

/* Sets the timer when it would come too late; one that comes too early only looks at the clock. */
static void set_timer(hd_connection *c)
{
    uint64_t at = deadline(c), now = hd_clock_ns();
    if (at >= c->timer_at) return;
    uint64_t wait_us = at > now ? (at - now) / 1000 + 1 : 1;
    const struct timeval wait = {(time_t)(wait_us / 1000000), (suseconds_t)(wait_us % 1000000)};
    c->timer_at = at;
    if (event_add(c->timer, &wait) != 0) die(c, true);
}

/* ---- all together ---- */

static bool shake_hands(hd_connection *c)
{
    hd_tls_result result = hd_tls_handshake(c->tls);
    if (result == HD_TLS_AGAIN && !is_stopping(c)) {
        c->readable = c->writable = false;
        return false;
    }
    if (result != HD_TLS_DONE || hd_tls_subject(c->tls, &c->subject) != HD_OK) {
        die(c, true);
        return false;
    }
    count(&c->server->count.handshakes, 1);
    c->phase = READING;
    c->since = hd_clock_ns();
    return true;
}

/* One round of everything; false: nothing more can be done now. */
static bool go(hd_connection *c)
{
    if (c->phase == HANDSHAKE) return shake_hands(c);
    if (c->phase == LINGERING) return c->readable && discard(c);
    bool moved = flush(c);
    switch (c->phase) {
    case READING:
        if (take_input(c)) return true;
        if (is_stopping(c) && c->phase == READING && hd_http_parser_is_idle(c->parser)) die(c, false);
        return false;
    case EXCHANGE: return go_on(c) || moved;
    case CLOSING:
        if (waiting(c)) return false;
        linger(c);
        return true;
    default: return false;
    }
}

void hd_connection_go(hd_connection *c, bool closed)
{
    if (closed) c->held = false;
    if (c->phase == DEAD && c->held) hd_exchange_settle(&c->exchange, 0); /* someone watches it late */
    int rounds = 0;
    while (c->phase != DEAD && go(c))
        if (++rounds == ROUNDS) {
            event_active(c->io, 0, 0);
            break;
        }
    if (c->phase != DEAD) set_timer(c);
    if (c->phase == DEAD && !c->held) release(c);
}

void hd_connection_cut(hd_connection *c)
{
    die(c, true);
    if (!c->held) release(c);
}

hd_connection *hd_connection_next(const hd_connection *c)
{
    return c->next;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    hd_connection *c = arg;
    hd_server *server = c->server;
    /* TLS may have to write in order to read and the other way round. */
    if (what & EV_READ || (c->tls && what)) c->readable = true;
    if (what & EV_WRITE || (c->tls && what)) c->writable = true;
    hd_connection_go(c, false);
    hd_server_settle(server);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    hd_connection *c = arg;
    hd_server *server = c->server;
    c->timer_at = NEVER;
    if (hd_clock_ns() >= deadline(c)) time_out(c);
    hd_connection_go(c, false);
    hd_server_settle(server);
}

/* Small pieces go out at once; a client whose machine died without a word is noticed. */
static void set_socket(const hd_connection *c)
{
    int on = 1, idle = 60, interval = 10, tries = 3;
    unsigned patience = (unsigned)c->server->options.write_seconds * 1000;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof patience);
}

static bool prepare(hd_connection *c)
{
    hd_server *s = c->server;
    c->io = event_new(s->base, c->fd, EV_READ | EV_WRITE | EV_ET | EV_PERSIST, on_event, c);
    c->timer = event_new(s->base, -1, 0, on_timer, c);
    if (!c->io || !c->timer) return false;
    if (s->secure && hd_server_accept_tls(s, &c->tls, c->fd) != HD_OK) return false;
    if (hd_http_parser_open(&c->parser, &s->options.limits, NULL) != HD_OK) return false;
    return event_add(c->io, NULL) == 0;
}

static void undo(hd_connection *c)
{
    if (c->io) event_free(c->io);
    if (c->timer) event_free(c->timer);
    hd_tls_close(&c->tls);
    hd_http_parser_close(&c->parser);
    hd_exchange_destroy(&c->exchange);
    hd_free(c);
}

hd_connection *hd_connection_open(hd_server *s, int fd, const struct sockaddr_storage *peer, hd_address *address)
{
    hd_connection *c = hd_calloc(1, sizeof *c);
    if (c && !hd_exchange_init(&c->exchange, s, c)) {
        hd_free(c);
        c = NULL;
    }
    if (!c) return NULL;
    c->server = s;
    c->fd = fd;
    c->address = address;
    c->timer_at = NEVER;
    c->since = hd_clock_ns();
    c->phase = s->secure ? HANDSHAKE : READING;
    hd_buf_init(&c->ahead, HD_HTTP_READ);
    hd_buf_init(&c->body, s->options.limits.body);
    hd_buf_init(&c->out, HD_HTTP_OUTPUT);
    hd_buf_init(&c->subject, 4096);
    hd_address_text(peer, c->peer, sizeof c->peer);
    if (!prepare(c)) {
        undo(c);
        return NULL;
    }
    set_socket(c);
    c->next = s->first;
    if (c->next) c->next->previous = c;
    s->first = c;
    count(&s->count.connections, 1);
    return c;
}
