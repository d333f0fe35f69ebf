/* ops/machine_system.c: what /proc tells of the whole machine (proc(5), kernel.org/doc/html/latest/accounting/psi.html,
 * admin-guide/iostats.html). */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "ops/machine_internal.h"

/* ---- memory ---- */

static void write_memory(hd_machine_reader *r, hd_metrics_page *page, const hd_cgroup_figures *group)
{
    static const struct {
        const char *key, *kind;
        hd_metric metric;
    } rows[] = {
        {"MemTotal:", "total", HD_M_MEMORY},     {"MemAvailable:", "available", HD_M_MEMORY},
        {"MemFree:", "free", HD_M_MEMORY},       {"Cached:", "cached", HD_M_MEMORY},
        {"Buffers:", "buffers", HD_M_MEMORY},    {"AnonPages:", "anonymous", HD_M_MEMORY},
        {"Slab:", "kernel", HD_M_MEMORY},        {"Dirty:", "dirty", HD_M_MEMORY},
        {"AnonHugePages:", "huge", HD_M_MEMORY}, {"Hugetlb:", "reserved_huge", HD_M_MEMORY},
        {"SwapTotal:", "total", HD_M_SWAP},      {"SwapFree:", "free", HD_M_SWAP},
    };
    double value, total = 0, available = -1;
    const char *text = hd_machine_file(r, "/proc/meminfo");
    if (text) {
        for (size_t i = 0; i < HD_ARRAY_LEN(rows); i++)
            if (hd_machine_field(text, rows[i].key, &value))
                hd_metrics_put_by(page, rows[i].metric, "kind", rows[i].kind, value * 1024);
        if (hd_machine_field(text, "MemTotal:", &value)) total = value * 1024;
        if (hd_machine_field(text, "MemAvailable:", &value)) available = value * 1024;
    }
    double ratio = total > 0 && available >= 0 ? 1 - available / total : NAN;
    if (group->memory_limit > 0 && (total <= 0 || group->memory_limit < total))
        ratio = (group->memory_used - group->memory_kept) / group->memory_limit;
    if (isfinite(ratio)) hd_metrics_put(page, HD_M_MEMORY_USED, NULL, HD_MIN(HD_MAX(ratio, 0), 1));
}

/* ---- processors ---- */

typedef struct cpu_times {
    double used, all; /* seconds since the machine started */
    int cpus;
} cpu_times;

static bool write_cpu_seconds(hd_machine_reader *r, hd_metrics_page *page, cpu_times *out)
{
    static const char *const modes[] = {"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"};
    double tick = (double)sysconf(_SC_CLK_TCK), value;
    const char *text = hd_machine_file(r, "/proc/stat");
    *out = (cpu_times){0};
    if (!text || strncmp(text, "cpu ", 4) != 0) return false;
    const char *at = text + 4;
    for (size_t i = 0; i < HD_ARRAY_LEN(modes) && hd_machine_number(at, &value, &at); i++) {
        bool idle = i == 3 || i == 4;
        out->all += value / tick;
        out->used += idle ? 0 : value / tick;
        hd_metrics_put_by(page, HD_M_CPU_SECONDS, "mode", modes[i], value / tick);
    }
    for (const char *line = text; (line = strstr(line, "\ncpu")); line++)
        out->cpus++;
    if (hd_machine_field(text, "ctxt", &value)) hd_metrics_put(page, HD_M_SWITCHES, NULL, value);
    if (hd_machine_field(text, "intr", &value)) hd_metrics_put(page, HD_M_INTERRUPTS, NULL, value);
    if (hd_machine_field(text, "btime", &value)) hd_metrics_put(page, HD_M_BOOTED, NULL, value);
    if (hd_machine_field(text, "procs_running", &value)) hd_metrics_put_by(page, HD_M_TASKS, "state", "running", value);
    if (hd_machine_field(text, "procs_blocked", &value)) hd_metrics_put_by(page, HD_M_TASKS, "state", "blocked", value);
    if (out->cpus) hd_metrics_put(page, HD_M_CPUS, NULL, out->cpus);
    return true;
}

/* Of the last interval; nothing at the first sample.  Counters that went back (a machine that was moved) say nothing.
 */
