/* cli/bench.h: what the files of `hadal bench` share.
 *
 * cmd_bench.c is the command line, bench_cases.c runs a model's cases, bench_report.c prints them, bench_profile.c
 * the operators' shares, bench_machine.c is `bench machine` and bench_load.c `bench load`.
 */
#ifndef HD_CLI_BENCH_H
#define HD_CLI_BENCH_H

#include "base/json.h"
#include "cli/engine.h"
#include "kernels/machine.h"
#include "kernels/profile.h"

#define HD_BENCH_REPS_MAX 1000
#define HD_BENCH_BATCH_MAX 256
#define HD_BENCH_LIST_MAX 32

/* ---- what is measured ---- */

/* Values of an option such as --depth 0,1024,4096. */
typedef struct hd_bench_list {
    int64_t items[HD_BENCH_LIST_MAX];
    size_t count;
} hd_bench_list;

/* Operators of one case, all repetitions together. */
typedef struct hd_bench_profile {
    hd_profile_row *rows; /* [count], hd_free; most seconds first */
    size_t count;
    double seconds; /* of the clock on the wall: what operators don't account for lies between them */
    int64_t tokens, steps;
} hd_bench_profile;

/* Reading `tokens` tokens after `depth` others, or writing as many with `batch` sequences together. */
typedef struct hd_bench_case {
    bool decode;
    int64_t tokens, depth, batch;
    double *rates; /* [reps] tokens a second of all sequences, ascending once measured */
    double median;
    hd_bench_profile profile;
} hd_bench_case;

typedef struct hd_bench {
    /* options */
    const char *model;
    hd_bench_list prefill, depth, batch;
    int64_t decode, reps;
    bool json, profiled;
    hd_engine_flags flags;
    /* state */
    hd_engine *engine;
    hd_engine_info info;
    hd_profile *profile; /* NULL: --profile is off */
    hd_session *sessions[HD_BENCH_BATCH_MAX];
    int64_t copied[HD_BENCH_BATCH_MAX]; /* tokens at the start of sessions 1 and on that are session 0's */
    int64_t opened;
    int32_t *ids;   /* for the longest depth and the longest prefill behind it */
    int64_t filled; /* tokens of `ids` that session 0 holds at its start; what comes behind them is of no use */
    uint32_t random;
    hd_bench_case *cases;
    size_t case_count;
    double load_seconds;
    uint64_t memory_after_load, memory_peak;
} hd_bench;

/* Whether the engine has room for every case: HD_E_CONTEXT, HD_E_ARGUMENT. */
hd_status hd_bench_check(const hd_bench *b, hd_error *err);

/* Measures every case, in order; `done` is told of each (to print it at once).  HD_E_CANCELLED after Ctrl-C. */
hd_status hd_bench_run(hd_bench *b, void (*done)(const hd_bench *b, const hd_bench_case *c), hd_error *err);

/* For who measures in an order of his own, with the cases, `model`'s engine and its info set: the ids for b->cases; one
 * repetition of a case of so many tokens; and, before the engine is closed, the sessions and ids. */
hd_status hd_bench_begin(hd_bench *b, hd_error *err);
hd_status hd_bench_time(hd_bench *b, const hd_bench_case *c, int64_t tokens, double *seconds, hd_error *err);
void hd_bench_end(hd_bench *b);

/* Resident memory of this process, mapped weights included: now, and the most that it ever was; 0: can't be told. */
uint64_t hd_bench_memory_now(void);
uint64_t hd_bench_memory_peak(void);

/* ---- the machine's limits (bench_machine.c) ---- */

typedef struct hd_bench_machine {
    size_t buffer; /* bytes streamed */
    int threads;
    hd_machine_rate read;
    bool has[HD_ARITHMETIC_COUNT];
    hd_machine_rate arithmetic[HD_ARITHMETIC_COUNT];
} hd_bench_machine;

/* Says on standard error when threads outnumber the processors that the process may use. */
void hd_bench_note_threads(int threads);

/* HD_E_CANCELLED after Ctrl-C.  `threads` 0: the processors that the process may use; `buffer` 0: 1 GiB, less where
 * memory is short. */
hd_status hd_bench_measure_machine(hd_bench_machine *out, int threads, size_t buffer, int reps, hd_error *err);

json_t *hd_bench_machine_json(const hd_bench_machine *m);
void hd_bench_machine_print(const hd_bench_machine *m);

/* The fastest arithmetic that a tier's kernels may use here for passes of `rows` tokens; HD_ARITHMETIC_COUNT: none that
 * was measured. */
hd_arithmetic hd_bench_peak_kind(const hd_bench_machine *m, const char *tier, int64_t rows);

/* ---- shares (bench_profile.c) ---- */

/* Takes the rows of b->profile as those of a case. */
hd_status hd_bench_profile_take(hd_bench_profile *out, hd_profile *profile, hd_error *err);

json_t *hd_bench_profile_json(const hd_bench_case *c, const hd_bench_machine *m, const char *tier);
void hd_bench_profile_print(const hd_bench_case *c, const hd_bench_machine *m, const char *tier);

/* ---- reports (bench_report.c) ---- */

void hd_bench_print_head(const hd_bench *b);
void hd_bench_print_case(const hd_bench *b, const hd_bench_case *c);
void hd_bench_print_tail(const hd_bench *b);
hd_status hd_bench_print_json(const hd_bench *b, const hd_bench_machine *m, hd_error *err); /* m NULL: no profile */

#define HD_BENCH_NAME 64
const char *hd_bench_case_name(char name[HD_BENCH_NAME], const hd_bench_case *c);

/* ---- commands of their own ---- */

int hd_bench_load_command(int argc, char **argv); /* argv[0] is "bench" */
int hd_bench_machine_command(int argc, char **argv);

#endif
