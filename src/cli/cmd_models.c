/* cli/cmd_models.c: `hadal models`: what is in the models folder, and what the catalogue has. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/text.h"
#include "cli/catalogue.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/models_dir.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "formats/formats.h"

#define MAX_MODELS 10000

/* One model in the folder. */
typedef struct model {
    char *name;
    char *path;   /* what the engine opens */
    char *source; /* of its record; NULL: it has none */
    char architecture[64];
    const char *type; /* of most of its bytes; NULL: unknown */
    uint64_t bytes;
    time_t when;
    char problem[HD_ERROR_TEXT]; /* why it can't be opened; "" when it can */
} model;

typedef struct model_list {
    model *items;
    size_t count;
} model_list;

static void list_free(model_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        hd_free(list->items[i].name);
        hd_free(list->items[i].path);
        hd_free(list->items[i].source);
    }
    hd_free(list->items);
}

/* ---- looking into a model ---- */

static void read_architecture(model *m, const hd_checkpoint *ckpt)
{
    const hd_meta *meta = hd_checkpoint_meta(ckpt, "general.architecture");
    const char *type = json_string_value(json_object_get(hd_checkpoint_config(ckpt), "model_type"));
    if (meta && meta->type == HD_META_STRING)
        snprintf(m->architecture, sizeof m->architecture, "%.*s", (int)HD_MIN(meta->string.len, 63u),
                 meta->string.data);
    else if (type)
        snprintf(m->architecture, sizeof m->architecture, "%s", type);
    hd_text_clean(m->architecture); /* it goes to a terminal */
}

/* The type that most bytes of the tensors have. */
static void read_type(model *m, const hd_checkpoint *ckpt)
{
    uint64_t bytes[HD_TYPE_COUNT] = {0}, most = 0;
    for (size_t i = 0; i < hd_checkpoint_tensor_count(ckpt); i++) {
        const hd_tensor *tensor = hd_checkpoint_tensor(ckpt, i);
        bytes[tensor->type] += tensor->bytes;
        if (bytes[tensor->type] <= most) continue;
        most = bytes[tensor->type];
        m->type = hd_type_name(tensor->type);
    }
}

static void look_into(model *m)
{
    hd_checkpoint *ckpt = NULL;
    hd_error err = {.status = HD_OK};
    if (hd_checkpoint_open(&ckpt, m->path, &err) != HD_OK) {
        snprintf(m->problem, sizeof m->problem, "%s", err.text);
        return;
    }
    read_architecture(m, ckpt);
    read_type(m, ckpt);
    hd_checkpoint_close(&ckpt);
}

/* Size and newest date of a file, or of the files right in a folder. */
static bool measure(model *m, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) return false;
    if (!S_ISDIR(st.st_mode)) {
        m->bytes += (uint64_t)st.st_size;
        m->when = st.st_mtime > m->when ? st.st_mtime : m->when;
        return true;
    }
    DIR *dir = opendir(path);
    if (!dir) return false;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (fstatat(dirfd(dir), entry->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode)) continue;
        m->bytes += (uint64_t)st.st_size;
        m->when = st.st_mtime > m->when ? st.st_mtime : m->when;
    }
    closedir(dir);
    return true;
}

/* ---- the folder ---- */

static hd_status add_model(model_list *list, const char *full, const char *name, hd_error *err)
{
    if (list->count == MAX_MODELS) return hd_fail(err, HD_E_LIMIT, "more than %d models", MAX_MODELS);
    model *items = hd_realloc_array(list->items, list->count + 1, sizeof *items);
    if (!items) return hd_fail(err, HD_E_MEMORY, "out of memory");
    list->items = items;
    model *m = &items[list->count++];
    *m = (model){.name = hd_strdup(name)};
    if (!m->name) return hd_fail(err, HD_E_MEMORY, "out of memory");
    json_t *record = NULL;
    if (hd_record_read(&record, full, NULL) == HD_OK) {
        const char *source = json_string_value(json_object_get(record, "source"));
        m->source = source ? hd_strdup(source) : NULL;
        json_decref(record);
    }
    struct stat st;
    (void)measure(m, full);
    if (stat(full, &st) == 0 && S_ISDIR(st.st_mode)) HD_TRY(hd_model_folder_entry(&m->path, full, err));
    if (!m->path && !(m->path = hd_strdup(full))) return hd_fail(err, HD_E_MEMORY, "out of memory");
    look_into(m);
    return HD_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const model *)a)->name, ((const model *)b)->name);
}

