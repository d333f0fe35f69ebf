/* The database: keys live, are found and revoked, across two connections and several threads; foreign, newer and
 * damaged files are refused and stay as they are. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "store/store.h"

static char root[64]; /* a folder of each test's own; its database is in data/ */
static uint64_t now_ms;

static uint64_t stopped_clock(void)
{
    return now_ms;
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hadal-store-XXXXXX");
    now_ms = 1000000;
    hd_clock_set(NULL, stopped_clock);
    return mkdtemp(root) && chdir(root) == 0 ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    hd_clock_set(NULL, NULL);
    static const char *const files[] = {"data/hadal.db-wal", "data/hadal.db-shm", "data/hadal.db"};
    for (size_t i = 0; i < HD_ARRAY_LEN(files); i++)
        unlink(files[i]);
    rmdir("data");
    return chdir("/") == 0 ? rmdir(root) : -1; /* fails when something else was left */
}

static hd_store *open_store(void)
{
    hd_error err = {.text = ""};
    hd_store *store = NULL;
    if (hd_store_open(&store, "data", &err) != HD_OK) fail_msg("%s", err.text);
    return store;
}

static const uint8_t *digest(uint8_t n)
{
    static uint8_t bytes[HD_KEY_DIGEST];
    memset(bytes, n, sizeof bytes);
    return bytes;
}

static int64_t add(hd_store *store, const char *name, uint8_t n)
{
    int64_t id = 0;
    assert_int_equal(hd_store_key_add(store, name, "hd-abcd", digest(n), &id, NULL), HD_OK);
    return id;
}

static int mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

/* ---- keys ---- */

static void folder_and_files_are_the_owners_alone(void **state)
{
    (void)state;
    mode_t mask = umask(0);
    hd_store *store = open_store();
    (void)add(store, "", 1);
    umask(mask);
    assert_int_equal(mode_of("data"), 0700);
    assert_int_equal(mode_of("data/hadal.db"), 0600);
    assert_int_equal(mode_of("data/hadal.db-wal"), 0600);
    assert_int_equal(mode_of("data/hadal.db-shm"), 0600);
    hd_store_close(&store);
    assert_null(store);
    hd_store_close(&store);
}

static void keys_are_found_by_digest_id_and_name(void **state)
{
    (void)state;
    hd_key_row row;
    hd_store *store = open_store();
    assert_int_equal(add(store, "laptop", 1), 1);
    assert_int_equal(add(store, "", 2), 2);
    assert_int_equal(add(store, "", 3), 3); /* any number may have no name */
    hd_store_close(&store);
    store = open_store(); /* it was kept */
    assert_int_equal(hd_store_key_by_digest(store, digest(1), &row, NULL), HD_OK);
    assert_int_equal(row.id, 1);
    assert_string_equal(row.name, "laptop");
    assert_string_equal(row.hint, "hd-abcd");
    assert_int_equal(row.created_ms, 1000000);
    assert_int_equal(row.revoked_ms, 0);
    assert_int_equal(row.last_used_ms, 0);
    assert_int_equal(hd_store_key_by_id(store, 2, &row, NULL), HD_OK);
    assert_string_equal(row.name, "");
    assert_int_equal(hd_store_key_by_name(store, "laptop", &row, NULL), HD_OK);
    assert_int_equal(row.id, 1);
    assert_int_equal(hd_store_key_by_name(store, "", &row, NULL), HD_E_NOT_FOUND);
    assert_int_equal(hd_store_key_by_name(store, "LAPTOP", &row, NULL), HD_E_NOT_FOUND);
    assert_int_equal(hd_store_key_by_digest(store, digest(9), &row, NULL), HD_E_NOT_FOUND);
    assert_int_equal(hd_store_key_by_id(store, 9, &row, NULL), HD_E_NOT_FOUND);
    hd_store_close(&store);
}

