/* The installed API on tiny models: sessions, limits, cancelling; on every tier of this processor.  "The same" is bit
 * for bit. */
#include <pthread.h>
#include <time.h>

#include "base/base.h"
#include "unit/engine_fixture.h"

enum { LONG = 150 }; /* tokens: five pages, more than a decompressed span of MLA needs */

static tiny_model llama, deepseek;
static int32_t ids[1024];

static int make_models(void **state)
{
    (void)state;
    tiny_llama(&llama, 1);
    tiny_write(&llama);
    tiny_deepseek(&deepseek, 2);
    tiny_write(&deepseek);
    tiny_ids(ids, HD_ARRAY_LEN(ids), TINY_VOCAB, 3);
    return 0;
}

static int drop_models(void **state)
{
    (void)state;
    tiny_free(&llama);
    tiny_free(&deepseek);
    return 0;
}

/* ---- evaluation ---- */

static void chunks_give_the_same_as_all_at_once(void **state)
{
    (void)state;
    static float whole[LONG * TINY_VOCAB], parts[LONG * TINY_VOCAB];
    static const int64_t chunks[] = {1, 7, 32, 149};
    hd_error err = {0};
    hd_engine *e = open_with(&llama, 1, 512, 0);
    hd_session *s = session_of(e);
    must(hd_session_feed_all(s, ids, LONG, whole, &err), &err);
    assert_same_logits(hd_session_logits(s), whole + (LONG - 1) * TINY_VOCAB, TINY_VOCAB);
    hd_session_close(&s);
    hd_engine_close(&e);
    for (size_t i = 0; i < HD_ARRAY_LEN(chunks); i++) {
        e = open_with(&llama, 2, chunks[i], 0);
        s = session_of(e);
        must(hd_session_feed_all(s, ids, LONG, parts, &err), &err);
        assert_same_logits(parts, whole, LONG * TINY_VOCAB);
        hd_session_close(&s);
        hd_engine_close(&e);
    }
}

/* MLA: the form of attention depends on the length of a span, so only spans of the same form agree to the bit. */
static void chunks_of_latent_attention_agree(void **state)
{
    (void)state;
    /* where rows are cached as float16, a last bit in one layer can become 2^-11 of a value in the next */
    float bound = strcmp(fixture_cpu, "reference") == 0 ? 1e-4f : 2e-3f;
    float decompressed[TINY_VOCAB], absorbed[TINY_VOCAB], short_spans[TINY_VOCAB];
    hd_engine *e = open_with(&deepseek, 1, 512, 0);
    fresh_logits(e, ids, LONG, decompressed);
    hd_engine_close(&e);
    e = open_with(&deepseek, 1, 100, 0);
    fresh_logits(e, ids, LONG, absorbed);
    hd_engine_close(&e);
    e = open_with(&deepseek, 2, 9, 0);
    fresh_logits(e, ids, LONG, short_spans);
    hd_engine_close(&e);
    assert_same_logits(short_spans, absorbed, TINY_VOCAB);
    assert_false(same_bits(decompressed, absorbed, TINY_VOCAB)); /* else only one form was tried */
    for (int i = 0; i < TINY_VOCAB; i++)
        if (!(fabsf(decompressed[i] - absorbed[i]) < bound))
            fail_msg("logit %d: %.9g decompressed, %.9g absorbed", i, decompressed[i], absorbed[i]);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    const tiny_model *models[] = {&llama, &deepseek};
    for (size_t i = 0; i < HD_ARRAY_LEN(models); i++) {
        float one[TINY_VOCAB], three[TINY_VOCAB];
        hd_engine *e = open_with(models[i], 1, 0, 0);
        fresh_logits(e, ids, LONG, one);
        hd_engine_close(&e);
        e = open_with(models[i], 3, 0, 0);
        fresh_logits(e, ids, LONG, three);
        hd_engine_close(&e);
        assert_same_logits(one, three, TINY_VOCAB);
    }
}

