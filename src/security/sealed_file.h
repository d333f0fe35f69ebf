/* security/sealed_file.h: files that only this data folder can read, and only as they were written.
 *
 * The format stands in docs/security.md: chunks under AES-256-GCM, each bound to its number, to whether it is the last,
 * to the file (by a random salt), to the caller's `purpose` and `context`, and to the folder's secret.  A file that was
 * cut, extended, stitched or swapped is HD_E_CHECKSUM. A reader gives the bytes of a chunk once that chunk is
 * authentic; that the file is whole is known when read has given *got == 0.  Until then, do nothing that can't be
 * undone.
 *
 * `purpose` is a constant of the calling code ("prefix cache"); `context` says what the content belongs to (the model's
 * hash, the tier), any bytes up to 64 KiB; both must be the same when reading, neither is stored.
 * A writer or reader belongs to one thread.  Errors: HD_E_IO, HD_E_MEMORY, and those named below.
 */
#ifndef HD_SECURITY_SEALED_FILE_H
#define HD_SECURITY_SEALED_FILE_H

#include "base/buf.h"
#include "security/data_folder.h"

typedef struct hd_sealed_writer hd_sealed_writer;
typedef struct hd_sealed_reader hd_sealed_reader;

#define HD_SEALED_CONTEXT ((size_t)64 << 10) /* most bytes of a context; more is HD_E_LIMIT */
#define HD_SEALED_PURPOSE 64                 /* most bytes of a purpose */

/* The file `path` appears at commit, whole and on disk, with mode 0600, and replaces what was there; closed without
 * commit, nothing stays.  After an error every further call but close fails.  `folder` is needed only by open. */
hd_status hd_sealed_writer_open(hd_sealed_writer **out, const hd_data_folder *folder, const char *purpose,
                                hd_str context, const char *path, hd_error *err);
hd_status hd_sealed_writer_write(hd_sealed_writer *writer, const void *data, size_t len, hd_error *err);
hd_status hd_sealed_writer_commit(hd_sealed_writer *writer, hd_error *err); /* then only close is left */
void hd_sealed_writer_close(hd_sealed_writer **writer);                     /* NULL-safe */

/* HD_E_NOT_FOUND; HD_E_FORMAT: no sealed file; HD_E_UNSUPPORTED: of a newer program; HD_E_CHECKSUM: cut. */
hd_status hd_sealed_reader_open(hd_sealed_reader **out, const hd_data_folder *folder, const char *purpose,
                                hd_str context, const char *path, hd_error *err);

/* Bytes in all, by the file's size: not authenticated before the end was read. */
uint64_t hd_sealed_reader_size(const hd_sealed_reader *reader);

/* Up to `len` (> 0) bytes; *got is 0 at the end.  HD_E_CHECKSUM: damaged, or of another folder, purpose or context; so
 * are all later reads. */
hd_status hd_sealed_reader_read(hd_sealed_reader *reader, void *out, size_t len, size_t *got, hd_error *err);
void hd_sealed_reader_close(hd_sealed_reader **reader); /* NULL-safe */

#endif
