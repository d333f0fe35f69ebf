/* Caches of each type of numbers: what they take, how far they move the logits, and which model refuses which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine_fixture.h"

enum { COUNT = 70 };

static tiny_model narrow, wide, latent; /* heads of 8; of 32; latents of 32 and a rotated key of 32 */
static int32_t ids[COUNT];

/* Two heads of 32, each with keys and values of its own. */
static void tiny_wide(tiny_model *m, uint64_t seed)
{
    tiny_open(m, seed,
              "{\"model_type\":\"llama\"," TINY_COMMON "\"num_hidden_layers\":1,\"num_attention_heads\":2,"
              "\"num_key_value_heads\":2,\"head_dim\":32}");
    tiny_add_in(m, 0, "input_layernorm.weight", 0, TINY_HIDDEN);
    tiny_add_in(m, 0, "post_attention_layernorm.weight", 0, TINY_HIDDEN);
    tiny_add_in(m, 0, "self_attn.q_proj.weight", 64, TINY_HIDDEN);
    tiny_add_in(m, 0, "self_attn.k_proj.weight", 64, TINY_HIDDEN);
    tiny_add_in(m, 0, "self_attn.v_proj.weight", 64, TINY_HIDDEN);
    tiny_add_in(m, 0, "self_attn.o_proj.weight", TINY_HIDDEN, 64);
    tiny_add_mlp(m, 0, "mlp", 40);
}

/* V2, one dense layer: 2 heads of 8 + 32, values of 6. */
static void tiny_latent(tiny_model *m, uint64_t seed)
{
    tiny_open(m, seed,
              "{\"model_type\":\"deepseek_v2\"," TINY_COMMON "\"num_hidden_layers\":1,\"num_attention_heads\":2,"
              "\"q_lora_rank\":null,\"kv_lora_rank\":32,\"qk_nope_head_dim\":8,\"qk_rope_head_dim\":32,"
              "\"v_head_dim\":6}");
    tiny_add_in(m, 0, "input_layernorm.weight", 0, TINY_HIDDEN);
    tiny_add_in(m, 0, "post_attention_layernorm.weight", 0, TINY_HIDDEN);
    tiny_add_in(m, 0, "self_attn.q_proj.weight", 80, TINY_HIDDEN);
    tiny_add_in(m, 0, "self_attn.kv_a_proj_with_mqa.weight", 64, TINY_HIDDEN);
    tiny_add_in(m, 0, "self_attn.kv_a_layernorm.weight", 0, 32);
    tiny_add_in(m, 0, "self_attn.kv_b_proj.weight", 28, 32);
    tiny_add_in(m, 0, "self_attn.o_proj.weight", TINY_HIDDEN, 12);
    tiny_add_mlp(m, 0, "mlp", 40);
}

static hd_engine *open_typed(const tiny_model *m, const char *cpu, const char *type)
{
    hd_engine *e;
    hd_error err = {0};
    const hd_engine_options o = {.cpu = cpu, .threads = 2, .cache_type = type};
    must(hd_engine_open(&e, m->folder, &o, &err), &err);
    return e;
}

/* The logits behind the ids, fed at once or one by one. */
static void logits_of(hd_engine *e, bool at_once, float *out)
{
    hd_session *s = session_of(e);
    for (int64_t at = 0, n = at_once ? COUNT : 1; at < COUNT; at += n)
        feed(s, ids + at, n);
    memcpy(out, hd_session_logits(s), TINY_VOCAB * sizeof *out);
    hd_session_close(&s);
}

