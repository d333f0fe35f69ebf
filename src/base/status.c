/* base/status.c: see hadal/status.h. */
#include "hadal/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* File names and keys in an error come from hostile files: control bytes would let them drive a terminal. */
static void strip_controls(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

hd_status hd_fail(hd_error *err, hd_status status, const char *fmt, ...)
{
    if (!err) return status;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    strip_controls(err->text);
    err->status = status;
    return status;
}

hd_status hd_fail_in(hd_error *err, hd_status status, const char *prefix_fmt, ...)
{
    if (!err) return status;
    char inner[HD_ERROR_TEXT];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, prefix_fmt);
    int n = vsnprintf(err->text, sizeof err->text, prefix_fmt, args);
    va_end(args);
    if (n > 0 && (size_t)n + 2 < sizeof err->text) snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", inner);
    strip_controls(err->text);
    return err->status == HD_OK ? status : err->status;
}
