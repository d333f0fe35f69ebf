/* engine/prefix.h: cached prefixes: whole pages of finished work, found again by salt and tokens.
 *
 * A tree: each node is one page (HD_PAGE_ROWS tokens) behind its parent's; a root's parent is the salt.  Tokens and
 * salt are compared in full, so that no collision of hashes gives one tenant another's pages.  Used by the thread that
 * steps the core, and by no other.
 */
#ifndef HD_ENGINE_PREFIX_H
#define HD_ENGINE_PREFIX_H

#include "engine/engine.h"

typedef struct hd_prefix_cache hd_prefix_cache;

#define HD_SALT_BYTES 16 /* drawn by the caller for each tenant; the same salt shares */

/* At most `max_pages` pages are kept (>= 0; 0: nothing is ever kept).  HD_E_MEMORY. */
hd_status hd_prefix_open(hd_prefix_cache **out, hd_core *core, int64_t max_pages, hd_error *err);
void hd_prefix_close(hd_prefix_cache **cache); /* NULL-safe; before the core */

/* `salt` is the tenant's; a sequence with an adapter shares only with those of the same one. */

/* Gives the empty sequence the longest cached prefix of ids[n] and returns its length: a multiple of the page's tokens
 * and less than n, so that the last token is evaluated for its logits.  0 also when memory runs out. */
int64_t hd_prefix_attach(hd_prefix_cache *cache, const uint8_t salt[HD_SALT_BYTES], hd_seq *seq, const int32_t *ids,
                         int64_t n);

/* Keeps the whole pages of the sequence, which may go on.  What does not fit is not kept. */
void hd_prefix_keep(hd_prefix_cache *cache, const uint8_t salt[HD_SALT_BYTES], const hd_seq *seq);

/* Drops the least recently used prefixes until `pages` pages have come free; returns how many did.  Pages that a
 * sequence holds, too, don't come free and stay. */
int64_t hd_prefix_evict(hd_prefix_cache *cache, int64_t pages);

int64_t hd_prefix_pages(const hd_prefix_cache *cache); /* kept now */

/* ---- prefixes out and in (prefix_file.c), a few pages at a time ----
 *
 * A transfer gives numbers to pages, from 1 on, a parent's before its children's.  The cache may be used between two
 * calls; pages that are dropped meanwhile are left out, and so are those behind them. */

typedef struct hd_prefix_page {
    uint64_t parent;             /* its number; 0: a root */
    uint8_t salt[HD_SALT_BYTES]; /* of roots; zeros elsewhere */
    int32_t tokens[HD_PAGE_ROWS];
} hd_prefix_page;

/* Begins a transfer: out, of all pages kept now but those of adapters; in, of none yet.  HD_E_MEMORY. */
hd_status hd_prefix_begin(hd_prefix_cache *cache, bool out, hd_error *err);
void hd_prefix_end(hd_prefix_cache *cache);

/* The next page, those used last first: what it is, and a copy of its content.  False: that was all. */
bool hd_prefix_take(hd_prefix_cache *cache, hd_prefix_page *page, uint8_t *content);

/* The next page in, as used before all others; *added: it is new.  page->parent is a number that was given.  False: no
 * more fit. */
bool hd_prefix_put(hd_prefix_cache *cache, const hd_prefix_page *page, const uint8_t *content, bool *added);

#endif
