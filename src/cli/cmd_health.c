/* cli/cmd_health.c: `hadal health`: whether the service of this machine lives; what a container asks where there is no
 * other program to ask with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "net/net.h"

static const hd_manual manual = {
    .command = "health",
    .synopsis = "health [--port N] [--ready] [--ca FILE]",
    .description =
        "Asks the service on this machine (127.0.0.1) for /livez: exit code 0 when it lives, 1 when it does not, or "
        "does not answer.  No key is needed.  With --ready it must also take new work: /readyz.\n"
        "With --ca it speaks TLS and trusts that certificate alone; the one of `hadal serve --tls-self-signed` is "
        "DIR/tls/certificate.pem in its data folder.",
    .examples = "hadal health --port 8080\n"
                "hadal health --ready --ca ~/.local/share/hadal/server/tls/certificate.pem",
};

static hd_status ask(int64_t port, bool ready, const char *ca, hd_error *err)
{
    static const char *const hosts[] = {"127.0.0.1", NULL};
    const size_t answer = (size_t)64 << 10; /* a few words of JSON */
    char url[64];
    hd_buf body;
    snprintf(url, sizeof url, "%s://127.0.0.1:%lld/%s", ca ? "https" : "http", (long long)port,
             ready ? "readyz" : "livez");
    const hd_net_rules rules = {.hosts = hosts, .ca_file = ca};
    const hd_http_request request = {
        .url = url, .rules = &rules, .max_bytes = answer, .attempts = 1, .connect_seconds = 5, .stall_seconds = 8};
    hd_buf_init(&body, answer);
    hd_status status = hd_http_fetch(&request, &body, NULL, NULL, err);
    hd_buf_free(&body);
    return status;
}

int hd_cmd_health(int argc, char **argv)
{
    int64_t port = 8080;
    bool ready = false;
    const char *ca = NULL;
    hd_error err = {0};
    hd_opt opts[] = {
        {.name = "port",
         .letter = 'p',
         .type = HD_OPT_INT,
         .value = &port,
         .metavar = "N",
         .min = 1,
         .max = 65535,
         .help = "Port of the service."},
        {.name = "ready", .type = HD_OPT_FLAG, .value = &ready, .help = "It must also take new work."},
        {.name = "ca",
         .type = HD_OPT_STRING,
         .value = &ca,
         .metavar = "FILE",
         .help = "Speak TLS, and trust this certificate.",
         .initial = "no TLS"},
    };
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {.manual = &manual, .groups = &group, .group_count = 1};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    /* This machine is never behind a proxy. */
    if (setenv("no_proxy", "*", 1) != 0) return hd_cli_failf("health", "no memory for the environment");
    return ask(port, ready, ca, &err) == HD_OK ? HD_EXIT_OK : hd_cli_fail("health", &err);
}
