/* cli/cmd_convert.c: `hadal convert`: a model in another layout. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/rewrite.h"
#include "cli/terminal.h"
#include "quantize/adapter_convert.h"
#include "quantize/output.h"

static const hd_manual manual = {
    .command = "convert",
    .synopsis = "convert IN OUT [--to gguf|safetensors|mindspore] [--type BF16|F16|F32] [--split-size SIZE]\n"
                "convert IN FOLDER --type FP8|INT8 [--split-size SIZE]\n"
                "convert IN OUT --merge ADAPTER[:SCALE] ...\n"
                "convert ADAPTER OUT [--to gguf|safetensors] [--base MODEL]",
    .description =
        "Writes the model IN in another layout: as the GGUF file OUT, or as the folder OUT in the layout of the "
        "official "
        "releases, with config.json, generation_config.json, tokenizer.json and tokenizer_config.json beside "
        "safetensors, or beside a checkpoint of MindSpore, model.ckpt.  IN is a folder or a file of any kind, a "
        "checkpoint of PyTorch (pytorch_model.bin, .pt, .pth; its pickle is read, never run) included, or the name of "
        "a "
        "model.  Without --to the name OUT decides: with .gguf it is a GGUF file, with .ckpt a checkpoint of "
        "MindSpore, "
        "else a folder of safetensors.\n\n"
        "An OUT that ends in .ckpt is that one file; the small files that belong to it come beside it where they are "
        "missing, and when one that is there says something else nothing is written.  Tensors keep the names of the "
        "official releases; mindspore.load_checkpoint reads the file as a dictionary of parameters.\n\n"
        "Weights keep their type where the other layout has it: BF16 goes to GGUF and back bit for bit.  FP8 with "
        "block scales becomes BF16 (also from safetensors to safetensors); block types of GGUF become BF16 in "
        "a release, and so do integers with scales of rows.  --type gives all matrices another plain type; for smaller "
        "ones in GGUF see 'hadal quantize'.  In a folder of safetensors --type FP8 makes matrices e4m3 with a scale "
        "for "
        "each block of 128 x 128, as DeepSeek-V3 ships them, and INT8 integers with a scale for each row, as "
        "compressed-tensors has them (W8A8); embedding, output, norms and routers stay.\n\n"
        "Tensors go through memory some megabytes at a time.  What is being written has .part behind its name until it "
        "is whole; when the command is interrupted or killed, the same command goes on where it was.  What is there "
        "already is not replaced.  Layers of multi-token prediction are not carried to GGUF.\n\n"
        "IN may also be an adapter (LoRA): a folder of PEFT with adapter_config.json becomes a GGUF adapter, as "
        "llama.cpp reads it, and back, values bit for bit.  Its base model is needed for the shapes, and for the order "
        "of rows, which differs for Llama; it is what the adapter says, or --base.  With "
        "--merge an adapter goes into the weights of the model IN, and OUT is a model like any other; IN may be GGUF "
        "for a GGUF file OUT then.",
    .examples = "hadal convert DeepSeek-V2-Lite v2-lite.gguf\n"
                "hadal convert v2-lite.gguf v2-lite-folder --to safetensors --split-size 5GB\n"
                "hadal convert DeepSeek-V3 v3-bf16 --to safetensors --split-size 5GB\n"
                "hadal convert v2-lite.gguf v2-lite-int8 --type INT8\n"
                "hadal convert DeepSeek-R1-Distill-Qwen-1.5B r1-mindspore --to mindspore\n"
                "hadal convert my-adapter my-adapter.gguf --base r1-distill-qwen-1.5b\n"
                "hadal convert r1-distill-qwen-1.5b merged.gguf --merge my-adapter:0.8",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct command {
    hd_rewrite model;
    const char *to, *type, *split;
    const char *base; /* of an adapter */
    bool json;
    hd_format layout;
} command;

static bool is_matrix(const hd_tensor *t)
{
    return t->dims >= 2 && hd_type_is_weight(t->type);
}

/* Matrices of weights become `type`; a vector keeps its own.  Those of 8 bits get scales. */
static hd_status choose_types(command *c, hd_error *err)
{
    hd_type type;
    if (!c->type) return HD_OK;
    if (hd_quant_release_type(c->type, &type)) {
        if (c->layout == HD_FORMAT_SAFETENSORS) return hd_rewrite_scale(&c->model, type, c->type, err);
        return hd_fail(err, HD_E_ARGUMENT,
                       "--type %s: GGUF has no such type; take a folder (--to safetensors), or 'hadal quantize' with "
                       "--type Q8_0",
                       c->type);
    }
    if (!hd_type_from_name(c->type, strlen(c->type), &type))
        return hd_fail(err, HD_E_ARGUMENT, "--type: there is no type '%s'", c->type);
    for (size_t i = 0; i < hd_source_count(c->model.source); i++)
        if (is_matrix(hd_source_tensor(c->model.source, i))) c->model.types[i] = type;
    return HD_OK;
}

