/* ops/otlp_encode.c: see otlp_encode.h. */
#include "ops/otlp_encode.h"

#include <string.h>

#include "ops/protobuf.h"

/* Field numbers, message by message. */
enum { REQUEST_RESOURCE_SPANS = 1 };
enum { RESOURCE_SPANS_RESOURCE = 1, RESOURCE_SPANS_SCOPE_SPANS = 2 };
enum { RESOURCE_ATTRIBUTES = 1 };
enum { SCOPE_SPANS_SCOPE = 1, SCOPE_SPANS_SPANS = 2 };
enum { SCOPE_NAME = 1, SCOPE_VERSION = 2 };
enum {
    SPAN_TRACE_ID = 1,
    SPAN_ID = 2,
    SPAN_TRACE_STATE = 3,
    SPAN_PARENT_ID = 4,
    SPAN_NAME = 5,
    SPAN_KIND = 6,
    SPAN_START = 7,
    SPAN_END = 8,
    SPAN_ATTRIBUTES = 9,
    SPAN_EVENTS = 11,
    SPAN_STATUS = 15,
    SPAN_FLAGS = 16
};
enum { EVENT_TIME = 1, EVENT_NAME = 2 };
enum { STATUS_CODE = 3, STATUS_CODE_ERROR = 2 };
enum { KEY_VALUE_KEY = 1, KEY_VALUE_VALUE = 2 };
enum { ANY_STRING = 1, ANY_BOOL = 2, ANY_INT = 3, ANY_DOUBLE = 4, ANY_ARRAY = 5 };
enum { ARRAY_VALUES = 1 };
enum { RESPONSE_PARTIAL = 1, PARTIAL_REJECTED = 1 };

#define FLAG_HAS_REMOTE 0x100u /* SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK: the next bit is meant */
#define FLAG_REMOTE 0x200u

static void write_texts(hd_buf *out, const hd_attribute *a)
{
    size_t array = hd_pb_begin(out, ANY_ARRAY);
    for (size_t i = 0; i < a->text_count; i++) {
        size_t value = hd_pb_begin(out, ARRAY_VALUES);
        hd_pb_string(out, ANY_STRING, a->texts[i]);
        hd_pb_end(out, value);
    }
    hd_pb_end(out, array);
}

static void write_attribute(hd_buf *out, uint32_t field, const hd_attribute *a)
{
    size_t pair = hd_pb_begin(out, field);
    hd_pb_string(out, KEY_VALUE_KEY, a->key);
    size_t value = hd_pb_begin(out, KEY_VALUE_VALUE);
    switch (a->kind) {
    case HD_ATTRIBUTE_TEXT: hd_pb_text(out, ANY_STRING, a->text.data, a->text.len); break;
    case HD_ATTRIBUTE_INT: hd_pb_varint(out, ANY_INT, (uint64_t)a->number); break;
    case HD_ATTRIBUTE_REAL: hd_pb_double(out, ANY_DOUBLE, a->real); break;
    case HD_ATTRIBUTE_BOOL: hd_pb_varint(out, ANY_BOOL, a->truth); break;
    case HD_ATTRIBUTE_TEXTS: write_texts(out, a); break;
    }
    hd_pb_end(out, value);
    hd_pb_end(out, pair);
}

void hd_otlp_write_span(hd_buf *out, const hd_span *s)
{
    size_t span = hd_pb_begin(out, SCOPE_SPANS_SPANS);
    hd_pb_bytes(out, SPAN_TRACE_ID, s->trace_id, HD_TRACE_ID);
    hd_pb_bytes(out, SPAN_ID, s->span_id, HD_SPAN_ID);
    if (s->state && s->state[0]) hd_pb_string(out, SPAN_TRACE_STATE, s->state);
    if (s->parent_id) hd_pb_bytes(out, SPAN_PARENT_ID, s->parent_id, HD_SPAN_ID);
    hd_pb_string(out, SPAN_NAME, s->name);
    hd_pb_varint(out, SPAN_KIND, (uint64_t)s->kind);
    hd_pb_fixed64(out, SPAN_START, s->start_unix_ns);
    hd_pb_fixed64(out, SPAN_END, s->end_unix_ns);
    for (size_t i = 0; i < s->attribute_count; i++)
        write_attribute(out, SPAN_ATTRIBUTES, &s->attributes[i]);
    for (size_t i = 0; i < s->event_count; i++) {
        size_t event = hd_pb_begin(out, SPAN_EVENTS);
        hd_pb_fixed64(out, EVENT_TIME, s->events[i].unix_ns);
        hd_pb_string(out, EVENT_NAME, s->events[i].name);
        hd_pb_end(out, event);
    }
    if (s->failed) {
        size_t status = hd_pb_begin(out, SPAN_STATUS);
        hd_pb_varint(out, STATUS_CODE, STATUS_CODE_ERROR);
        hd_pb_end(out, status);
    }
    hd_pb_fixed32(out, SPAN_FLAGS, HD_TRACE_SAMPLED | FLAG_HAS_REMOTE | (s->remote_parent ? FLAG_REMOTE : 0));
    hd_pb_end(out, span);
}

void hd_otlp_write_request(hd_buf *out, const hd_otlp_sender *sender, hd_str spans)
{
    size_t all = hd_pb_begin(out, REQUEST_RESOURCE_SPANS);
    size_t resource = hd_pb_begin(out, RESOURCE_SPANS_RESOURCE);
    for (size_t i = 0; i < sender->resource_count; i++)
        write_attribute(out, RESOURCE_ATTRIBUTES, &sender->resource[i]);
    hd_pb_end(out, resource);
    size_t list = hd_pb_begin(out, RESOURCE_SPANS_SCOPE_SPANS);
    size_t scope = hd_pb_begin(out, SCOPE_SPANS_SCOPE);
    hd_pb_string(out, SCOPE_NAME, sender->scope);
    hd_pb_string(out, SCOPE_VERSION, sender->version);
    hd_pb_end(out, scope);
    (void)hd_buf_append(out, spans.data, spans.len);
    hd_pb_end(out, list);
    hd_pb_end(out, all);
}

/* ---- the collector's answer ---- */

static bool read_varint(hd_str *in, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && in->len; shift += 7) {
        uint8_t byte = (uint8_t)*in->data++;
        in->len--;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

/* The next field: a number, or a view.  False at the end, and for what can't be read. */
static bool read_field(hd_str *in, uint32_t *field, uint64_t *number, hd_str *bytes)
{
    uint64_t tag;
    size_t fixed = 0;
    *number = 0;
    *bytes = (hd_str){NULL, 0};
    if (!in->len || !read_varint(in, &tag)) return false;
    *field = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case 0: return read_varint(in, number);
    case 1: fixed = 8; break;
    case 5: fixed = 4; break;
    case 2:
        if (!read_varint(in, number) || *number > in->len) return false;
        *bytes = (hd_str){in->data, (size_t)*number};
        fixed = bytes->len;
        break;
    default: return false;
    }
    if (fixed > in->len) return false;
    in->data += fixed;
    in->len -= fixed;
    return true;
}

uint64_t hd_otlp_read_rejected(hd_str response)
{
    uint32_t field;
    uint64_t number, rejected = 0;
    hd_str partial, view;
    while (read_field(&response, &field, &number, &partial)) {
        if (field != RESPONSE_PARTIAL || !partial.data) continue;
        while (read_field(&partial, &field, &number, &view))
            if (field == PARTIAL_REJECTED && !view.data) rejected = number;
    }
    return rejected;
}