static hd_status read_folder(model_list *list, const char *folder, hd_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir && errno == ENOENT) return HD_OK;
    if (!dir) return hd_fail(err, HD_E_IO, "%s: cannot read this folder: %s", folder, strerror(errno));
    hd_status status = HD_OK;
    for (struct dirent *entry; status == HD_OK && (entry = readdir(dir));) {
        char *full = NULL;
        status = hd_path_join(&full, folder, entry->d_name, err);
        if (status == HD_OK && hd_model_may_be(full, entry->d_name)) status = add_model(list, full, entry->d_name, err);
        hd_free(full);
    }
    closedir(dir);
    if (list->count) qsort(list->items, list->count, sizeof *list->items, by_name);
    return status;
}

/* ---- showing ---- */

static const char *date_text(char text[32], time_t when)
{
    struct tm local;
    if (!localtime_r(&when, &local) || !strftime(text, 32, "%Y-%m-%d", &local)) snprintf(text, 32, "?");
    return text;
}

static void print_models(const model_list *list, const char *folder)
{
    char size[HD_SIZE_TEXT], date[32];
    int width = 4;
    for (size_t i = 0; i < list->count; i++)
        width = HD_MAX(width, (int)HD_MIN(strlen(list->items[i].name), 60u));
    if (list->count == 0) {
        fprintf(stderr, "no model is in %s yet; hadal models --catalogue lists what hadal pull can fetch\n", folder);
        return;
    }
    printf("%-*s  %-14s %-8s %10s  %-10s  %s\n", width, "NAME", "ARCHITECTURE", "TYPE", "SIZE", "DATE", "SOURCE");
    for (size_t i = 0; i < list->count; i++) {
        const model *m = &list->items[i];
        hd_terminal_name(stdout, m->name, width);
        printf("  %-14s %-8s %10s  %-10s  ", m->architecture[0] ? m->architecture : "?", m->type ? m->type : "?",
               hd_size_text(size, m->bytes), date_text(date, m->when));
        hd_terminal_name(stdout, m->source ? m->source : "-", 0);
        putchar('\n');
        if (!m->problem[0]) continue;
        hd_terminal_name(stderr, m->name, 0);
        fprintf(stderr, " can't be opened: %s\n", m->problem);
    }
}

static json_t *model_json(const model *m)
{
    char when[32] = "";
    struct tm utc;
    if (gmtime_r(&m->when, &utc)) (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *name = hd_json_text(m->name, strlen(m->name)), *path = hd_json_text(m->path, strlen(m->path));
    return json_pack("{s:o, s:o, s:s?, s:s?, s:I, s:s, s:s?, s:s?}", "name", name, "path", path, "architecture",
                     m->architecture[0] ? m->architecture : NULL, "type", m->type, "bytes", (json_int_t)m->bytes,
                     "date", when, "source", m->source, "problem", m->problem[0] ? m->problem : NULL);
}

/* Whether running a source fits this machine: "yes", "tight" (more than three quarters), "no", "?" when not known. */
static const char *fits(const hd_catalogue_source *source, uint64_t memory)
{
    if (!memory || !source->memory) return "?";
    return source->memory > memory ? "no" : source->memory > memory / 4 * 3 ? "tight" : "yes";
}

static void print_catalogue(const hd_catalogue *catalogue, const char *folder)
{
    char size[HD_SIZE_TEXT], needs[HD_SIZE_TEXT], machine[HD_SIZE_TEXT];
    uint64_t memory = hd_memory_limit();
    printf("%-22s %-20s %-12s %10s %10s  %-5s %-4s %-7s %s\n", "NAME", "PARAMETERS", "FORMAT", "SIZE", "MEMORY", "FITS",
           "HERE", "LANGS", "LICENCE");
    for (size_t i = 0; i < hd_catalogue_count(catalogue); i++) {
        const hd_catalogue_entry *entry = hd_catalogue_at(catalogue, i);
        const hd_catalogue_source *source = &entry->sources[0];
        char *path = NULL;
        bool here = hd_model_resolve_in(folder, entry->name, &path, NULL) == HD_OK;
        hd_free(path);
        printf("%-22s %-20s %-12s %10s %10s  %-5s %-4s %-7s %s%s\n", entry->name, entry->parameters, source->format,
               hd_size_text(size, source->bytes), hd_size_text(needs, source->memory), fits(source, memory),
               here ? "yes" : "-", entry->languages, entry->licence,
               entry->runs ? "" : " (this version can't run it yet)");
    }
    fprintf(stderr,
            "this machine lets a program use %s of memory; hadal pull NAME fetches one; --json shows all sources\n",
            hd_size_text(machine, memory));
}

static json_t *entry_json(const hd_catalogue_entry *entry, uint64_t memory)
{
    json_t *sources = json_array();
    for (size_t i = 0; sources && i < entry->source_count; i++) {
        const hd_catalogue_source *s = &entry->sources[i];
        json_t *source = json_pack("{s:s, s:s, s:I, s:I, s:s, s:b, s:s?}", "source", s->source, "format", s->format,
                                   "bytes", (json_int_t)s->bytes, "memory", (json_int_t)s->memory, "fits",
                                   fits(s, memory), "tried", (int)s->tried, "sha256", s->sha256);
        if (json_array_append_new(sources, source) != 0) {
            json_decref(sources);
            sources = NULL;
        }
    }
    if (!sources) return NULL;
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:o}", "name", entry->name, "title", entry->title,
                     "about", entry->about, "parameters", entry->parameters, "licence", entry->licence, "languages",
                     entry->languages, "context", (json_int_t)entry->context, "runs", (int)entry->runs, "sources",
                     sources);
}

