/* cli/cmd_quantize.c: `hadal quantize`: a model with smaller weights. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/quantize.h"
#include "cli/terminal.h"
#include "quantize/recipe_file.h"

static const hd_manual manual = {
    .command = "quantize",
    .synopsis = "quantize IN OUT.gguf --type TYPE [--imatrix FILE | --calibrate TEXT] [--dry-run]\n"
                "quantize IN OUT.gguf --target-bpw BITS [--calibrate TEXT] [--save-recipe FILE]\n"
                "quantize IN OUT.gguf --target-size SIZE | --fit-machine [--calibrate TEXT]\n"
                "quantize IN OUT.gguf --recipe FILE\n"
                "quantize IN OUT.gguf --type TYPE --prune-ffn SHARE --calibrate TEXT | --imatrix FILE\n"
                "quantize IN OUT.lora.gguf --low-rank RANK --low-rank-base QUANTIZED.gguf [--imatrix FILE]\n"
                "quantize IN OUT.gguf [--type TYPE] --report FILE [--report-text TEXT]\n"
                "quantize IN FOLDER --type FP8|INT8\n"
                "quantize IN --calibrate TEXT --imatrix-out FILE\nquantize --types",
    .description =
        "Writes the model IN, a GGUF file, a folder in the layout of the official releases (safetensors or PyTorch) or "
        "the name "
        "of "
        "a model, as OUT.gguf with weights of another type.  Matrices become TYPE, or what the mix of that name gives "
        "each; vectors, norms and the routers of experts stay as they are.  The matrix that gives the logits gets Q6_K "
        "in most mixes, and a matrix whose rows are no whole blocks of 256 gets a type of smaller blocks.  Take an "
        "original of 16 bits or more: what a small type lost does not come back.\n\n"
        "Tensors go through memory some megabytes at a time, so that a model may be larger than the memory.  The file "
        "grows as OUT.gguf.part.  When the command is interrupted or killed, the same command goes on where it was; "
        "the finished file is the same byte for byte.  A file that is there already is not replaced.\n\n"
        "An importance matrix says how large the inputs of each column of weights are, so that errors are made where "
        "they cost least: more for small types, next to nothing for Q8_0.  --calibrate reads a text with the model for "
        "it, best one of the kind that the model is for, at the speed of a prompt or half of it.  --imatrix-out "
        "keeps it for other types, and for going on after an interruption: the same command with --imatrix.\n\n"
        "FP8 and INT8 make no GGUF file but a folder in the layout of the releases, as 'hadal convert' with --type FP8 "
        "or "
        "INT8: see there.\n\n"
        "With a budget each tensor gets a type of its own, so that the model loses least within the bytes, and a table "
        "says what each class of tensors got.  With --calibrate it is measured what errors in each class cost: the "
        "model is read with that class alone rounded; with --imatrix beside it the importance comes from that file.  "
        "Without, errors are taken to cost the same everywhere.  "
        "--save-recipe keeps the choice, to be edited and used again with --recipe.\n\n"
        "--prune-ffn and --keep-experts make the model itself smaller: channels of the feed-forward networks, or "
        "experts, that add least to the outputs on the text are left out, in each layer as many.  Nothing is trained "
        "afterwards, so quality falls fast: look at the result with hadal eval --against.\n\n"
        "--low-rank writes no model but an adapter beside one: a product of two thin matrices for each matrix of the "
        "quantized file --low-rank-base, which gives back what of its errors it can.  Give it with --lora to 'hadal "
        "run', "
        "chat, eval, bench or serve (ranks to 256), or to llama.cpp, or merge it with 'hadal convert --merge'.  A "
        "larger "
        "type often does more for the same bytes.\n\n"
        "--report measures what was written against IN: errors tensor by tensor, then with both models in memory "
        "perplexity and divergence on a text, and how fast both read and write here.  FILE gets it as JSON, the "
        "model's "
        "metadata all but the list of tensors; 'hadal inspect' shows it.  When that is interrupted, the model is "
        "whole, "
        "and the same command makes the report: of an OUT.gguf that is there already nothing else is done.  Don't make "
        "one of a file that a service has open: its metadata change.",
    .examples = "hadal quantize --types\n"
                "hadal quantize model-bf16.gguf model-q4.gguf --type Q4_K_M\n"
                "hadal quantize model-bf16.gguf x.gguf --type Q4_K_M --dry-run --json | jq .bytes\n"
                "hadal quantize model-bf16.gguf --calibrate text.txt --imatrix-out model.imatrix.gguf\n"
                "hadal quantize model-bf16.gguf model-q3.gguf --type Q3_K_M --imatrix model.imatrix.gguf\n"
                "hadal quantize model-bf16.gguf model-4.5.gguf --target-bpw 4.5 --calibrate text.txt\n"
                "hadal quantize model-bf16.gguf thin.gguf --type Q8_0 --prune-ffn 10% --imatrix x.imatrix.gguf\n"
                "hadal quantize model-bf16.gguf q3.lora.gguf --low-rank 16 --low-rank-base model-q3.gguf \\\n"
                "      --imatrix x.imatrix.gguf\n"
                "hadal quantize model-bf16.gguf model-q4.gguf --report report.json --report-text other.txt",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct command {
    hd_rewrite model;
    const char *type, *split;
    bool dry_run, json, types;
    const hd_quant_mix *mix; /* NULL: a recipe without a name */
    bool release;            /* `codes` in a folder of safetensors */
    hd_type codes;
    hd_calibration importance;
    hd_budget_flags budget;
    hd_prune_flags prune;
    hd_low_rank_flags low_rank;
    hd_report_flags report;
    bool there; /* OUT is: only a report is made */
    uint64_t values, bytes, values_before, bytes_before, type_bytes[HD_TYPE_COUNT];
    size_t type_tensors[HD_TYPE_COUNT];
} command;

