/* The one harness that checks and times every operator of every CPU tier against its twin, the reference backend.
 *
 *     unit-kernels-tiers                         checks all operators on all tiers that this machine runs
 *     unit-kernels-tiers --time                  times the large cases instead, beside the twin
 *     ... [--tier NAME] [--op NAME] [--case TEXT] [--threads N]   only what matches; N threads for --time
 *     unit-kernels-tiers --bounds                prints the table of bounds
 *
 * With HD_TEST_QUICK in the environment (set where a processor is emulated, or instrumented) large cases, most batches
 * and the reference alone are left out.
 * Bounds and their reasons stand in bounds.h; docs/kernels.md explains them.
 */
#include <stdlib.h>
#include <time.h>

#include "unit/kernels/cases_attend.h"
#include "unit/kernels/cases_elementwise.h"
#include "unit/kernels/cases_linear.h"

static const struct operator
{
    const char *name;
    op_maker make;
}
operators[] = {
    {"matmul", make_matmul},
    {"matmul-whole", make_matmul_whole},
    {"matmul_heads", make_matmul_heads},
    {"embed", make_embed},
    {"moe", make_moe},
    {"rms_norm", make_rms_norm},
    {"rope", make_rope},
    {"swiglu", make_swiglu},
    {"add", make_add},
    {"store_rows", make_store_rows},
    {"attend", make_attend},
    {"attend_mla", make_attend_mla},
};

static struct options {
    bool time;
    const char *tier, *op, *only;
    int threads;
} options = {.threads = 1};

static bool wanted_case(const op_case *c)
{
    return !options.only || strstr(c->name, options.only);
}

/* ---- checking ---- */

typedef struct check {
    const struct operator* op;
    const hd_backend *backend;
    char name[64];
} check;

static void print_errors(const check *k, const errors *all, int cases)
{
    printf("  %s on %s: %d cases\n", k->op->name, k->backend->name, cases);
    for (int b = 0; b < BOUND_COUNT; b++)
        if (all[b].count && bounds[b].worst > 0.0)
            printf("    %s: worst %.2g of %.2g, rms %.2g of %.2g\n", bounds[b].name, all[b].worst, bounds[b].worst,
                   errors_rms(&all[b]), bounds[b].rms);
}

static void test_operator(void **state)
{
    const check *k = *state;
    errors all[BOUND_COUNT] = {{0}};
    bool quick = quick_checks();
    int cases = 0;
    for (int i = 0;; i++) {
        op_case *c = k->op->make(i);
        if (!c) break;
        if (wanted_case(c) && !(quick && c->large)) {
            check_case(c, k->backend, all);
            cases++;
        }
        c->close(c);
    }
    print_errors(k, all, cases);
}

static bool matches(const char *wanted, const char *name)
{
    return !wanted || strcmp(wanted, name) == 0;
}

/* Two tiers are another one but for its products of bytes: quick checks leave the rest of their operators out. */
static bool worth_checking(hd_cpu_tier tier, const struct operator* op)
{
    if (!quick_checks() || (tier != HD_CPU_NEONDOT && tier != HD_CPU_NEONI8MM)) return true;
    return strncmp(op->name, "matmul", 6) == 0 || strcmp(op->name, "moe") == 0;
}

#define MAX_CHECKS (HD_ARRAY_LEN(operators) * HD_ARRAY_LEN(tiers))

static int run_checks(void)
{
    static check checks[MAX_CHECKS];
    static struct CMUnitTest tests[MAX_CHECKS];
    size_t n = 0;
    for (size_t t = 0; t < HD_ARRAY_LEN(tiers); t++) {
        const hd_backend *backend;
        if (!(backend = checked_tier(tiers[t])) || !matches(options.tier, backend->name)) continue;
        for (size_t i = 0; i < HD_ARRAY_LEN(operators); i++) {
            if (!matches(options.op, operators[i].name) || !worth_checking(tiers[t], &operators[i])) continue;
            checks[n] = (check){.op = &operators[i], .backend = backend};
            snprintf(checks[n].name, sizeof checks[n].name, "%s on %s", operators[i].name, backend->name);
            tests[n] =
                (struct CMUnitTest){.name = checks[n].name, .test_func = test_operator, .initial_state = &checks[n]};
            n++;
        }
    }
    return _cmocka_run_group_tests("tiers", tests, n, NULL, NULL);
}

