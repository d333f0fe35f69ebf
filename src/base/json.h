/* base/json.h: JSON in, through jansson, with limits.  Thread-safe. */
#ifndef HD_BASE_JSON_H
#define HD_BASE_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "hadal/status.h"

/* Reads a whole JSON text of `len` bytes.  Duplicate keys are refused, NUL in strings is kept (use json_string_length),
 * numbers that overflow are refused; nesting is capped by jansson (2,048).  *out is owned by the caller (json_decref).
 * Errors: HD_E_FORMAT (the text names line and column), HD_E_MEMORY. */
hd_status hd_json_parse(json_t **out, const char *text, size_t len, hd_error *err);

/* The same from a file of at most `max_bytes`; errors name the file.  HD_E_NOT_FOUND when it does not exist. */
hd_status hd_json_parse_file(json_t **out, const char *path, size_t max_bytes, hd_error *err);

#endif