static double largest_difference(const float *a, const float *b)
{
    double most = 0;
    for (int i = 0; i < TINY_VOCAB; i++)
        most = HD_MAX(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static const struct {
    const char *name;
    double bits;  /* a value, its share of the scale included */
    double error; /* at most, of a logit (their deviation is about 1.3) for numbers of so many bits */
} types[] = {{"f32", 32, 0}, {"f16", 16, 1e-2}, {"bf16", 16, 8e-2}, {"q8_0", 8.5, 0.3}};

/* The reference tier moves as far as the type's roundings explain; another tier with the same type hardly moves from
 * there, at once or token by token. */
static void check_types(const tiny_model *m, const char *cpu, double values)
{
    float exact[TINY_VOCAB], want[TINY_VOCAB], got[TINY_VOCAB];
    for (size_t i = 0; i < HD_ARRAY_LEN(types); i++) {
        hd_engine_info info;
        hd_engine *reference = open_typed(m, "reference", types[i].name), *e = open_typed(m, cpu, types[i].name);
        hd_engine_get_info(e, &info);
        assert_string_equal(info.cache_type, types[i].name);
        assert_int_equal(info.cache_bytes_per_token, (int64_t)(values * types[i].bits / 8));
        logits_of(reference, true, want);
        if (i == 0)
            memcpy(exact, want, sizeof exact);
        else
            assert_true(largest_difference(exact, want) < types[i].error);
        for (int at_once = 0; at_once < 2; at_once++) {
            logits_of(e, at_once, got);
            double difference = largest_difference(want, got);
            if (!(difference < 2e-3)) fail_msg("%s, %s: a logit is off by %g", cpu, types[i].name, difference);
        }
        hd_engine_close(&e);
        hd_engine_close(&reference);
    }
}

static void each_type_on_each_tier(void **state)
{
    (void)state;
    for (size_t t = 0; t < HD_ARRAY_LEN(fixture_tiers); t++) {
        if (!has_tier(&wide, fixture_tiers[t])) continue;
        check_types(&wide, fixture_tiers[t], 128);
        check_types(&latent, fixture_tiers[t], 64);
    }
}

static void nothing_given_is_auto(void **state)
{
    (void)state;
    hd_engine_info info;
    const char *names[] = {NULL, "auto"}, *tiers[] = {"reference", "avx2", "neon"};
    for (int i = 0; i < 6; i++) {
        const char *tier = tiers[i / 2];
        if (!has_tier(&wide, tier)) continue;
        hd_engine *e = open_typed(&wide, tier, names[i % 2]);
        hd_engine_get_info(e, &info);
        assert_string_equal(info.cache_type, i < 2 ? "f32" : "f16");
        hd_engine_close(&e);
    }
}

static void must_not_load(void *arg, double fraction)
{
    (void)arg;
    fail_msg("loading went on to %g", fraction);
}

/* Before anything is loaded, and with what to do instead. */
static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    hd_engine *e;
    hd_error err = {0};
    hd_engine_options o = {.cpu = "reference", .threads = 1, .cache_type = "q8_0", .progress = must_not_load};
    must_fail(hd_engine_open(&e, narrow.folder, &o, &err), HD_E_ARGUMENT, &err, "pieces of 8; use f16");
    o.cache_type = "q4_0";
    must_fail(hd_engine_open(&e, wide.folder, &o, &err), HD_E_ARGUMENT, &err, "there are auto, f32, f16, bf16, q8_0");
}

/* A saved session belongs to the type of its cache. */
static void snapshots_keep_to_their_type(void **state)
{
    (void)state;
    uint8_t *data;
    size_t size;
    hd_error err = {0};
    hd_engine *e = open_typed(&wide, "reference", "q8_0"), *other = open_typed(&wide, "reference", "f16");
    hd_session *s = session_of(e), *back = session_of(e), *foreign = session_of(other);
    feed(s, ids, COUNT);
    must(hd_session_snapshot(s, &data, &size, &err), &err);
    must_fail(hd_session_restore(foreign, data, size, &err), HD_E_FORMAT, &err, "type of cache");
    must(hd_session_restore(back, data, size, &err), &err);
    feed(s, ids, 3);
    feed(back, ids, 3);
    assert_same_logits(hd_session_logits(back), hd_session_logits(s), TINY_VOCAB);
    hd_bytes_free(data);
    hd_session_close(&s);
    hd_session_close(&back);
    hd_session_close(&foreign);
    hd_engine_close(&e);
    hd_engine_close(&other);
}

static int open_models(void **state)
{
    (void)state;
    tiny_llama(&narrow, 1);
    tiny_wide(&wide, 2);
    tiny_latent(&latent, 3);
    tiny_write(&narrow);
    tiny_write(&wide);
    tiny_write(&latent);
    tiny_ids(ids, COUNT, TINY_VOCAB, 4);
    return 0;
}

static int close_models(void **state)
{
    (void)state;
    tiny_free(&narrow);
    tiny_free(&wide);
    tiny_free(&latent);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_on_each_tier),
        cmocka_unit_test(nothing_given_is_auto),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(snapshots_keep_to_their_type),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
