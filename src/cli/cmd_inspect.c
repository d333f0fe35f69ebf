/* cli/cmd_inspect.c: `hadal inspect`: what is in a model's files: facts, metadata, tensors, tokenizer. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/json.h"
#include "cli/quantize_report.h"
#include "cli/terminal.h"
#include "formats/formats.h"
#include "quantize/quantize.h"

#define HD_SHOWN_BYTES 72    /* of a long string in the text form */
#define HD_SHOWN_ELEMENTS 8u /* of a long array in the text form */
#define HD_JSON_ELEMENTS 64u /* arrays of vocabularies would bury the rest */

static const hd_manual manual = {
    .command = "inspect",
    .synopsis = "inspect FILE [--tensors] [--json]",
    .description =
        "Shows what is in a model file or folder without computing anything: format, architecture, context, "
        "parameters, "
        "bytes by tensor type, the tokenizer, and the metadata (of a GGUF file, or the config.json of a folder).  "
        "--tensors lists every tensor.  FILE may also be the name of a model.\n\n"
        "Long strings and arrays are cut in the text form; --json gives strings whole and the first 64 elements of "
        "arrays.",
    .examples = "hadal inspect model.gguf\nhadal inspect ./DeepSeek-R1-Distill-Qwen-1.5B --tensors\n"
                "hadal inspect model.gguf --json | jq .tensor_types",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct inspect {
    bool tensors, json;
    const char *path;
    hd_checkpoint *checkpoint;
    hd_text *text;       /* NULL: no tokenizer */
    hd_error text_error; /* why */
    int64_t values, type_values[HD_TYPE_COUNT];
    uint64_t bytes, type_bytes[HD_TYPE_COUNT];
    size_t type_tensors[HD_TYPE_COUNT];
} inspect;

/* ---- facts ---- */

static void add_up(inspect *in)
{
    for (size_t i = 0; i < hd_checkpoint_tensor_count(in->checkpoint); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(in->checkpoint, i);
        int64_t values = hd_tensor_values(t);
        in->type_tensors[t->type]++;
        in->type_values[t->type] += values;
        in->type_bytes[t->type] += t->bytes;
        in->values += values;
        in->bytes += t->bytes;
    }
}

/* The value of a GGUF key of the architecture, or of a key of config.json beside safetensors. */
static bool find_number(const inspect *in, const char *gguf, const char *config, uint64_t *out)
{
    const hd_meta *arch = hd_checkpoint_meta(in->checkpoint, "general.architecture");
    if (arch && arch->type == HD_META_STRING) {
        char key[256];
        snprintf(key, sizeof key, "%.*s.%s", (int)HD_MIN(arch->string.len, (size_t)128), arch->string.data, gguf);
        const hd_meta *meta = hd_checkpoint_meta(in->checkpoint, key);
        return meta && hd_meta_u64(meta, 0, out);
    }
    const json_t *value = json_object_get(hd_checkpoint_config(in->checkpoint), config);
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static hd_str architecture(const inspect *in)
{
    const hd_meta *meta = hd_checkpoint_meta(in->checkpoint, "general.architecture");
    const json_t *config = hd_checkpoint_config(in->checkpoint), *type = json_object_get(config, "model_type");
    if (meta && meta->type == HD_META_STRING) return meta->string;
    if (json_is_string(type)) return (hd_str){json_string_value(type), json_string_length(type)};
    return (hd_str){"unknown", 7};
}

/* What `hadal quantize --report` put into the metadata; NULL: nothing, or no JSON object. */
static json_t *report_of(const inspect *in)
{
    const hd_meta *meta = hd_checkpoint_meta(in->checkpoint, HD_QUANT_REPORT_KEY);
    json_t *report = NULL;
    if (!meta || meta->type != HD_META_STRING) return NULL;
    if (hd_json_parse(&report, meta->string.data, meta->string.len, NULL) == HD_OK && json_is_object(report))
        return report;
    json_decref(report);
    return NULL;
}

/* ---- metadata as JSON ---- */

static json_t *meta_element(const hd_meta *meta, hd_meta_type type, uint64_t i)
{
    uint64_t u;
    int64_t s;
    double f;
    if (type == HD_META_STRING) {
        hd_str text = meta->type == HD_META_STRING ? meta->string : meta->strings[i];
        return hd_json_text(text.data, text.len);
    }
    if (type == HD_META_BOOL) return hd_meta_u64(meta, i, &u) ? json_boolean(u != 0) : json_null();
    if (type == HD_META_F32 || type == HD_META_F64) {
        json_t *real = hd_meta_f64(meta, i, &f) ? json_real(f) : NULL;
        return real ? real : json_null(); /* JSON has no infinity */
    }
    if (hd_meta_i64(meta, i, &s)) return json_integer(s);
    return hd_meta_f64(meta, i, &f) ? json_real(f) : json_null();
}

static json_t *meta_json(const hd_meta *meta, uint64_t most)
{
    if (meta->type != HD_META_ARRAY) return meta_element(meta, meta->type, 0);
    json_t *list = json_array();
    for (uint64_t i = 0; i < HD_MIN(meta->count, most); i++)
        json_array_append_new(list, meta_element(meta, meta->elem, i));
    return list;
}

static json_t *metadata_json(const inspect *in)
{
    json_t *o = json_object();
    for (size_t i = 0; i < hd_checkpoint_meta_count(in->checkpoint); i++) {
        const hd_meta *meta = hd_checkpoint_meta_at(in->checkpoint, i);
        json_t *value = meta_json(meta, HD_JSON_ELEMENTS);
        if (meta->type == HD_META_ARRAY)
            value = json_pack("{s:I, s:o}", "count", (json_int_t)meta->count, "first", value);
        json_object_setn_new(o, meta->key.data, meta->key.len, value);
    }
    const json_t *config = hd_checkpoint_config(in->checkpoint);
    if (config) json_object_set_new(o, "config.json", json_deep_copy(config));
    const json_t *generation = hd_checkpoint_generation_config(in->checkpoint);
    if (generation) json_object_set_new(o, "generation_config.json", json_deep_copy(generation));
    return o;
}

static json_t *shape_json(const hd_tensor *t)
{
    json_t *shape = json_array();
    for (int d = 0; d < t->dims; d++)
        json_array_append_new(shape, json_integer(t->shape[d]));
    return shape;
}

static json_t *tensors_json(const inspect *in)
{
    json_t *list = json_array();
    for (size_t i = 0; i < hd_checkpoint_tensor_count(in->checkpoint); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(in->checkpoint, i);
        json_t *one = json_pack("{s:o, s:s, s:o, s:I}", "name", hd_json_text(t->name, strlen(t->name)), "type",
                                hd_type_name(t->type), "shape", shape_json(t), "bytes", (json_int_t)t->bytes);
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *tokenizer_json(const inspect *in)
{
    if (!in->text) return json_pack("{s:o}", "absent", hd_json_text(in->text_error.text, strlen(in->text_error.text)));
    size_t count;
    const int32_t *eos = hd_text_eos(in->text, &count);
    json_t *ends = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(ends, json_integer(eos[i]));
    return json_pack("{s:i, s:b, s:o}", "vocabulary", (int)hd_text_vocab(in->text), "chat_template",
                     hd_text_has_template(in->text), "end_ids", ends);
}

static hd_status print_json(const inspect *in, hd_error *err)
{
    json_t *o = json_object(), *types = json_object();
    hd_str arch = architecture(in);
    uint64_t context;
    json_object_set_new(o, "path", hd_json_text(in->path, strlen(in->path)));
    json_object_set_new(o, "format", json_string(hd_checkpoint_files(in->checkpoint)));
    json_object_set_new(o, "architecture", hd_json_text(arch.data, arch.len));
    bool known = find_number(in, "context_length", "max_position_embeddings", &context);
    json_object_set_new(o, "context", known ? json_integer((json_int_t)context) : json_null());
    json_object_set_new(o, "values", json_integer(in->values));
    json_object_set_new(o, "bytes", json_integer((json_int_t)in->bytes));
    json_object_set_new(o, "tensor_count", json_integer((json_int_t)hd_checkpoint_tensor_count(in->checkpoint)));
    for (int t = 0; t < HD_TYPE_COUNT; t++)
        if (in->type_tensors[t])
            json_object_set_new(types, hd_type_name(t),
                                json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)in->type_tensors[t], "values",
                                          (json_int_t)in->type_values[t], "bytes", (json_int_t)in->type_bytes[t]));
    json_object_set_new(o, "tensor_types", types);
    json_object_set_new(o, "tokenizer", tokenizer_json(in));
    json_object_set_new(o, "metadata", metadata_json(in));
    json_t *report = report_of(in);
    if (report) json_object_set_new(o, "quantize_report", report);
    if (in->tensors) json_object_set_new(o, "tensors", tensors_json(in));
    return hd_json_print(stdout, o, true, err);
}

/* ---- text ---- */

/* A value of the file on one line: control characters escaped as JSON does, cut when long. */
static void print_value(json_t *value)
{
    hd_buf line;
    bool dumped = value && hd_json_dump(value, &line, NULL) == HD_OK;
    size_t shown = dumped ? HD_MIN(line.len, (size_t)HD_SHOWN_BYTES) : 0;
    while (shown && shown < line.len && ((unsigned char)line.data[shown] & 0xc0) == 0x80)
        shown--; /* not within a character */
    if (dumped) hd_terminal_write(stdout, line.data, shown);
    if (dumped && shown < line.len) printf("... (%zu bytes)", line.len);
    if (value) hd_buf_free(&line);
    json_decref(value);
}

static void print_meta(const hd_meta *meta)
{
    printf("  %-40.*s ", (int)HD_MIN(meta->key.len, (size_t)200), meta->key.data);
    if (meta->type == HD_META_STRING) {
        print_value(hd_json_text(meta->string.data, meta->string.len));
    } else if (meta->type == HD_META_ARRAY) {
        printf("%llu elements", (unsigned long long)meta->count);
        if (meta->elem == HD_META_STRING) {
            for (uint64_t i = 0; i < HD_MIN(meta->count, 3); i++) {
                fputs(i ? ", " : ": ", stdout);
                print_value(hd_json_text(meta->strings[i].data, meta->strings[i].len));
            }
        } else {
            fputs(": ", stdout);
            print_value(meta_json(meta, HD_SHOWN_ELEMENTS));
        }
    } else {
        print_value(meta_json(meta, 1));
    }
    putchar('\n');
}

static void print_config(const char *name, const json_t *config)
{
    const char *key;
    json_t *value;
    if (!config) return;
    printf("%s\n", name);
    json_object_foreach((json_t *)config, key, value)
    {
        printf("  %-40s ", key);
        print_value(json_incref(value));
        putchar('\n');
    }
}

static void print_tensors(const inspect *in)
{
    puts("tensors");
    for (size_t i = 0; i < hd_checkpoint_tensor_count(in->checkpoint); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(in->checkpoint, i);
        char shape[128] = "";
        size_t at = 0;
        for (int d = 0; d < t->dims; d++)
            at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%lld", d ? " x " : "", (long long)t->shape[d]);
        printf("  %-48s %-8s %20s %14zu bytes\n", t->name, hd_type_name(t->type), shape, t->bytes);
    }
}

static void print_facts(const inspect *in)
{
    hd_str arch = architecture(in);
    uint64_t number;
    fputs("path            ", stdout);
    hd_terminal_name(stdout, in->path, 0);
    printf("\nformat          %s\narchitecture    ", hd_checkpoint_files(in->checkpoint));
    hd_terminal_write(stdout, arch.data, arch.len);
    printf("\nvalues          %.3f million in %zu tensors, %.1f MiB\n", (double)in->values / 1e6,
           hd_checkpoint_tensor_count(in->checkpoint), (double)in->bytes / (1 << 20));
    if (find_number(in, "block_count", "num_hidden_layers", &number))
        printf("layers          %llu\n", (unsigned long long)number);
    if (find_number(in, "embedding_length", "hidden_size", &number))
        printf("hidden size     %llu\n", (unsigned long long)number);
    if (find_number(in, "expert_count", "n_routed_experts", &number) && number)
        printf("experts         %llu\n", (unsigned long long)number);
    if (find_number(in, "context_length", "max_position_embeddings", &number))
        printf("context         %llu tokens\n", (unsigned long long)number);
    if (in->text) {
        size_t count;
        const int32_t *eos = hd_text_eos(in->text, &count);
        printf("tokenizer       %d tokens, ends a text with", (int)hd_text_vocab(in->text));
        for (size_t i = 0; i < count; i++)
            printf("%s%d", i ? ", " : " ", (int)eos[i]);
        printf("%s\nchat template   %s\n", count ? "" : " nothing", hd_text_has_template(in->text) ? "yes" : "no");
    } else {
        printf("tokenizer       none: ");
        hd_terminal_write(stdout, in->text_error.text, strlen(in->text_error.text));
        putchar('\n');
    }
}

static void print_text(const inspect *in)
{
    print_facts(in);
    puts("tensor types");
    for (int t = 0; t < HD_TYPE_COUNT; t++)
        if (in->type_tensors[t])
            printf("  %-10s %6zu tensors %14lld values %12.1f MiB\n", hd_type_name(t), in->type_tensors[t],
                   (long long)in->type_values[t], (double)in->type_bytes[t] / (1 << 20));
    json_t *report = report_of(in);
    if (hd_checkpoint_meta_count(in->checkpoint)) puts("metadata");
    for (size_t i = 0; i < hd_checkpoint_meta_count(in->checkpoint); i++) {
        const hd_meta *meta = hd_checkpoint_meta_at(in->checkpoint, i);
        if (!report || meta != hd_checkpoint_meta(in->checkpoint, HD_QUANT_REPORT_KEY)) print_meta(meta);
    }
    if (report) puts("report of quantizing (" HD_QUANT_REPORT_KEY ")");
    hd_report_print_figures(report, "  ");
    json_decref(report);
    print_config("config.json", hd_checkpoint_config(in->checkpoint));
    print_config("generation_config.json", hd_checkpoint_generation_config(in->checkpoint));
    if (in->tensors) print_tensors(in);
}

static hd_status run_all(inspect *in, const char *name, hd_error *err)
{
    char *path = NULL;
    HD_TRY(hd_model_resolve(name, &path, err));
    in->path = path;
    hd_status status = hd_checkpoint_open(&in->checkpoint, path, err);
    if (status == HD_OK && hd_text_open(&in->text, path, &in->text_error) != HD_OK) in->text = NULL;
    if (status == HD_OK) {
        add_up(in);
        if (in->json)
            status = print_json(in, err);
        else
            print_text(in);
    }
    hd_text_close(&in->text);
    hd_checkpoint_close(&in->checkpoint);
    hd_free(path);
    return status;
}

int hd_cmd_inspect(int argc, char **argv)
{
    inspect in = {0};
    hd_opt opts[] = {
        {.name = "tensors", .type = HD_OPT_FLAG, .value = &in.tensors, .help = "Lists every tensor."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &in.json, .help = "Prints one JSON object."},
    };
    hd_opt_group group = {"OPTIONS", opts, HD_ARRAY_LEN(opts)};
    hd_args args = {.manual = &manual,
                    .groups = &group,
                    .group_count = 1,
                    .min_operands = 1,
                    .max_operands = 1,
                    .operand_names = (const char *const[]){"FILE"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    hd_error err = {0};
    hd_status status = run_all(&in, args.operands[0], &err);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
