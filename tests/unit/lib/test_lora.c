/* Adapters in the forward pass: what comes out is what a merged model gives, the same alone and in any batch. */
#include "base/base.h"
#include "unit/engine_fixture.h"
#include "unit/tiny_adapter.h"

enum { PROMPT = 40 };

static hd_engine *open_adapted(const tiny_model *m, const char *cpu, int threads)
{
    hd_engine *e;
    hd_error err = {0};
    const hd_engine_options o = {.cpu = cpu, .threads = threads, .lora_rank = 8};
    must(hd_engine_open(&e, m->folder, &o, &err), &err);
    return e;
}

static hd_lora *lora_of(hd_engine *e, const tiny_model *a, double scale)
{
    hd_lora *l;
    hd_error err = {0};
    must(hd_lora_open(&l, e, a->folder, scale, &err), &err);
    return l;
}

static hd_session *session_with(hd_engine *e, hd_lora *l)
{
    hd_error err = {0};
    hd_session *s = session_of(e);
    must(hd_session_set_lora(s, l, &err), &err);
    return s;
}

/* The logits of the prompt's last token in a session of its own. */
static void logits_with(hd_engine *e, hd_lora *l, const int32_t *ids, int64_t n, float *out)
{
    hd_session *s = session_with(e, l);
    feed(s, ids, n);
    memcpy(out, hd_session_logits(s), TINY_VOCAB * sizeof *out);
    hd_session_close(&s);
}

static void make(tiny_model *m, bool deepseek, uint64_t seed)
{
    if (deepseek)
        tiny_deepseek(m, seed);
    else
        tiny_llama(m, seed);
}

static void make_adapter(tiny_model *a, bool deepseek, uint64_t seed, int64_t rank)
{
    tiny_adapter(a, seed);
    json_object_set_new(a->config, "r", json_integer(rank));
    if (deepseek)
        tiny_adapt_deepseek(a, rank);
    else
        tiny_adapt_llama(a, rank);
    tiny_adapter_write(a);
}

/* Adds scale * 8 / rank * B A to the model's own tensors. */
static void merge(tiny_model *m, tiny_model *a, double scale, int64_t rank)
{
    for (size_t i = 0; i < a->count; i += 2) {
        const hd_tensor *ta = &a->tensors[i], *tb = &a->tensors[i + 1];
        char name[TINY_NAME];
        const char *module = ta->name + strlen("base_model.model.");
        snprintf(name, sizeof name, "%.*s.weight", (int)(strlen(module) - strlen(".lora_A.weight")), module);
        float *w = (float *)(uintptr_t)tiny_find(m, name)->data;
        const float *va = ta->data, *vb = tb->data;
        for (int64_t r = 0; r < tb->shape[0]; r++)
            for (int64_t c = 0; c < ta->shape[1]; c++) {
                double sum = 0;
                for (int64_t j = 0; j < rank; j++)
                    sum += (double)vb[r * rank + j] * (double)va[j * ta->shape[1] + c];
                w[r * ta->shape[1] + c] += (float)(scale * 8.0 / (double)rank * sum);
            }
    }
}

static void an_adapter_is_as_good_as_merged(void **state)
{
    (void)state;
    int32_t ids[PROMPT];
    float adapted[TINY_VOCAB], merged[TINY_VOCAB], plain[TINY_VOCAB];
    tiny_ids(ids, PROMPT, TINY_VOCAB, 3);
    for (int kind = 0; kind < 2; kind++) {
        tiny_model m, a, both;
        make(&m, kind, 51);
        tiny_write(&m);
        make_adapter(&a, kind, 52, 5);
        make(&both, kind, 51);
        merge(&both, &a, 0.3, 5);
        tiny_write(&both);
        hd_engine *e = open_adapted(&m, "reference", 1), *f = open_adapted(&both, "reference", 1);
        hd_lora *l = lora_of(e, &a, 0.3);
        logits_with(e, l, ids, PROMPT, adapted);
        logits_with(e, NULL, ids, PROMPT, plain);
        fresh_logits(f, ids, PROMPT, merged);
        float far = 0;
        for (int i = 0; i < TINY_VOCAB; i++) {
            assert_float_equal(adapted[i], merged[i], 2e-4);
            far = fmaxf(far, fabsf(adapted[i] - plain[i]));
        }
        assert_true(far > 0.1f);
        hd_lora_close(&l);
        hd_engine_close(&e);
        hd_engine_close(&f);
        tiny_free(&m);
        tiny_free(&a);
        tiny_free(&both);
    }
}