/* Sessions of several lengths go on together, a token each, as each would alone. */
static void a_batch_gives_the_same_as_each_alone(void **state)
{
    (void)state;
    enum { COUNT = 5, STEPS = 40 };
    static const int64_t lengths[COUNT] = {1, 31, 32, 33, 100};
    const tiny_model *models[] = {&llama, &deepseek};
    for (size_t i = 0; i < HD_ARRAY_LEN(models); i++) {
        hd_engine *e = open_with(models[i], 2, 0, 0);
        hd_session *together[COUNT], *alone[COUNT];
        hd_error err = {0};
        for (int j = 0; j < COUNT; j++) {
            together[j] = session_of(e);
            feed(together[j], ids, lengths[j]);
            alone[j] = fork_of(together[j]);
        }
        for (int step = 0; step < STEPS; step++) {
            must(step_each(e, together, ids + 10 * step, COUNT, &err), &err);
            for (int j = 0; j < COUNT; j++) {
                feed(alone[j], &ids[10 * step + j], 1);
                assert_same_logits(hd_session_logits(together[j]), hd_session_logits(alone[j]), TINY_VOCAB);
                assert_int_equal(hd_session_length(together[j]), lengths[j] + step + 1);
            }
        }
        for (int j = 0; j < COUNT; j++) {
            hd_session_close(&together[j]);
            hd_session_close(&alone[j]);
        }
        hd_engine_close(&e);
    }
}

/* A prompt in pieces beside sessions that decode: each gets what it would get alone. */
static void prompts_and_decoding_share_a_step(void **state)
{
    (void)state;
    const tiny_model *models[] = {&llama, &deepseek};
    for (size_t i = 0; i < HD_ARRAY_LEN(models); i++) {
        hd_engine *e = open_with(models[i], 2, 16, 0);
        hd_session *a = session_of(e), *b = session_of(e), *alone = session_of(e);
        hd_error err = {0};
        int refused = 7;
        feed(a, ids, 40);
        for (int64_t at = 0; at < 45; at += 15) {
            const hd_feed feeds[] = {{.session = a, .ids = ids + 40 + at / 15, .n = 1},
                                     {.session = b, .ids = ids + 100 + at, .n = 15}};
            must(hd_engine_step(e, feeds, 2, &refused, &err), &err);
            assert_int_equal(refused, -1);
        }
        feed(alone, ids, 43);
        assert_same_logits(hd_session_logits(a), hd_session_logits(alone), TINY_VOCAB);
        must(hd_session_truncate(alone, 0, &err), &err);
        for (int64_t at = 0; at < 45; at += 15)
            feed(alone, ids + 100 + at, 15);
        assert_same_logits(hd_session_logits(b), hd_session_logits(alone), TINY_VOCAB);
        const hd_feed wide[] = {{.session = a, .ids = ids, .n = 1}, {.session = b, .ids = ids, .n = 16}};
        must_fail(hd_engine_step(e, wide, 2, &refused, &err), HD_E_ARGUMENT, &err, "1 to 16 tokens");
        assert_int_equal(refused, 1);
        hd_session_close(&a);
        hd_session_close(&b);
        hd_session_close(&alone);
        hd_engine_close(&e);
    }
}

/* Room that is reserved stays, whatever others take; a prefix shares pages and has no logits. */
static void room_is_kept_and_prefixes_share_it(void **state)
{
    (void)state;
    hd_engine *e = open_with(&llama, 1, 16, 192); /* six pages */
    hd_session *a = session_of(e), *b = session_of(e), *prefix = NULL;
    hd_error err = {0};
    hd_cache_usage cache;
    must(hd_session_reserve(a, 96, &err), &err);
    feed(b, ids, 90);
    must_fail(hd_session_feed(b, ids, 40, &err), HD_E_BUSY, &err, "the cache is full");
    for (int64_t at = 0; at < 96; at += 16)
        feed(a, ids + at, 16);
    must_fail(hd_session_reserve(a, 100, &err), HD_E_LIMIT, &err, "196 tokens does not fit");
    hd_session_close(&b);
    must(hd_session_fork_prefix(&prefix, a, 64, &err), &err);
    assert_int_equal(hd_session_length(prefix), 64);
    assert_null(hd_session_logits(prefix));
    hd_engine_get_cache(e, &cache);
    assert_int_equal(cache.pages, 3);
    assert_int_equal(cache.pages_free, 3);
    hd_engine_trim(e);
    hd_engine_get_cache(e, &cache);
    assert_int_equal(cache.pages_free, 0);
    must_fail(hd_session_fork_prefix(&b, a, 97, &err), HD_E_ARGUMENT, &err, "97 tokens of a session that holds 96");
    feed(prefix, ids + 64, 32);
    assert_same_logits(hd_session_logits(prefix), hd_session_logits(a), TINY_VOCAB);
    hd_session_close(&prefix);
    hd_session_close(&a);
    hd_engine_close(&e);
}

