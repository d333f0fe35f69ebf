/* cli/terminal.h: writing text of models to a terminal or a pipe. */
#ifndef HD_CLI_TERMINAL_H
#define HD_CLI_TERMINAL_H

#include <stdio.h>

#include "base/base.h"

/* Whether `out` is a terminal that shows dim text and colours (TERM is not dumb, NO_COLOR is not set). */
bool hd_terminal_styled(FILE *out);

/* Whether standard input and output are a terminal on which a line can be edited (TERM is set and not dumb). */
bool hd_terminal_editable(void);

/* Whether `out` is a terminal at all. */
bool hd_terminal_is(FILE *out);

/* Writes text that we did not make ourselves.  On a terminal, control characters other than newline and tab are shown
 * as ^X, so that no text of a model or a file can steer the terminal.  Whole characters only. */
void hd_terminal_write(FILE *out, const char *data, size_t len);

/* Writes a name, a source, a line that we did not make ourselves, padded with spaces to `width` bytes.  Unlike
 * hd_terminal_write to pipes too, and no line end gets through (hd_text_clean): one line stays one line. */
void hd_terminal_name(FILE *out, const char *text, int width);

/* Dim text from here on, and back; nothing where hd_terminal_styled is false. */
void hd_terminal_dim(FILE *out, bool on);

/* Path of a file for the program's state (history, the model used last): in $XDG_STATE_HOME/hadal, else
 * ~/.local/state/hadal, which is made when absent.  *path is freed with hd_free.  HD_E_NOT_FOUND: no home; HD_E_IO. */
hd_status hd_state_path(const char *file, char **path, hd_error *err);

#endif
