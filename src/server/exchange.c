/* server/exchange.c: the reply side of an exchange, for any thread; see http_server.h and server_internal.h.
 *
 * Invariants: `out` holds whole pieces of the framing (a head, chunks) and nothing after the end; nothing is appended
 * once the reply failed or the client was lost; `in_flight` is told by the server's thread alone.
 */
#include <string.h>

#include "server/http_internal.h"
#include "server/server_internal.h"

#define OPENING_LEN (sizeof HD_HTTP_OPENING - 1)

/* ---- life, on the server's thread ---- */

bool hd_exchange_init(hd_exchange *x, hd_server *server, hd_connection *connection)
{
    *x = (hd_exchange){.server = server, .connection = connection};
    hd_buf_init(&x->out, HD_HTTP_OUTPUT);
    if (pthread_mutex_init(&x->lock, NULL) != 0) return false;
    if (pthread_mutex_init(&x->calling, NULL) == 0) return true;
    pthread_mutex_destroy(&x->lock);
    return false;
}

void hd_exchange_destroy(hd_exchange *x)
{
    hd_buf_free(&x->out);
    pthread_mutex_destroy(&x->lock);
    pthread_mutex_destroy(&x->calling);
}

void hd_exchange_reset(hd_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    if (x->out.cap > HD_HTTP_KEPT_OUTPUT) hd_buf_free(&x->out);
    hd_buf_clear(&x->out);
    x->request = NULL;
    x->body = (hd_str){0};
    x->in_flight = 0;
    x->failed = HD_OK;
    x->begun = x->ended = x->keep_alive = x->bodiless = x->chunked = x->events = x->early = false;
    x->line_ends = 0;
    x->full = x->lost = x->told = false;
    x->gone = x->drained = NULL;
    pthread_mutex_unlock(&x->lock);
    x->closed = false; /* nobody else knows the exchange now */
}

void hd_exchange_take(hd_exchange *x, hd_buf *out)
{
    pthread_mutex_lock(&x->lock);
    if (x->out.len) {
        hd_buf empty = *out;
        *out = x->out;
        x->out = empty;
        hd_buf_clear(&x->out);
        x->in_flight = out->len;
    }
    pthread_mutex_unlock(&x->lock);
}

/* Calls what the owner wants to hear.  The lock is not held during a call, so that the owner may write meanwhile. */
static void tell(hd_exchange *x)
{
    pthread_mutex_lock(&x->calling);
    pthread_mutex_lock(&x->lock);
    void (*gone)(void *) = x->lost && !x->told ? x->gone : NULL;
    x->told |= gone != NULL;
    bool empty = x->full && x->out.len + x->in_flight <= x->server->options.write_ahead / 2;
    void (*drained)(void *) = empty && !x->lost ? x->drained : NULL;
    if (drained) x->full = false;
    void *arg = x->arg;
    pthread_mutex_unlock(&x->lock);
    if (gone) gone(arg);
    if (drained) drained(arg);
    pthread_mutex_unlock(&x->calling);
}

void hd_exchange_settle(hd_exchange *x, size_t left)
{
    pthread_mutex_lock(&x->lock);
    x->in_flight = left;
    bool news = x->full || (x->lost && !x->told);
    pthread_mutex_unlock(&x->lock);
    if (news) tell(x);
}

hd_reply_state hd_exchange_state(hd_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    hd_reply_state state = {.ended = x->ended, .empty = x->out.len == 0, .keep_alive = x->keep_alive};
    pthread_mutex_unlock(&x->lock);
    return state;
}

bool hd_exchange_lose(hd_exchange *x, size_t left)
{
    pthread_mutex_lock(&x->lock);
    x->lost = !x->ended || x->out.len || left;
    x->in_flight = 0;
    hd_buf_free(&x->out);
    bool lost = x->lost;
    pthread_mutex_unlock(&x->lock);
    return lost;
}

/* ---- writing, under the lock ---- */

static hd_status fail(hd_exchange *x, hd_status status)
{
    return x->failed = status == HD_E_LIMIT ? HD_E_MEMORY : status;
}

static hd_status frame(hd_exchange *x, const void *data, size_t len)
{
    return x->chunked ? hd_http_write_chunk(&x->out, data, len) : hd_buf_append(&x->out, data, len);
}

