/* tests/unit/security/folder.h: a folder of each test's own, as the working folder. */
#ifndef HD_TEST_SECURITY_FOLDER_H
#define HD_TEST_SECURITY_FOLDER_H

#include <fcntl.h>
#include <setjmp.h>
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
#include "security/security.h"

static char test_root[64];

static inline int make_root(void **state)
{
    (void)state;
    snprintf(test_root, sizeof test_root, "/tmp/hadal-security-XXXXXX");
    return mkdtemp(test_root) && chdir(test_root) == 0 ? 0 : -1;
}

static inline int remove_root(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -r '%s'", test_root);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1; /* NOLINT(cert-env33-c): a name that we made */
}

static inline hd_data_folder *open_folder(const char *path)
{
    hd_error err = {.text = ""};
    hd_data_folder *folder = NULL;
    if (hd_data_folder_open(&folder, path, HD_DATA_CREATE, &err) != HD_OK) fail_msg("%s", err.text);
    return folder;
}

static inline void write_file(const char *path, const void *data, size_t len, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
    assert_int_equal(chmod(path, mode), 0);
}

/* Reads at most `size` bytes. */
static inline size_t read_file(const char *path, void *data, size_t size)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, data, size);
    assert_true(len >= 0);
    close(fd);
    return (size_t)len;
}

static inline void assert_says(const hd_error *err, const char *text)
{
    if (!strstr(err->text, text)) fail_msg("'%s' lacks '%s'", err->text, text);
}

#endif
