/* cli/quantize_report.h: what the files that make and show reports of quantized models share. */
#ifndef HD_CLI_QUANTIZE_REPORT_H
#define HD_CLI_QUANTIZE_REPORT_H

#include <stdint.h>

#include "base/json.h"
#include "hadal/status.h"

/* ---- figures (quantize_figures.c) ---- */

typedef struct hd_figures_wish {
    const char *out, *in;         /* the model, and its original: paths or names */
    uint64_t out_bytes, in_bytes; /* of their tensors */
    const char *text;             /* NULL: none, and so no quality */
    const char *no_text;          /* why */
    int64_t tokens, window;       /* as in hd_report_flags */
    const char *cpu;              /* as in hd_engine_flags, as the next */
    int64_t threads;
} hd_figures_wish;

/* Adds to a report, a JSON object, how well the model stands in for its original (perplexity, perplexity_original,
 * kl_mean, kl_median, kl_p99, kl_max, top1, tokens, predicted_tokens, window, windows), how fast both are here (speed),
 * on what (machine); what can't be told is in left_out, with the reason.  Errors: HD_E_CANCELLED, HD_E_MEMORY (of the
 * report itself). */
hd_status hd_figures_add(json_t *report, const hd_figures_wish *wish, hd_error *err);

/* ---- text (quantize_report_text.c) ---- */

/* A report, or what of it lies in a model's metadata, each line behind `indent`.  The object is not trusted: what it
 * lacks or has of another type is not shown. */
void hd_report_print_figures(const json_t *report, const char *indent);

/* The tensors with the largest relative errors, at most `most`. */
void hd_report_print_tensors(const json_t *report, size_t most);

#endif
