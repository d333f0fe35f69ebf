/* base/arena.h: memory that is taken piece by piece and released all at once.
 *
 * Errors are sticky: after the first allocation that fails, or that would pass the cap, every later one fails, too, so
 * a builder checks `failed` once at its end.  Not thread-safe.
 */
#ifndef HD_BASE_ARENA_H
#define HD_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct hd_arena {          /* zero-initialize: no cap */
    struct hd_arena_chunk *chunks; /* the newest first */
    size_t bytes;                  /* taken from the system */
    size_t max;                    /* never more than this; 0: no cap */
    bool failed;
} hd_arena;

/* `count` zeroed items of `size` bytes, aligned for any type; NULL on failure. */
void *hd_arena_alloc(hd_arena *arena, size_t count, size_t size);

/* A copy of `len` bytes with a NUL behind them. */
char *hd_arena_text(hd_arena *arena, const char *text, size_t len);

void hd_arena_free(hd_arena *arena); /* everything; the arena is empty again */

#endif
