/* ops/otlp_encode.h: spans as messages of OTLP.  Field numbers: opentelemetry-proto 1.x, trace/v1/trace.proto,
 * common/v1/common.proto, resource/v1/resource.proto, collector/trace/v1/trace_service.proto.  No state; any thread. */
#ifndef HD_OPS_OTLP_ENCODE_H
#define HD_OPS_OTLP_ENCODE_H

#include "base/base.h"
#include "base/span.h"

/* Appends one Span as it stands in ScopeSpans, with its tag.  Errors stick to the buffer. */
void hd_otlp_write_span(hd_buf *out, const hd_span *span);

/* What describes the sender: Resource and InstrumentationScope. */
typedef struct hd_otlp_sender {
    const hd_attribute *resource;
    size_t resource_count;
    const char *scope, *version;
} hd_otlp_sender;

/* Appends an ExportTraceServiceRequest of spans written before, all in one run. */
void hd_otlp_write_request(hd_buf *out, const hd_otlp_sender *sender, hd_str spans);

/* Of an ExportTraceServiceResponse: how many spans the collector refused; 0 for bytes that make no sense. */
uint64_t hd_otlp_read_rejected(hd_str response);

#endif
