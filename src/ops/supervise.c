/* ops/supervise.c: the supervisor's loop: signals, ends of workers and their words in, the acts of supervise_rule.c
 * out; see supervise.h. */
#include "ops/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/crash_report.h"
#include "ops/supervise_internal.h"
#include "security/data_folder.h"
#include "server/http_server.h"

#define STATE_BYTES ((size_t)64 << 10)

typedef struct supervisor {
    const hd_supervise_options *o;
    hd_supervisor rule;
    hd_supervise_page *page;
    hd_self self;
    int listener, page_fd, event_fd, lock_fd, signal_fd;
    sigset_t mask; /* as it was */
    pid_t pids[HD_SUPERVISE_SLOTS];
    uint64_t started_ns[HD_SUPERVISE_SLOTS];
    char reasons[HD_SUPERVISE_SLOTS][96];
    bool was_ready[HD_SUPERVISE_SLOTS];
    bool told;        /* `ready URL` was printed */
    bool said_ready;  /* to systemd */
    char *state;      /* as the file has it */
    bool state_fails; /* and that was said */
} supervisor;

/* ---- systemd ---- */

static void note(const supervisor *s, const char *text)
{
    hd_error err;
    if (hd_systemd_notify(s->o->systemd, &err, "%s", text) != HD_OK) hd_log(HD_LOG_WARN, "systemd: %s", err.text);
}

/* ---- the state file ---- */

static json_t *describe(const supervisor *s)
{
    const hd_supervisor *r = &s->rule;
    int leaving = r->leaving >= 0 ? (int)s->pids[r->leaving] : 0, coming = r->coming >= 0 ? (int)s->pids[r->coming] : 0;
    char url[sizeof s->page->slots[0].url];
    snprintf(url, sizeof url, "%.*s", (int)strnlen(s->page->slots[r->serving].url, sizeof url - 1),
             s->page->slots[r->serving].url);
    hd_text_clean(url);
    json_t *state = json_pack("{s:i, s:s, s:i, s:i, s:i, s:s, s:I, s:I}", "pid", (int)getpid(), "state",
                              hd_supervisor_state(r), "worker", (int)s->pids[r->serving], "coming", coming, "leaving",
                              leaving, "url", s->was_ready[r->serving] ? url : "", "crashes", (json_int_t)r->crashes,
                              "restarts", (json_int_t)r->restarts);
    json_t *asked = json_pack("{s:I, s:b, s:b, s:s}", "number", (json_int_t)r->asked, "under_way", r->asked_under_way,
                              "done", r->asked_done && !r->asked_under_way, "text", r->asked_text);
    if (!state || !asked || json_object_set_new(state, "restart", asked) != 0) {
        json_decref(state);
        return NULL;
    }
    return state;
}

static void write_state(supervisor *s)
{
    char path[4200];
    hd_error err = {.status = HD_OK};
    hd_buf text;
    hd_buf_init(&text, STATE_BYTES);
    snprintf(path, sizeof path, "%s/" HD_SUPERVISE_STATE, s->o->data);
    hd_status status = hd_json_append(&text, describe(s));
    bool same = status == HD_OK && s->state && strcmp(s->state, text.data) == 0;
    if (status == HD_OK && !same) status = hd_file_write_private(path, text.data, text.len, &err);
    if (status == HD_OK && !same) {
        hd_free(s->state);
        s->state = text.data; /* keeps it */
        hd_buf_init(&text, STATE_BYTES);
    }
    if (status != HD_OK && !s->state_fails)
        hd_log(HD_LOG_WARN, "`hadal status` will not tell the truth: %s", err.status ? err.text : path);
    s->state_fails = status != HD_OK;
    hd_buf_free(&text);
}

/* ---- reports ---- */

/* What ended the worker, for the report; `status` as of waitpid(2). */
static void write_report(const supervisor *s, int slot, int status)
{
    char folder[4200], path[4300];
    hd_error err;
    const hd_crash_facts facts = {.slot = &s->page->slots[slot],
                                  .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                                  .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                                  .reason = s->reasons[slot][0] ? s->reasons[slot] : NULL,
                                  .models = s->o->models,
                                  .uptime = (double)(hd_clock_ns() - s->started_ns[slot]) / 1e9,
                                  .ready = s->was_ready[slot],
                                  .pid = s->pids[slot],
                                  .unix_ms = (int64_t)hd_clock_unix_ms()};
    snprintf(folder, sizeof folder, "%s/crashes", s->o->data);
    if (hd_crash_report_write(folder, &facts, path, sizeof path, &err) == HD_OK)
        hd_log(HD_LOG_INFO, "supervisor: what is known of it is in %s", path);
    else
        hd_log(HD_LOG_WARN, "supervisor: %s", err.text);
}

