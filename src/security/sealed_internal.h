/* security/sealed_internal.h: sealed files with chunks of another size, for tests: a file of many chunks then has few
 * bytes.
 */
#ifndef HD_SECURITY_SEALED_INTERNAL_H
#define HD_SECURITY_SEALED_INTERNAL_H

#include "security/sealed_file.h"

#define HD_SEALED_HEADER 48
#define HD_SEALED_CHUNK_MIN 16
#define HD_SEALED_CHUNK ((size_t)1 << 20) /* what hd_sealed_writer_open takes, and the most */

/* hd_sealed_writer_open with `chunk` bytes in a chunk, HD_SEALED_CHUNK_MIN to HD_SEALED_CHUNK. */
hd_status hd_sealed_writer_open_chunked(hd_sealed_writer **out, const hd_data_folder *folder, const char *purpose,
                                        hd_str context, const char *path, size_t chunk, hd_error *err);

#endif
