/* cli/main.c: the program's entry: finds the command and calls it. */
#include <stdio.h>

int main(void)
{
    fputs("hadal: no command is built yet\n", stderr);
    return 2;
}
