/* cli/engine.c: see engine.h. */
#include "cli/engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/base.h"
#include "cli/adapters.h"
#include "cli/cli.h"
#include "cli/models_dir.h"

#define HD_PIECE 512 /* the engine's own chunk */

double hd_seconds_since(uint64_t start_ns)
{
    return (double)(hd_clock_ns() - start_ns) / 1e9;
}

double hd_rate(int64_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

/* ---- options of the engine ---- */

hd_opt_group hd_engine_flags_group(hd_engine_flags *f)
{
    *f = (hd_engine_flags){.cpu = "auto", .cache_type = "auto", .ffn_by = "gate"};
    const hd_opt opts[] = {
        {.name = "cpu",
         .type = HD_OPT_CHOICE,
         .value = &f->cpu,
         .choices = HD_CPU_CHOICES,
         .help = "Instructions to compute with; 'reference' is portable and float32 throughout, 'auto' the fastest "
                 "that this machine has."},
        {.name = "threads",
         .letter = 't',
         .type = HD_OPT_INT,
         .value = &f->threads,
         .metavar = "N",
         .min = 1,
         .max = 1024,
         .help = "Compute threads.",
         .initial = "the processors that the process may use"},
        {.name = "context",
         .letter = 'c',
         .type = HD_OPT_INT,
         .value = &f->context,
         .metavar = "N",
         .min = 1,
         .max = 1 << 30,
         .help = "Longest sequence in tokens, at most the model's own limit.",
         .initial = "the model's limit"},
        {.name = "chunk",
         .type = HD_OPT_INT,
         .value = &f->chunk,
         .metavar = "N",
         .min = 1,
         .max = 65536,
         .help = "Tokens of a prompt that are evaluated together.",
         .initial = "512"},
        {.name = "cache-type",
         .type = HD_OPT_CHOICE,
         .value = &f->cache_type,
         .choices = HD_CACHE_CHOICES,
         .help = "Numbers that keys and values are kept in; q8_0 takes half the memory of f16. 'auto' is f32 on the "
                 "reference tier, else f16."},
        {.name = "experts",
         .type = HD_OPT_INT,
         .value = &f->experts,
         .metavar = "N",
         .min = 1,
         .max = 65536,
         .help = "Routed experts that a token goes to: fewer than the model's own number are faster, and answer worse.",
         .initial = "the model's own number"},
        {.name = "expert-share",
         .type = HD_OPT_SHARE,
         .value = &f->expert_share,
         .metavar = "SHARE",
         .min = 0.01,
         .max = 1,
         .help = "A token goes to the fewest of its experts that have this share of all their weights, such as 90%.",
         .initial = "to all"},
        {.name = "ffn-keep",
         .type = HD_OPT_SHARE,
         .value = &f->ffn_keep,
         .metavar = "SHARE",
         .min = 0.01,
         .max = 1,
         .help = "Share of the channels of feed-forward networks that each token keeps, such as 90% or 0.9; the others "
                 "count as zeros.  It tells what such sparsity costs ('hadal eval'): nothing runs faster for it yet.",
         .initial = "all"},
        {.name = "ffn-by",
         .type = HD_OPT_CHOICE,
         .value = &f->ffn_by,
         .choices = "gate|product",
         .help = "What --ffn-keep chooses channels by: their gate's output, after which rows of up and columns of down "
                 "are not needed, or their value behind gate and up, after which columns of down are not."},
    };
    memcpy(f->opts, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS OF THE ENGINE", f->opts, HD_ARRAY_LEN(opts)};
}

static void show_loading(void *arg, double fraction)
{
    (void)arg;
    hd_progress_show("loading", fraction);
}

#define LORA_RANK 256 /* of --lora; published adapters have 8 to 128 */

static hd_status use_lora(hd_engine *engine, const char *words, hd_error *err)
{
    char *path = NULL;
    double scale;
    hd_lora *lora = NULL;
    if (!words) return HD_OK;
    HD_TRY(hd_cli_adapter_words("lora", words, &path, &scale, err));
    hd_status status = hd_lora_open(&lora, engine, path, scale, err);
    hd_free(path);
    hd_engine_use_lora(engine, lora);
    hd_lora_close(&lora);
    return status;
}

hd_status hd_cli_load(hd_engine **out, const char *model, const hd_engine_flags *f, char **path, double *seconds,
                      hd_error *err)
{
    hd_engine_options options = {.cpu = f->cpu,
                                 .threads = (int)f->threads,
                                 .context = f->context,
                                 .chunk = f->chunk,
                                 .cache_type = f->cache_type,
                                 .experts = (int)f->experts,
                                 .expert_share = f->expert_share,
                                 .ffn_keep = f->ffn_keep,
                                 .ffn_by_product = f->ffn_by && strcmp(f->ffn_by, "product") == 0,
                                 .lora_rank = f->lora ? LORA_RANK : 0,
                                 .progress = show_loading,
                                 .profile = f->profile};
    char *resolved = NULL;
    *out = NULL;
    HD_TRY(hd_model_resolve(model, &resolved, err));
    uint64_t start = hd_clock_ns();
    hd_status status = hd_engine_open(out, resolved, &options, err);
    hd_progress_clear();
    if (status == HD_OK) status = use_lora(*out, f->lora, err);
    if (status != HD_OK) hd_engine_close(out);
    if (seconds) *seconds = hd_seconds_since(start);
    if (path && status == HD_OK)
        *path = resolved;
    else
        hd_free(resolved);
    return status;
}

void hd_cli_cancel(void *engine)
{
    hd_engine_cancel(engine);
}

hd_status hd_cli_open_text(hd_text **out, const char *model, hd_error *err)
{
    char *path = NULL;
    *out = NULL;
    HD_TRY(hd_model_resolve(model, &path, err));
    hd_status status = hd_text_open(out, path, err);
    hd_free(path);
    return status;
}

/* ---- options of sampling ---- */

hd_opt_group hd_sampling_flags_group(hd_sampling_flags *f)
{
    static const char own[] = "the model's own, else off";
    memset(f, 0, sizeof *f);
    f->advised_temperature = f->advised_top_p = -1;
    const hd_opt opts[] = {
        {.name = "greedy",
         .type = HD_OPT_FLAG,
         .value = &f->greedy,
         .help = "Always the most likely token; the same as --temperature 0."},
        {.name = "temperature",
         .type = HD_OPT_FLOAT,
         .value = &f->temperature,
         .metavar = "T",
         .max = 100,
         .help = "Randomness; 0 is greedy, 1 the model's own distribution.",
         .initial = "the model's own, else 0.6"},
        {.name = "top-k",
         .type = HD_OPT_INT,
         .value = &f->top_k,
         .metavar = "K",
         .max = 1 << 30,
         .help = "Chooses among the K most likely tokens; 0 is off.",
         .initial = own},
        {.name = "top-p",
         .type = HD_OPT_FLOAT,
         .value = &f->top_p,
         .metavar = "P",
         .max = 1,
         .help = "Chooses among the most likely tokens that together have this probability; 1 is off.",
         .initial = "the model's own, else 0.95"},
        {.name = "min-p",
         .type = HD_OPT_FLOAT,
         .value = &f->min_p,
         .metavar = "P",
         .max = 1,
         .help = "Drops tokens of less than P times the best one's probability; 0 is off.",
         .initial = own},
        {.name = "repetition-penalty",
         .type = HD_OPT_FLOAT,
         .value = &f->repetition,
         .metavar = "R",
         .min = 0.01,
         .max = 100,
         .help = "Makes tokens that already occur less likely; 1 is off.",
         .initial = own},
        {.name = "presence-penalty",
         .type = HD_OPT_FLOAT,
         .value = &f->presence,
         .metavar = "X",
         .min = -100,
         .max = 100,
         .help = "Taken from the logit of every token that the answer already has.",
         .initial = own},
        {.name = "frequency-penalty",
         .type = HD_OPT_FLOAT,
         .value = &f->frequency,
         .metavar = "X",
         .min = -100,
         .max = 100,
         .help = "The same, times how often the answer has it.",
         .initial = own},
        {.name = "logit-bias",
         .type = HD_OPT_LIST,
         .value = &f->bias,
         .metavar = "ID=BIAS",
         .help = "Added to the logit of a token id."},
        {.name = "seed",
         .type = HD_OPT_INT,
         .value = &f->seed,
         .metavar = "N",
         .max = 9007199254740992.0,
         .help = "The same seed gives the same text.",
         .initial = "a new one each time"},
    };
    memcpy(f->opts, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS OF SAMPLING", f->opts, HD_ARRAY_LEN(opts)};
}

static bool flag_given(const hd_sampling_flags *f, const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(f->opts); i++)
        if (strcmp(f->opts[i].name, name) == 0) return f->opts[i].given;
    return false;
}

static hd_status parse_bias(hd_sampling_flags *f, hd_error *err)
{
    for (size_t i = 0; i < f->bias.count; i++) {
        const char *text = f->bias.items[i], *equals = strchr(text, '=');
        char id[24] = "";
        int64_t number;
        double bias;
        if (equals && (size_t)(equals - text) < sizeof id) memcpy(id, text, (size_t)(equals - text));
        if (!equals || !hd_parse_i64(id, &number) || number < 0 || number > INT32_MAX ||
            !hd_parse_f64(equals + 1, &bias))
            return hd_fail(err, HD_E_ARGUMENT, "--logit-bias: '%s' is not ID=BIAS, such as 42=-5", text);
        f->bias_items[i] = (hd_logit_bias){.id = (int32_t)number, .bias = (float)bias};
    }
    return HD_OK;
}

static uint64_t fresh_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) seed = hd_clock_ns();
    return seed & (((uint64_t)1 << 53) - 1); /* --seed and JSON can state it exactly */
}

