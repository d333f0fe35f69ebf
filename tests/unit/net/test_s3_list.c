/* Listings of a bucket: a good one in two pages, and ones that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/net.h"

#define BEGIN "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
#define END "</ListBucketResult>"

static hd_status parse(hd_s3_list *list, const char *xml)
{
    hd_error err = {0};
    hd_status status = hd_s3_list_parse(list, xml, strlen(xml), &err);
    assert_true(status == HD_OK || err.text[0]);
    return status;
}

static void test_pages(void **state)
{
    (void)state;
    hd_s3_list list = {0};
    assert_int_equal(parse(&list,
                           BEGIN "<EncodingType>url</EncodingType>"
                                 "<NextContinuationToken>1/a&amp;b==</NextContinuationToken>"
                                 "<Contents><Key>m/a+b%2Bc%C3%A9.gguf</Key><ETag>x</ETag><Size>7</Size></Contents>"
                                 "<Contents><Size>18446744073</Size><Key>m/x&amp;y</Key></Contents>" END),
                     HD_OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.objects[0].key, "m/a b+c\xc3\xa9.gguf");
    assert_int_equal(list.objects[0].size, 7);
    assert_string_equal(list.objects[1].key, "m/x&y");
    assert_true(list.objects[1].size == 18446744073u);
    assert_string_equal(list.next, "1/a&b==");
    assert_int_equal(parse(&list, BEGIN "<Contents><Key>z</Key><Size>0</Size></Contents>" END), HD_OK);
    assert_int_equal(list.count, 3);
    assert_null(list.next);
    hd_s3_list_free(&list);
    assert_int_equal(list.count, 0);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "<html>proxy login</html>",
        "<Error><Code>AccessDenied</Code></Error>",
        BEGIN "<Contents><Size>1</Size></Contents>" END,
        BEGIN "<Contents><Key>a</Key></Contents>" END,
        BEGIN "<Contents><Key>a</Key><Size></Size></Contents>" END,
        BEGIN "<Contents><Key>a</Key><Size>-1</Size></Contents>" END,
        BEGIN "<Contents><Key>a</Key><Size>99999999999999999999</Size></Contents>" END,
        BEGIN "<Contents><Key>a%zz</Key><Size>1</Size></Contents>" END,
        BEGIN "<Contents><Key>a%00b</Key><Size>1</Size></Contents>" END,
        BEGIN "<NextContinuationToken></NextContinuationToken>" END,
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_s3_list list = {0};
        assert_int_equal(parse(&list, bad[i]), HD_E_FORMAT);
        hd_s3_list_free(&list);
    }
}

/* Elements that never end give nothing, and nothing is read behind the text. */
static void test_cut_short(void **state)
{
    (void)state;
    const char *whole = BEGIN "<Contents><Key>a</Key><Size>1</Size></Contents>" END;
    for (size_t len = strlen(BEGIN); len < strlen(whole); len++) {
        hd_s3_list list = {0};
        char *copy = hd_strndup(whole, len);
        (void)hd_s3_list_parse(&list, copy, len, NULL);
        assert_true(list.count <= 1);
        hd_free(copy);
        hd_s3_list_free(&list);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const char *xml =
        BEGIN "<NextContinuationToken>t</NextContinuationToken><Contents><Key>a</Key><Size>1</Size></Contents>" END;
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        hd_s3_list list = {0};
        hd_alloc_fail_after(n);
        hd_status status = hd_s3_list_parse(&list, xml, strlen(xml), NULL);
        hd_alloc_fail_after(0);
        hd_s3_list_free(&list);
        if (status == HD_OK) break;
        assert_int_equal(status, HD_E_MEMORY);
        failures++;
    }
    assert_int_equal(failures, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
