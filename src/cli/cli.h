/* cli/cli.h: what the commands of the program share: the command table, exit codes, errors, interrupts, progress.
 *
 * Each command is one file cmd_<name>.c with `int hd_cmd_<name>(int argc, char **argv)`; argv[0] is the command's name
 * and the result is the exit code.  Results go to stdout; everything said about them goes to stderr.
 */
#ifndef HD_CLI_H
#define HD_CLI_H

#include <stdio.h>

#include "base/base.h"

enum {
    HD_EXIT_OK = 0,
    HD_EXIT_FAILURE = 1,
    HD_EXIT_USAGE = 2,
    HD_EXIT_HANGUP = 129,
    HD_EXIT_INTERRUPTED = 130,
    HD_EXIT_TERMINATED = 143
};

/* ---- commands (commands.c) ---- */

typedef struct hd_command {
    const char *name;
    const char *summary; /* one line, lower case, no full stop */
    int (*run)(int argc, char **argv);
} hd_command;

const hd_command *hd_command_find(const char *name); /* NULL: none */
const hd_command *hd_commands(size_t *count);

void hd_cli_overview(FILE *out);              /* what `hadal --help` prints */
int hd_cli_unknown_command(const char *name); /* says so, with the nearest name; returns 2 */

int hd_cmd_artifacts(int argc, char **argv);
int hd_cmd_bench(int argc, char **argv);
int hd_cmd_chat(int argc, char **argv);
int hd_cmd_eval(int argc, char **argv);
int hd_cmd_health(int argc, char **argv);
int hd_cmd_help(int argc, char **argv);
int hd_cmd_inspect(int argc, char **argv);
int hd_cmd_key(int argc, char **argv);
int hd_cmd_metrics(int argc, char **argv);
int hd_cmd_models(int argc, char **argv);
int hd_cmd_plan(int argc, char **argv);
int hd_cmd_prompt(int argc, char **argv);
int hd_cmd_pull(int argc, char **argv);
int hd_cmd_quantize(int argc, char **argv);
int hd_cmd_convert(int argc, char **argv);
int hd_cmd_restart(int argc, char **argv);
int hd_cmd_run(int argc, char **argv);
int hd_cmd_serve(int argc, char **argv);
int hd_cmd_status(int argc, char **argv);
int hd_cmd_tokenize(int argc, char **argv);
int hd_cmd_version(int argc, char **argv);

/* ---- where models are (models_dir.c) ---- */

/* The path of MODEL: a file or folder that exists, or a name in the models folder.  *path is freed with hd_free.
 * HD_E_NOT_FOUND says where was looked and how to fetch it. */
hd_status hd_model_resolve(const char *name, char **path, hd_error *err);

/* ---- errors (report.c) ---- */

/* Prints `hadal: COMMAND: text` to stderr and returns the exit code: 1, or 130 for HD_E_CANCELLED. */
int hd_cli_fail(const char *command, const hd_error *err);
int hd_cli_failf(const char *command, const char *fmt, ...) HD_PRINTF(2, 3); /* always 1 */

/* The same for wrong usage, followed by where to find help; returns 2.  `command` NULL: of the program itself. */
int hd_cli_usage(const char *command, const char *fmt, ...) HD_PRINTF(2, 3);

/* Flushes stdout: the exit code `rc`, or 1 with a message when what was printed could not be written.  main calls
 * this once, after every command. */
int hd_cli_finish(const char *command, int rc);

/* ---- progress (report.c) ---- */

/* A line on stderr that is drawn anew, when stderr is a terminal; else nothing.  `fraction` 0 to 1; at most ten times a
 * second, and not for work of less than 0.4 s.  hd_progress_clear takes the line away. */
void hd_progress_show(const char *what, double fraction);
void hd_progress_clear(void);

/* ---- Ctrl-C (interrupt.c) ---- */

/* Until a command asks for it, Ctrl-C and SIGTERM end the program at once with exit code 130, SIGHUP with 129.  From
 * hd_interrupt_catch on the first one sets a flag and calls `cancel` (async-signal-safe, e.g. hd_engine_cancel; may be
 * NULL); a second Ctrl-C before hd_interrupt_reset, or a second SIGTERM, still ends the program at once.
 * hd_interrupt_release goes back; call it before `arg` dies. */
typedef void (*hd_cancel_fn)(void *arg);
void hd_interrupt_install(void);
void hd_interrupt_catch(hd_cancel_fn cancel, void *arg);
void hd_interrupt_release(void);
bool hd_interrupted(void);
void hd_interrupt_reset(void); /* forgets Ctrl-C; SIGTERM and SIGHUP stay */

/* The exit code of a command that may outlive Ctrl-C: 143 after SIGTERM, 129 after SIGHUP, which ask it to end; else 0.
 */
int hd_interrupt_ending(void);

/* Waits until a read of `fd` will not block; false when a signal came first, be it ever so shortly before the call. */
bool hd_interrupt_wait(int fd);

#endif
