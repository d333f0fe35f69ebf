/* server/http_server.c: the listening socket, the loop, and its end; see http_server.h.
 *
 * Invariants: everything but the work list, the TLS context and the counters belongs to the thread that runs; wake_fd
 * is written at most once until the loop has read it (`woken`), however many pieces of replies come meanwhile.
 */
#include "server/http_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/server_internal.h"

#define ACCEPTS 64 /* connections taken before others get their turn */
#define WARN_AGAIN_NS UINT64_C(60000000000)
#define WORK_ITEMS 256 /* exchanges served before others get their turn */

/* ---- work of other threads ---- */

static void wake(hd_server *s)
{
    uint64_t one = 1;
    ssize_t written = write(s->wake_fd, &one, sizeof one); /* fails only when it is full of ones already */
    (void)written;
}

void hd_server_push(hd_server *s, hd_exchange *x, bool closed)
{
    pthread_mutex_lock(&s->work_lock);
    if (closed) x->closed = true;
    if (!x->queued) {
        x->queued = true;
        x->next = NULL;
        *s->work_end = x;
        s->work_end = &x->next;
    }
    /* Under the lock: once the exchange was closed and served, the server may be gone.  The server's own thread looks
     * at the list anyway, at the end of its callback. */
    if (!s->woken && !pthread_equal(pthread_self(), s->thread)) {
        s->woken = true;
        wake(s);
    }
    pthread_mutex_unlock(&s->work_lock);
}

/* Takes one off the list; NULL when it is empty.  A closed one is touched by nobody else from now on. */
static hd_exchange *pop(hd_server *s, bool *closed)
{
    pthread_mutex_lock(&s->work_lock);
    hd_exchange *x = s->work;
    if (x) {
        s->work = x->next;
        if (!s->work) s->work_end = &s->work;
        x->queued = false;
        *closed = x->closed;
    }
    pthread_mutex_unlock(&s->work_lock);
    return x;
}

void hd_server_settle(hd_server *s)
{
    bool closed;
    hd_exchange *x = NULL;
    int items = 0;
    while (items++ < WORK_ITEMS && (x = pop(s, &closed)))
        hd_connection_go(x->connection, closed);
    if (x) wake(s); /* there may be more */
    if (atomic_load_explicit(&s->stopping, memory_order_relaxed) && !s->first) event_base_loopbreak(s->base);
}

/* ---- stopping ---- */

static void close_listener(hd_server *s)
{
    if (s->accept_event) event_free(s->accept_event);
    if (s->accept_again) event_free(s->accept_again);
    s->accept_event = s->accept_again = NULL;
    if (s->listener >= 0) close(s->listener);
    s->listener = -1;
}

static void each_connection(hd_server *s, bool cut)
{
    for (hd_connection *c = s->first, *next; c; c = next) {
        next = hd_connection_next(c);
        if (cut)
            hd_connection_cut(c);
        else
            hd_connection_go(c, false);
    }
}

/* Looks at what hd_server_leave and hd_server_stop asked for. */
static void look_at_stop(hd_server *s)
{
    uint64_t at = atomic_load(&s->stop_at), now = hd_clock_ns();
    if (atomic_load(&s->leaving)) close_listener(s);
    if (at == UINT64_MAX) return;
    if (!atomic_exchange(&s->stopping, true)) {
        close_listener(s);
        each_connection(s, false);
    }
    uint64_t left_us = at > now ? (at - now) / 1000 : 0;
    const struct timeval wait = {(time_t)(left_us / 1000000), (suseconds_t)(left_us % 1000000)};
    if (left_us == 0 || event_add(s->grace_timer, &wait) != 0) each_connection(s, true);
}

void hd_server_leave(hd_server *s)
{
    atomic_store(&s->leaving, true);
    wake(s);
}

void hd_server_stop(hd_server *s, uint64_t grace_ms)
{
    uint64_t at, old = atomic_load(&s->stop_at);
    if (__builtin_mul_overflow(grace_ms, UINT64_C(1000000), &at) || __builtin_add_overflow(at, hd_clock_ns(), &at))
        at = UINT64_MAX - 1;
    while (at < old && !atomic_compare_exchange_weak(&s->stop_at, &old, at)) {
    }
    int kept = errno; /* this may be a signal handler */
    wake(s);
    errno = kept;
}

/* ---- callbacks of libevent ---- */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    hd_server *s = arg;
    uint64_t wakes;
    ssize_t got = read(fd, &wakes, sizeof wakes);
    (void)got;
    pthread_mutex_lock(&s->work_lock);
    s->woken = false; /* who comes later wakes anew; who came before is on the list */
    pthread_mutex_unlock(&s->work_lock);
    look_at_stop(s);
    hd_server_settle(s);
}

