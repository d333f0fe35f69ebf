/* What a supervisor does when (ops/supervise_rule.h), with a clock and doors of the test. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "ops/supervise.h"
#include "ops/supervise_rule.h"

#define SECOND UINT64_C(1000000000)
#define START (1000 * SECOND)

/* ---- doors that write down what was done ---- */

typedef struct world {
    hd_supervisor s;
    uint64_t now;
    char did[512]; /* since the last look of the test: "start0 hot1 TERM0 ..." */
    bool refuse;   /* processes can't be started */
    hd_beats beats[HD_SUPERVISE_SLOTS];
    hd_stall stall;
} world;

static void add(world *w, const char *what, int slot)
{
    size_t n = strlen(w->did);
    snprintf(w->did + n, sizeof w->did - n, "%s%s%d", n ? " " : "", what, slot);
}

static bool start(void *arg, int slot, bool hot)
{
    world *w = arg;
    add(w, hot ? "hot" : "start", slot);
    w->beats[slot] = (hd_beats){.phase = HD_WORKER_STARTING};
    return !w->refuse;
}

static void send_signal(void *arg, int slot, int number)
{
    add(arg, number == SIGCONT ? "CONT" : number == SIGUSR2 ? "USR2" : hd_signal_name(number) + 3, slot);
}

static void read_beats(void *arg, int slot, hd_beats *out)
{
    const world *w = arg;
    *out = w->beats[slot];
}

static void stalled(void *arg, int slot, hd_stall stall)
{
    world *w = arg;
    (void)slot;
    w->stall = stall;
}

static void say(void *arg, bool bad, const char *text)
{
    (void)arg, (void)bad;
    assert_true(strlen(text) > 0);
}

static void begin(world *w)
{
    const hd_supervise_rules rules = {
        .watchdog_ns = 60 * SECOND, .drain_ns = 45 * SECOND, .handover_ns = 3600 * SECOND};
    const hd_supervise_doors doors = {start, send_signal, read_beats, stalled, say, w};
    bool refuse = w->refuse;
    *w = (world){.now = START, .refuse = refuse};
    hd_supervisor_begin(&w->s, &rules, &doors, w->now);
}

static void did(world *w, const char *what)
{
    assert_string_equal(w->did, what);
    w->did[0] = '\0';
}

/* So many seconds later, with looks every second, and beats all the while unless `still`. */
static void pass(world *w, double seconds, bool still)
{
    for (uint64_t end = w->now + (uint64_t)(seconds * 1e9); w->now < end;) {
        w->now = HD_MIN(end, w->now + HD_MIN(SECOND, hd_supervisor_next(&w->s, w->now) + 1));
        for (int i = 0; i < HD_SUPERVISE_SLOTS && !still; i++) {
            w->beats[i].keeper++;
            w->beats[i].server++;
            w->beats[i].engine++;
        }
        hd_supervisor_look(&w->s, w->now);
    }
}

static void ready(world *w, int slot)
{
    w->beats[slot].phase = HD_WORKER_READY;
    hd_supervisor_ready(&w->s, slot, w->now);
}

static void dies(world *w, int slot, int number)
{
    hd_supervisor_gone(&w->s, slot, (hd_end){true, number}, w->now);
}

static void ends(world *w, int slot, int code)
{
    hd_supervisor_gone(&w->s, slot, (hd_end){false, code}, w->now);
}

static void begin_ready(world *w)
{
    begin(w);
    ready(w, 0);
    did(w, "start0");
    assert_string_equal(hd_supervisor_state(&w->s), "ready");
}

/* ---- back-off ---- */

static void test_backoff(void **unused)
{
    (void)unused;
    const double seconds[] = {0, 0.5, 1, 2, 4, 8, 16, 32, 60, 60};
    for (int i = 0; i < (int)HD_ARRAY_LEN(seconds); i++)
        assert_int_equal(hd_backoff(i), (uint64_t)(seconds[i] * 1e9));
    assert_int_equal(hd_backoff(-1), 0);
    assert_int_equal(hd_backoff(1 << 30), 60 * SECOND);
}

