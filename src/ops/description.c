/* ops/description.c: see description.h.  Invariant: every value in a description has passed its kind's check. */
#include "ops/description.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define FILE_MAX ((size_t)64 << 10) /* fifty short values; a larger file is something else */

typedef enum kind {
    LABEL,    /* a name in the sense of RFC 1123: Kubernetes objects, users, packages */
    WORD,     /* letters, digits and ._- */
    PATH,     /* absolute */
    IMAGE,    /* registry/name:tag or @digest */
    HOST,     /* a name or an address */
    URL,      /* http or https */
    NETWORK,  /* address/bits */
    QUANTITY, /* of Kubernetes: 500m, 16Gi */
    NUMBER,
    BOOL
} kind;

typedef struct key {
    hd_description_key door;
    kind kind;
    double min, max; /* of numbers, inclusive */
    bool optional;   /* may be empty */
} key;

#define TEXT(name, kind, initial, help)                                                                                \
    {                                                                                                                  \
        {name, initial, help, false}, kind, 0, 0, false                                                                \
    }
#define MAYBE(name, kind, initial, help)                                                                               \
    {                                                                                                                  \
        {name, initial, help, false}, kind, 0, 0, true                                                                 \
    }
#define COUNT(name, initial, min, max, help)                                                                           \
    {                                                                                                                  \
        {name, initial, help, false}, NUMBER, min, max, false                                                          \
    }
#define DERIVED(name, help)                                                                                            \
    {                                                                                                                  \
        {name, "", help, true}, WORD, 0, 0, true                                                                       \
    }

