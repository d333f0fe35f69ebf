/* Engines that compute less: with the dials open nothing changes, a sequence gets the same alone and in a batch, tiers
 * agree, and what one setting has cached no other takes. */
#include <math.h>

#include "base/base.h"
#include "unit/engine_fixture.h"

enum { TOKENS = 60, ALL = TOKENS * TINY_VOCAB };

static tiny_model llama, deepseek;
static int32_t ids[TOKENS];

static int make_models(void **state)
{
    (void)state;
    tiny_llama(&llama, 11);
    tiny_write(&llama);
    tiny_deepseek(&deepseek, 12);
    tiny_write(&deepseek);
    tiny_ids(ids, TOKENS, TINY_VOCAB, 13);
    return 0;
}

static int drop_models(void **state)
{
    (void)state;
    tiny_free(&llama);
    tiny_free(&deepseek);
    return 0;
}

static hd_engine *engine_of(const tiny_model *m, const char *cpu, hd_engine_options o)
{
    hd_engine *e;
    hd_error err = {0};
    o.cpu = cpu;
    o.threads = 2;
    must(hd_engine_open(&e, m->folder, &o, &err), &err);
    return e;
}

/* Logits of all TOKENS, [TOKENS][TINY_VOCAB]. */
static void all_logits(const tiny_model *m, const char *cpu, hd_engine_options o, float *out)
{
    hd_error err = {0};
    hd_engine *e = engine_of(m, cpu, o);
    hd_session *s = session_of(e);
    must(hd_session_feed_all(s, ids, TOKENS, out, &err), &err);
    hd_session_close(&s);
    hd_engine_close(&e);
}

static void open_dials_change_nothing(void **state)
{
    (void)state;
    static float off[ALL], open[ALL];
    static const hd_engine_options whole[] = {
        {.ffn_keep = 1}, {.ffn_keep = 0.9999}, {.ffn_keep = 0.9999, .ffn_by_product = true}};
    for (size_t t = 0; t < HD_ARRAY_LEN(fixture_tiers); t++) {
        if (!has_tier(&llama, fixture_tiers[t])) continue;
        const tiny_model *models[] = {&llama, &deepseek};
        for (size_t m = 0; m < HD_ARRAY_LEN(models); m++) {
            all_logits(models[m], fixture_tiers[t], (hd_engine_options){0}, off);
            for (size_t i = 0; i < HD_ARRAY_LEN(whole); i++) {
                all_logits(models[m], fixture_tiers[t], whole[i], open);
                assert_same_logits(open, off, ALL);
            }
        }
        all_logits(&deepseek, fixture_tiers[t], (hd_engine_options){.experts = 2}, open);
        assert_same_logits(open, off, ALL);
        all_logits(&deepseek, fixture_tiers[t], (hd_engine_options){.expert_share = 1}, open);
        assert_same_logits(open, off, ALL);
    }
}

static const hd_engine_options less[] = {{.ffn_keep = 0.5},     {.ffn_keep = 0.5, .ffn_by_product = true},
                                         {.ffn_keep = 0.1},     {.experts = 1},
                                         {.expert_share = 0.5}, {.experts = 1, .ffn_keep = 0.7}};

static const tiny_model *model_for(const hd_engine_options *o)
{
    return o->experts || o->expert_share > 0 ? &deepseek : &llama;
}

static void closed_dials_change_something(void **state)
{
    (void)state;
    static float off[ALL], closed[ALL];
    for (size_t i = 0; i < HD_ARRAY_LEN(less); i++) {
        all_logits(model_for(&less[i]), "reference", (hd_engine_options){0}, off);
        all_logits(model_for(&less[i]), "reference", less[i], closed);
        assert_false(same_bits(off, closed, ALL));
    }
}

/* In prefills of any length, alone and beside others: the bits are the same. */
static void a_batch_gives_the_same_as_each_alone(void **state)
{
    (void)state;
    enum { COUNT = 4, STEPS = 10 };
    for (size_t t = 0; t < HD_ARRAY_LEN(fixture_tiers); t++)
        for (size_t i = 0; i < HD_ARRAY_LEN(less) && has_tier(&llama, fixture_tiers[t]); i++) {
            hd_engine *e = engine_of(model_for(&less[i]), fixture_tiers[t], less[i]);
            hd_session *together[COUNT], *alone[COUNT];
            hd_error err = {0};
            for (int j = 0; j < COUNT; j++) {
                together[j] = session_of(e);
                alone[j] = session_of(e);
                feed(together[j], ids, 2 + 7 * j);
                for (int n = 0; n < 2 + 7 * j; n++)
                    feed(alone[j], ids + n, 1);
                assert_same_logits(hd_session_logits(together[j]), hd_session_logits(alone[j]), TINY_VOCAB);
            }
            for (int step = 0; step < STEPS; step++) {
                must(step_each(e, together, ids + 3 * step, COUNT, &err), &err);
                for (int j = 0; j < COUNT; j++) {
                    feed(alone[j], &ids[3 * step + j], 1);
                    assert_same_logits(hd_session_logits(together[j]), hd_session_logits(alone[j]), TINY_VOCAB);
                }
            }
            for (int j = 0; j < COUNT; j++) {
                hd_session_close(&together[j]);
                hd_session_close(&alone[j]);
            }
            hd_engine_close(&e);
        }
}

