/* Notes to systemd and sockets from it, with this test in systemd's place. */
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "server/systemd.h"

static const char *const names[] = {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "WATCHDOG_PID", "WATCHDOG_USEC"};

static void set_own_pid(const char *name)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv(name, pid, 1);
}

static void open_fine(hd_systemd *systemd)
{
    hd_error err = {0};
    if (hd_systemd_open(systemd, getenv, &err) != HD_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        assert_null(getenv(names[i])); /* no child inherits it */
}

static void test_without_systemd(void **state)
{
    (void)state;
    hd_systemd systemd;
    open_fine(&systemd);
    assert_int_equal(systemd.listener, -1);
    assert_int_equal(systemd.watchdog_us, 0);
    assert_int_equal(hd_systemd_notify(&systemd, NULL, "READY=1"), HD_OK);
    assert_int_equal(hd_systemd_reloading(&systemd, NULL), HD_OK);
}

static void expect_note(int fd, const char *begin)
{
    char note[8192] = "";
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 5000), 1);
    assert_true(recv(fd, note, sizeof note - 1, 0) >= 0);
    if (strncmp(note, begin, strlen(begin)) != 0) fail_msg("expected %s, got %s", begin, note);
}

static void notify_through(const char *path)
{
    hd_systemd systemd;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path));
    if (path[0] == '@') at.sun_path[0] = '\0';
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] != '@'));
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    setenv("NOTIFY_SOCKET", path, 1);
    open_fine(&systemd);
    assert_int_equal(hd_systemd_notify(&systemd, NULL, "READY=1\nSTATUS=%d models", 2), HD_OK);
    expect_note(fd, "READY=1\nSTATUS=2 models");
    assert_int_equal(hd_systemd_reloading(&systemd, NULL), HD_OK);
    expect_note(fd, "RELOADING=1\nMONOTONIC_USEC=");
    char long_text[5000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    assert_int_equal(hd_systemd_notify(&systemd, NULL, "STATUS=%s", long_text), HD_E_LIMIT);
    assert_int_equal(hd_systemd_notify(&systemd, NULL, "STATUS=%.*s", 4089, long_text), HD_OK);
    expect_note(fd, "STATUS=xxx");
    close(fd);
    hd_error err = {0};
    assert_int_equal(hd_systemd_notify(&systemd, &err, "STOPPING=1"), HD_E_IO); /* systemd left */
    assert_non_null(strstr(err.text, "systemd"));
}

static void test_notes(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/hadal-notify-%d", (int)getpid());
    notify_through(path);
    unlink(path);
    snprintf(path, sizeof path, "@hadal-notify-%d", (int)getpid());
    notify_through(path);
}

static void test_listener_and_watchdog(void **state)
{
    (void)state;
    hd_systemd systemd;
    set_own_pid("LISTEN_PID");
    set_own_pid("WATCHDOG_PID");
    setenv("LISTEN_FDS", "1", 1);
    setenv("WATCHDOG_USEC", "30000000", 1);
    open_fine(&systemd);
    assert_int_equal(systemd.listener, 3);
    assert_int_equal(systemd.watchdog_us, 30000000);

    setenv("WATCHDOG_USEC", "5", 1); /* for anybody */
    open_fine(&systemd);
    assert_int_equal(systemd.watchdog_us, 5);

    setenv("LISTEN_PID", "1", 1); /* for others */
    setenv("LISTEN_FDS", "1", 1);
    setenv("WATCHDOG_PID", "1", 1);
    setenv("WATCHDOG_USEC", "30000000", 1);
    open_fine(&systemd);
    assert_int_equal(systemd.listener, -1);
    assert_int_equal(systemd.watchdog_us, 0);

    set_own_pid("LISTEN_PID");
    setenv("LISTEN_FDS", "0", 1);
    open_fine(&systemd);
    assert_int_equal(systemd.listener, -1);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"LISTEN_FDS", "one"},
        {"LISTEN_FDS", ""},
        {"LISTEN_FDS", "-1"},
        {"LISTEN_FDS", "1 "},
        {"WATCHDOG_USEC", "+5"},
        {"LISTEN_PID", "99999999999999999999"},
        {"NOTIFY_SOCKET", "here"},
        {"NOTIFY_SOCKET", "@"},
        {"NOTIFY_SOCKET", ""},
        {"NOTIFY_SOCKET",
         "/ttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"
         "tttttttttttttttt"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_systemd systemd;
        hd_error err = {0};
        setenv(bad[i][0], bad[i][1], 1);
        assert_int_equal(hd_systemd_open(&systemd, getenv, &err), HD_E_ARGUMENT);
        assert_non_null(strstr(err.text, bad[i][0]));
        assert_null(getenv(bad[i][0]));
        assert_int_equal(systemd.listener, -1);
        assert_int_equal(hd_systemd_notify(&systemd, NULL, "READY=1"), HD_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_systemd),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_listener_and_watchdog),
        cmocka_unit_test(test_malformed),
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        unsetenv(names[i]); /* a test that systemd runs itself */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
