/* test_decode.c: streaming gives whole characters only, at every cut, and in sum what the whole list gives. */
#include "tokenizer/utf8.h"
#include "unit/tokenizer/help.h"

/* One id for each byte: every character of several bytes is cut everywhere. */
static void encode_bytes(const hd_tokenizer *tok, const char *text, size_t len, hd_ids *ids)
{
    for (size_t i = 0; i < len; i++)
        assert_int_equal(hd_tokenizer_encode(tok, text + i, 1, false, NULL, ids, NULL), HD_OK);
    assert_int_equal(ids->len, len);
}

static void check_stream(const hd_tokenizer *tok, const char *text, size_t len, const char *wanted)
{
    hd_ids ids = {0};
    hd_buf whole, streamed;
    hd_decoder d;
    hd_buf_init(&whole, 1 << 12);
    hd_buf_init(&streamed, 1 << 12);
    encode_bytes(tok, text, len, &ids);
    assert_int_equal(hd_tokenizer_decode(tok, ids.data, ids.len, true, &whole), HD_OK);
    hd_decoder_init(&d, tok, true);
    for (size_t i = 0; i < ids.len; i++) {
        size_t before = streamed.len;
        assert_int_equal(hd_decoder_push(&d, ids.data[i], &streamed), HD_OK);
        assert_true(d.held_len <= 3);
        /* what came out is whole characters */
        for (size_t at = before; at < streamed.len;) {
            uint32_t cp;
            int step = hd_utf8_step((const uint8_t *)streamed.data + at, streamed.len - at, &cp);
            assert_true(step > 0);
            at += (size_t)step;
        }
    }
    assert_int_equal(hd_decoder_finish(&d, &streamed), HD_OK);
    assert_int_equal(d.held_len, 0);
    assert_int_equal(streamed.len, strlen(wanted));
    if (streamed.len) assert_memory_equal(streamed.data, wanted, streamed.len);
    assert_int_equal(whole.len, strlen(wanted));
    if (whole.len) assert_memory_equal(whole.data, wanted, whole.len);
    hd_ids_free(&ids);
    hd_buf_free(&whole);
    hd_buf_free(&streamed);
}

#define FFFD "\xEF\xBF\xBD"

static void test_streaming(void **state)
{
    static const struct {
        const char *bytes, *wanted;
    } cases[] = {
        {"", ""},
        {"hello", "hello"},
        {"\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80", "\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80"},
        {"\x80", FFFD},
        {"a\xC3", "a" FFFD},
        {"\xF0\x9F\x98", FFFD}, /* the end is missing: one sign */
        {"\xF0\x9F\x98"
         "a",
         FFFD "a"},
        {"\xF0\x9F\xF0\x9F\x98\x80", FFFD "\xF0\x9F\x98\x80"},
        {"\xE0\x80\x80", FFFD FFFD FFFD}, /* overlong: each byte for itself */
        {"\xED\xA0\x80", FFFD FFFD FFFD}, /* a surrogate */
        {"\xC3\xC3\xA9", FFFD "\xC3\xA9"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", FFFD FFFD FFFD FFFD "A"}, /* table 3-11 of the standard */
    };
    (void)state;
    hd_tokenizer *tok = must_open("good_plain");
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++)
        check_stream(tok, cases[i].bytes, strlen(cases[i].bytes), cases[i].wanted);
    check_stream(tok, "a\0b", 1, "a");
    hd_tokenizer_close(&tok);
}

static void test_special_tokens(void **state)
{
    (void)state;
    hd_tokenizer *tok = must_open("good_deepseek_v3");
    hd_buf out;
    hd_ids ids = {0};
    static const char text[] = "<bos>hello<think><eos>";
    hd_buf_init(&out, 1 << 12);
    assert_int_equal(hd_tokenizer_encode(tok, text, strlen(text), true, NULL, &ids, NULL), HD_OK);
    assert_int_equal(hd_tokenizer_decode(tok, ids.data, ids.len, true, &out), HD_OK);
    assert_string_equal(out.data, text);
    hd_buf_clear(&out);
    assert_int_equal(hd_tokenizer_decode(tok, ids.data, ids.len, false, &out), HD_OK);
    assert_string_equal(out.data, "hello<think>"); /* which the file does not call special */
    hd_buf_clear(&out);
    assert_int_equal(hd_tokenizer_piece(tok, ids.data[0], false, &out), HD_OK);
    assert_int_equal(out.len, 0);
    hd_buf_free(&out);
    hd_ids_free(&ids);
    hd_tokenizer_close(&tok);
}

static void test_ids_outside(void **state)
{
    (void)state;
    hd_tokenizer *tok = must_open("good_plain");
    const int32_t outside[] = {-1, hd_tokenizer_vocab_size(tok), INT32_MAX, INT32_MIN};
    hd_buf out;
    hd_buf_init(&out, 1 << 12);
    for (size_t i = 0; i < HD_ARRAY_LEN(outside); i++) {
        assert_int_equal(hd_tokenizer_piece(tok, outside[i], true, &out), HD_E_ARGUMENT);
        assert_int_equal(hd_tokenizer_decode(tok, &outside[i], 1, true, &out), HD_OK); /* gives nothing */
    }
    assert_int_equal(out.len, 0);
    hd_buf_free(&out);
    hd_tokenizer_close(&tok);
}

static void test_full_buffer(void **state)
{
    (void)state;
    hd_tokenizer *tok = must_open("good_plain");
    hd_ids ids = {0};
    hd_buf out;
    hd_buf_init(&out, 3);
    assert_int_equal(hd_tokenizer_encode(tok, "hello", 5, true, NULL, &ids, NULL), HD_OK);
    assert_int_equal(hd_tokenizer_decode(tok, ids.data, ids.len, true, &out), HD_E_LIMIT);
    hd_ids_free(&ids);
    hd_buf_free(&out);
    hd_tokenizer_close(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_ids_outside),
        cmocka_unit_test(test_full_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
