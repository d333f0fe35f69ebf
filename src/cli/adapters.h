/* cli/adapters.h: adapters on command lines: PATH[:SCALE], where a scale is a number behind the last colon. */
#ifndef HD_CLI_ADAPTERS_H
#define HD_CLI_ADAPTERS_H

#include "hadal/status.h"

/* Takes the words of option `option` apart; *path is the caller's (hd_free), *scale is 1 where none is given.  A text
 * that is the name of something that is there has no scale.  HD_E_ARGUMENT, HD_E_MEMORY. */
hd_status hd_cli_adapter_words(const char *option, const char *text, char **path, double *scale, hd_error *err);

#endif
