/* cli/input.h: what commands read: whole files, lines, lists of token ids.  Everything is capped. */
#ifndef HD_CLI_INPUT_H
#define HD_CLI_INPUT_H

#include <stdio.h>

#include "base/base.h"
#include "tokenizer/tokenizer.h"

#define HD_INPUT_MAX ((size_t)256 << 20) /* bytes of a text or a line; a novel has one MiB */

/* Appends the rest of `in` (called `name` in errors) to `out`.  HD_E_IO, HD_E_LIMIT, HD_E_MEMORY, HD_E_CANCELLED. */
hd_status hd_input_rest(FILE *in, const char *name, hd_buf *out, hd_error *err);

/* The same from a file; "-" is standard input. */
hd_status hd_input_file(const char *path, hd_buf *out, hd_error *err);

/* Replaces `line` by the next line without its newline; *more is false when there was none left. */
hd_status hd_input_line(FILE *in, hd_buf *line, bool *more, hd_error *err);

/* Appends ids from text such as "5,9,12", "5 9 12" or "[5, 9, 12]".  HD_E_ARGUMENT names the place that is wrong. */
hd_status hd_input_ids(const char *text, size_t len, hd_ids *out, hd_error *err);

#endif
