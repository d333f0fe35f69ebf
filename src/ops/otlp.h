/* ops/otlp.h: spans sent to a collector by OTLP/HTTP, in Protocol Buffers, in the background.
 *
 * Whoever gives a span never waits: it is encoded at once and put into a queue with a bound; what does not fit is
 * dropped and counted.  One thread sends the queue in batches.  A collector that is away, slow or busy (429, 502, 503,
 * 504) is asked again later with back-off, as it says itself by Retry-After; after five attempts a batch is dropped.
 *
 * Source: OpenTelemetry's "OTLP Specification 1.x" and "Environment Variable Specification".
 */
#ifndef HD_OPS_OTLP_H
#define HD_OPS_OTLP_H

#include "base/base.h"
#include "base/span.h"

typedef struct hd_otlp hd_otlp;

#define HD_OTLP_PAIRS 32

/* Names and values, views into `text`. */
typedef struct hd_otlp_pairs {
    char *text; /* [size], owned; may hold secrets */
    size_t size;
    size_t count;
    const char *names[HD_OTLP_PAIRS], *values[HD_OTLP_PAIRS];
} hd_otlp_pairs;

typedef struct hd_otlp_settings {
    char *url;              /* owned; NULL: no traces are wanted */
    hd_otlp_pairs headers;  /* of each request */
    hd_otlp_pairs resource; /* attributes of the sender, beside its name and version */
    const char *service;    /* owned by the environment */
    const char *ca_file;    /* NULL: the system's */
    hd_sampler sampler;
    bool content;                  /* prompts and answers are told, too */
    uint32_t timeout_ms, delay_ms; /* of a request; between two batches */
    size_t queue, batch;           /* spans */
} hd_otlp_settings;

/* What the command line says; it goes before the environment. */
typedef struct hd_otlp_wishes {
    const char *endpoint; /* base address, to which /v1/traces is added; NULL: not given */
    double ratio;         /* negative: not given */
    bool content;
} hd_otlp_wishes;

/* Reads OTEL_* with `get` (getenv's kind).  HD_E_ARGUMENT names the variable or option that makes no sense, and content
 * that would go to another machine unencrypted.  Free it also after an error. */
hd_status hd_otlp_settings_read(hd_otlp_settings *out, const hd_otlp_wishes *wishes, char *(*get)(const char *name),
                                hd_error *err);
void hd_otlp_settings_free(hd_otlp_settings *settings);

/* Whether what is sent to `url` can be read on its way to another machine. */
bool hd_otlp_is_exposed(const char *url);

/* Settings must outlive it.  Errors: HD_E_MEMORY, HD_E_IO (no thread), HD_E_ARGUMENT (the address). */
hd_status hd_otlp_open(hd_otlp **out, const hd_otlp_settings *settings, const char *version, hd_error *err);

/* Sends what waits, for `flush_ms` at most; the rest is dropped.  NULL-safe. */
void hd_otlp_close(hd_otlp **otlp, uint32_t flush_ms);

const hd_span_sink *hd_otlp_sink(const hd_otlp *otlp);

#endif
