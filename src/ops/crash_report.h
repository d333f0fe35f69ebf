/* ops/crash_report.h: what is told of a worker that died: a JSON file, without anything that a client sent.
 *
 * It holds numbers, names of functions' modules with offsets, and the names that the operator gave to models; never
 * prompts, answers, keys or addresses of clients, nor addresses of memory, which may be bytes of text by mistake.
 */
#ifndef HD_OPS_CRASH_REPORT_H
#define HD_OPS_CRASH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"
#include "ops/supervise_page.h"

#define HD_CRASH_REPORTS 20 /* that are kept, the newest */

typedef struct hd_crash_facts {
    const hd_worker_slot *slot; /* what the worker left; read as untrusted */
    int signal;                 /* that ended it; 0: it ended with exit_code */
    int exit_code;
    const char *reason; /* what the supervisor knows: "the watchdog: ..."; NULL: nothing more */
    const char *models; /* names, with commas between them */
    double uptime;      /* seconds */
    bool ready;         /* it had been */
    long pid;
    int64_t unix_ms; /* when */
} hd_crash_facts;

/* Writes `folder`/crash-TIME-PID.json (0600), makes the folder, and removes the oldest reports beyond HD_CRASH_REPORTS.
 * `path` [size] receives the name.  HD_E_IO, HD_E_MEMORY. */
hd_status hd_crash_report_write(const char *folder, const hd_crash_facts *facts, char *path, size_t size,
                                hd_error *err);

#endif
