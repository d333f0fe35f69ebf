/* bpe.c: byte-pair encoding of one word (Sennrich et al. 2016, on bytes as in GPT-2).
 *
 * A word starts as its bytes.  Of all neighbours that have a merge, the pair of lowest rank is joined, the leftmost
 * among equals, until none is left.  Pairs wait in a heap, so that a word of n bytes takes n log n steps: a run of ten
 * million letters is one word. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/utf8.h"

#define NONE UINT32_MAX

/* Symbols of a word are a doubly linked list inside an array; a joined one has id -1. */
typedef struct hd_bpe_symbol {
    int32_t id;
    uint32_t prev, next;
} symbol;

/* ---- the table of merges ---- */

static size_t slot_of(const hd_bpe *bpe, uint64_t pair)
{
    uint64_t h = (pair ^ bpe->seed) * 0x9FB21C651E98DF25u;
    h = (h ^ h >> 32) * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h >> 32) & bpe->mask;
    while (bpe->merges[i].pair != pair && bpe->merges[i].pair != UINT64_MAX)
        i = (i + 1) & bpe->mask;
    return i;
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static const hd_merge *find_merge(const hd_bpe *bpe, int32_t left, int32_t right)
{
    const hd_merge *m = &bpe->merges[slot_of(bpe, pair_of(left, right))];
    return m->pair == UINT64_MAX ? NULL : m;
}

hd_status hd_bpe_init(hd_bpe *bpe, size_t merges, hd_error *err)
{
    size_t slots = 16;
    while (slots / 2 < merges && slots <= SIZE_MAX / 4)
        slots *= 2;
    *bpe = (hd_bpe){.merges = hd_alloc_array(slots, sizeof *bpe->merges), .mask = slots - 1, .unknown = -1};
    if (!bpe->merges) return hd_fail(err, HD_E_MEMORY, "out of memory for %zu merges", merges);
    memset(bpe->merges, 0xFF, slots * sizeof *bpe->merges);
    memset(bpe->byte_ids, 0xFF, sizeof bpe->byte_ids);
    bpe->seed = hd_vocab_seed();
    return HD_OK;
}

void hd_bpe_free(hd_bpe *bpe)
{
    hd_free(bpe->merges);
    *bpe = (hd_bpe){0};
}

hd_status hd_bpe_add_merge(hd_bpe *bpe, const hd_vocab *vocab, uint32_t rank, hd_str left, hd_str right, hd_error *err)
{
    char joined[2 * HD_TOKENIZER_TOKEN];
    int32_t l = hd_vocab_find(vocab, left.data, left.len), r = hd_vocab_find(vocab, right.data, right.len), both = -1;
    if (l >= 0 && r >= 0) { /* so both fit */
        memcpy(joined, left.data, left.len);
        memcpy(joined + left.len, right.data, right.len);
        both = hd_vocab_find(vocab, joined, left.len + right.len);
    }
    if (both < 0)
        return hd_fail(err, HD_E_FORMAT, "merge %u, \"%.*s\" and \"%.*s\": %s is not in the vocabulary", rank,
                       (int)HD_MIN(left.len, 80u), left.data, (int)HD_MIN(right.len, 80u), right.data,
                       l < 0   ? "the first part"
                       : r < 0 ? "the second part"
                               : "what they give together");
    bpe->merges[slot_of(bpe, pair_of(l, r))] = (hd_merge){pair_of(l, r), rank, both};
    return HD_OK;
}

static int compare_ranks(const void *a, const void *b)
{
    uint32_t x = ((const hd_merge *)a)->rank, y = ((const hd_merge *)b)->rank;
    return (x > y) - (x < y);
}

bool hd_bpe_list(const hd_bpe *bpe, hd_merge **out, size_t *count)
{
    size_t slots = bpe->merges ? bpe->mask + 1 : 0;
    *count = 0;
    *out = hd_alloc_array(HD_MAX(slots, 1), sizeof **out);
    if (!*out) return false;
    for (size_t i = 0; i < slots; i++)
        if (bpe->merges[i].pair != UINT64_MAX) (*out)[(*count)++] = bpe->merges[i];
    qsort(*out, *count, sizeof **out, compare_ranks);
    return true;
}

/* Bytes that no UTF-8 text has.  Some DeepSeek vocabularies hold them only as added tokens. */
static bool never_in_utf8(int byte)
{
    return byte == 0xC0 || byte == 0xC1 || byte >= 0xF5;
}

void hd_bpe_set_bytes(hd_bpe *bpe, const hd_vocab *vocab)
{
    for (int b = 0; b < 256; b++) {
        if (bpe->byte_ids[b] >= 0) continue;
        uint8_t text[4];
        int len = hd_utf8_put(text, hd_bytelevel_char((uint8_t)b));
        int32_t id = hd_vocab_find(vocab, (const char *)text, (size_t)len);
        bool added = id >= 0 && vocab->tokens[id].flags & HD_TOKEN_ADDED;
        bpe->byte_ids[b] = added && !never_in_utf8(b) ? -1 : id;
    }
}

