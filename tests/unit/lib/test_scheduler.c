/* Many requests on one engine: each gets what it would get alone, whatever else is in the batch, in the cached
 * prefixes, or has to leave for want of room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/lib/scheduler_fixture.h"

static tiny_model llama, deepseek;

#define COUNT 24

static int64_t from_of(int i)
{
    return i * 7 % 50;
}

static int64_t length_of(int i)
{
    return 1 + i * 37 % 150;
}

static int answer_of(int i)
{
    return 3 + i * 11 % 40;
}

static void run_all(hd_scheduler *s, answer *answers)
{
    memset(answers, 0, COUNT * sizeof *answers);
    for (int i = 0; i < COUNT; i++) {
        hd_request_options o = greedy(&answers[i], from_of(i), length_of(i), answer_of(i));
        ask(s, &answers[i], &o);
    }
    for (int i = 0; i < COUNT; i++) {
        wait_for(&answers[i]);
        hd_request_close(&answers[i].request);
    }
}

static void check_all(const answer *answers, int32_t want[COUNT][MAX_ANSWER])
{
    for (int i = 0; i < COUNT; i++) {
        if (answers[i].end.reason != HD_FINISH_LENGTH) fail_msg("request %d: %s", i, answers[i].error.text);
        assert_int_equal(answers[i].count, answer_of(i));
        assert_int_equal(answers[i].end.answer_tokens, answer_of(i));
        assert_int_equal(answers[i].end.prompt_tokens, length_of(i));
        assert_memory_equal(answers[i].got, want[i], (size_t)answer_of(i) * sizeof(int32_t));
    }
}

static void each_gets_what_it_would_get_alone(void **state)
{
    static answer answers[COUNT];
    static int32_t want[COUNT][MAX_ANSWER];
    const tiny_model *models[] = {&llama, &deepseek};
    (void)state;
    for (size_t m = 0; m < HD_ARRAY_LEN(models); m++) {
        hd_engine *e = open_with(models[m], 2, 64, 0);
        for (int i = 0; i < COUNT; i++)
            alone(e, from_of(i), length_of(i), answer_of(i), want[i]);
        for (int batch = 1; batch <= 16; batch += 5) {
            hd_scheduler *s = scheduler_of(e, batch, batch == 1 ? 0 : 40, batch == 6 ? -1 : 0);
            for (int round = 0; round < 2; round++) { /* the second one with hot prefixes */
                hd_scheduler_usage u;
                run_all(s, answers);
                check_all(answers, want);
                hd_scheduler_get_usage(s, &u);
                assert_int_equal(u.preemptions, 0);
                assert_true((u.cached_tokens > 0) == (batch != 6 && (round || u.cached_tokens > 0)));
            }
            hd_scheduler_close(&s);
        }
        hd_engine_close(&e);
    }
}

/* Room for a few only: some have to leave and come back. */
static void nothing_is_lost_when_memory_runs_short(void **state)
{
    static answer answers[COUNT];
    static int32_t want[COUNT][MAX_ANSWER];
    (void)state;
    hd_engine *plenty = open_with(&llama, 2, 64, 0), *e = open_with(&llama, 2, 64, 224); /* seven pages */
    for (int i = 0; i < COUNT; i++)
        alone(plenty, from_of(i), length_of(i), answer_of(i), want[i]);
    int64_t preemptions = 0;
    for (int prefixes = -1; prefixes < 1; prefixes++) {
        hd_scheduler_usage u;
        hd_scheduler *s = scheduler_of(e, 16, 0, prefixes);
        run_all(s, answers);
        check_all(answers, want);
        hd_scheduler_get_usage(s, &u);
        preemptions += u.preemptions;
        assert_true(u.cache.pages <= 7);
        hd_scheduler_close(&s);
    }
    assert_true(preemptions > 0);
    hd_engine_close(&plenty);
    hd_engine_close(&e);
}

