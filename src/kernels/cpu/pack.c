/* kernels/cpu/pack.c: see pack.h.
 *
 * A tensor type is one function here: it takes 32 columns of a row apart into codes, scales and minima; the fast
 * kernels know only the packed form.  The block layouts are those of tensor/quant*.c. */
#include "kernels/cpu/pack.h"

#include <math.h>
#include <string.h>

#include "tensor/quant.h"

/* 32 columns of one row. */
typedef struct unit {
    int8_t code[HD_UNIT];
    float scale[2], min[2]; /* of columns 0..15 and 16..31; both alike for groups of 32 */
} unit;

typedef struct pack_type {
    hd_type type;
    int bits, group;
    bool has_min;
    int offset; /* of 4-bit codes; 8-bit codes are signed */
    void (*unit_of)(const uint8_t *row, int64_t u, unit *out);
} pack_type;

static float f16_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return hd_f16_to_f32(h);
}

static void set_scales(unit *out, float scale, float min)
{
    out->scale[0] = out->scale[1] = scale;
    out->min[0] = out->min[1] = min;
}

/* 16 bytes of nibbles: columns 0..15 in the low halves, 16..31 in the high ones. */
static void nibbles(const uint8_t *q, unit *out)
{
    for (int i = 0; i < 16; i++) {
        out->code[i] = (int8_t)(q[i] & 15);
        out->code[16 + i] = (int8_t)(q[i] >> 4);
    }
}

static void unit_q4_0(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u * 18;
    set_scales(out, f16_at(b), 0.0f);
    nibbles(b + 2, out);
}

static void unit_q4_1(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u * 20;
    set_scales(out, f16_at(b), f16_at(b + 2));
    nibbles(b + 4, out);
}

/* Adds the fifth bits, one a column, to codes 0..15. */
static void fifth_bits(const uint8_t *bits, unit *out)
{
    for (int i = 0; i < HD_UNIT; i++)
        out->code[i] = (int8_t)(out->code[i] | (bits[i / 8] >> (i % 8) & 1) << 4);
}

static void unit_q5_0(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u * 22;
    set_scales(out, f16_at(b), 0.0f);
    nibbles(b + 6, out);
    fifth_bits(b + 2, out);
    for (int i = 0; i < HD_UNIT; i++)
        out->code[i] = (int8_t)(out->code[i] - 16);
}

static void unit_q5_1(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u * 24;
    set_scales(out, f16_at(b), f16_at(b + 2));
    nibbles(b + 8, out);
    fifth_bits(b + 4, out);
}

static void unit_q8_0(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u * 34;
    set_scales(out, f16_at(b), 0.0f);
    memcpy(out->code, b + 2, HD_UNIT);
}

/* The 6-bit scale and minimum of sub-block `i` of Q4_K and Q5_K: 12 bytes, the upper bits of the last four spread. */
static void k_scale_min(const uint8_t *s, int i, int *scale, int *min)
{
    if (i < 4) {
        *scale = s[i] & 63;
        *min = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | (s[i - 4] >> 6) << 4;
        *min = s[i + 4] >> 4 | (s[i] >> 6) << 4;
    }
}

/* Two sub-blocks share 32 bytes: the even one has the low halves. */
static void k_nibbles(const uint8_t *q, int sub, unit *out)
{
    const uint8_t *from = q + sub / 2 * 32;
    for (int i = 0; i < HD_UNIT; i++)
        out->code[i] = (int8_t)(sub % 2 ? from[i] >> 4 : from[i] & 15);
}

static void unit_q4_k(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u / 8 * 144;
    int scale, min, sub = (int)(u % 8);
    k_scale_min(b + 4, sub, &scale, &min);
    set_scales(out, f16_at(b) * (float)scale, -f16_at(b + 2) * (float)min);
    k_nibbles(b + 16, sub, out);
}

static void unit_q5_k(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u / 8 * 176, *high = b + 16;
    int scale, min, sub = (int)(u % 8);
    k_scale_min(b + 4, sub, &scale, &min);
    set_scales(out, f16_at(b) * (float)scale, -f16_at(b + 2) * (float)min);
    k_nibbles(b + 48, sub, out);
    for (int i = 0; i < HD_UNIT; i++)
        out->code[i] = (int8_t)(out->code[i] | (high[i] >> sub & 1) << 4);
}

static void unit_q6_k(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u / 8 * 210;
    int half = (int)(u % 8) / 4, quarter = (int)(u % 4);
    const uint8_t *low = b + half * 64 + quarter % 2 * 32, *high = b + 128 + half * 32;
    float d = f16_at(b + 208);
    for (int i = 0; i < HD_UNIT; i++) {
        int l = quarter < 2 ? low[i] & 15 : low[i] >> 4;
        out->code[i] = (int8_t)((l | (high[i] >> (2 * quarter) & 3) << 4) - 32);
    }
    for (int g = 0; g < 2; g++) {
        out->scale[g] = d * (float)(int8_t)b[192 + u % 8 * 2 + g];
        out->min[g] = 0.0f;
    }
}

