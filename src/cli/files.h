/* cli/files.h: paths, folders and small files, for the commands that keep models on disk. */
#ifndef HD_CLI_FILES_H
#define HD_CLI_FILES_H

#include "base/base.h"
#include "base/dirs.h"
#include "base/text.h"

/* "a/b"; *out is the caller's (hd_free). */
hd_status hd_path_join(char **out, const char *a, const char *b, hd_error *err);

/* The part behind the last "/". */
const char *hd_path_base(const char *path);

/* Whether a name that came from elsewhere may become a path below one of our folders: relative, no "." or "..", no
 * empty part, no backslash or control character (C0, DEL, C1), not hidden, at most 512 bytes. */
bool hd_path_is_safe(const char *relative);

/* Removes a file, or a folder with all that is in it; does not follow links.  What does not exist is fine. */
hd_status hd_tree_remove(const char *path, hd_error *err);

/* Whether nothing of that name is there, which a command would have to replace; HD_E_ARGUMENT. */
hd_status hd_path_check_free(const char *path, hd_error *err);

/* Whether a file can be made in the folder of that path; HD_E_IO says why not. */
hd_status hd_folder_check(const char *path, hd_error *err);

/* Bytes of memory that this process may use in all: the machine's, or its cgroup's limit; 0 when that can't be told. */
uint64_t hd_memory_limit(void);

/* The value of an environment variable, or NULL when it is unset or empty. */
const char *hd_environment(const char *name);

/* $XDG_<name>_HOME/hadal or the fallback below the home folder ("~/.config/hadal"); HD_E_NOT_FOUND when there is no
 * home. */
hd_status hd_xdg_path(char **out, const char *variable, const char *fallback, const char *rest, hd_error *err);

#endif
