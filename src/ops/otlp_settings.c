/* ops/otlp_settings.c: what OpenTelemetry's environment and the command line say of traces. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/net.h"
#include "ops/otlp.h"

#define PATH "/v1/traces"

/* The specification's defaults of the batch processor and the exporter. */
#define DEFAULT_DELAY_MS 5000
#define DEFAULT_TIMEOUT_MS 10000
#define DEFAULT_QUEUE 2048
#define DEFAULT_BATCH 512

typedef char *(*reader)(const char *name);

/* An empty variable is as none: so says the specification. */
static const char *read_variable(reader get, const char *name)
{
    const char *value = get(name);
    return value && value[0] ? value : NULL;
}

/* That of traces goes before that of all signals. */
static const char *read_either(reader get, const char *of_traces, const char *of_all, const char **name)
{
    const char *value = read_variable(get, of_traces);
    *name = value ? of_traces : of_all;
    return value ? value : read_variable(get, of_all);
}

static hd_status read_number(reader get, const char *name, uint64_t initial, uint64_t most, uint64_t *out,
                             hd_error *err)
{
    const char *text = read_variable(get, name);
    char *end;
    *out = initial;
    if (!text) return HD_OK;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[strspn(text, "0123456789")] || errno || value == 0 || value > most)
        return hd_fail(err, HD_E_ARGUMENT, "%s must be a number from 1 to %llu", name, (unsigned long long)most);
    *out = value;
    return HD_OK;
}

/* ---- the address ---- */

static bool ends_with_path(const char *url)
{
    size_t len = strlen(url);
    while (len && url[len - 1] == '/')
        len--;
    return len > strlen(PATH) && strncmp(url + len - strlen(PATH), PATH, strlen(PATH)) == 0;
}

/* To a base address the path of traces is added; a person may have written it already. */
static hd_status set_url(hd_otlp_settings *s, const char *name, const char *given, bool whole, hd_error *err)
{
    hd_buf url;
    hd_error why;
    char host[256], shown[HD_URL_SHOWN];
    hd_url_show(given, shown, sizeof shown);
    if (hd_url_host(given, host, sizeof host, &why) != HD_OK)
        return hd_fail(err, HD_E_ARGUMENT, "%s: %s", name, why.text);
    if (strpbrk(given, "?#") && !whole)
        return hd_fail(err, HD_E_ARGUMENT, "%s: %s: an address to which " PATH " is added has no ? and no #", name,
                       shown);
    size_t len = strlen(given);
    bool add = !whole && !ends_with_path(given);
    while (add && len && given[len - 1] == '/')
        len--;
    hd_buf_init(&url, 4096);
    (void)hd_buf_append(&url, given, len);
    if (add) (void)hd_buf_puts(&url, PATH);
    if (url.status != HD_OK) {
        hd_status status = url.status;
        hd_buf_free(&url);
        return hd_fail(err, status, "%s: the address is too long", name);
    }
    s->url = url.data;
    return HD_OK;
}

static bool is_off(reader get)
{
    const char *disabled = read_variable(get, "OTEL_SDK_DISABLED");
    const char *exporter = read_variable(get, "OTEL_TRACES_EXPORTER");
    return (disabled && strcasecmp(disabled, "true") == 0) || (exporter && strcmp(exporter, "none") == 0);
}

