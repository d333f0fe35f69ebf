/* cli/cmd_quantize.c: `hadal quantize`: a model with smaller weights. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cpu.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include "quantize/quantize.h"

static const hd_manual manual = {
    .command = "quantize",
    .synopsis = "quantize IN OUT.gguf --type TYPE [--dry-run] [--json]\nquantize --types",
    .description =
        "Writes the model IN, a GGUF file or the name of a model, as OUT.gguf with weights of another type.  Matrices "
        "become TYPE, or what the mix of that name gives each; vectors, norms and the routers of experts stay as they "
        "are.  With a K type the matrix that gives the logits gets Q6_K, and a matrix whose rows are no whole blocks "
        "of "
        "256 gets a type of smaller blocks.  Take an original of 16 bits or more: what a small type lost does not come "
        "back.\n\n"
        "Tensors go through memory some megabytes at a time, so that a model may be larger than the memory.  The file "
        "grows as OUT.gguf.part.  When the command is interrupted or killed, the same command goes on where it was; "
        "the finished file is the same byte for byte.  A file that is there already is not replaced.",
    .examples = "hadal quantize --types\n"
                "hadal quantize model-bf16.gguf model-q4.gguf --type Q4_K_M\n"
                "hadal quantize model-bf16.gguf x.gguf --type Q4_K_M --dry-run --json | jq .bytes",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct command {
    const char *in, *out, *type;
    int64_t threads;
    bool dry_run, json, types;
    char *path;
    const hd_quant_mix *mix;
    hd_checkpoint *from;
    hd_type *recipe; /* of each tensor */
    uint64_t values, bytes, bytes_before, type_bytes[HD_TYPE_COUNT];
    size_t type_tensors[HD_TYPE_COUNT];
    double seconds;
} command;

/* ---- --types ---- */

static int list_types(void)
{
    size_t count;
    const hd_quant_mix *mixes = hd_quant_mixes(&count);
    for (size_t i = 0; i < count; i++)
        printf("%-8s %s\n", mixes[i].name, mixes[i].summary);
    return HD_EXIT_OK;
}