/* Numbers stay below a million: a chart's values become floating point, and from there on Go prints 1e+06. */
static const key keys[] = {
    TEXT("name", LABEL, "hadal", "name of the service and of what belongs to it"),
    TEXT("namespace", LABEL, "hadal", "Kubernetes: the namespace"),
    TEXT("version", WORD, "", "version of the packages and of the image"),
    TEXT("model", WORD, "model.gguf", "file or folder of the model, below the models folder"),
    TEXT("modelName", WORD, "deepseek", "name under which clients ask for it"),
    TEXT("precision", WORD, "auto", "auto, bf16, fp8, int8 or q4: which weights to take where a folder has several"),
    MAYBE("image", IMAGE, "", "container image; empty: hadal:VERSION"),
    TEXT("modelsFolder", PATH, "/var/lib/hadal/models", "models on the machine (systemd, compose, packages)"),
    TEXT("dataFolder", PATH, "/var/lib/hadal/server", "keys and caches on the machine (systemd, packages)"),
    TEXT("listenAddress", HOST, "127.0.0.1", "address to listen on outside of containers"),
    COUNT("port", "8080", 1024, 65535, "port of the service"),
    TEXT("serverName", HOST, "hadal.example.internal", "name by which clients know the service"),
    MAYBE("tlsSecret", LABEL, "", "Kubernetes: a Secret of type tls; empty: no TLS inside the cluster"),
    TEXT("tls", BOOL, "false", "TLS by a self-signed certificate (systemd, compose)"),
    COUNT("replicas", "1", 1, 1000, "copies of the service, at least"),
    COUNT("maxReplicas", "8", 1, 1000, "copies at most, when it scales by itself"),
    COUNT("waitingPerReplica", "4", 1, 100000, "scale out above so many waiting requests a copy"),
    COUNT("requestsPerSecond", "200", 1, 100000, "scale out above so many answered requests a second and copy"),
    TEXT("cpuRequest", QUANTITY, "4", "cores a copy is promised"),
    TEXT("cpuLimit", QUANTITY, "8", "cores a copy may use"),
    TEXT("memoryRequest", QUANTITY, "16Gi", "memory a copy is promised: weights and cache"),
    TEXT("memoryLimit", QUANTITY, "16Gi", "memory a copy may use"),
    TEXT("memoryMax", WORD, "infinity", "systemd: MemoryMax= of the unit"),
    TEXT("modelsClaim", LABEL, "hadal-models", "Kubernetes: the volume claim that holds the models, read only"),
    TEXT("createModelsClaim", BOOL, "true", "Kubernetes: make that claim"),
    TEXT("modelsSize", QUANTITY, "100Gi", "Kubernetes: its size"),
    MAYBE("storageClass", LABEL, "", "Kubernetes: its storage class; empty: the cluster's default"),
    TEXT("dataSize", QUANTITY, "2Gi", "Kubernetes: limit of the scratch folder for keys and caches"),
    TEXT("keySecret", LABEL, "hadal-api-key", "Kubernetes: the Secret whose api-key clients present"),
    TEXT("hpa", BOOL, "true", "Kubernetes: HorizontalPodAutoscaler (needs a metrics adapter)"),
    TEXT("keda", BOOL, "false", "Kubernetes: KEDA's ScaledObject instead"),
    TEXT("networkPolicy", BOOL, "true", "Kubernetes: let in those named below only, and let nothing out"),
    TEXT("serviceMonitor", BOOL, "false", "Kubernetes: ServiceMonitor of the Prometheus operator"),
    TEXT("inferencePool", BOOL, "false", "Kubernetes: InferencePool of the gateway's inference extension"),
    TEXT("monitoringNamespace", LABEL, "monitoring", "Kubernetes: where Prometheus runs"),
    TEXT("clientNamespace", LABEL, "apps", "Kubernetes: another namespace whose pods may ask"),
    TEXT("prometheus", URL, "http://prometheus-operated.monitoring.svc:9090", "Prometheus, as KEDA reaches it"),
    COUNT("loadSeconds", "1800", 10, 86400, "loading the model takes at most so long"),
    COUNT("drainSeconds", "40", 0, 3600, "answers under way may go on for so long when a copy ends"),
    COUNT("preStopSeconds", "15", 0, 600, "Kubernetes: routes forget a copy before it is told to end"),
    COUNT("maxTokens", "4096", 1, 999999, "tokens of an answer whose client gives no limit"),
    COUNT("queue", "1024", 1, 999999, "requests that may wait; beyond, clients are told to come back"),
    COUNT("maxBodyMiB", "32", 1, 1024, "largest request"),
    COUNT("connectionsPerAddress", "512", 1, 999999, "connections at once from one address"),
    TEXT("clientNetwork", NETWORK, "10.0.0.0/8", "who may ask (nftables, proxy, systemd)"),
    TEXT("adminNetwork", NETWORK, "10.0.0.0/24", "who may log in, by the jump host (nftables)"),
    TEXT("jumpHost", HOST, "jump.example.internal", "the host that administrators go through"),
    COUNT("userId", "65532", 1000, 65533, "number of the user in containers"),
    DERIVED("terminationSeconds", "preStopSeconds + drainSeconds + 5"),
    DERIVED("startTries", "how often a start is looked at, every 10 seconds"),
    DERIVED("stopSeconds", "drainSeconds + 15"),
};
_Static_assert(HD_ARRAY_LEN(keys) <= HD_DESCRIPTION_KEYS, "a description has a place for each key");

const hd_description_key *hd_description_key_at(size_t i)
{
    return i < HD_ARRAY_LEN(keys) ? &keys[i].door : NULL;
}

static const key *find(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(keys); i++)
        if (strcmp(keys[i].door.name, name) == 0) return &keys[i];
    return NULL;
}

const char *hd_description_get(const hd_description *d, const char *name)
{
    const key *k = find(name);
    return k ? d->values[k - keys] : NULL;
}

static void store(hd_description *d, const char *name, const char *value)
{
    const key *k = find(name);
    if (k) snprintf(d->values[k - keys], sizeof d->values[0], "%s", value);
}

void hd_description_init(hd_description *d, const char *version)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(keys); i++)
        snprintf(d->values[i], sizeof d->values[i], "%s", keys[i].door.initial);
    store(d, "version", version);
}

