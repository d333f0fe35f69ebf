/* ops/protobuf.c: see protobuf.h. */
#include "ops/protobuf.h"

#include <string.h>

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* wire types */

#define VARINT_MAX 10 /* bytes of 64 bits by sevens */

static size_t encode(uint8_t out[VARINT_MAX], uint64_t value)
{
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

static void put_number(hd_buf *out, uint64_t value)
{
    uint8_t bytes[VARINT_MAX];
    (void)hd_buf_append(out, bytes, encode(bytes, value));
}

static void put_tag(hd_buf *out, uint32_t field, unsigned type)
{
    put_number(out, (uint64_t)field << 3 | type);
}

/* Little-endian, whatever the machine is. */
static void put_fixed(hd_buf *out, uint64_t value, size_t bytes)
{
    uint8_t little[8];
    for (size_t i = 0; i < bytes; i++)
        little[i] = (uint8_t)(value >> 8 * i);
    (void)hd_buf_append(out, little, bytes);
}

void hd_pb_varint(hd_buf *out, uint32_t field, uint64_t value)
{
    put_tag(out, field, VARINT);
    put_number(out, value);
}

void hd_pb_fixed64(hd_buf *out, uint32_t field, uint64_t value)
{
    put_tag(out, field, FIXED64);
    put_fixed(out, value, 8);
}

void hd_pb_fixed32(hd_buf *out, uint32_t field, uint32_t value)
{
    put_tag(out, field, FIXED32);
    put_fixed(out, value, 4);
}

void hd_pb_double(hd_buf *out, uint32_t field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    hd_pb_fixed64(out, field, bits);
}

void hd_pb_bytes(hd_buf *out, uint32_t field, const void *data, size_t len)
{
    put_tag(out, field, BYTES);
    put_number(out, len);
    if (len) (void)hd_buf_append(out, data, len);
}

void hd_pb_text(hd_buf *out, uint32_t field, const char *data, size_t len)
{
    put_tag(out, field, BYTES);
    put_number(out, len);
    for (size_t i = 0; i < len;) {
        size_t run = 0, n; /* valid characters in a row */
        while (i + run < len && (n = hd_text_character(data + i + run, len - i - run)) > 0)
            run += n;
        if (run) (void)hd_buf_append(out, data + i, run);
        i += run;
        if (i < len) {
            (void)hd_buf_putc(out, '?');
            i++;
        }
    }
}

void hd_pb_string(hd_buf *out, uint32_t field, const char *text)
{
    hd_pb_text(out, field, text, strlen(text));
}

size_t hd_pb_begin(hd_buf *out, uint32_t field)
{
    put_tag(out, field, BYTES);
    return out->len;
}

/* The length stands before what it counts, so that is moved: messages inside each other are short. */
void hd_pb_end(hd_buf *out, size_t mark)
{
    uint8_t length[VARINT_MAX];
    size_t content = out->len - mark, n = encode(length, content);
    if (out->status != HD_OK || hd_buf_append(out, length, n) != HD_OK) return;
    memmove(out->data + mark + n, out->data + mark, content);
    memcpy(out->data + mark, length, n);
}
