/* hadal/status.h: every way a call can end, and the error that explains it.
 *
 * One X-macro lists each status with its message, the HTTP status and API error type that a server gives for it, and
 * whether a retry helps, so that the four can't drift apart.  Functions that can fail return hd_status (must-use) and
 * take an hd_error last; it may be NULL.  The text says what was wrong, where, and what to do.
 */
#ifndef HADAL_STATUS_H
#define HADAL_STATUS_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__clang__)
#define HD_MUST_USE __attribute__((warn_unused_result)) /* on the type: every function that returns it is must-use */
#else
#define HD_MUST_USE /* gcc knows the attribute on functions only; the clang build of CI checks the calls */
#endif
#if defined(__GNUC__)
#define HD_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define HD_PRINTF(fmt, args)
#endif

/*  X(name, message, HTTP status, API error type, a retry helps) */
#define HD_STATUS_LIST(X)                                                                                              \
    X(OK, "success", 200, "", false)                                                                                   \
    X(E_ARGUMENT, "invalid argument", 400, "invalid_request_error", false)                                             \
    X(E_DENIED, "not allowed", 401, "authentication_error", false)                                                     \
    X(E_NOT_FOUND, "not found", 404, "not_found_error", false)                                                         \
    X(E_FORMAT, "malformed data", 422, "invalid_request_error", false)                                                 \
    X(E_UNSUPPORTED, "not supported", 400, "invalid_request_error", false)                                             \
    X(E_LIMIT, "limit exceeded", 413, "invalid_request_error", false)                                                  \
    X(E_BUSY, "busy", 429, "overloaded_error", true)                                                                   \
    X(E_CONTEXT, "context length exceeded", 400, "invalid_request_error", false)                                       \
    X(E_MEMORY, "out of memory", 503, "overloaded_error", true)                                                        \
    X(E_IO, "input or output failed", 500, "api_error", true)                                                          \
    X(E_NETWORK, "network failure", 502, "api_error", true)                                                            \
    X(E_CHECKSUM, "checksum mismatch", 500, "api_error", false)                                                        \
    X(E_CANCELLED, "cancelled", 499, "api_error", true)                                                                \
    X(E_MODEL_LOST, "the model's file changed or failed while in use", 503, "api_error", false)                        \
    X(E_INTERNAL, "internal error", 500, "api_error", false)

#define HD_STATUS_ENUM(name, message, http, type, retry) HD_##name,
typedef enum HD_MUST_USE hd_status { HD_STATUS_LIST(HD_STATUS_ENUM) HD_STATUS_COUNT } hd_status;
#undef HD_STATUS_ENUM

/* Long enough for a path and a sentence; longer texts are cut, never overrun. */
#define HD_ERROR_TEXT 768

typedef struct hd_error {
    hd_status status;
    char text[HD_ERROR_TEXT]; /* UTF-8, NUL-terminated, one line */
} hd_error;

/* The fixed message, HTTP status, API error type and retry advice of `status`.  Thread-safe, never fail. */
const char *hd_status_message(hd_status status);
int hd_status_http(hd_status status);
const char *hd_status_api_type(hd_status status);
bool hd_status_retryable(hd_status status);

/* Fills `err` (if not NULL) and returns `status`: `return hd_fail(err, HD_E_FORMAT, "...", ...);` */
hd_status hd_fail(hd_error *err, hd_status status, const char *fmt, ...) HD_PRINTF(3, 4);

/* Puts "prefix: " before the text of `err`, for context on the way up.  Returns err's status (`status` if err is
 * NULL). */
hd_status hd_fail_in(hd_error *err, hd_status status, const char *prefix_fmt, ...) HD_PRINTF(3, 4);

/* `HD_TRY(call);` returns from the enclosing function when the call fails. */
#define HD_TRY(call)                                                                                                   \
    do {                                                                                                               \
        hd_status hd_try_status_ = (call);                                                                             \
        if (hd_try_status_ != HD_OK) return hd_try_status_;                                                            \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