/* ---- timing ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The fastest of several runs, in seconds. */
static double time_run(const op_case *c, const hd_backend *backend, int64_t n)
{
    hd_shape_limits limits = c->limits;
    limits.tokens = n;
    limits.threads = options.threads;
    guarded scratch = guarded_open(backend->scratch_bytes(&limits), 0, 0);
    guarded out = guarded_open((size_t)(n * output_stride(c)) * sizeof(float), 0, 0);
    hd_exec ex = {.pool = pool_of(options.threads), .scratch = scratch.data, .scratch_bytes = scratch.bytes};
    double best = 1e9, spent = 0.0;
    for (int i = 0; i < 3 || (spent < 0.05 && i < 1000); i++) {
        double start = now();
        run_case(c, backend, &ex, 0, n, (float *)(void *)out.data);
        double took = now() - start;
        best = fmin(best, took);
        spent += took;
    }
    guarded_close(&scratch);
    guarded_close(&out);
    return best;
}

static void time_case(const struct operator* op, op_case *c, const hd_backend *backend)
{
    const int64_t counts[] = {1, HD_MIN(8, c->tokens), c->tokens};
    if (c->prepare) c->prepare(c, backend);
    for (size_t i = 0; i < HD_ARRAY_LEN(counts); i++) {
        int64_t n = counts[i];
        if (i && n <= counts[i - 1]) continue;
        double mine = time_run(c, backend, n), twin = time_run(c, &hd_backend_reference, n), count = (double)n;
        printf("%-12s %-10s %-46s %4d tokens %10.1f us %8.2f GB/s %9.2f Gop/s %7.1f x the twin\n", op->name,
               backend->name, c->name, (int)n, mine * 1e6, (c->bytes + c->token_bytes * count) / mine * 1e-9,
               c->token_ops * count / mine * 1e-9, twin / mine);
    }
    if (c->finish) c->finish(c, backend);
}

static int run_timing(void)
{
    for (size_t t = 1; t < HD_ARRAY_LEN(tiers); t++) {
        const hd_backend *backend;
        if (hd_kernels_cpu(&backend, tiers[t], NULL) != HD_OK || !matches(options.tier, backend->name)) continue;
        for (size_t i = 0; i < HD_ARRAY_LEN(operators); i++)
            for (int index = 0; matches(options.op, operators[i].name); index++) {
                op_case *c = operators[i].make(index);
                if (!c) break;
                if (wanted_case(c) && (c->large || options.only)) time_case(&operators[i], c, backend);
                c->close(c);
            }
    }
    return 0;
}

/* ---- command line ---- */

static int print_bounds(void)
{
    for (int b = 0; b < BOUND_COUNT; b++)
        printf("%s: worst %g, rms %g; unit: %s\n    %s\n", bounds[b].name, bounds[b].worst, bounds[b].rms,
               bounds[b].unit, bounds[b].why);
    return 0;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: unit-kernels-tiers [--time | --bounds] [--tier NAME] [--op NAME] [--case TEXT] [--threads 1..%d]\n",
            MAX_POOLS);
    return 2;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--time"))
            options.time = true;
        else if (!strcmp(argv[i], "--bounds"))
            return print_bounds();
        else if (!value)
            return usage();
        else if (!strcmp(argv[i], "--tier"))
            options.tier = argv[++i];
        else if (!strcmp(argv[i], "--op"))
            options.op = argv[++i];
        else if (!strcmp(argv[i], "--case"))
            options.only = argv[++i];
        else if (!strcmp(argv[i], "--threads"))
            options.threads = (int)strtol(argv[++i], NULL, 10);
        else
            return usage();
    }
    if (options.threads < 1 || options.threads > MAX_POOLS) return usage();
    return options.time ? run_timing() : run_checks();
}
