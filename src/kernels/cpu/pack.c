/* kernels/cpu/pack.c: see pack.h.
 *
 * A tensor type is one function here: it takes one block row of a super apart into scales and codes; the rest is the
 * same for all.  The block layouts are those of tensor/quant*.c (docs/tensor.md). */
#include "kernels/cpu/pack.h"

#include <math.h>
#include <string.h>

#include "tensor/quant.h"

/* Bytes are handled eight at a time, in words of 64 bits; every supported machine is little-endian. */
#define EACH_BYTE(b) (0x0101010101010101u * (b))

#define SUPER_COLS 256 /* of the K, IQ and TQ types */

static uint16_t le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
    return le16(p) | (uint32_t)le16(p + 2) << 16;
}

/* One row of a super, taken apart. */
typedef struct piece {
    uint16_t half[2];
    uint8_t byte[16];
    uint8_t code[8][HD_UNIT];
} piece;

typedef struct pack_type {
    hd_type type;
    int bits, units, halves, bytes;
    void (*take)(const uint8_t *block, piece *out);
} pack_type;

/* ---- blocks of 32 ---- */

/* 16 bytes of nibbles: columns 0..15 in the low halves, 16..31 in the high ones. */
static void nibbles(const uint8_t *q, uint8_t *code)
{
    for (int i = 0; i < 16; i++) {
        code[i] = q[i] & 15;
        code[16 + i] = q[i] >> 4;
    }
}

/* Adds the fifth bits, one a column, to codes 0..15.  Eight at a time: byte i of `each` keeps bit i alone, which the
 * addition carries to the top of its byte. */
static void fifth_bits(const uint8_t *bits, uint8_t *code)
{
    for (int i = 0; i < HD_UNIT; i += 8) {
        uint64_t each = bits[i / 8] * EACH_BYTE(0x01) & 0x8040201008040201u, codes;
        memcpy(&codes, code + i, sizeof codes);
        codes |= (each + EACH_BYTE(0x7f)) >> 3 & EACH_BYTE(0x10);
        memcpy(code + i, &codes, sizeof codes);
    }
}

static void take_q4_0(const uint8_t *b, piece *out) /* and IQ4_NL */
{
    out->half[0] = le16(b);
    nibbles(b + 2, out->code[0]);
}

static void take_q4_1(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b);
    out->half[1] = le16(b + 2);
    nibbles(b + 4, out->code[0]);
}

static void take_q5_0(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b);
    nibbles(b + 6, out->code[0]);
    fifth_bits(b + 2, out->code[0]);
}

static void take_q5_1(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b);
    out->half[1] = le16(b + 2);
    nibbles(b + 8, out->code[0]);
    fifth_bits(b + 4, out->code[0]);
}

static void take_q8_0(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b);
    memcpy(out->code[0], b + 2, HD_UNIT);
}

static void take_i8(const uint8_t *b, piece *out)
{
    memcpy(out->code[0], b, HD_UNIT);
}

static void take_mxfp4(const uint8_t *b, piece *out)
{
    out->byte[0] = b[0];
    nibbles(b + 1, out->code[0]);
}

/* ---- K types ---- */

/* Two units share 32 bytes: the even one has the low halves. */
static void k_nibbles(const uint8_t *q, piece *out)
{
    for (int u = 0; u < 8; u++)
        for (int i = 0; i < HD_UNIT; i++)
            out->code[u][i] = u % 2 ? q[u / 2 * 32 + i] >> 4 : q[u / 2 * 32 + i] & 15;
}

/* Adds bit `u` of 32 bytes to the codes of unit u, as bit `at`. */
static void k_high_bits(const uint8_t *high, int at, piece *out)
{
    for (int u = 0; u < 8; u++)
        for (int i = 0; i < HD_UNIT; i++)
            out->code[u][i] = (uint8_t)(out->code[u][i] | (high[i] >> u & 1) << at);
}

/* Sixteen numbers of 6 bits in 12 bytes: numbers 0..11 in the low bits, 12..15 spread over the high ones, so that the
 * kernels unpack vectors of four. */
static void put_six_bits(const uint8_t *value, uint8_t *byte)
{
    for (int i = 0; i < 12; i++)
        byte[i] = (uint8_t)(value[i] | (value[12 + i % 4] >> (2 * (i / 4)) & 3) << 6);
}

