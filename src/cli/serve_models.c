/* cli/serve_models.c: which models `hadal serve` means, and under which names. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/adapters.h"
#include "cli/cli.h"
#include "cli/models_dir.h"
#include "cli/serve.h"

/* ---- names ---- */

/* The last part of a path, without the ending of a GGUF file and the number of a split one. */
static void name_of_path(const char *path, char *name, size_t size)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    snprintf(name, size, "%.*s", (int)(len - begin), path + begin);
    int part, parts;
    size_t stem = hd_gguf_split_name(name, &part, &parts);
    if (stem > 0) name[stem] = '\0';
}

/* ---- precision ---- */

typedef struct precision {
    const char *name;
    double least, most; /* bits a weight */
} precision;

static const precision precisions[] = {{"bf16", 12, 33}, {"fp8", 7, 12}, {"int8", 7, 12}, {"q4", 0, 7}};

/* Whether a name of a file says that it holds weights of this precision. */
static bool names_precision(const char *file, const char *wanted)
{
    static const struct {
        const char *precision, *sign;
    } signs[] = {{"bf16", "bf16"}, {"bf16", "f16"}, {"fp8", "fp8"}, {"fp8", "f8"}, {"int8", "q8"},
                 {"int8", "int8"}, {"q4", "q4"},    {"q4", "iq4"},  {"q4", "int4"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(signs); i++)
        if (strcmp(signs[i].precision, wanted) == 0 && strcasestr(file, signs[i].sign)) return true;
    return false;
}

/* Of a folder with several GGUF files the one of the wanted precision, of "auto" the smallest; *out stays NULL when the
 * folder has none or only one, or when none fits. */
static hd_status choose_file(const char *folder, const char *wanted, char **out, hd_error *err)
{
    struct dirent *entry;
    char best[NAME_MAX + 1] = "";
    off_t size = 0;
    int count = 0;
    DIR *dir = opendir(folder);
    *out = NULL;
    if (!dir) return errno == ENOTDIR ? HD_OK : hd_fail(err, HD_E_IO, "cannot read %s: %s", folder, strerror(errno));
    while ((entry = readdir(dir))) {
        struct stat st;
        const char *name = entry->d_name;
        size_t len = strlen(name);
        int part = 1, parts = 1;
        if (name[0] == '.' || len < 5 || strcmp(name + len - 5, ".gguf") != 0) continue;
        hd_gguf_split_name(name, &part, &parts);
        if (part > 1 || fstatat(dirfd(dir), name, &st, 0) != 0) continue;
        count++;
        if (strcmp(wanted, "auto") != 0 && !names_precision(name, wanted)) continue;
        if (best[0] && st.st_size >= size) continue;
        snprintf(best, sizeof best, "%s", name);
        size = st.st_size;
    }
    closedir(dir);
    if (count < 2 || !best[0]) return HD_OK;
    hd_buf path;
    hd_buf_init(&path, 8192);
    hd_status status = hd_buf_printf(&path, "%s/%s", folder, best);
    if (status == HD_OK)
        *out = path.data;
    else
        hd_buf_free(&path);
    return status == HD_OK ? HD_OK : hd_fail(err, status, "the path of %s is too long", best);
}

/* Says so when the weights are not what was asked for: they are served as they are. */
static void compare_precision(const char *name, const hd_engine_info *info, const char *wanted)
{
    double bits = info->parameters ? (double)info->weight_bytes * 8 / (double)info->parameters : 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(precisions); i++) {
        const precision *p = &precisions[i];
        if (strcmp(p->name, wanted) == 0 && bits > 0 && (bits < p->least || bits >= p->most))
            hd_log(HD_LOG_WARN,
                   "model %s: its weights have %.1f bits each and are served so: there are no %s weights beside them",
                   name, bits, wanted);
    }
}

/* ---- models ---- */

static hd_status resolve(const char *given, const char *precision_name, char **path, hd_error *err)
{
    char *chosen = NULL;
    HD_TRY(hd_model_resolve(given, path, err));
    hd_status status = choose_file(*path, precision_name, &chosen, err);
    if (chosen) {
        hd_free(*path);
        *path = chosen;
    }
    if (status != HD_OK) hd_free(*path);
    return status;
}

static hd_status add_model(hd_gateway *gateway, const hd_serve_flags *f, const char *given, char *name, size_t size,
                           hd_error *err)
{
    char *path = NULL;
    const char *model = hd_serve_split_name(given, name, size);
    HD_TRY(resolve(model, f->precision, &path, err));
    if (!name[0]) name_of_path(model, name, size);
    hd_status status = hd_gateway_add(gateway, name, path, err);
    hd_free(path);
    return status;
}

