/* What goes wrong around an engine: memory that runs out at every allocation in turn, and model files that shrink. */
#include <signal.h>
#include <unistd.h>

#include "base/base.h"
#include "unit/engine_fixture.h"

enum { N = 70 };

static int32_t ids[N];
static struct sigaction handler; /* base/mapping.c's; cmocka puts handlers of its own around each test */

/* ---- memory ---- */

typedef struct work {
    hd_engine *engine;
    hd_session *a, *b, *c;
    hd_sampler *sampler;
    uint8_t *bytes;
    size_t size;
} work;

static hd_status sample(work *w, hd_error *err)
{
    const hd_logit_bias bias = {.id = 3, .bias = 1.0f};
    const hd_sampling s = {
        .temperature = 0.7f, .top_k = 20, .top_p = 0.9f, .repetition_penalty = 1.1f, .bias = &bias, .bias_count = 1};
    hd_logprob chosen, top[5];
    HD_TRY(hd_sampler_open(&w->sampler, w->engine, &s, err));
    return hd_sampler_next(w->sampler, w->a, &chosen, top, 5, err);
}

/* A bit of everything; what was opened is in *w however it ends. */
static hd_status run(work *w, const tiny_model *m, const char *trace, hd_error *err)
{
    static float logits[N * TINY_VOCAB];
    const hd_engine_options o = {.cpu = fixture_cpu, .threads = 1, .chunk = 16};
    HD_TRY(hd_engine_open(&w->engine, m->folder, &o, err));
    if (trace) HD_TRY(hd_engine_record_experts(w->engine, N, err));
    HD_TRY(hd_session_open(&w->a, w->engine, err));
    HD_TRY(hd_session_feed_all(w->a, ids, N, logits, err));
    HD_TRY(hd_session_fork(&w->b, w->a, err));
    HD_TRY(hd_session_feed(w->b, ids, 20, err));
    HD_TRY(hd_session_snapshot(w->b, &w->bytes, &w->size, err));
    HD_TRY(hd_session_open(&w->c, w->engine, err));
    HD_TRY(hd_session_restore(w->c, w->bytes, w->size, err));
    hd_session *all[] = {w->a, w->b, w->c};
    HD_TRY(step_each(w->engine, all, ids, 3, err));
    if (trace) {
        HD_TRY(hd_engine_save_experts(w->engine, trace, err));
        HD_TRY(hd_engine_force_experts(w->engine, trace, err));
        HD_TRY(hd_session_feed(w->c, ids, 5, err));
    }
    return sample(w, err);
}

static void finish(work *w)
{
    hd_sampler_close(&w->sampler);
    hd_bytes_free(w->bytes);
    hd_session_close(&w->a);
    hd_session_close(&w->b);
    hd_session_close(&w->c);
    hd_engine_close(&w->engine);
}

/* Every allocation fails in turn, with all after it; under the sanitizers nothing may leak. */
static void fail_on_this_tier(tiny_model *m, bool experts)
{
    char trace[TINY_PATH + 64];
    hd_status status = HD_E_MEMORY;
    uint64_t n = 0;
    tiny_path(m, "trace.safetensors", trace);
    while (status != HD_OK) {
        work w = {0};
        hd_error err = {0};
        hd_alloc_fail_after(++n);
        status = run(&w, m, experts ? trace : NULL, &err);
        hd_alloc_fail_after(0);
        finish(&w);
        if (status != HD_OK && (status != HD_E_MEMORY || err.status != status || !err.text[0]))
            fail_msg("allocation %llu: status %d, \"%s\"", (unsigned long long)n, (int)status, err.text);
        assert_true(n < 100000);
    }
    printf("  %s: %llu allocations\n", fixture_cpu, (unsigned long long)n - 1);
    assert_true(n > 50);
}

static void fail_every_allocation(tiny_model *m, bool experts)
{
    tiny_write(m);
    for (size_t i = 0; i < HD_ARRAY_LEN(fixture_tiers); i++) {
        fixture_cpu = fixture_tiers[i];
        if (has_tier(m, fixture_cpu)) fail_on_this_tier(m, experts);
    }
    fixture_cpu = "reference";
    tiny_free(m);
}

static void a_dense_model_without_memory(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 11);
    fail_every_allocation(&m, false);
}

static void a_model_of_experts_without_memory(void **state)
{
    (void)state;
    tiny_model m;
    tiny_deepseek(&m, 12);
    fail_every_allocation(&m, true);
}

