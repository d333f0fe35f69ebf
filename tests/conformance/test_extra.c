/* Logits and greedy text of the models of tests/data/golden-extra: sizes and settings that golden/models lacks. */
#include <string.h>

#include "conformance/reference.h"

static void test_model(void **state)
{
    const char *name = *state;
    char relative[128], folder[HD_TEST_PATH], model[HD_TEST_PATH + 16];
    snprintf(relative, sizeof relative, "tests/data/golden-extra/%s", name);
    assert_true(hd_test_file(folder, relative));
    snprintf(model, sizeof model, "%s/model.gguf", folder);
    check_model(folder, access(model, R_OK) == 0 ? model : folder, name);
}

int main(void)
{
#define MODEL(name)                                                                                                    \
    {                                                                                                                  \
        "logits of " name, test_model, NULL, NULL, (void *)(uintptr_t)name                                             \
    }
    const struct CMUnitTest tests[] = {
        MODEL("llama-odd"),       MODEL("qwen2-window"),        MODEL("qwen3-shards"),  MODEL("deepseek-v2-odd"),
        MODEL("deepseek-v3-odd"), MODEL("deepseek-v3-fp8-odd"), MODEL("llama-v2-gguf"), MODEL("deepseek-v3-gguf"),
    };
    return cmocka_run_group_tests_name("extra", tests, NULL, NULL);
}
