/* net/http.c: GET with resuming, redirects and retries over libcurl; see net.h.
 *
 * A transfer is a loop of attempts, an attempt a loop of hops (redirects are followed here, not by libcurl, so that
 * each address is checked and secrets stay with their host).  Invariant: `done` is the number of bytes that the sink
 * holds; every attempt asks for the rest from there, or rewinds the sink first.
 */
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "crypto/crypto.h"
#include "net/net.h"

#define MAX_HOPS 10
#define MAX_RETRY_AFTER 300  /* seconds */
#define MAX_BACKOFF_MS 60000 /* between two attempts */
#define MAX_ATTEMPTS 1000    /* in all, even when every one brings some bytes */
#define ERROR_BODY_MAX 512   /* of a failed answer, for the message */
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

typedef struct transfer {
    const hd_http_request *request;
    const hd_http_sink *sink;
    hd_http_response *response;
    hd_error *err;
    CURL *curl;
    char *url;                /* of this hop */
    char shown[HD_URL_SHOWN]; /* the same without secrets, for messages */
    bool at_home;             /* this hop still goes to the host of the first: secrets may be sent */
    uint64_t done;            /* bytes in the sink */
    uint64_t total;           /* of the whole body; 0: not known */
    uint64_t brought;         /* bytes of this attempt */
    bool begun;               /* this hop's answer is the file, and its first byte has come */
    hd_status status;         /* why a callback stopped the transfer */
    bool cancelled;
    char validator[HD_ETAG_MAX]; /* ETag of the bytes in the sink; "": none */
    /* headers of this hop */
    uint64_t range_start, range_total;
    char bucket_region[64];
    char error_body[ERROR_BODY_MAX + 1];
    size_t error_len;
    char curl_error[CURL_ERROR_SIZE];
} transfer;

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_code;

static void global_init(void)
{
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- headers ---- */

static bool header_is(const char *line, size_t len, const char *name, const char **value, size_t *value_len)
{
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0) return false;
    const char *start = line + n + 1, *end = line + len;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    while (end > start && strchr(" \t\r\n", end[-1]))
        end--;
    *value = start;
    *value_len = (size_t)(end - start);
    return true;
}

static void copy_value(char *out, size_t size, const char *value, size_t len)
{
    if (len >= size) len = 0; /* too long to be what we look for */
    memcpy(out, value, len);
    out[len] = '\0';
}

/* "bytes 100-199/200" */
static void read_content_range(transfer *t, const char *value, size_t len)
{
    char text[96], *end;
    copy_value(text, sizeof text, value, len);
    if (strncasecmp(text, "bytes ", 6) != 0) return;
    t->range_start = strtoull(text + 6, &end, 10);
    const char *slash = strchr(end, '/');
    t->range_total = slash && slash[1] != '*' ? strtoull(slash + 1, NULL, 10) : 0;
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* x-amz-checksum-sha256 is base64; a value with "-N" behind it is of the parts, not of the whole: no use to us. */
static void read_base64_sha256(char hex[HD_SHA256_HEX], const char *value, size_t len)
{
    uint8_t digest[33];
    uint32_t bits = 0;
    if (len != 44 || value[43] != '=') return;
    for (size_t i = 0, n = 0; i < 43; i++) {
        int v = base64_value(value[i]);
        if (v < 0) return;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 == 3)
            for (int shift = 16; shift >= 0; shift -= 8)
                digest[n++] = (uint8_t)(bits >> shift);
        else if (i == 42) { /* the last group of three digits holds two bytes */
            digest[n++] = (uint8_t)(bits >> 10);
            digest[n++] = (uint8_t)(bits >> 2);
        }
    }
    hd_hex_encode(digest, HD_SHA256_BYTES, hex);
}

/* The hub puts the file's SHA-256 in quotes, for files in large-file storage; for others it is a hash of another kind.
 */
