/* cli/main.c: the program's entry: finds the command and calls it. */
#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

/* A standard descriptor that the caller closed would become that of the next file opened: messages would go into it,
 * and it would be read as what the user types.  /dev/null takes its place, opened the wrong way round so that using it
 * still fails.  A descriptor gets the lowest free number, which is `fd`: those below are open by then. */
static bool hold_standard_descriptors(void)
{
    static const int modes[] = {[STDIN_FILENO] = O_WRONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_RDONLY};
    for (int fd = 0; fd < (int)HD_ARRAY_LEN(modes); fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", modes[fd]) != fd) return false;
    return true;
}

/* Terminal editing needs to know what a character is; all our text is UTF-8, whatever the environment says.  Only
 * LC_CTYPE is set: numbers keep their decimal point. */
static void set_utf8(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv)
{
    if (!hold_standard_descriptors()) return HD_EXIT_FAILURE; /* there may be nowhere to say it */
    set_utf8();
    hd_interrupt_install();
    if (argc < 2) {
        hd_cli_overview(stderr);
        return HD_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    if (name[0] == '-') return hd_cli_usage(NULL, "options come after the command; '%s' is not a command", name);
    const hd_command *command = hd_command_find(name);
    if (!command) return hd_cli_unknown_command(name);
    return hd_cli_finish(command->name, command->run(argc - 1, argv + 1));
}
