/* Which addresses may be reached, and how addresses are read, joined, encoded and shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/net.h"

static hd_status check(const char *const *hosts, bool plain_http, const char *url)
{
    hd_error err = {0};
    const hd_net_rules rules = {.hosts = hosts, .plain_http = plain_http};
    hd_status status = hd_net_check_url(&rules, url, &err);
    assert_true(status == HD_OK || err.text[0]);
    return status;
}

static void test_hosts_are_allowed_by_name(void **state)
{
    (void)state;
    static const char *const hosts[] = {"hub.example", "*.cdn.example", NULL}, *const none[] = {NULL};
    static const char *const good[] = {"https://hub.example/x", "https://HUB.EXAMPLE:8443/x?y", "https://a.cdn.example",
                                       "https://a.b.cdn.example/", "https://user:secret@hub.example/"};
    static const char *const bad[] = {"https://cdn.example/",      "https://evilcdn.example/",
                                      "https://hub.example.evil/", "https://evil/hub.example",
                                      "https://hub.example@evil/", "https://evil#hub.example"};
    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++)
        assert_int_equal(check(hosts, false, good[i]), HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        assert_int_equal(check(hosts, false, bad[i]), HD_E_ARGUMENT);
    assert_int_equal(check(none, false, good[0]), HD_E_ARGUMENT);
    assert_int_equal(check(NULL, false, good[0]), HD_E_ARGUMENT);
}

static void test_plain_http_stays_on_this_machine(void **state)
{
    (void)state;
    static const char *const any[] = {"*", NULL};
    static const char *const local[] = {"http://localhost/", "http://127.0.0.1:8080/", "http://127.9.9.9/",
                                        "http://[::1]/"};
    static const char *const remote[] = {"http://hub.example/", "http://127.0.0.1.evil/", "http://10.0.0.1/",
                                         "http://localhost.evil/"};
    for (size_t i = 0; i < HD_ARRAY_LEN(local); i++)
        assert_int_equal(check(any, false, local[i]), HD_OK);
    for (size_t i = 0; i < HD_ARRAY_LEN(remote); i++) {
        assert_int_equal(check(any, false, remote[i]), HD_E_ARGUMENT);
        assert_int_equal(check(any, true, remote[i]), HD_OK);
    }
}

static void test_only_absolute_web_addresses(void **state)
{
    (void)state;
    static const char *const any[] = {"*", NULL};
    static const char *const bad[] = {
        "",         "/path",  "hub.example/x",   "file:///etc/passwd",  "ftp://h/", "gopher://h/_x",
        "https://", "https:", "https://h:99999", "https://two words/x", "ldap://h/"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        assert_int_equal(check(any, true, bad[i]), HD_E_ARGUMENT);
}

static void test_host(void **state)
{
    (void)state;
    char host[32], tiny[4];
    assert_int_equal(hd_url_host("HTTPS://Some.Host:81/P", host, sizeof host, NULL), HD_OK);
    assert_string_equal(host, "some.host");
    assert_int_equal(hd_url_host("https://some.host/", tiny, sizeof tiny, NULL), HD_E_ARGUMENT);
}

static void test_join(void **state)
{
    (void)state;
    static const struct {
        const char *base, *reference, *joined;
    } cases[] = {
        {"https://h/simple/x/", "../../packages/f.whl", "https://h/packages/f.whl"},
        {"https://h/a?b=c", "/d", "https://h/d"},
        {"https://h/a", "https://other/b", "https://other/b"},
        {"https://h/a", "//other/b", "https://other/b"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char *joined = NULL;
        assert_int_equal(hd_url_join(cases[i].base, cases[i].reference, &joined, NULL), HD_OK);
        assert_string_equal(joined, cases[i].joined);
        hd_free(joined);
    }
}

static void test_encode_and_decode(void **state)
{
    (void)state;
    const char *text = "a b/\xc3\xa9+%~._-?&=#\"";
    hd_buf buf;
    hd_buf_init(&buf, 256);
    assert_int_equal(hd_url_encode(&buf, text, "/"), HD_OK);
    assert_string_equal(buf.data, "a%20b/%C3%A9%2B%25~._-%3F%26%3D%23%22");
    assert_true(hd_url_decode(buf.data));
    assert_string_equal(buf.data, text);
    hd_buf_free(&buf);
    static const char *const bad[] = {"%", "%4", "%4g", "%g4", "%00", "abc%"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        char copy[8];
        snprintf(copy, sizeof copy, "%s", bad[i]);
        assert_false(hd_url_decode(copy));
    }
}

/* What is printed holds neither a password nor the signature that a query carries. */
static void test_show_hides_secrets(void **state)
{
    (void)state;
    static const struct {
        const char *url, *shown;
    } cases[] = {
        {"https://h/p", "https://h/p"},
        {"https://user:pass@h:8/p?X-Amz-Signature=1#f", "https://h:8/p"},
        {"https://us@er:pa@h/p@q", "https://h/p@q"},
        {"https://h?token=x", "https://h"},
        {"no scheme", "no scheme"},
        {"", ""},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char shown[64];
        hd_url_show(cases[i].url, shown, sizeof shown);
        assert_string_equal(shown, cases[i].shown);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts_are_allowed_by_name),
        cmocka_unit_test(test_plain_http_stays_on_this_machine),
        cmocka_unit_test(test_only_absolute_web_addresses),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_encode_and_decode),
        cmocka_unit_test(test_show_hides_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
