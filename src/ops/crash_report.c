/* ops/crash_report.c: see crash_report.h. */
#include "ops/crash_report.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "ops/supervise_rule.h"

#define PREFIX "crash-"
#define NULL_PAGES UINT64_C(0x10000)   /* below it lies nothing: the offset of a member behind a null pointer */
#define STACK_NEAR UINT64_C(0x1000000) /* 16 MiB, more than any stack has */

/* ---- what the worker left ---- */

/* Text of a module or a thread as far as it is such: letters, digits and what file names have. */
static void clean(char *out, size_t size, const char *text, size_t text_size)
{
    size_t n = HD_MIN(strnlen(text, text_size), size - 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("._-+", c);
        out[i] = (char)(fine ? c : '?');
    }
    out[n] = '\0';
}

static const hd_crash_module *module_at(const hd_crash_record *r, uint64_t address)
{
    size_t count = HD_MIN(r->module_count, HD_CRASH_MODULES);
    for (size_t i = 0; i < count; i++)
        if (address >= r->modules[i].begin && address < r->modules[i].end) return &r->modules[i];
    return NULL;
}

/* An address as far as it may be told: within a module, near null, near the stack; any other number could be text. */
static void place(const hd_crash_record *r, uint64_t address, char *out, size_t size)
{
    char name[64];
    const hd_crash_module *m = module_at(r, address);
    if (m) {
        clean(name, sizeof name, m->name, sizeof m->name);
        snprintf(out, size, "%s+0x%llx", name, (unsigned long long)(address - m->begin));
    } else if (address < NULL_PAGES) {
        snprintf(out, size, "0x%llx", (unsigned long long)address);
    } else if (r->stack && (address - r->stack < STACK_NEAR || r->stack - address < STACK_NEAR)) {
        snprintf(out, size, "stack%+lld", (long long)(address - r->stack));
    } else {
        snprintf(out, size, "elsewhere");
    }
}

static hd_status set(json_t *object, const char *key, json_t *value, hd_error *err)
{
    return json_object_set_new(object, key, value) == 0 ? HD_OK
                                                        : hd_fail(err, HD_E_MEMORY, "out of memory for a report");
}

static hd_status add_frames(json_t *out, const hd_crash_record *r, hd_error *err)
{
    char text[96];
    size_t count = HD_MIN(r->frame_count, HD_CRASH_FRAMES);
    json_t *frames = json_array();
    HD_TRY(set(out, "backtrace", frames, err));
    for (size_t i = 0; i < count; i++) {
        place(r, r->frames[i], text, sizeof text);
        if (json_array_append_new(frames, json_string(text)) != 0)
            return hd_fail(err, HD_E_MEMORY, "out of memory for a report");
    }
    return HD_OK;
}

static hd_status add_record(json_t *out, const hd_crash_record *r, hd_error *err)
{
    char text[96];
    clean(text, sizeof text, r->thread, sizeof r->thread);
    HD_TRY(set(out, "thread", json_string(text), err));
    HD_TRY(set(out, "signal_code", json_integer(r->code), err));
    if (r->code > 0) {
        place(r, r->address, text, sizeof text);
        HD_TRY(set(out, "fault_address", json_string(text), err));
    }
    return add_frames(out, r, err);
}

/* ---- the report ---- */

static void time_text(int64_t unix_ms, const char *format, char *out, size_t size)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm utc;
    if (!gmtime_r(&seconds, &utc) || strftime(out, size, format, &utc) == 0) snprintf(out, size, "unknown");
}

static hd_status add_program(json_t *out, const hd_worker_slot *slot, hd_error *err)
{
    char text[64];
    clean(text, sizeof text, slot->version, sizeof slot->version);
    HD_TRY(set(out, "version", json_string(text), err));
    if (slot->crash.module_count == 0) return HD_OK;
    clean(text, sizeof text, slot->crash.modules[0].build_id, sizeof slot->crash.modules[0].build_id);
    return set(out, "build_id", json_string(text), err);
}