static void names_of_live_keys_are_unique(void **state)
{
    (void)state;
    hd_store *store = open_store();
    hd_error err;
    int64_t id;
    char lengthy[HD_KEY_NAME + 2];
    memset(lengthy, 'a', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    (void)add(store, "laptop", 1);
    assert_int_equal(hd_store_key_add(store, "laptop", "hd-", digest(2), &id, &err), HD_E_ARGUMENT);
    assert_non_null(strstr(err.text, "'laptop'"));
    assert_int_equal(hd_store_key_add(store, lengthy, "hd-", digest(2), &id, &err), HD_E_ARGUMENT);
    assert_int_equal(hd_store_key_revoke(store, 1, NULL), HD_OK);
    assert_int_equal(add(store, "laptop", 3), 2);
    assert_int_equal(add(store, lengthy + 1, 4), 3);
    hd_store_close(&store);
}

static void revoking_is_for_good_and_seen_by_others_at_once(void **state)
{
    (void)state;
    hd_key_row row;
    int64_t live;
    hd_store *store = open_store(), *other = open_store();
    (void)add(store, "laptop", 1);
    (void)add(store, "phone", 2);
    assert_int_equal(hd_store_key_by_digest(other, digest(1), &row, NULL), HD_OK);
    assert_int_equal(row.revoked_ms, 0);
    now_ms += 5;
    assert_int_equal(hd_store_key_revoke(store, 1, NULL), HD_OK);
    assert_int_equal(hd_store_key_by_digest(other, digest(1), &row, NULL), HD_OK);
    assert_int_equal(row.revoked_ms, 1000005);
    assert_int_equal(hd_store_key_by_name(other, "laptop", &row, NULL), HD_E_NOT_FOUND);
    now_ms += 5;
    assert_int_equal(hd_store_key_revoke(other, 1, NULL), HD_E_NOT_FOUND);
    assert_int_equal(hd_store_key_revoke(other, 7, NULL), HD_E_NOT_FOUND);
    assert_int_equal(hd_store_key_by_id(store, 1, &row, NULL), HD_OK);
    assert_int_equal(row.revoked_ms, 1000005);
    assert_int_equal(hd_store_key_count(other, &live, NULL), HD_OK);
    assert_int_equal(live, 1);
    hd_store_close(&other);
    hd_store_close(&store);
}

static void uses_are_noted_to_the_minute(void **state)
{
    (void)state;
    static const struct {
        uint64_t at, noted;
    } uses[] = {
        {1000, 1000}, {60999, 1000}, {61000, 61000}, {61001, 61000}, {500, 500}}; /* last: the clock went back */
    hd_store *store = open_store();
    hd_key_row row;
    (void)add(store, "", 1);
    for (size_t i = 0; i < HD_ARRAY_LEN(uses); i++) {
        now_ms = uses[i].at;
        assert_int_equal(hd_store_key_by_id(store, 1, &row, NULL), HD_OK);
        assert_int_equal(hd_store_key_touch(store, &row, NULL), HD_OK);
        assert_int_equal(hd_store_key_by_id(store, 1, &row, NULL), HD_OK);
        assert_int_equal(row.last_used_ms, uses[i].noted);
    }
    hd_store_close(&store);
}

static void a_list_has_all_of_them(void **state)
{
    (void)state;
    hd_store *store = open_store();
    hd_key_row *rows;
    size_t count;
    assert_int_equal(hd_store_key_list(store, &rows, &count, NULL), HD_OK);
    assert_null(rows);
    assert_int_equal(count, 0);
    for (uint8_t i = 0; i < 40; i++)
        (void)add(store, "", i);
    assert_int_equal(hd_store_key_revoke(store, 7, NULL), HD_OK);
    assert_int_equal(hd_store_key_list(store, &rows, &count, NULL), HD_OK);
    assert_int_equal(count, 40);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(rows[i].id, i + 1);
        assert_int_equal(rows[i].revoked_ms != 0, i == 6);
    }
    hd_free(rows);
    hd_alloc_fail_after(2); /* the list grows once: 16 rows, then 32 */
    assert_int_equal(hd_store_key_list(store, &rows, &count, NULL), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    assert_null(rows);
    assert_int_equal(hd_store_key_count(store, &(int64_t){0}, NULL), HD_OK); /* it still works */
    hd_store_close(&store);
}

static void another_secret_is_noticed(void **state)
{
    (void)state;
    static const uint8_t one[HD_STORE_CHECK] = {1}, two[HD_STORE_CHECK] = {2};
    bool same = false;
    hd_store *store = open_store(), *other = open_store();
    assert_int_equal(hd_store_check_secret(store, one, &same, NULL), HD_OK);
    assert_true(same);
    assert_int_equal(hd_store_check_secret(other, one, &same, NULL), HD_OK);
    assert_true(same);
    assert_int_equal(hd_store_check_secret(other, two, &same, NULL), HD_OK);
    assert_false(same);
    hd_store_close(&other);
    hd_store_close(&store);
}

/* ---- several at once ---- */

static void *add_and_find(void *arg)
{
    hd_store *store = arg;
    uint8_t own[HD_KEY_DIGEST];
    for (int i = 0; i < 20; i++) {
        int64_t id = 0;
        hd_key_row row;
        memset(own, i, sizeof own);
        memcpy(own, &(pthread_t){pthread_self()}, sizeof(pthread_t));
        if (hd_store_key_add(store, "", "hd-", own, &id, NULL) != HD_OK) return "add";
        if (hd_store_key_by_digest(store, own, &row, NULL) != HD_OK || row.id != id) return "find";
        if (hd_store_key_touch(store, &row, NULL) != HD_OK) return "touch";
        if (hd_store_key_revoke(store, id, NULL) != HD_OK) return "revoke";
    }
    return NULL;
}

static void threads_share_a_store(void **state)
{
    (void)state;
    hd_store *store = open_store();
    pthread_t threads[4];
    int64_t live = -1;
    for (size_t i = 0; i < HD_ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_and_find, store), 0);
    for (size_t i = 0; i < HD_ARRAY_LEN(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        if (failed) fail_msg("%s", (const char *)failed);
    }
    assert_int_equal(hd_store_key_count(store, &live, NULL), HD_OK);
    assert_int_equal(live, 0);
    hd_store_close(&store);
}

/* Processes that find no database, make it, and write to it together. */
static void processes_make_one_database_together(void **state)
{
    (void)state;
    enum { PROCESSES = 6, EACH = 5 };
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] > 0) continue;
        hd_store *store = NULL;
        hd_error err = {.text = ""};
        hd_status status = hd_store_open(&store, "data", &err);
        for (int k = 0; k < EACH && status == HD_OK; k++) {
            int64_t id;
            status = hd_store_key_add(store, "", "hd-", digest((uint8_t)(i * EACH + k)), &id, &err);
        }
        hd_store_close(&store);
        if (status != HD_OK) fprintf(stderr, "%s\n", err.text);
        _exit(status == HD_OK ? 0 : 1);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    hd_store *store = open_store();
    int64_t live;
    assert_int_equal(hd_store_key_count(store, &live, NULL), HD_OK);
    assert_int_equal(live, PROCESSES * EACH);
    hd_store_close(&store);
}

