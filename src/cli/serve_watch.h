/* cli/serve_watch.h: what `hadal serve` tells of itself: the options of logs and traces. */
#ifndef HD_CLI_SERVE_WATCH_H
#define HD_CLI_SERVE_WATCH_H

#include "base/span.h"
#include "cli/options.h"
#include "ops/otlp.h"

typedef struct hd_serve_watch {
    const char *log; /* level */
    const char *log_format, *log_file;
    int64_t log_size; /* MiB; 0: without limit */
    int64_t log_keep;
    const char *endpoint; /* of --otlp-endpoint */
    double sample;        /* negative: not given */
    bool content;
    hd_opt opts[8];
    hd_otlp_settings settings;
    hd_otlp *exporter; /* NULL: no traces */
} hd_serve_watch;

/* Sets the defaults and fills the table; `watch` must stay where it is while the group is used. */
hd_opt_group hd_serve_watch_group(hd_serve_watch *watch);

/* HD_E_ARGUMENT: options that make no sense together. */
hd_status hd_serve_watch_check(const hd_serve_watch *watch, hd_error *err);

/* Level, format and file of logs.  Errors of the file. */
hd_status hd_serve_watch_open(const hd_serve_watch *watch, hd_error *err);

/* Begins to send traces, where an option or the environment says where to.  After signals are blocked, for it starts a
 * thread.  Errors: those of ops/otlp.h. */
hd_status hd_serve_watch_trace(hd_serve_watch *watch, hd_error *err);

/* Where the service's spans go; NULL: nowhere. */
const hd_span_sink *hd_serve_watch_spans(const hd_serve_watch *watch);

/* SIGHUP: the log file is opened anew. */
void hd_serve_watch_reopen(const hd_serve_watch *watch);

/* Whether standard error is for people, not a log that programs read. */
bool hd_serve_watch_is_for_people(const hd_serve_watch *watch);

/* As hd_cli_fail for a service: in its log, too, and there alone where standard error is read by programs. */
int hd_serve_watch_fail(const hd_serve_watch *watch, const hd_error *err);

/* Sends the spans that wait, for some seconds at most, and closes the log file. */
void hd_serve_watch_close(hd_serve_watch *watch);

#endif
