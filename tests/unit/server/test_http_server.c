/* The server over real sockets of the loopback: how requests come, how replies leave, and how both end. */
#include <netinet/in.h>
#include <netinet/tcp.h>

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
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
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

/* ---- bodies ---- */

static void test_large_body(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    enum { SIZE = 5 << 20 };
    hd_buf request, reply;
    hd_buf_init(&request, SIZE + 1000);
    (void)hd_buf_printf(&request, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
                        SIZE);
    size_t head = request.len;
    for (int i = 0; i < SIZE; i++)
        (void)hd_buf_putc(&request, (char)('a' + i % 23));
    exchange(&live, request.data, &reply);
    assert_true(reply.len > SIZE);
    assert_memory_equal(reply.data + reply.len - SIZE, request.data + head, SIZE);
    hd_buf_free(&request);
    hd_buf_free(&reply);
    live_close(&live);
}

/* One body of 3,000 bytes fits, a second one beside it does not; its place is free again afterwards. */
static void test_all_bodies_together(void **state)
{
    (void)state;
    static const char head[] = "POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n";
    static const char head_close[] =
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3000\r\n\r\n";
    char body[3001];
    memset(body, 'x', 3000);
    body[3000] = '\0';
    live_server live;
    live_open(&live, &(hd_server_options){.bodies = 5000});
    for (int i = 0; i < 3; i++) {
        hd_buf request, reply;
        int fd = client_open(&live);
        client_send(fd, head);
        client_send(fd, body);
        hd_exchange *x = live_take(&live);
        hd_buf_init(&request, 10000);
        (void)hd_buf_puts(&request, head_close);
        assert_int_equal(hd_buf_puts(&request, body), HD_OK);
        exchange(&live, request.data, &reply);
        assert_int_equal(strncmp(reply.data, "HTTP/1.1 503 Service Unavailable\r\n", 34), 0);
        assert_non_null(strstr(reply.data, "retry-after: 1\r\n"));
        hd_exchange_close(&x);
        close(fd);
        live_await_connections(&live, 0);
        expect_reply(&live, request.data, "HTTP/1.1 200 OK\r\n", "xxx");
        hd_buf_free(&request);
        hd_buf_free(&reply);
    }
    live_close(&live);
}

static void test_expect_continue(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    int fd = client_open(&live);
    client_send(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    client_await(fd, &reply, "\r\n\r\n");
    assert_string_equal(reply.data, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send(fd, "ab");
    client_await(fd, &reply, "POST /echo ab");
    hd_buf_clear(&reply); /* who sends the body at once needs no invitation */
    client_send(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\ncd");
    client_await(fd, &reply, "POST /echo cd");
    assert_int_equal(count_of(&reply, "HTTP/1.1"), 1);
    close(fd);
    hd_buf_free(&reply);
    live_close(&live);
}

/* ---- refusals ---- */

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *request, *begin;
    } cases[] = {
        {"GET / HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 HTTP Version Not Supported\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 400 "},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", "HTTP/1.1 413 Content Too Large\r\n"},
        {"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 417 Expectation Failed\r\n"},
        {GET("/echo") "x\r\n\r\n" GET("/echo"), "HTTP/1.1 200 OK\r\n"}, /* nothing behind a broken one is served */
    };
    live_server live;
    live_open(&live, &(hd_server_options){.limits.body = 1000});
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_buf reply;
        hd_buf_init(&reply, 10000);
        int fd = client_open(&live);
        client_send(fd, cases[i].request);
        assert_true(client_rest(fd, &reply));
        close(fd);
        if (strncmp(reply.data, cases[i].begin, strlen(cases[i].begin)) != 0)
            fail_msg("case %zu: expected %s, got %s", i, cases[i].begin, reply.data);
        assert_non_null(strstr(reply.data, "connection: close\r\n"));
        assert_non_null(strstr(reply.data, "content-type: application/json\r\n"));
        const char *body = strstr(reply.data, "{\"error\":{\"message\":\"");
        assert_non_null(body);
        assert_non_null(strstr(body, "\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}") ||
                        strstr(body, "\",\"type\":\"api_error\",\"param\":null,\"code\":null}}"));
        hd_buf_free(&reply);
    }
    assert_int_equal(live_usage(&live).bad, HD_ARRAY_LEN(cases));
    assert_int_equal(live_usage(&live).requests, 1);
    live_await_connections(&live, 0);
    live_close(&live);
}

