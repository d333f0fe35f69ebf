/* A server on a thread of its own, a handler that tests steer, and a client that can misbehave. */
#ifndef HD_TESTS_LIVE_SERVER_H
#define HD_TESTS_LIVE_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "server/server.h"

#ifdef HD_INSTRUMENTED
#define SLOW 5 /* times, under a sanitizer */
#else
#define SLOW 1
#endif
#define PATIENCE_MS 10000 /* for what must come; a test that waits so long has failed */

/* The handler answers /echo at once, on the server's thread, with method, target and body, /cut by closing the
 * exchange, and lends what it gets on /held to the test. */
typedef struct live_server {
    hd_server *server;
    pthread_t thread;
    hd_status result;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    hd_exchange *held[64];
    int held_from, held_to;
    int gone, drained;
    uint64_t gone_at;
} live_server;

static void on_gone(void *arg)
{
    live_server *live = arg;
    pthread_mutex_lock(&live->lock);
    live->gone++;
    live->gone_at = hd_clock_ns();
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
}

static void on_drained(void *arg)
{
    live_server *live = arg;
    pthread_mutex_lock(&live->lock);
    live->drained++;
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
}

static void hold(live_server *live, hd_exchange *exchange)
{
    hd_exchange_watch(exchange, on_gone, on_drained, live);
    pthread_mutex_lock(&live->lock);
    live->held[live->held_to++ % 64] = exchange;
    pthread_cond_broadcast(&live->changed);
    pthread_mutex_unlock(&live->lock);
}

static void echo(hd_exchange *exchange)
{
    const hd_http_request *request = hd_exchange_request(exchange);
    hd_str body = hd_exchange_body(exchange);
    const hd_http_header type = {{"content-type", 12}, {"text/plain", 10}};
    hd_buf text;
    hd_buf_init(&text, (size_t)64 << 20);
    (void)hd_buf_printf(&text, "%.*s %.*s ", (int)request->method.len, request->method.data, (int)request->target.len,
                        request->target.data);
    (void)hd_buf_append(&text, body.data, body.len);
    (void)hd_exchange_reply(exchange, 200, &type, 1, text.data, text.len);
    hd_buf_free(&text);
}

static void on_request(void *arg, hd_exchange *exchange)
{
    hd_str path = hd_exchange_request(exchange)->path;
    if (path.len == 5 && memcmp(path.data, "/held", 5) == 0) {
        hold(arg, exchange);
        return;
    }
    if (path.len != 4 || memcmp(path.data, "/cut", 4) != 0) echo(exchange);
    hd_exchange_close(&exchange);
}

static void *run_server(void *arg)
{
    live_server *live = arg;
    live->result = hd_server_run(live->server, NULL);
    return NULL;
}

/* `options` may be NULL; handler, host, port and listener are set here. */
static void live_open(live_server *live, const hd_server_options *options)
{
    hd_error err = {0};
    hd_server_options o = options ? *options : (hd_server_options){0};
    *live = (live_server){0};
    pthread_mutex_init(&live->lock, NULL);
    pthread_cond_init(&live->changed, NULL);
    o.handle = on_request;
    o.arg = live;
    o.listener = -1;
    if (hd_server_open(&live->server, &o, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(pthread_create(&live->thread, NULL, run_server, live), 0);
}

static void live_join(live_server *live)
{
    assert_int_equal(pthread_join(live->thread, NULL), 0);
    assert_int_equal(live->result, HD_OK);
    hd_server_close(&live->server);
    assert_null(live->server);
    pthread_mutex_destroy(&live->lock);
    pthread_cond_destroy(&live->changed);
}

static void live_close(live_server *live)
{
    hd_server_stop(live->server, 0);
    live_join(live);
}

static struct timespec patience(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    return until;
}

/* The next exchange that came to /held. */
static inline hd_exchange *live_take(live_server *live)
{
    struct timespec until = patience();
    pthread_mutex_lock(&live->lock);
    while (live->held_from == live->held_to)
        if (pthread_cond_timedwait(&live->changed, &live->lock, &until) != 0) break;
    bool there = live->held_from != live->held_to;
    hd_exchange *exchange = there ? live->held[live->held_from++ % 64] : NULL;
    pthread_mutex_unlock(&live->lock);
    if (!exchange) fail_msg("no request came");
    return exchange;
}

static inline int live_count(live_server *live, const int *counter)
{
    pthread_mutex_lock(&live->lock);
    int is = *counter;
    pthread_mutex_unlock(&live->lock);
    return is;
}

/* Waits until `counter` (gone or drained) is `wanted`. */
static inline void live_await(live_server *live, const int *counter, int wanted)
{
    struct timespec until = patience();
    pthread_mutex_lock(&live->lock);
    while (*counter < wanted)
        if (pthread_cond_timedwait(&live->changed, &live->lock, &until) != 0) break;
    int is = *counter;
    pthread_mutex_unlock(&live->lock);
    assert_int_equal(is, wanted);
}

static inline hd_server_usage live_usage(live_server *live)
{
    hd_server_usage usage;
    hd_server_get_usage(live->server, &usage);
    return usage;
}

/* Waits until all connections are closed. */
static inline void live_await_connections(live_server *live, int64_t wanted)
{
    uint64_t until = hd_clock_ns() + (uint64_t)PATIENCE_MS * 1000000;
    while (live_usage(live).connections != wanted && hd_clock_ns() < until)
        usleep(1000);
    assert_int_equal(live_usage(live).connections, wanted);
}

/* ---- the client ---- */

static inline int client_open(const live_server *live)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)hd_server_port(live->server))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static inline void client_send(int fd, const char *text)
{
    size_t len = strlen(text);
    while (len) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
        if (n <= 0) return; /* the server may have closed: the reply tells */
        text += n;
        len -= (size_t)n;
    }
}

/* Appends what comes within the patience to `reply`; false at the end of the connection.  *reset: it ended in RST. */
static inline bool client_more(int fd, hd_buf *reply, bool *reset)
{
    char piece[65536];
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, PATIENCE_MS) != 1) fail_msg("no more of a reply came; so far: %s", reply->data);
    ssize_t n = recv(fd, piece, sizeof piece, 0);
    if (reset) *reset = n < 0 && errno == ECONNRESET;
    if (n <= 0) return false;
    assert_int_equal(hd_buf_append(reply, piece, (size_t)n), HD_OK);
    return true;
}

/* Reads until `text` has come. */
static inline void client_await(int fd, hd_buf *reply, const char *text)
{
    while (!reply->data || !strstr(reply->data, text))
        if (!client_more(fd, reply, NULL)) fail_msg("the end came before \"%s\"; so far: %s", text, reply->data);
}

/* Reads to the end; true when it was clean. */
static inline bool client_rest(int fd, hd_buf *reply)
{
    bool reset = false;
    while (client_more(fd, reply, &reset)) {
    }
    return !reset;
}

static inline int count_of(const hd_buf *reply, const char *text)
{
    int n = 0;
    for (const char *at = reply->data; at && (at = strstr(at, text)); at++)
        n++;
    return n;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

#endif
