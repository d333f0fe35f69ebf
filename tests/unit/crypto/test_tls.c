/* TLS contexts: what is refused and why; and certificates made here. */
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "crypto/tls.h"

static char folder[64], certificate[128], key[128];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hadal-tls-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(certificate, sizeof certificate, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(certificate);
    unlink(key);
    return rmdir(folder);
}

static void make(const char *host)
{
    hd_error err = {0};
    if (hd_tls_make_self_signed(certificate, key, host, 30, &err) != HD_OK) fail_msg("%s", err.text);
}

static X509 *read_certificate(void)
{
    FILE *file = fopen(certificate, "r");
    assert_non_null(file);
    X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    assert_non_null(cert);
    return cert;
}

static void test_self_signed(void **state)
{
    (void)state;
    struct stat info;
    int open_to_all = open(key, O_CREAT | O_WRONLY, 0644); /* is there already */
    assert_true(open_to_all >= 0);
    close(open_to_all);
    make("models.example.org");
    assert_int_equal(stat(key, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    X509 *cert = read_certificate();
    assert_int_equal(X509_check_host(cert, "models.example.org", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "example.org", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "10.0.0.1", 0), 0);
    assert_int_equal(X509_verify(cert, X509_get0_pubkey(cert)), 1);
    assert_int_equal(X509_cmp_current_time(X509_get0_notBefore(cert)), -1);
    ASN1_INTEGER *serial = ASN1_INTEGER_dup(X509_get_serialNumber(cert));
    X509_free(cert);

    hd_tls_context *context;
    hd_error err = {0};
    if (hd_tls_context_open(&context, certificate, key, NULL, &err) != HD_OK) fail_msg("%s", err.text);
    int64_t left = hd_tls_context_expires(context) - (int64_t)time(NULL);
    assert_true(left > 30 * 86400 - 100 && left <= 30 * 86400);
    hd_tls_context_close(&context);
    assert_null(context);
    hd_tls_context_close(&context);

    make("10.0.0.1");
    cert = read_certificate();
    assert_int_equal(X509_check_ip_asc(cert, "10.0.0.1", 0), 1);
    assert_int_not_equal(ASN1_INTEGER_cmp(serial, X509_get_serialNumber(cert)), 0);
    ASN1_INTEGER_free(serial);
    X509_free(cert);
    make(NULL);
    cert = read_certificate();
    assert_int_equal(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
    X509_free(cert);
}

static void test_self_signed_refuses(void **state)
{
    (void)state;
    static const char *const hosts[] = {"", "a,DNS:evil.example", "a b", "a\nb", "sub/path", "\xc3\xa4.example"};
    char long_name[300];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    hd_error err = {0};
    make(NULL);
    for (size_t i = 0; i < HD_ARRAY_LEN(hosts); i++)
        assert_int_equal(hd_tls_make_self_signed(certificate, key, hosts[i], 30, &err), HD_E_ARGUMENT);
    assert_int_equal(hd_tls_make_self_signed(certificate, key, long_name, 30, &err), HD_E_ARGUMENT);
    assert_int_equal(hd_tls_make_self_signed(certificate, key, NULL, 0, &err), HD_E_ARGUMENT);
    assert_int_equal(hd_tls_make_self_signed(certificate, "/nonexistent/key.pem", NULL, 30, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "/nonexistent/key.pem"));
    hd_tls_context *context; /* what was there is still there */
    assert_int_equal(hd_tls_context_open(&context, certificate, key, NULL, NULL), HD_OK);
    hd_tls_context_close(&context);
}

static void expect_refusal(const char *cert, const char *pair, const char *client_ca, hd_status wanted,
                           const char *file, const char *text)
{
    hd_tls_context *context;
    hd_error err = {0};
    hd_status status = hd_tls_context_open(&context, cert, pair, client_ca, &err);
    if (status != wanted || !strstr(err.text, file) || !strstr(err.text, text))
        fail_msg("expected status %d, '%s' and '%s', got %d: %s", (int)wanted, file, text, (int)status, err.text);
    assert_null(context);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_contexts_refuse(void **state)
{
    (void)state;
    char other[128], other_key[128], garbage[128], locked[128];
    snprintf(other, sizeof other, "%s/other.pem", folder);
    snprintf(other_key, sizeof other_key, "%s/other-key.pem", folder);
    snprintf(garbage, sizeof garbage, "%s/garbage.pem", folder);
    snprintf(locked, sizeof locked, "%s/locked.pem", folder);
    make(NULL);
    assert_int_equal(hd_tls_make_self_signed(other, other_key, NULL, 30, NULL), HD_OK);
    write_file(garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    expect_refusal("/nonexistent", key, NULL, HD_E_IO, "/nonexistent", "No such file");
    expect_refusal(certificate, "/nonexistent", NULL, HD_E_IO, "/nonexistent", "No such file");
    expect_refusal(certificate, key, "/nonexistent", HD_E_IO, "/nonexistent", "No such file");
    expect_refusal(garbage, key, NULL, HD_E_FORMAT, garbage, "certificate");
    expect_refusal(key, key, NULL, HD_E_FORMAT, key, "certificate");
    expect_refusal(certificate, certificate, NULL, HD_E_FORMAT, certificate, "PEM");
    expect_refusal(certificate, key, garbage, HD_E_FORMAT, garbage, "clients");
    expect_refusal(certificate, other_key, NULL, HD_E_FORMAT, other_key, "does not fit");

    /* A key behind a passphrase must not make the server ask for it. */
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    FILE *file = fopen(locked, "w");
    assert_int_equal(PEM_write_PrivateKey(file, pair, EVP_aes_256_cbc(), NULL, 0, NULL, (char *)(uintptr_t) "secret"),
                     1);
    fclose(file);
    EVP_PKEY_free(pair);
    expect_refusal(certificate, locked, NULL, HD_E_FORMAT, locked, "passphrase");
    unlink(other);
    unlink(other_key);
    unlink(garbage);
    unlink(locked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self_signed),
        cmocka_unit_test(test_self_signed_refuses),
        cmocka_unit_test(test_contexts_refuse),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
