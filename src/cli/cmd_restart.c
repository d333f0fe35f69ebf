/* cli/cmd_restart.c: `hadal restart` and `hadal status`: a supervised service of this machine, by its data folder. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/data_dir.h"
#include "cli/options.h"
#include "ops/supervise.h"

static const hd_manual restart_manual = {
    .command = "restart",
    .synopsis = "restart [--data DIR] [--how HOW] [--no-wait]",
    .description =
        "Changes the worker of a service that `hadal serve --supervise` runs for a new one: of the program's file and "
        "the files that its options name, as they are now.  The new worker loads its models beside the old one, then "
        "takes the socket over, and the old one ends its answers: no stream is cut and no connection refused.  Where "
        "the new one does not become ready, the old one goes on.  Waits for the outcome: exit code 0 when the new "
        "worker serves, else 1.\n"
        "Two workers share mapped weights, but not repacked ones, nor their caches.  Where there is no memory for "
        "both, the old one ends its answers first, and who connects meanwhile waits (--how auto, in-place).",
    .examples = "hadal restart\nhadal restart --data /var/lib/hadal --how in-place",
    .environment = "HADAL_DATA      the data folder, where --data is not given",
    .files = "DIR/supervisor.json   what the supervisor tells of itself",
};

static const hd_manual status_manual = {
    .command = "status",
    .synopsis = "status [--data DIR] [--json]",
    .description =
        "Tells how a service that `hadal serve --supervise` runs is: its processes, its state (ready, loading, waiting "
        "for the next start, restarting, stopping), how many workers have died and been started again, and how the "
        "last hot restart ended.  Exit code 0 when it is ready, 1 when it is not, or does not run.",
    .examples = "hadal status\nhadal status --json | jq .state",
    .environment = "HADAL_DATA      the data folder, where --data is not given",
    .files = "DIR/supervisor.json   what the supervisor tells of itself\n"
             "DIR/crashes/          reports about workers that died, without content",
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* ---- restart ---- */

/* Waits until hot restart `number` has ended; its text goes to `text` [size]. */
static hd_status wait_for(const char *data, json_int_t number, bool *done, char *text, size_t size, hd_error *err)
{
    const struct timespec moment = {.tv_nsec = 100000000};
    for (;;) {
        json_t *state;
        if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "no longer waiting; the restart goes on");
        nanosleep(&moment, NULL);
        HD_TRY(hd_supervise_read_state(&state, data, err));
        const json_t *restart = json_object_get(state, "restart");
        bool over = number_of(restart, "number") >= number && !json_is_true(json_object_get(restart, "under_way"));
        if (over) {
            *done = json_is_true(json_object_get(restart, "done"));
            snprintf(text, size, "%s", text_of(restart, "text"));
        }
        json_decref(state);
        if (over) return HD_OK;
    }
}

static hd_status ask(const char *data, hd_restart_mode mode, json_int_t *number, hd_error *err)
{
    json_t *state;
    HD_TRY(hd_supervise_read_state(&state, data, err));
    *number = number_of(json_object_get(state, "restart"), "number") + 1;
    hd_status status = hd_supervise_ask((long)number_of(state, "pid"), mode, err);
    json_decref(state);
    return status;
}

static hd_status restart(const char *given, hd_restart_mode mode, bool no_wait, bool *done, hd_error *err)
{
    char *data = NULL, text[256] = "";
    json_int_t number;
    HD_TRY(hd_data_dir(&data, given, err));
    hd_status status = ask(data, mode, &number, err);
    *done = no_wait;
    hd_interrupt_catch(NULL, NULL);
    if (status == HD_OK && !no_wait) status = wait_for(data, number, done, text, sizeof text, err);
    hd_interrupt_release();
    hd_text_clean(text);
    if (status == HD_OK && text[0]) fprintf(*done ? stdout : stderr, "%s%s\n", *done ? "" : "hadal: restart: ", text);
    hd_free(data);
    return status;
}

