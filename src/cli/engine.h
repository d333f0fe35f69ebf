/* cli/engine.h: what the commands that compute share: options of the engine and of sampling, loading, feeding, answers.
 */
#ifndef HD_CLI_ENGINE_H
#define HD_CLI_ENGINE_H

#include "cli/options.h"
#include "hadal/chat.h"
#include "hadal/engine.h"

/* ---- options of the engine ---- */

typedef struct hd_engine_flags {
    const char *cpu;
    const char *cache_type;
    int64_t threads, context, chunk, experts;
    double expert_share, ffn_keep;
    const char *ffn_by;         /* "gate" (also NULL) or "product" */
    const char *lora;           /* HD_LORA_OPTION: ADAPTER[:SCALE]; NULL: none */
    struct hd_profile *profile; /* for hd_engine_options; NULL: none */
    hd_opt opts[9];
} hd_engine_flags;

/* Fills the table; `f` must stay where it is while the group is used. */
hd_opt_group hd_engine_flags_group(hd_engine_flags *f);

/* The option --lora of commands that evaluate one model; what hd_cli_load loads then has the adapter. */
#define HD_LORA_OPTION(flags)                                                                                          \
    {                                                                                                                  \
        .name = "lora", .type = HD_OPT_STRING, .value = &(flags)->lora, .metavar = "ADAPTER[:SCALE]",                  \
        .initial = "none",                                                                                             \
        .help =                                                                                                        \
            "Evaluates the model with an adapter (LoRA): a PEFT folder or a GGUF adapter, SCALE times as strong as "   \
            "it says."                                                                                                 \
    }

/* For manuals. */
#define HD_ENVIRONMENT_MODELS "HADAL_MODELS    the models folder (~/.local/share/hadal/models)"
#define HD_ENVIRONMENT_COLOR "NO_COLOR        set: no dim text"

#define HD_CACHE_CHOICES "auto|f32|f16|bf16|q8_0"
#define HD_CPU_CHOICES "auto|reference|avx2|avx512|avx512bf16|amx|neon|neondot|neoni8mm"

/* Loads MODEL (a path or a name) with a progress line.  *seconds receives the time it took, may be NULL.  *path
 * receives the resolved path, freed by the caller with hd_free; may be NULL. */
hd_status hd_cli_load(hd_engine **out, const char *model, const hd_engine_flags *f, char **path, double *seconds,
                      hd_error *err);

/* hd_engine_cancel in the shape of hd_cancel_fn. */
void hd_cli_cancel(void *engine);

/* Opens the tokenizer of MODEL (a path or a name; also a tokenizer.json). */
hd_status hd_cli_open_text(hd_text **out, const char *model, hd_error *err);

/* ---- options of sampling ---- */

typedef struct hd_sampling_flags {
    bool greedy;
    double temperature, top_p, min_p, repetition, presence, frequency;
    int64_t top_k, seed;
    hd_opt_list bias;
    hd_logit_bias bias_items[HD_OPT_LIST_MAX];
    double advised_temperature, advised_top_p; /* by the record of the pull; negative: nothing is advised */
    hd_opt opts[10];
} hd_sampling_flags;

hd_opt_group hd_sampling_flags_group(hd_sampling_flags *f);

/* Takes note of what the record of a pulled model advises; `path` is the resolved one. */
void hd_sampling_flags_advise(hd_sampling_flags *f, const char *path);

/* The model's defaults, overridden by what is advised and that by what was given.  Without --seed a fresh seed is
 * drawn, so `out` says which.  `out` points into `f`.  HD_E_ARGUMENT: a malformed --logit-bias. */
hd_status hd_sampling_flags_apply(hd_sampling_flags *f, const hd_engine *engine, hd_sampling *out, hd_error *err);

/* ---- evaluation ---- */

/* Feeds ids in pieces of `piece` tokens (0: 512), with a progress line for long inputs.  HD_E_CONTEXT before anything
 * is evaluated when they don't fit; HD_E_CANCELLED after Ctrl-C. */
hd_status hd_cli_feed(hd_session *session, const hd_engine *engine, const int32_t *ids, int64_t n, int64_t piece,
                      hd_error *err);

typedef enum hd_ending { HD_ENDING_STOP, HD_ENDING_LENGTH, HD_ENDING_CONTEXT, HD_ENDING_INTERRUPTED } hd_ending;

/* "stop", "length", "length", "interrupted" */
const char *hd_ending_name(hd_ending finish);

#define HD_LOGPROBS_MAX 20 /* alternatives per token, as in the OpenAI API */

typedef struct hd_generation {
    hd_engine *engine;
    hd_session *session; /* holds the prompt, its logits are ready */
    const hd_sampling *sampling;
    const int32_t *ends; /* ids that end the text; they are generated but not fed */
    size_t end_count;
    int64_t max_tokens; /* -1: until the context is full */
    size_t top_count;   /* alternatives for `token`, at most HD_LOGPROBS_MAX */
    /* Called for every generated token; `end` says that it is one of `ends`.  Sets *stop to end the text. */
    hd_status (*token)(void *arg, const hd_logprob *chosen, const hd_logprob *top, bool end, bool *stop, hd_error *err);
    void *arg;
    /* results */
    int64_t tokens;
    double seconds;
    hd_ending finish;
} hd_generation;

/* Generates until something ends it; HD_OK also after Ctrl-C (finish tells). */
hd_status hd_generate(hd_generation *g, hd_error *err);

/* The ids that end an answer: those of the engine and of the text (may be NULL), without doubles.  *ids is freed with
 * hd_free. */
hd_status hd_cli_ends(const hd_engine *engine, const hd_text *text, int32_t **ids, size_t *count, hd_error *err);

double hd_seconds_since(uint64_t start_ns);

/* n / seconds, 0 when no time passed. */
double hd_rate(int64_t n, double seconds);

#endif
