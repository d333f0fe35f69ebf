/* ops/plan.h: what a model takes of a machine: memory, time, money.
 *
 * Arithmetic alone: shapes come in as plain numbers and nothing is opened or measured here, so every figure can be
 * worked by hand; hd_plan_figures gives each with its formula.  Unless stated otherwise functions are thread-safe and
 * keep no reference but to the strings that they are given.  A figure that is not known is NAN.
 */
#ifndef HD_OPS_PLAN_H
#define HD_OPS_PLAN_H

#include "base/base.h"
#include "base/json.h"

/* ---- machines (plan_machines.c) ---- */

/* One card or one computer.  Figures are those of its maker or of the named source; NAN: not published. */
typedef struct hd_plan_machine {
    const char *name;    /* "nvidia-h100-sxm" */
    const char *title;   /* "NVIDIA H100 SXM 80 GB" */
    const char *kind;    /* "cpu", "gpu" or "accelerator" */
    double memory;       /* bytes */
    double bandwidth;    /* of memory, bytes a second */
    double operations;   /* additions and multiplications a second, in the numbers that `numbers` names */
    const char *numbers; /* "fp16", "int8", ...; "" where operations are not known */
    double watts;
    double price;         /* of one */
    const char *currency; /* "USD"; "" without a price */
    const char *source, *date, *note;
} hd_plan_machine;

typedef struct hd_plan_machines hd_plan_machines;

/* The table that comes with the program, and from a text in the same form (docs/plan.md); `where` names it in errors.
 * Errors: HD_E_FORMAT (naming the machine and the key), HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_plan_machines_open(hd_plan_machines **out, hd_error *err);
hd_status hd_plan_machines_parse(hd_plan_machines **out, const char *where, const char *text, size_t len,
                                 hd_error *err);
void hd_plan_machines_close(hd_plan_machines **machines); /* NULL-safe; with all strings of its machines */
size_t hd_plan_machines_count(const hd_plan_machines *machines);
const hd_plan_machine *hd_plan_machines_at(const hd_plan_machines *machines, size_t index);
const hd_plan_machine *hd_plan_machines_find(const hd_plan_machines *machines, const char *name); /* NULL: none */

/* "NAME:COUNT" taken apart: the length of NAME; *count is 1 where there is no COUNT.  0: COUNT is not a number from 1
 * to 4096. */
size_t hd_plan_split_count(const char *text, int *count);

/* What an interface to a model asks for; CNY or USD for a million tokens. */
typedef struct hd_plan_price {
    const char *name, *currency, *source, *date;
    double input, cached, output;
} hd_plan_price;

/* The shipped table; static strings that live until hd_plan_machines_close. */
size_t hd_plan_price_count(const hd_plan_machines *machines);
const hd_plan_price *hd_plan_price_at(const hd_plan_machines *machines, size_t index);
const hd_plan_price *hd_plan_price_find(const hd_plan_machines *machines, const char *name);

/* ---- a model, as plain numbers ---- */

typedef struct hd_plan_recipe {
    const char *name;
    uint64_t file_bytes, tensor_bytes;
    double bits; /* a weight, of the file */
    bool writable;
} hd_plan_recipe;

typedef struct hd_plan_model {
    const char *name, *source, *note; /* note may be NULL */
    const char *weights;              /* as what: "as released", "Q4_K_M", "as the file has them" */
    int64_t parameters, active;       /* all; those that a token meets */
    int64_t context;                  /* longest */
    uint64_t weight_bytes;            /* of all tensors, as stored */
    /* in memory, of this program on a computer; for other machines weight_bytes are taken */
    uint64_t resident_bytes; /* weights as they are computed with */
    uint64_t loading_bytes;  /* beside the resident ones while the last matrix is repacked */
    uint64_t activation_bytes, scratch_bytes;
    uint64_t program_bytes;   /* the program itself, and its tokenizer */
    uint64_t embedding_bytes; /* of which the rows of a text's tokens are read from the file; 0: it is resident */
    double cache_token_bytes, cache_fixed_bytes;
    const char *cache_type;
    int vocab;
    /* what a token does */
    double shared_bytes;       /* of weights that every token reads: all but the embedding and the routed experts */
    double expert_bytes;       /* of one routed expert, of all layers together */
    int experts, experts_used; /* of a layer; 0: none */
    double products;           /* multiplications in the layers, without attention */
    double output_products;    /* with the output matrix */
    double row_products;       /* of attention, for each token that a token looks back on */
    hd_plan_recipe *recipes;   /* [recipe_count]; the caller's */
    size_t recipe_count;
} hd_plan_model;

