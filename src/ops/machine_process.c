/* ops/machine_process.c: what /proc/self tells of this process (proc(5)). */
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "ops/machine_internal.h"

#define STAT_FIELDS 52

/* The fields of /proc/self/stat by their number in proc(5), from 4 on; those before hold a name that may hold anything.
 */
static bool read_stat(hd_machine_reader *r, double fields[STAT_FIELDS + 1])
{
    const char *text = hd_machine_file(r, "/proc/self/stat");
    const char *at = text ? strrchr(text, ')') : NULL; /* the end of the name: no field behind it has one */
    if (!at || strlen(at) < 4) return false;
    at += 3; /* ") S" */
    for (int i = 4; i <= STAT_FIELDS; i++) {
        at += strspn(at, " ");
        double sign = *at == '-' ? -1 : 1;
        at += *at == '-';
        fields[i] = NAN;
        if (hd_machine_number(at, &fields[i], &at)) fields[i] *= sign;
    }
    return true;
}

static void write_stat(hd_machine_reader *r, hd_metrics_page *page)
{
    enum { MINOR = 10, MAJOR = 12, USER = 14, SYSTEM = 15, THREADS = 20, STARTED = 22, VIRTUAL = 23, RESIDENT = 24 };
    double f[STAT_FIELDS + 1], booted, tick = (double)sysconf(_SC_CLK_TCK);
    if (!read_stat(r, f)) return;
    hd_metrics_put(page, HD_M_PROCESS_CPU, NULL, (f[USER] + f[SYSTEM]) / tick);
    hd_metrics_put_by(page, HD_M_PROCESS_CPU_MODE, "mode", "user", f[USER] / tick);
    hd_metrics_put_by(page, HD_M_PROCESS_CPU_MODE, "mode", "system", f[SYSTEM] / tick);
    hd_metrics_put(page, HD_M_PROCESS_RESIDENT, NULL, f[RESIDENT] * (double)sysconf(_SC_PAGESIZE));
    hd_metrics_put(page, HD_M_PROCESS_VIRTUAL, NULL, f[VIRTUAL]);
    hd_metrics_put(page, HD_M_PROCESS_THREADS, NULL, f[THREADS]);
    hd_metrics_put_by(page, HD_M_PROCESS_FAULTS, "kind", "minor", f[MINOR]);
    hd_metrics_put_by(page, HD_M_PROCESS_FAULTS, "kind", "major", f[MAJOR]);
    const char *text = hd_machine_file(r, "/proc/stat");
    if (text && hd_machine_field(text, "btime", &booted))
        hd_metrics_put(page, HD_M_PROCESS_START, NULL, booted + f[STARTED] / tick);
}

static void write_status(hd_machine_reader *r, hd_metrics_page *page)
{
    static const struct {
        const char *key;
        hd_metric metric;
    } sizes[] = {
        {"RssAnon:", HD_M_PROCESS_ANONYMOUS}, {"VmHWM:", HD_M_PROCESS_PEAK}, {"VmSwap:", HD_M_PROCESS_SWAPPED}};
    double value;
    const char *text = hd_machine_file(r, "/proc/self/status");
    if (!text) return;
    for (size_t i = 0; i < HD_ARRAY_LEN(sizes); i++)
        if (hd_machine_field(text, sizes[i].key, &value)) hd_metrics_put(page, sizes[i].metric, NULL, value * 1024);
    if (hd_machine_field(text, "voluntary_ctxt_switches:", &value))
        hd_metrics_put_by(page, HD_M_PROCESS_SWITCHES, "kind", "voluntary", value);
    if (hd_machine_field(text, "nonvoluntary_ctxt_switches:", &value))
        hd_metrics_put_by(page, HD_M_PROCESS_SWITCHES, "kind", "involuntary", value);
}

/* Names in a folder, "." and ".." left out; -1: it can't be read. */
static double entries_of(const hd_machine_reader *r, const char *path)
{
    char full[PATH_MAX];
    double count = -2;
    if (snprintf(full, sizeof full, "%s%s", r->root, path) >= (int)sizeof full) return -1;
    DIR *dir = opendir(full);
    if (!dir) return -1;
    while (readdir(dir))
        count++;
    closedir(dir);
    return HD_MAX(count, 0);
}

static void write_files(hd_machine_reader *r, hd_metrics_page *page)
{
    double open = entries_of(r, "/proc/self/fd"), most;
    if (open >= 0) hd_metrics_put(page, HD_M_PROCESS_FDS, NULL, HD_MAX(open - 1, 0)); /* the folder itself is one */
    const char *text = hd_machine_file(r, "/proc/self/limits");
    const char *line = text ? strstr(text, "Max open files") : NULL;
    if (line && hd_machine_number(line + strlen("Max open files"), &most, NULL))
        hd_metrics_put(page, HD_M_PROCESS_MAX_FDS, NULL, most);
}

static void write_io(hd_machine_reader *r, hd_metrics_page *page)
{
    double value;
    const char *text = hd_machine_file(r, "/proc/self/io");
    if (!text) return;
    if (hd_machine_field(text, "read_bytes:", &value))
        hd_metrics_put_by(page, HD_M_PROCESS_IO, "direction", "read", value);
    if (hd_machine_field(text, "write_bytes:", &value))
        hd_metrics_put_by(page, HD_M_PROCESS_IO, "direction", "write", value);
}

void hd_machine_process(hd_machine_reader *r, hd_metrics_page *page)
{
    write_stat(r, page);
    write_status(r, page);
    write_files(r, page);
    write_io(r, page);
}