/* The client is still sending when it is refused: it must find the refusal, not a reset connection. */
static void test_refusal_reaches_who_still_sends(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, &(hd_server_options){.limits.body = 1000});
    static char piece[65537];
    memset(piece, 'x', sizeof piece - 1);
    for (int i = 0; i < 20; i++) {
        hd_buf reply;
        hd_buf_init(&reply, 10000);
        int fd = client_open(&live);
        client_send(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
        for (int k = 0; k < 32; k++)
            client_send(fd, piece);
        assert_true(client_rest(fd, &reply));
        assert_int_equal(count_of(&reply, "HTTP/1.1 413 "), 1);
        close(fd);
        hd_buf_free(&reply);
    }
    live_close(&live);
}

/* ---- replies from other threads ---- */

static const hd_http_header event_stream = {{"Content-Type", 12}, {"text/event-stream; charset=utf-8", 32}};

static void put(hd_exchange *x, const char *text)
{
    assert_int_equal(hd_exchange_write(x, text, strlen(text), NULL), HD_OK);
}

static void test_stream(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    int fd = client_open(&live);
    client_send(fd, GET("/held?a=b"));
    hd_exchange *x = live_take(&live);
    assert_memory_equal(hd_exchange_request(x)->query.data, "a=b", 3);
    assert_string_equal(hd_exchange_peer(x), "127.0.0.1");
    assert_null(hd_exchange_subject(x));
    assert_true(hd_exchange_received_ns(x) <= hd_clock_ns());
    assert_true(hd_exchange_received_ns(x) + UINT64_C(10000000000) > hd_clock_ns());
    assert_int_equal(hd_exchange_write(x, "x", 1, NULL), HD_E_ARGUMENT); /* not begun */
    assert_int_equal(hd_exchange_end(x), HD_E_ARGUMENT);
    assert_int_equal(hd_exchange_begin(x, 200, &event_stream, 1), HD_OK);
    assert_int_equal(hd_exchange_begin(x, 200, NULL, 0), HD_E_ARGUMENT);
    assert_int_equal(hd_exchange_reply(x, 200, NULL, 0, "", 0), HD_E_ARGUMENT);
    client_await(fd, &reply, "\r\n\r\n"); /* the head goes out at once */
    put(x, "data: 1\n\n");
    client_await(fd, &reply, "9\r\ndata: 1\n\n\r\n");
    put(x, "");
    put(x, "data: 2\n\n");
    client_await(fd, &reply, "9\r\ndata: 2\n\n\r\n");
    assert_int_equal(hd_exchange_end(x), HD_OK);
    assert_int_equal(hd_exchange_write(x, "x", 1, NULL), HD_E_ARGUMENT);
    client_await(fd, &reply, "\r\n0\r\n\r\n"); /* also before it is closed */
    hd_exchange_close(&x);
    assert_null(x);
    hd_exchange_close(&x);
    client_send(fd, GET("/echo?next"));
    client_await(fd, &reply, "GET /echo?next");
    close(fd);
    live_close(&live);
    assert_int_equal(live.gone, 0);
    hd_buf_free(&reply);
}

static void test_bad_replies_change_nothing(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    int fd = client_open(&live);
    client_send(fd, GET_CLOSE("/held"));
    hd_exchange *x = live_take(&live);
    const hd_http_header bad = {{"x", 1}, {"y\r\nz: 1", 7}};
    assert_int_equal(hd_exchange_reply(x, 200, &bad, 1, "a", 1), HD_E_ARGUMENT);
    assert_int_equal(hd_exchange_begin(x, 200, &bad, 1), HD_E_ARGUMENT);
    assert_int_equal(hd_exchange_reply(x, 99, NULL, 0, "a", 1), HD_E_ARGUMENT);
    assert_int_equal(hd_exchange_reply(x, 100, NULL, 0, "", 0), HD_E_ARGUMENT);
    assert_int_equal(hd_exchange_reply(x, 204, NULL, 0, "a", 1), HD_E_ARGUMENT);
    assert_int_equal(hd_exchange_reply(x, 204, NULL, 0, NULL, 0), HD_OK);
    hd_exchange_close(&x);
    assert_true(client_rest(fd, &reply));
    assert_int_equal(strncmp(reply.data, "HTTP/1.1 204 No Content\r\ndate: ", 31), 0);
    assert_null(strstr(reply.data, "content-length"));
    close(fd);
    hd_buf_free(&reply);
    live_close(&live);
}