/* ---- what is asked ---- */

/* What this machine's kernels reach of its limits, measured or assumed. */
typedef struct hd_plan_rates {
    bool measured;
    double bandwidth, operations; /* limits, measured; NAN where they were not */
    const char *numbers;          /* of `operations` */
    double decode, prefill;       /* share of bandwidth while writing, of operations while reading */
    double cache;                 /* share of bandwidth while attention reads the cache */
    double attention;             /* share of operations that attention reaches while reading prompts */
} hd_plan_rates;

/* Without a measurement: what this program's kernels reach on 4-bit weights on the processors that it was measured on,
 * rounded down (docs/performance.md). */
hd_plan_rates hd_plan_assumed_rates(void);

typedef struct hd_plan_ask {
    const hd_plan_machine *machine;
    int count;       /* of it */
    bool here;       /* it is this computer, and memory is laid out as this program does */
    int64_t context; /* tokens of each user, prompt and answer */
    int64_t users;   /* at once */
    int64_t prompt;  /* tokens read together: of a step */
    double rate;     /* tokens a second that each user wants */
    double reserve;  /* share of a card's memory that is left free; of this computer: 0 */
    hd_plan_rates rates;
} hd_plan_ask;

/* ---- memory and speed (plan_fit.c) ---- */

typedef struct hd_plan_fit {
    double weights, cache, work, program, embedding; /* bytes of each */
    double loading_peak, serving_peak;               /* bytes */
    double needed;                                   /* the larger peak */
    double available;                                /* of all machines, less the reserve; NAN: memory is not known */
    bool known, fits;
    int64_t machines;   /* of this kind that would hold it; 0: not known */
    int64_t most_users; /* that memory has room for, of that context */
    /* tokens a second; NAN where bandwidth or operations are not known */
    double decode_bytes, prefill_products; /* for a token, one user */
    double decode, prefill;
    int64_t rate_users; /* that get `rate`, and whom memory holds; -1: not known */
    double rate_tokens; /* a second of them all */
} hd_plan_fit;

void hd_plan_fit_make(hd_plan_fit *out, const hd_plan_model *model, const hd_plan_ask *ask);

/* Seconds of a step in which `users` sequences write a token each behind `context` others; NAN: not known. */
double hd_plan_step_seconds(const hd_plan_model *model, const hd_plan_ask *ask, double users);

/* Bytes of weights that such a step reads: those that all share, and of the experts those that at least one of the
 * users goes to, were all experts equally likely: E (1 - (1 - used / E)^users). */
double hd_plan_step_bytes(const hd_plan_model *model, double users);

/* ---- cost (plan_cost.c) ---- */

typedef struct hd_plan_cost_ask {
    double machine_price;         /* of all machines together; NAN: not known */
    double watts;                 /* of all together, under load; NAN: not known */
    double use;                   /* share of the hours in which they draw that */
    double overhead;              /* power of the house for each watt of the machine: PUE */
    double electricity;           /* of a kWh */
    double staff;                 /* a year */
    double upkeep;                /* a year, as a share of the price */
    double tokens_a_day;          /* asked of the machine or of the interface */
    double input_share;           /* of these tokens */
    double cached_share;          /* of the input */
    double input, cached, output; /* the interface's, for a million tokens */
    double capacity;              /* tokens a day that the machine can do; NAN: not known */
    const char *currency;
} hd_plan_cost_ask;