/* A token whose last kept channel is as good as equal to the next one may choose otherwise: few may. */
static void tiers_agree(void **state)
{
    (void)state;
    static float want[ALL], got[ALL];
    for (size_t i = 0; i < HD_ARRAY_LEN(less); i++) {
        hd_engine_options o = less[i];
        o.cache_type = "f32";
        all_logits(model_for(&o), "reference", o, want);
        for (size_t t = 1; t < HD_ARRAY_LEN(fixture_tiers); t++) {
            if (!has_tier(&llama, fixture_tiers[t])) continue;
            int far = 0;
            all_logits(model_for(&o), fixture_tiers[t], o, got);
            for (int n = 0; n < TOKENS; n++) {
                double error = 0, size = 0;
                for (int v = n * TINY_VOCAB; v < (n + 1) * TINY_VOCAB; v++) {
                    error += pow((double)got[v] - (double)want[v], 2);
                    size += pow((double)want[v], 2);
                }
                far += sqrt(error) > 0.01 * sqrt(size);
            }
            if (far > TOKENS / 20) fail_msg("%s, setting %zu: %d tokens are far off", fixture_tiers[t], i, far);
        }
    }
}

static void caches_of_other_dials_are_refused(void **state)
{
    (void)state;
    static const hd_engine_options settings[] = {
        {0}, {.experts = 1}, {.ffn_keep = 0.5}, {.ffn_keep = 0.5, .ffn_by_product = true}, {.ffn_keep = 0.6}};
    uint8_t *data[HD_ARRAY_LEN(settings)];
    size_t size[HD_ARRAY_LEN(settings)];
    hd_error err = {0};
    for (size_t i = 0; i < HD_ARRAY_LEN(settings); i++) {
        hd_engine *e = engine_of(&deepseek, "reference", settings[i]);
        hd_session *s = session_of(e);
        feed(s, ids, TOKENS);
        must(hd_session_snapshot(s, &data[i], &size[i], &err), &err);
        for (size_t j = 0; j < i; j++)
            must_fail(hd_session_restore(s, data[j], size[j], &err), HD_E_FORMAT, &err, "");
        must(hd_session_restore(s, data[i], size[i], &err), &err);
        hd_session_close(&s);
        hd_engine_close(&e);
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(settings); i++)
        hd_free(data[i]);
}

/* The tiny llama by hand: a layer has 32 * (32 + 16 + 16 + 32) + 3 * 32 * 40 multiplications, the output 32 * 48. */
static void arithmetic_is_counted(void **state)
{
    (void)state;
    static const struct {
        hd_engine_options o;
        double layers;
    } cases[] = {{{0}, 6912},
                 {{.ffn_keep = 0.5}, 6912 - 2 * 32 * 20},
                 {{.ffn_keep = 0.5, .ffn_by_product = true}, 6912 - 32 * 20},
                 {{.ffn_keep = 1}, 6912}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_arithmetic_left left;
        hd_engine *e = engine_of(&llama, "reference", cases[i].o);
        hd_engine_get_arithmetic(e, &left);
        assert_true(fabs(left.layers - cases[i].layers / 6912) < 1e-12);
        assert_true(fabs(left.all - (2 * cases[i].layers + 1536) / (2 * 6912 + 1536)) < 1e-12);
        hd_engine_close(&e);
    }
    /* tiny_deepseek: one of two routed experts less in two of its layers */
    hd_arithmetic_left left;
    hd_engine *e = engine_of(&deepseek, "reference", (hd_engine_options){.experts = 1});
    hd_engine_get_arithmetic(e, &left);
    double attention = 16 * (32 + 24) + 32 * 16 + 2 * 12 * (8 + 6) + 2 * 6 * 32, expert = 3 * 32 * 16;
    double whole = 3 * attention + 3 * 32 * 40 + 2 * (32 * 8 + 3 * expert);
    assert_true(fabs(left.layers - (whole - 2 * expert) / whole) < 1e-12);
    hd_engine_close(&e);
    /* the better one of two experts has half of their weights at least: a share of 1 % leaves one each time */
    static float logits[ALL];
    hd_error err = {0};
    e = engine_of(&deepseek, "reference", (hd_engine_options){.expert_share = 0.01});
    hd_session *s = session_of(e);
    must(hd_session_feed_all(s, ids, TOKENS, logits, &err), &err);
    hd_engine_get_arithmetic(e, &left);
    assert_true(fabs(left.layers - (whole - 2 * expert) / whole) < 1e-12);
    hd_session_close(&s);
    hd_engine_close(&e);
}

static void too_many_experts_are_refused(void **state)
{
    (void)state;
    hd_engine *e;
    hd_error err = {0};
    const hd_engine_options three = {.experts = 3}, keep = {.ffn_keep = -0.5};
    must_fail(hd_engine_open(&e, deepseek.folder, &three, &err), HD_E_ARGUMENT, &err, "sends a token to 2 of 8");
    must_fail(hd_engine_open(&e, llama.folder, &three, &err), HD_E_ARGUMENT, &err, "no experts");
    must_fail(hd_engine_open(&e, llama.folder, &keep, &err), HD_E_ARGUMENT, &err, "ffn_keep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_dials_change_nothing),
        cmocka_unit_test(closed_dials_change_something),
        cmocka_unit_test(a_batch_gives_the_same_as_each_alone),
        cmocka_unit_test(tiers_agree),
        cmocka_unit_test(caches_of_other_dials_are_refused),
        cmocka_unit_test(arithmetic_is_counted),
        cmocka_unit_test(too_many_experts_are_refused),
    };
    return cmocka_run_group_tests(tests, make_models, drop_models);
}
