/* Regular expressions of pre-tokenizers: matches that need more stack than a thread gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "tokenizer/tokenizer_internal.h"

/* Each "b" is a place to come back to. */
#define PATTERN "(?:(a)|(b))*c"

static bool next(const hd_regex *re, hd_matcher *m, const char *text, size_t len, size_t *end)
{
    hd_error err;
    bool found;
    size_t start;
    hd_status status = hd_regex_next(re, m, text, len, 0, &found, &start, end, &err);
    if (status != HD_OK) fail_msg("%s", err.text);
    return found && start == 0;
}

static void test_deep_match(void **state)
{
    (void)state;
    enum { LEN = 20000 };
    hd_error err;
    hd_regex *re;
    hd_matcher *m;
    size_t end;
    char *text = hd_alloc(LEN);
    assert_non_null(text);
    memset(text, 'b', LEN);
    text[LEN - 1] = 'c';
    assert_int_equal(hd_regex_compile(&re, PATTERN, strlen(PATTERN), false, &err), HD_OK);
    assert_int_equal(hd_matcher_open(&m, &err), HD_OK);
    assert_true(next(re, m, "bc", 2, &end)); /* without a stack of its own */
    assert_int_equal(end, 2);
    assert_true(next(re, m, text, LEN, &end)); /* which it gets here */
    assert_int_equal(end, LEN);
    assert_true(next(re, m, text, LEN, &end)); /* and has */
    assert_int_equal(end, LEN);
    assert_true(next(re, m, "bc", 2, &end));
    hd_matcher_close(&m);
    hd_regex_free(&re);
    hd_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_deep_match)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
