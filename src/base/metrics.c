/* base/metrics.c: counters and histograms for Prometheus. */
#include "base/metrics.h"

#include <math.h>

void hd_histogram_init(hd_histogram *h, const double *bounds, int count)
{
    h->bounds = bounds;
    h->count = count;
    for (int i = 0; i <= HD_HISTOGRAM_BOUNDS; i++)
        atomic_init(&h->buckets[i], 0);
    atomic_init(&h->sum, 0);
}

void hd_histogram_add(hd_histogram *h, double value)
{
    int i = 0;
    while (i < h->count && value > h->bounds[i])
        i++;
    atomic_fetch_add_explicit(&h->buckets[i], 1, memory_order_relaxed);
    double sum = atomic_load_explicit(&h->sum, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&h->sum, &sum, sum + value))
        ;
}

void hd_metrics_family(hd_buf *out, const char *name, const char *type, const char *help)
{
    (void)hd_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Whole numbers without an exponent: counters are read by people too. */
static void write_number(hd_buf *out, double value)
{
    if (value == floor(value) && fabs(value) < 1e15)
        (void)hd_buf_printf(out, "%.0f\n", value);
    else
        (void)hd_buf_printf(out, "%.12g\n", value); /* a time of this century to the hundredth of a second */
}

void hd_metrics_sample(hd_buf *out, const char *name, const char *labels, double value)
{
    if (labels && labels[0])
        (void)hd_buf_printf(out, "%s{%s} ", name, labels);
    else
        (void)hd_buf_printf(out, "%s ", name);
    write_number(out, value);
}

void hd_metrics_histogram(hd_buf *out, const char *name, const char *labels, const hd_histogram *h)
{
    const char *comma = labels && labels[0] ? "," : "";
    if (!labels) labels = "";
    uint64_t total = 0;
    for (int i = 0; i <= h->count; i++) {
        total += atomic_load_explicit(&h->buckets[i], memory_order_relaxed);
        if (i < h->count)
            (void)hd_buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma, h->bounds[i],
                                (unsigned long long)total);
        else
            (void)hd_buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma,
                                (unsigned long long)total);
    }
    const char *open = labels[0] ? "{" : "", *shut = labels[0] ? "}" : "";
    (void)hd_buf_printf(out, "%s_sum%s%s%s ", name, open, labels, shut);
    write_number(out, atomic_load_explicit(&h->sum, memory_order_relaxed));
    (void)hd_buf_printf(out, "%s_count%s%s%s %llu\n", name, open, labels, shut, (unsigned long long)total);
}

void hd_metrics_label(hd_buf *labels, const char *name, const char *value)
{
    (void)hd_buf_printf(labels, "%s%s=\"", labels->len ? "," : "", name);
    for (const char *c = value; *c; c++) {
        if (*c == '\\' || *c == '"') (void)hd_buf_putc(labels, '\\');
        if (*c == '\n')
            (void)hd_buf_puts(labels, "\\n");
        else
            (void)hd_buf_putc(labels, *c);
    }
    (void)hd_buf_putc(labels, '"');
}
