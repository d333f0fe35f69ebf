/* engine/prefix.c: see prefix.h.
 *
 * Invariants: a node holds one reference to its page; a node's parent outlives it (children counts them); the list runs
 * from the most to the least recently used node; between calls every parent is newer than its children; listed[i] is
 * the node whose place is i + 1, or NULL once that is gone. */
#include "engine/prefix.h"

#include <string.h>

#include "engine/engine_internal.h"

typedef struct node {
    struct node *parent; /* NULL: a root */
    struct node *next_in_bucket;
    struct node *newer, *older; /* of the list of use */
    int64_t children;
    uint64_t hash;
    uint64_t number; /* of the transfer under way; 0: none yet */
    size_t place;    /* in listed, from 1 on; 0: not there */
    bool adapted;    /* computed with an adapter, which no other process knows by its number */
    uint8_t *page;
    uint8_t salt[HD_SALT_BYTES]; /* of roots; zeros elsewhere */
    int32_t tokens[HD_PAGE_ROWS];
} node;

struct hd_prefix_cache {
    hd_core *core;
    node **buckets;
    uint64_t mask; /* buckets - 1 */
    node *newest, *oldest;
    int64_t count, max;
    node **listed; /* of the transfer under way */
    size_t listed_count, listed_cap, listed_at;
    uint64_t numbers; /* given out */
};

#define MAX_BUCKETS (1 << 16)

hd_status hd_prefix_open(hd_prefix_cache **out, hd_core *core, int64_t max_pages, hd_error *err)
{
    *out = NULL;
    uint64_t buckets = 64;
    while (buckets < (uint64_t)max_pages && buckets < MAX_BUCKETS)
        buckets *= 2;
    hd_prefix_cache *c = hd_calloc(1, sizeof *c);
    if (!c || !(c->buckets = hd_calloc(buckets, sizeof(node *)))) {
        hd_free(c);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a prefix cache");
    }
    c->core = core;
    c->mask = buckets - 1;
    c->max = max_pages;
    *out = c;
    return HD_OK;
}

/* ---- nodes ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio (Knuth, multiplicative hashing) */
    return h ^ h >> 32;
}

static uint64_t hash_of(const node *parent, const uint8_t *salt, const int32_t *tokens)
{
    uint64_t h = parent ? parent->hash : 0, part;
    for (int i = 0; !parent && i < HD_SALT_BYTES; i += 8) {
        memcpy(&part, salt + i, sizeof part);
        h = mix(h, part);
    }
    for (int i = 0; i < HD_PAGE_ROWS; i++)
        h = mix(h, (uint64_t)(uint32_t)tokens[i] + 1);
    return h;
}

static node *find(const hd_prefix_cache *c, const node *parent, const uint8_t *salt, const int32_t *tokens)
{
    uint64_t hash = hash_of(parent, salt, tokens);
    for (node *n = c->buckets[hash & c->mask]; n; n = n->next_in_bucket)
        if (n->hash == hash && n->parent == parent && (parent || memcmp(n->salt, salt, HD_SALT_BYTES) == 0) &&
            memcmp(n->tokens, tokens, sizeof n->tokens) == 0)
            return n;
    return NULL;
}

static void leave_list(hd_prefix_cache *c, node *n)
{
    if (n->newer)
        n->newer->older = n->older;
    else
        c->newest = n->older;
    if (n->older)
        n->older->newer = n->newer;
    else
        c->oldest = n->newer;
}

/* As the least recently used. */
static void enter_list_last(hd_prefix_cache *c, node *n)
{
    n->newer = c->oldest;
    n->older = NULL;
    if (c->oldest)
        c->oldest->older = n;
    else
        c->newest = n;
    c->oldest = n;
}

static void enter_list(hd_prefix_cache *c, node *n)
{
    n->newer = NULL;
    n->older = c->newest;
    if (c->newest)
        c->newest->newer = n;
    else
        c->oldest = n;
    c->newest = n;
}