static void test_stream_to_http_1_0(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    int fd = client_open(&live);
    client_send(fd, "GET /held HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    hd_exchange *x = live_take(&live);
    assert_int_equal(hd_exchange_begin(x, 200, NULL, 0), HD_OK);
    put(x, "one ");
    put(x, "two");
    assert_int_equal(hd_exchange_end(x), HD_OK);
    hd_exchange_close(&x);
    assert_true(client_rest(fd, &reply));
    assert_non_null(strstr(reply.data, "connection: close\r\n\r\none two"));
    close(fd);
    hd_buf_free(&reply);
    live_close(&live);
}

/* A reply that is not complete must not look like one. */
static void test_cut_replies_end_in_a_reset(void **state)
{
    (void)state;
    static const char *const requests[] = {GET("/cut"), GET("/held"), "GET /held HTTP/1.0\r\n\r\n"};
    live_server live;
    live_open(&live, NULL);
    for (int i = 0; i < 3; i++) {
        hd_buf reply;
        hd_buf_init(&reply, 10000);
        int fd = client_open(&live);
        client_send(fd, requests[i]);
        if (i) {
            hd_exchange *x = live_take(&live);
            assert_int_equal(hd_exchange_begin(x, 200, NULL, 0), HD_OK);
            put(x, "half");
            client_await(fd, &reply, "half");
            hd_exchange_close(&x);
        }
        assert_false(client_rest(fd, &reply));
        close(fd);
        hd_buf_free(&reply);
    }
    live_await_connections(&live, 0);
    live_close(&live);
}

static void test_head_of_a_stream(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    int fd = client_open(&live);
    client_send(fd, "HEAD /held HTTP/1.1\r\nHost: a\r\n\r\n");
    hd_exchange *x = live_take(&live);
    assert_int_equal(hd_exchange_begin(x, 200, NULL, 0), HD_OK);
    put(x, "unseen");
    assert_int_equal(hd_exchange_end(x), HD_OK);
    hd_exchange_close(&x);
    client_send(fd, GET_CLOSE("/echo"));
    client_rest(fd, &reply);
    assert_non_null(strstr(reply.data, "keep-alive\r\n\r\nHTTP/1.1 200 OK"));
    close(fd);
    hd_buf_free(&reply);
    live_close(&live);
}

/* Writes until the stream is full and stays so: what the sockets themselves hold drains by itself. */
static size_t fill(live_server *live, hd_exchange *x)
{
    static char piece[10001];
    size_t sent = 0;
    int drained;
    memset(piece, 'p', sizeof piece - 1);
    do {
        bool full = false;
        drained = live_count(live, &live->drained);
        while (!full) {
            assert_true(sent < 200000000); /* nobody buffers so much */
            assert_int_equal(hd_exchange_write(x, piece, sizeof piece - 1, &full), HD_OK);
            sent += sizeof piece - 1;
        }
        usleep(50000 * SLOW);
    } while (live_count(live, &live->drained) != drained);
    return sent;
}

static void test_back_pressure(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, &(hd_server_options){.write_ahead = 100000});
    hd_buf reply;
    hd_buf_init(&reply, (size_t)512 << 20);
    int fd = client_open(&live);
    client_send(fd, "GET /held HTTP/1.0\r\n\r\n");
    hd_exchange *x = live_take(&live);
    assert_int_equal(hd_exchange_begin(x, 200, NULL, 0), HD_OK);
    client_await(fd, &reply, "\r\n\r\n");
    size_t head = reply.len, sent = head;
    for (int round = 1; round <= 2; round++) {
        sent += fill(&live, x);
        int drained = live_count(&live, &live.drained);
        bool full;
        assert_int_equal(hd_exchange_write(x, "p", 1, &full), HD_OK);
        sent++;
        assert_true(full);
        while (reply.len < sent)
            assert_true(client_more(fd, &reply, NULL));
        live_await(&live, &live.drained, drained + 1); /* once each time */
        assert_int_equal(hd_exchange_write(x, "", 0, &full), HD_OK);
        assert_false(full);
    }
    assert_int_equal(hd_exchange_end(x), HD_OK);
    hd_exchange_close(&x);
    assert_true(client_rest(fd, &reply));
    assert_int_equal(reply.len, sent);
    assert_int_equal(strspn(reply.data + head, "p"), sent - head);
    close(fd);
    hd_buf_free(&reply);
    live_close(&live);
}