static void test_crash_loop(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    dies(&w, 0, SIGSEGV);
    did(&w, ""); /* at once, but by the loop's next look */
    assert_string_equal(hd_supervisor_state(&w.s), "waiting");
    assert_int_equal(hd_supervisor_next(&w.s, w.now), 0);
    pass(&w, 0.01, false);
    did(&w, "start0");
    dies(&w, 0, SIGSEGV);
    pass(&w, 0.49, false);
    did(&w, "");
    pass(&w, 0.02, false);
    did(&w, "start0");
    ends(&w, 0, 1); /* also one that ends by itself, once one was ready */
    assert_false(w.s.done);
    pass(&w, 0.99, false);
    did(&w, "");
    pass(&w, 0.02, false);
    did(&w, "start0");
    assert_int_equal(w.s.crashes, 2); /* the third one had not been ready, and went by itself */
    assert_int_equal(w.s.restarts, 3);
    for (int i = 0; i < 20; i++) { /* and never gives up */
        dies(&w, 0, SIGKILL);
        pass(&w, 60.1, false);
        did(&w, "start0");
    }
}

static void test_health_starts_anew(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    for (int i = 0; i < 5; i++) {
        dies(&w, 0, SIGSEGV);
        pass(&w, 60, false);
    }
    ready(&w, 0);
    pass(&w, 59, false);
    dies(&w, 0, SIGSEGV); /* not long enough */
    w.did[0] = '\0';
    pass(&w, 1, false);
    did(&w, "");
    pass(&w, 60, false);
    ready(&w, 0);
    pass(&w, 60, false);
    w.did[0] = '\0';
    dies(&w, 0, SIGSEGV);
    pass(&w, 0.01, false);
    did(&w, "start0");
}

static void test_first_start(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin(&w);
    ends(&w, 0, 2);
    assert_true(w.s.done);
    assert_int_equal(w.s.exit_code, 2);
    begin(&w);
    dies(&w, 0, SIGSEGV); /* that may go better the next time */
    assert_false(w.s.done);
    w.refuse = true;
    begin(&w);
    assert_true(w.s.done);
    assert_int_equal(w.s.exit_code, 127);
}

/* ---- watchdog ---- */

static void test_watch(void **unused)
{
    (void)unused;
    hd_watch watch;
    hd_beats b = {.phase = HD_WORKER_STARTING};
    uint64_t now = START, limit = 10 * SECOND;
    hd_watch_begin(&watch, now);
    for (int i = 0; i < 100; i++) { /* while it loads only the keeper beats */
        b.keeper++;
        assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_NONE);
    }
    b.phase = HD_WORKER_READY;
    for (int i = 0; i < 10; i++)
        b.keeper++, assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_NONE);
    b.keeper++;
    assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_SERVER);
    for (int i = 0; i < 100; i++) { /* an engine without work stands still, and may */
        b.keeper++, b.server++;
        assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_NONE);
    }
    b.working = true;
    for (int i = 0; i < 100; i++) { /* a long pass: its loops are beats */
        b.keeper++, b.server++, b.engine += (uint64_t)(i % 9 == 0);
        assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_NONE);
    }
    for (int i = 0; i < 10; i++)
        b.keeper++, b.server++, (void)!hd_watch_look(&watch, &b, limit, now += SECOND);
    b.keeper++, b.server++;
    assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_ENGINE);
    assert_int_equal(hd_watch_look(&watch, &b, limit, now += 100 * SECOND), HD_STALL_NONE); /* the machine slept */
    for (int i = 0; i < 10; i++)
        assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_NONE);
    assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_KEEPER);
    b.phase = HD_WORKER_CLOSING;
    for (int i = 0; i < 100; i++)
        assert_int_equal(hd_watch_look(&watch, &b, limit, now += SECOND), HD_STALL_NONE);
}

