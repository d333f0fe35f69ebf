/* Reports about workers that died (ops/crash_report.h): what is in them, and what is not, whatever the worker left. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "ops/crash_report.h"

static char folder[64], path[256];
static hd_worker_slot slot;

static int set_up(void **unused)
{
    (void)unused;
    snprintf(folder, sizeof folder, "/tmp/hadal-crash-XXXXXX");
    memset(&slot, 0, sizeof slot);
    return mkdtemp(folder) ? 0 : -1;
}

static int clear(const char *what)
{
    DIR *dir = opendir(what);
    int count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char name[512];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", what, entry->d_name);
        count += unlink(name) == 0;
    }
    if (dir) closedir(dir);
    return count;
}

static int tear_down(void **unused)
{
    (void)unused;
    clear(folder);
    return rmdir(folder);
}

static json_t *report(const hd_crash_facts *facts)
{
    hd_error err;
    json_t *out;
    assert_int_equal(hd_crash_report_write(folder, facts, path, sizeof path, &err), HD_OK);
    assert_int_equal(hd_json_parse_file(&out, path, 1 << 16, &err), HD_OK);
    return out;
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static hd_crash_facts facts_of(int number)
{
    return (hd_crash_facts){.slot = &slot,
                            .signal = number,
                            .models = "r1,v3",
                            .uptime = 12.34,
                            .ready = true,
                            .pid = 77,
                            .unix_ms = INT64_C(1700000000000)};
}

static void test_without_a_record(void **unused)
{
    (void)unused;
    hd_crash_facts f = facts_of(SIGKILL);
    json_t *r = report(&f);
    struct stat st;
    assert_non_null(strstr(path, "/crash-20231114T221320Z-77.json"));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_string_equal(text(r, "time"), "2023-11-14T22:13:20Z");
    assert_string_equal(text(r, "signal_name"), "SIGKILL");
    assert_string_equal(text(r, "models"), "r1,v3");
    assert_null(json_object_get(r, "backtrace"));
    json_decref(r);
}

static void test_frames(void **unused)
{
    (void)unused;
    hd_crash_record *c = &slot.crash;
    hd_crash_facts f = facts_of(SIGSEGV);
    *c = (hd_crash_record){.signal = SIGSEGV, .code = 1, .address = 0x18, .stack = 0x7ffd00000000, .module_count = 2};
    c->modules[0] = (hd_crash_module){0x1000000, 0x2000000, "hadal", "abc123"};
    c->modules[1] = (hd_crash_module){0x3000000, 0x3100000, "libc.so.6", ""};
    const uint64_t frames[] = {0x1000010, 0x3000020, 0x7ffd00000100, 0x414243444546, 0xffff};
    memcpy(c->frames, frames, sizeof frames);
    c->frame_count = HD_ARRAY_LEN(frames);
    memcpy(c->thread, "a\"b\001thread-name", 16); /* no NUL at its end */
    atomic_store(&c->filled, 2);
    json_t *r = report(&f);
    const char *const expected[] = {"hadal+0x10", "libc.so.6+0x20", "stack+256", "elsewhere", "0xffff"};
    for (size_t i = 0; i < HD_ARRAY_LEN(expected); i++)
        assert_string_equal(json_string_value(json_array_get(json_object_get(r, "backtrace"), i)), expected[i]);
    assert_string_equal(text(r, "thread"), "a?b?thread-name");
    assert_string_equal(text(r, "fault_address"), "0x18");
    assert_string_equal(text(r, "build_id"), "abc123");
    json_decref(r);
    c->address = 0x746572636573; /* "secret" as a pointer */
    r = report(&f);
    assert_string_equal(text(r, "fault_address"), "elsewhere");
    json_decref(r);
}

/* A worker whose memory went wrong may have left anything. */
static void test_rubbish(void **unused)
{
    (void)unused;
    hd_crash_facts f = facts_of(SIGSEGV);
    for (int byte = 1; byte < 256; byte += 50) {
        struct stat st;
        memset(&slot, byte, sizeof slot);
        json_t *r = report(&f);
        assert_int_equal(json_array_size(json_object_get(r, "backtrace")), HD_CRASH_FRAMES);
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size < 16384);
        json_decref(r);
    }
}

static void test_only_the_newest(void **unused)
{
    (void)unused;
    hd_crash_facts f = facts_of(0);
    f.exit_code = 3;
    f.reason = "watchdog: the engine stood still";
    for (int i = 0; i < 2 * HD_CRASH_REPORTS; i++) {
        f.unix_ms += 1000;
        json_t *r = report(&f);
        assert_int_equal(json_integer_value(json_object_get(r, "exit_code")), 3);
        assert_string_equal(text(r, "reason"), f.reason);
        json_decref(r);
    }
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(clear(folder), HD_CRASH_REPORTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_a_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rubbish, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_the_newest, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
