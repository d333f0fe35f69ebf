/* ops/protobuf.h: messages of Protocol Buffers, written: as much of the encoding as OTLP needs.
 *
 * All append to a buffer with a cap, whose error sticks (base/buf.h): a writer checks once at its end.  A message
 * inside a message is what stands between begin and end.  Fields that are zero or empty are written all the same.
 *
 * Source: "Encoding" of the Protocol Buffers documentation.  Not thread-safe on one buffer.
 */
#ifndef HD_OPS_PROTOBUF_H
#define HD_OPS_PROTOBUF_H

#include "base/base.h"

void hd_pb_varint(hd_buf *out, uint32_t field, uint64_t value); /* int64 as two's complement, enums, booleans */
void hd_pb_fixed64(hd_buf *out, uint32_t field, uint64_t value);
void hd_pb_fixed32(hd_buf *out, uint32_t field, uint32_t value);
void hd_pb_double(hd_buf *out, uint32_t field, double value);
void hd_pb_bytes(hd_buf *out, uint32_t field, const void *data, size_t len);

/* A string, which must be UTF-8: each byte that is not becomes '?'. */
void hd_pb_text(hd_buf *out, uint32_t field, const char *data, size_t len);
void hd_pb_string(hd_buf *out, uint32_t field, const char *text);

/* The mark goes to the end of the same message. */
size_t hd_pb_begin(hd_buf *out, uint32_t field);
void hd_pb_end(hd_buf *out, size_t mark);

#endif