static void a_step_refuses_what_it_cannot_do(void **state)
{
    (void)state;
    hd_engine *e = open_with(&llama, 1, 4, 0), *other = open_with(&llama, 1, 4, 0);
    hd_session *a = session_of(e), *b = session_of(e), *foreign = session_of(other);
    hd_session *twice[] = {a, b, a}, *mixed[] = {a, foreign}, *fine[] = {a, b, a, a, a}; /* two, but once */
    int32_t bad[] = {1, TINY_VOCAB};
    hd_error err = {0};
    feed(a, ids, 40);
    feed(b, ids, 3);
    must_fail(step_each(e, twice, ids, 3, &err), HD_E_ARGUMENT, &err, "each of them once");
    must_fail(step_each(e, mixed, ids, 2, &err), HD_E_ARGUMENT, &err, "session 1 of the step belongs to another");
    must_fail(step_each(e, fine, bad, 2, &err), HD_E_ARGUMENT, &err, "token id 48");
    must_fail(step_each(e, fine, ids, 0, &err), HD_E_ARGUMENT, &err, "1 to 4 sessions");
    must_fail(step_each(e, fine, ids, 5, &err), HD_E_ARGUMENT, &err, "1 to 4 sessions");
    assert_session_is(e, a, ids, 40);
    assert_session_is(e, b, ids, 3);
    must(step_each(e, fine, (const int32_t[]){ids[40], ids[3]}, 2, &err), &err); /* nothing stuck */
    assert_session_is(e, a, ids, 41);
    assert_session_is(e, b, ids, 4);
    hd_session_close(&a);
    hd_session_close(&b);
    hd_session_close(&foreign);
    hd_engine_close(&e);
    hd_engine_close(&other);
}

/* ---- fork, truncate ---- */

static void a_fork_goes_its_own_way(void **state)
{
    (void)state;
    int32_t other[60];
    const tiny_model *models[] = {&llama, &deepseek};
    for (size_t i = 0; i < HD_ARRAY_LEN(models); i++) {
        hd_engine *e = open_with(models[i], 1, 0, 0);
        hd_session *a = session_of(e);
        feed(a, ids, 45); /* in the middle of the second page */
        hd_session *b = fork_of(a);
        assert_session_is(e, b, ids, 45);
        memcpy(other, ids, sizeof other);
        for (int j = 45; j < 60; j++)
            other[j] = (ids[j] + 1) % TINY_VOCAB;
        feed(b, other + 45, 15);
        feed(a, ids + 45, 15);
        assert_session_is(e, b, other, 60);
        assert_session_is(e, a, ids, 60);
        hd_session_close(&a); /* the pages that b shared with it must live on */
        feed(b, ids, 1);
        hd_session *c = session_of(e); /* takes the pages that a gave back */
        feed(c, ids + 200, 100);
        other[59] = 0;
        must(hd_session_truncate(b, 59, NULL), &(hd_error){0});
        feed(b, other + 59, 1);
        assert_session_is(e, b, other, 60);
        hd_session_close(&b);
        hd_session_close(&c);
        hd_engine_close(&e);
    }
}

static void truncate_forgets(void **state)
{
    (void)state;
    static const int64_t cuts[] = {0, 1, 31, 32, 33, 63, 99};
    const tiny_model *models[] = {&llama, &deepseek};
    hd_error err = {0};
    for (size_t i = 0; i < HD_ARRAY_LEN(models) * HD_ARRAY_LEN(cuts); i++) {
        int64_t cut = cuts[i / 2];
        hd_engine *e = open_with(models[i % 2], 1, 0, 0);
        hd_session *s = session_of(e), *fork;
        feed(s, ids, 100);
        fork = fork_of(s);
        must(hd_session_truncate(s, cut, &err), &err);
        assert_int_equal(hd_session_length(s), cut);
        assert_null(hd_session_logits(s));
        feed(s, ids + 300, 40);
        hd_session *never = session_of(e);
        if (cut) feed(never, ids, cut);
        feed(never, ids + 300, 40); /* the same spans as s had */
        assert_same_logits(hd_session_logits(s), hd_session_logits(never), TINY_VOCAB);
        assert_session_is(e, fork, ids, 100);
        hd_session_close(&s);
        hd_session_close(&never);
        hd_session_close(&fork);
        hd_engine_close(&e);
    }
}

