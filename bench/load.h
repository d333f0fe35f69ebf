/* bench/load.h: what the load generator's two files share: a reply as it arrives.
 *
 * A reply is fed bytes in whatever pieces they come; it knows lengths, chunks and server-sent events, and notes when
 * tokens came.  One thread.
 */
#ifndef HD_BENCH_LOAD_H
#define HD_BENCH_LOAD_H

#include "base/base.h"

/* Times of one kind; sorted in place when they are asked for. */
typedef struct samples {
    double *list; /* [count] milliseconds */
    size_t count, room;
} samples;

void samples_add(samples *s, double ms);
void samples_free(samples *s);

/* One JSON object: count, mean, median, p90, p99, max; "null" without samples. */
void samples_print(samples *s, const char *name);

typedef enum reply_state { REPLY_HEAD, REPLY_LENGTH, REPLY_CHUNK, REPLY_DATA, REPLY_TRAILER, REPLY_DONE } reply_state;

typedef struct reply {
    reply_state state;
    bool chunked, events, close;
    int status;
    size_t left; /* bytes of the body or of the chunk still to come */
    hd_buf head; /* a line that is not complete: of the head, of chunks */
    hd_buf body; /* content: all of it, or of a stream the line that is not complete */
    double engine_ms;
    uint64_t first_ns, last_ns; /* first and last event with text; 0: none yet */
    long events_with_text, answer_tokens, prompt_tokens, cached_tokens;
    samples *gaps; /* between events with text */
} reply;

void reply_init(reply *r, samples *gaps);
void reply_reset(reply *r);
void reply_free(reply *r);

/* Takes `len` bytes that came at `now`; false when they are no HTTP.  After REPLY_DONE nothing more may come. */
bool reply_feed(reply *r, const char *bytes, size_t len, uint64_t now);

#endif
