/* cli/quantize.h: what the files of `hadal quantize` share: importance matrices, budgets, pruning, adapters, reports.
 *
 * cmd_quantize.c is the command line and the run, quantize_imatrix.c gathers, reads and writes importance matrices,
 * quantize_budget.c chooses types by budget, quantize_prune.c leaves out channels and experts, quantize_low_rank.c
 * writes adapters that correct a quantized file, quantize_report.c says what became of the model: quantize_figures.c
 * evaluates and times it, quantize_report_text.c prints it.
 */
#ifndef HD_CLI_QUANTIZE_H
#define HD_CLI_QUANTIZE_H

#include "cli/options.h"
#include "cli/rewrite.h"
#include "formats/imatrix.h"
#include "quantize/low_rank.h"
#include "quantize/prune.h"
#include "quantize/sensitivity.h"

/* ---- importance matrices ---- */

typedef struct hd_calibration {
    /* options */
    const char *text, *from, *to; /* --calibrate, --imatrix, --imatrix-out; NULL: not given */
    const char *cpu;
    int64_t tokens, context;
    hd_opt opts[6];
    /* state */
    hd_imatrix *matrix; /* NULL: none is asked for */
    const char *file;   /* its name for the metadata; NULL: none */
    double seconds;     /* that gathering took */
} hd_calibration;

/* Fills the table; `i` must stay where it is while the group is used. */
hd_opt_group hd_calibration_group(hd_calibration *i);

/* HD_ARGS_OK, or the exit code of wrong usage.  With a budget a file may come beside a text, which then only tells what
 * errors cost. */
int hd_calibration_usage(const hd_calibration *i, bool budget, const char *command);

/* Whether the file can be written, asked before hours of work. */
hd_status hd_calibration_check(const hd_calibration *i, hd_error *err);

/* Reads or gathers i->matrix, and writes it where that is asked for.  `model` as on the command line. */
hd_status hd_calibration_make(hd_calibration *i, const char *model, int threads, hd_error *err);

/* Says on stderr which tensors of the recipe the matrix lacks. */
void hd_calibration_note(const hd_calibration *i, const hd_source *from, const hd_type *recipe);

/* The ids of the calibration text, at most i->tokens of them, and the one that the model wants first (-1: none); the
 * caller releases them (hd_ids_release). */
hd_status hd_calibration_encode(const hd_calibration *i, const char *model, int32_t **ids, size_t *count,
                                int32_t *first, hd_error *err);

/* For --json; and as text. */
json_t *hd_calibration_json(const hd_calibration *i);
void hd_calibration_print(const hd_calibration *i);

void hd_calibration_free(hd_calibration *i);

/* ---- budgets ---- */

typedef struct hd_budget_flags {
    /* options */
    const char *size, *save, *load; /* --target-size, --save-recipe, --recipe; NULL: not given */
    double bpw;                     /* 0: not given */
    bool fit;                       /* --fit-machine */
    hd_opt opts[5];
    /* state */
    uint64_t bytes; /* of the file; 0: there is no budget */
    hd_sensitivity report;
    int *classes;     /* [hd_source_count] into the report; NULL: no budget */
    bool measured;    /* else errors were taken to cost the same everywhere */
    double predicted; /* the divergence that the measured costs add up to */
    double seconds;
} hd_budget_flags;

hd_opt_group hd_budget_group(hd_budget_flags *b);
void hd_budget_free(hd_budget_flags *b);

/* Whether types come from here: one of the budgets, or a saved recipe. */
bool hd_budget_given(const hd_budget_flags *b);

/* HD_ARGS_OK, or the exit code of wrong usage. */
int hd_budget_usage(const hd_budget_flags *b, const char *type, const char *command);

/* Before hours of work: whether the recipe can be read and fits the model, or whether any recipe is as small as the
 * budget asks.  Fills w->types with the recipe, or with the smallest types that there are. */
hd_status hd_budget_check(hd_budget_flags *b, hd_rewrite *w, hd_error *err);

/* Fills w->types. */
hd_status hd_budget_make(hd_budget_flags *b, hd_rewrite *w, const hd_calibration *calibration, hd_error *err);

/* For --json; and as text: what each class cost, and what it got. */
json_t *hd_budget_json(const hd_budget_flags *b, const hd_rewrite *w);
void hd_budget_print(const hd_budget_flags *b, const hd_rewrite *w);

/* ---- pruning ---- */