static void read_linked_etag(char hex[HD_SHA256_HEX], const char *value, size_t len)
{
    uint8_t digest[HD_SHA256_BYTES];
    char text[HD_SHA256_HEX];
    if (len != 66 || value[0] != '"') return;
    copy_value(text, sizeof text, value + 1, 64);
    if (hd_hex_decode(text, digest, sizeof digest)) hd_hex_encode(digest, sizeof digest, hex);
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    transfer *t = arg;
    size_t len = size * count, n;
    const char *value;
    if (len > 5 && strncmp(line, "HTTP/", 5) == 0) { /* a new answer, for example after a proxy's own */
        t->response->etag[0] = t->response->content_type[0] = '\0';
        t->range_start = t->range_total = 0;
    } else if (header_is(line, len, "etag", &value, &n))
        copy_value(t->response->etag, sizeof t->response->etag, value, n);
    else if (header_is(line, len, "x-linked-etag", &value, &n))
        read_linked_etag(t->response->sha256, value, n);
    else if (header_is(line, len, "x-amz-checksum-sha256", &value, &n))
        read_base64_sha256(t->response->sha256, value, n);
    else if (header_is(line, len, "x-amz-bucket-region", &value, &n))
        copy_value(t->bucket_region, sizeof t->bucket_region, value, n);
    else if (header_is(line, len, "content-range", &value, &n))
        read_content_range(t, value, n);
    else if (header_is(line, len, "content-type", &value, &n)) {
        const char *semicolon = memchr(value, ';', n);
        if (semicolon) n = (size_t)(semicolon - value);
        copy_value(t->response->content_type, sizeof t->response->content_type, value, n);
        for (char *c = t->response->content_type; *c; c++)
            if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + 32);
    }
    return len;
}

/* ---- body ---- */

