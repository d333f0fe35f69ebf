/* cli/pull_hub.c: the two model hubs as sources of `pull`; see pull.h.
 *
 * Both list a repository's files with sizes and, for large ones, their SHA-256.  A revision that moves (a branch) is
 * replaced by the commit it stands for, where the hub tells it, so that all files are of one state.
 */
#include <string.h>

#include "cli/files.h"
#include "cli/pull.h"

/* "owner/repo[@revision][:file or quantization]" */
typedef struct hub_spec {
    char repo[200];
    char revision[128];
    const char *wanted; /* points into the text; NULL: none */
} hub_spec;

static bool is_repo_name(const char *repo)
{
    const char *slash = strchr(repo, '/');
    if (!slash || slash == repo || !slash[1] || strchr(slash + 1, '/') || strstr(repo, "..")) return false;
    return strspn(repo, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./") == strlen(repo);
}

static hd_status read_spec(hub_spec *spec, const char *text, const char *default_revision, hd_error *err)
{
    size_t repo_len = strcspn(text, "@:"), revision_len = 0;
    const char *rest = text + repo_len;
    if (*rest == '@') {
        revision_len = strcspn(rest + 1, ":");
        if (revision_len == 0 || revision_len >= sizeof spec->revision)
            return hd_fail(err, HD_E_ARGUMENT, "%s: the revision behind \"@\" is empty or too long", text);
        snprintf(spec->revision, sizeof spec->revision, "%.*s", (int)revision_len, rest + 1);
        rest += 1 + revision_len;
    } else
        snprintf(spec->revision, sizeof spec->revision, "%s", default_revision);
    spec->wanted = *rest == ':' && rest[1] ? rest + 1 : NULL;
    if (repo_len >= sizeof spec->repo) return hd_fail(err, HD_E_ARGUMENT, "%s: too long", text);
    snprintf(spec->repo, sizeof spec->repo, "%.*s", (int)repo_len, text);
    if (is_repo_name(spec->repo)) return HD_OK;
    return hd_fail(err, HD_E_ARGUMENT,
                   "%s: a repository is written owner/name, with \":file\" or \":Q4_K_M\" behind it", text);
}

/* Base, repository, revision and path, each encoded. */
static hd_status file_url(hd_buf *url, const char *base, const hub_spec *spec, const char *path, hd_error *err)
{
    hd_buf_clear(url);
    (void)hd_buf_printf(url, "%s/%s/resolve/", base, spec->repo); /* sticky: checked by the last */
    (void)hd_url_encode(url, spec->revision, "");
    (void)hd_buf_putc(url, '/');
    hd_status status = hd_url_encode(url, path, "/");
    return status == HD_OK ? HD_OK : hd_fail(err, status, "%s: the address is too long", path);
}

/* After the listing: keep one model, name the plan and its source. */
static hd_status finish(hd_pull_plan *plan, const char *scheme, const hub_spec *spec, bool list_all, hd_error *err)
{
    HD_TRY(hd_pull_set(&plan->source, err, "%s:%s@%s%s%s", scheme, spec->repo, spec->revision, spec->wanted ? ":" : "",
                       spec->wanted ? spec->wanted : ""));
    HD_TRY(hd_pull_set(&plan->name, err, "%s", strchr(spec->repo, '/') + 1));
    if (list_all) return HD_OK;
    hd_status status = hd_pull_select(plan, spec->wanted, err);
    return status == HD_OK ? HD_OK : hd_fail_in(err, status, "%s:%s", scheme, spec->repo);
}

/* Hidden files (.gitattributes) are no part of a model.  A path that would lead out of the folder is not skipped: it is
 * an attack, and hd_pull_plan_add refuses it. */
static bool skip_path(const char *path)
{
    if (!path || strcmp(path, "pulled.json") == 0) return true;
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (part[0] == '.' && part[1] && part[1] != '.' && part[1] != '/') return true;
    }
    return false;
}

static hd_status add_file(hd_pull_plan *plan, const char *base, const hub_spec *spec, const char *path,
                          const json_t *size, const char *sha256, hd_error *err)
{
    if (skip_path(path)) return HD_OK;
    hd_buf url;
    hd_buf_init(&url, 4096);
    uint64_t bytes = json_is_integer(size) && json_integer_value(size) >= 0 ? (uint64_t)json_integer_value(size) : 0;
    hd_status status = file_url(&url, base, spec, path, err);
    if (status == HD_OK)
        status = hd_pull_plan_add(plan, path, url.data, json_is_integer(size) ? &bytes : NULL, sha256, err);
    hd_buf_free(&url);
    return status;
}

/* ---- Hugging Face, and mirrors that speak its interface: GET /api/models/REPO/revision/REV?blobs=true ---- */

