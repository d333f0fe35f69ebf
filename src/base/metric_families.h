/* base/metric_families.h: every family of figures that the program can show: the one table from which the page is
 * written, `hadal metrics` lists them, and docs/metrics.md is made.
 *
 * A family belongs to vLLM's names (vllm:) where that program has it, to Prometheus' standard ones (process_*), else to
 * ours (hadal:).  Units stand in the names: _seconds, _bytes, _total, _ratio, _celsius, _watts, _joules, _hertz.
 * Labels are bounded: their values come from tables of this program, from the configuration or from the machine, never
 * from what a client says.  Thread-safe: all of it is constant, and a page belongs to its writer.
 */
#ifndef HD_BASE_METRIC_FAMILIES_H
#define HD_BASE_METRIC_FAMILIES_H

#include "base/metrics.h"

#define HD_LM "model_name, engine" /* of a model; two engines behind one name are numbered */

/* X(ID, SECTION, TYPE, name, unit, labels, help).  Sections stand together. */
#define HD_METRIC_FAMILIES(X)                                                                                          \
    HD_METRICS_OF_REQUESTS(X)                                                                                          \
    HD_METRICS_OF_ENGINES(X)                                                                                           \
    HD_METRICS_OF_MODELS(X)                                                                                            \
    HD_METRICS_OF_THE_GATEWAY(X)                                                                                       \
    HD_METRICS_OF_THE_DOOR(X)                                                                                          \
    HD_METRICS_OF_THE_PROCESS(X)                                                                                       \
    HD_METRICS_OF_THE_MACHINE(X)                                                                                       \
    HD_METRICS_OF_THE_CGROUP(X)                                                                                        \
    HD_METRICS_OF_WATCHING(X)

typedef enum hd_metric_type { HD_METRIC_COUNTER, HD_METRIC_GAUGE, HD_METRIC_HISTOGRAM } hd_metric_type;

#include "base/metric_families.inc.h"

#define HD_METRIC_ID(id, section, type, name, unit, labels, help) HD_M_##id,
typedef enum hd_metric { HD_METRIC_FAMILIES(HD_METRIC_ID) HD_METRIC_FAMILY_COUNT } hd_metric;
#undef HD_METRIC_ID

typedef struct hd_metric_family {
    const char *section, *name, *unit, *labels, *help; /* labels: names, with commas between them; empty: none */
    hd_metric_type type;
} hd_metric_family;

/* `metric` is one of the enum; static storage. */
const hd_metric_family *hd_metric_family_of(hd_metric metric);
const char *hd_metric_type_name(hd_metric_type type);

/* ---- the page ---- */

/* Writes families in any order, each at once: the head of a family comes with its first sample, so that a family
 * without samples leaves no trace. */
typedef struct hd_metrics_page {
    hd_buf *out;
    hd_metric last; /* whose samples are being written; HD_METRIC_FAMILY_COUNT: none */
} hd_metrics_page;

/* `out` is the caller's, with its limit, and tells by its status whether all found room. */
hd_metrics_page hd_metrics_page_begin(hd_buf *out);

/* One sample.  `labels` is what stands between the braces, escaped, or NULL.  A value that is no finite number is not
 * written: a gap says the truth, and NaN breaks what is computed with it. */
void hd_metrics_put(hd_metrics_page *page, hd_metric metric, const char *labels, double value);
void hd_metrics_put_histogram(hd_metrics_page *page, hd_metric metric, const char *labels, const hd_histogram *h);

/* The same with one label NAME="value"; `value` must need no escape. */
void hd_metrics_put_by(hd_metrics_page *page, hd_metric metric, const char *name, const char *label, double value);

/* The whole table as Markdown, for docs/metrics.md, or as aligned text.  The buffer's status tells of errors. */
void hd_metrics_write_markdown(hd_buf *out);
void hd_metrics_write_list(hd_buf *out);

#endif
