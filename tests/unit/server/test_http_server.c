/* The server over real sockets of the loopback: how requests come, how replies leave, and how both end. */
#include "live_server.h"

/* Sends `request` on a new connection and reads to the end. */
static void exchange(live_server *live, const char *request, hd_buf *reply)
{
    int fd = client_open(live);
    hd_buf_init(reply, (size_t)64 << 20);
    client_send(fd, request);
    client_rest(fd, reply);
    close(fd);
}

static void expect_reply(live_server *live, const char *request, const char *begin, const char *end)
{
    hd_buf reply;
    exchange(live, request, &reply);
    if (!reply.data || strncmp(reply.data, begin, strlen(begin)) != 0)
        fail_msg("expected %s, got %s", begin, reply.data);
    size_t len = strlen(end);
    if (reply.len < len || strcmp(reply.data + reply.len - len, end) != 0)
        fail_msg("expected the end %s, got %s", end, reply.data);
    hd_buf_free(&reply);
}

static void test_answers(void **state)
{
    (void)state;
    live_server live;
    char url[64], wanted[64];
    live_open(&live, NULL);
    snprintf(wanted, sizeof wanted, "http://127.0.0.1:%d", hd_server_port(live.server));
    hd_server_url(live.server, url, sizeof url);
    assert_string_equal(url, wanted);
    expect_reply(&live, GET_CLOSE("/echo?x"), "HTTP/1.1 200 OK\r\ndate: ", "\r\n\r\nGET /echo?x ");
    expect_reply(&live, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
                 "HTTP/1.1 200 OK\r\n", "connection: close\r\n\r\nPOST /echo hello");
    expect_reply(&live, "GET /echo HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nGET /echo ");
    expect_reply(&live, "HEAD /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n",
                 "content-length: 11\r\nconnection: close\r\n\r\n");
    live_await_connections(&live, 0);
    hd_server_usage usage = live_usage(&live);
    assert_int_equal(usage.accepted, 4);
    assert_int_equal(usage.requests, 4);
    assert_int_equal(usage.bad + usage.gone + usage.refused, 0);
    assert_true(usage.received > 100 && usage.sent > 300);
    live_close(&live);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    const char *request =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    int fd = client_open(&live);
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &(int){1}, sizeof(int));
    for (const char *c = request; *c; c++) {
        client_send(fd, (char[]){*c, '\0'});
        usleep(200);
    }
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    client_await(fd, &reply, "POST /echo abc");
    close(fd);
    hd_buf_free(&reply);
    live_close(&live);
}

static void test_pipelined(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    hd_buf requests, reply;
    hd_buf_init(&requests, 1 << 20);
    for (int i = 0; i < 3000; i++) /* more than is read ahead */
        (void)hd_buf_printf(&requests, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n%04d", i);
    (void)hd_buf_puts(&requests, GET_CLOSE("/echo?last"));
    assert_int_equal(requests.status, HD_OK);
    exchange(&live, requests.data, &reply);
    const char *at = reply.data;
    for (int i = 0; i < 3000; i++) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "POST /echo %04d", i);
        at = strstr(at, wanted);
        assert_non_null(at);
    }
    assert_non_null(strstr(at, "/echo?last"));
    assert_int_equal(count_of(&reply, "HTTP/1.1 200"), 3001);
    assert_int_equal(live_usage(&live).requests, 3001);
    hd_buf_free(&requests);
    hd_buf_free(&reply);
    live_close(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_pipelined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
