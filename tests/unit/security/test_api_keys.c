/* API keys: what is handed out opens, what was revoked or made up does not, and the database gives no key away. */
#include "unit/security/folder.h"

#include <pthread.h>

static hd_data_folder *folder;
static hd_store *store;
static hd_api_keys *keys;

static int open_all(void **state)
{
    (void)state;
    return make_root(state) == 0 && hd_data_folder_open(&folder, "d", HD_DATA_CREATE, NULL) == HD_OK &&
                   hd_store_open(&store, "d", NULL) == HD_OK && hd_api_keys_open(&keys, folder, store, NULL) == HD_OK
               ? 0
               : -1;
}

static int close_all(void **state)
{
    hd_api_keys_close(&keys);
    hd_store_close(&store);
    hd_data_folder_close(&folder);
    return remove_root(state);
}

static void create(const char *name, char text[HD_API_KEY_CHARS + 1], int64_t expected_id)
{
    hd_error err = {.text = ""};
    int64_t id = 0;
    if (hd_api_keys_create(keys, name, text, &id, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(id, expected_id);
}

static hd_status check(const char *text, hd_api_key *out, hd_error *err)
{
    return hd_api_keys_check(keys, (hd_str){text, strlen(text)}, out, err);
}

static void a_key_opens(void **state)
{
    (void)state;
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char text[HD_API_KEY_CHARS + 1], other[HD_API_KEY_CHARS + 1];
    hd_api_key a, b, again;
    create("laptop", text, 1);
    create(NULL, other, 2);
    assert_int_equal(strlen(text), 46);
    assert_memory_equal(text, "hd-", 3);
    assert_int_equal(strspn(text + 3, letters), 43);
    assert_string_not_equal(text, other);
    assert_int_equal(check(text, &a, NULL), HD_OK);
    assert_int_equal(a.id, 1);
    assert_string_equal(a.name, "laptop");
    assert_int_equal(check(other, &b, NULL), HD_OK);
    assert_int_equal(b.id, 2);
    assert_string_equal(b.name, "");
    assert_memory_not_equal(a.tenant, b.tenant, HD_TENANT_SALT);
    hd_api_keys_close(&keys);
    assert_int_equal(hd_api_keys_open(&keys, folder, store, NULL), HD_OK);
    assert_int_equal(check(text, &again, NULL), HD_OK);
    assert_memory_equal(a.tenant, again.tenant, HD_TENANT_SALT); /* the tenant's caches survive a restart */
}

static void a_key_made_elsewhere_opens(void **state)
{
    (void)state;
    static const char text[] = "hd-0123456789abcdefghijklmnopqrstuvwxyzABCDEF-";
    static const char *const bad[] = {"",
                                      "hd-",
                                      "hd-0123456789abcdefghijklmnopqrstuvwxyzABCDE",
                                      "xx-0123456789abcdefghijklmnopqrstuvwxyzABCDEF-",
                                      "hd-0123456789abcdefghijklmnopqrstuvwxyzABCDEF!",
                                      "hd-0123456789abcdefghijklmnopqrstuvwxyzABCDEF--"};
    hd_api_key out;
    hd_error err;
    int64_t live;
    assert_int_equal(hd_api_keys_adopt(keys, text, &err), HD_OK);
    assert_int_equal(hd_api_keys_adopt(keys, text, &err), HD_OK); /* at the next start */
    assert_int_equal(hd_api_keys_count(keys, &live, &err), HD_OK);
    assert_int_equal(live, 1);
    assert_int_equal(check(text, &out, &err), HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        assert_int_equal(hd_api_keys_adopt(keys, bad[i], &err), HD_E_ARGUMENT);
        assert_true(!*bad[i] || strlen(bad[i]) < 10 || !strstr(err.text, bad[i])); /* it may be a key after all */
    }
    assert_int_equal(hd_api_keys_revoke(keys, "1", NULL, &err), HD_OK);
    assert_int_equal(hd_api_keys_adopt(keys, text, &err), HD_E_DENIED);
    assert_int_equal(check(text, &out, &err), HD_E_DENIED);
}

static void whatever_else_is_denied_in_the_same_words(void **state)
{
    (void)state;
    char text[HD_API_KEY_CHARS + 1], revoked[HD_API_KEY_CHARS + 1], longer[HD_API_KEY_CHARS + 2], words[HD_ERROR_TEXT];
    hd_error err;
    hd_api_key out;
    create("a", text, 1);
    create("b", revoked, 2);
    assert_int_equal(hd_api_keys_revoke(keys, "b", NULL, NULL), HD_OK);
    assert_int_equal(check(revoked, &out, &err), HD_E_DENIED);
    memcpy(words, err.text, sizeof words);
    assert_null(strstr(words, revoked));
    for (size_t i = 0; i < HD_API_KEY_CHARS; i++) { /* each character counts */
        char was = text[i];
        text[i] = was == 'x' ? 'y' : 'x';
        assert_int_equal(check(text, &out, &err), HD_E_DENIED);
        assert_string_equal(err.text, words);
        assert_int_equal(out.id, 0);
        text[i] = was;
    }
    snprintf(longer, sizeof longer, "%sA", text);
    const char *const wrong[] = {"", "hd-", "1", "a", text + 1, longer};
    for (size_t i = 0; i < HD_ARRAY_LEN(wrong); i++) {
        assert_int_equal(check(wrong[i], &out, &err), HD_E_DENIED);
        assert_string_equal(err.text, words);
    }
    assert_int_equal(hd_api_keys_check(keys, (hd_str){NULL, 0}, &out, &err), HD_E_DENIED);
    assert_int_equal(hd_api_keys_check(keys, (hd_str){text, HD_API_KEY_CHARS - 1}, &out, &err), HD_E_DENIED);
    assert_int_equal(check(text, &out, &err), HD_OK);
}

static void revoked_by_name_number_or_text(void **state)
{
    (void)state;
    char text[4][HD_API_KEY_CHARS + 1];
    hd_key_row row;
    hd_api_key out;
    hd_error err;
    int64_t live;
    create("laptop", text[0], 1);
    create("", text[1], 2);
    create("phone", text[2], 3);
    create("last", text[3], 4);
    assert_int_equal(hd_api_keys_revoke(keys, "laptop", &row, NULL), HD_OK);
    assert_int_equal(row.id, 1);
    assert_int_equal(hd_api_keys_revoke(keys, "2", &row, NULL), HD_OK);
    assert_int_equal(row.id, 2);
    assert_int_equal(hd_api_keys_revoke(keys, text[2], &row, NULL), HD_OK);
    assert_string_equal(row.name, "phone");
    for (int i = 0; i < 3; i++)
        assert_int_equal(check(text[i], &out, NULL), HD_E_DENIED);
    assert_int_equal(check(text[3], &out, NULL), HD_OK);
    assert_int_equal(hd_api_keys_count(keys, &live, NULL), HD_OK);
    assert_int_equal(live, 1);
    const char *const gone[] = {"laptop", "2",      "3",  text[2],  "5", "99999999999999999999",
                                "",       "nobody", "-1", "hd-typo"};
    for (size_t i = 0; i < HD_ARRAY_LEN(gone); i++)
        assert_int_equal(hd_api_keys_revoke(keys, gone[i], &row, &err), HD_E_NOT_FOUND);
    assert_null(strstr(err.text, "hd-typo")); /* a mistyped key is not repeated */
    assert_int_equal(hd_api_keys_revoke(keys, "2", &row, &err), HD_E_NOT_FOUND);
    assert_says(&err, "revoked already");
    create("laptop", text[0], 5); /* the name is free again */
}

/* Checks one key until it is denied, and another that must never be. */
static void *check_until_revoked(void *arg)
{
    const char(*text)[HD_API_KEY_CHARS + 1] = arg;
    hd_api_key out;
    hd_status status = HD_OK;
    for (int i = 0; i < 1000000 && status == HD_OK; i++) {
        if (check(text[0], &out, NULL) != HD_OK || out.id != 1) return "the key that stays";
        status = check(text[1], &out, NULL);
    }
    return status == HD_E_DENIED ? NULL : "the key that was revoked";
}

static void threads_check_while_another_process_revokes(void **state)
{
    (void)state;
    char text[2][HD_API_KEY_CHARS + 1];
    pthread_t threads[4];
    hd_store *other_store = NULL;
    hd_api_keys *other = NULL;
    create("stays", text[0], 1);
    create("goes", text[1], 2);
    assert_int_equal(hd_store_open(&other_store, "d", NULL), HD_OK); /* a connection as another process has it */
    assert_int_equal(hd_api_keys_open(&other, folder, other_store, NULL), HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, check_until_revoked, text), 0);
    assert_int_equal(hd_api_keys_revoke(other, "goes", NULL, NULL), HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(threads); i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        if (failed) fail_msg("%s", (const char *)failed);
    }
    hd_api_keys_close(&other);
    hd_store_close(&other_store);
}

static void names_that_are_refused(void **state)
{
    (void)state;
    char lengthy[66], text[HD_API_KEY_CHARS + 1];
    memset(lengthy, 'a', 65);
    lengthy[65] = '\0';
    const char *const wrong[] = {"7", "hd-x", "a\nb", "\x1b[2J", "\xff", "\xc2\x9b", lengthy, "taken"};
    create("taken", text, 1);
    for (size_t i = 0; i < HD_ARRAY_LEN(wrong); i++) {
        int64_t id = 0;
        assert_int_equal(hd_api_keys_create(keys, wrong[i], text, &id, NULL), HD_E_ARGUMENT);
        assert_string_equal(text, "");
    }
    create("7th", text, 2);
    create("\xc3\xa9t\xc3\xa9 2", text, 3);
    create(lengthy + 1, text, 4);
}

static void uses_are_noted(void **state)
{
    (void)state;
    char text[HD_API_KEY_CHARS + 1];
    hd_api_key out;
    hd_key_row *rows;
    size_t count;
    create("a", text, 1);
    assert_int_equal(check(text, &out, NULL), HD_OK);
    assert_int_equal(hd_api_keys_list(keys, &rows, &count, NULL), HD_OK);
    assert_int_equal(count, 1);
    assert_true(rows[0].last_used_ms >= rows[0].created_ms);
    assert_memory_equal(rows[0].hint, text, 7);
    assert_int_equal(strlen(rows[0].hint), 7);
    hd_free(rows);
}

/* Neither the text nor the random part is in any file of the folder. */
static void the_folder_gives_no_key_away(void **state)
{
    (void)state;
    static char bytes[1 << 20];
    char text[HD_API_KEY_CHARS + 1];
    create("a", text, 1);
    static const char *const files[] = {"d/hadal.db", "d/hadal.db-wal", "d/secret"};
    for (size_t i = 0; i < HD_ARRAY_LEN(files); i++) {
        size_t len = read_file(files[i], bytes, sizeof bytes);
        assert_null(memmem(bytes, len, text + 7, 12)); /* behind the hint */
    }
}

static void a_secret_of_elsewhere_is_noticed(void **state)
{
    (void)state;
    hd_data_folder *other = open_folder("other");
    hd_api_keys *wrong = NULL;
    hd_error err;
    assert_int_equal(hd_api_keys_open(&wrong, other, store, &err), HD_E_FORMAT);
    assert_null(wrong);
    assert_says(&err, "do not belong together");
    hd_data_folder_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_opens, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_key_made_elsewhere_opens, open_all, close_all),
        cmocka_unit_test_setup_teardown(whatever_else_is_denied_in_the_same_words, open_all, close_all),
        cmocka_unit_test_setup_teardown(revoked_by_name_number_or_text, open_all, close_all),
        cmocka_unit_test_setup_teardown(threads_check_while_another_process_revokes, open_all, close_all),
        cmocka_unit_test_setup_teardown(names_that_are_refused, open_all, close_all),
        cmocka_unit_test_setup_teardown(uses_are_noted, open_all, close_all),
        cmocka_unit_test_setup_teardown(the_folder_gives_no_key_away, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_secret_of_elsewhere_is_noticed, open_all, close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
