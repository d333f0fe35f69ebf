/* HKDF against the examples of RFC 5869, base64url against those of RFC 4648, random bytes against nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "crypto/crypto.h"

static size_t bytes_of(const char *hex, uint8_t *out)
{
    size_t len = strlen(hex) / 2;
    assert_true(hd_hex_decode(hex, out, len));
    return len;
}

/* RFC 5869, appendix A.1 to A.3 (SHA-256): basic, long, and without salt and info. */
static void published_derivations(void **state)
{
    (void)state;
    static const struct {
        const char *secret, *salt, *info, *out;
    } cases[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
        {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
         "303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
         "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
         "909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
         "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
         "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
         "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        uint8_t secret[128], salt[128], info[128], expected[128], out[128];
        size_t secret_len = bytes_of(cases[i].secret, secret), salt_len = bytes_of(cases[i].salt, salt);
        size_t info_len = bytes_of(cases[i].info, info), len = bytes_of(cases[i].out, expected);
        assert_int_equal(hd_hkdf_sha256(secret, secret_len, salt, salt_len, info, info_len, out, len, NULL), HD_OK);
        assert_memory_equal(out, expected, len);
    }
}

static void lengths_out_of_range_are_refused(void **state)
{
    (void)state;
    static uint8_t out[8161];
    assert_int_equal(hd_hkdf_sha256("k", 1, NULL, 0, "i", 1, out, 0, NULL), HD_E_LIMIT);
    assert_int_equal(hd_hkdf_sha256("k", 1, NULL, 0, "i", 1, out, 8161, NULL), HD_E_LIMIT);
    assert_int_equal(hd_hkdf_sha256("k", 1, NULL, 0, "i", 1, out, 8160, NULL), HD_OK);
}

static void base64url_has_no_padding(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } cases[] = {{"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
                 {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xfe", "-__-"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char text[16];
        size_t len = strlen(cases[i].bytes);
        hd_base64url_encode((const uint8_t *)cases[i].bytes, len, text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(strlen(text), HD_BASE64URL_CHARS(len));
    }
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t a[32] = {0}, b[32] = {0}, zero[32] = {0};
    assert_int_equal(hd_random_bytes(a, sizeof a, NULL), HD_OK);
    assert_int_equal(hd_random_bytes(b, sizeof b, NULL), HD_OK);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a, zero, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_derivations),
        cmocka_unit_test(lengths_out_of_range_are_refused),
        cmocka_unit_test(base64url_has_no_padding),
        cmocka_unit_test(random_bytes_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
