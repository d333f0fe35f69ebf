/* Several engines on one pool of threads: each answers what it would alone, while another one loads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/lib/scheduler_fixture.h"

enum { ENGINES = 2, COUNT = 10, ANSWER = 20 };

static tiny_model models[ENGINES];

static hd_engine *shared_engine(const tiny_model *m, const char *cpu)
{
    hd_engine *e;
    hd_error err = {0};
    hd_engine_options o = {.cpu = cpu, .threads = 3, .chunk = 64, .share_threads = true};
    must(hd_engine_open(&e, m->folder, &o, &err), &err);
    return e;
}

static void ask_all(hd_scheduler *s, answer *answers)
{
    memset(answers, 0, COUNT * sizeof *answers);
    for (int i = 0; i < COUNT; i++) {
        hd_request_options o = greedy(&answers[i], i * 3, 5 + i * 17, ANSWER);
        ask(s, &answers[i], &o);
    }
}

/* The two may be of different tiers: one flushes denormals, the other doesn't. */
static void check_pair(const char *first, const char *second)
{
    static answer answers[ENGINES][COUNT];
    static int32_t want[ENGINES][COUNT][MAX_ANSWER];
    const char *tiers[ENGINES] = {first, second};
    hd_engine *engines[ENGINES];
    hd_scheduler *schedulers[ENGINES];
    for (int e = 0; e < ENGINES; e++) {
        hd_engine *lone;
        hd_error err = {0};
        hd_engine_options o = {.cpu = tiers[e], .threads = 3, .chunk = 64};
        must(hd_engine_open(&lone, models[e].folder, &o, &err), &err);
        for (int i = 0; i < COUNT; i++)
            alone(lone, i * 3, 5 + i * 17, ANSWER, want[e][i]);
        hd_engine_close(&lone);
        engines[e] = shared_engine(&models[e], tiers[e]);
        schedulers[e] = scheduler_of(engines[e], 8, 0, 0);
    }
    for (int e = 0; e < ENGINES; e++)
        ask_all(schedulers[e], answers[e]);
    hd_engine *late = shared_engine(&models[0], first); /* comes and goes while the others compute */
    hd_engine_close(&late);
    for (int e = 0; e < ENGINES; e++)
        for (int i = 0; i < COUNT; i++) {
            wait_for(&answers[e][i]);
            assert_int_equal(answers[e][i].end.reason, HD_FINISH_LENGTH);
            assert_memory_equal(answers[e][i].got, want[e][i], ANSWER * sizeof(int32_t));
            hd_request_close(&answers[e][i].request);
        }
    for (int e = 0; e < ENGINES; e++) {
        hd_scheduler_close(&schedulers[e]);
        hd_engine_close(&engines[e]);
    }
}

static void each_answers_as_it_would_alone(void **state)
{
    (void)state;
    check_pair("reference", "reference");
    check_pair("reference", "auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_answers_as_it_would_alone)};
    fill_ids();
    tiny_llama(&models[0], 3);
    tiny_write(&models[0]);
    tiny_deepseek(&models[1], 4);
    tiny_write(&models[1]);
    int failed = cmocka_run_group_tests_name("share_threads", tests, NULL, NULL);
    for (int e = 0; e < ENGINES; e++)
        tiny_free(&models[e]);
    return failed;
}
