/* net/sigv4.c: AWS Signature Version 4 for requests that S3 and its look-alikes check; see net.h.
 *
 * Source: AWS documentation, "Create a signed AWS API request" and "Authenticating Requests: Using the Authorization
 * Header (AWS Signature Version 4)".  The words of the specification are kept: canonical request, string to sign,
 * scope.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "net/net.h"

#define CANONICAL_MAX (64 * 1024)
#define QUERY_MAX 64 /* parameters */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const hd_sigv4_header *)a)->name, ((const hd_sigv4_header *)b)->name);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts pairs by name, then value: NUL in the place of '=' sorts below every character of an encoded name. */
static hd_status put_query(hd_buf *out, const char *query, hd_error *err)
{
    char *copy = hd_strdup(query ? query : "");
    char *pairs[QUERY_MAX];
    size_t count = 0;
    hd_status status = copy ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for a signature");
    char *rest = copy;
    for (char *pair; status == HD_OK && (pair = strsep(&rest, "&"));) {
        if (!*pair) continue;
        char *equals = strchr(pair, '=');
        if (equals) *equals = '\1';
        if (count == QUERY_MAX)
            status = hd_fail(err, HD_E_LIMIT, "more than %d parameters in a query", QUERY_MAX);
        else
            pairs[count++] = pair;
    }
    if (status == HD_OK) qsort(pairs, count, sizeof *pairs, by_text);
    for (size_t i = 0; status == HD_OK && i < count; i++) {
        char *value = strchr(pairs[i], '\1');
        if (value) *value++ = '\0';
        status = hd_buf_printf(out, "%s%s=%s", i ? "&" : "", pairs[i], value ? value : "");
    }
    hd_free(copy);
    return status;
}

/* Values are trimmed and inner runs of spaces become one. */
static void put_value(hd_buf *out, const char *value)
{
    value += strspn(value, " \t");
    for (; *value; value++) {
        bool space = *value == ' ' || *value == '\t';
        if (space && (value[1] == ' ' || value[1] == '\t' || !value[1])) continue;
        (void)hd_buf_putc(out, *value); /* sticky: the caller checks out->status */
    }
}

static hd_status canonical_request(hd_buf *out, hd_buf *signed_names, const hd_sigv4_request *r, hd_error *err)
{
    hd_sigv4_header headers[HD_SIGV4_HEADERS_MAX];
    if (r->header_count > HD_SIGV4_HEADERS_MAX) return hd_fail(err, HD_E_LIMIT, "too many headers to sign");
    memcpy(headers, r->headers, r->header_count * sizeof *headers);
    qsort(headers, r->header_count, sizeof *headers, by_name);

    (void)hd_buf_printf(out, "%s\n%s\n", r->method, r->path);
    HD_TRY(put_query(out, r->query, err));
    (void)hd_buf_putc(out, '\n');
    for (size_t i = 0; i < r->header_count; i++) {
        (void)hd_buf_printf(out, "%s:", headers[i].name);
        put_value(out, headers[i].value);
        (void)hd_buf_putc(out, '\n');
        (void)hd_buf_printf(signed_names, "%s%s", i ? ";" : "", headers[i].name);
    }
    (void)hd_buf_printf(out, "\n%s\n%s", signed_names->data ? signed_names->data : "", r->payload_sha256);
    return out->status != HD_OK ? out->status : signed_names->status;
}

/* kSigning = HMAC(HMAC(HMAC(HMAC("AWS4" + secret, date), region), service), "aws4_request") */
static hd_status signing_key(uint8_t key[HD_SHA256_BYTES], const char *secret, const char *date, const char *region,
                             const char *service, hd_error *err)
{
    hd_buf seed;
    hd_buf_init(&seed, 4096);
    hd_status status = hd_buf_printf(&seed, "AWS4%s", secret);
    if (status == HD_OK) status = hd_hmac_sha256(seed.data, seed.len, date, strlen(date), key, err);
    hd_buf_wipe_free(&seed);
    const char *const steps[] = {region, service, "aws4_request"};
    for (size_t i = 0; status == HD_OK && i < HD_ARRAY_LEN(steps); i++)
        status = hd_hmac_sha256(key, HD_SHA256_BYTES, steps[i], strlen(steps[i]), key, err);
    return status;
}

static hd_status authorize(hd_buf *out, hd_buf *canonical, hd_buf *names, hd_buf *to_sign, const hd_sigv4_request *r,
                           const hd_s3_keys *keys, hd_error *err)
{
    uint8_t digest[HD_SHA256_BYTES], key[HD_SHA256_BYTES];
    char hex[HD_SHA256_HEX], date[9], scope[256];
    snprintf(date, sizeof date, "%.8s", r->amz_date);
    snprintf(scope, sizeof scope, "%s/%s/%s/aws4_request", date, keys->region, r->service);

    HD_TRY(canonical_request(canonical, names, r, err));
    HD_TRY(hd_sha256_of(canonical->data, canonical->len, digest, err));
    hd_hex_encode(digest, sizeof digest, hex);
    HD_TRY(hd_buf_printf(to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n%s", r->amz_date, scope, hex));

    HD_TRY(signing_key(key, keys->secret_key, date, keys->region, r->service, err));
    hd_status status = hd_hmac_sha256(key, sizeof key, to_sign->data, to_sign->len, digest, err);
    hd_wipe(key, sizeof key);
    HD_TRY(status);
    hd_hex_encode(digest, sizeof digest, hex);
    return hd_buf_printf(out, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", keys->access_key,
                         scope, names->data ? names->data : "", hex);
}

hd_status hd_sigv4_authorize(hd_buf *out, const hd_sigv4_request *request, const hd_s3_keys *keys, hd_error *err)
{
    hd_buf canonical, names, to_sign;
    hd_buf_init(&canonical, CANONICAL_MAX);
    hd_buf_init(&names, CANONICAL_MAX);
    hd_buf_init(&to_sign, CANONICAL_MAX);
    if (err) *err = (hd_error){.status = HD_OK};
    hd_status status = authorize(out, &canonical, &names, &to_sign, request, keys, err);
    hd_buf_free(&canonical);
    hd_buf_free(&names);
    hd_buf_free(&to_sign);
    if (status != HD_OK && err && err->status == HD_OK)
        return hd_fail(err, status, "cannot sign the request: too large");
    return status;
}
