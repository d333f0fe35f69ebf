/* fuzz_tools.c: any bytes as an answer with tool calls: however it is cut, the same events come out, none of them out
 * of turn, and no more is held back than is allowed.  The first byte chooses the form, the second the cuts. */
#include <string.h>

#include "unit/tokenizer/tool_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Pieces of 1 to `most` bytes; 0: the whole text at once. */
static void parse(hd_tool_form form, const char *text, size_t len, size_t most, uint32_t seed, tool_log *log)
{
    hd_tool_parser *p = NULL;
    tool_log_init(log);
    if (hd_tool_parser_open(&p, form, tool_log_add, log, NULL) != HD_OK) return;
    for (size_t pos = 0, n; pos < len; pos += n) {
        seed = seed * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        n = most ? HD_MIN(1 + (seed >> 8) % most, len - pos) : len;
        if (hd_tool_parser_push(p, text + pos, n, NULL) != HD_OK) __builtin_trap();
        if (hd_tool_parser_held(p) > HD_TOOL_HELD) __builtin_trap();
    }
    hd_tool_parser_finish(p);
    if (hd_tool_parser_held(p) || log->open || !tool_log_ok(log)) __builtin_trap();
    hd_tool_parser_close(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tool_log whole, pieces;
    if (size < 2) return 0;
    hd_tool_form form = (hd_tool_form)(data[0] % 4);
    const char *text = (const char *)data + 2;
    parse(form, text, size - 2, 0, 0, &whole);
    static const size_t most[] = {1, 3, 40};
    for (size_t i = 0; i < HD_ARRAY_LEN(most); i++) {
        parse(form, text, size - 2, most[i], data[1], &pieces);
        if (pieces.text.len != whole.text.len) __builtin_trap();
        if (whole.text.len && memcmp(pieces.text.data, whole.text.data, whole.text.len) != 0) __builtin_trap();
        tool_log_free(&pieces);
    }
    tool_log_free(&whole);
    return 0;
}
