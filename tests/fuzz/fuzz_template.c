/* fuzz_template.c: any bytes as a chat template and its variables: the source, a NUL, a JSON object.  What parses is
 * rendered as a server would, and the prompt is checked: valid UTF-8, one byte of trust for each byte of text. */
#include <string.h>

#include "tokenizer/template.h"
#include "tokenizer/utf8.h"

static void check(const hd_rendered *r)
{
    if (r->text.len != r->trusted.len) __builtin_trap();
    for (size_t pos = 0; pos < r->text.len;) {
        uint32_t cp;
        int step = hd_utf8_step((const uint8_t *)r->text.data + pos, r->text.len - pos, &cp);
        if (step <= 0) __builtin_trap();
        pos += (size_t)step;
    }
    for (size_t i = 0; i < r->trusted.len; i++)
        if (r->trusted.data[i] & ~1) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t len = nul ? (size_t)(nul - data) : size;
    hd_template *t = NULL;
    hd_rendered r = {0};
    hd_error err;
    json_t *vars = NULL;
    if (hd_template_parse(&t, (const char *)data, len, &err) != HD_OK) return 0;
    if (!nul || hd_json_parse(&vars, (const char *)nul + 1, size - len - 1, &err) != HD_OK) vars = json_object();
    if (hd_template_render(t, vars, &r, &err) == HD_OK) check(&r);
    hd_rendered_free(&r);
    hd_template_free(&t);
    json_decref(vars);
    return 0;
}