int hd_cmd_restart(int argc, char **argv)
{
    const char *data = NULL, *how = "auto";
    bool no_wait = false, done = false;
    hd_error err;
    hd_opt opts[] = {
        {.name = "data",
         .type = HD_OPT_STRING,
         .value = &data,
         .metavar = "DIR",
         .help = "The data folder of the service.",
         .initial = HD_DATA_DIR_INITIAL},
        {.name = "how",
         .type = HD_OPT_CHOICE,
         .value = &how,
         .choices = "auto|beside|in-place",
         .help = "beside: the new worker loads while the old one serves, or not at all; in-place: the old one ends "
                 "first; auto: beside if there is memory for two."},
        {.name = "no-wait", .type = HD_OPT_FLAG, .value = &no_wait, .help = "Ask for it, and don't wait."},
    };
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {.manual = &restart_manual, .groups = &group, .group_count = 1};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    hd_restart_mode mode = strcmp(how, "beside") == 0     ? HD_RESTART_BESIDE
                           : strcmp(how, "in-place") == 0 ? HD_RESTART_IN_PLACE
                                                          : HD_RESTART_AUTO;
    if (restart(data, mode, no_wait, &done, &err) != HD_OK) return hd_cli_fail("restart", &err);
    return done ? HD_EXIT_OK : HD_EXIT_FAILURE;
}

/* ---- status ---- */

static void print_process(const json_t *state, const char *key, const char *what)
{
    json_int_t pid = number_of(state, key);
    if (pid) printf("%-12s process %lld\n", what, (long long)pid);
}

static void print_status(const json_t *state)
{
    const json_t *last = json_object_get(state, "restart");
    printf("%-12s %s\n", "state", text_of(state, "state"));
    if (*text_of(state, "url")) printf("%-12s %s\n", "address", text_of(state, "url"));
    print_process(state, "pid", "supervisor");
    print_process(state, "worker", "worker");
    print_process(state, "coming", "new worker");
    print_process(state, "leaving", "old worker");
    printf("%-12s %lld\n", "crashes", (long long)number_of(state, "crashes"));
    printf("%-12s %lld\n", "restarts", (long long)number_of(state, "restarts"));
    if (json_is_true(json_object_get(last, "under_way")))
        printf("%-12s under way\n", "restart");
    else if (*text_of(last, "text"))
        printf("%-12s %s\n", "last restart", text_of(last, "text"));
}

static hd_status status_of(const char *given, json_t **state, hd_error *err)
{
    char *data = NULL;
    HD_TRY(hd_data_dir(&data, given, err));
    hd_status status = hd_supervise_read_state(state, data, err);
    hd_free(data);
    return status;
}

static hd_status print_json(json_t *state, hd_error *err)
{
    hd_buf text;
    hd_buf_init(&text, (size_t)64 << 10);
    hd_status status = hd_json_append(&text, json_incref(state));
    if (status == HD_OK)
        fwrite(text.data, 1, text.len, stdout);
    else
        (void)hd_fail(err, status, "out of memory");
    hd_buf_free(&text);
    return status;
}

int hd_cmd_status(int argc, char **argv)
{
    const char *data = NULL;
    bool json = false;
    json_t *state;
    hd_error err;
    hd_opt opts[] = {
        {.name = "data",
         .type = HD_OPT_STRING,
         .value = &data,
         .metavar = "DIR",
         .help = "The data folder of the service.",
         .initial = HD_DATA_DIR_INITIAL},
        {.name = "json", .type = HD_OPT_FLAG, .value = &json, .help = "Print a JSON object."},
    };
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {.manual = &status_manual, .groups = &group, .group_count = 1};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    if (status_of(data, &state, &err) != HD_OK) return hd_cli_fail("status", &err);
    hd_status status = json ? print_json(state, &err) : HD_OK;
    if (!json) print_status(state);
    /* a hot restart does not keep the old worker from serving */
    const char *now = text_of(state, "state");
    bool ready = strcmp(now, "ready") == 0 || (strcmp(now, "restarting") == 0 && number_of(state, "coming"));
    json_decref(state);
    if (status != HD_OK) return hd_cli_fail("status", &err);
    return ready ? HD_EXIT_OK : HD_EXIT_FAILURE;
}