/* ---- clients that leave, and those that only seem to ---- */

static void expect_gone(live_server *live, uint64_t left_at)
{
    live_await(live, &live->gone, 1);
    assert_true(live->gone_at - left_at < UINT64_C(1000000000) * SLOW);
}

static void test_half_closed_gets_its_answer(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    for (int stream = 0; stream < 2; stream++) {
        hd_buf reply;
        hd_buf_init(&reply, 10000);
        int fd = client_open(&live);
        client_send(fd, GET("/held") GET("/echo?behind"));
        shutdown(fd, SHUT_WR);
        hd_exchange *x = live_take(&live);
        client_await(fd, &reply, "HTTP/1.1 "); /* what every reply begins with, early */
        assert_string_equal(reply.data, "HTTP/1.1 ");
        usleep(20000);
        if (stream) {
            assert_int_equal(hd_exchange_begin(x, 200, &event_stream, 1), HD_OK);
            put(x, "data: x\n\n");
            assert_int_equal(hd_exchange_end(x), HD_OK);
        } else {
            assert_int_equal(hd_exchange_reply(x, 200, NULL, 0, "answer", 6), HD_OK);
        }
        hd_exchange_close(&x);
        assert_true(client_rest(fd, &reply));
        assert_int_equal(strncmp(reply.data, "HTTP/1.1 200 OK\r\ndate: ", 23), 0);
        assert_non_null(strstr(reply.data, stream ? "9\r\ndata: x\n\n\r\n0\r\n\r\n" : "\r\n\r\nanswer"));
        assert_non_null(strstr(reply.data, "\r\n\r\nGET /echo?behind"));
        assert_int_equal(count_of(&reply, "HTTP/1.1"), 2);
        close(fd);
        hd_buf_free(&reply);
    }
    live_await_connections(&live, 0);
    live_close(&live);
    assert_int_equal(live.gone, 0);
}

/* Half-closed in the middle of a stream: a comment between two events, and the stream goes on. */
static void test_half_closed_in_a_stream(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    int fd = client_open(&live);
    client_send(fd, GET("/held"));
    hd_exchange *x = live_take(&live);
    assert_int_equal(hd_exchange_begin(x, 200, &event_stream, 1), HD_OK);
    put(x, "data: x\n");
    client_await(fd, &reply, "data: x\n");
    shutdown(fd, SHUT_WR);
    usleep(20000 * SLOW); /* no comment within an event */
    put(x, "\n");
    client_await(fd, &reply, "\r\n3\r\n:\n\n\r\n");
    assert_non_null(strstr(reply.data, "8\r\ndata: x\n\r\n1\r\n\n\r\n3\r\n:\n\n\r\n"));
    put(x, "data: y\n\n");
    assert_int_equal(hd_exchange_end(x), HD_OK);
    hd_exchange_close(&x);
    assert_true(client_rest(fd, &reply));
    assert_non_null(strstr(reply.data, ":\n\n\r\n9\r\ndata: y\n\n\r\n0\r\n\r\n"));
    close(fd);
    hd_buf_free(&reply);
    live_close(&live);
    assert_int_equal(live.gone, 0);
}

enum { BY_CLOSE, BY_RESET, BEHIND_INPUT, IN_EVENTS, WAYS_TO_LEAVE };

