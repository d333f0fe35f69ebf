/* cli/report.c: what the program says on standard error: errors, usage, progress. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define HD_PROGRESS_NS 100000000u          /* redraw at most ten times a second */
#define HD_PROGRESS_PATIENCE_NS 400000000u /* short work shows no line */

static bool progress_shown;
static uint64_t progress_start; /* of the work in hand; 0: none */

int hd_cli_fail(const char *command, const hd_error *err)
{
    hd_progress_clear();
    fflush(stdout); /* so that the message comes behind what was printed where both go to one place */
    fprintf(stderr, "hadal: %s: %s\n", command, err->text[0] ? err->text : hd_status_message(err->status));
    return err->status == HD_E_CANCELLED ? HD_EXIT_INTERRUPTED : HD_EXIT_FAILURE;
}

int hd_cli_failf(const char *command, const char *fmt, ...)
{
    hd_error err = {.status = HD_E_IO};
    va_list args;
    va_start(args, fmt);
    vsnprintf(err.text, sizeof err.text, fmt, args);
    va_end(args);
    return hd_cli_fail(command, &err);
}

int hd_cli_usage(const char *command, const char *fmt, ...)
{
    char text[HD_ERROR_TEXT];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    hd_progress_clear();
    if (command)
        fprintf(stderr, "hadal: %s: %s\nTry 'hadal %s --help'.\n", command, text, command);
    else
        fprintf(stderr, "hadal: %s\nTry 'hadal --help'.\n", text);
    return HD_EXIT_USAGE;
}

/* A reader that went away, as `head` does, has what it wanted: no message. */
static bool reader_left(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}

int hd_cli_finish(const char *command, int rc)
{
    bool failed = fflush(stdout) != 0;
    if (ferror(stdout)) failed = true;
    if (!failed) return rc;
    if (!reader_left()) hd_cli_failf(command, "standard output could not be written; is the disk full?");
    return rc == HD_EXIT_OK ? HD_EXIT_FAILURE : rc;
}

void hd_progress_show(const char *what, double fraction)
{
    static uint64_t drawn;
    if (!isatty(STDERR_FILENO)) return;
    uint64_t now = hd_clock_ns();
    if (!progress_start) progress_start = now;
    if (now - progress_start < HD_PROGRESS_PATIENCE_NS || (progress_shown && now - drawn < HD_PROGRESS_NS)) return;
    drawn = now;
    progress_shown = true;
    int done = (int)(HD_MIN(HD_MAX(fraction, 0.0), 1.0) * 24 + 0.5);
    fprintf(stderr, "\r%s [%.*s%*s] %3.0f %%", what, done, "########################", 24 - done, "",
            HD_MIN(HD_MAX(fraction, 0.0), 1.0) * 100);
    fflush(stderr);
}

void hd_progress_clear(void)
{
    progress_start = 0;
    if (!progress_shown) return;
    progress_shown = false;
    fprintf(stderr, "\r%78s\r", "");
    fflush(stderr);
}
