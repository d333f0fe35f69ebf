/* cli/cmd_eval.c: `hadal eval`: what a model says about given tokens: logits, perplexity, divergence from another
 * model.
 *
 * The tokens are cut into windows of at most the context; each window starts from an empty cache and is evaluated in
 * pieces, so that the logits in memory stay below HD_EVAL_PIECE_BYTES for each model however long the text is.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "engine/compare.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/terminal.h"

#define HD_EVAL_PIECE_BYTES ((int64_t)128 << 20)
#define HD_EVAL_PIECE 512                      /* the engine's own chunk */
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
        "or --against-cache-type alone, OTHER is the same model.\n\n"
        "--record-experts and --force-experts store and replay which experts every token was routed to: a rounding in "
        "a "
        "faster tier can flip a choice, which says nothing about its arithmetic.",
    .examples = "hadal eval model.gguf --ids 5,9,12 --logits out.safetensors --cpu reference\n"
                "hadal eval model.gguf --text book.txt --context 2048\n"
                "hadal eval small.gguf --text book.txt --against large.gguf --json\n"
                "hadal eval model.gguf --text book.txt --cache-type q8_0 --against-cache-type f16\n"
                "hadal eval moe.gguf --ids-file ids --cpu reference --record-experts experts.safetensors\n"
                "hadal eval moe.gguf --ids-file ids --force-experts experts.safetensors --against-cpu reference",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct side {
    hd_engine *engine;
    hd_session *session;
    float *logits; /* [piece][vocab] */
    double loss;
} side;

typedef struct eval {
    /* options */
    const char *model, *ids_list, *ids_file, *text_file, *text_string;
    const char *logits_path, *against, *against_cpu, *against_cache, *record, *force;
    int64_t last;
    bool json;
    hd_engine_flags flags;
    /* state */
    hd_ids ids;
    side own, other;
    bool compares;
    int32_t vocab;
    int64_t context, window, piece; /* window: tokens in the longest one */
    float *kept;                    /* [last][vocab] for --logits */
    float *kl;                      /* one for each compared position */
    size_t predicted, compared, agreed, windows;
    double difference;
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

/* Tokens whose logits are kept together: the engine's chunk, unless they take too much memory. */
static int64_t piece_tokens(const eval *e, int32_t vocab)
{
    int64_t chunk = e->flags.chunk ? e->flags.chunk : HD_EVAL_PIECE;
    int64_t fit = HD_EVAL_PIECE_BYTES / ((int64_t)vocab * (int64_t)sizeof(float));
    return HD_MAX(HD_MIN(chunk, fit), 1);
}

static hd_status open_side(const eval *e, side *s, const char *model, const char *cpu, const char *cache_type,
                           hd_error *err)
{
    hd_engine_flags flags = e->flags;
    hd_engine_info info;
    flags.cpu = cpu;
    flags.cache_type = cache_type;
    HD_TRY(hd_cli_load(&s->engine, model, &flags, NULL, NULL, err));
    HD_TRY(hd_session_open(&s->session, s->engine, err));
    hd_engine_get_info(s->engine, &info);
    size_t values = (size_t)(piece_tokens(e, info.vocab) * info.vocab);
    s->logits = hd_alloc_array(values, sizeof *s->logits);
    return s->logits ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for %zu logits", values);
}

static void close_side(side *s)
{
    hd_session_close(&s->session);
    hd_engine_close(&s->engine);
    hd_free(s->logits);
}

static hd_status open_models(eval *e, hd_error *err)
{
    hd_engine_info info, other;
    HD_TRY(open_side(e, &e->own, e->model, e->flags.cpu, e->flags.cache_type, err));
    hd_engine_get_info(e->own.engine, &info);
    e->vocab = info.vocab;
    e->context = info.context;
    e->piece = piece_tokens(e, info.vocab);
    if (e->force) HD_TRY(hd_engine_force_experts(e->own.engine, e->force, err));
    if (e->record) HD_TRY(hd_engine_record_experts(e->own.engine, (int64_t)e->ids.len, err));
    if (!e->compares) return HD_OK;
    HD_TRY(open_side(e, &e->other, e->against ? e->against : e->model, e->against_cpu, e->against_cache, err));
    hd_engine_get_info(e->other.engine, &other);
    if (other.vocab != info.vocab)
        return hd_fail(err, HD_E_ARGUMENT, "the models have vocabularies of %d and %d tokens; they can't be compared",
                       (int)info.vocab, (int)other.vocab);
    e->context = HD_MIN(e->context, other.context);
    return HD_OK;
}

/* Buffers for what is asked, and checks that need the model. */
static hd_status prepare(eval *e, hd_error *err)
{
    int64_t n = (int64_t)e->ids.len;
    if (e->last == 0 || e->last > n) e->last = n;
    for (int64_t i = 0; i < n; i++)
        if (e->ids.data[i] >= e->vocab)
            return hd_fail(err, HD_E_ARGUMENT, "token id %d at place %lld is outside the vocabulary of %d",
                           (int)e->ids.data[i], (long long)i, (int)e->vocab);
    if ((e->logits_path || e->last < n) && n > e->context)
        return hd_fail(err, HD_E_CONTEXT,
                       "%lld tokens are more than the context of %lld; --logits and --last need one window",
                       (long long)n, (long long)e->context);
    e->window = HD_MIN(n, e->context);
    if (e->compares && !(e->kl = hd_alloc_array((size_t)e->last, sizeof *e->kl)))
        return hd_fail(err, HD_E_MEMORY, "out of memory for %lld divergences", (long long)e->last);
    if (!e->logits_path) return HD_OK;
    int64_t bytes = e->last * e->vocab * (int64_t)sizeof(float);
    if (bytes > HD_EVAL_LOGIT_BYTES)
        return hd_fail(err, HD_E_LIMIT, "the logits would take %lld MiB, at most %lld are kept; use --last N",
                       (long long)(bytes >> 20), (long long)(HD_EVAL_LOGIT_BYTES >> 20));
    e->kept = hd_alloc((size_t)bytes);
    return e->kept ? HD_OK
                   : hd_fail(err, HD_E_MEMORY, "out of memory for %lld MiB of logits", (long long)(bytes >> 20));
}

/* ---- evaluation ---- */

/* Counts the logits of one position; `next` is the id that follows in the window, or -1. */
static void count_row(eval *e, int64_t row, int32_t next)
{
    const float *own = e->own.logits + row * e->vocab;
    if (next < 0 && !e->compares) return;
    double norm = hd_compare_norm(own, e->vocab);
    if (next >= 0) {
        e->own.loss += norm - (double)own[next];
        e->predicted++;
    }
    if (!e->compares) return;
    const float *other = e->other.logits + row * e->vocab;
    double other_norm = hd_compare_norm(other, e->vocab);
    if (next >= 0) e->other.loss += other_norm - (double)other[next];
    e->kl[e->compared++] = (float)hd_compare_kl(other, other_norm, own, norm, e->vocab);
    e->agreed += hd_compare_top(other, e->vocab) == hd_compare_top(own, e->vocab);
    e->difference = HD_MAX(e->difference, hd_compare_difference(own, other, e->vocab));
}

static hd_status feed_piece(eval *e, int64_t at, int64_t n, hd_error *err)
{
    if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "interrupted");
    const int32_t *ids = e->ids.data + at;
    HD_TRY(hd_session_feed_all(e->own.session, ids, n, e->own.logits, err));
    if (e->compares) HD_TRY(hd_session_feed_all(e->other.session, ids, n, e->other.logits, err));
    return HD_OK;
}

