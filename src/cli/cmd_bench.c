/* cli/cmd_bench.c: `hadal bench`: how fast a model reads and writes here, and what the machine could do.
 *
 * Ids are pseudo-random but always the same, so no tokenizer is needed and runs compare.  Every figure is the median
 * over the repetitions; each repetition of a case starts from the same state.
 */
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"

static const hd_manual manual = {
    .command = "bench",
    .synopsis = "bench MODEL [--prefill LIST] [--decode N] [--depth LIST] [--batch LIST] [OPTIONS]\n"
                "bench load MODEL [OPTIONS]\n"
                "bench machine [OPTIONS]",
    .description =
        "Measures how many tokens a second the model reads (prefill) and writes (decode).  Tokens are pseudo-random, "
        "the same in every run; files without a tokenizer will do.  Figures are medians over --reps repetitions, with "
        "the slowest and the fastest behind them; a run that is not counted comes first.\n\n"
        "LIST is one number or several, such as 0,1024,4096.  Each length of --prefill is read behind each --depth of "
        "tokens that the cache holds already.  Decode starts behind each --depth, one token at a time; with --batch B "
        "that many sequences are decoded together, each with a cache of its own, one token of each in a pass, and the "
        "rate is the total of all.\n\n"
        "load is the time until the model could be used, its file perhaps already in the page cache; memory is the "
        "resident set of the process, mapped weights included, after loading and at its largest.  Ctrl-C ends the "
        "measurement; lines that are already printed stand.\n\n"
        "--profile adds, for each case, where the time goes: time, bytes and operations of each operator and shape of "
        "weights, for each token.  Bytes are what has to come from memory: weights as in the file and rows of the "
        "cache, each once a call.  %read is their rate as a share of the machine's measured bandwidth, %peak that of "
        "operations as a share of its measured arithmetic: int8 dot products, in AMX's tiles where they are used, "
        "float32 on the reference tier; the head of a table says which.  "
        "Caches may serve small models faster than memory: shares then pass 100 %.  Clocks around every operator "
        "cost a little; without --profile there are none.\n\n"
        "'bench load' times loading and the first token, from a warm page cache and from the disk; 'bench machine' "
        "measures bandwidth and arithmetic alone.  Each has a --help of its own.  A model file named 'load' or "
        "'machine' is reached as ./load.",
    .examples = "hadal bench model.gguf\nhadal bench model.gguf --threads 2 --prefill 512 --decode 64 --json\n"
                "hadal bench model.gguf --prefill 128,512 --depth 0,1024,4096\n"
                "hadal bench model.gguf --prefill 0 --depth 4096 --batch 1,4,16,32\n"
                "hadal bench model.gguf --prefill 512 --decode 64 --profile\n"
                "hadal bench load model.gguf\nhadal bench machine",
    .environment = HD_ENVIRONMENT_MODELS,
};

/* ---- lists ---- */

/* The numbers of "0,1024,4096"; false: `why` says what is wrong. */
static bool parse_list(hd_bench_list *out, const char *text, int64_t least, int64_t most, char *why, size_t why_size)
{
    out->count = 0;
    for (const char *at = text;; at++) {
        char number[24] = "";
        size_t len = strcspn(at, ",");
        int64_t value;
        if (out->count == HD_BENCH_LIST_MAX) {
            snprintf(why, why_size, "more than %d numbers", HD_BENCH_LIST_MAX);
            return false;
        }
        if (len < sizeof number) memcpy(number, at, len);
        if (!hd_parse_i64(number, &value)) {
            snprintf(why, why_size, "'%.*s' is not a number; give one or several, such as 0,1024,4096", (int)len, at);
            return false;
        }
        if (value < least || value > most) {
            snprintf(why, why_size, "%lld is out of range; from %lld to %lld", (long long)value, (long long)least,
                     (long long)most);
            return false;
        }
        out->items[out->count++] = value;
        at += len;
        if (!*at) return true;
    }
}

/* Lengths of 0 measure nothing. */
static void drop_zeros(hd_bench_list *list)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]) list->items[kept++] = list->items[i];
    list->count = kept;
}

/* ---- cases ---- */

static hd_status add_case(hd_bench *b, bool decode, int64_t tokens, int64_t depth, int64_t batch, hd_error *err)
{
    double *rates = hd_alloc_array((size_t)b->reps, sizeof *rates);
    if (!rates) return hd_fail(err, HD_E_MEMORY, "out of memory for the figures");
    b->cases[b->case_count++] =
        (hd_bench_case){.decode = decode, .tokens = tokens, .depth = depth, .batch = batch, .rates = rates};
    return HD_OK;
}

