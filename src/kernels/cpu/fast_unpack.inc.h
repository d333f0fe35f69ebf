/* kernels/cpu/fast_unpack.inc.h: from packed weights (pack.h) to what the loops take: the one place where types differ.
 *
 * A unit of a block is eight vectors of codes, a scale for each 32 or 16 columns and, where the type has them, minima:
 * a weight is scale * (code - offset) + minimum.  `type` is a constant wherever these functions are inlined, so every
 * branch on it is gone. */

typedef struct form {
    int bits;   /* of a code */
    int units;  /* of a super */
    int groups; /* scales of a unit: 1 or 2 */
    bool has_min;
    bool wide; /* codes of 8 bits plus HD_WIDE_BIAS (vi_dot4_wide) */
    int offset;
    const int8_t *table; /* values of the codes, plus offset; NULL: codes are values */
    float factor;        /* of d */
} form;

/* Looked-up values are raised by this much, to be bytes 0..127; those of IQ4, which need 8 bits, by HD_WIDE_BIAS. */
#define TABLE_OFFSET 64

static const int8_t table_iq4[16] = HD_TABLE_IQ4(HD_WIDE_BIAS), table_mxfp4[16] = HD_TABLE_MXFP4(TABLE_OFFSET),
                    table_iq3_xxs[16] = HD_TABLE_IQ3_XXS(TABLE_OFFSET), table_iq3_s[16] = HD_TABLE_IQ3_S(TABLE_OFFSET),
                    table_iq2[16] = HD_TABLE_IQ2(TABLE_OFFSET), table_iq1[16] = HD_TABLE_IQ1(TABLE_OFFSET);

HD_INLINE form form_of(const hd_type type)
{
    switch (type) {
    case HD_TYPE_Q4_0: return (form){4, 1, 1, false, false, 8, NULL, 1.0f};
    case HD_TYPE_Q4_1: return (form){4, 1, 1, true, false, 0, NULL, 1.0f};
    case HD_TYPE_Q5_0: return (form){5, 1, 1, false, false, 16, NULL, 1.0f};
    case HD_TYPE_Q5_1: return (form){5, 1, 1, true, false, 0, NULL, 1.0f};
    case HD_TYPE_I8: /* its row's scale comes last: scale_rows_by */
    case HD_TYPE_Q8_0: return (form){8, 1, 1, false, true, HD_WIDE_BIAS, NULL, 1.0f};
    case HD_TYPE_IQ4_NL: return (form){4, 1, 1, false, true, HD_WIDE_BIAS, table_iq4, 1.0f};
    case HD_TYPE_MXFP4: return (form){4, 1, 1, false, false, TABLE_OFFSET, table_mxfp4, 1.0f};
    case HD_TYPE_Q2_K: return (form){2, 8, 2, true, false, 0, NULL, 1.0f};
    case HD_TYPE_Q3_K: return (form){3, 8, 2, false, false, 4, NULL, 1.0f};
    case HD_TYPE_Q4_K: return (form){4, 8, 1, true, false, 0, NULL, 1.0f};
    case HD_TYPE_Q5_K: return (form){5, 8, 1, true, false, 0, NULL, 1.0f};
    case HD_TYPE_Q6_K: return (form){6, 8, 2, false, false, 32, NULL, 1.0f};
    case HD_TYPE_IQ4_XS: return (form){4, 8, 1, false, true, HD_WIDE_BIAS, table_iq4, 1.0f};
    case HD_TYPE_IQ3_XXS: return (form){4, 8, 1, false, false, TABLE_OFFSET, table_iq3_xxs, 0.25f};
    case HD_TYPE_IQ3_S: return (form){4, 8, 1, false, false, TABLE_OFFSET, table_iq3_s, 1.0f};
    case HD_TYPE_IQ2_XXS: return (form){3, 8, 1, false, false, TABLE_OFFSET, table_iq2, 0.125f};
    case HD_TYPE_IQ2_XS:
    case HD_TYPE_IQ2_S: return (form){3, 8, 2, false, false, TABLE_OFFSET, table_iq2, 0.125f};
    case HD_TYPE_IQ1_S: return (form){3, 8, 1, false, false, TABLE_OFFSET, table_iq1, 0.125f};
    case HD_TYPE_IQ1_M: return (form){3, 8, 2, false, false, TABLE_OFFSET, table_iq1, 0.125f};
    default: return (form){2, 8, 1, false, false, 1, NULL, 1.0f}; /* TQ1_0, TQ2_0 */
    }
}

typedef struct unit {
    vi code[8];          /* vector j: columns 4j..4j+3 of each row */
    vf scale[2], min[2]; /* of columns 0..15 and 16..31; the first only with one group */
} unit;

/* What the units of a super share. */
typedef struct super_head {
    vf d, dmin;
    const uint8_t *bytes; /* [..][R] scales within the super */
    uint8_t unpacked[16 * HD_LANES];
} super_head;

