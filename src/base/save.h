/* base/save.h: small files that are there whole or not at all.  Errors of all: HD_E_IO, HD_E_MEMORY. */
#ifndef HD_BASE_SAVE_H
#define HD_BASE_SAVE_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"

/* Writes a file so that after a crash it is there whole or not at all; a link of that name is replaced, not followed.
 */
hd_status hd_file_write(const char *path, const void *data, size_t len, hd_error *err);

/* The same, readable only by its owner: what somebody typed. */
hd_status hd_file_write_private(const char *path, const void *data, size_t len, hd_error *err);

/* Appends a JSON value, indented, as hd_file_write_json writes it; the same is true of NULL and of the reference. */
hd_status hd_json_append(hd_buf *out, json_t *value);

/* hd_file_write of a JSON value, indented.  NULL is HD_E_MEMORY, so that json_pack may be passed as it is; takes the
 * reference. */
hd_status hd_file_write_json(const char *path, json_t *value, hd_error *err);

#endif
