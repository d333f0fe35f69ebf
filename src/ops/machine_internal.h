/* ops/machine_internal.h: what the files that read /proc and /sys for machine_watch.c share.
 *
 * All paths are below `root`.  Files are read whole up to a cap and parsed with every number checked: what does not
 * parse is as if it were not there.  One thread at a time has a hd_machine_watch's parts.
 */
#ifndef HD_OPS_MACHINE_INTERNAL_H
#define HD_OPS_MACHINE_INTERNAL_H

#include <stdio.h>

#include "base/base.h"
#include "base/metric_families.h"
#include "ops/machine_watch.h"

#define HD_MACHINE_FILE ((size_t)64 << 10) /* bytes of a file that are read; /proc/stat of 512 processors has 40 KB */
#define HD_MACHINE_DOMAINS 32              /* of energy: sockets, their parts, memory */

/* What a counter stood at, to tell what happened since. */
typedef struct hd_energy_domain {
    char path[64];
    double last, total; /* microjoules; joules since the start */
} hd_energy_domain;

typedef struct hd_machine_reader {
    const char *root;
    char *text;       /* [HD_MACHINE_FILE + 1] the last file read */
    uint64_t now_ns;  /* of this sample */
    double seconds;   /* since the last one; 0: this is the first */
    double used, all; /* processor time of the machine, seconds, at the last sample */
    double group;     /* that of the cgroup */
    hd_energy_domain domains[HD_MACHINE_DOMAINS];
    int domain_count;
} hd_machine_reader;

/* The file root/path as text; NULL: it can't be read.  Valid until the next call. */
const char *hd_machine_file(hd_machine_reader *r, const char *path);

/* The same for a file that holds one number; false: it holds none. */
bool hd_machine_read_number(hd_machine_reader *r, const char *path, double *out);

/* A finite number of at most 1e300 and at least 0 at `text`, behind blanks; *end (may be NULL) is what follows it. */
bool hd_machine_number(const char *text, double *out, const char **end);

/* The number behind the line's first word `key` ("MemTotal:"); false: there is none. */
bool hd_machine_field(const char *text, const char *key, double *out);

/* A name of the machine's as a value of a label: letters, digits and -_./ only, others become _; at most `size` - 1. */
void hd_machine_label(char *out, size_t size, const char *name);

/* What the cgroup says, for the ratios that heed its limits. */
typedef struct hd_cgroup_figures {
    double memory_limit, memory_used, memory_kept; /* bytes; 0: no limit; of the used ones, those easily given back */
    double cpu_limit, cpu_seconds;                 /* processors, 0: no limit; -1: not known */
} hd_cgroup_figures;

void hd_machine_process(hd_machine_reader *r, hd_metrics_page *page);
void hd_machine_cgroup(hd_machine_reader *r, hd_metrics_page *page, hd_cgroup_figures *out);
void hd_machine_system(hd_machine_reader *r, hd_metrics_page *page, const hd_cgroup_figures *group);
void hd_machine_sensors(hd_machine_reader *r, hd_metrics_page *page);

#endif
