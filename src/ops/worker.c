/* ops/worker.c: see worker.h.
 *
 * The signal handler writes plain numbers into memory that is mapped already and calls what may be called there; the
 * only exception is backtrace(3), which is called once before, so that its library is loaded.  Should it hang (a loader
 * lock), an alarm ends the process.  The supervisor turns the record into a report (crash_report.h).
 */
#include "ops/worker.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/base.h"
#include "base/metric_families.h"
#include "ops/supervise_page.h"

#define STACK_BYTES ((size_t)64 << 10) /* of the handler: the unwinder needs some 10 KiB */
#define PATIENCE 5                     /* seconds for the record */

struct hd_worker {
    hd_supervise_page *page;
    hd_worker_slot *slot;
    pid_t supervisor;
    bool hot;
    uint64_t started_ns;
    void *stack;
};

/* ---- the record ---- */

static hd_crash_record *record; /* of this process, for the handler; NULL: none */
static volatile sig_atomic_t entered;

static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};

/* Where the signal found the thread; 0: unknown on this processor. */
static uint64_t program_counter(const void *context)
{
    const ucontext_t *c = context;
#if defined(__x86_64__)
    return (uint64_t)c->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return c->uc_mcontext.pc;
#else
    (void)c;
    return 0;
#endif
}

static void take_frames(hd_crash_record *r, const void *context)
{
    void *frames[HD_CRASH_FRAMES - 1];
    r->frames[0] = program_counter(context);
    r->frame_count = 1;
    atomic_store(&r->filled, 1);
    int count = backtrace(frames, (int)HD_ARRAY_LEN(frames)); /* walks a stack that may be damaged: all else is safe */
    for (int i = 0; i < count; i++)
        r->frames[1 + i] = (uint64_t)(uintptr_t)frames[i];
    r->frame_count = 1 + (uint32_t)HD_MAX(count, 0);
    atomic_store(&r->filled, 2);
}

static void on_deadly(int number, siginfo_t *info, void *context)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGALRM);
    while (entered) /* another thread dies of something, too: the first one is told of */
        pause();
    entered = 1;
    signal(SIGALRM, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &wanted, NULL);
    alarm(PATIENCE);
    record->signal = number;
    record->code = info->si_code;
    record->address = info->si_code > 0 ? (uint64_t)(uintptr_t)info->si_addr : 0; /* not of a signal that was sent */
    record->stack = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    prctl(PR_GET_NAME, record->thread);
    take_frames(record, context);
    prctl(PR_SET_DUMPABLE, 0); /* a core dump would hold prompts and keys */
    signal(number, SIG_DFL);
    sigaddset(&wanted, number);
    pthread_sigmask(SIG_UNBLOCK, &wanted, NULL);
    raise(number);
}

/* Handlers that are there already stay: they are a sanitizer's. */
static void install(void)
{
    struct sigaction now, action = {.sa_sigaction = on_deadly, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    void *probe[1];
    sigfillset(&action.sa_mask);
    (void)backtrace(probe, 1); /* loads what it needs */
    for (size_t i = 0; i < HD_ARRAY_LEN(deadly); i++)
        if (sigaction(deadly[i], NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_DFL)
            sigaction(deadly[i], &action, NULL);
    /* Where the kernel pipes dumps to a program, 0 does not keep it from doing so, but 1 does (core(5)). */
    struct rlimit core;
    if (getrlimit(RLIMIT_CORE, &core) != 0) return;
    core.rlim_cur = core.rlim_max = HD_MIN(core.rlim_max, 1u);
    if (setrlimit(RLIMIT_CORE, &core) != 0) hd_log(HD_LOG_WARN, "core dumps can't be turned off: %s", strerror(errno));
}

/* ---- modules ---- */

/* NT_GNU_BUILD_ID of a segment of notes: name and contents each end on a multiple of 4 (elf(5)). */
static void find_build_id(const uint8_t *at, size_t size, char *out, size_t out_size)
{
    while (size >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, at, sizeof note);
        size_t name = ((size_t)note.n_namesz + 3) & ~(size_t)3, content = ((size_t)note.n_descsz + 3) & ~(size_t)3;
        if (name > size || content > size || sizeof note + name + content > size) return;
        const uint8_t *id = at + sizeof note + name;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(at + sizeof note, "GNU", 4) == 0) {
            for (size_t i = 0; i < note.n_descsz && 2 * i + 2 < out_size; i++)
                snprintf(out + 2 * i, 3, "%02x", id[i]);
            return;
        }
        at += sizeof note + name + content;
        size -= sizeof note + name + content;
    }
}

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    hd_crash_record *r = arg;
    hd_crash_module m = {.begin = UINT64_MAX};
    (void)size;
    if (r->module_count == HD_CRASH_MODULES) return 1;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uint64_t at = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD) {
            m.begin = HD_MIN(m.begin, at);
            m.end = HD_MAX(m.end, at + part->p_memsz);
        } else if (part->p_type == PT_NOTE && !m.build_id[0]) {
            find_build_id((const uint8_t *)(uintptr_t)at, part->p_memsz, m.build_id, sizeof m.build_id);
        }
    }
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash ? slash + 1 : info->dlpi_name;
    snprintf(m.name, sizeof m.name, "%s", *name ? name : "hadal"); /* the program itself has none */
    r->modules[r->module_count++] = m;
    return 0;
}

static void list_modules(hd_crash_record *r)
{
    r->module_count = 0;
    dl_iterate_phdr(add_module, r);
}