typedef struct hd_plan_cost {
    double power_year, upkeep_year, staff_year; /* of the machine */
    double own[6], api[6];                      /* after so many years; [0]: purchase, 0 */
    double api_token;                           /* a token's price on average */
    double own_million;                         /* what a million tokens cost on one's own machine over three years */
    double break_even[6];   /* tokens a day from which owning is cheaper over so many years; NAN: never, or not known */
    double break_even_days; /* until the purchase is paid at tokens_a_day; NAN: never, or not known */
} hd_plan_cost;

void hd_plan_cost_make(hd_plan_cost *out, const hd_plan_cost_ask *ask);

/* What `units` of anything cost: 0.03 for each of 120,000,000 are 3,600,000. */
double hd_plan_cost_of_use(double price, double units);

/* The share that is saved: 3,600,000 against 800,000 is 0.7778. */
double hd_plan_saving(double before, double after);

typedef struct hd_plan_sensitivity {
    const char *what;
    double low, high; /* cost of owning over three years, less that of the interface, with 20 % less and more of it */
} hd_plan_sensitivity;
#define HD_PLAN_SENSITIVITIES 5
void hd_plan_sensitivities(hd_plan_sensitivity out[HD_PLAN_SENSITIVITIES], const hd_plan_cost_ask *ask);

/* ---- ways to run it (plan_modes.c) ---- */

#define HD_PLAN_MODES 6
#define HD_PLAN_CRITERIA 7

typedef struct hd_plan_modes {
    double weights[HD_PLAN_CRITERIA];
    int order[HD_PLAN_MODES];    /* best first */
    double total[HD_PLAN_MODES]; /* weighted mean of the scores, 1 to 5 */
} hd_plan_modes;

const char *hd_plan_mode_name(int mode);
const char *hd_plan_criterion_name(int criterion);
int hd_plan_score(int mode, int criterion, const char **reason); /* 1 (bad) to 5 (good); reason may be NULL */
void hd_plan_modes_default(hd_plan_modes *out);
/* "NAME=WEIGHT", 0 to 100; HD_E_ARGUMENT. */
hd_status hd_plan_modes_weigh(hd_plan_modes *modes, const char *text, hd_error *err);
void hd_plan_modes_rank(hd_plan_modes *modes);

/* ---- reports (plan_report.c, plan_html.c) ---- */

typedef struct hd_plan {
    hd_plan_model model;
    hd_plan_ask ask;
    hd_plan_fit fit;
    bool costed; /* cost is asked for */
    hd_plan_cost_ask cost_ask;
    hd_plan_cost cost;
    const hd_plan_price *price; /* NULL: by flags */
    hd_plan_modes modes;
} hd_plan;

/* One figure: all texts are the buffer's that made them. */
typedef struct hd_plan_figure {
    const char *key;   /* "weights_bytes" */
    const char *group; /* "Memory" */
    char label[64], value[64], formula[256];
} hd_plan_figure;
#define HD_PLAN_FIGURES_MAX 48

/* Every figure with its formula; returns how many. */
size_t hd_plan_figures(hd_plan_figure out[HD_PLAN_FIGURES_MAX], const hd_plan *plan);

/* The object that --json prints; NULL: no memory. */
json_t *hd_plan_to_json(const hd_plan *plan);

void hd_plan_to_text(hd_buf *out, const hd_plan *plan);

/* One page without anything from elsewhere, to be printed; all texts escaped. */
void hd_plan_to_html(hd_buf *out, const hd_plan *plan);

/* "1,234,567" and "3.35 TB/s"-like forms; "not known" for NAN. */
#define HD_PLAN_TEXT 64
const char *hd_plan_bytes(char text[HD_PLAN_TEXT], double bytes);
const char *hd_plan_number(char text[HD_PLAN_TEXT], double value);

#endif
