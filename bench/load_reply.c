/* bench/load_reply.c: replies as they arrive, and the statistics of many. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define LINE_MAX_BYTES ((size_t)64 << 10)
#define CONTENT_MAX ((size_t)64 << 20)

/* ---- samples ---- */

void samples_add(samples *s, double ms)
{
    if (s->count == s->room) {
        size_t room = s->room ? 2 * s->room : 1024;
        double *grown = hd_realloc_array(s->list, room, sizeof *grown);
        if (!grown) return; /* the count in the report shows it */
        s->list = grown;
        s->room = room;
    }
    s->list[s->count++] = ms;
}

void samples_free(samples *s)
{
    hd_free(s->list);
    *s = (samples){0};
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank: the smallest sample that at least `share` of all do not exceed. */
static double quantile(const samples *s, double share)
{
    size_t rank = (size_t)ceil(share * (double)s->count);
    return s->list[rank ? rank - 1 : 0];
}

void samples_print(samples *s, const char *name)
{
    printf(", \"%s\": ", name);
    if (s->count == 0) {
        printf("null");
        return;
    }
    qsort(s->list, s->count, sizeof *s->list, ascending);
    double sum = 0;
    for (size_t i = 0; i < s->count; i++)
        sum += s->list[i];
    printf("{\"count\": %zu, \"mean\": %.4f, \"median\": %.4f, \"p90\": %.4f, \"p99\": %.4f, \"max\": %.4f}", s->count,
           sum / (double)s->count, quantile(s, 0.5), quantile(s, 0.9), quantile(s, 0.99), s->list[s->count - 1]);
}

/* ---- what stands in a reply ---- */

static const char *find(const char *text, size_t len, const char *what)
{
    return memmem(text, len, what, strlen(what));
}

/* The number behind `key`, or `otherwise`. */
static long number_of(const char *text, size_t len, const char *key, long otherwise)
{
    const char *at = find(text, len, key);
    return at ? strtol(at + strlen(key), NULL, 10) : otherwise;
}

/* Both texts are NUL-terminated, as all of hd_buf are. */
static void read_usage(reply *r, const char *text, size_t len)
{
    if (!find(text, len, "\"usage\"")) return;
    r->answer_tokens = number_of(text, len, "\"completion_tokens\":", r->answer_tokens);
    r->prompt_tokens = number_of(text, len, "\"prompt_tokens\":", r->prompt_tokens);
    r->cached_tokens = number_of(text, len, "\"cached_tokens\":", r->cached_tokens);
}

/* "text":"x" or "content":"x" with anything in it. */
static bool has_text(const char *text, size_t len)
{
    static const char *const keys[] = {"\"text\":\"", "\"content\":\"", "\"reasoning_content\":\""};
    for (size_t i = 0; i < HD_ARRAY_LEN(keys); i++) {
        const char *at = find(text, len, keys[i]);
        if (at && at[strlen(keys[i])] != '"') return true;
    }
    return false;
}

static void take_event(reply *r, const char *line, size_t len, uint64_t now)
{
    if (len < 5 || memcmp(line, "data:", 5) != 0) return;
    read_usage(r, line, len);
    if (!has_text(line, len)) return;
    r->events_with_text++;
    if (!r->first_ns)
        r->first_ns = now;
    else if (r->gaps)
        samples_add(r->gaps, (double)(now - r->last_ns) / 1e6);
    r->last_ns = now;
}

/* The lines of a stream that are complete. */
static void take_lines(reply *r, uint64_t now)
{
    size_t at = 0;
    const char *end;
    while (at < r->body.len && (end = memchr(r->body.data + at, '\n', r->body.len - at))) {
        size_t len = (size_t)(end - r->body.data) - at;
        r->body.data[at + len] = '\0';
        take_event(r, r->body.data + at, len, now);
        at += len + 1;
    }
    if (at == 0) return;
    memmove(r->body.data, r->body.data + at, r->body.len - at);
    hd_buf_truncate(&r->body, r->body.len - at);
}

/* ---- HTTP ---- */

static bool is_header(const char *line, const char *name, const char **value)
{
    size_t len = strlen(name);
    if (strncasecmp(line, name, len) != 0) return false;
    *value = line + len;
    return true;
}

/* Server-Timing: prefill;dur=1.5, decode;dur=0.2: the engine's part of the time (W3C Server Timing). */
static double engine_time(const char *value)
{
    static const char *const parts[] = {"prefill;dur=", "decode;dur="};
    double sum = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(parts); i++) {
        const char *at = strstr(value, parts[i]);
        if (at) sum += strtod(at + strlen(parts[i]), NULL);
    }
    return sum;
}