static void test_watchdog_ends_a_worker(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    pass(&w, 1000, false);
    did(&w, "");
    pass(&w, 59, true);
    did(&w, "");
    pass(&w, 3, true);
    did(&w, "ABRT0 CONT0");
    assert_int_equal(w.stall, HD_STALL_KEEPER);
    pass(&w, 8, true);
    did(&w, "");
    pass(&w, 2, true); /* it takes no signal: the other one */
    did(&w, "KILL0");
    dies(&w, 0, SIGKILL);
    pass(&w, 0.1, true);
    did(&w, "start0");
    assert_int_equal(w.s.crashes, 1);
}

static void test_no_watchdog(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    w.s.rules.watchdog_ns = 0;
    pass(&w, 10000, true);
    did(&w, "");
}

/* ---- hot restart ---- */

static void test_restart(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    did(&w, "hot1");
    assert_string_equal(hd_supervisor_state(&w.s), "restarting");
    assert_true(w.s.asked_under_way);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now); /* one at a time */
    assert_int_equal(w.s.asked, 2);
    assert_true(w.s.asked_under_way);
    pass(&w, 500, false); /* loading takes its time */
    did(&w, "");
    ready(&w, 1);
    did(&w, "USR20");
    assert_int_equal(w.s.serving, 1);
    assert_true(w.s.asked_done && !w.s.asked_under_way);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now); /* the first one is still here */
    assert_false(w.s.asked_done);
    did(&w, "");
    pass(&w, 3000, false);
    did(&w, "");
    ends(&w, 0, 0);
    did(&w, "");
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    did(&w, "hot0");
    assert_int_equal(w.s.crashes, 0);
    assert_int_equal(w.s.restarts, 2);
}

static void test_bad_newcomer(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    ends(&w, 1, 1);
    did(&w, "hot1");
    assert_string_equal(hd_supervisor_state(&w.s), "ready");
    assert_false(w.s.asked_done || w.s.asked_under_way);
    assert_non_null(strstr(w.s.asked_text, "the old one goes on"));
    assert_int_equal(w.s.crashes, 0);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    did(&w, "hot1");
    pass(&w, 62, true); /* this one hangs, and so does the serving one of this test */
    assert_non_null(strstr(w.did, "ABRT1"));
    dies(&w, 1, SIGABRT);
    assert_int_equal(w.s.serving, 0);
    assert_int_equal(w.s.coming, -1);
    w.did[0] = '\0';
    begin_ready(&w);
    w.refuse = true;
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    assert_string_equal(hd_supervisor_state(&w.s), "ready");
    assert_int_equal(w.s.coming, -1);
}

static void test_old_one_dies_meanwhile(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    dies(&w, 0, SIGSEGV);
    pass(&w, 100, false); /* the newcomer is the one to wait for */
    did(&w, "hot1");
    ready(&w, 1);
    did(&w, "");
    assert_string_equal(hd_supervisor_state(&w.s), "ready");
    assert_int_equal(w.s.crashes, 1);
    dies(&w, 1, SIGSEGV);
    pass(&w, 0.1, false);
    did(&w, "start1");
}

static void test_new_one_dies_beside_the_leaving(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    ready(&w, 1);
    did(&w, "hot1 USR20");
    dies(&w, 1, SIGSEGV);
    pass(&w, 0.1, false);
    did(&w, "start1");
    dies(&w, 0, SIGSEGV);
    did(&w, "");
    assert_int_equal(w.s.crashes, 2);
    assert_int_equal(w.s.leaving, -1);
}

static void test_leaving_takes_too_long(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    ready(&w, 1);
    did(&w, "hot1 USR20");
    pass(&w, 3700, false);
    did(&w, "");
    pass(&w, 22, false);
    did(&w, "KILL0");
}