static hd_status read_hf(hd_pull_plan *plan, const hd_pull_settings *settings, hub_spec *spec, const json_t *root,
                         hd_error *err)
{
    const json_t *siblings = json_object_get(root, "siblings"),
                 *licence = json_object_get(json_object_get(root, "cardData"), "license");
    const char *commit = json_string_value(json_object_get(root, "sha"));
    if (!json_is_array(siblings))
        return hd_fail(err, HD_E_FORMAT, "hf:%s: the hub's answer lists no files", spec->repo);
    if (commit && strlen(commit) == 40) snprintf(spec->revision, sizeof spec->revision, "%s", commit);
    if (json_is_string(licence)) HD_TRY(hd_pull_set(&plan->licence, err, "%s", json_string_value(licence)));
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        const json_t *file = json_array_get(siblings, i), *lfs = json_object_get(file, "lfs");
        HD_TRY(add_file(plan, settings->hf, spec, json_string_value(json_object_get(file, "rfilename")),
                        json_object_get(file, "size"), json_string_value(json_object_get(lfs, "sha256")), err));
    }
    return HD_OK;
}

hd_status hd_pull_plan_hf(hd_pull_plan *plan, const hd_pull_settings *settings, const char *text, bool list_all,
                          hd_error *err)
{
    static const char *const hosts[] = {"huggingface.co", "*.huggingface.co",
                                        "*.hf.co"}; /* large files come from the latter */
    hub_spec spec;
    HD_TRY(read_spec(&spec, text, "main", err));
    for (size_t i = 0; i < HD_ARRAY_LEN(hosts); i++)
        plan->hosts[i] = hosts[i];
    if (settings->hf_mirror) plan->hosts[0] = "*"; /* the user's own choice, and where it sends us is its own */
    plan->bearer = settings->hf_token;

    hd_buf url;
    hd_buf_init(&url, 4096);
    (void)hd_buf_printf(&url, "%s/api/models/%s/revision/", settings->hf, spec.repo); /* sticky */
    (void)hd_url_encode(&url, spec.revision, "");
    json_t *root = NULL;
    hd_status status = hd_buf_puts(&url, "?blobs=true");
    status = status == HD_OK ? hd_pull_get_json(&root, settings, plan, url.data, err)
                             : hd_fail(err, status, "address too long");
    hd_buf_free(&url);
    if (status == HD_E_NOT_FOUND)
        status = hd_fail_in(err, status, "hf:%s: no such repository or revision, or a private one", spec.repo);
    if (status == HD_OK) status = read_hf(plan, settings, &spec, root, err);
    if (status == HD_OK) status = finish(plan, "hf", &spec, list_all, err);
    json_decref(root);
    return status;
}

/* ---- ModelScope: GET /api/v1/models/REPO/repo/files?Revision=REV&Recursive=true ---- */

static hd_status read_ms(hd_pull_plan *plan, const char *base, const hub_spec *spec, const json_t *root, hd_error *err)
{
    const json_t *files = json_object_get(json_object_get(root, "Data"), "Files");
    const char *message = json_string_value(json_object_get(root, "Message"));
    if (!json_is_array(files))
        return hd_fail(err, HD_E_NOT_FOUND, "ms:%s: the hub lists no files: %s", spec->repo,
                       message ? message : "no reason given");
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *file = json_array_get(files, i);
        const char *type = json_string_value(json_object_get(file, "Type"));
        if (type && strcmp(type, "blob") != 0) continue;
        HD_TRY(add_file(plan, base, spec, json_string_value(json_object_get(file, "Path")),
                        json_object_get(file, "Size"), json_string_value(json_object_get(file, "Sha256")), err));
    }
    return HD_OK;
}

hd_status hd_pull_plan_ms(hd_pull_plan *plan, const hd_pull_settings *settings, const char *text, bool list_all,
                          hd_error *err)
{
    static const char *const hosts[] = {"modelscope.cn", "*.modelscope.cn",
                                        "*.aliyuncs.com"}; /* large files: the latter */
    hub_spec spec;
    HD_TRY(read_spec(&spec, text, "master", err));
    for (size_t i = 0; i < HD_ARRAY_LEN(hosts); i++)
        plan->hosts[i] = hosts[i];
    if (settings->ms_mirror) plan->hosts[0] = "*";
    plan->bearer = settings->ms_token;

    hd_buf url, base;
    hd_buf_init(&url, 4096);
    hd_buf_init(&base, 2048);
    (void)hd_buf_printf(&url, "%s/api/v1/models/%s/repo/files?Recursive=true&Revision=", settings->ms,
                        spec.repo); /* sticky */
    json_t *root = NULL;
    hd_status status = hd_url_encode(&url, spec.revision, "");
    if (status == HD_OK) status = hd_buf_printf(&base, "%s/models", settings->ms);
    status = status == HD_OK ? hd_pull_get_json(&root, settings, plan, url.data, err)
                             : hd_fail(err, status, "address too long");
    if (status == HD_E_NOT_FOUND)
        status = hd_fail_in(err, status, "ms:%s: no such repository or revision, or a private one", spec.repo);
    if (status == HD_OK) status = read_ms(plan, base.data, &spec, root, err);
    if (status == HD_OK) status = finish(plan, "ms", &spec, list_all, err);
    json_decref(root);
    hd_buf_free(&url);
    hd_buf_free(&base);
    return status;
}
