/* cli/pull_s3.c: S3 and what speaks like it as a source of `pull`; see pull.h.  A key with the ending of a weights file
 * is one object, anything else a prefix, of which the listing is asked. */
#include <string.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/pull.h"

#define MAX_LISTING_BYTES (8u << 20) /* a page has at most 1,000 objects */

typedef struct s3_spec {
    char bucket[64];
    const char *key; /* points into the text */
} s3_spec;

static hd_status read_spec(s3_spec *spec, const char *text, hd_error *err)
{
    size_t len = strcspn(text, "/");
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
    if (len < 3 || len >= sizeof spec->bucket || strspn(text, allowed) < len || strstr(text, "..") == text)
        return hd_fail(err, HD_E_ARGUMENT,
                       "s3://%s: written s3://bucket/key; a bucket's name has 3 to 63 of a-z, 0-9, '.' and '-'", text);
    snprintf(spec->bucket, sizeof spec->bucket, "%.*s", (int)len, text);
    spec->key = text[len] ? text + len + 1 : "";
    return HD_OK;
}

/* The bucket's address, without a "/" at the end: by host name at AWS, by path at other endpoints and for names with
 * dots, which a wildcard certificate does not cover. */
static hd_status bucket_url(hd_buf *url, const hd_pull_settings *settings, const s3_spec *spec)
{
    if (settings->s3_endpoint) return hd_buf_printf(url, "%s/%s", settings->s3_endpoint, spec->bucket);
    if (strchr(spec->bucket, '.'))
        return hd_buf_printf(url, "https://s3.%s.amazonaws.com/%s", settings->s3.region, spec->bucket);
    return hd_buf_printf(url, "https://%s.s3.%s.amazonaws.com", spec->bucket, settings->s3.region);
}

static hd_status object_url(hd_buf *url, const hd_pull_settings *settings, const s3_spec *spec, const char *key,
                            hd_error *err)
{
    hd_buf_clear(url);
    (void)bucket_url(url, settings, spec); /* sticky: checked by the last */
    (void)hd_buf_putc(url, '/');
    hd_status status = hd_url_encode(url, key, "/");
    return status == HD_OK ? HD_OK : hd_fail(err, status, "s3://%s/%s: the address is too long", spec->bucket, key);
}

static hd_status list_page(hd_s3_list *list, const hd_pull_settings *settings, const hd_pull_plan *plan,
                           const s3_spec *spec, const char *prefix, hd_error *err)
{
    hd_buf url, body;
    hd_buf_init(&url, 16384);
    hd_buf_init(&body, MAX_LISTING_BYTES);
    (void)bucket_url(&url, settings, spec); /* sticky */
    (void)hd_buf_puts(&url, "/?encoding-type=url&list-type=2&prefix=");
    (void)hd_url_encode(&url, prefix, "");
    if (list->next) {
        (void)hd_buf_puts(&url, "&continuation-token=");
        (void)hd_url_encode(&url, list->next, "");
    }
    hd_net_rules rules = hd_pull_rules(settings, plan->hosts);
    hd_http_request request = {.url = url.data, .rules = &rules, .s3 = &settings->s3};
    hd_status status = url.status;
    if (status == HD_OK) status = hd_http_fetch(&request, &body, hd_interrupted, NULL, err);
    if (status == HD_OK) status = hd_s3_list_parse(list, body.data ? body.data : "", body.len, err);
    hd_buf_free(&url);
    hd_buf_free(&body);
    return status;
}

/* Objects right below the prefix or in folders below it; "folders" themselves (keys that end in "/") are none. */
static hd_status add_objects(hd_pull_plan *plan, const hd_pull_settings *settings, const s3_spec *spec,
                             const hd_s3_list *list, size_t prefix_len, hd_error *err)
{
    hd_buf url;
    hd_buf_init(&url, 16384);
    hd_status status = HD_OK;
    for (size_t i = 0; status == HD_OK && i < list->count; i++) {
        const char *key = list->objects[i].key, *path = strlen(key) > prefix_len ? key + prefix_len : "";
        if (!*path || path[0] == '.' || strstr(path, "/.") || path[strlen(path) - 1] == '/') continue;
        status = object_url(&url, settings, spec, key, err);
        if (status == HD_OK) status = hd_pull_plan_add(plan, path, url.data, &list->objects[i].size, NULL, err);
    }
    hd_buf_free(&url);
    return status;
}

static hd_status plan_prefix(hd_pull_plan *plan, const hd_pull_settings *settings, const s3_spec *spec, bool list_all,
                             hd_error *err)
{
    hd_buf prefix;
    hd_buf_init(&prefix, 2048);
    size_t len = strlen(spec->key);
    bool slash = len == 0 || spec->key[len - 1] == '/';
    hd_status status = hd_buf_printf(&prefix, "%s%s", spec->key, slash ? "" : "/");
    hd_s3_list list = {0};
    do {
        if (status == HD_OK) status = list_page(&list, settings, plan, spec, prefix.data, err);
    } while (status == HD_OK && list.next);
    if (status == HD_OK) status = add_objects(plan, settings, spec, &list, prefix.len, err);
    if (status == HD_OK && plan->count == 0)
        status = hd_fail(err, HD_E_NOT_FOUND, "s3://%s/%s: nothing is there", spec->bucket, prefix.data);
    if (status == HD_OK && prefix.len) {
        prefix.data[prefix.len - 1] = '\0';
        status = hd_pull_set(&plan->name, err, "%s", hd_path_base(prefix.data));
    } else if (status == HD_OK)
        status = hd_pull_set(&plan->name, err, "%s", spec->bucket);
    if (status == HD_OK && !list_all) status = hd_pull_select(plan, NULL, err);
    hd_s3_list_free(&list);
    hd_buf_free(&prefix);
    return status;
}

static hd_status plan_object(hd_pull_plan *plan, const hd_pull_settings *settings, const s3_spec *spec, hd_error *err)
{
    hd_buf url;
    hd_buf_init(&url, 16384);
    const char *base = hd_path_base(spec->key);
    hd_status status = object_url(&url, settings, spec, spec->key, err);
    if (status == HD_OK) status = hd_pull_plan_add(plan, base, url.data, NULL, NULL, err);
    if (status == HD_OK) status = hd_pull_set(&plan->name, err, "%.*s", (int)(strrchr(base, '.') - base), base);
    hd_buf_free(&url);
    return status;
}

hd_status hd_pull_plan_s3(hd_pull_plan *plan, const hd_pull_settings *settings, const char *text, bool list_all,
                          hd_error *err)
{
    s3_spec spec;
    HD_TRY(read_spec(&spec, text, err));
    plan->s3 = &settings->s3;
    plan->hosts[0] = "*.amazonaws.com";
    if (settings->s3_endpoint) {
        HD_TRY(hd_url_host(settings->s3_endpoint, plan->host, sizeof plan->host, err));
        plan->hosts[0] = plan->host;
    }
    HD_TRY(hd_pull_set(&plan->source, err, "s3://%s", text));
    bool object = hd_text_ends_like(spec.key, ".gguf") || hd_text_ends_like(spec.key, ".safetensors");
    return object ? plan_object(plan, settings, &spec, err) : plan_prefix(plan, settings, &spec, list_all, err);
}
