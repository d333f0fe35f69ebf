/* tool_log.h: the events of a tool_parser as one text, which does not depend on how they were cut.
 *
 * Text stands for itself; the rest in brackets: "a\1B0 name\2\1A{...}\2\1E0 reason\2".  Beginnings and ends must take
 * turns and count up; tool_log_ok says so.
 */
#ifndef HD_TESTS_TOOL_LOG_H
#define HD_TESTS_TOOL_LOG_H

#include <stdbool.h>
#include <stdio.h>

#include "base/base.h"
#include "tokenizer/tool_parser.h"

#define TOOL_OPEN '\1'
#define TOOL_CLOSE '\2'

typedef struct tool_log {
    hd_buf text;
    size_t calls;
    bool open, in_arguments, bad;
} tool_log;

static inline void tool_log_init(tool_log *log)
{
    *log = (tool_log){.calls = 0};
    hd_buf_init(&log->text, 1 << 24);
}

static inline void tool_log_free(tool_log *log)
{
    hd_buf_free(&log->text);
}

static inline bool tool_log_ok(const tool_log *log)
{
    return !log->bad && log->text.status == HD_OK;
}

static inline void tool_log_add(void *arg, const hd_tool_event *e)
{
    tool_log *log = arg;
    bool call = e->kind != HD_TOOL_TEXT;
    if (log->in_arguments && e->kind != HD_TOOL_ARGUMENTS) {
        (void)hd_buf_putc(&log->text, TOOL_CLOSE);
        log->in_arguments = false;
    }
    if (call != (log->open || e->kind == HD_TOOL_BEGIN) || (e->len == 0 && e->kind != HD_TOOL_END)) log->bad = true;
    if (e->kind == HD_TOOL_BEGIN && log->open) log->bad = true;
    if (e->index != log->calls - (log->open ? 1 : 0)) log->bad = true;
    if (e->kind == HD_TOOL_BEGIN || e->kind == HD_TOOL_END)
        (void)hd_buf_printf(&log->text, "%c%c%zu ", TOOL_OPEN, e->kind == HD_TOOL_BEGIN ? 'B' : 'E', e->index);
    if (e->kind == HD_TOOL_ARGUMENTS && !log->in_arguments) (void)hd_buf_printf(&log->text, "%cA", TOOL_OPEN);
    (void)hd_buf_append(&log->text, e->data, e->len);
    if (e->kind == HD_TOOL_BEGIN || e->kind == HD_TOOL_END) (void)hd_buf_putc(&log->text, TOOL_CLOSE);
    if (e->kind == HD_TOOL_ARGUMENTS) log->in_arguments = true;
    if (e->kind == HD_TOOL_BEGIN) log->calls++;
    if (call) log->open = e->kind != HD_TOOL_END;
}

#endif