static void on_grace(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    look_at_stop(arg);
    hd_server_settle(arg);
}

static void admit(hd_server *s, int fd, const struct sockaddr_storage *peer)
{
    bool room = atomic_load_explicit(&s->count.connections, memory_order_relaxed) < s->options.connections;
    hd_address *address = room ? hd_addresses_enter(&s->addresses, peer) : NULL;
    if (address && hd_connection_open(s, fd, peer, address)) {
        atomic_fetch_add_explicit(&s->count.accepted, 1, memory_order_relaxed);
        return;
    }
    if (address) hd_addresses_leave(&s->addresses, address);
    if (room && !address) atomic_fetch_add_explicit(&s->count.refused_address, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->count.refused, 1, memory_order_relaxed);
    close(fd);
}

/* No descriptor or no memory.  The connection stays in the queue; trying again at once would only burn time. */
static void pause_accepting(hd_server *s, int why)
{
    uint64_t now = hd_clock_ns();
    if (s->accept_warned == 0 || now - s->accept_warned > WARN_AGAIN_NS)
        hd_log(HD_LOG_WARN, "server: no connection can be accepted: %s", strerror(why));
    s->accept_warned = now;
    event_del(s->accept_event);
    event_add(s->accept_again, &(struct timeval){.tv_usec = 100000});
}

static void on_accept(evutil_socket_t listener, short what, void *arg)
{
    (void)what;
    hd_server *s = arg;
    for (int i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof peer;
        int fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            admit(s, fd, &peer);
            continue;
        }
        if (errno == EAGAIN) break;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(s, errno);
            break;
        }
    }
    hd_server_settle(s);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    hd_server *s = arg;
    s->options.tick(s->options.tick_arg);
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    hd_server *s = arg;
    if (s->accept_event && event_add(s->accept_event, NULL) != 0)
        event_add(s->accept_again, &(struct timeval){.tv_usec = 100000});
}

/* ---- TLS ---- */

hd_status hd_server_accept_tls(hd_server *s, hd_tls **out, int fd)
{
    pthread_mutex_lock(&s->tls_lock);
    hd_status status = hd_tls_accept(out, s->tls, fd);
    pthread_mutex_unlock(&s->tls_lock);
    return status;
}

hd_status hd_server_reload(hd_server *s, hd_error *err)
{
    if (!s->secure) return HD_OK;
    hd_tls_context *fresh;
    HD_TRY(hd_tls_context_open(&fresh, s->certificate, s->key, s->client_ca, err));
    pthread_mutex_lock(&s->tls_lock);
    hd_tls_context *old = s->tls;
    s->tls = fresh;
    pthread_mutex_unlock(&s->tls_lock);
    hd_tls_context_close(&old);
    return HD_OK;
}

static hd_status open_tls(hd_server *s, const hd_server_tls *tls, hd_error *err)
{
    s->secure = true;
    s->certificate = hd_strdup(tls->certificate);
    s->key = hd_strdup(tls->key);
    s->client_ca = tls->client_ca ? hd_strdup(tls->client_ca) : NULL;
    if (!s->certificate || !s->key || (tls->client_ca && !s->client_ca))
        return hd_fail(err, HD_E_MEMORY, "out of memory for the server");
    return hd_server_reload(s, err);
}

/* ---- listening ---- */

static hd_status listen_on(int *out, const struct addrinfo *at)
{
    int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return HD_E_IO;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 && bind(fd, at->ai_addr, at->ai_addrlen) == 0 &&
        listen(fd, SOMAXCONN) == 0) {
        *out = fd;
        return HD_OK;
    }
    int why = errno;
    close(fd);
    errno = why;
    return HD_E_IO;
}

hd_status hd_server_listen(int *out, const char *host, int port, hd_error *err)
{
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    int failed = getaddrinfo(host, service, &hints, &found);
    if (failed) return hd_fail(err, HD_E_ARGUMENT, "%s is no address to listen on: %s", host, gai_strerror(failed));
    hd_status status = HD_E_IO;
    for (const struct addrinfo *at = found; at && status != HD_OK; at = at->ai_next)
        status = listen_on(out, at);
    int why = errno;
    freeaddrinfo(found);
    if (status == HD_OK) return HD_OK;
    const char *hint = why == EADDRINUSE      ? "; another program has it, choose another port"
                       : why == EADDRNOTAVAIL ? "; this machine has no such address"
                       : why == EACCES        ? "; ports below 1024 are for root, choose another one"
                                              : "";
    return hd_fail(err, HD_E_IO, "can't listen on %s port %d: %s%s", host, port, strerror(why), hint);
}

