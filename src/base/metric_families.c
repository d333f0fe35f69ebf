/* base/metric_families.c: the table of families, and pages and lists written from it. */
#include "base/metric_families.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ROW(id, section, type, name, unit, labels, help) {section, name, unit, labels, help, HD_METRIC_##type},
static const hd_metric_family families[] = {HD_METRIC_FAMILIES(ROW)};
#undef ROW

const hd_metric_family *hd_metric_family_of(hd_metric metric)
{
    return &families[metric];
}

const char *hd_metric_type_name(hd_metric_type type)
{
    static const char *const names[] = {
        [HD_METRIC_COUNTER] = "counter", [HD_METRIC_GAUGE] = "gauge", [HD_METRIC_HISTOGRAM] = "histogram"};
    return names[type];
}

/* ---- the page ---- */

hd_metrics_page hd_metrics_page_begin(hd_buf *out)
{
    return (hd_metrics_page){out, HD_METRIC_FAMILY_COUNT};
}

static const char *head(hd_metrics_page *page, hd_metric metric)
{
    const hd_metric_family *f = &families[metric];
    if (page->last != metric) hd_metrics_family(page->out, f->name, hd_metric_type_name(f->type), f->help);
    page->last = metric;
    return f->name;
}

void hd_metrics_put(hd_metrics_page *page, hd_metric metric, const char *labels, double value)
{
    if (!isfinite(value)) return;
    hd_metrics_sample(page->out, head(page, metric), labels, value);
}

void hd_metrics_put_histogram(hd_metrics_page *page, hd_metric metric, const char *labels, const hd_histogram *h)
{
    hd_metrics_histogram(page->out, head(page, metric), labels, h);
}

void hd_metrics_put_by(hd_metrics_page *page, hd_metric metric, const char *name, const char *label, double value)
{
    char labels[128];
    snprintf(labels, sizeof labels, "%s=\"%s\"", name, label);
    hd_metrics_put(page, metric, labels, value);
}

/* ---- lists ---- */

void hd_metrics_write_markdown(hd_buf *out)
{
    const char *section = "";
    for (int i = 0; i < HD_METRIC_FAMILY_COUNT; i++) {
        const hd_metric_family *f = &families[i];
        if (strcmp(section, f->section) != 0)
            (void)hd_buf_printf(out,
                                "%s### %s\n\n| family | type | unit | labels | what it says |\n|---|---|---|---|---|\n",
                                i ? "\n" : "", f->section);
        section = f->section;
        (void)hd_buf_printf(out, "| `%s` | %s | %s | %s | %s |\n", f->name, hd_metric_type_name(f->type), f->unit,
                            f->labels, f->help);
    }
}

void hd_metrics_write_list(hd_buf *out)
{
    const char *section = "";
    for (int i = 0; i < HD_METRIC_FAMILY_COUNT; i++) {
        const hd_metric_family *f = &families[i];
        if (strcmp(section, f->section) != 0) (void)hd_buf_printf(out, "%s%s\n", i ? "\n" : "", f->section);
        section = f->section;
        (void)hd_buf_printf(out, "  %-48s %-10s %s%s%s%s\n", f->name, hd_metric_type_name(f->type), f->help,
                            f->labels[0] ? " [" : "", f->labels, f->labels[0] ? "]" : "");
    }
}
