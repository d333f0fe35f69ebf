/* cli/cmd_artifacts.c: `hadal artifacts`: what installs the service: units, manifests, images, packages. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "ops/artifacts.h"
#include "ops/program.h"

typedef struct artifact_flags {
    const char *out, *from, *model, *image;
    int64_t port, replicas;
    hd_opt_list set;
    bool list_keys, distributions;
} artifact_flags;

static const hd_manual manual = {
    .command = "artifacts",
    .synopsis = "artifacts TARGET --out DIR [OPTIONS]\nartifacts --list-keys\nartifacts --distributions",
    .description =
        "Writes what installs the service elsewhere, from one description: defaults, then --from FILE, then the "
        "options.  The same description and the same program always give the same bytes: no time, no chance.  Nothing "
        "is asked of a network, and no container engine is needed.  Files of the same names in DIR are replaced.\n\n"
        "TARGET is one of:",
    .examples = "hadal artifacts systemd --out unit --model r1.gguf\n"
                "hadal artifacts compose --out stack --model r1.gguf --image registry.lan/hadal:1\n"
                "hadal artifacts description --out . && vi hadal.yaml\n"
                "hadal artifacts helm --out chart --from hadal.yaml --set memoryLimit=64Gi\n"
                "hadal artifacts --distributions",
};

/* The manual's description with the table of targets behind it. */
static void describe(hd_buf *text)
{
    const hd_artifact_target *t;
    (void)hd_buf_printf(text, "%s\n", manual.description);
    for (size_t i = 0; (t = hd_artifact_target_at(i)); i++)
        (void)hd_buf_printf(text, "  %-12s %s\n", t->name, t->summary);
}

static int list_keys(void)
{
    hd_description d;
    const hd_description_key *k;
    hd_description_init(&d, HD_VERSION);
    for (size_t i = 0; (k = hd_description_key_at(i)); i++)
        if (!k->derived) printf("%-22s %-42s %s\n", k->name, hd_description_get(&d, k->name), k->help);
    return HD_EXIT_OK;
}

static hd_status print_distributions(hd_error *err)
{
    hd_program *program = NULL;
    hd_buf text;
    HD_TRY(hd_program_open(&program, err));
    hd_buf_init(&text, 1 << 16);
    hd_status status = hd_program_distributions(program, &text);
    if (status == HD_OK)
        fputs(text.data, stdout);
    else
        (void)hd_fail(err, status, "no room for the list");
    hd_buf_free(&text);
    hd_program_close(&program);
    return status;
}

static hd_status set_pair(hd_description *d, const char *pair, hd_error *err)
{
    char name[64];
    const char *equals = strchr(pair, '=');
    if (!equals || equals == pair || (size_t)(equals - pair) >= sizeof name)
        return hd_fail(err, HD_E_ARGUMENT, "--set takes KEY=VALUE; '%s' is none", pair);
    snprintf(name, sizeof name, "%.*s", (int)(equals - pair), pair);
    return hd_description_set(d, name, equals + 1, err);
}

static hd_status set_number(hd_description *d, const char *key, int64_t value, hd_error *err)
{
    char text[32];
    if (!value) return HD_OK;
    snprintf(text, sizeof text, "%lld", (long long)value);
    return hd_description_set(d, key, text, err);
}

static hd_status describe_deployment(hd_description *d, const artifact_flags *f, hd_error *err)
{
    hd_description_init(d, HD_VERSION);
    if (f->from) HD_TRY(hd_description_read(d, f->from, err));
    if (f->model) HD_TRY(hd_description_set(d, "model", f->model, err));
    if (f->image) HD_TRY(hd_description_set(d, "image", f->image, err));
    HD_TRY(set_number(d, "port", f->port, err));
    HD_TRY(set_number(d, "replicas", f->replicas, err));
    for (size_t i = 0; i < f->set.count; i++)
        HD_TRY(set_pair(d, f->set.items[i], err));
    return hd_description_settle(d, err);
}

