/* The fast tiers on whole models, against the reference data.
 *
 * golden/models: random weights, bf16 or fp8, so a tier rounds nothing but its sums and its float16 cache (and the same
 * without the latter).  The experts
 * that the reference tier chose are forced: else a rounding flips a choice between two nearly equal experts, and logits
 * move by units.
 *
 * golden/real: a real model, Q4_1.  Log-probabilities of the ten best tokens within 0.15, and the first twelve greedy
 * tokens equal for three of the four prompts. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conformance/reference.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

/* Largest logit errors, the same for all tiers as they cache the same type and sum in float32:
 *   sums     with the tier's own kernels but a float32 cache: only the order of sums differs.  Measured 6e-5.
 *   dense    float16 keeps 11 bits of each cached value, an error of 2^-12 on average; keys and values of these models
 *            are about 1, and the errors of many rows cancel: logits of up to 14 move by 5e-3 (measured).
 *   experts  V2 multiplies what its experts give by 16 and does not renormalize their weights, and so the errors:
 *            2.3e-2 (measured). */
static const struct tier_bound {
    const char *cpu;
    float sums, dense, experts;
} tier_bounds[] = {{"avx2", 2e-4f, 1e-2f, 4e-2f},
                   {"avx512", 2e-4f, 1e-2f, 4e-2f},
                   {"avx512bf16", 2e-4f, 1e-2f, 4e-2f},
                   {"amx", 2e-4f, 1e-2f, 4e-2f},
                   {"neon", 2e-4f, 1e-2f, 4e-2f},
                   {"neondot", 2e-4f, 1e-2f, 4e-2f},
                   {"neoni8mm", 2e-4f, 1e-2f, 4e-2f}};

#define TOP 10
#define LOGPROB_BOUND 0.15
#define GREEDY_TOKENS 12

static const hd_backend *backend_of(const char *cpu)
{
    const hd_backend *backend;
    hd_cpu_tier tier;
    return hd_cpu_parse(cpu, &tier) && hd_kernels_cpu(&backend, tier, NULL) == HD_OK ? backend : NULL;
}

/* ---- golden/models, as the engine runs them ---- */

/* Logits [n][vocab] of a prompt in a new session. */
static float *evaluate(hd_engine *e, const hd_tensor *prompt)
{
    hd_engine_info info;
    hd_session *s;
    hd_error err = {0};
    hd_engine_get_info(e, &info);
    float *logits = hd_alloc_array((size_t)(prompt->shape[0] * info.vocab), sizeof *logits);
    assert_non_null(logits);
    must(hd_session_open(&s, e, &err), &err);
    must(hd_session_feed_all(s, prompt->data, prompt->shape[0], logits, &err), &err);
    hd_session_close(&s);
    return logits;
}

/* Has the reference tier choose experts for the prompt, and `e` take the same ones; false for a dense model. */
static bool force_experts(hd_engine *e, hd_engine *twin, const hd_tensor *prompt)
{
    hd_error err = {0};
    char path[] = "/tmp/hadal-experts-XXXXXX";
    hd_status status = hd_engine_record_experts(twin, prompt->shape[0], &err);
    if (status == HD_E_UNSUPPORTED) return false;
    must(status, &err);
    hd_free(evaluate(twin, prompt));
    int fd = mkstemp(path);
    if (fd < 0) fail_msg("no temporary file %s", path);
    close(fd);
    must(hd_engine_save_experts(twin, path, &err), &err);
    must(hd_engine_force_experts(e, path, &err), &err);
    unlink(path);
    return true;
}

/* The error of the last rows of `logits`, for which the reference data has values. */
static float logit_error(const float *logits, const reference *r)
{
    size_t vocab = (size_t)r->logits->shape[1], rows = (size_t)r->logits->shape[0];
    return worst_difference(logits + ((size_t)r->prompt->shape[0] - rows) * vocab, r->logits->data, rows * vocab);
}

static void check_engine(const char *expected, const char *model, const char *name, const struct tier_bound *tier)
{
    hd_error err = {0};
    reference r = {0};
    hd_engine *e, *twin;
    hd_engine_options options = {.cpu = tier->cpu}, twin_options = {.cpu = "reference"};
    float worst = 0.0f;
    bool experts = false;
    must(hd_checkpoint_open(&r.file, expected, &err), &err);
    must(hd_engine_open(&e, model, &options, &err), &err);
    must(hd_engine_open(&twin, model, &twin_options, &err), &err);
    for (int n = 0; find_case(&r, n); n++) {
        experts = force_experts(e, twin, r.prompt);
        float *logits = evaluate(e, r.prompt), error = logit_error(logits, &r);
        if (!(error <= worst)) worst = error;
        hd_free(logits);
    }
    hd_engine_close(&e);
    hd_engine_close(&twin);
    hd_checkpoint_close(&r.file);
    float bound = experts ? tier->experts : tier->dense;
    printf("  %s on %s: largest difference %.1e of %.0e\n", name, tier->cpu, (double)worst, (double)bound);
    if (!(worst <= bound)) fail_msg("%s on %s: logits differ by %g", name, tier->cpu, (double)worst);
}

