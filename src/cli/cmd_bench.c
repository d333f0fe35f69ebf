/* cli/cmd_bench.c: `hadal bench`: how fast a model reads and writes here.
 *
 * Ids are pseudo-random but always the same, so no tokenizer is needed and runs compare.  Every figure is the median
 * over the repetitions; each repetition starts from the same state.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/cli.h"
#include "cli/compare.h"
#include "cli/engine.h"
#include "cli/json.h"

#define HD_BENCH_REPS_MAX 1000
#define HD_BENCH_BATCH_MAX 256

static const hd_manual manual = {
    .command = "bench",
    .synopsis = "bench MODEL [--prefill N] [--decode N] [--depth N] [--batch B] [OPTIONS]",
    .description =
        "Measures how many tokens a second the model reads (prefill) and writes (decode).  Tokens are pseudo-random, "
        "the "
        "same in every run; files without a tokenizer will do.  A run that is not counted comes first; figures are "
        "medians over --reps repetitions.\n\n"
        "Prefill starts from an empty cache.  Decode starts after --depth tokens, one token at a time; with --batch B "
        "that many sequences are decoded together, one token of each in a pass, and the rate is the total of all.\n\n"
        "load_seconds is the time until the model could be used, its file perhaps already in the page cache; "
        "peak_memory_bytes is the largest resident set of the process, mapped weights included.",
    .examples = "hadal bench model.gguf\nhadal bench model.gguf --threads 2 --prefill 512 --decode 64 --json\n"
                "hadal bench model.gguf --prefill 0 --depth 4096 --batch 8",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct bench {
    /* options */
    const char *model;
    int64_t prefill, decode, depth, batch, reps;
    bool json;
    hd_engine_flags flags;
    /* state */
    hd_engine *engine;
    hd_session *sessions[HD_BENCH_BATCH_MAX];
    int32_t *ids; /* enough for the longest of prefill, depth and decode */
    uint32_t random;
    int32_t vocab;
    double load_seconds;
    double prefill_rates[HD_BENCH_REPS_MAX], decode_rates[HD_BENCH_REPS_MAX];
} bench;

/* Numerical Recipes' linear congruential generator: any fixed sequence would do. */
static int32_t next_id(bench *b)
{
    b->random = b->random * 1664525u + 1013904223u;
    return (int32_t)(((uint64_t)b->random * (uint64_t)b->vocab) >> 32);
}

static hd_status make_ids(bench *b, hd_error *err)
{
    int64_t most = HD_MAX(b->prefill, b->depth);
    b->ids = hd_alloc_array((size_t)most + 1, sizeof *b->ids);
    if (!b->ids) return hd_fail(err, HD_E_MEMORY, "out of memory for %lld ids", (long long)most);
    b->random = 1;
    for (int64_t i = 0; i < most; i++)
        b->ids[i] = next_id(b);
    return HD_OK;
}

static hd_status check_context(const bench *b, hd_error *err)
{
    hd_engine_info info;
    hd_engine_get_info(b->engine, &info);
    int64_t need = HD_MAX(b->prefill, b->depth + b->decode);
    if (need <= info.context) return HD_OK;
    return hd_fail(err, HD_E_CONTEXT, "%lld tokens are needed, the context has %lld; ask for fewer or raise --context",
                   (long long)need, (long long)info.context);
}

static hd_status time_prefill(bench *b, double *rate, hd_error *err)
{
    hd_session *session = b->sessions[0];
    HD_TRY(hd_session_truncate(session, 0, err));
    uint64_t start = hd_clock_ns();
    HD_TRY(hd_session_feed(session, b->ids, b->prefill, err));
    *rate = hd_rate(b->prefill, hd_seconds_since(start));
    return HD_OK;
}

/* Brings every session to `depth` tokens; what it has already is kept. */
static hd_status go_to_depth(bench *b, hd_error *err)
{
    for (int64_t i = 0; i < b->batch; i++) {
        int64_t held = hd_session_length(b->sessions[i]);
        if (held > b->depth) {
            HD_TRY(hd_session_truncate(b->sessions[i], b->depth, err));
        } else if (held < b->depth) {
            HD_TRY(hd_session_truncate(b->sessions[i], 0, err));
            HD_TRY(hd_cli_feed(b->sessions[i], b->engine, b->ids, b->depth, b->flags.chunk, err));
        }
    }
    return HD_OK;
}

