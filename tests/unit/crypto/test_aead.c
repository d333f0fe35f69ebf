/* AES-256-GCM against the test cases of McGrew and Viega's submission of GCM to NIST; whatever differs is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "crypto/crypto.h"

#define KEY_15 "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
#define PLAIN_16                                                                                                       \
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657" \
    "ba637b39"
#define CIPHER_16                                                                                                      \
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a" \
    "bcc9f662"

/* "The Galois/Counter Mode of Operation (GCM)", appendix B, test cases 13 to 16. */
static const struct {
    const char *key, *nonce, *extra, *plain, *sealed; /* the tag is last */
} cases[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "",
     "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {KEY_15, "cafebabefacedbaddecaf888", "", PLAIN_16 "1aafd255",
     CIPHER_16 "898015ad"
               "b094dac5d93471bdec1a502270e3cc6c"},
    {KEY_15, "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2", PLAIN_16,
     CIPHER_16 "76fc6ece0f4e1768cddf8853bb2d551b"},
};

static size_t bytes_of(const char *hex, uint8_t *out)
{
    size_t len = strlen(hex) / 2;
    assert_true(hd_hex_decode(hex, out, len));
    return len;
}

static void published_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        uint8_t key[32], nonce[12], extra[32], plain[64], expected[80], sealed[80], again[64];
        hd_aead *aead = NULL;
        (void)bytes_of(cases[i].key, key);
        (void)bytes_of(cases[i].nonce, nonce);
        size_t extra_len = bytes_of(cases[i].extra, extra), len = bytes_of(cases[i].plain, plain);
        assert_int_equal(bytes_of(cases[i].sealed, expected), len + HD_AEAD_TAG);
        assert_int_equal(hd_aead_open(&aead, key, NULL), HD_OK);
        for (int round = 0; round < 2; round++) { /* the second one finds what the first left */
            assert_int_equal(hd_aead_seal(aead, nonce, extra, extra_len, plain, len, sealed, NULL), HD_OK);
            assert_memory_equal(sealed, expected, len + HD_AEAD_TAG);
            assert_int_equal(hd_aead_unseal(aead, nonce, extra, extra_len, sealed, len + HD_AEAD_TAG, again, NULL),
                             HD_OK);
            if (len) assert_memory_equal(again, plain, len);
        }
        hd_aead_close(&aead);
        assert_null(aead);
    }
}

static void what_was_changed_is_noticed_and_wiped(void **state)
{
    (void)state;
    static const uint8_t key[32] = {1}, nonce[12] = {2}, other_nonce[12] = {3}, zero[5] = {0};
    uint8_t sealed[5 + HD_AEAD_TAG], plain[5];
    hd_error err;
    hd_aead *aead = NULL;
    assert_int_equal(hd_aead_open(&aead, key, NULL), HD_OK);
    assert_int_equal(hd_aead_seal(aead, nonce, "extra", 5, "hello", 5, sealed, NULL), HD_OK);
    for (size_t bit = 0; bit < 8 * sizeof sealed; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        memset(plain, 'x', sizeof plain);
        assert_int_equal(hd_aead_unseal(aead, nonce, "extra", 5, sealed, sizeof sealed, plain, &err), HD_E_CHECKSUM);
        assert_memory_equal(plain, zero, sizeof zero);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(hd_aead_unseal(aead, other_nonce, "extra", 5, sealed, sizeof sealed, plain, &err), HD_E_CHECKSUM);
    assert_int_equal(hd_aead_unseal(aead, nonce, "extrA", 5, sealed, sizeof sealed, plain, &err), HD_E_CHECKSUM);
    assert_int_equal(hd_aead_unseal(aead, nonce, NULL, 0, sealed, sizeof sealed, plain, &err), HD_E_CHECKSUM);
    assert_int_equal(hd_aead_unseal(aead, nonce, "extra", 5, sealed, sizeof sealed - 1, plain, &err), HD_E_CHECKSUM);
    assert_int_equal(hd_aead_unseal(aead, nonce, "extra", 5, sealed, 15, plain, &err), HD_E_CHECKSUM);
    assert_int_equal(hd_aead_unseal(aead, nonce, "extra", 5, sealed, sizeof sealed, plain, &err), HD_OK);
    assert_memory_equal(plain, "hello", 5);
    hd_aead_close(&aead);
}

static void out_of_memory(void **state)
{
    (void)state;
    static const uint8_t key[32] = {1};
    hd_aead *aead = NULL;
    hd_alloc_fail_after(1);
    assert_int_equal(hd_aead_open(&aead, key, NULL), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    assert_null(aead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_messages),
        cmocka_unit_test(what_was_changed_is_noticed_and_wiped),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
