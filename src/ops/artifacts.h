/* ops/artifacts.h: what is written for those who install: units, manifests, charts, images, packages.
 *
 * Everything comes from one description and from this program's own file and libraries, so that the same description
 * and the same program always give the same bytes.  One thread at a time.
 */
#ifndef HD_OPS_ARTIFACTS_H
#define HD_OPS_ARTIFACTS_H

#include "ops/artifact_files.h"
#include "ops/description.h"

typedef struct hd_artifact_target {
    const char *name;    /* "kubernetes" */
    const char *summary; /* one line, lower case */
    hd_status (*make)(const hd_description *d, hd_artifact_files *files, hd_error *err);
} hd_artifact_target;

/* Target `i` of the table, from 0; NULL behind the last one. */
const hd_artifact_target *hd_artifact_target_at(size_t i);
const hd_artifact_target *hd_artifact_target_find(const char *name); /* NULL: none */

/* Makes the files of `target` for a settled description and writes them below `folder`.  `files` receives them, sorted,
 * also on errors; hd_artifact_files_free.  HD_E_IO, HD_E_MEMORY, and what the program's own files give (program.h). */
hd_status hd_artifacts_make(const hd_artifact_target *target, const hd_description *d, const char *folder,
                            hd_artifact_files *files, hd_error *err);

#endif
