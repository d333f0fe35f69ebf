/* gateway/workers.h: threads that do what must not be done on the server's thread: parsing, rendering, tokenizing.
 *
 * Jobs are taken in their order, but for long ones, which all but one of the threads may be busy with: that one is
 * there for the others, so that no text of many megabytes holds up other users.
 */
#ifndef HD_GATEWAY_WORKERS_H
#define HD_GATEWAY_WORKERS_H

#include "hadal/status.h"

/* Part of what it works on; the queue owns no memory. */
typedef struct hd_job {
    void (*run)(struct hd_job *job);
    struct hd_job *next;
    bool is_long; /* may take longer than others should wait */
} hd_job;

typedef struct hd_workers hd_workers;

/* HD_E_MEMORY, HD_E_IO (a thread could not be started). */
hd_status hd_workers_open(hd_workers **out, int threads, hd_error *err);

/* Finishes the jobs that wait, then ends.  NULL-safe. */
void hd_workers_close(hd_workers **workers);

/* Any thread. */
void hd_workers_push(hd_workers *workers, hd_job *job);

#endif
