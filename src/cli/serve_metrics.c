/* cli/serve_metrics.c: figures of process and machine for the page of `hadal serve`. */
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/serve.h"

/* The folder in which the first model lies; where none can be found, that of all models.  What is wrong with a model is
 * told by whoever loads it. */
static char *folder_of_models(const hd_serve_flags *f)
{
    char name[256], *path = NULL;
    struct stat st;
    hd_error ignored;
    if (hd_model_resolve(hd_serve_split_name(f->models[0], name, sizeof name), &path, &ignored) == HD_OK) {
        char *slash = strrchr(path, '/');
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            if (!slash) memcpy(path, ".", 2); /* a name in this folder */
            if (slash) *slash = '\0';
        }
        return path;
    }
    return hd_models_dir(&path, NULL, &ignored) == HD_OK ? path : NULL;
}

hd_status hd_serve_watch_machine(hd_machine_watch **out, const hd_serve_flags *f, const char *data, hd_error *err)
{
    char *models = folder_of_models(f);
    hd_machine_watch_options o = {.folders = {{"data", data}, {"models", models}}};
    hd_status status = hd_machine_watch_open(out, &o, err);
    hd_free(models);
    return status;
}