static long http_code(const transfer *t)
{
    long code = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

static hd_status rewind_sink(transfer *t)
{
    if (t->done == 0) return HD_OK;
    if (!t->sink->rewind) return hd_fail(t->err, HD_E_NETWORK, "%s: the server can't go on where it stopped", t->shown);
    HD_TRY(t->sink->rewind(t->sink->arg, t->err));
    t->done = 0;
    return HD_OK;
}

/* At the first byte of a 200 or 206: does it continue what the sink holds, and how large will the whole be? */
static hd_status begin_body(transfer *t)
{
    curl_off_t length = -1;
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    bool partial = http_code(t) == 206;
    if (!partial || t->range_start != t->done) {
        if (partial) return hd_fail(t->err, HD_E_NETWORK, "%s: the server sent another part than asked for", t->shown);
        HD_TRY(rewind_sink(t));
    }
    snprintf(t->validator, sizeof t->validator, "%s", t->response->etag);
    t->total = partial ? t->range_total : length > 0 ? (uint64_t)length : 0;
    t->begun = true;
    if (t->sink->begin) HD_TRY(t->sink->begin(t->sink->arg, t->total, t->response->etag, t->err));
    if (t->total > t->request->max_bytes)
        return hd_fail(t->err, HD_E_LIMIT, "%s: %llu bytes; at most %llu are taken", t->shown,
                       (unsigned long long)t->total, (unsigned long long)t->request->max_bytes);
    return HD_OK;
}

static hd_status take_bytes(transfer *t, const char *data, size_t len)
{
    long code = http_code(t);
    if (code != 200 && code != 206) {
        size_t keep = HD_MIN(len, ERROR_BODY_MAX - t->error_len);
        memcpy(t->error_body + t->error_len, data, keep);
        t->error_len += keep;
        t->error_body[t->error_len] = '\0';
        return HD_OK;
    }
    if (!t->begun) HD_TRY(begin_body(t));
    if (len > t->request->max_bytes - HD_MIN(t->done, t->request->max_bytes))
        return hd_fail(t->err, HD_E_LIMIT, "%s: more than %llu bytes came", t->shown,
                       (unsigned long long)t->request->max_bytes);
    HD_TRY(t->sink->write(t->sink->arg, data, len, t->err));
    t->done += len;
    t->brought += len;
    return HD_OK;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    transfer *t = arg;
    size_t len = size * count;
    t->status = take_bytes(t, data, len);
    return t->status == HD_OK ? len : len + 1; /* any other number stops libcurl */
}

static bool keep_going(transfer *t)
{
    if (t->sink->progress && !t->sink->progress(t->sink->arg, t->done, t->total)) t->cancelled = true;
    return !t->cancelled;
}

static int on_progress(void *arg, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total, curl_off_t ul_now)
{
    (void)dl_total, (void)dl_now, (void)ul_total, (void)ul_now;
    return keep_going(arg) ? 0 : 1;
}

/* ---- one hop ---- */

static bool strong_etag(const char *etag)
{
    return etag[0] == '"';
}

static hd_status add_header(struct curl_slist **list, hd_error *err, const char *name, const char *value)
{
    hd_buf line;
    hd_buf_init(&line, 16384);
    hd_status status = hd_buf_printf(&line, "%s: %s", name, value);
    struct curl_slist *longer = status == HD_OK ? curl_slist_append(*list, line.data) : NULL;
    hd_buf_wipe_free(&line);
    if (!longer) return hd_fail(err, status == HD_OK ? HD_E_MEMORY : status, "a header is too long");
    *list = longer;
    return HD_OK;
}

/* The parts of this hop's address that a signature covers; all owned, freed by parts_free. */
typedef struct url_parts {
    CURLU *handle;
    char *path, *query, *host, *port;
    hd_buf host_port;
} url_parts;

static void parts_free(url_parts *parts)
{
    curl_free(parts->path);
    curl_free(parts->query);
    curl_free(parts->host);
    curl_free(parts->port);
    hd_buf_free(&parts->host_port);
    curl_url_cleanup(parts->handle);
}

static hd_status parts_of(url_parts *parts, const char *url)
{
    *parts = (url_parts){.handle = curl_url()};
    hd_buf_init(&parts->host_port, 512);
    if (!parts->handle || curl_url_set(parts->handle, CURLUPART_URL, url, CURLU_PATH_AS_IS) != CURLUE_OK ||
        curl_url_get(parts->handle, CURLUPART_PATH, &parts->path, 0) != CURLUE_OK ||
        curl_url_get(parts->handle, CURLUPART_HOST, &parts->host, 0) != CURLUE_OK)
        return HD_E_MEMORY;
    curl_url_get(parts->handle, CURLUPART_QUERY, &parts->query, 0); /* may be absent */
    curl_url_get(parts->handle, CURLUPART_PORT, &parts->port, 0);
    const char *port = parts->port;
    return hd_buf_printf(&parts->host_port, "%s%s%s", parts->host, port ? ":" : "", port ? port : "");
}

static hd_status s3_authorization(hd_buf *value, const transfer *t, const char *date)
{
    const hd_s3_keys *keys = t->request->s3;
    url_parts parts;
    hd_status status = parts_of(&parts, t->url);
    if (status != HD_OK) {
        parts_free(&parts);
        return hd_fail(t->err, status, "out of memory for a signature");
    }
    const hd_sigv4_header headers[] = {{"host", parts.host_port.data},
                                       {"x-amz-checksum-mode", "ENABLED"},
                                       {"x-amz-content-sha256", EMPTY_SHA256},
                                       {"x-amz-date", date},
                                       {"x-amz-security-token", keys->session_token}};
    const hd_sigv4_request signing = {.method = "GET",
                                      .path = parts.path,
                                      .query = parts.query,
                                      .headers = headers,
                                      .header_count = keys->session_token ? 5 : 4,
                                      .payload_sha256 = EMPTY_SHA256,
                                      .amz_date = date,
                                      .service = "s3"};
    status = hd_sigv4_authorize(value, &signing, keys, t->err);
    parts_free(&parts);
    return status;
}

/* What S3 wants: host, date and the hash of the (empty) body are signed; asks for the object's own hash too. */
static hd_status add_s3_headers(const transfer *t, struct curl_slist **list)
{
    const hd_s3_keys *keys = t->request->s3;
    HD_TRY(add_header(list, t->err, "x-amz-checksum-mode", "ENABLED"));
    if (!keys->access_key) return HD_OK;

    char date[20];
    time_t now = (time_t)(hd_clock_unix_ms() / 1000);
    struct tm utc;
    if (!gmtime_r(&now, &utc) || !strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &utc))
        return hd_fail(t->err, HD_E_INTERNAL, "the system's clock makes no sense");
    HD_TRY(add_header(list, t->err, "x-amz-content-sha256", EMPTY_SHA256));
    HD_TRY(add_header(list, t->err, "x-amz-date", date));
    if (keys->session_token) HD_TRY(add_header(list, t->err, "x-amz-security-token", keys->session_token));
    hd_buf value;
    hd_buf_init(&value, 8192);
    hd_status status = s3_authorization(&value, t, date);
    if (status == HD_OK) status = add_header(list, t->err, "Authorization", value.data);
    hd_buf_wipe_free(&value);
    return status;
}

