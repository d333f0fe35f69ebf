/* bench/constant_server.c: the simplest server: one thread, one epoll, the same reply to whatever asks.
 *
 *     constant-server BYTES        prints "ready PORT"; ends with its standard input
 *
 * A yardstick: what no server can be faster than on this machine under this load.  It looks for the end of a head,
 * takes its Content-Length on trust and is no example of a server in any other way.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"

#define CLIENTS 4096 /* descriptors */
#define REQUEST ((size_t)1 << 20)

static hd_buf requests[CLIENTS]; /* what has come from each */
static hd_buf answer;

static bool make_answer(size_t bytes)
{
    hd_buf_init(&answer, bytes + 4096);
    (void)hd_buf_printf(&answer, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", bytes);
    for (size_t i = 0; i < bytes; i++)
        (void)hd_buf_putc(&answer, 'x');
    return answer.status == HD_OK;
}

static int listen_anywhere(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return -1;
    *port = ntohs(at.sin_port);
    return fd;
}

static void drop(int fd)
{
    hd_buf_free(&requests[fd]);
    close(fd);
}

/* How long the first request is, or 0 while it is not complete. */
static size_t complete(const hd_buf *b)
{
    const char *end = memmem(b->data, b->len, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - b->data) + 4;
    const char *length = strcasestr(b->data, "content-length:");
    if (length && length < end) head += strtoul(length + 15, NULL, 10);
    return head <= b->len ? head : 0;
}

static void serve(int fd)
{
    char bytes[65536];
    hd_buf *b = &requests[fd];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || hd_buf_append(b, bytes, (size_t)n) != HD_OK) {
        drop(fd);
        return;
    }
    for (size_t used; (used = complete(b)) > 0;) {
        memmove(b->data, b->data + used, b->len - used);
        hd_buf_truncate(b, b->len - used);
        if (b->len == 0 && b->data) b->data[0] = '\0';
        if (send(fd, answer.data, answer.len, MSG_NOSIGNAL) != (ssize_t)answer.len) {
            drop(fd);
            return;
        }
    }
}

static void greet(int epoll, int listener)
{
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd >= CLIENTS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    hd_buf_init(&requests[fd], REQUEST);
}

int main(int argc, char **argv)
{
    int port = 0, listener = listen_anywhere(&port), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event on_listener = {.events = EPOLLIN, .data.fd = listener}, on_input = {.events = EPOLLIN};
    on_input.data.fd = STDIN_FILENO;
    if (argc != 2 || !make_answer(strtoul(argv[1], NULL, 10)) || listener < 0 || epoll < 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &on_listener) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &on_input) != 0) {
        fputs("usage: constant-server BYTES, with a pipe as standard input\n", stderr);
        return 2;
    }
    printf("ready %d\n", port);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, HD_ARRAY_LEN(events), -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == STDIN_FILENO) return 0;
            if (events[i].data.fd == listener)
                greet(epoll, listener);
            else
                serve(events[i].data.fd);
        }
    }
}