static hd_status adopt_listener(hd_server *s, int fd, hd_error *err)
{
    int listens = 0, type = 0;
    socklen_t len = sizeof listens, type_len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) != 0 || !listens ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) != 0 || type != SOCK_STREAM)
        return hd_fail(err, HD_E_ARGUMENT, "descriptor %d is no listening stream socket", fd);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return hd_fail(err, HD_E_IO, "descriptor %d can't be prepared: %s", fd, strerror(errno));
    s->listener = fd;
    return HD_OK;
}

/* Where it listens in truth: the port may have been chosen by the kernel. */
static hd_status learn_address(hd_server *s, hd_error *err)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof at;
    if (getsockname(s->listener, (struct sockaddr *)&at, &len) != 0)
        return hd_fail(err, HD_E_IO, "the listening socket has no address: %s", strerror(errno));
    if (at.ss_family == AF_INET)
        s->port = ntohs(((const struct sockaddr_in *)&at)->sin_port);
    else if (at.ss_family == AF_INET6)
        s->port = ntohs(((const struct sockaddr_in6 *)&at)->sin6_port);
    else
        return hd_fail(err, HD_E_ARGUMENT, "the listening socket is not of TCP");
    hd_address_text(&at, s->host, sizeof s->host);
    return HD_OK;
}

/* ---- life ---- */

static void set(int *field, int fallback)
{
    if (*field == 0) *field = fallback;
}

static hd_status take_options(hd_server *s, const hd_server_options *given, hd_error *err)
{
    hd_server_options *o = &s->options;
    *o = *given;
    o->host = NULL;
    o->tls = NULL;
    if (o->limits.body == 0) o->limits.body = HD_HTTP_MAX_BODY;
    if (o->write_ahead == 0) o->write_ahead = (size_t)64 << 10;
    if (o->bodies == 0) o->bodies = (size_t)1 << 30;
    set(&o->connections, 4096);
    set(&o->connections_per_address, 512);
    set(&o->head_seconds, 10);
    set(&o->body_seconds, 30);
    set(&o->idle_seconds, 75);
    set(&o->write_seconds, 60);
    s->addresses.limit = o->connections_per_address;
    if (!o->handle || given->port < 0 || given->port > 65535 || o->connections < 0 || o->connections_per_address < 0 ||
        o->head_seconds < 0 || o->body_seconds < 0 || o->idle_seconds < 0 || o->write_seconds < 0)
        return hd_fail(err, HD_E_ARGUMENT, "a server's option is negative or missing, or its port is above 65535");
    hd_http_parser *probe; /* says whether the limits make sense */
    hd_status status = hd_http_parser_open(&probe, &o->limits, err);
    hd_http_parser_close(&probe);
    return status;
}