static void leave(live_server *live, int way)
{
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    int fd = client_open(live);
    client_send(fd, GET("/held"));
    hd_exchange *x = live_take(live);
    if (way == IN_EVENTS) {
        assert_int_equal(hd_exchange_begin(x, 200, &event_stream, 1), HD_OK);
        put(x, "data: 1\n\n");
        client_await(fd, &reply, "data: 1\n\n");
    }
    if (way == BEHIND_INPUT) { /* more than the server reads ahead */
        static char piece[100001];
        memset(piece, 'x', sizeof piece - 1);
        client_send(fd, piece);
    }
    usleep(10000);
    assert_int_equal(live_count(live, &live->gone), 0);
    if (way == BY_RESET) setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    uint64_t left_at = hd_clock_ns();
    close(fd);
    expect_gone(live, left_at);
    if (way == IN_EVENTS)
        assert_int_equal(hd_exchange_write(x, "x", 1, NULL), HD_E_CANCELLED);
    else
        assert_int_equal(hd_exchange_reply(x, 200, NULL, 0, "x", 1), HD_E_CANCELLED);
    assert_int_equal(hd_exchange_request(x)->path.len, 5); /* views live until it is closed */
    live_await_connections(live, 0);
    hd_exchange_close(&x);
    hd_buf_free(&reply);
}

static void test_leaving_is_noticed(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS_TO_LEAVE; way++) {
        live_server live;
        live_open(&live, NULL);
        leave(&live, way);
        assert_int_equal(live_usage(&live).gone, 1);
        live_close(&live);
        assert_int_equal(live.gone, 1);
    }
}

static void test_a_late_watcher_is_told(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    int fd = client_open(&live);
    client_send(fd, GET("/held"));
    hd_exchange *x = live_take(&live);
    hd_exchange_watch(x, NULL, NULL, NULL);
    close(fd);
    live_await_connections(&live, 0);
    assert_int_equal(live_count(&live, &live.gone), 0);
    hd_exchange_watch(x, on_gone, on_drained, &live);
    live_await(&live, &live.gone, 1);
    hd_exchange_watch(x, on_gone, on_drained, &live); /* told once */
    hd_exchange_close(&x);
    live_close(&live);
    assert_int_equal(live.gone, 1);
}

/* ---- limits ---- */

/* Whether the server keeps a new connection. */
static bool is_admitted(live_server *live, int *fd)
{
    char byte;
    *fd = client_open(live);
    client_send(*fd, GET("/echo"));
    return recv(*fd, &byte, 1, 0) == 1;
}

static void test_limits_of_connections(void **state)
{
    (void)state;
    static const hd_server_options cases[] = {{.connections = 3}, {.connections_per_address = 3}};
    for (int i = 0; i < 2; i++) {
        live_server live;
        int fds[4];
        live_open(&live, &cases[i]);
        for (int k = 0; k < 4; k++)
            assert_int_equal(is_admitted(&live, &fds[k]), k < 3);
        close(fds[3]);
        close(fds[0]);
        live_await_connections(&live, 2);
        assert_true(is_admitted(&live, &fds[0])); /* room again */
        hd_server_usage usage = live_usage(&live);
        assert_int_equal(usage.refused, 1);
        assert_int_equal(usage.accepted, 4);
        for (int k = 0; k < 3; k++)
            close(fds[k]);
        live_close(&live);
    }
}

static void expect_408(int fd)
{
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    assert_true(client_rest(fd, &reply));
    assert_non_null(reply.data);
    assert_int_equal(strncmp(reply.data, "HTTP/1.1 408 Request Timeout\r\n", 30), 0);
    close(fd);
    hd_buf_free(&reply);
}