bool hd_exchange_probe(hd_exchange *x)
{
    static const char comment[] = ":\n\n";
    bool sent = false;
    pthread_mutex_lock(&x->lock);
    if (x->failed != HD_OK || x->ended) {
        sent = false;
    } else if (!x->begun) {
        sent = x->early = hd_buf_puts(&x->out, HD_HTTP_OPENING) == HD_OK;
        if (!sent) hd_buf_clear(&x->out);
    } else if (x->events && x->line_ends == 2 && !x->bodiless) {
        size_t before = x->out.len;
        sent = frame(x, comment, sizeof comment - 1) == HD_OK;
        if (!sent) hd_buf_truncate(&x->out, before);
    }
    pthread_mutex_unlock(&x->lock);
    return sent;
}

static bool is_event_stream(const hd_http_header *headers, size_t count)
{
    static const hd_str name = {"content-type", 12}, events = {"text/event-stream", 17};
    for (size_t i = 0; i < count; i++)
        if (hd_http_equals(headers[i].name, name) && headers[i].value.len >= events.len &&
            hd_http_equals((hd_str){headers[i].value.data, events.len}, events))
            return true;
    return false;
}

/* Whether a reply may begin now; HD_E_CANCELLED without a client. */
static hd_status may_begin(const hd_exchange *x, int status)
{
    if (x->lost) return HD_E_CANCELLED;
    if (x->failed != HD_OK) return x->failed;
    return x->begun || status < 200 ? HD_E_ARGUMENT : HD_OK;
}

/* The head, less what went out early. */
static hd_status write_head(hd_exchange *x, hd_http_response *head)
{
    bool empty = head->status == 204 || head->status == 304;
    bool is_head = x->request->method.len == 4 && memcmp(x->request->method.data, "HEAD", 4) == 0;
    if (empty) head->framing = HD_HTTP_NO_BODY;
    head->keep_alive =
        x->request->keep_alive && head->framing != HD_HTTP_UNTIL_CLOSE && !hd_server_is_ending(x->server);
    head->date = (time_t)(hd_clock_unix_ms() / 1000);
    size_t before = x->out.len;
    HD_TRY(hd_http_write_head(&x->out, head, NULL));
    if (x->early) {
        memmove(x->out.data + before, x->out.data + before + OPENING_LEN, x->out.len - before - OPENING_LEN);
        hd_buf_truncate(&x->out, x->out.len - OPENING_LEN);
    }
    x->keep_alive = head->keep_alive;
    x->chunked = head->framing == HD_HTTP_CHUNKED;
    x->bodiless = empty || is_head;
    return HD_OK;
}

static hd_status reply(hd_exchange *x, int status, const hd_http_header *headers, size_t count, const void *body,
                       size_t len)
{
    HD_TRY(may_begin(x, status));
    if (len && (status == 204 || status == 304)) return HD_E_ARGUMENT;
    hd_http_response head = {
        .status = status, .framing = HD_HTTP_LENGTH, .content_length = len, .headers = headers, .header_count = count};
    size_t before = x->out.len;
    hd_status result = write_head(x, &head);
    if (result == HD_OK && !x->bodiless) result = hd_buf_append(&x->out, body, len);
    if (result != HD_OK) {
        hd_buf_truncate(&x->out, before);
        return result == HD_E_LIMIT ? HD_E_MEMORY : result; /* a smaller reply may still be tried */
    }
    x->begun = x->ended = true;
    return HD_OK;
}

static hd_status begin(hd_exchange *x, int status, const hd_http_header *headers, size_t count)
{
    HD_TRY(may_begin(x, status));
    hd_http_response head = {.status = status,
                             .framing = x->request->minor ? HD_HTTP_CHUNKED : HD_HTTP_UNTIL_CLOSE,
                             .headers = headers,
                             .header_count = count};
    HD_TRY(write_head(x, &head));
    x->begun = true;
    x->events = is_event_stream(headers, count);
    x->line_ends = 2; /* nothing is open */
    return HD_OK;
}

