/* base/log.c: see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/text.h"

static atomic_int max_level = HD_LOG_WARN;

void hd_log_set_level(hd_log_level level)
{
    atomic_store(&max_level, (int)level);
}

void hd_log(hd_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if ((int)level > atomic_load(&max_level)) return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    hd_text_clean(line);
    fprintf(stderr, "hadal: %s: %s\n", names[level], line); /* one call, so that lines of threads don't mix */
}
