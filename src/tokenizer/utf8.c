/* utf8.c: see utf8.h. */
#include "tokenizer/utf8.h"

/* How a lead byte goes on: how many bytes follow, and the range of the first of them (the others are 80..BF). */
typedef struct lead {
    int follow;
    uint8_t low, high;
} lead;

static lead lead_of(uint8_t b)
{
    if (b < 0xC2 || b > 0xF4) return (lead){0, 0, 0};
    if (b < 0xE0) return (lead){1, 0x80, 0xBF};
    if (b == 0xE0) return (lead){2, 0xA0, 0xBF};
    if (b == 0xED) return (lead){2, 0x80, 0x9F};
    if (b < 0xF0) return (lead){2, 0x80, 0xBF};
    if (b == 0xF0) return (lead){3, 0x90, 0xBF};
    if (b == 0xF4) return (lead){3, 0x80, 0x8F};
    return (lead){3, 0x80, 0xBF};
}

int hd_utf8_step(const uint8_t *text, size_t len, uint32_t *cp)
{
    if (text[0] < 0x80) {
        *cp = text[0];
        return 1;
    }
    lead l = lead_of(text[0]);
    if (l.follow == 0) return -1;
    uint32_t value = text[0] & (0x3Fu >> l.follow);
    for (int i = 1; i <= l.follow; i++) {
        if ((size_t)i == len) return 0;
        uint8_t low = i == 1 ? l.low : 0x80, high = i == 1 ? l.high : 0xBF;
        if (text[i] < low || text[i] > high) return -i;
        value = value << 6 | (text[i] & 0x3Fu);
    }
    *cp = value;
    return l.follow + 1;
}

int hd_utf8_put(uint8_t out[4], uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    int follow = cp < 0x800 ? 1 : cp < 0x10000 ? 2 : 3;
    for (int i = follow; i > 0; i--, cp >>= 6)
        out[i] = (uint8_t)(0x80 | (cp & 0x3F));
    out[0] = (uint8_t)(0xFF00u >> (follow + 1) | cp);
    return follow + 1;
}