/* All at once, since each takes its second. */
static void test_time_limits(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, &(hd_server_options){.head_seconds = 1, .body_seconds = 1, .idle_seconds = 1, .write_seconds = 1});
    uint64_t start = hd_clock_ns();
    int idle = client_open(&live), head = client_open(&live), body = client_open(&live), deaf = client_open(&live);
    client_send(head, "GET /echo HTTP/1.1\r\nHost: a\r\nx: ");
    client_send(body, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    client_send(deaf, GET("/held"));
    hd_exchange *x = live_take(&live);
    assert_int_equal(hd_exchange_begin(x, 200, NULL, 0), HD_OK);
    static char piece[65536];
    for (int i = 0; i < 1000; i++) /* more than the sockets hold */
        assert_int_equal(hd_exchange_write(x, piece, sizeof piece, NULL), HD_OK);
    for (int i = 0; i < 8; i++) { /* trickling does not help */
        usleep(100000);
        client_send(head, "x");
        client_send(body, "x");
    }
    char byte;
    assert_int_equal(recv(idle, &byte, 1, 0), 0); /* closed without a word */
    expect_408(head);
    assert_true(hd_clock_ns() - start > UINT64_C(900000000));
    expect_408(body);
    live_await(&live, &live.gone, 1);
    hd_status status = hd_exchange_write(x, "x", 1, NULL);
    assert_int_equal(status, HD_E_CANCELLED);
    assert_true(hd_clock_ns() - start < UINT64_C(5000000000) * SLOW);
    hd_exchange_close(&x);
    close(idle);
    close(deaf);
    live_await_connections(&live, 0);
    assert_int_equal(live_usage(&live).bad, 2);
    live_close(&live);
}

/* ---- stopping ---- */

static void test_stop_lets_exchanges_end(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    hd_buf reply;
    hd_buf_init(&reply, 10000);
    int idle = client_open(&live), busy = client_open(&live);
    client_send(busy, GET("/held"));
    hd_exchange *x = live_take(&live);
    live_await_connections(&live, 2);
    hd_server_stop(live.server, 60000);
    char byte;
    assert_int_equal(recv(idle, &byte, 1, 0), 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)hd_server_port(live.server))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&at, sizeof at), -1); /* nobody listens */
    close(late);
    assert_int_equal(hd_exchange_reply(x, 200, NULL, 0, "end", 3), HD_OK);
    hd_exchange_close(&x);
    assert_true(client_rest(busy, &reply));
    assert_non_null(strstr(reply.data, "connection: close\r\n\r\nend"));
    close(busy);
    close(idle);
    live_join(&live);
    assert_int_equal(live.gone, 0);
    hd_buf_free(&reply);
}

static void test_stop_cuts_after_its_grace(void **state)
{
    (void)state;
    live_server live;
    live_open(&live, NULL);
    int fd = client_open(&live);
    client_send(fd, GET("/held"));
    hd_exchange *x = live_take(&live);
    uint64_t start = hd_clock_ns();
    hd_server_stop(live.server, 60000);
    hd_server_stop(live.server, 100); /* hurries; a longer one changes nothing */
    hd_server_stop(live.server, 60000);
    live_await(&live, &live.gone, 1);
    assert_true(live.gone_at - start >= 100000000);
    assert_true(live.gone_at - start < UINT64_C(5000000000));
    assert_int_equal(hd_exchange_reply(x, 200, NULL, 0, "x", 1), HD_E_CANCELLED);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    hd_exchange_close(&x); /* run waits for it */
    live_join(&live);
    close(fd);
}

static void test_stop_before_run(void **state)
{
    (void)state;
    hd_server *server;
    assert_int_equal(hd_server_open(&server, &(hd_server_options){.listener = -1, .handle = on_request}, NULL), HD_OK);
    hd_server_stop(server, 1000);
    assert_int_equal(hd_server_run(server, NULL), HD_OK);
    hd_server_close(&server);
    hd_server_close(&server);
}

/* ---- opening ---- */

static void expect_open_error(hd_server_options options, hd_status wanted, const char *text)
{
    hd_server *server;
    hd_error err = {0};
    assert_int_equal(hd_server_open(&server, &options, &err), wanted);
    assert_null(server);
    if (!strstr(err.text, text)) fail_msg("no '%s' in: %s", text, err.text);
}