/* ---- the heap of pairs: rank << 32 | position of the left symbol ---- */

static void heap_push(hd_bpe_work *w, uint64_t item)
{
    size_t i = w->heap_len++;
    while (i > 0 && w->heap[(i - 1) / 2] > item) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = item;
}

static uint64_t heap_pop(hd_bpe_work *w)
{
    uint64_t top = w->heap[0], item = w->heap[--w->heap_len];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->heap_len) break;
        if (child + 1 < w->heap_len && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= item) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = item;
    return top;
}

/* ---- a word ---- */

static hd_status reserve(hd_bpe_work *w, size_t len)
{
    if (len > w->symbol_cap) {
        symbol *symbols = hd_realloc_array(w->symbols, len, sizeof *symbols);
        if (!symbols) return HD_E_MEMORY;
        w->symbols = symbols;
        w->symbol_cap = len;
    }
    /* One pair for each symbol at the start; each of at most len joins takes one away and adds up to two. */
    if (len * 2 > w->heap_cap) {
        uint64_t *heap = hd_realloc_array(w->heap, len * 2, sizeof *heap);
        if (!heap) return HD_E_MEMORY;
        w->heap = heap;
        w->heap_cap = len * 2;
    }
    return HD_OK;
}

void hd_bpe_work_free(hd_bpe_work *work)
{
    hd_free(work->symbols);
    hd_free(work->heap);
    hd_buf_free(&work->text);
    *work = (hd_bpe_work){0};
}

static size_t bytes_to_symbols(const hd_bpe *bpe, symbol *symbols, const uint8_t *word, size_t len)
{
    size_t n = 0;
    bool last_unknown = false;
    for (size_t i = 0; i < len; i++) {
        int32_t id = bpe->byte_ids[word[i]];
        bool unknown = id < 0;
        if (unknown) id = bpe->unknown;
        if (id < 0 || (unknown && last_unknown && bpe->fuse_unknown)) continue;
        last_unknown = unknown;
        symbols[n] = (symbol){id, n ? (uint32_t)(n - 1) : NONE, (uint32_t)(n + 1)};
        n++;
    }
    if (n) symbols[n - 1].next = NONE;
    return n;
}

static void push_pair(const hd_bpe *bpe, hd_bpe_work *w, uint32_t left)
{
    if (left == NONE || w->symbols[left].next == NONE) return;
    const hd_merge *m = find_merge(bpe, w->symbols[left].id, w->symbols[w->symbols[left].next].id);
    if (m) heap_push(w, (uint64_t)m->rank << 32 | left);
}

static void join_all(const hd_bpe *bpe, hd_bpe_work *w)
{
    symbol *s = w->symbols;
    while (w->heap_len) {
        uint64_t top = heap_pop(w);
        uint32_t left = (uint32_t)top, right = s[left].next;
        if (s[left].id < 0 || right == NONE) continue;
        const hd_merge *m = find_merge(bpe, s[left].id, s[right].id);
        if (!m || m->rank != top >> 32) continue; /* the pair that was pushed is gone */
        s[left].id = m->id;
        s[left].next = s[right].next;
        s[right].id = -1;
        if (s[left].next != NONE) s[s[left].next].prev = left;
        push_pair(bpe, w, s[left].prev);
        push_pair(bpe, w, left);
    }
}

/* ignore_merges: the id of a word that is a token by itself, or -1. */
static hd_status find_whole(const hd_vocab *vocab, hd_bpe_work *w, const uint8_t *word, size_t len, int32_t *id)
{
    *id = -1;
    if (len > vocab->longest) return HD_OK;
    if (w->text.max == 0) hd_buf_init(&w->text, 2 * (size_t)HD_TOKENIZER_TOKEN);
    hd_buf_clear(&w->text);
    for (size_t i = 0; i < len; i++) {
        uint8_t c[4];
        int n = hd_utf8_put(c, hd_bytelevel_char(word[i]));
        HD_TRY(hd_buf_append(&w->text, c, (size_t)n));
    }
    *id = hd_vocab_find(vocab, w->text.data, w->text.len);
    if (*id >= 0 && vocab->tokens[*id].flags & HD_TOKEN_ADDED) *id = -1;
    return HD_OK;
}

hd_status hd_bpe_encode(const hd_bpe *bpe, const hd_vocab *vocab, hd_bpe_work *work, const uint8_t *word, size_t len,
                        hd_ids *out)
{
    if (len == 0) return HD_OK;
    if (bpe->whole_words) {
        int32_t id;
        HD_TRY(find_whole(vocab, work, word, len, &id));
        if (id >= 0) return hd_ids_push(out, id);
    }
    HD_TRY(reserve(work, len));
    size_t n = bytes_to_symbols(bpe, work->symbols, word, len);
    work->heap_len = 0;
    for (size_t i = 0; i + 1 < n; i++)
        push_pair(bpe, work, (uint32_t)i);
    join_all(bpe, work);
    for (uint32_t i = n ? 0 : NONE; i != NONE; i = work->symbols[i].next)
        HD_TRY(hd_ids_push(out, work->symbols[i].id));
    return HD_OK;
}
