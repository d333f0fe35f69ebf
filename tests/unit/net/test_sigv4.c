/* Signatures against the values that AWS publishes: its test suite for Signature Version 4 (service "service") and the
 * worked examples of the S3 documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "net/net.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const hd_s3_keys suite_keys = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL, "us-east-1"};
static const hd_s3_keys s3_keys = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL,
                                   "us-east-1"};

static void assert_signature(const hd_sigv4_request *request, const hd_s3_keys *keys, const char *signature)
{
    hd_buf out;
    hd_buf_init(&out, 4096);
    assert_int_equal(hd_sigv4_authorize(&out, request, keys, NULL), HD_OK);
    const char *at = strstr(out.data, "Signature=");
    assert_non_null(at);
    assert_string_equal(at + strlen("Signature="), signature);
    hd_buf_free(&out);
}

/* One request of the suite: host example.amazonaws.com, 2015-08-30 12:36 UTC. */
static void assert_suite(const char *method, const char *path, const char *query, const char *signature)
{
    const hd_sigv4_header headers[] = {{"x-amz-date", "20150830T123600Z"}, {"host", "example.amazonaws.com"}};
    hd_sigv4_request request = {method, path, query, headers, 2, EMPTY, "20150830T123600Z", "service"};
    assert_signature(&request, &suite_keys, signature);
}

static void test_suite(void **state)
{
    (void)state;
    assert_suite("GET", "/", NULL, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    assert_suite("POST", "/", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
    /* get-vanilla-query-order-key-case: parameters are sorted */
    assert_suite("GET", "/", "Param2=value2&Param1=value1",
                 "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
    assert_suite("GET", "/", "%E1%88%B4=bar", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04");
}

static void test_whole_header(void **state)
{
    (void)state;
    const hd_sigv4_header headers[] = {{"host", "example.amazonaws.com"}, {"x-amz-date", "20150830T123600Z"}};
    const hd_sigv4_request request = {"GET", "/", NULL, headers, 2, EMPTY, "20150830T123600Z", "service"};
    hd_buf out;
    hd_buf_init(&out, 4096);
    assert_int_equal(hd_sigv4_authorize(&out, &request, &suite_keys, NULL), HD_OK);
    assert_string_equal(out.data, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                                  "SignedHeaders=host;x-amz-date, "
                                  "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    hd_buf_free(&out);
}

static void test_s3_examples(void **state)
{
    (void)state;
    const hd_sigv4_header get_headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                           {"range", "bytes=0-9"},
                                           {"x-amz-content-sha256", EMPTY},
                                           {"x-amz-date", "20130524T000000Z"}};
    hd_sigv4_request get = {"GET", "/test.txt", NULL, get_headers, 4, EMPTY, "20130524T000000Z", "s3"};
    assert_signature(&get, &s3_keys, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

    const hd_sigv4_header list_headers[] = {{"x-amz-date", "20130524T000000Z"},
                                            {"x-amz-content-sha256", EMPTY},
                                            {"host", "examplebucket.s3.amazonaws.com"}};
    hd_sigv4_request list = {"GET", "/", "prefix=J&max-keys=2", list_headers, 3, EMPTY, "20130524T000000Z", "s3"};
    assert_signature(&list, &s3_keys, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    list.query = "lifecycle"; /* a parameter without a value is signed as "lifecycle=" */
    assert_signature(&list, &s3_keys, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

/* Spaces around a value and runs of them inside do not change the signature. */
static void test_values_are_trimmed(void **state)
{
    (void)state;
    hd_buf plain, spaced;
    hd_buf_init(&plain, 4096);
    hd_buf_init(&spaced, 4096);
    hd_sigv4_header headers[] = {{"host", "h"}, {"my-header", "a b c"}, {"x-amz-date", "20150830T123600Z"}};
    hd_sigv4_request request = {"GET", "/", NULL, headers, 3, EMPTY, "20150830T123600Z", "service"};
    assert_int_equal(hd_sigv4_authorize(&plain, &request, &suite_keys, NULL), HD_OK);
    headers[1].value = "  a   b \t c  ";
    assert_int_equal(hd_sigv4_authorize(&spaced, &request, &suite_keys, NULL), HD_OK);
    assert_string_equal(plain.data, spaced.data);
    hd_buf_free(&plain);
    hd_buf_free(&spaced);
}

static void test_limits(void **state)
{
    (void)state;
    hd_sigv4_header headers[HD_SIGV4_HEADERS_MAX + 1];
    for (size_t i = 0; i < HD_ARRAY_LEN(headers); i++)
        headers[i] = (hd_sigv4_header){"host", "h"};
    hd_sigv4_request request = {"GET", "/", NULL, headers, HD_ARRAY_LEN(headers), EMPTY, "20150830T123600Z", "service"};
    hd_error err = {0};
    hd_buf out;
    hd_buf_init(&out, 4096);
    assert_int_equal(hd_sigv4_authorize(&out, &request, &suite_keys, &err), HD_E_LIMIT);
    assert_true(err.text[0]);
    char query[65 * 4 + 1] = "";
    for (int i = 0; i < 65; i++)
        memcpy(query + 4 * i, "a=b&", 5);
    request.header_count = 1;
    request.query = query;
    assert_int_equal(hd_sigv4_authorize(&out, &request, &suite_keys, &err), HD_E_LIMIT);
    hd_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suite),       cmocka_unit_test(test_whole_header),
        cmocka_unit_test(test_s3_examples), cmocka_unit_test(test_values_are_trimmed),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