static hd_status check_layouts(const command *c, hd_error *err)
{
    bool same = hd_checkpoint_format(c->model.ckpt) == c->layout;
    if (same && c->layout == HD_FORMAT_GGUF && !c->model.merge.count)
        return hd_fail(err, HD_E_ARGUMENT, "%s: is GGUF already; 'hadal quantize' changes its types", c->model.in);
    return HD_OK;
}

static hd_status print_json(const command *c, uint64_t bytes, hd_error *err)
{
    char *first = NULL;
    size_t files = 1;
    const char *left_out = hd_source_left_out(c->model.source);
    HD_TRY(hd_rewrite_files(&c->model, &first, &files, err));
    json_t *o = json_pack("{s:o, s:s, s:I, s:I, s:f, s:s*}", "path", hd_json_text(first, strlen(first)), "layout",
                          c->to, "tensors", (json_int_t)hd_source_count(c->model.source), "bytes", (json_int_t)bytes,
                          "seconds", c->model.seconds, "left_out", left_out);
    hd_free(first);
    if (o && c->split) json_object_set_new(o, "files", json_integer((json_int_t)files));
    return hd_json_print(stdout, o, true, err);
}

static hd_status print_text(const command *c, uint64_t bytes, hd_error *err)
{
    char size[HD_SIZE_TEXT];
    const char *left_out = hd_source_left_out(c->model.source);
    HD_TRY(hd_rewrite_print_out(&c->model, "wrote     ", err));
    if (hd_output_is_file(c->model.files, c->model.out))
        fputs(", with config.json and the tokenizer beside it", stdout);
    printf("\nweights   %zu tensors, %s\n", hd_source_count(c->model.source), hd_size_text(size, bytes));
    if (left_out) printf("left out  %s\n", left_out);
    printf("time      %.1f s\n", c->model.seconds);
    return HD_OK;
}

/* What OUT will be: as --to says, else as its name does. */
static void choose_layout(command *c)
{
    if (!c->to) c->to = hd_text_ends_with(c->model.out, ".gguf") ? "gguf" : NULL;
    if (!c->to) c->to = hd_text_ends_with(c->model.out, ".ckpt") ? "mindspore" : "safetensors";
    c->layout = strcmp(c->to, "gguf") == 0 ? HD_FORMAT_GGUF : HD_FORMAT_SAFETENSORS;
    c->model.files = strcmp(c->to, "mindspore") == 0 ? HD_FILES_MINDSPORE : HD_FILES_SAFETENSORS;
}

/* ---- adapters ---- */

/* The base's configuration: --base, or what the adapter says that it is. */
static hd_status read_base(const command *c, const hd_adapter_info *info, hd_model_config *base, hd_error *err)
{
    const char *name = c->base ? c->base : info->base;
    char *path = NULL;
    hd_checkpoint *ckpt = NULL;
    if (!name)
        return hd_fail(err, HD_E_ARGUMENT, "%s: does not say which model it adapts; give it with --base MODEL",
                       c->model.in);
    hd_status status = hd_model_resolve(name, &path, err);
    if (status == HD_OK) status = hd_checkpoint_open(&ckpt, path, err);
    if (status == HD_OK) status = hd_model_config_read(base, ckpt, err);
    if (status != HD_OK && !c->base)
        status =
            hd_fail(err, status, "%s: its base '%.200s' can't be read; give it with --base MODEL", c->model.in, name);
    hd_checkpoint_close(&ckpt);
    hd_free(path);
    return status;
}

static hd_status print_adapter(const command *c, const hd_adapter_info *info, hd_error *err)
{
    if (c->json)
        return hd_json_print(stdout,
                             json_pack("{s:o, s:s, s:I, s:I, s:f}", "path",
                                       hd_json_text(c->model.out, strlen(c->model.out)), "layout", c->to, "matrices",
                                       (json_int_t)info->count, "rank", (json_int_t)info->rank, "alpha", info->alpha),
                             true, err);
    fputs("wrote     ", stdout);
    hd_terminal_name(stdout, c->model.out, 0);
    printf("\nadapter   %zu matrices, rank %lld, alpha %g\n", info->count, (long long)info->rank, info->alpha);
    return HD_OK;
}

