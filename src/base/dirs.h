/* base/dirs.h: making folders.  Thread-safe.  Errors: HD_E_IO, HD_E_MEMORY. */
#ifndef HD_BASE_DIRS_H
#define HD_BASE_DIRS_H

#include "hadal/status.h"

/* Makes `path` and the folders above it.  What is there already is fine. */
hd_status hd_dirs_make(const char *path, hd_error *err);

/* The same; a folder `path` that is made anew is its owner's alone (0700). */
hd_status hd_dirs_make_private(const char *path, hd_error *err);

/* Makes the folders above the file `path`. */
hd_status hd_dirs_make_above(const char *path, hd_error *err);

#endif