void hd_sampling_flags_advise(hd_sampling_flags *f, const char *path)
{
    hd_model_advice(path, &f->advised_temperature, &f->advised_top_p);
}

hd_status hd_sampling_flags_apply(hd_sampling_flags *f, const hd_engine *engine, hd_sampling *out, hd_error *err)
{
    HD_TRY(parse_bias(f, err));
    hd_sampling_defaults(engine, out);
    if (f->advised_temperature >= 0) out->temperature = (float)f->advised_temperature;
    if (f->advised_top_p >= 0) out->top_p = (float)f->advised_top_p;
    if (flag_given(f, "temperature")) out->temperature = (float)f->temperature;
    if (flag_given(f, "top-k")) out->top_k = (int)f->top_k;
    if (flag_given(f, "top-p")) out->top_p = (float)f->top_p;
    if (flag_given(f, "min-p")) out->min_p = (float)f->min_p;
    if (flag_given(f, "repetition-penalty")) out->repetition_penalty = (float)f->repetition;
    if (flag_given(f, "presence-penalty")) out->presence_penalty = (float)f->presence;
    if (flag_given(f, "frequency-penalty")) out->frequency_penalty = (float)f->frequency;
    if (f->greedy) out->temperature = 0;
    out->bias = f->bias_items;
    out->bias_count = f->bias.count;
    out->seed = flag_given(f, "seed") ? (uint64_t)f->seed : fresh_seed();
    return HD_OK;
}

