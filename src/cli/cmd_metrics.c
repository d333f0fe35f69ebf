/* cli/cmd_metrics.c: `hadal metrics`: every family of figures that a service shows, and what it means. */
#include <stdio.h>

#include "base/metric_families.h"
#include "cli/cli.h"
#include "cli/options.h"

static const hd_manual manual = {
    .command = "metrics",
    .synopsis = "metrics [--markdown]",
    .description = "Lists the families of figures that GET /metrics of a service may show, for Prometheus: name, type, "
                   "what it says, and its labels.  A family appears on the page when there is something to say: power "
                   "only where the machine tells it, the certificate's end only with TLS.",
    .examples = "hadal metrics\nhadal metrics | grep tokens",
};

int hd_cmd_metrics(int argc, char **argv)
{
    bool markdown = false;
    hd_opt opts[] = {
        {.name = "markdown", .type = HD_OPT_FLAG, .value = &markdown, .help = "As the tables of docs/metrics.md."},
    };
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {.manual = &manual, .groups = &group, .group_count = 1};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    hd_buf text;
    hd_error err;
    hd_buf_init(&text, (size_t)1 << 20);
    if (markdown)
        hd_metrics_write_markdown(&text);
    else
        hd_metrics_write_list(&text);
    if (text.status == HD_OK)
        fputs(text.data, stdout);
    else
        (void)hd_fail(&err, text.status, "no room for the list");
    rc = text.status == HD_OK ? HD_EXIT_OK : hd_cli_fail("metrics", &err);
    hd_buf_free(&text);
    return rc;
}
