/* formats/meta.c: GGUF metadata values as numbers.  The bytes may be unaligned and are little-endian. */
#include <string.h>

#include "formats/formats.h"

/* The place of element `i` and its type, or NULL when there is no such scalar. */
static const uint8_t *element(const hd_meta *m, uint64_t i, hd_meta_type *type)
{
    static const uint8_t bytes[] = {
        [HD_META_U8] = 1,  [HD_META_I8] = 1,  [HD_META_U16] = 2, [HD_META_I16] = 2,
        [HD_META_U32] = 4, [HD_META_I32] = 4, [HD_META_F32] = 4, [HD_META_BOOL] = 1,
        [HD_META_U64] = 8, [HD_META_I64] = 8, [HD_META_F64] = 8,
    };
    *type = m->type == HD_META_ARRAY ? m->elem : m->type;
    if (!m->data || i >= (m->type == HD_META_ARRAY ? m->count : 1)) return NULL;
    return m->data + i * bytes[*type];
}

static uint64_t load(const uint8_t *data, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)data[i] << (8 * i);
    return v;
}

bool hd_meta_i64(const hd_meta *meta, uint64_t i, int64_t *out)
{
    hd_meta_type type;
    const uint8_t *p = element(meta, i, &type);
    if (!p) return false;
    switch (type) {
    case HD_META_U8:
    case HD_META_BOOL: *out = p[0]; return true;
    case HD_META_I8: *out = p[0] < 128 ? p[0] : p[0] - 256; return true;
    case HD_META_U16: *out = (int64_t)load(p, 2); return true;
    case HD_META_I16: *out = (int16_t)load(p, 2); return true;
    case HD_META_U32: *out = (int64_t)load(p, 4); return true;
    case HD_META_I32: *out = (int32_t)load(p, 4); return true;
    case HD_META_I64: *out = (int64_t)load(p, 8); return true;
    case HD_META_U64:
        if (load(p, 8) > INT64_MAX) return false;
        *out = (int64_t)load(p, 8);
        return true;
    default: return false;
    }
}

bool hd_meta_u64(const hd_meta *meta, uint64_t i, uint64_t *out)
{
    hd_meta_type type;
    const uint8_t *p = element(meta, i, &type);
    if (p && type == HD_META_U64) {
        *out = load(p, 8);
        return true;
    }
    int64_t v;
    if (!hd_meta_i64(meta, i, &v) || v < 0) return false;
    *out = (uint64_t)v;
    return true;
}

bool hd_meta_f64(const hd_meta *meta, uint64_t i, double *out)
{
    hd_meta_type type;
    const uint8_t *p = element(meta, i, &type);
    int64_t v;
    if (!p) return false;
    if (type == HD_META_F32) {
        uint32_t bits = (uint32_t)load(p, 4);
        float f;
        memcpy(&f, &bits, sizeof f);
        *out = (double)f;
        return true;
    }
    if (type == HD_META_F64 || type == HD_META_U64) {
        uint64_t bits = load(p, 8);
        if (type == HD_META_U64)
            *out = (double)bits;
        else
            memcpy(out, &bits, sizeof *out);
        return true;
    }
    if (type == HD_META_BOOL || !hd_meta_i64(meta, i, &v)) return false;
    *out = (double)v;
    return true;
}

bool hd_meta_bool(const hd_meta *meta, bool *out)
{
    if (meta->type != HD_META_BOOL) return false;
    *out = meta->data[0] != 0;
    return true;
}