static void remove_node(hd_prefix_cache *c, node *n)
{
    node **at = &c->buckets[n->hash & c->mask];
    while (*at != n)
        at = &(*at)->next_in_bucket;
    *at = n->next_in_bucket;
    leave_list(c, n);
    if (n->parent) n->parent->children--;
    if (n->place) c->listed[n->place - 1] = NULL;
    hd_page_release(&c->core->pages, n->page);
    hd_free(n);
    c->count--;
}

/* Marks a path as used, leaf first: parents end up newer than their children. */
static void touch(hd_prefix_cache *c, node *leaf)
{
    for (node *n = leaf; n; n = n->parent) {
        leave_list(c, n);
        enter_list(c, n);
    }
}

void hd_prefix_close(hd_prefix_cache **ref)
{
    hd_prefix_cache *c = *ref;
    if (!c) return;
    *ref = NULL;
    hd_prefix_end(c);
    while (c->oldest) /* children first */
        remove_node(c, c->oldest);
    hd_free(c->buckets);
    hd_free(c);
}

/* ---- what the scheduler asks ---- */

/* An adapter's pages are its own: its number goes into the salt. */
static void own_salt(uint8_t own[HD_SALT_BYTES], const uint8_t salt[HD_SALT_BYTES], const hd_seq *seq)
{
    uint64_t number = hd_lora_number(seq->lora);
    memcpy(own, salt, HD_SALT_BYTES);
    for (int i = 0; i < 8; i++)
        own[i] ^= (uint8_t)(number >> 8 * i);
}

int64_t hd_prefix_attach(hd_prefix_cache *cache, const uint8_t tenant[HD_SALT_BYTES], hd_seq *seq, const int32_t *ids,
                         int64_t n)
{
    uint8_t salt[HD_SALT_BYTES];
    own_salt(salt, tenant, seq);
    node *leaf = NULL, *next;
    int64_t length = 0;
    while (length + HD_PAGE_ROWS < n && (next = find(cache, leaf, salt, ids + length)) != NULL) {
        leaf = next;
        length += HD_PAGE_ROWS;
    }
    if (!leaf || hd_seq_grow_arrays(seq, length, NULL) != HD_OK) return 0;
    memcpy(seq->tokens, ids, (size_t)length * sizeof *ids);
    int64_t page = length / HD_PAGE_ROWS;
    for (node *at = leaf; at; at = at->parent) {
        hd_page_share(at->page);
        seq->pages[--page] = at->page;
    }
    seq->page_count = length / HD_PAGE_ROWS;
    seq->length = length;
    touch(cache, leaf);
    return length;
}

/* A node that stands in no list yet and takes over a reference to its page. */
static node *new_node(hd_prefix_cache *c, node *parent, const uint8_t *salt, const int32_t *tokens, uint8_t *page)
{
    node *n = hd_calloc(1, sizeof *n);
    if (!n) return NULL;
    n->parent = parent;
    n->page = page;
    n->hash = hash_of(parent, salt, tokens);
    if (!parent) memcpy(n->salt, salt, HD_SALT_BYTES);
    memcpy(n->tokens, tokens, sizeof n->tokens);
    n->next_in_bucket = c->buckets[n->hash & c->mask];
    c->buckets[n->hash & c->mask] = n;
    if (parent) parent->children++;
    c->count++;
    return n;
}

static node *add(hd_prefix_cache *c, node *parent, const uint8_t *salt, const int32_t *tokens, uint8_t *page)
{
    if (c->count >= c->max && hd_prefix_evict(c, 1) == 0) return NULL;
    node *n = new_node(c, parent, salt, tokens, page);
    if (!n) return NULL;
    enter_list(c, n);
    hd_page_share(page);
    return n;
}

void hd_prefix_keep(hd_prefix_cache *cache, const uint8_t tenant[HD_SALT_BYTES], const hd_seq *seq)
{
    uint8_t salt[HD_SALT_BYTES];
    own_salt(salt, tenant, seq);
    node *leaf = NULL;
    for (int64_t i = 0; i < seq->length / HD_PAGE_ROWS; i++) {
        const int32_t *tokens = seq->tokens + i * HD_PAGE_ROWS;
        node *n = find(cache, leaf, salt, tokens);
        if (leaf) leaf->children++; /* holds the path while room is made for its next page */
        if (!n) n = add(cache, leaf, salt, tokens, seq->pages[i]);
        if (leaf) leaf->children--;
        if (!n) break;
        n->adapted = seq->lora != NULL;
        leaf = n;
    }
    touch(cache, leaf);
}