static void unit_q2_k(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u / 8 * 84;
    int sub = (int)(u % 8);
    const uint8_t *q = b + 16 + sub / 4 * 32;
    for (int i = 0; i < HD_UNIT; i++)
        out->code[i] = (int8_t)(q[i] >> (2 * (sub % 4)) & 3);
    for (int g = 0; g < 2; g++) {
        uint8_t s = b[sub * 2 + g];
        out->scale[g] = f16_at(b + 80) * (float)(s & 15);
        out->min[g] = -f16_at(b + 82) * (float)(s >> 4);
    }
}

/* The 16 six-bit scales of Q3_K: low halves in bytes 0..7, upper pairs of bits in bytes 8..11. */
static int q3_scale(const uint8_t *s, int i)
{
    int low = i < 8 ? s[i] & 15 : s[i - 8] >> 4;
    return (low | (s[8 + i % 4] >> (2 * (i / 4)) & 3) << 4) - 32;
}

static void unit_q3_k(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u / 8 * 110;
    int sub = (int)(u % 8);
    const uint8_t *q = b + 32 + sub / 4 * 32;
    for (int i = 0; i < HD_UNIT; i++) {
        int low = q[i] >> (2 * (sub % 4)) & 3;
        out->code[i] = (int8_t)(low - (b[i] >> sub & 1 ? 0 : 4)); /* a clear high bit takes 4 off */
    }
    for (int g = 0; g < 2; g++) {
        out->scale[g] = f16_at(b + 108) * (float)q3_scale(b + 96, sub * 2 + g);
        out->min[g] = 0.0f;
    }
}

/* The 16 values of the non-linear 4-bit types. */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void look_up(const int8_t *values, unit *out)
{
    for (int i = 0; i < HD_UNIT; i++)
        out->code[i] = values[out->code[i]];
}

static void unit_iq4_nl(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u * 18;
    set_scales(out, f16_at(b), 0.0f);
    nibbles(b + 2, out);
    look_up(iq4_values, out);
}

static void unit_iq4_xs(const uint8_t *row, int64_t u, unit *out)
{
    const uint8_t *b = row + u / 8 * 136;
    int sub = (int)(u % 8), high = (b[2] | b[3] << 8) >> (2 * sub) & 3;
    int low = b[4 + sub / 2] >> (4 * (sub % 2)) & 15;
    set_scales(out, f16_at(b) * (float)((low | high << 4) - 32), 0.0f);
    nibbles(b + 8 + sub * 16, out);
    look_up(iq4_values, out);
}

/* E2M1 values doubled, so that they are whole; the scale is halved. */
static void unit_mxfp4(const uint8_t *row, int64_t u, unit *out)
{
    static const int8_t doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    const uint8_t *b = row + u * 17;
    set_scales(out, hd_e8m0_to_f32(b[0]) * 0.5f, 0.0f);
    nibbles(b + 1, out);
    look_up(doubled, out);
}

static const pack_type types[] = {
    {HD_TYPE_Q4_0, 4, 32, false, 8, unit_q4_0},     {HD_TYPE_Q4_1, 4, 32, true, 0, unit_q4_1},
    {HD_TYPE_Q4_K, 4, 32, true, 0, unit_q4_k},      {HD_TYPE_Q5_0, 8, 32, false, 0, unit_q5_0},
    {HD_TYPE_Q5_1, 8, 32, true, 0, unit_q5_1},      {HD_TYPE_Q5_K, 8, 32, true, 0, unit_q5_k},
    {HD_TYPE_Q8_0, 8, 32, false, 0, unit_q8_0},     {HD_TYPE_Q6_K, 8, 16, false, 0, unit_q6_k},
    {HD_TYPE_Q2_K, 8, 16, true, 0, unit_q2_k},      {HD_TYPE_Q3_K, 8, 16, false, 0, unit_q3_k},
    {HD_TYPE_IQ4_NL, 8, 32, false, 0, unit_iq4_nl}, {HD_TYPE_IQ4_XS, 8, 32, false, 0, unit_iq4_xs},
    {HD_TYPE_MXFP4, 8, 32, false, 0, unit_mxfp4},
};

static const pack_type *type_of(const hd_matrix *m)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(types); i++)
        if (types[i].type == m->type) return &types[i];
    return NULL;
}

bool hd_pack_supported(const hd_matrix *m)
{
    return m->cols % HD_UNIT == 0 && type_of(m) != NULL;
}

typedef struct pack_job {
    const hd_matrix *m;
    const pack_type *type;
    hd_packed *p;
    int bias;    /* added to 8-bit codes */
    unit *units; /* [threads][units] a row taken apart */
} pack_job;

