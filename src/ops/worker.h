/* ops/worker.h: the worker's side of a supervised service: its beats, what it tells, and what it leaves when it dies.
 *
 * A worker knows that it is one by the environment (HD_WORKER_VARIABLE), which says its slot, its supervisor's process
 * and whether it comes beside another.  Descriptors: 3 the listening socket (as systemd's, LISTEN_FDS), 4 the shared
 * page, 5 an eventfd that wakes the supervisor.
 */
#ifndef HD_OPS_WORKER_H
#define HD_OPS_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "hadal/status.h"

#define HD_WORKER_VARIABLE "HADAL_WORKER"
#define HD_WORKER_PAGE_FD 4
#define HD_WORKER_EVENT_FD 5

typedef struct hd_worker hd_worker;

/* `text`: the variable's value.  Maps the page and prepares for the worst: from now on a signal that ends the process
 * leaves a record in the page first, and no core dump is written.  Before other threads start; once in a process.
 * HD_E_ARGUMENT: malformed; HD_E_UNSUPPORTED: the supervisor is of another version; HD_E_IO, HD_E_MEMORY. */
hd_status hd_worker_join(hd_worker **out, const char *text, const char *version, hd_error *err);
void hd_worker_leave(hd_worker **worker); /* NULL-safe */

/* All of these from any thread, and with NULL they do nothing. */

void hd_worker_is_ready(hd_worker *worker, const char *url);
void hd_worker_is_closing(hd_worker *worker);
void hd_worker_beat_server(void *worker); /* for hd_server_options.tick */

/* `engine` moves when the engine does. */
void hd_worker_beat_keeper(hd_worker *worker, int64_t requests, bool working, uint64_t engine);

/* hadal:worker_crashes_total, hadal:worker_restarts_total, hadal:worker_uptime_seconds; for
 * hd_gateway_options.more_metrics. */
void hd_worker_metrics(void *worker, hd_buf *out);

bool hd_worker_is_hot(const hd_worker *worker);      /* it opens its door only when it is ready; false for NULL */
pid_t hd_worker_supervisor(const hd_worker *worker); /* 0 for NULL */

#endif
