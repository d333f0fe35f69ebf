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

#endif
