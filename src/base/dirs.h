/* base/dirs.h: making folders, and the room on their disk.  Thread-safe.  Errors: HD_E_IO, HD_E_MEMORY. */
#ifndef HD_BASE_DIRS_H
#define HD_BASE_DIRS_H

#include <stdint.h>

#include "hadal/status.h"

/* Makes `path` and the folders above it.  What is there already is fine. */
hd_status hd_dirs_make(const char *path, hd_error *err);

/* The same; a folder `path` that is made anew is its owner's alone (0700). */
hd_status hd_dirs_make_private(const char *path, hd_error *err);

/* Makes the folders above the file `path`. */
hd_status hd_dirs_make_above(const char *path, hd_error *err);

/* `path` if it is a folder, else the one that it lies in; the caller's (hd_free); NULL without memory. */
char *hd_folder_of(const char *path);

/* Bytes that this user can still write where `path` is; UINT64_MAX when that can't be told. */
uint64_t hd_disk_free(const char *path);

#endif
