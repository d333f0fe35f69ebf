/* Mapped files: what opens and what does not, and that a file which shrinks ends in zeros and a flag, not in a signal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

static char path[64];
static size_t page;
static struct sigaction handler; /* mapping.c's */

/* cmocka puts handlers of its own around each test; a program of ours does not. */
static void take_signal_back(void)
{
    assert_int_equal(sigaction(SIGBUS, &handler, NULL), 0);
}

static void write_file(size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < bytes; i++)
        assert_int_not_equal(fputc(1 + (int)(i % 100), f), EOF);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    (void)state;
    page = (size_t)sysconf(_SC_PAGESIZE);
    snprintf(path, sizeof path, "/tmp/hadal-mapping-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0) return -1;
    return close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static hd_mapping *open_ok(void)
{
    hd_mapping *m = NULL;
    hd_error err = {0};
    if (hd_mapping_open(&m, path, &err) != HD_OK) fail_msg("%s", err.text);
    return m;
}

static void maps_a_file(void **state)
{
    (void)state;
    write_file(page + 10);
    hd_mapping *m = open_ok();
    assert_int_equal(hd_mapping_size(m), page + 10);
    assert_string_equal(hd_mapping_path(m), path);
    assert_int_equal(hd_mapping_data(m)[0], 1);
    assert_int_equal(hd_mapping_data(m)[page + 9], 1 + (int)((page + 9) % 100));
    assert_false(hd_mapping_failed(m));
    hd_mapping_close(&m);
    assert_null(m);
    hd_mapping_close(&m); /* nothing to do */
}

static void an_empty_file_has_a_pointer(void **state)
{
    (void)state;
    hd_mapping *m = open_ok();
    assert_int_equal(hd_mapping_size(m), 0);
    assert_non_null(hd_mapping_data(m));
    assert_false(hd_mapping_failed(m));
    hd_mapping_drop(m, hd_mapping_data(m), 1);
    hd_mapping_close(&m);
}

static void expect_error(const char *name, hd_status status)
{
    hd_mapping *m = (hd_mapping *)&page;
    hd_error err = {0};
    assert_int_equal(hd_mapping_open(&m, name, &err), status);
    assert_null(m);
    assert_non_null(strstr(err.text, name));
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    expect_error("/tmp/hadal-mapping-of-nothing", HD_E_NOT_FOUND);
    expect_error("/tmp", HD_E_ARGUMENT);
    expect_error("/dev/null", HD_E_ARGUMENT);
    char fifo[80];
    snprintf(fifo, sizeof fifo, "%s.fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_error(fifo, HD_E_ARGUMENT); /* and does not wait for a writer */
    unlink(fifo);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    for (n = 1; status != HD_OK && n < 20; n++) {
        hd_mapping *m = NULL;
        hd_alloc_fail_after(n);
        status = hd_mapping_open(&m, path, NULL);
        hd_alloc_fail_after(0);
        assert_true(status == HD_OK || status == HD_E_MEMORY);
        hd_mapping_close(&m);
    }
    assert_true(n > 2 && n < 20);
}

static void a_file_that_shrinks_reads_as_zeros(void **state)
{
    (void)state;
    take_signal_back();
    write_file(8 * page);
    hd_mapping *m = open_ok(), *other = open_ok();
    const volatile uint8_t *data = hd_mapping_data(m);
    assert_int_equal(truncate(path, (off_t)page), 0);
    assert_int_equal(data[0], 1);
    assert_int_equal(data[3 * page], 0); /* this and what follows is gone */
    assert_int_equal(data[7 * page + 5], 0);
    assert_int_equal(data[page], 0); /* a second fault, below the first */
    assert_true(hd_mapping_failed(m));
    hd_mapping_close(&m);
    assert_true(hd_mapping_failed(other)); /* without a fault: the same file is too short for it, too */
    hd_mapping_close(&other);
}

static void a_lost_part_of_the_last_page_is_noticed(void **state)
{
    (void)state;
    write_file(page + 100);
    hd_mapping *m = open_ok();
    assert_int_equal(truncate(path, (off_t)page + 50), 0);
    const volatile uint8_t *data = hd_mapping_data(m);
    assert_int_equal(data[page + 99], 0); /* no fault: the page is still there */
    assert_true(hd_mapping_failed(m));
    hd_mapping_close(&m);
}

static void a_file_that_is_written_to_is_lost(void **state)
{
    struct timespec before[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    (void)state;
    write_file(page);
    assert_int_equal(utimensat(AT_FDCWD, path, before, 0), 0);
    hd_mapping *m = open_ok();
    assert_int_equal(chmod(path, 0400), 0); /* changes the inode, not the bytes */
    assert_int_equal(chmod(path, 0600), 0);
    assert_false(hd_mapping_failed(m));
    write_file(page); /* the same size again */
    assert_true(hd_mapping_failed(m));
    assert_int_equal(utimensat(AT_FDCWD, path, before, 0), 0);
    assert_true(hd_mapping_failed(m)); /* for good */
    hd_mapping_close(&m);
}

static void a_failed_slot_is_clean_for_the_next(void **state)
{
    (void)state;
    take_signal_back();
    write_file(4 * page);
    hd_mapping *m = open_ok();
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(((const volatile uint8_t *)hd_mapping_data(m))[0], 0);
    assert_true(hd_mapping_failed(m));
    hd_mapping_close(&m);
    write_file(page);
    m = open_ok();
    assert_false(hd_mapping_failed(m));
    hd_mapping_close(&m);
}

static void dropped_bytes_can_be_read_again(void **state)
{
    (void)state;
    write_file(4 * page);
    hd_mapping *m = open_ok();
    const uint8_t *data = hd_mapping_data(m);
    hd_mapping_drop(m, data + 10, 3 * page);
    hd_mapping_drop(m, data + 10, 5);
    hd_mapping_drop(m, data - 1, 10 * page); /* not within the mapping: ignored */
    for (size_t i = 0; i < 4 * page; i++)
        assert_int_equal(data[i], 1 + (int)(i % 100));
    hd_mapping_close(&m);
}

/* ---- faults that are not ours, each in a process of its own ---- */

/* Maps the file without hd_mapping_open and reads behind its end. */
static void fault_elsewhere(void)
{
    int fd = open(path, O_RDONLY);
    void *data = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data != MAP_FAILED) (void)((volatile uint8_t *)data)[0];
}

static void leave_with_42(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)info;
    (void)context;
    _exit(42);
}

static void leave_with_43(int sig)
{
    (void)sig;
    _exit(43);
}

/* The exit code of a child that installed `action` before its first mapping, or 1000 + the signal that ended it. */
static int fault_in_child(const struct sigaction *action)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        hd_mapping *m = NULL;
        if (sigaction(SIGBUS, action, NULL) != 0 || hd_mapping_open(&m, path, NULL) != HD_OK) _exit(1);
        fault_elsewhere();
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs before anything was mapped: the handler must not be installed yet. */
static void other_faults_go_to_their_handler(void **state)
{
    (void)state;
    struct sigaction ours = {.sa_sigaction = leave_with_42, .sa_flags = SA_SIGINFO};
    assert_int_equal(fault_in_child(&ours), 42);
    struct sigaction plain = {.sa_handler = leave_with_43};
    assert_int_equal(fault_in_child(&plain), 43);
    struct sigaction none = {.sa_handler = SIG_DFL};
    assert_int_equal(fault_in_child(&none), 1000 + SIGBUS);
}

/* ---- threads ---- */

static void *open_and_close(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++) {
        hd_mapping *m = NULL;
        if (hd_mapping_open(&m, path, NULL) != HD_OK || hd_mapping_data(m)[0] != 1 || hd_mapping_failed(m))
            return (void *)1;
        hd_mapping_close(&m);
    }
    return NULL;
}

