/* SHA-256 against the examples of FIPS 180-4, HMAC against RFC 4231, hexadecimal against malformed text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "crypto/crypto.h"

static void assert_digest(const uint8_t *digest, const char *expected)
{
    char hex[HD_SHA256_HEX];
    hd_hex_encode(digest, HD_SHA256_BYTES, hex);
    assert_string_equal(hex, expected);
}

static void test_published_digests(void **state)
{
    (void)state;
    static const struct {
        const char *text, *digest;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        uint8_t digest[HD_SHA256_BYTES];
        assert_int_equal(hd_sha256_of(cases[i].text, strlen(cases[i].text), digest, NULL), HD_OK);
        assert_digest(digest, cases[i].digest);
    }
}

/* One million times 'a', given in pieces of uneven sizes that cross the block of 64 bytes at every offset. */
static void test_stream_in_pieces(void **state)
{
    (void)state;
    char piece[997];
    memset(piece, 'a', sizeof piece);
    hd_sha256 *hash = NULL;
    assert_int_equal(hd_sha256_open(&hash, NULL), HD_OK);
    for (size_t left = 1000000, n = 1; left; n = n % sizeof piece + 1) {
        size_t len = HD_MIN(n, left);
        assert_int_equal(hd_sha256_update(hash, piece, len, NULL), HD_OK);
        left -= len;
    }
    uint8_t digest[HD_SHA256_BYTES];
    assert_int_equal(hd_sha256_finish(hash, digest, NULL), HD_OK);
    assert_digest(digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    hd_sha256_close(&hash);
    assert_null(hash);
    hd_sha256_close(&hash);
}

static void test_starts_anew_after_finish_and_reset(void **state)
{
    (void)state;
    hd_sha256 *hash = NULL;
    uint8_t digest[HD_SHA256_BYTES];
    assert_int_equal(hd_sha256_open(&hash, NULL), HD_OK);
    assert_int_equal(hd_sha256_update(hash, "something else", 14, NULL), HD_OK);
    assert_int_equal(hd_sha256_finish(hash, digest, NULL), HD_OK);
    assert_int_equal(hd_sha256_update(hash, "discarded", 9, NULL), HD_OK);
    assert_int_equal(hd_sha256_reset(hash, NULL), HD_OK);
    assert_int_equal(hd_sha256_update(hash, "abc", 3, NULL), HD_OK);
    assert_int_equal(hd_sha256_finish(hash, digest, NULL), HD_OK);
    assert_digest(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hd_sha256_close(&hash);
}

static void test_hmac(void **state)
{
    (void)state;
    uint8_t mac[HD_SHA256_BYTES], key[131];
    memset(key, 0x0b, 20);
    assert_int_equal(hd_hmac_sha256(key, 20, "Hi There", 8, mac, NULL), HD_OK);
    assert_digest(mac, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_int_equal(hd_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, mac, NULL), HD_OK);
    assert_digest(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key); /* longer than the block: the key is hashed first */
    const char *text = "Test Using Larger Than Block-Size Key - Hash Key First";
    assert_int_equal(hd_hmac_sha256(key, sizeof key, text, strlen(text), mac, NULL), HD_OK);
    assert_digest(mac, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    /* No key and no text: HMAC("", ""). */
    assert_int_equal(hd_hmac_sha256(NULL, 0, NULL, 0, mac, NULL), HD_OK);
    assert_digest(mac, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_hex(void **state)
{
    (void)state;
    uint8_t bytes[3];
    char text[7];
    assert_true(hd_hex_decode("00aFff", bytes, 3));
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[1], 0xaf);
    assert_int_equal(bytes[2], 0xff);
    hd_hex_encode(bytes, 3, text);
    assert_string_equal(text, "00afff");
    static const char *const bad[] = {"", "0", "00aff", "00afff0", "00affg", "g0afff", "00 fff", "00af-1"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++)
        assert_false(hd_hex_decode(bad[i], bytes, 3));
}

static void test_secret_equal(void **state)
{
    (void)state;
    assert_true(hd_secret_equal("same", "same", 4));
    assert_false(hd_secret_equal("same", "sane", 4));
    assert_true(hd_secret_equal("same", "sane", 2));
}

static void test_out_of_memory(void **state)
{
    (void)state;
    hd_sha256 *hash = NULL;
    hd_error err = {0};
    hd_alloc_fail_after(1);
    assert_int_equal(hd_sha256_open(&hash, &err), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    assert_null(hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_digests),
        cmocka_unit_test(test_stream_in_pieces),
        cmocka_unit_test(test_starts_anew_after_finish_and_reset),
        cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_secret_equal),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
