/* ops/machine_sensors.c: temperatures, power and energy where the machine tells them
 * (kernel.org/doc/html/latest/hwmon/sysfs-interface.html, driver-api/thermal/sysfs-api.html, power/powercap). */
#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "ops/machine_internal.h"

#define SENSORS_MAX 64   /* values of the label: a large machine has some forty */
#define PER_CHIP 32      /* sensors of one chip */
#define CHIPS_MAX 64     /* chips, zones and domains, numbered from 0 */
#define GAP 4            /* numbers in a row that are missing: behind them there are no more */
#define CELSIUS_MAX 200  /* beyond it a sensor is broken, not hot */
#define WATTS_MAX 100000 /* of one sensor */

typedef struct sensors {
    hd_machine_reader *reader;
    hd_metrics_page *page;
    int count; /* samples of one family so far */
} sensors;

/* The first line of a file, as a label; `fallback` when there is none. */
static void name_of(hd_machine_reader *r, const char *path, const char *fallback, char *out, size_t size)
{
    const char *text = hd_machine_file(r, path);
    hd_machine_label(out, size, text && text[0] != '\n' ? text : fallback);
}

static void put(sensors *s, hd_metric metric, const char *label, double value, double most)
{
    if (value > most || s->count == SENSORS_MAX) return;
    s->count++;
    hd_metrics_put_by(s->page, metric, "sensor", label, value);
}

/* One family of all chips: tempN_input in thousandths of a degree, powerN_average or _input in microwatts.  A sensor is
 * chip number, chip name and its own label or number: two alike stay apart. */
static void write_chips(sensors *s, hd_metric metric, const char *kind, const char *const *endings, double unit,
                        double most)
{
    for (int chip = 0, missing = 0; chip < CHIPS_MAX && missing < GAP; chip++) {
        char path[128], name[32], own[32], number[16], label[96];
        snprintf(path, sizeof path, "/sys/class/hwmon/hwmon%d/name", chip);
        missing = hd_machine_file(s->reader, path) ? 0 : missing + 1;
        if (missing) continue;
        name_of(s->reader, path, "chip", name, sizeof name);
        for (int i = 1; i <= PER_CHIP; i++) {
            double value;
            bool found = false;
            for (int e = 0; endings[e] && !found; e++) {
                snprintf(path, sizeof path, "/sys/class/hwmon/hwmon%d/%s%d_%s", chip, kind, i, endings[e]);
                found = hd_machine_read_number(s->reader, path, &value);
            }
            if (!found) continue;
            snprintf(number, sizeof number, "%d", i);
            snprintf(path, sizeof path, "/sys/class/hwmon/hwmon%d/%s%d_label", chip, kind, i);
            name_of(s->reader, path, number, own, sizeof own);
            snprintf(label, sizeof label, "hwmon%d/%s/%s", chip, name, own);
            put(s, metric, label, value / unit, most);
        }
    }
}

static void write_zones(sensors *s)
{
    for (int zone = 0, missing = 0; zone < CHIPS_MAX && missing < GAP; zone++) {
        char path[128], name[32], label[64];
        double value;
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/type", zone);
        missing = hd_machine_file(s->reader, path) ? 0 : missing + 1;
        if (missing) continue;
        name_of(s->reader, path, "zone", name, sizeof name);
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", zone);
        if (!hd_machine_read_number(s->reader, path, &value)) continue;
        snprintf(label, sizeof label, "zone%d/%s", zone, name);
        put(s, HD_M_TEMPERATURE, label, value / 1000, CELSIUS_MAX);
    }
}

/* ---- energy ---- */

static hd_energy_domain *domain_of(hd_machine_reader *r, const char *path, bool *news)
{
    *news = false;
    for (int i = 0; i < r->domain_count; i++)
        if (strcmp(r->domains[i].path, path) == 0) return &r->domains[i];
    if (r->domain_count == HD_MACHINE_DOMAINS) return NULL;
    hd_energy_domain *d = &r->domains[r->domain_count++];
    *d = (hd_energy_domain){.last = 0};
    snprintf(d->path, sizeof d->path, "%s", path);
    *news = true;
    return d;
}

/* Sockets (intel-rapl:0) and their parts (intel-rapl:0:1).  The counter runs over at max_energy_range_uj.  Only root
 * may read it on most systems.  False: there is no such domain. */
static bool write_domain(sensors *s, hd_metric metric, const char *folder)
{
    char path[128], name[32], label[96];
    double now, range = 0;
    bool news;
    snprintf(path, sizeof path, "/sys/class/powercap/%s/max_energy_range_uj", folder);
    (void)hd_machine_read_number(s->reader, path, &range);
    snprintf(path, sizeof path, "/sys/class/powercap/%s/energy_uj", folder);
    hd_energy_domain *d = hd_machine_read_number(s->reader, path, &now) ? domain_of(s->reader, folder, &news) : NULL;
    if (!d) return false;
    if (news) d->last = now;
    double joules = (now >= d->last ? now - d->last : now - d->last + range) / 1e6;
    snprintf(path, sizeof path, "/sys/class/powercap/%s/name", folder);
    name_of(s->reader, path, "domain", name, sizeof name);
    snprintf(label, sizeof label, "%s/%s", folder, name);
    if (metric == HD_M_POWER) { /* first of the two: the counter is moved on by the second */
        if (!news && s->reader->seconds > 0 && joules >= 0)
            put(s, metric, label, joules / s->reader->seconds, WATTS_MAX);
        return true;
    }
    d->last = now;
    if (joules > 0) d->total += joules;
    put(s, metric, label, d->total, 1e300);
    return true;
}

static void write_domains(sensors *s, hd_metric metric)
{
    for (int i = 0; i < 8; i++)
        for (int part = -1; part < 6; part++) {
            char folder[48];
            if (part < 0)
                snprintf(folder, sizeof folder, "intel-rapl:%d", i);
            else
                snprintf(folder, sizeof folder, "intel-rapl:%d:%d", i, part);
            if (!write_domain(s, metric, folder)) break;
        }
}

void hd_machine_sensors(hd_machine_reader *r, hd_metrics_page *page)
{
    static const char *const temperatures[] = {"input", NULL}, *const powers[] = {"average", "input", NULL};
    sensors s = {r, page, 0};
    write_chips(&s, HD_M_TEMPERATURE, "temp", temperatures, 1e3, CELSIUS_MAX);
    write_zones(&s);
    s.count = 0;
    write_chips(&s, HD_M_POWER, "power", powers, 1e6, WATTS_MAX);
    write_domains(&s, HD_M_POWER);
    s.count = 0;
    write_domains(&s, HD_M_ENERGY);
}
