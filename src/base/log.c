/* base/log.c: see log.h.  The file is guarded by a lock; standard error needs none, a line being one write(). */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "base/log_counts.h"
#include "base/text.h"

#define MESSAGE_MAX 1024 /* bytes of a message, with its NUL */
#define VALUE_MAX 256    /* bytes of a text in a field; of longer ones the beginning is shown */
#define TAIL 4           /* room for what closes a line: "}\n" */

static atomic_int max_level = HD_LOG_WARN, chosen_format = HD_LOG_TEXT;

static struct log_file {
    pthread_mutex_t lock;
    atomic_int fd; /* -1: lines go to standard error */
    char *path;    /* owned */
    uint64_t size, written;
    int keep;
} file = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static _Atomic uint64_t lines[HD_LOG_LEVELS];

void hd_log_get_counts(uint64_t out[HD_LOG_LEVELS])
{
    for (int i = 0; i < HD_LOG_LEVELS; i++)
        out[i] = atomic_load_explicit(&lines[i], memory_order_relaxed);
}

void hd_log_set_level(hd_log_level level)
{
    atomic_store(&max_level, (int)level);
}

bool hd_log_shows(hd_log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

void hd_log_set_format(hd_log_format format)
{
    atomic_store(&chosen_format, (int)format);
}

/* ---- a line ---- */

typedef struct line {
    char *data; /* [HD_LOG_LINE] */
    size_t len;
    bool full; /* something did not fit: nothing more is added, so that a cut is at the end only */
} line;

static void put(line *l, const char *text, size_t len)
{
    if (l->full || len > HD_LOG_LINE - TAIL - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->data + l->len, text, len);
    l->len += len;
}

static void put_text(line *l, const char *text)
{
    put(l, text, strlen(text));
}

/* A string of JSON.  It is closed even when the line is full: each piece is added whole or not at all. */
static void put_string(line *l, const char *text, size_t max)
{
    char copy[MESSAGE_MAX], escaped[2] = {'\\', '\0'};
    snprintf(copy, HD_MIN(max, sizeof copy), "%s", text);
    hd_text_clean(copy); /* also of a character that was cut */
    put_text(l, "\"");
    bool open = !l->full;
    for (const char *c = copy; *c && !l->full;) {
        size_t n = hd_text_character(c, strlen(c));
        if (*c == '"' || *c == '\\') {
            escaped[1] = *c;
            put(l, escaped, 2);
        } else {
            put(l, c, n);
        }
        c += n;
    }
    if (open) l->data[l->len++] = '"'; /* TAIL has room for it */
}

static void put_time(line *l, uint64_t unix_ms)
{
    char text[40];
    struct tm utc;
    time_t seconds = (time_t)(unix_ms / 1000);
    if (!gmtime_r(&seconds, &utc)) memset(&utc, 0, sizeof utc);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + n, sizeof text - n, ".%03uZ", (unsigned)(unix_ms % 1000));
    put_text(l, text);
}

static bool is_shown(const hd_log_field *f)
{
    switch (f->kind) {
    case HD_LOG_STRING: return f->text && f->text[0];
    case HD_LOG_INT: return f->number >= 0;
    case HD_LOG_SECONDS: return isfinite(f->seconds) && f->seconds >= 0;
    }
    return false;
}

static void put_value(line *l, const hd_log_field *f, hd_log_format format)
{
    char text[VALUE_MAX];
    if (f->kind == HD_LOG_STRING && format == HD_LOG_JSON) {
        put_string(l, f->text, VALUE_MAX);
        return;
    }
    if (f->kind == HD_LOG_STRING) {
        snprintf(text, sizeof text, "%s", f->text);
        hd_text_clean(text);
        for (char *c = text; *c; c++)
            if (*c == ' ' || *c == '=') *c = '_'; /* so that name=value can be cut apart again */
    } else if (f->kind == HD_LOG_INT) {
        snprintf(text, sizeof text, "%lld", (long long)f->number);
    } else {
        snprintf(text, sizeof text, "%.6f", f->seconds);
    }
    put_text(l, text);
}

/* A member is there whole or not at all. */
static void put_member(line *l, const hd_log_field *f)
{
    size_t before = l->len;
    put_text(l, ",\"");
    put_text(l, f->name);
    put_text(l, "\":");
    put_value(l, f, HD_LOG_JSON);
    if (l->full) l->len = before;
}

static void write_json(line *l, hd_log_level level, const char *name, uint64_t unix_ms, const char *message,
                       const hd_log_field *fields, size_t count)
{
    (void)level;
    put_text(l, "{\"time\":\"");
    put_time(l, unix_ms);
    put_text(l, "\",\"level\":\"");
    put_text(l, name);
    put_text(l, "\",\"message\":");
    put_string(l, message, MESSAGE_MAX);
    for (size_t i = 0; i < count; i++)
        if (is_shown(&fields[i])) put_member(l, &fields[i]);
    memcpy(l->data + l->len, "}\n", 2);
    l->len += 2;
}

