/* net/url.c: addresses, and which of them may be reached; see net.h.  Parsing is libcurl's, so that what is checked is
 * what is fetched. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "net/net.h"

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "out of memory for an address");
}

static hd_status copy_lower(char *out, size_t size, const char *text, const char *shown, hd_error *err)
{
    size_t len = strlen(text);
    if (len == 0 || len >= size) return hd_fail(err, HD_E_ARGUMENT, "%s: the host is empty or too long", shown);
    for (size_t i = 0; i <= len; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
    return HD_OK;
}

/* Scheme (lower case, as libcurl gives it) and host of `url`. */
static hd_status split(const char *url, char scheme[8], char *host, size_t host_size, hd_error *err)
{
    char shown[HD_URL_SHOWN];
    hd_url_show(url, shown, sizeof shown);
    CURLU *parts = curl_url();
    if (!parts) return no_memory(err);
    char *scheme_text = NULL, *host_text = NULL;
    hd_status status = HD_OK;
    if (curl_url_set(parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme_text, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_HOST, &host_text, 0) != CURLUE_OK)
        status = hd_fail(err, HD_E_ARGUMENT, "%s: not an absolute address such as https://host/path", shown);
    else if (strcmp(scheme_text, "https") != 0 && strcmp(scheme_text, "http") != 0)
        status = hd_fail(err, HD_E_ARGUMENT, "%s: only https and http can be fetched, not %s", shown, scheme_text);
    else {
        snprintf(scheme, 8, "%s", scheme_text);
        status = copy_lower(host, host_size, host_text, shown, err);
    }
    curl_free(scheme_text);
    curl_free(host_text);
    curl_url_cleanup(parts);
    return status;
}

void hd_url_show(const char *url, char *out, size_t size)
{
    const char *rest = strstr(url, "://");
    rest = rest ? rest + 3 : url;
    size_t authority = strcspn(rest, "/?#");
    const char *host = rest;
    for (size_t i = 0; i < authority; i++)
        if (rest[i] == '@') host = rest + i + 1;
    snprintf(out, size, "%.*s%.*s", (int)(rest - url), url, (int)strcspn(host, "?#"), host);
}

hd_status hd_url_host(const char *url, char *host, size_t size, hd_error *err)
{
    char scheme[8];
    return split(url, scheme, host, size, err);
}

static bool host_matches(const char *pattern, const char *host)
{
    if (strcmp(pattern, "*") == 0) return true;
    if (pattern[0] != '*') return strcasecmp(pattern, host) == 0;
    size_t suffix = strlen(pattern + 1), len = strlen(host);
    return len > suffix && strcasecmp(host + len - suffix, pattern + 1) == 0;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) return true;
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

hd_status hd_net_check_url(const hd_net_rules *rules, const char *url, hd_error *err)
{
    char scheme[8], host[256], shown[HD_URL_SHOWN];
    hd_url_show(url, shown, sizeof shown);
    HD_TRY(split(url, scheme, host, sizeof host, err));
    bool allowed = false;
    for (const char *const *pattern = rules->hosts; pattern && *pattern && !allowed; pattern++)
        allowed = host_matches(*pattern, host);
    if (!allowed) return hd_fail(err, HD_E_ARGUMENT, "%s: the host %s is not one that this may reach", shown, host);
    if (strcmp(scheme, "http") == 0 && !rules->plain_http && !is_loopback(host))
        return hd_fail(err, HD_E_ARGUMENT, "%s: plain http can be read and changed on its way; use https", shown);
    return HD_OK;
}

hd_status hd_url_join(const char *base, const char *reference, char **out, hd_error *err)
{
    *out = NULL;
    CURLU *parts = curl_url();
    if (!parts) return no_memory(err);
    char *text = NULL;
    hd_status status = HD_OK;
    if (curl_url_set(parts, CURLUPART_URL, base, 0) != CURLUE_OK ||
        curl_url_set(parts, CURLUPART_URL, reference, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_URL, &text, 0) != CURLUE_OK)
        status = hd_fail(err, HD_E_FORMAT, "not an address: '%.200s'", reference);
    else if (!(*out = hd_strdup(text)))
        status = no_memory(err);
    curl_free(text);
    curl_url_cleanup(parts);
    return status;
}

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-._~", c);
}

hd_status hd_url_encode(hd_buf *buf, const char *text, const char *keep)
{
    for (; *text; text++) {
        if (is_unreserved(*text) || strchr(keep, *text))
            HD_TRY(hd_buf_putc(buf, *text));
        else
            HD_TRY(hd_buf_printf(buf, "%%%02X", (unsigned char)*text));
    }
    return buf->status;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hd_url_decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        int high = hex_value(in[1]), low = high < 0 ? -1 : hex_value(in[2]);
        if (low < 0 || high + low == 0) return false;
        *out++ = (char)(high << 4 | low);
        in += 2;
    }
    *out = '\0';
    return true;
}