/* The 6-bit scales and minima of Q4_K and Q5_K: 12 bytes, the upper bits of the last four spread. */
static void k_scales(const uint8_t *s, piece *out)
{
    uint8_t value[16];
    for (int i = 0; i < 4; i++) {
        value[i] = s[i] & 63;
        value[8 + i] = s[i + 4] & 63;
        value[4 + i] = (uint8_t)((s[i + 8] & 15) | (s[i] >> 6) << 4);
        value[12 + i] = (uint8_t)(s[i + 8] >> 4 | (s[i + 4] >> 6) << 4);
    }
    put_six_bits(value, out->byte);
}

static void take_q4_k(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b);
    out->half[1] = le16(b + 2);
    k_scales(b + 4, out);
    k_nibbles(b + 16, out);
}

static void take_q5_k(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b);
    out->half[1] = le16(b + 2);
    k_scales(b + 4, out);
    k_nibbles(b + 48, out);
    k_high_bits(b + 16, 4, out);
}

/* low[128], high[64], scales[16], d. */
static void take_q6_k(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b + 208);
    memcpy(out->byte, b + 192, 16);
    for (int u = 0; u < 8; u++) {
        const uint8_t *low = b + u / 4 * 64 + u % 2 * 32, *high = b + 128 + u / 4 * 32;
        for (int i = 0; i < HD_UNIT; i++) {
            int l = u % 4 < 2 ? low[i] & 15 : low[i] >> 4;
            out->code[u][i] = (uint8_t)(l | (high[i] >> (2 * (u % 4)) & 3) << 4);
        }
    }
}

static void two_bits(const uint8_t *q, piece *out)
{
    for (int u = 0; u < 8; u++)
        for (int i = 0; i < HD_UNIT; i++)
            out->code[u][i] = q[u / 4 * 32 + i] >> (2 * (u % 4)) & 3;
}

static void take_q2_k(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b + 80);
    out->half[1] = le16(b + 82);
    memcpy(out->byte, b, 16);
    two_bits(b + 16, out);
}

/* The 16 six-bit scales: low halves in bytes 0..7, upper pairs of bits in bytes 8..11. */
static void take_q3_k(const uint8_t *b, piece *out)
{
    const uint8_t *s = b + 96;
    uint8_t value[16];
    for (int i = 0; i < 16; i++)
        value[i] = (uint8_t)((i < 8 ? s[i] & 15 : s[i - 8] >> 4) | (s[8 + i % 4] >> (2 * (i / 4)) & 3) << 4);
    put_six_bits(value, out->byte);
    out->half[0] = le16(b + 108);
    two_bits(b + 32, out);
    k_high_bits(b, 2, out);
}

/* ---- IQ and TQ types ---- */

static void take_iq4_xs(const uint8_t *b, piece *out)
{
    out->half[0] = le16(b);
    for (int u = 0; u < 8; u++) {
        int high = (b[2] | b[3] << 8) >> (2 * u) & 3, low = b[4 + u / 2] >> (4 * (u % 2)) & 15;
        out->byte[u] = (uint8_t)((low | high << 4) - 32);
        nibbles(b + 8 + u * 16, out->code[u]);
    }
}

static const uint16_t one = 0x3c00; /* float16 */

/* What a type's decoder makes of a block whose d, the half at byte `d_at`, is 1: the code book written out, exactly. */
static void decode_with_d_one(const uint8_t *b, hd_type type, int d_at, float *values)
{
    uint8_t block[128]; /* the largest of these types has 110 bytes */
    memcpy(block, b, (size_t)hd_type_block_bytes(type));
    memcpy(block + d_at, &one, 2);
    (void)hd_decode_row(type, block, values, SUPER_COLS);
}

/* The codes of the types with a code book: `values`, decoded under d = 1 and divided by what the super's own scales
 * (already in `byte`, odd numbers below 32) make of them, are found in the table.  All of it is exact in float32. */
static void book_codes(const float *values, int group, float factor, const int8_t *table, piece *out)
{
    for (int i = 0; i < SUPER_COLS; i++) {
        int at = i / group;
        float value = values[i] / (factor * (float)out->byte[at]);
        uint8_t *code = &out->code[i / HD_UNIT][i % HD_UNIT];
        for (*code = 0; *code < 15 && (float)table[*code] != value;)
            ++*code;
    }
}

