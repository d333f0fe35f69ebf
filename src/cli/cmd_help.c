/* cli/cmd_help.c: `hadal help`, `hadal version`: what there is, and where to read more. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/options.h"

void hd_cli_overview(FILE *out)
{
    size_t count;
    const hd_command *commands = hd_commands(&count);
    fputs("hadal - run DeepSeek models on your own machine\n\nUsage: hadal COMMAND [ARGUMENTS]\n\nCommands:\n", out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fputs(
        "\n'hadal COMMAND --help' prints a command's manual page.  A MODEL is a file (.gguf, .safetensors, .ckpt, or\n"
        "PyTorch's .bin, .pt, .pth), a folder in the layout of the official releases, or a name that 'hadal models'\n"
        "lists.\n",
        out);
}

int hd_cmd_help(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-') {
        hd_cli_overview(stdout);
        return HD_EXIT_OK;
    }
    const hd_command *command = hd_command_find(argv[1]);
    if (!command || command->run == hd_cmd_help) {
        if (command) hd_cli_overview(stdout);
        return command ? HD_EXIT_OK : hd_cli_unknown_command(argv[1]);
    }
    char *words[] = {argv[1], "--help", NULL};
    return command->run(2, words);
}

int hd_cmd_version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("hadal " HD_VERSION);
    return HD_EXIT_OK;
}

int hd_cli_unknown_command(const char *name)
{
    const char *names[64];
    size_t count, known = 0;
    const hd_command *commands = hd_commands(&count);
    for (size_t i = 0; i < count && known < HD_ARRAY_LEN(names); i++)
        names[known++] = commands[i].name;
    const char *near = hd_suggest(name, names, known);
    if (near) return hd_cli_usage(NULL, "unknown command '%s'; did you mean '%s'?", name, near);
    return hd_cli_usage(NULL, "unknown command '%s'", name);
}
