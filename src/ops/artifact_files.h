/* ops/artifact_files.h: the files of an artifact in memory, and the two ways out: a folder, or a tar archive whose
 * bytes depend on nothing but the files.
 *
 * Every time is 0, every owner a number that the caller gives, every list sorted by path.  One thread at a time.
 */
#ifndef HD_OPS_ARTIFACT_FILES_H
#define HD_OPS_ARTIFACT_FILES_H

#include "base/base.h"

/* Largest artifact: the program with its libraries, several times over. */
#define HD_ARTIFACT_MAX ((size_t)1 << 30)

typedef struct hd_artifact_file {
    char *path; /* relative, no ".." */
    char *data; /* NULL: a folder */
    size_t len;
    unsigned mode;  /* permission bits */
    unsigned owner; /* number of user and group in archives */
} hd_artifact_file;

typedef struct hd_artifact_files {
    hd_artifact_file *items;
    size_t count, room;
} hd_artifact_files; /* zeroed is empty */

void hd_artifact_files_free(hd_artifact_files *files);

/* Adds a file; takes a copy of `data`.  HD_E_MEMORY. */
hd_status hd_artifact_add(hd_artifact_files *files, const char *path, unsigned mode, const void *data, size_t len,
                          hd_error *err);
/* Adds a folder of archives; those above files are made without. */
hd_status hd_artifact_add_folder(hd_artifact_files *files, const char *path, unsigned mode, unsigned owner,
                                 hd_error *err);

/* Sorts by path and adds the folders above, 0755; before a list is written.  Folders that were added stay as they
 * are. */
hd_status hd_artifact_sort(hd_artifact_files *files, hd_error *err);

/* Writes the files below `folder`, which is made; those of the same names are replaced.  HD_E_IO, HD_E_MEMORY. */
hd_status hd_artifact_write(const hd_artifact_files *files, const char *folder, hd_error *err);

/* Appends a tar (pax where a path needs it) of the sorted files, each path behind `prefix` ("" or "x/"). */
hd_status hd_artifact_tar(const hd_artifact_files *files, const char *prefix, hd_buf *out, hd_error *err);

/* Appends `data` compressed by gzip, without name or time. */
hd_status hd_artifact_gzip(const void *data, size_t len, hd_buf *out, hd_error *err);

/* Appends an `ar` archive, as Debian's packages are, of the files in their order. */
hd_status hd_artifact_ar(const hd_artifact_files *files, hd_buf *out, hd_error *err);

/* Appends a cpio archive ("newc") of the sorted files, each path behind `prefix`, as RPM's packages hold. */
hd_status hd_artifact_cpio(const hd_artifact_files *files, const char *prefix, hd_buf *out, hd_error *err);

#endif