/* In the order given, depth by depth, so that each depth is read once. */
static hd_status make_cases(hd_bench *b, hd_error *err)
{
    size_t most = b->depth.count * (b->prefill.count + b->batch.count);
    b->cases = hd_calloc(most, sizeof *b->cases);
    if (!b->cases) return hd_fail(err, HD_E_MEMORY, "out of memory for the figures");
    for (size_t d = 0; d < b->depth.count; d++) {
        for (size_t i = 0; i < b->prefill.count; i++)
            HD_TRY(add_case(b, false, b->prefill.items[i], b->depth.items[d], 1, err));
        for (size_t i = 0; i < b->batch.count && b->decode; i++)
            HD_TRY(add_case(b, true, b->decode, b->depth.items[d], b->batch.items[i], err));
    }
    return HD_OK;
}

static void case_done(const hd_bench *b, const hd_bench_case *c)
{
    if (!b->json) hd_bench_print_case(b, c);
}

static hd_status report(const hd_bench *b, hd_error *err)
{
    enum { MACHINE_REPS = 7 };
    hd_bench_machine machine;
    if (b->profiled)
        HD_TRY(hd_bench_measure_machine(&machine, b->info.threads, 0, MACHINE_REPS, err)); /* after memory_peak */
    if (b->json) return hd_bench_print_json(b, b->profiled ? &machine : NULL, err);
    hd_bench_print_tail(b);
    if (!b->profiled) return HD_OK;
    putchar('\n');
    hd_bench_machine_print(&machine);
    for (size_t i = 0; i < b->case_count; i++)
        hd_bench_profile_print(&b->cases[i], &machine, b->info.cpu);
    return HD_OK;
}

static hd_status run_all(hd_bench *b, hd_error *err)
{
    HD_TRY(make_cases(b, err));
    if (b->profiled) HD_TRY(hd_profile_open(&b->profile, err));
    b->flags.profile = b->profile;
    HD_TRY(hd_cli_load(&b->engine, b->model, &b->flags, NULL, &b->load_seconds, err));
    hd_engine_get_info(b->engine, &b->info);
    if (!b->profiled) hd_bench_note_threads(b->info.threads);
    b->memory_after_load = hd_bench_memory_now();
    hd_interrupt_catch(hd_cli_cancel, b->engine);
    HD_TRY(hd_bench_check(b, err));
    if (!b->json) hd_bench_print_head(b);
    HD_TRY(hd_bench_run(b, case_done, err));
    return report(b, err);
}

static void release(hd_bench *b)
{
    hd_interrupt_release();
    hd_bench_end(b);
    hd_engine_close(&b->engine);
    hd_profile_close(&b->profile);
    for (size_t i = 0; i < b->case_count; i++) {
        hd_free(b->cases[i].rates);
        hd_free(b->cases[i].profile.rows);
    }
    hd_free(b->cases);
}

static int model_command(int argc, char **argv)
{
    static hd_bench b = {.decode = 64, .reps = 5}; /* too large for the stack */
    const char *prefill = "512", *depth = "0", *batch = "1";
    hd_opt opts[] = {
        {.name = "prefill",
         .letter = 'p',
         .type = HD_OPT_STRING,
         .value = &prefill,
         .metavar = "LIST",
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
         .type = HD_OPT_STRING,
         .value = &depth,
         .metavar = "LIST",
         .help = "Tokens in the cache before each."},
        {.name = "batch",
         .letter = 'b',
         .type = HD_OPT_STRING,
         .value = &batch,
         .metavar = "LIST",
         .help = "Sequences decoded together, 256 at most."},
        {.name = "reps",
         .letter = 'r',
         .type = HD_OPT_INT,
         .value = &b.reps,
         .metavar = "N",
         .min = 1,
         .max = HD_BENCH_REPS_MAX,
         .help = "Repetitions of each case."},
        {.name = "profile", .type = HD_OPT_FLAG, .value = &b.profiled, .help = "Time and bytes of each operator."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &b.json, .help = "Prints one JSON object."},
        HD_LORA_OPTION(&b.flags),
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
    char why[160];
    if (!parse_list(&b.prefill, prefill, 0, 1 << 30, why, sizeof why))
        return hd_cli_usage(argv[0], "--prefill: %s", why);
    if (!parse_list(&b.depth, depth, 0, 1 << 30, why, sizeof why)) return hd_cli_usage(argv[0], "--depth: %s", why);
    if (!parse_list(&b.batch, batch, 1, HD_BENCH_BATCH_MAX, why, sizeof why))
        return hd_cli_usage(argv[0], "--batch: %s", why);
    drop_zeros(&b.prefill);
    if (!b.prefill.count && !b.decode) return hd_cli_usage(argv[0], "--prefill 0 --decode 0 leaves nothing to measure");
    b.model = args.operands[0];
    hd_error err = {0};
    hd_status status = run_all(&b, &err);
    release(&b);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}

int hd_cmd_bench(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "load") == 0) return hd_bench_load_command(argc, argv);
    if (argc > 1 && strcmp(argv[1], "machine") == 0) return hd_bench_machine_command(argc, argv);
    return model_command(argc, argv);
}