static bool take_header(reply *r, const char *line)
{
    const char *value;
    if (r->status == 0) {
        if (strncmp(line, "HTTP/1.", 7) != 0) return false;
        r->status = atoi(line + 9);
        return r->status >= 100;
    }
    if (is_header(line, "content-length:", &value)) r->left = strtoul(value, NULL, 10);
    if (is_header(line, "transfer-encoding:", &value)) r->chunked = strstr(value, "chunked") != NULL;
    if (is_header(line, "content-type:", &value)) r->events = strstr(value, "text/event-stream") != NULL;
    if (is_header(line, "connection:", &value)) r->close = strstr(value, "close") != NULL;
    if (is_header(line, "server-timing:", &value)) r->engine_ms = engine_time(value);
    return true;
}

static void end_head(reply *r)
{
    if (r->status < 200) /* 100 Continue: the real one follows */
        r->status = 0;
    else
        r->state = r->chunked ? REPLY_CHUNK : r->left ? REPLY_LENGTH : REPLY_DONE;
}

static bool take_line(reply *r, const char *line)
{
    switch (r->state) {
    case REPLY_HEAD:
        if (*line) return take_header(r, line);
        end_head(r);
        return true;
    case REPLY_CHUNK:
        if (!*line) return true; /* behind the data of the one before */
        r->left = strtoul(line, NULL, 16);
        r->state = r->left ? REPLY_DATA : REPLY_TRAILER;
        return true;
    case REPLY_TRAILER:
        if (!*line) r->state = REPLY_DONE;
        return true;
    default: return false;
    }
}

static size_t take_content(reply *r, const char *bytes, size_t len, uint64_t now)
{
    size_t n = HD_MIN(len, r->left);
    if (hd_buf_append(&r->body, bytes, n) != HD_OK) return 0;
    r->left -= n;
    if (r->events) take_lines(r, now);
    if (r->left == 0) r->state = r->state == REPLY_DATA ? REPLY_CHUNK : REPLY_DONE;
    return n;
}

/* Up to the end of a line; the bytes of an incomplete one are kept. */
static size_t feed_line(reply *r, const char *bytes, size_t len, bool *fine)
{
    const char *end = memchr(bytes, '\n', len);
    size_t n = end ? (size_t)(end - bytes) + 1 : len;
    *fine = hd_buf_append(&r->head, bytes, n) == HD_OK;
    if (!*fine || !end) return n;
    size_t line = r->head.len - 1;
    if (line && r->head.data[line - 1] == '\r') line--;
    r->head.data[line] = '\0';
    *fine = take_line(r, r->head.data);
    hd_buf_clear(&r->head);
    return n;
}

bool reply_feed(reply *r, const char *bytes, size_t len, uint64_t now)
{
    while (len) {
        bool fine = true;
        size_t used;
        if (r->state == REPLY_DONE) return false;
        if (r->state == REPLY_LENGTH || r->state == REPLY_DATA)
            fine = (used = take_content(r, bytes, len, now)) > 0;
        else
            used = feed_line(r, bytes, len, &fine);
        if (!fine) return false;
        bytes += used;
        len -= used;
    }
    if (r->state == REPLY_DONE && !r->events && r->body.len) read_usage(r, r->body.data, r->body.len);
    return true;
}

void reply_init(reply *r, samples *gaps)
{
    *r = (reply){.gaps = gaps};
    hd_buf_init(&r->head, LINE_MAX_BYTES);
    hd_buf_init(&r->body, CONTENT_MAX);
}

void reply_reset(reply *r)
{
    hd_buf head = r->head, body = r->body;
    hd_buf_clear(&head);
    hd_buf_clear(&body);
    *r = (reply){.gaps = r->gaps, .head = head, .body = body};
}

void reply_free(reply *r)
{
    hd_buf_free(&r->head);
    hd_buf_free(&r->body);
}