static hd_status find_mix(command *c, hd_error *err)
{
    size_t count;
    const hd_quant_mix *mixes = hd_quant_mixes(&count);
    const char *names[64];
    c->mix = hd_quant_mix_find(c->type);
    if (c->mix) return HD_OK;
    count = HD_MIN(count, HD_ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++)
        names[i] = mixes[i].name;
    const char *near = hd_suggest(c->type, names, count);
    return hd_fail(err, HD_E_ARGUMENT, "--type: there is no type '%s'%s%s%s; 'hadal quantize --types' lists them",
                   c->type, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* ---- what it will be ---- */

static void add_up(command *c)
{
    for (size_t i = 0; i < hd_checkpoint_tensor_count(c->from); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(c->from, i);
        hd_type type = c->recipe[i];
        size_t bytes = hd_quant_bytes(t, type);
        c->values += (uint64_t)hd_tensor_values(t);
        c->bytes_before += t->bytes;
        c->bytes += bytes;
        c->type_bytes[type] += bytes;
        c->type_tensors[type]++;
    }
}

static double bits_per_weight(const command *c, uint64_t bytes)
{
    return c->values ? 8.0 * (double)bytes / (double)c->values : 0.0;
}

static hd_status print_json(const command *c, hd_error *err)
{
    json_t *types = json_object();
    for (int t = 0; t < HD_TYPE_COUNT; t++) {
        if (!c->type_tensors[t]) continue;
        json_object_set_new(
            types, hd_type_name((hd_type)t),
            json_pack("{s:I, s:I}", "tensors", (json_int_t)c->type_tensors[t], "bytes", (json_int_t)c->type_bytes[t]));
    }
    json_t *o = json_pack("{s:o, s:s, s:I, s:f, s:I, s:f, s:o}", "path", hd_json_text(c->out, strlen(c->out)), "type",
                          c->mix->name, "bytes", (json_int_t)c->bytes, "bpw", bits_per_weight(c, c->bytes),
                          "bytes_before", (json_int_t)c->bytes_before, "bpw_before",
                          bits_per_weight(c, c->bytes_before), "tensor_types", types);
    if (o && !c->dry_run) json_object_set_new(o, "seconds", json_real(c->seconds));
    return hd_json_print(stdout, o, true, err);
}

static void print_text(const command *c)
{
    char before[HD_SIZE_TEXT], after[HD_SIZE_TEXT];
    fputs(c->dry_run ? "would be  " : "wrote     ", stdout);
    hd_terminal_name(stdout, c->out, 0);
    printf("\nweights   %s, %.2f bits each (before: %s, %.2f)\n", hd_size_text(after, c->bytes),
           bits_per_weight(c, c->bytes), hd_size_text(before, c->bytes_before), bits_per_weight(c, c->bytes_before));
    for (int t = 0; t < HD_TYPE_COUNT; t++)
        if (c->type_tensors[t])
            printf("  %-8s %5zu tensors %12s\n", hd_type_name((hd_type)t), c->type_tensors[t],
                   hd_size_text(after, c->type_bytes[t]));
    if (!c->dry_run) printf("time      %.1f s\n", c->seconds);
}

/* ---- the run ---- */

/* What an interrupted run left, if it did: not of a model that has changed since. */
static hd_status check_part(const command *c, uint64_t *bytes, hd_error *err)
{
    hd_buf part;
    struct stat st, model;
    hd_status status = HD_OK;
    *bytes = 0;
    hd_buf_init(&part, 1 << 16);
    if (hd_buf_printf(&part, "%s.part", c->out) == HD_OK && stat(part.data, &st) == 0) {
        *bytes = (uint64_t)st.st_size;
        if (stat(c->path, &model) == 0 && model.st_mtime > st.st_mtime)
            status = hd_fail(err, HD_E_ARGUMENT, "%s: is older than the model; remove it to start anew", part.data);
    }
    hd_buf_free(&part);
    return status;
}

static hd_status check_room(const command *c, uint64_t there, hd_error *err)
{
    char needed[HD_SIZE_TEXT], left[HD_SIZE_TEXT];
    const char *base = hd_path_base(c->out);
    char *folder = base == c->out ? hd_strdup(".") : hd_strndup(c->out, (size_t)(base - c->out));
    uint64_t room = folder ? hd_disk_free(folder) : UINT64_MAX, more = c->bytes - HD_MIN(c->bytes, there);
    hd_free(folder);
    if (room >= more) return HD_OK;
    return hd_fail(err, HD_E_IO, "%s: needs %s more, but only %s are left on that disk", c->out,
                   hd_size_text(needed, more), hd_size_text(left, room));
}

static hd_status check_output(const command *c, hd_error *err)
{
    struct stat st;
    uint64_t there;
    if (lstat(c->out, &st) == 0)
        return hd_fail(err, HD_E_ARGUMENT, "%s: is there already and is not replaced; take another name or remove it",
                       c->out);
    if (c->dry_run) return HD_OK;
    HD_TRY(check_part(c, &there, err));
    return check_room(c, there, err);
}

typedef struct progress {
    uint64_t start, first; /* time, and values that were done before */
    bool begun;
} progress;

static bool show_progress(void *arg, uint64_t done, uint64_t all)
{
    progress *p = arg;
    char what[48] = "quantizing";
    if (!p->begun) *p = (progress){hd_clock_ns(), done, true};
    double seconds = (double)(hd_clock_ns() - p->start) / 1e9;
    if (done > p->first && seconds > 2.0) {
        int left = (int)(seconds * (double)(all - done) / (double)(done - p->first)) + 1;
        snprintf(what, sizeof what, "quantizing, %d:%02d left", left / 60, left % 60);
    }
    hd_progress_show(what, all ? (double)done / (double)all : 1.0);
    return !hd_interrupted();
}

static hd_status run_it(command *c, hd_error *err)
{
    progress p = {0};
    hd_quant_options options = {.progress = show_progress, .arg = &p};
    int threads = c->threads ? (int)c->threads : hd_cpu_threads();
    HD_TRY(hd_pool_open(&options.pool, threads, err));
    uint64_t start = hd_clock_ns();
    hd_interrupt_catch(NULL, NULL);
    hd_status status = hd_quantize(c->from, c->recipe, c->mix, c->out, &options, err);
    hd_interrupt_release();
    hd_progress_clear();
    c->seconds = (double)(hd_clock_ns() - start) / 1e9;
    hd_pool_close(&options.pool);
    return status;
}

static hd_status make_recipe(command *c, hd_error *err)
{
    HD_TRY(hd_model_resolve(c->in, &c->path, err));
    HD_TRY(hd_checkpoint_open(&c->from, c->path, err));
    c->recipe = hd_alloc_array(HD_MAX(hd_checkpoint_tensor_count(c->from), 1), sizeof *c->recipe);
    if (!c->recipe) return hd_fail(err, HD_E_MEMORY, "no memory for the recipe");
    HD_TRY(hd_quant_recipe(c->recipe, c->from, c->mix, err));
    add_up(c);
    return HD_OK;
}

static hd_status run_all(command *c, hd_error *err)
{
    HD_TRY(find_mix(c, err));
    HD_TRY(make_recipe(c, err));
    HD_TRY(check_output(c, err));
    if (!c->dry_run) HD_TRY(run_it(c, err));
    if (c->json) return print_json(c, err);
    print_text(c);
    return HD_OK;
}

int hd_cmd_quantize(int argc, char **argv)
{
    command c = {0};
    hd_opt opts[] = {
        {.name = "type",
         .type = HD_OPT_STRING,
         .value = &c.type,
         .metavar = "TYPE",
         .initial = "",
         .help = "The type or mix that weights get; --types lists them."},
        {.name = "types", .type = HD_OPT_FLAG, .value = &c.types, .help = "Lists the types and mixes."},
        {.name = "dry-run",
         .type = HD_OPT_FLAG,
         .value = &c.dry_run,
         .help = "Says what the file would have, and writes nothing."},
        {.name = "threads",
         .letter = 't',
         .type = HD_OPT_INT,
         .value = &c.threads,
         .metavar = "N",
         .max = HD_POOL_MAX,
         .help = "Threads that encode; 0: all processors that this process may use."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &c.json, .help = "Prints one JSON object."},
    };
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {.manual = &manual,
                    .groups = &group,
                    .group_count = 1,
                    .max_operands = 2,
                    .operand_names = (const char *const[]){"IN", "OUT.gguf"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    if (c.types) return list_types();
    if (args.operand_count < 2) return hd_cli_usage(argv[0], "IN and OUT.gguf are needed");
    if (!c.type) return hd_cli_usage(argv[0], "--type is needed; 'hadal quantize --types' lists them");
    c.in = args.operands[0];
    c.out = args.operands[1];
    hd_error err = {0};
    hd_status status = run_all(&c, &err);
    hd_free(c.recipe);
    hd_checkpoint_close(&c.from);
    hd_free(c.path);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