/* ---- golden/models, with a float32 cache ---- */

static hd_core *open_core(const char *model, const hd_backend *backend)
{
    hd_core *core;
    hd_error err = {0};
    hd_core_options options = {.backend = backend, .threads = 1, .chunk = 512};
    must(hd_core_open(&core, model, &options, &err), &err);
    return core;
}

static void run_core(hd_core *core, hd_expert_trace *trace, const hd_tensor *prompt, float *logits)
{
    hd_seq *seq;
    hd_error err = {0};
    int refused;
    trace->token0 = 0;
    hd_core_set_trace(core, trace);
    must(hd_seq_open(&seq, core, &err), &err);
    hd_seq_feed feed = {.seq = seq, .ids = prompt->data, .n = prompt->shape[0], .logits = logits};
    must(hd_core_step(core, &feed, 1, &refused, &err), &err);
    hd_seq_close(&seq);
    hd_core_set_trace(core, NULL);
}

static float core_error(hd_core *core, hd_core *twin, const reference *r)
{
    int64_t n = r->prompt->shape[0], layers = hd_model_expert_layers(hd_core_model(twin));
    int64_t used = HD_MAX(hd_model_get_config(hd_core_model(twin))->experts_used, 1);
    float *logits = hd_alloc_array((size_t)(n * r->logits->shape[1]), sizeof *logits);
    hd_expert_trace trace = {.mode = HD_TRACE_RECORD, .layers = layers, .tokens = n, .used = used};
    trace.ids = hd_calloc((size_t)(HD_MAX(layers, 1) * n * used), sizeof *trace.ids);
    assert_true(logits && trace.ids);
    run_core(twin, &trace, r->prompt, logits);
    trace.mode = HD_TRACE_FORCE;
    run_core(core, &trace, r->prompt, logits);
    float error = logit_error(logits, r);
    hd_free(trace.ids);
    hd_free(logits);
    return error;
}

static void check_sums(const char *expected, const char *model, const char *name, const struct tier_bound *tier)
{
    hd_error err = {0};
    reference r = {0};
    hd_backend backend = *backend_of(tier->cpu);
    float worst = 0.0f;
    backend.cache_type = HD_TYPE_F32;
    hd_core *core = open_core(model, &backend), *twin = open_core(model, backend_of("reference"));
    must(hd_checkpoint_open(&r.file, expected, &err), &err);
    for (int n = 0; find_case(&r, n); n++) {
        float error = core_error(core, twin, &r);
        if (!(error <= worst)) worst = error;
    }
    hd_checkpoint_close(&r.file);
    hd_core_close(&core);
    hd_core_close(&twin);
    printf("  %s on %s with a float32 cache: %.1e of %.0e\n", name, tier->cpu, (double)worst, (double)tier->sums);
    if (!(worst <= tier->sums)) fail_msg("%s on %s: logits differ by %g", name, tier->cpu, (double)worst);
}

static void test_model(void **state)
{
    const char *name = *state;
    char relative[128], folder[HD_TEST_PATH], file[HD_TEST_PATH + 32], expected[HD_TEST_PATH + 32];
    snprintf(relative, sizeof relative, "models/%s", name);
    if (!hd_test_golden(folder, relative)) skip();
    snprintf(file, sizeof file, "%s/model.gguf", folder);
    snprintf(expected, sizeof expected, "%s/expected.safetensors", folder);
    for (size_t i = 0; i < HD_ARRAY_LEN(tier_bounds); i++) {
        const struct tier_bound *tier = &tier_bounds[i];
        if (!backend_of(tier->cpu)) continue;
        check_engine(expected, folder, name, tier);
        if (access(file, R_OK) == 0) check_engine(expected, file, name, tier);
        check_sums(expected, folder, name, tier);
    }
}

/* ---- golden/real ---- */

