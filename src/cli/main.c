/* cli/main.c: the program's entry: finds the command and calls it. */
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Terminal editing needs to know what a character is; all our text is UTF-8, whatever the environment says.  Only
 * LC_CTYPE is set: numbers keep their decimal point. */
static void set_utf8(void)
{
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv)
{
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