static void truncate_checks_the_length(void **state)
{
    (void)state;
    hd_engine *e = open_with(&llama, 1, 0, 0);
    hd_session *s = session_of(e);
    hd_error err = {0};
    must(hd_session_truncate(s, 0, &err), &err);
    feed(s, ids, 10);
    must_fail(hd_session_truncate(s, 11, &err), HD_E_ARGUMENT, &err, "10 tokens to 11");
    must_fail(hd_session_truncate(s, -1, &err), HD_E_ARGUMENT, &err, "10 tokens to -1");
    must(hd_session_truncate(s, 10, &err), &err);
    assert_session_is(e, s, ids, 10); /* with its logits */
    hd_session_close(&s);
    hd_engine_close(&e);
}

/* ---- limits ---- */

static void the_context_limit_names_both_lengths(void **state)
{
    (void)state;
    hd_engine *e;
    hd_engine_options o = {.cpu = fixture_cpu, .threads = 1, .context = 100, .chunk = 16};
    hd_engine_info info;
    hd_error err = {0};
    must(hd_engine_open(&e, llama.folder, &o, &err), &err);
    hd_engine_get_info(e, &info);
    assert_int_equal(info.context, 100);
    assert_int_equal(info.model_context, 1024);
    hd_session *s = session_of(e);
    must_fail(hd_session_feed(s, ids, 101, &err), HD_E_CONTEXT, &err,
              "0 tokens and 101 more pass the context limit of 100");
    assert_int_equal(hd_session_length(s), 0);
    assert_null(hd_session_logits(s));
    feed(s, ids, 90);
    must_fail(hd_session_feed(s, ids, 11, &err), HD_E_CONTEXT, &err, "90 tokens and 11 more");
    must_fail(hd_session_feed(s, ids, INT64_MAX, &err), HD_E_CONTEXT, &err, "90 tokens and 9223372036854775807 more");
    assert_session_is(e, s, ids, 90);
    feed(s, ids + 90, 10);
    must_fail(step_each(e, &s, ids, 1, &err), HD_E_CONTEXT, &err, "100 tokens and 1 more");
    assert_session_is(e, s, ids, 100);
    hd_session_close(&s);
    hd_engine_close(&e);
}

static void a_full_cache_is_told_before_the_first_chunk(void **state)
{
    (void)state;
    hd_engine *e = open_with(&llama, 1, 16, 128); /* four pages */
    hd_session *a = session_of(e), *b = session_of(e);
    hd_error err = {0};
    feed(a, ids, 70); /* three */
    must_fail(hd_session_feed(b, ids, 33, &err), HD_E_BUSY, &err, "hold its 4 pages of 32 tokens");
    assert_int_equal(hd_session_length(b), 0);
    assert_int_equal(hd_session_cache_bytes(b), 0);
    float kept[TINY_VOCAB];
    feed(b, ids, 10);
    memcpy(kept, hd_session_logits(b), sizeof kept);
    must_fail(hd_session_feed(b, ids, 23, &err), HD_E_BUSY, &err, "the cache is full");
    assert_int_equal(hd_session_length(b), 10);
    assert_same_logits(hd_session_logits(b), kept, TINY_VOCAB); /* nothing was evaluated */
    feed(b, ids, 22);
    hd_session *fork = fork_of(a); /* shares; its first token needs a page of its own */
    must_fail(hd_session_feed(fork, ids + 70, 1, &err), HD_E_BUSY, &err, "the cache is full");
    must_fail(hd_session_feed(b, ids, 1, &err), HD_E_BUSY, &err, "the cache is full");
    hd_session *both[] = {a, b};
    must_fail(step_each(e, both, ids, 2, &err), HD_E_BUSY, &err, "the cache is full");
    hd_session_close(&fork);
    hd_session_close(&b);
    assert_int_equal(hd_session_length(a), 70);
    feed(a, ids + 70, 58);
    hd_session_close(&a);
    a = session_of(e);
    feed(a, ids, 128);
    hd_session_close(&a);
    hd_engine_close(&e);
}

