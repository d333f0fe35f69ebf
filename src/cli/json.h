/* cli/json.h: JSON as commands read and print it. */
#ifndef HD_CLI_JSON_H
#define HD_CLI_JSON_H

#include <stdio.h>

#include "base/base.h"

/* Reads standard input, one JSON value a line, and calls `answer` for each, which prints one line; empty lines are
 * skipped.  Output is flushed after each line, so that a program may converse with us.  Stops at the first error, whose
 * text then names the line, and, with HD_OK, when standard output takes no more: hd_cli_finish reports that. */
hd_status hd_json_lines(hd_status (*answer)(void *arg, const json_t *value, hd_error *err), void *arg, hd_error *err);

/* Prints one JSON string and a newline.  Bytes that are not UTF-8 become U+FFFD. */
hd_status hd_json_print_string(FILE *out, const char *text, size_t len, hd_error *err);

/* Prints a value and a newline, and drops the reference; NULL is HD_E_MEMORY.  `pretty` indents.  HD_OK also when `out`
 * takes no more: ferror(out) tells, and hd_cli_finish reports it. */
hd_status hd_json_print(FILE *out, json_t *value, bool pretty, hd_error *err);

/* The bytes of a value on one line.  `out` is initialized here, also after an error. */
hd_status hd_json_dump(const json_t *value, hd_buf *out, hd_error *err);

/* A number, or null where it is not finite: JSON has no infinity and no NaN. */
json_t *hd_json_real(double value);

/* A JSON string of any bytes: those that are not UTF-8 become U+FFFD.  NULL without memory. */
json_t *hd_json_text(const char *text, size_t len);

#endif