/* ---- the acts ---- */

static bool start_worker(void *arg, int slot, bool hot)
{
    supervisor *s = arg;
    hd_error err;
    memset(&s->page->slots[slot], 0, sizeof s->page->slots[slot]);
    s->reasons[slot][0] = '\0';
    s->was_ready[slot] = false;
    s->started_ns[slot] = hd_clock_ns();
    atomic_store(&s->page->restarts, s->rule.restarts);
    const hd_worker_start start = {.self = &s->self,
                                   .environment = s->o->environment,
                                   .listener = s->listener,
                                   .page = s->page_fd,
                                   .event = s->event_fd,
                                   .lock = s->lock_fd,
                                   .slot = slot,
                                   .hot = hot,
                                   .mask = &s->mask,
                                   .failure = &s->page->slots[slot].failure};
    pid_t pid = hd_worker_start_process(&start, &err);
    if (pid < 0) hd_log(HD_LOG_ERROR, "supervisor: %s", err.text);
    s->pids[slot] = pid > 0 ? pid : 0;
    return pid > 0;
}

static void signal_worker(void *arg, int slot, int number)
{
    const supervisor *s = arg;
    if (s->pids[slot] > 0 && kill(s->pids[slot], number) != 0 && errno != ESRCH)
        hd_log(HD_LOG_WARN, "supervisor: the worker can't be signalled: %s", strerror(errno));
}

static void read_beats(void *arg, int slot, hd_beats *out)
{
    const supervisor *s = arg;
    const hd_worker_slot *w = &s->page->slots[slot];
    *out = (hd_beats){.phase = (hd_worker_phase)atomic_load(&w->phase),
                      .working = atomic_load(&w->working) != 0,
                      .keeper = atomic_load(&w->keeper),
                      .server = atomic_load(&w->server),
                      .engine = atomic_load(&w->engine)};
}

static void note_stall(void *arg, int slot, hd_stall stall)
{
    supervisor *s = arg;
    snprintf(s->reasons[slot], sizeof s->reasons[slot], "watchdog: %s stood still", hd_stall_name(stall));
}

static void say(void *arg, bool bad, const char *text)
{
    (void)arg;
    hd_log(bad ? HD_LOG_ERROR : HD_LOG_INFO, "supervisor: %s", text);
}

/* ---- what comes in ---- */

static void tell_ready(supervisor *s, int slot)
{
    char url[sizeof s->page->slots[slot].url];
    size_t len = strnlen(s->page->slots[slot].url, sizeof url - 1);
    if (s->told) return;
    memcpy(url, s->page->slots[slot].url, len);
    url[len] = '\0';
    hd_text_clean(url);
    write_state(s); /* first: who reads the line may read the file */
    printf("ready %s\n", url);
    fflush(stdout);
    s->told = true;
}

static void look_at_phases(supervisor *s)
{
    for (int i = 0; i < HD_SUPERVISE_SLOTS; i++) {
        if (s->rule.slots[i].state != HD_SLOT_LOADING || s->was_ready[i]) continue;
        if (atomic_load(&s->page->slots[i].phase) != HD_WORKER_READY) continue;
        s->was_ready[i] = true;
        hd_supervisor_ready(&s->rule, i, hd_clock_ns());
        tell_ready(s, i);
        if (!s->said_ready) note(s, "READY=1");
        s->said_ready = true;
    }
}

