/* ops/supervise_start.c: how workers are started: as this process was, by its command line as the kernel has it.
 *
 * The program's file is looked up by name for every worker, so that a file that has taken its place, be it by renaming
 * or by a link that now leads elsewhere, is what the next worker runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/supervise_internal.h"
#include "ops/worker.h"

#define LISTENER_FD 3 /* SD_LISTEN_FDS_START */
#define LOCK_FD 6     /* a worker holds the lock by having it open */
#define WORDS_MAX ((size_t)4 << 20)
#define CANNOT_RUN 127

/* ---- this program ---- */

static hd_status read_words(hd_buf *out, hd_error *err)
{
    char piece[4096];
    ssize_t got;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return hd_fail(err, HD_E_IO, "/proc/self/cmdline: %s; workers are started by it", strerror(errno));
    while ((got = read(fd, piece, sizeof piece)) > 0)
        (void)hd_buf_append(out, piece, (size_t)got); /* failures stick */
    close(fd);
    if (out->status != HD_OK) return hd_fail(err, out->status, "the command line is too long");
    return got == 0 && out->len ? HD_OK : hd_fail(err, HD_E_IO, "/proc/self/cmdline can't be read");
}

static hd_status split_words(hd_self *self, hd_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < self->words.len; i++)
        count += self->words.data[i] == '\0';
    self->argv = hd_calloc(count + 1, sizeof *self->argv);
    if (!self->argv) return hd_fail(err, HD_E_MEMORY, "out of memory for the command line");
    char *at = self->words.data;
    for (size_t i = 0; i < count; i++) {
        self->argv[i] = at;
        at += strlen(at) + 1;
    }
    return HD_OK;
}

/* Whether `file` is what runs here. */
static bool is_self(const char *file)
{
    struct stat a, b;
    return stat(file, &a) == 0 && stat("/proc/self/exe", &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool keep_if_self(hd_self *self, const char *folder, size_t folder_len, const char *name)
{
    int n = folder_len ? snprintf(self->file, sizeof self->file, "%.*s/%s", (int)folder_len, folder, name)
                       : snprintf(self->file, sizeof self->file, "%s", name);
    return n > 0 && (size_t)n < sizeof self->file && is_self(self->file);
}

static bool find_in_path(hd_self *self, const char *program, const char *path)
{
    for (const char *at = path; at && *at;) {
        size_t len = strcspn(at, ":");
        if (len && len < PATH_MAX && keep_if_self(self, at, len, program)) return true;
        at += len + (at[len] == ':');
    }
    return false;
}

/* The name by which the program was called, as an absolute one; where that is not this file, the file's own. */
static hd_status find_file(hd_self *self, const char *program, const char *path, hd_error *err)
{
    char folder[PATH_MAX];
    if (program[0] == '/' && keep_if_self(self, "", 0, program)) return HD_OK;
    if (strchr(program, '/') && getcwd(folder, sizeof folder) && keep_if_self(self, folder, strlen(folder), program))
        return HD_OK;
    if (!strchr(program, '/') && find_in_path(self, program, path)) return HD_OK;
    ssize_t len = readlink("/proc/self/exe", self->file, sizeof self->file - 1);
    if (len <= 0) return hd_fail(err, HD_E_IO, "the program's own file can't be found: %s", strerror(errno));
    self->file[len] = '\0';
    return HD_OK;
}

hd_status hd_self_open(hd_self *self, const char *program, const char *path, hd_error *err)
{
    *self = (hd_self){.argv = NULL};
    hd_buf_init(&self->words, WORDS_MAX);
    hd_status status = read_words(&self->words, err);
    if (status == HD_OK) status = split_words(self, err);
    /* A loader that runs the program (`ld.so --library-path DIR FILE`) is the file to run; it is named first then. */
    if (status == HD_OK) status = find_file(self, is_self(program) ? program : self->argv[0], path, err);
    if (status != HD_OK) hd_self_close(self);
    return status;
}

void hd_self_close(hd_self *self)
{
    hd_buf_free(&self->words);
    hd_free(self->argv);
    self->argv = NULL;
}

/* ---- a worker ---- */

typedef struct environment {
    char **list;
    char listen_pid[32], worker[64];
} environment;

static hd_status make_environment(environment *e, const hd_worker_start *s, hd_error *err)
{
    static char listen_fds[] = "LISTEN_FDS=1";
    size_t count = 0, n = 0;
    while (s->environment[count])
        count++;
    e->list = hd_calloc(count + 4, sizeof *e->list);
    if (!e->list) return hd_fail(err, HD_E_MEMORY, "out of memory for a worker");
    for (size_t i = 0; i < count; i++)
        if (strncmp(s->environment[i], HD_WORKER_VARIABLE "=", sizeof HD_WORKER_VARIABLE) != 0)
            e->list[n++] = s->environment[i];
    snprintf(e->worker, sizeof e->worker, HD_WORKER_VARIABLE "=%d %d %ld", s->slot, s->hot, (long)getpid());
    e->list[n++] = e->listen_pid; /* filled by the process that it names */
    e->list[n++] = listen_fds;
    e->list[n++] = e->worker;
    return HD_OK;
}

/* The new process.  It dies with its supervisor, in order (SIGTERM); Ctrl-C in a terminal is for the supervisor, who
 * passes it on. */
static void become_worker(const hd_worker_start *s, environment *e, pid_t supervisor)
{
    static const int targets[] = {LISTENER_FD, HD_WORKER_PAGE_FD, HD_WORKER_EVENT_FD, LOCK_FD};
    const int sources[] = {s->listener, s->page, s->event, s->lock};
    bool fine = prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == supervisor;
    setpgid(0, 0);
    for (size_t i = 0; i < HD_ARRAY_LEN(targets) && fine; i++)
        fine = dup2(sources[i], targets[i]) == targets[i]; /* which is open beyond exec */
    snprintf(e->listen_pid, sizeof e->listen_pid, "LISTEN_PID=%ld", (long)getpid());
    sigprocmask(SIG_SETMASK, s->mask, NULL);
    if (fine) execve(s->self->file, s->self->argv, e->list);
    atomic_store(s->failure, (uint32_t)errno);
    _exit(CANNOT_RUN); /* hd-lint: allow no-exit: the copy of a process that could not become another program */
}

pid_t hd_worker_start_process(const hd_worker_start *start, hd_error *err)
{
    environment e = {.list = NULL};
    pid_t supervisor = getpid();
    if (make_environment(&e, start, err) != HD_OK) return -1;
    pid_t pid = fork();
    if (pid == 0) become_worker(start, &e, supervisor);
    if (pid < 0) (void)hd_fail(err, HD_E_IO, "no process can be made: %s", strerror(errno));
    hd_free(e.list);
    return pid;
}
