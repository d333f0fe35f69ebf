/* bench/load.c: a load generator for HTTP/1.1 services that may answer by server-sent events.
 *
 * One thread and one epoll.  Two ways: --clients N: each of N connections asks again when it has its answer (closed
 * loop).  --rate R: R requests a second at fixed times, whatever the answers do (open loop); a latency counts from the
 * time at which its request was to be sent, so a server that stalls can't hide it (coordinated omission).
 * Prints one JSON object; all times are milliseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "load.h"

#define SECOND 1000000000ull
#define BODIES_MAX ((size_t)256 << 20)

static const char usage[] =
    "usage: load --port N --path PATH --body FILE [OPTIONS]\n"
    "  --body FILE      the request's body      --bodies FILE   one body a line, each used in its turn\n"
    "  --clients N      closed loop             --rate R        open loop, requests a second\n"
    "  --seconds S      how long to send        --requests N    how many to send (either ends it)\n"
    "  --connections N  of the open loop (64)   --header TEXT   a header's line; may be repeated\n"
    "  --patience S     how long to wait for the last replies (60)      --host ADDRESS  IPv4 (127.0.0.1)\n";

typedef struct connection {
    int fd;
    bool busy;
    uint64_t intended; /* when its request was to be sent */
    hd_buf out;
    size_t sent;
    reply reply;
} connection;

typedef struct load {
    /* options */
    const char *host, *path;
    int port, clients;
    double rate, seconds, patience;
    uint64_t requests;
    hd_buf headers, text; /* headers; all bodies */
    hd_str *bodies;       /* [body_count] views into text */
    size_t body_count;
    /* state */
    int epoll, timer;
    connection *connections; /* [clients] */
    int *idle;               /* [idle_count] indexes, a stack */
    int idle_count, busy;
    uint64_t start, end; /* of sending */
    uint64_t started, last_ns;
    /* figures */
    samples total, first, gap, engine, overhead;
    uint64_t ok, statuses[6], broken, refused, late;
    long answer_tokens, prompt_tokens, cached_tokens;
} load;

static int complain(const char *what)
{
    fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    return 1;
}

/* ---- connections ---- */

static bool open_socket(load *l, int index)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    l->connections[index].fd = fd;
    if (fd < 0 || inet_pton(AF_INET, l->host, &at.sin_addr) != 1) return false;
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) return false;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static bool reopen(load *l, int index)
{
    connection *c = &l->connections[index];
    if (c->fd >= 0) close(c->fd);
    if (open_socket(l, index)) return true;
    l->refused++;
    return false;
}

/* ---- requests ---- */

static bool more_to_send(const load *l, uint64_t now)
{
    return l->started < l->requests && now < l->end;
}

/* Sockets of this size take a request whole or wait for room; what is left goes when there is some. */
static bool push(load *l, int index)
{
    connection *c = &l->connections[index];
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) return false;
        if (n < 0) break;
        c->sent += (size_t)n;
    }
    bool rest = c->sent < c->out.len;
    struct epoll_event event = {.events = EPOLLIN | (rest ? EPOLLOUT : 0u), .data.u32 = (uint32_t)index};
    return !rest || epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &event) == 0;
}

static void finish(load *l, int index, bool fine);

static void ask(load *l, int index, uint64_t intended)
{
    connection *c = &l->connections[index];
    hd_str body = l->bodies[l->started++ % l->body_count];
    c->busy = true;
    c->intended = intended;
    c->sent = 0;
    l->busy++;
    reply_reset(&c->reply);
    hd_buf_clear(&c->out);
    (void)hd_buf_printf(&c->out,
                        "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n",
                        l->path, l->host, l->port, body.len);
    (void)hd_buf_append(&c->out, l->headers.data, l->headers.len);
    (void)hd_buf_puts(&c->out, "\r\n"); /* failures stick */
    if (hd_buf_append(&c->out, body.data, body.len) != HD_OK || !push(l, index)) finish(l, index, false);
}

static void count(load *l, const connection *c, uint64_t now)
{
    const reply *r = &c->reply;
    double total = (double)(now - c->intended) / 1e6;
    l->statuses[HD_MIN(r->status / 100, 5)]++;
    if (r->status != 200) return;
    l->ok++;
    samples_add(&l->total, total);
    if (r->first_ns) samples_add(&l->first, (double)(r->first_ns - c->intended) / 1e6);
    if (r->engine_ms > 0) {
        samples_add(&l->engine, r->engine_ms);
        samples_add(&l->overhead, total - r->engine_ms);
    }
    l->answer_tokens += r->answer_tokens ? r->answer_tokens : r->events_with_text;
    l->prompt_tokens += r->prompt_tokens;
    l->cached_tokens += r->cached_tokens;
}

