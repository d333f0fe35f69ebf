/* Lines of the log: what they look like, that nothing in them breaks JSON or forges a line, and the file that rotates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/base.h"

#define TIME_MS 1764000000123u /* 2025-11-24T16:00:00.123Z */

static const hd_log_field fields[] = {HD_LOG_FIELD_TEXT("model", "a b"), HD_LOG_FIELD_INT("status", 200),
                                      HD_LOG_FIELD_SECONDS("seconds", 0.25), HD_LOG_FIELD_TEXT("key", NULL),
                                      HD_LOG_FIELD_INT("tokens", -1)};

static json_t *parse(const char *message, const hd_log_field *f, size_t count)
{
    char out[HD_LOG_LINE];
    size_t len = hd_log_write_line(out, HD_LOG_JSON, false, HD_LOG_WARN, TIME_MS, message, f, count);
    assert_in_range(len, 2, HD_LOG_LINE);
    assert_int_equal(out[len - 1], '\n');
    assert_null(memchr(out, '\n', len - 1));
    json_t *line = json_loadb(out, len, 0, NULL);
    assert_non_null(line);
    return line;
}

static void test_json(void **state)
{
    (void)state;
    json_t *line = parse("it's \"so\" \\ there", fields, HD_ARRAY_LEN(fields));
    assert_string_equal(json_string_value(json_object_get(line, "time")), "2025-11-24T16:00:00.123Z");
    assert_string_equal(json_string_value(json_object_get(line, "level")), "warning");
    assert_string_equal(json_string_value(json_object_get(line, "message")), "it's \"so\" \\ there");
    assert_string_equal(json_string_value(json_object_get(line, "model")), "a b");
    assert_int_equal(json_integer_value(json_object_get(line, "status")), 200);
    assert_true(json_real_value(json_object_get(line, "seconds")) == 0.25);
    assert_int_equal(json_object_size(line), 6); /* what is empty or negative is left out */
    json_decref(line);
}

static void test_text(void **state)
{
    (void)state;
    char out[HD_LOG_LINE];
    size_t len = hd_log_write_line(out, HD_LOG_TEXT, false, HD_LOG_INFO, TIME_MS, "x\ny", fields, 3);
    assert_int_equal(len, strlen("hadal: info: x?y model=a_b status=200 seconds=0.250000\n"));
    assert_memory_equal(out, "hadal: info: x?y model=a_b status=200 seconds=0.250000\n", len);
    len = hd_log_write_line(out, HD_LOG_TEXT, true, HD_LOG_ERROR, TIME_MS, "x", NULL, 0);
    assert_memory_equal(out, "2025-11-24T16:00:00.123Z hadal: error: x\n", len);
}

static void test_hostile_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "a\n{\"level\":\"error\"}", "\033[2J", "\xff\xfe", "\xe4\xb8", "\x01\x7f", "\xc2\x85"};
    for (size_t i = 0; i < HD_ARRAY_LEN(texts); i++) {
        const hd_log_field f = HD_LOG_FIELD_TEXT("model", texts[i]);
        json_t *line = parse(texts[i], &f, 1);
        const char *said = json_string_value(json_object_get(line, "message"));
        for (const char *c = said; *c; c++)
            assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
        json_decref(line);
    }
}

/* However long its parts are, a line is whole JSON and within its bound. */
static void test_long_lines(void **state)
{
    (void)state;
    char message[3000], value[2000];
    hd_log_field many[40];
    memset(message, '"', sizeof message - 1);
    memset(value, '\\', sizeof value - 1);
    message[sizeof message - 1] = value[sizeof value - 1] = '\0';
    for (size_t i = 0; i < HD_ARRAY_LEN(many); i++)
        many[i] = HD_LOG_FIELD_TEXT("name", value);
    for (size_t n = 0; n <= HD_ARRAY_LEN(many); n++) {
        json_decref(parse(message, many, n));
        message[n * 50] = (char)0xe4; /* characters that are cut anywhere */
    }
}

static long size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

/* Another process has moved the file away and begun a new one, which is not full: it is written to, not moved. */
static void test_another_rotates(void **state)
{
    (void)state;
    char folder[] = "/tmp/hadal-log-XXXXXX", path[64], old[80], moved[80];
    hd_error err;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(old, sizeof old, "%s.1", path);
    snprintf(moved, sizeof moved, "%s.moved", path);
    hd_log_set_level(HD_LOG_INFO);
    assert_int_equal(hd_log_open_file(path, 300, 2, &err), HD_OK);
    hd_log(HD_LOG_INFO, "first");
    assert_int_equal(rename(path, moved), 0);
    FILE *theirs = fopen(path, "w");
    assert_non_null(theirs);
    fputs("theirs\n", theirs);
    fclose(theirs);
    for (int i = 0; size_of(path) == 7 && i < 20; i++)
        hd_log(HD_LOG_INFO, "line %d", i);
    assert_true(size_of(path) > 7);
    assert_in_range(size_of(moved), 200, 300);
    assert_int_equal(size_of(old), -1);
    hd_log_close_file();
    hd_log_set_level(HD_LOG_WARN);
    unlink(path);
    unlink(moved);
    rmdir(folder);
}

static void test_rotation(void **state)
{
    (void)state;
    char folder[] = "/tmp/hadal-log-XXXXXX", path[64], old[80];
    hd_error err;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/log", folder);
    hd_log_set_level(HD_LOG_INFO);
    assert_int_equal(hd_log_open_file(path, 500, 2, &err), HD_OK);
    for (int i = 0; i < 40; i++)
        hd_log(HD_LOG_INFO, "line %d", i);
    hd_log(HD_LOG_DEBUG, "not this one");
    assert_in_range(size_of(path), 1, 500);
    for (int i = 1; i <= 3; i++) {
        snprintf(old, sizeof old, "%s.%d", path, i);
        if (i <= 2) assert_in_range(size_of(old), 400, 500);
        if (i == 3) assert_int_equal(size_of(old), -1);
    }
    assert_int_equal(rename(path, old), 0); /* logrotate took it away */
    hd_log(HD_LOG_INFO, "still there");
    assert_int_equal(size_of(path), -1);
    assert_int_equal(hd_log_reopen(&err), HD_OK);
    hd_log(HD_LOG_INFO, "here again");
    assert_true(size_of(path) > 0);
    hd_log_close_file();
    hd_log_set_level(HD_LOG_WARN);
    for (int i = 0; i <= 3; i++) {
        snprintf(old, sizeof old, i ? "%s.%d" : "%s", path, i);
        unlink(old);
    }
    rmdir(folder);
}

static void test_bad_file(void **state)
{
    (void)state;
    hd_error err;
    assert_int_equal(hd_log_open_file("/nonexistent/log", 0, 0, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "/nonexistent/log"));
    hd_log_close_file();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json),         cmocka_unit_test(test_text),
                                       cmocka_unit_test(test_hostile_text), cmocka_unit_test(test_long_lines),
                                       cmocka_unit_test(test_rotation),     cmocka_unit_test(test_another_rotates),
                                       cmocka_unit_test(test_bad_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