static hd_status write_adapter(const command *c, const hd_adapter *adapter, hd_error *err)
{
    hd_model_config base;
    hd_adapter_info info;
    hd_adapter_get_info(adapter, &info);
    if (info.layout == c->layout)
        return hd_fail(err, HD_E_ARGUMENT, "%s: is an adapter in that layout already", c->model.in);
    HD_TRY(read_base(c, &info, &base, err));
    HD_TRY(hd_adapter_check(adapter, &base, err));
    hd_adapter_target to = {.base = &base,
                            .base_name = c->base ? c->base : info.base,
                            .name = hd_path_base(c->model.in),
                            .path = c->model.out};
    HD_TRY(c->layout == HD_FORMAT_GGUF ? hd_adapter_to_gguf(adapter, &to, err) : hd_adapter_to_peft(adapter, &to, err));
    return print_adapter(c, &info, err);
}

static hd_status run_adapter(command *c, hd_error *err)
{
    hd_adapter *adapter = NULL;
    if (c->model.merge.count)
        return hd_fail(err, HD_E_ARGUMENT, "--merge: %s is an adapter; give the model as IN", c->model.in);
    if (c->type || c->split)
        return hd_fail(err, HD_E_ARGUMENT, "--%s: is for models; an adapter keeps its types and is one file",
                       c->type ? "type" : "split-size");
    if (strcmp(c->to, "mindspore") == 0)
        return hd_fail(err, HD_E_ARGUMENT, "--to: adapters are written as gguf or safetensors");
    HD_TRY(hd_rewrite_check_name(&c->model, err));
    HD_TRY(hd_adapter_open(&adapter, c->model.in, err));
    hd_status status = write_adapter(c, adapter, err);
    hd_adapter_close(&adapter);
    return status;
}

static hd_status run_all(command *c, hd_error *err)
{
    if (hd_adapter_is_one(c->model.in)) {
        choose_layout(c);
        return run_adapter(c, err);
    }
    if (c->base)
        return hd_fail(err, HD_E_ARGUMENT, "--base: %s is no adapter (a folder with adapter_config.json, or GGUF)",
                       c->model.in);
    if (c->split) HD_TRY(hd_rewrite_parse_size(&c->model.split, "split-size", c->split, err));
    choose_layout(c);
    HD_TRY(hd_rewrite_check_name(&c->model, err));
    HD_TRY(hd_rewrite_open(&c->model, c->layout, err));
    HD_TRY(check_layouts(c, err));
    HD_TRY(choose_types(c, err));
    uint64_t bytes = hd_rewrite_bytes(&c->model);
    HD_TRY(hd_rewrite_run(&c->model, NULL, "converting", err));
    return c->json ? print_json(c, bytes, err) : print_text(c, bytes, err);
}

int hd_cmd_convert(int argc, char **argv)
{
    command c = {0};
    hd_opt opts[] = {
        {.name = "to",
         .type = HD_OPT_CHOICE,
         .value = &c.to,
         .choices = "gguf|safetensors|mindspore",
         .metavar = "LAYOUT",
         .initial = "by the name OUT",
         .help = "The layout to write."},
        {.name = "type",
         .type = HD_OPT_CHOICE,
         .value = &c.type,
         .choices = "BF16|F16|F32|FP8|INT8",
         .metavar = "TYPE",
         .initial = "as they are",
         .help = "The type that matrices get; FP8 and INT8 in a folder of safetensors."},
        {.name = "split-size",
         .type = HD_OPT_STRING,
         .value = &c.split,
         .metavar = "SIZE",
         .initial = "one file",
         .help = "Writes several files of at most SIZE (4GB, 500MB) each, as far as tensors go."},
        HD_MERGE_OPTION(&c.model),
        {.name = "base",
         .type = HD_OPT_STRING,
         .value = &c.base,
         .metavar = "MODEL",
         .initial = "what the adapter says",
         .help = "The model that the adapter IN belongs to: a path or a name."},
        {.name = "threads",
         .letter = 't',
         .type = HD_OPT_INT,
         .value = &c.model.threads,
         .metavar = "N",
         .max = HD_POOL_MAX,
         .help = "Threads that compute; 0: all processors that this process may use."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &c.json, .help = "Prints one JSON object."},
    };
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {.manual = &manual,
                    .groups = &group,
                    .group_count = 1,
                    .min_operands = 2,
                    .max_operands = 2,
                    .operand_names = (const char *const[]){"IN", "OUT"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    c.model.in = args.operands[0];
    hd_error err = {0};
    hd_status status = hd_rewrite_set_out(&c.model, args.operands[1], &err);
    if (status == HD_OK) status = run_all(&c, &err);
    hd_rewrite_close(&c.model);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