/* Prompts and decoding of three adapters (one of them none) in one batch, in an order that makes runs of each. */
static void check_batch(hd_engine *e, hd_lora *const *loras)
{
    enum { SESSIONS = 6 };
    static const int which[SESSIONS] = {0, 0, 1, 2, 2, 0};
    static const int lengths[SESSIONS] = {5, 1, 33, 2, 7, 3};
    int32_t ids[SESSIONS][PROMPT];
    hd_session *s[SESSIONS];
    hd_feed feeds[SESSIONS];
    float alone[TINY_VOCAB];
    hd_error err = {0};
    for (int i = 0; i < SESSIONS; i++) {
        tiny_ids(ids[i], PROMPT, TINY_VOCAB, 60 + (uint64_t)i);
        s[i] = session_with(e, loras[which[i]]);
        feeds[i] = (hd_feed){.session = s[i], .ids = ids[i], .n = lengths[i]};
    }
    must(hd_engine_step(e, feeds, SESSIONS, NULL, &err), &err);
    for (int i = 0; i < SESSIONS; i++)
        feeds[i] = (hd_feed){.session = s[i], .ids = ids[i] + lengths[i], .n = 1};
    must(hd_engine_step(e, feeds, SESSIONS, NULL, &err), &err);
    for (int i = 0; i < SESSIONS; i++) {
        logits_with(e, loras[which[i]], ids[i], lengths[i] + 1, alone);
        assert_same_logits(hd_session_logits(s[i]), alone, TINY_VOCAB);
        hd_session_close(&s[i]);
    }
}

static void a_batch_changes_nothing(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        tiny_model m, a, b;
        make(&m, kind, 53);
        tiny_write(&m);
        make_adapter(&a, kind, 54, 4);
        make_adapter(&b, kind, 55, 8);
        for (size_t t = 0; t < HD_ARRAY_LEN(fixture_tiers); t++) {
            if (!has_tier(&m, fixture_tiers[t])) continue;
            hd_engine *e = open_adapted(&m, fixture_tiers[t], 2);
            hd_lora *loras[3] = {NULL, lora_of(e, &a, 1), lora_of(e, &b, -0.5)};
            check_batch(e, loras);
            hd_lora_close(&loras[1]);
            hd_lora_close(&loras[2]);
            hd_engine_close(&e);
        }
        tiny_free(&m);
        tiny_free(&a);
        tiny_free(&b);
    }
}

static void refused(hd_engine *e, tiny_model *a, hd_status want, const char *words)
{
    hd_lora *l;
    hd_error err = {0};
    tiny_adapter_write(a);
    must_fail(hd_lora_open(&l, e, a->folder, 1, &err), want, &err, words);
    assert_null(l);
    tiny_free(a);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    tiny_model m, deep, a;
    tiny_llama(&m, 56);
    tiny_write(&m);
    tiny_deepseek(&deep, 57);
    tiny_write(&deep);
    hd_engine *none = open_with(&m, 1, 0, 0), *e = open_adapted(&m, "reference", 1),
              *d = open_adapted(&deep, "reference", 1);
    tiny_adapter(&a, 58);
    tiny_adapt(&a, 0, "self_attn.q_proj", 32, 32, 4);
    refused(none, &a, HD_E_ARGUMENT, "without room for adapters");
    tiny_adapter(&a, 58);
    tiny_set(&a, "r", json_integer(9));
    tiny_adapt(&a, 0, "self_attn.q_proj", 32, 32, 9);
    refused(e, &a, HD_E_LIMIT, "has a rank of 9, the largest allowed is 8");
    tiny_adapter(&a, 58);
    tiny_adapt(&a, 0, "self_attn.q_proj", 32, 40, 4);
    refused(e, &a, HD_E_ARGUMENT, "is it its base?");
    tiny_adapter(&a, 58);
    tiny_adapt(&a, 2, "self_attn.kv_b_proj", 28, 12, 4);
    refused(d, &a, HD_E_UNSUPPORTED, "kv_b of layer 2");
    tiny_adapter(&a, 58);
    tiny_adapt(&a, 1, "mlp.up_proj", 40, 32, 4);
    refused(d, &a, HD_E_ARGUMENT, "has no such matrix");
    hd_engine_close(&none);
    hd_engine_close(&e);
    hd_engine_close(&d);
    tiny_free(&m);
    tiny_free(&deep);
}

