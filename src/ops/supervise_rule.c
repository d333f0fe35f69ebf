/* ops/supervise_rule.c: see supervise_rule.h.
 *
 * Invariants: `coming` and `leaving` are never the same slot as `serving`, and never both used: with two slots there is
 * one beside the serving one.  A slot is EMPTY exactly when no process runs in it.
 */
#include "ops/supervise_rule.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

#define SECOND UINT64_C(1000000000)
#define FIRST_WAIT (SECOND / 2)
#define LONGEST_WAIT (60 * SECOND)
#define ABORT_NS (10 * SECOND) /* that a worker has for its report after SIGABRT */
#define SAVE_NS (120 * SECOND) /* that it has beyond its grace to save what is kept */
#define LATE_NS (5 * SECOND)   /* a look that comes so late says nothing about the workers */

/* ---- back-off ---- */

uint64_t hd_backoff(int failures)
{
    if (failures <= 0) return 0;
    uint64_t wait = FIRST_WAIT;
    for (int i = 1; i < failures && wait < LONGEST_WAIT; i++)
        wait *= 2;
    return HD_MIN(wait, LONGEST_WAIT);
}

/* ---- watchdog ---- */

void hd_watch_begin(hd_watch *w, uint64_t now)
{
    *w = (hd_watch){.keeper_ns = now, .server_ns = now, .engine_ns = now, .looked_ns = now};
}

hd_stall hd_watch_look(hd_watch *w, const hd_beats *b, uint64_t limit, uint64_t now)
{
    bool late = now - w->looked_ns > LATE_NS, ready = b->phase == HD_WORKER_READY;
    if (late || b->keeper != w->last.keeper || b->phase == HD_WORKER_CLOSING) w->keeper_ns = now;
    if (late || b->server != w->last.server || !ready) w->server_ns = now;
    if (late || b->engine != w->last.engine || !ready || !b->working) w->engine_ns = now;
    w->last = *b;
    w->looked_ns = now;
    if (now - w->keeper_ns > limit) return HD_STALL_KEEPER;
    if (now - w->server_ns > limit) return HD_STALL_SERVER;
    return now - w->engine_ns > limit ? HD_STALL_ENGINE : HD_STALL_NONE;
}

const char *hd_stall_name(hd_stall stall)
{
    static const char *const names[] = {[HD_STALL_NONE] = "none",
                                        [HD_STALL_KEEPER] = "the whole process",
                                        [HD_STALL_SERVER] = "the server's thread",
                                        [HD_STALL_ENGINE] = "the engine"};
    return names[stall];
}

/* ---- what is said ---- */

const char *hd_signal_name(int number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGILL, "SIGILL"},   {SIGFPE, "SIGFPE"},
                 {SIGABRT, "SIGABRT"}, {SIGSYS, "SIGSYS"},   {SIGTRAP, "SIGTRAP"}, {SIGKILL, "SIGKILL"},
                 {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"},   {SIGHUP, "SIGHUP"},   {SIGALRM, "SIGALRM"},
                 {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"}, {SIGPIPE, "SIGPIPE"}, {SIGQUIT, "SIGQUIT"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (names[i].number == number) return names[i].name;
    return NULL;
}

static void say(const hd_supervisor *s, bool bad, const char *fmt, ...) HD_PRINTF(3, 4);

static void say(const hd_supervisor *s, bool bad, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    s->doors.say(s->doors.arg, bad, text);
}

static void describe(hd_end end, char *out, size_t size)
{
    const char *name = end.by_signal ? hd_signal_name(end.number) : NULL;
    if (name)
        snprintf(out, size, "was ended by %s", name);
    else
        snprintf(out, size, end.by_signal ? "was ended by signal %d" : "ended with exit code %d", end.number);
}

static void conclude(hd_supervisor *s, bool done, const char *fmt, ...) HD_PRINTF(3, 4);

/* The end of a hot restart, for whoever asked for it. */
static void conclude(hd_supervisor *s, bool done, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->asked_text, sizeof s->asked_text, fmt, args);
    va_end(args);
    s->asked_under_way = false;
    s->asked_done = done;
    say(s, !done, "%s", s->asked_text);
}

/* ---- starting ---- */

static int other(int slot)
{
    return 1 - slot;
}

static void start(hd_supervisor *s, int slot, bool hot, uint64_t now)
{
    hd_supervised_slot *one = &s->slots[slot];
    *one = (hd_supervised_slot){.state = HD_SLOT_LOADING, .started_ns = now};
    hd_watch_begin(&one->watch, now);
    if (s->doors.start(s->doors.arg, slot, hot)) return;
    hd_supervisor_gone(s, slot, (hd_end){.number = 127}, now); /* as a shell says it of what can't be run */
}