static const int8_t table_iq3_xxs[16] = HD_TABLE_IQ3_XXS(0), table_iq3_s[16] = HD_TABLE_IQ3_S(0),
                    table_iq2[16] = HD_TABLE_IQ2(0), table_iq1[16] = HD_TABLE_IQ1(0);

/* Types whose d comes first and whose scales are in `byte`. */
static void take_book(const uint8_t *b, hd_type type, int group, float factor, const int8_t *table, piece *out)
{
    float values[SUPER_COLS];
    out->half[0] = le16(b);
    decode_with_d_one(b, type, 0, values);
    book_codes(values, group, factor, table, out);
}

static void take_iq3_xxs(const uint8_t *b, piece *out)
{
    for (int g = 0; g < 8; g++)
        out->byte[g] = (uint8_t)(2 * (le32(b + 66 + 4 * g) >> 28) + 1);
    take_book(b, HD_TYPE_IQ3_XXS, 32, 0.25f, table_iq3_xxs, out);
}

/* `n` nibbles s of scales 2 s + 1. */
static void odd_scales(const uint8_t *nibble, int n, piece *out)
{
    for (int g = 0; g < n; g++)
        out->byte[g] = (uint8_t)(2 * (nibble[g / 2] >> (4 * (g % 2)) & 15) + 1);
}

static void take_iq3_s(const uint8_t *b, piece *out)
{
    odd_scales(b + 106, 8, out);
    take_book(b, HD_TYPE_IQ3_S, 32, 1.0f, table_iq3_s, out);
}

static void take_iq2_xxs(const uint8_t *b, piece *out)
{
    for (int g = 0; g < 8; g++)
        out->byte[g] = (uint8_t)(2 * (le32(b + 6 + 8 * g) >> 28) + 1);
    take_book(b, HD_TYPE_IQ2_XXS, 32, 0.125f, table_iq2, out);
}

static void take_iq2_xs(const uint8_t *b, piece *out)
{
    odd_scales(b + 66, 16, out);
    take_book(b, HD_TYPE_IQ2_XS, 16, 0.125f, table_iq2, out);
}

static void take_iq2_s(const uint8_t *b, piece *out)
{
    odd_scales(b + 74, 16, out);
    take_book(b, HD_TYPE_IQ2_S, 16, 0.125f, table_iq2, out);
}

static void take_iq1_s(const uint8_t *b, piece *out)
{
    for (int g = 0; g < 8; g++)
        out->byte[g] = (uint8_t)(2 * (le16(b + 34 + 2 * g) >> 12 & 7) + 1);
    take_book(b, HD_TYPE_IQ1_S, 32, 0.125f, table_iq1, out);
}

/* d lies in the top nibbles of the four words of scales, its lowest first. */
static void take_iq1_m(const uint8_t *b, piece *out)
{
    uint8_t block[56];
    float values[SUPER_COLS];
    memcpy(block, b, sizeof block);
    out->half[0] = 0;
    for (int w = 0; w < 4; w++) {
        unsigned word = le16(b + 48 + 2 * w);
        out->half[0] = (uint16_t)(out->half[0] | (word >> 12) << 4 * w);
        block[49 + 2 * w] = (uint8_t)((block[49 + 2 * w] & 15) | (one >> 4 * w & 15) << 4);
        for (int g = 0; g < 4; g++)
            out->byte[4 * w + g] = (uint8_t)(2 * (word >> 3 * g & 7) + 1);
    }
    (void)hd_decode_row(HD_TYPE_IQ1_M, block, values, SUPER_COLS);
    book_codes(values, 16, 0.125f, table_iq1, out);
}

/* Codes 0, 1, 2 of the ternary types, whose decoders give -1, 0, 1. */
static void ternary_codes(const uint8_t *b, hd_type type, int d_at, piece *out)
{
    float values[SUPER_COLS];
    out->half[0] = le16(b + d_at);
    decode_with_d_one(b, type, d_at, values);
    for (int i = 0; i < SUPER_COLS; i++)
        out->code[i / HD_UNIT][i % HD_UNIT] = (uint8_t)((int)values[i] + 1);
}

static void take_tq1_0(const uint8_t *b, piece *out)
{
    ternary_codes(b, HD_TYPE_TQ1_0, 52, out);
}

static void take_tq2_0(const uint8_t *b, piece *out)
{
    ternary_codes(b, HD_TYPE_TQ2_0, 64, out);
}