static void test_in_place(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    hd_supervisor_restart(&w.s, HD_RESTART_BESIDE, false, w.now); /* no memory, and no other way is wanted */
    did(&w, "");
    assert_non_null(strstr(w.s.asked_text, "no memory for two"));
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, false, w.now);
    did(&w, "USR20");
    assert_string_equal(hd_supervisor_state(&w.s), "restarting");
    ends(&w, 0, 0);
    did(&w, "start0");
    assert_true(w.s.asked_under_way);
    ready(&w, 0);
    assert_true(w.s.asked_done);
    hd_supervisor_restart(&w.s, HD_RESTART_IN_PLACE, true, w.now);
    did(&w, "USR20");
    ends(&w, 0, 0);
    did(&w, "start0");
    ends(&w, 0, 1); /* there is no old one to go on: it is tried again */
    assert_false(w.s.asked_done || w.s.asked_under_way || w.s.done);
    pass(&w, 0.1, false);
    did(&w, "start0");
    ready(&w, 0);
    assert_int_equal(w.s.crashes, 0);
}

static void test_restart_while_waiting(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    for (int i = 0; i < 8; i++) {
        dies(&w, 0, SIGSEGV);
        pass(&w, 61, false);
    }
    dies(&w, 0, SIGSEGV);
    w.did[0] = '\0';
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now); /* who mended it need not wait a minute */
    pass(&w, 0.01, false);
    did(&w, "start0");
    ready(&w, 0);
    assert_true(w.s.asked_done);
}

/* ---- stopping ---- */

static void test_stop(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    hd_supervisor_restart(&w.s, HD_RESTART_AUTO, true, w.now);
    hd_supervisor_stop(&w.s, w.now);
    did(&w, "hot1 TERM0 TERM1");
    assert_string_equal(hd_supervisor_state(&w.s), "stopping");
    assert_false(w.s.asked_under_way);
    ends(&w, 1, 0);
    assert_false(w.s.done);
    pass(&w, 30, false);
    hd_supervisor_stop(&w.s, w.now);
    did(&w, "TERM0");
    ends(&w, 0, 0);
    assert_true(w.s.done);
    assert_int_equal(w.s.exit_code, 0);
    assert_int_equal(w.s.crashes, 0);
}

static void test_stop_of_what_does_not(void **unused)
{
    (void)unused;
    world w = {.refuse = false};
    begin_ready(&w);
    hd_supervisor_stop(&w.s, w.now);
    pass(&w, 164, false);
    did(&w, "TERM0");
    pass(&w, 2, false);
    did(&w, "KILL0");
    dies(&w, 0, SIGKILL);
    assert_true(w.s.done);
    assert_int_equal(w.s.crashes, 0);
    begin_ready(&w);
    dies(&w, 0, SIGSEGV);
    dies(&w, 0, SIGSEGV); /* nobody is there to die */
    hd_supervisor_stop(&w.s, w.now);
    assert_true(w.s.done);
    pass(&w, 100, false);
    did(&w, "");
    assert_int_equal(w.s.crashes, 1);
}

static void test_room(void **unused)
{
    (void)unused;
    assert_true(hd_supervise_has_room(0, 0));
    assert_true(hd_supervise_has_room(1600, 1700));
    assert_false(hd_supervise_has_room(1600, 1699));
    assert_false(hd_supervise_has_room(1600, 100));
    assert_true(hd_supervise_has_room(1600, UINT64_MAX));
    assert_false(hd_supervise_has_room(UINT64_MAX, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_crash_loop),
        cmocka_unit_test(test_health_starts_anew),
        cmocka_unit_test(test_first_start),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_watchdog_ends_a_worker),
        cmocka_unit_test(test_no_watchdog),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_bad_newcomer),
        cmocka_unit_test(test_old_one_dies_meanwhile),
        cmocka_unit_test(test_new_one_dies_beside_the_leaving),
        cmocka_unit_test(test_leaving_takes_too_long),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_restart_while_waiting),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_stop_of_what_does_not),
        cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