/* ---- evaluation ---- */

hd_status hd_cli_feed(hd_session *session, const hd_engine *engine, const int32_t *ids, int64_t n, int64_t piece,
                      hd_error *err)
{
    hd_engine_info info;
    hd_engine_get_info(engine, &info);
    if (n > info.context - hd_session_length(session))
        return hd_fail(err, HD_E_CONTEXT, "%lld tokens are more than the context of %lld; shorten the text%s",
                       (long long)n, (long long)(info.context - hd_session_length(session)),
                       info.context < info.model_context ? " or raise --context" : " or use a model with a longer one");
    if (piece <= 0) piece = HD_PIECE;
    hd_status status = HD_OK;
    for (int64_t at = 0; at < n && status == HD_OK; at += piece) {
        if (hd_interrupted()) status = hd_fail(err, HD_E_CANCELLED, "interrupted");
        if (n > piece) hd_progress_show("reading the prompt", (double)at / (double)n);
        if (status == HD_OK) status = hd_session_feed(session, ids + at, HD_MIN(piece, n - at), err);
    }
    hd_progress_clear();
    return status;
}

const char *hd_ending_name(hd_ending finish)
{
    static const char *const names[] = {"stop", "length", "length", "interrupted"};
    return names[finish];
}

static bool is_end(const hd_generation *g, int32_t id)
{
    for (size_t i = 0; i < g->end_count; i++)
        if (g->ends[i] == id) return true;
    return false;
}

