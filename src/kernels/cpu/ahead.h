/* kernels/cpu/ahead.h: the order in which memory that is read once, from front to back, is asked for.
 *
 * What a thread reads is a sequence of segments (blocks of weights), which may lie anywhere.  While one is read, the
 * processor is asked for lines that come some way behind, those of the next segments included; so no segment begins
 * cold, and the way ends with the last one.
 *
 * Processors differ in the order that suits them (hd_cpu_streams).  Those of Intel follow a stream within its page only
 * and some lines ahead, so that one stream leaves about half of the places for lines on their way (48 in a second-level
 * cache of Sapphire Rapids) empty.  There, a later segment is asked for while one is read, several pages side by side,
 * which the processor takes for as many streams: 24 GB/s by two threads instead of 18.  Zen 4 reads 57 GB/s in plain
 * order and 32 in that one; there the lines a little further on are asked for, and of plain codes of 4 bits (Q4_K,
 * IQ4_XS) none at all: its own prefetchers then give 0.92 to 0.99 of the memory's rate, and 0.76 to 0.94 beside ours,
 * while codes of two planes, which take longer to unpack, gain from being asked for (matrices of Q6_K 0.80 to 0.65, of
 * Q5_K 0.87 to 0.77; experts 0.94 to 0.81, 0.94 to 0.92). */
#ifndef HD_KERNELS_AHEAD_H
#define HD_KERNELS_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/base.h"

#define HD_AHEAD_PAGE ((size_t)4096)
#define HD_AHEAD_BYTES ((size_t)32768) /* at least so much is on its way to be read; more did alike */
#define HD_AHEAD_NEAR ((size_t)8192)   /* in plain order: on Zen 4, 2048 and 4096 took a third longer */

/* Where segment number `n` of a sequence lies, and its bytes. */
typedef struct hd_segment {
    const uint8_t *at;
    size_t bytes;
} hd_segment;
typedef hd_segment (*hd_segment_fn)(const void *job, int64_t n);

/* Lines to ask for, row by row of some columns; after some of them, those from `then` on. */
typedef struct hd_ask {
    const uint8_t *row, *then;
    size_t column, columns, step; /* offsets in the row: of the next line, behind the last one, between two */
    size_t left;                  /* lines until `then` */
} hd_ask;

/* All lines of a segment, as many side by side as there are streams.  Of none there is nothing to ask for: the lines at
 * its place are, as a rule those that are being read anyway. */
static inline hd_ask hd_ask_for(hd_segment s, int streams)
{
    size_t lines = (s.bytes + HD_CACHE_LINE - 1) / HD_CACHE_LINE;
    size_t columns = HD_MIN((size_t)streams, (s.bytes + HD_AHEAD_PAGE - 1) / HD_AHEAD_PAGE);
    size_t step = columns ? (lines + columns - 1) / columns * HD_CACHE_LINE : 0;
    return (hd_ask){s.at, s.at, 0, columns * step, step, SIZE_MAX};
}

/* Asks the second-level cache for as many whole lines as `bytes` have. */
static inline void hd_ask_lines(hd_ask *a, size_t bytes)
{
    for (size_t line = 0; line < bytes / HD_CACHE_LINE; line++) {
        __builtin_prefetch(a->row + a->column, 0, 2);
        a->column += a->step;
        bool last = a->column >= a->columns;
        a->row += last ? HD_CACHE_LINE : 0;
        a->column = last ? 0 : a->column;
        a->row = --a->left ? a->row : a->then;
    }
}

/* One thread's way through its sequence; it belongs to that thread. */
typedef struct hd_ahead {
    _Alignas(HD_CACHE_LINE) int64_t begun; /* the first segment that is not being read */
    int64_t next, end;                     /* those that were not asked for; end 0: nothing was read yet */
    int streams;                           /* hd_cpu_streams() */
    hd_segment now, then;                  /* the one that is read, and the one to ask for */
} hd_ahead;

/* Before a loop. */
static inline void hd_ahead_forget(hd_ahead *a, int streams)
{
    a->begun = a->end = 0;
    a->streams = streams;
}

/* Starts anew with segment n: asks for the first ones at once. */
static inline void hd_ahead_start(hd_ahead *a, hd_segment_fn segment, const void *job, int64_t n, int64_t end)
{
    a->next = n;
    a->end = end;
    for (size_t bytes = 0; bytes < HD_AHEAD_BYTES && a->next < end;) {
        hd_segment s = segment(job, a->next++);
        hd_ask ask = hd_ask_for(s, a->streams);
        hd_ask_lines(&ask, HD_MIN(s.bytes, a->streams > 1 ? HD_AHEAD_BYTES : HD_AHEAD_NEAR));
        if (a->streams == 1) return;
        bytes += HD_MAX(s.bytes, HD_CACHE_LINE); /* segments without bytes end, too */
    }
}

/* Before segment n is read; they are read in order, up to `end`.  One that isn't the next one starts anew. */
static inline void hd_ahead_begin(hd_ahead *a, hd_segment_fn segment, const void *job, int64_t n, int64_t end)
{
    if (n != a->begun || !a->end) hd_ahead_start(a, segment, job, n, end);
    a->begun = n + 1;
    a->now = segment(job, n);
    a->then = (hd_segment){0};
    if (a->next < a->end) a->then = segment(job, a->next++);
    if (!a->then.bytes) a->then.at = a->now.at;
}

/* What to ask for while the segment is read. */
static inline hd_ask hd_ahead_ask(const hd_ahead *a)
{
    if (a->streams > 1 || a->now.bytes <= HD_AHEAD_NEAR) return hd_ask_for(a->then, a->streams);
    size_t near = (a->now.bytes - HD_AHEAD_NEAR) / HD_CACHE_LINE;
    return (hd_ask){a->now.at + HD_AHEAD_NEAR, a->then.at, 0, HD_CACHE_LINE, HD_CACHE_LINE, HD_MAX(near, 1)};
}

#endif
