/* A temporary file never opens what is there, nor follows a link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

static char root[64];

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hadal-temporary-XXXXXX");
    return mkdtemp(root) && chdir(root) == 0 ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return chdir("/") == 0 ? rmdir(root) : -1; /* fails when a test left something */
}

static void what_is_there_is_stepped_around(void **state)
{
    (void)state;
    char taken[64], expected[64];
    struct stat st;
    hd_buf name;
    hd_buf_init(&name, 4096);
    snprintf(taken, sizeof taken, "x.%ld-0.tmp", (long)getpid());
    snprintf(expected, sizeof expected, "x.%ld-1.tmp", (long)getpid());
    assert_int_equal(symlink("elsewhere", taken), 0);
    int fd = hd_temporary_open("x", 0600, &name);
    assert_true(fd >= 0);
    assert_string_equal(name.data, expected);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, 0);
    assert_int_not_equal(access("elsewhere", F_OK), 0);
    close(fd);
    unlink(taken);
    unlink(expected);
    hd_buf_free(&name);
}

static void a_folder_that_is_not_there(void **state)
{
    (void)state;
    hd_buf name;
    hd_buf_init(&name, 4096);
    assert_int_equal(hd_temporary_open("none/x", 0600, &name), -1);
    hd_buf_free(&name);
    hd_buf_init(&name, 4);
    assert_int_equal(hd_temporary_open("a-longer-name", 0600, &name), -1);
    hd_buf_free(&name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_is_stepped_around),
        cmocka_unit_test(a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