/* Values that are finite, and scales that take them beyond float32, or what comes of them: refused by name. */
static void a_huge_scale_is_told_as_such(void **state)
{
    (void)state;
    tiny_model m, a;
    int32_t ids[PROMPT];
    hd_lora *l;
    hd_sampler *sampler;
    hd_logprob chosen;
    hd_sampling greedy;
    hd_error err = {0};
    tiny_ids(ids, PROMPT, TINY_VOCAB, 6);
    tiny_llama(&m, 61);
    tiny_write(&m);
    make_adapter(&a, false, 62, 4);
    hd_engine *e = open_adapted(&m, "reference", 1);
    must_fail(hd_lora_open(&l, e, a.folder, 3e38, &err), HD_E_LIMIT, &err, "lora_B.weight': its values times");
    assert_non_null(strstr(err.text, "(2), times the scale it was given (3e+38)"));
    assert_null(l);
    tiny_set(&a, "lora_alpha", json_real(3e38));
    tiny_adapter_write(&a);
    must_fail(hd_lora_open(&l, e, a.folder, 100, &err), HD_E_LIMIT, &err, "alpha / rank (7.5e+37)");
    must_fail(hd_lora_open(&l, e, a.folder, 1e-3, &err), HD_E_LIMIT, &err,
              "would change weights by up to"); /* finite */
    l = lora_of(e, &a, 1e-30);                  /* just not refused: what it gives can be computed with */
    hd_session *s = session_with(e, l);
    feed(s, ids, PROMPT);
    hd_sampling_defaults(e, &greedy);
    greedy.temperature = 0;
    must(hd_sampler_open(&sampler, e, &greedy, &err), &err);
    must(hd_sampler_next(sampler, s, &chosen, NULL, 0, &err), &err);
    hd_sampler_close(&sampler);
    hd_session_close(&s);
    hd_lora_close(&l);
    hd_engine_close(&e);
    tiny_free(&a);
    tiny_free(&m);
}

/* Forks keep it, snapshots want it, an engine's default is given to new sessions, and files may go. */
static void it_stays_with_its_session(void **state)
{
    (void)state;
    tiny_model m, a;
    int32_t ids[PROMPT];
    float want[TINY_VOCAB];
    uint8_t *bytes;
    size_t size;
    hd_error err = {0};
    tiny_ids(ids, PROMPT, TINY_VOCAB, 5);
    tiny_llama(&m, 59);
    tiny_write(&m);
    make_adapter(&a, false, 60, 4);
    hd_engine *e = open_adapted(&m, "reference", 1);
    hd_lora *l = lora_of(e, &a, 1);
    tiny_free(&a);
    logits_with(e, l, ids, PROMPT, want);
    hd_engine_use_lora(e, l);
    hd_session *s = session_of(e);
    hd_engine_use_lora(e, NULL);
    feed(s, ids, 20);
    must_fail(hd_session_set_lora(s, NULL, &err), HD_E_ARGUMENT, &err, "can't change its adapter");
    must(hd_session_snapshot(s, &bytes, &size, &err), &err);
    hd_session *plain = session_of(e), *other = session_with(e, l), *copy = fork_of(s);
    must_fail(hd_session_restore(plain, bytes, size, &err), HD_E_FORMAT, &err, "adapter");
    must(hd_session_restore(other, bytes, size, &err), &err);
    hd_lora_close(&l); /* the sessions have their own references */
    hd_session *list[] = {s, other, copy};
    for (size_t i = 0; i < HD_ARRAY_LEN(list); i++) {
        feed(list[i], ids + 20, PROMPT - 20);
        assert_same_logits(hd_session_logits(list[i]), want, TINY_VOCAB);
        hd_session_close(&list[i]);
    }
    hd_session_close(&plain);
    hd_bytes_free(bytes);
    hd_engine_close(&e);
    tiny_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_adapter_is_as_good_as_merged), cmocka_unit_test(a_batch_changes_nothing),
        cmocka_unit_test(what_does_not_fit_is_refused),    cmocka_unit_test(a_huge_scale_is_told_as_such),
        cmocka_unit_test(it_stays_with_its_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
