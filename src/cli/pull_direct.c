/* cli/pull_direct.c: one file by its address, and files or folders of this machine, as sources of `pull`; see pull.h.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/pull.h"

/* ---- https:// ---- */

/* The last part of the address's path, decoded. */
static hd_status name_of_url(char *name, size_t size, const char *url, hd_error *err)
{
    char shown[HD_URL_SHOWN];
    hd_url_show(url, shown, sizeof shown);
    const char *base = hd_path_base(shown);
    bool fits = strlen(base) < size && strlen(url) < 4096;
    if (fits) snprintf(name, size, "%s", base);
    if (!fits || !hd_url_decode(name) || !hd_path_is_safe(name) || strchr(name, '/'))
        return hd_fail(err, HD_E_ARGUMENT, "%s: the address must end in the file's name", shown);
    int part, parts;
    (void)hd_gguf_split_name(name, &part, &parts);
    if (parts > 1)
        return hd_fail(err, HD_E_ARGUMENT,
                       "%s: this is one of %d parts; pull them together, as hf:owner/repo:QUANTIZATION", shown, parts);
    if (hd_text_ends_like(name, ".gguf") || hd_text_ends_like(name, ".safetensors") || hd_text_ends_like(name, ".whl"))
        return HD_OK;
    return hd_fail(err, HD_E_ARGUMENT, "%s: a .gguf, .safetensors or .whl file is wanted", shown);
}

hd_status hd_pull_plan_url(hd_pull_plan *plan, const hd_pull_settings *settings, const char *url, hd_error *err)
{
    char name[256], address[HD_PULL_ADDRESS];
    HD_TRY(name_of_url(name, sizeof name, url, err));
    plan->hosts[0] = "*"; /* the user names the address; release pages send on to their stores */
    hd_net_rules rules = hd_pull_rules(settings, plan->hosts);
    HD_TRY(hd_net_check_url(&rules, url, err));
    HD_TRY(hd_pull_address(address, url, err));
    HD_TRY(hd_pull_set(&plan->source, err, "%s", address));
    HD_TRY(hd_pull_set(&plan->name, err, "%.*s", (int)(strrchr(name, '.') - name), name));
    plan->archive = hd_text_ends_like(name, ".whl");
    return hd_pull_plan_add(plan, name, url, NULL, NULL, err);
}

/* ---- file: ---- */

static hd_status add_local(hd_pull_plan *plan, const char *folder, const char *name, hd_error *err)
{
    char *full = NULL;
    struct stat st;
    HD_TRY(hd_path_join(&full, folder, name, err));
    hd_status status = HD_OK;
    if (stat(full, &st) != 0)
        status = hd_fail(err, HD_E_IO, "%s: %s", full, strerror(errno));
    else if (S_ISREG(st.st_mode)) {
        uint64_t size = (uint64_t)st.st_size;
        status = hd_pull_plan_add(plan, name, full, &size, NULL, err);
    }
    hd_free(full);
    return status;
}

static hd_status add_folder(hd_pull_plan *plan, const char *folder, hd_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir) return hd_fail(err, HD_E_IO, "%s: cannot read this folder: %s", folder, strerror(errno));
    hd_status status = HD_OK;
    for (struct dirent *entry; status == HD_OK && (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && hd_pull_is_model_file(entry->d_name))
            status = add_local(plan, folder, entry->d_name, err);
    closedir(dir);
    return status;
}

/* A file, or all parts of a split GGUF, which lie in one folder. */
static hd_status plan_file(hd_pull_plan *plan, const char *path, uint64_t size, hd_error *err)
{
    int part, parts;
    const char *base = hd_path_base(path), *dot = strrchr(base, '.');
    plan->archive = hd_text_ends_like(base, ".whl");
    if (!dot || (!hd_text_ends_like(base, ".gguf") && !hd_text_ends_like(base, ".safetensors") && !plan->archive))
        return hd_fail(err, HD_E_ARGUMENT, "file:%s: a .gguf, .safetensors or .whl file, or a folder, is wanted", path);
    (void)hd_gguf_split_name(base, &part, &parts);
    if (parts == 1) {
        HD_TRY(hd_pull_set(&plan->name, err, "%.*s", (int)(dot - base), base));
        return hd_pull_plan_add(plan, base, path, &size, NULL, err);
    }
    char *folder = NULL;
    HD_TRY(hd_pull_set(&folder, err, "%.*s", base == path ? 1 : (int)(base - path), base == path ? "." : path));
    hd_status status = add_folder(plan, folder, err);
    if (status == HD_OK) status = hd_pull_select(plan, base, err);
    hd_free(folder);
    return status;
}

hd_status hd_pull_plan_local(hd_pull_plan *plan, const char *path, bool list_all, hd_error *err)
{
    struct stat st;
    char *copy = NULL;
    if (strncmp(path, "//", 2) == 0) path += 2; /* file:///path, the form of addresses */
    plan->local = true;
    if (stat(path, &st) != 0)
        return hd_fail(err, errno == ENOENT ? HD_E_NOT_FOUND : HD_E_IO, "file:%s: %s", path, strerror(errno));
    HD_TRY(hd_pull_set(&copy, err, "%s", path));
    size_t len = strlen(copy);
    while (len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    hd_status status = hd_pull_set(&plan->source, err, "file:%s", copy);
    if (status == HD_OK && S_ISDIR(st.st_mode)) {
        status = hd_pull_set(&plan->name, err, "%s", hd_path_base(copy));
        if (status == HD_OK) status = add_folder(plan, copy, err);
        if (status == HD_OK && !list_all) status = hd_pull_select(plan, NULL, err);
    } else if (status == HD_OK)
        status = plan_file(plan, copy, (uint64_t)st.st_size, err);
    hd_free(copy);
    return status;
}