/* With no validator and no hash to check the whole, two halves might be of two files: then begin anew. */
static hd_status add_range(transfer *t, struct curl_slist **list)
{
    const char *etag = t->validator;
    if (t->done == 0) return HD_OK;
    if (!strong_etag(etag) && !t->request->verified) return rewind_sink(t);
    char range[64];
    snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)t->done);
    HD_TRY(add_header(list, t->err, "Range", range));
    return strong_etag(etag) ? add_header(list, t->err, "If-Range", etag) : HD_OK;
}

static hd_status build_headers(transfer *t, struct curl_slist **list)
{
    const hd_http_request *r = t->request;
    if (r->accept) HD_TRY(add_header(list, t->err, "Accept", r->accept));
    HD_TRY(add_range(t, list));
    if (!t->at_home) return HD_OK;
    if (r->bearer) {
        hd_buf value;
        hd_buf_init(&value, 8192);
        hd_status status = hd_buf_printf(&value, "Bearer %s", r->bearer);
        status = status == HD_OK ? add_header(list, t->err, "Authorization", value.data)
                                 : hd_fail(t->err, status, "the token is too long");
        hd_buf_wipe_free(&value);
        HD_TRY(status);
    }
    return r->s3 ? add_s3_headers(t, list) : HD_OK;
}

static void set_options(transfer *t, struct curl_slist *headers)
{
    const hd_http_request *r = t->request;
    CURL *c = t->curl;
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, t->url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* the path is what was checked and signed */
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "hadal");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)(r->connect_seconds ? r->connect_seconds : 15));
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)(r->stall_seconds ? r->stall_seconds : 60));
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->curl_error);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    if (r->rules->ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, r->rules->ca_file);
    if (r->rules->ca_path) curl_easy_setopt(c, CURLOPT_CAPATH, r->rules->ca_path);
}

/* One request and its answer.  *curl_code says how libcurl saw it; the result is an error only when going on is
 * useless. */
static hd_status one_hop(transfer *t, CURLcode *curl_code)
{
    struct curl_slist *headers = NULL;
    hd_url_show(t->url, t->shown, sizeof t->shown);
    HD_TRY(hd_net_check_url(t->request->rules, t->url, t->err));
    hd_status status = build_headers(t, &headers);
    if (status == HD_OK) {
        t->begun = false;
        t->status = HD_OK;
        t->error_len = 0;
        t->error_body[0] = t->curl_error[0] = t->bucket_region[0] = '\0';
        set_options(t, headers);
        *curl_code = curl_easy_perform(t->curl);
        if (t->cancelled)
            status = hd_fail(t->err, HD_E_CANCELLED, "%s: stopped", t->shown);
        else
            status = t->status;
    }
    curl_slist_free_all(headers);
    return status;
}

/* ---- redirects ---- */

static bool same_origin(const char *a, const char *b)
{
    const char *a_path = strstr(a, "://"), *b_path = strstr(b, "://");
    if (!a_path || !b_path) return false;
    size_t a_len = (size_t)(a_path - a) + 3 + strcspn(a_path + 3, "/?#");
    size_t b_len = (size_t)(b_path - b) + 3 + strcspn(b_path + 3, "/?#");
    return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

static hd_status follow(transfer *t)
{
    char *target = NULL;
    curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &target);
    if (!target && t->bucket_region[0])
        return hd_fail(t->err, HD_E_ARGUMENT, "%s: the bucket is in region %s: set AWS_REGION", t->shown,
                       t->bucket_region);
    if (!target) return hd_fail(t->err, HD_E_NETWORK, "%s: a redirect without an address", t->shown);
    if (strncasecmp(t->url, "https:", 6) == 0 && strncasecmp(target, "https:", 6) != 0)
        return hd_fail(t->err, HD_E_ARGUMENT, "%s: redirects from https to plain http, which is refused", t->shown);
    char *copy = hd_strdup(target);
    if (!copy) return hd_fail(t->err, HD_E_MEMORY, "out of memory for an address");
    t->at_home = t->at_home && same_origin(t->url, copy);
    hd_free(t->url);
    t->url = copy;
    return HD_OK;
}