static hd_status make(const hd_artifact_target *target, const hd_description *d, const char *folder, hd_error *err)
{
    hd_artifact_files files = {0};
    hd_status status = hd_artifacts_make(target, d, folder, &files, err);
    for (size_t i = 0; i < files.count && status == HD_OK; i++)
        if (files.items[i].data) printf("%s/%s\n", folder, files.items[i].path);
    hd_artifact_files_free(&files);
    return status;
}

static const hd_artifact_target *find_target(const char *word)
{
    const char *names[32];
    const hd_artifact_target *t = hd_artifact_target_find(word);
    size_t count = 0;
    if (t) return t;
    for (; (t = hd_artifact_target_at(count)) && count < HD_ARRAY_LEN(names); count++)
        names[count] = t->name;
    const char *near = hd_suggest(word, names, count);
    if (near)
        (void)hd_cli_usage("artifacts", "unknown target '%s'; did you mean %s?", word, near);
    else
        (void)hd_cli_usage("artifacts", "unknown target '%s'; --help lists those that there are", word);
    return NULL;
}

static int run(const hd_args *args, const artifact_flags *f)
{
    hd_description d;
    hd_error err = {0};
    if (f->list_keys) return list_keys();
    if (f->distributions) return print_distributions(&err) == HD_OK ? HD_EXIT_OK : hd_cli_fail("artifacts", &err);
    if (!args->operands[0]) return hd_cli_usage("artifacts", "TARGET is missing: what is to be written?");
    const hd_artifact_target *target = find_target(args->operands[0]);
    if (!target) return HD_EXIT_USAGE;
    if (!f->out) return hd_cli_usage("artifacts", "--out DIR is missing: where to?");
    hd_status status = describe_deployment(&d, f, &err);
    if (status == HD_E_ARGUMENT) return hd_cli_usage("artifacts", "%s", err.text);
    if (status == HD_OK) status = make(target, &d, f->out, &err);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail("artifacts", &err);
}

int hd_cmd_artifacts(int argc, char **argv)
{
    artifact_flags f = {0};
    hd_opt opts[] = {
        {.name = "out", .letter = 'o', .type = HD_OPT_STRING, .value = &f.out, .metavar = "DIR", .help = "Where to."},
        {.name = "from",
         .type = HD_OPT_STRING,
         .value = &f.from,
         .metavar = "FILE",
         .help = "The description: YAML, one mapping of keys to values.",
         .initial = "defaults"},
        {.name = "model",
         .type = HD_OPT_STRING,
         .value = &f.model,
         .metavar = "NAME",
         .help = "File or folder of the model, below the models folder (the key model).",
         .initial = "model.gguf"},
        {.name = "image",
         .type = HD_OPT_STRING,
         .value = &f.image,
         .metavar = "NAME",
         .help = "The container image (the key image).",
         .initial = "hadal:" HD_VERSION},
        {.name = "port",
         .type = HD_OPT_INT,
         .value = &f.port,
         .metavar = "N",
         .min = 1024,
         .max = 65535,
         .help = "Port of the service (the key port).",
         .initial = "8080"},
        {.name = "replicas",
         .type = HD_OPT_INT,
         .value = &f.replicas,
         .metavar = "N",
         .min = 1,
         .max = 1000,
         .help = "Copies, at least (the key replicas).",
         .initial = "1"},
        {.name = "set",
         .type = HD_OPT_LIST,
         .value = &f.set,
         .metavar = "KEY=VALUE",
         .help = "Any key of the description; stronger than all others."},
        {.name = "list-keys", .type = HD_OPT_FLAG, .value = &f.list_keys, .help = "Print every key of a description."},
        {.name = "distributions",
         .type = HD_OPT_FLAG,
         .value = &f.distributions,
         .help = "Print on which distributions the C library is new enough for this program."},
    };
    static const char *const operand_names[] = {"TARGET"};
    hd_buf text;
    hd_buf_init(&text, 1 << 16);
    describe(&text);
    hd_manual full = manual;
    if (text.status == HD_OK) full.description = text.data;
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {
        .manual = &full, .groups = &group, .group_count = 1, .max_operands = 1, .operand_names = operand_names};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc == HD_ARGS_OK) rc = run(&args, &f);
    hd_buf_free(&text);
    return rc;
}
