/* kernels/cpu/machine.c: see kernels/machine.h: threads, clocks and medians around the loops of machine_<tier>.c. */
#include "kernels/machine.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "kernels/cpu/machine_internal.h"

#define PAGE 4096
#define HUGE ((size_t)2 << 20)
#define ROUNDS_NS 20000000u /* an arithmetic measurement lasts at least this long: far above a clock's step */

/* ---- medians ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static hd_machine_rate summary(double *rates, int n)
{
    qsort(rates, (size_t)n, sizeof *rates, by_value);
    return (hd_machine_rate){.median = (rates[n / 2] + rates[(n - 1) / 2]) / 2, .best = rates[n - 1]};
}

static hd_status check_reps(int reps, hd_error *err)
{
    if (reps >= 1 && reps <= HD_MACHINE_REPS_MAX) return HD_OK;
    return hd_fail(err, HD_E_ARGUMENT, "%d repetitions: must be 1 to %d", reps, HD_MACHINE_REPS_MAX);
}

/* ---- reading ---- */

static uint64_t read_portable(const uint8_t *data, size_t bytes, hd_ask *ahead)
{
    const uint64_t *p = (const uint64_t *)(const void *)data;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < bytes / sizeof *p; i += 8) {
        if (ahead) hd_ask_lines(ahead, HD_CACHE_LINE);
        for (size_t j = 0; j < 8; j++)
            sum[j] ^= p[i + j];
    }
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

static hd_machine_reader best_reader(void)
{
#if defined(__x86_64__)
    if (hd_cpu_has(HD_CPU_AVX512)) return hd_machine_read_avx512;
    if (hd_cpu_has(HD_CPU_AVX2)) return hd_machine_read_avx2;
#endif
    return read_portable;
}

typedef struct stream {
    uint8_t *data;
    size_t bytes; /* of each thread */
    hd_machine_reader reader;
    uint64_t sums[HD_POOL_MAX];
} stream;

static void fill_part(void *arg, int thread, int threads)
{
    stream *s = arg;
    uint64_t *p = (uint64_t *)(void *)(s->data + s->bytes * (size_t)thread);
    (void)threads;
    for (size_t i = 0; i < s->bytes / sizeof *p; i++)
        p[i] = i; /* so that every page has memory of its own, near the thread that will read it */
}

static void read_part(void *arg, int thread, int threads)
{
    stream *s = arg;
    (void)threads;
    const uint8_t *data = s->data + s->bytes * (size_t)thread;
    int streams = hd_cpu_streams();
    s->sums[thread] = 0;
    for (size_t at = 0, n; at < s->bytes; at += n) { /* in segments about as large as the kernels' */
        n = HD_MIN(HD_AHEAD_BYTES, s->bytes - at);
        hd_segment next = {data + at + n, HD_MIN(HD_AHEAD_BYTES, s->bytes - at - n)};
        hd_ask ahead = hd_ask_for(next, streams);
        s->sums[thread] ^=
            s->reader(data + at, n, streams > 1 && next.bytes ? &ahead : NULL); /* plain order needs none */
    }
}

hd_status hd_machine_read(hd_pool *pool, size_t bytes, int reps, hd_machine_rate *out, hd_error *err)
{
    HD_TRY(check_reps(reps, err));
    int threads = hd_pool_threads(pool);
    size_t part = bytes / (size_t)threads / PAGE * PAGE, whole = part * (size_t)threads;
    if (!part) return hd_fail(err, HD_E_ARGUMENT, "%zu bytes are less than a page for each thread", bytes);
    stream *s = hd_calloc(1, sizeof *s);
    void *data = s ? mmap(NULL, whole + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
    if (data == MAP_FAILED) {
        hd_free(s);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a buffer of %zu bytes to read", whole);
    }
    (void)madvise(data, whole + HUGE, MADV_HUGEPAGE); /* a wish; else more of the time goes to page tables */
    s->data = (uint8_t *)(((uintptr_t)data + HUGE - 1) / HUGE * HUGE);
    s->bytes = part;
    s->reader = best_reader();
    hd_pool_run(pool, fill_part, s);
    double rates[HD_MACHINE_REPS_MAX] = {0};
    for (int i = 0; i < reps; i++) {
        uint64_t start = hd_clock_ns();
        hd_pool_run(pool, read_part, s);
        rates[i] = (double)whole * 1e9 / (double)(hd_clock_ns() - start);
    }
    *out = summary(rates, reps);
    (void)munmap(data, whole + HUGE);
    hd_free(s);
    return HD_OK;
}

/* ---- arithmetic ---- */

/* In ascending order of speed within a kind. */
static const struct {
    const hd_machine_loop *loops;
    size_t count;
} tiers[] = {
#if defined(__x86_64__)
    {hd_machine_avx2, HD_ARRAY_LEN(hd_machine_avx2)},
    {hd_machine_avx512, HD_ARRAY_LEN(hd_machine_avx512)},
    {hd_machine_amx, HD_ARRAY_LEN(hd_machine_amx)},
#elif defined(__aarch64__)
    {hd_machine_neon, HD_ARRAY_LEN(hd_machine_neon)},
#else
    {NULL, 0},
#endif
};

static const hd_machine_loop *loop_of(hd_arithmetic kind)
{
    const hd_machine_loop *best = NULL;
    for (size_t i = 0; i < HD_ARRAY_LEN(tiers); i++)
        for (size_t j = 0; j < tiers[i].count; j++)
            if (tiers[i].loops[j].kind == kind && tiers[i].loops[j].has()) best = &tiers[i].loops[j];
    return best;
}

const char *hd_arithmetic_name(hd_arithmetic kind)
{
    static const char *const names[HD_ARITHMETIC_COUNT] = {"float32", "bf16", "int8", "amx bf16", "amx int8"};
    return (size_t)kind < HD_ARITHMETIC_COUNT ? names[kind] : "unknown";
}

const char *hd_machine_instruction(hd_arithmetic kind)
{
    const hd_machine_loop *loop = loop_of(kind);
    return loop ? loop->instruction : NULL;
}

typedef struct arithmetic_run {
    const hd_machine_loop *loop;
    int64_t rounds;
} arithmetic_run;

static void run_part(void *arg, int thread, int threads)
{
    const arithmetic_run *run = arg;
    (void)thread, (void)threads;
    run->loop->run(run->rounds);
}

static uint64_t time_rounds(hd_pool *pool, arithmetic_run *run)
{
    uint64_t start = hd_clock_ns();
    hd_pool_run(pool, run_part, run);
    return hd_clock_ns() - start;
}

hd_status hd_machine_arithmetic(hd_pool *pool, hd_arithmetic kind, int reps, hd_machine_rate *out, hd_error *err)
{
    HD_TRY(check_reps(reps, err));
    arithmetic_run run = {.loop = loop_of(kind), .rounds = 1024};
    if (!run.loop)
        return hd_fail(err, HD_E_UNSUPPORTED, "this processor or this build has no instruction for %s arithmetic",
                       hd_arithmetic_name(kind));
    while (time_rounds(pool, &run) < ROUNDS_NS && run.rounds < INT64_MAX / 2) /* wakes the threads and the clock, too */
        run.rounds *= 2;
    double rates[HD_MACHINE_REPS_MAX] = {0};
    double operations = run.loop->operations * (double)run.rounds * hd_pool_threads(pool);
    for (int i = 0; i < reps; i++)
        rates[i] = operations * 1e9 / (double)time_rounds(pool, &run);
    *out = summary(rates, reps);
    return HD_OK;
}