static hd_status read_endpoint(hd_otlp_settings *s, const char *flag, reader get, hd_error *err)
{
    const char *url;
    if (flag) return set_url(s, "--otlp-endpoint", flag, false, err);
    if (is_off(get)) return HD_OK;
    if ((url = read_variable(get, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")))
        return set_url(s, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url, true, err);
    if ((url = read_variable(get, "OTEL_EXPORTER_OTLP_ENDPOINT")))
        return set_url(s, "OTEL_EXPORTER_OTLP_ENDPOINT", url, false, err);
    return HD_OK;
}

/* What the environment asks for and is not there is refused, so that nobody waits for traces that never come. */
static hd_status check_protocol(reader get, hd_error *err)
{
    const char *name;
    const char *protocol = read_either(get, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL", &name);
    if (!protocol || strcmp(protocol, "http/protobuf") == 0) return HD_OK;
    return hd_fail(err, HD_E_ARGUMENT,
                   "%s is %.32s: traces are sent by http/protobuf only; unset it, and give the collector's HTTP port, "
                   "mostly 4318",
                   name, protocol);
}

bool hd_otlp_is_exposed(const char *url)
{
    hd_error err;
    char host[256];
    if (hd_url_host(url, host, sizeof host, &err) != HD_OK) return true;
    const char *const hosts[] = {host, NULL};
    const hd_net_rules rules = {.hosts = hosts}; /* http to loopback only */
    return hd_net_check_url(&rules, url, &err) != HD_OK;
}

/* ---- name=value,name=value ---- */

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        text[--len] = '\0';
    return text;
}

/* Values are percent-encoded, as in W3C Baggage.  Messages show no value: a header may be a secret. */
static hd_status read_pairs(hd_otlp_pairs *out, const char *name, const char *text, hd_error *err)
{
    static const char token[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    char *rest = out->text = hd_strdup(text);
    if (!rest) return hd_fail(err, HD_E_MEMORY, "out of memory for %s", name);
    out->size = strlen(rest);
    for (char *item; (item = strsep(&rest, ","));) {
        item = trim(item);
        if (!item[0]) continue;
        char *sign = strchr(item, '=');
        if (!sign) return hd_fail(err, HD_E_ARGUMENT, "%s: not name=value, separated by commas", name);
        *sign = '\0';
        char *key = trim(item), *value = trim(sign + 1);
        if (!key[0] || key[strspn(key, token)] || !hd_url_decode(value) || strpbrk(value, "\r\n"))
            return hd_fail(err, HD_E_ARGUMENT, "%s: item %zu is malformed: percent-encode what is no letter or digit",
                           name, out->count + 1);
        if (out->count == HD_OTLP_PAIRS) return hd_fail(err, HD_E_LIMIT, "%s: more than %d items", name, HD_OTLP_PAIRS);
        out->names[out->count] = key;
        out->values[out->count++] = value;
    }
    return HD_OK;
}

static hd_status read_lists(hd_otlp_settings *s, reader get, hd_error *err)
{
    const char *name;
    const char *headers = read_either(get, "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", &name);
    if (headers) HD_TRY(read_pairs(&s->headers, name, headers, err));
    const char *resource = read_variable(get, "OTEL_RESOURCE_ATTRIBUTES");
    if (resource) HD_TRY(read_pairs(&s->resource, "OTEL_RESOURCE_ATTRIBUTES", resource, err));
    s->service = read_variable(get, "OTEL_SERVICE_NAME");
    for (size_t i = 0; i < s->resource.count && !s->service; i++)
        if (strcmp(s->resource.names[i], "service.name") == 0) s->service = s->resource.values[i];
    if (!s->service) s->service = "hadal";
    return HD_OK;
}

/* ---- sampling ---- */

static hd_status read_ratio(reader get, double *out, hd_error *err)
{
    const char *text = read_variable(get, "OTEL_TRACES_SAMPLER_ARG");
    char *end;
    *out = 1;
    if (!text) return HD_OK;
    *out = strtod(text, &end);
    if (*end || !(*out >= 0 && *out <= 1))
        return hd_fail(err, HD_E_ARGUMENT, "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1");
    return HD_OK;
}

static hd_status read_sampler(hd_sampler *out, double given, reader get, hd_error *err)
{
    static const char prefix[] = "parentbased_";
    double ratio = 1;
    *out = (hd_sampler){.follows_parent = true, .ratio = given >= 0 ? given : 1};
    const char *text = read_variable(get, "OTEL_TRACES_SAMPLER");
    if (given >= 0 || !text) return HD_OK;
    out->follows_parent = strncmp(text, prefix, sizeof prefix - 1) == 0;
    const char *root = text + (out->follows_parent ? sizeof prefix - 1 : 0);
    if (strcmp(root, "always_off") == 0)
        ratio = 0;
    else if (strcmp(root, "traceidratio") == 0)
        HD_TRY(read_ratio(get, &ratio, err));
    else if (strcmp(root, "always_on") != 0)
        return hd_fail(err, HD_E_ARGUMENT,
                       "OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, or one of these behind "
                       "parentbased_");
    out->ratio = ratio;
    return HD_OK;
}

/* ---- all ---- */

static hd_status read_numbers(hd_otlp_settings *s, reader get, hd_error *err)
{
    uint64_t delay, timeout, queue, batch;
    const char *name;
    (void)read_either(get, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT", &name);
    HD_TRY(read_number(get, name, DEFAULT_TIMEOUT_MS, 600000, &timeout, err));
    HD_TRY(read_number(get, "OTEL_BSP_SCHEDULE_DELAY", DEFAULT_DELAY_MS, 600000, &delay, err));
    HD_TRY(read_number(get, "OTEL_BSP_MAX_QUEUE_SIZE", DEFAULT_QUEUE, 1000000, &queue, err));
    HD_TRY(read_number(get, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", HD_MIN(DEFAULT_BATCH, queue), 1000000, &batch, err));
    s->timeout_ms = (uint32_t)timeout;
    s->delay_ms = (uint32_t)delay;
    s->queue = (size_t)queue;
    s->batch = (size_t)HD_MIN(batch, queue);
    return HD_OK;
}

hd_status hd_otlp_settings_read(hd_otlp_settings *s, const hd_otlp_wishes *wishes, reader get, hd_error *err)
{
    const char *name;
    *s = (hd_otlp_settings){.content = wishes->content};
    HD_TRY(read_endpoint(s, wishes->endpoint, get, err));
    if (!s->url) return HD_OK;
    HD_TRY(check_protocol(get, err));
    HD_TRY(read_sampler(&s->sampler, wishes->ratio, get, err));
    HD_TRY(read_lists(s, get, err));
    HD_TRY(read_numbers(s, get, err));
    s->ca_file = read_either(get, "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE", &name);
    if (s->content && hd_otlp_is_exposed(s->url))
        return hd_fail(err, HD_E_ARGUMENT,
                       "--trace-content would send prompts and answers unencrypted to another machine: give the "
                       "collector an https:// address, or one on this machine");
    return HD_OK;
}

void hd_otlp_settings_free(hd_otlp_settings *s)
{
    hd_free(s->url);
    if (s->headers.text) hd_wipe(s->headers.text, s->headers.size);
    hd_free(s->headers.text);
    hd_free(s->resource.text);
    *s = (hd_otlp_settings){.url = NULL};
}
