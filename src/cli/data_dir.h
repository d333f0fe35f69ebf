/* cli/data_dir.h: where a service keeps its state, for `serve` and `key`. */
#ifndef HD_CLI_DATA_DIR_H
#define HD_CLI_DATA_DIR_H

#include "base/base.h"

#define HD_DATA_DIR_INITIAL "~/.local/share/hadal/server" /* how manuals state the default */

/* `flag` (--data), else $HADAL_DATA, else $XDG_DATA_HOME/hadal/server, else ~/.local/share/hadal/server.  The folder
 * need not exist.  *out is the caller's (hd_free).  HD_E_NOT_FOUND: there is no home. */
hd_status hd_data_dir(char **out, const char *flag, hd_error *err);

#endif