/* Of a folder with several files the smallest: --precision is about the full one. */
static hd_status add_cheaper(hd_gateway *gateway, const hd_serve_flags *f, const char *given, const char *only,
                             hd_error *err)
{
    char name[256], *path = NULL;
    const char *model = hd_serve_split_name(given, name, sizeof name);
    hd_precision_rule rule = hd_serve_cheaper_rule(f);
    HD_TRY(resolve(model, "auto", &path, err));
    hd_status status = hd_gateway_add_cheaper(gateway, name[0] ? name : only, path, &rule, err);
    hd_free(path);
    return status == HD_OK ? HD_OK : hd_fail_in(err, status, "--cheaper %s", given);
}

static hd_status load_model(hd_gateway *gateway, const hd_serve_flags *f, const char *name, hd_error *err)
{
    HD_TRY(hd_gateway_load(gateway, name, err));
    hd_engine_info info = {.parameters = 0};
    if (hd_gateway_get_info(gateway, name, &info)) compare_precision(name, &info, f->precision);
    return HD_OK;
}

static hd_status add_alias(hd_gateway *gateway, const char *given, hd_error *err)
{
    char name[256];
    const char *sign = strchr(given, '=');
    if (!sign || sign == given || !sign[1])
        return hd_fail(err, HD_E_ARGUMENT,
                       "--alias %s: it must be NAME=MODEL, where MODEL is the name of a served model", given);
    snprintf(name, sizeof name, "%.*s", (int)(sign - given), given);
    return hd_gateway_alias(gateway, name, sign + 1, err);
}

/* On a base that is there already, `loaded`, so that a bad adapter is told at once; else when it is asked for. */
static hd_status add_lora(hd_gateway *gateway, const char *given, bool loaded, hd_error *err)
{
    char name[256], *path = NULL;
    double scale;
    const char *sign = strchr(given, '=');
    if (!sign || sign == given || (size_t)(sign - given) >= sizeof name)
        return hd_fail(err, HD_E_ARGUMENT, "--lora %s: it must be NAME=ADAPTER or NAME=ADAPTER:SCALE", given);
    snprintf(name, sizeof name, "%.*s", (int)(sign - given), given);
    HD_TRY(hd_cli_adapter_words("lora", sign + 1, &path, &scale, err));
    hd_status status = hd_gateway_add_lora(gateway, name, path, scale, loaded, err);
    hd_free(path);
    return status;
}

hd_status hd_serve_add_models(hd_gateway *gateway, const hd_serve_flags *f, hd_serve_names names, hd_error *err)
{
    for (size_t i = 0; i < f->model_count; i++)
        HD_TRY(add_model(gateway, f, f->models[i], names[i], sizeof names[i], err));
    for (size_t i = 0; i < f->aliases.count; i++)
        HD_TRY(add_alias(gateway, f->aliases.items[i], err));
    for (size_t i = 0; i < f->cheaper.count; i++)
        HD_TRY(add_cheaper(gateway, f, f->cheaper.items[i], names[0], err));
    return HD_OK;
}

/* A model that can't be loaded must not keep the others from being served: it is tried again when it is asked for. Only
 * when there is no other, nothing is left to serve. */
hd_status hd_serve_load_models(hd_gateway *gateway, const hd_serve_flags *f, hd_serve_names names, hd_error *err)
{
    size_t loaded = 0;
    bool first = false; /* it is loaded: the base of adapters */
    hd_status status = HD_OK;
    for (size_t i = 0; i < f->model_count && !f->lazy; i++) {
        hd_status one = load_model(gateway, f, names[i], err);
        loaded += one == HD_OK;
        first |= i == 0 && one == HD_OK;
        if (one != HD_OK) status = one;
    }
    if (!loaded && !f->lazy) return status;
    for (size_t i = 0; i < f->loras.count; i++)
        HD_TRY(add_lora(gateway, f->loras.items[i], first, err));
    return HD_OK;
}

/* ---- the files of --tls-self-signed ---- */

hd_status hd_serve_tls_files(const char *folder, char **certificate, char **key, hd_error *err)
{
    hd_buf dir, one, two;
    hd_buf_init(&dir, 8192);
    hd_buf_init(&one, 8192);
    hd_buf_init(&two, 8192);
    hd_status status = hd_buf_printf(&dir, "%s/tls", folder);
    if (status == HD_OK) status = hd_buf_printf(&one, "%s/certificate.pem", dir.data);
    if (status == HD_OK) status = hd_buf_printf(&two, "%s/key.pem", dir.data);
    if (status != HD_OK)
        (void)hd_fail(err, status, "the path of %s is too long", folder);
    else if (mkdir(dir.data, 0700) != 0 && errno != EEXIST)
        status = hd_fail(err, HD_E_IO, "cannot make %s: %s", dir.data, strerror(errno));
    hd_buf_free(&dir);
    if (status == HD_OK) {
        *certificate = one.data;
        *key = two.data;
        return HD_OK;
    }
    hd_buf_free(&one);
    hd_buf_free(&two);
    return status;
}
