/* gateway/trace_content.h: prompts and answers as OpenTelemetry's GenAI conventions write them in traces: JSON texts of
 * messages with parts.  Only where the operator has asked for content.  Each text has a bound; one beyond it is left
 * out.  One thread at a time. */
#ifndef HD_GATEWAY_TRACE_CONTENT_H
#define HD_GATEWAY_TRACE_CONTENT_H

#include <jansson.h>

#include "base/base.h"
#include "hadal/chat.h"

typedef struct hd_trace_content hd_trace_content;

typedef struct hd_trace_texts {
    hd_str system, input, output; /* views; empty: none */
} hd_trace_texts;

/* Reads the request; NULL without memory. */
hd_trace_content *hd_trace_content_open(const json_t *body, int choices);
void hd_trace_content_close(hd_trace_content **content); /* NULL-safe */

void hd_trace_content_piece(hd_trace_content *content, int choice, hd_piece_kind kind, const char *data, size_t len);
void hd_trace_content_end(hd_trace_content *content, int choice, const char *reason);
void hd_trace_content_get(hd_trace_content *content, hd_trace_texts *out);

#endif
