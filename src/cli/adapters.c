/* cli/adapters.c: see adapters.h. */
#include "cli/adapters.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "cli/options.h"

hd_status hd_cli_adapter_words(const char *option, const char *text, char **path, double *scale, hd_error *err)
{
    const char *colon = strrchr(text, ':');
    *scale = 1.0;
    *path = NULL;
    bool scaled = colon && access(text, F_OK) != 0 && hd_parse_f64(colon + 1, scale);
    if (scaled && (!isfinite((float)*scale) || *scale == 0))
        return hd_fail(err, HD_E_ARGUMENT, "--%s: '%s': the scale is no number other than 0", option, text);
    size_t len = scaled ? (size_t)(colon - text) : strlen(text);
    if (!len) return hd_fail(err, HD_E_ARGUMENT, "--%s: '%s' names no adapter; write PATH or PATH:SCALE", option, text);
    *path = hd_strndup(text, len);
    return *path ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for a path");
}
