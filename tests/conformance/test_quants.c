/* Conformance of the decoders: <TYPE>.raw of golden/quants.safetensors must decode to the bits of <TYPE>.f32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data.h"
#include "formats/formats.h"
#include "tensor/quant.h"

static char golden[HD_TEST_PATH];

static const hd_tensor *find(const hd_checkpoint *ckpt, hd_type type, const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", hd_type_name(type), suffix);
    return hd_checkpoint_find(ckpt, name);
}

/* Bits that differ between the decoded rows and the expected ones; the first is printed. */
static int64_t differences(hd_type type, const hd_tensor *raw, const hd_tensor *want)
{
    int64_t rows = want->shape[0], cols = want->shape[1], bad = 0;
    float *got = hd_alloc_array((size_t)cols, sizeof *got);
    assert_non_null(got);
    for (int64_t r = 0; r < rows; r++) {
        const uint8_t *src = (const uint8_t *)raw->data + r * raw->shape[1];
        const uint8_t *expected = (const uint8_t *)want->data + r * cols * 4;
        assert_true(hd_decode_row(type, src, got, cols));
        for (int64_t c = 0; c < cols; c++) {
            uint32_t a, b;
            memcpy(&a, &got[c], sizeof a);
            memcpy(&b, expected + 4 * c, sizeof b);
            if (a != b && bad++ == 0)
                fprintf(stderr, "%s: row %d, column %d: %08x instead of %08x\n", hd_type_name(type), (int)r, (int)c, a,
                        b);
        }
    }
    hd_free(got);
    return bad;
}

static void test_every_type_bit_for_bit(void **state)
{
    (void)state;
    hd_error err = {0};
    hd_checkpoint *ckpt;
    if (hd_checkpoint_open(&ckpt, golden, &err) != HD_OK) fail_msg("%s", err.text);
    int types = 0;
    int64_t bad = 0;
    for (int t = 0; t < HD_TYPE_COUNT; t++) {
        const hd_tensor *raw = find(ckpt, (hd_type)t, "raw"), *want = find(ckpt, (hd_type)t, "f32");
        if (!raw || !want) continue;
        size_t row_bytes;
        assert_true(hd_type_row_bytes((hd_type)t, want->shape[1], &row_bytes));
        assert_int_equal(raw->shape[1], row_bytes);
        assert_int_equal(raw->shape[0], want->shape[0]);
        bad += differences((hd_type)t, raw, want);
        types++;
    }
    assert_int_equal(types * 2, hd_checkpoint_tensor_count(ckpt)); /* no type in the file is unknown to us */
    assert_int_equal(types, 23);
    assert_int_equal(bad, 0);
    hd_checkpoint_close(&ckpt);
}

int main(void)
{
    if (!hd_test_golden(golden, "quants.safetensors")) return hd_test_skip("no reference data: quants.safetensors");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_type_bit_for_bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
