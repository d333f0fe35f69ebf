/* vocab.c: the texts of tokens by id, the way back from text to id, and the byte-level alphabet.
 *
 * Invariant: slots hold the ids of all used tokens but later ones of an equal text; at most two thirds are full. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/utf8.h"

/* ---- the byte-level alphabet ---- */

/* Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 and up. */
uint32_t hd_bytelevel_char(uint8_t byte)
{
    if (byte <= 0x20) return 0x100u + byte;
    if (byte < 0x7F) return byte;
    if (byte <= 0xA0) return 0x121u + (byte - 0x7Fu);
    if (byte == 0xAD) return 0x143;
    return byte;
}

int hd_bytelevel_byte(uint32_t cp)
{
    if (cp <= 0x20 || cp > 0x143) return -1;
    if (cp >= 0x100) return cp <= 0x120 ? (int)(cp - 0x100) : cp <= 0x142 ? (int)(cp - 0x121 + 0x7F) : 0xAD;
    return (cp >= 0x7F && cp <= 0xA0) || cp == 0xAD ? -1 : (int)cp;
}

uint8_t hd_bytelevel_next(hd_str text, size_t *at)
{
    uint32_t cp = 0;
    int step = hd_utf8_step((const uint8_t *)text.data + *at, text.len - *at, &cp);
    *at += (size_t)HD_MAX(step, 1);
    return (uint8_t)hd_bytelevel_byte(cp);
}

bool hd_bytelevel_all(hd_str text)
{
    for (size_t at = 0; at < text.len;) {
        uint32_t cp;
        int step = hd_utf8_step((const uint8_t *)text.data + at, text.len - at, &cp);
        if (step <= 0 || hd_bytelevel_byte(cp) < 0) return false;
        at += (size_t)step;
    }
    return true;
}

/* ---- texts ---- */

uint64_t hd_vocab_seed(void)
{
    return hd_clock_ns() * 0x9E3779B97F4A7C15u | 1;
}

void hd_vocab_init(hd_vocab *v)
{
    *v = (hd_vocab){.seed = hd_vocab_seed()};
    hd_buf_init(&v->text, UINT32_MAX);
}

void hd_vocab_free(hd_vocab *v)
{
    hd_free(v->tokens);
    hd_free(v->slots);
    hd_buf_free(&v->text);
    *v = (hd_vocab){0};
}

/* Eight bytes at a time, multiply and fold. */
static uint64_t hash_text(uint64_t seed, const char *text, size_t len)
{
    uint64_t h = seed ^ len;
    while (len > 0) {
        uint64_t word = 0;
        size_t n = HD_MIN(len, sizeof word);
        memcpy(&word, text, n);
        h = (h ^ word) * 0x9FB21C651E98DF25u;
        h ^= h >> 32;
        text += n;
        len -= n;
    }
    return (h * 0x9E3779B97F4A7C15u) ^ h >> 29;
}

/* The slot where a text is, or the empty one where it belongs. */
static size_t slot_of(const hd_vocab *v, const char *text, size_t len)
{
    size_t mask = v->slot_count - 1;
    for (size_t i = hash_text(v->seed, text, len) & mask;; i = (i + 1) & mask) {
        if (v->slots[i] < 0) return i;
        const hd_token *t = &v->tokens[v->slots[i]];
        if (t->len == len && memcmp(v->text.data + t->at, text, len) == 0) return i;
    }
}

int32_t hd_vocab_find(const hd_vocab *v, const char *text, size_t len)
{
    return v->slot_count ? v->slots[slot_of(v, text, len)] : -1;
}

hd_str hd_vocab_text(const hd_vocab *v, int32_t id)
{
    if (id < 0 || (size_t)id >= v->size || !(v->tokens[id].flags & HD_TOKEN_USED)) return (hd_str){NULL, 0};
    return (hd_str){v->text.data + v->tokens[id].at, v->tokens[id].len};
}

static hd_status grow_slots(hd_vocab *v)
{
    if (v->slot_used + 1 <= v->slot_count / 3 * 2) return HD_OK;
    size_t count = v->slot_count ? v->slot_count * 2 : 1024, old_count = v->slot_count;
    int32_t *slots = hd_alloc_array(count, sizeof *slots), *old = v->slots;
    if (!slots) return HD_E_MEMORY;
    for (size_t i = 0; i < count; i++)
        slots[i] = -1;
    v->slots = slots;
    v->slot_count = count;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] < 0) continue;
        const hd_token *t = &v->tokens[old[i]];
        slots[slot_of(v, v->text.data + t->at, t->len)] = old[i];
    }
    hd_free(old);
    return HD_OK;
}

static hd_status grow_tokens(hd_vocab *v, size_t size)
{
    if (size > v->cap) {
        size_t cap = HD_MAX(size, v->cap * 2);
        hd_token *tokens = hd_realloc_array(v->tokens, cap, sizeof *tokens);
        if (!tokens) return HD_E_MEMORY;
        v->tokens = tokens;
        v->cap = cap;
    }
    if (size > v->size) {
        memset(v->tokens + v->size, 0, (size - v->size) * sizeof *v->tokens);
        v->size = size;
    }
    return HD_OK;
}

hd_status hd_vocab_add(hd_vocab *v, int64_t id, const char *text, size_t len, uint8_t flags, hd_error *err)
{
    if (id < 0 || id >= HD_TOKENIZER_IDS)
        return hd_fail(err, HD_E_LIMIT, "token \"%.*s\": id %lld is not in 0..%d", (int)HD_MIN(len, 80u), text,
                       (long long)id, HD_TOKENIZER_IDS - 1);
    if (len > HD_TOKENIZER_TOKEN)
        return hd_fail(err, HD_E_LIMIT, "token %lld: its text has %zu bytes, at most %u are read", (long long)id, len,
                       HD_TOKENIZER_TOKEN);
    if ((size_t)id < v->size && v->tokens[id].flags & HD_TOKEN_USED)
        return hd_fail(err, HD_E_FORMAT, "id %lld is given to two tokens, \"%.*s\" and \"%.*s\"", (long long)id,
                       (int)HD_MIN(v->tokens[id].len, 80u), v->text.data + v->tokens[id].at, (int)HD_MIN(len, 80u),
                       text);
    size_t at = v->text.len;
    if (grow_tokens(v, (size_t)id + 1) != HD_OK || grow_slots(v) != HD_OK ||
        hd_buf_append(&v->text, text, len) != HD_OK)
        return hd_fail(err, HD_E_MEMORY, "out of memory for the vocabulary");
    v->tokens[id] = (hd_token){(uint32_t)at, (uint32_t)len, (uint8_t)(flags | HD_TOKEN_USED)};
    v->longest = HD_MAX(v->longest, len);
    size_t slot = slot_of(v, text, len);
    if (v->slots[slot] < 0) {
        v->slots[slot] = (int32_t)id;
        v->slot_used++;
    }
    return HD_OK;
}
