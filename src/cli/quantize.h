/* cli/quantize.h: what the files of `hadal quantize` share: importance matrices, and budgets.
 *
 * cmd_quantize.c is the command line and the run, quantize_imatrix.c gathers, reads and writes importance matrices,
 * quantize_budget.c chooses types by budget.
 */
#ifndef HD_CLI_QUANTIZE_H
#define HD_CLI_QUANTIZE_H

#include "cli/options.h"
#include "cli/rewrite.h"
#include "formats/imatrix.h"
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

/* Fills w->types. */
hd_status hd_budget_make(hd_budget_flags *b, hd_rewrite *w, const hd_calibration *calibration, hd_error *err);

/* For --json; and as text: what each class cost, and what it got. */
json_t *hd_budget_json(const hd_budget_flags *b, const hd_rewrite *w);
void hd_budget_print(const hd_budget_flags *b, const hd_rewrite *w);

#endif