static void test_opening(void **state)
{
    (void)state;
    hd_server *first, *second;
    hd_server_options o = {.listener = -1, .handle = on_request};
    assert_int_equal(hd_server_open(&first, &o, NULL), HD_OK);
    o.port = hd_server_port(first);
    char port[16];
    snprintf(port, sizeof port, "port %d", o.port);
    expect_open_error(o, HD_E_IO, port);
    o.host = "no such host";
    expect_open_error(o, HD_E_ARGUMENT, "no such host");
    expect_open_error((hd_server_options){.listener = -1}, HD_E_ARGUMENT, "option");
    expect_open_error((hd_server_options){.listener = -1, .handle = on_request, .port = 65536}, HD_E_ARGUMENT, "65535");
    expect_open_error((hd_server_options){.listener = -1, .handle = on_request, .idle_seconds = -1}, HD_E_ARGUMENT, "");
    hd_server_close(&first);

    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    expect_open_error((hd_server_options){.listener = pair[0], .handle = on_request}, HD_E_ARGUMENT, "listening");
    assert_int_equal(close(pair[0]), 0); /* it stayed ours */
    close(pair[1]);

    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (fd < 0) return; /* a machine without IPv6 */
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 5) == 0) {
        char url[64];
        assert_int_equal(hd_server_open(&second, &(hd_server_options){.listener = fd, .handle = on_request}, NULL),
                         HD_OK);
        hd_server_url(second, url, sizeof url);
        assert_int_equal(strncmp(url, "http://[::1]:", 13), 0);
        hd_server_close(&second);
        assert_int_equal(close(fd), -1);
    } else {
        close(fd);
    }
}

/* ---- many at once ---- */

/* Answers what is held until it is told to end: whole, or in pieces. */
typedef struct worker {
    live_server *live;
    atomic_bool *end;
    int answered, lost;
} worker;

static hd_exchange *take_now(live_server *live)
{
    pthread_mutex_lock(&live->lock);
    hd_exchange *x = live->held_from != live->held_to ? live->held[live->held_from++ % 64] : NULL;
    pthread_mutex_unlock(&live->lock);
    return x;
}

static hd_status answer(hd_exchange *x)
{
    if (hd_exchange_request(x)->query.len == 0) return hd_exchange_reply(x, 200, NULL, 0, "whole", 5);
    HD_TRY(hd_exchange_begin(x, 200, &event_stream, 1));
    for (int i = 0; i < 20; i++) {
        HD_TRY(hd_exchange_write(x, "data: x\n\n", 9, NULL));
        if (i % 10 == 0) usleep(100);
    }
    return hd_exchange_end(x);
}

static void *work(void *arg)
{
    worker *w = arg;
    while (!atomic_load(w->end)) {
        hd_exchange *x = take_now(w->live);
        if (!x) {
            usleep(50);
            continue;
        }
        hd_status status = answer(x);
        w->answered += status == HD_OK;
        w->lost += status == HD_E_CANCELLED;
        hd_exchange_close(&x);
    }
    return NULL;
}

/* Each client makes 50 requests, and leaves early at some. */
typedef struct crowd_client {
    live_server *live;
    int number, complete;
} crowd_client;

static void *be_client(void *arg)
{
    crowd_client *client = arg;
    for (int i = 0; i < 50 / SLOW; i++) {
        int fd = client_open(client->live), manner = (client->number + i) % 5;
        hd_buf reply;
        hd_buf_init(&reply, 100000);
        client_send(fd, manner % 2 ? GET_CLOSE("/held?stream") : GET_CLOSE("/held"));
        if (manner == 3) shutdown(fd, SHUT_WR);
        if (manner == 4) usleep(100);
        if (manner != 4) {
            client_rest(fd, &reply);
            client->complete += reply.data && (strstr(reply.data, "0\r\n\r\n") || strstr(reply.data, "whole"));
        }
        close(fd);
        hd_buf_free(&reply);
    }
    return NULL;
}

static void test_crowd(void **state)
{
    (void)state;
    enum { WORKERS = 3, CLIENTS = 16 };
    live_server live;
    live_open(&live, NULL);
    atomic_bool end = false;
    worker workers[WORKERS];
    crowd_client clients[CLIENTS];
    pthread_t worker_threads[WORKERS], client_threads[CLIENTS];
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (worker){.live = &live, .end = &end};
        assert_int_equal(pthread_create(&worker_threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (crowd_client){.live = &live, .number = i};
        assert_int_equal(pthread_create(&client_threads[i], NULL, be_client, &clients[i]), 0);
    }
    int complete = 0, answered = 0, lost = 0;
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(client_threads[i], NULL);
        complete += clients[i].complete;
    }
    live_await_connections(&live, 0);
    atomic_store(&end, true);
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(worker_threads[i], NULL);
        answered += workers[i].answered;
        lost += workers[i].lost;
    }
    assert_int_equal(complete, CLIENTS * (50 / SLOW) * 4 / 5); /* all that stayed */
    int64_t requests = live_usage(&live).requests;
    live_close(&live);
    assert_true(answered >= complete);
    assert_true(answered + lost <= requests);
}

