/* base/alloc.h: the only way to memory.
 *
 * Every allocation can fail and returns NULL then; callers answer HD_E_MEMORY.  Sizes that overflow are failures, not
 * wraps.  For tests, hd_alloc_fail_after(n) makes the n-th following allocation of this thread fail.
 * All functions are thread-safe.
 */
#ifndef HD_BASE_ALLOC_H
#define HD_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* Blocks for SIMD and I/O start at a cache line. */
#define HD_CACHE_LINE 64

/* `count` items of `size` bytes: hd_alloc_array is uninitialized, hd_calloc is zeroed.  Zero bytes give a valid
 * block. */
void *hd_alloc(size_t bytes);
void *hd_alloc_array(size_t count, size_t size);
void *hd_calloc(size_t count, size_t size);

/* Resizes to count*size bytes.  On failure returns NULL and the old block stays as it was. */
void *hd_realloc_array(void *block, size_t count, size_t size);

/* Zeroed memory at a multiple of HD_CACHE_LINE; release with hd_free_aligned. */
void *hd_alloc_aligned(size_t bytes);
void hd_free_aligned(void *block);

/* Zeroed memory for weights, at a multiple of HD_CACHE_LINE.  Blocks lie side by side in large pages where the system
 * has them, so that reading gigabytes does not wait for page tables; the system provides a page when it is first
 * written, on the thread that writes.  hd_bulk_free takes the size that was asked for, and gives the memory back to the
 * system at once; NULL is fine. */
void *hd_bulk_alloc(size_t bytes);
void hd_bulk_free(void *block, size_t bytes);

void hd_free(void *block); /* NULL is fine */

/* Copy of `len` bytes with a NUL behind them; NULL on failure. */
char *hd_strndup(const char *text, size_t len);
char *hd_strdup(const char *text);

/* Overwrites `len` bytes in a way that the compiler keeps; for keys and other secrets. */
void hd_wipe(void *secret, size_t len);

/* Makes the n-th allocation from now (1 = the next) on this thread fail, and every later one too; 0 switches it off. */
void hd_alloc_fail_after(uint64_t n);

#endif