static void prefixes_are_shared_within_a_salt_only(void **state)
{
    (void)state;
    hd_engine *e = open_with(&llama, 1, 64, 0);
    hd_scheduler *s = scheduler_of(e, 4, 0, 0);
    for (int i = 0; i < 4; i++) {
        static const int64_t cached[] = {0, 96, 0, 96};
        answer a = {0};
        hd_request_options o = greedy(&a, 0, 100, 5);
        o.salt[15] = i >= 2;
        ask(s, &a, &o);
        wait_for(&a);
        assert_int_equal(a.end.cached_tokens, cached[i]);
        hd_request_close(&a.request);
    }
    answer a = {0}, b = {0};
    hd_request_options o = greedy(&a, 0, 96, 40), turn;
    ask(s, &a, &o); /* whole pages: the last one is evaluated again, for its logits */
    wait_for(&a);
    assert_int_equal(a.end.cached_tokens, 64);
    int32_t next[140]; /* the next turn: prompt, answer and more */
    memcpy(next, ids, 96 * sizeof *ids);
    memcpy(next + 96, a.got, 40 * sizeof *ids);
    memcpy(next + 136, ids, 4 * sizeof *ids);
    turn = greedy(&b, 0, 140, 1);
    turn.prompt = next;
    ask(s, &b, &turn);
    wait_for(&b);
    assert_int_equal(b.end.cached_tokens, 128);
    hd_request_close(&a.request);
    hd_request_close(&b.request);
    hd_scheduler_close(&s);
    hd_engine_close(&e);
}

static void answers_end_in_their_ways(void **state)
{
    (void)state;
    int32_t want[20];
    answer stopped = {.stop_at = 3}, ended = {0}, paused = {.pause_at = 4}, cancelled = {.pause_at = 2};
    hd_engine *e = open_with(&llama, 1, 16, 0);
    alone(e, 0, 30, 20, want);
    hd_scheduler *s = scheduler_of(e, 4, 0, 0);
    hd_request_options o = greedy(&stopped, 0, 30, 20);
    ask(s, &stopped, &o);
    o.arg = &ended;
    o.end = &want[6];
    o.end_count = 1;
    ask(s, &ended, &o);
    o.arg = &paused;
    o.end_count = 0;
    ask(s, &paused, &o);
    o.arg = &cancelled;
    ask(s, &cancelled, &o);
    wait_for(&stopped);
    assert_int_equal(stopped.end.reason, HD_FINISH_STOP);
    assert_int_equal(stopped.count, 3);
    wait_for(&ended);
    assert_int_equal(ended.end.reason, HD_FINISH_STOP);
    assert_true(ended.count <= 6); /* the end id is not given out */
    wait_for_tokens(&paused, 4);
    wait_for_tokens(&cancelled, 2);
    hd_request_cancel(cancelled.request);
    wait_for(&cancelled);
    assert_int_equal(cancelled.end.reason, HD_FINISH_CANCELLED);
    assert_false(paused.done);
    hd_request_resume(paused.request);
    wait_for(&paused);
    assert_int_equal(paused.end.reason, HD_FINISH_LENGTH);
    assert_memory_equal(paused.got, want, sizeof want);
    hd_request_close(&stopped.request);
    hd_request_close(&ended.request);
    hd_request_close(&paused.request);
    hd_request_close(&cancelled.request);
    hd_scheduler_close(&s);
    hd_engine_close(&e);
}

static void closing_ends_all_that_is_under_way(void **state)
{
    (void)state;
    hd_engine *e = open_with(&llama, 1, 16, 0);
    hd_scheduler *s = scheduler_of(e, 2, 0, 0);
    answer a[4] = {{.pause_at = 1}, {.pause_at = 1}, {.count = 0}, {.count = 0}};
    for (int i = 0; i < 4; i++) {
        hd_request_options o = greedy(&a[i], i, 30, 60);
        ask(s, &a[i], &o);
    }
    wait_for_tokens(&a[0], 1);
    hd_request_close(&a[3].request); /* leaves by itself */
    hd_scheduler_close(&s);
    for (int i = 0; i < 4; i++) {
        assert_true(a[i].done);
        if (a[i].request) hd_request_close(&a[i].request); /* after the scheduler */
    }
    assert_int_equal(a[0].end.reason, HD_FINISH_CANCELLED);
    hd_engine_close(&e);
}

