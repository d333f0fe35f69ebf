/* Protocol Buffers as their documentation shows them, and OTLP's messages made of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ops/otlp_encode.h"
#include "ops/protobuf.h"

static void expect(hd_buf *out, const char *bytes, size_t len)
{
    assert_int_equal(out->status, HD_OK);
    assert_int_equal(out->len, len);
    assert_memory_equal(out->data, bytes, len);
    hd_buf_clear(out);
}

static void test_fields(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 1000);
    hd_pb_varint(&out, 1, 150); /* the example of the documentation */
    expect(&out, "\x08\x96\x01", 3);
    hd_pb_varint(&out, 16, 0);
    expect(&out, "\x80\x01\x00", 3);
    hd_pb_varint(&out, 1, UINT64_MAX); /* int64 -1 */
    expect(&out, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
    hd_pb_fixed64(&out, 7, 0x0102030405060708u);
    expect(&out, "\x39\x08\x07\x06\x05\x04\x03\x02\x01", 9);
    hd_pb_fixed32(&out, 16, 0x301);
    expect(&out, "\x85\x01\x01\x03\x00\x00", 6);
    hd_pb_double(&out, 4, 0.5);
    expect(&out, "\x21\x00\x00\x00\x00\x00\x00\xe0\x3f", 9);
    hd_pb_string(&out, 2, "testing");
    expect(&out, "\x12\x07testing", 9);
    hd_pb_bytes(&out, 2, NULL, 0);
    expect(&out, "\x12\x00", 2);
    hd_buf_free(&out);
}

static void test_text_is_utf8(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 1000);
    hd_pb_text(&out, 1, "a\xff\xe4\xb8\xad\xe4\xb8", 7);
    expect(&out,
           "\x0a\x07"
           "a?\xe4\xb8\xad??",
           9);
    hd_buf_free(&out);
}

/* Lengths of one, two and three bytes, each around what needs more. */
static void test_messages(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 125, 126, 127, 128, 16380, 16384, 40000};
    static char text[40000];
    for (size_t i = 0; i < HD_ARRAY_LEN(sizes); i++) {
        hd_buf out, inner;
        hd_buf_init(&out, 100000);
        hd_buf_init(&inner, 100000);
        hd_pb_bytes(&inner, 1, text, sizes[i]);
        size_t mark = hd_pb_begin(&out, 3);
        hd_pb_bytes(&out, 1, text, sizes[i]);
        hd_pb_end(&out, mark);
        hd_buf whole;
        hd_buf_init(&whole, 100000);
        hd_pb_bytes(&whole, 3, inner.data, inner.len);
        assert_int_equal(out.len, whole.len);
        assert_memory_equal(out.data, whole.data, whole.len);
        hd_buf_free(&out);
        hd_buf_free(&inner);
        hd_buf_free(&whole);
    }
}

/* At every cap the buffer says that it is full, and nothing is written behind its end. */
static void test_caps(void **state)
{
    (void)state;
    static const uint8_t trace[HD_TRACE_ID] = {1}, id[HD_SPAN_ID] = {2};
    static const char *const texts[] = {"a", "b"};
    const hd_attribute attributes[] = {
        {.key = "text", .kind = HD_ATTRIBUTE_TEXT, .text = {"x", 1}},
        {.key = "texts", .kind = HD_ATTRIBUTE_TEXTS, .texts = texts, .text_count = 2},
        {.key = "real", .kind = HD_ATTRIBUTE_REAL, .real = 1},
        {.key = "int", .kind = HD_ATTRIBUTE_INT, .number = -1},
        {.key = "bool", .kind = HD_ATTRIBUTE_BOOL, .truth = true},
    };
    const hd_span_event event = {"first_token", 5};
    const hd_span span = {.trace_id = trace,
                          .span_id = id,
                          .name = "s",
                          .kind = HD_SPAN_SERVER,
                          .attributes = attributes,
                          .attribute_count = HD_ARRAY_LEN(attributes),
                          .events = &event,
                          .event_count = 1,
                          .failed = true};
    const hd_otlp_sender sender = {.resource = attributes, .resource_count = 1, .scope = "hadal", .version = "1"};
    hd_buf spans, out;
    hd_buf_init(&spans, 10000);
    hd_otlp_write_span(&spans, &span);
    hd_buf_init(&out, 10000);
    hd_otlp_write_request(&out, &sender, (hd_str){spans.data, spans.len});
    size_t full = out.len;
    hd_buf_free(&out);
    for (size_t cap = 1; cap < full; cap++) {
        hd_buf_init(&out, cap);
        hd_otlp_write_request(&out, &sender, (hd_str){spans.data, spans.len});
        assert_int_equal(out.status, HD_E_LIMIT);
        assert_true(out.len <= cap);
        hd_buf_free(&out);
    }
    hd_buf_free(&spans);
}

static void test_rejected(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        uint64_t rejected;
    } cases[] = {{"", 0, 0},
                 {"\x0a\x02\x08\x05", 4, 5},
                 {"\x0a\x06\x08\xac\x02\x12\x01x", 8, 300},
                 {"\x0a\x02\x12\x00", 4, 0},         /* a message only */
                 {"\x12\x02\x08\x05", 4, 0},         /* another field */
                 {"\x0a\x05\x08\x05", 4, 0},         /* longer than what is there */
                 {"\x0a\x02\x08\xff", 4, 0},         /* a number without end */
                 {"\x0b\x0a\x02\x08\x05", 5, 0},     /* groups are no more */
                 {"{\"partialSuccess\":{}}", 21, 0}, /* JSON */
                 {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, 0}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++)
        assert_int_equal(hd_otlp_read_rejected((hd_str){cases[i].bytes, cases[i].len}), cases[i].rejected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fields), cmocka_unit_test(test_text_is_utf8),
                                       cmocka_unit_test(test_messages), cmocka_unit_test(test_caps),
                                       cmocka_unit_test(test_rejected)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
