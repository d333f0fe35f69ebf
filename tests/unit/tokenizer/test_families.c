/* families.c: every family is told from all others by how it cuts text. */
#include "unit/tokenizer/help.h"

static const char *const names[] = {"deepseek-llm", "deepseek-coder", "deepseek-v3", "qwen2",
                                    "llama-bpe",    "smollm",         "gpt-2",       "default"};

static void test_each_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        hd_pretokenizer pre = {0};
        bool nfc, whole_words, adds_bos;
        hd_status status;
        hd_str name = {names[i], strlen(names[i])};
        assert_int_equal(hd_pretokenizer_by_name(&pre, name, &nfc, &whole_words, &adds_bos, NULL), HD_OK);
        const char *found = hd_pretokenizer_name(&pre, nfc, whole_words, &status);
        assert_int_equal(status, HD_OK);
        assert_non_null(found);
        assert_string_equal(found, names[i]);
        assert_non_null(hd_pretokenizer_steps(found)[0]);
        /* the cut alone tells: no other family has it, whatever the two flags are */
        for (int flags = 0; flags < 4; flags++) {
            const char *other = hd_pretokenizer_name(&pre, flags & 1, flags & 2, &status);
            if (other) assert_string_equal(other, names[i]);
        }
        hd_pretokenizer_free(&pre);
    }
}

static void test_a_stranger(void **state)
{
    (void)state;
    hd_pretokenizer pre = {0};
    hd_status status;
    assert_int_equal(hd_pretokenizer_add(&pre, "\\s+", 3, false, HD_SPLIT_REMOVED, false, NULL), HD_OK);
    assert_null(hd_pretokenizer_name(&pre, false, false, &status));
    assert_int_equal(status, HD_OK);
    hd_pretokenizer_free(&pre);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_found),
        cmocka_unit_test(test_a_stranger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
