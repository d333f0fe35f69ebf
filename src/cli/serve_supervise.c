/* cli/serve_supervise.c: `hadal serve --supervise`: its options, and the way to the supervisor (ops/supervise.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/data_dir.h"
#include "cli/files.h"
#include "cli/serve.h"
#include "ops/supervise.h"

hd_opt_group hd_serve_supervise_group(hd_serve_flags *f)
{
    const hd_opt opts[] = {
        {.name = "supervise",
         .type = HD_OPT_FLAG,
         .value = &f->supervise,
         .help = "Serve by a worker that a small second process watches over: when it dies it is started again, with "
                 "a report in DIR/crashes, and `hadal restart` changes it for a new one without a gap."},
        {.name = "watchdog",
         .type = HD_OPT_FLOAT,
         .value = &f->watchdog,
         .metavar = "SECONDS",
         .min = 0,
         .max = 86400,
         .help = "With --supervise: a worker that stands still for so long is ended and started again; a long prompt "
                 "is no standstill.  5 or more, or 0: never."},
        {.name = "handover",
         .type = HD_OPT_FLOAT,
         .value = &f->handover,
         .metavar = "SECONDS",
         .min = 0,
         .max = 604800,
         .help = "With --supervise: how long the former worker may go on with its answers after `hadal restart`."},
    };
    memcpy(f->supervision, opts, sizeof opts);
    _Static_assert(sizeof f->supervision == sizeof opts, "the table has its place");
    return (hd_opt_group){"OPTIONS OF SUPERVISION", f->supervision, HD_ARRAY_LEN(opts)};
}

void hd_serve_supervise_defaults(hd_serve_flags *f)
{
    f->watchdog = 60;
    f->handover = 3600; /* an answer of 4,096 tokens at one a second, and nobody waits for the old one to go */
}

hd_status hd_serve_supervise_check(const hd_serve_flags *f, hd_error *err)
{
    const double least = 5; /* beats come once a second, and a machine under load is late by some */
    if (f->watchdog > 0 && f->watchdog < least)
        return hd_fail(err, HD_E_ARGUMENT, "--watchdog must be 0 (never) or at least %.0f seconds", least);
    return HD_OK;
}

/* The names of models as an operator gave them; of paths the last part, for the rest says where files lie. */
static void list_models(const hd_serve_flags *f, hd_buf *out)
{
    char name[256];
    for (size_t i = 0; i < f->model_count; i++) {
        const char *model = hd_serve_split_name(f->models[i], name, sizeof name), *slash = strrchr(model, '/');
        const char *shown = name[0] ? name : slash && slash[1] ? slash + 1 : model;
        if (hd_buf_printf(out, "%s%s", i ? "," : "", shown) != HD_OK) return;
    }
}

static uint64_t nanoseconds(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

static hd_status supervise(const hd_serve_flags *f, const char *models, int *exit_code, hd_error *err)
{
    hd_systemd systemd;
    char *data = NULL;
    HD_TRY(hd_systemd_open(&systemd, getenv, err));
    HD_TRY(hd_data_dir(&data, f->data, err));
    const hd_supervise_options o = {.data = data,
                                    .host = f->host,
                                    .port = (int)f->port,
                                    .systemd = &systemd,
                                    .environment = environ,
                                    .program = program_invocation_name,
                                    .path = hd_environment("PATH"),
                                    .models = models,
                                    .rules = {.watchdog_ns = nanoseconds(f->watchdog),
                                              .drain_ns = nanoseconds(f->drain),
                                              .handover_ns = nanoseconds(f->handover)},
                                    .memory = hd_memory_limit()};
    hd_status status = hd_supervise(&o, exit_code, err);
    hd_free(data);
    return status;
}

int hd_serve_supervise(const hd_serve_flags *f)
{
    hd_buf models;
    hd_error err;
    int exit_code = HD_EXIT_OK;
    hd_buf_init(&models, 4096);
    list_models(f, &models);
    hd_status status = supervise(f, models.data ? models.data : "", &exit_code, &err);
    hd_buf_free(&models);
    return status == HD_OK ? exit_code : hd_cli_fail("serve", &err);
}