static void ids_must_lie_in_the_vocabulary(void **state)
{
    (void)state;
    static float logits[20 * TINY_VOCAB];
    hd_engine *e = open_with(&llama, 1, 8, 0);
    hd_session *s = session_of(e);
    hd_error err = {0};
    int32_t bad[20];
    memcpy(bad, ids, sizeof bad);
    feed(s, ids, 5);
    bad[17] = TINY_VOCAB;
    must_fail(hd_session_feed(s, bad, 20, &err), HD_E_ARGUMENT, &err, "token id 48 (number 17) is outside");
    bad[17] = -1;
    must_fail(hd_session_feed_all(s, bad, 20, logits, &err), HD_E_ARGUMENT, &err, "token id -1 (number 17)");
    must_fail(hd_session_feed(s, bad, 0, &err), HD_E_ARGUMENT, &err, "no tokens were given");
    must_fail(hd_session_feed(s, bad, -3, &err), HD_E_ARGUMENT, &err, "no tokens were given");
    assert_session_is(e, s, ids, 5);
    hd_session_close(&s);
    hd_engine_close(&e);
}

static void options_are_checked(void **state)
{
    (void)state;
    static const struct {
        hd_engine_options o;
        hd_status status;
        const char *words;
    } bad[] = {
        {{.cpu = "mmx"}, HD_E_ARGUMENT, "--cpu mmx: there are auto"},
        {{.threads = -1}, HD_E_ARGUMENT, "must not be negative"},
        {{.threads = 100000}, HD_E_ARGUMENT, "threads: 100000"},
        {{.context = -1}, HD_E_ARGUMENT, "must not be negative"},
        {{.context = 1025}, HD_E_ARGUMENT, "1025 tokens were asked for, the model's limit is 1024"},
        {{.chunk = -5}, HD_E_ARGUMENT, "must not be negative"},
        {{.cache_tokens = -1}, HD_E_ARGUMENT, "must not be negative"},
    };
    hd_engine *e;
    hd_error err;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_status status = hd_engine_open(&e, llama.folder, &bad[i].o, &err);
        must_fail(status, bad[i].status, &err, bad[i].words);
        assert_null(e);
    }
    hd_status status = hd_engine_open(&e, "/nowhere/at/all", NULL, &err);
    must_fail(status, HD_E_NOT_FOUND, &err, "/nowhere/at/all");
    must(hd_engine_open(&e, llama.folder, NULL, &err), &err);
    hd_engine_close(&e);
    hd_engine_close(&e);
}

static void info_and_cache_bytes_follow_the_formula(void **state)
{
    (void)state;
    hd_engine_info info;
    hd_engine *e = open_with(&llama, 2, 0, 0);
    hd_engine_get_info(e, &info);
    assert_string_equal(info.architecture, "llama");
    assert_string_equal(info.cpu, fixture_cpu);
    unsigned element = strcmp(fixture_cpu, "reference") == 0 ? 4 : 2; /* float32, float16 */
    assert_int_equal(info.threads, 2);
    assert_int_equal(info.vocab, TINY_VOCAB);
    assert_int_equal(info.layers, 2);
    assert_int_equal(info.eos_count, 1);
    assert_int_equal(info.eos[0], 2);
    assert_int_equal(info.parameters, 2 * 48 * 32 + 32 + 2 * (2 * 32 + 32 * (32 + 16 + 16 + 32) + 3 * 32 * 40));
    assert_int_equal(info.weight_bytes, info.parameters * 4);
    assert_string_equal(info.weight_type, "F32");
    assert_int_equal(info.cache_bytes_per_token, 2 * 2 * (2 * 8) * element); /* layers, k and v, heads x width */
    hd_session *s = session_of(e);
    feed(s, ids, 33);
    assert_int_equal(hd_session_cache_bytes(s), 64 * info.cache_bytes_per_token);
    hd_session_close(&s);
    hd_engine_close(&e);
    e = open_with(&deepseek, 1, 0, 0);
    hd_engine_get_info(e, &info);
    assert_string_equal(info.architecture, "deepseek2");
    assert_int_equal(info.cache_bytes_per_token, 3 * (12 + 4) * element); /* layers, latent and rotated key */
    hd_engine_close(&e);
}