/* ---- packing ---- */

/* Type, bits of a code, units of a super, halves and bytes of its head (pack.h). */
static const pack_type types[] = {
    {HD_TYPE_Q4_0, 4, 1, 1, 0, take_q4_0},      {HD_TYPE_Q4_1, 4, 1, 2, 0, take_q4_1},
    {HD_TYPE_Q5_0, 5, 1, 1, 0, take_q5_0},      {HD_TYPE_Q5_1, 5, 1, 2, 0, take_q5_1},
    {HD_TYPE_Q8_0, 8, 1, 1, 0, take_q8_0},      {HD_TYPE_IQ4_NL, 4, 1, 1, 0, take_q4_0},
    {HD_TYPE_MXFP4, 4, 1, 0, 1, take_mxfp4},    {HD_TYPE_Q2_K, 2, 8, 2, 16, take_q2_k},
    {HD_TYPE_Q3_K, 3, 8, 1, 12, take_q3_k},     {HD_TYPE_Q4_K, 4, 8, 2, 12, take_q4_k},
    {HD_TYPE_Q5_K, 5, 8, 2, 12, take_q5_k},     {HD_TYPE_Q6_K, 6, 8, 1, 16, take_q6_k},
    {HD_TYPE_IQ4_XS, 4, 8, 1, 8, take_iq4_xs},  {HD_TYPE_IQ3_XXS, 4, 8, 1, 8, take_iq3_xxs},
    {HD_TYPE_IQ3_S, 4, 8, 1, 8, take_iq3_s},    {HD_TYPE_IQ2_XXS, 3, 8, 1, 8, take_iq2_xxs},
    {HD_TYPE_IQ2_XS, 3, 8, 1, 16, take_iq2_xs}, {HD_TYPE_IQ2_S, 3, 8, 1, 16, take_iq2_s},
    {HD_TYPE_IQ1_S, 3, 8, 1, 8, take_iq1_s},    {HD_TYPE_IQ1_M, 3, 8, 1, 16, take_iq1_m},
    {HD_TYPE_TQ1_0, 2, 8, 1, 0, take_tq1_0},    {HD_TYPE_TQ2_0, 2, 8, 1, 0, take_tq2_0},
    {HD_TYPE_I8, 8, 1, 0, 0, take_i8},
};

static const pack_type *type_of(const hd_matrix *m)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(types); i++)
        if (types[i].type == m->type) return &types[i];
    return NULL;
}

bool hd_pack_supported(const hd_matrix *m)
{
    bool whole_rows = !m->scale || (m->scale_rows == 1 && m->scale_cols >= m->cols);
    return m->cols % HD_UNIT == 0 && whole_rows && type_of(m) != NULL;
}

typedef struct pack_job {
    const hd_matrix *m;
    const pack_type *type;
    hd_packed *p;
    int bias; /* added to codes of 8 bits */
} pack_job;

/* The planes of 32 codes (pack.h), as `bits` words. */
static void put_planes(int bits, const uint8_t *c, int bias, uint8_t *plane)
{
    if (bits == 8) {
        for (int i = 0; i < HD_UNIT; i++)
            plane[i] = (uint8_t)(c[i] + bias);
        return;
    }
    uint64_t w[4]; /* eight codes each */
    memcpy(w, c, sizeof w);
    if (bits >= 4) {
        for (int i = 0; i < 2; i++) {
            uint64_t both = (w[i] & EACH_BYTE(15)) | (w[2 + i] & EACH_BYTE(15)) << 4;
            memcpy(plane + 8 * i, &both, sizeof both);
        }
        for (int i = 0; i < 4; i++)
            w[i] = w[i] >> 4 & EACH_BYTE(15);
        plane += 16;
    }
    if (bits % 4 >= 2) {
        uint64_t all = 0;
        for (int i = 0; i < 4; i++) {
            all |= (w[i] & EACH_BYTE(3)) << 2 * i;
            w[i] = w[i] >> 2 & EACH_BYTE(63);
        }
        memcpy(plane, &all, sizeof all);
        plane += 8;
    }
    if (bits % 2 == 0) return;
    uint32_t last = 0; /* bit k of byte b: code 4 k + b */
    for (int i = 0; i < 4; i++) {
        uint64_t ones = w[i] & EACH_BYTE(1);
        last |= (uint32_t)ones << 2 * i | (uint32_t)(ones >> 32) << (2 * i + 1);
    }
    memcpy(plane, &last, sizeof last);
}

