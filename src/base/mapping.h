/* base/mapping.h: read-only mapped files that survive their file.
 *
 * A mapped file may shrink or its disk may fail while we read it; the kernel then sends SIGBUS.  The first opening
 * installs a handler that puts zeros under the rest of the mapping from the faulting page on and marks the mapping as
 * failed, so that the reader goes on with zeros and the owner (who asks hd_mapping_failed after each step) ends the
 * model, not the process.  Faults elsewhere go to the handler that was there before.
 * Opening and closing are thread-safe; at most HD_MAPPING_MAX are open at once.
 */
#ifndef HD_BASE_MAPPING_H
#define HD_BASE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"

/* V3 ships in 163 files; a few such models at once must fit. */
#define HD_MAPPING_MAX 4096

typedef struct hd_mapping hd_mapping;

/* Maps the whole of a regular file.  An empty file gives size 0 and a valid pointer.
 * Errors: HD_E_NOT_FOUND, HD_E_IO, HD_E_ARGUMENT (not a regular file), HD_E_LIMIT (too many), HD_E_MEMORY. */
hd_status hd_mapping_open(hd_mapping **out, const char *path, hd_error *err);
void hd_mapping_close(hd_mapping **map); /* NULL-safe; views into the mapping end here */

const uint8_t *hd_mapping_data(const hd_mapping *map);
size_t hd_mapping_size(const hd_mapping *map);
const char *hd_mapping_path(const hd_mapping *map);

/* When the file was written last, as of its opening: nanoseconds since 1970. */
int64_t hd_mapping_written_ns(const hd_mapping *map);

/* True once the file was written to or cut since it was opened, or a read of it failed; for good.  Costs one fstat. */
bool hd_mapping_failed(const hd_mapping *map);

/* Tells the kernel that these bytes won't be read again soon: frees their page-cache mapping from our resident set. */
void hd_mapping_drop(const hd_mapping *map, const void *data, size_t len);

#endif