static void write_cpu_used(hd_machine_reader *r, hd_metrics_page *page, const cpu_times *now,
                           const hd_cgroup_figures *group)
{
    double used = now->used - r->used, all = now->all - r->all, ratio = NAN;
    bool first = r->seconds <= 0,
         limited = group->cpu_limit > 0 && group->cpu_seconds >= 0 && (now->cpus == 0 || group->cpu_limit < now->cpus);
    if (all > 0 && used >= 0) ratio = used / all;
    if (limited) ratio = (group->cpu_seconds - r->group) / (r->seconds * group->cpu_limit);
    r->used = now->used;
    r->all = now->all;
    r->group = group->cpu_seconds;
    if (!first && isfinite(ratio) && ratio >= 0) hd_metrics_put(page, HD_M_CPU_USED, NULL, HD_MIN(ratio, 1));
}

static void write_frequency(hd_machine_reader *r, hd_metrics_page *page, int cpus)
{
    const int most = 16; /* looked at: one file each */
    char path[96];
    double sum = 0, value;
    int known = 0;
    for (int i = 0; i < HD_MIN(cpus, most); i++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", i); /* kHz */
        if (!hd_machine_read_number(r, path, &value)) break;
        sum += value * 1000;
        known++;
    }
    if (known) hd_metrics_put(page, HD_M_CPU_FREQUENCY, NULL, sum / known);
}

static void write_load(hd_machine_reader *r, hd_metrics_page *page)
{
    static const char *const windows[] = {"1m", "5m", "15m"};
    double value;
    const char *at = hd_machine_file(r, "/proc/loadavg");
    for (size_t i = 0; at && i < HD_ARRAY_LEN(windows) && hd_machine_number(at, &value, &at); i++)
        hd_metrics_put_by(page, HD_M_LOAD, "window", windows[i], value);
}

/* ---- pressure ---- */

/* "some avg10=0.12 avg60=0.00 avg300=0.00 total=1234": per cent, and microseconds. */
static bool pressure_line(const char *text, const char *kind, double *ratio, double *seconds)
{
    const char *line = strstr(text, kind), *average, *total;
    if (!line) return false;
    const char *end = line + strcspn(line, "\n");
    average = strstr(line, "avg10=");
    total = strstr(line, "total=");
    if (!average || !total || average > end || total > end) return false;
    return hd_machine_number(average + 6, ratio, NULL) && hd_machine_number(total + 6, seconds, NULL);
}

static void write_pressure(hd_machine_reader *r, hd_metrics_page *page)
{
    static const char *const resources[] = {"cpu", "memory", "io"}, *const kinds[] = {"some", "full"};
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < HD_ARRAY_LEN(resources); i++) {
            char path[64], labels[64];
            double ratio, total;
            snprintf(path, sizeof path, "/proc/pressure/%s", resources[i]);
            const char *text = hd_machine_file(r, path);
            for (size_t k = 0; text && k < HD_ARRAY_LEN(kinds); k++) {
                if (!pressure_line(text, kinds[k], &ratio, &total)) continue;
                snprintf(labels, sizeof labels, "resource=\"%s\",kind=\"%s\"", resources[i], kinds[k]);
                if (pass == 0)
                    hd_metrics_put(page, HD_M_PRESSURE, labels, HD_MIN(ratio / 100, 1));
                else
                    hd_metrics_put(page, HD_M_PRESSURE_SECONDS, labels, total / 1e6);
            }
        }
}

/* ---- paging, disks, network ---- */

static void write_paging(hd_machine_reader *r, hd_metrics_page *page)
{
    double value, unit = (double)sysconf(_SC_PAGESIZE);
    const char *text = hd_machine_file(r, "/proc/vmstat");
    if (!text) return;
    if (hd_machine_field(text, "pswpin", &value)) hd_metrics_put_by(page, HD_M_PAGING, "direction", "in", value * unit);
    if (hd_machine_field(text, "pswpout", &value))
        hd_metrics_put_by(page, HD_M_PAGING, "direction", "out", value * unit);
    if (hd_machine_field(text, "pgmajfault", &value)) hd_metrics_put(page, HD_M_MAJOR_FAULTS, NULL, value);
    if (hd_machine_field(text, "oom_kill", &value)) hd_metrics_put(page, HD_M_OOM_KILLS, NULL, value);
}

/* Whole disks: parts of them would be counted twice, and so would what is built over disks. */
static bool is_disk(const char *name, size_t len)
{
    if (len < 3 || len > 31) return false;
    bool digit = name[len - 1] >= '0' && name[len - 1] <= '9';
    if (strncmp(name, "nvme", 4) == 0 || strncmp(name, "mmcblk", 6) == 0)
        return digit && !memchr(name + 1, 'p', len - 1); /* nvme0n1, not nvme0n1p1 */
    return !digit && (strncmp(name, "sd", 2) == 0 || strncmp(name, "vd", 2) == 0 || strncmp(name, "xvd", 3) == 0 ||
                      strncmp(name, "hd", 2) == 0);
}

