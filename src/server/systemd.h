/* server/systemd.h: what systemd says to a service it starts, and what the service says back (sd_notify(3),
 * sd_listen_fds(3), sd_watchdog_enabled(3)); without systemd's library, and harmless without systemd.
 */
#ifndef HD_SERVER_SYSTEMD_H
#define HD_SERVER_SYSTEMD_H

#include <stdint.h>
#include <sys/un.h>

#include "hadal/status.h"

typedef struct hd_systemd {
    struct sockaddr_un socket; /* where notes go */
    unsigned socket_len;       /* 0: nobody wants them */
    int listener;              /* the first socket that it opened for us, for hd_server_options.listener; -1: none */
    uint64_t watchdog_us;      /* within which it wants a "WATCHDOG=1", again and again; 0: it does not */
} hd_systemd;

/* Reads the environment through `get` (getenv) and unsets what it read, so that no child takes it for its own; before
 * other threads start.  Variables meant for another process are ignored, malformed ones refused (HD_E_ARGUMENT). */
hd_status hd_systemd_open(hd_systemd *out, char *(*get)(const char *name), hd_error *err);

/* Sends "READY=1", "STOPPING=1", "STATUS=...", "WATCHDOG=1", several in lines of their own.  HD_OK when nobody wants
 * it; HD_E_LIMIT above 4 KiB, HD_E_IO.  Any thread; waits at most a second. */
hd_status hd_systemd_notify(const hd_systemd *systemd, hd_error *err, const char *fmt, ...) HD_PRINTF(3, 4);

/* "RELOADING=1" with the time that belongs to it; "READY=1" ends it. */
hd_status hd_systemd_reloading(const hd_systemd *systemd, hd_error *err);

#endif
