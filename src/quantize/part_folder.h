/* quantize/part_folder.h: folders that grow as PATH.part until they are whole: what lies in one that is there already.
 */
#ifndef HD_QUANTIZE_PART_FOLDER_H
#define HD_QUANTIZE_PART_FOLDER_H

#include "hadal/status.h"

/* Why a file of that name can't be an earlier run's of the same settings ("is none of this command's files"); NULL: it
 * may be. */
typedef const char *hd_part_stranger(const void *arg, const char *name);

/* Makes the folder, or sees that the one that is there is a folder, no link, with nothing else in it than an earlier
 * run's files: whatever lies there gets the final name, too.  Nothing is removed.  Errors: HD_E_IO. */
hd_status hd_part_folder_open(const char *path, hd_part_stranger *stranger, const void *arg, hd_error *err);

#endif
