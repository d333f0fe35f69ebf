/* Recording and forcing expert choices. */
#include "base/base.h"
#include "unit/engine_fixture.h"

enum { TOKENS = 60, LAYERS = 2, USED = 2, EXPERTS = 8 };

static tiny_model deepseek;
static int32_t ids[TOKENS];
static char path[TINY_PATH + 64];

static int make_model(void **state)
{
    (void)state;
    tiny_deepseek(&deepseek, 7);
    tiny_write(&deepseek);
    tiny_ids(ids, TOKENS, TINY_VOCAB, 8);
    tiny_path(&deepseek, "experts.safetensors", path);
    return 0;
}

static int drop_model(void **state)
{
    (void)state;
    tiny_free(&deepseek);
    return 0;
}

static void write_choices(const int32_t *choices, int64_t layers, int64_t tokens, int64_t used)
{
    hd_error err = {0};
    hd_tensor t = {.name = "experts",
                   .type = HD_TYPE_I32,
                   .dims = 3,
                   .shape = {layers, tokens, used, 1},
                   .data = choices,
                   .bytes = (size_t)(layers * tokens * used) * sizeof *choices};
    must(hd_safetensors_write(path, &t, 1, &err), &err);
}

static void read_choices(int32_t *out, int64_t tokens)
{
    hd_checkpoint *file;
    hd_error err = {0};
    must(hd_checkpoint_open(&file, path, &err), &err);
    const hd_tensor *t = hd_checkpoint_find(file, "experts");
    assert_non_null(t);
    assert_true(t->dims == 3 && t->shape[0] == LAYERS && t->shape[1] == tokens && t->shape[2] == USED);
    memcpy(out, t->data, t->bytes);
    hd_checkpoint_close(&file);
}

/* Logits of every token, fed to a fresh session in spans of `span`. */
static void evaluate(hd_engine *e, int64_t span, float *logits)
{
    hd_session *s = session_of(e);
    hd_error err = {0};
    for (int64_t at = 0; at < TOKENS; at += span)
        must(hd_session_feed_all(s, ids + at, HD_MIN(span, TOKENS - at), logits + at * TINY_VOCAB, &err), &err);
    hd_session_close(&s);
}

static void forcing_the_recorded_choices_changes_nothing(void **state)
{
    (void)state;
    static float want[TOKENS * TINY_VOCAB], got[TOKENS * TINY_VOCAB];
    static int32_t choices[LAYERS * TOKENS * USED], again[LAYERS * TOKENS * USED];
    hd_error err = {0};
    hd_engine *e = open_with(&deepseek, 1, 0, 0);
    must(hd_engine_record_experts(e, TOKENS, &err), &err);
    evaluate(e, 25, want);
    must(hd_engine_save_experts(e, path, &err), &err);
    read_choices(choices, TOKENS);
    for (int i = 0; i < LAYERS * TOKENS; i++) {
        assert_true(choices[2 * i] >= 0 && choices[2 * i] < EXPERTS && choices[2 * i + 1] >= 0);
        assert_true(choices[2 * i + 1] < EXPERTS && choices[2 * i] != choices[2 * i + 1]);
    }
    must(hd_engine_force_experts(e, path, &err), &err);
    evaluate(e, 1, got); /* in the order of evaluation, however it is cut */
    assert_same_logits(got, want, TOKENS * TINY_VOCAB);
    must(hd_engine_record_experts(e, 1000, &err), &err); /* more room than tokens */
    evaluate(e, 60, got);
    must(hd_engine_save_experts(e, path, &err), &err);
    read_choices(again, TOKENS);
    assert_memory_equal(again, choices, sizeof choices);
    must(hd_engine_record_experts(e, 10, &err), &err); /* less */
    evaluate(e, 7, got);
    must(hd_engine_save_experts(e, path, &err), &err);
    read_choices(again, 10);
    for (int l = 0; l < LAYERS; l++)
        assert_memory_equal(again + l * 10 * USED, choices + l * TOKENS * USED, 10 * USED * sizeof *again);
    hd_engine_close(&e);
}

/* Another choice for one token in one layer changes that token (and later ones, which see it), none before. */
static void other_choices_change_what_they_route(void **state)
{
    (void)state;
    static float want[TOKENS * TINY_VOCAB], got[TOKENS * TINY_VOCAB];
    static int32_t choices[LAYERS * TOKENS * USED];
    enum { CHANGED = 40 };
    hd_error err = {0};
    hd_engine *e = open_with(&deepseek, 1, 0, 0);
    must(hd_engine_record_experts(e, TOKENS, &err), &err);
    evaluate(e, TOKENS, want);
    must(hd_engine_save_experts(e, path, &err), &err);
    read_choices(choices, TOKENS);
    for (int layer = 0; layer < LAYERS; layer++) {
        int32_t *own = &choices[(layer * TOKENS + CHANGED) * USED], chosen = own[0], other = 0;
        while (other == own[0] || other == own[1])
            other++;
        own[0] = other;
        write_choices(choices, LAYERS, TOKENS, USED);
        must(hd_engine_force_experts(e, path, &err), &err);
        evaluate(e, TOKENS, got);
        assert_same_logits(got, want, CHANGED * TINY_VOCAB);
        assert_false(same_bits(got + CHANGED * TINY_VOCAB, want + CHANGED * TINY_VOCAB, TINY_VOCAB));
        /* nothing behind the last layer carries the change to the tokens after it */
        bool same = same_bits(got + (CHANGED + 1) * TINY_VOCAB, want + (CHANGED + 1) * TINY_VOCAB, TINY_VOCAB);
        assert_int_equal(same, layer == LAYERS - 1);
        own[0] = chosen;
    }
    hd_engine_close(&e);
}

