/* A long prompt in chunks against the same prompt in one piece: the last logits, the bytes of the cache against the
 * formula, and the scratch memory of attention against what a form would need that holds all scores of a head at once.
 *
 * HD_TEST_LONG=1 takes 32,768 tokens on the fastest tier of this processor (minutes); otherwise a prompt of seconds on
 * the reference tier.  The models are those of golden/models with a longer context in their configuration. */
#include <limits.h>
#include <string.h>
#include <time.h>

#include "conformance/reference.h"

enum { LONG = 32768, SHORT = 2048, CHUNK = 512 };
#define LARGEST_SHARE 0.35

typedef struct long_model {
    const char *name;
    bool latent; /* MLA and experts */
} long_model;

static char folder[64];

static bool is_long(void)
{
    const char *set = getenv("HD_TEST_LONG");
    return set && *set && strcmp(set, "0") != 0;
}

static int64_t config_int(const json_t *config, const char *key)
{
    const json_t *v = json_object_get(config, key);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

/* Values that all layers cache for one token: the rule of docs/engine.md. */
static int64_t cached_values(const json_t *config, bool latent)
{
    int64_t width = latent ? config_int(config, "kv_lora_rank") + config_int(config, "qk_rope_head_dim")
                           : 2 * config_int(config, "num_key_value_heads") * config_int(config, "head_dim");
    return width * config_int(config, "num_hidden_layers");
}

/* The golden model with a longer context: its own config.json, and a link to the weights. */
static json_t *lengthen(const char *golden, int64_t context)
{
    char from[HD_TEST_PATH + 32], whole[PATH_MAX], to[96];
    hd_error err = {0};
    json_t *config;
    snprintf(from, sizeof from, "%s/config.json", golden);
    must(hd_json_parse_file(&config, from, 1 << 20, &err), &err);
    json_object_set_new(config, "max_position_embeddings", json_integer(context));
    snprintf(to, sizeof to, "%s/config.json", folder);
    assert_int_equal(json_dump_file(config, to, 0), 0);
    snprintf(from, sizeof from, "%s/model.safetensors", golden);
    snprintf(to, sizeof to, "%s/model.safetensors", folder);
    assert_non_null(realpath(from, whole));
    assert_int_equal(symlink(whole, to), 0);
    return config;
}

static void clear_folder(void)
{
    static const char *const names[] = {"config.json", "model.safetensors", "experts.safetensors"};
    char path[96];
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct result {
    float *logits; /* of the last token */
    uint64_t cache_bytes;
    hd_engine_info info;
    double seconds;
} result;

/* Evaluates `n` ids in spans of `chunk`.  Where tiers round, a router may flip between two forms of one sum: the second
 * evaluation takes the choices of the first (`experts`: 1 records them, 2 forces them). */
static result evaluate(const int32_t *ids, int64_t n, int64_t chunk, int experts)
{
    result r = {0};
    hd_engine *e;
    hd_session *s;
    hd_error err = {0};
    char path[96];
    hd_engine_options o = {.cpu = is_long() ? "auto" : "reference", .chunk = chunk};
    snprintf(path, sizeof path, "%s/experts.safetensors", folder);
    must(hd_engine_open(&e, folder, &o, &err), &err);
    hd_engine_get_info(e, &r.info);
    if (experts == 1) must(hd_engine_record_experts(e, n, &err), &err);
    if (experts == 2) must(hd_engine_force_experts(e, path, &err), &err);
    must(hd_session_open(&s, e, &err), &err);
    r.seconds = -seconds();
    must(hd_session_feed(s, ids, n, &err), &err);
    r.seconds += seconds();
    if (experts == 1) must(hd_engine_save_experts(e, path, &err), &err);
    r.cache_bytes = hd_session_cache_bytes(s);
    r.logits = hd_alloc_array((size_t)r.info.vocab, sizeof *r.logits);
    assert_non_null(r.logits);
    memcpy(r.logits, hd_session_logits(s), (size_t)r.info.vocab * sizeof *r.logits);
    hd_session_close(&s);
    hd_engine_close(&e); /* r.info.cpu is a constant of the program; its other pointers end here */
    return r;
}

static void check_memory(const result *r, int64_t n, int64_t chunk, int64_t values)
{
    uint64_t element = strcmp(r->info.cpu, "reference") == 0 ? sizeof(float) : 2; /* float16 or bfloat16 */
    uint64_t formula = (uint64_t)(n + 31) / 32 * 32 * (uint64_t)values * element;
    double naive = (double)n * (double)n * sizeof(float);
    printf("    chunks of %lld: cache %llu bytes (formula %llu), scratch %llu bytes, %.3f %% of %.0f; %.1f s\n",
           (long long)chunk, (unsigned long long)r->cache_bytes, (unsigned long long)formula,
           (unsigned long long)r->info.scratch_bytes, 100.0 * (double)r->info.scratch_bytes / naive, naive, r->seconds);
    assert_int_equal(r->cache_bytes, formula);
    assert_true((double)r->info.scratch_bytes <= LARGEST_SHARE * naive);
}

static void test_long_prompt(void **state)
{
    const long_model *m = *state;
    char golden[HD_TEST_PATH], name[64];
    int64_t n = is_long() ? LONG : SHORT;
    snprintf(name, sizeof name, "models/%s", m->name);
    if (!hd_test_golden(golden, name)) skip();
    snprintf(folder, sizeof folder, "/tmp/hadal-long-XXXXXX");
    assert_non_null(mkdtemp(folder));
    json_t *config = lengthen(golden, n);
    int64_t vocab = config_int(config, "vocab_size"), values = cached_values(config, m->latent);
    int32_t *ids = hd_alloc_array((size_t)n, sizeof *ids);
    assert_non_null(ids);
    uint64_t seed = 1;
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((seed >> 33) % (uint64_t)vocab);
    }
    result parts = evaluate(ids, n, CHUNK, m->latent ? 1 : 0);
    result whole = evaluate(ids, n, n, m->latent ? 2 : 0);
    float worst = worst_difference(parts.logits, whole.logits, (size_t)vocab);
    printf("  %s, %lld tokens, %s, %d threads: largest difference of the last logits %.1e\n", m->name, (long long)n,
           parts.info.cpu, parts.info.threads, (double)worst);
    check_memory(&parts, n, CHUNK, values);
    check_memory(&whole, n, n, values);
    if (strcmp(parts.info.cpu, "reference") == 0)
        assert_true(worst == 0.0f);
    else
        assert_true(worst <= TOLERANCE);
    hd_free(parts.logits);
    hd_free(whole.logits);
    hd_free(ids);
    json_decref(config);
    clear_folder();
}

int main(void)
{
    static const long_model dense = {"llama", false}, latent = {"deepseek-v3", true};
    const struct CMUnitTest tests[] = {
        {"long prompt: llama", test_long_prompt, NULL, NULL, (void *)(uintptr_t)&dense},
        {"long prompt: deepseek-v3", test_long_prompt, NULL, NULL, (void *)(uintptr_t)&latent},
    };
    return cmocka_run_group_tests_name("long_prompt", tests, NULL, NULL);
}
