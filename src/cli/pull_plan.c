/* cli/pull_plan.c: plans, and which of a source's files make one model; see pull.h. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/pull.h"
#include "crypto/crypto.h"

#define MAX_JSON_BYTES (64u << 20) /* the listing of a repository of some thousand files has a few megabytes */

/* ---- plans ---- */

static void file_free(hd_pull_file *file)
{
    hd_free(file->path);
    hd_free(file->url);
    *file = (hd_pull_file){0};
}

void hd_pull_plan_free(hd_pull_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        file_free(&plan->files[i]);
    hd_free(plan->files);
    hd_free(plan->source);
    hd_free(plan->name);
    hd_free(plan->licence);
    *plan = (hd_pull_plan){0};
}

hd_status hd_pull_set(char **text, hd_error *err, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *fresh = len < 0 ? NULL : hd_alloc((size_t)len + 1);
    if (fresh) vsnprintf(fresh, (size_t)len + 1, fmt, again);
    va_end(again);
    if (!fresh) return hd_fail(err, HD_E_MEMORY, "out of memory");
    hd_free(*text);
    *text = fresh;
    return HD_OK;
}

hd_status hd_pull_plan_add(hd_pull_plan *plan, const char *path, const char *url, const uint64_t *size,
                           const char *sha256, hd_error *err)
{
    if (!hd_path_is_safe(path) || strcmp(path, HD_RECORD_NAME) == 0)
        return hd_fail(err, HD_E_FORMAT, "the source names a file '%.200s', which is not a safe path", path);
    if (!hd_text_is_utf8(path)) /* the record of a model is JSON */
        return hd_fail(err, HD_E_FORMAT,
                       "the source names a file '%.200s', and that name is not UTF-8; rename the file", path);
    if (plan->count == HD_PULL_MAX_FILES) return hd_fail(err, HD_E_LIMIT, "more than %d files", HD_PULL_MAX_FILES);
    if (size && *size > HD_PULL_MAX_FILE_BYTES) return hd_fail(err, HD_E_LIMIT, "%s: too large to be a model", path);
    hd_pull_file *files = hd_realloc_array(plan->files, plan->count + 1, sizeof *files);
    if (!files) return hd_fail(err, HD_E_MEMORY, "out of memory");
    plan->files = files;
    hd_pull_file *file = &files[plan->count];
    *file = (hd_pull_file){
        .path = hd_strdup(path), .url = hd_strdup(url), .size = size ? *size : 0, .size_known = size != NULL};
    plan->count++;
    if (!file->path || !file->url) return hd_fail(err, HD_E_MEMORY, "out of memory");
    if (sha256 && strlen(sha256) == 64)
        for (int i = 0; i < 64; i++)
            file->sha256[i] = (char)(sha256[i] >= 'A' && sha256[i] <= 'F' ? sha256[i] + 32 : sha256[i]);
    return HD_OK;
}

hd_status hd_pull_address(char out[HD_PULL_ADDRESS], const char *url, hd_error *err)
{
    uint8_t digest[HD_SHA256_BYTES];
    char hex[HD_SHA256_HEX];
    hd_url_show(url, out, HD_URL_SHOWN);
    const char *query = url + strcspn(url, "?#");
    if (query[0] != '?') return HD_OK;
    HD_TRY(hd_sha256_of(query + 1, strcspn(query + 1, "#"), digest, err));
    hd_hex_encode(digest, sizeof digest, hex);
    size_t len = strlen(out);
    snprintf(out + len, HD_PULL_ADDRESS - len, "?query:%.16s", hex);
    return HD_OK;
}

uint64_t hd_pull_plan_bytes(const hd_pull_plan *plan)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->count; i++)
        bytes += plan->files[i].size; /* at most 4096 times 2^42 */
    return bytes;
}

hd_net_rules hd_pull_rules(const hd_pull_settings *settings, const char *const *hosts)
{
    return (hd_net_rules){
        .hosts = hosts, .plain_http = settings->plain_http, .ca_file = settings->ca_file, .ca_path = settings->ca_path};
}

hd_status hd_pull_get_json(json_t **out, const hd_pull_settings *settings, const hd_pull_plan *plan, const char *url,
                           hd_error *err)
{
    hd_net_rules rules = hd_pull_rules(settings, plan->hosts);
    hd_http_request request = {.url = url, .rules = &rules, .accept = "application/json", .bearer = plan->bearer};
    hd_buf body;
    hd_buf_init(&body, MAX_JSON_BYTES);
    *out = NULL;
    hd_status status = hd_http_fetch(&request, &body, hd_interrupted, NULL, err);
    if (status == HD_OK) {
        status = hd_json_parse(out, body.data ? body.data : "", body.len, err);
        if (status != HD_OK) {
            char shown[HD_URL_SHOWN];
            hd_url_show(url, shown, sizeof shown);
            status = hd_fail_in(err, status, "%s", shown);
        }
    }
    hd_buf_free(&body);
    return status;
}

