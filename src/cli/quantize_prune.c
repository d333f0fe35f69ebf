/* cli/quantize_prune.c: what `hadal quantize` leaves out: channels of the feed-forward networks, experts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/json.h"
#include "cli/quantize.h"
#include "cli/terminal.h"

/* Channels go in such bundles, as far as the widths are whole ones: rows of what leads back stay whole blocks. */
#define BUNDLE 32
#define EXPERTS_MAX (1 << 16)
#define MULTIPLE_MAX (1 << 16)

hd_opt_group hd_prune_group(hd_prune_flags *p)
{
    memset(p, 0, sizeof *p);
    const hd_opt opts[] = {
        {.name = "prune-ffn",
         .type = HD_OPT_STRING,
         .value = &p->ffn_text,
         .metavar = "SHARE",
         .initial = "",
         .help = "Leaves out this share (20%) of the channels of each feed-forward network, of experts, too: those "
                 "whose outputs are smallest on the text of --calibrate or --imatrix."},
        {.name = "prune-multiple",
         .type = HD_OPT_INT,
         .value = &p->multiple,
         .metavar = "N",
         .initial = "",
         .min = 1,
         .max = MULTIPLE_MAX,
         .help = "Keeps a multiple of N channels; without it, of 256 where the type has blocks of 256 and the width is "
                 "whole ones, else of 32."},
        {.name = "keep-experts",
         .type = HD_OPT_INT,
         .value = &p->keep,
         .metavar = "N",
         .initial = "",
         .min = 1,
         .max = EXPERTS_MAX,
         .help = "Keeps N experts of each layer, those that added most to the outputs on the text; with experts in "
                 "groups each group keeps as many."},
        {.name = "prune-experts",
         .type = HD_OPT_STRING,
         .value = &p->experts_text,
         .metavar = "SHARE",
         .initial = "",
         .help = "The same by the share that goes: 25%."},
    };
    memcpy(p->opts, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS OF PRUNING", p->opts, HD_ARRAY_LEN(opts)};
}

bool hd_prune_given(const hd_prune_flags *p)
{
    return p->ffn_text || p->experts_text || p->keep;
}

/* "20%" or "12.5 %" as 0.2, 0.125. */
static bool parse_share(const char *text, double *share)
{
    char *end;
    double value = strtod(text, &end);
    bool number = end != text && text[0] >= '0' && text[0] <= '9';
    while (*end == ' ')
        end++;
    *share = value / 100;
    return number && strcmp(end, "%") == 0 && value > 0 && value < 100;
}

int hd_prune_usage(hd_prune_flags *p, const hd_calibration *i, const hd_budget_flags *b, const char *command)
{
    if (p->ffn_text && !parse_share(p->ffn_text, &p->ffn))
        return hd_cli_usage(command, "--prune-ffn wants a share between 0%% and 100%%, as 20%%");
    if (p->experts_text && !parse_share(p->experts_text, &p->experts))
        return hd_cli_usage(command, "--prune-experts wants a share between 0%% and 100%%, as 25%%");
    if (p->keep && p->experts_text)
        return hd_cli_usage(command, "--keep-experts and --prune-experts exclude each other");
    if (p->multiple && !p->ffn_text) return hd_cli_usage(command, "--prune-multiple needs --prune-ffn");
    if (hd_prune_given(p) && !i->text && !i->from)
        return hd_cli_usage(command, "pruning needs --calibrate TEXT or --imatrix FILE, which tell what matters least");
    if (hd_prune_given(p) && i->text && hd_budget_given(b) && !b->load)
        return hd_cli_usage(command,
                            "a budget is measured on the whole model: to prune beside it give --imatrix FILE and "
                            "no --calibrate, or write a pruned BF16 file first");
    return HD_ARGS_OK;
}

/* ---- the run ---- */

static bool show(void *arg, uint64_t done, uint64_t all)
{
    return hd_time_left_show(arg, "scoring", done, all);
}

/* How many channels go together. */
static int64_t multiple_of(const hd_prune_flags *p, const hd_model_config *c, hd_type type)
{
    if (p->multiple) return p->multiple;
    bool dense = !c->experts || c->dense_lead > 0 || c->expert_every > 1;
    int block = type < HD_TYPE_COUNT ? hd_type_block(type) : 1;
    bool whole = block > BUNDLE && (!dense || c->ffn % block == 0) && (!c->experts || c->expert_ffn % block == 0);
    return whole ? block : BUNDLE;
}

/* The number of experts that a share leaves: a multiple of the groups. */
static int experts_left(const hd_prune_flags *p, const hd_model_config *c)
{
    if (p->keep) return (int)p->keep;
    if (!(p->experts > 0) || !c->experts) return p->experts > 0;
    return HD_MAX((int)floor((1 - p->experts) * c->experts / c->groups + 0.5), 1) * c->groups;
}

hd_status hd_prune_make(hd_prune_flags *p, hd_rewrite *w, hd_calibration *i, hd_type type, hd_error *err)
{
    hd_model_config config;
    hd_time_left left = {0};
    hd_source *pruned = NULL;
    hd_imatrix *matrix = NULL;
    hd_prune_options o = {.ffn = p->ffn, .imatrix = i->matrix, .progress = show, .arg = &left};
    HD_TRY(hd_model_config_read(&config, w->ckpt, err));
    o.multiple = multiple_of(p, &config, type);
    o.experts = experts_left(p, &config);
    HD_TRY(hd_pool_open(&o.pool, w->threads ? (int)w->threads : hd_cpu_threads(), err));
    uint64_t start = hd_clock_ns();
    hd_interrupt_catch(NULL, NULL);
    hd_status status = hd_source_open_pruned(&pruned, w->source, &o, &p->facts, err);
    hd_interrupt_release();
    hd_progress_clear();
    hd_pool_close(&o.pool);
    p->seconds = hd_seconds_since(start);
    HD_TRY(status);
    w->source = pruned;
    for (size_t k = 0; k < hd_source_count(pruned); k++)
        w->types[k] = hd_source_tensor(pruned, k)->type;
    if (!i->matrix) return HD_OK;
    HD_TRY(hd_prune_imatrix(&matrix, pruned, i->matrix, err));
    hd_imatrix_close(&i->matrix);
    i->matrix = matrix;
    return HD_OK;
}

/* ---- what is said of it ---- */

static double less(uint64_t before, uint64_t after)
{
    return before ? 1 - (double)after / (double)before : 0;
}

json_t *hd_prune_json(const hd_prune_flags *p)
{
    const hd_model_config *b = &p->facts.before, *a = &p->facts.after;
    const hd_prune_arithmetic *was = &p->facts.arithmetic_before, *is = &p->facts.arithmetic_after;
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:f, s:f}", "ffn", a->ffn, "ffn_before", b->ffn,
                     "expert_ffn", a->expert_ffn, "expert_ffn_before", b->expert_ffn, "experts", a->experts,
                     "experts_before", b->experts, "multiply_adds_layers", (json_int_t)is->layers,
                     "multiply_adds_layers_before", (json_int_t)was->layers, "multiply_adds_output",
                     (json_int_t)is->output, "less_in_layers", less(was->layers, is->layers), "less",
                     less(was->layers + was->output, is->layers + is->output));
}

void hd_prune_print(const hd_prune_flags *p)
{
    const hd_model_config *b = &p->facts.before, *a = &p->facts.after;
    const hd_prune_arithmetic *was = &p->facts.arithmetic_before, *is = &p->facts.arithmetic_after;
    if (a->ffn < b->ffn) printf("channels  %d of %d\n", a->ffn, b->ffn);
    if (a->expert_ffn < b->expert_ffn) printf("channels  %d of %d in each expert\n", a->expert_ffn, b->expert_ffn);
    if (a->experts < b->experts) printf("experts   %d of %d\n", a->experts, b->experts);
    printf("a token   %.1f million multiply-adds, %.1f %% less; without the output matrix %.1f million, %.1f %% less\n",
           (double)(is->layers + is->output) / 1e6, 100 * less(was->layers + was->output, is->layers + is->output),
           (double)is->layers / 1e6, 100 * less(was->layers, is->layers));
}