/* The power of two next above the largest magnitude, so that float16 keeps all 11 bits of the large scales. */
static float row_scale_of(const unit *units, int64_t count)
{
    float most = 0.0f;
    for (int64_t i = 0; i < count; i++)
        for (int g = 0; g < 2; g++) {
            float scale = fabsf(units[i].scale[g]), min = fabsf(units[i].min[g]);
            if (scale > most) most = scale;
            if (min > most) most = min;
        }
    int exponent;
    if (!(most > 0.0f) || !isfinite(most)) return 1.0f;
    frexpf(most, &exponent);
    return ldexpf(1.0f, HD_MIN(HD_MAX(exponent, -120), 126)); /* its inverse is a normal number */
}

static void put_f16(uint8_t *at, float value)
{
    uint16_t h = hd_f32_to_f16(value);
    memcpy(at, &h, sizeof h);
}

/* Writes one row's part of a unit. */
static void put_unit(const pack_job *job, uint8_t *to, int lane, const unit *u, float inverse)
{
    const hd_packed *p = job->p;
    int groups = HD_UNIT / p->group, lanes = p->lanes;
    for (int g = 0; g < groups; g++) {
        put_f16(to + 2 * (g * lanes + lane), u->scale[g] * inverse);
        if (p->has_min) put_f16(to + 2 * ((groups + g) * lanes + lane), u->min[g] * inverse);
    }
    uint8_t *codes = to + (p->has_min ? 4 : 2) * groups * lanes;
    for (int c = 0; c < HD_UNIT; c++) {
        if (p->bits == 8) {
            codes[c / 4 * lanes * 4 + lane * 4 + c % 4] = (uint8_t)(u->code[c] + job->bias);
            continue;
        }
        uint8_t *at = codes + c % 16 / 4 * lanes * 4 + lane * 4 + c % 4;
        *at = (uint8_t)(c < 16 ? u->code[c] : *at | u->code[c] << 4);
    }
}

static void pack_row(const pack_job *job, int64_t r, unit *units)
{
    const hd_packed *p = job->p;
    const uint8_t *row = job->m->data + (size_t)r * job->m->row_bytes;
    uint8_t *to = p->data + (size_t)(r / p->lanes) * p->block_bytes;
    for (int64_t i = 0; i < p->units; i++)
        job->type->unit_of(row, i, &units[i]);
    p->row_scale[r] = row_scale_of(units, p->units);
    for (int64_t i = 0; i < p->units; i++)
        put_unit(job, to + (size_t)i * p->unit_bytes, (int)(r % p->lanes), &units[i], 1.0f / p->row_scale[r]);
}

static void pack_blocks(void *arg, int64_t begin, int64_t end, int thread)
{
    const pack_job *job = arg;
    for (int64_t r = begin * job->p->lanes; r < HD_MIN(end * job->p->lanes, job->m->rows); r++)
        pack_row(job, r, job->units + thread * job->p->units);
}

static size_t unit_bytes_of(const hd_packed *p)
{
    size_t scales = (size_t)(HD_UNIT / p->group) * (size_t)p->lanes * 2 * (p->has_min ? 2 : 1);
    return scales + (size_t)p->lanes * HD_UNIT * (size_t)p->bits / 8;
}

hd_status hd_pack(hd_pool *pool, hd_matrix *m, int lanes, bool unsigned_codes)
{
    const pack_type *type = type_of(m);
    hd_packed *p = hd_calloc(1, sizeof *p);
    if (!p) return HD_E_MEMORY;
    int bias = type->bits == 8 && !type->has_min && unsigned_codes ? 128 : 0;
    *p = (hd_packed){.lanes = lanes,
                     .bits = type->bits,
                     .group = type->group,
                     .has_min = type->has_min,
                     .offset = type->offset + bias,
                     .units = m->cols / HD_UNIT,
                     .blocks = (m->rows + lanes - 1) / lanes};
    p->unit_bytes = unit_bytes_of(p);
    p->block_bytes = p->unit_bytes * (size_t)p->units;
    size_t scale_bytes = (size_t)(p->blocks * lanes) * sizeof(float);
    p->row_scale = hd_alloc_aligned(scale_bytes);
    p->data = hd_alloc_aligned(p->block_bytes * (size_t)p->blocks);
    m->packed = p;
    m->layout = lanes;
    m->packed_bytes = sizeof *p + scale_bytes + p->block_bytes * (size_t)p->blocks;
    unit *units = hd_alloc_array((size_t)hd_pool_threads(pool) * (size_t)p->units, sizeof *units);
    if (!p->row_scale || !p->data || !units) {
        hd_free(units);
        hd_unpack_free(m);
        return HD_E_MEMORY;
    }
    pack_job job = {.m = m, .type = type, .p = p, .bias = bias, .units = units};
    hd_pool_for(pool, p->blocks, 4, pack_blocks, &job);
    hd_free(units);
    return HD_OK;
}

void hd_unpack_free(hd_matrix *m)
{
    hd_packed *p = m->packed;
    if (!p) return;
    hd_free_aligned(p->row_scale);
    hd_free_aligned(p->data);
    hd_free(p);
    m->packed = NULL;
    m->layout = 0;
    m->packed_bytes = 0;
}