/* ---- cancelling ---- */

typedef struct canceller {
    hd_engine *engine;
    int64_t delay_us;
} canceller;

static void *cancel_later(void *arg)
{
    const canceller *c = arg;
    struct timespec t = {.tv_nsec = (long)c->delay_us * 1000};
    nanosleep(&t, NULL);
    hd_engine_cancel(c->engine);
    return NULL;
}

/* From another thread, at growing delays until one falls into the evaluation: the chunks before it stay. */
static void cancel_keeps_finished_chunks(void **state)
{
    (void)state;
    enum { N = 600, CHUNK = 3 };
    hd_engine *e = open_with(&llama, 1, CHUNK, 0);
    hd_session *s = session_of(e);
    hd_error err = {0};
    bool caught = false;
    for (int64_t delay = 10; !caught && delay < 900000; delay += delay / 4 + 10) {
        canceller c = {.engine = e, .delay_us = delay};
        pthread_t thread;
        must(hd_session_truncate(s, 0, &err), &err);
        assert_int_equal(pthread_create(&thread, NULL, cancel_later, &c), 0);
        hd_status status = hd_session_feed(s, ids, N, &err);
        assert_int_equal(pthread_join(thread, NULL), 0);
        int64_t length = hd_session_length(s);
        if (status == HD_OK) hd_engine_resume(e); /* the thread came too late */
        if (status == HD_OK || length == 0) continue;
        must_fail(status, HD_E_CANCELLED, &err, "cancelled");
        assert_true(length < N && length % CHUNK == 0);
        caught = true;
        float kept[TINY_VOCAB];
        memcpy(kept, hd_session_logits(s), sizeof kept);
        float want[TINY_VOCAB];
        fresh_logits(e, ids, length, want);
        assert_same_logits(kept, want, TINY_VOCAB);
        feed(s, ids + length, N - length); /* the next call works */
        assert_session_is(e, s, ids, N);
    }
    assert_true(caught);
    hd_session_close(&s);
    hd_engine_close(&e);
}

/* A request that comes between two calls is met by the next one, once; hd_engine_resume takes it back. */
static void cancel_is_met_once(void **state)
{
    (void)state;
    hd_engine *e = open_with(&llama, 1, 4, 0);
    hd_session *s = session_of(e);
    hd_error err = {0};
    feed(s, ids, 10);
    hd_engine_cancel(e);
    must_fail(hd_session_feed(s, ids, 2000, &err), HD_E_CONTEXT, &err, "2000 more"); /* refused, not met */
    must_fail(hd_session_feed(s, ids + 10, 10, &err), HD_E_CANCELLED, &err, "cancelled");
    assert_session_is(e, s, ids, 10);
    feed(s, ids + 10, 10);
    hd_engine_cancel(e);
    hd_engine_cancel(e);
    must_fail(step_each(e, &s, ids + 20, 1, &err), HD_E_CANCELLED, &err, "cancelled");
    must(step_each(e, &s, ids + 20, 1, &err), &err);
    hd_engine_cancel(e);
    hd_engine_resume(e);
    feed(s, ids + 21, 5);
    assert_session_is(e, s, ids, 26);
    hd_session_close(&s);
    hd_engine_close(&e);
}

/* ---- sampling through the API ---- */

static void sampling_defaults_come_from_the_model(void **state)
{
    (void)state;
    tiny_model m;
    char path[TINY_PATH + 64];
    hd_sampling d;
    tiny_llama(&m, 4);
    tiny_write(&m);
    hd_engine *e = open_with(&m, 1, 0, 0);
    hd_sampling_defaults(e, &d);
    assert_true(d.temperature == 0.6f && d.top_k == 0 && d.top_p == 0.95f && d.min_p == 0.0f); /* R1's advice */
    assert_true(d.repetition_penalty == 1.0f && d.presence_penalty == 0.0f && d.frequency_penalty == 0.0f);
    hd_engine_close(&e);
    tiny_path(&m, "generation_config.json", path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"eos_token_id\":[4,5,6],\"temperature\":0.7,\"top_p\":0.8,\"top_k\":20,\"min_p\":0.05,"
          "\"repetition_penalty\":1.1}",
          f);
    fclose(f);
    e = open_with(&m, 1, 0, 0);
    hd_sampling_defaults(e, &d);
    assert_true(d.temperature == 0.7f && d.top_k == 20 && d.top_p == 0.8f && d.min_p == 0.05f);
    assert_true(d.repetition_penalty == 1.1f);
    hd_engine_info info;
    hd_engine_get_info(e, &info);
    assert_int_equal(info.eos_count, 3);
    assert_int_equal(info.eos[2], 6);
    hd_engine_close(&e);
    tiny_free(&m);
}