static hd_status time_decode(bench *b, int64_t tokens, double *rate, hd_error *err)
{
    int32_t ids[HD_BENCH_BATCH_MAX];
    hd_feed feeds[HD_BENCH_BATCH_MAX];
    HD_TRY(go_to_depth(b, err));
    for (int64_t i = 0; i < b->batch; i++)
        feeds[i] = (hd_feed){.session = b->sessions[i], .ids = &ids[i], .n = 1};
    uint64_t start = hd_clock_ns();
    for (int64_t step = 0; step < tokens; step++) {
        if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "interrupted");
        for (int64_t i = 0; i < b->batch; i++)
            ids[i] = next_id(b);
        HD_TRY(hd_engine_step(b->engine, feeds, (int)b->batch, NULL, err));
    }
    *rate = hd_rate(tokens * b->batch, hd_seconds_since(start));
    return HD_OK;
}

static hd_status measure(bench *b, hd_error *err)
{
    double unused;
    if (b->prefill) HD_TRY(time_prefill(b, &unused, err)); /* pages in weights and wakes the threads */
    for (int64_t i = 0; i < b->reps && b->prefill; i++) {
        hd_progress_show("prefill", (double)i / (double)b->reps);
        HD_TRY(time_prefill(b, &b->prefill_rates[i], err));
    }
    hd_progress_clear();
    if (b->decode) HD_TRY(time_decode(b, HD_MIN(b->decode, 8), &unused, err));
    for (int64_t i = 0; i < b->reps && b->decode; i++) {
        hd_progress_show("decode", (double)i / (double)b->reps);
        b->random = 2;
        HD_TRY(time_decode(b, b->decode, &b->decode_rates[i], err));
    }
    hd_progress_clear();
    return HD_OK;
}

/* Largest resident set of the process so far; Linux counts ru_maxrss in KiB. */
static uint64_t peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

static void set_rates(json_t *o, const char *name, double *rates, int64_t reps, bool measured)
{
    char key[64];
    snprintf(key, sizeof key, "%s_tokens_per_second", name);
    json_object_set_new(o, key, measured ? json_real(hd_compare_median(rates, (size_t)reps)) : json_null());
    snprintf(key, sizeof key, "%s_tokens_per_second_range", name); /* the median sorted them */
    if (measured) json_object_set_new(o, key, json_pack("[f, f]", rates[0], rates[reps - 1]));
}

static hd_status print_json(bench *b, hd_error *err)
{
    hd_engine_info info;
    hd_engine_get_info(b->engine, &info);
    json_t *o = json_object();
    json_object_set_new(o, "model", hd_json_text(b->model, strlen(b->model)));
    json_object_set_new(o, "architecture", json_string(info.architecture));
    json_object_set_new(o, "parameters", json_integer(info.parameters));
    json_object_set_new(o, "weight_bytes", json_integer((json_int_t)info.weight_bytes));
    json_object_set_new(o, "cpu", json_string(info.cpu));
    json_object_set_new(o, "machine", hd_json_text(hd_cpu_model(), strlen(hd_cpu_model())));
    json_object_set_new(o, "threads", json_integer(info.threads));
    json_object_set_new(o, "prefill", json_integer(b->prefill));
    json_object_set_new(o, "decode", json_integer(b->decode));
    json_object_set_new(o, "depth", json_integer(b->depth));
    json_object_set_new(o, "batch", json_integer(b->batch));
    json_object_set_new(o, "repetitions", json_integer(b->reps));
    set_rates(o, "prefill", b->prefill_rates, b->reps, b->prefill > 0);
    set_rates(o, "decode", b->decode_rates, b->reps, b->decode > 0);
    json_object_set_new(o, "load_seconds", json_real(b->load_seconds));
    json_object_set_new(o, "peak_memory_bytes", json_integer((json_int_t)peak_memory()));
    return hd_json_print(stdout, o, false, err);
}

