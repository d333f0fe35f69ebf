/* base/reader.c: see reader.h. */
#include "base/reader.h"

void hd_reader_init(hd_reader *r, const void *data, size_t len)
{
    static const uint8_t nothing[1]; /* so that an empty read of NULL gives a valid pointer, not a failure */
    *r = (hd_reader){.data = data ? data : nothing, .len = data ? len : 0};
}

size_t hd_reader_left(const hd_reader *r)
{
    return r->len - r->pos;
}

const uint8_t *hd_read_bytes(hd_reader *r, uint64_t len)
{
    if (r->failed || len > r->len - r->pos) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->pos;
    r->pos += (size_t)len;
    return p;
}

static uint64_t read_le(hd_reader *r, unsigned bytes)
{
    const uint8_t *p = hd_read_bytes(r, bytes);
    uint64_t v = 0;
    for (unsigned i = 0; p && i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t hd_read_u8(hd_reader *r)
{
    return (uint8_t)read_le(r, 1);
}

uint16_t hd_read_u16(hd_reader *r)
{
    return (uint16_t)read_le(r, 2);
}

uint32_t hd_read_u32(hd_reader *r)
{
    return (uint32_t)read_le(r, 4);
}

uint64_t hd_read_u64(hd_reader *r)
{
    return read_le(r, 8);
}
