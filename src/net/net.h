/* net/net.h: the door of the net room: the only place that opens a connection outward.
 *
 * What may be reached is the caller's decision and is said anew with every request (hd_net_rules); a redirect is
 * checked like the first address.  TLS certificates are always verified; https never falls back to http; a token or
 * signature goes to the host it was meant for and to no other.  Nothing here reads the environment except libcurl
 * itself, which honours https_proxy, http_proxy, all_proxy and no_proxy.
 *
 * All functions are thread-safe.  Errors: HD_E_NETWORK (no connection, TLS, or a server that failed for good),
 * HD_E_NOT_FOUND (404, 410), HD_E_ARGUMENT (address malformed or not allowed), HD_E_LIMIT (answer too large),
 * HD_E_CANCELLED, HD_E_MEMORY, and whatever a sink returned.
 */
#ifndef HD_NET_H
#define HD_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

/* ---- what may be reached ---- */

typedef struct hd_net_rules {
    const char *const *hosts; /* ends with NULL: "host", "*.suffix" (names below suffix), or "*" (any) */
    bool plain_http;          /* http:// may also go beyond this machine; default: to loopback addresses only */
    const char *ca_file;      /* PEM bundle; NULL: the system's */
    const char *ca_path;      /* folder of certificates; NULL: the system's */
} hd_net_rules;

/* HD_OK, or HD_E_ARGUMENT with the reason why `url` may not be fetched under `rules`. */
hd_status hd_net_check_url(const hd_net_rules *rules, const char *url, hd_error *err);

/* ---- addresses ---- */

/* The host of `url` in lower case, without port; HD_E_ARGUMENT when it is not an absolute http or https address. */
hd_status hd_url_host(const char *url, char *host, size_t size, hd_error *err);

/* `reference` (absolute or relative) as seen from `base`; *out is the caller's (hd_free). */
hd_status hd_url_join(const char *base, const char *reference, char **out, hd_error *err);

/* `url` without user, password, query and fragment, any of which may be a secret; for messages. */
#define HD_URL_SHOWN 512
void hd_url_show(const char *url, char *out, size_t size);

/* Appends `text` with everything but unreserved characters (RFC 3986) and those in `keep` percent-encoded. */
hd_status hd_url_encode(hd_buf *buf, const char *text, const char *keep);

/* Decodes %XX in place; false when an escape is malformed or gives a NUL. */
bool hd_url_decode(char *text);

/* ---- S3 (AWS Signature Version 4) ---- */

typedef struct hd_s3_keys {
    const char *access_key; /* NULL: requests are not signed */
    const char *secret_key;
    const char *session_token; /* NULL: none */
    const char *region;
} hd_s3_keys;

typedef struct hd_sigv4_header {
    const char *name; /* lower case */
    const char *value;
} hd_sigv4_header;

#define HD_SIGV4_HEADERS_MAX 16

typedef struct hd_sigv4_request {
    const char *method;
    const char *path;               /* percent-encoded, begins with "/" */
    const char *query;              /* percent-encoded a=b pairs in any order; NULL or "": none */
    const hd_sigv4_header *headers; /* those to be signed, with host and x-amz-date, in any order */
    size_t header_count;
    const char *payload_sha256; /* hexadecimal */
    const char *amz_date;       /* YYYYMMDDTHHMMSSZ, the value of x-amz-date */
    const char *service;        /* "s3" */
} hd_sigv4_request;

/* Appends the value of the Authorization header to `out`.  Source: AWS, "Create a signed AWS API request". */
hd_status hd_sigv4_authorize(hd_buf *out, const hd_sigv4_request *request, const hd_s3_keys *keys, hd_error *err);

/* One page of a bucket's listing (ListObjectsV2 with encoding-type=url). */
typedef struct hd_s3_object {
    char *key; /* decoded */
    uint64_t size;
} hd_s3_object;

typedef struct hd_s3_list {
    hd_s3_object *objects;
    size_t count;
    char *next; /* continuation token; NULL: this was the last page */
} hd_s3_list;

/* Adds the objects of the XML text to `list` (zeroed at first) and sets its `next`.  HD_E_FORMAT when the text is not
 * such a listing, HD_E_LIMIT beyond 100,000 objects. */
hd_status hd_s3_list_parse(hd_s3_list *list, const char *xml, size_t len, hd_error *err);
void hd_s3_list_free(hd_s3_list *list);

/* ---- requests ---- */

/* Where the bytes go.  `rewind` (NULL: impossible) throws away what was written, because the server starts anew.
 * `progress` (may be NULL) is called at least once a second with the bytes there and the whole size (0: not known yet);
 * false cancels.  `notice` (may be NULL) is told about retries, one line of text. */
typedef struct hd_http_sink {
    hd_status (*write)(void *arg, const void *data, size_t len, hd_error *err);
    hd_status (*rewind)(void *arg, hd_error *err);
    bool (*progress)(void *arg, uint64_t done, uint64_t total);
    void (*notice)(void *arg, const char *text);
    /* Called with the answer's size (0: not known) and ETag before its first byte is written; may be NULL. */
    hd_status (*begin)(void *arg, uint64_t total, const char *etag, hd_error *err);
    void *arg;
} hd_http_sink;

#define HD_ETAG_MAX 256

typedef struct hd_http_request {
    const char *url;
    const hd_net_rules *rules;
    const char *accept;   /* NULL: anything */
    const char *bearer;   /* token for the first host; NULL: none */
    const hd_s3_keys *s3; /* sign for S3; NULL: don't */
    uint64_t max_bytes;   /* of the whole body */
    uint64_t offset;      /* bytes that are already there; the request then asks for the rest only */
    const char *etag;     /* of those bytes; without a strong one the rest is asked for only with `verified` */
    bool verified;        /* the caller checks the whole by its hash, so that resuming needs no ETag */
    int attempts;         /* 0: 6, counted anew whenever bytes have come */
    int connect_seconds;  /* 0: 15 */
    int stall_seconds;    /* 0: 60 without a byte end an attempt */
    uint32_t backoff_ms;  /* 0: 1000, doubled with each attempt up to a minute */
} hd_http_request;

typedef struct hd_http_response {
    uint64_t size;          /* bytes of the whole body, all in the sink now */
    char etag[HD_ETAG_MAX]; /* "" when there was none */
    char sha256[65];        /* of the whole, where the server says so (X-Linked-ETag, x-amz-checksum-sha256); else "" */
    char content_type[128]; /* lower case, without parameters */
    char url[4096];         /* after redirects */
} hd_http_response;

/* GETs `url` into `sink`.  Connections that fail or stall, 408, 429 and 5xx are tried again with back-off (Retry-After
 * is honoured up to five minutes) and go on where they stopped.  `response` may be NULL. */
hd_status hd_http_get(const hd_http_request *request, const hd_http_sink *sink, hd_http_response *response,
                      hd_error *err);

/* The same into memory: `body` is initialized by the caller with its cap; `cancelled` (may be NULL) is asked at least
 * once a second. */
hd_status hd_http_fetch(const hd_http_request *request, hd_buf *body, bool (*cancelled)(void),
                        hd_http_response *response, hd_error *err);

/* Whether the server answers within `seconds`, whatever it answers.  One attempt. */
bool hd_http_answers(const char *url, const hd_net_rules *rules, int seconds);

#endif