/* ---- no memory ---- */

static atomic_int allocations = -1; /* what the server's thread shall be granted from now on; 0: all; -1: no change */
static pthread_t starved;
static atomic_bool starving;

/* The server looks at the clock whenever it does anything: a place to reach its thread. */
static uint64_t clock_of_starved(void)
{
    if (atomic_load(&starving) && pthread_equal(pthread_self(), starved)) {
        int n = atomic_exchange(&allocations, -1);
        if (n >= 0) hd_alloc_fail_after((uint64_t)n);
    }
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Gives the server's thread `n` allocations (0: all) and waits until it knows: what is written to the ticker wakes it,
 * and then it looks at the clock. */
static void grant(int n, hd_exchange *ticker, int ticker_fd)
{
    hd_buf tick;
    hd_buf_init(&tick, 1000);
    atomic_store(&allocations, n);
    put(ticker, "tick");
    client_await(ticker_fd, &tick, "tick");
    hd_buf_free(&tick);
    assert_int_equal(atomic_load(&allocations), -1);
}

static void close_held(live_server *live)
{
    hd_exchange *x;
    while ((x = take_now(live)))
        hd_exchange_close(&x);
}

/* All allocations from the n-th on fail: the client gets a whole reply, 503 or none, and the next one is served. */
static void test_without_memory(void **state)
{
    (void)state;
    live_server live;
    hd_buf reply;
    hd_clock_set(clock_of_starved, NULL);
    live_open(&live, NULL);
    starved = live.thread;
    atomic_store(&starving, true);
    hd_buf_init(&reply, 1 << 20);
    int ticker_fd = client_open(&live), served = 0, refused = 0;
    client_send(ticker_fd, GET("/held"));
    hd_exchange *ticker = live_take(&live);
    assert_int_equal(hd_exchange_begin(ticker, 200, NULL, 0), HD_OK);
    client_await(ticker_fd, &reply, "\r\n\r\n");
    for (int n = 1; n < 30; n++) {
        int first = client_open(&live);
        client_send(first, GET("/echo"));
        hd_buf_clear(&reply);
        client_await(first, &reply, "GET /echo");
        grant(n, ticker, ticker_fd);
        client_send(first, GET("/echo?first") GET("/echo?ahead") GET_CLOSE("/held"));
        int second = client_open(&live);
        client_send(second, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
        hd_buf_clear(&reply);
        client_rest(second, &reply);
        served += reply.data && strstr(reply.data, "POST /echo hello");
        refused += reply.data && strstr(reply.data, "503 Service Unavailable");
        close(second);
        close(first);
        grant(0, ticker, ticker_fd);
        close_held(&live);
        expect_reply(&live, GET_CLOSE("/echo?well"), "HTTP/1.1 200 OK\r\n", "/echo?well ");
        close_held(&live);
        live_await_connections(&live, 1);
    }
    assert_true(served > 0);
    assert_true(refused > 0);
    assert_true(served + refused < 29); /* the rest found no memory for a connection */
    hd_exchange_close(&ticker);
    close(ticker_fd);
    live_close(&live);
    hd_clock_set(NULL, NULL);
    atomic_store(&starving, false);
    hd_buf_free(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_all_bodies_together),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refusal_reaches_who_still_sends),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_bad_replies_change_nothing),
        cmocka_unit_test(test_stream_to_http_1_0),
        cmocka_unit_test(test_cut_replies_end_in_a_reset),
        cmocka_unit_test(test_head_of_a_stream),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_half_closed_gets_its_answer),
        cmocka_unit_test(test_half_closed_in_a_stream),
        cmocka_unit_test(test_leaving_is_noticed),
        cmocka_unit_test(test_a_late_watcher_is_told),
        cmocka_unit_test(test_limits_of_connections),
        cmocka_unit_test(test_time_limits),
        cmocka_unit_test(test_stop_lets_exchanges_end),
        cmocka_unit_test(test_stop_cuts_after_its_grace),
        cmocka_unit_test(test_stop_before_run),
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
