/* formats/meta_list.c: lists of GGUF metadata that are made, not read; see formats.h. */
#include <string.h>

#include "formats/formats_internal.h"

static const uint8_t *copy(hd_meta_list *list, const void *data, size_t bytes)
{
    uint8_t *block = hd_arena_alloc(&list->arena, bytes, 1);
    if (block && bytes) memcpy(block, data, bytes);
    return block;
}

void hd_meta_list_free(hd_meta_list *list)
{
    hd_arena_free(&list->arena);
    hd_free(list->items);
    *list = (hd_meta_list){0};
}

void hd_meta_add(hd_meta_list *list, const hd_meta *entry)
{
    if (list->arena.failed && list->status == HD_OK) list->status = HD_E_MEMORY;
    if (list->status != HD_OK) return;
    if (list->count == HD_GGUF_META_MAX) {
        list->status = HD_E_LIMIT;
        return;
    }
    if (list->count == list->cap) {
        size_t cap = HD_MAX(2 * list->cap, 64);
        hd_meta *bigger = hd_realloc_array(list->items, cap, sizeof *bigger);
        if (!bigger) {
            list->status = HD_E_MEMORY;
            return;
        }
        list->items = bigger;
        list->cap = cap;
    }
    list->items[list->count++] = *entry;
}

static hd_str copy_key(hd_meta_list *list, const char *key)
{
    size_t len = strlen(key);
    return (hd_str){(const char *)copy(list, key, len), len};
}

static void add_scalar(hd_meta_list *list, const char *key, hd_meta_type type, const void *value, size_t bytes)
{
    hd_meta m = {.key = copy_key(list, key), .type = type, .count = 1, .data = copy(list, value, bytes)};
    hd_meta_add(list, &m);
}

void hd_meta_add_u16(hd_meta_list *list, const char *key, uint16_t value)
{
    add_scalar(list, key, HD_META_U16, &value, sizeof value);
}

void hd_meta_add_u32(hd_meta_list *list, const char *key, uint32_t value)
{
    add_scalar(list, key, HD_META_U32, &value, sizeof value);
}

void hd_meta_add_i32(hd_meta_list *list, const char *key, int32_t value)
{
    add_scalar(list, key, HD_META_I32, &value, sizeof value);
}

void hd_meta_add_f32(hd_meta_list *list, const char *key, float value)
{
    add_scalar(list, key, HD_META_F32, &value, sizeof value);
}

void hd_meta_add_bool(hd_meta_list *list, const char *key, bool value)
{
    uint8_t byte = value;
    add_scalar(list, key, HD_META_BOOL, &byte, 1);
}

void hd_meta_add_text(hd_meta_list *list, const char *key, const char *text, size_t len)
{
    hd_meta m = {.key = copy_key(list, key), .type = HD_META_STRING, .count = 1};
    m.string = (hd_str){(const char *)copy(list, text, len), len};
    hd_meta_add(list, &m);
}

void hd_meta_add_i32s(hd_meta_list *list, const char *key, const int32_t *values, size_t count)
{
    hd_meta m = {.key = copy_key(list, key), .type = HD_META_ARRAY, .elem = HD_META_I32, .count = count};
    m.data = copy(list, values, count * sizeof *values);
    hd_meta_add(list, &m);
}

void hd_meta_add_texts(hd_meta_list *list, const char *key, const hd_str *texts, size_t count)
{
    hd_meta m = {.key = copy_key(list, key), .type = HD_META_ARRAY, .elem = HD_META_STRING, .count = count};
    m.strings = (const hd_str *)(const void *)copy(list, texts, count * sizeof *texts);
    hd_meta_add(list, &m);
}

static uint64_t value_bytes(const hd_meta *m)
{
    const uint64_t number = 8, type = 4; /* lengths and counts; the type of an array's elements */
    uint64_t sum = type + number;
    if (m->type == HD_META_STRING) return number + m->string.len;
    if (m->type != HD_META_ARRAY) return hd_meta_scalar_bytes((uint32_t)m->type);
    if (m->elem != HD_META_STRING) return sum + m->count * hd_meta_scalar_bytes((uint32_t)m->elem);
    for (uint64_t i = 0; i < m->count; i++)
        sum += number + m->strings[i].len;
    return sum;
}

uint64_t hd_meta_list_bytes(const hd_meta_list *list)
{
    const uint64_t key_and_type = 12; /* the length of the key, and the type */
    uint64_t sum = 0;
    for (size_t i = 0; i < list->count; i++)
        sum += key_and_type + list->items[i].key.len + value_bytes(&list->items[i]);
    return sum;
}
