/* tensor/types.c: the table of element types (tensor.h's HD_TYPE_LIST) and the questions asked of it. */
#include <string.h>

#include "tensor/tensor.h"

static const struct type_info {
    const char *name;
    int block;       /* values per block */
    int block_bytes; /* bytes per block */
    int gguf_id;     /* -1: GGUF has no such type */
} types[HD_TYPE_COUNT] = {
#define TYPE_INFO(name, block, bytes, id) [HD_TYPE_##name] = {#name, block, bytes, id},
    HD_TYPE_LIST(TYPE_INFO)
#undef TYPE_INFO
};

const char *hd_type_name(hd_type type)
{
    return types[type].name;
}

hd_type hd_type_commonest(const int64_t *values, hd_type otherwise)
{
    for (int type = 0; type < HD_TYPE_COUNT; type++)
        if (values[type] > values[otherwise]) otherwise = (hd_type)type;
    return otherwise;
}

int hd_type_block(hd_type type)
{
    return types[type].block;
}

int hd_type_block_bytes(hd_type type)
{
    return types[type].block_bytes;
}

bool hd_type_from_gguf(uint32_t id, hd_type *out)
{
    for (int i = 0; i < HD_TYPE_COUNT; i++) {
        if (types[i].gguf_id < 0 || (uint32_t)types[i].gguf_id != id) continue;
        *out = (hd_type)i;
        return true;
    }
    return false;
}

bool hd_type_from_name(const char *name, size_t len, hd_type *out)
{
    for (int i = 0; i < HD_TYPE_COUNT; i++) {
        if (strlen(types[i].name) != len || memcmp(types[i].name, name, len) != 0) continue;
        *out = (hd_type)i;
        return true;
    }
    return false;
}

bool hd_type_row_bytes(hd_type type, int64_t cols, size_t *out)
{
    if (cols < 0 || cols % types[type].block != 0) return false;
    return !__builtin_mul_overflow(cols / types[type].block, types[type].block_bytes, out);
}

bool hd_type_is_weight(hd_type type)
{
    switch (type) {
    case HD_TYPE_I8:
    case HD_TYPE_I16:
    case HD_TYPE_I32:
    case HD_TYPE_I64:
    case HD_TYPE_U8:
    case HD_TYPE_F8_E8M0: return false;
    default: return true;
    }
}

bool hd_type_is_plain(hd_type type)
{
    return type == HD_TYPE_F32 || type == HD_TYPE_F16 || type == HD_TYPE_BF16;
}
