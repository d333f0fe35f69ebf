/* cli/bench_cases.c: measures the cases of `hadal bench MODEL`.
 *
 * Invariant: session 0 begins with the first b->filled of b->ids, so that the next depth reads only what is missing.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "engine/compare.h"

/* Numerical Recipes' linear congruential generator: any fixed sequence would do. */
static int32_t next_id(hd_bench *b)
{
    b->random = b->random * 1664525u + 1013904223u;
    return (int32_t)(((uint64_t)b->random * (uint64_t)b->info.vocab) >> 32);
}

hd_status hd_bench_begin(hd_bench *b, hd_error *err)
{
    int64_t most = 0;
    for (size_t i = 0; i < b->case_count; i++)
        most = HD_MAX(most, b->cases[i].depth + (b->cases[i].decode ? 0 : b->cases[i].tokens));
    b->ids = hd_alloc_array((size_t)most + 1, sizeof *b->ids);
    if (!b->ids) return hd_fail(err, HD_E_MEMORY, "out of memory for %lld ids", (long long)most);
    b->random = 1;
    for (int64_t i = 0; i < most; i++)
        b->ids[i] = next_id(b);
    return HD_OK;
}

hd_status hd_bench_check(const hd_bench *b, hd_error *err)
{
    for (size_t i = 0; i < b->case_count; i++) {
        const hd_bench_case *c = &b->cases[i];
        int64_t need = c->depth + c->tokens;
        if (need > b->info.context)
            return hd_fail(err, HD_E_CONTEXT, "%lld tokens are needed, the context has %lld; ask for fewer%s",
                           (long long)need, (long long)b->info.context,
                           b->info.context < b->info.model_context ? " or raise --context"
                                                                   : ", it is the model's limit");
        if (c->batch > b->info.step_tokens)
            return hd_fail(err, HD_E_ARGUMENT, "--batch %lld: a step of this engine takes %lld tokens; raise --chunk",
                           (long long)c->batch, (long long)b->info.step_tokens);
    }
    return HD_OK;
}

/* ---- bringing sessions to a depth ---- */

static hd_status open_sessions(hd_bench *b, int64_t count, hd_error *err)
{
    for (; b->opened < count; b->opened++)
        HD_TRY(hd_session_open(&b->sessions[b->opened], b->engine, err));
    return HD_OK;
}

static hd_status fill_first(hd_bench *b, int64_t depth, hd_error *err)
{
    hd_session *first = b->sessions[0];
    int64_t keep = HD_MIN(b->filled, depth);
    if (hd_session_length(first) > keep) HD_TRY(hd_session_truncate(first, keep, err));
    b->filled = hd_session_length(first);
    if (b->filled == depth) return HD_OK;
    hd_status status = hd_cli_feed(first, b->engine, b->ids + b->filled, depth - b->filled, b->flags.chunk, err);
    b->filled = hd_session_length(first);
    return status;
}

/* The others get copies of the first one's cache, in memory of their own as in a service, not shared pages. */
static hd_status fill_others(hd_bench *b, int64_t depth, int64_t batch, hd_error *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    hd_status status = HD_OK;
    for (int64_t i = 1; i < batch && status == HD_OK; i++) {
        hd_session *s = b->sessions[i];
        if (b->copied[i] >= depth)
            status = hd_session_truncate(s, depth, err);
        else if (data || (status = hd_session_snapshot(b->sessions[0], &data, &size, err)) == HD_OK)
            status = hd_session_restore(s, data, size, err);
        b->copied[i] = status == HD_OK ? depth : 0; /* what is decoded now is its own */
    }
    hd_bytes_free(data);
    return status;
}

static hd_status go_to_depth(hd_bench *b, int64_t depth, int64_t batch, hd_error *err)
{
    HD_TRY(open_sessions(b, batch, err));
    HD_TRY(fill_first(b, depth, err));
    return fill_others(b, depth, batch, err);
}

/* ---- one repetition ---- */

