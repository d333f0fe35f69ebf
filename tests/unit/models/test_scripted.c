/* The model of tests: what it answers, however its prompt is cut, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/engine_fixture.h"
#include "unit/scripted_model.h"

#define VOCAB 60
#define END 1

static hd_engine *engine_of(const char *folder, const char *cpu, int64_t chunk)
{
    hd_engine *e;
    hd_error err = {0};
    hd_engine_options o = {.cpu = cpu, .threads = 1, .chunk = chunk};
    must(hd_engine_open(&e, folder, &o, &err), &err);
    return e;
}

static int32_t greedy_of(const hd_session *s)
{
    const float *logits = hd_session_logits(s);
    int32_t best = 0;
    for (int32_t i = 1; i < VOCAB; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* Feeds the prompt and checks that the answer is `want`. */
static void assert_answers(hd_session *s, const int32_t *prompt, int64_t n, const int32_t *want, int count)
{
    feed(s, prompt, n);
    for (int i = 0; i < count; i++) {
        int32_t id = greedy_of(s);
        if (id != want[i]) fail_msg("token %d is %d, should be %d", i, id, want[i]);
        feed(s, &id, 1);
    }
}

static void check_answer(const char *config, const int32_t *prompt, int64_t n, const int32_t *want, int count)
{
    static const char *const tiers[] = {"reference", "auto"}; /* float32 and smaller cached rows */
    static const int64_t chunks[] = {1, 3, 64};
    char folder[TINY_PATH];
    scripted_make(folder, config);
    for (size_t t = 0; t < HD_ARRAY_LEN(tiers); t++)
        for (size_t c = 0; c < HD_ARRAY_LEN(chunks); c++) {
            hd_engine *e = engine_of(folder, tiers[t], chunks[c]);
            hd_session *s = session_of(e);
            assert_answers(s, prompt, n, want, count);
            hd_session_close(&s);
            hd_engine_close(&e);
        }
    scripted_remove(folder);
}

static const int32_t prompt[] = {5, 30, 31, 5, 9, 8, 7, 33};

static void the_script_begins_where_the_prompt_ends(void **state)
{
    (void)state;
    const int32_t want[] = {7, 8, 9, END, END};
    check_answer("{\"vocab_size\":60,\"script\":[7,8,9],\"eos_token_id\":1}", prompt, 8, want, 5);
}

static void the_script_may_repeat(void **state)
{
    (void)state;
    const int32_t want[] = {7, 8, 7, 8, 7, 8, 7};
    check_answer("{\"vocab_size\":60,\"script\":[7,8],\"repeat\":true,\"eos_token_id\":1}", prompt, 8, want, 7);
}

static void each_marker_brings_the_next_answer(void **state)
{
    (void)state;
    const int32_t turns[] = {5, 40, 41, 7, 8, END, 5, 6, 40, 41}; /* a first answer, then a second prompt */
    const int32_t second[] = {20, 21, 22, END}, first[] = {7, 8, END};
    const char *config = "{\"vocab_size\":60,\"script\":[[7,8],[20,21,22]],\"start_token_id\":[[50],[40,41]],"
                         "\"eos_token_id\":1}";
    check_answer(config, turns, 4 - 1, first, 3);
    check_answer(config, turns, 10, second, 4);
    const int32_t other[] = {50, 3, 50};
    check_answer(config, other, 3, second, 4);
}

static void a_marker_begins_the_script_even_where_it_was_foreseen(void **state)
{
    (void)state;
    const int32_t prompt_of[] = {40, 7, 40}, want[] = {7, 40, 9, END};
    check_answer("{\"vocab_size\":60,\"script\":[7,40,9],\"start_token_id\":40,\"eos_token_id\":1}", prompt_of, 1, want,
                 1);
    check_answer("{\"vocab_size\":60,\"script\":[7,40,9],\"start_token_id\":40,\"eos_token_id\":1}", prompt_of, 3, want,
                 1);
}

static void echo_repeats_the_last_token(void **state)
{
    (void)state;
    const int32_t want[] = {33, 33, 33};
    check_answer("{\"vocab_size\":60,\"echo\":true}", prompt, 8, want, 3);
}