/* The reply is complete, or the connection broke. */
static void finish(load *l, int index, bool fine)
{
    connection *c = &l->connections[index];
    uint64_t now = hd_clock_ns();
    if (fine)
        count(l, c, now);
    else
        l->broken++;
    c->busy = false;
    l->busy--;
    l->last_ns = now;
    if ((!fine || c->reply.close) && !reopen(l, index)) return; /* it is out of use */
    l->idle[l->idle_count++] = index;
}

/* ---- the loop ---- */

static void on_readable(load *l, int index)
{
    static char bytes[1 << 18];
    connection *c = &l->connections[index];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (!c->busy) { /* an idle connection that the server has closed */
        for (int i = 0; i < l->idle_count; i++)
            if (l->idle[i] == index) l->idle[i] = l->idle[--l->idle_count];
        if (reopen(l, index)) l->idle[l->idle_count++] = index;
        return;
    }
    bool fine = n > 0 && reply_feed(&c->reply, bytes, (size_t)n, hd_clock_ns());
    if (!fine || c->reply.state == REPLY_DONE) finish(l, index, fine);
}

static uint64_t due(const load *l)
{
    return l->start + (uint64_t)((double)l->started / l->rate * (double)SECOND);
}

/* Sends all that is due and can be sent. */
static void send_due(load *l)
{
    uint64_t now = hd_clock_ns();
    while (l->idle_count && more_to_send(l, l->rate > 0 ? due(l) : now)) {
        uint64_t at = l->rate > 0 ? due(l) : now;
        if (at > now) break;
        l->late += l->rate > 0 && now - at > 1000000;
        ask(l, l->idle[--l->idle_count], at);
    }
    if (l->rate <= 0 || !l->idle_count || !more_to_send(l, due(l))) return;
    uint64_t at = due(l); /* CLOCK_MONOTONIC, as hd_clock_ns */
    struct itimerspec when = {.it_value = {(time_t)(at / SECOND), (long)(at % SECOND)}};
    timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void take_events(load *l)
{
    struct epoll_event events[64];
    int n = epoll_wait(l->epoll, events, HD_ARRAY_LEN(events), 100);
    for (int i = 0; i < n; i++) {
        int index = (int)events[i].data.u32;
        if (index == l->clients) {
            uint64_t times;
            (void)!read(l->timer, &times, sizeof times);
        } else if (events[i].events & EPOLLOUT && l->connections[index].busy) {
            struct epoll_event in = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
            epoll_ctl(l->epoll, EPOLL_CTL_MOD, l->connections[index].fd, &in);
            if (!push(l, index)) finish(l, index, false);
        } else {
            on_readable(l, index);
        }
    }
}

static int run(load *l)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)l->clients};
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->epoll < 0 || l->timer < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &event) != 0)
        return complain("no epoll");
    for (int i = 0; i < l->clients; i++) {
        if (!open_socket(l, i)) return complain("cannot connect");
        l->idle[l->idle_count++] = i;
    }
    l->start = hd_clock_ns();
    l->end = l->seconds > 0 ? l->start + (uint64_t)(l->seconds * (double)SECOND) : UINT64_MAX;
    for (;;) {
        send_due(l);
        uint64_t now = hd_clock_ns();
        bool more = more_to_send(l, l->rate > 0 ? due(l) : now) && (l->idle_count || l->busy);
        if (!more && l->busy == 0) return 0;
        if (l->end != UINT64_MAX && now > l->end + (uint64_t)(l->patience * (double)SECOND)) return 0;
        take_events(l);
    }
}

/* ---- options and report ---- */

static hd_status read_file(hd_buf *out, const char *path)
{
    char bytes[65536];
    size_t n;
    FILE *file = fopen(path, "rb");
    if (!file) return HD_E_IO;
    while ((n = fread(bytes, 1, sizeof bytes, file)) > 0)
        (void)hd_buf_append(out, bytes, n);
    bool fine = !ferror(file);
    fclose(file);
    return fine ? out->status : HD_E_IO;
}

static bool take_bodies(load *l, const char *path, bool lines)
{
    if (read_file(&l->text, path) != HD_OK || l->text.len == 0) return false;
    size_t room = 1;
    for (size_t i = 0; lines && i < l->text.len; i++)
        room += l->text.data[i] == '\n';
    l->bodies = hd_alloc_array(room, sizeof *l->bodies);
    if (!l->bodies) return false;
    for (size_t at = 0; at < l->text.len;) {
        const char *end = lines ? memchr(l->text.data + at, '\n', l->text.len - at) : NULL;
        size_t len = end ? (size_t)(end - l->text.data) - at : l->text.len - at;
        if (len) l->bodies[l->body_count++] = (hd_str){l->text.data + at, len};
        at += len + 1;
    }
    return l->body_count > 0;
}