static void a_sampler_needs_logits_of_its_vocabulary(void **state)
{
    (void)state;
    tiny_model small;
    tiny_llama(&small, 5);
    tiny_set(&small, "vocab_size", json_integer(20));
    tiny_remove(&small, "model.embed_tokens.weight");
    tiny_remove(&small, "lm_head.weight");
    tiny_add(&small, "model.embed_tokens.weight", 20, TINY_HIDDEN);
    tiny_add(&small, "lm_head.weight", 20, TINY_HIDDEN);
    tiny_write(&small);
    hd_engine *e = open_with(&llama, 1, 0, 0), *other = open_with(&small, 1, 0, 0);
    hd_session *s = session_of(e), *t = session_of(other);
    hd_sampler *sampler;
    hd_sampling greedy = {.top_p = 1.0f, .repetition_penalty = 1.0f};
    hd_logprob chosen, top[3];
    hd_error err = {0};
    greedy.top_k = -1;
    hd_status status = hd_sampler_open(&sampler, e, &greedy, &err);
    must_fail(status, HD_E_ARGUMENT, &err, "top_k");
    assert_null(sampler);
    greedy.top_k = 0;
    must(hd_sampler_open(&sampler, e, &greedy, &err), &err);
    status = hd_sampler_next(sampler, s, &chosen, NULL, 0, &err);
    must_fail(status, HD_E_ARGUMENT, &err, "no token was fed");
    feed(s, ids, 10);
    must(hd_sampler_next(sampler, s, &chosen, top, 3, &err), &err);
    assert_int_equal(chosen.id, top[0].id);
    assert_true(chosen.logprob == top[0].logprob && top[0].logprob >= top[1].logprob);
    feed(t, (const int32_t[]){1, 2, 3}, 3);
    status = hd_sampler_next(sampler, t, &chosen, NULL, 0, &err);
    must_fail(status, HD_E_ARGUMENT, &err, "vocabulary of 48 tokens, the session's model has 20");
    hd_sampler_close(&sampler);
    hd_sampler_close(&sampler);
    hd_session_close(&s);
    hd_session_close(&t);
    hd_engine_close(&e);
    hd_engine_close(&other);
    tiny_free(&small);
}

static bool tier_is_here(const char *cpu)
{
    tiny_model m;
    tiny_llama(&m, 6);
    tiny_write(&m);
    bool here = has_tier(&m, cpu);
    tiny_free(&m);
    return here;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_give_the_same_as_all_at_once),
        cmocka_unit_test(chunks_of_latent_attention_agree),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(a_batch_gives_the_same_as_each_alone),
        cmocka_unit_test(prompts_and_decoding_share_a_step),
        cmocka_unit_test(room_is_kept_and_prefixes_share_it),
        cmocka_unit_test(a_step_refuses_what_it_cannot_do),
        cmocka_unit_test(a_fork_goes_its_own_way),
        cmocka_unit_test(truncate_forgets),
        cmocka_unit_test(truncate_checks_the_length),
        cmocka_unit_test(the_context_limit_names_both_lengths),
        cmocka_unit_test(a_full_cache_is_told_before_the_first_chunk),
        cmocka_unit_test(ids_must_lie_in_the_vocabulary),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(info_and_cache_bytes_follow_the_formula),
        cmocka_unit_test(cancel_keeps_finished_chunks),
        cmocka_unit_test(cancel_is_met_once),
        cmocka_unit_test(sampling_defaults_come_from_the_model),
        cmocka_unit_test(a_sampler_needs_logits_of_its_vocabulary),
    };
    int failed = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(fixture_tiers); i++) {
        fixture_cpu = fixture_tiers[i];
        if (!tier_is_here(fixture_cpu)) continue;
        printf("tier %s\n", fixture_cpu);
        failed += cmocka_run_group_tests_name(fixture_cpu, tests, make_models, drop_models);
    }
    return failed;
}
