/* server/systemd.c: see systemd.h. */
#include "server/systemd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

#define FIRST_DESCRIPTOR 3 /* SD_LISTEN_FDS_START */
#define MAX_NOTE 4096

static const char *const variables[] = {"NOTIFY_SOCKET",  "LISTEN_PID",   "LISTEN_FDS",
                                        "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"};

/* A decimal number of the environment; 0 when it is not there. */
static hd_status read_number(uint64_t *out, char *(*get)(const char *), const char *name, hd_error *err)
{
    const char *text = get(name);
    char *end;
    *out = 0;
    if (!text) return HD_OK;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return hd_fail(err, HD_E_ARGUMENT, "the environment's %s is no number", name);
    return HD_OK;
}

/* sd_listen_fds(3) */
static hd_status read_listener(hd_systemd *s, char *(*get)(const char *), hd_error *err)
{
    uint64_t pid, count;
    HD_TRY(read_number(&pid, get, "LISTEN_PID", err));
    HD_TRY(read_number(&count, get, "LISTEN_FDS", err));
    if (pid != (uint64_t)getpid() || count == 0) return HD_OK;
    if (count > 1)
        hd_log(HD_LOG_WARN, "systemd: of %" PRIu64 " sockets only the first is used; use one ListenStream=", count);
    s->listener = FIRST_DESCRIPTOR;
    return HD_OK;
}

/* sd_watchdog_enabled(3): without WATCHDOG_PID it is meant for whoever reads it. */
static hd_status read_watchdog(hd_systemd *s, char *(*get)(const char *), hd_error *err)
{
    uint64_t pid, period;
    HD_TRY(read_number(&pid, get, "WATCHDOG_PID", err));
    HD_TRY(read_number(&period, get, "WATCHDOG_USEC", err));
    if (pid == 0 || pid == (uint64_t)getpid()) s->watchdog_us = period;
    return HD_OK;
}

/* A path, or behind '@' a name of the abstract namespace (unix(7)). */
static hd_status read_socket(hd_systemd *s, char *(*get)(const char *), hd_error *err)
{
    const char *path = get("NOTIFY_SOCKET");
    if (!path) return HD_OK;
    size_t len = strlen(path);
    bool abstract = path[0] == '@';
    if ((path[0] != '/' && !abstract) || len < 2 || len >= sizeof s->socket.sun_path)
        return hd_fail(err, HD_E_ARGUMENT, "the environment's NOTIFY_SOCKET is no path of a Unix socket");
    s->socket.sun_family = AF_UNIX;
    memcpy(s->socket.sun_path, path, len);
    if (abstract) s->socket.sun_path[0] = '\0';
    /* A path counts its NUL; an abstract name is exactly its bytes. */
    s->socket_len = (unsigned)(offsetof(struct sockaddr_un, sun_path) + len + !abstract);
    return HD_OK;
}

hd_status hd_systemd_open(hd_systemd *out, char *(*get)(const char *name), hd_error *err)
{
    *out = (hd_systemd){.listener = -1};
    hd_status status = read_socket(out, get, err);
    if (status == HD_OK) status = read_listener(out, get, err);
    if (status == HD_OK) status = read_watchdog(out, get, err);
    if (status != HD_OK) *out = (hd_systemd){.listener = -1};
    for (size_t i = 0; i < HD_ARRAY_LEN(variables); i++)
        unsetenv(variables[i]);
    return status;
}

static hd_status send_note(const hd_systemd *s, const char *note, size_t len, hd_error *err)
{
    const struct timeval patience = {.tv_sec = 1};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool sent = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
                sendto(fd, note, len, MSG_NOSIGNAL, (const struct sockaddr *)&s->socket, s->socket_len) == (ssize_t)len;
    int why = errno;
    if (fd >= 0) close(fd);
    return sent ? HD_OK : hd_fail(err, HD_E_IO, "systemd could not be notified: %s", strerror(why));
}

hd_status hd_systemd_notify(const hd_systemd *s, hd_error *err, const char *fmt, ...)
{
    char note[MAX_NOTE + 1];
    va_list args;
    if (s->socket_len == 0) return HD_OK;
    va_start(args, fmt);
    int len = vsnprintf(note, sizeof note, fmt, args);
    va_end(args);
    if (len < 0 || len > MAX_NOTE)
        return hd_fail(err, HD_E_LIMIT, "a note to systemd has more than %d bytes", MAX_NOTE);
    return send_note(s, note, (size_t)len, err);
}

hd_status hd_systemd_reloading(const hd_systemd *s, hd_error *err)
{
    struct timespec now; /* not hd_clock_ns: systemd compares it with its own CLOCK_MONOTONIC */
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    return hd_systemd_notify(s, err, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, us);
}
