/* base/log.h: levelled log lines, as text or as JSON, on standard error or in a file that rotates.
 *
 * Never put prompts, answers or keys in them.  A line is written by one write() and is at most HD_LOG_LINE bytes, so
 * that lines of threads don't mix, in a pipe neither.  What is not valid UTF-8, and every control character, is
 * replaced.  Thread-safe; hd_log_open_file, hd_log_close_file and hd_log_set_format belong to the start and the end of
 * a program.
 */
#ifndef HD_BASE_LOG_H
#define HD_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"

#define HD_LOG_LINE 4096 /* PIPE_BUF of Linux: what write() puts into a pipe as a whole */

typedef enum hd_log_level { HD_LOG_ERROR, HD_LOG_WARN, HD_LOG_INFO, HD_LOG_DEBUG } hd_log_level;
typedef enum hd_log_format { HD_LOG_TEXT, HD_LOG_JSON } hd_log_format;

void hd_log_set_level(hd_log_level level); /* the default is HD_LOG_WARN */
bool hd_log_shows(hd_log_level level);     /* whether lines of that level are written */
void hd_log_set_format(hd_log_format format);
void hd_log(hd_log_level level, const char *fmt, ...) HD_PRINTF(2, 3);

/* What a line says beside its text: in JSON a member of its own, in text "name=value" behind it. */
typedef struct hd_log_field {
    const char *name; /* lower case and '_' */
    enum { HD_LOG_STRING, HD_LOG_INT, HD_LOG_SECONDS } kind;
    const char *text; /* NULL or "": the field is left out */
    int64_t number;   /* negative: left out */
    double seconds;
} hd_log_field;

#define HD_LOG_FIELD_TEXT(n, value) ((hd_log_field){.name = (n), .kind = HD_LOG_STRING, .text = (value)})
#define HD_LOG_FIELD_INT(n, value) ((hd_log_field){.name = (n), .kind = HD_LOG_INT, .number = (value)})
#define HD_LOG_FIELD_SECONDS(n, value) ((hd_log_field){.name = (n), .kind = HD_LOG_SECONDS, .seconds = (value)})

void hd_log_with(hd_log_level level, const hd_log_field *fields, size_t count, const char *fmt, ...) HD_PRINTF(4, 5);

/* From now on lines go to the end of `path`, mode 0640, instead of standard error.  Before a line would take it beyond
 * `size` bytes (0: without limit) it becomes PATH.1, that PATH.2, and so on; the oldest of `keep` is removed.  When a
 * line can't be written it goes to standard error.  Errors: HD_E_IO, HD_E_MEMORY. */
hd_status hd_log_open_file(const char *path, uint64_t size, int keep, hd_error *err);

/* Opens the file anew, which logrotate or a person may have moved away; without one nothing happens.  On an error lines
 * go on to the old one. */
hd_status hd_log_reopen(hd_error *err);
void hd_log_close_file(void);

/* One line as it is written, with its line end, for tests: `out` [HD_LOG_LINE], the length is returned. */
size_t hd_log_write_line(char *out, hd_log_format format, bool dated, hd_log_level level, uint64_t unix_ms,
                         const char *message, const hd_log_field *fields, size_t count);

#endif