static void take_end(supervisor *s, int slot, int status)
{
    uint32_t failure = atomic_load(&s->page->slots[slot].failure);
    const hd_end end = {WIFSIGNALED(status), WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)};
    uint64_t crashes = s->rule.crashes;
    if (failure && !end.by_signal)
        hd_log(HD_LOG_ERROR, "supervisor: %s can't be run: %s", s->self.file, strerror((int)failure));
    pid_t pid = s->pids[slot];
    if (end.by_signal || (s->was_ready[slot] && end.number && !s->rule.stopping)) write_report(s, slot, status);
    hd_supervisor_gone(&s->rule, slot, end, hd_clock_ns());
    if (s->pids[slot] == pid) s->pids[slot] = 0; /* else it has a successor already */
    if (s->rule.crashes != crashes) atomic_store(&s->page->crashes, s->rule.crashes);
    atomic_store(&s->page->restarts, s->rule.restarts);
}

static void reap(supervisor *s)
{
    for (int i = 0; i < HD_SUPERVISE_SLOTS; i++) {
        int status;
        if (s->pids[i] > 0 && waitpid(s->pids[i], &status, WNOHANG) == s->pids[i]) take_end(s, i, status);
    }
}

static void restart(supervisor *s, int mode)
{
    pid_t pid = s->pids[s->rule.serving];
    uint64_t own = pid > 0 ? hd_private_bytes(pid) : 0, left = hd_available_bytes(s->o->memory, own);
    bool room = hd_supervise_has_room(own, left);
    if (mode < HD_RESTART_AUTO || mode > HD_RESTART_IN_PLACE) mode = HD_RESTART_AUTO;
    hd_log(HD_LOG_INFO, "supervisor: restart: the worker has %.1f GiB of its own, and %.1f GiB are left: %s",
           (double)own / (1 << 30), (double)left / (1 << 30), room ? "enough for two" : "too little for two");
    hd_supervisor_restart(&s->rule, (hd_restart_mode)mode, room, hd_clock_ns());
}

static void take_signal(supervisor *s, const struct signalfd_siginfo *info)
{
    switch ((int)info->ssi_signo) {
    case SIGTERM:
    case SIGINT:
        note(s, "STOPPING=1");
        hd_supervisor_stop(&s->rule, hd_clock_ns());
        break;
    case SIGHUP:
        for (int i = 0; i < HD_SUPERVISE_SLOTS; i++)
            signal_worker(s, i, SIGHUP);
        break;
    case SIGUSR2: restart(s, info->ssi_code == SI_QUEUE ? info->ssi_int : HD_RESTART_AUTO); break;
    default: break; /* SIGCHLD: reap looks */
    }
}

static void take_signals(supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        take_signal(s, &info);
}

static void run(supervisor *s)
{
    while (!s->rule.done) {
        struct pollfd waited[] = {{.fd = s->signal_fd, .events = POLLIN}, {.fd = s->event_fd, .events = POLLIN}};
        uint64_t wait = hd_supervisor_next(&s->rule, hd_clock_ns()), wakes;
        const struct timespec time = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
        ppoll(waited, HD_ARRAY_LEN(waited), &time, NULL);
        ssize_t got = read(s->event_fd, &wakes, sizeof wakes);
        (void)got;
        look_at_phases(s); /* before its end: it may have been ready and died */
        take_signals(s);
        reap(s);
        hd_supervisor_look(&s->rule, hd_clock_ns());
        write_state(s);
        if (s->o->systemd->watchdog_us) note(s, "WATCHDOG=1");
    }
}

/* ---- open and close ---- */

/* Out of the way of the descriptors that workers get. */
static hd_status move_up(int *fd, hd_error *err)
{
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, HD_WORKER_FDS);
    if (high < 0) return hd_fail(err, HD_E_IO, "a descriptor can't be moved: %s", strerror(errno));
    close(*fd);
    *fd = high;
    return HD_OK;
}

static hd_status open_page(supervisor *s, hd_error *err)
{
    s->page_fd = memfd_create("hadal-supervisor", MFD_CLOEXEC);
    if (s->page_fd < 0 || ftruncate(s->page_fd, (off_t)sizeof *s->page) != 0)
        return hd_fail(err, HD_E_IO, "no memory can be shared with workers: %s", strerror(errno));
    HD_TRY(move_up(&s->page_fd, err));
    s->page = mmap(NULL, sizeof *s->page, PROT_READ | PROT_WRITE, MAP_SHARED, s->page_fd, 0);
    if (s->page == MAP_FAILED) {
        s->page = NULL;
        return hd_fail(err, HD_E_MEMORY, "no memory can be shared with workers: %s", strerror(errno));
    }
    s->page->form = HD_SUPERVISE_FORM;
    s->page->size = sizeof *s->page;
    return HD_OK;
}