/* Row `lane` of a super. */
static void put_piece(const pack_job *job, uint8_t *to, int lane, const piece *from)
{
    const pack_type *t = job->type;
    size_t lanes = (size_t)job->p->lanes;
    for (int i = 0; i < t->halves; i++)
        memcpy(to + ((size_t)i * lanes + (size_t)lane) * 2, &from->half[i], 2);
    to += (size_t)t->halves * lanes * 2;
    for (int i = 0; i < t->bytes; i++)
        to[(size_t)i * lanes + (size_t)lane] = from->byte[i];
    to += (size_t)t->bytes * lanes;
    for (int u = 0; u < t->units; u++, to += job->p->unit_bytes) {
        uint8_t plane[HD_UNIT];
        put_planes(t->bits, from->code[u], job->bias, plane);
        for (int w = 0; w < t->bits; w++)
            memcpy(to + ((size_t)w * lanes + (size_t)lane) * 4, plane + 4 * w, 4);
    }
}

static void pack_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
    const pack_job *job = arg;
    const hd_packed *p = job->p;
    int blocks = job->type->units * HD_UNIT / hd_type_block(job->m->type); /* of a super: one, or 32 values of I8 */
    size_t bytes = (size_t)blocks * (size_t)hd_type_block_bytes(job->m->type);
    (void)thread;
    for (int64_t block = begin; block < end; block++) {
        int64_t rows = HD_MIN(p->lanes, job->m->rows - block * p->lanes);
        uint8_t *to = p->data + (size_t)block * p->block_bytes;
        if (rows < p->lanes) memset(to, 0, p->block_bytes);
        for (int64_t s = 0; s < p->supers; s++, to += p->super_bytes)
            for (int64_t r = 0; r < rows; r++) {
                const uint8_t *row = job->m->data + (size_t)(block * p->lanes + r) * job->m->row_bytes;
                piece one_row;
                job->type->take(row + (size_t)s * bytes, &one_row);
                put_piece(job, to, (int)r, &one_row);
            }
    }
}

/* Without data. */
static hd_packed layout_of(const hd_matrix *m, const pack_type *t, int lanes)
{
    hd_packed p = {.type = m->type,
                   .lanes = lanes,
                   .units = m->cols / HD_UNIT,
                   .supers = m->cols / HD_UNIT / t->units,
                   .blocks = (m->rows + lanes - 1) / lanes};
    p.head_bytes = (size_t)lanes * (size_t)(2 * t->halves + t->bytes);
    p.unit_bytes = (size_t)lanes * (size_t)t->bits * 4;
    p.super_bytes = p.head_bytes + p.unit_bytes * (size_t)t->units;
    p.block_bytes = p.super_bytes * (size_t)p.supers;
    return p;
}

size_t hd_pack_bytes(const hd_matrix *m, int lanes)
{
    if (!hd_pack_supported(m)) return 0;
    hd_packed p = layout_of(m, type_of(m), lanes);
    return sizeof p + p.block_bytes * (size_t)p.blocks;
}

hd_status hd_pack(hd_pool *pool, hd_matrix *m, int lanes, int bias)
{
    const pack_type *t = type_of(m);
    hd_packed *p = hd_calloc(1, sizeof *p);
    if (!p) return HD_E_MEMORY;
    *p = layout_of(m, t, lanes);
    p->data = hd_bulk_alloc(p->block_bytes * (size_t)p->blocks);
    m->packed = p;
    m->layout = lanes;
    m->packed_bytes = sizeof *p + p->block_bytes * (size_t)p->blocks;
    if (!p->data) {
        hd_unpack_free(m);
        return HD_E_MEMORY;
    }
    pack_job job = {.m = m, .type = t, .p = p, .bias = t->bits == 8 ? bias : 0};
    hd_pool_for(pool, p->blocks, 4, pack_blocks, &job);
    return HD_OK;
}

void hd_unpack_free(hd_matrix *m)
{
    hd_packed *p = m->packed;
    if (!p) return;
    hd_bulk_free(p->data, p->block_bytes * (size_t)p->blocks);
    hd_free(p);
    m->packed = NULL;
    m->layout = 0;
    m->packed_bytes = 0;
}
