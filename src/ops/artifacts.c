/* ops/artifacts.c: the table of targets, the templates of deploy/, and the targets that are templates alone. */
#include "ops/artifacts.h"

#include <stdio.h>
#include <string.h>

#include "deploy_files.h"
#include "ops/artifacts_internal.h"
#include "ops/render.h"

#define TEMPLATE_MAX ((size_t)1 << 20) /* rendered */

/* ---- templates ---- */

static const char *under(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    return strncmp(path, folder, len) == 0 ? path + len : NULL;
}

const char *hd_artifact_template_at(const char *folder, size_t i)
{
    for (size_t k = 0; k < HD_ARRAY_LEN(deploy_files); k++) {
        const char *rest = under(deploy_files[k].path, folder);
        if (rest && i-- == 0) return rest;
    }
    return NULL;
}

static hd_status find_template(const char *path, size_t *at, hd_error *err)
{
    for (*at = 0; *at < HD_ARRAY_LEN(deploy_files); ++*at)
        if (strcmp(deploy_files[*at].path, path) == 0) return HD_OK;
    return hd_fail(err, HD_E_INTERNAL, "the template %s is missing in this program", path);
}

typedef struct values {
    const hd_description *d;
    const hd_artifact_override *overrides;
} values;

/* What templates may ask for: .Values.KEY, and of Helm's own objects the release. */
static const char *value_of(void *arg, const char *path)
{
    const values *v = arg;
    const char *key = under(path, "Values.");
    if (strcmp(path, "Release.Name") == 0) return hd_description_get(v->d, "name");
    if (strcmp(path, "Release.Namespace") == 0) return hd_description_get(v->d, "namespace");
    if (!key) return NULL;
    for (const hd_artifact_override *o = v->overrides; o && o->key; o++)
        if (strcmp(o->key, key) == 0) return o->value;
    return hd_description_get(v->d, key);
}

hd_status hd_artifact_render(const hd_description *d, const char *path, const hd_artifact_override *overrides,
                             hd_buf *out, hd_error *err)
{
    size_t at;
    values v = {d, overrides};
    HD_TRY(find_template(path, &at, err));
    return hd_render(out, path, (const char *)deploy_files[at].data, deploy_files[at].size, value_of, &v, err);
}

static bool is_blank(const hd_buf *text)
{
    return !text->data || text->data[strspn(text->data, " \n")] == '\0';
}

hd_status hd_artifact_add_rendered(const hd_description *d, hd_artifact_files *files, const char *path,
                                   const hd_artifact_override *overrides, const char *name, unsigned mode,
                                   hd_error *err)
{
    hd_buf text;
    hd_buf_init(&text, TEMPLATE_MAX);
    hd_status status = hd_artifact_render(d, path, overrides, &text, err);
    if (status == HD_OK && !is_blank(&text)) {
        size_t blank = strspn(text.data, "\n"); /* of an if in the first line */
        status = hd_artifact_add(files, name, mode, text.data + blank, text.len - blank, err);
    }
    hd_buf_free(&text);
    return status;
}

hd_status hd_artifact_add_verbatim(hd_artifact_files *files, const char *path, const char *name, hd_error *err)
{
    size_t at;
    HD_TRY(find_template(path, &at, err));
    return hd_artifact_add(files, name, 0644, deploy_files[at].data, deploy_files[at].size, err);
}

/* Every template below `folder` ("compose/"), rendered, under its own name. */
static hd_status add_folder(const hd_description *d, hd_artifact_files *files, const char *folder, hd_error *err)
{
    const char *rest;
    for (size_t i = 0; (rest = hd_artifact_template_at(folder, i)); i++) {
        char path[256], name[256];
        snprintf(path, sizeof path, "%s%s", folder, rest);
        /* The unit has the service's name. */
        snprintf(name, sizeof name, "%s", rest);
        if (strcmp(path, "systemd/hadal.service") == 0)
            snprintf(name, sizeof name, "%s.service", hd_description_get(d, "name"));
        HD_TRY(hd_artifact_add_rendered(d, files, path, NULL, name, 0644, err));
    }
    return HD_OK;
}

static hd_status make_systemd(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    return add_folder(d, files, "systemd/", err);
}

static hd_status make_compose(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    return add_folder(d, files, "compose/", err);
}

static hd_status make_dockerfile(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    return add_folder(d, files, "dockerfile/", err);
}

static hd_status make_proxy(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    return add_folder(d, files, "proxy/", err);
}

static hd_status make_nftables(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    return add_folder(d, files, "nftables/", err);
}

static hd_status make_cloud_init(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    return add_folder(d, files, "cloud-init/", err);
}

/* As they are: Grafana has braces of its own. */
static hd_status make_dashboards(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    const char *rest;
    (void)d;
    for (size_t i = 0; (rest = hd_artifact_template_at("dashboards/", i)); i++) {
        char path[256];
        snprintf(path, sizeof path, "dashboards/%s", rest);
        HD_TRY(hd_artifact_add_verbatim(files, path, rest, err));
    }
    return HD_OK;
}

static hd_status make_description(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    hd_buf text;
    hd_buf_init(&text, TEMPLATE_MAX);
    hd_status status = hd_description_write(d, &text);
    if (status != HD_OK) (void)hd_fail(err, status, "no room for the description");
    if (status == HD_OK) status = hd_artifact_add(files, "hadal.yaml", 0644, text.data, text.len, err);
    hd_buf_free(&text);
    return status;
}

/* ---- the table ---- */

static const hd_artifact_target targets[] = {
    {"systemd", "a hardened unit, its user and its folders", make_systemd},
    {"compose", "compose.yaml: one command, the models folder mounted", make_compose},
    {"kubernetes", "manifests: restricted pods, probes, drain, scaling, network policy", hd_artifact_kubernetes},
    {"helm", "the same as a chart, with the description as its values", hd_artifact_helm},
    {"oci", "a container image as an OCI layout, made without an engine", hd_artifact_oci},
    {"deb", "a package for Debian and Ubuntu", hd_artifact_deb},
    {"rpm", "a package for distributions of RPM, with its libraries", hd_artifact_rpm},
    {"tar", "an archive that brings its libraries along, for any distribution", hd_artifact_tarball},
    {"dockerfile", "a Dockerfile, for those who build from the sources", make_dockerfile},
    {"proxy", "examples: nginx, HAProxy, rules of a firewall for HTTP, a jump host", make_proxy},
    {"nftables", "rules of a machine in an isolated network", make_nftables},
    {"cloud-init", "a virtual machine that becomes the service", make_cloud_init},
    {"dashboards", "boards of Grafana for the figures of /metrics: service, engine, machine, door", make_dashboards},
    {"description", "hadal.yaml: every key with its value and what it means", make_description},
};

const hd_artifact_target *hd_artifact_target_at(size_t i)
{
    return i < HD_ARRAY_LEN(targets) ? &targets[i] : NULL;
}

const hd_artifact_target *hd_artifact_target_find(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(targets); i++)
        if (strcmp(targets[i].name, name) == 0) return &targets[i];
    return NULL;
}

hd_status hd_artifacts_make(const hd_artifact_target *target, const hd_description *d, const char *folder,
                            hd_artifact_files *files, hd_error *err)
{
    HD_TRY(target->make(d, files, err));
    HD_TRY(hd_artifact_sort(files, err));
    return hd_artifact_write(files, folder, err);
}