/* ---- --types ---- */

static int list_types(void)
{
    size_t count;
    const hd_quant_mix *mixes = hd_quant_mixes(&count);
    for (size_t i = 0; i < count; i++)
        printf("%-9s %s%s\n", mixes[i].name, mixes[i].summary,
               hd_quant_mix_writable(&mixes[i]) ? "" : " (can't be written yet)");
    puts("FP8       8 bits, as DeepSeek-V3 ships it: e4m3 with scales of blocks, in a folder of safetensors\n"
         "INT8      8 bits, as compressed-tensors has it (W8A8): scales of rows, in a folder of safetensors");
    return HD_EXIT_OK;
}

static hd_status find_mix(command *c, hd_error *err)
{
    size_t count;
    const hd_quant_mix *mixes = hd_quant_mixes(&count);
    const char *names[64];
    c->mix = hd_quant_mix_find(c->type);
    c->release = hd_quant_release_type(c->type, &c->codes);
    if (c->mix || c->release) return HD_OK;
    count = HD_MIN(count, HD_ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++)
        names[i] = mixes[i].name;
    const char *near = hd_suggest(c->type, names, count);
    return hd_fail(err, HD_E_ARGUMENT, "--type: there is no type '%s'%s%s%s; 'hadal quantize --types' lists them",
                   c->type, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* ---- what it will be ---- */

static void add_tensor(command *c, const hd_tensor *t, hd_type type)
{
    size_t bytes = hd_quant_bytes(t, type);
    c->values += (uint64_t)hd_tensor_values(t);
    c->bytes += bytes;
    c->type_bytes[type] += bytes;
    c->type_tensors[type]++;
}

static void add_up_before(command *c)
{
    for (size_t i = 0; i < hd_source_count(c->model.source); i++)
        c->values_before += (uint64_t)hd_tensor_values(hd_source_tensor(c->model.source, i));
    if (hd_prune_given(&c->prune)) c->values_before = c->prune.facts.values_before; /* the source is what is left */
    for (size_t i = 0; i < hd_checkpoint_tensor_count(c->model.ckpt); i++)
        c->bytes_before += hd_checkpoint_tensor(c->model.ckpt, i)->bytes;
}

static void add_up(command *c)
{
    for (size_t i = 0; i < hd_source_count(c->model.source); i++)
        add_tensor(c, hd_source_tensor(c->model.source, i), c->model.types[i]);
    add_up_before(c);
}

/* Of an OUT that is there: it may be a pruned model, with other shapes than IN's. */
static hd_status add_up_written(command *c, hd_error *err)
{
    hd_checkpoint *written = NULL;
    HD_TRY(hd_checkpoint_open(&written, c->model.out, err));
    for (size_t i = 0; i < hd_checkpoint_tensor_count(written); i++)
        add_tensor(c, hd_checkpoint_tensor(written, i), hd_checkpoint_tensor(written, i)->type);
    hd_checkpoint_close(&written);
    add_up_before(c);
    return HD_OK;
}

static double bits_per_weight(uint64_t values, uint64_t bytes)
{
    return values ? 8.0 * (double)bytes / (double)values : 0.0;
}

static const char *type_name(const command *c)
{
    if (c->mix) return c->mix->name;
    if (c->release) return c->type;
    return c->there ? json_string_value(json_object_get(c->report.made, "recipe")) : "recipe";
}

static hd_status print_json(const command *c, hd_error *err)
{
    char *first = NULL;
    size_t files = 1;
    if (c->there)
        first = hd_strdup(c->model.out);
    else
        HD_TRY(hd_rewrite_files(&c->model, &first, &files, err));
    if (!first) return hd_fail(err, HD_E_MEMORY, "no memory for a path");
    json_t *types = json_object();
    for (int t = 0; t < HD_TYPE_COUNT; t++) {
        if (!c->type_tensors[t]) continue;
        json_object_set_new(
            types, hd_type_name((hd_type)t),
            json_pack("{s:I, s:I}", "tensors", (json_int_t)c->type_tensors[t], "bytes", (json_int_t)c->type_bytes[t]));
    }
    json_t *o = json_pack("{s:o, s:s, s:I, s:f, s:I, s:f, s:o}", "path", hd_json_text(first, strlen(first)), "type",
                          type_name(c), "bytes", (json_int_t)c->bytes, "bpw", bits_per_weight(c->values, c->bytes),
                          "bytes_before", (json_int_t)c->bytes_before, "bpw_before",
                          bits_per_weight(c->values_before, c->bytes_before), "tensor_types", types);
    hd_free(first);
    if (o && c->model.split && !c->there) json_object_set_new(o, "files", json_integer((json_int_t)files));
    if (o && !c->dry_run && !c->there) json_object_set_new(o, "seconds", json_real(c->model.seconds));
    if (o && c->importance.matrix) json_object_set_new(o, "imatrix", hd_calibration_json(&c->importance));
    if (o && hd_prune_given(&c->prune)) json_object_set_new(o, "prune", hd_prune_json(&c->prune));
    if (o && c->budget.classes) json_object_set_new(o, "budget", hd_budget_json(&c->budget, &c->model));
    if (o && c->report.made) json_object_set(o, "report", c->report.made);
    return hd_json_print(stdout, o, true, err);
}

static hd_status print_text(const command *c, hd_error *err)
{
    char before[HD_SIZE_TEXT], after[HD_SIZE_TEXT];
    if (c->there) {
        fputs("there is  ", stdout);
        hd_terminal_name(stdout, c->model.out, 0);
    } else
        HD_TRY(hd_rewrite_print_out(&c->model, c->dry_run ? "would be  " : "wrote     ", err));
    printf("\nweights   %s, %.2f bits each (before: %s, %.2f)\n", hd_size_text(after, c->bytes),
           bits_per_weight(c->values, c->bytes), hd_size_text(before, c->bytes_before),
           bits_per_weight(c->values_before, c->bytes_before));
    for (int t = 0; t < HD_TYPE_COUNT; t++)
        if (c->type_tensors[t])
            printf("  %-8s %5zu tensors %12s\n", hd_type_name((hd_type)t), c->type_tensors[t],
                   hd_size_text(after, c->type_bytes[t]));
    if (hd_prune_given(&c->prune)) hd_prune_print(&c->prune);
    hd_budget_print(&c->budget, &c->model);
    if (c->importance.matrix) hd_calibration_print(&c->importance);
    if (!c->dry_run && !c->there) printf("time      %.1f s\n", c->model.seconds);
    hd_report_print(&c->report);
    return HD_OK;
}

/* ---- the run ---- */

/* The importance matrix is gathered under the names of the checkpoint's tensors, which must be those of the file. */
static hd_status check_calibration(const command *c, hd_error *err)
{
    bool gguf = hd_checkpoint_format(c->model.ckpt) == HD_FORMAT_GGUF;
    if (gguf || !c->importance.text) return HD_OK;
    return hd_fail(
        err, HD_E_UNSUPPORTED,
        "--calibrate needs a GGUF file: 'hadal convert %s x.gguf' makes one, to be given as IN; what --imatrix-out "
        "keeps of it goes with %s, too, by --imatrix",
        c->model.in, c->model.in);
}

static const char *recipe_name(const command *c)
{
    return c->mix ? c->mix->name : c->budget.load ? c->budget.load : "chosen by budget";
}

/* What can be known of recipe and disk before a text is read; of a pruned model the sizes are not known yet. */
static hd_status check_recipe(command *c, hd_error *err)
{
    hd_rewrite *w = &c->model;
    const hd_quant_options o = {.split = w->split};
    if (c->release || hd_prune_given(&c->prune)) return HD_OK;
    if (c->mix)
        hd_quant_types(w->types, hd_source_tensors(w->source), hd_source_count(w->source), c->mix,
                       c->importance.text || c->importance.from);
    else
        HD_TRY(hd_budget_check(&c->budget, w, err));
    return c->dry_run ? HD_OK : hd_quant_check_room(w->source, w->types, w->out, &o, err);
}

static hd_status make_recipe(command *c, hd_error *err)
{
    hd_calibration *i = &c->importance;
    bool reads = !c->release && (!c->dry_run || !c->mix); /* a mix has its size without looking at anything */
    HD_TRY(check_calibration(c, err));
    HD_TRY(check_recipe(c, err));
    if (reads) HD_TRY(hd_calibration_make(i, c->model.in, (int)c->model.threads, err));
    bool weighted = i->text || i->from;
    if (hd_prune_given(&c->prune))
        HD_TRY(hd_prune_make(&c->prune, &c->model, i, c->mix ? c->mix->type : HD_TYPE_COUNT, err));
    const hd_source *s = c->model.source;
    if (c->release)
        HD_TRY(hd_rewrite_scale(&c->model, c->codes, c->type, err));
    else if (c->mix)
        hd_quant_types(c->model.types, hd_source_tensors(s), hd_source_count(s), c->mix, weighted);
    else
        HD_TRY(hd_budget_make(&c->budget, &c->model, i, err));
    if (reads) hd_calibration_note(i, s, c->model.types);
    const char *note = recipe_name(c);
    if (c->budget.save) HD_TRY(hd_recipe_save(c->budget.save, s, c->model.types, note, err));
    add_up(c);
    return HD_OK;
}

/* A release is made of no recipe, and is no file. */
static hd_status check_release(const command *c, hd_error *err)
{
    bool other = c->importance.text || c->importance.from || hd_budget_given(&c->budget) || c->budget.save ||
                 hd_prune_given(&c->prune);
    if (!c->release) return HD_OK;
    if (other)
        return hd_fail(err, HD_E_ARGUMENT, "--type %s: takes no importance matrix, budget, recipe or pruning", c->type);
    if (c->report.path)
        return hd_fail(err, HD_E_ARGUMENT,
                       "--report is for GGUF files; 'hadal eval %s --against %s --text FILE' compares a folder",
                       c->model.out, c->model.in);
    if (hd_text_ends_with(c->model.out, ".gguf"))
        return hd_fail(err, HD_E_ARGUMENT,
                       "--type %s: makes a folder of safetensors, GGUF has no such type; take a name without .gguf, or "
                       "--type Q8_0",
                       c->type);
    return HD_OK;
}

/* Before any work: --save-recipe replaces nothing. */
static hd_status check_recipe_name(const command *c, hd_error *err)
{
    if (!c->budget.save) return HD_OK;
    HD_TRY(hd_path_check_free(c->budget.save, err));
    return hd_folder_check(c->budget.save, err);
}

static hd_status print_all(const command *c, hd_error *err)
{
    return c->json ? print_json(c, err) : print_text(c, err);
}

/* OUT is there already: what --calibrate would gather is not gathered again; a matrix that it wrote is read. */
static hd_status report_only(command *c, hd_error *err)
{
    hd_calibration *i = &c->importance;
    bool weighted = i->text || i->from, given = c->type || hd_budget_given(&c->budget);
    struct stat st;
    if (stat(c->model.out, &st) == 0 && !S_ISREG(st.st_mode))
        return hd_fail(err, HD_E_ARGUMENT, "%s: is no GGUF file; 'hadal eval %s --against %s --text FILE' compares it",
                       c->model.out, c->model.out, c->model.in);
    if (hd_prune_given(&c->prune))
        return hd_fail(err, HD_E_ARGUMENT,
                       "%s: is there already, and only the run that prunes knows what to compare it with; 'hadal eval "
                       "%s --against %s --text FILE' compares the whole models",
                       c->model.out, c->model.out, c->model.in);
    if (given)
        fprintf(stderr, "hadal: quantize: %s is there already: a report of it is made, nothing else\n", c->model.out);
    HD_TRY(hd_rewrite_open(&c->model, HD_FORMAT_GGUF, err));
    HD_TRY(hd_report_adopt(&c->model, c->mix, weighted, err));
    if (!i->from && i->to && access(i->to, R_OK) == 0) i->from = i->to;
    if (i->from) HD_TRY(hd_imatrix_read(&i->matrix, i->from, err));
    c->model.imatrix = i->matrix;
    HD_TRY(add_up_written(c, err));
    HD_TRY(hd_report_make(&c->report, &c->model, i, given ? recipe_name(c) : NULL, err));
    return print_all(c, err);
}

static hd_status run_all(command *c, hd_error *err)
{
    if (c->type) HD_TRY(find_mix(c, err));
    if (c->mix) HD_TRY(hd_quant_mix_check(c->mix, err));
    HD_TRY(check_release(c, err));
    if (c->split) HD_TRY(hd_rewrite_parse_size(&c->model.split, "split-size", c->split, err));
    HD_TRY(hd_report_check(&c->report, err));
    c->there = hd_report_alone(&c->report, &c->model);
    if (c->there) return report_only(c, err);
    if (!c->type && !hd_budget_given(&c->budget))
        return hd_fail(err, HD_E_NOT_FOUND, "%s: is not there; --type or a budget says what to write", c->model.out);
    HD_TRY(hd_rewrite_check_name(&c->model, err));
    if (!c->dry_run) HD_TRY(hd_folder_check(c->model.out, err));
    HD_TRY(hd_calibration_check(&c->importance, err));
    HD_TRY(check_recipe_name(c, err));
    HD_TRY(hd_rewrite_open(&c->model, c->release ? HD_FORMAT_SAFETENSORS : HD_FORMAT_GGUF, err));
    hd_report_reserve(&c->report, &c->model, recipe_name(c));
    HD_TRY(make_recipe(c, err));
    c->model.imatrix = c->importance.matrix;
    c->model.imatrix_file = c->importance.file;
    if (!c->dry_run) HD_TRY(hd_rewrite_run(&c->model, c->mix, "quantizing", err));
    HD_TRY(hd_report_make(&c->report, &c->model, &c->importance, recipe_name(c), err));
    return print_all(c, err);
}

/* An adapter for a file that is quantized already. */
static hd_status correct(command *c, hd_error *err)
{
    HD_TRY(hd_low_rank_check(err));
    HD_TRY(hd_rewrite_check_name(&c->model, err));
    HD_TRY(hd_folder_check(c->model.out, err));
    HD_TRY(hd_calibration_check(&c->importance, err));
    HD_TRY(hd_rewrite_open(&c->model, HD_FORMAT_GGUF, err));
    HD_TRY(check_calibration(c, err));
    HD_TRY(hd_calibration_make(&c->importance, c->model.in, (int)c->model.threads, err));
    return hd_low_rank_run(&c->low_rank, &c->model, &c->importance, c->json, err);
}

/* Without OUT: the importance matrix alone. */
static hd_status gather_only(command *c, hd_error *err)
{
    HD_TRY(hd_calibration_check(&c->importance, err));
    HD_TRY(hd_rewrite_open_checkpoint(&c->model, err));
    HD_TRY(check_calibration(c, err));
    HD_TRY(hd_calibration_make(&c->importance, c->model.in, (int)c->model.threads, err));
    if (c->json) return hd_json_print(stdout, hd_calibration_json(&c->importance), true, err);
    fputs("wrote     ", stdout);
    hd_terminal_name(stdout, c->importance.to, 0);
    fputs("\n", stdout);
    hd_calibration_print(&c->importance);
    return HD_OK;
}

static int check_usage(command *c, const char *name)
{
    int rc = hd_calibration_usage(&c->importance, hd_budget_given(&c->budget) && !c->budget.load, name);
    if (rc == HD_ARGS_OK) rc = hd_budget_usage(&c->budget, c->type, name);
    if (rc == HD_ARGS_OK) rc = hd_prune_usage(&c->prune, &c->importance, &c->budget, name);
    const char *written[] = {c->importance.to, c->budget.save}, *text = c->importance.text;
    if (rc == HD_ARGS_OK)
        rc = hd_report_usage(&c->report, c->model.out, written, HD_ARRAY_LEN(written), c->dry_run, name);
    if (rc != HD_ARGS_OK) return rc;
    if (c->model.merge.count && (text || c->report.path || c->low_rank.rank))
        return hd_cli_usage(name,
                            "--merge: --calibrate, --report and --low-rank look at IN without the adapter; write the "
                            "merged model first, with 'hadal convert IN merged.gguf --merge ADAPTER'");
    if (c->model.merge.count && !c->model.out) return hd_cli_usage(name, "--merge: OUT.gguf is needed");
    bool others =
        c->type || c->split || c->dry_run || c->report.path || hd_budget_given(&c->budget) || hd_prune_given(&c->prune);
    rc = hd_low_rank_usage(&c->low_rank, others, name);
    if (rc != HD_ARGS_OK) return rc;
    bool chosen = c->low_rank.rank || c->type || hd_budget_given(&c->budget);
    if (text && strcmp(text, "-") == 0 && hd_budget_given(&c->budget))
        return hd_cli_usage(name, "--calibrate -: with a budget the text is read twice; put it in a file");
    if (!c->model.in || (!c->model.out && !c->importance.to)) return hd_cli_usage(name, "IN and OUT.gguf are needed");
    if (c->model.out && !chosen && !c->report.path)
        return hd_cli_usage(name, "--type or a budget is needed; 'hadal quantize --types' lists the types");
    if (!c->model.out && (chosen || c->dry_run || hd_prune_given(&c->prune)))
        return hd_cli_usage(name, "OUT.gguf is needed");
    return HD_ARGS_OK;
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
        HD_MERGE_OPTION(&c.model),
        {.name = "types", .type = HD_OPT_FLAG, .value = &c.types, .help = "Lists the types and mixes."},
        {.name = "dry-run",
         .type = HD_OPT_FLAG,
         .value = &c.dry_run,
         .help = "Says what the file would have, and does not write it."},
        {.name = "split-size",
         .type = HD_OPT_STRING,
         .value = &c.split,
         .metavar = "SIZE",
         .initial = "",
         .help = "Writes several files OUT-00001-of-00003.gguf of at most SIZE (4GB, 500MB) each, as far as tensors "
                 "go."},
        {.name = "threads",
         .letter = 't',
         .type = HD_OPT_INT,
         .value = &c.model.threads,
         .metavar = "N",
         .max = HD_POOL_MAX,
         .help = "Threads that compute and encode; 0: all processors that this process may use."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &c.json, .help = "Prints one JSON object."},
    };
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)},
                             hd_calibration_group(&c.importance),
                             hd_budget_group(&c.budget),
                             hd_prune_group(&c.prune),
                             hd_low_rank_group(&c.low_rank),
                             hd_report_group(&c.report)};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .max_operands = 2,
                    .operand_names = (const char *const[]){"IN", "OUT.gguf"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    if (c.types) return list_types();
    c.model.in = args.operands[0];
    c.model.out = args.operands[1];
    if (!c.model.threads) c.model.threads = hd_cpu_threads();
    rc = check_usage(&c, argv[0]);
    if (rc != HD_ARGS_OK) return rc;
    hd_error err = {0};
    hd_status status = c.model.out ? hd_rewrite_set_out(&c.model, c.model.out, &err) : HD_OK;
    if (status == HD_OK)
        status = !c.model.out ? gather_only(&c, &err) : c.low_rank.rank ? correct(&c, &err) : run_all(&c, &err);
    hd_calibration_free(&c.importance);
    hd_budget_free(&c.budget);
    hd_report_free(&c.report);
    hd_rewrite_close(&c.model);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
