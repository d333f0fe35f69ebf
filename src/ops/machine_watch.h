/* ops/machine_watch.h: figures of the process, the machine and the cgroup for the metrics page.
 *
 * A thread of its own reads /proc and /sys once a second and keeps the text, so that whoever asks for the page never
 * waits for a file, a sensor, or a file system that is away.  What a machine does not tell is not shown: containers
 * without /sys, kernels without PSI, broken numbers.
 */
#ifndef HD_OPS_MACHINE_WATCH_H
#define HD_OPS_MACHINE_WATCH_H

#include "base/metric_families.h"

#define HD_WATCHED_FOLDERS 2

typedef struct hd_watched_folder {
    const char *name; /* the label: "data", "models" */
    const char *path; /* need not exist: then the nearest folder above it counts */
} hd_watched_folder;

typedef struct hd_machine_watch_options {
    const char *root;                              /* what stands before /proc and /sys; NULL: nothing; for tests */
    hd_watched_folder folders[HD_WATCHED_FOLDERS]; /* up to the first without a name */
    bool by_hand;                                  /* no thread: hd_machine_watch_sample does it; for tests */
} hd_machine_watch_options;

typedef struct hd_machine_watch hd_machine_watch;

/* Takes the first sample and starts the thread; strings are copied.  HD_E_MEMORY, HD_E_IO. */
hd_status hd_machine_watch_open(hd_machine_watch **out, const hd_machine_watch_options *options, hd_error *err);
void hd_machine_watch_close(hd_machine_watch **watch); /* NULL-safe */

/* Takes one sample now.  With by_hand only. */
void hd_machine_watch_sample(hd_machine_watch *watch);

/* Appends the families of the last sample.  Any thread; `watch` is a hd_machine_watch. */
void hd_machine_watch_write(void *watch, hd_buf *out);

#endif