static void print_rates(const char *name, double *rates, int64_t reps)
{
    double median = hd_compare_median(rates, (size_t)reps);
    printf("%-24s %10.2f tokens/s  (%.2f to %.2f)\n", name, median, rates[0], rates[reps - 1]);
}

static void print_table(bench *b)
{
    hd_engine_info info;
    char name[64];
    hd_engine_get_info(b->engine, &info);
    printf("model    %s: %s, %.1f M parameters, %.1f MiB\n", b->model, info.architecture, (double)info.parameters / 1e6,
           (double)info.weight_bytes / (1 << 20));
    printf("machine  %s, %d threads, %s\n", hd_cpu_model(), info.threads, info.cpu);
    snprintf(name, sizeof name, "prefill %lld", (long long)b->prefill);
    if (b->prefill) print_rates(name, b->prefill_rates, b->reps);
    snprintf(name, sizeof name, "decode %lld at %lld x %lld", (long long)b->decode, (long long)b->depth,
             (long long)b->batch);
    if (b->decode) print_rates(name, b->decode_rates, b->reps);
    printf("%-24s %10.3f s\n%-24s %10.1f MiB\n", "load", b->load_seconds, "peak memory",
           (double)peak_memory() / (1 << 20));
}

static hd_status run_all(bench *b, hd_error *err)
{
    HD_TRY(hd_cli_load(&b->engine, b->model, &b->flags, NULL, &b->load_seconds, err));
    hd_engine_info info;
    hd_engine_get_info(b->engine, &info);
    b->vocab = info.vocab;
    HD_TRY(check_context(b, err));
    HD_TRY(make_ids(b, err));
    for (int64_t i = 0; i < b->batch; i++)
        HD_TRY(hd_session_open(&b->sessions[i], b->engine, err));
    hd_interrupt_catch(hd_cli_cancel, b->engine);
    HD_TRY(measure(b, err));
    if (b->json) return print_json(b, err);
    print_table(b);
    return HD_OK;
}

int hd_cmd_bench(int argc, char **argv)
{
    static bench b = {.prefill = 512, .decode = 64, .batch = 1, .reps = 5}; /* too large for the stack */
    hd_opt opts[] = {
        {.name = "prefill",
         .letter = 'p',
         .type = HD_OPT_INT,
         .value = &b.prefill,
         .metavar = "N",
         .max = 1 << 30,
         .help = "Tokens to read; 0: not measured."},
        {.name = "decode",
         .letter = 'n',
         .type = HD_OPT_INT,
         .value = &b.decode,
         .metavar = "N",
         .max = 1 << 30,
         .help = "Tokens to write; 0: not measured."},
        {.name = "depth",
         .letter = 'd',
         .type = HD_OPT_INT,
         .value = &b.depth,
         .metavar = "N",
         .max = 1 << 30,
         .help = "Tokens in the cache before decoding."},
        {.name = "batch",
         .letter = 'b',
         .type = HD_OPT_INT,
         .value = &b.batch,
         .metavar = "B",
         .min = 1,
         .max = HD_BENCH_BATCH_MAX,
         .help = "Sequences decoded together."},
        {.name = "reps",
         .letter = 'r',
         .type = HD_OPT_INT,
         .value = &b.reps,
         .metavar = "N",
         .min = 1,
         .max = HD_BENCH_REPS_MAX,
         .help = "Repetitions."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &b.json, .help = "Prints one JSON object."},
    };
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)}, hd_engine_flags_group(&b.flags)};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .min_operands = 1,
                    .max_operands = 1,
                    .operand_names = (const char *const[]){"MODEL"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    if (!b.prefill && !b.decode) return hd_cli_usage(argv[0], "--prefill 0 --decode 0 leaves nothing to measure");
    b.model = args.operands[0];
    hd_error err = {0};
    hd_status status = run_all(&b, &err);
    hd_interrupt_release();
    for (int64_t i = 0; i < b.batch; i++)
        hd_session_close(&b.sessions[i]);
    hd_engine_close(&b.engine);
    hd_free(b.ids);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