/* ---- choosing ---- */

/* The other files of the official layout that we read, or that a person wants beside the weights. */
static bool is_companion(const char *name)
{
    static const char *const names[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "vocab.json",
                                        "merges.txt"};
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return strncmp(name, "LICENSE", 7) == 0 || hd_text_ends_like(name, ".safetensors.index.json");
}

bool hd_pull_is_model_file(const char *name)
{
    return hd_text_ends_like(name, ".gguf") || hd_text_ends_like(name, ".safetensors") || is_companion(name);
}

/* The official layout: safetensors at the root and what belongs to them; "consolidated" files hold the same weights
 * again. */
static bool in_layout(const char *path)
{
    if (strchr(path, '/')) return false;
    return is_companion(path) || (hd_text_ends_like(path, ".safetensors") && strncmp(path, "consolidated", 12) != 0);
}

/* Keeps the files for which keep[i]; `flat` drops their folders. */
static hd_status retain(hd_pull_plan *plan, const bool *keep, bool flat, hd_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (!keep[i]) {
            file_free(&plan->files[i]);
            continue;
        }
        if (count != i) {
            plan->files[count] = plan->files[i];
            plan->files[i] = (hd_pull_file){0};
        }
        hd_pull_file *file = &plan->files[count++];
        if (flat && strchr(file->path, '/')) {
            char *base = hd_strdup(hd_path_base(file->path));
            if (!base) return hd_fail(err, HD_E_MEMORY, "out of memory");
            hd_free(file->path);
            file->path = base;
        }
    }
    plan->count = count;
    return HD_OK;
}

/* "Q4_K_M" in "x-Q4_K_M.gguf" or "Q4_K_M/x.gguf": a whole word between separators, letter case ignored. */
static bool has_word(const char *path, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = path; (at = strcasestr(at, word)); at++) {
        bool starts = at == path || strchr("-./ ", at[-1]), ends = !at[len] || strchr("-./ ", at[len]);
        /* "Q4_K_M" is not the "UD-Q4_K_M": those are other files of the same repository */
        if (starts && at - path >= 3 && strncasecmp(at - 3, "UD-", 3) == 0) starts = false;
        if (starts && ends) return true;
    }
    return false;
}

/* Whether two paths are parts of one GGUF model. */
static bool same_model(const char *a, const char *b)
{
    int part, parts_a, parts_b;
    size_t stem_a = hd_gguf_split_name(a, &part, &parts_a), stem_b = hd_gguf_split_name(b, &part, &parts_b);
    return stem_a == stem_b && parts_a == parts_b && strncmp(a, b, stem_a) == 0;
}

/* A GGUF that is a model of its own: the first part, and no image projector or importance matrix. */
static bool is_gguf_model(const char *path)
{
    int part, parts;
    const char *base = hd_path_base(path);
    if (!hd_text_ends_like(path, ".gguf") || strncasecmp(base, "mmproj", 6) == 0 || strcasestr(base, "imatrix"))
        return false;
    (void)hd_gguf_split_name(path, &part, &parts);
    return part == 1;
}

typedef struct choice {
    size_t count;
    size_t index; /* of the first */
    hd_buf names; /* for the message */
} choice;

static void choose(choice *c, const hd_pull_plan *plan, const char *word)
{
    hd_buf_init(&c->names, HD_ERROR_TEXT - 200);
    c->count = 0;
    for (size_t i = 0; i < plan->count; i++) {
        if (!is_gguf_model(plan->files[i].path) || (word && !has_word(plan->files[i].path, word))) continue;
        if (c->count++ == 0) c->index = i;
        (void)hd_buf_printf(&c->names, "%s%s", c->names.len ? ", " : "", plan->files[i].path); /* cut short when full */
    }
}

/* Keeps the GGUF model that begins with file `index`, all parts of it. */
static hd_status take_gguf(hd_pull_plan *plan, size_t index, bool *keep, hd_error *err)
{
    int part, parts, found = 0;
    const char *first = plan->files[index].path;
    size_t stem = hd_gguf_split_name(first, &part, &parts);
    for (size_t i = 0; i < plan->count; i++) {
        keep[i] = i == index || same_model(first, plan->files[i].path);
        found += keep[i];
    }
    if (found != parts)
        return hd_fail(err, HD_E_NOT_FOUND, "%s: the source has %d of its %d parts", first, found, parts);
    const char *base = hd_path_base(first);
    HD_TRY(hd_pull_set(&plan->name, err, "%.*s", (int)(stem - (size_t)(base - first)), base));
    return retain(plan, keep, true, err);
}