/* NULL behind the last one. */
static const char *next_line(const char *line)
{
    const char *end = strchr(line, '\n');
    return end ? end + 1 : NULL;
}

static void write_disks(hd_machine_reader *r, hd_metrics_page *page)
{
    const double sector = 512; /* whatever the disk's own is */
    double read = 0, written = 0, busy = 0;
    int disks = 0;
    const char *line = hd_machine_file(r, "/proc/diskstats");
    for (; line && *line; line = next_line(line)) {
        double f[13] = {0};
        const char *at = line;
        if (!hd_machine_number(at, &f[0], &at) || !hd_machine_number(at, &f[1], &at)) continue;
        at += strspn(at, " ");
        size_t len = strcspn(at, " \n");
        if (!is_disk(at, len)) continue;
        at += len;
        int n = 0;
        while (n < 10 && hd_machine_number(at, &f[n], &at))
            n++;
        if (n < 10) continue;
        read += f[2] * sector;
        written += f[6] * sector;
        busy += f[9] / 1e3;
        disks++;
    }
    if (!disks) return;
    hd_metrics_put_by(page, HD_M_DISK_IO, "direction", "read", read);
    hd_metrics_put_by(page, HD_M_DISK_IO, "direction", "write", written);
    hd_metrics_put(page, HD_M_DISK_BUSY, NULL, busy);
}

static void write_network(hd_machine_reader *r, hd_metrics_page *page)
{
    double in[3] = {0}, out[3] = {0}; /* bytes, packets, lost */
    int found = 0;
    const char *line = hd_machine_file(r, "/proc/net/dev");
    for (; line && *line; line = next_line(line)) {
        const char *name = line + strspn(line, " "), *colon = strchr(name, ':'), *end = name + strcspn(name, "\n");
        if (!colon || colon > end || (colon - name == 2 && strncmp(name, "lo", 2) == 0)) continue;
        double f[16];
        int n = 0;
        const char *at = colon + 1;
        while (n < 16 && hd_machine_number(at, &f[n], &at))
            n++;
        if (n < 12) continue;
        found++;
        in[0] += f[0], in[1] += f[1], in[2] += f[2] + f[3];
        out[0] += f[8], out[1] += f[9], out[2] += f[10] + f[11];
    }
    static const hd_metric metrics[] = {HD_M_NETWORK, HD_M_NETWORK_PACKETS, HD_M_NETWORK_ERRORS};
    for (size_t i = 0; found && i < HD_ARRAY_LEN(metrics); i++) {
        hd_metrics_put_by(page, metrics[i], "direction", "in", in[i]);
        hd_metrics_put_by(page, metrics[i], "direction", "out", out[i]);
    }
}

/* /proc/net/snmp has a line of names and one of numbers for each protocol. */
static void write_tcp(hd_machine_reader *r, hd_metrics_page *page)
{
    const char *text = hd_machine_file(r, "/proc/net/snmp");
    const char *names = text ? strstr(text, "Tcp:") : NULL;
    const char *numbers = names ? strstr(names + 4, "Tcp:") : NULL,
               *wanted = names ? strstr(names, " RetransSegs") : NULL;
    if (!numbers || !wanted || wanted > numbers) return;
    int column = 0;
    for (const char *at = names; at <= wanted; at++)
        column += *at == ' ';
    for (const char *at = numbers; (at = strpbrk(at, " \n")) && *at == ' '; at++) {
        double value;
        if (--column) continue;
        if (hd_machine_number(at, &value, NULL)) hd_metrics_put(page, HD_M_TCP_RETRANSMITS, NULL, value);
        return;
    }
}

void hd_machine_system(hd_machine_reader *r, hd_metrics_page *page, const hd_cgroup_figures *group)
{
    cpu_times times;
    write_memory(r, page, group);
    (void)write_cpu_seconds(r, page, &times);
    write_cpu_used(r, page, &times, group);
    write_frequency(r, page, times.cpus);
    write_load(r, page);
    write_pressure(r, page);
    write_paging(r, page);
    write_disks(r, page);
    write_network(r, page);
    write_tcp(r, page);
}
