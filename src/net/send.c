/* net/send.c: see send.h. */
#include "net/send.h"

#include <curl/curl.h>
#include <pthread.h>
#include <string.h>

#define MAX_AFTER 3600 /* seconds of Retry-After that are believed */
#define HEADER_MAX 16384

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_code;

/* libcurl counts how often it is started: that net/http.c does so, too, is fine. */
static void global_init(void)
{
    global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t keep_body(char *data, size_t size, size_t count, void *arg)
{
    hd_http_sent *out = arg;
    size_t len = size * count, n = HD_MIN(len, sizeof out->body - out->len);
    memcpy(out->body + out->len, data, n);
    out->len += n;
    return len; /* the rest is read and forgotten */
}

static int ask(void *arg, curl_off_t dl_total, curl_off_t dl_now, curl_off_t ul_total, curl_off_t ul_now)
{
    (void)dl_total, (void)dl_now, (void)ul_total, (void)ul_now;
    const hd_http_send_request *r = arg;
    return r->go_on && !r->go_on(r->arg);
}

static hd_status add(struct curl_slist **list, const char *name, const char *value, hd_error *err)
{
    hd_buf line;
    if (strpbrk(name, "\r\n:") || strpbrk(value, "\r\n"))
        return hd_fail(err, HD_E_ARGUMENT, "a header must not have line ends, nor its name a colon");
    hd_buf_init(&line, HEADER_MAX);
    (void)hd_buf_reserve(&line, strlen(name) + strlen(value) + 3); /* so that no copy of a secret is left behind */
    hd_status status = hd_buf_printf(&line, "%s: %s", name, value);
    struct curl_slist *longer = status == HD_OK ? curl_slist_append(*list, line.data) : NULL;
    hd_buf_wipe_free(&line);
    if (!longer) return hd_fail(err, status == HD_OK ? HD_E_MEMORY : status, "a header is too long");
    *list = longer;
    return HD_OK;
}

static hd_status add_headers(struct curl_slist **list, const hd_http_send_request *r, hd_error *err)
{
    HD_TRY(add(list, "Content-Type", r->content_type, err));
    HD_TRY(add(list, "Expect", "", err)); /* no round trip before the body */
    for (size_t i = 0; i < r->header_count; i++)
        HD_TRY(add(list, r->headers[i].name, r->headers[i].value, err));
    return HD_OK;
}

static void set_options(CURL *c, const hd_http_send_request *r, hd_http_sent *out, struct curl_slist *headers)
{
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_POST, 1L);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "hadal");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, out);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, ask);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, (void *)(uintptr_t)r);
    if (r->rules->ca_file) curl_easy_setopt(c, CURLOPT_CAINFO, r->rules->ca_file);
    if (r->rules->ca_path) curl_easy_setopt(c, CURLOPT_CAPATH, r->rules->ca_path);
}

static hd_status perform(CURL *curl, const hd_http_send_request *r, hd_http_sent *out, hd_error *err)
{
    char why[CURL_ERROR_SIZE] = "", shown[HD_URL_SHOWN];
    long status = 0;
    curl_off_t after = 0;
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    hd_url_show(r->url, shown, sizeof shown);
    if (code == CURLE_ABORTED_BY_CALLBACK) return hd_fail(err, HD_E_CANCELLED, "%s: stopped", shown);
    if (code != CURLE_OK)
        return hd_fail(err, code == CURLE_OUT_OF_MEMORY ? HD_E_MEMORY : HD_E_NETWORK, "%s: %s", shown,
                       why[0] ? why : curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &after);
    out->status = (int)status;
    out->after_seconds = after > 0 ? (uint32_t)HD_MIN(after, MAX_AFTER) : 0;
    return HD_OK;
}

hd_status hd_http_send(const hd_http_send_request *r, hd_http_sent *out, hd_error *err)
{
    struct curl_slist *headers = NULL;
    *out = (hd_http_sent){.status = 0};
    HD_TRY(hd_net_check_url(r->rules, r->url, err));
    pthread_once(&global_once, global_init);
    CURL *curl = global_code == CURLE_OK ? curl_easy_init() : NULL;
    if (!curl) return hd_fail(err, HD_E_MEMORY, "libcurl could not be started");
    hd_status status = add_headers(&headers, r, err);
    if (status == HD_OK) {
        set_options(curl, r, out, headers);
        status = perform(curl, r, out, err);
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status;
}