static struct event_base *open_base(void)
{
    struct event_config *config = event_config_new();
    if (!config) return NULL;
    struct event_base *base = NULL;
    if (event_config_require_features(config, EV_FEATURE_ET) == 0 &&
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0 &&
        event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static hd_status open_loop(hd_server *s, hd_error *err)
{
    s->scratch = hd_alloc(HD_HTTP_READ);
    s->base = open_base();
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!s->scratch || !s->base) return hd_fail(err, HD_E_MEMORY, "out of memory for the server");
    if (s->wake_fd < 0) return hd_fail(err, HD_E_IO, "the server's eventfd can't be made: %s", strerror(errno));
    s->wake_event = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
    s->grace_timer = event_new(s->base, -1, 0, on_grace, s);
    s->accept_event = event_new(s->base, s->listener, EV_READ | EV_PERSIST, on_accept, s);
    s->accept_again = event_new(s->base, -1, 0, on_accept_again, s);
    if (!s->wake_event || !s->grace_timer || !s->accept_event || !s->accept_again ||
        event_add(s->wake_event, NULL) != 0 || event_add(s->accept_event, NULL) != 0)
        return hd_fail(err, HD_E_MEMORY, "out of memory for the server");
    if (!s->options.tick) return HD_OK;
    s->tick_timer = event_new(s->base, -1, EV_PERSIST, on_tick, s);
    if (!s->tick_timer || event_add(s->tick_timer, &(struct timeval){.tv_sec = 1}) != 0)
        return hd_fail(err, HD_E_MEMORY, "out of memory for the server");
    return HD_OK;
}

static hd_status open_all(hd_server *s, const hd_server_options *given, hd_error *err)
{
    HD_TRY(take_options(s, given, err));
    if (given->tls) HD_TRY(open_tls(s, given->tls, err));
    if (given->listener >= 0)
        HD_TRY(adopt_listener(s, given->listener, err));
    else
        HD_TRY(hd_server_listen(&s->listener, given->host ? given->host : "127.0.0.1", given->port, err));
    HD_TRY(learn_address(s, err));
    return open_loop(s, err);
}

hd_status hd_server_open(hd_server **out, const hd_server_options *options, hd_error *err)
{
    *out = NULL;
    hd_server *s = hd_calloc(1, sizeof *s);
    if (!s) return hd_fail(err, HD_E_MEMORY, "out of memory for the server");
    s->listener = s->wake_fd = -1;
    s->work_end = &s->work;
    s->thread = pthread_self();
    atomic_store(&s->stop_at, UINT64_MAX);
    /* Default mutexes of Linux need no memory: these can't fail. */
    pthread_mutex_init(&s->work_lock, NULL);
    pthread_mutex_init(&s->tls_lock, NULL);
    hd_status status = open_all(s, options, err);
    if (status != HD_OK) {
        if (s->listener == options->listener) s->listener = -1; /* it stays the caller's */
        hd_server_close(&s);
        return status;
    }
    *out = s;
    return HD_OK;
}

void hd_server_close(hd_server **server)
{
    hd_server *s = *server;
    if (!s) return;
    each_connection(s, true);
    close_listener(s);
    if (s->wake_event) event_free(s->wake_event);
    if (s->grace_timer) event_free(s->grace_timer);
    if (s->tick_timer) event_free(s->tick_timer);
    if (s->base) event_base_free(s->base);
    if (s->wake_fd >= 0) close(s->wake_fd);
    hd_tls_context_close(&s->tls);
    pthread_mutex_destroy(&s->work_lock);
    pthread_mutex_destroy(&s->tls_lock);
    hd_free(s->certificate);
    hd_free(s->key);
    hd_free(s->client_ca);
    hd_free(s->scratch);
    hd_free(s);
    *server = NULL;
}

int hd_server_port(const hd_server *s)
{
    return s->port;
}

bool hd_server_is_local(const hd_server *s)
{
    return hd_address_is_loopback(s->host);
}

void hd_server_url(const hd_server *s, char *out, size_t size)
{
    bool brackets = strchr(s->host, ':') != NULL;
    snprintf(out, size, "http%s://%s%s%s:%d", s->secure ? "s" : "", brackets ? "[" : "", s->host, brackets ? "]" : "",
             s->port);
}

/* OpenSSL writes to sockets in a way that raises SIGPIPE: it stays blocked on this thread, and what came is taken. */
hd_status hd_server_run(hd_server *s, hd_error *err)
{
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    s->thread = pthread_self();
    int result = event_base_dispatch(s->base);
    if (!sigismember(&before, SIGPIPE) && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result < 0 ? hd_fail(err, HD_E_IO, "the server's event loop failed: %s", strerror(errno)) : HD_OK;
}

void hd_server_get_usage(const hd_server *s, hd_server_usage *out)
{
    const hd_server_counters *c = &s->count;
    *out = (hd_server_usage){
        .connections = atomic_load_explicit(&c->connections, memory_order_relaxed),
        .accepted = atomic_load_explicit(&c->accepted, memory_order_relaxed),
        .refused = atomic_load_explicit(&c->refused, memory_order_relaxed),
        .requests = atomic_load_explicit(&c->requests, memory_order_relaxed),
        .bad = atomic_load_explicit(&c->bad, memory_order_relaxed),
        .gone = atomic_load_explicit(&c->gone, memory_order_relaxed),
        .received = atomic_load_explicit(&c->received, memory_order_relaxed),
        .sent = atomic_load_explicit(&c->sent, memory_order_relaxed),
        .handshakes = atomic_load_explicit(&c->handshakes, memory_order_relaxed),
        .handshakes_failed = atomic_load_explicit(&c->handshakes_failed, memory_order_relaxed),
    };
    out->refused_address = atomic_load_explicit(&c->refused_address, memory_order_relaxed);
    out->connections_max = s->options.connections;
    for (int i = 0; i < HD_REFUSAL_STATUS_COUNT; i++)
        out->by_status[i] = atomic_load_explicit(&c->by_status[i], memory_order_relaxed);
    for (int i = 0; i < HD_SLOW_COUNT; i++)
        out->slow[i] = atomic_load_explicit(&c->slow[i], memory_order_relaxed);
    if (!s->secure) return;
    pthread_mutex_t *lock = (pthread_mutex_t *)&s->tls_lock; /* which is no part of what a reader sees */
    pthread_mutex_lock(lock);
    out->certificate_expires = hd_tls_context_expires(s->tls);
    pthread_mutex_unlock(lock);
}