/* ---- joining ---- */

static hd_status map_page(hd_worker *w, int slot, hd_error *err)
{
    struct stat st;
    if (fstat(HD_WORKER_PAGE_FD, &st) != 0 || st.st_size != (off_t)sizeof *w->page)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "the supervisor is of another version, which a worker of this one can't work for: stop the "
                       "service and start it again");
    w->page = mmap(NULL, sizeof *w->page, PROT_READ | PROT_WRITE, MAP_SHARED, HD_WORKER_PAGE_FD, 0);
    if (w->page == MAP_FAILED) {
        w->page = NULL;
        return hd_fail(err, HD_E_IO, "the supervisor's memory can't be mapped: %s", strerror(errno));
    }
    if (w->page->form != HD_SUPERVISE_FORM || w->page->size != sizeof *w->page)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "the supervisor is of another version: stop the service and start it again");
    w->slot = &w->page->slots[slot];
    return HD_OK;
}

static void use_own_stack(hd_worker *w)
{
    w->stack = hd_alloc(STACK_BYTES);
    const stack_t stack = {.ss_sp = w->stack, .ss_size = STACK_BYTES};
    if (!w->stack || sigaltstack(&stack, NULL) != 0)
        hd_log(HD_LOG_WARN, "a stack that overflows will leave no record of where");
}

static hd_status join(hd_worker *w, const char *text, const char *version, hd_error *err)
{
    int slot = -1, hot = -1, end = 0;
    long supervisor = 0;
    if (sscanf(text, "%d %d %ld%n", &slot, &hot, &supervisor, &end) != 3 || text[end] || slot < 0 ||
        slot >= HD_SUPERVISE_SLOTS || supervisor <= 0)
        return hd_fail(err, HD_E_ARGUMENT, "the environment's %s is for workers of `hadal serve --supervise` only",
                       HD_WORKER_VARIABLE);
    w->hot = hot == 1;
    w->supervisor = (pid_t)supervisor;
    w->started_ns = hd_clock_ns();
    HD_TRY(map_page(w, slot, err));
    fcntl(HD_WORKER_PAGE_FD, F_SETFD, FD_CLOEXEC);
    fcntl(HD_WORKER_EVENT_FD, F_SETFD, FD_CLOEXEC);
    snprintf(w->slot->version, sizeof w->slot->version, "%s", version);
    list_modules(&w->slot->crash);
    record = &w->slot->crash;
    use_own_stack(w);
    install();
    return HD_OK;
}

hd_status hd_worker_join(hd_worker **out, const char *text, const char *version, hd_error *err)
{
    *out = NULL;
    hd_worker *w = hd_calloc(1, sizeof *w);
    if (!w) return hd_fail(err, HD_E_MEMORY, "out of memory for a worker");
    hd_status status = join(w, text, version, err);
    if (status == HD_OK)
        *out = w;
    else
        hd_worker_leave(&w);
    return status;
}

/* The page stays mapped: the handler needs it as long as the process lives. */
void hd_worker_leave(hd_worker **worker)
{
    hd_worker *w = *worker;
    if (!w) return;
    const stack_t none = {.ss_flags = SS_DISABLE};
    if (w->stack && sigaltstack(&none, NULL) == 0) hd_free(w->stack);
    hd_free(w);
    *worker = NULL;
}

/* ---- what it tells ---- */

static void wake_supervisor(void)
{
    uint64_t one = 1;
    ssize_t written = write(HD_WORKER_EVENT_FD, &one, sizeof one); /* should it fail: it looks once a second anyway */
    (void)written;
}

void hd_worker_is_ready(hd_worker *w, const char *url)
{
    if (!w) return;
    list_modules(&w->slot->crash); /* some were loaded since */
    snprintf(w->slot->url, sizeof w->slot->url, "%s", url);
    atomic_store(&w->slot->phase, HD_WORKER_READY);
    wake_supervisor();
}

void hd_worker_is_closing(hd_worker *w)
{
    if (w) atomic_store(&w->slot->phase, HD_WORKER_CLOSING);
}

void hd_worker_beat_server(void *worker)
{
    hd_worker *w = worker;
    if (w) atomic_fetch_add(&w->slot->server, 1);
}

void hd_worker_beat_keeper(hd_worker *w, int64_t requests, bool working, uint64_t engine)
{
    if (!w) return;
    atomic_store(&w->slot->requests, (uint32_t)HD_MIN(HD_MAX(requests, 0), UINT32_MAX));
    atomic_store(&w->slot->working, working);
    atomic_store(&w->slot->engine, engine);
    atomic_fetch_add(&w->slot->keeper, 1);
}

void hd_worker_metrics(void *worker, hd_buf *out)
{
    const hd_worker *w = worker;
    if (!w) return;
    hd_metrics_page page = hd_metrics_page_begin(out);
    hd_metrics_put(&page, HD_M_WORKER_CRASHES, NULL, (double)atomic_load(&w->page->crashes));
    hd_metrics_put(&page, HD_M_WORKER_RESTARTS, NULL, (double)atomic_load(&w->page->restarts));
    hd_metrics_put(&page, HD_M_WORKER_UPTIME, NULL, (double)(hd_clock_ns() - w->started_ns) / 1e9);
}

bool hd_worker_is_hot(const hd_worker *w)
{
    return w && w->hot;
}

pid_t hd_worker_supervisor(const hd_worker *w)
{
    return w ? w->supervisor : 0;
}
