/* ops/artifact_kubernetes.c: manifests and the Helm chart, both from deploy/helm/templates: the chart has the templates
 * as they are, the manifests are what they render to.
 *
 * `kubectl apply -f FOLDER` takes the files of the folder alone: what needs an operator that may not be there, lies in
 * folders of its own, always, whatever the description switches on. */
#include <stdio.h>
#include <string.h>

#include "ops/artifacts_internal.h"

/* A template of something that an operator must know. */
typedef struct extra {
    const char *template, *folder;
    hd_artifact_override on[3]; /* what switches it on */
} extra;

static const extra extras[] = {
    {"scaled-object.yaml", "with-keda", {{"keda", "true"}, {"hpa", "false"}}},
    {"service-monitor.yaml", "with-prometheus-operator", {{"serviceMonitor", "true"}}},
    {"inference-pool.yaml", "with-gateway", {{"inferencePool", "true"}}},
};

static const extra *find_extra(const char *template)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(extras); i++)
        if (strcmp(extras[i].template, template) == 0) return &extras[i];
    return NULL;
}

static hd_status add_templates(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    const char *template;
    for (size_t i = 0; (template = hd_artifact_template_at("helm/templates/", i)); i++) {
        char path[256], name[256];
        const extra *e = find_extra(template);
        snprintf(path, sizeof path, "helm/templates/%s", template);
        snprintf(name, sizeof name, "%s%s%s", e ? e->folder : "", e ? "/" : "", template);
        HD_TRY(hd_artifact_add_rendered(d, files, path, e ? e->on : NULL, name, 0644, err));
    }
    return HD_OK;
}

hd_status hd_artifact_kubernetes(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    const char *template;
    HD_TRY(add_templates(d, files, err));
    for (size_t i = 0; (template = hd_artifact_template_at("kubernetes/", i)); i++) {
        char path[256];
        snprintf(path, sizeof path, "kubernetes/%s", template);
        HD_TRY(hd_artifact_add_rendered(d, files, path, NULL, template, 0644, err));
    }
    return HD_OK;
}

hd_status hd_artifact_helm(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    const char *template;
    HD_TRY(hd_artifact_add_rendered(d, files, "helm/Chart.yaml", NULL, "Chart.yaml", 0644, err));
    HD_TRY(hd_artifact_add_rendered(d, files, "helm/values.yaml", NULL, "values.yaml", 0644, err));
    for (size_t i = 0; (template = hd_artifact_template_at("helm/templates/", i)); i++) {
        char path[256], name[256];
        snprintf(path, sizeof path, "helm/templates/%s", template);
        snprintf(name, sizeof name, "templates/%s", template);
        HD_TRY(hd_artifact_add_verbatim(files, path, name, err));
    }
    return HD_OK;
}
