/* ops/supervise.h: the process that watches over the one that serves (`hadal serve --supervise`, docs/supervise.md).
 *
 * It opens the socket once and never accepts from it, holds the data folder's lock and no keys, starts workers, ends
 * those that stand still, writes what is known of those that died, and changes them for new ones without a gap.  One
 * thread; signals are read, never handled.  Workers are started as this process was, with HD_WORKER_VARIABLE added.
 */
#ifndef HD_OPS_SUPERVISE_H
#define HD_OPS_SUPERVISE_H

#include <jansson.h>
#include <stdint.h>

#include "hadal/status.h"
#include "ops/supervise_rule.h"
#include "server/systemd.h"

#define HD_SUPERVISE_STATE "supervisor.json" /* in the data folder: what `hadal restart` and `hadal status` read */

typedef struct hd_supervise_options {
    const char *data; /* the data folder; made if it is absent */
    const char *host; /* to listen on, unless systemd gave a socket */
    int port;
    const hd_systemd *systemd; /* what was read of the environment; systemd->listener is taken over */
    char *const *environment;  /* of workers, NULL at its end */
    const char *program;       /* argv[0] as given, to find the program's file by */
    const char *path;          /* the environment's PATH; may be NULL */
    const char *models;        /* their names, for reports */
    hd_supervise_rules rules;
    uint64_t memory; /* bytes that the service may use in all; 0: as many as the machine has */
} hd_supervise_options;

/* Serves until SIGTERM or SIGINT, or until the first worker ends before it was ready: *exit_code is then its own, else
 * 0.  Prints `ready URL` on standard output when the first worker is ready.  Errors: HD_E_IO, HD_E_BUSY (the folder is
 * in use), those of hd_server_listen. */
hd_status hd_supervise(const hd_supervise_options *options, int *exit_code, hd_error *err);

/* What the state file of that folder says; *out is the caller's (json_decref).  HD_E_NOT_FOUND: no supervisor runs
 * there: there is no file, or it is of one that is gone.  HD_E_FORMAT, HD_E_IO, HD_E_MEMORY. */
hd_status hd_supervise_read_state(json_t **out, const char *data, hd_error *err);

/* Sends the wish for a hot restart to that process.  HD_E_IO. */
hd_status hd_supervise_ask(long pid, hd_restart_mode mode, hd_error *err);

/* Whether a second worker fits beside one that has `private_bytes` of its own, with `available` bytes left. */
bool hd_supervise_has_room(uint64_t private_bytes, uint64_t available);

#endif