/* Sixteen 6-bit numbers a row, which lie in twelve bytes a row. */
HD_INLINE void six_bits(const uint8_t *at, uint8_t *out)
{
    vi a = vi_load(at), b = vi_load(at + 4 * HD_LANES), c = vi_load(at + 8 * HD_LANES);
    vi low = vi_splat(0x3f3f3f3f), top = vi_splat(0x03030303);
    vi parts[4] = {a & low, b & low, c & low, (a >> 6 & top) | (b >> 6 & top) << 2 | (c >> 6 & top) << 4};
    memcpy(out, parts, sizeof parts);
}

HD_INLINE void load_head(const hd_type type, const uint8_t *at, super_head *h)
{
    const form f = form_of(type);
    h->bytes = at;
    if (type == HD_TYPE_MXFP4) { /* 2^(e-128): doubled codes; below 2^-126 it is 0, and 255 is no number */
        vi e = vi_u8(at);
        h->d = (vf)(((e > 1) & (e - 1) << 23) | (e == 255));
        return;
    }
    if (type == HD_TYPE_I8) {
        h->d = vf_splat(1.0f);
        return;
    }
    h->d = vf_f16(at);
    if (f.factor != 1.0f) h->d *= f.factor;
    at += 2 * HD_LANES;
    if (f.has_min) {
        h->dmin = vf_f16(at);
        at += 2 * HD_LANES;
    }
    h->bytes = at;
    if (type == HD_TYPE_Q4_K || type == HD_TYPE_Q5_K || type == HD_TYPE_Q3_K) {
        six_bits(at, h->unpacked);
        h->bytes = h->unpacked;
    }
}

/* Scales and minima of unit u of the super. */
HD_INLINE void load_scales(const hd_type type, const super_head *h, int u, unit *out)
{
    const uint8_t *one = h->bytes + u * HD_LANES, *two = h->bytes + 2 * u * HD_LANES;
    switch (type) {
    case HD_TYPE_Q4_K:
    case HD_TYPE_Q5_K:
        out->scale[0] = h->d * vf_of_int(vi_u8(one));
        out->min[0] = -h->dmin * vf_of_int(vi_u8(one + 8 * HD_LANES));
        break;
    case HD_TYPE_Q6_K:
        for (int g = 0; g < 2; g++)
            out->scale[g] = h->d * vf_of_int(vi_i8(two + g * HD_LANES));
        break;
    case HD_TYPE_Q3_K:
        for (int g = 0; g < 2; g++)
            out->scale[g] = h->d * vf_of_int(vi_u8(two + g * HD_LANES) - 32);
        break;
    case HD_TYPE_Q2_K:
        for (int g = 0; g < 2; g++) {
            vi both = vi_u8(two + g * HD_LANES);
            out->scale[g] = h->d * vf_of_int(both & 15);
            out->min[g] = -h->dmin * vf_of_int(both >> 4);
        }
        break;
    case HD_TYPE_IQ4_XS:
    case HD_TYPE_IQ3_XXS:
    case HD_TYPE_IQ3_S:
    case HD_TYPE_IQ2_XXS:
    case HD_TYPE_IQ1_S: out->scale[0] = h->d * vf_of_int(vi_i8(one)); break;
    case HD_TYPE_IQ2_XS:
    case HD_TYPE_IQ2_S:
    case HD_TYPE_IQ1_M:
        for (int g = 0; g < 2; g++)
            out->scale[g] = h->d * vf_of_int(vi_i8(two + g * HD_LANES));
        break;
    default: /* one unit is one super, or one scale serves all */ out->scale[0] = h->d; out->min[0] = h->dmin;
    }
}

/* bits [from, from + width) of each byte, at bit `to`. */
HD_INLINE vi byte_bits(vi v, int from, int width, int to)
{
    int mask = ((1 << width) - 1) << to;
    vi moved = from > to ? (vi)((vu)v >> (from - to)) : v << (to - from);
    return moved & vi_splat(mask * 0x01010101);
}

HD_INLINE void load_codes(const hd_type type, const uint8_t *at, vi *code)
{
    const form f = form_of(type);
    const int step = HD_LANES * 4, rest = f.bits == 8 ? 0 : f.bits % 4;
    HD_UNROLL
    for (int j = 0; j < 8; j++) {
        const uint8_t *low = at, *high = at + (f.bits >= 4 ? 4 : 0) * step;
        vi c = {0};
        if (f.bits == 8) c = vi_load(at + j * step);
        if (f.bits >= 4 && f.bits < 8) c = byte_bits(vi_load(low + j % 4 * step), j / 4 * 4, 4, 0);
        if (rest >= 2) c |= byte_bits(vi_load(high + j % 2 * step), j / 2 * 2, 2, f.bits >= 4 ? 4 : 0);
        if (rest % 2 == 1) c |= byte_bits(vi_load(high + (rest == 3 ? 2 : 0) * step), j, 1, f.bits - 1);
        code[j] = f.table ? vi_look_up(f.table, c) : c;
    }
}