/* A session survives calls that ran out of memory: it holds what it held. */
static void a_session_without_memory_keeps_its_tokens(void **state)
{
    (void)state;
    tiny_model m;
    hd_error err = {0};
    tiny_llama(&m, 13);
    tiny_write(&m);
    hd_engine *e = open_with(&m, 1, 8, 0);
    hd_session *s = session_of(e), *other = session_of(e), *none;
    uint8_t *bytes;
    size_t size;
    feed(s, ids, 40);
    feed(other, ids, 3);
    must(hd_session_snapshot(other, &bytes, &size, &err), &err);
    for (uint64_t n = 1; n <= 3; n++) {
        hd_alloc_fail_after(n);
        hd_status fed = hd_session_feed(s, ids + 40, 30, &err);
        hd_alloc_fail_after(0);
        if (fed == HD_OK) must(hd_session_truncate(s, 40, &err), &err);
        if (fed == HD_OK) break;
        must_fail(fed, HD_E_MEMORY, &err, "out of memory");
        assert_session_is(e, s, ids, 40);
    }
    feed(s, ids + 40, 1);
    hd_alloc_fail_after(1);
    hd_status forked = hd_session_fork(&none, s, NULL), restored = hd_session_restore(s, bytes, size, NULL);
    hd_session *both[] = {s, other};
    hd_status stepped = step_each(e, both, ids, 2, NULL);
    hd_alloc_fail_after(0);
    assert_int_equal(forked, HD_E_MEMORY);
    assert_null(none);
    assert_int_equal(restored, HD_E_MEMORY);
    assert_int_equal(stepped, HD_E_MEMORY);
    assert_session_is(e, s, ids, 41);
    assert_session_is(e, other, ids, 3);
    hd_bytes_free(bytes);
    hd_session_close(&s);
    hd_session_close(&other);
    hd_engine_close(&e);
    tiny_free(&m);
}

/* ---- lost files ---- */

/* The file shrinks while the model is open: the evaluation ends with an error that names it, the process goes on. */
static void a_truncated_model_is_lost(void **state)
{
    (void)state;
    static const off_t left[] = {0, 4096, 5000};
    assert_int_equal(sigaction(SIGBUS, &handler, NULL), 0);
    for (size_t i = 0; i < HD_ARRAY_LEN(left); i++) {
        tiny_model m;
        char path[TINY_PATH + 64];
        hd_error err = {0};
        float logits[3 * TINY_VOCAB];
        tiny_llama(&m, 14);
        tiny_write(&m);
        tiny_path(&m, "model.safetensors", path);
        hd_engine *e = open_with(&m, 2, 8, 0);
        hd_session *s = session_of(e), *t = session_of(e);
        hd_session *both[] = {s, t};
        feed(s, ids, 20);
        feed(t, ids, 5);
        assert_int_equal(truncate(path, left[i]), 0);
        must_fail(hd_session_feed(s, ids, 20, &err), HD_E_MODEL_LOST, &err, "model.safetensors");
        assert_int_equal(hd_session_length(s), 20);
        assert_memory_equal(hd_session_tokens(s), ids, 20 * sizeof *ids);
        must_fail(step_each(e, both, ids, 2, &err), HD_E_MODEL_LOST, &err, "model.safetensors");
        must_fail(hd_session_feed_all(t, ids, 3, logits, &err), HD_E_MODEL_LOST, &err, "model.safetensors");
        assert_int_equal(hd_session_length(t), 5);
        hd_session_close(&s);
        hd_session_close(&t);
        hd_engine_close(&e);
        tiny_free(&m);
    }
}

/* Replacing a file by renaming, as every good writer does, leaves the open one alone. */
static void a_replaced_model_stays(void **state)
{
    (void)state;
    tiny_model m, other;
    float before[TINY_VOCAB], after[TINY_VOCAB];
    tiny_llama(&m, 15);
    tiny_write(&m);
    hd_engine *e = open_with(&m, 1, 0, 0);
    fresh_logits(e, ids, N, before);
    tiny_llama(&other, 16);
    char own[TINY_PATH];
    memcpy(own, other.folder, sizeof own);
    rmdir(own);
    memcpy(other.folder, m.folder, sizeof own);
    tiny_write(&other);
    fresh_logits(e, ids, N, after);
    assert_same_logits(after, before, TINY_VOCAB);
    hd_engine_close(&e);
    tiny_free(&other);
    tiny_free(&m);
}

/* The first model that is opened installs the handler of lost mappings. */
static void learn_handler(void)
{
    tiny_model m;
    tiny_llama(&m, 17);
    tiny_write(&m);
    hd_engine *e = open_with(&m, 1, 0, 0);
    hd_engine_close(&e);
    tiny_free(&m);
    sigaction(SIGBUS, NULL, &handler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dense_model_without_memory),
        cmocka_unit_test(a_model_of_experts_without_memory),
        cmocka_unit_test(a_session_without_memory_keeps_its_tokens),
        cmocka_unit_test(a_truncated_model_is_lost),
        cmocka_unit_test(a_replaced_model_stays),
    };
    tiny_ids(ids, N, TINY_VOCAB, 10);
    learn_handler();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
