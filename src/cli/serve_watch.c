/* cli/serve_watch.c: see serve_watch.h. */
#include "cli/serve_watch.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"
#include "net/net.h"

hd_opt_group hd_serve_watch_group(hd_serve_watch *w)
{
    *w = (hd_serve_watch){.log = "info", .log_format = "text", .log_size = 64, .log_keep = 5, .sample = -1};
    const hd_opt opts[] = {
        {.name = "log",
         .type = HD_OPT_CHOICE,
         .value = &w->log,
         .choices = "error|warn|info|debug",
         .help = "What is told; never prompts, answers or keys.  info has a line for each request but those of health "
                 "and metrics, which debug has."},
        {.name = "log-format",
         .type = HD_OPT_CHOICE,
         .value = &w->log_format,
         .choices = "text|json",
         .help = "Lines for people, or one JSON object a line: time, level, message, and fields such as request_id."},
        {.name = "log-file",
         .type = HD_OPT_STRING,
         .value = &w->log_file,
         .metavar = "PATH",
         .help = "Write the log to this file; SIGHUP opens it anew.",
         .initial = "standard error"},
        {.name = "log-size",
         .type = HD_OPT_INT,
         .value = &w->log_size,
         .metavar = "MIB",
         .min = 0,
         .max = 1 << 20,
         .help = "Begin a new log file before it grows beyond this; the old one becomes PATH.1.  0: never, something "
                 "else rotates."},
        {.name = "log-keep",
         .type = HD_OPT_INT,
         .value = &w->log_keep,
         .metavar = "N",
         .min = 0,
         .max = 999,
         .help = "Old log files to keep."},
        {.name = "otlp-endpoint",
         .type = HD_OPT_STRING,
         .value = &w->endpoint,
         .metavar = "URL",
         .help = "Send traces to this collector by OTLP/HTTP, such as http://localhost:4318; /v1/traces is added.",
         .initial = "OTEL_EXPORTER_OTLP_ENDPOINT, else none"},
        {.name = "trace-sample",
         .type = HD_OPT_FLOAT,
         .value = &w->sample,
         .metavar = "SHARE",
         .min = 0,
         .max = 1,
         .help = "The share of requests that are traced, 0 to 1, of those that bring no traceparent which says.",
         .initial = "OTEL_TRACES_SAMPLER, else 1"},
        {.name = "trace-content",
         .type = HD_OPT_FLAG,
         .value = &w->content,
         .help = "Put prompts and answers into traces, for all to read who read these.  Off, they stay here."},
    };
    memcpy(w->opts, opts, sizeof opts);
    _Static_assert(sizeof w->opts == sizeof opts, "the table has its place");
    return (hd_opt_group){"OPTIONS OF LOGS AND TRACES", w->opts, HD_ARRAY_LEN(opts)};
}

hd_status hd_serve_watch_check(const hd_serve_watch *w, hd_error *err)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(w->opts); i++) {
        const hd_opt *o = &w->opts[i];
        bool of_file = strcmp(o->name, "log-size") == 0 || strcmp(o->name, "log-keep") == 0;
        if (of_file && o->given && !w->log_file)
            return hd_fail(err, HD_E_ARGUMENT, "--%s is about the file of --log-file, which is not given", o->name);
    }
    return HD_OK;
}

static hd_log_level level_of(const char *name)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0) return (hd_log_level)i;
    return HD_LOG_INFO;
}

static bool is_json(const hd_serve_watch *w)
{
    return strcmp(w->log_format, "json") == 0;
}

hd_status hd_serve_watch_open(const hd_serve_watch *w, hd_error *err)
{
    hd_log_set_level(level_of(w->log));
    hd_log_set_format(is_json(w) ? HD_LOG_JSON : HD_LOG_TEXT);
    if (!w->log_file) return HD_OK;
    return hd_log_open_file(w->log_file, (uint64_t)w->log_size << 20, (int)w->log_keep, err);
}

hd_status hd_serve_watch_trace(hd_serve_watch *w, hd_error *err)
{
    const hd_otlp_wishes wishes = {.endpoint = w->endpoint, .ratio = w->sample, .content = w->content};
    char shown[HD_URL_SHOWN];
    HD_TRY(hd_otlp_settings_read(&w->settings, &wishes, getenv, err));
    if (!w->settings.url && (w->content || w->sample >= 0))
        return hd_fail(err, HD_E_ARGUMENT, "--trace-content and --trace-sample need a collector: --otlp-endpoint URL");
    if (!w->settings.url) return HD_OK;
    HD_TRY(hd_otlp_open(&w->exporter, &w->settings, HD_VERSION, err));
    hd_url_show(w->settings.url, shown, sizeof shown);
    hd_log(HD_LOG_INFO, "traces go to %s", shown);
    if (w->content)
        hd_log(HD_LOG_WARN, "traces hold prompts and answers (--trace-content): all who can read them at %s see these",
               shown);
    else if (hd_otlp_is_exposed(w->settings.url))
        hd_log(HD_LOG_WARN, "traces travel unencrypted to %s: they hold no prompts, but names of models and keys",
               shown);
    return HD_OK;
}

const hd_span_sink *hd_serve_watch_spans(const hd_serve_watch *w)
{
    return w->exporter ? hd_otlp_sink(w->exporter) : NULL;
}

void hd_serve_watch_reopen(const hd_serve_watch *w)
{
    hd_error err;
    if (w->log_file && hd_log_reopen(&err) != HD_OK) hd_log(HD_LOG_ERROR, "the log goes on where it was: %s", err.text);
}

bool hd_serve_watch_is_for_people(const hd_serve_watch *w)
{
    return !is_json(w) || w->log_file;
}

int hd_serve_watch_fail(const hd_serve_watch *w, const hd_error *err)
{
    if (w->log_file || is_json(w)) hd_log(HD_LOG_ERROR, "serve: %s", err->text);
    if (hd_serve_watch_is_for_people(w)) return hd_cli_fail("serve", err);
    return err->status == HD_E_CANCELLED ? HD_EXIT_INTERRUPTED : HD_EXIT_FAILURE;
}

void hd_serve_watch_close(hd_serve_watch *w)
{
    const uint32_t flush_ms = 3000; /* the units of `hadal artifacts` wait 5 s longer than --drain */
    hd_otlp_close(&w->exporter, flush_ms);
    hd_otlp_settings_free(&w->settings);
    hd_log_close_file();
}
