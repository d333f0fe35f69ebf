/* Prompts that are given as ids: one or several, ids that there are not, and no memory at any point. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "gateway/prompts.h"

static hd_served model = {.name = (char *)(uintptr_t) "m", .info = {.vocab = 100}};

static hd_status read(const char *text, hd_prompt **out, size_t *count, hd_error *err)
{
    hd_call call = {.model = &model};
    json_t *value = NULL;
    assert_int_equal(hd_json_parse(&value, text, strlen(text), NULL), HD_OK);
    hd_status status = hd_prompts_read(&call, value, "prompt", out, count, err);
    json_decref(value);
    return status;
}

static void test_ids(void **state)
{
    (void)state;
    hd_prompt *prompts;
    size_t count;
    assert_int_equal(read("[3, 4.0, 99]", &prompts, &count, NULL), HD_OK);
    assert_int_equal(count, 1);
    assert_int_equal(prompts[0].count, 3);
    assert_int_equal(prompts[0].ids[1], 4);
    hd_prompts_free(prompts, count);
    assert_int_equal(read("[[1], [2, 3]]", &prompts, &count, NULL), HD_OK);
    assert_int_equal(count, 2);
    assert_int_equal(prompts[1].ids[1], 3);
    hd_prompts_free(prompts, count);
}

static void test_what_there_is_not(void **state)
{
    (void)state;
    hd_prompt *prompts;
    size_t count;
    hd_error err;
    assert_int_equal(read("[[1], [2, 100]]", &prompts, &count, &err), HD_E_ARGUMENT);
    assert_string_equal(err.text, "prompt: 100 is no token id of this model (0 to 99)");
    assert_null(prompts);
    assert_int_equal(read("\"text\"", &prompts, &count, &err), HD_E_UNSUPPORTED); /* without a tokenizer */
    assert_null(prompts);
}

/* Callers may free what they were given, also after an error. */
static void test_no_memory(void **state)
{
    (void)state;
    hd_status status = HD_E_MEMORY;
    for (uint64_t n = 1; status != HD_OK; n++) {
        hd_prompt *prompts;
        size_t count = 7;
        hd_alloc_fail_after(n);
        status = read("[[1], [2, 3], [4]]", &prompts, &count, NULL);
        hd_alloc_fail_after(0);
        assert_true(status == HD_OK || status == HD_E_MEMORY);
        if (status != HD_OK) assert_null(prompts);
        assert_int_equal(count, status == HD_OK ? 3 : 0);
        hd_prompts_free(prompts, count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_what_there_is_not),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