/* How many line ends, at most two, stand behind `data`, which follows on `before` of them. */
static int line_ends_behind(int before, const char *data, size_t len)
{
    if (data[len - 1] != '\n') return 0;
    if (len == 1) return HD_MIN(before + 1, 2);
    return data[len - 2] == '\n' ? 2 : 1;
}

/* Whether a stream may go on. */
static hd_status may_write(const hd_exchange *x)
{
    if (x->lost) return HD_E_CANCELLED;
    if (x->failed != HD_OK) return x->failed;
    return !x->begun || x->ended ? HD_E_ARGUMENT : HD_OK;
}

static hd_status write_piece(hd_exchange *x, const void *data, size_t len, bool *full)
{
    HD_TRY(may_write(x));
    if (len && !x->bodiless) {
        hd_status status = frame(x, data, len);
        if (status != HD_OK) return fail(x, status);
        x->line_ends = line_ends_behind(x->line_ends, data, len);
    }
    x->full |= x->out.len + x->in_flight > x->server->options.write_ahead;
    if (full) *full = x->full;
    return HD_OK;
}

static hd_status end(hd_exchange *x)
{
    HD_TRY(may_write(x));
    if (x->chunked && !x->bodiless) {
        hd_status status = hd_http_write_last_chunk(&x->out);
        if (status != HD_OK) return fail(x, status);
    }
    x->ended = true;
    return HD_OK;
}

/* ---- the door ---- */

const hd_http_request *hd_exchange_request(const hd_exchange *x)
{
    return x->request;
}

hd_str hd_exchange_body(const hd_exchange *x)
{
    return x->body;
}

const char *hd_exchange_peer(const hd_exchange *x)
{
    return x->peer;
}

const char *hd_exchange_subject(const hd_exchange *x)
{
    return x->subject;
}

uint64_t hd_exchange_received_ns(const hd_exchange *x)
{
    return x->received_ns;
}

hd_status hd_exchange_reply(hd_exchange *x, int status, const hd_http_header *headers, size_t count, const void *body,
                            size_t len)
{
    pthread_mutex_lock(&x->lock);
    hd_status result = reply(x, status, headers, count, body, len);
    pthread_mutex_unlock(&x->lock);
    if (result == HD_OK) hd_server_push(x->server, x, false);
    return result;
}

hd_status hd_exchange_begin(hd_exchange *x, int status, const hd_http_header *headers, size_t count)
{
    pthread_mutex_lock(&x->lock);
    hd_status result = begin(x, status, headers, count);
    pthread_mutex_unlock(&x->lock);
    if (result == HD_OK) hd_server_push(x->server, x, false);
    return result;
}

hd_status hd_exchange_write(hd_exchange *x, const void *data, size_t len, bool *full)
{
    if (full) *full = false;
    pthread_mutex_lock(&x->lock);
    hd_status result = write_piece(x, data, len, full);
    pthread_mutex_unlock(&x->lock);
    if (result == HD_OK) hd_server_push(x->server, x, false);
    return result;
}

hd_status hd_exchange_end(hd_exchange *x)
{
    pthread_mutex_lock(&x->lock);
    hd_status result = end(x);
    pthread_mutex_unlock(&x->lock);
    if (result == HD_OK) hd_server_push(x->server, x, false);
    return result;
}

void hd_exchange_watch(hd_exchange *x, void (*gone)(void *arg), void (*drained)(void *arg), void *arg)
{
    pthread_mutex_lock(&x->calling); /* waits for a callback that runs */
    pthread_mutex_lock(&x->lock);
    x->gone = gone;
    x->drained = drained;
    x->arg = arg;
    bool late = x->lost || x->full; /* the news was there before the watcher */
    pthread_mutex_unlock(&x->lock);
    pthread_mutex_unlock(&x->calling);
    if (late) hd_server_push(x->server, x, false);
}

void hd_exchange_close(hd_exchange **exchange)
{
    hd_exchange *x = *exchange;
    if (!x) return;
    *exchange = NULL;
    pthread_mutex_lock(&x->calling); /* waits for a callback that runs */
    pthread_mutex_lock(&x->lock);
    x->gone = x->drained = NULL;
    pthread_mutex_unlock(&x->lock);
    pthread_mutex_unlock(&x->calling);
    hd_server_push(x->server, x, true);
}
