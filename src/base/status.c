/* base/status.c: see hadal/status.h. */
#include "hadal/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

typedef struct status_row {
    const char *message;
    int http;
    const char *api_type;
    bool retry;
} status_row;

#define STATUS_ROW(name, message, http, type, retry) {message, http, type, retry},
static const status_row rows[] = {HD_STATUS_LIST(STATUS_ROW)};

static const status_row *row_of(hd_status status)
{
    unsigned i = (unsigned)status;
    return &rows[i < HD_STATUS_COUNT ? i : HD_E_INTERNAL];
}

const char *hd_status_message(hd_status status)
{
    return row_of(status)->message;
}

int hd_status_http(hd_status status)
{
    return row_of(status)->http;
}

const char *hd_status_api_type(hd_status status)
{
    return row_of(status)->api_type;
}

bool hd_status_retryable(hd_status status)
{
    return row_of(status)->retry;
}

/* Puts `text` into the error; a character that was cut at the end goes the way of all bytes that are no UTF-8. */
static void set_text(hd_error *err, const char *text)
{
    snprintf(err->text, sizeof err->text, "%s", text);
    hd_text_clean(err->text);
}

hd_status hd_fail(hd_error *err, hd_status status, const char *fmt, ...)
{
    if (!err) return status;
    char text[HD_ERROR_TEXT]; /* not err->text at once: it may be among the arguments */
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    set_text(err, n < 0 ? fmt : text);
    err->status = status;
    return status;
}

hd_status hd_fail_in(hd_error *err, hd_status status, const char *prefix_fmt, ...)
{
    if (!err) return status;
    char text[2 * HD_ERROR_TEXT + 2];
    va_list args;
    va_start(args, prefix_fmt);
    int n = vsnprintf(text, HD_ERROR_TEXT, prefix_fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : strlen(text);
    snprintf(text + len, sizeof text - len, len ? ": %s" : "%s", err->text);
    set_text(err, text);
    return err->status == HD_OK ? status : err->status;
}
