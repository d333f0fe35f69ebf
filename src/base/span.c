/* base/span.c: see span.h. */
#include "base/span.h"

#include <string.h>
#include <sys/random.h>

#include "base/base.h"

/* ---- traceparent ---- */

/* Lower case only, as the standard has it; -1 for everything else. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(uint8_t *out, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    uint8_t all = 0;
    for (size_t i = 0; i < len; i++)
        all |= bytes[i];
    return all == 0;
}

bool hd_trace_parent_read(hd_trace_parent *out, hd_str value)
{
    /* version "-" trace-id "-" parent-id "-" trace-flags */
    enum { ID = 3, SPAN = ID + 2 * HD_TRACE_ID + 1, FLAGS = SPAN + 2 * HD_SPAN_ID + 1, END = FLAGS + 2 };
    uint8_t version;
    hd_trace_parent p;
    const char *t = value.data;
    if (value.len < END || !read_hex(&version, t, 1) || version == 0xff) return false;
    if (version == 0 ? value.len != END : value.len > END && t[END] != '-')
        return false; /* later ones may add fields */
    if (t[ID - 1] != '-' || t[SPAN - 1] != '-' || t[FLAGS - 1] != '-') return false;
    if (!read_hex(p.trace_id, t + ID, HD_TRACE_ID) || !read_hex(p.span_id, t + SPAN, HD_SPAN_ID)) return false;
    if (!read_hex(&p.flags, t + FLAGS, 1)) return false;
    if (is_zero(p.trace_id, HD_TRACE_ID) || is_zero(p.span_id, HD_SPAN_ID)) return false;
    *out = p;
    return true;
}

/* ---- sampling ---- */

bool hd_sampler_takes(const hd_sampler *sampler, const hd_trace_parent *parent, const uint8_t trace_id[HD_TRACE_ID])
{
    const double two_to_64 = 18446744073709551616.0;
    uint64_t low = 0;
    if (parent && sampler->follows_parent) return parent->flags & HD_TRACE_SAMPLED;
    if (!(sampler->ratio > 0)) return false;
    if (sampler->ratio >= 1) return true;
    for (size_t i = HD_TRACE_ID - 8; i < HD_TRACE_ID; i++)
        low = low << 8 | trace_id[i];
    double bound = sampler->ratio * two_to_64;
    return bound >= two_to_64 || low < (uint64_t)bound;
}

void hd_trace_random(uint8_t *id, size_t len)
{
    if (getrandom(id, len, 0) != (ssize_t)len) { /* early at boot: the clock will do, it is only a name */
        uint64_t now = hd_clock_ns();
        for (size_t i = 0; i < len; i++)
            id[i] = (uint8_t)(now >> 8 * (i % 8)) ^ (uint8_t)i;
    }
    if (is_zero(id, len)) id[0] = 1;
}

void hd_trace_hex(char *out, const uint8_t *id, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[id[i] >> 4];
        out[2 * i + 1] = digits[id[i] & 15];
    }
    out[2 * len] = '\0';
}