static void restart_later(hd_supervisor *s, uint64_t now)
{
    uint64_t wait = hd_backoff(s->failures);
    s->failures++;
    s->start_at = HD_MAX(now + wait, 1u);
    if (wait) say(s, false, "the next worker starts in %.1f s; who connects meanwhile waits", (double)wait / 1e9);
}

void hd_supervisor_begin(hd_supervisor *s, const hd_supervise_rules *rules, const hd_supervise_doors *doors,
                         uint64_t now)
{
    *s = (hd_supervisor){.rules = *rules, .doors = *doors, .coming = -1, .leaving = -1};
    start(s, s->serving, false, now);
}

/* ---- a worker is ready ---- */

static void let_go(hd_supervisor *s, int slot, uint64_t now)
{
    hd_supervised_slot *one = &s->slots[slot];
    one->state = HD_SLOT_LEAVING;
    one->kill_at = now + s->rules.handover_ns + SAVE_NS;
    s->doors.signal(s->doors.arg, slot, SIGUSR2);
}

void hd_supervisor_ready(hd_supervisor *s, int slot, uint64_t now)
{
    hd_supervised_slot *one = &s->slots[slot];
    if (one->state != HD_SLOT_LOADING) return;
    one->state = HD_SLOT_READY;
    one->ready_ns = now;
    s->ever_ready = true;
    double took = (double)(now - one->started_ns) / 1e9;
    if (s->stopping) return;
    if (slot == s->coming) {
        s->leaving = s->serving;
        s->serving = slot;
        s->coming = -1;
        let_go(s, s->leaving, now);
        conclude(s, true, "restarted: the new worker was ready after %.1f s; the old one ends its answers", took);
    } else if (s->asked_under_way) {
        conclude(s, true, "restarted in place: the new worker was ready after %.1f s", took);
    } else {
        say(s, false, "the worker was ready after %.1f s", took);
    }
}

/* ---- a worker is gone ---- */

static bool any_left(const hd_supervisor *s)
{
    for (int i = 0; i < HD_SUPERVISE_SLOTS; i++)
        if (s->slots[i].state != HD_SLOT_EMPTY) return true;
    return false;
}

static void coming_gone(hd_supervisor *s, const char *how)
{
    s->coming = -1;
    conclude(s, false, "not restarted: the new worker %s before it was ready; the old one goes on", how);
}

static void leaving_gone(hd_supervisor *s, hd_end end, const char *how)
{
    s->leaving = -1;
    say(s, end.by_signal, "the former worker %s", end.by_signal || end.number ? how : "has ended its answers");
}

static void serving_gone(hd_supervisor *s, const hd_supervised_slot *was, hd_end end, const char *how, uint64_t now)
{
    if (s->in_place && was->state == HD_SLOT_LEAVING) { /* as it was told */
        s->in_place = false;
        s->failures = 0;
        s->restarts++;
        start(s, s->serving, false, now);
        return;
    }
    /* Options that can't work do not become right by trying again: whoever started us must learn of it. */
    if (!s->ever_ready && !end.by_signal) {
        s->done = true;
        s->exit_code = end.number;
        return;
    }
    if (was->state == HD_SLOT_READY && now - was->ready_ns >= HD_HEALTHY_NS) s->failures = 0;
    say(s, true, "the worker %s", how);
    if (s->asked_under_way && s->coming < 0)
        conclude(s, false, "the new worker %s before it was ready; it is tried again", how);
    if (s->coming >= 0) { /* the next one is on its way */
        s->serving = s->coming;
        s->coming = -1;
        return;
    }
    restart_later(s, now);
}

/* Whether it is a death that nobody wanted. */
static bool is_crash(const hd_supervisor *s, const hd_supervised_slot *was, hd_end end)
{
    if (s->stopping && end.by_signal && was->kill_at && end.number == SIGKILL) return false; /* by us, or by us told */
    return end.by_signal || (was->state == HD_SLOT_READY && end.number != 0 && !s->stopping);
}

void hd_supervisor_gone(hd_supervisor *s, int slot, hd_end end, uint64_t now)
{
    char how[64];
    hd_supervised_slot was = s->slots[slot];
    if (was.state == HD_SLOT_EMPTY) return;
    s->slots[slot] = (hd_supervised_slot){.state = HD_SLOT_EMPTY};
    describe(end, how, sizeof how);
    s->crashes += is_crash(s, &was, end);
    if (s->stopping) {
        if (end.by_signal) say(s, true, "a worker %s", how);
        if (s->leaving == slot) s->leaving = -1;
        if (s->coming == slot) s->coming = -1;
        s->done = !any_left(s);
    } else if (slot == s->coming) {
        coming_gone(s, how);
    } else if (slot == s->leaving) {
        leaving_gone(s, end, how);
    } else {
        serving_gone(s, &was, end, how, now);
    }
}

/* ---- a hot restart ---- */

