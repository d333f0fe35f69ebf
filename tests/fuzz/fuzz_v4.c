/* fuzz_v4.c: any JSON as a request for DeepSeek-V4's chat prompt. */
#include <string.h>

#include "tokenizer/template.h"
#include "tokenizer/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_rendered r = {0};
    hd_error err;
    json_t *vars = NULL;
    if (hd_json_parse(&vars, (const char *)data, size, &err) != HD_OK) return 0;
    if (hd_v4_render(vars, &r, &err) == HD_OK) {
        if (r.text.len != r.trusted.len) __builtin_trap();
        for (size_t pos = 0; pos < r.text.len;) {
            uint32_t cp;
            int step = hd_utf8_step((const uint8_t *)r.text.data + pos, r.text.len - pos, &cp);
            if (step <= 0) __builtin_trap();
            pos += (size_t)step;
        }
    }
    hd_rendered_free(&r);
    json_decref(vars);
    return 0;
}
