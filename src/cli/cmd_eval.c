/* cli/cmd_eval.c: `hadal eval`: what a model says about given tokens: logits, perplexity, divergence from another
 * model; evaluate.c does the evaluation.
 */
#include <stdio.h>
#include <string.h>

#include "cli/adapters.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/evaluate.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/terminal.h"

#define HD_EVAL_LOGIT_BYTES ((int64_t)8 << 30) /* of one --logits file */

static const hd_manual manual = {
    .command = "eval",
    .synopsis = "eval MODEL --ids LIST --logits OUT.safetensors\neval MODEL --text FILE [--context N]\n"
                "eval MODEL --text FILE --against OTHER [--against-cpu TIER]",
    .description =
        "Evaluates given tokens and reports the perplexity: exp of the mean negative log-probability of each token "
        "given "
        "those before it.  The tokens come from --ids, --ids-file, --text or --text-string; text is taken as it is, "
        "with "
        "the model's first token in front where the model wants one, and special strings stay text.\n\n"
        "Texts longer than the context are cut into windows of one context each, one after another; every window "
        "starts "
        "afresh, so the first token of a window is not predicted.  The report states the window.\n\n"
        "--logits writes the tensor 'logits', float32 [tokens, vocabulary], to a safetensors file; the tokens must "
        "then "
        "fit into one window.  A file that is there already is replaced only when an earlier run wrote it.\n\n"
        "--against evaluates a second model on the same ids and reports the Kullback-Leibler divergence of MODEL from "
        "it "
        "(in nats: the expected extra loss when MODEL stands in for OTHER), how often both agree on the most likely "
        "token, and the largest difference of a logit.  Both must have the same vocabulary.  With --against-cpu "
        "or --against-cache-type alone, OTHER is the same model.  --experts, --expert-share and --ffn-keep always "
        "count for MODEL alone; --lora does so with --against, while with those two alone both have the adapter: "
        "--against MODEL tells what they do to it.  --json says of each which it had.\n\n"
        "--record-experts and --force-experts store and replay which experts every token was routed to: a rounding in "
        "a "
        "faster tier can flip a choice, which says nothing about its arithmetic.",
    .examples = "hadal eval model.gguf --ids 5,9,12 --logits out.safetensors --cpu reference\n"
                "hadal eval model.gguf --text book.txt --context 2048\n"
                "hadal eval small.gguf --text book.txt --against large.gguf --json\n"
                "hadal eval model.gguf --text book.txt --cache-type q8_0 --against-cache-type f16\n"
                "hadal eval model.gguf --text book.txt --ffn-keep 85% --against model.gguf\n"
                "hadal eval moe.gguf --ids-file ids --cpu reference --record-experts experts.safetensors\n"
                "hadal eval moe.gguf --ids-file ids --force-experts experts.safetensors --against-cpu reference",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct eval {
    /* options */
    const char *model, *ids_list, *ids_file, *text_file, *text_string;
    const char *logits_path, *against, *against_cpu, *against_cache, *record, *force;
    int64_t last;
    bool json;
    hd_engine_flags flags;
    /* state */
    hd_ids ids;
    hd_evaluation run;
} eval;

/* ---- input ---- */

static hd_status encode(eval *e, const char *data, size_t len, hd_error *err)
{
    hd_text *text = NULL;
    int32_t *ids = NULL;
    size_t count = 0;
    HD_TRY(hd_cli_open_text(&text, e->model, err));
    hd_status status = hd_text_encode(text, data, len, false, true, &ids, &count, err);
    for (size_t i = 0; i < count && status == HD_OK; i++)
        status = hd_ids_push(&e->ids, ids[i]);
    hd_ids_release(ids);
    hd_text_close(&text);
    return status;
}

static hd_status read_ids(eval *e, hd_error *err)
{
    if (e->ids_list) return hd_input_ids(e->ids_list, strlen(e->ids_list), &e->ids, err);
    if (e->text_string) return encode(e, e->text_string, strlen(e->text_string), err);
    hd_buf input;
    const char *path = e->ids_file ? e->ids_file : e->text_file;
    hd_buf_init(&input, HD_INPUT_MAX);
    hd_status status = hd_input_file(path, &input, err);
    const char *data = input.data ? input.data : "";
    if (status == HD_OK && e->ids_file) {
        status = hd_input_ids(data, input.len, &e->ids, err);
        if (status != HD_OK) status = hd_fail_in(err, status, "%s", path);
    } else if (status == HD_OK) {
        status = encode(e, data, input.len, err);
    }
    hd_buf_free(&input);
    return status;
}

/* ---- output ---- */

/* Before anything is loaded: what --logits and --record-experts will write must not cost somebody a file, nor be found
 * impossible at the end. */
static hd_status check_outputs(const eval *e, hd_error *err)
{
    if (!e->logits_path && !e->record) return HD_OK;
    char *model = NULL, *against = NULL;
    HD_TRY(hd_model_resolve(e->model, &model, err));
    hd_status status = e->against ? hd_model_resolve(e->against, &against, err) : HD_OK;
    const char *inputs[] = {model, against, e->ids_file, e->text_file, e->force};
    if (status == HD_OK && e->logits_path)
        status = hd_output_check("--logits", e->logits_path, inputs, HD_ARRAY_LEN(inputs), err);
    if (status == HD_OK && e->record)
        status = hd_output_check("--record-experts", e->record, inputs, HD_ARRAY_LEN(inputs), err);
    hd_free(model);
    hd_free(against);
    return status;
}

/* ---- opening ---- */

/* What `side` is opened with: what is compared with has none of the dials, and no adapter either where it is named; the
 * same model computed otherwise keeps it. */
static hd_engine_flags flags_of(const eval *e, const hd_eval_side *side)
{
    hd_engine_flags flags = e->flags;
    if (side == &e->run.own) return flags;
    flags.cpu = e->against_cpu;
    flags.cache_type = e->against_cache;
    flags.experts = 0;
    flags.expert_share = 0;
    flags.ffn_keep = 0;
    if (e->against) flags.lora = NULL;
    return flags;
}

static const char *model_of(const eval *e, const hd_eval_side *side)
{
    return side == &e->run.other && e->against ? e->against : e->model;
}

static hd_status open_side(const eval *e, hd_eval_side *side, hd_error *err)
{
    hd_engine_flags flags = flags_of(e, side);
    return hd_eval_side_open(side, model_of(e, side), &flags, err);
}

static hd_status open_models(eval *e, hd_error *err)
{
    hd_evaluation *r = &e->run;
    HD_TRY(open_side(e, &r->own, err));
    if (e->force) HD_TRY(hd_engine_force_experts(r->own.engine, e->force, err));
    if (e->record) HD_TRY(hd_engine_record_experts(r->own.engine, (int64_t)e->ids.len, err));
    if (!r->compares) return HD_OK;
    return open_side(e, &r->other, err);
}

/* Room for the logits of --logits. */
static hd_status prepare(eval *e, hd_error *err)
{
    hd_evaluation *r = &e->run;
    r->ids = e->ids.data;
    r->count = (int64_t)e->ids.len;
    r->last = e->last;
    r->chunk = e->flags.chunk;
    HD_TRY(hd_evaluation_prepare(r, err));
    if ((e->logits_path || r->last < r->count) && r->count > r->context)
        return hd_fail(err, HD_E_CONTEXT,
                       "%lld tokens are more than the context of %lld; --logits and --last need one window",
                       (long long)r->count, (long long)r->context);
    if (!e->logits_path) return HD_OK;
    int64_t bytes = r->last * r->vocab * (int64_t)sizeof(float);
    if (bytes > HD_EVAL_LOGIT_BYTES)
        return hd_fail(err, HD_E_LIMIT, "the logits would take %lld MiB, at most %lld are kept; use --last N",
                       (long long)(bytes >> 20), (long long)(HD_EVAL_LOGIT_BYTES >> 20));
    r->kept = hd_alloc((size_t)bytes);
    return r->kept ? HD_OK
                   : hd_fail(err, HD_E_MEMORY, "out of memory for %lld MiB of logits", (long long)(bytes >> 20));
}

static hd_status eval_all(eval *e, hd_error *err)
{
    hd_evaluation *r = &e->run;
    HD_TRY(hd_evaluation_run(r, err));
    if (e->record) HD_TRY(hd_engine_save_experts(r->own.engine, e->record, err));
    if (!r->kept) return HD_OK;
    hd_tensor tensor = {.name = "logits",
                        .type = HD_TYPE_F32,
                        .dims = 2,
                        .shape = {r->last, r->vocab, 1, 1},
                        .data = r->kept,
                        .bytes = (size_t)(r->last * r->vocab) * sizeof(float)};
    return hd_safetensors_write(e->logits_path, &tensor, 1, err);
}

/* ---- report ---- */

/* The adapter and the dials that a side was evaluated with; those that were not given are not there. */
static hd_status add_settings(json_t *o, const hd_engine_flags *f, hd_error *err)
{
    char *path = NULL;
    double scale;
    if (f->lora) {
        HD_TRY(hd_cli_adapter_words("lora", f->lora, &path, &scale, err));
        json_object_set_new(o, "lora", hd_json_text(path, strlen(path)));
        json_object_set_new(o, "lora_scale", json_real(scale));
        hd_free(path);
    }
    if (f->experts) json_object_set_new(o, "experts", json_integer(f->experts));
    if (f->expert_share > 0) json_object_set_new(o, "expert_share", json_real(f->expert_share));
    if (f->ffn_keep > 0) {
        json_object_set_new(o, "ffn_keep", json_real(f->ffn_keep));
        json_object_set_new(o, "ffn_by", json_string(f->ffn_by ? f->ffn_by : "gate"));
    }
    return HD_OK;
}

static hd_status side_json(json_t **out, const eval *e, const hd_eval_side *s, hd_error *err)
{
    hd_engine_info info;
    const char *model = model_of(e, s);
    const hd_engine_flags flags = flags_of(e, s);
    hd_engine_get_info(s->engine, &info);
    json_t *o = *out = json_pack("{s:o, s:s}", "model", hd_json_text(model, strlen(model)), "cpu", info.cpu);
    json_object_set_new(o, "cache_type", json_string(info.cache_type));
    hd_arithmetic_left left;
    hd_engine_get_arithmetic(s->engine, &left);
    json_object_set_new(o, "arithmetic", json_real(left.all));
    json_object_set_new(o, "layer_arithmetic", json_real(left.layers));
    json_object_set_new(o, "perplexity",
                        e->run.predicted ? hd_json_real(hd_evaluation_perplexity(&e->run, s)) : json_null());
    json_object_set_new(o, "loss", e->run.predicted ? hd_json_real(hd_evaluation_loss(&e->run, s)) : json_null());
    return add_settings(o, &flags, err);
}

static hd_status add_comparison(json_t *o, eval *e, hd_error *err)
{
    hd_divergence kl = hd_evaluation_divergence(&e->run);
    json_t *other;
    hd_status status = side_json(&other, e, &e->run.other, err);
    json_object_set_new(o, "kl_mean", hd_json_real(kl.mean));
    json_object_set_new(o, "kl_median", hd_json_real(kl.median));
    json_object_set_new(o, "kl_p99", hd_json_real(kl.p99));
    json_object_set_new(o, "kl_max", hd_json_real(kl.max));
    json_object_set_new(o, "top1", json_real(kl.top1));
    json_object_set_new(other, "largest_logit_difference", hd_json_real(e->run.difference));
    json_object_set_new(other, "compared_tokens", json_integer((json_int_t)e->run.compared));
    json_object_set_new(o, "against", other);
    return status;
}

static hd_status print_json(eval *e, hd_error *err)
{
    json_t *o;
    hd_status status = side_json(&o, e, &e->run.own, err);
    json_object_set_new(o, "tokens", json_integer((json_int_t)e->ids.len));
    json_object_set_new(o, "predicted_tokens", json_integer((json_int_t)e->run.predicted));
    json_object_set_new(o, "window", json_integer(e->run.window));
    json_object_set_new(o, "windows", json_integer((json_int_t)e->run.windows));
    if (e->logits_path) json_object_set_new(o, "logits", hd_json_text(e->logits_path, strlen(e->logits_path)));
    if (e->run.compares && status == HD_OK) status = add_comparison(o, e, err);
    if (status == HD_OK) return hd_json_print(stdout, o, false, err);
    json_decref(o);
    return status;
}

static void print_side(const eval *e, const hd_eval_side *s, const char *title)
{
    hd_engine_info info;
    const hd_engine_flags flags = flags_of(e, s);
    hd_engine_get_info(s->engine, &info);
    printf("%-24s %s (%s, cache %s)\n", title, model_of(e, s), info.cpu, info.cache_type);
    if (flags.lora) printf("  adapter                %s\n", flags.lora);
    hd_arithmetic_left left;
    hd_engine_get_arithmetic(s->engine, &left);
    if (left.layers < 1)
        printf("  arithmetic             %.1f %% of the whole model's, %.1f %% in its layers\n", 100 * left.all,
               100 * left.layers);
    if (e->run.predicted)
        printf("  perplexity             %.6g over %zu predictions (mean loss %.6g)\n",
               hd_evaluation_perplexity(&e->run, s), e->run.predicted, hd_evaluation_loss(&e->run, s));
}

static void print_text(eval *e)
{
    print_side(e, &e->run.own, "model");
    printf("  tokens                 %zu, in %zu window%s of at most %lld\n", e->ids.len, e->run.windows,
           e->run.windows == 1 ? "" : "s", (long long)e->run.window);
    if (e->logits_path)
        printf("  logits                 float32 [%lld, %d] in %s\n", (long long)e->run.last, (int)e->run.vocab,
               e->logits_path);
    if (!e->run.compares) return;
    hd_divergence kl = hd_evaluation_divergence(&e->run);
    print_side(e, &e->run.other, "against");
    printf("divergence               over %zu positions\n", e->run.compared);
    printf("  KL, nats               mean %.4g, median %.4g, 99 %% %.4g, max %.4g\n", kl.mean, kl.median, kl.p99,
           kl.max);
    printf("  same top token         %.2f %%\n", 100 * kl.top1);
    printf("  largest logit error    %.4g\n", e->run.difference);
}

/* ---- in order ---- */

static hd_status run_all(eval *e, hd_error *err)
{
    HD_TRY(check_outputs(e, err));
    HD_TRY(read_ids(e, err));
    if (e->ids.len == 0) return hd_fail(err, HD_E_ARGUMENT, "there is nothing to evaluate: the text is empty");
    HD_TRY(open_models(e, err));
    HD_TRY(prepare(e, err));
    hd_interrupt_catch(hd_evaluation_cancel, &e->run);
    HD_TRY(eval_all(e, err));
    if (e->json) return print_json(e, err);
    print_text(e);
    return HD_OK;
}

static int check_usage(eval *e, const char *command)
{
    int sources = !!e->ids_list + !!e->ids_file + !!e->text_file + !!e->text_string;
    if (sources != 1)
        return hd_cli_usage(command, "%s of --ids, --ids-file, --text and --text-string",
                            sources ? "only one" : "give one");
    if (e->record && e->force) return hd_cli_usage(command, "--record-experts and --force-experts exclude each other");
    if (e->logits_path && !e->logits_path[0]) return hd_cli_usage(command, "--logits: the name of the file is empty");
    if (e->record && !e->record[0]) return hd_cli_usage(command, "--record-experts: the name of the file is empty");
    if (e->logits_path && e->record && hd_output_same(e->logits_path, e->record))
        return hd_cli_usage(command, "--logits and --record-experts need two files");
    e->run.compares = e->against || e->against_cpu || e->against_cache;
    if (!e->against_cpu) e->against_cpu = e->flags.cpu;
    if (!e->against_cache) e->against_cache = e->flags.cache_type;
    return HD_ARGS_OK;
}

int hd_cmd_eval(int argc, char **argv)
{
    eval e = {0};
    hd_opt opts[] = {
        {.name = "ids",
         .type = HD_OPT_STRING,
         .value = &e.ids_list,
         .metavar = "LIST",
         .help = "Token ids, such as 5,9,12."},
        {.name = "ids-file",
         .type = HD_OPT_STRING,
         .value = &e.ids_file,
         .metavar = "FILE",
         .help = "A file of token ids; - is standard input."},
        {.name = "text",
         .type = HD_OPT_STRING,
         .value = &e.text_file,
         .metavar = "FILE",
         .help = "A text file; - is standard input."},
        {.name = "text-string",
         .type = HD_OPT_STRING,
         .value = &e.text_string,
         .metavar = "TEXT",
         .help = "The text itself."},
        {.name = "logits",
         .letter = 'o',
         .type = HD_OPT_STRING,
         .value = &e.logits_path,
         .metavar = "OUT",
         .help = "Writes the logits to a safetensors file."},
        {.name = "last",
         .type = HD_OPT_INT,
         .value = &e.last,
         .metavar = "N",
         .min = 1,
         .max = 1 << 30,
         .help =
             "Only the last N positions are reported, compared and written; those before are evaluated all the same.",
         .initial = "all"},
        {.name = "against",
         .type = HD_OPT_STRING,
         .value = &e.against,
         .metavar = "OTHER",
         .help = "A second model to compare with."},
        {.name = "against-cpu",
         .type = HD_OPT_CHOICE,
         .value = &e.against_cpu,
         .choices = HD_CPU_CHOICES,
         .help = "Instructions that it computes with.",
         .initial = "as --cpu"},
        {.name = "against-cache-type",
         .type = HD_OPT_CHOICE,
         .value = &e.against_cache,
         .choices = HD_CACHE_CHOICES,
         .help = "Numbers that it keeps keys and values in.",
         .initial = "as --cache-type"},
        {.name = "record-experts",
         .type = HD_OPT_STRING,
         .value = &e.record,
         .metavar = "FILE",
         .help = "Writes which experts each token was routed to."},
        {.name = "force-experts",
         .type = HD_OPT_STRING,
         .value = &e.force,
         .metavar = "FILE",
         .help = "Routes each token of MODEL to the recorded experts."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &e.json, .help = "Prints one JSON object."},
        HD_LORA_OPTION(&e.flags),
    };
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)}, hd_engine_flags_group(&e.flags)};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .min_operands = 1,
                    .max_operands = 1,
                    .operand_names = (const char *const[]){"MODEL"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc == HD_ARGS_OK) rc = check_usage(&e, argv[0]);
    if (rc != HD_ARGS_OK) return rc;
    e.model = args.operands[0];
    hd_error err = {0};
    hd_status status = run_all(&e, &err);
    hd_interrupt_release();
    hd_evaluation_close(&e.run);
    hd_ids_free(&e.ids);
    hd_free(e.run.kept);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
