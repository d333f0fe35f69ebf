/* Logits and greedy text of golden/models against the reference implementation, in safetensors and GGUF. */
#include <string.h>

#include "conformance/reference.h"

static void test_model(void **state)
{
    const char *name = *state;
    char relative[128], folder[HD_TEST_PATH], gguf[HD_TEST_PATH + 16], label[128];
    snprintf(relative, sizeof relative, "models/%s", name);
    if (!hd_test_golden(folder, relative)) skip();
    snprintf(label, sizeof label, "%s (safetensors)", name);
    check_model(folder, folder, label);
    snprintf(gguf, sizeof gguf, "%s/model.gguf", folder);
    snprintf(label, sizeof label, "%s (gguf)", name);
    if (access(gguf, R_OK) == 0) check_model(folder, gguf, label);
}

int main(void)
{
#define MODEL(name)                                                                                                    \
    {                                                                                                                  \
        "logits of " name, test_model, NULL, NULL, (void *)(uintptr_t)name                                             \
    }
    const struct CMUnitTest tests[] = {
        MODEL("llama"),       MODEL("llama3-rope"), MODEL("qwen2"),           MODEL("qwen3"),
        MODEL("deepseek-v2"), MODEL("deepseek-v3"), MODEL("deepseek-v3-fp8"), MODEL("deepseek-v2-lite"),
    };
    return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}
