/* base/temporary.h: the new file beside another one that it will replace.
 *
 * Who replaces a file writes its content to such a one and renames it, so that after a crash the old or the new content
 * is there whole.
 */
#ifndef HD_BASE_TEMPORARY_H
#define HD_BASE_TEMPORARY_H

#include "base/buf.h"

/* Makes a new file "PATH.PROCESS-COUNTER.tmp" with `mode` less the umask, opened for writing.  Never opens what is
 * there already, nor follows a link: other writers, and what a killed one left, are stepped around.  Its name goes into
 * *name, which the caller initialized; the caller closes it and renames or unlinks it.  -1: errno says why. */
int hd_temporary_open(const char *path, unsigned mode, hd_buf *name);

#endif