typedef struct hd_prune_flags {
    /* options */
    const char *ffn_text, *experts_text; /* --prune-ffn, --prune-experts; NULL: not given */
    int64_t keep, multiple;              /* --keep-experts, --prune-multiple; 0: not given */
    hd_opt opts[4];
    /* state */
    double ffn, experts; /* the shares */
    hd_pruned facts;
    double seconds; /* that scoring took */
} hd_prune_flags;

hd_opt_group hd_prune_group(hd_prune_flags *p);

/* Whether something is to be left out. */
bool hd_prune_given(const hd_prune_flags *p);

/* Reads the shares; HD_ARGS_OK, or the exit code of wrong usage. */
int hd_prune_usage(hd_prune_flags *p, const hd_calibration *i, const hd_budget_flags *b, const char *command);

/* Puts the pruned model in the place of w->source, and what is left of the importance matrix in that of i->matrix;
 * without a matrix the sizes alone are right.  `type`: of most matrices; its blocks decide how many channels go
 * together; HD_TYPE_COUNT: several types. */
hd_status hd_prune_make(hd_prune_flags *p, hd_rewrite *w, hd_calibration *i, hd_type type, hd_error *err);

/* For --json; and as text. */
json_t *hd_prune_json(const hd_prune_flags *p);
void hd_prune_print(const hd_prune_flags *p);

/* ---- adapters ---- */

typedef struct hd_low_rank_flags {
    /* options */
    int64_t rank;          /* --low-rank; 0: not given */
    const char *base, *of; /* --low-rank-base, --low-rank-of */
    hd_opt opts[3];
    /* state */
    hd_low_rank_report report;
    double seconds;
} hd_low_rank_flags;

hd_opt_group hd_low_rank_group(hd_low_rank_flags *l);

/* HD_ARGS_OK, or the exit code of wrong usage.  `others`: options that choose types or prune are given. */
int hd_low_rank_usage(const hd_low_rank_flags *l, bool others, const char *command);

/* Writes w->out; w is open, the importance is there. */
hd_status hd_low_rank_run(hd_low_rank_flags *l, const hd_rewrite *w, const hd_calibration *i, bool json, hd_error *err);

/* ---- reports ---- */

typedef struct hd_report_flags {
    /* options */
    const char *path, *text; /* --report, --report-text; NULL: not given */
    int64_t tokens, window;  /* 0: all of the text; the model's context */
    hd_opt opts[4];
    /* state */
    char reserved[HD_QUANT_REPORT_BYTES + 1]; /* what the metadata hold until the figures are known */
    json_t *made;                             /* the report; NULL: there is none */
} hd_report_flags;

hd_opt_group hd_report_group(hd_report_flags *r);
void hd_report_free(hd_report_flags *r);

/* HD_ARGS_OK, or the exit code of wrong usage.  `out` NULL: no model is written.  `others` are further files that the
 * command writes; NULL ones are skipped. */
int hd_report_usage(const hd_report_flags *r, const char *out, const char *const *others, size_t other_count,
                    bool dry_run, const char *command);

/* Before any work: the report replaces nothing, and what it needs is there. */
hd_status hd_report_check(const hd_report_flags *r, hd_error *err);

/* Whether the model is there already, so that a report of it is all that is asked for. */
bool hd_report_alone(const hd_report_flags *r, const hd_rewrite *w);

/* For that: fills w->types with those that OUT has.  `mix` is what --type asks for (NULL: something else), `weighted`
 * as in hd_quant_types: HD_E_ARGUMENT where OUT has other types. */
hd_status hd_report_adopt(hd_rewrite *w, const hd_quant_mix *mix, bool weighted, hd_error *err);

/* Before the run: sets w->report.  `recipe` is the name that the report gives the types (NULL: as found in OUT).  None
 * without --report. */
void hd_report_reserve(hd_report_flags *r, hd_rewrite *w, const char *recipe);

/* Behind the run: measures OUT and writes the report, into OUT's metadata, too, where there is room for it.  What can't
 * be measured is left out, and the report says why.  None without --report.  Errors: HD_E_CANCELLED, HD_E_MODEL_LOST,
 * HD_E_IO, HD_E_MEMORY. */
hd_status hd_report_make(hd_report_flags *r, const hd_rewrite *w, const hd_calibration *calibration, const char *recipe,
                         hd_error *err);

/* The report as text: figures, and the tensors with the largest errors. */
void hd_report_print(const hd_report_flags *r);

#endif
