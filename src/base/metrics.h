/* base/metrics.h: counters and histograms, and the text format in which Prometheus reads them.
 *
 * Counting is lock-free and thread-safe.  The format: prometheus.io/docs/instrumenting/exposition_formats, version
 * 0.0.4.
 */
#ifndef HD_BASE_METRICS_H
#define HD_BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"

#define HD_HISTOGRAM_BOUNDS 32

/* `bounds` are upper ends of buckets, ascending, at most HD_HISTOGRAM_BOUNDS; the last bucket is without end. */
typedef struct hd_histogram {
    const double *bounds;
    int count; /* of bounds */
    _Atomic uint64_t buckets[HD_HISTOGRAM_BOUNDS + 1];
    _Atomic double sum;
} hd_histogram;

void hd_histogram_init(hd_histogram *h, const double *bounds, int count);
void hd_histogram_add(hd_histogram *h, double value);

/* ---- the page ---- */

/* "# HELP" and "# TYPE" of a family; its samples follow.  `type` is "counter", "gauge" or "histogram". */
void hd_metrics_family(hd_buf *out, const char *name, const char *type, const char *help);

/* One sample.  `labels` is what stands between the braces, escaped, or NULL. */
void hd_metrics_sample(hd_buf *out, const char *name, const char *labels, double value);
void hd_metrics_histogram(hd_buf *out, const char *name, const char *labels, const hd_histogram *h);

/* Appends name="value" to `labels`, with a comma before it unless it is the first; escapes the value. */
void hd_metrics_label(hd_buf *labels, const char *name, const char *value);

#endif
