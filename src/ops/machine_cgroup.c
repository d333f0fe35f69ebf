/* ops/machine_cgroup.c: limits and use of the control group that we are in, of version 2 and of version 1
 * (kernel.org/doc/html/latest/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html).
 *
 * Limits hold from above, too: the least of our group and those above it counts.  In a container /proc/self/cgroup may
 * name a path that is not there under the mount: then the mount itself is ours.
 */
#include <limits.h>
#include <string.h>

#include "ops/machine_internal.h"

#define NO_LIMIT 1e18 /* bytes; version 1 says "none" by a number near 2^63 */

typedef struct group {
    hd_machine_reader *reader;
    char base[64];       /* "/sys/fs/cgroup", or a controller below it */
    char path[PATH_MAX]; /* ours below it; empty: the base itself */
} group;

static bool read_of(const group *g, const char *folder, const char *file, double *out)
{
    char path[PATH_MAX + 128];
    snprintf(path, sizeof path, "%s%s/%s", g->base, folder, file);
    return hd_machine_read_number(g->reader, path, out);
}

static const char *text_of(const group *g, const char *file)
{
    char path[PATH_MAX + 128];
    snprintf(path, sizeof path, "%s%s/%s", g->base, g->path, file);
    return hd_machine_file(g->reader, path);
}

/* Our group of a controller of version 1, or that of version 2 ("").  `file` must be there. */
static bool find_group(hd_machine_reader *r, const char *controller, const char *file, group *out)
{
    char key[32];
    const char *text = hd_machine_file(r, "/proc/self/cgroup"), *line;
    *out = (group){.reader = r};
    snprintf(key, sizeof key, ":%s:", controller);
    snprintf(out->base, sizeof out->base, "/sys/fs/cgroup%s%s", controller[0] ? "/" : "", controller);
    if (text && (line = strstr(text, key))) {
        line += strlen(key);
        size_t len = strcspn(line, "\n");
        if (len < sizeof out->path) memcpy(out->path, line, len);
        if (strcmp(out->path, "/") == 0) out->path[0] = '\0';
    }
    if (text_of(out, file)) return true;
    out->path[0] = '\0';
    return text_of(out, file) != NULL;
}

/* The least of that limit in our group and those above. */
static double least_limit(const group *g, const char *file)
{
    char folder[PATH_MAX];
    double least = 0, value;
    memcpy(folder, g->path, sizeof folder);
    for (;;) {
        if (read_of(g, folder, file, &value) && value > 0 && value < NO_LIMIT && (least == 0 || value < least))
            least = value;
        char *slash = strrchr(folder, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

/* ---- memory ---- */

static void write_events(const group *g, hd_metrics_page *page)
{
    static const char *const events[] = {"high", "max", "oom", "oom_kill"};
    const char *text = text_of(g, "memory.events");
    double value;
    for (size_t i = 0; text && i < HD_ARRAY_LEN(events); i++)
        if (hd_machine_field(text, events[i], &value))
            hd_metrics_put_by(page, HD_M_CGROUP_EVENTS, "event", events[i], value);
}

static void write_memory(hd_machine_reader *r, hd_metrics_page *page, hd_cgroup_figures *out)
{
    group g;
    const char *text;
    bool second = find_group(r, "", "memory.current", &g);
    if (!second && !find_group(r, "memory", "memory.usage_in_bytes", &g)) return;
    out->memory_limit = least_limit(&g, second ? "memory.max" : "memory.limit_in_bytes");
    bool known = read_of(&g, g.path, second ? "memory.current" : "memory.usage_in_bytes", &out->memory_used);
    if ((text = text_of(&g, "memory.stat")))
        (void)hd_machine_field(text, second ? "inactive_file" : "total_inactive_file", &out->memory_kept);
    if (out->memory_limit > 0) hd_metrics_put(page, HD_M_CGROUP_LIMIT, NULL, out->memory_limit);
    if (known) hd_metrics_put(page, HD_M_CGROUP_USED, NULL, out->memory_used);
    if (second) write_events(&g, page);
}

/* ---- processors ---- */

/* cpu.max of version 2: "max PERIOD" or "QUOTA PERIOD", both microseconds. */
static double quota_of(const group *g, const char *folder)
{
    char path[PATH_MAX + 128];
    double quota, period;
    snprintf(path, sizeof path, "%s%s/cpu.max", g->base, folder);
    const char *text = hd_machine_file(g->reader, path);
    if (!text || !hd_machine_number(text, &quota, &text) || !hd_machine_number(text, &period, NULL)) return 0;
    return period > 0 ? quota / period : 0;
}

static double least_quota(const group *g)
{
    char folder[PATH_MAX];
    double least = 0;
    memcpy(folder, g->path, sizeof folder);
    for (;;) {
        double quota = quota_of(g, folder);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
        char *slash = strrchr(folder, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

static void write_throttling(const group *g, bool second, hd_metrics_page *page)
{
    double value;
    const char *text = text_of(g, "cpu.stat");
    if (!text) return;
    if (hd_machine_field(text, "nr_periods", &value)) hd_metrics_put(page, HD_M_CGROUP_PERIODS, NULL, value);
    if (hd_machine_field(text, "nr_throttled", &value)) hd_metrics_put(page, HD_M_CGROUP_THROTTLED, NULL, value);
    if (hd_machine_field(text, second ? "throttled_usec" : "throttled_time", &value))
        hd_metrics_put(page, HD_M_CGROUP_THROTTLED_SECONDS, NULL, value / (second ? 1e6 : 1e9));
}

static void write_cpu(hd_machine_reader *r, hd_metrics_page *page, hd_cgroup_figures *out)
{
    group g, account;
    double value, period;
    bool second = find_group(r, "", "cpu.stat", &g);
    if (!second && !find_group(r, "cpu", "cpu.stat", &g)) return;
    if (second)
        out->cpu_limit = least_quota(&g);
    else if (read_of(&g, g.path, "cpu.cfs_quota_us", &value) && read_of(&g, g.path, "cpu.cfs_period_us", &period) &&
             period > 0)
        out->cpu_limit = value / period; /* -1, for none, is no number here */
    if (second) {
        const char *text = text_of(&g, "cpu.stat");
        if (text && hd_machine_field(text, "usage_usec", &value)) out->cpu_seconds = value / 1e6;
    } else if (find_group(r, "cpuacct", "cpuacct.usage", &account) &&
               read_of(&account, account.path, "cpuacct.usage", &value)) {
        out->cpu_seconds = value / 1e9;
    }
    if (out->cpu_limit > 0) hd_metrics_put(page, HD_M_CGROUP_CPU_LIMIT, NULL, out->cpu_limit);
    if (out->cpu_seconds >= 0) hd_metrics_put(page, HD_M_CGROUP_CPU, NULL, out->cpu_seconds);
    write_throttling(&g, second, page);
}

void hd_machine_cgroup(hd_machine_reader *r, hd_metrics_page *page, hd_cgroup_figures *out)
{
    group g;
    double tasks;
    *out = (hd_cgroup_figures){.cpu_seconds = -1};
    write_memory(r, page, out);
    write_cpu(r, page, out);
    if ((find_group(r, "", "pids.current", &g) || find_group(r, "pids", "pids.current", &g)) &&
        read_of(&g, g.path, "pids.current", &tasks))
        hd_metrics_put(page, HD_M_CGROUP_TASKS, NULL, tasks);
}