static hd_status take_wanted(hd_pull_plan *plan, const char *wanted, bool *keep, hd_error *err)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (strcmp(plan->files[i].path, wanted) != 0) continue;
        if (hd_text_ends_like(wanted, ".gguf")) return take_gguf(plan, i, keep, err);
        keep[i] = true;
        HD_TRY(hd_pull_set(&plan->name, err, "%.*s", (int)strcspn(hd_path_base(wanted), "."), hd_path_base(wanted)));
        return retain(plan, keep, true, err);
    }
    choice c, all;
    choose(&c, plan, wanted);
    choose(&all, plan, NULL);
    hd_status status;
    if (c.count == 1)
        status = take_gguf(plan, c.index, keep, err);
    else if (c.count > 1)
        status = hd_fail(err, HD_E_ARGUMENT, "'%s' fits %zu models; name one of the files: %s", wanted, c.count,
                         c.names.data);
    else if (all.count)
        status = hd_fail(err, HD_E_NOT_FOUND, "there is no file or GGUF quantization '%s'; there are: %s", wanted,
                         all.names.data);
    else
        status = hd_fail(err, HD_E_NOT_FOUND, "there is no file '%s', and no GGUF model (--list shows all)", wanted);
    hd_buf_free(&c.names);
    hd_buf_free(&all.names);
    return status;
}

/* Without a wish: the official layout; else the only GGUF model; else the quantization that most people want. */
static hd_status take_default(hd_pull_plan *plan, bool *keep, hd_error *err)
{
    bool weights = false;
    for (size_t i = 0; i < plan->count; i++) {
        keep[i] = in_layout(plan->files[i].path);
        weights = weights || (keep[i] && hd_text_ends_like(plan->files[i].path, ".safetensors"));
    }
    if (weights) return retain(plan, keep, false, err);
    choice all, usual;
    choose(&all, plan, NULL);
    choose(&usual, plan, "Q4_K_M");
    hd_status status;
    if (all.count == 1 || usual.count == 1)
        status = take_gguf(plan, all.count == 1 ? all.index : usual.index, keep, err);
    else if (all.count)
        status = hd_fail(err, HD_E_ARGUMENT, "there are %zu models; add \":NAME\" for one of: %s", all.count,
                         all.names.data);
    else
        status = hd_fail(err, HD_E_NOT_FOUND, "there is no model in safetensors or GGUF (--list shows what there is)");
    hd_buf_free(&all.names);
    hd_buf_free(&usual.names);
    return status;
}

hd_status hd_pull_select(hd_pull_plan *plan, const char *wanted, hd_error *err)
{
    bool *keep = hd_calloc(plan->count, sizeof *keep);
    if (!keep) return hd_fail(err, HD_E_MEMORY, "out of memory");
    hd_status status = wanted ? take_wanted(plan, wanted, keep, err) : take_default(plan, keep, err);
    hd_free(keep);
    return status;
}

/* ---- sources by scheme ---- */

typedef enum scheme { HF, MS, PYPI, S3, HTTPS, HTTP, LOCAL, SCHEMES } scheme;

static const char *const prefixes[SCHEMES] = {"hf:", "ms:", "pypi:", "s3://", "https://", "http://", "file:"};

static scheme scheme_of(const char *text)
{
    scheme s = HF;
    while (s < SCHEMES && strncasecmp(text, prefixes[s], strlen(prefixes[s])) != 0)
        s++;
    return s;
}

bool hd_pull_is_source(const char *text)
{
    return scheme_of(text) != SCHEMES;
}

hd_status hd_pull_plan_make(hd_pull_plan *plan, const hd_pull_settings *settings, const char *source, bool list_all,
                            hd_error *err)
{
    scheme s = scheme_of(source);
    const char *spec = s < SCHEMES ? source + strlen(prefixes[s]) : source;
    *plan = (hd_pull_plan){0};
    if (!hd_text_is_utf8(source)) /* the record of a model is JSON */
        return hd_fail(err, HD_E_ARGUMENT,
                       "%s: this is not UTF-8; rename it, or name it by a path from within its folder", source);
    switch (s) {
    case HF: return hd_pull_plan_hf(plan, settings, spec, list_all, err);
    case MS: return hd_pull_plan_ms(plan, settings, spec, list_all, err);
    case PYPI: return hd_pull_plan_pypi(plan, settings, spec, list_all, err);
    case S3: return hd_pull_plan_s3(plan, settings, spec, list_all, err);
    case HTTPS:
    case HTTP: return hd_pull_plan_url(plan, settings, source, err);
    case LOCAL: return hd_pull_plan_local(plan, spec, list_all, err);
    default:
        return hd_fail(
            err, HD_E_ARGUMENT,
            "%s: not a name of the catalogue, nor hf:owner/repo, ms:owner/repo, pypi:package, https://, s3:// or file:",
            source);
    }
}
