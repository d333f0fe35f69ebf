/* base/span.h: spans of traces as plain values, and where they go: whoever makes them does not know the exporter.
 *
 * Terms and rules are OpenTelemetry's and W3C Trace Context's.  A span is told when it is over, with all that is known
 * of it.
 */
#ifndef HD_BASE_SPAN_H
#define HD_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define HD_TRACE_ID 16
#define HD_SPAN_ID 8
#define HD_TRACE_STATE 512 /* bytes of a tracestate that are passed on; the W3C's least for the whole list */

/* ---- where a request comes from (W3C Trace Context, level 1) ---- */

typedef struct hd_trace_parent {
    uint8_t trace_id[HD_TRACE_ID];
    uint8_t span_id[HD_SPAN_ID];
    uint8_t flags; /* bit 0: sampled */
} hd_trace_parent;

#define HD_TRACE_SAMPLED 1u

/* Reads the value of a traceparent header, strictly; false: there is none that may be used.  Any bytes. */
bool hd_trace_parent_read(hd_trace_parent *out, hd_str value);

/* ---- which requests are traced ---- */

typedef struct hd_sampler {
    bool follows_parent; /* a request that brings a traceparent is sampled as that says */
    double ratio;        /* 0 to 1, of the others; by the trace's id, so that services agree */
} hd_sampler;

/* `parent` may be NULL.  OpenTelemetry's TraceIdRatioBased: the last 8 bytes of the id against the ratio. */
bool hd_sampler_takes(const hd_sampler *sampler, const hd_trace_parent *parent, const uint8_t trace_id[HD_TRACE_ID]);

/* Random bytes that are not all zero, which no id may be. */
void hd_trace_random(uint8_t *id, size_t len);

/* Lower case hexadecimal; `out` [2 * len + 1]. */
void hd_trace_hex(char *out, const uint8_t *id, size_t len);

/* ---- spans ---- */

typedef struct hd_attribute {
    const char *key;
    enum { HD_ATTRIBUTE_TEXT, HD_ATTRIBUTE_INT, HD_ATTRIBUTE_REAL, HD_ATTRIBUTE_BOOL, HD_ATTRIBUTE_TEXTS } kind;
    hd_str text; /* bytes that are not UTF-8 are replaced on the way out */
    int64_t number;
    double real;
    bool truth;
    const char *const *texts; /* [text_count] */
    size_t text_count;
} hd_attribute;

typedef enum hd_span_kind { HD_SPAN_INTERNAL = 1, HD_SPAN_SERVER = 2 } hd_span_kind; /* the protocol's numbers */

typedef struct hd_span_event {
    const char *name;
    uint64_t unix_ns;
} hd_span_event;

typedef struct hd_span {
    const uint8_t *trace_id;  /* [HD_TRACE_ID] */
    const uint8_t *span_id;   /* [HD_SPAN_ID] */
    const uint8_t *parent_id; /* [HD_SPAN_ID]; NULL: a root */
    bool remote_parent;
    const char *state; /* the tracestate that came; NULL: none */
    const char *name;
    hd_span_kind kind;
    uint64_t start_unix_ns, end_unix_ns;
    const hd_attribute *attributes;
    size_t attribute_count;
    const hd_span_event *events;
    size_t event_count;
    bool failed;
} hd_span;

/* Counted since the start. */
typedef struct hd_span_counts {
    uint64_t exported, dropped;
} hd_span_counts;

/* `take` copies what it needs and never waits; any thread. */
typedef struct hd_span_sink {
    void (*take)(void *arg, const hd_span *span);
    void (*count)(void *arg, hd_span_counts *out);
    void *arg;
    hd_sampler sampler;
    bool content; /* prompts and answers are wanted, too */
} hd_span_sink;

#endif