static void what_can_never_run_is_refused(void **state)
{
    (void)state;
    hd_engine *e = open_with(&llama, 1, 16, 96);
    hd_error err = {0};
    hd_scheduler *s = NULL;
    hd_request *r = NULL;
    hd_scheduler_options wide = {.batch = 17};
    must_fail(hd_scheduler_open(&s, e, &wide, &err), HD_E_ARGUMENT, &err, "a batch of 17");
    hd_scheduler_options small = {.queue = 2, .batch = 1};
    must(hd_scheduler_open(&s, e, &small, &err), &err);
    answer a = {0};
    hd_request_options o = greedy(&a, 0, 0, 1);
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_ARGUMENT, &err, "the prompt is empty");
    o = greedy(&a, 0, 10, 0);
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_ARGUMENT, &err, "max_tokens");
    o = greedy(&a, 0, 90, 7);
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_LIMIT, &err, "the cache holds 96");
    o = greedy(&a, 0, 10, INT64_MAX - 5);
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_CONTEXT, &err, "10 tokens");
    o = greedy(&a, 0, 10, 5);
    o.sampling.temperature = -1;
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_ARGUMENT, &err, "temperature");
    o = greedy(&a, 0, 10, 5);
    o.top_count = 21;
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_ARGUMENT, &err, "21 log-probabilities");
    int32_t bad[] = {1, TINY_VOCAB};
    o = greedy(&a, 0, 2, 5);
    o.prompt = bad;
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_ARGUMENT, &err, "number 1");
    assert_null(r);
    assert_false(a.done);
    answer full[4] = {{.pause_at = 1}, {.count = 0}, {.count = 0}, {.count = 0}};
    int refused = 0;
    for (int i = 0; i < 4; i++) {
        o = greedy(&full[i], 0, 60, 30);
        hd_status status = hd_request_open(&full[i].request, s, &o, &err);
        if (status == HD_OK) continue;
        assert_int_equal(status, HD_E_BUSY);
        assert_non_null(strstr(err.text, "waiting already"));
        refused++;
    }
    assert_true(refused <= 2);
    for (int i = 0; i < 4; i++)
        hd_request_close(&full[i].request);
    hd_scheduler_close(&s);
    hd_engine_close(&e);
}

/* The batch is full of patient requests: an urgent one takes the place of the youngest. */
static void urgent_requests_go_first(void **state)
{
    (void)state;
    answer patient = {0}, queued = {0}, urgent = {0};
    int32_t want[60];
    hd_scheduler_usage u;
    hd_engine *e = open_with(&llama, 1, 16, 0);
    alone(e, 0, 100, 60, want);
    hd_scheduler *s = scheduler_of(e, 1, 0, 0);
    hd_request_options o = greedy(&patient, 0, 100, 60);
    ask(s, &patient, &o);
    o.arg = &queued;
    ask(s, &queued, &o);
    wait_for_tokens(&patient, 1);
    o.arg = &urgent;
    o.priority = 5;
    ask(s, &urgent, &o);
    wait_for(&patient);
    wait_for(&queued);
    wait_for(&urgent);
    assert_true(urgent.finished < queued.finished);
    assert_true(patient.finished < queued.finished);
    assert_memory_equal(patient.got, want, sizeof want);
    assert_memory_equal(queued.got, want, sizeof want);
    assert_memory_equal(urgent.got, want, sizeof want);
    hd_scheduler_get_usage(s, &u);
    assert_int_equal(u.requests, 3);
    assert_int_equal(u.answer_tokens, 180);
    hd_request_close(&patient.request);
    hd_request_close(&queued.request);
    hd_request_close(&urgent.request);
    hd_scheduler_close(&s);
    hd_engine_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gets_what_it_would_get_alone),
        cmocka_unit_test(nothing_is_lost_when_memory_runs_short),
        cmocka_unit_test(prefixes_are_shared_within_a_salt_only),
        cmocka_unit_test(answers_end_in_their_ways),
        cmocka_unit_test(closing_ends_all_that_is_under_way),
        cmocka_unit_test(what_can_never_run_is_refused),
        cmocka_unit_test(urgent_requests_go_first),
    };
    fill_ids();
    tiny_llama(&llama, 3);
    tiny_write(&llama);
    tiny_deepseek(&deepseek, 4);
    tiny_write(&deepseek);
    int failed = cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
    tiny_free(&llama);
    tiny_free(&deepseek);
    return failed;
}