/* Why there can be none now; NULL: there can. */
static const char *why_not(const hd_supervisor *s, hd_restart_mode mode, bool room)
{
    const hd_supervised_slot *one = &s->slots[s->serving];
    if (s->stopping) return "the service is stopping";
    if (s->coming >= 0 || s->in_place) return "a restart is under way";
    if (s->leaving >= 0) return "the former worker still ends its answers; try again when it has";
    if (one->state == HD_SLOT_LOADING) return "the worker is still loading";
    if (mode == HD_RESTART_BESIDE && one->state == HD_SLOT_READY && !room)
        return "there is no memory for two workers at once; restart in place";
    return NULL;
}

void hd_supervisor_restart(hd_supervisor *s, hd_restart_mode mode, bool room, uint64_t now)
{
    const char *reason = why_not(s, mode, room);
    s->asked++;
    if (reason) {
        bool under_way = s->asked_under_way;
        conclude(s, false, "not restarted: %s", reason);
        s->asked_under_way = under_way;
        return;
    }
    s->asked_under_way = true;
    s->asked_text[0] = '\0';
    if (s->slots[s->serving].state == HD_SLOT_EMPTY) { /* it waits: now is as good */
        s->failures = 0;
        s->start_at = HD_MAX(now, 1u);
    } else if (mode == HD_RESTART_IN_PLACE || !room) {
        say(s, false,
            "restarting in place%s: the worker ends its answers, then the next one starts; who connects "
            "meanwhile waits",
            mode == HD_RESTART_IN_PLACE ? "" : ", for there is no memory for two");
        s->in_place = true;
        let_go(s, s->serving, now);
    } else {
        say(s, false, "restarting: a new worker loads beside the old one");
        s->coming = other(s->serving);
        s->restarts++;
        start(s, s->coming, true, now);
    }
}

/* ---- stopping ---- */

void hd_supervisor_stop(hd_supervisor *s, uint64_t now)
{
    if (s->asked_under_way) conclude(s, false, "not restarted: the service is stopping");
    s->stopping = true;
    s->in_place = false;
    s->start_at = 0;
    for (int i = 0; i < HD_SUPERVISE_SLOTS; i++) {
        if (s->slots[i].state == HD_SLOT_EMPTY) continue;
        s->slots[i].kill_at = now + s->rules.drain_ns + SAVE_NS;
        s->doors.signal(s->doors.arg, i, SIGTERM);
    }
    if (!any_left(s)) s->done = true;
}

/* ---- what is due ---- */

static void look_at_slot(hd_supervisor *s, int slot, uint64_t now)
{
    hd_supervised_slot *one = &s->slots[slot];
    hd_beats beats;
    if (one->state == HD_SLOT_EMPTY) return;
    if (one->kill_at && now >= one->kill_at) {
        if (!one->aborted) say(s, true, "a worker has not ended in time and is killed");
        one->kill_at = now + ABORT_NS; /* again, should it not be gone by then: nothing withstands SIGKILL for long */
        s->doors.signal(s->doors.arg, slot, SIGKILL);
        return;
    }
    if (!s->rules.watchdog_ns || one->aborted) return;
    s->doors.beats(s->doors.arg, slot, &beats);
    hd_stall stall = hd_watch_look(&one->watch, &beats, s->rules.watchdog_ns, now);
    if (stall == HD_STALL_NONE) return;
    say(s, true, "the watchdog ends a worker: %s has stood still for %.0f s", hd_stall_name(stall),
        (double)s->rules.watchdog_ns / 1e9);
    s->doors.stalled(s->doors.arg, slot, stall);
    one->aborted = true;
    one->kill_at = now + ABORT_NS;
    s->doors.signal(s->doors.arg, slot, SIGABRT);
    s->doors.signal(s->doors.arg, slot, SIGCONT); /* a stopped process takes no other signal */
}

void hd_supervisor_look(hd_supervisor *s, uint64_t now)
{
    for (int i = 0; i < HD_SUPERVISE_SLOTS; i++)
        look_at_slot(s, i, now);
    if (!s->start_at || now < s->start_at || s->stopping || s->done) return;
    s->start_at = 0;
    s->restarts++;
    start(s, s->serving, false, now);
}

uint64_t hd_supervisor_next(const hd_supervisor *s, uint64_t now)
{
    uint64_t at = now + SECOND;
    if (s->start_at) at = HD_MIN(at, s->start_at);
    for (int i = 0; i < HD_SUPERVISE_SLOTS; i++)
        if (s->slots[i].kill_at) at = HD_MIN(at, s->slots[i].kill_at);
    return at > now ? at - now : 0;
}

const char *hd_supervisor_state(const hd_supervisor *s)
{
    if (s->done) return "stopped";
    if (s->stopping) return "stopping";
    if (s->coming >= 0 || s->in_place) return "restarting";
    switch (s->slots[s->serving].state) {
    case HD_SLOT_READY: return "ready";
    case HD_SLOT_LOADING: return "loading";
    default: return "waiting";
    }
}
