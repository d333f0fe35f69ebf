/* The data folder: its secret is made once and never again, and whatever is wrong with it is said. */
#include "unit/security/folder.h"

#include <sys/wait.h>

static void refused(const char *path, unsigned flags, hd_status expected, const char *text)
{
    hd_error err = {.text = ""};
    hd_data_folder *folder = NULL;
    assert_int_equal(hd_data_folder_open(&folder, path, flags, &err), expected);
    assert_null(folder);
    assert_says(&err, text);
}

static int mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

static void made_private_and_opened_again(void **state)
{
    (void)state;
    uint8_t first[32], again[32], other[32], secret[64], secret_again[64];
    mode_t mask = umask(0);
    hd_data_folder *folder = open_folder("a/b");
    umask(mask);
    assert_string_equal(hd_data_folder_path(folder), "a/b");
    assert_int_equal(mode_of("a/b"), 0700);
    assert_int_equal(mode_of("a/b/secret"), 0600);
    assert_int_equal(read_file("a/b/secret", secret, sizeof secret), 32);
    assert_int_equal(hd_data_folder_derive(folder, "x", NULL, 0, first, 32, NULL), HD_OK);
    hd_data_folder_close(&folder);
    assert_null(folder);
    folder = open_folder("a/b");
    assert_int_equal(hd_data_folder_derive(folder, "x", NULL, 0, again, 32, NULL), HD_OK);
    assert_memory_equal(first, again, 32);
    assert_int_equal(hd_data_folder_derive(folder, "y", NULL, 0, other, 32, NULL), HD_OK);
    assert_memory_not_equal(first, other, 32);
    assert_int_equal(hd_data_folder_derive(folder, "x", "s", 1, other, 32, NULL), HD_OK);
    assert_memory_not_equal(first, other, 32);
    hd_data_folder_close(&folder);
    assert_int_equal(read_file("a/b/secret", secret_again, sizeof secret_again), 32);
    assert_memory_equal(secret, secret_again, 32);
    folder = open_folder("c");
    assert_int_equal(hd_data_folder_derive(folder, "x", NULL, 0, other, 32, NULL), HD_OK);
    assert_memory_not_equal(first, other, 32); /* another folder, another secret */
    hd_data_folder_close(&folder);
}

static void nothing_is_made_unasked(void **state)
{
    (void)state;
    refused("none", 0, HD_E_NOT_FOUND, "hadal key create");
    assert_int_not_equal(access("none", F_OK), 0);
    assert_int_equal(mkdir("empty", 0700), 0);
    refused("empty", 0, HD_E_NOT_FOUND, "no data folder of hadal");
    refused("empty", HD_DATA_LOCK, HD_E_NOT_FOUND, "no data folder of hadal");
    assert_int_equal(rmdir("empty"), 0); /* nothing was put in */
    refused("", HD_DATA_CREATE, HD_E_ARGUMENT, "empty");
    write_file("file", "x", 1, 0600);
    refused("file", HD_DATA_CREATE, HD_E_FORMAT, "not a folder");
}

static void folders_and_secrets_open_to_others(void **state)
{
    (void)state;
    hd_data_folder *folder = open_folder("d");
    hd_data_folder_close(&folder);
    static const mode_t wrong[] = {0720, 0702, 0777, 01777};
    for (size_t i = 0; i < HD_ARRAY_LEN(wrong); i++) {
        assert_int_equal(chmod("d", wrong[i]), 0);
        refused("d", HD_DATA_CREATE, HD_E_DENIED, "chmod 700 'd'");
    }
    assert_int_equal(chmod("d", 0755), 0);
    folder = open_folder("d"); /* to look at the names in it is no harm */
    hd_data_folder_close(&folder);
    assert_int_equal(chmod("d/secret", 0640), 0);
    refused("d", HD_DATA_CREATE, HD_E_DENIED, "chmod 600 'd/secret'");
}

static void another_users_folder(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("only root can give a folder to another user\n");
        skip();
    }
    hd_data_folder *folder = open_folder("d");
    hd_data_folder_close(&folder);
    assert_int_equal(chown("d", 12345, 12345), 0);
    refused("d", HD_DATA_CREATE, HD_E_DENIED, "sudo -u '#12345'");
    refused("d", 0, HD_E_DENIED, "user with the number 12345");
    assert_int_equal(chown("d", 0, 0), 0);
    assert_int_equal(chown("d/secret", 12345, 12345), 0);
    refused("d", HD_DATA_CREATE, HD_E_DENIED, "chown --reference='d' 'd/secret'");
}