/* ---- files that are not ours ---- */

static void run_sql(const char *sql)
{
    sqlite3 *db = NULL;
    assert_true(mkdir("data", 0700) == 0 || access("data", F_OK) == 0);
    assert_int_equal(sqlite3_open("data/hadal.db", &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static size_t read_database(void *data, size_t size)
{
    int fd = open("data/hadal.db", O_RDONLY);
    ssize_t len = fd < 0 ? 0 : read(fd, data, size);
    if (fd >= 0) close(fd);
    return len < 0 ? 0 : (size_t)len; /* a folder has none */
}

/* The database can't be opened, and stays as it is. */
static void assert_refused(hd_status expected, const char *text)
{
    static char before[1 << 17], after[1 << 17];
    size_t len = read_database(before, sizeof before);
    hd_error err = {.text = ""};
    hd_store *store = NULL;
    assert_int_equal(hd_store_open(&store, "data", &err), expected);
    assert_null(store);
    if (!strstr(err.text, text)) fail_msg("'%s' lacks '%s'", err.text, text);
    assert_int_equal(read_database(after, sizeof after), len);
    assert_memory_equal(before, after, len);
}

static void newer_and_foreign_databases_are_refused(void **state)
{
    (void)state;
    run_sql("CREATE TABLE recipes (name TEXT)");
    assert_refused(HD_E_FORMAT, "another program");
    run_sql("DROP TABLE recipes; PRAGMA user_version = 3");
    assert_refused(HD_E_FORMAT, "another program");
    run_sql("PRAGMA user_version = 0; VACUUM");
    hd_store *store = open_store(); /* empty again */
    hd_store_close(&store);
    run_sql("PRAGMA user_version = 1000");
    assert_refused(HD_E_UNSUPPORTED, "newer hadal (form 1000;");
}

static void write_at(const char *path, off_t at, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
    close(fd);
}

static void damaged_databases_are_refused(void **state)
{
    (void)state;
    static uint8_t garbage[4096];
    memset(garbage, 0xa5, sizeof garbage);
    assert_int_equal(mkdir("data", 0700), 0);
    write_at("data/hadal.db", 0, garbage, sizeof garbage);
    assert_refused(HD_E_FORMAT, "restore it from a backup");
    assert_int_equal(unlink("data/hadal.db"), 0);
    assert_int_equal(mkdir("data/hadal.db", 0700), 0);
    assert_refused(HD_E_FORMAT, "not a regular file");
    assert_int_equal(rmdir("data/hadal.db"), 0);

    hd_store *store = open_store();
    for (uint8_t i = 0; i < 200; i++) /* more than a page of rows */
        (void)add(store, "", i);
    hd_store_close(&store);
    struct stat st;
    assert_int_equal(stat("data/hadal.db", &st), 0);
    for (off_t at = 2 * 4096; at < st.st_size; at += 4096) /* behind the header and the list of tables */
        write_at("data/hadal.db", at, garbage, 64);
    hd_error err = {.text = ""};
    hd_key_row *rows;
    size_t count;
    store = open_store();
    assert_int_equal(hd_store_key_list(store, &rows, &count, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "is damaged"));
    assert_non_null(strstr(err.text, "restore it from a backup"));
    hd_store_close(&store);
}

static void places_that_cannot_be(void **state)
{
    (void)state;
    write_at("data", 0, "", 0);
    assert_refused(HD_E_IO, "data: cannot open this folder");
    assert_int_equal(unlink("data"), 0);
    for (uint64_t n = 1; n <= 3; n++) {
        hd_store *store = NULL;
        hd_alloc_fail_after(n);
        assert_int_equal(hd_store_open(&store, "data", NULL), HD_E_MEMORY);
        hd_alloc_fail_after(0);
        assert_null(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folder_and_files_are_the_owners_alone, make_root, remove_root),
        cmocka_unit_test_setup_teardown(keys_are_found_by_digest_id_and_name, make_root, remove_root),
        cmocka_unit_test_setup_teardown(names_of_live_keys_are_unique, make_root, remove_root),
        cmocka_unit_test_setup_teardown(revoking_is_for_good_and_seen_by_others_at_once, make_root, remove_root),
        cmocka_unit_test_setup_teardown(uses_are_noted_to_the_minute, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_list_has_all_of_them, make_root, remove_root),
        cmocka_unit_test_setup_teardown(another_secret_is_noticed, make_root, remove_root),
        cmocka_unit_test_setup_teardown(threads_share_a_store, make_root, remove_root),
        cmocka_unit_test_setup_teardown(processes_make_one_database_together, make_root, remove_root),
        cmocka_unit_test_setup_teardown(newer_and_foreign_databases_are_refused, make_root, remove_root),
        cmocka_unit_test_setup_teardown(damaged_databases_are_refused, make_root, remove_root),
        cmocka_unit_test_setup_teardown(places_that_cannot_be, make_root, remove_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
