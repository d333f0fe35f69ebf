/* cli/bench_machine.c: `hadal bench machine`, and the machine's limits for --profile. */
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/json.h"

#define MIB ((size_t)1 << 20)
#define BUFFER_BYTES ((size_t)1 << 30) /* ten times the largest caches of today */

static const hd_manual manual = {
    .command = "bench",
    .synopsis = "bench machine [--threads N] [--buffer MIB] [--reps N] [--json]",
    .description =
        "Measures the two limits that a model's speed is held against.  Writing a token reads the weights once, so "
        "bytes a second of memory bound it; reading a prompt is arithmetic, so operations a second bound that.\n\n"
        "read: all threads stream a buffer that is far larger than the caches.  The other lines: one instruction in a "
        "loop on all threads, operands in registers; a multiplication and an addition count as two operations.  Each "
        "figure is the median of --reps repetitions, with the best beside it.  Other work on the machine lowers both.",
    .examples = "hadal bench machine\nhadal bench machine --threads 1 --json",
    .environment = HD_ENVIRONMENT_MODELS,
};

static size_t default_buffer(void)
{
    uint64_t memory = hd_memory_limit();
    if (!memory) return BUFFER_BYTES;
    return (size_t)HD_MAX(HD_MIN(memory / 8, BUFFER_BYTES), 64 * MIB);
}

void hd_bench_note_threads(int threads)
{
    if (threads > hd_cpu_threads())
        fprintf(stderr, "hadal: bench: %d threads take turns on %d processors: the figures are those of a crowd\n",
                threads, hd_cpu_threads());
}

hd_status hd_bench_measure_machine(hd_bench_machine *out, int threads, size_t buffer, int reps, hd_error *err)
{
    hd_pool *pool = NULL;
    memset(out, 0, sizeof *out);
    out->threads = threads ? threads : hd_cpu_threads();
    out->buffer = buffer ? buffer : default_buffer();
    hd_bench_note_threads(out->threads);
    HD_TRY(hd_pool_open(&pool, out->threads, err));
    hd_progress_show("measuring the machine", 0);
    hd_status status = hd_machine_read(pool, out->buffer, reps, &out->read, err);
    for (int i = 0; i < HD_ARITHMETIC_COUNT && status == HD_OK && !hd_interrupted(); i++) {
        hd_progress_show("measuring the machine", (double)(i + 1) / (HD_ARITHMETIC_COUNT + 1));
        out->has[i] = hd_machine_instruction((hd_arithmetic)i) != NULL;
        if (out->has[i]) status = hd_machine_arithmetic(pool, (hd_arithmetic)i, reps, &out->arithmetic[i], err);
    }
    if (status == HD_OK && hd_interrupted()) status = hd_fail(err, HD_E_CANCELLED, "interrupted");
    hd_progress_clear();
    hd_pool_close(&pool);
    return status;
}

hd_arithmetic hd_bench_peak_kind(const hd_bench_machine *m, const char *tier, int64_t rows)
{
    const int64_t tile_rows = 5; /* fewer do not go through AMX's tiles (docs/kernels.md) */
    hd_arithmetic kind = HD_ARITHMETIC_INT8;
    if (strcmp(tier, hd_cpu_name(HD_CPU_AMX)) == 0 && rows >= tile_rows) kind = HD_ARITHMETIC_AMX_INT8;
    if (strcmp(tier, hd_cpu_name(HD_CPU_REFERENCE)) == 0) kind = HD_ARITHMETIC_F32;
    return m->has[kind] ? kind : m->has[HD_ARITHMETIC_F32] ? HD_ARITHMETIC_F32 : HD_ARITHMETIC_COUNT;
}

static json_t *rate_json(const hd_machine_rate *rate)
{
    return json_pack("{s:f, s:f}", "median", rate->median, "best", rate->best);
}

json_t *hd_bench_machine_json(const hd_bench_machine *m)
{
    json_t *o = json_object(), *kinds = json_object();
    json_object_set_new(o, "machine", hd_json_text(hd_cpu_model(), strlen(hd_cpu_model())));
    json_object_set_new(o, "threads", json_integer(m->threads));
    json_object_set_new(o, "buffer_bytes", json_integer((json_int_t)m->buffer));
    json_object_set_new(o, "read_bytes_per_second", rate_json(&m->read));
    for (int i = 0; i < HD_ARITHMETIC_COUNT; i++) {
        if (!m->has[i]) continue;
        json_t *rate = rate_json(&m->arithmetic[i]);
        json_object_set_new(rate, "instruction", json_string(hd_machine_instruction((hd_arithmetic)i)));
        json_object_set_new(kinds, hd_arithmetic_name((hd_arithmetic)i), rate);
    }
    json_object_set_new(o, "operations_per_second", kinds);
    return o;
}

void hd_bench_machine_print(const hd_bench_machine *m)
{
    printf("machine  %s, %d threads\n%-10s %10.1f GB/s   (best %.1f)  %zu MiB streamed\n", hd_cpu_model(), m->threads,
           "read", m->read.median / 1e9, m->read.best / 1e9, m->buffer / MIB);
    for (int i = 0; i < HD_ARITHMETIC_COUNT; i++)
        if (m->has[i])
            printf("%-10s %10.0f Gop/s  (best %.0f)  %s\n", hd_arithmetic_name((hd_arithmetic)i),
                   m->arithmetic[i].median / 1e9, m->arithmetic[i].best / 1e9,
                   hd_machine_instruction((hd_arithmetic)i));
}

int hd_bench_machine_command(int argc, char **argv)
{
    int64_t threads = 0, buffer = 0, reps = 7;
    bool json = false;
    hd_opt opts[] = {
        {.name = "threads",
         .letter = 't',
         .type = HD_OPT_INT,
         .value = &threads,
         .metavar = "N",
         .min = 1,
         .max = HD_POOL_MAX,
         .help = "Compute threads.",
         .initial = "the processors that the process may use"},
        {.name = "buffer",
         .type = HD_OPT_INT,
         .value = &buffer,
         .metavar = "MIB",
         .min = 1,
         .max = 1 << 20,
         .help = "Size of the buffer that is streamed; take ten times the largest cache.",
         .initial = "1024, less where memory is short"},
        {.name = "reps",
         .letter = 'r',
         .type = HD_OPT_INT,
         .value = &reps,
         .metavar = "N",
         .min = 1,
         .max = HD_MACHINE_REPS_MAX,
         .help = "Repetitions."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &json, .help = "Prints one JSON object."},
    };
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)}};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .min_operands = 1,
                    .max_operands = 1,
                    .operand_names = (const char *const[]){"machine"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    hd_bench_machine m;
    hd_error err = {0};
    hd_status status = hd_bench_measure_machine(&m, (int)threads, (size_t)buffer * MIB, (int)reps, &err);
    if (status == HD_OK && json)
        status = hd_json_print(stdout, hd_bench_machine_json(&m), false, &err);
    else if (status == HD_OK)
        hd_bench_machine_print(&m);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