static void threads_open_and_close(void **state)
{
    (void)state;
    write_file(page);
    pthread_t threads[4];
    for (size_t i = 0; i < HD_ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, NULL), 0);
    for (size_t i = 0; i < HD_ARRAY_LEN(threads); i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* Leaves mapping.c's handler in `handler`. */
static int install_handler(void)
{
    hd_mapping *m = NULL;
    if (hd_mapping_open(&m, "/dev/null", NULL) == HD_OK) return -1; /* no file, but it installs the handler */
    return sigaction(SIGBUS, NULL, &handler);
}

int main(void)
{
    const struct CMUnitTest before[] = {TEST(other_faults_go_to_their_handler)};
    const struct CMUnitTest tests[] = {
        TEST(maps_a_file),
        TEST(an_empty_file_has_a_pointer),
        TEST(what_is_no_file_is_refused),
        TEST(every_allocation_may_fail),
        TEST(a_file_that_shrinks_reads_as_zeros),
        TEST(a_lost_part_of_the_last_page_is_noticed),
        TEST(a_file_that_is_written_to_is_lost),
        TEST(a_failed_slot_is_clean_for_the_next),
        TEST(dropped_bytes_can_be_read_again),
        TEST(threads_open_and_close),
    };
    int failed = cmocka_run_group_tests_name("before the first mapping", before, NULL, NULL);
    if (install_handler() != 0) return 1;
    return failed + cmocka_run_group_tests_name("mappings", tests, NULL, NULL);
}