static void damaged_and_lost_secrets(void **state)
{
    (void)state;
    static const char bytes[33] = "0123456789abcdef0123456789abcdef";
    hd_data_folder *folder = open_folder("d");
    hd_data_folder_close(&folder);
    write_file("d/secret", bytes, 31, 0600);
    refused("d", HD_DATA_CREATE, HD_E_FORMAT, "d/secret is damaged");
    write_file("d/secret", bytes, 33, 0600);
    refused("d", HD_DATA_CREATE, HD_E_FORMAT, "restore it from a backup");
    write_file("d/secret", bytes, 0, 0600);
    refused("d", HD_DATA_CREATE, HD_E_FORMAT, "d/secret is damaged");
    assert_int_equal(unlink("d/secret"), 0);
    assert_int_equal(symlink("elsewhere", "d/secret"), 0);
    refused("d", HD_DATA_CREATE, HD_E_IO, "d/secret");
    assert_int_equal(unlink("d/secret"), 0);
    write_file("d/hadal.db", "", 0, 0600);
    refused("d", HD_DATA_CREATE, HD_E_FORMAT, "secret is gone");
    assert_int_not_equal(access("d/secret", F_OK), 0); /* no new one was made */
    assert_int_equal(unlink("d/hadal.db"), 0);
    assert_int_equal(mkdir("d/secret", 0700), 0);
    refused("d", HD_DATA_CREATE, HD_E_FORMAT, "damaged");
}

static void only_one_has_the_lock(void **state)
{
    (void)state;
    char holder[32];
    hd_data_folder *folder = NULL, *other;
    assert_int_equal(hd_data_folder_open(&folder, "d", HD_DATA_CREATE | HD_DATA_LOCK, NULL), HD_OK);
    snprintf(holder, sizeof holder, "(process %ld)", (long)getpid());
    refused("d", HD_DATA_CREATE | HD_DATA_LOCK, HD_E_BUSY, holder);
    other = open_folder("d"); /* without the lock */
    hd_data_folder_close(&other);
    refused("d", HD_DATA_LOCK, HD_E_BUSY, holder);
    hd_data_folder_close(&folder);
    assert_int_equal(hd_data_folder_open(&folder, "d", HD_DATA_LOCK, NULL), HD_OK);
    hd_data_folder_close(&folder);
}

/* Processes that find no secret all get the same one. */
static void processes_agree_on_one_secret(void **state)
{
    (void)state;
    enum { PROCESSES = 8 };
    uint8_t first[32], key[32];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child > 0) continue;
        hd_data_folder *folder = NULL;
        bool good = hd_data_folder_open(&folder, "d", HD_DATA_CREATE, NULL) == HD_OK &&
                    hd_data_folder_derive(folder, "x", NULL, 0, key, 32, NULL) == HD_OK &&
                    write(ends[1], key, 32) == 32;
        hd_data_folder_close(&folder);
        _exit(good ? 0 : 1);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
        assert_int_equal(read(ends[0], i ? key : first, 32), 32);
        if (i) assert_memory_equal(first, key, 32);
    }
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(unlink("d/secret"), 0);
    assert_int_equal(rmdir("d"), 0); /* no temporary file was left */
}

static void out_of_memory(void **state)
{
    (void)state;
    hd_status status = HD_E_MEMORY;
    for (uint64_t n = 1; n < 40 && status != HD_OK; n++) {
        hd_data_folder *folder = NULL;
        hd_alloc_fail_after(n);
        status = hd_data_folder_open(&folder, "d", HD_DATA_CREATE, NULL);
        hd_alloc_fail_after(0);
        assert_true(status == HD_OK || (status == HD_E_MEMORY && !folder) || (status == HD_E_IO && !folder));
        hd_data_folder_close(&folder);
    }
    assert_int_equal(status, HD_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(made_private_and_opened_again, make_root, remove_root),
        cmocka_unit_test_setup_teardown(nothing_is_made_unasked, make_root, remove_root),
        cmocka_unit_test_setup_teardown(folders_and_secrets_open_to_others, make_root, remove_root),
        cmocka_unit_test_setup_teardown(another_users_folder, make_root, remove_root),
        cmocka_unit_test_setup_teardown(damaged_and_lost_secrets, make_root, remove_root),
        cmocka_unit_test_setup_teardown(only_one_has_the_lock, make_root, remove_root),
        cmocka_unit_test_setup_teardown(processes_agree_on_one_secret, make_root, remove_root),
        cmocka_unit_test_setup_teardown(out_of_memory, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