/* ---- attempts ---- */

typedef enum outcome { DONE, RETRY, GIVE_UP } outcome;

/* The first line of a failed answer's body, unless it is a page. */
static const char *error_hint(transfer *t)
{
    t->error_body[strcspn(t->error_body, "\r\n")] = '\0';
    return t->error_body[0] == '<' ? "" : t->error_body;
}

static outcome judge_code(transfer *t, long code)
{
    if (code == 404 || code == 410) {
        (void)hd_fail(t->err, HD_E_NOT_FOUND, "%s: not found (HTTP %ld)", t->shown, code);
        return GIVE_UP;
    }
    if (code == 401 || code == 403 || code == 407) {
        const char *what =
            code == 407 ? "the proxy wants credentials" : "the server wants a token, or this one has no right";
        (void)hd_fail(t->err, HD_E_NETWORK, "%s: %s (HTTP %ld) %s", t->shown, what, code, error_hint(t));
        return GIVE_UP;
    }
    (void)hd_fail(t->err, HD_E_NETWORK, "%s: the server answered HTTP %ld %s", t->shown, code, error_hint(t));
    return code == 408 || code == 425 || code == 429 || code >= 500 ? RETRY : GIVE_UP;
}

static outcome judge_curl(transfer *t, CURLcode code)
{
    const char *why = t->curl_error[0] ? t->curl_error : curl_easy_strerror(code);
    (void)hd_fail(t->err, code == CURLE_OUT_OF_MEMORY ? HD_E_MEMORY : HD_E_NETWORK, "%s: %s", t->shown, why);
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_OUT_OF_MEMORY:
    case CURLE_NOT_BUILT_IN: return GIVE_UP;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY: /* mostly: no network, or a name that isn't */ return t->done ? RETRY : GIVE_UP;
    default: return RETRY;
    }
}

/* 416: the sink holds as much as the server's file, or more. */
static outcome judge_range(transfer *t, hd_status *status)
{
    if (t->done && t->range_total == t->done) {
        t->total = t->done;
        return DONE;
    }
    t->validator[0] = '\0';
    *status = rewind_sink(t);
    return *status == HD_OK ? RETRY : GIVE_UP;
}

/* Follows redirects to the file.  On GIVE_UP *status says why; on RETRY the error holds the reason. */
static outcome attempt(transfer *t, hd_status *status)
{
    char *first = hd_strdup(t->request->url);
    hd_free(t->url);
    t->url = first;
    t->at_home = true;
    t->brought = 0;
    if (!first) {
        *status = hd_fail(t->err, HD_E_MEMORY, "out of memory for an address");
        return GIVE_UP;
    }
    for (int hop = 0; hop <= MAX_HOPS; hop++) {
        CURLcode code = CURLE_OK;
        *status = one_hop(t, &code);
        if (*status != HD_OK) return GIVE_UP;
        if (code != CURLE_OK) return judge_curl(t, code);
        long http = http_code(t);
        if (http == 416) return judge_range(t, status);
        if (http == 200 || http == 206) {
            if (!t->begun) *status = begin_body(t); /* an empty file */
            return *status == HD_OK ? DONE : GIVE_UP;
        }
        if (http < 300 || http >= 400 || http == 304) return judge_code(t, http);
        *status = follow(t);
        if (*status != HD_OK) return GIVE_UP;
    }
    *status = hd_fail(t->err, HD_E_NETWORK, "%s: more than %d redirects", t->shown, MAX_HOPS);
    return GIVE_UP;
}

/* Waits in short steps, so that Ctrl-C is heard.  False when it was. */
static bool wait_ms(transfer *t, uint64_t ms)
{
    uint64_t end = hd_clock_ns() + ms * 1000000u;
    while (keep_going(t) && hd_clock_ns() < end) {
        struct timespec step = {.tv_nsec = 50 * 1000000};
        nanosleep(&step, NULL);
    }
    return !t->cancelled;
}

static uint64_t retry_delay(const transfer *t, int failures)
{
    curl_off_t after = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &after);
    if (after > 0) return 1000u * (uint64_t)HD_MIN(after, MAX_RETRY_AFTER);
    uint64_t base = t->request->backoff_ms ? t->request->backoff_ms : 1000;
    uint64_t delay = HD_MIN(base << HD_MIN(failures - 1, 10), MAX_BACKOFF_MS);
    return delay + hd_clock_ns() / 1000 % (delay / 4 + 1); /* clients that failed together shall not return together */
}

