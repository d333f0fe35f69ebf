/* ops/artifacts_internal.h: what the targets share: templates, and the functions that make each. */
#ifndef HD_OPS_ARTIFACTS_INTERNAL_H
#define HD_OPS_ARTIFACTS_INTERNAL_H

#include "ops/artifacts.h"
#include "ops/program.h"

/* A value that stands in for the description's while a template is rendered. */
typedef struct hd_artifact_override {
    const char *key, *value;
} hd_artifact_override;

/* Appends template `path` (below deploy/) with the description's values; `overrides` ends with a NULL key, or is
 * NULL. */
hd_status hd_artifact_render(const hd_description *d, const char *path, const hd_artifact_override *overrides,
                             hd_buf *out, hd_error *err);

/* Adds template `path` rendered, as the file `name`; nothing when it renders to white space. */
hd_status hd_artifact_add_rendered(const hd_description *d, hd_artifact_files *files, const char *path,
                                   const hd_artifact_override *overrides, const char *name, unsigned mode,
                                   hd_error *err);

/* The path of template `i` of those below `folder` ("helm/templates/"), without that; NULL behind the last one. */
const char *hd_artifact_template_at(const char *folder, size_t i);

/* Adds a template as it is. */
hd_status hd_artifact_add_verbatim(hd_artifact_files *files, const char *path, const char *name, hd_error *err);

/* Adds the program with its loader and libraries below `prefix` ("" or "x/"), and what starts it with those. */
hd_status hd_artifact_program_tree(const hd_description *d, const hd_program *program, hd_artifact_files *files,
                                   const char *prefix, hd_error *err);

/* Adds what a package brings beside the program: unit, user, folders, options, README. */
hd_status hd_artifact_system_files(const hd_description *d, hd_artifact_files *files, hd_error *err);

hd_status hd_artifact_oci(const hd_description *d, hd_artifact_files *files, hd_error *err);
hd_status hd_artifact_tarball(const hd_description *d, hd_artifact_files *files, hd_error *err);
hd_status hd_artifact_deb(const hd_description *d, hd_artifact_files *files, hd_error *err);
hd_status hd_artifact_rpm(const hd_description *d, hd_artifact_files *files, hd_error *err);
hd_status hd_artifact_kubernetes(const hd_description *d, hd_artifact_files *files, hd_error *err);
hd_status hd_artifact_helm(const hd_description *d, hd_artifact_files *files, hd_error *err);

#endif