static hd_status open_signals(supervisor *s, hd_error *err)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
    for (size_t i = 0; i < HD_ARRAY_LEN(numbers); i++)
        sigaddset(&wanted, numbers[i]);
    sigprocmask(SIG_BLOCK, &wanted, &s->mask);
    s->signal_fd = signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->signal_fd < 0 || s->event_fd < 0)
        return hd_fail(err, HD_E_IO, "the supervisor's descriptors can't be made: %s", strerror(errno));
    HD_TRY(move_up(&s->event_fd, err));
    return move_up(&s->signal_fd, err);
}

static hd_status open_all(supervisor *s, hd_error *err)
{
    HD_TRY(hd_self_open(&s->self, s->o->program, s->o->path, err));
    HD_TRY(hd_data_folder_hold(s->o->data, &s->lock_fd, err));
    HD_TRY(move_up(&s->lock_fd, err));
    s->listener = s->o->systemd->listener;
    if (s->listener < 0) HD_TRY(hd_server_listen(&s->listener, s->o->host, s->o->port, err));
    HD_TRY(move_up(&s->listener, err));
    HD_TRY(open_page(s, err));
    return open_signals(s, err);
}

static void close_all(supervisor *s)
{
    const int fds[] = {s->listener, s->page_fd, s->event_fd, s->lock_fd, s->signal_fd};
    for (size_t i = 0; i < HD_ARRAY_LEN(fds); i++)
        if (fds[i] >= 0) close(fds[i]);
    if (s->page) munmap(s->page, sizeof *s->page);
    hd_self_close(&s->self);
    hd_free(s->state);
}

hd_status hd_supervise(const hd_supervise_options *options, int *exit_code, hd_error *err)
{
    supervisor s = {.o = options, .listener = -1, .page_fd = -1, .event_fd = -1, .lock_fd = -1, .signal_fd = -1};
    const hd_supervise_doors doors = {.start = start_worker,
                                      .signal = signal_worker,
                                      .beats = read_beats,
                                      .stalled = note_stall,
                                      .say = say,
                                      .arg = &s};
    hd_status status = open_all(&s, err);
    if (status == HD_OK) {
        hd_supervisor_begin(&s.rule, &options->rules, &doors, hd_clock_ns());
        run(&s);
        *exit_code = s.rule.exit_code;
    }
    close_all(&s);
    return status;
}

/* ---- for other processes ---- */

/* Whether somebody holds the folder's lock. */
static bool is_held(const char *data)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/lock", data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return held;
}

hd_status hd_supervise_read_state(json_t **out, const char *data, hd_error *err)
{
    char path[4200];
    *out = NULL;
    int n = snprintf(path, sizeof path, "%s/" HD_SUPERVISE_STATE, data);
    if (n < 0 || (size_t)n >= sizeof path) return hd_fail(err, HD_E_ARGUMENT, "the data folder's path is too long");
    hd_status status = hd_json_parse_file(out, path, STATE_BYTES, err);
    if (status == HD_E_NOT_FOUND || (status == HD_OK && !is_held(data))) {
        json_decref(*out);
        *out = NULL;
        return hd_fail(err, HD_E_NOT_FOUND,
                       "%s: no supervised service runs with this data folder; --data names another", data);
    }
    HD_TRY(status);
    json_int_t pid = json_integer_value(json_object_get(*out, "pid"));
    if (pid > 1 && pid <= INT32_MAX && json_is_object(json_object_get(*out, "restart"))) return HD_OK;
    json_decref(*out);
    *out = NULL;
    return hd_fail(err, HD_E_FORMAT, "%s is damaged: it names no process", path);
}

hd_status hd_supervise_ask(long pid, hd_restart_mode mode, hd_error *err)
{
    if (sigqueue((pid_t)pid, SIGUSR2, (union sigval){.sival_int = (int)mode}) == 0) return HD_OK;
    return hd_fail(err, HD_E_IO, "process %ld can't be asked: %s", pid,
                   errno == EPERM ? "it is another user's; ask as that one" : strerror(errno));
}
