/* JSON text written straight into a buffer: commas, escapes, text that is not UTF-8, numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/json_out.h"

static void expect(hd_buf *out, const char *text)
{
    assert_int_equal(out->status, HD_OK);
    assert_string_equal(out->data, text);
    hd_buf_free(out);
}

static void test_commas(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 1000);
    hd_out_begin(&out, '{');
    hd_out_member_int(&out, "a", -1);
    hd_out_member_begin(&out, "b", '[');
    hd_out_begin(&out, '{');
    hd_out_end(&out, '}');
    hd_out_begin(&out, '[');
    hd_out_end(&out, ']');
    hd_out_null(&out);
    hd_out_bool(&out, true);
    hd_out_string(&out, "ends in [");
    hd_out_string(&out, NULL);
    hd_out_end(&out, ']');
    hd_out_member_string(&out, "c", "");
    hd_out_end(&out, '}');
    expect(&out, "{\"a\":-1,\"b\":[{},[],null,true,\"ends in [\",null],\"c\":\"\"}");
}

static void test_escapes(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 1000);
    const char text[] = "a\"\\\n\r\t\x01\x7f/\0é😀";
    hd_out_text(&out, text, sizeof text - 1);
    expect(&out, "\"a\\\"\\\\\\n\\r\\t\\u0001\\u007f/\\u0000é😀\"");
}

/* Overlong forms, surrogates, what is beyond Unicode, cut sequences: each byte becomes U+FFFD (RFC 3629). */
static void test_bad_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"\x80z", "\"\ufffdz\""},
        {"\xc0\xaf", "\"\ufffd\ufffd\""},
        {"\xed\xa0\x80", "\"\ufffd\ufffd\ufffd\""},
        {"\xf4\x90\x80\x80", "\"\ufffd\ufffd\ufffd\ufffd\""},
        {"x\xe2\x82", "\"x\ufffd\ufffd\""},
        {"\xff", "\"\ufffd\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hd_buf out;
        hd_buf_init(&out, 1000);
        hd_out_text(&out, cases[i].in, strlen(cases[i].in));
        expect(&out, cases[i].out);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 1000);
    hd_out_begin(&out, '[');
    hd_out_real(&out, 0.1f);
    hd_out_real(&out, -INFINITY);
    hd_out_real(&out, NAN);
    hd_out_int(&out, INT64_MIN);
    hd_out_ids(&out, (int32_t[]){1, 2}, 2);
    hd_out_end(&out, ']');
    expect(&out, "[0.100000001,null,null,-9223372036854775808,[1,2]]");
}

static void test_sticks_to_its_cap(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 8);
    hd_out_string(&out, "0123456789");
    assert_int_equal(out.status, HD_E_LIMIT);
    json_t *value = json_pack("{s:s}", "key", "a long value");
    hd_out_json(&out, value);
    json_decref(value);
    assert_int_equal(out.status, HD_E_LIMIT);
    hd_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commas),  cmocka_unit_test(test_escapes),           cmocka_unit_test(test_bad_utf8),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_sticks_to_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
