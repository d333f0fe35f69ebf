/* ops/supervise_internal.h: the parts of a supervisor's process: how workers are started (supervise_start.c), what the
 * system says of memory (supervise_memory.c), and the loop (supervise.c). */
#ifndef HD_OPS_SUPERVISE_INTERNAL_H
#define HD_OPS_SUPERVISE_INTERNAL_H

#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "ops/supervise.h"

/* How this process was started: what workers are started by. */
typedef struct hd_self {
    hd_buf words; /* of the command line, each with its NUL */
    char **argv;  /* views of them, NULL at the end */
    char file[4096];
} hd_self;

/* `program`: argv[0] as given; `path`: the environment's PATH.  HD_E_IO, HD_E_MEMORY. */
hd_status hd_self_open(hd_self *self, const char *program, const char *path, hd_error *err);
void hd_self_close(hd_self *self);

/* What a worker is started with. */
typedef struct hd_worker_start {
    const hd_self *self;
    char *const *environment;
    int listener, page, event, lock; /* descriptors above HD_WORKER_FDS */
    int slot;
    bool hot;
    const sigset_t *mask; /* of signals, as it was before the supervisor blocked some */
    _Atomic uint32_t *failure;
} hd_worker_start;

#define HD_WORKER_FDS 16 /* the supervisor's own descriptors lie above */

/* The new process; -1: HD_E_IO in err.  When its program can't be run, *failure says why (errno) and it ends with 127.
 */
pid_t hd_worker_start_process(const hd_worker_start *start, hd_error *err);

/* Bytes that no other process shares with that one, swapped ones included; 0: not known. */
uint64_t hd_private_bytes(pid_t pid);

/* Bytes that can still be had, of the machine's memory and of `limit` (what the service may use in all, 0: no limit) of
 * which `used` are taken. */
uint64_t hd_available_bytes(uint64_t limit, uint64_t used);

#endif