static void a_fork_and_a_cut_go_on_from_their_rows(void **state)
{
    (void)state;
    char folder[TINY_PATH];
    int32_t script[50], long_prompt[45];
    hd_error err = {0};
    scripted_make(folder, "{\"vocab_size\":60,\"repeat\":true,\"script\":[10,11,12,13,14,15,16]}");
    for (int i = 0; i < 50; i++)
        script[i] = 10 + i % 7;
    for (int i = 0; i < 45; i++)
        long_prompt[i] = 30 + i % 5;
    hd_engine *e = engine_of(folder, "reference", 16);
    hd_session *s = session_of(e);
    assert_answers(s, long_prompt, 45, script, 40);
    hd_session *copy = fork_of(s);
    assert_answers(copy, script + 40, 1, script + 41, 8);
    must(hd_session_truncate(s, 60, &err), &err); /* 15 tokens of the answer stay */
    assert_answers(s, script + 15, 1, script + 16, 8);
    assert_answers(s, long_prompt, 3, script, 5); /* what the script did not foresee begins it anew */
    hd_session_close(&copy);
    hd_session_close(&s);
    hd_engine_close(&e);
    scripted_remove(folder);
}

static void logits_of_all_tokens_follow_the_script(void **state)
{
    (void)state;
    char folder[TINY_PATH];
    static float logits[3 * VOCAB];
    hd_error err = {0};
    scripted_make(folder, "{\"vocab_size\":60,\"script\":[7,8,9]}");
    hd_engine *e = engine_of(folder, "reference", 16);
    hd_session *s = session_of(e);
    const int32_t ids[] = {50, 7, 8};
    must(hd_session_feed_all(s, ids, 3, logits, &err), &err);
    for (int i = 0; i < 3; i++) {
        assert_float_equal(logits[i * VOCAB + 7 + i], 20.0f, 0);
        assert_float_equal(logits[i * VOCAB + 4], -0.004f, 1e-6);
    }
    hd_session_close(&s);
    hd_engine_close(&e);
    scripted_remove(folder);
}

static void wrong_settings_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *config, *words;
    } cases[] = {
        {"{\"script\":[1]}", "\"vocab_size\" is missing"},
        {"{\"vocab_size\":60}", "\"script\" is not a list"},
        {"{\"vocab_size\":60,\"script\":[60]}", "no id of the vocabulary of 60"},
        {"{\"vocab_size\":60,\"script\":[-1]}", "\"script\" holds"},
        {"{\"vocab_size\":60,\"script\":[[1],2]}", "mixes"},
        {"{\"vocab_size\":60,\"script\":[2,[1]]}", "\"script\" holds"},
        {"{\"vocab_size\":60,\"script\":[2],\"start_token_id\":\"x\"}", "\"start_token_id\" holds"},
        {"{\"vocab_size\":60,\"script\":[2],\"start_token_id\":[[1],[]]}", "1 to 16 ids"},
        {"{\"vocab_size\":60,\"script\":[2],\"delay_ms\":-1}", "delay_ms"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char folder[TINY_PATH];
        hd_engine *e;
        hd_error err = {0};
        scripted_make(folder, cases[i].config);
        must_fail(hd_engine_open(&e, folder, NULL, &err), HD_E_FORMAT, &err, cases[i].words);
        scripted_remove(folder);
    }
}

static void empty_scripts_end_at_once(void **state)
{
    (void)state;
    const int32_t want[] = {END, END};
    check_answer("{\"vocab_size\":60,\"script\":[],\"eos_token_id\":1}", prompt, 8, want, 2);
    check_answer("{\"vocab_size\":60,\"script\":[[],[3]],\"repeat\":true,\"eos_token_id\":1}", prompt, 8, want, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_script_begins_where_the_prompt_ends),
        cmocka_unit_test(the_script_may_repeat),
        cmocka_unit_test(each_marker_brings_the_next_answer),
        cmocka_unit_test(a_marker_begins_the_script_even_where_it_was_foreseen),
        cmocka_unit_test(echo_repeats_the_last_token),
        cmocka_unit_test(a_fork_and_a_cut_go_on_from_their_rows),
        cmocka_unit_test(logits_of_all_tokens_follow_the_script),
        cmocka_unit_test(wrong_settings_are_named),
        cmocka_unit_test(empty_scripts_end_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