/* One token: chosen, handed on, fed.  *done once g->finish is decided. */
static hd_status generate_one(hd_generation *g, hd_sampler *sampler, int64_t context, bool *done, hd_error *err)
{
    hd_logprob chosen, top[HD_LOGPROBS_MAX];
    bool stop = false;
    *done = true;
    g->finish = HD_ENDING_INTERRUPTED;
    if (hd_interrupted()) return HD_OK;
    g->finish = HD_ENDING_LENGTH;
    if (g->max_tokens >= 0 && g->tokens >= g->max_tokens) return HD_OK;
    HD_TRY(hd_sampler_next(sampler, g->session, &chosen, top, g->top_count, err));
    bool end = is_end(g, chosen.id);
    g->tokens++;
    HD_TRY(g->token(g->arg, &chosen, top, end, &stop, err));
    g->finish = HD_ENDING_STOP;
    if (end || stop) return HD_OK;
    g->finish = HD_ENDING_LENGTH;
    if (g->tokens == g->max_tokens) return HD_OK; /* nobody needs the next logits */
    g->finish = HD_ENDING_CONTEXT;
    if (hd_session_length(g->session) >= context) return HD_OK;
    hd_status status = hd_session_feed(g->session, &chosen.id, 1, err);
    g->finish = HD_ENDING_INTERRUPTED;
    if (status == HD_E_CANCELLED) return HD_OK;
    *done = false;
    return status;
}

hd_status hd_generate(hd_generation *g, hd_error *err)
{
    hd_engine_info info;
    hd_sampler *sampler = NULL;
    hd_engine_get_info(g->engine, &info);
    HD_TRY(hd_sampler_open(&sampler, g->engine, g->sampling, err));
    uint64_t start = hd_clock_ns();
    hd_status status = HD_OK;
    bool done = false;
    g->tokens = 0;
    while (status == HD_OK && !done)
        status = generate_one(g, sampler, info.context, &done, err);
    g->seconds = hd_seconds_since(start);
    hd_sampler_close(&sampler);
    return status;
}

hd_status hd_cli_ends(const hd_engine *engine, const hd_text *text, int32_t **ids, size_t *count, hd_error *err)
{
    hd_engine_info info;
    size_t more = 0;
    hd_engine_get_info(engine, &info);
    const int32_t *others = text ? hd_text_eos(text, &more) : NULL;
    *count = 0;
    *ids = hd_alloc_array(info.eos_count + more + 1, sizeof **ids);
    if (!*ids) return hd_fail(err, HD_E_MEMORY, "out of memory for the ids that end an answer");
    for (size_t i = 0; i < info.eos_count + more; i++) {
        int32_t id = i < info.eos_count ? info.eos[i] : others[i - info.eos_count];
        bool known = false;
        for (size_t j = 0; j < *count; j++)
            known |= (*ids)[j] == id;
        if (!known) (*ids)[(*count)++] = id;
    }
    return HD_OK;
}