static hd_status time_prefill(hd_bench *b, const hd_bench_case *c, int64_t tokens, double *seconds, hd_error *err)
{
    HD_TRY(go_to_depth(b, c->depth, 1, err));
    if (b->profile) hd_profile_reset(b->profile);
    uint64_t start = hd_clock_ns();
    HD_TRY(hd_session_feed(b->sessions[0], b->ids + c->depth, tokens, err));
    *seconds = hd_seconds_since(start);
    return HD_OK;
}

static hd_status time_decode(hd_bench *b, const hd_bench_case *c, int64_t tokens, double *seconds, hd_error *err)
{
    int32_t ids[HD_BENCH_BATCH_MAX];
    hd_feed feeds[HD_BENCH_BATCH_MAX];
    HD_TRY(go_to_depth(b, c->depth, c->batch, err));
    b->random = 2;
    for (int64_t i = 0; i < c->batch; i++)
        feeds[i] = (hd_feed){.session = b->sessions[i], .ids = &ids[i], .n = 1};
    if (b->profile) hd_profile_reset(b->profile);
    uint64_t start = hd_clock_ns();
    for (int64_t step = 0; step < tokens; step++) {
        if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "interrupted");
        for (int64_t i = 0; i < c->batch; i++)
            ids[i] = next_id(b);
        HD_TRY(hd_engine_step(b->engine, feeds, (int)c->batch, NULL, err));
    }
    *seconds = hd_seconds_since(start);
    return HD_OK;
}

hd_status hd_bench_time(hd_bench *b, const hd_bench_case *c, int64_t tokens, double *seconds, hd_error *err)
{
    if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "interrupted");
    return c->decode ? time_decode(b, c, tokens, seconds, err) : time_prefill(b, c, tokens, seconds, err);
}

void hd_bench_end(hd_bench *b)
{
    for (int64_t i = 0; i < b->opened; i++)
        hd_session_close(&b->sessions[i]);
    b->opened = 0;
    hd_free(b->ids);
    b->ids = NULL;
}

/* ---- all of them ---- */

static hd_status take_profile(hd_bench *b, hd_bench_case *c, double seconds, hd_error *err)
{
    c->profile.seconds += seconds;
    c->profile.tokens += c->tokens * c->batch;
    c->profile.steps += c->decode ? c->tokens : 1;
    return hd_bench_profile_take(&c->profile, b->profile, err);
}

static hd_status measure_case(hd_bench *b, hd_bench_case *c, hd_error *err)
{
    enum { WARM_UP = 8 }; /* steps that are not counted: they page in weights and wake the threads */
    char name[HD_BENCH_NAME];
    double seconds;
    if (c->decode || c == b->cases)
        HD_TRY(hd_bench_time(b, c, c->decode ? HD_MIN(c->tokens, WARM_UP) : c->tokens, &seconds, err));
    for (int64_t i = 0; i < b->reps; i++) {
        hd_progress_show(hd_bench_case_name(name, c), (double)i / (double)b->reps);
        HD_TRY(hd_bench_time(b, c, c->tokens, &seconds, err));
        c->rates[i] = hd_rate(c->tokens * c->batch, seconds);
        if (b->profile) HD_TRY(take_profile(b, c, seconds, err));
    }
    hd_progress_clear();
    c->median = hd_compare_median(c->rates, (size_t)b->reps);
    return HD_OK;
}

/* A "Name:  N kB" line of /proc/self/status in bytes; 0 when there is none. */
static uint64_t status_bytes(const char *name)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %llu kB", &kib) == 1) break;
    fclose(f);
    return (uint64_t)kib * 1024;
}

uint64_t hd_bench_memory_now(void)
{
    return status_bytes("VmRSS");
}

/* Linux counts ru_maxrss in KiB. */
uint64_t hd_bench_memory_peak(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

hd_status hd_bench_run(hd_bench *b, void (*done)(const hd_bench *b, const hd_bench_case *c), hd_error *err)
{
    HD_TRY(hd_bench_begin(b, err));
    for (size_t i = 0; i < b->case_count; i++) {
        HD_TRY(measure_case(b, &b->cases[i], err));
        done(b, &b->cases[i]);
    }
    b->memory_peak = hd_bench_memory_peak();
    return HD_OK;
}