static hd_status eval_window(eval *e, int64_t first, int64_t end, hd_error *err)
{
    int64_t n = (int64_t)e->ids.len, skip = first + HD_MAX(end - first - e->last, 0);
    HD_TRY(hd_session_truncate(e->own.session, 0, err));
    if (e->compares) HD_TRY(hd_session_truncate(e->other.session, 0, err));
    if (skip > first) {
        HD_TRY(hd_cli_feed(e->own.session, e->own.engine, e->ids.data + first, skip - first, e->flags.chunk, err));
        if (e->compares)
            HD_TRY(
                hd_cli_feed(e->other.session, e->other.engine, e->ids.data + first, skip - first, e->flags.chunk, err));
    }
    for (int64_t at = skip; at < end; at += e->piece) {
        int64_t count = HD_MIN(e->piece, end - at);
        if (n > e->piece) hd_progress_show("evaluating", (double)at / (double)n);
        HD_TRY(feed_piece(e, at, count, err));
        for (int64_t i = 0; i < count; i++)
            count_row(e, i, at + i + 1 < end ? e->ids.data[at + i + 1] : -1);
        if (e->kept)
            memcpy(e->kept + (at - skip) * e->vocab, e->own.logits, (size_t)(count * e->vocab) * sizeof(float));
    }
    return HD_OK;
}

static hd_status eval_all(eval *e, hd_error *err)
{
    int64_t n = (int64_t)e->ids.len;
    for (int64_t at = 0; at < n; at += e->window, e->windows++)
        HD_TRY(eval_window(e, at, HD_MIN(at + e->window, n), err));
    hd_progress_clear();
    if (e->record) HD_TRY(hd_engine_save_experts(e->own.engine, e->record, err));
    if (!e->kept) return HD_OK;
    hd_tensor tensor = {.name = "logits",
                        .type = HD_TYPE_F32,
                        .dims = 2,
                        .shape = {e->last, e->vocab, 1, 1},
                        .data = e->kept,
                        .bytes = (size_t)(e->last * e->vocab) * sizeof(float)};
    return hd_safetensors_write(e->logits_path, &tensor, 1, err);
}

/* ---- report ---- */

typedef struct kl_report {
    double mean, median, p99, max;
} kl_report;

