/* test_utf8.c: every code point there and back, and what is ill-formed (Unicode standard, tables 3-7 and 3-8). */
#include "tokenizer/utf8.h"

#include "unit/tokenizer/help.h"

static void test_every_code_point(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        uint8_t bytes[4];
        uint32_t back = 0;
        int len = hd_utf8_put(bytes, cp);
        if (cp >= 0xD800 && cp < 0xE000) {
            assert_true(hd_utf8_step(bytes, (size_t)len, &back) < 0);
            continue;
        }
        assert_int_equal(hd_utf8_step(bytes, (size_t)len, &back), len);
        assert_int_equal(back, cp);
        for (int cut = 1; cut < len; cut++)
            assert_int_equal(hd_utf8_step(bytes, (size_t)cut, &back), 0);
    }
}

/* Pieces are maximal subparts: one U+FFFD each. */
static void test_ill_formed(void **state)
{
    static const struct {
        const char *bytes;
        int len;
    } cases[] = {
        {"\x80", -1},
        {"\xBF\x80", -1},
        {"\xC0\x80", -1},
        {"\xC1\xBF", -1},
        {"\xC2\x41", -1},
        {"\xE0\x80\x80", -1},
        {"\xE0\xA0\x41", -2},
        {"\xED\xA0\x80", -1},
        {"\xEF\xBF\x41", -2},
        {"\xF0\x80\x80\x80", -1},
        {"\xF0\x90\x80\x41", -3},
        {"\xF4\x90\x80\x80", -1},
        {"\xF5\x80", -1},
        {"\xFF", -1},
        {"\xF1\x80\xE1\x80", -2},
        {"\xE1\xC2\x80", -1},
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        uint32_t cp;
        assert_int_equal(hd_utf8_step((const uint8_t *)cases[i].bytes, strlen(cases[i].bytes), &cp), cases[i].len);
    }
}

static void test_byte_alphabet(void **state)
{
    (void)state;
    int seen = 0;
    for (int byte = 0; byte < 256; byte++)
        assert_int_equal(hd_bytelevel_byte(hd_bytelevel_char((uint8_t)byte)), byte);
    for (uint32_t cp = 0; cp < 0x1000; cp++)
        seen += hd_bytelevel_byte(cp) >= 0;
    assert_int_equal(seen, 256);
    /* the ones that everybody knows */
    assert_int_equal(hd_bytelevel_char(' '), 0x120);
    assert_int_equal(hd_bytelevel_char('\n'), 0x10A);
    assert_int_equal(hd_bytelevel_char('A'), 'A');
    assert_int_equal(hd_bytelevel_char(0xAD), 0x143);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_ill_formed),
        cmocka_unit_test(test_byte_alphabet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