/* One pass does: a parent comes after all its children. */
int64_t hd_prefix_evict(hd_prefix_cache *cache, int64_t pages)
{
    int64_t freed = 0;
    for (node *n = cache->oldest, *newer; n && freed < pages; n = newer) {
        newer = n->newer;
        if (n->children || hd_page_is_shared(n->page)) continue;
        remove_node(cache, n);
        freed++;
    }
    return freed;
}

int64_t hd_prefix_pages(const hd_prefix_cache *cache)
{
    return cache->count;
}

/* ---- transfers ---- */

static bool list(hd_prefix_cache *c, node *n)
{
    if (c->listed_count == c->listed_cap) {
        size_t cap = HD_MAX(c->listed_cap * 2, 256u);
        node **bigger = hd_realloc_array(c->listed, cap, sizeof(node *));
        if (!bigger) return false;
        c->listed = bigger;
        c->listed_cap = cap;
    }
    c->listed[c->listed_count++] = n;
    if (n) n->place = c->listed_count;
    return true;
}

hd_status hd_prefix_begin(hd_prefix_cache *cache, bool out, hd_error *err)
{
    for (node *n = cache->newest; out && n; n = n->older)
        if (!n->adapted && !list(cache, n)) {
            hd_prefix_end(cache);
            return hd_fail(err, HD_E_MEMORY, "out of memory for a list of %lld prefixes", (long long)cache->count);
        }
    return HD_OK;
}

void hd_prefix_end(hd_prefix_cache *cache)
{
    for (size_t i = 0; i < cache->listed_count; i++)
        if (cache->listed[i]) cache->listed[i]->place = cache->listed[i]->number = 0;
    hd_free(cache->listed);
    cache->listed = NULL;
    cache->listed_count = cache->listed_cap = cache->listed_at = 0;
    cache->numbers = 0;
}

/* A parent stands before its children in the list, and lives as long as they do: it has its number. */
bool hd_prefix_take(hd_prefix_cache *cache, hd_prefix_page *page, uint8_t *content)
{
    node *n = NULL;
    while (!n && cache->listed_at < cache->listed_count)
        n = cache->listed[cache->listed_at++];
    if (!n) return false;
    n->number = ++cache->numbers;
    page->parent = n->parent ? n->parent->number : 0;
    memcpy(page->salt, n->salt, sizeof page->salt);
    memcpy(page->tokens, n->tokens, sizeof page->tokens);
    memcpy(content, n->page, cache->core->pages.page_bytes);
    return true;
}

/* NULL: no more fit. */
static node *add_last(hd_prefix_cache *c, node *parent, const hd_prefix_page *page, const uint8_t *content)
{
    if (c->count >= c->max) return NULL;
    uint8_t *copy = hd_page_take(&c->core->pages);
    if (!copy) return NULL;
    node *n = new_node(c, parent, page->salt, page->tokens, copy);
    if (!n) {
        hd_page_release(&c->core->pages, copy);
        return NULL;
    }
    memcpy(copy, content, c->core->pages.page_bytes);
    enter_list_last(c, n);
    return n;
}

/* Every page takes a place in the list, so that numbers agree; one that came before, or whose parent is gone, an empty
 * one. */
bool hd_prefix_put(hd_prefix_cache *cache, const hd_prefix_page *page, const uint8_t *content, bool *added)
{
    node *parent = page->parent ? cache->listed[page->parent - 1] : NULL;
    *added = false;
    if (page->parent && !parent) return list(cache, NULL);
    node *n = find(cache, parent, page->salt, page->tokens);
    if (n) return list(cache, n->place ? NULL : n);
    n = add_last(cache, parent, page, content);
    if (!n) return false;
    *added = true;
    return list(cache, n);
}
