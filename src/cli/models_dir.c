/* cli/models_dir.c: where models are.  So far a MODEL is a path; the models folder comes with `pull`. */
#include <unistd.h>

#include "cli/cli.h"

hd_status hd_model_resolve(const char *name, char **path, hd_error *err)
{
    *path = NULL;
    if (access(name, F_OK) != 0) return hd_fail(err, HD_E_NOT_FOUND, "%s: there is no such file or folder", name);
    *path = hd_strdup(name);
    return *path ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for the path of a model");
}
