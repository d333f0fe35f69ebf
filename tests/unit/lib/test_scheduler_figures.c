/* What the scheduler tells of its work: steps, pre-emptions, and since when work has been waiting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <time.h>

#include "unit/lib/scheduler_fixture.h"
#include "unit/scripted_model.h"

#define COUNT 12

static tiny_model llama;

static void wait_ms(int ms)
{
    struct timespec t = {.tv_nsec = (long)ms * 1000000};
    (void)nanosleep(&t, NULL);
}

/* ---- forced pre-emption ---- */

static void forced_preemption_loses_nothing(void **state)
{
    (void)state;
    static int32_t want[COUNT][MAX_ANSWER];
    hd_engine *e = open_with(&llama, 1, 32, 0);
    for (int i = 0; i < COUNT; i++)
        alone(e, i, 20 + i * 9, 30, want[i]);
    for (int every = 1; every <= 7; every += 3)
        for (int prefixes = -1; prefixes < 1; prefixes++) {
            answer answers[COUNT];
            hd_scheduler *s;
            hd_error err = {0};
            hd_scheduler_usage u;
            int64_t preemptions = 0;
            memset(answers, 0, sizeof answers);
            hd_scheduler_options so = {.batch = 5, .prefix_pages = prefixes, .force_preempt_every = every};
            must(hd_scheduler_open(&s, e, &so, &err), &err);
            for (int i = 0; i < COUNT; i++) {
                hd_request_options o = greedy(&answers[i], i, 20 + i * 9, 30);
                ask(s, &answers[i], &o);
            }
            for (int i = 0; i < COUNT; i++) {
                wait_for(&answers[i]);
                assert_memory_equal(answers[i].got, want[i], 30 * sizeof(int32_t));
                preemptions += answers[i].end.preemptions;
                hd_request_close(&answers[i].request);
            }
            hd_scheduler_get_usage(s, &u);
            assert_true(preemptions > 0);
            assert_int_equal(preemptions, u.preemptions);
            hd_scheduler_close(&s);
        }
    hd_engine_close(&e);
}

/* ---- steps ---- */

typedef struct steps {
    hd_step_event sum;
    int count, widest;
} steps;

static void on_step(void *arg, const hd_step_event *event)
{
    steps *all = arg;
    pthread_mutex_lock(&lock);
    all->sum.prompt_tokens += event->prompt_tokens;
    all->sum.answer_tokens += event->answer_tokens;
    all->sum.duration_ns += event->duration_ns;
    all->widest = HD_MAX(all->widest, event->batch);
    all->count++;
    pthread_mutex_unlock(&lock);
}

static void every_step_is_told(void **state)
{
    (void)state;
    steps all = {.count = 0};
    answer answers[COUNT];
    hd_scheduler *s;
    hd_error err = {0};
    hd_scheduler_usage u;
    memset(answers, 0, sizeof answers);
    hd_engine *e = open_with(&llama, 1, 32, 0);
    hd_scheduler_options so = {.batch = 5, .prefix_pages = -1, .step = on_step, .step_arg = &all};
    must(hd_scheduler_open(&s, e, &so, &err), &err);
    for (int i = 0; i < COUNT; i++) {
        hd_request_options o = greedy(&answers[i], i, 10 + i, 20);
        ask(s, &answers[i], &o);
    }
    for (int i = 0; i < COUNT; i++) {
        const hd_finish_event *end = &answers[i].end;
        wait_for(&answers[i]);
        assert_int_equal(end->preemptions, 0);
        assert_true(end->came_ns > 0);
        hd_request_close(&answers[i].request);
    }
    hd_scheduler_get_usage(s, &u);
    hd_scheduler_close(&s);
    assert_int_equal(all.count, u.steps);
    assert_int_equal(all.sum.answer_tokens, COUNT * 20);
    assert_int_equal(all.sum.prompt_tokens, COUNT * 10 + COUNT * (COUNT - 1) / 2);
    assert_int_equal(all.sum.prompt_tokens, u.prompt_tokens);
    assert_int_equal(all.sum.duration_ns, u.busy_ns);
    assert_in_range(all.widest, 1, 5);
    hd_engine_close(&e);
}

/* ---- whether work waits ---- */

static void work_that_waits_has_a_date(void **state)
{
    (void)state;
    char folder[TINY_PATH];
    answer a = {0};
    hd_engine *e;
    hd_error err = {0};
    hd_scheduler_usage before, during, after;
    hd_engine_options eo = {.cpu = "reference", .threads = 1};
    scripted_make(folder, "{\"vocab_size\":400,\"script\":[7,8,9],\"delay_ms\":200}");
    must(hd_engine_open(&e, folder, &eo, &err), &err);
    hd_scheduler *s = scheduler_of(e, 4, 0, 0);
    hd_scheduler_get_usage(s, &before);
    hd_request_options o = greedy(&a, 0, 10, 3);
    ask(s, &a, &o);
    hd_scheduler_get_usage(s, &during);
    wait_ms(50); /* within the first step, which takes 200 */
    hd_scheduler_get_usage(s, &after);
    assert_int_equal(during.steps, 0);
    assert_true(during.work_since_ns != 0);
    if (after.steps == 0) assert_int_equal(after.work_since_ns, during.work_since_ns);
    wait_for(&a);
    assert_int_equal(during.work_since_ns, a.end.came_ns);
    assert_true(a.end.prefill_ns >= 200u * 1000000u && a.end.decode_ns >= 400u * 1000000u);
    assert_int_equal(a.got[0], 7);
    hd_scheduler_get_usage(s, &after);
    for (int i = 0; i < 2000 && after.work_since_ns; i++) {
        wait_ms(1);
        hd_scheduler_get_usage(s, &after);
    }
    assert_int_equal(after.work_since_ns, 0);
    hd_request_close(&a.request);
    hd_scheduler_close(&s);
    hd_engine_close(&e);
    scripted_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forced_preemption_loses_nothing),
        cmocka_unit_test(every_step_is_told),
        cmocka_unit_test(work_that_waits_has_a_date),
    };
    fill_ids();
    tiny_llama(&llama, 3);
    tiny_write(&llama);
    int failed = cmocka_run_group_tests_name("scheduler_figures", tests, NULL, NULL);
    tiny_free(&llama);
    return failed;
}
