/* The server behind TLS: who may come in, how both sides leave, and new certificates without a restart. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "crypto/tls.h"
#include "live_server.h"

static char folder[64], certificate[128], key[128], client_pem[128];

/* A certificate for clients: no server's, so that it says nothing of its use. */
static void make_client_certificate(void)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Team", -1, -1, 0), 1);
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a,b", -1, -1, 0), 1);
    assert_int_equal(X509_set_issuer_name(cert, name), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, pair);
    assert_true(X509_sign(cert, pair, EVP_sha256()) > 0);
    FILE *file = fopen(client_pem, "w");
    PEM_write_X509(file, cert);
    PEM_write_PrivateKey(file, pair, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(pair);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* the test's own SSL_write; the server must look after itself */
    snprintf(folder, sizeof folder, "/tmp/hadal-tls-server-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(certificate, sizeof certificate, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    snprintf(client_pem, sizeof client_pem, "%s/client.pem", folder);
    make_client_certificate();
    return hd_tls_make_self_signed(certificate, key, NULL, 10, NULL) == HD_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(certificate);
    unlink(key);
    unlink(client_pem);
    return rmdir(folder);
}

static void open_secure(live_server *live, const char *client_ca)
{
    const hd_server_tls tls = {certificate, key, client_ca};
    live_open(live, &(hd_server_options){.tls = &tls, .head_seconds = 1});
}

/* ---- a client of TLS ---- */

typedef struct secure {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
    int connected; /* what SSL_connect returned */
} secure;

static secure secure_prepare(const live_server *live)
{
    secure s = {.ctx = SSL_CTX_new(TLS_client_method()), .fd = client_open(live)};
    const struct timeval wait = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    assert_int_equal(SSL_CTX_load_verify_file(s.ctx, certificate), 1);
    SSL_CTX_set_verify(s.ctx, SSL_VERIFY_PEER, NULL);
    return s;
}

static void secure_connect(secure *s)
{
    s->ssl = SSL_new(s->ctx);
    SSL_set_fd(s->ssl, s->fd);
    SSL_set1_host(s->ssl, "localhost");
    s->connected = SSL_connect(s->ssl);
}

static secure secure_open(const live_server *live)
{
    secure s = secure_prepare(live);
    secure_connect(&s);
    if (s.connected != 1) fail_msg("no TLS: %s", ERR_error_string(ERR_get_error(), NULL));
    return s;
}

static void secure_close(secure *s)
{
    SSL_free(s->ssl);
    SSL_CTX_free(s->ctx);
    close(s->fd);
    ERR_clear_error();
}

static void secure_send(secure *s, const char *text)
{
    assert_int_equal(SSL_write(s->ssl, text, (int)strlen(text)), strlen(text));
}

/* Reads to the end; true when it was close_notify. */
static bool secure_rest(secure *s, hd_buf *reply)
{
    char piece[20000];
    int n;
    while ((n = SSL_read(s->ssl, piece, sizeof piece)) > 0)
        assert_int_equal(hd_buf_append(reply, piece, (size_t)n), HD_OK);
    return SSL_get_error(s->ssl, n) == SSL_ERROR_ZERO_RETURN;
}

static void expect_served(const live_server *live)
{
    secure s = secure_open(live);
    hd_buf reply;
    hd_buf_init(&reply, 100000);
    secure_send(&s, GET_CLOSE("/echo"));
    assert_true(secure_rest(&s, &reply));
    assert_int_equal(strncmp(reply.data, "HTTP/1.1 200 OK\r\n", 17), 0);
    secure_close(&s);
    hd_buf_free(&reply);
}

/* ---- tests ---- */

static void test_serves(void **state)
{
    (void)state;
    live_server live;
    char url[64];
    open_secure(&live, NULL);
    hd_server_url(live.server, url, sizeof url);
    assert_int_equal(strncmp(url, "https://127.0.0.1:", 18), 0);
    secure s = secure_open(&live);
    assert_string_equal(SSL_get_version(s.ssl), "TLSv1.3");
    secure_close(&s);
    expect_served(&live);
    live_await_connections(&live, 0);
    hd_server_usage usage = live_usage(&live);
    assert_int_equal(usage.handshakes, 2);
    assert_int_equal(usage.handshakes_failed, 0);
    int64_t left = usage.certificate_expires - (int64_t)time(NULL);
    assert_true(left > 9 * 86400 && left <= 10 * 86400);
    live_close(&live);
}

static void test_large_bodies(void **state)
{
    (void)state;
    live_server live;
    enum { SIZE = 3000000 };
    static char body[SIZE + 1];
    char head[200];
    for (int i = 0; i < SIZE; i++)
        body[i] = (char)('a' + i % 23);
    open_secure(&live, NULL);
    secure s = secure_open(&live);
    snprintf(head, sizeof head, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
             SIZE);
    secure_send(&s, head);
    secure_send(&s, body);
    hd_buf reply;
    hd_buf_init(&reply, SIZE + 10000);
    assert_true(secure_rest(&s, &reply));
    assert_true(reply.len > SIZE);
    assert_memory_equal(reply.data + reply.len - SIZE, body, SIZE);
    secure_close(&s);
    hd_buf_free(&reply);
    live_close(&live);
}

static void expect_no_handshake(live_server *live, secure *s)
{
    int64_t failed = live_usage(live).handshakes_failed;
    char byte;
    secure_connect(s);
    /* In TLS 1.3 a client is ready before the server has looked at its certificate. */
    assert_true(s->connected != 1 || SSL_read(s->ssl, &byte, 1) <= 0);
    live_await_connections(live, 0);
    assert_int_equal(live_usage(live).handshakes_failed, failed + 1);
    secure_close(s);
}

static void test_only_tls_1_3(void **state)
{
    (void)state;
    live_server live;
    open_secure(&live, NULL);
    secure s = secure_prepare(&live);
    SSL_CTX_set_max_proto_version(s.ctx, TLS1_2_VERSION);
    expect_no_handshake(&live, &s);
    expect_served(&live);
    live_close(&live);
}

static void test_protocol(void **state)
{
    (void)state;
    live_server live;
    const unsigned char *chosen;
    unsigned len;
    open_secure(&live, NULL);
    secure s = secure_prepare(&live);
    SSL_CTX_set_alpn_protos(s.ctx, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    secure_connect(&s);
    assert_int_equal(s.connected, 1);
    SSL_get0_alpn_selected(s.ssl, &chosen, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(chosen, "http/1.1", 8);
    secure_close(&s);
    live_await_connections(&live, 0);
    s = secure_prepare(&live);
    SSL_CTX_set_alpn_protos(s.ctx, (const unsigned char *)"\x02h2", 3);
    expect_no_handshake(&live, &s);
    live_close(&live);
}

static void test_plain_http_is_closed(void **state)
{
    (void)state;
    live_server live;
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    open_secure(&live, NULL);
    int fd = client_open(&live);
    client_send(fd, GET("/echo"));
    client_rest(fd, &reply);
    assert_true(reply.len == 0 || !strstr(reply.data, "HTTP"));
    close(fd);
    fd = client_open(&live); /* and who says nothing, after head_seconds */
    hd_buf_clear(&reply);
    client_rest(fd, &reply);
    assert_int_equal(reply.len, 0);
    close(fd);
    live_await_connections(&live, 0);
    assert_int_equal(live_usage(&live).handshakes_failed, 2);
    assert_int_equal(live_usage(&live).requests, 0);
    expect_served(&live);
    hd_buf_free(&reply);
    live_close(&live);
}

/* close_notify with and without FIN: both may wait for the answer. */
static void test_half_closed_gets_its_answer(void **state)
{
    (void)state;
    live_server live;
    open_secure(&live, NULL);
    for (int way = 0; way < 3; way++) {
        secure s = secure_open(&live);
        hd_buf reply;
        hd_buf_init(&reply, 10000);
        secure_send(&s, GET("/held"));
        hd_exchange *x = live_take(&live);
        if (way != 1) SSL_shutdown(s.ssl);
        if (way != 0) shutdown(s.fd, SHUT_WR);
        char opening[10] = "";
        assert_int_equal(SSL_read(s.ssl, opening, 9), 9);
        assert_string_equal(opening, "HTTP/1.1 ");
        assert_int_equal(hd_exchange_reply(x, 200, NULL, 0, "answer", 6), HD_OK);
        hd_exchange_close(&x);
        assert_true(secure_rest(&s, &reply));
        assert_int_equal(strncmp(reply.data, "200 OK\r\n", 8), 0);
        assert_string_equal(reply.data + reply.len - 6, "answer");
        secure_close(&s);
        hd_buf_free(&reply);
    }
    live_close(&live);
    assert_int_equal(live.gone, 0);
}

static void test_leaving_is_noticed(void **state)
{
    (void)state;
    live_server live;
    open_secure(&live, NULL);
    for (int way = 0; way < 2; way++) {
        secure s = secure_open(&live);
        secure_send(&s, GET("/held"));
        hd_exchange *x = live_take(&live);
        if (way) SSL_shutdown(s.ssl);
        uint64_t left_at = hd_clock_ns();
        secure_close(&s);
        live_await(&live, &live.gone, way + 1);
        assert_true(live.gone_at - left_at < UINT64_C(1000000000) * SLOW);
        assert_int_equal(hd_exchange_reply(x, 200, NULL, 0, "x", 1), HD_E_CANCELLED);
        hd_exchange_close(&x);
    }
    live_close(&live);
}

static void test_client_certificates(void **state)
{
    (void)state;
    live_server live;
    open_secure(&live, client_pem);
    secure s = secure_prepare(&live); /* shows none */
    expect_no_handshake(&live, &s);

    s = secure_prepare(&live); /* one that nobody signed */
    SSL_CTX_use_certificate_file(s.ctx, certificate, SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(s.ctx, key, SSL_FILETYPE_PEM);
    expect_no_handshake(&live, &s);

    s = secure_prepare(&live);
    assert_int_equal(SSL_CTX_use_certificate_file(s.ctx, client_pem, SSL_FILETYPE_PEM), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(s.ctx, client_pem, SSL_FILETYPE_PEM), 1);
    secure_connect(&s);
    secure_send(&s, GET("/held"));
    hd_exchange *x = live_take(&live);
    assert_string_equal(hd_exchange_subject(x), "CN=a\\,b,O=Team");
    hd_exchange_close(&x);
    secure_close(&s);
    live_close(&live);
}

/* The certificate that a new connection is shown. */
static X509 *shown(const live_server *live)
{
    secure s = secure_open(live); /* also checks it against the file */
    X509 *cert = SSL_get1_peer_certificate(s.ssl);
    secure_close(&s);
    assert_non_null(cert);
    return cert;
}

static void test_reload(void **state)
{
    (void)state;
    live_server live;
    hd_error err = {0};
    open_secure(&live, NULL);
    X509 *first = shown(&live);
    secure old = secure_open(&live);

    char kept[128];
    snprintf(kept, sizeof kept, "%s/kept.pem", folder);
    assert_int_equal(rename(key, kept), 0);
    assert_int_equal(hd_server_reload(live.server, &err), HD_E_IO);
    assert_non_null(strstr(err.text, key));
    X509 *same = shown(&live);
    assert_int_equal(X509_cmp(first, same), 0);
    X509_free(same);
    unlink(kept);

    assert_int_equal(hd_tls_make_self_signed(certificate, key, NULL, 20, NULL), HD_OK);
    assert_int_equal(hd_server_reload(live.server, &err), HD_OK);
    X509 *second = shown(&live);
    assert_int_not_equal(X509_cmp(first, second), 0);
    assert_true(live_usage(&live).certificate_expires > (int64_t)time(NULL) + 19 * 86400);
    X509_free(second);
    X509_free(first);

    hd_buf reply; /* who was there before goes on */
    hd_buf_init(&reply, 10000);
    secure_send(&old, GET_CLOSE("/echo"));
    assert_true(secure_rest(&old, &reply));
    assert_int_equal(strncmp(reply.data, "HTTP/1.1 200 OK\r\n", 17), 0);
    secure_close(&old);
    hd_buf_free(&reply);
    live_close(&live);
}

static void test_bad_certificates_are_refused_at_start(void **state)
{
    (void)state;
    hd_server *server;
    hd_error err = {0};
    const hd_server_tls tls = {certificate, "/nonexistent", NULL};
    const hd_server_options options = {.listener = -1, .tls = &tls, .handle = on_request};
    assert_int_equal(hd_server_open(&server, &options, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "/nonexistent"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves),
        cmocka_unit_test(test_large_bodies),
        cmocka_unit_test(test_only_tls_1_3),
        cmocka_unit_test(test_protocol),
        cmocka_unit_test(test_plain_http_is_closed),
        cmocka_unit_test(test_half_closed_gets_its_answer),
        cmocka_unit_test(test_leaving_is_noticed),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_bad_certificates_are_refused_at_start),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