/* ---- kinds ---- */

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define LETTERS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS

static bool only(const char *text, const char *letters)
{
    return text[strspn(text, letters)] == '\0';
}

static bool is_label(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 40 && only(text, LOWER DIGITS "-") && text[0] != '-' && text[len - 1] != '-' &&
           strspn(text, DIGITS) == 0;
}

/* Neither hidden, nor a way up, nor an option. */
static bool is_word(const char *text)
{
    return text[0] != '.' && text[0] != '-' && !strstr(text, "..") && only(text, LETTERS "._-");
}

static bool is_path(const char *text)
{
    return text[0] == '/' && text[1] && !strstr(text, "//") && !strstr(text, "..") && only(text, LETTERS "._-/") &&
           text[strlen(text) - 1] != '/';
}

static bool is_image(const char *text)
{
    return only(text, LETTERS "._-/:@") && strspn(text, LETTERS) > 0;
}

static bool is_host(const char *text)
{
    return only(text, LETTERS ".-:") && text[0] != '-';
}

static bool is_url(const char *text)
{
    const char *rest = strncmp(text, "http://", 7) == 0 ? text + 7 : strncmp(text, "https://", 8) == 0 ? text + 8 : "";
    return *rest && only(rest, LETTERS "._-/:");
}

static bool is_network(const char *text)
{
    const char *slash = strchr(text, '/');
    return slash && slash > text && strspn(text, DIGITS "abcdefABCDEF.:") == (size_t)(slash - text) && slash[1] &&
           strlen(slash + 1) <= 3 && only(slash + 1, DIGITS);
}