/* Tokens beyond those in the file are routed as usual. */
static void forcing_ends_with_the_file(void **state)
{
    (void)state;
    static float want[TOKENS * TINY_VOCAB], got[TOKENS * TINY_VOCAB];
    hd_error err = {0};
    hd_engine *e = open_with(&deepseek, 1, 0, 0);
    must(hd_engine_record_experts(e, 20, &err), &err);
    evaluate(e, TOKENS, want);
    must(hd_engine_save_experts(e, path, &err), &err);
    must(hd_engine_force_experts(e, path, &err), &err);
    evaluate(e, TOKENS, got);
    assert_same_logits(got, want, TOKENS * TINY_VOCAB);
    hd_engine_close(&e);
}

static void failing_calls_leave_the_recording_alone(void **state)
{
    (void)state;
    static float logits[TOKENS * TINY_VOCAB];
    static int32_t first[LAYERS * TOKENS * USED], zeros[3 * TOKENS * USED];
    hd_error err = {0};
    hd_engine *e = open_with(&deepseek, 1, 0, 0);
    hd_status status = hd_engine_save_experts(e, path, &err);
    must_fail(status, HD_E_ARGUMENT, &err, "no expert choices were recorded");
    must(hd_engine_record_experts(e, TOKENS, &err), &err);
    evaluate(e, TOKENS, logits);
    must(hd_engine_save_experts(e, path, &err), &err);
    read_choices(first, TOKENS);
    must_fail(hd_engine_record_experts(e, 0, &err), HD_E_ARGUMENT, &err, "experts of 0 tokens");
    must_fail(hd_engine_record_experts(e, -1, &err), HD_E_ARGUMENT, &err, "experts of -1 tokens");
    must_fail(hd_engine_record_experts(e, INT64_MAX, &err), HD_E_ARGUMENT, &err, "can't be kept");
    must_fail(hd_engine_force_experts(e, "/nowhere.safetensors", &err), HD_E_NOT_FOUND, &err, "/nowhere");
    write_choices(zeros, 3, TOKENS, USED);
    must_fail(hd_engine_force_experts(e, path, &err), HD_E_FORMAT, &err, "of another model: 3 layers, 2 a token");
    write_choices(zeros, LAYERS, TOKENS, 1);
    must_fail(hd_engine_force_experts(e, path, &err), HD_E_FORMAT, &err, "of another model: 2 layers, 1 a token");
    zeros[5] = EXPERTS;
    write_choices(zeros, LAYERS, TOKENS, USED);
    must_fail(hd_engine_force_experts(e, path, &err), HD_E_FORMAT, &err, "expert 8 of 8");
    zeros[5] = -1;
    write_choices(zeros, LAYERS, TOKENS, USED);
    must_fail(hd_engine_force_experts(e, path, &err), HD_E_FORMAT, &err, "expert -1 of 8");
    char weights[TINY_PATH + 64];
    tiny_path(&deepseek, "model.safetensors", weights);
    must_fail(hd_engine_force_experts(e, weights, &err), HD_E_FORMAT, &err, "no tensor \"experts\"");
    zeros[5] = 0;
    must(hd_engine_save_experts(e, path, &err), &err); /* the recording is still there */
    static int32_t again[LAYERS * TOKENS * USED];
    read_choices(again, TOKENS);
    assert_memory_equal(again, first, sizeof first);
    hd_engine_close(&e);
}

static void models_without_experts_say_so(void **state)
{
    (void)state;
    tiny_model llama;
    hd_error err = {0};
    tiny_llama(&llama, 9);
    tiny_write(&llama);
    hd_engine *e = open_with(&llama, 1, 0, 0);
    must_fail(hd_engine_record_experts(e, 5, &err), HD_E_UNSUPPORTED, &err, "no experts");
    hd_engine_close(&e);
    tiny_free(&llama);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forcing_the_recorded_choices_changes_nothing),
        cmocka_unit_test(other_choices_change_what_they_route),
        cmocka_unit_test(forcing_ends_with_the_file),
        cmocka_unit_test(failing_calls_leave_the_recording_alone),
        cmocka_unit_test(models_without_experts_say_so),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
