/* engine_fixture.h: tiny models behind the installed API, with calls that fail the test when they fail. */
#ifndef HD_TESTS_ENGINE_FIXTURE_H
#define HD_TESTS_ENGINE_FIXTURE_H

#include "hadal/engine.h"
#include "unit/tiny_model.h"

static inline void must(hd_status status, const hd_error *err)
{
    if (status != HD_OK) fail_msg("status %d: %s", (int)status, err->text);
}

/* The call fails with this status and these words. */
static inline void must_fail(hd_status status, hd_status want, const hd_error *err, const char *words)
{
    if (status != want || err->status != want || !strstr(err->text, words))
        fail_msg("status %d, wanted %d; \"%s\" should contain \"%s\"", (int)status, (int)want, err->text, words);
}

static const char *fixture_cpu = "reference"; /* the tier of open_with */

/* Every one that there is; not each on this machine (has_tier). */
static const char *const fixture_tiers[] = {"reference", "avx2", "avx512",  "avx512bf16",
                                            "amx",       "neon", "neondot", "neoni8mm"};

/* Whether this processor and build have the tier. */
static inline bool has_tier(const tiny_model *m, const char *cpu)
{
    hd_engine *e;
    const hd_engine_options o = {.cpu = cpu, .threads = 1};
    hd_status status = hd_engine_open(&e, m->folder, &o, NULL);
    hd_engine_close(&e);
    return status == HD_OK;
}

/* Threads, chunk and cache as given (0: one thread, the defaults). */
static inline hd_engine *open_with(const tiny_model *m, int threads, int64_t chunk, int64_t cache_tokens)
{
    hd_engine *e;
    hd_error err = {0};
    hd_engine_options o = {
        .cpu = fixture_cpu, .threads = threads ? threads : 1, .chunk = chunk, .cache_tokens = cache_tokens};
    must(hd_engine_open(&e, m->folder, &o, &err), &err);
    return e;
}

static inline hd_session *session_of(hd_engine *e)
{
    hd_session *s;
    hd_error err = {0};
    must(hd_session_open(&s, e, &err), &err);
    return s;
}

static inline void feed(hd_session *s, const int32_t *ids, int64_t n)
{
    hd_error err = {0};
    must(hd_session_feed(s, ids, n, &err), &err);
}

static inline hd_session *fork_of(const hd_session *s)
{
    hd_session *copy;
    hd_error err = {0};
    must(hd_session_fork(&copy, s, &err), &err);
    return copy;
}

/* Bit for bit, and no NaN. */
static inline void assert_same_logits(const float *a, const float *b, size_t n)
{
    assert_non_null(a);
    assert_non_null(b);
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 || a[i] != a[i]) fail_msg("logit %zu: %.9g and %.9g", i, a[i], b[i]);
}

static inline bool same_bits(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

/* The last logits of a session of its own that was fed these ids at once. */
static inline void fresh_logits(hd_engine *e, const int32_t *ids, int64_t n, float *out)
{
    hd_session *s = session_of(e);
    feed(s, ids, n);
    memcpy(out, hd_session_logits(s), TINY_VOCAB * sizeof *out);
    hd_session_close(&s);
}

/* Holds these ids, and the logits are those of a session of its own. */
static inline void assert_session_is(hd_engine *e, const hd_session *s, const int32_t *ids, int64_t n)
{
    float want[TINY_VOCAB];
    fresh_logits(e, ids, n, want);
    assert_int_equal(hd_session_length(s), n);
    assert_memory_equal(hd_session_tokens(s), ids, (size_t)n * sizeof *ids);
    assert_same_logits(hd_session_logits(s), want, TINY_VOCAB);
}

/* One token for each session, in one pass. */
static inline hd_status step_each(hd_engine *e, hd_session *const *sessions, const int32_t *tokens, int count,
                                  hd_error *err)
{
    hd_feed feeds[64];
    if (count > (int)HD_ARRAY_LEN(feeds)) return HD_E_ARGUMENT;
    for (int i = 0; i < count; i++)
        feeds[i] = (hd_feed){.session = sessions[i], .ids = &tokens[i], .n = 1};
    return hd_engine_step(e, feeds, count, NULL, err);
}

#endif
