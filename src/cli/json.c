/* cli/json.c: see json.h. */
#include "cli/json.h"

#include <ctype.h>
#include <math.h>

#include "cli/input.h"
#include "tokenizer/utf8.h"

#define HD_JSON_FLAGS (JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) /* nine digits tell any two floats apart */

json_t *hd_json_text(const char *text, size_t len)
{
    json_t *plain = json_stringn(text, len);
    if (plain) return plain;
    hd_buf fixed;
    hd_buf_init(&fixed, SIZE_MAX / 2);
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int step = hd_utf8_step((const uint8_t *)text + at, len - at, &cp);
        size_t taken = step == 0 ? len - at : (size_t)(step < 0 ? -step : step);
        (void)hd_buf_append(&fixed, step > 0 ? text + at : HD_UTF8_REPLACEMENT, step > 0 ? taken : 3); /* sticky */
        at += taken;
    }
    if (fixed.status == HD_OK) plain = json_stringn(fixed.data ? fixed.data : "", fixed.len);
    hd_buf_free(&fixed);
    return plain;
}

static int append_bytes(const char *data, size_t len, void *arg)
{
    return hd_buf_append(arg, data, len) == HD_OK ? 0 : -1;
}

hd_status hd_json_dump(const json_t *value, hd_buf *out, hd_error *err)
{
    hd_buf_init(out, HD_INPUT_MAX);
    if (json_dump_callback(value, append_bytes, out, HD_JSON_FLAGS | JSON_COMPACT) == 0) return HD_OK;
    return hd_fail(err, out->status == HD_E_LIMIT ? HD_E_LIMIT : HD_E_MEMORY, "the JSON does not fit into memory");
}

json_t *hd_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

hd_status hd_json_print(FILE *out, json_t *value, bool pretty, hd_error *err)
{
    int rc = value ? json_dumpf(value, out, HD_JSON_FLAGS | (pretty ? JSON_INDENT(2) : JSON_COMPACT)) : -1;
    json_decref(value);
    if (rc != 0 && !ferror(out)) return hd_fail(err, HD_E_MEMORY, "out of memory for the JSON of the result");
    putc('\n', out);
    return HD_OK;
}

hd_status hd_json_print_string(FILE *out, const char *text, size_t len, hd_error *err)
{
    return hd_json_print(out, hd_json_text(text, len), false, err);
}

static bool is_blank(const hd_buf *line)
{
    for (size_t i = 0; i < line->len; i++)
        if (!isspace((unsigned char)line->data[i])) return false;
    return true;
}

hd_status hd_json_lines(hd_status (*answer)(void *arg, const json_t *value, hd_error *err), void *arg, hd_error *err)
{
    hd_buf line;
    hd_buf_init(&line, HD_INPUT_MAX);
    hd_status status = HD_OK;
    for (uint64_t number = 1;; number++) {
        bool more;
        json_t *value = NULL;
        status = hd_input_line(stdin, &line, &more, err);
        if (status != HD_OK || !more) break;
        if (is_blank(&line)) continue;
        status = hd_json_parse(&value, line.data, line.len, err);
        if (status == HD_OK) status = answer(arg, value, err);
        json_decref(value);
        if (status != HD_OK) {
            status = hd_fail_in(err, status, "line %llu of standard input", (unsigned long long)number);
            break;
        }
        if (fflush(stdout) != 0 || ferror(stdout)) break; /* nobody reads on */
    }
    hd_buf_free(&line);
    return status;
}
