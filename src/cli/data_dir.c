/* cli/data_dir.c: see data_dir.h. */
#include "cli/data_dir.h"

#include "cli/files.h"

hd_status hd_data_dir(char **out, const char *flag, hd_error *err)
{
    *out = NULL;
    const char *set = flag && *flag ? flag : hd_environment("HADAL_DATA");
    if (set) {
        *out = hd_strdup(set);
        return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for a path");
    }
    hd_status status = hd_xdg_path(out, "XDG_DATA_HOME", ".local/share", "hadal/server", err);
    return status == HD_OK ? HD_OK
                           : hd_fail_in(err, status, "the data folder is not known (--data or HADAL_DATA sets it)");
}