/* Prints an array of what `item` makes of each index. */
static hd_status print_json(size_t count, json_t *(*item)(const void *arg, size_t i), const void *arg, hd_error *err)
{
    json_t *array = json_array();
    bool good = array != NULL;
    for (size_t i = 0; good && i < count; i++)
        good = json_array_append_new(array, item(arg, i)) == 0;
    if (good && json_dumpf(array, stdout, JSON_INDENT(2)) == 0) putchar('\n');
    json_decref(array);
    return good ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory");
}

static json_t *item_model(const void *arg, size_t i)
{
    return model_json(&((const model_list *)arg)->items[i]);
}

static json_t *item_entry(const void *arg, size_t i)
{
    return entry_json(hd_catalogue_at(arg, i), hd_memory_limit());
}

/* ---- the command ---- */

static hd_status show_catalogue(const char *folder, bool json, hd_error *err)
{
    hd_catalogue *catalogue = NULL;
    HD_TRY(hd_catalogue_open(&catalogue, err));
    hd_status status = HD_OK;
    if (json)
        status = print_json(hd_catalogue_count(catalogue), item_entry, catalogue, err);
    else
        print_catalogue(catalogue, folder);
    hd_catalogue_close(&catalogue);
    return status;
}

static hd_status show_models(const char *folder, bool json, hd_error *err)
{
    model_list list = {0};
    hd_status status = read_folder(&list, folder, err);
    if (status == HD_OK && json)
        status = print_json(list.count, item_model, &list, err);
    else if (status == HD_OK)
        print_models(&list, folder);
    list_free(&list);
    return status;
}

static const hd_manual manual = {
    .command = "models",
    .synopsis = "models [--catalogue] [--json]",
    .description =
        "Lists the models in the models folder: name, architecture, the type of most of its weights, size, date, and "
        "where it came from. With --catalogue, lists what hadal pull knows by a short name, and whether it "
        "fits the memory of this machine.",
    .examples = "  hadal models\n  hadal models --catalogue\n  hadal models --json | jq '.[].path'\n",
    .environment = "  HADAL_MODELS   the models folder\n",
    .files = "  ~/.local/share/hadal/models      models (XDG_DATA_HOME)\n"
             "  ~/.config/hadal/catalogue.json   your own catalogue entries (XDG_CONFIG_HOME)\n",
};

int hd_cmd_models(int argc, char **argv)
{
    const char *flag = NULL;
    bool catalogue = false, json = false;
    hd_opt opts[] = {
        {.name = "catalogue", .type = HD_OPT_FLAG, .value = &catalogue, .help = "List what can be pulled by name."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &json, .help = "Print a JSON array."},
        {.name = "models-dir",
         .type = HD_OPT_STRING,
         .value = &flag,
         .metavar = "FOLDER",
         .help = "The models folder.",
         .initial = "~/.local/share/hadal/models"},
    };
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)}};
    hd_args args = {.manual = &manual, .groups = groups, .group_count = 1};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    hd_error err = {.status = HD_OK};
    char *folder = NULL;
    hd_status status = hd_models_dir(&folder, flag, &err);
    if (status == HD_OK) status = catalogue ? show_catalogue(folder, json, &err) : show_models(folder, json, &err);
    hd_free(folder);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail("models", &err);
}