static kl_report kl_summary(eval *e)
{
    kl_report r = {0};
    for (size_t i = 0; i < e->compared; i++)
        r.mean += (double)e->kl[i] / (double)e->compared;
    r.median = hd_compare_quantile(e->kl, e->compared, 0.5);
    r.p99 = hd_compare_quantile(e->kl, e->compared, 0.99);
    r.max = hd_compare_quantile(e->kl, e->compared, 1);
    return r;
}

static double perplexity(const eval *e, const side *s)
{
    return exp(s->loss / (double)e->predicted);
}

static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null(); /* JSON has no infinity and no NaN */
}

static json_t *side_json(const eval *e, const side *s, const char *model)
{
    hd_engine_info info;
    hd_engine_get_info(s->engine, &info);
    json_t *o = json_pack("{s:o, s:s}", "model", hd_json_text(model, strlen(model)), "cpu", info.cpu);
    json_object_set_new(o, "cache_type", json_string(info.cache_type));
    json_object_set_new(o, "perplexity", e->predicted ? real_or_null(perplexity(e, s)) : json_null());
    json_object_set_new(o, "loss", e->predicted ? real_or_null(s->loss / (double)e->predicted) : json_null());
    return o;
}

static hd_status print_json(eval *e, hd_error *err)
{
    json_t *o = side_json(e, &e->own, e->model);
    json_object_set_new(o, "tokens", json_integer((json_int_t)e->ids.len));
    json_object_set_new(o, "predicted_tokens", json_integer((json_int_t)e->predicted));
    json_object_set_new(o, "window", json_integer(e->window));
    json_object_set_new(o, "windows", json_integer((json_int_t)e->windows));
    if (e->logits_path) json_object_set_new(o, "logits", hd_json_text(e->logits_path, strlen(e->logits_path)));
    if (e->compares) {
        kl_report kl = kl_summary(e);
        json_t *other = side_json(e, &e->other, e->against ? e->against : e->model);
        json_object_set_new(o, "kl_mean", real_or_null(kl.mean));
        json_object_set_new(o, "kl_median", real_or_null(kl.median));
        json_object_set_new(o, "kl_p99", real_or_null(kl.p99));
        json_object_set_new(o, "kl_max", real_or_null(kl.max));
        json_object_set_new(o, "top1", json_real((double)e->agreed / (double)e->compared));
        json_object_set_new(other, "largest_logit_difference", real_or_null(e->difference));
        json_object_set_new(other, "compared_tokens", json_integer((json_int_t)e->compared));
        json_object_set_new(o, "against", other);
    }
    return hd_json_print(stdout, o, false, err);
}

static void print_side(const eval *e, const side *s, const char *title, const char *model)
{
    hd_engine_info info;
    hd_engine_get_info(s->engine, &info);
    printf("%-24s %s (%s, cache %s)\n", title, model, info.cpu, info.cache_type);
    if (e->predicted)
        printf("  perplexity             %.6g over %zu predictions (mean loss %.6g)\n", perplexity(e, s), e->predicted,
               s->loss / (double)e->predicted);
}

static void print_text(eval *e)
{
    print_side(e, &e->own, "model", e->model);
    printf("  tokens                 %zu, in %zu window%s of at most %lld\n", e->ids.len, e->windows,
           e->windows == 1 ? "" : "s", (long long)e->window);
    if (e->logits_path)
        printf("  logits                 float32 [%lld, %d] in %s\n", (long long)e->last, (int)e->vocab,
               e->logits_path);
    if (!e->compares) return;
    kl_report kl = kl_summary(e);
    print_side(e, &e->other, "against", e->against ? e->against : e->model);
    printf("divergence               over %zu positions\n", e->compared);
    printf("  KL, nats               mean %.4g, median %.4g, 99 %% %.4g, max %.4g\n", kl.mean, kl.median, kl.p99,
           kl.max);
    printf("  same top token         %.2f %%\n", 100 * (double)e->agreed / (double)e->compared);
    printf("  largest logit error    %.4g\n", e->difference);
}

/* ---- in order ---- */

/* Whichever computes at the moment. */
static void cancel_both(void *arg)
{
    const eval *e = arg;
    hd_cli_cancel(e->own.engine);
    if (e->compares) hd_cli_cancel(e->other.engine);
}

static hd_status run_all(eval *e, hd_error *err)
{
    HD_TRY(check_outputs(e, err));
    HD_TRY(read_ids(e, err));
    if (e->ids.len == 0) return hd_fail(err, HD_E_ARGUMENT, "there is nothing to evaluate: the text is empty");
    HD_TRY(open_models(e, err));
    HD_TRY(prepare(e, err));
    hd_interrupt_catch(cancel_both, e);
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
    e->compares = e->against || e->against_cpu || e->against_cache;
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
    close_side(&e.own);
    close_side(&e.other);
    hd_ids_free(&e.ids);
    hd_free(e.kept);
    hd_free(e.kl);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