static hd_status fill(json_t *out, const hd_crash_facts *f, hd_error *err)
{
    char text[64];
    const char *name = hd_signal_name(f->signal);
    time_text(f->unix_ms, "%Y-%m-%dT%H:%M:%SZ", text, sizeof text);
    HD_TRY(set(out, "time", json_string(text), err));
    HD_TRY(add_program(out, f->slot, err));
    HD_TRY(set(out, "pid", json_integer(f->pid), err));
    if (f->signal) {
        snprintf(text, sizeof text, "%s", name ? name : "?");
        HD_TRY(set(out, "signal", json_integer(f->signal), err));
        HD_TRY(set(out, "signal_name", json_string(text), err));
    } else {
        HD_TRY(set(out, "exit_code", json_integer(f->exit_code), err));
    }
    if (f->reason) HD_TRY(set(out, "reason", json_string(f->reason), err));
    HD_TRY(set(out, "uptime_seconds", json_real((double)(int64_t)(f->uptime * 10) / 10), err));
    HD_TRY(set(out, "ready", json_boolean(f->ready), err));
    HD_TRY(set(out, "requests_under_way", json_integer(atomic_load(&f->slot->requests)), err));
    HD_TRY(set(out, "models", json_string(f->models ? f->models : ""), err));
    return atomic_load(&f->slot->crash.filled) ? add_record(out, &f->slot->crash, err) : HD_OK;
}

/* ---- the folder ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void remove_first(const char *folder, char **names, size_t count)
{
    char path[4096];
    qsort(names, count, sizeof *names, by_name); /* the time stands in front, so the oldest come first */
    for (size_t i = 0; i + HD_CRASH_REPORTS < count; i++) {
        int n = snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (n > 0 && (size_t)n < sizeof path && unlink(path) != 0 && errno != ENOENT)
            hd_log(HD_LOG_WARN, "%s can't be removed: %s", path, strerror(errno));
    }
}

/* As many as a folder may have got by other means; the rest goes the next time. */
#define NAMES 1024

static void prune(const char *folder)
{
    char *names[NAMES];
    size_t count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && count < NAMES && (entry = readdir(dir));) {
        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0) continue;
        names[count] = hd_strdup(entry->d_name);
        count += names[count] != NULL;
    }
    if (dir) closedir(dir);
    remove_first(folder, names, count);
    for (size_t i = 0; i < count; i++)
        hd_free(names[i]);
}

static hd_status write_report(const char *path, json_t *report, hd_error *err)
{
    hd_buf text;
    hd_buf_init(&text, (size_t)64 << 10);
    hd_status status = hd_json_append(&text, report);
    if (status == HD_OK)
        status = hd_file_write_private(path, text.data, text.len, err);
    else
        (void)hd_fail(err, status, "a crash report is too large");
    hd_buf_free(&text);
    return status;
}

hd_status hd_crash_report_write(const char *folder, const hd_crash_facts *facts, char *path, size_t size, hd_error *err)
{
    char stamp[32];
    HD_TRY(hd_dirs_make_private(folder, err));
    time_text(facts->unix_ms, "%Y%m%dT%H%M%SZ", stamp, sizeof stamp);
    int n = snprintf(path, size, "%s/" PREFIX "%s-%ld.json", folder, stamp, facts->pid);
    if (n < 0 || (size_t)n >= size) return hd_fail(err, HD_E_LIMIT, "%s: the path of a report is too long", folder);
    json_t *report = json_object();
    if (!report) return hd_fail(err, HD_E_MEMORY, "out of memory for a report");
    hd_status status = fill(report, facts, err);
    if (status != HD_OK) {
        json_decref(report);
        return status;
    }
    HD_TRY(write_report(path, report, err)); /* takes the reference */
    prune(folder);
    return HD_OK;
}