static hd_status attempts(transfer *t)
{
    int allowed = t->request->attempts ? t->request->attempts : 6, failures = 0;
    for (int total = 0;; total++) {
        hd_status status = HD_OK;
        outcome result = attempt(t, &status);
        if (result == DONE) return HD_OK;
        if (result == GIVE_UP) return status != HD_OK ? status : t->err->status;
        failures = t->brought ? 1 : failures + 1;
        if (failures >= allowed || total >= MAX_ATTEMPTS) return t->err->status;
        uint64_t delay = retry_delay(t, failures);
        if (t->sink->notice) {
            char text[HD_ERROR_TEXT + 64];
            snprintf(text, sizeof text, "%s; trying again in %.1f s", t->err->text, (double)delay / 1000);
            t->sink->notice(t->sink->arg, text);
        }
        if (!wait_ms(t, delay)) return hd_fail(t->err, HD_E_CANCELLED, "%s: stopped", t->shown);
    }
}

hd_status hd_http_get(const hd_http_request *request, const hd_http_sink *sink, hd_http_response *response,
                      hd_error *err)
{
    hd_http_response own_response = {0};
    hd_error own_error = {.status = HD_OK}; /* the reason of a retry is kept here even if nobody asks */
    transfer t = {.request = request,
                  .sink = sink,
                  .response = response ? response : &own_response,
                  .err = err ? err : &own_error};
    memset(t.response, 0, sizeof *t.response);
    memset(t.err, 0, sizeof *t.err);
    pthread_once(&global_once, global_init);
    t.curl = global_code == CURLE_OK ? curl_easy_init() : NULL;
    if (!t.curl) return hd_fail(err, HD_E_MEMORY, "libcurl could not be started");
    t.done = request->offset;
    if (request->etag) snprintf(t.validator, sizeof t.validator, "%s", request->etag);
    hd_status status = attempts(&t);
    if (status == HD_OK) {
        t.response->size = t.done;
        snprintf(t.response->url, sizeof t.response->url, "%s", t.url);
    }
    curl_easy_cleanup(t.curl);
    hd_free(t.url);
    return status;
}

/* ---- into memory ---- */

typedef struct memory_sink {
    hd_buf *body;
    bool (*cancelled)(void);
} memory_sink;

static hd_status memory_write(void *arg, const void *data, size_t len, hd_error *err)
{
    hd_status status = hd_buf_append(((memory_sink *)arg)->body, data, len);
    return status == HD_OK ? HD_OK : hd_fail(err, status, "the server's answer is too large");
}

static hd_status memory_rewind(void *arg, hd_error *err)
{
    (void)err;
    hd_buf_clear(((memory_sink *)arg)->body);
    return HD_OK;
}

static bool memory_progress(void *arg, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    const memory_sink *sink = arg;
    return !sink->cancelled || !sink->cancelled();
}

hd_status hd_http_fetch(const hd_http_request *request, hd_buf *body, bool (*cancelled)(void),
                        hd_http_response *response, hd_error *err)
{
    memory_sink memory = {body, cancelled};
    hd_http_sink sink = {.write = memory_write, .rewind = memory_rewind, .progress = memory_progress, .arg = &memory};
    hd_http_request whole = *request;
    whole.max_bytes = body->max;
    whole.offset = 0;
    hd_buf_clear(body);
    return hd_http_get(&whole, &sink, response, err);
}

bool hd_http_answers(const char *url, const hd_net_rules *rules, int seconds)
{
    hd_error err;
    if (hd_net_check_url(rules, url, &err) != HD_OK) return false;
    pthread_once(&global_once, global_init);
    CURL *curl = global_code == CURLE_OK ? curl_easy_init() : NULL;
    if (!curl) return false;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "hadal");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)seconds);
    if (rules->ca_file) curl_easy_setopt(curl, CURLOPT_CAINFO, rules->ca_file);
    if (rules->ca_path) curl_easy_setopt(curl, CURLOPT_CAPATH, rules->ca_path);
    bool answered = curl_easy_perform(curl) == CURLE_OK;
    curl_easy_cleanup(curl);
    return answered;
}