static bool find_real(char path[HD_TEST_PATH])
{
    const char *set = getenv("HD_SMOLLM2");
    if (set) return snprintf(path, HD_TEST_PATH, "%s", set) > 0 && access(path, R_OK) == 0;
    return hd_test_file(path, "models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

/* The index of the largest value below `below`. */
static size_t largest_below(const float *values, size_t n, float below)
{
    size_t top = 0;
    float most = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (values[i] > most && values[i] < below) {
            most = values[i];
            top = i;
        }
    return top;
}

/* log(sum(exp(logits))) */
static double log_sum(const float *logits, size_t n)
{
    double most = (double)logits[largest_below(logits, n, INFINITY)], sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - most);
    return most + log(sum);
}

/* The largest difference of log-probability over the reference's ten best tokens. */
static double logprob_difference(const float *have, const float *want, size_t vocab)
{
    double have_sum = log_sum(have, vocab), want_sum = log_sum(want, vocab), worst = 0.0;
    float below = INFINITY;
    for (int k = 0; k < TOP; k++) {
        size_t top = largest_below(want, vocab, below);
        below = want[top];
        double difference = fabs(((double)have[top] - have_sum) - ((double)want[top] - want_sum));
        if (!(difference <= worst)) worst = difference;
    }
    return worst;
}

/* How many tokens of greedy text are the reference's, up to GREEDY_TOKENS. */
static int greedy_agreement(hd_session *s, const hd_tensor *greedy, int32_t vocab)
{
    const int32_t *want = greedy->data;
    int64_t n = HD_MIN(greedy->shape[0], GREEDY_TOKENS);
    hd_error err = {0};
    for (int64_t i = 0; i < n; i++) {
        float gap;
        if (best(hd_session_logits(s), vocab, &gap) != want[i]) return (int)i;
        must(hd_session_feed(s, &want[i], 1, &err), &err);
    }
    return GREEDY_TOKENS;
}

static void check_real(const char *model, const char *expected, const char *cpu)
{
    hd_engine *e;
    hd_engine_info info;
    hd_error err = {0};
    reference r = {0};
    hd_engine_options options = {.cpu = cpu, .context = 512};
    int prompts = 0, equal = 0;
    double worst = 0.0;
    must(hd_checkpoint_open(&r.file, expected, &err), &err);
    must(hd_engine_open(&e, model, &options, &err), &err);
    hd_engine_get_info(e, &info);
    for (; find_case(&r, prompts); prompts++) {
        hd_session *s;
        size_t vocab = (size_t)info.vocab, n = (size_t)r.prompt->shape[0], rows = (size_t)r.logits->shape[0];
        float *logits = hd_alloc_array(n * vocab, sizeof *logits);
        assert_non_null(logits);
        must(hd_session_open(&s, e, &err), &err);
        must(hd_session_feed_all(s, r.prompt->data, (int64_t)n, logits, &err), &err);
        for (size_t row = 0; row < rows; row++) {
            const float *want = (const float *)r.logits->data + row * vocab;
            worst = fmax(worst, logprob_difference(logits + (n - rows + row) * vocab, want, vocab));
        }
        equal += greedy_agreement(s, r.greedy, info.vocab) == GREEDY_TOKENS;
        hd_session_close(&s);
        hd_free(logits);
    }
    hd_engine_close(&e);
    hd_checkpoint_close(&r.file);
    printf("  SmolLM2 on %s: log-probabilities of the top %d differ by at most %.3f; greedy text of %d of %d prompts "
           "equal\n",
           cpu, TOP, worst, equal, prompts);
    assert_int_equal(prompts, 4);
    if (!(worst <= LOGPROB_BOUND)) fail_msg("SmolLM2 on %s: log-probabilities differ by %g", cpu, worst);
    if (equal < 3) fail_msg("SmolLM2 on %s: greedy text equal for %d of %d prompts", cpu, equal, prompts);
}

static void test_real(void **state)
{
    char model[HD_TEST_PATH], expected[HD_TEST_PATH];
    (void)state;
    if (!find_real(model) || !hd_test_golden(expected, "real/smollm2-135m-q4_1.safetensors")) {
        hd_test_skip("the SmolLM2 file; fetch it with ./start or set HD_SMOLLM2");
        skip();
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(tier_bounds); i++)
        if (backend_of(tier_bounds[i].cpu)) check_real(model, expected, tier_bounds[i].cpu);
}

int main(void)
{
#define MODEL(name)                                                                                                    \
    {                                                                                                                  \
        "logits of " name, test_model, NULL, NULL, (void *)(uintptr_t)name                                             \
    }
    const struct CMUnitTest tests[] = {
        MODEL("llama"),           MODEL("llama3-rope"),      MODEL("qwen2"),
        MODEL("qwen3"),           MODEL("deepseek-v2"),      MODEL("deepseek-v3"),
        MODEL("deepseek-v3-fp8"), MODEL("deepseek-v2-lite"), cmocka_unit_test(test_real),
    };
    if (getenv("HD_TEST_QUICK")) cmocka_set_test_filter("*deepseek-v3"); /* emulation: experts and latent attention */
    return cmocka_run_group_tests_name("fast tiers", tests, NULL, NULL);
}