static void write_text(line *l, bool dated, const char *name, uint64_t unix_ms, const char *message,
                       const hd_log_field *fields, size_t count)
{
    char copy[MESSAGE_MAX];
    snprintf(copy, sizeof copy, "%s", message);
    hd_text_clean(copy);
    if (dated) put_time(l, unix_ms);
    put_text(l, dated ? " hadal: " : "hadal: ");
    put_text(l, name);
    put_text(l, ": ");
    put_text(l, copy);
    for (size_t i = 0; i < count; i++) {
        if (!is_shown(&fields[i])) continue;
        put_text(l, " ");
        put_text(l, fields[i].name);
        put_text(l, "=");
        put_value(l, &fields[i], HD_LOG_TEXT);
    }
    l->data[l->len++] = '\n';
}

size_t hd_log_write_line(char *out, hd_log_format format, bool dated, hd_log_level level, uint64_t unix_ms,
                         const char *message, const hd_log_field *fields, size_t count)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    line l = {.data = out};
    if (format == HD_LOG_JSON)
        write_json(&l, level, names[level], unix_ms, message, fields, count);
    else
        write_text(&l, dated, names[level], unix_ms, message, fields, count);
    return l.len;
}

/* ---- the file ---- */

static int open_path(const char *path, uint64_t *size)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) return -1;
    *size = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    return fd;
}

/* With the lock held.  The new file is opened before the old one is given up. */
static hd_status swap_file(hd_error *err)
{
    uint64_t size;
    int fd = open_path(file.path, &size);
    if (fd < 0) return hd_fail(err, HD_E_IO, "%s: %s", file.path, strerror(errno));
    int old = atomic_exchange(&file.fd, fd);
    if (old >= 0) close(old);
    file.written = size;
    return HD_OK;
}

/* Whether the path still leads to the file that is open: another process that writes to it, as a worker about to leave
 * does, may have moved it away. */
static bool is_ours(void)
{
    struct stat open_one, there;
    return fstat(atomic_load(&file.fd), &open_one) == 0 && stat(file.path, &there) == 0 &&
           open_one.st_dev == there.st_dev && open_one.st_ino == there.st_ino;
}

/* With the lock held.  Where a rename fails the file just grows on: a line is worth more than its place. */
static void rotate(void)
{
    char from[4096], to[4096];
    if (!is_ours()) {
        (void)swap_file(NULL);
        return;
    }
    for (int i = file.keep; i >= 1; i--) {
        snprintf(to, sizeof to, "%s.%d", file.path, i);
        if (i > 1)
            snprintf(from, sizeof from, "%s.%d", file.path, i - 1);
        else
            snprintf(from, sizeof from, "%s", file.path);
        if (rename(from, to) != 0 && i == 1) return;
    }
    if (file.keep == 0 && unlink(file.path) != 0) return;
    (void)swap_file(NULL);
}

/* False when the line is not in the file. */
static bool write_file(const char *data, size_t len)
{
    if (atomic_load_explicit(&file.fd, memory_order_relaxed) < 0) return false;
    pthread_mutex_lock(&file.lock);
    int fd = atomic_load(&file.fd);
    if (fd >= 0 && file.size && file.written && file.written + len > file.size) {
        rotate();
        fd = atomic_load(&file.fd);
    }
    bool good = fd >= 0 && write(fd, data, len) == (ssize_t)len;
    if (good) file.written += len;
    pthread_mutex_unlock(&file.lock);
    return good;
}

hd_status hd_log_open_file(const char *path, uint64_t size, int keep, hd_error *err)
{
    const size_t longest = 4000; /* with a number behind it the path still fits into PATH_MAX */
    if (strlen(path) > longest) return hd_fail(err, HD_E_ARGUMENT, "the log file's path is too long");
    char *copy = hd_strdup(path);
    if (!copy) return hd_fail(err, HD_E_MEMORY, "out of memory for a path");
    pthread_mutex_lock(&file.lock);
    hd_free(file.path);
    file.path = copy;
    file.size = size;
    file.keep = keep;
    hd_status status = swap_file(err);
    pthread_mutex_unlock(&file.lock);
    return status;
}

hd_status hd_log_reopen(hd_error *err)
{
    hd_status status = HD_OK;
    pthread_mutex_lock(&file.lock);
    if (file.path) status = swap_file(err);
    pthread_mutex_unlock(&file.lock);
    return status;
}

void hd_log_close_file(void)
{
    pthread_mutex_lock(&file.lock);
    int fd = atomic_exchange(&file.fd, -1);
    if (fd >= 0) close(fd);
    hd_free(file.path);
    file.path = NULL;
    pthread_mutex_unlock(&file.lock);
}

/* ---- lines of the program ---- */

static void say(hd_log_level level, const hd_log_field *fields, size_t count, const char *message)
{
    char out[HD_LOG_LINE];
    atomic_fetch_add_explicit(&lines[level], 1, memory_order_relaxed);
    hd_log_format format = (hd_log_format)atomic_load_explicit(&chosen_format, memory_order_relaxed);
    bool dated = atomic_load_explicit(&file.fd, memory_order_relaxed) >= 0; /* journals and terminals know the time */
    size_t len = hd_log_write_line(out, format, dated, level, hd_clock_unix_ms(), message, fields, count);
    if (!write_file(out, len)) (void)!write(STDERR_FILENO, out, len); /* there is nobody left to tell */
}

void hd_log(hd_log_level level, const char *fmt, ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    if (!hd_log_shows(level)) return;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    say(level, NULL, 0, message);
}

void hd_log_with(hd_log_level level, const hd_log_field *fields, size_t count, const char *fmt, ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    if (!hd_log_shows(level)) return;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    say(level, fields, count, message);
}
