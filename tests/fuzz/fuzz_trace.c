/* fuzz_trace.c: what strangers say to traces: a client's traceparent, a collector's answer, a log line's text; and the
 * lists of the environment. */
#include <string.h>

#include "base/base.h"
#include "base/span.h"
#include "ops/otlp.h"
#include "ops/otlp_encode.h"
#include "ops/protobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *list;

static char *get(const char *name)
{
    return strstr(name, "HEADERS") || strstr(name, "ATTRIBUTES") ? (char *)(uintptr_t)list : NULL;
}

static void must(bool holds)
{
    if (!holds) __builtin_trap();
}

/* What was taken, written down again, is the same. */
static void check_parent(const char *text, size_t size)
{
    hd_trace_parent p;
    char hex[2 * HD_TRACE_ID + 1];
    if (!hd_trace_parent_read(&p, (hd_str){text, size})) return;
    hd_trace_hex(hex, p.trace_id, HD_TRACE_ID);
    must(size >= 55 && memcmp(hex, text + 3, 32) == 0);
}

static void check_settings(const char *text)
{
    hd_otlp_settings s;
    const hd_otlp_wishes wishes = {.endpoint = "https://c", .ratio = -1};
    list = text;
    if (hd_otlp_settings_read(&s, &wishes, get, NULL) == HD_OK)
        for (size_t i = 0; i < s.headers.count; i++)
            must(s.headers.names[i][0] && !strpbrk(s.headers.values[i], "\r\n"));
    hd_otlp_settings_free(&s);
}

static void check_line(const char *text)
{
    char out[HD_LOG_LINE];
    json_t *line = NULL;
    const hd_log_field field = HD_LOG_FIELD_TEXT("model", text);
    size_t len = hd_log_write_line(out, HD_LOG_JSON, false, HD_LOG_INFO, 0, text, &field, 1);
    must(len <= sizeof out && hd_json_parse(&line, out, len, NULL) == HD_OK);
    json_decref(line);
}

static void check_text(const char *text, size_t size)
{
    hd_buf out;
    hd_buf_init(&out, size + 16);
    hd_pb_text(&out, 1, text, size);
    must(out.status == HD_OK && out.len > size);
    hd_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = hd_strndup((const char *)data, size);
    char *exact = hd_alloc(size); /* so that reading behind it is seen */
    if (text && exact) {
        if (size) memcpy(exact, data, size);
        check_parent(exact, size);
        (void)hd_otlp_read_rejected((hd_str){exact, size});
        check_settings(text);
        check_line(text);
        check_text(exact, size);
    }
    hd_free(text);
    hd_free(exact);
    return 0;
}