static bool is_quantity(const char *text)
{
    static const char *const units[] = {"", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"};
    size_t digits = strspn(text, DIGITS);
    if (digits == 0 || digits > 9 || text[0] == '0') return false;
    for (size_t i = 0; i < HD_ARRAY_LEN(units); i++)
        if (strcmp(text + digits, units[i]) == 0) return true;
    return false;
}

static bool is_number(const char *text, const key *k)
{
    size_t len = strlen(text);
    if (len == 0 || len > 6 || !only(text, DIGITS) || (text[0] == '0' && len > 1)) return false;
    double value = strtod(text, NULL);
    return value >= k->min && value <= k->max;
}

static bool allows(const key *k, const char *text)
{
    if (!*text) return k->optional;
    if (strlen(text) > HD_DESCRIPTION_VALUE) return false;
    switch (k->kind) {
    case LABEL: return is_label(text);
    case WORD: return is_word(text);
    case PATH: return is_path(text);
    case IMAGE: return is_image(text);
    case HOST: return is_host(text);
    case URL: return is_url(text);
    case NETWORK: return is_network(text);
    case QUANTITY: return is_quantity(text);
    case NUMBER: return is_number(text, k);
    case BOOL: return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    }
    return false;
}

static const char *wanted(kind k)
{
    switch (k) {
    case LABEL: return "small letters, digits and -, at most 40, a letter first";
    case WORD: return "letters, digits, '.', '_' and '-', with no '.' or '-' in front and no '..'";
    case PATH: return "an absolute path of letters, digits, '.', '_' and '-'";
    case IMAGE: return "an image's name, as registry.example/hadal:1.0";
    case HOST: return "a host's name or address";
    case URL: return "an address that begins with http:// or https://";
    case NETWORK: return "a network, as 10.0.0.0/8";
    case QUANTITY: return "a quantity of Kubernetes, as 500m, 8 or 16Gi";
    case NUMBER: return "a number";
    case BOOL: return "true or false";
    }
    return "another value";
}

/* ---- setting ---- */

hd_status hd_description_set(hd_description *d, const char *name, const char *value, hd_error *err)
{
    const key *k = find(name);
    if (!k) return hd_fail(err, HD_E_ARGUMENT, "a description has no key '%s'; --list-keys lists them", name);
    if (k->door.derived)
        return hd_fail(err, HD_E_ARGUMENT, "'%s' is computed (%s) and can't be given", name, k->door.help);
    if (!allows(k, value)) {
        char shown[65];
        snprintf(shown, sizeof shown, "%.64s", value);
        hd_text_clean(shown);
        if (k->kind == NUMBER)
            return hd_fail(err, HD_E_ARGUMENT, "%s is '%s'; it must be a number from %.0f to %.0f", name, shown, k->min,
                           k->max);
        return hd_fail(err, HD_E_ARGUMENT, "%s is '%s'; it must be %s", name, shown, wanted(k->kind));
    }
    snprintf(d->values[k - keys], sizeof d->values[0], "%s", value);
    return HD_OK;
}

int hd_description_number(const hd_description *d, const char *name)
{
    const char *text = hd_description_get(d, name);
    return text ? (int)strtol(text, NULL, 10) : 0; /* at most six digits, as checked */
}

static void derive(hd_description *d, const char *name, int value)
{
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    store(d, name, text);
}

hd_status hd_description_settle(hd_description *d, hd_error *err)
{
    static const char *const precisions[] = {"auto", "bf16", "fp8", "int8", "q4"};
    const char *precision = hd_description_get(d, "precision");
    bool known = false;
    for (size_t i = 0; i < HD_ARRAY_LEN(precisions); i++)
        known = known || strcmp(precision, precisions[i]) == 0;
    if (!known)
        return hd_fail(err, HD_E_ARGUMENT, "precision is '%s'; it must be auto, bf16, fp8, int8 or q4", precision);
    if (hd_description_number(d, "maxReplicas") < hd_description_number(d, "replicas"))
        return hd_fail(err, HD_E_ARGUMENT, "maxReplicas (%d) is below replicas (%d)",
                       hd_description_number(d, "maxReplicas"), hd_description_number(d, "replicas"));
    if (strcmp(hd_description_get(d, "hpa"), "true") == 0 && strcmp(hd_description_get(d, "keda"), "true") == 0)
        return hd_fail(err, HD_E_ARGUMENT, "hpa and keda are both true, and would pull at the same replicas: choose");
    if (!*hd_description_get(d, "image")) {
        char image[HD_DESCRIPTION_VALUE + 1];
        snprintf(image, sizeof image, "hadal:%.200s", hd_description_get(d, "version"));
        store(d, "image", image);
    }
    derive(d, "terminationSeconds",
           hd_description_number(d, "preStopSeconds") + hd_description_number(d, "drainSeconds") + 5);
    derive(d, "startTries", (hd_description_number(d, "loadSeconds") + 9) / 10);
    derive(d, "stopSeconds", hd_description_number(d, "drainSeconds") + 15);
    return HD_OK;
}

/* ---- YAML ---- */

typedef struct reading {
    yaml_parser_t parser;
    yaml_event_t event;
    hd_description *d;
    const char *name; /* of the file */
    bool given[HD_ARRAY_LEN(keys)];
} reading;

static hd_status next(reading *r, hd_error *err)
{
    if (yaml_parser_parse(&r->parser, &r->event)) return HD_OK;
    if (r->parser.error == YAML_MEMORY_ERROR) return hd_fail(err, HD_E_MEMORY, "out of memory for %s", r->name);
    return hd_fail(err, HD_E_FORMAT, "%s, line %zu: not YAML: %s", r->name, r->parser.problem_mark.line + 1,
                   r->parser.problem ? r->parser.problem : "malformed");
}

/* The next event must be of `type`; on HD_OK it is the caller's (yaml_event_delete). */
static hd_status expect(reading *r, yaml_event_type_t type, hd_error *err)
{
    HD_TRY(next(r, err));
    if (r->event.type == type) return HD_OK;
    size_t line = r->event.start_mark.line + 1;
    yaml_event_delete(&r->event);
    return hd_fail(err, HD_E_FORMAT, "%s, line %zu: a description is one mapping of keys to plain values (KEY: VALUE)",
                   r->name, line);
}

static hd_status skip(reading *r, yaml_event_type_t type, hd_error *err)
{
    HD_TRY(expect(r, type, err));
    yaml_event_delete(&r->event);
    return HD_OK;
}

/* The event is a key's; reads its value. */
static hd_status read_pair(reading *r, hd_error *err)
{
    char name[64];
    size_t line = r->event.start_mark.line + 1;
    snprintf(name, sizeof name, "%s", (const char *)r->event.data.scalar.value);
    yaml_event_delete(&r->event);
    hd_text_clean(name);
    HD_TRY(expect(r, YAML_SCALAR_EVENT, err));
    const char *value = (const char *)r->event.data.scalar.value;
    bool whole = strlen(value) == r->event.data.scalar.length;
    hd_status status = hd_description_set(r->d, name, whole ? value : "\n", err);
    yaml_event_delete(&r->event);
    if (status != HD_OK) return hd_fail_in(err, status, "%s, line %zu", r->name, line);
    size_t at = (size_t)(find(name) - keys);
    if (r->given[at]) return hd_fail(err, HD_E_FORMAT, "%s, line %zu: %s is given twice", r->name, line, name);
    r->given[at] = true;
    return HD_OK;
}

static hd_status read_mapping(reading *r, hd_error *err)
{
    HD_TRY(skip(r, YAML_STREAM_START_EVENT, err));
    HD_TRY(skip(r, YAML_DOCUMENT_START_EVENT, err));
    HD_TRY(skip(r, YAML_MAPPING_START_EVENT, err));
    for (;;) {
        HD_TRY(next(r, err));
        if (r->event.type == YAML_MAPPING_END_EVENT) break;
        if (r->event.type != YAML_SCALAR_EVENT) {
            size_t line = r->event.start_mark.line + 1;
            yaml_event_delete(&r->event);
            return hd_fail(err, HD_E_FORMAT, "%s, line %zu: a key was expected", r->name, line);
        }
        HD_TRY(read_pair(r, err));
    }
    yaml_event_delete(&r->event);
    HD_TRY(skip(r, YAML_DOCUMENT_END_EVENT, err));
    return skip(r, YAML_STREAM_END_EVENT, err);
}

hd_status hd_description_parse(hd_description *d, const char *text, size_t len, const char *name, hd_error *err)
{
    reading r = {.d = d, .name = name};
    if (len > FILE_MAX) return hd_fail(err, HD_E_LIMIT, "%s has more than 64 KiB: it is no description", name);
    if (!yaml_parser_initialize(&r.parser)) return hd_fail(err, HD_E_MEMORY, "out of memory for %s", name);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    hd_status status = read_mapping(&r, err);
    yaml_parser_delete(&r.parser);
    return status;
}

hd_status hd_description_read(hd_description *d, const char *path, hd_error *err)
{
    hd_mapping *map = NULL;
    HD_TRY(hd_mapping_open(&map, path, err));
    hd_status status = hd_description_parse(d, (const char *)hd_mapping_data(map), hd_mapping_size(map), path, err);
    hd_mapping_close(&map);
    return status;
}

hd_status hd_description_write(const hd_description *d, hd_buf *out)
{
    (void)hd_buf_puts(out, "# What `hadal artifacts` generates from.  Each line may be left out.\n");
    for (size_t i = 0; i < HD_ARRAY_LEN(keys); i++) {
        bool plain = keys[i].kind == NUMBER || keys[i].kind == BOOL;
        if (keys[i].door.derived) continue;
        (void)hd_buf_printf(out, plain ? "%s: %s  # %s\n" : "%s: \"%s\"  # %s\n", keys[i].door.name, d->values[i],
                            keys[i].door.help);
    }
    return out->status;
}
