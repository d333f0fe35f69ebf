/* cli/quantize_low_rank.c: adapters of `hadal quantize`, which give back what of a quantized file's errors has low
 * rank. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/quantize.h"
#include "cli/terminal.h"

#define RANK_MAX 1024 /* of adapters that can be read: HD_ADAPTER_RANK_MAX */
#define DEFAULT_OF "blk.*"

hd_opt_group hd_low_rank_group(hd_low_rank_flags *l)
{
    memset(l, 0, sizeof *l);
    l->of = DEFAULT_OF;
    const hd_opt opts[] = {
        {.name = "low-rank",
         .type = HD_OPT_INT,
         .value = &l->rank,
         .metavar = "RANK",
         .initial = "",
         .min = 1,
         .max = RANK_MAX,
         .help =
             "Writes OUT as an adapter (LoRA, GGUF): for each matrix a product of this rank, by singular values, of "
             "its error, weighted by importance where that is given.  Needs LAPACK."},
        {.name = "low-rank-base",
         .type = HD_OPT_STRING,
         .value = &l->base,
         .metavar = "FILE",
         .initial = "",
         .help = "The quantized GGUF file of the same model that the adapter corrects; whoever made it."},
        {.name = "low-rank-of",
         .type = HD_OPT_STRING,
         .value = &l->of,
         .metavar = "PATTERN",
         .help = "Matrices of layers that are corrected, by name; * stands for anything."},
    };
    memcpy(l->opts, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS OF ADAPTERS", l->opts, HD_ARRAY_LEN(opts)};
}

int hd_low_rank_usage(const hd_low_rank_flags *l, bool others, const char *command)
{
    bool of = strcmp(l->of, DEFAULT_OF) != 0;
    if (!l->rank && (l->base || of))
        return hd_cli_usage(command, "--low-rank-base and --low-rank-of need --low-rank RANK");
    if (l->rank && !l->base)
        return hd_cli_usage(command, "--low-rank needs --low-rank-base FILE, the quantized file that it corrects");
    if (l->rank && others)
        return hd_cli_usage(command,
                            "--low-rank writes an adapter: types, budgets, pruning, --split-size and --dry-run "
                            "don't go with it");
    return HD_ARGS_OK;
}

static bool show(void *arg, uint64_t done, uint64_t all)
{
    return hd_time_left_show(arg, "factoring", done, all);
}

static hd_status write_adapter(hd_low_rank_flags *l, const hd_rewrite *w, const hd_calibration *i,
                               const hd_checkpoint *base, hd_error *err)
{
    hd_time_left left = {0};
    hd_low_rank_options o = {
        .rank = (int)l->rank, .pattern = l->of, .imatrix = i->matrix, .progress = show, .arg = &left};
    HD_TRY(hd_pool_open(&o.pool, w->threads ? (int)w->threads : hd_cpu_threads(), err));
    uint64_t start = hd_clock_ns();
    hd_interrupt_catch(NULL, NULL);
    hd_status status = hd_low_rank_write(w->source, base, w->out, &o, &l->report, err);
    hd_interrupt_release();
    hd_progress_clear();
    hd_pool_close(&o.pool);
    l->seconds = hd_seconds_since(start);
    return status;
}

/* Errors as shares of what the matrices' outputs are, by their roots of mean squares. */
static double share(double error, double signal)
{
    return signal > 0 ? sqrt(error / signal) : 0;
}

static hd_status tell(const hd_low_rank_flags *l, const hd_rewrite *w, bool json, hd_error *err)
{
    const hd_low_rank_report *r = &l->report;
    char bytes[HD_SIZE_TEXT];
    double before = share(r->error, r->signal), after = share(r->error_after, r->signal);
    if (json)
        return hd_json_print(stdout,
                             json_pack("{s:o, s:I, s:I, s:I, s:f, s:f, s:f}", "path",
                                       hd_json_text(w->out, strlen(w->out)), "rank", (json_int_t)l->rank, "matrices",
                                       (json_int_t)r->matrices, "bytes", (json_int_t)r->bytes, "error", before,
                                       "error_after", after, "seconds", l->seconds),
                             true, err);
    fputs("wrote     ", stdout);
    hd_terminal_name(stdout, w->out, 0);
    printf("\nadapter   %s, rank %lld, %zu matrices\n", hd_size_text(bytes, r->bytes), (long long)l->rank, r->matrices);
    printf("error     %.2f %% of these matrices' outputs (without it: %.2f %%)\ntime      %.1f s\n", 100 * after,
           100 * before, l->seconds);
    return HD_OK;
}

hd_status hd_low_rank_run(hd_low_rank_flags *l, const hd_rewrite *w, const hd_calibration *i, bool json, hd_error *err)
{
    char *path = NULL;
    hd_checkpoint *base = NULL;
    hd_status status = hd_model_resolve(l->base, &path, err);
    if (status == HD_OK) status = hd_checkpoint_open(&base, path, err);
    if (status == HD_OK) status = write_adapter(l, w, i, base, err);
    if (status == HD_OK) status = tell(l, w, json, err);
    hd_checkpoint_close(&base);
    hd_free(path);
    return status;
}