static void report(load *l)
{
    double wall = (double)(l->last_ns - l->start) / 1e9;
    printf("{\"seconds\": %.3f, \"sent\": %llu, \"ok\": %llu, \"requests_per_second\": %.2f", wall,
           (unsigned long long)l->started, (unsigned long long)l->ok, wall > 0 ? (double)l->ok / wall : 0);
    printf(", \"errors\": {\"status_4xx\": %llu, \"status_5xx\": %llu, \"broken\": %llu, \"refused\": %llu, "
           "\"unanswered\": %d}",
           (unsigned long long)l->statuses[4], (unsigned long long)l->statuses[5], (unsigned long long)l->broken,
           (unsigned long long)l->refused, l->busy);
    printf(", \"sent_late\": %llu", (unsigned long long)l->late);
    samples_print(&l->total, "total_ms");
    samples_print(&l->first, "first_ms");
    samples_print(&l->gap, "gap_ms");
    samples_print(&l->engine, "engine_ms");
    samples_print(&l->overhead, "overhead_ms");
    printf(", \"answer_tokens\": %ld, \"prompt_tokens\": %ld, \"cached_tokens\": %ld, \"tokens_per_second\": %.3f}\n",
           l->answer_tokens, l->prompt_tokens, l->cached_tokens, wall > 0 ? (double)l->answer_tokens / wall : 0);
}

static bool take_options(load *l, int argc, char **argv)
{
    static const struct option options[] = {{"host", 1, 0, 'H'},
                                            {"port", 1, 0, 'p'},
                                            {"path", 1, 0, 'u'},
                                            {"body", 1, 0, 'b'},
                                            {"bodies", 1, 0, 'B'},
                                            {"clients", 1, 0, 'c'},
                                            {"rate", 1, 0, 'r'},
                                            {"seconds", 1, 0, 's'},
                                            {"requests", 1, 0, 'n'},
                                            {"connections", 1, 0, 'c'},
                                            {"header", 1, 0, 'x'},
                                            {"patience", 1, 0, 'w'},
                                            {0}};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (o) {
        case 'H': l->host = optarg; break;
        case 'p': l->port = (int)strtol(optarg, NULL, 10); break;
        case 'u': l->path = optarg; break;
        case 'b':
        case 'B':
            if (!take_bodies(l, optarg, o == 'B')) return false;
            break;
        case 'c': l->clients = (int)strtol(optarg, NULL, 10); break;
        case 'r': l->rate = strtod(optarg, NULL); break;
        case 's': l->seconds = strtod(optarg, NULL); break;
        case 'n': l->requests = strtoull(optarg, NULL, 10); break;
        case 'x': (void)hd_buf_printf(&l->headers, "%s\r\n", optarg); break;
        case 'w': l->patience = strtod(optarg, NULL); break;
        default: return false;
        }
    return l->port > 0 && l->path && l->body_count && l->clients > 0 && (l->seconds > 0 || l->requests < UINT64_MAX);
}

static bool make_connections(load *l)
{
    l->connections = hd_calloc((size_t)l->clients, sizeof *l->connections);
    l->idle = hd_calloc((size_t)l->clients, sizeof *l->idle);
    for (int i = 0; l->connections && i < l->clients; i++) {
        l->connections[i].fd = -1;
        hd_buf_init(&l->connections[i].out, BODIES_MAX);
        reply_init(&l->connections[i].reply, &l->gap);
    }
    return l->connections && l->idle;
}

static void free_load(load *l)
{
    for (int i = 0; l->connections && i < l->clients; i++) {
        if (l->connections[i].fd >= 0) close(l->connections[i].fd);
        hd_buf_free(&l->connections[i].out);
        reply_free(&l->connections[i].reply);
    }
    samples *all[] = {&l->total, &l->first, &l->gap, &l->engine, &l->overhead};
    for (size_t i = 0; i < HD_ARRAY_LEN(all); i++)
        samples_free(all[i]);
    hd_free(l->connections);
    hd_free(l->idle);
    hd_free(l->bodies);
    hd_buf_free(&l->text);
    hd_buf_free(&l->headers);
}

int main(int argc, char **argv)
{
    load l = {.host = "127.0.0.1", .clients = 64, .requests = UINT64_MAX, .patience = 60, .epoll = -1, .timer = -1};
    hd_buf_init(&l.headers, 65536);
    hd_buf_init(&l.text, BODIES_MAX);
    prctl(PR_SET_TIMERSLACK, 1); /* else the kernel may send 50 microseconds late */
    int rc = 2;
    if (!take_options(&l, argc, argv))
        fputs(usage, stderr);
    else
        rc = make_connections(&l) ? run(&l) : 1;
    if (rc == 0) report(&l);
    free_load(&l);
    return rc;
}
